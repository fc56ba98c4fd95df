//! Two steps that should be one: `count += 1` as a load and a store, and a look into a map with an insertion after it.
use std::{
    collections::HashMap,
    sync::{
        Arc, Barrier, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    lab::{Contender, plan::Plan, sample::Sample},
    machine::pin_current_thread,
    measure::{handover::until, throughput::Apart},
};

/// How one is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Add {
    /// The number is loaded, and one more is stored.
    LoadStore,
    /// One instruction.
    FetchAdd,
    /// A load and a store with a mutex held.
    Locked,
}

/// So many threads add one so often. Value: `lost_share`, the additions that are missing at the end.
///
/// # Errors
/// There is one CPU for several threads.
pub fn lost(plan: &Plan, add: Add, threads: usize) -> Result<Sample, String> {
    if threads > 1 && plan.cpus.len() < 2 {
        return Err("on one CPU threads hardly ever meet between a load and a store".into());
    }
    let each = if plan.is_smoke() { 1_000 } else { 50_000 };
    let (start, mut done, mut missing) = (Instant::now(), 0u64, 0u64);
    while done == 0 || start.elapsed() < plan.slice {
        let (count, mutex, ready) = (Apart(AtomicU64::new(0)), Mutex::new(()), Apart(AtomicUsize::new(0)));
        thread::scope(|scope| {
            for i in 0..threads {
                let (count, mutex, ready) = (&count.0, &mutex, &ready.0);
                scope.spawn(move || {
                    pin_current_thread(plan.cpus[i % plan.cpus.len()]);
                    ready.fetch_add(1, Relaxed);
                    until(|| (ready.load(Relaxed) == threads).then_some(()));
                    for _ in 0..each {
                        one_more(add, count, mutex);
                    }
                });
            }
        });
        let all = each * threads as u64;
        done += all;
        missing += all.saturating_sub(count.0.load(Relaxed));
    }
    Ok(Sample::default().share("lost_share", missing as f64, done as f64))
}

/// All orderings are relaxed: it is the meeting that loses, not the order.
#[inline]
fn one_more(add: Add, count: &AtomicU64, mutex: &Mutex<()>) {
    match add {
        Add::LoadStore => count.store(count.load(Relaxed) + 1, Relaxed),
        Add::FetchAdd => drop_it(count.fetch_add(1, Relaxed)),
        Add::Locked => {
            let _held = mutex.lock().expect("nobody panics with it");
            count.store(count.load(Relaxed) + 1, Relaxed);
        }
    }
}

fn drop_it(n: u64) {
    std::hint::black_box(n);
}

/// A map that makes a value for a key that it does not have.
pub trait GetsOrMakes: Default + Send + Sync + 'static {
    /// Who it is.
    const IS: Contender;
    /// The value of the key. If there is none, it is made.
    fn get_or_make(&self, key: u64, make: &(dyn Fn() -> u64 + Sync)) -> u64;
}

/// Looks, makes without the lock, and inserts.
#[derive(Default)]
struct LookThenInsert(Mutex<HashMap<u64, u64>>);

impl GetsOrMakes for LookThenInsert {
    const IS: Contender = Contender::new("look_then_insert").called("look, make, insert");
    fn get_or_make(&self, key: u64, make: &(dyn Fn() -> u64 + Sync)) -> u64 {
        let seen = self.0.lock().expect("no factory panics").get(&key).copied();
        seen.unwrap_or_else(|| {
            let value = make();
            // Whoever was first has given its value to others by then.
            *self.0.lock().expect("no factory panics").entry(key).or_insert(value)
        })
    }
}

/// Makes with the map's lock held.
#[derive(Default)]
struct UnderLock(Mutex<HashMap<u64, u64>>);

impl GetsOrMakes for UnderLock {
    const IS: Contender = Contender::new("under_lock").called("made with the map's lock held");
    fn get_or_make(&self, key: u64, make: &(dyn Fn() -> u64 + Sync)) -> u64 {
        *self.0.lock().expect("no factory panics").entry(key).or_insert_with(make)
    }
}

/// The lock is held to find the key's own cell, and the value is made in there: others with this key wait, others don't.
#[derive(Default)]
struct SingleFlight(Mutex<HashMap<u64, Arc<OnceLock<u64>>>>);

impl GetsOrMakes for SingleFlight {
    const IS: Contender = Contender::new("single_flight").called("a OnceLock for each key");
    fn get_or_make(&self, key: u64, make: &(dyn Fn() -> u64 + Sync)) -> u64 {
        let cell = Arc::clone(self.0.lock().expect("no factory panics").entry(key).or_default());
        *cell.get_or_init(make)
    }
}

/// A map that makes values, as a contender.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    is: Contender,
    made: fn(&Plan, usize) -> Result<Sample, String>,
}

/// A map that makes values, as a contender.
pub const fn making<M: GetsOrMakes>() -> Making {
    Making { is: M::IS.checked(check::<M>), made: made::<M> }
}

/// All of them; the first is the baseline.
pub static MAKERS: [Making; 3] =
    [making::<LookThenInsert>(), making::<UnderLock>(), making::<SingleFlight>()];

impl AsRef<Contender> for Making {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Making {
    /// Round after round, so many threads ask for a new key at once, whose value takes 200 us to make; one more asks for a key that is there.
    /// Values: `runs_per_key_count`, how often a value was made for each key; `served_meanwhile_count`, answers for each key that the one more
    /// got while a value was being made.
    ///
    /// # Errors
    /// Somebody got another value than the key's.
    pub fn made(&self, plan: &Plan, threads: usize) -> Result<Sample, String> {
        (self.made)(plan, threads)
    }
}

/// What a map must show before anything is counted: a key keeps the value that was made for it first.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<M: GetsOrMakes>() -> Result<(), String> {
    let (map, runs) = (M::default(), AtomicU64::new(0));
    let make = || runs.fetch_add(1, Relaxed);
    let got = [1, 2, 1, 2].map(|key| map.get_or_make(key, &make));
    let (id, runs) = (M::IS.id, runs.load(Relaxed));
    if got != [0, 1, 0, 1] {
        return Err(format!("{id}: a key does not keep its value: {got:?}"));
    }
    if runs == 2 { Ok(()) } else { Err(format!("{id}: alone, it made {runs} values for 2 keys")) }
}

/// What a value takes to make: a query, say. The thread sleeps meanwhile.
const MAKES: Duration = Duration::from_micros(200);

fn made<M: GetsOrMakes>(plan: &Plan, threads: usize) -> Result<Sample, String> {
    const THERE: u64 = u64::MAX;
    let map = M::default();
    map.get_or_make(THERE, &|| THERE);
    let (runs, at_it, over) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let (served, wrong) = (AtomicU64::new(0), AtomicU64::new(0));
    let (begin, end) = (Barrier::new(threads + 1), Barrier::new(threads + 1));
    let key = AtomicU64::new(0);
    let make = |key: u64| {
        runs.fetch_add(1, Relaxed);
        at_it.fetch_add(1, Relaxed);
        thread::sleep(MAKES);
        at_it.fetch_sub(1, Relaxed);
        key
    };
    let keys = thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    begin.wait();
                    if over.load(Relaxed) {
                        return;
                    }
                    let key = key.load(Relaxed);
                    wrong.fetch_add(u64::from(map.get_or_make(key, &|| make(key)) != key), Relaxed);
                    end.wait();
                }
            });
        }
        scope.spawn(|| {
            while !over.load(Relaxed) {
                let got = map.get_or_make(THERE, &|| make(THERE));
                served.fetch_add(u64::from(at_it.load(Relaxed) > 0), Relaxed);
                wrong.fetch_add(u64::from(got != THERE), Relaxed);
                thread::sleep(MAKES / 10);
            }
        });
        let (start, mut keys) = (Instant::now(), 0u64);
        while keys == 0 || start.elapsed() < plan.slice {
            key.store(keys, Relaxed); // the barrier orders it
            begin.wait();
            end.wait();
            keys += 1;
        }
        over.store(true, Relaxed);
        begin.wait();
        keys
    });
    if wrong.load(Relaxed) > 0 {
        return Err(format!("{} answers were not the key's value", wrong.load(Relaxed)));
    }
    let each = |n: &AtomicU64| n.load(Relaxed) as f64 / keys as f64;
    let mut sample = Sample::default()
        .with("runs_per_key_count", each(&runs))
        .with("served_meanwhile_count", each(&served));
    sample.receipts.ops_count = Some(keys as f64 * threads as f64);
    Ok(sample)
}

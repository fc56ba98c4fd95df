//! A gallery of wrong benchmarks. Each makes one well-known mistake, really runs, and hands its evidence to [`crate::measure::audit`];
//! one of them is sound. None of their numbers is used anywhere.
use std::{
    collections::{HashMap, HashSet},
    hint::black_box,
    sync::{
        Barrier, Mutex, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::*},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    lab::Contender,
    measure::{
        audit::{Evidence, Flaw, Timed},
        keys::{Skew, draw},
    },
    stats,
};

/// A benchmark: its name, the mistake it makes, and the run.
#[derive(Clone, Copy, Debug)]
pub struct Trap {
    is: Contender,
    /// The mistake; `None` for the sound one.
    pub flaw: Option<Flaw>,
    /// Runs it for some ms.
    pub run: fn() -> Evidence,
}

impl AsRef<Contender> for Trap {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

const fn trap(id: &'static str, flaw: Flaw, run: fn() -> Evidence) -> Trap {
    Trap { is: Contender::new(id), flaw: Some(flaw), run }
}

/// All of them, in the order of the questions that an auditor asks.
pub static TRAPS: [Trap; 10] = [
    trap("thread_start_timed", Flaw::ThreadStartTimed, thread_start_timed),
    trap("clock_after_barrier", Flaw::ClockReadLate, clock_after_barrier),
    trap("one_after_the_other", Flaw::NoOverlap, one_after_the_other),
    trap("clone_in_one_arm", Flaw::UnequalWork, clone_in_one_arm),
    trap("write_lock_as_read", Flaw::ExclusiveRead, write_lock_as_read),
    trap("shared_index", Flaw::HarnessDominates, shared_index),
    trap("try_lock_uncounted", Flaw::ResultDropped, try_lock_uncounted),
    trap("keys_per_thread", Flaw::HitsMove, keys_per_thread),
    trap("one_key_map", Flaw::OneKey, one_key_map),
    Trap { is: Contender::new("sound"), flaw: None, run: sound },
];

/// So short that starting a thread takes longer.
const SHORT: u32 = 100;
const SAMPLES: usize = 31;

fn ns(base: Instant) -> f64 {
    base.elapsed().as_secs_f64() * 1e9
}

fn count(m: &Mutex<u64>, n: u32) {
    for _ in 0..n {
        *m.lock().expect("no holder panics") += 1;
    }
}

/// A lane's work with its first and last moment.
fn lane(base: Instant, does: impl FnOnce()) -> (f64, f64) {
    let from = ns(base);
    does();
    (from, ns(base))
}

fn samples(one: impl Fn(Instant) -> Timed) -> Vec<Timed> {
    (0..SAMPLES).map(|_| one(Instant::now())).collect()
}

/// Spawns, works and joins inside the clock: an iteration of a careless harness.
fn thread_start_timed() -> Evidence {
    let m = Mutex::new(0);
    let timed = samples(|base| {
        let from = ns(base);
        let lanes = thread::scope(|s| {
            let lanes: Vec<_> = (0..2).map(|_| s.spawn(|| lane(base, || count(&m, SHORT)))).collect();
            lanes.into_iter().map(|l| l.join().expect("no lane panics")).collect()
        });
        Timed { clock: (from, ns(base)), lanes }
    });
    Evidence { timed, ..Evidence::default() }
}

/// Waits with the lanes at a barrier and reads the clock after it: the lanes are awake before the reader is.
fn clock_after_barrier() -> Evidence {
    let m = Mutex::new(0);
    let timed = samples(|base| {
        let start = Barrier::new(3);
        thread::scope(|s| {
            let work = || {
                // Lanes have something to set up, so the reader sleeps at the barrier by the time they get there.
                thread::sleep(Duration::from_micros(300));
                start.wait();
                lane(base, || count(&m, SHORT))
            };
            let lanes: Vec<_> = (0..2).map(|_| s.spawn(work)).collect();
            start.wait();
            let from = ns(base);
            let lanes = lanes.into_iter().map(|l| l.join().expect("no lane panics")).collect();
            Timed { clock: (from, ns(base)), lanes }
        })
    });
    Evidence { timed, ..Evidence::default() }
}

/// A fixed, short piece of work for each thread, and the next thread is started when the first has done its own.
fn one_after_the_other() -> Evidence {
    let m = Mutex::new(0);
    let timed = samples(|base| {
        let run =
            || thread::scope(|s| s.spawn(|| lane(base, || count(&m, SHORT))).join().expect("no lane panics"));
        let lanes = vec![run(), run()];
        Timed { clock: (lanes[0].0, lanes[1].1), lanes }
    });
    Evidence { timed, ..Evidence::default() }
}

/// One arm looks at one byte under the lock, the other copies the whole value and looks at the copy.
fn clone_in_one_arm() -> Evidence {
    const N: usize = 1_000;
    let (look, take) = (Mutex::new(vec![7u8; 64]), RwLock::new(vec![7u8; 64]));
    let (mut looked_bytes, mut took_bytes) = (0, 0);
    for _ in 0..N {
        looked_bytes += black_box(&look.lock().expect("no holder panics")[..1]).len();
        let mine = black_box(take.read().expect("no holder panics").clone());
        took_bytes += mine.len();
    }
    let per_op = |bytes: usize| bytes as f64 / N as f64;
    let work_per_op = vec![("mutex", per_op(looked_bytes)), ("rwlock", per_op(took_bytes))];
    Evidence { work_per_op, ..Evidence::default() }
}

/// An adapter whose `read` takes the write lock.
fn write_lock_as_read() -> Evidence {
    let lock = RwLock::new(0u64);
    let (inside, met) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                let _guard = lock.write().expect("no holder panics");
                inside.fetch_add(1, AcqRel);
                let until = Instant::now() + Duration::from_millis(20);
                while Instant::now() < until && !met.load(Acquire) {
                    if inside.load(Acquire) == 2 {
                        met.store(true, Release);
                    }
                    thread::yield_now();
                }
                inside.fetch_sub(1, AcqRel);
            });
        }
    });
    Evidence { readers_met: Some(met.into_inner()), ..Evidence::default() }
}

/// All lanes draw their next key from one atomic index: dearer than what they do with the key. The other lane draws all the time,
/// so that blocks with and without the read of a value, taken in turn, meet the same crowd.
fn shared_index() -> Evidence {
    const BLOCK: usize = 2_000;
    let (index, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let keys: Vec<u32> = draw(Skew::Uniform, 64, 1 << 10, 1);
    let values = [1u64; 64];
    let next = || black_box(keys[index.fetch_add(1, SeqCst) % keys.len()]);
    let block = |with: bool| {
        let t = Instant::now();
        for _ in 0..BLOCK {
            let key = next();
            if with {
                black_box(values[key as usize]);
            }
        }
        t.elapsed().as_secs_f64()
    };
    let shares: Vec<f64> = thread::scope(|s| {
        s.spawn(|| {
            while !over.load(Relaxed) {
                next();
            }
        });
        let shares = (0..SAMPLES).map(|_| block(false) / block(true)).collect();
        over.store(true, Relaxed);
        shares
    });
    Evidence { harness_share: stats::median(&shares), ..Evidence::default() }
}

/// Counts `try_lock` whether it got the lock or not, while another thread holds it most of the time.
fn try_lock_uncounted() -> Evidence {
    let (m, holds, over) = (Mutex::new(0u64), AtomicBool::new(false), AtomicBool::new(false));
    let (mut counted, mut did) = (0, 0);
    thread::scope(|s| {
        s.spawn(|| {
            let _guard = m.lock().expect("no holder panics");
            holds.store(true, Release);
            while !over.load(Acquire) {
                thread::yield_now();
            }
        });
        while !holds.load(Acquire) {
            thread::yield_now();
        }
        for _ in 0..1_000 {
            counted += 1;
            did += u64::from(m.try_lock().is_ok());
        }
        over.store(true, Release);
    });
    Evidence { effective: Some((counted, did)), ..Evidence::default() }
}

/// Each thread asks for keys of its own range, and only the first range was filled.
fn keys_per_thread() -> Evidence {
    const RANGE: u32 = 1_000;
    let map: RwLock<HashMap<u32, u64>> = RwLock::new((0..RANGE).map(|k| (k, 0)).collect());
    let share = |threads: u32| {
        let hits: usize = thread::scope(|s| {
            let ask = |t: u32| {
                let map = &map;
                s.spawn(move || {
                    let keys = draw(Skew::Uniform, RANGE, 1_000, u64::from(t));
                    let has = |k: &u32| map.read().expect("no holder panics").contains_key(&(t * RANGE + k));
                    keys.iter().filter(|k| has(k)).count()
                })
            };
            let lanes: Vec<_> = (0..threads).map(ask).collect();
            lanes.into_iter().map(|l| l.join().expect("no lane panics")).sum()
        });
        (threads as usize, hits as f64 / f64::from(threads * 1_000))
    };
    Evidence { hits: [1, 2, 4].map(share).to_vec(), ..Evidence::default() }
}

/// A map of a thousand keys, and a loop that was written with one in mind.
fn one_key_map() -> Evidence {
    let map: HashMap<u32, u64> = (0..1_000).map(|k| (k, 0)).collect();
    let mut asked = HashSet::new();
    for _ in 0..1_000 {
        let key = black_box(42);
        black_box(map.get(&key));
        asked.insert(key);
    }
    Evidence { keys: Some((asked.len() as u64, map.len() as u64)), ..Evidence::default() }
}

/// Lanes that start together, work until they are told to stop, and are timed by their own clocks; what they counted is compared
/// with what arrived, and the keys that they asked for with those that there are.
fn sound() -> Evidence {
    const KEYS: u32 = 500;
    let mut evidence = Evidence { effective: Some((0, 0)), ..Evidence::default() };
    let mut asked = HashSet::new();
    for _ in 0..3 {
        let map: Mutex<HashMap<u32, u64>> = Mutex::new((0..KEYS).map(|k| (k, 0)).collect());
        let (base, ready, stop) = (Instant::now(), AtomicUsize::new(0), AtomicBool::new(false));
        let lanes: Vec<((f64, f64), u64)> = thread::scope(|s| {
            let work = |seed| {
                let (map, ready, stop) = (&map, &ready, &stop);
                s.spawn(move || {
                    let (keys, mut counted) = (draw(Skew::Uniform, KEYS, 1 << 12, seed), 0);
                    ready.fetch_add(1, AcqRel);
                    while ready.load(Acquire) < 2 {
                        thread::yield_now();
                    }
                    let at = lane(base, || {
                        while !stop.load(Relaxed) {
                            let key = keys[counted as usize % keys.len()];
                            *map.lock().expect("no holder panics").entry(key).or_default() += 1;
                            counted += 1;
                        }
                    });
                    (at, counted)
                })
            };
            let lanes: Vec<_> = (1..=2).map(work).collect();
            while ready.load(Acquire) < 2 {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(40));
            stop.store(true, Relaxed);
            lanes.into_iter().map(|l| l.join().expect("no lane panics")).collect()
        });
        let map = map.into_inner().expect("no holder panics");
        asked.extend(map.iter().filter(|(_, n)| **n > 0).map(|(k, _)| *k));
        let (counted, did) = evidence.effective.unwrap_or_default();
        let now: u64 = lanes.iter().map(|l| l.1).sum();
        evidence.effective = Some((counted + now, did + map.values().sum::<u64>()));
        let lanes: Vec<(f64, f64)> = lanes.into_iter().map(|l| l.0).collect();
        let from = lanes.iter().map(|l| l.0).fold(f64::INFINITY, f64::min);
        let to = lanes.iter().map(|l| l.1).fold(0.0, f64::max);
        evidence.timed.push(Timed { clock: (from, to), lanes });
    }
    evidence.keys = Some((asked.len() as u64, u64::from(KEYS)));
    evidence
}

//! Counters under one trait, what a counter can be asked to do in a lab, and the check of each.
use std::{
    cell::Cell,
    hint::black_box,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crossbeam::utils::CachePadded;

use crate::{
    lab::{Contender, sample::Sample},
    measure::{
        allocated,
        cost::{Ops, Solo},
        throughput::{Apart, Crowd, Lane},
    },
    structures::lockfree::counter as lockfree,
};

/// A count that many threads add to. All orderings are relaxed: the count carries no other data.
pub trait Counts: Send + Sync + 'static {
    /// Who it is.
    const IS: Contender;
    /// A reader may see so many additions of each lane too few, for ever.
    const LAG: u64 = 0;
    /// For so many lanes.
    fn new(lanes: usize) -> Self;
    /// Adds one. Each lane calls it from one thread only.
    fn add(&self, lane: usize);
    /// The count, or as much of it as is known.
    fn read(&self) -> u64;
}

/// One number behind a std mutex.
#[derive(Debug)]
pub struct Locked(Apart<Mutex<u64>>);

impl Counts for Locked {
    const IS: Contender = Contender::new("mutex").called("a number behind a std Mutex");
    fn new(_: usize) -> Self {
        Self(Apart::default())
    }
    fn add(&self, _: usize) {
        *self.0.0.lock().expect("no holder panics") += 1;
    }
    fn read(&self) -> u64 {
        *self.0.0.lock().expect("no holder panics")
    }
}

/// One atomic number.
#[derive(Debug)]
pub struct FetchAdd(Apart<AtomicU64>);

impl Counts for FetchAdd {
    const IS: Contender = Contender::new("fetch_add").called("one atomic, fetch_add");
    fn new(_: usize) -> Self {
        Self(Apart::default())
    }
    fn add(&self, _: usize) {
        self.0.0.fetch_add(1, Relaxed);
    }
    fn read(&self) -> u64 {
        self.0.0.load(Relaxed)
    }
}

/// The same by compare-and-swap: under contention a try may fail, and is made again.
#[derive(Debug)]
pub struct CasLoop(Apart<AtomicU64>);

impl Counts for CasLoop {
    const IS: Contender = Contender::new("cas_loop").called("one atomic, compare-and-swap loop");
    fn new(_: usize) -> Self {
        Self(Apart::default())
    }
    fn add(&self, _: usize) {
        let mut seen = self.0.0.load(Relaxed);
        while let Err(now) = self.0.0.compare_exchange_weak(seen, seen + 1, Relaxed, Relaxed) {
            seen = now;
        }
    }
    fn read(&self) -> u64 {
        self.0.0.load(Relaxed)
    }
}

/// Eight atomic numbers; a lane always uses the same one, and several lanes may share it.
#[derive(Debug)]
pub struct Sharded([CachePadded<AtomicU64>; 8]);

impl Counts for Sharded {
    const IS: Contender = Contender::new("sharded_8").called("8 shards");
    fn new(_: usize) -> Self {
        Self(Default::default())
    }
    fn add(&self, lane: usize) {
        self.0[lane % 8].fetch_add(1, Relaxed);
    }
    fn read(&self) -> u64 {
        self.0.iter().map(|n| n.load(Relaxed)).sum()
    }
}

/// A number for each lane, which only that lane writes: no read-modify-write, and the reader sums up.
#[derive(Debug)]
pub struct PerThread(Box<[CachePadded<AtomicU64>]>);

impl Counts for PerThread {
    const IS: Contender = Contender::new("per_thread").called("a number for each thread");
    fn new(lanes: usize) -> Self {
        Self((0..lanes).map(|_| CachePadded::default()).collect())
    }
    fn add(&self, lane: usize) {
        let mine = &self.0[lane];
        mine.store(mine.load(Relaxed) + 1, Relaxed);
    }
    fn read(&self) -> u64 {
        self.0.iter().map(|n| n.load(Relaxed)).sum()
    }
}

/// As [`PerThread`], but each lane hands its additions on to a common number, 64 at a time; readers look only at that.
#[derive(Debug)]
pub struct Batched {
    own: PerThread,
    total: Apart<AtomicU64>,
}

const BATCH: u64 = 64;

impl Counts for Batched {
    const IS: Contender = Contender::new("batched_64").called("batches of 64");
    const LAG: u64 = BATCH - 1;
    fn new(lanes: usize) -> Self {
        Self { own: PerThread::new(lanes), total: Apart::default() }
    }
    fn add(&self, lane: usize) {
        self.own.add(lane);
        if self.own.0[lane].load(Relaxed).is_multiple_of(BATCH) {
            self.total.0.fetch_add(BATCH, Relaxed);
        }
    }
    fn read(&self) -> u64 {
        self.total.0.load(Relaxed)
    }
}

impl Counts for lockfree::Counter {
    const IS: Contender = Contender::new("counter").called("our Counter");
    fn new(_: usize) -> Self {
        Self::new()
    }
    fn add(&self, _: usize) {
        self.add(1);
    }
    fn read(&self) -> u64 {
        self.get()
    }
}

impl Counts for lockfree::CasCounter {
    const IS: Contender = Contender::new("cas_counter").called("our CasCounter");
    fn new(_: usize) -> Self {
        Self::new()
    }
    fn add(&self, _: usize) {
        self.add(1);
    }
    fn read(&self) -> u64 {
        self.get()
    }
}

/// At least 64 shards, as on a large machine: a reader must visit all of them.
impl Counts for lockfree::Sharded {
    const IS: Contender = Contender::new("sharded_64").called("our Sharded, 64 shards");
    fn new(lanes: usize) -> Self {
        Self::new(lanes.max(64))
    }
    fn add(&self, lane: usize) {
        self.add(lane, 1);
    }
    fn read(&self) -> u64 {
        self.get()
    }
}

/// One atomic number by compare-and-exchange that does not load it first: it expects what it left there itself, and learns the true value
/// from the first exchange that fails. So the line is asked for once, to be written.
#[derive(Debug)]
pub struct CasGuess {
    count: Apart<AtomicU64>,
    /// What each lane left there last; only that lane uses it.
    last: Box<[CachePadded<AtomicU64>]>,
}

impl Counts for CasGuess {
    const IS: Contender = Contender::new("cas_guess").called("compare-and-exchange loop that guesses");
    fn new(lanes: usize) -> Self {
        Self { count: Apart::default(), last: (0..lanes).map(|_| CachePadded::default()).collect() }
    }
    fn add(&self, lane: usize) {
        let last = &self.last[lane];
        let mut seen = last.load(Relaxed);
        while let Err(now) = self.count.0.compare_exchange_weak(seen, seen + 1, Relaxed, Relaxed) {
            seen = now;
        }
        last.store(seen + 1, Relaxed);
    }
    fn read(&self) -> u64 {
        self.count.0.load(Relaxed)
    }
}

/// Events among operations, over all instances and lanes.
#[derive(Debug, Default)]
pub struct Tally {
    done: CachePadded<AtomicU64>,
    events: CachePadded<AtomicU64>,
}

impl Tally {
    /// Failed exchanges for each that succeeded; `None` if there was none.
    pub fn failed_ratio(&self) -> Option<f64> {
        let done = self.done.load(Relaxed);
        (done > 0).then(|| self.events.load(Relaxed) as f64 / done as f64)
    }
    /// Additions of one lane before another lane's came, on average; `None` if the lanes never took turns.
    pub fn adds_in_a_row(&self) -> Option<f64> {
        let turns = self.events.load(Relaxed);
        (turns > 0).then(|| self.done.load(Relaxed) as f64 / turns as f64)
    }
    /// Lanes of one instance: `op` does one operation, is given what the lane's last one left, and says how many events there were.
    fn lanes<C: Send + Sync + 'static>(
        self: &Arc<Self>,
        make: fn() -> C,
        op: fn(&C, &mut u64) -> u64,
    ) -> impl Fn(usize) -> Vec<Lane> + 'static {
        let tally = self.clone();
        move |lanes| {
            let shared = Arc::new(Apart(make()));
            let lane = |_| {
                let (shared, tally) = (shared.clone(), tally.clone());
                let (mut left, mut done, mut events) = (0, 0, 0);
                Box::new(Apart(move |n: u32, _: u32| {
                    for _ in 0..n {
                        events += op(&shared.0, &mut left);
                    }
                    done += u64::from(n);
                    // Once in hundreds of operations: a shared tally must not be what is measured.
                    if done >= 512 {
                        tally.done.fetch_add(done, Relaxed);
                        tally.events.fetch_add(events, Relaxed);
                        (done, events) = (0, 0);
                    }
                })) as Lane
            };
            (0..lanes).map(lane).collect()
        }
    }
}

/// Lanes that add to one [`lockfree::CasCounter`], and count the exchanges that failed.
pub fn exchanging(tally: &Arc<Tally>) -> Crowd {
    let add = |counter: &lockfree::CasCounter, _: &mut u64| u64::from(counter.add_counting(black_box(1)).1);
    Crowd::new(CAS_COUNTER.is.id, tally.lanes(lockfree::CasCounter::new, add))
}

/// Lanes that add to one atomic number, and count how often another lane's addition came in between.
pub fn in_a_row(tally: &Arc<Tally>) -> Crowd {
    let add = |count: &AtomicU64, left: &mut u64| {
        let before = count.fetch_add(black_box(1), Relaxed);
        let is_new = before != *left;
        *left = before + 1;
        u64::from(is_new)
    };
    Crowd::new(COUNTER.is.id, tally.lanes(AtomicU64::default, add))
}

/// One thread that adds to a number which nobody else can see, a thread-local: no counter, but what an addition costs at least.
pub fn floor() -> Ops {
    thread_local! {
        // Several, so that the index stays one: with one place the compiler would know the address, and a processor that renames what is stored
        // at a fixed address would be compared with one that forwards it.
        static MINE: [Cell<u64>; 8] = const { [const { Cell::new(0) }; 8] };
    }
    Box::new(|n| {
        for _ in 0..n {
            MINE.with(|mine| {
                let mine = &mine[black_box(0)];
                mine.set(mine.get() + 1);
            });
        }
    })
}

/// A counter as a contender: its name, and everything that a lab can ask of it.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    is: Contender,
    adds: fn() -> Ops,
    reads: fn() -> Ops,
    lanes: fn(lanes: usize, read_every: u32) -> Vec<Lane>,
    weighed: fn() -> Result<Sample, String>,
}

/// One number behind a std mutex.
pub static MUTEX: Counter = counter::<Locked>();
/// One atomic number.
pub static FETCH_ADD: Counter = counter::<FetchAdd>();
/// One atomic number, by compare-and-swap.
pub static CAS_LOOP: Counter = counter::<CasLoop>();
/// Eight atomic numbers.
pub static SHARDED_8: Counter = counter::<Sharded>();
/// A number for each lane.
pub static PER_THREAD: Counter = counter::<PerThread>();
/// A number for each lane, handed on 64 at a time.
pub static BATCHED_64: Counter = counter::<Batched>();
/// `structures::lockfree::counter::Counter`.
pub static COUNTER: Counter = counter::<lockfree::Counter>();
/// `structures::lockfree::counter::CasCounter`.
pub static CAS_COUNTER: Counter = counter::<lockfree::CasCounter>();
/// [`CasGuess`].
pub static CAS_GUESS: Counter = counter::<CasGuess>();
/// `structures::lockfree::counter::Sharded`.
pub static SHARDED_64: Counter = counter::<lockfree::Sharded>();
/// No counter: the [`floor`] that the others are compared with.
pub static THREAD_LOCAL: Contender = Contender::new("thread_local").called("a thread-local number");

/// A counter as a contender.
pub const fn counter<C: Counts>() -> Counter {
    fn alone<C: Counts, const READ: bool>() -> Ops {
        let counter = Box::new(Apart(C::new(1)));
        Box::new(move |n| {
            for _ in 0..n {
                if READ {
                    black_box(counter.0.read());
                } else {
                    counter.0.add(black_box(0));
                }
            }
        })
    }
    fn lanes<C: Counts>(lanes: usize, read_every: u32) -> Vec<Lane> {
        let counter = Arc::new(C::new(lanes));
        let lane = |lane: usize| {
            let counter = counter.clone();
            let mut until_read = read_every;
            Box::new(Apart(move |n: u32, _: u32| {
                for _ in 0..n {
                    if until_read == 1 {
                        until_read = read_every;
                        black_box(counter.read());
                    } else {
                        until_read = until_read.saturating_sub(1);
                        counter.add(black_box(lane));
                    }
                }
            })) as Lane
        };
        (0..lanes).map(lane).collect()
    }
    fn weighed<C: Counts>() -> Result<Sample, String> {
        allocated::instance(|| Box::new(C::new(2)))
    }
    Counter {
        is: C::IS.checked(check::<C>),
        adds: alone::<C, false>,
        reads: alone::<C, true>,
        lanes: lanes::<C>,
        weighed: weighed::<C>,
    }
}

impl AsRef<Contender> for Counter {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Counter {
    /// Additions of one thread that has the counter to itself.
    pub fn adds(&self) -> Solo {
        Solo::new(self.is.id, self.adds)
    }
    /// Reads of one thread that has the counter to itself.
    pub fn reads(&self) -> Solo {
        Solo::new(self.is.id, self.reads)
    }
    /// Lanes that share one counter; every `read_every`-th operation of a lane reads instead of adding (0: none does).
    pub fn crowd(&self, read_every: u32) -> Crowd {
        let lanes = self.lanes;
        Crowd::new(self.is.id, move |threads| lanes(threads, read_every))
    }
    /// What an instance for two lanes takes in memory: [`allocated::instance`].
    ///
    /// # Errors
    /// Where the allocator does not tell.
    pub fn weighed(&self) -> Result<Sample, String> {
        (self.weighed)()
    }
}

/// What a counter must show before it is timed: no addition is lost, and a reader sees all but the lag it admits.
///
/// # Errors
/// A sentence that names the contender and what is missing.
pub fn check<C: Counts>() -> Result<(), String> {
    const LANES: u64 = 3;
    const EACH: u64 = 10_007;
    let counter = C::new(3);
    thread::scope(|s| {
        for lane in 0..3 {
            let counter = &counter;
            s.spawn(move || (0..EACH).for_each(|_| counter.add(lane)));
        }
    });
    let (seen, all) = (counter.read(), LANES * EACH);
    if seen > all || seen + LANES * C::LAG < all {
        return Err(format!(
            "{}: of {all} additions a reader saw {seen}; it may lag by {} a lane",
            C::IS.id,
            C::LAG
        ));
    }
    Ok(())
}

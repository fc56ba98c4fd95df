//! One counter, six ways, under one trait, and the check of each.
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
    measure::{
        cost::Ops,
        throughput::{Apart, Crowd, Lane},
    },
    structures::lockfree::counter as lockfree,
};

/// A count that many threads add to. All orderings are relaxed: the count carries no other data.
pub trait Counter: Send + Sync + 'static {
    /// Names the case everywhere.
    const CASE: &'static str;
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

impl Counter for Locked {
    const CASE: &'static str = "mutex";
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

impl Counter for FetchAdd {
    const CASE: &'static str = "fetch_add";
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

impl Counter for CasLoop {
    const CASE: &'static str = "cas_loop";
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

impl Counter for Sharded {
    const CASE: &'static str = "sharded_8";
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

impl Counter for PerThread {
    const CASE: &'static str = "per_thread";
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

impl Counter for Batched {
    const CASE: &'static str = "batched_64";
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

impl Counter for lockfree::Counter {
    const CASE: &'static str = "counter";
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

impl Counter for lockfree::CasCounter {
    const CASE: &'static str = "cas_counter";
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
impl Counter for lockfree::Sharded {
    const CASE: &'static str = "sharded_64";
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

/// Exchanges of the compare-and-exchange loop, over all instances.
#[derive(Debug, Default)]
pub struct Exchanges {
    done: CachePadded<AtomicU64>,
    failed: CachePadded<AtomicU64>,
}

impl Exchanges {
    /// Failed ones for each that succeeded; `None` if there was none.
    pub fn failed_ratio(&self) -> Option<f64> {
        let done = self.done.load(Relaxed);
        (done > 0).then(|| self.failed.load(Relaxed) as f64 / done as f64)
    }
}

/// Lanes that add to one [`lockfree::CasCounter`], and count what it cost them.
pub fn exchanging(tally: &Arc<Exchanges>) -> Crowd {
    let tally = tally.clone();
    let make = move |lanes: usize| {
        let counter = Arc::new(Apart(lockfree::CasCounter::new()));
        let lane = |_| {
            let (counter, tally) = (counter.clone(), tally.clone());
            let (mut done, mut failed) = (0, 0);
            Box::new(Apart(move |n: u32, _: u32| {
                for _ in 0..n {
                    failed += u64::from(counter.0.add_counting(black_box(1)).1);
                }
                done += u64::from(n);
                // Once in hundreds of operations: a shared tally must not be what is measured.
                if done >= 512 {
                    tally.done.fetch_add(done, Relaxed);
                    tally.failed.fetch_add(failed, Relaxed);
                    (done, failed) = (0, 0);
                }
            })) as Lane
        };
        (0..lanes).map(lane).collect()
    };
    Crowd::new(<lockfree::CasCounter as Counter>::CASE, make)
}

/// One thread that only adds, or only reads.
pub fn alone<C: Counter, const READ: bool>() -> Ops {
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

/// Lanes that share one counter; every `read_every`-th operation of a lane reads instead of adding (0: none does).
pub fn crowd<C: Counter>(read_every: u32) -> Crowd {
    let make = move |lanes: usize| {
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
    };
    Crowd::new(C::CASE, make)
}

/// What a counter must show before it is timed: no addition is lost, and a reader sees all but the lag it admits.
///
/// # Errors
/// A sentence that names the contender and what is missing.
pub fn check<C: Counter>() -> Result<(), String> {
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
            C::CASE,
            C::LAG
        ));
    }
    Ok(())
}

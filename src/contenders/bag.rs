//! Queues and stacks that any number of threads push to and pop from, under one trait, and the check of each.
use std::{
    collections::VecDeque,
    hint::black_box,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use crossbeam::{
    channel,
    queue::{ArrayQueue, SegQueue},
    utils::CachePadded,
};

use crate::{
    contenders::treiber::Treiber,
    lab::{
        plan::Plan,
        sample::{AA, Sample},
    },
    measure::{
        allocated,
        throughput::{Apart, Crowd, Lane},
    },
    structures::{
        lock::{guard::Exclusive, ttas},
        lockfree::{
            mpmc::Mpmc,
            queue::{Queue, QueueHandle},
            stack::{Stack, StackHandle},
        },
        reclaim::Reclaim,
    },
};

/// What comes out next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The oldest value.
    Oldest,
    /// The newest value.
    Newest,
}

/// A queue or a stack, shared.
pub trait Bag: Sync + 'static {
    /// Names the case everywhere.
    const CASE: &'static str;
    /// Which value a pop takes.
    const NEXT: Next;
    /// A thread's access.
    type Access: Access + Send + 'static;
    /// For so many threads at a time.
    fn new(threads: usize) -> Self;
    /// A thread's access. It borrows for ever: an instance under measurement lives as long as its process.
    fn access(&'static self) -> Self::Access;
}

/// One thread's access to a [`Bag`].
pub trait Access {
    /// Puts a value in. There is room: no thread has more than one value in it.
    fn push(&mut self, value: u64);
    /// Takes a value out.
    fn pop(&mut self) -> Option<u64>;
    /// Exchanges that failed so far because somebody else came first; `None` where nobody counts them.
    fn failed_count(&self) -> Option<u64> {
        None
    }
}

/// Bounded ones hold so many: more than there are threads.
const ROOM: usize = 1024;

/// Bags that need no handle: the access is a shared reference.
macro_rules! shared {
    ($ty:ty, $case:literal, $next:ident, $new:expr, |$bag:ident, $value:ident| $push:expr, $pop:expr) => {
        impl Bag for $ty {
            const CASE: &'static str = $case;
            const NEXT: Next = Next::$next;
            type Access = &'static Self;
            fn new(_threads: usize) -> Self {
                $new
            }
            fn access(&'static self) -> &'static Self {
                self
            }
        }
        impl Access for &'static $ty {
            #[inline]
            fn push(&mut self, $value: u64) {
                let $bag = *self;
                $push
            }
            #[inline]
            fn pop(&mut self) -> Option<u64> {
                let $bag = *self;
                $pop
            }
        }
    };
}

/// A channel, both ends of it.
#[derive(Debug)]
pub struct Both<T, R>(T, R);
/// crossbeam's bounded channel.
pub type Crossbeam = Both<channel::Sender<u64>, channel::Receiver<u64>>;
/// flume's bounded channel.
pub type Flume = Both<flume::Sender<u64>, flume::Receiver<u64>>;
/// A stack behind our spin lock (test and test-and-set).
pub type SpinVec = Exclusive<ttas::Raw, Vec<u64>>;
/// A queue behind it.
pub type SpinDeque = Exclusive<ttas::Raw, VecDeque<u64>>;
const OPEN: &str = "both ends live as long as each other";

shared!(SegQueue<u64>, "seg_queue", Oldest, Self::new(), |b, v| b.push(v), b.pop());
shared!(
    Mutex<VecDeque<u64>>,
    "mutex_deque",
    Oldest,
    Self::default(),
    |b, v| lock(b).push_back(v),
    lock(b).pop_front()
);
shared!(Mutex<Vec<u64>>, "mutex_vec", Newest, Self::default(), |b, v| lock(b).push(v), lock(b).pop());
shared!(SpinVec, "spin_vec", Newest, Self::default(), |b, v| b.lock().push(v), b.lock().pop());
shared!(SpinDeque, "spin_deque", Oldest, Self::default(), |b, v| b.lock().push_back(v), b.lock().pop_front());
shared!(Mpmc<u64>, "mpmc", Oldest, Self::new(ROOM), |b, v| b.push(v).expect("there is room"), b.pop());
shared!(
    ArrayQueue<u64>,
    "array_queue",
    Oldest,
    Self::new(ROOM),
    |b, v| b.push(v).expect("there is room"),
    b.pop()
);
shared!(Treiber, "crossbeam_treiber", Newest, Self::default(), |b, v| b.push(v), b.pop());
shared!(
    Crossbeam,
    "crossbeam_channel",
    Oldest,
    {
        let (tx, rx) = channel::bounded(ROOM);
        Both(tx, rx)
    },
    |b, v| b.0.try_send(v).expect(OPEN),
    b.1.try_recv().ok()
);
shared!(
    Flume,
    "flume",
    Oldest,
    {
        let (tx, rx) = flume::bounded(ROOM);
        Both(tx, rx)
    },
    |b, v| b.0.try_send(v).expect(OPEN),
    b.1.try_recv().ok()
);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

/// Our structures, whose threads hold handles. The case is the structure's name and the scheme's.
macro_rules! handled {
    ($bag:ident, $handle:ident, $scheme:ty, $case:literal, $next:ident) => {
        impl Bag for $bag<u64, $scheme> {
            const CASE: &'static str = $case;
            const NEXT: Next = Next::$next;
            type Access = $handle<'static, u64, $scheme>;
            fn new(threads: usize) -> Self {
                Self::new(threads)
            }
            fn access(&'static self) -> Self::Access {
                self.handle().expect("one for each thread")
            }
        }
    };
}
handled!(Queue, QueueHandle, crate::structures::reclaim::epoch::Epoch, "queue_epoch", Oldest);
handled!(Queue, QueueHandle, crate::structures::reclaim::hazard::Hazard, "queue_hazard", Oldest);
handled!(Stack, StackHandle, crate::structures::reclaim::epoch::Epoch, "stack_epoch", Newest);
handled!(Stack, StackHandle, crate::structures::reclaim::hazard::Hazard, "stack_hazard", Newest);

impl<R: Reclaim + 'static> Access for QueueHandle<'static, u64, R> {
    #[inline]
    fn push(&mut self, value: u64) {
        QueueHandle::push(self, value);
    }
    #[inline]
    fn pop(&mut self) -> Option<u64> {
        QueueHandle::pop(self)
    }
    fn failed_count(&self) -> Option<u64> {
        Some(self.retries_count())
    }
}

impl<R: Reclaim + 'static> Access for StackHandle<'static, u64, R> {
    #[inline]
    fn push(&mut self, value: u64) {
        StackHandle::push(self, value);
    }
    #[inline]
    fn pop(&mut self) -> Option<u64> {
        StackHandle::pop(self)
    }
    fn failed_count(&self) -> Option<u64> {
        Some(self.retries_count())
    }
}

/// Operations and failed exchanges of a contender, over all its instances.
#[derive(Debug, Default)]
pub struct Tally {
    pairs: CachePadded<AtomicU64>,
    failed: CachePadded<AtomicU64>,
    counted: AtomicU64,
}

impl Tally {
    /// Failed exchanges for each operation that succeeded; `None` where nobody counts them.
    pub fn failed_per_op(&self) -> Option<f64> {
        let pairs = self.pairs.load(Relaxed);
        (self.counted.load(Relaxed) > 0 && pairs > 0)
            .then(|| self.failed.load(Relaxed) as f64 / (2 * pairs) as f64)
    }
}

/// Four quads of windows with more threads than CPUs, and a little more.
const CROWDED: Duration = Duration::from_millis(430);

/// The tallies of a launch, by case.
#[derive(Debug, Default)]
pub struct Tallies(Mutex<Vec<(&'static str, Arc<Tally>)>>);

impl Tallies {
    fn of(&self, case: &'static str) -> Arc<Tally> {
        let mut all = lock(&self.0);
        if let Some((_, tally)) = all.iter().find(|(c, _)| *c == case) {
            return tally.clone();
        }
        all.push((case, Arc::default()));
        all[all.len() - 1].1.clone()
    }
}

/// Measures lanes at `1x_threads`, `2x_threads` and so on: one launch. Values as of [`crowd::crowd`](crate::measure::throughput::crowd), and
/// `failed_ratio`, failed exchanges for each that succeeded, where they are counted. `arms` makes the contenders, the first of them the baseline.
pub fn crowded(plan: &Plan, params: &[&str], arms: impl Fn(&Tallies) -> Vec<Crowd>) -> Vec<Sample> {
    let measure = |plan: &Plan, param: &str, arms: &[Crowd]| {
        // With more threads than CPUs a window lasts 24 ms, and there must be four quads of them.
        let shared = plan.threads > plan.cpus.len() && !plan.is_smoke();
        let slice = if shared { plan.slice.max(CROWDED) } else { plan.slice / 2 };
        crate::measure::throughput::crowd(&Plan { slice, ..plan.clone() }, param, 0.0, arms)
    };
    at_times(plan, params, arms, measure)
}

/// The same, each operation looked at: values as of [`singles`](crate::measure::worst::singles), and `failed_ratio`.
pub fn singly(plan: &Plan, params: &[&str], arms: impl Fn(&Tallies) -> Vec<Crowd>) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 4, ..plan.clone() };
    at_times(&plan, params, arms, crate::measure::worst::singles)
}

fn at_times(
    plan: &Plan,
    params: &[&str],
    arms: impl Fn(&Tallies) -> Vec<Crowd>,
    measure: impl Fn(&Plan, &str, &[Crowd]) -> Vec<Sample>,
) -> Vec<Sample> {
    let at = |param: &&str| {
        let tallies = Tallies::default();
        let arms = arms(&tallies);
        let times = param.strip_suffix("x_threads").and_then(|n| n.parse().ok()).unwrap_or(1);
        let plan = Plan { threads: plan.threads * times, ..plan.clone() };
        let failed = |case: &str| {
            let own = arms
                .iter()
                .map(|a| a.case)
                .find(|own| *own == case)
                .or((case == AA).then_some(arms[0].case))?;
            tallies.of(own).failed_per_op()
        };
        let with_failed = |row: Sample| match failed(&row.case) {
            Some(ratio) if row.unmeasured.is_none() => row.with("failed_ratio", ratio),
            _ => row,
        };
        measure(&plan, param, &arms).into_iter().map(with_failed).collect::<Vec<_>>()
    };
    params.iter().flat_map(at).collect()
}

/// So many values are weighed: bounded bags hold as many.
const WEIGHED: u32 = 1_000;

/// What a bag weighs, by what the allocator gives out. Values: `empty_bytes` of a new one for two threads; `element_bytes`, those and what
/// 1,000 values of 8 bytes need, for each value; `left_bytes`, what is left for each when all were taken out again.
pub fn weigh<B: Bag>(param: &str) -> Sample {
    let before = allocated::given_out_bytes();
    let (bag, empty) = allocated::grown(|| for_ever::<B>(2));
    let mut access = bag.access();
    (0..u64::from(WEIGHED)).for_each(|value| access.push(value));
    let full = allocated::given_out_bytes();
    (0..WEIGHED).for_each(|_| _ = black_box(access.pop()));
    let left = allocated::given_out_bytes();
    let each = |now: Option<u64>| Some(now?.saturating_sub(before?) as f64 / f64::from(WEIGHED));
    match (empty, each(full), each(left)) {
        (Some(empty), Some(full), Some(left)) => Sample::new(B::CASE, param)
            .with("empty_bytes", empty as f64)
            .with("element_bytes", full)
            .with("left_bytes", left),
        _ => Sample::unmeasured(B::CASE, param, allocated::UNKNOWN),
    }
}

/// A shared object that lives as long as the process: the lanes' handles borrow it. One for each instance that is measured.
pub(crate) fn for_ever<B: Bag>(threads: usize) -> &'static B {
    &Box::leak(Box::new(Apart(B::new(threads)))).0
}

/// Lanes that share one bag: an operation of a lane is a push and then a pop, which finds something, since every lane has pushed first.
pub fn crowd<B: Bag>(tallies: &Tallies) -> Crowd {
    let tally = tallies.of(B::CASE);
    let make = move |lanes: usize| {
        let bag = for_ever::<B>(lanes);
        let lane = |_| {
            let (mut access, tally) = (bag.access(), tally.clone());
            let (mut value, mut unsaid, mut failed) = (0u64, 0, 0);
            Box::new(Apart(move |n: u32, _: u32| {
                for _ in 0..n {
                    access.push(value);
                    value += 1;
                    black_box(access.pop());
                }
                unsaid += u64::from(n);
                // Once in hundreds of operations: a shared tally must not be what is measured.
                if unsaid >= 512 {
                    tally.pairs.fetch_add(unsaid, Relaxed);
                    if let Some(now) = access.failed_count() {
                        tally.failed.fetch_add(now - failed, Relaxed);
                        tally.counted.store(1, Relaxed);
                        failed = now;
                    }
                    unsaid = 0;
                }
            })) as Lane
        };
        (0..lanes).map(lane).collect()
    };
    Crowd::new(B::CASE, make)
}

/// The same by one thread, for [`crate::measure::cost`].
pub fn alone<B: Bag>() -> crate::measure::cost::Ops {
    let mut access = for_ever::<B>(1).access();
    Box::new(move |n| {
        for value in 0..n {
            access.push(value);
            black_box(access.pop());
        }
    })
}

/// What a bag must show before it is timed: its order, that empty is empty, and that threads that meet lose nothing, get nothing twice and
/// always find something after a push of their own.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<B: Bag>() -> Result<(), String> {
    const THREADS: u64 = 3;
    const EACH: u64 = 5_000;
    let case = B::CASE;
    let bag = for_ever::<B>(4);
    let mut access = bag.access();
    (0..3).for_each(|v| access.push(v));
    let out: Vec<u64> = std::iter::from_fn(|| access.pop()).take(9).collect();
    let (want, what) = match B::NEXT {
        Next::Oldest => ([0, 1, 2], "oldest"),
        Next::Newest => ([2, 1, 0], "newest"),
    };
    if out != want {
        return Err(format!("{case}: 0, 1, 2 went in and {out:?} came out, {what} first"));
    }
    let body = |thread: u64| {
        let mut access = bag.access();
        let pair = |i: u64| {
            access.push(thread * EACH + i);
            access.pop()
        };
        (0..EACH).map(pair).collect::<Vec<_>>()
    };
    let mut all: Vec<Option<u64>> = thread::scope(|s| {
        let threads: Vec<_> = (0..THREADS).map(|t| s.spawn(move || body(t))).collect();
        threads.into_iter().flat_map(|t| t.join().expect("a bag does not panic")).collect()
    });
    all.sort_unstable();
    match all.into_iter().zip(0..).find(|(got, want)| *got != Some(*want)) {
        Some((None, _)) => Err(format!("{case}: a thread that had pushed found nothing")),
        Some((Some(got), want)) => Err(format!("{case}: {got} came out instead of {want}: lost, or twice")),
        None => Ok(()),
    }
}

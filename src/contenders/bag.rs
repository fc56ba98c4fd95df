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
        Contender, Point,
        plan::Plan,
        sample::{AA, Sample},
    },
    measure::{
        allocated,
        cost::{Ops, Solo},
        throughput::{self, Apart, Crowd, Lane},
        worst,
    },
    structures::{
        lock::{guard::Exclusive, ttas},
        lockfree::{
            mpmc::Mpmc,
            queue::{Queue, QueueHandle},
            stack::{Stack, StackHandle},
        },
        reclaim::{Reclaim, epoch::Epoch, hazard::Hazard},
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
pub trait PushPop: Sync + 'static {
    /// Who it is.
    const IS: Contender;
    /// Which value a pop takes.
    const NEXT: Next;
    /// A thread's access.
    type Access: Access + Send + 'static;
    /// For so many threads at a time.
    fn new(threads: usize) -> Self;
    /// A thread's access. It borrows for ever: an instance under measurement lives as long as its process.
    fn access(&'static self) -> Self::Access;
}

/// One thread's access to a queue or a stack.
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

const fn named(id: &'static str, name: &'static str) -> Contender {
    Contender::new(id).called(name)
}

/// Bags that need no handle: the access is a shared reference.
macro_rules! shared {
    ($name:ident, $ty:ty, $is:expr, $next:ident, $new:expr, |$bag:ident, $value:ident| $push:expr, $pop:expr) => {
        impl PushPop for $ty {
            const IS: Contender = $is;
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
        #[doc = concat!("`", stringify!($ty), "`.")]
        pub static $name: Bag = bag::<$ty>();
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

shared!(
    SEG_QUEUE,
    SegQueue<u64>,
    named("seg_queue", "crossbeam SegQueue").of("crossbeam"),
    Oldest,
    Self::new(),
    |b, v| b.push(v),
    b.pop()
);
shared!(
    MUTEX_DEQUE,
    Mutex<VecDeque<u64>>,
    named("mutex_deque", "VecDeque behind std's Mutex"),
    Oldest,
    Self::default(),
    |b, v| lock(b).push_back(v),
    lock(b).pop_front()
);
shared!(
    MUTEX_VEC,
    Mutex<Vec<u64>>,
    named("mutex_vec", "Vec behind std's Mutex"),
    Newest,
    Self::default(),
    |b, v| lock(b).push(v),
    lock(b).pop()
);
shared!(
    SPIN_VEC,
    SpinVec,
    named("spin_vec", "Vec behind our spin lock"),
    Newest,
    Self::default(),
    |b, v| b.lock().push(v),
    b.lock().pop()
);
shared!(
    SPIN_DEQUE,
    SpinDeque,
    named("spin_deque", "VecDeque behind our spin lock"),
    Oldest,
    Self::default(),
    |b, v| b.lock().push_back(v),
    b.lock().pop_front()
);
shared!(
    MPMC,
    Mpmc<u64>,
    named("mpmc", "our bounded queue for many"),
    Oldest,
    Self::new(ROOM),
    |b, v| b.push(v).expect("there is room"),
    b.pop()
);
shared!(
    ARRAY_QUEUE,
    ArrayQueue<u64>,
    named("array_queue", "crossbeam ArrayQueue").of("crossbeam"),
    Oldest,
    Self::new(ROOM),
    |b, v| b.push(v).expect("there is room"),
    b.pop()
);
shared!(
    CROSSBEAM_TREIBER,
    Treiber,
    named("crossbeam_treiber", "Treiber's stack on crossbeam-epoch").of("crossbeam"),
    Newest,
    Self::default(),
    |b, v| b.push(v),
    b.pop()
);
shared!(
    CROSSBEAM_CHANNEL,
    Crossbeam,
    named("crossbeam_channel", "crossbeam's bounded channel").of("crossbeam"),
    Oldest,
    {
        let (tx, rx) = channel::bounded(ROOM);
        Both(tx, rx)
    },
    |b, v| b.0.try_send(v).expect(OPEN),
    b.1.try_recv().ok()
);
shared!(
    FLUME,
    Flume,
    named("flume", "flume's bounded channel").of("flume"),
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

/// Our structures, whose threads hold handles.
macro_rules! handled {
    ($name:ident, $bag:ident, $handle:ident, $scheme:ty, $is:expr, $next:ident) => {
        impl PushPop for $bag<u64, $scheme> {
            const IS: Contender = $is;
            const NEXT: Next = Next::$next;
            type Access = $handle<'static, u64, $scheme>;
            fn new(threads: usize) -> Self {
                Self::new(threads)
            }
            fn access(&'static self) -> Self::Access {
                self.handle().expect("one for each thread")
            }
        }
        #[doc = concat!("`", stringify!($bag), "<u64, ", stringify!($scheme), ">`.")]
        pub static $name: Bag = bag::<$bag<u64, $scheme>>();
    };
}
handled!(QUEUE_EPOCH, Queue, QueueHandle, Epoch, named("queue_epoch", "our queue with epochs"), Oldest);
handled!(
    QUEUE_HAZARD,
    Queue,
    QueueHandle,
    Hazard,
    named("queue_hazard", "our queue with hazard pointers"),
    Oldest
);
handled!(STACK_EPOCH, Stack, StackHandle, Epoch, named("stack_epoch", "our stack with epochs"), Newest);
handled!(
    STACK_HAZARD,
    Stack,
    StackHandle,
    Hazard,
    named("stack_hazard", "our stack with hazard pointers"),
    Newest
);

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

/// Measures lanes of these bags, the first being the baseline, with so many threads for each CPU: one launch. Values as of
/// [`throughput::crowd`], and `failed_ratio`, failed exchanges for each that succeeded, where they are counted.
pub fn crowded(plan: &Plan, times: &Point<usize>, bags: &[&Bag]) -> Vec<Sample> {
    tallied(plan, times, bags, |plan, param, arms| {
        // With more threads than CPUs a window lasts 24 ms, and there must be four quads of them.
        let shared = plan.threads > plan.cpus.len() && !plan.is_smoke();
        let slice = if shared { plan.slice.max(CROWDED) } else { plan.slice / 2 };
        throughput::crowd(&Plan { slice, ..plan.clone() }, param, 0.0, arms)
    })
}

/// The same, each operation looked at: values as of [`worst::singles`], and `failed_ratio`.
pub fn singly(plan: &Plan, times: &Point<usize>, bags: &[&Bag]) -> Vec<Sample> {
    tallied(plan, times, bags, worst::singles)
}

fn tallied(
    plan: &Plan,
    times: &Point<usize>,
    bags: &[&Bag],
    measure: impl Fn(&Plan, &str, Vec<Crowd>) -> Vec<Sample>,
) -> Vec<Sample> {
    let tallies: Vec<Arc<Tally>> = bags.iter().map(|_| Arc::default()).collect();
    let arms = bags.iter().zip(&tallies).map(|(bag, tally)| bag.counted(tally)).collect();
    let plan = Plan { threads: plan.threads * times.value, ..plan.clone() };
    let with_failed = |row: Sample| {
        // The twin of the first is counted with it.
        let own = bags.iter().zip(&tallies).find(|(bag, _)| row.case == AA || bag.is.id == row.case);
        match own.and_then(|(_, tally)| tally.failed_per_op()) {
            Some(ratio) if row.unmeasured.is_none() => row.with("failed_ratio", ratio),
            _ => row,
        }
    };
    measure(&plan, times.id(), arms).into_iter().map(with_failed).collect()
}

/// So many values are weighed: bounded bags hold as many.
const WEIGHED: u32 = 1_000;

/// What a bag weighs, by what the allocator gives out. Values: `empty_bytes` of a new one for two threads; `element_bytes`, those and what
/// 1,000 values of 8 bytes need, for each value; `left_bytes`, what is left for each when all were taken out again.
///
/// # Errors
/// Where the allocator does not tell.
pub fn weigh<B: PushPop>() -> Result<Sample, String> {
    let before = allocated::given_out_bytes();
    let (bag, empty) = allocated::grown(|| for_ever::<B>(2));
    let mut access = bag.access();
    (0..u64::from(WEIGHED)).for_each(|value| access.push(value));
    let full = allocated::given_out_bytes();
    (0..WEIGHED).for_each(|_| _ = black_box(access.pop()));
    let left = allocated::given_out_bytes();
    let each = |now: Option<u64>| Some(now?.saturating_sub(before?) as f64 / f64::from(WEIGHED));
    let (Some(empty), Some(full), Some(left)) = (empty, each(full), each(left)) else {
        return Err(allocated::UNKNOWN.into());
    };
    Ok(Sample::default()
        .with("empty_bytes", empty as f64)
        .with("element_bytes", full)
        .with("left_bytes", left))
}

/// A shared object that lives as long as the process: the lanes' handles borrow it. One for each instance that is measured.
pub(crate) fn for_ever<B: PushPop>(threads: usize) -> &'static B {
    &Box::leak(Box::new(Apart(B::new(threads)))).0
}

/// A queue or a stack as a contender: its name, and everything that a lab can ask of it.
#[derive(Clone, Copy, Debug)]
pub struct Bag {
    is: Contender,
    alone: fn() -> Ops,
    lanes: fn(threads: usize, tally: &Arc<Tally>) -> Vec<Lane>,
    weigh: fn() -> Result<Sample, String>,
}

/// A queue or a stack as a contender.
pub const fn bag<B: PushPop>() -> Bag {
    fn alone<B: PushPop>() -> Ops {
        let mut access = for_ever::<B>(1).access();
        Box::new(move |n| {
            for value in 0..n {
                access.push(value);
                black_box(access.pop());
            }
        })
    }
    Bag { is: B::IS.checked(check::<B>), alone: alone::<B>, lanes: lanes::<B>, weigh: weigh::<B> }
}

impl AsRef<Contender> for Bag {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Bag {
    /// A push and a pop by one thread that has the bag to itself.
    pub fn alone(&self) -> Solo {
        Solo::new(self.is.id, self.alone)
    }
    /// Lanes that share one bag: an operation of a lane is a push and then a pop, which finds something, since every lane has pushed first.
    pub fn crowd(&self) -> Crowd {
        self.counted(&Arc::default())
    }
    /// The same, its failed exchanges counted into a tally.
    pub fn counted(&self, tally: &Arc<Tally>) -> Crowd {
        let (lanes, tally) = (self.lanes, tally.clone());
        Crowd::new(self.is.id, move |threads| lanes(threads, &tally))
    }
    /// See [`weigh`].
    ///
    /// # Errors
    /// Where the allocator does not tell.
    pub fn weigh(&self) -> Result<Sample, String> {
        (self.weigh)()
    }
}

fn lanes<B: PushPop>(threads: usize, tally: &Arc<Tally>) -> Vec<Lane> {
    let bag = for_ever::<B>(threads);
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
    (0..threads).map(lane).collect()
}

/// What a bag must show before it is timed: its order, that empty is empty, and that threads that meet lose nothing, get nothing twice and
/// always find something after a push of their own.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<B: PushPop>() -> Result<(), String> {
    const THREADS: u64 = 3;
    const EACH: u64 = 5_000;
    let case = B::IS.id;
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

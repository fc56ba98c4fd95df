//! Bounded queues between one producer and one consumer, under one trait, and the check of each. All are polled: what a channel does to
//! sleep and to wake is not measured here.
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam::{channel, queue::ArrayQueue};

use crate::{
    lab::Contender,
    measure::{
        handover::{Leg, Relay, until},
        throughput::{Apart, Crowd, Lane},
    },
    structures::lockfree::{mpmc::Mpmc, ring},
};

/// A bounded queue as its two ends.
pub trait Ends: 'static {
    /// Who it is.
    const IS: Contender;
    /// The end to push at.
    type Tx: Send + 'static;
    /// The end to pop at.
    type Rx: Send + 'static;
    /// An empty queue for exactly so many values, a power of two.
    fn pair(capacity: usize) -> (Self::Tx, Self::Rx);
    /// Puts a value in; false if it is full.
    fn push(tx: &mut Self::Tx, value: u64) -> bool;
    /// Takes the oldest value out.
    fn pop(rx: &mut Self::Rx) -> Option<u64>;
}

/// A type for each contender, and what its ends are.
macro_rules! pipe {
    ($(#[$doc:meta])* $name:ident, $case:ident, $is:expr, $tx:ty, $rx:ty, $pair:expr, $push:expr, $pop:expr) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $name;
        impl Ends for $name {
            const IS: Contender = $is;
            type Tx = $tx;
            type Rx = $rx;
            fn pair(capacity: usize) -> ($tx, $rx) {
                $pair(capacity)
            }
            #[inline]
            fn push(tx: &mut $tx, value: u64) -> bool {
                $push(tx, value)
            }
            #[inline]
            fn pop(rx: &mut $rx) -> Option<u64> {
                $pop(rx)
            }
        }
        $(#[$doc])*
        pub static $case: Pipe = pipe::<$name>();
    };
}

const fn named(id: &'static str, name: &'static str) -> Contender {
    Contender::new(id).called(name)
}

/// The same object at both ends.
fn both<T>(shared: T) -> (Arc<T>, Arc<T>) {
    let shared = Arc::new(shared);
    (Arc::clone(&shared), shared)
}

pipe!(
    /// Our ring.
    Ring, RING, named("ring", "our ring"),
    ring::Producer<u64>, ring::Consumer<u64>,
    ring::ring, |tx: &mut ring::Producer<u64>, v| tx.push(v).is_ok(), |rx: &mut ring::Consumer<u64>| rx.pop()
);
pipe!(
    /// The crate rtrb's ring.
    Rtrb, RTRB, named("rtrb", "rtrb's ring").of("rtrb"),
    rtrb::Producer<u64>, rtrb::Consumer<u64>,
    rtrb::RingBuffer::new, |tx: &mut rtrb::Producer<u64>, v| tx.push(v).is_ok(), |rx: &mut rtrb::Consumer<u64>| rx.pop().ok()
);
pipe!(
    /// Our queue for many producers and consumers.
    OurMpmc, MPMC, named("mpmc", "our bounded queue for many"),
    Arc<Mpmc<u64>>, Arc<Mpmc<u64>>,
    |n| both(Mpmc::new(n)), |tx: &mut Arc<Mpmc<u64>>, v| tx.push(v).is_ok(), |rx: &mut Arc<Mpmc<u64>>| rx.pop()
);
pipe!(
    /// crossbeam's bounded queue for many.
    Array, ARRAY_QUEUE, named("array_queue", "crossbeam ArrayQueue").of("crossbeam"),
    Arc<ArrayQueue<u64>>, Arc<ArrayQueue<u64>>,
    |n| both(ArrayQueue::new(n)), |tx: &mut Arc<ArrayQueue<u64>>, v| tx.push(v).is_ok(), |rx: &mut Arc<ArrayQueue<u64>>| rx.pop()
);
pipe!(
    /// std's bounded channel.
    StdChannel, STD_CHANNEL, named("std_channel", "std's sync_channel"),
    mpsc::SyncSender<u64>, mpsc::Receiver<u64>,
    mpsc::sync_channel, |tx: &mut mpsc::SyncSender<u64>, v| tx.try_send(v).is_ok(), |rx: &mut mpsc::Receiver<u64>| rx.try_recv().ok()
);
pipe!(
    /// crossbeam's bounded channel.
    CrossbeamChannel, CROSSBEAM_CHANNEL, named("crossbeam_channel", "crossbeam's bounded channel").of("crossbeam"),
    channel::Sender<u64>, channel::Receiver<u64>,
    channel::bounded, |tx: &mut channel::Sender<u64>, v| tx.try_send(v).is_ok(), |rx: &mut channel::Receiver<u64>| rx.try_recv().ok()
);
pipe!(
    /// flume's bounded channel.
    FlumeChannel, FLUME, named("flume", "flume's bounded channel").of("flume"),
    flume::Sender<u64>, flume::Receiver<u64>,
    flume::bounded, |tx: &mut flume::Sender<u64>, v| tx.try_send(v).is_ok(), |rx: &mut flume::Receiver<u64>| rx.try_recv().ok()
);

/// A bounded queue as a contender: its name, and everything that a lab can ask of it.
#[derive(Clone, Copy, Debug)]
pub struct Pipe {
    is: Contender,
    one_way: fn(capacity: usize) -> [Leg; 2],
    ping_pong: fn() -> [Leg; 2],
    tries: fn(first: Side) -> Vec<Lane>,
}

/// A bounded queue as a contender.
pub const fn pipe<P: Ends>() -> Pipe {
    Pipe {
        is: P::IS.checked(check::<P>),
        one_way: one_way::<P>,
        ping_pong: ping_pong::<P>,
        tries: tries::<P>,
    }
}

impl AsRef<Contender> for Pipe {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

/// An end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who pushes.
    Producer,
    /// Who pops.
    Consumer,
}

impl Pipe {
    /// One thread pushes, the other pops.
    pub fn one_way(&self, capacity: usize) -> Relay {
        let one_way = self.one_way;
        Relay::new(self.is.id, move || one_way(capacity))
    }
    /// One value to the other thread and back, over two queues: two hand-overs a trip.
    pub fn ping_pong(&self) -> Relay {
        Relay::new(self.is.id, self.ping_pong)
    }
    /// Two lanes, each of which tries once for each operation, and which of them is the first. Full and empty are answers too.
    pub fn tries(&self, first: Side) -> Crowd {
        let tries = self.tries;
        let make = move |lanes: usize| {
            assert_eq!(lanes, 2, "one producer and one consumer");
            tries(first)
        };
        Crowd::new(self.is.id, make)
    }
}

fn one_way<P: Ends>(capacity: usize) -> [Leg; 2] {
    let (mut tx, mut rx) = P::pair(capacity);
    let mut next = 0u64;
    let push = move |n| {
        for _ in 0..n {
            until(|| P::push(&mut tx, next).then_some(()));
            next += 1;
        }
    };
    let pop = move |n| {
        for _ in 0..n {
            black_box(until(|| P::pop(&mut rx)));
        }
    };
    [Box::new(Apart(push)), Box::new(Apart(pop))]
}

fn ping_pong<P: Ends>() -> [Leg; 2] {
    let ((mut there, mut arrived), (mut back, mut returned)) = (P::pair(16), P::pair(16));
    let lead = move |n: u64| {
        for trip in 0..n.div_ceil(2) {
            until(|| P::push(&mut there, trip).then_some(()));
            black_box(until(|| P::pop(&mut returned)));
        }
    };
    let answer = move |n: u64| {
        for _ in 0..n.div_ceil(2) {
            let ball = until(|| P::pop(&mut arrived));
            until(|| P::push(&mut back, ball).then_some(()));
        }
    };
    [Box::new(Apart(lead)), Box::new(Apart(answer))]
}

fn tries<P: Ends>(first: Side) -> Vec<Lane> {
    let (mut tx, mut rx) = P::pair(16);
    let push: Lane =
        Box::new(Apart(move |n, _| (0..n).for_each(|i| _ = black_box(P::push(&mut tx, u64::from(i))))));
    let pop: Lane = Box::new(Apart(move |n, _| (0..n).for_each(|_| _ = black_box(P::pop(&mut rx)))));
    match first {
        Side::Producer => vec![push, pop],
        Side::Consumer => vec![pop, push],
    }
}

/// Not a queue at all: one word in one line.
pub static LINE: Contender = named("line", "one cache line");

/// A ping-pong with nothing but one word in one line: no queue can be faster. E1 each side's Release -> the other's Acquire: that it is its turn.
pub fn line() -> Relay {
    fn legs() -> [Leg; 2] {
        let ball = Arc::new(Apart(AtomicU64::new(0)));
        let other = Arc::clone(&ball);
        let lead = move |n: u64| {
            for _ in 0..n.div_ceil(2) {
                ball.0.store(1, Release); // E1
                until(|| (ball.0.load(Acquire) == 0).then_some(())); // E1
            }
        };
        let answer = move |n: u64| {
            for _ in 0..n.div_ceil(2) {
                until(|| (other.0.load(Acquire) == 1).then_some(())); // E1
                other.0.store(0, Release); // E1
            }
        };
        [Box::new(Apart(lead)), Box::new(Apart(answer))]
    }
    Relay::new(LINE.id, legs)
}

/// What a pipe must show before it is timed: it holds what it says and no more, in order, and loses nothing between two threads.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<P: Ends>() -> Result<(), String> {
    const CAPACITY: u64 = 4;
    const EACH: u64 = 1_000;
    const PATIENCE: Duration = Duration::from_secs(10);
    let case = P::IS.id;
    let (mut tx, mut rx) = P::pair(4);
    if P::pop(&mut rx).is_some() {
        return Err(format!("{case}: something comes out of an empty one"));
    }
    let held = (0..2 * CAPACITY).take_while(|v| P::push(&mut tx, *v)).count() as u64;
    if held != CAPACITY {
        return Err(format!("{case}: made for {CAPACITY} values, it holds {held}"));
    }
    // A broken one must not hang the check.
    let deadline = Instant::now() + PATIENCE;
    let stop = AtomicBool::new(false);
    let late = || stop.load(Relaxed) || Instant::now() > deadline;
    let wrong = thread::scope(|s| {
        s.spawn(move || {
            for v in CAPACITY..EACH {
                if !until(|| if P::push(&mut tx, v) { Some(true) } else { late().then_some(false) }) {
                    return;
                }
            }
        });
        let wrong = (0..EACH).find_map(|want| {
            match until(|| P::pop(&mut rx).map(Some).or_else(|| late().then_some(None))) {
                Some(got) if got == want => None,
                Some(got) => Some(format!("{got} came out where {want} was next")),
                None => Some(format!("{want} never came out")),
            }
        });
        stop.store(true, Relaxed); // a producer that waits for room
        wrong
    });
    match wrong {
        Some(what) => Err(format!("{case}: {what}")),
        None => Ok(()),
    }
}

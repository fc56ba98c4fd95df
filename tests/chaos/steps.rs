//! One thread is stopped before each step of its operation in turn; do the others finish theirs?
//!
//! The face of this test calls before every atomic step and every access to a cell, so the places are all there are, and not those that a
//! signal happens to hit (lab `lockfree_progress` does that, for the crates as well). They are the steps of an operation that nobody
//! disturbs: what a thread does after a lost race is not among them.

use crate::lock::mutex::Mutex;
use crate::lockfree::{
    counter::CasCounter, mpmc::Mpmc, queue::Queue, ring::ring, snapshot::Snapshot, stack::Stack,
};
use crate::reclaim::{Reclaim, epoch::Epoch, hazard::Hazard};
use crate::sync::chaos;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

type Op = Box<dyn FnOnce() + Send>;

/// What a stopped thread means for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Wherever it is stopped, they finish.
    Goes,
    /// Somewhere they do not.
    Blocks,
}

/// Steps that were tried, and those at which the others did not finish.
#[derive(Debug)]
struct Seen {
    steps: u64,
    halts: Vec<u64>,
}

/// Far above what a few operations take on a busy machine, where they should finish; where they should not somewhere, each such place costs
/// the shorter time.
fn patience(expected: Progress) -> Duration {
    match expected {
        Progress::Goes => Duration::from_secs(20),
        Progress::Blocks => Duration::from_millis(150),
    }
}

/// `make` gives the operation of the one that is stopped, and those of the others, on a fresh object.
fn each_step(expected: Progress, make: &dyn Fn() -> (Op, Vec<Op>)) -> Seen {
    let mut seen = Seen { steps: 0, halts: Vec::new() };
    loop {
        let (operation, others) = make();
        let (tell, told) = mpsc::channel();
        let (go_on, wait) = mpsc::channel::<()>();
        let place = seen.steps;
        let stopped = thread::spawn(move || {
            chaos::begin(1);
            chaos::stop_before(place, tell.clone(), wait);
            operation();
            let _ = tell.send(false);
        });
        if !told.recv().expect("it stops or ends") {
            stopped.join().unwrap();
            return seen; // there was no such step any more
        }
        seen.steps += 1;
        let (tell, told) = mpsc::channel();
        let running: Vec<_> = others
            .into_iter()
            .map(|other| {
                let tell = tell.clone();
                thread::spawn(move || {
                    chaos::begin(2);
                    other();
                    let _ = tell.send(());
                })
            })
            .collect();
        if running.iter().any(|_| told.recv_timeout(patience(expected)).is_err()) {
            seen.halts.push(place);
        }
        drop(go_on);
        running.into_iter().chain([stopped]).for_each(|thread| thread.join().unwrap());
    }
}

fn with_stack<R: Reclaim + 'static>() -> (Op, Vec<Op>) {
    let stack = Arc::new(Stack::<u64, R>::new(4));
    stack.handle().unwrap().push(7);
    let op = || -> Op {
        let stack = stack.clone();
        Box::new(move || {
            let mut handle = stack.handle().unwrap();
            handle.push(1);
            assert!(handle.pop().is_some(), "it has pushed");
        })
    };
    (op(), vec![op(), op()])
}

fn with_queue<R: Reclaim + 'static>() -> (Op, Vec<Op>) {
    let queue = Arc::new(Queue::<u64, R>::new(4));
    queue.handle().unwrap().push(7);
    let op = || -> Op {
        let queue = queue.clone();
        Box::new(move || {
            let mut handle = queue.handle().unwrap();
            handle.push(1);
            assert!(handle.pop().is_some(), "it has pushed");
        })
    };
    (op(), vec![op(), op()])
}

fn with_snapshot<R: Reclaim + 'static>() -> (Op, Vec<Op>) {
    let snapshot = Arc::new(Snapshot::<u64, R>::new(7, 4));
    let op = || -> Op {
        let snapshot = snapshot.clone();
        Box::new(move || {
            let mut handle = snapshot.handle().unwrap();
            handle.publish(1);
            handle.read(|value| assert!(*value == 1 || *value == 7));
        })
    };
    (op(), vec![op(), op()])
}

fn with_mpmc() -> (Op, Vec<Op>) {
    let queue = Arc::new(Mpmc::<u64>::new(4));
    let op = || -> Op {
        let queue = queue.clone();
        Box::new(move || {
            queue.push(1).unwrap();
            assert!(queue.pop().is_some(), "it has pushed");
        })
    };
    (op(), vec![op(), op()])
}

fn with_ring(producer_stops: bool) -> (Op, Vec<Op>) {
    let (mut tx, mut rx) = ring::<u64>(2);
    let push: Op = Box::new(move || (0..5).for_each(|value| _ = tx.push(value)));
    let pop: Op = Box::new(move || (0..5).for_each(|_| _ = rx.pop()));
    if producer_stops { (push, vec![pop]) } else { (pop, vec![push]) }
}

fn with_counter() -> (Op, Vec<Op>) {
    let counter = Arc::new(CasCounter::new());
    let op = || -> Op {
        let counter = counter.clone();
        Box::new(move || (0..3).for_each(|_| _ = counter.add(1)))
    };
    (op(), vec![op(), op()])
}

fn with_mutex() -> (Op, Vec<Op>) {
    let locked = Arc::new(Mutex::new(0u64));
    let op = || -> Op {
        let locked = locked.clone();
        Box::new(move || *locked.lock() += 1)
    };
    (op(), vec![op(), op()])
}

/// A structure, what its file says of it, and its operations.
type Case = (&'static str, Progress, fn() -> (Op, Vec<Op>));

const CASES: [Case; 11] = [
    ("stack, epoch", Progress::Goes, with_stack::<Epoch>),
    ("stack, hazard", Progress::Goes, with_stack::<Hazard>),
    ("queue, epoch", Progress::Goes, with_queue::<Epoch>),
    ("queue, hazard", Progress::Goes, with_queue::<Hazard>),
    ("snapshot, epoch", Progress::Goes, with_snapshot::<Epoch>),
    ("snapshot, hazard", Progress::Goes, with_snapshot::<Hazard>),
    ("ring, producer", Progress::Goes, || with_ring(true)),
    ("ring, consumer", Progress::Goes, || with_ring(false)),
    ("counter, cas", Progress::Goes, with_counter),
    ("mpmc", Progress::Blocks, with_mpmc),
    ("mutex", Progress::Blocks, with_mutex),
];

#[test]
fn stopped_before_each_step() {
    chaos::begin(3); // the objects are made here, on this face as well
    for (name, expected, make) in CASES {
        let seen = each_step(expected, &make);
        let halts = seen.halts.len();
        let class = if halts == 0 { "the others always finish" } else { "blocking" };
        println!(
            "{name:18} stopped before each of {:3} steps, the others stood still at {halts:2}: {class}",
            seen.steps
        );
        assert!(seen.steps > 0, "{name}: it has no step");
        assert_eq!(halts > 0, expected == Progress::Blocks, "{name}: {seen:?}");
    }
}

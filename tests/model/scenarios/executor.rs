//! What an executor must do in every execution: no wake is lost, and what was written before a wake is seen by the poll after it.
//!
//! The flags are Relaxed on purpose: if they ordered anything, they would do the executor's work for it.

use super::{Scenario, caught, throw};
use crate::sync::atomic::AtomicBool;
use crate::sync::atomic::Ordering::Relaxed;
use crate::sync::thread;
use crate::task::executor::Executor;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::{Poll, Waker};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one_waker",
        oracle: "a wake from another thread is never lost, whether the executor polls, looks for work, or sleeps",
        threads: 2,
        bound: Some(3), // complete it is 60,879 executions, with the same mutants killed
        run: |turns| woken(1, turns),
    },
    Scenario {
        name: "two_wakers",
        oracle: "of two wakes before one poll, both have been heard by it",
        threads: 3,
        bound: Some(2),
        run: |turns| woken(2, turns),
    },
    Scenario {
        name: "two_tasks",
        oracle: "tasks woken by different threads are both polled to their end",
        threads: 3,
        bound: Some(2),
        run: two_tasks,
    },
    Scenario {
        name: "cancelled",
        oracle: "a wake for a task that was cancelled, or whose executor is gone, does nothing",
        threads: 2,
        bound: None,
        run: cancelled,
    },
    Scenario {
        name: "reused",
        oracle: "a wake for a task that is gone neither polls nor loses the one that has its place now",
        threads: 2,
        bound: Some(2),
        run: reused,
    },
    Scenario {
        name: "panic",
        oracle: "a task that panics is gone, and the others go on",
        threads: 2,
        bound: Some(2),
        run: panic,
    },
];

type Flag = Arc<AtomicBool>;

/// Ends when all flags are set.
fn until(flags: Vec<Flag>) -> impl Future<Output = ()> {
    poll_fn(move |_| if flags.iter().all(|f| f.load(Relaxed)) { Poll::Ready(()) } else { Poll::Pending })
}

/// Sets a flag and then wakes, in another thread.
fn set(flag: &Flag, waker: Waker) -> thread::JoinHandle<()> {
    let flag = Arc::clone(flag);
    thread::spawn(move || {
        flag.store(true, Relaxed);
        waker.wake();
    })
}

fn flag() -> Flag {
    Arc::new(AtomicBool::new(false))
}

fn woken(wakers: usize, turns: usize) {
    for _ in 0..turns {
        let mut executor = Executor::new();
        let flags: Vec<Flag> = (0..wakers).map(|_| flag()).collect();
        let task = executor.spawn(until(flags.clone()));
        let others: Vec<_> = flags.iter().map(|flag| set(flag, executor.waker(task))).collect();
        executor.run();
        others.into_iter().for_each(|other| other.join().unwrap());
    }
}

fn two_tasks(turns: usize) {
    for _ in 0..turns {
        let mut executor = Executor::new();
        let others: Vec<_> = (0..2)
            .map(|_| {
                let flag = flag();
                let task = executor.spawn(until(vec![Arc::clone(&flag)]));
                set(&flag, executor.waker(task))
            })
            .collect();
        executor.run();
        others.into_iter().for_each(|other| other.join().unwrap());
    }
}

fn cancelled(turns: usize) {
    for _ in 0..turns {
        let mut executor = Executor::new();
        let never = executor.spawn(until(vec![flag()]));
        let other = set(&flag(), executor.waker(never));
        assert!(executor.cancel(never), "it was not done");
        assert!(!executor.cancel(never), "nobody is cancelled twice");
        executor.run(); // nobody is left
        assert_eq!(executor.step(), None, "a cancelled task is not polled");
        drop(executor);
        other.join().unwrap();
    }
}

fn reused(turns: usize) {
    for _ in 0..turns {
        let mut executor = Executor::new();
        let gone = executor.spawn(until(vec![flag()]));
        let old = executor.waker(gone);
        assert!(executor.cancel(gone), "it was not done");
        let flag = flag();
        let task = executor.spawn(until(vec![Arc::clone(&flag)]));
        assert_eq!(executor.places_count(), 1, "it has the place of the other");
        let (theirs, new) = (Arc::clone(&flag), executor.waker(task));
        let other = thread::spawn(move || {
            old.wake();
            theirs.store(true, Relaxed);
            new.wake();
        });
        assert!(!executor.cancel(gone), "it is gone");
        executor.run();
        other.join().unwrap();
    }
}

fn panic(turns: usize) {
    for _ in 0..turns {
        let mut executor = Executor::new();
        executor.spawn(poll_fn(|_| throw()));
        let flag = flag();
        let task = executor.spawn(until(vec![Arc::clone(&flag)]));
        caught(|| {
            executor.step();
        });
        assert_eq!(executor.alive_count(), 1, "the task that panicked is gone");
        let other = set(&flag, executor.waker(task));
        executor.run();
        other.join().unwrap();
    }
}

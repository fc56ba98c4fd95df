//! What an event must do in every execution.

use super::{Scenario, asleep, join};
use crate::lock::event::Event;
use crate::sync::cell::UnsafeCell;
use crate::sync::thread;
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "wait",
        oracle: "whoever waits is woken, and sees what was done before the event",
        threads: 2,
        bound: None,
        run: |turns| wait(1, turns),
    },
    Scenario {
        name: "wait_two",
        oracle: "both who wait are woken",
        threads: 3,
        bound: Some(2),
        run: |turns| wait(2, turns),
    },
    Scenario {
        name: "is_set",
        oracle: "whoever sees that it has happened sees what was done before it",
        threads: 2,
        bound: None,
        run: is_set,
    },
    Scenario {
        name: "try_reset",
        oracle: "whoever resets it, without having looked before, sees what was done before the event",
        threads: 2,
        bound: None,
        run: try_reset,
    },
    Scenario {
        name: "reset",
        oracle: "of two threads that reset one gets it, and sees what was done before the event",
        threads: 3,
        bound: Some(2),
        run: reset,
    },
    Scenario {
        name: "again",
        oracle: "two events pass a value to and fro",
        threads: 2,
        bound: Some(2),
        run: again,
    },
];

/// Events, and a number that they say somebody has written.
struct Shared([Event; 2], UnsafeCell<usize>);

// SAFETY: the number is touched by whom the events say, or the scenario fails.
unsafe impl Sync for Shared {}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self([Event::new(), Event::new()], UnsafeCell::new(0)))
    }
    fn add(&self) {
        // SAFETY: the events let this thread alone get here.
        self.1.with_mut(|number| unsafe { *number += 1 });
    }
    fn number(&self) -> usize {
        // SAFETY: the events say that nobody writes.
        self.1.with(|number| unsafe { *number })
    }
    fn together(self: &Arc<Self>, f: impl FnOnce(&Self) + Send + 'static) -> thread::JoinHandle<()> {
        let shared = Arc::clone(self);
        thread::spawn(move || f(&shared))
    }
}

fn wait(threads: usize, turns: usize) {
    for _ in 0..turns {
        let shared = Shared::new();
        let others: Vec<_> = (0..threads)
            .map(|_| {
                shared.together(|s| {
                    s.0[0].wait();
                    assert_eq!(s.number(), 1, "the event came without what was done before it");
                })
            })
            .collect();
        shared.add();
        asleep(1);
        shared.0[0].set();
        others.into_iter().for_each(join);
    }
}

fn is_set(turns: usize) {
    for _ in 0..turns {
        let shared = Shared::new();
        let other = shared.together(|s| {
            s.add();
            s.0[0].set();
        });
        if shared.0[0].is_set() {
            assert_eq!(shared.number(), 1, "the event came without what was done before it");
        }
        join(other);
        assert!(shared.0[0].is_set());
    }
}

fn try_reset(turns: usize) {
    for _ in 0..turns {
        let shared = Shared::new();
        let other = shared.together(|s| {
            s.add();
            s.0[0].set();
        });
        let was_set = shared.0[0].reset();
        if was_set {
            assert_eq!(shared.number(), 1, "the event came without what was done before it");
        }
        join(other);
        assert_eq!(shared.0[0].is_set(), !was_set);
    }
}

fn reset(turns: usize) {
    for _ in 0..turns {
        let shared = Shared::new();
        let take = |s: &Shared| {
            s.0[0].wait();
            if s.0[1].reset() {
                s.add();
            }
        };
        shared.0[1].set();
        let others = [shared.together(take), shared.together(take)];
        shared.add();
        shared.0[0].set();
        others.into_iter().for_each(join);
        assert_eq!(shared.number(), 2, "nobody, or both, got it");
        assert!(!shared.0[1].is_set() && !shared.0[1].reset());
    }
}

fn again(turns: usize) {
    let shared = Shared::new();
    let other = shared.together(move |s| {
        for _ in 0..turns {
            s.0[0].wait();
            assert!(s.0[0].reset());
            s.add();
            s.0[1].set();
        }
    });
    for turn in 0..turns {
        shared.add();
        shared.0[0].set();
        shared.0[1].wait();
        assert!(shared.0[1].reset());
        assert_eq!(shared.number(), 2 * turn + 2);
    }
    join(other);
}

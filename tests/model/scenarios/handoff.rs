//! What a hand-off mutex must do in every execution. In the model, numbers 0 and 2 share a word.

use super::{Scenario, asleep, exclusive, join};
use crate::lock::handoff::{Handoff, Raw};
use crate::sync::thread;
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "two",
        oracle: "two threads: no addition is lost, no access overlaps, whoever sleeps is woken",
        threads: 2,
        bound: None,
        run: |turns| exclusive::count::<Raw>(2, turns),
    },
    Scenario {
        name: "three",
        oracle: "three threads: as with two",
        threads: 3,
        bound: Some(1),
        run: |turns| exclusive::count::<Raw>(3, turns),
    },
    Scenario {
        name: "in_turn",
        oracle: "whoever arrives first is called first, while the numbers wrap",
        threads: 3,
        bound: Some(1),
        run: |turns| {
            exclusive::in_turn(|value| Handoff::starting_at(value, u32::MAX), Handoff::waiting, turns)
        },
    },
    Scenario {
        name: "try_lock",
        oracle: "succeeds only alone, fails only while somebody is inside, and orders memory like lock",
        threads: 2,
        bound: None,
        run: exclusive::try_lock::<Raw>,
    },
    Scenario {
        name: "panic",
        oracle: "a guard that a panic drops unlocks; get_mut and into_inner see what the last holder wrote",
        threads: 2,
        bound: None,
        run: exclusive::panic::<Raw>,
    },
    Scenario {
        name: "one_word",
        oracle: "of two threads that sleep on one word, the one that is called wakes",
        threads: 4,
        bound: Some(1),
        run: one_word,
    },
];

/// Numbers 1 and 3 share a word; the rule of at most three threads is broken, since it takes four for that.
fn one_word(turns: usize) {
    for _ in 0..turns {
        let lock = Arc::new(Handoff::new(0));
        let held = lock.lock();
        let others = [0; 3].map(|_| {
            let lock = Arc::clone(&lock);
            thread::spawn(move || *lock.lock() += 1)
        });
        asleep(1);
        drop(held);
        others.into_iter().for_each(join);
        assert_eq!(*lock.lock(), 3, "an addition is lost");
    }
}

//! What an adaptive limit must do in every execution.

use super::{Scenario, limits::passes};
use crate::flow::adaptive::{Adaptive, AdaptiveSettings};
use crate::sync::cell::UnsafeCell;
use crate::sync::thread;
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one_place",
        oracle: "with one place, two threads never overlap, no addition is lost, and the place is free at the end",
        threads: 2,
        bound: None,
        run: one_place,
    },
    Scenario {
        name: "two_of_three",
        oracle: "two places, three threads: exactly two come in",
        threads: 3,
        bound: Some(2),
        run: two_of_three,
    },
    Scenario {
        name: "ends",
        oracle: "a late call and one in time end at once: the limit is cut once, and both places are free",
        threads: 2,
        bound: None,
        run: ends,
    },
];

fn limit(start: u16, max: u16) -> Adaptive {
    Adaptive::new(AdaptiveSettings { start, min: 1, max, target_ns: 10, keep_percent: 50 }).unwrap()
}

/// A value that only whoever has the only place may touch.
struct Room(Adaptive, UnsafeCell<usize>);

// SAFETY: `add` touches the value only while it has the only place.
unsafe impl Sync for Room {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Room {}

fn add(room: &Room, turns: usize) -> usize {
    let mut added = 0;
    for _ in 0..turns {
        if let Some(pass) = room.0.try_enter(0) {
            // SAFETY: there is one place, and this thread has it.
            room.1.with_mut(|value| unsafe { *value += 1 });
            pass.report(1, true);
            added += 1;
        }
    }
    added
}

fn one_place(turns: usize) {
    let room = Arc::new(Room(limit(1, 1), UnsafeCell::new(0)));
    let other = {
        let room = Arc::clone(&room);
        thread::spawn(move || add(&room, turns))
    };
    let added = add(&room, turns) + other.join().unwrap();
    assert!(added >= 1, "both were refused");
    let Room(limit, value) = Arc::into_inner(room).expect("the other thread is gone");
    assert_eq!((limit.inside(), limit.limit()), (0, 1));
    assert_eq!(value.into_inner(), added, "an addition is lost");
}

fn two_of_three(turns: usize) {
    for _ in 0..turns {
        let limit = Arc::new(limit(2, 2));
        assert_eq!(passes(&limit, 3, |l, _| l.try_enter(0).map(std::mem::forget).is_some()), 2);
        assert_eq!(limit.inside(), 2);
    }
}

fn ends(turns: usize) {
    for _ in 0..turns {
        let limit = Arc::new(limit(8, 8));
        let other = {
            let limit = Arc::clone(&limit);
            thread::spawn(move || limit.try_enter(0).expect("there is room").report(100, true))
        };
        limit.try_enter(0).expect("there is room").report(1, true);
        other.join().unwrap();
        assert_eq!(limit.inside(), 0, "a place is lost");
        assert_eq!(limit.limit(), 4, "one late call cuts once; one in time, of eight places, does not raise");
    }
}

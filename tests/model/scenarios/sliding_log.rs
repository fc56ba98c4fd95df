//! What a sliding log must do in every execution.

use super::{Scenario, limits::passes};
use crate::flow::sliding_log::SlidingLog;
use crate::sync::thread;
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one_of_two",
        oracle: "two threads, room for one: exactly one passes",
        threads: 2,
        bound: None,
        run: one_of_two,
    },
    Scenario {
        name: "room_for_all",
        oracle: "beside two that pass there is room for a third, whatever head it saw, and the head ends at the oldest",
        threads: 2,
        bound: Some(3),
        run: room_for_all,
    },
    Scenario {
        name: "round_the_ring",
        oracle: "whoever comes when the oldest has stopped to count passes, however far the others have got",
        threads: 2,
        bound: Some(3),
        run: round_the_ring,
    },
    Scenario {
        name: "two_of_three",
        oracle: "three threads, room for two: exactly two pass",
        threads: 3,
        bound: Some(2),
        run: two_of_three,
    },
];

const WINDOW_NS: u64 = 10;

fn log(limit: u64) -> Arc<SlidingLog> {
    Arc::new(SlidingLog::new(limit, WINDOW_NS).unwrap())
}

fn one_of_two(turns: usize) {
    for _ in 0..turns {
        let log = log(1);
        assert_eq!(passes(&log, 2, |l, _| l.admit(0).is_ok()), 1);
        assert!(log.admit(WINDOW_NS - 1).is_err());
        assert!(log.admit(WINDOW_NS).is_ok());
    }
}

fn two_of_three(turns: usize) {
    for _ in 0..turns {
        assert_eq!(passes(&log(2), 3, |l, _| l.admit(0).is_ok()), 2);
    }
}

fn room_for_all(turns: usize) {
    for _ in 0..turns {
        let log = log(3);
        let other = two_more(&log, 0);
        assert!(log.admit(0).is_ok(), "refused beside two of three");
        other.join().unwrap();
        assert!(log.admit(1).is_err(), "a fourth of three");
        assert!(log.admit(WINDOW_NS).is_ok(), "refused although the oldest has stopped to count");
    }
}

fn round_the_ring(turns: usize) {
    for _ in 0..turns {
        let log = log(3);
        assert!(log.admit(0).is_ok());
        let other = two_more(&log, 1);
        assert!(log.admit(WINDOW_NS).is_ok(), "refused although the first has stopped to count");
        other.join().unwrap();
    }
}

/// Another thread passes twice, at this time and 1 ns later.
fn two_more(log: &Arc<SlidingLog>, now_ns: u64) -> thread::JoinHandle<()> {
    let log = Arc::clone(log);
    thread::spawn(move || {
        assert!(log.admit(now_ns).is_ok(), "refused beside one of three");
        assert!(log.admit(now_ns + 1).is_ok(), "refused beside two of three");
    })
}

//! What a GCRA limiter must do in every execution.

use super::{Scenario, limits::passes};
use crate::flow::{Quota, Refusal, gcra::Gcra};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one_of_two",
        oracle: "two threads, room for one: exactly one passes, and the other hears when it may come",
        threads: 2,
        bound: None,
        run: one_of_two,
    },
    Scenario {
        name: "two_of_three",
        oracle: "three threads, room for two: exactly two pass",
        threads: 3,
        bound: Some(2),
        run: two_of_three,
    },
    Scenario {
        name: "apart",
        oracle: "two threads whose clocks are an interval apart both pass, whoever comes first, and both are booked once",
        threads: 2,
        bound: None,
        run: apart,
    },
];

const INTERVAL_NS: u64 = 10;

fn limiter(burst: u64) -> Arc<Gcra> {
    Arc::new(Gcra::new(Quota::new(1, INTERVAL_NS, burst).unwrap()))
}

fn one_of_two(turns: usize) {
    for _ in 0..turns {
        let limiter = limiter(1);
        assert_eq!(passes(&limiter, 2, |l, _| l.admit(0, 1).is_ok()), 1);
        assert_eq!(limiter.admit(0, 1), Err(Refusal::NotBefore { at_ns: INTERVAL_NS }));
        assert_eq!(limiter.admit(INTERVAL_NS, 1), Ok(()));
    }
}

fn two_of_three(turns: usize) {
    for _ in 0..turns {
        assert_eq!(passes(&limiter(2), 3, |l, _| l.admit(0, 1).is_ok()), 2);
    }
}

fn apart(turns: usize) {
    for _ in 0..turns {
        let limiter = limiter(3);
        assert_eq!(passes(&limiter, 2, |l, i| l.admit(i * INTERVAL_NS, 1).is_ok()), 2);
        // One whose clock is behind borrows from its own future, so a burst of two would not do.
        assert_eq!(limiter.admit(INTERVAL_NS * 3, 3), Ok(()), "more was booked than passed");
    }
}

//! What a fixed window must do in every execution.

use super::{Scenario, limits::passes};
use crate::flow::{Refusal, fixed_window::FixedWindow};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one_of_two",
        oracle: "two threads, room for one: exactly one passes, and the other hears when the window ends",
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
        name: "edge",
        oracle: "a thread on either side of an edge: the later one opens the new window once, and the earlier never goes back",
        threads: 2,
        bound: None,
        run: edge,
    },
];

const WINDOW_NS: u64 = 1_000_000;

fn limiter(limit: u64) -> Arc<FixedWindow> {
    Arc::new(FixedWindow::new(limit, WINDOW_NS).unwrap())
}

fn one_of_two(turns: usize) {
    for _ in 0..turns {
        let limiter = limiter(1);
        assert_eq!(passes(&limiter, 2, |l, _| l.admit(0, 1).is_ok()), 1);
        assert_eq!(limiter.admit(0, 1), Err(Refusal::NotBefore { at_ns: WINDOW_NS }));
        assert_eq!(limiter.admit(WINDOW_NS, 1), Ok(()));
    }
}

fn two_of_three(turns: usize) {
    for _ in 0..turns {
        assert_eq!(passes(&limiter(2), 3, |l, _| l.admit(0, 1).is_ok()), 2);
    }
}

fn edge(turns: usize) {
    for _ in 0..turns {
        let limiter = limiter(1);
        let passed = passes(&limiter, 2, |l, i| l.admit(i * WINDOW_NS, 1).is_ok());
        assert!(passed >= 1, "the later one finds its window unused, or the earlier one in it");
        assert!(limiter.admit(WINDOW_NS, 1).is_err(), "the new window was used by one of them");
    }
}

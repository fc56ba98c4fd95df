//! What a token bucket must do in every execution.

use super::{Scenario, limits::passes};
use crate::flow::{Quota, Refusal, token_bucket::TokenBucket};
use crate::sync::thread;
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
    Scenario {
        name: "take_up_to",
        oracle: "two threads that take what they can get share the bucket, and no token is taken twice",
        threads: 2,
        bound: None,
        run: take_up_to,
    },
];

const INTERVAL_NS: u64 = 10;

fn limiter(burst: u64) -> Arc<TokenBucket> {
    Arc::new(TokenBucket::new(Quota::new(1, INTERVAL_NS, burst).unwrap()))
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

fn take_up_to(turns: usize) {
    for _ in 0..turns {
        let bucket = limiter(3);
        let other = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || bucket.take_up_to(0, 2))
        };
        let got = bucket.take_up_to(0, 2);
        assert_eq!(got + other.join().unwrap(), 3);
        assert_eq!(bucket.available(0), 0);
        assert_eq!(bucket.take_up_to(0, 1), 0);
    }
}

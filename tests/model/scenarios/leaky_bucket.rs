//! What a leaky bucket must do in every execution, as a meter and as a queue.

use super::{Scenario, limits::passes};
use crate::flow::{Quota, leaky_bucket::LeakyBucket};
use crate::sync::thread;
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "meter",
        oracle: "three threads, room for two: exactly two pass",
        threads: 3,
        bound: Some(2),
        run: meter,
    },
    Scenario {
        name: "queue",
        oracle: "two threads leave an interval apart, whoever comes first, and no slot is given twice",
        threads: 2,
        bound: None,
        run: queue,
    },
];

const INTERVAL_NS: u64 = 10;

fn bucket(burst: u64) -> Arc<LeakyBucket> {
    Arc::new(LeakyBucket::new(Quota::new(1, INTERVAL_NS, burst).unwrap()))
}

fn meter(turns: usize) {
    for _ in 0..turns {
        let bucket = bucket(2);
        assert_eq!(passes(&bucket, 3, |b, _| b.admit(0, 1).is_ok()), 2);
        assert_eq!(bucket.level(0), 2);
    }
}

fn queue(turns: usize) {
    for _ in 0..turns {
        let bucket = bucket(2);
        let other = {
            let bucket = Arc::clone(&bucket);
            thread::spawn(move || bucket.leaves_at_ns(0, 1).unwrap())
        };
        let mine = bucket.leaves_at_ns(0, 1).unwrap();
        let theirs = other.join().unwrap();
        assert_eq!((mine.min(theirs), mine.max(theirs)), (0, INTERVAL_NS));
        assert!(bucket.leaves_at_ns(0, 1).is_err(), "the queue is full");
    }
}

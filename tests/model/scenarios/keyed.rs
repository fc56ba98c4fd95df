//! What a limit per key must do in every execution.

use super::{Scenario, limits::passes};
use crate::flow::{Quota, keyed::Keyed};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;

/// The same hashes in every execution: a model that changes from run to run can't be explored.
type Hashing = BuildHasherDefault<DefaultHasher>;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "one_key",
        oracle: "two threads, one key, room for one: exactly one passes",
        threads: 2,
        bound: None,
        run: one_key,
    },
    Scenario {
        name: "two_keys",
        oracle: "two threads, two keys of one shard: both pass, and each key's quota is used",
        threads: 2,
        bound: None,
        run: two_keys,
    },
];

const INTERVAL_NS: u64 = 10;

fn limiter() -> Arc<Keyed<u64, Hashing>> {
    let quota = Quota::new(1, INTERVAL_NS, 1).unwrap();
    Arc::new(Keyed::with_hasher(quota, 1, 1, Hashing::default()).unwrap())
}

fn one_key(turns: usize) {
    for _ in 0..turns {
        let limiter = limiter();
        assert_eq!(passes(&limiter, 2, |l, _| l.admit(&7, 0, 1).is_ok()), 1);
        assert!(limiter.admit(&7, INTERVAL_NS, 1).is_ok());
    }
}

fn two_keys(turns: usize) {
    for _ in 0..turns {
        let limiter = limiter();
        assert_eq!(passes(&limiter, 2, |l, key| l.admit(&key, 0, 1).is_ok()), 2);
        assert!((0..2).all(|key| limiter.admit(&key, 0, 1).is_err()), "more passed than was booked");
        assert_eq!(limiter.in_use(0), 2);
    }
}

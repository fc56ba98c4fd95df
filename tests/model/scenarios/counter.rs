//! What a counter must do in every execution.

use super::Scenario;
use crate::lockfree::counter::{CasCounter, Counter, Sharded};
use crate::sync::thread;
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fetch_add",
        oracle: "no addition is lost, no number is given out twice, and the count never goes back",
        threads: 2,
        bound: None,
        run: fetch_add,
    },
    Scenario {
        name: "cas",
        oracle: "no addition is lost, no number is given out twice, and the count never goes back",
        threads: 2,
        bound: None,
        run: cas,
    },
    Scenario {
        name: "sharded",
        oracle: "no addition is lost, on shards of one's own and on one that is shared; the count never goes back",
        threads: 2,
        bound: None,
        run: sharded,
    },
];

/// Two threads add one at a time; what each got back is rising, and all together it is 0, 1, 2 ...
fn numbered(turns: usize, add: impl Fn() -> u64 + Send + Sync + 'static, get: impl Fn() -> u64) {
    let add = Arc::new(add);
    let take = move |add: &dyn Fn() -> u64| (0..turns).map(|_| add()).collect::<Vec<_>>();
    let other = {
        let add = Arc::clone(&add);
        thread::spawn(move || take(&*add))
    };
    let mut all = take(&*add);
    let seen = get();
    all.extend(other.join().unwrap());
    assert!(all.chunks(turns).all(|mine| mine.is_sorted()), "the count went back");
    assert!(seen > all[turns - 1], "a thread does not see its own addition");
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..2 * turns as u64), "a number came twice, or never: {all:?}");
    assert_eq!(get(), 2 * turns as u64, "an addition is lost");
}

fn fetch_add(turns: usize) {
    let count = Arc::new(Counter::new());
    let theirs = Arc::clone(&count);
    numbered(turns, move || theirs.add(1), || count.get());
}

fn cas(turns: usize) {
    let count = Arc::new(CasCounter::new());
    let theirs = Arc::clone(&count);
    numbered(turns, move || theirs.add(1), || count.get());
}

fn sharded(turns: usize) {
    let count = Arc::new(Sharded::new(2));
    let other = {
        let count = Arc::clone(&count);
        thread::spawn(move || {
            for _ in 0..turns {
                count.add(1, 1);
                count.add(2, 1); // shard 0, where the other adds
            }
        })
    };
    let mut newest = 0;
    for _ in 0..turns {
        count.add(0, 1);
        let now = count.get();
        assert!(now > newest, "the count went back, or an own addition is not seen");
        newest = now;
    }
    other.join().unwrap();
    assert_eq!(count.get(), 3 * turns as u64, "an addition is lost");
}

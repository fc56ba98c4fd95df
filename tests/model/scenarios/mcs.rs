//! What a queue lock must do in every execution.

use super::{Scenario, asleep, caught, join, throw};
use crate::lock::mcs::Mcs;
use crate::sync::thread;
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "two",
        oracle: "two threads: no addition is lost, no access overlaps, whoever waits gets in",
        threads: 2,
        bound: None,
        run: |turns| count(2, turns),
    },
    Scenario {
        name: "three",
        oracle: "three threads: as with two",
        threads: 3,
        bound: Some(2),
        run: |turns| count(3, turns),
    },
    Scenario {
        name: "in_turn",
        oracle: "whoever arrives first gets in first, let in by the one before",
        threads: 3,
        bound: Some(1),
        run: in_turn,
    },
    Scenario {
        name: "try_with",
        oracle: "succeeds only alone, fails only while somebody is inside, and orders memory like with",
        threads: 2,
        bound: None,
        run: try_with,
    },
    Scenario {
        name: "panic",
        oracle: "a panic inside leaves the queue; get_mut and into_inner see what the last holder wrote",
        threads: 2,
        bound: None,
        run: panic,
    },
];

fn add(total: &mut usize) {
    let seen = *total;
    *total = seen + 1; // two steps, so that a second thread in here would lose an addition
}

fn together(total: &Arc<Mcs<usize>>, turns: usize) -> thread::JoinHandle<()> {
    let total = Arc::clone(total);
    thread::spawn(move || (0..turns).for_each(|_| total.with(add)))
}

fn count(threads: usize, turns: usize) {
    let total = Arc::new(Mcs::new(0));
    let others: Vec<_> = (1..threads).map(|_| together(&total, turns)).collect();
    (0..turns).for_each(|_| total.with(add));
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(total.with(|total| *total), threads * turns, "an addition is lost");
}

fn in_turn(turns: usize) {
    for _ in 0..turns {
        let entered = Arc::new(Mcs::new(Vec::new()));
        let enter = |i| {
            let entered = Arc::clone(&entered);
            thread::spawn(move || entered.with(|entered| entered.push(i)))
        };
        let (seen, others) = entered.with(|_| {
            let alone = entered.last();
            let first = enter(1);
            asleep(1);
            let seen = entered.last() != alone; // not in every execution, and a loop until then would be without end in a model
            (seen, [first, enter(2)])
        });
        others.into_iter().for_each(join);
        entered.with(|entered| assert!(!seen || *entered == [1, 2], "not in the order of arrival"));
    }
}

fn try_with(turns: usize) {
    let total = Arc::new(Mcs::new(0));
    let other = together(&total, turns);
    let mut added = 0;
    for _ in 0..turns {
        let inside = total.try_with(|inside| {
            assert!(total.try_with(|_| ()).is_none(), "two threads at once");
            *inside += 1;
        });
        added += usize::from(inside.is_some());
    }
    other.join().unwrap();
    assert_eq!(
        total.try_with(|total| *total),
        Some(turns + added),
        "an addition is lost, or the lock is not free"
    );
}

fn panic(turns: usize) {
    let total = Arc::new(Mcs::new(0));
    caught(|| {
        total.with(|total| {
            *total += 1;
            throw();
        });
    });
    together(&total, turns).join().unwrap();
    let mut total = Arc::into_inner(total).expect("the other thread is gone");
    *total.get_mut() += 1;
    assert_eq!(total.into_inner(), turns + 2);
}

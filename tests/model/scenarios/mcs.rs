//! What a queue lock must do in every execution.

use super::{Scenario, caught, throw};
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
        oracle: "three threads: as with two, and the second in line is let in by the first",
        threads: 3,
        bound: Some(2),
        run: |turns| count(3, turns),
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

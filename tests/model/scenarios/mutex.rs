//! What a mutex must do in every execution.

use super::{Scenario, caught, join, throw, timeout};
use crate::lock::mutex::Mutex;
use crate::sync::thread;
use std::sync::Arc;
use std::time::Duration;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "two",
        oracle: "two threads: no addition is lost, no access overlaps, whoever sleeps is woken",
        threads: 2,
        bound: None,
        run: |turns| count(2, turns),
    },
    Scenario {
        name: "three",
        oracle: "three threads: as with two, and a wake-up reaches the second sleeper",
        threads: 3,
        bound: Some(2),
        run: |turns| count(3, turns),
    },
    Scenario {
        name: "try_lock",
        oracle: "succeeds only alone, fails only while somebody is inside, and orders memory like lock",
        threads: 2,
        bound: None,
        run: try_lock,
    },
    Scenario {
        name: "in_time",
        oracle: "a wait without an end gets in as lock does, and orders memory like it",
        threads: 3,
        bound: Some(2),
        run: |turns| timed(timeout::NEVER, turns),
    },
    Scenario {
        name: "out_of_time",
        oracle: "whoever gives up before it sleeps leaves the lock to the others, and nobody sleeps on",
        threads: 3,
        bound: Some(2),
        run: |turns| timed(timeout::AT_ONCE, turns),
    },
    Scenario {
        name: "woken_too_late",
        oracle: "a wake-up that is spent on one who gives up is not lost for the one who sleeps on",
        threads: 3,
        bound: Some(2),
        run: |turns| timed(timeout::WHEN_WOKEN, turns),
    },
    Scenario {
        name: "panic",
        oracle: "a guard that a panic drops unlocks, and the value is as the panic left it",
        threads: 2,
        bound: None,
        run: panic,
    },
    Scenario {
        name: "exclusive",
        oracle: "get_mut and into_inner see what the last holder wrote",
        threads: 2,
        bound: None,
        run: exclusive,
    },
];

fn add(total: &Mutex<usize>, turns: usize) {
    for _ in 0..turns {
        let mut total = total.lock();
        let seen = *total;
        *total = seen + 1; // two steps, so that a second thread in here would lose an addition
    }
}

fn count(threads: usize, turns: usize) {
    let total = Arc::new(Mutex::new(0));
    let others: Vec<_> = (1..threads)
        .map(|_| {
            let total = Arc::clone(&total);
            thread::spawn(move || add(&total, turns))
        })
        .collect();
    add(&total, turns);
    others.into_iter().for_each(join);
    assert_eq!(*total.lock(), threads * turns, "an addition is lost");
}

fn try_lock(turns: usize) {
    let total = Arc::new(Mutex::new(0));
    let other = {
        let total = Arc::clone(&total);
        thread::spawn(move || add(&total, turns))
    };
    let mut added = 0;
    for _ in 0..turns {
        if let Some(mut inside) = total.try_lock() {
            assert!(total.try_lock().is_none(), "two guards at once");
            *inside += 1;
            added += 1;
        }
    }
    join(other);
    let inside = total.try_lock().expect("the mutex is free");
    assert_eq!(*inside, turns + added, "an addition is lost");
}

fn timed(timeout: Duration, turns: usize) {
    let total = Arc::new(Mutex::new(0));
    let hasty = {
        let total = Arc::clone(&total);
        thread::spawn(move || {
            let mut added = 0;
            for _ in 0..turns {
                if let Some(mut total) = total.try_lock_for(timeout) {
                    let seen = *total;
                    *total = seen + 1;
                    added += 1;
                }
            }
            added
        })
    };
    let patient = {
        let total = Arc::clone(&total);
        thread::spawn(move || add(&total, turns))
    };
    add(&total, turns);
    let added = join(hasty);
    join(patient);
    assert!(added == turns || timeout != timeout::NEVER, "it gave up without a reason");
    let inside = total.try_lock().expect("the mutex is free");
    assert_eq!(*inside, 2 * turns + added, "an addition is lost");
}

fn panic(turns: usize) {
    let total = Arc::new(Mutex::new(0));
    // Nobody else is there yet: loom's own mutex, on which the modelled futex is built, would be poisoned by a panic in
    // another coroutine.
    caught(|| {
        *total.lock() += 1;
        let _held = total.lock();
        throw();
    });
    let other = {
        let total = Arc::clone(&total);
        thread::spawn(move || add(&total, turns))
    };
    add(&total, turns);
    join(other);
    assert_eq!(*total.lock(), 2 * turns + 1, "an addition is lost");
}

fn exclusive(turns: usize) {
    let total = Arc::new(Mutex::new(0));
    let other = {
        let total = Arc::clone(&total);
        thread::spawn(move || add(&total, turns))
    };
    add(&total, turns);
    join(other);
    let mut total = Arc::into_inner(total).expect("the other thread is gone");
    *total.get_mut() += 1;
    assert_eq!(total.into_inner(), 2 * turns + 1);
}

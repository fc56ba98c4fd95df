//! What every lock made by `lock::guard::Exclusive` must do; the files of the structures say at which sizes.

use super::{asleep, caught, join, throw};
use crate::lock::guard::{Exclude, Exclusive};
use crate::sync::thread;
use std::sync::Arc;

type Total<A> = Exclusive<A, usize>;

fn add<A: Exclude>(total: &Total<A>, turns: usize) {
    for _ in 0..turns {
        let mut total = total.lock();
        let seen = *total;
        *total = seen + 1; // two steps, so that a second thread in here would lose an addition
    }
}

fn together<A: Exclude + Send + Sync + 'static>(
    total: &Arc<Total<A>>,
    turns: usize,
) -> thread::JoinHandle<()> {
    let total = Arc::clone(total);
    thread::spawn(move || add(&total, turns))
}

/// No addition is lost, no access overlaps, whoever waits gets in.
pub fn count<A: Exclude + Send + Sync + 'static>(threads: usize, turns: usize) {
    let total = Arc::new(Total::<A>::new(0));
    let others: Vec<_> = (1..threads).map(|_| together(&total, turns)).collect();
    add(&total, turns);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(*total.lock(), threads * turns, "an addition is lost");
}

/// Whoever was seen to wait gets in before whoever came later. `waiting` says how many wait behind the holder.
pub fn in_turn<A: Exclude + Send + Sync + 'static>(
    new: fn(Vec<usize>) -> Exclusive<A, Vec<usize>>,
    waiting: fn(&Exclusive<A, Vec<usize>>) -> u32,
    turns: usize,
) {
    for _ in 0..turns {
        let entered = Arc::new(new(Vec::new()));
        let held = entered.lock();
        let enter = |i| {
            let entered = Arc::clone(&entered);
            thread::spawn(move || entered.lock().push(i))
        };
        let first = enter(1);
        asleep(1);
        let seen = waiting(&entered) == 1; // not in every execution, and a loop until then would be without end in a model
        let second = enter(2);
        drop(held);
        join(first);
        join(second);
        assert!(!seen || *entered.lock() == [1, 2], "not in the order of arrival");
    }
}

/// Succeeds only alone, fails only while somebody is inside, and orders memory like lock.
pub fn try_lock<A: Exclude + Send + Sync + 'static>(turns: usize) {
    let total = Arc::new(Total::<A>::new(0));
    let other = together(&total, turns);
    let mut added = 0;
    for _ in 0..turns {
        if let Some(mut inside) = total.try_lock() {
            assert!(total.try_lock().is_none(), "two guards at once");
            *inside += 1;
            added += 1;
        }
    }
    other.join().unwrap();
    let inside = total.try_lock().expect("the lock is free");
    assert_eq!(*inside, turns + added, "an addition is lost");
}

/// A guard that a panic drops unlocks, and the value is as the panic left it; get_mut and into_inner see the last holder's.
pub fn panic<A: Exclude + Send + Sync + 'static>(turns: usize) {
    let total = Arc::new(Total::<A>::new(0));
    caught(|| {
        *total.lock() += 1;
        let _held = total.lock();
        throw();
    });
    let other = together(&total, turns);
    other.join().unwrap();
    let mut total = Arc::into_inner(total).expect("the other thread is gone");
    *total.get_mut() += 1;
    assert_eq!(total.into_inner(), turns + 2);
}

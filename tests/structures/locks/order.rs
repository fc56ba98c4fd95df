//! First come, first served: threads that arrive one after the other get in one after the other.
use std::{hint::spin_loop, sync::Arc, thread};

use underhood::structures::lock::{
    guard::{Exclude, Exclusive},
    handoff::Handoff,
    mcs::Mcs,
    semaphore::{Fifo, Semaphore},
    ticket::Ticket,
};

const THREADS: u32 = 6;

fn guarded<A: Exclude + Send + Sync + 'static>(
    new: fn(Vec<u32>, u32) -> Exclusive<A, Vec<u32>>,
    waiting: fn(&Exclusive<A, Vec<u32>>) -> u32,
) {
    for first in [0, u32::MAX - 2, u32::MAX / 2 - 2] {
        let entered = Arc::new(new(Vec::new(), first));
        let held = entered.lock();
        let others: Vec<_> = (1..=THREADS)
            .map(|i| {
                let theirs = entered.clone();
                let other = thread::spawn(move || theirs.lock().push(i));
                while waiting(&entered) < i {
                    thread::yield_now(); // it has not drawn its number yet
                }
                other
            })
            .collect();
        drop(held);
        others.into_iter().for_each(|other| other.join().unwrap());
        assert_eq!(*entered.lock(), (1..=THREADS).collect::<Vec<_>>());
        assert_eq!(waiting(&entered), 0);
    }
}

#[test]
fn tickets_and_hand_offs_while_the_numbers_wrap() {
    guarded(Ticket::starting_at, Ticket::waiting);
    guarded(Handoff::starting_at, Handoff::waiting);
}

#[test]
fn the_queue_of_an_mcs_lock() {
    let entered = Arc::new(Mcs::new(Vec::new()));
    let others = entered.with(|_| {
        let enter = |i: u32| {
            let (theirs, before) = (entered.clone(), entered.last());
            let other = thread::spawn(move || theirs.with(|entered| entered.push(i)));
            while entered.last() == before {
                spin_loop(); // it has not queued yet
                thread::yield_now();
            }
            other
        };
        (1..=THREADS).map(enter).collect::<Vec<_>>()
    });
    others.into_iter().for_each(|other| other.join().unwrap());
    entered.with(|entered| assert_eq!(*entered, (1..=THREADS).collect::<Vec<_>>()));
    assert_eq!(entered.last(), 0);
}

#[test]
fn the_line_of_a_semaphore() {
    let shared = Arc::new((Fifo::new(1), std::sync::Mutex::new(Vec::new())));
    let held = shared.0.acquire();
    let others: Vec<_> = (1..=THREADS)
        .map(|i| {
            let theirs = shared.clone();
            let other = thread::spawn(move || {
                let _permit = theirs.0.acquire();
                theirs.1.lock().unwrap().push(i);
            });
            while shared.0.missing() < i {
                thread::yield_now(); // it has not queued yet
            }
            other
        })
        .collect();
    drop(held);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(*shared.1.lock().unwrap(), (1..=THREADS).collect::<Vec<_>>());
    assert_eq!((shared.0.missing(), shared.0.available()), (0, 1));
}

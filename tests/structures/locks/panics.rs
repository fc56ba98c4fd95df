//! A guard that a panic drops while others wait: they get in, and the value is as the panic left it.
use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::mpsc,
    thread,
    time::Duration,
};

use underhood::structures::{
    flow::bulkhead::Bulkhead,
    lock::{
        condvar::Condvar,
        guard::{Exclude, Exclusive, Share, Shared},
        handoff::Handoff,
        mcs::Mcs,
        mutex::Mutex,
        rwlock::RwLock,
        rwlock_fair::RwLockFair,
        rwlock_sharded::RwLockSharded,
        semaphore::{Barging, Fifo, Semaphore},
        seqlock::SeqLock,
        tas::Tas,
        ticket::Ticket,
        ttas::Ttas,
    },
};

/// Far above what it takes, so that a lost wake-up fails the test and does not hang it.
const LIMIT: Duration = Duration::from_secs(30);
const WAITING: usize = 3;

/// `hold` goes in, calls what it is given, and adds 1 when that returns; it is called once by a thread that panics inside, with others
/// (`add`) waiting behind it.
fn unwinds<L: Send + Sync + 'static>(
    lock: L,
    hold: fn(&L, &mut dyn FnMut()),
    add: fn(&L),
    total: fn(&L) -> usize,
) {
    let lock: &'static L = Box::leak(Box::new(lock)); // threads that hang would outlive it
    let (done, finished) = mpsc::channel();
    let mut others = Vec::new();
    let end = catch_unwind(AssertUnwindSafe(|| {
        hold(lock, &mut || {
            for _ in 0..WAITING {
                let done = done.clone();
                others.push(thread::spawn(move || {
                    add(lock);
                    let _ = done.send(());
                }));
            }
            thread::sleep(Duration::from_millis(20)); // so that they wait, mostly; right either way
            resume_unwind(Box::new("on purpose"));
        });
    }));
    assert!(end.is_err(), "it was to unwind");
    for _ in 0..WAITING {
        finished.recv_timeout(LIMIT).expect("one who waits gets in after a panic");
    }
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(total(lock), WAITING);
}

fn exclusive<A: Exclude + Send + Sync + 'static>(lock: Exclusive<A, usize>) {
    unwinds(
        lock,
        |l, inside| {
            let mut total = l.lock();
            inside();
            *total += 1;
        },
        |l| *l.lock() += 1,
        |l| *l.lock(),
    );
}

fn shared<A: Share + Send + Sync + 'static>(new: fn(usize) -> Shared<A, usize>) {
    unwinds(
        new(0),
        |l, inside| {
            let mut total = l.write();
            inside();
            *total += 1;
        },
        |l| *l.write() += 1,
        |l| *l.read(),
    );
    // A reader that panics, with writers waiting.
    unwinds(
        new(0),
        |l, inside| {
            let _total = l.read();
            inside();
        },
        |l| *l.write() += 1,
        |l| *l.read(),
    );
    // A writer that panics, with readers waiting.
    unwinds(
        new(WAITING),
        |l, inside| {
            let mut total = l.write();
            inside();
            *total += 1;
        },
        |l| assert_eq!(*l.read(), WAITING),
        |l| *l.read(),
    );
}

#[test]
fn locks_that_exclude() {
    exclusive(Tas::new(0));
    exclusive(Ttas::new(0));
    exclusive(Ticket::new(0));
    exclusive(Handoff::new(0));
    unwinds(
        Mutex::new(0),
        |l, inside| {
            let mut total = l.lock();
            inside();
            *total += 1;
        },
        |l| *l.lock() += 1,
        |l| *l.lock(),
    );
    unwinds(
        Mcs::new(0),
        |l, inside| {
            l.with(|total| {
                inside();
                *total += 1;
            });
        },
        |l| l.with(|total| *total += 1),
        |l| l.with(|total| *total),
    );
}

#[test]
fn locks_with_readers() {
    shared(RwLockFair::new);
    shared(RwLockSharded::new);
    unwinds(
        RwLock::new(0),
        |l, inside| {
            let mut total = l.write();
            inside();
            *total += 1;
        },
        |l| *l.write() += 1,
        |l| *l.read(),
    );
    unwinds(
        RwLock::new(0),
        |l, inside| {
            let _total = l.read();
            inside();
        },
        |l| *l.write() += 1,
        |l| *l.read(),
    );
    unwinds(
        RwLock::new(WAITING),
        |l, inside| {
            let mut total = l.write();
            inside();
            *total += 1;
        },
        |l| assert_eq!(*l.read(), WAITING),
        |l| *l.read(),
    );
}

fn permits<S: Semaphore + Send + Sync + 'static>() {
    unwinds(
        (S::new(2), Mutex::new(0)),
        |(s, _), inside| {
            let _both = s.acquire_many(2);
            inside();
        },
        |(s, total)| {
            let _both = s.acquire_many(2);
            *total.lock() += 1;
        },
        |(s, total)| {
            assert_eq!(s.available(), 2);
            *total.lock()
        },
    );
}

#[test]
fn permits_and_passes() {
    permits::<Fifo>();
    permits::<Barging>();
    unwinds(
        (Bulkhead::new(1, WAITING as u32).unwrap(), Mutex::new(0)),
        |(door, _), inside| {
            let _pass = door.enter().unwrap();
            inside();
        },
        |(door, total)| {
            let _pass = door.enter().unwrap();
            *total.lock() += 1;
        },
        |(door, total)| {
            assert_eq!((door.inside(), door.waiting()), (0, 0));
            *total.lock()
        },
    );
}

#[test]
fn an_update_and_a_condition() {
    unwinds(
        SeqLock::<u64, 1>::new(0),
        |l, inside| {
            l.update(|total| {
                inside();
                total + 1
            });
        },
        |l| l.update(|total| total + 1),
        |l| l.read() as usize,
    );
    // The condition panics after a wait, with the mutex held: it is unlocked.
    unwinds(
        (Mutex::new(0), Condvar::new()),
        |(total, woken), inside| {
            let (guard, _) = woken.wait_timeout_while(total.lock(), Duration::from_millis(1), |_| {
                inside();
                true
            });
            drop(guard);
        },
        |(total, _)| *total.lock() += 1,
        |(total, _)| *total.lock(),
    );
}

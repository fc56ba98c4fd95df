//! Waits that end: not too early, and never with a lock that nobody has.
use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use underhood::structures::lock::{
    condvar::{Condvar, TimedOut},
    mutex::Mutex,
    rwlock::RwLock,
    semaphore::{Barging, Semaphore},
};

const SHORT: Duration = Duration::from_millis(20);

/// Runs `f`, which must give up, and not before its time.
fn gives_up(f: impl FnOnce(Duration) -> bool) {
    let began = Instant::now();
    assert!(!f(SHORT), "there is nothing to be had");
    assert!(began.elapsed() >= SHORT, "{:?} instead of {SHORT:?}", began.elapsed());
}

#[test]
fn who_gives_up_has_waited_and_has_nothing() {
    let mutex = Mutex::new(0);
    let held = mutex.lock();
    gives_up(|t| mutex.try_lock_for(t).is_some());
    assert!(mutex.try_lock_for(Duration::ZERO).is_none());
    drop(held);
    assert!(mutex.try_lock_for(Duration::ZERO).is_some(), "it is free, and needs no time");

    let lock = RwLock::new(0);
    let held = lock.write();
    gives_up(|t| lock.try_read_for(t).is_some());
    gives_up(|t| lock.try_write_for(t).is_some());
    drop(held);
    let held = lock.read();
    gives_up(|t| lock.try_write_for(t).is_some());
    drop((held, lock.try_read_for(Duration::ZERO).expect("the writer that gave up bars nobody")));
    assert!(lock.try_write_for(Duration::ZERO).is_some());

    let semaphore = Barging::new(2);
    let held = semaphore.acquire();
    gives_up(|t| semaphore.acquire_many_for(2, t).is_some());
    assert_eq!(semaphore.available(), 1);
    drop(held);
    assert!(semaphore.acquire_many_for(2, Duration::ZERO).is_some());

    let (mutex, woken) = (Mutex::new(0), Condvar::new());
    gives_up(|t| !woken.wait_timeout_while(mutex.lock(), t, |_| true).1.0);
    // A wait alone may end early, but not with the answer that its time is over.
    let began = Instant::now();
    while woken.wait_timeout(mutex.lock(), SHORT).1 == TimedOut(false) {}
    assert!(began.elapsed() >= SHORT);
}

#[test]
fn who_has_time_gets_in() {
    for timeout in [Duration::from_secs(60), Duration::MAX] {
        let mutex = Arc::new(Mutex::new(0));
        let held = mutex.lock();
        let other = mutex.clone();
        let other = thread::spawn(move || other.try_lock_for(timeout).is_some());
        thread::sleep(Duration::from_millis(5));
        drop(held);
        assert!(other.join().unwrap());

        let lock = Arc::new(RwLock::new(0));
        let held = lock.write();
        let others = [true, false].map(|writes| {
            let lock = lock.clone();
            thread::spawn(move || match writes {
                true => lock.try_write_for(timeout).is_some(),
                false => lock.try_read_for(timeout).is_some(),
            })
        });
        thread::sleep(Duration::from_millis(5));
        drop(held);
        others.into_iter().for_each(|other| assert!(other.join().unwrap()));

        let semaphore = Arc::new(Barging::new(0));
        let other = semaphore.clone();
        let other = thread::spawn(move || other.acquire_many_for(2, timeout).is_some());
        thread::sleep(Duration::from_millis(5));
        semaphore.release(2);
        assert!(other.join().unwrap());

        let shared = Arc::new((Mutex::new(false), Condvar::new()));
        let other = shared.clone();
        let other = thread::spawn(move || {
            let (done, late) = other.1.wait_timeout_while(other.0.lock(), timeout, |done| !*done);
            *done && late == TimedOut(false)
        });
        thread::sleep(Duration::from_millis(5));
        *shared.0.lock() = true;
        shared.1.notify_one();
        assert!(other.join().unwrap());
    }
}

/// Waits that end all the time between others that don't: nobody is forgotten.
#[test]
fn time_outs_among_patient_threads() {
    const TURNS: usize = 2_000;
    let shared = Arc::new((Mutex::new(0), RwLock::new(0), Barging::new(1)));
    let patient: Vec<_> = (0..2)
        .map(|_| {
            let s = shared.clone();
            thread::spawn(move || {
                for _ in 0..TURNS {
                    *s.0.lock() += 1;
                    *s.1.write() += 1;
                    drop(s.1.read());
                    drop(s.2.acquire());
                }
            })
        })
        .collect();
    let hasty: Vec<_> = (0..2)
        .map(|i| {
            let s = shared.clone();
            thread::spawn(move || {
                let mut got = [0, 0];
                for turn in 0..TURNS {
                    let timeout = Duration::from_nanos((turn % 50 * 200 * i) as u64);
                    got[0] += s.0.try_lock_for(timeout).map_or(0, |mut n| {
                        *n += 1;
                        1
                    });
                    got[1] += s.1.try_write_for(timeout).map_or(0, |mut n| {
                        *n += 1;
                        1
                    });
                    drop(s.1.try_read_for(timeout));
                    drop(s.2.acquire_many_for(1, timeout));
                }
                got
            })
        })
        .collect();
    patient.into_iter().for_each(|thread| thread.join().unwrap());
    let got = hasty
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .fold([0, 0], |a, b| [a[0] + b[0], a[1] + b[1]]);
    assert_eq!((*shared.0.lock(), *shared.1.read()), (2 * TURNS + got[0], 2 * TURNS + got[1]));
    assert!(shared.1.try_write().is_some() && shared.2.available() == 1, "nobody waits any more");
}

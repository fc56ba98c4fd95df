//! Condition variables, each with the mutex that it waits with, under one trait; and the check of each.
use std::{
    ops::DerefMut,
    sync::{
        Arc, Condvar as StdCondvar, Mutex as StdMutex, MutexGuard as StdGuard,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    lab::Contender,
    structures::lock::{condvar, mutex},
};

/// A mutex with its condition variable. A wait may end for no reason.
pub trait Signals: 'static {
    /// Who it is.
    const IS: Contender;
    /// The mutex that a wait lets go of.
    type Mutex<T: Send + 'static>: Send + Sync + 'static;
    /// The mutex, held.
    type Guard<'a, T: Send + 'static>: DerefMut<Target = T>;
    /// What threads wait at.
    type Condvar: Default + Send + Sync + 'static;
    /// A mutex around this.
    fn mutex<T: Send + 'static>(value: T) -> Self::Mutex<T>;
    /// Locks it.
    fn lock<T: Send + 'static>(mutex: &Self::Mutex<T>) -> Self::Guard<'_, T>;
    /// Unlocks, sleeps until notified, and locks again.
    fn wait<'a, T: Send + 'static>(at: &Self::Condvar, guard: Self::Guard<'a, T>) -> Self::Guard<'a, T>;
    /// The same, but sleeps no longer than that; true if the time was over.
    fn wait_for<'a, T: Send + 'static>(
        at: &Self::Condvar,
        guard: Self::Guard<'a, T>,
        time: Duration,
    ) -> (Self::Guard<'a, T>, bool);
    /// Wakes one that waits.
    fn notify_one(at: &Self::Condvar);
    /// Wakes all that wait.
    fn notify_all(at: &Self::Condvar);

    /// Waits as long as this holds.
    fn wait_while<'a, T: Send + 'static>(
        at: &Self::Condvar,
        mut guard: Self::Guard<'a, T>,
        mut holds: impl FnMut(&mut T) -> bool,
    ) -> Self::Guard<'a, T> {
        while holds(&mut guard) {
            guard = Self::wait(at, guard);
        }
        guard
    }
}

/// std's.
#[derive(Debug)]
pub struct Std;

impl Signals for Std {
    const IS: Contender = Contender::new("std").called("std Condvar");
    type Mutex<T: Send + 'static> = StdMutex<T>;
    type Guard<'a, T: Send + 'static> = StdGuard<'a, T>;
    type Condvar = StdCondvar;
    fn mutex<T: Send + 'static>(value: T) -> StdMutex<T> {
        StdMutex::new(value)
    }
    fn lock<T: Send + 'static>(mutex: &StdMutex<T>) -> StdGuard<'_, T> {
        mutex.lock().expect("no holder panics")
    }
    fn wait<'a, T: Send + 'static>(at: &StdCondvar, guard: Self::Guard<'a, T>) -> Self::Guard<'a, T> {
        at.wait(guard).expect("no holder panics")
    }
    fn wait_for<'a, T: Send + 'static>(
        at: &StdCondvar,
        guard: Self::Guard<'a, T>,
        time: Duration,
    ) -> (Self::Guard<'a, T>, bool) {
        let (guard, end) = at.wait_timeout(guard, time).expect("no holder panics");
        (guard, end.timed_out())
    }
    fn notify_one(at: &StdCondvar) {
        at.notify_one();
    }
    fn notify_all(at: &StdCondvar) {
        at.notify_all();
    }
}

/// parking_lot's.
#[derive(Debug)]
pub struct ParkingLot;

impl Signals for ParkingLot {
    const IS: Contender = Contender::new("pl013").called("parking_lot 0.13 Condvar").of("pl013");
    type Mutex<T: Send + 'static> = pl013::Mutex<T>;
    type Guard<'a, T: Send + 'static> = pl013::MutexGuard<'a, T>;
    type Condvar = pl013::Condvar;
    fn mutex<T: Send + 'static>(value: T) -> pl013::Mutex<T> {
        pl013::Mutex::new(value)
    }
    fn lock<T: Send + 'static>(mutex: &pl013::Mutex<T>) -> pl013::MutexGuard<'_, T> {
        mutex.lock()
    }
    fn wait<'a, T: Send + 'static>(at: &pl013::Condvar, mut guard: Self::Guard<'a, T>) -> Self::Guard<'a, T> {
        at.wait(&mut guard);
        guard
    }
    fn wait_for<'a, T: Send + 'static>(
        at: &pl013::Condvar,
        mut guard: Self::Guard<'a, T>,
        time: Duration,
    ) -> (Self::Guard<'a, T>, bool) {
        let timed_out = at.wait_for(&mut guard, time).timed_out();
        (guard, timed_out)
    }
    fn notify_one(at: &pl013::Condvar) {
        at.notify_one();
    }
    fn notify_all(at: &pl013::Condvar) {
        at.notify_all();
    }
}

/// `structures::lock::condvar`.
#[derive(Debug)]
pub struct Ours;

impl Signals for Ours {
    const IS: Contender = Contender::new("ours").called("our Condvar");
    type Mutex<T: Send + 'static> = mutex::Mutex<T>;
    type Guard<'a, T: Send + 'static> = mutex::MutexGuard<'a, T>;
    type Condvar = condvar::Condvar;
    fn mutex<T: Send + 'static>(value: T) -> mutex::Mutex<T> {
        mutex::Mutex::new(value)
    }
    fn lock<T: Send + 'static>(mutex: &mutex::Mutex<T>) -> mutex::MutexGuard<'_, T> {
        mutex.lock()
    }
    fn wait<'a, T: Send + 'static>(at: &condvar::Condvar, guard: Self::Guard<'a, T>) -> Self::Guard<'a, T> {
        at.wait(guard)
    }
    fn wait_for<'a, T: Send + 'static>(
        at: &condvar::Condvar,
        guard: Self::Guard<'a, T>,
        time: Duration,
    ) -> (Self::Guard<'a, T>, bool) {
        let (guard, end) = at.wait_timeout(guard, time);
        (guard, end.0)
    }
    fn notify_one(at: &condvar::Condvar) {
        at.notify_one();
    }
    fn notify_all(at: &condvar::Condvar) {
        at.notify_all();
    }
}

/// What an adapter must show before it is timed: a wait lets go of the mutex and has it again afterwards, one notification wakes somebody,
/// one for all wakes everybody, and a wait that nobody ends says that its time was over.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<S: Signals>() -> Result<(), String> {
    const WAITERS: u32 = 3;
    /// Far longer than a wake-up takes; a broken one must not hang the check.
    const PATIENCE: Duration = Duration::from_secs(2);
    let id = S::IS.id;
    let at = S::Condvar::default();
    let quiet = S::mutex(());
    let late = |from: Instant| from.elapsed() > PATIENCE;
    let start = Instant::now();
    // A wait may end for no reason, but not for ever.
    while !S::wait_for(&at, S::lock(&quiet), Duration::from_millis(1)).1 {
        if late(start) {
            return Err(format!("{id}: a wait that nobody ended never says that its time was over"));
        }
    }
    /// What the waiting threads share.
    struct Seen {
        waiting: u32,
        go: bool,
        gave_up: u32,
    }
    let shared = Arc::new((S::mutex(Seen { waiting: 0, go: false, gave_up: 0 }), S::Condvar::default()));
    let inside = Arc::new(AtomicU32::new(0));
    let shared_by_two = Arc::new(AtomicU32::new(0));
    let waiters: Vec<_> = (0..WAITERS)
        .map(|_| {
            let (shared, inside, two) = (shared.clone(), inside.clone(), shared_by_two.clone());
            thread::spawn(move || {
                let start = Instant::now();
                let mut seen = S::lock(&shared.0);
                seen.waiting += 1;
                while !seen.go {
                    let timed_out;
                    (seen, timed_out) = S::wait_for(&shared.1, seen, PATIENCE);
                    if timed_out || late(start) {
                        seen.gave_up += 1;
                        return false;
                    }
                    two.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
                    thread::yield_now();
                    inside.fetch_sub(1, Relaxed);
                }
                // Each wakes the next, so that the notification for one is seen to work as well.
                drop(seen);
                S::notify_one(&shared.1);
                true
            })
        })
        .collect();
    let start = Instant::now();
    loop {
        let mut seen = S::lock(&shared.0);
        // Nobody else had the mutex while it waited, until its time was over.
        if seen.gave_up > 0 {
            return Err(format!("{id}: a wait does not let go of the mutex"));
        }
        if seen.waiting == WAITERS {
            seen.go = true;
            break;
        }
        drop(seen);
        if late(start) {
            return Err(format!("{id}: a wait does not let go of the mutex"));
        }
        thread::yield_now();
    }
    S::notify_one(&shared.1);
    if waiters.into_iter().map(|w| w.join()).any(|woken| !matches!(woken, Ok(true))) {
        return Err(format!("{id}: a notification for one wakes nobody"));
    }
    if shared_by_two.load(Relaxed) > 1 {
        return Err(format!("{id}: two threads came out of a wait with the same mutex"));
    }
    check_all::<S>(PATIENCE)
}

/// One notification for all, and no other.
fn check_all<S: Signals>(patience: Duration) -> Result<(), String> {
    const WAITERS: u32 = 3;
    let (state, at) = (S::mutex((0u32, false)), S::Condvar::default());
    let woken = thread::scope(|scope| {
        let wait = || {
            let mut seen = S::lock(&state);
            seen.0 += 1;
            while !seen.1 {
                let timed_out;
                (seen, timed_out) = S::wait_for(&at, seen, patience);
                if timed_out {
                    return false;
                }
            }
            true
        };
        let waiters: Vec<_> = (0..WAITERS).map(|_| scope.spawn(wait)).collect();
        loop {
            let mut seen = S::lock(&state);
            if seen.0 == WAITERS {
                seen.1 = true;
                break;
            }
            drop(seen);
            thread::yield_now();
        }
        S::notify_all(&at);
        waiters.into_iter().all(|w| w.join().unwrap_or(false))
    });
    if woken { Ok(()) } else { Err(format!("{}: a notification for all leaves somebody asleep", S::IS.id)) }
}

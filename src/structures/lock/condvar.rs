//! A condition variable in one word: threads that hold a mutex let go of it and sleep until somebody says that things have changed.
//!
//! # States
//! The word counts the notifications. What there is to wait for is no state of this structure: it stands behind the mutex.
//!
//! | `notified` | meaning | `wait` | `notify_one`, `notify_all` |
//! |---|---|---|---|
//! | as read under the mutex | nobody has notified since | unlocks, sleeps | adds 1, wakes one or all |
//! | another | somebody has | unlocks, locks again | adds 1, wakes one or all |
//!
//! Who waits reads the word *before* it unlocks. Whoever changes what it waits for must lock the mutex, so it does that later, and its
//! notification is later still. So the sleep, which compares the word, begins before the notification and is woken by it, or finds
//! another number and does not begin.
//!
//! # Edges
//! None of its own. From the one who changes something to the one who waits for it, the mutex carries everything (its E1); the word
//! carries nothing but itself, and that it is read before the change is the mutex's doing as well.
//!
//! # Limits
//! **A wait may end for no reason**, as with every futex, and a notification may find things changed back by a third thread. So look at
//! the condition in a loop: [`wait_while`](Condvar::wait_while) does. A notification may be spent on a wait that says it timed out;
//! [`wait_timeout_while`](Condvar::wait_timeout_while) looks at the condition once more and loses nothing. All waits at once must be with one
//! mutex, or a notification may go to somebody who waits for another thing. `notify_one` wakes in the order of falling asleep,
//! mostly; the woken thread then competes for the mutex, unfairly. `notify_all` wakes all of them at once, and all but one of them sleep
//! again, on the mutex. Each notification is a system call, whether somebody sleeps or not. A thread that stands still between its
//! unlocking and its sleep, while exactly a multiple of 2^32 notifications pass, would sleep on. 4 bytes.
//!
//! # Source
//! The condition variable of Rust's std on a futex (M. Bos, 2022); the idea: C. A. R. Hoare, "Monitors" (CACM 1974), with the
//! signals that continue of B. W. Lampson, D. D. Redell, "Experience with Processes and Monitors in Mesa" (CACM 1980).

use super::mutex::{Mutex, MutexGuard};
use crate::structures::sync::atomic::AtomicU32;
use crate::structures::sync::atomic::Ordering::Relaxed;
use crate::structures::sync::time::Deadline;
use crate::structures::sync::{constructor, futex};
use std::fmt;
use std::time::Duration;

/// Threads sleep here until what they wait for, behind a [`Mutex`], may have come true.
///
/// One load to wait, and a system call; one addition to notify, and a system call. The rest: see the [module](self).
pub struct Condvar {
    /// Notifications, modulo 2^32.
    notified: AtomicU32,
}

/// Whether a wait ended because its time was over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "it says whether the condition came in time"]
pub struct TimedOut(
    /// True if the time was over.
    pub bool,
);

impl Default for Condvar {
    /// Nobody waits.
    fn default() -> Self {
        Self::new()
    }
}

impl Condvar {
    constructor! {
        /// Nobody waits.
        pub fn new() -> Self {
            Self::starting_at(0)
        }
    }

    constructor! {
        /// As if so many notifications had been sent: for tests of the wrap-around.
        #[doc(hidden)]
        pub fn starting_at(notified: u32) -> Self {
            Self { notified: AtomicU32::new(notified) }
        }
    }

    /// Unlocks, sleeps until notified, and locks again. May return for no reason.
    pub fn wait<'a, T: ?Sized>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.unlocked(guard, None).0
    }

    /// Waits as long as `condition` says so. It is called with the mutex held.
    pub fn wait_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> MutexGuard<'a, T> {
        while condition(&mut guard) {
            guard = self.wait(guard);
        }
        guard
    }

    /// As [`wait`](Self::wait), but sleeps no longer than that; then it waits for the mutex, however long that takes.
    pub fn wait_timeout<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        timeout: Duration,
    ) -> (MutexGuard<'a, T>, TimedOut) {
        self.unlocked(guard, Some(&Deadline::after(timeout)))
    }

    /// Waits as long as `condition` says so, but no longer than that. Timed out means that the condition still says so.
    pub fn wait_timeout_while<'a, T: ?Sized>(
        &self,
        mut guard: MutexGuard<'a, T>,
        timeout: Duration,
        mut condition: impl FnMut(&mut T) -> bool,
    ) -> (MutexGuard<'a, T>, TimedOut) {
        let deadline = Deadline::after(timeout);
        let mut timed_out = TimedOut(false);
        while condition(&mut guard) {
            if timed_out.0 {
                return (guard, timed_out);
            }
            (guard, timed_out) = self.unlocked(guard, Some(&deadline));
        }
        (guard, TimedOut(false))
    }

    /// Wakes one of those who wait, if there is one. With or without the mutex held, after the change that it tells of.
    pub fn notify_one(&self) {
        self.notified.fetch_add(1, Relaxed); // an addition, so that two at once are two numbers
        futex::wake_one(&self.notified);
    }

    /// Wakes all who wait.
    pub fn notify_all(&self) {
        self.notified.fetch_add(1, Relaxed); // as above
        futex::wake_all(&self.notified);
    }

    /// Unlocks, sleeps, locks again.
    fn unlocked<'a, T: ?Sized>(
        &self,
        guard: MutexGuard<'a, T>,
        deadline: Option<&Deadline>,
    ) -> (MutexGuard<'a, T>, TimedOut) {
        let mutex: &Mutex<T> = MutexGuard::mutex(&guard);
        let seen = self.notified.load(Relaxed); // under the mutex: see the head of this file
        drop(guard);
        let mut in_time = true;
        match deadline {
            None => futex::wait(&self.notified, seen),
            Some(deadline) => in_time = futex::wait_until(&self.notified, seen, deadline),
        }
        (mutex.lock(), TimedOut(!in_time))
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Condvar { .. }")
    }
}

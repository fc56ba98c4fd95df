//! A mutex in one word: whoever turns the word from unlocked to locked is in; who can't, sleeps in the kernel (futex).
//!
//! # States
//! | `state` | meaning | `lock` makes it | unlocking makes it |
//! |---|---|---|---|
//! | 0 `UNLOCKED` | free | 1, and is in | - |
//! | 1 `LOCKED` | held, nobody sleeps | 2, then sleeps | 0: no system call |
//! | 2 `CONTENDED` | held, somebody may sleep | 2, then sleeps | 0, then wakes one |
//!
//! A woken thread can't know whether others still sleep, so it takes the lock as 2: one wake-up too many at the end of a
//! crowd, never one too few.
//!
//! A thread whose time is over tries once more before it gives up. So a wake-up that was spent on it is not lost: either it gets the
//! lock, or its swap leaves a 2 to the holder, who wakes the next.
//!
//! # Edges
//! - **E1** unlock's Release -> lock's Acquire: carries the value. Nothing is taken from the futex: the swap after it acquires.
//!
//! # Limits
//! Unfair: a running thread overtakes a woken one, any number of times (that is what makes it fast). No poisoning: after a
//! panic in the critical section the next thread gets the value as it was left. Locking twice from one thread is a deadlock.
//! 4 bytes beside the value.
//!
//! # Source
//! U. Drepper, "Futexes Are Tricky" (2011), the second mutex; the bounded spin before sleeping is what Rust's std does.

use crate::structures::sync::atomic::AtomicU32;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::cell::{MutPtr, UnsafeCell};
use crate::structures::sync::time::Deadline;
use crate::structures::sync::{constructor, futex, hint};
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// Mutual exclusion: a value that one thread at a time may touch.
///
/// Uncontended: one compare-exchange to lock, one swap to unlock, no system call. Contended: a few microseconds of
/// spinning, then the thread sleeps. Fairness, memory and the rest: see the [module](self).
pub struct Mutex<T: ?Sized> {
    raw: Raw,
    value: UnsafeCell<T>,
}

/// The lock without its value.
struct Raw {
    /// 0, 1 or 2: the table above.
    state: AtomicU32,
}

const UNLOCKED: u32 = 0;
const LOCKED: u32 = 1;
const CONTENDED: u32 = 2;

impl<T: Default> Default for Mutex<T> {
    /// An unlocked lock around the default value.
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    /// An unlocked mutex around `value`.
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T> Mutex<T> {
    constructor! {
        /// An unlocked mutex around `value`.
        pub fn new(value: T) -> Self {
            Self { raw: Raw { state: AtomicU32::new(UNLOCKED) }, value: UnsafeCell::new(value) }
        }
    }

    /// The value, the lock being given up.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until the value is free and holds it until the guard is dropped.
    ///
    /// Never panics. Called by the thread that already holds the lock, it never returns.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        if !self.raw.try_lock() {
            self.raw.lock_contended(None);
        }
        self.guard()
    }

    /// As [`lock`](Self::lock), but gives up when it has waited so long. May wait longer, never shorter; reads no clock if the value is
    /// free.
    #[inline]
    pub fn try_lock_for(&self, timeout: Duration) -> Option<MutexGuard<'_, T>> {
        (self.raw.try_lock() || self.raw.lock_contended(Some(&Deadline::after(timeout))))
            .then(|| self.guard())
    }

    /// Holds the value if it is free at this moment; never waits.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.raw.try_lock().then(|| self.guard())
    }

    /// The value without locking: `&mut self` excludes everybody else.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.exclusive()
    }

    /// Call with the lock held.
    #[inline]
    fn guard(&self) -> MutexGuard<'_, T> {
        let held = Held(self);
        MutexGuard { value: self.value.get_mut(), held }
    }
}

impl Raw {
    #[inline]
    fn try_lock(&self) -> bool {
        self.state.compare_exchange(UNLOCKED, LOCKED, Acquire, Relaxed).is_ok() // E1
    }

    /// Apart and cold, so that `lock` stays small enough to be inlined everywhere. False if the deadline came first.
    #[cold]
    fn lock_contended(&self, deadline: Option<&Deadline>) -> bool {
        for _ in 0..hint::SPIN_LIMIT {
            match self.state.load(Relaxed) {
                UNLOCKED if self.try_lock() => return true,
                CONTENDED => break, // others sleep already: the wait is long, and spinning would only delay the holder
                _ => hint::spin_loop(),
            }
        }
        let mut in_time = true;
        while self.state.swap(CONTENDED, Acquire) != UNLOCKED {
            // E1 in the swap
            if !in_time {
                return false; // after one more try: see the head of this file
            }
            match deadline {
                None => futex::wait(&self.state, CONTENDED),
                Some(deadline) => in_time = futex::wait_until(&self.state, CONTENDED, deadline),
            }
        }
        true
    }

    #[inline]
    fn unlock(&self) {
        // E1. A swap and not a store: whether somebody sleeps must be read in the same step that frees the lock.
        if self.state.swap(UNLOCKED, Release) == CONTENDED {
            futex::wake_one(&self.state);
        }
    }
}

/// The right to the value of a [`Mutex`]; dropping it unlocks, also when a panic unwinds.
///
/// Not `Send`: the labs tell hold times by thread, so a lock is released where it was taken.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct MutexGuard<'a, T: ?Sized> {
    // Fields are dropped in this order: the access to the value ends, then the lock is released.
    value: MutPtr<T>,
    held: Held<'a, T>,
}

struct Held<'a, T: ?Sized>(&'a Mutex<T>);

impl<T: ?Sized> Drop for Held<'_, T> {
    #[inline]
    fn drop(&mut self) {
        self.0.raw.unlock();
    }
}

impl<'a, T: ?Sized> MutexGuard<'a, T> {
    /// The mutex that this guard holds. Not a method, so that none of the value's is hidden.
    pub fn mutex(guard: &Self) -> &'a Mutex<T> {
        guard.held.0
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard borrows the mutex, so the cell is alive; the lock is held until after `value` is dropped, so
        // nobody else reaches the cell; `&self` lets only readers share this guard.
        unsafe { self.value.deref() }
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` leaves no other user of this guard.
        unsafe { self.value.deref_mut() }
    }
}

// SAFETY: the lock gives the value to one thread at a time, which is a move to that thread: `T: Send`. `T: Sync` is not
// needed, since two threads never hold references to it at once.
unsafe impl<T: ?Sized + Send> Sync for Mutex<T> {}
// SAFETY: a shared guard gives out `&T` and nothing more.
unsafe impl<T: ?Sized + Sync> Sync for MutexGuard<'_, T> {}

impl<T: ?Sized> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mutex { .. }") // without the value: printing must neither wait nor disturb a measurement
    }
}
impl<T: ?Sized + fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

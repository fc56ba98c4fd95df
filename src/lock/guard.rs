//! A value behind a lock: the cell, the guards and their `unsafe`, written once for every algorithm that lets threads in.
//!
//! An algorithm ([`Exclude`]) knows nothing of values: it lets a thread in and gives it a token, and the thread is
//! inside until the token is dropped. [`Exclusive`] puts a value behind such an algorithm. So the file of a lock
//! shows the idea and nothing else, and there is one place in which to be wrong about references. There is no atomic step in
//! here; that the algorithms keep their promise is what the scenarios of each of them are for.
//!
//! None of these locks poisons: after a panic in the critical section the next thread gets the value as it was left. No guard
//! is `Send`: the labs tell hold times by thread, so a lock is released where it was taken.

use crate::sync::cell::{MutPtr, UnsafeCell};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// An algorithm that lets in one thread at a time.
///
/// # Safety
/// From the return of `lock` (or a successful `try_lock`) until the token's drop, no other token exists; and whatever a thread
/// did before it dropped a token happens before the next token is given out.
pub unsafe trait Exclude {
    /// Whoever owns it is inside; dropping it unlocks.
    type Held<'a>
    where
        Self: 'a;
    /// Free, nobody inside.
    fn new() -> Self;
    /// Waits to be alone.
    fn lock(&self) -> Self::Held<'_>;
    /// Goes in if that needs no waiting.
    fn try_lock(&self) -> Option<Self::Held<'_>>;
}

/// A value that one thread at a time may touch; cost, fairness and memory are those of the algorithm `A`.
pub struct Exclusive<A, T> {
    algorithm: A,
    value: UnsafeCell<T>,
}

impl<A: Exclude, T> Exclusive<A, T> {
    /// An unlocked lock around `value`.
    pub fn new(value: T) -> Self {
        Self { algorithm: A::new(), value: UnsafeCell::new(value) }
    }

    /// Waits until the value is free and holds it until the guard is dropped; never returns to a thread that holds it already.
    #[inline]
    pub fn lock(&self) -> ExclusiveGuard<'_, A, T> {
        let held = self.algorithm.lock();
        ExclusiveGuard { value: self.value.get_mut(), _held: held }
    }

    /// Holds the value if it is free at this moment; never waits.
    #[inline]
    pub fn try_lock(&self) -> Option<ExclusiveGuard<'_, A, T>> {
        let held = self.algorithm.try_lock()?;
        Some(ExclusiveGuard { value: self.value.get_mut(), _held: held })
    }

    /// The value without locking: `&mut self` excludes everybody else.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.exclusive()
    }

    /// The value, the lock being given up.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

/// The right to the value of an [`Exclusive`] lock; dropping it unlocks, also when a panic unwinds.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct ExclusiveGuard<'a, A: Exclude + 'a, T> {
    // Fields are dropped in this order: the access to the value ends, then the lock is released.
    value: MutPtr<T>,
    _held: A::Held<'a>,
}

impl<A: Exclude, T> Deref for ExclusiveGuard<'_, A, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the token borrows the lock, so the cell is alive; it is held until after `value` is dropped, so by the promise
        // of `Exclude` nobody else reaches the cell; `&self` lets only readers share this guard.
        unsafe { self.value.deref() }
    }
}

impl<A: Exclude, T> DerefMut for ExclusiveGuard<'_, A, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` leaves no other user of this guard.
        unsafe { self.value.deref_mut() }
    }
}

// SAFETY: the lock gives the value to one thread at a time, which is a move to that thread: `T: Send`. `T: Sync` is not
// needed, since two threads never hold references to it at once. The algorithm itself is shared: `A: Sync`.
unsafe impl<A: Sync, T: Send> Sync for Exclusive<A, T> {}
impl<A, T> fmt::Debug for Exclusive<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exclusive { .. }") // without the value: printing must neither wait nor disturb a measurement
    }
}
impl<A: Exclude, T: fmt::Debug> fmt::Debug for ExclusiveGuard<'_, A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

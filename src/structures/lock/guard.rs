//! A value behind a lock: the cell, the guards and their `unsafe`, written once for every algorithm that lets threads in.
//!
//! An algorithm ([`Exclude`], [`Share`]) knows nothing of values: it lets a thread in and gives it a token, and the thread is
//! inside until the token is dropped. [`Exclusive`] and [`Shared`] put a value behind such an algorithm. So the file of a lock
//! shows the idea and nothing else, and there is one place in which to be wrong about references. There is no atomic step in
//! here; that the algorithms keep their promise is what the scenarios of each of them are for.
//!
//! None of these locks poisons: after a panic in the critical section the next thread gets the value as it was left. No guard
//! is `Send`: the labs tell hold times by thread, so a lock is released where it was taken.

use crate::structures::sync::cell::{ConstPtr, MutPtr, UnsafeCell};
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

/// An algorithm that lets in many readers or one writer.
///
/// # Safety
/// While a writing token exists, no other token does; and whatever a thread did before it dropped a writing token happens before
/// any later token is given out, as does whatever it did before it dropped a reading token before any later writing token.
pub unsafe trait Share {
    /// Whoever owns it is inside to read; dropping it leaves.
    type Reading<'a>
    where
        Self: 'a;
    /// Whoever owns it is inside to write; dropping it unlocks.
    type Writing<'a>
    where
        Self: 'a;
    /// Free, nobody inside.
    fn new() -> Self;
    /// Waits until no writer is inside, and keeps writers out.
    fn read(&self) -> Self::Reading<'_>;
    /// Goes in to read if that needs no waiting.
    fn try_read(&self) -> Option<Self::Reading<'_>>;
    /// Waits to be alone.
    fn write(&self) -> Self::Writing<'_>;
    /// Goes in to write if that needs no waiting.
    fn try_write(&self) -> Option<Self::Writing<'_>>;
}

/// A value that one thread at a time may touch; cost, fairness and memory are those of the algorithm `A`.
pub struct Exclusive<A, T: ?Sized> {
    algorithm: A,
    value: UnsafeCell<T>,
}

/// A value that threads may look at together, or change alone; cost, fairness and memory are those of the algorithm `A`.
pub struct Shared<A, T: ?Sized> {
    algorithm: A,
    value: UnsafeCell<T>,
}

impl<A: Exclude, T: Default> Default for Exclusive<A, T> {
    /// An unlocked lock around the default value.
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<A: Share, T: Default> Default for Shared<A, T> {
    /// An unlocked lock around the default value.
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<A: Exclude, T> From<T> for Exclusive<A, T> {
    /// An unlocked lock around `value`.
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<A: Share, T> From<T> for Shared<A, T> {
    /// An unlocked lock around `value`.
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<A: Exclude, T> Exclusive<A, T> {
    /// An unlocked lock around `value`.
    pub fn new(value: T) -> Self {
        Self::around(A::new(), value)
    }

    /// A lock around `value` by an algorithm that was made by hand.
    pub(super) fn around(algorithm: A, value: T) -> Self {
        Self { algorithm, value: UnsafeCell::new(value) }
    }

    /// The value, the lock being given up.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<A: Exclude, T: ?Sized> Exclusive<A, T> {
    /// The algorithm, for questions that only it can answer.
    pub(super) fn algorithm(&self) -> &A {
        &self.algorithm
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
}

impl<A: Share, T> Shared<A, T> {
    /// An unlocked lock around `value`.
    pub fn new(value: T) -> Self {
        Self::around(A::new(), value)
    }

    /// A lock around `value` by an algorithm that was made by hand.
    pub(super) fn around(algorithm: A, value: T) -> Self {
        Self { algorithm, value: UnsafeCell::new(value) }
    }

    /// The value, the lock being given up.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<A: Share, T: ?Sized> Shared<A, T> {
    /// Waits until nobody writes, and keeps writers out until the guard is dropped; may never return to a thread that holds a
    /// guard already.
    #[inline]
    pub fn read(&self) -> ReadGuard<'_, A, T> {
        let held = self.algorithm.read();
        ReadGuard { value: self.value.get(), _held: held }
    }

    /// Reads if no writer is inside or waits at this moment; never waits.
    #[inline]
    pub fn try_read(&self) -> Option<ReadGuard<'_, A, T>> {
        let held = self.algorithm.try_read()?;
        Some(ReadGuard { value: self.value.get(), _held: held })
    }

    /// Waits until nobody is inside, and keeps everybody else out until the guard is dropped; never returns to a thread that
    /// holds a guard already.
    #[inline]
    pub fn write(&self) -> WriteGuard<'_, A, T> {
        let held = self.algorithm.write();
        WriteGuard { value: self.value.get_mut(), _held: held }
    }

    /// Writes if nobody is inside at this moment; never waits.
    #[inline]
    pub fn try_write(&self) -> Option<WriteGuard<'_, A, T>> {
        let held = self.algorithm.try_write()?;
        Some(WriteGuard { value: self.value.get_mut(), _held: held })
    }

    /// The value without locking: `&mut self` excludes everybody else.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.exclusive()
    }
}

/// The right to the value of an [`Exclusive`] lock; dropping it unlocks, also when a panic unwinds.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct ExclusiveGuard<'a, A: Exclude + 'a, T: ?Sized> {
    // Fields are dropped in this order, here and below: the access to the value ends, then the lock is released.
    value: MutPtr<T>,
    _held: A::Held<'a>,
}

/// The right to look at the value of a [`Shared`] lock, together with other readers; dropping it leaves the lock.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct ReadGuard<'a, A: Share + 'a, T: ?Sized> {
    value: ConstPtr<T>,
    _held: A::Reading<'a>,
}

/// The right to change the value of a [`Shared`] lock, alone; dropping it unlocks, also when a panic unwinds.
#[must_use = "a guard that is dropped at once protects nothing"]
pub struct WriteGuard<'a, A: Share + 'a, T: ?Sized> {
    value: MutPtr<T>,
    _held: A::Writing<'a>,
}

impl<A: Exclude, T: ?Sized> Deref for ExclusiveGuard<'_, A, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the token borrows the lock, so the cell is alive; it is held until after `value` is dropped, so by the promise
        // of `Exclude` nobody else reaches the cell; `&self` lets only readers share this guard.
        unsafe { self.value.deref() }
    }
}

impl<A: Exclude, T: ?Sized> DerefMut for ExclusiveGuard<'_, A, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` leaves no other user of this guard.
        unsafe { self.value.deref_mut() }
    }
}

impl<A: Share, T: ?Sized> Deref for ReadGuard<'_, A, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the token borrows the lock, so the cell is alive; it is held until after `value` is dropped, so by the promise
        // of `Share` nobody writes to the cell.
        unsafe { self.value.deref() }
    }
}

impl<A: Share, T: ?Sized> Deref for WriteGuard<'_, A, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the token borrows the lock, so the cell is alive; it is held until after `value` is dropped, so by the promise
        // of `Share` nobody else reaches the cell; `&self` lets only readers share this guard.
        unsafe { self.value.deref() }
    }
}

impl<A: Share, T: ?Sized> DerefMut for WriteGuard<'_, A, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and `&mut self` leaves no other user of this guard.
        unsafe { self.value.deref_mut() }
    }
}

// SAFETY: the lock gives the value to one thread at a time, which is a move to that thread: `T: Send`. `T: Sync` is not
// needed, since two threads never hold references to it at once. The algorithm itself is shared: `A: Sync`.
unsafe impl<A: Sync, T: ?Sized + Send> Sync for Exclusive<A, T> {}
// SAFETY: writers get the value one thread at a time, which is a move to that thread: `T: Send`; readers hold `&T` at once
// in several threads: `T: Sync`. The algorithm itself is shared: `A: Sync`.
unsafe impl<A: Sync, T: ?Sized + Send + Sync> Sync for Shared<A, T> {}

impl<A, T: ?Sized> fmt::Debug for Exclusive<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exclusive { .. }") // without the value: printing must neither wait nor disturb a measurement
    }
}
impl<A, T: ?Sized> fmt::Debug for Shared<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared { .. }") // as above
    }
}
impl<A: Exclude, T: ?Sized + fmt::Debug> fmt::Debug for ExclusiveGuard<'_, A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
impl<A: Share, T: ?Sized + fmt::Debug> fmt::Debug for ReadGuard<'_, A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
impl<A: Share, T: ?Sized + fmt::Debug> fmt::Debug for WriteGuard<'_, A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

//! A ticket lock: draw a number, wait until it is called. The order of the draws is the order of the entries.
//!
//! Adds to `ttas`: fairness, and one read-modify-write per acquisition however many threads wait. Waiting threads still read one
//! common word, so each release takes that line to every one of them.
//!
//! # States
//! | `next - serving` | meaning | `lock` | unlocking |
//! |---|---|---|---|
//! | 0 | free | draws the number that is being served, and is in | - |
//! | n > 0 | one inside, n - 1 wait | draws, and waits for its number | serves the next number |
//!
//! # Edges
//! - **E1** unlock's Release store to `serving` -> lock's Acquire load of it: carries the value.
//!
//! # Limits
//! First come, first served, without exception: when the thread whose turn it is has been descheduled, the free lock stands idle
//! and all wait for that one. With more threads than CPUs nearly every hand-over meets such a thread. Never sleeps. No poisoning. At most
//! 2^32 - 1 threads, each in need of a stack. Both numbers wrap, and only equality counts. 8 bytes beside the value. `new` is not
//! `const`. **No time-out**: a number that is drawn can't be given back, and everybody behind it would wait for ever.
//!
//! # Source
//! J. M. Mellor-Crummey, M. L. Scott, "Algorithms for Scalable Synchronization on Shared-Memory Multiprocessors" (ACM TOCS 1991),
//! without their proportional back-off.

use super::guard::{Exclude, Exclusive};
use crate::structures::sync::atomic::AtomicU32;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::hint;
use std::fmt;

/// A value behind a ticket lock. Uncontended: one addition and one load to lock, one store to unlock. The rest: see the
/// [module](self).
pub type Ticket<T> = Exclusive<Raw, T>;

/// The lock without its value.
pub struct Raw {
    /// The number that the next arrival draws. Both numbers wrap.
    next: AtomicU32,
    /// The number that may be inside.
    serving: AtomicU32,
}

/// The thread is inside, with this number; dropping it unlocks.
#[derive(Debug)]
pub struct Held<'a> {
    lock: &'a Raw,
    number: u32,
}

impl<T> Ticket<T> {
    /// As [`new`](Exclusive::new), with `first` as the first number: for tests of the wrap-around.
    #[doc(hidden)]
    pub fn starting_at(value: T, first: u32) -> Self {
        Self::around(Raw { next: AtomicU32::new(first), serving: AtomicU32::new(first) }, value)
    }

    /// Threads that have drawn a number and are not yet inside; out of date as soon as it is known.
    pub fn waiting(&self) -> u32 {
        let Raw { next, serving } = self.algorithm();
        let served = serving.load(Relaxed); // first: it never passes `next`
        next.load(Relaxed).wrapping_sub(served).saturating_sub(1)
    }
}

// SAFETY: each number is drawn once (in 2^32), a token is given out for the number that is served, and only the drop of that
// token serves another one. E1 is the order.
unsafe impl Exclude for Raw {
    type Held<'a> = Held<'a>;

    fn new() -> Self {
        Self { next: AtomicU32::new(0), serving: AtomicU32::new(0) }
    }

    #[inline]
    fn lock(&self) -> Held<'_> {
        let number = self.next.fetch_add(1, Relaxed); // orders nothing: the wait below does
        while self.serving.load(Acquire) != number {
            // E1 in the line above
            hint::spin_loop();
        }
        Held { lock: self, number }
    }

    #[inline]
    fn try_lock(&self) -> Option<Held<'_>> {
        let number = self.serving.load(Acquire); // E1
        // If the number that is served is also the next to be drawn, drawing it is entering: nobody else can, and so
        // nobody moves `serving` meanwhile.
        let drawn = self.next.compare_exchange(number, number.wrapping_add(1), Relaxed, Relaxed);
        drawn.is_ok().then(|| Held { lock: self, number }) // not `then_some`: a token made in vain would unlock when dropped
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.lock.serving.store(self.number.wrapping_add(1), Release); // E1. A store: only the holder changes `serving`.
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ticket { .. }")
    }
}

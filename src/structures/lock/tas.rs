//! A test-and-set lock: one flag, and every waiting thread keeps trying to turn it until it succeeds.
//!
//! # States
//! | `held` | meaning | `lock` | unlocking |
//! |---|---|---|---|
//! | false | free | makes it true, and is in | - |
//! | true | held | tries again and again | makes it false |
//!
//! # Edges
//! - **E1** unlock's Release store -> lock's Acquire compare-exchange: carries the value.
//!
//! The instruction is a compare-exchange and not a swap. Both take the cache line for writing whether they succeed or not (on x86
//! always; elsewhere nearly), which is what this lock is about; but endless swaps may be ordered before the one store that
//! frees the lock, for all that a language without progress guarantees says, and no model ends on that.
//!
//! # Limits
//! The first rung of the ladder, kept for what it shows: each turn of each waiting thread takes the cache line away from the
//! holder, so the more threads wait, the longer the holder needs to get out. Unfair without bound. A holder that is descheduled
//! makes the others burn their time slices. Never sleeps. No poisoning. 1 byte beside the value. `new` is not `const`.
//!
//! # Source
//! The oldest of all; its cost is measured in T. E. Anderson, "The Performance of Spin Lock Alternatives for Shared-Memory
//! Multiprocessors" (IEEE TPDS 1990).

use super::guard::{Exclude, Exclusive};
use crate::structures::sync::atomic::AtomicBool;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::hint;
use std::fmt;

/// A value behind a test-and-set lock. Uncontended: one compare-exchange to lock, one store to unlock. The rest: see the [module](self).
pub type Tas<T> = Exclusive<Raw, T>;

/// The lock without its value.
pub struct Raw {
    held: AtomicBool,
}

/// The thread is inside; dropping it unlocks.
#[derive(Debug)]
pub struct Held<'a>(&'a Raw);

// SAFETY: `held` is false whenever no token exists; a token is given out only by the compare-exchange that turned it true,
// which one thread alone can do, and only a token's drop turns it false. E1 is the order.
unsafe impl Exclude for Raw {
    type Held<'a> = Held<'a>;

    fn new() -> Self {
        Self { held: AtomicBool::new(false) }
    }

    #[inline]
    fn lock(&self) -> Held<'_> {
        loop {
            if let Some(held) = self.try_lock() {
                return held;
            }
            hint::spin_loop();
        }
    }

    #[inline]
    fn try_lock(&self) -> Option<Held<'_>> {
        self.held.compare_exchange(false, true, Acquire, Relaxed).is_ok().then(|| Held(self)) // E1
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.held.store(false, Release); // E1
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tas { .. }")
    }
}

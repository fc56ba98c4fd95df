//! A test-and-test-and-set lock with back-off: look until the flag seems free, try once, and stand back when others were faster.
//!
//! Adds to `tas`: waiting threads only *read*, so each keeps a copy of the line in its own cache and the holder can leave
//! undisturbed. What is left is the rush when the flag falls: all see it and all try. Who loses waits longer each time.
//!
//! # States
//! | `held` | meaning | `lock` | unlocking |
//! |---|---|---|---|
//! | false | free | makes it true, and is in; or loses the race and pauses | - |
//! | true | held | reads until it is false | makes it false |
//!
//! # Edges
//! - **E1** unlock's Release store -> lock's Acquire compare-exchange: carries the value.
//!
//! # Limits
//! Unfair without bound: whoever has just arrived pauses least. A holder that is descheduled makes the others burn their time
//! slices. Never sleeps. No poisoning. The pauses double from 1 to [`hint::SPIN_LIMIT`] turns and are not random: equal threads may collide
//! again. 1 byte beside the value. `new` is not `const`.
//!
//! # Source
//! L. Rudolph, Z. Segall, "Dynamic Decentralized Cache Schemes for MIMD Parallel Processors" (ISCA 1984); the back-off after a
//! lost race: T. E. Anderson (IEEE TPDS 1990).

use super::guard::{Exclude, Exclusive};
use crate::structures::sync::atomic::AtomicBool;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::hint;
use std::fmt;

/// A value behind a test-and-test-and-set lock. Uncontended: one compare-exchange to lock, one store to unlock. The rest: see the
/// [module](self).
pub type Ttas<T> = Exclusive<Raw, T>;

/// The lock without its value.
pub struct Raw {
    held: AtomicBool,
}

/// The thread is inside; dropping it unlocks.
#[derive(Debug)]
pub struct Held<'a>(&'a Raw);

// SAFETY: `held` is false whenever no token exists; a token is given out only by the compare-exchange that turned it true, which
// one thread alone can do, and only a token's drop turns it false. E1 is the order.
unsafe impl Exclude for Raw {
    type Held<'a> = Held<'a>;

    fn new() -> Self {
        Self { held: AtomicBool::new(false) }
    }

    #[inline]
    fn lock(&self) -> Held<'_> {
        self.try_lock().unwrap_or_else(|| self.lock_contended())
    }

    #[inline]
    fn try_lock(&self) -> Option<Held<'_>> {
        self.held.compare_exchange(false, true, Acquire, Relaxed).is_ok().then(|| Held(self)) // E1
    }
}

impl Raw {
    /// Apart and cold, so that `lock` stays small enough to be inlined everywhere.
    #[cold]
    fn lock_contended(&self) -> Held<'_> {
        let mut pause = 1;
        loop {
            // Relaxed: only a hint; the compare-exchange decides and orders.
            while self.held.load(Relaxed) {
                hint::spin_loop();
            }
            if let Some(held) = self.try_lock() {
                return held;
            }
            for _ in 0..pause {
                hint::spin_loop();
            }
            pause = (pause * 2).min(hint::SPIN_LIMIT);
        }
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
        f.write_str("Ttas { .. }")
    }
}

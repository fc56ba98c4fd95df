//! An event: threads wait until it is set, and it stays set until it is reset. One word, no mutex, no condition variable.
//!
//! # States
//! | `state` | meaning | `wait` | `set` | `reset` |
//! |---|---|---|---|---|
//! | 0 `UNSET` | not yet | makes it 1, sleeps | makes it 2 | nothing to do |
//! | 1 `AWAITED` | not yet, and somebody may sleep | sleeps | makes it 2, wakes all | nothing to do |
//! | 2 `SET` | has happened | goes through | nothing to do | makes it 0 |
//!
//! Who waits announces itself (1) in the same step that sees the event unset, and the sleep compares the word with that 1; so the
//! classic lost wake-up, between looking and falling asleep, can't happen, and it takes no fence to prevent it.
//!
//! # Edges
//! - **E1** set's Release -> wait's, is_set's or reset's Acquire: whatever was done before the event is seen by whoever saw it.
//!
//! # Limits
//! A thread that sleeps while the event is set and at once reset may find it unset when it wakes, and sleeps on: a reset is for the one who
//! knows that all have passed. All who wait are woken at once, and run in no order. 4 bytes.
//!
//! # Source
//! The manual-reset event of Windows, on a futex as in U. Drepper, "Futexes Are Tricky" (2011).

use crate::structures::sync::atomic::AtomicU32;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::{constructor, futex, hint};
use std::fmt;

/// Something that happens once, or once per reset, and that threads can wait for.
///
/// One load if it has happened; one swap to set it, and a system call if somebody sleeps. The rest: see the [module](self).
pub struct Event {
    /// 0, 1 or 2: the table above.
    state: AtomicU32,
}

const UNSET: u32 = 0;
const AWAITED: u32 = 1;
const SET: u32 = 2;

impl Default for Event {
    /// An event that has not happened.
    fn default() -> Self {
        Self::new()
    }
}

impl Event {
    constructor! {
        /// An event that has not happened.
        pub fn new() -> Self {
            Self { state: AtomicU32::new(UNSET) }
        }
    }

    /// Whether it has happened.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.state.load(Acquire) == SET // E1
    }

    /// Waits until it has happened.
    #[inline]
    pub fn wait(&self) {
        if !self.is_set() {
            self.wait_unset();
        }
    }

    #[cold]
    fn wait_unset(&self) {
        for _ in 0..hint::SPIN_LIMIT {
            if self.state.load(Relaxed) != UNSET {
                break; // it has happened; or others sleep already: the wait is long
            }
            hint::spin_loop();
        }
        while !self.is_set() {
            // Relaxed: 1 carries nothing but itself. If it fails, the state is 1 already, or set: then the sleep is refused.
            let _ = self.state.compare_exchange(UNSET, AWAITED, Relaxed, Relaxed);
            futex::wait(&self.state, AWAITED);
        }
    }

    /// Makes it happen: every thread that waits, and every one that will, goes through. Setting it again does nothing.
    #[inline]
    pub fn set(&self) {
        // E1. A swap and not a store: whether somebody sleeps must be read in the same step.
        if self.state.swap(SET, Release) == AWAITED {
            futex::wake_all(&self.state);
        }
    }

    /// Makes it not have happened, and says whether it had: of several threads that reset, one gets `true`.
    #[inline]
    pub fn reset(&self) -> bool {
        self.state.compare_exchange(SET, UNSET, Acquire, Relaxed).is_ok() // E1
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Event { .. }")
    }
}

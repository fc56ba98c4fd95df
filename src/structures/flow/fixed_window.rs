//! A count per window of the calendar, in one word: which window it is, and how much of it is used.
//!
//! # States
//! | the word's window | meaning | a request of cost c |
//! |---|---|---|
//! | before the present one | nothing was used of the present one | passes; the word becomes (present window, c) |
//! | the present one | `count` of it is used | passes if count + c is at most the limit |
//! | after it | the clock stepped back | counts against the word's window |
//!
//! # Edges
//! None: the word carries itself and nothing else, so every access is relaxed.
//!
//! # Limits
//! The edge: the limit can pass at the end of one window and again at the start of the next, twice the limit within 1 ns. That is the
//! price of the cheapest rule that a bill can be checked against. No fairness: whoever comes first after an edge takes all, and
//! everybody who was refused comes back at the same moment. **A clock that steps back** stays in the latest window that was used.
//! Limits up to 16,777,215; windows from 1 ms, and 2^40 of them (34 years of 1 ms, 34,000 of 1 s), of which the last never ends.
//! 8 bytes beside limit and window; never panics.
//!
//! # Source
//! Folklore; the two halves in one word are ours.

use super::{Refusal, WindowError};
use crate::structures::sync::atomic::AtomicU64;
use crate::structures::sync::atomic::Ordering::Relaxed;
use std::fmt;

/// Lets a number of units through in each window, which begin at multiples of the window's length.
///
/// Uncontended: a division, one load and one compare-exchange to pass; a division and one load to refuse. Under contention, callers
/// that pass race for the word and try again. Policy and limits: see the [module](self).
pub struct FixedWindow {
    limit: u64,
    window_ns: u64,
    /// From the lowest bit: 24 bits `count`, 40 bits the number of the window.
    used: AtomicU64,
}

const COUNT_BITS: u32 = 24;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const LAST_WINDOW: u64 = u64::MAX >> COUNT_BITS;
const SHORTEST_NS: u64 = 1_000_000;

impl FixedWindow {
    /// A limiter that lets `limit` units through in each window of `window_ns`.
    ///
    /// # Errors
    /// [`WindowError`]: a limit of zero or above 16,777,215, or a window below 1 ms (the windows would run out too soon).
    pub fn new(limit: u64, window_ns: u64) -> Result<Self, WindowError> {
        if limit == 0 {
            return Err(WindowError::NoLimit);
        }
        if limit > COUNT {
            return Err(WindowError::LimitTooLarge { most: COUNT });
        }
        if window_ns < SHORTEST_NS {
            return Err(WindowError::WindowTooShort { least_ns: SHORTEST_NS });
        }
        Ok(Self { limit, window_ns, used: AtomicU64::new(0) })
    }

    /// Passes a request of this cost, or says when the next window begins. A cost of 0 takes nothing and passes.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] for a cost above the limit, else [`Refusal::NotBefore`].
    #[inline]
    pub fn admit(&self, now_ns: u64, cost: u64) -> Result<(), Refusal> {
        if cost > self.limit {
            return Err(Refusal::TooLarge);
        }
        let present = (now_ns / self.window_ns).min(LAST_WINDOW);
        let mut used = self.used.load(Relaxed);
        loop {
            let (window, count) = (used >> COUNT_BITS, used & COUNT);
            let (window, count) = if window < present { (present, 0) } else { (window, count) };
            if count + cost > self.limit {
                return Err(Refusal::NotBefore { at_ns: self.ends_at_ns(window) });
            }
            let next = window << COUNT_BITS | (count + cost);
            match self.used.compare_exchange_weak(used, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => used = now,
            }
        }
    }

    fn ends_at_ns(&self, window: u64) -> u64 {
        if window == LAST_WINDOW { u64::MAX } else { (window + 1).saturating_mul(self.window_ns) }
    }
}

impl fmt::Debug for FixedWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FixedWindow { .. }") // without its words: printing must not disturb a measurement
    }
}

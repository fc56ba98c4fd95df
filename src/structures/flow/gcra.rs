//! A rate limit in one word: the time at which the next request is due if everybody kept to the rate.
//!
//! The generic cell rate algorithm does not count tokens. It writes down when the next request would arrive in a stream that
//! keeps exactly to the rate, the *theoretical arrival time* (TAT), and lets a request come early by as much as the burst is worth.
//!
//! # States
//! | TAT | meaning | a request of cost c |
//! |---|---|---|
//! | up to now | idle: the whole burst is there | passes; TAT = now + c intervals |
//! | after now | some of the burst is used up | passes if TAT + c intervals is at most now + burst; TAT moves on by c intervals |
//! | now + burst | nothing is left | is told when it will conform |
//!
//! # Edges
//! None: the word carries itself and nothing else, so every access is relaxed. That the decision and its booking are one step is
//! the compare-exchange's doing, not an ordering's.
//!
//! # Limits
//! In any span of w ns at most `burst + floor(w / interval)` units pass; so with burst = rate, 199 of "100 per second" can pass in
//! one second (half open). No fairness between callers: whoever asks at the right moment passes. **A clock that steps back** by d
//! is taken at its word: what passed stays booked in its future, so requests may be refused for up to d longer, and nothing passes
//! twice. At the end of the clock (2^64 ns, 584 years) everything is refused. 8 bytes beside the quota; never panics.
//!
//! # Source
//! ITU-T I.371 (2004), annex A, the virtual scheduling algorithm.

use super::{Quota, Refusal};
use crate::structures::sync::atomic::AtomicU64;
use crate::structures::sync::atomic::Ordering::Relaxed;
use std::fmt;

/// Lets units through at a rate, with a burst.
///
/// Uncontended: one load and one compare-exchange to pass, one load to refuse. Under contention, callers that pass race for the word
/// and try again; refusals only read. Policy and limits: see the [module](self).
pub struct Gcra {
    quota: Quota,
    /// Theoretical arrival time of the next unit, in ns on the caller's clock; 0 at first, which is "up to now" at any time.
    tat_ns: AtomicU64,
}

impl Gcra {
    /// A limiter with its whole burst to give.
    pub fn new(quota: Quota) -> Self {
        Self { quota, tat_ns: AtomicU64::new(0) }
    }

    /// Passes a request of this cost, or says when it would pass. A cost of 0 takes nothing, and passes unless the limit is
    /// overdrawn (which only a clock that stepped back can make it).
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] for a cost above the burst, else [`Refusal::NotBefore`].
    #[inline]
    pub fn admit(&self, now_ns: u64, cost: u64) -> Result<(), Refusal> {
        let price_ns = self.quota.price_ns(cost)?;
        let mut tat_ns = self.tat_ns.load(Relaxed);
        loop {
            let next_ns = advance(tat_ns, now_ns, price_ns, self.quota.full_ns())?;
            match self.tat_ns.compare_exchange_weak(tat_ns, next_ns, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => tat_ns = now,
            }
        }
    }
}

/// The TAT after a request that passes. A function of its own, since [`keyed`](super::keyed) does the same under a lock.
#[inline]
pub(super) fn advance(tat_ns: u64, now_ns: u64, price_ns: u64, full_ns: u64) -> Result<u64, Refusal> {
    // No wrap-around at the end of the clock: a word that started again at 0 would let everything through.
    let Some(next_ns) = tat_ns.max(now_ns).checked_add(price_ns) else {
        return Err(Refusal::NotBefore { at_ns: u64::MAX });
    };
    let conforms_ns = next_ns.saturating_sub(full_ns);
    if conforms_ns > now_ns { Err(Refusal::NotBefore { at_ns: conforms_ns }) } else { Ok(next_ns) }
}

impl fmt::Debug for Gcra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gcra { .. }") // without its words: printing must not disturb a measurement
    }
}

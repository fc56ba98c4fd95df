//! A bucket with a hole, in one word: the time at which it will have run dry.
//!
//! Each request pours its cost in, and one unit runs out every interval. As a **meter** the bucket only measures: a request that
//! fits passes at once, so a whole bucket can pass at once. As a **queue** the request itself is what runs out: one that fits
//! leaves when its turn at the hole comes. Both take and refuse the same requests; they differ in when those leave.
//!
//! # States
//! | `dry_ns` | level | a request of cost c, as a meter | as a queue |
//! |---|---|---|---|
//! | up to now | dry | passes | leaves now |
//! | after now | (`dry_ns` - now) / interval | passes if level + c is at most `burst` | leaves at `dry_ns`, if it fits |
//! | now + burst | full | is told when it will fit | is told when it will fit |
//!
//! # Edges
//! None: the word carries itself and nothing else, so every access is relaxed.
//!
//! # Limits
//! As a meter, in any span of w ns at most `burst + floor(w / interval)` units pass: it is the token bucket upside down. As a queue,
//! requests leave at least their cost in intervals apart, whatever comes in, and wait up to `burst` intervals, less their own cost.
//! The queue is an order of times, not of threads: the caller sleeps until its time. One that does not come (cancelled) leaves its
//! slot unused: there is no giving back. No fairness: first come, first served, by the order in which the word was changed. **A clock
//! that steps back** by d makes the bucket look fuller by d: requests may be refused, or wait, up to d longer. At the end of the
//! clock (2^64 ns, 584 years) everything is refused. 8 bytes beside the quota; never panics.
//!
//! # Source
//! J. Turner, "New directions in communications" (1986), for the meter; RFC 2475 (1998), 2.3.3.3, for the difference between a
//! meter that drops and a shaper that delays.

use super::{Quota, Refusal};
use crate::structures::sync::atomic::AtomicU64;
use crate::structures::sync::atomic::Ordering::Relaxed;
use std::fmt;

/// Drains at a rate, holds up to a burst. Use one bucket as a meter or as a queue, not as both.
///
/// Uncontended: one load and one compare-exchange to take a request, one load to refuse. Under contention, callers race for the word
/// and try again. Policy and limits: see the [module](self).
pub struct LeakyBucket {
    quota: Quota,
    /// When the bucket will be dry if nothing more comes, in ns on the caller's clock.
    dry_ns: AtomicU64,
}

impl LeakyBucket {
    /// A dry bucket that drains one unit every interval and holds up to `quota.burst()`.
    pub fn new(quota: Quota) -> Self {
        Self { quota, dry_ns: AtomicU64::new(0) }
    }

    /// As a meter: the request passes now, or not.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] for a cost above the burst, else [`Refusal::NotBefore`].
    #[inline]
    pub fn admit(&self, now_ns: u64, cost: u64) -> Result<(), Refusal> {
        self.pour(now_ns, cost).map(|_| ())
    }

    /// As a queue: when the request may leave, in ns on the caller's clock, at the earliest now. It has its slot from then on.
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] for a cost above the burst, [`Refusal::NotBefore`] if the queue is full.
    #[inline]
    pub fn leaves_at_ns(&self, now_ns: u64, cost: u64) -> Result<u64, Refusal> {
        self.pour(now_ns, cost)
    }

    /// Units in the bucket, begun ones included; out of date as soon as it is known, if others pour too.
    pub fn level(&self, now_ns: u64) -> u64 {
        self.dry_ns.load(Relaxed).saturating_sub(now_ns).div_ceil(self.quota.interval_ns())
    }

    /// Pours the cost in and says when the bucket would have been dry without it.
    #[inline]
    fn pour(&self, now_ns: u64, cost: u64) -> Result<u64, Refusal> {
        let price_ns = self.quota.price_ns(cost)?;
        let mut dry_ns = self.dry_ns.load(Relaxed);
        loop {
            let turn_ns = dry_ns.max(now_ns);
            let Some(dry_after_ns) = turn_ns.checked_add(price_ns) else {
                return Err(Refusal::NotBefore { at_ns: u64::MAX });
            };
            if dry_after_ns - now_ns > self.quota.full_ns() {
                return Err(Refusal::NotBefore { at_ns: dry_after_ns - self.quota.full_ns() });
            }
            match self.dry_ns.compare_exchange_weak(dry_ns, dry_after_ns, Relaxed, Relaxed) {
                Ok(_) => return Ok(turn_ns),
                Err(now) => dry_ns = now,
            }
        }
    }
}

impl fmt::Debug for LeakyBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LeakyBucket { .. }") // without its words: printing must not disturb a measurement
    }
}

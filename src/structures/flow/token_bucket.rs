//! A bucket of tokens in one word: the time at which the bucket was empty.
//!
//! One token drops in every interval, up to `burst`; a request takes as many as it costs. Nobody has to drop them in: the tokens
//! are the time since the bucket was empty, counted in intervals. So the word holds a time, and taking a token moves it forward.
//!
//! # States
//! The word counts on the caller's clock plus the time of a whole burst, so that a new bucket (0) is full at any time.
//!
//! | `empty_ns` | tokens | a request of cost c |
//! |---|---|---|
//! | up to now | `burst`: older time is forfeited | passes; the word becomes now + c intervals |
//! | up to now + burst | (now + burst - word) / interval | passes if it finds c tokens; the word moves on by c intervals |
//! | now + burst | none | is told when the tokens will be there |
//!
//! Read this table beside the one in `gcra`: the same word, the same decisions, told from the other side (`tests/structures/flows.rs` holds
//! them to it). What a bucket adds is that it can be looked into, and emptied to the last token.
//!
//! # Edges
//! None: the word carries itself and nothing else, so every access is relaxed.
//!
//! # Limits
//! In any span of w ns at most `burst + floor(w / interval)` tokens are taken. An idle bucket saves up to `burst` and no more. No
//! fairness between callers. A clock that steps back by d drops no token in for d, and none twice. At the end of the clock
//! (2^64 ns, 584 years) everything is refused. 8 bytes beside the quota; never panics.
//!
//! # Source
//! J. Turner, "New directions in communications (or which way to the information age?)", IEEE Communications 24 (1986); the
//! time in place of a count follows folly's TokenBucket.

use super::{Quota, Refusal};
use crate::structures::sync::atomic::AtomicU64;
use crate::structures::sync::atomic::Ordering::Relaxed;
use std::fmt;

/// Saves tokens up to a burst, gives them out at a rate.
///
/// Uncontended: one load and one compare-exchange to take, one load to refuse. Under contention, callers that take race for the
/// word and try again; refusals only read. Policy and limits: see the [module](self).
pub struct TokenBucket {
    quota: Quota,
    /// When the bucket was empty, in ns on the caller's clock plus `quota.full_ns()`.
    empty_ns: AtomicU64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(quota: Quota) -> Self {
        Self { quota, empty_ns: AtomicU64::new(0) }
    }

    /// Takes `cost` tokens, all or none. A cost of 0 takes nothing, and passes unless the bucket is overdrawn (which only a clock
    /// that stepped back can make it).
    ///
    /// # Errors
    /// [`Refusal::TooLarge`] for a cost above the burst, else [`Refusal::NotBefore`].
    #[inline]
    pub fn admit(&self, now_ns: u64, cost: u64) -> Result<(), Refusal> {
        let price_ns = self.quota.price_ns(cost)?;
        let full_ns = self.quota.full_ns();
        let mut empty_ns = self.empty_ns.load(Relaxed);
        loop {
            // What overflows the bucket is lost: it was empty a whole burst ago at the earliest, which is `now_ns` here.
            let Some(taken_ns) = empty_ns.max(now_ns).checked_add(price_ns) else {
                return Err(Refusal::NotBefore { at_ns: u64::MAX });
            };
            if taken_ns > now_ns.saturating_add(full_ns) {
                return Err(Refusal::NotBefore { at_ns: taken_ns - full_ns });
            }
            match self.empty_ns.compare_exchange_weak(empty_ns, taken_ns, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => empty_ns = now,
            }
        }
    }

    /// Takes up to `want` tokens and says how many it got; never refuses, may return 0.
    pub fn take_up_to(&self, now_ns: u64, want: u64) -> u64 {
        let mut empty_ns = self.empty_ns.load(Relaxed);
        loop {
            let got = want.min(self.tokens(empty_ns, now_ns));
            if got == 0 {
                return 0; // nothing to write down
            }
            // No overflow: the tokens that are there end at now + burst, which `tokens` caps at the end of the clock.
            let taken_ns = empty_ns.max(now_ns) + got * self.quota.interval_ns();
            match self.empty_ns.compare_exchange_weak(empty_ns, taken_ns, Relaxed, Relaxed) {
                Ok(_) => return got,
                Err(now) => empty_ns = now,
            }
        }
    }

    /// Tokens that are in the bucket; out of date as soon as it is known, if others take too.
    pub fn available(&self, now_ns: u64) -> u64 {
        self.tokens(self.empty_ns.load(Relaxed), now_ns)
    }

    fn tokens(&self, empty_ns: u64, now_ns: u64) -> u64 {
        let saved_ns = now_ns.saturating_add(self.quota.full_ns()).saturating_sub(empty_ns.max(now_ns));
        saved_ns / self.quota.interval_ns()
    }
}

impl fmt::Debug for TokenBucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenBucket { .. }") // without its words: printing must not disturb a measurement
    }
}

//! A bulkhead that finds its own limit: a little more room while calls are quick, much less when they are not (AIMD).
//!
//! # States
//! The word holds how many are `inside`, the `limit` (with fractions), and the `round`, which counts the cuts.
//!
//! | a call ends | and the limit was | what happens to the limit |
//! |---|---|---|
//! | in time | at least half used | + 1/limit: after `limit` such calls, one more place |
//! | in time | less than half used | nothing: a limit that nobody reaches proves nothing |
//! | late or failed, begun in this round | - | cut to `keep_percent`, and a new round begins |
//! | late or failed, begun in an earlier round | - | nothing: it was sent under the old limit, which was cut already |
//! | unreported (dropped) | - | nothing |
//!
//! # Edges
//! - **E1** leaving (Release) -> coming in (Acquire): whoever has the place sees what its predecessor did.
//!
//! # Limits
//! It steers by latency, so it needs a target, and a target below what the backend can do keeps it at the minimum. It finds the edge by
//! stepping over it: some calls are late in every cycle of the saw-tooth. No queue, no fairness. Up to 65,535 inside. A call that is
//! in flight during exactly 2^16 cuts would be taken for one of the present round. **A clock that steps back** during a call makes
//! the call look quick. A permit that is leaked (`mem::forget`) is a place lost for good. 8 bytes beside the settings; never panics.
//!
//! # Source
//! D. Chiu and R. Jain, "Analysis of the increase and decrease algorithms for congestion avoidance in computer networks" (1989);
//! the once-per-round cut is TCP's; the "half used" rule is that of Netflix's concurrency-limits, AIMDLimit.

use super::BadSettings;
use crate::structures::sync::atomic::AtomicU64;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::fmt;

/// Bounds how many are inside at once, by what they say of the backend.
///
/// Uncontended: one load and one compare-exchange to come in, the same to leave. Under contention, callers race for the word and try
/// again; refusals only read. Policy and limits: see the [module](self).
pub struct Adaptive {
    settings: AdaptiveSettings,
    /// From the lowest bit: 16 bits `inside`, 16 bits `round`, 32 bits `limit` in 1/65,536.
    word: AtomicU64,
}

/// Where the limit starts, between which bounds it moves, and what makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdaptiveSettings {
    /// The limit at first; from `min` to `max`.
    pub start: u16,
    /// The lowest limit; at least 1, else nobody could come in and prove that things are well again.
    pub min: u16,
    /// The highest limit.
    pub max: u16,
    /// A call that takes longer than this is late, in ns.
    pub target_ns: u64,
    /// What a late call leaves of the limit; 1 to 99.
    pub keep_percent: u8,
}

const INSIDE: u64 = 0xFFFF;
const ROUND_SHIFT: u32 = 16;
const ROUND_ONE: u64 = 1 << ROUND_SHIFT;
const ROUND: u64 = 0xFFFF << ROUND_SHIFT;
const LIMIT_SHIFT: u32 = 32;
/// One place, in the unit of the limit.
const PLACE: u64 = 1 << 16;

impl Adaptive {
    /// An empty limiter.
    ///
    /// # Errors
    /// [`BadSettings`] with the name of the field.
    pub fn new(settings: AdaptiveSettings) -> Result<Self, BadSettings> {
        let AdaptiveSettings { start, min, max, keep_percent, .. } = settings;
        if min == 0 || min > max {
            return Err(BadSettings("min"));
        }
        if !(min..=max).contains(&start) {
            return Err(BadSettings("start"));
        }
        if !(1..100).contains(&keep_percent) {
            return Err(BadSettings("keep_percent"));
        }
        let limit = u64::from(start) * PLACE;
        Ok(Self { settings, word: AtomicU64::new(limit << LIMIT_SHIFT) })
    }

    /// Goes in if the limit allows it now; never waits.
    #[inline]
    pub fn try_enter(&self, now_ns: u64) -> Option<Permit<'_>> {
        let mut word = self.word.load(Relaxed);
        while word & INSIDE < (word >> LIMIT_SHIFT) / PLACE {
            match self.word.compare_exchange_weak(word, word + 1, Acquire, Relaxed) {
                Ok(_) => {
                    return Some(Permit {
                        of: self,
                        round: word & ROUND,
                        began_ns: now_ns,
                        end: End::Unknown,
                    });
                } // E1
                Err(now) => word = now,
            }
        }
        None
    }

    /// How many are inside; out of date as soon as it is known. More than the limit right after a cut.
    pub fn inside(&self) -> u16 {
        (self.word.load(Relaxed) & INSIDE) as u16
    }

    /// The limit now, whole places; out of date as soon as it is known.
    pub fn limit(&self) -> u16 {
        ((self.word.load(Relaxed) >> LIMIT_SHIFT) / PLACE) as u16
    }

    #[inline]
    fn leave(&self, round: u64, end: End) {
        let mut word = self.word.load(Relaxed);
        loop {
            let next = self.after(word, round, end) - 1;
            match self.word.compare_exchange_weak(word, next, Release, Relaxed) {
                Ok(_) => return, // E1
                Err(now) => word = now,
            }
        }
    }

    /// The word with what this end makes of limit and round.
    fn after(&self, word: u64, round: u64, end: End) -> u64 {
        let (limit, inside) = (word >> LIMIT_SHIFT, word & INSIDE);
        match end {
            End::InTime if inside * 2 * PLACE >= limit => {
                // PLACE / limit, both in PLACEs; never 0, since the limit is below 2^32.
                let raised = limit + PLACE * PLACE / limit;
                with_limit(word, raised.min(u64::from(self.settings.max) * PLACE))
            }
            End::Late if word & ROUND == round => {
                let cut = limit * u64::from(self.settings.keep_percent) / 100;
                let word = with_limit(word, cut.max(u64::from(self.settings.min) * PLACE));
                word & !ROUND | (word + ROUND_ONE) & ROUND
            }
            _ => word,
        }
    }
}

fn with_limit(word: u64, limit: u64) -> u64 {
    limit << LIMIT_SHIFT | word & (ROUND | INSIDE)
}

#[derive(Clone, Copy, Debug)]
enum End {
    InTime,
    Late,
    Unknown,
}

/// The right to be inside. Dropped without a report, also when a panic unwinds, it leaves and says nothing about the backend.
#[must_use = "a permit that is dropped at once bounds nothing"]
#[derive(Debug)]
pub struct Permit<'a> {
    of: &'a Adaptive,
    round: u64,
    began_ns: u64,
    end: End,
}

impl Permit<'_> {
    /// Leaves, and says how the call went: a failed one counts as late.
    pub fn report(mut self, now_ns: u64, ok: bool) {
        let in_time = ok && now_ns.saturating_sub(self.began_ns) <= self.of.settings.target_ns;
        self.end = if in_time { End::InTime } else { End::Late };
    }
}

impl Drop for Permit<'_> {
    #[inline]
    fn drop(&mut self) {
        self.of.leave(self.round, self.end);
    }
}

impl fmt::Debug for Adaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Adaptive { .. }") // without its words: printing must not disturb a measurement
    }
}

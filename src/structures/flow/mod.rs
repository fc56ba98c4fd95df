//! Hand-written flow control, one structure a file: what lets a request through now, later, or not at all.
//!
//! | structure | limits | a burst is | it protects | it does not see |
//! |---|---|---|---|---|
//! | [`token_bucket`], [`gcra`] | the rate | let through, up to the bucket | an average | how long each request takes |
//! | [`leaky_bucket`] | the rate | metered (the same), or spaced out | an average, or the next in line | the same |
//! | [`fixed_window`] | a count per window of the calendar | let through, twice over at an edge | a bill | the edge |
//! | [`sliding_log`] | a count in any window | let through once | the window, exactly | the same |
//! | [`bulkhead`] | requests in flight | queued or refused | memory, threads, the backend | the rate |
//! | [`adaptive`] | requests in flight, and finds the number | refused | the same, when nobody knows the number | the rate |
//! | [`circuit_breaker`] | calls to what is broken | refused | the caller's time, the backend's recovery | load |
//! | [`keyed`] | the rate of each key | as with `gcra` | the other keys | the sum of all keys |
//! | [`fair_queue`] | nothing: it orders what waits | queued, its tenant's line | the other tenants, and nothing is left idle | the sum of all tenants |
//!
//! # The clock
//! Nothing here reads a clock: whoever asks says what time it is, `now_ns`, in nanoseconds of any monotonic clock (since the
//! process started, say; a simulation counts its own). That makes every decision repeatable, and the tests exact. A clock that
//! steps back never gives anything twice: each file says what it does instead.

pub mod adaptive;
pub mod bulkhead;
pub mod circuit_breaker;
pub mod fair_queue;
pub mod fixed_window;
pub mod gcra;
pub mod keyed;
pub mod leaky_bucket;
pub mod sliding_log;
pub mod token_bucket;

use std::error::Error;
use std::fmt;

/// A rate and a burst: one unit every `interval_ns`, and up to `burst` units at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    interval_ns: u64,
    burst: u64,
    /// `interval_ns * burst`: what the whole burst is worth in time.
    full_ns: u64,
}

/// What the whole burst may be worth in time: 2^62 ns, or 146 years. Leaves room to add two of them.
const LONGEST_NS: u64 = 1 << 62;

impl Quota {
    /// `count` units per `period_ns`, and `burst` at once.
    ///
    /// The interval, `period_ns / count`, is rounded up to whole nanoseconds: never more than what was asked for, and exact where
    /// `count` divides the period. At 300 per second it is 2 in 10^9 slower, at 300 million per second 20 %:
    /// [`interval_ns`](Self::interval_ns) tells.
    ///
    /// # Errors
    /// [`QuotaError`]: a rate, period or burst of zero, more than one unit per nanosecond, or a burst worth more than 146 years.
    pub fn new(count: u64, period_ns: u64, burst: u64) -> Result<Self, QuotaError> {
        if count == 0 {
            return Err(QuotaError::NoRate);
        }
        if period_ns == 0 {
            return Err(QuotaError::NoPeriod);
        }
        if burst == 0 {
            return Err(QuotaError::NoBurst);
        }
        if count > period_ns {
            return Err(QuotaError::TooFast);
        }
        let interval_ns = period_ns.div_ceil(count);
        match interval_ns.checked_mul(burst) {
            Some(full_ns) if full_ns <= LONGEST_NS => Ok(Self { interval_ns, burst, full_ns }),
            _ => Err(QuotaError::TooLong),
        }
    }

    /// `count` units per second, and `burst` at once.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn per_second(count: u64, burst: u64) -> Result<Self, QuotaError> {
        Self::new(count, 1_000_000_000, burst)
    }

    /// The time in which one unit comes back, in ns.
    pub fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// Units that may pass at once after a pause.
    pub fn burst(&self) -> u64 {
        self.burst
    }

    /// The time in which the whole burst comes back, in ns.
    pub fn full_ns(&self) -> u64 {
        self.full_ns
    }

    /// What a cost is worth in time. Cannot overflow: no more than `full_ns`.
    #[inline]
    fn price_ns(&self, cost: u64) -> Result<u64, Refusal> {
        if cost > self.burst { Err(Refusal::TooLarge) } else { Ok(cost * self.interval_ns) }
    }
}

/// Why there is no such quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuotaError {
    /// A rate of zero: to let nothing through, ask nobody.
    NoRate,
    /// A rate per no time at all.
    NoPeriod,
    /// A burst of zero would refuse everything.
    NoBurst,
    /// More than one unit per nanosecond: finer than the clock.
    TooFast,
    /// The burst would take more than 146 years to come back.
    TooLong,
}

impl fmt::Display for QuotaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoRate => "a rate of zero lets nothing through",
            Self::NoPeriod => "a rate needs a period above zero",
            Self::NoBurst => "a burst of zero lets nothing through",
            Self::TooFast => "more than one per nanosecond is finer than the clock",
            Self::TooLong => "the burst would take more than 146 years to come back",
        })
    }
}

impl Error for QuotaError {}

/// Why there is no such window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowError {
    /// A limit of zero would refuse everything.
    NoLimit,
    /// A limit above what the structure counts.
    LimitTooLarge {
        /// The highest that is possible.
        most: u64,
    },
    /// A window below what the structure tells apart.
    WindowTooShort {
        /// The shortest that is possible, in ns.
        least_ns: u64,
    },
}

impl fmt::Display for WindowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLimit => f.write_str("a limit of zero lets nothing through"),
            Self::LimitTooLarge { most } => write!(f, "the limit is above {most}"),
            Self::WindowTooShort { least_ns } => write!(f, "the window is below {least_ns} ns"),
        }
    }
}

impl Error for WindowError {}

/// Why there are no such settings: a number of zero, or one out of its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSettings(
    /// Which field of the settings.
    pub &'static str,
);

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is out of its bounds", self.0)
    }
}

impl Error for BadSettings {}

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not now.
    NotBefore {
        /// At this time, in ns on the caller's clock, the same request passes if no other comes in between.
        at_ns: u64,
    },
    /// Never: it costs more than is ever let through at once.
    TooLarge,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBefore { at_ns } => write!(f, "refused until {at_ns} ns on the caller's clock"),
            Self::TooLarge => f.write_str("costs more than is ever let through at once"),
        }
    }
}

impl Error for Refusal {}

//! A circuit breaker in one word: after so many failures in a row it refuses calls for a while, then tries a few.
//!
//! # States
//! | state | a call | a success | a failure |
//! |---|---|---|---|
//! | closed, n failures in a row | passes | n = 0 | n + 1; at the threshold: open |
//! | open until a time | is refused; from that time on it becomes the first probe: half-open | (of an old call) ignored | ignored |
//! | half-open, p probes sent, s succeeded | passes while p is below the number of probes | s + 1; when all succeeded: closed | open |
//!
//! Each change of state begins a new generation, and a call remembers the one it passed in: the result of a call from an older
//! generation says nothing about the present one and is ignored.
//!
//! # Edges
//! None: the word carries itself and nothing else, so every access is relaxed.
//!
//! # Limits
//! Counts failures in a row, not a rate: one success in between starts anew, so a backend that fails every second call never opens it.
//! Time is kept in whole ms, rounded up, for 2^40 of them (34 years); from then on an open breaker lets a probe through at once. A
//! call that is in flight during exactly 2^22 changes of state would be taken for one of the present generation. A probe that never
//! comes back keeps the breaker half-open, so give calls a time-out. **A clock that steps back** by d keeps an open breaker open for
//! d longer. No fairness: who comes at the right moment is the probe. 8 bytes beside the settings; never panics.
//!
//! # Source
//! M. Nygard, "Release It!" (2007), "Circuit Breaker"; one word with a generation is ours.

use super::BadSettings;
use crate::structures::sync::atomic::AtomicU64;
use crate::structures::sync::atomic::Ordering::Relaxed;
use std::error::Error;
use std::fmt;

/// Stops calling what is broken, and finds out when it works again.
///
/// Uncontended, closed: one load to pass, one load to report a success. Under contention, failures and probes race for the word; the
/// calls of a closed breaker only read. Policy and limits: see the [module](self).
pub struct CircuitBreaker {
    failures: u64,
    probes: u64,
    open_ns: u64,
    /// From the lowest bit: 2 bits state, 22 bits generation, 40 bits as the state says: failures in a row; the ms until which it is
    /// open; or 20 bits probes sent and 20 bits probes succeeded.
    word: AtomicU64,
}

/// When to open, for how long, and what it takes to close again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open it; 1 to 2^20 - 1.
    pub failures: u32,
    /// How long it stays open, in ns; at least 1.
    pub open_ns: u64,
    /// Calls that are let through when half-open; all must succeed. 1 to 2^20 - 1.
    pub probes: u32,
}

/// Why a call may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Open: the first call at or after this time, in ns on the caller's clock, is a probe.
    Open {
        /// That time.
        until_ns: u64,
    },
    /// Half-open, and all probes are sent; nobody knows for how long.
    Probing,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { until_ns } => write!(f, "open until {until_ns} ns on the caller's clock"),
            Self::Probing => f.write_str("half-open, and all probes are sent"),
        }
    }
}
impl Error for Refused {}

/// What a breaker does at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Lets calls through.
    Closed,
    /// Refuses them.
    Open,
    /// Lets a few through.
    HalfOpen,
}

const STATE: u64 = 0b11;
const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const GENERATION_ONE: u64 = 1 << 2;
const GENERATION: u64 = ((1 << 22) - 1) << 2;
const PAYLOAD_SHIFT: u32 = 24;
const PAYLOAD: u64 = (1 << 40) - 1;
/// Half of the payload.
const COUNT_BITS: u32 = 20;
const COUNT: u64 = (1 << COUNT_BITS) - 1;
const MS: u64 = 1_000_000;

/// The word of the generation after this one.
fn turned(word: u64, state: u64, payload: u64) -> u64 {
    payload << PAYLOAD_SHIFT | (word + GENERATION_ONE) & GENERATION | state
}

impl CircuitBreaker {
    /// A closed breaker.
    ///
    /// # Errors
    /// [`BadSettings`] with the name of the field that is zero or too large.
    pub fn new(settings: BreakerSettings) -> Result<Self, BadSettings> {
        let BreakerSettings { failures, open_ns, probes } = settings;
        let counts = |n: u32| (1..=COUNT).contains(&u64::from(n));
        if !counts(failures) {
            return Err(BadSettings("failures"));
        }
        if open_ns == 0 {
            return Err(BadSettings("open_ns"));
        }
        if !counts(probes) {
            return Err(BadSettings("probes"));
        }
        let (failures, probes) = (u64::from(failures), u64::from(probes));
        Ok(Self { failures, probes, open_ns, word: AtomicU64::new(CLOSED) })
    }

    /// Lets a call through, or says why not.
    ///
    /// # Errors
    /// [`Refused`].
    #[inline]
    pub fn try_call(&self, now_ns: u64) -> Result<Call<'_>, Refused> {
        let mut word = self.word.load(Relaxed);
        loop {
            let payload = word >> PAYLOAD_SHIFT;
            let next = match word & STATE {
                CLOSED => return Ok(self.call(word, now_ns)),
                OPEN if now_ns / MS < payload => return Err(Refused::Open { until_ns: payload * MS }),
                OPEN => turned(word, HALF_OPEN, 1),
                _ if payload & COUNT == self.probes => return Err(Refused::Probing),
                _ => word + (1 << PAYLOAD_SHIFT),
            };
            match self.word.compare_exchange_weak(word, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(self.call(next, now_ns)),
                Err(now) => word = now,
            }
        }
    }

    /// What it does now; out of date as soon as it is known. An open breaker whose time is over is open until the next call.
    pub fn state(&self) -> State {
        match self.word.load(Relaxed) & STATE {
            CLOSED => State::Closed,
            OPEN => State::Open,
            _ => State::HalfOpen,
        }
    }

    fn call(&self, word: u64, now_ns: u64) -> Call<'_> {
        Call { breaker: self, generation: word & GENERATION, now_ns, ok: false }
    }

    #[inline]
    fn report(&self, generation: u64, now_ns: u64, ok: bool) {
        let mut word = self.word.load(Relaxed);
        // `None`: nothing to write down.
        while let Some(next) = self.after(word, generation, now_ns, ok) {
            match self.word.compare_exchange_weak(word, next, Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
    }

    fn after(&self, word: u64, generation: u64, now_ns: u64, ok: bool) -> Option<u64> {
        if word & GENERATION != generation {
            return None;
        }
        let payload = word >> PAYLOAD_SHIFT;
        match (word & STATE, ok) {
            (CLOSED, true) if payload == 0 => None,
            (CLOSED, true) => Some(word & GENERATION | CLOSED),
            (CLOSED, false) if payload + 1 < self.failures => Some(word + (1 << PAYLOAD_SHIFT)),
            (HALF_OPEN, true) if (payload >> COUNT_BITS) + 1 < self.probes => {
                Some(word + (1 << (PAYLOAD_SHIFT + COUNT_BITS)))
            }
            (HALF_OPEN, true) => Some(turned(word, CLOSED, 0)),
            (CLOSED | HALF_OPEN, false) => {
                let until_ms = now_ns.saturating_add(self.open_ns).div_ceil(MS).min(PAYLOAD);
                Some(turned(word, OPEN, until_ms))
            }
            _ => None, // open: its generation let no call through
        }
    }
}

/// A call that was let through. Dropped without a report, also when a panic unwinds, it counts as failed at the time it began.
#[must_use = "a call that is dropped at once counts as failed"]
#[derive(Debug)]
pub struct Call<'a> {
    breaker: &'a CircuitBreaker,
    generation: u64,
    now_ns: u64,
    ok: bool,
}

impl Call<'_> {
    /// Says how the call went, and at what time that is known.
    pub fn report(mut self, now_ns: u64, ok: bool) {
        (self.now_ns, self.ok) = (now_ns, ok);
    }
}

impl Drop for Call<'_> {
    #[inline]
    fn drop(&mut self) {
        self.breaker.report(self.generation, self.now_ns, self.ok);
    }
}

impl fmt::Debug for CircuitBreaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CircuitBreaker { .. }") // without its words: printing must not disturb a measurement
    }
}

//! The exact rule, "at most `limit` in any window": a ring with the time at which each of the last `limit` requests stops to count.
//!
//! # States
//! `head` counts the requests that passed; request number n has the slot n modulo `limit`. So the slot at `head` belongs to the
//! oldest request that may still count, and the one before it to the newest: from there on round the ring, times only rise.
//!
//! | the slot at `head` holds | meaning | a request |
//! |---|---|---|
//! | a time up to now (0 at first) | the oldest has stopped to count | takes the slot with now + window, then moves `head` on |
//! | a time after now, the next slot an earlier one | the slot was just taken, `head` is late | moves `head` on for the other, looks again |
//! | a time after now, the next slot none earlier | all `limit` count | is told that time |
//!
//! Safe whatever `head` says: a slot is only taken when its time is over, and for a whole window, so each of the `limit` slots lets
//! one request through in any window. `head` only finds the right slot; the edges keep it from refusing for nothing.
//!
//! # Edges
//! - **E1** moving `head` (Release) -> reading it (Acquire): carries the times of all slots before it. Whoever moves it has seen the
//!   slot's new time, so whoever reads it sees no older one.
//! - **E2** taking a slot (Release) -> reading the next slot (Acquire): carries the `head` under which it was taken, so a caller with
//!   an old `head` who sees a slot ahead of it already taken learns of the newer one before it refuses.
//!
//! # Limits
//! 8 bytes for each unit of the limit: exactness is paid in memory, and a decision is two to four loads in different places. A cost
//! other than 1 is not possible: two slots can't be taken in one step. No fairness between callers. **A clock that steps back**
//! stands still at the newest request that passed. At the end of the clock (2^64 ns, 584 years) everything is refused. Never panics: `head` would need 2^64 requests, more than one each ns until then.
//!
//! # Source
//! The rule is folklore ("sliding window log"). The ring without a lock is ours; moving the cursor on for a slow thread follows
//! M. Michael and M. Scott, "Simple, fast, and practical non-blocking and blocking concurrent queue algorithms" (1996).

use super::{Refusal, WindowError};
use crate::structures::sync::atomic::AtomicU64;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::fmt;

/// Lets a number of requests through in any window, exactly.
///
/// Uncontended: four loads and two compare-exchanges to pass, five loads to refuse. Under contention, callers that pass race for the
/// slot at the head; nobody waits for a caller that stops half-way. Policy and limits: see the [module](self).
pub struct SlidingLog {
    window_ns: u64,
    /// When the request in this slot stops to count, in ns on the caller's clock; 0: never used.
    slots: Box<[AtomicU64]>,
    /// Requests that passed.
    head: AtomicU64,
}

/// 128 MiB of slots.
const MOST: u64 = 1 << 24;

impl SlidingLog {
    /// A limiter that lets `limit` requests through in any window of `window_ns`; takes 8 bytes times `limit`.
    ///
    /// # Errors
    /// [`WindowError`]: a limit of zero or above 2^24, or a window of zero.
    pub fn new(limit: u64, window_ns: u64) -> Result<Self, WindowError> {
        if limit == 0 {
            return Err(WindowError::NoLimit);
        }
        if limit > MOST {
            return Err(WindowError::LimitTooLarge { most: MOST });
        }
        if window_ns == 0 {
            return Err(WindowError::WindowTooShort { least_ns: 1 });
        }
        let slots = (0..limit).map(|_| AtomicU64::new(0)).collect();
        Ok(Self { window_ns, slots, head: AtomicU64::new(0) })
    }

    /// Passes one request, or says when the oldest stops to count.
    ///
    /// # Errors
    /// [`Refusal::NotBefore`].
    #[inline]
    pub fn admit(&self, now_ns: u64) -> Result<(), Refusal> {
        loop {
            let head = self.head.load(Acquire); // E1
            let slot = self.slot(head);
            let until_ns = slot.load(Relaxed);
            // The newest request passed a window before it stops to count; time does not go back behind it.
            let newest = self.slot(head + self.slots.len() as u64 - 1).load(Relaxed);
            let now_ns = now_ns.max(newest.saturating_sub(self.window_ns));
            if until_ns <= now_ns {
                let Some(next_ns) = now_ns.checked_add(self.window_ns) else {
                    return Err(Refusal::NotBefore { at_ns: u64::MAX });
                };
                let taken = slot.compare_exchange(until_ns, next_ns, Release, Relaxed).is_ok(); // E2
                self.move_on(head); // ours if taken; else the slot was taken by another, whom this helps
                if taken {
                    return Ok(());
                }
            } else if self.slot(head + 1).load(Acquire) < until_ns {
                self.move_on(head); // E2 in the line above
            } else if self.head.load(Relaxed) == head {
                return Err(Refusal::NotBefore { at_ns: until_ns });
            }
        }
    }

    fn move_on(&self, head: u64) {
        // It fails if another has moved it already, which is as good.
        let _ = self.head.compare_exchange(head, head + 1, Release, Relaxed); // E1
    }

    #[inline]
    fn slot(&self, number: u64) -> &AtomicU64 {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of the length of a slice")]
        let index = (number % self.slots.len() as u64) as usize;
        &self.slots[index]
    }
}

impl fmt::Debug for SlidingLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SlidingLog { .. }") // without its words: printing must not disturb a measurement
    }
}

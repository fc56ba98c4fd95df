//! Permits to be had and given back: at most so many threads at once, in two manners.
//!
//! [`Fifo`]: whoever found too few permits is served before whoever came later, so a large request at the head holds up the
//! small ones behind it. [`Barging`]: whoever finds enough takes them, so the permits are never idle, and a large request may
//! starve.
//!
//! # States of `Fifo`
//! One word holds two numbers: `available`, the permits, below zero those that waiting threads lack; and `queued`, the permits that
//! were ever queued for. They must change in one step: were the place in the line drawn a step later, somebody who took one of
//! two permits and somebody who came after it, but drew first, would each hold what the other lacks, for ever.
//!
//! | `available` | meaning | acquiring n | releasing n |
//! |---|---|---|---|
//! | a >= n | enough | subtracts n, and is through | adds n |
//! | 0 <= a < n | too few | subtracts n, takes a at once, queues for the n - a it lacks | adds n |
//! | a < 0 | others queue | subtracts n, queues for n | adds n, grants min(n, -a) to the line |
//!
//! The line is a pair of counters, as at a counter in a shop: `queued`, and `granted`, the permits that were ever granted to
//! those who queue. Who queues for n draws the numbers up to `queued + n`, and is through when `granted` has
//! reached the last of them. Sleeping threads are spread over a few words by that last number.
//!
//! # States of `Barging`
//! | permits | waiting | acquiring n | releasing n |
//! |---|---|---|---|
//! | >= n | any | subtracts n, and is through | adds n |
//! | < n | w | counts itself in w, sleeps | adds n; if w > 0, wakes |
//!
//! # Edges
//! - **E1** release's Release -> acquire's Acquire on the count: whatever was done under a permit is seen under the same permit.
//!   Every change of the count is a read-modify-write, so it continues the release sequence of those before it.
//! - **E2** (`Fifo`) the granting Release on `granted` -> the queued thread's Acquire: the same, for those who had to wait.
//! - **E3** the waker's Release on the word slept on -> the sleeper's Acquire of that word: who sees the new word also sees the
//!   new count, so it doesn't fall asleep on the new word over an old count.
//!
//! # Limits
//! Permits are not tied to threads; a [`Permits`] may be dropped by another thread than the one that acquired it. At most 2^31 - 1
//! permits, present or missing; beyond, the counts go wrong. No cancellation. 12 bytes and
//! [`hint::SLEEP_WORDS`] words (`Fifo`), 12 bytes (`Barging`).
//!
//! # Source
//! E. W. Dijkstra's P and V (1965). `Fifo`: the count in front is the "benaphore" (B. Schillings, 1996), the line behind it
//! D. P. Reed and R. K. Kanodia, "Synchronization with Eventcounts and Sequencers" (CACM 1979). `Barging`: glibc's semaphore.

use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::atomic::{AtomicU32, AtomicU64};
use crate::structures::sync::{futex, hint};
use std::fmt;

/// A semaphore that serves in order of arrival.
///
/// Uncontended: one load and one compare-exchange to acquire, one addition to release, no system call. Limits: see the
/// [module](self).
pub struct Fifo {
    /// From the lowest bit: 32 bits permits ever queued for, which wrap; 32 bits permits, as a signed number, negative: what
    /// waiting threads lack. The permits stand on top so that releasing is one addition, whose carry falls off the end.
    state: AtomicU64,
    /// Permits ever granted to those who queue; wraps.
    granted: AtomicU32,
    /// What queued threads sleep on, found by their last number; each counts the wake-ups sent through it, modulo 2^32.
    words: [AtomicU32; hint::SLEEP_WORDS],
}

/// A semaphore that serves whoever comes when there is enough.
///
/// Uncontended: one load and one compare-exchange to acquire, one addition to release, no system call. Limits: see the
/// [module](self).
pub struct Barging {
    /// From the lowest bit: 32 bits permits, 1 bit MANY, 31 bits waiting threads.
    state: AtomicU64,
    /// How often waiting threads were woken, modulo 2^32; what they sleep on.
    turn: AtomicU32,
}

const ONE_WAITING: u64 = 1 << 33;
/// A waiting thread wants more than one permit. Set until nobody waits.
const MANY: u64 = 1 << 32;
const PERMITS: u64 = MANY - 1;
const MOST: u32 = i32::MAX.cast_unsigned();

/// Permits that were acquired; dropping this gives them back.
#[must_use = "permits that are dropped at once limit nothing"]
pub struct Permits<'a, S: Semaphore> {
    semaphore: &'a S,
    count: u32,
}

/// What the two have in common.
pub trait Semaphore: Sized {
    /// A semaphore with so many permits.
    ///
    /// # Panics
    /// With more than 2^31 - 1.
    fn new(permits: u32) -> Self;

    /// Takes one permit, waiting until there is one.
    #[inline]
    fn acquire(&self) -> Permits<'_, Self> {
        self.acquire_many(1)
    }

    /// Takes `count` permits at once, waiting until there are so many (and, in order, until those before have theirs).
    fn acquire_many(&self, count: u32) -> Permits<'_, Self>;

    /// Takes `count` permits if there are so many at this moment; never waits.
    fn try_acquire_many(&self, count: u32) -> Option<Permits<'_, Self>>;

    /// Gives `count` permits, which need not have been acquired before: "post".
    fn release(&self, count: u32);

    /// Permits to be had at this moment; out of date as soon as it is read.
    fn available(&self) -> u32;
}

impl<S: Semaphore> Permits<'_, S> {
    /// Keeps the permits from being given back: somebody else will [`release`](Semaphore::release) them.
    pub fn forget(self) {
        std::mem::forget(self);
    }
}

impl<S: Semaphore> Drop for Permits<'_, S> {
    #[inline]
    fn drop(&mut self) {
        self.semaphore.release(self.count);
    }
}

impl Semaphore for Fifo {
    fn new(permits: u32) -> Self {
        assert!(permits <= MOST, "more than 2^31 - 1 permits");
        Self {
            state: AtomicU64::new(packed(permits.cast_signed(), 0)),
            granted: AtomicU32::new(0),
            words: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }

    #[inline]
    fn acquire_many(&self, count: u32) -> Permits<'_, Self> {
        let mut state = self.state.load(Relaxed);
        loop {
            let (available, queued) = parts(state);
            let missing = count.saturating_sub(available.max(0).cast_unsigned());
            let last = queued.wrapping_add(missing);
            let next = packed(available.wrapping_sub_unsigned(count), last);
            match self.state.compare_exchange_weak(state, next, Acquire, Relaxed) {
                Ok(_) if missing == 0 => break,
                Ok(_) => break self.wait_for(last),
                Err(now) => state = now,
            }
        } // E1, for whatever part was there
        Permits { semaphore: self, count }
    }

    #[inline]
    fn try_acquire_many(&self, count: u32) -> Option<Permits<'_, Self>> {
        let mut state = self.state.load(Relaxed);
        loop {
            let (available, queued) = parts(state);
            if available < 0 || available.cast_unsigned() < count {
                return None;
            }
            let next = packed(available.wrapping_sub_unsigned(count), queued);
            match self.state.compare_exchange_weak(state, next, Acquire, Relaxed) {
                Ok(_) => return Some(Permits { semaphore: self, count }), // E1
                Err(now) => state = now,
            }
        }
    }

    #[inline]
    fn release(&self, count: u32) {
        let (before, _) = parts(self.state.fetch_add(u64::from(count) << 32, Release)); // E1
        if before < 0 {
            self.grant(count.min(before.unsigned_abs()));
        }
    }

    fn available(&self) -> u32 {
        parts(self.state.load(Relaxed)).0.max(0).cast_unsigned()
    }
}

/// The two numbers of [`Fifo`]'s state, `available` and `queued`, in one word.
fn packed(available: i32, queued: u32) -> u64 {
    u64::from(available.cast_unsigned()) << 32 | u64::from(queued)
}

/// The reverse of [`packed`].
fn parts(state: u64) -> (i32, u32) {
    (((state >> 32) as u32).cast_signed(), state as u32)
}

impl Fifo {
    /// Waits until the permits up to number `last` are granted.
    #[cold]
    fn wait_for(&self, last: u32) {
        let word = &self.words[last as usize % hint::SLEEP_WORDS];
        let mut turns = 0;
        loop {
            let seen = word.load(Acquire); // E3: first the word, then the count
            let behind = last.wrapping_sub(self.granted.load(Acquire)); // E2
            if behind.cast_signed() <= 0 {
                return;
            }
            if turns < hint::SPIN_LIMIT {
                turns += 1;
                hint::spin_loop();
            } else {
                futex::wait(word, seen);
            }
        }
    }

    /// Grants `count` permits, which are known to be queued for, and wakes whoever got the last of its own.
    #[cold]
    fn grant(&self, count: u32) {
        let before = self.granted.fetch_add(count, Release); // E2
        // A request ends at any of the numbers granted now. All of them may fall on the same few words.
        for i in 1..=count.min(hint::SLEEP_WORDS as u32) {
            let word = &self.words[before.wrapping_add(i) as usize % hint::SLEEP_WORDS];
            word.fetch_add(1, Release); // E3
            futex::wake_all(word); // all: requests whose numbers fall on one word share it
        }
    }
}

impl Semaphore for Barging {
    fn new(permits: u32) -> Self {
        assert!(permits <= MOST, "more than 2^31 - 1 permits");
        Self { state: AtomicU64::new(u64::from(permits)), turn: AtomicU32::new(0) }
    }

    #[inline]
    fn acquire_many(&self, count: u32) -> Permits<'_, Self> {
        match self.try_acquire_many(count) {
            Some(permits) => permits,
            None => self.acquire_contended(count),
        }
    }

    #[inline]
    fn try_acquire_many(&self, count: u32) -> Option<Permits<'_, Self>> {
        let mut state = self.state.load(Relaxed);
        while state & PERMITS >= u64::from(count) {
            match self.state.compare_exchange_weak(state, state - u64::from(count), Acquire, Relaxed) {
                Ok(_) => return Some(Permits { semaphore: self, count }), // E1
                Err(now) => state = now,
            }
        }
        None
    }

    #[inline]
    fn release(&self, count: u32) {
        let before = self.state.fetch_add(u64::from(count), Release); // E1
        if before >= ONE_WAITING {
            self.wake(count, before & MANY != 0);
        }
    }

    fn available(&self) -> u32 {
        (self.state.load(Relaxed) & PERMITS) as u32
    }
}

impl Barging {
    #[cold]
    fn acquire_contended(&self, count: u32) -> Permits<'_, Self> {
        for _ in 0..hint::SPIN_LIMIT {
            let state = self.state.load(Relaxed);
            if state & PERMITS >= u64::from(count) || state >= ONE_WAITING {
                break; // enough; or others sleep already: the wait is long
            }
            hint::spin_loop();
        }
        let mut counted = 0; // what we have added to the waiting threads: nothing, then one
        loop {
            // First the turn, then the state: a wake-up after the first look changes the turn, and the sleep is refused.
            let turn = self.turn.load(Acquire); // E3
            let state = self.state.load(Relaxed);
            if state & PERMITS >= u64::from(count) {
                let left = state - u64::from(count) - counted;
                let left = if left < ONE_WAITING { left & !MANY } else { left };
                if self.state.compare_exchange_weak(state, left, Acquire, Relaxed).is_ok() {
                    return Permits { semaphore: self, count }; // E1
                }
            } else if counted == 0 {
                let many = if count > 1 { MANY } else { 0 };
                // Count ourselves in the same step that finds too few, else a release could miss us. Relaxed: it carries nothing.
                let waiting = (state + ONE_WAITING) | many;
                if self.state.compare_exchange_weak(state, waiting, Relaxed, Relaxed).is_ok() {
                    counted = ONE_WAITING;
                }
            } else {
                futex::wait(&self.turn, turn);
            }
        }
    }

    /// Wakes as many as can be served. If somebody wants several, all: the one that is woken might want more than there is,
    /// while another could have gone.
    #[cold]
    fn wake(&self, count: u32, many: bool) {
        self.turn.fetch_add(1, Release); // E3
        if many || count > 1 {
            futex::wake_all(&self.turn);
        } else {
            futex::wake_one(&self.turn);
        }
    }
}

impl fmt::Debug for Fifo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fifo { .. }")
    }
}
impl fmt::Debug for Barging {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Barging { .. }")
    }
}
impl<S: Semaphore> fmt::Debug for Permits<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permits({})", self.count)
    }
}

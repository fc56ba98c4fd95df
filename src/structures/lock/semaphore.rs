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
//! `granted` has 64 bits, and `queued` only its low 32, since it shares a word. Whoever queues reads `granted` first and takes the
//! upper half from there. Short numbers would not do: two requests for all permits run through 2^32, and a thread that slept
//! through both would find its number not yet called.
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
//! Permits are not tied to threads; a [`Permits`] may be dropped by another thread than the one that acquired it. At most
//! [`MAX_PERMITS`] are there, and (`Fifo`) at most as many are missing. One more is refused, by a panic or an error, and changes
//! nothing. A wait of `Barging` may have a time-out; one of `Fifo` can't, since a number that is drawn can't be given back: the
//! numbers behind it would be called too early. No other cancellation. 80 bytes (`Fifo`: 16 and [`hint::SLEEP_WORDS`] words), 16 bytes (`Barging`).
//!
//! What wraps: the words slept on, and `queued`. A thread that stands still between look and sleep, while exactly 2^32 wake-ups go
//! through its word, would sleep on. `queued` comes to harm only if exactly 2^32 permits are queued for between a look and the step
//! after it. `granted` does not wrap in practice (64 bits).
//!
//! # Source
//! E. W. Dijkstra's P and V (1965). `Fifo`: the count in front is the "benaphore" (B. Schillings, 1996), the line behind it
//! D. P. Reed and R. K. Kanodia, "Synchronization with Eventcounts and Sequencers" (CACM 1979). `Barging`: glibc's semaphore.

use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::atomic::{AtomicU32, AtomicU64};
use crate::structures::sync::time::Deadline;
use crate::structures::sync::{futex, hint};
use std::error::Error;
use std::fmt;
use std::time::Duration;

/// A semaphore that serves in order of arrival.
///
/// Uncontended: one load and one compare-exchange to acquire, one addition to release, no system call. Limits: see the
/// [module](self).
pub struct Fifo {
    /// From the lowest bit: 32 bits permits ever queued for, which wrap; 32 bits permits, as a signed number, negative: what
    /// waiting threads lack. The permits stand on top so that releasing is one addition, whose carry falls off the end.
    state: AtomicU64,
    /// Permits ever granted to those who queue.
    granted: AtomicU64,
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
/// A thread that waits is counted in 31 bits; more threads than that have no room for their stacks. Checked all the same.
const WAITING_MOST: u64 = (1 << 31) - 1;

/// The most permits that a semaphore has, and the most that one request may ask for.
pub const MAX_PERMITS: u32 = i32::MAX.cast_unsigned();

// The word of a number stays the same when the number wraps.
const _: () = assert!(hint::SLEEP_WORDS.is_power_of_two());

/// More permits, present or missing, than a semaphore counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyPermits {
    /// What was there, below zero what was missing.
    pub available: i64,
    /// What was asked for (below zero) or given.
    pub change: i64,
}

impl fmt::Display for TooManyPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { available, change } = self;
        write!(f, "{available} permits and {change:+} are beyond the most, {MAX_PERMITS}")
    }
}

impl Error for TooManyPermits {}

/// The panic of all that can't return an error. Cold, so that the checks cost a comparison.
#[cold]
fn refuse(why: TooManyPermits) -> ! {
    panic!("{why}")
}

/// Permits that were acquired; dropping this gives them back. The drop panics only if others have meanwhile released so many that
/// these have no room ([`MAX_PERMITS`]).
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
    /// With more than [`MAX_PERMITS`].
    fn new(permits: u32) -> Self;

    /// Takes one permit, waiting until there is one.
    ///
    /// # Panics
    /// As [`acquire_many`](Self::acquire_many).
    #[inline]
    fn acquire(&self) -> Permits<'_, Self> {
        self.acquire_many(1)
    }

    /// Takes `count` permits at once, waiting until there are so many (and, in order, until those before have theirs).
    ///
    /// # Panics
    /// With [`TooManyPermits`] as the message: for more than [`MAX_PERMITS`], which nobody could ever give; and, in order, if so many
    /// would then be missing. Nothing has changed then.
    fn acquire_many(&self, count: u32) -> Permits<'_, Self>;

    /// Takes `count` permits if there are so many at this moment; never waits, never panics.
    fn try_acquire_many(&self, count: u32) -> Option<Permits<'_, Self>>;

    /// Gives `count` permits, which need not have been acquired before: "post".
    ///
    /// # Errors
    /// [`TooManyPermits`] if there would be more than [`MAX_PERMITS`]. Nothing has changed then.
    fn try_release(&self, count: u32) -> Result<(), TooManyPermits>;

    /// As [`try_release`](Self::try_release), for whoever knows that there is room.
    ///
    /// # Panics
    /// With [`TooManyPermits`] as the message, where `try_release` returns it.
    #[inline]
    fn release(&self, count: u32) {
        self.try_release(count).unwrap_or_else(|why| refuse(why));
    }

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
        Self::starting_at(permits, 0)
    }

    #[inline]
    fn acquire_many(&self, count: u32) -> Permits<'_, Self> {
        let mut state = self.state.load(Relaxed);
        loop {
            let (available, queued) = parts(state);
            let Some(left) = less(available, count) else {
                refuse(TooManyPermits { available: available.into(), change: -i64::from(count) })
            };
            let missing = count.saturating_sub(available.max(0).cast_unsigned());
            // Read between the look at the state and the step that finds the state unchanged: so it is at most 2^31 behind `queued`.
            let granted = if missing == 0 { 0 } else { self.granted.load(Relaxed) };
            let last = queued.wrapping_add(missing);
            match self.state.compare_exchange_weak(state, packed(left, last), Acquire, Relaxed) {
                Ok(_) if missing == 0 => break,
                Ok(_) => {
                    break self.wait_for(granted.wrapping_add(u64::from(last.wrapping_sub(granted as u32))));
                }
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
            let left = less(available, count).filter(|left| *left >= 0)?;
            match self.state.compare_exchange_weak(state, packed(left, queued), Acquire, Relaxed) {
                Ok(_) => return Some(Permits { semaphore: self, count }), // E1
                Err(now) => state = now,
            }
        }
    }

    #[inline]
    fn try_release(&self, count: u32) -> Result<(), TooManyPermits> {
        // Not an addition: one that went too far would have to be taken back, and others may have lived on it meanwhile.
        let mut state = self.state.load(Relaxed);
        loop {
            let (before, queued) = parts(state);
            let Some(after) = before.checked_add_unsigned(count) else {
                return Err(TooManyPermits { available: before.into(), change: count.into() });
            };
            match self.state.compare_exchange_weak(state, packed(after, queued), Release, Relaxed) {
                Ok(_) if before < 0 => {
                    self.grant(count.min(before.unsigned_abs())); // E1 in the line above
                    return Ok(());
                }
                Ok(_) => return Ok(()), // E1
                Err(now) => state = now,
            }
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

/// `available` after a request; `None` if it is more than a semaphore counts. -2^31 has no opposite, so it is left out.
fn less(available: i32, count: u32) -> Option<i32> {
    available.checked_sub_unsigned(count).filter(|left| count <= MAX_PERMITS && *left != i32::MIN)
}

impl Fifo {
    /// As [`new`](Semaphore::new), as if `granted` permits had been queued for and granted already: for tests of the wrap-around.
    ///
    /// # Panics
    /// As [`new`](Semaphore::new).
    #[doc(hidden)]
    pub fn starting_at(permits: u32, granted: u64) -> Self {
        if permits > MAX_PERMITS {
            refuse(TooManyPermits { available: 0, change: permits.into() });
        }
        Self {
            state: AtomicU64::new(packed(permits.cast_signed(), granted as u32)),
            granted: AtomicU64::new(granted),
            words: std::array::from_fn(|_| AtomicU32::new(granted as u32)),
        }
    }

    /// Permits that waiting threads lack at this moment; out of date as soon as it is read.
    pub fn missing(&self) -> u32 {
        parts(self.state.load(Relaxed)).0.min(0).unsigned_abs()
    }

    /// Waits until the permits up to number `last` are granted.
    #[cold]
    fn wait_for(&self, last: u64) {
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
        let before = self.granted.fetch_add(count.into(), Release); // E2
        // A request ends at any of the numbers granted now. All of them may fall on the same few words.
        for i in 1..=u64::from(count).min(hint::SLEEP_WORDS as u64) {
            let word = &self.words[before.wrapping_add(i) as usize % hint::SLEEP_WORDS];
            word.fetch_add(1, Release); // E3
            futex::wake_all(word); // all: requests whose numbers fall on one word share it
        }
    }
}

impl Semaphore for Barging {
    fn new(permits: u32) -> Self {
        Self::starting_at(permits, 0, 0)
    }

    #[inline]
    fn acquire_many(&self, count: u32) -> Permits<'_, Self> {
        match self.try_acquire_many(count) {
            Some(permits) => permits,
            // Never `None` without a deadline.
            None => self.acquire_contended(count, None).expect("there is no deadline"),
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
    fn try_release(&self, count: u32) -> Result<(), TooManyPermits> {
        // Not an addition: the sum would run over into MANY and the waiting threads before anybody could check it.
        let mut state = self.state.load(Relaxed);
        loop {
            let available = state & PERMITS;
            if available + u64::from(count) > u64::from(MAX_PERMITS) {
                return Err(TooManyPermits { available: available as i64, change: count.into() });
            }
            match self.state.compare_exchange_weak(state, state + u64::from(count), Release, Relaxed) {
                Ok(_) if state >= ONE_WAITING => {
                    self.wake(count, state & MANY != 0); // E1 in the line above
                    return Ok(());
                }
                Ok(_) => return Ok(()), // E1
                Err(now) => state = now,
            }
        }
    }

    fn available(&self) -> u32 {
        (self.state.load(Relaxed) & PERMITS) as u32
    }
}

/// A state of [`Barging`] that has been taken out of; MANY goes with the last who waits.
fn without_many(state: u64) -> u64 {
    if state < ONE_WAITING { state & !MANY } else { state }
}

impl Barging {
    /// As [`new`](Semaphore::new), but as if so many threads waited already, and so many wake-ups had been sent: for tests of the
    /// limits.
    ///
    /// # Panics
    /// As [`new`](Semaphore::new).
    #[doc(hidden)]
    pub fn starting_at(permits: u32, waiting: u32, turn: u32) -> Self {
        if permits > MAX_PERMITS {
            refuse(TooManyPermits { available: 0, change: permits.into() });
        }
        let state = u64::from(waiting) * ONE_WAITING + u64::from(permits);
        Self { state: AtomicU64::new(state), turn: AtomicU32::new(turn) }
    }

    /// As [`acquire_many`](Semaphore::acquire_many), but gives up when it has waited so long. May wait longer, never shorter.
    ///
    /// # Panics
    /// As [`acquire_many`](Semaphore::acquire_many).
    pub fn acquire_many_for(&self, count: u32, timeout: Duration) -> Option<Permits<'_, Self>> {
        self.try_acquire_many(count)
            .or_else(|| self.acquire_contended(count, Some(&Deadline::after(timeout))))
    }

    /// `None` if the deadline came first. Who gives up has looked at the permits once more, and found too few; so a wake-up that was
    /// spent on it was for permits that somebody else took, and whose release wakes the next.
    #[cold]
    fn acquire_contended(&self, count: u32, deadline: Option<&Deadline>) -> Option<Permits<'_, Self>> {
        if count > MAX_PERMITS {
            refuse(TooManyPermits { available: self.available().into(), change: -i64::from(count) });
        }
        for _ in 0..hint::SPIN_LIMIT {
            let state = self.state.load(Relaxed);
            if state & PERMITS >= u64::from(count) || state >= ONE_WAITING {
                break; // enough; or others sleep already: the wait is long
            }
            hint::spin_loop();
        }
        let mut counted = 0; // what we have added to the waiting threads: nothing, then one
        let mut in_time = true;
        loop {
            // First the turn, then the state: a wake-up after the first look changes the turn, and the sleep is refused.
            let turn = self.turn.load(Acquire); // E3
            let state = self.state.load(Relaxed);
            if state & PERMITS >= u64::from(count) {
                let left = without_many(state - u64::from(count) - counted);
                if self.state.compare_exchange_weak(state, left, Acquire, Relaxed).is_ok() {
                    return Some(Permits { semaphore: self, count }); // E1
                }
            } else if counted == 0 {
                assert!(state / ONE_WAITING < WAITING_MOST, "2^31 - 1 threads wait for this semaphore");
                let many = if count > 1 { MANY } else { 0 };
                // Count ourselves in the same step that finds too few, else a release could miss us. Relaxed: it carries nothing.
                let waiting = (state + ONE_WAITING) | many;
                if self.state.compare_exchange_weak(state, waiting, Relaxed, Relaxed).is_ok() {
                    counted = ONE_WAITING;
                }
            } else if !in_time {
                // Relaxed: it carries nothing, and hands E1 on, being a read-modify-write.
                let left = without_many(state - counted);
                if self.state.compare_exchange_weak(state, left, Relaxed, Relaxed).is_ok() {
                    return None;
                }
            } else {
                match deadline {
                    None => futex::wait(&self.turn, turn),
                    Some(deadline) => in_time = futex::wait_until(&self.turn, turn, deadline),
                }
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

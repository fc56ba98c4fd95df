//! A fair mutex that hands itself over: a `ticket` lock whose waiting threads sleep, each on the word of its number.
//!
//! Adds to `mutex`: nobody is overtaken, ever; and the price of that, since the lock belongs to the next thread from the moment of
//! the release, and stands idle until that thread has woken up. Adds to `ticket`: waiting threads give up the CPU.
//!
//! # States
//! Numbers are drawn from `next`; number t waits for the word `t % SLEEP_WORDS` to call it. Each word holds the number that it
//! called last, and whether somebody may sleep on it (S).
//!
//! | number t's word | meaning | thread t | whoever leaves, with t - 1 |
//! |---|---|---|---|
//! | calls another | not t's turn | sets S, sleeps | writes t without S; if S was set, wakes all who sleep on it |
//! | calls t | t's turn | is in | - |
//!
//! More than SLEEP_WORDS waiting threads share words: the wrong ones wake, see another number, and sleep again.
//!
//! # Edges
//! - **E1** the call's Release -> the called thread's Acquire of the same word: carries the value.
//!
//! # Limits
//! First come, first served, by the draw. Under contention every acquisition costs a wake-up of another thread, some
//! microseconds, during which nobody is inside: with short critical sections this is many times slower than barging. No
//! poisoning. At most 2^31 - 1 threads, each in need of a stack. The numbers wrap, and only equality counts. 4 bytes and
//! [`hint::SLEEP_WORDS`] words beside the value. `new` is not `const`. **No time-out**: a number that is drawn can't be given back.
//!
//! # Source
//! The array-based queue lock of T. E. Anderson (IEEE TPDS 1990), with a futex instead of the spinning.

use super::guard::{Exclude, Exclusive};
use crate::structures::sync::atomic::AtomicU32;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::{futex, hint};
use std::array;
use std::fmt;

/// A value behind a fair mutex. Uncontended: one addition and one load to lock, one swap to unlock, no system call. The rest: see
/// the [module](self).
pub type Handoff<T> = Exclusive<Raw, T>;

/// The lock without its value.
pub struct Raw {
    /// The number that the next arrival draws; wraps.
    next: AtomicU32,
    /// Twice the number called last (which so wraps at 2^31), plus 1 for S.
    words: [AtomicU32; hint::SLEEP_WORDS],
}

/// The thread is inside, with this number; dropping it calls the next.
#[derive(Debug)]
pub struct Held<'a> {
    lock: &'a Raw,
    number: u32,
}

const SLEEPERS: u32 = 1;

// The word of a number stays the same when the number wraps.
const _: () = assert!(hint::SLEEP_WORDS.is_power_of_two());

/// A word that calls this number.
fn call(number: u32) -> u32 {
    number << 1
}

// SAFETY: each number is drawn once (in 2^31), a token is given out for the number that is called, and only the drop of that
// token calls another one, the next. E1 is the order.
unsafe impl Exclude for Raw {
    type Held<'a> = Held<'a>;

    fn new() -> Self {
        Self::starting_at(0)
    }

    #[inline]
    fn lock(&self) -> Held<'_> {
        let number = self.next.fetch_add(1, Relaxed); // orders nothing: the wait does
        let word = self.word(number);
        if word.load(Acquire) != call(number) {
            // E1 in the line above, or in there
            wait(word, number);
        }
        Held { lock: self, number }
    }

    #[inline]
    fn try_lock(&self) -> Option<Held<'_>> {
        let number = self.next.load(Relaxed);
        let called = self.word(number).load(Acquire) == call(number); // E1
        // If the number that is called has not been drawn, drawing it is entering: nobody else can.
        (called && self.next.compare_exchange(number, number.wrapping_add(1), Relaxed, Relaxed).is_ok())
            .then(|| Held { lock: self, number }) // not `then_some`: a token made in vain would unlock when dropped
    }
}

impl<T> Handoff<T> {
    /// As [`new`](Exclusive::new), with `first` as the first number: for tests of the wrap-around.
    #[doc(hidden)]
    pub fn starting_at(value: T, first: u32) -> Self {
        Self::around(Raw::starting_at(first), value)
    }

    /// Threads that have drawn a number and are not yet inside; out of date as soon as it is known, and too high by the number of
    /// those who came and went while it looked.
    pub fn waiting(&self) -> u32 {
        let Raw { next, words } = self.algorithm();
        // The highest number that was called. Its distance from `next` is less than 2^31, and so is that of the others.
        let drawn = next.load(Relaxed);
        let behind = |word: &AtomicU32| call(drawn).wrapping_sub(word.load(Relaxed) & !SLEEPERS) >> 1;
        words.iter().map(behind).min().unwrap_or(0).saturating_sub(1)
    }
}

impl Raw {
    /// The first number is called; each other word called the number that it had in the round before.
    fn starting_at(first: u32) -> Self {
        let mut words = array::from_fn(|_| AtomicU32::new(0));
        for before in 0..hint::SLEEP_WORDS as u32 {
            let number = first.wrapping_sub(before);
            words[number as usize % hint::SLEEP_WORDS] = AtomicU32::new(call(number));
        }
        Self { next: AtomicU32::new(first), words }
    }

    #[inline]
    fn word(&self, number: u32) -> &AtomicU32 {
        &self.words[number as usize % hint::SLEEP_WORDS]
    }
}

#[cold]
fn wait(word: &AtomicU32, number: u32) {
    let mut turns = 0;
    loop {
        let seen = word.load(Acquire); // E1
        if seen & !SLEEPERS == call(number) {
            return;
        }
        if turns < hint::SPIN_LIMIT {
            turns += 1;
            hint::spin_loop();
            continue;
        }
        let asleep = seen | SLEEPERS;
        // Set S in the same step that finds another number, else the call could pass without waking us. Relaxed: S carries
        // nothing but itself, and the sleep compares the word with the one that has S in it.
        if seen == asleep || word.compare_exchange(seen, asleep, Relaxed, Relaxed).is_ok() {
            futex::wait(word, asleep);
        }
    }
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        let number = self.number.wrapping_add(1);
        let word = self.lock.word(number);
        // E1. A swap and not a store: whether somebody sleeps must be read in the same step that calls the number.
        if word.swap(call(number), Release) & SLEEPERS != 0 {
            futex::wake_all(word); // all: threads whose numbers share the word sleep on it, too
        }
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handoff { .. }")
    }
}

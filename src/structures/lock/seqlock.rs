//! A sequence lock: readers write nothing; they copy, and look at a counter before and after to see whether the copy is whole.
//!
//! # States
//! | `sequence` | meaning | a reader | a writer |
//! |---|---|---|---|
//! | even | whole | copies; keeps the copy if the number is still the same | makes it odd, and is in |
//! | odd | being written, by the thread whose number stands above the lowest bit | waits, spinning | waits, spinning |
//!
//! An even number counts: it is twice the number of finished writes. An odd one need only differ from all even ones, so it has room
//! for the writer's thread number. A thread that meets its own would wait for itself, and panics instead.
//!
//! The value is kept as words, each an atomic, because a copy that a writer disturbs is read *while* it is written: with a plain
//! value that is a data race, hence undefined behaviour, even if the copy is then thrown away. Relaxed loads and stores of words
//! cost what plain ones do, and make the torn copy harmless: words are turned back into a `T` only when they are known to be whole.
//!
//! # Edges
//! - **E1** the end of a write (Release store) -> a reader's first look (Acquire load): the words of that write, or newer ones.
//! - **E2** the beginning of a write (Release fence after the number is odd) -> a reader's Acquire fence before its second look:
//!   a reader that saw one new word also sees that the number has moved on.
//! - **E3** the end of a write -> the next writer's Acquire: it changes what the last writer left.
//!
//! # Limits
//! Readers never delay a writer, but writers delay readers: under a stream of writes a reader may retry for ever. A writer that
//! is descheduled in the middle makes everybody spin until it runs again; nobody sleeps. Writers exclude each other by a
//! compare-exchange, unfairly. **Reading or writing inside [`update`](SeqLock::update) waits for oneself**: it panics, and
//! [`try_read`](SeqLock::try_read) gives `None`. Only for values that may be copied as words. 8 bytes beside the words. The number
//! wraps after 2^63 writes, 292 years of one each ns; a reader would have to stand still in its copy from one round to the next.
//! `new` is not `const`.
//!
//! # Source
//! Linux's seqlock (S. Hemminger, 2002); the orderings: H.-J. Boehm, "Can Seqlocks Get Along With Programming Language Memory
//! Models?" (MSPC 2012), the fence variant.

use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::atomic::{AtomicU64, fence};
use crate::structures::sync::{hint, thread};
use std::array;
use std::fmt;
use std::marker::PhantomData;

/// A value that can be taken apart into `N` words and put together again.
///
/// A safe trait: the words are ordinary numbers, so that padding bytes, which have no value that could be read, never arise.
pub trait Words<const N: usize>: Copy {
    /// The value as words.
    fn to_words(self) -> [u64; N];
    /// The value back. Only ever called with words that one `to_words` made.
    fn from_words(words: [u64; N]) -> Self;
}

impl<const N: usize> Words<N> for [u64; N] {
    #[inline(always)]
    fn to_words(self) -> [u64; N] {
        self
    }
    #[inline(always)]
    fn from_words(words: [u64; N]) -> Self {
        words
    }
}

impl Words<1> for u64 {
    #[inline(always)]
    fn to_words(self) -> [u64; 1] {
        [self]
    }
    #[inline(always)]
    fn from_words([word]: [u64; 1]) -> Self {
        word
    }
}

/// A value of `N` words that threads read without writing anything, and write one at a time.
///
/// A lock around a value of one type is not one around a value of a type that lives shorter: what is put in can be had by all.
/// ```compile_fail
/// # use underhood::structures::lock::seqlock::SeqLock;
/// fn shorter<'a>(lock: &'a SeqLock<&'static str, 1>) -> &'a SeqLock<&'a str, 1> {
///     lock
/// }
/// ```
///
/// Undisturbed, a read is `N` + 2 loads and no read-modify-write; a write is one compare-exchange and `N` + 1 stores. Limits:
/// see the [module](self).
pub struct SeqLock<T, const N: usize> {
    /// Even: twice the number of finished writes, modulo 2^64. Odd: while a write is going on, see the table above.
    sequence: AtomicU64,
    words: [AtomicU64; N],
    /// As a mutex: invariant in `T`, and shared by threads if `T` may move between them.
    value: PhantomData<std::sync::Mutex<T>>,
}

impl<T: Words<N>, const N: usize> SeqLock<T, N> {
    /// A lock with `value` in it.
    pub fn new(value: T) -> Self {
        Self::starting_at(value, 0)
    }

    /// As [`new`](Self::new), as if so many writes were finished already: for tests of the wrap-around.
    #[doc(hidden)]
    pub fn starting_at(value: T, writes: u64) -> Self {
        let words = value.to_words();
        let words = array::from_fn(|i| AtomicU64::new(words[i]));
        Self { sequence: AtomicU64::new(writes << 1), words, value: PhantomData }
    }

    /// A copy of the value; tries again until no writer is in the way.
    ///
    /// # Panics
    /// Inside an [`update`](Self::update) of the same lock, which it would wait for.
    #[inline]
    pub fn read(&self) -> T {
        loop {
            if let Some(value) = self.try_read() {
                return value;
            }
            self.wait();
        }
    }

    /// A copy of the value, or `None` if a writer was in the way; a loop around this counts retries.
    #[inline]
    pub fn try_read(&self) -> Option<T> {
        let before = self.sequence.load(Acquire); // E1
        if is_odd(before) {
            return None;
        }
        let words = self.copy();
        // A fence, and not an Acquire load below: that would keep later accesses from moving up, and it is the copy's
        // loads that must not move down.
        fence(Acquire); // E2
        (self.sequence.load(Relaxed) == before).then(|| T::from_words(words))
    }

    /// Replaces the value, whatever it is.
    ///
    /// # Panics
    /// Inside an [`update`](Self::update) of the same lock, which it would wait for.
    #[inline]
    pub fn write(&self, value: T) {
        self.update(|_| value);
    }

    /// Replaces the value by one made from it; nobody else writes meanwhile, and readers wait.
    ///
    /// If `next` panics, the value stays as it was and the lock is free again.
    ///
    /// # Panics
    /// Inside another `update` of the same lock, which it would wait for.
    #[inline]
    pub fn update(&self, next: impl FnOnce(T) -> T) {
        let writing = self.begin();
        let value = next(T::from_words(self.copy()));
        for (word, value) in self.words.iter().zip(value.to_words()) {
            word.store(value, Relaxed); // E2: after the fence in `begin`
        }
        drop(writing);
    }

    /// Waits until nobody writes and makes the number odd.
    fn begin(&self) -> Writing<'_> {
        let mine = odd(thread::number());
        loop {
            let before = self.sequence.load(Relaxed);
            if !is_odd(before) && self.sequence.compare_exchange_weak(before, mine, Acquire, Relaxed).is_ok()
            // E3
            {
                fence(Release); // E2
                return Writing { sequence: &self.sequence, after: before.wrapping_add(2) };
            }
            self.wait();
        }
    }

    /// One turn of waiting for a writer, who must be another thread.
    #[cold]
    fn wait(&self) {
        // Relaxed: this thread sees its own number if it is there, and no older one.
        assert!(
            self.sequence.load(Relaxed) != odd(thread::number()),
            "a read or a write inside an update of the same lock waits for itself"
        );
        hint::spin_loop();
    }

    #[inline]
    fn copy(&self) -> [u64; N] {
        array::from_fn(|i| self.words[i].load(Relaxed)) // ordered by the looks at the number around it
    }
}

/// A write that is going on: the number is odd until this is dropped.
struct Writing<'a> {
    sequence: &'a AtomicU64,
    after: u64,
}

impl Drop for Writing<'_> {
    #[inline]
    fn drop(&mut self) {
        self.sequence.store(self.after, Release); // E1, E3. A store: between odd and even, only this writer changes the number.
    }
}

/// The number while this thread writes.
fn odd(thread: usize) -> u64 {
    (thread as u64) << 1 | 1
}

fn is_odd(sequence: u64) -> bool {
    sequence & 1 == 1
}

impl<T, const N: usize> fmt::Debug for SeqLock<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SeqLock { .. }") // without the value: printing must neither wait nor disturb a measurement
    }
}

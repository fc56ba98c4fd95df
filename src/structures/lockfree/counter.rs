//! Three ways to count: one instruction, a loop around a compare-exchange, and a counter for each thread.
//!
//! | | `add` | `get` | progress |
//! |---|---|---|---|
//! | [`Counter`] | one read-modify-write on the one line | one load | wait-free where the machine has such an instruction (x86; ARM with LSE), else lock-free |
//! | [`CasCounter`] | as often as others come between | one load | lock-free: one addition wins each round, and any one may lose every round |
//! | [`Sharded`] | one read-modify-write on a line of its own | a load for each shard | wait-free |
//!
//! # Edges
//! None: all orderings are Relaxed. A count says how often something happened and publishes nothing of what happened. Whoever
//! joins the threads, or learns by another edge that they are done, gets the full count.
//!
//! # Limits
//! Counts wrap round at 2^64. [`Sharded::get`] is no snapshot: it adds up the shards one after the other. If every addition is
//! one, there was a moment during the call at which its answer was right (the true count passes every number in between); with larger
//! additions it may be a number that the count never was. A shard is 128 bytes.
//!
//! # Source
//! P. McKenney, "Is Parallel Programming Hard", chapter 5, the statistical counter.

use super::Padded;
use crate::structures::sync::atomic::AtomicU64;
use crate::structures::sync::atomic::Ordering::Relaxed;
use std::fmt;

/// A count in one word, by fetch-and-add.
pub struct Counter(Padded<AtomicU64>);

/// A count in one word, by compare-and-exchange: what every update is made of for which there is no instruction.
pub struct CasCounter(Padded<AtomicU64>);

/// A count in several words, each on lines of its own.
pub struct Sharded(Box<[Padded<AtomicU64>]>);

impl Counter {
    /// Zero.
    pub fn new() -> Self {
        Self(Padded(AtomicU64::new(0)))
    }

    /// Adds, and says what the count was before.
    #[inline]
    pub fn add(&self, n: u64) -> u64 {
        self.0.0.fetch_add(n, Relaxed)
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.0.load(Relaxed)
    }
}

impl CasCounter {
    /// Zero.
    pub fn new() -> Self {
        Self(Padded(AtomicU64::new(0)))
    }

    /// Adds, and says what the count was before.
    #[inline]
    pub fn add(&self, n: u64) -> u64 {
        self.add_counting(n).0
    }

    /// Adds, and says what the count was before, and how often somebody else came between.
    #[inline]
    pub fn add_counting(&self, n: u64) -> (u64, u32) {
        let mut seen = self.0.0.load(Relaxed);
        let mut failed = 0;
        loop {
            match self.0.0.compare_exchange_weak(seen, seen.wrapping_add(n), Relaxed, Relaxed) {
                Ok(before) => return (before, failed),
                Err(now) => seen = now,
            }
            failed += 1;
        }
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.0.load(Relaxed)
    }
}

impl Sharded {
    /// Zero, in at least so many shards, a power of two: as many as there are threads that add.
    ///
    /// # Panics
    /// If there is no shard, or so many that their power of two is beyond `usize`.
    pub fn new(shards: usize) -> Self {
        assert!(shards > 0, "a count needs a word");
        let shards = shards.checked_next_power_of_two().expect("a power of two within usize");
        Self((0..shards).map(|_| Padded(AtomicU64::new(0))).collect())
    }

    /// Adds to the shard of that number (modulo their count). Any thread may use any shard; it is fast as long as they differ.
    #[inline]
    pub fn add(&self, shard: usize, n: u64) {
        // Not a load and a store, though a shard should have one owner: nothing here makes sure of it.
        self.0[shard & (self.0.len() - 1)].0.fetch_add(n, Relaxed);
    }

    /// The shards added up, one after the other; see the limits in the [module](self).
    pub fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Relaxed)).fold(0, u64::wrapping_add)
    }
}

impl Default for Counter {
    /// Zero.
    fn default() -> Self {
        Self::new()
    }
}
impl Default for CasCounter {
    /// Zero.
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Counter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counter({})", self.get())
    }
}
impl fmt::Debug for CasCounter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CasCounter({})", self.get())
    }
}
impl fmt::Debug for Sharded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sharded({} in {} shards)", self.get(), self.0.len())
    }
}

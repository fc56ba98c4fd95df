//! A reader-writer lock with distributed readers: each reader counts itself in a slot of its own, so that a read touches no line that
//! another reader writes; a writer has to bar and empty every slot.
//!
//! # States
//! Each slot is a word of three parts: `readers` inside by this slot (n), BARRED (B), and whether readers may sleep on it (S). S is
//! only set while B is. Writers hold a mutex for as long as they are at it, so there is one at a time.
//!
//! | B | n | meaning | a reader of this slot | the writer | the last reader who leaves |
//! |---|---|---|---|---|---|
//! | 0 | n | open | adds itself to n | sets B | nothing to do |
//! | 1 | n > 0 | a writer waits for these readers | sets S, sleeps | sleeps | wakes all who sleep on the slot |
//! | 1 | 0 | closed | sets S, sleeps | inside, once all slots are closed | - |
//!
//! The leaving writer opens the slots one by one, and wakes the readers where S is set.
//!
//! # Edges
//! - **E1** the writer's Release on a slot that it opens -> the reader's Acquire on its slot: carries the value.
//! - **E2** the reader's Release on leaving its slot -> the writer's Acquire of every slot, in whichever look found it empty: the
//!   reading is over before the writing starts. Readers who leave one after the other hand it on (release sequence).
//! - From writer to writer the mutex carries the value.
//!
//! Because one word both counts a slot's readers and bars them, no ordering *between* words is needed; the usual design, with one
//! flag for all slots, needs a SeqCst fence in every read.
//!
//! # Limits
//! A write costs two steps per slot and takes every slot's line away from its readers: for rare writes only. Prefers writers: a
//! waiting writer bars new readers, and a stream of writers keeps readers out. **Reading twice from one thread can deadlock**, as
//! with `rwlock`. Threads share a slot when their numbers ([`thread::number`]) are equal modulo the number of slots; then
//! their reads contend as in `rwlock`. No poisoning. 128 bytes per slot, and by default a slot for each thread that can run
//! at once, rounded up to a power of two. At most 2^30 - 1 readers in a
//! slot; one more panics. `new` is not `const`.
//!
//! # Source
//! The "big-reader lock" of Linux 2.4 (I. Molnar); crossbeam's `ShardedLock` is the same with a std lock in each of 8 slots.

use super::guard::{ReadGuard, Share, Shared, WriteGuard};
use super::mutex::{Mutex, MutexGuard};
use crate::structures::sync::atomic::AtomicU32;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::{futex, hint, thread};
use std::fmt;

/// A value that threads may look at together without disturbing each other, or change alone, at a price.
///
/// Undisturbed: one load and one compare-exchange on the thread's own line to read, one subtraction to leave. The rest: see the
/// [module](self).
pub type RwLockSharded<T> = Shared<Raw, T>;
/// What [`RwLockSharded::read`](Shared::read) gives.
pub type RwLockShardedReadGuard<'a, T> = ReadGuard<'a, Raw, T>;
/// What [`RwLockSharded::write`](Shared::write) gives.
pub type RwLockShardedWriteGuard<'a, T> = WriteGuard<'a, Raw, T>;

/// The lock without its value.
pub struct Raw {
    /// A power of two of them.
    slots: Box<[Slot]>,
    writers: Mutex<()>,
}

/// A word on lines of its own (two, because x86 fetches pairs). From the lowest bit: 30 bits `readers`, 1 bit S, 1 bit B.
#[repr(align(128))]
struct Slot(AtomicU32);

const READER: u32 = 1;
const READERS: u32 = SLEEPERS - 1;
const SLEEPERS: u32 = 1 << 30;
const BARRED: u32 = 1 << 31;

/// The thread is inside to read, by this slot; dropping it leaves.
#[derive(Debug)]
pub struct Reading<'a>(&'a Slot);

/// The thread is inside to write; dropping it opens the slots, then lets the next writer come.
#[derive(Debug)]
pub struct Writing<'a> {
    slots: &'a [Slot],
    _alone: MutexGuard<'a, ()>,
}

impl<T> RwLockSharded<T> {
    /// An unlocked lock around `value` with at least so many slots, at least one; the number is rounded up to a power of two.
    ///
    /// # Panics
    /// If that power of two is beyond `usize`; and as [`Vec`] does if there is no memory for the slots.
    pub fn with_slots(value: T, slots: usize) -> Self {
        Self::around(Raw::with_slots(slots, 0), value)
    }

    /// One slot, as if so many readers were inside it already: for tests of the limit.
    #[doc(hidden)]
    pub fn starting_at(value: T, readers: u32) -> Self {
        Self::around(Raw::with_slots(1, readers), value)
    }
}

// SAFETY: a writing token exists only under the mutex and while every slot was found barred and empty, in this order; a barred
// slot gives out no reading token, and opens only when the writing token is dropped. E1, E2 and the mutex are the order.
unsafe impl Share for Raw {
    type Reading<'a> = Reading<'a>;
    type Writing<'a> = Writing<'a>;

    fn new() -> Self {
        Self::with_slots(thread::parallelism(), 0)
    }

    #[inline]
    fn read(&self) -> Reading<'_> {
        let slot = self.mine();
        if !slot.try_enter() {
            slot.enter_contended();
        }
        Reading(slot)
    }

    #[inline]
    fn try_read(&self) -> Option<Reading<'_>> {
        let slot = self.mine();
        slot.try_enter().then(|| Reading(slot))
    }

    fn write(&self) -> Writing<'_> {
        let alone = self.writers.lock();
        // Bar all, and only then wait: so that all slots run empty at the same time.
        for Slot(word) in &self.slots {
            word.fetch_or(BARRED, Relaxed); // keeps readers out; that the slot is empty is seen, and ordered, below
        }
        self.slots.iter().for_each(Slot::wait_until_empty);
        Writing { slots: &self.slots, _alone: alone }
    }

    fn try_write(&self) -> Option<Writing<'_>> {
        let alone = self.writers.try_lock()?;
        for (closed, Slot(word)) in self.slots.iter().enumerate() {
            if word.compare_exchange(0, BARRED, Acquire, Relaxed).is_err() {
                // E2 in the line above, if it succeeds
                self.slots[..closed].iter().for_each(Slot::open);
                return None;
            }
        }
        Some(Writing { slots: &self.slots, _alone: alone })
    }
}

impl Raw {
    fn with_slots(slots: usize, readers: u32) -> Self {
        // Checked: in a build without overflow checks the power would be 0, and a lock without a slot lets nobody in.
        let slots = slots.checked_next_power_of_two().expect("a power of two within usize");
        let slots = (0..slots).map(|_| Slot(AtomicU32::new(readers))).collect();
        Self { slots, writers: Mutex::new(()) }
    }

    #[inline]
    fn mine(&self) -> &Slot {
        &self.slots[thread::number() & (self.slots.len() - 1)]
    }
}

impl Slot {
    /// False only if a writer bars the slot, or it is full: a race with another reader is tried again.
    #[inline]
    fn try_enter(&self) -> bool {
        let mut state = self.0.load(Relaxed);
        while state & BARRED == 0 && state != READERS {
            // A compare-exchange and not an addition, which would have to be taken back if the slot is barred, and would keep a
            // writer waiting for a reader that is not there.
            match self.0.compare_exchange_weak(state, state + READER, Acquire, Relaxed) {
                Ok(_) => return true, // E1
                Err(now) => state = now,
            }
        }
        false
    }

    #[cold]
    fn enter_contended(&self) {
        self.spin_while(|state| state & BARRED != 0);
        while !self.try_enter() {
            let state = self.0.load(Relaxed);
            assert!(state != READERS, "2^30 - 1 readers in one slot; a guard may have been leaked");
            if state & BARRED == 0 {
                continue; // opened between the two looks
            }
            let asleep = state | SLEEPERS;
            // Set S in the same step that finds the slot barred, else the writer could open it without waking us. Relaxed: S
            // carries nothing but itself, and the sleep compares the word with the one that has S in it.
            if state == asleep || self.0.compare_exchange(state, asleep, Relaxed, Relaxed).is_ok() {
                futex::wait(&self.0, asleep);
            }
        }
    }

    /// Call after barring.
    fn wait_until_empty(&self) {
        self.spin_while(|state| state & READERS != 0);
        loop {
            let state = self.0.load(Acquire); // E2
            if state & READERS == 0 {
                return;
            }
            futex::wait(&self.0, state);
        }
    }

    #[inline]
    fn leave(&self) {
        let left = self.0.fetch_sub(READER, Release) - READER; // E2
        if left & !SLEEPERS == BARRED {
            futex::wake_all(&self.0); // all: barred readers sleep on the same word, and one of them might be woken instead
        }
    }

    fn open(&self) {
        // E1. A swap and not a store: whether readers sleep must be read in the same step that opens the slot.
        if self.0.swap(0, Release) & SLEEPERS != 0 {
            futex::wake_all(&self.0);
        }
    }

    fn spin_while(&self, closed: fn(u32) -> bool) {
        for _ in 0..hint::SPIN_LIMIT {
            if !closed(self.0.load(Relaxed)) {
                return;
            }
            hint::spin_loop();
        }
    }
}

impl Drop for Reading<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.slots.iter().for_each(Slot::open); // before `_alone` is dropped
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLockSharded { .. }")
    }
}
impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot { .. }")
    }
}

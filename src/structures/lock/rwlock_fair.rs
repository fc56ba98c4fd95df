//! A phase-fair reader-writer lock: reading and writing take turns. Once it has counted itself, a reader waits for at most one writer;
//! once it has drawn its number, a writer waits for at most the readers of one phase and for the writers who came before it.
//!
//! # States
//! Writers stand in line at a fair mutex (`handoff`), so there is at most one at a time who waits for readers or is inside. The
//! word holds the `readers` inside (n), the readers `waiting` (w) for that one writer, whether there is one (W), and the PHASE, a bit
//! that each leaving writer turns over.
//!
//! | W | n | w | meaning | a reader | the writer | the last reader who leaves |
//! |---|---|---|---|---|---|---|
//! | 0 | n | 0 | reading phase | enters | sets W | nothing to do |
//! | 1 | n > 0 | w | the writer waits for these n | counts itself in w, sleeps until PHASE turns | sleeps | wakes the writer |
//! | 1 | 0 | w | being written | the same | inside | - |
//!
//! The leaving writer lets the waiting readers in on their behalf: in one step n becomes w, w becomes 0, W goes and PHASE turns.
//! So the next writer finds them inside already and waits for them, however late they wake. PHASE can't turn twice unseen: the next
//! writer can't leave before they have.
//!
//! Readers sleep on the word itself, the writer on a second word, `turn`, which counts its wake-ups.
//!
//! # Edges
//! - **E1** write unlock's Release -> the reader's Acquire of the word, on entering or when it sees PHASE turned: carries the value.
//! - **E2** read unlock's Release -> the writer's Acquire of the word that has no readers: the reading is over before the writing
//!   starts. Readers who leave one after the other hand it on (release sequence).
//! - **E3** the waker's Release on `turn` -> the writer's Acquire on `turn`: who sees the new turn also sees the word without readers.
//! - From writer to writer the mutex carries the value.
//!
//! # Limits
//! Fair and therefore no throughput wonder: each writer lets the crowd of readers alternate with it. A reader counts itself by a
//! compare-exchange, after a short spin; while that loses to other threads, writers may pass, any number of times. **Reading twice from one thread
//! can deadlock**: a writer that comes in between waits for the first read, and bars the second. No poisoning. At most 16,383
//! readers inside and waiting together; one more panics. `turn` wraps, and nobody can miss a whole round: there
//! is one writer at a time, and it is woken once. 8 bytes and a `handoff` mutex beside the value. `new` is not `const`.
//!
//! # Source
//! B. B. Brandenburg, J. H. Anderson, "Spin-Based Reader-Writer Synchronization for Multiprocessor Real-Time Systems" (Real-Time
//! Systems 2010), for the policy; one word and sleeping threads are ours.

use super::guard::{Exclude, ReadGuard, Share, Shared, WriteGuard};
use super::handoff;
use crate::structures::sync::atomic::AtomicU32;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::{futex, hint};
use std::fmt;

/// A value that threads may look at together, or change alone, in turns.
///
/// Uncontended: one load and one compare-exchange to read, one subtraction to leave; four steps each way to write; no system call.
/// The rest: see the [module](self).
pub type RwLockFair<T> = Shared<Raw, T>;
/// What [`RwLockFair::read`](Shared::read) gives.
pub type RwLockFairReadGuard<'a, T> = ReadGuard<'a, Raw, T>;
/// What [`RwLockFair::write`](Shared::write) gives.
pub type RwLockFairWriteGuard<'a, T> = WriteGuard<'a, Raw, T>;

/// The lock without its value.
pub struct Raw {
    /// From the lowest bit: 14 bits `readers`, 14 bits `waiting`, 1 bit W, 1 bit PHASE.
    state: AtomicU32,
    /// How often a writer was woken, modulo 2^32; what the writer sleeps on.
    turn: AtomicU32,
    writers: handoff::Raw,
}

const READER: u32 = 1;
const READERS: u32 = WAITING_ONE - 1;
const WAITING_ONE: u32 = 1 << 14;
const WAITING: u32 = READERS << 14;
const WRITER: u32 = 1 << 28;
const PHASE: u32 = 1 << 29;

/// The thread is inside to read; dropping it leaves.
#[derive(Debug)]
pub struct Reading<'a>(&'a Raw);

/// The thread is inside to write; dropping it lets the waiting readers in, then the next writer come.
#[derive(Debug)]
pub struct Writing<'a> {
    lock: &'a Raw,
    _alone: handoff::Held<'a>,
}

// SAFETY: a writing token exists only under the mutex, with W set and after n was seen to be 0; while W is set no reader enters,
// so n stays 0 until the token's drop clears W. E1, E2 and the mutex are the order.
unsafe impl Share for Raw {
    type Reading<'a> = Reading<'a>;
    type Writing<'a> = Writing<'a>;

    fn new() -> Self {
        Self { state: AtomicU32::new(0), turn: AtomicU32::new(0), writers: handoff::Raw::new() }
    }

    #[inline]
    fn read(&self) -> Reading<'_> {
        if !self.try_enter() {
            self.enter_contended();
        }
        Reading(self)
    }

    #[inline]
    fn try_read(&self) -> Option<Reading<'_>> {
        self.try_enter().then(|| Reading(self))
    }

    fn write(&self) -> Writing<'_> {
        let alone = self.writers.lock();
        self.state.fetch_or(WRITER, Relaxed); // keeps readers out; that none is inside is seen, and ordered, below
        self.wait_for_readers();
        Writing { lock: self, _alone: alone }
    }

    fn try_write(&self) -> Option<Writing<'_>> {
        let alone = self.writers.try_lock()?;
        let free = self.state.load(Relaxed) & PHASE;
        let entered = self.state.compare_exchange(free, free | WRITER, Acquire, Relaxed); // E2
        entered.is_ok().then(|| Writing { lock: self, _alone: alone })
    }
}

impl Raw {
    /// False only if there is a writer: a race with another reader is tried again.
    #[inline]
    fn try_enter(&self) -> bool {
        let mut state = self.state.load(Relaxed);
        while state & WRITER == 0 && state & READERS != READERS {
            match self.state.compare_exchange_weak(state, state + READER, Acquire, Relaxed) {
                Ok(_) => return true, // E1
                Err(now) => state = now,
            }
        }
        false
    }

    #[cold]
    fn enter_contended(&self) {
        for _ in 0..hint::SPIN_LIMIT {
            let state = self.state.load(Relaxed);
            if state & WRITER == 0 || state & WAITING != 0 {
                break; // a reading phase; or others wait already: the writer will let us in together with them
            }
            hint::spin_loop();
        }
        let phase = loop {
            if self.try_enter() {
                return;
            }
            let state = self.state.load(Relaxed);
            let readers = (state & READERS) + (state & WAITING) / WAITING_ONE;
            assert!(
                readers < READERS,
                "16,383 readers hold this lock or wait for it; a guard may have been leaked"
            );
            // Count ourselves in the same step that finds a writer and its phase. Relaxed: it carries nothing.
            let waiting = state + WAITING_ONE;
            if state & WRITER != 0
                && self.state.compare_exchange_weak(state, waiting, Relaxed, Relaxed).is_ok()
            {
                break state & PHASE;
            }
        };
        loop {
            let state = self.state.load(Acquire); // E1
            if state & PHASE != phase {
                return; // the writer counted us among the readers when it left
            }
            futex::wait(&self.state, state);
        }
    }

    #[inline]
    fn leave(&self) {
        let left = self.state.fetch_sub(READER, Release) - READER; // E2
        if left & (WRITER | READERS) == WRITER {
            self.wake_writer();
        }
    }

    #[cold]
    fn wake_writer(&self) {
        self.turn.fetch_add(1, Release); // E3
        futex::wake_one(&self.turn); // one: there is only one, by the mutex
    }

    /// Call with W set.
    fn wait_for_readers(&self) {
        let mut turns = 0;
        loop {
            let turn = self.turn.load(Acquire); // E3: first the turn, then the state
            if self.state.load(Acquire) & READERS == 0 {
                return; // E2
            }
            if turns < hint::SPIN_LIMIT {
                turns += 1;
                hint::spin_loop();
            } else {
                futex::wait(&self.turn, turn);
            }
        }
    }

    fn unlock_write(&self) {
        let mut state = self.state.load(Relaxed);
        loop {
            let next = ((state & PHASE) ^ PHASE) | ((state & WAITING) / WAITING_ONE);
            match self.state.compare_exchange_weak(state, next, Release, Relaxed) {
                Ok(_) => break, // E1
                Err(now) => state = now,
            }
        }
        if state & WAITING != 0 {
            futex::wake_all(&self.state);
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
        self.lock.unlock_write(); // before `_alone` is dropped
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RwLockFair { .. }")
    }
}

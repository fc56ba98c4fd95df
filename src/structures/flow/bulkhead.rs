//! A bulkhead: at most `limit` inside at once, at most `queue` waiting, and everybody else is turned away at the door.
//!
//! # States
//! | inside | waiting | meaning | somebody comes | somebody leaves |
//! |---|---|---|---|---|
//! | below `limit` | 0 | room | goes in | inside - 1 |
//! | `limit` | below `queue` | full | waits, if willing | hands its place to one who waits; with none waiting, inside - 1 |
//! | `limit` | `queue` | full, and so is the queue | is turned away | hands its place to one who waits |
//!
//! A place that is handed over never becomes free in between, so nobody who comes later overtakes those who wait. Handed places are
//! counted in a word of their own, `handed`, on which the waiting sleep.
//!
//! # Edges
//! - **E1** leaving (Release on `state` or on `handed`) -> coming in (Acquire on the same): whoever has the place sees what its
//!   predecessor did, so the places may stand for things: connections, buffers.
//!
//! # Limits
//! Places and waiting places up to 2^32 - 1 each: each half of the word counts to its limit and no further. `handed` counts places, so
//! it is never above the first limit. Newcomers don't overtake; among the waiting, the kernel wakes in the order of falling
//! asleep (mostly), and one who is about to fall asleep may take the place of one who is being woken. No time-outs: a caller that can't
//! wait uses [`try_enter`](Bulkhead::try_enter). A thread that enters twice can wait for itself. A pass that is leaked
//! (`mem::forget`) is a place lost for good. 16 bytes beside the two limits. `new` is not `const`.
//!
//! # Source
//! M. Nygard, "Release It!" (2007), for the name and the reason; handing the place over instead of freeing it is the
//! semaphore "with direct handoff", as in the kernel's struct rwsem.

use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::atomic::{AtomicU32, AtomicU64};
use crate::structures::sync::futex;
use std::error::Error;
use std::fmt;

/// Bounds how many are inside at once, and how many wait.
///
/// Uncontended: one load and one compare-exchange to come in, the same to leave; no system call unless somebody waits. Policy and
/// limits: see the [module](self).
pub struct Bulkhead {
    limit: u64,
    queue: u64,
    /// From the lowest bit: 32 bits `inside`, 32 bits `waiting`. While anybody waits, `inside` is `limit`.
    state: AtomicU64,
    /// Places that were handed over and not yet taken up.
    handed: AtomicU32,
}

const INSIDE: u64 = 0xFFFF_FFFF;
const WAITING_ONE: u64 = 1 << 32;

/// A limit of zero: nobody could ever come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoPlaces;

/// All places are taken, and so are the waiting places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for NoPlaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a bulkhead needs a place")
    }
}
impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("all places are taken, and so is the queue")
    }
}
impl Error for NoPlaces {}
impl Error for Full {}

impl Bulkhead {
    /// An empty bulkhead with `limit` places and `queue` places to wait in.
    ///
    /// # Errors
    /// [`NoPlaces`] if `limit` is 0.
    pub fn new(limit: u32, queue: u32) -> Result<Self, NoPlaces> {
        if limit == 0 {
            return Err(NoPlaces);
        }
        Ok(Self::starting_at(limit, queue, 0))
    }

    /// As if so many were inside already: for tests of the limit.
    #[doc(hidden)]
    pub fn starting_at(limit: u32, queue: u32, inside: u32) -> Self {
        let (limit, queue) = (u64::from(limit), u64::from(queue));
        Self { limit, queue, state: AtomicU64::new(inside.into()), handed: AtomicU32::new(0) }
    }

    /// Goes in if there is a place now; never waits.
    #[inline]
    pub fn try_enter(&self) -> Option<Pass<'_>> {
        let mut state = self.state.load(Relaxed);
        while state & INSIDE < self.limit {
            match self.state.compare_exchange_weak(state, state + 1, Acquire, Relaxed) {
                Ok(_) => return Some(Pass(self)), // E1
                Err(now) => state = now,
            }
        }
        None
    }

    /// Goes in, after waiting for a place if there is room in the queue. Blocks the thread: in async code use
    /// [`try_enter`](Self::try_enter).
    ///
    /// # Errors
    /// [`Full`] if the queue is full, too; that is decided at once.
    pub fn enter(&self) -> Result<Pass<'_>, Full> {
        let mut state = self.state.load(Relaxed);
        loop {
            let room = state & INSIDE < self.limit;
            let next = match room {
                true => state + 1,
                false if state / WAITING_ONE < self.queue => state + WAITING_ONE,
                false => return Err(Full),
            };
            match self.state.compare_exchange_weak(state, next, Acquire, Relaxed) {
                Ok(_) if room => return Ok(Pass(self)), // E1
                Ok(_) => {
                    self.wait();
                    return Ok(Pass(self));
                }
                Err(now) => state = now,
            }
        }
    }

    /// How many are inside; out of date as soon as it is known.
    pub fn inside(&self) -> u32 {
        (self.state.load(Relaxed) & INSIDE) as u32
    }

    /// How many wait; out of date as soon as it is known.
    pub fn waiting(&self) -> u32 {
        (self.state.load(Relaxed) / WAITING_ONE) as u32
    }

    #[cold]
    fn wait(&self) {
        let mut handed = self.handed.load(Relaxed);
        loop {
            if handed == 0 {
                futex::wait(&self.handed, 0);
                handed = self.handed.load(Relaxed);
            } else {
                match self.handed.compare_exchange_weak(handed, handed - 1, Acquire, Relaxed) {
                    Ok(_) => return, // E1
                    Err(now) => handed = now,
                }
            }
        }
    }

    #[inline]
    fn leave(&self) {
        let mut state = self.state.load(Relaxed);
        loop {
            // One step decides for whom the place is: with somebody waiting it stays taken, and is theirs.
            let hand = state >= WAITING_ONE;
            let next = if hand { state - WAITING_ONE } else { state - 1 };
            match self.state.compare_exchange_weak(state, next, Release, Relaxed) {
                Ok(_) if hand => break,
                Ok(_) => return, // E1
                Err(now) => state = now,
            }
        }
        self.handed.fetch_add(1, Release); // E1
        futex::wake_one(&self.handed);
    }
}

/// The right to be inside; dropping it leaves, also when a panic unwinds.
#[must_use = "a pass that is dropped at once bounds nothing"]
#[derive(Debug)]
pub struct Pass<'a>(&'a Bulkhead);

impl Drop for Pass<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl fmt::Debug for Bulkhead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bulkhead { .. }") // without its words: printing must not disturb a measurement
    }
}

//! A bounded queue for any number of producers and consumers: two counters to claim a place, and a turn for each slot.
//!
//! # States of slot `n % capacity`
//! | `turn` | meaning | who may act | makes it |
//! |---|---|---|---|
//! | `2n` | free for value number `n` | the producer that moves `tail` from `n` to `n + 1` | `2n + 1` |
//! | `2n + 1` | holds value number `n` | the consumer that moves `head` from `n` to `n + 1` | `2(n + capacity)` |
//!
//! Twice the number, so that one slot is enough: with the number alone, "value `n` is in" and "free for value `n + 1`" are the
//! same word if the capacity is 1.
//!
//! # Edges
//! - **E1** push's Release of `turn` -> pop's Acquire: carries the value.
//! - **E2** pop's Release of `turn` -> push's Acquire: the last value is out before the next goes in.
//! - **E3** a claim's Release of a counter -> the fence F after another thread's look at it: whoever sees a claim also sees the
//!   claims that its thread made before. Without it a thread that has just taken a value could be told "full", by a new `tail` and an
//!   old `head` (found by the model, not by thinking).
//! - **F** the fences before an answer of "full" or "empty": the Acquire end of E3; and whoever has claimed a place in one queue and
//!   then finds another empty, and whoever did the same the other way round, do not both miss the other (store buffering).
//!
//! # Progress
//! **Blocking in disguise.** No lock is in sight, but a producer that is stopped between its claim and its publication leaves
//! a hole: consumers wait at that slot (they spin; the true answer is neither "empty" nor a value), and once round the ring so
//! do producers. Only the claims are lock-free. Vyukov's queue as published answers "empty" there instead: always an answer,
//! but a wrong one, as a value that was pushed behind the hole by a call that had returned is not found.
//!
//! # Limits
//! The capacity is rounded up to a power of two. First in, first out in the order of claims. Under contention every operation
//! moves one counter's line between cores, and failed claims are retried without a limit: some thread gets on, any one may
//! lose again and again.
//!
//! # Source
//! D. Vyukov, "Bounded MPMC queue" (1024cores.net, 2010); the look at the other counter before "full" and "empty" is the crate
//! crossbeam's ArrayQueue.

use super::Padded;
use crate::structures::reclaim::exhaust;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::structures::sync::atomic::{AtomicUsize, fence};
use crate::structures::sync::cell::UnsafeCell;
use crate::structures::sync::hint;
use std::fmt;
use std::mem::MaybeUninit;

/// A bounded queue. See the [module](self).
pub struct Mpmc<T> {
    /// Places ever claimed by producers.
    tail: Padded<AtomicUsize>,
    /// Places ever claimed by consumers.
    head: Padded<AtomicUsize>,
    slots: Box<[Slot<T>]>,
}

struct Slot<T> {
    turn: AtomicUsize,
    value: UnsafeCell<MaybeUninit<T>>,
}

impl<T> Mpmc<T> {
    /// An empty queue for at least so many values; [`Mpmc::capacity`] says how many. Memory: the slots, a word more than the
    /// value each, at once.
    ///
    /// # Panics
    /// If the capacity is 0 or has no next power of two.
    pub fn new(capacity: usize) -> Self {
        assert!(capacity > 0, "a queue holds at least one value");
        let capacity =
            capacity.checked_next_power_of_two().expect("the capacity is far below the address space");
        let slot = |n| Slot { turn: AtomicUsize::new(2 * n), value: UnsafeCell::new(MaybeUninit::uninit()) };
        Self {
            tail: Padded(AtomicUsize::new(0)),
            head: Padded(AtomicUsize::new(0)),
            slots: (0..capacity).map(slot).collect(),
        }
    }

    /// The most values it holds.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    #[inline]
    fn slot(&self, n: usize) -> &Slot<T> {
        &self.slots[n & (self.slots.len() - 1)]
    }

    /// Puts a value in, or gives it back if the queue is full. Spins while a consumer that has claimed the slot has not yet
    /// emptied it.
    ///
    /// # Errors
    /// The value, if there was a moment during the call at which the queue was full.
    pub fn push(&self, value: T) -> Result<(), T> {
        let mut n = self.tail.0.load(Relaxed);
        loop {
            let slot = self.slot(n);
            let turn = slot.turn.load(Acquire); // E2
            if turn == free(n) {
                match self.tail.0.compare_exchange_weak(n, n.wrapping_add(1), Release, Relaxed) {
                    // E3
                    Ok(_) => {
                        // SAFETY: place `n` is ours alone, since `tail` moves past it once; the slot is free for it, and by E2
                        // the consumer of the value before is done.
                        slot.value.with_mut(|v| unsafe { v.write(MaybeUninit::new(value)) });
                        slot.turn.store(taken(n), Release); // E1
                        return Ok(());
                    }
                    Err(now) => n = now,
                }
                continue;
            }
            if turn == taken(n.wrapping_sub(self.slots.len())) {
                fence(SeqCst); // F
                if self.head.0.load(Relaxed) == n.wrapping_sub(self.slots.len()) {
                    return Err(value);
                }
            }
            hint::spin_loop(); // a consumer has claimed the slot and will free it, or `n` is old
            n = self.tail.0.load(Relaxed);
        }
    }

    /// Takes the oldest value; `None` if there was a moment during the call at which the queue was empty. Spins while a producer
    /// that has claimed the slot has not yet filled it.
    pub fn pop(&self) -> Option<T> {
        let mut n = self.head.0.load(Relaxed);
        loop {
            let slot = self.slot(n);
            let turn = slot.turn.load(Acquire); // E1
            if turn == taken(n) {
                match self.head.0.compare_exchange_weak(n, n.wrapping_add(1), Release, Relaxed) {
                    // E3
                    Ok(_) => {
                        // SAFETY: place `n` is ours alone, since `head` moves past it once; by E1 its value is written.
                        let value = slot.value.with_mut(|v| unsafe { v.cast::<T>().read() });
                        slot.turn.store(free(n.wrapping_add(self.slots.len())), Release); // E2
                        return Some(value);
                    }
                    Err(now) => n = now,
                }
                continue;
            }
            if turn == free(n) {
                fence(SeqCst); // F
                if self.tail.0.load(Relaxed) == n {
                    return None;
                }
            }
            hint::spin_loop(); // a producer has claimed the slot and will fill it, or `n` is old
            n = self.head.0.load(Relaxed);
        }
    }
}

/// The turn of a slot that is free for value number `n`.
#[inline]
fn free(n: usize) -> usize {
    n.wrapping_mul(2)
}

/// The turn of a slot that holds value number `n`.
#[inline]
fn taken(n: usize) -> usize {
    n.wrapping_mul(2).wrapping_add(1)
}

impl<T> Drop for Mpmc<T> {
    fn drop(&mut self) {
        exhaust(std::iter::from_fn(|| self.pop()));
    }
}

// SAFETY: values move through the queue from thread to thread, which is what `T: Send` allows; nobody holds a reference into it.
unsafe impl<T: Send> Sync for Mpmc<T> {}

impl<T> fmt::Debug for Mpmc<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mpmc { .. }")
    }
}

//! A ring of slots between one producer and one consumer: two counters, each written by one side only.
//!
//! # States
//! | `tail - head` | meaning | `push` | `pop` |
//! |---|---|---|---|
//! | 0 | empty | writes slot `tail`, then `tail + 1` | `None` |
//! | 1 ..= capacity - 1 | some | the same | takes slot `head`, then `head + 1` |
//! | capacity | full | gives the value back | the same |
//!
//! Each side keeps its own counter and the last it saw of the other's in its handle, and looks at the other's only when the
//! copy says "full" or "empty": most operations touch no line that the other side writes, except the slot itself.
//!
//! # Edges
//! - **E1** push's Release of `tail` -> pop's Acquire: carries the value.
//! - **E2** pop's Release of `head` -> push's Acquire: the slot's last value is out before the next goes in.
//! - **E3** the first handle's Release of `alone` -> the second one's Acquire: all slots and counters, to whoever frees them. The
//!   same edge to [`Producer::is_alone`] and [`Consumer::is_alone`]: after `true`, an empty ring stays empty.
//!
//! # Progress
//! Wait-free: no loop anywhere. A full ring is an answer and not a wait.
//!
//! # Limits
//! One producer and one consumer: the handles can't be cloned, the compiler sees to it. The slots are the next power of two (a
//! mask instead of a division), the capacity is exact. Counters wrap round, which is right as long as no counter runs a whole
//! `usize` ahead. A thread that polls an empty ring burns its core: nothing here sleeps.
//!
//! # Source
//! L. Lamport, "Specifying Concurrent Program Modules" (1983), the queue; cached counters as in FastForward and MCRingBuffer
//! (Giacomoni 2008, Lee 2009), and as in the crate rtrb.

use super::Padded;
use crate::structures::reclaim::exhaust;
use crate::structures::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::structures::sync::atomic::{AtomicBool, AtomicUsize};
use crate::structures::sync::cell::UnsafeCell;
use std::fmt;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

struct Shared<T> {
    /// Values ever pushed; only the producer writes it.
    tail: Padded<AtomicUsize>,
    /// Values ever popped; only the consumer writes it.
    head: Padded<AtomicUsize>,
    /// One of the two handles is gone.
    alone: AtomicBool,
    capacity: usize,
    /// A power of two, at least `capacity`. Slot `n % len` holds value number `n` if `head <= n < tail`.
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

/// The side that pushes.
pub struct Producer<T> {
    shared: NonNull<Shared<T>>,
    /// What `tail` is.
    tail: usize,
    /// What `head` was when we looked.
    head: usize,
}

/// The side that pops.
pub struct Consumer<T> {
    shared: NonNull<Shared<T>>,
    /// What `head` is.
    head: usize,
    /// What `tail` was when we looked.
    tail: usize,
}

/// A ring for so many values: its two ends. Memory: the slots, at once, and about 400 bytes.
///
/// # Panics
/// If the capacity is 0 or has no next power of two.
pub fn ring<T>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    assert!(capacity > 0, "a ring holds at least one value");
    let slots = capacity.checked_next_power_of_two().expect("the capacity is far below the address space");
    let shared = Box::new(Shared {
        tail: Padded(AtomicUsize::new(0)),
        head: Padded(AtomicUsize::new(0)),
        alone: AtomicBool::new(false),
        capacity,
        slots: (0..slots).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let shared = NonNull::from(Box::leak(shared));
    (Producer { shared, tail: 0, head: 0 }, Consumer { shared, head: 0, tail: 0 })
}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, n: usize) -> &UnsafeCell<MaybeUninit<T>> {
        &self.slots[n & (self.slots.len() - 1)]
    }

    /// Called by each handle when it goes; the second frees everything.
    fn leave(this: NonNull<Self>) {
        // SAFETY: freed by the second call only, and there is one for each of the two handles.
        let first = !unsafe { this.as_ref() }.alone.swap(true, AcqRel); // E3, both ends
        if !first {
            // SAFETY: it came from a Box; the other handle is gone, and what it did is ordered before this by E3.
            drop(unsafe { Box::from_raw(this.as_ptr()) });
        }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed: E3 has brought both counters here already.
        let (head, tail) = (self.head.0.load(Relaxed), self.tail.0.load(Relaxed));
        exhaust((0..tail.wrapping_sub(head)).map(|i| {
            // SAFETY: slots from `head` to `tail` hold values, and `&mut self` excludes everybody else. Each is dropped once.
            self.slot(head.wrapping_add(i)).with_mut(|slot| unsafe { slot.cast::<T>().drop_in_place() });
        }));
    }
}

impl<T> Producer<T> {
    /// Puts a value in, or gives it back if the ring is full. A few ns while the copy of `head` says there is room; else
    /// one look at the consumer's line.
    ///
    /// # Errors
    /// The value, if the ring was full at the moment of the look.
    #[inline]
    pub fn push(&mut self, value: T) -> Result<(), T> {
        // SAFETY: this handle has not left.
        let shared = unsafe { self.shared.as_ref() };
        if self.tail.wrapping_sub(self.head) == shared.capacity {
            self.head = shared.head.0.load(Acquire); // E2
            if self.tail.wrapping_sub(self.head) == shared.capacity {
                return Err(value);
            }
        }
        // SAFETY: the slot is free: `tail - head < capacity <= slots`, and by E2 the consumer is done with it. Only we push.
        shared.slot(self.tail).with_mut(|slot| unsafe { slot.write(MaybeUninit::new(value)) });
        self.tail = self.tail.wrapping_add(1);
        shared.tail.0.store(self.tail, Release); // E1
        Ok(())
    }

    /// True once the consumer is gone: nobody will take what is pushed.
    pub fn is_alone(&self) -> bool {
        // SAFETY: this handle has not left.
        unsafe { self.shared.as_ref() }.alone.load(Acquire) // E3
    }

    /// The most values it holds.
    pub fn capacity(&self) -> usize {
        // SAFETY: this handle has not left.
        unsafe { self.shared.as_ref() }.capacity
    }
}

impl<T> Consumer<T> {
    /// Takes the oldest value; `None` if the ring was empty at the moment of the look.
    #[inline]
    pub fn pop(&mut self) -> Option<T> {
        // SAFETY: this handle has not left.
        let shared = unsafe { self.shared.as_ref() };
        if self.head == self.tail {
            self.tail = shared.tail.0.load(Acquire); // E1
            if self.head == self.tail {
                return None;
            }
        }
        // SAFETY: the slot holds a value: `head < tail`, and by E1 it is written. It is read once: `head` moves on, and only
        // we pop.
        let value = shared.slot(self.head).with_mut(|slot| unsafe { slot.cast::<T>().read() });
        self.head = self.head.wrapping_add(1);
        shared.head.0.store(self.head, Release); // E2
        Some(value)
    }

    /// True once the producer is gone: what [`Consumer::pop`] does not find after this, never comes.
    pub fn is_alone(&self) -> bool {
        // SAFETY: this handle has not left.
        unsafe { self.shared.as_ref() }.alone.load(Acquire) // E3
    }

    /// The most values it holds.
    pub fn capacity(&self) -> usize {
        // SAFETY: this handle has not left.
        unsafe { self.shared.as_ref() }.capacity
    }
}

impl<T> Drop for Producer<T> {
    fn drop(&mut self) {
        Shared::leave(self.shared);
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        Shared::leave(self.shared);
    }
}

// SAFETY: a handle is one end of a channel: values move through it from thread to thread, which is what `T: Send` allows.
unsafe impl<T: Send> Send for Producer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Consumer<T> {}
// SAFETY: a shared reference to a handle gives nothing but its capacity and whether it is alone.
unsafe impl<T: Send> Sync for Producer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Consumer<T> {}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Producer { .. }")
    }
}
impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Consumer { .. }")
    }
}

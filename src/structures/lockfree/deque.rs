//! A work-stealing deque: its owner pushes and pops at one end without a lock, thieves take from the other.
//!
//! # States
//! | `bottom - top` | meaning | `push` | `pop` | `steal` |
//! |---|---|---|---|---|
//! | 0 | empty | fills slot `bottom`, then `bottom + 1` | `None` | `Empty` |
//! | 1 | one item | the same | lowers `bottom`, moves `top` by exchange, or `None` if a thief did | moves `top` by exchange |
//! | 2 ..= capacity - 1 | some | the same | lowers `bottom`: the newest, without an exchange | the oldest |
//! | capacity | full | gives the item back | the same | the same |
//!
//! While the owner pops the only item, `bottom` is as low as `top`, or one lower if there was none. Then it raises `bottom` again.
//!
//! A slot is a pointer, so an item is a Box. A thief reads the slot *before* it knows whether the item is its own. Meanwhile the owner may
//! write there again. So the slot must be atomic, and a value of any other size is not.
//!
//! # Edges
//! - **E1** every Release of `bottom` -> steal's Acquire: the slot, and what its Box holds. The store with which `pop` lowers `bottom` is one of
//!   them: a thief may see it without having seen the push before it. (By C++11 a push's Release went on into the same
//!   thread's later stores; since C++20 it does not.)
//! - **E2** steal's Release of `top` -> push's Acquire: the thief has read the slot before the owner fills it again. The owner also sees what
//!   the thief did before it made the room; for that alone the thief's fence would do.
//! - **E3** each handle's Release of `handles` -> the last one's Acquire: all slots and counters, to whoever frees them.
//! - **F** the fences between the store of `bottom` and the look at `top` in `pop`, and between the looks at `top` and at `bottom` in `steal`.
//!   One of the two comes first. If it is the owner's, the thief sees the lowered `bottom` and leaves the item alone. If it is the thief's,
//!   the owner sees the `top` that the thief saw, and makes sure of the item by an exchange. The thief's fence also serves whoever pushes to
//!   a deque of his own and then looks into another's: two that do so do not both miss the other's item.
//!
//! # Progress
//! `push` and `pop` are wait-free: no loop. One `steal` is wait-free as well, but it may answer `Retry`: another one took the item. So among
//! all who try again until they have an answer, some one gets on (lock-free).
//!
//! # Limits
//! **Bounded**: the capacity is fixed, and a full deque gives the item back. The published deque grows, and must then free the old slots under
//! its thieves' eyes: that takes one of the schemes of `reclaim`. A pool does well with a bound, since what does not fit goes into a
//! queue for all (as in Go and tokio, with 256 places). The capacity is rounded up to a power of two.
//!
//! One owner: its handle can't be cloned. An item is an allocation of its own, made by the caller. Thieves all exchange one word: many of them
//! at one deque do less. Counters wrap round, which is right as long as a thief does not sleep for a whole `usize` of steals.
//!
//! # Source
//! D. Chase and Y. Lev, "Dynamic Circular Work-Stealing Deque" (2005). The fences: N. M. Lê, A. Pop, A. Cohen and F. Zappa Nardelli,
//! "Correct and Efficient Work-Stealing for Weak Memory Models" (2013); theirs grows, and its exchanges are SeqCst.

use super::Padded;
use crate::structures::reclaim::exhaust;
use crate::structures::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::structures::sync::atomic::{AtomicPtr, AtomicUsize, fence};
use std::fmt;
use std::marker::PhantomData;
use std::ptr::{NonNull, null_mut};

struct Shared<T> {
    /// One after the newest item; only the owner writes it.
    bottom: Padded<AtomicUsize>,
    /// The oldest item; it only goes up, by exchange.
    top: Padded<AtomicUsize>,
    /// How many handles there are.
    handles: Padded<AtomicUsize>,
    /// Slot `n % len` holds item number `n` if `top <= n < bottom`: a pointer from a Box.
    slots: Box<[AtomicPtr<T>]>,
    _owns: PhantomData<Box<T>>,
}

/// The side that pushes and pops.
pub struct Owner<T> {
    shared: NonNull<Shared<T>>,
    /// What `bottom` is, but during a pop.
    bottom: usize,
    /// What `top` was when `push` last looked.
    top: usize,
}

/// A side that steals; there may be many.
pub struct Stealer<T> {
    shared: NonNull<Shared<T>>,
}

/// What came of an attempt to steal.
#[derive(Debug, PartialEq, Eq)]
pub enum Steal<T> {
    /// There was nothing to take.
    Empty,
    /// Somebody else took the item first; there may be more.
    Retry,
    /// The oldest item.
    Item(Box<T>),
}

/// A deque for at least so many items: its two sides. Memory: a pointer for each, at once, and about 400 bytes.
///
/// # Panics
/// If the capacity is 0 or has no next power of two.
pub fn deque<T>(capacity: usize) -> (Owner<T>, Stealer<T>) {
    assert!(capacity > 0, "a deque holds at least one item");
    let slots = capacity.checked_next_power_of_two().expect("the capacity is far below the address space");
    let shared = Box::new(Shared {
        bottom: Padded(AtomicUsize::new(0)),
        top: Padded(AtomicUsize::new(0)),
        handles: Padded(AtomicUsize::new(2)),
        slots: (0..slots).map(|_| AtomicPtr::new(null_mut())).collect(),
        _owns: PhantomData,
    });
    let shared = NonNull::from(Box::leak(shared));
    (Owner { shared, bottom: 0, top: 0 }, Stealer { shared })
}

impl<T> Shared<T> {
    #[inline]
    fn slot(&self, n: usize) -> &AtomicPtr<T> {
        &self.slots[n & (self.slots.len() - 1)]
    }

    /// One handle more; it is made from another one, which is alive.
    fn join(this: NonNull<Self>) -> Stealer<T> {
        // SAFETY: the caller has a handle, so nothing is freed yet.
        unsafe { this.as_ref() }.handles.0.fetch_add(1, Relaxed); // Relaxed: the caller's own handle keeps the count above 0
        Stealer { shared: this }
    }

    /// Called by each handle when it goes; the last frees everything.
    fn leave(this: NonNull<Self>) {
        // SAFETY: freed by the last call only, and this handle has not called yet.
        let before = unsafe { this.as_ref() }.handles.0.fetch_sub(1, AcqRel); // E3, both ends
        if before == 1 {
            // SAFETY: it came from a Box; all other handles are gone, and what they did is ordered before this by E3.
            drop(unsafe { Box::from_raw(this.as_ptr()) });
        }
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Relaxed, as are the slots: E3 has brought all of them here already.
        let (top, bottom) = (self.top.0.load(Relaxed), self.bottom.0.load(Relaxed));
        exhaust((0..bottom.wrapping_sub(top)).map(|i| {
            let item = self.slot(top.wrapping_add(i)).load(Relaxed);
            // SAFETY: slots from `top` to `bottom` hold pointers from Boxes, and `&mut self` excludes everybody else. Each is made a Box once.
            unsafe { Box::from_raw(item) }
        }));
    }
}

impl<T> Owner<T> {
    /// Puts an item at the owner's end, or gives it back if the deque is full. Two stores, unless the copy of `top` says "full".
    ///
    /// # Errors
    /// The item, if the deque was full at the moment of the look.
    #[inline]
    pub fn push(&mut self, item: Box<T>) -> Result<(), Box<T>> {
        // SAFETY: this handle has not left.
        let shared = unsafe { self.shared.as_ref() };
        if self.bottom.wrapping_sub(self.top) == shared.slots.len() {
            self.top = shared.top.0.load(Acquire); // E2
            if self.bottom.wrapping_sub(self.top) == shared.slots.len() {
                return Err(item);
            }
        }
        // Relaxed: E1 publishes it. The slot is free: `bottom - top < capacity`. A thief that still reads it has an old `top`, and its
        // exchange will fail; one whose exchange did not fail has read it before, by E2.
        shared.slot(self.bottom).store(Box::into_raw(item), Relaxed);
        self.publish(self.bottom.wrapping_add(1));
        Ok(())
    }

    /// Takes the newest item; `None` if there was a moment during the call at which the deque was empty. A store and a fence; an exchange as
    /// well if it is the only item.
    #[inline]
    pub fn pop(&mut self) -> Option<Box<T>> {
        // SAFETY: this handle has not left.
        let shared = unsafe { self.shared.as_ref() };
        let newest = self.bottom.wrapping_sub(1);
        self.publish(newest);
        fence(SeqCst); // F
        let top = shared.top.0.load(Relaxed);
        let older = newest.wrapping_sub(top).cast_signed();
        let item = shared.slot(newest).load(Relaxed); // if there is one, we wrote it
        if older <= 0 {
            // Relaxed: only who moves `top` from here is asked. It carries nothing, since what we take is our own.
            let ours = older == 0
                && shared.top.0.compare_exchange(top, newest.wrapping_add(1), Relaxed, Relaxed).is_ok();
            self.publish(newest.wrapping_add(1));
            if !ours {
                return None;
            }
        }
        // SAFETY: it came from a Box in `push`. Nobody else makes it one again: either `top` was moved past it by us, or `bottom` lies below it
        // and by F each thief that could still take it sees so.
        Some(unsafe { Box::from_raw(item) })
    }

    /// One more handle that steals from this deque.
    pub fn stealer(&self) -> Stealer<T> {
        Shared::join(self.shared)
    }

    /// The most items it holds.
    pub fn capacity(&self) -> usize {
        // SAFETY: this handle has not left.
        unsafe { self.shared.as_ref() }.slots.len()
    }

    /// Moves `bottom`. Each such store is a Release one, since a thief may see any of them first.
    #[inline]
    fn publish(&mut self, bottom: usize) {
        self.bottom = bottom;
        // SAFETY: this handle has not left.
        unsafe { self.shared.as_ref() }.bottom.0.store(bottom, Release); // E1
    }
}

impl<T> Stealer<T> {
    /// Takes the oldest item, if nobody else is faster. Does not try twice.
    #[inline]
    pub fn steal(&self) -> Steal<T> {
        // SAFETY: this handle has not left.
        let shared = unsafe { self.shared.as_ref() };
        let top = shared.top.0.load(Relaxed);
        fence(SeqCst); // F
        let bottom = shared.bottom.0.load(Acquire); // E1
        if bottom.wrapping_sub(top).cast_signed() <= 0 {
            return Steal::Empty;
        }
        let item = shared.slot(top).load(Relaxed); // ours only if the exchange succeeds; E1 makes it new enough
        match shared.top.0.compare_exchange(top, top.wrapping_add(1), Release, Relaxed) {
            // E2
            // SAFETY: `top` moves past each item once, by us here. It is the Box that was pushed there last: by F, `bottom` was not
            // lowered below it without our knowing, and by E2 the slot was not filled again before our exchange.
            Ok(_) => Steal::Item(unsafe { Box::from_raw(item) }),
            Err(_) => Steal::Retry,
        }
    }
}

impl<T> Clone for Stealer<T> {
    fn clone(&self) -> Self {
        Shared::join(self.shared)
    }
}

impl<T> Drop for Owner<T> {
    fn drop(&mut self) {
        Shared::leave(self.shared);
    }
}

impl<T> Drop for Stealer<T> {
    fn drop(&mut self) {
        Shared::leave(self.shared);
    }
}

// SAFETY: items move through the deque from thread to thread, which is what `T: Send` allows; nobody gets a reference into it.
unsafe impl<T: Send> Send for Owner<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Stealer<T> {}
// SAFETY: `steal` and `clone` may be called from many threads at once: all they do is atomic.
unsafe impl<T: Send> Sync for Stealer<T> {}

impl<T> fmt::Debug for Owner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Owner { .. }")
    }
}
impl<T> fmt::Debug for Stealer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stealer { .. }")
    }
}

//! A list onto which every thread pushes, and which one thread takes as a whole: where blocks wait that others freed.
//!
//! # States
//! | `head` | meaning | `push` | `take` |
//! |---|---|---|---|
//! | null | empty | the new node, its `next` null | nothing |
//! | a node | the newest of a chain | the new node, its `next` this one | null; the chain belongs to the taker |
//!
//! # Edges
//! - **E1** push's Release of `head` -> take's Acquire: the node's `next`, and all that the pusher did with the block before. All changes
//!   of `head` are read-modify-writes, so the edge reaches the taker from every push of the chain, not only from the last.
//!
//! # ABA
//! There is none: push never looks into the old head, and nobody takes a single node. So there is no need for hazard pointers.
//!
//! # Progress
//! `take` is one exchange. `push` is lock-free: its exchange fails only because another one succeeded.
//!
//! # Limits
//! The newest comes first. All pushers meet on one cache line.
//!
//! # Source
//! D. Leijen, B. Zorn, L. de Moura, "Mimalloc: Free List Sharding in Action" (2019): the thread-free list.

use crate::structures::sync::atomic::AtomicPtr;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::cell::UnsafeCell;
use crate::structures::sync::{constructor, hint};
use std::fmt;
use std::ptr::{NonNull, null_mut};

/// What a free block begins with.
#[repr(C)]
pub struct Link {
    /// The next free block. Touched only by whoever has the block, or by the thread that took the chain.
    next: UnsafeCell<*mut Link>,
}

/// The list. See the [module](self).
pub struct Inbox {
    head: AtomicPtr<Link>,
}

impl Link {
    constructor! {
        /// A link to that one; null for none.
        pub fn new(next: *mut Link) -> Self {
            Self { next: UnsafeCell::new(next) }
        }
    }

    /// The next one, or null.
    #[inline]
    pub fn next(&self) -> *mut Self {
        // SAFETY: whoever has a `&Link` has the block or its chain, and nobody writes to `next` then: see `next`.
        self.next.with(|next| unsafe { *next })
    }
}

impl Inbox {
    constructor! {
        /// An empty list.
        pub fn new() -> Self {
            Self { head: AtomicPtr::new(null_mut()) }
        }
    }

    /// Puts a block into the list.
    ///
    /// # Safety
    /// `link` is alive until it was taken and the taker is through with it, and the caller has it alone.
    pub unsafe fn push(&self, link: NonNull<Link>) {
        let mut head = self.head.load(Relaxed); // only compared, never looked into
        loop {
            // SAFETY: the caller's: alive, and nobody else has it before the exchange below.
            let next = unsafe { &link.as_ref().next };
            // SAFETY: as above.
            next.with_mut(|next| unsafe { *next = head });
            match self.head.compare_exchange_weak(head, link.as_ptr(), Release, Relaxed) {
                Ok(_) => return, // E1
                Err(now) => head = now,
            }
            hint::spin_loop();
        }
    }

    /// Takes all that is in it: the newest, which links to the others; null if it is empty.
    pub fn take(&self) -> *mut Link {
        // Most often it is empty, and then a load leaves the line where it is.
        if self.head.load(Relaxed).is_null() {
            return null_mut();
        }
        self.head.swap(null_mut(), Acquire) // E1
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link { .. }")
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox { .. }")
    }
}

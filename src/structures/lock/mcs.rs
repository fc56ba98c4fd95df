//! A queue lock: waiting threads form a list, each spins on a flag in its own node, and the holder clears the flag of the next.
//!
//! Adds to `ticket`: a release touches the line of one waiting thread, however many wait.
//!
//! # States
//! | `tail` | holder's `next` | meaning | `with` | leaving |
//! |---|---|---|---|---|
//! | null | - | free | puts its node there, and is in | - |
//! | holder's node | null | held, nobody waits | puts its node there, links it, waits | makes `tail` null |
//! | another node | null | one has queued and is about to link itself | the same | waits for the link |
//! | another node | set | held, somebody waits | the same | clears `waiting` in the next node |
//!
//! # Edges
//! - **E1** leaving (Release to `tail`, or to the next node's `waiting`) -> entering (Acquire of the same): carries the value.
//! - **E2** the swap's Release of a new node in `tail` -> the next arrival's Acquire: it writes into that node's `next`, so it must
//!   see the node as it was made.
//! - **E3** the link's Release -> the holder's Acquire of `next`: it writes into the linked node's `waiting`, likewise.
//!
//! # Limits
//! First come, first served, with the weakness of every such spinning lock: it waits for the next in line even when that one is
//! descheduled. Never sleeps. No poisoning. 8 bytes beside the value and 128 bytes of stack per thread that holds or waits. There is
//! no guard: **the node is on the stack of `with`**. A guard can be leaked (`mem::forget`), and the node of a leaked
//! guard would be freed while its successor still writes into it; a stack frame cannot be left without running its drops.
//! **No time-out**: a node in the middle of the queue can't leave it, since the one before it is about to write into it.
//!
//! # Source
//! J. M. Mellor-Crummey, M. L. Scott, "Algorithms for Scalable Synchronization on Shared-Memory Multiprocessors" (ACM TOCS 1991).

use crate::structures::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use crate::structures::sync::atomic::{AtomicBool, AtomicPtr};
use crate::structures::sync::cell::UnsafeCell;
use crate::structures::sync::{constructor, hint};
use std::fmt;
use std::ptr;

/// A value behind a queue lock. Uncontended: one swap to enter, one load and one compare-exchange to leave. The rest: see the
/// [module](self).
pub struct Mcs<T: ?Sized> {
    /// The last of the queue, whose first is the holder; null: free.
    tail: AtomicPtr<Node>,
    value: UnsafeCell<T>,
}

/// A place in the queue. On lines of its own, so that a waiting thread's spinning disturbs nobody (two lines: x86 fetches pairs).
#[repr(align(128))]
struct Node {
    /// Who comes after; null while that one is not known.
    next: AtomicPtr<Node>,
    waiting: AtomicBool,
}

impl Node {
    fn new() -> Self {
        Self { next: AtomicPtr::new(ptr::null_mut()), waiting: AtomicBool::new(true) }
    }

    /// The address under which others know it; they use it only for shared access to the two atomics.
    fn address(&self) -> *mut Self {
        ptr::from_ref(self).cast_mut()
    }
}

impl<T: Default> Default for Mcs<T> {
    /// An unlocked lock around the default value.
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T> From<T> for Mcs<T> {
    /// An unlocked lock around `value`.
    fn from(value: T) -> Self {
        Self::new(value)
    }
}

impl<T> Mcs<T> {
    constructor! {
        /// An unlocked lock around `value`.
        pub fn new(value: T) -> Self {
            Self { tail: AtomicPtr::new(ptr::null_mut()), value: UnsafeCell::new(value) }
        }
    }

    /// The value, the lock being given up.
    pub fn into_inner(self) -> T {
        self.value.into_inner()
    }
}

impl<T: ?Sized> Mcs<T> {
    /// Waits for its turn and calls `inside` with the value; unlocks also when `inside` panics.
    ///
    /// Called by the thread that is inside already, it never returns.
    #[inline]
    pub fn with<R>(&self, inside: impl FnOnce(&mut T) -> R) -> R {
        let node = Node::new();
        let before = self.tail.swap(node.address(), AcqRel); // E1, E2
        if !before.is_null() {
            // SAFETY: `before` is the node of a thread inside `with` on this lock. It cannot leave before it has seen `next` set, which
            // is what this line does: in `leave` the compare-exchange fails, since `tail` has moved on. E2: it is initialised.
            let before = unsafe { &*before };
            before.next.store(node.address(), Release); // E3
            while node.waiting.load(Acquire) {
                // E1 in the line above
                hint::spin_loop();
            }
        }
        self.enter(&node, inside)
    }

    /// Calls `inside` with the value if nobody is inside at this moment; never waits to get in.
    #[inline]
    pub fn try_with<R>(&self, inside: impl FnOnce(&mut T) -> R) -> Option<R> {
        let node = Node::new();
        let free = self.tail.compare_exchange(ptr::null_mut(), node.address(), AcqRel, Relaxed); // E1, E2
        free.is_ok().then(|| self.enter(&node, inside))
    }

    /// The value without locking: `&mut self` excludes everybody else.
    pub fn get_mut(&mut self) -> &mut T {
        self.value.exclusive()
    }

    /// The address of the last node in the queue, 0 if there is none: it moves when somebody arrives. For tests of the order.
    #[doc(hidden)]
    pub fn last(&self) -> usize {
        self.tail.load(Relaxed).addr()
    }

    /// Call when it is this node's turn; leaves when done.
    #[inline]
    fn enter<R>(&self, node: &Node, inside: impl FnOnce(&mut T) -> R) -> R {
        let _held = Held { tail: &self.tail, node };
        let mut value = self.value.get_mut(); // dropped before `_held`
        // SAFETY: the cell is alive, since `&self` is; it is this node's turn until `_held` is dropped, and nobody else
        // touches the cell meanwhile.
        inside(unsafe { value.deref_mut() })
    }
}

/// The node's owner is inside until this is dropped. Never handed out: see Limits.
struct Held<'a> {
    tail: &'a AtomicPtr<Node>,
    node: &'a Node,
}

impl Drop for Held<'_> {
    #[inline]
    fn drop(&mut self) {
        let mut next = self.node.next.load(Acquire); // E3
        if next.is_null() {
            let last = self.tail.compare_exchange(self.node.address(), ptr::null_mut(), Release, Relaxed); // E1
            if last.is_ok() {
                return; // nobody knows the node any more
            }
            // Somebody has queued and knows our node, but has not linked itself yet.
            loop {
                next = self.node.next.load(Acquire); // E3
                if !next.is_null() {
                    break;
                }
                hint::spin_loop();
            }
        }
        // SAFETY: `next` is the node of a thread that waits in `with` until the store below. E3: it is initialised. The node may be
        // gone as soon as the store takes effect, which a reference to an atomic allows, and nothing touches it later.
        let next = unsafe { &*next };
        next.waiting.store(false, Release); // E1
    }
}

// SAFETY: the lock gives the value to one thread at a time, which is a move to that thread: `T: Send`. The nodes behind `tail`
// are only used as argued at each use.
unsafe impl<T: ?Sized + Send> Sync for Mcs<T> {}

impl<T: ?Sized> fmt::Debug for Mcs<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mcs { .. }") // without the value: printing must neither wait nor disturb a measurement
    }
}

//! A queue as a linked list with a dummy node in front: pushes go to the end, pops move the head, and whoever finds the end
//! lagging behind helps.
//!
//! # States
//! | `head`, `tail`, `tail.next` | meaning | `push` | `pop` |
//! |---|---|---|---|
//! | the same node, null | empty | sets `tail.next`, then moves `tail` | `None` |
//! | the same node, a node | a push is half done | moves `tail` for the other, tries again | the same |
//! | `head` before `tail`, null | has values: one in each node after `head` | sets `tail.next`, then moves `tail` | moves `head` to its next, takes the value there, retires the old head |
//! | `head` before `tail`, a node | has values, a push is half done | moves `tail` for the other, tries again | as above |
//!
//! `head` never overtakes `tail`, so `tail` never points to a retired node.
//!
//! # Edges
//! - **E1** push's Release of `next` -> the Acquire of `next` by pops and by helping pushes (in `protect`): the node with its value.
//! - **E2** the Release of `tail` -> push's Acquire (in `protect`): the node at the end, to look into.
//! - **E3** the Release of `head` -> pop's Acquire (in `protect`): the dummy, to look into; and that `tail` is no earlier node, without which
//!   an old `tail` would let `head` overtake it.
//! - The reclamation has its own edges, from whoever looks into a node to the freeing of it.
//!
//! # Progress
//! Lock-free, as far as the allocator and the scheme are: a thread that is stopped between its two steps of a push holds up nobody.
//!
//! # Limits
//! Two lines are fought for, one at each end, and the exchange on `next` fails under contention. A node is one allocation, the value
//! and a pointer; one more than there are values.
//!
//! "Empty" is true of everything that happens before the call. It is no fence: two threads that push to one queue and then look into
//! another's may both find nothing where stores are delayed (`mpmc.rs` pays for that answer, F there).
//!
//! # Source
//! M. Michael, M. Scott, "Simple, Fast, and Practical Non-Blocking and Blocking Concurrent Queue Algorithms" (1996); with hazard
//! pointers as in M. Michael (2004).

use super::Padded;
use crate::structures::reclaim::{Handle, Inside, Reclaim, exhaust};
use crate::structures::sync::atomic::AtomicPtr;
use crate::structures::sync::atomic::Ordering::{Relaxed, Release};
use crate::structures::sync::cell::UnsafeCell;
use crate::structures::sync::hint;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// A queue, with the scheme `R` to free its nodes. See the [module](self).
pub struct Queue<T, R: Reclaim> {
    /// The dummy: its value is out, or never was.
    head: Padded<AtomicPtr<Node<T>>>,
    /// The last node, or the last but one.
    tail: Padded<AtomicPtr<Node<T>>>,
    domain: R,
    _owns: PhantomData<Node<T>>,
}

struct Node<T> {
    /// Null until the next node comes; set once.
    next: AtomicPtr<Node<T>>,
    /// Taken out by the pop that makes the node the dummy.
    value: UnsafeCell<MaybeUninit<T>>,
}

/// One thread's access to a [`Queue`].
pub struct QueueHandle<'q, T, R: Reclaim + 'q> {
    queue: &'q Queue<T, R>,
    handle: R::Handle<'q>,
    retries: u64,
}

fn node<T>(value: MaybeUninit<T>) -> *mut Node<T> {
    Box::into_raw(Box::new(Node { next: AtomicPtr::new(null_mut()), value: UnsafeCell::new(value) }))
}

impl<T, R: Reclaim> Queue<T, R> {
    /// An empty queue for so many handles at a time.
    ///
    /// # Panics
    /// If the number is 0.
    pub fn new(handles: usize) -> Self {
        let dummy = node(MaybeUninit::uninit());
        Self {
            head: Padded(AtomicPtr::new(dummy)),
            tail: Padded(AtomicPtr::new(dummy)),
            domain: R::new(handles),
            _owns: PhantomData,
        }
    }

    /// Access for one thread; `None` while all handles are taken.
    pub fn handle(&self) -> Option<QueueHandle<'_, T, R>> {
        Some(QueueHandle { queue: self, handle: self.domain.handle()?, retries: 0 })
    }
}

impl<T, R: Reclaim> QueueHandle<'_, T, R> {
    /// Puts a value at the end. Allocates.
    pub fn push(&mut self, value: T) {
        let new = node(MaybeUninit::new(value));
        let mut inside = Inside::new(&mut self.handle);
        loop {
            // SAFETY: nodes of this queue are retired by `pop` and nowhere else, by a handle of its domain.
            let tail = unsafe { inside.protect(0, &self.queue.tail.0) }; // E2
            // SAFETY: `tail` never points to a retired node, and this one is protected since.
            let next = unsafe { &(*tail).next };
            match next.compare_exchange(null_mut(), new, Release, Relaxed) {
                // E1 in the exchange
                Ok(_) => {
                    // It may fail: then somebody has helped.
                    let _ = self.queue.tail.0.compare_exchange(tail, new, Release, Relaxed); // E2
                    return;
                }
                Err(_) => {
                    self.retries += 1;
                    // SAFETY: as for `tail`; and the pointer is passed on here, not followed.
                    let next = unsafe { inside.protect(1, next) }; // E1, to pass it on by E2
                    let _ = self.queue.tail.0.compare_exchange(tail, next, Release, Relaxed); // E2, helps a push
                    hint::spin_loop();
                }
            }
        }
    }

    /// Takes the oldest value; `None` if there was a moment during the call at which the queue was empty.
    pub fn pop(&mut self) -> Option<T> {
        let mut inside = Inside::new(&mut self.handle);
        loop {
            // SAFETY: nodes of this queue are retired below and nowhere else, by a handle of its domain.
            let head = unsafe { inside.protect(0, &self.queue.head.0) }; // E3
            let tail = self.queue.tail.0.load(Relaxed); // after the head: see E3
            // SAFETY: the head was the head when it was protected, so it is not freed while we are inside.
            let source = unsafe { &(*head).next };
            // SAFETY: as for the head; and it is followed only if the next look says that it was reachable.
            let next = unsafe { inside.protect(1, source) }; // E1
            // Only if the head is the head still, its next was not retired when it was protected.
            if self.queue.head.0.load(Relaxed) != head {
                self.retries += 1;
                hint::spin_loop();
                continue;
            }
            if next.is_null() {
                return None;
            }
            if head == tail {
                let _ = self.queue.tail.0.compare_exchange(tail, next, Release, Relaxed); // E2, helps too
                hint::spin_loop();
                continue;
            }
            if self.queue.head.0.compare_exchange(head, next, Release, Relaxed).is_ok() {
                // E3 in the exchange
                // SAFETY: `next` was reachable when it was protected, so it is not freed while we are inside.
                let dummy = unsafe { &(*next).value };
                // SAFETY: whoever makes the node the dummy takes its value, and that happens once; by E1 it is written.
                let value = dummy.with_mut(|value| unsafe { value.cast::<T>().read() });
                // SAFETY: unlinked by us: `head` has left it, and `tail` was past it already; nobody else retires it. It was made before
                // this, by E1 to whoever made it the head and by E3 to us. It has no value any more: any thread may free it.
                unsafe { inside.retire(head, free::<T>) };
                return Some(value);
            }
            self.retries += 1;
            hint::spin_loop();
        }
    }

    /// How often this handle had to try again because another one came first.
    pub fn retries_count(&self) -> u64 {
        self.retries
    }

    /// Frees the nodes that may be freed now. Handles do this by themselves now and then.
    pub fn collect(&mut self) {
        self.handle.collect();
    }

    /// Nodes that were popped through this handle's place and are not freed yet.
    pub fn garbage(&self) -> usize {
        self.handle.garbage()
    }

    /// Calls `f` where a pop may be stopped: under the scheme's protection, with nothing changed yet. What it costs the others is that
    /// of a pop that takes as long.
    pub fn inside<U>(&mut self, f: impl FnOnce() -> U) -> U {
        let _inside = Inside::new(&mut self.handle);
        f()
    }
}

/// Frees a node whose value is out.
///
/// # Safety
/// The node is from a Box, and nobody has a pointer to it that is still to be used.
unsafe fn free<T>(node: *mut ()) {
    // SAFETY: the caller's promise.
    let node = unsafe { Box::from_raw(node.cast::<Node<T>>()) };
    // Taken apart and not just dropped: on the modelled face that is an access, which must be ordered after all others.
    let Node { next, value } = *node;
    next.into_inner();
    value.into_inner();
}

impl<T, R: Reclaim> Drop for Queue<T, R> {
    fn drop(&mut self) {
        let mut node = self.head.0.load(Relaxed);
        let mut is_dummy = true;
        exhaust(std::iter::from_fn(|| {
            if node.is_null() {
                return None;
            }
            // SAFETY: `&mut self`: nobody else is here; a linked node is not retired, so it is ours to free.
            let Node { next, value } = *unsafe { Box::from_raw(node) };
            node = next.into_inner();
            let value = value.into_inner();
            if std::mem::take(&mut is_dummy) {
                return Some(None);
            }
            // SAFETY: every linked node but the dummy has its value.
            Some(Some(unsafe { value.assume_init() }))
        }));
    }
}

// SAFETY: values move through the queue from thread to thread, which is what `T: Send` allows; nobody gets a reference into it.
unsafe impl<T: Send, R: Reclaim> Sync for Queue<T, R> {}
// SAFETY: with the queue go its values and its domain, which is `Send` by its trait.
unsafe impl<T: Send, R: Reclaim> Send for Queue<T, R> {}

impl<T, R: Reclaim> fmt::Debug for Queue<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Queue { .. }")
    }
}
impl<T, R: Reclaim> fmt::Debug for QueueHandle<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("QueueHandle { .. }")
    }
}

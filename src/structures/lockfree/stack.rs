//! A stack as a linked list whose head is swung by compare-and-exchange.
//!
//! # States
//! | `head` | meaning | `push` | `pop` |
//! |---|---|---|---|
//! | null | empty | the new node, its `next` null | `None` |
//! | a node | its value is the newest | the new node, its `next` this one | its `next`; the node is retired |
//!
//! # Edges
//! - **E1** push's Release of `head` -> pop's Acquire (in `protect`): the node. All later changes of `head` are read-modify-writes, so
//!   the edge reaches also the one who finds the node again after others were popped; pop's own exchange can be Relaxed.
//! - The reclamation has its own edges, from a pop that reads a node to the freeing of it.
//!
//! # ABA
//! Pop reads `next` of the head and then exchanges the head for it, if the head is the same *address*. If the node were freed in
//! between and its memory used again for a new node, the exchange would succeed with an outdated `next`. What prevents it: the head
//! is protected, so it is not freed, so its address is not used again. Push needs no protection: it never looks into the old head.
//!
//! # Progress
//! Lock-free, as far as the allocator and the scheme are: an exchange fails only because another one succeeded. One thread may lose
//! for ever.
//!
//! # Limits
//! One line is fought for by all: more threads do less. A node is one allocation, the value and a pointer.
//!
//! "Empty" is true of everything that happens before the call. It is no fence: two threads that push to one stack and then look into
//! another's may both find nothing where stores are delayed (`mpmc.rs` pays for that answer, F there).
//!
//! # Source
//! R. K. Treiber, "Systems Programming: Coping with Parallelism" (1986).

use crate::structures::reclaim::{Handle, Inside, Reclaim, exhaust};
use crate::structures::sync::atomic::AtomicPtr;
use crate::structures::sync::atomic::Ordering::{Relaxed, Release};
use crate::structures::sync::cell::UnsafeCell;
use crate::structures::sync::hint;
use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::null_mut;

/// A stack, with the scheme `R` to free its nodes. See the [module](self).
pub struct Stack<T, R: Reclaim> {
    head: AtomicPtr<Node<T>>,
    domain: R,
    _owns: PhantomData<Node<T>>,
}

struct Node<T> {
    /// Written before the node is pushed, never after.
    next: UnsafeCell<*mut Node<T>>,
    /// Taken out by the pop that unlinks the node.
    value: UnsafeCell<MaybeUninit<T>>,
}

/// One thread's access to a [`Stack`].
pub struct StackHandle<'s, T, R: Reclaim + 's> {
    stack: &'s Stack<T, R>,
    handle: R::Handle<'s>,
    retries: u64,
}

impl<T, R: Reclaim> Stack<T, R> {
    /// An empty stack for so many handles at a time.
    ///
    /// # Panics
    /// If the number is 0.
    pub fn new(handles: usize) -> Self {
        Self { head: AtomicPtr::new(null_mut()), domain: R::new(handles), _owns: PhantomData }
    }

    /// Access for one thread; `None` while all handles are taken.
    pub fn handle(&self) -> Option<StackHandle<'_, T, R>> {
        Some(StackHandle { stack: self, handle: self.domain.handle()?, retries: 0 })
    }
}

impl<T, R: Reclaim> StackHandle<'_, T, R> {
    /// Puts a value on top. Allocates.
    pub fn push(&mut self, value: T) {
        let mut head = self.stack.head.load(Relaxed);
        let node = Node { next: UnsafeCell::new(head), value: UnsafeCell::new(MaybeUninit::new(value)) };
        let node = Box::into_raw(Box::new(node));
        while let Err(now) = self.stack.head.compare_exchange_weak(head, node, Release, Relaxed) {
            // E1 in the exchange
            head = now;
            self.retries += 1;
            // SAFETY: nobody else knows the node yet.
            let next = unsafe { &(*node).next };
            // SAFETY: as above.
            next.with_mut(|next| unsafe { next.write(head) });
        }
    }

    /// Takes the value on top; `None` if there was a moment during the call at which the stack was empty.
    pub fn pop(&mut self) -> Option<T> {
        let mut inside = Inside::new(&mut self.handle);
        loop {
            // SAFETY: nodes of this stack are retired below and nowhere else, by a handle of its domain.
            let head = unsafe { inside.protect(0, &self.stack.head) }; // E1
            if head.is_null() {
                return None;
            }
            // SAFETY: the head was reachable when it was protected, so it is not freed while we are inside.
            let node = unsafe { &*head };
            // SAFETY: written before the push that E1 orders before this, and never again.
            let next = node.next.with(|next| unsafe { *next });
            if self.stack.head.compare_exchange(head, next, Relaxed, Relaxed).is_ok() {
                // SAFETY: whoever unlinks the node takes its value, and a node is unlinked once.
                let value = node.value.with_mut(|value| unsafe { value.cast::<T>().read() });
                // SAFETY: unlinked by us, and made before this by E1; nobody else retires it. It has no value any more: any thread may free it.
                unsafe { inside.retire(head, free::<T>) };
                return Some(value);
            }
            self.retries += 1;
            hint::spin_loop();
        }
    }

    /// How often an exchange of this handle failed: another one came first, or on some machines for no reason (a weak exchange may).
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

impl<T, R: Reclaim> Drop for Stack<T, R> {
    fn drop(&mut self) {
        let mut head = self.head.load(Relaxed);
        exhaust(std::iter::from_fn(|| {
            if head.is_null() {
                return None;
            }
            // SAFETY: `&mut self`: nobody else is here; a linked node is not retired, so it is ours to free.
            let Node { next, value } = *unsafe { Box::from_raw(head) };
            head = next.into_inner();
            // SAFETY: a linked node has its value.
            Some(unsafe { value.into_inner().assume_init() })
        }));
    }
}

// SAFETY: values move through the stack from thread to thread, which is what `T: Send` allows; nobody gets a reference into it.
unsafe impl<T: Send, R: Reclaim> Sync for Stack<T, R> {}
// SAFETY: with the stack go its values and its domain, which is `Send` by its trait.
unsafe impl<T: Send, R: Reclaim> Send for Stack<T, R> {}

impl<T, R: Reclaim> fmt::Debug for Stack<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stack { .. }")
    }
}
impl<T, R: Reclaim> fmt::Debug for StackHandle<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StackHandle { .. }")
    }
}

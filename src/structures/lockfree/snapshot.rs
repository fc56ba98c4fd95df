//! One value behind a pointer: readers follow the pointer, a writer replaces it and retires the old value.
//!
//! # States
//! | `current` | meaning | `read` | `publish` |
//! |---|---|---|---|
//! | a node | its value is the newest | protects it and reads | a new node; the old one is retired |
//!
//! # Edges
//! - **E1** publish's Release of `current` -> read's Acquire (in `protect`): the node with its value. And -> the next publish's Acquire of
//!   `current`, which does not look into the node but retires it: whoever frees the node is ordered after its making by way of
//!   whoever retired it, and in no other way (see [`Handle::retire`]).
//! - The reclamation has its own edges, from a read to the freeing of what was read.
//!
//! # Progress
//! Readers: as the scheme's `protect`, wait-free with epochs, lock-free with hazard pointers. Publishing is wait-free, as far as the
//! allocator and the scheme are. Nobody waits for anybody, but a reader that stays inside keeps memory: one value with hazard
//! pointers, with epochs all that are published meanwhile.
//!
//! # Limits
//! Every publish allocates, copies what it does not change, and moves the pointer's line to all readers: with frequent publishing
//! the readers' gain is gone. Two writers that each read, change and publish lose updates: let one write, or lock the writers.
//! A value is dropped by a publish, by [`SnapshotHandle::collect`] or by the end of the snapshot, on any thread; never by a read.
//!
//! # Source
//! The publishing side of read-copy-update: P. McKenney, J. Slingwine, "Read-Copy Update" (1998).

use crate::structures::reclaim::{Handle, Inside, Reclaim};
use crate::structures::sync::atomic::AtomicPtr;
use crate::structures::sync::atomic::Ordering::{AcqRel, Relaxed};
use crate::structures::sync::cell::UnsafeCell;
use std::fmt;
use std::marker::PhantomData;

/// A value that is read often and replaced seldom, with the scheme `R` to free old ones. See the [module](self).
pub struct Snapshot<T, R: Reclaim> {
    /// Never null.
    current: AtomicPtr<Node<T>>,
    domain: R,
    _owns: PhantomData<Node<T>>,
}

struct Node<T> {
    /// Written before the node is published, never after.
    value: UnsafeCell<T>,
}

/// One thread's access to a [`Snapshot`].
pub struct SnapshotHandle<'s, T, R: Reclaim + 's> {
    snapshot: &'s Snapshot<T, R>,
    handle: R::Handle<'s>,
}

fn node<T>(value: T) -> *mut Node<T> {
    Box::into_raw(Box::new(Node { value: UnsafeCell::new(value) }))
}

impl<T, R: Reclaim> Snapshot<T, R> {
    /// A snapshot that holds `value`, for so many handles at a time.
    ///
    /// # Panics
    /// If the number is 0.
    pub fn new(value: T, handles: usize) -> Self {
        Self { current: AtomicPtr::new(node(value)), domain: R::new(handles), _owns: PhantomData }
    }

    /// Access for one thread; `None` while all handles are taken.
    pub fn handle(&self) -> Option<SnapshotHandle<'_, T, R>> {
        Some(SnapshotHandle { snapshot: self, handle: self.domain.handle()? })
    }
}

impl<T, R: Reclaim> SnapshotHandle<'_, T, R> {
    /// Looks at the newest value, which does not change meanwhile, whatever is published. Keep `f` short: old values wait for it.
    pub fn read<U>(&mut self, f: impl FnOnce(&T) -> U) -> U {
        let mut inside = Inside::new(&mut self.handle);
        // SAFETY: nodes of this snapshot are retired by `publish` and nowhere else, by a handle of its domain.
        let node = unsafe { inside.protect(0, &self.snapshot.current) }; // E1
        // SAFETY: the node was current when it was protected, so it is not freed before `inside` is dropped.
        let value = unsafe { &(*node).value }.get();
        // SAFETY: written before the publication that E1 orders before this; from then on only read, until it is freed.
        f(unsafe { value.deref() }) // `value` is dropped before `inside`, also when `f` panics
    }

    /// Replaces the value. Reads that began before may still see the old one, later ones do not. Allocates; now and then drops old
    /// values.
    pub fn publish(&mut self, value: T) {
        let new = node(value);
        let mut inside = Inside::new(&mut self.handle);
        let old = self.snapshot.current.swap(new, AcqRel); // E1, both ends
        // SAFETY: unlinked by us, and made before this by E1; nobody else retires it. Values of its kind may be dropped on any thread, as
        // `Sync` below demands.
        unsafe { inside.retire(old, free::<T>) };
    }

    /// Drops the old values that may be dropped now.
    pub fn collect(&mut self) {
        self.handle.collect();
    }

    /// Values that were replaced through this handle's place and are not dropped yet.
    pub fn garbage(&self) -> usize {
        self.handle.garbage()
    }
}

/// Frees a node and drops its value.
///
/// # Safety
/// The node is from a Box, and nobody has a pointer to it that is still to be used.
unsafe fn free<T>(node: *mut ()) {
    // SAFETY: the caller's promise.
    let node = unsafe { Box::from_raw(node.cast::<Node<T>>()) };
    // Taken apart and not just dropped: on the modelled face that is an access, which must be ordered after all others.
    drop(node.value.into_inner());
}

impl<T, R: Reclaim> Drop for Snapshot<T, R> {
    fn drop(&mut self) {
        let node = self.current.load(Relaxed).cast();
        // SAFETY: `&mut self`: nobody else is here; the current node is not retired, so it is ours to free.
        unsafe { free::<T>(node) };
    }
}

// SAFETY: readers on several threads hold references to one value, `T: Sync`, and any thread may drop it, `T: Send`.
unsafe impl<T: Send + Sync, R: Reclaim> Sync for Snapshot<T, R> {}
// SAFETY: with the snapshot go its values, the retired ones too, and its domain, which is `Send` by its trait.
unsafe impl<T: Send, R: Reclaim> Send for Snapshot<T, R> {}

impl<T, R: Reclaim> fmt::Debug for Snapshot<T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Snapshot { .. }")
    }
}
impl<T, R: Reclaim> fmt::Debug for SnapshotHandle<'_, T, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SnapshotHandle { .. }")
    }
}

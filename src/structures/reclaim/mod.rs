//! When may I free a node that another thread may still be reading? Three answers behind one small interface.
//!
//! | scheme | a reader says | a retired node is freed | garbage | a stalled reader |
//! |---|---|---|---|---|
//! | [`epoch`] | "I am inside" | when all that were inside have left | unbounded | stops all freeing |
//! | [`hazard`] | "I use this node" | when no reader says so | bounded by the threads | keeps the nodes it names, two at most |
//! | [`leak`] | nothing | never | everything | costs nothing |
//!
//! # The contract
//! A structure owns a [`Reclaim`] (the domain). A thread that wants to use the structure takes a [`Handle`] of the domain: an
//! explicit one and no thread-local, so that the models see all of it and so that a structure's end is the end of its garbage.
//! Between [`Handle::enter`] and [`Handle::leave`] the thread may follow pointers that [`Handle::protect`] gave it. A node that was
//! made unreachable is given to [`Handle::retire`], once, by whoever unlinked it.
//!
//! Handles are places in a fixed array: the domain is made for so many at a time. Garbage of a handle that is dropped stays
//! in its place, for the next handle that takes it, or for the end of the domain.

pub mod epoch;
pub mod hazard;
pub mod leak;
mod place;

use crate::structures::sync::atomic::AtomicPtr;

/// Nodes that a thread can protect at once.
pub const PROTECTED: usize = 2;

/// A scheme of reclamation, as the domain that a structure owns.
///
/// # Safety
/// What [`Handle::protect`] returned is not freed before the handle leaves, or protects another node in the same place, if every
/// node is unlinked before it is retired and retired once; whatever was retired is freed when the domain is dropped, unless
/// the scheme says that it never is.
pub unsafe trait Reclaim: Sized + Send + Sync {
    /// The scheme's name, as in the tables.
    const NAME: &'static str;

    /// A thread's access.
    type Handle<'d>: Handle
    where
        Self: 'd;

    /// A domain for so many handles at a time.
    ///
    /// # Panics
    /// If the number is 0.
    fn new(handles: usize) -> Self;

    /// A handle; `None` while all are taken.
    fn handle(&self) -> Option<Self::Handle<'_>>;
}

/// One thread's access to a domain.
pub trait Handle {
    /// From here on pointers may be protected. Not to be nested.
    fn enter(&mut self);

    /// A pointer that `source` held at some moment during the call, whose node will not be freed before this handle leaves or
    /// protects another in the same place (0 or 1). Null is itself.
    ///
    /// That the node was *reachable* at that moment is the caller's affair: `source` must not be a field of a node that may be
    /// unlinked already, or the caller looks afterwards whether it was.
    fn protect<T>(&mut self, place: usize, source: &AtomicPtr<T>) -> *mut T;

    /// The pointers are not used any more.
    fn leave(&mut self);

    /// Gives away an unlinked node. It is freed, by `free`, some time later, on any thread. Between `enter` and `leave`.
    ///
    /// Between the call and the freeing lies an acquire fence of the thread that frees, or an edge from this call to the end of the
    /// domain: so the node may have been unlinked by a Relaxed look at a pointer that was published with Release.
    ///
    /// # Safety
    /// The node is alive, no new reader can reach it, nobody retires it again, `free` may be called with it once, on any
    /// thread, as long as the domain lives and while it is dropped.
    unsafe fn retire<T>(&mut self, node: *mut T, free: unsafe fn(*mut ()));

    /// Frees what may be freed now. Handles do this by themselves now and then; outside of `enter` and `leave`.
    fn collect(&mut self);

    /// Nodes that were retired through this handle's place and are not freed yet.
    fn garbage(&self) -> usize;
}

/// Between [`Handle::enter`] and [`Handle::leave`], however the scope ends: for those who run foreign code in between.
pub(crate) struct Inside<'h, H: Handle>(pub(crate) &'h mut H);

impl<'h, H: Handle> Inside<'h, H> {
    pub(crate) fn new(handle: &'h mut H) -> Self {
        handle.enter();
        Self(handle)
    }
}

impl<H: Handle> Drop for Inside<'_, H> {
    fn drop(&mut self) {
        self.0.leave();
    }
}

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
//!
//! A structure never lends its handle. The handles of two structures have one type: two borrowed ones could change places, and each would
//! then announce itself in the wrong domain. So a structure offers what its users need, and no more:
//!
//! ```
//! # use underhood::structures::{lockfree::stack::Stack, reclaim::epoch::Epoch};
//! # let (one, two) = (Stack::<u32, Epoch>::new(1), Stack::<u32, Epoch>::new(1));
//! let (mut a, mut b) = (one.handle().unwrap(), two.handle().unwrap());
//! a.collect();
//! assert_eq!(b.garbage(), 0);
//! ```
//! ```compile_fail,E0599
//! # use underhood::structures::{lockfree::stack::Stack, reclaim::epoch::Epoch};
//! # let (one, two) = (Stack::<u32, Epoch>::new(1), Stack::<u32, Epoch>::new(1));
//! let (mut a, mut b) = (one.handle().unwrap(), two.handle().unwrap());
//! std::mem::swap(a.reclaim(), b.reclaim());
//! ```
//! ```compile_fail,E0616
//! # use underhood::structures::{lockfree::stack::Stack, reclaim::epoch::Epoch};
//! # let (one, two) = (Stack::<u32, Epoch>::new(1), Stack::<u32, Epoch>::new(1));
//! let (mut a, mut b) = (one.handle().unwrap(), two.handle().unwrap());
//! std::mem::swap(&mut a.handle, &mut b.handle);
//! ```
//! Going inside is `unsafe`, since whoever goes in must come out:
//!
//! ```compile_fail,E0133
//! # use underhood::structures::reclaim::{Handle, Reclaim, epoch::Epoch};
//! let domain = Epoch::new(1);
//! domain.handle().unwrap().enter();
//! ```

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
/// If the callers keep the promises of [`Handle`], then for every node:
/// - What [`Handle::protect`] returned is not freed before the handle leaves, or protects another node in the same place.
/// - A retired node is freed once, by the end of the domain at the latest, unless the scheme says that it never is.
/// - The freeing is ordered after the retiring, and after the leaving of everybody who protected the node.
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

/// One thread's access to a domain; it may move to another thread, but two never use it at once.
pub trait Handle {
    /// From here on pointers may be protected.
    ///
    /// # Safety
    /// The handle is outside. It leaves before it collects, and before it is dropped or forgotten.
    unsafe fn enter(&mut self);

    /// A pointer that `source` held at some moment during the call, whose node will not be freed before this handle leaves or
    /// protects another in the same place (0 or 1). Null is itself.
    ///
    /// # Safety
    /// The handle is inside. Nodes that `source` may hold are retired through handles of this one's domain, and no others.
    ///
    /// The node was *reachable* at that moment, or the pointer is not followed. So `source` is not a field of a node that may be
    /// unlinked already; or the caller looks afterwards whether it was.
    unsafe fn protect<T>(&mut self, place: usize, source: &AtomicPtr<T>) -> *mut T;

    /// The pointers are not used any more.
    ///
    /// # Safety
    /// The handle is inside, and the caller follows none of its pointers from here on.
    unsafe fn leave(&mut self);

    /// Gives away an unlinked node. It is freed, by `free`, some time later, on any thread.
    ///
    /// # Safety
    /// The handle is inside. The node is alive, no new reader can reach it, nobody retires it again. `free` may be called with it
    /// once, on any thread, as long as the domain lives and while it is dropped.
    ///
    /// The call is ordered after the making of the node. Whoever unlinks it by an exchange therefore acquires the pointer. No fence of the
    /// thread that frees makes up for that: a fence orders after what *its own* thread has read before.
    unsafe fn retire<T>(&mut self, node: *mut T, free: unsafe fn(*mut ()));

    /// Frees what may be freed now. A handle that retires does this by itself now and then, when it leaves.
    fn collect(&mut self);

    /// Nodes that were retired through this handle's place and are not freed yet.
    fn garbage(&self) -> usize;
}

/// Between [`Handle::enter`] and [`Handle::leave`], however the scope ends. For structures, which never forget one.
pub(crate) struct Inside<'h, H: Handle>(&'h mut H);

impl<'h, H: Handle> Inside<'h, H> {
    #[inline]
    pub(crate) fn new(handle: &'h mut H) -> Self {
        // SAFETY: a structure's handle is inside only while such a guard borrows it. The guard's drop leaves.
        unsafe { handle.enter() };
        Self(handle)
    }

    /// # Safety
    /// As for [`Handle::protect`]; that the handle is inside is given.
    #[inline]
    pub(crate) unsafe fn protect<T>(&mut self, place: usize, source: &AtomicPtr<T>) -> *mut T {
        // SAFETY: inside, until the guard is dropped; the rest is the caller's promise.
        unsafe { self.0.protect(place, source) }
    }

    /// # Safety
    /// As for [`Handle::retire`]; that the handle is inside is given.
    #[inline]
    pub(crate) unsafe fn retire<T>(&mut self, node: *mut T, free: unsafe fn(*mut ())) {
        // SAFETY: inside, until the guard is dropped; the rest is the caller's promise.
        unsafe { self.0.retire(node, free) }
    }
}

impl<H: Handle> Drop for Inside<'_, H> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: entered by `new`; what is protected is followed only while the guard lives.
        unsafe { self.0.leave() };
    }
}

/// Makes every step of an iterator, and drops what comes out. If a step panics, the others are made while the thread unwinds. A second
/// panic then ends the program, as it does in the standard library's collections.
pub(crate) fn exhaust<I: Iterator>(steps: I) {
    struct Rest<I: Iterator>(I);
    impl<I: Iterator> Drop for Rest<I> {
        fn drop(&mut self) {
            self.0.by_ref().for_each(drop);
        }
    }
    let mut rest = Rest(steps);
    rest.0.by_ref().for_each(drop);
}

//! Hazard pointers: a reader says which nodes it uses, and garbage waits until nobody names it.
//!
//! # States of a hazard pointer
//! | value | meaning |
//! |---|---|
//! | null | protects nothing |
//! | a node, and the source has been seen to hold it since | protects it: whoever retires it now, will find it here |
//! | a node, not yet looked at again | perhaps too late; `protect` looks, and tries again |
//!
//! # Edges
//! - **E1** the place: see `place.rs`.
//! - **E2** the Release of a hazard pointer that lets go (leave, or the next protect in the same place) -> collect's Acquire: reading is
//!   over before the node is freed.
//! - **F** protect's fence against collect's: either collect sees the hazard pointer, or protect, looking again, sees that the node
//!   was unlinked (store buffering: each writes its own word, then looks at the other's).
//!
//! # Progress
//! `protect` is lock-free: it tries again only if somebody has changed the source. Reclamation is wait-free for the one who does it,
//! and a stalled reader keeps two nodes and no more.
//!
//! # Limits
//! Every protected pointer costs a fence, on x86 as much as an atomic read-modify-write: long walks through many nodes pay for
//! each. Garbage: at most a batch (64, or twice the hazard pointers if that is more) and the protected nodes, for each handle.
//! `collect` looks at every hazard pointer for every retired node.
//!
//! # Source
//! M. Michael, "Hazard Pointers: Safe Memory Reclamation for Lock-Free Objects" (2004).

use super::place::{Place, Retired};
use super::{Handle, PROTECTED, Reclaim, exhaust};
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::structures::sync::atomic::{AtomicPtr, fence};
use crate::structures::sync::hint;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;
use std::ptr::null_mut;

/// Retired nodes between two attempts to free.
const BATCH: usize = 64;

/// The domain. See the [module](self).
pub struct Hazard {
    threads: Box<[Thread]>,
}

/// On lines of its own: each protect writes it.
#[repr(align(128))]
struct Thread {
    protected: [AtomicPtr<()>; PROTECTED],
    place: Place,
}

/// One thread's access to a [`Hazard`].
pub struct HazardHandle<'d> {
    domain: &'d Hazard,
    thread: &'d Thread,
    /// Retired since the last attempt to free.
    fresh: usize,
    /// The next leaving is to free. Only retiring sets it, so that one who only reads never runs what a freeing runs.
    due: bool,
    _one_thread_at_a_time: PhantomData<Cell<()>>,
}

// SAFETY: the head of the file: a node is freed after nobody names it, and `protect` returns only what it named in time.
unsafe impl Reclaim for Hazard {
    const NAME: &'static str = "hazard";
    type Handle<'d> = HazardHandle<'d>;

    fn new(handles: usize) -> Self {
        assert!(handles > 0, "a domain without handles is of no use");
        let none = || AtomicPtr::new(null_mut());
        let thread = |_| Thread { protected: [none(), none()], place: Place::new() };
        Self { threads: (0..handles).map(thread).collect() }
    }

    fn handle(&self) -> Option<HazardHandle<'_>> {
        let thread = self.threads.iter().find(|t| t.place.take())?;
        // What the handle before left counts: else handles that live shortly would never free anything.
        // SAFETY: we have just taken the place.
        let fresh = unsafe { thread.place.len() };
        Some(HazardHandle { domain: self, thread, fresh, due: false, _one_thread_at_a_time: PhantomData })
    }
}

impl Handle for HazardHandle<'_> {
    #[inline]
    unsafe fn enter(&mut self) {}

    #[inline]
    unsafe fn protect<T>(&mut self, place: usize, source: &AtomicPtr<T>) -> *mut T {
        let hazard = &self.thread.protected[place];
        let mut node = source.load(Relaxed);
        loop {
            hazard.store(node.cast(), Release); // E2, for the node that was here before
            fence(SeqCst); // F
            let again = source.load(Acquire); // the structure's own edge: the node is whole
            if again == node {
                return node;
            }
            node = again;
            hint::spin_loop();
        }
    }

    #[inline]
    unsafe fn leave(&mut self) {
        for hazard in &self.thread.protected {
            hazard.store(null_mut(), Release); // E2
        }
        if self.due {
            self.collect();
        }
    }

    unsafe fn retire<T>(&mut self, node: *mut T, free: unsafe fn(*mut ())) {
        let retired = Retired { node: node.cast(), free, epoch: 0 };
        // SAFETY: a handle holds its place.
        unsafe { self.thread.place.with(|garbage| garbage.push(retired)) };
        self.fresh += 1;
        self.due = self.fresh >= BATCH.max(2 * PROTECTED * self.domain.threads.len());
    }

    #[cold]
    fn collect(&mut self) {
        (self.fresh, self.due) = (0, false);
        fence(SeqCst); // F
        let all = self.domain.threads.iter().flat_map(|t| &t.protected);
        let named: Vec<*mut ()> = all.map(|hazard| hazard.load(Acquire)).collect(); // E2
        // SAFETY: a handle holds its place.
        let free: Vec<Retired> = unsafe {
            self.thread.place.with(|garbage| garbage.extract_if(.., |r| !named.contains(&r.node)).collect())
        };
        // After the access to the place has ended: freeing may run foreign code.
        exhaust(free.into_iter().map(Retired::free));
    }

    fn garbage(&self) -> usize {
        // SAFETY: a handle holds its place, and is not `Sync`: what changes the garbage takes `&mut self`.
        unsafe { self.thread.place.len() }
    }
}

impl Drop for HazardHandle<'_> {
    fn drop(&mut self) {
        self.thread.place.give();
    }
}

impl fmt::Debug for Hazard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hazard { .. }")
    }
}
impl fmt::Debug for HazardHandle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HazardHandle { .. }")
    }
}

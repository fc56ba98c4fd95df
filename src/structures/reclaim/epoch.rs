//! Epoch-based reclamation: a reader says that it is inside, and garbage waits until everybody who could have seen it has left.
//!
//! # States of a place
//! | `state` | meaning |
//! |---|---|
//! | 0 | its thread is outside |
//! | `2e + 1` | its thread is inside, and saw epoch `e` when it went in |
//!
//! The global epoch moves from `g` to `g + 1` only if every thread inside has announced `g`. What a thread announces may be old, since
//! it may be stopped between its look at the epoch and its announcement; that does no harm but to stop the epoch. A retired node is
//! stamped with a *second* look, after the announcement: while its thread is inside, the epoch is the stamp `e` or `e + 1`, and
//! cannot reach `e + 2` before the unlinking is seen by all. Who may have seen the node has announced `e + 1` at the latest, and has left when
//! the epoch is `e + 3`. (With the first look as stamp, a node could be freed under a reader: the model found it, in execution
//! 5,170.) A stamp behind a fence of its own would save one epoch of waiting and cost a fence for each node.
//!
//! # Edges
//! - **E1** the place: see `place.rs`.
//! - **E2** the Release of `state`, in leave *and in enter*, -> collect's Acquire: what was done inside before (unlinking as a writer,
//!   reading as a reader) is over before anything is freed. In enter too: a collector that looks late sees only the next
//!   announcement, and a plain store does not pass on what the store before it released.
//! - **E3** the Release of a new `epoch` -> the fences of enter and collect, which come after their looks at it: what was unlinked
//!   in the epochs before, to readers that come later.
//! - **F** enter's fence against collect's: either collect sees that the thread is inside, or the thread sees all that was unlinked
//!   before (store buffering: each writes its own word, then looks at the other's).
//!
//! # Progress
//! Readers wait-free: enter and leave are a few instructions, `protect` is a plain load. Reclamation is **blocking**: one thread that
//! stays inside, descheduled or asleep, stops all freeing in the domain; the garbage is then unbounded.
//!
//! # Limits
//! `collect` looks at every place: linear in the handles. The epoch counts to 2^63 and is not expected to come round.
//!
//! # Source
//! K. Fraser, "Practical lock-freedom" (2004), 5.2.3; the pinning fence as in the crate crossbeam-epoch.

use super::place::{Place, Retired};
use super::{Handle, Reclaim, exhaust};
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use crate::structures::sync::atomic::{AtomicPtr, AtomicUsize, fence};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

/// Retired nodes between two attempts to free: an attempt costs a fence and a look at every place.
const BATCH: usize = 64;
/// Epochs that a node waits.
const WAIT: usize = 3;

/// The domain. See the [module](self).
pub struct Epoch {
    epoch: AtomicUsize,
    threads: Box<[Thread]>,
}

/// On lines of its own: each enter writes it.
#[repr(align(128))]
struct Thread {
    /// 0, or `2e + 1`: the table above.
    state: AtomicUsize,
    place: Place,
}

/// One thread's access to an [`Epoch`].
pub struct EpochHandle<'d> {
    domain: &'d Epoch,
    thread: &'d Thread,
    /// Retired since the last attempt to free.
    fresh: usize,
    /// The next leaving is to free. Only retiring sets it, so that one who only reads never runs what a freeing runs.
    due: bool,
    _one_thread_at_a_time: PhantomData<Cell<()>>,
}

// SAFETY: the head of the file: a node is freed three epochs after its retirement, when all that could reach it have left.
unsafe impl Reclaim for Epoch {
    const NAME: &'static str = "epoch";
    type Handle<'d> = EpochHandle<'d>;

    fn new(handles: usize) -> Self {
        assert!(handles > 0, "a domain without handles is of no use");
        let thread = |_| Thread { state: AtomicUsize::new(0), place: Place::new() };
        Self { epoch: AtomicUsize::new(0), threads: (0..handles).map(thread).collect() }
    }

    fn handle(&self) -> Option<EpochHandle<'_>> {
        let thread = self.threads.iter().find(|t| t.place.take())?;
        // What the handle before left counts: else handles that live shortly would never free anything.
        // SAFETY: we have just taken the place.
        let fresh = unsafe { thread.place.len() };
        Some(EpochHandle { domain: self, thread, fresh, due: false, _one_thread_at_a_time: PhantomData })
    }
}

impl Epoch {
    /// Moves the epoch on if nobody is inside an older one; what it is now, as far as we know.
    fn advance(&self) -> usize {
        let now = self.epoch.load(Relaxed); // E3 by the fence
        fence(SeqCst); // F
        for thread in &self.threads {
            let state = thread.state.load(Acquire); // E2
            if state != 0 && state != 2 * now + 1 {
                return now;
            }
        }
        // A compare-exchange and not a store: a thread that was stopped here for long must not turn the epoch back.
        match self.epoch.compare_exchange(now, now + 1, Release, Relaxed) {
            Ok(_) => now + 1, // E3
            Err(_) => now,
        }
    }
}

impl Handle for EpochHandle<'_> {
    #[inline]
    unsafe fn enter(&mut self) {
        let epoch = self.domain.epoch.load(Relaxed); // E3 by the fence
        self.thread.state.store(2 * epoch + 1, Release); // E2, for the time inside before this one
        fence(SeqCst); // F
    }

    #[inline]
    unsafe fn protect<T>(&mut self, _place: usize, source: &AtomicPtr<T>) -> *mut T {
        source.load(Acquire) // the structure's own edge: the node is whole
    }

    #[inline]
    unsafe fn leave(&mut self) {
        self.thread.state.store(0, Release); // E2
        if self.due {
            self.collect();
        }
    }

    unsafe fn retire<T>(&mut self, node: *mut T, free: unsafe fn(*mut ())) {
        let epoch = self.domain.epoch.load(Relaxed); // after F: see the head of the file
        let retired = Retired { node: node.cast(), free, epoch };
        // SAFETY: a handle holds its place.
        unsafe { self.thread.place.with(|garbage| garbage.push(retired)) };
        self.fresh += 1;
        self.due = self.fresh >= BATCH;
    }

    #[cold]
    fn collect(&mut self) {
        (self.fresh, self.due) = (0, false);
        let now = self.domain.advance();
        // SAFETY: a handle holds its place.
        let old: Vec<Retired> = unsafe {
            self.thread.place.with(|garbage| garbage.extract_if(.., |r| r.epoch + WAIT <= now).collect())
        };
        // After the access to the place has ended: freeing may run foreign code.
        exhaust(old.into_iter().map(Retired::free));
    }

    fn garbage(&self) -> usize {
        // SAFETY: a handle holds its place, and is not `Sync`: what changes the garbage takes `&mut self`.
        unsafe { self.thread.place.len() }
    }
}

impl Drop for EpochHandle<'_> {
    fn drop(&mut self) {
        self.thread.place.give();
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Epoch { .. }")
    }
}
impl fmt::Debug for EpochHandle<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EpochHandle { .. }")
    }
}

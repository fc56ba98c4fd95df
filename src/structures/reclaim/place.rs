//! A place in a domain: one handle at a time, and the garbage that it leaves behind.
//!
//! # Edges
//! - **E1** a dropped handle's Release of `taken` -> the next one's Acquire: the place with its garbage.
//!
//! # Progress
//! Wait-free.

use super::exhaust;
use crate::structures::sync::atomic::AtomicBool;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::cell::UnsafeCell;

/// A retired node, its type forgotten.
pub(super) struct Retired {
    pub(super) node: *mut (),
    pub(super) free: unsafe fn(*mut ()),
    /// Of the epoch scheme: when.
    pub(super) epoch: usize,
}

impl Retired {
    pub(super) fn free(self) {
        // SAFETY: `retire`'s caller promised that this may be done once, by any thread; `self` is used up.
        unsafe { (self.free)(self.node) }
    }
}

/// A place for one handle, and its garbage.
pub(super) struct Place {
    taken: AtomicBool,
    garbage: UnsafeCell<Vec<Retired>>,
}

// SAFETY: `garbage` is touched only by whoever holds the place; what is in it may be freed on any thread.
unsafe impl Send for Place {}
// SAFETY: as above; E1 orders one holder after the other.
unsafe impl Sync for Place {}

impl Place {
    pub(super) fn new() -> Self {
        Self { taken: AtomicBool::new(false), garbage: UnsafeCell::new(Vec::new()) }
    }

    /// Takes the place, if it is free.
    pub(super) fn take(&self) -> bool {
        self.taken.compare_exchange(false, true, Acquire, Relaxed).is_ok() // E1
    }

    /// Gives it back.
    pub(super) fn give(&self) {
        self.taken.store(false, Release); // E1
    }

    /// The garbage, for the holder of the place.
    ///
    /// # Safety
    /// The place is held by the caller, who does nothing else with it meanwhile.
    pub(super) unsafe fn with<R>(&self, f: impl FnOnce(&mut Vec<Retired>) -> R) -> R {
        // SAFETY: the holder is alone with it, as the caller promises, and `f` gets no way to come back here.
        self.garbage.with_mut(|garbage| f(unsafe { &mut *garbage }))
    }

    /// How much garbage there is. Only a look: it may stand beside other looks.
    ///
    /// # Safety
    /// The place is held by the caller, who does not change the garbage meanwhile.
    pub(super) unsafe fn len(&self) -> usize {
        // SAFETY: nobody else has the place, and its holder does not write, as the caller promises.
        self.garbage.with(|garbage| unsafe { &*garbage }.len())
    }
}

impl Drop for Place {
    /// The end of the domain: nobody can be inside.
    fn drop(&mut self) {
        exhaust(std::mem::take(self.garbage.exclusive()).into_iter().map(Retired::free));
    }
}

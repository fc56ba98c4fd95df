//! Never: what is retired stays for ever.
//!
//! The ceiling of speed that the other schemes are measured against, and the right answer for what is retired a bounded
//! number of times in a program's life.
//!
//! # Edges
//! None of its own.
//!
//! # Progress
//! Wait-free.
//!
//! # Limits
//! Memory grows with every retirement, and is not given back when the domain is dropped: values in retired nodes are never
//! dropped. There is no limit to the handles.

use super::{Handle, Reclaim};
use crate::structures::sync::atomic::AtomicPtr;
use crate::structures::sync::atomic::Ordering::Acquire;
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

/// The domain. See the [module](self).
pub struct Leak(());

/// One thread's access to a [`Leak`].
pub struct LeakHandle {
    leaked: usize,
    _one_thread_at_a_time: PhantomData<Cell<()>>,
}

// SAFETY: nothing is ever freed, and it says so.
unsafe impl Reclaim for Leak {
    const NAME: &'static str = "leak";
    type Handle<'d> = LeakHandle;

    fn new(_handles: usize) -> Self {
        Self(())
    }

    fn handle(&self) -> Option<LeakHandle> {
        Some(LeakHandle { leaked: 0, _one_thread_at_a_time: PhantomData })
    }
}

impl Handle for LeakHandle {
    #[inline]
    unsafe fn enter(&mut self) {}

    #[inline]
    unsafe fn protect<T>(&mut self, _place: usize, source: &AtomicPtr<T>) -> *mut T {
        source.load(Acquire) // the structure's own edge: the node is whole
    }

    #[inline]
    unsafe fn leave(&mut self) {}

    unsafe fn retire<T>(&mut self, _node: *mut T, _free: unsafe fn(*mut ())) {
        self.leaked += 1;
    }

    fn collect(&mut self) {}

    fn garbage(&self) -> usize {
        self.leaked
    }
}

impl fmt::Debug for Leak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leak")
    }
}
impl fmt::Debug for LeakHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LeakHandle({} leaked)", self.leaked)
    }
}

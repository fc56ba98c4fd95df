//! The machine that the hand-written structures run on: atomics, cells, spinning, threads, futex.
//!
//! A structure imports nothing but `crate::structures::sync`. Here that is the *std face*: std's own types under one roof, at no cost
//! (the newtypes are transparent, every method is inlined away). The tests include the same structure files a second and a
//! third time with another `crate::structures::sync`:
//!
//! | face | file | what it adds |
//! |---|---|---|
//! | std | `src/structures/sync.rs` | nothing |
//! | chaos | `tests/chaos/sync.rs` | real threads, random pauses at each step, cells that notice an overlap |
//! | modelled | `tests/model/sync.rs` | loom: every interleaving and every value that a load may return; ordering mutants |
//!
//! What a structure must do so that all three work: no `cfg`, no names from elsewhere in the crate, no `const fn new` but by
//! `constructor!` (the modelled atomics cannot be made in a constant), and a guard holds the cell's tracked pointer for as long as
//! it lives.

/// A function that is `const` on this face, and an ordinary one on those whose atomics and cells can't be made in a constant.
macro_rules! constructor {
    ($(#[$about:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$about])* $vis const fn $($rest)* };
}
pub(crate) use constructor;

/// Atomics and fences: std's.
pub mod atomic {
    pub use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};
}

/// Spinning.
pub mod hint {
    pub use std::hint::spin_loop;

    /// How often a lock looks again before it sleeps, in turns of [`spin_loop`].
    ///
    /// 100 turns are a few microseconds: about what a sleep and a wake-up cost, so spinning at most doubles a wait. It lives
    /// in the face because a model has to shrink it: each turn multiplies the executions and shows nothing new.
    pub const SPIN_LIMIT: u32 = 100;

    /// Over how many words a fair structure spreads the threads that sleep in it, so that a wake-up reaches few wrong ones.
    ///
    /// One cache line of words. It lives in the face because each modelled word costs time in every execution.
    pub const SLEEP_WORDS: usize = 16;
}

/// Threads and parking: std's; and a number for each thread.
pub mod thread {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    pub use std::thread::{JoinHandle, Thread, current, park, spawn, yield_now};

    /// The number of the calling thread: 0, 1, 2 ... in the order in which threads first ask, never given out again.
    ///
    /// After the first time one read of a thread-local word, without a check for its destruction (it has none).
    #[inline]
    pub fn number() -> usize {
        const NONE: usize = usize::MAX;
        thread_local! {
            static NUMBER: Cell<usize> = const { Cell::new(NONE) };
        }
        #[cold]
        fn next() -> usize {
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            let number = NEXT.fetch_add(1, Relaxed); // Relaxed: only that no two threads get the same one
            NUMBER.set(number);
            number
        }
        match NUMBER.get() {
            NONE => next(),
            number => number,
        }
    }

    /// How many threads can run at once, as far as the system tells; 1 if it doesn't.
    pub fn parallelism() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }
}

#[path = "sync/time.rs"]
pub mod time;

#[cfg_attr(any(target_os = "linux", target_os = "android"), path = "sync/futex_linux.rs")]
#[cfg_attr(not(any(target_os = "linux", target_os = "android")), path = "sync/futex_table.rs")]
pub mod futex;

/// Cells whose accesses have a beginning and an end.
///
/// std's `UnsafeCell::get` gives a bare pointer; nobody can tell when its use is over. Here it gives a pointer *object*, and
/// the access lasts as long as the object: on this face that is free, on the others an overlap of accesses is a failed test.
pub mod cell {
    use std::fmt;

    /// A place that may change behind a shared reference; who may touch it when is the structure's affair.
    #[repr(transparent)]
    pub struct UnsafeCell<T: ?Sized>(std::cell::UnsafeCell<T>);

    /// A shared access to an [`UnsafeCell`], from its creation until it is dropped.
    #[repr(transparent)]
    pub struct ConstPtr<T: ?Sized>(*const T);

    /// An exclusive access to an [`UnsafeCell`], from its creation until it is dropped.
    #[repr(transparent)]
    pub struct MutPtr<T: ?Sized>(*mut T);

    impl<T> UnsafeCell<T> {
        /// A cell with `value` in it.
        #[inline(always)]
        pub const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// The value; owning the cell excludes everybody else.
        #[inline(always)]
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        /// The value by the borrow checker's leave: `&mut self` excludes everybody else.
        #[inline(always)]
        pub fn exclusive(&mut self) -> &mut T {
            self.0.get_mut()
        }

        /// Begins a shared access.
        #[inline(always)]
        pub fn get(&self) -> ConstPtr<T> {
            ConstPtr(self.0.get())
        }

        /// Begins an exclusive access.
        #[inline(always)]
        pub fn get_mut(&self) -> MutPtr<T> {
            MutPtr(self.0.get())
        }

        /// A shared access that lasts for the call of `f`. The pointer must not leave `f`.
        #[inline(always)]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            f(self.0.get())
        }

        /// An exclusive access that lasts for the call of `f`. The pointer must not leave `f`.
        #[inline(always)]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            f(self.0.get())
        }
    }

    impl<T: ?Sized> ConstPtr<T> {
        /// The value.
        /// # Safety
        /// The cell is alive, and nobody writes to it while the reference lives.
        #[inline(always)]
        pub unsafe fn deref(&self) -> &T {
            // SAFETY: the pointer came from a cell, so it is aligned and not null; the rest is the caller's promise.
            unsafe { &*self.0 }
        }
    }

    impl<T: ?Sized> MutPtr<T> {
        /// The value, to read.
        /// # Safety
        /// The cell is alive, and nobody else touches it while the reference lives.
        #[inline(always)]
        pub unsafe fn deref(&self) -> &T {
            // SAFETY: the pointer came from a cell, so it is aligned and not null; the rest is the caller's promise.
            unsafe { &*self.0 }
        }

        /// The value, to write.
        /// # Safety
        /// The cell is alive, and nobody else touches it while the reference lives.
        #[inline(always)]
        pub unsafe fn deref_mut(&mut self) -> &mut T {
            // SAFETY: the pointer came from a cell, so it is aligned and not null; the rest is the caller's promise.
            unsafe { &mut *self.0 }
        }
    }

    impl<T: ?Sized> fmt::Debug for UnsafeCell<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("UnsafeCell { .. }")
        }
    }
    impl<T: ?Sized> fmt::Debug for ConstPtr<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("ConstPtr { .. }")
        }
    }
    impl<T: ?Sized> fmt::Debug for MutPtr<T> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("MutPtr { .. }")
        }
    }
}

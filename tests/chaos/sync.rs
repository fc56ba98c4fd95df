//! The chaotic face of `crate::sync`: real atomics and threads, with a random pause before each step; cells that count who
//! is inside; a futex that sometimes wakes for no reason, on the table that systems without a futex use.

#[path = "../../src/structures/sync/futex_table.rs"]
mod futex_table;
#[path = "../../src/structures/sync/time.rs"]
pub mod time;

/// Not `const`, though it could be: no structure may need it.
#[allow(unused_macros, reason = "a face has all its names, whatever part the structures use")]
macro_rules! constructor {
    ($(#[$about:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$about])* $vis fn $($rest)* };
}
pub(crate) use constructor;

/// When to pause, and for how long.
pub mod chaos {
    use std::cell::{Cell, RefCell};
    use std::hint::spin_loop;
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    use std::sync::mpsc::{Receiver, Sender};
    use std::thread::yield_now;

    static THREADS: AtomicU64 = AtomicU64::new(0);
    static SEED: AtomicU64 = AtomicU64::new(0);
    thread_local! { static STATE: Cell<u64> = const { Cell::new(0) }; }

    /// Starts a round: this thread is its first. Rounds of two tests at once share the thread count, which costs them
    /// nothing but exact repetition.
    pub fn begin(seed: u64) {
        SEED.store(seed, Relaxed);
        THREADS.store(1, Relaxed);
        enter(seed, 0);
    }

    /// What a new thread needs to have pauses of its own: made by its parent, so that it does not depend on who runs first.
    pub(super) fn next() -> (u64, u64) {
        (SEED.load(Relaxed), THREADS.fetch_add(1, Relaxed))
    }

    pub(super) fn enter(seed: u64, thread: u64) {
        // splitmix64 (Steele, Lea, Flood 2014): neighbouring seeds give unrelated streams.
        let mut z = seed.wrapping_add((thread + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        STATE.set((z ^ (z >> 31)) | 1);
    }

    /// The next random number of this thread: xorshift64 (Marsaglia 2003).
    fn random() -> u64 {
        let mut x = STATE.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        STATE.set(x);
        x >> 32 // the low bits are the weaker ones
    }

    /// A thread that will be stopped.
    struct Stop {
        left: u64,
        tell: Sender<bool>,
        go_on: Receiver<()>,
    }
    thread_local! { static STOP: RefCell<Option<Stop>> = const { RefCell::new(None) }; }

    /// Stops this thread before its step number `left` from now: it tells `true` and sleeps until the sender of `go_on` is dropped.
    pub fn stop_before(left: u64, tell: Sender<bool>, go_on: Receiver<()>) {
        STOP.set(Some(Stop { left, tell, go_on }));
    }

    /// True once in `n` times.
    pub(super) fn once_in(n: u64) -> bool {
        random().is_multiple_of(n)
    }

    /// One step in eight waits a little; one in 128 long enough for the others to do a whole operation; one in 32 lets
    /// another thread have the core, without which one core would show next to nothing.
    pub(super) fn step() {
        let due = STOP.try_with(|stop| match &mut *stop.borrow_mut() {
            Some(stop) if stop.left > 0 => {
                stop.left -= 1;
                None
            }
            stop => stop.take(),
        });
        if let Ok(Some(stop)) = due {
            let _ = stop.tell.send(true);
            let _ = stop.go_on.recv(); // an error if the other end is dropped: to go on as well
        }
        if once_in(128) {
            (0..random() % 4096).for_each(|_| spin_loop());
        } else if once_in(32) {
            yield_now();
        } else if once_in(8) {
            (0..random() % 256).for_each(|_| spin_loop());
        }
    }
}

pub mod atomic {
    use super::chaos::{once_in, step};
    use std::sync::atomic as real;
    pub use std::sync::atomic::Ordering;

    pub fn fence(o: Ordering) {
        step();
        real::fence(o);
    }

    macro_rules! word {
        ($name:ident $(<$t:ident>)?, $value:ty) => {
            pub struct $name $(<$t>)? (pub(super) real::$name $(<$t>)?);
            impl $(<$t>)? $name $(<$t>)? {
                pub fn new(value: $value) -> Self {
                    Self(real::$name::new(value))
                }
                pub fn into_inner(self) -> $value {
                    self.0.into_inner()
                }
                pub fn load(&self, o: Ordering) -> $value {
                    step();
                    self.0.load(o)
                }
                pub fn store(&self, value: $value, o: Ordering) {
                    step();
                    self.0.store(value, o);
                }
                pub fn swap(&self, value: $value, o: Ordering) -> $value {
                    step();
                    self.0.swap(value, o)
                }
                pub fn compare_exchange(&self, e: $value, n: $value, s: Ordering, f: Ordering) -> Result<$value, $value> {
                    step();
                    self.0.compare_exchange(e, n, s, f)
                }
                pub fn compare_exchange_weak(&self, e: $value, n: $value, s: Ordering, f: Ordering) -> Result<$value, $value> {
                    step();
                    if once_in(8) {
                        return Err(self.0.load(f)); // a weak one may fail for no reason
                    }
                    self.0.compare_exchange_weak(e, n, s, f)
                }
            }
        };
    }
    word!(AtomicBool, bool);
    word!(AtomicPtr<T>, *mut T);
    word!(AtomicU32, u32);
    word!(AtomicU64, u64);
    word!(AtomicUsize, usize);

    macro_rules! arithmetic {
        ($name:ident, $value:ty, $($method:ident),*) => {
            impl $name {
                $(pub fn $method(&self, value: $value, o: Ordering) -> $value {
                    step();
                    self.0.$method(value, o)
                })*
            }
        };
    }
    arithmetic!(AtomicU32, u32, fetch_add, fetch_sub, fetch_and, fetch_or);
    arithmetic!(AtomicU64, u64, fetch_add, fetch_sub, fetch_and, fetch_or);
    arithmetic!(AtomicUsize, usize, fetch_add, fetch_sub, fetch_and, fetch_or);
}

pub mod futex {
    use super::atomic::AtomicU32;
    use super::chaos::{once_in, step};
    use super::futex_table as real;
    use super::time::Deadline;

    pub fn wait(word: &AtomicU32, expected: u32) {
        step();
        if !once_in(8) {
            real::wait(&word.0, expected);
        }
    }
    pub fn wait_until(word: &AtomicU32, expected: u32, deadline: &Deadline) -> bool {
        step();
        once_in(8) || real::wait_until(&word.0, expected, deadline)
    }
    pub fn wake_one(word: &AtomicU32) {
        step();
        real::wake_one(&word.0);
    }
    pub fn wake_all(word: &AtomicU32) {
        step();
        real::wake_all(&word.0);
    }
}

pub mod hint {
    /// Few, so that sleeping is common.
    pub const SPIN_LIMIT: u32 = 3;

    /// Few, so that sleepers meet on a word.
    pub const SLEEP_WORDS: usize = 2;

    pub fn spin_loop() {
        super::chaos::step();
        std::hint::spin_loop();
    }
}

pub mod thread {
    use super::chaos::{enter, next, step};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    pub use std::thread::{JoinHandle, Thread, current};

    /// As on the std face; this face needs nothing of the library, so that a sanitizer's build is one file.
    pub fn number() -> usize {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! { static NUMBER: usize = NEXT.fetch_add(1, Relaxed); }
        NUMBER.with(|number| *number)
    }

    /// Few, so that readers meet in a slot.
    pub fn parallelism() -> usize {
        2
    }

    pub fn spawn<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
        let (seed, thread) = next();
        std::thread::spawn(move || {
            enter(seed, thread);
            f()
        })
    }
    pub fn park() {
        step();
        std::thread::park();
    }
    pub fn yield_now() {
        step();
        std::thread::yield_now();
    }
}

/// Cells that notice an overlap: what loom's cells do by logic, these do by counting.
pub mod cell {
    use super::chaos::step;
    use std::sync::atomic::{AtomicIsize, Ordering::Relaxed};

    pub struct UnsafeCell<T: ?Sized> {
        /// Readers inside, or -1 for a writer. Relaxed, so that it gives the structure under test no order for free.
        inside: AtomicIsize,
        value: std::cell::UnsafeCell<T>,
    }
    pub struct ConstPtr<T: ?Sized> {
        value: *const T,
        inside: *const AtomicIsize,
    }
    pub struct MutPtr<T: ?Sized> {
        value: *mut T,
        inside: *const AtomicIsize,
    }

    impl<T> UnsafeCell<T> {
        pub fn new(value: T) -> Self {
            Self { value: std::cell::UnsafeCell::new(value), inside: AtomicIsize::new(0) }
        }
        pub fn into_inner(self) -> T {
            assert_eq!(self.inside.into_inner(), 0, "somebody is inside the cell that is taken apart");
            self.value.into_inner()
        }
    }

    impl<T: ?Sized> UnsafeCell<T> {
        pub fn exclusive(&mut self) -> &mut T {
            assert_eq!(*self.inside.get_mut(), 0, "somebody is inside the cell that is held exclusively");
            self.value.get_mut()
        }
        pub fn get(&self) -> ConstPtr<T> {
            let before = self.inside.fetch_update(Relaxed, Relaxed, |n| (n >= 0).then_some(n + 1));
            assert!(before.is_ok(), "a reader and a writer inside the cell");
            step();
            ConstPtr { value: self.value.get(), inside: &raw const self.inside }
        }
        pub fn get_mut(&self) -> MutPtr<T> {
            let before = self.inside.compare_exchange(0, -1, Relaxed, Relaxed);
            assert!(before.is_ok(), "a writer and somebody else inside the cell");
            step();
            MutPtr { value: self.value.get(), inside: &raw const self.inside }
        }
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            let access = self.get();
            f(access.value)
        }
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            let access = self.get_mut();
            f(access.value)
        }
    }

    impl<T: ?Sized> ConstPtr<T> {
        /// # Safety
        /// As on the std face.
        pub unsafe fn deref(&self) -> &T {
            step();
            // SAFETY: the caller's promise.
            unsafe { &*self.value }
        }
    }
    impl<T: ?Sized> MutPtr<T> {
        /// # Safety
        /// As on the std face.
        pub unsafe fn deref(&self) -> &T {
            step();
            // SAFETY: the caller's promise.
            unsafe { &*self.value }
        }
        /// # Safety
        /// As on the std face.
        pub unsafe fn deref_mut(&mut self) -> &mut T {
            step();
            // SAFETY: the caller's promise.
            unsafe { &mut *self.value }
        }
    }

    impl<T: ?Sized> Drop for ConstPtr<T> {
        fn drop(&mut self) {
            step();
            // SAFETY: the cell outlives its accesses: whoever uses the pointer has promised that already.
            unsafe { &*self.inside }.fetch_sub(1, Relaxed);
        }
    }
    impl<T: ?Sized> Drop for MutPtr<T> {
        fn drop(&mut self) {
            step();
            // SAFETY: the cell outlives its accesses: whoever uses the pointer has promised that already.
            unsafe { &*self.inside }.store(0, Relaxed);
        }
    }
}

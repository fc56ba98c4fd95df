//! The chaotic face of `crate::sync`, as far as the lock-free structures use it: real atomics and threads, with a random pause
//! before each step, and a weak compare-exchange that fails for no reason. It widens the windows in which another thread
//! must come between; what it finds was possible without it.

/// When to pause, and for how long.
pub mod pauses {
    use std::cell::RefCell;
    use std::hint::spin_loop;
    use std::thread::yield_now;
    use underhood::measure::order::Order;

    thread_local! { static PAUSES: RefCell<Order> = RefCell::new(Order::new(0)); }

    /// Starts a lane's pauses: the same seed and lane give the same ones.
    pub fn begin(seed: u64, lane: u64) {
        PAUSES.set(Order::new(Order::new(seed.wrapping_mul(16) + lane).next_u64()));
    }

    pub(super) fn once_in(n: usize) -> bool {
        PAUSES.with_borrow_mut(|p| p.below(n) == 0)
    }

    /// One step in eight waits a little, one in 128 long enough for others to do whole operations, one in 32 lets another
    /// thread have the core, without which one core would show nothing.
    pub(super) fn step() {
        let turns = PAUSES.with_borrow_mut(|p| match p.below(128) {
            0 => p.below(4096),
            1..=4 => usize::MAX,
            5..=20 => p.below(256),
            _ => 0,
        });
        if turns == usize::MAX {
            yield_now();
        } else {
            (0..turns).for_each(|_| spin_loop());
        }
    }
}

pub mod atomic {
    use super::pauses::{once_in, step};
    use std::sync::atomic as real;
    pub use std::sync::atomic::Ordering;

    pub fn fence(o: Ordering) {
        step();
        real::fence(o);
    }

    macro_rules! word {
        ($name:ident $(<$t:ident>)?, $value:ty) => {
            pub struct $name $(<$t>)? (real::$name $(<$t>)?);
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
                    if once_in(8) { Err(self.0.load(f)) } else { self.0.compare_exchange_weak(e, n, s, f) }
                }
            }
        };
    }
    word!(AtomicBool, bool);
    word!(AtomicPtr<T>, *mut T);
    word!(AtomicU64, u64);
    word!(AtomicUsize, usize);

    macro_rules! arithmetic {
        ($name:ident, $value:ty) => {
            impl $name {
                pub fn fetch_add(&self, value: $value, o: Ordering) -> $value {
                    step();
                    self.0.fetch_add(value, o)
                }
                pub fn fetch_sub(&self, value: $value, o: Ordering) -> $value {
                    step();
                    self.0.fetch_sub(value, o)
                }
            }
        };
    }
    arithmetic!(AtomicU64, u64);
    arithmetic!(AtomicUsize, usize);
}

pub mod hint {
    pub fn spin_loop() {
        super::pauses::step();
        std::thread::yield_now();
    }
}

/// Plain cells: a torn or early access shows in the values here, and is proven absent by the models.
pub mod cell {
    use super::pauses::step;

    pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);
    pub struct ConstPtr<T>(*const T);

    impl<T> ConstPtr<T> {
        /// # Safety
        /// As on the std face.
        pub unsafe fn deref(&self) -> &T {
            // SAFETY: the caller's promise.
            unsafe { &*self.0 }
        }
    }

    impl<T> UnsafeCell<T> {
        pub fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }
        pub fn into_inner(self) -> T {
            self.0.into_inner()
        }
        pub fn exclusive(&mut self) -> &mut T {
            self.0.get_mut()
        }
        pub fn get(&self) -> ConstPtr<T> {
            step();
            ConstPtr(self.0.get())
        }
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            step();
            f(self.0.get())
        }
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            step();
            f(self.0.get())
        }
    }
}

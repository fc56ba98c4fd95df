//! The modelled face of `crate::sync`, over loom 0.7.3: every interleaving, every value that a load may return.
//!
//! What differs from plain loom, and why ([`super::guard`] notices when a reason falls away):
//! - **Shadows.** loom keeps one "last access" per word, so a thread's own load hides another thread's access before it, and
//!   "load, then store" loses executions (loom issues 166 and 392). Each word here has a private loom `Arc` per thread: a load
//!   inspects its own, a write inspects those of the others. `Arc::get_mut` is a step on which accesses depend on each other and
//!   which orders no memory, so it gives loom the missing information and nothing else. It comes right after the access, with
//!   exploring stopped: what it makes loom try, loom then tries before the access, and no point to switch at is added.
//! - **SeqCst accesses.** loom treats them as AcqRel (issue 180). A SeqCst fence after each SeqCst write, which is how x86
//!   compiles them, gives the total order back; a SeqCst *load* stays undecidable.
//! - **Parking.** loom's `unpark` orders memory even for a thread that never parks, and wakes a thread that waits in `join`
//!   (issue 249); the parker here is a token under a loom mutex.
//! - **Futex.** loom has none. A mutex and a condition variable per word; the look before the mutex is a real execution
//!   (the kernel may look that early) in which a wait returns *without* having met the waker, so that an algorithm that takes
//!   its memory order from the futex is caught. Waiters are woken in the order they came.
//!
//! Not modelled at all: load buffering, spurious failure other than `World`'s, weak fences (loom's SeqCst fence is
//! stronger than the language's).

use super::mutate;

pub mod atomic {
    use super::mutate::{self, Role, load_half, order, store_half};
    use loom::sync::atomic as model;
    use std::panic::Location;
    pub use std::sync::atomic::Ordering;
    use std::sync::atomic::Ordering::{Relaxed, SeqCst};

    pub type AtomicBool = Atomic<model::AtomicBool>;
    pub type AtomicPtr<T> = Atomic<model::AtomicPtr<T>>;
    pub type AtomicU32 = Atomic<model::AtomicU32>;
    pub type AtomicU64 = Atomic<model::AtomicU64>;
    pub type AtomicUsize = Atomic<model::AtomicUsize>;

    /// One modelled word.
    pub struct Atomic<W> {
        word: W,
        shadows: super::shadow::Shadows,
        pub(super) futex: super::futex::Sleepers,
    }

    #[track_caller]
    pub fn fence(written: Ordering) {
        let (o, _) = order(Location::caller(), Role::Fence, written);
        if o != Relaxed {
            model::fence(o);
        }
    }

    impl<W: Word> Atomic<W> {
        pub fn new(value: W::Value) -> Self {
            Self { word: W::make(value), shadows: Default::default(), futex: Default::default() }
        }

        #[track_caller]
        pub fn load(&self, written: Ordering) -> W::Value {
            let (o, _) = order(Location::caller(), Role::Load, written);
            self.load_as(o)
        }

        #[track_caller]
        pub fn store(&self, value: W::Value, written: Ordering) {
            let (o, _) = order(Location::caller(), Role::Store, written);
            self.store_as(value, o);
        }

        #[track_caller]
        pub fn swap(&self, value: W::Value, written: Ordering) -> W::Value {
            self.modify(Location::caller(), written, |w, o| w.swap(value, o), |_| value)
        }

        #[track_caller]
        pub fn compare_exchange(
            &self,
            expected: W::Value,
            new: W::Value,
            success: Ordering,
            failure: Ordering,
        ) -> Result<W::Value, W::Value> {
            self.exchange(Location::caller(), expected, new, success, failure)
        }

        #[track_caller]
        pub fn compare_exchange_weak(
            &self,
            expected: W::Value,
            new: W::Value,
            success: Ordering,
            failure: Ordering,
        ) -> Result<W::Value, W::Value> {
            if mutate::trick(|world| &mut world.spurious_failure) {
                let (failure, _) = order(Location::caller(), Role::Failure, failure);
                return Err(self.load_as(failure));
            }
            self.exchange(Location::caller(), expected, new, success, failure)
        }

        fn exchange(
            &self,
            at: &'static Location<'static>,
            expected: W::Value,
            new: W::Value,
            success: Ordering,
            failure: Ordering,
        ) -> Result<W::Value, W::Value> {
            let (success, split) = order(at, Role::Success, success);
            let (failure, _) = order(at, Role::Failure, failure);
            if split {
                let now = self.load_as(load_half(success));
                if now != expected {
                    return Err(now);
                }
                self.store_as(new, store_half(success));
                return Ok(now);
            }
            let result = self.word.compare_exchange(expected, new, success, failure);
            self.shadows.write();
            if result.is_ok() {
                trailing_fence(success);
            }
            result
        }

        /// A read-modify-write: `whole` does it in one step, `next` computes the new value for one that is split.
        fn modify(
            &self,
            at: &'static Location<'static>,
            written: Ordering,
            whole: impl FnOnce(&W, Ordering) -> W::Value,
            next: impl FnOnce(W::Value) -> W::Value,
        ) -> W::Value {
            let (o, split) = order(at, Role::ReadModifyWrite, written);
            if split {
                let old = self.load_as(load_half(o));
                self.store_as(next(old), store_half(o));
                return old;
            }
            let old = whole(&self.word, o);
            self.shadows.write();
            trailing_fence(o);
            old
        }

        pub(super) fn load_as(&self, o: Ordering) -> W::Value {
            let value = self.word.load(o);
            self.shadows.read();
            value
        }

        fn store_as(&self, value: W::Value, o: Ordering) {
            self.word.store(value, o);
            self.shadows.write();
            trailing_fence(o);
        }
    }

    fn trailing_fence(o: Ordering) {
        if o == SeqCst {
            model::fence(SeqCst);
        }
    }

    /// loom's atomics under one roof; the methods are theirs.
    pub trait Word {
        type Value: Copy + PartialEq;
        fn make(value: Self::Value) -> Self;
        fn load(&self, o: Ordering) -> Self::Value;
        fn store(&self, value: Self::Value, o: Ordering);
        fn swap(&self, value: Self::Value, o: Ordering) -> Self::Value;
        fn compare_exchange(
            &self,
            expected: Self::Value,
            new: Self::Value,
            success: Ordering,
            failure: Ordering,
        ) -> Result<Self::Value, Self::Value>;
    }

    macro_rules! word {
        ($name:ident $(<$t:ident>)?, $value:ty) => {
            impl $(<$t>)? Word for model::$name $(<$t>)? {
                type Value = $value;
                fn make(value: $value) -> Self {
                    Self::new(value)
                }
                fn load(&self, o: Ordering) -> $value {
                    self.load(o)
                }
                fn store(&self, value: $value, o: Ordering) {
                    self.store(value, o);
                }
                fn swap(&self, value: $value, o: Ordering) -> $value {
                    self.swap(value, o)
                }
                fn compare_exchange(&self, e: $value, n: $value, s: Ordering, f: Ordering) -> Result<$value, $value> {
                    self.compare_exchange(e, n, s, f)
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
        ($name:ident, $value:ty) => {
            impl Atomic<model::$name> {
                #[track_caller]
                pub fn fetch_add(&self, v: $value, o: Ordering) -> $value {
                    self.modify(Location::caller(), o, |w, o| w.fetch_add(v, o), |old| old.wrapping_add(v))
                }
                #[track_caller]
                pub fn fetch_sub(&self, v: $value, o: Ordering) -> $value {
                    self.modify(Location::caller(), o, |w, o| w.fetch_sub(v, o), |old| old.wrapping_sub(v))
                }
                #[track_caller]
                pub fn fetch_and(&self, v: $value, o: Ordering) -> $value {
                    self.modify(Location::caller(), o, |w, o| w.fetch_and(v, o), |old| old & v)
                }
                #[track_caller]
                pub fn fetch_or(&self, v: $value, o: Ordering) -> $value {
                    self.modify(Location::caller(), o, |w, o| w.fetch_or(v, o), |old| old | v)
                }
            }
        };
    }
    arithmetic!(AtomicU32, u32);
    arithmetic!(AtomicU64, u64);
    arithmetic!(AtomicUsize, usize);
}

mod shadow {
    use super::{mutate::TABLE, thread};
    use loom::sync::Arc;
    use std::cell::UnsafeCell;

    /// One loom `Arc` per thread: see the head of the file.
    pub struct Shadows(Vec<UnsafeCell<Arc<()>>>);

    // SAFETY: all modelled threads are coroutines of one OS thread.
    unsafe impl Send for Shadows {}
    // SAFETY: as above.
    unsafe impl Sync for Shadows {}

    impl Default for Shadows {
        fn default() -> Self {
            let threads = TABLE.with_borrow(|t| t.threads);
            Self((0..threads).map(|_| UnsafeCell::new(Arc::new(()))).collect())
        }
    }

    impl Shadows {
        /// This thread reads the word.
        pub fn read(&self) {
            inspect(self.0.get(thread::index()).into_iter());
        }

        /// This thread writes the word.
        pub fn write(&self) {
            let me = thread::index();
            inspect(self.0.iter().enumerate().filter(|(i, _)| *i != me).map(|(_, theirs)| theirs));
        }
    }

    fn inspect<'a>(shadows: impl Iterator<Item = &'a UnsafeCell<Arc<()>>>) {
        loom::stop_exploring();
        for shadow in shadows {
            // SAFETY: no other coroutine runs while exploring is stopped, so the reference is the only one.
            let _ = Arc::get_mut(unsafe { &mut *shadow.get() });
        }
        loom::explore();
    }
}

pub mod futex {
    use super::atomic::{AtomicU32, Ordering::Relaxed};
    use super::mutate::{self, Change, Role};
    use loom::sync::{Condvar, Mutex};
    use std::panic::Location;

    /// Who sleeps on a word.
    #[derive(Default)]
    pub(super) struct Sleepers {
        lock: Mutex<()>,
        woken: Condvar,
    }

    #[track_caller]
    pub fn wait(word: &AtomicU32, expected: u32) {
        mutate::signal(Location::caller(), Role::Wait);
        if mutate::trick(|world| &mut world.spurious_wake) || word.load_as(Relaxed) != expected {
            return;
        }
        let held = word.futex.lock.lock().unwrap();
        if word.load_as(Relaxed) == expected {
            drop(word.futex.woken.wait(held).unwrap());
        }
    }

    #[track_caller]
    pub fn wake_one(word: &AtomicU32) {
        if mutate::signal(Location::caller(), Role::WakeOne).is_none() {
            let _held = word.futex.lock.lock().unwrap();
            word.futex.woken.notify_one();
        }
    }

    #[track_caller]
    pub fn wake_all(word: &AtomicU32) {
        let change = mutate::signal(Location::caller(), Role::WakeAll);
        let _held = word.futex.lock.lock().unwrap();
        match change {
            None => word.futex.woken.notify_all(),
            Some(Change::One) => word.futex.woken.notify_one(),
            Some(_) => {}
        }
    }
}

pub mod hint {
    pub use loom::hint::spin_loop;

    /// One look before sleeping: the branch is explored, and more turns only multiply the executions.
    pub const SPIN_LIMIT: u32 = 1;
}

pub mod thread {
    use super::mutate::{self, Role, TABLE};
    use loom::sync::{Condvar, Mutex};
    #[allow(unused_imports, reason = "for structures that yield")]
    pub use loom::thread::yield_now;
    use std::cell::{Cell, RefCell};
    use std::panic::Location;
    use std::sync::Arc; // std's: the handle's own bookkeeping is not to be explored

    /// A handle to a modelled thread: a token under a mutex.
    #[derive(Clone)]
    pub struct Thread(Arc<(Mutex<bool>, Condvar)>);

    loom::thread_local! {
        static ME: RefCell<Option<Thread>> = RefCell::new(None);
        static INDEX: Cell<usize> = Cell::new(0);
    }

    pub struct JoinHandle<T> {
        inner: loom::thread::JoinHandle<T>,
        thread: Thread,
    }

    impl<T> JoinHandle<T> {
        #[track_caller]
        pub fn join(self) -> std::thread::Result<T> {
            self.inner.join()
        }
        pub fn thread(&self) -> &Thread {
            &self.thread
        }
    }

    #[track_caller]
    pub fn spawn<T: 'static>(f: impl FnOnce() -> T + 'static) -> JoinHandle<T> {
        let index = TABLE.with_borrow_mut(|t| {
            t.spawned += 1;
            assert!(t.spawned < t.threads, "the scenario spawns more threads than it says");
            t.spawned
        });
        let thread = Thread::new();
        let me = thread.clone();
        let inner = loom::thread::spawn(move || {
            INDEX.with(|i| i.set(index));
            ME.with(|own| *own.borrow_mut() = Some(me));
            f()
        });
        JoinHandle { inner, thread }
    }

    /// 0 for main, then in the order of spawning.
    pub(super) fn index() -> usize {
        INDEX.with(Cell::get)
    }

    pub fn current() -> Thread {
        ME.with(|own| own.borrow_mut().get_or_insert_with(Thread::new).clone())
    }

    pub fn park() {
        let me = current();
        let mut token = me.0.0.lock().unwrap();
        while !*token {
            token = me.0.1.wait(token).unwrap();
        }
        *token = false;
    }

    impl Thread {
        fn new() -> Self {
            Self(Arc::new((Mutex::new(false), Condvar::new())))
        }

        #[track_caller]
        pub fn unpark(&self) {
            if mutate::signal(Location::caller(), Role::Unpark).is_none() {
                *self.0.0.lock().unwrap() = true;
                self.0.1.notify_one();
            }
        }
    }
}

pub mod cell {
    use loom::cell as model;

    pub struct UnsafeCell<T>(model::UnsafeCell<T>);
    pub struct ConstPtr<T>(model::ConstPtr<T>);
    pub struct MutPtr<T>(model::MutPtr<T>);

    impl<T> UnsafeCell<T> {
        #[track_caller]
        pub fn new(value: T) -> Self {
            Self(model::UnsafeCell::new(value))
        }
        #[track_caller]
        pub fn into_inner(self) -> T {
            self.0.with_mut(|_| {}); // loom's own `into_inner` looks at nothing
            self.0.into_inner()
        }
        #[track_caller]
        pub fn exclusive(&mut self) -> &mut T {
            // SAFETY: `&mut self` lives as long as the reference. That no other thread's access is unordered with this one
            // is checked here, once.
            self.0.with_mut(|value| unsafe { &mut *value })
        }
        #[track_caller]
        pub fn get(&self) -> ConstPtr<T> {
            ConstPtr(self.0.get())
        }
        #[track_caller]
        pub fn get_mut(&self) -> MutPtr<T> {
            MutPtr(self.0.get_mut())
        }
        #[track_caller]
        pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
            self.0.with(f)
        }
        #[track_caller]
        pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
            self.0.with_mut(f)
        }
    }

    impl<T> ConstPtr<T> {
        /// # Safety
        /// As on the std face.
        pub unsafe fn deref(&self) -> &T {
            // SAFETY: the caller's promise.
            unsafe { self.0.deref() }
        }
    }

    impl<T> MutPtr<T> {
        /// # Safety
        /// As on the std face.
        pub unsafe fn deref(&self) -> &T {
            // SAFETY: the caller's promise.
            unsafe { self.0.deref() }
        }
        /// # Safety
        /// As on the std face.
        pub unsafe fn deref_mut(&mut self) -> &mut T {
            // SAFETY: the caller's promise.
            unsafe { self.0.deref() }
        }
    }
}

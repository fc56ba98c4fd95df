//! The modelled face of `crate::sync`, over loom 0.7.3: every interleaving, every value that a load may return.
//!
//! What differs from plain loom, and why ([`super::guard`] notices when a reason falls away):
//! - **Shadows.** loom keeps one "last access" per word, so a thread's own load hides another thread's access before it, and
//!   "load, then store" loses executions (loom issues 166 and 392). Each word here has a private loom `Arc` per thread: a load
//!   inspects its own, a write inspects those of the others. `Arc::get_mut` is a step on which accesses depend on each other and
//!   which orders no memory, so it gives loom the missing information and nothing else. It comes right after the access, with
//!   exploring stopped: what it makes loom try, loom then tries before the access, and no point to switch at is added. On
//!   random programs without a bound the outcomes are the same, and the executions a sixth or fewer
//!   (`guard::shadows_lose_nothing`); under a preemption bound the two searches are cut at different places.
//! - **Fences.** A fence of loom is no point at which threads switch: it comes with the access before it. So loom never tries that another
//!   thread sees a store and gets through its own fence before the storing thread's fence. All SeqCst fences inspect one `Arc` before
//!   they act, which gives loom the point and the dependence, and orders no memory. Other fences only act on their own thread: a switch
//!   before them would add no outcome. The fence after a SeqCst write stays one with it: whoever has read the write is after it in the
//!   language's order, too.
//! - **Life.** loom does not look whether an atomic word is reached by an edge from its making: each word here has a cell that its
//!   making writes and each access reads.
//! - **SeqCst accesses.** loom treats them as AcqRel (issue 180). A SeqCst fence after each SeqCst write, which is how x86
//!   compiles them, gives the total order back; a SeqCst *load* stays undecidable. [`mutate::World::leading_fence`] is the other way, with a fence
//!   before each SeqCst load as well: too strong where the store is weaker, but it settles independent readers. A structure with a
//!   SeqCst access is explored in both; what holds in both holds. Today none has one: all write fences.
//! - **Parking.** loom's `unpark` orders memory even for a thread that never parks, and wakes a thread that waits in `join`
//!   (issue 249); the parker here is a token under a loom mutex.
//! - **Futex.** loom has none. A mutex and a condition variable per word; the look before the mutex is a real execution
//!   (the kernel may look that early) in which a wait returns *without* having met the waker, so that an algorithm that takes
//!   its memory order from the futex is caught. A wait that does sleep still gets the waker's order, which a real one may not
//!   rely on: loom's condition variable gives it. Waiters are woken in the order they came.
//!
//! Not modelled at all: load buffering, and spurious failure other than `World`'s. And loom's SeqCst fence is stronger than the language's: it orders
//! *everything* before the earlier fence before everything after the later one. In the language it does so only together with a load that
//! has read the other's store. So a race that such a fence seems to prevent is not seen here. For the structures that free nodes there is
//! the scheme `Early`, which has no fence (`scenarios/reclaimed.rs`), and ThreadSanitizer, which knows none (`.ci/sanitize`).

use super::mutate;

#[path = "sync/atomic.rs"]
pub mod atomic;
#[path = "sync/shadow.rs"]
pub mod shadow;

/// An ordinary function: modelled words can't be made in a constant.
#[allow(unused_macros, reason = "a face has all its names, whatever part the structures use")]
macro_rules! constructor {
    ($(#[$about:meta])* $vis:vis fn $($rest:tt)*) => { $(#[$about])* #[track_caller] $vis fn $($rest)* };
}
pub(crate) use constructor;

/// Time-outs without time: how long a scenario waits says what happens.
pub mod time {
    use std::cell::Cell;
    use std::time::Duration;

    #[derive(Debug)]
    pub struct Deadline(Cell<Over>);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum Over {
        /// [`Duration::ZERO`]: nobody sleeps. Also what comes of a sleep that ends before anybody wakes: nothing else is changed by it.
        Now,
        /// Anything in between: the thread sleeps, and the time is over when it is woken. So a wake-up is spent on one who gives up.
        WhenWoken,
        /// [`Duration::MAX`]: it sleeps until it is woken.
        Never,
    }

    impl Deadline {
        pub fn after(timeout: Duration) -> Self {
            Self(Cell::new(match timeout {
                Duration::ZERO => Over::Now,
                Duration::MAX => Over::Never,
                _ => Over::WhenWoken,
            }))
        }

        pub(super) fn when(&self) -> Over {
            self.0.get()
        }

        pub(super) fn woken(&self) {
            if self.when() == Over::WhenWoken {
                self.0.set(Over::Now);
            }
        }
    }
}

pub mod futex {
    use super::atomic::{AtomicU32, Ordering::Relaxed};
    use super::mutate::{self, Change, Role};
    use super::thread::index;
    use super::time::{Deadline, Over};
    use loom::sync::{Condvar, Mutex};
    use std::panic::Location;

    fn wakes(change: Option<Change>) -> &'static str {
        match change {
            None => "all",
            Some(Change::One) => "one of all",
            Some(_) => "nobody",
        }
    }

    /// Who sleeps on a word.
    #[derive(Default)]
    pub(super) struct Sleepers {
        lock: Mutex<()>,
        woken: Condvar,
    }

    #[track_caller]
    pub fn wait(word: &AtomicU32, expected: u32) {
        mutate::signal(Location::caller(), Role::Wait);
        mutate::note(Location::caller(), index(), || format!("waits while {expected}"));
        if mutate::trick(|world| &mut world.spurious_wake) || word.load_as(Relaxed) != expected {
            return;
        }
        let held = word.futex.lock.lock().unwrap();
        if word.load_as(Relaxed) == expected {
            drop(word.futex.woken.wait(held).unwrap());
        }
    }

    #[track_caller]
    pub fn wait_until(word: &AtomicU32, expected: u32, deadline: &Deadline) -> bool {
        if deadline.when() == Over::Now {
            mutate::note(Location::caller(), index(), || "the time is over".to_owned());
            return false;
        }
        wait(word, expected);
        deadline.woken();
        deadline.when() != Over::Now
    }

    #[track_caller]
    pub fn wake_one(word: &AtomicU32) {
        if mutate::signal(Location::caller(), Role::WakeOne).is_none() {
            mutate::note(Location::caller(), index(), || "wakes one".to_owned());
            let _held = word.futex.lock.lock().unwrap();
            word.futex.woken.notify_one();
        }
    }

    #[track_caller]
    pub fn wake_all(word: &AtomicU32) {
        let change = mutate::signal(Location::caller(), Role::WakeAll);
        mutate::note(Location::caller(), index(), || format!("wakes {}", wakes(change)));
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

    /// Two: threads that share a word and threads that do not are both explored.
    pub const SLEEP_WORDS: usize = 2;
}

pub mod thread {
    use super::mutate::{self, Role, TABLE};
    use loom::sync::{Condvar, Mutex};
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

    pub fn number() -> usize {
        index()
    }

    /// Two: threads that share a slot and threads that do not are both explored.
    pub fn parallelism() -> usize {
        2
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

    pub struct UnsafeCell<T: ?Sized>(model::UnsafeCell<T>);
    pub struct ConstPtr<T: ?Sized>(model::ConstPtr<T>);
    pub struct MutPtr<T: ?Sized>(model::MutPtr<T>);

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
    }

    impl<T: ?Sized> UnsafeCell<T> {
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

    impl<T: ?Sized> ConstPtr<T> {
        /// # Safety
        /// As on the std face.
        pub unsafe fn deref(&self) -> &T {
            // SAFETY: the caller's promise.
            unsafe { self.0.deref() }
        }
    }

    impl<T: ?Sized> MutPtr<T> {
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

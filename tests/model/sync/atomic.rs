//! The modelled words: loom's atomics, with their orderings looked up in the mutation table. Why they have shadows, and a
//! fence after each SeqCst write: see the head of `sync.rs`.

use super::mutate::{self, Role, load_half, note, order, store_half};
use super::thread::index;
use loom::cell::UnsafeCell;
use loom::sync::atomic as model;
use std::cell::Cell;
use std::panic::Location;
pub use std::sync::atomic::Ordering;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

pub type AtomicBool = Atomic<model::AtomicBool>;
pub type AtomicPtr<T> = Atomic<model::AtomicPtr<T>>;
pub type AtomicU32 = Atomic<model::AtomicU32>;
pub type AtomicU64 = Atomic<model::AtomicU64>;
pub type AtomicUsize = Atomic<model::AtomicUsize>;

/// One modelled word.
pub struct Atomic<W: Word> {
    word: W,
    /// Written when the word is made and when it is taken apart, read by every access: a word that is reached without an edge from
    /// its making, or taken apart without one from its last use, is a race like any other. loom itself does not look.
    life: Life,
    shadows: super::shadow::Shadows,
    pub(super) futex: super::futex::Sleepers,
    /// What was written last, whatever a load may return; to mark in a drawn execution what is old.
    newest: Newest<W::Value>,
}

struct Newest<T>(Cell<T>);

// SAFETY: all modelled threads are coroutines of one OS thread.
unsafe impl<T> Send for Newest<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for Newest<T> {}

struct Life(UnsafeCell<()>);

// SAFETY: all modelled threads are coroutines of one OS thread.
unsafe impl Send for Life {}
// SAFETY: as above.
unsafe impl Sync for Life {}

#[track_caller]
pub fn fence(written: Ordering) {
    let (o, _) = order(Location::caller(), Role::Fence, written);
    note(Location::caller(), index(), || {
        if o == Relaxed { "no fence".to_owned() } else { format!("fence {o:?}") }
    });
    if o == SeqCst {
        super::shadow::meet();
    }
    if o != Relaxed {
        model::fence(o);
    }
}

impl<W: Word> Atomic<W> {
    #[track_caller]
    pub fn new(value: W::Value) -> Self {
        let life = Life(UnsafeCell::new(()));
        life.0.with_mut(|_| {});
        let newest = Newest(Cell::new(value));
        Self { word: W::make(value), life, shadows: Default::default(), futex: Default::default(), newest }
    }

    /// The last value.
    #[track_caller]
    pub fn into_inner(self) -> W::Value {
        self.life.0.with_mut(|_| {});
        self.word.load(Relaxed) // the last one: what came before is ordered before this
    }

    #[track_caller]
    pub fn load(&self, written: Ordering) -> W::Value {
        let (o, _) = order(Location::caller(), Role::Load, written);
        let value = self.load_as(o);
        note(Location::caller(), index(), || format!("load {o:?}: {value:?}{}", self.age(value)));
        value
    }

    #[track_caller]
    pub fn store(&self, value: W::Value, written: Ordering) {
        let (o, _) = order(Location::caller(), Role::Store, written);
        note(Location::caller(), index(), || format!("store {o:?}: {value:?}"));
        self.store_as(value, o);
    }

    /// Says so if a load returned something else than what was written last.
    fn age(&self, value: W::Value) -> &'static str {
        if value == self.newest.0.get() { "" } else { " (old)" }
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
        self.life.0.with(|_| {});
        let (success, split) = order(at, Role::Success, success);
        let (failure, _) = order(at, Role::Failure, failure);
        if split {
            let now = self.load_as(load_half(success));
            note(at, index(), || format!("split exchange, load: {now:?}{}", self.age(now)));
            if now != expected {
                return Err(now);
            }
            note(at, index(), || format!("split exchange, store: {new:?}"));
            self.store_as(new, store_half(success));
            return Ok(now);
        }
        let result = self.shadows.write(|| self.word.compare_exchange(expected, new, success, failure));
        match result {
            Ok(_) => {
                self.newest.0.set(new);
                note(at, index(), || format!("exchange {success:?}: {expected:?} -> {new:?}"));
                trailing_fence(success);
            }
            Err(now) => {
                note(at, index(), || format!("exchange fails, {failure:?}: {now:?}{}", self.age(now)))
            }
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
        self.life.0.with(|_| {});
        let (o, split) = order(at, Role::ReadModifyWrite, written);
        if split {
            let old = self.load_as(load_half(o));
            note(at, index(), || format!("split, load: {old:?}{}", self.age(old)));
            let new = next(old);
            note(at, index(), || format!("split, store: {new:?}"));
            self.store_as(new, store_half(o));
            return old;
        }
        let old = self.shadows.write(|| whole(&self.word, o));
        let new = next(old);
        self.newest.0.set(new);
        note(at, index(), || format!("change {o:?}: {old:?} -> {new:?}"));
        trailing_fence(o);
        old
    }

    pub(super) fn load_as(&self, o: Ordering) -> W::Value {
        self.life.0.with(|_| {});
        if o == SeqCst && mutate::leading_fence() {
            model::fence(SeqCst);
        }
        self.shadows.read(|| self.word.load(o))
    }

    fn store_as(&self, value: W::Value, o: Ordering) {
        self.life.0.with(|_| {});
        self.shadows.write(|| self.word.store(value, o));
        self.newest.0.set(value);
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
    type Value: Copy + PartialEq + std::fmt::Debug;
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

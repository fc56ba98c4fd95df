//! How the program refers to objects that may move: a [`Root`] to keep, a [`Ref`] to look.
//!
//! A `Root` names a place in its mutator's table of roots. The collector finds the table, keeps the object alive, and
//! writes the new address into the table when it moves the object. A `Ref` is the bare address; it borrows the mutator,
//! and everything that may collect takes the mutator by `&mut`, so **a `Ref` that lives across an allocation, a poll or a
//! blocking region does not compile**:
//!
//! ```compile_fail,E0502
//! fn stale(mutator: &mut underhood::heap::Mutator, root: &underhood::heap::Root) {
//!     let object = mutator.at(root);
//!     mutator.poll(); // may move the object
//!     mutator.payload(object);
//! }
//! ```
//! ```no_run
//! fn fresh(mutator: &mut underhood::heap::Mutator, root: &underhood::heap::Root) {
//!     mutator.poll();
//!     let object = mutator.at(root); // asked for again, afterwards
//!     mutator.payload(object);
//! }
//! ```
//! Why not a conservative scan of the stack, which needs no roots at all: it must not move what it finds there.
use std::{
    cell::RefCell,
    marker::PhantomData,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use mmtk::{
    util::{Address, ObjectReference},
    vm::slot::SimpleSlot,
};

use super::mutator::Mutator;

/// Roots that one mutator can hold at once. Fixed, so that the table never moves under a collector.
const MOST: usize = 8192;

/// The part of the table that the collector sees.
///
/// All accesses are relaxed: the collector reads and writes it while the mutator is at a safepoint, and the safepoint's
/// edges E1 and E2 order them. Atomics all the same, because a root may be dropped in a blocking region, that is, during
/// a collection: such a root may then stay alive until its place is used again, which is harmless.
#[derive(Debug)]
pub(super) struct Slots {
    /// Addresses of objects; 0 is a free place.
    words: Box<[AtomicUsize]>,
    /// Places in use or free again lie below.
    used: AtomicUsize,
}

impl Slots {
    pub(super) fn new() -> Self {
        Self { words: (0..MOST).map(|_| AtomicUsize::new(0)).collect(), used: AtomicUsize::new(0) }
    }

    /// What the collector is to visit.
    pub(super) fn visit(&self) -> impl Iterator<Item = SimpleSlot> + '_ {
        self.words[..self.used.load(Relaxed)].iter().map(|w| SimpleSlot::from_address(Address::from_ptr(w)))
    }
}

/// The table of one mutator. Never leaves its thread; only [`Slots`] is seen by the collector.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) slots: Arc<Slots>,
    free: RefCell<Vec<usize>>,
}

impl Roots {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { slots: Arc::new(Slots::new()), free: RefCell::new(Vec::new()) })
    }

    /// Holds an object.
    pub(super) fn hold(self: &Rc<Self>, object: ObjectReference) -> Root {
        let place = self.free.borrow_mut().pop().unwrap_or_else(|| {
            let place = self.slots.used.load(Relaxed);
            assert!(
                place < MOST,
                "a mutator holds at most {MOST} roots at once: keep objects in the slots of another object"
            );
            self.slots.used.store(place + 1, Relaxed);
            place
        });
        self.slots.words[place].store(object.to_raw_address().as_usize(), Relaxed);
        Root { roots: self.clone(), place }
    }
}

/// Keeps an object alive and finds it again after it has moved. Frees its place when dropped.
///
/// Belongs to the mutator that made it, on the thread that made it; another mutator refuses it.
#[derive(Debug)]
#[must_use = "an object without a root is garbage"]
pub struct Root {
    roots: Rc<Roots>,
    place: usize,
}

impl Root {
    /// The object's address now.
    pub(super) fn object(&self, owner: &Rc<Roots>) -> ObjectReference {
        assert!(
            Rc::ptr_eq(&self.roots, owner),
            "this root belongs to another mutator, whose objects this one must not touch"
        );
        let word = self.roots.slots.words[self.place].load(Relaxed);
        // SAFETY: a place that a `Root` names was written with the address of an object, and nobody but the collector has
        // changed it since.
        let address = unsafe { Address::from_usize(word) };
        ObjectReference::from_raw_address(address).expect("a root names an object until it is dropped")
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        self.roots.slots.words[self.place].store(0, Relaxed);
        self.roots.free.borrow_mut().push(self.place);
    }
}

/// An object at its present address, valid until the mutator may collect.
#[derive(Clone, Copy, Debug)]
pub struct Ref<'a> {
    pub(super) object: ObjectReference,
    mutator: PhantomData<&'a Mutator>,
}

impl Ref<'_> {
    pub(super) fn new(object: ObjectReference) -> Self {
        Self { object, mutator: PhantomData }
    }
}

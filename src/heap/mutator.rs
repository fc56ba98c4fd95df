//! A thread of the program that uses the heap.
use std::{
    cell::Cell,
    fmt,
    rc::Rc,
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
};

use mmtk::{AllocationSemantics, BarrierSelector, memory_manager, util::VMMutatorThread, vm::slot::Slot};

use super::{
    binding::Thread,
    object::{self, Shape, WORD},
    roots::{Ref, Root, Roots},
    start::{Heap, HeapError},
};

thread_local! {
    /// Whether this thread is a mutator.
    static ATTACHED: Cell<bool> = const { Cell::new(false) };
}

/// The heap has no room for an object, after every collection that could have made some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory {
    /// Size of the object, header included.
    pub object_bytes: usize,
    /// Size of the heap.
    pub heap_bytes: usize,
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object_bytes, heap_bytes } = self;
        write!(f, "no room for an object of {object_bytes} bytes in a heap of {} MiB", heap_bytes >> 20)
    }
}
impl std::error::Error for OutOfMemory {}

/// The calling thread's access to the heap. Stays on its thread; its objects are its own and cannot be reached from
/// another mutator, so no two threads ever touch one object (except the collector, which keeps to the barriers).
///
/// A mutator must [`poll`](Self::poll), allocate or enter a [`blocking`](Self::blocking) region now and then: until it does,
/// a collection that was asked for waits, and with it every other mutator. One that is forgotten (`mem::forget`)
/// stops the program at the next collection.
pub struct Mutator {
    heap: &'static Heap,
    thread: Arc<Thread>,
    roots: Rc<Roots>,
}

impl Mutator {
    pub(super) fn attach(heap: &'static Heap) -> Result<Self, HeapError> {
        if ATTACHED.replace(true) {
            return Err(HeapError::Attached);
        }
        let roots = Roots::new();
        let thread = Thread::new(Some(roots.slots.clone()));
        // From here on no collection can begin until this mutator polls; so it is bound and registered as one step.
        heap.safepoint.enter();
        let mutator = memory_manager::bind_mutator(&heap.mmtk, VMMutatorThread(thread.tls()));
        thread.mutator.store(Box::into_raw(mutator), Relaxed);
        heap.threads.lock().unwrap_or_else(PoisonError::into_inner).push(thread.clone());
        Ok(Self { heap, thread, roots })
    }

    /// Leaves the heap; the objects that only this mutator held become garbage. The same as dropping it.
    pub fn detach(self) {}

    /// The heap.
    pub fn heap(&self) -> &'static Heap {
        self.heap
    }

    /// MMTk's part of this mutator.
    #[allow(
        clippy::mut_from_ref,
        reason = "used for the length of one call into MMTk, and the mutator never leaves its thread"
    )]
    fn mmtk(&self) -> &mut mmtk::Mutator<super::binding::Vm> {
        // SAFETY: this is the mutator and it runs; every caller is done with the reference before it lets go of `self`.
        unsafe { self.thread.mmtk() }
    }

    fn tls(&self) -> VMMutatorThread {
        VMMutatorThread(self.thread.tls())
    }

    /// Makes an object with empty slots and a payload of zeros. Polls, and collects when the heap is full.
    ///
    /// Large objects ([`Heap::large_bytes`]) are cleared within this call, which does not poll meanwhile: a collection
    /// that another mutator asks for waits for the whole clearing.
    ///
    /// # Errors
    /// [`OutOfMemory`]; the mutator and its objects are as before.
    pub fn alloc(&mut self, slots: u32, payload_bytes: u32) -> Result<Root, OutOfMemory> {
        self.poll();
        let shape = Shape { slots, payload_bytes };
        let bytes = shape.bytes();
        self.spend(bytes);
        let semantics = if bytes >= self.heap.large_bytes {
            AllocationSemantics::Los
        } else {
            AllocationSemantics::Default
        };
        let at = memory_manager::alloc(self.mmtk(), bytes, WORD, 0, semantics);
        if at.is_zero() {
            return Err(OutOfMemory { object_bytes: bytes, heap_bytes: self.heap.config.heap_bytes });
        }
        // SAFETY: just allocated for this shape.
        let object = unsafe { shape.write(at) };
        memory_manager::post_alloc(self.mmtk(), object, bytes, semantics);
        Ok(self.roots.hold(object))
    }

    /// .NET's rule, if it is on: see [`super::LargeBudget`].
    fn spend(&mut self, bytes: usize) {
        let Some(rule) = self.heap.config.large_budget else { return };
        if bytes >= rule.threshold_bytes
            && self.heap.large_since.fetch_add(bytes, Relaxed) + bytes > rule.budget_bytes
        {
            self.heap.large_since.store(0, Relaxed);
            self.collect();
        }
    }

    /// The object that a root holds.
    #[inline]
    pub fn at(&self, root: &Root) -> Ref<'_> {
        Ref::new(root.object(&self.roots))
    }

    /// Holds an object beyond the next collection.
    #[inline]
    pub fn hold(&self, object: Ref<'_>) -> Root {
        self.roots.hold(object.object)
    }

    /// Number of slots of an object.
    #[inline]
    pub fn slots(&self, object: Ref<'_>) -> u32 {
        Shape::of(object.object).slots
    }

    /// What a slot refers to.
    ///
    /// # Panics
    /// If the object has no such slot.
    #[inline]
    pub fn load(&self, object: Ref<'_>, slot: u32) -> Option<Ref<'_>> {
        self.slot(object, slot).load().map(Ref::new)
    }

    /// Makes a slot refer to an object, or to none, with the write barrier that the collector asks for.
    ///
    /// # Panics
    /// If the object has no such slot.
    #[inline]
    pub fn store(&self, object: Ref<'_>, slot: u32, value: Option<Ref<'_>>) {
        let slot = self.slot(object, slot);
        let (from, value) = (object.object, value.map(|v| v.object));
        // A snapshot barrier tells the collector what the slot held before; an object barrier remembers the object afterwards.
        // Never both: MMTk 0.33 panics in the snapshot barrier's second half.
        if self.heap.barrier == BarrierSelector::SATBBarrier {
            memory_manager::object_reference_write_pre(self.mmtk(), from, slot, value);
        }
        let word = value.map_or(0, |v| v.to_raw_address().as_usize());
        // SAFETY: a slot is an aligned word inside a live object. Everybody accesses it as an atomic.
        let cell = unsafe { &*slot.as_address().to_ptr::<std::sync::atomic::AtomicUsize>() };
        // Release: a collector that marks while we run, and follows this reference, sees the object's header.
        cell.store(word, std::sync::atomic::Ordering::Release);
        if self.heap.barrier == BarrierSelector::ObjectBarrier {
            memory_manager::object_reference_write_post(self.mmtk(), from, slot, value);
        }
    }

    fn slot(&self, object: Ref<'_>, slot: u32) -> mmtk::vm::slot::SimpleSlot {
        let slots = self.slots(object);
        assert!(slot < slots, "slot {slot} of an object with {slots} slots");
        object::slot(object.object, slot)
    }

    /// The payload of an object, to read.
    #[inline]
    pub fn payload<'a>(&'a self, object: Ref<'a>) -> &'a [u8] {
        let shape = Shape::of(object.object);
        let at = object::payload(object.object, shape);
        // SAFETY: these bytes belong to the live object and are initialised (MMTk clears them). Only its own mutator writes
        // to it, by `payload_mut`, which `&self` excludes; nothing moves it while the reference lives (see `roots`).
        unsafe { std::slice::from_raw_parts(at.to_ptr(), shape.payload_bytes as usize) }
    }

    /// The payload of an object, to write.
    #[inline]
    pub fn payload_mut(&mut self, root: &Root) -> &mut [u8] {
        let object = root.object(&self.roots);
        let shape = Shape::of(object);
        let at = object::payload(object, shape);
        // SAFETY: as in `payload`; `&mut self` excludes every other reference into this mutator's objects.
        unsafe { std::slice::from_raw_parts_mut(at.to_mut_ptr(), shape.payload_bytes as usize) }
    }

    /// A safepoint: lets a collection happen if one is asked for. A load and a branch otherwise.
    #[inline]
    pub fn poll(&mut self) {
        if self.heap.safepoint.poll() {
            self.heap.safepoint.pause();
        }
    }

    /// Asks for a full collection and waits for it. A concurrent collector that marks already ends that instead.
    pub fn collect(&mut self) {
        self.heap.mmtk.handle_user_collection_request(self.tls(), true, true);
    }

    /// Runs something that does not use the heap and may take long (sleep, wait, read): collections do not wait for it.
    /// Returns once no collection is under way.
    pub fn blocking<R>(&mut self, f: impl FnOnce() -> R) -> R {
        /// Enters again, also when `f` panics.
        struct Outside(&'static Heap);
        impl Drop for Outside {
            fn drop(&mut self) {
                self.0.safepoint.enter();
            }
        }
        self.heap.safepoint.leave();
        let _outside = Outside(self.heap);
        f()
    }
}

impl Drop for Mutator {
    fn drop(&mut self) {
        memory_manager::destroy_mutator(self.mmtk());
        self.heap
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|t| !Arc::ptr_eq(t, &self.thread));
        // SAFETY: made by `Box::into_raw` in `attach`. Nobody else knows it any more: it is out of the list, and a collection, which
        // could have it from there, cannot begin before `leave`.
        drop(unsafe { Box::from_raw(self.thread.mutator.load(Relaxed)) });
        self.heap.safepoint.leave();
        ATTACHED.set(false);
    }
}

impl fmt::Debug for Mutator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mutator").field("heap", self.heap).finish_non_exhaustive()
    }
}

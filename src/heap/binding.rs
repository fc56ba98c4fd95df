//! What MMTk wants to know of our "virtual machine": its threads, its roots, how to stop and start it.
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, PoisonError,
        atomic::{AtomicPtr, Ordering::Relaxed},
    },
};

use mmtk::{
    Mutator, memory_manager,
    util::{
        Address, ObjectReference, OpaquePointer, VMMutatorThread, VMThread, VMWorkerThread,
        alloc::AllocationError,
    },
    vm::{
        ActivePlan, Collection, GCThreadContext, ReferenceGlue, RootsWorkFactory, Scanning, SlotVisitor,
        VMBinding,
        slot::{SimpleSlot, UnimplementedMemorySlice},
    },
};

use super::{
    object::{Model, Shape, WORD, slot},
    pauses::Kind,
    roots::Slots,
    start::Heap,
};
use crate::machine::pin_current_thread;

/// Our virtual machine, as a type for MMTk. Carries nothing: the state is in [`Heap`].
#[derive(Debug, Default)]
pub(super) struct Vm;

impl VMBinding for Vm {
    type VMObjectModel = Model;
    type VMScanning = Self;
    type VMCollection = Self;
    type VMActivePlan = Self;
    type VMReferenceGlue = Self;
    type VMSlot = SimpleSlot;
    type VMMemorySlice = UnimplementedMemorySlice;
    const MIN_ALIGNMENT: usize = WORD;
    const MAX_ALIGNMENT: usize = WORD;
    const USE_ALLOCATION_OFFSET: bool = false;
}

/// One thread that MMTk knows of. MMTk keeps its address and hands it back, for mutators and workers alike.
#[derive(Debug)]
pub(super) struct Thread {
    /// A mutator's roots; a worker has none. This is also how the two are told apart.
    pub(super) roots: Option<Arc<Slots>>,
    /// A mutator's part in MMTk; null for a worker, and until it is bound.
    pub(super) mutator: AtomicPtr<Mutator<Vm>>,
}

impl Thread {
    pub(super) fn new(roots: Option<Arc<Slots>>) -> Arc<Self> {
        Arc::new(Self { roots, mutator: AtomicPtr::default() })
    }

    /// As MMTk wants it. Good for as long as somebody holds the `Arc`.
    pub(super) fn tls(self: &Arc<Self>) -> VMThread {
        VMThread(OpaquePointer::from_address(Address::from_ptr(Arc::as_ptr(self))))
    }

    /// From what [`Self::tls`] gave.
    fn of<'a>(tls: VMThread) -> Option<&'a Self> {
        // SAFETY: MMTk knows no other value than those of `tls` and null. A mutator's `Thread` is held by its `Mutator` until MMTk
        // has forgotten it; a worker's is held by the worker itself, which never ends.
        unsafe { tls.0.to_address().to_ptr::<Self>().as_ref() }
    }

    /// MMTk's part of this mutator.
    ///
    /// # Safety
    /// The caller is this mutator while it runs, or a collector thread while the world stands still.
    #[allow(clippy::mut_from_ref, reason = "MMTk asks for it; the safepoint makes it exclusive")]
    pub(super) unsafe fn mmtk<'a>(&self) -> &'a mut Mutator<Vm> {
        // SAFETY: not null, since the mutator was bound before anybody else could know of it; alive until it detaches, which it
        // does running, so never during a collection; exclusive by the caller's promise. A mutator that waits inside an
        // allocation has such a reference on its stack as well, but does not use it before it runs again.
        unsafe { &mut *self.mutator.load(Relaxed) }
    }
}

impl ActivePlan<Vm> for Vm {
    fn is_mutator(tls: VMThread) -> bool {
        Thread::of(tls).is_some_and(|t| t.roots.is_some())
    }
    fn mutator(tls: VMMutatorThread) -> &'static mut Mutator<Vm> {
        let thread = Thread::of(tls.0).expect("a mutator is not null");
        // SAFETY: MMTk asks on behalf of the mutator itself or during a collection.
        unsafe { thread.mmtk() }
    }
    fn mutators<'a>() -> Box<dyn Iterator<Item = &'a mut Mutator<Vm>> + 'a> {
        // SAFETY: MMTk asks for all mutators only while the world stands still.
        Box::new(Heap::get().known().into_iter().map(|t| unsafe { t.mmtk() }))
    }
    fn number_of_mutators() -> usize {
        Heap::get().threads.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// MMTk asks for roots in pieces of about this many.
const ROOTS_AT_ONCE: usize = 4096;

impl Scanning<Vm> for Vm {
    fn scan_object<V: SlotVisitor<SimpleSlot>>(_: VMWorkerThread, object: ObjectReference, visitor: &mut V) {
        for number in 0..Shape::of(object).slots {
            visitor.visit_slot(slot(object, number));
        }
    }
    fn scan_roots_in_mutator_thread(
        _: VMWorkerThread,
        mutator: &'static mut Mutator<Vm>,
        mut factory: impl RootsWorkFactory<SimpleSlot>,
    ) {
        let thread = Thread::of(mutator.mutator_tls.0).expect("a mutator is not null");
        let Some(roots) = &thread.roots else { return };
        let mut slots = roots.visit().peekable();
        while slots.peek().is_some() {
            factory.create_process_roots_work(slots.by_ref().take(ROOTS_AT_ONCE).collect());
        }
    }
    /// All roots belong to mutators, but for one.
    fn scan_vm_specific_roots(_: VMWorkerThread, mut factory: impl RootsWorkFactory<SimpleSlot>) {
        factory.create_process_roots_work(vec![SimpleSlot::from_address(Address::from_ptr(
            &raw const Heap::get().keeper,
        ))]);
    }
    fn notify_initial_thread_scan_complete(_: bool, _: VMWorkerThread) {}
    fn supports_return_barrier() -> bool {
        false
    }
    fn prepare_for_roots_re_scanning() {}
}

impl Collection<Vm> for Vm {
    fn stop_all_mutators<F: FnMut(&'static mut Mutator<Vm>)>(_: VMWorkerThread, mut visit: F) {
        let heap = Heap::get();
        let asked = heap.pauses.asked(&heap.workers);
        heap.safepoint.stop();
        heap.pauses.stopped(asked, kind(heap));
        for thread in heap.known() {
            // SAFETY: the world stands still.
            visit(unsafe { thread.mmtk() });
        }
    }

    fn resume_mutators(_: VMWorkerThread) {
        let heap = Heap::get();
        heap.pauses.over(&heap.workers);
        heap.safepoint.resume();
    }

    /// Called by a mutator that asked for a collection, before the collector has stopped anybody.
    fn block_for_gc(_: VMMutatorThread) {
        let heap = Heap::get();
        heap.pauses.awaited();
        heap.safepoint.sit_out();
    }

    fn spawn_gc_thread(_: VMThread, context: GCThreadContext<Vm>) {
        let GCThreadContext::Worker(worker) = context;
        let run = move || {
            let heap = Heap::get();
            if let Some(cpu) = heap.worker_cpus.iter().cycle().nth(worker.ordinal) {
                pin_current_thread(*cpu);
            }
            heap.workers.join();
            let thread = Thread::new(None);
            let work = AssertUnwindSafe(|| {
                memory_manager::start_worker(&heap.mmtk, VMWorkerThread(thread.tls()), worker)
            });
            // MMTk's assertions panic. The world would stand still for ever without anybody saying why.
            if catch_unwind(work).is_err() {
                heap.pauses.died();
            }
        };
        std::thread::Builder::new()
            .name("collector".into())
            .spawn(run)
            .expect("the system can start a thread for each collector thread");
    }

    /// A full heap is an error of the allocation that met it, not of the program. No memory from the system for a heap of
    /// a size that was agreed beforehand is another matter: MMTk cannot go on from there.
    fn out_of_memory(_: VMThread, error: AllocationError) {
        match error {
            AllocationError::HeapOutOfMemory => {}
            AllocationError::MmapOutOfMemory => {
                panic!("the system has no memory for the heap that it was asked for")
            }
        }
    }
}

/// What the pause that begins will do.
fn kind(heap: &Heap) -> Kind {
    let plan = heap.mmtk.get_plan();
    let of_marking = plan.concurrent().and_then(|p| p.current_pause()).map(|p| p as u8);
    match of_marking {
        Some(2) => Kind::InitialMark,
        Some(3) => Kind::FinalMark,
        _ if plan.generational().is_some_and(|p| p.is_current_gc_nursery()) => Kind::Young,
        _ => Kind::Full,
    }
}

/// There are no weak references, so MMTk never asks.
impl ReferenceGlue<Vm> for Vm {
    type FinalizableType = ObjectReference;
    fn clear_referent(_: ObjectReference) {
        unreachable!("no weak references")
    }
    fn get_referent(_: ObjectReference) -> Option<ObjectReference> {
        unreachable!("no weak references")
    }
    fn set_referent(_: ObjectReference, _: ObjectReference) {
        unreachable!("no weak references")
    }
    fn enqueue_references(_: &[ObjectReference], _: VMWorkerThread) {
        unreachable!("no weak references")
    }
}

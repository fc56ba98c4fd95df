//! What an object looks like, and what MMTk is told about it.
//!
//! | word | content |
//! |---|---|
//! | 0 | the shape: number of reference slots, payload bytes (32 bits each) |
//! | 1 ... slots | references to other objects, 0 for none |
//! | then | payload: plain bytes, never looked at by the collector; padded to a whole word |
//!
//! The shape never changes, so a collector that marks while the program runs may read it at any time. When a moving plan
//! has copied an object, the forwarding pointer overwrites word 0 of the old copy: nobody asks a dead copy for its shape.
//! All mark, log and forwarding bits are beside the heap, in MMTk's side tables.
use mmtk::{
    util::{
        Address, ObjectReference,
        copy::{CopySemantics, GCWorkerCopyContext},
    },
    vm::{
        ObjectModel, VMGlobalLogBitSpec, VMLocalForwardingBitsSpec, VMLocalForwardingPointerSpec,
        VMLocalLOSMarkNurserySpec, VMLocalMarkBitSpec, slot::SimpleSlot,
    },
};

use super::binding::Vm;

/// Bytes of a word, of a slot and of the header.
pub(super) const WORD: usize = 8;
/// Some plans mark the first and the last word of an object, and these must differ.
const LEAST_BYTES: usize = 2 * WORD;

/// How an object is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) slots: u32,
    pub(super) payload_bytes: u32,
}

impl Shape {
    /// Size in the heap, header and padding included.
    pub(super) fn bytes(self) -> usize {
        (WORD + self.slots as usize * WORD + self.payload_bytes as usize)
            .next_multiple_of(WORD)
            .max(LEAST_BYTES)
    }

    /// Writes the header of a new object.
    ///
    /// # Safety
    /// `at` is the start of memory that was just allocated for an object of this shape.
    pub(super) unsafe fn write(self, at: Address) -> ObjectReference {
        // SAFETY: the caller's promise; the memory has at least LEAST_BYTES and is aligned to a word.
        unsafe { at.store(u64::from(self.slots) << 32 | u64::from(self.payload_bytes)) };
        ObjectReference::from_raw_address(at).expect("allocated memory is neither null nor unaligned")
    }

    /// The shape of a live object.
    pub(super) fn of(object: ObjectReference) -> Self {
        // SAFETY: an object reference points to a header word, which is written once, before anybody can see the object.
        let word: u64 = unsafe { object.to_raw_address().load() };
        Self { slots: (word >> 32) as u32, payload_bytes: word as u32 }
    }
}

/// The slot with this number. The caller has checked the number against the shape.
pub(super) fn slot(object: ObjectReference, number: u32) -> SimpleSlot {
    SimpleSlot::from_address(object.to_raw_address() + WORD + number as usize * WORD)
}

/// Where the payload of an object of this shape begins.
pub(super) fn payload(object: ObjectReference, shape: Shape) -> Address {
    object.to_raw_address() + WORD + shape.slots as usize * WORD
}

fn reference(at: Address) -> ObjectReference {
    ObjectReference::from_raw_address(at).expect("memory for a copy is neither null nor unaligned")
}

/// MMTk's view of our objects: a reference is the address of the header, and the header is the start.
#[derive(Debug)]
pub(super) struct Model;

impl ObjectModel<Vm> for Model {
    const GLOBAL_LOG_BIT_SPEC: VMGlobalLogBitSpec = VMGlobalLogBitSpec::side_first();
    const LOCAL_FORWARDING_POINTER_SPEC: VMLocalForwardingPointerSpec =
        VMLocalForwardingPointerSpec::in_header(0);
    const LOCAL_FORWARDING_BITS_SPEC: VMLocalForwardingBitsSpec = VMLocalForwardingBitsSpec::side_first();
    const LOCAL_MARK_BIT_SPEC: VMLocalMarkBitSpec =
        VMLocalMarkBitSpec::side_after(Self::LOCAL_FORWARDING_BITS_SPEC.as_spec());
    const LOCAL_LOS_MARK_NURSERY_SPEC: VMLocalLOSMarkNurserySpec =
        VMLocalLOSMarkNurserySpec::side_after(Self::LOCAL_MARK_BIT_SPEC.as_spec());
    const OBJECT_REF_OFFSET_LOWER_BOUND: isize = 0;
    const UNIFIED_OBJECT_REFERENCE_ADDRESS: bool = true;

    fn copy(
        from: ObjectReference,
        semantics: CopySemantics,
        worker: &mut GCWorkerCopyContext<Vm>,
    ) -> ObjectReference {
        let bytes = Shape::of(from).bytes();
        let at = worker.alloc_copy(from, bytes, WORD, 0, semantics);
        // SAFETY: `from` is a whole live object of that size, `at` is fresh memory of that size, so they do not overlap.
        unsafe {
            std::ptr::copy_nonoverlapping::<u8>(from.to_raw_address().to_ptr(), at.to_mut_ptr(), bytes)
        };
        let to = reference(at);
        worker.post_copy(to, bytes, semantics);
        to
    }

    fn copy_to(from: ObjectReference, to: ObjectReference, _region: Address) -> Address {
        let bytes = Shape::of(from).bytes();
        let at = to.to_raw_address();
        // SAFETY: `from` is a whole live object and MMTk has made room at `to`. A compacting plan slides objects down, so the
        // two may overlap; `copy` allows that.
        unsafe { std::ptr::copy::<u8>(from.to_raw_address().to_ptr(), at.to_mut_ptr(), bytes) };
        at + bytes
    }

    fn get_reference_when_copied_to(_from: ObjectReference, to: Address) -> ObjectReference {
        reference(to)
    }
    fn get_current_size(object: ObjectReference) -> usize {
        Shape::of(object).bytes()
    }
    fn get_size_when_copied(object: ObjectReference) -> usize {
        Shape::of(object).bytes()
    }
    fn get_align_when_copied(_: ObjectReference) -> usize {
        WORD
    }
    fn get_align_offset_when_copied(_: ObjectReference) -> usize {
        0
    }
    fn get_type_descriptor(_: ObjectReference) -> &'static [i8] {
        &[]
    }
    fn ref_to_object_start(object: ObjectReference) -> Address {
        object.to_raw_address()
    }
    fn ref_to_header(object: ObjectReference) -> Address {
        object.to_raw_address()
    }
    fn dump_object(_: ObjectReference) {
        // Called by MMTk's own debugging aids only; the library prints nothing.
    }
}

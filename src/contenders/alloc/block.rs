//! A block of an allocator: asked for, written into, grown, freed. Why there may be none.
use std::{alloc::Layout, fmt, mem::MaybeUninit, ptr::NonNull};

use super::Allocator;

/// Why there is no block, or none to measure with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlockError {
    /// No bytes, an alignment that is no power of two, or a size that does not fit into the address space.
    Layout {
        /// Bytes asked for.
        bytes: usize,
        /// Alignment asked for.
        align: usize,
    },
    /// There is no such allocator here.
    Absent {
        /// Which allocator.
        by: &'static str,
        /// A sentence: who is without it, and how to get it.
        why: &'static str,
    },
    /// The allocator said no.
    Refused {
        /// Which allocator.
        by: &'static str,
        /// Bytes asked for.
        bytes: usize,
    },
    /// The block begins at a wrong place.
    Misaligned {
        /// Which allocator.
        by: &'static str,
        /// The address.
        at: usize,
        /// Alignment asked for.
        align: usize,
    },
    /// The block does not hold what was written into it.
    Damaged {
        /// Which allocator.
        by: &'static str,
        /// Its size.
        bytes: usize,
    },
    /// Another allocator made the block than the adapter says.
    Foreign {
        /// The allocator that was asked.
        by: &'static str,
        /// The allocator that says "mine" to a stranger's block, or "not mine" to its own.
        says: &'static str,
    },
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layout { bytes, align } => write!(f, "no block has {bytes} bytes aligned to {align}"),
            Self::Absent { why, .. } => f.write_str(why),
            Self::Refused { by, bytes } => write!(f, "{by} refused a block of {bytes} bytes"),
            Self::Misaligned { by, at, align } => {
                write!(f, "{by}: a block at {at:#x} is not aligned to {align}")
            }
            Self::Damaged { by, bytes } => {
                write!(f, "{by}: a block of {bytes} bytes does not hold what was written")
            }
            Self::Foreign { by, says } => write!(f, "{says} disagrees that {by} made this block"),
        }
    }
}

impl std::error::Error for BlockError {}

/// A block of one allocator; dropping it frees it with that allocator.
///
/// Memory: the bytes are uninitialised, and pages that the allocator just got from the kernel are not even there
/// until they are touched.
#[derive(Debug)]
pub struct Block {
    from: &'static Allocator,
    start: NonNull<u8>,
    layout: Layout,
    /// The step of the last [`Block::touch_every`]; 0 before it.
    touched: usize,
    /// So many bytes it had then; fewer than it has now if it grew since.
    reached: usize,
    /// So many bytes from the start are initialised, whatever was touched.
    initialised: usize,
}

// SAFETY: a block owns its bytes, and `GlobalAlloc` lets any thread free what another one got: `dealloc` asks for the
// same allocator and layout, not for the same thread. The allocator itself is `Sync`.
unsafe impl Send for Block {}

impl Block {
    /// Asks for a block. See [`ALIGN`](super::ALIGN) for what the alignment decides.
    ///
    /// # Errors
    /// [`BlockError`], if the size makes no sense or the allocator refuses.
    pub fn new(from: &'static Allocator, bytes: usize, align: usize) -> Result<Self, BlockError> {
        let layout = layout(bytes, align)?;
        // SAFETY: the layout has a size above 0, which is all that `alloc` asks of its caller.
        let start = unsafe { from.imp.alloc(layout) };
        let start = NonNull::new(start).ok_or_else(|| from.refusal(bytes))?;
        Ok(Self { from, start, layout, touched: 0, reached: 0, initialised: 0 })
    }

    /// Asks for a block of zeros (`calloc`, `GlobalAlloc::alloc_zeroed`, `vec![0; n]`).
    ///
    /// # Errors
    /// As [`Block::new`].
    pub fn zeroed(from: &'static Allocator, bytes: usize, align: usize) -> Result<Self, BlockError> {
        let layout = layout(bytes, align)?;
        // SAFETY: the layout has a size above 0, which is all that `alloc_zeroed` asks of its caller.
        let start = unsafe { from.imp.alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or_else(|| from.refusal(bytes))?;
        Ok(Self { from, start, layout, touched: 0, reached: 0, initialised: bytes })
    }

    /// Makes it this much larger or smaller (`realloc`): what fits into both sizes is kept, where it lies may change.
    ///
    /// # Errors
    /// [`BlockError`], as for [`Block::new`]; the block is then as it was.
    pub fn resize(&mut self, bytes: usize) -> Result<(), BlockError> {
        let new = layout(bytes, self.layout.align())?;
        // SAFETY: `start` is a live block of this allocator with this very layout; the new size is above 0 and, as a
        // `Layout` of it exists, does not overflow when rounded up to the alignment.
        let start = unsafe { self.from.imp.realloc(self.start.as_ptr(), self.layout, bytes) };
        self.start = NonNull::new(start).ok_or_else(|| self.from.refusal(bytes))?;
        self.layout = new;
        self.initialised = self.initialised.min(bytes);
        if bytes < self.reached {
            self.touched = 0; // some of its places are gone
        }
        Ok(())
    }

    /// The same by hand: gets a block of the new size, copies what fits into both, frees the old one.
    ///
    /// # Errors
    /// As [`Block::resize`].
    pub fn resize_by_copy(&mut self, bytes: usize) -> Result<(), BlockError> {
        let mut new = Self::new(self.from, bytes, self.layout.align())?;
        let kept = bytes.min(self.bytes());
        // SAFETY: both blocks have at least `kept` bytes and are different live blocks, so they do not overlap; bytes
        // are copied as they are, initialised or not.
        unsafe { self.start.copy_to_nonoverlapping(new.start, kept) };
        new.initialised = self.initialised.min(kept);
        if bytes >= self.reached {
            (new.touched, new.reached) = (self.touched, self.reached);
        }
        *self = new; // drops the old one
        Ok(())
    }

    /// True if all of it but the places of [`Block::touch_every`] is 0. False for a block that was neither asked for as
    /// zeros nor filled, and for one that was not touched, or grew since.
    pub fn is_zero_but_touched(&self) -> bool {
        if self.initialised < self.bytes() || self.touched == 0 || self.reached < self.bytes() {
            return false;
        }
        // SAFETY: all bytes are initialised (`initialised`), belong to this block alone, and nobody writes to them for as
        // long as `&self` is borrowed; `Layout` keeps the size within `isize::MAX`.
        let bytes = unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes()) };
        let (_, before_last) = bytes.split_last().expect("a block has a size above 0");
        // All bits of a piece at once: a search that may stop at each byte takes ten times as long.
        before_last.chunks(self.touched).all(|piece| piece[1..].iter().fold(0, |all, byte| all | byte) == 0)
    }

    /// Where it begins.
    pub fn address(&self) -> usize {
        self.start.addr().get()
    }

    /// Its size in bytes, as asked for.
    pub fn bytes(&self) -> usize {
        self.layout.size()
    }

    /// Writes one byte at every `step` from the first byte on, and the last byte, so that with the page size as step
    /// every page of the block is touched. Returns the number of writes. The writes are volatile: a compiler must not
    /// drop them although nobody reads the block.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn touch_every(&mut self, step: usize) -> usize {
        self.touched = 0;
        self.touch_rest(step)
    }

    /// The same, without the places that the last one reached, if it had the same step: after growth, what is new.
    ///
    /// # Panics
    /// If `step` is 0.
    pub fn touch_rest(&mut self, step: usize) -> usize {
        assert!(step > 0, "a step of 0 never ends");
        let first = if self.touched == step { self.reached.next_multiple_of(step) } else { 0 };
        let last = self.bytes() - 1;
        let mut writes = 1;
        for offset in (first..last).step_by(step) {
            self.write(offset, mark(offset / step));
            writes += 1;
        }
        self.write(last, mark(last / step));
        (self.touched, self.reached) = (step, self.bytes());
        writes
    }

    /// True if the block holds what the touches wrote: no two places are the same memory, and nothing was lost on the
    /// way to another place. False if it was never touched, or grew since.
    pub fn holds_touch(&self) -> bool {
        let (step, last) = (self.touched, self.bytes() - 1);
        step > 0
            && self.reached == self.bytes()
            && (0..last).step_by(step).chain([last]).all(|offset| self.read(offset) == mark(offset / step))
    }

    /// The bytes, uninitialised.
    pub fn as_mut_slice(&mut self) -> &mut [MaybeUninit<u8>] {
        // Whoever writes through the slice may overwrite the marks, even with uninitialised bytes.
        (self.touched, self.initialised) = (0, 0);
        let start = self.start.as_ptr().cast::<MaybeUninit<u8>>();
        // SAFETY: the allocator gave `bytes()` bytes at `start` to this block alone; `&mut self` keeps every other
        // access out for as long as the slice lives; MaybeUninit needs no initialised bytes; `Layout` keeps the size
        // within `isize::MAX`.
        unsafe { std::slice::from_raw_parts_mut(start, self.layout.size()) }
    }

    /// Writes `byte` over the whole block and returns it, initialised.
    pub fn fill(&mut self, byte: u8) -> &mut [u8] {
        let bytes = self.as_mut_slice();
        bytes.fill(MaybeUninit::new(byte));
        self.initialised = self.bytes();
        let start = self.start.as_ptr();
        // SAFETY: the block's own bytes, all of them initialised by the lines above; `&mut self` keeps every other access
        // out for as long as the slice lives; `Layout` keeps the size within `isize::MAX`.
        unsafe { std::slice::from_raw_parts_mut(start, self.layout.size()) }
    }

    fn write(&mut self, offset: usize, byte: u8) {
        debug_assert!(offset < self.bytes());
        // SAFETY: all callers keep `offset` below `bytes()`, so the result stays inside this block's allocation.
        let place = unsafe { self.start.add(offset) };
        // SAFETY: `place` is inside the block, which is ours alone (`&mut self`) and writable; a u8 has no alignment
        // to keep.
        unsafe { place.write_volatile(byte) }
    }

    fn read(&self, offset: usize) -> u8 {
        debug_assert!(offset < self.bytes());
        // SAFETY: the only caller keeps `offset` below `bytes()`.
        let place = unsafe { self.start.add(offset) };
        // SAFETY: `touched` is the step of touches that reached the whole block and after which nobody wrote, so this
        // very offset was initialised by one of them, or copied from a place that was.
        unsafe { place.read_volatile() }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `start` came from this allocator's `alloc` with this very layout, and a block is dropped once.
        unsafe { self.from.imp.dealloc(self.start.as_ptr(), self.layout) }
    }
}

fn layout(bytes: usize, align: usize) -> Result<Layout, BlockError> {
    let layout = Layout::from_size_align(bytes, align).ok().filter(|l| l.size() > 0);
    layout.ok_or(BlockError::Layout { bytes, align })
}

/// What is written at the n-th step: neighbours differ, and 0 (fresh memory) is rare.
fn mark(n: usize) -> u8 {
    (n % 251) as u8 ^ 0x80
}

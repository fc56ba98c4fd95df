//! Allocators side by side: each one is a value that serves blocks, and none becomes the global allocator.
//!
//! That works because their symbols are prefixed (`mi_`, `_rjem_`, `sn_`) and Rust reaches each through its own
//! [`GlobalAlloc`]. Replacing the global allocator instead would need one binary an allocator, and would let the
//! harness's own small blocks disturb the state that is being measured.
//!
//! State is the trap: an allocator remembers what it served and freed before. glibc raises its mmap threshold to the
//! size of each mapped block that is freed (mallopt(3), `M_MMAP_THRESHOLD`), mimalloc keeps what it got. Measure one
//! allocator at one size in a process of its own.
use std::{
    alloc::{GlobalAlloc, Layout},
    fmt,
    mem::MaybeUninit,
    ptr::NonNull,
};

use super::alloc_here;
pub use super::alloc_here::ALLOCATORS;

/// The alignment that malloc promises on 64-bit systems: up to it a block comes from plain malloc, above it from
/// another function with other costs.
pub const ALIGN: usize = 16;

/// An allocator as a value.
pub struct Allocator {
    /// Its name as a case.
    pub name: &'static str,
    imp: &'static (dyn GlobalAlloc + Sync),
    /// Says whether a pointer lies in a block of this allocator, if it can tell that of any pointer.
    owns: Option<fn(*const u8) -> bool>,
    version: fn() -> String,
    purge: Option<fn()>,
}

impl Allocator {
    /// An allocator that is not in [`ALLOCATORS`], e.g. one that counts its calls.
    pub const fn new(name: &'static str, imp: &'static (dyn GlobalAlloc + Sync)) -> Self {
        Self::known(name, imp, None, unknown, None)
    }

    pub(super) const fn known(
        name: &'static str,
        imp: &'static (dyn GlobalAlloc + Sync),
        owns: Option<fn(*const u8) -> bool>,
        version: fn() -> String,
        purge: Option<fn()>,
    ) -> Self {
        Self { name, imp, owns, version, purge }
    }

    /// The allocator of this name, or `None` where it does not exist: there is no glibc on musl or on another system,
    /// and a build may be without jemalloc and snmalloc.
    pub fn named(name: &str) -> Option<&'static Self> {
        ALLOCATORS.iter().find(|a| a.name == name)
    }

    /// The allocator of this name.
    ///
    /// # Errors
    /// A sentence: this build is without it, and how to get it; or this system is.
    pub fn find(name: &str) -> Result<&'static Self, String> {
        Self::named(name).ok_or_else(|| alloc_here::absent(name))
    }

    /// The version that really runs, or "unknown".
    pub fn version(&self) -> String {
        (self.version)()
    }

    /// Asks it to give back to the kernel whatever it holds and does not need. Costs milliseconds to tens of them. False
    /// if it has no function for that; then nothing happened.
    pub fn purge(&self) -> bool {
        self.purge.map(|purge| purge()).is_some()
    }

    /// Why its numbers would be about the way it was built, if they would.
    pub fn slowed(&self) -> Option<String> {
        alloc_here::slowed(self.name)
    }

    /// Checks on a block of `bytes` that this adapter is what it says: writable over its whole length, aligned, owned
    /// by this allocator and by none of the others.
    ///
    /// # Errors
    /// Why nothing must be measured with it.
    pub fn check(&'static self, bytes: usize, align: usize) -> Result<(), BlockError> {
        let (by, mut block) = (self.name, Block::new(self, bytes, align)?);
        let at = block.address();
        if !at.is_multiple_of(align) {
            return Err(BlockError::Misaligned { by, at, align });
        }
        for byte in [0xa5, 0x5a] {
            if block.fill(byte).iter().any(|b| *b != byte) {
                return Err(BlockError::Damaged { by, bytes });
            }
        }
        let wrong = |a: &&Allocator| a.owns.is_some_and(|owns| owns(at as *const u8) != (a.name == by));
        match ALLOCATORS.iter().find(wrong) {
            Some(says) => Err(BlockError::Foreign { by, says: says.name }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Allocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allocator").field("name", &self.name).finish_non_exhaustive()
    }
}

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
}

// SAFETY: a block owns its bytes, and `GlobalAlloc` lets any thread free what another one got: `dealloc` asks for the
// same allocator and layout, not for the same thread. The allocator itself is `Sync`.
unsafe impl Send for Block {}

impl Block {
    /// Asks for a block. See [`ALIGN`] for what the alignment decides.
    ///
    /// # Errors
    /// [`BlockError`], if the size makes no sense or the allocator refuses.
    pub fn new(from: &'static Allocator, bytes: usize, align: usize) -> Result<Self, BlockError> {
        let layout = Layout::from_size_align(bytes, align).ok().filter(|l| l.size() > 0);
        let layout = layout.ok_or(BlockError::Layout { bytes, align })?;
        // SAFETY: the layout has a size above 0, which is all that `alloc` asks of its caller.
        let start = unsafe { from.imp.alloc(layout) };
        let start = NonNull::new(start).ok_or(BlockError::Refused { by: from.name, bytes })?;
        Ok(Self { from, start, layout, touched: 0 })
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
        assert!(step > 0, "a step of 0 never ends");
        let last = self.bytes() - 1;
        let mut writes = 1;
        for offset in (0..last).step_by(step) {
            self.write(offset, mark(offset / step));
            writes += 1;
        }
        self.write(last, mark(last / step));
        self.touched = step;
        writes
    }

    /// True if the block holds what the last [`Block::touch_every`] wrote: no two places are the same memory. False
    /// if it was never touched.
    pub fn holds_touch(&self) -> bool {
        let (step, last) = (self.touched, self.bytes() - 1);
        step > 0
            && (0..last).step_by(step).chain([last]).all(|offset| self.read(offset) == mark(offset / step))
    }

    /// The bytes, uninitialised.
    pub fn as_mut_slice(&mut self) -> &mut [MaybeUninit<u8>] {
        // Whoever writes through the slice may overwrite the marks.
        self.touched = 0;
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
        // SAFETY: the line above initialised every byte.
        unsafe { bytes.assume_init_mut() }
    }

    fn write(&mut self, offset: usize, byte: u8) {
        debug_assert!(offset < self.bytes());
        // SAFETY: both callers keep `offset` below `bytes()`, so the result stays inside this block's allocation.
        let place = unsafe { self.start.add(offset) };
        // SAFETY: `place` is inside the block, which is ours alone (`&mut self`) and writable; a u8 has no alignment
        // to keep.
        unsafe { place.write_volatile(byte) }
    }

    fn read(&self, offset: usize) -> u8 {
        debug_assert!(offset < self.bytes());
        // SAFETY: the only caller keeps `offset` below `bytes()`.
        let place = unsafe { self.start.add(offset) };
        // SAFETY: `touched` is the step of a `touch_every` after which nobody wrote, so this very offset was
        // initialised by it.
        unsafe { place.read_volatile() }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: `start` came from this allocator's `alloc` with this very layout, and a block is dropped once.
        unsafe { self.from.imp.dealloc(self.start.as_ptr(), self.layout) }
    }
}

/// What is written at the n-th step: neighbours differ, and 0 (fresh memory) is rare.
fn mark(n: usize) -> u8 {
    (n % 251) as u8 ^ 0x80
}

/// Environment variables that are set and change what these allocators do: then a number is not about the allocator
/// as people know it.
pub fn tuned_by_environment() -> Vec<String> {
    std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| tunes(name)).collect()
}

/// True if a variable of this name tunes or replaces an allocator.
pub fn tunes(name: &str) -> bool {
    let prefixes = ["MALLOC_", "MIMALLOC_", "_RJEM_MALLOC_CONF", "GLIBC_TUNABLES", "LD_PRELOAD"];
    prefixes.iter().any(|p| name.starts_with(p))
}

fn unknown() -> String {
    "unknown".into()
}

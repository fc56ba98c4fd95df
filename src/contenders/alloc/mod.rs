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
};

use crate::lab::Contender;

mod block;
mod roster;
mod threshold;
pub use self::{
    block::{Block, BlockError},
    roster::*,
    threshold::{fix_mmap_threshold, keep_what_is_freed},
};

/// The alignment that malloc promises on 64-bit systems: up to it a block comes from plain malloc, above it from
/// another function with other costs.
pub const ALIGN: usize = 16;

/// An allocator as a value, and as a contender.
///
/// It has no check that the engine would run: a check gets a block, and what an allocator served before is part of what is
/// measured. Each experiment calls [`check`](Self::check) where it does no harm.
pub struct Allocator {
    is: Contender,
    imp: &'static (dyn GlobalAlloc + Sync),
    /// Why there is no such allocator here, if there is none.
    absent: Option<&'static str>,
    /// Says whether a pointer lies in a block of this allocator, if it can tell that of any pointer.
    owns: Option<fn(*const u8) -> bool>,
    version: fn() -> String,
    purge: Option<fn()>,
    slowed: fn() -> Option<String>,
}

impl AsRef<Contender> for Allocator {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

/// Those of [`ALLOCATORS`] that are there.
pub fn here() -> impl Iterator<Item = &'static &'static Allocator> {
    ALLOCATORS.iter().filter(|a| a.absent.is_none())
}

impl Allocator {
    /// An allocator that is on no roster, e.g. one that counts its calls.
    pub const fn new(is: Contender, imp: &'static (dyn GlobalAlloc + Sync)) -> Self {
        let (version, slowed) = (|| "unknown".into(), || None);
        Self { is, imp, absent: None, owns: None, version, purge: None, slowed }
    }

    /// One that this build or this system is without: a row that says why.
    #[cfg_attr(
        all(feature = "jemalloc", feature = "snmalloc", target_env = "gnu"),
        allow(dead_code, reason = "this build has every allocator")
    )]
    const fn absent(is: Contender, why: &'static str) -> Self {
        Self { absent: Some(why), ..Self::new(is, &Nothing) }
    }

    /// Names it in records.
    pub const fn id(&self) -> &'static str {
        self.is.id
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

    /// Why there is no block.
    fn refusal(&self, bytes: usize) -> BlockError {
        let by = self.id();
        self.absent.map_or(BlockError::Refused { by, bytes }, |why| BlockError::Absent { by, why })
    }

    /// Why its numbers would be about the way it was built, if they would.
    pub fn slowed(&self) -> Option<String> {
        (self.slowed)()
    }

    /// Checks on a block of `bytes` that this adapter is what it says: writable over its whole length, aligned, owned
    /// by this allocator and by none of the others.
    ///
    /// # Errors
    /// Why nothing must be measured with it.
    pub fn check(&'static self, bytes: usize, align: usize) -> Result<(), BlockError> {
        let (by, mut block) = (self.id(), Block::new(self, bytes, align)?);
        let at = block.address();
        if !at.is_multiple_of(align) {
            return Err(BlockError::Misaligned { by, at, align });
        }
        for byte in [0xa5, 0x5a] {
            if block.fill(byte).iter().any(|b| *b != byte) {
                return Err(BlockError::Damaged { by, bytes });
            }
        }
        let wrong = |a: &&&Allocator| a.owns.is_some_and(|owns| owns(at as *const u8) != (a.id() == by));
        match ALLOCATORS.iter().find(wrong) {
            Some(says) => Err(BlockError::Foreign { by, says: says.id() }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Allocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Allocator").field("id", &self.id()).finish_non_exhaustive()
    }
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

/// Stands in for an allocator that is not here.
#[cfg_attr(
    all(feature = "jemalloc", feature = "snmalloc", target_env = "gnu"),
    allow(dead_code, reason = "this build has every allocator")
)]
struct Nothing;

// SAFETY: a null pointer is the contract's way to refuse; nothing is ever handed out that could be freed.
unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        std::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {
        unreachable!("nothing was handed out")
    }
}

//! Allocators side by side: each one is a value that serves blocks, and none becomes the global allocator.
//!
//! That works because their symbols are prefixed (`mi_`, `_rjem_`, `sn_`) and Rust reaches each through its own
//! [`GlobalAlloc`]. Replacing the global allocator instead would need one binary an allocator, and would let the
//! harness's own small blocks disturb the state that is being measured.
//!
//! State is the trap: an allocator remembers what it served and freed before. glibc raises its mmap threshold to the
//! size of each mapped block that is freed (mallopt(3), `M_MMAP_THRESHOLD`), mimalloc keeps what it got. Measure one
//! allocator at one size in a process of its own.
use std::{alloc::GlobalAlloc, fmt};

use super::alloc_here;
pub use super::alloc_here::ALLOCATORS;

mod block;
mod threshold;
pub use block::{Block, BlockError};
pub use threshold::fix_mmap_threshold;

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

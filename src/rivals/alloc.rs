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

use mimalloc::MiMalloc;

mod block;
pub use block::{Block, BlockError};

/// The alignment that malloc promises on 64-bit systems: up to it a block comes from plain malloc, above it from
/// another function with other costs.
pub const ALIGN: usize = 16;

/// Every allocator that can be asked for by name here. A further one is a further line.
pub static ALLOCATORS: &[Allocator] = &[
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    Allocator::known("glibc", &std::alloc::System, None, glibc_version, glibc_purge),
    Allocator::known("mimalloc", &MiMalloc, Some(mimalloc_owns), mimalloc_version, mimalloc_purge),
];

/// An allocator as a value.
pub struct Allocator {
    /// Its name as a case.
    pub name: &'static str,
    imp: &'static (dyn GlobalAlloc + Sync),
    /// Says whether a pointer lies in a block of this allocator, if it can tell that of any pointer.
    owns: Option<fn(*const u8) -> bool>,
    version: fn() -> String,
    purge: fn(),
}

impl Allocator {
    /// An allocator that is not in [`ALLOCATORS`], e.g. one that counts its calls.
    pub const fn new(name: &'static str, imp: &'static (dyn GlobalAlloc + Sync)) -> Self {
        Self::known(name, imp, None, unknown, || ())
    }

    const fn known(
        name: &'static str,
        imp: &'static (dyn GlobalAlloc + Sync),
        owns: Option<fn(*const u8) -> bool>,
        version: fn() -> String,
        purge: fn(),
    ) -> Self {
        Self { name, imp, owns, version, purge }
    }

    /// The allocator of this name, or `None` where it does not exist (there is no glibc on musl or on another
    /// system).
    pub fn named(name: &str) -> Option<&'static Self> {
        ALLOCATORS.iter().find(|a| a.name == name)
    }

    /// The version that really runs, or "unknown".
    pub fn version(&self) -> String {
        (self.version)()
    }

    /// Asks it to give back to the kernel whatever it holds and does not need. Costs milliseconds to tens of them.
    pub fn purge(&self) {
        (self.purge)();
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
    let prefixes = ["MALLOC_", "MIMALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD"];
    prefixes.iter().any(|p| name.starts_with(p))
}

fn unknown() -> String {
    "unknown".into()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn glibc_version() -> String {
    // SAFETY: takes nothing, and returns a pointer to a string constant inside the library.
    let text = unsafe { libc::gnu_get_libc_version() };
    // SAFETY: the constant ends with a NUL byte and is never changed or unloaded.
    unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn glibc_purge() {
    // SAFETY: gives back pages that no block uses; may be called at any time from any thread.
    unsafe { libc::malloc_trim(0) };
}

// Declared here, not taken from the crate's feature "extended": three functions are not worth another dependency.
unsafe extern "C" {
    /// mimalloc's version, e.g. 30302 for 3.3.2.
    safe fn mi_version() -> std::ffi::c_int;
    /// True if the address lies in memory that mimalloc handed out; looks the address up, never reads through it.
    safe fn mi_is_in_heap_region(p: *const std::ffi::c_void) -> bool;
    /// Collects what the calling thread freed; with `force`, also gives it back to the system.
    safe fn mi_collect(force: bool);
}

fn mimalloc_version() -> String {
    version_text(mi_version())
}

/// Versions from 3.0 on have two digits each for minor and patch (30302), earlier ones one digit (217).
fn version_text(v: i32) -> String {
    let base = if v >= 10_000 { 100 } else { 10 };
    format!("{}.{}.{}", v / (base * base), v / base % base, v % base)
}

fn mimalloc_purge() {
    mi_collect(true);
}

fn mimalloc_owns(p: *const u8) -> bool {
    mi_is_in_heap_region(p.cast())
}

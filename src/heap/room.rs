//! Can a heap be made here at all? Asked before MMTk is, because MMTk's own answer is a panic.
//!
//! MMTk reserves about 15 TiB of *addresses* (not memory) for its side tables and spaces. `ulimit -v` forbids that, and so
//! do systems with small address spaces. Strict overcommit (`vm.overcommit_memory = 2`) as a rule does not, since
//! a mapping without access is not charged; so instead of guessing from settings, the same kind of mapping is tried.
use std::fs;

use super::HeapError;
use crate::machine::memory::Room;

/// A little more than MMTk 0.33 reserves (VmSize 15.0 TiB).
const ADDRESSES_BYTES: usize = 16 << 40;
/// Beside the heap: side tables (up to an eighth of it), code, stacks, the rest of the program.
const BESIDE_BYTES: u64 = 64 << 20;

/// Whether a heap of this size can be made here; [`super::Heap::start`] asks this first.
///
/// # Errors
/// [`HeapError::Addresses`] or [`HeapError::Memory`].
pub fn possible(heap_bytes: usize) -> Result<(), HeapError> {
    reservable()?;
    Room::now().refusal(needed_bytes(heap_bytes)).map_or(Ok(()), |why| Err(HeapError::Memory { why }))
}

/// Whether MMTk's addresses can be reserved; the memory is not asked for.
pub(super) fn reservable() -> Result<(), HeapError> {
    addresses().map_or(Ok(()), |why| Err(HeapError::Addresses { why }))
}

/// What a process with a heap of this size may come to occupy.
pub fn needed_bytes(heap_bytes: usize) -> u64 {
    let heap = heap_bytes as u64;
    heap + heap / 8 + BESIDE_BYTES
}

/// Why the addresses can't be had.
#[cfg(unix)]
fn addresses() -> Option<String> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANON | libc::MAP_NORESERVE;
    // SAFETY: a new mapping wherever the kernel likes, without access: no memory of ours is touched.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), ADDRESSES_BYTES, libc::PROT_NONE, flags, -1, 0) };
    if at != libc::MAP_FAILED {
        // SAFETY: exactly the mapping that was just made, and nobody knows of it.
        unsafe { libc::munmap(at, ADDRESSES_BYTES) };
        return None;
    }
    let error = std::io::Error::last_os_error();
    Some(explain(
        address_limit_bytes(),
        fs::read_to_string("/proc/sys/vm/overcommit_memory").ok().as_deref(),
        &error.to_string(),
    ))
}

#[cfg(not(unix))]
fn addresses() -> Option<String> {
    None // not tried here: MMTk will tell
}

/// `ulimit -v`, if there is one.
#[cfg(unix)]
fn address_limit_bytes() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid for the kernel to write to.
    let rc = unsafe { libc::getrlimit(libc::RLIMIT_AS, &raw mut limit) };
    #[allow(clippy::useless_conversion, reason = "rlim_t is not u64 everywhere")]
    (rc == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur.into())
}

/// Why addresses cannot be had, in words: from `ulimit -v`, from `/proc/sys/vm/overcommit_memory`, and from what the kernel said.
pub fn explain(address_limit_bytes: Option<u64>, overcommit: Option<&str>, error: &str) -> String {
    match (address_limit_bytes, overcommit.map(str::trim)) {
        (Some(bytes), _) => {
            format!("`ulimit -v` allows {} MiB of addresses; run it under `ulimit -v unlimited`", bytes >> 20)
        }
        (None, Some("2")) => {
            format!(
                "vm.overcommit_memory is 2 (no overcommit) and the kernel refused: {error}; set it to 0, or raise \
                 vm.overcommit_ratio"
            )
        }
        (None, _) => format!("the kernel refused: {error}; the address space may be too small (39 bits?)"),
    }
}

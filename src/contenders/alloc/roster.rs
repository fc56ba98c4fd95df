//! The allocators that labs run, each with what it can say of itself: its version, whether a block is its own, and how
//! to make it give memory back.
//!
//! | allocator | whose block is it? | give back what is not needed |
//! |---|---|---|
//! | glibc | cannot say | `malloc_trim(0)`: all arenas |
//! | mimalloc | `mi_is_in_heap_region` | `mi_collect(true)`: the calling thread's heap, and what nobody owns |
//! | jemalloc | mallctl `arenas.lookup` | mallctl `thread.tcache.flush`, then `arena.4096.purge`: all arenas |
//! | snmalloc | no function that takes a stranger's pointer | none: on Linux it never gives memory back (`pal_posix.h`, `notify_not_using`) |
//!
//! jemalloc and snmalloc are cargo features, off by default: the first is built with a shell and make, the second with
//! a C++ compiler, and this crate asks for no more than a C compiler.
use super::Allocator;
use crate::lab::Contender;

/// Every allocator of the labs, those that this build is without too. A further one is a further name.
pub const ALLOCATORS: &[&Allocator] = &[&GLIBC, &MIMALLOC, &JEMALLOC, &SNMALLOC];

const IS_GLIBC: Contender = Contender::new("glibc").called("glibc malloc");
const IS_MIMALLOC: Contender = Contender::new("mimalloc").of("mimalloc");
const IS_JEMALLOC: Contender = Contender::new("jemalloc").of("tikv-jemallocator");
const IS_SNMALLOC: Contender = Contender::new("snmalloc").of("snmalloc-rs");

/// glibc's malloc.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub static GLIBC: Allocator = Allocator {
    version: glibc::version,
    purge: Some(glibc::purge),
    ..Allocator::new(IS_GLIBC, &std::alloc::System)
};
/// glibc's malloc, which this system does not have.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub static GLIBC: Allocator = Allocator::absent(IS_GLIBC, "there is no glibc on this system");

/// mimalloc.
pub static MIMALLOC: Allocator = Allocator {
    owns: Some(mimalloc::owns),
    version: mimalloc::version,
    purge: Some(mimalloc::purge),
    ..Allocator::new(IS_MIMALLOC, &::mimalloc::MiMalloc)
};

/// jemalloc.
#[cfg(feature = "jemalloc")]
pub static JEMALLOC: Allocator = Allocator {
    owns: Some(jemalloc::owns),
    version: jemalloc::version,
    purge: Some(jemalloc::purge),
    ..Allocator::new(IS_JEMALLOC, &tikv_jemallocator::Jemalloc)
};
/// jemalloc, which was not asked for.
#[cfg(not(feature = "jemalloc"))]
pub static JEMALLOC: Allocator = Allocator::absent(IS_JEMALLOC, NOT_ASKED_FOR);

/// snmalloc.
#[cfg(feature = "snmalloc")]
pub static SNMALLOC: Allocator = Allocator {
    version: snmalloc::version,
    slowed: snmalloc::slowed,
    ..Allocator::new(IS_SNMALLOC, &snmalloc_rs::SnMalloc)
};
/// snmalloc, which was not asked for.
#[cfg(not(feature = "snmalloc"))]
pub static SNMALLOC: Allocator = Allocator::absent(IS_SNMALLOC, NOT_ASKED_FOR);

/// Two are left out unless they are asked for.
#[cfg(not(all(feature = "jemalloc", feature = "snmalloc")))]
const NOT_ASKED_FOR: &str = "not in this build: cargo run --release --features allocators";

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod glibc {
    pub(super) fn version() -> String {
        // SAFETY: takes nothing, and returns a pointer to a string constant inside the library.
        let text = unsafe { libc::gnu_get_libc_version() };
        // SAFETY: the constant ends with a NUL byte and is never changed or unloaded.
        unsafe { std::ffi::CStr::from_ptr(text) }.to_string_lossy().into_owned()
    }

    pub(super) fn purge() {
        // SAFETY: gives back pages that no block uses; may be called at any time from any thread.
        unsafe { libc::malloc_trim(0) };
    }
}

mod mimalloc {
    // Declared here, not taken from the crate's feature "extended": three functions are not worth another dependency.
    unsafe extern "C" {
        /// mimalloc's version, e.g. 30302 for 3.3.2.
        safe fn mi_version() -> std::ffi::c_int;
        /// True if the address lies in memory that mimalloc handed out; looks the address up, never reads through it.
        safe fn mi_is_in_heap_region(p: *const std::ffi::c_void) -> bool;
        /// Collects what the calling thread freed; with `force`, also gives it back to the system.
        safe fn mi_collect(force: bool);
    }

    pub(super) fn version() -> String {
        version_text(mi_version())
    }

    /// Versions from 3.0 on have two digits each for minor and patch (30302), earlier ones one digit (217).
    fn version_text(v: i32) -> String {
        let base = if v >= 10_000 { 100 } else { 10 };
        format!("{}.{}.{}", v / (base * base), v / base % base, v % base)
    }

    pub(super) fn purge() {
        mi_collect(true);
    }

    pub(super) fn owns(p: *const u8) -> bool {
        mi_is_in_heap_region(p.cast())
    }
}

#[cfg(feature = "jemalloc")]
mod jemalloc {
    use std::{
        ffi::{CStr, c_char, c_int, c_void},
        mem::size_of,
        ptr::null_mut,
    };

    // One function, as with mimalloc; `tikv-jemallocator` links it under this prefix.
    unsafe extern "C" {
        fn _rjem_mallctl(
            name: *const c_char,
            old: *mut c_void,
            old_len: *mut usize,
            new: *mut c_void,
            new_len: usize,
        ) -> c_int;
    }

    /// `5.3.1-0-g81034ce1...`: the release is the part before the first dash.
    pub(super) fn version() -> String {
        let mut text: *const c_char = std::ptr::null();
        let mut size = size_of::<*const c_char>();
        // SAFETY: "version" is read-only and a `const char *` (jemalloc(3)); `old` has room for one, and `size` says so.
        let code = unsafe {
            _rjem_mallctl(c"version".as_ptr(), (&raw mut text).cast(), &raw mut size, null_mut(), 0)
        };
        if code != 0 || text.is_null() {
            return "unknown".into();
        }
        // SAFETY: on success it points to a string constant inside the library.
        let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
        text.split('-').next().unwrap_or(&text).to_string()
    }

    /// The caller's thread cache first: what lies there is in use for the arenas.
    pub(super) fn purge() {
        for name in [c"thread.tcache.flush", c"arena.4096.purge"] {
            // SAFETY: both are commands that neither read nor write; 4096 is MALLCTL_ARENAS_ALL (jemalloc_macros.h). A
            // thread without a cache has nothing to flush, which is no error here.
            unsafe { _rjem_mallctl(name.as_ptr(), null_mut(), null_mut(), null_mut(), 0) };
        }
    }

    /// `arenas.lookup` looks an address up in a radix tree and fails for a stranger's; unlike `sallocx` it never trusts
    /// or follows the pointer (src/ctl.c, `arenas_lookup_ctl`).
    pub(super) fn owns(p: *const u8) -> bool {
        let (mut address, mut arena) = (p, 0_u32);
        let mut size = size_of::<u32>();
        // SAFETY: it writes an `unsigned` to `old` and reads a `void *` from `new` (jemalloc(3)); both are live here and
        // of these sizes.
        let code = unsafe {
            _rjem_mallctl(
                c"arenas.lookup".as_ptr(),
                (&raw mut arena).cast(),
                &raw mut size,
                (&raw mut address).cast(),
                size_of::<*const u8>(),
            )
        };
        code == 0
    }
}

#[cfg(feature = "snmalloc")]
mod snmalloc {
    use crate::machine::built;

    /// It has no function for that: the version is of the sources that the lock file names.
    pub(super) fn version() -> String {
        built::version_of("snmalloc-sys").unwrap_or_else(|| "unknown".into())
    }

    /// Without NDEBUG it checks itself at every step, and its crate forgets to define that; this crate's `.cargo/config.toml` does so,
    /// where cargo reads that file.
    pub(super) fn slowed() -> Option<String> {
        let flags = [option_env!("HOST_CXXFLAGS"), option_env!("TARGET_CXXFLAGS")];
        let checks = !flags.into_iter().flatten().any(|f| f.contains("-DNDEBUG"));
        checks.then(|| "snmalloc was built with its own assertions: build it inside of the repository".into())
    }
}

//! How many bytes the allocator has given out, as it says itself: what a structure weighs, with all that an allocation costs.
//!
//! glibc only, by `mallinfo2(3)`, which is asked for at run time: it is there since glibc 2.33. Blocks that are kept for the next allocation of
//! their size by the thread that freed them still count as given out, a few of each size. Why not a counting `#[global_allocator]`: it would
//! be in every measurement of this program, and see the sizes asked for, not those given.

use crate::lab::sample::Sample;

/// Bytes that are given out now, of the whole process; `None` where the allocator does not tell.
pub fn given_out_bytes() -> Option<u64> {
    sys::given_out_bytes()
}

/// What `make` made, and by how many bytes the heap grew meanwhile (0 if it shrank). Nobody else should allocate at the time.
pub fn grown<T>(make: impl FnOnce() -> T) -> (T, Option<u64>) {
    let before = given_out_bytes();
    let made = make();
    let grown = given_out_bytes().zip(before).map(|(after, before)| after.saturating_sub(before));
    (made, grown)
}

/// What one instance weighs: `instance_bytes`, the mean of a thousand, so that the few blocks that come from a thread's own store do not show.
///
/// # Errors
/// Where the allocator does not tell.
pub fn instance<T>(make: impl Fn() -> T) -> Result<Sample, String> {
    const INSTANCES: usize = 1_000;
    let mut made = Vec::with_capacity(INSTANCES);
    let before = given_out_bytes();
    made.extend((0..INSTANCES).map(|_| make()));
    let (after, before) = given_out_bytes().zip(before).ok_or(UNKNOWN)?;
    Ok(Sample::default().with("instance_bytes", after.saturating_sub(before) as f64 / INSTANCES as f64))
}

/// Why a weight is not known here.
pub const UNKNOWN: &str = "this allocator does not tell how much it has given out (glibc since 2.33 does)";

#[cfg(all(target_os = "linux", target_env = "gnu"))]
mod sys {
    use std::sync::OnceLock;

    type Ask = unsafe extern "C" fn() -> libc::mallinfo2;

    pub(super) fn given_out_bytes() -> Option<u64> {
        static ASK: OnceLock<Option<Ask>> = OnceLock::new();
        let ask = ASK.get_or_init(|| {
            // SAFETY: the name is a C string, and the default scope is always searched.
            let place = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"mallinfo2".as_ptr()) };
            // SAFETY: glibc's function of that name takes nothing and returns this struct; a null pointer is the `None` of an optional function.
            unsafe { std::mem::transmute::<*mut libc::c_void, Option<Ask>>(place) }
        });
        // SAFETY: it may be called at any time, from any thread.
        let info = unsafe { (*ask)?() };
        u64::try_from(info.uordblks + info.hblkhd).ok()
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
mod sys {
    pub(super) fn given_out_bytes() -> Option<u64> {
        None
    }
}

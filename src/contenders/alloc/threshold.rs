//! glibc's knob for the size from which on a block is a mapping of its own.

/// Sets glibc's mmap threshold for this process, which also ends its moving: neither it nor the trim threshold, from
/// which on free memory at the heap's top is given back, follows the blocks that are freed any more. Source: mallopt(3);
/// glibc malloc/malloc.c, do_set_mmap_threshold.
///
/// # Errors
/// Where there is no such knob, or it refuses the number.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn fix_mmap_threshold(bytes: usize) -> Result<(), String> {
    let refused = || format!("mallopt refused a threshold of {bytes} bytes");
    let value = libc::c_int::try_from(bytes).map_err(|_| refused())?;
    // SAFETY: takes two numbers and changes glibc's own settings under its lock; any thread may call it at any time.
    let done = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, value) } == 1;
    if done { Ok(()) } else { Err(refused()) }
}

/// From now on glibc keeps what is freed: no mapping of its own for large blocks, and nothing of the heap's top goes back. So memory that was
/// used once is used again without a fault.
///
/// # Errors
/// Where there is no such knob, or it refuses.
pub fn keep_what_is_freed() -> Result<(), String> {
    // The largest that it takes for a mapping: half of a heap, 32 MiB.
    fix_mmap_threshold(32 << 20)?;
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: takes two numbers and changes glibc's own settings under its lock.
    if unsafe { libc::mallopt(libc::M_TRIM_THRESHOLD, -1) } != 1 {
        return Err("mallopt refused to keep the heap's top".into());
    }
    Ok(())
}

/// There is no such knob here.
///
/// # Errors
/// Always.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn fix_mmap_threshold(_: usize) -> Result<(), String> {
    Err("only glibc has an mmap threshold".into())
}

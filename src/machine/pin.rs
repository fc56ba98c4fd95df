//! Which CPUs this process may use, and how a thread stays on one of them.
//!
//! Forty lines over libc instead of a crate: the usual one reads masks of 1024 CPUs only, and there is nothing else to it.

/// CPUs that the calling thread may run on, ascending; never empty. On Linux this is the affinity mask, which also carries
/// a cpuset's and `taskset`'s restriction, but no CPU quota (see [`crate::machine::cgroup`]). Elsewhere, or where the mask
/// cannot be read, the first `available_parallelism` numbers.
///
/// Threads inherit the mask of their parent: ask before you pin.
pub fn allowed_cpus() -> Vec<usize> {
    os::allowed().filter(|cpus| !cpus.is_empty()).unwrap_or_else(|| {
        let n = std::thread::available_parallelism().map_or(1, usize::from);
        (0..n).collect()
    })
}

/// Keeps the calling thread on this CPU from now on. False where the system has no such call (macOS) or refuses it (a CPU
/// that is offline or not allowed): the thread then runs where the scheduler likes, and a contended number from it needs
/// another witness.
pub fn pin_current_thread(cpu: usize) -> bool {
    os::pin(cpu)
}

#[cfg(target_os = "linux")]
mod os {
    use libc::c_ulong;

    const BITS: usize = c_ulong::BITS as usize;
    /// Room for 8192 CPUs, the most that a kernel can be configured for; `cpu_set_t` holds 1024, and the call fails
    /// where the kernel's mask is longer than the one it is given.
    type Mask = [c_ulong; 8192 / BITS];

    pub(super) fn allowed() -> Option<Vec<usize>> {
        let mut mask: Mask = [0; 8192 / BITS];
        // SAFETY: the kernel writes at most the given number of bytes, which is the size of `mask`; a mask of zeroes is
        // a valid value, so it does not matter how many it writes. Pid 0 is the calling thread.
        let rc = unsafe { libc::sched_getaffinity(0, size_of_val(&mask), mask.as_mut_ptr().cast()) };
        (rc == 0).then(|| (0..8192).filter(|cpu| mask[cpu / BITS] >> (cpu % BITS) & 1 == 1).collect())
    }

    pub(super) fn pin(cpu: usize) -> bool {
        let mut mask: Mask = [0; 8192 / BITS];
        let Some(word) = mask.get_mut(cpu / BITS) else { return false };
        *word = 1 << (cpu % BITS);
        // SAFETY: the kernel reads the given number of bytes, which is the size of `mask`, and keeps no pointer to it.
        unsafe { libc::sched_setaffinity(0, size_of_val(&mask), mask.as_ptr().cast()) == 0 }
    }
}

#[cfg(not(target_os = "linux"))]
mod os {
    pub(super) fn allowed() -> Option<Vec<usize>> {
        None
    }
    pub(super) fn pin(_cpu: usize) -> bool {
        false
    }
}

//! Did this thread have a CPU? Its run-queue delay, and the CPU it is tied to.
use std::{fs::File, io};

/// How long this thread has waited in run queues, from `/proc/thread-self/schedstat`. The kernel books a delay when
/// the thread runs again, so a delay that is over is always seen.
#[derive(Debug)]
pub struct RunDelay(Option<File>);

impl RunDelay {
    /// Of the calling thread, whichever thread reads it later.
    pub fn of_this_thread() -> Self {
        Self(File::open("/proc/thread-self/schedstat").ok())
    }

    /// The delay so far in ns, or `None` if the kernel does not tell.
    pub fn read_ns(&self) -> Option<u64> {
        let mut buffer = [0; 96];
        let read = read_at_start(self.0.as_ref()?, &mut buffer).ok()?;
        parse_schedstat(std::str::from_utf8(&buffer[..read]).ok()?)
    }
}

/// Run-queue delay in ns from the text `<ns on a CPU> <ns of delay> <time slices>`. No slices means that the kernel
/// does not count: a thread that reads this has had at least one.
pub fn parse_schedstat(text: &str) -> Option<u64> {
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let (_, delay, slices) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
    (slices > 0).then_some(delay)
}

#[cfg(unix)]
fn read_at_start(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, 0)
}
#[cfg(not(unix))]
fn read_at_start(_: &File, _: &mut [u8]) -> io::Result<usize> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Ties the calling thread to a CPU; true if the kernel agreed. The two must be kept apart: left alone, the scheduler
/// may run both on one CPU.
#[cfg(target_os = "linux")]
pub fn pin(cpu: usize) -> bool {
    let mut set = std::mem::MaybeUninit::<libc::cpu_set_t>::zeroed();
    // SAFETY: a cpu_set_t is an array of numbers, for which all bits zero are valid: the empty set.
    let set = unsafe { set.assume_init_mut() };
    if cpu >= libc::CPU_SETSIZE as usize {
        return false;
    }
    // SAFETY: the index was checked against the size of the set.
    unsafe { libc::CPU_SET(cpu, set) };
    // SAFETY: 0 is the calling thread; the pointer is to a live set of the size given.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) == 0 }
}
#[cfg(not(target_os = "linux"))]
#[allow(missing_docs, reason = "see above")]
pub fn pin(_: usize) -> bool {
    false
}

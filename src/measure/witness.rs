//! What the kernel says of a thread. Judging a measurement by these, and never by its result, keeps the filter honest.
//!
//! Linux only; elsewhere every answer is `None`, and whoever needs one says so in the record.
use std::time::Duration;

use crate::machine::sched::SchedTimes;

/// Names a thread of this process for [`run_queue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadId(
    #[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux can ask about it"))] i32,
);

impl ThreadId {
    /// The kernel's number of it.
    #[cfg(target_os = "linux")]
    pub(crate) fn id(self) -> i32 {
        self.0
    }
}

/// The calling thread.
pub fn this_thread() -> ThreadId {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: gettid takes no argument and cannot fail.
        ThreadId(unsafe { libc::gettid() })
    }
    #[cfg(not(target_os = "linux"))]
    ThreadId(0)
}

/// CPU time of the calling thread.
pub fn cpu_time() -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `t` is a valid timespec that outlives the call.
        let rc = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
        (rc == 0).then(|| {
            Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
        })
    }
    #[cfg(not(target_os = "linux"))]
    None
}

/// CPU time of any thread of this process, exact to the moment (schedstat's lags by up to a tick).
pub fn cpu_time_of(thread: ThreadId) -> Option<Duration> {
    #[cfg(target_os = "linux")]
    {
        // How the kernel numbers the CPU clock of a thread (`man 3 pthread_getcpuclockid` gives the same number, but only for
        // a thread whose pthread_t is at hand): the inverted id, then 2 for "scheduler time" and 4 for "of one thread".
        let clock = (!thread.0 << 3) | 6;
        let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `t` is a valid timespec that outlives the call; an id that is no thread of ours is an error, not a hazard.
        let rc = unsafe { libc::clock_gettime(clock, &raw mut t) };
        (rc == 0).then(|| {
            Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
        })
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = thread;
        None
    }
}

/// What the scheduler says of a thread now: `/proc/self/task/TID/schedstat`.
pub fn run_queue(thread: ThreadId) -> Option<SchedTimes> {
    #[cfg(target_os = "linux")]
    {
        SchedTimes::parse(&std::fs::read_to_string(format!("/proc/self/task/{}/schedstat", thread.0)).ok()?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = thread;
        None
    }
}

/// What `/proc/self/task/TID/status` says of a thread now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// It sleeps: neither on a CPU nor waiting for one.
    pub sleeps: bool,
    /// Context switches so far that it asked for: it went to sleep, in a lock for instance.
    pub voluntary: u64,
    /// Context switches so far that it suffered: somebody else got its CPU.
    pub involuntary: u64,
}

/// The status of a thread of this process.
pub fn status(thread: ThreadId) -> Option<Status> {
    #[cfg(target_os = "linux")]
    {
        parse_status(&std::fs::read_to_string(format!("/proc/self/task/{}/status", thread.0)).ok()?)
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = thread;
        None
    }
}

/// Parses the text of a status file.
pub fn parse_status(text: &str) -> Option<Status> {
    let field = |name: &str| text.lines().find_map(|l| Some(l.strip_prefix(name)?.trim()));
    Some(Status {
        sleeps: matches!(field("State:")?.chars().next()?, 'S' | 'D'),
        voluntary: field("voluntary_ctxt_switches:")?.parse().ok()?,
        involuntary: field("nonvoluntary_ctxt_switches:")?.parse().ok()?,
    })
}

/// Whether a thread sleeps at this moment.
pub fn sleeps(thread: ThreadId) -> Option<bool> {
    status(thread).map(|s| s.sleeps)
}

/// Context switches of a thread so far: those it asked for and those it suffered.
pub fn switches(thread: ThreadId) -> Option<u64> {
    status(thread).map(|s| s.voluntary + s.involuntary)
}

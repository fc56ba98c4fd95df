//! What the Linux scheduler says of a thread: time on a CPU, and time it was ready to run but waited for one.
//!
//! Elsewhere, without `/proc`, or with a kernel built without scheduler statistics, all of this is `None`: absent, never zero.
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::Path,
};

/// The first two fields of `/proc/<pid>/task/<tid>/schedstat` (Linux, Documentation/scheduler/sched-stats.rst), since the
/// thread began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedTimes {
    /// Time on a CPU. The kernel brings it up to date at its tick and when the thread leaves the CPU, so that of a running thread
    /// can be some ms old.
    pub on_cpu_ns: u64,
    /// Run-queue delay: ready to run, but another thread had the CPU. Booked when the thread gets its CPU again. What a
    /// hypervisor took away (steal) is not in it.
    pub runq_ns: u64,
}

impl SchedTimes {
    /// Reads the text of a schedstat file: ns on a CPU, ns of run-queue delay, number of time slices. `None` if it is not one, and
    /// without slices, which means that the kernel does not count: a thread that is looked at has had at least one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.split_ascii_whitespace().map(str::parse::<u64>);
        let (on_cpu_ns, runq_ns, slices) = (fields.next()?.ok()?, fields.next()?.ok()?, fields.next()?.ok()?);
        (slices > 0).then_some(Self { on_cpu_ns, runq_ns })
    }
}

/// One thread's schedstat file, kept open: a reading costs two system calls, about 1 us.
#[derive(Debug)]
pub struct SchedStat(File);

impl SchedStat {
    /// Of the calling thread, whoever reads it later.
    pub fn of_this_thread() -> Option<Self> {
        Self::at(Path::new("/proc/thread-self/schedstat"))
    }
    /// Of the file at this path; `None` if it can't be read as a schedstat file.
    pub fn at(path: &Path) -> Option<Self> {
        let stat = Self(File::open(path).ok()?);
        stat.read().map(|_| stat)
    }
    /// The times up to now.
    pub fn read(&self) -> Option<SchedTimes> {
        let (mut file, mut text) = (&self.0, [0; 96]);
        file.seek(SeekFrom::Start(0)).ok()?;
        let n = file.read(&mut text).ok()?;
        SchedTimes::parse(std::str::from_utf8(&text[..n]).ok()?)
    }
}

/// A reader of the calling thread's run-queue delay so far, in ns; it answers `None` where the kernel does not tell.
pub fn runq_of_this_thread() -> impl Fn() -> Option<u64> {
    let stat = SchedStat::of_this_thread();
    move || stat.as_ref().and_then(SchedStat::read).map(|times| times.runq_ns)
}

/// Splits a gap in which a thread did not run into the run-queue delay and the rest (`rest_*`: sleep, page faults, interrupts,
/// steal, its own work), which add up to the gap.
///
/// `runq_ns` is how much the thread's run-queue delay grew since the reading before; a reading also catches delays too short
/// to be a gap, so it can exceed the gap, and then the gap is all run-queue delay.
pub fn split(gap_ns: u64, runq_ns: u64) -> (u64, u64) {
    let runq_ns = runq_ns.min(gap_ns);
    (runq_ns, gap_ns - runq_ns)
}

/// The scheduler's times of every thread of this process that was alive at one moment.
#[derive(Clone, Debug)]
pub struct ThreadTimes(BTreeMap<String, SchedTimes>);

impl ThreadTimes {
    /// Reads all threads. Threads that begin or end meanwhile may be missing.
    pub fn now() -> Option<Self> {
        let tasks = fs::read_dir("/proc/self/task").ok()?;
        let times: BTreeMap<_, _> = tasks
            .filter_map(|task| {
                let task = task.ok()?;
                let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
                Some((task.file_name().into_string().ok()?, SchedTimes::parse(&text)?))
            })
            .collect();
        // A process that got as far as here has used a CPU: zero means that the kernel does not count.
        times.values().any(|t| t.on_cpu_ns > 0).then_some(Self(times))
    }
    /// What the threads that are alive now used since `earlier`. What threads used that ended in between is missing.
    pub fn since(&self, earlier: &Self) -> SchedTimes {
        let mut sum = SchedTimes::default();
        for (tid, now) in &self.0 {
            let then = earlier.0.get(tid).copied().unwrap_or_default();
            sum.on_cpu_ns += now.on_cpu_ns.saturating_sub(then.on_cpu_ns);
            sum.runq_ns += now.runq_ns.saturating_sub(then.runq_ns);
        }
        sum
    }
}

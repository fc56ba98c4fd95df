//! The collector's own threads: what they cost, and how long they waited for a CPU.
use std::{
    ops::Sub,
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    machine::{group::ThrottledClock, sched::SchedStat},
    measure::witness::{self, ThreadId},
};

/// CPU time and run-queue delay of all collector threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// On a CPU.
    pub cpu: Duration,
    /// Ready to run, but without a CPU; the kernel books the time without quota here as well.
    pub waited: Duration,
    /// Time for which a CPU quota was used up, on all CPUs together; zero where there is none, or the system can't tell.
    pub throttled: Duration,
    /// How many threads.
    pub threads: u32,
}

impl Use {
    /// How long a thread waited on average because somebody else had its CPU. What the quota of its own group took is no neighbour's
    /// doing, and is taken off: the kernel counts that once for each CPU, so of two threads that wait for one CPU half is left.
    pub fn displaced(&self) -> Duration {
        self.waited.saturating_sub(self.throttled) / self.threads.max(1)
    }
}

impl Sub for Use {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(earlier.cpu),
            waited: self.waited.saturating_sub(earlier.waited),
            throttled: self.throttled.saturating_sub(earlier.throttled),
            threads: self.threads,
        }
    }
}

/// The collector threads that have started.
#[derive(Debug)]
pub(super) struct Workers {
    threads: Mutex<Vec<(ThreadId, Option<SchedStat>)>>,
    throttled: Option<ThrottledClock>,
}

impl Workers {
    /// None yet. The quota is that of the control group which this process is in now.
    pub(super) fn new() -> Self {
        Self { threads: Mutex::default(), throttled: ThrottledClock::here(Path::new("/")) }
    }

    /// The calling thread is one.
    pub(super) fn join(&self) {
        let me = (witness::this_thread(), SchedStat::of_this_thread());
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(me);
    }

    /// What all of them used so far; `None` if the system cannot tell of each.
    pub(super) fn used(&self) -> Option<Use> {
        let workers = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        let throttled_ns = self.throttled.as_ref().and_then(ThrottledClock::read_ns).unwrap_or(0);
        let none = Use { throttled: Duration::from_nanos(throttled_ns), ..Use::default() };
        workers.iter().try_fold(none, |sum, (id, stat)| {
            // The CPU clock is exact; schedstat's own CPU time lags by up to a tick.
            let (cpu, queue) = (witness::cpu_time_of(*id)?, stat.as_ref()?.read()?);
            let waited = sum.waited + Duration::from_nanos(queue.runq_ns);
            Some(Use { cpu: sum.cpu + cpu, waited, threads: sum.threads + 1, ..sum })
        })
    }
}

//! The collector's own threads: what they cost, and how long they waited for a CPU.
use std::{
    ops::Sub,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    engine::witness::{self, ThreadId},
    machine::sched::SchedStat,
};

/// CPU time and run-queue delay of all collector threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Use {
    /// On a CPU.
    pub cpu: Duration,
    /// Ready to run, but without a CPU.
    pub waited: Duration,
}

impl Sub for Use {
    type Output = Self;
    fn sub(self, earlier: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(earlier.cpu), waited: self.waited.saturating_sub(earlier.waited) }
    }
}

/// The collector threads that have started.
#[derive(Debug, Default)]
pub(super) struct Workers(Mutex<Vec<(ThreadId, Option<SchedStat>)>>);

impl Workers {
    /// The calling thread is one.
    pub(super) fn join(&self) {
        let me = (witness::this_thread(), SchedStat::of_this_thread());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(me);
    }

    /// What all of them used so far; `None` if the system cannot tell of each.
    pub(super) fn used(&self) -> Option<Use> {
        let workers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        workers.iter().try_fold(Use::default(), |sum, (id, stat)| {
            // The CPU clock is exact; schedstat's own CPU time lags by up to a tick.
            let (cpu, queue) = (witness::cpu_time_of(*id)?, stat.as_ref()?.read()?);
            Some(Use { cpu: sum.cpu + cpu, waited: sum.waited + Duration::from_nanos(queue.runq_ns) })
        })
    }
}

//! A thread that does nothing but read the clock, and so notices every gap in which it did not run.
use std::{
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Instant,
};

use super::{Lateness, SchedStat, ns, split};

/// The spinning victim. It needs a CPU of its own: without one, its gaps are the scheduler's time slices (see `runq`).
///
/// The idea is jHiccup's (Tene, 2012), with a spin instead of a 1 ms sleep, so that gaps of microseconds show.
#[derive(Clone, Copy, Debug)]
pub struct SpinProbe;

/// What a spinning victim saw. Durations in ns.
#[derive(Clone, Debug, Default)]
pub struct SpinReport {
    /// Every gap longer than the threshold. Percentiles are among gaps, not among turns.
    pub gaps: Lateness,
    /// The part of each gap that was run-queue delay; `None` where the scheduler does not say.
    pub runq: Option<Lateness>,
    /// The rest of each gap; `None` where the scheduler does not say.
    pub rest: Option<Lateness>,
    /// How often the clock was read.
    pub turns_count: u64,
    /// All gaps together.
    pub lost_ns: u64,
    /// From the first reading of the clock to the last.
    pub elapsed_ns: u64,
}

impl SpinProbe {
    /// Spins until `stop` is set; a gap is a turn longer than `threshold_ns` (1,000 is a good one: a turn takes 20 to 60 ns).
    /// Blocks the calling thread, which should be a thread of its own.
    pub fn run(stop: &AtomicBool, threshold_ns: u64) -> SpinReport {
        Self::run_with(stop, threshold_ns, SchedStat::of_this_thread(), || {})
    }

    /// The same with work to do in each turn (touch a page, poll a safepoint), and with the given schedstat file; `None` stands
    /// for a system without one. The work's own time counts as part of the turn.
    pub fn run_with(
        stop: &AtomicBool,
        threshold_ns: u64,
        stat: Option<SchedStat>,
        mut turn: impl FnMut(),
    ) -> SpinReport {
        let runq_so_far = || stat.as_ref().and_then(SchedStat::read).map_or(0, |times| times.runq_ns);
        let (mut report, mut runq, mut rest) = (SpinReport::default(), Lateness::new(), Lateness::new());
        let mut runq_before = runq_so_far();
        let began = Instant::now();
        let mut last = began;
        // Relaxed: the flag carries nothing but itself, and a turn more or less does not matter.
        while !stop.load(Relaxed) {
            turn();
            let now = Instant::now();
            report.turns_count += 1;
            let gap_ns = ns(now - last);
            last = now;
            if gap_ns > threshold_ns {
                report.gaps.record_ns(gap_ns);
                report.lost_ns += gap_ns;
                let runq_now = runq_so_far();
                let parts = split(gap_ns, runq_now.saturating_sub(runq_before));
                runq_before = runq_now;
                runq.record_ns(parts.0);
                rest.record_ns(parts.1);
                // The bookkeeping above is not the victim's gap.
                last = Instant::now();
            }
        }
        report.elapsed_ns = ns(last - began);
        // A thread that has spun for more than a scheduler tick has used a CPU; zero means that the kernel does not count.
        if stat.and_then(|s| s.read()).is_some_and(|times| times.on_cpu_ns > 0) {
            (report.runq, report.rest) = (Some(runq), Some(rest));
        }
        report
    }
}

impl SpinReport {
    /// Adds another slice of the same case. A split that either slice lacks is absent from the sum.
    pub fn merge(&mut self, other: &Self) {
        self.gaps.merge(&other.gaps);
        self.runq = merged(self.runq.take(), other.runq.as_ref());
        self.rest = merged(self.rest.take(), other.rest.as_ref());
        self.turns_count += other.turns_count;
        self.lost_ns += other.lost_ns;
        self.elapsed_ns += other.elapsed_ns;
    }
    /// `gap_*`, `runq_*`, `rest_*` as [`Lateness::values`] names them, `lost_share` and `turns_count`.
    pub fn values(&self) -> Vec<(String, f64)> {
        let mut values = self.gaps.values("gap");
        values.extend(self.runq.iter().flat_map(|part| part.values("runq")));
        values.extend(self.rest.iter().flat_map(|part| part.values("rest")));
        if self.elapsed_ns > 0 {
            values.push(("lost_share".into(), self.lost_ns as f64 / self.elapsed_ns as f64));
        }
        values.push(("turns_count".into(), self.turns_count as f64));
        values
    }
}

fn merged(into: Option<Lateness>, other: Option<&Lateness>) -> Option<Lateness> {
    let mut into = into?;
    into.merge(other?);
    Some(into)
}

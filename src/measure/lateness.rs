//! A victim, and how late it was.
//!
//! Three victims: a **timer schedule** ([`timer_probe`]) is late against the ticks it intended; an **outside wake**
//! ([`outside_wakes`], [`wake_probe`]) is late against the moment somebody woke it; a **spinning thread** ([`SpinProbe`])
//! notices each gap in which it did not run. The lateness goes into a histogram ([`Lateness`]), and no percentile leaves it
//! that the number of samples does not support.
//!
//! [`Watched`] is another matter: not how late, but whether at all.
//!
//! A lateness means nothing without the same victim on the same machine with nobody to disturb it: [`interleave`] runs the
//! undisturbed case among the others, so that a noisy second hits all of them alike.
mod runtime;
mod spin;
mod stuck;
mod tasks;

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{
    lab::{
        Contender, Point,
        plan::Plan,
        sample::{AA, Sample},
    },
    measure::order::Order,
};

pub use self::runtime::{RuntimeSeen, RuntimeWatch, occupies_worker, watch_runtime};
pub use self::spin::{SpinProbe, SpinReport};
pub use self::stuck::{KEEP_ALIVE, Look, Seen, ThreadSeen, Verdict, Watched, compare};
pub use self::tasks::{OutsideSender, outside_wakes, timer_probe, wake_probe};
pub use crate::machine::sched::{SchedStat, SchedTimes, ThreadTimes, split};

/// Longest lateness that is told apart, one hour: whatever is longer is recorded as this.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// A percentile is given only if at least this many samples lie beyond it; with fewer, it is the luck of a single sample.
const BEYOND: u64 = 10;

/// Name of a percentile and how many of 1000 samples lie beyond it.
const PERCENTILES: [(&str, u64); 4] = [("p50", 500), ("p90", 100), ("p99", 10), ("p999", 1)];

/// How late a victim was, sample by sample, in ns: a histogram with three significant digits (0.1 %).
///
/// Memory: 270 KiB of address space each, touched only where values fall. Not shared between threads: each victim fills
/// its own, then they are merged.
#[derive(Clone, Debug)]
pub struct Lateness(Histogram<u64>);

impl Default for Lateness {
    fn default() -> Self {
        Self::new()
    }
}

impl Lateness {
    /// Nothing recorded yet.
    ///
    /// # Panics
    /// Never: the bounds are constants that the histogram accepts.
    pub fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("1 ns to 1 h at 3 digits are valid bounds"))
    }
    /// Records one sample. Does not allocate.
    pub fn record_ns(&mut self, late_ns: u64) {
        self.0.saturating_record(late_ns);
    }
    /// Adds the samples of another victim, or of another slice of the same case.
    ///
    /// # Panics
    /// Never: all histograms have the same bounds.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all histograms have the same bounds");
    }
    /// How many samples there are.
    pub fn samples_count(&self) -> u64 {
        self.0.len()
    }
    /// The longest, or `None` without any sample. Above 2 us rounded up by at most 0.1 %.
    pub fn max_ns(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| self.0.max() as f64)
    }
    /// All samples together. Means of latencies mislead; this is for sums, such as time spent.
    pub fn total_ns(&self) -> f64 {
        self.0.mean() * self.0.len() as f64
    }
    /// The value that `beyond` of 1000 samples exceed (500 is the median); `None` if fewer than ten samples lie beyond it.
    ///
    /// Not corrected for anything: samples that were late together (all ticks within one pause) are counted one by one, as the
    /// victim's clients would have felt them.
    ///
    /// # Panics
    /// If `beyond` is not in 1..1000.
    pub fn exceeded_by_permille_ns(&self, beyond: u64) -> Option<f64> {
        assert!((1..1000).contains(&beyond), "{beyond} of 1000 is not a percentile");
        let supported = self.samples_count() * beyond >= BEYOND * 1000;
        supported.then(|| self.0.value_at_quantile(1.0 - beyond as f64 / 1000.0) as f64)
    }
    /// The supported ones of `<prefix>_p50_ns`, `_p90_ns`, `_p99_ns`, `_p999_ns`; `<prefix>_max_ns` if there is any sample;
    /// and always `<prefix>_samples_count`.
    pub fn values(&self, prefix: &str) -> Vec<(String, f64)> {
        let percentiles =
            PERCENTILES.iter().map(|(name, beyond)| (*name, self.exceeded_by_permille_ns(*beyond)));
        percentiles
            .chain([("max", self.max_ns())])
            .filter_map(|(name, value)| Some((format!("{prefix}_{name}_ns"), value?)))
            .chain([(format!("{prefix}_samples_count"), self.samples_count() as f64)])
            .collect()
    }
}

/// Ticks at fixed intended times, and how late each was handled: open loop.
///
/// A tick that came late does not move the following ones, and ticks that fell due while the victim stood still are all handled
/// when it comes back, each late against its own intended time. Measuring from the previous handling instead would report one
/// late tick per pause (coordinated omission: Tene, "How NOT to measure latency", 2015).
///
/// Holds no clock: times are ns since a start that the caller chose.
#[derive(Clone, Debug)]
pub struct Schedule {
    period_ns: u64,
    ticks_count: u64,
    handled_count: u64,
    late: Lateness,
}

impl Schedule {
    /// Ticks due at one period, two periods ... after the start.
    ///
    /// # Panics
    /// If the period is zero: all ticks would be due at once.
    pub fn new(period: Duration, ticks_count: u64) -> Self {
        assert!(!period.is_zero(), "a schedule needs a period");
        Self { period_ns: ns(period), ticks_count, handled_count: 0, late: Lateness::new() }
    }
    /// As many ticks as fall into the window, the last one at or just after its end.
    pub fn over(window: Duration, period: Duration) -> Self {
        let mut schedule = Self::new(period, 0);
        schedule.ticks_count = ns(window).div_ceil(schedule.period_ns);
        schedule
    }
    /// When the first tick that was not handled yet is due; `None` if all were handled.
    pub fn next_ns(&self) -> Option<u64> {
        (self.handled_count < self.ticks_count).then(|| (self.handled_count + 1) * self.period_ns)
    }
    /// The victim runs now: handles every tick that is due, and says how many. Zero if it woke early.
    pub fn arrive(&mut self, now_ns: u64) -> u64 {
        let before = self.handled_count;
        while let Some(due) = self.next_ns().filter(|due| *due <= now_ns) {
            self.late.record_ns(now_ns - due);
            self.handled_count += 1;
        }
        self.handled_count - before
    }
    /// How many ticks there are in all, handled or not.
    pub fn ticks_count(&self) -> u64 {
        self.ticks_count
    }
    /// How late the handled ticks were.
    pub fn into_lateness(self) -> Lateness {
        self.late
    }
}

/// Runs short slices of all cases, `rounds` times, each round in another random order; gives back, per case, the slices in
/// round order, for the caller to merge.
///
/// Running each case's whole time in one go would be simpler, but a machine that is busy for a second would then decide which
/// case looks slow. The order is a function of the seed, so a run can be repeated.
pub fn interleave<T>(rounds: usize, seed: u64, cases: usize, mut run: impl FnMut(usize) -> T) -> Vec<Vec<T>> {
    let mut slices: Vec<Vec<T>> = (0..cases).map(|_| Vec::with_capacity(rounds)).collect();
    let mut order: Vec<usize> = (0..cases).collect();
    let mut lot = Order::new(seed);
    for _ in 0..rounds {
        lot.shuffle(&mut order);
        for &case in &order {
            slices[case].push(run(case));
        }
    }
    slices
}

/// The samples of all cases at all parameters and of the first case's twin ([`AA`]), in that order, each from `rounds` slices that were run by [`interleave`] with the
/// plan's seed (another order in each launch) and then summed up by `sum`.
pub fn interleaved<T>(
    plan: &Plan,
    rounds: usize,
    cases: &[&str],
    params: &[&str],
    slice: impl Fn(&str, &str) -> T,
    sum: impl Fn(&str, &str, Vec<T>) -> Sample,
) -> Vec<Sample> {
    let cases = cases.iter().copied().chain([AA]);
    let rows: Vec<(&str, &str)> =
        cases.flat_map(|case| params.iter().map(move |param| (case, *param))).collect();
    let seed = plan.seed.wrapping_add((plan.launch as u64) << 32);
    let slices = interleave(rounds, seed, rows.len(), |row| slice(rows[row].0, rows[row].1));
    rows.iter().zip(slices).map(|((case, param), slices)| sum(case, param, slices)).collect()
}

/// The samples of all contenders at all parameters and of the first contender's twin ([`AA`]), in that order, each from `rounds` slices
/// that were run by [`interleave`] with the plan's seed (another order in each launch) and then summed up by `sum`. Unmeasured, with the
/// first reason, if any slice failed.
pub fn in_turn<C: AsRef<Contender>, P, T>(
    plan: &Plan,
    rounds: usize,
    roster: &[C],
    points: &[Point<P>],
    slice: impl Fn(&C, &P) -> Result<T, String>,
    sum: impl Fn(&C, &P, Vec<T>) -> Result<Sample, String>,
) -> Vec<Sample> {
    let twin = roster.first().map(|first| (AA, first));
    let cases = roster.iter().map(|c| (c.as_ref().id, c)).chain(twin);
    let rows: Vec<_> = cases.flat_map(|case| points.iter().map(move |point| (case, point))).collect();
    let seed = plan.seed.wrapping_add((plan.launch as u64) << 32);
    let slices = interleave(rounds, seed, rows.len(), |row| slice(rows[row].0.1, &rows[row].1.value));
    let one = |(((case, contender), point), slices): (&((&'static str, &C), &Point<P>), Vec<_>)| {
        let all = slices.into_iter().collect::<Result<Vec<T>, String>>();
        match all.and_then(|slices| sum(contender, &point.value, slices)) {
            Ok(sample) => Sample { case: (*case).into(), param: point.id().into(), ..sample },
            Err(why) => Sample::unmeasured(case, point.id(), why),
        }
    };
    rows.iter().zip(slices).map(one).collect()
}

/// A duration in whole ns; 584 years fit.
pub(super) fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

//! The flaws that a benchmark's evidence shows, each with what was seen and what to do. Pure functions, as
//! [`crate::measure::audit`], which judges clocks and threads for them.
//!
//! The limits are coarse on purpose: a sound benchmark on a loaded machine must not be accused. What there is no evidence for is listed as
//! not judged, and accuses nobody.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::Benchmark;
use crate::{
    measure::audit::{Evidence, Flaw, Timed, audit},
    stats::{self, modes},
    words::{escape, number},
};

/// One thread's work in a sample; times from the beginning of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// When the thread began to work.
    pub from_ns: u64,
    /// When it had done its work.
    pub to_ns: u64,
    /// Operations that it counted.
    pub ops: u64,
    /// Those of them that did what they were for, if that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub did: Option<u64>,
    /// Units of work that all of them did, if that was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<u64>,
    /// The results were used.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub used: bool,
}

/// One sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// The run of the benchmark, from 0.
    pub run: usize,
    /// Its place among all samples of the benchmark.
    pub turn: usize,
    /// When the clock started, on the clock of the lanes.
    pub start_ns: f64,
    /// How long the clock ran.
    pub took_ns: f64,
    /// Operations of all threads.
    pub ops: f64,
    /// Each thread's work; empty if it was not noted.
    pub lanes: Vec<Lane>,
    /// How much of the clock's time went into drops that were watched.
    pub drop_ns: Option<f64>,
}

/// By how much criterion saw the mean change against the run before, as a share, with its interval.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Change {
    /// The change.
    pub share: f64,
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
}

/// What is known of one case of a benchmark.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// Where it was read.
    pub file: PathBuf,
    /// It is the loop without the thing under test.
    pub harness: bool,
    /// What a reading of the clock costs; `None` if criterion's own files are the evidence.
    pub clock_ns: Option<f64>,
    /// In the order in which they were taken.
    pub samples: Vec<Taken>,
    /// The time of an iteration that criterion printed.
    pub printed_ns: Option<f64>,
    /// What criterion said of the run before.
    pub change: Option<Change>,
    /// When criterion wrote the samples.
    pub written_ns: Option<f64>,
}

/// A flaw by its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mistake {
    /// One of those that the lab `lock_audit` looks for too.
    Contended(Flaw),
    /// So few samples that their middle is not known.
    FewSamples,
    /// The samples are as short as the clock's own cost or steps.
    ShortSamples,
    /// An operation takes no time: the compiler left it out.
    WorkRemoved,
    /// The samples fall into two groups.
    TwoGroups,
    /// The first samples differ from the last.
    Drift,
    /// Each sample has a cost beside its operations.
    FixedCost,
    /// The number that is printed is not what most samples show.
    PrintedApart,
    /// A drop was timed.
    DropTimed,
    /// Each case was measured as a whole before the next.
    FixedOrder,
    /// Runs disagree by more than their intervals.
    RunsDiffer,
}

impl Mistake {
    /// Its name in `--json`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Contended(Flaw::ThreadStartTimed) => "thread_start_timed",
            Self::Contended(Flaw::ClockReadLate) => "clock_read_late",
            Self::Contended(Flaw::NoOverlap) => "no_overlap",
            Self::Contended(Flaw::UnequalWork) => "unequal_work",
            Self::Contended(Flaw::ExclusiveRead) => "exclusive_read",
            Self::Contended(Flaw::HarnessDominates) => "harness_dominates",
            Self::Contended(Flaw::ResultDropped) => "result_dropped",
            Self::Contended(Flaw::HitsMove) => "hits_move",
            Self::Contended(Flaw::OneKey) => "one_key",
            Self::FewSamples => "few_samples",
            Self::ShortSamples => "short_samples",
            Self::WorkRemoved => "work_removed",
            Self::TwoGroups => "two_groups",
            Self::Drift => "drift",
            Self::FixedCost => "fixed_cost",
            Self::PrintedApart => "printed_apart",
            Self::DropTimed => "drop_timed",
            Self::FixedOrder => "fixed_order",
            Self::RunsDiffer => "runs_differ",
        }
    }

    /// What to do about it.
    pub fn cure(self) -> &'static str {
        match self {
            Self::Contended(Flaw::ThreadStartTimed) => {
                "Start the threads first and let them wait at a barrier. Start the clock when all are there."
            }
            Self::Contended(Flaw::ClockReadLate) => "Start the clock before you let the threads go.",
            Self::Contended(Flaw::NoOverlap) => {
                "Let the threads wait for each other before they work. Give each of them far more work than starting a thread takes."
            }
            Self::Contended(Flaw::UnequalWork) => "Let an operation do the same work in every case.",
            Self::Contended(Flaw::HarnessDominates) => {
                "Move what is not under test out of the loop, and do it beforehand."
            }
            Self::Contended(Flaw::ResultDropped) => {
                "Count only the operations that did what they were for, or try again until they do."
            }
            Self::Contended(Flaw::ExclusiveRead) => "Take the read lock for reads.",
            Self::Contended(Flaw::HitsMove) => {
                "Keep the keys and the share of hits the same for every number of threads."
            }
            Self::Contended(Flaw::OneKey) => "Draw the keys from all that the map is said to have.",
            Self::FewSamples => "Take more samples; in criterion, raise sample_size.",
            Self::ShortSamples => {
                "Do so many operations in a sample that the clock's own cost does not matter."
            }
            Self::WorkRemoved => {
                "Pass inputs and results through std::hint::black_box, and look at the assembly."
            }
            Self::TwoGroups => {
                "Find out what switches: the CPU's frequency, the placement of the threads, another program. Until then report both."
            }
            Self::Drift => {
                "Warm up for longer, keep the data at one size, and let nothing else run on the machine."
            }
            Self::FixedCost => {
                "Take what happens once in a sample out of the timing: starting threads, making the data."
            }
            Self::PrintedApart => {
                "Report the median, and beside it how frequent and how long the slow samples are."
            }
            Self::DropTimed => {
                "Drop it after the clock has stopped; in criterion, use iter_batched or iter_with_large_drop."
            }
            Self::FixedOrder => {
                "Take the cases in turns, or measure again in the opposite order and compare."
            }
            Self::RunsDiffer => "Report the range over several runs, not the interval of one run.",
        }
    }
}

/// A flaw that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub mistake: Mistake,
    /// The evidence, in a sentence.
    pub seen: String,
}

/// What was found in one case, or in the cases of a benchmark side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audited {
    /// The benchmark and the case.
    pub name: String,
    /// Where it was read.
    pub file: PathBuf,
    /// What there was to look at, in a sentence.
    pub looked_at: String,
    /// What is wrong.
    pub flaws: Vec<Finding>,
    /// What this evidence can't show, in words after "Not judged:".
    pub open: Vec<String>,
}

impl Audited {
    fn found(&mut self, mistake: Mistake, seen: String) {
        self.flaws.push(Finding { mistake, seen });
    }
}

/// With fewer samples neither two groups nor a drift can be seen.
const MANY: usize = 20;
/// With fewer samples the middle has no 95 % interval.
const LEAST: usize = 6;
/// The 95 % interval of the middle may be this wide, as share of the middle.
const WIDE: f64 = 0.1;
/// A reading of the clock may be this share of a sample.
const CLOCK: f64 = 0.1;
/// Where the cost of the clock is not known, a shorter sample is too short: no clock in use takes more than a tenth of it.
const SHORT_NS: f64 = 1_000.0;
/// So few different times in many samples are the clock's steps.
const STEPS: usize = 3;
/// An operation below this takes about one cycle of a CPU at most.
const NOTHING_NS: f64 = 0.5;
/// Each of two groups has at least this share of the samples.
const GROUP: f64 = 0.1;
/// From the first third of the samples to the last an operation may change by this much.
const CHANGE: f64 = 0.1;
/// The printed number may be apart from the median by this much.
const APART: f64 = 0.1;
/// Drops may take this share of the time.
const DROPS: f64 = 0.1;
/// Runs may differ by this much, beyond their intervals.
const RUNS: f64 = 0.05;
/// Cases may differ by this much in work, as in [`crate::measure::audit`].
const WORK: f64 = 0.01;
/// So many samples in a row that double in length are a warm-up, as criterion's is.
const DOUBLING: usize = 4;
/// The samples of two cases lie one after the other if the time between their files is at least this share of what the later one took.
const AFTER: f64 = 0.9;

/// Each case, and if there are several all of them side by side.
pub fn audit_all(benchmark: &Benchmark) -> Vec<Audited> {
    let harness = benchmark.cases.iter().find(|c| c.harness);
    let harness_ns = harness.and_then(|c| stats::median(&per_op(newest(c))));
    let cases = || benchmark.cases.iter().filter(|c| !c.harness);
    let mut all: Vec<Audited> = cases().map(|case| of_case(&benchmark.name, case, harness_ns)).collect();
    if cases().count() > 1 {
        all.push(side_by_side(&benchmark.name, &cases().collect::<Vec<_>>()));
    }
    all
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

fn ns(time: f64) -> String {
    number::value("time_ns", time)
}

fn count(n: f64) -> String {
    number::value("n_count", n)
}

/// The samples of each run; runs are read one after the other.
fn by_run(case: &Case) -> impl Iterator<Item = &[Taken]> {
    case.samples.chunk_by(|a, b| a.run == b.run)
}

/// The samples of the newest run, without a warm-up.
fn newest(case: &Case) -> &[Taken] {
    by_run(case).last().map_or(&[], settled)
}

/// The samples of a run without a warm-up, whose samples double in length.
fn settled(run: &[Taken]) -> &[Taken] {
    let doubles = |pair: &&[Taken]| (pair[1].ops - 2.0 * pair[0].ops).abs() < 0.5 && pair[0].ops > 0.0;
    let warm = 1 + run.windows(2).take_while(doubles).count();
    if warm >= DOUBLING && warm < run.len() { &run[warm..] } else { run }
}

/// What an operation took a thread, for each sample that has operations.
fn per_op(samples: &[Taken]) -> Vec<f64> {
    samples.iter().filter(|s| s.ops > 0.0).map(|s| s.took_ns * s.lanes.len().max(1) as f64 / s.ops).collect()
}

/// The median and its 95 % interval by ranks, which asks nothing of the distribution (Conover, Practical Nonparametric Statistics, 3.2).
/// `None` with fewer than six values.
fn middle(values: &[f64]) -> Option<[f64; 3]> {
    let n = values.len();
    let mid = stats::median(values).filter(|_| n >= LEAST)?;
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Six values make the rank 1.
    let rank = ((n as f64 + 1.0) / 2.0 - 0.98 * (n as f64).sqrt()).floor() as usize;
    Some([sorted[rank - 1], mid, sorted[n - rank]])
}

/// Two middles whose intervals don't meet and that differ by more than that share of the smaller.
fn differ(a: [f64; 3], b: [f64; 3], share: f64) -> bool {
    let apart = a[2] < b[0] || b[2] < a[0];
    apart && (a[1] - b[1]).abs() > share * a[1].min(b[1])
}

fn of_case(benchmark: &str, case: &Case, harness_ns: Option<f64>) -> Audited {
    let samples = newest(case);
    let times = per_op(samples);
    let mut a = Audited {
        name: if benchmark == case.name { case.name.clone() } else { format!("{benchmark} / {}", case.name) },
        file: case.file.clone(),
        looked_at: looked_at(case, samples, &times),
        ..Audited::default()
    };
    let too_short = short(case, samples, &mut a);
    few(&times, &mut a);
    let mid = stats::median(&times);
    if let Some(mid) = mid.filter(|mid| *mid < NOTHING_NS && !too_short) {
        a.found(
            Mistake::WorkRemoved,
            format!(
                "perhaps nothing is left: an operation takes {}, which is about one cycle of a CPU or less",
                ns(mid)
            ),
        );
    }
    if times.len() < MANY {
        a.open.push(format!("two groups and drift (that takes {MANY} samples)"));
    } else if !too_short {
        groups(&times, &mut a);
        trend(samples, &times, &mut a);
    }
    if let (Some(printed), Some(mid)) = (case.printed_ns, mid)
        && (printed - mid).abs() > APART * mid
    {
        a.found(
            Mistake::PrintedApart,
            format!(
                "the printed number is not the usual one: criterion prints {}, and the median sample has {}",
                ns(printed),
                ns(mid)
            ),
        );
    }
    if case.clock_ns.is_some() {
        recorded(samples, harness_ns.zip(mid), too_short, &mut a);
    } else {
        a.open.push(
            "when the threads ran, what was dropped in the timing, and whether the operations did their work (criterion does not write \
             it, the recorder does)"
                .into(),
        );
    }
    runs(case, &mut a);
    a
}

fn looked_at(case: &Case, samples: &[Taken], times: &[f64]) -> String {
    let ops = || samples.iter().map(|s| s.ops);
    let (least, most) = (ops().fold(f64::INFINITY, f64::min), ops().fold(0.0, f64::max));
    let n = samples.len();
    let mut text = format!("{n} sample{}", if n == 1 { "" } else { "s" });
    text += &if least < most {
        format!(" of {} to {} operations", count(least), count(most))
    } else {
        format!(" of {} operation{}", count(most), if most > 1.0 { "s" } else { "" })
    };
    let lanes = samples.iter().map(|s| s.lanes.len()).max().unwrap_or(0);
    if lanes > 1 {
        text += &format!(" by {lanes} threads");
    }
    text += &format!(", {} in all", ns(samples.iter().map(|s| s.took_ns).sum()));
    if let Some(mid) = stats::median(times) {
        text += &format!("; at the median {} for an operation", ns(mid));
    }
    let warm = by_run(case).last().map_or(0, <[Taken]>::len) - n;
    if warm > 0 {
        text += &format!("; without {warm} samples of a warm-up");
    }
    let runs = by_run(case).count();
    if runs > 1 {
        text += &format!("; the newest of {runs} runs");
    }
    text
}

/// True if the samples are too short to judge what happens within one.
fn short(case: &Case, samples: &[Taken], a: &mut Audited) -> bool {
    let took: Vec<f64> = samples.iter().map(|s| s.took_ns).collect();
    let Some(mid) = stats::median(&took) else { return false };
    let why = match case.clock_ns {
        Some(clock) if clock > CLOCK * mid => {
            Some(format!("and reading the clock alone takes {}", ns(clock)))
        }
        None if mid < SHORT_NS => Some("which no clock measures well".into()),
        _ => None,
    };
    if let Some(why) = &why {
        a.found(Mistake::ShortSamples, format!("too short for the clock: a sample takes {}, {why}", ns(mid)));
        return true;
    }
    let different = took.iter().map(|t| t.to_bits()).collect::<BTreeSet<_>>().len();
    if took.len() >= MANY && different <= STEPS {
        let times = if different == 1 { "one time".into() } else { format!("{different} different times") };
        let seen = format!(
            "too short for the clock: {} samples have only {times}, which are steps of the clock",
            took.len()
        );
        a.found(Mistake::ShortSamples, seen);
        return true;
    }
    false
}

fn few(times: &[f64], a: &mut Audited) {
    let n = times.len();
    let seen = match middle(times) {
        None if n > 0 => {
            let samples = if n == 1 { "one sample".into() } else { format!("{n} samples") };
            format!("few samples: {samples} can't say how exact the number is")
        }
        Some([lo, mid, hi]) if n < MANY && hi - lo > WIDE * mid => {
            format!("few samples: after {n} of them the median is between {} and {} (95 %)", ns(lo), ns(hi))
        }
        _ => return,
    };
    a.found(Mistake::FewSamples, seen);
}

fn groups(times: &[f64], a: &mut Audited) {
    let Some([low, high]) = modes::two(times) else { return };
    if (low.count.min(high.count) as f64) < GROUP * times.len() as f64 {
        return;
    }
    let seen = format!(
        "two groups: an operation takes about {} in {} samples and about {} in {}, and nothing between",
        ns(low.middle),
        low.count,
        ns(high.middle),
        high.count
    );
    a.found(Mistake::TwoGroups, seen);
}

/// The first third of the samples against the last. Where longer samples come later, as in criterion's linear sampling, a cost of each
/// sample looks like a drift: the curve that comes closer says which it is.
fn trend(samples: &[Taken], times: &[f64], a: &mut Audited) {
    let third = times.len() / 3;
    let (Some(first), Some(last)) = (middle(&times[..third]), middle(&times[times.len() - third..])) else {
        return;
    };
    if !differ(first, last, CHANGE) {
        return;
    }
    let ops: Vec<f64> = samples.iter().map(|s| s.ops).filter(|ops| *ops > 0.0).collect();
    let along: Vec<[f64; 2]> = (0..times.len()).map(|i| [1.0, i as f64]).collect();
    let once: Vec<[f64; 2]> = ops.iter().map(|ops| [1.0, 1.0 / ops]).collect();
    let off = |rows: &[[f64; 2]]| {
        let [base, slope] = stats::fit(rows, times)?;
        let share = |(row, t): (&[f64; 2], &f64)| ((base + slope * row[1] - t) / t).powi(2);
        Some((rows.iter().zip(times).map(share).sum::<f64>(), slope))
    };
    let longer = ops.first().zip(ops.last()).is_some_and(|(first, last)| *last > 1.5 * first);
    // A cost of each sample makes the operations of a longer one look cheaper, never dearer.
    if let (Some((off_along, _)), Some((off_once, cost))) = (off(&along), off(&once))
        && off_once < off_along
        && cost > 0.0
        && longer == (last[1] < first[1])
    {
        let seen = format!(
            "a fixed cost: about {} in each sample, whatever it does; an operation seems to take {} in the first third of the samples and {} in \
             the last, which have more operations",
            ns(cost),
            ns(first[1]),
            ns(last[1])
        );
        a.found(Mistake::FixedCost, seen);
        return;
    }
    let seen = format!(
        "drift: an operation takes {} in the first third of the samples and {} in the last{}",
        ns(first[1]),
        ns(last[1]),
        if longer { ", which have more operations" } else { "" }
    );
    a.found(Mistake::Drift, seen);
}

/// What only the recorder notes.
fn recorded(samples: &[Taken], harness: Option<(f64, f64)>, too_short: bool, a: &mut Audited) {
    let lanes = || samples.iter().flat_map(|s| &s.lanes);
    let mut evidence = Evidence::default();
    if lanes().next().is_none() {
        a.open.push("when the threads ran (it does not call `lane`)".into());
    } else if too_short {
        a.open.push("when the threads ran (the samples are too short)".into());
    } else {
        evidence.timed = samples
            .iter()
            .map(|s| Timed {
                clock: (s.start_ns, s.start_ns + s.took_ns),
                lanes: s.lanes.iter().map(|l| (l.from_ns as f64, l.to_ns as f64)).collect(),
            })
            .collect();
    }
    let noted = || lanes().filter_map(|l| Some((l.ops, l.did?)));
    let sum = |(ops, did): (u64, u64), (o, d): (u64, u64)| (ops.saturating_add(o), did.saturating_add(d));
    if noted().next().is_some() {
        evidence.effective = Some(noted().fold((0, 0), sum));
    } else {
        a.open.push("whether the operations did what they were for (it does not call `did`)".into());
    }
    if let Some((empty, with)) = harness {
        evidence.harness_share = Some(empty / with);
    } else {
        a.open.push("how much of an operation is the loop around it (it does not call `harness`)".into());
    }
    for (flaw, seen) in audit(&evidence) {
        a.found(Mistake::Contended(flaw), seen);
    }
    if !lanes().any(|l| l.used) {
        a.open.push("whether the results are used (it does not call `used`)".into());
    }
    let drops: Vec<f64> = samples.iter().filter_map(|s| Some(s.drop_ns? / s.took_ns.max(1.0))).collect();
    match stats::median(&drops) {
        Some(share) if share > DROPS => a.found(
            Mistake::DropTimed,
            format!("a drop was timed: it took {} of the time on the clock", percent(share)),
        ),
        Some(_) => {}
        None => a.open.push("what was dropped in the timing (it does not call `watch`)".into()),
    }
}

/// Several runs against one another.
fn runs(case: &Case, a: &mut Audited) {
    let middles: Vec<[f64; 3]> = by_run(case).filter_map(|run| middle(&per_op(settled(run)))).collect();
    let by_middle = |x: &&[f64; 3], y: &&[f64; 3]| x[1].total_cmp(&y[1]);
    match (middles.iter().min_by(by_middle), middles.iter().max_by(by_middle)) {
        (Some(low), Some(high)) if middles.len() > 1 => {
            if differ(*low, *high, RUNS) {
                let of = |[lo, mid, hi]: [f64; 3]| format!("{} ({} to {})", ns(mid), ns(lo), ns(hi));
                let seen = format!("runs differ: an operation takes {} in one run and {} in another", of(*low), of(*high));
                a.found(Mistake::RunsDiffer, seen);
            }
        }
        _ => a.open.push(match case.change.filter(|c| (c.lo > 0.0 || c.hi < 0.0) && c.share.abs() > RUNS) {
            Some(change) => format!(
                "whether another run agrees (criterion saw {:+.0} % against the run before, and can't tell whether the code changed or the machine)",
                change.share * 100.0
            ),
            None => "whether another run agrees (this is one run)".into(),
        }),
    }
}

fn side_by_side(benchmark: &str, cases: &[&Case]) -> Audited {
    let mut a = Audited {
        name: format!("{benchmark}: its {} cases side by side", cases.len()),
        file: cases[0].file.clone(),
        looked_at: "the order of their samples, and the work of an operation".into(),
        ..Audited::default()
    };
    let work = |case: &Case| {
        let lanes = newest(case).iter().flat_map(|s| &s.lanes);
        let noted = lanes.filter_map(|l| Some((l.ops as f64, l.work? as f64)));
        let (ops, work) = noted.fold((0.0, 0.0), |(ops, work), (o, w)| (ops + o, work + w));
        (ops > 0.0).then_some((escape::line(&case.name), work / ops))
    };
    let works: Vec<(String, f64)> = cases.iter().filter_map(|c| work(c)).collect();
    let by_work = |x: &&(String, f64), y: &&(String, f64)| x.1.total_cmp(&y.1);
    if works.len() < 2 {
        a.open.push(
            "whether an operation does the same work in every case (the recorder notes it with `work`)"
                .into(),
        );
    } else if let (Some((little, least)), Some((much, most))) =
        (works.iter().min_by(by_work), works.iter().max_by(by_work))
        && most - least > WORK * most
    {
        let (least, most) = (count(*least), count(*most));
        let seen =
            format!("unequal work: an operation of {much} does {most} units, one of {little} does {least}");
        a.found(Mistake::Contended(Flaw::UnequalWork), seen);
    }
    match in_blocks(cases) {
        Some(true) => {
            let names: Vec<String> = cases.iter().map(|c| escape::line(&c.name)).collect();
            let seen = format!(
                "fixed order: each case was measured as a whole before the next ({}), so a change of the machine looks like a difference \
                 between them",
                names.join(", ")
            );
            a.found(Mistake::FixedOrder, seen);
        }
        Some(false) => {}
        None => a.open.push("whether the cases took turns".into()),
    }
    a
}

/// True if every run measured the cases one after the other, and always in the same order. `None` if that is not known.
fn in_blocks(cases: &[&Case]) -> Option<bool> {
    if cases.iter().all(|c| c.clock_ns.is_none()) {
        let whole: f64 = cases.iter().map(|c| c.written_ns.map_or(f64::NAN, |_| 0.0)).sum();
        let after = |pair: &[&Case]| {
            let took: f64 = pair[1].samples.iter().map(|s| s.took_ns).sum();
            pair[1].written_ns.zip(pair[0].written_ns).is_some_and(|(b, a)| b - a >= AFTER * took)
        };
        return (whole.is_finite() && cases.windows(2).all(after)).then_some(true);
    }
    // For each run, from which turn to which a case was measured.
    let mut runs: BTreeMap<usize, Vec<(usize, usize, usize)>> = BTreeMap::new();
    for (i, case) in cases.iter().enumerate() {
        for run in by_run(case) {
            runs.entry(run[0].run).or_default().push((run[0].turn, run[run.len() - 1].turn, i));
        }
    }
    let mut orders = BTreeSet::new();
    for spans in runs.values_mut() {
        spans.sort_unstable();
        // One sample of each is a turn, not a block.
        if spans.len() < 2 || spans.iter().any(|(first, last, _)| first == last) {
            continue;
        }
        if spans.windows(2).any(|pair| pair[0].1 > pair[1].0) {
            return Some(false);
        }
        orders.insert(spans.iter().map(|(.., i)| *i).collect::<Vec<_>>());
    }
    (!orders.is_empty()).then_some(orders.len() == 1)
}

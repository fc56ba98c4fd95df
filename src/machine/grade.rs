//! Facts and measured numbers in, grades out. Pure, so that a recorded machine can be graded again.
//!
//! A grade is the worst of its faults, and its reason names all faults of that weight; a machine without a fault is fit, and
//! the reason gives the numbers that say so. A fact that nobody knows is no fault; a *number* that could not be measured
//! is one, since a claim would rest on it.
use std::collections::BTreeMap;

use crate::{
    lab::Kind,
    machine::{Grade, Level, facts::UNKNOWN},
};

/// From this share of N times one spinner's work on, N CPUs count as really there. Two quiet virtual CPUs do 0.96 to 1.00;
/// a busy loop on one of two leaves 0.75.
pub const PARALLEL_SHARE: f64 = 0.90;
/// The same without a hypervisor: nobody can take CPU time there without showing in the run queue, so what is missing is
/// clock speed (one core alone runs faster than all together) or slower cores. A rule of thumb, hence only a "fair".
pub const PARALLEL_SHARE_BARE: f64 = 0.70;
/// Other processes' share of the CPUs. In trials, paired contended runs that started below 8 % gave the same answers as
/// runs with both cores owned by force; above it they did not. On a large machine one busy CPU is a small share; there
/// the worst CPU's run queue tells.
pub const BUSY_SHARE: f64 = 0.08;
/// Share of the time that a pinned thread waits for its CPU: in trials under 0.02 where it owned the core, 0.5 where not.
pub const RUNQ_SHARE_FAIR: f64 = 0.02;
/// From here on a contended window or a tail is the scheduler's and not the program's.
pub const RUNQ_SHARE_UNFIT: f64 = 0.05;
/// Stolen time looks like a thread's own running time, so no filter by CPU time can drop it; 1 % already reaches a p99.
pub const STEAL_SHARE_FAIR: f64 = 0.01;
/// More than the differences that labs ask about.
pub const STEAL_SHARE_UNFIT: f64 = 0.05;
/// Two looks at a clock of this step around a block of 250 us may be wrong by 0.1 %.
pub const CLOCK_STEP_FAIR_NS: f64 = 250.0;
/// The same, by 1 %: as much as the effects that a single-thread comparison is to find.
pub const CLOCK_STEP_UNFIT_NS: f64 = 2_500.0;
/// Each operation of a latency measurement is bracketed by looks at the clock. A usual look costs 15 to 50 ns; above 100 ns the
/// system emulates the clock, and an uncontended lock would be lost in it.
pub const CLOCK_COST_FAIR_NS: f64 = 100.0;
/// A clock that costs more than most operations that are timed with it.
pub const CLOCK_COST_UNFIT_NS: f64 = 1_000.0;
/// p99.9 lateness of an idle probe up to which operations of some us can be told apart from the system's interrupts.
/// Quiet guests showed some 30 us: their timer interrupts, and whatever their host does.
pub const LATE_P999_FAIR_NS: f64 = 10_000.0;
/// Above, the machine's own p99.9 hides that of any lock or allocator. With a busy loop beside it, they showed 3 to 13 ms.
pub const LATE_P999_UNFIT_NS: f64 = 100_000.0;
/// A pause worth a lab's name is a millisecond and more, so an idle machine must stand still for less. Quiet guests: 0.1 to
/// 0.5 ms.
pub const PAUSE_MAX_FAIR_NS: f64 = 1_000_000.0;
/// Some scheduler slices (2.8 to 4 ms each) in a row: a pause of ours could not be told from a neighbour.
pub const PAUSE_MAX_UNFIT_NS: f64 = 10_000_000.0;
/// Above this the partner was not running. Quiet guests took 57 and 165 ns, another socket takes a few hundred; with a
/// build beside it, 17 to 27 us.
pub const HANDOFF_UNFIT_NS: f64 = 2_000.0;

/// Grades a machine for every kind of measurement.
pub fn grades(facts: &BTreeMap<String, String>, fitness: &BTreeMap<String, f64>) -> BTreeMap<Kind, Grade> {
    let counts =
        Grade { level: Level::Fit, reason: "counts and sizes do not depend on who else is running".into() };
    let new = || Case { facts, fitness, faults: Vec::new(), merits: Vec::new() };
    BTreeMap::from([
        (Kind::Single, single(new())),
        (Kind::Contended, contended(new())),
        (Kind::Tail, tail(new())),
        (Kind::Pause, pause(new())),
        (Kind::Chance, chance(new())),
        (Kind::Count, counts),
    ])
}

fn single(mut case: Case<'_>) -> Grade {
    case.build();
    case.governor();
    case.clock_step();
    // Neighbours do not spoil it: blocks of 250 us are shorter than their slices, those that were disturbed show it in
    // their CPU time and are dropped, and in trials at a load of 6 to 9 on two cores the rest had a spread of 0.02 %.
    case.busy(f64::INFINITY);
    case.runq(f64::INFINITY);
    case.steal();
    if let Some(limit) = case.cpu_limit().filter(|&limit| limit < 1.0) {
        case.fault(Level::Fair, format!("the CPU limit of {limit} stops the thread in every period"));
    }
    case.merit("clock_cost_ns", "a look at the clock costs {}");
    case.merit("steal_share", "stolen time is {}");
    case.grade()
}

fn contended(mut case: Case<'_>) -> Grade {
    let fitness = case.fitness;
    case.build();
    case.governor();
    let lanes = case.number("lanes_count");
    if lanes.is_some_and(|n| n < 2.0) {
        case.fault(Level::Unfit, "one CPU is allowed, so two threads never run at once".into());
        return case.grade();
    }
    case.parallel(lanes);
    case.busy(BUSY_SHARE);
    case.runq(RUNQ_SHARE_UNFIT);
    case.steal();
    case.quota(lanes);
    if case.number("pinned_share").is_some_and(|share| share < 1.0) {
        case.fault(Level::Fair, "threads cannot be kept on their CPUs here".into());
    }
    if case.number("handoff_ns").is_none() && !fitness.is_empty() {
        case.fault(Level::Unfit, "two pinned threads did not meet often enough to time a hand-off".into());
    }
    case.bound("handoff_ns", "a hand-off between two cores takes {}", HANDOFF_UNFIT_NS, HANDOFF_UNFIT_NS);
    case.merit("busy_share", "other processes use {} of the CPUs");
    case.merit("handoff_ns", "a hand-off between two cores takes {}");
    case.grade()
}

fn chance(mut case: Case<'_>) -> Grade {
    case.build();
    // A neighbour decides who runs when, and with it what meets.
    case.busy(BUSY_SHARE);
    case.runq(RUNQ_SHARE_UNFIT);
    case.steal();
    if case.number("lanes_count").is_some_and(|n| n < 2.0) {
        case.fault(Level::Fair, "one CPU is allowed, so threads meet only where one was stopped".into());
    }
    case.merit("busy_share", "other processes use {} of the CPUs");
    case.grade()
}

fn tail(mut case: Case<'_>) -> Grade {
    case.build();
    case.governor();
    case.clock_step();
    case.bound("clock_cost_ns", "a look at the clock costs {}", CLOCK_COST_FAIR_NS, CLOCK_COST_UNFIT_NS);
    case.hiccup(
        "hiccup_p999_ns",
        "an idle probe's p99.9 lateness is {}",
        LATE_P999_FAIR_NS,
        LATE_P999_UNFIT_NS,
    );
    case.busy(BUSY_SHARE);
    case.runq(RUNQ_SHARE_UNFIT);
    case.steal();
    case.quota(case.number("lanes_count"));
    case.merit("clock_cost_ns", "a look at the clock costs {}");
    case.grade()
}

fn pause(mut case: Case<'_>) -> Grade {
    case.build();
    case.governor();
    case.hiccup(
        "hiccup_max_ns",
        "an idle probe stood still for up to {}",
        PAUSE_MAX_FAIR_NS,
        PAUSE_MAX_UNFIT_NS,
    );
    // Each gap is split into run-queue delay and the rest, so neighbours blur a pause less than they blur a percentile.
    case.busy(f64::INFINITY);
    case.runq(RUNQ_SHARE_UNFIT);
    case.steal();
    case.quota(case.number("lanes_count"));
    case.merit("steal_share", "stolen time is {}");
    case.grade()
}

/// A machine before one judge, and what was found against it.
struct Case<'a> {
    facts: &'a BTreeMap<String, String>,
    fitness: &'a BTreeMap<String, f64>,
    faults: Vec<(Level, String)>,
    merits: Vec<String>,
}

impl Case<'_> {
    fn fact(&self, key: &str) -> &str {
        self.facts.get(key).map_or(UNKNOWN, String::as_str)
    }

    /// A number that is not one (a damaged record) is as good as none.
    fn number(&self, key: &str) -> Option<f64> {
        self.fitness.get(key).copied().filter(|x| x.is_finite())
    }

    fn fault(&mut self, level: Level, reason: String) {
        self.faults.push((level, reason));
    }

    /// A fault if the number lies above the bounds, or is not known.
    fn bound(&mut self, key: &str, what: &str, fair: f64, unfit: f64) {
        match self.number(key) {
            // An unexamined machine has one fault already.
            None if self.fitness.is_empty() => {}
            None => self.fault(Level::Fair, format!("{key} could not be measured")),
            Some(x) if x > unfit => self.fault(Level::Unfit, what.replace("{}", &amount(key, x))),
            Some(x) if x > fair => self.fault(Level::Fair, what.replace("{}", &amount(key, x))),
            Some(_) => {}
        }
    }

    /// What spoils every time: a debug build, or that nobody looked.
    fn build(&mut self) {
        let profile = self.fact("profile");
        if profile.starts_with("debug") || profile.contains("opt-level 0") {
            let reason = format!("the build is unoptimised ({profile}): build with --release");
            self.fault(Level::Unfit, reason);
        }
        if self.fitness.is_empty() {
            self.fault(Level::Unfit, "the machine was not examined".into());
        }
    }

    fn governor(&mut self) {
        // Those that follow the load change the clock speed in mid-measurement; "unknown" (a guest) is no fault by itself.
        let governor = self.fact("governor").to_string();
        if ["powersave", "ondemand", "conservative", "schedutil"].iter().any(|slow| governor.contains(slow)) {
            self.fault(Level::Fair, format!("the clock speed follows the load (governor {governor})"));
        }
    }

    fn clock_step(&mut self) {
        self.bound("clock_resolution_ns", "the clock steps by {}", CLOCK_STEP_FAIR_NS, CLOCK_STEP_UNFIT_NS);
    }

    fn busy(&mut self, unfit: f64) {
        self.bound("busy_share", "other processes use {} of the CPUs", BUSY_SHARE, unfit);
    }

    fn runq(&mut self, unfit: f64) {
        self.bound("runq_share", "a pinned thread waits {} of its time for a CPU", RUNQ_SHARE_FAIR, unfit);
    }

    fn steal(&mut self) {
        // Without a hypervisor there is nobody to steal, so that an unknown share is no fault there.
        if self.number("steal_share").is_some() || self.fact("hypervisor") != "none" {
            self.bound("steal_share", "stolen time is {}", STEAL_SHARE_FAIR, STEAL_SHARE_UNFIT);
        }
    }

    fn parallel(&mut self, lanes: Option<f64>) {
        let Some((n, ratio)) = lanes.zip(self.number("parallel_ratio")) else {
            if !self.fitness.is_empty() {
                self.fault(Level::Unfit, "it could not be measured whether threads run at once".into());
            }
            return;
        };
        let reason = format!("{n:.0} spinners did {ratio:.2} times the work of one");
        let bare = self.fact("hypervisor") == "none";
        if ratio < n * if bare { PARALLEL_SHARE_BARE } else { PARALLEL_SHARE } {
            self.fault(Level::Unfit, reason);
        } else if ratio < n * PARALLEL_SHARE {
            self.fault(Level::Fair, format!("{reason}: cores are slower together than alone"));
        } else {
            self.merits.push(reason);
        }
    }

    fn cpu_limit(&self) -> Option<f64> {
        self.fact("cpu_limit").parse().ok()
    }

    fn quota(&mut self, lanes: Option<f64>) {
        if let Some((limit, n)) = self.cpu_limit().zip(lanes).filter(|(limit, n)| limit < n) {
            let reason = format!("the CPU limit of {limit} stops {n:.0} running threads in every period");
            self.fault(Level::Unfit, reason);
        }
    }

    /// The machine's own disturbance. A guest cannot see what its host does to it, so that a good number from it still
    /// stands beside the fact.
    fn hiccup(&mut self, key: &str, what: &str, fair: f64, unfit: f64) {
        if self.number(key).is_none() && !self.fitness.is_empty() {
            self.fault(Level::Unfit, format!("the examination was too short to say {key}"));
        } else {
            self.bound(key, what, fair, unfit);
        }
        let name = self.fact("hypervisor").to_string();
        let measured = self.number(key).filter(|x| *x <= fair).map(|x| what.replace("{}", &amount(key, x)));
        if name == "none" || name == UNKNOWN {
            self.merits.extend(measured);
        } else {
            let measured = measured.map_or(String::new(), |m| format!(", though {m}"));
            self.fault(Level::Fair, format!("virtual machine ({name}){measured}"));
        }
    }

    fn merit(&mut self, key: &str, what: &str) {
        let merit = self.number(key).map(|x| what.replace("{}", &amount(key, x)));
        self.merits.extend(merit);
    }

    fn grade(self) -> Grade {
        let level = self.faults.iter().map(|(level, _)| *level).max().unwrap_or(Level::Fit);
        let worst = self.faults.into_iter().filter(|(l, _)| *l == level).map(|(_, reason)| reason);
        let reasons = if level == Level::Fit { self.merits } else { worst.collect() };
        Grade { level, reason: reasons.join("; ") }
    }
}

/// A value with its unit, as the suffix of its name says it: `57 ns`, `4.1 ms`, `12 %`, `1.97`.
pub fn amount(name: &str, value: f64) -> String {
    let digits = |x: f64| if x.abs() < 9.95 { format!("{x:.1}") } else { format!("{x:.0}") };
    if name.contains("_ns") {
        match value {
            ns if ns < 1e3 => format!("{} ns", digits(ns)),
            ns if ns < 1e6 => format!("{} us", digits(ns / 1e3)),
            ns if ns < 1e9 => format!("{} ms", digits(ns / 1e6)),
            ns => format!("{} s", digits(ns / 1e9)),
        }
    } else if name.ends_with("_share") {
        format!("{} %", digits(value * 100.0))
    } else if name.ends_with("_count") {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}

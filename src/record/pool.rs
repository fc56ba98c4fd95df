//! Sessions: runs of one step, minutes or days apart, that may speak together.
//!
//! A value varies between launches and again between sessions: the host moves virtual CPUs, memory lies elsewhere, the hour is another. An
//! interval over the launches of one run can't hold that, so a reader who repeats the command falls outside of it far too often.
//! Where there are several sessions, each counts as one value, and the interval is over sessions: it says where **another session's value will
//! fall** (a prediction interval), since that is what somebody who repeats the command checks. Differences between contenders are judged by
//! the interval of the mean. The levels follow Kalibera & Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013.
//!
//! With few sessions their own spread is known badly: two that happen to agree would promise too much. So it is moderated by what sessions of this
//! kind of measurement typically do in the same store (G. K. Smyth, "Linear Models and Empirical Bayes Methods", 2004): see [`Typical`].
use std::collections::{BTreeMap, HashMap};

use super::{Record, runs_in};
use crate::{
    lab::{
        Kind, Lab, Step,
        plan::Mode,
        sample::{Sample, Side},
    },
    stats::{self, Interval},
};

/// What a pooled record stands for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pooled {
    /// The runs behind it, oldest first; those that are less than [`APART_S`] apart are one session.
    pub sessions: Vec<Vec<String>>,
    /// When the first and the last of them ended.
    pub from: String,
    /// See `from`.
    pub to: String,
    /// What the launches met, if launches in another state were left out: see [`State`].
    pub state: Option<State>,
    /// How sessions of this kind typically vary, if the store knows.
    pub typical: Option<Typical>,
}

/// Launches that met the same machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State {
    /// What they met.
    pub met: Met,
    /// Launches in it.
    pub launches: usize,
    /// Launches of the same sessions in another state, which are not in these numbers.
    pub others: usize,
}

/// What tells one state of the machine from another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Met {
    /// The median hand-off between the CPUs that were used, in ns.
    Handoff(f64),
    /// The core's state, and the most additions per cycle that were ever seen on this processor: see `measure::own_core`.
    Core(Core, f64),
}

/// In which state of the core a launch was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// The number is of blocks that had the core to themselves, at least a fifth of the launch.
    Own,
    /// The number is of blocks during which somebody else used the core's other hardware thread.
    Shared,
    /// Too few blocks of either state to say.
    Between,
}

impl Core {
    /// Of a launch that looked at the core.
    fn of(sample: &Sample, best: f64) -> Option<Self> {
        let adds = sample.values.get(CORE)?;
        let little = sample.receipts.other_state_share.is_some_and(|others| others > OTHERS);
        Some(match adds / best {
            part if part >= OWN_CORE && !little => Self::Own,
            part if part < SHARED_CORE => Self::Shared,
            _ => Self::Between,
        })
    }
}

impl Met {
    /// True if a launch met this state, or does not say what it met.
    pub fn holds(self, sample: &Sample) -> bool {
        match self {
            Self::Handoff(ns) => sample
                .receipts
                .handoff_ns
                .is_none_or(|value| (1.0 / STATES_APART..STATES_APART).contains(&(value / ns))),
            Self::Core(core, best) => Core::of(sample, best).is_none_or(|met| met == core),
        }
    }

    /// `CPUs 40 ns apart`.
    pub fn words(self) -> String {
        match self {
            Self::Handoff(ns) => format!("CPUs {ns:.0} ns apart"),
            Self::Core(Core::Own, _) => "the core not shared".into(),
            Self::Core(..) => "another hardware thread busy on the same core".into(),
        }
    }
}

/// The value of a launch that says how much of the core it had.
const CORE: &str = "core_adds";

/// Which launches of one run count. If some had the core to themselves and others did not, only one group does: those alone, if they are enough for an
/// interval. A run knows no other than its own launches, so they must fall apart clearly; else all count.
pub(super) fn one_core(launches: &[Sample]) -> Vec<bool> {
    let best = best(launches.iter());
    let met: Vec<Option<Core>> = launches.iter().map(|s| Core::of(s, best)).collect();
    let count = |core| met.iter().filter(|m| **m == Some(core)).count();
    let (own, shared) = (count(Core::Own), count(Core::Shared));
    if own == 0 || shared == 0 || own + shared < launches.len() {
        return vec![true; launches.len()];
    }
    let counts = if own >= super::doubts::LAUNCHES || own >= shared { Core::Own } else { Core::Shared };
    met.iter().map(|m| *m == Some(counts)).collect()
}

/// The most additions per cycle that these launches saw.
fn best<'a>(launches: impl Iterator<Item = &'a Sample>) -> f64 {
    launches.filter_map(|s| s.values.get(CORE).copied()).fold(0.0, f64::max)
}

/// How far apart two sessions of one kind of measurement usually are, learned from the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Typical {
    /// Standard deviation of the logarithm of a session's value.
    pub sigma: f64,
    /// Cells with at least three sessions that it was learned from.
    pub cells: usize,
    /// By how much a prediction must be wider than the t-distribution makes it, so that 95 of 100 sessions of these cells would have been predicted by
    /// the others of their cell: sessions scatter with heavier tails than the normal distribution. At least 1.
    pub reach: f64,
}

/// What a whole store says about how sessions vary.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Typicals {
    /// By kind of measurement, and by whether its launches tell one state of the core from the other.
    pub of: BTreeMap<(Kind, bool), Typical>,
    /// For each processor, the most additions per cycle that were seen.
    best: BTreeMap<String, f64>,
}

/// What a pool of one step needs to know of the whole store.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    /// How sessions of this kind vary.
    pub typical: Option<Typical>,
    /// The most additions per cycle that were seen on this processor.
    pub best: f64,
}

impl From<Option<Typical>> for Known {
    fn from(typical: Option<Typical>) -> Self {
        Self { typical, best: 0.0 }
    }
}

/// Runs that ended less than this apart are no sessions of their own.
pub const APART_S: u64 = 120;
/// The hand-off of two groups of launches differs by at least this factor, or they are one state.
const STATES_APART: f64 = 1.7;
/// A core is our own if it does at least this share of the most additions ever seen: as `measure::own_core` judges.
pub const OWN_CORE: f64 = 0.92;
/// And shared below this one. Between them lie launches that met both.
const SHARED_CORE: f64 = 0.86;
/// If more than this share of a launch met the other state, its few blocks often lie beside a change of state.
const OTHERS: f64 = 0.8;
/// As many sessions as the typical spread counts for, when it is set against a cell's own.
const TYPICAL_COUNTS: usize = 4;
/// A typical spread needs so many cells.
const CELLS: usize = 8;

/// What two runs of a step must share, to be pooled: the code that decides the number, the build, the machine and how it was measured.
/// `None` if the record doesn't say enough.
pub fn key(record: &Record) -> Option<String> {
    let fact = |name: &str| record.machine.facts.get(name).map_or("?", String::as_str);
    let code = match fact("code") {
        "?" if fact("dirty") == "false" => format!("revision {}", fact("revision")),
        "?" => return None,
        code => code.to_string(),
    };
    let build = ["rustc", "rustflags", "profile", "target", "runtime"].map(fact).join("|");
    let machine = [
        "cpu",
        "cpus_online",
        "cpus_allowed",
        "memory_bytes",
        "hypervisor",
        "kernel",
        "cpu_limit",
        "memory_limit_bytes",
        "thp",
        "libc",
    ];
    let machine = machine.map(fact).join("|");
    Some(format!("{code}|{build}|{machine}|{:?}|{}|{}", record.mode, record.threads, record.headline))
}

/// The records of a step with one synthetic run more, the newest, if at least two sessions may speak together: then it is that run which the
/// judge and every renderer take. Its launches are sessions. It is never stored; its ids are those of the newest session.
pub fn pooled(lab: &Lab, step: &Step, records: &[Record], known: impl Into<Known>) -> Vec<Record> {
    let of_step: Vec<&Record> = records.iter().filter(|r| r.lab == lab.stem && r.step == step.name).collect();
    of_one_step(&of_step, &step.cells(), known.into())
}

/// The pool of one step's records, over the runs that have all of these cells.
fn of_one_step(records: &[&Record], cells: &[(&str, &str)], known: Known) -> Vec<Record> {
    // By run first: a store may hold ten thousand.
    let mut by_run: HashMap<&str, Vec<&Record>> = HashMap::new();
    for r in records {
        by_run.entry(&r.run).or_default().push(r);
    }
    let has = |run: &str, (c, p): &(&str, &str)| by_run[run].iter().any(|r| r.case == *c && r.param == *p);
    let whole = |run: &&str| cells.iter().all(|cell| has(run, cell));
    let runs: Vec<&str> = runs_in(records).into_iter().filter(whole).collect();
    let first = |run: &str| by_run.get(run).and_then(|of_run| of_run.first().copied());
    // The newest run that was no quick look decides which sessions are wanted.
    let long = |run: &&&str| first(run).is_some_and(|r| matches!(r.mode, Mode::Default | Mode::Full));
    let Some(wanted) = runs.iter().find(long).and_then(|run| key(first(run)?)) else { return Vec::new() };
    let mut mine: Vec<&Record> =
        runs.iter().filter_map(|run| first(run)).filter(|r| key(r).as_ref() == Some(&wanted)).collect();
    mine.reverse(); // oldest first
    let mut sessions: Vec<Vec<String>> = Vec::new();
    let mut last = None;
    for r in &mine {
        let at = humantime::parse_rfc3339(&r.at).ok();
        let near = |(a, b): (std::time::SystemTime, std::time::SystemTime)| {
            let gap = b.duration_since(a).unwrap_or_else(|e| e.duration());
            gap.as_secs() < APART_S
        };
        match sessions.last_mut().filter(|_| last.zip(at).is_some_and(near)) {
            Some(session) => session.push(r.run.clone()),
            None => sessions.push(vec![r.run.clone()]),
        }
        last = at;
    }
    if sessions.len() < 2 {
        return Vec::new();
    }
    let (from, to) = (mine[0].at.clone(), mine[mine.len() - 1].at.clone());
    let all: Vec<&Record> = mine.iter().flat_map(|m| by_run[m.run.as_str()].iter().copied()).collect();
    let state = state(&all, known.best);
    let newest = &mine[mine.len() - 1].run;
    let of_newest: Vec<&&Record> = all.iter().filter(|r| r.run == *newest).collect();
    let pooled = Pooled { from, to, state, typical: known.typical, sessions: sessions.clone() };
    of_newest.into_iter().map(|r| one(r, &all, &sessions, pooled.clone())).collect()
}

/// One cell, its launches being sessions.
fn one(newest: &Record, all: &[&Record], sessions: &[Vec<String>], pooled: Pooled) -> Record {
    let cell: Vec<&Record> =
        all.iter().copied().filter(|r| r.case == newest.case && r.param == newest.param).collect();
    let mut by_run: HashMap<&str, Vec<&Record>> = HashMap::new();
    for r in &cell {
        by_run.entry(&r.run).or_default().push(r);
    }
    let of_session = |runs: &[String]| -> Vec<&Record> {
        runs.iter().filter_map(|run| by_run.get(run.as_str())).flatten().copied().collect()
    };
    // A launch counts by its receipts: which state it met, and whether at least half of it was left to it.
    let in_state = |s: &&Sample| {
        pooled.state.is_none_or(|state| state.met.holds(s)) && super::doubts::is_whole(newest.kind, s)
    };
    let launches: Vec<Sample> = sessions
        .iter()
        .map(|runs| {
            let launches: Vec<&Sample> =
                of_session(runs).into_iter().flat_map(|r| &r.launches).filter(in_state).collect();
            session(newest, &launches)
        })
        .collect();
    // A session speaks only if its own number could have been quoted, or if nothing was wrong with it but a launch or two.
    let enough = |r: &Record| {
        let good = r.launches.iter().filter(|s| s.unmeasured.is_none() && in_state(s));
        good.count() >= super::doubts::LAUNCHES.min(r.launches.len())
    };
    let speaks =
        |r: &Record| r.quotable || r.doubts.iter().all(|d| super::doubts::is_of_launches(d)) && enough(r);
    let quotable: Vec<bool> =
        sessions.iter().map(|runs| of_session(runs).iter().any(|r| speaks(r))).collect();
    let kept: Vec<Sample> = launches
        .into_iter()
        .zip(sessions.iter().zip(&quotable))
        .map(|(s, (runs, ok))| {
            if *ok {
                return s;
            }
            let of_session = of_session(runs);
            let why = of_session.iter().find_map(|r| r.unmeasured());
            Sample::unmeasured(&newest.case, &newest.param, why.unwrap_or("its own number was not quotable"))
        })
        .collect();
    let good = quotable.iter().filter(|q| **q).count();
    let mut doubts = Vec::new();
    let values: Vec<f64> = cell
        .iter()
        .flat_map(|r| r.launches.iter().filter(|s| in_state(s) && s.unmeasured.is_none()))
        .filter_map(|s| s.values.get(&newest.headline).copied())
        .collect();
    let modes = stats::modes::two(&values).filter(|_| newest.kind.is_timed());
    doubts.extend(modes.map(|modes| super::doubts::two_modes(&newest.headline, &modes)));
    if good < 2 {
        doubts.push(
            newest
                .doubts
                .first()
                .cloned()
                .unwrap_or_else(|| "fewer than two sessions gave a number that may be quoted".into()),
        );
    }
    let mut record = Record {
        run: format!("{} sessions up to {}", sessions.len(), newest.run),
        launches: kept,
        odd_launches: Vec::new(),
        quotable: good >= 2 && doubts.is_empty(),
        doubts,
        pooled: Some(Box::new(pooled)),
        ..newest.clone()
    };
    record.interval = record.interval_of(&record.headline);
    record
}

/// The launches of a session as one: of each value the middle of its interval over them.
fn session(of: &Record, launches: &[&Sample]) -> Sample {
    let mut out = Sample::new(&of.case, &of.param);
    let measured: Vec<&&Sample> = launches.iter().filter(|s| s.unmeasured.is_none()).collect();
    if measured.is_empty() {
        let why = launches.iter().find_map(|s| s.unmeasured.clone());
        return Sample::unmeasured(
            &of.case,
            &of.param,
            why.unwrap_or_else(|| "no launch met this state".into()),
        );
    }
    let names = measured.iter().flat_map(|s| s.values.keys()).collect::<std::collections::BTreeSet<_>>();
    for name in names {
        let values: Vec<f64> = measured.iter().filter_map(|s| s.values.get(name).copied()).collect();
        if let Some(i) = stats::over_launches(&values) {
            out.values.insert(name.clone(), i.mid);
        }
        let tries: Option<Vec<f64>> = measured.iter().map(|s| s.tries.get(name).copied()).collect();
        if let Some(tries) = tries {
            let all: f64 = tries.iter().sum();
            let hits: f64 = values.iter().zip(&tries).map(|(share, tries)| share * tries).sum();
            out = out.share(name, hits, all);
        }
        let sides: Vec<Side> = measured.iter().filter_map(|s| s.bounds.get(name).copied()).collect();
        if let Some(side) = sides.first().filter(|_| sides.len() * 2 >= values.len()) {
            out.bounds.insert(name.clone(), *side);
        }
    }
    let sum = |of: fn(&Sample) -> Option<f64>| measured.iter().map(|s| of(s)).sum::<Option<f64>>();
    out.receipts.kept_count = sum(|s| s.receipts.kept_count);
    out.receipts.dropped_count = sum(|s| s.receipts.dropped_count);
    out.receipts.handoff_ns =
        stats::median(&measured.iter().filter_map(|s| s.receipts.handoff_ns).collect::<Vec<_>>());
    let mut seen: Vec<String> = measured.iter().flat_map(|s| s.seen.iter().cloned()).collect();
    seen.dedup();
    out.seen = seen;
    out
}

/// True if most launches of a new session met the state of the machine that a pooled record is about, or if nobody can tell.
pub fn same_state(pool: &Record, new: &Record) -> bool {
    let looked = |of: fn(&Sample) -> Option<f64>, r: &Record| {
        stats::median(&r.launches.iter().filter_map(of).collect::<Vec<_>>())
    };
    let met = match (pool.pooled.as_ref().and_then(|p| p.state), looked(|s| s.receipts.handoff_ns, pool)) {
        (Some(state), _) => state.met,
        (None, Some(ns)) => Met::Handoff(ns),
        (None, None) => {
            let best = best([pool, new].iter().flat_map(|r| &r.launches));
            let own = pool.launches.iter().filter(|s| Core::of(s, best) == Some(Core::Own)).count();
            Met::Core(if own * 2 >= pool.launches.len() { Core::Own } else { Core::Shared }, best)
        }
    };
    new.launches.iter().filter(|s| met.holds(s)).count() * 2 > new.launches.len()
}

/// If the launches met clearly different machines, the state that most of them were in. A core that is alone is the same on any day, so two
/// sessions of it are enough.
fn state(all: &[&Record], known: f64) -> Option<State> {
    let met = |of: fn(&Sample) -> Option<f64>| -> Vec<f64> {
        let mut met: Vec<f64> = all.iter().flat_map(|r| &r.launches).filter_map(of).collect();
        met.sort_by(f64::total_cmp);
        met
    };
    let handoffs = met(|s| s.receipts.handoff_ns);
    let groups: Vec<&[f64]> = handoffs.chunk_by(|a, b| b / a < STATES_APART).collect();
    if groups.len() > 1 {
        let most = groups.iter().max_by_key(|g| g.len())?;
        let ns = stats::median(most)?;
        return Some(State {
            met: Met::Handoff(ns),
            launches: most.len(),
            others: handoffs.len() - most.len(),
        });
    }
    if !handoffs.is_empty() {
        return None;
    }
    let launches = || all.iter().flat_map(|r| &r.launches);
    let best = best(launches()).max(known);
    let count =
        |launches: &[Sample], core| launches.iter().filter(|s| Core::of(s, best) == Some(core)).count();
    let of_all = |core| all.iter().map(|r| count(&r.launches, core)).sum::<usize>();
    let [own, shared, between] = [Core::Own, Core::Shared, Core::Between].map(of_all);
    if own + shared == 0 || shared + between == 0 {
        return None;
    }
    let enough =
        |r: &&&Record| count(&r.launches, Core::Own) >= super::doubts::LAUNCHES.min(r.launches.len());
    let runs = all.iter().filter(enough).map(|r| r.run.as_str()).collect::<std::collections::BTreeSet<_>>();
    let core = if runs.len() > 1 || shared == 0 { Core::Own } else { Core::Shared };
    let launches = if core == Core::Own { own } else { shared };
    Some(State { met: Met::Core(core, best), launches, others: own + shared + between - launches })
}

/// True if the launches of a record tell one state of the core from the other: then sessions vary less.
fn looks(record: &Record) -> bool {
    record.launches.iter().any(|s| s.values.contains_key(CORE))
}

/// What the store knows for a step of this kind with these records: the newest decides.
pub fn known_of<'a>(typicals: &Typicals, kind: Kind, records: impl IntoIterator<Item = &'a Record>) -> Known {
    let Some(newest) = records.into_iter().max_by(|a, b| a.at.cmp(&b.at)) else { return Known::default() };
    let best = newest.machine.facts.get("cpu").and_then(|cpu| typicals.best.get(cpu));
    Known {
        typical: typicals.of.get(&(kind, looks(newest))).copied(),
        best: best.copied().unwrap_or_default(),
    }
}

/// How sessions of each kind vary, over all cells of these records that have at least three sessions. It asks the records alone, so that a
/// program that knows one lab learns the same from a store as one that knows all.
pub fn typical(records: &[Record]) -> Typicals {
    let mut steps: BTreeMap<(&str, &str), Vec<&Record>> = BTreeMap::new();
    for r in records {
        steps.entry((&r.lab, &r.step)).or_default().push(r);
    }
    let mut best: BTreeMap<String, f64> = BTreeMap::new();
    for r in records.iter().filter(|r| looks(r)) {
        let cpu = r.machine.facts.get("cpu").cloned().unwrap_or_default();
        let best = best.entry(cpu).or_default();
        *best = self::best(r.launches.iter()).max(*best);
    }
    let mut cells: BTreeMap<(Kind, bool), Vec<Vec<f64>>> = BTreeMap::new();
    for of_step in steps.values() {
        let Some(newest) = runs_in(of_step).first().copied() else { continue };
        let of_newest: Vec<(&str, &str)> =
            of_step.iter().filter(|r| r.run == newest).map(|r| (r.case.as_str(), r.param.as_str())).collect();
        let cpu = of_step.iter().find(|r| r.run == newest).and_then(|r| r.machine.facts.get("cpu"));
        let known = cpu.and_then(|cpu| best.get(cpu)).copied().unwrap_or_default();
        for cell in of_one_step(of_step, &of_newest, Known { typical: None, best: known }) {
            let values = cell.values(&cell.headline);
            if values.len() >= 3 && values.iter().all(|v| *v > 0.0) {
                cells.entry((cell.kind, looks(&cell))).or_default().push(values);
            }
        }
    }
    let of = |(which, cells): ((Kind, bool), Vec<Vec<f64>>)| {
        let sigma = stats::median(&cells.iter().map(|v| variance(v)).collect::<Vec<_>>())?.sqrt();
        let reach = reach(&cells, sigma);
        (cells.len() >= CELLS).then_some((which, Typical { sigma, cells: cells.len(), reach }))
    };
    Typicals { of: cells.into_iter().filter_map(of).collect(), best }
}

/// The variance of the logarithms of a cell's sessions, as an estimate whose median over many cells is right: the median of sample variances lies
/// below the variance by a known factor (Wilson & Hilferty 1931).
fn variance(values: &[f64]) -> f64 {
    let logs: Vec<f64> = values.iter().map(|v| v.ln()).collect();
    let mean = logs.iter().sum::<f64>() / logs.len() as f64;
    let df = logs.len() as f64 - 1.0;
    let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / df;
    variance / (1.0 - 2.0 / (9.0 * df)).powi(3)
}

/// See [`Typical::reach`]. Each session is predicted from the others of its cell, and its distance measured in half-widths of that prediction; the
/// result is what 95 of 100 distances stay within (cross-conformal prediction: V. Vovk, Ann. Math. Artif. Intell. 74, 2015).
fn reach(cells: &[Vec<f64>], sigma: f64) -> f64 {
    let mut distances = Vec::new();
    for values in cells {
        for (left_out, value) in values.iter().enumerate() {
            let others: Vec<f64> =
                values.iter().enumerate().filter(|(i, _)| *i != left_out).map(|(_, v)| *v).collect();
            let said = stats::next_value(&others, Some((sigma.powi(2), TYPICAL_COUNTS)));
            // Counts that all agree are their own prediction.
            let Some(said) = said.filter(|i| i.hi > i.lo && i.lo > 0.0) else { continue };
            distances.push((value / said.mid).ln().abs() / (said.hi / said.lo).ln() * 2.0);
        }
    }
    distances.sort_by(f64::total_cmp);
    let at = (distances.len() * 95).div_ceil(100).saturating_sub(1);
    distances.get(at).map_or(1.0, |d| d.max(1.0))
}

/// All records of a store, and after those of each step its pooled run, if it has one.
pub fn with_pools(labs: &[&Lab], all: Vec<Record>) -> Vec<Record> {
    let typical = typical(&all);
    with_typical(labs, all, &typical)
}

/// The same for some of a store's records, where it is known how sessions vary in the whole store.
pub fn with_typical(labs: &[&Lab], mut records: Vec<Record>, typicals: &Typicals) -> Vec<Record> {
    let mut steps: HashMap<(&str, &str), Vec<&Record>> = HashMap::new();
    for r in &records {
        steps.entry((&r.lab, &r.step)).or_default().push(r);
    }
    let mut more = Vec::new();
    for (lab, step) in labs.iter().flat_map(|lab| lab.steps.iter().map(move |s| (lab, s))) {
        let Some(of_step) = steps.get(&(lab.stem, step.name)) else { continue };
        let known = known_of(typicals, step.kind, of_step.iter().copied());
        more.extend(of_one_step(of_step, &step.cells(), known));
    }
    records.extend(more);
    records
}

impl Pooled {
    /// Where another session's value will fall. What is typical of times does not count for values that were `counted`.
    pub fn next_session(&self, values: &[f64], counted: bool) -> Option<Interval> {
        let typical = self.typical.filter(|_| !counted);
        let prior = typical.map(|t| (t.sigma.powi(2), TYPICAL_COUNTS));
        let said = stats::next_value(values, prior)?;
        let (Some(typical), true) = (typical, said.lo > 0.0) else { return Some(said) };
        let end = |end: f64| said.mid * (end / said.mid).powf(typical.reach);
        Some(Interval { lo: end(said.lo), hi: end(said.hi), ..said })
    }
    /// `3 sessions, 2 days`.
    pub fn words(&self) -> String {
        let at = |text: &str| humantime::parse_rfc3339(text).ok();
        let span = at(&self.from).zip(at(&self.to)).and_then(|(a, b)| b.duration_since(a).ok());
        let span = span.map(|d| match d.as_secs() {
            s if s < 5_400 => format!("{} minutes", s.div_ceil(60)),
            s if s < 129_600 => format!("{} hours", (s + 1_800) / 3_600),
            s => format!("{} days", (s + 43_200) / 86_400),
        });
        let state = self
            .state
            .map(|s| format!(", {} ({} of {} launches)", s.met.words(), s.launches, s.launches + s.others));
        format!(
            "{} sessions over {}{}",
            self.sessions.len(),
            span.unwrap_or_else(|| "an unknown time".into()),
            state.unwrap_or_default()
        )
    }
}

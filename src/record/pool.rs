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
use std::collections::BTreeMap;

use super::{Record, runs_of};
use crate::{
    lab::{Kind, Lab, Step, plan::Mode, sample::Sample},
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

/// Launches that met the same machine: the hand-off between the CPUs that they used.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct State {
    /// Median hand-off of these launches, in ns.
    pub handoff_ns: f64,
    /// Launches in it.
    pub launches: usize,
    /// Launches of the same sessions in another state, which are not in these numbers.
    pub others: usize,
}

/// How far apart two sessions of one kind of measurement usually are, learned from the store.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Typical {
    /// Standard deviation of the logarithm of a session's value.
    pub sigma: f64,
    /// Cells with at least three sessions that it was learned from.
    pub cells: usize,
}

/// Runs that ended less than this apart are no sessions of their own.
pub const APART_S: u64 = 120;
/// The hand-off of two groups of launches differs by at least this factor, or they are one state.
const STATES_APART: f64 = 1.7;
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
    let build = ["rustc", "rustflags", "profile", "target"].map(fact).join("|");
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
pub fn pooled(lab: &Lab, step: &Step, records: &[Record], typical: Option<Typical>) -> Vec<Record> {
    let whole = |run: &&str| step.cells().iter().all(|(c, p)| super::find(records, run, c, p).is_some());
    let runs: Vec<&str> = runs_of(records, lab.stem, step.name).into_iter().filter(whole).collect();
    let first = |run: &str| records.iter().find(|r| r.run == run && r.lab == lab.stem && r.step == step.name);
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
    let all: Vec<&Record> = mine
        .iter()
        .flat_map(|m| records.iter().filter(move |r| r.run == m.run && r.lab == m.lab && r.step == m.step))
        .collect();
    let state = state(&all);
    let newest = &mine[mine.len() - 1].run;
    let of_newest: Vec<&&Record> = all.iter().filter(|r| r.run == *newest).collect();
    let pooled = Pooled { from, to, state, typical, sessions: sessions.clone() };
    of_newest.into_iter().map(|r| one(r, &all, &sessions, pooled.clone())).collect()
}

/// One cell, its launches being sessions.
fn one(newest: &Record, all: &[&Record], sessions: &[Vec<String>], pooled: Pooled) -> Record {
    let cell: Vec<&&Record> =
        all.iter().filter(|r| r.case == newest.case && r.param == newest.param).collect();
    let in_state = |s: &&Sample| pooled.state.is_none_or(|state| is_in(state, s));
    let launches: Vec<Sample> = sessions
        .iter()
        .map(|runs| {
            let of_session = cell.iter().filter(|r| runs.contains(&r.run)).flat_map(|r| &r.launches);
            session(newest, &of_session.filter(in_state).collect::<Vec<_>>())
        })
        .collect();
    let of_session = |runs: &Vec<String>| {
        cell.iter().filter(|r| runs.contains(&r.run)).copied().copied().collect::<Vec<_>>()
    };
    // A session speaks only if its own number could have been quoted.
    let quotable: Vec<bool> =
        sessions.iter().map(|runs| of_session(runs).iter().any(|r| r.quotable)).collect();
    let kept: Vec<Sample> = launches
        .into_iter()
        .zip(&quotable)
        .map(|(s, ok)| {
            if *ok {
                s
            } else {
                Sample::unmeasured(&newest.case, &newest.param, "that session's number may not be quoted")
            }
        })
        .collect();
    let good = quotable.iter().filter(|q| **q).count();
    let mut doubts = Vec::new();
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
        quotable: good >= 2,
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

/// If the launches met clearly different hand-offs, the state that most of them were in.
fn state(all: &[&Record]) -> Option<State> {
    let mut met: Vec<f64> =
        all.iter().flat_map(|r| &r.launches).filter_map(|s| s.receipts.handoff_ns).collect();
    met.sort_by(f64::total_cmp);
    let groups: Vec<&[f64]> = met.chunk_by(|a, b| b / a < STATES_APART).collect();
    if groups.len() < 2 {
        return None;
    }
    let most = groups.iter().max_by_key(|g| g.len())?;
    Some(State { handoff_ns: stats::median(most)?, launches: most.len(), others: met.len() - most.len() })
}

/// True if a launch met this state, or does not say what it met.
fn is_in(state: State, sample: &Sample) -> bool {
    sample.receipts.handoff_ns.is_none_or(|ns| {
        let ratio = ns / state.handoff_ns;
        (1.0 / STATES_APART..STATES_APART).contains(&ratio)
    })
}

/// How sessions of each kind vary, over all cells of these labs that have at least three sessions.
pub fn typical(labs: &[&Lab], records: &[Record]) -> BTreeMap<Kind, Typical> {
    let mut variances: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
    for (lab, step) in labs.iter().flat_map(|lab| lab.steps.iter().map(move |s| (lab, s))) {
        for r in pooled(lab, step, records, None) {
            let values = r.values(step.headline);
            if values.len() >= 3 && values.iter().all(|v| *v > 0.0) {
                let logs: Vec<f64> = values.iter().map(|v| v.ln()).collect();
                let mean = logs.iter().sum::<f64>() / logs.len() as f64;
                let df = logs.len() as f64 - 1.0;
                let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / df;
                // The median of sample variances lies below the variance by this factor (Wilson & Hilferty 1931).
                variances.entry(step.kind).or_default().push(variance / (1.0 - 2.0 / (9.0 * df)).powi(3));
            }
        }
    }
    let of = |(kind, all): (Kind, Vec<f64>)| {
        let sigma = stats::median(&all)?.sqrt();
        (all.len() >= CELLS).then_some((kind, Typical { sigma, cells: all.len() }))
    };
    variances.into_iter().filter_map(of).collect()
}

/// All records, and after those of each step its pooled run, if it has one.
pub fn with_pools(labs: &[&Lab], mut records: Vec<Record>) -> Vec<Record> {
    let typical = typical(labs, &records);
    let mut more = Vec::new();
    for (lab, step) in labs.iter().flat_map(|lab| lab.steps.iter().map(move |s| (lab, s))) {
        more.extend(pooled(lab, step, &records, typical.get(&step.kind).copied()));
    }
    records.extend(more);
    records
}

impl Pooled {
    /// Where another session's value will fall.
    pub fn next_session(&self, values: &[f64]) -> Option<Interval> {
        let prior = self.typical.map(|t| (t.sigma.powi(2), TYPICAL_COUNTS));
        stats::next_value(values, prior)
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
        let state = self.state.map(|s| {
            format!(
                ", hand-off {:.0} ns ({} of {} launches)",
                s.handoff_ns,
                s.launches,
                s.launches + s.others
            )
        });
        format!(
            "{} sessions over {}{}",
            self.sessions.len(),
            span.unwrap_or_else(|| "an unknown time".into()),
            state.unwrap_or_default()
        )
    }
}

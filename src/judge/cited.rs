//! Which run of a step speaks for it: in the notes, in a comparison.
use std::collections::HashMap;

use crate::{
    lab::{Lab, plan::Mode},
    record::{Record, pool, runs_of},
};

/// The records that a lab's block rests on: for each step the sessions that speak together, or the one run that does. They are what is
/// committed beside the notes; citing from them alone cites the same.
pub fn cited(lab: &Lab, records: &[Record]) -> Vec<Record> {
    let mut out = Vec::new();
    for step in &lab.steps {
        let pooled = pool::pooled(lab, step, records, None);
        match pooled.first().and_then(|r| r.pooled.as_ref()) {
            Some(pool) => {
                let runs: Vec<&String> = pool.sessions.iter().flatten().collect();
                let mine = |r: &&Record| runs.contains(&&r.run) && r.lab == lab.stem && r.step == step.name;
                out.extend(records.iter().filter(mine).cloned());
            }
            None => out.extend(speaking(lab, records).into_iter().filter(|r| r.step == step.name)),
        }
    }
    out
}

/// The records that speak for a lab, one run for each step: the pooled one where there are sessions. Of single runs the the newest complete run that may be quoted as a whole, else the newest
/// complete one with a row that may, else the newest complete one, else the newest. A quick or smoke run is cited only for a step that
/// has no other. They are what is committed beside the notes; citing from them alone cites the same.
pub fn speaking(lab: &Lab, records: &[Record]) -> Vec<Record> {
    let mut out = Vec::new();
    for step in &lab.steps {
        // By run first: a store may hold a thousand runs.
        let mut by_run: HashMap<&str, Vec<&Record>> = HashMap::new();
        for r in records.iter().filter(|r| r.lab == lab.stem && r.step == step.name) {
            by_run.entry(&r.run).or_default().push(r);
        }
        let rank = |run: &&str| {
            let of_run = by_run.get(run).map_or(&[][..], Vec::as_slice);
            let row = |c: &str, p: &str| of_run.iter().copied().find(|r| r.case == c && r.param == p);
            let rows: Vec<Option<&Record>> = step.cells().iter().map(|(c, p)| row(c, p)).collect();
            let quotable = |r: &Option<&Record>| r.is_some_and(|r| r.quotable && r.unmeasured().is_none());
            let short = of_run.iter().any(|r| matches!(r.mode, Mode::Quick | Mode::Smoke));
            let rank = match rows.iter().all(Option::is_some) {
                true if rows.iter().all(quotable) => 0,
                true if rows.iter().any(quotable) => 1,
                true => 2,
                false => 3,
            };
            (short, rank)
        };
        // Of equal rank `min_by_key` takes the first, and the runs come newest first.
        if let Some(run) = runs_of(records, lab.stem, step.name).into_iter().min_by_key(rank) {
            out.extend(
                records.iter().filter(|r| r.run == run && r.lab == lab.stem && r.step == step.name).cloned(),
            );
        }
    }
    out
}

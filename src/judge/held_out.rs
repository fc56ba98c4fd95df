//! Does what was said yesterday hold today? Of each step the newest session is left out, those before it are pooled, and the newest one's
//! values are looked up in the intervals that the pool had promised.
use std::collections::BTreeMap;

use super::{Compared, compare};
use crate::{
    lab::{Kind, Lab, Step},
    record::{AA, Record, pool},
    stats,
};

/// What became of all values of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Values that the pool before could have been quoted for, and that the newest session has.
    pub values: usize,
    /// Values of sessions that met another state of the machine than the pool is about. They are not among `values`.
    pub elsewhere: usize,
    /// Those that fell into the pool's interval.
    pub inside: usize,
    /// Ratios to the baseline that both the pool and the newest session call different from 1.
    pub ratios: usize,
    /// Those whose direction changed.
    pub reversed: usize,
    /// For each value, how wide the pool's interval was, as half of the logarithm of its ends' ratio; and that of the newest session alone.
    widths: Vec<(f64, f64)>,
}

impl Kept {
    /// The median half-width of the pool's intervals, as a share (0.1 is 10 %), and that of the newest session's own.
    pub fn half_widths(&self) -> Option<(f64, f64)> {
        let of =
            |pick: fn(&(f64, f64)) -> f64| stats::median(&self.widths.iter().map(pick).collect::<Vec<_>>());
        Some((of(|w| w.0)?.exp_m1(), of(|w| w.1)?.exp_m1()))
    }
    /// Adds another kind's.
    pub fn add(&mut self, more: &Self) {
        self.values += more.values;
        self.inside += more.inside;
        self.elsewhere += more.elsewhere;
        self.ratios += more.ratios;
        self.reversed += more.reversed;
        self.widths.extend(&more.widths);
    }
}

/// By kind, over all steps with at least three sessions; and how many steps those are.
pub fn held_out(labs: &[&Lab], records: &[Record]) -> (BTreeMap<Kind, Kept>, usize) {
    let steps: Vec<(&Lab, &Step, Vec<Record>)> = labs
        .iter()
        .flat_map(|lab| lab.steps.iter().map(move |step| (*lab, step)))
        .map(|(lab, step)| {
            let mine = |r: &&Record| r.lab == lab.stem && r.step == step.name;
            (lab, step, records.iter().filter(mine).cloned().collect())
        })
        .collect();
    // What a kind typically does is learned without the sessions that are left out.
    let mut earlier = Vec::new();
    let mut split = Vec::new();
    for (lab, step, mine) in &steps {
        let all = pool::pooled(lab, step, mine, None);
        let Some(sessions) = all.first().and_then(|r| Some(r.pooled.as_ref()?.sessions.clone())) else {
            continue;
        };
        let [.., last] = &sessions[..] else { continue };
        if sessions.len() < 3 {
            continue;
        }
        let (newest, before): (Vec<Record>, Vec<Record>) =
            mine.iter().cloned().partition(|r| last.contains(&r.run));
        earlier.extend(before.iter().cloned());
        split.push((*lab, *step, before, newest));
    }
    let typical = pool::typical(&earlier);
    let mut out: BTreeMap<Kind, Kept> = BTreeMap::new();
    for (lab, step, before, newest) in &split {
        let before = pool::pooled(lab, step, before, pool::known_of(&typical, step.kind, before));
        out.entry(step.kind).or_default().add(&of_step(step, &before, newest));
    }
    (out, split.len())
}

/// What became of one step: the pool of the sessions before, and the records of the newest one.
fn of_step(step: &Step, before: &[Record], newest: &[Record]) -> Kept {
    let mut kept = Kept::default();
    let find = |records: &'_ [Record], case: &str, param: &str| -> Option<usize> {
        records.iter().position(|r| r.case == case && r.param == param)
    };
    for promise in before.iter().filter(|r| r.quotable && r.case != AA) {
        let Some(now) = find(newest, &promise.case, &promise.param).map(|i| &newest[i]) else { continue };
        let (Some(said), Some(is)) = (promise.interval_of(step.headline), now.interval_of(step.headline))
        else {
            continue;
        };
        // A session that met another state of the machine is not what the pool spoke about.
        if !now.quotable {
            continue;
        }
        if !pool::same_state(promise, now) {
            kept.elsewhere += 1;
            continue;
        }
        kept.values += 1;
        kept.inside += usize::from((said.lo..=said.hi).contains(&is.mid));
        if said.lo > 0.0 && is.lo > 0.0 {
            kept.widths.push(((said.hi / said.lo).ln() / 2.0, (is.hi / is.lo).ln() / 2.0));
        }
        let direction = |records: &[Record], r: &Record| {
            let base = &records[find(records, step.baseline(), &r.param)?];
            match compare(step, records, (r, step.headline), (base, step.headline)) {
                Compared::Differs { ratio, .. } => Some(ratio.mid > 1.0),
                _ => None,
            }
        };
        if promise.case != step.baseline()
            && let (Some(was), Some(is)) = (direction(before, promise), direction(newest, now))
        {
            kept.ratios += 1;
            kept.reversed += usize::from(was != is);
        }
    }
    kept
}

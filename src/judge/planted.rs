//! Would the runs find a slowdown that is known to be there? The A/A row measures the baseline once more. Made slower by a known share, it is
//! a contender with a known answer; as it is, it is a contender with no difference.
//!
//! A run may not judge its own A/A row: that always lies within its own band. So the band is the one of the next session of the same step.
use std::collections::BTreeMap;

use super::guess;
use crate::{
    lab::{Kind, Lab},
    record::{AA, Record, aa_band, find, pool, ratio, runs_of},
};

/// What was planted, and what became of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// Comparisons: an A/A row of a session, beside the band of the next session.
    pub tries: usize,
    /// Slowdowns that were called a difference, in the right direction.
    pub found: usize,
    /// A/A rows that were called a difference as they are.
    pub alarms: usize,
    /// For each comparison, the smallest slowdown that it would have found, as a share.
    needed: Vec<f64>,
}

impl Found {
    /// The slowdown, as a share, that 19 of 20 comparisons would have found.
    pub fn nearly_always(&self) -> Option<f64> {
        let mut needed = self.needed.clone();
        needed.sort_by(f64::total_cmp);
        needed.get((needed.len() * 19).div_ceil(20).checked_sub(1)?).copied()
    }

    /// Adds another kind's.
    pub fn add(&mut self, more: &Self) {
        self.tries += more.tries;
        self.found += more.found;
        self.alarms += more.alarms;
        self.needed.extend(&more.needed);
    }
}

/// What is planted, in words. `None` for kinds whose A/A row is no measurement of time.
pub fn words(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Single => Some("2 %"),
        Kind::Contended | Kind::Tail => Some("10 %"),
        Kind::Pause => Some("1 ms"),
        Kind::Chance | Kind::Count => None,
    }
}

/// How much is planted into a value of this size, as a share. `None` where nothing is.
fn share(kind: Kind, headline: &str, value: f64) -> Option<f64> {
    match kind {
        Kind::Single => Some(0.02),
        Kind::Contended | Kind::Tail => Some(0.1),
        Kind::Pause if headline.ends_with("_ns") => Some(1e6 / value),
        Kind::Pause | Kind::Chance | Kind::Count => None,
    }
}

/// By kind, over all steps that have an A/A row and two sessions or more.
pub fn found(labs: &[&Lab], records: &[Record]) -> BTreeMap<Kind, Found> {
    let mut out: BTreeMap<Kind, Found> = BTreeMap::new();
    for lab in labs {
        for step in &lab.steps {
            if words(step.kind).is_none() {
                continue;
            }
            let mine = |r: &&Record| r.lab == lab.stem && r.step == step.name && r.pooled.is_none();
            let mine: Vec<Record> = records.iter().filter(mine).cloned().collect();
            let all = out.entry(step.kind).or_default();
            for param in step.params() {
                let band = |run: &str| aa_band(&mine, run, param, step.headline);
                let runs = runs_of(&mine, lab.stem, step.name);
                let of_code = |run: &str| find(&mine, run, AA, param).and_then(pool::key);
                for (i, run) in runs.iter().enumerate() {
                    let next = runs.iter().cycle().skip(i + 1).take(runs.len() - 1);
                    let Some(band) =
                        next.filter(|next| of_code(next) == of_code(run)).find_map(|next| band(next))
                    else {
                        continue;
                    };
                    let twin = find(&mine, run, AA, param);
                    let base = find(&mine, run, step.baseline(), param);
                    let (Some(twin), Some(base)) = (twin, base) else { continue };
                    if !twin.quotable || !base.quotable {
                        continue;
                    }
                    let Some(of) = ratio(twin, step.headline, base, step.headline) else { continue };
                    let middle = base.interval_of(step.headline).map(|i| i.mid);
                    let Some(share) = middle.and_then(|m| share(step.kind, step.headline, m)) else {
                        continue;
                    };
                    if of.n < 2 || of.lo <= 0.0 {
                        continue;
                    }
                    // A slowdown makes a time longer and a rate smaller.
                    let less = guess::more_is_better(step.headline);
                    let (lo, hi) = if less { (1.0 / of.hi, 1.0 / of.lo) } else { (of.lo, of.hi) };
                    let needed = (band.exp() / lo - 1.0).max(0.0);
                    all.tries += 1;
                    all.found += usize::from(share > needed);
                    all.alarms += usize::from(lo > band.exp() || hi < (-band).exp());
                    all.needed.push(needed);
                }
            }
        }
    }
    out.retain(|_, found| found.tries > 0);
    out
}

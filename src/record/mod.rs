//! The one serialised type: what a run measured of one case, as one JSON line that anybody can read with `jq`.
//!
//! Raw values of every launch are kept, so that any interval can be computed again from the store.
pub mod doubts;
pub mod file;
mod machines;
mod picture;
pub mod pool;
mod prediction;
mod seal;
mod store;

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    lab::{
        Kind,
        plan::Mode,
        sample::{Sample, Side},
    },
    machine::Machine,
    stats::{self, Interval},
};

pub use crate::lab::sample::AA;

pub use self::picture::{Lane, Picture};
pub use self::prediction::{Guess, Prediction};
pub use self::seal::seal;
pub use self::store::{Loaded, Store, StoreError, is_lab_name};

/// Raised when the meaning of a field changes. A reader skips and counts records of a newer schema.
pub const SCHEMA: u32 = 1;

/// One case at one parameter in one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`] when it was written. First in the line.
    pub schema: u32,
    /// Twelve hex digits of the SHA-256 of the rest of the line: names the record, and shows damage.
    pub id: String,
    /// Shared by all records of one run of one step.
    pub run: String,
    /// When the run ended, UTC, RFC 3339.
    pub at: String,
    /// Lab, step, case, parameter; `baseline` is the case that ratios are against.
    pub lab: String,
    #[allow(missing_docs, reason = "see `lab`")]
    pub step: String,
    #[allow(missing_docs, reason = "see `lab`")]
    pub case: String,
    #[allow(missing_docs, reason = "see `lab`")]
    pub param: String,
    #[allow(missing_docs, reason = "see `lab`")]
    pub baseline: String,
    /// What the machine had to be fit for.
    pub kind: Kind,
    /// How long the run was allowed to take.
    pub mode: Mode,
    /// Threads of a contended case.
    pub threads: usize,
    /// The headline value's name, and its interval over launches, for readers of the raw line.
    pub headline: String,
    #[allow(missing_docs, reason = "see `headline`")]
    pub interval: Option<Interval>,
    /// The raw samples, one a launch; a launch that failed is a sample with `unmeasured`.
    pub launches: Vec<Sample>,
    /// Launches whose headline lies more than 10 median absolute deviations from the median: flagged, never dropped.
    pub odd_launches: Vec<usize>,
    /// True if the number may be quoted; else `doubts` says why not.
    pub quotable: bool,
    #[allow(missing_docs, reason = "see `quotable`")]
    pub doubts: Vec<String>,
    /// The command that repeats it.
    pub command: String,
    /// The machine as it was, and what it was fit for.
    pub machine: Machine,
    /// Numbers about the run as a whole (busy share of others before, during and after; steal).
    pub during: BTreeMap<String, f64>,
    /// Set if its launches are sessions: see [`pool`]. Never stored.
    #[serde(skip)]
    pub pooled: Option<Box<pool::Pooled>>,
}

impl Record {
    /// Fills what follows from the rest: schema, interval, odd launches, and last the id, which covers all of it.
    ///
    /// A value that is not finite has no place in JSON and is no measurement: it is removed, and said so in `doubts`.
    #[must_use]
    pub fn seal(mut self) -> Self {
        for (i, sample) in self.launches.iter_mut().enumerate() {
            sample.values.retain(|name, v| {
                if !v.is_finite() {
                    self.doubts.push(format!("launch {}: `{name}` was not a finite number", i + 1));
                    self.quotable = false;
                }
                v.is_finite()
            });
        }
        self.machine.fitness.retain(|_, v| v.is_finite());
        self.during.retain(|_, v| v.is_finite());
        self.schema = SCHEMA;
        self.interval = self.interval_of(&self.headline);
        let (at, values): (Vec<usize>, Vec<f64>) = self.launches_with(&self.headline).unzip();
        self.odd_launches = stats::odd(&values).into_iter().map(|i| at[i]).collect();
        self.id.clear();
        self.id = id_of(&self.line());
        self
    }

    /// True if the id is the one of the content.
    pub fn is_sealed(&self) -> bool {
        self.id == id_of(&Self { id: String::new(), ..self.clone() }.line())
    }

    /// The record as one line of JSON, without the line's end.
    pub(crate) fn line(&self) -> String {
        serde_json::to_string(self).expect("maps with string keys and numbers always serialise")
    }

    /// The value in every launch that has it, in the order of launches. If some launches had the core to themselves and others did not, only one
    /// of the two groups counts.
    pub fn values(&self, name: &str) -> Vec<f64> {
        self.launches_with(name).map(|(_, v)| v).collect()
    }

    /// The value over launches, or over sessions where the record is pooled: then it is where another session's value will fall. `None` if no
    /// launch has it. A share that was a part of a whole in every launch is so at its upper end, too.
    pub fn interval_of(&self, name: &str) -> Option<Interval> {
        if let Some(share) = self.share_of(name) {
            return Some(share);
        }
        let (values, whole) = (self.values(name), 0.0..=1.0);
        let mut interval = match &self.pooled {
            Some(pooled) => pooled.next_session(&values, self.is_counted(name))?,
            None => stats::over_launches(&values)?,
        };
        if name.ends_with("_share") && values.iter().all(|v| whole.contains(v)) {
            interval.hi = interval.hi.min(1.0);
        }
        Some(interval)
    }

    /// Bytes and counts beside a time do not vary as times do.
    fn is_counted(&self, name: &str) -> bool {
        self.kind.is_timed() && ["_bytes", "_count"].iter().any(|unit| name.ends_with(unit))
    }

    /// The interval of a share whose tries are known: Wilson's, of all launches together, and no narrower than the spread between launches says,
    /// since the tries of one launch may depend on each other. If the record is pooled it says where the share of another session of the same length
    /// will fall, and is no narrower than the spread between the sessions says.
    fn share_of(&self, name: &str) -> Option<Interval> {
        let mut all = (0.0, 0.0, 0.0);
        for (launch, share) in self.launches_with(name) {
            let tries = self.launches[launch].tries.get(name)?;
            all = (all.0 + share * tries, all.1 + tries, all.2 + 1.0);
        }
        let (hits, tries, launches) = all;
        let Some(pooled) = &self.pooled else {
            let of_tries = stats::wilson(hits.min(tries), tries)?;
            let between = stats::over_launches(&self.values(name)).filter(|_| launches > 2.0);
            let (lo, hi) = between
                .map_or((of_tries.lo, of_tries.hi), |b| (of_tries.lo.min(b.lo), of_tries.hi.max(b.hi)));
            return Some(Interval { lo: lo.max(0.0), hi: hi.min(1.0), ..of_tries });
        };
        // What another session adds to the variance of the pooled share is that of its own tries.
        let weight = 1.0 / (1.0 / tries + launches / tries);
        let of_tries = stats::wilson((hits / tries).min(1.0) * weight, weight)?;
        let between = pooled.next_session(&self.values(name), false);
        let (lo, hi) =
            between.map_or((of_tries.lo, of_tries.hi), |b| (of_tries.lo.min(b.lo), of_tries.hi.max(b.hi)));
        Some(Interval { mid: hits / tries, lo: lo.max(0.0), hi: hi.min(1.0), n: self.values(name).len() })
    }

    /// If the value is only a bound in at least half of the launches that have it: on which side.
    pub fn bound_of(&self, name: &str) -> Option<Side> {
        let with: Vec<usize> = self.launches_with(name).map(|(launch, _)| launch).collect();
        let sides: Vec<Side> =
            with.iter().filter_map(|l| self.launches[*l].bounds.get(name).copied()).collect();
        if sides.is_empty() || sides.len() * 2 < with.len() { None } else { sides.first().copied() }
    }

    /// If no launch has any value: the first reason why.
    pub fn unmeasured(&self) -> Option<&str> {
        let measured = self.launches.iter().any(|s| !s.values.is_empty());
        let why = || self.launches.iter().find_map(|s| s.unmeasured.as_deref());
        (!measured).then(|| why().unwrap_or("no launch reported a value"))
    }

    fn value_in(&self, launch: usize, name: &str) -> Option<f64> {
        let sample = self.launches.get(launch).filter(|s| s.unmeasured.is_none())?;
        sample.values.get(name).copied()
    }

    fn launches_with<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (usize, f64)> + 'a {
        let counts = self.counts();
        let with = move |i| Some((i, self.value_in(i, name)?));
        (0..self.launches.len()).filter(move |i| counts[*i]).filter_map(with)
    }

    /// Which launches count: see [`pool::one_core`]. Of a pooled record all do, since its sessions are in one state already.
    fn counts(&self) -> Vec<bool> {
        if self.pooled.is_some() { vec![true; self.launches.len()] } else { pool::one_core(&self.launches) }
    }
}

/// First twelve hex digits of the SHA-256 of a line whose id is empty.
fn id_of(line: &str) -> String {
    Sha256::digest(line.as_bytes()).iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

/// `of / against` over the launches that have both; launch `i` of one is paired with launch `i` of the other.
///
/// `None` if no launch has both, if a value of `against` is not positive, or if the records are of different runs: then their
/// launches are not pairs.
pub fn ratio(of: &Record, of_value: &str, against: &Record, against_value: &str) -> Option<Interval> {
    if of.run != against.run {
        return None;
    }
    // Two values of one row come from the same launches, so their state is the same.
    let one_row = of.case == against.case && of.param == against.param;
    let (mine, theirs) = (of.counts(), against.counts());
    let counts = |i: &usize| one_row || (mine[*i] && theirs[*i]);
    let both = |i| Some((of.value_in(i, of_value)?, against.value_in(i, against_value)?));
    let (a, b): (Vec<f64>, Vec<f64>) =
        (0..of.launches.len().min(against.launches.len())).filter(counts).filter_map(both).unzip();
    stats::paired(&a, &b)
}

/// The smallest difference that a run may claim for a value: how far the interval of its A/A row (the baseline against itself)
/// reaches from 1, as a logarithm, so that it is the same up and down; `exp(band) - 1` is the share.
///
/// `None` if the run has no A/A row at this parameter, or fewer than two launches of it.
pub fn aa_band(records: &[Record], run: &str, param: &str, value: &str) -> Option<f64> {
    let twin = find(records, run, AA, param)?;
    let baseline = find(records, run, &twin.baseline, param)?;
    let ratio = ratio(twin, value, baseline, value).filter(|r| r.n >= 2 && r.lo > 0.0)?;
    Some(ratio.lo.ln().abs().max(ratio.hi.ln().abs()))
}

/// The record of a case at a parameter in a run.
pub fn find<'a>(records: &'a [Record], run: &str, case: &str, param: &str) -> Option<&'a Record> {
    records.iter().find(|r| r.run == run && r.case == case && r.param == param)
}

/// The runs of a step of a lab, newest first, without doubles.
pub fn runs_of<'a>(records: &'a [Record], lab: &str, step: &str) -> Vec<&'a str> {
    let of_step: Vec<&Record> = records.iter().filter(|r| r.lab == lab && r.step == step).collect();
    runs_in(&of_step)
}

/// The runs of these records, newest first, without doubles.
fn runs_in<'a>(records: &[&'a Record]) -> Vec<&'a str> {
    let mut sorted: Vec<(usize, &Record)> = records.iter().copied().enumerate().collect();
    // RFC 3339 in UTC sorts as text; of two runs that ended in the same second, the one that was appended later is newer.
    sorted.sort_by(|(i, a), (j, b)| (&b.at, j).cmp(&(&a.at, i)));
    let mut seen = HashSet::new();
    sorted.into_iter().map(|(_, r)| r.run.as_str()).filter(|run| seen.insert(*run)).collect()
}

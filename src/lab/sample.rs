//! What one launch measured of one case.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The name of the engine's own row: the baseline once more, against itself.
pub const AA: &str = "A/A";

/// One case at one parameter in one launch. Values are named with their unit as suffix: `_ns`, `_bytes`, `_per_s`,
/// `_share` (0 to 1), `_ratio`, `_count`; durations are always in ns.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// The contender.
    pub case: String,
    /// The parameter, `""` if the step has none.
    pub param: String,
    /// Name and value.
    pub values: BTreeMap<String, f64>,
    /// Values that are only bounds: the end of the run cut them short, or the clock can't tell them from nothing. Nothing is divided by them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bounds: BTreeMap<String, Side>,
    /// Of a share, how many tries it is of: so many hits of so many tries have an interval of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tries: BTreeMap<String, f64>,
    /// How far the values can be trusted.
    pub receipts: Receipts,
    /// If set, there are no values, and this is why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmeasured: Option<String>,
    /// If set, the values must not be quoted, and this is why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
    /// What was seen that is no number, a clause each (who waited for whom; which mistake was named): a remark under the table.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seen: Vec<String>,
}

/// On which side of its printed value a true value lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// At least so much: the run ended before it did.
    AtLeast,
    /// At most so much: it is as short as what the clock can tell.
    AtMost,
}

/// What shows that the measurement was what it says it was. An unknown receipt is `None`, never zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipts {
    /// Blocks or windows that counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_count: Option<f64>,
    /// Blocks or windows that did not, judged by CPU time and run-queue delay, never by their result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_count: Option<f64>,
    /// Share of the windows in which every lane progressed and none waited for a CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_share: Option<f64>,
    /// Time that lanes waited for a CPU, as share of the wall time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runq_share: Option<f64>,
    /// Context switches per second and lane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switches_per_s: Option<f64>,
    /// Hand-off of a cache line between the CPUs that were used, in ns: which of its states the machine was in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handoff_ns: Option<f64>,
    /// Share of the blocks or windows that met another state, and were left out for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_state_share: Option<f64>,
    /// Operations that were done, to show that contenders did equal work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ops_count: Option<f64>,
}

impl Sample {
    /// An empty sample of a case.
    pub fn new(case: &str, param: &str) -> Self {
        Self { case: case.into(), param: param.into(), ..Self::default() }
    }
    /// The same with one more value.
    #[must_use]
    pub fn with(mut self, name: &str, value: f64) -> Self {
        self.values.insert(name.into(), value);
        self
    }
    /// The same with one more value that is only a bound.
    #[must_use]
    pub fn bounded(mut self, name: &str, value: f64, side: Side) -> Self {
        self.bounds.insert(name.into(), side);
        self.with(name, value)
    }
    /// The same with a share: so many hits of so many tries. Without tries there is no share.
    #[must_use]
    pub fn share(mut self, name: &str, hits: f64, tries: f64) -> Self {
        if tries <= 0.0 {
            return self;
        }
        self.tries.insert(name.into(), tries);
        self.with(name, hits / tries)
    }
    /// The same with a remark on what was seen.
    #[must_use]
    pub fn seeing(mut self, what: impl Into<String>) -> Self {
        self.seen.push(what.into());
        self
    }
    /// A case that could not be measured here.
    pub fn unmeasured(case: &str, param: &str, why: impl Into<String>) -> Self {
        Self { unmeasured: Some(why.into()), ..Self::new(case, param) }
    }
}

/// A sample for each case at each parameter, case by case; where there is none, the reason why.
pub fn each(
    cases: &[&str],
    params: &[&str],
    one: impl Fn(&str, &str) -> Result<Sample, String>,
) -> Vec<Sample> {
    let pairs = cases.iter().flat_map(|case| params.iter().map(move |param| (*case, *param)));
    pairs
        .map(|(case, param)| one(case, param).unwrap_or_else(|why| Sample::unmeasured(case, param, why)))
        .collect()
}

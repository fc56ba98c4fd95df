//! The one serialised type: what a run measured of one case, as one JSON line that anybody can read with `jq`.
//!
//! Raw values of every launch are kept, so that any interval can be computed again from the store.
mod store;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::store::{Loaded, Store, StoreError};
use crate::{lab::Kind, machine::Machine, plan::Mode, sample::Sample, stats::Interval};

/// Raised when the meaning of a field changes. A reader skips and counts records of a newer schema.
pub const SCHEMA: u32 = 1;

/// The name of the engine's own row: the baseline once more, against itself.
pub const AA: &str = "A/A";

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
}

//! Intervals over launches, paired ratios, percentiles. Pure functions: nothing here reads a clock.
use serde::{Deserialize, Serialize};

/// A value and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The value.
    pub mid: f64,
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
    /// Launches behind it; with one launch `lo` and `hi` equal `mid` and nothing may be claimed.
    pub n: usize,
}

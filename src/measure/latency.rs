//! Histograms of durations, and what may be said from them.
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::lab::{Timed, sample::Sample};

/// For durations of 1 ns to a minute, three digits. Recorded with `saturating_record`, a minute and more count as a
/// minute. Memory: about 220 KiB, allocated at once.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("1 < 60e9 and three digits are valid bounds")
}

/// A quantile, if at least ten samples lie beyond it: a p99 needs 1000 samples.
pub fn quantile(h: &Histogram<u64>, q: f64) -> Option<f64> {
    // A little less than ten, since 1000 * (1 - 0.99) is not quite 10 in binary.
    (h.len() as f64 * (1.0 - q) > 9.999).then(|| h.value_at_quantile(q) as f64)
}

/// The sample with those of the values that are known.
pub fn with_known(sample: Sample, values: &[(&str, Option<f64>)]) -> Sample {
    values.iter().filter_map(|(name, v)| Some((name, (*v)?))).fold(sample, |s, (name, v)| s.with(name, v))
}

/// A duration in ns.
pub fn ns(d: Duration) -> u64 {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}

/// How far a counter went between two looks, if both are known.
pub fn difference(before: Option<u64>, after: Option<u64>) -> Option<u64> {
    Some(after?.saturating_sub(before?))
}

/// One operation for criterion: repeated, with one clock around all of it.
pub fn repeated(mut once: impl FnMut() + 'static) -> Timed {
    Box::new(move |n| {
        let start = Instant::now();
        (0..n).for_each(|_| once());
        start.elapsed()
    })
}

//! Whether values fall into two groups: then each group is a number, and the middle of all is none that anybody saw.
use super::median;

/// One of two groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mode {
    /// Its median.
    pub middle: f64,
    /// How many values are in it.
    pub count: usize,
}

/// The middles of two groups differ by at least this factor.
const APART: f64 = 1.5;
/// The gap between them is at least so many times as wide as the wider group, both on logarithms.
const CLEAR: f64 = 3.0;
/// Fewer in a group is one odd value, or two.
const LEAST: usize = 2;

/// The two groups, the lower one first, if the values fall into two: each of at least two values, their middles at least half as much apart
/// again, and the gap between them at least three times as wide as either group. `None` else, and for values that are not positive.
///
/// Of 5 values whose logarithms are normal, with a standard deviation of 0.1, 0.3 or 0.5, that is so in none, 2 % and 3 % of cases; of 15 values
/// in none (simulated, 20,000 times each).
pub fn two(values: &[f64]) -> Option<[Mode; 2]> {
    if values.len() < 2 * LEAST || !values.iter().all(|v| v.is_finite() && *v > 0.0) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let split = (LEAST..=sorted.len() - LEAST)
        .max_by(|a, b| (sorted[*a] / sorted[a - 1]).total_cmp(&(sorted[*b] / sorted[b - 1])))?;
    let (low, high) = sorted.split_at(split);
    let width = |group: &[f64]| (group[group.len() - 1] / group[0]).ln();
    let gap = (high[0] / low[low.len() - 1]).ln();
    let (below, above) = (median(low)?, median(high)?);
    let clear = gap >= CLEAR * width(low).max(width(high)) && above / below >= APART;
    clear.then_some([Mode { middle: below, count: low.len() }, Mode { middle: above, count: high.len() }])
}

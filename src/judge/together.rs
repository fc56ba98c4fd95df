//! The claims of one run, judged together.
//!
//! A step makes several claims, and each 95 % interval is wrong in one of twenty cases. So all bounds that a run decides (its claims and the
//! evidence of its explanation) are one family, and what stands is what stands at a false discovery rate of 5 %: of all that is decided, at most
//! one in twenty is expected to be chance. Source: Benjamini & Hochberg, "Controlling the False Discovery Rate", J. R. Stat. Soc. B 57, 1995.
use statrs::distribution::{ContinuousCDF, StudentsT};

use crate::{
    lab::Expect,
    stats::{Interval, t_95},
};

/// The share of the decided claims that may be chance.
const FALSE_DISCOVERIES: f64 = 0.05;

/// How easily chance alone would decide like this, two-sided: 0.05 if an end of the interval touches an edge of what was expected, 0 if there is
/// neither spread nor doubt.
pub(super) fn chance(i: &Interval, expect: Expect) -> f64 {
    let (from, to) = match expect {
        Expect::AtLeast(x) => (Some(x), None),
        Expect::AtMost(x) => (None, Some(x)),
        Expect::Between(x, y) => (Some(x), Some(y)),
    };
    // How far the value lies on the expected side of each edge.
    let inside = from.map(|edge| distance(i, edge)).into_iter().chain(to.map(|edge| -distance(i, edge)));
    let tails: Vec<(f64, f64)> = inside.map(|t| (tail(t, i.n), tail(-t, i.n))).collect();
    let held = tails.iter().map(|t| t.0).fold(0.0, f64::max);
    let refuted = tails.iter().map(|t| t.1).fold(1.0, f64::min);
    (2.0 * held.min(refuted)).min(1.0)
}

/// From an edge to the value, in standard errors: positive if the value lies above. On logarithms where all are positive, as the interval is.
fn distance(i: &Interval, edge: f64) -> f64 {
    let scale = |x: f64| if i.lo > 0.0 && edge > 0.0 { x.ln() } else { x };
    let by = scale(i.mid) - scale(edge);
    let end = if by > 0.0 { scale(i.mid) - scale(i.lo) } else { scale(i.hi) - scale(i.mid) };
    if end > 0.0 { t_95(i.n.saturating_sub(1).max(1)) * by / end } else { by.signum() * f64::INFINITY }
}

/// The share of Student's distribution beyond `t`.
fn tail(t: f64, n: usize) -> f64 {
    if t.is_infinite() {
        return if t > 0.0 { 0.0 } else { 1.0 };
    }
    // Known to be a distribution: location 0, scale 1, at least one degree of freedom.
    StudentsT::new(0.0, 1.0, n.saturating_sub(1).max(1) as f64).map_or(1.0, |d| d.sf(t))
}

/// The most that chance may have done for a claim to stand, in a family of claims with these chances: the largest of them that is at most its rank's share
/// of 5 %. 0 if none stands.
pub(super) fn threshold(chances: &[f64]) -> f64 {
    let mut sorted = chances.to_vec();
    sorted.sort_by(f64::total_cmp);
    let of = |rank: usize| FALSE_DISCOVERIES * (rank + 1) as f64 / sorted.len() as f64;
    sorted.iter().enumerate().rev().find(|(rank, p)| **p <= of(*rank)).map_or(0.0, |(_, p)| *p)
}

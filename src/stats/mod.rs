//! Intervals over launches, paired ratios, percentiles. Pure functions: nothing here reads a clock.
//!
//! Why launches: one process can be wrong for its whole life (placement, layout) with a tiny interval of its own, so the
//! samples that an interval is computed from are whole launches, never the blocks within one. Repeating at the level at
//! which the variance arises follows Kalibera & Jones, "Rigorous Benchmarking in Reasonable Time", ISMM 2013.
pub mod modes;
pub mod scaling;

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

/// Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
/// Source: NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.2, column 0.975. `tests/measure/stats.rs` integrates the density.
const T_95: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The same quantile of the normal distribution.
const Z_95: f64 = 1.959_964;

/// Half of a 95 % t-interval, in standard errors.
///
/// Beyond the table it is the normal quantile with the first two terms of its expansion in 1/df (Abramowitz & Stegun 26.7.5):
/// the bare normal quantile would make an interval over 32 launches 4 % narrower than it may be.
///
/// # Panics
/// If `df` is 0: one value has no spread.
pub fn t_95(df: usize) -> f64 {
    assert!(df > 0, "a spread needs two values");
    T_95.get(df - 1).copied().unwrap_or_else(|| {
        let (z, df) = (Z_95, df as f64);
        let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / (96.0 * df * df);
        z + (z.powi(3) + z) / (4.0 * df) + second
    })
}

/// The 95 % t-interval over launches; `None` without values, or if one of them or an end of the interval is not finite.
///
/// On logarithms when all values are positive (so `mid` is the geometric mean, the ends stay positive, and a value and its
/// inverse agree), linear otherwise; of values among which there is a zero and nothing below it, it ends at zero, since shares and
/// counts do. With one launch `lo` and `hi` equal `mid`: it claims nothing. Values that are all the same are
/// their own interval, to the last bit: a count of 199 is 199, not the exponential of its logarithm.
///
/// Limit: a quantity that may be negative (a difference) can be positive in all launches by chance, and its logarithmic interval
/// then excludes 0 for no good reason: 3 launches of pure noise around 0 hold it in 85 % of cases, not in 95 %. Values of
/// samples are durations, rates, sizes, counts and shares, never differences.
pub fn over_launches(values: &[f64]) -> Option<Interval> {
    if values.is_empty() || !values.iter().all(|v| v.is_finite()) {
        return None;
    }
    let n = values.len();
    if values.iter().all(|v| v.to_bits() == values[0].to_bits()) {
        return Some(Interval { mid: values[0], lo: values[0], hi: values[0], n });
    }
    let interval = if n > 1 && values.iter().all(|v| *v > 0.0) {
        let logs: Vec<f64> = values.iter().map(|v| v.ln()).collect();
        let (mid, half) = mean_and_half(&logs);
        Interval { mid: mid.exp(), lo: (mid - half).exp(), hi: (mid + half).exp(), n }
    } else {
        let (mid, half) = mean_and_half(values);
        let least = if values.iter().all(|v| *v >= 0.0) { 0.0 } else { f64::NEG_INFINITY };
        Interval { mid, lo: (mid - half).max(least), hi: mid + half, n }
    };
    [interval.mid, interval.lo, interval.hi].iter().all(|v| v.is_finite()).then_some(interval)
}

fn mean_and_half(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, t_95(values.len() - 1) * (variance / n).sqrt())
}

/// The 95 % prediction interval: where the next value will fall, if it is drawn as these were. `prior` is a variance (of the logarithms where all
/// values are positive) that is known from elsewhere, and how many degrees of freedom it counts for: it moderates the values' own variance, as in
/// Smyth 2004. `None` as for [`over_launches`]. One value has no spread of its own: without a prior it is its own interval.
pub fn next_value(values: &[f64], prior: Option<(f64, usize)>) -> Option<Interval> {
    let of_mean = over_launches(values)?;
    let n = values.len();
    let positive = values.iter().all(|v| *v > 0.0);
    if of_mean.lo.to_bits() == of_mean.hi.to_bits() && (n > 1 || prior.is_none()) {
        return Some(of_mean); // a count that all agree on
    }
    let scaled: Vec<f64> = if positive { values.iter().map(|v| v.ln()).collect() } else { values.to_vec() };
    let mean = scaled.iter().sum::<f64>() / n as f64;
    let squares = scaled.iter().map(|v| (v - mean).powi(2)).sum::<f64>();
    let (variance, df) = match prior.filter(|_| positive) {
        Some((prior, counts)) => {
            let df = counts + n - 1;
            ((counts as f64 * prior + squares) / df as f64, df)
        }
        None => (squares / (n as f64 - 1.0).max(1.0), n - 1),
    };
    if df == 0 {
        return Some(of_mean);
    }
    let half = t_95(df) * (variance * (1.0 + 1.0 / n as f64)).sqrt();
    let interval = if positive {
        Interval { mid: mean.exp(), lo: (mean - half).exp(), hi: (mean + half).exp(), n }
    } else {
        let least = if values.iter().all(|v| *v >= 0.0) { 0.0 } else { f64::NEG_INFINITY };
        Interval { mid: mean, lo: (mean - half).max(least), hi: mean + half, n }
    };
    [interval.mid, interval.lo, interval.hi].iter().all(|v| v.is_finite()).then_some(interval)
}

/// The 95 % interval of a share, `hits` of `tries`, by E. B. Wilson (1927): it stays within 0 and 1, and none of N has an upper end.
/// `None` without tries.
pub fn wilson(hits: f64, tries: f64) -> Option<Interval> {
    if !(tries > 0.0 && (0.0..=tries).contains(&hits)) {
        return None;
    }
    let (p, z2) = (hits / tries, Z_95 * Z_95);
    let mid = (p + z2 / (2.0 * tries)) / (1.0 + z2 / tries);
    let half = Z_95 / (1.0 + z2 / tries) * (p * (1.0 - p) / tries + z2 / (4.0 * tries * tries)).sqrt();
    let (lo, hi) = ((mid - half).max(0.0), (mid + half).min(1.0));
    let (lo, hi) = (if hits <= 0.0 { 0.0 } else { lo }, if hits >= tries { 1.0 } else { hi });
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of tries")]
    Some(Interval { mid: p, lo, hi, n: tries as usize })
}

/// The interval of `a / b`, launch by launch: what two contenders share within a launch cancels out.
///
/// `None` if a divisor is not positive or a value is not finite. Such pairs are not skipped, since a launch must not be
/// left out because of its result.
///
/// # Panics
/// If the lengths differ: then the values are not pairs.
pub fn paired(a: &[f64], b: &[f64]) -> Option<Interval> {
    assert_eq!(a.len(), b.len(), "pairs need two of each");
    if b.iter().any(|b| b.is_nan() || *b <= 0.0) {
        return None;
    }
    over_launches(&a.iter().zip(b).map(|(a, b)| a / b).collect::<Vec<_>>())
}

/// `a / b` of launches that are not pairs: the ratio of the geometric means, with Welch's interval (Welch 1947), which does not take
/// the spreads for equal; its degrees of freedom are rounded down, to the safe side. `n` is the smaller number of launches.
///
/// `None` without values on either side, or if one is not positive and finite.
pub fn unpaired(a: &[f64], b: &[f64]) -> Option<Interval> {
    let part = |values: &[f64]| {
        let logs: Vec<f64> = values.iter().map(|v| v.ln()).collect();
        let (n, positive) = (values.len() as f64, values.iter().all(|v| v.is_finite() && *v > 0.0));
        let mean = logs.iter().sum::<f64>() / n;
        let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        (positive && n > 0.0).then_some((mean, variance / n, n))
    };
    let ((mean_a, error_a, n_a), (mean_b, error_b, n_b)) = (part(a)?, part(b)?);
    let error = error_a + error_b;
    let df =
        error.powi(2) / (error_a.powi(2) / (n_a - 1.0).max(1.0) + error_b.powi(2) / (n_b - 1.0).max(1.0));
    // Without any spread the ratio is exact, as for counts. The small number keeps 7.999... degrees from counting as 7; they are
    // fewer than the launches, so the cast is exact.
    let half = if error > 0.0 { t_95(((df + 1e-6).floor() as usize).max(1)) * error.sqrt() } else { 0.0 };
    let mid = mean_a - mean_b;
    Some(Interval { mid: mid.exp(), lo: (mid - half).exp(), hi: (mid + half).exp(), n: a.len().min(b.len()) })
}

/// The median (of an even number of values, the mean of the middle two); `None` without values or if one is not finite.
pub fn median(values: &[f64]) -> Option<f64> {
    if values.is_empty() || !values.iter().all(|v| v.is_finite()) {
        return None;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    Some(if sorted.len() % 2 == 1 { sorted[half] } else { f64::midpoint(sorted[half - 1], sorted[half]) })
}

/// The median absolute deviation from the median, unscaled.
pub fn mad(values: &[f64]) -> Option<f64> {
    let mid = median(values)?;
    median(&values.iter().map(|v| (v - mid).abs()).collect::<Vec<_>>())
}

/// Deviations from the median beyond which a launch is odd.
const ODD_MADS: f64 = 10.0;
/// And the relative difference below which nobody would see it: without it, five launches that agree to 0.005 % would flag
/// a sixth that is off by 0.1 %.
const ODD_SHARE: f64 = 0.01;

/// Indexes of values that lie more than 10 median absolute deviations and more than 1 % from the median.
///
/// If most values are identical the deviation is 0 and the 1 % alone decides; if the median itself is 0, any other value is
/// then odd. Fewer than three values are never odd: with two, nobody can say which one it is.
pub fn odd(values: &[f64]) -> Vec<usize> {
    let (Some(mid), Some(mad)) = (median(values), mad(values)) else { return Vec::new() };
    let is_odd = |v: f64| (v - mid).abs() > ODD_MADS * mad && (v - mid).abs() > ODD_SHARE * mid.abs();
    values.iter().enumerate().filter(|(_, v)| values.len() > 2 && is_odd(**v)).map(|(i, _)| i).collect()
}

/// Percentiles that are reported, with the share of samples beyond them in 1/100 000: whole numbers, since 1 - 0.999 is not
/// 0.001 in binary.
const PERCENTILES: [(f64, u64); 7] =
    [(50.0, 50_000), (90.0, 10_000), (95.0, 5_000), (99.0, 1_000), (99.9, 100), (99.99, 10), (99.999, 1)];

/// Samples that must lie beyond a percentile before it is reported: with fewer, the number is an anecdote.
pub const BEYOND: u64 = 10;

/// The highest of 50, 90, 95, 99, 99.9, 99.99, 99.999 that `count` samples support, which is that at least [`BEYOND`] of them
/// lie beyond it. `None` below 20 samples.
pub fn highest_percentile(count: u64) -> Option<f64> {
    let supported = |(_, beyond): &&(f64, u64)| {
        u128::from(count) * u128::from(*beyond) >= u128::from(BEYOND) * u128::from(100_000u64)
    };
    PERCENTILES.iter().rev().find(supported).map(|(p, _)| *p)
}

/// The coefficients with which the columns of `rows` come closest to `y`, each difference counted as share of its `y`: least
/// squares, weighted by `1 / y^2`, since a pause of 20 ms is not known to the microsecond that matters to one of 20 us.
///
/// `None` if there are fewer rows than coefficients, if a `y` is not positive, or if the rows do not determine the coefficients. Solved
/// by the normal equations (columns scaled to 1 first) and Gaussian elimination with pivoting: for a handful of
/// coefficients and well-spread rows. Source: NIST/SEMATECH e-Handbook of Statistical Methods, 4.1.4.3.
pub fn fit<const N: usize>(rows: &[[f64; N]], y: &[f64]) -> Option<[f64; N]> {
    if rows.len() < N || rows.len() != y.len() || y.iter().any(|y| !y.is_finite() || *y <= 0.0) {
        return None;
    }
    let most = |i: usize| rows.iter().map(|row| row[i].abs()).fold(0.0, f64::max);
    let scale: [f64; N] = std::array::from_fn(most);
    // Row by row: x / (scale * y) to explain 1.
    let mut sums = [[0.0; N]; N];
    let mut right = [0.0; N];
    for (row, y) in rows.iter().zip(y) {
        let x: [f64; N] = std::array::from_fn(|i| row[i] / (scale[i] * y));
        for i in 0..N {
            right[i] += x[i];
            for j in 0..N {
                sums[i][j] += x[i] * x[j];
            }
        }
    }
    let unit = (0..N).map(|i| sums[i][i]).fold(0.0, f64::max);
    for i in 0..N {
        let pivot = (i..N).max_by(|a, b| sums[*a][i].abs().total_cmp(&sums[*b][i].abs()))?;
        let size = sums[pivot][i].abs();
        if size.is_nan() || size <= 1e-12 * unit {
            return None; // a column of zeros, or one that the others make up
        }
        sums.swap(i, pivot);
        right.swap(i, pivot);
        let (row, its_right) = (sums[i], right[i]);
        for (below, right) in sums.iter_mut().zip(&mut right).skip(i + 1) {
            let factor = below[i] / row[i];
            below.iter_mut().zip(row).for_each(|(x, of_row)| *x -= factor * of_row);
            *right -= factor * its_right;
        }
    }
    let mut out = [0.0; N];
    for i in (0..N).rev() {
        let known: f64 = (i + 1..N).map(|k| sums[i][k] * out[k]).sum();
        out[i] = (right[i] - known) / sums[i][i];
    }
    let out: [f64; N] = std::array::from_fn(|i| out[i] / scale[i]);
    out.iter().all(|c| c.is_finite()).then_some(out)
}

/// Jain's fairness index, 1 / n (one lane got everything) to 1 (all got the same); `None` if nobody got anything.
/// Source: Jain, Chiu, Hawe, "A Quantitative Measure of Fairness and Discrimination", DEC-TR-301, 1984.
pub fn jain(shares: &[f64]) -> Option<f64> {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|s| s * s).sum();
    let index = sum * sum / (shares.len() as f64 * squares);
    index.is_finite().then_some(index)
}

/// The smallest `x` from which on `y` stays at or above `floor`: where a curve has reached its plateau.
///
/// `None` if `y` never was below the floor (there is no step to find) or still is at the largest `x`. Points need no order.
pub fn plateau_from(points: &[(f64, f64)], floor: f64) -> Option<f64> {
    let mut sorted = points.to_vec();
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let last_below = sorted.iter().rposition(|(_, y)| y.is_nan() || *y < floor)?;
    sorted.get(last_below + 1).map(|(x, _)| *x)
}

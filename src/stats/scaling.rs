//! How throughput grows with threads: a fit of the Universal Scalability Law, and a refusal where the points do not determine it.
//!
//! The law: with N threads `X(N) = r N / (1 + s (N - 1) + k N (N - 1))`. `r` is what one thread does; `s` the serial share (what waits in
//! line: Amdahl's law); `k` the cross-talk (what each pair of threads costs: lines that travel). With `k > 0` there is a peak, and
//! more threads do less.
//!
//! Fitted as `N / X = a + b (N - 1) + c N (N - 1)`, which is linear in `a = 1/r`, `b = s/r`, `c = k/r`, by least squares of the relative
//! error. So a forecast's interval needs no approximation; and three unknowns need four points before anything is known of the error.
//!
//! Source: N. Gunther, "Guerrilla Capacity Planning", Springer 2007, chapters 4 to 6. Pure functions.
use crate::stats::{Interval, t_95};

/// A fitted law.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// `a`, `b`, `c`.
    coefficients: [f64; 3],
    /// Their covariance.
    covariance: [[f64; 3]; 3],
    /// Points behind it.
    points: usize,
    /// The most threads that were measured.
    most: f64,
}

/// Points below which three coefficients leave no degree of freedom for an error.
pub const POINTS: usize = 4;
/// A forecast whose interval reaches further than this from its middle, as a share of it, says nothing.
const WIDE: f64 = 0.3;
/// No forecast beyond so many times the threads that were measured.
const BEYOND: f64 = 2.0;

/// Fits threads and throughput.
///
/// # Errors
/// A sentence: too few different thread counts, or points that are no throughput.
pub fn fit(points: &[(f64, f64)]) -> Result<Fit, String> {
    if points.iter().any(|(n, x)| !n.is_finite() || !x.is_finite() || *n < 1.0 || *x <= 0.0) {
        return Err("a point is no throughput of one thread or more".into());
    }
    let mut counts: Vec<f64> = points.iter().map(|p| p.0).collect();
    counts.sort_by(f64::total_cmp);
    counts.dedup();
    if counts.len() < POINTS {
        return Err(format!(
            "{} thread counts do not determine three unknowns and their error; {POINTS} are needed",
            counts.len()
        ));
    }
    // Normal equations of the rows (1, N - 1, N (N - 1)) / y = 1, where y = N / X: relative errors count alike.
    let (mut square, mut right) = ([[0.0; 3]; 3], [0.0; 3]);
    for (row, y) in points.iter().map(|&(n, x)| (row(n), n / x)) {
        for i in 0..3 {
            right[i] += row[i] / y;
            for j in 0..3 {
                square[i][j] += row[i] * row[j] / (y * y);
            }
        }
    }
    let inverse = inverse(&square).ok_or("the thread counts lie too close to each other")?;
    let coefficients: [f64; 3] = std::array::from_fn(|i| (0..3).map(|j| inverse[i][j] * right[j]).sum());
    let residue: f64 = points.iter().map(|&(n, x)| (dot(&row(n), &coefficients) * x / n - 1.0).powi(2)).sum();
    let variance = residue / (points.len() - 3) as f64;
    let covariance = inverse.map(|r| r.map(|v| v * variance));
    Ok(Fit { coefficients, covariance, points: points.len(), most: counts[counts.len() - 1] })
}

impl Fit {
    /// The serial share `s`.
    pub fn serial_share(&self) -> f64 {
        self.coefficients[1] / self.coefficients[0]
    }
    /// The cross-talk `k`.
    pub fn crosstalk_share(&self) -> f64 {
        self.coefficients[2] / self.coefficients[0]
    }

    /// The throughput with that many threads, and its 95 % interval.
    ///
    /// # Errors
    /// A sentence, where the fit does not determine it: too far out, or too wide an interval.
    pub fn at(&self, threads: f64) -> Result<Interval, String> {
        if threads > BEYOND * self.most {
            return Err(format!(
                "{threads} threads are more than {BEYOND} times the {} that were measured",
                self.most
            ));
        }
        let row = row(threads);
        let y = dot(&row, &self.coefficients);
        let half = self.half(&row);
        if y.is_nan() || y <= 0.0 || half > WIDE * y {
            return Err(format!(
                "the fit does not determine it: {:.0} % off either way",
                100.0 * half / y.abs()
            ));
        }
        Ok(Interval { mid: threads / y, lo: threads / (y + half), hi: threads / (y - half), n: self.points })
    }

    /// The number of threads beyond which more do less.
    ///
    /// # Errors
    /// A sentence, if the fit does not show that there is one.
    pub fn peak(&self) -> Result<f64, String> {
        let [a, b, c] = self.coefficients;
        if c <= self.half(&[0.0, 0.0, 1.0]) {
            return Err("no peak is shown: the cross-talk's interval reaches zero".into());
        }
        // d/dN of N / (a + b (N - 1) + c N (N - 1)) is zero where c N^2 = a - b.
        Ok(((a - b).max(0.0) / c).sqrt().max(1.0))
    }

    /// Half of the 95 % interval of a linear combination of the coefficients.
    fn half(&self, row: &[f64; 3]) -> f64 {
        let variance: f64 = (0..3).map(|i| row[i] * dot(&self.covariance[i], row)).sum();
        t_95(self.points - 3) * variance.max(0.0).sqrt()
    }
}

fn row(n: f64) -> [f64; 3] {
    [1.0, n - 1.0, n * (n - 1.0)]
}

fn dot(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// By cofactors; `None` if the matrix is singular to working precision.
fn inverse(m: &[[f64; 3]; 3]) -> Option<[[f64; 3]; 3]> {
    let cofactor = |i: usize, j: usize| {
        let (r, s, c, d) = ((i + 1) % 3, (i + 2) % 3, (j + 1) % 3, (j + 2) % 3);
        m[r][c] * m[s][d] - m[r][d] * m[s][c]
    };
    let determinant: f64 = (0..3).map(|j| m[0][j] * cofactor(0, j)).sum();
    let scale = m[0][0] * m[1][1] * m[2][2];
    // A positive semidefinite matrix has a determinant of at most the product of its diagonal (Hadamard).
    if determinant.is_nan() || determinant <= 1e-12 * scale {
        return None;
    }
    Some(std::array::from_fn(|i| std::array::from_fn(|j| cofactor(j, i) / determinant)))
}

//! A value axis: where a value lies, and which values to name on it.

/// Above this quotient of the largest and the smallest value the small ones would all lie on one spot of a linear axis.
const LOG_FROM: f64 = 20.0;
/// Below it a linear axis from 0 would show equal bars.
const ZERO_FROM: f64 = 1.5;
/// An interval end further than this from every launch is drawn to the edge: it says "unknown", and must not squeeze the rest.
const REACH: f64 = 100.0;

/// From `lo` to `hi`, in the unit of the values.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    lo: f64,
    hi: f64,
    log: bool,
}

impl Axis {
    /// An axis for these values (launches) and ends of intervals; `None` without a finite value.
    pub(super) fn over(name: &str, values: &[f64], ends: &[f64]) -> Option<Self> {
        let least = values.iter().copied().filter(|v| v.is_finite()).reduce(f64::min)?;
        let most = values.iter().copied().filter(|v| v.is_finite()).reduce(f64::max)?;
        let near =
            |v: &&f64| v.is_finite() && **v <= most.abs() * REACH && (least <= 0.0 || **v >= least / REACH);
        let lo = ends.iter().filter(near).copied().fold(least, f64::min);
        let hi = ends.iter().filter(near).copied().fold(most, f64::max);
        if lo > 0.0 && hi / lo > LOG_FROM {
            return Some(Self { lo: lo / 1.15, hi: hi * 1.15, log: true });
        }
        if lo >= 0.0 && hi >= ZERO_FROM * lo {
            return Some(Self { lo: 0.0, hi: if hi > 0.0 { hi * 1.04 } else { 1.0 }, log: false });
        }
        let pad = ((hi - lo) * 0.1).max(hi.abs() * 1e-3).max(step(name, hi.abs() * 1e-6));
        Some(Self { lo: lo - pad, hi: hi + pad, log: false })
    }

    /// 0 at the low end, 1 at the high one; what lies outside is at the edge.
    pub(super) fn at(self, v: f64) -> f64 {
        let share = match self.log {
            true if v <= 0.0 => 0.0,
            true => (v / self.lo).ln() / (self.hi / self.lo).ln(),
            false => (v - self.lo) / (self.hi - self.lo),
        };
        if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 }
    }

    /// At most five round values that lie on the axis.
    pub(super) fn ticks(self, name: &str) -> Vec<f64> {
        if self.log {
            let base: f64 = if name.ends_with("bytes") { 1024.0 } else { 10.0 };
            let first = (self.lo.ln() / base.ln()).ceil() as i32;
            let last = (self.hi.ln() / base.ln()).floor() as i32;
            let stride = usize::try_from((last - first) / 4 + 1).unwrap_or(1);
            let ticks: Vec<f64> = (first..=last).step_by(stride).map(|e| base.powi(e)).collect();
            // Within one decade the round values are none; the ends say where one is.
            return if ticks.len() < 2 { vec![self.lo * 1.15, self.hi / 1.15] } else { ticks };
        }
        let step = step(name, (self.hi - self.lo) / 4.0);
        let first = (self.lo / step).ceil();
        (0..5).map(|i| (first + f64::from(i)) * step).take_while(|v| *v <= self.hi).collect()
    }

    /// True if the length of a bar says how much.
    pub(super) fn is_from_zero(self) -> bool {
        !self.log && self.lo == 0.0
    }

    /// What a reader must know of the axis beside its numbers.
    pub(super) fn kind(self) -> &'static str {
        match (self.log, self.lo == 0.0) {
            (true, _) => "log scale",
            (false, true) => "from 0",
            (false, false) => "not from 0",
        }
    }
}

/// The next round step that is not smaller: 1, 2 or 5 times a power of ten; for bytes a power of two.
fn step(name: &str, least: f64) -> f64 {
    if least.is_nan() || least <= 0.0 {
        return 1.0;
    }
    if name.ends_with("bytes") {
        return least.log2().ceil().exp2();
    }
    let power = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= least).unwrap_or(10.0 * power)
}

//! How late an idle thread is through no fault of its own: the noise under every latency and every pause.
use std::{
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::machine::pin_current_thread;

/// Something is due every 20 us: shorter than any gap of interest, and it gives p99.9 its samples in half a second.
const SCHEDULE_NS: u64 = 20_000;
/// A percentile is given only if this many samples lie beyond it.
const BEYOND: f64 = 10.0;

/// Whether so many samples have anything to say about this quantile.
pub fn supports(samples: u64, quantile: f64) -> bool {
    samples as f64 * (1.0 - quantile) >= BEYOND
}

/// How late things are that are due every 20 us, when somebody looks at the clock now and then: a sample is how
/// long after the due time the first look comes. Counting by schedule and not by look is what makes one gap of 4 ms weigh 200
/// samples, as it would for a user's requests (coordinated omission).
#[derive(Debug)]
pub struct Lateness {
    late: Histogram<u64>,
    last_ns: u64,
    due_ns: u64,
    /// The longest time between two looks.
    pub max_gap_ns: u64,
}

impl Lateness {
    /// Starts a new run of looks, counted from 0 again.
    pub fn restart(&mut self) {
        (self.last_ns, self.due_ns) = (0, SCHEDULE_NS);
    }
    /// A look at this time after the start of the run.
    pub fn look(&mut self, now_ns: u64) {
        self.max_gap_ns = self.max_gap_ns.max(now_ns - self.last_ns);
        while self.due_ns <= now_ns {
            self.late.saturating_record(now_ns - self.due_ns);
            self.due_ns += SCHEDULE_NS;
        }
        self.last_ns = now_ns;
    }
    /// The lateness that only one sample of 1000 exceeds; `None` with too few samples for that.
    pub fn p999_ns(&self) -> Option<f64> {
        supports(self.late.len(), 0.999).then(|| self.late.value_at_quantile(0.999) as f64)
    }
}

impl Default for Lateness {
    /// Nothing seen yet.
    fn default() -> Self {
        // Bounds up to an hour: the recording that cannot fail clamps at the bounds, and does not grow them.
        let late = Histogram::new_with_bounds(1, 3_600_000_000_000, 3)
            .expect("constant bounds, the lower one below half the upper");
        Self { late, last_ns: 0, due_ns: SCHEDULE_NS, max_gap_ns: 0 }
    }
}

/// A thread that does nothing but look at the clock, on each CPU in turn. Returns p99.9 and longest gap, both as far as known.
pub(super) fn hiccups(cpus: &[usize], budget: Duration) -> (Option<f64>, Option<f64>) {
    let mut lateness = Lateness::default();
    let each_ns = budget.as_nanos() as u64 / cpus.len() as u64;
    for &cpu in cpus {
        let lateness = &mut lateness;
        lateness.restart();
        let probe = move || {
            pin_current_thread(cpu);
            let start = Instant::now();
            loop {
                let now_ns = start.elapsed().as_nanos() as u64;
                lateness.look(now_ns);
                if now_ns >= each_ns {
                    break;
                }
            }
        };
        // A probe that cannot start leaves no samples, and then there is no number.
        thread::scope(|s| {
            thread::Builder::new().spawn_scoped(s, probe).map(|t| t.join().is_ok()).unwrap_or(false)
        });
    }
    let max_ns = (!lateness.late.is_empty()).then_some(lateness.max_gap_ns as f64);
    (lateness.p999_ns(), max_ns)
}

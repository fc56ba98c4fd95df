//! How long requests take by how busy their server is, in virtual time, beside the formula of the simplest model (M/M/1).
//!
//! Requests of 1 ms on average come in the order in which they are served. Nothing here waits for a real clock: a number depends on the seed and
//! on nothing else.
use hdrhistogram::Histogram;

use crate::{
    contenders::arrivals::exponential,
    lab::{Contender, Setting},
    measure::{latency, order::Order},
};

/// What a request takes on average.
pub const SERVICE_NS: u64 = 1_000_000;

/// A service: how many workers it has, how its requests come, and how long they take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Workers, which take from one queue.
    pub workers: usize,
    /// All requests take the same time; else it is exponential.
    pub constant: bool,
    /// So many come together.
    pub batch: u32,
}

const fn shape(id: &'static str, name: &'static str, value: Shape) -> Setting<Shape> {
    Setting { is: Contender::new(id).called(name).checked(check), value }
}

const ONE: Shape = Shape { workers: 1, constant: false, batch: 1 };

/// The services.
pub const SHAPES: [Setting<Shape>; 4] = [
    shape("random", "one worker, random times (M/M/1)", ONE),
    shape("constant", "one worker, constant times (M/D/1)", Shape { constant: true, ..ONE }),
    shape("workers_16", "16 workers, one queue (M/M/16)", Shape { workers: 16, ..ONE }),
    shape("bursts", "one worker, ten come at once", Shape { batch: 10, ..ONE }),
];

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Utilised {
    /// From arrival to answer, on average.
    pub mean_ns: f64,
    /// Each of them.
    pub took: Histogram<u64>,
    /// Of the time of all workers, the share in which they worked.
    pub used_share: f64,
}

/// What M/M/1 says that a request takes on average, waiting included: service / (1 - share).
pub fn formula_ns(used_share: f64) -> f64 {
    SERVICE_NS as f64 / (1.0 - used_share)
}

/// Serves so many requests, the first fifth of which does not count, at this share of what the workers can do.
pub fn utilised(shape: Shape, used_share: f64, requests: u64, seed: u64) -> Utilised {
    let Shape { workers, constant, batch } = shape;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of ns")]
    let gap_ns = (SERVICE_NS as f64 * f64::from(batch) / workers as f64 / used_share) as u64;
    let (mut gaps, mut works) = (Order::new(seed), Order::new(!seed));
    // When each worker is free.
    let mut free_ns = vec![0_u64; workers];
    let (mut now_ns, mut took) = (0_u64, latency::histogram());
    let (mut sum_ns, mut counted, mut busy_ns, mut from_ns) = (0_u128, 0_u64, 0_u64, 0_u64);
    for request in 0..requests {
        if request % u64::from(batch) == 0 {
            now_ns += exponential(&mut gaps, gap_ns);
        }
        let takes_ns = if constant { SERVICE_NS } else { exponential(&mut works, SERVICE_NS) };
        // In the order of arrival: whoever is free first takes it.
        let worker = free_ns.iter_mut().min().expect("a service has a worker");
        let end_ns = now_ns.max(*worker) + takes_ns;
        *worker = end_ns;
        if request == requests / 5 {
            from_ns = now_ns;
        }
        if request >= requests / 5 {
            took.saturating_record((end_ns - now_ns).max(1));
            sum_ns += u128::from(end_ns - now_ns);
            counted += 1;
            busy_ns += takes_ns;
        }
    }
    let time_ns = (now_ns - from_ns).max(1) as f64 * workers as f64;
    Utilised { mean_ns: sum_ns as f64 / (counted.max(1)) as f64, took, used_share: busy_ns as f64 / time_ns }
}

/// What the simulation must show before it says anything: an idle service takes the time of the service, and a half busy one works half of the time.
fn check() -> Result<(), String> {
    let near = |what: &str, value: f64, expected: f64| {
        let fits = (value / expected - 1.0).abs() < 0.05;
        fits.then_some(()).ok_or_else(|| format!("{what}: {value} and not {expected}"))
    };
    near("an idle service", utilised(ONE, 0.001, 50_000, 1).mean_ns, SERVICE_NS as f64)?;
    near("half busy", utilised(ONE, 0.5, 50_000, 1).used_share, 0.5)
}

//! What .NET's tutorial on starvation published, and whether the simulation comes near it: before that it predicts nothing.
//!
//! "Requests per second" are the answers within the ten seconds: so counted, both runs leave 124 of the 125 clients without an answer at the
//! end (454 - 331, 140 - 16), as they must. Four figures of each run are compared. Two unknowns were fitted by trying: the cores, and how long
//! the connections took to come; the bounds of the error were set then, and are wide: a model of one queue is no server.
use crate::lab::{Point, at};

use super::{Load, Outcome, Policy, Pool, simulate};

/// A run of the tutorial, as published: 125 clients for ten seconds on a handler of 500 ms.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    /// The endpoint.
    pub name: &'static str,
    /// What the endpoint's way of waiting gets from the pool.
    pub policy: Policy,
    /// Requests a second. Times ten it is what was answered within the window: all answers less the 124 that were still under way then.
    pub per_s: f64,
    /// All answers.
    pub answered_count: f64,
    /// Mean latency of all answers.
    pub latency_mean_ms: f64,
    /// The longest.
    pub latency_max_ms: f64,
    /// Threads at the start, in cores. The first run met a fresh pool; the second came after it, and the tutorial says of it that the count
    /// "rapidly" reaches two to three times the cores.
    threads_per_core: u64,
}

/// The two runs.
pub const TUTORIAL: [Published; 2] = [
    Published {
        name: "taskwait",
        policy: Policy::Cooperative,
        per_s: 33.06,
        answered_count: 454.0,
        latency_mean_ms: 3480.0,
        latency_max_ms: 10_790.0,
        threads_per_core: 1,
    },
    Published {
        name: "tasksleepwait",
        policy: Policy::Gate,
        per_s: 1.61,
        answered_count: 140.0,
        latency_mean_ms: 15_420.0,
        latency_max_ms: 18_300.0,
        threads_per_core: 2,
    },
];

/// The load of the tutorial. When its connections came (125 TLS handshakes) is not published: fitted, once, for both runs.
pub const TUTORIAL_LOAD: Load =
    Load { clients: 125, spread_ms: 1750, handler_ms: 500, blocks: true, window_ms: 10_000 };

/// The cores of the tutorial's machine are not published: fitted, once, for both runs.
pub const TUTORIAL_CORES: u64 = 14;

/// Mean and longest latency, and all answers: within this share of what was published.
pub const LATENCY_ERROR_SHARE: f64 = 0.25;
/// Answers within the window: within a tenth of the clients. (A share of the 16 answers of the second run would be a matter of luck.)
pub const ANSWERS_ERROR_COUNT: f64 = 12.5;

impl Published {
    /// As a parameter.
    pub const fn point(self) -> Point<Self> {
        at(self.name, self)
    }

    /// The run, simulated on a machine with so many cores.
    pub fn simulated(&self, cores: u64) -> Outcome {
        simulate(self.policy, Pool { cores, threads: cores * self.threads_per_core }, TUTORIAL_LOAD)
    }

    /// Answers within the window, as published.
    pub fn in_window_count(&self) -> f64 {
        self.per_s * TUTORIAL_LOAD.window_ms as f64 / 1e3
    }

    /// Whether the simulation on so many cores comes as near as is stated.
    ///
    /// # Errors
    /// What is off, and by how much.
    pub fn reproduced(&self, cores: u64) -> Result<(), String> {
        let got = self.simulated(cores);
        let shares = [
            ("mean latency, ms", got.latency_mean_ms, self.latency_mean_ms),
            ("longest latency, ms", got.latency_max_ms as f64, self.latency_max_ms),
            ("answers", got.answered_count as f64, self.answered_count),
        ];
        let off = |what: &str, got: f64, published: f64| {
            Err(format!("{}: {what}: {got:.1} simulated, {published:.1} published", self.name))
        };
        for (what, got, published) in shares {
            if (got / published - 1.0).abs() > LATENCY_ERROR_SHARE {
                return off(what, got, published);
            }
        }
        let (got, published) = (got.in_window_count as f64, self.in_window_count());
        if (got - published).abs() > ANSWERS_ERROR_COUNT {
            return off("answers within the window", got, published);
        }
        Ok(())
    }
}

/// Whether the model reproduces both runs; without that it predicts nothing.
///
/// # Errors
/// What is off, and by how much.
pub fn reproduction() -> Result<(), String> {
    TUTORIAL.iter().try_for_each(|run| run.reproduced(TUTORIAL_CORES))
}

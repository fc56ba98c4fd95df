//! The resolved plan of a run: flags go in, nothing downstream reads a flag again.
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long a run may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// A few milliseconds a case, one launch: shows that everything runs. Never quotable.
    Smoke,
    /// Three launches: for a look, and for the tour.
    Quick,
    /// Five launches.
    Default,
    /// Ten launches and longer slices: for a number that will be quoted to a sceptic.
    Full,
}

/// What will be done, resolved. A child process gets the very same plan as JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// How long it may take.
    pub mode: Mode,
    /// Threads of a contended case: by default as many as there are CPUs allowed.
    pub threads: usize,
    /// CPUs that this process may use, in the order in which lanes are pinned.
    pub cpus: Vec<usize>,
    /// Process launches; the printed interval is over these.
    pub launches: usize,
    /// Which launch this is, from 0; only a child sees another number than 0.
    pub launch: usize,
    /// Measured time for each case and parameter within one launch.
    pub slice: Duration,
    /// How much longer than it needs a child may take before it counts as hung.
    pub patience: Duration,
    /// Seed of every random order and key.
    pub seed: u64,
    /// Measure although the machine is unfit; the result is never quotable.
    pub anyway: bool,
}

impl Plan {
    /// The plan of a mode on these CPUs.
    ///
    /// # Panics
    /// If `cpus` is empty: a process that runs has a CPU.
    pub fn new(mode: Mode, cpus: Vec<usize>) -> Self {
        assert!(!cpus.is_empty(), "a running process is allowed at least one CPU");
        let (launches, slice_ms) = match mode {
            Mode::Smoke => (1, 4),
            Mode::Quick => (3, 120),
            Mode::Default => (5, 250),
            Mode::Full => (10, 600),
        };
        Self {
            mode,
            threads: cpus.len(),
            cpus,
            launches,
            launch: 0,
            slice: Duration::from_millis(slice_ms),
            patience: Duration::from_secs(30),
            seed: 1,
            anyway: false,
        }
    }

    /// The same with part of the slice, and no less than `least` except in a smoke run.
    #[must_use]
    pub fn part(&self, part: f64, least: Duration) -> Self {
        let least = if self.is_smoke() { Duration::ZERO } else { least };
        Self { slice: self.slice.mul_f64(part).max(least), ..self.clone() }
    }

    /// True where a number is not meant, only that the code runs.
    pub fn is_smoke(&self) -> bool {
        self.mode == Mode::Smoke
    }
}

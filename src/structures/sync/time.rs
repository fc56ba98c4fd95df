//! Until when a thread waits.

use std::time::{Duration, Instant};

/// A point in time, or never.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Option<Instant>);

impl Deadline {
    /// So long from now; one that the clock can't count to never comes.
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now().checked_add(timeout))
    }

    /// What is left until then: zero if it has come, [`Duration::MAX`] if it never does.
    pub fn left(&self) -> Duration {
        self.0.map_or(Duration::MAX, |then| then.saturating_duration_since(Instant::now()))
    }
}

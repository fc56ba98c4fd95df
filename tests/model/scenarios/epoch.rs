//! What epochs must do in every execution.

use super::Scenario;
use super::reclaimed::{helped, reader_inside, stalled};
use crate::reclaim::epoch::Epoch;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "reader_inside",
        oracle: "what a reader reads is not freed before it has left, and all is freed in the end",
        threads: 2,
        bound: Some(3),
        run: reader_inside::<Epoch>,
    },
    Scenario {
        name: "helped",
        oracle: "the same, when somebody else moves the epoch on",
        threads: 3,
        bound: Some(2),
        run: helped::<Epoch>,
    },
    Scenario {
        name: "stalled",
        oracle: "a sleeper inside keeps everything; when it has left, nothing is kept",
        threads: 1,
        bound: None,
        run: |turns| stalled::<Epoch>(3 * turns, |retired| retired),
    },
];

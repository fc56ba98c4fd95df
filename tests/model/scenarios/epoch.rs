//! What epochs must do in every execution.

use super::Scenario;
use super::reclaimed::{helped, most_general, reader_inside, reader_reenters, stalled, writer_reenters};
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
    Scenario {
        name: "reader_reenters",
        oracle: "what a reader read is not freed before it left, when a collector sees only that it is in again",
        threads: 2,
        bound: Some(3),
        run: reader_reenters::<Epoch>,
    },
    Scenario {
        name: "writer_reenters",
        oracle: "what a writer unlinked is seen by a collector that sees only that the writer is in again",
        threads: 2,
        bound: Some(3),
        run: writer_reenters::<Epoch>,
    },
    Scenario {
        name: "most_general",
        oracle: "a reader, a writer and one who collects, each twice, with handles that inherit places: all is freed once, in time",
        threads: 3,
        bound: Some(1),
        run: most_general::<Epoch>,
    },
];

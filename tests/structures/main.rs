//! The structures that are written by hand, on real threads: what each promises, at its limits, in panics, against slow exact models.
//!
//! Their orderings are put to the proof in `tests/model/`, with random pauses in `tests/chaos/`, by their histories in `tests/linear/`.
#![allow(dead_code, unreachable_pub, reason = "the scenarios are shared with the other machines")]

#[path = "../linear/check.rs"]
mod check;
mod flows;
#[path = "../linear/lanes.rs"]
mod lanes;
mod locks;
#[path = "../zoo/machine.rs"]
mod machine;
mod memories;
#[path = "../zoo/plain.rs"]
mod plain;
mod real;
#[path = "../model/scenarios/mod.rs"]
mod scenarios;
#[path = "../linear/spec.rs"]
mod spec;
#[path = "../model/stress.rs"]
mod stress;
mod tasks;
mod walls;
#[path = "../zoo/row.rs"]
#[allow(clippy::print_stdout, reason = "the zoo's row of the detection matrix")]
mod zoo;

// What the scenarios call `crate::lock`, `crate::sync` and so on.
use underhood::structures::{alloc, flow, lock, lockfree, reclaim, sync, task};
/// The room that `managed/safepoint` is named after.
mod managed {
    pub(crate) use underhood::structures::safepoint;
}

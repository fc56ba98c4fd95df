//! Every scenario on real threads, on the library itself: the code that the labs measure.
//!
//! `UNDERHOOD_REAL_ROUNDS` sets how often (default 5).
#![allow(dead_code, unreachable_pub, reason = "shared with the other machines")]
#![allow(clippy::print_stdout, reason = "the zoo's row of the detection matrix")]

#[path = "linear/check.rs"]
mod check;
#[path = "linear/lanes.rs"]
mod lanes;
#[path = "zoo/machine.rs"]
mod machine;
#[path = "zoo/plain.rs"]
mod plain;
#[path = "model/scenarios/mod.rs"]
mod scenarios;
#[path = "linear/spec.rs"]
mod spec;
#[path = "model/stress.rs"]
mod stress;
#[path = "zoo/row.rs"]
mod zoo;

// What the scenarios call `crate::lock`, `crate::sync` and so on.
use underhood::structures::{flow, lock, lockfree, reclaim, sync, task};
/// The room that `managed/safepoint` is named after.
mod managed {
    pub(crate) use underhood::structures::safepoint;
}

use machine::round::Oracle;

#[test]
fn every_scenario() {
    stress::every_scenario(stress::number("UNDERHOOD_REAL_ROUNDS", 5), 200, 0, |_| {});
}

/// The fault zoo without any help: what plain stress finds is luck, so what it misses by its nature and the sound twins are asserted.
#[test]
fn zoo() {
    zoo::row(
        |_| {},
        50,
        |fault, oracle| (oracle == Oracle::Conserved && fault.history_only).then_some(false),
    );
}

/// The faces are free: a lock is its word and its value, a tracked pointer is a pointer.
#[test]
fn sizes() {
    use std::mem::size_of;
    assert_eq!(size_of::<lock::mutex::Mutex<u32>>(), 8);
    assert_eq!(size_of::<lock::rwlock::RwLock<u32>>(), 12);
    assert_eq!(size_of::<sync::cell::UnsafeCell<u32>>(), 4);
    assert_eq!(size_of::<sync::cell::MutPtr<u32>>(), size_of::<usize>());
    assert_eq!(size_of::<lock::mutex::MutexGuard<'_, u32>>(), 2 * size_of::<usize>());
}

//! Every scenario on real threads that pause at random before their atomic steps.
//!
//! `UNDERHOOD_CHAOS_SEED` (printed when a round fails) and `UNDERHOOD_CHAOS_ROUNDS` (default 25) choose the rounds,
//! `UNDERHOOD_CHAOS_TURNS` (default 20) how often each thread does its part. The same
//! seed gives each thread the same pauses; the operating system is still free, so a failure comes back often, not always.
//! Finds races of steps; orderings that are merely too weak are for `tests/model/`, since x86 does not show them.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the structures are included as they are, whatever part the scenarios use"
)]
#![allow(unused_imports, reason = "a face has all its names, whatever part the structures use")]
#![allow(missing_debug_implementations, reason = "the chaotic face has no users to debug")]
#![allow(clippy::print_stdout, reason = "the zoo's row of the detection matrix")]

#[path = "../linear/check.rs"]
mod check;
#[path = "../../src/structures/flow/mod.rs"]
mod flow;
#[path = "../../src/structures/alloc/inbox.rs"]
mod inbox;
#[path = "../linear/lanes.rs"]
mod lanes;
#[path = "../../src/structures/lock/mod.rs"]
mod lock;
#[path = "../../src/structures/lockfree/mod.rs"]
mod lockfree;
#[path = "../zoo/machine.rs"]
mod machine;
#[path = "../model/managed.rs"]
mod managed;
#[path = "../zoo/plain.rs"]
mod plain;
#[path = "../../src/structures/reclaim/mod.rs"]
mod reclaim;
#[path = "../model/scenarios/mod.rs"]
mod scenarios;
#[path = "../linear/spec.rs"]
mod spec;
mod steps;
#[path = "../model/stress.rs"]
mod stress;
mod sync;
#[path = "../../src/structures/task/mod.rs"]
mod task;
#[path = "../zoo/row.rs"]
mod zoo;

/// Where the structures look for each other.
mod structures {
    pub(crate) use crate::{flow, lock, lockfree, reclaim, sync, task};
}
/// The room has parts that take their memory from the system; here is the one that threads share.
mod alloc {
    pub(crate) use crate::inbox;
}

use machine::round::Oracle;
use std::time::{SystemTime, UNIX_EPOCH};

fn seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    stress::number("UNDERHOOD_CHAOS_SEED", now)
}

#[test]
fn every_scenario() {
    let turns = usize::try_from(stress::number("UNDERHOOD_CHAOS_TURNS", 20)).unwrap();
    stress::every_scenario(stress::number("UNDERHOOD_CHAOS_ROUNDS", 25), turns, seed(), sync::chaos::begin);
}

/// The tester tested: a lock that looks, then takes, is caught; and by the cell, before any sum is wrong.
#[test]
fn a_broken_lock_is_caught() {
    use std::panic::resume_unwind;
    use std::sync::Arc;
    use sync::atomic::{AtomicBool, Ordering::*};
    use sync::cell::UnsafeCell;

    struct Broken(AtomicBool, UnsafeCell<usize>);
    // SAFETY: not sound, and that is the point; the cell panics before a second thread gets a pointer.
    unsafe impl Sync for Broken {}

    fn add(lock: &Broken) {
        for _ in 0..20 {
            while lock.0.load(Acquire) {
                sync::hint::spin_loop();
            }
            lock.0.store(true, Relaxed); // a step later: somebody else may have seen it free, too
            // SAFETY: the cell lets one access in at a time, and panics otherwise.
            lock.1.with_mut(|sum| unsafe { *sum += 1 });
            lock.0.store(false, Release);
        }
    }
    let program = || {
        let lock = Arc::new(Broken(AtomicBool::new(false), UnsafeCell::new(0)));
        let other = Arc::clone(&lock);
        let other = sync::thread::spawn(move || add(&other));
        add(&lock);
        other.join().unwrap_or_else(|panic| resume_unwind(panic));
    };
    let caught = (0..5_000)
        .map(|i| seed().wrapping_add(i))
        .find_map(|s| stress::round(s, sync::chaos::begin, program).err());
    assert!(caught.expect("5,000 rounds found nothing").contains("inside the cell"));
}

/// The fault zoo in chaos: what pauses can find they find, within so many rounds; and a sound twin raises no alarm. A mistake in an
/// ordering that x86 does not use is not asserted: other processors may show it.
#[test]
fn zoo() {
    zoo::row(sync::chaos::begin, 100, |fault, oracle| match oracle {
        Oracle::Conserved if fault.history_only => Some(false),
        _ => (!fault.ordering_only).then_some(true),
    });
}

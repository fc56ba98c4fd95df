//! Whom reader-writer locks let in first: counts of who overtakes whom, never a time; and that nobody is left inside.
use std::time::Duration;

use underhood::{
    contenders::lock::{Lock, PL012_RECURSIVE, RWLOCK, RWLOCK_FAIR, RWLOCK_SHARDED, TOKIO_RWLOCK},
    experiments::policy::{Lone, lone},
};

#[test]
fn the_contenders_of_this_lab_pass() {
    for lock in [&PL012_RECURSIVE, &TOKIO_RWLOCK] {
        let is = lock.as_ref();
        assert_eq!(is.check.map(|check| check()), Some(Ok(())), "{}", is.id);
    }
}

fn overtakes(lock: &Lock, who: Lone) -> f64 {
    let sample = lone(lock, who, Duration::from_millis(60), 1, "p");
    assert!(sample.values["turns_count"] >= 1.0, "always gets its last turn: {sample:?}");
    sample.values["overtakes_count"]
}

/// A thread that loses its CPU between its look at the count and its request sees others enter that were not overtakers: so bounds with
/// room, and a second try.
fn at_most(lock: &Lock, who: Lone, most: f64) -> bool {
    (0..5).any(|_| overtakes(lock, who) <= most)
}

#[test]
fn a_waiting_writer_bars_readers_unless_they_may_recurse() {
    assert!(at_most(&RWLOCK, Lone::Writer, 1.0));
    assert!(at_most(&RWLOCK_SHARDED, Lone::Writer, 3.0));
    assert!(at_most(&RWLOCK_FAIR, Lone::Writer, 1.0));
    assert!(at_most(&TOKIO_RWLOCK, Lone::Writer, 1.0));
    assert!(overtakes(&PL012_RECURSIVE, Lone::Writer) >= 5.0);
}

#[test]
fn writers_keep_a_reader_out_unless_phases_take_turns() {
    assert!(at_most(&RWLOCK_FAIR, Lone::Reader, 2.0));
    assert!((0..5).any(|_| overtakes(&RWLOCK, Lone::Reader) >= 5.0));
}

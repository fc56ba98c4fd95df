//! Whom reader-writer locks let in first: counts of who overtakes whom, never a time; and that nobody is left inside.
use std::time::Duration;

use underhood::{
    contenders::lock::{Guarded, check, check_work},
    experiments::policy::{Lone, Recursive, lone},
    structures::lock::{rwlock::RwLock, rwlock_fair::RwLockFair, rwlock_sharded::RwLockSharded},
};

#[test]
fn the_contenders_of_this_lab_pass() {
    fn sound<L: Guarded>() -> Result<(), String> {
        check::<L>().and_then(|()| check_work::<L>(90))
    }
    assert_eq!((sound::<Recursive>(), sound::<tokio::sync::RwLock<u64>>()), (Ok(()), Ok(())));
}

fn overtakes<L: Guarded>(who: Lone) -> f64 {
    let sample = lone::<L>(who, Duration::from_millis(60), "p");
    assert!(sample.values["turns_count"] >= 1.0, "always gets its last turn: {sample:?}");
    sample.values["overtakes_count"]
}

/// A thread that loses its CPU between its look at the count and its request sees others enter that were not overtakers: so bounds with
/// room, and a second try.
fn at_most<L: Guarded>(who: Lone, most: f64) -> bool {
    (0..5).any(|_| overtakes::<L>(who) <= most)
}

#[test]
fn a_waiting_writer_bars_readers_unless_they_may_recurse() {
    assert!(at_most::<RwLock<u64>>(Lone::Writer, 1.0));
    assert!(at_most::<RwLockSharded<u64>>(Lone::Writer, 3.0));
    assert!(at_most::<RwLockFair<u64>>(Lone::Writer, 1.0));
    assert!(at_most::<tokio::sync::RwLock<u64>>(Lone::Writer, 1.0));
    assert!(overtakes::<Recursive>(Lone::Writer) >= 5.0);
}

#[test]
fn writers_keep_a_reader_out_unless_phases_take_turns() {
    assert!(at_most::<RwLockFair<u64>>(Lone::Reader, 2.0));
    assert!((0..5).any(|_| overtakes::<RwLock<u64>>(Lone::Reader) >= 5.0));
}

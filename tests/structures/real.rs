//! Every scenario on real threads, on the library itself: the code that the labs measure.
//!
//! `UNDERHOOD_REAL_ROUNDS` sets how often (default 5).
use crate::{lock, machine::round::Oracle, stress, sync, zoo};

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

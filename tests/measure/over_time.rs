//! The experiment of lab `alloc_over_time`: no block is lost, every allocator does the same work, and a leak is one. Never a time.
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicPtr, Ordering::Relaxed},
    time::Duration,
};

use crate::alone;
use underhood::{
    contenders::alloc::Allocator,
    experiments::over_time::{
        self, Advice, MI, PLAIN, Rounds, Served, Survivors, TRIMMED, TWO_ARENAS, arenas_count, idle,
        next_burst, rounds,
    },
    lab::Contender,
};

const LOAD: Rounds = Rounds {
    threads: 3,
    rounds: 9,
    bytes: 64 << 10,
    least: 256,
    drift: 1.25,
    one_in: 8,
    lives: 3,
    survivors: Survivors::FreedElsewhere,
    seed: 7,
};
const ALL: [Survivors; 4] =
    [Survivors::FreedElsewhere, Survivors::FreedAtHome, Survivors::Apart, Survivors::Leaked];

#[test]
fn every_allocator_does_the_same_work() {
    for survivors in ALL {
        let load = Rounds { survivors, ..LOAD };
        let [glibc, mimalloc] = [PLAIN, MI].map(|s| rounds(s.value, load).unwrap());
        assert_eq!(glibc.receipts.ops_count, mimalloc.receipts.ops_count, "{survivors:?}");
        let [ours, theirs] = [&glibc, &mimalloc].map(|s| s.values["live_bytes"].to_bits());
        assert_eq!(ours, theirs, "{survivors:?}");
    }
}

#[test]
fn what_lives_stays_the_same_unless_it_leaks() {
    let live = |survivors, count| {
        let load = Rounds { survivors, rounds: count, drift: 1.0, ..LOAD };
        rounds(MI.value, load).unwrap().values["live_bytes"]
    };
    for survivors in &ALL[..3] {
        let (few, many) = (live(*survivors, 4), live(*survivors, 12));
        assert!((0.8..1.25).contains(&(many / few)), "{survivors:?}: {few} bytes, then {many}");
    }
    let (few, many) = (live(Survivors::Leaked, 4), live(Survivors::Leaked, 12));
    assert!(
        (2.5..3.5).contains(&(many / few)),
        "three times the rounds leak three times as much: {few}, {many}"
    );
    // Laid aside or survived: about as many bytes.
    let (between, apart) = (live(Survivors::FreedElsewhere, 12), live(Survivors::Apart, 12));
    assert!((0.8..1.25).contains(&(apart / between)), "{between} bytes between, {apart} apart");
}

#[test]
fn sizes_drift_and_stay_below_a_mapping_of_their_own() {
    assert_eq!(LOAD.least_of(0), 256);
    assert!((1..200).all(|r| LOAD.least_of(r) >= LOAD.least_of(r - 1)));
    assert!(LOAD.least_of(1_000_000) * 2 <= 32 << 10);
}

/// Writes into a block that it has handed out, when it hands out the next.
struct Scribbling;

static LAST: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());

// SAFETY: what it hands out is the system's, and is never freed. That it writes into a block of somebody else is what is wrong with it; the
// test has one thread, so no write meets another access.
unsafe impl GlobalAlloc for Scribbling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's duty is passed on.
        let start = unsafe { System.alloc(layout) };
        let before = LAST.swap(start, Relaxed);
        if !before.is_null() {
            // SAFETY: the start of a block that was never freed.
            unsafe { before.write_volatile(0) };
        }
        start
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[test]
fn an_allocator_that_writes_into_blocks_gets_no_number() {
    static BROKEN: Allocator = Allocator::new(Contender::new("scribbling"), &Scribbling);
    let load = Rounds { threads: 1, ..LOAD };
    let why = rounds(Served { by: &BROKEN, told: Advice::Nothing }, load).unwrap_err();
    assert!(why.contains("does not hold what was written"), "{why}");
}

#[test]
fn an_allocator_without_a_purge_has_no_row_after_one() {
    static PLAINEST: Allocator = Allocator::new(Contender::new("plainest"), &System);
    let served = Served { by: &PLAINEST, told: Advice::Nothing };
    assert!(next_burst(served, LOAD, true).unwrap_err().contains("no function"));
    assert!(next_burst(served, LOAD, false).unwrap().values["block_ns"] > 0.0);
    let sample = idle(served, Rounds { bytes: 1 << 20, ..LOAD }, Duration::ZERO).unwrap();
    assert!(!sample.values.contains_key("rss_purged_share"), "{sample:?}");
}

#[test]
fn a_limit_of_two_arenas_is_obeyed() {
    if !cfg!(all(target_os = "linux", target_env = "gnu"))
        || !alone("over_time::a_limit_of_two_arenas_is_obeyed")
    {
        return;
    }
    // The test's own thread may have an arena beside the main one already.
    let before = arenas_count().unwrap();
    let limited = rounds(TWO_ARENAS.value, Rounds { threads: 6, ..LOAD }).unwrap().values["arenas_count"];
    assert!(limited <= before.max(2) as f64, "{limited} arenas, {before} before");
}

#[test]
fn glibc_and_our_own_count_agree_on_a_leak_and_mimalloc_is_unseen() {
    if !cfg!(all(target_os = "linux", target_env = "gnu"))
        || !alone("over_time::glibc_and_our_own_count_agree_on_a_leak_and_mimalloc_is_unseen")
    {
        return;
    }
    let load = Rounds { one_in: 2, bytes: 1 << 20, survivors: Survivors::Leaked, ..LOAD };
    let leak = over_time::sources(PLAIN.value, load).unwrap().values;
    let ratio = leak["given_out_share"] / leak["live_share"];
    assert!((0.9..1.3).contains(&ratio), "{leak:?}");
    let unseen = over_time::sources(MI.value, load).unwrap().values;
    assert!(unseen["given_out_share"] < 0.1 * unseen["live_share"], "{unseen:?}");
    let trimmed = rounds(TRIMMED.value, LOAD).unwrap();
    assert!(trimmed.receipts.ops_count > Some(0.0));
}

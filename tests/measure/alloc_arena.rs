//! The experiments of lab `alloc_arena`: every row does the work, and a broken one is found.
use std::alloc::{GlobalAlloc, Layout};

use underhood::{
    contenders::alloc::{ALIGN, Allocator},
    experiments::{
        burst::{BURST, Burst},
        objects::{BUMPALO, BUMPALO_VERSION, MANY, ORIGINS, agrees},
        our_malloc::{self, OURS},
    },
    lab::Contender,
    machine::built,
};

#[test]
fn every_row_reads_what_it_wrote() {
    for origin in ORIGINS.iter().filter(|o| o.absent().is_none()) {
        origin.check().unwrap_or_else(|why| panic!("{}: {why}", origin.as_ref().name));
    }
}

#[test]
fn a_row_that_loses_an_object_gets_no_number() {
    let sum = |from: u64, objects: u64| (from..from + objects).map(|n| 64 * n + 36).sum::<u64>();
    assert_eq!(agrees(MANY, |from, rounds| sum(from, rounds * MANY as u64)), Ok(()));
    let loses = agrees(MANY, |from, rounds| sum(from, rounds * MANY as u64 - 1));
    assert!(loses.unwrap_err().contains("64 objects"));
    // Two objects in one place: the later words are read twice.
    assert!(agrees(2, |from, rounds| 2 * sum(from + 1, rounds)).is_err());
    assert!(agrees(1, |_, _| 0).is_err());
}

#[test]
fn the_arena_of_bumpalo_is_named_with_the_version_that_is_built() {
    assert_eq!(built::version_of("bumpalo").as_deref(), Some(BUMPALO_VERSION));
    assert!(BUMPALO.as_ref().name.ends_with(BUMPALO_VERSION));
}

#[test]
fn our_malloc_serves_every_size_that_the_lab_asks_for() {
    for bytes in [1, 64, 100, 1_000, 5_000] {
        OURS.check(bytes, ALIGN).unwrap_or_else(|why| panic!("{bytes} bytes: {why}"));
        let mut burst = Burst::new(&OURS, bytes);
        burst.fill();
        assert_eq!(burst.drain(), BURST);
    }
}

#[test]
fn an_allocator_that_refuses_gets_no_number() {
    struct Refuses;
    // SAFETY: null is the contract's way to refuse; nothing is handed out that could come back.
    unsafe impl GlobalAlloc for Refuses {
        unsafe fn alloc(&self, _: Layout) -> *mut u8 {
            std::ptr::null_mut()
        }
        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {
            unreachable!("nothing was handed out")
        }
    }
    static REFUSES: Allocator = Allocator::new(Contender::new("refuses"), &Refuses);
    let why = our_malloc::overhead(&REFUSES, 64, 10).unwrap_err();
    assert!(why.contains("refused"), "{why}");
}

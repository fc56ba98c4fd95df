//! Memory that is fresh, zeroed, grown, huge or just below a cliff: the labs on one block, and what they are built on.
//! Shapes, counts and invariants; never a time.
#[path = "../labs/alloc_growth.rs"]
mod alloc_growth;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeSet,
    time::Duration,
};

use underhood::{
    lab::Lab,
    machine::allowed_cpus,
    memory::{
        cycle::Extent,
        grown::{Growth, first_growth, grow},
        mem,
        zeroed::{Zeros, zeroed, zeroed_cycle},
    },
    plan::{Mode, Plan},
    rivals::alloc::{ALIGN, ALLOCATORS, Allocator, Block, BlockError},
};

const MIB: usize = 1 << 20;

fn labs() -> [&'static Lab; 1] {
    [&alloc_growth::LAB]
}

/// Says that its memory is zero, and it is not; when it grows, it loses what was in it.
struct Careless;

// SAFETY: every call is handed on to the system's allocator, which keeps the contract, but that zeroed memory is full of
// ones and grown memory is overwritten: the tests read it only as what it is, initialised bytes of a live block.
unsafe impl GlobalAlloc for Careless {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: our caller keeps the contract, which is the same one.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: `start` came from the system's allocator with this layout.
        unsafe { System.dealloc(start, layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as in `alloc`.
        let start = unsafe { System.alloc_zeroed(layout) };
        if !start.is_null() {
            // SAFETY: the block has `layout.size()` bytes at `start`.
            unsafe { start.write_bytes(1, layout.size()) }
        }
        start
    }
    unsafe fn realloc(&self, start: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: our caller keeps the contract, which is the same one.
        let start = unsafe { System.realloc(start, layout, bytes) };
        if !start.is_null() {
            // SAFETY: the block has at least so many bytes.
            unsafe { start.write_bytes(1, layout.size().min(bytes)) }
        }
        start
    }
}

static CARELESS: Allocator = Allocator::new("careless", &Careless);

#[test]
fn memory_that_is_not_zero_gets_no_number() {
    let extent = Extent { time: Duration::ZERO, least: 1, most: 1, idle: Duration::ZERO };
    let damaged = BlockError::Damaged { by: "careless", bytes: MIB };
    assert_eq!(zeroed(&CARELESS, Zeros::Asked, "p", MIB, extent).unwrap_err(), damaged);
    for allocator in ALLOCATORS.iter().chain([&CARELESS]) {
        let sample = zeroed(allocator, Zeros::Cleared, "p", MIB, extent).unwrap();
        assert_eq!(sample.receipts.kept_count, Some(1.0), "{sample:?}");
    }
}

#[test]
fn zeros_are_zero_until_somebody_writes() {
    let page = mem::page_bytes();
    for allocator in ALLOCATORS {
        for bytes in [1, 100, page, page + 1, 3 * MIB + 7] {
            for zeros in [Zeros::Asked, Zeros::Cleared] {
                let mut block = zeros.block(allocator, bytes).unwrap();
                assert!(!block.is_zero_but_touched(), "nothing was touched yet");
                block.touch_every(page);
                assert!(block.is_zero_but_touched() && block.holds_touch(), "{} {bytes}", allocator.name);
                block.fill(7);
                block.touch_every(page);
                let only_touched = bytes <= 1;
                assert_eq!(block.is_zero_but_touched(), only_touched, "{} {bytes}", allocator.name);
            }
            let mut block = Block::new(allocator, bytes, ALIGN).unwrap();
            block.touch_every(page);
            assert!(!block.is_zero_but_touched(), "nobody knows what is in it");
        }
        let mut block = Zeros::Asked.block(allocator, 2 * page).unwrap();
        block.touch_every(page);
        block.as_mut_slice()[page + 7].write(1);
        block.touch_every(page);
        assert!(!block.is_zero_but_touched(), "who had the slice may have written anything");
    }
}

#[test]
fn a_block_that_grows_keeps_what_is_in_it_and_only_its_new_pages_are_touched() {
    let page = mem::page_bytes();
    for allocator in ALLOCATORS {
        for by_copy in [false, true] {
            let resize = |block: &mut Block, bytes| {
                if by_copy { block.resize_by_copy(bytes) } else { block.resize(bytes) }
            };
            let mut block = Block::new(allocator, 5 * page, ALIGN).unwrap();
            assert_eq!(block.touch_rest(page), 6, "all of it, if nothing was touched");
            resize(&mut block, 9 * page).unwrap();
            assert!(block.bytes() == 9 * page && !block.holds_touch(), "the new part is not written yet");
            assert_eq!(block.touch_rest(page), 5, "4 new pages and the last byte");
            assert!(block.holds_touch(), "{} {by_copy}", allocator.name);
            resize(&mut block, 9 * page).unwrap();
            assert!(block.holds_touch(), "the same size is no change");
            resize(&mut block, 3 * page).unwrap();
            assert!(!block.holds_touch(), "its last byte was not one of the places");
            assert_eq!(block.touch_rest(page), 4, "so all of it");
            assert!(block.holds_touch());
            let refused = resize(&mut block, usize::MAX).unwrap_err();
            assert_eq!(refused, BlockError::Layout { bytes: usize::MAX, align: ALIGN });
            assert!(block.holds_touch() && block.bytes() == 3 * page, "what is refused changes nothing");
        }
    }
}

#[test]
fn growth_is_by_doubling_and_what_was_written_on_the_way_is_there_in_the_end() {
    for allocator in ALLOCATORS {
        for growth in [Growth::Realloc, Growth::Copy] {
            let grown = grow(allocator, growth, MIB, 16 * MIB).unwrap();
            assert_eq!(grown.steps, 4);
            assert!(grown.dearest <= grown.grow && grown.moved <= grown.steps, "{grown:?}");
            if growth == Growth::Copy {
                assert_eq!(grown.moved, 4, "the new block was there while the old one was: {grown:?}");
            }
        }
    }
    let lost = BlockError::Damaged { by: "careless", bytes: 4 * MIB };
    assert_eq!(grow(&CARELESS, Growth::Realloc, MIB, 4 * MIB).unwrap_err(), lost);
    assert!(grow(&CARELESS, Growth::Copy, MIB, 4 * MIB).is_ok());
}

/// What the lab's claims on faults stand on. Above 32 MiB every block of glibc's is a mapping, whatever ran before.
#[test]
fn glibc_moves_a_mapping_and_copies_nothing() {
    let Some(glibc) = Allocator::named("glibc") else { return };
    let (from, to) = (33 * MIB, 66 * MIB);
    let moved = first_growth(glibc, Growth::Realloc, "p", from, to).unwrap().values;
    let copied = first_growth(glibc, Growth::Copy, "p", from, to).unwrap().values;
    if let (Some(moved), Some(copied)) = (moved.get("call_faults_count"), copied.get("call_faults_count")) {
        assert!(*moved < 8.0, "a page was written to inside realloc: {moved}");
        // Half of the new pages at least, or of huge ones.
        assert!(*copied >= 16.0, "{copied}");
    }
}

#[test]
fn a_cycle_of_zeros_has_its_parts() {
    for allocator in ALLOCATORS {
        for zeros in [Zeros::Asked, Zeros::Cleared] {
            let parts = zeroed_cycle(allocator, zeros, MIB).unwrap();
            assert_eq!(parts.total(), parts.call + parts.touch + parts.free);
        }
    }
}

#[test]
fn every_step_answers_every_pair_and_says_what_is_not_there() {
    let plan = Plan::new(Mode::Smoke, allowed_cpus());
    for step in labs().iter().flat_map(|lab| lab.steps) {
        let samples = (step.measure)(&plan, step.cases, step.params);
        let pairs: Vec<_> = samples.iter().map(|s| (s.case.as_str(), s.param.as_str())).collect();
        let unique: BTreeSet<_> = pairs.iter().copied().collect();
        assert_eq!(unique.len(), pairs.len(), "{}: a pair was answered twice", step.name);
        for case in step.cases {
            assert!(step.params.iter().all(|p| unique.contains(&(*case, *p))), "{} {case}", step.name);
        }
        for sample in samples.iter().filter(|s| s.unmeasured.is_none()) {
            assert!(sample.values.contains_key(step.headline), "{} {sample:?}", step.name);
            assert!(sample.values.values().all(|v| v.is_finite() && *v >= 0.0), "{sample:?}");
            assert!(
                step.columns.iter().all(|c| sample.values.contains_key(*c) || may_be_missing(c)),
                "{} {sample:?}",
                step.name
            );
        }
        let unknown = (step.measure)(&plan, &["unobtainium"], &step.params[..1]);
        assert!(
            unknown[0].unmeasured.as_deref().is_some_and(|why| why.contains("no unobtainium")),
            "{}",
            step.name
        );
    }
}

/// What some systems do not tell.
fn may_be_missing(column: &str) -> bool {
    ["faults", "rss", "huge"].iter().any(|word| column.contains(word))
}

#[test]
fn the_benches_run() {
    let plan = Plan::new(Mode::Smoke, allowed_cpus());
    for bench in labs().iter().flat_map(|lab| (lab.benches)(&plan)) {
        let mut run = (bench.make)();
        assert!(run(1) > Duration::ZERO, "{}", bench.id);
    }
}

//! Memory that is fresh, zeroed, grown, huge or just below a cliff: the labs on one block, and what they are built on.
//! Shapes, counts and invariants; never a time.
use crate::all::{alloc_cliff, alloc_growth, alloc_pages};

use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeSet,
    time::Duration,
};

use underhood::{
    contenders::alloc::{ALIGN, Allocator, Block, BlockError, GLIBC, here},
    experiments::{
        cliff::{Before, Turn, boundary, cliff, faults_anew, history, settled_ns},
        cycle::Extent,
        grown::{Growth, first_growth, grow},
        pages::{Pages, Round, cold_and_warm, given, pages, possible, reported_from, round},
        zeroed::{Zeros, zeroed, zeroed_cycle},
    },
    lab::{
        Contender, Lab,
        plan::{Mode, Plan},
    },
    machine::{
        allowed_cpus,
        memory::{self, Mapping},
    },
    measure::latency::histogram,
};

const MIB: usize = 1 << 20;

fn labs() -> [Lab; 3] {
    [alloc_cliff::lab(), alloc_growth::lab(), alloc_pages::lab()]
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

static CARELESS: Allocator = Allocator::new(Contender::new("careless"), &Careless);

#[test]
fn memory_that_is_not_zero_gets_no_number() {
    let extent = Extent { time: Duration::ZERO, least: 1, most: 1, idle: Duration::ZERO };
    let damaged = BlockError::Damaged { by: "careless", bytes: MIB };
    assert_eq!(zeroed(&CARELESS, Zeros::Asked, MIB, extent).unwrap_err(), damaged);
    for allocator in here().copied().chain([&CARELESS]) {
        let sample = zeroed(allocator, Zeros::Cleared, MIB, extent).unwrap();
        assert_eq!(sample.receipts.kept_count, Some(1.0), "{sample:?}");
    }
}

#[test]
fn zeros_are_zero_until_somebody_writes() {
    let page = memory::page_bytes();
    for &allocator in here() {
        for bytes in [1, 100, page, page + 1, 3 * MIB + 7] {
            for zeros in [Zeros::Asked, Zeros::Cleared] {
                let mut block = zeros.block(allocator, bytes).unwrap();
                assert!(!block.is_zero_but_touched(), "nothing was touched yet");
                block.touch_every(page);
                assert!(block.is_zero_but_touched() && block.holds_touch(), "{} {bytes}", allocator.id());
                block.fill(7);
                block.touch_every(page);
                let only_touched = bytes <= 1;
                assert_eq!(block.is_zero_but_touched(), only_touched, "{} {bytes}", allocator.id());
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
    let page = memory::page_bytes();
    for &allocator in here() {
        for by_copy in [false, true] {
            let resize = |block: &mut Block, bytes| {
                if by_copy { block.resize_by_copy(bytes) } else { block.resize(bytes) }
            };
            let mut block = Block::new(allocator, 5 * page, ALIGN).unwrap();
            assert_eq!(block.touch_rest(page), 6, "all of it, if nothing was touched");
            resize(&mut block, 9 * page).unwrap();
            assert!(block.bytes() == 9 * page && !block.holds_touch(), "the new part is not written yet");
            assert_eq!(block.touch_rest(page), 5, "4 new pages and the last byte");
            assert!(block.holds_touch(), "{} {by_copy}", allocator.id());
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
    for &allocator in here() {
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
    let glibc = &GLIBC;
    if glibc.check(MIB, ALIGN).is_err() {
        return; // there is none here
    }
    let (from, to) = (33 * MIB, 66 * MIB);
    let moved = first_growth(glibc, Growth::Realloc, from, to).unwrap().values;
    let copied = first_growth(glibc, Growth::Copy, from, to).unwrap().values;
    if let (Some(moved), Some(copied)) = (moved.get("call_faults_count"), copied.get("call_faults_count")) {
        assert!(*moved < 8.0, "a page was written to inside realloc: {moved}");
        // Half of the new pages at least, or of huge ones.
        assert!(*copied >= 16.0, "{copied}");
    }
}

#[test]
fn a_cycle_of_zeros_has_its_parts() {
    for &allocator in here() {
        for zeros in [Zeros::Asked, Zeros::Cleared] {
            let parts = zeroed_cycle(allocator, zeros, MIB).unwrap();
            assert_eq!(parts.total(), parts.call + parts.touch + parts.free);
        }
    }
}

#[test]
fn a_round_has_its_pages_and_its_faults() {
    let (pages, page) = (1024, memory::page_bytes());
    let mut single = histogram();
    let Ok(small) = round(Pages::Small, pages * page, Some(&mut single), true) else { return };
    assert_eq!(small.total(), small.call + small.touch + small.unmap);
    assert_eq!(single.len(), pages as u64, "each touch is timed");
    if let Some(faults) = small.touch_faults.filter(|_| cfg!(target_os = "linux")) {
        assert!((1024..1100).contains(&faults), "{small:?}");
        assert_eq!(small.huge.unwrap_or(0), 0, "{small:?}");
        let populated = round(Pages::Populated, pages * page, None, false).unwrap();
        assert!(populated.touch_faults.unwrap() < 16, "{populated:?}");
    }
    // Where huge pages are given, they are seen; where not, there is a reason.
    for kind in [Pages::Huge, Pages::HugePopulated] {
        let extent = Extent { time: Duration::ZERO, least: 1, most: 1, idle: Duration::ZERO };
        match pages_of(kind, extent) {
            Ok(sample) => {
                let faults = sample.values.get("faults_count").copied().unwrap_or(0.0);
                assert!(faults < 4096.0 / 4.0 || !sample.doubts.is_empty(), "{sample:?}");
            }
            Err(why) => assert!(!why.is_empty()),
        }
    }
}

fn pages_of(kind: Pages, extent: Extent) -> Result<underhood::lab::sample::Sample, String> {
    pages(kind, 16 * MIB, extent)
}

#[test]
fn other_pages_than_were_asked_for_get_no_number() {
    let bytes = 64 * MIB;
    let small = (bytes / memory::page_bytes()) as u64;
    let seen = |huge, faults: Option<u64>| Round {
        call_faults: faults.map(|_| 0),
        touch_faults: faults,
        huge,
        ..Round::default()
    };
    let mib = |n: usize| Some((n * MIB) as u64);
    for kind in [Pages::Huge, Pages::HugePopulated] {
        assert_eq!(given(kind, seen(mib(64), Some(32)), bytes), Ok(None));
        assert_eq!(given(kind, seen(mib(62), Some(544)), bytes), Ok(None), "the ends fit into no huge page");
        assert!(given(kind, seen(mib(48), Some(32)), bytes).unwrap().unwrap().contains("75 %"));
        assert!(given(kind, seen(mib(0), Some(small)), bytes).unwrap_err().contains("0 %"));
        // Without smaps the faults tell.
        assert_eq!(given(kind, seen(None, Some(32)), bytes), Ok(None));
        assert!(given(kind, seen(None, Some(small)), bytes).unwrap_err().contains("faults"));
        assert!(given(kind, seen(None, None), bytes).unwrap().unwrap().contains("does not tell"));
    }
    assert_eq!(given(Pages::Small, seen(mib(0), Some(small)), bytes), Ok(None));
    assert_eq!(given(Pages::Small, seen(None, None), bytes), Ok(None));
    assert!(given(Pages::Small, seen(mib(64), Some(32)), bytes).unwrap_err().contains("unasked"));
    assert!(given(Pages::Populated, seen(mib(64), Some(32)), bytes).unwrap().unwrap().contains("unasked"));
}

#[test]
fn what_the_kernel_says_of_huge_pages_is_read() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("sys/kernel/mm/transparent_hugepage");
    assert_eq!(possible(root.path(), 64 * MIB), Ok(()), "where nothing is said, one may try");
    std::fs::create_dir_all(&folder).unwrap();
    let set = |name, text: &str| std::fs::write(folder.join(name), text).unwrap();
    set("enabled", "always [madvise] never\n");
    set("hpage_pmd_size", "2097152\n");
    assert_eq!(possible(root.path(), 64 * MIB), Ok(()));
    assert!(possible(root.path(), 3 * MIB).unwrap_err().contains("2 MiB"));
    set("hpage_pmd_size", "536870912\n"); // pages of 64 KiB
    assert!(possible(root.path(), 64 * MIB).unwrap_err().contains("512 MiB"));
    set("enabled", "always madvise [never]\n");
    assert!(possible(root.path(), 64 * MIB).unwrap_err().contains("says never"));
    assert_eq!(reported_from(root.path()), None);
    let module = root.path().join("sys/module/page_reporting/parameters");
    std::fs::create_dir_all(&module).unwrap();
    std::fs::write(module.join("page_reporting_order"), "9\n").unwrap();
    assert_eq!(reported_from(root.path()), Some(9));
}

#[test]
fn the_huge_pages_of_a_mapping_are_read_from_smaps() {
    let smaps = "55a1c0000000-55a1c0400000 rw-p 00000000 00:00 0      [heap]\nRss:  4096 kB\nAnonHugePages:      2048 kB\n\
                 VmFlags: rd wr mr mw me ac sd\n7f0000000000-7f0004000000 rw-p 00000000 00:00 0 \nAnonHugePages:     65536 kB\n\
                 7f0004000000-7f0004001000 r--p 00000000 fe:00 12 /lib/a-b.so\nAnonHugePages:         0 kB\n";
    let at = 0x7f00_0000_0000;
    assert_eq!(memory::parse_huge(smaps, at, at + (64 << 20)), Some(64 << 20));
    assert_eq!(memory::parse_huge(smaps, 0x55a1_c010_0000, 0x55a1_c020_0000), Some(2 << 20));
    assert_eq!(memory::parse_huge(smaps, at + (64 << 20), at + (65 << 20)), Some(0));
    assert_eq!(memory::parse_huge(smaps, 0, 1), None, "no such mapping");
    assert_eq!(memory::parse_huge("", at, at + 1), None);
    if let Ok(mapping) = Mapping::lazy(MIB) {
        assert!(mapping.huge_bytes().is_some() || !std::path::Path::new("/proc/self/smaps").exists());
    }
}

#[test]
fn warm_memory_faults_as_often_as_cold_memory() {
    let Ok(sample) = cold_and_warm(Pages::Small, 4 * MIB) else { return };
    let value = |name: &str| sample.values.get(name).copied();
    if let (Some(cold), Some(warm)) = (value("cold_faults_count"), value("warm_faults_count")) {
        assert!((cold - warm).abs() <= 0.05 * cold, "{sample:?}");
    }
}

#[test]
fn the_boundary_is_found_exactly_or_not_at_all() {
    let above = |at: usize| move |n: usize| Ok::<_, String>(n >= at);
    for at in [2, 3, 499, 500, 999, 1000] {
        assert_eq!(boundary(1, 1000, above(at)), Ok(Turn::Between(at - 1, at)));
    }
    assert_eq!(boundary(1, 1000, above(1)), Ok(Turn::Always));
    assert_eq!(boundary(1, 1000, above(1001)), Ok(Turn::Never));
    assert_eq!(boundary(5, 5, above(5)), Ok(Turn::Always));
    assert_eq!(boundary(5, 5, above(6)), Ok(Turn::Never));
    assert_eq!(boundary(1, 9, |_| Err::<bool, _>("no")), Err("no"));
    let mut probes = 0;
    let count = |n: usize| {
        probes += 1;
        Ok::<_, String>(n >= 33_554_409)
    };
    let found = Turn::Between(33_554_408, 33_554_409);
    assert_eq!(boundary(MIB, 256 * MIB, count), Ok(found));
    assert!(probes <= 30, "a byte in 255 MiB takes {probes} probes");
}

#[test]
fn a_cliff_is_found_or_its_absence_said() {
    // Each glibc up to now gives 40 MiB back, and this thread's is no exception: its heaps have 64 MiB at most.
    for &allocator in here() {
        let Ok(Some(anew)) = faults_anew(allocator, 40 * MIB) else { continue };
        assert!(anew || allocator.as_ref() != GLIBC.as_ref());
        let sample = cliff(allocator, [MIB, 2 * MIB], 1).unwrap();
        let bytes = |name: &str| sample.values.get(name).map(|b| *b as usize);
        let kept = bytes("kept_bytes").unwrap();
        if let Some(cliff) = bytes("cliff_bytes") {
            assert!(kept + 1 == cliff && sample.seen.len() == 1, "{sample:?}");
        } else {
            assert!([0, 2 * MIB].contains(&kept) && sample.seen.len() == 1, "{sample:?}");
        }
        assert!(settled_ns(allocator, MIB, 1).unwrap() > 0);
    }
    assert!(cliff(&CARELESS, [MIB, 2 * MIB], 1).is_ok(), "the system's allocator under another name");
}

#[test]
fn history_counts_faults_by_round() {
    let extent = Extent { time: Duration::ZERO, least: 2, most: 2, idle: Duration::ZERO };
    for &allocator in here() {
        for before in [Before::Nothing, Before::Freed { bytes: MIB, count: 2 }] {
            match history(allocator, before, 2 * MIB, extent) {
                Ok(sample) => assert_eq!(sample.receipts.kept_count, Some(2.0), "{sample:?}"),
                Err(why) => assert!(why.contains("does not count faults"), "{why}"),
            }
        }
    }
    // More than glibc allows: nothing is changed in this process.
    let refused = history(here().next().unwrap(), Before::Threshold(1 << 40), MIB, extent).unwrap_err();
    assert!(refused.contains("refused") || refused.contains("only glibc"), "{refused}");
}

#[test]
fn every_step_answers_every_pair_and_says_what_is_not_there() {
    let plan = Plan::new(Mode::Smoke, allowed_cpus());
    for step in labs().into_iter().flat_map(|lab| lab.steps) {
        let (cases, params) = (step.cases(), step.params());
        let samples = step.run(&plan, &cases, &params);
        let pairs: Vec<_> = samples.iter().map(|s| (s.case.as_str(), s.param.as_str())).collect();
        let unique: BTreeSet<_> = pairs.iter().copied().collect();
        assert_eq!(unique.len(), pairs.len(), "{}: a pair was answered twice", step.name);
        for case in &cases {
            assert!(params.iter().all(|p| unique.contains(&(*case, *p))), "{} {case}", step.name);
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
    }
}

/// What some systems do not tell.
fn may_be_missing(column: &str) -> bool {
    ["faults", "rss", "huge", "p999", "cliff", "below_", "above_", "dearer"]
        .iter()
        .any(|word| column.contains(word))
}

#[test]
fn the_benches_run() {
    let plan = Plan::new(Mode::Smoke, allowed_cpus());
    for bench in labs().iter().flat_map(Lab::benches) {
        let mut run = bench.make(&plan);
        assert!(run(1) > Duration::ZERO, "{}", bench.id);
    }
}

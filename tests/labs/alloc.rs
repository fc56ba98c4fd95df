//! Allocators as values, cycles of a block, bystanders, and the lab `alloc_first_touch` that is built on them.
//! Shapes, counts and invariants; never a time.
use std::{
    alloc::{GlobalAlloc, Layout, System},
    collections::BTreeSet,
    sync::Mutex,
    time::Duration,
};

use underhood::{
    contenders::alloc::{
        ALIGN, ALLOCATORS, Allocator, Block, BlockError, GLIBC, JEMALLOC, MIMALLOC, SNMALLOC, here, tunes,
    },
    experiments::{
        burst::{BURST, crowd},
        bystander::{Antagonist, Watched, watch_all},
        cycle::{Cycles, Extent, Parts, checked_cycle, unaccounted},
        victim::Victim,
    },
    lab::{
        Contender, Evidence, Pick, Predict, Step,
        plan::{Mode, Plan},
        sample::{AA, Sample},
    },
    machine::memory::{self, Mapping, Room},
    measure::{
        latency::{histogram, quantile},
        throughput::Lane,
    },
};

use crate::all::alloc_first_touch::lab;

const MIB: usize = 1 << 20;

/// Serves from the system's allocator and writes down every call.
struct Counting(Mutex<Vec<(&'static str, usize, Layout)>>);

// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: our caller keeps the contract of `alloc`, which is the same one.
        let start = unsafe { System.alloc(layout) };
        self.0.lock().unwrap().push(("alloc", start as usize, layout));
        start
    }
    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        self.0.lock().unwrap().push(("free", start as usize, layout));
        // SAFETY: our caller got `start` from `alloc` above, so from the system's allocator, with this layout.
        unsafe { System.dealloc(start, layout) }
    }
}

/// Never has memory.
struct Empty;

// SAFETY: a null pointer is the contract's way to refuse; nothing is ever handed out that could be freed.
unsafe impl GlobalAlloc for Empty {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        std::ptr::null_mut()
    }
    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {
        unreachable!("nothing was handed out")
    }
}

static LANE_IMP: Counting = Counting(Mutex::new(Vec::new()));
static LANE: Allocator = Allocator::new(Contender::new("lane"), &LANE_IMP);
static COUNTING_IMP: Counting = Counting(Mutex::new(Vec::new()));
static COUNTING: Allocator = Allocator::new(Contender::new("counting"), &COUNTING_IMP);
static EMPTY: Allocator = Allocator::new(Contender::new("empty"), &Empty);
static FALSE_MIMALLOC: Allocator = Allocator::new(Contender::new("mimalloc"), &System);
static FALSE_NAME: Allocator = Allocator::new(Contender::new("other"), &mimalloc::MiMalloc);

#[test]
fn a_block_is_freed_once_by_its_allocator_with_its_layout() {
    let block = Block::new(&COUNTING, 100_000, 64).unwrap();
    let (at, layout) = (block.address(), Layout::from_size_align(100_000, 64).unwrap());
    drop(block);
    let log = COUNTING_IMP.0.lock().unwrap();
    assert_eq!(*log, [("alloc", at, layout), ("free", at, layout)]);
}

#[test]
fn one_operation_of_a_crowd_is_one_block() {
    let mut lanes = (crowd(&LANE, 100).make)(1);
    let calls = |n: u32, lane: &mut Lane| {
        (lane.0)(n, 0);
        let mut log = LANE_IMP.0.lock().unwrap();
        let of = |what| log.iter().filter(|(call, ..)| *call == what).count();
        let counts = (of("alloc"), of("free"));
        log.clear();
        counts
    };
    assert_eq!(calls(32, &mut lanes[0]), (32, 0));
    assert_eq!(calls(32, &mut lanes[0]), (32, BURST), "a full burst is freed");
    assert_eq!(calls(65, &mut lanes[0]), (65, BURST));
}

#[test]
fn every_adapter_passes_its_check_at_every_size_and_alignment() {
    assert!(here().count() >= 2 || !cfg!(target_env = "gnu"), "nothing to compare");
    for &allocator in here() {
        for bytes in [1, 100, 4096, 64 << 10, 3 * MIB + 1] {
            for align in [1, ALIGN, 64, 4096] {
                assert_eq!(allocator.check(bytes, align), Ok(()), "{} {bytes} {align}", allocator.id());
            }
        }
        let version = allocator.version();
        assert!(version.starts_with(|c: char| c.is_ascii_digit()) && version.contains('.'), "{version}");
        assert_eq!(
            allocator.purge(),
            allocator.as_ref() != SNMALLOC.as_ref(),
            "{} has a purge",
            allocator.id()
        );
        assert_eq!(allocator.slowed(), None, "cargo read this repository's config");
    }
}

#[test]
fn an_allocator_that_a_build_lacks_refuses_and_says_why() {
    let there = |allocator: &Allocator| here().any(|a| a.as_ref() == allocator.as_ref());
    assert!(there(&MIMALLOC));
    assert_eq!(there(&SNMALLOC), cfg!(feature = "snmalloc"));
    assert_eq!(there(&JEMALLOC), cfg!(feature = "jemalloc"));
    for &allocator in ALLOCATORS.iter().filter(|a| !there(a)) {
        let why = Block::new(allocator, 4096, ALIGN).unwrap_err();
        assert!(matches!(why, BlockError::Absent { by, .. } if by == allocator.id()), "{why:?}");
        assert_eq!(allocator.check(4096, ALIGN), Err(why.clone()));
        let not_asked_for = allocator.as_ref() != GLIBC.as_ref();
        assert_eq!(why.to_string().contains("--features allocators"), not_asked_for, "{why}");
        assert!(!allocator.purge());
    }
}

#[test]
fn a_false_adapter_is_found() {
    assert_eq!(
        FALSE_MIMALLOC.check(4096, ALIGN),
        Err(BlockError::Foreign { by: "mimalloc", says: "mimalloc" })
    );
    assert_eq!(FALSE_NAME.check(4096, ALIGN), Err(BlockError::Foreign { by: "other", says: "mimalloc" }));
    assert_eq!(EMPTY.check(4096, ALIGN), Err(BlockError::Refused { by: "empty", bytes: 4096 }));
    let extent = Extent { time: Duration::ZERO, least: 1, most: 1, idle: Duration::ZERO };
    assert!(Cycles::measure(&FALSE_NAME, 4096, extent).is_err(), "a false adapter must not get a number");
}

#[test]
fn a_size_that_makes_no_sense_is_an_error() {
    let mimalloc = &MIMALLOC;
    for (bytes, align) in [(0, 16), (10, 3), (10, 0), (usize::MAX, 16)] {
        let error = Block::new(mimalloc, bytes, align).unwrap_err();
        assert_eq!(error, BlockError::Layout { bytes, align });
        assert!(error.to_string().contains(&bytes.to_string()));
    }
}

#[test]
fn a_touch_reaches_every_step_and_the_last_byte_and_can_be_read_back() {
    for &allocator in here() {
        for (bytes, step, writes) in
            [(1, 4096, 1), (4096, 4096, 2), (4097, 4096, 2), (40_960, 4096, 11), (7, 1, 7)]
        {
            let mut block = Block::new(allocator, bytes, ALIGN).unwrap();
            assert!(!block.holds_touch(), "nothing was touched yet");
            block.fill(0xff);
            assert_eq!(block.touch_every(step), writes, "{bytes} bytes, step {step}");
            assert!(block.holds_touch());
            let changed = block.as_mut_slice().len();
            assert_eq!(changed, bytes);
            assert!(!block.holds_touch(), "after a writer had the slice, the marks are not to be trusted");
            let filled = block.fill(0xff);
            assert!(filled.len() == bytes && filled.iter().all(|b| *b == 0xff));
        }
    }
}

#[test]
fn fresh_pages_fault_once_each_and_again_after_they_were_given_back() {
    let (pages, page) = (1000, memory::page_bytes());
    let Ok(mut memory) = Mapping::lazy(pages * page) else { return };
    let small = memory.small_pages_only();
    let faults = |memory: &mut Mapping| {
        let before = memory::minor_faults()?;
        (0..pages).for_each(|i| memory.touch(i * page));
        Some((memory::minor_faults()? - before) as usize)
    };
    let Some(first) = faults(&mut memory) else { return };
    let second = faults(&mut memory).unwrap();
    assert!(second < pages / 10, "pages that are there must not fault again: {second}");
    if small && cfg!(target_os = "linux") {
        assert!((pages..pages + pages / 10).contains(&first), "{first} faults for {pages} fresh pages");
        assert!(memory.forget());
        assert!(faults(&mut memory).unwrap() >= pages);
        let mut populated = Mapping::populated(pages * page).unwrap();
        assert!(
            faults(&mut populated).unwrap() < pages / 10,
            "populated pages are there before the first touch"
        );
    }
}

#[test]
fn the_parts_of_a_cycle_add_up_and_a_fresh_block_faults_its_pages_in() {
    let bytes = 48 * MIB; // above every threshold that glibc may have by now
    let extent = Extent { time: Duration::ZERO, least: 3, most: 3, idle: Duration::ZERO };
    for &allocator in here() {
        let parts = checked_cycle(allocator, bytes).unwrap();
        assert_eq!(parts.total(), parts.call + parts.touch + parts.free);
        let cycles = Cycles::measure(allocator, bytes, extent).unwrap();
        assert_eq!(cycles.count, 3);
        assert!(cycles.warm.iter().all(|h| h.len() == 3));
        let Parts { call, touch, free } = cycles.sums;
        for (histogram, sum) in cycles.warm.iter().zip([call, touch, free, cycles.sums.total()]) {
            let recorded = histogram.mean() * 3.0; // the histogram rounds to three digits
            assert!(
                (recorded - sum as f64).abs() <= 0.01 * recorded,
                "{recorded} was recorded, {sum} summed"
            );
        }
        let values = cycles.sample().values;
        let sum = |names: [&str; 3]| names.iter().map(|n| values[*n]).sum::<f64>();
        assert!((sum(["call_share", "touch_share", "free_share"]) - 1.0).abs() < 1e-9);
        let cold = sum(["cold_call_ns", "cold_touch_ns", "cold_free_ns"]);
        assert!((cold - values["cold_cycle_ns"]).abs() < 0.5);
        if let Some(faults) = values.get("faults_per_cycle_count") {
            let pages = (bytes / memory::page_bytes()) as f64;
            assert!(*faults < pages * 1.1, "{}: {faults} faults for {pages} pages", allocator.id());
            if allocator.as_ref() == GLIBC.as_ref() {
                // All of them with small pages, a 512th with pages of 2 MiB; 1 in 600 allows for either.
                assert!(
                    *faults > pages / 600.0,
                    "glibc maps each 48 MiB block anew, so it must fault: {faults}"
                );
            }
        }
    }
}

#[test]
fn parts_that_are_not_the_whole_raise_a_doubt() {
    assert_eq!(unaccounted(Some(0), 1e3, 25.0), None);
    assert_eq!(unaccounted(Some(105), 1e3, 25.0), None, "some looks at the clock");
    let doubt = unaccounted(Some(106), 1e3, 25.0).unwrap();
    assert!(doubt.contains("106 ns") && doubt.contains("25 ns"), "{doubt}");
    assert_eq!(unaccounted(Some(3_500), 1e8, 25.0), None, "cold caches after a large block");
    assert!(unaccounted(Some(600_000), 1e8, 25.0).is_some());
    assert!(unaccounted(None, 1e3, 25.0).unwrap().contains("longer than the cycle"));
    // In a sample: a second of each cycle that nobody was charged for.
    let extent = Extent { time: Duration::ZERO, least: 1, most: 1, idle: Duration::ZERO };
    let mut cycles = Cycles::measure(&MIMALLOC, MIB, extent).unwrap();
    assert!(cycles.gap.is_some(), "the whole contains its parts");
    cycles.gap = Some(1_000_000_000);
    assert!(cycles.sample().doubts.iter().any(|d| d.contains("1000000000 ns of a cycle")));
    assert!(cycles.purge.is_some() && cycles.sample().values.contains_key("purge_ns"));
}

#[test]
fn a_quantile_needs_ten_samples_beyond_it() {
    for (n, q, known) in
        [(999, 0.99, false), (1000, 0.99, true), (19, 0.5, false), (20, 0.5, true), (0, 0.5, false)]
    {
        let mut h = histogram();
        (0..n).for_each(|i| h.saturating_record(i + 1));
        assert_eq!(quantile(&h, q).is_some(), known, "{n} samples, {q}");
    }
}

#[test]
fn recorded_texts_of_the_kernel_are_read() {
    assert_eq!(memory::parse_statm("6123 400 250 20 0 96 0\n", 4096), Some(400 * 4096));
    assert_eq!(memory::parse_statm("6123", 4096), None);
    assert_eq!(memory::parse_statm("a b", 4096), None);
    let meminfo = "MemTotal:       24684492 kB\nMemFree:        22862632 kB\nMemAvailable:   24269924 kB\n";
    assert_eq!(memory::field_kib(meminfo, "MemAvailable:"), Some(24_269_924 * 1024));
    let rollup = "55a1c0000000-7ffd4b1fe000 ---p 00000000 00:00 0      [rollup]\nRss:                1788 kB\nPss:                 190 kB\n";
    assert_eq!(memory::field_kib(rollup, "Rss:"), Some(1788 * 1024));
    assert_eq!(memory::field_kib(rollup, "Swap:"), None);
    assert_eq!(memory::field_kib("Rss: many kB", "Rss:"), None);
}

#[test]
fn a_block_that_does_not_fit_is_refused_with_the_reason() {
    let room = |available, limit| Room { available_bytes: available, limit_left_bytes: limit };
    let need = (300 * MIB) as u64;
    let refused = |r: Room| r.refusal(need).unwrap_or_default();
    assert_eq!(refused(room(Some(need), Some(need))), "");
    assert_eq!(refused(Room::default()), "", "where nothing is known, nothing is refused");
    assert!(refused(room(Some(need - 1), None)).contains("needs 300 MiB, but only 299 MiB are available"));
    assert!(refused(room(Some(need), Some(MIB as u64))).contains("only 1 MiB are left below this cgroup's"));
    // 4 EiB are in no machine.
    if Room::now() != Room::default() {
        assert!(memory::room_for(1 << 62).is_err_and(|why| why.contains("needs")));
    }
}

#[test]
fn waits_are_split_and_counted() {
    let mut w = Watched::new();
    w.record(700, 0);
    w.record(9_000_000, 8_000_001); // the scheduler's, but for less than a millisecond
    w.record(5_000_000, 1_000_000); // a stall of 4 ms
    w.record(60_000, 99_000_000); // a delay longer than the wait belongs partly to the time before
    w.wall_ns = 16_000_000;
    assert_eq!((w.raw_max_ns, w.net_max_ns, w.runq_max_ns), (9_000_000, 4_000_000, 8_000_001));
    assert_eq!((w.stalled_ns, w.net.len(), w.net.min()), (4_000_000, 4, 0));
    let sample = w.sample("compute", "map");
    assert!((sample.values["stalled_share"] - 0.25).abs() < 1e-9);
    assert!(!sample.values.contains_key("wait_p50_ns"), "four samples have no percentiles");
    w.runq_ns = None;
    let blind = w.sample("compute", "map");
    assert!(!blind.values.contains_key("runq_max_ns"), "unknown is not zero");
    assert_eq!(blind.doubts.len(), 1);
}

#[test]
fn every_slot_holds_a_whole_cycle_and_a_failing_antagonist_fails_alone() {
    let time = Duration::from_millis(1);
    for victim in [Victim::Map, Victim::Fault, Victim::Spin] {
        let beside = [Antagonist::Compute, Antagonist::Cycle(&EMPTY), Antagonist::Cycle(&COUNTING_48)];
        let all = watch_all(victim, &beside, 48 * MIB, time, [0, 1]);
        if !cfg!(target_os = "linux") {
            continue;
        }
        assert!(all[1].as_ref().is_err_and(|e| e.to_string().contains("empty refused")), "{:?}", all[1]);
        for i in [0, 2] {
            let w = all[i].as_ref().unwrap();
            assert_eq!(w.slots, 2);
            assert!(w.cycles >= 2 && !w.net.is_empty() && w.wall_ns > 0, "{victim:?} {i}");
        }
    }
}

static COUNTING_48: Allocator = Allocator::new(Contender::new("system"), &System);

#[test]
fn on_one_cpu_the_bystander_is_not_measured_and_says_why() {
    let step = step("bystander");
    let samples = step.run(&Plan::new(Mode::Smoke, vec![0]), &step.cases(), &["map"]);
    assert_eq!(samples.len(), 4, "three cases and the A/A row");
    assert!(samples.iter().all(|s| s.unmeasured.as_ref().is_some_and(|why| why.contains("2 CPUs"))));
}

#[test]
fn every_step_answers_every_pair_once_and_every_name_in_the_lab_exists() {
    let lab = lab();
    for step in &lab.steps {
        let (cases, params) = (step.cases(), step.params());
        let samples = step.run(&plan(), &cases, &params);
        let pairs: Vec<_> = samples.iter().map(|s| (s.case.as_str(), s.param.as_str())).collect();
        let unique: BTreeSet<_> = pairs.iter().copied().collect();
        assert_eq!(unique.len(), pairs.len(), "{}: a pair was answered twice", step.name);
        for case in &cases {
            assert!(params.iter().all(|p| unique.contains(&(*case, *p))), "{} {case}", step.name);
        }
        let aa = unique.iter().filter(|(case, _)| *case == AA).count();
        assert_eq!(aa, if step.name == "bystander" { params.len() } else { 0 });
        for sample in samples.iter().filter(|s| s.unmeasured.is_none()) {
            assert!(sample.values.contains_key(step.headline), "{} {sample:?}", step.name);
            assert!(sample.values.values().all(|v| v.is_finite() && *v >= 0.0), "{sample:?}");
        }
        let shown = step.because.iter().filter_map(|m| match m.evidence {
            Evidence::Shown(bound) => Some(bound),
            _ => None,
        });
        let bounds =
            step.claims.iter().map(|c| c.bound).chain(shown).flat_map(|b| b.picks().collect::<Vec<_>>());
        let says = lab.says.iter().filter(|s| s.step == step.name);
        let says = says.flat_map(|s| [Some(s.of), s.against]).flatten();
        let columns = step.columns.iter();
        let columns = columns.map(|value| Pick { case: cases[cases.len() - 1], param: params[0], value });
        for pick in bounds.chain(says).chain(columns) {
            exists(step, &pick, &samples);
        }
        if let Predict::Number { case, param } = step.predict {
            exists(step, &Pick { case, param, value: step.headline }, &samples);
        }
    }
    assert_eq!(lab.steps.iter().filter(|s| s.tour).count(), 1);
}

/// The pair is one of the step's, and if it was measured, the value is there (a percentile or a kernel's count may be
/// missing, and so may a purge: not every allocator has one).
fn exists(step: &Step, pick: &Pick, samples: &[Sample]) {
    assert!(
        step.cases().contains(&pick.case) && step.params().contains(&pick.param),
        "{}: {pick:?}",
        step.name
    );
    let may_miss =
        ["wait_p", "faults_", "rss_", "runq_", "purge_"].iter().any(|prefix| pick.value.starts_with(prefix));
    let sample = samples.iter().find(|s| s.case == pick.case && s.param == pick.param).unwrap();
    let there = sample.values.contains_key(pick.value);
    assert!(
        there || may_miss || sample.unmeasured.is_some(),
        "{}: no {} in {sample:?}",
        step.name,
        pick.value
    );
}

#[test]
fn the_benches_have_short_unique_names_and_run() {
    let lab = lab();
    let benches: Vec<_> = lab.benches().collect();
    let ids: BTreeSet<_> = benches.iter().map(|b| b.id.clone()).collect();
    assert_eq!(ids.len(), benches.len());
    assert_eq!(benches.len(), 2 * (here().count() + 1), "1 MiB and 64 MiB for each allocator and a pool");
    for bench in benches {
        assert!(bench.id.is_ascii() && bench.id.len() < 40, "{}", bench.id);
        let mut run = bench.make(&plan());
        assert!(run(2) > Duration::ZERO);
    }
}

#[test]
fn variables_that_tune_an_allocator_are_known() {
    for name in ["MALLOC_MMAP_THRESHOLD_", "MIMALLOC_PURGE_DELAY", "_RJEM_MALLOC_CONF", "GLIBC_TUNABLES"] {
        assert!(tunes(name), "{name}");
    }
    assert!(!tunes("PATH") && !tunes("CARGO_MALLOC_"));
}

fn step(name: &str) -> Step {
    lab().steps.into_iter().find(|s| s.name == name).unwrap()
}

fn plan() -> Plan {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Plan::new(Mode::Smoke, (0..cpus).collect())
}

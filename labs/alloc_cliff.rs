//! From which size on does an allocator give a block back each time, and what moves that size?
//!
//! Run it: `cargo run --release --bin alloc_cliff -- --step`
//!
//! Each row has a process of its own: that an allocator remembers is the subject.
use std::time::{Duration, Instant};

use underhood::{
    contenders::alloc::Allocator,
    experiments::{
        cliff::{self, Before, faults_anew},
        cycle::Extent,
    },
    lab::{
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::Plan,
        sample::{Sample, each},
    },
    machine::memory,
};

const MIB: usize = 1 << 20;
/// Where the search begins and ends.
const BOUNDS: [usize; 2] = [MIB, 256 * MIB];
/// The block whose cost depends on what was freed before.
const BLOCK: usize = 16 * MIB;
/// What the rest of the process may need meanwhile.
const MARGIN: usize = 64 * MIB;

pub(crate) static LAB: Lab = Lab {
    stem: "alloc_cliff",
    question: "From which size on does an allocator give a block back each time, and what moves that size?",
    steps: &[CLIFF, HISTORY],
    says: &[
        Say {
            step: "cliff",
            text: "From {value} on, glibc gives each freed block back to the kernel and pays for every page again.",
            of: glibc("", "cliff_bytes"),
            against: None,
            not_true_when: "glibc is tuned, or the thread is not the main one: other threads have heaps of at most 64 MiB",
        },
        Say {
            step: "cliff",
            text: "One byte more, and a round of malloc, touch and free costs {value} times as much.",
            of: glibc("", DEARER),
            against: None,
            not_true_when: "the block is not touched, or is kept by the program",
        },
        Say {
            step: "history",
            text: "The same 16 MiB cost {value} a round with mmap threshold and trim threshold left alone, and {against} after \
                   somebody raised the threshold by mallopt.",
            of: glibc("fresh", CYCLE),
            against: Some(glibc("raised", CYCLE)),
            not_true_when: "M_TRIM_THRESHOLD is raised as well",
        },
    ],
    not_said: &[
        "That an allocator without a cliff is better: it keeps the memory (alloc_compare shows what comes back, and when).",
        "That the cliff lies there in every process: below it, what was freed before decides.",
        "That there is one cliff only: the search halves, and finds one of several.",
        "What threads other than the main one see: glibc serves them from mapped heaps, with limits of their own.",
    ],
    next: &[
        "A service got slower when its buffers grew from 31 to 33 MiB. Why, and what are two cures? (pool; M_MMAP_THRESHOLD with M_TRIM_THRESHOLD)",
        "Why does a benchmark that warms up with another size report another world? (the first free moves the threshold)",
        "Why did setting M_MMAP_THRESHOLD alone make it slower? (it ends the moving of the trim threshold too)",
        "When is a pool worth it? (above the cliff; below, the allocator is one)",
        "What does a kept block cost? (resident memory, until somebody purges)",
    ],
    sources: &[
        "glibc malloc/malloc.c: sysmalloc_mmap, __libc_free (the moving threshold), DEFAULT_MMAP_THRESHOLD_MAX, systrim",
        "mallopt(3): M_MMAP_THRESHOLD, M_TRIM_THRESHOLD: setting one of them ends the dynamic adjustment",
        "mimalloc, https://microsoft.github.io/mimalloc/environment.html: MIMALLOC_PURGE_DELAY",
        "jemalloc 5.3, jemalloc(3): opt.oversize_threshold, 8 MiB: larger blocks have an arena that keeps nothing",
    ],
    benches,
};

const KEPT: &str = "kept_bytes";
const DEARER: &str = "dearer_ratio";
const CYCLE: &str = "cycle_ns";
const FAULTS: &str = "faults_per_cycle_count";
const SECOND: &str = "second_faults_count";
const MI: f64 = MIB as f64;
/// A page has 64 KiB at most.
const PAGE_AND_BYTES: f64 = 65_536.0 + 32.0;

const fn glibc(param: &'static str, value: &'static str) -> Pick {
    pick("glibc", param, value)
}

const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

const CLIFF: Step = Step {
    name: "cliff",
    ask: "You allocate, touch and free blocks of one size again and again with glibc. What is the largest size in bytes that it \
          keeps, so that the next round takes no fault?",
    predict: Predict::Number { case: "glibc", param: "" },
    kind: Kind::Single,
    cases: &["glibc", "mimalloc", "jemalloc", "snmalloc"],
    params: &[""],
    launch: Launch::Isolated,
    measure: cliff_step,
    headline: KEPT,
    columns: &["cliff_bytes", "below_ns", "above_ns", DEARER],
    claims: &[
        claim(
            "glibc's cliff lies below 32 MiB, by a page and some bytes",
            glibc("", "cliff_bytes"),
            None,
            Between(32.0 * MI - PAGE_AND_BYTES, 32.0 * MI),
        ),
        claim("one byte more makes a cycle 10 times dearer", glibc("", DEARER), None, AtLeast(10.0)),
        claim("mimalloc keeps 64 MiB and more", pick("mimalloc", "", KEPT), None, AtLeast(64.0 * MI)),
        claim(
            "jemalloc's lies at 7 to 8 MiB, where its classes reach opt.oversize_threshold",
            pick("jemalloc", "", KEPT),
            None,
            Between(6.9 * MI, 8.1 * MI),
        ),
    ],
    because: "glibc adds 8 bytes for the header, rounds up to 16, and maps a block that reaches the mmap threshold; a mapping has \
              8 bytes more and is rounded up to whole pages. When it is freed, the threshold moves to its size, so that the next \
              block of that size comes from the heap and stays there; but not beyond DEFAULT_MMAP_THRESHOLD_MAX \
              (malloc/malloc.c), 32 MiB where a long has 8 bytes. The size is compared together with its flag bits, of which a \
              mapping has one set, so 32 MiB exactly is already beyond: the last mapping that moves the threshold is one page \
              smaller, and the last request that fits into it 24 bytes less than that. One byte more is mapped and unmapped for \
              ever. Blocks are purged between probes, and the search counts faults, not time, so it finds the same byte on a \
              busy machine. Open src/experiments/cliff.rs.",
    tour: false,
};

const HISTORY: Step = Step {
    name: "history",
    ask: "Somebody sets M_MMAP_THRESHOLD to 32 MiB, so that glibc keeps blocks of 16 MiB in its heap. How many faults does each \
          later round of malloc, touch and free of 16 MiB take?",
    predict: Predict::Number { case: "glibc", param: "raised" },
    kind: Kind::Single,
    cases: &["glibc", "mimalloc"],
    params: &["fresh", "after 1MiB", "after 24MiB", "fixed", "raised"],
    launch: Launch::Isolated,
    measure: history_step,
    headline: FAULTS,
    columns: &["first_faults_count", SECOND, "first_cycle_ns", CYCLE],
    claims: &[
        claim("fresh process: later rounds take no fault", glibc("fresh", FAULTS), None, AtMost(3.0)),
        claim("fresh process: the second round still does", glibc("fresh", SECOND), None, AtLeast(7.0)),
        claim("after a block of 24 MiB: it does not", glibc("after 24MiB", SECOND), None, AtMost(3.0)),
        claim(
            "after blocks of 1 MiB: as in a fresh process",
            glibc("after 1MiB", SECOND),
            Some(glibc("fresh", SECOND)),
            Between(0.9, 1.1),
        ),
        claim(
            "threshold fixed at 128 KiB: faults in every round",
            glibc("fixed", FAULTS),
            None,
            AtLeast(7.0),
        ),
        claim("threshold raised to 32 MiB: no better", glibc("raised", FAULTS), None, AtLeast(7.0)),
        claim(
            "fixed: a round costs 10 times a fresh process's",
            glibc("fixed", CYCLE),
            Some(glibc("fresh", CYCLE)),
            AtLeast(10.0),
        ),
        claim("mimalloc does not care", pick("mimalloc", "raised", FAULTS), None, AtMost(3.0)),
    ],
    because: "In a fresh process the first 16 MiB are a mapping; freeing it moves the threshold, so the second block comes from the \
              heap, whose pages are new, and only the third finds its pages. After 24 MiB were freed the threshold is beyond 16 \
              MiB from the start: the first block fills the heap, the second finds its pages. Blocks of 1 MiB move it to 1 MiB \
              only. Whoever sets the threshold ends its moving: at 128 KiB each block is mapped and unmapped. At 32 MiB each comes \
              from the heap, but the trim threshold, which used to move along at twice the size, stays at 128 KiB: each free \
              gives the heap's top back. The same code, the same size. mimalloc is the control: it has no such threshold. Open \
              src/experiments/cliff.rs: history.",
    tour: false,
};

fn cliff_step(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let rounds = if plan.is_smoke() { 1 } else { 5 };
    each(cases, params, |case, param| cliff::cliff(ready(case, BOUNDS[1])?, param, BOUNDS, rounds))
}

fn history_step(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    // Smaller in a smoke run; in the same proportions.
    let scale = if plan.is_smoke() { 4 } else { 1 };
    each(cases, params, |case, param| {
        let before = match param {
            "fresh" => Before::Nothing,
            "after 1MiB" => Before::Freed { bytes: MIB / scale, count: 16 },
            "after 24MiB" => Before::Freed { bytes: 24 * MIB / scale, count: 1 },
            "fixed" => Before::Threshold(128 << 10),
            "raised" => Before::Threshold(32 * MIB),
            _ => return Err(format!("there is no {param}")),
        };
        let extent = Extent { time: plan.slice / 4, least: 3, most: 200, idle: Duration::ZERO };
        let sample = cliff::history(ready(case, 2 * BLOCK)?, before, param, BLOCK / scale, extent)?;
        Ok(Sample { case: case.into(), ..sample })
    })
}

/// The allocator, if it exists here and there is room for `bytes`.
fn ready(case: &str, bytes: usize) -> Result<&'static Allocator, String> {
    memory::Room::now().refusal((bytes + MARGIN) as u64).map_or(Ok(()), Err)?;
    Allocator::find(case)
}

/// A probe of the search: a purge and three sparse rounds, below glibc's cliff and above it.
fn benches(_: &Plan) -> Vec<Bench> {
    let bench = |(name, mib): (&str, usize)| {
        let allocator = Allocator::named(name)?;
        let timed = move |iters| {
            let start = Instant::now();
            for _ in 0..iters {
                std::hint::black_box(faults_anew(allocator, mib * MIB).expect("so many MiB are not refused"));
            }
            start.elapsed()
        };
        Some(Bench { id: format!("probe/{name}/{mib}MiB"), make: Box::new(move || Box::new(timed)) })
    };
    [("glibc", 31), ("glibc", 33)].into_iter().filter_map(bench).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

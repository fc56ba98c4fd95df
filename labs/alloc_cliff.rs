//! From which size on does an allocator give a block back each time, and what moves that size?
//!
//! Run it: `cargo run --release --bin alloc_cliff -- --step`
//!
//! Each row has a process of its own: that an allocator remembers is the subject.
use std::{hint::black_box, time::Duration};

use underhood::{
    contenders::alloc::{self, ALLOCATORS, Allocator, GLIBC, MIMALLOC},
    experiments::{
        cliff::{self, Before, faults_anew},
        cycle::Extent,
    },
    lab::{Kind, Lab, ONCE, Step, Timed, at, at_least, at_most, between, pick, ratio, shown_by, source},
    machine::memory,
    measure::latency::repeated,
};

const MIB: usize = 1 << 20;
/// Where the search begins and ends.
const BOUNDS: [usize; 2] = [MIB, 256 * MIB];
/// The block whose cost depends on what was freed before.
const BLOCK: usize = 16 * MIB;

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "alloc_cliff",
        "From which size on does an allocator give a block back each time, and what moves that size?"
    )
    .step(cliff())
    .step(history())
    .say(
        "cliff",
        "From {value} on, glibc gives each freed block back to the kernel and pays for every page again.",
        pick("glibc", "", "cliff_bytes"),
        "glibc is tuned, or the thread is not the main one: other threads have heaps of at most 64 MiB",
    )
    .say(
        "cliff",
        "One byte more, and a round of malloc, touch and free costs {value} times as much.",
        pick("glibc", "", "dearer_ratio"),
        "the block is not touched, or is kept by the program",
    )
    .say(
        "history",
        "The same 16 MiB cost {value} a round with mmap threshold and trim threshold left alone, and {against} after \
         somebody raised the threshold by mallopt.",
        ratio(pick("glibc", "fresh", "cycle_ns"), pick("glibc", "raised", "cycle_ns")),
        "M_TRIM_THRESHOLD is raised as well",
    )
    .not_said(&[
        "That an allocator without a cliff is better: it keeps the memory (alloc_compare shows what comes back, and when).",
        "That the cliff lies there in every process: below it, what was freed before decides.",
        "That there is one cliff only: the search halves, and finds one of several.",
        "What threads other than the main one see: glibc serves them from mapped heaps, with limits of their own.",
    ])
    .next(&[
        "A service got slower when its buffers grew from 31 to 33 MiB. Why, and what are two cures? (pool; M_MMAP_THRESHOLD with M_TRIM_THRESHOLD)",
        "Why does a benchmark that warms up with another size report another world? (the first free moves the threshold)",
        "Why did setting M_MMAP_THRESHOLD alone make it slower? (it ends the moving of the trim threshold too)",
        "When is a pool worth it? (above the cliff; below, the allocator is one)",
        "What does a kept block cost? (resident memory, until somebody purges)",
    ])
    .sources(&[
        "glibc malloc/malloc.c: sysmalloc_mmap, __libc_free (the moving threshold), DEFAULT_MMAP_THRESHOLD_MAX, systrim",
        "mallopt(3): M_MMAP_THRESHOLD, M_TRIM_THRESHOLD: setting one of them ends the dynamic adjustment",
        "mimalloc, https://microsoft.github.io/mimalloc/environment.html: MIMALLOC_PURGE_DELAY",
        "jemalloc 5.3, jemalloc(3): opt.oversize_threshold, 8 MiB: larger blocks have an arena that keeps nothing",
    ])
}

fn cliff() -> Step {
    const MI: f64 = MIB as f64;
    /// A page has 64 KiB at most.
    const PAGE_AND_BYTES: f64 = 65_536.0 + 32.0;
    /// A purge and three sparse rounds.
    fn probe(allocator: &'static Allocator, bytes: usize) -> Timed {
        repeated(move || {
            black_box(faults_anew(allocator, bytes).expect("so many MiB are not refused"));
        })
    }
    let glibc = || alloc::here().filter(|a| a.as_ref() == GLIBC.as_ref());
    Step::new("cliff", Kind::Single, "kept_bytes")
        .ask_number(
            "You allocate, touch and free blocks of one size again and again with glibc. What is the largest size in bytes that it \
             keeps, so that the next round takes no fault?",
            "glibc",
            "",
        )
        .columns(&["cliff_bytes", "below_ns", "above_ns", "dearer_ratio"])
        .isolated(ALLOCATORS, ONCE, |plan, allocator, _| {
            memory::room_for(BOUNDS[1])?;
            cliff::cliff(allocator, BOUNDS, if plan.is_smoke() { 1 } else { 5 })
        })
        .bench("probe/{case}/31MiB", glibc(), |_, a| probe(a, 31 * MIB))
        .bench("probe/{case}/33MiB", glibc(), |_, a| probe(a, 33 * MIB))
        .claim(
            between(32.0 * MI - PAGE_AND_BYTES, 32.0 * MI, pick("glibc", "", "cliff_bytes")),
            "glibc's cliff lies below 32 MiB, by a page and some bytes",
        )
        .claim(at_least(10.0, pick("glibc", "", "dearer_ratio")), "one byte more makes a cycle 10 times dearer")
        .claim(at_least(64.0 * MI, "mimalloc"), "mimalloc keeps 64 MiB and more")
        .claim(
            between(6.9 * MI, 8.1 * MI, "jemalloc"),
            "jemalloc's lies at 7 to 8 MiB, where its classes reach opt.oversize_threshold",
        )
        .because(
            "glibc adds 8 bytes for the header, rounds up to 16, and maps a block that reaches the mmap threshold. A mapping has 8 bytes \
             more and is rounded up to whole pages.",
            source("glibc malloc/malloc.c, sysmalloc_mmap"),
        )
        .because(
            "When it is freed, the threshold moves to its size, so that the next block of that size comes from the heap and stays there. \
             But not beyond DEFAULT_MMAP_THRESHOLD_MAX, 32 MiB where a long has 8 bytes.",
            source("glibc malloc/malloc.c, __libc_free and DEFAULT_MMAP_THRESHOLD_MAX"),
        )
        .because(
            "The size is compared together with its flag bits, of which a mapping has one set, so 32 MiB exactly is already beyond. The \
             last mapping that moves the threshold is one page smaller, and the last request that fits into it 24 bytes less than that.",
            shown_by(between(32.0 * MI - PAGE_AND_BYTES, 32.0 * MI, "glibc")),
        )
        .because(
            "One byte more is mapped and unmapped for ever.",
            shown_by(at_least(10.0, pick("glibc", "", "dearer_ratio"))),
        )
        .because(
            "Blocks are purged between probes, and the search counts faults, not time. So it finds the same byte on a busy machine.",
            source("src/experiments/cliff.rs"),
        )
}

fn history() -> Step {
    let before = [
        at("fresh", Before::Nothing),
        at("after 1MiB", Before::Freed { bytes: MIB, count: 16 }),
        at("after 24MiB", Before::Freed { bytes: 24 * MIB, count: 1 }),
        at("fixed", Before::Threshold(128 << 10)),
        at("raised", Before::Threshold(32 * MIB)),
    ];
    const TWO: &[&Allocator] = &[&GLIBC, &MIMALLOC];
    let second = |param| pick("glibc", param, "second_faults_count");
    let cycle = |param| pick("glibc", param, "cycle_ns");
    Step::new("history", Kind::Single, "faults_per_cycle_count")
        .ask_number(
            "Somebody sets M_MMAP_THRESHOLD to 32 MiB, so that glibc keeps blocks of 16 MiB in its heap. How many faults does each \
             later round of malloc, touch and free of 16 MiB take?",
            "glibc",
            "raised",
        )
        .columns(&["first_faults_count", "second_faults_count", "first_cycle_ns", "cycle_ns"])
        .slice(1.0 / 4.0)
        .isolated(TWO, before, |plan, allocator, p| {
            memory::room_for(2 * BLOCK)?;
            let scale = if plan.is_smoke() { 4 } else { 1 };
            let extent = Extent { time: plan.slice, least: 3, most: 200, idle: Duration::ZERO };
            cliff::history(allocator, p.value.scaled(scale), BLOCK / scale, extent)
        })
        .claim(at_most(3.0, ("glibc", "fresh")), "fresh process: later rounds take no fault")
        .claim(at_least(7.0, second("fresh")), "fresh process: the second round still does")
        .claim(at_most(3.0, second("after 24MiB")), "after a block of 24 MiB: it does not")
        .claim(
            between(0.9, 1.1, ratio(second("after 1MiB"), second("fresh"))),
            "after blocks of 1 MiB: as in a fresh process",
        )
        .claim(at_least(7.0, ("glibc", "fixed")), "threshold fixed at 128 KiB: faults in every round")
        .claim(at_least(7.0, ("glibc", "raised")), "threshold raised to 32 MiB: no better")
        .claim(
            at_least(10.0, ratio(cycle("fixed"), cycle("fresh"))),
            "fixed: a round costs 10 times a fresh process's",
        )
        .claim(at_most(3.0, ("mimalloc", "raised")), "mimalloc does not care")
        .because(
            "In a fresh process the first 16 MiB are a mapping. Freeing it moves the threshold, so the second block comes from the heap, \
             whose pages are new, and only the third finds its pages.",
            shown_by(at_least(7.0, second("fresh"))),
        )
        .because(
            "After 24 MiB were freed the threshold is beyond 16 MiB from the start: the first block fills the heap, the second finds its \
             pages.",
            shown_by(at_most(3.0, second("after 24MiB"))),
        )
        .because(
            "Blocks of 1 MiB move it to 1 MiB only.",
            shown_by(between(0.9, 1.1, ratio(second("after 1MiB"), second("fresh")))),
        )
        .because(
            "Whoever sets the threshold ends its moving: at 128 KiB each block is mapped and unmapped.",
            shown_by(at_least(7.0, ("glibc", "fixed"))),
        )
        .because(
            "At 32 MiB each comes from the heap. But the trim threshold, which used to move along at twice the size, stays at 128 KiB: \
             each free gives the heap's top back.",
            shown_by(at_least(7.0, ("glibc", "raised"))),
        )
        .because(
            "The same code, the same size. mimalloc is the control: it has no such threshold.",
            shown_by(at_most(3.0, ("mimalloc", "raised"))),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

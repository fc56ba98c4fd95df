//! From which size on does an allocator give a block back each time, and what moves that size?
//!
//! Run it: `cargo run --release --bin alloc_cliff -- --step`
//!
//! Each row has a process of its own, since what an allocator did before is the subject.
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
        "From {value} on, glibc gives each freed block back to the kernel, and the next block takes a page fault for every page again.",
        pick("glibc", "", "cliff_bytes"),
        "glibc's thresholds were set by hand, or the thread is not the main thread: other threads have heaps of at most 64 MiB",
    )
    .say(
        "cliff",
        "One byte above the largest size that glibc keeps, a round of malloc, touch and free costs {value} as much.",
        pick("glibc", "", "dearer_ratio"),
        "the block is not touched, or is kept by the program",
    )
    .say(
        "history",
        "A round with a block of 16 MiB costs {value} with glibc's default thresholds, and {against} after a call of mallopt raised \
         the mmap threshold.",
        ratio(pick("glibc", "fresh", "cycle_ns"), pick("glibc", "raised", "cycle_ns")),
        "M_TRIM_THRESHOLD is raised as well",
    )
    .not_said(&[
        "That an allocator without a cliff is better: it keeps the memory (alloc_compare shows what comes back, and when).",
        "That the cliff is at that size in every process: below it, the blocks that were freed before decide what is kept.",
        "That there is only one cliff: the search is a binary search, and finds one of several.",
        "What threads other than the main one see: glibc serves them from mapped heaps, with limits of their own.",
    ])
    .next(&[
        "A service got slower when its buffers grew from 31 to 33 MiB. Why, and what are two cures? (a pool; or M_MMAP_THRESHOLD \
         together with M_TRIM_THRESHOLD)",
        "Why does a benchmark that warms up with another size report other results? (the first free moves the threshold)",
        "Why can setting M_MMAP_THRESHOLD alone make a program slower? (glibc then stops adjusting the trim threshold too)",
        "When is a pool worth it? (above the cliff; below it, the allocator already works as a pool)",
        "What does a kept block cost? (resident memory, until a purge)",
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
            "You allocate, touch and free blocks of one size again and again with glibc. What is the largest size, in bytes, that \
             glibc keeps, so that the next round takes no page fault?",
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
            "glibc's cliff is a page and some bytes below 32 MiB",
        )
        .claim(
            at_least(10.0, pick("glibc", "", "dearer_ratio")),
            "glibc: one byte more makes a round cost at least 10 times as much",
        )
        .claim(at_least(64.0 * MI, "mimalloc"), "mimalloc keeps blocks of 64 MiB and more")
        .claim(
            at_most(8.0 * MI, "jemalloc"),
            "jemalloc keeps no block of more than 8 MiB, since its arena for larger blocks keeps nothing",
        )
        .because(
            "glibc adds 8 bytes for the header and rounds up to a multiple of 16. If that reaches the mmap threshold, the block gets \
             a mapping of its own. A mapping has 8 bytes more and is rounded up to whole pages.",
            source("glibc malloc/malloc.c, sysmalloc_mmap"),
        )
        .because(
            "When a mapped block is freed, the threshold rises to its size. So the next block of that size comes from the heap, and \
             its memory stays there. The threshold never rises above DEFAULT_MMAP_THRESHOLD_MAX, 32 MiB where a long has 8 bytes.",
            source("glibc malloc/malloc.c, __libc_free and DEFAULT_MMAP_THRESHOLD_MAX"),
        )
        .because(
            "glibc compares the size together with its flag bits, and a mapping has one of them set. So a mapping of exactly 32 MiB \
             is already above the limit. The largest mapping that moves the threshold is one page smaller. The largest request that \
             fits into it is 24 bytes less than that.",
            shown_by(between(32.0 * MI - PAGE_AND_BYTES, 32.0 * MI, "glibc")),
        )
        .because(
            "A block that is one byte larger is mapped and unmapped in every round.",
            shown_by(at_least(10.0, pick("glibc", "", "dearer_ratio"))),
        )
        .because(
            "The allocator is purged between probes, and the search counts page faults, not time. So it finds the same size on a busy \
             machine.",
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
            "To make glibc keep blocks of 16 MiB in its heap, you set M_MMAP_THRESHOLD to 32 MiB. How many page faults does each \
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
        .claim(at_most(3.0, ("glibc", "fresh")), "fresh process: later rounds take no page faults")
        .claim(at_least(7.0, second("fresh")), "fresh process: the second round still takes page faults")
        .claim(
            at_most(3.0, second("after 24MiB")),
            "after a free of 24 MiB: the second round takes no page faults",
        )
        .claim(
            between(0.9, 1.1, ratio(second("after 1MiB"), second("fresh"))),
            "after frees of 1 MiB: the second round takes as many page faults as in a fresh process",
        )
        .claim(at_least(7.0, ("glibc", "fixed")), "threshold fixed at 128 KiB: page faults in every round")
        .claim(
            at_least(7.0, ("glibc", "raised")),
            "threshold raised to 32 MiB: page faults in every round too",
        )
        .claim(
            at_least(10.0, ratio(cycle("fixed"), cycle("fresh"))),
            "threshold fixed at 128 KiB: a round costs at least 10 times as much as in a fresh process",
        )
        .claim(
            at_most(3.0, ("mimalloc", "raised")),
            "mimalloc: no page faults, although glibc's threshold was raised",
        )
        .because(
            "In a fresh process the first block of 16 MiB is a mapping. Freeing it moves the threshold, so the second block comes \
             from the heap, and its pages are new. Only the third block finds its pages there.",
            shown_by(at_least(7.0, second("fresh"))),
        )
        .because(
            "After a free of 24 MiB, the threshold is above 16 MiB from the start. The first block takes the page faults in the heap, \
             and the second block finds its pages there.",
            shown_by(at_most(3.0, second("after 24MiB"))),
        )
        .because(
            "Frees of 1 MiB move the threshold only to 1 MiB.",
            shown_by(between(0.9, 1.1, ratio(second("after 1MiB"), second("fresh")))),
        )
        .because(
            "Setting the threshold stops glibc from adjusting it. At 128 KiB, each block is mapped and unmapped.",
            shown_by(at_least(7.0, ("glibc", "fixed"))),
        )
        .because(
            "At 32 MiB, each block comes from the heap. glibc normally keeps the trim threshold at twice the mmap threshold. \
             Now the trim threshold stays at 128 KiB, so each free gives the top of the heap back.",
            shown_by(at_least(7.0, ("glibc", "raised"))),
        )
        .because(
            "mimalloc is the control: the same code with the same size, but mimalloc has no such threshold.",
            shown_by(at_most(3.0, ("mimalloc", "raised"))),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

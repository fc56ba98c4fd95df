//! Do huge pages or pre-faulting make memory cheaper, and who pays for it?
//!
//! Run it: `cargo run --release --bin alloc_pages -- --step`
//!
//! Straight from the kernel, no allocator between: an allocator would keep the block.
use std::{hint::black_box, time::Duration};

use underhood::{
    experiments::{
        cycle::Extent,
        pages::{self, Pages, cold_and_warm},
    },
    lab::{
        Evidence, Kind, Lab, ONCE, Setting, Step, What, at_least, at_most, between, pick, ratio, setting,
        shown_by, source,
    },
    machine::memory,
    measure::latency::repeated,
};

const MIB: usize = 1 << 20;
/// What a round maps: 16,384 pages of 4 KiB, enough for a p99.9 of single touches.
const BLOCK: usize = 64 * MIB;
/// More, since memory that was just freed by another process is handed out first.
const COLD: usize = 128 * MIB;

static SMALL: Setting<Pages> = setting("small", Pages::Small);
static HUGE: Setting<Pages> = setting("huge", Pages::Huge);
static POPULATE: Setting<Pages> = setting("populate", Pages::Populated);
static HUGE_POPULATE: Setting<Pages> = setting("huge_populate", Pages::HugePopulated);

pub(crate) fn lab() -> Lab {
    underhood::lab!("alloc_pages", "Do huge pages or pre-faulting make memory cheaper, and who pays for it?")
        .step(trade())
        .step(cold())
        .say(
            "trade",
            "64 MiB mapped, touched page by page and unmapped cost {value} with huge pages and {against} with small ones, \
             {ratio} as much.",
            huge_to_small("op_ns"),
            "memory is too fragmented for huge pages, or only a part of the block is touched",
        )
        .say(
            "trade",
            "The price is the tail: with huge pages the p99.9 of a single first touch is {value}, with small ones {against}.",
            huge_to_small("touch_p999_ns"),
            "the memory was populated beforehand",
        )
        .say(
            "trade",
            "munmap of 64 MiB takes {value} with huge pages and {against} with small ones: {ratio}.",
            huge_to_small("munmap_ns"),
            "the huge pages were split before",
        )
    .not_said(&[
        "That huge pages are good for every program: a block of which little is touched takes more memory with them.",
        "That a populated block is free: its calls took the time, and mmap_lock for the length of it (alloc_mmap_lock).",
        "What TLB misses cost afterwards: here each page is written once.",
        "What the largest wait is: a maximum of some rounds is no bound.",
        "That cold memory is memory nobody had: another process may have freed it a moment ago, and the host is not asked.",
    ])
    .next(&[
        "Why does a database switch transparent huge pages off? (the tail of a touch, khugepaged, memory for sparse blocks)",
        "What does -XX:+AlwaysPreTouch buy? (the faults are paid at the start, where nobody waits)",
        "MAP_POPULATE or MADV_POPULATE_WRITE? (the second tells of failure, and comes after other advice)",
        "What changes if the guest gives free pages back to the host? (the first touch after an idle time is cold again)",
        "Why is a fault dearer in a virtual machine? (two page tables; the second may have to be filled as well)",
    ])
    .sources(&[
        "Linux Documentation/admin-guide/mm/transhuge.rst; mm/huge_memory.c: do_huge_pmd_anonymous_page",
        "madvise(2): MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_POPULATE_WRITE (Linux 5.14); mmap(2): MAP_POPULATE",
        "proc_pid_smaps(5): AnonHugePages, by which it is checked that huge pages were given",
        "Linux Documentation/mm/free_page_reporting.rst, mm/page_reporting.c",
    ])
}

fn huge_to_small(value: &'static str) -> What {
    ratio(pick("huge", "", value), pick("small", "", value))
}

fn trade() -> Step {
    const ALL: &[&Setting<Pages>] = &[&SMALL, &HUGE, &POPULATE, &HUGE_POPULATE];
    let benched =
        [&SMALL, &HUGE, &POPULATE].into_iter().filter(|p| p.value.map(memory::page_bytes()).is_ok());
    let populated = |value| pick("populate", "", value);
    let populate_pays = ratio(populated("call_ns"), populated("touch_ns"));
    Step::new("trade", Kind::Single, "op_ns")
        .ask_number(
            "You map 64 MiB, write one byte to each page of 4 KiB, and unmap it. How long does a round take with huge pages \
             (MADV_HUGEPAGE), in ns?",
            "huge",
            "",
        )
        .columns(&[
            "call_ns",
            "touch_ns",
            "munmap_ns",
            "touch_p50_ns",
            "touch_p999_ns",
            "touch_max_ns",
            "faults_count",
            "touch_faults_count",
            "huge_share",
        ])
        .isolated(ALL, ONCE, |plan, pages, _| {
            let (bytes, least) = if plan.is_smoke() { (BLOCK / 8, 1) } else { (BLOCK, 2) };
            memory::room_for(bytes)?;
            let extent = Extent { time: plan.slice, least, most: 1_000, idle: Duration::ZERO };
            pages::pages(pages.value, bytes, extent)
        })
        .bench("{case}", benched, |_, pages| {
            let pages = pages.value;
            repeated(move || {
                black_box(pages::round(pages, 8 * MIB, None, false).expect("it could be mapped before"));
            })
        })
        .claim(at_most(0.8, huge_to_small("op_ns")), "huge pages make the round cheaper by a fifth at least")
        .claim(at_most(0.2, huge_to_small("munmap_ns")), "and unmapping five times cheaper")
        .claim(at_least(3.0, huge_to_small("touch_p999_ns")), "but the p99.9 of a touch 3 times dearer")
        .claim(at_most(0.01, huge_to_small("faults_count")), "huge pages take a hundredth of the faults")
        .claim(at_most(16.0, populated("touch_faults_count")), "MAP_POPULATE leaves the touches no faults")
        .claim(at_least(10.0, populate_pays), "its call costs 10 times all touches")
        .claim(
            at_most(0.1, ratio(pick("huge_populate", "", "touch_ns"), pick("small", "", "touch_ns"))),
            "huge and populated: the touches take a tenth of those of small pages",
        )
        .because(
            "Each small page is a fault of its own: into the kernel, take a page, clear it, map it, back. A huge page is one fault for 512 \
             of them: the clearing is the same, the rest is paid once.",
            shown_by(at_most(0.01, huge_to_small("faults_count"))),
        )
        .because(
            "munmap has one entry to take away instead of 512.",
            shown_by(at_most(0.2, huge_to_small("munmap_ns"))),
        )
        .because(
            "But the touch that meets the fault waits until 2 MiB are clear, where another one waits for 4 KiB: more throughput, longer \
             tail.",
            shown_by(at_least(3.0, huge_to_small("touch_p999_ns"))),
        )
        .because(
            "Populating does the same work inside the call: no touch waits, the caller does.",
            shown_by(at_least(10.0, populate_pays)),
        )
        .because("With him waits whoever needs mmap_lock (lab alloc_mmap_lock).", Evidence::None)
        .because(
            "That huge pages were given is looked up in smaps; where they were not, there is no number. Single touches are timed in rounds \
             of their own.",
            source("src/experiments/pages.rs"),
        )
}

fn cold() -> Step {
    const TWO: &[&Setting<Pages>] = &[&SMALL, &HUGE];
    let small = |of, against| ratio(pick("small", "", of), pick("small", "", against));
    let faults = small("warm_faults_count", "cold_faults_count");
    Step::new("cold", Kind::Single, "cold_touch_ns")
        .ask_number(
            "A new process touches 128 MiB that it never had, unmaps them, maps and touches as much again. How many ns does the first \
             touch of all small pages take?",
            "small",
            "",
        )
        .columns(&["warm_touch_ns", "cold_faults_count", "warm_faults_count", "huge_share"])
        .isolated(TWO, ONCE, |plan, pages, _| {
            let bytes = if plan.is_smoke() { COLD / 16 } else { COLD };
            memory::room_for(bytes)?;
            cold_and_warm(pages.value, bytes)
        })
        .claim(between(0.95, 1.05, faults), "what was unmapped faults again, page for page")
        .claim(
            at_least(0.9, small("cold_touch_ns", "warm_touch_ns")),
            "cold memory is not cheaper than warm by more than a tenth",
        )
        .because(
            "Memory that goes back to the kernel is cleared again for whoever gets it, so warm memory faults as often as cold memory.",
            shown_by(between(0.95, 1.05, faults)),
        )
        .because(
            "What can be cheaper is finding it: the page tables' own pages and the pages just freed are in the CPU's lists and caches.",
            Evidence::None,
        )
        .because(
            "In a virtual machine the guest may never have used a page, or have reported it as free. Then the host must find it first, \
             inside what the guest takes for one fault.",
            source("Linux Documentation/mm/free_page_reporting.rst"),
        )
        .because(
            "Which of the pages were with the host can't be seen or chosen from inside. That is why both numbers are shown, and why a bench \
             should touch its memory once before it measures: see cold_and_warm.",
            source("src/experiments/pages.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

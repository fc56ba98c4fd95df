//! Do huge pages or pre-faulting make memory cheaper, and who pays for it?
//!
//! Run it: `cargo run --release --bin alloc_pages -- --step`
//!
//! The memory comes straight from the kernel, without an allocator: an allocator would keep the block.
use std::{hint::black_box, time::Duration};

use underhood::{
    experiments::{
        cycle::Extent,
        pages::{self, Pages, cold_and_warm},
    },
    lab::{
        Kind, Lab, ONCE, Setting, Step, What, at_least, at_most, between, pick, ratio, setting, shown_by,
        source,
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
            "Mapping 64 MiB, touching them page by page and unmapping them costs {value} with huge pages and {against} with small \
             pages: {ratio}.",
            huge_to_small("op_ns"),
            "memory is too fragmented for huge pages, or only a part of the block is touched",
        )
        .say(
            "trade",
            "Huge pages have a longer tail: the p99.9 of a single first touch is {value} with huge pages and {against} with small \
             pages.",
            huge_to_small("touch_p999_ns"),
            "the memory was populated beforehand",
        )
        .say(
            "trade",
            "munmap of 64 MiB takes {value} with huge pages and {against} with small pages: {ratio}.",
            huge_to_small("munmap_ns"),
            "the huge pages were split before",
        )
    .not_said(&[
        "That huge pages are good for every program: a block that is touched only in a few places takes more memory with huge pages.",
        "That a populated block is free: the calls that populate it take the time, and hold mmap_lock for reading (alloc_mmap_lock).",
        "What TLB misses cost afterwards: here each page is written once.",
        "How long the longest wait is: the maximum of some rounds is not an upper bound.",
        "That cold memory was never used before: another process may have freed it a moment ago, and the lab does not ask the host.",
    ])
    .next(&[
        "Why do databases switch transparent huge pages off? (slow first touches, the work of khugepaged, more memory for sparse \
         blocks)",
        "What does the JVM's -XX:+AlwaysPreTouch buy? (the page faults happen at the start, when nobody waits)",
        "MAP_POPULATE or MADV_POPULATE_WRITE? (the second reports failure, and you can call it after another madvise, such as \
         MADV_HUGEPAGE)",
        "What changes if the guest gives free pages back to the host? (the first touch after an idle time is cold again)",
        "Why does a page fault cost more in a virtual machine? (there are two page tables; the second may have to be filled as well)",
    ])
    .sources(&[
        "Linux Documentation/admin-guide/mm/transhuge.rst; mm/huge_memory.c: do_huge_pmd_anonymous_page",
        "madvise(2): MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_POPULATE_WRITE (Linux 5.14); mmap(2): MAP_POPULATE",
        "proc_pid_smaps(5): AnonHugePages, which shows whether the kernel gave huge pages",
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
        .claim(at_most(0.8, huge_to_small("op_ns")), "huge pages make a round at least a fifth cheaper")
        .claim(at_most(0.2, huge_to_small("munmap_ns")), "huge pages make munmap at least five times cheaper")
        .claim(
            at_least(3.0, huge_to_small("touch_p999_ns")),
            "with huge pages, the p99.9 of a touch is at least 3 times as long",
        )
        .claim(
            at_most(0.01, huge_to_small("faults_count")),
            "huge pages take at most a hundredth of the page faults",
        )
        .claim(
            at_most(16.0, populated("touch_faults_count")),
            "after MAP_POPULATE, the touches take no page faults",
        )
        .claim(
            at_least(10.0, populate_pays),
            "the call with MAP_POPULATE takes at least 10 times as long as all touches",
        )
        .claim(
            at_most(0.1, ratio(pick("huge_populate", "", "touch_ns"), pick("small", "", "touch_ns"))),
            "huge pages with MAP_POPULATE: the touches take at most a tenth of the time of those of small pages",
        )
        .because(
            "Each small page takes a fault of its own: enter the kernel, take a page, clear it, map it, return. A huge page takes one \
             fault in place of 512. The clearing is the same, and the rest is paid once.",
            shown_by(at_most(0.01, huge_to_small("faults_count"))),
        )
        .because(
            "For a huge page, munmap removes one page table entry instead of 512.",
            shown_by(at_most(0.2, huge_to_small("munmap_ns"))),
        )
        .because(
            "But the touch that takes the fault waits until 2 MiB are cleared, instead of 4 KiB. So throughput is higher, but the \
             tail is longer.",
            shown_by(at_least(3.0, huge_to_small("touch_p999_ns"))),
        )
        .because(
            "MAP_POPULATE does the same work inside the mmap call. So no touch waits, but the caller does.",
            shown_by(at_least(10.0, populate_pays)),
        )
        .because(
            "MAP_POPULATE holds mmap_lock for reading. So a thread that needs it for writing, to map or unmap, waits with the caller.",
            source("lab alloc_mmap_lock, step who_waits, row populate"),
        )
        .because(
            "The experiment checks in smaps that the kernel gave huge pages. If it did not, there is no number. Single touches are \
             timed in separate rounds.",
            source("src/experiments/pages.rs"),
        )
}

fn cold() -> Step {
    const TWO: &[&Setting<Pages>] = &[&SMALL, &HUGE];
    let small = |of, against| ratio(pick("small", "", of), pick("small", "", against));
    let faults = small("warm_faults_count", "cold_faults_count");
    Step::new("cold", Kind::Single, "cold_touch_ns")
        .ask_number(
            "A new process maps 128 MiB of new memory, touches and unmaps it, then maps and touches as much again. With small \
             pages, how many ns does it take to touch all of them for the first time?",
            "small",
            "",
        )
        .columns(&["warm_touch_ns", "cold_faults_count", "warm_faults_count", "huge_share"])
        .isolated(TWO, ONCE, |plan, pages, _| {
            let bytes = if plan.is_smoke() { COLD / 16 } else { COLD };
            memory::room_for(bytes)?;
            cold_and_warm(pages.value, bytes)
        })
        .claim(
            between(0.95, 1.05, faults),
            "small pages: memory that was unmapped takes as many page faults again",
        )
        .claim(
            at_least(0.9, small("cold_touch_ns", "warm_touch_ns")),
            "small pages: touching new (cold) memory is at most a tenth cheaper than touching memory that was just unmapped (warm)",
        )
        .because(
            "The kernel also clears memory that a process gave back, before it hands the memory out again. So warm memory takes \
             as many page faults as cold memory.",
            shown_by(between(0.95, 1.05, faults)),
        )
        .because(
            "Only finding a page can be cheaper: the kernel keeps pages that were just freed in a list for each CPU.",
            source("Linux mm/page_alloc.c: per-CPU page lists"),
        )
        .because(
            "In a virtual machine, the guest may never have used a page, or may have reported it as free. Then the host must find a \
             page first, and the guest counts that time as part of its fault.",
            source("Linux Documentation/mm/free_page_reporting.rst"),
        )
        .because(
            "The guest can neither see nor choose which pages the host must find. That is why both numbers are shown. It is also why \
             a bench should touch its memory once before it measures: see cold_and_warm.",
            source("src/experiments/pages.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

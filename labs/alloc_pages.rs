//! Do huge pages or pre-faulting make memory cheaper, and who pays for it?
//!
//! Run it: `cargo run --release --bin alloc_pages -- --step`
//!
//! Straight from the kernel, no allocator between: an allocator would keep the block.
use std::time::{Duration, Instant};

use underhood::{
    experiments::{
        cycle::Extent,
        pages::{self, Pages, cold_and_warm},
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
/// What a round maps: 16,384 pages of 4 KiB, enough for a p99.9 of single touches.
const BLOCK: usize = 64 * MIB;
/// More, since memory that was just freed by another process is handed out first.
const COLD: usize = 128 * MIB;
/// What the rest of the process may need meanwhile.
const MARGIN: usize = 64 * MIB;

pub(crate) static LAB: Lab = Lab {
    stem: "alloc_pages",
    question: "Do huge pages or pre-faulting make memory cheaper, and who pays for it?",
    steps: &[TRADE, COLD_AND_WARM],
    says: &[
        Say {
            step: "trade",
            text: "64 MiB mapped, touched page by page and unmapped cost {value} with huge pages and {against} with small ones, \
                   {ratio} as much.",
            of: huge(OP),
            against: Some(small(OP)),
            not_true_when: "memory is too fragmented for huge pages, or only a part of the block is touched",
        },
        Say {
            step: "trade",
            text: "The price is the tail: with huge pages the p99.9 of a single first touch is {value}, with small ones {against}.",
            of: huge(P999),
            against: Some(small(P999)),
            not_true_when: "the memory was populated beforehand",
        },
        Say {
            step: "trade",
            text: "munmap of 64 MiB takes {value} with huge pages and {against} with small ones: {ratio}.",
            of: huge(MUNMAP),
            against: Some(small(MUNMAP)),
            not_true_when: "the huge pages were split before",
        },
    ],
    not_said: &[
        "That huge pages are good for every program: a block of which little is touched takes more memory with them.",
        "That a populated block is free: its calls took the time, and mmap_lock for the length of it (alloc_mmap_lock).",
        "What TLB misses cost afterwards: here each page is written once.",
        "What the largest wait is: a maximum of some rounds is no bound.",
        "That cold memory is memory nobody had: another process may have freed it a moment ago, and the host is not asked.",
    ],
    next: &[
        "Why does a database switch transparent huge pages off? (the tail of a touch, khugepaged, memory for sparse blocks)",
        "What does -XX:+AlwaysPreTouch buy? (the faults are paid at the start, where nobody waits)",
        "MAP_POPULATE or MADV_POPULATE_WRITE? (the second tells of failure, and comes after other advice)",
        "What changes if the guest gives free pages back to the host? (the first touch after an idle time is cold again)",
        "Why is a fault dearer in a virtual machine? (two page tables; the second may have to be filled as well)",
    ],
    sources: &[
        "Linux Documentation/admin-guide/mm/transhuge.rst; mm/huge_memory.c: do_huge_pmd_anonymous_page",
        "madvise(2): MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_POPULATE_WRITE (Linux 5.14); mmap(2): MAP_POPULATE",
        "proc_pid_smaps(5): AnonHugePages, by which it is checked that huge pages were given",
        "Linux Documentation/mm/free_page_reporting.rst, mm/page_reporting.c",
    ],
    benches,
};

const OP: &str = "op_ns";
const CALL: &str = "call_ns";
const TOUCH: &str = "touch_ns";
const MUNMAP: &str = "munmap_ns";
const P999: &str = "touch_p999_ns";
const TOUCH_FAULTS: &str = "touch_faults_count";

const fn small(value: &'static str) -> Pick {
    pick("small", "", value)
}

const fn huge(value: &'static str) -> Pick {
    pick("huge", "", value)
}

const fn populated(value: &'static str) -> Pick {
    pick("populate", "", value)
}

const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

const TRADE: Step = Step {
    name: "trade",
    ask: "You map 64 MiB, write one byte to each page of 4 KiB, and unmap it. How long does a round take with huge pages \
          (MADV_HUGEPAGE), in ns?",
    predict: Predict::Number { case: "huge", param: "" },
    kind: Kind::Single,
    cases: &["small", "huge", "populate", "huge_populate"],
    params: &[""],
    launch: Launch::Isolated,
    measure: trade,
    headline: OP,
    columns: &[
        CALL,
        TOUCH,
        MUNMAP,
        "touch_p50_ns",
        P999,
        "touch_max_ns",
        "faults_count",
        TOUCH_FAULTS,
        "huge_share",
    ],
    claims: &[
        claim(
            "huge pages make the round cheaper by a fifth at least",
            huge(OP),
            Some(small(OP)),
            AtMost(0.8),
        ),
        claim("and unmapping five times cheaper", huge(MUNMAP), Some(small(MUNMAP)), AtMost(0.2)),
        claim("but the p99.9 of a touch 3 times dearer", huge(P999), Some(small(P999)), AtLeast(3.0)),
        claim(
            "huge pages take a hundredth of the faults",
            huge("faults_count"),
            Some(small("faults_count")),
            AtMost(0.01),
        ),
        claim("MAP_POPULATE leaves the touches no faults", populated(TOUCH_FAULTS), None, AtMost(16.0)),
        claim("its call costs 10 times all touches", populated(CALL), Some(populated(TOUCH)), AtLeast(10.0)),
        claim(
            "huge and populated: the touches take a tenth of those of small pages",
            pick("huge_populate", "", TOUCH),
            Some(small(TOUCH)),
            AtMost(0.1),
        ),
    ],
    because: "Each small page is a fault of its own: into the kernel, take a page, clear it, map it, back. A huge page is one fault \
              for 512 of them: the clearing is the same, the rest is paid once, and munmap has one entry to take away instead of \
              512. But the touch that meets the fault waits until 2 MiB are clear, where another one waits for 4 KiB: more \
              throughput, longer tail. Populating does the same work inside the call: no touch waits, the caller does, and with \
              him whoever needs mmap_lock. That huge pages were given is looked up in smaps; where they were not, there is no \
              number. Single touches are timed in rounds of their own. Open src/experiments/pages.rs.",
    tour: false,
};

const COLD_AND_WARM: Step = Step {
    name: "cold",
    ask: "A new process touches 128 MiB that it never had, unmaps them, maps and touches as much again. How many ns does the first \
          touch of all small pages take?",
    predict: Predict::Number { case: "small", param: "" },
    kind: Kind::Single,
    cases: &["small", "huge"],
    params: &[""],
    launch: Launch::Isolated,
    measure: cold,
    headline: "cold_touch_ns",
    columns: &["warm_touch_ns", "cold_faults_count", "warm_faults_count", "huge_share"],
    claims: &[
        claim(
            "what was unmapped faults again, page for page",
            small("warm_faults_count"),
            Some(small("cold_faults_count")),
            Between(0.95, 1.05),
        ),
        claim(
            "cold memory is not cheaper than warm by more than a tenth",
            small("cold_touch_ns"),
            Some(small("warm_touch_ns")),
            AtLeast(0.9),
        ),
    ],
    because: "Memory that goes back to the kernel is cleared again for whoever gets it, so warm memory faults as often as cold memory. \
              What can be cheaper is finding it: the page tables' own pages and the pages just freed are in the CPU's lists and \
              caches, and in a virtual machine a page that the guest never used, or that it reported as free, must be found by the \
              host first, inside what the guest takes for one fault. Which of the pages were with the host can't be seen or \
              chosen from inside: that is why both numbers are shown, and why a bench should touch its memory once before it \
              measures. Open src/experiments/pages.rs: cold_and_warm.",
    tour: false,
};

fn trade(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let bytes = if plan.is_smoke() { BLOCK / 8 } else { BLOCK };
        let least = if plan.is_smoke() { 1 } else { 2 };
        let extent = Extent { time: plan.slice, least, most: 1_000, idle: Duration::ZERO };
        let sample = pages::pages(ready(case, bytes)?, bytes, extent)?;
        Ok(Sample { case: case.into(), param: param.into(), ..sample })
    })
}

fn cold(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let bytes = if plan.is_smoke() { COLD / 16 } else { COLD };
        let sample = cold_and_warm(ready(case, bytes)?, bytes)?;
        Ok(Sample { case: case.into(), param: param.into(), ..sample })
    })
}

/// Which pages a case means, if there is room for `bytes` of them.
fn ready(case: &str, bytes: usize) -> Result<Pages, String> {
    let pages = match case {
        "small" => Pages::Small,
        "huge" => Pages::Huge,
        "populate" => Pages::Populated,
        "huge_populate" => Pages::HugePopulated,
        _ => return Err(format!("there is no {case}")),
    };
    memory::Room::now().refusal((bytes + MARGIN) as u64).map_or(Ok(pages), Err)
}

/// Whole rounds on 8 MiB, where the system can do them.
fn benches(_: &Plan) -> Vec<Bench> {
    const BYTES: usize = 8 * MIB;
    let bench = |(id, pages): (&str, Pages)| {
        let timed = move |iters| {
            let start = Instant::now();
            for _ in 0..iters {
                let round = pages::round(pages, BYTES, None, false);
                std::hint::black_box(round.expect("it could be mapped before"));
            }
            start.elapsed()
        };
        Bench { id: id.into(), make: Box::new(move || Box::new(timed)) }
    };
    let all = [("small", Pages::Small), ("huge", Pages::Huge), ("populate", Pages::Populated)];
    all.into_iter().filter(|(_, pages)| pages.map(memory::page_bytes()).is_ok()).map(bench).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

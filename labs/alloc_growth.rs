//! When is zeroed memory free, and when does a growing block copy its bytes?
//!
//! Run it: `cargo run --release --bin alloc_growth -- --step`
//!
//! Each pair of case and parameter has a process of its own, since an allocator remembers what it served before.
use std::time::Instant;

use underhood::{
    contenders::alloc::{Allocator, BlockError},
    experiments::{
        cycle::Extent,
        grown::{Growth, first_growth, grow},
        zeroed::{Zeros, zeroed, zeroed_cycle},
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
/// A block grows from one to the other, in six steps.
const FROM: usize = MIB;
const TO: usize = 64 * MIB;
/// What the rest of the process may need meanwhile.
const MARGIN: usize = 64 * MIB;

pub(crate) static LAB: Lab = Lab {
    stem: "alloc_growth",
    question: "When is zeroed memory free, and when does a growing block copy its bytes?",
    steps: &[ZEROED, GROW],
    says: &[
        Say {
            step: "zeroed",
            text: "calloc of 64 MiB takes {value} with glibc, malloc and memset {against}; but a calloc of 16 MiB whose \
                   memory was used before clears all of it.",
            of: calloc(G64, CALL),
            against: Some(memset(G64, CALL)),
            not_true_when: "the allocator has the block in stock: then calloc must clear it",
        },
        Say {
            step: "zeroed",
            text: "Up to the last page written, 64 MiB of zeros cost {value} by calloc and {against} by malloc and memset: \
                   the clearing has moved into the faults.",
            of: calloc(G64, CYCLE),
            against: Some(memset(G64, CYCLE)),
            not_true_when: "most of the pages are never written",
        },
        Say {
            step: "grow",
            text: "Growing a block from 1 to 64 MiB by doubling takes {value} in glibc's realloc, and {against} if the \
                   caller gets, copies and frees.",
            of: realloc("glibc", GROW_NS),
            against: Some(copy("glibc", GROW_NS)),
            not_true_when: "the block is below the mmap threshold, or the system has no mremap",
        },
    ],
    not_said: &[
        "That vec![0; n] is free: it is calloc, and the first write to each page pays what memset would have paid.",
        "That realloc never copies: below glibc's mmap threshold, and with the other allocators, it does.",
        "What a second growth costs: an allocator remembers the first one. These are first growths of a process.",
        "That the dearest call bounds anything: it is the largest of six.",
        "What fresh memory costs where the host must find it first: as much was mapped and touched before.",
    ],
    next: &[
        "Why is a Vec that grows to 64 MiB cheaper with glibc than its amortised O(1) lets you expect? (mremap moves pages)",
        "Why is calloc of 16 MiB sometimes a thousand times dearer than of 64 MiB? (the smaller one was kept, and is dirty)",
        "Does a sparse table want calloc? (yes: a page that is never written never becomes memory)",
        "Who waits while mremap moves the page tables? (whoever needs mmap_lock: alloc_mmap_lock)",
        "What would Vec::with_capacity save here, and what would it cost? (the copies; nothing until pages are touched)",
    ],
    sources: &[
        "glibc malloc/malloc.c: __libc_calloc (chunk_is_mmapped: nothing to clear), __libc_realloc, mremap_chunk",
        "mremap(2): MREMAP_MAYMOVE; Linux mm/mremap.c: move_page_tables",
        "mallopt(3), M_MMAP_THRESHOLD: why a freed block of 16 MiB is kept, and one of 64 MiB is not",
        "Rust: GlobalAlloc::alloc_zeroed and realloc; std's System maps them to calloc and realloc",
        "mimalloc src/alloc.c: mi_heap_malloc_zero, mi_heap_realloc_zero",
    ],
    benches,
};

const CALL: &str = "call_ns";
const TOUCH: &str = "touch_ns";
const CYCLE: &str = "cycle_ns";
const GROW_NS: &str = "grow_ns";
const CALL_FAULTS: &str = "call_faults_count";
const G16: &str = "glibc 16MiB";
const G64: &str = "glibc 64MiB";
const M64: &str = "mimalloc 64MiB";

const fn calloc(param: &'static str, value: &'static str) -> Pick {
    pick("calloc", param, value)
}

const fn memset(param: &'static str, value: &'static str) -> Pick {
    pick("malloc+memset", param, value)
}

const fn realloc(param: &'static str, value: &'static str) -> Pick {
    pick("realloc", param, value)
}

const fn copy(param: &'static str, value: &'static str) -> Pick {
    pick("copy", param, value)
}

const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

const ZEROED: Step = Step {
    name: "zeroed",
    ask: "You calloc 64 MiB with glibc, write one byte to each page, and free it, again and again. How long does one round \
          take, in ns? (Think of malloc and memset first.)",
    predict: Predict::Number { case: "calloc", param: G64 },
    kind: Kind::Single,
    cases: &["malloc+memset", "calloc"],
    params: &["glibc 1MiB", G16, G64, M64],
    launch: Launch::Isolated,
    measure: zeroed_step,
    headline: CYCLE,
    columns: &[CALL, TOUCH, "free_ns", "faults_per_cycle_count", "first_call_ns"],
    claims: &[
        claim(
            "64 MiB, glibc: calloc takes a tenth of malloc and memset",
            calloc(G64, CALL),
            Some(memset(G64, CALL)),
            AtMost(0.1),
        ),
        claim(
            "its first touch then costs 10 times the call",
            calloc(G64, TOUCH),
            Some(calloc(G64, CALL)),
            AtLeast(10.0),
        ),
        claim(
            "the whole round still costs half of malloc, memset and touch",
            calloc(G64, CYCLE),
            Some(memset(G64, CYCLE)),
            AtLeast(0.5),
        ),
        claim(
            "16 MiB kept by glibc: calloc takes half of malloc and memset at least",
            calloc(G16, CALL),
            Some(memset(G16, CALL)),
            AtLeast(0.5),
        ),
        claim(
            "16 MiB: glibc's first calloc of the process takes a tenth of a later one",
            calloc(G16, "first_call_ns"),
            Some(calloc(G16, CALL)),
            AtMost(0.1),
        ),
        claim(
            "64 MiB: mimalloc's calloc takes 10 times glibc's",
            calloc(M64, CALL),
            Some(calloc(G64, CALL)),
            AtLeast(10.0),
        ),
    ],
    because: "The kernel hands out only pages that are zero, or one process could read what another one left. calloc may rely on \
              that for a block that comes fresh from mmap (glibc: chunk_is_mmapped), so it only notes a range of addresses, and \
              each page is found and cleared in the fault of its first write. malloc and memset fault on every page too, and clear \
              twice: once in the kernel, once in the caller. A block that was used before is dirty, and calloc clears it like \
              anybody: with glibc from the second round on where the first free raised the mmap threshold (up to 32 MiB), with \
              mimalloc at 64 MiB too, since it keeps them. Rust's vec![0; n] is calloc. All variants end with every page written. \
              Open src/experiments/zeroed.rs.",
    tour: false,
};

const GROW: Step = Step {
    name: "grow",
    ask: "A block in use grows from 1 to 64 MiB by doubling, with glibc's realloc. How many ns do the six calls take together? \
          (63 MiB must be in the new place in the end.)",
    predict: Predict::Number { case: "realloc", param: "glibc" },
    kind: Kind::Single,
    cases: &["copy", "realloc"],
    params: &["glibc", "mimalloc"],
    launch: Launch::Isolated,
    measure: grow_step,
    headline: GROW_NS,
    columns: &["dearest_ns", TOUCH, "growth_ns", CALL_FAULTS, "touch_faults_count", "moved_count"],
    claims: &[
        claim(
            "glibc: realloc takes at most half of get, copy, free",
            realloc("glibc", GROW_NS),
            Some(copy("glibc", GROW_NS)),
            AtMost(0.5),
        ),
        claim(
            "so does its dearest step",
            realloc("glibc", "dearest_ns"),
            Some(copy("glibc", "dearest_ns")),
            AtMost(0.5),
        ),
        claim("no page is written inside glibc's realloc", realloc("glibc", CALL_FAULTS), None, AtMost(8.0)),
        claim("copying by hand faults its target in", copy("glibc", CALL_FAULTS), None, AtLeast(16.0)),
        claim(
            "mimalloc's realloc faults pages in: it copies",
            realloc("mimalloc", CALL_FAULTS),
            None,
            AtLeast(16.0),
        ),
        claim(
            "mimalloc: realloc saves at most half of get, copy, free",
            realloc("mimalloc", GROW_NS),
            Some(copy("mimalloc", GROW_NS)),
            AtLeast(0.5),
        ),
    ],
    because: "glibc gives a large block a mapping of its own, so it can ask the kernel to enlarge that: mremap hangs the page tables \
              into another range of addresses, or only makes the range longer, and no byte is read or written. A caller who \
              gets, copies and frees reads every byte, writes every byte, and faults in every page of the new block; then munmap \
              gives the old pages back. The faults inside the calls tell the two apart on any machine, fast or slow. mimalloc \
              carves blocks out of larger mappings, which can't be moved alone, so its realloc copies. A growing Vec is realloc. \
              What was written on the way is read back in the end. Open src/experiments/grown.rs.",
    tour: false,
};

fn zeroed_step(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let (name, size) = param.split_once(' ').ok_or("a parameter names an allocator and a size")?;
        let zeros = match case {
            "calloc" => Zeros::Asked,
            "malloc+memset" => Zeros::Cleared,
            _ => return Err(format!("there is no {case}")),
        };
        let mib = size.trim_end_matches("MiB").parse::<usize>().map_err(|e| format!("{size}: {e}"))?;
        let bytes = mib * if plan.is_smoke() { MIB / 16 } else { MIB };
        let extent = Extent {
            time: plan.slice / 8,
            least: if plan.is_smoke() { 1 } else { 3 },
            most: 2_000,
            idle: std::time::Duration::ZERO,
        };
        let sample = zeroed(ready(name, bytes)?, zeros, param, bytes, extent).map_err(|e| e.to_string())?;
        Ok(Sample { case: case.into(), ..sample })
    })
}

fn grow_step(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let growth = growth_of(case).ok_or_else(|| format!("there is no {case}"))?;
        let to = if plan.is_smoke() { TO / 16 } else { TO };
        // The old block, the new one, and the pages that were there before.
        let allocator = ready(param, 2 * to)?;
        let sample = first_growth(allocator, growth, param, FROM, to).map_err(|e| e.to_string())?;
        Ok(Sample { case: case.into(), ..sample })
    })
}

fn growth_of(case: &str) -> Option<Growth> {
    match case {
        "realloc" => Some(Growth::Realloc),
        "copy" => Some(Growth::Copy),
        _ => None,
    }
}

/// The allocator, if it exists here and there is room for `bytes`.
fn ready(name: &str, bytes: usize) -> Result<&'static Allocator, String> {
    memory::Room::now().refusal((bytes + MARGIN) as u64).map_or(Ok(()), Err)?;
    Allocator::find(name)
}

/// What a bench repeats.
type Run = fn(&'static Allocator) -> Result<(), BlockError>;

/// Warm cycles and repeated growths in one process: history matters, and the lab's own numbers come from fresh ones.
fn benches(_: &Plan) -> Vec<Bench> {
    const RUNS: [(&str, Run); 3] = [
        ("calloc", |a| zeroed_cycle(a, Zeros::Asked, MIB).map(|_| ())),
        ("memset", |a| zeroed_cycle(a, Zeros::Cleared, MIB).map(|_| ())),
        ("realloc", |a| grow(a, Growth::Realloc, MIB, 8 * MIB).map(|_| ())),
    ];
    let bench = |allocator: &'static Allocator, (name, run): (&str, Run)| {
        let timed = move |iters| {
            let start = Instant::now();
            (0..iters).for_each(|_| run(allocator).expect("a few MiB are not refused"));
            start.elapsed()
        };
        Bench { id: format!("{name}/{}", allocator.name), make: Box::new(move || Box::new(timed)) }
    };
    let two = ["glibc", "mimalloc"].into_iter().filter_map(Allocator::named);
    two.flat_map(|allocator| RUNS.map(|run| bench(allocator, run))).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

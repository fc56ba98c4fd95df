//! When is zeroed memory free, and when does a growing block copy its bytes?
//!
//! Run it: `cargo run --release --bin alloc_growth -- --step`
//!
//! Each pair of case and parameter has a process of its own, since an allocator remembers what it served before.
use std::time::Duration;

use underhood::{
    contenders::alloc::{self, Allocator, BlockError, GLIBC, MIMALLOC},
    experiments::{
        cycle::Extent,
        grown::{Growth, first_growth, grow},
        zeroed::{Zeros, zeroed, zeroed_cycle},
    },
    lab::{
        Bench, Kind, Lab, Setting, Step, at, at_least, at_most, between, pick, ratio, setting, shown_by,
        source,
    },
    machine::memory,
    measure::latency::repeated,
};

const MIB: usize = 1 << 20;
/// A block grows from one to the other, in six steps.
const FROM: usize = MIB;
const TO: usize = 64 * MIB;

const ZEROS: &[Setting<Zeros>] = &[setting("malloc+memset", Zeros::Cleared), setting("calloc", Zeros::Asked)];
const GROWTHS: &[Setting<Growth>] = &[setting("copy", Growth::Copy), setting("realloc", Growth::Realloc)];

pub(crate) fn lab() -> Lab {
    let calloc = |value| pick("calloc", "glibc 64MiB", value);
    let memset = |value| pick("malloc+memset", "glibc 64MiB", value);
    underhood::lab!(
        "alloc_growth",
        "When is zeroed memory free, and when does a growing block copy its bytes?"
    )
    .step(zeroed_step())
    .step(grow_step())
    .say(
        "zeroed",
        "With glibc, calloc of 64 MiB takes {value}, and malloc and memset take {against}. But calloc of 16 MiB clears the whole \
         block if its memory was used before.",
        ratio(calloc("call_ns"), memset("call_ns")),
        "the allocator kept the block's memory: then calloc must clear it",
    )
    .say(
        "zeroed",
        "Until the last page is written, 64 MiB of zeros cost {value} with calloc and {against} with malloc and memset. With calloc, \
         the kernel clears the pages in the page faults.",
        ratio(calloc("cycle_ns"), memset("cycle_ns")),
        "most of the pages are never written",
    )
    .say(
        "grow",
        "Growing a block from 1 to 64 MiB by doubling takes {value} with glibc's realloc, and {against} with malloc, copy and free.",
        ratio(("realloc", "glibc"), ("copy", "glibc")),
        "the block is below the mmap threshold, or the system has no mremap",
    )
    .not_said(&[
        "That vec![0; n] is free: it is calloc, and the first write to each page pays what memset would have paid.",
        "That realloc never copies: below glibc's mmap threshold, and with the other allocators, it does.",
        "What a second growth costs: an allocator may keep memory of the first one. Here each growth is the first of its process.",
        "That the slowest call is an upper bound: it is only the slowest of six.",
        "What fresh memory costs if the host must find it first: here the process had mapped and touched the same amount before.",
    ])
    .next(&[
        "With glibc, why does growing a Vec to 64 MiB cost less than amortised O(1) suggests? (mremap moves pages)",
        "Why is calloc of 16 MiB sometimes so much slower than calloc of 64 MiB? (the allocator kept the smaller block, and it is \
         dirty)",
        "Should a sparse table use calloc? (yes: a page that is never written takes no memory)",
        "Who waits while mremap moves the page tables? (every thread that needs mmap_lock: alloc_mmap_lock)",
        "What would Vec::with_capacity save here, and what would it cost? (it saves the copies; it costs nothing until pages are \
         touched)",
    ])
    .sources(&[
        "glibc malloc/malloc.c: __libc_calloc (chunk_is_mmapped: nothing to clear), __libc_realloc, mremap_chunk",
        "mremap(2): MREMAP_MAYMOVE; Linux mm/mremap.c: move_page_tables",
        "mallopt(3), M_MMAP_THRESHOLD: why a freed block of 16 MiB is kept, and one of 64 MiB is not",
        "Rust: GlobalAlloc::alloc_zeroed and realloc; std's System maps them to calloc and realloc",
        "mimalloc src/alloc.c: mi_heap_malloc_zero, mi_heap_realloc_zero",
    ])
}

fn zeroed_step() -> Step {
    let blocks = [
        at("glibc 1MiB", (&GLIBC, 1)),
        at("glibc 16MiB", (&GLIBC, 16)),
        at("glibc 64MiB", (&GLIBC, 64)),
        at("mimalloc 64MiB", (&MIMALLOC, 64)),
    ];
    let calloc = |param, value| pick("calloc", param, value);
    let calls = |param| ratio(calloc(param, "call_ns"), pick("malloc+memset", param, "call_ns"));
    let rounds = ratio(("calloc", "glibc 64MiB"), ("malloc+memset", "glibc 64MiB"));
    let call_64 = calloc("glibc 64MiB", "call_ns");
    let first_16 = ratio(calloc("glibc 16MiB", "first_call_ns"), calloc("glibc 16MiB", "call_ns"));
    Step::new("zeroed", Kind::Single, "cycle_ns")
        .ask_number(
            "You calloc 64 MiB with glibc, write one byte to each page, and free it, again and again. How long does one round take, \
             in ns? (First guess what malloc and memset take.)",
            "calloc",
            "glibc 64MiB",
        )
        .columns(&["call_ns", "touch_ns", "free_ns", "faults_per_cycle_count", "first_call_ns"])
        .slice(1.0 / 8.0)
        .isolated(ZEROS, blocks, |plan, zeros, p| {
            let (allocator, mib) = p.value;
            let (unit, least) = if plan.is_smoke() { (MIB / 16, 1) } else { (MIB, 3) };
            memory::room_for(mib * unit)?;
            let extent = Extent { time: plan.slice, least, most: 2_000, idle: Duration::ZERO };
            zeroed(allocator, zeros.value, mib * unit, extent).map_err(|e| e.to_string())
        })
        .bench_also(benches("calloc", |a| zeroed_cycle(a, Zeros::Asked, MIB).map(|_| ())))
        .bench_also(benches("memset", |a| zeroed_cycle(a, Zeros::Cleared, MIB).map(|_| ())))
        .claim(
            at_most(0.1, calls("glibc 64MiB")),
            "64 MiB, glibc: calloc takes at most a tenth of the time of malloc and memset",
        )
        .claim(
            at_least(10.0, ratio(calloc("glibc 64MiB", "touch_ns"), call_64)),
            "64 MiB, glibc: the touch after calloc takes at least 10 times as long as the call",
        )
        .claim(
            at_least(0.5, rounds),
            "64 MiB, glibc: a whole round with calloc takes at least half as long as one with malloc and memset",
        )
        .claim(
            at_least(0.5, calls("glibc 16MiB")),
            "16 MiB that glibc kept: calloc takes at least half as long as malloc and memset",
        )
        .claim(
            at_most(0.1, first_16),
            "16 MiB: glibc's first calloc of the process takes at most a tenth of the time of a later one",
        )
        .claim(
            at_least(10.0, ratio(calloc("mimalloc 64MiB", "call_ns"), call_64)),
            "64 MiB: mimalloc's calloc takes at least 10 times as long as glibc's",
        )
        .because(
            "The kernel hands out only zeroed pages; otherwise one process could read what another one left. calloc relies on that \
             for a block that comes fresh from mmap (chunk_is_mmapped). So it only reserves a range of addresses.",
            source("glibc malloc/malloc.c, __libc_calloc"),
        )
        .because(
            "The kernel finds and clears each page in the page fault of its first write.",
            shown_by(at_least(10.0, ratio(calloc("glibc 64MiB", "touch_ns"), call_64))),
        )
        .because(
            "malloc and memset take a fault for every page too, and each page is cleared twice: once in the kernel, once in the caller.",
            shown_by(at_least(32.0, pick("malloc+memset", "glibc 64MiB", "faults_per_cycle_count"))),
        )
        .because(
            "A block that was used before is dirty, so calloc has to clear it. With glibc this happens from the third round on, up to 32 \
             MiB. The first free raises the mmap threshold, the second block comes from new heap pages, and the third one finds them used \
             (alloc_cliff, step history).",
            shown_by(at_most(0.1, first_16)),
        )
        .because(
            "mimalloc clears blocks of 64 MiB too, since it keeps their memory.",
            shown_by(at_least(0.5, calls("mimalloc 64MiB"))),
        )
        .because(
            "Rust's vec![0; n] calls calloc. In all variants, every page is written in the end.",
            source("src/experiments/zeroed.rs"),
        )
}

fn grow_step() -> Step {
    let faults = |case, param| pick(case, param, "call_faults_count");
    let calls = |param| ratio(("realloc", param), ("copy", param));
    let dearest = ratio(pick("realloc", "glibc", "dearest_ns"), pick("copy", "glibc", "dearest_ns"));
    // And whether it may have huge pages, which mimalloc asks for and glibc does not.
    let allocators = [
        at("glibc", (&GLIBC, true)),
        at("mimalloc", (&MIMALLOC, true)),
        at("mimalloc, small pages", (&MIMALLOC, false)),
    ];
    Step::new("grow", Kind::Single, "grow_ns")
        .ask_number(
            "A block in use grows from 1 to 64 MiB by doubling, with glibc's realloc. How many ns do the six calls take together? \
             (Its sizes before the six calls are 1, 2, 4, 8, 16 and 32 MiB, together 63 MiB.)",
            "realloc",
            "glibc",
        )
        .columns(&[
            "dearest_ns",
            "touch_ns",
            "growth_ns",
            "call_faults_count",
            "touch_faults_count",
            "moved_count",
        ])
        .isolated(GROWTHS, allocators, |plan, growth, p| {
            let to = if plan.is_smoke() { TO / 16 } else { TO };
            // The old block, the new one, and the pages that were there before.
            memory::room_for(2 * to)?;
            let (allocator, huge) = p.value;
            if !huge && !memory::without_huge_pages() {
                return Err("this system does not let a process do without huge pages".into());
            }
            first_growth(allocator, growth.value, FROM, to).map_err(|e| e.to_string())
        })
        .bench_also(benches("realloc", |a| grow(a, Growth::Realloc, MIB, 8 * MIB).map(|_| ())))
        .claim(
            at_most(0.5, calls("glibc")),
            "glibc: realloc takes at most half as long as malloc, copy and free",
        )
        .claim(
            at_most(0.5, dearest),
            "glibc: the slowest step with realloc takes at most half as long as the slowest with malloc, copy and free",
        )
        .claim(at_most(8.0, faults("realloc", "glibc")), "glibc: realloc itself takes no page faults")
        .claim(
            at_least(16.0, faults("copy", "glibc")),
            "glibc: malloc, copy and free take page faults for the new block",
        )
        .claim(
            at_least(16.0, faults("realloc", "mimalloc, small pages")),
            "mimalloc: realloc takes page faults, so it copies",
        )
        .claim(
            at_least(0.5, calls("mimalloc")),
            "mimalloc: realloc saves at most half of the time of malloc, copy and free",
        )
        .claim(
            at_least(16.0, ratio(faults("copy", "mimalloc, small pages"), faults("copy", "mimalloc"))),
            "mimalloc asks for huge pages: without them the same copies take at least 16 times as many faults",
        )
        .because(
            "glibc gives a large block a mapping of its own, so it can ask the kernel to enlarge that mapping. mremap moves the page \
             table entries to another range of addresses, or only makes the range longer. No byte is read or written.",
            shown_by(at_most(8.0, faults("realloc", "glibc"))),
        )
        .because(
            "With malloc, copy and free, the caller reads and writes every byte, and takes a fault for every page of the new block. \
             Then munmap gives the old pages back.",
            shown_by(at_least(16.0, faults("copy", "glibc"))),
        )
        .because(
            "The page faults inside the calls show the difference between moving and copying on any machine, fast or slow.",
            shown_by(at_most(0.5, ratio(faults("realloc", "glibc"), faults("copy", "glibc")))),
        )
        .because(
            "mimalloc cuts its blocks out of larger mappings, and a single block can't be moved alone. So its realloc copies.",
            shown_by(at_least(16.0, faults("realloc", "mimalloc, small pages"))),
        )
        .because(
            "One fault for a huge page provides 512 small pages. So compare glibc's column with mimalloc's column of small pages, not \
             with its other one.",
            shown_by(between(0.5, 2.0, ratio(faults("copy", "mimalloc, small pages"), faults("copy", "glibc")))),
        )
        .because(
            "A growing Vec calls realloc. At the end, the experiment reads back everything that it wrote into the block.",
            source("src/experiments/grown.rs"),
        )
}

/// Benches of the allocators, which are not contenders here. They run warm cycles and repeated growths in one process. History matters,
/// and the lab's own numbers come from fresh processes.
fn benches(what: &str, run: fn(&'static Allocator) -> Result<(), BlockError>) -> Vec<Bench> {
    let two = alloc::here().filter(|a| [&GLIBC, &MIMALLOC].iter().any(|b| a.as_ref() == b.as_ref()));
    let bench = |allocator: &&'static Allocator| {
        let allocator = *allocator;
        Bench::new(&format!("{what}/{}", allocator.id()), move |_| {
            repeated(move || run(allocator).expect("a few MiB are not refused"))
        })
    };
    two.map(bench).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

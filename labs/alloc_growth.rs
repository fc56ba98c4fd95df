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
    lab::{Bench, Kind, Lab, Setting, Step, at, at_least, at_most, pick, ratio, setting, shown_by, source},
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
        "calloc of 64 MiB takes {value} with glibc, malloc and memset {against}; but a calloc of 16 MiB whose \
         memory was used before clears all of it.",
        ratio(calloc("call_ns"), memset("call_ns")),
        "the allocator has the block in stock: then calloc must clear it",
    )
    .say(
        "zeroed",
        "Up to the last page written, 64 MiB of zeros cost {value} by calloc and {against} by malloc and memset: \
         the clearing has moved into the faults.",
        ratio(calloc("cycle_ns"), memset("cycle_ns")),
        "most of the pages are never written",
    )
    .say(
        "grow",
        "Growing a block from 1 to 64 MiB by doubling takes {value} in glibc's realloc, and {against} if the \
         caller gets, copies and frees.",
        ratio(("realloc", "glibc"), ("copy", "glibc")),
        "the block is below the mmap threshold, or the system has no mremap",
    )
    .not_said(&[
        "That vec![0; n] is free: it is calloc, and the first write to each page pays what memset would have paid.",
        "That realloc never copies: below glibc's mmap threshold, and with the other allocators, it does.",
        "What a second growth costs: an allocator remembers the first one. These are first growths of a process.",
        "That the dearest call bounds anything: it is the largest of six.",
        "What fresh memory costs where the host must find it first: as much was mapped and touched before.",
    ])
    .next(&[
        "Why is a Vec that grows to 64 MiB cheaper with glibc than its amortised O(1) lets you expect? (mremap moves pages)",
        "Why is calloc of 16 MiB sometimes a thousand times dearer than of 64 MiB? (the smaller one was kept, and is dirty)",
        "Does a sparse table want calloc? (yes: a page that is never written never becomes memory)",
        "Who waits while mremap moves the page tables? (whoever needs mmap_lock: alloc_mmap_lock)",
        "What would Vec::with_capacity save here, and what would it cost? (the copies; nothing until pages are touched)",
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
            "You calloc 64 MiB with glibc, write one byte to each page, and free it, again and again. How long does one round \
             take, in ns? (Think of malloc and memset first.)",
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
        .claim(at_most(0.1, calls("glibc 64MiB")), "64 MiB, glibc: calloc takes a tenth of malloc and memset")
        .claim(
            at_least(10.0, ratio(calloc("glibc 64MiB", "touch_ns"), call_64)),
            "its first touch then costs 10 times the call",
        )
        .claim(at_least(0.5, rounds), "the whole round still costs half of malloc, memset and touch")
        .claim(
            at_least(0.5, calls("glibc 16MiB")),
            "16 MiB kept by glibc: calloc takes half of malloc and memset at least",
        )
        .claim(
            at_most(0.1, first_16),
            "16 MiB: glibc's first calloc of the process takes a tenth of a later one",
        )
        .claim(
            at_least(10.0, ratio(calloc("mimalloc 64MiB", "call_ns"), call_64)),
            "64 MiB: mimalloc's calloc takes 10 times glibc's",
        )
        .because(
            "The kernel hands out only pages that are zero, or one process could read what another one left. calloc may rely on that for \
             a block that comes fresh from mmap (chunk_is_mmapped), so it only notes a range of addresses.",
            source("glibc malloc/malloc.c, __libc_calloc"),
        )
        .because(
            "Each page is found and cleared in the fault of its first write.",
            shown_by(at_least(10.0, ratio(calloc("glibc 64MiB", "touch_ns"), call_64))),
        )
        .because(
            "malloc and memset fault on every page too, and clear twice: once in the kernel, once in the caller.",
            shown_by(at_least(32.0, pick("malloc+memset", "glibc 64MiB", "faults_per_cycle_count"))),
        )
        .because(
            "A block that was used before is dirty, and calloc clears it like anybody: with glibc from the second round on where the \
             first free raised the mmap threshold (up to 32 MiB).",
            shown_by(at_most(0.1, first_16)),
        )
        .because(
            "mimalloc clears at 64 MiB too, since it keeps them.",
            shown_by(at_least(0.5, calls("mimalloc 64MiB"))),
        )
        .because(
            "Rust's vec![0; n] is calloc. All variants end with every page written.",
            source("src/experiments/zeroed.rs"),
        )
}

fn grow_step() -> Step {
    let faults = |case, param| pick(case, param, "call_faults_count");
    let calls = |param| ratio(("realloc", param), ("copy", param));
    let dearest = ratio(pick("realloc", "glibc", "dearest_ns"), pick("copy", "glibc", "dearest_ns"));
    Step::new("grow", Kind::Single, "grow_ns")
        .ask_number(
            "A block in use grows from 1 to 64 MiB by doubling, with glibc's realloc. How many ns do the six calls take together? \
             (63 MiB must be in the new place in the end.)",
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
        .isolated(GROWTHS, [at("glibc", &GLIBC), at("mimalloc", &MIMALLOC)], |plan, growth, p| {
            let to = if plan.is_smoke() { TO / 16 } else { TO };
            // The old block, the new one, and the pages that were there before.
            memory::room_for(2 * to)?;
            first_growth(p.value, growth.value, FROM, to).map_err(|e| e.to_string())
        })
        .bench_also(benches("realloc", |a| grow(a, Growth::Realloc, MIB, 8 * MIB).map(|_| ())))
        .claim(at_most(0.5, calls("glibc")), "glibc: realloc takes at most half of get, copy, free")
        .claim(at_most(0.5, dearest), "so does its dearest step")
        .claim(at_most(8.0, faults("realloc", "glibc")), "no page is written inside glibc's realloc")
        .claim(at_least(16.0, faults("copy", "glibc")), "copying by hand faults its target in")
        .claim(at_least(16.0, faults("realloc", "mimalloc")), "mimalloc's realloc faults pages in: it copies")
        .claim(at_least(0.5, calls("mimalloc")), "mimalloc: realloc saves at most half of get, copy, free")
        .because(
            "glibc gives a large block a mapping of its own, so it can ask the kernel to enlarge that. mremap hangs the page tables into \
             another range of addresses, or only makes the range longer, and no byte is read or written.",
            shown_by(at_most(8.0, faults("realloc", "glibc"))),
        )
        .because(
            "A caller who gets, copies and frees reads every byte, writes every byte, and faults in every page of the new block; then \
             munmap gives the old pages back.",
            shown_by(at_least(16.0, faults("copy", "glibc"))),
        )
        .because(
            "The faults inside the calls tell the two apart on any machine, fast or slow.",
            shown_by(at_most(0.5, ratio(faults("realloc", "glibc"), faults("copy", "glibc")))),
        )
        .because(
            "mimalloc carves blocks out of larger mappings, which can't be moved alone, so its realloc copies.",
            shown_by(at_least(16.0, faults("realloc", "mimalloc"))),
        )
        .because(
            "A growing Vec is realloc. What was written on the way is read back in the end.",
            source("src/experiments/grown.rs"),
        )
}

/// Of the allocators, which are no contenders here. Warm cycles and repeated growths in one process: history matters, and the lab's own
/// numbers come from fresh ones.
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

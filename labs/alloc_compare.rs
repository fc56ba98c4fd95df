//! Which allocator should a service use: what does a block cost, who may free it, and what comes back?
//!
//! Run it: `cargo run --release --bin alloc_compare -- --step`
//!
//! Each allocator is called through its `GlobalAlloc`, none is the global one. jemalloc and snmalloc take part with
//! `--features allocators`: to build the first takes make and a shell, the second a C++ compiler.
use std::time::Duration;

use underhood::{
    contenders::alloc::{self, ALIGN, ALLOCATORS, Allocator, GLIBC},
    experiments::{
        burst::{self, BURST},
        cycle::tuned,
        ended::{Threads, ended},
        handed::handed,
        returned::{Keep, Load, returned},
    },
    lab::{
        Evidence, Kind, Lab, Step, at, at_least, at_most, bytes, pick,
        plan::{Mode, Plan},
        ratio,
        sample::Sample,
        shown_by, source,
    },
    machine::memory,
    measure::{cost, throughput},
};

const KIB: usize = 1 << 10;
/// What one block weighs where memory is given back, and how many there are: 64 MiB.
const BLOCK: usize = 64 * KIB;
const BLOCKS: usize = 1024;
/// Longer than mimalloc's purge delay of 1 s.
const IDLE: Duration = Duration::from_millis(1_100);
/// The size that is handed from thread to thread.
const HANDED: usize = 256;

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "alloc_compare",
        "Which allocator should a service use: what does a block cost, who may free it, and what comes back?"
    )
    .step(sizes())
    .step(in_a_crowd())
    .step(elsewhere())
    .step(threads_end())
    .step(given_back())
    .say(
        "given_back",
        "After freeing all of 64 MiB but the block that was allocated last, a process on glibc still holds {value} of it.",
        ("glibc", "all_but_last"),
        "blocks are above the mmap threshold, or the heap's top is free: then free gives the memory back",
    )
    .say(
        "given_back",
        "With one block in 16 alive, a process holds {value} of the memory after malloc_trim, and {against} after mimalloc's \
         collect.",
        ratio(pick("glibc", "one_in_16", "rss_purged_share"), pick("mimalloc", "one_in_16", "rss_purged_share")),
        "blocks are smaller than a page: then a page with one live block can't be given back by anybody",
    )
    .say(
        "elsewhere",
        "On glibc a block of 256 bytes costs {value} to get and free if another thread frees it, {against} if its own does: {ratio}.",
        ratio(("glibc", "away"), ("glibc", "home")),
        "so few blocks are under way that the thread caches hold them",
    )
    .not_said(&[
        "Which allocator is the best: that depends on sizes, on who frees, and on what memory may cost.",
        "What malloc itself costs to a ns: each call goes through a table of functions and writes two bytes, the same for all.",
        "That memory never comes back from mimalloc: its purge waits 1 s and then for the next call of the thread that owns it.",
        "How long a purge of a large heap takes: it grows with the pages; these are 64 MiB.",
    ])
    .next(&[
        "RSS stays high after a peak: leak, fragmentation or cache? (purge and look: what stays is alive or fragmented)",
        "Why does one live object keep 64 MiB? (glibc's heap ends at its top; free lowers it only if the top is free)",
        "When would you call malloc_trim from a timer, and what does it stop?",
        "What does M_ARENA_MAX=2 change? (less memory, and more waiting for the arena's lock)",
        "Why may a producer-consumer pair be slow with a fast allocator? (each free goes to another thread's heap)",
    ])
    .sources(&[
        "glibc malloc/malloc.c: tcache (TCACHE_FILL_COUNT), _int_free, systrim, mtrim",
        "mallopt(3): M_TRIM_THRESHOLD, M_ARENA_MAX; malloc_trim(3)",
        "D. Leijen, B. Zorn, L. de Moura: Mimalloc: Free List Sharding in Action, 2019",
        "mimalloc, https://microsoft.github.io/mimalloc/environment.html: MIMALLOC_PURGE_DELAY",
        "jemalloc(3): opt.dirty_decay_ms, arena.<i>.purge; src/ctl.c, arenas_lookup_ctl",
        "P. Lietar et al.: snmalloc, a message passing allocator, ISMM 2019; its src/snmalloc/pal/pal_posix.h, notify_not_using",
        "glibc malloc/arena.c: arena_get2, free_list, heap_trim",
        "Patterns after larson, xmalloc (elsewhere) and mleak (ended) in https://github.com/daanx/mimalloc-bench",
    ])
}

/// An operation is some blocks; a block is what people mean. Which thread is served is no matter here: the step says it.
fn per_block(mut sample: Sample, of: &str, blocks: usize, there: &[&'static Allocator]) -> Sample {
    if let Some(ns) = sample.values.remove(of) {
        sample.values.insert("pair_ns".into(), ns / blocks as f64);
    }
    // The A/A row is the baseline's.
    let whose = there.iter().find(|a| a.id() == sample.case).or(there.first());
    sample.doubts.extend(whose.map(|a| tuned(a)).unwrap_or_default());
    sample
}

/// The allocators that are there and what they say, and samples that tell why the others are not.
fn ready(bytes: usize, param: &str) -> (Vec<&'static Allocator>, Vec<Sample>) {
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for allocator in ALLOCATORS {
        match allocator.check(bytes, ALIGN) {
            Ok(()) => there.push(*allocator),
            Err(why) => missing.push(Sample::unmeasured(allocator.id(), param, why.to_string())),
        }
    }
    (there, missing)
}

fn sizes() -> Step {
    let faults = |case, param| pick(case, param, "faults_count");
    let dearer = ratio(("glibc", "4KiB"), ("glibc", "1KiB"));
    let sizes = [bytes("16B", 16), bytes("1KiB", KIB), bytes("4KiB", 4 * KIB), bytes("64KiB", 64 * KIB)];
    Step::new("sizes", Kind::Single, "pair_ns")
        .ask_number(
            "One thread gets 64 blocks of 1 KiB from glibc and frees them, again and again. What does one block cost, in ns, for malloc, a \
             first write and free?",
            "glibc",
            "1KiB",
        )
        .columns(&["faults_count"])
        .contenders(ALLOCATORS)
        .slice(1.0 / 3.0)
        .over(sizes, |plan, p| {
            let (there, mut samples) = ready(p.value, p.id());
            for sample in cost::solo(plan, p.id(), there.iter().map(|a| burst::solo(a, p.value))) {
                let sample = per_block(sample, "op_ns", BURST, &there);
                let own = there.iter().find(|a| a.id() == sample.case && sample.unmeasured.is_none());
                samples.push(match own.and_then(|a| burst::faults_per_block(a, p.value)) {
                    Some(faults) => sample.with("faults_count", faults),
                    None => sample,
                });
            }
            samples
        })
        .bench("{case}/16B", alloc::here(), |_, a| cost::timed(&burst::solo(a, 16)))
        .bench("{case}/1KiB", alloc::here(), |_, a| cost::timed(&burst::solo(a, KIB)))
        .bench("{case}/64KiB", alloc::here(), |_, a| cost::timed(&burst::solo(a, 64 * KIB)))
        .claim(at_most(0.01, faults("glibc", "1KiB")), "1 KiB: glibc takes no fault")
        .claim(at_least(0.25, faults("glibc", "4KiB")), "4 KiB: glibc faults for every fourth block at least")
        .claim(at_most(0.01, faults("mimalloc", "4KiB")), "4 KiB: mimalloc takes no fault")
        .claim(at_least(3.0, dearer), "4 KiB cost glibc 3 times what 1 KiB cost")
        .because(
            "Both keep free blocks by size class, and for small ones neither needs the kernel.",
            shown_by(at_most(0.01, faults("glibc", "1KiB"))),
        )
        .because(
            "glibc takes the first few of a size from its thread cache (7 up to glibc 2.41) and the rest from the arena's bins.",
            source("glibc malloc/malloc.c: tcache, TCACHE_FILL_COUNT"),
        )
        .because(
            "mimalloc takes them from a list for each page of blocks of one size.",
            source("D. Leijen, B. Zorn, L. de Moura: Mimalloc: Free List Sharding in Action, 2019"),
        )
        .because(
            "What tells them apart is the top of glibc's heap. If a free leaves more than M_TRIM_THRESHOLD (128 KiB) free there, all but \
             M_TOP_PAD (128 KiB) goes back, and the next burst faults those pages in again.",
            source("glibc malloc/malloc.c: systrim"),
        )
        .because(
            "64 blocks of 4 KiB are 256 KiB: about half of it goes back each time; 64 of 1 KiB stay.",
            shown_by(at_least(0.25, faults("glibc", "4KiB"))),
        )
        .because(
            "A live block at the top would hide it. Only fill and drain are timed.",
            source("src/experiments/burst.rs"),
        )
}

fn in_a_crowd() -> Step {
    let crowd = |case| ratio((case, "1KiB, all"), (case, "1KiB, 1 thread"));
    let large = ratio(("glibc", "64KiB, all"), ("mimalloc", "64KiB, all"));
    // Bytes, and threads if not all.
    let points = [
        at("1KiB, 1 thread", (KIB, Some(1))),
        at("1KiB, all", (KIB, None)),
        at("64KiB, 1 thread", (64 * KIB, Some(1))),
        at("64KiB, all", (64 * KIB, None)),
    ];
    Step::new("crowd", Kind::Contended, "pair_ns")
        .ask_number(
            "On every CPU a thread gets and frees blocks of its own, on glibc. What does a block of 1 KiB cost then, in ns?",
            "glibc",
            "1KiB, all",
        )
        .columns(&["min_max_share"])
        .contenders(ALLOCATORS)
        .slice(1.0 / 2.0)
        .over(points, |plan, p| {
            let (bytes, threads) = p.value;
            let plan = Plan { threads: threads.unwrap_or(plan.threads), ..plan.clone() };
            let (there, mut samples) = ready(bytes, p.id());
            let measured = throughput::crowd(&plan, p.id(), 0.0, there.iter().map(|a| burst::crowd(a, bytes)));
            samples.extend(measured.into_iter().map(|s| per_block(s, "lane_op_ns", 1, &there)));
            samples
        })
        .claim(at_most(1.3, crowd("glibc")).cores(2), "glibc, 1 KiB: at most 1.3 times as dear in a crowd")
        .claim(at_most(1.3, crowd("mimalloc")).cores(2), "mimalloc, 1 KiB: at most 1.3 times too")
        .claim(at_least(3.0, large).cores(2), "64 KiB in a crowd: glibc takes 3 times mimalloc")
        .because(
            "A modern malloc shares nothing between threads that free their own blocks.",
            shown_by(at_most(1.3, crowd("glibc")).cores(2)),
        )
        .because(
            "Each thread has its cache. Behind it glibc gives threads arenas of their own (up to 8 for each CPU), mimalloc a heap to each \
             thread.",
            source("glibc malloc/arena.c: arena_get2"),
        )
        .because(
            "What they share is the kernel: an allocator that grows and trims its heap again and again meets the process's mmap_lock.",
            shown_by(at_least(1.3, ratio(("glibc", "64KiB, all"), ("glibc", "64KiB, 1 thread"))).cores(2)),
        )
        .because(
            "The lanes here are not the main thread, so glibc serves them from mapped heaps of at most 64 MiB, not from the brk heap.",
            Evidence::None,
        )
}

fn elsewhere() -> Step {
    let away = |case| ratio((case, "away"), (case, "home"));
    let rivals = ratio(("mimalloc", "away"), ("glibc", "away"));
    Step::new("elsewhere", Kind::Contended, "pair_ns")
        .ask_number(
            "A producer gets blocks of 256 bytes, a consumer on another CPU uses and frees them. How many ns does a block cost on glibc, \
             malloc and free together?",
            "glibc",
            "away",
        )
        .columns(&["malloc_ns", "free_ns"])
        .slice(1.0 / 3.0)
        .isolated(ALLOCATORS, [at("home", false), at("away", true)], |plan, allocator, p| {
            allocator.check(HANDED, ALIGN).map_err(|e| e.to_string())?;
            let [first, second, ..] = plan.cpus[..] else {
                return Err("needs 2 CPUs: on one, the two threads take turns and never meet".into());
            };
            Ok(handed(allocator, HANDED, p.value, plan.slice, [first, second]))
        })
        .claim(at_least(1.5, away("glibc")).cores(2), "glibc: freed elsewhere, a block costs 1.5 times")
        .claim(at_least(1.5, away("mimalloc")).cores(2), "mimalloc: freed elsewhere, a block costs 1.5 times")
        .claim(at_most(1.0, rivals).cores(2), "freed elsewhere, mimalloc takes at most what glibc takes")
        .because(
            "A block belongs to the heap it came from. In glibc a free by another thread first fills that thread's cache, which never \
             mallocs here and so stays full.",
            source("glibc malloc/malloc.c: tcache, _int_free"),
        )
        .because(
            "The rest goes to the producer's arena under the arena's lock, which the producer's malloc takes too.",
            shown_by(at_least(1.5, ratio(pick("glibc", "away", "malloc_ns"), pick("glibc", "home", "malloc_ns"))).cores(2)),
        )
        .because(
            "In mimalloc it is one compare-and-swap onto a list of the block's page, which the owner takes over as a whole.",
            source("D. Leijen, B. Zorn, L. de Moura: Mimalloc: Free List Sharding in Action, 2019"),
        )
        .because(
            "The control hands the same lists through the same rings and frees at home.",
            shown_by(at_least(1.5, away("glibc")).cores(2)),
        )
}

fn threads_end() -> Step {
    let again = |case| pick(case, "at_once", "rss_again_ratio");
    let turns = ratio(("glibc", "at_once"), ("glibc", "in_turn"));
    Step::new("ended", Kind::Single, "rss_after_share")
        .ask_number(
            "Sixteen threads live at once; each gets 1 MiB in blocks of 16 KiB from glibc, hands them to the main thread and ends. That \
             frees them all. What share of the memory is still resident?",
            "glibc",
            "at_once",
        )
        .columns(&["rss_purged_share", "rss_again_ratio", "end_ns", "malloc_ns", "free_ns"])
        .isolated(ALLOCATORS, [at("in_turn", false), at("at_once", true)], |plan, allocator, p| {
            let (count, blocks) = if plan.is_smoke() { (4, 4) } else { (16, 64) };
            memory::room_for(4 * count * blocks * 16 * KIB)?;
            ended(allocator, Threads { count, blocks, bytes: 16 * KIB, at_once: p.value })
        })
        .claim(at_most(0.33, ("glibc", "at_once")), "glibc, at once: at most a third stays")
        .claim(at_least(5.0, turns), "glibc keeps 5 times as much as after threads in turn")
        .claim(at_least(0.9, ("mimalloc", "at_once")), "mimalloc, at once: nine tenths stay")
        .claim(at_least(0.9, ("jemalloc", "at_once")), "jemalloc, at once: nine tenths stay")
        .claim(at_least(0.9, ("snmalloc", "at_once")), "snmalloc, at once: nine tenths stay")
        .claim(at_most(1.2, again("glibc")), "glibc: a second generation takes 1.2 times at most")
        .claim(at_most(1.2, again("mimalloc")), "mimalloc: 1.2 times at most too")
        .because(
            "A dead thread's blocks live on, so its heap must too. glibc puts the arena on a list, from which the next new thread takes it; \
             threads in turn share one.",
            source("glibc malloc/arena.c: free_list"),
        )
        .because(
            "Threads at once get one each (up to 8 for each CPU), and the last free in each leaves M_TOP_PAD (128 KiB) at its top.",
            shown_by(at_least(5.0, turns)),
        )
        .because("mimalloc abandons the pages, and whoever frees a block of theirs takes them over.", Evidence::None)
        .because("jemalloc flushes the thread's cache into an arena that others use.", Evidence::None)
        .because("snmalloc hands the whole allocator to the next thread.", Evidence::None)
        .because("So nobody leaks, and a second generation finds the memory.", shown_by(at_most(1.2, again("mimalloc"))))
        .because(
            "But only glibc had given it back by then.",
            shown_by(at_most(0.5, ratio(("glibc", "at_once"), ("mimalloc", "at_once")))),
        )
}

fn given_back() -> Step {
    let purged = |case| pick(case, "one_in_16", "rss_purged_share");
    let idled = pick("mimalloc", "all_but_last", "rss_idle_share");
    let purge = pick("glibc", "all_but_last", "purge_ns");
    let purge = at_least(10.0, ratio(purge, pick("glibc", "all_but_last", "purge_wait_max_ns"))).cores(2);
    let keeps =
        [at("all_freed", Keep::Nothing), at("all_but_last", Keep::Last), at("one_in_16", Keep::OneIn(16))];
    Step::new("given_back", Kind::Pause, "rss_after_share")
        .ask_number(
            "A process allocates 64 MiB in blocks of 64 KiB from glibc and frees all but the last one. What share of it is still resident?",
            "glibc",
            "all_but_last",
        )
        .columns(&[
            "rss_idle_share",
            "rss_purged_share",
            "live_share",
            "purge_ns",
            "purge_wait_max_ns",
            "calm_wait_max_ns",
        ])
        .isolated(ALLOCATORS, keeps, |plan, allocator, p| {
            let (keep, count) = (p.value, if plan.is_smoke() { BLOCKS / 32 } else { BLOCKS });
            memory::room_for(2 * count * BLOCK)?;
            // A second of idling is most of what a launch takes: half of the launches are enough, a quick run does without, and glibc
            // has no timer that could do anything.
            let half = plan.launch < plan.launches.div_ceil(2) && !matches!(plan.mode, Mode::Smoke | Mode::Quick);
            let idles = half && keep == Keep::Last && allocator.as_ref() != GLIBC.as_ref();
            let cpus = if let [first, second, ..] = plan.cpus[..] { Some([first, second]) } else { None };
            returned(allocator, Load { bytes: BLOCK, count, keep, idle: idles.then_some(IDLE), cpus })
        })
        .claim(at_most(0.1, ("glibc", "all_freed")), "glibc, all freed: at most a tenth stays")
        .claim(at_least(0.9, ("glibc", "all_but_last")), "glibc, all but the last freed: nine tenths stay")
        .claim(at_most(0.15, purged("glibc")), "glibc, one in 16: malloc_trim leaves less than 0.15")
        .claim(at_least(0.9, ("mimalloc", "all_freed")), "mimalloc, all freed: nine tenths stay")
        .claim(at_least(0.9, ("jemalloc", "all_freed")), "jemalloc, all freed: nine tenths stay")
        .claim(at_least(0.9, ("snmalloc", "all_freed")), "snmalloc, all freed: nine tenths stay")
        .claim(at_least(0.9, idled), "mimalloc: idling gives nothing back")
        .claim(at_least(0.15, purged("mimalloc")), "mimalloc, one in 16: a purge leaves more than 0.15")
        .claim(at_most(0.15, purged("jemalloc")), "jemalloc, one in 16: a purge leaves less than 0.15")
        .claim(purge, "glibc's purge takes 10 times what a mapper waits")
        .because(
            "glibc's free gives memory back at one place only: the top of the heap, when what is free there exceeds a threshold of 128 KiB.",
            shown_by(at_most(0.1, ("glibc", "all_freed"))),
        )
        .because(
            "One live block at the top pins everything below it.",
            shown_by(at_least(0.9, ("glibc", "all_but_last"))),
        )
        .because(
            "malloc_trim looks through all arenas and gives back every free page in between (madvise, MADV_DONTNEED), under the arena's lock.",
            shown_by(at_most(0.15, purged("glibc"))),
        )
        .because(
            "It stops its caller and whoever needs that arena; one call of madvise is short, so others hardly wait.",
            shown_by(purge),
        )
        .because(
            "mimalloc gives nothing back at once: it purges after a delay of 1 s, at the next call of the owning thread.",
            shown_by(at_least(0.9, idled)),
        )
        .because(
            "It purges in slices that are larger than a block, so a live block keeps its neighbours.",
            shown_by(at_least(0.15, purged("mimalloc"))),
        )
        .because(
            "jemalloc lets unused pages decay within 10 s, also at the next call of a thread; told to, it gives back all of them.",
            source("jemalloc(3): opt.dirty_decay_ms, arena.<i>.purge"),
        )
        .because(
            "snmalloc keeps what it has: on Linux it tells the kernel nothing.",
            source("snmalloc, src/snmalloc/pal/pal_posix.h, notify_not_using"),
        )
        .because(
            "Freed is not fragmented: what a purge brings back was a cache; what stays beyond the live share is fragmentation.",
            source("src/experiments/returned.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

//! Which allocator should a service use: what does a block cost, who may free it, and what comes back?
//!
//! Run it: `cargo run --release --bin alloc_compare -- --step`
//!
//! Each allocator is called through its `GlobalAlloc`, and none is the program's global allocator. jemalloc and snmalloc
//! take part with `--features allocators`. To build jemalloc takes make and a shell, and snmalloc takes a C++ compiler.
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
        Kind, Lab, Step, at, at_least, at_most, bytes, pick,
        plan::{Mode, Plan},
        ratio,
        sample::Sample,
        shown_by, source,
    },
    machine::memory,
    measure::{cost, throughput},
};

const KIB: usize = 1 << 10;
/// Size and number of the blocks in step `given_back`: 64 MiB together.
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
        "A process on glibc allocates 64 MiB in blocks and frees all but the last one. It still holds {value} of the memory.",
        ("glibc", "all_but_last"),
        "blocks are above the mmap threshold, or the heap's top is free: then free gives the memory back",
    )
    .say(
        "given_back",
        "With one block in 16 alive, a process on glibc holds {value} of the memory after malloc_trim. On mimalloc it holds {against} \
         after mimalloc's collect.",
        ratio(pick("glibc", "one_in_16", "rss_purged_share"), pick("mimalloc", "one_in_16", "rss_purged_share")),
        "blocks are smaller than a page: then no allocator can give back a page with a live block",
    )
    .say(
        "elsewhere",
        "On glibc, malloc and free of a 256-byte block cost {value} if another thread frees it, and {against} if its own thread does: \
         {ratio}. Both are medians of bursts of 64.",
        ratio(("glibc", "away"), ("glibc", "home")),
        "so few blocks are in flight that the thread caches can hold them",
    )
    .not_said(&[
        "That glibc's rows hold everywhere: the rows of 4 KiB and 64 KiB need a trim threshold of 128 KiB. Freeing one large mapped \
         block moves it.",
        "Which allocator is the best: that depends on the sizes, on which thread frees, and on how much memory you can spend.",
        "What malloc itself costs to the nanosecond: each call also goes through a function table and writes two bytes, the same for \
         all allocators.",
        "That memory never comes back from mimalloc. After its delay of 1 s, certain calls and the end of a thread make it \
         purge (alloc_over_time, step idle).",
        "How long a purge of a large heap takes: it grows with the number of pages, and this heap has 64 MiB.",
    ])
    .next(&[
        "RSS (resident memory) stays high after a peak: is it a leak, fragmentation or a cache? (purge and look again: what stays is \
         alive or fragmented)",
        "Why does one live object keep 64 MiB resident? (free shrinks glibc's heap only from the top, and only if the top is free)",
        "When would you call malloc_trim from a timer, and which threads does it block?",
        "What does M_ARENA_MAX=2 change? (more threads wait for the same arena's lock; whether it saves memory depends on the load: see \
         alloc_over_time, step rounds)",
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

/// The cost of one block, from that of an operation on several blocks. It does not matter here which thread ran it.
fn per_block(mut sample: Sample, of: &str, blocks: usize, there: &[&'static Allocator]) -> Sample {
    if let Some(ns) = sample.values.remove(of) {
        sample.values.insert("pair_ns".into(), ns / blocks as f64);
    }
    // The A/A row is the baseline's.
    let whose = there.iter().find(|a| a.id() == sample.case).or(there.first());
    sample.doubts.extend(whose.map(|a| tuned(a)).unwrap_or_default());
    sample
}

/// The allocators that this build has, and for each other one a sample that says why it is missing.
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
            "One thread gets 64 blocks of 1 KiB from glibc and frees them, again and again. How many ns do malloc, a first write and \
             free of one block take together?",
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
        .claim(at_most(0.01, faults("glibc", "1KiB")), "1 KiB: glibc takes no page faults")
        .claim(
            at_least(0.25, faults("glibc", "4KiB")),
            "4 KiB: glibc takes at least one page fault for every four blocks",
        )
        .claim(at_most(0.01, faults("mimalloc", "4KiB")), "4 KiB: mimalloc takes no page faults")
        .claim(
            at_least(3.0, dearer),
            "glibc: a block of 4 KiB costs at least 3 times as much as one of 1 KiB",
        )
        .because(
            "glibc and mimalloc keep free blocks by size class. For small blocks, neither needs the kernel.",
            shown_by(at_most(0.01, faults("glibc", "1KiB"))),
        )
        .because(
            "glibc takes the first few blocks of a size from its thread cache (7 up to glibc 2.41). It takes the others from the \
             arena's bins, its lists of free blocks.",
            source("glibc malloc/malloc.c: tcache, TCACHE_FILL_COUNT"),
        )
        .because(
            "mimalloc keeps blocks of one size together in pages, and takes them from the free list of a page.",
            source("D. Leijen, B. Zorn, L. de Moura: Mimalloc: Free List Sharding in Action, 2019"),
        )
        .because(
            "The difference between 1 KiB and 4 KiB comes from the top of glibc's heap. If a free leaves more than \
             M_TRIM_THRESHOLD (128 KiB) free there, glibc gives back all but M_TOP_PAD (128 KiB). The next burst then faults \
             those pages in again.",
            source("glibc malloc/malloc.c: systrim"),
        )
        .because(
            "64 blocks of 4 KiB are 256 KiB, and about half of that goes back each time. 64 blocks of 1 KiB stay in the heap.",
            shown_by(at_least(0.25, faults("glibc", "4KiB"))),
        )
        .because(
            "A live block at the top of the heap would hide this. Only allocating and freeing the burst are timed.",
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
            "On every CPU, a thread allocates and frees blocks of its own with glibc. What does a block of 1 KiB cost, in ns?",
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
        .claim(
            at_most(1.3, crowd("glibc")).cores(2),
            "glibc, 1 KiB: a block costs at most 1.3 times as much with all threads as with one",
        )
        .claim(
            at_most(1.3, crowd("mimalloc")).cores(2),
            "mimalloc, 1 KiB: a block costs at most 1.3 times as much with all threads as with one",
        )
        .claim(
            at_least(3.0, large).cores(2),
            "64 KiB, all threads: glibc takes at least 3 times as long as mimalloc",
        )
        .because(
            "A modern malloc shares nothing between threads that free their own blocks.",
            shown_by(at_most(1.3, crowd("glibc")).cores(2)),
        )
        .because(
            "Each thread has a cache of its own. Behind the cache, glibc gives threads arenas of their own (up to 8 for each CPU), \
             and mimalloc gives each thread a heap.",
            source("glibc malloc/arena.c: arena_get2"),
        )
        .because(
            "The threads still share the kernel. An allocator that grows and trims its heap again and again contends for the \
             process's mmap_lock.",
            shown_by(at_least(1.3, ratio(("glibc", "64KiB, all"), ("glibc", "64KiB, 1 thread"))).cores(2)),
        )
        .because(
            "The measured threads are not the main thread. So glibc serves them from mapped heaps of at most 64 MiB, not from the \
             main heap (brk).",
            source("glibc malloc/arena.c: HEAP_MAX_SIZE"),
        )
}

fn elsewhere() -> Step {
    let away = |case| ratio((case, "away"), (case, "home"));
    let rivals = ratio(("mimalloc", "away"), ("glibc", "away"));
    Step::new("elsewhere", Kind::Contended, "pair_ns")
        .ask_number(
            "A producer gets blocks of 256 bytes, and a consumer on another CPU uses and frees them. How many ns does a block cost on \
             glibc, malloc and free together?",
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
        .claim(
            at_least(1.5, away("glibc")).cores(2),
            "glibc: a block that another thread frees costs at least 1.5 times as much as one that its own thread frees",
        )
        .claim(
            at_least(1.5, away("mimalloc")).cores(2),
            "mimalloc: a block that another thread frees costs at least 1.5 times as much as one that its own thread frees",
        )
        .claim(
            at_most(1.0, rivals).cores(2),
            "freed by another thread, a block costs at most as much on mimalloc as on glibc",
        )
        .because(
            "A block belongs to the heap it came from. In glibc, a free by another thread first goes into the cache of that thread. \
             Here that thread never calls malloc, so its cache stays full.",
            source("glibc malloc/malloc.c: tcache, _int_free"),
        )
        .because(
            "All further blocks go to the producer's arena, under the arena's lock. The producer's malloc takes the same lock.",
            shown_by(at_least(1.5, ratio(pick("glibc", "away", "malloc_ns"), pick("glibc", "home", "malloc_ns"))).cores(2)),
        )
        .because(
            "In mimalloc, a free by another thread is one compare-and-swap, which adds the block to a list of its page. The owner \
             later takes the whole list.",
            source("D. Leijen, B. Zorn, L. de Moura: Mimalloc: Free List Sharding in Action, 2019"),
        )
        .because(
            "In the control, the same lists go through the same rings, but the producer frees the blocks.",
            shown_by(at_least(1.5, away("glibc")).cores(2)),
        )
}

fn threads_end() -> Step {
    let again = |case| pick(case, "at_once", "rss_again_ratio");
    let turns = ratio(("glibc", "at_once"), ("glibc", "in_turn"));
    Step::new("ended", Kind::Single, "rss_after_share")
        .ask_number(
            "Sixteen threads live at once. Each gets 1 MiB in blocks of 16 KiB from glibc, hands them to the main thread and ends. \
             The main thread frees all blocks. What share of the memory is still resident?",
            "glibc",
            "at_once",
        )
        .columns(&["rss_purged_share", "rss_again_ratio", "end_ns", "malloc_ns", "free_ns"])
        .isolated(ALLOCATORS, [at("in_turn", false), at("at_once", true)], |plan, allocator, p| {
            let (count, blocks) = if plan.is_smoke() { (4, 4) } else { (16, 64) };
            memory::room_for(4 * count * blocks * 16 * KIB)?;
            ended(allocator, Threads { count, blocks, bytes: 16 * KIB, at_once: p.value })
        })
        .claim(
            at_most(0.33, ("glibc", "at_once")),
            "glibc, threads at once: at most a third of the memory stays",
        )
        .claim(
            at_least(5.0, turns),
            "glibc keeps at least 5 times as much after threads at once as after threads in turn",
        )
        .claim(at_least(0.9, ("mimalloc", "at_once")), "mimalloc, threads at once: at least nine tenths stay")
        .claim(at_least(0.9, ("jemalloc", "at_once")), "jemalloc, threads at once: at least nine tenths stay")
        .claim(at_least(0.9, ("snmalloc", "at_once")), "snmalloc, threads at once: at least nine tenths stay")
        .claim(
            at_most(1.2, again("glibc")),
            "glibc: a second generation of threads takes at most 1.2 times as much memory as the first",
        )
        .claim(
            at_most(1.2, again("mimalloc")),
            "mimalloc: a second generation of threads takes at most 1.2 times as much memory as the first",
        )
        .because(
            "When a thread ends, its blocks live on, so its heap must too. glibc puts the thread's arena on a list, and the next new \
             thread takes it from there. Threads that run in turn share one arena.",
            source("glibc malloc/arena.c: free_list"),
        )
        .because(
            "Threads that run at once get one arena each (up to 8 for each CPU). The last free in each arena leaves M_TOP_PAD (128 \
             KiB) at its top.",
            shown_by(at_least(5.0, turns)),
        )
        .because(
            "mimalloc abandons the pages of a thread that ends. Another thread takes them over when it needs pages. In version 3, a \
             free does not take them over.",
            source("mimalloc 3, src/options.c: page_reclaim_on_free = 0"),
        )
        .because(
            "jemalloc flushes the cache of an ended thread into an arena that other threads use.",
            source("jemalloc(3): opt.tcache, arenas"),
        )
        .because(
            "snmalloc hands the whole allocator of an ended thread to the next new thread.",
            source("P. Lietar et al.: snmalloc, ISMM 2019"),
        )
        .because(
            "So no allocator leaks: a second generation of threads uses the memory again.",
            shown_by(at_most(1.2, again("mimalloc"))),
        )
        .because(
            "But only glibc had given the memory back to the kernel by then.",
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
        .claim(
            at_least(0.9, ("glibc", "all_but_last")),
            "glibc, all but the last freed: at least nine tenths stay",
        )
        .claim(
            at_most(0.15, purged("glibc")),
            "glibc, one in 16 kept: malloc_trim leaves at most 0.15 of the memory",
        )
        .claim(at_least(0.9, ("mimalloc", "all_freed")), "mimalloc, all freed: at least nine tenths stay")
        .claim(at_least(0.9, ("jemalloc", "all_freed")), "jemalloc, all freed: at least nine tenths stay")
        .claim(at_least(0.9, ("snmalloc", "all_freed")), "snmalloc, all freed: at least nine tenths stay")
        .claim(at_least(0.9, idled), "mimalloc: waiting gives nothing back if no thread calls the allocator")
        .claim(
            at_least(0.15, purged("mimalloc")),
            "mimalloc, one in 16 kept: a purge leaves at least 0.15 of the memory",
        )
        .claim(
            at_most(0.15, purged("jemalloc")),
            "jemalloc, one in 16 kept: a purge leaves at most 0.15 of the memory",
        )
        .claim(
            purge,
            "glibc: a purge takes at least 10 times as long as the longest wait of a thread that maps memory beside it",
        )
        .because(
            "glibc's free gives memory back only from the top of the heap, when more than a threshold of 128 KiB is free there.",
            shown_by(at_most(0.1, ("glibc", "all_freed"))),
        )
        .because(
            "One live block at the top pins everything below it.",
            shown_by(at_least(0.9, ("glibc", "all_but_last"))),
        )
        .because(
            "malloc_trim goes through all arenas and gives back every free page between live blocks (madvise with \
             MADV_DONTNEED). While it works on an arena, it holds the lock of that arena.",
            shown_by(at_most(0.15, purged("glibc"))),
        )
        .because(
            "malloc_trim blocks its caller and every thread that needs that arena. One call of madvise is short, so other threads \
             hardly wait.",
            shown_by(purge),
        )
        .because(
            "mimalloc gives nothing back at once. It has a delay of 1 s but no timer, so waiting alone gives nothing back either. Lab \
             alloc_over_time, step idle, lists what makes it purge.",
            shown_by(at_least(0.9, idled)),
        )
        .because(
            "mimalloc purges in slices that are larger than a block, so a live block also keeps the free blocks next to it.",
            shown_by(at_least(0.15, purged("mimalloc"))),
        )
        .because(
            "jemalloc gives unused pages back within 10 s (their decay time), while threads call it. A purge on request gives back all of \
             them.",
            source("jemalloc(3): opt.dirty_decay_ms, arena.<i>.purge"),
        )
        .because(
            "snmalloc keeps its memory: on Linux it does not tell the kernel that pages are unused.",
            source("snmalloc, src/snmalloc/pal/pal_posix.h, notify_not_using"),
        )
        .because(
            "Free memory that stays resident is not always fragmentation. What a purge gives back was a cache. What stays beyond the \
             live share is fragmentation.",
            source("src/experiments/returned.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

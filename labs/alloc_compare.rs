//! Which allocator should a service use: what does a block cost, who may free it, and what comes back?
//!
//! Run it: `cargo run --release --bin alloc_compare -- --step`
//!
//! Each allocator is called through its `GlobalAlloc`, none is the global one. jemalloc and snmalloc take part with
//! `--features allocators`: to build the first takes make and a shell, the second a C++ compiler.
use std::time::Duration;

use underhood::{
    contenders::alloc::{ALIGN, ALLOCATORS, Allocator},
    experiments::{
        burst::{self, BURST},
        cycle::tuned,
        ended::{Threads, ended},
        handed::handed,
        returned::{Keep, Load, returned},
    },
    lab::{
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::{Mode, Plan},
        sample::{Sample, each},
    },
    machine::memory,
    measure::{
        cost::{self, Solo},
        throughput::{self, Crowd},
    },
};

const KIB: usize = 1 << 10;
/// What one block weighs where memory is given back, and how many there are: 64 MiB.
const BLOCK: usize = 64 * KIB;
const BLOCKS: usize = 1024;
/// Longer than mimalloc's purge delay of 1 s.
const IDLE: Duration = Duration::from_millis(1_100);
/// The size that is handed from thread to thread.
const HANDED: usize = 256;
const CASES: &[&str] = &["glibc", "mimalloc", "jemalloc", "snmalloc"];

pub(crate) static LAB: Lab = Lab {
    stem: "alloc_compare",
    question: "Which allocator should a service use: what does a block cost, who may free it, and what comes back?",
    steps: &[SIZES, CROWD, ELSEWHERE, ENDED, GIVEN_BACK],
    says: &[
        Say {
            step: "given_back",
            text: "After freeing all of 64 MiB but the block that was allocated last, a process on glibc still holds {value} of it.",
            of: glibc("all_but_last", AFTER),
            against: None,
            not_true_when: "blocks are above the mmap threshold, or the heap's top is free: then free gives the memory back",
        },
        Say {
            step: "given_back",
            text: "With one block in 16 alive, a process holds {value} of the memory after malloc_trim, and {against} after mimalloc's \
                   collect.",
            of: glibc("one_in_16", PURGED),
            against: Some(mimalloc("one_in_16", PURGED)),
            not_true_when: "blocks are smaller than a page: then a page with one live block can't be given back by anybody",
        },
        Say {
            step: "elsewhere",
            text: "On glibc a block of 256 bytes costs {value} to get and free if another thread frees it, {against} if its own does: {ratio}.",
            of: glibc("away", "pair_ns"),
            against: Some(glibc("home", "pair_ns")),
            not_true_when: "so few blocks are under way that the thread caches hold them",
        },
    ],
    not_said: &[
        "Which allocator is the best: that depends on sizes, on who frees, and on what memory may cost.",
        "What malloc itself costs to a ns: each call goes through a table of functions and writes two bytes, the same for all.",
        "That memory never comes back from mimalloc: its purge waits 1 s and then for the next call of the thread that owns it.",
        "How long a purge of a large heap takes: it grows with the pages; these are 64 MiB.",
    ],
    next: &[
        "RSS stays high after a peak: leak, fragmentation or cache? (purge and look: what stays is alive or fragmented)",
        "Why does one live object keep 64 MiB? (glibc's heap ends at its top; free lowers it only if the top is free)",
        "When would you call malloc_trim from a timer, and what does it stop?",
        "What does M_ARENA_MAX=2 change? (less memory, and more waiting for the arena's lock)",
        "Why may a producer-consumer pair be slow with a fast allocator? (each free goes to another thread's heap)",
    ],
    sources: &[
        "glibc malloc/malloc.c: tcache (TCACHE_FILL_COUNT), _int_free, systrim, mtrim",
        "mallopt(3): M_TRIM_THRESHOLD, M_ARENA_MAX; malloc_trim(3)",
        "D. Leijen, B. Zorn, L. de Moura: Mimalloc: Free List Sharding in Action, 2019",
        "mimalloc, https://microsoft.github.io/mimalloc/environment.html: MIMALLOC_PURGE_DELAY",
        "jemalloc(3): opt.dirty_decay_ms, arena.<i>.purge; src/ctl.c, arenas_lookup_ctl",
        "P. Lietar et al.: snmalloc, a message passing allocator, ISMM 2019; its src/snmalloc/pal/pal_posix.h, notify_not_using",
        "glibc malloc/arena.c: arena_get2, free_list, heap_trim",
        "Patterns after larson, xmalloc (elsewhere) and mleak (ended) in https://github.com/daanx/mimalloc-bench",
    ],
    benches,
};

const AFTER: &str = "rss_after_share";
const AGAIN: &str = "rss_again_ratio";
const PURGED: &str = "rss_purged_share";
const IDLED: &str = "rss_idle_share";

const fn glibc(param: &'static str, value: &'static str) -> Pick {
    pick("glibc", param, value)
}

const fn mimalloc(param: &'static str, value: &'static str) -> Pick {
    pick("mimalloc", param, value)
}

const GLIBC_4: Pick = glibc("4KiB", PAIR);
const GLIBC_1: Pick = glibc("1KiB", PAIR);
const GLIBC_CROWD: Pick = glibc("1KiB, all", PAIR);
const GLIBC_ALONE: Pick = glibc("1KiB, 1 thread", PAIR);
const MI_CROWD: Pick = mimalloc("1KiB, all", PAIR);
const MI_ALONE: Pick = mimalloc("1KiB, 1 thread", PAIR);
const GLIBC_64: Pick = glibc("64KiB, all", PAIR);
const MI_64: Pick = mimalloc("64KiB, all", PAIR);
const GLIBC_AWAY: Pick = glibc("away", PAIR);
const GLIBC_HOME: Pick = glibc("home", PAIR);
const MI_AWAY: Pick = mimalloc("away", PAIR);
const MI_HOME: Pick = mimalloc("home", PAIR);
const AT_ONCE: Pick = glibc("at_once", AFTER);
const IN_TURN: Pick = glibc("in_turn", AFTER);
const PURGE: Pick = glibc("all_but_last", "purge_ns");
const PURGE_WAIT: Pick = glibc("all_but_last", "purge_wait_max_ns");

/// A claim about one number.
const fn one(text: &'static str, of: Pick, expect: Expect) -> Claim {
    Claim { text, of, against: None, expect, cores: 1 }
}

/// A claim about a ratio.
const fn two(cores: usize, text: &'static str, of: Pick, against: Pick, expect: Expect) -> Claim {
    Claim { text, of, against: Some(against), expect, cores }
}

const SIZES: Step = Step {
    name: "sizes",
    ask: "One thread gets 64 blocks of 1 KiB from glibc and frees them, again and again. What does one block cost, in ns, for malloc, a \
          first write and free?",
    predict: Predict::Number { case: "glibc", param: "1KiB" },
    kind: Kind::Single,
    cases: CASES,
    params: &["16B", "1KiB", "4KiB", "64KiB"],
    launch: Launch::Together,
    measure: sizes,
    headline: "pair_ns",
    columns: &[FAULTS],
    claims: &[
        one("1 KiB: glibc takes no fault", glibc("1KiB", FAULTS), AtMost(0.01)),
        one("4 KiB: glibc faults for every fourth block at least", glibc("4KiB", FAULTS), AtLeast(0.25)),
        one("4 KiB: mimalloc takes no fault", mimalloc("4KiB", FAULTS), AtMost(0.01)),
        two(1, "4 KiB cost glibc 3 times what 1 KiB cost", GLIBC_4, GLIBC_1, AtLeast(3.0)),
    ],
    because: "Both keep free blocks by size class, and for small ones neither needs the kernel: glibc takes the first few of a size from its \
              thread cache (7 up to glibc 2.41) and the rest from the arena's bins, mimalloc from a list for each page of blocks of one \
              size. What tells them apart is the top of glibc's heap: if a free leaves more than M_TRIM_THRESHOLD (128 KiB) free \
              there, all but M_TOP_PAD (128 KiB) goes back, and the next burst faults those pages in again. 64 blocks of 4 KiB are 256 KiB: \
              about half of it goes back each time; 64 of 1 KiB stay. A live block at the top would hide it. Open src/experiments/burst.rs: fill and drain are timed.",
    tour: false,
};

const PAIR: &str = "pair_ns";
const FAULTS: &str = "faults_count";

const CROWD: Step = Step {
    name: "crowd",
    ask: "On every CPU a thread gets and frees blocks of its own, on glibc. What does a block of 1 KiB cost then, in ns?",
    predict: Predict::Number { case: "glibc", param: "1KiB, all" },
    kind: Kind::Contended,
    cases: CASES,
    params: &["1KiB, 1 thread", "1KiB, all", "64KiB, 1 thread", "64KiB, all"],
    launch: Launch::Together,
    measure: in_a_crowd,
    headline: "pair_ns",
    columns: &["min_max_share"],
    claims: &[
        two(2, "glibc, 1 KiB: at most 1.3 times as dear in a crowd", GLIBC_CROWD, GLIBC_ALONE, AtMost(1.3)),
        two(2, "mimalloc, 1 KiB: at most 1.3 times too", MI_CROWD, MI_ALONE, AtMost(1.3)),
        two(2, "64 KiB in a crowd: glibc takes 3 times mimalloc", GLIBC_64, MI_64, AtLeast(3.0)),
    ],
    because: "A modern malloc shares nothing between threads that free their own blocks: each thread has its cache, and behind it glibc \
              gives threads arenas of their own (up to 8 for each CPU), mimalloc a heap to each thread. What they share is the kernel: \
              an allocator that grows and trims its heap again and again meets the process's mmap_lock. The lanes here are not the main \
              thread, so glibc serves them from mapped heaps of at most 64 MiB, not from the brk heap.",
    tour: false,
};

const ELSEWHERE: Step = Step {
    name: "elsewhere",
    ask: "A producer gets blocks of 256 bytes, a consumer on another CPU uses and frees them. How many ns does a block cost on glibc, \
          malloc and free together?",
    predict: Predict::Number { case: "glibc", param: "away" },
    kind: Kind::Contended,
    cases: CASES,
    params: &["home", "away"],
    launch: Launch::Isolated,
    measure: elsewhere,
    headline: "pair_ns",
    columns: &["malloc_ns", "free_ns"],
    claims: &[
        two(2, "glibc: freed elsewhere, a block costs 1.5 times", GLIBC_AWAY, GLIBC_HOME, AtLeast(1.5)),
        two(2, "mimalloc: freed elsewhere, a block costs 1.5 times", MI_AWAY, MI_HOME, AtLeast(1.5)),
        two(2, "freed elsewhere, mimalloc takes at most what glibc takes", MI_AWAY, GLIBC_AWAY, AtMost(1.0)),
    ],
    because: "A block belongs to the heap it came from. In glibc a free by another thread first fills that thread's cache, which never \
              mallocs here and so stays full; the rest goes to the producer's arena under the arena's lock, which the producer's malloc \
              takes too. In mimalloc it is one compare-and-swap onto a list of the block's page, which the owner takes over as a whole. \
              The control hands the same lists through the same rings and frees at home. Open src/experiments/handed.rs.",
    tour: false,
};

const ENDED: Step = Step {
    name: "ended",
    ask: "Sixteen threads live at once; each gets 1 MiB in blocks of 16 KiB from glibc, hands them to the main thread and ends. That \
          frees them all. What share of the memory is still resident?",
    predict: Predict::Number { case: "glibc", param: "at_once" },
    kind: Kind::Single,
    cases: CASES,
    params: &["in_turn", "at_once"],
    launch: Launch::Isolated,
    measure: threads_end,
    headline: AFTER,
    columns: &[PURGED, AGAIN, "end_ns", "malloc_ns", "free_ns"],
    claims: &[
        one("glibc, at once: at most a third stays", glibc("at_once", AFTER), AtMost(0.33)),
        two(1, "glibc keeps 5 times as much as after threads in turn", AT_ONCE, IN_TURN, AtLeast(5.0)),
        one("mimalloc, at once: nine tenths stay", mimalloc("at_once", AFTER), AtLeast(0.9)),
        one("jemalloc, at once: nine tenths stay", pick("jemalloc", "at_once", AFTER), AtLeast(0.9)),
        one("snmalloc, at once: nine tenths stay", pick("snmalloc", "at_once", AFTER), AtLeast(0.9)),
        one("glibc: a second generation takes 1.2 times at most", glibc("at_once", AGAIN), AtMost(1.2)),
        one("mimalloc: 1.2 times at most too", mimalloc("at_once", AGAIN), AtMost(1.2)),
    ],
    because: "A dead thread's blocks live on, so its heap must too. glibc puts the arena on a list, from which the next new thread takes \
              it; threads in turn share one. Threads at once get one each (up to 8 for each CPU), and the last free in each leaves \
              M_TOP_PAD (128 KiB) at its top. mimalloc abandons the pages, and whoever frees a block of theirs takes them over; \
              jemalloc flushes the thread's cache into an arena that others use; snmalloc hands the whole allocator to the next \
              thread. So nobody leaks, and a second generation finds the memory; but only glibc had given it back by then. Open \
              src/experiments/ended.rs.",
    tour: false,
};

const GIVEN_BACK: Step = Step {
    name: "given_back",
    ask: "A process allocates 64 MiB in blocks of 64 KiB from glibc and frees all but the last one. What share of it is still resident?",
    predict: Predict::Number { case: "glibc", param: "all_but_last" },
    kind: Kind::Pause,
    cases: CASES,
    params: &["all_freed", "all_but_last", "one_in_16"],
    launch: Launch::Isolated,
    measure: given_back,
    headline: AFTER,
    columns: &[IDLED, PURGED, "live_share", "purge_ns", "purge_wait_max_ns", "calm_wait_max_ns"],
    claims: &[
        one("glibc, all freed: at most a tenth stays", glibc("all_freed", AFTER), AtMost(0.1)),
        one("glibc, all but the last freed: nine tenths stay", glibc("all_but_last", AFTER), AtLeast(0.9)),
        one("glibc, one in 16: malloc_trim leaves less than 0.15", glibc("one_in_16", PURGED), AtMost(0.15)),
        one("mimalloc, all freed: nine tenths stay", mimalloc("all_freed", AFTER), AtLeast(0.9)),
        one("jemalloc, all freed: nine tenths stay", pick("jemalloc", "all_freed", AFTER), AtLeast(0.9)),
        one("snmalloc, all freed: nine tenths stay", pick("snmalloc", "all_freed", AFTER), AtLeast(0.9)),
        one("mimalloc: idling gives nothing back", mimalloc("all_but_last", IDLED), AtLeast(0.9)),
        one(
            "mimalloc, one in 16: a purge leaves more than 0.15",
            mimalloc("one_in_16", PURGED),
            AtLeast(0.15),
        ),
        one(
            "jemalloc, one in 16: a purge leaves less than 0.15",
            pick("jemalloc", "one_in_16", PURGED),
            AtMost(0.15),
        ),
        two(2, "glibc's purge takes 10 times what a mapper waits", PURGE, PURGE_WAIT, AtLeast(10.0)),
    ],
    because: "glibc's free gives memory back at one place only: the top of the heap, when what is free there exceeds a threshold of 128 \
              KiB. One live block at the top pins everything below it. malloc_trim looks through all arenas and gives back every free \
              page in between (madvise, MADV_DONTNEED), under the arena's lock: it stops its caller and who needs \
              that arena; one call of madvise is short, so others hardly wait. mimalloc gives nothing back at once: it purges after a \
              delay of 1 s, at the next call of the owning thread, and in slices that are larger than a block, so a live block keeps \
              its neighbours. jemalloc lets unused pages decay within 10 s, also at the next call of a thread; told to, it gives back all \
              of them. snmalloc keeps what it has: on Linux it tells the kernel nothing (pal_posix.h, notify_not_using). Freed is not fragmented: what a purge brings back was a cache; what stays beyond the live share is \
              fragmentation. Open src/experiments/returned.rs.",
    tour: false,
};

/// The allocator, if it exists here and is what it says.
fn ready(case: &str, bytes: usize) -> Result<&'static Allocator, String> {
    let allocator = Allocator::find(case)?;
    allocator.check(bytes, ALIGN).map_err(|e| e.to_string())?;
    Ok(allocator)
}

fn bytes_of(param: &str) -> usize {
    let size = param.split(',').next().unwrap_or(param);
    let (number, unit) = size.split_at(size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len()));
    number.parse::<usize>().unwrap_or(0) * if unit == "KiB" { KIB } else { 1 }
}

/// An operation is some blocks; a block is what people mean. Which thread is served is no matter here: the step says it.
fn per_block(mut sample: Sample, of: &str, blocks: usize) -> Sample {
    if let Some(ns) = sample.values.remove(of) {
        sample.values.insert("pair_ns".into(), ns / blocks as f64);
    }
    // The A/A row is the baseline's.
    sample
        .doubts
        .extend(Allocator::named(&sample.case).or(ALLOCATORS.first()).map(tuned).unwrap_or_default());
    sample
}

/// The cases that are there, and samples that say why the others are not.
fn split(cases: &[&str], param: &str) -> (Vec<&'static Allocator>, Vec<Sample>) {
    let tried: Vec<_> = cases.iter().map(|case| (case, ready(case, bytes_of(param)))).collect();
    let there = tried.iter().filter_map(|(_, a)| a.as_ref().ok().copied()).collect();
    let missing =
        tried.iter().filter_map(|(case, a)| Some(Sample::unmeasured(case, param, a.as_ref().err()?)));
    (there, missing.collect())
}

fn sizes(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 3, ..plan.clone() };
    let one = |param: &&str| {
        let bytes = bytes_of(param);
        let (there, mut samples) = split(cases, param);
        let arms: Vec<Solo> =
            there.iter().map(|a| Solo { case: a.name, make: burst::maker(a, bytes) }).collect();
        for sample in cost::solo(&plan, param, &arms) {
            let mut sample = per_block(sample, "op_ns", BURST);
            let own = there.iter().find(|a| a.name == sample.case && sample.unmeasured.is_none());
            if let Some(faults) = own.and_then(|a| burst::faults_per_block(a, bytes)) {
                sample = sample.with("faults_count", faults);
            }
            samples.push(sample);
        }
        samples
    };
    params.iter().flat_map(one).collect()
}

fn in_a_crowd(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let one = |param: &&str| {
        let bytes = bytes_of(param);
        let threads = if param.ends_with("1 thread") { 1 } else { plan.threads };
        let plan = Plan { threads, slice: plan.slice / 2, ..plan.clone() };
        let (there, mut samples) = split(cases, param);
        let arms: Vec<Crowd> = there.iter().map(|a| burst::crowd(a, bytes)).collect();
        let measured = throughput::crowd(&plan, param, 0.0, &arms);
        samples.extend(measured.into_iter().map(|s| per_block(s, "lane_op_ns", 1)));
        samples
    };
    params.iter().flat_map(one).collect()
}

fn elsewhere(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let allocator = ready(case, HANDED)?;
        let [first, second, ..] = plan.cpus[..] else {
            return Err("needs 2 CPUs: on one, the two threads take turns and never meet".into());
        };
        Ok(handed(allocator, HANDED, param == "away", param, plan.slice / 3, [first, second]))
    })
}

fn threads_end(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let (count, blocks) = if plan.is_smoke() { (4, 4) } else { (16, 64) };
    each(cases, params, |case, param| {
        memory::Room::now()
            .refusal((4 * count * blocks * 16 * KIB + (64 << 20)) as u64)
            .map_or(Ok(()), Err)?;
        let threads = Threads { count, blocks, bytes: 16 * KIB, at_once: param == "at_once" };
        ended(Allocator::find(case)?, param, threads)
    })
}

fn given_back(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let count = if plan.is_smoke() { BLOCKS / 32 } else { BLOCKS };
        let need = (2 * count * BLOCK + (64 << 20)) as u64;
        memory::Room::now().refusal(need).map_or(Ok(()), Err)?;
        let keep = match param {
            "all_freed" => Keep::Nothing,
            "all_but_last" => Keep::Last,
            _ => Keep::OneIn(16),
        };
        // A second of idling is most of what a launch takes: half of the launches are enough, a quick run does without, and glibc
        // has no timer that could do anything.
        let half = plan.launch < plan.launches.div_ceil(2) && !matches!(plan.mode, Mode::Smoke | Mode::Quick);
        let idles = half && keep == Keep::Last && case != "glibc";
        let cpus = if let [first, second, ..] = plan.cpus[..] { Some([first, second]) } else { None };
        let allocator = Allocator::find(case)?;
        let load = Load { bytes: BLOCK, count, keep, idle: idles.then_some(IDLE), cpus };
        returned(allocator, param, load)
    })
}

fn benches(_: &Plan) -> Vec<Bench> {
    let there = CASES.iter().filter_map(|case| Allocator::named(case));
    let pairs = there.flat_map(|a| ["16B", "1KiB", "64KiB"].map(|size| (a, size)));
    let bench = |(allocator, size): (&'static Allocator, &str)| {
        let make = burst::maker(allocator, bytes_of(size));
        Bench { id: format!("{}/{size}", allocator.name), make: Box::new(move || cost::timed(make)) }
    };
    pairs.map(bench).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

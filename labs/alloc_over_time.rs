//! Is it a leak, fragmentation, or a purge that nobody triggers?
//!
//! Run it: `cargo run --release --bin alloc_over_time -- --step`
use std::time::Duration;

use underhood::{
    experiments::over_time::{
        JE, JE_NO_DECAY, MI, PLAIN, Rounds, SN, Served, Survivors, TRIMMED, TWO_ARENAS, idle, next_burst,
        rounds, sources,
    },
    lab::{
        Contender, Kind, Lab, Setting, Step, at, at_least, at_most, between, pick,
        plan::{Mode, Plan},
        ratio, shown_by, source,
    },
    machine::memory,
};

/// Longer than mimalloc's purge delay of 1 s.
const IDLE: Duration = Duration::from_millis(1_200);
/// For glibc, which does nothing by time.
const SHORT_IDLE: Duration = Duration::from_millis(100);
/// In a full run: longer than jemalloc's decay of 10 s.
const LONG_IDLE: Duration = Duration::from_secs(11);
const MIB: usize = 1 << 20;

pub(crate) fn lab() -> Lab {
    underhood::lab!("alloc_over_time", "Is it a leak, fragmentation, or a purge that nobody triggers?")
        .step(after_rounds())
        .step(idles())
        .step(burst())
        .step(which())
        .say(
            "rounds",
            "In twelve rounds, the block sizes grow, and one block in 64 survives. A process on glibc keeps its whole peak resident: \
             {value} the live bytes (the peak is 16 times the live bytes). After a purge it holds {against}.",
            ratio(
                pick("glibc", "freed_elsewhere", "rss_per_live_ratio"),
                pick("glibc", "freed_elsewhere", "purged_per_live_ratio"),
            ),
            "nothing of a round survives: then free gives back about 60 % of the peak, and the rest stays until malloc_trim",
        )
        .say(
            "idle",
            "All blocks of the rounds were freed, and 1.2 s later a process on mimalloc still holds {value} of its peak. After a new \
             thread got one small block and ended, the process holds {against}.",
            ratio("mimalloc", pick("mimalloc", "", "rss_thread_end_share")),
            "a thread fills or empties a page, or ends",
        )
        .say(
            "which",
            "In one process, every second block leaks. In another, one small block in 16 survives for a while between free \
             ones. By glibc's own count, {value} and {against} of the resident memory are given out. A purge gives back nothing \
             in either case. At a single moment, the count tells them apart. Over time, only the leak grows.",
            ratio("leak", "fragmented"),
            "the leak is small beside the free memory that the process keeps",
        )
        .not_said(&[
            "That your process is fragmented: what lies between survivors depends on your block sizes and on how long the blocks live.",
            "That fewer arenas always save memory: here all threads reach their peak at the same time.",
            "What happens after hours: these are twelve rounds, with the same live bytes after each.",
            "What a background thread of jemalloc gives back: this build has none. The row with a decay of 0 s gives back at once.",
            "How long a purge of a large heap takes: here each thread has only some MiB.",
        ])
        .next(&[
            "RSS (resident memory) grows for hours: which two numbers do you look at first? (the bytes that the allocator has given \
             out, and RSS, both over time)",
            "The allocator's count of given-out bytes stays the same and RSS grows: what is it? (fragmentation, or another allocator \
             in the process)",
            "Why may malloc_trim free a lot in one service and nothing in another? (it gives back whole pages only)",
            "Who should trim, and when? (a timer, after a peak: the next burst pays with page faults)",
            "What does a heap profiler miss here? (it sees the blocks that are given out, not the free memory that is kept)",
        ])
        .sources(&[
            "glibc malloc/malloc.c: mtrim, systrim, __libc_mallinfo2; malloc/arena.c: arena_get2, heap_trim",
            "mallopt(3): M_ARENA_MAX; malloc_trim(3); malloc_info(3)",
            "mimalloc 3.3, src/arena.c: mi_arenas_try_purge; src/page.c: generic_collect; src/theap.c: mi_theap_collect_ex",
            "jemalloc(3): opt.dirty_decay_ms, opt.background_thread",
            "https://github.com/holon-run/holon/issues/2931, https://github.com/pgdogdev/pgdog/issues/1230: services whose memory did not come back",
        ])
}

/// Four MiB for each thread and round, in blocks from 256 B to 6 KiB; one in 64 survives four rounds.
fn usual(plan: &Plan, survivors: Survivors) -> Result<Rounds, String> {
    let load = Rounds {
        // With fewer threads, a limit of two arenas would limit nothing.
        threads: plan.threads.clamp(4, 64),
        rounds: if plan.is_smoke() { 5 } else { 12 },
        bytes: if plan.is_smoke() { MIB / 16 } else { 4 * MIB },
        least: 256,
        drift: 1.25,
        one_in: 64,
        lives: 4,
        survivors,
        seed: plan.seed,
    };
    memory::room_for(load.round_bytes() * (load.lives + 2))?;
    Ok(load)
}

fn after_rounds() -> Step {
    const SERVED: &[Setting<Served>] = &[PLAIN, TWO_ARENAS, TRIMMED, MI, JE, JE_NO_DECAY, SN];
    let points = [
        at("freed_elsewhere", Survivors::FreedElsewhere),
        at("freed_at_home", Survivors::FreedAtHome),
        at("apart", Survivors::Apart),
    ];
    let elsewhere = |case, value| pick(case, "freed_elsewhere", value);
    let beside_apart = |case, value| ratio(pick(case, "freed_elsewhere", value), pick(case, "apart", value));
    let purged = "purged_per_live_ratio";
    Step::new("rounds", Kind::Count, "rss_per_live_ratio")
        .ask_number(
            "In every round, each thread allocates 4 MiB and frees it, but one block in 64 survives four rounds. On glibc, how many \
             times the live bytes are resident after twelve rounds?",
            "glibc",
            "freed_elsewhere",
        )
        .columns(&["rss_early_ratio", "full_growth_ratio", purged, "live_bytes", "arenas_count"])
        .isolated(SERVED, points, |plan, served, p| rounds(served.value, usual(plan, p.value)?))
        .claim(
            at_least(4.0, elsewhere("glibc", "rss_per_live_ratio")),
            "glibc: at least 4 times the live bytes are resident",
        )
        .claim(
            at_most(1.5, elsewhere("glibc", "full_growth_ratio")),
            "glibc: the last peak is at most 1.5 times an early one, so nothing leaks",
        )
        .claim(
            at_most(0.5, ratio(elsewhere("glibc_trimmed", "rss_per_live_ratio"), elsewhere("glibc", "rss_per_live_ratio"))),
            "glibc: with a trim after each round, at most half as much is resident",
        )
        .claim(
            at_least(1.5, beside_apart("mimalloc", purged)),
            "mimalloc: after a purge, survivors between freed blocks keep at least 1.5 times as much resident as the same bytes \
             allocated at the start",
        )
        .because(
            "Free memory between two live blocks stays resident. glibc's free gives back only free memory at the top of a heap, \
             and survivors lie everywhere, also near the top.",
            shown_by(at_least(2.0, beside_apart("glibc", "rss_per_live_ratio"))),
        )
        .because(
            "malloc_trim gives back whole free pages between the survivors. After it, more than the live bytes is still \
             resident. About half of the excess is also there without survivors, probably in the threads' caches. The other half \
             is free memory in the survivors' pages.",
            shown_by(at_least(1.2, beside_apart("glibc", purged))),
        )
        .because(
            "mimalloc keeps blocks of one size together in pages of 64 KiB and more, and gives back only whole pages. So one survivor \
             keeps its whole page resident.",
            shown_by(at_least(1.5, beside_apart("mimalloc", purged))),
        )
        .because(
            "A free by another thread is not the reason on glibc: the block goes back to the arena it came from.",
            shown_by(between(
                0.67,
                1.5,
                ratio(elsewhere("glibc", "rss_per_live_ratio"), pick("glibc", "freed_at_home", "rss_per_live_ratio")),
            )),
        )
        .because(
            "glibc obeys a limit of two arenas.",
            shown_by(at_most(2.0, elsewhere("glibc_two_arenas", "arenas_count"))),
        )
        .because(
            "Such a limit saves memory if arenas are full at different times, since each arena keeps its own free memory.",
            source("glibc malloc/arena.c: arena_get2; mallopt(3): M_ARENA_MAX"),
        )
}

fn idles() -> Step {
    const SERVED: &[Setting<Served>] = &[PLAIN, MI, JE, JE_NO_DECAY, SN];
    let of = |case, value| pick(case, "", value);
    Step::new("idle", Kind::Count, "rss_idle_share")
        .ask_number(
            "A process on mimalloc runs twelve rounds and frees every block of the last one. Then its threads sleep for 1.2 s. What \
             share of the peak is still resident?",
            "mimalloc",
            "apart",
        )
        .columns(&[
            "rss_after_share",
            "rss_trickle_share",
            "rss_thread_end_share",
            "rss_purged_share",
            "rss_all_purged_share",
        ])
        .isolated(SERVED, [at("apart", Survivors::Apart)], |plan, served, p| {
            let wait = match plan.mode {
                Mode::Smoke => Duration::from_millis(1),
                // glibc has neither a timer nor a clock: its source says so.
                _ if served.is == PLAIN.is => SHORT_IDLE,
                Mode::Full if plan.launch < 2 => LONG_IDLE,
                _ => IDLE,
            };
            idle(served.value, usual(plan, p.value)?, wait)
        })
        .claim(
            at_most(0.8, of("glibc", "rss_after_share")),
            "glibc: the frees give back at least a fifth of the peak",
        )
        .claim(
            at_least(0.6, of("mimalloc", "rss_after_share")),
            "mimalloc: right after the frees, at least 0.6 of the peak stays",
        )
        .claim(
            at_least(0.6, ("mimalloc", "")),
            "mimalloc: sleeping gives nothing back, since no thread checks the clock",
        )
        .claim(
            at_least(0.6, of("mimalloc", "rss_trickle_share")),
            "mimalloc: 200 calls of each thread that reuse one small block give nothing back either",
        )
        .claim(
            at_most(0.5, of("mimalloc", "rss_thread_end_share")),
            "mimalloc: after a thread got one small block and ended, at most half stays",
        )
        .because(
            "mimalloc runs no timer. Its delay only sets the earliest time at which a check may purge.",
            shown_by(at_least(0.6, ("mimalloc", ""))),
        )
        .because(
            "mimalloc checks when a page becomes full or is freed, after 10,000 calls that missed the fast path, when a thread ends, \
             and on request. These 200 calls use the same block again and again, so they trigger no check.",
            source("mimalloc 3.3, src/page.c: generic_collect; src/theap.c: mi_theap_collect_ex"),
        )
        .because(
            "A new thread that gets one small block and ends triggers a check, and mimalloc does the purge that was due. So the \
             memory was a cache, not a leak.",
            shown_by(at_most(0.5, of("mimalloc", "rss_thread_end_share"))),
        )
        .because(
            "jemalloc checks its clock when a thread calls it, or in a background thread. With a decay of 0 it gives memory back at \
             once.",
            source("jemalloc(3): opt.dirty_decay_ms, opt.background_thread"),
        )
        .because(
            "In glibc the frees themselves give memory back, as far as the top of each heap is free. A block in a thread's \
             cache counts as used.",
            shown_by(at_most(0.8, of("glibc", "rss_after_share"))),
        )
        .because(
            "glibc has no delay, and its code reads no clock. So for glibc this step waits only 0.1 s.",
            source("glibc malloc/malloc.c: systrim; malloc/arena.c: heap_trim"),
        )
}

fn burst() -> Step {
    const SERVED: &[Setting<Served>] = &[PLAIN, TWO_ARENAS, MI, JE, JE_NO_DECAY, SN];
    let faults = |case, param| pick(case, param, "faults_per_page_count");
    Step::new("next_burst", Kind::Single, "block_ns")
        .ask_number(
            "malloc_trim gave all free memory back to the kernel. Then the next burst comes. How many ns of CPU time does a block of \
             some KiB take on glibc, with its first writes?",
            "glibc",
            "purged",
        )
        .columns(&["faults_per_page_count"])
        .isolated(SERVED, [at("kept", false), at("purged", true)], |plan, served, p| {
            next_burst(served.value, usual(plan, Survivors::FreedElsewhere)?, p.value)
        })
        .claim(
            at_least(1.2, ratio(("glibc", "purged"), ("glibc", "kept"))),
            "glibc: after a purge, a block costs at least 1.2 times as much as without one",
        )
        .claim(
            at_least(0.5, faults("glibc", "purged")),
            "glibc: after a purge, there is at least one page fault for every two pages",
        )
        .because(
            "What was given back must be faulted in again, page by page.",
            shown_by(at_least(2.0, ratio(faults("glibc", "purged"), faults("glibc", "kept")))),
        )
        .because(
            "The kernel clears each page before it gives it out.",
            source("Linux, mm/memory.c: do_anonymous_page"),
        )
}

/// What holds the memory, and which allocator serves it.
#[derive(Clone, Copy, Debug)]
struct Planted {
    served: Served,
    load: Rounds,
}

/// The settings that all rows share; each row changes those that it is about.
const LOAD: Rounds = Rounds {
    threads: 4,
    rounds: 8,
    bytes: 2 * MIB,
    least: 1024,
    drift: 1.0,
    one_in: 1024,
    lives: 4,
    survivors: Survivors::FreedElsewhere,
    seed: 1,
};
const LEAK: Rounds = Rounds { one_in: 2, survivors: Survivors::Leaked, ..LOAD };

const fn planted(
    id: &'static str,
    name: &'static str,
    served: Setting<Served>,
    load: Rounds,
) -> Setting<Planted> {
    Setting { is: Contender::new(id).called(name), value: Planted { served: served.value, load } }
}

fn which() -> Step {
    const ROWS: &[Setting<Planted>] = &[
        planted("leak", "a leak", PLAIN, LEAK),
        planted("fragmented", "fragmentation", PLAIN, Rounds { least: 128, one_in: 16, ..LOAD }),
        planted("cached", "free memory that is kept", PLAIN, LOAD),
        planted("other_allocator", "a leak in another allocator", MI, LEAK),
    ];
    let of = |case, value| pick(case, "", value);
    let (purged, growth) = ("rss_purged_share", "rss_growth_ratio");
    Step::new("which", Kind::Count, "given_out_share")
        .ask_number(
            "One small block in 16 survives for a while, so every page has a survivor. By its own count (mallinfo2), what share of \
             the resident memory has glibc given out?",
            "fragmented",
            "",
        )
        .columns(&["live_share", purged, growth, "rss_bytes"])
        .isolated(ROWS, underhood::lab::ONCE, |plan, row, _| {
            let Planted { served, load } = row.value;
            let load = Rounds { bytes: if plan.is_smoke() { MIB / 16 } else { load.bytes }, ..load };
            memory::room_for(load.round_bytes() * (load.rounds + 2))?;
            sources(served, load)
        })
        .claim(at_least(0.6, of("leak", "")), "leak: glibc has given out at least 0.6 of the resident memory")
        .claim(
            at_most(0.4, of("fragmented", "")),
            "fragmentation: glibc has given out at most 0.4 of the resident memory",
        )
        .claim(
            at_most(0.2, of("cached", "")),
            "kept memory: glibc has given out at most 0.2 of the resident memory",
        )
        .claim(
            at_most(0.1, of("other_allocator", "")),
            "leak in mimalloc: glibc's count says at most 0.1, since it does not include other allocators",
        )
        .because(
            "A leak grows: more memory is resident after eight rounds than after four. Fragmentation stays the same.",
            shown_by(at_least(1.3, ratio(of("leak", growth), of("fragmented", growth)))),
        )
        .because(
            "A purge shows whether the memory is a cache: memory that was only kept goes back to the kernel.",
            shown_by(at_most(0.5, of("cached", purged))),
        )
        .because(
            "A purge gives back nothing of a leak.",
            shown_by(at_least(0.6, of("leak", purged))),
        )
        .because(
            "A purge does not cure fragmentation if each page has a live block.",
            shown_by(at_least(0.6, of("fragmented", purged))),
        )
        .because(
            "glibc counts all of its arenas. It does not count what the program mapped itself or what another allocator took. Only \
             the kernel's count includes everything.",
            source("glibc malloc/malloc.c: __libc_mallinfo2; Linux, Documentation/filesystems/proc.rst: smaps_rollup"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

//! What does .NET make of a container's memory limit and CPU quota?
//!
//! Run it: `cargo run --release --bin dotnet_container -- --step` (where .NET is installed; elsewhere it says how to get it)
//!
//! The real runtime in a control group of our own (`src/experiments/dotnet/Box.cs`). Without the rights to make one, the rows with a limit
//! say so.
use std::path::Path;

use underhood::{
    experiments::dotnet::{self, Knob, NEWER, Told},
    lab::{
        Kind, Lab, ONCE, Setting, Step, at_least, at_most, between, exactly, pick, ratio, sample::Sample,
        setting, shown_by, source,
    },
    machine::{
        group::{self, Bound},
        memory,
    },
    measure::{latency::with_known, limited},
};

const MIB: u64 = 1 << 20;
const LIMIT: Bound = Bound::Memory { bytes: 200 * MIB };
const SERVER: Knob = ("gcServer", "1");

pub(crate) fn lab() -> Lab {
    underhood::lab!("dotnet_container", "What does .NET make of a container's memory limit and CPU quota?")
        .runs_on(dotnet::version)
        .step(memories())
        .step(quotas())
        .step(busy())
        .step(idle())
        .say(
            "memory",
            "In a container with a limit of 200 MiB, .NET's heap may take {value} of it.",
            pick("limit", "", "available_share"),
            "GCHeapHardLimit or GCHeapHardLimitPercent is set",
        )
        .say(
            "memory",
            "A program that needs more than its heap may take gets an OutOfMemoryException when it holds {value}. It is not killed.",
            pick("limit", "", "held_bytes"),
            "memory outside of the managed heap takes up the rest: then the kernel kills the process (exit code 137)",
        )
        .say(
            "cpus",
            "With a quota of half a CPU, .NET sees {value} CPU, and does not use the server collector even if it is asked to.",
            pick("0.5cpu", "", "cpus_count"),
            "DOTNET_PROCESSOR_COUNT is set",
        )
        .say(
            "idle",
            "A program drops 128 MiB, and a full collection runs. {value} of the memory is still resident. After an aggressive \
             collection it is {against}.",
            ratio(pick("default", "", "after_share"), pick("default", "", "trimmed_share")),
            "the program goes on allocating: later collections then give memory back bit by bit",
        )
        .not_said(&[
            "That a limit behaves the same under control groups v1 and v2. The record says which of them this machine has; AKS has v2.",
            "What a pod with many threads sees: two threads are busy here, on two CPUs.",
            "That the server collector is better or worse: it has a heap for each CPU, which pays off with many CPUs and costs memory.",
            "That every program survives the exception: where nobody catches it, the process ends with `Out of memory.`",
            NEWER,
        ])
        .next(&[
            "Your pod has a limit of 512 MiB and is killed at a heap of 350 MiB. What else is in there? (stacks, native buffers, compiled \
             code, files in tmpfs)",
            "What does DATAS change? (the server collector starts with one heap and adapts their number: the default since .NET 9)",
            "What changes for .NET with a CPU quota of 1.5 instead of 1? (it rounds up and sees two CPUs; a program that \
             asks for the server collector now gets it)",
            "When does the collector give memory back by itself? (bit by bit with later collections, sooner when memory is nearly full)",
        ])
        .sources(&[
            ".NET: docs/core/runtime-config/garbage-collector.md: heap hard limit, 75 % of the container's limit by default, at least 20 MB",
            ".NET: docs/core/runtime-config/threading.md and System.Environment.ProcessorCount: the quota, rounded up",
            ".NET: docs/standard/garbage-collection/workstation-server-gc.md: with one CPU the workstation collector is used",
            "Linux, admin-guide/cgroup-v1/memory and cgroup-v2: who is killed at the limit",
        ])
}

/// How a program starts: the limit around it, its arguments, its settings.
#[derive(Clone, Copy)]
struct Start {
    bound: Option<Bound>,
    args: &'static [&'static str],
    knobs: &'static [Knob],
}

const fn start(
    id: &'static str,
    bound: Option<Bound>,
    args: &'static [&'static str],
    knobs: &'static [Knob],
) -> Setting<Start> {
    setting(id, Start { bound, args, knobs })
}

const fn cpus(tenths: u64) -> Option<Bound> {
    Some(Bound::Cpu { quota_us: tenths * 10_000, period_us: 100_000 })
}

/// Runs it inside of its limit; called outside first, and then inside.
fn limited_run(start: &Start) -> Result<Sample, String> {
    // Outside of the limit, so that it is not compiled in there.
    let runtime = dotnet::here()?;
    let Some(bound) = start.bound else { return told(runtime.run(start.args, start.knobs)?) };
    if let Some(entered) = limited::inside() {
        entered?;
        let counted = || group::counted_here(Path::new("/"), "cpu");
        let before = counted();
        let (began, sample) = (std::time::Instant::now(), told(runtime.run(start.args, start.knobs)?)?);
        let throttled = counted().since(&before).throttled_ns;
        let wall = began.elapsed().as_secs_f64() * 1e9;
        let share = throttled.filter(|_| matches!(bound, Bound::Cpu { .. })).map(|ns| ns as f64 / wall);
        return Ok(with_known(sample, &[("throttled_share", share)]));
    }
    let ran = limited::run(Some(bound))?;
    let kills = ran.counted.oom_kills_count.map(|n| n as f64);
    let sample = ran.survivor()?;
    let known = if matches!(bound, Bound::Memory { .. }) { kills } else { None };
    let available = sample.values.get("available_bytes").copied();
    let sample = with_known(sample, &[("oom_kills_count", known)]);
    Ok(match (bound, available) {
        (Bound::Memory { bytes }, Some(available)) => {
            sample.with("available_share", available / bytes as f64)
        }
        _ => sample,
    })
}

/// What it said before it ended or was killed.
fn told(told: Told) -> Result<Sample, String> {
    let killed = told.killed;
    let sample = told.sample()?;
    Ok(if killed {
        sample.seeing("the kernel ended it (SIGKILL, which a shell shows as exit code 137)")
    } else {
        sample
    })
}

fn memories() -> Step {
    const ALL: &[Setting<Start>] = &[
        start("limit", Some(LIMIT), &["hold", "400", "0"], &[]),
        start("limit_beside_64MiB", Some(LIMIT), &["hold", "400", "64"], &[]),
        start("limit_heap_50%", Some(LIMIT), &["hold", "400", "64"], &[("GCHeapHardLimitPercent", "32")]),
        start("no_limit_heap_100MiB", None, &["hold", "400", "0"], &[("GCHeapHardLimit", "6400000")]),
    ];
    let beside = || at_least(1.0, pick("limit_beside_64MiB", "", "oom_kills_count"));
    let thrown = |case| pick(case, "", "exceptions_count");
    Step::new("memory", Kind::Count, "available_bytes")
        .ask_number(
            "A container has a memory limit of 200 MiB. How many bytes does .NET say are available to its heap?",
            "limit",
            "",
        )
        .columns(&["available_share", "high_load_bytes", "held_bytes", "exceptions_count", "oom_kills_count"])
        .isolated(ALL, ONCE, |_, case, _| {
            memory::room_for(600 << 20)?;
            limited_run(&case.value)
        })
        .claim(
            between(0.74, 0.76, pick("limit", "", "available_share")),
            "the heap may take three quarters of the limit, to within a hundredth",
        )
        .claim(
            exactly(1.0, thrown("limit")),
            "a program that needs more than its heap may take gets an OutOfMemoryException",
        )
        .claim(exactly(0.0, pick("limit", "", "oom_kills_count")), "the program with the exception is not killed")
        .claim(beside(), "with 64 MiB of native memory beside the heap the program is killed")
        .claim(
            exactly(1.0, thrown("limit_heap_50%")),
            "with a heap limit of 50 % the same program gets the exception instead",
        )
        .because(
            "The runtime reads the limit of its control group and takes 75 % of it as a hard limit for its own heap.",
            shown_by(between(0.74, 0.76, pick("limit", "", "available_share"))),
        )
        .because(
            "A program that needs more than that gets an exception, which it can catch.",
            shown_by(exactly(1.0, thrown("limit"))),
        )
        .because(
            "The hard limit counts the managed heap and the collector's own tables only. If other memory takes more than the remaining \
             quarter, the process meets the kernel's limit first and is killed. Nobody can catch that.",
            shown_by(beside()),
        )
        .because(
            "If 90 % of the memory is in use (the default threshold with less than 80 GB), the collector counts memory as nearly full. It \
             then prefers blocking, compacting collections. GCHighMemPercent moves that threshold.",
            source(".NET: docs/core/runtime-config/garbage-collector.md, High memory percent"),
        )
        .because(
            "A heap limit that the user sets works like the container's limit. Here it is set without a container.",
            shown_by(exactly(1.0, thrown("no_limit_heap_100MiB"))),
        )
        .in_tour()
}

fn quotas() -> Step {
    const ALL: &[Setting<Start>] = &[
        start("no_quota", None, &["box"], &[SERVER]),
        start("0.5cpu", cpus(5), &["box"], &[SERVER]),
        start("1cpu", cpus(10), &["box"], &[SERVER]),
        start("1.5cpu", cpus(15), &["box"], &[SERVER]),
        start("2cpu", cpus(20), &["box"], &[SERVER]),
        start("2cpu_one_heap", cpus(20), &["box"], &[SERVER, ("GCHeapCount", "1")]),
    ];
    let heaps = |case| pick(case, "", "heaps_count");
    let server = |case| pick(case, "", "server_count");
    Step::new("cpus", Kind::Count, "cpus_count")
        .ask_number(
            "A container has a quota of 1.5 CPUs, on a machine with at least two. What is Environment.ProcessorCount?",
            "1.5cpu",
            "",
        )
        .columns(&["server_count", "heaps_count"])
        .isolated(ALL, ONCE, |_, case, _| limited_run(&case.value))
        .claim(exactly(1.0, "0.5cpu"), "half a CPU counts as one")
        .claim(exactly(2.0, "1.5cpu").cores(2), "1.5 CPUs count as two: .NET rounds up")
        .claim(exactly(1.0, server("1.5cpu")).cores(2), "with two CPUs the server collector is used, as asked")
        .claim(
            exactly(0.0, server("0.5cpu")),
            "with one CPU the server collector is not used, although it was asked for",
        )
        .because(
            "The runtime reads the quota and rounds it up to whole CPUs. The thread pool's minimum and the number of heaps depend on that \
             number.",
            shown_by(exactly(2.0, "1.5cpu").cores(2)),
        )
        .claim(exactly(2.0, heaps("2cpu")).cores(2), "the server collector has a heap for each of the two CPUs")
        .because(
            "The number of heaps follows the number of CPUs, unless GCHeapCount sets it.",
            shown_by(exactly(1.0, heaps("2cpu_one_heap")).cores(2)),
        )
        .because(
            "With one CPU the runtime always takes the workstation collector, whatever is set.",
            shown_by(exactly(0.0, server("1cpu"))),
        )
}

fn busy() -> Step {
    // Threads, MiB that live, milliseconds.
    const ARGS: &[&str] = &["busy", "2", "4", "150"];
    const ALL: &[Setting<Start>] = &[
        start("no_quota", None, ARGS, &[]),
        start("1.5cpu", cpus(15), ARGS, &[]),
        start("1cpu", cpus(10), ARGS, &[]),
        start("0.5cpu", cpus(5), ARGS, &[]),
    ];
    Step::new("busy", Kind::Pause, "op_max_ns")
        .ask_number(
            "Two threads allocate all the time, and the container gets half a CPU. A step is 100 small allocations. How long does the \
             slowest step take?",
            "0.5cpu",
            "",
        )
        .columns(&["pause_ns", "pause_max_ns", "throttled_share", "ops_per_s", "pauses_count"])
        .isolated(ALL, ONCE, |_, case, _| limited_run(&case.value))
        .claim(
            at_least(1.5, ratio("0.5cpu", "no_quota")),
            "with half a CPU the slowest step takes at least 1.5 times what it takes without a quota",
        )
        .because(
            "A quota is CPU time for each period of 100 ms. When it is used up, every thread stands still until the next period, in a \
             collection or not.",
            shown_by(at_least(0.2, pick("0.5cpu", "", "throttled_share"))),
        )
        .because(
            "If that happens while the world is stopped, the pause is longer by the rest of the period.",
            source("Linux, Documentation/scheduler/sched-bwc.rst; column pause_max_ns"),
        )
}

fn idle() -> Step {
    const ARGS: &[&str] = &["idle", "128"];
    const ALL: &[Setting<Start>] = &[
        start("default", None, ARGS, &[]),
        start("conserve_memory", None, ARGS, &[("GCConserveMemory", "7")]),
        start("server", None, ARGS, &[SERVER]),
        start("server_datas", None, ARGS, &[SERVER, ("GCDynamicAdaptationMode", "1")]),
    ];
    let after = |case, value| pick(case, "", value);
    Step::new("idle", Kind::Count, "after_share")
        .ask_number(
            "A program held 128 MiB, dropped all of it, and ran a full collection. What share is still resident?",
            "default",
            "",
        )
        .columns(&["idle_share", "compacted_share", "trimmed_share"])
        .contenders(ALL)
        .over(ONCE, |_, _| {
            dotnet::beside(ALL, |row| {
                memory::room_for(1 << 30)?;
                limited_run(&row.value)
            })
        })
        .claim(at_least(0.5, "default"), "after a full collection, at least half of the memory is still resident")
        .claim(at_most(0.2, after("default", "trimmed_share")), "an aggressive collection leaves at most a fifth")
        .because(
            "A collection frees memory for the next allocations, and the runtime keeps most of it for them.",
            shown_by(at_least(0.5, after("default", "idle_share"))),
        )
        .because(
            "With DATAS less than half is left after half a second: the collector then adapts its heap to what lives.",
            shown_by(at_most(0.5, after("server_datas", "idle_share"))),
        )
        .because(
            "An aggressive collection (GCCollectionMode.Aggressive, since .NET 7) gives nearly all of it back at once. The next \
             allocations pay: they need fresh pages.",
            shown_by(at_most(0.2, after("default", "trimmed_share"))),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

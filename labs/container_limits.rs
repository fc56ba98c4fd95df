//! What do a CPU quota and a memory limit do to pauses?
//!
//! Run it: `cargo run --release --bin container_limits -- --step`
//! As root it makes real control groups. Otherwise it says what it does instead.
//!
//! Each configuration runs in a process of its own, inside a control group that is made for it and removed after. The process that
//! reports stays outside. So a process that is killed for lack of memory is a row like any other.
use std::{hint, path::Path, time::Duration};

use underhood::{
    heap::{
        Collector, Config, Mutator,
        load::churn::{Job, Op, churn},
    },
    lab::{
        Kind, Lab, ONCE, Setting, Step, at_least, at_most, pick, plan::Plan, ratio, sample::Sample, setting,
        shown_by, source,
    },
    machine::{
        cgroup::{self, Limit},
        group::Bound,
        memory::{self, Room},
    },
    measure::{
        latency::with_known,
        limited::{self, Ran},
    },
};

const MIB: usize = 1 << 20;
/// Kubernetes' and the kernel's default.
const PERIOD: Duration = Duration::from_millis(100);
const GARBAGE: u32 = 64 << 10;
/// What a program needs beside its heap: buffers, stacks, code that was compiled, other libraries.
const BESIDE: usize = 16 * MIB;

pub(crate) fn lab() -> Lab {
    underhood::lab!("container_limits", "What do a CPU quota and a memory limit do to pauses?")
        .step(quotas())
        .step(memories())
        .say(
            "quota",
            "A container has a quota of one CPU, and one thread of the program is busy. Two collector threads stop the world for up to \
             {value}, one collector thread for up to {against}: {ratio}.",
            ratio("2_workers_1cpu", "1_worker_1cpu"),
            "the collector has so little to do that the quota of a period is never used up",
        )
        .say(
            "memory",
            "A heap of 75 % of the container's limit, with 16 MiB of other memory beside it, takes {value} of the limit.",
            "75%_beside",
            "the memory beside the heap is larger, or the limit is much smaller",
        )
    .not_said(&[
        "That one collector thread is always right: without a quota two are faster, and a quota of 4 CPUs is enough for 4.",
        "That 75 % is always right: it leaves room for memory that is not heap, and this memory does not grow with the limit.",
        "That no pause can be longer: the longest pause here is the longest of a few.",
        "What a pod with many busy threads sees: they use up the quota before the collector starts.",
        "That cgroup v1 and cgroup v2 behave alike in everything: throttling is the same code, the accounting of memory is not.",
    ])
    .next(&[
        "The pod uses less CPU than its limit and is throttled all the same. Why? (the quota is per period of 100 ms, not per second)",
        "How many collector threads does the runtime start? Does it compute that from the host's CPUs or from the quota?",
        "Would you set a CPU limit at all? (a request guarantees a share; a limit only takes away)",
        "The pod was OOM-killed although the heap was never full. What else counts against the limit? (stacks, buffers, page tables, page \
         cache in use)",
        "What does the kernel do before it kills a process? (it drops clean page cache, so a group that reaches its limit is not killed at \
         once)",
    ])
    .sources(&[
        "Linux, Documentation/scheduler/sched-bwc.rst: quota, period, slices of 5 ms, nr_throttled, throttled_time",
        "Linux, admin-guide/cgroup-v2 and cgroup-v1/memory: memory.max, memory.events, failcnt, oom_control",
        ".NET: docs/core/runtime-config/garbage-collector.md: in a container the heap gets 75 % of the limit, but at least 20 MB",
        "golang/go issues 19378, 33803 and 59715: collector threads sized by the host's CPUs, stalls of 80 ms from the quota",
        "kubernetes/kubernetes issue 67577: well-behaved pods are throttled",
        "cloudfoundry/dotnet-core-buildpack pull request 1317: in a hybrid of v1 and v2 the limit was not seen",
    ])
}

/// Collector threads, and the quota: CPUs, and the period.
#[derive(Clone, Copy)]
struct Quota {
    workers: usize,
    cpus: Option<(f64, Duration)>,
}

const fn quota(id: &'static str, workers: usize, cpus: Option<(f64, Duration)>) -> Setting<Quota> {
    setting(id, Quota { workers, cpus })
}

fn quotas() -> Step {
    const ALL: &[Setting<Quota>] = &[
        quota("1_worker", 1, None),
        quota("2_workers", 2, None),
        quota("1_worker_1cpu", 1, Some((1.0, PERIOD))),
        quota("2_workers_1cpu", 2, Some((1.0, PERIOD))),
        quota("1_worker_0.5cpu", 1, Some((0.5, PERIOD))),
        quota("1_worker_0.5cpu_10ms", 1, Some((0.5, Duration::from_millis(10)))),
    ];
    let cut = |case| pick(case, "", "throttled_time_share");
    let median = |of, against| ratio(pick(of, "", "pause_ns"), pick(against, "", "pause_ns"));
    let two = at_least(1.3, ratio("2_workers_1cpu", "1_worker_1cpu")).cores(2);
    let half = at_least(2.0, ratio("1_worker_0.5cpu", "1_worker"));
    Step::new("quota", Kind::Pause, "pause_max_ns")
        .ask_number(
            "A collection costs some 30 ms of CPU. The container gets one CPU: 100 ms of CPU time in each 100 ms, however many threads \
             run. Two collector threads share the work on two CPUs. How long is the longest pause, in ns?",
            "2_workers_1cpu",
            "",
        )
        .columns(&[
            "pause_ns",
            "throttled_time_share",
            "throttled_share",
            "collections_count",
            "gc_share",
            "reach_ns",
        ])
        .isolated(ALL, ONCE, |plan, case, _| {
            if let Some(entered) = limited::inside() {
                entered?;
                return collect(plan, case.value);
            }
            let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            let bound = case
                .value
                .cpus
                .map(|(cpus, period)| Bound::Cpu { quota_us: us(period.mul_f64(cpus)), period_us: us(period) });
            let ran = limited::run(bound)?;
            let modelled = ran.simulated.is_some();
            let mut sample = ran.survivor()?;
            if modelled {
                // Counters of a quota that does not exist.
                sample.values.retain(|name, _| !name.starts_with("throttled_"));
            }
            Ok(if bound.is_none() { sample.seeing(limit_here()) } else { sample })
        })
        .claim(
            two,
            "with more collector threads than CPUs of quota, the longest pause is at least 1.3 times that of one thread",
        )
        .claim(
            at_most(0.8, median("2_workers", "1_worker")).cores(2),
            "without a quota, a second thread shortens the median pause by at least a fifth",
        )
        .claim(
            at_least(0.15, cut("2_workers_1cpu")).cores(2),
            "with a quota of one CPU, each of two collector threads is throttled for at least 15 % of the time",
        )
        .claim(half, "with half a CPU, the longest pause is at least twice as long as without a quota")
        .claim(
            at_most(0.75, ratio("1_worker_0.5cpu_10ms", "1_worker_0.5cpu")),
            "with half a CPU in periods of 10 ms, the longest pause is at least a quarter shorter than in periods of 100 ms",
        )
        .claim(
            at_least(1.3, median("1_worker_0.5cpu_10ms", "1_worker_0.5cpu")),
            "with half a CPU, periods of 10 ms make the median pause at least 1.3 times as long as periods of 100 ms",
        )
        .because(
            "A quota does not make the CPU slower. All threads run at full speed until the CPU time of the period is used up. Then none \
             runs until the next period begins.",
            source("Linux, Documentation/scheduler/sched-bwc.rst"),
        )
        .because(
            "Two collector threads use up the quota of one CPU in half of the period. A collection that is under way then stands still, \
             and the world stays stopped.",
            shown_by(two),
        )
        .because(
            "One thread can't use more than one CPU. So with a quota of one CPU it is throttled for moments at most.",
            source("Linux, Documentation/scheduler/sched-bwc.rst"),
        )
        .because(
            "With half a CPU the collector is throttled, whatever the number of threads. Some pauses include the whole wait, 50 ms each.",
            shown_by(half),
        )
        .because(
            "A shorter period cuts the same quota into smaller pieces. With half a CPU in periods of 10 ms, a pause waits for 5 ms several \
             times, and not once for 50 ms.",
            source("Linux, Documentation/scheduler/sched-bwc.rst"),
        )
        .because(
            "These short waits add up: the median pause is at least 1.3 times as long as without a quota.",
            shown_by(at_least(1.3, median("1_worker_0.5cpu_10ms", "1_worker"))),
        )
        .because(
            "So a collector should not start more threads than the quota has CPUs. The program's own threads use the quota as well. Here \
             only one of them is busy.",
            source("golang/go issues 19378, 33803 and 59715"),
        )
        .because(
            "Here each thread is pinned to a CPU of its own, since a scheduler that puts both on one CPU would hide the effect.",
            source("src/machine/group.rs and src/measure/limited.rs"),
        )
        .in_tour()
}

fn limit_here() -> String {
    match cgroup::limits(Path::new("/")).cpu_cores {
        Limit::At(n) => format!("this process is limited to {n} CPUs already"),
        Limit::None => "no CPU limit holds here".into(),
        Limit::Unknown => "whether a CPU limit holds here is unknown".into(),
    }
}

/// Runs inside the control group: makes garbage beside 16 MiB of live objects, for some periods. No victim thread runs, since it would
/// use up the quota by itself.
///
/// Each collector thread stays on a CPU of its own. Where the scheduler puts threads is not the subject: left alone it has both on one
/// CPU in some pauses, and these last as long as with one thread.
fn collect(plan: &Plan, Quota { workers, cpus }: Quota) -> Result<Sample, String> {
    // With a quota, this is long enough to include the end of a period. Without one there is nothing to wait for.
    let time = if cpus.is_some() { plan.slice.max(PERIOD.mul_f64(1.5)) } else { plan.slice / 2 };
    let (part, time, collections) = if plan.is_smoke() { (16, plan.slice, 1) } else { (1, time, 3) };
    let config = Config { workers, pinned: true, ..Config::new(Collector::Immix, 40 * MIB / part) };
    let job = Job { config, live_bytes: 16 * MIB / part, time, collections, cpus: plan.cpus[..1].to_vec() };
    let churned = churn(job, garbage)?.paused()?;
    // The kernel adds up the time of all CPUs, and each thread has one CPU.
    let each = |ns: u64| ns as f64 / workers as f64 / (churned.wall.as_secs_f64() * 1e9);
    let throttled = churned.quota.throttled_ns.map(each);
    Ok(with_known(churned.sample("", ""), &[("throttled_time_share", throttled)]))
}

/// Percent of the limit that the heap may have, and bytes in use beside it.
#[derive(Clone, Copy)]
struct Share {
    percent: usize,
    beside: usize,
}

const fn heap(id: &'static str, percent: usize, beside: usize) -> Setting<Share> {
    setting(id, Share { percent, beside })
}

fn memories() -> Step {
    const ALL: &[Setting<Share>] = &[
        heap("75%", 75, 0),
        heap("50%", 50, 0),
        heap("105%", 105, 0),
        heap("75%_beside", 75, BESIDE),
        heap("90%_beside", 90, BESIDE),
    ];
    let kills = |case| pick(case, "", "oom_kills_count");
    let between = ratio(pick("75%", "", "between_bytes"), pick("50%", "", "between_bytes"));
    let spared = at_most(0.0, kills("75%_beside"));
    Step::new("memory", Kind::Count, "peak_share")
        .ask_number(
            "A container has a limit of 128 MiB. The heap may grow to 90 % of that, and garbage fills it up to there before each \
             collection. 16 MiB of other memory are in use beside it. What is the largest share of the limit that is in use?",
            "90%_beside",
            "",
        )
        .columns(&["oom_kills_count", "limit_hits_count", "peak_bytes", "between_bytes"])
        .isolated(ALL, ONCE, |plan, case, _| {
            let limit = if plan.is_smoke() { 64 * MIB } else { 128 * MIB };
            if let Some(entered) = limited::inside() {
                entered?;
                return fill(plan, limit, case.value);
            }
            // Without a real limit the process takes all that it asks for.
            if let Some(why) = Room::now().refusal(2 * limit as u64) {
                return Err(format!("the experiment {why}"));
            }
            Ok(told(limited::run(Some(Bound::Memory { bytes: limit as u64 }))?, limit as f64))
        })
        .claim(at_most(0.0, kills("75%")), "with a heap of 75 %, the process is not killed")
        .claim(spared, "with a heap of 75 % and 16 MiB beside it, the process is not killed")
        .claim(at_least(1.0, kills("90%_beside")), "with a heap of 90 % and 16 MiB beside it, the process is killed")
        .because(
            "This collector does not know the limit. It collects when its heap is full, and until then garbage counts as used memory. \
             (.NET and the JVM read the limit: they collect harder near it and throw an exception that a program can catch.)",
            source("src/heap/room.rs; .NET: docs/core/runtime-config/garbage-collector.md"),
        )
        .because(
            "If the heap and everything else together reach the limit first, the kernel finds no memory that it can drop, and \
             kills the process. The program gets no exception and writes no log line. There is only exit code 137.",
            shown_by(at_least(1.0, kills("90%_beside"))),
        )
        .because("A smaller heap is safer, but it is collected more often.", shown_by(at_least(1.3, between)))
        .because(
            "The 75 % that .NET takes is a compromise: it leaves a quarter for stacks, native buffers and the collector's own tables.",
            shown_by(spared),
        )
        .because(
            "The memory beside the heap does not shrink with the limit, so in a small container 75 % can be too much.",
            shown_by(at_least(
                1.05,
                ratio(pick("75%_beside", "", "peak_share"), pick("75%", "", "peak_share")),
            )),
        )
}

/// Runs inside the control group: fills a heap of that share of the limit again and again.
fn fill(plan: &Plan, limit: usize, Share { percent, beside }: Share) -> Result<Sample, String> {
    let beside = vec![1_u8; beside];
    let config = Config { past_limit: true, ..Config::new(Collector::Immix, limit / 100 * percent) };
    // Runs from one collection to the second one after it, so the bytes allocated between two collections are a count.
    let cpus = plan.cpus[..1].to_vec();
    let job = Job { config, live_bytes: MIB, time: Duration::ZERO, collections: 2, cpus };
    let churned = churn(job, garbage)?.paused()?;
    hint::black_box(&beside);
    let between = churned.ops as f64 * f64::from(GARBAGE) / churned.pauses.len() as f64;
    let peak = memory::peak_bytes().map(|peak| peak as f64);
    Ok(with_known(Sample::default(), &[("between_bytes", Some(between)), ("peak_bytes", peak)]))
}

/// What the kernel counted. Where the limit was only modelled: what the kernel would have counted.
fn told(ran: Ran, limit: f64) -> Sample {
    let known = |n: Option<u64>| n.map(|n| n as f64);
    let counted = [
        ("oom_kills_count", known(ran.counted.oom_kills_count)),
        ("limit_hits_count", known(ran.counted.limit_hits_count)),
        ("peak_bytes", known(ran.counted.peak_bytes)),
    ];
    let sample = with_known(ran.sample.unwrap_or_default(), &counted);
    let share = sample.values.get("peak_bytes").map(|peak| peak / limit);
    let sample = with_known(sample, &[("peak_share", share)]);
    if let Some(simulated) = ran.simulated {
        let kills = share.map(|share| f64::from(u8::from(share > 1.0)));
        return simulated.mark(with_known(sample, &[("oom_kills_count", kills)]));
    }
    if !ran.killed {
        return sample;
    }
    sample.seeing(if ran.counted.oom_kills_count.is_some_and(|n| n > 0) {
        "the kernel's out-of-memory killer ended it (SIGKILL, which a shell shows as exit code 137)"
    } else {
        "SIGKILL ended it, and the group counted no kill for lack of memory"
    })
}

fn garbage(_: &mut Mutator) -> Op {
    Box::new(|m| m.alloc(0, GARBAGE).map(drop))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

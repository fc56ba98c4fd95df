//! What do a CPU quota and a memory limit do to pauses?
//!
//! Run it: `cargo run --release --bin container_limits -- --step` (as root it makes real control groups; else see what it says)
//!
//! Each configuration runs in a process of its own, inside a control group that is made for it and removed after. Whoever
//! reports stays outside, so a process that is killed for want of memory is a row like any other.
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
            "With a quota of one CPU, two collector threads stop the world for up to {value}, one for up to {against}: {ratio}.",
            ratio("2_workers_1cpu", "1_worker_1cpu"),
            "the collector has so little to do that the quota of a period is never used up",
        )
        .say(
            "memory",
            "A heap of 75 % of the container's limit, with 16 MiB of other memory beside it, takes {value} of the limit.",
            "75%_beside",
            "what lies beside the heap is larger, or the limit much smaller",
        )
    .not_said(&[
        "That one collector thread is always right: without a quota two are faster, and a quota of 4 CPUs feeds 4.",
        "That 75 % is a law: it is the share that leaves room for what is not heap, and that does not grow with the limit.",
        "The longest pause as a bound: it is the longest of a few.",
        "That a group of cgroup v1 behaves as one of v2 in everything: the throttling is the same code, the accounting of memory is not.",
    ])
    .next(&[
        "Why does the pod use less CPU than its limit and is throttled all the same? (the quota is per period of 100 ms, not per second)",
        "How many collector threads does the runtime start, and from which number does it compute that? (the host's CPUs, or the quota?)",
        "Would you set a CPU limit at all? (a request guarantees a share; a limit only takes away)",
        "The pod was OOM-killed although the heap was never full. What else is charged? (stacks, buffers, page tables, page cache in use)",
        "What does the kernel do before it kills? (it drops clean page cache: so a limit that is met is no death yet)",
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
    let one_cut = at_most(0.05, cut("1_worker_1cpu"));
    let half = at_least(2.0, ratio("1_worker_0.5cpu", "1_worker"));
    let tenths = at_most(0.75, ratio("1_worker_0.5cpu_10ms", "1_worker_0.5cpu"));
    let every = at_least(1.3, median("1_worker_0.5cpu_10ms", "1_worker_0.5cpu"));
    Step::new("quota", Kind::Pause, "pause_max_ns")
        .ask_number(
            "A collection costs some 15 ms of CPU. The container gets one CPU: 100 ms of CPU time in each 100 ms, however many threads \
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
            "more collector threads than CPUs of quota: the longest pause is 1.3 times that of one",
        )
        .claim(
            at_most(0.8, median("2_workers", "1_worker")).cores(2),
            "without a quota the second thread shortens the median pause by a fifth",
        )
        .claim(one_cut, "one thread at one CPU is throttled for 5 % of its time at most")
        .claim(at_least(0.15, cut("2_workers_1cpu")).cores(2), "each of two for 15 % of its time or more")
        .claim(half, "half a CPU: the longest pause doubles")
        .claim(tenths, "the same half in periods of 10 ms: a quarter off the longest pause")
        .claim(every, "which the median one pays for: 1.3 times as long")
        .because(
            "A quota is no slower CPU. All threads run at full speed until the CPU time of the period is used up, and then none runs until \
             the next one begins.",
            source("Linux, Documentation/scheduler/sched-bwc.rst"),
        )
        .because(
            "Two collector threads use it up in half of the period. If a collection is under way then, it stands still with the world \
             stopped.",
            shown_by(two),
        )
        .because(
            "One thread can't use more than one CPU, so at a quota of one it is cut off for moments at most.",
            shown_by(one_cut),
        )
        .because(
            "At half a CPU it is cut off, whatever the number of threads: some pauses get all of the waiting, 50 ms each.",
            shown_by(half),
        )
        .because(
            "A shorter period cuts the same share into smaller pieces: no pause waits long.",
            shown_by(tenths),
        )
        .because("But every pause waits a little.", shown_by(every))
        .because(
            "So: as many collector threads as there are CPUs of quota, not of the host; and where the platform lets you, a shorter period.",
            source("golang/go issues 19378, 33803 and 59715"),
        )
        .because(
            "Here each thread is pinned to a CPU of its own, since a scheduler that puts both on one would hide the effect.",
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

/// Inside: garbage beside 16 MiB that live, for some periods. No victim, which would use up the quota by itself.
///
/// Each collector thread stays on a CPU of its own. Where the scheduler puts threads is not the subject: left alone it has both on one
/// CPU in some pauses, and these last as long as with one thread.
fn collect(plan: &Plan, Quota { workers, cpus }: Quota) -> Result<Sample, String> {
    // Long enough for the end of a period with a quota, wherever it begins; without one there is nothing to wait for.
    let time = if cpus.is_some() { plan.slice.max(PERIOD.mul_f64(1.5)) } else { plan.slice / 2 };
    let (part, time, collections) = if plan.is_smoke() { (16, plan.slice, 1) } else { (1, time, 3) };
    let config = Config { workers, pinned: true, ..Config::new(Collector::Immix, 40 * MIB / part) };
    let job = Job { config, live_bytes: 16 * MIB / part, time, collections, cpus: plan.cpus[..1].to_vec() };
    let churned = churn(job, garbage)?.paused()?;
    // The kernel adds up the CPUs, and a thread has one.
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
            "A container with 128 MiB. The heap may grow to 90 % of that, and is filled with garbage up to there before each collection; \
             16 MiB of other memory are in use beside it. What share of the limit is in use at most?",
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
        .claim(at_most(0.0, kills("75%")), "75 %: nobody is killed")
        .claim(spared, "75 % and 16 MiB beside: nobody")
        .claim(at_least(1.0, kills("90%_beside")), "90 % and 16 MiB beside: killed")
        .claim(at_least(1.0, kills("105%")), "105 %: killed")
        .claim(
            at_least(1.3, between),
            "75 % instead of 50 %: 1.3 times as much is allocated between two collections",
        )
        .because(
            "The collector does not know the limit; it collects when its heap is full, and garbage counts until then.",
            source("src/heap/room.rs"),
        )
        .because(
            "If heap and everything else reach the limit first, the kernel finds nothing to drop and kills: no exception, no log line of the \
             program, exit code 137.",
            shown_by(at_least(1.0, kills("90%_beside"))),
        )
        .because("A smaller heap is safer and collects more often.", shown_by(at_least(1.3, between)))
        .because(
            "The 75 % that .NET takes is the compromise: a quarter for stacks, native buffers, the collector's own tables.",
            shown_by(spared),
        )
        .because(
            "What lies beside the heap does not shrink with the limit, so in a small container 75 % can be too much.",
            shown_by(at_least(
                1.05,
                ratio(pick("75%_beside", "", "peak_share"), pick("75%", "", "peak_share")),
            )),
        )
}

/// Inside: a heap of that share of the limit, filled again and again.
fn fill(plan: &Plan, limit: usize, Share { percent, beside }: Share) -> Result<Sample, String> {
    let beside = vec![1_u8; beside];
    let config = Config { past_limit: true, ..Config::new(Collector::Immix, limit / 100 * percent) };
    // From one collection to the second after it: what lies between two is then a count.
    let cpus = plan.cpus[..1].to_vec();
    let job = Job { config, live_bytes: MIB, time: Duration::ZERO, collections: 2, cpus };
    let churned = churn(job, garbage)?.paused()?;
    hint::black_box(&beside);
    let between = churned.ops as f64 * f64::from(GARBAGE) / churned.pauses.len() as f64;
    let peak = memory::peak_bytes().map(|peak| peak as f64);
    Ok(with_known(Sample::default(), &[("between_bytes", Some(between)), ("peak_bytes", peak)]))
}

/// What the kernel counted, or, where the limit was only modelled, what it would have.
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
        "SIGKILL ended it, and the group counted no kill for want of memory"
    })
}

fn garbage(_: &mut Mutator) -> Op {
    Box::new(|m| m.alloc(0, GARBAGE).map(drop))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

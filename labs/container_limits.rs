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
        Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::Plan,
        sample::{Sample, each},
    },
    machine::{
        cgroup::{self, Limit},
        group::Bound,
        memory::{self, Room},
    },
    measure::limited::{self, Ran},
};

const MIB: usize = 1 << 20;
/// Kubernetes' and the kernel's default.
const PERIOD: Duration = Duration::from_millis(100);
const GARBAGE: u32 = 64 << 10;
/// What a program needs beside its heap: buffers, stacks, code that was compiled, other libraries.
const BESIDE: usize = 16 * MIB;

pub(crate) static LAB: Lab = Lab {
    stem: "container_limits",
    question: "What do a CPU quota and a memory limit do to pauses?",
    steps: &[QUOTA, MEMORY],
    says: &[
        Say {
            step: "quota",
            text: "With a quota of one CPU, two collector threads stop the world for up to {value}, one for up to {against}: {ratio}.",
            of: TWO_AT_ONE,
            against: Some(ONE_AT_ONE),
            not_true_when: "the collector has so little to do that the quota of a period is never used up",
        },
        Say {
            step: "memory",
            text: "A heap of 75 % of the container's limit, with 16 MiB of other memory beside it, takes {value} of the limit.",
            of: at("75%_beside", "peak_share"),
            against: None,
            not_true_when: "what lies beside the heap is larger, or the limit much smaller",
        },
    ],
    not_said: &[
        "That one collector thread is always right: without a quota two are faster, and a quota of 4 CPUs feeds 4.",
        "That 75 % is a law: it is the share that leaves room for what is not heap, and that does not grow with the limit.",
        "The longest pause as a bound: it is the longest of a few.",
        "That a group of cgroup v1 behaves as one of v2 in everything: the throttling is the same code, the accounting of memory is not.",
    ],
    next: &[
        "Why does the pod use less CPU than its limit and is throttled all the same? (the quota is per period of 100 ms, not per second)",
        "How many collector threads does the runtime start, and from which number does it compute that? (the host's CPUs, or the quota?)",
        "Would you set a CPU limit at all? (a request guarantees a share; a limit only takes away)",
        "The pod was OOM-killed although the heap was never full. What else is charged? (stacks, buffers, page tables, page cache in use)",
        "What does the kernel do before it kills? (it drops clean page cache: so a limit that is met is no death yet)",
    ],
    sources: &[
        "Linux, Documentation/scheduler/sched-bwc.rst: quota, period, slices of 5 ms, nr_throttled, throttled_time",
        "Linux, admin-guide/cgroup-v2 and cgroup-v1/memory: memory.max, memory.events, failcnt, oom_control",
        ".NET: docs/core/runtime-config/garbage-collector.md: in a container the heap gets 75 % of the limit, but at least 20 MB",
        "golang/go issues 19378, 33803 and 59715: collector threads sized by the host's CPUs, stalls of 80 ms from the quota",
        "kubernetes/kubernetes issue 67577: well-behaved pods are throttled",
        "cloudfoundry/dotnet-core-buildpack pull request 1317: in a hybrid of v1 and v2 the limit was not seen",
    ],
    benches: |_| Vec::new(),
};

const fn at(case: &'static str, value: &'static str) -> Pick {
    pick(case, "", value)
}
const fn claim(expect: Expect, text: &'static str, of: Pick, against: Option<Pick>) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

const ONE_FREE: Pick = at("1_worker", "pause_max_ns");
const TWO_FREE: Pick = at("2_workers", "pause_ns");
const ONE_AT_ONE: Pick = at("1_worker_1cpu", "pause_max_ns");
const TWO_AT_ONE: Pick = at("2_workers_1cpu", "pause_max_ns");
const ONE_AT_HALF: Pick = at("1_worker_0.5cpu", "pause_max_ns");
const ONE_IN_TENTHS: Pick = at("1_worker_0.5cpu_10ms", "pause_max_ns");
const ONE_CUT: Pick = at("1_worker_1cpu", "throttled_time_share");
const TWO_CUT: Pick = at("2_workers_1cpu", "throttled_time_share");

const QUOTA: Step = Step {
    name: "quota",
    ask: "A collection costs some 15 ms of CPU. The container gets one CPU: 100 ms of CPU time in each 100 ms, however many threads \
          run. Two collector threads share the work on two CPUs. How long is the longest pause, in ns?",
    predict: Predict::Number { case: "2_workers_1cpu", param: "" },
    kind: Kind::Pause,
    cases: &[
        "1_worker",
        "2_workers",
        "1_worker_1cpu",
        "2_workers_1cpu",
        "1_worker_0.5cpu",
        "1_worker_0.5cpu_10ms",
    ],
    params: &[""],
    launch: Launch::Isolated,
    measure: quotas,
    headline: "pause_max_ns",
    columns: &[
        "pause_ns",
        "throttled_time_share",
        "throttled_share",
        "collections_count",
        "gc_share",
        "reach_ns",
    ],
    claims: &[
        Claim {
            cores: 2,
            ..claim(
                AtLeast(1.3),
                "more collector threads than CPUs of quota: the longest pause is 1.3 times that of one",
                TWO_AT_ONE,
                Some(ONE_AT_ONE),
            )
        },
        Claim {
            cores: 2,
            ..claim(
                AtMost(0.8),
                "without a quota the second thread shortens the median pause by a fifth",
                TWO_FREE,
                Some(at("1_worker", "pause_ns")),
            )
        },
        claim(AtMost(0.05), "one thread at one CPU is throttled for 5 % of its time at most", ONE_CUT, None),
        Claim { cores: 2, ..claim(AtLeast(0.15), "each of two for 15 % of its time or more", TWO_CUT, None) },
        claim(AtLeast(2.0), "half a CPU: the longest pause doubles", ONE_AT_HALF, Some(ONE_FREE)),
        claim(
            AtMost(0.75),
            "the same half in periods of 10 ms: a quarter off the longest pause",
            ONE_IN_TENTHS,
            Some(ONE_AT_HALF),
        ),
        claim(
            AtLeast(1.3),
            "which the median one pays for: 1.3 times as long",
            at("1_worker_0.5cpu_10ms", "pause_ns"),
            Some(at("1_worker_0.5cpu", "pause_ns")),
        ),
    ],
    because: "A quota is no slower CPU. All threads run at full speed until the CPU time of the period is used up, and then none runs \
              until the next one begins. Two collector threads use it up in half of the period; if a collection is under way then, it \
              stands still with the world stopped. One thread can't use more than one CPU, so at a quota of one it is cut off for moments \
              at most. At half a CPU it is, whatever the number of threads: some pauses get all of the waiting, 50 ms each. A shorter period cuts the same \
              share into smaller pieces: no pause waits long, every pause waits a little. So: as many collector threads as there are \
              CPUs of quota, not of the host; and where the platform lets you, a shorter period. (Here each thread is pinned to \
              a CPU of its own, since a scheduler that puts both on one would hide the effect.) Open \
              src/machine/group.rs and src/measure/limited.rs.",
    tour: true,
};

const MEMORY: Step = Step {
    name: "memory",
    ask: "A container with 128 MiB. The heap may grow to 90 % of that, and is filled with garbage up to there before each collection; \
          16 MiB of other memory are in use beside it. What share of the limit is in use at most?",
    predict: Predict::Number { case: "90%_beside", param: "" },
    kind: Kind::Count,
    cases: &["75%", "50%", "105%", "75%_beside", "90%_beside"],
    params: &[""],
    launch: Launch::Isolated,
    measure: memories,
    headline: "peak_share",
    columns: &["oom_kills_count", "limit_hits_count", "peak_bytes", "between_bytes"],
    claims: &[
        claim(AtMost(0.0), "75 %: nobody is killed", at("75%", "oom_kills_count"), None),
        claim(AtMost(0.0), "75 % and 16 MiB beside: nobody", at("75%_beside", "oom_kills_count"), None),
        claim(AtLeast(1.0), "90 % and 16 MiB beside: killed", at("90%_beside", "oom_kills_count"), None),
        claim(AtLeast(1.0), "105 %: killed", at("105%", "oom_kills_count"), None),
        claim(
            AtLeast(1.3),
            "75 % instead of 50 %: 1.3 times as much is allocated between two collections",
            at("75%", "between_bytes"),
            Some(at("50%", "between_bytes")),
        ),
    ],
    because: "The collector does not know the limit; it collects when its heap is full, and garbage counts until then. If heap and \
              everything else reach the limit first, the kernel finds nothing to drop and kills: no exception, no log line of the \
              program, exit code 137. A smaller heap is safer and collects more often. The 75 % that .NET takes is the compromise: \
              a quarter for stacks, native buffers, the collector's own tables. What lies beside \
              the heap does not shrink with the limit, so in a small container 75 % can be too much. Open src/heap/room.rs.",
    tour: false,
};

fn quotas(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        if let Some(entered) = limited::inside() {
            entered?;
            return collect(plan, case, param);
        }
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bound = quota(case)
            .map(|(cpus, period)| Bound::Cpu { quota_us: us(period.mul_f64(cpus)), period_us: us(period) });
        let ran = limited::run(bound)?;
        let mut sample = ran.sample.ok_or("the process was killed, and nobody knows by whom")?;
        if let Some(simulated) = ran.simulated {
            // Counters of a quota that does not exist.
            sample.values.retain(|name, _| !name.starts_with("throttled_"));
            sample = simulated.mark(sample);
        }
        let here = match cgroup::limits(Path::new("/")).cpu_cores {
            Limit::At(n) => format!("this process is limited to {n} CPUs already"),
            Limit::None => "no CPU limit holds here".into(),
            Limit::Unknown => "whether a CPU limit holds here is unknown".into(),
        };
        Ok(if bound.is_none() { sample.seeing(here) } else { sample })
    })
}

/// CPUs, and the period.
fn quota(case: &str) -> Option<(f64, Duration)> {
    match case.split_once("cpu").map(|(front, back)| (front.rsplit('_').next(), back)) {
        Some((Some("1"), "")) => Some((1.0, PERIOD)),
        Some((Some("0.5"), "")) => Some((0.5, PERIOD)),
        Some((Some("0.5"), "_10ms")) => Some((0.5, PERIOD / 10)),
        _ => None,
    }
}

/// Inside: garbage beside 16 MiB that live, for some periods. No victim, which would use up the quota by itself.
///
/// Each collector thread stays on a CPU of its own. Where the scheduler puts threads is not the subject: left alone it has both on one
/// CPU in some pauses, and these last as long as with one thread.
fn collect(plan: &Plan, case: &str, param: &str) -> Result<Sample, String> {
    // Long enough for the end of a period with a quota, wherever it begins; without one there is nothing to wait for.
    let time = if quota(case).is_some() { plan.slice.max(PERIOD.mul_f64(1.5)) } else { plan.slice / 2 };
    let (part, time, collections) = if plan.is_smoke() { (16, plan.slice, 1) } else { (1, time, 3) };
    let workers = if case.starts_with("2_workers") { 2 } else { 1 };
    let config = Config { workers, pinned: true, ..Config::new(Collector::Immix, 40 * MIB / part) };
    let job = Job { config, live_bytes: 16 * MIB / part, time, collections, cpus: plan.cpus[..1].to_vec() };
    let churned = churn(job, garbage)?.paused()?;
    let sample = churned.sample(case, param);
    Ok(match churned.quota.throttled_ns {
        // The kernel adds up the CPUs, and a thread has one.
        Some(ns) => {
            let each = ns as f64 / workers as f64 / (churned.wall.as_secs_f64() * 1e9);
            sample.with("throttled_time_share", each)
        }
        None => sample,
    })
}

fn memories(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let limit = if plan.is_smoke() { 64 * MIB } else { 128 * MIB };
    each(cases, params, |case, param| {
        if let Some(entered) = limited::inside() {
            entered?;
            return fill(plan, limit, case, param);
        }
        // Without a real limit the process takes all that it asks for.
        if let Some(why) = Room::now().refusal(2 * limit as u64) {
            return Err(format!("the experiment {why}"));
        }
        Ok(told(limited::run(Some(Bound::Memory { bytes: limit as u64 }))?, limit as u64, case, param))
    })
}

/// Inside: a heap of that share of the limit, filled again and again.
fn fill(plan: &Plan, limit: usize, case: &str, param: &str) -> Result<Sample, String> {
    let (percent, beside) = case.split_once('%').ok_or_else(|| format!("{case} is no share"))?;
    let percent: usize = percent.parse().map_err(|_| format!("{case} is no share"))?;
    let beside = vec![1_u8; if beside.is_empty() { 0 } else { BESIDE }];
    let config = Config { past_limit: true, ..Config::new(Collector::Immix, limit / 100 * percent) };
    // From one collection to the second after it: what lies between two is then a count.
    let cpus = plan.cpus[..1].to_vec();
    let job = Job { config, live_bytes: MIB, time: Duration::ZERO, collections: 2, cpus };
    let churned = churn(job, garbage)?.paused()?;
    hint::black_box(&beside);
    let between = churned.ops as f64 * f64::from(GARBAGE) / churned.pauses.len() as f64;
    let sample = Sample::new(case, param).with("between_bytes", between);
    Ok(match memory::peak_bytes() {
        Some(peak) => sample.with("peak_bytes", peak as f64),
        None => sample,
    })
}

/// What the kernel counted, or, where the limit was only modelled, what it would have.
fn told(ran: Ran, limit: u64, case: &str, param: &str) -> Sample {
    let mut sample = ran.sample.unwrap_or_else(|| Sample::new(case, param));
    let known = [
        ("oom_kills_count", ran.counted.oom_kills_count),
        ("limit_hits_count", ran.counted.limit_hits_count),
        ("peak_bytes", ran.counted.peak_bytes),
    ];
    for (name, value) in known {
        if let Some(value) = value {
            sample = sample.with(name, value as f64);
        }
    }
    let share = sample.values.get("peak_bytes").map(|peak| peak / limit as f64);
    if let Some(share) = share {
        sample = sample.with("peak_share", share);
    }
    if let Some(simulated) = ran.simulated {
        if let Some(share) = share {
            sample = sample.with("oom_kills_count", f64::from(u8::from(share > 1.0)));
        }
        sample = simulated.mark(sample);
    } else if ran.killed {
        let by = if ran.counted.oom_kills_count.is_some_and(|n| n > 0) {
            "the kernel's out-of-memory killer ended it (SIGKILL, which a shell shows as exit code 137)"
        } else {
            "SIGKILL ended it, and the group counted no kill for want of memory"
        };
        sample = sample.seeing(by);
    }
    sample
}

fn garbage(_: &mut Mutator) -> Op {
    Box::new(|m| m.alloc(0, GARBAGE).map(drop))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

//! What do a CPU quota and a memory limit do to pauses?
//!
//! Run it: `cargo run --release --bin container_limits -- --step` (as root it makes real control groups; else see what it says)
//!
//! Each configuration runs in a process of its own, inside a control group that is made for it and removed after. Whoever
//! reports stays outside, so a process that is killed for want of memory is a row like any other.
use std::{hint, path::Path, time::Duration};

use underhood::{
    engine::limited::{self, Ran},
    lab::{Claim, Expect, Expect::*, Kind, Lab, Launch, Pick, Predict, Say, Step, pick},
    machine::{
        cgroup::{self, Limit},
        group::Bound,
    },
    managed::{
        Collector, Config, Mutator,
        load::churn::{Job, Op, churn},
    },
    memory::mem::{self, Room},
    plan::Plan,
    sample::{Sample, each},
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
            of: pick("beside", "75%", "peak_share"),
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

const fn at(case: &'static str, param: &'static str, value: &'static str) -> Pick {
    pick(case, param, value)
}
const fn claim(expect: Expect, text: &'static str, of: Pick, against: Option<Pick>) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

const ONE_FREE: Pick = at("1_worker", "as_is", "pause_max_ns");
const ONE_AT_ONE: Pick = at("1_worker", "1cpu", "pause_max_ns");
const TWO_AT_ONE: Pick = at("2_workers", "1cpu", "pause_max_ns");
const ONE_AT_HALF: Pick = at("1_worker", "0.5cpu", "pause_max_ns");
const ONE_CUT: Pick = at("1_worker", "1cpu", "throttled_share");
const TWO_CUT: Pick = at("2_workers", "1cpu", "throttled_share");

const QUOTA: Step = Step {
    name: "quota",
    ask: "A collection costs some 20 ms of CPU. The container gets one CPU: 100 ms of CPU time in each 100 ms, however many threads \
          run. Two collector threads share the work on two CPUs. How long is the longest pause, in ns?",
    predict: Predict::Number { case: "2_workers", param: "1cpu" },
    kind: Kind::Pause,
    cases: &["1_worker", "2_workers"],
    params: &["as_is", "1cpu", "0.5cpu"],
    launch: Launch::Isolated,
    measure: quotas,
    headline: "pause_max_ns",
    columns: &["pause_ns", "throttled_share", "throttled_ns", "collections_count", "gc_share", "reach_ns"],
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
        claim(AtMost(0.1), "one thread is hardly ever throttled at a quota of one CPU", ONE_CUT, None),
        Claim {
            cores: 2,
            ..claim(AtLeast(0.3), "two threads are, in a third of the periods", TWO_CUT, None)
        },
        claim(AtLeast(2.0), "half a CPU: the longest pause doubles", ONE_AT_HALF, Some(ONE_FREE)),
    ],
    because: "A quota is no slower CPU. All threads run at full speed until the CPU time of the period is used up, and then none runs \
              until the next one begins. Two collector threads use it up in half of the period; if a collection is under way then, it \
              stands still with the world stopped. One thread can't use more than one CPU, so at a quota of one it is never cut off. \
              At half a CPU every thread count is: CPU time divided by the quota is the least the pauses can take together, and \
              some of them get all of the waiting. So: as many collector threads as there are CPUs of quota, not of the host. \
              (The threads are pinned to a CPU each, since a scheduler that puts both on one would hide it.) Open \
              src/machine/group.rs and src/engine/limited.rs.",
    tour: true,
};

const MEMORY: Step = Step {
    name: "memory",
    ask: "A container with 128 MiB. The heap may grow to 90 % of that, and is filled with garbage up to there before each collection; \
          16 MiB of other memory are in use beside it. What share of the limit is in use at most?",
    predict: Predict::Number { case: "beside", param: "90%" },
    kind: Kind::Count,
    cases: &["heap_only", "beside"],
    params: &["50%", "75%", "90%", "105%"],
    launch: Launch::Isolated,
    measure: memories,
    headline: "peak_share",
    columns: &["oom_kills_count", "limit_hits_count", "peak_bytes", "between_bytes"],
    claims: &[
        claim(AtMost(0.0), "75 %: nobody is killed", at("heap_only", "75%", "oom_kills_count"), None),
        claim(AtMost(0.0), "75 % and 16 MiB beside: nobody", at("beside", "75%", "oom_kills_count"), None),
        claim(AtLeast(1.0), "90 % and 16 MiB beside: killed", at("beside", "90%", "oom_kills_count"), None),
        claim(AtLeast(1.0), "105 %: killed", at("heap_only", "105%", "oom_kills_count"), None),
        claim(
            AtLeast(1.3),
            "75 % instead of 50 %: 1.3 times as much is allocated between two collections",
            at("heap_only", "75%", "between_bytes"),
            Some(at("heap_only", "50%", "between_bytes")),
        ),
    ],
    because: "The collector does not know the limit; it collects when its heap is full, and garbage counts until then. If heap and \
              everything else reach the limit first, the kernel finds nothing to drop and kills: no exception, no log line of the \
              program, exit code 137. A smaller heap is safer and collects more often. The 75 % that .NET takes is the compromise: \
              a quarter for stacks, native buffers, the collector's own tables. What lies beside \
              the heap does not shrink with the limit, so in a small container 75 % can be too much. Open src/managed/room.rs.",
    tour: false,
};

fn quotas(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        if let Some(entered) = limited::inside() {
            entered?;
            return collect(plan, case, param);
        }
        let cpus = match param {
            "1cpu" => Some(1.0),
            "0.5cpu" => Some(0.5),
            _ => None,
        };
        let us = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bound = cpus.map(|n| Bound::Cpu { quota_us: us(PERIOD.mul_f64(n)), period_us: us(PERIOD) });
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

/// Inside: garbage beside 20 MiB that live, for some periods. No victim, which would use up the quota by itself.
///
/// Each collector thread stays on a CPU of its own. Where the scheduler puts threads is not the subject: left alone it has both on one
/// CPU in some pauses, and these last as long as with one thread.
fn collect(plan: &Plan, case: &str, param: &str) -> Result<Sample, String> {
    let (part, time, collections) =
        if plan.is_smoke() { (16, plan.slice, 1) } else { (1, plan.slice.max(2 * PERIOD), 4) };
    let workers = if case == "2_workers" { 2 } else { 1 };
    let config = Config { workers, pinned: true, ..Config::new(Collector::Immix, 64 * MIB / part) };
    let job = Job { config, live_bytes: 20 * MIB / part, time, collections, cpus: plan.cpus[..1].to_vec() };
    Ok(churn(job, garbage)?.paused()?.sample(case, param))
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
    let percent: usize = param.trim_end_matches('%').parse().map_err(|_| format!("{param} is no share"))?;
    let beside = vec![1_u8; if case == "beside" { BESIDE } else { 0 }];
    let config = Config { past_limit: true, ..Config::new(Collector::Immix, limit / 100 * percent) };
    // From one collection to the second after it: what lies between two is then a count.
    let cpus = plan.cpus[..1].to_vec();
    let job = Job { config, live_bytes: MIB, time: Duration::ZERO, collections: 2, cpus };
    let churned = churn(job, garbage)?.paused()?;
    hint::black_box(&beside);
    let between = churned.ops as f64 * f64::from(GARBAGE) / churned.pauses.len() as f64;
    let sample = Sample::new(case, param).with("between_bytes", between);
    Ok(match mem::peak_bytes() {
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

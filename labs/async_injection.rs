//! When all threads of a pool block, who adds one, and how soon?
//!
//! Run it: `cargo run --release --bin async_injection -- --step`
use underhood::{
    experiments::injection::{
        Load, Outcome, Policy, Pool, simulate,
        tutorial::{ANSWERS_ERROR_COUNT, LATENCY_ERROR_SHARE, TUTORIAL, TUTORIAL_CORES, reproduction},
    },
    lab::{
        Bench, Claim, Expect, Kind, Lab, Launch, Pick, Predict, Say, Step, pick, plan::Plan, sample::Sample,
    },
};

/// On every row: no thread and no clock had a part in it.
const SIMULATED: &str = "SIMULATED, in virtual time";
const POOL: Pool = Pool { cores: 8, threads: 8 };

pub(crate) static LAB: Lab = Lab {
    stem: "async_injection",
    question: "When all threads of a pool block, who adds one, and how soon?",
    steps: &[REPRODUCE, POLICIES],
    says: &[
        Say {
            step: "policies",
            text: "In a simulation that reproduces .NET's published starvation figures within a quarter, 40 clients of a handler that \
                   blocks for 500 ms got {value} answers in ten seconds from a pool of 8 cores that adds a thread every half second, \
                   against {against} if the handler awaits.",
            of: pick("gate", "c40", "answered_in_window_count"),
            against: Some(pick("awaits", "c40", "answered_in_window_count")),
            not_true_when: "what the handler waits for needs no thread of the same pool",
        },
        Say {
            step: "policies",
            text: "Simulated: with a fixed pool {value} of the 40 are never answered, since the timer that would end their wait needs one of \
                   the threads that wait.",
            of: pick("fixed", "c40", "unanswered_count"),
            against: None,
            not_true_when: "there is a thread more than there are handlers that block at once",
        },
    ],
    not_said: &[
        "Nothing here was measured: it is a model, and its two unknowns were fitted to the figures that it reproduces.",
        "Not that the second run's 1.6 requests a second are reproduced as a rate: the model gives 2.8. What agrees within the bound are the few \
         answers behind it, the mean and the longest latency. That the pool starts with twice the cores was one of five factors tried.",
        "Nothing about other figures than those: the model is sensitive to the number of cores (13 or 15 do not reproduce both runs).",
        "Nothing about programs in Go, where a goroutine that waits holds no thread: hand-off is for system calls.",
        "Nothing about hill climbing, CPU load or memory limits.",
    ],
    next: &[
        "Why does tokio not add a worker when all of them block? (its authors: the program is to say so, with block_in_place)",
        "What does a pool that adds threads hide, and until when?",
        "Why does the second burst of the same load not starve? (the threads exist already)",
        "Which waits can a runtime notice at all?",
        "Why are timers the first to suffer?",
    ],
    sources: &[
        "dotnet/docs: Debug ThreadPool starvation (125 clients: 33.06 req/s, 3.48 s; 1.61 req/s, 15.42 s; both windows of ten seconds)",
        "dotnet/runtime: PortableThreadPool.GateThread.cs, PortableThreadPool.Blocking.cs, TimerQueue.Portable.cs",
        "golang/go: runtime/proc.go (sysmon, retake)",
        "async-rs/async-std#631 (Stop worrying about blocking, never merged); tokio blog, Reducing tail latencies, 2020",
    ],
    benches: |_| -> Vec<Bench> { Vec::new() }, // virtual time costs nothing
};

const REPRODUCE: Step = Step {
    name: "reproduce",
    ask: "A .NET server has a handler that blocks for 500 ms on a task. 125 clients ask for ten seconds. Published: 3.48 s at the mean if \
          the pool notices the wait, 15.42 s if it does not. What does a simulation of the pool give for the second?",
    predict: Predict::Number { case: "simulated", param: "tasksleepwait" },
    kind: Kind::Count,
    cases: &["published", "simulated"],
    params: &["taskwait", "tasksleepwait"],
    launch: Launch::Together,
    measure: measure_reproduction,
    headline: "latency_mean_ns",
    columns: &[
        "latency_max_ns",
        "answered_in_window_count",
        "answered_count",
        "answers_off_count",
        "threads_max_count",
    ],
    claims: &[
        like_published("The mean latency of the first run, within a quarter", "taskwait", "latency_mean_ns"),
        like_published("and its longest", "taskwait", "latency_max_ns"),
        like_published("and its answers", "taskwait", "answered_count"),
        within(
            "Its 33 requests a second: the answers of ten seconds, within a tenth of the clients",
            "taskwait",
        ),
        like_published("The mean latency of the second run", "tasksleepwait", "latency_mean_ns"),
        like_published("and its longest", "tasksleepwait", "latency_max_ns"),
        like_published("and its answers", "tasksleepwait", "answered_count"),
        within("Its 1.6 requests a second, likewise", "tasksleepwait"),
    ],
    because: "A request is queued, a thread takes it and blocks; the timer that ends the wait is queued behind the other requests, and needs a \
              thread as well. So hardly anybody is answered until there are more threads than requests. For Task.Wait the pool adds them \
              quickly, for a loop of Thread.Sleep it sees only that nothing is taken from the queue, and adds one every 500 ms. Two things \
              are not published and were fitted, once, for both runs: the machine's cores (14), and how long the 125 connections took to come \
              (1.75 s). The worst of the latencies is then 23 % off, and the second run's 1.6 requests a second come out as 2.8 (28 answers \
              in ten seconds instead of 16). See src/experiments/injection.rs and injection/tutorial.rs.",
    tour: false,
};

const POLICIES: Step = Step {
    name: "policies",
    ask: "A pool of 8 threads for 8 cores never adds one. 40 clients call a handler that blocks for 500 ms, on a timer whose callback runs in the \
          same pool. How many answers do they get in ten seconds?",
    predict: Predict::Number { case: "fixed", param: "c40" },
    kind: Kind::Count,
    cases: &["awaits", "fixed", "gate", "cooperative", "hand_off"],
    params: &["c4", "c8", "c40", "c200"],
    launch: Launch::Together,
    measure: measure_policies,
    headline: "answered_in_window_count",
    columns: &["unanswered_count", "latency_mean_ns", "latency_max_ns", "threads_max_count"],
    claims: &[
        exactly("Four clients find a thread left for the timers", "fixed", "c4", "unanswered_count", 0.0),
        exactly("Eight do not: nobody is ever answered", "fixed", "c8", "unanswered_count", 8.0),
        exactly(
            "With 40 the gate answers nobody within the window",
            "gate",
            "c40",
            "answered_in_window_count",
            0.0,
        ),
        exactly("but everybody after it", "gate", "c40", "unanswered_count", 0.0),
        of_awaits("The cooperative policy loses at most a third of the answers", "cooperative", 0.67, 1.0),
        of_awaits("The hand-off at most a tenth", "hand_off", 0.9, 1.0),
        exactly("for a thread each, and one for the timers", "hand_off", "c200", "threads_max_count", 201.0),
        exactly(
            "An await needs no thread at all beyond the cores",
            "awaits",
            "c200",
            "unanswered_count",
            0.0,
        ),
    ],
    because: "What a blocked handler waits for is behind it in the queue. A pool that never grows is dead as soon as its last thread blocks; one \
              that grows slowly is dead for (clients - threads) half seconds; one that is told, or that looks, pays with a thread for each \
              request. None of them is needed where the handler returns its thread while it waits, which is the whole case for await. The \
              prediction is printed only if the step before reproduced what was published.",
    tour: false,
};

const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

const fn like_published(text: &'static str, param: &'static str, value: &'static str) -> Claim {
    let expect = Expect::Between(1.0 - LATENCY_ERROR_SHARE, 1.0 + LATENCY_ERROR_SHARE);
    claim(text, pick("simulated", param, value), Some(pick("published", param, value)), expect)
}

const fn within(text: &'static str, param: &'static str) -> Claim {
    claim(text, pick("simulated", param, "answers_off_count"), None, Expect::AtMost(ANSWERS_ERROR_COUNT))
}

const fn of_awaits(text: &'static str, case: &'static str, from: f64, to: f64) -> Claim {
    let value = "answered_in_window_count";
    claim(text, pick(case, "c40", value), Some(pick("awaits", "c40", value)), Expect::Between(from, to))
}

/// A count is whole; its mean over launches is rounded.
const fn exactly(
    text: &'static str,
    case: &'static str,
    param: &'static str,
    value: &'static str,
    is: f64,
) -> Claim {
    claim(text, pick(case, param, value), None, Expect::Between(is - 0.001, is + 0.001))
}

fn each(cases: &[&str], params: &[&str], sample: impl Fn(&str, &str) -> Sample) -> Vec<Sample> {
    cases.iter().flat_map(|c| params.iter().map(|p| sample(c, p))).collect()
}

fn measure_reproduction(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let Some(run) = TUTORIAL.iter().find(|run| run.name == param) else {
            return Sample::unmeasured(case, param, "no such run");
        };
        if case == "published" {
            return Sample::new(case, param)
                .with("latency_mean_ns", run.latency_mean_ms * 1e6)
                .with("latency_max_ns", run.latency_max_ms * 1e6)
                .with("answered_in_window_count", run.in_window_count())
                .with("answered_count", run.answered_count);
        }
        let got = run.simulated(TUTORIAL_CORES);
        sample(case, param, &got)
            .with("answers_off_count", (got.in_window_count as f64 - run.in_window_count()).abs())
    })
}

fn sample(case: &str, param: &str, got: &Outcome) -> Sample {
    let mut sample = Sample::new(case, param)
        .with("answered_in_window_count", got.in_window_count as f64)
        .with("answered_count", got.answered_count as f64)
        .with("unanswered_count", got.unanswered_count as f64)
        .with("threads_max_count", got.threads_max_count as f64)
        .seeing(SIMULATED);
    if got.answered_count > 0 {
        sample.values.insert("latency_mean_ns".into(), got.latency_mean_ms * 1e6);
        sample.values.insert("latency_max_ns".into(), got.latency_max_ms as f64 * 1e6);
    }
    sample
}

fn measure_policies(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let reproduced = reproduction();
    each(cases, params, |case, param| {
        let policy = match case {
            "awaits" | "fixed" => Policy::Fixed,
            "gate" => Policy::Gate,
            "cooperative" => Policy::Cooperative,
            "hand_off" => Policy::HandOff,
            _ => return Sample::unmeasured(case, param, "no such policy"),
        };
        if let Err(why) = &reproduced {
            return Sample::unmeasured(case, param, format!("no prediction without a reproduction: {why}"));
        }
        let clients = param.strip_prefix('c').and_then(|n| n.parse().ok());
        let Some(clients) = clients.filter(|n| *n <= 10_000) else {
            return Sample::unmeasured(case, param, "no such number of clients");
        };
        let blocks = case != "awaits";
        let load = Load { clients, spread_ms: 0, handler_ms: 500, blocks, window_ms: 10_000 };
        sample(case, param, &simulate(policy, POOL, load))
    })
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

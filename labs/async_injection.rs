//! When all threads of a pool block, who adds one, and how soon?
//!
//! Run it: `cargo run --release --bin async_injection -- --step`
use underhood::{
    experiments::injection::{
        Load, Outcome, Policy, Pool, simulate,
        tutorial::{
            ANSWERS_ERROR_COUNT, LATENCY_ERROR_SHARE, Published, TUTORIAL, TUTORIAL_CORES, reproduction,
        },
    },
    lab::{
        Bound, Contender, Kind, Lab, Setting, Step, at_most, between, count, exactly, pick, ratio,
        sample::Sample, setting, shown_by, source,
    },
};

/// On every row: no thread and no clock had a part in it.
const SIMULATED: &str = "SIMULATED, in virtual time";
const POOL: Pool = Pool { cores: 8, threads: 8 };

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_injection", "When all threads of a pool block, who adds one, and how soon?")
        .step(reproduce())
        .step(policies())
        .say(
            "policies",
            "In a simulation that reproduces .NET's published starvation figures within a quarter, 40 clients of a handler that \
             blocks for 500 ms got {value} answers in ten seconds from a pool of 8 cores that adds a thread every half second, \
             against {against} if the handler awaits.",
            ratio(("gate", "c40"), ("awaits", "c40")),
            "what the handler waits for needs no thread of the same pool",
        )
        .say(
            "policies",
            "Simulated: with a fixed pool {value} of the 40 are never answered, since the timer that would end their wait needs one of \
             the threads that wait.",
            pick("fixed", "c40", "unanswered_count"),
            "there is a thread more than there are handlers that block at once",
        )
        .not_said(&[
            "Nothing here was measured: it is a model, and its two unknowns were fitted to the figures that it reproduces.",
            "Not that the second run's 1.6 requests a second are reproduced as a rate: the model gives 2.8. What agrees within the bound are the few \
             answers behind it, the mean and the longest latency. That the pool starts with twice the cores was one of five factors tried.",
            "Nothing about other figures than those: the model is sensitive to the number of cores (13 or 15 do not reproduce both runs).",
            "Nothing about programs in Go, where a goroutine that waits holds no thread: hand-off is for system calls.",
            "Nothing about hill climbing, CPU load or memory limits.",
        ])
        .next(&[
            "Why does tokio not add a worker when all of them block? (its authors: the program is to say so, with block_in_place)",
            "What does a pool that adds threads hide, and until when?",
            "Why does the second burst of the same load not starve? (the threads exist already)",
            "Which waits can a runtime notice at all?",
            "Why are timers the first to suffer?",
        ])
        .sources(&[
            "dotnet/docs: Debug ThreadPool starvation (125 clients: 33.06 req/s, 3.48 s; 1.61 req/s, 15.42 s; both windows of ten seconds)",
            "dotnet/runtime: PortableThreadPool.GateThread.cs, PortableThreadPool.Blocking.cs, TimerQueue.Portable.cs",
            "golang/go: runtime/proc.go (sysmon, retake)",
            "async-rs/async-std#631 (Stop worrying about blocking, never merged); tokio blog, Reducing tail latencies, 2020",
        ])
}

// Virtual time costs nothing, so there are no benches.

fn reproduce() -> Step {
    type Figures = fn(&Published) -> Sample;
    const SIDES: &[Setting<Figures>] = &[
        setting("published", |run| {
            Sample::default()
                .with("latency_mean_ns", run.latency_mean_ms * 1e6)
                .with("latency_max_ns", run.latency_max_ms * 1e6)
                .with("answered_in_window_count", run.in_window_count())
                .with("answered_count", run.answered_count)
        }),
        setting("simulated", |run| {
            let got = run.simulated(TUTORIAL_CORES);
            sample(&got).with("answers_off_count", (got.in_window_count as f64 - run.in_window_count()).abs())
        }),
    ];
    fn like_published(param: &'static str, value: &'static str) -> Bound {
        let of = ratio(pick("simulated", param, value), pick("published", param, value));
        between(1.0 - LATENCY_ERROR_SHARE, 1.0 + LATENCY_ERROR_SHARE, of)
    }
    fn within(param: &'static str) -> Bound {
        at_most(ANSWERS_ERROR_COUNT, pick("simulated", param, "answers_off_count"))
    }
    Step::new("reproduce", Kind::Count, "latency_mean_ns")
        .withdrawn("its tolerance lets 28 answers pass for a published 16, and the dispatcher it models is not today's")
        .ask_number(
            "A .NET server has a handler that blocks for 500 ms on a task. 125 clients ask for ten seconds. Published: 3.48 s at the mean if \
             the pool notices the wait, 15.42 s if it does not. What does a simulation of the pool give for the second?",
            "simulated",
            "tasksleepwait",
        )
        .columns(&[
            "latency_max_ns",
            "answered_in_window_count",
            "answered_count",
            "answers_off_count",
            "threads_max_count",
        ])
        .each(SIDES, TUTORIAL.map(Published::point), |_, side, run| Ok((side.value)(&run.value)))
        .claim(
            like_published("taskwait", "latency_mean_ns"),
            "The mean latency of the first run, within a quarter",
        )
        .claim(like_published("taskwait", "latency_max_ns"), "and its longest")
        .claim(like_published("taskwait", "answered_count"), "and its answers")
        .claim(
            within("taskwait"),
            "Its 33 requests a second: the answers of ten seconds, within a tenth of the clients",
        )
        .claim(like_published("tasksleepwait", "latency_mean_ns"), "The mean latency of the second run")
        .claim(like_published("tasksleepwait", "latency_max_ns"), "and its longest")
        .claim(like_published("tasksleepwait", "answered_count"), "and its answers")
        .claim(within("tasksleepwait"), "Its 1.6 requests a second, likewise")
        .because(
            "A request is queued, a thread takes it and blocks; the timer that ends the wait is queued behind the other requests, and needs a \
             thread as well.",
            source("dotnet/runtime: TimerQueue.Portable.cs"),
        )
        .because(
            "So hardly anybody is answered until there are more threads than requests.",
            shown_by(like_published("tasksleepwait", "latency_mean_ns")),
        )
        .because(
            "For Task.Wait the pool adds them quickly, for a loop of Thread.Sleep it sees only that nothing is taken from the queue, and adds \
             one every 500 ms.",
            source("dotnet/runtime: PortableThreadPool.GateThread.cs, PortableThreadPool.Blocking.cs"),
        )
        .because(
            "Two things are not published and were fitted, once, for both runs: the machine's cores (14), and how long the 125 connections \
             took to come (1.75 s).",
            source("src/experiments/injection/tutorial.rs"),
        )
        .because(
            "The worst of the latencies is then 23 % off, and the second run's 1.6 requests a second come out as 2.8 (28 answers in ten seconds \
             instead of 16). See src/experiments/injection.rs and injection/tutorial.rs.",
            shown_by(within("tasksleepwait")),
        )
}

/// What is done about threads that block, and whether the handler blocks at all. A model predicts only once it has reproduced.
const POLICIES: &[Setting<(Policy, bool)>] = &[
    policy("awaits", Policy::Fixed, false),
    policy("fixed", Policy::Fixed, true),
    policy("gate", Policy::Gate, true),
    policy("cooperative", Policy::Cooperative, true),
    policy("hand_off", Policy::HandOff, true),
];

const fn policy(id: &'static str, policy: Policy, blocks: bool) -> Setting<(Policy, bool)> {
    Setting { is: Contender::new(id).checked(reproduced), value: (policy, blocks) }
}

fn reproduced() -> Result<(), String> {
    reproduction().map_err(|why| format!("no prediction without a reproduction: {why}"))
}

fn policies() -> Step {
    fn of_awaits(least: f64, case: &'static str) -> Bound {
        between(least, 1.0, ratio((case, "c40"), ("awaits", "c40")))
    }
    let dead = || exactly(8.0, pick("fixed", "c8", "unanswered_count"));
    let slow = || exactly(0.0, ("gate", "c40"));
    let a_thread_each = || exactly(201.0, pick("hand_off", "c200", "threads_max_count"));
    Step::new("policies", Kind::Count, "answered_in_window_count")
        .withdrawn("it rests on a model that does not reproduce what was published")
        .ask_number(
            "A pool of 8 threads for 8 cores never adds one. 40 clients call a handler that blocks for 500 ms, on a timer whose callback runs in the \
             same pool. How many answers do they get in ten seconds?",
            "fixed",
            "c40",
        )
        .columns(&["unanswered_count", "latency_mean_ns", "latency_max_ns", "threads_max_count"])
        .each(
            POLICIES,
            [count("c4", 4), count("c8", 8), count("c40", 40), count("c200", 200)],
            |_, policy, clients| {
                let ((policy, blocks), clients) = (policy.value, clients.value as u64);
                let load = Load { clients, spread_ms: 0, handler_ms: 500, blocks, window_ms: 10_000 };
                Ok(sample(&simulate(policy, POOL, load)))
            },
        )
        .claim(
            exactly(0.0, pick("fixed", "c4", "unanswered_count")),
            "Four clients find a thread left for the timers",
        )
        .claim(dead(), "Eight do not: nobody is ever answered")
        .claim(slow(), "With 40 the gate answers nobody within the window")
        .claim(exactly(0.0, pick("gate", "c40", "unanswered_count")), "but everybody after it")
        .claim(of_awaits(0.67, "cooperative"), "The cooperative policy loses at most a third of the answers")
        .claim(of_awaits(0.9, "hand_off"), "The hand-off at most a tenth")
        .claim(a_thread_each(), "for a thread each, and one for the timers")
        .claim(
            exactly(0.0, pick("awaits", "c200", "unanswered_count")),
            "An await needs no thread at all beyond the cores",
        )
        .because(
            "What a blocked handler waits for is behind it in the queue. A pool that never grows is dead as soon as its last thread blocks.",
            shown_by(dead()),
        )
        .because("One that grows slowly is dead for (clients - threads) half seconds.", shown_by(slow()))
        .because(
            "One that is told, or that looks, pays with a thread for each request.",
            shown_by(a_thread_each()),
        )
        .because(
            "None of them is needed where the handler returns its thread while it waits, which is the whole case for await.",
            shown_by(at_most(8.0, pick("awaits", "c200", "threads_max_count"))),
        )
        .because(
            "The prediction is printed only if the step before reproduced what was published.",
            source("labs/async_injection.rs"),
        )
}

fn sample(got: &Outcome) -> Sample {
    let mut sample = Sample::default()
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

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

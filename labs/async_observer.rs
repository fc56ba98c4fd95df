//! Does looking at a runtime change what it does?
//!
//! Run it: `cargo run --release --bin async_observer -- --step`
use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio::runtime::Handle;
use underhood::{
    experiments::{
        hang::SCENES,
        observe::{PROBES, Probe, prepare, probed},
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::lateness::{RuntimeSeen, RuntimeWatch, interleaved, watch_runtime},
    record::AA,
};

const WORKERS: usize = 8;
const UNIT: Duration = Duration::from_millis(20);
/// The victim's timer.
const TICK: Duration = Duration::from_millis(4);
/// How often each probe looks; not a multiple of [`TICK`].
const LOOK: Duration = Duration::from_micros(5300);
/// A runtime that is not done by then is reported, shut down, and left behind.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) static LAB: Lab = Lab {
    stem: "async_observer",
    question: "Does looking at a runtime change what it does?",
    steps: &[LATE, WEDGE],
    says: &[
        Say {
            step: "late",
            text: "A blocked driver made a timer {against} late at the median; with a watchdog that spawned an empty task every 5 ms it was {value}.",
            of: pick("ping", "w8", "timer_p50_ns"),
            against: Some(pick("nothing", "w8", "timer_p50_ns")),
            not_true_when: "what starves is not the driver: of workers that are all blocked a ping frees none",
        },
        Say {
            step: "wedge",
            text: "A deadlock over the driver hung in {against} of the runs, and in {value} of those that a watchdog pinged.",
            of: pick("ping", "mutex_block_on", "hung_share"),
            against: Some(pick("nothing", "mutex_block_on", "hung_share")),
            not_true_when: "the hang is the LIFO slot's: that one a ping leaves alone",
        },
    ],
    not_said: &[
        "That a ping is a cure: the next timer can wedge the runtime again, between two pings.",
        "Nothing about sampling profilers and debuggers, which stop the threads.",
    ],
    next: &[
        "How would you measure this starvation at all, then? (with what wakes nobody: counters, /proc)",
        "Why did the bug vanish when somebody turned on the health check?",
        "Which of tokio's metrics are fresh while a worker is blocked? (the parity of parks; not the busy time)",
    ],
    sources: &[
        "tokio 1.54.1, src/runtime/scheduler/multi_thread/{worker,park}.rs; tokio-rs/tokio#4730, #8010",
        "Start9Labs/start-os, commit 392ae2d (a ping every 30 s as the mitigation)",
    ],
    benches: |_| -> Vec<Bench> { Vec::new() }, // a probe's cost is what it changes
};

const LATE: Step = Step {
    name: "late",
    ask: "One task, woken by its own timer, blocks for 20 ms each time; 7 of 8 workers are idle, and another task's timers come late. Now a thread \
          outside spawns an empty task every 5 ms, to see whether the runtime is alive. How late are those timers, at the median?",
    predict: Predict::Number { case: "ping", param: "w8" },
    kind: Kind::Tail,
    cases: &["nothing", "counters", "timer", "wake", "ping"],
    params: &["w8"],
    launch: Launch::Together,
    measure: measure_late,
    headline: "timer_p50_ns",
    columns: &["timer_max_ns", "units_per_s", "cpu_share"],
    claims: &[
        late(
            "Whoever only reads counters changes nothing: 0.6 to 1.7 times",
            "counters",
            Expect::Between(0.6, 1.7),
        ),
        late("A wake from outside takes most of the delay away: at most half", "wake", Expect::AtMost(0.5)),
        late("So does a ping", "ping", Expect::AtMost(0.5)),
    ],
    because: "The worker that polled the driver went off to run the blocker, and the others sleep beside the driver (async_starvation has the \
              mechanism). Whatever wakes one of them from outside, be it a message or a spawn, makes it look for work and then park on the driver: \
              the probe gives the timers a keeper. Reading a counter wakes nobody. So a test with an active probe says that all is well, \
              and the program without one is not. See src/experiments/observe.rs.",
    tour: false,
};

const WEDGE: Step = Step {
    name: "wedge",
    ask: "A runtime of 8 workers hangs: a pool job holds a std mutex while it waits for a timer in Handle::block_on. A watchdog spawns an empty task \
          every 5 ms. In which share of the runs does it still hang?",
    predict: Predict::Number { case: "ping", param: "mutex_block_on" },
    kind: Kind::Count,
    cases: &["nothing", "counters", "wake", "ping"],
    params: &["mutex_block_on", "blocked"],
    launch: Launch::Together,
    measure: measure_wedge,
    headline: "hung_share",
    columns: &["released_share"],
    claims: &[
        hangs("Left alone it hangs", "nothing", "mutex_block_on", 1.0),
        hangs("and while its counters are read", "counters", "mutex_block_on", 1.0),
        hangs("A ping sets it free", "ping", "mutex_block_on", 0.0),
        hangs("so does a message to any other task", "wake", "mutex_block_on", 0.0),
        hangs("The riddle's hang, in the LIFO slot, survives the ping", "ping", "blocked", 1.0),
    ],
    because: "In the first hang nobody keeps the driver; a ping wakes a worker, which parks on the driver, and the timer that all wait for fires. In the \
              riddle the helper sits in the LIFO slot of the worker that waits for it: others wake up, find the queues empty, and sleep again. \
              A watchdog that pings is a cure for the one, by accident, and blind to both: it gets its answer from a worker that is well.",
    tour: false,
};

const fn late(text: &'static str, case: &'static str, expect: Expect) -> Claim {
    let nothing = Some(pick("nothing", "w8", "timer_p50_ns"));
    Claim { text, of: pick(case, "w8", "timer_p50_ns"), against: nothing, expect, cores: 1 }
}

const fn hangs(text: &'static str, case: &'static str, param: &'static str, share: f64) -> Claim {
    let expect = Expect::Between(share - 0.001, share + 0.001);
    Claim { text, of: pick(case, param, "hung_share"), against: None, expect, cores: 1 }
}

fn probe(case: &str) -> Result<Probe, String> {
    PROBES.iter().find(|(name, _)| *name == case).map(|(_, probe)| *probe).ok_or("no such probe".into())
}

/// All probes in random order, each on a runtime of its own. The victim is the same task in each row, and is no probe: without it there would
/// be nobody to be late.
fn measure_late(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    // As many ticks as a median needs.
    let window =
        if plan.is_smoke() { TICK * 4 } else { plan.slice.mul_f64(0.6).max(Duration::from_millis(100)) };
    let slice = |case: &str, _: &str| {
        let probe = probe(if case == AA { cases[0] } else { case })?;
        let watch =
            RuntimeWatch { workers: WORKERS, window, tick: Some(TICK), wake: None, patience: PATIENCE };
        let probing = Arc::new(OnceLock::new());
        let started = Arc::clone(&probing);
        let rest = move |start: Instant| {
            // From inside: only here is there a handle of the runtime under watch.
            started.get_or_init(|| prepare(&Handle::current(), probe, LOOK).look(LOOK));
            // Halfway between two ticks of the victim, so that the driver finds this task alone ready.
            let ticks = start.elapsed().as_nanos() / TICK.as_nanos();
            tokio::time::sleep_until((start + TICK * ticks as u32 + TICK.mul_f64(1.5)).into())
        };
        let seen = watch_runtime(&watch, 1, || async { std::thread::sleep(UNIT) }, rest)?;
        match probing.get() {
            Some(Ok(_)) => Ok(seen),
            Some(Err(why)) => Err(why.clone()),
            None => Err("the blocker never ran, and so nobody looked".into()),
        }
    };
    interleaved(plan, 1, cases, params, slice, RuntimeSeen::sample)
}

fn measure_wedge(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    // Longer than the scene's own timers, 25 ms in all: else it would not have hung yet.
    let settle = Duration::from_millis(50);
    let patience = if plan.is_smoke() { LOOK * 8 } else { Duration::from_millis(150) };
    let at = |case: &str, param: &str| {
        let scene = SCENES.iter().find(|s| s.name == param).ok_or("no such scene".to_string());
        let went = scene.and_then(|scene| probed(scene, WORKERS, probe(case)?, LOOK, settle, patience));
        match went {
            Ok(went) => {
                let share = |yes: bool| f64::from(u8::from(yes));
                Sample::new(case, param)
                    .with("hung_share", share(went.hung))
                    .with("released_share", share(went.released))
            }
            Err(why) => Sample::unmeasured(case, param, why),
        }
    };
    cases.iter().flat_map(|c| params.iter().map(|p| at(c, p))).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

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
        hang::{BLOCKED, MUTEX_BLOCK_ON},
        observe::{CERTAIN, PROBES, Probe, prepare, probed},
    },
    lab::{
        Bound, Kind, Lab, Setting, Step, at, at_least, at_most, between, count, exactly, ratio,
        sample::Sample, shown_by, source,
    },
    measure::lateness::{RuntimeSeen, RuntimeWatch, in_turn, watch_runtime},
};

const WORKERS: usize = 8;
const UNIT: Duration = Duration::from_millis(20);
/// The victim's timer.
const TICK: Duration = Duration::from_millis(4);
/// How often each probe looks; not a multiple of [`TICK`].
const LOOK: Duration = Duration::from_micros(5300);
/// A runtime that is not done by then is reported, shut down, and left behind.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_observer", "Does looking at a runtime change what it does?")
        .step(late())
        .step(wedge())
        .say(
            "late",
            "A blocked driver made a timer {against} late at the median; with a watchdog that spawned an empty task every 5 ms it was {value}.",
            ratio("ping", "nothing"),
            "what starves is not the driver: of workers that are all blocked a ping frees none",
        )
        .say(
            "wedge",
            "A deadlock over the driver hung in {against} of the runs, and in {value} of those that a watchdog pinged.",
            ratio(("ping", "mutex_block_on"), ("nothing", "mutex_block_on")),
            "the hang is the LIFO slot's: that one a ping leaves alone",
        )
        .not_said(&[
            "That a ping is a cure: the next timer can wedge the runtime again, between two pings.",
            "Nothing about sampling profilers and debuggers, which stop the threads.",
        ])
        .next(&[
            "How would you measure this starvation at all, then? (with what wakes nobody: counters, /proc)",
            "Why did the bug vanish when somebody turned on the health check?",
            "Which of tokio's metrics are fresh while a worker is blocked? (the parity of parks; not the busy time)",
        ])
        .sources(&[
            "tokio 1.54.1, src/runtime/scheduler/multi_thread/{worker,park}.rs; tokio-rs/tokio#4730, #8010",
            "Start9Labs/start-os, commit 392ae2d (a ping every 30 s as the mitigation)",
        ])
}

// No benches: a probe's cost is what it changes.
fn late() -> Step {
    let quiet = || between(0.6, 1.7, ratio("counters", "nothing"));
    let woken = || at_most(0.5, ratio("wake", "nothing"));
    let pinged = || at_most(0.5, ratio("ping", "nothing"));
    Step::new("late", Kind::Tail, "timer_p50_ns")
        .ask_number(
            "One task, woken by its own timer, blocks for 20 ms each time; 7 of 8 workers are idle, and another task's timers come late. Now a thread \
             outside spawns an empty task every 5 ms, to see whether the runtime is alive. How late are those timers, at the median?",
            "ping",
            "w8",
        )
        .columns(&["timer_max_ns", "units_per_s", "cpu_share"])
        .contenders(&PROBES)
        .over_all([count("w8", WORKERS)], |plan, points| {
            // As many ticks as a median needs.
            let window =
                if plan.is_smoke() { TICK * 4 } else { plan.slice.mul_f64(0.6).max(Duration::from_millis(100)) };
            let slice = |probe: &Setting<Probe>, workers: &usize| watched(probe.value, *workers, window);
            in_turn(plan, 1, &PROBES, points, slice, |_, _, seen| Ok(RuntimeSeen::sample(seen)))
        })
        .claim(quiet(), "Whoever only reads counters changes nothing: 0.6 to 1.7 times")
        .claim(woken(), "A wake from outside takes most of the delay away: at most half")
        .claim(pinged(), "So does a ping")
        .because(
            "The worker that polled the driver went off to run the blocker, and the others sleep beside the driver (async_starvation has the \
             mechanism).",
            source("tokio 1.54.1, src/runtime/scheduler/multi_thread/{worker,park}.rs"),
        )
        .because(
            "Whatever wakes one of them from outside, be it a message or a spawn, makes it look for work and then park on the driver: \
             the probe gives the timers a keeper.",
            shown_by(woken()),
        )
        .because("Reading a counter wakes nobody.", shown_by(quiet()))
        .because(
            "So a test with an active probe says that all is well, and the program without one is not. See src/experiments/observe.rs.",
            shown_by(pinged()),
        )
}

/// One probe on a runtime of its own. The victim is the same task in each row, and is no probe: without it there would be nobody to be late.
fn watched(probe: Probe, workers: usize, window: Duration) -> Result<RuntimeSeen, String> {
    let watch = RuntimeWatch { workers, window, tick: Some(TICK), wake: None, patience: PATIENCE };
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
}

fn wedge() -> Step {
    fn hangs(share: f64, case: &'static str, param: &'static str) -> Bound {
        exactly(share, (case, param))
    }
    Step::new("wedge", Kind::Count, "hung_share")
        .ask_number(
            "A runtime of 8 workers hangs: a pool job holds a std mutex while it waits for a timer in Handle::block_on. A watchdog spawns an empty task \
             every 5 ms. In which share of the runs does it still hang?",
            "ping",
            "mutex_block_on",
        )
        .columns(&["released_share"])
        .each(&CERTAIN, [MUTEX_BLOCK_ON, BLOCKED].map(|scene| at(scene.is.id, scene)), |plan, probe, scene| {
            // Longer than the scene's own timers, 25 ms in all: else it would not have hung yet.
            let settle = Duration::from_millis(50);
            let patience = if plan.is_smoke() { LOOK * 8 } else { Duration::from_millis(150) };
            let went = probed(&scene.value, WORKERS, probe.value, LOOK, settle, patience)?;
            let share = |yes: bool| f64::from(u8::from(yes));
            Ok(Sample::default()
                .with("hung_share", share(went.hung))
                .with("released_share", share(went.released)))
        })
        .claim(hangs(1.0, "nothing", "mutex_block_on"), "Left alone it hangs")
        .claim(hangs(1.0, "counters", "mutex_block_on"), "and while its counters are read")
        .claim(hangs(0.0, "ping", "mutex_block_on"), "A ping sets it free")
        .claim(hangs(0.0, "wake", "mutex_block_on"), "so does a message to any other task")
        .claim(hangs(1.0, "ping", "blocked"), "The riddle's hang, in the LIFO slot, survives the ping")
        .because(
            "In the first hang nobody keeps the driver; a ping wakes a worker, which parks on the driver, and the timer that all wait for fires.",
            shown_by(hangs(0.0, "ping", "mutex_block_on")),
        )
        .because(
            "In the riddle the helper sits in the LIFO slot of the worker that waits for it. Others wake up, find the queues empty, and sleep again.",
            shown_by(at_least(0.99, ("wake", "blocked"))),
        )
        .because(
            "A watchdog that pings is a cure for the one, by accident, and blind to both: it gets its answer from a worker that is well.",
            shown_by(hangs(1.0, "ping", "blocked")),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

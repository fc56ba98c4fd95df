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
            "One blocking task made another task's timer {against} late at the median. With a watchdog that \
            spawned an empty task every 5.3 ms, the timer was {value} late.",
            ratio("ping", "nothing"),
            "all workers are blocked. A spawned task frees none of them",
        )
        .say(
            "wedge",
            "A job held a std mutex while it waited for a timer in block_on. The runtime hung in {against} \
            of the runs. With a watchdog that spawned empty tasks, {value} of the runs hung.",
            ratio(("ping", "mutex_block_on"), ("nothing", "mutex_block_on")),
            "the task that all wait for is in the LIFO slot of a blocked worker. Then a spawned task does \
            not help",
        )
        .not_said(&[
            "That a ping (an empty task spawned from outside) is a cure. Between two pings, the next timer \
            can make the runtime hang again.",
            "Anything about sampling profilers and debuggers, which stop the threads.",
        ])
        .next(&[
            "How can you measure this starvation, then? (read what wakes no worker: counters, /proc)",
            "Why did the bug vanish when somebody turned on the health check?",
            "Which of tokio's metrics are up to date while a worker is blocked? (the parity of the park \
            count, not the busy time)",
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
            "A runtime has 8 workers. One task blocks for 20 ms each time its own timer fires. The other 7 \
            workers are idle, but another task's timers come late. Now a thread outside spawns an empty task \
            every 5.3 ms, to see whether the runtime is alive. How late are those timers at the median?",
            "ping",
            "w8",
        )
        .columns(&["timer_max_ns", "units_per_s", "cpu_share"])
        .contenders(&PROBES)
        .over_all([count("w8", WORKERS)], |plan, points| {
            // As many ticks as a median needs.
            let window = if plan.is_smoke() {
                TICK * 4
            } else {
                plan.slice.mul_f64(0.6).max(Duration::from_millis(100))
            };
            let slice = |probe: &Setting<Probe>, workers: &usize| watched(probe.value, *workers, window);
            in_turn(plan, 1, &PROBES, points, slice, |_, _, seen| Ok(RuntimeSeen::sample(seen)))
        })
        .claim(
            quiet(),
            "A probe that only reads counters changes nothing: the delay is 0.6 to 1.7 times the \
            delay without a probe",
        )
        .claim(woken(), "With a wake-up from outside, the delay is at most half of the delay without a probe")
        .claim(pinged(), "With a ping (an empty task spawned from outside), the delay is at most half, too")
        .because(
            "The worker that polled the driver (timers and I/O) has left it to run the blocking task. The \
            other workers sleep, and none of them polls the driver. Lab async_starvation explains why.",
            source("tokio 1.54.1, src/runtime/scheduler/multi_thread/{worker,park}.rs"),
        )
        .because(
            "A message or a spawn from outside wakes one of these workers. It looks for work and then parks \
            on the driver, so the timers run again. The probe has repaired what it should only observe.",
            shown_by(woken()),
        )
        .because("Reading a counter wakes no worker.", shown_by(quiet()))
        .because(
            "So a test with an active probe reports that all is well, although the same program without the \
            probe starves. See src/experiments/observe.rs.",
            shown_by(pinged()),
        )
}

/// One probe on a runtime of its own. The victim is the same task in each row. It is not a probe, but the task whose lateness is measured.
fn watched(probe: Probe, workers: usize, window: Duration) -> Result<RuntimeSeen, String> {
    let watch = RuntimeWatch {
        workers,
        window,
        spread: Duration::ZERO,
        tick: Some(TICK),
        wake: None,
        patience: PATIENCE,
    };
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
        None => Err("the blocking task never ran, so the probe was not started".into()),
    }
}

fn wedge() -> Step {
    fn hangs(share: f64, case: &'static str, param: &'static str) -> Bound {
        exactly(share, (case, param))
    }
    Step::new("wedge", Kind::Count, "hung_share")
        .ask_number(
            "A runtime of 8 workers hangs: a job in the blocking pool holds a std mutex while it waits for a \
            timer in Handle::block_on. A watchdog spawns an empty task every 5.3 ms. What share of the runs \
            still hangs?",
            "ping",
            "mutex_block_on",
        )
        .columns(&["released_share"])
        .each(
            &CERTAIN,
            [MUTEX_BLOCK_ON, BLOCKED].map(|scene| at(scene.is.id, scene)),
            |plan, probe, scene| {
                // Longer than the scene's own timers, 25 ms in all: else it would not have hung yet.
                let settle = Duration::from_millis(50);
                let patience = if plan.is_smoke() { LOOK * 8 } else { Duration::from_millis(150) };
                let went = probed(&scene.value, WORKERS, probe.value, LOOK, settle, patience)?;
                let share = |yes: bool| f64::from(u8::from(yes));
                Ok(Sample::default()
                    .with("hung_share", share(went.hung))
                    .with("released_share", share(went.released)))
            },
        )
        .claim(hangs(1.0, "nothing", "mutex_block_on"), "Without a probe every run hangs")
        .claim(
            hangs(1.0, "counters", "mutex_block_on"),
            "With a probe that only reads counters, every run hangs",
        )
        .claim(hangs(0.0, "ping", "mutex_block_on"), "With a ping, no run hangs")
        .claim(hangs(0.0, "wake", "mutex_block_on"), "With a message to any other task, no run hangs")
        .claim(
            hangs(1.0, "ping", "blocked"),
            "If a task blocks its worker until a task in that worker's LIFO slot has run, it hangs even with \
            a ping",
        )
        .because(
            "In the hang with the std mutex, no worker holds the driver. A ping wakes a worker, and this \
            worker parks on the driver. Then the timer that all wait for fires.",
            shown_by(hangs(0.0, "ping", "mutex_block_on")),
        )
        .because(
            "In the other hang, the helper task is in the LIFO slot of the worker that waits for it. The \
            other workers wake up, find the queues empty, and sleep again.",
            shown_by(at_least(0.99, ("wake", "blocked"))),
        )
        .because(
            "A watchdog that pings cures the first hang by accident, and it detects neither hang: a healthy \
            worker answers the ping.",
            shown_by(hangs(1.0, "ping", "blocked")),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

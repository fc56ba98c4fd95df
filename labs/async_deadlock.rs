//! Why does waiting for a spawned task hang, even with an idle worker?
//!
//! Run it: `cargo run --release --bin async_deadlock -- --step`
use std::{
    hint::spin_loop,
    iter,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use underhood::{
    experiments::hang::{RIDDLE, Scene, Trial, WEDGES, scenes, trial},
    lab::{
        Bound, Contender, Kind, Lab, Point, Step, at, at_least, at_most, count, pick, plan::Plan, ratio,
        sample::Sample, shown_by, source,
    },
    measure::{
        lateness::{KEEP_ALIVE, Verdict},
        trace::{self, Trace},
    },
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_deadlock", "Why does waiting for a spawned task hang, even with an idle worker?")
        .step(riddle())
        .step(wedges())
        .step(detector())
        .say(
            "riddle",
            "On 8 workers, a task that spawns a helper and blocks on its answer hung in {value} of the runs, with the other 7 parked. \
             With one unrelated spawn in between, it hung in {against}.",
            ratio(("blocked", "w8"), ("blocked_after_spawn", "w8")),
            "tokio is 1.51.0, 1.51.1, 1.52.0 or 1.52.1, where other workers could steal from the LIFO slot, or the task awaits the \
             answer",
        )
        .say(
            "detector",
            "A detector that only reads counters raised a false alarm in {value} of the cases in which nothing hung, and missed {against} \
             of the hangs.",
            ratio(pick("all", "quiet", "false_alarm_share"), pick("all", "quiet", "miss_share")),
            "a single poll may take longer than the detector's window although nothing is wrong",
        )
        .not_said(&[
            "That two workers, or eight, cure sync-over-async (blocking a thread on async work).",
            "That the detector finds every deadlock: tasks that wait for each other without blocking a thread look idle to it.",
            "Anything about other versions of tokio: 1.51.0 added stealing from the LIFO slot, and 1.51.2 and 1.52.2 removed it.",
        ])
        .next(&[
            "What is the LIFO slot for? (message passing: the woken task finds the cache warm)",
            "Why does a watchdog that spawns a ping hide the bug it looks for?",
            "Why does Runtime::drop hang too, and what does shutdown_timeout do?",
            "Which lock may be held across an await, and which across a block_on?",
            "How do you notice a futurelock in production (a lock that was given to a future that is no longer polled)?",
        ])
        .sources(&[
            "tokio 1.54.1, src/runtime/scheduler/multi_thread/worker.rs (schedule_local, the LIFO slot); CHANGELOG of 1.51 and 1.52; #8065",
            "tokio-rs/tokio#4730 (the worker that owns the driver blocks), #6819; the turso blog, A deadlock with a single mutex",
            "bnb-chain/reth-bsc#476 (the pool that waits for itself); oxidecomputer RFD 609 (futurelock)",
        ])
}

// A hang has no cost to measure, so there are no benches.

const RIDDLE_WORKERS: [Point<usize>; 4] = [count("w1", 1), count("w2", 2), count("w4", 4), count("w8", 8)];
const WEDGES_WORKERS: [Point<usize>; 2] = [count("w2", 2), count("w8", 8)];

fn always(case: &'static str, param: &'static str) -> Bound {
    at_least(0.99, pick(case, param, "hung_share"))
}

fn never(case: &'static str, param: &'static str) -> Bound {
    at_most(0.01, pick(case, param, "hung_share"))
}

fn riddle() -> Step {
    let parked = || at_least(6.5, pick("blocked", "w8", "parked_workers_count"));
    Step::new("riddle", Kind::Count, "hung_share")
        .ask_number(
            "A task spawns a helper, then blocks its thread until the helper answers (std::sync::mpsc). The runtime has 8 workers and \
             nothing else to do. In which share of the runs does it hang?",
            "blocked",
            "w8",
        )
        .columns(&[
            "detected_share",
            "released_share",
            "stuck_workers_count",
            "parked_workers_count",
            "in_epoll_count",
        ])
        .each(&RIDDLE, RIDDLE_WORKERS, |plan, scene, workers| {
            Ok(sample(&played(plan, scene, workers.value, false)?))
        })
        .claim(always("blocked", "w1"), "With one worker, the task that blocks its worker hangs")
        .claim(always("blocked", "w2"), "With two workers, the task hangs as well")
        .claim(always("blocked", "w8"), "With eight workers, the task hangs as well")
        .claim(parked(), "With eight workers, seven are parked during the hang")
        .claim(
            never("blocked_after_spawn", "w2"),
            "With two workers and one unrelated spawn in between, the task does not hang",
        )
        .claim(
            always("blocked_after_spawn", "w1"),
            "With one worker and one unrelated spawn in between, the task hangs, since no other worker can steal",
        )
        .claim(never("in_place", "w1"), "In block_in_place, the task does not hang even with one worker")
        .claim(never("in_pool", "w1"), "In spawn_blocking, the task does not hang even with one worker")
        .claim(never("awaited", "w1"), "With an await, the task does not hang even with one worker")
        .claim(
            at_least(0.99, pick("blocked", "w2", "detected_share")),
            "With two workers, each hang was noticed from outside",
        )
        .because(
            "A task that is spawned from a worker goes into that worker's LIFO slot, to run next, while the cache is warm. No other \
             worker may take it from that slot.",
            source("tokio 1.54.1, src/runtime/scheduler/multi_thread/worker.rs (schedule_local)"),
        )
        .because(
            "So the helper waits for the worker that waits for the helper. All other workers find only empty queues.",
            shown_by(parked()),
        )
        .because(
            "A second spawn takes the slot, and the helper moves to the worker's queue. Other workers steal from that queue, so the \
             hang is gone, but only by luck.",
            shown_by(never("blocked_after_spawn", "w2")),
        )
        .because(
            "Before it blocks, block_in_place hands the worker's queue and slot to another thread. See `riddle` in \
             src/experiments/hang.rs.",
            shown_by(never("in_place", "w1")),
        )
}

fn wedges() -> Step {
    let nobody = || at_most(0.01, pick("mutex_block_on", "w8", "in_epoll_count"));
    Step::new("wedges", Kind::Count, "hung_share")
        .ask_number(
            "A job in the blocking pool holds a std mutex while it waits for a timer with Handle::block_on. A task whose timer fired \
             locks the same mutex. The runtime has 8 workers. In which share of the runs does the program hang?",
            "mutex_block_on",
            "w8",
        )
        .columns(&[
            "detected_share",
            "released_share",
            "stuck_workers_count",
            "parked_workers_count",
            "blocked_pool_threads_count",
            "in_epoll_count",
        ])
        .each(&WEDGES, WEDGES_WORKERS, |plan, scene, workers| {
            Ok(sample(&played(plan, scene, workers.value, false)?))
        })
        .claim(
            always("pool_cycle", "w8"),
            "A blocking pool of four threads hangs if its jobs wait for other jobs of the same pool",
        )
        .claim(never("pool_of_eight", "w8"), "With eight pool threads, the same jobs end")
        .claim(
            always("mutex_block_on", "w8"),
            "One std mutex, held across block_on, is enough for a hang, even with eight workers",
        )
        .claim(nobody(), "In the hang with the std mutex, no worker waits for timers any more")
        .claim(never("mutex_released", "w8"), "If the mutex is released before block_on, the program ends")
        .claim(
            always("futurelock", "w8"),
            "A future that has its place in a lock's queue and is not polled hangs its own task",
        )
        .claim(never("loser_dropped", "w8"), "If the unpolled future is dropped, the task ends")
        .claim(
            at_least(7.5, pick("futurelock", "w8", "parked_workers_count")),
            "In the hang of the unpolled future, no worker is stuck: all are parked",
        )
        .because(
            "Each of these hangs is a cycle of waiting, and each cycle has one wait that is easy to miss. In the pool, the jobs \
             also wait for a free thread of the pool.",
            shown_by(never("pool_of_eight", "w8")),
        )
        .because(
            "block_on's timer fires only while some worker is parked on the driver. The task's timer woke the worker that was parked \
             there. That worker then blocks on the mutex and hands the driver to no other worker, so the others stay asleep.",
            shown_by(nobody()),
        )
        .because(
            "In the futurelock, nothing holds the mutex: its permit belongs to a future that the task keeps but no longer polls. If \
             the task drops that future, the permit moves on.",
            shown_by(never("loser_dropped", "w8")),
        )
}

fn detector() -> Step {
    let quiet = || at_most(0.01, pick("all", "quiet", "false_alarm_share"));
    let missed = || at_least(0.99, ("futurelock", "quiet"));
    let computes = || at_least(0.99, pick("computes", "quiet", "cpu_bound_share"));
    let rows: Vec<Contender> = iter::once(ALL).chain(scenes().map(|scene| scene.is)).collect();
    Step::new("detector", Kind::Count, "miss_share")
        .ask_number(
            "A detector only reads counters and /proc, twice. It watches four hangs and thirteen programs that are healthy, idle or \
             busy. In which share of the hangs does it raise no alarm?",
            "all",
            "quiet",
        )
        .columns(&[
            "false_alarm_share",
            "hung_share",
            "blocked_share",
            "cpu_bound_share",
            "working_share",
            "waiting_share",
            "idle_share",
        ])
        .contenders(&rows)
        .over([at("quiet", false), at("busy_host", true)], |plan, busy| detected(plan, busy.id(), busy.value))
        .claim(quiet(), "The detector raises no alarm where nothing hangs")
        .claim(
            at_most(0.01, pick("all", "busy_host", "false_alarm_share")),
            "On a busy host, the detector raises no false alarm either",
        )
        .claim(missed(), "The detector misses the futurelock (a lock held by an unpolled branch)")
        .claim(
            at_most(0.34, ("all", "quiet")),
            "The detector misses no other hang, so at most a third of all hangs",
        )
        .claim(computes(), "The detector tells a long computation from a blocked worker")
        .because(
            "A worker is not parked if its count of parks and unparks is even. If that count and its busy time do not change during a \
             window, the worker was in one poll all the time.",
            source("src/measure/lateness/stuck.rs"),
        )
        .because(
            "The kernel shows whether the worker computes or blocks: by its CPU time, its time in the run queue, and its thread state.",
            shown_by(computes()),
        )
        .because(
            "tokio ends idle pool threads, so a pool thread that stays is occupied.",
            shown_by(at_least(0.99, pick("pool_cycle", "quiet", "blocked_share"))),
        )
        .because(
            "No counter shows which task waits for which. So the detector misses the futurelock: there is nothing to see.",
            shown_by(missed()),
        )
        .because(
            "From outside (counters, threads, their states), a futurelock looks like a task that waits for a message from another \
             thread. A detector that reports one reports the other. tests/measure/deadlock.rs compares the two. A long wait is no \
             evidence on a server that is idle at night.",
            source("tests/measure/deadlock.rs"),
        )
        .because(
            "The detector never wakes the runtime, because a ping from outside can end the hang. See src/measure/lateness/stuck.rs.",
            source("src/measure/lateness/stuck.rs"),
        )
}

/// One trial of a scene. Sound scenes end within the time they are given to settle, which is longer on a busy host.
fn played(plan: &Plan, scene: &Scene, workers: usize, busy: bool) -> Result<Trial, String> {
    let window = (plan.slice / 6).max(KEEP_ALIVE * 2);
    let settle = match (scene.ends, busy) {
        (false, _) => KEEP_ALIVE * 2,
        (true, false) => (window * 2).max(KEEP_ALIVE * 6),
        (true, true) => window * 4,
    };
    trial(scene, workers, settle, window)
}

/// A count that is 0 or 1 in one launch, and so a share over launches.
fn share(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn sample(trial: &Trial) -> Sample {
    let seen = &trial.seen;
    let is = |verdict| share(seen.verdict == verdict);
    let mut sample = Sample::default()
        .with("hung_share", share(trial.hung))
        .with("detected_share", share(trial.alarm()))
        .with("released_share", share(trial.released && trial.shut_down))
        .with("miss_share", share(trial.miss()))
        .with("false_alarm_share", share(trial.false_alarm()))
        .with("stuck_workers_count", seen.stuck_workers as f64)
        .with("parked_workers_count", seen.parked_workers as f64)
        .with("blocked_share", is(Verdict::Blocked))
        .with("cpu_bound_share", is(Verdict::CpuBound))
        .with("working_share", is(Verdict::Working))
        .with("waiting_share", is(Verdict::Waiting))
        .with("idle_share", is(Verdict::Idle));
    let threads = [
        ("blocked_pool_threads_count", seen.blocked_pool_threads),
        ("in_futex_count", seen.in_futex_threads),
        ("in_epoll_count", seen.in_epoll_threads),
    ];
    for (name, count) in threads {
        sample.values.extend(count.map(|count| (name.to_string(), count as f64)));
    }
    if !(trial.released && trial.shut_down) {
        sample.doubts.push("the rescue did not release everything: threads were left behind".into());
    }
    sample
}

/// Each scene until its rescue, for a picture: `--trace FILE`. The detector's step has the same scenes again.
fn traced(plan: &Plan, step: &Step) -> Vec<(String, Result<Trace, String>)> {
    let play = |scene: &Scene, workers: &usize| played(plan, scene, *workers, false).map(|_| ());
    match step.name {
        "riddle" => trace::each(&RIDDLE, &RIDDLE_WORKERS, play),
        "wedges" => trace::each(&WEDGES, &WEDGES_WORKERS, play),
        _ => Vec::new(),
    }
}

/// The detector's score over all scenes.
const ALL: Contender = Contender::new("all");

/// With two workers; on a busy host, two threads for each CPU spin beside it.
fn detected(plan: &Plan, param: &str, busy: bool) -> Vec<Sample> {
    let stop = AtomicBool::new(false);
    let trials: Vec<_> = thread::scope(|scope| {
        for _ in 0..if busy { plan.cpus.len() * 2 } else { 0 } {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    spin_loop();
                }
            });
        }
        let trials = scenes().map(|scene| (scene.is.id, played(plan, scene, 2, busy))).collect();
        stop.store(true, Relaxed);
        trials
    });
    let score = score(param, trials.iter().filter_map(|(_, trial)| trial.as_ref().ok()));
    let each = trials.iter().map(|(case, trial)| match trial {
        Ok(trial) => Sample { case: (*case).into(), param: param.into(), ..sample(trial) },
        Err(why) => Sample::unmeasured(case, param, why.clone()),
    });
    iter::once(score).chain(each).collect()
}

/// Misses as a share of the hangs, false alarms as a share of the rest.
fn score<'a>(param: &str, trials: impl Iterator<Item = &'a Trial> + Clone) -> Sample {
    let count = |is: fn(&Trial) -> bool| trials.clone().filter(|t| is(t)).count() as f64;
    let (hung, sound) = (count(|t| t.hung), count(|t| !t.hung));
    if hung == 0.0 || sound == 0.0 {
        return Sample::unmeasured(ALL.id, param, "nothing hung, or nothing was sound: there is no score");
    }
    Sample::new(ALL.id, param)
        .with("miss_share", count(Trial::miss) / hung)
        .with("false_alarm_share", count(Trial::false_alarm) / sound)
        .with("hung_share", hung / (hung + sound))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::traced_lab_main(lab, traced)
}

//! Why does waiting for a spawned task hang, even with an idle worker?
//!
//! Run it: `cargo run --release --bin async_deadlock -- --step`
use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    thread,
};

use underhood::{
    experiments::hang::{SCENES, Trial, trial},
    lab::{
        Bench, Claim, Expect, Kind, Lab, Launch, Pick, Predict, Say, Step, pick, plan::Plan, sample::Sample,
    },
    measure::{
        lateness::{KEEP_ALIVE, Verdict},
        trace::{self, Trace},
    },
};

pub(crate) static LAB: Lab = Lab {
    stem: "async_deadlock",
    question: "Why does waiting for a spawned task hang, even with an idle worker?",
    steps: &[RIDDLE, WEDGES, DETECTOR],
    says: &[
        Say {
            step: "riddle",
            text: "A task that spawns a helper and blocks on its answer hung in {value} of the runs on 8 workers, with the other 7 \
                   parked; with one unrelated spawn in between in {against}.",
            of: pick("blocked", "w8", "hung_share"),
            against: Some(pick("blocked_after_spawn", "w8", "hung_share")),
            not_true_when: "tokio is 1.51.0 or 1.51.1, whose LIFO slot could be stolen from; or the wait is an await",
        },
        Say {
            step: "detector",
            text: "A detector that only reads counters called somebody in {value} of the cases in which nothing hung, and nobody in {against} of \
                   the hangs.",
            of: pick("all", "quiet", "false_alarm_share"),
            against: Some(pick("all", "quiet", "miss_share")),
            not_true_when: "a single poll may rightly take longer than the detector's window",
        },
    ],
    not_said: &[
        "That two workers, or eight, are a cure for sync-over-async.",
        "That the detector finds every deadlock: tasks that wait for each other without blocking a thread look idle to it.",
        "Nothing about other versions of tokio: stealing from the LIFO slot came in 1.51.0 and went in 1.51.2.",
    ],
    next: &[
        "What is the LIFO slot for? (message passing: the woken task finds the cache warm)",
        "Why does a watchdog that spawns a ping hide the bug it looks for?",
        "Why does Runtime::drop hang too, and what does shutdown_timeout do?",
        "Which lock may be held across an await, and which across a block_on?",
        "How do you notice a futurelock in production?",
    ],
    sources: &[
        "tokio 1.54.1, src/runtime/scheduler/multi_thread/worker.rs (schedule_local, the LIFO slot); CHANGELOG of 1.51 and 1.52; #8065",
        "tokio-rs/tokio#4730 (the driver's owner blocks), #6819; the turso blog, A deadlock with a single mutex",
        "bnb-chain/reth-bsc#476 (the pool that waits for itself); oxidecomputer RFD 609 (futurelock)",
    ],
    benches: |_| -> Vec<Bench> { Vec::new() }, // a hang is no cost
};

const RIDDLE: Step = Step {
    name: "riddle",
    ask: "A task spawns a helper, then blocks its thread until the helper answers (std::sync::mpsc). The runtime has 8 workers and \
          nothing else to do. In which share of the runs does it hang?",
    predict: Predict::Number { case: "blocked", param: "w8" },
    kind: Kind::Count,
    cases: &["blocked", "blocked_after_spawn", "in_place", "in_pool", "awaited"],
    params: &["w1", "w2", "w4", "w8"],
    launch: Launch::Together,
    measure: measure_scenes,
    headline: "hung_share",
    columns: &[
        "detected_share",
        "released_share",
        "stuck_workers_count",
        "parked_workers_count",
        "in_epoll_count",
    ],
    claims: &[
        always("With one worker it hangs", "blocked", "w1"),
        always("With two it hangs as well", "blocked", "w2"),
        always("With eight it hangs as well", "blocked", "w8"),
        claim(
            "Seven workers are parked meanwhile",
            pick("blocked", "w8", "parked_workers_count"),
            Expect::AtLeast(6.5),
        ),
        never(
            "One unrelated spawn in between, and with two workers it does not hang",
            "blocked_after_spawn",
            "w2",
        ),
        always("With one worker it does, since nobody is there to steal", "blocked_after_spawn", "w1"),
        never("In block_in_place it does not hang even with one worker", "in_place", "w1"),
        never("Nor in spawn_blocking", "in_pool", "w1"),
        never("Nor with an await", "awaited", "w1"),
        claim(
            "Each hang was noticed from outside",
            pick("blocked", "w2", "detected_share"),
            Expect::AtLeast(0.99),
        ),
    ],
    because: "A task that is spawned from a worker goes into that worker's LIFO slot: it is to run next, while the cache is warm. Nobody else \
              may take from that slot. So the helper waits for the one worker that waits for the helper, and all others look at queues \
              that are empty. A second spawn takes the slot, and the helper moves to the worker's queue, from which others steal: the hang \
              is gone, by luck. block_in_place hands queue and slot to another thread first. See `riddle` in src/experiments/hang.rs.",
    tour: false,
};

const WEDGES: Step = Step {
    name: "wedges",
    ask: "A job in the blocking pool holds a std mutex while it waits for a timer with Handle::block_on. A task whose timer fired locks the \
          same mutex. The runtime has 8 workers. In which share of the runs does it hang?",
    predict: Predict::Number { case: "mutex_block_on", param: "w8" },
    kind: Kind::Count,
    cases: &[
        "pool_cycle",
        "pool_of_eight",
        "mutex_block_on",
        "mutex_released",
        "futurelock",
        "loser_dropped",
    ],
    params: &["w2", "w8"],
    launch: Launch::Together,
    measure: measure_scenes,
    headline: "hung_share",
    columns: &[
        "detected_share",
        "released_share",
        "stuck_workers_count",
        "parked_workers_count",
        "blocked_pool_threads_count",
        "in_epoll_count",
    ],
    claims: &[
        always("Four pool threads whose jobs wait for other jobs of the pool hang", "pool_cycle", "w8"),
        never("With eight threads the same jobs end", "pool_of_eight", "w8"),
        always("One std mutex is enough, whatever the number of workers", "mutex_block_on", "w8"),
        claim(
            "Nobody waits for timers any more",
            pick("mutex_block_on", "w8", "in_epoll_count"),
            Expect::AtMost(0.01),
        ),
        never("If the mutex is released before block_on it ends", "mutex_released", "w8"),
        always(
            "A future that holds a place in a queue and is not polled hangs its own task",
            "futurelock",
            "w8",
        ),
        never("If the loser is dropped it ends", "loser_dropped", "w8"),
        claim(
            "No worker is stuck in that hang: they are all parked",
            pick("futurelock", "w8", "parked_workers_count"),
            Expect::AtLeast(7.5),
        ),
    ],
    because: "Each is a circle of waiting, and each has another edge that nobody sees. The pool's jobs wait for a thread of the pool. The \
              timer of block_on is driven by whichever worker parks on the driver; the worker that the task's timer woke was that one, it \
              goes on to block on the mutex, and hands the driver to nobody, so the others sleep beside it. In the futurelock the mutex is \
              free and its permit belongs to a future that the task keeps but no longer polls. Drop it, and the permit moves on.",
    tour: false,
};

const DETECTOR: Step = Step {
    name: "detector",
    ask: "A detector only reads counters and /proc, twice. It is shown four hangs and thirteen programs that are sound, idle or busy. In which \
          share of the hangs does it call nobody?",
    predict: Predict::Number { case: "all", param: "quiet" },
    kind: Kind::Count,
    cases: &[
        "all",
        "blocked",
        "blocked_after_spawn",
        "in_place",
        "in_pool",
        "awaited",
        "pool_cycle",
        "pool_of_eight",
        "mutex_block_on",
        "mutex_released",
        "futurelock",
        "loser_dropped",
        "no_task",
        "waits_outside",
        "timer_ticks",
        "tasks_yield",
        "computes",
        "one_long_job",
    ],
    params: &["quiet", "busy_host"],
    launch: Launch::Together,
    measure: measure_detector,
    headline: "miss_share",
    columns: &[
        "false_alarm_share",
        "hung_share",
        "blocked_share",
        "cpu_bound_share",
        "working_share",
        "waiting_share",
        "idle_share",
    ],
    claims: &[
        claim(
            "It calls nobody where nothing hangs",
            pick("all", "quiet", "false_alarm_share"),
            Expect::AtMost(0.01),
        ),
        claim(
            "Not on a busy host either",
            pick("all", "busy_host", "false_alarm_share"),
            Expect::AtMost(0.01),
        ),
        claim("It misses the futurelock", pick("futurelock", "quiet", "miss_share"), Expect::AtLeast(0.99)),
        claim(
            "And no other hang, so at most a third of them",
            pick("all", "quiet", "miss_share"),
            Expect::AtMost(0.34),
        ),
        claim(
            "A long computation is told from a block",
            pick("computes", "quiet", "cpu_bound_share"),
            Expect::AtLeast(0.99),
        ),
    ],
    because: "A worker whose count of parks and unparks is even is not parked; if that count and its busy time stand still over a window, it has \
              been in one poll all the time. Whether it computes or blocks is the kernel's to say: CPU time, time in the run queue, the state. \
              A pool thread that stays although idle ones are let go is occupied. What no counter shows is who waits for whom: the \
              futurelock is missed because there is nothing to see. All it leaves outside (counters, threads, their states) is the same \
              as of a task that waits for a message from another thread (tests/deadlock.rs compares the two), so whoever calls for \
              the one calls for the other; and how long it has lasted is no evidence on a server at night. The detector never wakes the runtime: a ping from outside \
              can un-wedge the hang. See src/measure/lateness/stuck.rs.",
    tour: false,
};

const fn claim(text: &'static str, of: Pick, expect: Expect) -> Claim {
    Claim { text, of, against: None, expect, cores: 1 }
}

const fn always(text: &'static str, case: &'static str, param: &'static str) -> Claim {
    claim(text, pick(case, param, "hung_share"), Expect::AtLeast(0.99))
}

const fn never(text: &'static str, case: &'static str, param: &'static str) -> Claim {
    claim(text, pick(case, param, "hung_share"), Expect::AtMost(0.01))
}

/// One trial of a scene. Sound scenes end within the time they are given to settle, which is longer on a busy host.
fn played(plan: &Plan, case: &str, workers: usize, busy: bool) -> Result<Trial, String> {
    let scene = SCENES.iter().find(|s| s.name == case).ok_or("no such scene")?;
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

fn sample(case: &str, param: &str, trial: &Trial) -> Sample {
    let seen = &trial.seen;
    let is = |verdict| share(seen.verdict == verdict);
    let mut sample = Sample::new(case, param)
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
        sample.doubts.push("the rescue did not set everything free: threads were left behind".into());
    }
    sample
}

fn workers(param: &str) -> Result<usize, String> {
    let workers = param.strip_prefix('w').and_then(|n| n.parse().ok()).filter(|n| (1..=64).contains(n));
    workers.ok_or("no such number of workers".into())
}

/// Each scene until its rescue, for a picture: `--trace FILE`. The detector's step has the same scenes again.
fn traced(plan: &Plan, step: &Step) -> Vec<(String, Result<Trace, String>)> {
    if step.name == DETECTOR.name {
        return Vec::new();
    }
    trace::each(step, |case, param| played(plan, case, workers(param)?, false).map(|_| ()))
}

fn measure_scenes(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let at = |case: &str, param: &str| match workers(param).and_then(|w| played(plan, case, w, false)) {
        Ok(trial) => sample(case, param, &trial),
        Err(why) => Sample::unmeasured(case, param, why),
    };
    cases.iter().flat_map(|c| params.iter().map(|p| at(c, p))).collect()
}

/// With two workers; on a busy host, two threads for each CPU spin beside it.
fn measure_detector(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let stop = AtomicBool::new(false);
    let on_host = |param: &str, run: &mut dyn FnMut()| {
        stop.store(false, Relaxed);
        thread::scope(|scope| {
            for _ in 0..if param == "busy_host" { plan.cpus.len() * 2 } else { 0 } {
                scope.spawn(|| {
                    while !stop.load(Relaxed) {
                        spin_loop();
                    }
                });
            }
            run();
            stop.store(true, Relaxed);
        });
    };
    let mut samples = Vec::new();
    for param in params {
        let mut trials = Vec::new();
        on_host(param, &mut || {
            for case in cases.iter().filter(|c| **c != "all") {
                trials.push((*case, played(plan, case, 2, *param == "busy_host")));
            }
        });
        if cases.contains(&"all") {
            samples.push(score(param, trials.iter().filter_map(|(_, t)| t.as_ref().ok())));
        }
        samples.extend(trials.iter().map(|(case, trial)| match trial {
            Ok(trial) => sample(case, param, trial),
            Err(why) => Sample::unmeasured(case, param, why.clone()),
        }));
    }
    samples
}

/// Misses as a share of the hangs, false alarms as a share of the rest.
fn score<'a>(param: &str, trials: impl Iterator<Item = &'a Trial> + Clone) -> Sample {
    let count = |is: fn(&Trial) -> bool| trials.clone().filter(|t| is(t)).count() as f64;
    let (hung, sound) = (count(|t| t.hung), count(|t| !t.hung));
    if hung == 0.0 || sound == 0.0 {
        return Sample::unmeasured("all", param, "nothing hung, or nothing was sound: there is no score");
    }
    Sample::new("all", param)
        .with("miss_share", count(Trial::miss) / hung)
        .with("false_alarm_share", count(Trial::false_alarm) / sound)
        .with("hung_share", hung / (hung + sound))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::traced_lab_main(&LAB, traced)
}

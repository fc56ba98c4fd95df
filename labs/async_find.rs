//! Which tool finds the task that blocks the runtime?
//!
//! Run it: `cargo run --release --bin async_find -- --step`
use std::{thread, time::Duration};

use underhood::{
    experiments::detectors::{
        COSTS, Found, GRACE, ORDINARY, SUSPECT, Scene, TOOLS, Tool, compute, look_for, polls,
    },
    lab::{
        Kind, Lab, ONCE, Point, Setting, Step, at, at_least, at_most, pick,
        plan::Plan,
        ratio,
        sample::{Sample, Side},
        shown_by, source,
    },
    measure::{cost, lateness::in_turn},
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_find", "Which tool finds the task that blocks the runtime?")
        .step(names())
        .step(delay())
        .step(false_alarms())
        .step(cost_of_polls())
        .say(
            "names",
            "One of five tasks, woken by a message from another thread, blocks its worker for 20 ms. A heartbeat (a task that sleeps for 5 ms \
             and looks how late it wakes) noticed {value} of the blocks with two workers, and {against} with one. It never names a task.",
            ratio(pick("heartbeat", "sleeps_w2", NOTICED), pick("heartbeat", "sleeps_w1", NOTICED)),
            "all workers block at once, or a timer or a socket wakes the task that blocks. Then no worker may look at the timers (lab \
             async_starvation)",
        )
        .say(
            "delay",
            "A task blocks for 80 ms, and the limit is 10 ms. Its TaskMonitor (tokio-metrics) gives the alarm after {value}. A thread that \
             looks every 2 ms since when each poll runs gives it after {against}.",
            ratio(("slow_polls", "block_80ms"), ("poll_watch", "block_80ms")),
            "the block is hardly longer than the limit of 10 ms, or the tools are read much less often than every 2 ms",
        )
        .say(
            "false_alarms",
            "Nobody blocks, but 64 tasks are always ready and compute for 0.5 ms in each poll. In about 0.1 s, long delays named {value} of the \
             69 tasks, and a timer around each poll named {against}.",
            ratio(pick("long_delays", "busy", "tasks_named_count"), pick("poll_timer", "busy", "tasks_named_count")),
            "other programs take the CPU away for longer than the limit. Then a timer around a poll raises false alarms, too",
        )
        .not_said(&[
            "That a tool finds a task that is not wrapped in it. Only the heartbeat and the counters need no wrapping.",
            "Which line of the task blocks. For that you need its stack while it blocks: perf or gdb. A tokio task dump waits for every worker, \
             so it may never end.",
            "What it costs to read a tool, or to share one TaskMonitor among workers: where polls were timed, one thread ran and nobody read.",
            "How often a tool is wrong in an hour: each run watched a runtime for about 0.1 s.",
            "What tokio-console, dial9 (a recorder for tokio) and tokio's own histogram of poll times would find: none of them ran here. They \
             need tokio_unstable.",
        ])
        .next(&[
            "What does looking at a runtime change? (lab async_observer)",
            "How do you find a task that waits for ever without blocking? (lab async_deadlock: the futurelock)",
            "How do you get from the task to the line? (perf or gdb while it blocks; Handle::dump shows only where tasks wait)",
            "How do you name each task without wrapping it? (on_before_task_poll with its TaskMeta, unstable)",
        ])
        .sources(&[
            "tokio-metrics 0.5.2, src/task.rs (`instrument_poll`): a poll is counted when it has ended",
            "tokio 1.54.1, src/runtime/scheduler/multi_thread/worker.rs (`maintenance`); src/runtime/metrics/runtime.rs \
             (`poll_time_histogram_bucket_count`)",
        ])
}

const NOTICED: &str = "noticed_share";
/// Two blocks of 20 ms, on two workers.
const SLEEPS: Scene = Scene {
    workers: 2,
    spends: thread::sleep,
    lasts: Duration::from_millis(20),
    messages: 2,
    every: Duration::from_millis(35),
    turning: 0,
};
/// One block, on one worker.
const ONE: Scene = Scene { workers: 1, messages: 1, ..SLEEPS };
/// The suspect gets the same messages, and does not block.
const QUIET: Scene = Scene { spends: compute, lasts: ORDINARY, ..SLEEPS };

/// Has a tool look; a smoke run has one short block.
fn looked(plan: &Plan, tool: Tool, scene: Scene) -> Result<Found, String> {
    let most = Duration::from_millis(12);
    let short = Scene { messages: 1, lasts: scene.lasts.min(most), every: most, ..scene };
    look_for(tool, if plan.is_smoke() { short } else { scene })
}

fn names() -> Step {
    const SCENES: [Point<Scene>; 3] = [
        at("sleeps_w2", SLEEPS),
        at("sleeps_w1", Scene { workers: 1, ..SLEEPS }),
        at("computes_w2", Scene { spends: compute, ..SLEEPS }),
    ];
    let named = |tool, scene| at_least(0.6, (tool, scene));
    let noticed = |tool, scene| at_least(0.6, pick(tool, scene, NOTICED));
    let missed = || at_most(0.4, pick("heartbeat", "sleeps_w2", NOTICED));
    let victims = || at_least(0.6, pick("long_delays", "sleeps_w1", "wrong_share"));
    Step::new("names", Kind::Chance, "named_share")
        .ask_number(
            "A runtime has one worker and five tasks, and each has a TaskMonitor. One task blocks for 20 ms now and then. An alarm names each \
             task that was polled more than 10 ms after its wake-up. In which share of the blocks does one name the task that blocks?",
            "long_delays",
            "sleeps_w1",
        )
        .columns(&[NOTICED, "wrong_share", "alarms_count"])
        .each(&TOOLS, SCENES, |plan, tool, scene| {
            let found = looked(plan, tool.value, scene.value)?;
            let blocks = found.blocks.len() as f64;
            Ok(Sample::default()
                .share("named_share", found.blocks_with(|name| name == Some(SUSPECT)), blocks)
                .share(NOTICED, found.blocks_with(|_| true), blocks)
                .share("wrong_share", found.blocks_with(|name| name.is_some_and(|n| n != SUSPECT)), blocks)
                .with("alarms_count", found.alarms.len() as f64))
        })
        .claim(named("poll_watch", "sleeps_w2"), "a watch on running polls names the task in at least three of five blocks")
        .claim(named("slow_polls", "sleeps_w2"), "slow polls name it, too, if each task has a TaskMonitor of its own")
        .claim(named("slow_polls", "computes_w2"), "slow polls also name a task that computes instead of sleeping")
        .claim(missed(), "with two workers, a heartbeat notices at most two of five blocks")
        .claim(noticed("heartbeat", "sleeps_w1"), "with one worker, a heartbeat notices at least three of five blocks")
        .claim(victims(), "with one worker, long delays name a wrong task in at least three of five blocks")
        .claim(noticed("stuck_worker", "sleeps_w2"), "with two workers, the workers' counters show at least three of five blocks")
        .because(
            "A heartbeat measures how late its own task runs. Here a thread outside wakes the task that blocks, so tokio wakes the second worker \
             as well. That one looks at the timers and runs the heartbeat in time.",
            shown_by(missed()),
        )
        .because(
            "A long delay shows who had to wait. The task that blocks does not wait, so the alarms name the others.",
            shown_by(victims()),
        )
        .because(
            "tokio counts for each worker how often it parked and how long it was busy. While a worker is blocked, these counters stand still. They \
             name no task.",
            shown_by(noticed("stuck_worker", "sleeps_w2")),
        )
        .because(
            "One TaskMonitor around all tasks notices the blocks, too, but a count over all tasks names none.",
            shown_by(noticed("one_monitor", "sleeps_w2")),
        )
        .in_tour()
}

fn delay() -> Step {
    const LONG: Scene = Scene { lasts: Duration::from_millis(80), every: Duration::from_millis(80), ..ONE };
    const SCENES: [Point<Scene>; 2] = [at("block_20ms", ONE), at("block_80ms", LONG)];
    let grows = |tool| at_least(2.5, ratio((tool, "block_80ms"), (tool, "block_20ms")));
    let stays = || at_most(1.6, ratio(("poll_watch", "block_80ms"), ("poll_watch", "block_20ms")));
    Step::new("delay", Kind::Pause, "to_alarm_ns")
        .ask_number(
            "A task blocks the only worker for 80 ms. Each task has a TaskMonitor that counts polls of more than 10 ms, and a thread \
             reads them every 2 ms. How long after the beginning of the block does the alarm come?",
            "slow_polls",
            "block_80ms",
        )
        .columns(&["lasted_ns"])
        .contenders(&TOOLS)
        .over_all(SCENES, |plan, scenes| {
            let slice = |tool: &Setting<Tool>, scene: &Scene| looked(plan, tool.value, *scene);
            in_turn(plan, 1, &TOOLS, scenes, slice, |_, _, found| first_alarm(&found))
        })
        .claim(grows("slow_polls"), "with 80 ms instead of 20, a TaskMonitor's alarm comes at least 2.5 times as late")
        .claim(grows("heartbeat"), "with 80 ms instead of 20, a heartbeat's alarm comes at least 2.5 times as late, too")
        .claim(stays(), "with 80 ms instead of 20, the alarm of a watch on running polls comes at most 1.6 times as late")
        .because(
            "A TaskMonitor or a timer knows how long a poll took when it has ended. While the block lasts, they show nothing.",
            shown_by(grows("poll_timer")),
        )
        .because("With one worker, a heartbeat can't run before the block has ended, either.", shown_by(grows("heartbeat")))
        .because(
            "A watch notes when a poll begins, and another thread reads it. Its alarm comes a fixed time after that, even if the poll \
             never ends.",
            shown_by(stays()),
        )
}

fn first_alarm(found: &[Found]) -> Result<Sample, String> {
    let seen = found.first().and_then(|found| Some((*found.blocks.first()?, found.to_alarm_ns())));
    let ((from, to), to_alarm) = seen.ok_or("nobody blocked")?;
    let (lasted, sample) = ((to - from) as f64, Sample::default());
    Ok(match to_alarm {
        Some(ns) => sample.with("to_alarm_ns", ns as f64),
        None => sample.bounded("to_alarm_ns", lasted + GRACE.as_secs_f64() * 1e9, Side::AtLeast),
    }
    .with("lasted_ns", lasted))
}

fn false_alarms() -> Step {
    const SCENES: [Point<Scene>; 2] = [at("quiet", QUIET), at("busy", Scene { turning: 64, ..QUIET })];
    let silent = |tool, scene| at_most(0.5, (tool, scene));
    let alarmed = |tool| at_least(0.5, (tool, "busy"));
    let accused = || at_least(4.0, pick("long_delays", "busy", "tasks_named_count"));
    Step::new("false_alarms", Kind::Chance, "alarms_count")
        .ask_number(
            "Nobody blocks. Two workers run 64 tasks that are always ready, with polls of 0.5 ms. A heartbeat gives an alarm if it is \
             more than 10 ms late. How many alarms does it give in about 75 ms?",
            "heartbeat",
            "busy",
        )
        .columns(&["tasks_named_count"])
        .each(&TOOLS, SCENES, |plan, tool, scene| {
            let found = looked(plan, tool.value, scene.value)?;
            let tasks: std::collections::BTreeSet<usize> = found.alarms.iter().filter_map(|(_, name)| *name).collect();
            Ok(Sample::default()
                .with("alarms_count", found.alarms.len() as f64)
                .with("tasks_named_count", tasks.len() as f64))
        })
        .claim(silent("poll_watch", "quiet"), "on a quiet runtime, a watch on running polls gives at most one alarm in two runs on average")
        .claim(silent("heartbeat", "quiet"), "on a quiet runtime, a heartbeat does so, too")
        .claim(silent("slow_polls", "busy"), "on a busy runtime, TaskMonitors count at most one slow poll in two runs on average")
        .claim(alarmed("heartbeat"), "on a busy runtime, a heartbeat gives at least one alarm in two runs on average, although no task blocks")
        .claim(accused(), "on a busy runtime, long delays accuse at least four tasks")
        .claim(alarmed("stuck_worker"), "on a busy runtime, the workers' counters do so, too")
        .because(
            "A ready task waits behind all that were ready before. A heartbeat can't tell this queue from a block.",
            shown_by(accused()),
        )
        .because("No poll is long, so tools that look at single polls are silent.", shown_by(silent("poll_timer", "busy")))
        .because(
            "A worker that never parks looks at the timers and publishes its counters after 61 polls, here after 30 ms. Until then the \
             counters stand still, as if it was blocked, and a heartbeat is late.",
            source("tokio 1.54.1, src/runtime/scheduler/multi_thread/worker.rs (`maintenance`)"),
        )
}

fn cost_of_polls() -> Step {
    let once = || at_most(1.0, ratio("poll_watch", "poll_timer"));
    Step::new("cost", Kind::Single, "op_ns")
        .ask_number(
            "On a runtime of one thread, a task wakes itself and is polled again. How many ns does such a poll take with a TaskMonitor?",
            "slow_polls",
            "",
        )
        .contenders(&COSTS)
        .slice(0.3)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), COSTS.iter().map(polls)))
        .bench("cost/{case}", &COSTS, |_, tool| cost::timed(&polls(tool)))
        .claim(at_most(1.1, ratio("heartbeat", "nothing")), "a heartbeat makes polls at most a tenth slower")
        .claim(at_least(1.5, ratio("slow_polls", "nothing")), "with a TaskMonitor, an empty poll takes at least 1.5 times as long")
        .claim(at_most(1.0, ratio("poll_timer", "slow_polls")), "a timer costs at most as much as a TaskMonitor")
        .because("A timer reads the clock twice in each poll, a watch once.", shown_by(once()))
        .because(
            "A TaskMonitor reads the clock three times in each poll and once at each wake-up, and changes several atomic counters.",
            source("tokio-metrics 0.5.2, src/task.rs (`instrument_poll`, `State::on_wake`)"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

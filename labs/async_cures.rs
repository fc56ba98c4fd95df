//! Which cure cures which kind of starvation?
//!
//! Run it: `cargo run --release --bin async_cures -- --step`
use std::time::Duration;

use underhood::{
    experiments::starve::{CONTROL, CURES, Cure, MECHANISMS, Mechanism, NOTHING, SWITCHES, Starved, starve},
    lab::{
        Bound, Kind, Lab, Point, Setting, Step, at, at_least, at_most,
        plan::Plan,
        ratio,
        sample::{Receipts, Sample},
        shown_by, source,
    },
    measure::{
        lateness::in_turn,
        trace::{self, Trace},
    },
};

/// How long an offender blocks or spins each time; a fifth in a smoke run.
const UNIT: Duration = Duration::from_millis(10);
/// The workers of the runtime: CPU time is a share of theirs.
const WORKERS: f64 = 2.0;
/// What an unstable build of tokio adds, against nothing, and where.
const UNSTABLE: &[Setting<Cure>] = &[NOTHING, SWITCHES[0], SWITCHES[1]];
const SWITCHED: [Point<Mechanism>; 2] =
    [at("lifo_slot", Mechanism::LifoSlot), at("driver", Mechanism::Driver)];

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_cures", "Which cure cures which kind of starvation?")
        .step(matrix())
        .step(unstable())
        .say(
            "matrix",
            "A task wakes another task and then blocks for 10 ms. With two workers, the woken task is {against} late on average; with \
             eight, {value}. More threads help only if threads are missing.",
            ratio(("more_workers", "lifo_slot"), ("nothing", "lifo_slot")),
            "tokio is 1.51.0, 1.51.1, 1.52.0 or 1.52.1, or another woken task pushes this one out of the LIFO slot",
        )
        .say(
            "matrix",
            "One branch of a join! blocks for 10 ms. With block_in_place the other branch is still {value} late on average. \
             With spawn_blocking it is {against} late.",
            ratio(("block_in_place", "sibling"), ("spawn_blocking", "sibling")),
            "the other branch is a task of its own",
        )
        .not_said(&[
            "Anything about a full blocking pool of 512 threads: the pool here has four, so that it can be filled quickly.",
            "Anything about hangs: two of the programs would hang (a std guard held across an await, block_on within a task). \
             Their waits are bounded, so the hang appears as a delay. The lab async_deadlock has unbounded waits.",
            "Anything about the cost of a cure when nothing starves: see the benches of async_starvation.",
        ])
        .next(&[
            "Which kind of starvation does a metric such as the queue depth show?",
            "Why does block_in_place panic on a runtime of one thread?",
            "How would you find out, in production, which of these kinds of starvation you have?",
            "How often must a task yield, and what decides that?",
        ])
        .sources(&[
            "tokio 1.54.1, src/runtime/scheduler/multi_thread/worker.rs, src/runtime/blocking/pool.rs, src/task/coop",
            "tokio-rs/tokio#4730, #4941; futures-rs#2387 (buffered streams); oxidecomputer RFD 609",
            "Alice Ryhl, Async: What is blocking?, 2020",
        ])
}

/// At most a third of the delay.
fn cures(cure: &'static str, mechanism: &'static str) -> Bound {
    at_most(0.34, ratio((cure, mechanism), ("nothing", mechanism)))
}

/// At least half of it.
fn fails(cure: &'static str, mechanism: &'static str) -> Bound {
    at_least(0.5, ratio((cure, mechanism), ("nothing", mechanism)))
}

fn step(name: &'static str, treatments: &'static [Setting<Cure>], points: &[Point<Mechanism>]) -> Step {
    Step::new(name, Kind::Tail, "late_mean_ns")
        .columns(&["late_p50_ns", "late_max_ns", "units_per_s", "cpu_share"])
        .contenders(treatments)
        .over_all(points.iter().copied(), |plan, points| measure(plan, treatments, points))
}

fn matrix() -> Step {
    step("matrix", &CURES, &MECHANISMS)
        .ask_number(
            "A task wakes another task and then blocks for 10 ms. The runtime gets eight workers instead of two. What is the mean \
             delay of the woken task?",
            "more_workers",
            "lifo_slot",
        )
        .claim(cures("more_workers", "workers"), "More workers help when all workers block")
        .claim(
            fails("more_workers", "lifo_slot"),
            "More workers do not help a task that is stuck in the LIFO slot",
        )
        .claim(
            fails("more_workers", "driver"),
            "More workers do not help when the worker that owns the driver blocks",
        )
        .claim(fails("more_workers", "pool"), "More workers do not help when the blocking pool is full")
        .claim(fails("more_workers", "sibling"), "More workers do not help the other branch of a join!")
        .claim(
            fails("more_workers", "unpolled"),
            "More workers do not help a task that waits for a lock whose holder is not polled",
        )
        .claim(
            cures("yield", "lifo_slot"),
            "A yield between the wake-up and the block helps a task that is stuck in the LIFO slot",
        )
        .claim(
            cures("block_in_place", "lifo_slot"),
            "block_in_place helps a task that is stuck in the LIFO slot",
        )
        .claim(
            fails("block_in_place", "sibling"),
            "block_in_place does not help the other branch of a join!: the whole task stands still",
        )
        .claim(cures("spawn_blocking", "workers"), "spawn_blocking helps when all workers block")
        .claim(cures("spawn_blocking", "sibling"), "spawn_blocking helps the other branch of a join!")
        .claim(
            fails("spawn_blocking", "select"),
            "spawn_blocking does not help the other branch of a select! whose handler awaits it",
        )
        .claim(
            cures("async_primitive", "select"),
            "making the work a branch of its own helps the other branch of a select!",
        )
        .claim(
            fails("spawn_blocking", "buffered"),
            "spawn_blocking does not help futures in a buffered stream while the stream's consumer awaits it",
        )
        .claim(
            cures("async_primitive", "buffered"),
            "a task for each future helps the futures in a buffered stream",
        )
        .claim(
            fails("spawn_blocking", "pool"),
            "spawn_blocking does not help when the blocking pool is full, since it fills that pool itself",
        )
        .claim(
            cures("own_runtime", "pool"),
            "A runtime of its own for the offender helps when the blocking pool is full",
        )
        .claim(
            cures("own_runtime", "always_ready"),
            "A runtime of its own helps against a future that is always ready",
        )
        .claim(
            cures("async_primitive", "always_ready"),
            "tokio's coop budget helps against a future that is always ready",
        )
        .claim(
            fails("spawn_blocking", "unpolled"),
            "spawn_blocking does not help when the holder of a lock is not polled: only polling helps",
        )
        .claim(
            cures("async_primitive", "unpolled"),
            "a join! helps when the holder of a lock is not polled: it polls the holder",
        )
        .claim(
            cures("block_in_place", "nested_block_on"),
            "block_in_place helps when a task calls block_on",
        )
        .claim(fails("yield", "nested_block_on"), "a yield before block_on does not help")
        .because(
            "There are several kinds of starvation. A cure works if it removes what the victim waits for.",
            shown_by(fails("more_workers", "lifo_slot")),
        )
        .because(
            "The victim may wait for a worker. Then more workers help, and so does blocking on another thread.",
            shown_by(cures("more_workers", "workers")),
        )
        .because(
            "The victim may wait in a LIFO slot that only the blocked worker can serve. A yield before the block helps. So does \
             block_in_place: it moves the task from the slot to a queue, and another thread takes over the queue.",
            shown_by(cures("block_in_place", "lifo_slot")),
        )
        .because(
            "The victim may wait for timers, which only a worker on the driver fires. block_in_place hands the worker's role to another \
             thread, and that thread can wait on the driver.",
            source("tokio 1.54.1, src/runtime/scheduler/multi_thread/worker.rs (block_in_place)"),
        )
        .because(
            "The victim may wait for a thread of the blocking pool. Then another pool helps.",
            shown_by(cures("own_runtime", "pool")),
        )
        .because(
            "The victim may wait for its turn to be polled within its own task. Then it helps to block in another task.",
            shown_by(cures("spawn_blocking", "sibling")),
        )
        .because(
            "The victim may wait for a lock whose holder is not polled.",
            shown_by(cures("async_primitive", "unpolled")),
        )
        .because(
            "While a select! handler runs, the other branches are not polled. While a stream's consumer is busy, the futures in the \
             buffer are not polled. Even a handler that only awaits starves them.",
            shown_by(fails("spawn_blocking", "select")),
        )
        .because(
            "A task that awaits instead of blocking leaves its worker to other tasks. This helps when all workers block.",
            shown_by(cures("async_primitive", "workers")),
        )
        .because(
            "block_in_place panics on a runtime of one thread. Then the offender is gone, and nothing is measured. In \
             src/experiments/starve/offence.rs each cell of the table is a line or two.",
            source("src/experiments/starve/offence.rs"),
        )
}

fn unstable() -> Step {
    // Half and not a third: a timer of tokio's is about a millisecond late by itself.
    let handed = || at_most(0.5, ratio(("driver_hand_off", "driver"), ("nothing", "driver")));
    step("unstable", UNSTABLE, &SWITCHED)
        .ask_number(
            "tokio has two unstable switches: no LIFO slot, and an eager hand-off of the driver. Which of them helps when the worker \
             that owns the driver blocks?",
            "driver_hand_off",
            "driver",
        )
        .claim(
            cures("no_lifo_slot", "lifo_slot"),
            "Without a LIFO slot, another worker steals the woken task",
        )
        .claim(
            fails("no_lifo_slot", "driver"),
            "Having no LIFO slot does not help timers when the worker that owns the driver blocks",
        )
        .claim(handed(), "With the eager hand-off, another worker serves the timers")
        .claim(
            fails("driver_hand_off", "lifo_slot"),
            "The eager hand-off does not help a task that is stuck in the LIFO slot",
        )
        .because(
            "The LIFO slot and the late hand-off are choices for throughput. The slot runs the woken task on the same core, where its \
             data is in the cache. A worker that finds one ready task wakes no other worker, which saves a futex call.",
            source("tokio 1.54.1, src/runtime/builder.rs"),
        )
        .because(
            "Each switch undoes one of these choices (tokio 1.54.1, runtime/builder.rs).",
            shown_by(handed()),
        )
        .because(
            "tokio compiles the switches only with --cfg tokio_unstable. So the rows of this step need a build of their own: \
             RUSTFLAGS=\"--cfg tokio_unstable\" cargo run --release --target-dir target/unstable --bin async_cures -- --only \
             unstable. In a stable build the rows say so and stay empty.",
            source("src/experiments/starve.rs"),
        )
}

/// A few units of each cell, for a picture: `--trace FILE`.
fn traced(_: &Plan, step: &Step) -> Vec<(String, Result<Trace, String>)> {
    let play = |cure: &Setting<Cure>, mechanism: &Mechanism| {
        starve(*mechanism, cure.value, UNIT, UNIT * 3).map(|_| ())
    };
    match step.name {
        "unstable" => trace::each(UNSTABLE, &SWITCHED, play),
        _ => trace::each(&CURES, &MECHANISMS, play),
    }
}

fn measure(plan: &Plan, treatments: &[Setting<Cure>], points: &[Point<Mechanism>]) -> Vec<Sample> {
    // A hundred cells in each launch: 50 ms each, so that five launches stay below half a minute. The headline is a mean: a median needs
    // twenty delays, and a victim that is slowed down with its offender does not have as many.
    let (unit, window) =
        if plan.is_smoke() { (UNIT / 5, UNIT) } else { (UNIT, plan.slice.mul_f64(0.2).max(UNIT * 5)) };
    let slice = |cure: &Setting<Cure>, mechanism: &Mechanism| starve(*mechanism, cure.value, unit, window);
    let sum = |_: &Setting<Cure>, _: &Mechanism, mut seen: Vec<Starved>| sample(seen.pop().ok_or("not run")?);
    let mut samples = in_turn(plan, 1, treatments, points, slice, sum);
    distrust_noisy_host(&mut samples, unit);
    samples
}

/// If the control row's victim itself waited for half a unit, the host starves it. Then no row of that mechanism says anything. (That
/// is why `unpolled` with block_in_place once looked faulty: in a trace, the holder's sleep of 10 ms took 76 ms beside four spinning threads.)
fn distrust_noisy_host(samples: &mut [Sample], unit: Duration) {
    let late_ns = |s: &Sample| s.values.get("late_mean_ns").copied().unwrap_or_default();
    let noisy: Vec<(String, f64)> = samples
        .iter()
        .filter(|s| s.case == CONTROL.id() && late_ns(s) > unit.as_nanos() as f64 / 2.0)
        .map(|s| (s.param.clone(), late_ns(s)))
        .collect();
    for (param, late_ns) in noisy {
        let doubt = format!("the control row itself waited {:.1} ms: the host is too busy", late_ns / 1e6);
        samples.iter_mut().filter(|s| s.param == param).for_each(|s| s.doubts.push(doubt.clone()));
    }
}

fn sample(seen: Starved) -> Result<Sample, String> {
    // With the offender gone nobody starves, and its victim's delays would look like a cure.
    if let Some(said) = seen.panicked {
        return Err(format!("the offender panicked: {said}"));
    }
    let mut sample =
        Sample::default().with("units_per_s", seen.units_count as f64 * 1e9 / seen.wall_ns as f64);
    sample.values.extend(seen.late.values("late"));
    if seen.late.samples_count() > 0 {
        let mean = seen.late.total_ns() / seen.late.samples_count() as f64;
        sample.values.insert("late_mean_ns".into(), mean);
    }
    if seen.left_behind_count > 0 {
        sample.doubts.push(format!("{} offenders never ended and were left behind", seen.left_behind_count));
    }
    if let Some(threads) = seen.threads {
        let share = |ns: u64| ns as f64 / (seen.wall_ns as f64 * WORKERS);
        sample.values.insert("cpu_share".into(), share(threads.on_cpu_ns));
        sample.receipts = Receipts { runq_share: Some(share(threads.runq_ns)), ..Receipts::default() };
    }
    Ok(sample)
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::traced_lab_main(lab, traced)
}

//! Which cure cures which kind of starvation?
//!
//! Run it: `cargo run --release --bin async_cures -- --step`
use std::time::Duration;

use underhood::{
    experiments::starve::{CONTROL, CURES, Cure, MECHANISMS, Mechanism, NOTHING, SWITCHES, Starved, starve},
    lab::{
        Bound, Evidence, Kind, Lab, Point, Setting, Step, at, at_least, at_most,
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

/// How long an offender is at it each time; a tenth in a smoke run.
const UNIT: Duration = Duration::from_millis(10);
/// What the CPU time is a share of.
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
            "With the LIFO slot held by a blocker, eight workers instead of two change a mean delay of {against} to {value}: more \
             threads cure only the lack of threads.",
            ratio(("more_workers", "lifo_slot"), ("nothing", "lifo_slot")),
            "tokio is 1.51.0 or 1.51.1, or the woken task is not alone in the slot",
        )
        .say(
            "matrix",
            "For a sibling in the same join!, block_in_place leaves the delay at {value}; spawn_blocking makes it {against}.",
            ratio(("block_in_place", "sibling"), ("spawn_blocking", "sibling")),
            "the sibling is a task of its own",
        )
        .not_said(&[
            "Nothing about a full blocking pool of 512 threads: the pool here has four, so that it can be filled quickly.",
            "Nothing about hangs: where one is due (guard, nested_block_on) the wait is bounded, and so it is seen as a delay; async_deadlock has \
             those that are not.",
            "Nothing about the price of a cure when nobody starves: see the benches of async_starvation.",
        ])
        .next(&[
            "Which mechanism does a metric such as the queue depth show?",
            "Why does block_in_place panic on a runtime of one thread?",
            "How would you find out, in production, which row you are in?",
            "Why is a yield only as good as the time between two of them?",
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
            "A task wakes another and then blocks for 10 ms. The runtime gets eight workers instead of two. What is the other task's mean \
             delay?",
            "more_workers",
            "lifo_slot",
        )
        .claim(cures("more_workers", "workers"), "More workers cure the lack of workers")
        .claim(fails("more_workers", "lifo_slot"), "They do not cure the LIFO slot")
        .claim(fails("more_workers", "driver"), "Nor the blocked owner of the driver")
        .claim(fails("more_workers", "pool"), "Nor a full pool")
        .claim(fails("more_workers", "sibling"), "Nor a sibling in the same task")
        .claim(fails("more_workers", "unpolled"), "Nor a lock whose holder is not polled")
        .claim(cures("yield", "lifo_slot"), "A yield between wake and block cures the LIFO slot")
        .claim(cures("block_in_place", "lifo_slot"), "block_in_place cures the LIFO slot")
        .claim(fails("block_in_place", "sibling"), "but not a sibling: it stands still with its task")
        .claim(cures("spawn_blocking", "workers"), "spawn_blocking cures the lack of workers")
        .claim(cures("spawn_blocking", "sibling"), "and a sibling")
        .claim(
            fails("spawn_blocking", "select"),
            "but not another branch of a select! whose handler awaits it",
        )
        .claim(cures("async_primitive", "select"), "the work as a branch of its own does")
        .claim(
            fails("spawn_blocking", "buffered"),
            "Nor what waits in a buffered stream while its consumer awaits it",
        )
        .claim(cures("async_primitive", "buffered"), "a task for each future does")
        .claim(fails("spawn_blocking", "pool"), "Nor a full pool, which it filled")
        .claim(cures("own_runtime", "pool"), "A runtime of its own for the offender cures a full pool")
        .claim(cures("own_runtime", "always_ready"), "and what is always ready")
        .claim(cures("async_primitive", "always_ready"), "A coop budget cures what is always ready")
        .claim(
            fails("spawn_blocking", "unpolled"),
            "Only polling cures what is not polled: not spawn_blocking",
        )
        .claim(cures("async_primitive", "unpolled"), "but a join! does")
        .claim(
            cures("block_in_place", "nested_block_on"),
            "block_in_place cures a block_on inside of a task",
        )
        .claim(fails("yield", "nested_block_on"), "a yield before it does not")
        .because(
            "Starvation is not one thing: a cure works if it takes away what the victim waits for.",
            shown_by(fails("more_workers", "lifo_slot")),
        )
        .because(
            "The victim may wait for a worker: more workers help, or the block elsewhere.",
            shown_by(cures("more_workers", "workers")),
        )
        .because(
            "It may wait for a slot or a driver that only the blocked worker could serve. A yield before the block helps, or block_in_place, \
             which hands both over.",
            shown_by(cures("block_in_place", "lifo_slot")),
        )
        .because("It may wait for a thread of the pool: another pool helps.", shown_by(cures("own_runtime", "pool")))
        .because(
            "It may wait for a turn in the same task: the block in another task helps.",
            shown_by(cures("spawn_blocking", "sibling")),
        )
        .because(
            "It may wait for a poll of the one who holds the lock.",
            shown_by(cures("async_primitive", "unpolled")),
        )
        .because(
            "Or for a poll of the other branches while a select! handler runs, or of a buffer while its consumer is busy. \
             There even a handler that only awaits starves them.",
            shown_by(fails("spawn_blocking", "select")),
        )
        .because(
            "Where the holder sleeps in the kernel, the victim waits until the system runs it again: on a busy host that is longer than a unit.",
            Evidence::None,
        )
        .because("Awaiting instead of blocking removes all but the last.", shown_by(cures("async_primitive", "buffered")))
        .because(
            "block_in_place on the runtime of one thread panics, so the offender is gone and nothing is measured. \
             See src/experiments/starve/offence.rs, where each cell is a line or two.",
            source("src/experiments/starve/offence.rs"),
        )
}

fn unstable() -> Step {
    // Half and not a third: a timer of tokio's is about a millisecond late by itself.
    let handed = || at_most(0.5, ratio(("driver_hand_off", "driver"), ("nothing", "driver")));
    step("unstable", UNSTABLE, &SWITCHED)
        .ask_number(
            "tokio has two unstable switches: no LIFO slot, and an eager hand-off of the driver. Which of them cures a blocked owner of the driver?",
            "driver_hand_off",
            "driver",
        )
        .claim(cures("no_lifo_slot", "lifo_slot"), "Without a LIFO slot the woken task is stolen")
        .claim(fails("no_lifo_slot", "driver"), "which helps no timer")
        .claim(handed(), "With the hand-off another worker looks after the timers")
        .claim(fails("driver_hand_off", "lifo_slot"), "which frees no slot")
        .because(
            "Both are choices for throughput: the slot keeps the woken task on the warm core, and a worker that finds one ready task wakes nobody, \
             to save a futex call.",
            source("tokio 1.54.1, src/runtime/builder.rs"),
        )
        .because("Each switch undoes one of them (tokio 1.54.1, runtime/builder.rs).", shown_by(handed()))
        .because(
            "They are compiled only with --cfg tokio_unstable, so this step has its rows in a build of its own: \
             RUSTFLAGS=\"--cfg tokio_unstable\" cargo run --release --target-dir target/unstable --bin async_cures -- --only unstable. \
             In a stable build the rows say so and stay empty.",
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
    // A hundred cells in each launch: 50 ms each, so that five launches stay below half a minute. The headline is a mean: a median needs twenty delays, and a victim that is slowed down with its offender has not as many.
    let (unit, window) =
        if plan.is_smoke() { (UNIT / 5, UNIT) } else { (UNIT, plan.slice.mul_f64(0.2).max(UNIT * 5)) };
    let slice = |cure: &Setting<Cure>, mechanism: &Mechanism| starve(*mechanism, cure.value, unit, window);
    let sum = |_: &Setting<Cure>, _: &Mechanism, mut seen: Vec<Starved>| sample(seen.pop().ok_or("not run")?);
    let mut samples = in_turn(plan, 1, treatments, points, slice, sum);
    distrust_noisy_host(&mut samples, unit);
    samples
}

/// Where the control row's victim itself waited for half a unit, the host starves it, and no row of that mechanism says anything. (What
/// looked like a fault of `unpolled` with block_in_place was this: traced, the holder's sleep of 10 ms took 76 ms beside four spinning threads.)
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

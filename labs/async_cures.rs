//! Which cure cures which kind of starvation?
//!
//! Run it: `cargo run --release --bin async_cures -- --step`
use std::time::Duration;

use underhood::{
    experiments::starve::{CURES, Cure, MECHANISMS, Mechanism, SWITCHES, Starved, starve},
    lab::{
        Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick,
        plan::Plan,
        sample::{Receipts, Sample},
    },
    measure::{
        lateness::interleaved,
        trace::{self, Trace},
    },
    record::AA,
};

/// How long an offender is at it each time; a tenth in a smoke run.
const UNIT: Duration = Duration::from_millis(10);
/// What the CPU time is a share of.
const WORKERS: f64 = 2.0;

pub(crate) static LAB: Lab = Lab {
    stem: "async_cures",
    question: "Which cure cures which kind of starvation?",
    steps: &[MATRIX, UNSTABLE],
    says: &[
        Say {
            step: "matrix",
            text: "With the LIFO slot held by a blocker, eight workers instead of two change a mean delay of {against} to {value}: more \
                   threads cure only the lack of threads.",
            of: pick("more_workers", "lifo_slot", "late_mean_ns"),
            against: Some(pick("nothing", "lifo_slot", "late_mean_ns")),
            not_true_when: "tokio is 1.51.0 or 1.51.1, or the woken task is not alone in the slot",
        },
        Say {
            step: "matrix",
            text: "For a sibling in the same join!, block_in_place leaves the delay at {value}; spawn_blocking makes it {against}.",
            of: pick("block_in_place", "sibling", "late_mean_ns"),
            against: Some(pick("spawn_blocking", "sibling", "late_mean_ns")),
            not_true_when: "the sibling is a task of its own",
        },
    ],
    not_said: &[
        "Nothing about a full blocking pool of 512 threads: the pool here has four, so that it can be filled quickly.",
        "Nothing about hangs: where one is due (guard, nested_block_on) the wait is bounded, and so it is seen as a delay; async_deadlock has \
         those that are not.",
        "Nothing about the price of a cure when nobody starves: see the benches of async_starvation.",
    ],
    next: &[
        "Which mechanism does a metric such as the queue depth show?",
        "Why does block_in_place panic on a runtime of one thread?",
        "How would you find out, in production, which row you are in?",
        "Why is a yield only as good as the time between two of them?",
    ],
    sources: &[
        "tokio 1.54.1, src/runtime/scheduler/multi_thread/worker.rs, src/runtime/blocking/pool.rs, src/structures/task/coop",
        "tokio-rs/tokio#4730, #4941; futures-rs#2387 (buffered streams); oxidecomputer RFD 609",
        "Alice Ryhl, Async: What is blocking?, 2020",
    ],
    benches: |_| -> Vec<Bench> { Vec::new() }, // async_starvation has the costs of the cures
};

const MATRIX: Step = Step {
    name: "matrix",
    ask: "A task wakes another and then blocks for 10 ms. The runtime gets eight workers instead of two. What is the other task's mean \
          delay?",
    predict: Predict::Number { case: "more_workers", param: "lifo_slot" },
    kind: Kind::Tail,
    cases: &[
        "nothing",
        "control",
        "more_workers",
        "yield",
        "block_in_place",
        "spawn_blocking",
        "own_runtime",
        "async_primitive",
    ],
    params: &[
        "workers",
        "lifo_slot",
        "driver",
        "pool",
        "always_ready",
        "sibling",
        "select",
        "buffered",
        "guard",
        "unpolled",
        "nested_block_on",
        "current_thread",
    ],
    launch: Launch::Together,
    measure,
    headline: "late_mean_ns",
    columns: &["late_p50_ns", "late_max_ns", "units_per_s", "cpu_share"],
    claims: &[
        cures("More workers cure the lack of workers", "more_workers", "workers"),
        fails("They do not cure the LIFO slot", "more_workers", "lifo_slot"),
        fails("Nor the blocked owner of the driver", "more_workers", "driver"),
        fails("Nor a full pool", "more_workers", "pool"),
        fails("Nor a sibling in the same task", "more_workers", "sibling"),
        fails("Nor a lock whose holder is not polled", "more_workers", "unpolled"),
        cures("A yield between wake and block cures the LIFO slot", "yield", "lifo_slot"),
        cures("block_in_place cures the LIFO slot", "block_in_place", "lifo_slot"),
        fails("but not a sibling: it stands still with its task", "block_in_place", "sibling"),
        cures("spawn_blocking cures the lack of workers", "spawn_blocking", "workers"),
        cures("and a sibling", "spawn_blocking", "sibling"),
        fails("but not another branch of a select! whose handler awaits it", "spawn_blocking", "select"),
        cures("the work as a branch of its own does", "async_primitive", "select"),
        fails(
            "Nor what waits in a buffered stream while its consumer awaits it",
            "spawn_blocking",
            "buffered",
        ),
        cures("a task for each future does", "async_primitive", "buffered"),
        fails("Nor a full pool, which it filled", "spawn_blocking", "pool"),
        cures("A runtime of its own for the offender cures a full pool", "own_runtime", "pool"),
        cures("and what is always ready", "own_runtime", "always_ready"),
        cures("A coop budget cures what is always ready", "async_primitive", "always_ready"),
        fails("Only polling cures what is not polled: not spawn_blocking", "spawn_blocking", "unpolled"),
        cures("but a join! does", "async_primitive", "unpolled"),
        cures("block_in_place cures a block_on inside of a task", "block_in_place", "nested_block_on"),
        fails("a yield before it does not", "yield", "nested_block_on"),
    ],
    because: "Starvation is not one thing. A cure works if it takes away what the victim waits for: a worker (more workers, or the block \
              elsewhere), a slot or a driver that only the blocked worker could serve (a yield before the block, or block_in_place, which \
              hands both over), a thread of the pool (another pool), a turn in the same task (the block in another task), or a poll (of the one who holds the lock, of the other branches while a \
              select! handler runs, of a buffer while its consumer is busy: there even a handler that only awaits starves them). Where the holder sleeps in the kernel, the victim waits until the system runs it \
              again: on a busy host that is longer than a unit. Awaiting instead of blocking removes all but the last. block_in_place on the runtime of \
              one thread panics, so the offender is gone and nothing is measured. See src/experiments/starve/offence.rs, where each cell is a line or two.",
    tour: false,
};

const UNSTABLE: Step = Step {
    name: "unstable",
    ask: "tokio has two unstable switches: no LIFO slot, and an eager hand-off of the driver. Which of them cures a blocked owner of the driver?",
    predict: Predict::Number { case: "driver_hand_off", param: "driver" },
    kind: Kind::Tail,
    cases: &["nothing", "no_lifo_slot", "driver_hand_off"],
    params: &["lifo_slot", "driver"],
    launch: Launch::Together,
    measure,
    headline: "late_mean_ns",
    columns: &["late_p50_ns", "late_max_ns", "units_per_s", "cpu_share"],
    claims: &[
        cures("Without a LIFO slot the woken task is stolen", "no_lifo_slot", "lifo_slot"),
        fails("which helps no timer", "no_lifo_slot", "driver"),
        // Half and not a third: a timer of tokio's is about a millisecond late by itself.
        against_nothing(
            "With the hand-off another worker looks after the timers",
            "driver_hand_off",
            "driver",
            Expect::AtMost(0.5),
        ),
        fails("which frees no slot", "driver_hand_off", "lifo_slot"),
    ],
    because: "Both are choices for throughput: the slot keeps the woken task on the warm core, and a worker that finds one ready task wakes nobody, to save \
              a futex call. Each switch undoes one of them (tokio 1.54.1, runtime/builder.rs). They are compiled only with --cfg tokio_unstable, so this step \
              has its rows in a build of its own: RUSTFLAGS=\"--cfg tokio_unstable\" cargo run --release --target-dir target/unstable --bin async_cures -- \
              --only unstable. In a stable build the rows say so and stay empty.",
    tour: false,
};

/// At most a third of the delay.
const fn cures(text: &'static str, cure: &'static str, mechanism: &'static str) -> Claim {
    against_nothing(text, cure, mechanism, Expect::AtMost(0.34))
}

/// At least half of it.
const fn fails(text: &'static str, cure: &'static str, mechanism: &'static str) -> Claim {
    against_nothing(text, cure, mechanism, Expect::AtLeast(0.5))
}

const fn against_nothing(
    text: &'static str,
    cure: &'static str,
    mechanism: &'static str,
    expect: Expect,
) -> Claim {
    let nothing = Some(pick("nothing", mechanism, "late_mean_ns"));
    Claim { text, of: pick(cure, mechanism, "late_mean_ns"), against: nothing, expect, cores: 1 }
}

fn pair(case: &str, param: &str) -> Result<(Mechanism, Cure), String> {
    let cure = CURES.iter().chain(&SWITCHES).find(|(name, _)| *name == case);
    let mechanism = MECHANISMS.iter().find(|(name, _)| *name == param);
    let ((_, cure), (_, mechanism)) = cure.zip(mechanism).ok_or("no such mechanism or cure")?;
    Ok((*mechanism, *cure))
}

/// A few units of each cell, for a picture: `--trace FILE`.
fn traced(_: &Plan, step: &Step) -> Vec<(String, Result<Trace, String>)> {
    trace::each(step, |case, param| {
        let (mechanism, cure) = pair(case, param)?;
        starve(mechanism, cure, UNIT, UNIT * 3).map(|_| ())
    })
}

fn measure(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    // A hundred cells in each launch: 50 ms each, so that five launches stay below half a minute. The headline is a mean: a median needs twenty delays, and a victim that is slowed down with its offender has not as many.
    let (unit, window) =
        if plan.is_smoke() { (UNIT / 5, UNIT) } else { (UNIT, plan.slice.mul_f64(0.2).max(UNIT * 5)) };
    let slice = |case: &str, param: &str| {
        let (mechanism, cure) = pair(if case == AA { cases[0] } else { case }, param)?;
        starve(mechanism, cure, unit, window)
    };
    let mut samples = interleaved(plan, 1, cases, params, slice, |case, param, mut seen| match seen.pop() {
        Some(Ok(seen)) => sample(case, param, &seen),
        Some(Err(why)) => Sample::unmeasured(case, param, why),
        None => Sample::unmeasured(case, param, "not run"),
    });
    distrust_noisy_host(&mut samples, unit);
    samples
}

/// Where the control row's victim itself waited for half a unit, the host starves it, and no row of that mechanism says anything. (What
/// looked like a fault of `unpolled` with block_in_place was this: traced, the holder's sleep of 10 ms took 76 ms beside four spinning threads.)
fn distrust_noisy_host(samples: &mut [Sample], unit: Duration) {
    let late_ns = |s: &Sample| s.values.get("late_mean_ns").copied().unwrap_or_default();
    let noisy: Vec<(String, f64)> = samples
        .iter()
        .filter(|s| s.case == "control" && late_ns(s) > unit.as_nanos() as f64 / 2.0)
        .map(|s| (s.param.clone(), late_ns(s)))
        .collect();
    for (param, late_ns) in noisy {
        let doubt = format!("the control row itself waited {:.1} ms: the host is too busy", late_ns / 1e6);
        samples.iter_mut().filter(|s| s.param == param).for_each(|s| s.doubts.push(doubt.clone()));
    }
}

fn sample(case: &str, param: &str, seen: &Starved) -> Sample {
    // With the offender gone nobody starves, and its victim's delays would look like a cure.
    if let Some(said) = &seen.panicked {
        return Sample::unmeasured(case, param, format!("the offender panicked: {said}"));
    }
    let mut sample =
        Sample::new(case, param).with("units_per_s", seen.units_count as f64 * 1e9 / seen.wall_ns as f64);
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
    sample
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::traced_lab_main(&LAB, traced)
}

//! Which lock belongs around what in async code, and what may be held across an await?
//!
//! Run it: `cargo run --release --bin async_locks -- --step`
use std::{sync::Arc, time::Duration};

use tokio::runtime::Builder;
use underhood::{
    contenders::task_lock::{Section, Shared, Way},
    experiments::held::{Held, hold},
    lab::{
        Bench, Claim, Expect, Kind, Lab, Launch, Pick, Predict, Say, Step, Timed, pick, plan::Plan,
        sample::Sample,
    },
    measure::lateness::{RuntimeSeen, RuntimeWatch, Verdict, interleaved, watch_runtime},
    record::AA,
};

/// Two on any machine, so that figures compare.
const WORKERS: usize = 2;
const TASKS: usize = 8;
/// The victim's period: some twenty wakes even in a quick run, so that there is a median.
const WAKE: Duration = Duration::from_micros(2300);
/// A runtime that is not done by then is reported, shut down, and left behind.
const PATIENCE: Duration = Duration::from_secs(4);
/// Additions between two yields of a task, where an addition takes some 100 ns.
const BATCH: u32 = 100;

pub(crate) static LAB: Lab = Lab {
    stem: "async_locks",
    question: "Which lock belongs around what in async code, and what may be held across an await?",
    steps: &[NO_AWAIT, ACROSS_AWAIT, STD_GUARD],
    says: &[
        Say {
            step: "no_await",
            text: "Around an increment std's mutex let {value} additions through, tokio's {against}: eight tasks, two workers.",
            of: pick("std_mutex", "bare", "ops_per_s"),
            against: Some(pick("tokio_mutex", "bare", "ops_per_s")),
            not_true_when: "the section is as long as a task's turn: then the lock's own cost does not show",
        },
        Say {
            step: "no_await",
            text: "Around 1 ms of computing, an unrelated task waited {value} at the median with std's mutex and {against} with tokio's: \
                   the waiter of the one keeps its worker.",
            of: pick("std_mutex", "spin_1ms", "wake_p50_ns"),
            against: Some(pick("tokio_mutex", "spin_1ms", "wake_p50_ns")),
            not_true_when: "there are more workers than tasks that may wait for the lock at once",
        },
        Say {
            step: "across_await",
            text: "Four permits let {ratio} as many sections through as one lock, but that is because they do not exclude: see the lost \
                   additions.",
            of: pick("semaphore_4", "sleep_1ms", "ops_per_s"),
            against: Some(pick("tokio_mutex", "sleep_1ms", "ops_per_s")),
            not_true_when: "what is behind the permits can't serve four at once",
        },
    ],
    not_said: &[
        "That 1 ms of computing belongs on a worker, with whatever lock: see async_starvation.",
        "Nothing about locks on threads: lock_mutex and lock_semaphore have those.",
        "Nothing about reader-writer locks.",
    ],
    next: &[
        "Why does the compiler stop a task from holding std's guard across an await, and when does it not? (block_on, LocalSet)",
        "Why is tokio's mutex slower when nobody else wants it?",
        "What does a dropped lock future cost? (lab async_cancel)",
        "When does an owner with a mailbox beat a lock? (when the work on the value awaits, and has an order)",
        "How does a pool of connections use a semaphore, and where is the exclusion then?",
    ],
    sources: &[
        "tokio 1.54.1: src/structures/sync/mutex.rs ('Which kind of mutex should you use?'), src/structures/sync/batch_semaphore.rs (fair queue)",
        "Alice Ryhl, Actors with Tokio, 2021; Async: What is blocking?, 2020",
        "clippy: await_holding_lock; tokio-rs/tokio#4588, #6819",
    ],
    benches,
};

const NO_AWAIT: Step = Step {
    name: "no_await",
    ask: "Eight tasks on two workers compute for 1 ms under one lock, with no await inside. Another task is woken from outside. How long does \
          it wait, at the median, if the lock is std's mutex?",
    predict: Predict::Number { case: "std_mutex", param: "spin_1ms" },
    kind: Kind::Tail,
    cases: &["std_mutex", "tokio_mutex", "semaphore", "message"],
    params: &["bare", "spin_20us", "spin_1ms"],
    launch: Launch::Together,
    measure,
    headline: "ops_per_s",
    columns: &["wake_p50_ns", "wake_max_ns", "lost_share", "cpu_share"],
    claims: &[
        against(
            "Around an increment std's mutex lets at least twice as much through as tokio's",
            pick("std_mutex", "bare", "ops_per_s"),
            pick("tokio_mutex", "bare", "ops_per_s"),
            Expect::AtLeast(2.0),
        ),
        against(
            "and at least 5 times as much as an owner with a mailbox",
            pick("std_mutex", "bare", "ops_per_s"),
            pick("message", "bare", "ops_per_s"),
            Expect::AtLeast(5.0),
        ),
        against(
            "Around 1 ms the lock is the program: std's and tokio's let through the same, within a fifth",
            pick("std_mutex", "spin_1ms", "ops_per_s"),
            pick("tokio_mutex", "spin_1ms", "ops_per_s"),
            Expect::Between(0.8, 1.25),
        ),
        against(
            "but with tokio's a bystander waits at most a third as long",
            pick("tokio_mutex", "spin_1ms", "wake_p50_ns"),
            pick("std_mutex", "spin_1ms", "wake_p50_ns"),
            Expect::AtMost(0.34),
        ),
        alone(
            "Around an increment nobody notices that std's mutex blocks: the bystander waits less than 1 ms",
            pick("std_mutex", "bare", "wake_p50_ns"),
            Expect::AtMost(1e6),
        ),
    ],
    because: "Uncontended, std's mutex is one atomic operation, and a section of some ns is over before anybody could be put to sleep. tokio's is a \
              fair queue: each release hands the permit to the first waiter and wakes its task, so every addition costs a trip through the \
              scheduler; a message costs two. That is cheap beside 1 ms. Then what counts is where the others wait: std's waiter sits in \
              the kernel with its worker, so one computes, one waits, and a bystander finds no worker; tokio's waiter is a task in a queue, \
              and the second worker is free. See src/contenders/task_lock.rs.",
    tour: false,
};

const ACROSS_AWAIT: Step = Step {
    name: "across_await",
    ask: "Eight tasks read a value, await a timer of 1 ms, and write the value plus one; a semaphore with 4 permits is held across it. Which \
          share of the additions is lost?",
    predict: Predict::Number { case: "semaphore_4", param: "sleep_1ms" },
    kind: Kind::Tail,
    cases: &["tokio_mutex", "semaphore", "message", "semaphore_4", "std_released"],
    params: &["yield", "sleep_1ms"],
    launch: Launch::Together,
    measure,
    headline: "ops_per_s",
    columns: &["lost_share", "wake_p50_ns", "wake_max_ns", "cpu_share"],
    claims: &[
        against(
            "A semaphore of one permit is a mutex: the same throughput, within a fifth",
            pick("semaphore", "sleep_1ms", "ops_per_s"),
            pick("tokio_mutex", "sleep_1ms", "ops_per_s"),
            Expect::Between(0.8, 1.25),
        ),
        alone("Under tokio's mutex nothing is lost", pick("tokio_mutex", "sleep_1ms", "lost_share"), NOTHING),
        alone("nor by an owner with a mailbox", pick("message", "sleep_1ms", "lost_share"), NOTHING),
        against(
            "Four permits let at least 3 times as many sections through",
            pick("semaphore_4", "sleep_1ms", "ops_per_s"),
            pick("tokio_mutex", "sleep_1ms", "ops_per_s"),
            Expect::AtLeast(3.0),
        ),
        alone(
            "and lose at least half of the additions",
            pick("semaphore_4", "sleep_1ms", "lost_share"),
            Expect::AtLeast(0.5),
        ),
        alone(
            "So does std's mutex that is let go before the await and taken again after it",
            pick("std_released", "sleep_1ms", "lost_share"),
            Expect::AtLeast(0.5),
        ),
        alone(
            "Whatever awaits leaves the bystander alone: less than 1 ms",
            pick("tokio_mutex", "sleep_1ms", "wake_p50_ns"),
            Expect::AtMost(1e6),
        ),
    ],
    because: "What is held across an await is held while other tasks run, which is the only reason to want a lock that awaits. Its throughput is \
              one section at a time, whichever way. More permits let more in at once: they protect what is behind them from too many, and \
              the value from nobody. A std mutex that is released before the await and taken again is the right cure for a guard across an \
              await only where the value may change meanwhile; the lost additions are what it costs if it may not.",
    tour: false,
};

const STD_GUARD: Step = Step {
    name: "std_guard",
    ask: "A std guard is held across an await, and the awaited answer comes from a task of the same runtime. Two workers, and two tasks lock the \
          same mutex meanwhile. In which share of the runs does it hang?",
    predict: Predict::Number { case: "std_guard", param: "two_wait" },
    kind: Kind::Count,
    cases: &["std_guard", "std_released", "tokio_mutex", "semaphore", "message"],
    params: &["one_waits", "two_wait"],
    launch: Launch::Together,
    measure: measure_held,
    headline: "hung_share",
    columns: &["stuck_workers_count", "blocked_share", "released_share"],
    claims: &[
        exactly(
            "A task that waits for a std guard takes a worker with it",
            "std_guard",
            "one_waits",
            "stuck_workers_count",
            1.0,
        ),
        exactly(
            "and does not hang while another worker is left",
            "std_guard",
            "one_waits",
            "hung_share",
            0.0,
        ),
        exactly("Two of them on two workers hang", "std_guard", "two_wait", "hung_share", 1.0),
        exactly(
            "and go on when the answer comes from outside",
            "std_guard",
            "two_wait",
            "released_share",
            1.0,
        ),
        exactly("Let go before the await it hangs nobody", "std_released", "two_wait", "hung_share", 0.0),
        exactly("Nor does tokio's, held across the await", "tokio_mutex", "two_wait", "hung_share", 0.0),
        exactly("and no worker waits for it", "tokio_mutex", "two_wait", "stuck_workers_count", 0.0),
        exactly("Nor does a message", "message", "two_wait", "hung_share", 0.0),
    ],
    because: "A std guard that lives across an await is released by a task that has to be polled first; those who wait for it sit on the workers \
              that would poll. With as many of them as workers it is a circle. The compiler stops a spawned task from doing this, since the \
              guard is not Send; it does not stop block_on (used here), a LocalSet, or parking_lot's guard with its feature send_guard. Here the \
              answer is finally given by a thread outside of the runtime. See src/experiments/held.rs.",
    tour: false,
};

const NOTHING: Expect = Expect::Between(0.0, 0.0);

const fn alone(text: &'static str, of: Pick, expect: Expect) -> Claim {
    Claim { text, of, against: None, expect, cores: 1 }
}

/// Two workers that compute need two cores to be compared.
const fn against(text: &'static str, of: Pick, against: Pick, expect: Expect) -> Claim {
    Claim { text, of, against: Some(against), expect, cores: 2 }
}

/// A count is whole; its mean over launches is rounded.
const fn exactly(
    text: &'static str,
    case: &'static str,
    param: &'static str,
    value: &'static str,
    is: f64,
) -> Claim {
    alone(text, pick(case, param, value), Expect::Between(is - 0.001, is + 0.001))
}

fn way(case: &str) -> Option<Way> {
    match case {
        "std_mutex" | "std_guard" => Some(Way::StdMutex),
        "tokio_mutex" => Some(Way::TokioMutex),
        "semaphore" => Some(Way::Semaphore(1)),
        "semaphore_4" => Some(Way::Semaphore(4)),
        "message" => Some(Way::Message),
        "std_released" => Some(Way::StdReleased),
        _ => None,
    }
}

/// A section, and how many of them a task does between two yields.
fn section(param: &str) -> Option<(Section, u32)> {
    match param {
        "bare" => Some((Section::Bare, BATCH)),
        "spin_20us" => Some((Section::Spin(Duration::from_micros(20)), 1)),
        "spin_1ms" => Some((Section::Spin(Duration::from_millis(1)), 1)),
        "yield" => Some((Section::Yield, 1)),
        "sleep_1ms" => Some((Section::Sleep(Duration::from_millis(1)), 1)),
        _ => None,
    }
}

/// All rows in random order, each with a runtime of its own: tasks that add, and a bystander that is woken from outside.
fn measure(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let window = if plan.is_smoke() { WAKE * 4 } else { plan.slice.mul_f64(0.4) };
    let slice = |case: &str, param: &str| {
        let case = if case == AA { cases[0] } else { case };
        let (way, (section, batch)) = way(case).zip(section(param)).ok_or("no such case or section")?;
        let shared = Shared::new(way, section)?;
        let watch =
            RuntimeWatch { workers: WORKERS, window, tick: None, wake: Some(WAKE), patience: PATIENCE };
        let adds = Arc::clone(&shared);
        let unit = move || {
            let shared = Arc::clone(&adds);
            async move {
                for _ in 0..batch {
                    shared.add().await;
                }
            }
        };
        let seen = watch_runtime(&watch, TASKS, unit, |_| tokio::task::yield_now())?;
        let added = seen.units.samples_count() * u64::from(batch);
        // Of nothing, on a machine too busy for a single unit, nothing is lost.
        let lost = (added - shared.value()) as f64 / added.max(1) as f64;
        let excludes = !matches!(way, Way::Semaphore(2..) | Way::StdReleased);
        if excludes && shared.value() != added {
            return Err(format!("{} of {added} additions arrived: it does not exclude", shared.value()));
        }
        Ok((seen, lost, batch))
    };
    interleaved(plan, 1, cases, params, slice, |case, param, mut slices: Vec<Result<_, String>>| match slices
        .pop()
    {
        Some(Ok((seen, lost, batch))) => {
            let mut sample = RuntimeSeen::sample(case, param, vec![Ok(seen)]).with("lost_share", lost);
            if let Some(units) = sample.values.get("units_per_s").copied() {
                sample.values.insert("ops_per_s".into(), units * f64::from(batch));
            }
            sample
        }
        Some(Err(why)) => Sample::unmeasured(case, param, why),
        None => Sample::unmeasured(case, param, "not run"),
    })
}

fn measure_held(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let window = (plan.slice / 6).max(Duration::from_millis(20));
    // Only what hangs waits as long as that.
    let patience = if plan.is_smoke() { Duration::from_millis(60) } else { Duration::from_millis(400) };
    let at = |case: &str, param: &str| {
        let waiters = if param == "one_waits" { 1 } else { 2 };
        let held = way(case)
            .ok_or("no such case".to_string())
            .and_then(|way| hold(way, WORKERS, waiters, window, patience));
        match held {
            Ok(held) => sample_held(case, param, &held),
            Err(why) => Sample::unmeasured(case, param, why),
        }
    };
    cases.iter().flat_map(|case| params.iter().map(|param| at(case, param))).collect()
}

fn sample_held(case: &str, param: &str, held: &Held) -> Sample {
    let share = |yes: bool| f64::from(u8::from(yes));
    let mut sample = Sample::new(case, param)
        .with("hung_share", share(held.hung))
        .with("released_share", share(held.released && held.shut_down))
        .with("stuck_workers_count", held.seen.stuck_workers as f64)
        .with("blocked_share", share(held.seen.verdict == Verdict::Blocked));
    if !(held.released && held.shut_down) {
        sample.doubts.push("the rescue did not set everything free: threads were left behind".into());
    }
    sample
}

/// What each way costs one task that nobody disturbs.
fn benches(_: &Plan) -> Vec<Bench> {
    let bench = |case: &'static str| Bench {
        id: format!("add/{case}"),
        make: Box::new(move || -> Timed {
            let runtime = Builder::new_multi_thread().worker_threads(WORKERS).build();
            let runtime = runtime.expect("a runtime for the bench");
            let shared = Shared::new(way(case).expect("a case"), Section::Bare).expect("a bare section");
            Box::new(move |n| {
                let shared = Arc::clone(&shared);
                // In a task, not in block_on: the thread of block_on is not a worker.
                let task = runtime.spawn(async move {
                    let began = std::time::Instant::now();
                    for _ in 0..n {
                        shared.add().await;
                    }
                    began.elapsed()
                });
                runtime.block_on(task).expect("nothing to panic")
            })
        }),
    };
    NO_AWAIT.cases.iter().map(|case| bench(case)).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

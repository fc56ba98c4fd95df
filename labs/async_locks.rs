//! Which lock belongs around what in async code, and what may be held across an await?
//!
//! Run it: `cargo run --release --bin async_locks -- --step`
use std::{sync::Arc, time::Duration};

use tokio::runtime::Builder;
use underhood::{
    contenders::task_lock::{
        MESSAGE, SEMAPHORE, SEMAPHORE_4, STD_MUTEX, STD_RELEASED, Section, Shared, TOKIO_MUTEX, Way,
    },
    experiments::held::{Held, hold},
    lab::{
        Bound, Kind, Lab, Point, Setting, Step, Timed, at, at_least, at_most, between, count, exactly, pick,
        plan::Plan, ratio, sample::Sample, shown_by, source,
    },
    measure::lateness::{RuntimeSeen, RuntimeWatch, Verdict, in_turn, watch_runtime},
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

const NO_AWAIT: &[Setting<Way>] = &[STD_MUTEX, TOKIO_MUTEX, SEMAPHORE, MESSAGE];
const ACROSS_AWAIT: &[Setting<Way>] = &[TOKIO_MUTEX, SEMAPHORE, MESSAGE, SEMAPHORE_4, STD_RELEASED];
const STD_GUARD: &[Setting<Way>] = &[
    Setting { is: STD_MUTEX.is.as_case("std_guard"), ..STD_MUTEX },
    STD_RELEASED,
    TOKIO_MUTEX,
    SEMAPHORE,
    MESSAGE,
];

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_locks", "Which lock belongs around what in async code, and what may be held across an await?")
        .step(no_await())
        .step(across_await())
        .step(std_guard())
        .say(
            "no_await",
            "Around an increment std's mutex let {value} additions through, tokio's {against}: eight tasks, two workers.",
            ratio(("std_mutex", "bare"), ("tokio_mutex", "bare")),
            "the section is as long as a task's turn: then the lock's own cost does not show",
        )
        .say(
            "no_await",
            "Around 1 ms of computing, an unrelated task waited {value} at the median with std's mutex and {against} with tokio's: \
             the waiter of the one keeps its worker.",
            ratio(pick("std_mutex", "spin_1ms", "wake_p50_ns"), pick("tokio_mutex", "spin_1ms", "wake_p50_ns")),
            "there are more workers than tasks that may wait for the lock at once",
        )
        .say(
            "across_await",
            "Four permits let {ratio} as many sections through as one lock, but that is because they do not exclude: see the lost \
             additions.",
            ratio(("semaphore_4", "sleep_1ms"), ("tokio_mutex", "sleep_1ms")),
            "what is behind the permits can't serve four at once",
        )
        .not_said(&[
            "That 1 ms of computing belongs on a worker, with whatever lock: see async_starvation.",
            "Nothing about locks on threads: lock_mutex and lock_semaphore have those.",
            "Nothing about reader-writer locks.",
        ])
        .next(&[
            "Why does the compiler stop a task from holding std's guard across an await, and when does it not? (block_on, LocalSet)",
            "Why is tokio's mutex slower when nobody else wants it?",
            "What does a dropped lock future cost? (lab async_cancel)",
            "When does an owner with a mailbox beat a lock? (when the work on the value awaits, and has an order)",
            "How does a pool of connections use a semaphore, and where is the exclusion then?",
        ])
        .sources(&[
            "tokio 1.54.1: src/sync/mutex.rs ('Which kind of mutex should you use?'), src/sync/batch_semaphore.rs (fair queue)",
            "Alice Ryhl, Actors with Tokio, 2021; Async: What is blocking?, 2020",
            "clippy: await_holding_lock; tokio-rs/tokio#4588, #6819",
        ])
}

/// A section, and how many of them a task does between two yields.
type Work = (Section, u32);

const MS: Duration = Duration::from_millis(1);

/// Tasks that add under each lock, with each of these sections.
fn adding(name: &'static str, locks: &'static [Setting<Way>], works: &[Point<Work>]) -> Step {
    Step::new(name, Kind::Tail, "ops_per_s")
        .contenders(locks)
        .over_all(works.iter().copied(), move |plan, works| measure(plan, locks, works))
}

fn no_await() -> Step {
    // Two workers that compute need two cores to be compared.
    let cheap = || at_least(2.0, ratio(("std_mutex", "bare"), ("tokio_mutex", "bare"))).cores(2);
    let mail = || at_least(5.0, ratio(("std_mutex", "bare"), ("message", "bare"))).cores(2);
    let same = || between(0.8, 1.25, ratio(("std_mutex", "spin_1ms"), ("tokio_mutex", "spin_1ms"))).cores(2);
    let wakes = |case, param| pick(case, param, "wake_p50_ns");
    let free =
        || at_most(0.34, ratio(wakes("tokio_mutex", "spin_1ms"), wakes("std_mutex", "spin_1ms"))).cores(2);
    let works = [
        at("bare", (Section::Bare, BATCH)),
        at("spin_20us", (Section::Spin(Duration::from_micros(20)), 1)),
        at("spin_1ms", (Section::Spin(MS), 1)),
    ];
    adding("no_await", NO_AWAIT, &works)
        .ask_number(
            "Eight tasks on two workers compute for 1 ms under one lock, with no await inside. Another task is woken from outside. How long does \
             it wait, at the median, if the lock is std's mutex?",
            "std_mutex",
            "spin_1ms",
        )
        .columns(&["wake_p50_ns", "wake_max_ns", "lost_share", "cpu_share"])
        // What each way costs one task that nobody disturbs.
        .bench("add/{case}", NO_AWAIT, |_, way| added(way.value))
        .claim(cheap(), "Around an increment std's mutex lets at least twice as much through as tokio's")
        .claim(mail(), "and at least 5 times as much as an owner with a mailbox")
        .claim(
            same(),
            "Around 1 ms the lock is the program: std's and tokio's let through the same, within a fifth",
        )
        .claim(free(), "but with tokio's a bystander waits at most a third as long")
        .claim(
            at_most(1e6, wakes("std_mutex", "bare")),
            "Around an increment nobody notices that std's mutex blocks: the bystander waits less than 1 ms",
        )
        .because(
            "Uncontended, std's mutex is one atomic operation, and a section of some ns is over before anybody could be put to sleep.",
            shown_by(at_most(1e6, wakes("std_mutex", "bare"))),
        )
        .because(
            "tokio's is a fair queue: each release hands the permit to the first waiter and wakes its task, so every addition costs a trip \
             through the scheduler.",
            shown_by(cheap()),
        )
        .because("A message costs two.", shown_by(mail()))
        .because("That is cheap beside 1 ms.", shown_by(same()))
        .because(
            "Then what counts is where the others wait. std's waiter sits in the kernel with its worker, so one computes, one waits, and a \
             bystander finds no worker.",
            shown_by(at_least(100e3, wakes("std_mutex", "spin_1ms")).cores(2)),
        )
        .because(
            "tokio's waiter is a task in a queue, and the second worker is free. See src/contenders/task_lock.rs.",
            shown_by(free()),
        )
}

fn across_await() -> Step {
    let one = || between(0.8, 1.25, ratio(("semaphore", "sleep_1ms"), ("tokio_mutex", "sleep_1ms"))).cores(2);
    let four = || at_least(3.0, ratio(("semaphore_4", "sleep_1ms"), ("tokio_mutex", "sleep_1ms"))).cores(2);
    let lost = |case| pick(case, "sleep_1ms", "lost_share");
    let alone = || at_most(1e6, pick("tokio_mutex", "sleep_1ms", "wake_p50_ns"));
    adding("across_await", ACROSS_AWAIT, &[at("yield", (Section::Yield, 1)), at("sleep_1ms", (Section::Sleep(MS), 1))])
        .ask_number(
            "Eight tasks read a value, await a timer of 1 ms, and write the value plus one; a semaphore with 4 permits is held across it. Which \
             share of the additions is lost?",
            "semaphore_4",
            "sleep_1ms",
        )
        .columns(&["lost_share", "wake_p50_ns", "wake_max_ns", "cpu_share"])
        .claim(one(), "A semaphore of one permit is a mutex: the same throughput, within a fifth")
        .claim(between(0.0, 0.0, lost("tokio_mutex")), "Under tokio's mutex nothing is lost")
        .claim(between(0.0, 0.0, lost("message")), "nor by an owner with a mailbox")
        .claim(four(), "Four permits let at least 3 times as many sections through")
        .claim(at_least(0.5, lost("semaphore_4")), "and lose at least half of the additions")
        .claim(
            at_least(0.5, lost("std_released")),
            "So does std's mutex that is let go before the await and taken again after it",
        )
        .claim(alone(), "Whatever awaits leaves the bystander alone: less than 1 ms")
        .because(
            "What is held across an await is held while other tasks run, which is the only reason to want a lock that awaits.",
            shown_by(alone()),
        )
        .because("Its throughput is one section at a time, whichever way.", shown_by(one()))
        .because(
            "More permits let more in at once: they protect what is behind them from too many, and the value from nobody.",
            shown_by(at_least(0.5, lost("semaphore_4"))),
        )
        .because(
            "A std mutex that is released before the await and taken again is the right cure for a guard across an await only where the value \
             may change meanwhile. The lost additions are what it costs if it may not.",
            shown_by(at_least(0.5, lost("std_released"))),
        )
}

fn std_guard() -> Step {
    /// A count is whole; its mean over launches is rounded.
    fn is(count: f64, case: &'static str, param: &'static str, value: &'static str) -> Bound {
        exactly(count, pick(case, param, value))
    }
    Step::new("std_guard", Kind::Count, "hung_share")
        .ask_number(
            "A std guard is held across an await, and the awaited answer comes from a task of the same runtime. Two workers, and two tasks lock the \
             same mutex meanwhile. In which share of the runs does it hang?",
            "std_guard",
            "two_wait",
        )
        .columns(&["stuck_workers_count", "blocked_share", "released_share"])
        .each(STD_GUARD, [count("one_waits", 1), count("two_wait", 2)], |plan, way, waiters| {
            let window = (plan.slice / 6).max(Duration::from_millis(20));
            // Only what hangs waits as long as that.
            let patience = Duration::from_millis(if plan.is_smoke() { 60 } else { 400 });
            Ok(sample_held(&hold(way.value, WORKERS, waiters.value, window, patience)?))
        })
        .claim(
            is(1.0, "std_guard", "one_waits", "stuck_workers_count"),
            "A task that waits for a std guard takes a worker with it",
        )
        .claim(
            is(0.0, "std_guard", "one_waits", "hung_share"),
            "and does not hang while another worker is left",
        )
        .claim(is(1.0, "std_guard", "two_wait", "hung_share"), "Two of them on two workers hang")
        .claim(
            is(1.0, "std_guard", "two_wait", "released_share"),
            "and go on when the answer comes from outside",
        )
        .claim(is(0.0, "std_released", "two_wait", "hung_share"), "Let go before the await it hangs nobody")
        .claim(is(0.0, "tokio_mutex", "two_wait", "hung_share"), "Nor does tokio's, held across the await")
        .claim(is(0.0, "tokio_mutex", "two_wait", "stuck_workers_count"), "and no worker waits for it")
        .claim(is(0.0, "message", "two_wait", "hung_share"), "Nor does a message")
        .because(
            "A std guard that lives across an await is released by a task that has to be polled first; those who wait for it sit on the workers \
             that would poll.",
            shown_by(is(1.0, "std_guard", "one_waits", "stuck_workers_count")),
        )
        .because(
            "With as many of them as workers it is a circle.",
            shown_by(is(1.0, "std_guard", "two_wait", "hung_share")),
        )
        .because(
            "The compiler stops a spawned task from doing this, since the guard is not Send. It does not stop block_on (used here), a LocalSet, \
             or parking_lot's guard with its feature send_guard.",
            source("clippy: await_holding_lock"),
        )
        .because(
            "Here the answer is finally given by a thread outside of the runtime. See src/experiments/held.rs.",
            shown_by(is(1.0, "std_guard", "two_wait", "released_share")),
        )
}

/// All rows in random order, each with a runtime of its own: tasks that add, and a bystander that is woken from outside.
fn measure(plan: &Plan, locks: &[Setting<Way>], works: &[Point<Work>]) -> Vec<Sample> {
    let window = if plan.is_smoke() { WAKE * 4 } else { plan.slice.mul_f64(0.4) };
    let slice = |way: &Setting<Way>, &(section, batch): &Work| {
        let shared = Shared::new(way.value, section)?;
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
        let excludes = !matches!(way.value, Way::Semaphore(2..) | Way::StdReleased);
        if excludes && shared.value() != added {
            return Err(format!("{} of {added} additions arrived: it does not exclude", shared.value()));
        }
        Ok((seen, lost))
    };
    in_turn(plan, 1, locks, works, slice, |_, (_, batch), mut slices| {
        let (seen, lost) = slices.pop().ok_or("not run")?;
        let mut sample = RuntimeSeen::sample(vec![seen]).with("lost_share", lost);
        if let Some(units) = sample.values.get("units_per_s").copied() {
            sample.values.insert("ops_per_s".into(), units * f64::from(*batch));
        }
        Ok(sample)
    })
}

fn sample_held(held: &Held) -> Sample {
    let share = |yes: bool| f64::from(u8::from(yes));
    let mut sample = Sample::default()
        .with("hung_share", share(held.hung))
        .with("released_share", share(held.released && held.shut_down))
        .with("stuck_workers_count", held.seen.stuck_workers as f64)
        .with("blocked_share", share(held.seen.verdict == Verdict::Blocked));
    if !(held.released && held.shut_down) {
        sample.doubts.push("the rescue did not set everything free: threads were left behind".into());
    }
    sample
}

/// Additions of one task on a runtime of its own.
fn added(way: Way) -> Timed {
    let runtime = Builder::new_multi_thread().worker_threads(WORKERS).build();
    let runtime = runtime.expect("a runtime for the bench");
    let shared = Shared::new(way, Section::Bare).expect("a bare section");
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
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

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

/// Two on any machine, so that the numbers of two machines can be compared.
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
            "Eight tasks on two workers add to a number under a lock. std's mutex let {value} additions \
            through, and tokio's mutex {against}.",
            ratio(("std_mutex", "bare"), ("tokio_mutex", "bare")),
            "the critical section is as long as a task's turn. Then the cost of the lock itself does not show",
        )
        .say(
            "no_await",
            "A lock is held for 1 ms of computing. An unrelated task then waited {value} at the median with \
            std's mutex, and {against} with tokio's. A task that waits for std's mutex blocks its worker.",
            ratio(pick("std_mutex", "spin_1ms", "wake_p50_ns"), pick("tokio_mutex", "spin_1ms", "wake_p50_ns")),
            "there are more workers than tasks that may wait for the lock at once",
        )
        .say(
            "across_await",
            "A semaphore with four permits let {ratio} as many critical sections through as one lock, since \
            four tasks are inside at once. But additions were lost.",
            ratio(("semaphore_4", "sleep_1ms"), ("tokio_mutex", "sleep_1ms")),
            "the resource behind the permits can't serve four tasks at once",
        )
        .not_said(&[
            "That 1 ms of computing belongs on a worker, with any lock. See lab async_starvation.",
            "Anything about locks in code without async. See labs lock_mutex and lock_semaphore.",
            "Anything about reader-writer locks.",
        ])
        .next(&[
            "Why does the compiler stop a task from holding std's guard across an await, and when does it not? (block_on, LocalSet)",
            "Why is tokio's mutex slower when nobody else wants it?",
            "What does a dropped lock future cost? (lab async_cancel)",
            "When is an owner task with a mailbox better than a lock? (when the work on the value awaits and \
            must stay in order)",
            "How does a connection pool use a semaphore, and what ensures then that each connection has only \
            one user?",
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
            "Eight tasks on two workers compute for 1 ms under one lock, with no await inside. Another task \
            is woken from outside. How long does it wait, at the median, if the lock is std's mutex?",
            "std_mutex",
            "spin_1ms",
        )
        .columns(&["wake_p50_ns", "wake_max_ns", "lost_share", "cpu_share"])
        // What each way costs one task that nobody disturbs.
        .bench("add/{case}", NO_AWAIT, |_, way| added(way.value))
        .claim(
            cheap(),
            "With only an increment inside, std's mutex does at least twice as many operations \
            as tokio's mutex",
        )
        .claim(
            mail(),
            "With only an increment inside, std's mutex does at least 5 times as many operations \
            as an owner task with a mailbox",
        )
        .claim(
            same(),
            "With 1 ms of computing inside, std's and tokio's mutex do the same number of operations, within \
            a fifth",
        )
        .claim(
            free(),
            "With 1 ms inside, an unrelated task waits at most a third as long with tokio's mutex \
            as with std's",
        )
        .claim(
            at_most(1e6, wakes("std_mutex", "bare")),
            "With only an increment inside, it does not show that std's mutex blocks: the unrelated task \
            waits less than 1 ms at the median",
        )
        .because(
            "Uncontended, std's mutex costs two atomic operations. A critical section of some ns is over \
            before any thread could be put to sleep.",
            shown_by(at_most(1e6, wakes("std_mutex", "bare"))),
        )
        .because(
            "tokio's mutex has a fair queue. Each release hands the permit to the first waiter and wakes its \
            task. So every addition costs a trip through the scheduler.",
            shown_by(cheap()),
        )
        .because(
            "A message to an owner task costs a trip through the scheduler, too: the answer wakes the sender. \
            If the owner sleeps, the message also wakes the owner.",
            shown_by(mail()),
        )
        .because("Compared with 1 ms of computing, neither cost shows.", shown_by(same()))
        .because(
            "With long critical sections, it matters where the other tasks wait. A task that waits for std's \
            mutex blocks its worker thread in the kernel. So one worker computes, the other waits, and no \
            worker is left for an unrelated task.",
            shown_by(at_least(100e3, wakes("std_mutex", "spin_1ms")).cores(2)),
        )
        .because(
            "A task that waits for tokio's mutex is in a queue and does not block its worker. So the second \
            worker is free. See src/contenders/task_lock.rs.",
            shown_by(free()),
        )
}

fn across_await() -> Step {
    let one = || between(0.8, 1.25, ratio(("semaphore", "sleep_1ms"), ("tokio_mutex", "sleep_1ms"))).cores(2);
    let four = || at_least(3.0, ratio(("semaphore_4", "sleep_1ms"), ("tokio_mutex", "sleep_1ms"))).cores(2);
    let lost = |case| pick(case, "sleep_1ms", "lost_share");
    let alone = || at_most(1e6, pick("tokio_mutex", "sleep_1ms", "wake_p50_ns"));
    adding(
        "across_await",
        ACROSS_AWAIT,
        &[at("yield", (Section::Yield, 1)), at("sleep_1ms", (Section::Sleep(MS), 1))],
    )
    .ask_number(
        "Eight tasks each read a value, await a timer of 1 ms, and write the value plus one. Each holds \
            a permit of a semaphore across the await. The semaphore has 4 permits. What share of the \
            additions is lost?",
        "semaphore_4",
        "sleep_1ms",
    )
    .columns(&["lost_share", "wake_p50_ns", "wake_max_ns", "cpu_share"])
    .claim(
        one(),
        "A semaphore with one permit works as a mutex: it has the same throughput, within a \
            fifth",
    )
    .claim(between(0.0, 0.0, lost("tokio_mutex")), "With tokio's mutex no addition is lost")
    .claim(between(0.0, 0.0, lost("message")), "With an owner task and its mailbox no addition is lost")
    .claim(four(), "Four permits let at least 3 times as many critical sections through as tokio's mutex")
    .claim(at_least(0.5, lost("semaphore_4")), "With four permits at least half of the additions are lost")
    .claim(
        at_least(0.5, lost("std_released")),
        "With a std mutex that is released before the await and locked again after it, at least half are \
            lost, too",
    )
    .claim(
        alone(),
        "With tokio's mutex held across the await, the unrelated task waits less than 1 ms at the median",
    )
    .because(
        "While a task holds tokio's guard across an await, other tasks run. That is the main reason to use a \
            lock that awaits.",
        shown_by(alone()),
    )
    .because(
        "The mutex and the semaphore with one permit both let one critical section through at a time.",
        shown_by(one()),
    )
    .because(
        "More permits let more tasks in at once. They limit the load on the resource behind them, but \
            they do not protect the value.",
        shown_by(at_least(0.5, lost("semaphore_4"))),
    )
    .because(
        "Releasing a std mutex before the await and locking it again is correct only if the value may \
            change meanwhile. If it may not change, additions are lost, as here.",
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
            "A task holds a std guard across an await. The answer that it awaits comes from a task of the \
            same runtime. The runtime has two workers, and two more tasks lock the same mutex meanwhile. \
            What share of the runs hangs?",
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
            "A task that waits for the std mutex blocks one worker",
        )
        .claim(
            is(0.0, "std_guard", "one_waits", "hung_share"),
            "With one waiting task no run hangs, since another worker is left",
        )
        .claim(
            is(1.0, "std_guard", "two_wait", "hung_share"),
            "With two tasks that wait on two workers, every run hangs",
        )
        .claim(
            is(1.0, "std_guard", "two_wait", "released_share"),
            "The runs that hang go on when the answer comes from outside the runtime",
        )
        .claim(
            is(0.0, "std_released", "two_wait", "hung_share"),
            "If the std mutex is released before the await, no run hangs",
        )
        .claim(
            is(0.0, "tokio_mutex", "two_wait", "hung_share"),
            "With tokio's mutex held across the await, no run hangs",
        )
        .claim(
            is(0.0, "tokio_mutex", "two_wait", "stuck_workers_count"),
            "No worker is blocked by tokio's mutex",
        )
        .claim(is(0.0, "message", "two_wait", "hung_share"), "With a message to an owner task, no run hangs")
        .because(
            "A task that holds a std guard across an await must be polled before it can release the guard. \
            The tasks that wait for the mutex block the workers that would poll it.",
            shown_by(is(1.0, "std_guard", "one_waits", "stuck_workers_count")),
        )
        .because(
            "With as many waiting tasks as workers, this is a deadlock.",
            shown_by(is(1.0, "std_guard", "two_wait", "hung_share")),
        )
        .because(
            "The compiler stops a spawned task from doing this, since the guard is not Send. It does not \
            stop block_on (used here), a LocalSet, or parking_lot's guard with its feature send_guard.",
            source("clippy: await_holding_lock"),
        )
        .because(
            "To end the run, a thread outside the runtime finally gives the answer. See \
            src/experiments/held.rs.",
            shown_by(is(1.0, "std_guard", "two_wait", "released_share")),
        )
}

/// All rows in random order, each with a runtime of its own: tasks that add, and a bystander that is woken from outside.
fn measure(plan: &Plan, locks: &[Setting<Way>], works: &[Point<Work>]) -> Vec<Sample> {
    let window = if plan.is_smoke() { WAKE * 4 } else { plan.slice.mul_f64(0.4) };
    let slice = |way: &Setting<Way>, &(section, batch): &Work| {
        let shared = Shared::new(way.value, section)?;
        let watch = RuntimeWatch {
            workers: WORKERS,
            window,
            spread: Duration::ZERO,
            tick: None,
            wake: Some(WAKE),
            patience: PATIENCE,
        };
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
        // A machine may be too busy for a single unit. Then nothing was added, and nothing is lost.
        let lost = (added - shared.value()) as f64 / added.max(1) as f64;
        let excludes = !matches!(way.value, Way::Semaphore(2..) | Way::StdReleased);
        if excludes && shared.value() != added {
            return Err(format!(
                "only {} of {added} additions arrived: the lock does not exclude",
                shared.value()
            ));
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
        sample.doubts.push("the rescue did not release everything: threads were left behind".into());
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

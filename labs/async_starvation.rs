//! Why does blocking on an async task starve the runtime?
//!
//! Run it: `cargo run --release --bin async_starvation -- --step`
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use underhood::{
    lab::{
        Bench, Check, Contender, Kind, Lab, Point, Setting, Step, Timed, at_least, at_most, between, count,
        pick, plan::Plan, ratio, sample::Sample, shown_by, source,
    },
    measure::{
        lateness::{RuntimeSeen, RuntimeWatch, in_turn, occupies_worker, watch_runtime},
        trace::{self, Trace},
    },
};

/// Two on every machine, so that numbers can be compared. Workers are what is short, however many CPUs are idle.
const WORKERS: usize = 2;
const UNIT: Duration = Duration::from_millis(50);
const ROUND: Duration = Duration::from_millis(150);
const TICK: Duration = Duration::from_millis(5);
/// Not a multiple of [`TICK`]: the two probes must not march in step.
const WAKE: Duration = Duration::from_micros(5300);
/// A runtime that is not done by then is reported, shut down, and left behind.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_starvation", "Why does blocking on an async task starve the runtime?")
        .step(starve())
        .step(one_blocker_timer())
        .say(
            "starve",
            "With two workers and two tasks that block for 50 ms at a time, a wake-up waited {value} at the \
            median instead of {against}. The process used almost no CPU meanwhile.",
            ratio(("thread_sleep", "k2"), ("control", "k2")),
            "there are more workers than tasks that block at once, or the blocking runs on other threads",
        )
        .say(
            "starve",
            "Moving the same two blocking calls to spawn_blocking brings the median wait for a wake-up from \
            {against} to {value}.",
            ratio(("spawn_blocking", "k2"), ("thread_sleep", "k2")),
            "the blocking pool is full (512 threads by default): then the calls queue for a thread",
        )
        .say(
            "starve",
            "Blocking also slows down the blocking tasks. Four of them on two workers spent only {value} of \
            their time on their own work.",
            pick("thread_sleep", "k4", "units_done_share"),
            "the tasks compute instead of sleeping. Then the cores are the limit, not the workers",
        )
        .say(
            "one_blocker_timer",
            "One task blocks for 50 ms whenever its own timer fires. With eight workers, another task's \
            timer was {value} late at the median instead of {against}. The worker that polls the timers had \
            gone to run the blocking task.",
            ratio(("due_alone", "w8"), ("control", "w8")),
            "something else wakes the runtime often, as I/O from other threads does, or with tokio's unstable \
             enable_eager_driver_handoff",
        )
        .not_said(&[
            "Anything about high percentiles. On a shared machine, even the p99 of the row without \
            blocking can reach 100 ms. Quote medians only.",
            "Anything about tasks that compute for long. Here the blocking tasks sleep, so there were \
            enough cores.",
            "Anything about sockets: only timers and wake-ups were watched.",
            "Anything about other runtimes or other versions of tokio: the scheduler changes from release \
             to release.",
        ])
        .next(&[
            "How long may a task run between two awaits? (10 to 100 us, as a rule)",
            "One blocking task makes the others' timers late. Why do more workers not help?",
            "Why does timeout(10 ms, f) return Ok after 200 ms when f blocks for 200 ms?",
            "What does block_in_place do to the other futures of the same task? (the other branches of a \
            join! stand still, too)",
            "How would you find the blocking task in production without waking the runtime?",
        ])
        .sources(&[
            "tokio 1.54.1 (the version in Cargo.lock), src/runtime/scheduler/multi_thread/{worker,park}.rs",
            "tokio-rs/tokio#4730 (one blocking task stops all timers), #8010 (eager driver hand-off)",
            "Alice Ryhl, Async: What is blocking?, 2020",
            "Gil Tene, How NOT to measure latency, 2015 (late ticks are caught up, not forgotten)",
        ])
}

/// How a task spends a unit of waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    ThreadSleep,
    SpawnBlocking,
    BlockInPlace,
    TokioSleep,
}

impl Doing {
    async fn unit(self, unit: Duration) {
        let sleep = move || trace::blocking("thread::sleep", || std::thread::sleep(unit));
        match self {
            Doing::ThreadSleep => sleep(),
            Doing::SpawnBlocking => {
                // Fails only if the runtime is being shut down, and then nobody counts this unit.
                let _ = tokio::task::spawn_blocking(sleep).await;
            }
            Doing::BlockInPlace => tokio::task::block_in_place(sleep),
            Doing::TokioSleep => tokio::time::sleep(unit).await,
        }
    }

    /// Before anything is timed: a unit lasts as long as it says, `thread::sleep` occupies its worker, and the others do not.
    fn check(self) -> Result<(), String> {
        let unit = UNIT / 10;
        match (self, occupies_worker(|| self.unit(unit), unit, PATIENCE)?) {
            (Doing::ThreadSleep, true) => Ok(()),
            (Doing::ThreadSleep, false) => Err("another task ran while the only worker slept".into()),
            (_, false) => Ok(()),
            (_, true) => Err(format!("{self:?}: no other task ran meanwhile, on a runtime with one worker")),
        }
    }
}

/// What a blocker does between two units.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Rest {
    Yield,
    /// Awaits a moment halfway between two ticks of the timer probe, so that the driver finds the blocker alone ready.
    DueAlone,
    /// Awaits the moment of a tick, so that the driver finds two tasks ready at once.
    DueTogether,
}

impl Rest {
    async fn rest(self, start: Instant) {
        let phase = match self {
            Rest::Yield => return tokio::task::yield_now().await,
            Rest::DueAlone => TICK.mul_f64(1.5),
            Rest::DueTogether => TICK,
        };
        let ticks = start.elapsed().as_nanos() / TICK.as_nanos();
        tokio::time::sleep_until((start + TICK * ticks as u32 + phase).into()).await;
    }
}

/// One row of a table: who blocks, on how many workers, and whether the outside probe is switched on too.
#[derive(Clone, Copy, Debug)]
struct Setup {
    workers: usize,
    blockers: usize,
    doing: Doing,
    rest: Rest,
    outside: bool,
}

/// A row, given the number that is its parameter.
type Row = Setting<fn(usize) -> Setup>;

const fn row(id: &'static str, check: Check, setup: fn(usize) -> Setup) -> Row {
    Setting { is: Contender::new(id).checked(check), value: setup }
}

fn blockers(blockers: usize, doing: Doing) -> Setup {
    Setup { workers: WORKERS, blockers, doing, rest: Rest::Yield, outside: true }
}

fn sleepers(workers: usize, blockers: usize, rest: Rest, outside: bool) -> Setup {
    Setup { workers, blockers, doing: Doing::ThreadSleep, rest, outside }
}

const SLEEPS: Check = || Doing::ThreadSleep.check();

/// The parameter: how many block.
const STARVE: &[Row] = &[
    row("control", SLEEPS, |_| blockers(0, Doing::ThreadSleep)),
    row("thread_sleep", SLEEPS, |k| blockers(k, Doing::ThreadSleep)),
    row("spawn_blocking", || Doing::SpawnBlocking.check(), |k| blockers(k, Doing::SpawnBlocking)),
    row("block_in_place", || Doing::BlockInPlace.check(), |k| blockers(k, Doing::BlockInPlace)),
    row("tokio_sleep", || Doing::TokioSleep.check(), |k| blockers(k, Doing::TokioSleep)),
];
const BLOCKERS: [Point<usize>; 3] = [count("k1", 1), count("k2", 2), count("k4", 4)];

/// The parameter: how many workers there are.
const ONE_BLOCKER: &[Row] = &[
    row("control", SLEEPS, |w| sleepers(w, 0, Rest::Yield, false)),
    row("due_alone", SLEEPS, |w| sleepers(w, 1, Rest::DueAlone, false)),
    row("due_together", SLEEPS, |w| sleepers(w, 1, Rest::DueTogether, false)),
    row("due_alone_watched", SLEEPS, |w| sleepers(w, 1, Rest::DueAlone, true)),
];
const WORKERS_OF: [Point<usize>; 2] = [count("w2", 2), count("w8", 8)];

// A busy host adds some 0.1 ms to the control row's median (and 100 ms to its p99), and the effect is half of 50 ms. So the
// median can be trusted and the tail can't. `distrust_noisy_host` reports when not even the median can be trusted.
fn starve() -> Step {
    let waits = || at_least(20.0, ratio(("thread_sleep", "k2"), ("control", "k2")));
    let idle = || at_most(0.1, pick("thread_sleep", "k2", "cpu_share"));
    let pool = || at_most(0.1, ratio(("spawn_blocking", "k2"), ("thread_sleep", "k2")));
    let in_place = || at_most(0.1, ratio(("block_in_place", "k2"), ("thread_sleep", "k2")));
    Step::new("starve", Kind::Tail, "wake_p50_ns")
        .ask_number(
            "A tokio runtime has 2 workers. 2 tasks run std::thread::sleep(50 ms) over and over, with a yield in between. Another \
             task is woken from outside. How long does it wait, at the median?",
            "thread_sleep",
            "k2",
        )
        .columns(&["wake_max_ns", "timer_p50_ns", "timer_max_ns", "units_done_share", "busy_share", "cpu_share"])
        .contenders(STARVE)
        .over_all(BLOCKERS, |plan, points| measure(plan, STARVE, points))
        .claim(
            waits(),
            "With as many blocking tasks as workers, a wake-up waits at least 20 times as long at the median \
            as without them",
        )
        .claim(
            between(5e6, 50e6, ("thread_sleep", "k2")),
            "With two blocking tasks on two workers, the median wait is a part of one blocking call: 5 to 50 \
            ms",
        )
        .claim(
            at_least(5.0, ratio(pick("thread_sleep", "k2", "timer_p50_ns"), pick("control", "k2", "timer_p50_ns"))),
            "With two blocking tasks on two workers, timers are at least 5 times as late, too",
        )
        .claim(pool(), "spawn_blocking removes at least nine tenths of the wait")
        .claim(in_place(), "block_in_place removes at least nine tenths of the wait, too")
        .claim(
            between(0.35, 0.65, pick("thread_sleep", "k4", "units_done_share")),
            "Four blocking tasks on two workers spend about half of their time on their own work",
        )
        .claim(
            at_least(0.8, pick("spawn_blocking", "k4", "units_done_share")),
            "With spawn_blocking they spend at least four fifths of their time on their own work",
        )
        .claim(
            idle(),
            "The starved runtime uses almost no CPU: at most a tenth of its workers' time",
        )
        .because(
            "A task gives its worker back only when its poll returns. That happens at an await that is not \
            ready. Nothing preempts a poll: tokio's `Context::run_task` \
            (runtime/scheduler/multi_thread/worker.rs) calls `task.run()` and waits until it returns.",
            source("tokio 1.54.1, src/runtime/scheduler/multi_thread/worker.rs"),
        )
        .because(
            "thread::sleep runs inside the poll, so k blocking tasks occupy k workers.",
            shown_by(at_least(0.8, pick("thread_sleep", "k2", "busy_share"))),
        )
        .because(
            "If at least as many tasks block as there are workers, no worker looks at the queues. A ready \
            task waits until the next blocking task yields. If they block independently, that takes the time \
            of one blocking call divided by (workers + 1), on average. With more blocking tasks than \
            workers, a ready task may also wait in the queue behind one of them.",
            shown_by(waits()),
        )
        .because("The CPUs are idle meanwhile. That is how you tell blocking from load.", shown_by(idle()))
        .because(
            "Every cure moves the wait away from the worker. spawn_blocking moves it to a thread of the \
            blocking pool.",
            shown_by(pool()),
        )
        .because(
            "block_in_place first hands the state of the worker, with its queue, to a thread of the blocking \
            pool.",
            shown_by(in_place()),
        )
        .because(
            "tokio::time::sleep returns Pending and so gives the worker back. `Doing::unit` in \
            labs/async_starvation.rs has one line for each cure.",
            shown_by(at_most(0.1, ratio(("tokio_sleep", "k2"), ("thread_sleep", "k2")))),
        )
        .because(
            "With one blocking task, one worker is left and all looks well. The next step shows when one \
            blocking task is enough.",
            shown_by(at_most(0.1, ratio(("thread_sleep", "k1"), ("thread_sleep", "k2")))),
        )
        .bench_also(remedies())
        .in_tour()
}

fn one_blocker_timer() -> Step {
    let late = || at_least(5.0, ratio(("due_alone", "w2"), ("control", "w2")));
    let together = || at_most(0.34, ratio(("due_together", "w8"), ("due_alone", "w8")));
    let watched = || at_most(0.34, ratio(("due_alone_watched", "w8"), ("due_alone", "w8")));
    Step::new("one_blocker_timer", Kind::Tail, "timer_p50_ns")
        .ask_number(
            "Now a runtime has 8 workers. One task awaits a timer, then blocks for 50 ms, and so on. The \
            other 7 workers are idle. How late are the timers of another task, at the median?",
            "due_alone",
            "w8",
        )
        .columns(&["timer_max_ns", "wake_p50_ns", "units_per_s", "busy_share", "cpu_share"])
        .contenders(ONE_BLOCKER)
        .over_all(WORKERS_OF, |plan, points| measure(plan, ONE_BLOCKER, points))
        .claim(
            late(),
            "One blocking task that is woken by a timer makes other tasks' timers at least five times as \
            late, although a worker is idle",
        )
        .claim(
            between(0.5, 2.0, ratio(("due_alone", "w8"), ("due_alone", "w2"))),
            "With eight workers instead of two the delay stays about the same: 0.5 to 2 times",
        )
        .claim(
            together(),
            "If the blocking task's timer fires together with another one, the delay is at most a third \
            of that when it fires alone",
        )
        .claim(
            watched(),
            "With a watchdog that wakes a task from outside, the delay is at most a third of that without a \
            watchdog",
        )
        .because(
            "All workers share one driver for timers and I/O. One idle worker parks on the driver and polls \
            it for all. It is the worker that gets the try_lock (multi_thread/park.rs, `Inner::park`). The \
            other idle workers sleep on a condvar.",
            source("tokio 1.54.1, src/runtime/scheduler/multi_thread/park.rs"),
        )
        .because(
            "When the blocking task's timer fires, the worker on the driver finds one ready task. It leaves \
            the driver to run that task.",
            shown_by(late()),
        )
        .because(
            "That worker wakes another one only if it sees more than one ready task (worker.rs, \
            `should_notify_others`). So for 50 ms no worker polls the driver, and all timers stand still, \
            however many workers are idle.",
            source("tokio 1.54.1, src/runtime/scheduler/multi_thread/worker.rs"),
        )
        .because(
            "If two timers fire together, two tasks are ready at once. So another worker is woken, and it \
            parks on the driver.",
            shown_by(together()),
        )
        .because(
            "A watchdog wakes a worker from outside within 5.3 ms, and that worker parks on the driver. \
            The probe repairs what it should only measure.",
            shown_by(watched()),
        )
        .because(
            "With tokio's unstable option enable_eager_driver_handoff, a worker that leaves the driver \
            always wakes a successor (#8010). See `Rest` in labs/async_starvation.rs.",
            source("tokio-rs/tokio#8010"),
        )
}

/// All rows in random order, each with a runtime of its own.
fn measure(plan: &Plan, rows: &[Row], points: &[Point<usize>]) -> Vec<Sample> {
    // A round is a whole number of units, so that its ticks fall on every phase of a blocked unit alike. More time goes into more
    // rounds, so that a busy second hits all rows alike.
    let rounds = (plan.slice.mul_f64(0.6).as_millis() / ROUND.as_millis()).max(1) as usize;
    let (unit, round) = if plan.is_smoke() { (UNIT / 10, TICK * 4) } else { (UNIT, ROUND) };
    let slice = |row: &Row, n: &usize| watch((row.value)(*n), unit, round);
    let sum = |row: &Row, n: &usize, slices| {
        let mut sample = RuntimeSeen::sample(slices);
        let done = |s: &Sample| Some(s.values.get("units_per_s")? * s.values.get("unit_mean_ns")? / 1e9);
        if let Some(share) = done(&sample) {
            let blockers = (row.value)(*n).blockers as f64;
            sample.values.insert("units_done_share".into(), share / blockers);
        }
        Ok(sample)
    };
    let mut samples = in_turn(plan, rounds, rows, points, slice, sum);
    distrust_noisy_host(&mut samples, &rows[0], unit);
    samples
}

fn watch(setup: Setup, unit: Duration, window: Duration) -> Result<RuntimeSeen, String> {
    let Setup { workers, blockers, doing, rest, outside } = setup;
    let wake = outside.then_some(WAKE);
    // They begin at random moments. Tasks that begin together stay together, and then a wait would be as long as with one blocker.
    let spread = if rest == Rest::Yield { unit } else { Duration::ZERO };
    let watch = RuntimeWatch { workers, window, spread, tick: Some(TICK), wake, patience: PATIENCE };
    watch_runtime(&watch, blockers, move || doing.unit(unit), move |start| rest.rest(start))
}

/// A round of each case, for a picture: `--trace FILE`.
fn traced(_: &Plan, step: &Step) -> Vec<(String, Result<Trace, String>)> {
    let play = |row: &Row, n: &usize| watch((row.value)(*n), UNIT / 5, ROUND / 5).map(|_| ());
    match step.name {
        "starve" => trace::each(STARVE, &BLOCKERS, play),
        _ => trace::each(ONE_BLOCKER, &WORKERS_OF, play),
    }
}

/// If even the control row waited for a fifth of a unit at its median, the host starves the runtime, not the blockers.
fn distrust_noisy_host(samples: &mut [Sample], control: &Row, unit: Duration) {
    let medians = samples.iter().filter(|s| s.case == control.id());
    let medians = medians.flat_map(|s| ["wake_p50_ns", "timer_p50_ns"].map(|name| s.values.get(name)));
    let worst_ns = medians.flatten().fold(0.0, |worst, ns| ns.max(worst));
    if worst_ns > unit.as_nanos() as f64 / 5.0 {
        let doubt = format!(
            "the control row itself waited {:.1} ms at the median: the host is too busy",
            worst_ns / 1e6
        );
        samples.iter_mut().for_each(|s| s.doubts.push(doubt.clone()));
    }
}

/// Costs of the remedies on an idle runtime. Starvation itself is no bench: criterion wants many similar runs, not hangs and tails.
fn remedies() -> [Bench; 4] {
    [
        bench("spawn_join", || async { tokio::spawn(async {}).await.expect("nothing to panic") }),
        bench("yield_now", tokio::task::yield_now),
        bench("block_in_place", || async { tokio::task::block_in_place(|| {}) }),
        bench("spawn_blocking", || async {
            tokio::task::spawn_blocking(|| {}).await.expect("nothing to panic")
        }),
    ]
}

/// A bench that awaits `op` over and over in a task on a runtime of its own.
fn bench<F: Future<Output = ()> + Send + 'static>(
    id: &str,
    op: impl Fn() -> F + Copy + Send + Sync + 'static,
) -> Bench {
    Bench::new(id, move |_| -> Timed {
        let runtime =
            Builder::new_multi_thread().worker_threads(WORKERS).build().expect("a runtime for the bench");
        Box::new(move |n| {
            // In a task, not in block_on: the thread of block_on is not a worker.
            let task = runtime.spawn(async move {
                let began = Instant::now();
                for _ in 0..n {
                    op().await;
                }
                began.elapsed()
            });
            runtime.block_on(task).expect("nothing to panic")
        })
    })
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::traced_lab_main(lab, traced)
}

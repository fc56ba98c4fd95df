//! Why does blocking on an async task starve the runtime?
//!
//! Run it: `cargo run --release --bin async_starvation -- --step`
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use underhood::lab::plan::Plan;
use underhood::lab::sample::Sample;
use underhood::lab::{Bench, Claim, Expect, Kind, Lab, Launch, Pick, Predict, Say, Step, Timed, pick};
use underhood::measure::lateness::{RuntimeSeen, RuntimeWatch, interleaved, occupies_worker, watch_runtime};
use underhood::measure::trace::{self, Trace};
use underhood::record::AA;

/// Two on any machine, so that figures compare: what starves is a worker, however many CPUs stand idle.
const WORKERS: usize = 2;
const UNIT: Duration = Duration::from_millis(50);
const ROUND: Duration = Duration::from_millis(150);
const TICK: Duration = Duration::from_millis(5);
/// Not a multiple of [`TICK`]: the two probes must not march in step.
const WAKE: Duration = Duration::from_micros(5300);
/// A runtime that is not done by then is reported, shut down, and left behind.
const PATIENCE: Duration = Duration::from_secs(4);

pub(crate) static LAB: Lab = Lab {
    stem: "async_starvation",
    question: "Why does blocking on an async task starve the runtime?",
    steps: &[STARVE, ONE_BLOCKER_TIMER],
    says: &[
        Say {
            step: "starve",
            text: "With two workers and two tasks that block for 50 ms at a time, a wake-up waited {value} at the median instead \
                   of {against}, and the process used almost no CPU meanwhile.",
            of: pick("thread_sleep", "k2", "wake_p50_ns"),
            against: Some(pick("control", "k2", "wake_p50_ns")),
            not_true_when: "there are more workers than tasks that block at once, or the blocking runs on other threads",
        },
        Say {
            step: "starve",
            text: "Moving the same two blocking calls to spawn_blocking brings the median wake-up from {against} to {value}.",
            of: pick("spawn_blocking", "k2", "wake_p50_ns"),
            against: Some(pick("thread_sleep", "k2", "wake_p50_ns")),
            not_true_when: "the blocking pool is full (512 threads by default): then the calls queue for a thread",
        },
        Say {
            step: "starve",
            text: "Blocking costs the blockers themselves: four of them on two workers got to spend only {value} of their time \
                   in the units that they were there for.",
            of: pick("thread_sleep", "k4", "units_done_share"),
            against: None,
            not_true_when: "the units need a CPU each instead of sleeping: then the cores are the limit, not the workers",
        },
        Say {
            step: "one_blocker_timer",
            text: "One task that blocks 50 ms whenever its own timer fires made another task's timer {value} late at the \
                   median instead of {against}, with eight workers: the one that polls the timers went off to run it.",
            of: pick("due_alone", "w8", "timer_p50_ns"),
            against: Some(pick("control", "w8", "timer_p50_ns")),
            not_true_when: "something else wakes the runtime often, as I/O from other threads does, or with tokio's unstable \
                            enable_eager_driver_handoff",
        },
    ],
    not_said: &[
        "Nothing about tails: on a shared machine the control row's own p99 can reach 100 ms. Medians only.",
        "Nothing about blockers that compute: these sleep, so no core was short.",
        "Nothing about sockets: only timers and wakes were watched.",
        "Nothing about other runtimes or other versions of tokio: the scheduler changes from release to release.",
    ],
    next: &[
        "How long may a task run between two awaits? (10 to 100 us, as a rule)",
        "Why do more workers not cure the second table?",
        "Why does timeout(10 ms, f) return Ok after 200 ms when f blocks for 200 ms?",
        "What does block_in_place do to the other futures of the same task? (join! stands still with it)",
        "How would you find the blocking task in production without waking the runtime?",
    ],
    sources: &[
        "tokio 1.54.1 (the version in Cargo.lock), src/runtime/scheduler/multi_thread/{worker,park}.rs",
        "tokio-rs/tokio#4730 (one blocking task stops all timers), #8010 (eager driver hand-off)",
        "Alice Ryhl, Async: What is blocking?, 2020",
        "Gil Tene, How NOT to measure latency, 2015 (late ticks are caught up, not forgotten)",
    ],
    benches,
};

const STARVE: Step = Step {
    name: "starve",
    ask: "A tokio runtime has 2 workers. 2 tasks run std::thread::sleep(50 ms) over and over, with a yield in between. Another \
          task is woken from outside. How long does it wait, at the median?",
    predict: Predict::Number { case: "thread_sleep", param: "k2" },
    // A busy host adds some 0.1 ms to the control row's median (and 100 ms to its p99), and the effect is half of 50 ms: so the
    // median is safe where a tail is not. `distrust_noisy_host` says when even that has failed.
    kind: Kind::Tail,
    cases: &["control", "thread_sleep", "spawn_blocking", "block_in_place", "tokio_sleep"],
    params: &["k1", "k2", "k4"],
    launch: Launch::Together,
    measure: measure_starve,
    headline: "wake_p50_ns",
    columns: &["wake_max_ns", "timer_p50_ns", "timer_max_ns", "units_done_share", "busy_share", "cpu_share"],
    claims: &[
        claim(
            "With as many blockers as workers, a wake-up waits at least 20 times as long as without, at the median",
            pick("thread_sleep", "k2", "wake_p50_ns"),
            Some(pick("control", "k2", "wake_p50_ns")),
            Expect::AtLeast(20.0),
        ),
        claim(
            "That wait is of the order of one blocked unit: 10 to 60 ms",
            pick("thread_sleep", "k2", "wake_p50_ns"),
            None,
            Expect::Between(10e6, 60e6),
        ),
        claim(
            "Timers suffer too: at least 5 times as late",
            pick("thread_sleep", "k2", "timer_p50_ns"),
            Some(pick("control", "k2", "timer_p50_ns")),
            Expect::AtLeast(5.0),
        ),
        claim(
            "spawn_blocking removes at least nine tenths of the wait",
            pick("spawn_blocking", "k2", "wake_p50_ns"),
            Some(pick("thread_sleep", "k2", "wake_p50_ns")),
            Expect::AtMost(0.1),
        ),
        claim(
            "So does block_in_place",
            pick("block_in_place", "k2", "wake_p50_ns"),
            Some(pick("thread_sleep", "k2", "wake_p50_ns")),
            Expect::AtMost(0.1),
        ),
        claim(
            "Four blockers on two workers spend about half of their time in their own units",
            pick("thread_sleep", "k4", "units_done_share"),
            None,
            Expect::Between(0.35, 0.65),
        ),
        claim(
            "With spawn_blocking they spend at least four fifths of it there",
            pick("spawn_blocking", "k4", "units_done_share"),
            None,
            Expect::AtLeast(0.8),
        ),
        claim(
            "The starved runtime uses almost no CPU: at most a tenth of its workers' time",
            pick("thread_sleep", "k2", "cpu_share"),
            None,
            Expect::AtMost(0.1),
        ),
    ],
    because: "A task gives its worker back only where its poll returns, that is at an await which is not ready. Nothing preempts \
              a poll: tokio's `Context::run_task` (runtime/scheduler/multi_thread/worker.rs) calls `task.run()` and waits for it. \
              thread::sleep is inside the poll, so k blockers occupy k workers; with k >= workers nobody is left to look at the \
              queues, and a task that is ready waits until the next blocker yields, half a unit on average. The CPUs have nothing \
              to do meanwhile (cpu_share), which tells blocking from load. Every cure takes the wait off the worker: \
              spawn_blocking gives it to the blocking pool; block_in_place first hands the worker's core, with its queue, to a \
              pool thread; tokio::time::sleep returns Pending. See `Doing::unit` in labs/async_starvation.rs, a line each. With \
              k1 a worker is left, and all looks well; the next step shows when one blocker is enough.",
    tour: true,
};

const ONE_BLOCKER_TIMER: Step = Step {
    name: "one_blocker_timer",
    ask: "Now 8 workers, and one task: await a timer, block 50 ms, again. The other 7 workers are idle. How late are the \
          timers of another task, at the median?",
    predict: Predict::Number { case: "due_alone", param: "w8" },
    kind: Kind::Tail,
    cases: &["control", "due_alone", "due_together", "due_alone_watched"],
    params: &["w2", "w8"],
    launch: Launch::Together,
    measure: measure_one_blocker,
    headline: "timer_p50_ns",
    columns: &["timer_max_ns", "wake_p50_ns", "units_per_s", "busy_share", "cpu_share"],
    claims: &[
        claim(
            "One blocker that is woken by a timer delays the others' timers at least fivefold, although a worker is idle",
            pick("due_alone", "w2", "timer_p50_ns"),
            Some(pick("control", "w2", "timer_p50_ns")),
            Expect::AtLeast(5.0),
        ),
        claim(
            "Eight workers instead of two change nothing: 0.5 to 2 times the delay",
            pick("due_alone", "w8", "timer_p50_ns"),
            Some(pick("due_alone", "w2", "timer_p50_ns")),
            Expect::Between(0.5, 2.0),
        ),
        claim(
            "If the blocker's timer fires together with another task's, the delay is gone: at most a third",
            pick("due_together", "w8", "timer_p50_ns"),
            Some(pick("due_alone", "w8", "timer_p50_ns")),
            Expect::AtMost(0.34),
        ),
        claim(
            "Watching it with a wake from outside heals it: at most a third",
            pick("due_alone_watched", "w8", "timer_p50_ns"),
            Some(pick("due_alone", "w8", "timer_p50_ns")),
            Expect::AtMost(0.34),
        ),
    ],
    because: "All workers share one driver for time and I/O; the worker that parks on it polls it for all (multi_thread/park.rs, \
              `Inner::park`: whoever gets the try_lock; the others sleep on a condvar). When the blocker's timer fires, that very \
              worker finds one ready task, runs it, and so leaves the driver. It wakes a colleague only if it sees more than one \
              ready task (worker.rs, `should_notify_others`), so for 50 ms nobody polls the driver, and all timers stand still \
              however many workers sleep. In `due_together` two tasks are ready at once: a colleague is woken, and parks on the \
              driver. In `due_alone_watched` the outside wake does the same within 5.3 ms: the probe cures what it was sent to \
              measure. tokio's unstable enable_eager_driver_handoff always wakes a successor (#8010). See `Rest` in \
              labs/async_starvation.rs.",
    tour: false,
};

/// Blocked workers need no core: every claim holds on one.
const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

/// How a task spends a unit of waiting.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    ThreadSleep,
    SpawnBlocking,
    BlockInPlace,
    TokioSleep,
}

const DOINGS: [Doing; 4] = [Doing::ThreadSleep, Doing::SpawnBlocking, Doing::BlockInPlace, Doing::TokioSleep];

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
}

/// What a blocker does between two units.
#[derive(Clone, Copy, Debug)]
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

type Parse = fn(&str, &str) -> Option<Setup>;

fn number(param: &str) -> Option<usize> {
    param.get(1..)?.parse().ok().filter(|n| (1..=64).contains(n))
}

fn setup_starve(case: &str, param: &str) -> Option<Setup> {
    let doing = match case {
        "control" | "thread_sleep" => Doing::ThreadSleep,
        "spawn_blocking" => Doing::SpawnBlocking,
        "block_in_place" => Doing::BlockInPlace,
        "tokio_sleep" => Doing::TokioSleep,
        _ => return None,
    };
    let blockers = if case == "control" { 0 } else { number(param)? };
    Some(Setup { workers: WORKERS, blockers, doing, rest: Rest::Yield, outside: true })
}

fn setup_one_blocker(case: &str, param: &str) -> Option<Setup> {
    let (blockers, rest, outside) = match case {
        "control" => (0, Rest::Yield, false),
        "due_alone" => (1, Rest::DueAlone, false),
        "due_together" => (1, Rest::DueTogether, false),
        "due_alone_watched" => (1, Rest::DueAlone, true),
        _ => return None,
    };
    Some(Setup { workers: number(param)?, blockers, doing: Doing::ThreadSleep, rest, outside })
}

fn measure_starve(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    measure(plan, cases, params, setup_starve)
}

fn measure_one_blocker(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    measure(plan, cases, params, setup_one_blocker)
}

/// All rows in random order, each with a runtime of its own.
fn measure(plan: &Plan, cases: &[&str], params: &[&str], setup: Parse) -> Vec<Sample> {
    let unfit = DOINGS.iter().find_map(|doing| check(*doing).err());
    // A round is a whole number of units, so that its ticks fall on every phase of a blocked unit alike. More time goes into more
    // rounds, so that a busy second hits all rows alike.
    let rounds = (plan.slice.mul_f64(0.6).as_millis() / ROUND.as_millis()).max(1) as usize;
    let (unit, round) = if plan.is_smoke() { (UNIT / 10, TICK * 4) } else { (UNIT, ROUND) };
    let slice = |case: &str, param: &str| match &unfit {
        Some(why) => Err(why.clone()),
        None => watch(
            setup(if case == AA { cases[0] } else { case }, param).ok_or("no such case or parameter")?,
            unit,
            round,
        ),
    };
    let mut samples = interleaved(plan, rounds, cases, params, slice, RuntimeSeen::sample);
    for sample in &mut samples {
        let done = |s: &Sample| Some(s.values.get("units_per_s")? * s.values.get("unit_mean_ns")? / 1e9);
        if let Some(share) = done(sample).zip(setup(&sample.case, &sample.param)) {
            sample.values.insert("units_done_share".into(), share.0 / share.1.blockers as f64);
        }
    }
    distrust_noisy_host(&mut samples, unit);
    samples
}

fn watch(setup: Setup, unit: Duration, window: Duration) -> Result<RuntimeSeen, String> {
    let Setup { workers, blockers, doing, rest, outside } = setup;
    let wake = outside.then_some(WAKE);
    let watch = RuntimeWatch { workers, window, tick: Some(TICK), wake, patience: PATIENCE };
    watch_runtime(&watch, blockers, move || doing.unit(unit), move |start| rest.rest(start))
}

/// A round of each case, for a picture: `--trace FILE`.
fn traced(_: &Plan, step: &Step) -> Vec<(String, Result<Trace, String>)> {
    let setup: Parse = if step.name == STARVE.name { setup_starve } else { setup_one_blocker };
    trace::each(step, |case, param| {
        watch(setup(case, param).ok_or("no such case or parameter")?, UNIT / 5, ROUND / 5).map(|_| ())
    })
}

/// If even the control row waited for a fifth of a unit at its median, the host starves the runtime, not the blockers.
fn distrust_noisy_host(samples: &mut [Sample], unit: Duration) {
    let medians = samples.iter().filter(|s| s.case == "control");
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

/// Before anything is timed: a unit lasts as long as it says, `thread::sleep` occupies its worker, and the others do not.
fn check(doing: Doing) -> Result<(), String> {
    let unit = UNIT / 10;
    match (doing, occupies_worker(|| doing.unit(unit), unit, PATIENCE)?) {
        (Doing::ThreadSleep, true) => Ok(()),
        (Doing::ThreadSleep, false) => Err("another task ran while the only worker slept".into()),
        (_, false) => Ok(()),
        (_, true) => Err(format!("{doing:?}: no other task ran meanwhile, on a runtime with one worker")),
    }
}

/// Costs of the remedies on an idle runtime. Starvation itself is no bench: criterion wants many alike runs, not hangs and tails.
fn benches(_: &Plan) -> Vec<Bench> {
    vec![
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
    op: impl Fn() -> F + Copy + Send + 'static,
) -> Bench {
    let make = move || -> Timed {
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
    };
    Bench { id: id.into(), make: Box::new(make) }
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::traced_lab_main(&LAB, traced)
}

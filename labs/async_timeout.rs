//! Does a timeout fire when the task blocks?
//!
//! Run it: `cargo run --release --bin async_timeout -- --step`
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Builder,
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::{sleep, timeout},
};
use underhood::{
    lab::{
        Bench, Claim, Expect, Kind, Lab, Launch, Pick, Predict, Say, Step, pick, plan::Plan, sample::Sample,
    },
    measure::lateness::interleaved,
    record::AA,
    stats,
};

/// What is asked for, and how long the work takes; a tenth of both in a smoke run.
const LIMIT: Duration = Duration::from_millis(10);
const WORK: Duration = Duration::from_millis(80);
/// Callers that time out, one after the other.
const CALLS: usize = 6;
/// Whoever has not returned by then is reported as hung and left behind.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) static LAB: Lab = Lab {
    stem: "async_timeout",
    question: "Does a timeout fire when the task blocks?",
    steps: &[HONESTY, LEAK],
    says: &[
        Say {
            step: "honesty",
            text: "timeout(10 ms) around a future that blocks its thread for 80 ms returned after {value}, and said Ok; around one that \
                   awaits for 80 ms it returned after {against}, and said so.",
            of: pick("timeout_blocks", "", "returned_ns"),
            against: Some(pick("timeout_awaits", "", "returned_ns")),
            not_true_when: "the work was given to another task or thread: then the caller is told in time, and the work goes on",
        },
        Say {
            step: "leak",
            text: "Six calls with a timeout of 10 ms around a job of 80 ms in the blocking pool left {value} jobs running; with a permit \
                   that the job itself holds, {against}.",
            of: pick("retried", "", "running_max_count"),
            against: Some(pick("permit_in_job", "", "running_max_count")),
            not_true_when: "the job looks at a flag now and then and ends when it is set",
        },
    ],
    not_said: &[
        "That a timeout frees anything: it stops the waiting, and not the work.",
        "Nothing about timeouts of the operating system (SO_RCVTIMEO): those end the call itself.",
    ],
    next: &[
        "Where would a timeout have to look, to stop a blocked thread?",
        "Why does timeout poll the future before it looks at the clock?",
        "What does abort() do to a task that is in the middle of a poll?",
        "Where do the leaked jobs show? (threads of the blocking pool, and shutdown that waits for them)",
    ],
    sources: &[
        "tokio 1.54.1, src/time/timeout.rs (poll: first the value, then the delay), runtime/task/state.rs (transition_to_notified_and_cancel)",
        "tokio-rs/tokio#5338, lightningdevkit/ldk-node#1007 (a started blocking job can't be aborted)",
    ],
    benches: |_| -> Vec<Bench> { Vec::new() }, // what is measured is the limits themselves
};

const HONESTY: Step = Step {
    name: "honesty",
    ask: "timeout(10 ms, f) where f calls std::thread::sleep(80 ms). After how long does it return?",
    predict: Predict::Number { case: "timeout_blocks", param: "" },
    kind: Kind::Pause,
    cases: &[
        "timeout_awaits",
        "timeout_blocks",
        "timeout_blocks_and_yields",
        "select_blocks",
        "abort_blocks",
        "abort_awaits",
        "timeout_spawned",
        "timeout_in_place",
        "timeout_spawn_blocking",
    ],
    params: &[""],
    launch: Launch::Together,
    measure: measure_honesty,
    headline: "returned_ns",
    columns: &["asked_ns", "told_share", "still_running_share"],
    claims: &[
        claim(
            "Around an await it fires in time: within three times what was asked for",
            pick("timeout_awaits", "", "returned_ns"),
            Expect::Between(10e6, 30e6),
        ),
        claim(
            "Around a block it returns when the block is over",
            pick("timeout_blocks", "", "returned_ns"),
            Expect::AtLeast(79e6),
        ),
        never("And then it says Ok", "timeout_blocks", "told_share"),
        never("Also if the future yields after the block", "timeout_blocks_and_yields", "told_share"),
        claim("select! is no better", pick("select_blocks", "", "returned_ns"), Expect::AtLeast(79e6)),
        never("A task that is aborted while it blocks ends with Ok", "abort_blocks", "told_share"),
        always("One that is aborted while it awaits ends with an error", "abort_awaits", "told_share"),
        claim(
            "Around a task of its own, or a blocking job, it fires in time",
            pick("timeout_spawn_blocking", "", "returned_ns"),
            Expect::Between(10e6, 40e6),
        ),
        always("But the job runs on", "timeout_spawn_blocking", "still_running_share"),
        always("And so does the task", "timeout_spawned", "still_running_share"),
    ],
    because: "timeout is a future that polls two others: first yours, then a timer. While your poll blocks, nobody polls anything; when it \
              returns Ready, the value is there and the timer is not even asked. Yielding once after the block changes nothing for a task \
              that is ready again at once: its next poll comes first too. abort() sets a flag that is looked at between polls, and a task \
              that ends in its only poll has ended. Put the work elsewhere, and the caller is free in time; the work is not told. See \
              `call` in labs/async_timeout.rs, a line each.",
    tour: false,
};

const LEAK: Step = Step {
    name: "leak",
    ask: "A caller gives a job of 80 ms to spawn_blocking, waits for 10 ms at most, and tries again: six times. How many of its jobs run \
          at once in the end?",
    predict: Predict::Number { case: "retried", param: "" },
    kind: Kind::Pause,
    cases: &["retried", "permit_in_caller", "permit_in_job"],
    params: &[""],
    launch: Launch::Together,
    measure: measure_leak,
    headline: "running_max_count",
    columns: &["returned_ns", "timed_out_count", "started_count"],
    claims: &[
        claim(
            "All of them, or nearly",
            pick("retried", "", "running_max_count"),
            Expect::AtLeast(CALLS as f64 - 2.0),
        ),
        claim(
            "A permit that the caller holds limits nothing: it is given back when the caller gives up",
            pick("permit_in_caller", "", "running_max_count"),
            Expect::AtLeast(CALLS as f64 - 2.0),
        ),
        claim(
            "A permit that the job holds does",
            pick("permit_in_job", "", "running_max_count"),
            Expect::AtMost(1.01),
        ),
        claim(
            "No call waits much longer than it asked for",
            pick("retried", "", "returned_ns"),
            Expect::AtMost(40e6),
        ),
    ],
    because: "The timeout drops the JoinHandle, and a JoinHandle is only a way to wait: the job goes on, on a thread of the blocking pool. A \
              retry adds another one, so a slow backend is asked more, the slower it gets. A semaphore helps if the permit lives as long as \
              the work, so move it into the job; in the caller it lives as long as the waiting. See `attempt` in labs/async_timeout.rs.",
    tour: false,
};

const fn claim(text: &'static str, of: Pick, expect: Expect) -> Claim {
    Claim { text, of, against: None, expect, cores: 1 }
}

const fn always(text: &'static str, case: &'static str, value: &'static str) -> Claim {
    claim(text, pick(case, "", value), Expect::AtLeast(0.99))
}

const fn never(text: &'static str, case: &'static str, value: &'static str) -> Claim {
    claim(text, pick(case, "", value), Expect::AtMost(0.01))
}

/// How a call went.
struct Call {
    returned: Duration,
    /// The caller was told that the limit was passed.
    told: bool,
    /// The work had not ended when the call returned.
    running: bool,
}

/// Work that notes that it ended.
struct Work {
    takes: Duration,
    ended: Arc<AtomicUsize>,
}

impl Work {
    fn block(self) {
        thread::sleep(self.takes);
        self.ended.fetch_add(1, Relaxed);
    }
    async fn block_and_yield(self) {
        self.block();
        tokio::task::yield_now().await;
    }
    async fn wait(self) {
        sleep(self.takes).await;
        self.ended.fetch_add(1, Relaxed);
    }
}

/// One call, in a task on a worker.
async fn call(case: &str, limit: Duration, takes: Duration) -> Call {
    // Relaxed: if the call waits for the work, that orders it; if not, late news of the end make no difference of 70 ms.
    let ended = Arc::new(AtomicUsize::new(0));
    let work = Work { takes, ended: Arc::clone(&ended) };
    let began = Instant::now();
    let told = match case {
        "timeout_blocks" => timeout(limit, async { work.block() }).await.is_err(),
        "timeout_blocks_and_yields" => timeout(limit, work.block_and_yield()).await.is_err(),
        "select_blocks" => tokio::select! {
            biased;
            () = async { work.block() } => false,
            () = sleep(limit) => true,
        },
        "abort_blocks" | "abort_awaits" => {
            let task = if case == "abort_blocks" {
                tokio::spawn(async { work.block() })
            } else {
                tokio::spawn(work.wait())
            };
            sleep(limit).await;
            task.abort();
            task.await.is_err()
        }
        "timeout_spawned" => timeout(limit, tokio::spawn(async { work.block() })).await.is_err(),
        "timeout_in_place" => {
            timeout(limit, async { tokio::task::block_in_place(|| work.block()) }).await.is_err()
        }
        "timeout_spawn_blocking" => timeout(limit, spawn_blocking(|| work.block())).await.is_err(),
        _ => timeout(limit, work.wait()).await.is_err(),
    };
    let returned = began.elapsed();
    // What was dropped before its end does not run either: only a task or a thread of its own can go on.
    let own = matches!(case, "timeout_spawned" | "timeout_spawn_blocking" | "abort_blocks");
    Call { returned, told, running: own && ended.load(Relaxed) == 0 }
}

/// Runs a future as a task on a fresh runtime, and never hangs.
fn on_runtime<F>(future: F) -> Result<F::Output, String>
where
    F: Future<Output: Send> + Send + 'static,
{
    // Four workers: one for the caller, one for the work, and one that polls the driver, even if a worker that blocks had it.
    let runtime = Builder::new_multi_thread().worker_threads(4).enable_all().build();
    let runtime = runtime.map_err(|e| format!("no tokio runtime: {e}"))?;
    let (tell, told) = mpsc::channel();
    runtime.spawn(async move { tell.send(future.await) });
    let output = told.recv_timeout(PATIENCE).map_err(|e| format!("the call did not return: {e}"));
    runtime.shutdown_timeout(PATIENCE);
    output
}

/// Limit and work, shorter where nobody will look at the numbers.
fn times(plan: &Plan) -> (Duration, Duration) {
    if plan.is_smoke() { (LIMIT / 5, WORK / 10) } else { (LIMIT, WORK) }
}

/// Two rounds, so that a bad moment does not hit one case alone.
fn rounds(plan: &Plan) -> usize {
    (plan.slice.as_millis() / 120).clamp(1, 3) as usize
}

fn measure_honesty(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let (limit, takes) = times(plan);
    let slice = |case: &str, _: &str| {
        let case = if case == AA { cases[0] } else { case }.to_string();
        on_runtime(async move { call(&case, limit, takes).await })
    };
    interleaved(plan, rounds(plan), cases, params, slice, |case, param, calls| {
        let calls: Result<Vec<Call>, String> = calls.into_iter().collect();
        match calls {
            Err(why) => Sample::unmeasured(case, param, why),
            Ok(calls) => Sample::new(case, param)
                .with("returned_ns", median(calls.iter().map(|c| c.returned.as_nanos() as f64)))
                .with("asked_ns", limit.as_nanos() as f64)
                .with("told_share", share(calls.iter().map(|c| c.told)))
                .with("still_running_share", share(calls.iter().map(|c| c.running))),
        }
    })
}

/// The jobs of one caller.
#[derive(Default)]
struct Jobs {
    started: AtomicUsize,
    running: AtomicUsize,
    running_max: AtomicUsize,
}

impl Jobs {
    fn run(&self, takes: Duration, permit: Option<OwnedSemaphorePermit>) {
        self.started.fetch_add(1, Relaxed);
        let running = self.running.fetch_add(1, Relaxed) + 1;
        self.running_max.fetch_max(running, Relaxed);
        thread::sleep(takes);
        self.running.fetch_sub(1, Relaxed); // Relaxed: counters only, each exact by itself
        drop(permit);
    }
}

/// One attempt with a limit; true if it was in vain.
async fn attempt(
    case: &str,
    limit: Duration,
    takes: Duration,
    jobs: &Arc<Jobs>,
    permits: &Arc<Semaphore>,
) -> bool {
    let jobs = Arc::clone(jobs);
    let wait = async {
        match case {
            "permit_in_caller" => {
                let _held = permits.acquire().await;
                let _ = spawn_blocking(move || jobs.run(takes, None)).await;
            }
            "permit_in_job" => {
                let permit = Arc::clone(permits).acquire_owned().await.ok();
                let _ = spawn_blocking(move || jobs.run(takes, permit)).await;
            }
            _ => {
                let _ = spawn_blocking(move || jobs.run(takes, None)).await;
            }
        }
    };
    timeout(limit, wait).await.is_err()
}

fn measure_leak(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let (limit, takes) = times(plan);
    let slice = |case: &str, _: &str| {
        let case = if case == AA { cases[0] } else { case }.to_string();
        on_runtime(async move {
            let (jobs, permits) = (Arc::<Jobs>::default(), Arc::new(Semaphore::new(1)));
            let (mut returned, mut in_vain) = (Vec::new(), 0);
            for _ in 0..CALLS {
                let began = Instant::now();
                in_vain += usize::from(attempt(&case, limit, takes, &jobs, &permits).await);
                returned.push(began.elapsed().as_nanos() as f64);
            }
            let [started, most] = [&jobs.started, &jobs.running_max].map(|n| n.load(Relaxed) as f64);
            (median(returned.into_iter()), in_vain as f64, started, most)
        })
    };
    interleaved(plan, rounds(plan), cases, params, slice, |case, param, runs| {
        match runs.into_iter().collect::<Result<Vec<_>, String>>() {
            Err(why) => Sample::unmeasured(case, param, why),
            Ok(runs) => Sample::new(case, param)
                .with("running_max_count", median(runs.iter().map(|r| r.3)))
                .with("returned_ns", median(runs.iter().map(|r| r.0)))
                .with("timed_out_count", median(runs.iter().map(|r| r.1)))
                .with("started_count", median(runs.iter().map(|r| r.2))),
        }
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    stats::median(&values.collect::<Vec<_>>()).unwrap_or(f64::NAN)
}

fn share(yes: impl ExactSizeIterator<Item = bool>) -> f64 {
    let n = yes.len() as f64;
    yes.filter(|yes| *yes).count() as f64 / n
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

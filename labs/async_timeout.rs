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
        Bound, Kind, Lab, ONCE, Setting, Step, at_least, at_most, between, pick, plan::Plan, ratio,
        sample::Sample, setting, shown_by, source,
    },
    measure::lateness::in_turn,
    stats,
};

/// What is asked for, and how long the work takes; both are shorter in a smoke run: see `times`.
const LIMIT: Duration = Duration::from_millis(10);
const WORK: Duration = Duration::from_millis(80);
/// Callers that time out, one after the other.
const CALLS: usize = 6;
/// A call that has not returned by then is reported as hung and left behind.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) fn lab() -> Lab {
    underhood::lab!("async_timeout", "Does a timeout fire when the task blocks?")
        .step(honesty())
        .step(leak())
        .say(
            "honesty",
            "timeout(10 ms) around a future that blocks its thread for 80 ms returned Ok after {value}. \
            Around a future that awaits for 80 ms, it returned an error after {against}.",
            ratio("timeout_blocks", "timeout_awaits"),
            "the work runs in another task or thread. Then the caller is told in time, and the work goes on",
        )
        .say(
            "leak",
            "Six calls, each with a timeout of 10 ms around a job of 80 ms in the blocking pool, left \
            {value} jobs running. With a semaphore permit that the job itself holds, the number was \
            {against}.",
            ratio("retried", "permit_in_job"),
            "the job checks a stop flag now and then, and ends when the flag is set",
        )
        .not_said(&[
            "That a timeout frees anything: it ends the waiting, not the work.",
            "Anything about timeouts of the operating system (SO_RCVTIMEO): those end the call itself.",
        ])
        .next(&[
            "What would a timeout need, to stop a blocked thread?",
            "Why does timeout poll the future before it looks at the clock?",
            "What does abort() do to a task that is in the middle of a poll?",
            "Where can you see the leaked jobs? (in the threads of the blocking pool, and in a shutdown that \
            waits for them)",
        ])
        .sources(&[
            "tokio 1.54.1, src/time/timeout.rs (poll: first the value, then the delay), \
            runtime/task/state.rs (transition_to_notified_and_cancel)",
            "tokio-rs/tokio#5338, lightningdevkit/ldk-node#1007 (a started blocking job can't be aborted)",
        ])
}

// No benches: what is measured is the limits themselves.

fn always(case: &'static str, value: &'static str) -> Bound {
    at_least(0.99, pick(case, "", value))
}

fn never(case: &'static str, value: &'static str) -> Bound {
    at_most(0.01, pick(case, "", value))
}

/// How the caller limits the work.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Limited {
    TimeoutAwaits,
    TimeoutBlocks,
    TimeoutBlocksAndYields,
    SelectBlocks,
    AbortBlocks,
    AbortAwaits,
    TimeoutSpawned,
    TimeoutInPlace,
    TimeoutSpawnBlocking,
}

const LIMITED: &[Setting<Limited>] = &[
    setting("timeout_awaits", Limited::TimeoutAwaits),
    setting("timeout_blocks", Limited::TimeoutBlocks),
    setting("timeout_blocks_and_yields", Limited::TimeoutBlocksAndYields),
    setting("select_blocks", Limited::SelectBlocks),
    setting("abort_blocks", Limited::AbortBlocks),
    setting("abort_awaits", Limited::AbortAwaits),
    setting("timeout_spawned", Limited::TimeoutSpawned),
    setting("timeout_in_place", Limited::TimeoutInPlace),
    setting("timeout_spawn_blocking", Limited::TimeoutSpawnBlocking),
];

fn honesty() -> Step {
    let blocks = || at_least(79e6, "timeout_blocks");
    Step::new("honesty", Kind::Pause, "returned_ns")
        .ask_number(
            "A task awaits timeout(10 ms, f), and f calls std::thread::sleep(80 ms). After how long does the \
            timeout return?",
            "timeout_blocks",
            "",
        )
        .columns(&["asked_ns", "told_share", "still_running_share"])
        .contenders(LIMITED)
        .over_all(ONCE, |plan, points| {
            let (limit, takes) = times(plan);
            let slice = |way: &Setting<Limited>, (): &()| on_runtime(call(way.value, limit, takes));
            in_turn(plan, rounds(plan), LIMITED, points, slice, |_, (), calls| {
                Ok(Sample::default()
                    .with("returned_ns", median(calls.iter().map(|c| c.returned.as_nanos() as f64)))
                    .with("asked_ns", limit.as_nanos() as f64)
                    .with("told_share", share(calls.iter().map(|c| c.told)))
                    .with("still_running_share", share(calls.iter().map(|c| c.running))))
            })
        })
        .claim(
            between(10e6, 30e6, "timeout_awaits"),
            "Around a future that awaits, the timeout fires within three times its limit",
        )
        .claim(
            blocks(),
            "Around a future that blocks, the timeout returns only when the blocking call is \
            over",
        )
        .claim(
            never("timeout_blocks", "told_share"),
            "Around a future that blocks, the timeout never returns an error",
        )
        .claim(
            at_most(0.5, pick("timeout_blocks_and_yields", "", "told_share")),
            "If the future blocks and then yields once, the timeout returns an error in at most half of \
            the runs",
        )
        .claim(at_least(79e6, "select_blocks"), "select! also returns only when the blocking call is over")
        .claim(
            never("abort_blocks", "told_share"),
            "A task that is aborted while it blocks never ends with an error",
        )
        .claim(
            always("abort_awaits", "told_share"),
            "A task that is aborted while it awaits ends with an error",
        )
        .claim(
            at_most(40e6, "timeout_spawned"),
            "Around a spawned task, the timeout returns within four times its limit",
        )
        .claim(
            at_most(40e6, "timeout_spawn_blocking"),
            "Around a job in spawn_blocking, the timeout returns within four times its limit",
        )
        .claim(
            always("timeout_spawn_blocking", "still_running_share"),
            "The job in spawn_blocking runs on after the timeout",
        )
        .claim(
            always("timeout_spawned", "still_running_share"),
            "The spawned task runs on after the timeout, too",
        )
        .because(
            "timeout is a future that polls two others: first yours, then a timer. While your future's poll \
            blocks, the timer is not polled.",
            shown_by(blocks()),
        )
        .because(
            "When your future returns Ready, timeout has its value and does not look at the timer at all.",
            shown_by(never("timeout_blocks", "told_share")),
        )
        .because(
            "If the future yields after the blocking call, timeout polls its timer in the same poll. Only \
            now does the timer register itself. It fires at once if another worker has meanwhile moved \
            the runtime's clock past the limit. Otherwise the future is polled again first.",
            source("tokio 1.54.1, src/time/timeout.rs and src/runtime/time/entry.rs"),
        )
        .because(
            "abort() sets a flag that the runtime checks between polls. For a task that ends in its only \
            poll, this check comes too late.",
            shown_by(never("abort_blocks", "told_share")),
        )
        .because(
            "A job in another thread does not learn of the timeout, so it runs on. `call` in \
            labs/async_timeout.rs has one line for each way.",
            shown_by(always("timeout_spawn_blocking", "still_running_share")),
        )
}

/// Who holds a permit for the job.
#[derive(Clone, Copy, Debug)]
enum Permit {
    Nobody,
    Caller,
    Job,
}

const PERMITS: &[Setting<Permit>] = &[
    setting("retried", Permit::Nobody),
    setting("permit_in_caller", Permit::Caller),
    setting("permit_in_job", Permit::Job),
];

fn leak() -> Step {
    let nearly_all = |case: &'static str| at_least(CALLS as f64 - 2.0, case);
    let one = || at_most(1.01, "permit_in_job");
    Step::new("leak", Kind::Pause, "running_max_count")
        .ask_number(
            "A caller gives a job of 80 ms to spawn_blocking and waits for it for 10 ms at most. It does \
            this six times, one after the other. How many of its jobs run at once in the end?",
            "retried",
            "",
        )
        .columns(&["returned_ns", "timed_out_count", "started_count"])
        .contenders(PERMITS)
        .over_all(ONCE, |plan, points| {
            let (limit, takes) = times(plan);
            let slice = |permit: &Setting<Permit>, (): &()| on_runtime(retries(permit.value, limit, takes));
            in_turn(plan, rounds(plan), PERMITS, points, slice, |_, (), runs| {
                Ok(Sample::default()
                    .with("running_max_count", median(runs.iter().map(|r| r.running_max)))
                    .with("returned_ns", median(runs.iter().map(|r| r.returned_ns)))
                    .with("timed_out_count", median(runs.iter().map(|r| r.in_vain)))
                    .with("started_count", median(runs.iter().map(|r| r.started))))
            })
        })
        .claim(nearly_all("retried"), "Without a permit, all jobs or nearly all of them run at once")
        .claim(
            nearly_all("permit_in_caller"),
            "If the caller holds a permit, nearly all jobs run at once, too: the caller returns the \
            permit when it stops waiting",
        )
        .claim(one(), "If the job holds the permit, only one job runs at a time")
        .claim(
            at_most(40e6, pick("retried", "", "returned_ns")),
            "Without a permit, the median call waits at most four times its limit",
        )
        .because(
            "The timeout drops the JoinHandle. A JoinHandle is only a way to wait, so the job goes on, on a \
            thread of the blocking pool.",
            source("tokio-rs/tokio#5338"),
        )
        .because(
            "Each retry adds another job. So the slower a backend gets, the more requests it receives.",
            shown_by(nearly_all("retried")),
        )
        .because(
            "A semaphore helps only if the permit lives as long as the work. So move the permit into the job.",
            shown_by(one()),
        )
        .because(
            "A permit in the caller lives only as long as the caller waits. See `attempt` in \
            labs/async_timeout.rs.",
            shown_by(nearly_all("permit_in_caller")),
        )
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
async fn call(way: Limited, limit: Duration, takes: Duration) -> Call {
    // Relaxed: if the call waits for the work, that wait orders the store. If not, the store may be seen late, but not by 70 ms.
    let ended = Arc::new(AtomicUsize::new(0));
    let work = Work { takes, ended: Arc::clone(&ended) };
    let began = Instant::now();
    let told = match way {
        Limited::TimeoutAwaits => timeout(limit, work.wait()).await.is_err(),
        Limited::TimeoutBlocks => timeout(limit, async { work.block() }).await.is_err(),
        Limited::TimeoutBlocksAndYields => timeout(limit, work.block_and_yield()).await.is_err(),
        Limited::SelectBlocks => tokio::select! {
            biased;
            () = async { work.block() } => false,
            () = sleep(limit) => true,
        },
        Limited::AbortBlocks | Limited::AbortAwaits => {
            let task = if way == Limited::AbortBlocks {
                tokio::spawn(async { work.block() })
            } else {
                tokio::spawn(work.wait())
            };
            sleep(limit).await;
            task.abort();
            task.await.is_err()
        }
        Limited::TimeoutSpawned => timeout(limit, tokio::spawn(async { work.block() })).await.is_err(),
        Limited::TimeoutInPlace => {
            timeout(limit, async { tokio::task::block_in_place(|| work.block()) }).await.is_err()
        }
        Limited::TimeoutSpawnBlocking => timeout(limit, spawn_blocking(|| work.block())).await.is_err(),
    };
    let returned = began.elapsed();
    // Work that was dropped before its end does not run on. Only work in a task or a thread of its own can go on.
    let own = matches!(way, Limited::TimeoutSpawned | Limited::TimeoutSpawnBlocking | Limited::AbortBlocks);
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

/// The limit and the time of the work, both shorter in a smoke run.
fn times(plan: &Plan) -> (Duration, Duration) {
    if plan.is_smoke() { (LIMIT / 5, WORK / 10) } else { (LIMIT, WORK) }
}

/// One to three rounds, as many as the slice has time for. With more than one, a bad moment does not hit one case alone.
fn rounds(plan: &Plan) -> usize {
    (plan.slice.as_millis() / 120).clamp(1, 3) as usize
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

/// One attempt with a limit; true if it timed out.
async fn attempt(
    permit: Permit,
    limit: Duration,
    takes: Duration,
    jobs: &Arc<Jobs>,
    permits: &Arc<Semaphore>,
) -> bool {
    let jobs = Arc::clone(jobs);
    let wait = async {
        match permit {
            Permit::Caller => {
                let _held = permits.acquire().await;
                let _ = spawn_blocking(move || jobs.run(takes, None)).await;
            }
            Permit::Job => {
                let permit = Arc::clone(permits).acquire_owned().await.ok();
                let _ = spawn_blocking(move || jobs.run(takes, permit)).await;
            }
            Permit::Nobody => {
                let _ = spawn_blocking(move || jobs.run(takes, None)).await;
            }
        }
    };
    timeout(limit, wait).await.is_err()
}

/// How the calls of one caller went.
struct Retries {
    running_max: f64,
    returned_ns: f64,
    in_vain: f64,
    started: f64,
}

async fn retries(permit: Permit, limit: Duration, takes: Duration) -> Retries {
    let (jobs, permits) = (Arc::<Jobs>::default(), Arc::new(Semaphore::new(1)));
    let (mut returned, mut in_vain) = (Vec::new(), 0);
    for _ in 0..CALLS {
        let began = Instant::now();
        in_vain += usize::from(attempt(permit, limit, takes, &jobs, &permits).await);
        returned.push(began.elapsed().as_nanos() as f64);
    }
    let [started, running_max] = [&jobs.started, &jobs.running_max].map(|n| n.load(Relaxed) as f64);
    Retries { running_max, returned_ns: median(returned.into_iter()), in_vain: in_vain as f64, started }
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
    underhood::cli::lab_main(lab)
}

//! Why does .NET's thread pool starve if work blocks in it, and how does it recover?
//!
//! Run it: `cargo run --release --bin dotnet_starvation -- --step` (where .NET is installed; elsewhere it says how to get it)
//!
//! The real runtime (`src/experiments/dotnet/Pool.cs`), and tokio beside it. All rows run at the same time, each in a process of its own:
//! they wait nearly all of the time, so none takes a CPU from another, except while they start. So the clocks for lateness begin after the
//! first second.
use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use underhood::{
    experiments::dotnet::{self, Knob, NEWER},
    lab::{
        Kind, Lab, ONCE, Setting, Step, at_least, at_most, exactly, pick, plan::Plan, ratio, sample::Sample,
        setting, shown_by,
    },
    record::AA,
};

const CLIENTS: u32 = 16;
const UNIT: Duration = Duration::from_millis(250);
const TIME: Duration = Duration::from_secs(3);
/// How often a timer should fire.
const PERIOD: Duration = Duration::from_millis(50);
const WORKERS: usize = 2;
/// .NET's pool begins with as many threads as it sees CPUs: as many as tokio has workers here, on every machine.
const CPUS: &[Knob] = &[("PROCESSOR_COUNT", "2")];

/// Where a client waits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Waits {
    /// In .NET, in this way; with so many threads from the start, if not 0.
    Dotnet(&'static str, u32),
    /// In tokio, on the runtime's own threads.
    Tokio,
    /// In tokio, by `spawn_blocking`.
    SpawnBlocking,
}

const ROWS: &[Setting<Waits>] = &[
    setting("await", Waits::Dotnet("await", 0)),
    setting("wait", Waits::Dotnet("block", 0)),
    setting("wait_pool_not_told", Waits::Dotnet("block_not_told", 0)),
    setting("thread_sleep", Waits::Dotnet("sleep", 0)),
    setting("thread_sleep_fair", Waits::Dotnet("sleep_fair", 0)),
    setting("task_run_result", Waits::Dotnet("result", 0)),
    setting("wait_min_32_threads", Waits::Dotnet("block", 32)),
    setting("long_running", Waits::Dotnet("long_running", 0)),
    setting("semaphore_in_front", Waits::Dotnet("gated", 0)),
    setting("tokio_thread_sleep", Waits::Tokio),
    setting("tokio_spawn_blocking", Waits::SpawnBlocking),
];

pub(crate) fn lab() -> Lab {
    underhood::lab!("dotnet_starvation", "Why does .NET's thread pool starve if work blocks in it, and how does it recover?")
        .runs_on(dotnet::version)
        .step(pool())
        .step(context())
        .say(
            "pool",
            "16 clients call work that takes 250 ms. In the first 3 s, .NET's pool gives them {value} of the possible answers if the work \
             blocks with Thread.Sleep. If the work awaits, it gives {against}.",
            ratio("thread_sleep", "await"),
            "the pool may make a thread for each client at once (SetMinThreads, or as many CPUs)",
        )
        .say(
            "pool",
            "Since .NET 6, Task.Wait tells the pool that it blocks. The pool then adds threads fast, and the clients reach \
             nine tenths of their full rate within {value} (read each half second).",
            pick("wait", "", "recovered_ns"),
            "there are many more clients, or the pool may have more threads from the start",
        )
        .say(
            "pool",
            "A timer on the starved pool is late by {value}, of the 2 s in which that was watched. If the work awaits, the timer is late by \
             {against} at most in a launch.",
            ratio(pick("thread_sleep", "", "timer_late_max_ns"), pick("await", "", "timer_late_max_ns")),
            "the pool has a thread to spare",
        )
        .not_said(&[
            "That the rates are those of a web server: a client here does nothing but wait.",
            "That more threads are a cure: each takes a stack and a turn of the scheduler, and the next burst needs more.",
            "That the pool's rule is the same in each version: the version is in the record.",
            "That a row can reach 100 %: the last round ends just after the 3 s.",
            "How late the starved timer is in the end: the time is over before it fires.",
            "What a pool of many threads costs: the resident memory of this step does not show it.",
            NEWER,
        ])
        .next(&[
            "How does the pool know that Task.Wait blocks, and not that Thread.Sleep does? (Task.Wait tells it, and Thread.Sleep does not)",
            "Why does .Result hang for ever on a UI thread, and not in ASP.NET Core? (ASP.NET Core has no synchronization \
             context: there .Result only blocks a thread of the pool)",
            "What does ConfigureAwait(false) change? (where the rest of the method runs)",
            "Why does tokio not add threads? (lab async_starvation)",
            "What would you look at in production? (the pool's queue length and thread count: dotnet-counters)",
        ])
        .sources(&[
            ".NET: docs/core/diagnostics/debug-threadpool-starvation.md",
            "dotnet/runtime: ThreadPoolWorkQueue.cs: Dequeue (a thread's own queue first); Task.cs: PreferFairness",
            "dotnet/runtime: PortableThreadPool.Blocking.cs (blocking that the pool is told of), PortableThreadPool.GateThread.cs",
            "Stephen Toub, ConfigureAwait FAQ, 2019; Stephen Cleary, Don't Block on Async Code, 2012",
            "tokio 1.54: spawn_blocking has up to 512 threads of its own",
        ])
}

fn pool() -> Step {
    let late = |case| pick(case, "", "timer_late_max_ns");
    let arrives = |case| pick(case, "", "io_late_max_ns");
    Step::new("pool", Kind::Chance, "done_share")
        .ask_number(
            "16 clients call work that takes 250 ms, again and again, for 3 seconds, on a machine with two CPUs. The work blocks a pool \
             thread with Thread.Sleep. What share of the possible answers do they get? (0 to 1)",
            "thread_sleep",
            "",
        )
        .columns(&[
            "first_second_count",
            "recovered_ns",
            "threads_count",
            "cpu_share",
            "timer_late_max_ns",
            "io_late_max_ns",
            "resident_bytes",
            "answers_per_s",
        ])
        .contenders(ROWS)
        .over(ONCE, |plan, _| at_once(plan))
        .claim(at_least(0.85, "await"), "if the work awaits, the clients get at least 0.85 of the possible answers")
        .claim(
            at_most(0.5, "thread_sleep"),
            "if the work blocks with Thread.Sleep, the clients get at most half of the possible answers",
        )
        .claim(
            at_least(2.0, ratio("wait", "thread_sleep")),
            "if the work blocks with Task.Wait, the clients get at least twice as many: Task.Wait tells the pool, which adds \
             threads faster",
        )
        .claim(
            at_least(0.8, "wait_min_32_threads"),
            "with SetMinThreads at 32, the clients get at least 0.8 of the possible answers",
        )
        .because(
            "A blocked thread does nothing and can't be used for other work. With as many blocked threads as the pool has, all other work \
             waits until one of them is free again or the pool adds one.",
            shown_by(at_most(0.6, ratio("thread_sleep", "wait_min_32_threads"))),
        )
        .because(
            "Nothing computes meanwhile: the process uses less than a quarter of one CPU, its start included. So the CPU's load shows \
             nothing.",
            shown_by(at_most(0.25, pick("thread_sleep", "", "cpu_share"))),
        )
        .because(
            "The pool creates threads on demand, and by default at once only up to one for each CPU. It adds a thread by itself if nothing \
             was taken from its queue for half a second. It also tries out whether more threads get more done (hill climbing). Here \
             something is taken now and then, so the pool stays at two or three threads during the 3 s.",
            shown_by(at_most(6.0, pick("thread_sleep", "", "threads_count"))),
        )
        .because(
            "Task.Wait and .Result tell the pool that they block. Then it adds the first threads at once and each further one after a \
             short delay, until each blocked thread has a substitute. A setting switches that off: then the same program starves, and more than with \
             Thread.Sleep. For the timer that ends Task.Delay needs a thread of the pool too.",
            shown_by(at_most(0.25, ratio("wait_pool_not_told", "wait"))),
        )
        .because(
            "A semaphore in front with fewer permits than the pool has threads (here one permit) leaves a thread for others, so timers \
             fire on time. The clients wait in line instead, and one permit gives them even fewer answers. With one CPU the pool has no \
             thread to spare, unless SetMinThreads gives it one.",
            shown_by(at_most(0.25, ratio(late("semaphore_in_front"), late("thread_sleep")))),
        )
        .because(
            "Timers and sockets need a thread of the pool too. A pool thread first takes what it queued itself. So a few clients keep the \
             threads, and all others hardly get a turn. With PreferFairness the work goes into the queue that all threads share: then the \
             timer gets its turn, and the clients are no faster.",
            shown_by(at_most(0.5, ratio(late("thread_sleep_fair"), late("thread_sleep")))),
        )
        .because(
            "When data arrives on a socket, the rest of the waiting async method also runs on the pool. So it is late, too.",
            shown_by(at_least(5.0, ratio(arrives("thread_sleep"), arrives("await")))),
        )
        .because(
            "In tokio the same work belongs on spawn_blocking, whose threads are not the workers.",
            shown_by(at_least(0.85, "tokio_spawn_blocking")),
        )
        .in_tour()
}

fn context() -> Step {
    const ALL: &[Setting<&str>] = &[
        setting("result", "result"),
        setting("result_configure_await", "configure_await"),
        setting("result_of_task_run", "task_run"),
        setting("await", "await"),
    ];
    Step::new("context", Kind::Count, "deadlocked_count")
        .ask_number(
            "On a thread with a synchronization context (a UI thread), a method calls `Work().Result`, and Work awaits a timer. \
             Does the method hang? (1 if it has not returned after 0.7 s, 0 if it has)",
            "result",
            "",
        )
        .contenders(ALL)
        .over(ONCE, |_, _| {
            let one = |case: &Setting<&'static str>| -> Result<Sample, String> {
                dotnet::here()?.run(&["context", case.value], &[])?.sample()
            };
            dotnet::beside(ALL, one)
        })
        .claim(exactly(1.0, "result"), ".Result hangs: the thread waits for the method, and the method for the thread")
        .claim(exactly(0.0, "await"), "with await the method returns")
        .because(
            "The rest of the awaited method is posted to the context, whose only thread is blocked in .Result. With ConfigureAwait(false) \
             the rest runs on the pool instead, and nothing hangs.",
            shown_by(exactly(0.0, "result_configure_await")),
        )
        .because(
            "Task.Run starts the method on the pool, where there is no context. So nothing hangs either.",
            shown_by(exactly(0.0, "result_of_task_run")),
        )
}

fn at_once(plan: &Plan) -> Vec<Sample> {
    let time = if plan.is_smoke() { Duration::from_secs(1) } else { TIME };
    let (clients, unit) = (CLIENTS.to_string(), UNIT.as_millis().to_string());
    let ms = time.as_millis().to_string();
    let one = |row: &Setting<Waits>| match row.value {
        Waits::Dotnet(how, min) => {
            dotnet::here()?.run(&["pool", &clients, how, &unit, &ms, &min.to_string()], CPUS)?.sample()
        }
        Waits::Tokio => tokio(time, false),
        Waits::SpawnBlocking => tokio(time, true),
    };
    // The baseline once more, in a process of its own.
    let rows: Vec<_> = ROWS.iter().copied().chain([ROWS[0].as_case(AA)]).collect();
    let mut samples = dotnet::beside(&rows, one);
    // The curve of one launch is enough.
    samples.iter_mut().filter(|_| plan.launch > 0).for_each(|s| s.seen.clear());
    samples
}

/// The same clients on tokio with two workers.
fn tokio(time: Duration, elsewhere: bool) -> Result<Sample, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_time().build();
    let runtime = runtime.map_err(|e| format!("no runtime: {e}"))?;
    let (done, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    // When the timer was set, and the longest that it was late since the first second.
    let late = Arc::new(Mutex::new((Instant::now(), Duration::ZERO)));
    for _ in 0..CLIENTS {
        let (done, over) = (done.clone(), over.clone());
        runtime.spawn(async move {
            while !over.load(Relaxed) {
                if elsewhere {
                    let _ = tokio::task::spawn_blocking(|| thread::sleep(UNIT)).await;
                } else {
                    thread::sleep(UNIT);
                }
                done.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
            }
        });
    }
    {
        let (late, over) = (late.clone(), over.clone());
        runtime.spawn(async move {
            while !over.load(Relaxed) {
                tokio::time::sleep(PERIOD).await;
                let mut late = lock(&late);
                *late = (Instant::now(), late.1.max(late.0.elapsed().saturating_sub(PERIOD)));
            }
        });
    }
    let began = Instant::now();
    let mut first_second = 0;
    while began.elapsed() < time {
        thread::sleep(Duration::from_millis(20));
        let first = began.elapsed() <= Duration::from_secs(1);
        if first {
            first_second = done.load(Relaxed);
            *lock(&late) = (Instant::now(), Duration::ZERO);
        }
    }
    // The time since it fired last counts too.
    let (set, longest) = *lock(&late);
    let late = longest.max(set.elapsed().saturating_sub(PERIOD));
    let (wall, answers) = (began.elapsed().as_secs_f64(), done.load(Relaxed) as f64);
    over.store(true, Relaxed);
    // Nobody waits for what still blocks.
    runtime.shutdown_background();
    Ok(Sample::default()
        .with("answers_per_s", answers / wall)
        .with("done_share", answers / wall * UNIT.as_secs_f64() / f64::from(CLIENTS))
        .with("first_second_count", first_second as f64)
        .with("timer_late_max_ns", late.as_nanos() as f64))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

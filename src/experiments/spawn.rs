//! Start something that runs, and wait for its end: an OS thread, a thread that a pool has kept, a task, a boxed call.
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    lab::{Contender, Setting},
    measure::{latency::difference, witness},
};

/// What became of so many starts, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Starts {
    /// How many were started and had ended.
    pub starts_count: u64,
    /// How many of them really ran.
    pub ran_count: u64,
    /// How long all of it took.
    pub wall: Duration,
    /// Context switches of the thread that started them; `None` where the system does not tell.
    pub switches_count: Option<u64>,
}

/// Starts and ends one after the other for about so long.
pub type Start = fn(Duration) -> Result<Starts, String>;

/// A thread with std's stack of 2 MiB.
pub const THREAD: Setting<Start> =
    setting("thread", "OS thread", |time| threads(time, 2 << 20), || check(THREAD.value));
/// A thread with a stack of 64 KiB: the control for what the size costs.
pub const SMALL_STACK: Setting<Start> = setting(
    "small_stack",
    "OS thread, 64 KiB stack",
    |time| threads(time, 64 << 10),
    || check(SMALL_STACK.value),
);
/// A thread that a pool has kept: tokio's `spawn_blocking`.
pub const POOLED: Setting<Start> =
    setting("pooled", "pool thread (spawn_blocking)", pooled, || check(POOLED.value));
/// A task on the runtime of this thread.
pub const TASK: Setting<Start> = setting("task", "tokio task", tasks, || check(TASK.value));
/// A boxed function, called on the spot.
pub const BOXED: Setting<Start> = setting("boxed", "boxed call", boxed, || check(BOXED.value));

const fn setting(
    id: &'static str,
    name: &'static str,
    value: Start,
    check: crate::lab::Check,
) -> Setting<Start> {
    Setting { is: Contender::new(id).called(name).checked(check), value }
}

/// What a way to start must show before it is timed: that everything it counts has run.
///
/// # Errors
/// In a sentence.
pub fn check(start: Start) -> Result<(), String> {
    let Starts { starts_count, ran_count, .. } = start(Duration::from_millis(1))?;
    match starts_count {
        0 => Err("nothing was started".into()),
        n if n == ran_count => Ok(()),
        n => Err(format!("{n} were started, and {ran_count} ran")),
    }
}

/// Looks at the clock only now and then: some ways take less time than the clock.
const BETWEEN_LOOKS: u64 = 16;

/// Counts what `one` starts until the time is over.
fn repeat(
    time: Duration,
    ran: &AtomicU64,
    mut one: impl FnMut() -> Result<(), String>,
) -> Result<Starts, String> {
    let me = witness::this_thread();
    let before = witness::switches(me);
    let (began, mut starts_count) = (Instant::now(), 0);
    while began.elapsed() < time {
        for _ in 0..BETWEEN_LOOKS {
            one()?;
        }
        starts_count += BETWEEN_LOOKS;
    }
    let wall = began.elapsed();
    let switches_count = difference(before, witness::switches(me));
    Ok(Starts { starts_count, ran_count: ran.load(Relaxed), wall, switches_count })
}

fn threads(time: Duration, stack: usize) -> Result<Starts, String> {
    let ran = Arc::new(AtomicU64::new(0));
    repeat(time, &ran, || {
        let ran = Arc::clone(&ran);
        let started = thread::Builder::new().stack_size(stack).spawn(move || {
            ran.fetch_add(1, Relaxed);
        });
        let thread = started.map_err(|e| format!("the system refused a thread: {e}"))?;
        thread.join().map_err(|_| "the thread panicked".to_string())
    })
}

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().build().map_err(|e| format!("no runtime could be started: {e}"))
}

fn pooled(time: Duration) -> Result<Starts, String> {
    let (runtime, ran) = (runtime()?, Arc::new(AtomicU64::new(0)));
    let once = || {
        let ran = Arc::clone(&ran);
        let job = runtime.spawn_blocking(move || {
            ran.fetch_add(1, Relaxed);
        });
        runtime.block_on(job).map_err(|e| format!("the job failed: {e}"))
    };
    // The thread is there before the clock starts.
    once()?;
    ran.store(0, Relaxed);
    repeat(time, &ran, once)
}

fn tasks(time: Duration) -> Result<Starts, String> {
    let (runtime, ran) = (runtime()?, Arc::new(AtomicU64::new(0)));
    // One entry into the runtime for a whole batch, as in a program that lives in it.
    let me = witness::this_thread();
    let before = witness::switches(me);
    let (began, mut starts_count) = (Instant::now(), 0);
    runtime.block_on(async {
        while began.elapsed() < time {
            for _ in 0..BETWEEN_LOOKS {
                let ran = Arc::clone(&ran);
                let task = tokio::spawn(async move {
                    ran.fetch_add(1, Relaxed);
                });
                task.await.map_err(|e| format!("the task failed: {e}"))?;
            }
            starts_count += BETWEEN_LOOKS;
        }
        Ok::<_, String>(())
    })?;
    let wall = began.elapsed();
    let switches_count = difference(before, witness::switches(me));
    Ok(Starts { starts_count, ran_count: ran.load(Relaxed), wall, switches_count })
}

fn boxed(time: Duration) -> Result<Starts, String> {
    let ran = Arc::new(AtomicU64::new(0));
    repeat(time, &ran, || {
        let ran = Arc::clone(&ran);
        let job: Box<dyn FnOnce()> = Box::new(move || {
            ran.fetch_add(1, Relaxed);
        });
        black_box(job)();
        Ok(())
    })
}

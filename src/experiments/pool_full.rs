//! tokio's blocking pool when it is full: what else waits then.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::runtime::Builder;

use crate::lab::{Contender, Setting};

/// Threads of the pool.
pub const POOL: usize = 4;
/// How long a job keeps its thread.
pub const UNIT: Duration = Duration::from_millis(10);
/// Between two questions of the victim.
const REST: Duration = Duration::from_millis(2);
/// A runtime that is not done by then is left behind.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a task asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asks {
    /// The size of a file, of `tokio::fs`.
    Fs,
    /// The address of "localhost", of `tokio::net::lookup_host`.
    Name,
    /// The size of the same file, of `std::fs`, on the worker.
    StdFs,
}

/// What is asked for, and how many threads the pool has.
pub type Victim = Setting<(Asks, usize)>;

const fn victim(id: &'static str, name: &'static str, asks: Asks, pool: usize) -> Victim {
    Setting { is: Contender::new(id).called(name).checked(check), value: (asks, pool) }
}

/// The victims; the second has a pool with one thread more.
pub const VICTIMS: [Victim; 4] = [
    victim("fs", "tokio::fs::metadata", Asks::Fs, POOL),
    victim("fs_one_more", "tokio::fs::metadata, one thread more", Asks::Fs, POOL + 1),
    victim("lookup", "tokio::net::lookup_host", Asks::Name, POOL),
    victim("std_fs", "std::fs::metadata", Asks::StdFs, POOL),
];

/// Whether an answer came, of whatever kind: a machine without "localhost" has asked its pool all the same.
async fn ask(asks: Asks) -> Result<(), String> {
    let exe = || std::env::current_exe().map_err(|e| format!("this program cannot find itself: {e}"));
    let unread = |e| format!("this program's file cannot be looked at: {e}");
    match asks {
        Asks::Fs => tokio::fs::metadata(exe()?).await.map(drop).map_err(unread),
        Asks::StdFs => std::fs::metadata(exe()?).map(drop).map_err(unread),
        Asks::Name => {
            let _ = tokio::net::lookup_host(("localhost", 80)).await.map(drop);
            Ok(())
        }
    }
}

/// What the pool must show before anything is timed: it runs so many jobs at once and no more.
fn check() -> Result<(), String> {
    match at_once(POOL, POOL + 3)? {
        POOL => Ok(()),
        ran => Err(format!("a pool of {POOL} threads ran {ran} jobs at once")),
    }
}

/// How many of so many jobs a pool of that size runs at once.
///
/// # Errors
/// In a sentence.
pub fn at_once(pool: usize, jobs: usize) -> Result<usize, String> {
    use std::sync::atomic::AtomicUsize;
    let runtime = Builder::new_current_thread().max_blocking_threads(pool).build();
    let runtime = runtime.map_err(|e| format!("no runtime could be started: {e}"))?;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let job = |_| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        runtime.spawn_blocking(move || {
            most.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
            std::thread::sleep(UNIT);
            running.fetch_sub(1, Relaxed);
        })
    };
    let jobs: Vec<_> = (0..jobs).map(job).collect();
    for job in jobs {
        runtime.block_on(job).map_err(|e| format!("a job failed: {e}"))?;
    }
    Ok(most.load(Relaxed))
}

/// How many ns each answer took while `busy` jobs were always in the pool or before it, for about so long.
///
/// # Errors
/// In a sentence.
pub fn answers((asks, pool): (Asks, usize), busy: usize, time: Duration) -> Result<Vec<f64>, String> {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).max_blocking_threads(pool).enable_time().enable_io().build();
    let runtime = runtime.map_err(|e| format!("no runtime could be started: {e}"))?;
    let stop = Arc::new(AtomicBool::new(false));
    for k in 0..busy {
        let stop = Arc::clone(&stop);
        runtime.spawn(async move {
            // They begin one after the other, so that they don't end at one moment.
            tokio::time::sleep(UNIT.mul_f64(k as f64 / busy as f64)).await;
            while !stop.load(Relaxed) {
                // Fails only while the runtime is shut down, and then nobody waits.
                if tokio::task::spawn_blocking(|| std::thread::sleep(UNIT)).await.is_err() {
                    return;
                }
            }
        });
    }
    let victim = runtime.spawn(async move {
        let mut took = Vec::new();
        // All jobs are in the pool or before it by then.
        tokio::time::sleep(UNIT.mul_f64(1.5)).await;
        let began = Instant::now();
        while began.elapsed() < time {
            let asked = Instant::now();
            ask(asks).await?;
            took.push(asked.elapsed().as_secs_f64() * 1e9);
            tokio::time::sleep(REST).await;
        }
        Ok::<_, String>(took)
    });
    let took = runtime.block_on(victim).map_err(|e| format!("the victim failed: {e}"));
    stop.store(true, Relaxed);
    runtime.shutdown_timeout(PATIENCE);
    took?
}

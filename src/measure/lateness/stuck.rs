//! Is this runtime stuck, and on what? Looked at from outside, without touching it.
//!
//! A watchdog that sends the runtime a task changes what it looks at: the wake can un-wedge the very hang it was sent to find. This
//! one only reads: tokio's stable metrics, and what the kernel says of the runtime's threads, twice, and compares.
//!
//! | seen over the window | verdict |
//! |---|---|
//! | a worker is not parked (its count of parks and unparks is even) and none of its counters moved, and no thread wants a CPU | blocked |
//! | as many pool threads as there may be lived through it, and none wanted a CPU | blocked |
//! | a worker is not parked, its counters stand still, and a thread was on a CPU or waited for one | CPU-bound |
//! | some counter moved | working |
//! | all workers parked, tasks alive or a pool thread occupied | waiting |
//! | all workers parked, nothing alive | idle |
//!
//! # Limits
//! - *Waiting* is what a server does at night, and also what tasks do that wait for each other (futurelock). From outside, without
//!   knowing who waits for what, the two can't be told apart, and this detector does not try: of a futurelock and of a task that waits for
//!   another thread's message it sees the same, field by field. (Unstable metrics would not help: they count timers and sockets, but not
//!   the wakers that threads outside hold. The lock itself could tell, if its waiters said when they were last polled.)
//! - A poll that takes longer than the window is *blocked* or *CPU-bound*, although it may end.
//! - That a pool thread is occupied shows in its being there: the runtime lets idle ones go after [`KEEP_ALIVE`], so a window must be longer.
//! - Without `/proc` blocked and CPU-bound are not told apart ([`Verdict::Stuck`]), and the pool is not seen at all.
//!
//! # Source
//! tokio's `RuntimeMetrics::worker_park_unpark_count` (odd: parked); proc(5) for `stat`, `schedstat`, `wchan`.
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Handle, Runtime};

use super::{SchedStat, SchedTimes, ns, runtime::SHUTDOWN};
use crate::measure::trace;

/// How long an idle pool thread of a [`Watched`] runtime stays.
pub const KEEP_ALIVE: Duration = Duration::from_millis(10);

/// What the runtime is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A worker, or the whole blocking pool, sits in a call that does not return and uses no CPU.
    Blocked,
    /// A worker computes, without coming back to its queue.
    CpuBound,
    /// One of the two; the system does not say which.
    Stuck,
    /// Tasks are being polled.
    Working,
    /// Nothing moves, and tasks are alive: they wait for the outside, or for each other.
    Waiting,
    /// No task, and no job in the pool.
    Idle,
}

/// A thread of the runtime, as the kernel sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadSeen {
    /// Time on a CPU, and waiting for one.
    pub times: SchedTimes,
    /// `R` running or ready, `S` asleep, `D` asleep for the disk ...; `?` if unknown.
    pub state: char,
    /// The kernel function it sleeps in; `0` or empty if it runs or the kernel does not say.
    pub wchan: String,
}

/// Everything that was looked at, at one moment.
#[derive(Clone, Debug)]
pub struct Look {
    /// When.
    pub at: Instant,
    /// Of each worker: parks and unparks together, and its busy time as published, in ns.
    pub workers: Vec<(u64, u64)>,
    /// Tasks that were spawned and have not ended.
    pub alive_tasks: usize,
    /// The runtime's threads by their id, workers and blocking pool together; `None` where the system does not say.
    pub threads: Option<BTreeMap<String, ThreadSeen>>,
}

/// What two looks show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// All things considered.
    pub verdict: Verdict,
    /// Workers that were not parked, with counters that stood still.
    pub stuck_workers: usize,
    /// Workers that were parked all the time.
    pub parked_workers: usize,
    /// Threads that were on a CPU, or waited for one, for half of the window; `None` where the system does not say.
    pub running_threads: Option<usize>,
    /// Pool threads that were there all the time and did not run.
    pub blocked_pool_threads: Option<usize>,
    /// Threads that slept in the kernel's futex at the end.
    pub in_futex_threads: Option<usize>,
    /// Threads that slept in epoll at the end: nobody there means that nobody waits for timers and I/O.
    pub in_epoll_threads: Option<usize>,
}

/// Compares two looks at a runtime that may have `pool_threads` blocking threads. A function of what was seen and of nothing else, so
/// that it can be tried on any constellation.
pub fn compare(before: &Look, after: &Look, pool_threads: usize) -> Seen {
    let workers = before.workers.iter().zip(&after.workers);
    let frozen: Vec<u64> = workers.filter(|(a, b)| a == b).map(|(_, b)| b.0).collect();
    let stuck_workers = frozen.iter().filter(|parks| *parks % 2 == 0).count();
    let parked_workers = frozen.len() - stuck_workers;
    let window_ns = ns(after.at.saturating_duration_since(before.at));
    let wants_cpu = |then: &ThreadSeen, now: &ThreadSeen| {
        let on_cpu_ns = now.times.on_cpu_ns.saturating_sub(then.times.on_cpu_ns);
        let runq_ns = now.times.runq_ns.saturating_sub(then.times.runq_ns);
        // Of a thread that waits all the time for its CPU the kernel books nothing until it gets it: hence the state.
        2 * (on_cpu_ns + runq_ns) >= window_ns || (then.state, now.state) == ('R', 'R')
    };
    let both = before.threads.as_ref().zip(after.threads.as_ref());
    let threads = both.map(|(then, now)| {
        let stayed: Vec<bool> =
            now.iter().filter_map(|(id, now)| Some(wants_cpu(then.get(id)?, now))).collect();
        let running = stayed.iter().filter(|wants| **wants).count();
        // A worker is a thread that stays as well.
        (running, (stayed.len() - running).saturating_sub(after.workers.len()))
    });
    let sleeping_in = |calls: &[&str]| {
        let threads = after.threads.as_ref()?;
        Some(threads.values().filter(|t| calls.iter().any(|call| t.wchan.contains(call))).count())
    };
    let pool_full = threads.is_some_and(|(_, pool)| pool_threads > 0 && pool >= pool_threads);
    let verdict = match threads {
        None if stuck_workers > 0 => Verdict::Stuck,
        Some((running, _)) if stuck_workers > running || pool_full => Verdict::Blocked,
        Some(_) if stuck_workers > 0 => Verdict::CpuBound,
        _ if frozen.len() < after.workers.len() => Verdict::Working,
        // A job in the pool is no task to the metrics.
        _ if after.alive_tasks > 0 || threads.is_some_and(|(_, pool)| pool > 0) => Verdict::Waiting,
        _ => Verdict::Idle,
    };
    Seen {
        verdict,
        stuck_workers,
        parked_workers,
        running_threads: threads.map(|(running, _)| running),
        blocked_pool_threads: threads.map(|(_, pool)| pool),
        in_futex_threads: sleeping_in(&["futex"]),
        in_epoll_threads: sleeping_in(&["ep_poll", "epoll"]),
    }
}

/// A runtime that can be looked at.
#[derive(Debug)]
pub struct Watched {
    runtime: Runtime,
    threads: Arc<Mutex<BTreeSet<String>>>,
    workers: usize,
    pool_threads: usize,
}

impl Watched {
    /// A runtime with so many workers and at most so many threads in its blocking pool. Each of its threads signs in when it begins and out
    /// when it ends; otherwise it is like any other.
    ///
    /// # Errors
    /// A reason: no runtime to be had.
    pub fn new(workers: usize, pool_threads: usize) -> Result<Self, String> {
        let threads = Arc::new(Mutex::new(BTreeSet::new()));
        let (come, go) = (Arc::clone(&threads), Arc::clone(&threads));
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(workers)
            .max_blocking_threads(pool_threads)
            .thread_keep_alive(KEEP_ALIVE)
            .enable_all();
        let begins = move || {
            if let Some(id) = this_thread() {
                come.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            }
        };
        let ends = move || {
            if let Some(id) = this_thread() {
                go.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            }
        };
        trace::hook_beside(&mut builder, begins, ends);
        let runtime = builder.build().map_err(|e| format!("no tokio runtime: {e}"))?;
        Ok(Self { runtime, threads, workers, pool_threads })
    }

    /// To spawn on it, and for nothing else while it is being looked at.
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Its workers.
    pub fn workers(&self) -> usize {
        self.workers
    }

    /// Looks once; reads, and wakes nobody.
    pub fn look(&self) -> Look {
        let metrics = self.runtime.metrics();
        let worker = |w| (metrics.worker_park_unpark_count(w), ns(metrics.worker_total_busy_duration(w)));
        let ids = self.threads.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let seen: BTreeMap<_, _> =
            ids.into_iter().filter_map(|id| Some((id.clone(), thread(&id)?))).collect();
        Look {
            at: Instant::now(),
            workers: (0..self.workers).map(worker).collect(),
            alive_tasks: metrics.num_alive_tasks(),
            threads: (!seen.is_empty()).then_some(seen),
        }
    }

    /// Looks, lets a window pass, looks again, and compares.
    pub fn see(&self, window: Duration) -> Seen {
        let before = self.look();
        std::thread::sleep(window);
        compare(&before, &self.look(), self.pool_threads)
    }

    /// Ends it. True if all of its threads signed out in time; false if some of them had to be left behind.
    pub fn shutdown(self) -> bool {
        self.runtime.shutdown_timeout(SHUTDOWN);
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// The calling thread's id, as /proc spells it.
fn this_thread() -> Option<String> {
    Some(fs::read_link("/proc/thread-self").ok()?.file_name()?.to_str()?.to_string())
}

fn thread(id: &str) -> Option<ThreadSeen> {
    let task = Path::new("/proc/self/task").join(id);
    let times = SchedStat::at(&task.join("schedstat"))?.read()?;
    let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
    // The name is in brackets and may hold anything; the state is the first letter after the last of them.
    let state = stat.rsplit(") ").next().and_then(|rest| rest.chars().next()).unwrap_or('?');
    let wchan = fs::read_to_string(task.join("wchan")).unwrap_or_default();
    Some(ThreadSeen { times, state, wchan })
}

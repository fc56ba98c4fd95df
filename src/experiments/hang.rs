//! Small programs on a tokio runtime that hang, and their cures, and harmless ones that look like it. Each brings its rescue.
//!
//! None of them depends on luck: each waits until the constellation it needs is there. Whether it then hangs is up to the runtime.
use std::{
    future::Future,
    hint::spin_loop,
    sync::{
        Arc, Barrier, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Semaphore, oneshot},
    task,
};

use crate::{
    lab::Contender,
    measure::{
        lateness::{Seen, Verdict, Watched},
        trace,
    },
};

/// A program that was started.
pub struct Play {
    /// Gets a message when all of it has ended; closed without one if it never can.
    pub done: Receiver<()>,
    /// Sets it free, whatever it hangs on; harmless if it does not.
    pub rescue: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for Play {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Play").finish_non_exhaustive()
    }
}

/// A program.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Who it is.
    pub is: Contender,
    /// Whether it hangs if it does not end by itself; the others are meant to go on until the rescue.
    pub ends: bool,
    /// Blocking threads that its runtime may have.
    pub pool_threads: usize,
    /// Starts it on a runtime.
    pub start: fn(&Handle) -> Play,
}

const fn scene(name: &'static str, ends: bool, start: fn(&Handle) -> Play) -> Scene {
    Scene { is: Contender::new(name), ends, pool_threads: 16, start }
}

impl AsRef<Contender> for Scene {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

/// How a scene went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trial {
    /// It was to end by itself, and did not.
    pub hung: bool,
    /// What the detector saw, before the rescue. It does not know `hung`.
    pub seen: Seen,
    /// It had ended by itself, or ended after the rescue.
    pub released: bool,
    /// All threads of the runtime ended in time.
    pub shut_down: bool,
}

impl Trial {
    /// Whether the detector would have called somebody.
    pub fn alarm(&self) -> bool {
        matches!(self.seen.verdict, Verdict::Blocked | Verdict::Stuck)
    }
    /// Hung, and nobody was called.
    pub fn miss(&self) -> bool {
        self.hung && !self.alarm()
    }
    /// Not hung, and somebody was called.
    pub fn false_alarm(&self) -> bool {
        !self.hung && self.alarm()
    }
}

/// How long the rescue may take to show.
const PATIENCE: Duration = Duration::from_secs(5);

/// Starts a scene, lets it `settle`, watches it for a window, rescues it, and shuts its runtime down. Never hangs: whatever does not end
/// is left behind, and said.
///
/// # Errors
/// A reason: no runtime to be had.
pub fn trial(scene: &Scene, workers: usize, settle: Duration, window: Duration) -> Result<Trial, String> {
    let watched = Watched::new(workers, scene.pool_threads)?;
    let play = (scene.start)(watched.handle());
    let mut ended = play.done.recv_timeout(settle).is_ok();
    let seen = watched.see(window);
    ended = ended || play.done.try_recv().is_ok(); // late, on a busy machine, but not hung
    (play.rescue)();
    // An aborted task drops its end of the channel without a word: that is an end too.
    let released = ended || play.done.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout);
    Ok(Trial { hung: scene.ends && !ended, seen, released, shut_down: watched.shutdown() })
}

/// The riddle: its task blocks its thread.
pub const BLOCKED: Scene = scene("blocked", true, |on| riddle(on, Wait::Block, false));
/// A std mutex, held while its holder waits for a timer.
pub const MUTEX_BLOCK_ON: Scene = scene("mutex_block_on", true, |on| mutex_block_on(on, true));

/// The riddle, and ways out of it.
pub static RIDDLE: [Scene; 5] = [
    BLOCKED,
    scene("blocked_after_spawn", true, |on| riddle(on, Wait::Block, true)),
    scene("in_place", true, |on| riddle(on, Wait::InPlace, false)),
    scene("in_pool", true, |on| riddle(on, Wait::InPool, false)),
    scene("awaited", true, |on| riddle(on, Wait::Await, false)),
];

/// Other circles of waiting, each followed by its cure.
pub static WEDGES: [Scene; 6] = [
    Scene { pool_threads: 4, ..scene("pool_cycle", true, pool_cycle) },
    Scene { pool_threads: 8, ..scene("pool_of_eight", true, pool_cycle) },
    MUTEX_BLOCK_ON,
    scene("mutex_released", true, |on| mutex_block_on(on, false)),
    scene("futurelock", true, |on| futurelock(on, true)),
    scene("loser_dropped", true, |on| futurelock(on, false)),
];

/// What is idle, busy or slow, and sound.
pub static SOUND: [Scene; 6] = [
    scene("no_task", false, |_| until_rescued(|_| {})),
    scene("waits_outside", false, waits_outside),
    scene("timer_ticks", false, timer_ticks),
    scene("tasks_yield", false, tasks_yield),
    scene("computes", false, computes),
    scene("one_long_job", false, one_long_job),
];

/// All of them.
pub fn scenes() -> impl Iterator<Item = &'static Scene> {
    RIDDLE.iter().chain(&WEDGES).chain(&SOUND)
}

/// How the riddle's task waits for its helper.
#[derive(Clone, Copy)]
enum Wait {
    Await,
    Block,
    InPlace,
    InPool,
}

/// The riddle: a task spawns a helper and waits for its result.
fn riddle(on: &Handle, wait: Wait, spawn_between: bool) -> Play {
    let (tell, done) = mpsc::channel();
    let (answer, result) = mpsc::channel();
    let rescue = answer.clone();
    let asker = async move {
        let (sent, awaited) = oneshot::channel();
        tokio::spawn(trace::task("helper", async move {
            let _ = answer.send(());
            let _ = sent.send(());
        }));
        if spawn_between {
            tokio::spawn(trace::task("unrelated", async {})); // takes the LIFO slot, and the helper moves to the queue that others may steal from
        }
        match wait {
            Wait::Await => drop(awaited.await),
            Wait::Block => wait_for(&result),
            Wait::InPlace => task::block_in_place(|| wait_for(&result)),
            Wait::InPool => drop(task::spawn_blocking(move || wait_for(&result)).await),
        }
        let _ = tell.send(());
    };
    on.spawn(trace::task("asker", asker));
    let rescue = Box::new(move || {
        let _ = rescue.send(());
    });
    Play { done, rescue }
}

/// Blocks the thread. An error is an answer too: nobody is left to send one.
fn wait_for(result: &Receiver<()>) {
    let _ = trace::blocking("recv", || result.recv());
}

/// What sets a task free that listens for it.
fn send(rescue: oneshot::Sender<()>) -> Box<dyn FnOnce() + Send> {
    Box::new(move || {
        let _ = rescue.send(());
    })
}

/// Four jobs in the pool, each of which waits for another job in the same pool.
fn pool_cycle(on: &Handle) -> Play {
    let (tell, done) = mpsc::channel();
    let (free, all_here) = (Arc::new(Semaphore::new(0)), Arc::new(Barrier::new(4)));
    let jobs: Vec<_> = (0..4)
        .map(|_| {
            let (on, free, all_here) = (on.clone(), Arc::clone(&free), Arc::clone(&all_here));
            on.clone().spawn_blocking(move || {
                trace::blocking("barrier", || all_here.wait()); // else the first could be through before the fourth begins
                let inner = on.spawn_blocking(|| {});
                let answered = async {
                    tokio::select! {
                        _ = inner => {}
                        _ = free.acquire() => {}
                    }
                };
                trace::blocking("block_on", || on.block_on(answered));
            })
        })
        .collect();
    on.spawn(trace::task("waits for all", async move {
        for job in jobs {
            let _ = job.await;
        }
        let _ = tell.send(());
    }));
    Play { done, rescue: Box::new(move || free.add_permits(4)) }
}

/// A pool job holds a std mutex while it waits, by `Handle::block_on`, for a timer; a task that a timer woke locks the mutex.
fn mutex_block_on(on: &Handle, held: bool) -> Play {
    let (tell, done) = mpsc::channel();
    let (rescue, rescued) = oneshot::channel::<()>();
    let mutex = Arc::new(Mutex::new(()));
    let (theirs, in_job) = (Arc::clone(&mutex), on.clone());
    let (locked, is_locked) = oneshot::channel();
    let job = on.spawn_blocking(move || {
        let guard = theirs.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = locked.send(());
        let guard = held.then_some(guard);
        let timer = async {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
                _ = rescued => {}
            }
        };
        trace::blocking("block_on", || in_job.block_on(timer));
        drop(guard);
    });
    let locks = async move {
        let _ = is_locked.await;
        // The worker that is woken for this timer has just polled the driver; it goes on to block, and the driver is nobody's.
        tokio::time::sleep(Duration::from_millis(5)).await;
        trace::blocking("lock", || drop(mutex.lock()));
        let _ = job.await;
        let _ = tell.send(());
    };
    on.spawn(trace::task("locks", locks));
    Play { done, rescue: send(rescue) }
}

/// A select! has lost interest in a future that stands in a mutex's queue, but keeps it; then the same task wants the mutex.
fn futurelock(on: &Handle, kept: bool) -> Play {
    let (tell, done) = mpsc::channel();
    let mutex = Arc::new(tokio::sync::Mutex::new(()));
    let (held, is_held) = oneshot::channel();
    let (queued, is_queued) = oneshot::channel();
    let holder = Arc::clone(&mutex);
    on.spawn(trace::task("holder", async move {
        let guard = holder.lock().await;
        let _ = held.send(());
        let _ = is_queued.await;
        drop(guard); // passes to the first in the queue, who is not polled any more
    }));
    let wants_twice = async move {
        let _ = is_held.await;
        let mut loser = Some(Box::pin(mutex.lock()));
        if let Some(lock) = loser.as_mut() {
            tokio::select! {
                biased;
                _ = lock => {}
                () = std::future::ready(()) => {}
            }
        }
        if !kept {
            loser = None;
        }
        let _ = queued.send(());
        drop(mutex.lock().await);
        drop(loser);
        let _ = tell.send(());
    };
    let task = on.spawn(trace::task("wants it twice", wants_twice));
    Play { done, rescue: Box::new(move || task.abort()) }
}

/// Starts something that goes on until the rescue sets the flag.
fn until_rescued(start: impl FnOnce((Arc<AtomicBool>, Sender<()>))) -> Play {
    let (tell, done) = mpsc::channel();
    let stop = Arc::new(AtomicBool::new(false));
    start((Arc::clone(&stop), tell.clone()));
    Play {
        done,
        rescue: Box::new(move || {
            stop.store(true, Relaxed);
            drop(tell);
        }),
    }
}

fn waits_outside(on: &Handle) -> Play {
    let (rescue, rescued) = oneshot::channel::<()>();
    let (tell, done) = mpsc::channel();
    on.spawn(async move {
        let _ = rescued.await;
        let _ = tell.send(());
    });
    Play { done, rescue: send(rescue) }
}

fn repeat<F: Future<Output = ()> + Send + 'static>(on: &Handle, tasks: usize, step: fn() -> F) -> Play {
    until_rescued(|(stop, tell)| {
        for _ in 0..tasks {
            let (stop, tell) = (Arc::clone(&stop), tell.clone());
            on.spawn(async move {
                while !stop.load(Relaxed) {
                    step().await;
                }
                let _ = tell.send(());
            });
        }
    })
}

fn timer_ticks(on: &Handle) -> Play {
    repeat(on, 1, || tokio::time::sleep(Duration::from_millis(2)))
}

fn tasks_yield(on: &Handle) -> Play {
    repeat(on, 4, task::yield_now)
}

/// One poll that computes until the rescue.
fn computes(on: &Handle) -> Play {
    until_rescued(|(stop, tell)| {
        on.spawn(async move {
            while !stop.load(Relaxed) {
                spin_loop();
            }
            let _ = tell.send(());
        });
    })
}

/// A job in the pool that sleeps, where it may.
fn one_long_job(on: &Handle) -> Play {
    until_rescued(|(stop, tell)| {
        on.spawn_blocking(move || {
            while !stop.load(Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = tell.send(());
        });
    })
}

//! Ways to look at a runtime while it runs: from counters only, to a ping. Each is a thread or a task of its own, started and stopped.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::{runtime::Handle, sync::mpsc::unbounded_channel};

use super::hang::Scene;
use crate::{
    lab::{Setting, setting},
    measure::lateness::Watched,
};

/// How one looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// One does not.
    Nothing,
    /// A thread outside reads the runtime's metrics. Nobody is woken.
    Counters,
    /// A task sleeps and wakes, by the runtime's own timer.
    Timer,
    /// A thread outside sends a message to a task that waits for it.
    Wake,
    /// A thread outside spawns an empty task: what most watchdogs do.
    Ping,
}

/// Every probe.
pub const PROBES: [Setting<Probe>; 5] = [
    setting("nothing", Probe::Nothing),
    setting("counters", Probe::Counters),
    setting("timer", Probe::Timer),
    setting("wake", Probe::Wake),
    setting("ping", Probe::Ping),
];

/// Those whose answer is not a matter of luck: a timer may be due together with the one that hangs.
pub const CERTAIN: [Setting<Probe>; 4] = [PROBES[0], PROBES[1], PROBES[3], PROBES[4]];

/// A probe that runs until this is dropped, and a period longer.
#[derive(Debug)]
pub struct Probing(Arc<AtomicBool>);

impl Drop for Probing {
    fn drop(&mut self) {
        self.0.store(true, Relaxed); // carries nothing but itself
    }
}

/// A probe whose task is there and waits, so that the looking itself spawns nothing but what it is meant to spawn.
pub struct Ready(Box<dyn FnMut() + Send>, Probing);

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ready").field(&self.1).finish_non_exhaustive()
    }
}

/// Spawns what the probe needs on the runtime; a [`Probe::Timer`] begins with that, every `period`.
pub fn prepare(on: &Handle, probe: Probe, period: Duration) -> Ready {
    let stop = Arc::new(AtomicBool::new(false));
    let each: Box<dyn FnMut() + Send> = match probe {
        Probe::Nothing => Box::new(|| {}),
        Probe::Counters => {
            let metrics = on.metrics();
            Box::new(move || {
                for worker in 0..metrics.num_workers() {
                    std::hint::black_box(metrics.worker_park_unpark_count(worker));
                }
            })
        }
        Probe::Timer => {
            let stopped = Arc::clone(&stop);
            on.spawn(async move {
                while !stopped.load(Relaxed) {
                    tokio::time::sleep(period).await;
                }
            });
            Box::new(|| {})
        }
        Probe::Wake => {
            let (wake, mut woken) = unbounded_channel();
            on.spawn(async move { while woken.recv().await.is_some() {} });
            Box::new(move || {
                let _ = wake.send(());
            })
        }
        Probe::Ping => {
            let on = on.clone();
            Box::new(move || drop(on.spawn(async {})))
        }
    };
    Ready(each, Probing(stop))
}

impl Ready {
    /// Looks from a thread of its own, every `period` from now on. (A thread that does nothing too, so that all probes have one.)
    ///
    /// # Errors
    /// A reason: no thread to look from.
    pub fn look(self, period: Duration) -> Result<Probing, String> {
        let Self(mut each, probing) = self;
        let stopped = Arc::clone(&probing.0);
        let thread = move || {
            while !stopped.load(Relaxed) {
                thread::sleep(period);
                each();
            }
        };
        thread::Builder::new().name("probe".into()).spawn(thread).map_err(|e| format!("no thread: {e}"))?;
        Ok(probing)
    }
}

/// How a scene went under a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// It had not ended by itself when the patience was over.
    pub hung: bool,
    /// It had ended, or ended after the rescue, and all threads of the runtime with it.
    pub released: bool,
}

/// How long the rescue may take to show.
const RESCUE: Duration = Duration::from_secs(5);

/// Starts a scene, gives it `settle` to hang, then looks at it every `period` for as long as the patience lasts. Never hangs itself.
///
/// # Errors
/// A reason: no runtime or thread to be had.
pub fn probed(
    scene: &Scene,
    workers: usize,
    probe: Probe,
    period: Duration,
    settle: Duration,
    patience: Duration,
) -> Result<Probed, String> {
    let watched = Watched::new(workers, scene.pool_threads)?;
    let ready = prepare(watched.handle(), probe, period);
    let play = (scene.start)(watched.handle());
    thread::sleep(settle);
    let probing = ready.look(period);
    let ended = play.done.recv_timeout(patience).is_ok();
    (play.rescue)(); // also where there is no probe: a scene that was started is set free
    let freed = ended || play.done.recv_timeout(RESCUE) != Err(std::sync::mpsc::RecvTimeoutError::Timeout);
    drop(probing?);
    Ok(Probed { hung: !ended, released: watched.shutdown() && freed })
}

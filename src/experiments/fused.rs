//! Two branches of one task: the first holds a guard that blocks over an await, the second wants the same lock.
//!
//! The await is ready each time, since nobody else wants what it asks for. It is pending only if the task has used up its budget. Then the second
//! branch is polled, blocks the thread for the guard, and the first can never be polled again.
//!
//! Nothing can free such a task: only its first branch could drop the guard. So a thread that hangs is left behind, and ends with the process.
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use dashmap::DashMap;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{Mutex, RwLock},
    task,
};

use crate::lab::{Contender, Setting};

/// Each try runs so many rounds, if it does not hang.
pub const ROUNDS: u64 = 1_000;

/// How the two branches are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fused {
    /// By `join!`; the first holds the guard of a `DashMap` over one await.
    Joined,
    /// The same by `try_join!`.
    TryJoined,
    /// By `join!`, over two awaits.
    TwoAwaits,
    /// By `join!`, inside of `unconstrained`.
    Unconstrained,
    /// By `join!`; the guard is dropped before the await.
    Released,
    /// By `join!`; tokio's `RwLock` in place of the `DashMap`'s.
    Awaited,
}

const fn way(id: &'static str, name: &'static str, value: Fused) -> Setting<Fused> {
    Setting { is: Contender::new(id).called(name), value }
}

/// The ways.
pub const FUSED: [Setting<Fused>; 6] = [
    way("joined", "join!, guard held", Fused::Joined),
    way("try_joined", "try_join!, guard held", Fused::TryJoined),
    way("two_awaits", "join!, held over two awaits", Fused::TwoAwaits),
    way("unconstrained", "the same in unconstrained", Fused::Unconstrained),
    way("released", "join!, guard dropped first", Fused::Released),
    way("awaited", "join!, tokio's RwLock held", Fused::Awaited),
];

/// What the two branches share.
#[derive(Default)]
struct Shared {
    map: DashMap<u64, u64>,
    awaited: RwLock<HashMap<u64, u64>>,
    /// Nobody but the first branch ever asks for it.
    free: Mutex<()>,
    /// Rounds that ended.
    done_count: AtomicU64,
    writes_count: AtomicU64,
}

/// The one key: both branches meet at it.
const KEY: u64 = 0;

impl Shared {
    /// The first branch: reads the entry, and awaits a mutex that is free.
    async fn holds(&self, how: Fused) {
        match how {
            Fused::Awaited => {
                let guard = self.awaited.read().await;
                drop(self.free.lock().await);
                drop(guard);
            }
            Fused::Released => {
                drop(self.map.get(&KEY));
                drop(self.free.lock().await);
            }
            Fused::Joined | Fused::TryJoined | Fused::TwoAwaits | Fused::Unconstrained => {
                let guard = self.map.get(&KEY);
                drop(self.free.lock().await);
                if how == Fused::TwoAwaits {
                    drop(self.free.lock().await);
                }
                drop(guard);
            }
        }
    }

    /// The second branch: writes the entry, without an await of its own unless the lock has one.
    async fn writes(&self, how: Fused) {
        if how == Fused::Awaited {
            self.awaited.write().await.insert(KEY, 1);
        } else {
            self.map.insert(KEY, 1);
        }
        self.writes_count.fetch_add(1, Relaxed);
    }

    async fn round(&self, how: Fused) {
        if how == Fused::TryJoined {
            let holds = async {
                self.holds(how).await;
                Ok::<(), ()>(())
            };
            let writes = async {
                self.writes(how).await;
                Ok::<(), ()>(())
            };
            let _ = tokio::try_join!(holds, writes);
        } else {
            tokio::join!(self.holds(how), self.writes(how));
        }
        self.done_count.fetch_add(1, Relaxed);
    }

    async fn rounds(&self, how: Fused) {
        for _ in 0..ROUNDS {
            self.round(how).await;
        }
    }
}

/// How one try went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tried {
    /// It stood still, and did not end.
    pub hung: bool,
    /// Rounds that ended.
    pub done_count: u64,
    /// Writes of the second branch.
    pub writes_count: u64,
}

struct Started {
    runtime: Runtime,
    shared: Arc<Shared>,
    done: Receiver<()>,
}

fn start(how: Fused, workers: usize) -> Result<Started, String> {
    let builder = &mut Builder::new_multi_thread();
    let runtime = builder.worker_threads(workers).build().map_err(|e| format!("no runtime: {e}"))?;
    let shared = Arc::<Shared>::default();
    shared.map.insert(KEY, 0);
    let (tell, done) = mpsc::channel();
    let theirs = Arc::clone(&shared);
    runtime.spawn(async move {
        if how == Fused::Unconstrained {
            task::coop::unconstrained(theirs.rounds(how)).await;
        } else {
            theirs.rounds(how).await;
        }
        let _ = tell.send(());
    });
    Ok(Started { runtime, shared, done })
}

/// Waits until each has ended, or none of those that have not has ended a round for as long as the patience. Says for each whether it ended.
fn ended(started: &[Started], patience: Duration) -> Result<Vec<bool>, String> {
    let mut ended = vec![false; started.len()];
    let rounds = || started.iter().map(|one| one.shared.done_count.load(Relaxed)).collect::<Vec<_>>();
    loop {
        // A busy machine makes them slow, and then some have ended a round more.
        let (before, until) = (rounds(), Instant::now() + patience);
        for (one, ended) in started.iter().zip(&mut ended).filter(|(_, ended)| !**ended) {
            match one.done.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(()) => *ended = true,
                Err(RecvTimeoutError::Disconnected) => return Err("the task is gone".into()),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
        if ended.iter().all(|ended| *ended) || rounds() == before {
            return Ok(ended);
        }
    }
}

/// Starts so many tries at once, each on a runtime of its own, and waits until each has ended or stands still.
///
/// # Errors
/// A reason: no runtime to be had, or a task that is gone.
pub fn tries(how: Fused, workers: usize, tries: usize, patience: Duration) -> Result<Vec<Tried>, String> {
    let started = (0..tries).map(|_| start(how, workers)).collect::<Result<Vec<_>, _>>()?;
    let seen = ended(&started, patience).map(|ended| {
        let seen = started.iter().zip(ended).map(|(one, ended)| {
            let (done, writes) = (&one.shared.done_count, &one.shared.writes_count);
            Tried { hung: !ended, done_count: done.load(Relaxed), writes_count: writes.load(Relaxed) }
        });
        seen.collect()
    });
    // Idle workers end by themselves; one that hangs never does.
    started.into_iter().for_each(|one| one.runtime.shutdown_background());
    seen
}

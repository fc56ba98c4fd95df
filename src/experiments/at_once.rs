//! Many calls to a backend with few places: started all at once, or so many at a time.
//!
//! The backend stands in this process: 256 places, and a timer of 1 ms for each call.
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use tokio::{runtime::Builder, sync::Semaphore, task::JoinSet};

use crate::{
    lab::{Contender, Setting},
    machine::memory,
    measure::latency,
};

/// Calls that the backend works on at once; as many are let out by a limit.
pub const BACKEND: usize = 256;
const SERVICE: Duration = Duration::from_millis(1);
/// What a call holds from its start to its end.
pub const BUFFER: usize = 16 << 10;

/// When a call may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// At once.
    AtOnce,
    /// When a permit is free: the task is not made before.
    PermitFirst,
    /// The task is made at once, and waits for its permit itself.
    PermitInside,
}

const fn way(id: &'static str, name: &'static str, value: Start) -> Setting<Start> {
    Setting { is: Contender::new(id).called(name).checked(check), value }
}

/// All of them.
pub const WAYS: [Setting<Start>; 3] = [
    way("at_once", "all at once", Start::AtOnce),
    way("permit_first", "a permit, then the task", Start::PermitFirst),
    way("permit_inside", "the task, then a permit", Start::PermitInside),
];

/// What came of so many calls.
#[derive(Clone, Debug)]
pub struct Calls {
    /// How many were answered.
    pub answered_count: usize,
    /// From the first start to the last answer.
    pub wall: Duration,
    /// From the start of a call, when it has its permit and takes its buffer, to its answer.
    pub took: Histogram<u64>,
    /// The most calls that had started and had no answer yet.
    pub started_max_count: usize,
    /// How far resident memory rose; `None` where the system does not tell.
    pub peak_bytes: Option<u64>,
}

#[derive(Debug, Default)]
struct Started {
    now: AtomicUsize,
    most: AtomicUsize,
}

async fn call(backend: Arc<Semaphore>, started: Arc<Started>) -> Result<Duration, String> {
    let began = Instant::now();
    started.most.fetch_max(started.now.fetch_add(1, Relaxed) + 1, Relaxed);
    let buffer = std::hint::black_box(vec![1_u8; BUFFER]);
    let place = backend.acquire().await.map_err(|e| e.to_string())?;
    tokio::time::sleep(SERVICE).await;
    drop(place);
    started.now.fetch_sub(1, Relaxed);
    // The buffer lives until here.
    match buffer.first() {
        Some(1) => Ok(began.elapsed()),
        _ => Err("the call's buffer was lost".into()),
    }
}

/// Makes so many calls.
///
/// # Errors
/// In a sentence.
pub fn calls(start: Start, count: usize) -> Result<Calls, String> {
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|e| format!("no runtime could be started: {e}"))?;
    let before = memory::resident_bytes();
    let (backend, limit) = (Arc::new(Semaphore::new(BACKEND)), Arc::new(Semaphore::new(BACKEND)));
    let (started, mut took) = (Arc::new(Started::default()), latency::histogram());
    let (wall, answered_count) = runtime.block_on(async {
        let (began, mut all, mut answered) = (Instant::now(), JoinSet::new(), 0);
        let mut note = |one: Result<Result<Duration, String>, tokio::task::JoinError>| {
            let took_it = one.map_err(|e| format!("a call failed: {e}"))??;
            took.saturating_record(latency::ns(took_it));
            answered += 1;
            Ok::<_, String>(())
        };
        for _ in 0..count {
            let (backend, started, limit) = (Arc::clone(&backend), Arc::clone(&started), Arc::clone(&limit));
            match start {
                Start::AtOnce => {
                    all.spawn(call(backend, started));
                }
                Start::PermitFirst => {
                    let permit = limit.acquire_owned().await.map_err(|e| e.to_string())?;
                    all.spawn(async move {
                        let took = call(backend, started).await;
                        drop(permit);
                        took
                    });
                    // What has ended meanwhile is taken out, or its task would be held to the end.
                    while let Some(one) = all.try_join_next() {
                        note(one)?;
                    }
                }
                Start::PermitInside => {
                    all.spawn(async move {
                        let _permit = limit.acquire_owned().await.map_err(|e| e.to_string())?;
                        call(backend, started).await
                    });
                }
            }
        }
        while let Some(one) = all.join_next().await {
            note(one)?;
        }
        Ok::<_, String>((began.elapsed(), answered))
    })?;
    let started_max_count = started.most.load(Relaxed);
    let peak_bytes = latency::difference(before, memory::peak_bytes());
    Ok(Calls { answered_count, wall, took, started_max_count, peak_bytes })
}

/// What each way must show before it is timed: as many answers as calls. Few, since the most memory that the process ever had is a result.
fn check() -> Result<(), String> {
    const FEW: usize = 32;
    WAYS.iter().try_for_each(|way| match calls(way.value, FEW)?.answered_count {
        FEW => Ok(()),
        answered => Err(format!("{}: {answered} of {FEW} calls were answered", way.id())),
    })
}

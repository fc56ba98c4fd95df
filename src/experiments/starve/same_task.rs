//! Victims that share their task with the offender, and stand still not because a thread is blocked but because nobody polls them: a branch of
//! the same `select!` loop while another branch's handler runs, and the futures of a `buffered` stream while its consumer is busy.
use std::{
    pin::pin,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::{FutureExt, StreamExt, stream};
use tokio::{task::yield_now, time::sleep_until};

use super::{Cure, TICK, offence::Offence};
use crate::measure::lateness::{Lateness, Schedule};

/// A loop over ticks and jobs, as servers have it: there is always a job, and its handler takes a unit. `Cure::Async` makes the job a branch of its own,
/// which is polled beside the ticks.
pub(super) async fn select(offence: &Offence, mut ticks: Schedule, units: &AtomicU64) -> Lateness {
    let beside = offence.cure == Cure::Async;
    let mut job = pin!(offence.spend()); // does nothing until it is polled
    while let Some(due_ns) = ticks.next_ns() {
        tokio::select! {
            () = sleep_until((offence.started + Duration::from_nanos(due_ns)).into()) => {
                ticks.arrive(offence.started.elapsed().as_nanos() as u64);
            }
            () = &mut job, if beside => {
                units.fetch_add(1, Relaxed);
                job.set(offence.spend());
            }
            () = yield_now(), if !beside && offence.cure != Cure::Control => {
                offence.spend().await;
                units.fetch_add(1, Relaxed);
            }
        }
    }
    ticks.into_lateness()
}

/// Requests that take a tick each, three at a time in a buffer, whose consumer spends a unit on each answer. How much longer than a tick they took.
/// `Cure::Async` makes each request a task, which the runtime polls whatever the consumer does.
pub(super) async fn buffered(offence: &Offence, window: Duration, units: &AtomicU64) -> Lateness {
    let request = || match offence.cure {
        Cure::Async => tokio::spawn(late_ns()).map(|late| late.ok()).boxed(),
        _ => late_ns().map(Some).boxed(),
    };
    let mut answers = pin!(stream::repeat_with(request).buffered(3));
    let mut late = Lateness::new();
    while offence.started.elapsed() < window
        && let Some(answer) = answers.next().await
    {
        if let Some(late_ns) = answer {
            late.record_ns(late_ns);
        }
        if offence.cure != Cure::Control {
            offence.spend().await;
            units.fetch_add(1, Relaxed);
        }
    }
    late
}

/// A request that ought to take a tick: how much longer it took, from its first poll to its end.
async fn late_ns() -> u64 {
    let asked = Instant::now();
    tokio::time::sleep(TICK).await;
    asked.elapsed().saturating_sub(TICK).as_nanos() as u64
}

//! A `select!` loop on a runtime of one thread. Its first branch is ready every time; how late is its second, and which order helps?
//!
//! The first branch reads a channel into which the loop puts a message each time round, until the flood is over. The second branch has something
//! to do every 5 ms: a timer is due, or a thread outside of the runtime has sent a message.
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    runtime::Builder,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
    task,
    time::{Sleep, sleep_until},
};

use crate::{
    lab::{Contender, Setting},
    measure::{
        latency,
        lateness::{Lateness, Schedule, outside_wakes},
        work,
    },
};

/// The second branch has something to do so often.
pub const TICK: Duration = Duration::from_millis(5);
/// What handling a message of the first branch takes.
pub const HANDLING_NS: f64 = 50_000.0;
/// Messages in a row that a quota allows.
pub const QUOTA: u64 = 32;

/// In which order the loop looks at its branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looking {
    /// `biased`, the flooded branch first.
    FloodFirst,
    /// As `select!` does by itself: another order each time.
    AnyOrder,
    /// `biased`, the flooded branch last.
    FloodLast,
    /// As the first, but after [`QUOTA`] messages in a row the other branch is looked at first, once.
    Quota,
    /// The same, and the task yields before that.
    QuotaYield,
}

const fn looking(id: &'static str, name: &'static str, value: Looking) -> Setting<Looking> {
    Setting { is: Contender::new(id).called(name), value }
}

/// The orders.
pub const LOOKING: [Setting<Looking>; 5] = [
    looking("biased", "biased, flooded branch first", Looking::FloodFirst),
    looking("random", "random order, as by default", Looking::AnyOrder),
    looking("flood_last", "biased, flooded branch last", Looking::FloodLast),
    looking("quota", "biased, at most 32 in a row", Looking::Quota),
    looking("quota_yield", "biased, a yield after 32 in a row", Looking::QuotaYield),
];

/// What the second branch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// A timer of the runtime.
    Timer,
    /// A message that a thread outside sends.
    Message,
}

/// How it went for the second branch.
#[derive(Clone, Debug)]
pub struct SecondBranch {
    /// From the moment at which it had something to do until it was done.
    pub late: Lateness,
    /// How often it was served before the flood was over.
    pub served_count: u64,
    /// Messages of the first branch.
    pub messages_count: u64,
    /// Turns that another task of the runtime got before the flood was over.
    pub turns_count: u64,
}

/// The second branch.
enum Second {
    Timer(Pin<Box<Sleep>>, Schedule),
    Message(UnboundedReceiver<Instant>, Lateness),
}

impl Second {
    /// Something to do; `None` at the end. Nothing is lost if it is dropped before.
    async fn due(&mut self) -> Option<Instant> {
        match self {
            Self::Timer(sleep, schedule) => {
                schedule.next_ns()?;
                sleep.as_mut().await;
                Some(Instant::now())
            }
            Self::Message(from, _) => from.recv().await,
        }
    }

    /// Does it, and says how often that was.
    fn served(&mut self, started: Instant, at: Instant) -> u64 {
        match self {
            Self::Timer(sleep, schedule) => {
                let served = schedule.arrive(latency::ns(started.elapsed()));
                if let Some(next) = schedule.next_ns() {
                    sleep.as_mut().reset((started + Duration::from_nanos(next)).into());
                }
                served
            }
            Self::Message(_, late) => {
                late.record_ns(latency::ns(at.elapsed()));
                1
            }
        }
    }

    fn into_lateness(self) -> Lateness {
        match self {
            Self::Timer(_, schedule) => schedule.into_lateness(),
            Self::Message(_, late) => late,
        }
    }
}

/// What the loop found ready.
enum Ready {
    Message,
    Second(Option<Instant>),
}

/// One time round, with the flooded branch first or last, or in an order by lot.
async fn look(order: Looking, flood: impl Future<Output = Option<()>>, second: &mut Second) -> Ready {
    match order {
        Looking::FloodFirst | Looking::Quota | Looking::QuotaYield => tokio::select! {
            biased;
            Some(()) = flood => Ready::Message,
            at = second.due() => Ready::Second(at),
        },
        Looking::AnyOrder => tokio::select! {
            Some(()) = flood => Ready::Message,
            at = second.due() => Ready::Second(at),
        },
        Looking::FloodLast => tokio::select! {
            biased;
            at = second.due() => Ready::Second(at),
            Some(()) = flood => Ready::Message,
        },
    }
}

/// The loop. It ends when the flood is over and the second branch has nothing more to do.
async fn flooded(
    looking: Looking,
    mut second: Second,
    started: Instant,
    window: Duration,
    handling: u32,
    over: &AtomicBool,
) -> SecondBranch {
    let (to, mut from) = unbounded_channel();
    let (mut served_count, mut messages_count, mut in_a_row) = (0, 0, 0);
    loop {
        let flooding = started.elapsed() < window;
        over.store(!flooding, Relaxed);
        if flooding && from.is_empty() {
            let _ = to.send(());
        }
        let spent = in_a_row >= QUOTA && matches!(looking, Looking::Quota | Looking::QuotaYield);
        if spent {
            in_a_row = 0;
            if looking == Looking::QuotaYield {
                task::yield_now().await;
            }
        }
        let order = if spent { Looking::FloodLast } else { looking };
        match look(order, from.recv(), &mut second).await {
            Ready::Message => {
                work::spin(handling);
                (messages_count, in_a_row) = (messages_count + 1, in_a_row + 1);
            }
            Ready::Second(Some(at)) => {
                let served = second.served(started, at);
                served_count += if flooding { served } else { 0 };
                in_a_row = 0;
            }
            Ready::Second(None) if !flooding => break,
            // All that was due is done, and the flood goes on.
            Ready::Second(None) => task::yield_now().await,
        }
    }
    SecondBranch { late: second.into_lateness(), served_count, messages_count, turns_count: 0 }
}

/// Floods the first branch for a window, beside another task that only yields.
///
/// # Errors
/// A reason: no runtime or thread to be had.
pub fn beside_flood(
    looking: Looking,
    waits: Waits,
    window: Duration,
    ns_per_iteration: f64,
) -> Result<SecondBranch, String> {
    let handling = work::iterations(HANDLING_NS, ns_per_iteration);
    let runtime = Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|e| format!("no runtime: {e}"))?;
    let (over, turns) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (theirs, counted) = (Arc::clone(&over), Arc::clone(&turns));
    let seen = runtime.block_on(async move {
        let started = Instant::now();
        let schedule = Schedule::over(window.max(TICK), TICK);
        let second = match waits {
            Waits::Timer => Second::Timer(Box::pin(sleep_until((started + TICK).into())), schedule),
            Waits::Message => {
                let (_, from) =
                    outside_wakes(started, schedule).map_err(|e| format!("no thread to send from: {e}"))?;
                Second::Message(from, Lateness::new())
            }
        };
        let bystander = tokio::spawn(async move {
            while !theirs.load(Relaxed) {
                counted.fetch_add(1, Relaxed);
                task::yield_now().await;
            }
        });
        let loops = async move { flooded(looking, second, started, window, handling, &over).await };
        let seen = tokio::spawn(loops).await.map_err(|e| format!("the loop is gone: {e}"))?;
        bystander.await.map_err(|e| format!("the other task is gone: {e}"))?;
        Ok::<_, String>(seen)
    })?;
    Ok(SecondBranch { turns_count: turns.load(Relaxed), ..seen })
}

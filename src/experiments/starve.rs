//! Twelve ways to starve a tokio runtime, and six cures: any of them with any other.
//!
//! Each pair runs on a fresh runtime: offenders that do a unit of work over and over, and a victim whose delays are recorded. A cure
//! changes one thing only, how the unit is spent (or on how many workers), so that the column it makes can be compared.
mod offence;
mod same_task;

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::mpsc::unbounded_channel,
    task::JoinError,
};

use self::offence::Offence;
use crate::{
    lab::{Point, Setting, at, setting},
    measure::{
        lateness::{Lateness, SchedTimes, Schedule, ThreadTimes, outside_wakes, timer_probe, wake_probe},
        trace,
    },
};

/// How the runtime is starved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// As many tasks block as there are workers.
    Workers,
    /// A task wakes another, which goes into the worker's LIFO slot, and then blocks.
    LifoSlot,
    /// One task that a timer woke blocks, and with it the driver, although other workers are idle.
    Driver,
    /// The blocking pool, here of four threads, is full; the victim asks `tokio::fs` for something, which needs the pool too.
    Pool,
    /// As many tasks as workers await what is always ready: no poll ever ends by itself.
    AlwaysReady,
    /// The victim is a branch of the same task's `join!`.
    Sibling,
    /// The victim is a branch of a `select!` loop, and the unit is spent in another branch's handler.
    Select,
    /// The victims are the futures of a `buffered` stream whose consumer spends a unit on each item.
    Buffered,
    /// A lock that blocks, held across an await; the other tasks wait for it on their workers.
    Guard,
    /// A future that holds a tokio lock is kept, but not polled while its task awaits something else.
    Unpolled,
    /// As many tasks as workers call a `block_on` that is not tokio's (tokio's own panics there), over a timer of the very runtime that they
    /// block. Bounded, so that what would hang is seen as a delay.
    NestedBlockOn,
    /// A runtime of one thread, as `#[tokio::test]` makes it.
    CurrentThread,
}

/// What is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cure {
    /// Nobody offends.
    Control,
    /// Nothing.
    Nothing,
    /// Eight workers instead of two (of the one-thread runtime: two workers).
    MoreWorkers,
    /// The unit in ten parts with a yield between them; where the trouble is a wake just before the block, a yield there.
    Yield,
    /// `block_in_place`.
    InPlace,
    /// `spawn_blocking`.
    SpawnBlocking,
    /// The unit is spent on another runtime, and awaited.
    OwnRuntime,
    /// What blocks is replaced by what awaits: tokio's sleep, its mutex, a budget; of what is not polled, to poll it.
    Async,
    /// No LIFO slot: an unstable switch of tokio's builder.
    NoLifoSlot,
    /// Who leaves the driver wakes another worker for it: an unstable switch of tokio's builder.
    DriverHandOff,
}

/// The mechanisms as parameters.
pub const MECHANISMS: [Point<Mechanism>; 12] = [
    at("workers", Mechanism::Workers),
    at("lifo_slot", Mechanism::LifoSlot),
    at("driver", Mechanism::Driver),
    at("pool", Mechanism::Pool),
    at("always_ready", Mechanism::AlwaysReady),
    at("sibling", Mechanism::Sibling),
    at("select", Mechanism::Select),
    at("buffered", Mechanism::Buffered),
    at("guard", Mechanism::Guard),
    at("unpolled", Mechanism::Unpolled),
    at("nested_block_on", Mechanism::NestedBlockOn),
    at("current_thread", Mechanism::CurrentThread),
];

/// Nothing is done: what every cure is compared with.
pub const NOTHING: Setting<Cure> = setting("nothing", Cure::Nothing);
/// Nobody offends.
pub const CONTROL: Setting<Cure> = setting("control", Cure::Control);

/// The cures, as any build has them.
pub const CURES: [Setting<Cure>; 8] = [
    NOTHING,
    CONTROL,
    setting("more_workers", Cure::MoreWorkers),
    setting("yield", Cure::Yield),
    setting("block_in_place", Cure::InPlace),
    setting("spawn_blocking", Cure::SpawnBlocking),
    setting("own_runtime", Cure::OwnRuntime),
    setting("async_primitive", Cure::Async),
];

/// The cures that are unstable switches of tokio.
pub const SWITCHES: [Setting<Cure>; 2] =
    [setting("no_lifo_slot", Cure::NoLifoSlot), setting("driver_hand_off", Cure::DriverHandOff)];

/// What was seen of a pair.
#[derive(Clone, Debug, Default)]
pub struct Starved {
    /// The victim's delays.
    pub late: Lateness,
    /// Units that the offenders finished.
    pub units_count: u64,
    /// From the start until the offenders were told to stop, in ns.
    pub wall_ns: u64,
    /// CPU time of all threads of the process; `None` where the scheduler does not say.
    pub threads: Option<SchedTimes>,
    /// Offenders that did not end within a second of being told to.
    pub left_behind_count: usize,
    /// What an offender said when it panicked. Then nobody starved the victim, and its delays are those of a runtime at rest.
    pub panicked: Option<String>,
}

/// How often the victim asks for something.
const TICK: Duration = Duration::from_millis(3);
/// Longer than anything here takes, so that a hang is a reason and no hang.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long an offender may take to end.
const LEAVE: Duration = Duration::from_secs(1);
/// How long a runtime may take to end before its threads are left to themselves.
const SHUTDOWN: Duration = Duration::from_secs(1);

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Puts a mechanism and a cure on a fresh runtime for a window.
///
/// # Errors
/// A reason: no runtime or thread to be had, a victim that was not done in time, or a switch that this build of tokio has not.
pub fn starve(mechanism: Mechanism, cure: Cure, unit: Duration, window: Duration) -> Result<Starved, String> {
    let own = (cure == Cure::OwnRuntime).then(|| multi(4, 64, cure)).transpose()?;
    let (workers, pool) =
        (if cure == Cure::MoreWorkers { 8 } else { 2 }, if mechanism == Mechanism::Pool { 4 } else { 64 });
    let elsewhere = own.as_ref().map(|own| own.handle().clone());
    let seen = if mechanism == Mechanism::CurrentThread && cure != Cure::MoreWorkers {
        let mut builder = Builder::new_current_thread();
        trace::hook(&mut builder);
        let runtime = builder.enable_all().build().map_err(|e| format!("no runtime: {e}"))?;
        let handle = runtime.handle().clone();
        let (quit, wait) = tokio::sync::oneshot::channel::<()>();
        let carry = trace::carry();
        let driver = thread::spawn(move || {
            carry();
            let _ = runtime.block_on(wait);
            runtime.shutdown_timeout(SHUTDOWN);
        });
        let seen = watch(&handle, mechanism, cure, unit, window, elsewhere);
        drop(quit);
        // Joined only if all is well: one that is stuck is left behind.
        if seen.is_ok() && driver.join().is_err() {
            return Err("the runtime's only thread panicked".into());
        }
        seen
    } else {
        let workers = if mechanism == Mechanism::CurrentThread { 2 } else { workers };
        let runtime = multi(workers, pool, cure)?;
        let seen = watch(runtime.handle(), mechanism, cure, unit, window, elsewhere);
        runtime.shutdown_timeout(SHUTDOWN);
        seen
    };
    if let Some(own) = own {
        own.shutdown_timeout(SHUTDOWN);
    }
    seen
}

fn multi(workers: usize, pool: usize, cure: Cure) -> Result<Runtime, String> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).max_blocking_threads(pool).enable_all();
    switch(&mut builder, cure)?;
    trace::hook(&mut builder);
    builder.build().map_err(|e| format!("no runtime: {e}"))
}

/// The cures that are switches of the builder.
#[cfg(tokio_unstable)]
fn switch(builder: &mut Builder, cure: Cure) -> Result<(), String> {
    match cure {
        Cure::NoLifoSlot => drop(builder.disable_lifo_slot()),
        Cure::DriverHandOff => drop(builder.enable_eager_driver_handoff()),
        _ => {}
    }
    Ok(())
}

#[cfg(not(tokio_unstable))]
fn switch(_: &mut Builder, cure: Cure) -> Result<(), String> {
    match cure {
        Cure::NoLifoSlot | Cure::DriverHandOff => {
            Err("an unstable switch of tokio: it needs a build of its own with \
            RUSTFLAGS=\"--cfg tokio_unstable\" and --target-dir target/unstable"
                .into())
        }
        _ => Ok(()),
    }
}

fn watch(
    on: &Handle,
    mechanism: Mechanism,
    cure: Cure,
    unit: Duration,
    window: Duration,
    elsewhere: Option<Handle>,
) -> Result<Starved, String> {
    let (stop, units) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (wake, woken) = unbounded_channel();
    let (before, started) = (ThreadTimes::now(), Instant::now());
    let schedule = Schedule::over(window, TICK);
    let lock = Arc::new(tokio::sync::Mutex::new(()));
    let wake = (mechanism == Mechanism::LifoSlot).then_some(wake);
    let (guard, theirs) = (Arc::default(), Arc::clone(&lock));
    let offence = Offence { mechanism, cure, unit, elsewhere, started, guard, lock: theirs, wake };
    let victim: Task<Lateness> = match mechanism {
        Mechanism::LifoSlot => Box::pin(wake_probe(woken)),
        Mechanism::Driver | Mechanism::Sibling => Box::pin(timer_probe(started, schedule)),
        Mechanism::Select => {
            let (offence, units) = (offence.clone(), Arc::clone(&units));
            Box::pin(async move { same_task::select(&offence, schedule, &units).await })
        }
        Mechanism::Buffered => {
            let (offence, units) = (offence.clone(), Arc::clone(&units));
            Box::pin(async move { same_task::buffered(&offence, window, &units).await })
        }
        Mechanism::Pool => Box::pin(each_tick(started, window, || async {
            let _ = tokio::fs::metadata(".").await;
        })),
        Mechanism::Unpolled => Box::pin(each_tick(started, window, move || {
            let lock = Arc::clone(&lock);
            async move { drop(lock.lock().await) }
        })),
        _ => {
            let (_, wakes) = outside_wakes(started, schedule).map_err(|e| format!("no thread: {e}"))?;
            Box::pin(wake_probe(wakes))
        }
    };
    let offender = |offence: Offence| {
        let (stop, units) = (Arc::clone(&stop), Arc::clone(&units));
        async move {
            while !stop.load(Relaxed) {
                offence.unit().await;
                units.fetch_add(1, Relaxed);
            }
        }
    };
    let (tell, told) = mpsc::channel();
    let mut offenders = Vec::new();
    let count = match (mechanism, cure) {
        (Mechanism::LifoSlot, _) => 1, // the control too: somebody has to wake the victim
        (_, Cure::Control) | (Mechanism::Select | Mechanism::Buffered, _) => 0, // the victim's own task offends
        (Mechanism::Pool, _) => 4,
        (Mechanism::Guard, _) => 3,
        (Mechanism::Workers | Mechanism::AlwaysReady | Mechanism::NestedBlockOn, _) => 2,
        _ => 1,
    };
    if mechanism == Mechanism::Sibling && count == 1 {
        let offender = offender(offence);
        on.spawn(trace::task("victim and offender", async move {
            let victim = async { tell.send(victim.await) };
            tokio::join!(victim, offender)
        }));
    } else {
        on.spawn(trace::task("victim", async move { tell.send(victim.await) }));
        offenders.extend((0..count).map(|_| on.spawn(trace::task("offender", offender(offence.clone())))));
        drop(offence); // the victim of the LIFO slot ends when nobody is left to wake it
    }
    thread::sleep(window.saturating_sub(started.elapsed()));
    let wall_ns = started.elapsed().as_nanos() as u64;
    let threads = before.zip(ThreadTimes::now()).map(|(before, now)| now.since(&before));
    // The offenders go on until the victim is done; only the LIFO slot's is done when its offender is.
    let units_count = units.load(Relaxed);
    if mechanism == Mechanism::LifoSlot {
        stop.store(true, Relaxed);
    }
    let late = told.recv_timeout(PATIENCE);
    stop.store(true, Relaxed);
    let late = late.map_err(|e| format!("the victim was never done: {e}"))?;
    let deadline = Instant::now() + LEAVE;
    let alive = || offenders.iter().filter(|o| !o.is_finished()).count();
    while alive() > 0 && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    let left_behind_count = alive();
    let panicked = offenders.into_iter().find_map(|offender| panic_of(offender.now_or_never()?.err()?));
    Ok(Starved { late, units_count, wall_ns, threads, left_behind_count, panicked })
}

/// What a task said when it panicked; `None` if it ended otherwise.
fn panic_of(error: JoinError) -> Option<String> {
    let said = error.try_into_panic().ok()?;
    let text =
        said.downcast_ref::<&str>().copied().or_else(|| said.downcast_ref::<String>().map(String::as_str));
    Some(text.unwrap_or("no text").into())
}

/// Does something at each tick, and records how long it took.
async fn each_tick<F: Future<Output = ()>>(
    started: Instant,
    window: Duration,
    op: impl Fn() -> F,
) -> Lateness {
    let mut late = Lateness::new();
    while started.elapsed() < window {
        tokio::time::sleep(TICK).await;
        let asked = Instant::now();
        op().await;
        late.record_ns(asked.elapsed().as_nanos() as u64);
    }
    late
}

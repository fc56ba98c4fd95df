//! What an offender does with its unit of time, under each mechanism and each cure.
use std::{
    future::{Future, ready},
    pin::pin,
    sync::{Arc, Condvar, Mutex, PoisonError},
    task::{Context, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    sync::mpsc::UnboundedSender,
    task::{block_in_place, coop::consume_budget, spawn_blocking, yield_now},
};

use super::{Cure, Mechanism, TICK};
use crate::measure::trace;

/// The offenders' means.
#[derive(Clone)]
pub(super) struct Offence {
    pub(super) mechanism: Mechanism,
    pub(super) cure: Cure,
    pub(super) unit: Duration,
    pub(super) elsewhere: Option<Handle>,
    pub(super) started: Instant,
    pub(super) guard: Arc<Blocking>,
    pub(super) lock: Arc<tokio::sync::Mutex<()>>,
    pub(super) wake: Option<UnboundedSender<Instant>>,
}

impl Offence {
    /// One unit, with whatever precedes it.
    pub(super) async fn unit(&self) {
        match self.mechanism {
            Mechanism::LifoSlot => {
                tokio::time::sleep(TICK / 3).await;
                if let Some(wake) = &self.wake {
                    let _ = wake.send(Instant::now());
                }
                match self.cure {
                    Cure::Control => {}
                    Cure::Yield => {
                        yield_now().await;
                        sleep(self.unit);
                    }
                    _ => self.spend().await,
                }
            }
            Mechanism::Driver => {
                // Halfway between two ticks of the victim, so that the driver finds this task alone ready.
                let ticks = self.started.elapsed().as_nanos() / TICK.as_nanos();
                let due = self.started + TICK * ticks as u32 + TICK.mul_f64(1.5);
                tokio::time::sleep_until(due.into()).await;
                self.spend().await;
            }
            Mechanism::Guard => self.guarded().await,
            Mechanism::Unpolled => self.unpolled().await,
            Mechanism::NestedBlockOn => {
                self.nested().await;
                yield_now().await;
            }
            Mechanism::Pool
                if matches!(self.cure, Cure::Nothing | Cure::MoreWorkers | Cure::SpawnBlocking) =>
            {
                let unit = self.unit;
                let _ = spawn_blocking(move || sleep(unit)).await;
            }
            Mechanism::Pool if self.cure == Cure::Yield => {
                let part = self.unit / 10;
                for _ in 0..10 {
                    let _ = spawn_blocking(move || sleep(part)).await;
                }
            }
            _ => {
                self.spend().await;
                yield_now().await;
            }
        }
    }

    /// The unit itself.
    pub(super) async fn spend(&self) {
        let (unit, spins) = (self.unit, self.mechanism == Mechanism::AlwaysReady);
        let block = move |time: Duration| if spins { spin(time) } else { sleep(time) };
        match self.cure {
            Cure::Nothing | Cure::MoreWorkers | Cure::Control | Cure::NoLifoSlot | Cure::DriverHandOff
                if spins =>
            {
                let began = Instant::now();
                while began.elapsed() < unit {
                    ready(()).await; // never Pending, and no coop point
                }
            }
            Cure::Nothing | Cure::MoreWorkers | Cure::Control | Cure::NoLifoSlot | Cure::DriverHandOff => {
                block(unit)
            }
            Cure::Yield => {
                for _ in 0..10 {
                    block(unit / 10);
                    yield_now().await;
                }
            }
            Cure::InPlace => block_in_place(|| block(unit)),
            Cure::SpawnBlocking => drop(spawn_blocking(move || block(unit)).await),
            Cure::OwnRuntime => {
                if let Some(elsewhere) = &self.elsewhere {
                    let _ = elsewhere.spawn(async move { block(unit) }).await;
                }
            }
            Cure::Async if spins => {
                let began = Instant::now();
                while began.elapsed() < unit {
                    consume_budget().await; // Pending after 128 turns
                }
            }
            Cure::Async => tokio::time::sleep(unit).await,
        }
    }

    /// A lock that is held across an await of a unit.
    async fn guarded(&self) {
        let (guard, unit) = (Arc::clone(&self.guard), self.unit);
        let theirs = Arc::clone(&guard);
        match self.cure {
            Cure::Async => {
                let _held = self.lock.lock().await;
                tokio::time::sleep(unit).await;
                return yield_now().await;
            }
            Cure::OwnRuntime => {
                if let Some(elsewhere) = &self.elsewhere {
                    let _ = elsewhere.spawn(theirs.held(unit)).await;
                }
                return yield_now().await;
            }
            Cure::InPlace => block_in_place(|| guard.lock(unit * 4)),
            Cure::SpawnBlocking => drop(spawn_blocking(move || theirs.lock(unit * 4)).await),
            Cure::Yield => {
                yield_now().await;
                guard.lock(unit * 4);
            }
            _ => guard.lock(unit * 4),
        }
        tokio::time::sleep(unit).await;
        guard.unlock();
        yield_now().await;
    }

    /// Waits for a timer, in a `block_on` inside of a task.
    async fn nested(&self) {
        let unit = self.unit;
        let block = move || {
            trace::blocking("block_on", || block_on(tokio::time::sleep(unit), unit * 4));
        };
        match self.cure {
            Cure::Async => tokio::time::sleep(unit).await,
            Cure::InPlace => block_in_place(block),
            Cure::SpawnBlocking => drop(spawn_blocking(block).await),
            Cure::OwnRuntime => {
                if let Some(elsewhere) = &self.elsewhere {
                    let _ = elsewhere.spawn(async move { block() }).await;
                }
            }
            Cure::Yield => {
                yield_now().await;
                block();
            }
            _ => block(),
        }
    }

    /// Takes the lock in a future, polls it once, and then spends a unit on something else.
    async fn unpolled(&self) {
        let holds = async {
            let _held = self.lock.lock().await;
            yield_now().await;
        };
        if self.cure == Cure::Async {
            tokio::join!(holds, tokio::time::sleep(self.unit)); // both are polled
            return;
        }
        let mut holds = pin!(holds);
        let _ = holds.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        match self.cure {
            Cure::Nothing | Cure::MoreWorkers => tokio::time::sleep(self.unit).await,
            _ => self.spend().await,
        }
        holds.await;
    }
}

/// Polls it on this thread, which sleeps in between, for at most so long. As `futures::executor::block_on`: it knows no runtime.
fn block_on(future: impl Future, at_most: Duration) {
    let (began, mut future) = (Instant::now(), pin!(future));
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    while future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
        let left = at_most.saturating_sub(began.elapsed());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The thread's, which blocks.
fn sleep(time: Duration) {
    trace::blocking("thread::sleep", || thread::sleep(time));
}

fn spin(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A lock that blocks its thread and may be held across an await: std's guard may not, in a task, since it is not `Send`.
#[derive(Debug, Default)]
pub(super) struct Blocking {
    held: Mutex<bool>,
    freed: Condvar,
}

impl Blocking {
    /// Waits at most so long, then goes on without the lock: here a deadlock is to be seen as a delay.
    fn lock(&self, at_most: Duration) {
        trace::blocking("lock", || {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            let wait = self.freed.wait_timeout_while(held, at_most, |held| *held);
            *wait.unwrap_or_else(PoisonError::into_inner).0 = true;
        });
    }
    async fn held(self: Arc<Self>, unit: Duration) {
        self.lock(unit * 4);
        tokio::time::sleep(unit).await;
        self.unlock();
    }
    fn unlock(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.freed.notify_one();
    }
}

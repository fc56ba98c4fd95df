//! A lock that is held while its holder awaits, with other tasks waiting for it: who stands still, and what sets them free?
//!
//! The holder of a std guard is a future in `Handle::block_on`, on a thread of its own: that is where the compiler admits a guard that is not
//! `Send`. What the holder awaits is an answer from a task of the runtime, as it would be in a program: so if the waiters occupy all workers,
//! the answer is never given. The rescue gives it from outside.
use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{
        Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
};

use crate::contenders::task_lock::Way;
use crate::measure::lateness::{Seen, Watched};

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// While the lock was held and all waiters had asked for it.
    pub seen: Seen,
    /// The answer was asked of a task, and within the patience not everybody was done.
    pub hung: bool,
    /// Everybody was done, by itself or after the rescue.
    pub released: bool,
    /// All threads of the runtime ended in time.
    pub shut_down: bool,
}

/// For the waiters to get from their last message into the lock.
const SETTLE: Duration = Duration::from_millis(20);
/// How long the rescue may take to show.
const PATIENCE: Duration = Duration::from_secs(5);

type Answer = Arc<Mutex<Option<oneshot::Sender<()>>>>;

fn give(answer: &Answer) {
    if let Some(answer) = answer.lock().unwrap_or_else(PoisonError::into_inner).take() {
        let _ = answer.send(());
    }
}

/// What the waiters ask for.
#[derive(Clone)]
enum Lock {
    Std(Arc<Mutex<()>>),
    Tokio(Arc<tokio::sync::Mutex<()>>),
    Semaphore(Arc<Semaphore>),
    Owner(UnboundedSender<oneshot::Sender<()>>),
}

impl Lock {
    fn new(way: Way) -> (Self, UnboundedReceiver<oneshot::Sender<()>>) {
        let (owner, asked) = unbounded_channel();
        let lock = match way {
            Way::StdMutex | Way::StdReleased => Self::Std(Arc::default()),
            Way::TokioMutex => Self::Tokio(Arc::default()),
            Way::Semaphore(permits) => Self::Semaphore(Arc::new(Semaphore::new(permits))),
            Way::Message => Self::Owner(owner),
        };
        (lock, asked)
    }

    /// What a waiter does.
    async fn wait(self) {
        match self {
            Self::Std(lock) => drop(lock.lock()),
            Self::Tokio(lock) => drop(lock.lock().await),
            Self::Semaphore(permits) => drop(permits.acquire().await),
            Self::Owner(owner) => {
                let (ask, asked) = oneshot::channel();
                let _ = owner.send(ask);
                let _ = asked.await;
            }
        }
    }

    /// What the holder does; `kept`: across its await.
    #[allow(clippy::await_holding_lock, reason = "this is the mistake that is to be shown")]
    async fn hold(self, kept: bool, answered: oneshot::Receiver<()>, begun: &Sender<()>) {
        let say = || {
            let _ = begun.send(());
        };
        match self {
            Self::Std(lock) => {
                let held = lock.lock();
                let held = kept.then_some(held);
                say();
                let _ = answered.await;
                drop(held);
            }
            Self::Tokio(lock) => {
                let _held = lock.lock().await;
                say();
                let _ = answered.await;
            }
            Self::Semaphore(permits) => {
                let _held = permits.acquire().await;
                say();
                let _ = answered.await;
            }
            Self::Owner(_) => {}
        }
    }
}

/// Starts the holder. Of the messages it is the task that owns the value, and awaits before it looks at the first of them.
fn start(
    way: Way,
    on: &Handle,
    answered: oneshot::Receiver<()>,
    begun: Sender<()>,
    done: Sender<()>,
) -> Result<Lock, String> {
    let (lock, mut asked) = Lock::new(way);
    if let Way::Message = way {
        on.spawn(async move {
            let _ = begun.send(());
            let _ = answered.await;
            let _ = done.send(());
            while let Some(ask) = asked.recv().await {
                let _ = ask.send(());
            }
        });
    } else {
        let (on, held) = (on.clone(), lock.clone());
        let holder = move || {
            on.block_on(held.hold(way != Way::StdReleased, answered, &begun));
            let _ = done.send(());
        };
        thread::Builder::new().spawn(holder).map_err(|e| format!("no thread to hold from: {e}"))?;
    }
    Ok(lock)
}

/// Runs it on a fresh runtime: `waiters` tasks ask for a lock whose holder awaits; it is looked at for a window; then a task is to give the
/// answer that the holder awaits. If not all are done within `patience`, the answer comes from outside. Never hangs: what does not end even
/// then is left behind, and said.
///
/// # Errors
/// A reason: no runtime or thread to be had, or a task that did not begin.
pub fn hold(
    way: Way,
    workers: usize,
    waiters: usize,
    window: Duration,
    patience: Duration,
) -> Result<Held, String> {
    let watched = Watched::new(workers, 1)?;
    let (answer, answered) = oneshot::channel();
    let answer: Answer = Arc::new(Mutex::new(Some(answer)));
    let ((begin, begun), (end, ended)) = (mpsc::channel(), mpsc::channel());
    let lock = start(way, watched.handle(), answered, begin.clone(), end.clone())?;
    let mut all_begun = begun.recv_timeout(PATIENCE).is_ok();
    for _ in 0..waiters {
        let (begin, end, lock) = (begin.clone(), end.clone(), lock.clone());
        watched.handle().spawn(async move {
            let _ = begin.send(());
            lock.wait().await;
            let _ = end.send(());
        });
    }
    all_begun = all_begun && (0..waiters).all(|_| begun.recv_timeout(PATIENCE).is_ok());
    thread::sleep(SETTLE);
    let seen = watched.see(window);
    let inside = Arc::clone(&answer);
    watched.handle().spawn(async move { give(&inside) });
    let mut left = waiters + 1;
    let hung = !all_ended(&ended, &mut left, patience);
    give(&answer);
    let released = all_ended(&ended, &mut left, PATIENCE);
    let shut_down = watched.shutdown();
    if all_begun {
        Ok(Held { seen, hung, released, shut_down })
    } else {
        Err("a task or a thread did not begin: the machine is too busy".into())
    }
}

/// Counts down; false if nobody else ended for that long.
fn all_ended(ended: &Receiver<()>, left: &mut usize, patience: Duration) -> bool {
    while *left > 0 && ended.recv_timeout(patience).is_ok() {
        *left -= 1;
    }
    *left == 0
}

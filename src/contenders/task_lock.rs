//! One value that many tasks add to, and the ways to share it: a lock that blocks, a lock that awaits, permits, an owner that is sent messages.
//!
//! The work is the same for each of them: read the value, spend the section, write the value plus one. Read and write are two steps on
//! purpose: a way that lets another task in between loses additions, and the loss is counted. A semaphore and a message guard no
//! data by their type, so the value is an atomic for all of them; the ordering that makes an addition visible to the next one is the lock's
//! (tokio's semaphore's, the channel's), and the value's own accesses are Relaxed.
use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::yield_now,
    time::sleep,
};

use crate::lab::{Contender, Setting};

/// How the tasks share the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `std::sync::Mutex`: whoever waits, waits with its thread.
    StdMutex,
    /// `tokio::sync::Mutex`: whoever waits returns `Pending`; first come, first served.
    TokioMutex,
    /// `tokio::sync::Semaphore` with so many permits. One permit excludes; more limit.
    Semaphore(usize),
    /// A task owns the value; the others send it a message and await its answer.
    Message,
    /// `std::sync::Mutex` around the read and around the write, but not across what is awaited between them.
    StdReleased,
}

/// `std::sync::Mutex`.
pub const STD_MUTEX: Setting<Way> = way("std_mutex", "std Mutex", "", Way::StdMutex);
/// `tokio::sync::Mutex`.
pub const TOKIO_MUTEX: Setting<Way> = way("tokio_mutex", "tokio Mutex", "tokio", Way::TokioMutex);
/// One permit.
pub const SEMAPHORE: Setting<Way> = way("semaphore", "tokio Semaphore, 1 permit", "tokio", Way::Semaphore(1));
/// Four permits.
pub const SEMAPHORE_4: Setting<Way> =
    way("semaphore_4", "tokio Semaphore, 4 permits", "tokio", Way::Semaphore(4));
/// An owner with a mailbox.
pub const MESSAGE: Setting<Way> = way("message", "message to an owner", "tokio", Way::Message);
/// `std::sync::Mutex`, let go before the await.
pub const STD_RELEASED: Setting<Way> =
    way("std_released", "std Mutex, released before the await", "", Way::StdReleased);

const fn way(id: &'static str, name: &'static str, package: &'static str, value: Way) -> Setting<Way> {
    Setting { is: Contender::new(id).called(name).of(package), value }
}

/// What happens between the read and the write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Nothing.
    Bare,
    /// The CPU is used for so long, by the clock: being preempted counts.
    Spin(Duration),
    /// The task goes to the back of the queue once.
    Yield,
    /// The task awaits a timer, as it would a reply from elsewhere. Whole milliseconds: tokio's timers know no others.
    Sleep(Duration),
}

impl Section {
    /// Whether it can be spent without an await.
    fn blocks(self) -> bool {
        matches!(self, Self::Bare | Self::Spin(_))
    }
    fn spend_blocking(self) {
        if let Self::Spin(time) = self {
            let began = Instant::now();
            while began.elapsed() < time {
                std::hint::spin_loop();
            }
        }
    }
    async fn spend(self) {
        match self {
            Self::Yield => yield_now().await,
            Self::Sleep(time) => sleep(time).await,
            _ => self.spend_blocking(),
        }
    }
}

type Request = oneshot::Sender<()>;

/// The value, with every way to it; which one is used is decided once.
#[derive(Debug)]
pub struct Shared {
    way: Way,
    section: Section,
    value: AtomicU64,
    std: Mutex<()>,
    tokio: tokio::sync::Mutex<()>,
    semaphore: Semaphore,
    owner: OnceLock<mpsc::Sender<Request>>,
}

/// More messages than this are never under way: a sender waits for its place.
const MAILBOX: usize = 16;

impl Shared {
    /// Nothing added yet.
    ///
    /// # Errors
    /// A reason: std's guard is not `Send`, so no task of a runtime with several threads may hold it across an await.
    pub fn new(way: Way, section: Section) -> Result<Arc<Self>, String> {
        if way == Way::StdMutex && !section.blocks() {
            return Err("std's guard is not Send: a spawned task can't hold it across an await".into());
        }
        let permits = if let Way::Semaphore(permits) = way { permits } else { 1 };
        Ok(Arc::new(Self {
            way,
            section,
            value: AtomicU64::new(0),
            std: Mutex::new(()),
            tokio: tokio::sync::Mutex::new(()),
            semaphore: Semaphore::new(permits),
            owner: OnceLock::new(),
        }))
    }

    /// What has been added. Exact once all tasks that add have ended or been joined.
    pub fn value(&self) -> u64 {
        self.value.load(Relaxed)
    }

    /// Adds one. In a task of the runtime that the owner of [`Way::Message`] may live on.
    pub async fn add(self: &Arc<Self>) {
        match self.way {
            Way::StdMutex => {
                let _held = self.std.lock().unwrap_or_else(PoisonError::into_inner);
                let read = self.value.load(Relaxed);
                self.section.spend_blocking();
                self.value.store(read + 1, Relaxed);
            }
            Way::StdReleased => {
                let read = self.locked(|value| value.load(Relaxed));
                self.section.spend().await;
                self.locked(|value| value.store(read + 1, Relaxed));
            }
            Way::TokioMutex => {
                let _held = self.tokio.lock().await;
                self.inside().await;
            }
            Way::Semaphore(_) => {
                let _held = self.semaphore.acquire().await.expect("nobody closes it");
                self.inside().await;
            }
            Way::Message => {
                let owner = self.owner.get_or_init(|| self.own());
                let (answer, answered) = oneshot::channel();
                // Both fail only while the runtime is being shut down, and then nobody counts this addition.
                let _ = owner.send(answer).await;
                let _ = answered.await;
            }
        }
    }

    async fn inside(&self) {
        let read = self.value.load(Relaxed);
        self.section.spend().await;
        self.value.store(read + 1, Relaxed);
    }

    fn locked<T>(&self, does: impl FnOnce(&AtomicU64) -> T) -> T {
        let _held = self.std.lock().unwrap_or_else(PoisonError::into_inner);
        does(&self.value)
    }

    /// Starts the task that owns the value. It holds no `Sender`, and so ends with the last task that adds.
    fn own(self: &Arc<Self>) -> mpsc::Sender<Request> {
        let (ask, mut asked) = mpsc::channel::<Request>(MAILBOX);
        let shared = Arc::downgrade(self);
        tokio::spawn(async move {
            while let Some(answer) = asked.recv().await {
                let Some(shared) = shared.upgrade() else { return };
                shared.inside().await;
                let _ = answer.send(());
            }
        });
        ask
    }
}

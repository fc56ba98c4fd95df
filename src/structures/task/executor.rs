//! An executor in one thread: it polls whatever was woken, in the order of the wakes, and sleeps when nothing was.
//!
//! # States of a task
//! | `queued` | future | meaning | `wake` makes it | the executor makes it |
//! |---|---|---|---|---|
//! | false | some | waits for a wake | true, and enters it in the list | - |
//! | true | some | in the list, once | stays true: this wake is one with the earlier one | false, *then* polls |
//! | any | none | done or cancelled | as above; the executor finds nothing to poll | - |
//!
//! A task has a place in the executor, and leaves it when it is done, cancelled, or has panicked; the next one spawned takes that
//! place. A [`TaskId`] names the executor, the place and the number in the order of spawning. So an old id finds somebody else's
//! number in its place and nobody of its own, and an id of another executor is refused.
//!
//! The order "clear, then poll" is the heart of it: a wake that comes during the poll enters the task again. The other way round,
//! such a wake would be taken for one that the poll has answered, and be lost.
//!
//! # Edges
//! - **E1** wake's Release -> the executor's Acquire, both on `queued`: whatever the waker's thread wrote before the wake, the poll
//!   after it sees. The list can't stand in for it: a wake that finds `queued` already true never touches the list.
//!
//! The bell orders nothing (Relaxed): it is rung only by whoever found `asleep` set under the list's lock, and that lock carries
//! the rest.
//!
//! # Limits
//! First in, first out: a task that wakes itself goes to the back, so no task overtakes another twice. No time and no I/O: those are
//! wakers on other threads. One allocation for a task's future, which lives as long as the task, and one for its header, which
//! lives as long as its last waker. Places are as many as tasks were alive at once. A future that panics unwinds through
//! [`Executor::step`], and its task is gone. Ids are numbers of 64 bits and never come back.
//!
//! # Source
//! The contract of `std::task::Waker`; the single flag per task is what `async-task` and tokio call *notified*.

use crate::structures::lock::mutex::Mutex;
use crate::structures::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use crate::structures::sync::atomic::{AtomicBool, AtomicU32};
use crate::structures::sync::futex;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
// std's on every face: the counts of owners, and of executors, are not what is to be shown.
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::task::{Context, Wake, Waker};

/// Tasks, and the thread that polls them: whoever calls [`step`](Self::step) or [`run`](Self::run).
///
/// Uncontended a wake is one swap, a lock and an entry in a list; of a task that is in the list already, the swap alone. See the
/// [module](self) for fairness, memory and panics.
pub struct Executor {
    /// Different from every other executor's.
    number: u64,
    /// Tasks spawned so far.
    spawned: u64,
    /// The places; `None` in those that are free.
    tasks: Vec<Option<Task>>,
    /// The free places; the last one is taken next.
    free: Vec<usize>,
    ready: Arc<Ready>,
}

/// Names a task of one executor; never given twice. The ids of one executor are in the order of spawning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    executor: u64,
    number: u64,
    place: usize,
}

impl TaskId {
    /// Its number in the order of spawning, from 0.
    pub fn index(self) -> usize {
        self.number as usize
    }
}

/// One poll that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Polled {
    /// Whose future it was.
    pub task: TaskId,
    /// How many polls it has had, with this one.
    pub polls_count: u64,
    /// Whether this poll was the last, since it returned `Ready`.
    pub done: bool,
}

struct Task {
    future: Pin<Box<dyn Future<Output = ()>>>,
    header: Arc<Header>,
    polls_count: u64,
}

/// The part of a task that wakers hold on to.
struct Header {
    id: TaskId,
    /// In the list already: the table above.
    queued: AtomicBool,
    ready: Arc<Ready>,
}

/// Who is to be polled, and how to wake the executor itself.
struct Ready {
    list: Mutex<List>,
    /// 0: the executor sleeps, or is about to; 1: rung.
    bell: AtomicU32,
}

struct List {
    woken: VecDeque<TaskId>,
    /// The executor found nothing to do; whoever adds something clears it and rings.
    asleep: bool,
}

impl Default for Executor {
    /// Without a task.
    fn default() -> Self {
        Self::new()
    }
}

impl Executor {
    /// Without a task.
    pub fn new() -> Self {
        static NUMBER: StdMutex<u64> = StdMutex::new(0);
        let mut number = NUMBER.lock().unwrap_or_else(PoisonError::into_inner);
        *number += 1;
        let list = Mutex::new(List { woken: VecDeque::new(), asleep: false });
        Self {
            number: *number,
            spawned: 0,
            tasks: Vec::new(),
            free: Vec::new(),
            ready: Arc::new(Ready { list, bell: AtomicU32::new(0) }),
        }
    }

    /// Adds a task; it is ready for its first poll at once. Nothing runs before [`step`](Self::step).
    pub fn spawn(&mut self, future: impl Future<Output = ()> + 'static) -> TaskId {
        let place = self.free.pop().unwrap_or_else(|| {
            self.tasks.push(None);
            self.tasks.len() - 1
        });
        let id = TaskId { executor: self.number, number: self.spawned, place };
        self.spawned += 1;
        let header = Header { id, queued: AtomicBool::new(false), ready: Arc::clone(&self.ready) };
        let header = Arc::new(header);
        header.wake_by_ref();
        self.tasks[place] = Some(Task { future: Box::pin(future), header, polls_count: 0 });
        id
    }

    /// A waker of this task, for any thread; the same that its polls are given. Of a task that is gone, one that does nothing.
    ///
    /// # Panics
    /// If the id is another executor's.
    pub fn waker(&self, task: TaskId) -> Waker {
        self.check(task);
        match &self.tasks[task.place] {
            Some(found) if found.header.id == task => Waker::from(Arc::clone(&found.header)),
            _ => Waker::noop().clone(),
        }
    }

    /// Who waits to be polled, first in front. A snapshot: another thread may wake somebody at any time.
    pub fn ready(&self) -> Vec<TaskId> {
        self.ready.list.lock().woken.iter().copied().collect()
    }

    /// Tasks that are neither done nor cancelled.
    pub fn alive_count(&self) -> usize {
        self.tasks.len() - self.free.len()
    }

    /// Places for tasks: as many as were alive at once, at most.
    pub fn places_count(&self) -> usize {
        self.tasks.len()
    }

    /// Drops the task's future where it stands, at the await where it last returned `Pending`. False if it was gone already.
    ///
    /// # Panics
    /// If the id is another executor's; and if dropping the future panics.
    pub fn cancel(&mut self, task: TaskId) -> bool {
        self.check(task);
        self.take(task).is_some()
    }

    /// Polls the task that was woken first; `None` if none is awake. Never waits.
    ///
    /// # Panics
    /// If the future panics; its task is gone then.
    pub fn step(&mut self) -> Option<Polled> {
        loop {
            let id = self.ready.list.lock().woken.pop_front()?;
            if let Some(polled) = self.poll(id) {
                return Some(polled);
            } // else it was cancelled after it was woken
        }
    }

    /// Polls until no task is left; sleeps while none is awake. A task that nobody will ever wake makes it sleep for ever.
    ///
    /// # Panics
    /// As [`step`](Self::step).
    pub fn run(&mut self) {
        while self.alive_count() > 0 {
            if self.step().is_none() {
                self.ready.sleep();
            }
        }
    }

    fn check(&self, task: TaskId) {
        assert!(task.executor == self.number, "the id of another executor's task");
    }

    /// Takes the task out of its place, which is then free; `None` if it is gone.
    fn take(&mut self, id: TaskId) -> Option<Task> {
        let task = self.tasks[id.place].take_if(|task| task.header.id == id)?;
        self.free.push(id.place);
        Some(task)
    }

    fn poll(&mut self, id: TaskId) -> Option<Polled> {
        let mut task = self.take(id)?; // so that a panic leaves no half-run future behind, and a free place
        // E1. A swap and not a store: it must read the last wake's `true`, to get what that waker wrote. And before the poll.
        task.header.queued.swap(false, Acquire);
        task.polls_count += 1;
        let polls_count = task.polls_count;
        let waker = Waker::from(Arc::clone(&task.header));
        let done = task.future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        if !done {
            let place = self.free.pop(); // the one that was just freed: a future can't reach the executor that polls it
            debug_assert_eq!(place, Some(id.place), "nobody took the place during the poll");
            self.tasks[id.place] = Some(task);
        }
        Some(Polled { task: id, polls_count, done })
    }
}

impl Ready {
    /// Sleeps until somebody rings, unless something was woken meanwhile.
    fn sleep(&self) {
        let mut list = self.list.lock();
        if !list.woken.is_empty() {
            return;
        }
        list.asleep = true;
        self.bell.store(0, Relaxed); // under the lock, so before any ring
        drop(list);
        while self.bell.load(Relaxed) == 0 {
            futex::wait(&self.bell, 0);
        }
    }

    fn enter(&self, id: TaskId) {
        let mut list = self.list.lock();
        list.woken.push_back(id);
        let ring = std::mem::take(&mut list.asleep);
        drop(list); // first, or the executor would wake up only to wait for the lock
        if ring {
            self.bell.store(1, Relaxed);
            futex::wake_one(&self.bell);
        }
    }
}

impl Wake for Header {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // E1. Of several wakes before a poll, the first alone enters the list; but each of them releases.
        if !self.queued.swap(true, Release) {
            self.ready.enter(self.id);
        }
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("alive_count", &self.alive_count()).finish_non_exhaustive()
    }
}

//! Who did what, and when, on a tokio runtime: the events behind a picture.
//!
//! Three sources, none of which needs `tokio_unstable`: the callbacks of the runtime's builder (a thread starts, parks, is unparked, stops),
//! a wrapper around a task's future (polls, and wakes through its waker), and a mark around what blocks. A recording belongs to the thread
//! that calls [`record`] and to the threads of the runtimes that it [`hook`]s meanwhile. Without a recording all of this is passed through:
//! the wrapper then polls the future itself, with the waker that it was given.
//!
//! # What the recording itself changes
//! Each event takes a lock that all threads share, for the sake of one order, and some 100 ns. A task's waker is no longer tokio's own. So
//! a traced run shows who waits for whom; how long is what the untraced measurement is for.
//!
//! # Limits
//! A task that was not wrapped is not seen: its worker looks busy with nothing. What blocks is shown only where it was marked. At most
//! [`MOST`] events; the rest is counted.
use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Wake, Waker},
    thread::{self, ThreadId},
    time::Instant,
};

use tokio::runtime::{Builder, worker_index};

use super::lateness;
use crate::lab::{Contender, Point, Step, plan::Plan};

/// More events than this are dropped, and counted.
pub const MOST: usize = 200_000;

/// Plays the cases of a step, each once and traced: its name, and its trace or why there is none.
pub type Tracer = fn(&Plan, &Step) -> Vec<(String, Result<Trace, String>)>;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A thread of the runtime began; workers and the blocking pool alike.
    Start,
    /// It is about to end.
    Stop,
    /// A worker found nothing to do.
    Park,
    /// It was told that there is something.
    Unpark,
    /// A task came to be, and is ready.
    Spawn(usize),
    /// Its poll begins on this thread.
    Poll(usize),
    /// The poll is over; `true`: so is the task.
    Polled(usize, bool),
    /// This thread woke it.
    Wake(usize),
    /// This thread enters a call that blocks.
    Block(&'static str),
    /// It is back.
    Unblock,
}

/// Something happened, at some time, on some thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Since the recording began.
    pub at_ns: u64,
    /// On which thread.
    pub thread: ThreadId,
    /// To which hooked runtime the thread belongs, counted from 0; `None` of threads that belong to none.
    pub runtime: Option<usize>,
    /// As which worker it ran then.
    pub worker: Option<usize>,
    /// What.
    pub what: What,
}

/// A recording that has ended: events in the order in which they happened.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// In order; `at_ns` never goes back.
    pub events: Vec<Event>,
    /// The names of the tasks, by the number that events give them.
    pub tasks: Vec<&'static str>,
    /// Events beyond [`MOST`].
    pub dropped_count: usize,
}

#[derive(Debug)]
struct Recording {
    began: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    trace: Trace,
    runtimes: usize,
    ended: bool,
}

impl Recording {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
    fn event(&self, what: What) {
        let (thread, worker) = (thread::current().id(), worker_index());
        let runtime = CURRENT.with_borrow(|c| c.as_ref().and_then(|c| c.runtime));
        let mut state = self.state();
        if state.ended {
            return; // a runtime that was left behind goes on
        }
        if state.trace.events.len() >= MOST {
            state.trace.dropped_count += 1;
            return;
        }
        // Read under the lock: the order of the events is the order of their times.
        let at_ns = lateness::ns(self.began.elapsed());
        state.trace.events.push(Event { at_ns, thread, runtime, worker, what });
    }
}

/// What a thread belongs to.
#[derive(Clone, Debug)]
struct Current {
    recording: Arc<Recording>,
    runtime: Option<usize>,
}

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

fn current() -> Option<Arc<Recording>> {
    CURRENT.with_borrow(|c| c.as_ref().map(|c| Arc::clone(&c.recording)))
}

fn event(what: What) {
    if let Some(recording) = current() {
        recording.event(what);
    }
}

/// Runs `does` with a recording on this thread, and gives back what happened until it returned. Events of runtimes that were left behind and
/// come later are not recorded.
pub fn record<T>(does: impl FnOnce() -> T) -> (T, Trace) {
    let recording = Arc::new(Recording { began: Instant::now(), state: Mutex::default() });
    let before = CURRENT.replace(Some(Current { recording: Arc::clone(&recording), runtime: None }));
    let done = does();
    CURRENT.set(before);
    let mut state = recording.state();
    state.ended = true;
    (done, std::mem::take(&mut state.trace))
}

/// Records each contender at each parameter, parameter by parameter, once, under `<case> <param>`.
pub fn each<C: AsRef<Contender>, P>(
    roster: &[C],
    points: &[Point<P>],
    play: impl Fn(&C, &P) -> Result<(), String>,
) -> Vec<(String, Result<Trace, String>)> {
    let cells = points.iter().flat_map(|point| roster.iter().map(move |contender| (contender, point)));
    let one = |(contender, point): (&C, &Point<P>)| {
        let (played, trace) = record(|| play(contender, &point.value));
        (format!("{} {}", contender.as_ref().id, point.id()), played.map(|()| trace))
    };
    cells.map(one).collect()
}

/// If this thread is being recorded, so will be the threads of the runtime that this builder builds. Takes the four callbacks.
pub fn hook(builder: &mut Builder) {
    if current().is_some() {
        hook_beside(builder, || {}, || {});
    }
}

/// The same for a caller who wants to know himself when a thread begins and ends: tokio has room for one callback each.
pub fn hook_beside(
    builder: &mut Builder,
    begins: impl Fn() + Send + Sync + 'static,
    ends: impl Fn() + Send + Sync + 'static,
) {
    let Some(recording) = current() else {
        builder.on_thread_start(begins).on_thread_stop(ends);
        return;
    };
    let runtime = {
        let mut state = recording.state();
        state.runtimes += 1;
        Some(state.runtimes - 1)
    };
    builder
        .on_thread_start(move || {
            CURRENT.set(Some(Current { recording: Arc::clone(&recording), runtime }));
            event(What::Start);
            begins();
        })
        .on_thread_stop(move || {
            ends();
            event(What::Stop);
        })
        .on_thread_park(|| event(What::Park))
        .on_thread_unpark(|| event(What::Unpark));
}

/// For a thread that the caller starts and that is to belong to the same recording: what it must call first. The thread of a runtime of one
/// thread is such a thread; the builder's callbacks leave it out.
pub fn carry() -> impl FnOnce() + Send {
    let recording = current();
    move || {
        if let Some(recording) = recording {
            CURRENT.set(Some(Current { recording, runtime: None }));
        }
    }
}

/// The future under a name; if this thread is being recorded, its polls and wakes are events from now on.
pub fn task<F: Future>(name: &'static str, future: F) -> impl Future<Output = F::Output> {
    let traced = current().map(|recording| {
        let task = {
            let mut state = recording.state();
            state.trace.tasks.push(name);
            state.trace.tasks.len() - 1
        };
        recording.event(What::Spawn(task));
        (recording, task)
    });
    async move {
        let Some((recording, task)) = traced else { return future.await };
        let mut future = pin!(future);
        // The tracing waker, and tokio's that it stands for: it is made anew only when that one is another.
        let mut waker: Option<(Waker, Waker)> = None;
        poll_fn(|cx| {
            if waker.as_ref().is_none_or(|(inner, _)| !inner.will_wake(cx.waker())) {
                let inner = cx.waker().clone();
                let traced = TracedWaker { inner: inner.clone(), recording: Arc::clone(&recording), task };
                waker = Some((inner, Waker::from(Arc::new(traced))));
            }
            recording.event(What::Poll(task));
            let waker = waker.as_ref().map_or(cx.waker(), |(_, traced)| traced);
            let polled = future.as_mut().poll(&mut Context::from_waker(waker));
            recording.event(What::Polled(task, polled.is_ready()));
            polled
        })
        .await
    }
}

struct TracedWaker {
    inner: Waker,
    recording: Arc<Recording>,
    task: usize,
}

impl Wake for TracedWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }
    fn wake_by_ref(self: &Arc<Self>) {
        self.recording.event(What::Wake(self.task)); // first: afterwards its poll may have begun
        self.inner.wake_by_ref();
    }
}

/// Does what blocks; if this thread is being recorded, from when to when is an event.
pub fn blocking<T>(call: &'static str, does: impl FnOnce() -> T) -> T {
    /// So that a panic in the call leaves no open end.
    struct Back;
    impl Drop for Back {
        fn drop(&mut self) {
            event(What::Unblock);
        }
    }
    event(What::Block(call));
    let _back = Back;
    does()
}

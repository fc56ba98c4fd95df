//! A task whose source is never empty, on a runtime of one thread: who else gets a turn, and after how many items?
//!
//! Each time before it takes items, the reader puts as many in. So every await is ready at once, and nothing but the way of reading decides
//! whether the task ever gives the thread back.
use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task,
};

use crate::{
    lab::{Contender, Setting},
    measure::{
        lateness::{Lateness, Schedule, timer_probe},
        work,
    },
};

/// Items that one `recv_many` may take.
pub const MANY: usize = 32;
/// Items between two explicit yields.
pub const EVERY: u64 = 32;
/// A timer fires so often.
const TICK: Duration = Duration::from_millis(5);
/// What is done with each item beside a timer.
pub const HANDLING_NS: f64 = 5_000.0;

/// How a task takes items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// `recv` of tokio's channel.
    Recv,
    /// `recv_many` of the same, [`MANY`] at a time.
    RecvMany,
    /// `recv` inside of `task::unconstrained`.
    Unconstrained,
    /// A future that does not know tokio's budget, and is ready at once.
    Foreign,
    /// The same, with `consume_budget` after each item.
    Consuming,
    /// The same, with `yield_now` after each [`EVERY`] items.
    Yielding,
    /// Nothing is read: the control of the timer.
    Nothing,
}

const fn taking(id: &'static str, name: &'static str, value: Taking) -> Setting<Taking> {
    Setting { is: Contender::new(id).called(name), value }
}

/// The ways that read.
pub const TAKINGS: [Setting<Taking>; 6] = [
    taking("recv", "tokio mpsc, one at a time", Taking::Recv),
    taking("unconstrained", "the same in unconstrained", Taking::Unconstrained),
    taking("recv_many", "tokio mpsc, 32 at a time", Taking::RecvMany),
    taking("foreign", "queue without a budget", Taking::Foreign),
    taking("consuming", "the same, with the budget", Taking::Consuming),
    taking("yielding", "the same, yields each 32", Taking::Yielding),
];

/// The same, and nobody who reads.
pub const TIMED: [Setting<Taking>; 7] = {
    let [recv, unconstrained, many, foreign, consuming, yielding] = TAKINGS;
    [
        taking("nobody", "nobody reads", Taking::Nothing),
        recv,
        unconstrained,
        many,
        foreign,
        consuming,
        yielding,
    ]
};

/// A queue as a crate without tokio would have it: never pending while there is an item.
#[derive(Default)]
struct Queue(VecDeque<u64>);

/// Takes one item out of a [`Queue`].
struct Take<'a>(&'a mut Queue);

impl Future for Take<'_> {
    type Output = u64;
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u64> {
        // Nobody else puts anything in, so there would be nobody to wake.
        self.0.0.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// Where the items come from.
struct Source {
    to: UnboundedSender<u64>,
    from: UnboundedReceiver<u64>,
    queue: Queue,
    many: Vec<u64>,
}

impl Source {
    fn new() -> Self {
        let (to, from) = unbounded_channel();
        Self { to, from, queue: Queue::default(), many: Vec::with_capacity(MANY) }
    }

    /// Puts items in and takes them, and says how many and their sum.
    async fn next(&mut self, how: Taking, made: u64) -> (u64, u64) {
        match how {
            Taking::Recv | Taking::Unconstrained => {
                let _ = self.to.send(made);
                (1, self.from.recv().await.unwrap_or_default())
            }
            Taking::RecvMany => {
                let items = MANY as u64;
                for item in made..made + items {
                    let _ = self.to.send(item);
                }
                self.many.clear();
                let taken = self.from.recv_many(&mut self.many, MANY).await;
                (taken as u64, self.many.iter().sum())
            }
            Taking::Foreign | Taking::Consuming | Taking::Yielding => {
                self.queue.0.push_back(made);
                let item = Take(&mut self.queue).await;
                if how == Taking::Consuming {
                    task::coop::consume_budget().await;
                }
                if how == Taking::Yielding && (made + 1).is_multiple_of(EVERY) {
                    task::yield_now().await;
                }
                (1, item)
            }
            Taking::Nothing => (0, 0),
        }
    }

    /// Reads as long as it is to go on, handing each batch to `handle`. Gives back how many items it took, or that some were not the ones put in.
    async fn read(
        mut self,
        how: Taking,
        go_on: impl Fn(u64) -> bool,
        handle: impl Fn(u64),
    ) -> Result<u64, String> {
        let (mut taken, mut sum) = (0_u64, 0_u64);
        while go_on(taken) {
            let (items, of) = self.next(how, taken).await;
            taken += items;
            sum = sum.wrapping_add(of);
            handle(items);
        }
        let due = (0..taken).fold(0_u64, u64::wrapping_add);
        if sum == due { Ok(taken) } else { Err(format!("{taken} items were taken, and not those put in")) }
    }
}

/// The reader as its task runs it.
async fn reader(how: Taking, go_on: impl Fn(u64) -> bool, handle: impl Fn(u64)) -> Result<u64, String> {
    let read = Source::new().read(how, go_on, handle);
    if how == Taking::Unconstrained { task::coop::unconstrained(read).await } else { read.await }
}

fn one_thread() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_time().build().map_err(|e| format!("no runtime: {e}"))
}

/// What another task saw of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turns {
    /// Items that the reader took.
    pub taken_count: u64,
    /// Turns that the other task got before the last of them.
    pub turns_count: u64,
    /// Items that were taken when it got the last of these turns: what comes after it was for no turn.
    pub until_last_count: u64,
    /// The most items that were taken between two turns, or before the first, or after the last.
    pub between_max_count: u64,
}

/// A reader takes so many items, beside a task that is always ready and only yields.
///
/// # Errors
/// A reason: no runtime to be had, or items that were lost.
pub fn turns(how: Taking, items: u64) -> Result<Turns, String> {
    let (taken, ended) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let runtime = one_thread()?;
    let (theirs, over) = (Arc::clone(&taken), Arc::clone(&ended));
    let other = async move {
        let (mut turns_count, mut until_last_count, mut between_max_count, mut seen) = (0, 0, 0, 0);
        loop {
            let now = theirs.load(Relaxed);
            between_max_count = between_max_count.max(now - seen);
            seen = now;
            if over.load(Relaxed) {
                return (turns_count, until_last_count, between_max_count);
            }
            turns_count += u64::from(now > 0);
            until_last_count = now;
            task::yield_now().await;
        }
    };
    let read = async move {
        let handle = |items| {
            taken.fetch_add(items, Relaxed);
        };
        let read = reader(how, |taken| taken < items, handle).await;
        ended.store(true, Relaxed);
        read
    };
    let (other, read) = runtime.block_on(async {
        let (other, read) = (tokio::spawn(other), tokio::spawn(read));
        (other.await, read.await)
    });
    let (turns_count, until_last_count, between_max_count) =
        other.map_err(|e| format!("the other task is gone: {e}"))?;
    let taken_count = read.map_err(|e| format!("the reader is gone: {e}"))??;
    Ok(Turns { taken_count, turns_count, until_last_count, between_max_count })
}

/// How late a timer was beside a reader, and how many items that took.
#[derive(Clone, Debug)]
pub struct Beside {
    /// The timer's lateness, tick by tick.
    pub late: Lateness,
    /// Items that the reader took.
    pub taken_count: u64,
}

/// A reader takes items for a window, handling each for [`HANDLING_NS`], beside a task with a timer that is due every 5 ms of it. Ticks that
/// were due in the window are handled after it, if not before.
///
/// # Errors
/// A reason: no runtime to be had, or items that were lost.
pub fn beside_timer(how: Taking, window: Duration, ns_per_iteration: f64) -> Result<Beside, String> {
    let runtime = one_thread()?;
    let handling = work::iterations(HANDLING_NS, ns_per_iteration);
    let (late, read) = runtime.block_on(async move {
        let started = Instant::now();
        let schedule = Schedule::over(window.max(TICK), TICK);
        let late = tokio::spawn(timer_probe(started, schedule));
        // So that the first timer is set before the reader begins.
        task::yield_now().await;
        let read = tokio::spawn(async move {
            if how == Taking::Nothing {
                return Ok(0);
            }
            let handle = |items| (0..items).for_each(|_| work::spin(handling));
            reader(how, |_| started.elapsed() < window, handle).await
        });
        (late.await, read.await)
    });
    let late = late.map_err(|e| format!("the timer's task is gone: {e}"))?;
    let taken_count = read.map_err(|e| format!("the reader is gone: {e}"))??;
    Ok(Beside { late, taken_count })
}

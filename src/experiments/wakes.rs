//! Who wakes whom: three tasks on our executor and a thread outside, with each wake put down to its author.
//!
//! No waker is instrumented for it. After each poll one looks at who is new in the executor's list: no other task and no other thread
//! was running, so the task that was polled has woken them.
use std::{collections::BTreeMap, thread};

use tokio::sync::mpsc;

use crate::structures::task::{
    executor::{Executor, TaskId},
    machine::turn,
};

/// Who wakes, or is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// The first poll is by its hand.
    Spawn,
    /// Catches a ball and throws it to the other.
    Ping,
    /// The other.
    Pong,
    /// Wakes itself.
    Yielder,
    /// A thread outside.
    Outside,
}

/// Who woke whom, and how often: `ping` and `pong` throw a ball `balls` times each, `yielder` yields as often, and `outside` throws
/// the ball in. The first polls are by the hand of `spawn`.
///
/// # Panics
/// If the outside thread can't be started.
pub fn wakes(balls: u32) -> BTreeMap<(Who, Who), f64> {
    let (to_ping, mut ping) = mpsc::unbounded_channel();
    let (to_pong, mut pong) = mpsc::unbounded_channel();
    let thrower = to_ping.clone();
    let mut executor = Executor::new();
    executor.spawn(async move {
        for _ in 0..=balls {
            ping.recv().await;
            let _ = to_pong.send(()); // after the last ball, pong is gone
        }
    });
    executor.spawn(async move {
        for _ in 0..balls {
            pong.recv().await;
            let _ = to_ping.send(());
        }
    });
    executor.spawn(async move {
        for _ in 0..balls {
            turn().await;
        }
    });
    let mut wakes = BTreeMap::new();
    let note = |wakes: &mut BTreeMap<_, f64>, who: Who, before: &[TaskId], after: &[TaskId]| {
        for task in after.iter().filter(|task| !before.contains(task)) {
            *wakes.entry((who, TASKS[task.index()])).or_default() += 1.0;
        }
    };
    note(&mut wakes, Who::Spawn, &[], &executor.ready());
    let mut thrower = Some(thrower);
    loop {
        // The polled task leaves the list when it is taken: if it is there afterwards, it was woken by its own poll.
        let before: Vec<TaskId> = executor.ready().into_iter().skip(1).collect();
        if let Some(polled) = executor.step() {
            note(&mut wakes, TASKS[polled.task.index()], &before, &executor.ready());
        } else if let Some(thrower) = thrower.take() {
            // Joined before the next poll, so that a wake is either this thread's or the polled task's.
            let thrown = thread::spawn(move || thrower.send(()).is_ok()).join();
            assert!(thrown.is_ok_and(|sent| sent), "ping waits for the ball");
            note(&mut wakes, Who::Outside, &[], &executor.ready());
        } else {
            return wakes;
        }
    }
}

/// In the order of spawning.
const TASKS: [Who; 3] = [Who::Ping, Who::Pong, Who::Yielder];

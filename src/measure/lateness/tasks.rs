//! Victims that are tasks on a tokio runtime.
//!
//! Each probe changes what it observes: a timer keeps a worker coming back to the time driver, and a wake from outside makes
//! an idle worker look for work, which can cure the very starvation one is looking for. So they are separate, and a lab that
//! uses both must also run with one.
use std::{
    io,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::{Lateness, Schedule, ns};

/// The victim that sleeps from tick to tick. Undisturbed it is 0 to 2 ms late, since tokio's timers count whole milliseconds.
///
/// Must run on a runtime with time enabled. Ends when all ticks were handled; if the runtime never runs it again, it does not
/// end, so wait for it with a deadline, from outside the runtime.
pub async fn timer_probe(start: Instant, mut schedule: Schedule) -> Lateness {
    while let Some(due_ns) = schedule.next_ns() {
        tokio::time::sleep_until((start + Duration::from_nanos(due_ns)).into()).await;
        schedule.arrive(ns(start.elapsed()));
    }
    schedule.into_lateness()
}

/// The thread that wakes the victim from outside.
#[derive(Debug)]
pub struct OutsideSender(JoinHandle<Lateness>);

impl OutsideSender {
    /// Waits until all ticks were sent, and says how late each was sent: since no runtime had a part in it, that is what the
    /// machine did to a thread that did nothing but sleep. `None` if the thread panicked.
    pub fn lateness(self) -> Option<Lateness> {
        self.0.join().ok()
    }
}

/// Starts an OS thread that sends the time at each tick. The channel has no bound, so the thread never waits for the victim;
/// it ends on its own after the last tick.
///
/// # Errors
/// If the thread can't be started.
pub fn outside_wakes(
    start: Instant,
    mut schedule: Schedule,
) -> io::Result<(OutsideSender, UnboundedReceiver<Instant>)> {
    let (wake, wakes) = unbounded_channel();
    let sender = thread::Builder::new().name("outside wake".into()).spawn(move || {
        while let Some(due_ns) = schedule.next_ns() {
            thread::sleep((start + Duration::from_nanos(due_ns)).saturating_duration_since(Instant::now()));
            for _ in 0..schedule.arrive(ns(start.elapsed())) {
                // A victim that is gone is not the sender's business: whoever waits for its report will notice.
                let _ = wake.send(Instant::now());
            }
        }
        schedule.into_lateness()
    })?;
    Ok((OutsideSender(sender), wakes))
}

/// The victim that waits to be woken; late from the moment of sending to the moment it runs, which has no floor of whole
/// milliseconds. Ends when the sender has ended and all its wakes were handled; wait for it with a deadline, as above.
pub async fn wake_probe(mut wakes: UnboundedReceiver<Instant>) -> Lateness {
    let mut late = Lateness::new();
    while let Some(sent) = wakes.recv().await {
        late.record_ns(ns(sent.elapsed()));
    }
    late
}

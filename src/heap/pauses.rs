//! The log of pauses, and the watchdog over the one that does not end.
use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::workers::{Use, Workers};

/// What a pause did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Collected the objects allocated since the last pause (generational collectors).
    Young,
    /// Collected the whole heap.
    Full,
    /// Began to mark while the program runs (concurrent collectors).
    InitialMark,
    /// Ended that marking and freed what was not marked.
    FinalMark,
}

/// One time at which the world stood still.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    /// What it did.
    pub kind: Kind,
    /// When the stop was asked for, since the heap was made.
    pub asked_at: Duration,
    /// From then until the last mutator had stopped: the time to safepoint.
    pub reach: Duration,
    /// From the last mutator's stop until the first may go on.
    pub stopped: Duration,
    /// CPU time and run-queue delay of all collector threads from the request to the end; `None` where the system can't tell.
    pub used: Option<Use>,
}

impl Pause {
    /// The whole time for which a mutator that polled at once stood still.
    pub fn whole(&self) -> Duration {
        self.reach + self.stopped
    }

    /// True if others kept the collector threads from their CPUs, so that it was longer than the collection: for more than a tenth
    /// of it and more than 20 us, which a wake-up may take. Unknown counts as no. By the scheduler's clock alone, never by the length.
    ///
    /// A pause in which a quota ran out is not judged: some time passes between the renewal of a quota, which ends the kernel's count of
    /// throttled time, and the thread's next turn, and the books show it like a neighbour's doing. Of neighbours the run itself knows.
    pub fn disturbed(&self) -> bool {
        const SHARE: u32 = 10;
        const WAKE_UP: Duration = Duration::from_micros(20);
        self.used.is_some_and(|used| {
            used.throttled.is_zero() && used.displaced() > WAKE_UP.max(self.whole() / SHARE)
        })
    }
}

/// A pause that should be over by now, and where it hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// Since a mutator asked for the collection.
    pub since: Duration,
    /// How far it is.
    pub phase: Phase,
}

/// How far a collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Asked for; no collector thread has taken it up.
    Asked,
    /// The collector waits for this many mutators to reach a safepoint.
    Reaching(u32),
    /// The world has stopped and the collector works.
    Collecting,
    /// A collector thread has panicked (its message is on stderr): this collection never ends.
    Died,
}

impl fmt::Display for Overdue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a collection has not ended after {:.1} s: ", self.since.as_secs_f64())?;
        match self.phase {
            Phase::Asked => write!(f, "no collector thread took it up"),
            Phase::Reaching(n) => write!(f, "{n} mutators did not reach a safepoint"),
            Phase::Collecting => write!(f, "the collector threads do not come to an end"),
            Phase::Died => write!(f, "a collector thread panicked"),
        }
    }
}

/// What is known of the pause under way. Only collector threads touch it, one after the other.
#[derive(Clone, Copy, Debug)]
struct Now {
    kind: Kind,
    asked: Instant,
    stopped: Instant,
    used: Option<Use>,
}

/// All pauses of a heap.
#[derive(Debug)]
pub(super) struct Pauses {
    born: Instant,
    /// For the watchdog: when the collection under way was asked for, in ns since `born`; 0 for none.
    since: AtomicU64,
    /// And when the world stopped; 0 if it has not.
    stopped: AtomicU64,
    died: AtomicBool,
    now: Mutex<Option<Now>>,
    done: Mutex<Vec<Pause>>,
}

impl Pauses {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            since: AtomicU64::new(0),
            stopped: AtomicU64::new(0),
            died: AtomicBool::new(false),
            now: Mutex::new(None),
            done: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn born(&self) -> Instant {
        self.born
    }

    /// Never 0, so that 0 can mean "none".
    fn clock(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    /// A mutator waits for a collection. Several may; the first counts.
    pub(super) fn awaited(&self) {
        let _ = self.since.compare_exchange(0, self.clock(), Relaxed, Relaxed);
    }

    /// A collector thread is about to stop the world. What is slow to ask comes before the clock.
    pub(super) fn asked(&self, workers: &Workers) -> Asked {
        let used = workers.used();
        self.awaited();
        Asked { at: Instant::now(), used }
    }

    /// The world has stopped.
    pub(super) fn stopped(&self, asked: Asked, kind: Kind) {
        self.stopped.store(self.clock(), Relaxed);
        let now = Now { kind, asked: asked.at, stopped: Instant::now(), used: asked.used };
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
    }

    /// The world is about to go on. Before the mutators run, since whoever waited for this pause must find it in the log, and since one of
    /// them may ask for the next collection at once.
    pub(super) fn over(&self, workers: &Workers) {
        let end = Instant::now();
        let now = self.now.lock().unwrap_or_else(PoisonError::into_inner).take();
        let now = now.expect("the world stopped before it goes on");
        // Two system calls for each collector thread and two for the quota, some us in all, which the mutators wait for and the pause does not count.
        // Afterwards it would be wrong: a collector that loses its CPU to the mutators it has just woken has to wait, too.
        let used = now.used.zip(workers.used()).map(|(before, after)| after - before);
        let pause = Pause {
            kind: now.kind,
            asked_at: now.asked - self.born,
            reach: now.stopped - now.asked,
            stopped: end - now.stopped,
            used,
        };
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(pause);
        self.stopped.store(0, Relaxed);
        self.since.store(0, Relaxed);
    }

    /// All pauses that are over, oldest first.
    pub(super) fn done(&self) -> Vec<Pause> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn count(&self) -> usize {
        self.done.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A collector thread has panicked.
    pub(super) fn died(&self) {
        self.awaited();
        self.died.store(true, Relaxed);
    }

    /// The collection under way if it was asked for longer ago than `bound`, or will never end.
    pub(super) fn overdue(&self, bound: Duration, running: u32) -> Option<Overdue> {
        let since = self.since.load(Relaxed);
        let age = Duration::from_nanos(self.clock().saturating_sub(since));
        if self.died.load(Relaxed) {
            return Some(Overdue { since: age, phase: Phase::Died });
        }
        if since == 0 || age <= bound {
            return None;
        }
        let phase = match (self.stopped.load(Relaxed), running) {
            (0, 0) => Phase::Asked,
            (0, n) => Phase::Reaching(n),
            _ => Phase::Collecting,
        };
        Some(Overdue { since: age, phase })
    }
}

/// What [`Pauses::asked`] saw.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    at: Instant,
    used: Option<Use>,
}

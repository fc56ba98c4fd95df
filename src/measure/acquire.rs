//! How long single acquisitions wait, and who gets them: threads that take one lock over and over until they are told to stop.
//!
//! Throughput is [`crate::measure::throughput`]'s business; this is a closed loop that looks at every n-th acquisition with a clock, and at
//! every one with a note that is written under the lock: who had it last, and how often in a row. So a run of acquisitions by one
//! thread is counted exactly, and waits are sampled.
//!
//! More threads than CPUs are allowed: then a wait also has the scheduler in it, and the run-queue share says how much.
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    lab::{
        Point,
        plan::Plan,
        sample::{AA, Sample, Side},
    },
    machine::pin_current_thread,
    measure::{order::Order, scatter::Scatter, witness, work},
    stats,
};

/// Runs a closure inside the critical section of a lock that lives in here.
pub type Enter = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

/// How a thread holds the lock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hold {
    /// Computing for about so many ns.
    Busy(f64),
    /// Asleep: needs no CPU, so it is the same on a loaded machine.
    Asleep(Duration),
}

/// Who competes, and how.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// Threads; they may be more than the CPUs.
    pub threads: usize,
    /// What a holder does.
    pub hold: Hold,
    /// What a thread does between two acquisitions, in ns of computing; it loops at once if 0.
    pub think_ns: f64,
    /// Every n-th acquisition of a thread is timed.
    pub sample_every: u64,
    /// How long they compete.
    pub time: Duration,
}

/// What was seen.
#[derive(Clone, Debug)]
pub struct Waits {
    /// Sampled waits, in ns.
    pub waits: Histogram<u64>,
    /// Acquisitions of each thread.
    pub counts: Vec<u64>,
    /// Most acquisitions in a row by one thread while others competed.
    pub longest_run: u64,
    /// How often the lock went to another thread than before, the first time included.
    pub runs: u64,
    /// From when counting began to when it ended.
    pub wall: Duration,
    /// Context switches of all threads; `None` where the system does not count them.
    pub switches: Option<u64>,
    /// CPU time that all threads used, waiting and holding; `None` where the system does not tell.
    pub cpu: Option<Duration>,
    /// Time that threads waited for a CPU, as share of all their time.
    pub runq_share: Option<f64>,
}

/// What is written under the lock. The lock itself orders it; atomics only so that a lock that fails is no undefined behaviour.
#[derive(Debug, Default)]
struct Tenure {
    last: AtomicUsize,
    run: AtomicU64,
    runs: AtomicU64,
    longest: AtomicU64,
}

impl Tenure {
    fn note(&self, lane: usize) {
        let run = if self.last.load(Relaxed) == lane { self.run.load(Relaxed) + 1 } else { 1 };
        if run == 1 {
            self.runs.store(self.runs.load(Relaxed) + 1, Relaxed);
        }
        self.last.store(lane, Relaxed);
        self.run.store(run, Relaxed);
        if run > self.longest.load(Relaxed) {
            self.longest.store(run, Relaxed);
        }
    }
}

/// What the threads of a queue share. All of it relaxed: the stages carry no data.
#[derive(Debug)]
struct Board {
    /// [`READY`], [`GO`], [`COUNT`], [`STOP`].
    stage: AtomicUsize,
    /// Threads that have asked for the lock, or are about to.
    there: AtomicUsize,
    tenure: Tenure,
}

/// Threads start.
const READY: usize = 0;
/// They compete, and nothing counts yet: those who start first would have the lock to themselves for a time slice.
const GO: usize = 1;
/// Everybody has asked; this is measured.
const COUNT: usize = 2;
/// It is over.
const STOP: usize = 3;

/// What a thread brings home.
struct Home {
    waits: Histogram<u64>,
    count: u64,
}

/// A lock's name, and how to make a fresh one.
pub type Contender = (&'static str, fn() -> Enter);

/// Every lock at every parameter, and the first one twice (`A/A`), in random order: one launch. `queue` says who competes at a
/// parameter, or why nobody can here.
pub fn acquire<T>(
    plan: &Plan,
    points: &[Point<T>],
    locks: impl IntoIterator<Item = Contender>,
    queue: impl Fn(&T) -> Result<Queue, String>,
) -> Vec<Sample> {
    let locks: Vec<Contender> = locks.into_iter().collect();
    let mut order = Order::new(plan.seed ^ (plan.launch as u64) << 32);
    let twin = locks.first().map(|(_, make)| (AA, *make));
    let mut turn: Vec<(&Point<T>, Contender)> = points
        .iter()
        .flat_map(|p| twin.into_iter().chain(locks.iter().copied()).map(move |c| (p, c)))
        .collect();
    order.shuffle(&mut turn);
    let mut scatter = Scatter::new(plan);
    let one = |(p, (name, make)): &(&Point<T>, Contender)| match queue(&p.value) {
        Ok(queue) => wait(plan, queue, scatter.make(make)).sample(name, p.id()),
        Err(why) => Sample::unmeasured(name, p.id(), why),
    };
    turn.iter().map(one).collect()
}

/// Lets the threads compete for one lock. Counts what is finished from when every thread has asked once (or a second has passed)
/// until the time is over; waits are also recorded if they end later, so that the longest are not left out. Ends when every
/// thread has had its last turn.
pub fn wait(plan: &Plan, queue: Queue, enter: Enter) -> Waits {
    /// Threads that never get a CPU must not keep the others from being measured.
    const PATIENCE: Duration = Duration::from_secs(1);
    let enter = Arc::new(enter);
    // Once, while nobody competes: threads that calibrate side by side on one CPU would hold for other times than they think.
    let per = work::ns_per_iteration();
    let tenure = Tenure { last: AtomicUsize::new(usize::MAX), ..Tenure::default() };
    let board = Arc::new(Board { stage: AtomicUsize::new(READY), there: AtomicUsize::new(0), tenure });
    let (tell, told) = mpsc::channel();
    let lanes: Vec<_> = (0..queue.threads)
        .map(|lane| {
            let (enter, board, tell) = (enter.clone(), board.clone(), tell.clone());
            let cpu = plan.cpus[lane % plan.cpus.len()];
            thread::spawn(move || {
                pin_current_thread(cpu);
                let _ = tell.send(witness::this_thread());
                while board.stage.load(Relaxed) == READY {
                    thread::yield_now();
                }
                compete(queue, lane, per, &enter, &board)
            })
        })
        .collect();
    // A thread that starts late is no thread that was starved.
    let ids: Vec<_> = (0..queue.threads).map(|_| told.recv().expect("each thread says hello")).collect();
    let begun = Instant::now();
    board.stage.store(GO, Relaxed);
    while board.there.load(Relaxed) < queue.threads && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_micros(50));
    }
    let look = || -> Vec<Look> { ids.iter().map(|&id| Look::at(id)).collect() };
    let before = look();
    let start = Instant::now();
    board.stage.store(COUNT, Relaxed);
    thread::sleep(queue.time);
    let wall = start.elapsed();
    // While the threads still run: of one that has ended nothing is known.
    let after = look();
    board.stage.store(STOP, Relaxed);
    let homes: Vec<Home> =
        lanes.into_iter().map(|l| l.join().expect("a thread that competes does not panic")).collect();
    let mut waits = histogram();
    for home in &homes {
        waits.add(&home.waits).expect("same bounds");
    }
    let spent = |of: fn(&Look) -> Option<u64>| -> Option<u64> {
        before.iter().zip(&after).map(|(b, a)| Some(of(a)?.saturating_sub(of(b)?))).sum()
    };
    Waits {
        waits,
        counts: homes.iter().map(|h| h.count).collect(),
        longest_run: board.tenure.longest.load(Relaxed),
        runs: board.tenure.runs.load(Relaxed),
        wall,
        switches: spent(|l| l.switches),
        cpu: spent(|l| l.cpu_ns).map(Duration::from_nanos),
        runq_share: spent(|l| l.runq_ns)
            .map(|ns| ns as f64 / 1e9 / wall.as_secs_f64() / queue.threads as f64),
    }
}

/// What the kernel says of a thread at one moment; what it does not tell is `None`.
struct Look {
    switches: Option<u64>,
    cpu_ns: Option<u64>,
    runq_ns: Option<u64>,
}

impl Look {
    fn at(id: witness::ThreadId) -> Self {
        Self {
            switches: witness::switches(id),
            cpu_ns: witness::cpu_time_of(id).and_then(|t| u64::try_from(t.as_nanos()).ok()),
            runq_ns: witness::run_queue(id).map(|t| t.runq_ns),
        }
    }
}

/// What two readings of the clock, one after the other, say at least: the shortest time it can tell.
fn clock_ns() -> f64 {
    let least = (0..100).map(|_| {
        let before = Instant::now();
        before.elapsed().as_nanos()
    });
    least.min().unwrap_or_default().max(1) as f64
}

/// 1 ns to a minute, three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds are in order")
}

fn compete(queue: Queue, lane: usize, per: f64, enter: &Enter, board: &Board) -> Home {
    let think = work::iterations(queue.think_ns, per);
    let (busy, asleep) = match queue.hold {
        Hold::Busy(ns) => (work::iterations(ns, per), None),
        Hold::Asleep(time) => (0, Some(time)),
    };
    let (mut waits, mut count, mut turn) = (histogram(), 0, 0);
    board.there.fetch_add(1, Relaxed);
    while board.stage.load(Relaxed) != STOP {
        let asked = (turn % queue.sample_every == 0).then(Instant::now);
        let (mut waited, mut stage) = (None, GO);
        enter(&mut || {
            waited = asked.map(|asked| asked.elapsed());
            match asleep {
                Some(time) => thread::sleep(time),
                None => work::spin(busy),
            }
            // One look decides for the count and the runs.
            stage = board.stage.load(Relaxed);
            if stage == COUNT {
                board.tenure.note(lane);
            }
        });
        if let Some(waited) = waited.filter(|_| stage != GO) {
            waits.saturating_record(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
        }
        count += u64::from(stage == COUNT);
        turn += 1;
        work::spin(think);
    }
    Home { waits, count }
}

impl Waits {
    /// Values: `wait_p50_ns`, `wait_p99_ns` where enough samples support them, `wait_max_ns` (the longest sampled); `mean_run_count` and
    /// `longest_run_count`, acquisitions in a row by one thread;
    /// `jain_share` (1: all threads got the same) and `min_max_share`; `ops_per_s` of all threads; `switches_per_op_count`;
    /// `cpu_per_op_ns`, the CPU time of all threads over all acquisitions: what waiting costs others.
    pub fn sample(&self, case: &str, param: &str) -> Sample {
        let shares: Vec<f64> = self.counts.iter().map(|c| *c as f64).collect();
        let all: f64 = shares.iter().sum();
        if all <= 0.0 {
            return Sample::unmeasured(case, param, "no thread got the lock before the time was over");
        }
        let (min, max) = (
            shares.iter().copied().fold(f64::INFINITY, f64::min),
            shares.iter().copied().fold(0.0, f64::max),
        );
        let mut s = Sample::new(case, param)
            .with("mean_run_count", all / self.runs.max(1) as f64)
            .with("longest_run_count", self.longest_run as f64)
            .with("jain_share", stats::jain(&shares).unwrap_or_default())
            .with("min_max_share", min / max)
            .with("ops_per_s", all / self.wall.as_secs_f64())
            .with("wait_max_ns", self.waits.max() as f64);
        if let Some(switches) = self.switches {
            s = s.with("switches_per_op_count", switches as f64 / all);
            s.receipts.switches_per_s =
                Some(switches as f64 / self.wall.as_secs_f64() / self.counts.len() as f64);
        }
        if let Some(cpu) = self.cpu {
            s = s.with("cpu_per_op_ns", cpu.as_secs_f64() * 1e9 / all);
        }
        let supported = stats::highest_percentile(self.waits.len()).unwrap_or(0.0);
        for (name, percentile) in [("wait_p50_ns", 50.0), ("wait_p99_ns", 99.0)] {
            if percentile <= supported {
                let ns = self.waits.value_at_percentile(percentile) as f64;
                // A wait as short as the clock can tell is a bound.
                s = if ns <= 2.0 * clock_ns() { s.bounded(name, ns, Side::AtMost) } else { s.with(name, ns) };
            }
        }
        s.receipts.kept_count = Some(self.waits.len() as f64);
        s.receipts.runq_share = self.runq_share;
        s.receipts.ops_count = Some(all);
        s
    }
}

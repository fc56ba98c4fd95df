//! How long single acquisitions wait, and who gets them: threads that take one lock over and over until they are told to stop.
//!
//! Throughput is [`crate::engine::crowd`]'s business; this is a closed loop that looks at every n-th acquisition with a clock, and at
//! every one with a note that is written under the lock: who had it last, and how often in a row. So a run of acquisitions by one
//! thread is counted exactly, and waits are sampled.
//!
//! More threads than CPUs are allowed: then a wait also has the scheduler in it, and the run-queue share says how much.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    engine::{witness, work},
    machine::pin_current_thread,
    plan::Plan,
    sample::Sample,
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
    /// Every so-manieth acquisition of a thread is timed.
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
    /// From the start signal to the stop signal.
    pub wall: Duration,
    /// Context switches of all threads; `None` where the system does not count them.
    pub switches: Option<u64>,
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

/// What a thread brings home.
struct Home {
    waits: Histogram<u64>,
    count: u64,
    switches: Option<u64>,
    waited: Option<Duration>,
}

/// Lets the threads compete for one lock. Ends when the time is over and every thread has had its last turn.
pub fn wait(plan: &Plan, queue: Queue, enter: Enter) -> Waits {
    let enter = Arc::new(enter);
    let (go, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let ready = Arc::new(AtomicUsize::new(0));
    // Once, while nobody competes: threads that calibrate side by side on one CPU would hold for other times than they think.
    let per = work::ns_per_iteration();
    let tenure = Arc::new(Tenure { last: AtomicUsize::new(usize::MAX), ..Tenure::default() });
    let lanes: Vec<_> = (0..queue.threads)
        .map(|lane| {
            let (enter, go, stop, tenure) = (enter.clone(), go.clone(), stop.clone(), tenure.clone());
            let ready = ready.clone();
            let cpu = plan.cpus[lane % plan.cpus.len()];
            thread::spawn(move || {
                pin_current_thread(cpu);
                ready.fetch_add(1, Relaxed);
                while !go.load(Relaxed) {
                    thread::yield_now();
                }
                compete(queue, lane, per, &enter, &stop, &tenure)
            })
        })
        .collect();
    // A thread that starts late is no thread that was starved.
    while ready.load(Relaxed) < queue.threads {
        thread::sleep(Duration::from_micros(50));
    }
    let start = Instant::now();
    go.store(true, Relaxed);
    thread::sleep(queue.time);
    stop.store(true, Relaxed);
    let wall = start.elapsed();
    let homes: Vec<Home> =
        lanes.into_iter().map(|l| l.join().expect("a thread that competes does not panic")).collect();
    let mut waits = histogram();
    for home in &homes {
        waits.add(&home.waits).expect("same bounds");
    }
    let waited: Option<Duration> = homes.iter().map(|h| h.waited).sum();
    Waits {
        waits,
        counts: homes.iter().map(|h| h.count).collect(),
        longest_run: tenure.longest.load(Relaxed),
        runs: tenure.runs.load(Relaxed),
        wall,
        switches: homes.iter().map(|h| h.switches).sum(),
        runq_share: waited.map(|w| w.as_secs_f64() / wall.as_secs_f64() / queue.threads as f64),
    }
}

/// 1 ns to a minute, three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds are in order")
}

fn compete(queue: Queue, lane: usize, per: f64, enter: &Enter, stop: &AtomicBool, tenure: &Tenure) -> Home {
    let think = work::iterations(queue.think_ns, per);
    let (busy, asleep) = match queue.hold {
        Hold::Busy(ns) => (work::iterations(ns, per), None),
        Hold::Asleep(time) => (0, Some(time)),
    };
    let (mut waits, mut count) = (histogram(), 0);
    let me = witness::this_thread();
    let (switches, queued) = (witness::switches(me), witness::run_queue(me));
    while !stop.load(Relaxed) {
        let asked = (count % queue.sample_every == 0).then(Instant::now);
        let mut waited = None;
        enter(&mut || {
            waited = asked.map(|asked| asked.elapsed());
            tenure.note(lane);
            match asleep {
                Some(time) => thread::sleep(time),
                None => work::spin(busy),
            }
        });
        if let Some(waited) = waited {
            waits.saturating_record(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
        }
        count += 1;
        work::spin(think);
    }
    Home {
        waits,
        count,
        switches: switches.and_then(|b| Some(witness::switches(me)? - b)),
        waited: queued.and_then(|b| {
            Some(Duration::from_nanos(witness::run_queue(me)?.runq_ns.saturating_sub(b.runq_ns)))
        }),
    }
}

impl Waits {
    /// Values: `wait_p50_ns`, `wait_p99_ns` where enough samples support them, `wait_max_ns` (the longest sampled); `mean_run_count` and
    /// `longest_run_count`, acquisitions in a row by one thread;
    /// `jain_share` (1: all threads got the same) and `min_max_share`; `ops_per_s` of all threads; `switches_per_op_count`.
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
        let supported = stats::highest_percentile(self.waits.len()).unwrap_or(0.0);
        for (name, percentile) in [("wait_p50_ns", 50.0), ("wait_p99_ns", 99.0)] {
            if percentile <= supported {
                s = s.with(name, self.waits.value_at_percentile(percentile) as f64);
            }
        }
        s.receipts.kept_count = Some(self.waits.len() as f64);
        s.receipts.runq_share = self.runq_share;
        s.receipts.ops_count = Some(all);
        s
    }
}

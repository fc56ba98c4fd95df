//! A whole tokio runtime under watch: offenders beside the victims of [`super::tasks`], and what each of them got done.
//!
//! Every runtime here is shut down with a timeout, and everything it should report is awaited with a deadline from an OS thread:
//! a runtime that hangs is a reason in the result, never a hung caller. (`Runtime::drop` would wait for blocked work forever.)
use std::{
    future::Future,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver},
    },
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, Runtime};

use crate::{
    lab::sample::{Receipts, Sample},
    measure::{order::Order, trace},
};

use super::{Lateness, SchedTimes, Schedule, ThreadTimes, ns, outside_wakes, timer_probe, wake_probe};

/// How long a runtime may take to shut down before its threads are left to themselves.
pub(super) const SHUTDOWN: Duration = Duration::from_secs(1);

/// What to watch, with which probes, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct RuntimeWatch {
    /// Worker threads of the runtime.
    pub workers: usize,
    /// For how long ticks are intended; the watch lasts until the last of them was handled.
    pub window: Duration,
    /// The offenders begin at random moments within so long.
    pub spread: Duration,
    /// Period of the timer probe; `None` switches it off.
    pub tick: Option<Duration>,
    /// Period of the outside wake; `None` switches it off.
    pub wake: Option<Duration>,
    /// How long after the window a report is waited for.
    pub patience: Duration,
}

/// What was seen of one runtime, or, merged, of several slices of one case. Durations in ns.
#[derive(Clone, Debug, Default)]
pub struct RuntimeSeen {
    /// Lateness of the timer probe.
    pub timer: Lateness,
    /// Lateness of the task that is woken from outside.
    pub wake: Lateness,
    /// Lateness of the OS thread that does the waking: the machine's share, no runtime involved.
    pub sender: Lateness,
    /// How long each unit of the offenders took, as achieved.
    pub units: Lateness,
    /// From the start to the end of the offenders' last unit.
    pub units_span_ns: u64,
    /// CPU time and run-queue delay of all threads of this process; `None` where the scheduler does not say.
    pub threads: Option<SchedTimes>,
    /// Time that workers spent outside parking, by the runtime's own metrics, read after shutdown. Before, the metric of a
    /// blocked worker is stale: it is published when the worker parks, or every 61 polls.
    pub busy_ns: u64,
    /// Wall time times workers.
    pub worker_time_ns: u64,
    /// Ticks and wakes that were intended, to compare with what was handled.
    pub intended_count: u64,
    /// Offenders that did not finish a single unit of a slice.
    pub idle_offenders_count: u64,
}

impl RuntimeSeen {
    /// Adds another slice of the same case.
    pub fn merge(&mut self, other: &Self) {
        self.timer.merge(&other.timer);
        self.wake.merge(&other.wake);
        self.sender.merge(&other.sender);
        self.units.merge(&other.units);
        self.units_span_ns += other.units_span_ns;
        self.threads = self.threads.zip(other.threads).map(|(a, b)| SchedTimes {
            on_cpu_ns: a.on_cpu_ns + b.on_cpu_ns,
            runq_ns: a.runq_ns + b.runq_ns,
        });
        self.busy_ns += other.busy_ns;
        self.worker_time_ns += other.worker_time_ns;
        self.intended_count += other.intended_count;
        self.idle_offenders_count += other.idle_offenders_count;
    }
    /// `timer_*`, `wake_*`, `sender_*` of the probes that ran; with offenders `units_per_s` (all together) and, as achieved,
    /// `unit_mean_ns` and `unit_max_ns`; `busy_share` and `cpu_share`, both of the workers' time; `cpu_per_busy_ratio`, which far
    /// below 1 means that the workers were occupied without using a CPU, the signature of blocking. (Above 1 it means nothing:
    /// the CPU time is the whole process's, with the waking thread, and parking itself costs some.)
    pub fn values(&self) -> Vec<(String, f64)> {
        let named = [("timer", &self.timer), ("wake", &self.wake), ("sender", &self.sender)];
        let ran = named.iter().filter(|(_, late)| late.samples_count() > 0);
        let mut values: Vec<_> = ran.flat_map(|(name, late)| late.values(name)).collect();
        let mut put = |name: &str, over: f64, under: u64| {
            if under > 0 {
                values.push((name.into(), over / under as f64));
            }
        };
        put("unit_mean_ns", self.units.total_ns(), self.units.samples_count());
        put("unit_max_ns", self.units.max_ns().unwrap_or_default(), self.units.samples_count().min(1));
        put("units_per_s", self.units.samples_count() as f64 * 1e9, self.units_span_ns);
        put("busy_share", self.busy_ns as f64, self.worker_time_ns);
        if let Some(threads) = self.threads {
            put("cpu_share", threads.on_cpu_ns as f64, self.worker_time_ns);
            put("cpu_per_busy_ratio", threads.on_cpu_ns as f64, self.busy_ns);
        }
        values
    }
    /// Ticks and wakes that were handled.
    pub fn handled_count(&self) -> u64 {
        self.timer.samples_count() + self.wake.samples_count()
    }
    /// The sample of a case from its slices: their sum, with the receipts and the doubts that the counts give rise to.
    pub fn sample(slices: Vec<Self>) -> Sample {
        let kept_count = slices.len() as f64;
        let merged = slices.into_iter().reduce(|mut seen, slice| {
            seen.merge(&slice);
            seen
        });
        let seen = merged.unwrap_or_default();
        let mut sample = Sample::default();
        sample.values.extend(seen.values());
        sample.receipts = Receipts {
            kept_count: Some(kept_count),
            dropped_count: Some(0.0),
            runq_share: seen.threads.map(|t| t.runq_ns as f64 / seen.worker_time_ns as f64),
            ops_count: Some(seen.handled_count() as f64),
            ..Receipts::default()
        };
        if seen.handled_count() != seen.intended_count {
            sample.doubts.push(format!(
                "{} of {} ticks were handled",
                seen.handled_count(),
                seen.intended_count
            ));
        }
        if seen.idle_offenders_count > 0 {
            sample.doubts.push(format!("{} tasks never finished a unit", seen.idle_offenders_count));
        }
        sample
    }
}

/// What a task tells the watching thread when it ends.
enum Report {
    Timer(Lateness),
    Wake(Lateness),
    Offender { units: Lateness, last_ns: u64 },
}

/// Runs `offenders` tasks on a fresh runtime, each doing `rest`, then `unit`, over and over, and watches it with the probes.
/// `rest` is told when the watch started; it comes first, so that what wakes the task has woken it for its first unit too. The offenders go on until the victims have handled their last tick, so that no tick is
/// early because its tormentors had left.
///
/// # Errors
/// A reason: no thread or runtime to be had, or a report that did not come within the window and the patience.
pub fn watch_runtime<U, R>(
    watch: &RuntimeWatch,
    offenders: usize,
    unit: impl Fn() -> U + Clone + Send + 'static,
    rest: impl Fn(Instant) -> R + Clone + Send + 'static,
) -> Result<RuntimeSeen, String>
where
    U: Future<Output = ()> + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let runtime = runtime(watch.workers)?;
    let metrics = runtime.metrics();
    let stop = Arc::new(AtomicBool::new(false));
    let seen = observe(&runtime, watch, offenders, &stop, unit, rest);
    stop.store(true, Relaxed); // also where `observe` gave up early; Relaxed: carries nothing but itself
    runtime.shutdown_timeout(SHUTDOWN);
    let mut seen = seen?;
    seen.busy_ns = (0..watch.workers).map(|w| ns(metrics.worker_total_busy_duration(w))).sum();
    Ok(seen)
}

fn observe<U, R>(
    runtime: &Runtime,
    watch: &RuntimeWatch,
    offenders: usize,
    stop: &Arc<AtomicBool>,
    unit: impl Fn() -> U + Clone + Send + 'static,
    rest: impl Fn(Instant) -> R + Clone + Send + 'static,
) -> Result<RuntimeSeen, String>
where
    U: Future<Output = ()> + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let (tell, reports) = mpsc::channel();
    let threads_before = ThreadTimes::now();
    let start = Instant::now();
    let deadline = start + watch.window + watch.patience;
    let mut seen = RuntimeSeen::default();
    // Victims first: one that was never polled has no tick to be late for.
    if let Some(period) = watch.tick {
        let schedule = Schedule::over(watch.window, period);
        seen.intended_count += schedule.ticks_count();
        let tell = tell.clone();
        runtime.spawn(trace::task("timer victim", async move {
            tell.send(Report::Timer(timer_probe(start, schedule).await))
        }));
    }
    let mut sender = None;
    if let Some(period) = watch.wake {
        let schedule = Schedule::over(watch.window, period);
        seen.intended_count += schedule.ticks_count();
        let (thread, wakes) =
            outside_wakes(start, schedule).map_err(|e| format!("no thread to wake from: {e}"))?;
        sender = Some(thread);
        let tell = tell.clone();
        runtime.spawn(trace::task(
            "wake victim",
            async move { tell.send(Report::Wake(wake_probe(wakes).await)) },
        ));
    }
    let mut dice = Order::new(RandomState::new().hash_one(0));
    for _ in 0..offenders {
        let late = watch.spread * u32::try_from(dice.below(1_000)).unwrap_or(0) / 1_000;
        let (tell, stop, unit, rest) = (tell.clone(), Arc::clone(stop), unit.clone(), rest.clone());
        runtime.spawn(trace::task("offender", async move {
            let (mut units, mut last_ns) = (Lateness::new(), 0);
            if !late.is_zero() {
                tokio::time::sleep(late).await;
            }
            loop {
                rest(start).await;
                if stop.load(Relaxed) {
                    break;
                }
                let began = Instant::now();
                unit().await;
                units.record_ns(ns(began.elapsed()));
                last_ns = ns(start.elapsed());
            }
            tell.send(Report::Offender { units, last_ns })
        }));
    }
    drop(tell); // so that the channel closes if every task died

    let probes = usize::from(watch.tick.is_some()) + usize::from(watch.wake.is_some());
    take_reports(&mut seen, &reports, probes, deadline)
        .map_err(|e| format!("a victim was never done: {e}"))?;
    stop.store(true, Relaxed);
    take_reports(&mut seen, &reports, offenders, deadline)
        .map_err(|e| format!("an offender never ended: {e}"))?;
    seen.worker_time_ns = ns(start.elapsed()) * watch.workers as u64;
    seen.threads = threads_before.zip(ThreadTimes::now()).map(|(before, now)| now.since(&before));
    if let Some(sender) = sender {
        seen.sender = sender.lateness().ok_or("the waking thread panicked")?;
    }
    Ok(seen)
}

fn take_reports(
    seen: &mut RuntimeSeen,
    reports: &Receiver<Report>,
    count: usize,
    deadline: Instant,
) -> Result<(), mpsc::RecvTimeoutError> {
    for _ in 0..count {
        match reports.recv_timeout(deadline.saturating_duration_since(Instant::now()))? {
            Report::Timer(late) => seen.timer = late,
            Report::Wake(late) => seen.wake = late,
            Report::Offender { units, last_ns } => {
                seen.idle_offenders_count += u64::from(units.samples_count() == 0);
                seen.units.merge(&units);
                seen.units_span_ns = seen.units_span_ns.max(last_ns);
            }
        }
    }
    Ok(())
}

/// Whether a unit occupies its worker: the check that an offender offends, and that a cure cures. Runs the unit beside another
/// task on a runtime with one worker, up to five times, until the other task gets a turn between its beginning and its end.
///
/// A unit that keeps its worker is found out for certain, whatever the machine does; one that does not is taken for one that does
/// only if the machine withheld its CPUs five times for as long as the unit lasted.
///
/// # Errors
/// A reason: no runtime to be had, a unit shorter than `at_least`, or not ended within the patience.
pub fn occupies_worker<U: Future<Output = ()> + Send + 'static>(
    unit: impl Fn() -> U,
    at_least: Duration,
    patience: Duration,
) -> Result<bool, String> {
    for _ in 0..5 {
        let (took, others_count) = beside_another(unit(), patience)?;
        if took < at_least {
            return Err(format!("a unit of {at_least:?} took {took:?}"));
        }
        if others_count > 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// How long a unit took on a runtime with one worker, and how often another task ran meanwhile.
fn beside_another(
    unit: impl Future<Output = ()> + Send + 'static,
    patience: Duration,
) -> Result<(Duration, u64), String> {
    let runtime = runtime(1)?;
    let (inside, others) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    // Relaxed throughout: a unit that keeps the worker sets and clears the flag within one poll, on the thread that also runs the
    // other task. Else a late view costs a turn or two of many. The count is read after the threads that counted were joined.
    let (flag, counter) = (Arc::clone(&inside), Arc::clone(&others));
    runtime.spawn(async move {
        loop {
            counter.fetch_add(u64::from(flag.load(Relaxed)), Relaxed);
            tokio::task::yield_now().await;
        }
    });
    let (tell, report) = mpsc::channel();
    runtime.spawn(async move {
        let began = Instant::now();
        inside.store(true, Relaxed);
        unit.await;
        inside.store(false, Relaxed);
        tell.send(began.elapsed())
    });
    let took = report.recv_timeout(patience);
    runtime.shutdown_timeout(SHUTDOWN);
    let took = took.map_err(|e| format!("a unit on its own did not end: {e}"))?;
    Ok((took, others.load(Relaxed)))
}

fn runtime(workers: usize) -> Result<Runtime, String> {
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all();
    trace::hook(&mut builder);
    builder.build().map_err(|e| format!("no tokio runtime: {e}"))
}

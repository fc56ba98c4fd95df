//! Garbage beside what lives, until there were enough collections; and what came of it.
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    PATIENCE,
    ledger::{self, Ledger},
    live::Small,
    sift::Sifted,
};
use crate::{
    heap::{Collector, Config, Heap, Kind, Mutator, OutOfMemory, Pause},
    lab::sample::Sample,
    machine::{
        group::{self, Counted},
        memory, pin_current_thread,
    },
    measure::lateness::Lateness,
    stats,
};

/// If collections come too seldom, the run ends after this many times its time, or after a second if that is longer.
const AT_MOST: u32 = 10;
const AT_LEAST: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The heap.
    pub config: Config,
    /// Small objects that live throughout.
    pub live_bytes: usize,
    /// How long at least.
    pub time: Duration,
    /// How many collections at least, if they come within ten times the time, or a second.
    pub collections: usize,
    /// The mutator runs on the first, the victim on the second; without a second there is no victim.
    pub cpus: Vec<usize>,
}

impl Job {
    fn at_most(&self) -> Duration {
        (self.time * AT_MOST).max(AT_LEAST)
    }
}

/// One operation of the mutator.
pub type Op = Box<dyn FnMut(&mut Mutator) -> Result<(), OutOfMemory>>;

/// What happened.
#[derive(Debug)]
pub struct Churned {
    /// The pauses of the run itself; those while the live objects were built are not among them.
    pub pauses: Vec<Pause>,
    /// From the first operation to the last.
    pub wall: Duration,
    /// Operations done.
    pub ops: u64,
    /// How long each took, pauses included.
    pub op: Lateness,
    /// What another mutator felt, which did nothing but poll.
    pub victim: Option<Ledger>,
    /// Memory of the process at the end.
    pub resident_bytes: Option<u64>,
    /// What the CPU quota of this process's control group did meanwhile; what is unknown is `None`.
    pub quota: Counted,
}

/// Makes the heap of this process, fills it with what lives, repeats the operation that `prepare` makes, and checks that
/// everything that should live does.
///
/// # Errors
/// In a sentence: no heap, heap full, a collection that does not end, live objects lost.
pub fn churn(job: Job, prepare: impl FnOnce(&mut Mutator) -> Op + Send + 'static) -> Result<Churned, String> {
    let heap = Heap::start(job.config).map_err(|e| e.to_string())?;
    let ran = heap.run(PATIENCE, move |m| run(heap, m, &job, prepare));
    ran.map_err(|overdue| overdue.to_string())?
}

fn run(
    heap: &'static Heap,
    m: &mut Mutator,
    job: &Job,
    prepare: impl FnOnce(&mut Mutator) -> Op,
) -> Result<Churned, String> {
    if let Some(cpu) = job.cpus.first() {
        pin_current_thread(*cpu);
    }
    let full = |e: OutOfMemory| e.to_string();
    let small = Small::build(m, job.live_bytes).map_err(full)?;
    let mut op = prepare(m);
    // Everything is as old as it gets, and what the building left behind is gone: one that looks at everything does that at once.
    let settled = if matches!(job.config.collector, Collector::Immix | Collector::SemiSpace) { 1 } else { 2 };
    (0..settled).for_each(|_| m.collect());
    warm_up(m, job, &mut op).map_err(full)?;
    let victim = job.cpus.get(1).map(|cpu| Victim::start(heap, *cpu));
    let quota = || group::counted_here(Path::new("/"), "cpu");
    let quota_before = quota();
    let before = heap.pauses_count();
    let (mut ops, mut took) = (0, Lateness::new());
    let began = Instant::now();
    let mut last = began;
    let wall = loop {
        let done = op(m).map_err(full);
        let now = Instant::now();
        took.record_ns(u64::try_from((now - last).as_nanos()).unwrap_or(u64::MAX));
        last = now;
        ops += 1;
        let wall = now - began;
        let enough =
            wall >= job.time && (heap.pauses_count() >= before + job.collections || wall >= job.at_most());
        if enough || done.is_err() {
            done?;
            break wall;
        }
    };
    let quota = quota().since(&quota_before);
    let pauses = heap.pauses().split_off(before);
    let victim = victim.map(|v| m.blocking(|| v.stop()));
    if !small.intact(m) {
        return Err("objects that should have lived are lost".into());
    }
    Ok(Churned { pauses, wall, ops, op: took, victim, resident_bytes: memory::resident_bytes(), quota })
}

/// Until the heap has been full once: memory that is touched for the first time costs the kernel's faults, which are not the
/// subject here. An operation that never fills the heap gets a part of the time.
fn warm_up(m: &mut Mutator, job: &Job, op: &mut Op) -> Result<(), OutOfMemory> {
    let before = m.heap().pauses_count();
    let until = Instant::now() + if job.collections > 0 { job.at_most() } else { job.time / 4 };
    while m.heap().pauses_count() == before && Instant::now() < until {
        op(m)?;
    }
    Ok(())
}

/// A mutator that polls and looks at the clock.
struct Victim {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Ledger>,
}

impl Victim {
    fn start(heap: &'static Heap, cpu: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = thread::spawn(move || {
            pin_current_thread(cpu);
            let mut m = heap.attach().expect("a new thread is not a mutator yet");
            ledger::watch(heap, &told, || m.poll())
        });
        Self { stop, thread }
    }

    fn stop(self) -> Ledger {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the victim only looks at the clock")
    }
}

impl Churned {
    /// Itself, if there was a pause.
    ///
    /// # Errors
    /// That there was none, in a sentence.
    pub fn paused(self) -> Result<Self, String> {
        let (ops, ms) = (self.ops, self.wall.as_millis());
        if self.pauses.is_empty() {
            Err(format!("no collection in {ops} operations, {ms} ms"))
        } else {
            Ok(self)
        }
    }

    /// As a sample: `op_ns` (wall time per operation, pauses included), `op_p50_ns`, `pause_ns` (the median of the pauses),
    /// `pause_max_ns`, `reach_ns` (the median time to safepoint), `gc_share` (of the wall time, in pauses), `collections_count`,
    /// `full_count`, `wait_max_ns` (the victim's longest gap), `rss_bytes`, `throttled_ns` (all CPUs together) and `throttled_share`
    /// (of the quota's periods); and what the victim's gaps were, as [`Parts::shares`](ledger::Parts::shares) names it. The lengths of
    /// pauses are those of the [undisturbed](Sifted) ones; counts and shares are of all.
    pub fn sample(&self, case: &str, param: &str) -> Sample {
        let pauses = &self.pauses;
        let sifted = Sifted::of(pauses);
        let (stopped, reach) = (sifted.ns(|p| p.stopped), sifted.ns(|p| p.reach));
        let whole_ns: f64 = pauses.iter().map(|p| p.whole().as_secs_f64() * 1e9).sum();
        let wall_ns = self.wall.as_secs_f64() * 1e9;
        let known = [
            ("op_p50_ns", self.op.exceeded_by_permille_ns(500)),
            ("pause_ns", stats::median(&stopped)),
            ("pause_max_ns", stopped.iter().copied().reduce(f64::max)),
            ("reach_ns", stats::median(&reach)),
            ("wait_max_ns", self.victim.as_ref().and_then(|v| Some(v.longest_ns()? as f64))),
            ("rss_bytes", self.resident_bytes.map(|b| b as f64)),
            ("throttled_ns", self.quota.throttled_ns.map(|ns| ns as f64)),
            // No period has begun without a quota, and then none was cut short.
            (
                "throttled_share",
                self.quota
                    .throttled_count
                    .zip(self.quota.periods_count)
                    .map(|(n, of)| n as f64 / of.max(1) as f64),
            ),
        ];
        let mut sample = Sample::new(case, param)
            .with("op_ns", wall_ns / self.ops as f64)
            .with("gc_share", whole_ns / wall_ns)
            .with("collections_count", pauses.len() as f64)
            .with("full_count", pauses.iter().filter(|p| p.kind == Kind::Full).count() as f64);
        for (name, value) in known {
            if let Some(value) = value {
                sample = sample.with(name, value);
            }
        }
        for (name, share) in self.victim.iter().flat_map(|v| v.parts(pauses).shares()) {
            sample = sample.with(name, share);
        }
        sifted.tell(&mut sample);
        sample.receipts.ops_count = Some(self.ops as f64);
        sample
    }
}

//! The recorder: it goes into a benchmark of yours and notes what the benchmark itself does not say, for `underhood audit`.
//!
//! It notes when the clock and each thread began and ended, how much each thread did, and what was dropped in between: one line for each
//! sample, never one for each operation. A sample costs two readings of the clock, and each thread two more and a short lock at its end.
//!
//! ```
//! use std::{sync::{Barrier, Mutex}, thread};
//! use underhood::evidence::Recorder;
//!
//! let recorder = Recorder::new("counter");
//! let case = recorder.case("std mutex");
//! let (sum, barrier) = (Mutex::new(0u64), Barrier::new(3));
//! // In criterion this is the body of `iter_custom(|n| ...)`, and `sample.stop()` is what it returns.
//! let n = 1000;
//! let sample = case.sample();
//! thread::scope(|s| {
//!     for _ in 0..2 {
//!         s.spawn(|| {
//!             barrier.wait();
//!             let lane = sample.lane();
//!             (0..n).for_each(|_| *sum.lock().unwrap() += 1);
//!             lane.done(n);
//!         });
//!     }
//!     sample.start();
//!     barrier.wait();
//! });
//! let took = sample.stop();
//! drop(sample);
//! # assert!(took.as_nanos() > 0);
//! # let dir = tempfile::tempdir().unwrap();
//! # let file = dir.path().join("counter.audit.jsonl");
//! recorder.append(&file)?; // then: underhood audit counter.audit.jsonl
//! # Ok::<(), std::io::Error>(())
//! ```
//! A loop of one thread needs one line: `case.time(n, || ...)` runs it and returns the [`Duration`].
use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    hint::black_box,
    io::{self, Write},
    ops::{Deref, DerefMut},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use super::{
    Benchmark, Unreadable,
    flaws::{Case, Lane, Taken},
    text,
};

/// The version of the file.
const FORMAT: u32 = 1;
/// Readings of the clock in a row, from which its cost is taken.
const READINGS: u32 = 100;

/// What one run of a benchmark notes. A clone notes into the same run.
#[derive(Clone, Debug)]
pub struct Recorder(Arc<Noted>);

#[derive(Debug)]
struct Noted {
    benchmark: String,
    began: Instant,
    clock_ns: f64,
    samples: Mutex<Vec<Line>>,
}

/// A case of a benchmark: one of the things that are compared.
#[derive(Clone, Debug)]
pub struct RecordedCase {
    noted: Arc<Noted>,
    name: String,
    harness: bool,
}

/// One timed stretch of a case. It is noted when it is dropped, if it was started and stopped.
#[derive(Debug)]
pub struct RecordedSample {
    case: RecordedCase,
    own: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    start_ns: Option<u64>,
    stop_ns: Option<u64>,
    lanes: Vec<Lane>,
    drops: Vec<Dropped>,
}

/// One thread's work in a sample.
#[derive(Debug)]
pub struct RecordedLane {
    noted: Arc<Noted>,
    own: Arc<Mutex<Open>>,
    lane: Lane,
}

/// A value whose drop is noted: when it was and how long it took.
#[derive(Debug)]
pub struct Watched<T> {
    /// There until it is dropped or taken out.
    value: Option<T>,
    noted: Arc<Noted>,
    own: Arc<Mutex<Open>>,
}

/// The first line of each run.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    underhood_audit: u32,
    benchmark: String,
    at_unix_s: u64,
    /// What one reading of the clock costs.
    clock_ns: f64,
}

/// The line of a sample. Its times are from the beginning of the run.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    case: String,
    /// The case is the loop without the thing under test.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    harness: bool,
    start_ns: u64,
    stop_ns: u64,
    lanes: Vec<Lane>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    drops: Vec<Dropped>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Dropped {
    at_ns: u64,
    took_ns: u64,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    // A benchmark that panicked in one thread keeps what the others noted.
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Noted {
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Recorder {
    /// Begins a run of a benchmark with this name. Reads the clock a thousand times, to know what a reading costs.
    pub fn new(benchmark: &str) -> Self {
        let began = Instant::now();
        let reading_ns = |_| {
            let from = Instant::now();
            (1..READINGS).for_each(|_| {
                black_box(Instant::now());
            });
            from.elapsed().as_nanos() as f64 / f64::from(READINGS)
        };
        // The quickest of ten: the others may have been interrupted.
        let clock_ns = (0..10).map(reading_ns).fold(f64::INFINITY, f64::min);
        Self(Arc::new(Noted { benchmark: benchmark.into(), began, clock_ns, samples: Mutex::default() }))
    }

    /// A case with this name.
    pub fn case(&self, name: &str) -> RecordedCase {
        RecordedCase { noted: self.0.clone(), name: name.into(), harness: false }
    }

    /// The loop without the thing under test, as a case: the audit then knows how much of an operation the loop is.
    pub fn harness(&self, name: &str) -> RecordedCase {
        RecordedCase { harness: true, ..self.case(name) }
    }

    /// Appends the samples noted so far to a file, as one run, and forgets them; says how many. Several runs in one file show whether they
    /// agree, so remove the file when the code changes. A name that ends in `.audit.jsonl` is found in a folder too.
    ///
    /// # Errors
    /// If the file can't be written.
    pub fn append(&self, path: impl AsRef<Path>) -> io::Result<usize> {
        let mut samples = held(&self.0.samples);
        if samples.is_empty() {
            return Ok(0);
        }
        let head = Head {
            underhood_audit: FORMAT,
            benchmark: self.0.benchmark.clone(),
            at_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            clock_ns: self.0.clock_ns,
        };
        let mut text = serde_json::to_string(&head)? + "\n";
        for line in samples.iter() {
            text.push_str(&serde_json::to_string(line)?);
            text.push('\n');
        }
        OpenOptions::new().create(true).append(true).open(path)?.write_all(text.as_bytes())?;
        Ok(samples.drain(..).len())
    }
}

impl RecordedCase {
    /// A sample, whose clock does not run yet.
    pub fn sample(&self) -> RecordedSample {
        RecordedSample { case: self.clone(), own: Arc::default() }
    }

    /// Times work of this thread, which does so many operations; its result is used.
    pub fn time<R>(&self, ops: u64, work: impl FnOnce() -> R) -> Duration {
        let sample = self.sample();
        sample.start();
        let lane = sample.lane();
        let result = black_box(work());
        lane.used(&result).done(ops);
        // What the work returns is dropped after the clock has stopped.
        let took = sample.stop();
        drop(result);
        took
    }
}

impl RecordedSample {
    /// The clock starts: call it where the benchmark reads its own.
    pub fn start(&self) {
        held(&self.own).start_ns = Some(self.case.noted.now());
    }

    /// The clock stops. How long it ran; zero if it was never started.
    pub fn stop(&self) -> Duration {
        let now = self.case.noted.now();
        let mut own = held(&self.own);
        own.stop_ns = Some(now);
        Duration::from_nanos(now - own.start_ns.unwrap_or(now))
    }

    /// This thread begins to work: call it in the thread, behind the barrier if there is one.
    pub fn lane(&self) -> RecordedLane {
        let noted = self.case.noted.clone();
        let lane = Lane { from_ns: noted.now(), ..Lane::default() };
        RecordedLane { noted, own: self.own.clone(), lane }
    }

    /// A value whose drop is noted: a whole queue or map, not an item of it.
    pub fn watch<T>(&self, value: T) -> Watched<T> {
        Watched { value: Some(value), noted: self.case.noted.clone(), own: self.own.clone() }
    }
}

impl Drop for RecordedSample {
    fn drop(&mut self) {
        let Open { start_ns, stop_ns, lanes, drops } = std::mem::take(&mut *held(&self.own));
        let (Some(start_ns), Some(stop_ns)) = (start_ns, stop_ns) else { return };
        if stop_ns < start_ns {
            return; // started again
        }
        let (case, harness) = (self.case.name.clone(), self.case.harness);
        held(&self.case.noted.samples).push(Line { case, harness, start_ns, stop_ns, lanes, drops });
    }
}

impl RecordedLane {
    /// So many of the operations did what they were for: a `try_lock` that got the lock, a push that had room.
    #[must_use]
    pub fn did(mut self, ops: u64) -> Self {
        self.lane.did = Some(ops);
        self
    }

    /// All operations of this thread together did so many units of work: bytes copied, items cloned.
    #[must_use]
    pub fn work(mut self, units: u64) -> Self {
        self.lane.work = Some(units);
        self
    }

    /// Uses the results, or a sum of them, so that the compiler can't leave out what makes them.
    #[must_use]
    pub fn used<T>(mut self, results: &T) -> Self {
        black_box(results);
        self.lane.used = true;
        self
    }

    /// This thread's work is over, after so many operations. A lane that is dropped instead is not noted.
    pub fn done(mut self, ops: u64) {
        self.lane.to_ns = self.noted.now();
        self.lane.ops = ops;
        held(&self.own).lanes.push(self.lane);
    }
}

impl<T> Watched<T> {
    /// The value, whose drop is then nobody's concern.
    #[allow(clippy::missing_panics_doc, reason = "it is there: only this and the drop take it out")]
    pub fn into_inner(mut self) -> T {
        self.value.take().expect("it is there until it goes")
    }
}

impl<T> Deref for Watched<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect("it is there until it goes")
    }
}

impl<T> DerefMut for Watched<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect("it is there until it goes")
    }
}

impl<T> Drop for Watched<T> {
    fn drop(&mut self) {
        let Some(value) = self.value.take() else { return };
        let at_ns = self.noted.now();
        drop(value);
        let took_ns = self.noted.now() - at_ns;
        held(&self.own).drops.push(Dropped { at_ns, took_ns });
    }
}

/// The benchmark in a file that [`Recorder::append`] wrote.
///
/// # Errors
/// With the line: what is no JSON, or not of this format; a clock or a thread that ends before it begins.
pub(super) fn benchmark(path: &Path) -> Result<Benchmark, Unreadable> {
    let text = text(path)?;
    let mut all = Benchmark::default();
    let mut head: Option<Head> = None;
    let (mut runs, mut turns, mut places) = (0, 0, BTreeMap::new());
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let at = |why: String| Unreadable { path: path.into(), why: format!("line {}: {why}", i + 1) };
        // A line is a head or a sample; what is neither is named as the one that it is nearer to.
        if head.is_none() || line.contains("\"underhood_audit\"") {
            let new: Head = serde_json::from_str(line)
                .map_err(|e| at(format!("it does not begin a run of the recorder ({e})")))?;
            if new.underhood_audit != FORMAT {
                return Err(at(format!(
                    "it has the format {}, and this program reads {FORMAT}",
                    new.underhood_audit
                )));
            }
            if !(new.clock_ns.is_finite() && new.clock_ns >= 0.0) {
                return Err(at(format!("a reading of the clock took {} ns, which is no time", new.clock_ns)));
            }
            if head.is_some_and(|old| old.benchmark != new.benchmark) {
                return Err(at(format!("'{}' is another benchmark than the one before", new.benchmark)));
            }
            all.name.clone_from(&new.benchmark);
            head = Some(new);
            runs += 1;
            continue;
        }
        let line: Line = serde_json::from_str(line).map_err(|e| at(e.to_string()))?;
        let backwards = |from: u64, to: u64| to < from;
        if backwards(line.start_ns, line.stop_ns) {
            return Err(at("the clock stops before it starts".into()));
        }
        if line.lanes.iter().any(|l| backwards(l.from_ns, l.to_ns)) {
            return Err(at("a thread ends before it begins".into()));
        }
        let at_case = *places.entry(line.case.clone()).or_insert_with(|| {
            let clock_ns = head.as_ref().map(|h| h.clock_ns);
            let (name, file) = (line.case.clone(), path.into());
            all.cases.push(Case { name, file, harness: line.harness, clock_ns, ..Case::default() });
            all.cases.len() - 1
        });
        let within = |d: &&Dropped| (line.start_ns..line.stop_ns).contains(&d.at_ns);
        let part = |d: &Dropped| d.took_ns.min(line.stop_ns - d.at_ns) as f64;
        let drop_ns = line.drops.iter().filter(within).map(part).sum::<f64>();
        all.cases[at_case].samples.push(Taken {
            run: runs - 1,
            turn: turns,
            start_ns: line.start_ns as f64,
            took_ns: (line.stop_ns - line.start_ns) as f64,
            ops: line.lanes.iter().map(|l| l.ops as f64).sum(),
            lanes: line.lanes,
            drop_ns: (!line.drops.is_empty()).then_some(drop_ns),
        });
        turns += 1;
    }
    if all.cases.is_empty() {
        return Err(Unreadable { path: path.into(), why: "it has no samples".into() });
    }
    Ok(all)
}

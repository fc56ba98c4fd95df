//! Litmus tests: programs of a few loads and stores, run millions of times on several cores, and how often each outcome was seen.
//!
//! Each thread runs the same batch of instances one after the other, and all meet before the next batch, so that two threads are often in one
//! instance at the same time; how often they demonstrably were is counted, too. An outcome that was never seen proves nothing unless they met.
//!
//! Source of the programs: J. Alglave, L. Maranget, "litmus7"; the manner of grading is OpenJDK's jcstress.
use std::{
    fmt,
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::*, fence},
    thread,
    time::{Duration, Instant},
};

use crate::{
    lab::{Contender, Point, Setting, at, plan::Plan, sample::Sample, setting},
    machine::pin_current_thread,
    measure::{handover::until, order::Order, throughput::Apart},
};

/// A program. `x` and `y` are 0 at first; `r0` to `r3` are what was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Store buffering: `x = 1; r0 = y` beside `y = 1; r1 = x`. In question: `r0 = r1 = 0`.
    Sb,
    /// Message passing: `x = 1; y = 1` beside `r0 = y; r1 = x`. In question: `r0 = 1, r1 = 0`.
    Mp,
    /// Load buffering: `r0 = x; y = 1` beside `r1 = y; x = 1`. In question: `r0 = r1 = 1`.
    Lb,
    /// Coherence: `x = 1` beside `r0 = x; r1 = x`. In question: `r0 = 1, r1 = 0`.
    CoRr,
    /// Two and two writes: `x = 1; y = 2` beside `y = 1; x = 2`. In question: `x = y = 1` in the end.
    TwoWrites,
    /// Independent reads of independent writes: `x = 1` beside `y = 1` beside `r0 = x; r1 = y` beside `r2 = y; r3 = x`. In question:
    /// `r0 = r2 = 1, r1 = r3 = 0`: the readers saw the writes in different orders.
    Iriw,
}

/// Every program as a contender.
pub const PROGRAMS: [Setting<Program>; 6] = [
    setting("sb", Program::Sb),
    setting("mp", Program::Mp),
    setting("lb", Program::Lb),
    setting("corr", Program::CoRr),
    setting("two_writes", Program::TwoWrites),
    setting("iriw", Program::Iriw),
];

/// How loads and stores are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// All Relaxed.
    Relaxed,
    /// Stores Release, loads Acquire.
    ReleaseAcquire,
    /// All SeqCst.
    SeqCst,
    /// All Relaxed, and a SeqCst fence between the two steps of each thread.
    Fence,
}

/// Every manner as a parameter.
pub const MANNERS: [Point<Manner>; 4] = [
    at("relaxed", Manner::Relaxed),
    at("rel_acq", Manner::ReleaseAcquire),
    at("seqcst", Manner::SeqCst),
    at("fence", Manner::Fence),
];

impl Program {
    /// How many threads it has.
    pub fn threads(self) -> usize {
        if self == Self::Iriw { 4 } else { 2 }
    }

    /// Whether the language (C++20's model, which is Rust's) allows the outcome in question.
    pub fn is_allowed(self, manner: Manner) -> bool {
        use Manner::{Relaxed, ReleaseAcquire};
        match self {
            Self::CoRr => false,
            Self::Mp | Self::Lb => manner == Relaxed,
            Self::Sb | Self::TwoWrites | Self::Iriw => matches!(manner, Relaxed | ReleaseAcquire),
        }
    }
}

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Instances that were run.
    pub samples: u64,
    /// Of them, those with the outcome in question.
    pub weak: u64,
    /// Of them, those with an outcome that only threads can leave that were in the instance at the same time.
    pub met: u64,
}

/// One run of a program: each word on lines of its own.
#[derive(Debug, Default)]
struct Instance {
    x: Apart<AtomicU32>,
    y: Apart<AtomicU32>,
    /// What the threads loaded; two loads each.
    loaded: [Apart<[AtomicU32; 2]>; 4],
}

/// Small enough for a second-level cache.
const BATCH: usize = 256;
/// The first thread begins a batch up to so many pauses late. It has just looked at all instances, so it is the last to come, the first to leave
/// the meeting and the fastest, and would be alone in every instance; when it begins late, it overtakes, and in doing so meets the others.
const LATEST: usize = 64;

/// The steps of a manner, each compiled with its own orderings.
trait Steps {
    fn store(word: &Apart<AtomicU32>, value: u32);
    fn load(word: &Apart<AtomicU32>) -> u32;
    fn between() {}
}

struct AllRelaxed;
struct ReleaseAcquire;
struct AllSeqCst;
struct Fenced;

// The orderings are what is tried: they make no edge that anything else relies on.
impl Steps for AllRelaxed {
    fn store(word: &Apart<AtomicU32>, value: u32) {
        word.0.store(value, Relaxed);
    }
    fn load(word: &Apart<AtomicU32>) -> u32 {
        word.0.load(Relaxed)
    }
}
impl Steps for ReleaseAcquire {
    fn store(word: &Apart<AtomicU32>, value: u32) {
        word.0.store(value, Release);
    }
    fn load(word: &Apart<AtomicU32>) -> u32 {
        word.0.load(Acquire)
    }
}
impl Steps for AllSeqCst {
    fn store(word: &Apart<AtomicU32>, value: u32) {
        word.0.store(value, SeqCst);
    }
    fn load(word: &Apart<AtomicU32>) -> u32 {
        word.0.load(SeqCst)
    }
}
impl Steps for Fenced {
    fn store(word: &Apart<AtomicU32>, value: u32) {
        word.0.store(value, Relaxed);
    }
    fn load(word: &Apart<AtomicU32>) -> u32 {
        word.0.load(Relaxed)
    }
    fn between() {
        fence(SeqCst);
    }
}

/// One thread's part in one instance. The two accesses stand next to each other; what was loaded is written down after both.
#[inline]
fn part<S: Steps>(program: Program, thread: usize, at: &Instance) {
    let Instance { x, y, loaded } = at;
    let mine = &loaded[thread].0;
    let (store, load) = (S::store, S::load);
    match (program, thread) {
        (Program::Sb, 0) => one(x, y, store, load, S::between, mine),
        (Program::Sb, _) => one(y, x, store, load, S::between, mine),
        (Program::Mp, 0) => two(x, 1, y, 1, store, S::between),
        (Program::Mp, _) => both(y, x, load, S::between, mine),
        (Program::Lb, 0) => late(x, y, store, load, S::between, mine),
        (Program::Lb, _) => late(y, x, store, load, S::between, mine),
        (Program::CoRr | Program::Iriw, 0) => store(x, 1),
        (Program::CoRr, _) => both(x, x, load, S::between, mine),
        (Program::TwoWrites, 0) => two(x, 1, y, 2, store, S::between),
        (Program::TwoWrites, _) => two(y, 1, x, 2, store, S::between),
        (Program::Iriw, 1) => store(y, 1),
        (Program::Iriw, 2) => both(x, y, load, S::between, mine),
        (Program::Iriw, _) => both(y, x, load, S::between, mine),
    }
}

type Word = Apart<AtomicU32>;

#[inline(always)]
fn one(
    w: &Word,
    r: &Word,
    store: impl Fn(&Word, u32),
    load: impl Fn(&Word) -> u32,
    between: impl Fn(),
    to: &[AtomicU32; 2],
) {
    store(w, 1);
    between();
    to[0].store(load(r), Relaxed);
}

#[inline(always)]
fn late(
    r: &Word,
    w: &Word,
    store: impl Fn(&Word, u32),
    load: impl Fn(&Word) -> u32,
    between: impl Fn(),
    to: &[AtomicU32; 2],
) {
    let loaded = load(r);
    between();
    store(w, 1);
    to[0].store(loaded, Relaxed);
}

#[inline(always)]
fn two(first: &Word, a: u32, second: &Word, b: u32, store: impl Fn(&Word, u32), between: impl Fn()) {
    store(first, a);
    between();
    store(second, b);
}

#[inline(always)]
fn both(first: &Word, second: &Word, load: impl Fn(&Word) -> u32, between: impl Fn(), to: &[AtomicU32; 2]) {
    let a = load(first);
    between();
    let b = load(second);
    to[0].store(a, Relaxed);
    to[1].store(b, Relaxed);
}

/// Whether the outcome is the one in question, and whether it shows that the threads met.
fn judge(program: Program, at: &Instance) -> (bool, bool) {
    let r = |thread: usize, i: usize| at.loaded[thread].0[i].load(Relaxed);
    let (x, y) = (at.x.0.load(Relaxed), at.y.0.load(Relaxed));
    let weak = match program {
        Program::Sb => (r(0, 0), r(1, 0)) == (0, 0),
        Program::Mp | Program::CoRr => (r(1, 0), r(1, 1)) == (1, 0),
        Program::Lb => (r(0, 0), r(1, 0)) == (1, 1),
        Program::TwoWrites => (x, y) == (1, 1),
        Program::Iriw => (r(2, 0), r(2, 1), r(3, 0), r(3, 1)) == (1, 0, 1, 0),
    };
    // One whole thread after the other leaves none of these; the weak one neither.
    let met = match program {
        Program::Sb => (r(0, 0), r(1, 0)) == (1, 1),
        Program::Mp | Program::CoRr => (r(1, 0), r(1, 1)) == (0, 1),
        Program::Lb => (r(0, 0), r(1, 0)) == (0, 0),
        Program::TwoWrites => (x, y) == (2, 2),
        // A reader that saw a write arrive between its two loads.
        Program::Iriw => (r(2, 0), r(2, 1)) == (0, 1) || (r(3, 0), r(3, 1)) == (0, 1),
    };
    (weak, weak || met)
}

fn reset(at: &Instance) {
    at.x.0.store(0, Relaxed);
    at.y.0.store(0, Relaxed);
    at.loaded.iter().flat_map(|l| &l.0).for_each(|l| l.store(0, Relaxed));
}

/// Why there is no tally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OneCpu;

impl fmt::Display for OneCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("threads that share one CPU see each other's writes in order: two CPUs are needed")
    }
}

/// Every contender at every parameter, in an order that the lot decides anew in each launch.
pub fn by_lot<C: AsRef<Contender>, P>(
    plan: &Plan,
    roster: &[C],
    points: &[Point<P>],
    one: impl Fn(&C, &P) -> Result<Sample, String>,
) -> Vec<Sample> {
    let mut turn: Vec<(&C, &Point<P>)> =
        roster.iter().flat_map(|c| points.iter().map(move |p| (c, p))).collect();
    Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
    let sample = |(contender, point): (&C, &Point<P>)| {
        let (case, param) = (contender.as_ref().id, point.id());
        match one(contender, &point.value) {
            Ok(sample) => Sample { case: case.into(), param: param.into(), ..sample },
            Err(why) => Sample::unmeasured(case, param, why),
        }
    };
    turn.into_iter().map(sample).collect()
}

/// Runs a program for about so long, its threads pinned to these CPUs in turn. The four threads of [`Program::Iriw`] share CPUs where there are
/// fewer.
///
/// # Errors
/// With one CPU.
pub fn litmus(program: Program, manner: Manner, cpus: &[usize], time: Duration) -> Result<Tally, OneCpu> {
    match manner {
        Manner::Relaxed => tally::<AllRelaxed>(program, cpus, time),
        Manner::ReleaseAcquire => tally::<ReleaseAcquire>(program, cpus, time),
        Manner::SeqCst => tally::<AllSeqCst>(program, cpus, time),
        Manner::Fence => tally::<Fenced>(program, cpus, time),
    }
}

fn tally<S: Steps>(program: Program, cpus: &[usize], time: Duration) -> Result<Tally, OneCpu> {
    if cpus.len() < 2 {
        return Err(OneCpu);
    }
    let threads = program.threads();
    let instances: Vec<Instance> = (0..BATCH).map(|_| Instance::default()).collect();
    let (here, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    // E1 each thread's Release of `here` -> everybody's Acquire: what was written before the meeting. Chained by read-modify-writes.
    let meet = |round: &mut usize| {
        *round += threads;
        here.fetch_add(1, AcqRel);
        until(|| (here.load(Acquire) >= *round).then_some(()));
    };
    let work = |thread: usize| {
        pin_current_thread(cpus[thread % cpus.len()]);
        let (mut round, mut tally, mut order) = (0, Tally::default(), Order::new(1));
        let started = Instant::now();
        loop {
            meet(&mut round);
            if over.load(Relaxed) {
                return tally;
            }
            if thread == 0 {
                (0..order.below(LATEST)).for_each(|_| spin_loop());
            }
            instances.iter().for_each(|at| part::<S>(program, thread, at));
            meet(&mut round);
            if thread == 0 {
                for at in &instances {
                    let (weak, met) = judge(program, at);
                    tally.samples += 1;
                    tally.weak += u64::from(weak);
                    tally.met += u64::from(met);
                    reset(at);
                }
                over.store(started.elapsed() >= time, Relaxed);
            }
        }
    };
    let work = &work;
    Ok(thread::scope(|s| {
        let all: Vec<_> = (0..threads).map(|t| s.spawn(move || work(t))).collect();
        let tallies: Vec<Tally> = all.into_iter().map(|t| t.join().expect("a part does not panic")).collect();
        tallies[0]
    }))
}

//! A test on this machine: its threads pinned, each step a real atomic access, and how often each outcome was seen.
//!
//! The steps are played from the data that the file became, so no compiler can reorder or merge them: what is seen is the CPU's doing. Accesses
//! that are not atomic are played as Relaxed ones.
//!
//! Two ways to meet, half of the time each. In one the threads wait for each other before each instance, so they begin it together; in the other
//! only before each batch, so they drift and overlap in many ways. Each finds outcomes that the other seldom shows.
use std::{
    hint::spin_loop,
    sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering, Ordering::*, fence},
    thread,
    time::{Duration, Instant},
};

use super::program::{Change, Item, Memory, Op, Outcome, Strength, Test, Thread, Value, When, walk};
use crate::{
    machine::pin_current_thread,
    measure::{handover::until, throughput::Apart},
};

/// What was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Each outcome and how often, the most frequent first.
    pub outcomes: Vec<(Outcome, u64)>,
    /// Instances that were run to their end.
    pub instances: u64,
}

/// Why a test was not run on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooFewCpus {
    /// Threads of the test.
    pub threads: usize,
    /// CPUs that we may use.
    pub cpus: usize,
}

/// Instances of a batch.
const BATCH: usize = 512;
/// A thread that waits for the others before an instance does so for so many turns at most.
const PATIENCE: usize = 2_000;
/// Tries of a lock before an instance is given up.
const TRIES: usize = 1 << 16;

struct Words<'a>(&'a [Apart<AtomicI64>]);

fn atomic(order: Strength) -> Ordering {
    match order {
        Strength::Plain | Strength::Relaxed => Relaxed,
        Strength::Acquire => Acquire,
        Strength::Release => Release,
        Strength::AcqRel => AcqRel,
        Strength::SeqCst => SeqCst,
    }
}

fn of_read(order: Strength) -> Ordering {
    match order {
        Strength::AcqRel => Acquire,
        Strength::Release => Relaxed,
        other => atomic(other),
    }
}

// The orderings are the test's own: they make no edge that anything else relies on.
impl Memory for Words<'_> {
    fn words(&self) -> usize {
        self.0.len()
    }

    fn load(&mut self, word: usize, order: Strength) -> Value {
        self.0[word].0.load(of_read(order))
    }

    fn store(&mut self, word: usize, value: Value, order: Strength) {
        let order = match order {
            Strength::AcqRel => Release,
            Strength::Acquire => Relaxed,
            other => atomic(other),
        };
        self.0[word].0.store(value, order);
    }

    fn change(&mut self, word: usize, change: &Change<Value>) -> Option<(Value, bool)> {
        let (word, order, failure, by) =
            (&self.0[word].0, atomic(change.order), of_read(change.failure), change.operand);
        let once = |expected, new| {
            let done = if change.weak {
                word.compare_exchange_weak(expected, new, order, failure)
            } else {
                word.compare_exchange(expected, new, order, failure)
            };
            done.map_or_else(|read| (read, false), |read| (read, true))
        };
        match change.when {
            When::Always => match change.op {
                None => Some((word.swap(by, order), true)),
                Some(Op::Add) => Some((word.fetch_add(by, order), true)),
                Some(Op::Sub) => Some((word.fetch_sub(by, order), true)),
                Some(Op::And) => Some((word.fetch_and(by, order), true)),
                Some(Op::Or) => Some((word.fetch_or(by, order), true)),
                Some(Op::Xor) => Some((word.fetch_xor(by, order), true)),
                Some(_) => word.fetch_update(order, failure, |v| change.written(v)).ok().map(|v| (v, true)),
            },
            When::Equal(expected) => Some(once(expected, change.written(expected)?)),
            When::Differs(_) => Some(
                word.fetch_update(order, failure, |v| change.written(v))
                    .map_or_else(|read| (read, false), |read| (read, true)),
            ),
            When::Await(expected) => (0..TRIES).find_map(|_| {
                let tried = once(expected, change.written(expected)?);
                if !tried.1 {
                    spin_loop();
                }
                tried.1.then_some(tried)
            }),
        }
    }

    fn fence(&mut self, order: Strength) {
        if order > Strength::Relaxed {
            fence(atomic(order));
        }
    }
}

/// One run of the test: words on lines of their own, what the registers held, and how many threads have come.
struct Instance {
    words: Vec<Apart<AtomicI64>>,
    /// Of each thread: the registers that are looked at, and whether it came to its end.
    kept: Vec<Apart<(Vec<AtomicI64>, AtomicBool)>>,
    come: Apart<AtomicUsize>,
}

impl Instance {
    fn new(test: &Test) -> Self {
        let words = |word: &super::program::Word| Apart(AtomicI64::new(word.initial));
        let kept = |thread: &Thread| {
            let registers = thread.registers.iter().map(|_| AtomicI64::new(0)).collect();
            Apart((registers, AtomicBool::new(false)))
        };
        Self {
            words: test.words.iter().map(words).collect(),
            kept: test.threads.iter().map(kept).collect(),
            come: Apart::default(),
        }
    }

    fn outcome(&self, test: &Test) -> Option<Outcome> {
        let value = |item: &Item| match *item {
            Item::Reg(thread, reg) => self.kept[thread].0.0[reg].load(Relaxed),
            Item::Word(word) => self.words[word].0.load(Relaxed),
        };
        self.kept.iter().all(|k| k.0.1.load(Relaxed)).then(|| test.items.iter().map(value).collect())
    }

    fn reset(&self, test: &Test) {
        self.words.iter().zip(&test.words).for_each(|(w, of)| w.0.store(of.initial, Relaxed));
        self.come.0.store(0, Relaxed);
    }
}

/// Runs a test for about so long on these CPUs, a thread on each. `stop` ends it earlier.
///
/// # Errors
/// With more threads than CPUs: threads that share one see each other's writes in order, and nothing is exercised.
pub fn run(
    test: &Test,
    cpus: &[usize],
    time: Duration,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Seen, TooFewCpus> {
    let threads = test.threads.len();
    if threads > cpus.len() {
        return Err(TooFewCpus { threads, cpus: cpus.len() });
    }
    let instances: Vec<Instance> = (0..BATCH).map(|_| Instance::new(test)).collect();
    let mut seen = Seen::default();
    for together in [true, false] {
        part(test, &instances, cpus, time / 2, together, stop, &mut seen);
    }
    seen.outcomes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(seen)
}

fn part(
    test: &Test,
    instances: &[Instance],
    cpus: &[usize],
    time: Duration,
    together: bool,
    stop: &(dyn Fn() -> bool + Sync),
    seen: &mut Seen,
) {
    let threads = test.threads.len();
    let (here, over) = (AtomicUsize::new(0), AtomicBool::new(false));
    // E1 each thread's Release of `here` -> everybody's Acquire: what was written before the meeting. Chained by read-modify-writes.
    let meet = |round: &mut usize| {
        *round += threads;
        here.fetch_add(1, AcqRel);
        until(|| (here.load(Acquire) >= *round).then_some(()));
    };
    let work = |thread: usize, mut tell: Option<&mut Seen>| {
        pin_current_thread(cpus[thread]);
        let own = &test.threads[thread];
        let (mut round, started) = (0, Instant::now());
        let mut regs = own.initial.clone();
        loop {
            meet(&mut round);
            if over.load(Relaxed) {
                return;
            }
            for at in instances {
                if together {
                    at.come.0.fetch_add(1, Relaxed);
                    let all_here = || at.come.0.load(Relaxed) == threads;
                    (0..PATIENCE).find(|_| all_here());
                }
                regs.copy_from_slice(&own.initial);
                let ended = walk(&own.steps, &mut regs, &mut Words(&at.words));
                let Apart((kept, end)) = &at.kept[thread];
                kept.iter().zip(&regs).for_each(|(k, v)| k.store(*v, Relaxed));
                end.store(ended, Relaxed);
            }
            meet(&mut round);
            if let Some(seen) = &mut tell {
                for at in instances {
                    if let Some(outcome) = at.outcome(test) {
                        count(seen, outcome);
                    }
                    at.reset(test);
                }
                over.store(started.elapsed() >= time || stop(), Relaxed);
            }
        }
    };
    let work = &work;
    thread::scope(|s| {
        s.spawn(move || work(0, Some(seen)));
        (1..threads).for_each(|t| _ = s.spawn(move || work(t, None)));
    });
}

fn count(seen: &mut Seen, outcome: Outcome) {
    seen.instances += 1;
    match seen.outcomes.iter_mut().find(|(o, _)| *o == outcome) {
        Some((_, n)) => *n += 1,
        None => seen.outcomes.push((outcome, 1)),
    }
}

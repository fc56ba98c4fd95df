//! Whether the others go on while one thread is stopped in the middle of an operation: the definitions of progress, tried.
//!
//! One thread works on a shared object and is stopped again and again, wherever it is ([`crate::measure::halt`]); the others work on. If none of
//! them finishes an operation until it goes on, the object is **blocking**: one such pause is a proof. That none was seen is no proof: of `n`
//! pauses without a halt one may only say that the share of bad places is likely below `3 / n` (the rule of three).
//!
//! So one quotes that it halted, so often of so many, and not the share as a property of the object: "inside" is a call of the lane, with whatever
//! it writes down beside the operation, and the more of that there is, the rarer the bad places are.
//!
//! Pauses do not count in which the thread was between two operations. A halt counts only if each of the others used a CPU meanwhile, or slept all
//! along. Those in which it was inside
//! the C library are counted apart: there it may have held the allocator's lock, which is not the object's doing.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;

use crate::{
    lab::{plan::Plan, sample::Sample},
    machine::pin_current_thread,
    measure::{
        halt::halt,
        order::Order,
        throughput::{Crowd, Lane},
        witness::{self, ThreadId},
    },
};

/// After a stop, what was under way may be finished.
const GRACE: Duration = Duration::from_micros(100);
/// Who finishes no more than so many operations after that had them under way, or found what lay before the bad place: a queue with a hole in it
/// gives out first what is in front of the hole.
const UNDER_WAY: u64 = 3;
/// Then so often one looks whether anybody got on ...
const LOOK: Duration = Duration::from_micros(150);
/// ... and calls it a halt after so long: an operation must take far less.
const HALT: Duration = Duration::from_millis(3);
/// When it goes on, so must some other: late, where a lock is unfair and the machine is busy.
const RECOVERY: Duration = Duration::from_secs(10);
/// The longest run of the thread between two pauses.
const MOST_BETWEEN_US: usize = 120;

/// Fewer pauses inside an operation than this, in one launch of several, say nothing.
const FEWEST: u64 = 5;

/// What was seen in some pauses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pauses {
    /// The thread was stopped inside an operation, and not in the C library.
    pub inside: u64,
    /// Of these, so many in which no other thread finished anything.
    pub halted: u64,
    /// So many in which some others got on and some did not.
    pub parted: u64,
    /// The thread was stopped inside an operation, and there inside the C library.
    pub in_library: u64,
    /// Of these, so many in which no other thread finished anything.
    pub library_halted: u64,
    /// It was between two operations, or nobody got on and some had no CPU: counts for nothing.
    pub dropped: u64,
}

impl Pauses {
    /// The class, as far as it was seen. `others` says how many threads went on.
    pub fn class(&self, others: usize) -> Option<&'static str> {
        match (self.inside, self.halted, others) {
            (0, _, _) => None,
            (_, 1.., 1) => Some("blocking: the other one stood still until the stopped one went on"),
            (_, 1.., _) => Some(
                "all others stood still until the stopped one went on: blocking, or only obstruction-free if one alone goes on",
            ),
            (_, 0, 1) => Some("obstruction-free or better, as far as seen: the other one went on"),
            (_, 0, _) => Some("lock-free, as far as seen: always some other one went on"),
        }
    }

    /// Values: `halted_count` and `halted_share` of the `pauses_count` inside the operation, `parted_share`; `library_halted_count` of the `library_count` in the C
    /// library. With fewer than 5 pauses inside (a run has five launches or so): unmeasured, since that none of them halted would say nothing.
    pub fn sample(&self, case: &str, param: &str, others: usize) -> Sample {
        let class = match self.class(others) {
            Some(class) if self.inside >= FEWEST => class,
            _ => {
                let (inside, all) = (self.inside, self.inside + self.in_library + self.dropped);
                let why = format!(
                    "not shown: {inside} of {all} stops were inside an operation, with a CPU for the others"
                );
                return Sample::unmeasured(case, param, why);
            }
        };
        let mut s = Sample::new(case, param)
            .share("halted_share", self.halted as f64, self.inside as f64)
            .with("halted_count", self.halted as f64)
            .share("parted_share", self.parted as f64, self.inside as f64)
            .with("pauses_count", self.inside as f64)
            .with("library_count", self.in_library as f64)
            .with("library_halted_count", self.library_halted as f64)
            .seeing(class);
        s.receipts.kept_count = Some((self.inside + self.in_library) as f64);
        s.receipts.dropped_count = Some(self.dropped as f64);
        s
    }
}

/// What the threads show of themselves. Relaxed: nothing but numbers; what the stopped one wrote is seen by the edge that says that it stands.
#[derive(Debug)]
struct Board {
    stop: AtomicBool,
    inside: CachePadded<AtomicBool>,
    done: Vec<CachePadded<AtomicU64>>,
}

impl Board {
    fn counts(&self) -> Vec<u64> {
        self.done.iter().skip(1).map(|n| n.load(Relaxed)).collect()
    }
}

fn run(board: &Board, number: usize, lane: &mut Lane) {
    let mut done = 0;
    while !board.stop.load(Relaxed) {
        if number == 0 {
            board.inside.store(true, Relaxed);
        }
        (lane.0)(1, 0);
        if number == 0 {
            board.inside.store(false, Relaxed);
        }
        done += 1;
        board.done[number].store(done, Relaxed);
    }
}

/// [`progress`] as a sample of this contender, or the reason why there is none.
pub fn stop_one(plan: &Plan, param: &str, others: usize, arm: &Crowd) -> Sample {
    match progress(plan, others, arm) {
        Ok(seen) => seen.sample(arm.case, param, others),
        Err(why) => Sample::unmeasured(arm.case, param, why),
    }
}

/// Stops one thread of a contender again and again for the plan's slice while `others` more work on: one launch. At least two pauses, and
/// never longer than some seconds more than the slice, whatever the contender does, unless it hangs by itself.
///
/// # Errors
/// Where threads cannot be stopped, or the others did not go on when the stopped one did.
pub fn progress(plan: &Plan, others: usize, arm: &Crowd) -> Result<Pauses, String> {
    let board = Arc::new(Board {
        stop: AtomicBool::new(false),
        inside: CachePadded::default(),
        done: (0..=others).map(|_| CachePadded::default()).collect(),
    });
    let (tell, told) = mpsc::channel();
    let threads: Vec<_> = (arm.make)(others + 1)
        .into_iter()
        .enumerate()
        .map(|(number, mut lane)| {
            let (board, tell) = (board.clone(), tell.clone());
            // The stopped one needs no CPU: the others have all of them.
            let cpu = plan.cpus[number % plan.cpus.len()];
            thread::spawn(move || {
                pin_current_thread(cpu);
                let _ = tell.send((number, witness::this_thread()));
                run(&board, number, &mut lane);
            })
        })
        .collect();
    let mut ids: Vec<(usize, ThreadId)> =
        (0..=others).map(|_| told.recv().expect("each thread says hello")).collect();
    ids.sort_by_key(|id| id.0);
    let ids: Vec<ThreadId> = ids.into_iter().map(|id| id.1).collect();
    let seen = pauses(plan, &board, &ids);
    board.stop.store(true, Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a thread panicked".to_string())?;
    }
    seen
}

fn pauses(plan: &Plan, board: &Board, ids: &[ThreadId]) -> Result<Pauses, String> {
    let mut seen = Pauses::default();
    let mut order = Order::new(plan.seed ^ (plan.launch as u64) << 32);
    let started = Instant::now();
    let mut turns = 0;
    while turns < 2 || started.elapsed() < plan.slice {
        turns += 1;
        thread::sleep(Duration::from_micros(order.below(MOST_BETWEEN_US) as u64));
        one(board, ids, &mut seen)?;
    }
    Ok(seen)
}

/// Whether threads could have done something since a moment.
struct Chance(Vec<(Option<Duration>, Option<bool>)>);

impl Chance {
    /// What a thread computes in less may be too little for an operation.
    const ENOUGH: Duration = Duration::from_micros(300);

    fn from_now(ids: &[ThreadId]) -> Self {
        Self(ids.iter().map(|&id| (witness::cpu_time_of(id), witness::sleeps(id))).collect())
    }

    /// True if each of them has used a CPU for a while, or slept both then and now: in a lock, since they do nothing else.
    fn had_by_now(&self, ids: &[ThreadId]) -> bool {
        let now = Self::from_now(ids);
        self.0.iter().zip(&now.0).all(|((cpu, sleeps), (cpu_now, sleeps_now))| {
            let used = cpu.zip(*cpu_now).map(|(a, b)| b.saturating_sub(a));
            used.is_some_and(|used| used >= Self::ENOUGH)
                || (*sleeps == Some(true) && *sleeps_now == Some(true))
        })
    }
}

/// One pause.
fn one(board: &Board, ids: &[ThreadId], seen: &mut Pauses) -> Result<(), String> {
    let stopped = halt(ids[0])?;
    let began = Instant::now();
    let (inside, in_library) = (board.inside.load(Relaxed), stopped.in_c_library());
    thread::sleep(GRACE);
    let (from, chance) = (board.counts(), Chance::from_now(&ids[1..]));
    let got_on = |from: &[u64], least: u64| {
        board.counts().iter().zip(from).filter(|(now, before)| **now > **before + least).count()
    };
    let others = from.len();
    // Until all have got on, or it is clear that some do not. The last word is a count and no time: this thread may be late as well.
    while got_on(&from, UNDER_WAY) < others && began.elapsed() < HALT {
        thread::sleep(LOOK);
    }
    let moved = got_on(&from, UNDER_WAY);
    // Who gets on has shown it; who does not must have had the chance to: a neighbour that takes the CPU is no halt.
    let counts = inside && (moved > 0 || chance.had_by_now(&ids[1..]));
    drop(stopped);
    // Now they must go on: else it was not the pause that held them up.
    let (at_end, released) = (board.counts(), Instant::now());
    while got_on(&at_end, 0) == 0 {
        if released.elapsed() > RECOVERY {
            return Err("the others did not go on when the stopped thread did".into());
        }
        thread::yield_now();
    }
    match (counts, in_library == Some(true)) {
        (false, _) => seen.dropped += 1,
        (true, true) => {
            seen.in_library += 1;
            seen.library_halted += u64::from(moved == 0);
        }
        (true, false) => {
            seen.inside += 1;
            seen.halted += u64::from(moved == 0);
            seen.parted += u64::from(moved > 0 && moved < others);
        }
    }
    Ok(())
}

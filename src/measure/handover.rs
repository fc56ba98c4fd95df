//! What it costs to hand values from one thread to another: two pinned threads, each with its leg, and rounds of equal counts.
//!
//! Contenders meet the baseline in quads of rounds, `base case case base` or the reverse by lot, as in [`crate::measure::cost`]. Both threads
//! meet at a word before each round, and each reads its clock around its own leg and never inside it: a round lasts from the later start
//! to the later end. It counts if both had their CPU all the while (CPU time / wall time); the result never decides.
//!
//! Why not [`crate::measure::throughput`]: a lane there may be told to stop between two operations, and its partner would wait for ever.
use std::{
    borrow::Borrow,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering::*},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;

use crate::{
    lab::{
        Timed,
        plan::Plan,
        sample::{AA, Sample},
    },
    machine::pin_current_thread,
    measure::{
        gang::Apart,
        order::Order,
        scatter::Scatter,
        state::{Met, States},
        witness,
    },
    stats,
};

/// One thread's part: it returns when it has moved that many values, and its partner is told the same number. What it writes as it goes has
/// cache lines of its own, as a lane's has.
pub type Leg = Box<Apart<dyn FnMut(u64) + Send>>;

/// One contender.
pub struct Relay {
    /// The case's name.
    pub case: &'static str,
    /// Builds a fresh instance: the legs of the two threads.
    pub make: Box<dyn Fn() -> [Leg; 2]>,
}

impl Relay {
    /// This case, made so.
    pub fn new(case: &'static str, make: impl Fn() -> [Leg; 2] + 'static) -> Self {
        Self { case, make: Box::new(make) }
    }
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Relay").field("case", &self.case).finish_non_exhaustive()
    }
}

/// About this long is a round: an interruption of some 20 us, which a virtual machine's timer takes now and then, must not spoil it.
const ROUND: Duration = Duration::from_micros(800);
/// Below this share of CPU time a leg was interrupted.
const OWNED: f64 = 0.97;
/// Fewer quads than this say nothing.
const ENOUGH: usize = 5;
/// The fewest values of a round: with so many, the clock at both ends costs less than a ns for each.
const FEWEST: u64 = 64;
/// The most values of a round.
const MOST: u64 = 1 << 20;

const STOP: u64 = u64::MAX;

/// Tries until there is an answer. Without a pause instruction, whose length (up to 140 cycles) would be part of what is measured; where the
/// partner has lost its CPU, or must share ours, it gets it after a while.
#[inline]
pub fn until<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
    loop {
        for _ in 0..4096 {
            if let Some(answer) = attempt() {
                return answer;
            }
        }
        thread::yield_now();
    }
}

/// What the two threads share. E1 the leader's Release of `turn` -> the follower's Acquire: instance and count. E2 the follower's Release of
/// `ready` and of `done` -> the leader's Acquire: that it is there, and its report.
#[derive(Debug, Default)]
struct Board {
    turn: CachePadded<AtomicU64>,
    ready: CachePadded<AtomicU64>,
    done: CachePadded<AtomicU64>,
    instance: AtomicUsize,
    count: AtomicU64,
    report: Mutex<Option<Run>>,
}

/// One leg of a round.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: Instant,
    end: Instant,
    owned: bool,
}

fn run(leg: &mut Leg, n: u64) -> Run {
    let cpu = witness::cpu_time();
    let start = Instant::now();
    (leg.0)(n);
    let end = Instant::now();
    let owned = match (cpu, witness::cpu_time()) {
        (Some(a), Some(b)) => (b - a).as_secs_f64() >= OWNED * (end - start).as_secs_f64(),
        _ => true, // the machine's grade says that it cannot tell
    };
    Run { start, end, owned }
}

fn follow(board: &Board, legs: &mut [Leg]) {
    let mut last = 0;
    loop {
        let turn = until(|| Some(board.turn.load(Acquire)).filter(|t| *t != last)); // E1
        if turn == STOP {
            return;
        }
        last = turn;
        board.ready.store(turn, Release); // E2
        let report = run(&mut legs[board.instance.load(Relaxed)], board.count.load(Relaxed));
        *board.report.lock().expect("nobody panics with it") = Some(report);
        board.done.store(turn, Release); // E2
    }
}

/// The leader's side.
struct Leader<'b> {
    board: &'b Board,
    legs: Vec<Leg>,
    turn: u64,
}

impl Leader<'_> {
    /// One round: ns for each value, and whether both had their CPU.
    fn round(&mut self, instance: usize, n: u64) -> (f64, bool) {
        self.turn += 1;
        let (board, turn) = (self.board, self.turn);
        board.instance.store(instance, Relaxed);
        board.count.store(n, Relaxed);
        board.turn.store(turn, Release); // E1
        until(|| (board.ready.load(Acquire) == turn).then_some(())); // E2
        let mine = run(&mut self.legs[instance], n);
        until(|| (board.done.load(Acquire) == turn).then_some(())); // E2
        let other = board.report.lock().expect("nobody panics with it").take().expect("told by `done`");
        let wall = mine.end.max(other.end) - mine.start.max(other.start);
        (wall.as_secs_f64() * 1e9 / n as f64, mine.owned && other.owned)
    }

    /// One count for both contenders of a quad, from the slower one.
    fn count_for(&mut self, round: Duration, fewest: u64, base: usize, case: usize) -> u64 {
        let mut fit = |instance| {
            let mut n = fewest;
            // The better of two: an interruption must not decide how long the rounds are.
            let mut lasts = |n| self.round(instance, n).0.min(self.round(instance, n).0) * n as f64;
            while n < MOST && lasts(n) < round.as_secs_f64() * 1e9 {
                n *= 2;
            }
            n
        };
        fit(base).min(fit(case))
    }
}

impl Drop for Leader<'_> {
    fn drop(&mut self) {
        self.board.turn.store(STOP, Release);
    }
}

/// Measures every contender against the first on the plan's first two CPUs: one launch. Value: `transfer_ns`, the time for each value handed
/// over. A contender's is the baseline's median times the median paired ratio. With one CPU there is nothing to hand over: no value.
pub fn relay(plan: &Plan, param: &str, arms: impl IntoIterator<Item: Borrow<Relay>>) -> Vec<Sample> {
    let arms: Vec<_> = arms.into_iter().collect();
    let arms: Vec<&Relay> = arms.iter().map(Borrow::borrow).collect();
    let Some(&base) = arms.first() else { return Vec::new() };
    let names: Vec<&str> = std::iter::once(AA).chain(arms[1..].iter().map(|a| a.case)).collect();
    let refuse = |why: &str| {
        std::iter::once(base.case)
            .chain(names.iter().copied())
            .map(|c| Sample::unmeasured(c, param, why))
            .collect()
    };
    let [first, second, ..] = plan.cpus[..] else { return refuse("a hand-over needs two CPUs") };
    // Instance 0 is the baseline, 1 its twin, then the others; the last is the bare line.
    let mut scatter = Scatter::new(plan);
    let (mut legs, mut others): (Vec<Leg>, Vec<Leg>) =
        std::iter::once(base).chain(arms).map(|a| <(Leg, Leg)>::from(scatter.make(&a.make))).unzip();
    let others_count = names.len();
    let (ping, pong) = bare();
    legs.push(ping);
    others.push(pong);
    let board = Board::default();
    let (pinned, (quads, met)) = thread::scope(|s| {
        let board = &board;
        let follower = s.spawn(move || {
            let pinned = pin_current_thread(second);
            follow(board, &mut others);
            pinned
        });
        let leader = s.spawn(move || {
            let pinned = pin_current_thread(first);
            (pinned, lead(plan, others_count, Leader { board, legs, turn: 0 }))
        });
        let (pinned, led) = leader.join().expect("a leg does not panic");
        (pinned && follower.join().expect("a leg does not panic"), led)
    });
    let all: Vec<f64> = quads.iter().flatten().filter(|q| q.owned).map(|q| q.base_ns).collect();
    let base_ns = stats::median(&all);
    let sample = |case: &str, quads: &[Quad], is_base: bool| {
        let kept: Vec<f64> = quads.iter().filter(|q| q.owned).map(|q| (q.case_ns / q.base_ns).ln()).collect();
        let enough = kept.len() >= ENOUGH || (plan.is_smoke() && !kept.is_empty());
        let mut s = match base_ns.filter(|_| enough) {
            Some(ns) => {
                let ratio = if is_base { 1.0 } else { stats::median(&kept).map_or(1.0, f64::exp) };
                Sample::new(case, param).with("transfer_ns", ns * ratio)
            }
            None => Sample::unmeasured(
                case,
                param,
                format!(
                    "the two threads did not run at once: {} of {} quads of rounds counted",
                    kept.len(),
                    quads.len()
                ),
            ),
        };
        s.receipts.kept_count = Some(kept.len() as f64);
        s.receipts.dropped_count = Some((quads.len() - kept.len()) as f64);
        if !pinned {
            s.doubts.push("the threads could not be pinned".into());
        }
        met.mark(s)
    };
    let mut samples = vec![sample(base.case, &quads[0], true)];
    samples.extend(names.iter().zip(&quads).map(|(case, quads)| sample(case, quads, false)));
    samples
}

/// Four rounds: both contenders twice.
#[derive(Debug)]
struct Quad {
    base_ns: f64,
    case_ns: f64,
    owned: bool,
    /// The bare hand-over just before.
    look: usize,
}

/// Round trips of one look at the machine's state.
const TRIPS: u64 = 128;

/// The bare line between the two threads, as a leg for each: what hand-overs cost at least, and which state the machine is in.
fn bare() -> (Leg, Leg) {
    let ball = Arc::new(Apart(AtomicU64::new(0)));
    let back = ball.clone();
    // E3 each side's Release -> the other's Acquire; the ball carries nothing.
    let ping = move |n| {
        for _ in 0..n {
            ball.0.store(1, Release); // E3
            until(|| (ball.0.load(Acquire) == 0).then_some(())); // E3
        }
    };
    let pong = move |n| {
        for _ in 0..n {
            until(|| (back.0.load(Acquire) == 1).then_some(())); // E3
            back.0.store(0, Release); // E3
        }
    };
    (Box::new(Apart(ping)), Box::new(Apart(pong)))
}

/// The quads of each contender that met the state in which the machine was most of the time, and that state.
fn lead(plan: &Plan, others: usize, mut leader: Leader<'_>) -> (Vec<Vec<Quad>>, Met) {
    let (round, fewest) = if plan.is_smoke() { (ROUND / 10, 2) } else { (ROUND, FEWEST) };
    let counts: Vec<u64> = (1..=others).map(|i| leader.count_for(round, fewest, 0, i)).collect();
    let mut quads: Vec<Vec<Quad>> = (0..others).map(|_| Vec::new()).collect();
    let mut order = Order::new(plan.seed ^ (plan.launch as u64) << 32);
    let started = Instant::now();
    let budget = plan.slice * u32::try_from(others).unwrap_or(u32::MAX);
    let mut turn: Vec<usize> = (0..others).collect();
    let mut states = States::new(plan);
    while started.elapsed() < budget {
        order.shuffle(&mut turn);
        // Half of a round trip; one that was interrupted tells nothing.
        let (trip, owned) = leader.round(others + 1, TRIPS);
        let look = states.saw(owned.then_some(trip / 2.0));
        for &i in &turn {
            let (b, c) = (0, i + 1);
            let rounds = if order.below(2) == 0 { [b, c, c, b] } else { [c, b, b, c] };
            let mut quad = Quad { base_ns: 0.0, case_ns: 0.0, owned: true, look };
            for instance in rounds {
                let (ns, owned) = leader.round(instance, counts[i]);
                *(if instance == b { &mut quad.base_ns } else { &mut quad.case_ns }) += ns / 2.0;
                quad.owned &= owned;
            }
            quads[i].push(quad);
        }
    }
    let met = states.most();
    quads.iter_mut().for_each(|quads| quads.retain(|q| met.keeps(q.look)));
    (quads, met)
}

/// The same contender for criterion: one round of that many values, timed by the first thread.
pub fn timed(plan: &Plan, arm: &Relay) -> Timed {
    let [mut mine, mut other] = (arm.make)();
    let (first, second) = (plan.cpus[0], plan.cpus[1 % plan.cpus.len()]);
    Box::new(move |n| {
        let there = AtomicUsize::new(0);
        let meet = || {
            there.fetch_add(1, Relaxed);
            until(|| (there.load(Relaxed) == 2).then_some(()));
        };
        thread::scope(|s| {
            s.spawn(|| {
                pin_current_thread(second);
                meet();
                (other.0)(n);
            });
            let leader = s.spawn(|| {
                pin_current_thread(first);
                meet();
                let t = Instant::now();
                (mine.0)(n);
                t.elapsed()
            });
            leader.join().expect("a leg does not panic")
        })
    })
}

//! Runs random little programs on an object, a thread for each lane, and writes down what happened when.

use super::check::{Event, linearize, shrink};
use super::lanes;
use super::spec::{Op, Out, Spec};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use underhood::measure::order::Order;

/// What a lane may ask.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    Put,
    Take,
    Steal,
    Add,
    /// Always by one.
    Increment,
    Write,
    Read,
}

/// Answers one operation.
pub type Answer<'a> = &'a mut dyn FnMut(Op) -> Out;

/// A lane: prepares what its thread needs (a handle, say) and passes on how to answer.
pub type Lane = Box<dyn FnOnce(&mut dyn FnMut(Answer<'_>)) + Send>;

/// A kind of object, and what its lanes do with it.
pub struct Subject {
    pub name: &'static str,
    pub spec: Spec,
    /// For each lane, what it asks.
    pub asks: &'static [&'static [Ask]],
    /// The lanes of a new object.
    pub make: fn() -> Vec<Lane>,
}

/// Operations of each lane in one history: few, so that the search is short, and enough to fill and to drain.
const EACH: usize = 5;

/// The program that this seed stands for. Values are never used twice, and never 0.
fn program(subject: &Subject, seed: u64) -> Vec<Vec<Op>> {
    let mut order = Order::new(seed);
    let mut value = 0;
    let mut op = |asks: &[Ask]| {
        value += 1;
        match asks[order.below(asks.len())] {
            Ask::Put => Op::Put(value),
            Ask::Take => Op::Take,
            Ask::Steal => Op::Steal,
            Ask::Add => Op::Add(value),
            Ask::Increment => Op::Add(1),
            Ask::Write => Op::Write(value),
            Ask::Read => Op::Read,
        }
    };
    subject.asks.iter().map(|asks| (0..EACH).map(|_| op(asks)).collect()).collect()
}

/// One history. `begin` prepares each thread, by seed and lane.
pub fn record(subject: &Subject, seed: u64, begin: fn(u64, u64)) -> Vec<Event> {
    let programs = program(subject, seed);
    // A clock that is a read-modify-write on one word: two calls that do not overlap are in order for every lane, whatever
    // the structure's own orderings are; and on x86 a store can't still wait in a buffer when the clock says "returned".
    let (clock, ready) = (AtomicU64::new(0), AtomicUsize::new(0));
    let threads = programs.len();
    let run = |lane: usize, body: Lane, program: Vec<Op>| {
        begin(seed, lane as u64);
        let mut pauses = Order::new(seed ^ lane as u64);
        let mut events = Vec::new();
        body(&mut |answer| {
            ready.fetch_add(1, SeqCst);
            while ready.load(SeqCst) < threads {
                thread::yield_now();
            }
            for &op in &program {
                // Without pauses between operations whole lanes would run one after the other.
                (0..pauses.below(200)).for_each(|_| std::hint::spin_loop());
                if pauses.below(8) == 0 {
                    thread::yield_now();
                }
                let call = clock.fetch_add(1, SeqCst);
                let out = answer(op);
                let ret = clock.fetch_add(1, SeqCst);
                events.push(Event { lane, call, ret, op, out });
            }
        });
        events
    };
    thread::scope(|s| {
        let lanes = (subject.make)().into_iter().zip(programs).enumerate();
        let run = &run;
        let lanes: Vec<_> =
            lanes.map(|(lane, (body, program))| s.spawn(move || run(lane, body, program))).collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("a lane does not panic")).collect()
    })
}

/// The first of these rounds whose history can't be explained, shrunk and drawn, with how to repeat it.
pub fn find(subject: &Subject, seeds: impl Iterator<Item = u64>, begin: fn(u64, u64)) -> Option<String> {
    seeds.into_iter().find_map(|seed| {
        let history = record(subject, seed, begin);
        if linearize(subject.spec, &history).is_some() {
            return None;
        }
        let small = shrink(subject.spec, &history);
        Some(format!(
            "{}: not linearizable as {:?} (seed {seed}: UNDERHOOD_LINEAR_SEED={seed} repeats the program and the pauses; the \
             system's scheduler is still free)\n{}",
            subject.name,
            subject.spec,
            lanes::draw(&small)
        ))
    })
}

//! Recorded histories against the sequential specification: is there an order of the operations that explains every answer?
//!
//! ```text
//! cargo test --test linear                                 all of it
//! UNDERHOOD_LINEAR_SEED=17 UNDERHOOD_LINEAR_ROUNDS=1 ...    the round that failed, again
//! ```
//!
//! This finds what a conservation check can't see: answers that are possible one by one and impossible together. It runs on
//! one real machine; orderings that are merely too weak are for `tests/model/`.

#![allow(unreachable_pub, missing_debug_implementations, reason = "shared between the files of one test")]
#![allow(dead_code, reason = "the structures are included as they are, whatever part the subjects use")]
#![allow(clippy::duplicate_mod, reason = "the subjects are written once and stand on two faces")]

mod check;
mod lanes;
#[path = "../../src/structures/lockfree/mod.rs"]
mod lockfree;
#[path = "../../src/structures/reclaim/mod.rs"]
mod reclaim;
mod record;
mod spec;
#[path = "chaos.rs"]
mod sync;
mod zoo;

/// The subjects over the library itself: the code that the labs measure.
#[path = "."]
mod real {
    use underhood::structures::{lockfree, reclaim};
    #[path = "subjects.rs"]
    pub mod subjects;
}

/// The subjects over the same files, with the chaotic face.
#[path = "."]
mod chaotic {
    use crate::{lockfree, reclaim};
    #[path = "subjects.rs"]
    pub mod subjects;
}

/// Where the structures look for each other.
mod structures {
    pub(crate) use crate::{reclaim, sync};
}

use check::{Event, linearizable_by_force, linearize, shrink};
use spec::{Op, Out, Spec, State};
use std::env;
use underhood::measure::order::Order;

/// The number in an environment variable, or `default`.
fn number(name: &str, default: u64) -> u64 {
    env::var(name)
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// The rounds of this run.
fn seeds(rounds: u64) -> impl Iterator<Item = u64> {
    let first = number("UNDERHOOD_LINEAR_SEED", 1);
    (0..number("UNDERHOOD_LINEAR_ROUNDS", rounds)).map(move |round| first + round)
}

fn event(lane: usize, call: u64, ret: u64, op: Op, out: Out) -> Event {
    Event { lane, call, ret, op, out }
}

/// A history that has an explanation: each operation takes effect at a moment of its own, and its call and its return lie
/// anywhere around that moment in which its lane has nothing else to do.
fn truthful(spec: Spec, lanes: usize, ops: usize, order: &mut Order) -> Vec<Event> {
    const APART: usize = 1000;
    let mut state = State::default();
    let lane: Vec<usize> = (0..ops).map(|_| order.below(lanes)).collect();
    let effect = |i: usize| APART * (i + 1);
    let mut free = vec![0; lanes];
    let mut moments = Vec::new();
    let mut history = Vec::new();
    for i in 0..ops {
        let op = match (spec, order.below(2)) {
            (Spec::Fifo(_) | Spec::Lifo | Spec::Deque(_), 0) => Op::Put(i as u64 + 1),
            (Spec::Deque(_), _) if order.below(2) == 0 => Op::Steal,
            (Spec::Fifo(_) | Spec::Lifo | Spec::Deque(_), _) => Op::Take,
            (Spec::Counter | Spec::Sum, 0) => Op::Add(i as u64 + 1),
            (Spec::Register, 0) => Op::Write(i as u64 + 1),
            _ => Op::Read,
        };
        let next = (i + 1..ops).find(|&j| lane[j] == lane[i]).map_or(APART * (ops + 3), effect);
        let call = free[lane[i]] + order.below(effect(i) - free[lane[i]]);
        let ret = effect(i) + order.below(next - effect(i));
        free[lane[i]] = ret;
        moments.extend([(call, i, 0), (ret, i, 1)]);
        history.push(event(lane[i], 0, 0, op, spec.apply(&mut state, op)));
    }
    moments.sort_unstable();
    for (now, (_, i, end)) in moments.into_iter().enumerate() {
        *if end == 0 { &mut history[i].call } else { &mut history[i].ret } = now as u64;
    }
    history
}

/// The checker against brute force, on random histories that are true, and on the same ones with an answer changed.
#[test]
fn the_checker_agrees_with_brute_force() {
    let mut order = Order::new(7);
    for spec in
        [Spec::Fifo(2), Spec::Fifo(9), Spec::Lifo, Spec::Deque(2), Spec::Counter, Spec::Sum, Spec::Register]
    {
        let (mut explained, mut not) = (0, 0);
        for round in 0..300 {
            let mut history = truthful(spec, 3, 6, &mut order);
            assert!(
                linearize(spec, &history).is_some(),
                "a true history is explained\n{}",
                lanes::draw(&history)
            );
            if round % 3 != 0 {
                // An answer that another operation of the same kind got: possible by itself, and perhaps not here.
                let kind = |e: &Event| std::mem::discriminant(&e.op);
                for _ in 0..4 {
                    let (one, other) = (order.below(6), order.below(6));
                    if kind(&history[one]) == kind(&history[other]) {
                        history[one].out = history[other].out;
                    }
                }
            }
            let order = linearize(spec, &history);
            assert_eq!(
                order.is_some(),
                linearizable_by_force(spec, &history),
                "{spec:?}\n{}",
                lanes::draw(&history)
            );
            if let Some(order) = order {
                explained += 1;
                let mut state = State::default();
                for i in order {
                    assert_eq!(
                        spec.apply(&mut state, history[i].op),
                        history[i].out,
                        "the order given explains it"
                    );
                }
            } else {
                not += 1;
                let small = shrink(spec, &history);
                assert!(!linearizable_by_force(spec, &small), "a shrunk history still fails");
                assert!(small.iter().all(|e| history.contains(e)), "and is a part of the whole");
            }
        }
        assert!(
            explained >= 60 && not >= 20,
            "{spec:?}: {explained} explained, {not} not: the test is one-sided"
        );
    }
}

/// Textbook histories, with their verdicts.
#[test]
fn known_histories() {
    use Op::{Add, Put, Read, Take, Write};
    use Out::{Done, Full, Nothing, Value};
    let overlapping = [event(0, 0, 3, Put(1), Done), event(1, 1, 2, Take, Value(1))];
    assert!(linearize(Spec::Fifo(9), &overlapping).is_some());
    let from_the_future = [event(0, 2, 3, Put(1), Done), event(1, 0, 1, Take, Value(1))];
    assert!(linearize(Spec::Fifo(9), &from_the_future).is_none());
    let twice =
        [event(0, 0, 1, Put(1), Done), event(1, 2, 4, Take, Value(1)), event(2, 3, 5, Take, Value(1))];
    assert!(linearize(Spec::Lifo, &twice).is_none());
    let overtaken =
        [event(0, 0, 1, Put(1), Done), event(0, 2, 3, Put(2), Done), event(1, 4, 5, Take, Value(2))];
    assert!(linearize(Spec::Fifo(9), &overtaken).is_none());
    assert!(linearize(Spec::Lifo, &overtaken).is_some());
    let full_too_early = [event(0, 0, 1, Put(1), Done), event(0, 2, 3, Put(2), Full)];
    assert!(linearize(Spec::Fifo(2), &full_too_early).is_none());
    assert!(linearize(Spec::Fifo(1), &full_too_early).is_some());
    let lost = [event(0, 0, 2, Add(1), Value(0)), event(1, 1, 3, Add(1), Value(0))];
    assert!(linearize(Spec::Counter, &lost).is_none());
    let back =
        [event(0, 0, 1, Write(1), Done), event(1, 2, 3, Read, Value(1)), event(1, 4, 5, Read, Value(0))];
    assert!(linearize(Spec::Register, &back).is_none());
    assert!(linearize(Spec::Fifo(1), &[event(0, 0, 1, Take, Nothing)]).is_some());
    assert!(linearize(Spec::Fifo(1), &[]).is_some());
}

/// A failing history keeps what makes it fail, and loses the rest.
#[test]
fn shrinking_leaves_the_fault() {
    use Op::{Put, Take};
    use Out::{Done, Nothing, Value};
    let history = [
        event(1, 0, 1, Take, Nothing),
        event(0, 2, 3, Put(1), Done),
        event(0, 4, 5, Put(2), Done),
        event(1, 6, 7, Take, Value(2)),
        event(0, 8, 9, Put(3), Done),
        event(1, 10, 11, Take, Value(1)),
        event(1, 12, 13, Take, Value(3)),
    ];
    let small = shrink(Spec::Fifo(9), &history);
    let kept: Vec<Op> = small.iter().map(|e| e.op).collect();
    assert_eq!(kept, [Put(1), Put(2), Take, Take], "2 came out before 1");
    assert_eq!(
        lanes::draw(&small),
        "lane 0 |put 1| |put 2|\nlane 1                 |take=2| |take=1|\n",
        "{}",
        lanes::draw(&small)
    );
}

/// The recorder tested: objects with a fault are caught, and their sound twins are not.
#[test]
fn the_zoo_is_caught() {
    for (faulty, sound) in zoo::PAIRS {
        let found = record::find(faulty, (0..20_000).map(|s| s + 1), zoo::begin);
        let found = found.unwrap_or_else(|| panic!("{}: its fault was not found", faulty.name));
        assert!(found.contains("UNDERHOOD_LINEAR_SEED=") && found.contains("lane 1"), "{found}");
        assert_eq!(record::find(sound, seeds(300), zoo::begin), None);
    }
}

/// Every structure, as the labs run it.
#[test]
fn every_structure_on_real_threads() {
    for subject in real::subjects::SUBJECTS {
        let fault = record::find(subject, seeds(400), |_, _| {});
        assert!(fault.is_none(), "{}", fault.unwrap_or_default());
    }
}

/// Every structure, with pauses at each of its steps.
#[test]
fn every_structure_in_chaos() {
    for subject in chaotic::subjects::SUBJECTS {
        let fault = record::find(subject, seeds(400), sync::pauses::begin);
        assert!(fault.is_none(), "{}", fault.unwrap_or_default());
    }
}

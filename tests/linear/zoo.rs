//! Objects with a fault on purpose, each beside a sound twin: they test the tester, and nothing else may use them.

use super::record::{Answer, Ask, Lane, Subject};
use super::spec::{Op, Out, Spec};
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::yield_now;

thread_local! { static LANE: Cell<u64> = const { Cell::new(0) }; }

/// Nothing random here: only which lane this is.
pub fn begin(_seed: u64, lane: u64) {
    LANE.set(lane);
}

const BOTH: &[Ask] = &[Ask::Put, Ask::Take];
const COUNT: &[Ask] = &[Ask::Increment, Ask::Read];
const REGISTER: &[Ask] = &[Ask::Write, Ask::Read];

/// The faulty one, then its twin.
pub const PAIRS: &[(&Subject, &Subject)] = &[
    (
        &Subject { name: "sharded_fifo", spec: Spec::Fifo(99), asks: &[BOTH, BOTH], make: sharded_fifo },
        &Subject { name: "locked_fifo", spec: Spec::Fifo(99), asks: &[BOTH, BOTH], make: locked_fifo },
    ),
    (
        &Subject { name: "load_then_store", spec: Spec::Sum, asks: &[COUNT, COUNT], make: load_then_store },
        &Subject { name: "fetch_add", spec: Spec::Sum, asks: &[COUNT, COUNT], make: fetch_add },
    ),
    (
        &Subject {
            name: "sharded_sum",
            spec: Spec::Sum,
            asks: &[&[Ask::Add], &[Ask::Add], &[Ask::Read]],
            make: sharded_sum,
        },
        &Subject {
            name: "one_sum",
            spec: Spec::Sum,
            asks: &[&[Ask::Add], &[Ask::Add], &[Ask::Read]],
            make: one_sum,
        },
    ),
    (
        &Subject { name: "two_copies", spec: Spec::Register, asks: &[REGISTER, REGISTER], make: two_copies },
        &Subject { name: "one_copy", spec: Spec::Register, asks: &[REGISTER, REGISTER], make: one_copy },
    ),
];

type Deque = Mutex<VecDeque<u64>>;
type Word = AtomicU64;

fn lanes<O: Send + Sync + 'static>(count: usize, object: O, answer: fn(&O, Op) -> Out) -> Vec<Lane> {
    let object = Arc::new(object);
    let lane = |object: Arc<O>| -> Lane {
        Box::new(move |drive: &mut dyn FnMut(Answer<'_>)| drive(&mut |op| answer(&object, op)))
    };
    (0..count).map(|_| lane(Arc::clone(&object))).collect()
}

fn mine() -> usize {
    usize::try_from(LANE.get()).unwrap()
}

/// Each lane puts into a queue of its own and takes from the first that has something: no value is lost, none comes twice,
/// and a whole history is needed to see that it is no queue.
fn sharded_fifo() -> Vec<Lane> {
    lanes(2, [Deque::default(), Deque::default()], |shards, op| match op {
        Op::Put(value) => {
            shards[mine()].lock().unwrap().push_back(value);
            Out::Done
        }
        _ => shards.iter().find_map(|s| s.lock().unwrap().pop_front()).map_or(Out::Nothing, Out::Value),
    })
}

fn locked_fifo() -> Vec<Lane> {
    lanes(2, Deque::default(), |deque, op| match op {
        Op::Put(value) => {
            deque.lock().unwrap().push_back(value);
            Out::Done
        }
        _ => deque.lock().unwrap().pop_front().map_or(Out::Nothing, Out::Value),
    })
}

fn load_then_store() -> Vec<Lane> {
    lanes(2, Word::new(0), |word, op| match op {
        Op::Add(n) => {
            let seen = word.load(SeqCst);
            yield_now();
            word.store(seen + n, SeqCst);
            Out::Done
        }
        _ => Out::Value(word.load(SeqCst)),
    })
}

fn sum(lanes_count: usize) -> Vec<Lane> {
    lanes(lanes_count, Word::new(0), |word, op| match op {
        Op::Add(n) => {
            word.fetch_add(n, SeqCst);
            Out::Done
        }
        _ => Out::Value(word.load(SeqCst)),
    })
}

fn fetch_add() -> Vec<Lane> {
    sum(2)
}

fn one_sum() -> Vec<Lane> {
    sum(3)
}

/// A reader adds up two words, one after the other, and may see a later addition without an earlier one. With additions of
/// one nobody could tell, which is why a sharded counter of events is right and a sharded balance is not.
fn sharded_sum() -> Vec<Lane> {
    lanes(3, [Word::new(0), Word::new(0)], |shards, op| match op {
        Op::Add(n) => {
            shards[mine()].fetch_add(n, SeqCst);
            Out::Done
        }
        _ => {
            let first = shards[0].load(SeqCst);
            yield_now();
            Out::Value(first + shards[1].load(SeqCst))
        }
    })
}

/// Each lane reads its own copy, and a write reaches the copies one after the other.
fn two_copies() -> Vec<Lane> {
    lanes(2, [Word::new(0), Word::new(0)], |copies, op| match op {
        Op::Write(value) => {
            copies[0].store(value, SeqCst);
            yield_now();
            copies[1].store(value, SeqCst);
            Out::Done
        }
        _ => Out::Value(copies[mine()].load(SeqCst)),
    })
}

fn one_copy() -> Vec<Lane> {
    lanes(2, Word::new(0), |word, op| match op {
        Op::Write(value) => {
            word.store(value, SeqCst);
            Out::Done
        }
        _ => Out::Value(word.load(SeqCst)),
    })
}

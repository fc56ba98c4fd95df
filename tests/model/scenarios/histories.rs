//! The structures as objects with operations that answer, so that a model judges whole histories of them, and not only sums.
//! `tests/linear/` does the same on real threads, with more lanes and longer histories.

use super::{Scenario, Structure};
use crate::check::shrink;
use crate::lanes;
use crate::lockfree::counter::{CasCounter, Counter, Sharded};
use crate::lockfree::mpmc::Mpmc;
use crate::lockfree::queue::Queue;
use crate::lockfree::ring::{Consumer, Producer, ring};
use crate::lockfree::snapshot::Snapshot;
use crate::lockfree::stack::Stack;
use crate::machine::faults::{Fault, Object};
use crate::machine::round::{Manner, Oracle, round};
use crate::reclaim::Reclaim;
use crate::reclaim::epoch::Epoch;
use crate::reclaim::hazard::Hazard;
use crate::spec::{Op, Out, Spec};
use std::sync::Mutex;

macro_rules! histories {
    ($($name:literal, $spec:expr, $lanes:expr, $make:expr;)*) => {
        /// Each structure; none has a mistake.
        pub const TWINS: &[(Structure, bool)] = &[$((
            Structure {
                path: concat!("history/", $name),
                scenarios: &[Scenario {
                    name: "history",
                    oracle: "an order of the operations explains every answer",
                    threads: 2,
                    bound: Some(2),
                    run: |_| judge($name, $spec, $lanes, || Box::new($make)),
                }],
            },
            true,
        )),*];
    };
}

const PUT: Op = Op::Put(0);
const TAKE: Op = Op::Take;
const ADDS: [&[Op]; 2] = [&[Op::Add(1), Op::Read], &[Op::Add(1)]];
const BAG: [&[Op]; 2] = [&[PUT, TAKE], &[PUT]];
const REGISTER: [&[Op]; 2] = [&[Op::Write(0), Op::Read], &[Op::Write(0)]];

histories! {
    "ring", Spec::Fifo(1), [&[PUT, PUT], &[TAKE, TAKE]], a_ring();
    "mpmc", Spec::Fifo(1), [&[PUT, TAKE], &[PUT, TAKE]], Mpmc::<u64>::new(1);
    "counter", Spec::Counter, ADDS, Counter::new();
    "cas_counter", Spec::Counter, ADDS, CasCounter::new();
    "sharded", Spec::Sum, ADDS, Sharded::new(2);
    "stack_hazard", Spec::Lifo, BAG, Stack::<u64, Hazard>::new(2);
    "stack_epoch", Spec::Lifo, BAG, Stack::<u64, Epoch>::new(2);
    "queue_hazard", Spec::Fifo(99), BAG, Queue::<u64, Hazard>::new(2);
    "queue_epoch", Spec::Fifo(99), BAG, Queue::<u64, Epoch>::new(2);
    "snapshot_hazard", Spec::Register, REGISTER, Snapshot::<u64, Hazard>::new(0, 2);
    "snapshot_epoch", Spec::Register, REGISTER, Snapshot::<u64, Epoch>::new(0, 2);
}

fn judge(name: &'static str, spec: Spec, lanes: [&'static [Op]; 2], make: fn() -> Box<dyn Object>) {
    let none = Fault {
        name,
        spec,
        first: &[],
        lanes,
        broken: make,
        sound: make,
        ordering_only: false,
        history_only: false,
    };
    if let Some(history) = round(&none, make, Manner::modelled(Oracle::Linear), 0) {
        panic!("{name}: not linearizable as {spec:?}\n{}", lanes::draw(&shrink(spec, &history)));
    }
}

fn put(result: Result<(), u64>) -> Option<Out> {
    Some(result.map_or(Out::Full, |()| Out::Done))
}

fn take(result: Option<u64>) -> Option<Out> {
    Some(result.map_or(Out::Nothing, Out::Value))
}

/// Each end belongs to one lane at a time: the lock is std's, and no step of the model.
type Ends = (Mutex<Producer<u64>>, Mutex<Consumer<u64>>);

fn a_ring() -> Ends {
    let (producer, consumer) = ring(1);
    (Mutex::new(producer), Mutex::new(consumer))
}

impl Object for Ends {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        match op {
            Op::Put(value) => put(self.0.lock().unwrap().push(value)),
            _ => take(self.1.lock().unwrap().pop()),
        }
    }
}

impl Object for Mpmc<u64> {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        match op {
            Op::Put(value) => put(self.push(value)),
            _ => take(self.pop()),
        }
    }
}

impl Object for Counter {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        Some(Out::Value(if let Op::Add(n) = op { self.add(n) } else { self.get() }))
    }
}

impl Object for CasCounter {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        Some(Out::Value(if let Op::Add(n) = op { self.add(n) } else { self.get() }))
    }
}

impl Object for Sharded {
    fn act(&self, lane: usize, op: Op) -> Option<Out> {
        let Op::Add(n) = op else { return Some(Out::Value(self.get())) };
        self.add(lane, n);
        Some(Out::Done)
    }
}

// A handle for each operation: one that lives longer would have to be stored beside what it borrows.
impl<R: Reclaim + 'static> Object for Stack<u64, R> {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        let mut handle = self.handle().expect("one for each lane");
        let Op::Put(value) = op else { return take(handle.pop()) };
        handle.push(value);
        Some(Out::Done)
    }
}

impl<R: Reclaim + 'static> Object for Queue<u64, R> {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        let mut handle = self.handle().expect("one for each lane");
        let Op::Put(value) = op else { return take(handle.pop()) };
        handle.push(value);
        Some(Out::Done)
    }
}

impl<R: Reclaim + 'static> Object for Snapshot<u64, R> {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        let mut handle = self.handle().expect("one for each lane");
        let Op::Write(value) = op else { return Some(Out::Value(handle.read(|value| *value))) };
        handle.publish(value);
        Some(Out::Done)
    }
}

//! The structures, as subjects of recorded histories. Included twice: over the library itself and over the chaotic face.

use super::lockfree::counter::{CasCounter, Counter, Sharded};
use super::lockfree::deque::{self, deque};
use super::lockfree::mpmc::Mpmc;
use super::lockfree::queue::Queue;
use super::lockfree::ring::ring;
use super::lockfree::snapshot::Snapshot;
use super::lockfree::stack::Stack;
use super::reclaim::Reclaim;
use super::reclaim::epoch::Epoch;
use super::reclaim::hazard::Hazard;
use crate::record::{Answer, Ask, Lane, Subject};
use crate::spec::{Op, Out, Spec};
use std::sync::Arc;

const PUT: &[Ask] = &[Ask::Put];
const TAKE: &[Ask] = &[Ask::Take];
const STEAL: &[Ask] = &[Ask::Steal];
const BOTH: &[Ask] = &[Ask::Put, Ask::Take];
const ADD: &[Ask] = &[Ask::Add, Ask::Read];
const REGISTER: &[Ask] = &[Ask::Write, Ask::Read];
const INCREMENT: &[Ask] = &[Ask::Increment, Ask::Read];

pub const SUBJECTS: &[Subject] = &[
    Subject { name: "ring", spec: Spec::Fifo(3), asks: &[PUT, TAKE], make: a_ring },
    Subject { name: "deque", spec: Spec::Deque(2), asks: &[BOTH, STEAL, STEAL], make: a_deque },
    Subject { name: "mpmc", spec: Spec::Fifo(2), asks: &[BOTH, BOTH, BOTH], make: mpmc::<2> },
    Subject { name: "mpmc of one", spec: Spec::Fifo(1), asks: &[BOTH, BOTH, BOTH], make: mpmc::<1> },
    Subject { name: "counter", spec: Spec::Counter, asks: &[ADD, ADD, ADD], make: counter },
    Subject { name: "cas counter", spec: Spec::Counter, asks: &[ADD, ADD, ADD], make: cas_counter },
    Subject { name: "sharded", spec: Spec::Sum, asks: &[INCREMENT, INCREMENT, INCREMENT], make: sharded },
    Subject { name: "stack, epoch", spec: Spec::Lifo, asks: &[BOTH, BOTH, BOTH], make: stack::<Epoch> },
    Subject { name: "stack, hazard", spec: Spec::Lifo, asks: &[BOTH, BOTH, BOTH], make: stack::<Hazard> },
    Subject { name: "queue, epoch", spec: Spec::Fifo(99), asks: &[BOTH, BOTH, BOTH], make: queue::<Epoch> },
    Subject { name: "queue, hazard", spec: Spec::Fifo(99), asks: &[BOTH, BOTH, BOTH], make: queue::<Hazard> },
    Subject {
        name: "snapshot, epoch",
        spec: Spec::Register,
        asks: &[REGISTER, REGISTER, REGISTER],
        make: snapshot::<Epoch>,
    },
    Subject {
        name: "snapshot, hazard",
        spec: Spec::Register,
        asks: &[REGISTER, REGISTER, REGISTER],
        make: snapshot::<Hazard>,
    },
];

fn put(result: Result<(), u64>) -> Out {
    result.map_or(Out::Full, |()| Out::Done)
}

fn take(result: Option<u64>) -> Out {
    result.map_or(Out::Nothing, Out::Value)
}

/// A lane that needs nothing but the shared object and its own number.
fn lane<O: Send + Sync + 'static>(object: &Arc<O>, number: usize, answer: fn(&O, usize, Op) -> Out) -> Lane {
    let object = Arc::clone(object);
    Box::new(move |drive: &mut dyn FnMut(Answer<'_>)| drive(&mut |op| answer(&object, number, op)))
}

fn three<O: Send + Sync + 'static>(object: O, answer: fn(&O, usize, Op) -> Out) -> Vec<Lane> {
    let object = Arc::new(object);
    (0..3).map(|number| lane(&object, number, answer)).collect()
}

fn a_ring() -> Vec<Lane> {
    let (mut producer, mut consumer) = ring(3);
    vec![
        Box::new(move |drive: &mut dyn FnMut(Answer<'_>)| {
            drive(&mut |op| match op {
                Op::Put(value) => put(producer.push(value)),
                _ => unreachable!("it only puts"),
            });
        }),
        Box::new(move |drive: &mut dyn FnMut(Answer<'_>)| drive(&mut |_| take(consumer.pop()))),
    ]
}

fn a_deque() -> Vec<Lane> {
    let (mut owner, thief) = deque(2);
    let steals = |thief: deque::Stealer<u64>| -> Lane {
        Box::new(move |drive: &mut dyn FnMut(Answer<'_>)| {
            drive(&mut |_| {
                loop {
                    match thief.steal() {
                        deque::Steal::Item(item) => return Out::Value(*item),
                        deque::Steal::Empty => return Out::Nothing,
                        deque::Steal::Retry => {}
                    }
                }
            });
        })
    };
    let owns = move |drive: &mut dyn FnMut(Answer<'_>)| {
        drive(&mut |op| match op {
            Op::Put(value) => put(owner.push(Box::new(value)).map_err(|back| *back)),
            _ => take(owner.pop().map(|item| *item)),
        });
    };
    vec![Box::new(owns), steals(thief.clone()), steals(thief)]
}

fn mpmc<const CAPACITY: usize>() -> Vec<Lane> {
    three(Mpmc::new(CAPACITY), |queue, _, op| match op {
        Op::Put(value) => put(queue.push(value)),
        _ => take(queue.pop()),
    })
}

fn counter() -> Vec<Lane> {
    three(Counter::new(), |count, _, op| match op {
        Op::Add(n) => Out::Value(count.add(n)),
        _ => Out::Value(count.get()),
    })
}

fn cas_counter() -> Vec<Lane> {
    three(CasCounter::new(), |count, _, op| match op {
        Op::Add(n) => Out::Value(count.add(n)),
        _ => Out::Value(count.get()),
    })
}

fn sharded() -> Vec<Lane> {
    three(Sharded::new(2), |count, number, op| match op {
        Op::Add(n) => {
            count.add(number, n);
            Out::Done
        }
        _ => Out::Value(count.get()),
    })
}

/// Drives a lane's own access to the shared object.
type Body<O> = fn(&O, &mut dyn FnMut(Answer<'_>));

/// Three lanes, each with what `body` makes of the shared object for as long as the lane lives: a handle.
fn each<O: Send + Sync + 'static>(object: O, body: Body<O>) -> Vec<Lane> {
    let object = Arc::new(object);
    let lane =
        |object: Arc<O>| -> Lane { Box::new(move |drive: &mut dyn FnMut(Answer<'_>)| body(&object, drive)) };
    (0..3).map(|_| lane(Arc::clone(&object))).collect()
}

fn stack<R: Reclaim + 'static>() -> Vec<Lane> {
    each(Stack::<u64, R>::new(3), |stack, drive| {
        let mut handle = stack.handle().expect("one for each lane");
        drive(&mut |op| match op {
            Op::Put(value) => {
                handle.push(value);
                Out::Done
            }
            _ => take(handle.pop()),
        });
    })
}

fn queue<R: Reclaim + 'static>() -> Vec<Lane> {
    each(Queue::<u64, R>::new(3), |queue, drive| {
        let mut handle = queue.handle().expect("one for each lane");
        drive(&mut |op| match op {
            Op::Put(value) => {
                handle.push(value);
                Out::Done
            }
            _ => take(handle.pop()),
        });
    })
}

fn snapshot<R: Reclaim + 'static>() -> Vec<Lane> {
    each(Snapshot::<u64, R>::new(0, 3), |snapshot, drive| {
        let mut handle = snapshot.handle().expect("one for each lane");
        drive(&mut |op| match op {
            Op::Write(value) => {
                handle.publish(value);
                Out::Done
            }
            _ => Out::Value(handle.read(|value| *value)),
        });
    })
}

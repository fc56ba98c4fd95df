//! The structures, as subjects of recorded histories. Included twice: over the library itself and over the chaotic face.

use super::lockfree::counter::{CasCounter, Counter, Sharded};
use super::lockfree::mpmc::Mpmc;
use super::lockfree::ring::ring;
use crate::record::{Answer, Ask, Lane, Subject};
use crate::spec::{Op, Out, Spec};
use std::sync::Arc;

const PUT: &[Ask] = &[Ask::Put];
const TAKE: &[Ask] = &[Ask::Take];
const BOTH: &[Ask] = &[Ask::Put, Ask::Take];
const ADD: &[Ask] = &[Ask::Add, Ask::Read];
const INCREMENT: &[Ask] = &[Ask::Increment, Ask::Read];

pub const SUBJECTS: &[Subject] = &[
    Subject { name: "ring", spec: Spec::Fifo(3), asks: &[PUT, TAKE], make: a_ring },
    Subject { name: "mpmc", spec: Spec::Fifo(2), asks: &[BOTH, BOTH, BOTH], make: mpmc::<2> },
    Subject { name: "mpmc of one", spec: Spec::Fifo(1), asks: &[BOTH, BOTH, BOTH], make: mpmc::<1> },
    Subject { name: "counter", spec: Spec::Counter, asks: &[ADD, ADD, ADD], make: counter },
    Subject { name: "cas counter", spec: Spec::Counter, asks: &[ADD, ADD, ADD], make: cas_counter },
    Subject { name: "sharded", spec: Spec::Sum, asks: &[INCREMENT, INCREMENT, INCREMENT], make: sharded },
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

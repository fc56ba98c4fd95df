//! Is there an order of the operations, each taking effect at one moment between its call and its return, in which every
//! answer is the one that the sequential specification gives?
//!
//! The search is Wing and Gong's (1993) with Lowe's memory (2017): depth first, and a pair of (operations done, state) that
//! was met before is not tried again. It is exponential at worst, so histories are kept short and many.

use super::spec::{Op, Out, Spec, State};
use std::collections::HashSet;

/// One operation of a history. `call` and `ret` are moments of one clock that all lanes share; no two are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub lane: usize,
    pub call: u64,
    pub ret: u64,
    pub op: Op,
    pub out: Out,
}

/// The operations in an order that explains all answers (as indices), or `None`: the history is not linearizable.
///
/// # Panics
/// If there are more than 64 operations.
pub fn linearize(spec: Spec, history: &[Event]) -> Option<Vec<usize>> {
    assert!(history.len() <= 64, "the operations done are the bits of a u64");
    let all = u64::MAX.checked_shr(64 - u32::try_from(history.len()).unwrap()).unwrap_or(0);
    let mut met = HashSet::new();
    let mut todo = vec![(0u64, State::default(), Vec::new())];
    while let Some((done, state, order)) = todo.pop() {
        if done == all {
            return Some(order);
        }
        let open = || (0..history.len()).filter(|i| done >> i & 1 == 0);
        // Whatever was called after an open operation had returned must come after that one.
        let horizon = open().map(|i| history[i].ret).min().expect("not all are done");
        for i in open().filter(|&i| history[i].call < horizon) {
            let mut next = state.clone();
            if spec.apply(&mut next, history[i].op) == history[i].out
                && met.insert((done | 1 << i, next.clone()))
            {
                let order = order.iter().copied().chain([i]).collect();
                todo.push((done | 1 << i, next, order));
            }
        }
    }
    None
}

/// The same question, answered by trying every permutation: slow, and simple enough to be believed.
pub fn linearizable_by_force(spec: Spec, history: &[Event]) -> bool {
    fn extend(spec: Spec, history: &[Event], order: &mut Vec<usize>) -> bool {
        if order.len() == history.len() {
            let mut state = State::default();
            let in_time = (0..order.len())
                .all(|i| order[..i].iter().all(|&earlier| history[order[i]].ret > history[earlier].call));
            return in_time && order.iter().all(|&i| spec.apply(&mut state, history[i].op) == history[i].out);
        }
        (0..history.len()).any(|i| {
            if order.contains(&i) {
                return false;
            }
            order.push(i);
            let found = extend(spec, history, order);
            order.pop();
            found
        })
    }
    extend(spec, history, &mut Vec::new())
}

/// The smallest part that this finds of a history that is not linearizable, and that still is not.
///
/// Only what can't be the fault is left out, so that the part fails for the same reason as the whole: operations that
/// change nothing (a read, a take that found nothing, a put into a full queue); and all operations on one value together,
/// where no answer tells whether it was there (no counter, no permits, and neither `full` nor a length left in the history).
pub fn shrink(spec: Spec, history: &[Event]) -> Vec<Event> {
    let mut small = history.to_vec();
    loop {
        let fails = |part: &Vec<Event>| linearize(spec, part).is_none();
        let without =
            |drop: &dyn Fn(&Event) -> bool| small.iter().copied().filter(|e| !drop(e)).collect::<Vec<_>>();
        let changes_nothing = |e: &Event| e.op == Op::Read || matches!(e.out, Out::Full | Out::Nothing);
        let ineffective = small.iter().filter(|e| changes_nothing(e)).map(|gone| without(&|e| e == gone));
        let tells = |e: &Event| e.out == Out::Full || (e.op == Op::Read && matches!(spec, Spec::Fifo(_)));
        let counts = matches!(spec, Spec::Counter | Spec::Sum | Spec::Permits(_)) || small.iter().any(tells);
        let values = small.iter().filter(|_| !counts).filter_map(|e| match e.op {
            Op::Put(v) | Op::Write(v) => {
                Some(without(&|e| e.op == Op::Put(v) || e.op == Op::Write(v) || e.out == Out::Value(v)))
            }
            _ => None,
        });
        // A value's group first: it is larger.
        match values.chain(ineffective).find(fails) {
            Some(smaller) => small = smaller,
            None => return small,
        }
    }
}

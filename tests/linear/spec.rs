//! What each kind of object must answer when nobody else is there: the sequential specification.

use std::collections::VecDeque;
use std::fmt;

/// What is asked of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// Into a queue or stack; or one permit back.
    Put(u64),
    /// Out of a queue or stack; or one permit.
    Take,
    /// Out of the other end of a deque.
    Steal,
    /// Onto a counter.
    Add(u64),
    /// Into a register.
    Write(u64),
    /// Of a counter or register; of a queue, how many are inside.
    Read,
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Out {
    Done,
    Full,
    Nothing,
    Value(u64),
    /// Half of one value and half of another: no object answers that.
    Torn(u64, u64),
}

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    /// First in, first out; at most so many.
    Fifo(usize),
    /// Last in, first out.
    Lifo,
    /// Takes the newest, steals the oldest; at most so many.
    Deque(usize),
    /// Adding answers the value before.
    Counter,
    /// Adding answers nothing but that it is done.
    Sum,
    /// Holds the value written last, 0 at first.
    Register,
    /// So many permits at first.
    Permits(u64),
}

/// All that an object remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State(VecDeque<u64>);

impl Spec {
    /// Does `op` and answers it.
    ///
    /// # Panics
    /// If the object has no such operation.
    pub fn apply(self, state: &mut State, op: Op) -> Out {
        let items = &mut state.0;
        let word = items.front().copied().unwrap_or(0);

        match (self, op) {
            (Spec::Fifo(capacity) | Spec::Deque(capacity), Op::Put(_)) if items.len() == capacity => {
                Out::Full
            }
            (Spec::Fifo(_) | Spec::Lifo | Spec::Deque(_), Op::Put(value)) => {
                items.push_back(value);
                Out::Done
            }
            (Spec::Fifo(_), Op::Take) | (Spec::Deque(_), Op::Steal) => {
                items.pop_front().map_or(Out::Nothing, Out::Value)
            }
            (Spec::Lifo | Spec::Deque(_), Op::Take) => items.pop_back().map_or(Out::Nothing, Out::Value),
            (Spec::Counter, Op::Add(n)) => {
                *items = VecDeque::from([word + n]);
                Out::Value(word)
            }
            (Spec::Sum, Op::Add(n)) => {
                *items = VecDeque::from([word + n]);
                Out::Done
            }
            (Spec::Register, Op::Write(value)) => {
                *items = VecDeque::from([value]);
                Out::Done
            }
            (Spec::Counter | Spec::Sum | Spec::Register, Op::Read) => Out::Value(word),
            (Spec::Fifo(_), Op::Read) => Out::Value(items.len() as u64),
            // The word is how many are taken.
            (Spec::Permits(all), Op::Read) => Out::Value(all.saturating_sub(word)),
            (Spec::Permits(all), Op::Take) if word == all => Out::Nothing,
            (Spec::Permits(_), Op::Take) => {
                *items = VecDeque::from([word + 1]);
                Out::Done
            }
            (Spec::Permits(_), Op::Put(_)) => {
                *items = VecDeque::from([word.saturating_sub(1)]);
                Out::Done
            }
            _ => panic!("{self:?} has no {op:?}"),
        }
    }
}

/// Short, for a lane: `put 3`, `take=3`, `take=none`.
pub struct Shown(pub Op, pub Out);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Op::Put(v) => write!(f, "put {v}")?,
            Op::Take => write!(f, "take")?,
            Op::Steal => write!(f, "steal")?,
            Op::Add(n) => write!(f, "add {n}")?,
            Op::Write(v) => write!(f, "write {v}")?,
            Op::Read => write!(f, "read")?,
        }
        match self.1 {
            Out::Done => Ok(()),
            Out::Full => write!(f, "=full"),
            Out::Nothing => write!(f, "=none"),
            Out::Value(v) => write!(f, "={v}"),
            Out::Torn(a, b) => write!(f, "={a}+{b}"),
        }
    }
}

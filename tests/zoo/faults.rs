//! The fault zoo: small objects with one deliberate mistake, each beside its sound twin. They test the testers: which instrument
//! finds which mistake. Nothing else uses them; the library does not contain them.
//!
//! Included once for each machine (`zoo/machine.rs`). All shared data are atomic words, so that a mistake is a wrong answer and not
//! undefined behaviour; the sanitizers' machine alone has plain memory where a program would (`Plain`).

use super::bags::{Nodes, Ring, Shards, Slot};
use super::guards::{Announced, Guarded, Halves, Locked, Permits, Readers, Replaced};
use super::spec::{Op, Out, Spec};
use super::sync::atomic::AtomicUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What two lanes may do with it at once.
pub trait Object: Send + Sync {
    /// Answers; `None` is a refusal without effect, which is no part of a history.
    fn act(&self, lane: usize, op: Op) -> Option<Out>;
}

/// One mistake.
#[derive(Debug)]
pub struct Fault {
    pub name: &'static str,
    /// What both twins promise.
    pub spec: Spec,
    /// Values that are inside at first.
    pub first: &'static [u64],
    /// What each lane does in a turn; a value stands for a fresh one.
    pub lanes: [&'static [Op]; 2],
    pub broken: fn() -> Box<dyn Object>,
    pub sound: fn() -> Box<dyn Object>,
    /// The mistake is in an ordering: pauses do not bring it out, and a processor may never show it.
    pub ordering_only: bool,
    /// No single answer is wrong, and nothing is lost or comes twice: only a whole history shows it.
    pub history_only: bool,
}

const ADD: &[Op] = &[Op::Add(1)];
const PUT: &[Op] = &[Op::Put(0)];
const TAKE: &[Op] = &[Op::Take];
const PUT_TAKE: &[Op] = &[Op::Put(0), Op::Take];
const TAKE_PUT: &[Op] = &[Op::Take, Op::Put(0)];
const WRITE: &[Op] = &[Op::Write(0)];
const READ: &[Op] = &[Op::Read];

macro_rules! fault {
    ($name:literal, $spec:expr, $first:expr, $lanes:expr, $broken:expr, $sound:expr $(, $only:ident)*) => {
        Fault { $($only: true,)* ..Fault {
            name: $name,
            spec: $spec,
            first: $first,
            lanes: $lanes,
            broken: || Box::new($broken),
            sound: || Box::new($sound),
            ordering_only: false,
            history_only: false,
        } }
    };
}

/// Every mistake.
pub const FAULTS: &[Fault] = &[
    fault!(
        "relaxed_unlock",
        Spec::Counter,
        &[],
        [ADD, ADD],
        Locked::new(false, true),
        Locked::new(false, false),
        ordering_only
    ),
    fault!(
        "test_then_set",
        Spec::Counter,
        &[],
        [ADD, ADD],
        Locked::new(true, false),
        Locked::new(false, false)
    ),
    fault!(
        "announce_without_fence",
        Spec::Counter,
        &[],
        [ADD, ADD],
        Announced::new(false),
        Announced::new(true),
        ordering_only
    ),
    fault!(
        "aba",
        Spec::Lifo,
        &[1, 2, 3],
        [&[Op::Take, Op::Take, Op::Put(0), Op::Put(0)], TAKE_PUT],
        Nodes::pool(false),
        Nodes::pool(true)
    ),
    fault!(
        "push_without_retry",
        Spec::Lifo,
        &[],
        [PUT_TAKE, PUT_TAKE],
        Nodes::stack(false),
        Nodes::stack(true)
    ),
    fault!("torn_read", Spec::Register, &[], [WRITE, READ], Halves::new(false), Halves::new(true)),
    fault!(
        "ring_off_by_one",
        Spec::Fifo(2),
        &[],
        [&[Op::Put(0), Op::Put(0), Op::Put(0)], TAKE],
        Ring::new(2, false, false),
        Ring::new(1, false, false)
    ),
    fault!(
        "publish_first",
        Spec::Fifo(2),
        &[],
        [PUT, TAKE],
        Ring::new(1, true, false),
        Ring::new(1, false, false)
    ),
    fault!(
        "freed_under_reader",
        Spec::Register,
        &[],
        [WRITE, READ],
        Replaced::new(false),
        Replaced::new(true)
    ),
    fault!("closed_twice", Spec::Fifo(1), &[], [PUT_TAKE, TAKE], Slot::new(false), Slot::new(true)),
    fault!(
        "reader_excludes_readers",
        Spec::Register,
        &[],
        [READ, READ],
        Readers::new(false),
        Readers::new(true)
    ),
    fault!(
        "lost_permit",
        Spec::Permits(2),
        &[],
        [TAKE_PUT, TAKE_PUT],
        Permits::new(false),
        Permits::new(true)
    ),
    fault!(
        "len_from_two_loads",
        Spec::Fifo(2),
        &[],
        [&[Op::Put(0), Op::Take, Op::Put(0), Op::Take], READ],
        Ring::new(1, false, true),
        Ring::new(1, false, false),
        history_only
    ),
    fault!("check_then_count", Spec::Register, &[], [WRITE, READ], Guarded::new(false), Guarded::new(true)),
    fault!(
        "sharded_fifo",
        Spec::Fifo(99),
        &[],
        [PUT_TAKE, PUT_TAKE],
        Shards::new(2),
        Shards::new(1),
        history_only
    ),
];

pub fn word(value: usize) -> AtomicUsize {
    AtomicUsize::new(value)
}

/// What belongs to one lane and is no step of the object.
pub fn own<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

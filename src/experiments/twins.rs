//! The compiler's machine against the one by hand: both driven by our executor, poll by poll.
use std::{
    cell::RefCell,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use crate::{
    lab::{Point, at},
    structures::task::{
        executor::Executor,
        machine::{self, Machine, State},
    },
};

/// An async fn and its twin.
#[derive(Clone, Copy, Debug)]
pub struct Twin {
    /// The async fn in `src/structures/task/machine.rs`.
    pub name: &'static str,
    /// Drives the compiler's.
    pub compiler: fn() -> Driven,
    /// Drives the twin.
    pub by_hand: fn() -> Driven,
    /// Why their sizes differ, byte by byte, as of rustc 1.95 on 64 bits.
    pub why: Why,
}

/// What the compiler's machine has and the enum has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    /// The enum hides its tag in a value that a child's `bool` never takes (a niche); the compiler's machine has a byte of its own.
    pub tag_bytes: i64,
    /// The arguments: the compiler keeps the captures beside the locals that they were moved into, for as long as the future lives.
    pub arguments_bytes: i64,
    /// What the awaited child, itself a machine of the compiler's, has more than its twin.
    pub child_bytes: i64,
    /// Alignment; negative where the enum pads more.
    pub padding_bytes: i64,
}

impl Why {
    /// All of it.
    pub fn bytes(&self) -> i64 {
        self.tag_bytes + self.arguments_bytes + self.child_bytes + self.padding_bytes
    }
}

const fn why(tag_bytes: i64, arguments_bytes: i64, child_bytes: i64, padding_bytes: i64) -> Why {
    Why { tag_bytes, arguments_bytes, child_bytes, padding_bytes }
}

/// A future, driven to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Driven {
    /// `size_of_val` of the future.
    pub bytes: usize,
    /// What it returned.
    pub result: u64,
    /// Before the first poll, and after each. The compiler's future does not say where it stands.
    pub stands: Vec<Stand>,
}

/// Where a future stood, and who had woken it by then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    /// Its state and what it saves; `None` of the compiler's.
    pub state: Option<State>,
    /// Whether it was in the executor's list at that moment: since no other task and no other thread is there, it was woken by its
    /// own poll (before the first poll: by being spawned).
    pub awake: bool,
}

impl Driven {
    /// How many polls it took.
    pub fn polls_count(&self) -> usize {
        self.stands.len() - 1
    }
}

impl Twin {
    /// As a parameter.
    pub const fn point(self) -> Point<Self> {
        at(self.name, self)
    }
}

/// All of them.
pub const TWINS: [Twin; 7] = [
    Twin {
        name: "add",
        compiler: || drive(machine::add(3, 4), |_| None),
        by_hand: || twin(machine::Add::Unresumed { a: 3, b: 4 }),
        why: why(0, 0, 0, 0),
    },
    Twin {
        name: "pause",
        compiler: || drive(machine::pause(), |_| None),
        by_hand: || twin(machine::Pause::Unresumed {}),
        why: why(1, 0, 0, 0),
    },
    Twin {
        name: "hold",
        compiler: || drive(machine::hold(3), |_| None),
        by_hand: || twin(machine::Hold::Unresumed { seed: 3 }),
        why: why(1, 1, 0, 0),
    },
    Twin {
        name: "in_turn",
        compiler: || drive(machine::in_turn(3), |_| None),
        by_hand: || twin(machine::InTurn::Unresumed { seed: 3 }),
        why: why(1, 1, 0, 6),
    },
    Twin {
        name: "counted",
        compiler: || drive(machine::counted(2), |_| None),
        by_hand: || twin(machine::Counted::Unresumed { turns: 2 }),
        why: why(1, 4, 0, -5),
    },
    Twin {
        name: "nested",
        compiler: || drive(machine::nested(3), |_| None),
        by_hand: || twin(machine::Nested::Unresumed { seed: 3 }),
        why: why(1, 1, 2, 0),
    },
    Twin {
        name: "given",
        compiler: || drive(machine::given([3; 128]), |_| None),
        by_hand: || twin(machine::Given::Unresumed { buffer: [3; 128] }),
        why: why(1, 128, 0, 0),
    },
];

fn twin<M: Machine + 'static>(machine: M) -> Driven {
    drive(machine, |m| Some(m.state()))
}

/// The machine in the executor's hands, which somebody else looks at between two polls.
struct Watched<F>(Rc<RefCell<Pin<Box<F>>>>);

impl<F: Future> Future for Watched<F> {
    type Output = F::Output;
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.0.borrow_mut().as_mut().poll(cx)
    }
}

/// Drives a future to its end on our executor, one poll at a time.
///
/// # Panics
/// If it waits for somebody else: nobody else is there.
pub fn drive<F: Future<Output = u64> + 'static>(future: F, look: fn(&F) -> Option<State>) -> Driven {
    let bytes = size_of_val(&future);
    let future = Rc::new(RefCell::new(Box::pin(future)));
    let (watched, result) = (Watched(Rc::clone(&future)), Rc::new(RefCell::new(None)));
    let into = Rc::clone(&result);
    let mut executor = Executor::new();
    let task = executor.spawn(async move { *into.borrow_mut() = Some(watched.await) });
    let stand = |executor: &Executor| Stand {
        state: look(&future.borrow()),
        awake: executor.ready().contains(&task),
    };
    let mut stands = vec![stand(&executor)];
    while executor.step().is_some() {
        stands.push(stand(&executor));
    }
    let result = result.take().expect("a future that only waits for itself ends");
    Driven { bytes, result, stands }
}

//! A litmus test as data: threads of a few steps on shared words, and one question about the end.
//!
//! [`walk()`] plays a thread on any [`Memory`]: the checker's, which tries each value a read may return, or this machine's.
use std::collections::BTreeSet;

use super::condition::Condition;

/// What a word or a register holds. A pointer is the [`address`] of a word.
pub type Value = i64;

/// How strongly an access or a fence orders what stands around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Not atomic: a race on it has no meaning in the language.
    Plain,
    /// Atomic, no order.
    Relaxed,
    /// Later steps stay behind it.
    Acquire,
    /// Earlier steps stay before it.
    Release,
    /// Both.
    AcqRel,
    /// Both, and part of the one order of all such steps.
    SeqCst,
}

impl Strength {
    /// Whether it is at least an Acquire.
    pub fn acquires(self) -> bool {
        matches!(self, Self::Acquire | Self::AcqRel | Self::SeqCst)
    }

    /// Whether it is at least a Release.
    pub fn releases(self) -> bool {
        matches!(self, Self::Release | Self::AcqRel | Self::SeqCst)
    }
}

/// An operator of C on two values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Rem,
    And,
    Or,
    Xor,
    Shl,
    Shr,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Both,
    Either,
}

impl Op {
    /// The result; of a division by zero, 0.
    pub fn apply(self, a: Value, b: Value) -> Value {
        let shift = u32::try_from(b & 63).unwrap_or(0);
        match self {
            Self::Add => a.wrapping_add(b),
            Self::Sub => a.wrapping_sub(b),
            Self::Mul => a.wrapping_mul(b),
            Self::Div => a.checked_div(b).unwrap_or(0),
            Self::Rem => a.checked_rem(b).unwrap_or(0),
            Self::And => a & b,
            Self::Or => a | b,
            Self::Xor => a ^ b,
            Self::Shl => a.wrapping_shl(shift),
            Self::Shr => a.wrapping_shr(shift),
            Self::Eq => (a == b).into(),
            Self::Ne => (a != b).into(),
            Self::Lt => (a < b).into(),
            Self::Le => (a <= b).into(),
            Self::Gt => (a > b).into(),
            Self::Ge => (a >= b).into(),
            Self::Both => (a != 0 && b != 0).into(),
            Self::Either => (a != 0 || b != 0).into(),
        }
    }
}

/// What a thread computes from its registers alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// A number, or the address of a word.
    Const(Value),
    /// A register of the thread.
    Reg(usize),
    /// `!` of C.
    Not(Box<Expr>),
    /// `~` of C.
    Flip(Box<Expr>),
    /// An operator on two.
    Two(Op, Box<Expr>, Box<Expr>),
}

impl Expr {
    /// Its value with these registers.
    pub fn value(&self, regs: &[Value]) -> Value {
        match self {
            Self::Const(v) => *v,
            Self::Reg(r) => regs[*r],
            Self::Not(e) => (e.value(regs) == 0).into(),
            Self::Flip(e) => !e.value(regs),
            Self::Two(op, a, b) => op.apply(a.value(regs), b.value(regs)),
        }
    }

    pub(super) fn two(op: Op, a: Self, b: Self) -> Self {
        Self::Two(op, Box::new(a), Box::new(b))
    }
}

/// When a read-modify-write writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When<E> {
    /// In any case.
    Always,
    /// If it read this.
    Equal(E),
    /// If it read anything else.
    Differs(E),
    /// If it read this; the thread waits until then.
    Await(E),
}

/// A read-modify-write, its operands expressions ([`Expr`]) or values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change<E> {
    /// When it writes.
    pub when: When<E>,
    /// What it writes: the operand itself, or this of what it read and the operand.
    pub op: Option<Op>,
    /// The operand.
    pub operand: E,
    /// Its order if it writes.
    pub order: Strength,
    /// Its order if it only reads.
    pub failure: Strength,
    /// It may fail although it could write.
    pub weak: bool,
}

impl Change<Expr> {
    fn with(&self, regs: &[Value]) -> Change<Value> {
        let when = match &self.when {
            When::Always => When::Always,
            When::Equal(e) => When::Equal(e.value(regs)),
            When::Differs(e) => When::Differs(e.value(regs)),
            When::Await(e) => When::Await(e.value(regs)),
        };
        let Change { op, order, failure, weak, .. } = *self;
        Change { when, op, operand: self.operand.value(regs), order, failure, weak }
    }
}

impl Change<Value> {
    /// What it writes after this was read, if it writes.
    pub fn written(&self, read: Value) -> Option<Value> {
        let writes = match self.when {
            When::Always => true,
            When::Equal(v) | When::Await(v) => read == v,
            When::Differs(v) => read != v,
        };
        writes.then(|| self.op.map_or(self.operand, |op| op.apply(read, self.operand)))
    }
}

/// One step of a thread. `at` is the address of a word.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Step {
    Load {
        to: usize,
        at: Expr,
        order: Strength,
    },
    Store {
        at: Expr,
        value: Expr,
        order: Strength,
    },
    /// `old` gets what was read, `wrote` whether it wrote.
    Change {
        old: usize,
        wrote: usize,
        at: Expr,
        change: Change<Expr>,
    },
    Fence(Strength),
    Let {
        to: usize,
        value: Expr,
    },
    /// Goes on at `to`, which is further down, if the value is 0.
    Unless {
        value: Expr,
        to: usize,
    },
    /// Goes on at this step, which is further down.
    Goto(usize),
}

/// One thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Its steps. Jumps lead down, so each step is played at most once.
    pub steps: Vec<Step>,
    /// The names of its registers.
    pub registers: Vec<String>,
    /// What they hold at first.
    pub initial: Vec<Value>,
}

impl Thread {
    /// The register of this name, made on first sight.
    pub(super) fn register(&mut self, name: &str) -> usize {
        self.registers.iter().position(|r| r == name).unwrap_or_else(|| {
            self.registers.push(name.into());
            self.initial.push(0);
            self.registers.len() - 1
        })
    }
}

/// A shared word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    /// Its name in the file.
    pub name: String,
    /// What it holds at first.
    pub initial: Value,
}

/// The language that a file is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// C11 with its atomics.
    C11,
    /// C of the Linux kernel: `READ_ONCE`, `smp_mb`. We run it as C11 (see [`crate::litmus`]).
    Kernel,
    /// x86 instructions.
    X86,
}

/// What is looked at in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A register of a thread.
    Reg(usize, usize),
    /// A word.
    Word(usize),
}

/// The values of the items, in their order.
pub type Outcome = Vec<Value>;
/// The outcomes that a model allows.
pub type Outcomes = BTreeSet<Outcome>;

/// A test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    /// As the file calls it.
    pub name: String,
    /// Its language.
    pub dialect: Dialect,
    /// Its threads.
    pub threads: Vec<Thread>,
    /// Its words.
    pub words: Vec<Word>,
    /// What is looked at.
    pub items: Vec<Item>,
    /// The question about it.
    pub condition: Condition,
}

impl Test {
    /// The name of an item: `1:r0`, `x`.
    pub fn item(&self, item: Item) -> String {
        match item {
            Item::Reg(thread, reg) => format!("{thread}:{}", self.threads[thread].registers[reg]),
            Item::Word(word) => self.words[word].name.clone(),
        }
    }

    /// A value as the file would write it: an address by the name of its word.
    pub fn shown(&self, value: Value) -> String {
        place(value, self.words.len())
            .map_or_else(|| value.to_string(), |w| format!("&{}", self.words[w].name))
    }

    /// `1:r0=1 x=2`.
    pub fn outcome(&self, outcome: &[Value]) -> String {
        let items = self.items.iter().zip(outcome);
        items.map(|(i, v)| format!("{}={}", self.item(*i), self.shown(*v))).collect::<Vec<_>>().join(" ")
    }

    /// Whether it has accesses that are not atomic. They are run as Relaxed ones.
    pub fn has_plain(&self) -> bool {
        self.threads.iter().flat_map(|t| &t.steps).any(|s| {
            matches!(
                s,
                Step::Load { order: Strength::Plain, .. } | Step::Store { order: Strength::Plain, .. }
            )
        })
    }
}

const FIRST: Value = 1 << 40;
const APART: Value = 64;

/// The address of a word: no number that a test computes by chance.
pub fn address(word: usize) -> Value {
    FIRST + Value::try_from(word).unwrap_or(0) * APART
}

/// The word at this address, of so many.
pub fn place(value: Value, words: usize) -> Option<usize> {
    let word = usize::try_from(value.checked_sub(FIRST)?).ok()?;
    let apart = usize::try_from(APART).ok()?;
    (word % apart == 0 && word / apart < words).then_some(word / apart)
}

/// What a thread can do to shared words.
pub trait Memory {
    /// How many words there are.
    fn words(&self) -> usize;
    /// Reads a word.
    fn load(&mut self, word: usize, order: Strength) -> Value;
    /// Writes a word.
    fn store(&mut self, word: usize, value: Value, order: Strength);
    /// Reads and perhaps writes in one step: what was read, and whether it wrote; `None` if it waits for ever.
    fn change(&mut self, word: usize, change: &Change<Value>) -> Option<(Value, bool)>;
    /// Orders what stands around it.
    fn fence(&mut self, order: Strength);
}

/// Plays a thread to its end. False if it gets stuck: it waits for ever, or follows a pointer that is none.
pub fn walk(steps: &[Step], regs: &mut [Value], memory: &mut impl Memory) -> bool {
    let mut next = 0;
    while let Some(step) = steps.get(next) {
        next += 1;
        match step {
            Step::Load { to, at, order } => {
                let Some(word) = place(at.value(regs), memory.words()) else { return false };
                regs[*to] = memory.load(word, *order);
            }
            Step::Store { at, value, order } => {
                let Some(word) = place(at.value(regs), memory.words()) else { return false };
                memory.store(word, value.value(regs), *order);
            }
            Step::Change { old, wrote, at, change } => {
                let Some(word) = place(at.value(regs), memory.words()) else { return false };
                let Some((read, did)) = memory.change(word, &change.with(regs)) else { return false };
                regs[*old] = read;
                regs[*wrote] = did.into();
            }
            Step::Fence(order) => memory.fence(*order),
            Step::Let { to, value } => regs[*to] = value.value(regs),
            Step::Unless { value, to } => {
                if value.value(regs) == 0 {
                    next = *to;
                }
            }
            Step::Goto(to) => next = *to,
        }
    }
    true
}

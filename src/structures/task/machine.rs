//! Async fns, and beside each its twin: the enum that one would write by hand for it.
//!
//! # States
//! An async fn becomes a type with one state before its first poll (*unresumed*), one for each `.await` (*suspended*), and one after
//! its end (*returned*). A twin is an enum with exactly these variants; a variant holds the locals that are alive across its await, and
//! the future that is awaited there. `poll` goes on from the variant it finds until a child says `Pending` or the end is reached.
//!
//! What `poll` may not do: run after the end (it panics, as the compiler's does), and move while it is borrowed from itself. The
//! twins borrow nothing across an await, so they are `Unpin` and need no unsafe; the compiler must assume that they might, so its
//! futures are not `Unpin`.
//!
//! # Sizes
//! A twin is as large as its largest variant, and so is the compiler's, but for these differences (`experiments::twins` says which one applies to whom):
//! - **arguments keep a place of their own**: the compiler stores them as captures, beside and not beneath the saved locals, and moves
//!   them into locals at the first poll (rust#62958: so an argument that is used after an await exists twice);
//! - **no niche**: an enum hides its tag in unused values of a field (`bool` has 254), the compiler's machine has a tag byte of its own;
//! - **overlap is stricter**: a local that lives in two states keeps its offset in both.
//!
//! # Source
//! RFC 2394 (async/await) and RFC 2033 (coroutines); rust#62958 and #59087 for the sizes.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll::{Pending, Ready};
use std::task::{Context, Poll};

/// The child of every await here: `Pending` once, having woken its own task; then `Ready`.
#[derive(Debug, Default)]
pub struct Turn {
    taken: bool,
}

/// A [`Turn`].
pub fn turn() -> Turn {
    Turn::default()
}

impl Future for Turn {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.taken {
            return Ready(());
        }
        self.taken = true;
        cx.waker().wake_by_ref();
        Pending
    }
}

/// Where a machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// 0 unresumed, 1 at its first await, 2 at its second ...; the number after the last await is returned.
    pub number: u8,
    /// Bytes of the locals that the state saves, the awaited child with them, padding not.
    pub saved_bytes: usize,
    /// Their names.
    pub saved: &'static [&'static str],
}

/// A future that can tell where it stands. The compiler's can't.
pub trait Machine: Future<Output = u64> {
    /// Where it stands, between two polls.
    fn state(&self) -> State;
}

fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().map(|b| u64::from(*b)).sum()
}

/// The states of a twin: each variant with its number, and its fields, whose sizes add up.
macro_rules! states {
    ($type:ident: $($variant:ident = $number:literal { $($field:ident),* }),+) => {
        impl Machine for $type {
            fn state(&self) -> State {
                match self {
                    $(Self::$variant { $($field),* } =>
                        State {
                            number: $number,
                            saved_bytes: 0 $(+ size_of_val($field))*,
                            saved: &[$(stringify!($field)),*],
                        },)+
                }
            }
        }
    };
}

/// Without an await: two states, ready at the first poll.
pub async fn add(a: u32, b: u32) -> u64 {
    u64::from(a) + u64::from(b)
}

/// Twin of [`add`].
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants and fields are those of the async fn")]
pub enum Add {
    Unresumed { a: u32, b: u32 },
    Returned {},
}
states!(Add: Unresumed = 0 { a, b }, Returned = 1 {});

impl Future for Add {
    type Output = u64;
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u64> {
        match std::mem::replace(&mut *self, Self::Returned {}) {
            Self::Unresumed { a, b } => Ready(u64::from(a) + u64::from(b)),
            Self::Returned {} => panic!("polled after completion"),
        }
    }
}

/// One await, and nothing to keep across it.
pub async fn pause() -> u64 {
    turn().await;
    7
}

/// Twin of [`pause`].
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants and fields are those of the async fn")]
pub enum Pause {
    Unresumed {},
    Suspended { child: Turn },
    Returned {},
}
states!(Pause: Unresumed = 0 {}, Suspended = 1 { child }, Returned = 2 {});

impl Future for Pause {
    type Output = u64;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        if let Self::Unresumed {} = *self {
            *self = Self::Suspended { child: turn() };
        }
        let Self::Suspended { child } = &mut *self else { panic!("polled after completion") };
        if Pin::new(child).poll(cx).is_pending() {
            return Pending;
        }
        *self = Self::Returned {};
        Ready(7)
    }
}

/// A buffer that lives across the await: the future is as large as it.
pub async fn hold(seed: u8) -> u64 {
    let buffer = [seed; 64];
    turn().await;
    sum(&buffer)
}

/// Twin of [`hold`].
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants and fields are those of the async fn")]
pub enum Hold {
    Unresumed { seed: u8 },
    Suspended { buffer: [u8; 64], child: Turn },
    Returned {},
}
states!(Hold: Unresumed = 0 { seed }, Suspended = 1 { buffer, child }, Returned = 2 {});

impl Future for Hold {
    type Output = u64;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        if let Self::Unresumed { seed } = *self {
            *self = Self::Suspended { buffer: [seed; 64], child: turn() };
        }
        let Self::Suspended { buffer, child } = &mut *self else { panic!("polled after completion") };
        if Pin::new(child).poll(cx).is_pending() {
            return Pending;
        }
        let total = sum(buffer);
        *self = Self::Returned {};
        Ready(total)
    }
}

/// Two buffers in separate blocks: never alive together, so they share their place.
pub async fn in_turn(seed: u8) -> u64 {
    let first = {
        let small = [seed; 32];
        turn().await;
        sum(&small)
    };
    let large = [seed; 48];
    turn().await;
    first + sum(&large)
}

/// Twin of [`in_turn`].
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants and fields are those of the async fn")]
pub enum InTurn {
    Unresumed { seed: u8 },
    First { seed: u8, small: [u8; 32], child: Turn },
    Second { first: u64, large: [u8; 48], child: Turn },
    Returned {},
}
states!(InTurn: Unresumed = 0 { seed }, First = 1 { seed, small, child }, Second = 2 { first, large, child }, Returned = 3 {});

impl Future for InTurn {
    type Output = u64;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        loop {
            match &mut *self {
                Self::Unresumed { seed } => {
                    let seed = *seed;
                    *self = Self::First { seed, small: [seed; 32], child: turn() };
                }
                Self::First { seed, small, child } => {
                    if Pin::new(child).poll(cx).is_pending() {
                        return Pending;
                    }
                    *self = Self::Second { first: sum(small), large: [*seed; 48], child: turn() };
                }
                Self::Second { first, large, child } => {
                    if Pin::new(child).poll(cx).is_pending() {
                        return Pending;
                    }
                    let total = *first + sum(large);
                    *self = Self::Returned {};
                    return Ready(total);
                }
                Self::Returned {} => panic!("polled after completion"),
            }
        }
    }
}

/// An await in a loop: one state, visited again and again.
pub async fn counted(turns: u32) -> u64 {
    let mut total = 0;
    let mut i = 0;
    while i < turns {
        turn().await;
        total += u64::from(i);
        i += 1;
    }
    total
}

/// Twin of [`counted`].
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants and fields are those of the async fn")]
pub enum Counted {
    Unresumed { turns: u32 },
    Suspended { turns: u32, i: u32, total: u64, child: Turn },
    Returned {},
}
states!(Counted: Unresumed = 0 { turns }, Suspended = 1 { turns, i, total, child }, Returned = 2 {});

impl Future for Counted {
    type Output = u64;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let (turns, mut i, mut total) = match &mut *self {
            Self::Unresumed { turns } => (*turns, 0, 0),
            Self::Suspended { turns, i, total, child } => {
                if Pin::new(child).poll(cx).is_pending() {
                    return Pending;
                }
                (*turns, *i + 1, *total + u64::from(*i))
            }
            Self::Returned {} => panic!("polled after completion"),
        };
        while i < turns {
            let mut child = turn();
            if Pin::new(&mut child).poll(cx).is_pending() {
                *self = Self::Suspended { turns, i, total, child };
                return Pending;
            }
            total += u64::from(i);
            i += 1;
        }
        *self = Self::Returned {};
        Ready(total)
    }
}

/// Awaits another async fn: the child's machine is a field of the parent's.
pub async fn nested(seed: u8) -> u64 {
    hold(seed).await + 1
}

/// Twin of [`nested`].
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants and fields are those of the async fn")]
pub enum Nested {
    Unresumed { seed: u8 },
    Suspended { child: Hold },
    Returned {},
}
states!(Nested: Unresumed = 0 { seed }, Suspended = 1 { child }, Returned = 2 {});

impl Future for Nested {
    type Output = u64;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        if let Self::Unresumed { seed } = *self {
            *self = Self::Suspended { child: Hold::Unresumed { seed } };
        }
        let Self::Suspended { child } = &mut *self else { panic!("polled after completion") };
        let Ready(total) = Pin::new(child).poll(cx) else { return Pending };
        *self = Self::Returned {};
        Ready(total + 1)
    }
}

/// A buffer as an argument by value, used after the await: the compiler keeps two.
pub async fn given(buffer: [u8; 128]) -> u64 {
    turn().await;
    sum(&buffer)
}

/// Twin of [`given`].
#[derive(Debug)]
#[allow(missing_docs, reason = "the variants and fields are those of the async fn")]
pub enum Given {
    Unresumed { buffer: [u8; 128] },
    Suspended { buffer: [u8; 128], child: Turn },
    Returned {},
}
states!(Given: Unresumed = 0 { buffer }, Suspended = 1 { buffer, child }, Returned = 2 {});

impl Future for Given {
    type Output = u64;
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        if let Self::Unresumed { buffer } = *self {
            *self = Self::Suspended { buffer, child: turn() };
        }
        let Self::Suspended { buffer, child } = &mut *self else { panic!("polled after completion") };
        if Pin::new(child).poll(cx).is_pending() {
            return Pending;
        }
        let total = sum(buffer);
        *self = Self::Returned {};
        Ready(total)
    }
}

//! Objects of 64 bytes, from wherever memory can come: made, written, read and given back, so many at a time.
//!
//! Every row does the same to an object: 8 words are written, 8 words are read, then it is given back. Some are alive at a time; then
//! all of these are given back, the oldest first, or by one reset where that is the way. What was read is summed, so an object that
//! was lost, or shared its place with another one, is noticed.
use std::{
    alloc::{GlobalAlloc, Layout, System, handle_alloc_error},
    array,
    cell::RefCell,
    hint::black_box,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use crossbeam::queue::ArrayQueue;
use mimalloc::MiMalloc;

use crate::{
    lab::{Check, Contender},
    measure::cost::{Ops, Solo},
    structures::alloc::{bump::Bump, slots::Slots},
};

/// What all rows handle: 64 bytes, one cache line on most machines.
pub type Object = [u64; 8];
/// The larger of the two numbers of objects that are alive at once.
pub const MANY: usize = 64;
/// The version that `Cargo.lock` has; a test compares them. It stands here because the list of contenders whose versions every record names
/// decides what records may be pooled with, for all labs.
pub const BUMPALO_VERSION: &str = "3.20.4";

/// Goes through that many rounds of objects numbered from there on. Returns the sum of all words that it read.
pub type Rounds = Box<dyn FnMut(u64, u64) -> u64>;

/// Where objects come from, as a contender.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    is: Contender,
    /// One alive at a time.
    one: fn() -> Rounds,
    /// [`MANY`] alive at a time.
    many: fn() -> Rounds,
}

impl AsRef<Contender> for Origin {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Origin {
    /// With so many alive at a time, 1 or [`MANY`]. One operation is a round: that many objects.
    pub fn solo(&self, alive: usize) -> Solo {
        let make = if alive == 1 { self.one } else { self.many };
        Solo::new(self.is.id, move || -> Ops {
            let mut rounds = make();
            Box::new(move |n| {
                black_box(rounds(0, n));
            })
        })
    }

    /// Why there is no such row on this system, if there is none.
    pub fn absent(&self) -> Option<&'static str> {
        let glibc = cfg!(all(target_os = "linux", target_env = "gnu"));
        (self.is.id == GLIBC.is.id && !glibc).then_some("there is no glibc on this system")
    }

    /// That both of its ways read what they wrote.
    ///
    /// # Errors
    /// In a sentence.
    pub fn check(&self) -> Result<(), String> {
        agrees(1, (self.one)()).and_then(|()| agrees(MANY, (self.many)()))
    }
}

/// What a row must show before it is timed: the sum over all objects is as if each had a place of its own and kept its words.
///
/// # Errors
/// In a sentence.
pub fn agrees(alive: usize, mut rounds: impl FnMut(u64, u64) -> u64) -> Result<(), String> {
    for (from, count) in [(0, 1), (5, 3), (1 << 40, 100)] {
        let all = from..from + count * alive as u64;
        let right: u64 = all.map(|n| object(n).iter().sum::<u64>()).sum();
        let sum = rounds(from, count);
        if sum != right {
            return Err(format!("{count} rounds of {alive} objects: read {sum} in all, not {right}"));
        }
    }
    Ok(())
}

/// The words of an object: different for every number and every place.
#[inline(always)]
fn object(n: u64) -> Object {
    array::from_fn(|word| (n << 3) + word as u64 + 1)
}

/// One round: so many are made, then all are read, then all are given back.
#[inline(always)]
fn round<const ALIVE: usize, P: DerefMut<Target = Object>>(from: u64, get: impl Fn(Object) -> P) -> u64 {
    let mut alive: [P; ALIVE] = array::from_fn(|i| get(object(from + i as u64)));
    let mut sum = 0;
    for held in &mut alive {
        // Nobody knows what else may have looked at it or changed it: so it was written, and is read.
        sum += black_box(&mut **held).iter().sum::<u64>();
    }
    sum
}

fn repeated<const ALIVE: usize>(mut round: impl FnMut(u64) -> u64 + 'static) -> Rounds {
    Box::new(move |from, rounds| (0..rounds).map(|i| round(from + i * ALIVE as u64)).sum())
}

/// Objects in a variable of the function.
pub static STACK: Origin = Origin {
    is: is("stack", "the stack", || STACK.check()),
    one: on_the_stack::<1>,
    many: on_the_stack::<MANY>,
};
/// Our own [`Bump`] arena, reset after each round.
pub static ARENA: Origin =
    Origin { is: is("arena", "bump arena (ours)", || ARENA.check()), one: arena::<1>, many: arena::<MANY> };
/// The arena of crate bumpalo, reset after each round.
pub static BUMPALO: Origin = Origin {
    is: is("bumpalo", "bumpalo 3.20.4", || BUMPALO.check()).of("bumpalo"),
    one: bumpalo::<1>,
    many: bumpalo::<MANY>,
};
/// Our own [`Slots`].
pub static FREE_LIST: Origin = Origin {
    is: is("free_list", "free-list pool (ours)", || FREE_LIST.check()),
    one: free_list::<1>,
    many: free_list::<MANY>,
};
/// Boxes that wait in a list of this thread.
pub static OWN_POOL: Origin = Origin {
    is: is("own_pool", "object pool of the thread (Vec)", || OWN_POOL.check()),
    one: own_pool::<1>,
    many: own_pool::<MANY>,
};
/// Boxes that wait in a queue which every thread may use.
pub static SHARED_POOL: Origin = Origin {
    is: is("shared_pool", "object pool of all threads (ArrayQueue)", || SHARED_POOL.check()).of("crossbeam"),
    one: shared_pool::<1>,
    many: shared_pool::<MANY>,
};
/// glibc's malloc.
pub static GLIBC: Origin = Origin {
    is: is("glibc", "glibc malloc", || GLIBC.check()),
    one: malloc::<System, 1>,
    many: malloc::<System, MANY>,
};
/// mimalloc.
pub static MIMALLOC: Origin = Origin {
    is: is("mimalloc", "mimalloc", || MIMALLOC.check()).of("mimalloc"),
    one: malloc::<MiMalloc, 1>,
    many: malloc::<MiMalloc, MANY>,
};

/// All of them, the baseline first.
pub const ORIGINS: [&Origin; 8] =
    [&STACK, &ARENA, &BUMPALO, &FREE_LIST, &OWN_POOL, &SHARED_POOL, &GLIBC, &MIMALLOC];

const fn is(id: &'static str, name: &'static str, check: Check) -> Contender {
    Contender::new(id).called(name).checked(check)
}

/// An object where the pointer would be.
struct Inline(Object);

impl Deref for Inline {
    type Target = Object;
    fn deref(&self) -> &Object {
        &self.0
    }
}

impl DerefMut for Inline {
    fn deref_mut(&mut self) -> &mut Object {
        &mut self.0
    }
}

fn on_the_stack<const ALIVE: usize>() -> Rounds {
    repeated::<ALIVE>(|from| round::<ALIVE, _>(from, Inline))
}

fn arena<const ALIVE: usize>() -> Rounds {
    let mut arena = Bump::new();
    repeated::<ALIVE>(move |from| {
        let sum = round::<ALIVE, _>(from, |object| arena.alloc(object));
        arena.reset();
        sum
    })
}

fn bumpalo<const ALIVE: usize>() -> Rounds {
    let mut arena = ::bumpalo::Bump::new();
    repeated::<ALIVE>(move |from| {
        let sum = round::<ALIVE, _>(from, |object| arena.alloc(object));
        arena.reset();
        sum
    })
}

fn free_list<const ALIVE: usize>() -> Rounds {
    let pool = Slots::new();
    repeated::<ALIVE>(move |from| round::<ALIVE, _>(from, |object| pool.take(object)))
}

#[allow(clippy::vec_box, reason = "what a pool keeps are objects that never move")]
type Spare = Vec<Box<Object>>;

thread_local! {
    static SPARE: RefCell<Spare> = const { RefCell::new(Vec::new()) };
}

/// A used object that goes back to its pool.
struct Lent<F: Fn(Box<Object>)> {
    /// There until the drop.
    object: Option<Box<Object>>,
    give_back: F,
}

impl<F: Fn(Box<Object>)> Lent<F> {
    /// A spare object with these words, or a new one if there was none.
    #[inline(always)]
    fn new(spare: Option<Box<Object>>, words: Object, give_back: F) -> Self {
        let object = match spare {
            Some(mut used) => {
                *used = words;
                used
            }
            None => Box::new(words),
        };
        Self { object: Some(object), give_back }
    }
}

impl<F: Fn(Box<Object>)> Deref for Lent<F> {
    type Target = Object;
    fn deref(&self) -> &Object {
        self.object.as_ref().expect("there until the drop")
    }
}

impl<F: Fn(Box<Object>)> DerefMut for Lent<F> {
    fn deref_mut(&mut self) -> &mut Object {
        self.object.as_mut().expect("there until the drop")
    }
}

impl<F: Fn(Box<Object>)> Drop for Lent<F> {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            (self.give_back)(object);
        }
    }
}

fn own_pool<const ALIVE: usize>() -> Rounds {
    repeated::<ALIVE>(|from| {
        round::<ALIVE, _>(from, |words| {
            let spare = SPARE.with_borrow_mut(Vec::pop);
            Lent::new(spare, words, |object| SPARE.with_borrow_mut(|all| all.push(object)))
        })
    })
}

fn shared_pool<const ALIVE: usize>() -> Rounds {
    let pool = ArrayQueue::new(MANY);
    repeated::<ALIVE>(move |from| {
        round::<ALIVE, _>(from, |words| {
            // A full pool drops the object: nobody waits.
            Lent::new(pool.pop(), words, |object| drop(pool.push(object)))
        })
    })
}

/// An allocator that is called without a value of it at hand.
trait Stateless: GlobalAlloc + 'static {
    const IT: Self;
}

impl Stateless for System {
    const IT: Self = Self;
}

impl Stateless for MiMalloc {
    const IT: Self = Self;
}

/// An object of such an allocator.
struct Held<A: Stateless> {
    object: NonNull<Object>,
    from: PhantomData<A>,
}

impl<A: Stateless> Held<A> {
    #[inline(always)]
    fn new(words: Object) -> Self {
        let layout = Layout::new::<Object>();
        // SAFETY: 64 bytes, so the size is not 0.
        let place = unsafe { A::IT.alloc(layout) }.cast::<Object>();
        let object = NonNull::new(place).unwrap_or_else(|| handle_alloc_error(layout));
        // SAFETY: the allocator gave a place of this layout to us alone.
        unsafe { object.write(words) };
        Self { object, from: PhantomData }
    }
}

impl<A: Stateless> Deref for Held<A> {
    type Target = Object;
    fn deref(&self) -> &Object {
        // SAFETY: written by `new`, alive until the drop.
        unsafe { self.object.as_ref() }
    }
}

impl<A: Stateless> DerefMut for Held<A> {
    fn deref_mut(&mut self) -> &mut Object {
        // SAFETY: as above; `&mut self` keeps every other access out.
        unsafe { self.object.as_mut() }
    }
}

impl<A: Stateless> Drop for Held<A> {
    fn drop(&mut self) {
        // SAFETY: from `alloc` of the same allocator, which has no state in its value, with this layout; dropped once.
        unsafe { A::IT.dealloc(self.object.as_ptr().cast(), Layout::new::<Object>()) }
    }
}

fn malloc<A: Stateless, const ALIVE: usize>() -> Rounds {
    repeated::<ALIVE>(|from| round::<ALIVE, _>(from, Held::<A>::new))
}

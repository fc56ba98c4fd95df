//! Collections of pairs under one trait, and what is done with them: find, replace, walk, first-in-first-out, and grow.
use std::{
    collections::{BTreeMap, HashMap, LinkedList, VecDeque},
    hash::{BuildHasher, RandomState},
    hint::black_box,
};

use super::{alloc::keep_what_is_freed, limiter_keyed::Foldhash, list::List};
use crate::{
    lab::Contender,
    measure::{
        cost::{Ops, Solo},
        growth::{Growth, growth},
        order::Order,
    },
};

type Sip = HashMap<u64, u64>;
type Fold = HashMap<u64, u64, Foldhash>;
type Tree = BTreeMap<u64, u64>;

/// A map from numbers to numbers, for one thread.
pub trait Pairs: 'static {
    /// Who it is.
    const IS: Contender;
    /// The map with these pairs; their keys differ.
    fn build(pairs: &[(u64, u64)]) -> Self;
    /// The value of a key.
    fn get(&self, key: u64) -> Option<u64>;
    /// Adds a key that is not there.
    fn put(&mut self, key: u64, value: u64);
    /// Removes a key.
    fn remove(&mut self, key: u64) -> Option<u64>;
}

/// Pairs in no order: every search looks at half of them.
#[derive(Debug)]
pub struct Scan(Vec<(u64, u64)>);

impl Pairs for Scan {
    const IS: Contender = Contender::new("vec_scan").called("Vec, scanned");
    fn build(pairs: &[(u64, u64)]) -> Self {
        Self(pairs.to_vec())
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.0.iter().find(|pair| pair.0 == key).map(|pair| pair.1)
    }
    fn put(&mut self, key: u64, value: u64) {
        self.0.push((key, value));
    }
    fn remove(&mut self, key: u64) -> Option<u64> {
        let at = self.0.iter().position(|pair| pair.0 == key)?;
        Some(self.0.swap_remove(at).1)
    }
}

/// Pairs in the order of their keys: a search halves, a change moves half of them.
#[derive(Debug)]
pub struct Sorted(Vec<(u64, u64)>);

impl Pairs for Sorted {
    const IS: Contender = Contender::new("sorted_vec").called("sorted Vec, binary search");
    fn build(pairs: &[(u64, u64)]) -> Self {
        let mut sorted = pairs.to_vec();
        sorted.sort_unstable();
        Self(sorted)
    }
    fn get(&self, key: u64) -> Option<u64> {
        let at = self.0.binary_search_by_key(&key, |pair| pair.0).ok()?;
        Some(self.0[at].1)
    }
    fn put(&mut self, key: u64, value: u64) {
        let at = self.0.partition_point(|pair| pair.0 < key);
        self.0.insert(at, (key, value));
    }
    fn remove(&mut self, key: u64) -> Option<u64> {
        let at = self.0.binary_search_by_key(&key, |pair| pair.0).ok()?;
        Some(self.0.remove(at).1)
    }
}

impl Pairs for BTreeMap<u64, u64> {
    const IS: Contender = Contender::new("btree").called("std BTreeMap");
    fn build(pairs: &[(u64, u64)]) -> Self {
        // One by one, as a tree grows in life; built from a sorted sequence, its nodes would be full.
        let mut tree = Self::new();
        pairs.iter().for_each(|(key, value)| tree.put(*key, *value));
        tree
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.get(&key).copied()
    }
    fn put(&mut self, key: u64, value: u64) {
        self.insert(key, value);
    }
    fn remove(&mut self, key: u64) -> Option<u64> {
        self.remove(&key)
    }
}

/// A hasher, and what a map with it is called.
pub trait Hashing: BuildHasher + Default + 'static {
    /// The map.
    const MAP: Contender;
}

impl Hashing for RandomState {
    const MAP: Contender = Contender::new("hash_siphash").called("std HashMap, SipHash");
}
impl Hashing for Foldhash {
    const MAP: Contender = Contender::new("hash_foldhash").called("std HashMap, foldhash").of("foldhash");
}

impl<S: Hashing> Pairs for HashMap<u64, u64, S> {
    const IS: Contender = S::MAP;
    fn build(pairs: &[(u64, u64)]) -> Self {
        pairs.iter().copied().collect()
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.get(&key).copied()
    }
    fn put(&mut self, key: u64, value: u64) {
        self.insert(key, value);
    }
    fn remove(&mut self, key: u64) -> Option<u64> {
        self.remove(&key)
    }
}

impl Pairs for List {
    const IS: Contender = Contender::new("list").called("linked list");
    fn build(pairs: &[(u64, u64)]) -> Self {
        List::shuffled(pairs, &mut Order::new(3))
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.get(key)
    }
    fn put(&mut self, key: u64, value: u64) {
        self.push(key, value);
    }
    fn remove(&mut self, key: u64) -> Option<u64> {
        self.remove(key)
    }
}

/// `n` pairs with random keys, the same in every run.
pub fn pairs(n: usize) -> Vec<(u64, u64)> {
    let mut dice = Order::new(1);
    (0..n as u64).map(|value| (dice.next_u64(), value)).collect()
}

/// `n` pairs whose key is [`mixed`] from its value, so that a key can be drawn without a list of them.
fn numbered(n: usize) -> Vec<(u64, u64)> {
    (0..n as u64).map(|value| (mixed(value), value)).collect()
}

/// A number that looks random and differs for every `i`: the mixing function of SplitMix64, which is one to one.
#[inline]
pub fn mixed(i: u64) -> u64 {
    Order::new(i).next_u64()
}

/// A map for one thread as a contender.
#[derive(Clone, Copy, Debug)]
pub struct Collection {
    is: Contender,
    find: fn(usize) -> Ops,
    replace: fn(Size) -> Ops,
}

/// Among how many pairs one is replaced. Known when the program is built, as it always was: it is part of the loop.
#[derive(Clone, Copy, Debug)]
pub enum Size {
    /// 16.
    N16,
    /// 64.
    N64,
    /// 256.
    N256,
    /// 4,096.
    N4096,
}

const fn collection<C: Pairs>() -> Collection {
    fn find<C: Pairs>(among: usize) -> Ops {
        let map = C::build(&numbered(among));
        drawn(among, move |key| map.get(key))
    }
    fn replace<C: Pairs>(among: Size) -> Ops {
        match among {
            Size::N16 => replace_among::<C, 16>(),
            Size::N64 => replace_among::<C, 64>(),
            Size::N256 => replace_among::<C, 256>(),
            Size::N4096 => replace_among::<C, 4_096>(),
        }
    }
    fn replace_among<C: Pairs, const N: usize>() -> Ops {
        let (pairs, mut dice) = (pairs(N), Order::new(2));
        let mut keys: Vec<u64> = pairs.iter().map(|pair| pair.0).collect();
        let mut map = C::build(&pairs);
        Box::new(move |n| {
            for _ in 0..n {
                let (at, new) = (dice.below(N), dice.next_u64());
                let value = map.remove(keys[at]).expect("it was put there");
                map.put(new, value);
                keys[at] = new;
            }
        })
    }
    Collection { is: C::IS.checked(check::<C>), find: find::<C>, replace: replace::<C> }
}

/// Calls with a fresh random key each time: a list of keys that repeats would be learnt by the branch predictor, and a short one would
/// leave most of a large map untouched. The key comes from its number by arithmetic, so that drawing it touches no memory.
fn drawn(among: usize, get: impl Fn(u64) -> Option<u64> + 'static) -> Ops {
    let mut dice = Order::new(2);
    Box::new(move |n| {
        for _ in 0..n {
            black_box(get(black_box(mixed(dice.below(among) as u64))));
        }
    })
}

/// No collection: draws the key and looks nowhere, which is part of every other row.
pub static DRAW: Collection = Collection {
    is: Contender::new("draw").called("the key alone, no look-up"),
    find: |among| drawn(among, Some),
    replace: |_| drawn(16, Some),
};
/// std's `HashMap`.
pub static HASH_SIPHASH: Collection = collection::<Sip>();
/// The same with a fast hasher.
pub static HASH_FOLDHASH: Collection = collection::<Fold>();
/// std's `BTreeMap`.
pub static BTREE: Collection = collection::<Tree>();
/// [`Sorted`].
pub static SORTED_VEC: Collection = collection::<Sorted>();
/// [`Scan`].
pub static VEC_SCAN: Collection = collection::<Scan>();
/// [`List`].
pub static LIST: Collection = collection::<List>();

impl AsRef<Contender> for Collection {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Collection {
    /// Searches for random keys that are there, among so many.
    pub fn find(&self, among: usize) -> Solo {
        let find = self.find;
        Solo::new(self.is.id, move || find(among))
    }
    /// Removes a random key and adds a new one, so that the size stays.
    pub fn replace(&self, among: Size) -> Solo {
        let replace = self.replace;
        Solo::new(self.is.id, move || replace(among))
    }
}

/// Runs `lap` as often as asked. The lap is given its collection anew each time, so that no lap is folded into the one before.
fn laps<C: 'static>(mut collection: C, lap: fn(&mut C) -> u64) -> Ops {
    Box::new(move |n| (0..n).for_each(|_| _ = black_box(lap(black_box(&mut collection)))))
}

fn sum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::wrapping_add)
}

fn values<C: FromIterator<u64>>(n: usize) -> C {
    pairs(n).into_iter().map(|pair| pair.1).collect()
}

/// A collection as a contender, and what is done with it again and again.
#[derive(Clone, Copy, Debug)]
pub struct Laps {
    is: Contender,
    make: fn(usize) -> Ops,
}

impl AsRef<Contender> for Laps {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Laps {
    /// With so many inside.
    pub fn of(&self, n: usize) -> Solo {
        let make = self.make;
        Solo::new(self.is.id, move || make(n))
    }
}

const fn walk(is: Contender, make: fn(usize) -> Ops) -> Laps {
    Laps { is: is.checked(check_walks), make }
}

const fn named(id: &'static str, name: &'static str) -> Contender {
    Contender::new(id).called(name)
}

/// Adds up all values; one operation is the whole walk.
pub static WALKS: [Laps; 7] = [
    walk(named("vec", "Vec"), |n| laps(values(n), |v: &mut Vec<u64>| sum(v.iter().copied()))),
    walk(named("vec_deque", "VecDeque"), |n| laps(wrapped(n), |v| sum(v.iter().copied()))),
    walk(named("btree", "std BTreeMap"), |n| laps(Tree::build(&pairs(n)), |t| sum(t.values().copied()))),
    walk(named("hash", "std HashMap, foldhash"), |n| {
        laps(Fold::build(&pairs(n)), |h| sum(h.values().copied()))
    }),
    walk(named("list_std", "std LinkedList"), |n| {
        laps(values(n), |l: &mut LinkedList<u64>| sum(l.iter().copied()))
    }),
    walk(named("list_in_order", "linked list, nodes in order"), |n| {
        laps(List::in_order(&pairs(n)), |l| sum(l.values()))
    }),
    walk(named("list_shuffled", "linked list, nodes that lie about"), |n| {
        laps(List::shuffled(&pairs(n), &mut Order::new(3)), |l| sum(l.values()))
    }),
];

/// A deque whose content wraps round its end, as it does after some use.
fn wrapped(n: usize) -> VecDeque<u64> {
    let mut deque: VecDeque<u64> = (0..n as u64).collect();
    (0..n / 2).for_each(|_| deque.rotate_left(1));
    deque
}

/// First in, first out, with so many waiting: adds one at the end, takes one from the front.
pub static FIFOS: [Laps; 3] = [
    Laps {
        is: named("vec_deque", "VecDeque"),
        make: |n| {
            laps((0..n as u64).collect(), |deque: &mut VecDeque<u64>| {
                deque.push_back(7);
                deque.pop_front().unwrap_or(0)
            })
        },
    },
    Laps {
        is: named("vec", "Vec"),
        make: |n| {
            laps((0..n as u64).collect(), |vec: &mut Vec<u64>| {
                vec.push(7);
                vec.remove(0)
            })
        },
    },
    Laps {
        is: named("list", "std LinkedList"),
        make: |n| {
            laps((0..n as u64).collect(), |list: &mut LinkedList<u64>| {
                list.push_back(7);
                list.pop_front().unwrap_or(0)
            })
        },
    },
];

/// A collection that grows, as a contender.
#[derive(Clone, Copy, Debug)]
pub struct Growing {
    is: Contender,
    grow: fn(usize, usize) -> Growth,
    /// Whether the allocator keeps what is freed, so that no growth but the first needs fresh memory.
    kept: bool,
}

impl AsRef<Contender> for Growing {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Growing {
    /// Grows to `n`, as [`growth`]. For a process of its own: it may change the allocator's settings.
    ///
    /// # Errors
    /// In a sentence: this allocator has no such settings.
    pub fn grow(&self, n: usize, repeats: usize) -> Result<Growth, String> {
        if self.kept {
            keep_what_is_freed()?;
        }
        Ok((self.grow)(n, repeats))
    }
}

fn hash_next<S: BuildHasher>(map: &mut HashMap<u64, u64, S>, i: u64) {
    map.insert(mixed(i), i);
}

/// Adds a pair to a Vec whose block can't be extended: when it is full, the pairs move to one of twice the size.
fn push_moving(vec: &mut Vec<(u64, u64)>, pair: (u64, u64)) {
    if vec.len() == vec.capacity() {
        let mut moved = Vec::with_capacity((2 * vec.len()).max(4));
        moved.append(vec);
        *vec = moved;
    }
    vec.push(pair);
}

const fn growing(is: Contender, grow: fn(usize, usize) -> Growth) -> Growing {
    Growing { is, grow, kept: false }
}

/// The same where memory that was used before is used again: the control that takes the page faults away.
const fn kept(id: &'static str, name: &'static str, of: Growing) -> Growing {
    Growing { is: named(id, name), kept: true, ..of }
}

const HASH: Growing = growing(<Sip as Pairs>::IS, |n, repeats| growth(n, repeats, Sip::new, hash_next));
const MOVING: Growing = growing(named("vec_moving", "Vec whose block can't be extended"), |n, repeats| {
    growth(n, repeats, Vec::new, |vec, i| push_moving(vec, (i, i)))
});

/// Collections that grow, insertion by insertion.
pub static GROWING: [Growing; 10] = [
    HASH,
    kept("hash_kept", "std HashMap, in memory that was used before", HASH),
    growing(<Fold as Pairs>::IS, |n, repeats| growth(n, repeats, Fold::default, hash_next)),
    growing(named("hash_reserved", "std HashMap, its capacity reserved"), |n, repeats| {
        growth(n, repeats, || Sip::with_capacity(n), hash_next)
    }),
    growing(named("vec", "Vec"), |n, repeats| growth(n, repeats, Vec::new, |vec, i| vec.push((i, i)))),
    MOVING,
    kept("vec_moving_kept", "the same in memory that was used before", MOVING),
    growing(named("vec_deque", "VecDeque"), |n, repeats| {
        growth(n, repeats, VecDeque::new, |deque, i| deque.push_back((i, i)))
    }),
    growing(<Tree as Pairs>::IS, |n, repeats| {
        growth(n, repeats, BTreeMap::new, |tree, i| _ = tree.insert(mixed(i), i))
    }),
    growing(named("list", "std LinkedList"), |n, repeats| {
        growth(n, repeats, LinkedList::new, |list, i| list.push_back((i, i)))
    }),
];

/// What a map must show before it is timed: it finds what is there and nothing else, through 2,000 replacements.
///
/// # Errors
/// A sentence that names the contender and what it did instead.
pub fn check<C: Pairs>() -> Result<(), String> {
    let (pairs, mut dice) = (pairs(100), Order::new(9));
    let (mut map, mut model) = (C::build(&pairs), pairs.clone());
    for value in 0..2_000 {
        let (key, old) = model.swap_remove(dice.below(model.len()));
        let (found, removed, gone) = (map.get(key), map.remove(key), map.get(key));
        if (found, removed, gone) != (Some(old), Some(old), None) {
            return Err(format!(
                "{}: a pair that was there was {found:?}, {removed:?}, then {gone:?}",
                C::IS.id
            ));
        }
        let new = dice.next_u64();
        map.put(new, value);
        model.push((new, value));
    }
    match model.iter().all(|(key, value)| map.get(*key) == Some(*value)) {
        true => Ok(()),
        false => Err(format!("{}: a pair was lost", C::IS.id)),
    }
}

/// Whether all of these come to the same sum; one operation each.
pub fn check_walks() -> Result<(), String> {
    let lists = [List::in_order(&pairs(1_000)), List::shuffled(&pairs(1_000), &mut Order::new(3))];
    let sums = lists.map(|list| sum(list.values()));
    let deque = sum(wrapped(1_000).into_iter());
    if sums == [499_500; 2] && deque == 499_500 {
        Ok(())
    } else {
        Err(format!("1,000 values add up to {sums:?} and {deque}, not 499,500"))
    }
}

//! Collections of pairs under one trait, and what is done with them: find, replace, walk, and first-in-first-out.
use std::{
    array,
    collections::{BTreeMap, HashMap, LinkedList, VecDeque},
    hash::{BuildHasher, RandomState},
    hint::black_box,
};

use super::{limiter_keyed::Foldhash, list::List};
use crate::measure::{
    cost::{Ops, Solo},
    order::Order,
};

/// A map from numbers to numbers, for one thread.
pub trait Pairs: 'static {
    /// Names the case everywhere.
    const CASE: &'static str;
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
    const CASE: &'static str = "vec_scan";
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
    const CASE: &'static str = "sorted_vec";
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
    const CASE: &'static str = "btree";
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
    /// The case.
    const CASE: &'static str;
}

impl Hashing for RandomState {
    const CASE: &'static str = "hash_siphash";
}
impl Hashing for Foldhash {
    const CASE: &'static str = "hash_foldhash";
}

impl<S: Hashing> Pairs for HashMap<u64, u64, S> {
    const CASE: &'static str = S::CASE;
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
    const CASE: &'static str = "list";
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

/// A number that looks random and differs for every `i`: the mixing function of SplitMix64, which is one to one.
#[inline]
pub fn mixed(i: u64) -> u64 {
    Order::new(i).next_u64()
}

/// Searches for random keys that are there, among `N`.
pub fn find<C: Pairs, const N: usize>() -> Solo {
    fn make<C: Pairs, const N: usize>() -> Ops {
        const ASKED: usize = 1 << 12;
        let (pairs, mut dice) = (pairs(N), Order::new(2));
        let asked: Box<[u64; ASKED]> = Box::new(array::from_fn(|_| pairs[dice.below(N)].0));
        let (map, mut next) = (C::build(&pairs), 0);
        Box::new(move |n| {
            for _ in 0..n {
                black_box(map.get(black_box(asked[next])));
                // By a constant: by a length, some loops wrapped round with a division, which took longer than the search in them.
                next = (next + 1) % ASKED;
            }
        })
    }
    Solo::new(C::CASE, make::<C, N>)
}

/// Removes a random key and adds a new one, so that the size stays `N`.
pub fn replace<C: Pairs, const N: usize>() -> Solo {
    fn make<C: Pairs, const N: usize>() -> Ops {
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
    Solo::new(C::CASE, make::<C, N>)
}

/// Runs `lap` as often as asked. The lap is given its collection anew each time, so that no lap is folded into the one before.
fn laps<C: 'static>(mut collection: C, lap: fn(&mut C) -> u64) -> Ops {
    Box::new(move |n| (0..n).for_each(|_| _ = black_box(lap(black_box(&mut collection)))))
}

fn sum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, u64::wrapping_add)
}

/// Adds up all of `N` values; one operation is the whole walk.
pub fn walks<const N: usize>() -> [Solo; 7] {
    fn values(n: usize) -> impl Iterator<Item = u64> {
        pairs(n).into_iter().map(|pair| pair.1)
    }
    type Hashed = HashMap<u64, u64, Foldhash>;
    type Tree = BTreeMap<u64, u64>;
    [
        Solo::new("vec", || laps(values(N).collect(), |v: &mut Vec<u64>| sum(v.iter().copied()))),
        Solo::new("vec_deque", || laps(wrapped(N), |v| sum(v.iter().copied()))),
        Solo::new("btree", || laps(Tree::build(&pairs(N)), |t| sum(t.values().copied()))),
        Solo::new("hash", || laps(Hashed::build(&pairs(N)), |h| sum(h.values().copied()))),
        Solo::new("list_std", || laps(values(N).collect(), |l: &mut LinkedList<u64>| sum(l.iter().copied()))),
        Solo::new("list_in_order", || laps(List::in_order(&pairs(N)), |l| sum(l.values()))),
        Solo::new("list_shuffled", || {
            laps(List::shuffled(&pairs(N), &mut Order::new(3)), |l| sum(l.values()))
        }),
    ]
}

/// A deque whose content wraps round its end, as it does after some use.
fn wrapped(n: usize) -> VecDeque<u64> {
    let mut deque: VecDeque<u64> = (0..n as u64).collect();
    (0..n / 2).for_each(|_| deque.rotate_left(1));
    deque
}

/// First in, first out, with `N` waiting: adds one at the end, takes one from the front.
pub fn fifos<const N: usize>() -> [Solo; 3] {
    fn fill<C: FromIterator<u64>>(n: usize) -> C {
        (0..n as u64).collect()
    }
    [
        Solo::new("vec_deque", || {
            laps(fill(N), |deque: &mut VecDeque<u64>| {
                deque.push_back(7);
                deque.pop_front().unwrap_or(0)
            })
        }),
        Solo::new("vec", || {
            laps(fill(N), |vec: &mut Vec<u64>| {
                vec.push(7);
                vec.remove(0)
            })
        }),
        Solo::new("list", || {
            laps(fill(N), |list: &mut LinkedList<u64>| {
                list.push_back(7);
                list.pop_front().unwrap_or(0)
            })
        }),
    ]
}

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
                C::CASE
            ));
        }
        let new = dice.next_u64();
        map.put(new, value);
        model.push((new, value));
    }
    match model.iter().all(|(key, value)| map.get(*key) == Some(*value)) {
        true => Ok(()),
        false => Err(format!("{}: a pair was lost", C::CASE)),
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

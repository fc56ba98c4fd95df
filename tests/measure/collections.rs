//! The contenders of the collections labs do what they say, the checks notice one that does not, and the unlucky caller is found.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, RandomState};
use std::thread;
use std::time::Duration;
use underhood::contenders::collections::{Pairs, Scan, Sorted, check, check_walks, mixed, pairs};
use underhood::contenders::limiter_keyed::Foldhash;
use underhood::contenders::list::List;
use underhood::experiments::flood::{Multiply, compares_per_insert, crafted, honest};
use underhood::lab::Contender;
use underhood::measure::growth::growth;
use underhood::measure::order::Order;

#[test]
fn every_contender_passes_its_check() {
    assert_eq!(check::<Scan>(), Ok(()));
    assert_eq!(check::<Sorted>(), Ok(()));
    assert_eq!(check::<BTreeMap<u64, u64>>(), Ok(()));
    assert_eq!(check::<HashMap<u64, u64>>(), Ok(()));
    assert_eq!(check::<HashMap<u64, u64, Foldhash>>(), Ok(()));
    assert_eq!(check::<List>(), Ok(()));
    assert_eq!(check_walks(), Ok(()));
}

/// Forgets to remove.
struct Hoarder(BTreeMap<u64, u64>);

impl Pairs for Hoarder {
    const IS: Contender = Contender::new("hoarder");
    fn build(pairs: &[(u64, u64)]) -> Self {
        Self(pairs.iter().copied().collect())
    }
    fn get(&self, key: u64) -> Option<u64> {
        self.0.get(&key).copied()
    }
    fn put(&mut self, key: u64, value: u64) {
        self.0.insert(key, value);
    }
    fn remove(&mut self, key: u64) -> Option<u64> {
        self.0.get(&key).copied()
    }
}

#[test]
fn a_contender_that_does_something_else_is_noticed() {
    assert!(check::<Hoarder>().unwrap_err().starts_with("hoarder: "));
}

#[test]
fn a_list_keeps_its_order_wherever_its_nodes_lie() {
    let all = pairs(1_000);
    let values: Vec<u64> = all.iter().map(|pair| pair.1).collect();
    let mut list = List::shuffled(&all, &mut Order::new(5));
    assert!(List::in_order(&all).values().eq(values.iter().copied()));
    assert!(list.values().eq(values.iter().copied()));
    assert_eq!(list.remove(all[0].0), Some(0), "the first");
    assert_eq!(list.remove(all[999].0), Some(999), "the last");
    assert_eq!(list.remove(all[500].0), Some(500), "one in the middle");
    assert_eq!(list.remove(all[500].0), None, "it is gone");
    assert_eq!((list.get(all[501].0), list.get(all[500].0)), (Some(501), None));
    assert_eq!(list.values().count(), 997);
    assert_eq!(List::default().remove(1), None);
}

#[test]
fn a_long_list_is_dropped_without_a_deep_stack() {
    let long: Vec<(u64, u64)> = (0..1_000_000).map(|i| (i, i)).collect();
    drop(List::in_order(&long));
}

#[test]
fn crafted_keys_differ_and_meet_in_one_place_of_the_weak_hasher_only() {
    let keys = crafted(10_000);
    assert_eq!(keys.iter().collect::<HashSet<_>>().len(), keys.len());
    let weak = BuildHasherDefault::<Multiply>::default();
    let hashes: HashSet<u64> = keys.iter().map(|key| weak.hash_one(key)).collect();
    assert_eq!(hashes.len(), keys.len(), "they are not equal, only equal where the table looks");
    assert!(hashes.iter().all(|hash| hash % (1 << 40) == 0 && hash >> 57 == 0));
    let each = compares_per_insert::<BuildHasherDefault<Multiply>>(&keys);
    assert!((4_999.0..5_001.0).contains(&each), "{each}");
    assert!(compares_per_insert::<RandomState>(&keys) < 1.0);
    assert!(compares_per_insert::<BuildHasherDefault<Multiply>>(&honest(10_000)) < 1.0);
}

#[test]
fn the_unlucky_insertion_is_found_and_an_interruption_is_not() {
    let turn = std::cell::Cell::new(0);
    // Insertion 70 is always slow; another one is slow once.
    let insert = |_: &mut (), i: u64| {
        turn.set(turn.get() + 1);
        if i == 70 || turn.get() == 30 {
            thread::sleep(Duration::from_millis(if i == 70 { 5 } else { 50 }));
        }
    };
    let found = growth(100, 3, || (), insert);
    assert_eq!(found.worst_at, 70);
    assert!(found.worst_ns >= 5e6 && found.first_ns >= 50e6, "{found:?}");
    assert!(found.mean_ns >= 5e4, "{found:?}");
}

#[test]
fn mixed_numbers_differ() {
    assert_eq!((0..10_000).map(mixed).collect::<HashSet<_>>().len(), 10_000);
}

//! Hash flooding: keys made so that a hasher without a secret puts them all in one place, and what each insertion then compares.
use std::{
    cell::Cell,
    collections::HashMap,
    hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState},
};

use crate::{contenders::limiter_keyed::Foldhash, lab::Contender, measure::order::Order};

/// A hasher without a secret: one multiplication, as in rustc's FxHasher (version 1, for one u64 key). Fast, and the same for everybody.
#[derive(Clone, Copy, Debug, Default)]
pub struct Multiply(u64);

/// The multiplier: odd, so it has an inverse modulo 2^64, which is the whole attack.
const FACTOR: u64 = 0x517c_c1b7_2722_0a95;

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = (self.0.rotate_left(5) ^ key).wrapping_mul(FACTOR);
    }
}

/// A map with it.
pub type Multiplied = BuildHasherDefault<Multiply>;

thread_local! {
    static COMPARED: Cell<u64> = const { Cell::new(0) };
}

/// A key that counts how often it is compared.
#[derive(Clone, Copy, Debug, Eq, Hash)]
#[expect(
    clippy::derived_hash_with_manual_eq,
    reason = "equal keys do hash alike; only the counting is by hand"
)]
struct Counted(u64);

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        COMPARED.with(|n| n.set(n.get() + 1));
        self.0 == other.0
    }
}

/// `n` keys as an attacker sends them: all hash to multiples of 2^40 under [`Multiply`], so the lower bits (the place in the table) are
/// all the same, and so are the upper seven (the tag that std's table compares first) for the first 2^17.
pub fn crafted(n: usize) -> Vec<u64> {
    (1..=n as u64).map(|i| (i << 40).wrapping_mul(inverse(FACTOR))).collect()
}

/// `n` keys as others send them.
pub fn honest(n: usize) -> Vec<u64> {
    let mut dice = Order::new(1);
    (0..n).map(|_| dice.next_u64()).collect()
}

/// Inverse of an odd number modulo 2^64, by Newton's iteration: each round doubles the bits that are right.
fn inverse(odd: u64) -> u64 {
    (0..6).fold(odd, |x, _| x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x))))
}

/// Key comparisons per insertion of these keys, which differ, into an empty map; without the insertions anew when the table grows,
/// which compare nothing.
pub fn compares_per_insert<S: BuildHasher + Default>(keys: &[u64]) -> f64 {
    let mut map: HashMap<Counted, (), S> = HashMap::default();
    COMPARED.set(0);
    keys.iter().for_each(|key| _ = map.insert(Counted(*key), ()));
    assert_eq!(map.len(), keys.len(), "the keys differ");
    COMPARED.get() as f64 / keys.len() as f64
}

/// A hasher as a contender.
#[derive(Clone, Copy, Debug)]
pub struct Hashing {
    is: Contender,
    compares: fn(&[u64]) -> f64,
}

impl AsRef<Contender> for Hashing {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Hashing {
    /// As [`compares_per_insert`].
    pub fn compares_per_insert(&self, keys: &[u64]) -> f64 {
        (self.compares)(keys)
    }
}

const fn hashing<S: BuildHasher + Default>(is: Contender) -> Hashing {
    Hashing { is, compares: compares_per_insert::<S> }
}

/// std's, a fast one with a secret, and one without.
pub static HASHERS: [Hashing; 3] = [
    hashing::<RandomState>(Contender::new("siphash").called("SipHash, std's")),
    hashing::<Foldhash>(Contender::new("foldhash").of("foldhash")),
    hashing::<Multiplied>(Contender::new("multiply").called("one multiplication")),
];

//! A rate limit for each key, in memory that is fixed at birth: a table of TATs in shards, where whoever is idle makes room.
//!
//! A key whose TAT (see `gcra`) lies in the past has its whole burst to give, just like a key that was never seen. So forgetting it
//! loses nothing, and an idle slot is a free slot: no list of recent use, no sweep, no timer.
//!
//! # States
//! A key's slot is one of the [`WINDOW`] slots from its hash on, within its shard.
//!
//! | a slot holds | meaning | for another key it is |
//! |---|---|---|
//! | no key | never used | the end of the search, and free |
//! | a key with a TAT up to now | idle | free, once the search has shown that the other key is in none of its slots |
//! | a key with a TAT after now | in use | taken |
//!
//! # Edges
//! None of its own: a shard is behind a [`Mutex`], and its edge E1 carries everything.
//!
//! # Limits
//! Exact for every key that finds a slot; a new key whose [`WINDOW`] slots are all in use is refused with [`Crowded`](KeyedRefusal::Crowded), and the caller
//! says what that means. With as many keys in use at once as there were asked for, the table is at most half full, and 3 new keys
//! in 100,000 meet that (`tests/structures/flows.rs` counts it); with many more, most new keys do, and memory stays what it was. So who can
//! make up keys can keep new ones out: a limit per key must not be the only limit. Who chooses keys and knows the hasher can also
//! pile them up in one place: use a keyed hasher (the default is).
//! Under contention, keys of one shard wait for each other, a hot key's callers too. No fairness between callers of one key. **A clock
//! that steps back** stands still, in each shard at the latest time it was told. Memory: slots of `size_of::<(Option<K>, u64)>()`,
//! the next power of two from twice the number of keys, and what the keys own on the heap.
//!
//! # Source
//! The insight that an idle GCRA state is no state is governor's (`retain_recent`); bounding the search is as in M. Herlihy,
//! N. Shavit, M. Tzafrir, "Hopscotch hashing" (2008), without the hopping.

use super::{Quota, Refusal, gcra};
use crate::structures::lock::mutex::Mutex;
use std::error::Error;
use std::fmt;
use std::hash::{BuildHasher, Hash, RandomState};

/// Slots in which a key can be.
pub const WINDOW: usize = 32;

/// Lets units of each key through at a rate, with a burst; every key has the same quota.
///
/// Uncontended: a hash, a mutex, and a search over a few neighbouring slots, at worst [`WINDOW`]. Policy and limits: see the
/// [module](self).
pub struct Keyed<K, S = RandomState> {
    quota: Quota,
    hasher: S,
    /// A power of two of them, each on cache lines of its own.
    shards: Box<[Shard<K>]>,
    /// Slots of a shard, less one; a power of two less one.
    mask: usize,
}

#[repr(align(128))]
struct Shard<K>(Mutex<Table<K>>);

struct Table<K> {
    /// The latest time that this shard was told.
    now_ns: u64,
    slots: Box<[Slot<K>]>,
}

struct Slot<K> {
    key: Option<K>,
    tat_ns: u64,
}

/// Why there is no such limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadSize {
    /// Room for no key.
    NoKeys,
    /// No shard, or more than 2^16.
    Shards,
    /// More slots than this process could address.
    TooManyKeys,
}

/// Why a request may not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyedRefusal {
    /// Its key's quota.
    Quota(Refusal),
    /// The key is new, and all slots that it could have are in use. Nothing is known about the key's rate.
    Crowded,
}

impl fmt::Display for BadSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoKeys => "room for no key",
            Self::Shards => "shards must be 1 to 65,536",
            Self::TooManyKeys => "more keys than memory can hold",
        })
    }
}
impl fmt::Display for KeyedRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quota(why) => why.fmt(f),
            Self::Crowded => f.write_str("no room for another key"),
        }
    }
}
impl Error for BadSize {}
impl Error for KeyedRefusal {}

impl<K: Hash + Eq + Clone> Keyed<K> {
    /// Room for `keys` keys in use at once, in `shards` shards (rounded up to a power of two), with std's keyed hasher.
    ///
    /// # Errors
    /// [`BadSize`].
    pub fn new(quota: Quota, keys: usize, shards: usize) -> Result<Self, BadSize> {
        Self::with_hasher(quota, keys, shards, RandomState::new())
    }
}

impl<K: Hash + Eq + Clone, S: BuildHasher> Keyed<K, S> {
    /// The same with another hasher. One that an attacker can predict lets the attacker keep keys out.
    ///
    /// # Errors
    /// [`BadSize`].
    pub fn with_hasher(quota: Quota, keys: usize, shards: usize, hasher: S) -> Result<Self, BadSize> {
        if keys == 0 {
            return Err(BadSize::NoKeys);
        }
        if !(1..=1 << 16).contains(&shards) {
            return Err(BadSize::Shards);
        }
        let shards = shards.next_power_of_two();
        let slots =
            keys.checked_mul(2).and_then(usize::checked_next_power_of_two).ok_or(BadSize::TooManyKeys)?;
        let each = (slots / shards).max(WINDOW);
        each.checked_mul(shards)
            .and_then(|all| all.checked_mul(size_of::<Slot<K>>()))
            .filter(|bytes| isize::try_from(*bytes).is_ok())
            .ok_or(BadSize::TooManyKeys)?;
        let shards = (0..shards).map(|_| Shard(Mutex::new(Table::new(each)))).collect();
        Ok(Self { quota, hasher, shards, mask: each - 1 })
    }

    /// Passes a request of this key and cost, or says why not.
    ///
    /// # Errors
    /// [`KeyedRefusal`].
    pub fn admit(&self, key: &K, now_ns: u64, cost: u64) -> Result<(), KeyedRefusal> {
        let price_ns = self.quota.price_ns(cost).map_err(KeyedRefusal::Quota)?;
        let hash = spread(self.hasher.hash_one(key));
        // The upper half picks the shard and the lower the slot, so that a shard's keys don't all begin at the same slots.
        let shard = &self.shards[(hash >> 32) as usize & (self.shards.len() - 1)];
        let mut table = shard.0.lock();
        table.now_ns = table.now_ns.max(now_ns);
        let now_ns = table.now_ns;
        let (at, known) = table.find(key, hash as usize, self.mask).ok_or(KeyedRefusal::Crowded)?;
        let slot = &mut table.slots[at];
        // A free slot's TAT is past, whoever's it was: as good as none.
        let next_ns = gcra::advance(slot.tat_ns, now_ns, price_ns, self.quota.full_ns())
            .map_err(KeyedRefusal::Quota)?;
        if !known {
            slot.key = Some(key.clone());
        }
        slot.tat_ns = next_ns;
        Ok(())
    }

    /// Bytes of the table, without what keys own on the heap.
    pub fn table_bytes(&self) -> usize {
        self.shards.len() * (size_of::<Shard<K>>() + (self.mask + 1) * size_of::<Slot<K>>())
    }

    /// Keys in use: those whose burst is not whole at this time. Looks at every slot, shard by shard.
    pub fn in_use(&self, now_ns: u64) -> usize {
        let busy = |slot: &&Slot<K>| slot.tat_ns > now_ns;
        self.shards.iter().map(|shard| shard.0.lock().slots.iter().filter(busy).count()).sum()
    }
}

/// Lets every bit of the hash have a say in the bits used here. A fast hasher may be good as a whole and not in each part of its bits: with an
/// unlucky seed foldhash's fast one put 1,000 keys that count up into 12 of 64 shards, and 616 of them found no slot. The step of
/// Fibonacci hashing (D. Knuth, TAOCP 3, 6.4), with a fold before and after.
#[inline]
fn spread(hash: u64) -> u64 {
    let up = (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    up ^ (up >> 32)
}

impl<K: Eq> Table<K> {
    fn new(slots: usize) -> Self {
        Self { now_ns: 0, slots: (0..slots).map(|_| Slot { key: None, tat_ns: 0 }).collect() }
    }

    /// The key's slot and true, or else a free one and false.
    #[inline]
    fn find(&self, key: &K, hash: usize, mask: usize) -> Option<(usize, bool)> {
        let mut free = None;
        for i in 0..WINDOW {
            let at = hash.wrapping_add(i) & mask;
            let slot = &self.slots[at];
            match &slot.key {
                Some(other) if other == key => return Some((at, true)),
                Some(_) if slot.tat_ns > self.now_ns => {}
                Some(_) => free = free.or(Some(at)),
                None => {
                    free = free.or(Some(at));
                    break; // a key goes into the first free slot, so it is not behind one that was never used
                }
            }
        }
        free.map(|at| (at, false))
    }
}

impl<K, S> fmt::Debug for Keyed<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyed { .. }") // without the keys: printing must neither wait nor disturb a measurement
    }
}

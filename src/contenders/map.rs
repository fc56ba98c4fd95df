//! Maps that threads share, under one trait, and the check of each. All of them hash with std's default hasher.
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    hint::black_box,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crossbeam::utils::CachePadded;

use crate::{
    lab::sample::Sample,
    measure::{
        allocated,
        keys::{self, Skew},
        order::Order,
        throughput::{Apart, Crowd, Lane},
    },
};

/// A map from numbers to numbers.
pub trait Map: Default + Send + Sync + 'static {
    /// Names the case everywhere.
    const CASE: &'static str;
    /// The value of a key.
    fn get(&self, key: u32) -> Option<u64>;
    /// Sets a key's value. True if the key was not there.
    fn put(&self, key: u32, value: u64) -> bool;
    /// Takes a key out. True if it was there.
    fn remove(&self, key: u32) -> bool;
}

/// One std mutex around one std map.
pub type OneLock = Mutex<HashMap<u32, u64>>;

impl Map for OneLock {
    const CASE: &'static str = "one_lock";
    fn get(&self, key: u32) -> Option<u64> {
        self.lock().expect("no holder panics").get(&key).copied()
    }
    fn put(&self, key: u32, value: u64) -> bool {
        self.lock().expect("no holder panics").insert(key, value).is_none()
    }
    fn remove(&self, key: u32) -> bool {
        self.lock().expect("no holder panics").remove(&key).is_some()
    }
}

/// One std reader-writer lock around one std map.
pub type OneRwLock = RwLock<HashMap<u32, u64>>;

impl Map for OneRwLock {
    const CASE: &'static str = "one_rwlock";
    fn get(&self, key: u32) -> Option<u64> {
        self.read().expect("no holder panics").get(&key).copied()
    }
    fn put(&self, key: u32, value: u64) -> bool {
        self.write().expect("no holder panics").insert(key, value).is_none()
    }
    fn remove(&self, key: u32) -> bool {
        self.write().expect("no holder panics").remove(&key).is_some()
    }
}

/// Sixteen of the mutexes; the key's hash says which.
#[derive(Debug, Default)]
pub struct Sharded {
    shards: [CachePadded<OneLock>; 16],
    hasher: RandomState,
}

impl Sharded {
    fn shard(&self, key: u32) -> &OneLock {
        // The map inside hashes once more with another seed: the price of building it from two parts.
        &self.shards[usize::from(self.hasher.hash_one(key) as u8 % 16)]
    }
}

impl Map for Sharded {
    const CASE: &'static str = "sharded_16";
    fn get(&self, key: u32) -> Option<u64> {
        self.shard(key).get(key)
    }
    fn put(&self, key: u32, value: u64) -> bool {
        self.shard(key).put(key, value)
    }
    fn remove(&self, key: u32) -> bool {
        Map::remove(self.shard(key), key)
    }
}

impl Map for dashmap::DashMap<u32, u64> {
    const CASE: &'static str = "dashmap";
    fn get(&self, key: u32) -> Option<u64> {
        self.get(&key).map(|v| *v)
    }
    fn put(&self, key: u32, value: u64) -> bool {
        self.insert(key, value).is_none()
    }
    fn remove(&self, key: u32) -> bool {
        self.remove(&key).is_some()
    }
}

impl Map for papaya::HashMap<u32, u64> {
    const CASE: &'static str = "papaya";
    fn get(&self, key: u32) -> Option<u64> {
        self.pin().get(&key).copied()
    }
    fn put(&self, key: u32, value: u64) -> bool {
        self.pin().insert(key, value).is_none()
    }
    fn remove(&self, key: u32) -> bool {
        self.pin().remove(&key).is_some()
    }
}

impl Map for scc::HashMap<u32, u64> {
    const CASE: &'static str = "scc";
    fn get(&self, key: u32) -> Option<u64> {
        self.read_sync(&key, |_, v| *v)
    }
    fn put(&self, key: u32, value: u64) -> bool {
        self.upsert_sync(key, value).is_none()
    }
    fn remove(&self, key: u32) -> bool {
        self.remove_sync(&key).is_some()
    }
}

/// Keys that are in the map; as many others never are.
pub const KEYS: u32 = 8_192;
/// Of ten gets, so many ask for a key that is there.
const HITS_OF_TEN: usize = 8;
/// Draws of a lane before it begins again. Small enough for a first-level cache beside the map's own lines.
const DRAWS: usize = 4_096;

/// What a lane does next: a get or a put, of a key.
#[derive(Clone, Copy, Debug)]
struct Step {
    key: u32,
    put: bool,
}

/// The same steps for every contender. Puts overwrite keys that are there, so what is in the map never changes, nor does the
/// share of hits, however long it runs and with however many threads.
fn steps(skew: Skew, puts_percent: usize, lane: usize) -> Vec<Step> {
    let mut order = Order::new(lane as u64 ^ 0x5eed);
    let drawn = keys::draw(skew, KEYS, DRAWS, lane as u64);
    let step = |key: u32| {
        let put = order.below(100) < puts_percent;
        let there = put || order.below(10) < HITS_OF_TEN;
        Step { key: if there { key } else { key + KEYS }, put }
    };
    drawn.into_iter().map(step).collect()
}

/// Gets and hits of a contender, over all its instances.
#[derive(Debug, Default)]
pub struct Hits {
    gets: CachePadded<AtomicU64>,
    hits: CachePadded<AtomicU64>,
}

impl Hits {
    /// Of the gets, the share that found something; `None` if there was none.
    pub fn share(&self) -> Option<f64> {
        let gets = self.gets.load(Relaxed);
        (gets > 0).then(|| self.hits.load(Relaxed) as f64 / gets as f64)
    }
}

/// Lanes that share one map; so many operations in a hundred put, the rest get. What was hit is counted into `tally`.
pub fn crowd<M: Map>(skew: Skew, puts_percent: usize, tally: &Arc<Hits>) -> Crowd {
    let tally = tally.clone();
    let make = move |lanes: usize| {
        let map = Arc::new(CachePadded::new(M::default()));
        (0..KEYS).for_each(|key| _ = map.put(key, u64::from(key)));
        let lane = |lane: usize| {
            let (map, tally, steps) = (map.clone(), tally.clone(), steps(skew, puts_percent, lane));
            let (mut at, mut unsaid, mut gets, mut hits) = (0, 0, 0, 0);
            Box::new(Apart(move |n: u32, _: u32| {
                for _ in 0..n {
                    let step = steps[at % DRAWS];
                    at += 1;
                    if step.put {
                        map.put(step.key, at as u64);
                    } else {
                        gets += 1;
                        hits += u64::from(black_box(map.get(step.key)).is_some());
                    }
                }
                unsaid += n;
                // Once in hundreds of operations: a shared tally must not be what is measured.
                if unsaid >= 512 {
                    tally.gets.fetch_add(gets, Relaxed);
                    tally.hits.fetch_add(hits, Relaxed);
                    (unsaid, gets, hits) = (0, 0, 0);
                }
            })) as Lane
        };
        (0..lanes).map(lane).collect()
    };
    Crowd::new(M::CASE, make)
}

/// What a map weighs, by what the allocator gives out. Values: `empty_bytes` of a new one; `element_bytes`, those and what 4,096 keys with
/// values of 8 bytes need, for each key.
pub fn weigh<M: Map>(param: &str) -> Sample {
    const WEIGHED: u32 = KEYS / 2;
    let before = allocated::given_out_bytes();
    let (map, empty) = allocated::grown(M::default);
    (0..WEIGHED).for_each(|key| _ = map.put(key, 1));
    let full = allocated::given_out_bytes();
    drop(map);
    match (empty, full.zip(before)) {
        (Some(empty), Some((full, before))) => Sample::new(M::CASE, param)
            .with("empty_bytes", empty as f64)
            .with("element_bytes", full.saturating_sub(before) as f64 / f64::from(WEIGHED)),
        _ => Sample::unmeasured(M::CASE, param, allocated::UNKNOWN),
    }
}

/// What a map must show before it is timed: it finds what was put and only that, says truly what was new and what was there, and loses no
/// put or removal of threads that meet.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<M: Map>() -> Result<(), String> {
    const EACH: u32 = 2_000;
    let map = M::default();
    // Each thread has every second key, puts it twice, and takes every fourth of its own out again.
    let is_out = |key: u32| (key / 2).is_multiple_of(4);
    let lies = |thread: u32| {
        let keys = || (thread..2 * EACH).step_by(2);
        let put = keys().find(|k| !map.put(*k, 1) || map.put(*k, u64::from(*k) + 7));
        put.or_else(|| keys().filter(|k| is_out(*k)).find(|k| !map.remove(*k) || map.remove(*k)))
    };
    let lie = thread::scope(|s| {
        let threads = [0, 1].map(|thread| s.spawn(move || lies(thread)));
        threads.map(|t| t.join().expect("a map does not panic")).into_iter().flatten().next()
    });
    let wrong = (0..2 * EACH).find(|key| map.get(*key) != (!is_out(*key)).then_some(u64::from(*key) + 7));
    match (lie, wrong, map.get(2 * EACH)) {
        (Some(key), _, _) => Err(format!("{}: it says wrongly whether key {key} was there", M::CASE)),
        (None, Some(key), _) => Err(format!("{}: of key {key} it says {:?}", M::CASE, map.get(key))),
        (None, None, Some(_)) => Err(format!("{}: it finds a key that nobody put", M::CASE)),
        (None, None, None) => Ok(()),
    }
}

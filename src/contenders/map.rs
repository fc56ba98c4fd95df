//! Maps that threads share, under one trait, and the check of each. All of them hash with std's default hasher.
use std::{
    collections::HashMap,
    hint::black_box,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crossbeam::utils::CachePadded;

use crate::{
    contenders::map_mix::{self, Deeds, Mix},
    lab::{Contender, sample::Sample},
    measure::{
        allocated,
        cost::{Ops, Solo},
        keys::{self, Skew},
        order::Order,
        throughput::{Apart, Crowd, Lane},
    },
};

/// A map from numbers to numbers.
pub trait Map: Default + Send + Sync + 'static {
    /// Who it is.
    const IS: Contender;
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
    const IS: Contender = Contender::new("one_lock").called("HashMap behind std's Mutex");
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
    const IS: Contender = Contender::new("one_rwlock").called("HashMap behind std's RwLock");
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

/// Sixteen of the mutexes; the key says which.
#[derive(Debug, Default)]
pub struct Sharded([CachePadded<OneLock>; 16]);

impl Sharded {
    fn shard(&self, key: u32) -> &OneLock {
        // A multiplication spreads neighbouring keys (Fibonacci hashing); the map inside does the real hashing, once.
        &self.0[(key.wrapping_mul(0x9e37_79b9) >> 28) as usize]
    }
}

impl Map for Sharded {
    const IS: Contender = Contender::new("sharded_16").called("16 HashMaps, each behind std's Mutex");
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
    const IS: Contender = Contender::new("dashmap").called("dashmap 6").of("dashmap");
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
    const IS: Contender = Contender::new("papaya").called("papaya 0.2").of("papaya");
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
    const IS: Contender = Contender::new("scc").called("scc 3 HashMap").of("scc");
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

/// A map as a contender: its name, and everything that a lab can ask of it.
#[derive(Clone, Copy, Debug)]
pub struct SharedMap {
    is: Contender,
    lanes: fn(threads: usize, skew: Skew, puts_percent: usize, tally: &Arc<Hits>) -> Vec<Lane>,
    alone: fn() -> Ops,
    mixed: fn(threads: usize, mix: Mix, deeds: &Arc<Deeds>) -> Vec<Lane>,
    weigh: fn() -> Result<Sample, String>,
}

/// A map as a contender.
pub const fn shared<M: Map>() -> SharedMap {
    SharedMap {
        is: M::IS.checked(check::<M>),
        lanes: lanes::<M>,
        alone: map_mix::alone::<M>,
        mixed: map_mix::lanes::<M>,
        weigh: weigh::<M>,
    }
}

/// `Mutex<HashMap>`.
pub static ONE_LOCK: SharedMap = shared::<OneLock>();
/// `RwLock<HashMap>`.
pub static ONE_RWLOCK: SharedMap = shared::<OneRwLock>();
/// [`Sharded`].
pub static SHARDED_16: SharedMap = shared::<Sharded>();
/// `dashmap::DashMap`.
pub static DASHMAP: SharedMap = shared::<dashmap::DashMap<u32, u64>>();
/// The same with its version in its id.
pub static DASHMAP_6: SharedMap = DASHMAP.as_case("dashmap_6");
/// `papaya::HashMap`.
pub static PAPAYA: SharedMap = shared::<papaya::HashMap<u32, u64>>();
/// The same with its version in its id.
pub static PAPAYA_0_2: SharedMap = PAPAYA.as_case("papaya_0_2");
/// `scc::HashMap`, with its version in its id.
pub static SCC_3: SharedMap = shared::<scc::HashMap<u32, u64>>().as_case("scc_3");

impl AsRef<Contender> for SharedMap {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl SharedMap {
    const fn as_case(mut self, id: &'static str) -> Self {
        self.is = self.is.as_case(id);
        self
    }
    /// Lanes that share one map; so many operations in a hundred put, the rest get. What was hit is counted into `tally`.
    pub fn crowd(&self, skew: Skew, puts_percent: usize, tally: &Arc<Hits>) -> Crowd {
        let (lanes, tally) = (self.lanes, tally.clone());
        Crowd::new(self.is.id, move |threads| lanes(threads, skew, puts_percent, &tally))
    }
    /// A mix of reads, insertions and removals by one thread that has the map to itself.
    pub fn alone(&self) -> Solo {
        Solo::new(self.is.id, self.alone)
    }
    /// Lanes that share one map, each operation as `mix` has it. What they did is counted into `deeds`.
    pub fn mixed(&self, mix: Mix, deeds: &Arc<Deeds>) -> Crowd {
        let (mixed, deeds) = (self.mixed, deeds.clone());
        Crowd::new(self.is.id, move |threads| mixed(threads, mix, &deeds))
    }
    /// See [`weigh`].
    ///
    /// # Errors
    /// Where the allocator does not tell.
    pub fn weigh(&self) -> Result<Sample, String> {
        (self.weigh)()
    }
}

fn lanes<M: Map>(threads: usize, skew: Skew, puts_percent: usize, tally: &Arc<Hits>) -> Vec<Lane> {
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
    (0..threads).map(lane).collect()
}

/// What a map weighs, by what the allocator gives out. Values: `empty_bytes` of a new one; `element_bytes`, those and what 4,096 keys with
/// values of 8 bytes need, for each key.
///
/// # Errors
/// Where the allocator does not tell.
pub fn weigh<M: Map>() -> Result<Sample, String> {
    const WEIGHED: u32 = KEYS / 2;
    let before = allocated::given_out_bytes();
    let (map, empty) = allocated::grown(M::default);
    (0..WEIGHED).for_each(|key| _ = map.put(key, 1));
    let full = allocated::given_out_bytes();
    drop(map);
    let (Some(empty), Some((full, before))) = (empty, full.zip(before)) else {
        return Err(allocated::UNKNOWN.into());
    };
    Ok(Sample::default()
        .with("empty_bytes", empty as f64)
        .with("element_bytes", full.saturating_sub(before) as f64 / f64::from(WEIGHED)))
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
        (Some(key), _, _) => Err(format!("{}: it says wrongly whether key {key} was there", M::IS.id)),
        (None, Some(key), _) => Err(format!("{}: of key {key} it says {:?}", M::IS.id, map.get(key))),
        (None, None, Some(_)) => Err(format!("{}: it finds a key that nobody put", M::IS.id)),
        (None, None, None) => Ok(()),
    }
}

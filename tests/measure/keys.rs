//! The spectrum of the key generator, and the maps and counters that are measured with it.
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use underhood::{
    contenders::{
        counter::{self, Counts},
        map::{self, Hits, Map},
        map_mix::{self, Deeds, Mix, Seen},
    },
    experiments::presence::{self, Presence},
    lab::{
        Contender,
        plan::{Mode, Plan},
        sample::Sample,
    },
    machine::allowed_cpus,
    measure::{
        keys::{Skew, draw},
        throughput::crowd,
    },
};

const KEYS: u32 = 1_000;
const COUNT: usize = 200_000;

fn counts(skew: Skew, seed: u64) -> Vec<usize> {
    let mut by_key: BTreeMap<u32, usize> = BTreeMap::new();
    for key in draw(skew, KEYS, COUNT, seed) {
        assert!(key < KEYS);
        *by_key.entry(key).or_default() += 1;
    }
    let mut counts: Vec<usize> = by_key.into_values().collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

#[test]
fn uniform_keys_are_uniform_and_visited_without_a_stride() {
    let counts = counts(Skew::Uniform, 3);
    assert_eq!(counts.len(), KEYS as usize, "every key comes");
    let mean = COUNT as f64 / f64::from(KEYS);
    let chi: f64 = counts.iter().map(|c| (*c as f64 - mean).powi(2) / mean).sum();
    // Chi-square with 999 degrees of freedom: mean 999, standard deviation 45.
    assert!((750.0..1250.0).contains(&chi), "{chi}");
    let draws = draw(Skew::Uniform, KEYS, 10_000, 4);
    let mut strides: HashMap<u32, usize> = HashMap::new();
    for pair in draws.windows(2) {
        *strides.entry((pair[1] + KEYS - pair[0]) % KEYS).or_default() += 1;
    }
    assert!(strides.len() > 900, "a congruential mix has a handful of strides: {}", strides.len());
    assert!(strides.values().all(|n| *n < 60), "no stride is common");
}

#[test]
fn zipf_keys_follow_the_law_and_lie_scattered() {
    let counts = counts(Skew::Zipf(1.0), 5);
    let harmonic: f64 = (1..=KEYS).map(|r| 1.0 / f64::from(r)).sum();
    for rank in [1, 2, 10] {
        let (is, should) = (counts[rank - 1] as f64, COUNT as f64 / harmonic / rank as f64);
        assert!((is / should - 1.0).abs() < 0.1, "rank {rank}: {is}, not {should}");
    }
    let hottest = |seed| {
        let mut n: BTreeMap<u32, usize> = BTreeMap::new();
        draw(Skew::Zipf(1.0), KEYS, 20_000, seed).into_iter().for_each(|k| *n.entry(k).or_default() += 1);
        let mut keys: Vec<(usize, u32)> = n.into_iter().map(|(k, n)| (n, k)).collect();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        keys[..3].iter().map(|k| k.1).collect::<Vec<_>>()
    };
    assert_eq!(hottest(1), hottest(2), "the hot keys are the same for every lane");
    assert_ne!(hottest(1), [0, 1, 2], "and not side by side");
}

#[test]
fn one_key_is_one_key_and_seeds_repeat() {
    assert_eq!(counts(Skew::OneKey, 1), [COUNT]);
    assert_eq!(draw(Skew::Uniform, KEYS, 100, 9), draw(Skew::Uniform, KEYS, 100, 9));
    assert_ne!(draw(Skew::Uniform, KEYS, 100, 9), draw(Skew::Uniform, KEYS, 100, 10));
}

#[test]
fn the_share_of_hits_stays_where_it_was_set() {
    for (threads, skew) in [(1, Skew::Uniform), (3, Skew::Uniform), (2, Skew::OneKey), (2, Skew::Zipf(0.99))]
    {
        let tally = Arc::new(Hits::default());
        let plan = Plan { threads, ..Plan::new(Mode::Smoke, allowed_cpus()) };
        let arms = [map::ONE_LOCK.crowd(skew, 10, &tally)];
        // A loaded machine may need a few goes before a lane has done a tally's worth.
        let share = (0..50).find_map(|_| {
            crowd(&plan, "", 0.0, &arms);
            tally.share()
        });
        // Five standard deviations of the fewest operations that are tallied.
        let share = share.expect("a tally is made every 512 operations of a lane");
        assert!((0.7..0.9).contains(&share), "{threads} threads, {skew:?}: {share}");
    }
}

/// A map from which nothing is ever taken out.
#[derive(Default)]
struct Keeps(map::OneLock);

impl Map for Keeps {
    const IS: Contender = Contender::new("keeps");
    fn get(&self, key: u32) -> Option<u64> {
        Map::get(&self.0, key)
    }
    fn put(&self, key: u32, value: u64) -> bool {
        self.0.put(key, value)
    }
    fn remove(&self, key: u32) -> bool {
        Map::get(&self.0, key).is_some()
    }
}

/// So many operations by each of two lanes in turn, on one thread: exact on any machine.
fn in_turn<M: Map>(mix: Mix) -> Seen {
    let deeds = Arc::new(Deeds::default());
    let mut lanes = map_mix::lanes::<M>(2, mix, &deeds);
    for _ in 0..4_000 {
        lanes.iter_mut().for_each(|lane| (lane.0)(32, 0));
    }
    deeds.seen().expect("reads were tallied")
}

#[test]
fn a_mix_of_insertions_and_removals_keeps_its_hits_and_what_drifts_gets_no_number() {
    let row = || Sample::new("x", "").with("ops_per_s", 1.0);
    for skew in [Skew::Uniform, Skew::Zipf(0.99), Skew::OneKey] {
        for each_percent in [0, 5, 25] {
            let mix = Mix { each_percent, skew };
            let seen = in_turn::<map::OneLock>(mix);
            let judged = seen.judge(row(), mix);
            assert!(judged.unmeasured.is_none(), "{skew:?}, {each_percent}: {seen:?}");
            // Insertions insert and removals remove, at least every third: else they would be overwritings and reads in disguise.
            assert_eq!(seen.changed_share.is_some(), each_percent > 0);
            assert!(
                seen.changed_share.is_none_or(|share| share > 0.33),
                "{skew:?}, {each_percent}: {seen:?}"
            );
        }
    }
    let mix = Mix { each_percent: 25, skew: Skew::Zipf(0.99) };
    let drifts = in_turn::<Keeps>(mix);
    assert!(
        drifts.judge(row(), mix).unmeasured.is_some_and(|why| why.contains("of its reads hit")),
        "{drifts:?}"
    );
    assert!(map::check::<Keeps>().unwrap_err().contains("whether key"));
}

#[test]
fn a_case_has_the_version_of_its_crate_in_its_name() {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.lock")).unwrap();
    for (name, version) in [("dashmap", "6."), ("papaya", "0.2."), ("scc", "3.")] {
        assert!(
            lock.contains(&format!("name = \"{name}\"\nversion = \"{version}")),
            "{name} is no longer {version}x"
        );
    }
}

/// Adds by load and store.
struct Loses(std::sync::atomic::AtomicU64);

impl Counts for Loses {
    const IS: Contender = Contender::new("loses");
    fn new(_: usize) -> Self {
        Self(0.into())
    }
    fn add(&self, _: usize) {
        use std::sync::atomic::Ordering::Relaxed;
        let n = self.0.load(Relaxed);
        if n.is_multiple_of(64) {
            std::thread::yield_now();
        }
        self.0.store(n + 1, Relaxed);
    }
    fn read(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Knows a user more than it should.
#[derive(Debug)]
struct Knows(presence::Slab);

impl Presence for Knows {
    const IS: underhood::lab::Contender = underhood::lab::Contender::new("knows");
    const MOST_USER_BYTES: u64 = 8;
    fn with(users: u32, threads: u32) -> Self {
        Self(presence::Slab::with(users + 1, threads))
    }
    fn beat(&self, user: u32, now: u64) {
        self.0.beat(user, now);
    }
    fn last_seen(&self, user: u32) -> Option<u64> {
        self.0.last_seen(user)
    }
}

#[test]
fn a_structure_that_may_be_too_large_is_refused_before_it_is_filled() {
    let why = presence::SLAB.fill(1 << 20, 1, 1 << 20, 1).unwrap_err();
    assert!(why.contains("may take 8 MiB") && why.contains("below 1 MiB"), "{why}");
}

/// Forgets the second put of a key.
#[derive(Default)]
struct Forgets(Mutex<HashMap<u32, u64>>);

impl Map for Forgets {
    const IS: Contender = Contender::new("forgets");
    fn get(&self, key: u32) -> Option<u64> {
        self.0.lock().unwrap().get(&key).copied()
    }
    fn put(&self, key: u32, value: u64) -> bool {
        let mut map = self.0.lock().unwrap();
        let is_new = !map.contains_key(&key);
        map.entry(key).or_insert(value);
        is_new
    }
    fn remove(&self, key: u32) -> bool {
        self.0.lock().unwrap().remove(&key).is_some()
    }
}

#[test]
fn a_wrong_counter_or_map_gets_no_number() {
    assert!(counter::check::<Loses>().unwrap_err().contains("loses"));
    assert!(map::check::<Forgets>().unwrap_err().contains("forgets"));
    assert!(presence::check::<Knows>().unwrap_err().contains("does not exist"));
}

#[test]
fn the_counters_and_maps_that_are_measured_pass() {
    counter::check::<counter::Locked>().unwrap();
    counter::check::<counter::FetchAdd>().unwrap();
    counter::check::<counter::CasLoop>().unwrap();
    counter::check::<counter::Sharded>().unwrap();
    counter::check::<counter::PerThread>().unwrap();
    counter::check::<counter::Batched>().unwrap();
    map::check::<map::OneLock>().unwrap();
    map::check::<map::Sharded>().unwrap();
    map::check::<dashmap::DashMap<u32, u64>>().unwrap();
    map::check::<papaya::HashMap<u32, u64>>().unwrap();
    map::check::<map::OneRwLock>().unwrap();
    map::check::<scc::HashMap<u32, u64>>().unwrap();
    presence::check::<presence::OneLock>().unwrap();
    presence::check::<presence::Sharded>().unwrap();
    presence::check::<presence::Papaya>().unwrap();
    presence::check::<presence::Slab>().unwrap();
}

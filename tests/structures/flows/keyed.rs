//! The limit per key: exact for each key, whatever is evicted in between, within its memory.

use super::models::History;
use super::{Clock, for_seeds};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hasher};
use underhood::structures::flow::keyed::{BadSize, Keyed, KeyedRefusal, WINDOW};
use underhood::structures::flow::{Quota, Refusal};

const INTERVAL_NS: u64 = 10;
const BURST: u64 = 3;

fn quota() -> Quota {
    Quota::new(1, INTERVAL_NS, BURST).unwrap()
}

/// One shard of [`WINDOW`] slots, so that every key may be in every slot; more keys than slots, so that idle ones must make room.
#[test]
fn each_key_decides_as_its_own_model_whatever_is_evicted() {
    for_seeds(|dice| {
        let limiter = Keyed::new(quota(), WINDOW / 2, 1).unwrap();
        let keys = [4, 40, 400][dice.below(3)];
        let mut histories: BTreeMap<u64, History> = BTreeMap::new();
        let (mut clock, mut latest_ns) = (Clock::new(INTERVAL_NS, true), 0);
        for _ in 0..120 {
            let (told_ns, key, cost) = (clock.tick(dice), dice.below(keys) as u64, dice.below(5) as u64);
            let in_use = limiter.in_use(latest_ns.max(told_ns));
            let decided = limiter.admit(&key, told_ns, cost);
            if cost > BURST {
                assert_eq!(decided, Err(KeyedRefusal::Quota(Refusal::TooLarge)));
                continue;
            }
            // The clock stands still instead of stepping back: else an evicted key would be new in its own past.
            latest_ns = latest_ns.max(told_ns);
            let history = histories.entry(key).or_default();
            let conforms = |at_ns| history.conforms(INTERVAL_NS, BURST, at_ns, cost);
            match decided {
                Ok(()) => {
                    assert!(conforms(latest_ns), "key {key} passed at {latest_ns}");
                    history.passed(latest_ns, cost);
                }
                Err(KeyedRefusal::Quota(Refusal::NotBefore { at_ns })) => {
                    assert!(
                        !conforms(at_ns - 1) && conforms(at_ns),
                        "key {key} was told {at_ns} at {latest_ns}"
                    );
                }
                Err(KeyedRefusal::Quota(Refusal::TooLarge)) => panic!("{cost} is not too large"),
                Err(KeyedRefusal::Crowded) => assert_eq!(in_use, WINDOW, "crowded with free slots"),
            }
        }
    });
}

#[test]
fn memory_is_fixed_and_more_keys_than_slots_are_told_so() {
    let limiter = Keyed::new(quota(), 1_000, 8).unwrap();
    let bytes = limiter.table_bytes();
    let passed = (0..100_000u64).filter(|key| limiter.admit(key, 0, 1).is_ok()).count();
    // 2,048 slots; some stay free, where too few of the later keys could go.
    assert!((1_500..=2_048).contains(&passed), "{passed}");
    assert_eq!(limiter.in_use(0), passed);
    assert_eq!(limiter.table_bytes(), bytes);
    assert_eq!(limiter.admit(&u64::MAX, 0, 1), Err(KeyedRefusal::Crowded));
    // When they are idle, all make room.
    assert_eq!(limiter.admit(&u64::MAX, INTERVAL_NS, 1), Ok(()));
    assert_eq!(limiter.in_use(INTERVAL_NS), 1);
}

/// The documented promise: with as many keys in use as asked for, at the highest load (half full), next to none is refused.
#[test]
fn half_full_is_hardly_ever_crowded() {
    let mut crowded = 0;
    for seed in 0..20u64 {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let limiter = Keyed::with_hasher(quota(), 8_192, 16, hasher).unwrap();
        let keys = (0..8_192u64).map(|i| (seed, i));
        crowded += keys.filter(|key| limiter.admit(key, 0, 1).is_err()).count();
    }
    assert!(crowded <= 16, "{crowded} of 163,840 were refused");
}

#[test]
fn sizes_that_make_no_limiter() {
    let new = |keys, shards| Keyed::<u64>::new(quota(), keys, shards).map(|_| ()).unwrap_err();
    assert_eq!(new(0, 1), BadSize::NoKeys);
    assert_eq!(new(1, 0), BadSize::Shards);
    assert_eq!(new(1, 1 << 17), BadSize::Shards);
    assert_eq!(new(usize::MAX, 1), BadSize::TooManyKeys);
    assert_eq!(new(usize::MAX / 8, 1), BadSize::TooManyKeys);
    assert!(Keyed::<u64>::new(quota(), 1, 3).is_ok(), "shards are rounded up");
}

/// Hashes to the number itself, moved up: all of it is in the upper bits, and the lower ones are all the same.
#[derive(Clone, Default)]
struct Upper(u64);

impl Hasher for Upper {
    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers")
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = key << self.0;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}

/// A hasher need not be good in each part of its bits: fast ones are not, for some seeds.
#[test]
fn keys_find_slots_wherever_a_hasher_puts_its_bits() {
    #[derive(Clone)]
    struct By(u64);
    impl BuildHasher for By {
        type Hasher = Upper;
        fn build_hasher(&self) -> Upper {
            Upper(self.0)
        }
    }
    let quota = Quota::per_second(100, 100).unwrap();
    for bits in 0..=54 {
        let keyed = Keyed::with_hasher(quota, 1_000, 64, By(bits)).unwrap();
        let crowded = (0..1_000_u64).filter(|key| keyed.admit(key, 1, 1).is_err()).count();
        assert!(crowded <= 20, "keys moved up {bits} bits: {crowded} of 1,000 found no slot");
    }
}

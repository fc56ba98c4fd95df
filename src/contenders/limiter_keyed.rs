//! Rate limits per key under one trait: ours, and governor's over a DashMap; each with a fast hasher and with std's.
use std::{
    hash::{BuildHasher, RandomState},
    hint::black_box,
    sync::Arc,
};

use governor::{
    RateLimiter,
    clock::{Clock, QuantaClock},
    middleware::NoOpMiddleware,
    state::keyed::DashMapStateStore,
};

use super::limiter::{Come, Governor, HUNDRED, Limit, ONE, Rate, Shared, Ticking, Told, Unlimited};
use crate::{
    lab::Contender,
    measure::{
        cost::{Ops, Solo},
        order::Order,
        throughput::{Apart, Lane},
    },
    structures::flow::keyed::Keyed,
};

/// The hasher that governor takes by default, by way of hashbrown.
pub type Foldhash = foldhash::fast::RandomState;

/// Shards of ours; DashMap takes four times the CPUs, rounded up to a power of two.
const SHARDS: usize = 64;

/// A limit per key whose caller has the time.
pub trait KeyLimit: Send + Sync + 'static {
    /// Who it is.
    const IS: Contender;
    /// A limiter with room for this many keys.
    fn new(rate: Rate, keys: usize) -> Self;
    /// Whether a request of this key passes now.
    fn passes(&self, key: u64, now_ns: u64) -> bool;
}

/// A limit per key that reads governor's default clock for each decision.
pub trait KeyTimed: Send + Sync + 'static {
    /// A limiter with room for this many keys.
    fn new(rate: Rate, keys: usize) -> Self;
    /// Whether a request of this key passes now.
    fn passes(&self, key: u64) -> bool;
}

/// A hasher, and what a limiter with it is called.
pub trait Named: BuildHasher + Clone + Default + Send + Sync + 'static {
    /// Ours with it.
    const OURS: Contender;
    /// governor's with it.
    const GOVERNORS: Contender;
}

impl Named for Foldhash {
    const OURS: Contender = Contender::new("keyed_foldhash").called("our limit per key, foldhash");
    const GOVERNORS: Contender =
        Contender::new("governor").called("governor per key, foldhash").of("governor");
}

impl Named for RandomState {
    const OURS: Contender = Contender::new("keyed").called("our limit per key, SipHash");
    const GOVERNORS: Contender =
        Contender::new("governor_siphash").called("governor per key, SipHash").of("governor");
}

impl<S: Named> KeyLimit for Keyed<u64, S> {
    const IS: Contender = S::OURS;
    fn new(rate: Rate, keys: usize) -> Self {
        Self::with_hasher(rate.quota(), keys, SHARDS, S::default()).expect("the labs' sizes are sound")
    }
    #[inline]
    fn passes(&self, key: u64, now_ns: u64) -> bool {
        self.admit(&key, now_ns, 1).is_ok()
    }
}

/// Ours, with governor's default clock.
#[derive(Debug)]
pub struct KeyClocked<S> {
    limiter: Keyed<u64, S>,
    clock: Ticking,
}

impl<S: Named> KeyTimed for KeyClocked<S> {
    fn new(rate: Rate, keys: usize) -> Self {
        Self { limiter: KeyLimit::new(rate, keys), clock: Ticking::start() }
    }
    #[inline]
    fn passes(&self, key: u64) -> bool {
        self.limiter.passes(key, self.clock.now_ns())
    }
}

/// governor's, on a clock.
pub struct KeyGovernor<S: Named, C: Clock> {
    limiter: RateLimiter<u64, DashMapStateStore<u64, S>, C, NoOpMiddleware<C::Instant>>,
    clock: C,
}

impl<S: Named, C: Clock> std::fmt::Debug for KeyGovernor<S, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyGovernor { .. }")
    }
}

impl<S: Named, C: Clock + Clone> KeyGovernor<S, C> {
    fn on(clock: C, rate: Rate) -> Self {
        let limiter =
            RateLimiter::dashmap_with_clock_and_hasher(rate.governors(), clock.clone(), S::default());
        Self { limiter, clock }
    }
}

impl<S: Named> KeyLimit for KeyGovernor<S, Told> {
    const IS: Contender = S::GOVERNORS;
    fn new(rate: Rate, _: usize) -> Self {
        Self::on(Told::default(), rate)
    }
    #[inline]
    fn passes(&self, key: u64, now_ns: u64) -> bool {
        self.clock.set(now_ns);
        self.limiter.check_key(&key).is_ok()
    }
}

impl<S: Named> KeyTimed for KeyGovernor<S, QuantaClock> {
    fn new(rate: Rate, _: usize) -> Self {
        Self::on(QuantaClock::default(), rate)
    }
    #[inline]
    fn passes(&self, key: u64) -> bool {
        self.limiter.check_key(&key).is_ok()
    }
}

impl KeyLimit for Unlimited {
    const IS: Contender = <Self as Limit>::IS;
    fn new(_: Rate, _: usize) -> Self {
        Self
    }
    #[inline]
    fn passes(&self, key: u64, now_ns: u64) -> bool {
        black_box(key ^ now_ns) != 1
    }
}

/// Keys as they come, drawn before the clock starts: uniform over `keys`, and far apart in value.
#[derive(Debug)]
struct Stream {
    keys: Box<[u64]>,
    next: usize,
}

impl Stream {
    fn new(keys: usize, seed: u64) -> Self {
        let mut names = Order::new(7);
        let names: Vec<u64> = (0..keys).map(|_| names.next_u64()).collect();
        let mut dice = Order::new(seed);
        Self { keys: (0..1 << 14).map(|_| names[dice.below(keys)]).collect(), next: 0 }
    }
    #[inline]
    fn next(&mut self) -> u64 {
        self.next = (self.next + 1) % self.keys.len();
        self.keys[self.next]
    }
}

/// A limiter per key as a contender.
#[derive(Clone, Copy, Debug)]
pub struct KeyLimiter {
    is: Contender,
    told: fn(keys: usize) -> Ops,
}

/// A limiter per key as a contender.
const fn key_limiter<L: KeyLimit>() -> KeyLimiter {
    KeyLimiter { is: L::IS.checked(check::<L>), ..unchecked::<L>() }
}

const fn unchecked<L: KeyLimit>() -> KeyLimiter {
    fn told<L: KeyLimit>(keys: usize) -> Ops {
        let limiter = Box::new(Apart(L::new(HUNDRED, keys)));
        let (mut stream, mut now_ns) = (Stream::new(keys, 1), 0);
        Box::new(move |n| {
            for _ in 0..n {
                now_ns += 10_000_000;
                black_box(limiter.0.passes(stream.next(), now_ns));
            }
        })
    }
    KeyLimiter { is: L::IS, told: told::<L> }
}

/// Lanes that ask one limiter with 10,000 keys, each lane in an order of its own: all pass, or (with [`Come::Refused`]) next to all are
/// refused, which is all but the first of each key.
const fn shared<T: KeyTimed>(is: Contender) -> Shared {
    fn lanes<T: KeyTimed>(come: Come, threads: usize) -> Vec<Lane> {
        const KEYS: usize = 10_000;
        let rate = if come == Come::Passing { <Governor<Told> as Limit>::ENDLESS } else { ONE };
        let limiter = Arc::new(Apart(T::new(rate, KEYS)));
        let lane = |i: usize| -> Lane {
            let (limiter, mut stream) = (limiter.clone(), Stream::new(KEYS, i as u64));
            Box::new(Apart(move |n, _| (0..n).for_each(|_| _ = black_box(limiter.0.passes(stream.next())))))
        };
        (0..threads).map(lane).collect()
    }
    Shared { is, lanes: lanes::<T> }
}

/// governor's with foldhash.
pub static KEY_GOVERNOR: KeyLimiter = key_limiter::<KeyGovernor<Foldhash, Told>>();
/// governor's with std's hasher.
pub static KEY_GOVERNOR_SIPHASH: KeyLimiter = key_limiter::<KeyGovernor<RandomState, Told>>();
/// [`Keyed`] with foldhash.
pub static KEYED_FOLDHASH: KeyLimiter = key_limiter::<Keyed<u64, Foldhash>>();
/// [`Keyed`] with std's hasher.
pub static KEYED: KeyLimiter = key_limiter::<Keyed<u64>>();
/// [`Unlimited`], which would fail the check of a limit per key.
pub static KEY_UNLIMITED: KeyLimiter = unchecked::<Unlimited>();

/// [`KEY_GOVERNOR`] where threads meet, beside limiters without keys.
pub static SHARED_KEY_GOVERNOR: Shared =
    shared::<KeyGovernor<Foldhash, QuantaClock>>(KEY_GOVERNOR.is.as_case("governor_keyed"));
/// [`KEYED_FOLDHASH`] where threads meet.
pub static SHARED_KEYED_FOLDHASH: Shared = shared::<KeyClocked<Foldhash>>(KEYED_FOLDHASH.is);

impl AsRef<Contender> for KeyLimiter {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl KeyLimiter {
    /// The cost of a decision that passes, when the time is known; one thread, so many keys in random order.
    pub fn passing(&self, keys: usize) -> Solo {
        let told = self.told;
        Solo::new(self.is.id, move || told(keys))
    }
}

/// What a limiter per key must show before it is timed: each of 1,000 keys has a quota of its own.
///
/// # Errors
/// A sentence that names the contender and what it did instead.
pub fn check<L: KeyLimit>() -> Result<(), String> {
    let (limiter, at_ns) = (L::new(HUNDRED, 1_000), 1);
    let passed = |times: usize| {
        let asked = (0..1_000).flat_map(|key| std::iter::repeat_n(key, times));
        asked.filter(|key| limiter.passes(*key, at_ns)).count()
    };
    match (passed(99), passed(2)) {
        (99_000, 1_000) => Ok(()),
        (first, then) => Err(format!("{}: {first} of 99,000 passed, then {then} of 1,000", L::IS.id)),
    }
}

//! Rate limiters under one trait: ours, and governor.
//!
//! A decision needs the time. Ours are told it, governor asks a clock; so there are two ways to ask each: [`Limit`], where the caller
//! has the time already (governor then reads it from a word, which costs about nothing), and [`Timed`], where each decision
//! reads governor's default clock, ours too, so that the clock is the same for all.
use std::{
    hint::black_box,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use governor::{
    RateLimiter,
    clock::{Clock, QuantaClock, QuantaInstant, Reference},
    middleware::NoOpMiddleware,
    nanos::Nanos,
    state::{InMemoryState, NotKeyed},
};

use super::arrivals::{self, Truth};
use crate::{
    lab::Contender,
    measure::{
        cost::{Ops, Solo},
        order::Order,
        throughput::{Apart, Crowd, Lane},
    },
    structures::flow::{
        Quota, fixed_window::FixedWindow, gcra::Gcra, leaky_bucket::LeakyBucket, sliding_log::SlidingLog,
        token_bucket::TokenBucket,
    },
};

/// What a limiter is to allow, as a person says it.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// So many
    pub count: u32,
    /// in so many ns,
    pub period_ns: u64,
    /// and so many at once, for those who have a burst.
    pub burst: u32,
}

impl Rate {
    pub(super) fn quota(self) -> Quota {
        Quota::new(self.count.into(), self.period_ns, self.burst.into()).expect("the labs' rates are sound")
    }

    pub(super) fn governors(self) -> governor::Quota {
        let interval = Duration::from_nanos(self.quota().interval_ns());
        let burst = NonZeroU32::new(self.burst).expect("the labs' bursts are above zero");
        governor::Quota::with_period(interval).expect("above zero").allow_burst(burst)
    }
}

/// A limiter whose caller has the time.
pub trait Limit: Send + Sync + 'static {
    /// Who it is.
    const IS: Contender;
    /// A limiter to which nothing has happened yet.
    fn new(rate: Rate) -> Self;
    /// A rate at which everything passes, at any speed a CPU has.
    const ENDLESS: Rate = Rate { count: 1 << 20, period_ns: 1 << 20, burst: u32::MAX };
    /// When a request that comes now may leave: now, later (a queue), or not at all.
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64>;
    /// Bytes of state, with what is on the heap.
    fn bytes(&self) -> usize
    where
        Self: Sized,
    {
        size_of::<Self>()
    }
}

impl Limit for Gcra {
    const IS: Contender = Contender::new("gcra").called("our GCRA");
    fn new(rate: Rate) -> Self {
        Self::new(rate.quota())
    }
    #[inline]
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.admit(now_ns, 1).is_ok().then_some(now_ns)
    }
}

impl Limit for TokenBucket {
    const IS: Contender = Contender::new("token_bucket").called("our token bucket");
    fn new(rate: Rate) -> Self {
        Self::new(rate.quota())
    }
    #[inline]
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.admit(now_ns, 1).is_ok().then_some(now_ns)
    }
}

/// [`LeakyBucket`] as a meter.
#[derive(Debug)]
pub struct LeakyMeter(LeakyBucket);

impl Limit for LeakyMeter {
    const IS: Contender = Contender::new("leaky_meter").called("our leaky bucket, as a meter");
    fn new(rate: Rate) -> Self {
        Self(LeakyBucket::new(rate.quota()))
    }
    #[inline]
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.0.admit(now_ns, 1).is_ok().then_some(now_ns)
    }
}

/// [`LeakyBucket`] as a queue.
#[derive(Debug)]
pub struct LeakyQueue(LeakyBucket);

impl Limit for LeakyQueue {
    const IS: Contender = Contender::new("leaky_queue").called("our leaky bucket, as a queue");
    fn new(rate: Rate) -> Self {
        Self(LeakyBucket::new(rate.quota()))
    }
    #[inline]
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.0.leaves_at_ns(now_ns, 1).ok()
    }
}

impl Limit for FixedWindow {
    const IS: Contender = Contender::new("fixed_window").called("our fixed window");
    fn new(rate: Rate) -> Self {
        Self::new(rate.count.into(), rate.period_ns).expect("the labs' windows are sound")
    }
    #[inline]
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.admit(now_ns, 1).is_ok().then_some(now_ns)
    }
}

/// [`SlidingLog`], with the length it was made with.
#[derive(Debug)]
pub struct Log(SlidingLog, usize);

impl Limit for Log {
    const IS: Contender = Contender::new("sliding_log").called("our sliding log");
    fn new(rate: Rate) -> Self {
        let log = SlidingLog::new(rate.count.into(), rate.period_ns).expect("the labs' windows are sound");
        Self(log, rate.count as usize)
    }
    /// As long as the log of [`HUNDRED`], not a million entries: what it costs to read 8 MiB is not what is asked.
    const ENDLESS: Rate = Rate { count: HUNDRED.count, period_ns: 1, burst: 1 };
    #[inline]
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.0.admit(now_ns).is_ok().then_some(now_ns)
    }
    fn bytes(&self) -> usize {
        size_of::<SlidingLog>() + self.1 * size_of::<u64>()
    }
}

/// A clock that shows what was written on it.
#[derive(Clone, Debug, Default)]
pub struct Told(Arc<AtomicU64>);

impl Told {
    /// Sets it. Relaxed: whoever sets it is who reads it.
    pub fn set(&self, now_ns: u64) {
        self.0.store(now_ns, Relaxed);
    }
}

impl Clock for Told {
    type Instant = Nanos;
    #[inline]
    fn now(&self) -> Nanos {
        self.0.load(Relaxed).into()
    }
}

/// governor's limiter, on a clock.
pub struct Governor<C: Clock> {
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
    clock: C,
}

impl<C: Clock> std::fmt::Debug for Governor<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Governor { .. }")
    }
}

impl<C: Clock + Clone> Governor<C> {
    fn on(clock: C, rate: Rate) -> Self {
        Self { limiter: RateLimiter::direct_with_clock(rate.governors(), clock.clone()), clock }
    }
}

impl Limit for Governor<Told> {
    const IS: Contender = Contender::new("governor").of("governor");
    fn new(rate: Rate) -> Self {
        Self::on(Told::default(), rate)
    }
    #[inline]
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.clock.set(now_ns);
        self.limiter.check().is_ok().then_some(now_ns)
    }
}

/// No limit: what the loop costs, and in a [`Timed`] the clock.
#[derive(Debug)]
pub struct Unlimited;

impl Limit for Unlimited {
    const IS: Contender = Contender::new("empty").called("no limit");
    fn new(_: Rate) -> Self {
        Self
    }
    #[inline]
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64> {
        Some(black_box(now_ns))
    }
}

/// A limiter that reads a clock for each decision.
pub trait Timed: Send + Sync + 'static {
    /// Who it is.
    const IS: Contender;
    /// As in [`Limit`].
    const ENDLESS: Rate;
    /// A limiter to which nothing has happened yet.
    fn new(rate: Rate) -> Self;
    /// Whether a request passes now.
    fn passes(&self) -> bool;
}

/// A limiter of ours with governor's default clock.
#[derive(Debug)]
pub struct Clocked<L> {
    limiter: L,
    clock: Ticking,
}

/// governor's default clock, in ns since it was started.
#[derive(Debug)]
pub(super) struct Ticking {
    clock: QuantaClock,
    start: QuantaInstant,
}

impl Ticking {
    pub(super) fn start() -> Self {
        let clock = QuantaClock::default();
        Self { start: clock.now(), clock }
    }
    #[inline]
    pub(super) fn now_ns(&self) -> u64 {
        self.clock.now().duration_since(self.start).as_u64()
    }
}

impl<L: Limit> Timed for Clocked<L> {
    const IS: Contender = L::IS;
    const ENDLESS: Rate = L::ENDLESS;
    fn new(rate: Rate) -> Self {
        Self { limiter: L::new(rate), clock: Ticking::start() }
    }
    #[inline]
    fn passes(&self) -> bool {
        self.limiter.leaves_at_ns(self.clock.now_ns()).is_some()
    }
}

impl Timed for Governor<QuantaClock> {
    const IS: Contender = <Governor<Told> as Limit>::IS;
    const ENDLESS: Rate = <Governor<Told> as Limit>::ENDLESS;
    fn new(rate: Rate) -> Self {
        Self::on(QuantaClock::default(), rate)
    }
    #[inline]
    fn passes(&self) -> bool {
        self.limiter.check().is_ok()
    }
}

/// 100 per second.
pub const HUNDRED: Rate = Rate { count: 100, period_ns: 1_000_000_000, burst: 100 };
/// One in three hours: after the first, everything is refused for longer than any run.
pub const ONE: Rate = Rate { count: 1, period_ns: 10_000_000_000_000, burst: 1 };

/// How requests come in a measurement of cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Come {
    /// So that all pass: told the time, each an interval after the one before.
    Passing,
    /// So that all but the first are refused: told the time, all at one moment.
    Refused,
}

/// A limiter as a contender: its name, and everything that a lab can ask of it.
#[derive(Clone, Copy, Debug)]
pub struct Limiter {
    /// What is asked of it where threads meet.
    pub shared: Shared,
    told: fn(Come) -> Ops,
    clocked: fn() -> Ops,
    truth: fn(Rate) -> Truth,
    polite_share: fn(Option<Order>) -> f64,
}

/// A limiter that threads share, as a contender; it reads the clock for each decision.
#[derive(Clone, Copy, Debug)]
pub struct Shared {
    pub(super) is: Contender,
    pub(super) lanes: fn(Come, threads: usize) -> Vec<Lane>,
}

/// A limiter as a contender: told the time as `L`, with a clock as `T`.
const fn limiter<L: Limit, T: Timed>() -> Limiter {
    let unchecked = unchecked::<L, T>();
    let is = L::IS.checked(|| {
        check::<L>()?;
        check_timed::<T>()
    });
    Limiter { shared: Shared { is, ..unchecked.shared }, ..unchecked }
}

const fn unchecked<L: Limit, T: Timed>() -> Limiter {
    fn told<L: Limit>(come: Come) -> Ops {
        let step_ns = if come == Come::Passing { HUNDRED.period_ns / u64::from(HUNDRED.count) } else { 0 };
        let limiter = Box::new(Apart(L::new(HUNDRED)));
        let mut now_ns = HUNDRED.period_ns;
        (0..u64::from(HUNDRED.burst)).for_each(|_| _ = limiter.0.leaves_at_ns(now_ns));
        Box::new(move |n| {
            for _ in 0..n {
                now_ns += step_ns;
                black_box(limiter.0.leaves_at_ns(now_ns));
            }
        })
    }
    fn clocked<T: Timed>() -> Ops {
        let limiter = Box::new(Apart(T::new(T::ENDLESS)));
        Box::new(move |n| (0..n).for_each(|_| _ = black_box(limiter.0.passes())))
    }
    fn lanes<T: Timed>(come: Come, threads: usize) -> Vec<Lane> {
        let limiter = Arc::new(Apart(T::new(if come == Come::Passing { T::ENDLESS } else { ONE })));
        limiter.0.passes();
        let lane = |limiter: Arc<Apart<T>>| -> Lane {
            Box::new(Apart(move |n, _| (0..n).for_each(|_| _ = black_box(limiter.0.passes()))))
        };
        (0..threads).map(|_| lane(limiter.clone())).collect()
    }
    fn polite_share<L: Limit>(dice: Option<Order>) -> f64 {
        let limiter = L::new(HUNDRED);
        arrivals::polite_share(dice, |_, now_ns| limiter.leaves_at_ns(now_ns).is_some())
    }
    Limiter {
        shared: Shared { is: L::IS, lanes: lanes::<T> },
        told: told::<L>,
        clocked: clocked::<T>,
        truth: arrivals::truth::<L>,
        polite_share: polite_share::<L>,
    }
}

/// [`Governor`].
pub static GOVERNOR: Limiter = limiter::<Governor<Told>, Governor<QuantaClock>>();
/// [`Gcra`].
pub static GCRA: Limiter = limiter::<Gcra, Clocked<Gcra>>();
/// [`TokenBucket`].
pub static TOKEN_BUCKET: Limiter = limiter::<TokenBucket, Clocked<TokenBucket>>();
/// [`LeakyMeter`].
pub static LEAKY_METER: Limiter = limiter::<LeakyMeter, Clocked<LeakyMeter>>();
/// [`LeakyQueue`].
pub static LEAKY_QUEUE: Limiter = limiter::<LeakyQueue, Clocked<LeakyQueue>>();
/// [`FixedWindow`].
pub static FIXED_WINDOW: Limiter = limiter::<FixedWindow, Clocked<FixedWindow>>();
/// [`Log`].
pub static SLIDING_LOG: Limiter = limiter::<Log, Clocked<Log>>();
/// [`Unlimited`], which would fail a limiter's check.
pub static UNLIMITED: Limiter = unchecked::<Unlimited, Clocked<Unlimited>>();

impl AsRef<Contender> for Limiter {
    fn as_ref(&self) -> &Contender {
        &self.shared.is
    }
}

impl AsRef<Contender> for Shared {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Limiter {
    /// The cost of a decision that passes, when the time is known.
    pub fn passing(&self) -> Solo {
        let told = self.told;
        Solo::new(self.shared.is.id, move || told(Come::Passing))
    }
    /// The cost of a refusal, when the time is known.
    pub fn refused(&self) -> Solo {
        let told = self.told;
        Solo::new(self.shared.is.id, move || told(Come::Refused))
    }
    /// The cost of a decision that passes, with the clock read for it.
    pub fn clocked(&self) -> Solo {
        Solo::new(self.shared.is.id, self.clocked)
    }
    /// What an adversary gets out of it.
    pub fn truth(&self, rate: Rate) -> Truth {
        (self.truth)(rate)
    }
    /// What a polite client gets beside a greedy one, at a shared [`HUNDRED`]: see [`arrivals::polite_share`].
    pub fn polite_share(&self, dice: Option<Order>) -> f64 {
        (self.polite_share)(dice)
    }
}

impl Shared {
    /// Lanes that ask one limiter, each reading the clock: all pass, or (with [`Come::Refused`]) all are refused.
    pub fn crowd(&self, come: Come) -> Crowd {
        let lanes = self.lanes;
        Crowd::new(self.is.id, move |threads| lanes(come, threads))
    }
}

/// What a limiter must show before its decisions are timed: in each measurement all pass or all are refused, as it says.
///
/// # Errors
/// A sentence that names the contender and what it did instead.
pub fn check<L: Limit>() -> Result<(), String> {
    let limiter = L::new(HUNDRED);
    let mut now_ns = HUNDRED.period_ns;
    let hundred = u64::from(HUNDRED.count);
    let at_once = (0..2 * hundred).filter(|_| limiter.leaves_at_ns(now_ns).is_some()).count() as u64;
    let steps = (0..10 * hundred).filter(|_| {
        now_ns += HUNDRED.period_ns / hundred;
        limiter.leaves_at_ns(now_ns).is_some()
    });
    // Of the steps, the first hundred may fall into a window that is used up.
    let passed = steps.count() as u64;
    if at_once == hundred && passed >= 9 * hundred {
        Ok(())
    } else {
        Err(format!("{}: of 200 at once {at_once} passed, of 1,000 in step {passed}", L::IS.id))
    }
}

/// The same for those that read the clock.
///
/// # Errors
/// As [`check`].
pub fn check_timed<T: Timed>() -> Result<(), String> {
    let passed = |rate| {
        let limiter = T::new(rate);
        (0..1_000).filter(|_| limiter.passes()).count()
    };
    match (passed(T::ENDLESS), passed(ONE)) {
        (1_000, 1) => Ok(()),
        (endless, one) => Err(format!("{}: of 1,000 at any rate {endless} passed, of one {one}", T::IS.id)),
    }
}

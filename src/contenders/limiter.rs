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

use crate::{
    measure::{
        cost::{Ops, Solo},
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
    /// Names the case everywhere.
    const CASE: &'static str;
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
    const CASE: &'static str = "gcra";
    fn new(rate: Rate) -> Self {
        Self::new(rate.quota())
    }
    #[inline]
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.admit(now_ns, 1).is_ok().then_some(now_ns)
    }
}

impl Limit for TokenBucket {
    const CASE: &'static str = "token_bucket";
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
    const CASE: &'static str = "leaky_meter";
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
    const CASE: &'static str = "leaky_queue";
    fn new(rate: Rate) -> Self {
        Self(LeakyBucket::new(rate.quota()))
    }
    #[inline]
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.0.leaves_at_ns(now_ns, 1).ok()
    }
}

impl Limit for FixedWindow {
    const CASE: &'static str = "fixed_window";
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
    const CASE: &'static str = "sliding_log";
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
    const CASE: &'static str = "governor";
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
    const CASE: &'static str = "empty";
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
    /// Names the case everywhere.
    const CASE: &'static str;
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
    const CASE: &'static str = L::CASE;
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
    const CASE: &'static str = "governor";
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
    /// Each an interval after the one before, so that all pass; the time is known.
    Passing,
    /// All at one moment, so that all but the first hundred are refused; the time is known.
    Refused,
}

/// The cost of a decision when the time is known.
pub fn solo<L: Limit>(come: Come) -> Solo {
    fn ops<L: Limit>(step_ns: u64) -> Ops {
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
    fn passing<L: Limit>() -> Ops {
        ops::<L>(HUNDRED.period_ns / u64::from(HUNDRED.count))
    }
    fn refused<L: Limit>() -> Ops {
        ops::<L>(0)
    }
    Solo::new(L::CASE, if come == Come::Passing { passing::<L> } else { refused::<L> })
}

/// The cost of a decision that passes, with the clock read for it.
pub fn clocked<T: Timed>() -> Solo {
    fn make<T: Timed>() -> Ops {
        let limiter = Box::new(Apart(T::new(T::ENDLESS)));
        Box::new(move |n| (0..n).for_each(|_| _ = black_box(limiter.0.passes())))
    }
    Solo::new(T::CASE, make::<T>)
}

/// Lanes that ask one limiter, each reading the clock: all pass, or (with [`Come::Refused`]) all are refused.
pub fn crowd<T: Timed>(come: Come) -> Crowd {
    let make = move |threads: usize| {
        let limiter = Arc::new(Apart(T::new(if come == Come::Passing { T::ENDLESS } else { ONE })));
        limiter.0.passes();
        let lane = |limiter: Arc<Apart<T>>| -> Lane {
            Box::new(Apart(move |n, _| (0..n).for_each(|_| _ = black_box(limiter.0.passes()))))
        };
        (0..threads).map(|_| lane(limiter.clone())).collect()
    };
    Crowd::new(T::CASE, make)
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
        Err(format!("{}: of 200 at once {at_once} passed, of 1,000 in step {passed}", L::CASE))
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
        (endless, one) => Err(format!("{}: of 1,000 at any rate {endless} passed, of one {one}", T::CASE)),
    }
}

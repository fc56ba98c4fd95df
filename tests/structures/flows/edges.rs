//! Bad input and the ends of the number line: typed errors, or the documented saturation, never a wrap-around.

use underhood::structures::flow::adaptive::{Adaptive, AdaptiveSettings};
use underhood::structures::flow::bulkhead::{Bulkhead, NoPlaces};
use underhood::structures::flow::circuit_breaker::{BreakerSettings, CircuitBreaker, Refused};
use underhood::structures::flow::{
    BadSettings, Quota, QuotaError, Refusal, WindowError, fixed_window::FixedWindow, gcra::Gcra,
    keyed::Keyed, leaky_bucket::LeakyBucket, sliding_log::SlidingLog, token_bucket::TokenBucket,
};

const SECOND: u64 = 1_000_000_000;
const NEVER: Refusal = Refusal::NotBefore { at_ns: u64::MAX };

#[test]
fn quotas_that_make_no_sense() {
    assert_eq!(Quota::new(0, 1, 1), Err(QuotaError::NoRate));
    assert_eq!(Quota::new(1, 0, 1), Err(QuotaError::NoPeriod));
    assert_eq!(Quota::new(1, 1, 0), Err(QuotaError::NoBurst));
    assert_eq!(Quota::per_second(SECOND + 1, 1), Err(QuotaError::TooFast));
    assert_eq!(Quota::new(1, u64::MAX, 2), Err(QuotaError::TooLong));
    assert_eq!(Quota::new(1, u64::MAX, 1), Err(QuotaError::TooLong));
    assert_eq!(Quota::per_second(1, u64::MAX), Err(QuotaError::TooLong));
    assert!(Quota::new(1, 1 << 62, 1).is_ok() && Quota::new(1, 1, 1 << 62).is_ok(), "the largest");
}

#[test]
fn an_interval_is_rounded_up_so_that_never_more_passes_than_was_asked_for() {
    let interval = |count| Quota::per_second(count, 1).unwrap().interval_ns();
    assert_eq!((interval(100), interval(3), interval(SECOND)), (10_000_000, 333_333_334, 1));
    for count in (1..10_000).chain([SECOND / 2 + 1, 600_000_000]) {
        assert!(interval(count) * count >= SECOND, "{count} per second");
    }
}

#[test]
fn windows_that_make_no_sense() {
    let fixed = |limit, window_ns| FixedWindow::new(limit, window_ns).map(|_| ()).unwrap_err();
    assert_eq!(fixed(0, SECOND), WindowError::NoLimit);
    assert_eq!(fixed(1 << 24, SECOND), WindowError::LimitTooLarge { most: (1 << 24) - 1 });
    assert_eq!(fixed(1, 999_999), WindowError::WindowTooShort { least_ns: 1_000_000 });
    let log = |limit, window_ns| SlidingLog::new(limit, window_ns).map(|_| ()).unwrap_err();
    assert_eq!(log(0, SECOND), WindowError::NoLimit);
    assert_eq!(log(u64::MAX, SECOND), WindowError::LimitTooLarge { most: 1 << 24 });
    assert_eq!(log(1, 0), WindowError::WindowTooShort { least_ns: 1 });
}

#[test]
fn places_settings_and_probes_that_make_no_sense() {
    assert_eq!(Bulkhead::new(0, 1).map(|_| ()), Err(NoPlaces));
    let good = AdaptiveSettings { start: 5, min: 1, max: 9, target_ns: 0, keep_percent: 50 };
    let bad = |settings| Adaptive::new(settings).map(|_| ()).unwrap_err();
    assert_eq!(bad(AdaptiveSettings { min: 0, ..good }), BadSettings("min"));
    assert_eq!(bad(AdaptiveSettings { min: 10, ..good }), BadSettings("min"));
    assert_eq!(bad(AdaptiveSettings { start: 10, ..good }), BadSettings("start"));
    assert_eq!(bad(AdaptiveSettings { keep_percent: 0, ..good }), BadSettings("keep_percent"));
    assert_eq!(bad(AdaptiveSettings { keep_percent: 100, ..good }), BadSettings("keep_percent"));
    assert!(Adaptive::new(AdaptiveSettings { start: u16::MAX, max: u16::MAX, ..good }).is_ok());
    let good = BreakerSettings { failures: 1, open_ns: 1, probes: 1 };
    let bad = |settings| CircuitBreaker::new(settings).map(|_| ()).unwrap_err();
    assert_eq!(bad(BreakerSettings { failures: 0, ..good }), BadSettings("failures"));
    assert_eq!(bad(BreakerSettings { open_ns: 0, ..good }), BadSettings("open_ns"));
    assert_eq!(bad(BreakerSettings { probes: 1 << 20, ..good }), BadSettings("probes"));
}

/// At the end of the clock nothing wraps round to a fresh start: each lets out what it has, and then nothing more.
#[test]
fn the_end_of_the_clock() {
    let quota = Quota::new(1, 10, 3).unwrap();
    let keyed = Keyed::new(quota, 1, 1).unwrap();
    let (gcra, tokens, leaky) = (Gcra::new(quota), TokenBucket::new(quota), LeakyBucket::new(quota));
    let now_ns = u64::MAX - 25;
    let (mut passed, mut last) = (0, Ok(()));
    for _ in 0..10 {
        last = gcra.admit(now_ns, 1);
        assert_eq!(tokens.admit(now_ns, 1), last);
        assert_eq!(leaky.admit(now_ns, 1), last);
        assert_eq!(keyed.admit(&1, now_ns, 1).is_ok(), last.is_ok());
        passed += usize::from(last.is_ok());
    }
    assert_eq!((passed, last), (2, Err(NEVER)), "the third would be booked beyond the end");
    assert_eq!(tokens.take_up_to(now_ns, 9), 0);
    assert_eq!(Gcra::new(quota).admit(u64::MAX, 1), Err(NEVER));

    let log = SlidingLog::new(1, 10).unwrap();
    assert_eq!(log.admit(u64::MAX - 9), Err(NEVER));
    assert_eq!(log.admit(u64::MAX - 10), Ok(()));
    assert_eq!(log.admit(u64::MAX), Err(NEVER));

    // 2^40 windows of 1 ms are over long before; the last one never ends.
    let fixed = FixedWindow::new(1, 1_000_000).unwrap();
    assert_eq!(fixed.admit(u64::MAX - 1, 1), Ok(()));
    assert_eq!(fixed.admit(u64::MAX, 1), Err(NEVER));
    let fixed = FixedWindow::new(1, u64::MAX).unwrap();
    assert_eq!(fixed.admit(5, 1), Ok(()));
    assert_eq!(fixed.admit(6, 1), Err(NEVER), "until the first window ends");
}

#[test]
fn a_breaker_beyond_its_years_tries_a_probe_at_once() {
    let settings = BreakerSettings { failures: 1, open_ns: u64::MAX, probes: 1 };
    let breaker = CircuitBreaker::new(settings).unwrap();
    breaker.try_call(0).unwrap().report(0, false);
    let until_ns = ((1u64 << 40) - 1) * 1_000_000;
    assert_eq!(breaker.try_call(until_ns - 1).map(drop).unwrap_err(), Refused::Open { until_ns });
    breaker.try_call(until_ns).expect("34 years are over").report(u64::MAX, false);
    breaker.try_call(u64::MAX).expect("time is not told apart any more").report(u64::MAX, true);
}

/// An hour back: refused for at most that hour, and nothing passes twice.
#[test]
fn a_clock_that_steps_back() {
    const HOUR: u64 = 3_600 * SECOND;
    let quota = Quota::per_second(10, 10).unwrap();
    let now_ns = 10 * HOUR;
    let limiter = Gcra::new(quota);
    assert_eq!(limiter.admit(now_ns, 10), Ok(()));
    let Err(Refusal::NotBefore { at_ns }) = limiter.admit(now_ns - HOUR, 1) else {
        panic!("nothing is left")
    };
    assert_eq!(at_ns, now_ns + quota.interval_ns());
    assert_eq!(limiter.admit(at_ns, 1), Ok(()));

    let log = SlidingLog::new(1, SECOND).unwrap();
    assert_eq!(log.admit(now_ns), Ok(()));
    assert_eq!(log.admit(now_ns - HOUR), Err(Refusal::NotBefore { at_ns: now_ns + SECOND }));

    let fixed = FixedWindow::new(1, SECOND).unwrap();
    assert_eq!(fixed.admit(now_ns, 1), Ok(()));
    assert_eq!(fixed.admit(now_ns - HOUR, 1), Err(Refusal::NotBefore { at_ns: now_ns + SECOND }));
}

//! The adapters: they do what they say, the checks notice one that does not, and governor decides as GCRA does.

use super::{Clock, for_seeds};
use underhood::contenders::arrivals::{long_run_per_s, most_within, polite_share, worst_second};
use underhood::contenders::limiter::{
    Clocked, FIXED_WINDOW, GCRA, GOVERNOR, Governor, HUNDRED, LEAKY_METER, LEAKY_QUEUE, LeakyQueue, Limit,
    Rate, SLIDING_LOG, TOKEN_BUCKET, Told, Unlimited, check, check_timed,
};
use underhood::contenders::limiter_keyed::{
    self, KEY_GOVERNOR, KEY_GOVERNOR_SIPHASH, KEYED, KEYED_FOLDHASH, KeyLimit,
};
use underhood::lab::Contender;
use underhood::measure::order::Order;
use underhood::structures::flow::gcra::Gcra;

#[test]
fn every_contender_passes_its_check() {
    let limiters = [&GOVERNOR, &GCRA, &TOKEN_BUCKET, &LEAKY_METER, &LEAKY_QUEUE, &FIXED_WINDOW, &SLIDING_LOG];
    let keyed = [&KEY_GOVERNOR, &KEY_GOVERNOR_SIPHASH, &KEYED, &KEYED_FOLDHASH];
    let all = limiters.map(AsRef::<Contender>::as_ref).into_iter().chain(keyed.map(AsRef::as_ref));
    for contender in all {
        assert_eq!(contender.check.expect("each has one")(), Ok(()));
    }
}

/// Lets every second request through.
struct Careless(std::sync::atomic::AtomicU64);

impl Limit for Careless {
    const IS: Contender = Contender::new("careless");
    fn new(_: Rate) -> Self {
        Self(std::sync::atomic::AtomicU64::new(0))
    }
    fn leaves_at_ns(&self, now_ns: u64) -> Option<u64> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed).is_multiple_of(2).then_some(now_ns)
    }
}

/// One limit for all keys.
impl KeyLimit for Careless {
    const IS: Contender = Contender::new("careless");
    fn new(rate: Rate, _: usize) -> Self {
        Limit::new(rate)
    }
    fn passes(&self, _: u64, now_ns: u64) -> bool {
        self.leaves_at_ns(now_ns).is_some()
    }
}

#[test]
fn a_contender_that_does_something_else_is_noticed() {
    assert!(check::<Careless>().unwrap_err().starts_with("careless: "));
    assert!(check::<Unlimited>().is_err());
    assert!(check_timed::<Clocked<Careless>>().is_err());
    assert!(limiter_keyed::check::<Careless>().is_err());
    assert!(limiter_keyed::check::<Unlimited>().is_err());
}

#[test]
fn governor_decides_as_gcra_does() {
    for_seeds(|dice| {
        let rate = Rate { count: 1, period_ns: [1, 7, 10][dice.below(3)], burst: 1 + dice.below(5) as u32 };
        let (governors, ours) = (<Governor<Told> as Limit>::new(rate), <Gcra as Limit>::new(rate));
        let mut clock = Clock::new(rate.period_ns, dice.below(2) == 0);
        for _ in 0..60 {
            let now_ns = clock.tick(dice);
            assert_eq!(governors.leaves_at_ns(now_ns), ours.leaves_at_ns(now_ns), "at {now_ns}");
        }
    });
}

#[test]
fn the_adversary_counts_right() {
    assert_eq!(most_within(&[], 10), 0);
    assert_eq!(most_within(&[5, 5, 5, 14, 15, 24], 10), 4);
    assert_eq!(most_within(&[0, 10, 20], 10), 1);
    assert_eq!(worst_second::<Gcra>(HUNDRED), 199);
    assert_eq!(worst_second::<LeakyQueue>(HUNDRED), 100);
    assert!((long_run_per_s::<Gcra>(HUNDRED) - 100.0).abs() < 1e-9);
    assert!((polite_share(Some(Order::new(1)), |_, _| true) - 1.0).abs() < 1e-9);
    assert!(polite_share(None, |_, _| false).abs() < 1e-9);
}

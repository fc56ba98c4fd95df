//! Limits of a rate: each decision as the model decides, each "not before" exact.

use super::models::{History, Server, Times, Windows};
use super::{Clock, for_seeds};
use underhood::measure::order::Order;
use underhood::structures::flow::{
    Quota, Refusal, fixed_window::FixedWindow, gcra::Gcra, leaky_bucket::LeakyBucket,
    sliding_log::SlidingLog, token_bucket::TokenBucket,
};

const STEPS: usize = 40;

fn quota(dice: &mut Order) -> Quota {
    let interval_ns = [1, 2, 7, 10][dice.below(4)];
    Quota::new(1, interval_ns, 1 + dice.below(6) as u64).expect("a sound quota")
}

/// Checks one decision of a rate with a burst against the model, and books it there.
fn judge(history: &mut History, quota: Quota, now_ns: u64, cost: u64, decided: Result<(), Refusal>) {
    let conforms = |at_ns| history.conforms(quota.interval_ns(), quota.burst(), at_ns, cost);
    match decided {
        Ok(()) => {
            assert!(conforms(now_ns), "passed at {now_ns}, cost {cost}");
            history.passed(now_ns, cost);
        }
        Err(Refusal::TooLarge) => assert!(cost > quota.burst()),
        Err(Refusal::NotBefore { at_ns }) => {
            assert!(cost <= quota.burst() && !conforms(now_ns), "refused at {now_ns}, cost {cost}");
            assert!(at_ns > now_ns && conforms(at_ns), "told {at_ns} at {now_ns}, cost {cost}");
            assert!(!conforms(at_ns - 1), "told {at_ns} at {now_ns}, cost {cost}: it could pass earlier");
        }
    }
}

fn decides_as_the_model(back: bool) {
    for_seeds(|dice| {
        let quota = quota(dice);
        let (gcra, tokens, meter, queue) =
            (Gcra::new(quota), TokenBucket::new(quota), LeakyBucket::new(quota), LeakyBucket::new(quota));
        let (mut history, mut server) = (History::default(), Server::default());
        let mut clock = Clock::new(quota.interval_ns(), back);
        for _ in 0..STEPS {
            let (now_ns, cost) = (clock.tick(dice), dice.below(quota.burst() as usize + 2) as u64);
            assert_eq!(tokens.available(now_ns), history.most(quota.interval_ns(), quota.burst(), now_ns));
            let leaves_ns = server.leaves_at(quota.interval_ns(), now_ns);
            let decided = gcra.admit(now_ns, cost);
            assert_eq!(tokens.admit(now_ns, cost), decided, "the token bucket and GCRA are one algorithm");
            assert_eq!(meter.admit(now_ns, cost), decided, "the leaky bucket as a meter, too");
            assert_eq!(
                queue.leaves_at_ns(now_ns, cost),
                decided.map(|()| leaves_ns),
                "the queue spaces what it takes"
            );
            if decided.is_ok() {
                server.took(now_ns, cost);
            }
            judge(&mut history, quota, now_ns, cost, decided);
        }
        if !back {
            for w in [1, quota.interval_ns(), 3 * quota.interval_ns(), 100] {
                let most = quota.burst() + w.div_ceil(quota.interval_ns()) - 1;
                assert!(history.worst(w) <= most.into(), "in {w} ns");
            }
        }
    });
}

#[test]
fn a_rate_with_a_burst_decides_as_the_model() {
    decides_as_the_model(false);
}

#[test]
fn and_on_a_clock_that_steps_back() {
    decides_as_the_model(true);
}

#[test]
fn taking_what_is_there_takes_what_the_model_has() {
    for_seeds(|dice| {
        let quota = quota(dice);
        let (bucket, mut history) = (TokenBucket::new(quota), History::default());
        let mut clock = Clock::new(quota.interval_ns(), true);
        for _ in 0..STEPS {
            let (now_ns, want) = (clock.tick(dice), dice.below(9) as u64);
            let most = history.most(quota.interval_ns(), quota.burst(), now_ns);
            let got = bucket.take_up_to(now_ns, want);
            assert_eq!(got, want.min(most));
            if got > 0 {
                history.passed(now_ns, got);
            }
        }
    });
}

#[test]
fn a_queue_spaces_what_leaves_it() {
    for_seeds(|dice| {
        let quota = quota(dice);
        let queue = LeakyBucket::new(quota);
        let mut clock = Clock::new(quota.interval_ns(), false);
        let mut free_ns = 0;
        for _ in 0..STEPS {
            let (now_ns, cost) = (clock.tick(dice), 1 + dice.below(2) as u64);
            if let Ok(leaves_ns) = queue.leaves_at_ns(now_ns, cost) {
                assert!(leaves_ns >= free_ns, "too soon after the one before");
                assert!(leaves_ns - now_ns <= quota.full_ns() - cost * quota.interval_ns(), "waits too long");
                free_ns = leaves_ns + cost * quota.interval_ns();
            }
        }
    });
}

#[test]
fn a_fixed_window_decides_as_the_model() {
    const WINDOW_NS: u64 = 1_000_000;
    for_seeds(|dice| {
        let limit = 1 + dice.below(5) as u64;
        let (limiter, mut windows) = (FixedWindow::new(limit, WINDOW_NS).unwrap(), Windows::default());
        let back = dice.below(2) == 0;
        let mut clock = Clock::new(WINDOW_NS, back);
        for _ in 0..STEPS {
            let (now_ns, cost) = (clock.tick(dice), dice.below(limit as usize + 2) as u64);
            let window = windows.window(WINDOW_NS, now_ns);
            let expected = if cost > limit {
                Err(Refusal::TooLarge)
            } else if windows.used(window) + cost > limit {
                Err(Refusal::NotBefore { at_ns: (window + 1) * WINDOW_NS })
            } else {
                Ok(())
            };
            assert_eq!(limiter.admit(now_ns, cost), expected, "at {now_ns}, cost {cost}");
            if expected.is_ok() {
                windows.passed(window, cost);
            }
        }
    });
}

#[test]
fn a_sliding_log_decides_as_the_model() {
    const WINDOW_NS: u64 = 20;
    for_seeds(|dice| {
        let limit = 1 + dice.below(5) as u64;
        let (limiter, mut times) = (SlidingLog::new(limit, WINDOW_NS).unwrap(), Times::default());
        let (mut clock, mut history) = (Clock::new(WINDOW_NS, dice.below(2) == 0), History::default());
        for _ in 0..STEPS {
            let told_ns = clock.tick(dice);
            let now_ns = times.now(told_ns);
            match limiter.admit(told_ns) {
                Ok(()) => {
                    assert!(times.count(WINDOW_NS, now_ns) < limit, "passed at {told_ns}");
                    times.passed(now_ns);
                    history.passed(now_ns, 1);
                }
                Err(Refusal::NotBefore { at_ns }) => {
                    assert_eq!(times.count(WINDOW_NS, now_ns), limit, "refused at {told_ns}");
                    assert!(
                        times.count(WINDOW_NS, at_ns) < limit && times.count(WINDOW_NS, at_ns - 1) == limit
                    );
                }
                Err(Refusal::TooLarge) => unreachable!("it has no costs"),
            }
        }
        assert!(history.worst(WINDOW_NS) <= limit.into());
    });
}

/// The classics, as an interviewer has them: how many of "100 per second" pass within a second.
#[test]
fn a_hundred_per_second() {
    const SECOND: u64 = 1_000_000_000;
    let greedy = |admit: &dyn Fn(u64) -> bool| {
        let mut history = History::default();
        // Idle until just before an edge, then at every ms as often as it passes.
        for now_ns in (0..2_000).map(|ms| SECOND - 1 + ms * 1_000_000) {
            while admit(now_ns) {
                history.passed(now_ns, 1);
            }
        }
        history.worst(SECOND)
    };
    let bucket = |burst| Gcra::new(Quota::per_second(100, burst).unwrap());
    for (burst, worst) in [(100, 199), (10, 109), (1, 100)] {
        let limiter = bucket(burst);
        assert_eq!(greedy(&|now_ns| limiter.admit(now_ns, 1).is_ok()), worst);
    }
    let window = FixedWindow::new(100, SECOND).unwrap();
    assert_eq!(greedy(&|now_ns| window.admit(now_ns, 1).is_ok()), 200);
    let log = SlidingLog::new(100, SECOND).unwrap();
    assert_eq!(greedy(&|now_ns| log.admit(now_ns).is_ok()), 100);
}

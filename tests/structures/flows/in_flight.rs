//! Limits of what is in flight: a bulkhead, one that adapts, and a circuit breaker.

use super::{Clock, for_seeds};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use underhood::structures::flow::adaptive::{Adaptive, AdaptiveSettings};
use underhood::structures::flow::bulkhead::Bulkhead;
use underhood::structures::flow::circuit_breaker::{BreakerSettings, CircuitBreaker, Refused, State};

#[test]
fn a_bulkhead_lets_in_as_many_as_it_says() {
    for_seeds(|dice| {
        let limit = 1 + dice.below(4);
        let door = Bulkhead::new(limit as u32, 0).unwrap();
        let mut inside = Vec::new();
        for _ in 0..40 {
            if dice.below(3) > 0 {
                let pass = if dice.below(2) == 0 { door.try_enter() } else { door.enter().ok() };
                assert_eq!(pass.is_some(), inside.len() < limit);
                inside.extend(pass);
            } else if !inside.is_empty() {
                drop(inside.swap_remove(dice.below(inside.len())));
            }
            assert_eq!((door.inside() as usize, door.waiting()), (inside.len(), 0));
        }
    });
}

#[test]
fn who_waits_gets_the_place_and_who_finds_the_queue_full_is_told_so() {
    let door = Bulkhead::new(1, 1).unwrap();
    let held = door.enter().unwrap();
    thread::scope(|s| {
        let (tell, told) = mpsc::channel();
        let door = &door;
        s.spawn(move || {
            let _pass = door.enter().expect("there is room in the queue");
            tell.send(()).unwrap();
        });
        while door.waiting() == 0 {
            thread::yield_now();
        }
        assert!(door.try_enter().is_none());
        assert!(door.enter().is_err(), "the queue is full");
        assert!(told.try_recv().is_err(), "nobody is let in while the place is taken");
        drop(held);
        told.recv_timeout(Duration::from_secs(60)).expect("whoever waits is woken");
    });
    assert_eq!((door.inside(), door.waiting()), (0, 0));
}

/// The count of those inside ends where that of the waiting begins: neither runs over into the other.
#[test]
fn a_bulkhead_counts_to_the_end_of_its_word() {
    let door = Bulkhead::starting_at(u32::MAX, 1, u32::MAX - 2);
    let passes = [door.try_enter().expect("one place"), door.enter().expect("the last place")];
    assert_eq!((door.inside(), door.waiting()), (u32::MAX, 0));
    assert!(door.try_enter().is_none(), "it is full");
    thread::scope(|s| {
        let door = &door;
        let waits = s.spawn(move || drop(door.enter().expect("there is room in the queue")));
        while door.waiting() == 0 {
            thread::yield_now();
        }
        assert!(door.enter().is_err(), "and so is the queue");
        assert_eq!((door.inside(), door.waiting()), (u32::MAX, 1));
        drop(passes);
        waits.join().unwrap();
    });
    assert_eq!((door.inside(), door.waiting()), (u32::MAX - 2, 0));
}

/// The highest limit fills its part of the word, and no more; a cut in that state, and 2^16 of them, leave the others alone.
#[test]
fn an_adaptive_limit_counts_to_the_end_of_its_word() {
    let settings =
        AdaptiveSettings { start: u16::MAX, min: 1, max: u16::MAX, target_ns: 100, keep_percent: 99 };
    let limit = Adaptive::new(settings).unwrap();
    let mut inside: Vec<_> = (0..u16::MAX).map(|_| limit.try_enter(0).expect("below the limit")).collect();
    assert!(limit.try_enter(0).is_none(), "it is full");
    inside.pop().expect("many").report(0, true); // would raise it
    assert_eq!((limit.inside(), limit.limit()), (u16::MAX - 1, u16::MAX));
    inside.clear();
    for cut in 0..(1 << 16) + 2 {
        limit.try_enter(0).expect("nobody is inside").report(101, true); // late: a cut, and a new round
        assert_eq!(limit.inside(), 0, "after {cut} cuts");
        assert!((1..u16::MAX).contains(&limit.limit()));
    }
}

/// 2^22 changes of state, and some: the generation wraps and leaves the rest of the word alone.
#[test]
fn the_generation_of_a_breaker_wraps() {
    let breaker = CircuitBreaker::new(BreakerSettings { failures: 1, open_ns: 1, probes: 1 }).unwrap();
    let mut now_ns = 0;
    for _ in 0..(1 << 22) / 3 + 2 {
        breaker.try_call(now_ns).expect("closed").report(now_ns, false);
        assert_eq!(breaker.state(), State::Open);
        now_ns += 2_000_000;
        breaker.try_call(now_ns).expect("a probe").report(now_ns, true);
        assert_eq!(breaker.state(), State::Closed);
    }
}

const SETTINGS: AdaptiveSettings =
    AdaptiveSettings { start: 8, min: 2, max: 20, target_ns: 100, keep_percent: 50 };

/// Begins `calls` calls at once and ends them after this time; all are let in.
fn batch(limit: &Adaptive, calls: usize, took_ns: u64) {
    let passes: Vec<_> = (0..calls).map(|_| limit.try_enter(0).expect("below the limit")).collect();
    passes.into_iter().for_each(|pass| pass.report(took_ns, true));
}

#[test]
fn an_adaptive_limit_gains_a_place_for_as_many_calls_in_time_as_it_has_places() {
    let limit = Adaptive::new(SETTINGS).unwrap();
    let mut held = Vec::new();
    for places in 8..20 {
        assert_eq!(limit.limit(), places);
        held.extend((held.len()..places as usize - 1).map(|_| limit.try_enter(0).expect("below the limit")));
        let calls = (1..).find(|_| {
            limit.try_enter(0).expect("the last place").report(100, true);
            limit.limit() > places
        });
        // The additions 1/8, 1/(8 + 1/8) and so on are a little less than eighths: one call more.
        assert!(calls.is_some_and(|calls| (places..=places + 1).contains(&calls)), "{calls:?} at {places}");
    }
    limit.try_enter(0).unwrap().report(100, true);
    assert_eq!(limit.limit(), 20, "never above the highest");
}

#[test]
fn an_adaptive_limit_is_cut_once_for_all_who_were_in_flight_together() {
    let limit = Adaptive::new(SETTINGS).unwrap();
    batch(&limit, 8, 101);
    assert_eq!(limit.limit(), 4, "eight late calls of one round are one cut");
    let failed = limit.try_enter(0).unwrap();
    failed.report(1, false);
    assert_eq!(limit.limit(), 2, "a failure is as good as late");
    batch(&limit, 1, 101);
    assert_eq!(limit.limit(), 2, "never below the lowest");
    drop(limit.try_enter(0));
    assert_eq!((limit.limit(), limit.inside()), (2, 0), "who says nothing just leaves");
}

#[test]
fn a_limit_that_nobody_reaches_does_not_grow() {
    let limit = Adaptive::new(SETTINGS).unwrap();
    (0..1_000).for_each(|_| batch(&limit, 3, 1));
    assert_eq!(limit.limit(), 8);
}

/// What an adaptive limit does, without words and bits: rounds are told apart by the number of cuts, and never wrap.
struct Aimd {
    settings: AdaptiveSettings,
    /// In 1/65,536 of a place, rounded down at each step.
    limit: u64,
    cuts: usize,
    /// When each call inside began, and after how many cuts.
    inside: Vec<(u64, usize)>,
}

const PLACE: u64 = 65_536;

impl Aimd {
    fn enters(&mut self, now_ns: u64) -> bool {
        let room = (self.inside.len() as u64) < self.limit / PLACE;
        if room {
            self.inside.push((now_ns, self.cuts));
        }
        room
    }

    /// The call leaves and says whether it went well, or nothing.
    fn leaves(&mut self, which: usize, now_ns: u64, ok: Option<bool>) {
        let half_used = self.inside.len() as u64 * 2 * PLACE >= self.limit;
        let (began_ns, cuts) = self.inside.swap_remove(which);
        let Some(ok) = ok else { return };
        // On a clock that stepped back a call took no time.
        let in_time = ok && (now_ns < began_ns || now_ns - began_ns <= self.settings.target_ns);
        if in_time {
            if half_used {
                let most = u64::from(self.settings.max) * PLACE;
                self.limit = most.min(self.limit + PLACE * PLACE / self.limit);
            }
        } else if cuts == self.cuts {
            let least = u64::from(self.settings.min) * PLACE;
            self.limit = least.max(self.limit * u64::from(self.settings.keep_percent) / 100);
            self.cuts += 1;
        }
    }
}

#[test]
fn an_adaptive_limit_does_as_the_model() {
    for_seeds(|dice| {
        let (min, max) = (1 + dice.below(3) as u16, 4 + dice.below(9) as u16);
        let settings = AdaptiveSettings {
            start: min + dice.below((max - min) as usize + 1) as u16,
            min,
            max,
            target_ns: 10,
            keep_percent: 1 + dice.below(99) as u8,
        };
        let limit = Adaptive::new(settings).unwrap();
        let start = u64::from(settings.start) * PLACE;
        let mut model = Aimd { settings, limit: start, cuts: 0, inside: Vec::new() };
        let (mut inside, mut clock) = (Vec::new(), Clock::new(10, true));
        for _ in 0..80 {
            let now_ns = clock.tick(dice);
            if dice.below(2) == 0 {
                let pass = limit.try_enter(now_ns);
                assert_eq!(pass.is_some(), model.enters(now_ns));
                inside.extend(pass);
            } else if !inside.is_empty() {
                let which = dice.below(inside.len());
                let ok = [None, Some(false), Some(true), Some(true), Some(true)][dice.below(5)];
                model.leaves(which, now_ns, ok);
                let pass = inside.swap_remove(which);
                match ok {
                    None => drop(pass),
                    Some(ok) => pass.report(now_ns, ok),
                }
            }
            assert_eq!(u64::from(limit.limit()), model.limit / PLACE);
            assert_eq!(limit.inside() as usize, inside.len());
            assert!((min..=max).contains(&limit.limit()));
        }
    });
}

/// What a breaker does, without words and bits: generations are kept apart by number, and never wrap.
struct Model {
    settings: BreakerSettings,
    generation: usize,
    state: Now,
}

enum Now {
    Closed { failures: u32 },
    Open { until_ms: u64 },
    HalfOpen { sent: u32, succeeded: u32 },
}

impl Model {
    fn call(&mut self, now_ns: u64) -> Result<usize, Refused> {
        match &mut self.state {
            Now::Closed { .. } => {}
            Now::Open { until_ms } if now_ns < *until_ms * 1_000_000 => {
                return Err(Refused::Open { until_ns: *until_ms * 1_000_000 });
            }
            Now::Open { .. } => self.turn(Now::HalfOpen { sent: 1, succeeded: 0 }),
            Now::HalfOpen { sent, .. } if *sent == self.settings.probes => return Err(Refused::Probing),
            Now::HalfOpen { sent, .. } => *sent += 1,
        }
        Ok(self.generation)
    }

    fn report(&mut self, generation: usize, now_ns: u64, ok: bool) {
        if generation != self.generation {
            return;
        }
        let until_ms = (now_ns + self.settings.open_ns).div_ceil(1_000_000);
        match (&mut self.state, ok) {
            (Now::Closed { failures }, true) => *failures = 0,
            (Now::Closed { failures }, false) => {
                *failures += 1;
                if *failures == self.settings.failures {
                    self.turn(Now::Open { until_ms });
                }
            }
            (Now::HalfOpen { succeeded, .. }, true) => {
                *succeeded += 1;
                if *succeeded == self.settings.probes {
                    self.turn(Now::Closed { failures: 0 });
                }
            }
            (Now::HalfOpen { .. }, false) => self.turn(Now::Open { until_ms }),
            (Now::Open { .. }, _) => unreachable!("no call passes while it is open"),
        }
    }

    fn turn(&mut self, state: Now) {
        self.state = state;
        self.generation += 1;
    }

    fn state(&self) -> State {
        match self.state {
            Now::Closed { .. } => State::Closed,
            Now::Open { .. } => State::Open,
            Now::HalfOpen { .. } => State::HalfOpen,
        }
    }
}

#[test]
fn a_breaker_does_as_the_model() {
    for_seeds(|dice| {
        let settings = BreakerSettings {
            failures: 1 + dice.below(3) as u32,
            open_ns: 1 + dice.below(5_000_000) as u64,
            probes: 1 + dice.below(3) as u32,
        };
        let breaker = CircuitBreaker::new(settings).unwrap();
        let mut model = Model { settings, generation: 0, state: Now::Closed { failures: 0 } };
        let mut clock = Clock::new(1_000_000, dice.below(2) == 0);
        let mut calls = Vec::new();
        for _ in 0..120 {
            let now_ns = clock.tick(dice);
            if dice.below(2) == 0 {
                let (ours, models) = (breaker.try_call(now_ns), model.call(now_ns));
                assert_eq!(ours.as_ref().err(), models.as_ref().err(), "at {now_ns}");
                if let (Ok(call), Ok(generation)) = (ours, models) {
                    calls.push((call, generation, now_ns));
                }
            } else if !calls.is_empty() {
                let (call, generation, began_ns) = calls.swap_remove(dice.below(calls.len()));
                match dice.below(8) {
                    0 => {
                        drop(call);
                        model.report(generation, began_ns, false);
                    }
                    dice => {
                        call.report(now_ns, dice < 4);
                        model.report(generation, now_ns, dice < 4);
                    }
                }
            }
            assert_eq!(breaker.state(), model.state());
        }
        calls.into_iter().for_each(|(call, ..)| call.report(0, true));
    });
}

//! What a circuit breaker must do in every execution.

use super::{Scenario, limits::passes};
use crate::flow::circuit_breaker::{BreakerSettings, CircuitBreaker, Refused, State};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "failures",
        oracle: "three failures of three threads open a breaker of three: none is lost",
        threads: 3,
        bound: Some(2),
        run: failures,
    },
    Scenario {
        name: "one_probe",
        oracle: "when its time is over, exactly one of two threads is the probe",
        threads: 2,
        bound: None,
        run: one_probe,
    },
    Scenario {
        name: "two_probes",
        oracle: "two probes that both succeed close it, in whatever order they report",
        threads: 2,
        bound: None,
        run: two_probes,
    },
    Scenario {
        name: "mixed",
        oracle: "a success and a failure at once: one failure or none is left, never two, and never an open breaker",
        threads: 2,
        bound: None,
        run: mixed,
    },
];

const OPEN_NS: u64 = 1_000_000;

fn breaker(failures: u32, probes: u32) -> Arc<CircuitBreaker> {
    Arc::new(CircuitBreaker::new(BreakerSettings { failures, open_ns: OPEN_NS, probes }).unwrap())
}

fn call(breaker: &CircuitBreaker, now_ns: u64, ok: bool) -> bool {
    let call = breaker.try_call(now_ns);
    call.map(|call| call.report(now_ns, ok)).is_ok()
}

fn failures(turns: usize) {
    for _ in 0..turns {
        let breaker = breaker(3, 1);
        assert_eq!(passes(&breaker, 3, |b, _| call(b, 0, false)), 3);
        assert_eq!(breaker.try_call(0).unwrap_err(), Refused::Open { until_ns: OPEN_NS });
    }
}

fn one_probe(turns: usize) {
    for _ in 0..turns {
        let breaker = breaker(1, 1);
        call(&breaker, 0, false);
        let probe = |b: &CircuitBreaker, _| b.try_call(OPEN_NS).map(std::mem::forget).is_ok();
        assert_eq!(passes(&breaker, 2, probe), 1);
        assert_eq!(breaker.try_call(OPEN_NS).unwrap_err(), Refused::Probing);
    }
}

fn two_probes(turns: usize) {
    for _ in 0..turns {
        let breaker = breaker(1, 2);
        call(&breaker, 0, false);
        assert_eq!(passes(&breaker, 2, |b, _| call(b, OPEN_NS, true)), 2);
        assert_eq!(breaker.state(), State::Closed);
    }
}

fn mixed(turns: usize) {
    for _ in 0..turns {
        let breaker = breaker(2, 1);
        assert_eq!(passes(&breaker, 2, |b, i| call(b, 0, i == 0)), 2);
        assert_eq!(breaker.state(), State::Closed, "one failure does not open a breaker of two");
        call(&breaker, 0, true);
        call(&breaker, 0, false);
        assert_eq!(breaker.state(), State::Closed, "a failure was kept over a success");
    }
}

//! The service with a slow backend: the sums on made-up requests, and what holds of a run on any machine, however busy.

use underhood::experiments::service::{
    ADAPTIVE, BREAKER, BULKHEAD, FrontDoor, NOTHING, RATE_LIMIT, Request, Seen, TOKIO_SEMAPHORE, Times,
    WAITING_LIMIT, WORKERS, outcome, run,
};
use underhood::lab::Contender;

const MS: u64 = 1_000_000;
const TIMES: Times = Times { calm_ns: 100 * MS, slow_ns: 200 * MS, after_ns: 200 * MS, service_ns: 2 * MS };

/// A request every ms, each let in at once and answered after `took_ms(due_ms)`; `None`: refused.
fn made_up(took_ms: impl Fn(u64) -> Option<u64>) -> Seen {
    let request = |due_ms: u64| {
        let due_ns = due_ms * MS;
        Request { due_ns, stay: took_ms(due_ms).map(|took| (due_ns, due_ns + took * MS)) }
    };
    let requests: Vec<Request> = (0..500).map(request).collect();
    let stayed =
        |at_ns: u64| requests.iter().filter_map(|r| r.stay).filter(move |s| (s.0..s.1).contains(&at_ns));
    let inside = requests.iter().map(|r| stayed(r.due_ns).count() as u32).collect();
    Seen { requests, inside }
}

#[test]
fn a_service_that_is_never_slow_is_well_at_once() {
    let o = outcome(&TIMES, &made_up(|_| Some(20)));
    assert_eq!((o.asked_count, o.in_time_count), (200.0, 200.0), "one each ms for 200 ms, all within 30 ms");
    assert!(o.shed_share < 1e-9);
    assert_eq!(o.recover_ns, Some(25e6), "no sooner than one part tells");
    assert!((o.inside_max_count - 20.0).abs() < 1e-9);
    let little = o.little_ratio.expect("somebody came in");
    assert!((little - 1.0).abs() < 0.05, "20 ms x 1,000 a second: {little}");
}

#[test]
fn what_is_late_or_refused_is_not_good() {
    let late = outcome(&TIMES, &made_up(|_| Some(31)));
    assert_eq!((late.in_time_count, late.shed_share), (0.0, 0.0));
    let refused = outcome(&TIMES, &made_up(|due| (due % 4 == 0).then_some(1)));
    assert_eq!((refused.asked_count, refused.in_time_count, refused.shed_share), (200.0, 50.0, 0.75));
    assert_eq!(refused.answer.samples_count(), 125, "the refused ones have no answer");
    assert_eq!(refused.recover_ns, None, "it is ill to the end");
    assert!(outcome(&TIMES, &made_up(|_| None)).little_ratio.is_none(), "nobody came in");
}

#[test]
fn the_time_to_recover_ends_with_the_last_ill_part() {
    // Well again at 300 ms; ill until 420 ms, which is in the fifth part of 25 ms.
    let o = outcome(&TIMES, &made_up(|due| Some(if (100..420).contains(&due) { 50 } else { 5 })));
    assert_eq!(o.recover_ns, Some(125e6));
    assert!(o.in_time_count < 1e-9);
}

#[test]
fn a_lost_request_shows_in_littles_law() {
    let mut seen = made_up(|_| Some(20));
    seen.inside.iter_mut().for_each(|n| *n /= 2);
    assert!(outcome(&TIMES, &seen).little_ratio.is_some_and(|ratio| ratio < 0.6));
}

#[test]
fn every_request_is_accounted_for_and_a_bulkhead_holds() {
    let doors = [&NOTHING, &RATE_LIMIT, &WAITING_LIMIT, &BULKHEAD, &ADAPTIVE, &BREAKER, &NOTHING];
    doors.into_iter().chain([&TOKIO_SEMAPHORE]).for_each(|door| door.check().unwrap());
    let (seen, late) = run(&doors, Times::SMOKE, 3).expect("it ends");
    assert_eq!(seen.len(), doors.len());
    for (door, seen) in doors.into_iter().zip(&seen) {
        let is: &Contender = door.as_ref();
        let is_door = |other: &FrontDoor| is == other.as_ref();
        assert_eq!(seen.requests.len() as u64, late.samples_count(), "{}", is.id);
        assert_eq!(seen.inside.len(), seen.requests.len(), "{}", is.id);
        let stays: Vec<(u64, u64)> = seen.requests.iter().filter_map(|r| r.stay).collect();
        assert!(stays.iter().all(|(came, left)| left - came >= Times::SMOKE.service_ns), "{}", is.id);
        let refuses = !is_door(&NOTHING) && !is_door(&WAITING_LIMIT);
        assert!(refuses || stays.len() == seen.requests.len(), "{} refuses nobody", is.id);
        if is_door(&BULKHEAD) {
            assert!(seen.inside.iter().all(|n| *n <= WORKERS), "{:?}", seen.inside);
        }
    }
}

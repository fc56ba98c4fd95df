//! What is made of pauses: samples, doubts, the law of a pause. On made-up pauses; the heap itself is in `tests/managed.rs`.
#![cfg(feature = "gc")]
use std::time::Duration;

use underhood::{
    engine::watch::Lateness,
    machine::group::Counted,
    managed::{
        Kind, Pause, Use,
        load::{
            churn::Churned,
            law::{Point, fit},
            reach,
        },
    },
};

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

fn pause(kind: Kind, reach_us: u64, stopped_us: u64, waited_us: u64) -> Pause {
    let used = Some(Use { cpu: us(stopped_us), waited: us(waited_us) });
    Pause { kind, asked_at: us(0), reach: us(reach_us), stopped: us(stopped_us), used }
}

fn churned(pauses: Vec<Pause>) -> Churned {
    let (op, quota) = (Lateness::new(), Counted::default());
    Churned { pauses, wall: us(1000), ops: 10, op, victim: None, resident_bytes: None, quota }
}

/// Equal up to rounding.
fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-6 * b.abs().max(1.0)
}

#[test]
fn a_sample_says_what_the_pauses_were() {
    let pauses =
        vec![pause(Kind::Young, 1, 10, 0), pause(Kind::Full, 3, 100, 0), pause(Kind::Full, 2, 70, 0)];
    let sample = churned(pauses).paused().unwrap().sample("c", "p");
    for (name, expected) in [
        ("op_ns", 100_000.0),
        ("pause_ns", 70_000.0),
        ("pause_max_ns", 100_000.0),
        ("reach_ns", 2_000.0),
        ("gc_share", 0.186),
        ("collections_count", 3.0),
        ("full_count", 2.0),
    ] {
        assert!(near(sample.values[name], expected), "{name}: {}", sample.values[name]);
    }
    assert!(!sample.values.contains_key("wait_max_ns"), "there was no victim");
    assert!(!sample.values.contains_key("rss_bytes"), "unknown is absent, not zero");
    assert!(sample.doubts.is_empty(), "{:?}", sample.doubts);
    assert_eq!((sample.receipts.kept_count, sample.receipts.ops_count), (Some(3.0), Some(10.0)));
}

#[test]
fn a_run_without_a_pause_says_so() {
    let why = churned(Vec::new()).paused().unwrap_err();
    assert!(why.contains("no collection in 10 operations"), "{why}");
    let sample = churned(Vec::new()).sample("c", "p");
    assert!(!sample.values.contains_key("pause_ns") && near(sample.values["gc_share"], 0.0));
    assert_eq!(sample.receipts.runq_share, None);
    assert!(reach::sample(&[], "c", "p").unmeasured.is_some());
}

#[test]
fn pauses_in_which_the_collector_had_no_cpu_are_doubtful() {
    let some = churned(vec![pause(Kind::Full, 0, 100, 5)]).sample("c", "p");
    assert!(some.doubts.is_empty() && near(some.receipts.runq_share.unwrap(), 0.05));
    let much = churned(vec![pause(Kind::Full, 0, 100, 30)]).sample("c", "p");
    assert!(much.doubts.iter().any(|d| d.contains("waited for a CPU")), "{:?}", much.doubts);
    let unknown = churned(vec![Pause { used: None, ..pause(Kind::Full, 0, 100, 30) }]).sample("c", "p");
    assert!(unknown.doubts.is_empty() && unknown.receipts.runq_share.is_none());
    let waited = reach::sample(&[pause(Kind::Full, 50, 50, 30)], "c", "p");
    assert!(waited.doubts.iter().any(|d| d.contains("waited for a CPU")));
    assert!(near(waited.values["reach_ns"], 50_000.0));
}

/// Time without quota is booked as waiting, and is the quota's doing.
#[test]
fn a_quota_is_no_neighbour() {
    let mut limited = churned(vec![pause(Kind::Full, 0, 100, 60)]);
    limited.quota = Counted {
        periods_count: Some(4),
        throttled_count: Some(3),
        throttled_ns: Some(55_000),
        ..Counted::default()
    };
    let sample = limited.sample("c", "p");
    assert!(sample.doubts.is_empty(), "{:?}", sample.doubts);
    assert!(near(sample.values["throttled_share"], 0.75) && near(sample.values["throttled_ns"], 55_000.0));
    limited.quota.throttled_ns = Some(30_000);
    assert!(!limited.sample("c", "p").doubts.is_empty(), "30 of 100 us were somebody else's");
    assert!(!churned(Vec::new()).sample("c", "p").values.contains_key("throttled_ns"), "unknown is absent");
}

#[test]
fn the_law_is_that_of_its_points() {
    let point = |objects: f64, large: f64, mib: f64| Point {
        objects,
        large,
        large_mib: mib,
        pause_ns: 17_000.0 + 41.0 * objects + 120.0 * large,
    };
    let sets = [(0.0, 0.0), (500.0, 16.0), (500.0, 62.0), (1000.0, 31.0)];
    let points: Vec<Point> =
        (0..5).flat_map(|i| sets.map(|(large, mib)| point(f64::from(i) * 4e4, large, mib))).collect();
    let law = fit(&points).unwrap();
    assert!(near(law.object_ns, 41.0) && (law.base_ns - 17_000.0).abs() < 0.1, "{law:?}");
    assert!((law.large_ns - 120.0).abs() < 1e-3 && law.large_mib_ns.abs() < 1e-2, "{law:?}");
    assert!(law.off_share < 1e-6 && law.points == 20, "{law:?}");
    let beyond = Point { objects: 1e6, large: 0.0, large_mib: 1e6, pause_ns: f64::NAN };
    assert!((law.expects_ns(&beyond) / 41.017e6 - 1.0).abs() < 1e-3, "the payload adds nothing: {law:?}");
    let one_size: Vec<Point> = (0..5).map(|i| point(f64::from(i) * 4e4, 500.0, 62.0)).collect();
    assert_eq!(fit(&one_size), None, "what does not vary is not determined");
}

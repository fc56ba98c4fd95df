//! What is made of pauses: samples, doubts, the law of a pause. On made-up pauses; the heap itself is in `tests/managed/`.
use std::time::Duration;

use underhood::{
    heap::{
        HeapError, Kind, Pause, Use, explain,
        load::{
            churn::Churned,
            disturb::Disturbed,
            law::{Point, fit},
            ledger::{Gap, Ledger, Parts, split},
            reach,
        },
    },
    machine::group::Counted,
    measure::{lateness::Lateness, order::Order},
};

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

fn pause(kind: Kind, reach_us: u64, stopped_us: u64, waited_us: u64) -> Pause {
    let used = Some(Use { cpu: us(stopped_us), waited: us(waited_us), throttled: us(0), threads: 1 });
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
fn a_pause_is_disturbed_if_others_had_the_collectors_cpu() {
    let used = |waited, throttled, threads| {
        let used = Use { cpu: us(900), waited: us(waited), throttled: us(throttled), threads };
        Pause { used: Some(used), ..pause(Kind::Full, 100, 900, 0) }.disturbed()
    };
    assert!(used(101, 0, 1) && !used(100, 0, 1), "more than a tenth of it");
    // Two threads share the work, so that what both waited prolongs it by half of that.
    assert!(used(202, 0, 2) && !used(199, 0, 2));
    assert!(!used(700, 650, 1) && !used(1300, 1250, 2), "without quota is no neighbour's doing");
    assert!(!used(700, 500, 1), "and nobody can tell what exceeds it from the way back to the CPU");
    assert!(!Pause { used: None, ..pause(Kind::Full, 0, 100, 90) }.disturbed(), "unknown counts as no");
    assert!(!pause(Kind::Young, 0, 30, 20).disturbed() && pause(Kind::Young, 0, 30, 21).disturbed());
}

/// Out by the scheduler's clock: a long pause that was not disturbed stays, a short one that was goes.
#[test]
fn a_few_disturbed_pauses_are_left_out() {
    let pauses = || vec![pause(Kind::Full, 10, 1000, 50), pause(Kind::Full, 20, 3000, 0)];
    let one = [pauses(), vec![pause(Kind::Full, 30, 1600, 600)]].concat();
    let sample = churned(one.clone()).sample("c", "p");
    assert!(sample.doubts.is_empty(), "{:?}", sample.doubts);
    assert!(near(sample.values["pause_ns"], 2e6) && near(sample.values["pause_max_ns"], 3e6));
    assert!(near(sample.values["reach_ns"], 15_000.0));
    // The world did stand still in all of them.
    assert!(near(sample.values["collections_count"], 3.0) && near(sample.values["gc_share"], 5.66));
    assert_eq!((sample.receipts.kept_count, sample.receipts.dropped_count), (Some(2.0), Some(1.0)));
    assert!(near(sample.receipts.runq_share.unwrap(), 650.0 / 5660.0));
    assert_eq!(reach::sample(&one, "c", "p").receipts.kept_count, Some(2.0));
}

#[test]
fn more_than_a_third_disturbed_is_a_doubt_and_no_selection() {
    let pauses = vec![pause(Kind::Full, 50, 1000, 600), pause(Kind::Full, 50, 400, 0)];
    for sample in [churned(pauses.clone()).sample("c", "p"), reach::sample(&pauses, "c", "p")] {
        assert!(sample.doubts.iter().any(|d| d.contains("waited for a CPU")), "{:?}", sample.doubts);
        assert!(near(sample.values["pause_ns"], 700_000.0), "nothing is left out");
        assert_eq!((sample.receipts.kept_count, sample.receipts.dropped_count), (Some(2.0), Some(0.0)));
    }
    let unknown = churned(vec![Pause { used: None, ..pause(Kind::Full, 0, 100, 30) }]).sample("c", "p");
    assert!(unknown.doubts.is_empty() && unknown.receipts.runq_share.is_none());
}

#[test]
fn what_the_quota_did_is_counted() {
    let mut limited = churned(vec![pause(Kind::Full, 0, 100, 0)]);
    limited.quota = Counted {
        periods_count: Some(4),
        throttled_count: Some(3),
        throttled_ns: Some(55_000),
        ..Counted::default()
    };
    let sample = limited.sample("c", "p");
    assert!(near(sample.values["throttled_share"], 0.75) && near(sample.values["throttled_ns"], 55_000.0));
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

fn gap(from_us: u64, to_us: u64) -> Gap {
    Gap { from: us(from_us), to: us(to_us), ..Gap::default() }
}

fn pause_at(asked_us: u64, reach_us: u64, stopped_us: u64) -> Pause {
    Pause { asked_at: us(asked_us), ..pause(Kind::Full, reach_us, stopped_us, 0) }
}

#[test]
fn a_gap_is_booked_to_its_causes_in_their_order() {
    let pauses = [pause_at(100, 10, 40), pause_at(200, 0, 1000)];
    let parts = |gap: &Gap| split(gap, &pauses, 2_000);
    // The gap began before the stop and ended after it; of the second pause it saw the beginning.
    let stopped = parts(&gap(90, 220));
    assert_eq!((stopped.stopped_ns, stopped.rest_ns), (70_000, 60_000));
    assert_eq!(parts(&gap(160, 190)).stopped_ns, 0, "between two pauses nobody stands still");
    // 100 us outside of every pause: 30 without quota, which the kernel booked as waiting, 25 of waiting beyond that, 4 faults.
    let counted =
        Gap { runq_ns: Some(55_000), throttled_ns: Some(30_000), faults_count: Some(4), ..gap(0, 100) };
    let all =
        Parts { stopped_ns: 0, throttled_ns: 30_000, runq_ns: 25_000, faults_ns: 8_000, rest_ns: 37_000 };
    assert_eq!(parts(&counted), all);
    // Two CPUs stood still at once: the victim waited for one of them.
    let two = Gap { runq_ns: Some(50_000), throttled_ns: Some(100_000), ..gap(0, 100) };
    assert_eq!((parts(&two).throttled_ns, parts(&two).runq_ns), (50_000, 0));
    let unknown = parts(&gap(0, 100));
    assert_eq!(unknown, Parts { rest_ns: 100_000, ..Parts::default() }, "what nobody tells is in the rest");
}

/// Whatever the counters say, also nonsense.
#[test]
fn the_parts_of_a_gap_add_up_to_it() {
    let mut lot = Order::new(7);
    let mut draw = |below: u64| lot.below(usize::try_from(below).unwrap()) as u64;
    let known = |below: u64, d: &mut dyn FnMut(u64) -> u64| (d(3) > 0).then(|| d(below));
    for round in 0..2_000 {
        let mut at = 0;
        let pauses: Vec<Pause> = (0..draw(6))
            .map(|_| {
                at += draw(300);
                let pause = pause_at(at, draw(50), draw(200));
                at += 250;
                pause
            })
            .collect();
        let from = draw(1500);
        let gap = Gap {
            runq_ns: known(2_000_000, &mut draw),
            throttled_ns: known(4_000_000, &mut draw),
            faults_count: known(500, &mut draw),
            ..gap(from, from + draw(1500))
        };
        let parts = split(&gap, &pauses, draw(5_000));
        let whole = u64::try_from((gap.to - gap.from).as_nanos()).unwrap();
        assert_eq!(parts.sum_ns(), whole, "round {round}: {gap:?} {pauses:?} {parts:?}");
        let shares = parts.shares();
        let sum: f64 = shares.iter().map(|(_, share)| share).sum();
        assert!(shares.is_empty() == (whole == 0) && (shares.is_empty() || near(sum, 1.0)), "{shares:?}");
    }
    let backwards = Gap { from: us(9), to: us(3), runq_ns: Some(5), ..Gap::default() };
    assert_eq!(split(&backwards, &[], 1).sum_ns(), 0, "a clock that went back is no gap");
    let endless = Gap { faults_count: Some(u64::MAX), ..gap(0, 10) };
    assert_eq!(split(&endless, &[], u64::MAX).faults_ns, 10_000);
}

#[test]
fn a_ledger_counts_the_pauses_that_a_gap_swallowed() {
    let pauses = [pause_at(0, 1, 9), pause_at(12, 1, 9), pause_at(100, 1, 9)];
    let ledger = |gaps: &[Gap]| Ledger { gaps: gaps.to_vec(), ..Ledger::default() };
    assert_eq!(ledger(&[]).pauses_per_gap(&pauses), None);
    assert_eq!(ledger(&[gap(30, 60)]).pauses_per_gap(&pauses), None, "a gap without a pause does not count");
    let met = ledger(&[gap(0, 25), gap(30, 60), gap(99, 111)]);
    assert!(near(met.pauses_per_gap(&pauses).unwrap(), 1.5));
    assert_eq!(met.longest_ns(), Some(30_000));
    assert_eq!(met.parts(&pauses).stopped_ns, 30_000);
    assert_eq!(met.parts(&pauses).sum_ns(), 67_000);
    let watched = Disturbed { ledger: Ledger { watched: us(670), ..met }, pauses: pauses.to_vec() };
    let sample = watched.sample("c", "p");
    assert!(near(sample.values["lost_share"], 0.1) && near(sample.values["gaps_count"], 3.0));
    assert!(near(sample.values["lost_stopped_share"], 30.0 / 67.0));
}

/// The real thing needs a system that is set up like that; `ulimit -v` is tried for real in `tests/managed/`.
#[test]
fn why_there_are_no_addresses_is_explained() {
    let limited = explain(Some(4 << 30), Some("2\n"), "ENOMEM");
    assert!(
        limited.contains("`ulimit -v` allows 4096 MiB") && limited.contains("ulimit -v unlimited"),
        "{limited}"
    );
    let strict = explain(None, Some("2\n"), "ENOMEM");
    assert!(strict.contains("vm.overcommit_memory is 2") && strict.contains("ENOMEM"), "{strict}");
    assert!(strict.contains("set it to 0"), "what to do: {strict}");
    // The whole sentence says what the addresses are wanted for.
    let whole = HeapError::Addresses { why: strict }.to_string();
    assert!(whole.starts_with("a managed heap reserves 15 TiB of addresses, and vm."), "{whole}");
    for other in [explain(None, Some("0\n"), "ENOMEM"), explain(None, None, "ENOMEM")] {
        assert!(other.contains("ENOMEM") && other.contains("address space"), "{other}");
    }
}

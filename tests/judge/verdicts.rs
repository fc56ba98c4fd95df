//! Verdicts on hand-made records: held, refuted, and each way to "not shown here".
use crate::common::*;
use underhood::{
    judge::*,
    lab::{
        self, Claim, Expect, Kind, Launch, Step, at_least, bound, pick,
        sample::{AA, Sample},
    },
    record::{Record, aa_band},
};

/// Records of [`reads`] at `0 ns` with these headlines and an A/A row that reaches about 2 % from 1.
fn pair(mutex: &[f64], rwlock: &[f64]) -> Vec<Record> {
    let wobble = [1.0, 1.02, 0.98, 1.01, 0.99];
    let twin: Vec<f64> = mutex.iter().zip(wobble.iter().cycle()).map(|(v, w)| v * w).collect();
    vec![
        record(reads(), "run-01", "mutex", "0 ns", mutex),
        record(reads(), "run-01", "rwlock", "0 ns", rwlock),
        record(reads(), "run-01", AA, "0 ns", &twin),
    ]
}

fn claim(expect: Expect) -> Claim {
    let what = lab::ratio(pick("rwlock", "0 ns", HEADLINE), pick("mutex", "0 ns", HEADLINE));
    Claim { text: "claim", bound: bound(expect, what) }
}

fn judged_by(step: &Step, claim: Claim, records: &[Record]) -> Finding {
    let step = altered(step, |s| s.claims = vec![claim]);
    judge(lab(), &step, records).remove(0)
}

/// The verdict on a ratio of about this size, and why.
fn verdict(ratio: f64, expect: Expect) -> (Verdict, String) {
    let rwlock: Vec<f64> =
        around(100.0).iter().zip([1.0, 1.002, 0.998, 1.001, 0.999]).map(|(v, w)| v * ratio * w).collect();
    let finding = judged_by(reads(), claim(expect), &pair(&around(100.0), &rwlock));
    (finding.verdict, finding.why)
}

fn not_shown(finding: &Finding, why: &str) {
    assert_eq!(finding.verdict, Verdict::NotShown, "{finding:?}");
    assert!(finding.why.contains(why), "{:?} does not say {why:?}", finding.why);
}

#[test]
fn the_claims_of_a_good_run_hold() {
    let findings = judge(lab(), reads(), &reads_run("run-01"));
    let verdicts: Vec<Verdict> = findings.iter().map(|f| f.verdict).collect();
    assert_eq!(verdicts, [Verdict::Held; 3], "{findings:#?}");
    assert_eq!((findings[0].value, findings[2].value), ("ratio", HEADLINE));
    let ratio = findings[0].numbers.unwrap();
    assert!(ratio.lo > 3.1 && ratio.hi < 3.2, "{ratio:?}");
    assert_eq!(findings[2].numbers.unwrap().n, 5);
}

#[test]
fn the_whole_interval_decides() {
    assert_eq!(verdict(1.6, Expect::AtLeast(1.5)).0, Verdict::Held);
    assert_eq!(verdict(1.4, Expect::AtLeast(1.5)).0, Verdict::Refuted);
    assert_eq!(verdict(1.5, Expect::AtLeast(1.5)).0, Verdict::NotShown);
    assert_eq!(verdict(0.5, Expect::AtMost(0.6)).0, Verdict::Held);
    assert_eq!(verdict(0.7, Expect::AtMost(0.6)).0, Verdict::Refuted);
    assert_eq!(verdict(0.6, Expect::AtMost(0.6)).0, Verdict::NotShown);
    assert_eq!(verdict(1.5, Expect::Between(1.4, 1.6)).0, Verdict::Held);
    assert_eq!(verdict(1.7, Expect::Between(1.4, 1.6)).0, Verdict::Refuted);
    assert_eq!(verdict(1.3, Expect::Between(1.4, 1.6)).0, Verdict::Refuted);
    assert_eq!(verdict(1.6, Expect::Between(1.4, 1.6)).0, Verdict::NotShown);
}

#[test]
fn a_ratio_that_touches_the_band_shows_no_difference() {
    // The interval of 1.01 lies above 1 as a whole, but the baseline differs as much from itself.
    let (verdict_, why) = verdict(1.01, Expect::AtLeast(1.0));
    assert_eq!(verdict_, Verdict::NotShown);
    assert!(why.contains("no difference shown"), "{why}");
    assert_eq!(verdict(0.99, Expect::AtMost(1.0)).0, Verdict::NotShown);
    assert_eq!(verdict(0.99, Expect::AtLeast(1.0)).0, Verdict::NotShown, "and it is not refuted either");
    // Far enough from 1, the band is cleared.
    assert_eq!(verdict(1.08, Expect::AtLeast(1.0)).0, Verdict::Held);
    assert_eq!(verdict(0.92, Expect::AtLeast(1.0)).0, Verdict::Refuted);
}

#[test]
fn no_difference_is_a_result_where_the_band_fits_the_expectation() {
    assert_eq!(verdict(1.01, Expect::Between(0.9, 1.1)).0, Verdict::Held);
    assert_eq!(verdict(1.01, Expect::AtLeast(0.9)).0, Verdict::Held);
    assert_eq!(verdict(1.0, Expect::Between(0.99, 1.01)).0, Verdict::NotShown, "the run cannot see 1 %");
    let (verdict_, why) = verdict(1.01, Expect::AtLeast(1.5));
    assert_eq!(verdict_, Verdict::Refuted, "half as much again would have shown");
    assert!(why.contains("no difference shown"), "{why}");
}

#[test]
fn without_an_a_a_row_no_ratio_is_claimed() {
    let mut records = pair(&around(100.0), &around(300.0));
    records.pop();
    let f = judged_by(reads(), claim(Expect::AtLeast(1.5)), &records);
    not_shown(&f, "no A/A row");
    // A count has no noise of position, and a process for each case has none to share.
    let counting = altered(reads(), |s| s.kind = Kind::Count);
    assert_eq!(judged_by(&counting, claim(Expect::AtLeast(1.5)), &records).verdict, Verdict::Held);
    let isolated = altered(reads(), |s| s.launch = Launch::Isolated);
    assert_eq!(judged_by(&isolated, claim(Expect::AtLeast(1.5)), &records).verdict, Verdict::Held);
    assert_eq!(judge(lab(), touch(), &touch_run("run-01"))[0].verdict, Verdict::Held);
}

#[test]
fn the_wider_band_counts_where_two_parameters_are_compared() {
    let mut records = reads_run("run-01");
    let wild: Vec<f64> = around(1.65e6).iter().zip([0.5, 2.0, 1.0, 0.6, 1.7]).map(|(v, w)| v * w).collect();
    records[5] = record(reads(), "run-01", AA, "400 ns", &wild);
    let wide = aa_band(&records, "run-01", "400 ns", HEADLINE).unwrap();
    let (a, b) = (&records[0], &records[3]);
    match compare(reads(), &records, (a, HEADLINE), (b, HEADLINE)) {
        Compared::Differs { band, .. } | Compared::NoDifference { band, .. } => {
            assert!((band - wide).abs() < 1e-12)
        }
        Compared::Cannot(why) => panic!("{why}"),
    }
}

#[test]
fn one_launch_claims_nothing() {
    let f = judged_by(reads(), claim(Expect::AtLeast(1.5)), &pair(&[100.0], &[300.0]));
    not_shown(&f, "one launch shows no spread");
    let value = Claim { text: "claim", bound: at_least(1.0, pick("rwlock", "0 ns", HEADLINE)) };
    not_shown(&judged_by(reads(), value, &pair(&[100.0], &[300.0])), "one launch shows no spread");
}

#[test]
fn survivors_are_not_a_case() {
    let mut records = pair(&around(100.0), &around(300.0));
    records[1] = changed(&records[1], |r| {
        for i in [0, 2, 3] {
            r.launches[i] = Sample::unmeasured("rwlock", "0 ns", "killed after 10 s");
        }
    });
    not_shown(&judged_by(reads(), claim(Expect::AtLeast(1.5)), &records), "only 2 of 5 launches");
    records[1] = changed(&pair(&around(100.0), &around(300.0))[1], |r| {
        r.launches[0] = Sample::unmeasured("rwlock", "0 ns", "no window without waiting");
    });
    assert_eq!(judged_by(reads(), claim(Expect::AtLeast(1.5)), &records).verdict, Verdict::Held);
}

#[test]
fn what_was_not_measured_is_not_shown() {
    let mut records = pair(&around(100.0), &around(300.0));
    records[1] = changed(&records[1], |r| {
        r.launches.iter_mut().for_each(|s| *s = Sample::unmeasured(&s.case, &s.param, "no second core"));
    });
    not_shown(
        &judged_by(reads(), claim(Expect::AtLeast(1.5)), &records),
        "RwLock was not measured: no second core",
    );
    not_shown(
        &judged_by(reads(), claim(Expect::AtLeast(1.5)), &records[..1]),
        "the run has no case RwLock, 0 ns",
    );
    not_shown(&judged_by(reads(), claim(Expect::AtLeast(1.5)), &[]), "not measured yet");
    let mut other = claim(Expect::AtLeast(1.5));
    other.bound.of = pick("rwlock", "0 ns", "other_ns");
    not_shown(
        &judged_by(reads(), other, &pair(&around(1.0), &around(3.0))),
        "no launch of RwLock reported: other",
    );
    let zero = pair(&[0.0; 5], &around(3.0));
    not_shown(&judged_by(reads(), claim(Expect::AtLeast(1.5)), &zero), "not positive");
}

#[test]
fn what_may_not_be_quoted_carries_no_verdict() {
    for at in [0, 1] {
        let mut records = pair(&around(100.0), &around(300.0));
        records[at] = changed(&records[at], |r| {
            r.quotable = false;
            r.doubts = vec!["the two lanes ran on one CPU".into()];
        });
        let f = judged_by(reads(), claim(Expect::AtLeast(1.5)), &records);
        not_shown(&f, "ran on one CPU");
        assert!(f.numbers.is_some(), "the numbers are still shown");
    }
}

#[test]
fn too_few_cores_are_named() {
    let needs = |cores| Claim { text: "claim", bound: claim(Expect::AtLeast(1.5)).bound.cores(cores) };
    let records = pair(&around(100.0), &around(300.0));
    not_shown(&judged_by(reads(), needs(4), &records), "needs 4 cores, and 2 were allowed");
    assert_eq!(judged_by(reads(), needs(2), &records).verdict, Verdict::Held);
    let with = |fact: Option<&str>| -> Vec<Record> {
        let change = |r: &mut Record| match fact {
            Some(text) => drop(r.machine.facts.insert("cpus_allowed".into(), text.into())),
            None => drop(r.machine.facts.remove("cpus_allowed")),
        };
        records.iter().map(|r| changed(r, change)).collect()
    };
    not_shown(&judged_by(reads(), needs(2), &with(None)), "unknown");
    not_shown(&judged_by(reads(), needs(2), &with(Some("unknown"))), "unknown");
    not_shown(&judged_by(reads(), needs(2), &with(Some("1 (0)"))), "1 were allowed");
    assert_eq!(judged_by(reads(), needs(1), &with(None)).verdict, Verdict::Held, "any machine has one");
    not_shown(&judged_by(reads(), needs(4), &with(Some("16 (0-15)"))), "needs 4 threads, and 2 ran");
    let threads = |n| -> Vec<Record> {
        with(Some("16 (0-15)")).iter().map(|r| changed(r, |r| r.threads = n)).collect()
    };
    assert_eq!(judged_by(reads(), needs(4), &threads(4)).verdict, Verdict::Held);
}

fn working(case: &str, work: &[f64]) -> Record {
    changed(&record(reads(), "run-01", case, "0 ns", &around(100.0)[..work.len()]), |r| {
        for (s, w) in r.launches.iter_mut().zip(work) {
            s.values.insert(format!("{WORK}bytes"), *w);
        }
    })
}

#[test]
fn unequal_work_is_refused() {
    let even = [working("mutex", &[64.0, 64.0]), working("rwlock", &[64.0, 64.5])];
    assert_eq!(unequal_work(&even), None, "within one percent");
    let one_off = [working("mutex", &[64.0, 64.0]), working("rwlock", &[64.0, 32.0])];
    let why = unequal_work(&one_off).unwrap();
    assert!(why.contains("Mutex 64 B") && why.contains("RwLock 32 B"), "{why}");
    let silent = [working("mutex", &[64.0, 64.0]), record(reads(), "run-01", "rwlock", "0 ns", &[1.0, 1.0])];
    assert!(unequal_work(&silent).unwrap().contains("RwLock does not say"));
    // Launches may differ from each other, contenders within a launch may not.
    let scaled = [working("mutex", &[64.0, 128.0]), working("rwlock", &[64.0, 128.0])];
    assert_eq!(unequal_work(&scaled), None);
    assert_eq!(unequal_work(&pair(&around(1.0), &around(2.0))), None, "nobody says anything about work");
    assert_eq!(unequal_work(&[working("mutex", &[0.0]), working("rwlock", &[0.0])]), None);
    assert!(unequal_work(&[working("mutex", &[0.0]), working("rwlock", &[1.0])]).is_some());
    assert_eq!(unequal_work([]), None);
    let failed = changed(&even[1], |r| r.launches[1] = Sample::unmeasured("rwlock", "0 ns", "no"));
    assert_eq!(unequal_work([&even[0], &failed]), None, "a launch that failed did no work to compare");
}

#[test]
fn a_claim_over_unequal_work_is_not_shown() {
    let mut records = pair(&around(100.0), &around(300.0));
    for (r, work) in records.iter_mut().zip([64.0, 32.0, 64.0]) {
        *r = changed(r, |r| {
            for s in &mut r.launches {
                s.values.insert(format!("{WORK}count"), work);
            }
        });
    }
    not_shown(&judged_by(reads(), claim(Expect::AtLeast(1.5)), &records), "unequal work per operation");
}

#[test]
fn the_newest_run_is_judged_and_others_are_ignored() {
    let mut records = reads_run("run-09");
    records.extend(touch_run("run-08"));
    let slow: Vec<Record> = reads_run("run-02")
        .iter()
        .map(|r| {
            changed(r, |r| {
                r.launches.iter_mut().for_each(|s| {
                    s.values.insert(HEADLINE.into(), 5.0);
                })
            })
        })
        .collect();
    records.extend(slow);
    assert!(judge(lab(), reads(), &records).iter().all(|f| f.verdict == Verdict::Held));
    let foreign: Vec<Record> = records.iter().map(|r| changed(r, |r| r.lab = "other".into())).collect();
    assert!(judge(lab(), reads(), &foreign).iter().all(|f| f.why == "not measured yet"));
}

#[test]
fn findings_serialise_for_scripts() {
    let text = serde_json::to_string(&judge(lab(), reads(), &[])).unwrap();
    assert!(text.contains(r#""verdict":"not_shown""#), "{text}");
    assert_eq!(Verdict::NotShown.words(), "not shown here");
}

#[test]
fn a_bound_is_judged_on_its_side_and_divides_nothing() {
    use underhood::lab::sample::Side;
    let bounded = |side: Side| -> Vec<Record> {
        let mut records = pair(&around(100.0), &around(100.0));
        for r in &mut records {
            *r = changed(r, |r| {
                r.launches.iter_mut().for_each(|s| _ = s.bounds.insert(HEADLINE.into(), side));
            });
        }
        records
    };
    let alone = |expect| Claim { text: "claim", bound: bound(expect, pick("rwlock", "0 ns", HEADLINE)) };
    // At most 100: it may be anything below.
    let most = bounded(Side::AtMost);
    assert_eq!(judged_by(reads(), alone(Expect::AtMost(110.0)), &most).verdict, Verdict::Held);
    assert_eq!(judged_by(reads(), alone(Expect::AtLeast(200.0)), &most).verdict, Verdict::Refuted);
    assert_eq!(judged_by(reads(), alone(Expect::AtLeast(50.0)), &most).verdict, Verdict::NotShown);
    // At least 100: it may be anything above.
    let least = bounded(Side::AtLeast);
    assert_eq!(judged_by(reads(), alone(Expect::AtLeast(90.0)), &least).verdict, Verdict::Held);
    assert_eq!(judged_by(reads(), alone(Expect::AtMost(50.0)), &least).verdict, Verdict::Refuted);
    assert_eq!(judged_by(reads(), alone(Expect::AtMost(200.0)), &least).verdict, Verdict::NotShown);
    not_shown(&judged_by(reads(), claim(Expect::Between(0.5, 2.0)), &most), "only a bound");
}

#[test]
fn launches_in_two_groups_are_no_number() {
    let doubts = |launches: &[Sample]| {
        let none = std::collections::BTreeMap::new();
        underhood::record::doubts::of_case(reads(), "mutex", launches, launches.len(), &none)
    };
    let launches = [73.0, 6.0, 90.0, 6.2, 6.1].map(|v| Sample::new("mutex", "0 ns").with(HEADLINE, v));
    // If a look at the core tells the two apart, only one of them is the number.
    let seen = launches.clone().map(|s| {
        let shared = s.values[HEADLINE] > 50.0;
        s.with("core_adds", if shared { 2.5 } else { 3.7 })
    });
    assert!(doubts(&seen).is_empty(), "{:?}", doubts(&seen));
    assert_eq!(
        doubts(&launches),
        ["two groups of launches and nothing in between: 3 launches at 6.10/s, 2 launches at 81.5/s"]
    );
}

#[test]
fn the_claims_of_a_run_are_judged_together() {
    // Alone it would hold: 98.84 lies 3.3 standard errors below the values, which chance does in 3 of 100 cases.
    let mutex = pick("mutex", "0 ns", HEADLINE);
    let marginal = at_least(98.84, mutex);
    let with = |others: f64, count: usize| {
        let mut claims = vec![Claim { text: "marginal", bound: marginal }];
        let other = Claim { text: "other", bound: at_least(others, mutex) };
        claims.extend(std::iter::repeat_n(other, count));
        let step = altered(reads(), |s| s.claims = claims);
        judge(lab(), &step, &pair(&around(100.0), &around(100.0))).remove(0)
    };
    assert_eq!(with(0.0, 0).verdict, Verdict::Held);
    assert_eq!(with(50.0, 5).verdict, Verdict::Held, "beside claims that are clear it stands");
    not_shown(&with(100.0, 5), "among the 6 claims and reasons of this run it may be chance");
}

//! Every claim of every lab, on made-up records: it can be held, it can be refuted, and a doubtful row carries no verdict.
use std::collections::BTreeSet;

use crate::{
    all::labs,
    common::{changed, record},
};
use underhood::{
    judge::{Verdict, judge},
    lab::{Expect, Lab, Step, sample::AA},
    record::Record,
};

/// Records in which the claim's ratio (or value) is `value`; the baseline and its twin say the same of each other.
fn made_up(lab: &Lab, step: &Step, index: usize, value: f64) -> Vec<Record> {
    let claim = &step.claims[index];
    let (of, base) = (claim.bound.of, step.baseline());
    let mut told = vec![(of.case, of.param, of.value, value)];
    told.extend(claim.bound.against.map(|other| (other.case, other.param, other.value, 1.0)));
    for (_, param, name, _) in told.clone() {
        let known = |case: &str, told: &[(&str, &str, &str, f64)]| {
            told.iter().find(|t| (t.0, t.1, t.2) == (case, param, name)).map(|t| t.3)
        };
        for case in [base, AA] {
            if known(case, &told).is_none() {
                told.push((case, param, name, known(base, &told).unwrap_or(1.0)));
            }
        }
    }
    let rows: BTreeSet<(&str, &str)> = told.iter().map(|t| (t.0, t.1)).collect();
    // What is claimed to lie between two numbers may be a count, which is exact; the rest is spread a little.
    let factors = match claim.bound.expect {
        Expect::Between(..) => [1.0; 5],
        _ => [1.0, 1.004, 0.996, 1.002, 0.998],
    };
    let row = |(case, param): (&str, &str)| {
        changed(&record(step, "run-01", case, param, &factors), |r| {
            r.lab = lab.stem.into();
            for (_, _, name, mid) in told.iter().filter(|t| (t.0, t.1) == (case, param)) {
                for (launch, factor) in r.launches.iter_mut().zip(factors) {
                    launch.values.insert((*name).into(), factor * mid);
                }
            }
        })
    };
    rows.into_iter().map(row).collect()
}

#[test]
fn every_claim_can_be_held_and_refuted() {
    let mut judged = 0;
    let steps = labs().iter().flat_map(|lab| lab.steps.iter().map(move |step| (lab, step)));
    // A withdrawn step says nothing, whatever it measures.
    for (lab, step) in steps.filter(|(_, step)| step.withdrawn.is_none()) {
        // The made-up machine has two CPUs.
        for (index, claim) in step.claims.iter().enumerate().filter(|(_, claim)| claim.bound.cores <= 2) {
            let (good, bad) = match claim.bound.expect {
                Expect::AtLeast(x) => (x * 1.5 + 0.1, (x * 0.5).min(x - 0.1)),
                Expect::AtMost(x) => (x * 0.5, x * 1.5 + 0.1),
                Expect::Between(lo, hi) => (f64::midpoint(lo, hi), hi * 1.5 + 0.1),
            };
            let verdict = |records: &[Record]| judge(lab, step, records).remove(index);
            for (value, want) in [(good, Verdict::Held), (bad, Verdict::Refuted)] {
                let finding = verdict(&made_up(lab, step, index, value));
                assert_eq!(
                    finding.verdict, want,
                    "{}/{}, '{}': {finding:?}",
                    lab.stem, step.name, claim.text
                );
            }
            let doubt = |r: &Record| {
                changed(r, |r| {
                    r.quotable = false;
                    r.doubts.push("SIMULATED a limit".into());
                })
            };
            let doubtful: Vec<Record> = made_up(lab, step, index, good).iter().map(doubt).collect();
            assert_eq!(
                verdict(&doubtful).verdict,
                Verdict::NotShown,
                "{}/{}: {}",
                lab.stem,
                step.name,
                claim.text
            );
            judged += 1;
        }
    }
    assert!(judged > 300, "{judged} claims");
}

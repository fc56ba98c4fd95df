//! Processes with a limit: the steps down where none can be had, the labs' claims on made-up records, and nothing left behind.
#![cfg(feature = "gc")]
#[path = "../labs/all.rs"]
mod all;
mod common;

use common::{changed, record};
use underhood::{
    engine::limited::{Down, Simulated, down, inside, run},
    judge::{Verdict, judge},
    lab::{Expect, Lab, Launch, Pick, Step},
    machine::group::{Bound, Refused},
    record::{AA, Record},
    sample::Sample,
};

const HALF: Bound = Bound::Cpu { quota_us: 50_000, period_us: 100_000 };
const SMALL: Bound = Bound::Memory { bytes: 1 << 27 };

fn refused(limited: bool, commands: &str) -> Refused {
    Refused { why: "mkdir: Permission denied".into(), limited, commands: commands.into() }
}

#[test]
fn each_step_down_has_its_sentence() {
    let none = refused(false, "mkdir box");
    for bound in [HALF, SMALL] {
        let Down::Simulate(model) = down(&none, bound, true) else { panic!("without rights it is modelled") };
        assert!(
            model.why.starts_with("SIMULATED") && model.why.contains("Permission denied"),
            "{}",
            model.why
        );
        assert_eq!(model.commands, "mkdir box");
        let Down::Skip(why) = down(&none, bound, false) else { panic!("another system") };
        assert!(why.contains("Linux"), "{why}");
    }
    let Down::Observe(why) = down(&refused(true, ""), HALF, true) else { panic!("limited already") };
    assert!(why.contains("the rows without a quota of their own"), "{why}");
    let Down::Observe(why) = down(&refused(true, ""), SMALL, true) else { panic!("limited already") };
    assert!(why.contains("shared with others"), "to fill it would be an attack on them: {why}");
}

#[test]
fn a_simulated_sample_is_never_quotable_and_tells_the_commands() {
    let model = Simulated { why: "SIMULATED a CPU quota".into(), commands: "mkdir box".into() };
    let sample = model.mark(Sample::new("c", "p").with("pause_ns", 1.0));
    assert_eq!(sample.doubts, ["SIMULATED a CPU quota"]);
    assert!(sample.seen[0].ends_with("as root: mkdir box"), "{:?}", sample.seen);
    let nothing = Simulated { why: "SIMULATED".into(), commands: String::new() };
    assert!(nothing.mark(Sample::new("c", "p")).seen.is_empty(), "no empty advice");
}

/// Outside of a child there is no errand to hand on: a sentence, not another copy of this program.
#[test]
fn only_a_child_runs_inside() {
    assert!(inside().is_none());
    let why = run(None).unwrap_err();
    assert!(why.contains("only in a child"), "{why}");
}

fn lab(stem: &str) -> &'static Lab {
    all::LABS.iter().find(|l| l.stem == stem).expect("it is in the table of contents")
}

/// Records in which one claim's value is that; whatever it is compared with is 1.
fn made_up(lab: &Lab, step: &Step, index: usize, value: f64) -> Vec<Record> {
    let claim = &step.claims[index];
    let mut picks = vec![(claim.of, value)];
    picks.extend(claim.against.map(|pick| (pick, 1.0)));
    if step.launch == Launch::Together {
        // Twins of the baseline, which is 1: from them the smallest difference is known.
        picks.extend(claim.against.map(|pick| (Pick { case: AA, ..pick }, 1.0)));
    }
    let rows = picks.into_iter().map(|(pick, mid)| {
        let launches: Vec<f64> = [0.98, 1.0, 1.02, 0.99, 1.01].iter().map(|f| f * mid).collect();
        let row = record(step, "run", pick.case, pick.param, &launches);
        changed(&row, |r| {
            r.lab = lab.stem.into();
            for (sample, value) in r.launches.iter_mut().zip(&launches) {
                sample.values.insert(pick.value.into(), *value);
            }
        })
    });
    rows.collect()
}

#[test]
fn every_claim_can_be_held_and_refuted() {
    for lab in ["container_limits", "gc_pause", "gc_reference_jvm"].map(lab) {
        for step in lab.steps {
            for (index, claim) in step.claims.iter().enumerate() {
                let (good, bad) = match claim.expect {
                    Expect::AtLeast(x) => (x * 1.5 + 0.1, (x * 0.5).max(x - 0.5)),
                    Expect::AtMost(x) => (x * 0.5, x * 1.5 + 0.1),
                    Expect::Between(lo, hi) => (f64::midpoint(lo, hi), hi * 1.5 + 0.1),
                };
                for (value, want) in [(good, Verdict::Held), (bad, Verdict::Refuted)] {
                    let finding = judge(lab, step, &made_up(lab, step, index, value)).remove(index);
                    assert_eq!(
                        finding.verdict, want,
                        "{}/{}, '{}': {finding:?}",
                        lab.stem, step.name, claim.text
                    );
                }
                let mut doubtful = made_up(lab, step, index, good);
                doubtful[0] = changed(&doubtful[0], |r| {
                    r.quotable = false;
                    r.doubts.push("SIMULATED a limit".into());
                });
                let finding = judge(lab, step, &doubtful).remove(index);
                assert_eq!(
                    finding.verdict,
                    Verdict::NotShown,
                    "what was simulated is not shown: {finding:?}"
                );
            }
        }
    }
}

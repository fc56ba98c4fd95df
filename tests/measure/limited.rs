//! Processes with a limit: the steps down where none can be had, and what is said there.

use underhood::{
    lab::sample::Sample,
    machine::group::{Bound, Refused},
    measure::limited::{Down, Simulated, down, inside, run},
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

//! Outcomes that hold on any machine, however busy: what is said after a timeout, what leaks, and that no cell of the matrix is empty.
use crate::all;

use std::time::Duration;

use underhood::{
    experiments::starve::{CURES, Cure, MECHANISMS, Mechanism, SWITCHES, starve},
    lab::{
        Point, Setting, Step,
        plan::{Mode, Plan},
        sample::Sample,
    },
    machine::allowed_cpus,
};

fn step(lab: &str, step: &str) -> &'static Step {
    let lab = all::labs().iter().find(|l| l.stem == lab).expect("the lab is listed");
    lab.steps.iter().find(|s| s.name == step).expect("the lab has the step")
}

/// One quick launch of a step in this process.
fn run(step: &Step) -> Vec<Sample> {
    step.run(&Plan::new(Mode::Quick, allowed_cpus()), &step.cases(), &step.params())
}

fn value(samples: &[Sample], case: &str, name: &str) -> f64 {
    let sample = samples.iter().find(|s| s.case == case).unwrap_or_else(|| panic!("no row {case}"));
    *sample.values.get(name).unwrap_or_else(|| panic!("{case} has no {name}: {sample:?}"))
}

#[test]
fn a_timeout_around_a_block_says_ok() {
    let samples = run(step("async_timeout", "honesty"));
    for case in ["timeout_blocks", "select_blocks", "timeout_in_place"] {
        assert!(value(&samples, case, "told_share") < 0.01, "{case}: the value was ready, and comes first");
    }
    let [asked, returned] = ["asked_ns", "returned_ns"].map(|name| value(&samples, "timeout_blocks", name));
    assert!(returned > 5.0 * asked, "a block can't be cut short: {returned} ns");
}

#[test]
fn only_a_permit_in_the_job_stops_the_leak() {
    let samples = run(step("async_timeout", "leak"));
    assert!(value(&samples, "permit_in_job", "running_max_count") < 1.01);
    assert!(value(&samples, "retried", "running_max_count") > 1.5);
}

#[test]
fn an_unstable_switch_says_how_to_get_it() {
    for Setting { is, value: cure } in SWITCHES {
        let name = is.id;
        let seen = starve(Mechanism::LifoSlot, cure, Duration::from_millis(4), Duration::from_millis(40));
        match seen {
            Ok(_) if cfg!(tokio_unstable) => {}
            Err(why) if !cfg!(tokio_unstable) => {
                assert!(why.contains("--cfg tokio_unstable"), "{name}: {why}")
            }
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn no_cell_of_the_matrix_is_empty() {
    let matrix = step("async_cures", "matrix");
    assert_eq!(matrix.cases(), CURES.map(|cure| cure.id()), "every cure has its column");
    assert_eq!(matrix.params(), MECHANISMS.map(|mechanism| mechanism.id()), "every mechanism has its row");
    for Point { param, value: mechanism } in MECHANISMS {
        for Setting { is, value: cure } in CURES {
            let (name, cure_name) = (param.id, is.id);
            // Only where block_in_place is not allowed is the offender gone.
            let gone =
                cure == Cure::Control || (mechanism == Mechanism::CurrentThread && cure == Cure::InPlace);
            // On a machine that gives us no CPU for 40 ms nothing happens within 40 ms: so a longer window each time.
            let filled = [40, 80, 160, 320, 640].into_iter().any(|window_ms| {
                let seen =
                    starve(mechanism, cure, Duration::from_millis(4), Duration::from_millis(window_ms));
                let seen = seen.unwrap_or_else(|why| panic!("{name} x {cure_name}: {why}"));
                assert_eq!(
                    seen.panicked.is_some(),
                    gone && cure != Cure::Control,
                    "{name} x {cure_name}: who is gone cures nobody: {seen:?}"
                );
                seen.late.samples_count() > 0 && (gone || seen.units_count > 0)
            });
            assert!(filled, "{name} x {cure_name}: no victim was seen, or the offenders did nothing");
        }
    }
}

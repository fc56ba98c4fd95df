//! Hand-made records and a small lab to judge and show them with. Nothing here is measured.
#![allow(dead_code, reason = "each test binary uses its part")]
use std::{collections::BTreeMap, sync::LazyLock};

use underhood::{
    lab::{
        Contender, Evidence, Kind, Lab, Origin, Step, at, at_least, between,
        plan::Mode,
        ratio,
        sample::{AA, Sample},
    },
    machine::{Grade, Level, Machine},
    record::Record,
};

pub(crate) const HEADLINE: &str = "ops_per_s";

/// Paired, contended, two parameters.
pub(crate) fn reads() -> &'static Step {
    &lab().steps[0]
}

/// A process for each case, no parameter, no A/A row.
pub(crate) fn touch() -> &'static Step {
    &lab().steps[1]
}

pub(crate) fn lab() -> &'static Lab {
    static LAB: LazyLock<Lab> = LazyLock::new(|| {
        let question = "When is a reader-writer lock better than a mutex?";
        // Of another crate: its ids are read as they are, not by the names of our labs.
        let origin = Origin { package: "demo", bin: Some("demo_lock"), ..Origin::ours("a lab of the tests") };
        Lab::new("demo_lock", question, origin)
            .step(new_reads())
            .step(new_touch())
            .say(
                "reads",
                "With {threads} threads that only read and hold for 400 ns, the rwlock does {ratio} what the mutex does: {value} against \
                 {against}.",
                ratio(("rwlock", "400 ns"), ("mutex", "400 ns")),
                "when somebody writes",
            )
            .say("touch", "The first touch pauses for {value}.", "touch", "the pages are there already")
            .not_said(&["Reader-writer locks are faster."])
            .next(&["What if one in a hundred writes?"])
    });
    &LAB
}

fn new_reads() -> Step {
    Step::new("reads", Kind::Contended, HEADLINE)
        .ask_number("How many reads a second?", "rwlock", "400 ns")
        .columns(&["wait_p99_ns", "fair_share"])
        .contenders(&["mutex", "rwlock"].map(Contender::new))
        .over([at("0 ns", ()), at("400 ns", ())], |_, _| Vec::new())
        .claim(
            at_least(1.5, ratio(("rwlock", "400 ns"), ("mutex", "400 ns"))).cores(2),
            "At 400 ns the rwlock does at least 1.5 times what the mutex does.",
        )
        .claim(
            between(0.8, 1.25, ratio(("rwlock", "0 ns"), ("mutex", "0 ns"))).cores(2),
            "At 0 ns the two differ by less than 20 %.",
        )
        .claim(at_least(1e6, ("mutex", "0 ns")), "The mutex does more than a million reads a second.")
        .because("Readers share.", Evidence::Source("a made-up source"))
        .in_tour()
}

fn new_touch() -> Step {
    Step::new("touch", Kind::Pause, "pause_ns")
        .ask_best("Which part is slow?", "")
        .columns(&["faults_count"])
        .contenders(&["call", "touch"].map(Contender::new))
        .apart()
        .claim(
            at_least(10.0, ratio("touch", "call")),
            "The first touch takes at least ten times as long as the call.",
        )
        .because("Pages come when they are touched.", Evidence::Source("a made-up source"))
        .in_tour()
}

/// The step with one change.
pub(crate) fn altered(step: &Step, change: impl FnOnce(&mut Step)) -> Step {
    let mut step = step.clone();
    change(&mut step);
    step
}

/// Launches that scatter by about 1 % around a value.
pub(crate) fn around(value: f64) -> Vec<f64> {
    [1.0, 1.01, 0.99, 1.005, 0.995].iter().map(|f| f * value).collect()
}

/// A quotable record of the headline at these values, one a launch; not sealed, so that a test can change it.
pub(crate) fn draft(step: &Step, run: &str, case: &str, param: &str, headlines: &[f64]) -> Record {
    let sample = |v: &f64| Sample::new(case, param).with(step.headline, *v);
    Record {
        schema: 0,
        id: String::new(),
        run: run.into(),
        at: format!("2026-11-{}T10:00:00Z", &run[run.len() - 2..]),
        lab: lab().stem.into(),
        step: step.name.into(),
        case: case.into(),
        param: param.into(),
        baseline: step.baseline().into(),
        kind: step.kind,
        mode: Mode::Default,
        threads: 2,
        headline: step.headline.into(),
        interval: None,
        launches: headlines.iter().map(sample).collect(),
        odd_launches: Vec::new(),
        quotable: true,
        doubts: Vec::new(),
        command: "cargo run --release --bin demo_lock".into(),
        machine: machine(),
        during: BTreeMap::new(),
        pooled: None,
    }
}

/// The same, sealed.
pub(crate) fn record(step: &Step, run: &str, case: &str, param: &str, headlines: &[f64]) -> Record {
    draft(step, run, case, param, headlines).seal()
}

/// The sealed record with one change, sealed again.
pub(crate) fn changed(record: &Record, change: impl FnOnce(&mut Record)) -> Record {
    let mut record = record.clone();
    change(&mut record);
    record.seal()
}

pub(crate) fn machine() -> Machine {
    let facts = [
        ("cpu", "Example CPU 3000"),
        ("cpus_allowed", "2 (0-1)"),
        ("cpus_online", "2"),
        ("memory_bytes", "8589934592"),
        ("hypervisor", "KVM"),
        ("container", "none"),
        ("kernel", "6.1.0"),
        ("rustc", "rustc 1.95.0 (0123456789a 2026-04-14)"),
        ("profile", "release, opt-level 3"),
        ("rustflags", "none"),
        ("revision", "0123456789ab"),
        ("dirty", "false"),
        ("versions", "parking_lot 0.13.0, tokio 1.54.0"),
    ];
    let grade = |reason: &str| Grade { level: Level::Fit, reason: reason.into() };
    Machine {
        facts: facts.map(|(k, v)| (k.into(), v.into())).into(),
        fitness: BTreeMap::from([("clock_cost_ns".into(), 21.5)]),
        grades: BTreeMap::from([
            (Kind::Contended, grade("2 spinners did 1.98 times the work of one")),
            (Kind::Pause, grade("own hiccups stayed under 60 us")),
        ]),
    }
}

/// A complete quotable run of [`reads`]: the A/A row reaches about 2 % from 1, no difference at `0 ns`, 3.1 times at `400 ns`.
pub(crate) fn reads_run(run: &str) -> Vec<Record> {
    let twin = |mid: f64| {
        [1.0, 1.02, 0.98, 1.01, 0.99].iter().zip(around(mid)).map(|(f, v)| f * v).collect::<Vec<_>>()
    };
    let more = |r: Record| {
        changed(&r, |r| {
            for s in &mut r.launches {
                s.values.insert("wait_p99_ns".into(), 18_400.0);
                s.values.insert("fair_share".into(), 0.93);
            }
        })
    };
    let rows = [
        record(reads(), run, "mutex", "0 ns", &around(10.6e6)),
        record(reads(), run, "rwlock", "0 ns", &twin(10.65e6)),
        record(reads(), run, AA, "0 ns", &twin(10.6e6)),
        record(reads(), run, "mutex", "400 ns", &around(1.65e6)),
        record(reads(), run, "rwlock", "400 ns", &around(5.2e6)),
        record(reads(), run, AA, "400 ns", &twin(1.65e6)),
    ];
    rows.map(more).into()
}

/// A complete quotable run of [`touch`]: the touch takes forty times as long as the call.
pub(crate) fn touch_run(run: &str) -> Vec<Record> {
    vec![
        record(touch(), run, "call", "", &around(11_000.0)),
        record(touch(), run, "touch", "", &around(440_000.0)),
    ]
}

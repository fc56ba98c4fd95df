//! Hand-made records and a small lab to judge and show them with. Nothing here is measured.
#![allow(dead_code, reason = "each test binary uses its part")]
use std::collections::BTreeMap;

use underhood::{
    lab::{
        Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick,
        plan::Mode,
        sample::{AA, Sample},
    },
    machine::{Grade, Level, Machine},
    record::Record,
};

pub(crate) const HEADLINE: &str = "ops_per_s";

/// Paired, contended, two parameters.
pub(crate) const READS: Step = Step {
    name: "reads",
    ask: "How many reads a second?",
    predict: Predict::Number { case: "rwlock", param: "400 ns" },
    kind: Kind::Contended,
    cases: &["mutex", "rwlock"],
    params: &["0 ns", "400 ns"],
    launch: Launch::Together,
    measure: |_, _, _| Vec::new(),
    headline: HEADLINE,
    columns: &["wait_p99_ns", "fair_share"],
    claims: &[
        Claim {
            text: "At 400 ns the rwlock does at least 1.5 times what the mutex does.",
            of: pick("rwlock", "400 ns", HEADLINE),
            against: Some(pick("mutex", "400 ns", HEADLINE)),
            expect: Expect::AtLeast(1.5),
            cores: 2,
        },
        Claim {
            text: "At 0 ns the two differ by less than 20 %.",
            of: pick("rwlock", "0 ns", HEADLINE),
            against: Some(pick("mutex", "0 ns", HEADLINE)),
            expect: Expect::Between(0.8, 1.25),
            cores: 2,
        },
        Claim {
            text: "The mutex does more than a million reads a second.",
            of: pick("mutex", "0 ns", HEADLINE),
            against: None,
            expect: Expect::AtLeast(1e6),
            cores: 1,
        },
    ],
    because: "Readers share.",
    tour: true,
};

/// A process for each case, no parameter, no A/A row.
pub(crate) const TOUCH: Step = Step {
    name: "touch",
    ask: "Which part is slow?",
    predict: Predict::Best { param: "" },
    kind: Kind::Pause,
    cases: &["call", "touch"],
    params: &[""],
    launch: Launch::Isolated,
    measure: |_, _, _| Vec::new(),
    headline: "pause_ns",
    columns: &["faults_count"],
    claims: &[Claim {
        text: "The first touch takes at least ten times as long as the call.",
        of: pick("touch", "", "pause_ns"),
        against: Some(pick("call", "", "pause_ns")),
        expect: Expect::AtLeast(10.0),
        cores: 1,
    }],
    because: "Pages come when they are touched.",
    tour: true,
};

pub(crate) static LAB: Lab = Lab {
    stem: "demo_lock",
    question: "When is a reader-writer lock superior to a mutex?",
    steps: &[READS, TOUCH],
    says: &[
        Say {
            step: "reads",
            text: "With {threads} threads that only read and hold for 400 ns, the rwlock does {ratio} what the mutex does: \
                   {value} against {against}.",
            of: pick("rwlock", "400 ns", HEADLINE),
            against: Some(pick("mutex", "400 ns", HEADLINE)),
            not_true_when: "when somebody writes",
        },
        Say {
            step: "touch",
            text: "The first touch pauses for {value}.",
            of: pick("touch", "", "pause_ns"),
            against: None,
            not_true_when: "the pages are there already",
        },
    ],
    not_said: &["Reader-writer locks are faster."],
    next: &["What if one in a hundred writes?"],
    sources: &[],
    benches: |_| Vec::new(),
};

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
        lab: LAB.stem.into(),
        step: step.name.into(),
        case: case.into(),
        param: param.into(),
        baseline: step.cases[0].into(),
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

/// A complete quotable run of [`READS`]: the A/A row reaches about 2 % from 1, no difference at `0 ns`, 3.1 times at `400 ns`.
pub(crate) fn reads(run: &str) -> Vec<Record> {
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
        record(&READS, run, "mutex", "0 ns", &around(10.6e6)),
        record(&READS, run, "rwlock", "0 ns", &twin(10.65e6)),
        record(&READS, run, AA, "0 ns", &twin(10.6e6)),
        record(&READS, run, "mutex", "400 ns", &around(1.65e6)),
        record(&READS, run, "rwlock", "400 ns", &around(5.2e6)),
        record(&READS, run, AA, "400 ns", &twin(1.65e6)),
    ];
    rows.map(more).into()
}

/// A complete quotable run of [`TOUCH`]: the touch takes forty times as long as the call.
pub(crate) fn touch(run: &str) -> Vec<Record> {
    vec![
        record(&TOUCH, run, "call", "", &around(11_000.0)),
        record(&TOUCH, run, "touch", "", &around(440_000.0)),
    ]
}

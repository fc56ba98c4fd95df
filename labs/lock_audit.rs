//! What is wrong with this benchmark?
//!
//! Run it: `cargo run --release --bin lock_audit -- --step`
use std::{sync::Mutex, time::Instant};

use underhood::{
    experiments::traps::TRAPS,
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::audit::audit,
};

pub(crate) static LAB: Lab = Lab {
    stem: "lock_audit",
    question: "What is wrong with this benchmark?",
    steps: &[Step {
        name: "gallery",
        ask: "Ten lock benchmarks; nine make one mistake each, the last is sound. How many flaws are found in the sound one?",
        predict: Predict::Number { case: "sound", param: "" },
        kind: Kind::Count,
        cases: &[
            "thread_start_timed",
            "clock_after_barrier",
            "one_after_the_other",
            "clone_in_one_arm",
            "write_lock_as_read",
            "shared_index",
            "try_lock_uncounted",
            "keys_per_thread",
            "one_key_map",
            "sound",
        ],
        params: &[""],
        launch: Launch::Together,
        measure: gallery,
        headline: "flaws_count",
        columns: &["caught_share"],
        claims: &[
            caught("the clock that also times the start of the threads is caught", "thread_start_timed"),
            caught("the clock that is read late, after a barrier, is caught", "clock_after_barrier"),
            caught("threads that never meet are caught", "one_after_the_other"),
            caught("unequal work is caught", "clone_in_one_arm"),
            caught("a read lock that is a write lock is caught", "write_lock_as_read"),
            caught("a shared index in the loop is caught", "shared_index"),
            caught("operations that did nothing, and were counted, are caught", "try_lock_uncounted"),
            caught("a hit ratio that moves with the threads is caught", "keys_per_thread"),
            caught("a map of one key is caught", "one_key_map"),
            Claim {
                text: "and nothing is found in the sound benchmark",
                of: pick("sound", "", "flaws_count"),
                against: None,
                expect: Expect::AtMost(0.0),
                cores: 1,
            },
        ],
        because: "None of the nine fails, and each prints a number. What gives them away is never the number, but what else was noted: when the \
                  clock ran and when the threads worked, how much an operation did, whether readers met, what the loop costs without \
                  the lock, how much of what was counted happened, which keys were asked for. Read each in src/experiments/traps.rs, and \
                  what catches it in src/measure/audit.rs. A benchmark that notes none of this cannot be audited, which is a finding too.",
        tour: false,
    }],
    says: &[Say {
        step: "gallery",
        text: "A contended benchmark with threads that are started for each sample: an audit of when clock and threads ran found {value} flaws.",
        of: pick("thread_start_timed", "", "flaws_count"),
        against: None,
        not_true_when: "the work is so long that the start of a thread does not count, and the threads meet",
    }],
    not_said: &[
        "That a benchmark in which nothing is found is right: it was asked these nine questions.",
        "Anything about the locks in these benchmarks: their numbers are wrong by design, and are not shown.",
    ],
    next: &[
        "Which of them can still happen with criterion? (all: it has no threads of its own; iter_custom leaves the clock to you)",
        "What would you note in your own benchmark, so that somebody else can audit it?",
        "How does a closed loop hide waits? (coordinated omission: the one that waits asks no more)",
    ],
    sources: &[
        "parking_lot benchmark/src/rwlock.rs before #486: a write lock for \"read\", for nine years",
        "bytecodealliance/wasmtime#4398, ARM-software/synchronization-benchmarks#66: threads that did not overlap",
        "jonhoo/bustle 0.5.1: the share of hits moves with the threads; xacrimon/dashmap#306: a map of one key",
        "xacrimon/conc-map-bench#11: an exclusive get for reads; DataDog/dd-trace-java#11988: a shared index",
    ],
    benches,
};

const fn caught(text: &'static str, case: &'static str) -> Claim {
    Claim { text, of: pick(case, "", "caught_share"), against: None, expect: Expect::AtLeast(1.0), cores: 1 }
}

/// Runs each benchmark and audits it. `caught_share` is 1 if the mistake that it makes was named, and not given for the sound one.
fn gallery(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let one = |case: &str, param: &str| {
        let Some(trap) = TRAPS.iter().find(|t| t.name == case) else {
            return Sample::unmeasured(case, param, "no such benchmark");
        };
        let found = audit(&(trap.run)());
        let mut s = Sample::new(case, param).with("flaws_count", found.len() as f64);
        if let Some(own) = trap.flaw {
            s = s.with("caught_share", f64::from(u8::from(found.iter().any(|(flaw, _)| *flaw == own))));
        }
        // The kinds only: the figures differ from launch to launch, and would each be a remark of its own.
        found.iter().fold(s, |s, (_, what)| s.seeing(what.split(':').next().unwrap_or(what)))
    };
    params.iter().flat_map(|p| cases.iter().map(move |c| one(c, p))).collect()
}

/// One flaw on purpose, for criterion: an operation so short that the clock is what is measured. Look at `per_call`, then at `per_1000`.
fn benches(_: &Plan) -> Vec<Bench> {
    let bench = |id: &str, at_once: u64| Bench {
        id: id.into(),
        make: Box::new(move || {
            let m = Mutex::new(0u64);
            Box::new(move |n| {
                let mut spent = std::time::Duration::ZERO;
                let mut left = n;
                while left > 0 {
                    let now = left.min(at_once);
                    let t = Instant::now();
                    (0..now).for_each(|_| *m.lock().expect("no holder panics") += 1);
                    spent += t.elapsed();
                    left -= now;
                }
                spent
            })
        }),
    };
    vec![bench("clock/per_call", 1), bench("clock/per_1000", 1_000)]
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

//! Every hand-written structure under loom, and under loom with each of its memory orderings weakened.
//!
//! ```text
//! cargo test --test model                            all of it
//! cargo test --test model -- mutants --nocapture     the report: every mutant, its end, executions explored
//! UNDERHOOD_MODEL_ONLY=lock/mutex cargo test ...     one structure
//! cargo test --test model -- orders ticket --ignored --nocapture
//!                                                    each ordering of a structure: written, the weakest that passes, and the execution
//!                                                    that breaks the next weaker one; without a name, of all
//! cargo test --test model -- zoo --nocapture         the fault zoo; beside it: --test chaos -- zoo, --test structures -- real::zoo
//! UNDERHOOD_MODEL_BOUND=3 cargo test ...             more preemptions than the scenarios ask for: minutes
//! ```
//!
//! This file is a second crate root: it includes the structures' own source files, which then find the modelled
//! `crate::sync` below instead of the library's. No cfg, no flags: the library never hears of loom.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "the structures are included as they are, whatever part the scenarios use"
)]
#![allow(unused_imports, reason = "a face has all its names, whatever part the structures use")]
#![allow(missing_debug_implementations, reason = "the modelled face has no users to debug")]
#![allow(clippy::print_stdout, reason = "the report is what this test is for")]
#![allow(clippy::duplicate_mod, reason = "lab `order_detect` has the zoo on its own machines")]

#[path = "../linear/check.rs"]
mod check;
mod children;
mod explore;
#[path = "../../src/structures/flow/mod.rs"]
mod flow;
mod guard;
#[path = "../../src/structures/alloc/inbox.rs"]
mod inbox;
#[path = "../linear/lanes.rs"]
mod lanes;
mod litmus;
#[path = "../../src/structures/lock/mod.rs"]
mod lock;
#[path = "../../src/structures/lockfree/mod.rs"]
mod lockfree;
#[path = "../zoo/machine.rs"]
mod machine;
mod managed;
mod mutate;
#[path = "../../labs/order_detect.rs"]
mod order_detect;
mod orders;
#[path = "../zoo/plain.rs"]
mod plain;
#[path = "../../src/structures/reclaim/mod.rs"]
mod reclaim;
mod record;
mod report;
mod scenarios;
#[path = "../linear/spec.rs"]
mod spec;
mod survivors;
mod sync;
#[path = "../../src/structures/task/mod.rs"]
mod task;
mod verdict;

/// Where the structures look for each other.
mod structures {
    pub(crate) use crate::{flow, lock, lockfree, reclaim, sync, task};
}
/// The room has parts that take their memory from the system; here is the one that threads share.
mod alloc {
    pub(crate) use crate::inbox;
}

use children::End;
use explore::Order;
use machine::faults::FAULTS;
use machine::round::Oracle;
use mutate::World;
use scenarios::zoo;
use std::env;
use std::fs;
use std::path::Path;
use std::time::Instant;
use survivors::{Class, SURVIVORS, Survivor};
use verdict::{Fate, Outcome, complaints};

/// The modelled structures pass, stand a hostile world, and every weakened version of them fails or is excused.
#[test]
fn mutants() {
    let started = Instant::now();
    let only = env::var("UNDERHOOD_MODEL_ONLY").ok();
    let chosen: Vec<_> =
        scenarios::ALL.iter().filter(|s| only.as_ref().is_none_or(|only| only == s.path)).collect();
    assert!(!chosen.is_empty(), "UNDERHOOD_MODEL_ONLY names no structure");
    let scores: Vec<report::Score> = chosen.into_iter().map(report::structure).collect();
    println!("\nall in {:.1} s", started.elapsed().as_secs_f64());
    report::summary(&scores);
    let complaints: Vec<String> = scores.into_iter().flat_map(|score| score.complaints).collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// Not a test: prints, for each ordering of the structures that are named (or of all), the weakest that passes.
#[test]
#[ignore = "a report, for whoever asks for it: the same runs as `mutants`"]
fn orders() {
    orders::wanted().into_iter().for_each(orders::orders);
}

/// An execution as it is drawn.
#[test]
fn an_execution_has_a_column_for_each_thread() {
    let step = |thread, what: &str| (thread, what.to_owned());
    let steps =
        [step(0, "x:1 store Relaxed: 1"), step(1, "x:7 load Relaxed: 0 (old)"), step(0, "x:2 fence SeqCst")];
    let drawn = orders::columns(&steps, 2);
    let lines: Vec<&str> = drawn.lines().collect();
    let column = |line: &str| line.len() - line.trim_start().len();
    assert_eq!(lines.len(), 4, "{drawn}");
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["main", "thread", "1"]);
    assert_eq!(column(lines[1]), column(lines[3]), "{drawn}");
    assert_eq!(lines[0].find("thread 1"), Some(column(lines[2])), "{drawn}");
    let many: Vec<_> = (0..100).map(|i| step(i % 2, "x:1 load Relaxed: 0")).collect();
    assert!(orders::columns(&many, 2).contains("... 60 steps before"));
}

/// Mistakes that no change of an ordering makes: each is found, and a twin without one is not.
#[test]
fn twins() {
    let order =
        |path| Order { structure: path, scenario: None, world: World::default(), mutant: None, told: false };
    let orders: Vec<Order> =
        scenarios::TWINS.iter().copied().flatten().map(|(twin, _)| order(twin.path)).collect();
    let mut complaints = Vec::new();
    for ((twin, sound), answer) in scenarios::TWINS.iter().copied().flatten().zip(children::run(&orders)) {
        println!("{:40} {:>7} executions  {:?}", twin.path, answer.executions, answer.end);
        match answer.end {
            End::Passed if !sound => complaints.push(format!("{}: the mistake was not found", twin.path)),
            End::Failed { .. } if *sound => complaints.push(format!(
                "{}: fails without a mistake\n{}",
                twin.path,
                answer.drawn.join("\n")
            )),
            End::TimedOut => complaints.push(format!("{}: over the time limit", twin.path)),
            End::Passed | End::Failed { .. } => {}
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The fault zoo: what a model finds with sums alone, and with whole histories. No sound twin raises an alarm.
#[test]
fn zoo() {
    let mut orders = Vec::new();
    for (at, fault) in FAULTS.iter().enumerate() {
        assert!(zoo::path(at, true).contains(fault.name), "both lists are in the same order");
        for (scenario, _) in zoo::ORACLES {
            for sound in [false, true] {
                let structure = zoo::path(at, sound);
                orders.push(Order {
                    structure,
                    scenario: Some(scenario),
                    world: World::default(),
                    mutant: None,
                    told: false,
                });
            }
        }
    }
    assert_eq!(zoo::TWINS.len(), 2 * FAULTS.len());
    let mut complaints = Vec::new();
    let per_fault = children::run(&orders);
    for (fault, answers) in FAULTS.iter().zip(per_fault.chunks(4)) {
        for ((scenario, oracle), pair) in zoo::ORACLES.into_iter().zip(answers.chunks(2)) {
            let [broken, sound] = pair else { unreachable!() };
            let name = fault.name;
            println!(
                "{name:24} {scenario:10} {:>6} of {:>6} executions  {:?}",
                broken.executions, sound.executions, broken.end
            );
            broken.drawn.iter().for_each(|line| println!("    {line}"));
            let history = broken.drawn.iter().any(|line| line.starts_with("lane "));
            if history != (oracle == Oracle::Linear) {
                complaints.push(format!("{name}, {scenario}: a history is drawn where there is one"));
            }
            let visible = oracle == Oracle::Linear || !fault.history_only;
            if matches!(broken.end, End::Failed { .. }) != visible {
                complaints.push(format!("{name}, {scenario}: found should be {visible}: {:?}", broken.end));
            }
            if !matches!(sound.end, End::Passed) {
                complaints.push(format!("{name}, {scenario}: the sound twin: {:?}", sound.end));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

/// The lab's lists are this test's.
#[test]
fn the_lab_knows_every_fault_and_structure() {
    let lab = order_detect::lab();
    let step = |name| lab.steps.iter().find(|s| s.name == name).expect("a step");
    let faults: Vec<&str> = FAULTS.iter().map(|f| f.name).collect();
    assert_eq!(step("threads").params(), faults);
    assert_eq!(step("models").params(), faults);
    let structures: Vec<&str> = scenarios::ALL.iter().map(|s| s.path).collect();
    assert_eq!(step("mutants").cases(), structures, "labs/order_detect.rs lists the structures");
}

/// Not a test: the models' columns of lab `order_detect`, into the store.
#[test]
#[ignore = "writes records: for whoever asks for them"]
fn record_zoo() {
    record::record_zoo();
}

/// Not a test: the mutation scores, into the store.
#[test]
#[ignore = "writes records: for whoever asks for them; the same runs as `mutants`"]
fn record_mutants() {
    // Twice: one run shows no spread, and that there is none should be seen and not assumed.
    let run = || scenarios::ALL.iter().map(report::structure).collect::<Vec<report::Score>>();
    let runs = [run(), run()];
    record::record_mutants(&runs);
    report::summary(&runs[0]);
}

/// Not a test: what the child processes of `mutants` run.
#[test]
#[ignore = "the child processes of `mutants` run it"]
fn child() {
    explore::child();
}

/// Files beside the structures that have no atomic step of their own; a fair queue, an arena and a pool belong to one thread, and what the
/// small `malloc` shares is behind std's mutex or in its inbox.
const PARTS: [&str; 6] = ["mod", "guard", "fair_queue", "bump", "slots", "small"];

/// The repository's: this package lies two folders below it.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("tests/model lies in the repository")
}

/// House rule: a structure has scenarios of the same name, and its mutants are looked for in its own file.
#[test]
fn every_structure_has_scenarios() {
    let src = root().join("src/structures");
    let mut files = Vec::new();
    for room in ["lock", "lockfree", "reclaim", "task", "flow", "alloc"] {
        let Ok(entries) = fs::read_dir(src.join(room)) else { continue }; // not built yet
        for entry in entries {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if let Some(stem) = name.strip_suffix(".rs").filter(|stem| !PARTS.contains(stem)) {
                files.push(format!("{room}/{stem}"));
            }
        }
    }
    files.push("managed/safepoint".to_owned()); // in a room of other things
    for file in &files {
        assert!(
            scenarios::ALL.iter().any(|s| s.path == file),
            "{0} has no scenarios: write tests/model/scenarios/{1}.rs and list it in mod.rs there",
            scenarios::source(file),
            file.rsplit('/').next().unwrap()
        );
    }
    for s in scenarios::ALL {
        assert!(
            files.iter().any(|file| file == s.path),
            "scenarios without a structure: {}",
            scenarios::source(s.path)
        );
        assert!(!s.scenarios.is_empty(), "{} has no scenarios", s.path);
    }
}

/// The verdict itself, on made-up outcomes: each way to go wrong is noticed.
#[test]
fn verdicts() {
    let outcome = |fate| Outcome { code: "x.swap(0, Release)".into(), change: "split".into(), fate };
    let listed = Survivor {
        structure: "lock/x",
        code: "x.swap(",
        change: "split",
        class: Class::Equivalent,
        reason: "only the holder writes here, so a store would do",
    };
    let told = |outcomes: &[Outcome], list: &[Survivor]| complaints("lock/x", outcomes, list).join("\n");
    assert_eq!(told(&[outcome(Fate::Killed)], &[]), "");
    assert_eq!(told(&[outcome(Fate::Survived)], &[listed]), "");
    assert!(told(&[outcome(Fate::Survived)], &[]).contains("survived"));
    assert!(told(&[outcome(Fate::Killed)], &[listed]).contains("strike it out"));
    assert!(told(&[outcome(Fate::Undecided)], &[listed]).contains("time limit"));
    assert!(told(&[], &[listed]).contains("0 mutants fit"));
    assert!(told(&[outcome(Fate::Survived), outcome(Fate::Survived)], &[listed]).contains("2 mutants fit"));
    assert!(
        told(&[outcome(Fate::Survived)], &[Survivor { change: "dropped", ..listed }]).contains("survived")
    );
    assert!(
        told(&[outcome(Fate::Survived)], &[Survivor { structure: "lock/y", ..listed }]).contains("survived")
    );
    assert!(
        told(&[outcome(Fate::Survived)], &[Survivor { reason: "because", ..listed }]).contains("no reason")
    );
    assert!(SURVIVORS.iter().all(|s| scenarios::ALL.iter().any(|all| all.path == s.structure)));
}

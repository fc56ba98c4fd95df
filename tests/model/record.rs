//! What the models found, as records in the store: labs and reports read it there, and the library never hears of loom.
//!
//! The store is the one that the labs use, `target/underhood`, or the folder in `UNDERHOOD_STORE`.

use super::children::{self, Answer, End};
use super::explore::Order;
use super::machine::faults::FAULTS;
use super::mutate::World;
use super::order_detect::lab;
use super::report::Score;
use super::scenarios::zoo;
use super::verdict;
use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;
use underhood::lab::plan::{Mode, Plan};
use underhood::lab::sample::Sample;
use underhood::lab::{Launch, Origin};
use underhood::machine::{Machine, allowed_cpus};
use underhood::record::{Store, seal};

/// Every cell of the models' columns, so many times over: the search is the same each time, its duration is not.
const LAUNCHES: usize = 3;

/// Appends the launches of a step of `order_detect`.
pub fn keep(step: &str, launches: Vec<Vec<Sample>>) {
    let mut lab = lab();
    lab.origin = Origin::ours(lab.origin.text); // not this package's, which has the lab's file in it as well
    let step = lab.steps.iter().find(|s| s.name == step).expect("a step of the lab");
    let Launch::Recorded(command) = step.launch else { panic!("the lab measures that step itself") };
    let mut plan = Plan::new(Mode::Default, allowed_cpus());
    plan.launches = launches.len();
    let records = seal(&lab, step, command, &plan, &Machine::read(), launches, BTreeMap::new());
    let dir = env::var_os("UNDERHOOD_STORE").map(PathBuf::from).or_else(Store::default_dir);
    let store = Store::open(dir.expect("a folder for records"));
    store.append(&records).expect("a store that can be written");
    println!("{} records in {}", records.len(), store.dir().display());
}

/// The zoo under loom with both oracles, and under ThreadSanitizer where `.ci/sanitize` has built it.
pub fn record_zoo() {
    let launches = (0..LAUNCHES).map(|_| {
        let mut samples: Vec<Sample> = FAULTS.iter().map(|fault| sanitized(fault.name)).collect();
        for (scenario, param) in [("conserved", "loom"), ("linear", "loom_linear")] {
            let order = |at, sound| Order {
                structure: zoo::path(at, sound),
                scenario: Some(scenario),
                world: World::default(),
                mutant: None,
                told: false,
            };
            let orders: Vec<Order> =
                (0..FAULTS.len()).flat_map(|at| [order(at, false), order(at, true)]).collect();
            let answers = children::run(&orders);
            samples
                .extend(FAULTS.iter().zip(answers.chunks(2)).map(|(f, pair)| modelled(f.name, param, pair)));
        }
        samples
    });
    keep("models", launches.collect());
}

/// The answers for a broken twin and its sound one, as a cell.
fn modelled(name: &str, param: &str, pair: &[Answer]) -> Sample {
    let [broken, sound] = pair else { panic!("two answers") };
    let found = match broken.end {
        End::Passed => false,
        End::Failed { .. } => true,
        End::TimedOut => return Sample::unmeasured(param, name, "the search was over its time limit"),
    };
    let mut sample = Sample::new(param, name)
        .with("executions_count", broken.executions as f64)
        .with("sound_executions_count", sound.executions as f64);
    // With a process of its own around it, whose start is a few milliseconds of it.
    cell(&mut sample, found, !matches!(sound.end, End::Passed), broken.took.as_nanos() as f64);
    sample
}

fn cell(sample: &mut Sample, found: bool, alarm: bool, after_ns: f64) {
    let number = |is| f64::from(u8::from(is));
    sample.values.insert("found_share".into(), number(found));
    sample.values.insert("alarms_count".into(), number(alarm));
    if found {
        sample.values.insert("after_ns".into(), after_ns);
    }
    if alarm {
        sample.doubts.push("a false alarm: the sound twin was objected to as well".into());
    }
}

/// What became of each structure's mutants, in each of these runs.
pub fn record_mutants(runs: &[Vec<Score>]) {
    let sample = |score: &Score| {
        let (mutants, killed) = (score.outcomes.len(), score.killed());
        if mutants == 0 {
            let why = "it has no mutants: its steps are Relaxed, or other structures'";
            return Sample::unmeasured(score.path, "", why);
        }
        let mut sample = Sample::new(score.path, "")
            .with("killed_share", killed as f64 / mutants as f64)
            .with("mutants_count", mutants as f64)
            .with("killed_count", killed as f64)
            .with("reviewed_count", score.reviewed().len() as f64)
            .with("executions_count", score.executions as f64);
        sample.doubts.clone_from(&score.complaints);
        for (outcome, excuse) in score.reviewed() {
            let class = verdict::class(excuse.class);
            sample = sample.seeing(format!("{}, survives ({class}): {}", outcome.change, excuse.reason));
        }
        sample
    };
    keep("mutants", runs.iter().map(|scores| scores.iter().map(sample).collect()).collect());
}

/// ThreadSanitizer ends a process in which it saw a race with this code (its option `exitcode`).
const RACE: i32 = 66;

fn sanitized(name: &str) -> Sample {
    let program = crate::root().join("target/sanitize/thread");
    if !program.is_file() {
        let why = "not run here: .ci/sanitize builds it where a nightly toolchain is present";
        return Sample::unmeasured("tsan", name, why);
    }
    let run = |twin| {
        let started = Instant::now();
        let mut command = Command::new(&program);
        let status = command.args(["zoo", name, twin]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        (status.ok().and_then(|status| status.code()), started.elapsed())
    };
    let ((broken, took), (sound, _)) = (run("broken"), run("sound"));
    let raced = |code| match code {
        Some(0) => Ok(false),
        Some(RACE) => Ok(true),
        _ => Err("the sanitized program ended in another way than it can end"),
    };
    match (raced(broken), raced(sound)) {
        (Ok(found), Ok(alarm)) => {
            let mut sample = Sample::new("tsan", name);
            cell(&mut sample, found, alarm, took.as_nanos() as f64);
            sample
        }
        (Err(why), _) | (_, Err(why)) => Sample::unmeasured("tsan", name, why),
    }
}

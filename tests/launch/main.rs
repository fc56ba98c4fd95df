//! Children that hang, die, say nothing or are interrupted: each is a result, and none hangs the workbench.
//!
//! No libtest here (`harness = false`): a launch starts this very program again.
#![allow(clippy::print_stdout, reason = "stands in for libtest's closing line")]
use std::{
    process::ExitCode,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use underhood::{
    lab::{
        Contender, Kind, Lab, Origin, Point, Step, at,
        plan::{Mode, Plan},
        sample::Sample,
    },
    machine::allowed_cpus,
    measure::launch,
};

type Measure = fn(&Plan, &[&str], &[&str]) -> Vec<Sample>;

/// Measures cases at parameters.
fn step(name: &'static str, measure: Measure) -> Step {
    Step::new(name, Kind::Count, "x_count")
        .ask_best("", "p")
        .contenders(&[Contender::new("a"), Contender::new("b")])
        .over_all([at("p", ()), at("q", ())], move |plan, points| {
            measure(plan, &["a", "b"], &points.iter().map(Point::id).collect::<Vec<_>>())
        })
}

fn lab() -> &'static Lab {
    static LAB: LazyLock<Lab> = LazyLock::new(|| {
        Lab::new("trial", "", Origin::ours("a lab of the tests"))
            .step(step("well", each))
            .step(apart())
            .step(step("panics", |_, _, _| panic!("on purpose")))
            .step(step("silent", |_, _, _| Vec::new()))
            .step(step("killed", |_, _, _| std::process::abort()))
            .step(
                step("recorded", |_, _, _| panic!("nobody asks the lab"))
                    .recorded(["p", "q"].map(|p| at(p, ())), "make it so"),
            )
            .step(step("sleeps", |_, _, _| {
                thread::sleep(Duration::from_secs(600));
                Vec::new()
            }))
    });
    &LAB
}

/// A process for each contender at each parameter.
fn apart() -> Step {
    static BOTH: [Contender; 2] = [Contender::new("a"), Contender::new("b")];
    step("apart", each).isolated(&BOTH, ["p", "q"].map(|p| at(p, ())), |plan, c, p| {
        Ok(each(plan, &[c.id], &[p.id()]).remove(0))
    })
}

/// Says which process and launch it ran in.
fn each(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let pid = f64::from(std::process::id());
    let sample =
        |c: &&str, p: &&str| Sample::new(c, p).with("x_count", pid).with("launch_count", plan.launch as f64);
    cases.iter().flat_map(|c| params.iter().map(move |p| sample(c, p))).collect()
}

fn run(name: &str, stop: &AtomicBool) -> Result<Vec<Vec<Sample>>, launch::Interrupted> {
    let step = lab().steps.iter().find(|s| s.name == name).expect("the step exists");
    let plan =
        Plan { launches: 2, patience: Duration::from_secs(1), ..Plan::new(Mode::Smoke, allowed_cpus()) };
    launch::run(lab(), step, &plan, stop, &mut |_| {})
}

fn main() -> ExitCode {
    if let Some(code) = launch::child(&[lab()]) {
        return code;
    }
    let go = AtomicBool::new(false);
    let distinct = |launch: &[Sample]| {
        let mut pids: Vec<u64> = launch.iter().map(|s| s.values["x_count"].to_bits()).collect();
        pids.sort_unstable();
        pids.dedup();
        pids.len()
    };

    let well = run("well", &go).expect("not interrupted");
    assert_eq!(well.len(), 2, "a result for each launch");
    for (i, launch) in well.iter().enumerate() {
        assert_eq!(launch.len(), 4, "a sample for each case and parameter");
        assert_eq!(distinct(launch), 1, "together means one process");
        assert!(
            launch.iter().all(|s| s.values["launch_count"].to_bits() == (i as f64).to_bits()),
            "the child knows which launch it is"
        );
    }
    let apart = run("apart", &go).expect("not interrupted");
    assert!(apart.iter().all(|l| distinct(l) == 4), "isolated means a process for each case and parameter");

    for (name, word) in [("panics", "on purpose"), ("silent", "measured nothing"), ("killed", "signal")] {
        let launches = run(name, &go).expect("not interrupted");
        for sample in launches.iter().flatten() {
            let why = sample.unmeasured.as_deref().unwrap_or_else(|| panic!("{name} must not give a value"));
            assert!(why.contains(word), "{name}: '{why}' does not say '{word}'");
        }
        assert!(launches.iter().all(|l| l.len() == 4), "{name}: every row is accounted for");
    }

    let recorded = run("recorded", &go).expect("not interrupted");
    assert_eq!(recorded.iter().map(Vec::len).collect::<Vec<_>>(), [4], "every row is accounted for, once");
    assert!(
        recorded[0].iter().all(|s| s.unmeasured.as_deref().is_some_and(|why| why.contains("make it so")))
    );

    let hung = run("sleeps", &go).expect("not interrupted");
    for sample in hung.iter().flatten() {
        assert!(sample.unmeasured.as_deref().is_some_and(|why| why.starts_with("hung")), "{sample:?}");
    }

    let stop = AtomicBool::new(false);
    thread::scope(|s| {
        s.spawn(|| {
            thread::sleep(Duration::from_millis(300));
            stop.store(true, Relaxed);
        });
        let t = Instant::now();
        assert!(run("sleeps", &stop).is_err(), "an interrupt ends the run");
        assert!(t.elapsed() < Duration::from_secs(60), "and does not wait for the child");
    });
    println!("test result: ok. 8 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
    ExitCode::SUCCESS
}

//! Every lab runs from end to end in a moment, stepped or not, with and without a terminal; and nothing of it is quotable.
use std::{
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    thread,
};

use underhood::lab::Lab;

use crate::all::labs;

/// The binary of a lab stands beside the program.
fn lab(stem: &str) -> Command {
    let mut path = PathBuf::from(env!("CARGO_BIN_EXE_underhood"));
    path.set_file_name(format!("{stem}{}", std::env::consts::EXE_SUFFIX));
    Command::new(path)
}

fn run(mut command: Command) -> (Output, String, String) {
    let out = command.stdin(Stdio::null()).output().expect("the program starts");
    let (text, words) = (
        String::from_utf8_lossy(&out.stdout).into_owned(),
        String::from_utf8_lossy(&out.stderr).into_owned(),
    );
    (out, text, words)
}

/// Calls it with each lab, three at a time: a smoke run mostly waits for children that sleep.
fn some_at_once(check: impl Fn(&Lab) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| {
                while let Some(lab) = labs().get(next.fetch_add(1, Relaxed)) {
                    check(lab);
                }
            });
        }
    });
}

#[test]
fn every_lab_runs_and_says_that_a_smoke_run_is_no_measurement() {
    let store = tempfile::tempdir().unwrap();
    some_at_once(|l| {
        let mut command = lab(l.stem);
        command.args(["--smoke", "--step", "--anyway", "--store"]).arg(store.path());
        let (out, text, words) = run(command);
        // 4 where other work leaves a smoke run no window of its own.
        let code = out.status.code();
        assert!(matches!(code, Some(3 | 4)), "{}: a smoke run is never quotable\n{text}\n{words}", l.stem);
        assert!(text.contains(l.question), "{}: {text}", l.stem);
        for step in &l.steps {
            assert!(
                text.contains(&format!("{} / {}", l.stem, step.name)),
                "{}: step {} is missing\n{text}",
                l.stem,
                step.name
            );
            for claim in &step.claims {
                // Wrapped text: the first words are enough to find it.
                let start: String = claim.text.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
                assert!(
                    text.contains(&start),
                    "{}: the claim '{}' got no verdict\n{text}",
                    l.stem,
                    claim.text
                );
            }
        }
        assert!(
            !text.contains('\x1b') && !words.contains('\x1b'),
            "{}: no escape byte without a terminal",
            l.stem
        );
    });
}

#[test]
fn every_lab_gives_a_record_for_each_row() {
    let store = tempfile::tempdir().unwrap();
    some_at_once(|l| {
        let mut command = lab(l.stem);
        command.args(["--smoke", "--json", "--anyway", "--store"]).arg(store.path());
        let (_, text, words) = run(command);
        let lines: Vec<serde_json::Value> =
            text.lines().map(|l| serde_json::from_str(l).expect("every line is JSON")).collect();
        for step in &l.steps {
            for (case, param) in step.cells() {
                let row =
                    lines.iter().find(|v| v["step"] == step.name && v["case"] == case && v["param"] == param);
                let row = row.unwrap_or_else(|| {
                    panic!("{}: no record of {} {case} {param}\n{words}", l.stem, step.name)
                });
                assert_eq!(row["quotable"], false, "{}: a smoke run is never quotable", l.stem);
                let launches = row["launches"].as_array().expect("raw launches are kept");
                for launch in launches {
                    let values = launch["values"].as_object().expect("values");
                    assert!(
                        !values.is_empty() || launch["unmeasured"].is_string(),
                        "{}: {} {case} {param} has neither a value nor a reason",
                        l.stem,
                        step.name
                    );
                }
            }
        }
    });
}

//! Stepping through labs from outside, with a terminal and without one; predictions, knobs, resuming.
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use crate::all::labs;
use serde_json::Value;

fn underhood(store: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_underhood"))
        .args(words)
        .arg("--store")
        .arg(store)
        .env_remove("UNDERHOOD_STORE")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

#[test]
fn without_a_terminal_every_page_is_printed_and_a_guess_comes_as_a_flag() {
    let store = tempfile::tempdir().unwrap();
    let words = [
        "run",
        "flow_rate_limit",
        "--step",
        "--smoke",
        "--anyway",
        "--only",
        "truth",
        "--guess",
        "truth=150..250: a full bucket and a second of refill",
    ];
    let (code, out, err) = underhood(store.path(), &words);
    assert!(matches!(code, Some(3 | 4)), "{out}{err}");
    assert_eq!(err.matches("no terminal: measuring without questions").count(), 1, "{err}");
    for part in [
        "flow_rate_limit / truth",
        "expected:",
        "You said 150 to 250, it was",
        "Your reason was: a full bucket",
        "Why: ",
        "Open: labs/flow_rate_limit.rs:",
        "Turn one knob: cargo run",
        "They will ask next",
        "underhood next",
    ] {
        assert!(out.contains(part), "{part:?} is not in\n{out}");
    }
    let kept =
        fs::read_to_string(store.path().join("your-predictions.jsonl")).expect("the prediction is kept");
    let kept: Value = serde_json::from_str(kept.trim()).expect("one line");
    assert_eq!(kept["guess"]["range"][1], 250.0);
    assert_eq!(kept["why"], "a full bucket and a second of refill");
    let records = fs::read_to_string(store.path().join("flow_rate_limit.jsonl")).unwrap();
    assert!(records.contains(kept["run"].as_str().unwrap()), "it names the run that was measured after it");
    // The file of predictions is no lab's.
    let (_, _, err) = underhood(store.path(), &["show", "flow_rate_limit"]);
    assert!(!err.contains("skipped"), "{err}");
}

#[test]
fn plain_pages_are_sentences() {
    let store = tempfile::tempdir().unwrap();
    let words = [
        "run",
        "flow_rate_limit",
        "--step",
        "--smoke",
        "--anyway",
        "--plain",
        "--only",
        "truth",
        "--guess",
        "truth=1",
    ];
    let (_, out, _) = underhood(store.path(), &words);
    assert!(!out.contains('|') && !out.contains("---"), "neither picture nor table: {out}");
    for part in ["You said 1", "Why: ", "Turn one knob: "] {
        assert!(out.contains(part), "{part:?} is not in\n{out}");
    }
}

#[test]
fn a_guess_that_is_not_understood_costs_no_measurement() {
    let store = tempfile::tempdir().unwrap();
    for (guess, hint) in [("truth=many", "range"), ("gone=5", "truth"), ("5", "truth")] {
        let (code, _, err) = underhood(
            store.path(),
            &["run", "flow_rate_limit", "--smoke", "--only", "truth", "--guess", guess],
        );
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains(hint), "{guess}: {err}");
    }
    assert!(!store.path().join("flow_rate_limit.jsonl").exists());
}

#[test]
fn next_goes_on_where_the_reader_left() {
    let store = tempfile::tempdir().unwrap();
    let first = &labs()[0];
    let (_, out, _) = underhood(store.path(), &["list"]);
    assert!(out.contains("not run yet"), "{out}");
    underhood(store.path(), &["run", first.stem, "--smoke", "--anyway", "--only", first.steps[0].name]);
    let next = ["next", "--smoke", "--anyway"];
    let (_, out, err) = underhood(store.path(), &next);
    assert!(!out.contains(&format!("{} / {}", first.stem, first.steps[0].name)), "done already: {out}{err}");
    for step in &first.steps[1..] {
        assert!(out.contains(&format!("{} / {}", first.stem, step.name)), "{out}{err}");
    }
    let (_, out, _) = underhood(store.path(), &next);
    assert!(out.contains(labs()[1].question) && !out.contains(first.question), "the next lab: {out}");
    // A smoke run shows nothing, and `list` says so.
    let (_, out, _) = underhood(store.path(), &["list"]);
    assert!(out.contains(&format!("begun: 0 of {} steps", first.steps.len())), "{out}");
    assert!(out.contains("not shown here: "), "{out}");
    let (_, out, _) = underhood(store.path(), &["list", "--json"]);
    let state: Value = serde_json::from_str(out.lines().next().unwrap()).unwrap();
    assert!(state["state"]["not_shown_count"].as_u64().unwrap() > 0, "{state}");
    assert_eq!(underhood(store.path(), &["next", "--only", "x"]).0, Some(2));
}

#[cfg(unix)]
mod at_a_terminal {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::Relaxed},
        thread,
    };

    use underhood::{
        lab::{Lab, Launch, Step},
        record::Store,
    };

    use super::*;
    use crate::terminal::{asks_for_a_guess, at_terminal, flat, terminal};

    #[test]
    fn every_lab_steps_at_a_terminal() {
        let store = tempfile::tempdir().unwrap();
        // A smoke run mostly waits for children that sleep, so a few terminals at once take no longer than one.
        let next = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    while let Some(lab) = labs().get(next.fetch_add(1, Relaxed)) {
                        steps_at_a_terminal(lab, store.path());
                    }
                });
            }
        });
        let (kept, unreadable) = Store::open(store.path()).predictions().expect("predictions are kept");
        assert_eq!(unreadable, 0);
        let lost = |lab: &Lab, step: &str| !kept.iter().any(|p| p.lab == lab.stem && p.step == step);
        // A prediction of what another command records is kept once there is a record to hold it against.
        let here = |s: &&Step| !matches!(s.launch, Launch::Recorded(_));
        let all = labs().iter().flat_map(|lab| lab.steps.iter().filter(here).map(move |s| (lab, s.name)));
        let lost: Vec<String> = all
            .filter(|(lab, step)| lost(lab, step))
            .map(|(lab, step)| format!("{}/{step}", lab.stem))
            .collect();
        assert!(lost.is_empty() || terminal().is_none(), "predictions were lost: {lost:?}");
    }

    fn steps_at_a_terminal(lab: &Lab, store: &Path) {
        let words = ["run", lab.stem, "--step", "--smoke", "--anyway"];
        // `1` is the first case of a choice, and a number as good as any.
        let answer = |prompt: &str| if asks_for_a_guess(prompt) { "1".into() } else { String::new() };
        let Some((code, out)) = at_terminal(store, &words, answer) else { return };
        // 4 where other work leaves a smoke run no window of its own.
        assert!(matches!(code, Some(3 | 4)), "{}: exit {code:?}: {out}", lab.stem);
        let out = flat(&out);
        let count = |part: &str| out.matches(part).count();
        for part in ["Your prediction for ", "And why?", "Why: ", "Open: ", "a knob to turn"] {
            assert_eq!(count(part), lab.steps.len(), "{}: {part}\n{out}", lab.stem);
        }
        let revealed = count("You said ") + count("There is no number to hold");
        assert_eq!(revealed, lab.steps.len(), "{}: {out}", lab.stem);
        assert!(out.contains("They will ask next"), "{}: {out}", lab.stem);
    }

    #[test]
    fn a_knob_is_turned_and_q_ends_it() {
        let store = tempfile::tempdir().unwrap();
        let turns = std::cell::Cell::new(0);
        let answer = |prompt: &str| {
            if asks_for_a_guess(prompt) {
                return String::new();
            }
            turns.set(turns.get() + 1);
            match turns.get() {
                1 => "threads 3".into(),
                2 => "volume 11".to_string(),
                _ => "q".into(),
            }
        };
        let words = ["run", "lock_rwlock", "--step", "--smoke", "--anyway", "--only", "readers,mix"];
        let Some((_, out)) = at_terminal(store.path(), &words, answer) else { return };
        let out = flat(&out);
        assert!(out.contains(": 3 threads"), "{out}");
        assert!(out.contains("the knobs: threads N"), "{out}");
        assert!(!out.contains("lock_rwlock / mix"), "q ends it: {out}");
        assert!(!store.path().join("your-predictions.jsonl").exists(), "a skipped prediction is none");
    }
}

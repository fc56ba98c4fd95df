//! Stepping through labs from outside, with a terminal and without one; predictions, knobs, resuming.
#[path = "../labs/all.rs"]
mod all;

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use all::LABS;
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
    let first = LABS[0];
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
    assert!(out.contains(LABS[1].question) && !out.contains(first.question), "the next lab: {out}");
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
mod terminal {
    use std::{
        fs::File,
        io::{Read, Write},
        os::fd::{FromRawFd, OwnedFd},
        sync::{
            atomic::{AtomicUsize, Ordering::Relaxed},
            mpsc,
        },
        thread,
        time::{Duration, Instant},
    };

    use underhood::{lab::Lab, record::Store};

    use super::*;

    /// Two ends of a terminal; `None` where the system gives none.
    fn terminal() -> Option<(File, OwnedFd)> {
        let (mut ours, mut theirs) = (0, 0);
        let none = std::ptr::null_mut();
        // SAFETY: both ends are valid places for a descriptor; name, settings and size may be null.
        let rc = unsafe { libc::openpty(&raw mut ours, &raw mut theirs, none, none.cast(), none.cast()) };
        if rc != 0 {
            return None;
        }
        // Else every program started meanwhile would inherit both ends and keep the terminal open after ours has ended.
        for end in [ours, theirs] {
            // SAFETY: sets a flag of a descriptor that was just opened; touches no memory.
            unsafe { libc::fcntl(end, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        // SAFETY: openpty succeeded, so this is an open descriptor that nobody else owns.
        let ours = unsafe { File::from_raw_fd(ours) };
        // SAFETY: as above.
        let theirs = unsafe { OwnedFd::from_raw_fd(theirs) };
        Some((ours, theirs))
    }

    #[allow(clippy::print_stderr, reason = "a skipped test says so")]
    /// Runs the program at a terminal and answers every prompt (`> ` alone on the last line); what was shown, and the exit code.
    /// `answer` gets what was shown since the last prompt.
    fn at_terminal(
        store: &Path,
        words: &[&str],
        answer: impl Fn(&str) -> String,
    ) -> Option<(Option<i32>, String)> {
        let Some((mut ours, theirs)) = terminal() else {
            eprintln!("this system has no pseudo-terminal to test with; skipped");
            return None;
        };
        let end = || Stdio::from(theirs.try_clone().expect("a descriptor is left"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_underhood"))
            .args(words)
            .arg("--store")
            .arg(store)
            .env_remove("UNDERHOOD_STORE")
            .env("COLUMNS", "100")
            .env("NO_COLOR", "1")
            .stdin(end())
            .stdout(end())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        drop(theirs);
        let (tell, told) = mpsc::channel();
        let mut reader = ours.try_clone().expect("a descriptor is left");
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            // The end of a terminal is an error on Linux, a zero elsewhere.
            while let Ok(n @ 1..) = reader.read(&mut bytes) {
                if tell.send(bytes[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let (mut shown, mut answered, mut ended) = (Vec::new(), 0, false);
        let until = Instant::now() + Duration::from_secs(240);
        let code = loop {
            match told.recv_timeout(Duration::from_millis(50)) {
                Ok(bytes) => shown.extend(bytes),
                Err(mpsc::RecvTimeoutError::Disconnected) => break child.wait().expect("it ends").code(),
                // Not the end of the terminal alone: a program that another test starts in the moment before the flag is set holds
                // it open. Silence counts only after the program's end, since its last page may still be on its way.
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    match (ended, child.try_wait().expect("it is ours")) {
                        (true, Some(status)) => break status.code(),
                        (_, status) => ended = status.is_some(),
                    }
                }
            }
            let text = String::from_utf8_lossy(&shown[answered..]).into_owned();
            if text.ends_with("\n> ") {
                answered = shown.len();
                ours.write_all(format!("{}\n", answer(&text)).as_bytes()).expect("somebody reads");
            }
            if Instant::now() > until {
                child.kill().expect("it can be ended");
                panic!("it hangs after\n{}", String::from_utf8_lossy(&shown));
            }
        };
        Some((code, String::from_utf8_lossy(&shown).into_owned()))
    }

    fn asks_for_a_guess(shown: &str) -> bool {
        shown.contains("Your prediction for ")
    }

    /// Without the line breaks, which fall anywhere.
    fn flat(text: &str) -> String {
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn every_lab_steps_at_a_terminal() {
        let store = tempfile::tempdir().unwrap();
        // A smoke run mostly waits for children that sleep, so a few terminals at once take no longer than one.
        let next = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..4 {
                s.spawn(|| {
                    while let Some(lab) = LABS.get(next.fetch_add(1, Relaxed)) {
                        steps_at_a_terminal(lab, store.path());
                    }
                });
            }
        });
        let (kept, _) = Store::open(store.path()).predictions().expect("predictions are kept");
        if terminal().is_some() {
            assert_eq!(kept.len(), LABS.iter().map(|l| l.steps.len()).sum::<usize>());
        }
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

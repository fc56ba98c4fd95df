//! What signals do: outside of a measurement the first one ends the program, one that was ignored stays so, none is swallowed.
use std::{
    fs::File,
    io::{Read, Write},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::terminal::{heeding, ignoring, in_a_session_of_its_own, send, terminal};

static SIGNALS: [i32; 3] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP];

fn underhood(store: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_underhood"));
    command.args(words).arg("--store").arg(store).env_remove("UNDERHOOD_STORE");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    heeding(&mut command, &SIGNALS);
    command
}

/// Reads until this was said; what was said so far.
fn until(from: &mut impl Read, said: &str) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !String::from_utf8_lossy(&text).contains(said) && from.read(&mut byte).is_ok_and(|n| n > 0) {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Waits for the end; how long it took.
fn end(child: &mut Child) -> (Option<i32>, Option<i32>, Duration) {
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(1));
    }
    let status = child.wait().unwrap();
    (status.code(), status.signal(), began.elapsed())
}

#[test]
fn the_first_signal_ends_the_examination_of_the_machine() {
    let store = tempfile::tempdir().unwrap();
    for (signal, words) in
        SIGNALS.iter().zip([&["check"][..], &["run", "lock_rwlock", "--anyway"], &["tour"]])
    {
        let mut child = underhood(store.path(), words).spawn().unwrap();
        let mut err = child.stderr.take().unwrap();
        let mut said = until(&mut err, "examining");
        send(&child, *signal);
        let (code, _, _) = end(&mut child);
        err.read_to_string(&mut said).unwrap();
        assert_eq!(code, Some(130), "{words:?}: {said}");
        assert!(said.contains("interrupted; nothing of it is stored"), "{words:?} speaks of records: {said}");
        assert!(!said.contains("ping-pong"), "{words:?}: the examination went on to its end: {said}");
    }
}

#[test]
fn a_signal_that_was_ignored_stays_ignored() {
    let store = tempfile::tempdir().unwrap();
    for signal in SIGNALS {
        let mut command =
            underhood(store.path(), &["run", "lock_rwlock", "--smoke", "--anyway", "--only", "alone"]);
        ignoring(&mut command, signal);
        let mut child = command.spawn().unwrap();
        let mut err = child.stderr.take().unwrap();
        let mut said = until(&mut err, "measuring");
        for _ in 0..3 {
            send(&child, signal);
            thread::sleep(Duration::from_millis(20));
        }
        let (code, by, _) = end(&mut child);
        err.read_to_string(&mut said).unwrap();
        assert_eq!((code, by), (Some(3), None), "signal {signal}: {said}");
        assert!(!said.contains("interrupted"), "signal {signal}: {said}");
    }
    // And nothing else is: the others still end it.
    let mut command = underhood(store.path(), &["check"]);
    ignoring(&mut command, libc::SIGHUP);
    let mut child = command.spawn().unwrap();
    until(child.stderr.as_mut().unwrap(), "examining");
    send(&child, libc::SIGTERM);
    assert_eq!(end(&mut child).0, Some(130));
}

/// Starts the quiz at a terminal and reads up to its first prompt.
fn at_a_prompt(store: &Path) -> Option<(Child, File)> {
    let (mut ours, theirs) = terminal()?;
    let mut command = underhood(store, &["quiz", "--seed", "1"]);
    let end = || Stdio::from(theirs.try_clone().unwrap());
    command.stdin(end()).stdout(end()).stderr(Stdio::null()).env("NO_COLOR", "1");
    in_a_session_of_its_own(&mut command);
    let child = command.spawn().unwrap();
    drop(command);
    drop(theirs);
    assert!(until(&mut ours, "\n> ").ends_with("\n> "), "it asks");
    Some((child, ours))
}

#[test]
fn ctrl_c_right_after_a_prompt_is_not_swallowed() {
    let store = tempfile::tempdir().unwrap();
    for round in 0..40 {
        let Some((mut child, mut ours)) = at_a_prompt(store.path()) else { return };
        // As the key does it: through the terminal.
        ours.write_all(&[3]).unwrap();
        assert_eq!(end(&mut child).0, Some(130), "round {round}");
    }
}

#[test]
fn an_answer_that_is_not_utf8_is_one_that_is_not_understood() {
    let store = tempfile::tempdir().unwrap();
    let Some((mut child, mut ours)) = at_a_prompt(store.path()) else { return };
    ours.write_all(b"caf\xe9\n").unwrap();
    assert!(until(&mut ours, "\n> ").contains("2 of "), "it goes on to the next question");
    ours.write_all(b"q\n").unwrap();
    let reader = thread::spawn(move || drop(std::io::copy(&mut ours, &mut std::io::sink())));
    assert_eq!(end(&mut child).0, Some(0));
    reader.join().unwrap();
}

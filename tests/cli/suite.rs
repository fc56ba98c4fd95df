//! `underhood litmus` from outside: one file, a folder, stated verdicts, what cannot be read, Ctrl-C.
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

fn litmus(words: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(words).output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

fn command(words: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_underhood"));
    c.current_dir(env!("CARGO_MANIFEST_DIR")).arg("litmus").args(words).stdin(Stdio::null());
    c
}

const SB: &str = "tests/litmus/sb_acq_rel.litmus";

#[test]
fn one_file_shows_each_outcome_beside_the_models() {
    let (code, out, err) = litmus(&[SB, "--time", "50ms"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let row = out.lines().find(|l| l.starts_with("0:r0=0 1:r0=0")).unwrap_or_else(|| panic!("{out}"));
    assert!(row.contains("allowed  allowed  allowed  forbidden") && row.ends_with("<- in question"), "{out}");
    assert!(out.contains("The stated verdict: agrees."), "{out}");
    let (code, out, _) = litmus(&[SB, "--time", "0s"]);
    assert_eq!(code, Some(0));
    assert!(out.contains("not run"), "no time, no run: {out}");
}

#[test]
fn a_folder_is_a_row_for_each_test_and_a_summary() {
    let (code, out, err) = litmus(&["tests/litmus", "--time", "2ms"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/litmus"))
        .expect("it is there")
        .count();
    assert!(out.contains(&format!("{files} of {files} files read")), "{out}");
    assert!(out.lines().any(|l| l.starts_with("lb_relaxed ") && l.contains("forbidden *")), "{out}");
    assert!(!out.contains("DISAGREES") && !out.contains("ALARM"), "{out}");
    let (code, out, _) = litmus(&["tests/litmus", "--time", "0s", "--json"]);
    assert_eq!(code, Some(0));
    let lines: Vec<serde_json::Value> =
        out.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect();
    assert_eq!(lines.len(), files + 1, "one value for each test, and the summary");
    assert_eq!(lines[files]["summary"]["read"], files);
}

#[test]
fn a_list_of_verdicts_is_held_against_the_checker() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("list.csv");
    let given = list.to_str().unwrap();
    fs::write(&list, "litmus/sb_acq_rel.litmus,1\nlitmus/sb_seq_cst.litmus,1\n").unwrap();
    let (code, out, _) = litmus(&["tests/litmus", "--time", "0s", "--verdicts", given]);
    assert_eq!(code, Some(0), "another model's list is no failure: {out}");
    let wrong: Vec<&str> = out.lines().filter(|l| l.contains("DISAGREES")).collect();
    assert!(wrong.len() == 1 && wrong[0].starts_with("sb_seq_cst"), "{out}");
    fs::write(&list, "litmus/sb_acq_rel.litmus\n").unwrap();
    let (code, _, err) = litmus(&["tests/litmus", "--time", "0s", "--verdicts", given]);
    assert!(code == Some(1) && err.contains("line 1: no row"), "{err}");
}

/// One thread reads the 0 that is there, and the file states that the kernel's model never allows it.
#[test]
fn what_is_forbidden_and_seen_is_an_alarm() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lie.litmus");
    let text =
        "C lie\n(* Result: Never *)\n{}\nP0(int *x) {\n  int r0 = READ_ONCE(*x);\n}\nexists (0:r0=0)\n";
    fs::write(&file, text).unwrap();
    for path in [file.to_str().unwrap(), dir.path().to_str().unwrap()] {
        let (code, out, _) = litmus(&[path, "--time", "2ms"]);
        assert_eq!(code, Some(1), "{out}");
        assert!(out.contains("0:r0=0 was seen, and the kernel's model forbids it"), "{out}");
        assert!(out.contains("DISAGREES"), "x86 allows it: {out}");
    }
    let (code, out, _) = litmus(&[file.to_str().unwrap(), "--time", "0s"]);
    assert_eq!(code, Some(0), "what was not seen is no alarm: {out}");
}

#[test]
fn what_cannot_be_read_is_named_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.litmus");
    let given = bad.to_str().unwrap();
    fs::write(&bad, "C bad\n{}\nP0(int *x) {\n  while (1) {}\n}\nexists (x=1)\n").unwrap();
    let (code, _, err) = litmus(&[given]);
    assert!(code == Some(1) && err.contains("bad.litmus:4: 'while' is not read"), "{err}");
    let (code, out, err) = litmus(&[SB, dir.path().to_str().unwrap(), "--time", "0s"]);
    assert!(code == Some(0) && err.contains("bad.litmus:4"), "in a folder it is only named: {out}{err}");
    assert!(out.contains("1 of 2 files read"), "{out}");
    fs::write(&bad, vec![b'('; 1 << 20]).unwrap();
    let (code, _, err) = litmus(&[given]);
    assert!(code == Some(1) && err.contains("longer than"), "{err}");
    fs::remove_file(&bad).unwrap();
    let (code, _, err) = litmus(&[given]);
    assert!(code == Some(1) && err.contains("cannot read"), "{err}");
    let (code, _, err) = litmus(&[dir.path().to_str().unwrap()]);
    assert!(code == Some(1) && err.contains("no .litmus file in"), "{err}");
}

#[cfg(unix)]
#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_long_run() {
    use crate::terminal::{heeding, send, until_it_listens};

    let mut command = command(&[SB, "--time", "10min"]);
    heeding(&mut command, &[libc::SIGINT]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until_it_listens(&child);
    send(&child, libc::SIGINT);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

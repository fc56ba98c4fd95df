//! What a package needs: the program alone in a folder, its version, completions, manual page.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::all::labs;

fn text(out: &Output) -> String {
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn underhood(words: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_underhood")).args(words).output().expect("the program starts");
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    text(&out)
}

/// `cargo install` leaves one file, and the repository may be gone.
#[test]
fn the_program_alone_runs_labs_and_keeps_records_in_the_data_folder() {
    let home = tempfile::tempdir().unwrap();
    let home_path = fs::canonicalize(home.path()).unwrap();
    let program = home_path.join(format!("anything{}", std::env::consts::EXE_SUFFIX));
    fs::copy(env!("CARGO_BIN_EXE_underhood"), &program).unwrap();
    let out = Command::new(&program)
        .args(["run", "flow_rate_limit", "--smoke", "--anyway", "--only", "truth"])
        .current_dir(&home_path)
        .env_clear()
        .env("HOME", &home_path)
        .env("LOCALAPPDATA", &home_path)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    assert_eq!(out.status.code(), Some(3), "{}{}", text(&out), String::from_utf8_lossy(&out.stderr));
    let below = if cfg!(windows) { "underhood" } else { ".local/share/underhood" };
    let records =
        fs::read_to_string(home_path.join(below).join("flow_rate_limit.jsonl")).expect("records are kept");
    let measured = |l: &str| {
        let v: serde_json::Value = serde_json::from_str(l).expect("a record");
        !v["launches"][0]["values"].as_object().expect("values").is_empty()
    };
    assert!(records.lines().count() > 1 && records.lines().all(measured), "its children measured: {records}");
}

#[test]
fn a_shell_completes_commands_and_labs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = underhood(&["completions", shell]);
        assert!(script.contains("underhood"), "{shell}");
        for word in ["quiz", "compare", "export"] {
            assert!(script.contains(word), "{shell} completes {word}");
        }
        // The other scripts complete no values of arguments.
        if ["bash", "zsh"].contains(&shell) {
            assert!(labs().iter().all(|l| script.contains(l.stem)), "{shell} completes the labs");
        }
    }
}

#[test]
fn the_manual_page_names_every_command() {
    let page = underhood(&["man"]);
    assert!(
        page.starts_with(".ie") || page.starts_with(".TH") || page.contains("\n.TH "),
        "{}",
        &page[..200]
    );
    for word in [
        "tour", "check", "list", "next", "run", "show", "quote", "verify", "quiz", "compare", "export",
        "report", "notes",
    ] {
        assert!(page.contains(&format!("underhood\\-{word}(1)")), "{word} is missing");
    }
    assert!(page.contains("Exit codes"), "and what it returns");
}

/// The revision is not in it: that is looked up when a record is written.
#[test]
fn the_version_names_the_code_that_was_built() {
    let version = underhood(&["--version"]);
    let code = version.trim_end().strip_prefix(concat!("underhood ", env!("CARGO_PKG_VERSION"), " (code "));
    let code = code.and_then(|rest| rest.strip_suffix(')')).unwrap_or_else(|| panic!("{version}"));
    assert!(code.len() == 12 && code.bytes().all(|b| b.is_ascii_hexdigit()), "{version}");
    assert_eq!(version.lines().count(), 1, "{version}");
}

#[test]
fn a_new_lab_is_written_once_and_in_its_place() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("labs")).unwrap();
    for file in ["Cargo.toml", "NOTES.md", "labs/all.rs"] {
        fs::copy(root.join(file), dir.path().join(file)).unwrap();
    }
    let new_lab = |name: &str, dir: &Path| {
        let out =
            Command::new(env!("CARGO_BIN_EXE_underhood")).args(["new-lab", name, "--dir"]).arg(dir).output();
        let out = out.expect("it starts");
        (out.status.code(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    for name in ["../x", "Lock", "lock", "lock_", "lock__x", "lock_mutex", ""] {
        let (code, err) = new_lab(name, dir.path());
        assert_eq!(code, Some(2), "{name}: {err}");
    }
    assert_eq!(new_lab("lock_price", dir.path()), (Some(0), String::new()));
    let read = |file: &str| fs::read_to_string(dir.path().join(file)).unwrap();
    assert!(read("labs/lock_price.rs").lines().count() <= 60);
    assert!(read("Cargo.toml").contains("name = \"lock_price\", path = \"labs/lock_price.rs\""));
    assert!(read("NOTES.md").contains("<!-- underhood:begin lock_price -->"));
    let all = read("labs/all.rs");
    let place = |what: &str| all.find(what).unwrap_or_else(|| panic!("{what} is missing"));
    assert!(
        place("mod lock_mutex;") < place("mod lock_price;")
            && place("mod lock_price;") < place("mod lock_readers;")
    );
    assert!(place("collections_worst::lab()") < place("lock_price::lab()"));
    assert_eq!(new_lab("lock_price", dir.path()).0, Some(2), "there is one already");
    let elsewhere = tempfile::tempdir().unwrap();
    let (code, err) = new_lab("lock_price", elsewhere.path());
    assert!(code == Some(1) && err.contains("run this in the folder"), "{err}");
}

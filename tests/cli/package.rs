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

/// The build script, built and run in a folder.
fn source(script: &Path, dir: &Path, path: Option<&str>) -> String {
    let mut command = Command::new(script);
    command.current_dir(dir).env_clear().env("RUSTC", "rustc").env("GIT_CEILING_DIRECTORIES", "");
    if let Some(path) = path.map(str::to_string).or_else(|| std::env::var("PATH").ok()) {
        command.env("PATH", path);
    }
    let out = text(&command.output().expect("it starts"));
    let line = out.lines().find_map(|l| l.strip_prefix("cargo:rustc-env=UNDERHOOD_SOURCE="));
    line.unwrap_or_else(|| panic!("no source in {out}")).to_string()
}

#[test]
fn the_version_names_the_revision_or_says_that_it_is_unknown() {
    let version = underhood(&["--version"]);
    assert!(
        version.starts_with(concat!("underhood ", env!("CARGO_PKG_VERSION"), " (revision ")),
        "{version}"
    );
    assert_eq!(version.lines().count(), 1, "{version}");
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join(format!("script{}", std::env::consts::EXE_SUFFIX));
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let built = Command::new(rustc)
        .args(["--edition", "2024", "-o"])
        .arg(&script)
        .arg(root.join("src/build.rs"))
        .output()
        .expect("rustc starts");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let unknown = "revision unknown, built outside of its repository";
    assert_eq!(source(&script, dir.path(), None), unknown, "no repository");
    assert_eq!(source(&script, &root, Some("")), unknown, "no git");
    // A folder inside of a repository is not that repository.
    let git = |dir: &Path, words: &[&str]| {
        let who =
            ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false"];
        Command::new("git").args(who).args(words).current_dir(dir).output().is_ok_and(|o| o.status.success())
    };
    let repository = dir.path().join("repository");
    let inner = repository.join("inner");
    fs::create_dir_all(inner.join("src")).unwrap();
    fs::write(repository.join("Cargo.toml"), "").unwrap();
    if !git(&repository, &["init", "-q"])
        || !git(&repository, &["add", "."])
        || !git(&repository, &["commit", "-qm", "x"])
    {
        return; // no git here: the case above was this one
    }
    assert_eq!(source(&script, &inner, None), unknown);
    let clean = source(&script, &repository, None);
    assert!(
        clean.starts_with("revision ") && !clean.contains("unknown") && !clean.contains("changes"),
        "{clean}"
    );
    fs::write(repository.join("Cargo.toml"), "changed").unwrap();
    assert_eq!(source(&script, &repository, None), format!("{clean} with changes"));
}

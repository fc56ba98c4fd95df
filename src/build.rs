//! Bakes into the binary what only the build knows: the compiler, the profile, and the state of the source it was built from.
use std::{env, fs, process::Command};

/// What decides the measured code. Notes and prose may change without making a build "dirty".
const CODE: [&str; 6] = ["src", "labs", "benches", "Cargo.toml", "Cargo.lock", ".cargo"];

fn run(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_string())
}

fn main() {
    let unknown = || "unknown".to_string();
    let rustc = env::var("RUSTC").ok().and_then(|r| run(&r, &["--version"])).unwrap_or_else(unknown);
    // The sources may lie inside of somebody else's repository, whose revision says nothing about them.
    let own = run("git", &["rev-parse", "--show-toplevel"])
        .and_then(|top| Some(fs::canonicalize(top).ok()? == fs::canonicalize(".").ok()?));
    let git = |args: &[&str]| run("git", args).filter(|_| own == Some(true));
    let rev = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(unknown);
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(CODE);
    let dirty = git(&status).map_or_else(unknown, |s| (!s.is_empty()).to_string());
    let source = match (rev.as_str(), dirty.as_str()) {
        ("unknown", _) => "revision unknown, built outside of its repository".to_string(),
        (rev, "false") => format!("revision {rev}"),
        (rev, _) => format!("revision {rev} with changes"),
    };
    let get = |k: &str| env::var(k).unwrap_or_else(|_| unknown());
    println!("cargo:rustc-env=UNDERHOOD_RUSTC={rustc}");
    println!("cargo:rustc-env=UNDERHOOD_REV={rev}");
    println!("cargo:rustc-env=UNDERHOOD_DIRTY={dirty}");
    println!("cargo:rustc-env=UNDERHOOD_SOURCE={source}");
    println!("cargo:rustc-env=UNDERHOOD_PROFILE={}", get("PROFILE"));
    println!("cargo:rustc-env=UNDERHOOD_OPT={}", get("OPT_LEVEL"));
    println!("cargo:rustc-env=UNDERHOOD_TARGET={}", get("TARGET"));
    println!(
        "cargo:rustc-env=UNDERHOOD_RUSTFLAGS={}",
        env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default().replace('\x1f', " ")
    );
    for path in CODE.iter().chain(&[".git/HEAD", ".git/refs", ".git/index"]) {
        if std::path::Path::new(path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
}

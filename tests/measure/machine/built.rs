//! What the build knows, and which revision is claimed for it: in a repository of the test's own.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use underhood::{
    lab::Origin,
    machine::built::{of_lab, version_of, versions},
};

const STEM: &str = "lock_mutex";
const TEXT: &str = include_str!("../../../labs/lock_mutex.rs");

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// True if git could do it.
fn git(dir: &Path, words: &[&str]) -> bool {
    let who = ["-c", "user.name=nobody", "-c", "user.email=nobody@localhost", "-c", "commit.gpgsign=false"];
    Command::new("git").args(who).args(words).current_dir(dir).output().is_ok_and(|o| o.status.success())
}

fn commit(dir: &Path) {
    assert!(git(dir, &["add", "-A"]) && git(dir, &["commit", "-qm", "x", "--allow-empty"]));
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    }
}

/// The sources as they were built, in a repository with one revision; `None` where there is no git.
fn repository() -> Option<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    for path in ["src", "Cargo.lock", "labs/lock_mutex.rs"] {
        copy(&root().join(path), &dir.path().join(path));
    }
    // What a user may have set for line ends would change the content.
    if !git(dir.path(), &["init", "-q"]) || !git(dir.path(), &["config", "core.autocrlf", "false"]) {
        return None;
    }
    commit(dir.path());
    Some(dir)
}

fn origin(dir: &Path) -> Origin {
    let manifest_dir = dir.to_str().unwrap().to_string().leak();
    Origin { manifest_dir, ..Origin::ours(TEXT) }
}

fn facts(dir: &Path) -> BTreeMap<String, String> {
    of_lab(&origin(dir), STEM)
}

fn claimed(dir: &Path) -> (String, String) {
    let facts = facts(dir);
    (facts["revision"].clone(), facts["dirty"].clone())
}

#[test]
fn a_revision_is_claimed_only_if_it_holds_what_was_built() {
    let Some(dir) = repository() else { return };
    let dir = dir.path();
    let (revision, dirty) = claimed(dir);
    assert!(revision.len() == 12 && revision.bytes().all(|b| b.is_ascii_hexdigit()), "{revision}");
    assert_eq!(dirty, "false");
    // What lies in the folder is not what was built; what is in the revision decides.
    for file in ["src/stats/mod.rs", "labs/lock_mutex.rs", "Cargo.lock"] {
        let path = dir.join(file);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{text}\n// more\n")).unwrap();
        assert_eq!(claimed(dir), (revision.clone(), "false".into()), "{file} is changed beside the revision");
        commit(dir);
        let (other, dirty) = claimed(dir);
        assert!(
            other != revision && dirty == "true",
            "{file} is another one in the revision: {other} {dirty}"
        );
        fs::write(&path, text).unwrap();
        commit(dir);
        assert_eq!(claimed(dir).1, "false", "{file} is as it was");
        assert!(git(dir, &["reset", "-q", "--hard", &revision]));
    }
    // A source more, a page of prose more.
    fs::write(dir.join("README.md"), "prose").unwrap();
    commit(dir);
    assert_eq!(claimed(dir).1, "false", "prose changes no code");
    fs::write(dir.join("src/stats/more.rs"), "").unwrap();
    commit(dir);
    assert_eq!(claimed(dir).1, "true");
}

#[test]
fn an_empty_commit_changes_only_the_revision() {
    let Some(dir) = repository() else { return };
    let mut before = facts(dir.path());
    commit(dir.path());
    let mut after = facts(dir.path());
    assert_ne!(before.remove("revision"), after.remove("revision"));
    assert_eq!(before, after);
    assert_eq!(after["code"].len(), 12);
    assert!(!after.contains_key("package"), "our own labs need not say whose they are");
}

#[test]
fn without_a_repository_of_its_own_the_revision_is_unknown() {
    let unknown = ("unknown".to_string(), "unknown".to_string());
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(claimed(dir.path()), unknown, "no repository");
    assert_eq!(claimed(&dir.path().join("gone")), unknown, "no folder");
    let Some(other) = repository() else { return };
    // A folder inside of a repository is not that repository.
    assert_eq!(claimed(&other.path().join("src")), unknown);
}

#[test]
fn the_lab_of_another_package_says_so_and_is_as_clean_as_its_repository() {
    let Some(dir) = repository() else { return };
    let dir = dir.path();
    let theirs = |text| Origin { package: "outside", version: "0.3.1", text, ..origin(dir) };
    let facts = of_lab(&theirs(TEXT), STEM);
    assert_eq!((facts["package"].as_str(), facts["dirty"].as_str()), ("outside 0.3.1", "false"));
    assert_ne!(facts["code"], self::facts(dir)["code"], "its version is in the key");
    assert_eq!(of_lab(&theirs("fn other() {}"), STEM)["dirty"], "true", "its file is another one");
    fs::write(dir.join("README.md"), "prose").unwrap();
    assert_eq!(of_lab(&theirs(TEXT), STEM)["dirty"], "true", "nobody knows what its code is made of");
}

#[test]
fn versions_are_read_from_a_lock_file() {
    let package =
        |name: &str, version: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\n");
    let lock: String = [
        ("clap", "4.6.1"),
        ("crossbeam-epoch", "0.9.18"),
        ("parking_lot", "0.12.5"),
        ("parking_lot", "0.13.0"),
    ]
    .map(|(name, version)| package(name, version))
    .concat();
    assert_eq!(versions(&lock), "crossbeam-epoch 0.9.18, parking_lot 0.12.5, parking_lot 0.13.0");
    assert_eq!(versions("name = \"tokio\"\nno version\n"), "");
    assert!(version_of("tokio").is_some_and(|v| v.starts_with(|c: char| c.is_ascii_digit())));
    assert_eq!(version_of("no-such-package"), None);
}

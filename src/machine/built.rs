//! What only the build knows, and which revision holds the same code. The build script bakes the first into the binary, so that a record
//! tells of the code that ran and not of the source tree that happens to lie beside it.
use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use super::code;
use crate::lab::Origin;

/// The crates that decide a number beside the contenders that the labs name: the clock, the histograms, the generators, and the parts of
/// those that are facades.
const PARTS: &[&str] = &[
    "criterion",
    "foldhash",
    "hdrhistogram",
    "libmimalloc-sys",
    "loom",
    "mmtk",
    #[cfg(feature = "snmalloc")]
    "snmalloc-sys",
    #[cfg(feature = "jemalloc")]
    "tikv-jemalloc-sys",
];

/// The contenders, as `Cargo.toml` names their packages. A test holds this against the manifest and against the labs' rosters.
pub const CONTENDERS: &[&str] = &[
    "arc-swap",
    "dashmap",
    "flume",
    "governor",
    "haphazard",
    "mimalloc",
    "papaya",
    "parking_lot",
    "rtrb",
    "scc",
    "seqlock",
    "spin",
    "tokio",
];

/// The lock file this binary was built by.
const LOCK: &str = include_str!("../../Cargo.lock");

/// The build-time facts of this binary.
pub fn facts() -> BTreeMap<String, String> {
    let or = |text: &str, empty: &str| {
        if text.trim().is_empty() { empty.to_string() } else { text.trim().to_string() }
    };
    [
        ("rustc", or(env!("UNDERHOOD_RUSTC"), "unknown")),
        ("profile", profile(env!("UNDERHOOD_PROFILE"), env!("UNDERHOOD_OPT"), cfg!(debug_assertions))),
        ("rustflags", or(env!("UNDERHOOD_RUSTFLAGS"), "none")),
        ("target", or(env!("UNDERHOOD_TARGET"), "unknown")),
        ("features", or(crate::lab::FEATURES.trim_start_matches(" --features"), "default")),
        ("versions", or(&versions(LOCK), "unknown")),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into()
}

/// Every module of the library that can change a number.
const MODULES: &[code::Module] = &include!(concat!(env!("OUT_DIR"), "/modules.rs"));

/// The facts that belong to one lab's code: `code`, the key of what decides its numbers; `revision` and `dirty`, looked up now.
/// A revision is claimed only if it holds the library's sources and the lab's file exactly as they were built.
pub fn of_lab(origin: &Origin, stem: &str) -> BTreeMap<String, String> {
    let versions = versions(LOCK);
    let build = [
        env!("UNDERHOOD_RUSTC"),
        env!("UNDERHOOD_RUSTFLAGS"),
        env!("UNDERHOOD_TARGET"),
        env!("UNDERHOOD_OPT"),
    ];
    let key = code::key(
        origin.text,
        MODULES,
        &format!("{} {versions} {} {}", build.join(" "), origin.package, origin.version),
    );
    let (revision, dirty) = match revision(origin, stem) {
        Some((revision, same)) => (revision, if same { "false" } else { "true" }),
        None => ("unknown".to_string(), "unknown"),
    };
    let mut facts: BTreeMap<String, String> =
        [("code", key), ("revision", revision), ("dirty", dirty.to_string())]
            .map(|(k, v)| (k.to_string(), v))
            .into();
    if origin.package != env!("CARGO_PKG_NAME") {
        facts.insert("package".into(), format!("{} {}", origin.package, origin.version));
    }
    facts
}

/// The newest revision of the package's own repository, and whether it holds the code that was built; `None` without one.
fn revision(origin: &Origin, stem: &str) -> Option<(String, bool)> {
    let dir = Path::new(origin.manifest_dir);
    // The sources may lie inside of somebody else's repository, whose revision says nothing about them.
    let top = git(dir, &["rev-parse", "--show-toplevel"])?;
    if std::fs::canonicalize(top.trim()).ok()? != std::fs::canonicalize(dir).ok()? {
        return None;
    }
    let head = git(dir, &["rev-parse", "--short=12", "HEAD"])?.trim().to_string();
    let ours = origin.package == env!("CARGO_PKG_NAME");
    let lab = ["labs", "src", "src/cli", "benches"].iter().find_map(|room| {
        let path = format!("{room}/{stem}.rs");
        contents(dir, &[path]).and_then(|mut found| found.pop())
    });
    // A lab that no revision holds was never committed.
    let mut same = lab.is_some_and(|text| text == origin.text.as_bytes());
    if !ours {
        same &= git(dir, &["status", "--porcelain"])?.is_empty();
    } else {
        let list = git(dir, &["ls-tree", "-r", "--name-only", "HEAD", "src"])?;
        let mut files: Vec<String> =
            list.lines().filter(|l| l.ends_with(".rs")).map(str::to_string).collect();
        files.sort();
        let mut all = Vec::new();
        for (file, text) in files.iter().zip(contents(dir, &files)?) {
            all.extend_from_slice(file.as_bytes());
            all.extend(text);
        }
        let lock = contents(dir, &["Cargo.lock".into()])?.pop()?;
        same &= format!("{:032x}", code::hash(&all)) == env!("UNDERHOOD_CODE") && lock == LOCK.as_bytes();
    }
    Some((head, same))
}

fn git(dir: &Path, args: &[&str]) -> Option<String> {
    let out = Command::new("git")
        .current_dir(dir)
        .args(args)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// What these files hold in the newest revision, in their order; `None` if one of them is not in it.
fn contents(dir: &Path, files: &[String]) -> Option<Vec<Vec<u8>>> {
    let mut child = Command::new("git")
        .current_dir(dir)
        .args(["cat-file", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut ask = child.stdin.take()?;
    let names: String = files.iter().map(|f| format!("HEAD:{f}\n")).collect();
    // On a thread of its own, since git answers while it is asked.
    let asking = std::thread::spawn(move || ask.write_all(names.as_bytes()));
    let out = child.wait_with_output().ok()?.stdout;
    let _ = asking.join();
    let mut rest = out.as_slice();
    let mut all = Vec::new();
    for _ in files {
        let line_end = rest.iter().position(|b| *b == b'\n')?;
        let size: usize = std::str::from_utf8(&rest[..line_end]).ok()?.rsplit(' ').next()?.parse().ok()?;
        all.push(rest.get(line_end + 1..line_end + 1 + size)?.to_vec());
        rest = rest.get(line_end + 2 + size..)?;
    }
    Some(all)
}

/// `release, opt-level 3`; with ` and debug assertions` where those are on, since they are measured too.
pub fn profile(profile: &str, opt_level: &str, debug_assertions: bool) -> String {
    let assertions = if debug_assertions { " and debug assertions" } else { "" };
    format!("{profile}, opt-level {opt_level}{assertions}")
}

/// `name version, name version, ...` of the contenders in a lock file, in its order. Reads simple lines and no TOML: cargo
/// writes the file, always in the same form, and a line that looks different only goes unmentioned.
pub fn versions(lock: &str) -> String {
    let kept = |(name, _): &(&str, &str)| {
        CONTENDERS.contains(name) || PARTS.contains(name) || name.starts_with("crossbeam")
    };
    let found: Vec<String> = packages(lock).filter(kept).map(|(n, v)| format!("{n} {v}")).collect();
    found.join(", ")
}

/// The version of a package that this binary may be built with; the first, if the lock file has several.
pub fn version_of(package: &str) -> Option<String> {
    packages(LOCK).find(|(name, _)| *name == package).map(|(_, version)| version.to_string())
}

/// Name and version of each package of a lock file.
fn packages(lock: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut name = None;
    lock.lines().filter_map(move |line| {
        if let Some(n) = quoted(line, "name") {
            name = Some(n);
            return None;
        }
        let version = quoted(line, "version")?;
        Some((name.take()?, version))
    })
}

fn quoted<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"')
}

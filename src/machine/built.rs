//! What only the build knows. The build script bakes it into the binary, so that a record tells of the code that ran and
//! not of the source tree that happens to lie beside it.
use std::collections::BTreeMap;

/// The crates whose code is measured or decides a number. `crossbeam` is a facade, so its parts count too.
const CONTENDERS: [&str; 13] = [
    "arc-swap",
    "criterion",
    "flume",
    "haphazard",
    "hdrhistogram",
    "libmimalloc-sys",
    "loom",
    "mimalloc",
    "mmtk",
    "parking_lot",
    "rtrb",
    "seqlock",
    "tokio",
];

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
        ("revision", or(env!("UNDERHOOD_REV"), "unknown")),
        ("dirty", or(env!("UNDERHOOD_DIRTY"), "unknown")),
        ("versions", or(&versions(include_str!("../../Cargo.lock")), "unknown")),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into()
}

/// `release, opt-level 3`; with ` and debug assertions` where those are on, since they are measured too.
pub fn profile(profile: &str, opt_level: &str, debug_assertions: bool) -> String {
    let assertions = if debug_assertions { " and debug assertions" } else { "" };
    format!("{profile}, opt-level {opt_level}{assertions}")
}

/// `name version, name version, ...` of the contenders in a lock file, in its order. Reads simple lines and no TOML: cargo
/// writes the file, always in the same form, and a line that looks different only goes unmentioned.
pub fn versions(lock: &str) -> String {
    let quoted = |line: &str, key: &str| {
        line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"').map(str::to_string)
    };
    let mut name = None;
    let mut found = Vec::new();
    for line in lock.lines() {
        if let Some(n) = quoted(line, "name") {
            name = Some(n);
        } else if let (Some(n), Some(version)) = (&name, quoted(line, "version")) {
            if CONTENDERS.contains(&n.as_str()) || n.starts_with("crossbeam") {
                found.push(format!("{n} {version}"));
            }
            name = None;
        }
    }
    found.join(", ")
}

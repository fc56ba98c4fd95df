//! What only the build knows. The build script bakes it into the binary, so that a record tells of the code that ran and
//! not of the source tree that happens to lie beside it.
use std::collections::BTreeMap;

/// The crates whose code is measured or decides a number. `crossbeam` is a facade, so its parts count too.
const CONTENDERS: &[&str] = &[
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
    #[cfg(feature = "snmalloc")]
    "snmalloc-sys",
    #[cfg(feature = "jemalloc")]
    "tikv-jemalloc-sys",
    "tokio",
];

/// The lock file this binary was built by.
const LOCK: &str = include_str!("../../Cargo.lock");

/// The cargo features that this binary has beyond the default ones, as the flag that gives them, with a space before; else empty.
pub const FEATURES: &str = match (cfg!(feature = "jemalloc"), cfg!(feature = "snmalloc")) {
    (true, true) => " --features allocators",
    (true, false) => " --features jemalloc",
    (false, true) => " --features snmalloc",
    (false, false) => "",
};

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
        ("features", or(FEATURES.trim_start_matches(" --features"), "default")),
        ("versions", or(&versions(LOCK), "unknown")),
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
    let kept = |(name, _): &(&str, &str)| CONTENDERS.contains(name) || name.starts_with("crossbeam");
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

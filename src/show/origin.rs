//! Where a number comes from, in one line each: machine, versions, grade, date. All of it escaped for a terminal.
use crate::words::{escape, number};
use crate::{
    lab::Kind,
    machine::{Grade, Level, Machine},
    record::Record,
};

/// CPU, CPUs allowed of those online, memory, hypervisor, kernel. What is unknown says so.
pub fn machine(machine: &Machine) -> String {
    let fact = |key: &str| machine.facts.get(key).map_or("unknown", |text| text.trim());
    let known = |key: &str| Some(fact(key)).filter(|text| !matches!(*text, "unknown" | "none" | ""));
    let allowed = fact("cpus_allowed").split_whitespace().next().unwrap_or("unknown");
    let mut parts = vec![
        known("cpu").unwrap_or("CPU unknown").to_string(),
        format!("{allowed} of {} CPUs", fact("cpus_online")),
    ];
    let memory = fact("memory_bytes").parse::<f64>().ok();
    parts.push(memory.map_or("memory unknown".into(), |bytes| number::value("bytes", bytes)));
    parts.extend(known("hypervisor").map(|h| format!("guest of {h}")));
    parts.extend(known("container").map(|c| format!("container {c}")));
    parts.push(format!("kernel {}", fact("kernel")));
    escape::line(&parts.join(", "))
}

/// Compiler, profile, flags and features if any, and the revision of the code.
pub fn build(machine: &Machine) -> String {
    let fact = |key: &str| machine.facts.get(key).map_or("unknown", String::as_str);
    let changed = match fact("dirty") {
        "false" => "",
        "true" => " with changes",
        _ => " (changes unknown)",
    };
    let flags = match fact("rustflags") {
        "none" | "" => String::new(),
        flags => format!(", flags {flags}"),
    };
    let features = match fact("features") {
        "unknown" | "default" => String::new(),
        features => format!(", features {features}"),
    };
    let compiler = Some(fact("rustc")).filter(|r| r.starts_with("rustc")).map_or_else(
        || format!("rustc {}", fact("rustc")),
        // `rustc 1.95.0 (59807616e 2026-04-14)`: the release says it.
        |r| r.split(" (").next().unwrap_or(r).to_string(),
    );
    let runtime = match fact("runtime") {
        "unknown" | "none" => String::new(),
        runtime => format!("{runtime}, "),
    };
    escape::line(&format!(
        "{runtime}revision {}{changed}, {compiler}, {}{flags}{features}",
        fact("revision"),
        fact("profile")
    ))
}

/// Versions of the contenders.
pub fn versions(machine: &Machine) -> String {
    escape::line(machine.facts.get("versions").map_or("unknown", String::as_str))
}

/// What the machine was fit for, for a kind of measurement.
pub fn grade(machine: &Machine, kind: Kind) -> String {
    match machine.grades.get(&kind) {
        None => format!("not examined for {}", kind_words(kind)),
        Some(grade) => grade_text(kind, grade),
    }
}

/// A grade for a kind of measurement: `fit for pauses: own hiccups stayed under 60 us`.
pub(super) fn grade_text(kind: Kind, grade: &Grade) -> String {
    escape::line(&format!("{} for {}: {}", level_words(grade.level), kind_words(kind), grade.reason))
}

/// The day of a record.
pub fn day(record: &Record) -> String {
    escape::line(record.at.split('T').next().unwrap_or(&record.at))
}

fn level_words(level: Level) -> &'static str {
    match level {
        Level::Fit => "fit",
        Level::Fair => "fair",
        Level::Unfit => "unfit",
    }
}

fn kind_words(kind: Kind) -> &'static str {
    match kind {
        Kind::Single => "the cost of an operation on one thread",
        Kind::Contended => "contended throughput",
        Kind::Tail => "latency percentiles",
        Kind::Pause => "pauses",
        Kind::Chance => "how often something happens",
        Kind::Count => "counts and sizes",
    }
}

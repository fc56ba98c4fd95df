//! What `underhood check` prints: facts, what was measured, grades, and what may be quoted.
use std::fmt::Write;

use crate::{
    lab::Kind,
    machine::{Level, Machine, grade::amount},
};

/// Facts in the order in which one asks for them; others follow by name.
const ORDER: &str = "os kernel libc hypervisor container cgroup cpu_limit memory_limit_bytes cpu cpus_online cpus_allowed smt \
     caches cache_line_bytes numa_nodes governor turbo clocksource autogroup memory_bytes swap_bytes thp \
     free_page_reporting aslr rustc profile rustflags target revision dirty versions";

/// What each measured number means.
const MEANING: [(&str, &str); 15] = [
    ("clock_cost_ns", "one look at the clock"),
    ("clock_resolution_ns", "smallest step between two looks in a row"),
    ("busy_share", "of the allowed CPUs' time, used by other processes while we slept"),
    ("lanes_count", "spinning threads, one on each allowed CPU"),
    ("pinned_share", "of them that could be kept on their CPU"),
    (
        "parallel_ratio",
        "their work together over the work of one alone; at best, as many times as there are threads",
    ),
    ("spin_ns_per_iter", "one multiplication that needs the one before it; one thread alone"),
    ("runq_share", "of a spinning thread's time, spent waiting for its CPU; on the worst CPU"),
    ("hiccup_p999_ns", "how late a thread that only sleeps (an idle probe) wakes up; 99.9th percentile"),
    ("hiccup_max_ns", "the longest delay of that thread"),
    ("steal_share", "of the CPUs' time, taken by the hypervisor while our threads were ready to run"),
    ("handoff_ns", "for a cache line to go to the neighbouring CPU, one way"),
    (
        "core_adds",
        "additions in a cycle that the core of the first CPU did at its best, in 2,000 looks over half a second",
    ),
    (
        "core_shared_share",
        "of these looks, in which we were interrupted or somebody else used the core's other hardware thread; code may then take twice as long",
    ),
    ("handoff_worst_ns", "the same, to the farthest of some other CPUs"),
];

const KINDS: [(Kind, &str); 6] = [
    (Kind::Single, "single-thread cost"),
    (Kind::Contended, "contended throughput"),
    (Kind::Tail, "latency tail"),
    (Kind::Pause, "pause"),
    (Kind::Chance, "how often it happens"),
    (Kind::Count, "counts and sizes"),
];

/// Columns, for whatever is long: the list of versions, the reasons.
const WIDTH: usize = 110;

/// The machine as text of several lines. Pure.
pub fn report(machine: &Machine) -> String {
    let mut out = String::from("What this machine is\n");
    let order: Vec<&str> = ORDER.split_whitespace().collect();
    let known = order.iter().filter_map(|key| machine.facts.get_key_value(*key));
    let rest = machine.facts.iter().filter(|(key, _)| !order.contains(&key.as_str()));
    let facts: Vec<_> = known.chain(rest).collect();
    let names = facts
        .iter()
        .map(|(key, _)| key.as_str())
        .chain(MEANING.map(|(key, _)| key))
        .chain(KINDS.map(|(_, name)| name));
    let width = names.map(str::len).max().unwrap_or(0);
    for (key, value) in facts {
        row(&mut out, width, key, &readable(key, value));
    }
    if machine.grades.is_empty() {
        out.push_str("\nNot examined: nothing measured here may be quoted yet.\n");
        return out;
    }

    out.push_str("\nWhat was measured of it\n");
    for (key, meaning) in MEANING {
        match machine.fitness.get(key) {
            Some(value) => row(&mut out, width, key, &format!("{:<8} {meaning}", amount(key, *value))),
            // With one pair of CPUs there is no worse one.
            None if key == "handoff_worst_ns" => {}
            None => row(&mut out, width, key, "not measured"),
        }
    }
    for (key, value) in
        machine.fitness.iter().filter(|(key, _)| !MEANING.iter().any(|(known, _)| known == key))
    {
        row(&mut out, width, key, &amount(key, *value));
    }

    out.push('\n');
    out.push_str(&grades(machine));
    out
}

/// The last part of [`report`] alone: what the machine is fit to show, and what may be quoted from it. Pure.
pub fn grades(machine: &Machine) -> String {
    let mut out = String::from("What this machine is fit to show\n");
    let width = KINDS.map(|(_, name)| name.len()).into_iter().max().unwrap_or(0);
    for (kind, name) in KINDS {
        if let Some(grade) = machine.grades.get(&kind) {
            let level = match grade.level {
                Level::Fit => "fit",
                Level::Fair => "fair",
                Level::Unfit => "UNFIT",
            };
            row(&mut out, width, name, &format!("{level:<5}  {}", grade.reason));
        }
    }
    let _ = writeln!(out, "\n{}", verdict(machine));
    out
}

/// The last line: what may be quoted from here.
fn verdict(machine: &Machine) -> String {
    let of = |level| {
        let graded = |kind: &Kind| machine.grades.get(kind).map(|g| g.level) == Some(level);
        KINDS.iter().filter(|(kind, _)| graded(kind)).map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
    };
    let parts = [
        ("May be quoted: ", of(Level::Fit)),
        ("Together with the reason above: ", of(Level::Fair)),
        ("Not from here, now: ", of(Level::Unfit)),
    ];
    let parts =
        parts.iter().filter(|(_, names)| !names.is_empty()).map(|(says, names)| format!("{says}{names}."));
    parts.collect::<Vec<_>>().join(" ")
}

/// Bytes in words as well.
fn readable(key: &str, value: &str) -> String {
    match value.parse::<u64>() {
        Ok(n) if key.ends_with("_bytes") && n >= 1 << 20 => {
            format!("{value} ({:.1} GiB)", n as f64 / f64::from(1 << 30))
        }
        _ => value.to_string(),
    }
}

/// A name and a text that is wrapped beside it.
fn row(out: &mut String, width: usize, name: &str, text: &str) {
    let _ = write!(out, "  {name:<width$} ");
    let start = width + 3;
    let mut column = start;
    for (i, word) in text.split(' ').enumerate() {
        if i > 0 && column > start && column + 1 + word.chars().count() > WIDTH {
            let _ = write!(out, "\n{:start$}", "");
            column = start;
        } else if i > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.chars().count();
    }
    out.push('\n');
}

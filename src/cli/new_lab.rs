//! `underhood new-lab`: a lab that runs, in the sources of this program.
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use super::{
    Outcome,
    out::{End, Out},
};
use crate::{lab::Lab, record::is_lab_name};

/// Writes the lab's file, its line in the manifest and in the table of contents, and its place in the notes.
pub(super) fn new_lab(name: &str, dir: &Path, labs: &[&'static Lab], out: &mut Out) -> Result<Outcome, End> {
    if !is_lab_name(name) || !name.contains('_') || name.ends_with('_') || name.contains("__") {
        return Err(End::Usage(format!(
            "'{name}' can't name a lab: a subject and a word, such as lock_price, in lower-case letters, digits and single underscores"
        )));
    }
    let file = dir.join("labs").join(format!("{name}.rs"));
    if labs.iter().any(|l| l.stem == name) || file.exists() {
        return Err(End::Usage(format!("there is a lab {name} already")));
    }
    // All of it is put together before anything is written.
    let edits = [
        edit(dir, "Cargo.toml", |text| insert(text, "  { name = \"", &manifest_line(name), "\n]")),
        edit(dir, "labs/all.rs", |text| {
            let text = module(text, name)?;
            let at = text.rfind("::lab(),\n").map(|i| i + "::lab(),\n".len())?;
            Some(format!("{}            {name}::lab(),\n{}", &text[..at], &text[at..]))
        }),
        edit(dir, "NOTES.md", |text| {
            let marks =
                format!("\n## {name}\n<!-- underhood:begin {name} -->\n<!-- underhood:end {name} -->\n");
            Some(format!("{}\n{marks}", text.trim_end()))
        }),
    ];
    let edits: Vec<(PathBuf, String)> = edits.into_iter().collect::<Result<_, End>>()?;
    let write = |path: &Path, text: &str| {
        fs::write(path, text).map_err(|e| End::Failed(format!("cannot write {}: {e}", path.display())))
    };
    write(&file, &TEMPLATE.replace("NAME", name))?;
    for (path, text) in &edits {
        write(path, text)?;
    }
    out.say(format!("{}: a lab with one step; change what it asks and what it runs", file.display()))?;
    for (path, _) in &edits {
        out.say(format!("changed {}", path.display()))?;
    }
    out.say(format!("Run it: cargo run --release --bin {name}"))?;
    out.json(&serde_json::json!({ "lab": name, "file": file }))?;
    Ok(Outcome::Quotable)
}

fn manifest_line(name: &str) -> String {
    format!(
        "  {{ name = \"{name}\", path = \"labs/{name}.rs\", test = false, bench = false, required-features = [\"labs\"] }},"
    )
}

fn edit(dir: &Path, file: &str, change: impl Fn(&str) -> Option<String>) -> Result<(PathBuf, String), End> {
    let path = dir.join(file);
    let text = fs::read_to_string(&path).map_err(|e| {
        let where_to = "run this in the folder of underhood's sources";
        let more = if e.kind() == ErrorKind::NotFound { format!("; {where_to}") } else { String::new() };
        End::Failed(format!("cannot read {}: {e}{more}", path.display()))
    })?;
    let changed = change(&text);
    changed
        .map(|text| (path, text))
        .ok_or_else(|| End::Failed(format!("{file} does not look as it should: nothing was changed")))
}

/// The table of contents with one module more, in its place by name, as rustfmt wants it.
fn module(text: &str, name: &str) -> Option<String> {
    let entry = format!("#[path = \"{name}.rs\"]\npub(crate) mod {name};\n");
    let end = text.find("\n/// The labs")?;
    let mut starts = text[..end].match_indices("#[path = \"");
    let later = starts.find(|(i, begin)| text[i + begin.len()..].split('.').next().is_some_and(|n| n > name));
    let at = match later {
        // What a later entry is conditional on stands before it.
        Some((i, _)) if text[..i].trim_end().ends_with(")]") => text[..i].trim_end().rfind('\n')? + 1,
        Some((i, _)) => i,
        None => end,
    };
    Some(format!("{}{entry}{}", &text[..at], &text[at..]))
}

/// A line after the last one that begins so, before `end`.
fn insert(text: &str, begins: &str, line: &str, end: &str) -> Option<String> {
    let stop = text.find(end)?;
    let last = text[..stop].rfind(&format!("\n{begins}"))? + 1;
    // The entry may take two lines: up to the last line before `end` that is not empty.
    let at = text[last..stop].trim_end().len() + last;
    Some(format!("{}\n{line}{}", &text[..at], &text[at..]))
}

/// One step: what a mutex costs, as a beginning.
const TEMPLATE: &str = r#"//! What does NAME cost?
//!
//! Run it: `cargo run --release --bin NAME -- --step`
use underhood::{
    contenders::lock::{Lock, MUTEX, STD_MUTEX},
    lab::{Evidence, Kind, Lab, ONCE, Step, at_most, ratio},
    measure::cost,
};

/// The first is the baseline of every ratio.
const LOCKS: &[&Lock] = &[&STD_MUTEX, &MUTEX];

pub(crate) fn lab() -> Lab {
    underhood::lab!("NAME", "What does NAME cost?")
        .step(alone())
        .say(
            "alone",
            "Alone, our mutex takes {value}, std's {against}.",
            ratio("mutex", "std_mutex"),
            "another thread wants it too",
        )
        .not_said(&["Anything about several threads: one ran."])
        .next(&["What if two threads want it at once? (lab lock_mutex)"])
        .sources(&["src/structures/lock/mutex.rs"])
}

fn alone() -> Step {
    Step::new("alone", Kind::Single, "op_ns")
        .ask_number(
            "One thread locks and unlocks, nobody else is there. How long does std's mutex take?",
            "std_mutex",
            "",
        )
        .contenders(LOCKS)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), LOCKS.iter().map(|l| l.writes())))
        .bench("alone/{case}", LOCKS.iter().copied(), |_, lock| cost::timed(&lock.writes()))
        .claim(at_most(1.1, ratio("mutex", "std_mutex")), "our mutex costs at most 1.1 times std's")
        .because("Alone, both are one exchange to lock and one to unlock.", Evidence::None)
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
"#;

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
use crate::{
    lab::Lab,
    record::{file, is_lab_name},
    words::escape,
};

/// Writes the lab's file, its line in the manifest and in the table of contents, and its place in the notes.
pub(super) fn new_lab(name: &str, dir: &Path, labs: &[&'static Lab], out: &mut Out) -> Result<Outcome, End> {
    if !is_lab_name(name) || !name.contains('_') || name.ends_with('_') || name.contains("__") {
        return Err(End::Usage(format!(
            "'{name}' can't name a lab: a subject and a word, such as lock_price, in lower-case letters, digits and single underscores"
        )));
    }
    let lab = dir.join("labs").join(format!("{name}.rs"));
    if labs.iter().any(|l| l.stem == name) || fs::symlink_metadata(&lab).is_ok() {
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
    let edits: Vec<Edit> = edits.into_iter().collect::<Result<_, End>>()?;
    write(&lab, &TEMPLATE.replace("NAME", name), &edits)?;
    out.so_far = Outcome::Quotable;
    out.say(format!("{}: a lab with one step; change what it asks and what it runs", escape::path(&lab)))?;
    for edit in &edits {
        out.say(format!("changed {}", escape::path(&edit.path)))?;
    }
    out.say(format!("Run it: cargo run --release --bin {name}"))?;
    out.json(&serde_json::json!({ "lab": name, "file": lab.to_string_lossy() }))?;
    Ok(Outcome::Quotable)
}

/// A file of the sources with its text before and after.
struct Edit {
    path: PathBuf,
    before: String,
    after: String,
}

/// Writes all of it or, where one of them can't be written, nothing.
fn write(lab: &Path, text: &str, edits: &[Edit]) -> Result<(), End> {
    let failed =
        |path: &Path, e: std::io::Error| End::Failed(format!("cannot write {}: {e}", escape::path(path)));
    file::replace(lab, text.as_bytes()).map_err(|e| failed(lab, e))?;
    for (i, edit) in edits.iter().enumerate() {
        if let Err(e) = file::deliver(&edit.path, edit.after.as_bytes()) {
            let _ = fs::remove_file(lab);
            for done in &edits[..i] {
                let _ = file::deliver(&done.path, done.before.as_bytes());
            }
            return Err(failed(&edit.path, e));
        }
    }
    Ok(())
}

fn manifest_line(name: &str) -> String {
    format!(
        "  {{ name = \"{name}\", path = \"labs/{name}.rs\", test = false, bench = false, required-features = [\"labs\"] }},"
    )
}

fn edit(dir: &Path, name: &str, change: impl Fn(&str) -> Option<String>) -> Result<Edit, End> {
    let path = dir.join(name);
    let before = file::text(&path).map_err(|e| {
        let where_to = "run this in the folder of underhood's sources";
        let more = if e.kind() == ErrorKind::NotFound { format!("; {where_to}") } else { String::new() };
        End::Failed(format!("cannot read {}: {e}{more}", escape::path(&path)))
    })?;
    let wrong = || End::Failed(format!("{name} does not look as it should: nothing was changed"));
    let after = change(&before).ok_or_else(wrong)?;
    Ok(Edit { path, before, after })
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
    lab::{Kind, Lab, ONCE, Step, at_most, ratio, source},
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
            "Only one thread locks and unlocks. How long does std's mutex take?",
            "std_mutex",
            "",
        )
        .contenders(LOCKS)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), LOCKS.iter().map(|l| l.writes())))
        .bench("alone/{case}", LOCKS.iter().copied(), |_, lock| cost::timed(&lock.writes()))
        .claim(at_most(1.1, ratio("mutex", "std_mutex")), "our mutex costs at most 1.1 times as much as std's")
        .because(
            "Alone, both are one exchange to lock and one to unlock.",
            source("`lock` in src/structures/lock/mutex.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}
"#;

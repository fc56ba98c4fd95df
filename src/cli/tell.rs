//! Commands that tell what is known: check, show, quote, notes.
use std::{collections::BTreeSet, fs, path::Path};

use super::{
    Outcome,
    args::Common,
    out::{End, Out},
    ready, run,
};
use crate::{
    judge,
    lab::{Kind, Lab},
    machine::{Level, Machine},
    record::{Loaded, Record, Store, runs_of},
    show::{self, notes::Mismatch},
};

/// `underhood check`.
pub(super) fn check(_common: &Common, out: &mut Out) -> Result<Outcome, End> {
    let mut machine = Machine::read();
    ready::examine(&mut machine, out)?;
    out.text(&show::check::report(&machine))?;
    out.json(&machine)?;
    let unfit = machine.grades.iter().any(|(k, g)| *k != Kind::Count && g.level == Level::Unfit);
    Ok(if unfit { Outcome::Unfit } else { Outcome::Quotable })
}

/// Says what was skipped while reading; it is never silent and never fatal.
pub(super) fn skipped(loaded: &Loaded, out: &mut Out) {
    if let Some(what) = loaded.skipped() {
        out.warn(&what);
    }
}

/// `underhood show`.
pub(super) fn show(lab: &'static Lab, common: &Common, out: &mut Out) -> Result<Outcome, End> {
    let loaded = ready::store(common)?.load(lab.stem)?;
    skipped(&loaded, out);
    if loaded.records.is_empty() {
        return Err(End::Failed(format!("no records of {} yet; make some: {}", lab.stem, lab.command())));
    }
    let known = ready::pooled(&[lab], loaded.records);
    out.heading(format!("{}: {}", lab.stem, lab.question))?;
    for step in &lab.steps {
        let Some(run) = runs_of(&known, lab.stem, step.name).first().copied() else { continue };
        let records: Vec<Record> =
            known.iter().filter(|r| r.run == run && r.step == step.name).cloned().collect();
        // The table begins with its title.
        out.say("")?;
        out.text(&show::table::table(lab, step, &records, out.look))?;
        let findings = judge::judge(lab, step, &records);
        out.text(&show::table::findings(&findings, out.look))?;
        for record in &records {
            out.json(record)?;
        }
        run::json_findings(lab, step, &findings, out)?;
    }
    Ok(Outcome::Quotable)
}

/// `underhood quote`, or in the tour the brief form of it.
pub(super) fn quote(lab: &'static Lab, brief: bool, common: &Common, out: &mut Out) -> Result<Outcome, End> {
    let loaded = ready::store(common)?.load(lab.stem)?;
    skipped(&loaded, out);
    let render = if brief { show::quote::brief } else { show::quote::quote };
    let quote = render(lab, &ready::pooled(&[lab], loaded.records));
    out.heading(format!("{}: what you may say", lab.stem))?;
    out.text(&quote.text)?;
    out.json(&serde_json::json!({ "lab": lab.stem, "quote": quote.text, "quotable": quote.quotable, "ids": quote.ids }))?;
    Ok(if quote.quotable { Outcome::Quotable } else { Outcome::NotQuotable })
}

/// `underhood notes`.
pub(super) fn notes(
    labs: &[&'static Lab],
    check: bool,
    file: &Path,
    records: &Path,
    common: &Common,
    out: &mut Out,
) -> Result<Outcome, End> {
    let text =
        fs::read_to_string(file).map_err(|e| End::Failed(format!("cannot read {}: {e}", file.display())))?;
    let cited = Store::open(records);
    let at = |e: &dyn std::fmt::Display| End::Failed(format!("{}: {e}", file.display()));
    // The table of labs stands in the README beside the notes, if there is one.
    let readme = file.with_file_name("README.md");
    let table = fs::read_to_string(&readme).ok();
    let at_readme = |e: &dyn std::fmt::Display| End::Failed(format!("{}: {e}", readme.display()));
    if check {
        let loaded = cited.load_all()?;
        skipped(&loaded, out);
        let records = ready::pooled(labs, loaded.records);
        let mut wrong = show::notes::check(&text, labs, &records).map_err(|e| at(&e))?;
        if let Some(table) = &table {
            let expected = show::notes::readme(table, labs, &records).map_err(|e| at_readme(&e))?;
            let (want, have): (Vec<&str>, Vec<&str>) = (expected.lines().collect(), table.lines().collect());
            let of = |lines: &[&str], i: usize| lines.get(i).copied().unwrap_or("").to_string();
            let first = (0..want.len().max(have.len())).find(|i| want.get(*i) != have.get(*i));
            wrong.extend(first.map(|i| Mismatch {
                lab: "the table of labs in README.md".into(),
                line: i + 1,
                expected: of(&want, i),
                found: of(&have, i),
            }));
        }
        for mismatch in &wrong {
            out.warn(&format!(
                "{}:{}: {}: expected '{}', found '{}'",
                file.display(),
                mismatch.line,
                mismatch.lab,
                mismatch.expected,
                mismatch.found
            ));
        }
        if wrong.is_empty() {
            out.say(format!("{}: every measured number agrees with its record", file.display()))?;
        }
        out.json(&serde_json::json!({ "file": file, "mismatches": wrong }))?;
        return Ok(if wrong.is_empty() { Outcome::Quotable } else { Outcome::Failed });
    }
    let store = ready::store(common)?;
    let mut changed = Vec::new();
    for lab in labs {
        // What was cited so far competes with what the store has: the newest complete quotable run of each step wins.
        let before = cited.load(lab.stem)?;
        let loaded = store.load(lab.stem)?;
        skipped(&before, out);
        skipped(&loaded, out);
        // A record that is in both is one record.
        let ids: BTreeSet<String> = before.records.iter().map(|r| r.id.clone()).collect();
        let fresh = loaded.records.into_iter().filter(|r| !ids.contains(&r.id));
        let known: Vec<Record> = before.records.iter().cloned().chain(fresh).collect();
        let chosen = crate::judge::cited::cited(lab, &known);
        if chosen.is_empty() || chosen == before.records && before.skipped().is_none() {
            continue;
        }
        cited.replace(lab.stem, &chosen)?;
        let path = records.join(format!("{}.jsonl", lab.stem));
        let added = chosen.iter().filter(|r| !ids.contains(&r.id));
        let steps: BTreeSet<&str> = added.clone().map(|r| r.step.as_str()).collect();
        let steps: Vec<&str> = steps.into_iter().collect();
        let dropped = before.records.iter().filter(|r| !chosen.iter().any(|c| c.id == r.id)).count();
        out.say(format!(
            "changed {}: {dropped} records replaced by {} of {}",
            path.display(),
            added.count(),
            if steps.is_empty() { "no step".into() } else { steps.join(", ") }
        ))?;
        changed.push(path);
    }
    let all = ready::pooled(labs, cited.load_all()?.records);
    let mut write = |path: &Path, old: &str, new: String| -> Result<(), End> {
        if old != new {
            fs::write(path, new).map_err(|e| End::Failed(format!("cannot write {}: {e}", path.display())))?;
            changed.push(path.to_path_buf());
            out.say(format!("changed {}", path.display()))?;
        }
        Ok(())
    };
    write(file, &text, show::notes::render(&text, labs, &all).map_err(|e| at(&e))?)?;
    if let Some(table) = &table {
        write(&readme, table, show::notes::readme(table, labs, &all).map_err(|e| at_readme(&e))?)?;
    }
    let cites = format!("{}: {} records cited, kept in {}", file.display(), all.len(), records.display());
    out.say(if changed.is_empty() { format!("{cites}; nothing changed") } else { cites })?;
    out.json(&serde_json::json!({ "file": file, "records": all.len(), "changed": changed }))?;
    Ok(Outcome::Quotable)
}

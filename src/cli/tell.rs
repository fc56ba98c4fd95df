//! Commands that tell what is known: check, show, quote, notes.
use std::{collections::BTreeSet, path::Path, time::Duration};

use super::{
    Outcome,
    args::Common,
    out::{End, Out},
    ready, run,
};
use crate::{
    judge,
    lab::{Kind, Lab, Step},
    machine::{Level, Machine, allowed_cpus, pin_current_thread},
    measure::own_core::{self, Looks},
    record::{Record, Store, file, pool, runs_of},
    show::{self, notes::Mismatch},
    words::escape,
};

/// `underhood check`.
pub(super) fn check(_common: &Common, out: &mut Out) -> Result<Outcome, End> {
    let mut machine = Machine::read();
    ready::examine(&mut machine, out)?;
    machine.fitness.extend(core());
    let unfit = machine.grades.iter().any(|(k, g)| *k != Kind::Count && g.level == Level::Unfit);
    out.so_far = if unfit { Outcome::Unfit } else { Outcome::Quotable };
    out.text(&show::check::report(&machine))?;
    out.json(&machine)?;
    Ok(out.so_far)
}

/// How often somebody else uses the core of the first CPU: see [`own_core`]. Nothing where looks are impossible.
fn core() -> Vec<(String, f64)> {
    let cpu = allowed_cpus().first().copied().unwrap_or_default();
    let looking = std::thread::Builder::new().spawn(move || {
        pin_current_thread(cpu);
        let looks: Vec<_> = (0..LOOKS)
            .map(|_| {
                std::thread::sleep(Duration::from_micros(200));
                own_core::look()
            })
            .collect();
        let looks = Looks::new(&looks)?;
        let best = (0..LOOKS).map(|i| looks.additions_per_cycle(i)).fold(0.0, f64::max);
        let whole = looks.whole();
        let shared = whole.iter().filter(|whole| !**whole).count() as f64 / whole.len() as f64;
        Some(vec![("core_adds".to_string(), best), ("core_shared_share".to_string(), shared)])
    });
    looking.ok().and_then(|thread| thread.join().ok()?).unwrap_or_default()
}

/// Looks at the core: about half a second.
const LOOKS: usize = 2_000;

/// `underhood show`.
pub(super) fn show(lab: &'static Lab, common: &Common, out: &mut Out) -> Result<Outcome, End> {
    let store = ready::store(common)?;
    let records = ready::records(&store, lab, out)?;
    let own = !records.is_empty();
    // What another machine measured is nothing to quote as one's own.
    out.so_far = if own { Outcome::Quotable } else { Outcome::NotQuotable };
    let known = match own {
        true => ready::pooled(&store, lab, records),
        false => ready::pooled(
            &ready::notes(),
            lab,
            ready::of_the_notes(lab).into_iter().filter(|r| r.pooled.is_none()).collect(),
        ),
    };
    if known.is_empty() {
        return Err(End::Failed(format!("no records of {} yet; make some: {}", lab.stem, lab.command())));
    }
    if !own {
        out.warn(&format!(
            "no records of {} yet: these are the notes' records, measured on another machine. Make your own: {}",
            lab.stem,
            lab.command()
        ));
    }
    out.heading(format!("{}: {}", lab.stem, lab.question))?;
    for step in &lab.steps {
        let Some(run) = runs_of(&known, lab.stem, step.name).first().copied() else { continue };
        let records: Vec<Record> =
            known.iter().filter(|r| r.run == run && r.step == step.name).cloned().collect();
        let findings = judge::judge(lab, step, &records);
        out.heading(format!("{} / {}", lab.stem, step.name))?;
        out.prose("", step.ask)?;
        out.say("")?;
        run::told(lab, step, &records, None, out)?;
        for record in &records {
            out.json(record)?;
        }
        run::json_findings(lab, step, &findings, out)?;
    }
    Ok(out.so_far)
}

/// `underhood quote`, alone or at the end of a run.
pub(super) fn quote(lab: &'static Lab, common: &Common, alone: bool, out: &mut Out) -> Result<Outcome, End> {
    let store = ready::store(common)?;
    let records = ready::records(&store, lab, out)?;
    let records = ready::pooled(&store, lab, records);
    let quote =
        if out.look.all { show::quote::in_full(lab, &records) } else { show::quote::quote(lab, &records) };
    let outcome = if quote.quotable { Outcome::Quotable } else { Outcome::NotQuotable };
    out.so_far_if(alone, outcome);
    out.heading(format!("{}: what you may say", lab.stem))?;
    out.text(&quote.text)?;
    out.json(&serde_json::json!({ "lab": lab.stem, "quote": quote.text, "quotable": quote.quotable, "ids": quote.ids }))?;
    if !quote.quotable {
        from_the_notes(lab, None, out)?;
    }
    Ok(outcome)
}

/// Where nothing may be said of this machine: what the notes say of another one, about one step or the whole lab. Says nothing if they do not.
pub(super) fn from_the_notes(lab: &'static Lab, step: Option<&Step>, out: &mut Out) -> Result<(), End> {
    let mut records = ready::of_the_notes(lab);
    records.retain(|r| step.is_none_or(|s| s.name == r.step));
    let (Ok((text, not)), Some(last)) = (show::quote::best_aloud(lab, &records), records.last()) else {
        return Ok(());
    };
    let machine = show::origin::machine(&last.machine);
    out.prose("From the notes, another machine: ", &format!("\"{text}\" ({machine})"))?;
    out.prose("Not true when ", not)?;
    if let Some(step) = step {
        let why = judge::explain(lab, step, &records);
        let shown = why.iter().find(|r| r.support == judge::Support::Measured).or(why.first());
        if let Some(reason) = shown {
            out.prose("Why: ", reason.text)?;
        }
    }
    out.json(&serde_json::json!({ "lab": lab.stem, "from_the_notes": text }))
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
        file::text(file).map_err(|e| End::Failed(format!("cannot read {}: {e}", escape::path(file))))?;
    let cited = Store::open(records);
    let at = |e: &dyn std::fmt::Display| End::Failed(format!("{}: {e}", escape::path(file)));
    // The table of labs stands in the README beside the notes, if there is one.
    let readme = file.with_file_name("README.md");
    let table = file::text(&readme).ok();
    let at_readme = |e: &dyn std::fmt::Display| End::Failed(format!("{}: {e}", readme.display()));
    if check {
        let records = pool::with_pools(labs, ready::all_records(&cited, out)?.records);
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
        out.so_far = if wrong.is_empty() { Outcome::Quotable } else { Outcome::Failed };
        if wrong.is_empty() {
            out.say(format!("{}: every measured number agrees with its record", escape::path(file)))?;
        }
        out.json(&serde_json::json!({ "file": file.to_string_lossy(), "mismatches": wrong }))?;
        return Ok(out.so_far);
    }
    let store = ready::store(common)?;
    let mut changed = Vec::new();
    for lab in labs {
        // What was cited so far competes with what the store has: the newest complete quotable run of each step wins.
        let before = cited.load(lab.stem)?;
        // What is skipped of it is dropped, which is said below of the file as a whole.
        before.skipped().iter().for_each(|what| out.warn(what));
        let loaded = ready::records(&store, lab, out)?;
        // A record that is in both is one record.
        let ids: BTreeSet<String> = before.records.iter().map(|r| r.id.clone()).collect();
        let fresh = loaded.into_iter().filter(|r| !ids.contains(&r.id));
        let known: Vec<Record> = before.records.iter().cloned().chain(fresh).collect();
        let chosen = crate::judge::cited::cited(lab, &known);
        if chosen.is_empty() || chosen == before.records && before.skipped().is_none() {
            continue;
        }
        cited.replace(lab.stem, &chosen, &[&cited, &store])?;
        let path = records.join(format!("{}.jsonl", lab.stem));
        let added = chosen.iter().filter(|r| !ids.contains(&r.id));
        let steps: BTreeSet<&str> = added.clone().map(|r| r.step.as_str()).collect();
        let steps: Vec<&str> = steps.into_iter().collect();
        let dropped = before.records.iter().filter(|r| !chosen.iter().any(|c| c.id == r.id)).count();
        out.say(format!(
            "changed {}: {dropped} records replaced by {} of {}",
            escape::path(&path),
            added.count(),
            if steps.is_empty() { "no step".into() } else { steps.join(", ") }
        ))?;
        changed.push(path);
    }
    let all = pool::with_pools(labs, ready::all_records(&cited, out)?.records);
    let mut write = |path: &Path, old: &str, new: String| -> Result<(), End> {
        if old != new {
            let name = escape::path(path);
            file::deliver(path, new.as_bytes())
                .map_err(|e| End::Failed(format!("cannot write {name}: {e}")))?;
            changed.push(path.to_path_buf());
            out.say(format!("changed {name}"))?;
        }
        Ok(())
    };
    write(file, &text, show::notes::render(&text, labs, &all).map_err(|e| at(&e))?)?;
    if let Some(table) = &table {
        write(&readme, table, show::notes::readme(table, labs, &all).map_err(|e| at_readme(&e))?)?;
    }
    out.so_far = Outcome::Quotable;
    let cites =
        format!("{}: {} records cited, kept in {}", escape::path(file), all.len(), escape::path(records));
    out.say(if changed.is_empty() { format!("{cites}; nothing changed") } else { cites })?;
    let changed: Vec<_> = changed.iter().map(|path| path.to_string_lossy()).collect();
    out.json(
        &serde_json::json!({ "file": file.to_string_lossy(), "records": all.len(), "changed": changed }),
    )?;
    Ok(Outcome::Quotable)
}

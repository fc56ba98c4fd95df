//! Records for other programs: a spreadsheet, a page of Markdown, a deck of cards.
//!
//! Strings from records are data that anybody may have written. A spreadsheet runs a cell that begins like a formula, so such a cell
//! gets an apostrophe in front; control characters become visible escapes, as everywhere.
use std::fmt::Write;

use super::{answer, notes, origin, table};
use crate::words::{escape, number};
use crate::{
    judge::{guess, name, not_quotable},
    lab::{Lab, Step},
    record::{Record, find},
};

/// One row a value: every record has as many rows as values, with the interval over launches. Durations are in ns, sizes in bytes,
/// shares between 0 and 1, as the value's suffix says. A row without numbers says why in `doubts`.
pub fn csv(records: &[Record]) -> String {
    let mut out = String::from(
        "lab,step,case,param,value,headline,mid,lo,hi,launches,quotable,doubts,threads,mode,at,run,id,command,machine,build\r\n",
    );
    for r in records {
        let mut names: Vec<&str> =
            r.launches.iter().flat_map(|s| s.values.keys().map(String::as_str)).collect();
        names.push(&r.headline);
        names.sort_unstable();
        names.dedup();
        let mut doubts = r.doubts.clone();
        doubts.extend(r.unmeasured().map(|why| format!("not measured: {why}")));
        for name in names {
            let interval = r.interval_of(name);
            let number = |of: fn(&crate::stats::Interval) -> f64| {
                interval.as_ref().map_or(String::new(), |i| of(i).to_string())
            };
            let mode = serde_json::to_value(r.mode).ok().and_then(|m| m.as_str().map(str::to_string));
            let cells = [
                cell(&r.lab),
                cell(&r.step),
                cell(&r.case),
                cell(&r.param),
                cell(name),
                (name == r.headline).to_string(),
                number(|i| i.mid),
                number(|i| i.lo),
                number(|i| i.hi),
                interval.map_or(0, |i| i.n).to_string(),
                r.quotable.to_string(),
                cell(&doubts.join("; ")),
                r.threads.to_string(),
                cell(&mode.unwrap_or_default()),
                cell(&r.at),
                cell(&r.run),
                cell(&r.id),
                cell(&r.command),
                cell(&origin::machine(&r.machine)),
                cell(&origin::build(&r.machine)),
            ];
            out.push_str(&cells.join(","));
            out.push_str("\r\n");
        }
    }
    out
}

/// A text as a cell of RFC 4180, harmless in a spreadsheet.
fn cell(text: &str) -> String {
    let text = escape::line(text);
    let formula = text.starts_with(['=', '+', '-', '@']);
    quoted(&format!("{}{text}", if formula { "'" } else { "" }))
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_string()
    }
}

/// A section for each lab that has records: the tables, verdicts and the sentence of NOTES.md, without its limit of lines.
pub fn markdown(labs: &[&Lab], records: &[Record]) -> String {
    let mut out = String::from("# Measured\n");
    for lab in labs {
        let of_lab: Vec<Record> = records.iter().filter(|r| r.lab == lab.stem).cloned().collect();
        if !of_lab.is_empty() {
            let _ =
                write!(out, "\n## {}\n{}\n", lab.stem, notes::section(lab, &of_lab, usize::MAX).join("\n"));
        }
    }
    out
}

/// A deck for Anki, and how many cards it has: the question of each lab with the sentence to say, and what each step asks with what
/// was measured. Only what may be quoted becomes a card, with the machine on its back. Importing a newer deck replaces the cards, since
/// each has an id of its own.
pub fn anki(labs: &[&Lab], records: &[Record]) -> (String, usize) {
    let mut out = String::from(
        "#separator:comma\n#html:false\n#deck:underhood\n#guid column:1\n#tags column:4\n#columns:guid,Front,Back,Tags\n",
    );
    let mut count = 0;
    let mut card = |id: String, front: &str, back: &str, tag: &str| {
        let cells = [format!("underhood/{id}"), front.into(), back.into(), format!("underhood {tag}")];
        out.push_str(&cells.map(|c| quoted(&c)).join(","));
        out.push('\n');
        count += 1;
    };
    for lab in labs {
        let of_lab: Vec<Record> = records.iter().filter(|r| r.lab == lab.stem).cloned().collect();
        let answer = answer::answer(lab, &of_lab);
        if let Some(best) = answer.sentences.first() {
            let mut back: String = answer.sentences.iter().map(|s| format!("{}\n", s.text)).collect();
            let _ = write!(
                back,
                "Not true when {}.\nWhy: {}",
                best.not_true_when.trim_end_matches('.'),
                answer.because
            );
            let _ = write!(back, "\nThey will ask next: {}", lab.next.join(" "));
            let _ = write!(back, "\nMeasured on {} ({}).", best.measured, best.ids.join(", "));
            card(lab.stem.into(), lab.question, &back, lab.stem);
        }
        for step in &lab.steps {
            let Some((result, r)) = result(lab, step, &of_lab) else { continue };
            let front = format!("{}\n({} / {})", step.ask, lab.stem, step.name);
            let (id, machine, day) = (escape::line(&r.id), origin::machine(&r.machine), origin::day(r));
            let back = format!(
                "{result}\nWhy: {}\nMeasured on {machine}, {day} ({id}).",
                crate::judge::why(lab, step, &of_lab)
            );
            card(format!("{}/{}", lab.stem, step.name), &front, &back, lab.stem);
        }
    }
    (out, count)
}

/// What the newest run that may be quoted answers to a step's question, and the record that says it.
fn result<'a>(lab: &Lab, step: &Step, records: &'a [Record]) -> Option<(String, &'a Record)> {
    let run = guess::answerable(lab, step, records)?;
    let say = |r: &Record| {
        let i = r.interval_of(step.headline)?;
        Some(format!("{}: {}", name::cell(step, &r.case, &r.param), number::interval(step.headline, &i)))
    };
    let (case, param) = guess::asked(step);
    if !case.is_empty() {
        let r = find(records, run, case, param)?;
        return Some((say(r)?, r));
    }
    // The best case was asked for: all of them, best first, and none is called better where no difference is shown.
    let mut row: Vec<&Record> = table::rows(step, records, run)
        .into_iter()
        .filter(|r| {
            r.param == param && guess::choices(step).contains(&r.case.as_str()) && not_quotable(r).is_none()
        })
        .collect();
    let mid = |r: &Record| r.interval_of(step.headline).map_or(f64::NAN, |i| i.mid);
    row.sort_by(|a, b| mid(a).total_cmp(&mid(b)));
    if guess::more_is_better(step.headline) {
        row.reverse();
    }
    let all: Vec<String> = row.iter().filter_map(|r| say(r)).collect();
    Some((all.join("\n"), row.first()?))
}

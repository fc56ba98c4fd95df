//! The measured blocks of NOTES.md: text between markers that is written from records and by nobody else.
//!
//! ```text
//! <!-- underhood:begin lock_rwlock -->
//! (at most 25 lines: tables, verdicts, the sentence, machine and date)
//! <!-- underhood:end lock_rwlock -->
//! ```
//! The records that the blocks cite are committed beside the text (`tests/records/<lab>.jsonl`, in the format of the store), so
//! [`check`] needs nothing else. Everything outside of the markers belongs to people.
use std::fmt;

use super::{notes_grid, origin, quote};
use crate::words::{escape, number};
use crate::{
    judge::{Verdict, judge},
    lab::{Lab, Say},
    record::Record,
};

/// Lines of a block, without the markers.
pub const MOST_LINES: usize = 25;

/// What is wrong with the markers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotesError {
    /// Line of the text, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

impl fmt::Display for NotesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {} of the notes: {}", self.line, self.what)
    }
}

impl std::error::Error for NotesError {}

/// A line that does not say what the records say.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Mismatch {
    /// Whose block.
    pub lab: String,
    /// Line of the text, from 1.
    pub line: usize,
    /// What the records say; empty if the line should not be there.
    pub expected: String,
    /// What the text says; empty if the line is missing.
    pub found: String,
}

/// The text with every block written anew. Outside of the markers nothing changes; the same records give the same bytes.
///
/// # Errors
/// If a lab's markers are missing, doubled, nested, not closed, or name no lab.
pub fn render(text: &str, labs: &[&Lab], records: &[Record]) -> Result<String, NotesError> {
    let blocks = blocks(text, labs)?;
    let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut out = String::new();
    let mut inside: Option<&Block<'_>> = None;
    for (i, line) in text.split_inclusive('\n').enumerate() {
        if inside.is_some_and(|b| i < b.end) {
            continue;
        }
        inside = blocks.iter().find(|b| b.begin == i);
        out.push_str(line);
        if let Some(block) = inside {
            for line in section(block.lab, records, MOST_LINES) {
                out.push_str(&line);
                out.push_str(end);
            }
        }
    }
    Ok(out)
}

/// The lines in the blocks that differ from what the records say; none if the text is true.
///
/// # Errors
/// As [`render`].
pub fn check(text: &str, labs: &[&Lab], records: &[Record]) -> Result<Vec<Mismatch>, NotesError> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out = Vec::new();
    for block in blocks(text, labs)? {
        let expected = section(block.lab, records, MOST_LINES);
        let found = &lines[block.begin + 1..block.end];
        for i in 0..expected.len().max(found.len()) {
            let want = expected.get(i).map_or("", String::as_str);
            let have = found.get(i).copied().unwrap_or("");
            // Compared as options as well: a missing empty line is a difference too.
            if want != have || expected.get(i).is_some() != found.get(i).is_some() {
                let (lab, line) = (block.lab.stem.to_string(), block.begin + 2 + i);
                out.push(Mismatch { lab, line, expected: want.to_string(), found: have.to_string() });
            }
        }
    }
    Ok(out)
}

/// The lines of a lab's block, at most so many (rows of tables are left out for that).
pub(super) fn section(lab: &Lab, records: &[Record], most_lines: usize) -> Vec<String> {
    let records = crate::judge::cited::speaking(lab, records);
    let mut out = vec![format!("*{}*", lab.question), String::new()];
    if records.is_empty() {
        out.push(format!("Not measured yet: `{}`", lab.command()));
        return out;
    }
    let mut below: Vec<String> = lab.steps.iter().filter_map(|step| verdicts(lab, step, &records)).collect();
    below.push(said(lab, &records));
    // Steps may have been measured on different days, machines and builds; then all of them are named.
    let mut measured = format!(
        "- Measured {} on {}; {}; {}; repeat with {}.",
        distinct(&records, origin::day),
        distinct(&records, |r| origin::machine(&r.machine)),
        distinct(&records, |r| origin::grade(&r.machine, r.kind)),
        distinct(&records, |r| origin::build(&r.machine)),
        distinct(&records, |r| r.command.clone()),
    );
    let room = most_lines.saturating_sub(out.len() + below.len() + 1);
    let (tables, left_out, reasons) = notes_grid::tables(lab, &records, room);
    if left_out > 0 {
        measured.push_str(&format!(" {left_out} more rows are in the records."));
    }
    out.extend(tables);
    out.extend(reasons);
    out.extend(below);
    out.push(measured);
    out
}

/// What records say of themselves, each text once, in their order.
fn distinct(records: &[Record], of: impl Fn(&Record) -> String) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in records.iter().map(|r| escape::markdown(&of(r))) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts.join(" and ")
}

/// The verdicts of a step's claims, in one line.
fn verdicts(lab: &Lab, step: &crate::lab::Step, records: &[Record]) -> Option<String> {
    let parts: Vec<String> = judge(lab, step, records)
        .into_iter()
        .map(|f| {
            let numbers =
                f.numbers.map(|n| format!(", {}", number::interval(f.value, &n))).unwrap_or_default();
            let why = match f.verdict {
                Verdict::NotShown => format!(" ({})", escape::markdown(&f.why)),
                Verdict::Held | Verdict::Refuted => String::new(),
            };
            let claim = escape::markdown(f.claim.trim_end_matches('.'));
            format!("**{}**: {claim}{numbers}{why}", f.verdict.words())
        })
        .collect();
    (!parts.is_empty()).then(|| format!("- `{}`: {}.", step.name, parts.join("; ")))
}

/// The best sentence that the cited runs carry, or why there is none.
fn said(lab: &Lab, records: &[Record]) -> String {
    match best(lab, records) {
        Ok((say, text, ids)) => {
            let when = quote::clause(say);
            format!("- Say: {text} (records {ids}). Not true when {}.", when.trim_end_matches('.'))
        }
        Err(why) => format!("- Say: nothing, not quotable here: {why}."),
    }
}

/// That sentence, and the ids of its records; or why there is none.
fn best<'a>(lab: &'a Lab, records: &'a [Record]) -> Result<(&'a Say, String, String), String> {
    let carried = quote::carried(lab, records).map_err(|(_, why)| escape::markdown(&why))?;
    let (say, sentence) = &carried[0];
    let ids: Vec<String> = sentence.records.iter().map(|r| escape::markdown(&r.id)).collect();
    Ok((say, sentence.text.trim_end_matches('.').to_string(), ids.join(", ")))
}

/// The markers of the table of labs in README.md.
const TABLE: [&str; 2] = ["<!-- underhood:begin labs -->", "<!-- underhood:end labs -->"];

/// README.md with its table of labs written anew: of each lab its question, and the best sentence that the records carry.
///
/// # Errors
/// If the markers are missing or in the wrong order.
pub fn readme(text: &str, labs: &[&Lab], records: &[Record]) -> Result<String, NotesError> {
    let at = |marker: &str| text.lines().position(|l| l == marker);
    let (Some(begin), Some(end)) = (at(TABLE[0]), at(TABLE[1])) else {
        let what = format!("the table of labs stands between `{}` and `{}`", TABLE[0], TABLE[1]);
        return Err(NotesError { line: text.lines().count(), what });
    };
    let mut all = Vec::new();
    let mut table = vec!["| lab | question | what it said here |".to_string(), "|---|---|---|".into()];
    for lab in labs {
        let of_lab: Vec<Record> = records.iter().filter(|r| r.lab == lab.stem).cloned().collect();
        let cited = crate::judge::cited::speaking(lab, &of_lab);
        let said = match best(lab, &cited) {
            Ok((_, text, ids)) => format!("{text} ({ids})"),
            Err(why) => why,
        };
        table.push(format!("| `{}` | {} | {said} |", lab.stem, lab.question));
        all.extend(cited);
    }
    if !all.is_empty() {
        let (days, machines) = (distinct(&all, origin::day), distinct(&all, |r| origin::machine(&r.machine)));
        table.push(String::new());
        table.push(format!(
            "Measured {days} on {machines}. In brackets: the 95 % interval; the ids of the records. When each sentence is not true is said in \
             [NOTES.md](NOTES.md)."
        ));
    }
    let lines: Vec<&str> = text.lines().collect();
    if begin > end {
        return Err(NotesError { line: end + 1, what: format!("`{}` comes first", TABLE[1]) });
    }
    let table = table.iter().map(String::as_str);
    let all: Vec<&str> =
        lines[..=begin].iter().copied().chain(table).chain(lines[end..].iter().copied()).collect();
    Ok(all.join("\n") + "\n")
}

/// Indexes of the two marker lines of a lab.
struct Block<'a> {
    lab: &'a Lab,
    begin: usize,
    end: usize,
}

fn blocks<'a>(text: &str, labs: &[&'a Lab]) -> Result<Vec<Block<'a>>, NotesError> {
    let error = |index: usize, what: String| NotesError { line: index + 1, what };
    let mut done: Vec<Block<'_>> = Vec::new();
    let mut open: Option<(&Lab, usize)> = None;
    let mut lines = 0;
    for (i, line) in text.lines().enumerate() {
        lines = i + 1;
        // Anything that looks like a marker must be one: a mistyped marker would silently keep old numbers.
        if !(line.contains("<!--") && line.contains("underhood:")) {
            continue;
        }
        let marker = line.trim().strip_prefix("<!-- underhood:").and_then(|l| l.strip_suffix(" -->"));
        let Some((verb @ ("begin" | "end"), name)) = marker.and_then(|m| m.split_once(' ')) else {
            return Err(error(
                i,
                "a marker is `<!-- underhood:begin LAB -->` or `<!-- underhood:end LAB -->`".into(),
            ));
        };
        match (verb, open) {
            ("begin", Some((lab, at))) => {
                return Err(error(i, format!("`{name}` begins inside `{}` of line {}", lab.stem, at + 1)));
            }
            ("begin", None) => {
                let Some(lab) = labs.iter().find(|l| l.stem == name) else {
                    return Err(error(i, format!("there is no lab `{}`", escape::line(name))));
                };
                if let Some(first) = done.iter().find(|b| b.lab.stem == name) {
                    return Err(error(
                        i,
                        format!("`{name}` has a block in line {} already", first.begin + 1),
                    ));
                }
                open = Some((lab, i));
            }
            (_, Some((lab, at))) if lab.stem == name => {
                done.push(Block { lab, begin: at, end: i });
                open = None;
            }
            (_, Some((lab, at))) => {
                return Err(error(
                    i,
                    format!("`{name}` ends where `{}` of line {} is open", lab.stem, at + 1),
                ));
            }
            (_, None) => return Err(error(i, format!("`{}` ends without a begin", escape::line(name)))),
        }
    }
    if let Some((lab, at)) = open {
        return Err(error(at, format!("`{}` begins here and never ends", lab.stem)));
    }
    if let Some(lab) = labs.iter().find(|l| done.iter().all(|b| b.lab.stem != l.stem)) {
        let what = format!("no `<!-- underhood:begin {} -->` in any line up to here", lab.stem);
        return Err(NotesError { line: lines, what });
    }
    Ok(done)
}

//! The measured blocks of NOTES.md: text between markers that is written from records and by nobody else.
//!
//! ```text
//! <!-- underhood:begin lock_rwlock -->
//! (the answer, a chart, a table, why; and folded away at most 25 lines: all numbers, verdicts, machine and date)
//! <!-- underhood:end lock_rwlock -->
//! ```
//! The records that the blocks cite are committed beside the text (`tests/records/<lab>.jsonl`, in the format of the store), so
//! [`check`] needs nothing else. Everything outside of the markers belongs to people.
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{because, chart, elsewhere::elsewhere, notes_grid, origin, questions, quote, wrap};
use crate::words::{escape, number};
use crate::{
    judge::{
        Verdict,
        held_out::{Kept, held_out},
        judge, planted, power,
    },
    lab::{Kind, Lab, Say, Step},
    record::{Record, runs_of},
    stats,
};

/// Lines of the folded part of a block.
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
            for line in block.lines(labs, records) {
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
        let expected = block.lines(labs, records);
        let found = &lines[block.begin + 1..block.end];
        for i in 0..expected.len().max(found.len()) {
            let want = expected.get(i).map_or("", String::as_str);
            let have = found.get(i).copied().unwrap_or("");
            // Compared as options as well: a missing empty line is a difference too.
            if want != have || expected.get(i).is_some() != found.get(i).is_some() {
                let (lab, line) = (block.of.name().to_string(), block.begin + 2 + i);
                out.push(Mismatch { lab, line, expected: want.to_string(), found: have.to_string() });
            }
        }
    }
    Ok(out)
}

/// The lines of a lab's block: the answer first, then one table, the reasons, and what they ask next. Every number with its interval, its
/// record and its machine stands in a part that is folded away (at most so many lines).
pub(super) fn section(lab: &Lab, records: &[Record], most_lines: usize) -> Vec<String> {
    let records = crate::judge::cited::speaking(lab, records);
    let mut out = vec![format!("**{}**", lab.question), String::new()];
    if records.is_empty() {
        out.push(format!("Not measured yet: `{}`", lab.command()));
        return out;
    }
    let mut put = |text: String| {
        let indent = if text.starts_with("- ") { 2 } else { 0 };
        out.extend(wrap(&text, LINE, 0, indent).lines().map(str::to_string));
    };
    let mut first = None;
    match quote::aloud(lab, &records) {
        Ok(said) => {
            for (i, (say, text)) in said.iter().enumerate() {
                first = first.or(Some(say.step));
                let head = if i == 0 { "**Say:** " } else { "- " };
                if i == 1 {
                    put("\n**Also:**\n".into());
                }
                put(format!("{head}{}", escape::markdown(text)));
                if i == 0 {
                    put(format!("\n**Not true when** {}.", quote::clause(say).trim_end_matches('.')));
                }
            }
        }
        Err(why) => put(format!("**Say:** nothing yet: {}.", escape::markdown(&why))),
    }
    let main = lab.steps.iter().find(|s| Some(s.name) == first).or(lab.steps.first());
    out.push(String::new());
    // What a withdrawn step measured explains nothing.
    if let Some(step) = main.filter(|step| step.withdrawn.is_none()) {
        out.extend(pictured(lab, step, &records));
        out.extend(because::table(lab, step, &records));
        let reasons = because::reasons(lab, step, &records);
        if !reasons.is_empty() {
            out.push("**Why**".into());
            out.push(String::new());
            for (i, reason) in reasons.iter().enumerate() {
                let text = wrap(&format!("{}. {}", i + 1, reason.markdown()), LINE, 0, 3);
                out.extend(text.lines().map(str::to_string));
            }
            out.push(String::new());
        }
    }
    if !lab.next.is_empty() {
        out.extend(["**They ask next**".to_string(), String::new()]);
        for question in &lab.next {
            out.extend(wrap(&format!("- {question}"), LINE, 0, 2).lines().map(str::to_string));
        }
        out.push(String::new());
    }
    if let Some(text) = elsewhere(lab.stem) {
        out.extend(wrap(&format!("**Elsewhere:** {text}"), LINE, 0, 0).lines().map(str::to_string));
        out.push(String::new());
    }
    out.push("<details><summary>All numbers, verdicts, machine, records</summary>".into());
    out.push(String::new());
    out.extend(dossier(lab, &records, most_lines));
    out.push(String::new());
    out.push("</details>".into());
    out
}

/// The chart of a step in characters, so that `notes --check` holds it against the records; then an empty line. Empty where there is nothing
/// to see.
fn pictured(lab: &Lab, step: &Step, records: &[Record]) -> Vec<String> {
    let Some(chart) = chart::of_argument(lab, step, records) else { return Vec::new() };
    let mut out = vec!["```text".to_string(), format!("{} {}", chart.label, chart.key())];
    out.extend(chart.text(CHART, None).lines().map(str::to_string));
    out.extend(["```".to_string(), String::new()]);
    out
}

/// Columns of a chart: a page on GitHub shows as many without a scroll bar.
const CHART: usize = 100;
/// Columns of a line for reading.
const LINE: usize = 140;

/// The command that repeats a record, without its step: the lab's command runs them all, and `--only` runs one.
fn command(record: &Record) -> String {
    match record.command.split_once(" -- --only ") {
        Some((lab, step)) if !step.contains(' ') => format!("{lab} (-- --only STEP)"),
        _ => record.command.clone(),
    }
}

/// Every number with its interval and its record, every verdict, the machine and the command, in at most so many lines (rows of tables are
/// left out for that).
fn dossier(lab: &Lab, records: &[Record], most_lines: usize) -> Vec<String> {
    let mut out = Vec::new();
    let mut below: Vec<String> = lab.steps.iter().filter_map(|step| verdicts(lab, step, records)).collect();
    below.push(said(lab, records));
    // Steps may have been measured on different days, machines and builds; then all of them are named.
    let mut measured = format!(
        "- Measured {} on {}; {}; {}; {}; repeat with {}.",
        distinct(records, origin::day),
        distinct(records, |r| {
            let groups = r.machine.facts.get("cgroup").map_or("unknown", String::as_str);
            format!("{}, control groups {}", origin::machine(&r.machine), escape::line(groups))
        }),
        distinct(records, |r| r.pooled.as_ref().map_or("one session".into(), |p| p.words())),
        distinct(records, |r| origin::grade(&r.machine, r.kind)),
        distinct(records, |r| origin::build(&r.machine)),
        distinct(records, command),
    );
    let room = most_lines.saturating_sub(below.len() + 1);
    let (tables, left_out, reasons) = notes_grid::tables(lab, records, room);
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
fn verdicts(lab: &Lab, step: &Step, records: &[Record]) -> Option<String> {
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
    let (name, power) = (step.name, smallest_shown(lab, step, records));
    (!parts.is_empty()).then(|| format!("- `{name}`{power}: {}.", parts.join("; ")))
}

/// The smallest difference to the baseline that a step can show, over its parameters.
fn smallest_shown(lab: &Lab, step: &crate::lab::Step, records: &[Record]) -> String {
    let Some(run) = runs_of(records, lab.stem, step.name).first().copied() else { return String::new() };
    let mut all: Vec<f64> =
        step.params().iter().filter_map(|param| power(step, records, run, param)).collect();
    all.sort_by(f64::total_cmp);
    let words: Vec<String> =
        all.first().into_iter().chain(all.last()).map(|p| number::smallest(*p)).collect();
    match &words[..] {
        [least, most] if least != most => {
            format!(" (shows a difference {least} at the best setting, {most} at the worst)")
        }
        [least, ..] => format!(" (shows a difference {least})"),
        [] => String::new(),
    }
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

/// The machines of all these records. Where only the kernel differs, the rest is said once.
fn machines(all: &[Record]) -> String {
    let mut of: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for text in all.iter().map(|r| escape::markdown(&origin::machine(&r.machine))) {
        let (rest, kernel) = text.rsplit_once(", kernel ").unwrap_or((&text, "unknown"));
        of.entry(rest.into()).or_default().insert(kernel.into());
    }
    let kernels = |kernels: BTreeSet<String>| kernels.into_iter().collect::<Vec<_>>().join(" and ");
    let said = of.into_iter().map(|(rest, all)| format!("{rest}, kernel {}", kernels(all)));
    said.collect::<Vec<_>>().join(" and ")
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
    let mut table: Vec<String> = Vec::new();
    for (title, of_subject) in subjects(labs) {
        table.extend([String::new(), format!("**{title}**"), String::new()]);
        table.extend(["| lab | question | answer here |".to_string(), "|---|---|---|".into()]);
        for lab in of_subject {
            let of_lab: Vec<Record> = records.iter().filter(|r| r.lab == lab.stem).cloned().collect();
            let cited = crate::judge::cited::speaking(lab, &of_lab);
            let said = quote::aloud(lab, &cited);
            let said = said.map_or_else(|why| format!("not quotable here: {why}"), |said| said[0].1.clone());
            let (stem, question) = (lab.stem, lab.question);
            table.push(format!("| [`{stem}`](NOTES.md#{stem}) | {question} | {} |", escape::markdown(&said)));
            all.extend(cited);
        }
    }
    if !all.is_empty() {
        let days: BTreeSet<String> = all.iter().map(origin::day).collect();
        let days = days.first().into_iter().chain(days.last().filter(|_| days.len() > 1));
        let days = days.cloned().collect::<Vec<_>>().join(" to ");
        let machines = machines(&all);
        table.push(String::new());
        table.push(format!(
            "Measured {days} on {machines}. [NOTES.md](NOTES.md) says for each number when it is not true, how exact it is and how to \
             repeat it."
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

/// The labs by subject, in their order: the part of a lab's name before the first `_` is its subject.
pub(super) fn subjects<'a>(labs: &[&'a Lab]) -> Vec<(&'static str, Vec<&'a Lab>)> {
    let title = |lab: &Lab| match lab.stem.split('_').next().unwrap_or_default() {
        "lock" => "Locks",
        "cache" => "Caches and scaling",
        "lockfree" => "Lock-free structures",
        "order" => "Memory ordering",
        "os" | "sched" => "Operating system and scheduling",
        "async" => "Async Rust",
        "flow" => "Limits and queues",
        "gc" | "container" => "Garbage collection and containers",
        "dotnet" => ".NET",
        "alloc" => "Memory allocation",
        "collections" => "Collections",
        _ => "Other",
    };
    let mut out: Vec<(&'static str, Vec<&'a Lab>)> = Vec::new();
    for lab in labs {
        match out.iter_mut().find(|(of, _)| *of == title(lab)) {
            Some((_, mine)) => mine.push(lab),
            None => out.push((title(lab), vec![lab])),
        }
    }
    out
}

/// The index of the notes: a line for each lab, by subject.
fn index(labs: &[&Lab]) -> Vec<String> {
    let mut out = Vec::new();
    for (title, of_subject) in subjects(labs) {
        out.extend([format!("**{title}**"), String::new()]);
        out.extend(
            of_subject.iter().map(|lab| format!("- [{}](#{}) `{}`", lab.question, lab.stem, lab.stem)),
        );
        out.push(String::new());
    }
    out.pop();
    out
}

/// Indexes of the two marker lines of a lab, or of one of [`GENERAL`].
struct Block<'a> {
    of: Of<'a>,
    begin: usize,
    end: usize,
}

/// What a block is about.
#[derive(Clone, Copy)]
enum Of<'a> {
    Lab(&'a Lab),
    /// One of [`GENERAL`].
    General(&'static str),
}

/// Blocks that are about all labs: the index, the interview questions, and how well the numbers held from session to session. Notes may be without them.
const GENERAL: [&str; 3] = ["index", "questions", "sessions"];

impl Of<'_> {
    fn name(self) -> &'static str {
        match self {
            Self::Lab(lab) => lab.stem,
            Self::General(name) => name,
        }
    }
}

impl Block<'_> {
    fn lines(&self, labs: &[&Lab], records: &[Record]) -> Vec<String> {
        match self.of {
            Of::Lab(lab) => section(lab, records, MOST_LINES),
            Of::General("index") => index(labs),
            Of::General("questions") => questions::lines(labs),
            Of::General(_) => sessions(labs, records),
        }
    }
}

/// The table of [`held_out`].
pub fn sessions(labs: &[&Lab], records: &[Record]) -> Vec<String> {
    let (kinds, steps) = held_out(labs, records);
    if kinds.is_empty() {
        return vec!["No step has three sessions yet: `underhood soak`.".into()];
    }
    let mut out = vec![
        "| kind of measurement | values checked | inside the predicted interval | differences shown both before and in the newest session | of these, the order changed | half-width of the prediction (median) | half-width from one session (median) | smallest difference that can be shown (median) |".to_string(),
        "|---|---|---|---|---|---|---|---|".into(),
    ];
    let mut all = Kept::default();
    let powers = powers(labs, records);
    let row = |name: &str, kept: &Kept, powers: &[f64]| {
        let share = |n: usize, of: usize| {
            if of == 0 { "-".into() } else { format!("{n} ({:.0} %)", 100.0 * n as f64 / of as f64) }
        };
        let (pooled, one) = kept.half_widths().map_or(("-".into(), "-".into()), |(a, b)| {
            (format!("{:.1} %", 100.0 * a), format!("{:.1} %", 100.0 * b))
        });
        let power = stats::median(powers).map_or("-".into(), number::band);
        format!(
            "| {name} | {} | {} | {} | {} | {pooled} | {one} | {power} |",
            kept.values,
            share(kept.inside, kept.values),
            kept.ratios,
            kept.reversed
        )
    };
    for (kind, kept) in &kinds {
        let powers = powers.get(kind).map_or(&[][..], Vec::as_slice);
        out.push(row(&format!("{kind:?}").to_lowercase(), kept, powers));
        all.add(kept);
    }
    out.push(row("all", &all, &powers.values().flatten().copied().collect::<Vec<_>>()));
    out.push(String::new());
    let text = format!(
        "{steps} steps have three sessions or more. For each step, all sessions but the newest predict an interval. The table \
         shows how often the newest session fell inside. The goal is 95 %. A prediction from two sessions is wide: more \
         sessions make it narrower. The last column is about comparisons, which are paired within a launch. {} more values are \
         not in the table: their newest session met another state of the machine than the bracket is about.",
        all.elsewhere
    );
    out.extend(wrap(&text, LINE, 0, 0).lines().map(str::to_string));
    out.extend(planted_lines(labs, records));
    out
}

/// The table of [`planted`].
fn planted_lines(labs: &[&Lab], records: &[Record]) -> Vec<String> {
    let kinds = planted::found(labs, records);
    if kinds.is_empty() {
        return Vec::new();
    }
    let percent = |share: f64| number::band(share.ln_1p());
    let mut out = vec![
        String::new(),
        "| kind of measurement | comparisons | planted slowdown | found | found in 19 of 20 from | false alarms |"
            .to_string(),
        "|---|---|---|---|---|---|".into(),
    ];
    for (kind, found) in &kinds {
        let of_all = |n: usize| format!("{n} ({:.1} %)", 100.0 * n as f64 / found.tries as f64);
        out.push(format!(
            "| {} | {} | {} | {} | {} | {} |",
            format!("{kind:?}").to_lowercase(),
            found.tries,
            planted::words(*kind).unwrap_or("-"),
            of_all(found.found),
            found.nearly_always().map_or("-".into(), percent),
            of_all(found.alarms),
        ));
    }
    out.push(String::new());
    let text = "Would a slowdown be found? Each run measures its baseline twice (A/A). One of the two is made slower by a \
         known share, in the records, and is compared as a contender would be. The noise that it must exceed is that of the \
         next session. A false alarm is a pair that is called different although neither was made slower. One run of five \
         launches finds less than a pool of sessions does: see the last column above.";
    out.extend(wrap(text, LINE, 0, 0).lines().map(str::to_string));
    out
}

/// What each step can show at each parameter, by kind: see [`power`].
fn powers(labs: &[&Lab], records: &[Record]) -> BTreeMap<Kind, Vec<f64>> {
    let mut out: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
    for lab in labs {
        let mine = crate::judge::cited::speaking(lab, records);
        for step in &lab.steps {
            let Some(run) = runs_of(&mine, lab.stem, step.name).first().copied() else { continue };
            let each = step.params().into_iter().filter_map(|param| power(step, &mine, run, param));
            out.entry(step.kind).or_default().extend(each);
        }
    }
    out
}

fn blocks<'a>(text: &str, labs: &[&'a Lab]) -> Result<Vec<Block<'a>>, NotesError> {
    let error = |index: usize, what: String| NotesError { line: index + 1, what };
    let mut done: Vec<Block<'_>> = Vec::new();
    let mut open: Option<(Of<'_>, usize)> = None;
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
                return Err(error(i, format!("`{name}` begins inside `{}` of line {}", lab.name(), at + 1)));
            }
            ("begin", None) => {
                let lab = labs.iter().find(|l| l.stem == name).map(|l| Of::Lab(l));
                let general = GENERAL.iter().find(|general| **general == name).map(|g| Of::General(g));
                let Some(of) = lab.or(general) else {
                    return Err(error(i, format!("there is no lab `{}`", escape::line(name))));
                };
                if let Some(first) = done.iter().find(|b| b.of.name() == name) {
                    return Err(error(
                        i,
                        format!("`{name}` has a block in line {} already", first.begin + 1),
                    ));
                }
                open = Some((of, i));
            }
            (_, Some((lab, at))) if lab.name() == name => {
                done.push(Block { of: lab, begin: at, end: i });
                open = None;
            }
            (_, Some((lab, at))) => {
                return Err(error(
                    i,
                    format!("`{name}` ends where `{}` of line {} is open", lab.name(), at + 1),
                ));
            }
            (_, None) => return Err(error(i, format!("`{}` ends without a begin", escape::line(name)))),
        }
    }
    if let Some((lab, at)) = open {
        return Err(error(at, format!("`{}` begins here and never ends", lab.name())));
    }
    if let Some(lab) = labs.iter().find(|l| done.iter().all(|b| b.of.name() != l.stem)) {
        let what = format!("no `<!-- underhood:begin {} -->` in any line up to here", lab.stem);
        return Err(NotesError { line: lines, what });
    }
    Ok(done)
}

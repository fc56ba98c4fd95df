//! The report: one HTML page that needs nothing but itself. No script is needed to read it (one fills the copy buttons), and
//! nothing is fetched: its policy forbids it.
//!
//! | file | what it draws |
//! |---|---|
//! | `mod.rs` | the page: the answers, the labs, the machine, what may not be quoted |
//! | `step.rs` | a step: verdicts, charts, reasons, table |
//! | `draw.rs` | a chart as bars, or as lines over a sweep |
//! | `heat.rs` | who wins where, over a grid of two parameters |
//! | `stack.rs` | a whole and its parts |
//! | `swim.rs` | a trace as lanes |
//! | `finding.rs` | the titles of charts |
//!
//! Shown are the runs that [`speaking`](crate::judge::cited::speaking) chooses, so page and notes agree. Text from records is escaped twice: what
//! is invisible or reorders text by [`crate::words::escape`], what is markup by maud.
mod draw;
mod finding;
mod heat;
mod stack;
mod step;
mod swim;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{capital, chart, notes::subjects, origin, quote};
use crate::{judge::cited::cited, words::escape};
use crate::{
    judge::{
        Finding, Verdict,
        guess::{Reveal, reveal},
        judge,
    },
    lab::{Kind, Lab, Step},
    machine::Level,
    record::{Picture, Prediction, Record},
};

/// Bytes of a page. A page that would be longer shows less of its tables and says so.
pub const MOST_BYTES: usize = 2_000_000;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("copy.js");

/// How much of the tables is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    /// All rows and columns.
    All,
    /// Only rows that a claim or a sentence is about, without the further columns.
    Cited,
    /// Neither tables nor charts of single steps.
    Words,
}

/// What a store holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kept<'a> {
    /// Records, of any run.
    pub records: &'a [Record],
    /// Traced cases, and of which lab.
    pub pictures: &'a [(&'a str, Vec<Picture>)],
    /// What the reader said before a run.
    pub predictions: &'a [Prediction],
    /// Said at the end: lines of the store that were skipped, say.
    pub remark: Option<&'a str>,
}

/// A lab with what was measured of it.
struct Shown<'a> {
    lab: &'a Lab,
    records: Vec<Record>,
    pictures: &'a [Picture],
    /// Of each step: the newest prediction, and how it came out.
    guesses: Vec<Option<(&'a Prediction, Reveal)>>,
    findings: Vec<Vec<Finding>>,
}

/// The page of these labs by what is kept. Labs without records are named, records of unknown labs are counted. Pure: the same
/// records give the same bytes.
pub fn report(labs: &[&Lab], kept: &Kept<'_>) -> String {
    let Kept { records, pictures, predictions, remark } = *kept;
    let of_lab =
        |lab: &&Lab| -> Vec<Record> { records.iter().filter(|r| r.lab == lab.stem).cloned().collect() };
    let shown: Vec<Shown<'_>> = labs
        .iter()
        .map(|lab| {
            let of_lab = &of_lab(lab);
            let records = cited(lab, of_lab);
            let findings = lab.steps.iter().map(|step| judge(lab, step, &records)).collect();
            let pictures = pictures.iter().find(|(stem, _)| *stem == lab.stem).map_or(&[][..], |(_, p)| p);
            let guesses = lab.steps.iter().map(|step| guess(lab, step, predictions, of_lab)).collect();
            Shown { lab, records, pictures, guesses, findings }
        })
        .filter(|s| !s.records.is_empty())
        .collect();
    let unknown = records.iter().filter(|r| labs.iter().all(|l| l.stem != r.lab)).count();
    let older = records.len() - unknown - shown.iter().map(|s| s.records.len()).sum::<usize>();
    let mut remarks: Vec<String> = Vec::new();
    if older > 0 {
        remarks.push(format!("{older} records of other runs are in the store and not shown here."));
    }
    if unknown > 0 {
        remarks.push(format!("{unknown} records are of labs that this version does not know."));
    }
    let absent: Vec<&str> =
        labs.iter().map(|l| l.stem).filter(|stem| shown.iter().all(|s| s.lab.stem != *stem)).collect();
    if !absent.is_empty() {
        remarks.push(format!("Not measured yet: {}.", absent.join(", ")));
    }
    remarks.extend(remark.map(|text| format!("{}.", escape::line(text.trim_end_matches('.')))));
    let mut text = String::new();
    for detail in [Detail::All, Detail::Cited, Detail::Words] {
        text = page(&shown, &remarks, detail).into_string();
        if text.len() <= MOST_BYTES {
            break;
        }
    }
    text
}

/// The newest prediction of a step whose run is kept. It need not be the run that is shown.
fn guess<'a>(
    lab: &Lab,
    step: &Step,
    predictions: &'a [Prediction],
    records: &[Record],
) -> Option<(&'a Prediction, Reveal)> {
    let of_step =
        predictions.iter().rev().filter(|p| !p.recalled && p.lab == lab.stem && p.step == step.name);
    let told = of_step.filter(|p| records.iter().any(|r| r.run == p.run));
    told.map(|p| (p, reveal(step, p, records))).next()
}

fn page(shown: &[Shown<'_>], remarks: &[String], detail: Detail) -> Markup {
    let all: Vec<&Record> = shown.iter().flat_map(|s| &s.records).collect();
    let quotable = all.iter().filter(|r| r.quotable).count();
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none';style-src 'unsafe-inline';script-src 'unsafe-inline';img-src data:";
                link rel="icon" href="data:,";
                title { "underhood: " (summary(shown)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#answers" { "Skip to the answers" }
                main {
                    h1 { "What this machine shows" }
                    p.lede { (summary(shown)) ". " (quotable) " of " (all.len()) " numbers may be quoted." }
                    (answers(shown))
                    details {
                        summary { "How to read a chart" }
                        p { "A bar or a dot stands at the middle of the launches, the line over it is the 95 % interval. \
                             Single launches are drawn where they lie far apart. Where the baseline was measured against \
                             itself, the shaded band is the smallest difference that this run can show. What lies within it is \
                             no difference. Dashed marks and ! are not quotable." }
                    }
                    @for s in shown { (lab(s, detail, shown.len() == 1)) }
                    (machine(&all))
                    (barred(shown))
                    @if !remarks.is_empty() || detail > Detail::All {
                        h2 { "Not on this page" }
                        ul {
                            @for text in remarks { li { (text) } }
                            @if let Some(what) = left_out(detail) {
                                li { (what) ", for the size of the page: " code { "underhood report LAB" } " makes a page of one lab with all of it." }
                            }
                        }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

/// The index: each question with the answer that these records give, by subject.
fn answers(shown: &[Shown<'_>]) -> Markup {
    let labs: Vec<&Lab> = shown.iter().map(|s| s.lab).collect();
    let of = |lab: &Lab| shown.iter().find(|s| s.lab.stem == lab.stem);
    html! {
        nav aria-labelledby="answers" {
            h2 id="answers" { "Answers" }
            @for (title, of_subject) in subjects(&labs) {
                @if labs.len() > 1 { h3 { (title) } }
                ul.answers { @for s in of_subject.into_iter().filter_map(of) { li {
                    a href={ "#" (s.lab.stem) } { (s.lab.question) }
                    @match quote::aloud(s.lab, &s.records) {
                        Ok(said) => p { (escape::line(&said[0].1)) },
                        Err(why) => p.soft { "Nothing to say yet: " (escape::line(&why)) "." },
                    }
                } } }
            }
        }
    }
}

fn left_out(detail: Detail) -> Option<&'static str> {
    match detail {
        Detail::All => None,
        Detail::Cited => Some("Further columns, and rows that no claim is about"),
        Detail::Words => Some("Tables, and the charts of single steps"),
    }
}

/// `2 labs: 5 claims held, 1 refuted, 2 not shown here`.
fn summary(shown: &[Shown<'_>]) -> String {
    let labs = format!("{} lab{}", shown.len(), if shown.len() == 1 { "" } else { "s" });
    format!("{labs}: {}", counts(shown.iter().flat_map(|s| s.findings.iter().flatten())))
}

fn counts<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let verdicts: Vec<Verdict> = findings.map(|f| f.verdict).collect();
    let parts = [Verdict::Held, Verdict::Refuted, Verdict::NotShown].map(|v| {
        let n = verdicts.iter().filter(|x| **x == v).count();
        (n, v.words())
    });
    let parts: Vec<String> =
        parts.iter().filter(|(n, _)| *n > 0).map(|(n, words)| format!("{n} {words}")).collect();
    if parts.is_empty() { "no claims".into() } else { parts.join(", ") }
}

/// What records say of themselves, each text once, in their order.
fn distinct(records: &[&Record], of: impl Fn(&Record) -> String) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for text in records.iter().map(|r| of(r)) {
        if !texts.contains(&text) {
            texts.push(text);
        }
    }
    texts
}

fn machine(records: &[&Record]) -> Markup {
    let mut grades: Vec<(Kind, Level, String)> = Vec::new();
    for (kind, grade) in records.iter().flat_map(|r| &r.machine.grades) {
        // The reasons of two runs differ in their numbers only: the worst one is said.
        match grades.iter_mut().find(|(k, ..)| k == kind) {
            Some(known) if known.1 < grade.level => {
                *known = (*kind, grade.level, origin::grade_text(*kind, grade))
            }
            Some(_) => {}
            None => grades.push((*kind, grade.level, origin::grade_text(*kind, grade))),
        }
    }
    let lines = [
        ("Machine", distinct(records, |r| origin::machine(&r.machine))),
        ("Build", distinct(records, |r| origin::build(&r.machine))),
        ("Versions", distinct(records, |r| origin::versions(&r.machine))),
        ("Measured", distinct(records, origin::day)),
        ("Grade", grades.into_iter().map(|(.., text)| text).collect()),
    ];
    html! {
        h2 { "The machine" }
        dl { @for (label, texts) in lines { dt { (label) } @for text in texts { dd { (text) } } } }
        p.soft { "If the machine cannot show an effect, the grade says so. A grade is the worst one of the runs shown." }
    }
}

/// What may not be quoted and why, a line a step.
fn barred(shown: &[Shown<'_>]) -> Markup {
    let mut lines: Vec<(String, usize, usize, String, usize)> = Vec::new();
    for s in shown {
        for step in &s.lab.steps {
            let of_step: Vec<&Record> = s.records.iter().filter(|r| r.step == step.name).collect();
            let bad: Vec<&Record> = of_step.iter().copied().filter(|r| !r.quotable).collect();
            let reasons = distinct(&bad, |r| super::table::reasons(r).first().cloned().unwrap_or_default());
            if let Some(first) = reasons.first() {
                let anchor = step::anchor(s.lab, step);
                lines.push((anchor, bad.len(), of_step.len(), first.clone(), reasons.len() - 1));
            }
        }
    }
    html! {
        h2 { "What may not be quoted, and why" }
        @if lines.is_empty() {
            p { "Every number on this page may be quoted, with its conditions." }
        } @else {
            ul { @for (anchor, bad, of, why, more) in lines {
                li {
                    a href={ "#" (anchor) } { (anchor) } ": "
                    @if bad == of { "none of its " (of) " numbers: " } @else { (bad) " of " (of) " numbers: " }
                    (why) @if more > 0 { " (and " (more) " other reason" @if more > 1 { "s" } ")" }
                }
            } }
        }
    }
}

fn lab(s: &Shown<'_>, detail: Detail, alone: bool) -> Markup {
    let lab = s.lab;
    let said = quote::aloud(lab, &s.records);
    let main = said.as_ref().ok().and_then(|said| lab.steps.iter().find(|step| step.name == said[0].0.step));
    let main = main.or(lab.steps.first()).filter(|step| step.withdrawn.is_none());
    html! {
        section id=(lab.stem) aria-labelledby={ (lab.stem) "-q" } {
            h2 id={ (lab.stem) "-q" } { (lab.question) }
            @match &said {
                Ok(said) => {
                    p.lede { (escape::line(&said[0].1)) }
                    p { b { "Not true when " } (quote::clause(said[0].0)) "." }
                },
                Err(why) => p { b { "Say nothing yet: " } (escape::line(why)) "." },
            }
            @if let Some(step) = main {
                div.argument {
                    @if let Some(chart) = argument(lab, step, &s.records) {
                        (draw::figure(&chart, &format!("{}.main.", lab.stem), &capital(&chart.label)))
                    }
                    div { (step::reasons_of(lab, step, &s.records)) }
                }
                @for text in step::unquotable(&chart::argument(lab, step, &s.records).1) { p.soft { (text) } }
            }
            (quotation(lab, &s.records))
            p.soft { a href={ "#" (lab.stem) } { (lab.stem) } ": " (counts(s.findings.iter().flatten())) }
            @for i in 0..lab.steps.len() {
                (step::section(s, i, detail, alone, main.is_some_and(|step| step.name == lab.steps[i].name)))
            }
            details.step {
                summary { h3 { "What they ask next, and what these numbers do not show" } }
                ul { @for text in &lab.next { li { (text) } } }
                p { b { "What these numbers do not show" } }
                ul { @for text in &lab.not_said { li { (text) } } }
            }
        }
    }
}

/// The chart that carries the answer. Over a sweep its variants are drawn at every setting, so that no line has a gap that is none.
fn argument(lab: &Lab, step: &Step, records: &[Record]) -> Option<chart::Chart> {
    let chart = chart::of_argument(lab, step, records)?;
    if !draw::is_sweep(&chart) {
        return Some(chart);
    }
    let (value, rows) = chart::argument(lab, step, records);
    let run = &rows.first()?.run;
    let all = super::table::rows(step, records, run);
    let all: Vec<&Record> = all.into_iter().filter(|r| rows.iter().any(|a| a.case == r.case)).collect();
    chart::Chart::of(step, records, &all, value)
}

/// The sentences with their intervals and conditions, folded, and a button that copies each.
fn quotation(lab: &Lab, records: &[Record]) -> Markup {
    let Ok(carried) = quote::carried(lab, records) else { return html! {} };
    html! {
        details.step {
            summary { h3 { "To quote it: intervals, machine, command" } }
            @for (i, (say, sentence)) in carried.iter().enumerate() {
                @let id = format!("{}-say{i}", lab.stem);
                blockquote id=(id) {
                    p { (escape::line(&sentence.text)) }
                    p.soft { @for (label, text) in quote::origin_of(say, sentence) { @if label != "Versions" { b { (label) } " " (text) ". " } } }
                }
                button type="button" hidden data-copy=(id) { "Copy this sentence with its conditions" }
            }
        }
    }
}

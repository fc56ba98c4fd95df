//! The report: one HTML page that needs nothing but itself. No script is needed to read it (one fills the copy buttons), and
//! nothing is fetched: its policy forbids it.
//!
//! | file | what it draws |
//! |---|---|
//! | `mod.rs` | the page: machine, what may not be quoted, labs |
//! | `step.rs` | a step: verdicts, charts, table |
//! | `dots.rs`, `sweep.rs` | cases at one parameter; cases over the parameters |
//! | `heat.rs` | who wins where, over a grid of two parameters |
//! | `stack.rs` | a whole and its parts |
//! | `swim.rs` | a trace as lanes |
//! | `finding.rs` | the titles of charts |
//! | `axis.rs` | where a value lies |
//!
//! Shown are the runs that [`speaking`](crate::judge::cited::speaking) chooses, so page and notes agree. Text from records is escaped twice: what
//! is invisible or reorders text by [`crate::words::escape`], what is markup by maud.
mod axis;
mod dots;
mod finding;
mod heat;
mod stack;
mod step;
mod sweep;
mod swim;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{origin, quote};
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
pub const MOST_BYTES: usize = 200_000;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("copy.js");

/// How much of the tables is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Detail {
    /// All rows and columns.
    All,
    /// All rows, without the further columns.
    Headlines,
    /// Only rows that a claim or a sentence is about.
    Cited,
    /// No tables, one chart a step, one sentence a lab.
    Brief,
    /// One chart a lab, claims that did not hold, and no explanations.
    Digest,
    /// No chart: questions, verdicts and sentences, with the commands of these.
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
    for detail in
        [Detail::All, Detail::Headlines, Detail::Cited, Detail::Brief, Detail::Digest, Detail::Words]
    {
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
                a.skip href="#labs" { "Skip to the labs" }
                main {
                    h1 { "What this machine shows" }
                    p.lede { (summary(shown)) ". " (quotable) " of " (all.len()) " numbers may be quoted." }
                    (machine(&all))
                    (barred(shown))
                    nav aria-labelledby="labs" {
                        h2 id="labs" { "Labs" }
                        ul { @for s in shown {
                            li { a href={ "#" (s.lab.stem) } { (s.lab.question) } " " span.soft { (counts(s.findings.iter().flatten())) } }
                        } }
                    }
                    h2 { "How to read a chart" }
                    p { "A dot is a launch of the program, a bar the 95 % interval over launches, a short upright line its middle. Where the "
                        "baseline was measured against itself (A/A), the shaded band is the smallest difference that this run can show: what "
                        "lies within it is no difference. Over parameters, each case has a panel of its own on the same axis, upright bars are "
                        "intervals, and a thin line repeats the baseline. Dashed marks and ! are not quotable." }
                    @for s in shown { (lab(s, detail)) }
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

fn left_out(detail: Detail) -> Option<&'static str> {
    match detail {
        Detail::All => None,
        Detail::Headlines => Some("Further columns of the tables"),
        Detail::Cited => Some("Further columns, and rows that no claim is about"),
        Detail::Brief => Some("Tables, and some charts and sentences"),
        Detail::Digest => Some(
            "Tables, most charts, claims that held, explanations, the commands of single steps, what they will ask next, and the machine beside \
             each sentence",
        ),
        Detail::Words => Some(
            "Tables, charts, claims that held, explanations, the commands of single steps, and what they will ask next",
        ),
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
        p.soft { "A machine that cannot show an effect is told so; a grade is the worst one of the runs shown." }
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

fn lab(s: &Shown<'_>, detail: Detail) -> Markup {
    let lab = s.lab;
    html! {
        section id=(lab.stem) aria-labelledby={ (lab.stem) "-q" } {
            h2 id={ (lab.stem) "-q" } { (lab.question) }
            p.soft { a href={ "#" (lab.stem) } { (lab.stem) } ": " (counts(s.findings.iter().flatten())) }
            (quotation(lab, &s.records, detail))
            @for i in 0..lab.steps.len() {
                (step::section(s, i, detail))
            }
            @if detail < Detail::Digest {
                h3 { "What these numbers do not allow anybody to say" }
                ul { @for text in &lab.not_said { li { (text) } } }
                h3 { "They will ask next" }
                ul { @for text in &lab.next { li { (text) } } }
            }
        }
    }
}

/// The sentence with its conditions and a button that copies both, or why there is none.
fn quotation(lab: &Lab, records: &[Record], detail: Detail) -> Markup {
    let carried = match quote::carried(lab, records) {
        Ok(carried) => carried,
        Err((_, why)) => return html! { p { b { "Say nothing yet: " } (escape::line(&why)) "." } },
    };
    html! {
        @let most = if detail >= Detail::Brief { 1 } else { carried.len() };
        @for (i, (say, sentence)) in carried.iter().take(most).enumerate() {
            @let id = format!("{}-say{i}", lab.stem);
            blockquote id=(id) {
                p { (escape::line(&sentence.text)) }
                p.soft {
                    @for (label, text) in quote::origin_of(say, sentence) { @if label != "Versions" && (detail < Detail::Digest || !["Sessions", "Build", "Machine", "Grade"].contains(&label)) { b { (label) } " " (text) ". " } }
                }
            }
            button type="button" hidden data-copy=(id) { "Copy this sentence with its conditions" }
        }
    }
}

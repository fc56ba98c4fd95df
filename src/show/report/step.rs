//! A step of a lab: what was asked, and folded behind it what was expected, verdicts, charts, the mechanism, the table.
use maud::{Markup, html};

use super::{Detail, Shown, capital, draw, finding, heat, stack, swim};
use crate::{
    judge::{Finding, Verdict, guess, name},
    lab::{Kind, Lab, Step},
    record::{Record, runs_of},
    show::{
        because,
        chart::{self, Chart},
        table::{Doubts, folded, ratio_cell, reasons, remarks, rows},
    },
    words::{escape, number},
};

/// The id of a step on the page, for links: `lock_rwlock.readers`.
pub(super) fn anchor(lab: &Lab, step: &Step) -> String {
    format!("{}.{}", lab.stem, step.name)
}

/// Bars of more rows than this are a table; then only the setting that the reader is asked about is drawn.
const MOST_BARS: usize = 16;

/// The lab's step of this number: its question, and folded behind it the verdicts, the charts, the reasons and the table.
pub(super) fn section(shown: &Shown<'_>, number: usize, detail: Detail, open: bool, is_main: bool) -> Markup {
    let Shown { lab, records, pictures, .. } = shown;
    let (step, findings, guess) = (&lab.steps[number], &shown.findings[number], &shown.guesses[number]);
    let id = anchor(lab, step);
    let run = runs_of(records, lab.stem, step.name).first().copied();
    let Some((run, rows)) =
        run.map(|run| (run, rows(step, records, run))).filter(|(_, rows)| !rows.is_empty())
    else {
        return html! { div.step id=(id) { h3 { (step.ask) } p.soft { "Not measured yet: " code { (lab.command_for(step.name)) } } } };
    };
    let (rows, absent) = folded(step, rows);
    let first = rows[0];
    let launches = rows.iter().map(|r| r.launches.len()).max().unwrap_or(0);
    html! {
        details.step id=(id) open[open] {
            summary { h3 { (step.ask) } " " span.soft { (super::counts(findings.iter())) } }
            @if !findings.is_empty() { ul.claims { @for f in findings { (claim(f)) } } }
            @if let Some((made, came_out)) = guess {
                p { b { "Your prediction: " } (escape::line(&came_out.text))
                    @if !made.why.is_empty() { " Your reason was: " (escape::line(made.why.trim_end_matches('.'))) "." } }
            }
            @if detail < Detail::Words {
                @for chart in charts(lab, step, records, &rows) { (chart) }
                @for chart in swim::charts(step, pictures) { (chart) }
                @for text in unquotable(&rows) { p.soft { (text) } }
            }
            @for text in &absent { p.soft { (text) } }
            @if !is_main { (reasons_of(lab, step, records)) }
            @if detail < Detail::Words { (table(lab, step, records, &rows, detail)) }
            p.soft {
                @if matches!(first.kind, Kind::Contended | Kind::Tail) { (first.threads) " thread" @if first.threads != 1 { "s" } ", " }
                @if first.pooled.is_none() { (launches) " launch" @if launches != 1 { "es" } ", run " }
                (escape::line(run)) ". Repeat: " code { (escape::line(&first.command)) }
            }
        }
    }
}

/// The charts of a step: all of it where that can be read, else the setting that the reader is asked about; lines over a sweep; percentiles,
/// parts and winners where it has them.
fn charts(lab: &Lab, step: &Step, records: &[Record], rows: &[&Record]) -> Vec<Markup> {
    let id = anchor(lab, step);
    let (_, asked) = guess::asked(step);
    let mut params: Vec<&str> = Vec::new();
    for r in rows {
        if !params.contains(&r.param.as_str()) {
            params.push(&r.param);
        }
    }
    let one = params.iter().copied().find(|p| *p == asked).unwrap_or(params[0]);
    let of_one: Vec<&Record> = rows.iter().copied().filter(|r| r.param == one).collect();
    let all = Chart::of(step, records, rows, step.headline);
    let single = || Chart::of(step, records, &of_one, step.headline);
    let title = capital(&finding::of_cases(step, records, &of_one));
    let course = || capital(&finding::of_sweep(step, rows, &params));
    let mut out: Vec<Markup> = Vec::new();
    match all {
        Some(all) if draw::is_sweep(&all) => {
            out.push(draw::figure(&all, &format!("{id}.sweep."), &course()));
            out.extend(single().map(|c| draw::figure(&c, &format!("{id}.one."), &title)));
        }
        Some(all) if rows.len() <= MOST_BARS && params.len() > 1 => {
            out.push(draw::figure(&all, &format!("{id}.all."), &course()));
        }
        Some(_) => out.extend(single().map(|c| draw::figure(&c, &format!("{id}.one."), &title))),
        None => {}
    }
    if let Some(chart) = chart::of_percentiles(step, &of_one) {
        let title =
            format!("{}{}, from the median to the longest", capital(&chart.label), name::at(step, one));
        out.push(draw::figure(&chart, &format!("{id}.tail."), &title));
    }
    out.extend(stack::chart(step, &of_one));
    out.extend(heat::charts(step, records, rows));
    out
}

/// Why rows may not be quoted, and which state the launches met: said beside the charts.
pub(super) fn unquotable(rows: &[&Record]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for r in rows.iter().filter(|r| !r.quotable && r.unmeasured().is_none()) {
        for why in reasons(r).into_iter().take(1).map(|why| format!("Not quotable: {why}.")) {
            if !out.contains(&why) {
                out.push(why);
            }
        }
    }
    let state = rows.iter().find_map(|r| r.pooled.as_ref()?.state);
    out.extend(state.filter(|s| s.others > 0).map(|s| {
        format!(
            "The machine was in two states. Shown are the {} launches that met this one: {}. The other {} are not in these numbers.",
            s.launches,
            s.met.words(),
            s.others
        )
    }));
    out
}

/// The reasons, each with what supports it.
pub(super) fn reasons_of(lab: &Lab, step: &Step, records: &[Record]) -> Markup {
    let all = because::reasons(lab, step, records);
    html! {
        @if !all.is_empty() {
            p { b { "Why" } }
            ol { @for reason in &all { li {
                @if reason.refuted { "Often said: \u{201c}" (code(reason.text)) "\u{201d}" } @else { (code(reason.text)) }
                " " i.soft { (code(&escape::line(&reason.evidence))) "." }
            } } }
        }
    }
}

fn claim(f: &Finding) -> Markup {
    let mark = match f.verdict {
        Verdict::Held => "+",
        Verdict::Refuted => "\u{d7}",
        Verdict::NotShown => "?",
    };
    html! {
        li {
            b.(class(f.verdict)) { (mark) " " (f.verdict.words()) } ": " (f.claim.trim_end_matches('.'))
            @if let Some(n) = f.numbers { ": " (number::interval(f.value, &n)) }
            @if f.verdict == Verdict::NotShown { span.soft { " (" (escape::line(&f.why)) ")" } }
        }
    }
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Held => "held",
        Verdict::Refuted => "refuted",
        Verdict::NotShown => "open",
    }
}

/// The numbers behind the charts; each row is a record, and its id is a link to it.
fn table(lab: &Lab, step: &Step, records: &[Record], rows: &[&Record], detail: Detail) -> Markup {
    let says =
        lab.says.iter().filter(|s| s.step == step.name).flat_map(|s| std::iter::once(s.of).chain(s.against));
    let picks: Vec<_> = step.claims.iter().flat_map(|c| c.bound.picks()).chain(says).collect();
    let is_cited = |r: &Record| picks.iter().any(|p| p.case == r.case && p.param == r.param);
    let shown: Vec<&Record> =
        rows.iter().copied().filter(|r| detail < Detail::Cited || is_cited(r)).collect();
    let with_param = rows.iter().any(|r| !r.param.is_empty());
    let columns: &[&str] = if detail == Detail::All { &step.columns } else { &[] };
    let mut doubts = Doubts::default();
    let lines: Vec<(&Record, String, Vec<usize>)> = shown
        .iter()
        .map(|r| {
            let mut texts = if r.unmeasured().is_some() || !r.quotable { reasons(r) } else { Vec::new() };
            texts.extend(remarks(r, true));
            let (ratio, why) = ratio_cell(step, records, r);
            texts.extend(why);
            (*r, ratio, texts.into_iter().map(|t| doubts.number(t)).collect())
        })
        .collect();
    let caption = format!("{}, 95 % intervals over launches", name::value(step, step.headline));
    html! {
        details {
            summary { "Table: " (shown.len()) " of " (rows.len()) " numbers" @if !doubts.texts.is_empty() { ", with notes" } }
            div.wide role="region" tabindex="0" aria-label={ "Table of " (anchor(lab, step)) } {
                table {
                    caption { (caption) }
                    thead { tr {
                        @if with_param { th scope="col" { "setting" } }
                        th scope="col" { "variant" }
                        th scope="col" { (name::value(step, step.headline)) }
                        th scope="col" { "ratio" }
                        @for value in columns { th scope="col" { (name::value(step, value)) } }
                        th scope="col" { "notes" }
                        th scope="col" { "record" }
                    } }
                    tbody { @for (r, ratio, notes) in &lines {
                        tr {
                            @if with_param { td { (name::setting(step, &r.param)) } }
                            th scope="row" { (name::variant(step, &r.case)) }
                            td { (crate::show::shown(r, step.headline)) }
                            td { (ratio) }
                            @for name in columns { td { (r.interval_of(name).map_or("-".into(), |i| number::value(name, i.mid))) } }
                            td {
                                @if !r.quotable { "! " }
                                (notes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
                            }
                            @let id = escape::line(&r.id);
                            td { a id={ "r" (id) } href={ "#r" (id) } { (id) } }
                        }
                    } }
                }
            }
            @if !doubts.texts.is_empty() {
                p.soft { "Notes (!: not quotable)" }
                ol { @for text in &doubts.texts { li { (text) } } }
            }
        }
    }
}

/// Prose of a lab, where names of the code stand between backticks.
fn code(text: &str) -> Markup {
    let parts: Vec<&str> = text.split('`').collect();
    // A backtick without its partner is no markup.
    if parts.len().is_multiple_of(2) {
        return html! { (text) };
    }
    html! { @for (i, part) in parts.iter().enumerate() { @if i % 2 == 0 { (part) } @else { code { (part) } } } }
}

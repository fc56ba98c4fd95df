//! A step of a lab: what was asked and expected, verdicts, charts, the table behind them, the mechanism.
use maud::{Markup, html};

use super::{Detail, Shown, dots, heat, stack, sweep, swim};
use crate::{
    judge::{Finding, Verdict},
    lab::{Lab, Predict, Step},
    record::{Record, runs_of},
    show::table::{Doubts, folded, ratio_cell, reasons, remarks, rows},
    words::{escape, number},
};

/// The id of a step on the page, for links: `lock_rwlock.readers`.
pub(super) fn anchor(lab: &Lab, step: &Step) -> String {
    format!("{}.{}", lab.stem, step.name)
}

/// The lab's step of this number.
pub(super) fn section(shown: &Shown<'_>, number: usize, detail: Detail) -> Markup {
    let Shown { lab, records, pictures, .. } = shown;
    let (step, findings, guess) = (&lab.steps[number], &shown.findings[number], &shown.guesses[number]);
    let id = anchor(lab, step);
    let run = runs_of(records, lab.stem, step.name).first().copied();
    let Some((run, rows)) =
        run.map(|run| (run, rows(step, records, run))).filter(|(_, rows)| !rows.is_empty())
    else {
        return html! { h3 id=(id) { (step.ask) } p { (id) ": not measured yet." } };
    };
    let (rows, absent) = folded(rows);
    let first = rows[0];
    let launches = rows.iter().map(|r| r.launches.len()).max().unwrap_or(0);
    // A step over many parameters shows one of them in full: the one that the reader is asked about, if the run has it.
    let asked = match step.predict {
        Predict::Number { param, .. } | Predict::Best { param } => param,
    };
    let mut params: Vec<&str> = Vec::new();
    for r in &rows {
        if !params.contains(&r.param.as_str()) {
            params.push(&r.param);
        }
    }
    let sweep = sweep::chart(step, &rows);
    if sweep.is_some() || params.len() > 2 || detail >= Detail::Brief {
        let one = params.iter().copied().find(|p| *p == asked).unwrap_or(params[0]);
        params = vec![one];
    }
    let of = |param: &&str| -> Vec<&Record> { rows.iter().copied().filter(|r| r.param == **param).collect() };
    let mut charts: Vec<Markup> = params.iter().filter_map(|p| dots::chart(step, records, &of(p))).collect();
    if detail < Detail::Brief
        && let Some(param) = params.first()
    {
        charts.extend(sweep::percentiles(step, &of(param)));
        charts.extend(stack::chart(step, &of(param)));
        charts.extend(heat::charts(step, records, &rows));
    }
    match sweep {
        Some(sweep) if detail >= Detail::Brief => charts = vec![sweep],
        Some(sweep) => charts.insert(0, sweep),
        None => {}
    }
    if detail == Detail::Words || (detail == Detail::Digest && step.name != lab.steps[0].name) {
        charts.clear();
    }
    let shown_claims: Vec<&Finding> =
        findings.iter().filter(|f| detail < Detail::Digest || f.verdict != Verdict::Held).collect();
    html! {
        h3 id=(id) { (step.ask) }
        p.soft {
            a href={ "#" (id) } { (id) } ": " (first.threads) " thread" @if first.threads != 1 { "s" } ", "
            (launches) " launch" @if launches != 1 { "es" } @if detail < Detail::Digest { ", run " (escape::line(run)) } "."
        }
        @if !shown_claims.is_empty() { ul.claims { @for f in shown_claims { (claim(f)) } } }
        @if let Some((made, came_out)) = guess {
            p { b { "Your prediction: " } (escape::line(&came_out.text))
                @if !made.why.is_empty() { " Your reason was: " (escape::line(made.why.trim_end_matches('.'))) "." } }
        }
        @if charts.is_empty() && detail < Detail::Digest { p { "No chart: nothing was measured." } }
        @for chart in charts { (chart) }
        @if detail < Detail::Digest { @for text in &absent { p.soft { (text) } } }
        @if detail < Detail::Brief { @for chart in swim::charts(step, pictures) { (chart) } }
        @if detail < Detail::Brief { (table(lab, step, records, &rows, detail)) }
        @if detail < Detail::Digest { p { b { "Why: " } (code(&crate::judge::why(lab, step, records))) } }
        @if detail < Detail::Digest { p.soft { "Repeat: " code { (escape::line(&first.command)) } } }
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
            texts.extend(remarks(r));
            let (ratio, why) = ratio_cell(step, records, r);
            texts.extend(why);
            (*r, ratio, texts.into_iter().map(|t| doubts.number(t)).collect())
        })
        .collect();
    let caption = format!("{}, 95 % intervals over launches", number::label(step.headline));
    html! {
        details {
            summary { "Table: " (shown.len()) " of " (rows.len()) " numbers" @if !doubts.texts.is_empty() { ", with notes" } }
            div.wide role="region" tabindex="0" aria-label={ "Table of " (anchor(lab, step)) } {
                table {
                    caption { (caption) }
                    thead { tr {
                        @if with_param { th scope="col" { "at" } }
                        th scope="col" { "case" }
                        th scope="col" { (number::label(step.headline)) }
                        th scope="col" { "ratio" }
                        @for name in columns { th scope="col" { (number::label(name)) } }
                        th scope="col" { "notes" }
                        th scope="col" { "record" }
                    } }
                    tbody { @for (r, ratio, notes) in &lines {
                        tr {
                            @if with_param { td { (escape::line(&r.param)) } }
                            th scope="row" { (escape::line(&r.case)) }
                            td { (r.interval_of(step.headline).map_or("unmeasured".into(), |i| number::interval(step.headline, &i))) }
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

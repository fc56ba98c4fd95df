//! A whole and its parts: a bar for each case, divided as the step's columns divide its headline (the pause ledger).
use maud::{Markup, html};

use crate::{
    judge::name,
    lab::{Step, sample::AA},
    record::Record,
    words::number,
};

/// The columns that are parts of the headline, as shares of it: `lost_runq_share` of what `lost_share` says was lost.
fn parts(step: &Step) -> Option<Vec<(&'static str, String)>> {
    let whole = step.headline.strip_suffix("_share")?;
    let part = |name: &&'static str| {
        let middle = name.strip_suffix("_share")?.strip_prefix(whole)?.strip_prefix('_')?;
        Some((*name, middle.replace('_', " ")))
    };
    let parts: Vec<_> = step.columns.iter().filter_map(part).collect();
    (parts.len() >= 2).then_some(parts)
}

/// The chart at one parameter; `None` if the headline has no parts.
pub(super) fn chart(step: &Step, rows: &[&Record]) -> Option<Markup> {
    let parts = parts(step)?;
    let mid = |r: &Record, name: &str| r.interval_of(name).map(|i| i.mid.max(0.0));
    let rows: Vec<&Record> =
        rows.iter().copied().filter(|r| r.case != AA && mid(r, step.headline).is_some()).collect();
    let first = rows.first()?;
    let said = |r: &Record| {
        let shares = parts.iter().filter_map(|(name, label)| Some((mid(r, name)?, *name, label)));
        let shown: Vec<String> = shares
            .filter(|(share, ..)| *share >= 0.005)
            .map(|(share, name, label)| format!("{label} {}", number::value(name, share)))
            .collect();
        if shown.is_empty() { "nothing".to_string() } else { shown.join(", ") }
    };
    let most = rows.iter().max_by(|a, b| {
        mid(a, step.headline).unwrap_or(0.0).total_cmp(&mid(b, step.headline).unwrap_or(0.0))
    })?;
    let label = name::value(step, step.headline);
    let whole = number::value(step.headline, mid(most, step.headline)?);
    Some(html! {
        figure {
            figcaption { (label) (name::at(step, &first.param)) ": most with " (name::variant(step, &most.case)) ", " (whole) ", of that " (said(most)) }
            div.stack { @for r in &rows {
                p {
                    span { (name::variant(step, &r.case)) @if !r.quotable { " !" } }
                    span.bar aria-hidden="true" { @for (i, (name, _)) in parts.iter().enumerate() {
                        @let share = mid(r, name).unwrap_or(0.0).min(1.0);
                        @if share > 0.0 { i.{ "s" (i % 5) } style={ "width:" (format!("{:.1}", share * 100.0)) "%" } {} }
                    } }
                    b { (number::value(step.headline, mid(r, step.headline).unwrap_or(0.0))) ": " (said(r)) }
                }
            } }
            p.key { (label) ", divided into its causes. Each bar is 100 % of that row's value. Its parts are in the order of \
                 the words beside it." }
        }
    })
}

//! One parameter of a step: a row a case, a dot a launch, a bar for the interval, and the A/A band behind them.
//!
//! Names and numbers are HTML, so that they can be read aloud and copied; only the marks are SVG, which stretches with the page while its
//! strokes keep their width: so nothing shrinks at 320 px.
use std::collections::BTreeSet;

use maud::{Markup, PreEscaped, html};

use super::{axis::Axis, finding};
use crate::{
    lab::Step,
    record::{Record, aa_band, find},
    words::{escape, number},
};

/// The chart of the records of one run at one parameter; `None` if none of them has a number.
pub(super) fn chart(step: &Step, records: &[Record], rows: &[&Record]) -> Option<Markup> {
    let first = rows.first()?;
    let name = step.headline;
    let values: Vec<f64> = rows.iter().flat_map(|r| r.values(name)).collect();
    let ends: Vec<f64> = rows
        .iter()
        .filter_map(|r| r.interval_of(name))
        .filter(|i| i.n > 1)
        .flat_map(|i| [i.lo, i.hi])
        .collect();
    let axis = Axis::over(name, &values, &ends)?;
    let band = aa_band(records, &first.run, &first.param, name).zip(
        find(records, &first.run, &first.baseline, &first.param)
            .and_then(|b| b.interval_of(name))
            .map(|i| i.mid),
    );
    let band = band.map(|(band, mid)| (x(axis.at(mid * (-band).exp())), x(axis.at(mid * band.exp()))));
    let title = finding::of_cases(step, records, rows);
    let alternative = format!(
        "Chart of {}. A dot for each launch and a bar for each interval; the numbers stand beside them.",
        number::label(name)
    );
    let marks = marks(name, rows, axis, band);
    Some(html! {
        figure {
            figcaption { (title) }
            div.dots style={ "--n:" (rows.len()) } {
                svg viewBox={ "0 0 1000 " (ROW * rows.len()) } preserveAspectRatio="none" role="img" aria-label=(alternative) {
                    (PreEscaped(marks))
                }
                @for r in rows { p { span { (escape::line(&r.case)) } b { (said(step, r)) } } }
                div.axis { @for tick in axis.ticks(name) {
                    span style={ "left:" (format!("{:.1}", axis.at(tick) * 100.0)) "%" } { (number::value(name, tick)) }
                } }
            }
            p.key {
                (number::label(name)) (crate::words::at(&first.param)) ", " (axis.kind())
                @if band.is_some() { "; shaded: A/A" }
                @if rows.iter().any(|r| !r.quotable) { "; dashed and !: not quotable" }
                "."
            }
        }
    })
}

fn said(step: &Step, r: &Record) -> String {
    let number =
        r.interval_of(step.headline).map_or("unmeasured".into(), |i| number::interval(step.headline, &i));
    if r.quotable { number } else { format!("{number} !") }
}

/// Height of a row in the drawing; its marks lie in the lower part, since on a narrow page its text lies above.
const ROW: usize = 20;

/// The marks of all rows in four paths. Numbers only, so nothing is there to escape; by hand, because a page has hundreds.
fn marks(name: &str, rows: &[&Record], axis: Axis, band: Option<(i64, i64)>) -> String {
    let (mut dots, mut mids, mut sure, mut unsure) =
        (String::new(), String::new(), String::new(), String::new());
    for (i, r) in rows.iter().enumerate() {
        let top = ROW * i;
        // Launches that fall on the same spot are one dot to the eye anyway.
        let spots: BTreeSet<i64> = r.values(name).iter().map(|v| x(axis.at(*v))).collect();
        dots.extend(spots.iter().map(|x| format!("M{x} {}h0", top + 14)));
        if let Some(i) = r.interval_of(name) {
            let bars = if r.quotable { &mut sure } else { &mut unsure };
            if i.n > 1 {
                bars.push_str(&format!("M{} {}H{}", x(axis.at(i.lo)), top + 18, x(axis.at(i.hi))));
            }
            mids.push_str(&format!("M{} {}v4", x(axis.at(i.mid)), top + 16));
        }
    }
    let mut out = String::new();
    if let Some((from, to)) = band {
        out.push_str(&format!(
            "<rect x={from} width={} height=\"{}\"/>",
            (to - from).max(2),
            ROW * rows.len()
        ));
    }
    for (class, path) in [("d", dots), ("i", sure), ("\"i q\"", unsure), ("m", mids)] {
        if !path.is_empty() {
            out.push_str(&format!("<path class={class} d=\"{path}\"/>"));
        }
    }
    out
}

/// Whole thousandths of the width.
fn x(share: f64) -> i64 {
    (share * 1000.0).round() as i64
}

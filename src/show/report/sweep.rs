//! A step over its parameters, or a delay over its percentiles: a small panel a case, all on the same axis, with the baseline behind each.
//!
//! Panels and not one chart with many lines: eight lines are told apart by colour alone, which not everybody sees.
use maud::{Markup, html};

use super::{axis::Axis, finding};
use crate::{
    lab::{Step, sample::AA},
    record::Record,
    stats::Interval,
    words::{escape, number},
};

/// A case with what it gave at each place of the horizontal axis.
struct Line<'a> {
    case: &'a str,
    at: Vec<Option<Interval>>,
    quotable: bool,
}

/// The step over its parameters; `None` with fewer than three parameters (two make no line) or without a number.
pub(super) fn chart(step: &Step, rows: &[&Record]) -> Option<Markup> {
    let mut params: Vec<&str> = Vec::new();
    for r in rows.iter().filter(|r| r.case != AA) {
        if !params.contains(&r.param.as_str()) {
            params.push(&r.param);
        }
    }
    let of = |case: &str, param: &str| rows.iter().copied().find(|r| r.case == case && r.param == param);
    let name = step.headline;
    let lines = lines(rows, params.len(), |case, i| {
        let r = of(case, params[i])?;
        Some((r.interval_of(name)?, r.quotable))
    });
    let title = finding::of_sweep(step, rows, &params);
    let below = format!("{} at {}", number::label(name), params.join(", "));
    draw(name, &lines, &params, rows.first()?, &title, &below)
}

/// The percentiles of a delay at one parameter, from the median to the longest; `None` if the step has none, or fewer than three.
pub(super) fn percentiles(step: &Step, rows: &[&Record]) -> Option<Markup> {
    const PLACES: [(&str, &str); 5] =
        [("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"), ("max", "longest")];
    let names = std::iter::once(step.headline).chain(step.columns.iter().copied());
    let prefix = names.into_iter().find_map(|name| name.strip_suffix("_p50_ns"))?;
    let value = |place: &str| format!("{prefix}_{place}_ns");
    let known = PLACES.iter().filter(|(p, _)| rows.iter().any(|r| r.interval_of(&value(p)).is_some()));
    let (places, labels): (Vec<&str>, Vec<&str>) = known.copied().unzip();
    let lines = lines(rows, places.len(), |case, i| {
        let r = rows.iter().find(|r| r.case == case)?;
        Some((r.interval_of(&value(places[i]))?, r.quotable))
    });
    let first = rows.first()?;
    let about = format!("{}{}", number::label(prefix), crate::words::at(&first.param));
    let tops: Vec<(&str, String)> = labels
        .iter()
        .enumerate()
        .filter_map(|(i, label)| {
            let known = lines.iter().filter_map(|l| Some((l.at[i]?.mid, l.case)));
            Some((*label, escape::line(known.max_by(|a, b| a.0.total_cmp(&b.0))?.1)))
        })
        .collect();
    let (low, high) = (tops.first()?, tops.last()?);
    let title = format!("{about}: the {} is highest with {}, the {} with {}", low.0, low.1, high.0, high.1);
    draw(&value("p50"), &lines, &labels, first, &title, &format!("{about} at {}", labels.join(", ")))
}

/// A line for each case: what `of` says of it at each place, and whether that may be quoted.
fn lines<'a>(
    rows: &[&'a Record],
    places: usize,
    of: impl Fn(&str, usize) -> Option<(Interval, bool)>,
) -> Vec<Line<'a>> {
    let mut cases: Vec<&str> = Vec::new();
    for r in rows.iter().filter(|r| r.case != AA) {
        if !cases.contains(&r.case.as_str()) {
            cases.push(&r.case);
        }
    }
    let line = |case| {
        let at: Vec<Option<(Interval, bool)>> = (0..places).map(|i| of(case, i)).collect();
        let quotable = at.iter().flatten().all(|(_, quotable)| *quotable);
        Line { case, at: at.into_iter().map(|at| at.map(|(i, _)| i)).collect(), quotable }
    };
    cases.into_iter().map(line).collect()
}

/// The panels of lines that share their places; `None` with fewer than three places or without a number.
fn draw(
    name: &str,
    lines: &[Line<'_>],
    places: &[&str],
    first: &Record,
    title: &str,
    below: &str,
) -> Option<Markup> {
    if places.len() < 3 {
        return None;
    }
    let known = || lines.iter().flat_map(|l| l.at.iter().flatten());
    let mids: Vec<f64> = known().map(|i| i.mid).collect();
    let ends: Vec<f64> = known().filter(|i| i.n > 1).flat_map(|i| [i.lo, i.hi]).collect();
    let axis = Axis::over(name, &mids, &ends)?;
    let baseline = lines.iter().find(|l| l.case == first.baseline);
    let (low, high) = axis.ends(name);
    Some(html! {
        figure {
            figcaption { (title) }
            div.panels role="img" aria-label=(alternative(name, below, lines, places)) {
                @for l in lines {
                    div class=[(!l.quotable).then_some("q")] {
                        b { (escape::line(l.case)) @if !l.quotable { " !" } }
                        svg viewBox="0 0 1000 100" preserveAspectRatio="none" {
                            @if let Some(b) = baseline.filter(|b| b.case != l.case) { path.g d=(through(b, axis)) {} }
                            path.l d=(through(l, axis)) {}
                            path.i d=(bars(l, axis)) {}
                        }
                        span { (escape::line(places[0])) span { (escape::line(places[places.len() - 1])) } }
                    }
                }
            }
            p.key {
                (escape::line(below)) "; each panel from " (low) " to " (high) ", " (axis.kind())
                @if let Some(b) = baseline { "; thin line: " (escape::line(b.case)) }
                @if lines.iter().any(|l| l.at.iter().any(Option::is_none)) { "; a gap: not measured, or too few samples" }
                @if lines.iter().any(|l| !l.quotable) { "; dashed and !: not all of it is quotable" }
                "."
            }
        }
    })
}

/// The line through the middles; where a parameter is unmeasured, there is a gap.
fn through(line: &Line<'_>, axis: Axis) -> String {
    let mut out = String::new();
    let mut pen = 'M';
    for (i, at) in line.at.iter().enumerate() {
        match at {
            Some(at) => {
                out.push_str(&format!("{pen}{} {}", x(i, line.at.len()), y(axis, at.mid)));
                // A point with gaps on both sides would be nothing at all.
                if pen == 'M' {
                    out.push_str("h0");
                }
                pen = 'L';
            }
            None => pen = 'M',
        }
    }
    out
}

fn bars(line: &Line<'_>, axis: Axis) -> String {
    let known = line.at.iter().enumerate().filter_map(|(i, at)| Some((i, at.filter(|at| at.n > 1)?)));
    known.map(|(i, at)| format!("M{} {}V{}", x(i, line.at.len()), y(axis, at.lo), y(axis, at.hi))).collect()
}

/// The chart as sentences.
fn alternative(name: &str, below: &str, lines: &[Line<'_>], places: &[&str]) -> String {
    let line = |l: &Line<'_>| {
        let known = l.at.iter().zip(places).filter_map(|(i, p)| {
            Some(format!("{} at {}", number::value(name, i.as_ref()?.mid), escape::line(p)))
        });
        let known: Vec<String> = known.collect();
        let known = if known.is_empty() { "unmeasured".into() } else { known.join(", ") };
        format!("{}: {known}.", escape::line(l.case))
    };
    format!("Chart of {}. {}", escape::line(below), lines.iter().map(line).collect::<Vec<_>>().join(" "))
}

/// Inside of the panel, so that strokes at the ends are not cut.
fn x(i: usize, of: usize) -> i64 {
    (30.0 + 940.0 * i as f64 / (of - 1) as f64).round() as i64
}

fn y(axis: Axis, v: f64) -> i64 {
    (96.0 - 92.0 * axis.at(v)).round() as i64
}

//! A step over its parameters: a small panel a case, all on the same axis, with the baseline behind each.
//!
//! Panels and not one chart with many lines: eight lines are told apart by colour alone, which not everybody sees.
use maud::{Markup, html};

use super::{axis::Axis, finding};
use crate::{
    lab::Step,
    record::{AA, Record},
    show::{escape, number},
    stats::Interval,
};

/// A case with what it gave at each parameter.
struct Line<'a> {
    case: &'a str,
    at: Vec<Option<Interval>>,
    quotable: bool,
}

/// The chart; `None` with fewer than three parameters (two make no line) or without a number.
pub(super) fn chart(step: &Step, rows: &[&Record]) -> Option<Markup> {
    let (mut params, mut cases): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for r in rows.iter().filter(|r| r.case != AA) {
        if !params.contains(&r.param.as_str()) {
            params.push(&r.param);
        }
        if !cases.contains(&r.case.as_str()) {
            cases.push(&r.case);
        }
    }
    if params.len() < 3 {
        return None;
    }
    let name = step.headline;
    let line = |case: &&'_ str| {
        let of = |param: &&str| rows.iter().find(|r| r.case == **case && r.param == **param);
        let measured: Vec<_> =
            params.iter().filter_map(of).filter(|r| r.interval_of(name).is_some()).collect();
        let quotable = measured.iter().all(|r| r.quotable);
        let at = params.iter().map(|p| of(p).and_then(|r| r.interval_of(name))).collect();
        (at, quotable)
    };
    let lines: Vec<Line<'_>> = cases
        .iter()
        .map(|case| (case, line(case)))
        .map(|(case, (at, quotable))| Line { case, at, quotable })
        .collect();
    let known = || lines.iter().flat_map(|l| l.at.iter().flatten());
    let mids: Vec<f64> = known().map(|i| i.mid).collect();
    let ends: Vec<f64> = known().filter(|i| i.n > 1).flat_map(|i| [i.lo, i.hi]).collect();
    let axis = Axis::over(name, &mids, &ends)?;
    let baseline = lines.iter().find(|l| rows.first().is_some_and(|r| l.case == r.baseline));
    let (low, high) = axis.ends(name);
    let (first, last) = (params.first()?, params.last()?);
    Some(html! {
        figure {
            figcaption { (finding::of_sweep(step, rows, &params)) }
            div.panels role="img" aria-label=(alternative(step, &lines, &params)) {
                @for l in &lines {
                    div class=[(!l.quotable).then_some("q")] {
                        b { (escape::line(l.case)) @if !l.quotable { " !" } }
                        svg viewBox="0 0 1000 100" preserveAspectRatio="none" {
                            @if let Some(b) = baseline.filter(|b| b.case != l.case) { path.g d=(through(b, axis)) {} }
                            path.l d=(through(l, axis)) {}
                            path.i d=(bars(l, axis)) {}
                        }
                        span { (escape::line(first)) span { (escape::line(last)) } }
                    }
                }
            }
            p.key {
                (number::label(name)) " at " (escape::line(&params.join(", "))) "; each panel from " (low) " to " (high) ", "
                (axis.kind())
                @if let Some(b) = baseline { "; thin line: " (escape::line(b.case)) }
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
fn alternative(step: &Step, lines: &[Line<'_>], params: &[&str]) -> String {
    let line = |l: &Line<'_>| {
        let known = l.at.iter().zip(params).filter_map(|(i, p)| {
            Some(format!("{} at {}", number::value(step.headline, i.as_ref()?.mid), escape::line(p)))
        });
        let known: Vec<String> = known.collect();
        let known = if known.is_empty() { "unmeasured".into() } else { known.join(", ") };
        format!("{}: {known}.", escape::line(l.case))
    };
    let lines: Vec<String> = lines.iter().map(line).collect();
    format!("Chart of {} over parameters. {}", number::label(step.headline), lines.join(" "))
}

/// Inside of the panel, so that strokes at the ends are not cut.
fn x(i: usize, of: usize) -> i64 {
    (30.0 + 940.0 * i as f64 / (of - 1) as f64).round() as i64
}

fn y(axis: Axis, v: f64) -> i64 {
    (96.0 - 92.0 * axis.at(v)).round() as i64
}

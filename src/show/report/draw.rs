//! A chart as SVG: bars for a comparison, lines over a sweep.
//!
//! Names and numbers are HTML, so that they can be read aloud and copied, and wrap on a narrow page; only the marks are SVG, which stretches
//! with the page while its strokes keep their width. So nothing shrinks at 320 px, which a picture with its text inside would.
use std::{collections::BTreeSet, fmt::Write as _};

use maud::{Markup, PreEscaped, html};

use crate::{
    show::{
        axis::Axis,
        chart::{Chart, Group, Row},
    },
    words::number,
};

/// More lines than this are not told apart.
const MOST_LINES: usize = 6;
/// A line needs so many places.
const PLACES: usize = 3;

/// The chart: lines if its settings are steps of one thing, else bars. `id` is for the parts of it that refer to each other.
pub(super) fn figure(chart: &Chart, id: &str, title: &str) -> Markup {
    if is_sweep(chart) { lines(chart, id, title) } else { bars(chart, id, title) }
}

/// True if the settings differ in a number alone, and grow: `hold_0`, `hold_1us`, `hold_5us`.
pub(super) fn is_sweep(chart: &Chart) -> bool {
    let params: Vec<(String, f64)> = chart.groups.iter().map(|g| stepped(&g.param)).collect();
    params.len() >= PLACES
        && params.iter().all(|(words, n)| *words == params[0].0 && n.is_finite())
        && params.windows(2).all(|pair| pair[0].1 < pair[1].1)
}

/// An id without its number and unit, and the number in ns or bytes or whatever it counts.
fn stepped(param: &str) -> (String, f64) {
    let Some(from) = param.find(|c: char| c.is_ascii_digit()) else { return (param.into(), f64::NAN) };
    let end =
        param[from..].find(|c: char| !(c.is_ascii_digit() || c == '.')).map_or(param.len(), |n| from + n);
    let (before, number, after) = (&param[..from], &param[from..end], &param[end..]);
    let units = [
        ("ns", 1.0),
        ("us", 1e3),
        ("ms", 1e6),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("k", 1e3),
        ("m", 1e6),
        ("M", 1e6),
        ("B", 1.0),
    ];
    let unit = units.iter().find(|(unit, _)| after == *unit);
    let rest = if unit.is_some() { "" } else { after };
    let number = number.parse().unwrap_or(f64::NAN) * unit.map_or(1.0, |(_, factor)| *factor);
    (format!("{before}#{rest}"), number)
}

/// A title and a description, which a screen reader says in place of the marks.
fn described(id: &str, title: &str, text: &str) -> Markup {
    html! { title id={ (id) "t" } { (title) } desc id={ (id) "d" } { (text) } }
}

/// Characters of a name that fit beside the marks.
const LONG: usize = 27;

fn bars(chart: &Chart, id: &str, title: &str) -> Markup {
    let rows = || chart.groups.iter().flat_map(|g| &g.rows);
    // Names that would be cut off beside the marks stand above them.
    let long = rows().any(|r| r.name.chars().count() > LONG);
    html! {
        figure {
            figcaption { (title) }
            @for (i, group) in chart.groups.iter().enumerate() {
                @let part = format!("{id}g{i}");
                @if !group.setting.is_empty() && !title.contains(&group.setting) { p.set { (group.setting) } }
                div.dots.long[long] style={ "--n:" (group.rows.len()) } {
                    svg viewBox={ "0 0 1000 " (ROW * group.rows.len()) } preserveAspectRatio="none" role="img"
                        aria-labelledby={ (part) "t " (part) "d" } {
                        (described(&part, &of_group(chart, group), &told(group)))
                        (PreEscaped(marks(group)))
                    }
                    @for r in &group.rows { p { span { (r.name) } b { (said(chart, r)) } } }
                    @if chart.apart { (scale(chart, group.axis)) }
                }
            }
            @if !chart.apart { div.dots.long[long] { (scale(chart, chart.axis)) } }
            p.key {
                (chart.label) ", " (chart.kind()) "; line: 95 % interval"
                @if chart.spread() { "; dots: launches" }
                @if chart.groups.iter().any(|g| g.band.is_some()) { "; shaded: baseline against itself" }
                @if rows().any(|r| !r.quotable) { "; dashed and !: not quotable" }
                "."
            }
        }
    }
}

/// Round values below an axis. At its ends a label stands inside of it.
fn scale(chart: &Chart, axis: Axis) -> Markup {
    html! {
        div.axis aria-hidden="true" { @for tick in axis.ticks(&chart.value) {
            @let at = axis.at(tick);
            span.lo[at < 0.06].hi[at > 0.94] style={ "left:" (percent(at)) } { (number::value(&chart.value, tick)) }
        } }
    }
}

fn of_group(chart: &Chart, group: &Group) -> String {
    match group.setting.as_str() {
        "" => format!("Chart of {}", chart.label),
        setting => format!("Chart of {}, {setting}", chart.label),
    }
}

/// The rows as a sentence.
fn told(group: &Group) -> String {
    let rows: Vec<String> = group.rows.iter().map(|r| format!("{} {}", r.name, r.said)).collect();
    format!("{}.", rows.join("; "))
}

fn said(chart: &Chart, r: &Row) -> String {
    let number = match r.said.starts_with("at ") {
        true => r.said.clone(),
        false => number::interval(&chart.value, &r.at),
    };
    if r.quotable { number } else { format!("{number} !") }
}

fn percent(share: f64) -> String {
    format!("{:.1}%", share * 100.0)
}

/// Height of a row in the drawing; its marks lie in the lower part, since on a narrow page its text lies above.
const ROW: usize = 20;

/// The marks of all rows in a few paths. Numbers only, so nothing is there to escape; by hand, because a page has hundreds.
fn marks(group: &Group) -> String {
    let at = |v: f64| x(group.axis.at(v));
    let (mut bars, mut dots, mut mids, mut sure, mut unsure) =
        (String::new(), String::new(), String::new(), String::new(), String::new());
    for (i, row) in group.rows.iter().enumerate() {
        let top = ROW * i;
        if group.axis.is_from_zero() {
            let _ = write!(bars, "M0 {}h{}v6h-{1}z", top + 13, at(row.at.mid));
        }
        if row.spread(group.axis) {
            // Launches that fall on the same spot are one dot to the eye anyway.
            let spots: BTreeSet<i64> = row.launches.iter().map(|v| at(*v)).collect();
            dots.extend(spots.iter().map(|x| format!("M{x} {}h0", top + 16)));
        }
        if row.at.n > 1 {
            let line = if row.quotable { &mut sure } else { &mut unsure };
            let _ = write!(line, "M{} {}H{}", at(row.at.lo), top + 16, at(row.at.hi));
        }
        let _ = write!(mids, "M{} {}v6", at(row.at.mid), top + 13);
    }
    let mut out = String::new();
    if let Some((from, to)) = group.band.map(|(from, to)| (at(from), at(to))) {
        for i in 0..group.rows.len() {
            let (y, width) = (ROW * i + 12, (to - from).max(2));
            let _ = write!(out, "<rect x={from} y={y} width={width} height=8 />");
        }
    }
    for (class, path) in [("f", bars), ("i", sure), ("\"i q\"", unsure), ("d", dots), ("m", mids)] {
        if !path.is_empty() {
            let _ = write!(out, "<path class={class} d=\"{path}\"/>");
        }
    }
    out
}

/// Whole thousandths of the width.
fn x(share: f64) -> i64 {
    (share * 1000.0).round() as i64
}

/// A line of a sweep: at each place what a variant gave.
struct Line<'a> {
    name: &'a str,
    at: Vec<Option<&'a Row>>,
}

fn lines(chart: &Chart, id: &str, title: &str) -> Markup {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (i, row) in chart.groups.iter().enumerate().flat_map(|(i, g)| g.rows.iter().map(move |r| (i, r))) {
        let at = match lines.iter().position(|l| l.name == row.name) {
            Some(at) => at,
            None => {
                lines.push(Line { name: &row.name, at: vec![None; chart.groups.len()] });
                lines.len() - 1
            }
        };
        lines[at].at[i] = Some(row);
    }
    let more = lines.len().saturating_sub(MOST_LINES);
    lines.truncate(MOST_LINES);
    let last = chart.groups.len() - 1;
    let (labels, shared) = apart(&chart.groups.iter().map(|g| g.setting.as_str()).collect::<Vec<_>>());
    let told: Vec<String> = lines.iter().map(|l| format!("{}: {}", l.name, course(l))).collect();
    let sure = |l: &Line<'_>| l.at.iter().flatten().all(|r| r.quotable);
    html! {
        figure {
            figcaption { (title) }
            div.plot {
                div.y aria-hidden="true" { @for tick in chart.axis.ticks(&chart.value) {
                    span style={ "bottom:" (percent(chart.axis.at(tick))) } { (number::value(&chart.value, tick)) }
                } }
                svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-labelledby={ (id) "t " (id) "d" } {
                    (described(id, &format!("Chart of {}", chart.label), &format!("{}.", told.join("; "))))
                    path.g d=(chart.axis.ticks(&chart.value).iter().map(|t| format!("M0 {}h1000", y(chart, *t))).collect::<String>()) {}
                    @for (i, l) in lines.iter().enumerate() {
                        g.{ "c" (i) } { path.l d=(through(l, chart)) {} path.e d=(ends(l, chart)) {} path.p d=(points(l, chart)) {} }
                    }
                }
                div.x { @for (i, label) in labels.iter().enumerate() { span.lo[i == 0].hi[i == last] { (label) } } }
                @if !shared.is_empty() { p.xt { (shared) } }
            }
            ul.legend { @for (i, l) in lines.iter().enumerate() { li {
                svg.{ "c" (i) } viewBox="0 0 40 10" aria-hidden="true" { path.l d="M0 5h40" {} path.p d="M20 5h0" {} }
                span { (l.name) @if !sure(l) { " !" } ": " b { (course(l)) } }
            } } }
            p.key {
                (chart.label) ", " (chart.axis.kind()) "; upright: 95 % interval"
                @if more > 0 { "; " (more) " more in the table" }
                @if lines.iter().any(|l| l.at.iter().any(Option::is_none)) { "; a gap: not measured" }
                @if !lines.iter().all(sure) { "; !: not all of it is quotable" }
                "."
            }
        }
    }
}

/// What tells the settings apart, and the words that all of them share: `64`, `1,024` and `future of … bytes`.
fn apart(settings: &[&str]) -> (Vec<String>, String) {
    let words: Vec<Vec<&str>> = settings.iter().map(|s| s.split_whitespace().collect()).collect();
    let shortest = words.iter().map(Vec::len).min().unwrap_or(0);
    let Some(first) = words.first().filter(|_| words.len() > 1 && shortest > 1) else {
        return (settings.iter().map(|s| (*s).to_owned()).collect(), String::new());
    };
    // One word of each is left, however much they share.
    let front = (0..shortest - 1).take_while(|i| words.iter().all(|w| w[*i] == first[*i])).count();
    let back = (1..shortest - front)
        .take_while(|i| words.iter().all(|w| w[w.len() - i] == first[first.len() - i]))
        .count();
    let labels = words.iter().map(|w| w[front..w.len() - back].join(" ")).collect();
    let shared = [&first[..front], &first[first.len() - back..]];
    let shared = if front + back == 0 {
        String::new()
    } else {
        format!("{} … {}", shared[0].join(" "), shared[1].join(" ")).trim().to_owned()
    };
    (labels, shared)
}

/// From the first to the last number of a line.
fn course(line: &Line<'_>) -> String {
    let mut known = line.at.iter().flatten();
    match (known.next(), known.next_back()) {
        (Some(first), Some(last)) if first.said != last.said => format!("{} to {}", first.said, last.said),
        (Some(first), _) => first.said.clone(),
        (None, _) => "not measured".into(),
    }
}

fn place(i: usize, of: usize) -> i64 {
    (60.0 + 880.0 * i as f64 / (of - 1) as f64).round() as i64
}

fn y(chart: &Chart, v: f64) -> i64 {
    (1000.0 - 1000.0 * chart.axis.at(v)).round() as i64
}

/// The line through the middles; where a place is unmeasured, there is a gap.
fn through(line: &Line<'_>, chart: &Chart) -> String {
    let (mut out, mut pen) = (String::new(), 'M');
    for (i, at) in line.at.iter().enumerate() {
        match at {
            Some(row) => {
                let _ = write!(out, "{pen}{} {}", place(i, line.at.len()), y(chart, row.at.mid));
                pen = 'L';
            }
            None => pen = 'M',
        }
    }
    out
}

fn ends(line: &Line<'_>, chart: &Chart) -> String {
    let known = line.at.iter().enumerate().filter_map(|(i, at)| Some((i, at.filter(|r| r.at.n > 1)?)));
    known
        .map(|(i, r)| format!("M{} {}V{}", place(i, line.at.len()), y(chart, r.at.lo), y(chart, r.at.hi)))
        .collect()
}

fn points(line: &Line<'_>, chart: &Chart) -> String {
    let known = line.at.iter().enumerate().filter_map(|(i, at)| Some((i, (*at)?)));
    known.map(|(i, r)| format!("M{} {}h0", place(i, line.at.len()), y(chart, r.at.mid))).collect()
}

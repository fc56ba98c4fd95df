//! Swim lanes: a traced case as a band for each thread and each task. A trace is a picture and no measurement, and the caption says so.
use std::fmt::Write as _;

use maud::{Markup, PreEscaped, html};

use crate::{
    judge::name,
    lab::{Predict, Step},
    record::{Lane, Picture},
    words::{escape, number},
};

/// What a band's shapes mean; told apart by their height, not by their colour.
const KEY: &str = "tall: in a call that blocks; middle: polled, or polls a task; low: ready, and waits for a worker; hairline: parked; \
                   upright stroke: wakes somebody. A trace shows who waits for whom; its times are not quotable.";

/// The pictures of the case that the reader is asked about and of the baseline, as far as they were traced.
pub(super) fn charts(step: &Step, pictures: &[Picture]) -> Vec<Markup> {
    let (asked, param) = match step.predict {
        Predict::Number { case, param } => (case, param),
        Predict::Best { param } => (step.baseline(), param),
    };
    let mut cases = vec![step.baseline(), asked];
    cases.dedup();
    let chart_of = |case: &&str| {
        let id = format!("{case} {param}");
        let picture = pictures.iter().find(|p| p.step == step.name && p.name.trim() == id.trim())?;
        Some(chart(picture, &name::cell(step, case, param)))
    };
    cases.iter().filter_map(chart_of).collect()
}

fn chart(picture: &Picture, of: &str) -> Markup {
    html! {
        figure {
            figcaption { (title(picture, of)) }
            div.swim role="img" aria-label=(alternative(picture)) {
                @for lane in &picture.lanes {
                    p {
                        span { (escape::line(&lane.name)) }
                        svg viewBox={ "0 0 " (lane.marks.chars().count().max(1)) " 12" } preserveAspectRatio="none" { (PreEscaped(bands(lane))) }
                    }
                }
            }
            p.key { "0 to " (number::value("length_ns", picture.length_ns as f64)) ", traced; " (KEY) }
        }
    }
}

/// Share of the columns with this mark.
fn share(lane: &Lane, mark: char) -> f64 {
    let all = lane.marks.chars().count().max(1);
    lane.marks.chars().filter(|c| *c == mark).count() as f64 / all as f64
}

/// The thread that blocks longest and the task that waits longest, if it is for a tenth of the time.
fn title(picture: &Picture, of: &str) -> String {
    let most = |tasks: bool, mark: char| {
        let lanes = picture.lanes.iter().filter(|l| l.task == tasks).map(|l| (share(l, mark), l));
        lanes.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(share, _)| *share >= 0.1)
    };
    let percent = |share: f64| format!("{:.0} %", share * 100.0);
    let blocks = most(false, '#').map(|(s, l)| format!("{} is blocked {} of the time", l.name, percent(s)));
    let waits = most(true, '-').map(|(s, l)| format!("{} is ready and waits {}", l.name, percent(s)));
    let found: Vec<String> = blocks.into_iter().chain(waits).collect();
    let found = if found.is_empty() {
        "nobody blocks or waits for a tenth of the time".into()
    } else {
        found.join(", and ")
    };
    format!("{of}: {}", escape::line(&found))
}

fn alternative(picture: &Picture) -> String {
    let kinds = [('#', "blocked"), ('=', "polling"), ('-', "ready"), ('.', "parked")];
    let lane = |lane: &Lane| {
        let parts = kinds.map(|(mark, what)| (share(lane, mark), what));
        let parts: Vec<String> = parts
            .iter()
            .filter(|(s, _)| *s > 0.0)
            .map(|(s, what)| format!("{what} {:.0} %", s * 100.0))
            .collect();
        format!(
            "{}: {}",
            escape::line(&lane.name),
            if parts.is_empty() { "nothing".into() } else { parts.join(", ") }
        )
    };
    format!("Swim lanes. {}.", picture.lanes.iter().map(lane).collect::<Vec<_>>().join("; "))
}

/// Runs of equal marks as rectangles, one path a kind. Numbers only: whatever a kept picture holds, nothing of its text is in here.
fn bands(lane: &Lane) -> String {
    let kinds = [('#', "b", 0, 12), ('=', "w", 3, 6), ('-', "y", 8, 4), ('.', "z", 6, 1), ('|', "u", 1, 10)];
    let marks: Vec<char> = lane.marks.chars().collect();
    let mut out = String::new();
    for (mark, class, top, height) in kinds {
        let (mut path, mut at) = (String::new(), 0);
        for run in marks.chunk_by(|a, b| a == b) {
            if run[0] == mark {
                // Writing to a string cannot fail.
                let _ = write!(path, "M{at} {top}h{}v{height}h-{0}z", run.len());
            }
            at += run.len();
        }
        if !path.is_empty() {
            let _ = write!(out, "<path class={class} d=\"{path}\"/>");
        }
    }
    out
}

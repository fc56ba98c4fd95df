//! One step of one run as a picture of characters, and where its code is.
use super::{Look, chart, heat, table::rows, wrap};
use crate::words::number;
use crate::{
    judge::{
        Compared, compare,
        guess::{self, more_is_better},
        name,
    },
    lab::{Lab, Step, sample::AA},
    record::{Prediction, Record, runs_of},
};

/// Draws the rows of the newest run that show the difference, with the reader's guess in the row it was made for. With `plain` the finding of
/// each parameter is a sentence instead. If the parameters are a grid, a map of who wins where follows. Empty if nothing differs. Ends with a
/// line end.
pub fn picture(lab: &Lab, step: &Step, records: &[Record], guess: Option<&Prediction>, look: Look) -> String {
    let Some(run) = runs_of(records, lab.stem, step.name).first().copied() else { return String::new() };
    let rows: Vec<&Record> = rows(step, records, run)
        .into_iter()
        .filter(|r| r.case != AA && r.interval_of(step.headline).is_some())
        .collect();
    let width = look.width.min(100);
    let mut out = String::new();
    if look.plain {
        for param in params(&rows) {
            let group: Vec<&Record> = rows.iter().copied().filter(|r| r.param == param).collect();
            let finding = finding(step, records, &group);
            out.push_str(&wrap(&format!("{}{finding}", heading(step, param)), width, 0, 2));
            out.push('\n');
        }
    } else if let Some(chart) = chart::of_argument(lab, step, records) {
        let better = match guess::asked(step) {
            ("", _) if more_is_better(step.headline) => ", more is better",
            ("", _) => ", less is better",
            _ => "",
        };
        let title = format!("{}{better} {}", chart.label, chart.key());
        out.push_str(&format!("{}\n", wrap(&title, width, 0, 2)));
        out.push_str(&chart.text(width, guess.filter(|p| p.run == run)));
    }
    // Letters and dots: no drawing, so also for a reader that speaks.
    out.push_str(&heat::map(step, records, &rows, width).unwrap_or_default());
    out
}

fn heading(step: &Step, param: &str) -> String {
    if param.is_empty() { String::new() } else { format!("{}: ", name::setting(step, param)) }
}

fn params<'a>(rows: &[&'a Record]) -> Vec<&'a str> {
    let mut params: Vec<&str> = Vec::new();
    for r in rows {
        if !params.contains(&r.param.as_str()) {
            params.push(&r.param);
        }
    }
    params
}

/// The title of a parameter's rows: who is first and who last, if a difference is shown.
fn finding(step: &Step, records: &[Record], group: &[&Record]) -> String {
    let value = |r: &Record| r.interval_of(step.headline).map_or(f64::NAN, |i| i.mid);
    let mut sorted: Vec<&Record> = group.iter().copied().filter(|r| r.case != "empty").collect();
    sorted.sort_by(|a, b| value(a).total_cmp(&value(b)));
    let say =
        |r: &Record| format!("{} {}", name::variant(step, &r.case), number::value(step.headline, value(r)));
    match sorted.as_slice() {
        [] => "only the harness was measured".into(),
        [one] => say(one),
        [least, .., most] => match compare(step, records, (most, step.headline), (least, step.headline)) {
            Compared::Differs { ratio, .. } => {
                format!("{} is {:.1} times {}", say(most), ratio.mid, say(least))
            }
            Compared::NoDifference { .. } => "no difference is shown between the cases".into(),
            Compared::Cannot(_) => format!("from {} to {}, not compared", say(least), say(most)),
        },
    }
}

/// Where the code of a step is: the lab's file at the step, and every source file that its explanation names, at the function it
/// names. Lines come from the sources (`read` gives a file of the repository); without sources the names remain.
pub fn places(lab: &Lab, step: &Step, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut found = Vec::new();
    let mut put = |path: &str, word: &str, needles: &[String]| {
        let text = read(path);
        let line = text.and_then(|t| {
            let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
            let whole =
                |l: &str, needle: &str| l.match_indices(needle).any(|(i, _)| ends(&l[i + needle.len()..]));
            let at = |needle: &String| t.lines().position(|l| whole(l, needle));
            needles.iter().find_map(at)
        });
        let place = line.map_or(path.to_string(), |l| format!("{path}:{}", l + 1));
        let place = if word.is_empty() { place } else { format!("{place} ({word})") };
        if !found.contains(&place) {
            found.push(place);
        }
    };
    let file = format!("labs/{}.rs", lab.stem);
    put(&file, "the step", &[format!("Step::new(\"{}\"", step.name), format!("\"{}\"", step.name)]);
    let why = step.why();
    let words: Vec<&str> = why.split_whitespace().collect();
    for (i, word) in words.iter().enumerate() {
        let path = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let ours = ["src/", "labs/", "tests/", "benches/"].iter().any(|dir| path.starts_with(dir));
        if !ours || !path.ends_with(".rs") {
            continue;
        }
        let named = i.checked_sub(2).filter(|_| words[i - 1] == "in").map_or("", |at| words[at]);
        let name = named.strip_prefix('`').and_then(|w| w.strip_suffix('`')).unwrap_or("");
        let needles =
            ["fn ", "struct ", "enum ", "const ", "static ", "trait "].map(|kind| format!("{kind}{name}"));
        put(path, name, if name.is_empty() { &[] } else { &needles });
    }
    found
}

/// A parameter as the reader was asked about it, for prompts: `std Mutex, held for 1 us`.
pub fn asked(step: &Step) -> String {
    let (case, param) = guess::asked(step);
    format!(
        "{}{}",
        if case.is_empty() { "the best".into() } else { name::variant(step, case) },
        name::at(step, param)
    )
}

//! One step of one run as a picture of characters: a row for each case, with every launch, the interval and its middle on one axis.
//!
//! ```text
//! std_mutex   |   .-o-.                       658 k/s
//! std_rwlock  |             .-o--.            1.30 M/s
//! ```
use super::{Look, heat, table::rows, wrap};
use crate::words::{escape, number};
use crate::{
    judge::{
        Compared, compare,
        guess::{self, more_is_better},
    },
    lab::{Lab, Step, sample::AA},
    record::{Guess, Prediction, Record, runs_of},
};

/// Beyond this factor between the ends a linear axis shows nothing of the small values.
const LINEAR: f64 = 8.0;

/// Draws the newest run of a step, with the reader's guess in the row it was made for. With `plain` the finding of each parameter is
/// a sentence instead. If the parameters are a grid, a map of who wins where follows. Empty if nothing has a value. Ends with a line end.
pub fn picture(lab: &Lab, step: &Step, records: &[Record], guess: Option<&Prediction>, look: Look) -> String {
    let Some(run) = runs_of(records, lab.stem, step.name).first().copied() else { return String::new() };
    let rows: Vec<&Record> = rows(step, records, run)
        .into_iter()
        .filter(|r| r.case != AA && r.interval_of(step.headline).is_some())
        .collect();
    let Some(axis) = Axis::of(step, &rows, look.width.min(100)) else { return String::new() };
    let mut out = String::new();
    for param in params(&rows) {
        let group: Vec<&Record> = rows.iter().copied().filter(|r| r.param == param).collect();
        let finding = finding(step, records, &group);
        out.push_str(&wrap(&format!("{}{finding}", heading(param)), look.width.min(100), 0, 2));
        out.push('\n');
        if look.plain {
            continue;
        }
        for r in group {
            out.push_str(&axis.row(r, step.headline));
            if let Some(line) = guess.filter(|p| p.run == run && p.case == r.case && p.param == r.param) {
                out.push_str(&axis.guess(line));
            }
        }
    }
    if !look.plain {
        out.push_str(&axis.legend(step));
    }
    // Letters and dots: no drawing, so also for a reader that speaks.
    out.push_str(&heat::map(step, records, &rows, look.width.min(100)).unwrap_or_default());
    out
}

fn heading(param: &str) -> String {
    if param.is_empty() { String::new() } else { format!("{}: ", escape::line(param)) }
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
    let say = |r: &Record| format!("{} {}", escape::line(&r.case), number::value(step.headline, value(r)));
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

/// Maps values to columns.
struct Axis {
    lo: f64,
    hi: f64,
    logarithmic: bool,
    name_width: usize,
    width: usize,
}

impl Axis {
    fn of(step: &Step, rows: &[&Record], width: usize) -> Option<Self> {
        let all: Vec<f64> = rows
            .iter()
            .flat_map(|r| {
                r.values(step.headline).into_iter().chain(r.interval_of(step.headline).map(|i| i.mid))
            })
            .collect();
        let lo = all.iter().copied().reduce(f64::min)?;
        let hi = all.iter().copied().reduce(f64::max)?;
        let logarithmic = lo > 0.0 && hi / lo > LINEAR;
        let lo = if logarithmic { lo } else { lo.min(0.0) };
        let hi = if hi > lo { hi } else { lo + 1.0 };
        let name_width = rows.iter().map(|r| escape::line(&r.case).chars().count()).max()?.clamp(5, 24);
        let width = width.saturating_sub(name_width + 18).clamp(16, 60);
        Some(Self { lo, hi, logarithmic, name_width, width })
    }

    /// The column of a value; values beyond the axis stand at its end.
    fn column(&self, v: f64) -> usize {
        let place = match self.logarithmic {
            true if v <= 0.0 => 0.0,
            true => (v / self.lo).ln() / (self.hi / self.lo).ln(),
            false => (v - self.lo) / (self.hi - self.lo),
        };
        let last = (self.width - 1) as f64;
        // Within 0 and the width, so the cast is exact enough; a value that is no number stands at 0.
        (place.clamp(0.0, 1.0) * last).round() as usize
    }

    fn row(&self, r: &Record, value: &str) -> String {
        let Some(i) = r.interval_of(value) else { return String::new() };
        let mut cells = vec![' '; self.width];
        let (from, to) = (self.column(i.lo), self.column(i.hi));
        cells[from..=to].fill('-');
        for v in r.values(value) {
            cells[self.column(v)] = '.';
        }
        cells[self.column(i.mid)] = 'o';
        let mark = if r.quotable { "" } else { " !" };
        self.line(&escape::line(&r.case), &cells, &format!("{}{mark}", number::value(value, i.mid)))
    }

    fn guess(&self, p: &Prediction) -> String {
        let (from, to, text) = match p.guess {
            Guess::Number(v) => (v, v, number::value(&p.value, v)),
            Guess::Range(a, b) => {
                (a, b, format!("{} to {}", number::value(&p.value, a), number::value(&p.value, b)))
            }
            Guess::Case(_) => return String::new(),
        };
        let mut cells = vec![' '; self.width];
        cells[self.column(from)..=self.column(to)].fill('?');
        self.line("you", &cells, &text)
    }

    fn line(&self, name: &str, cells: &[char], value: &str) -> String {
        let name: String = name.chars().take(self.name_width).collect();
        let cells: String = cells.iter().collect();
        format!("  {name:<w$} |{cells}| {value}\n", w = self.name_width)
    }

    fn legend(&self, step: &Step) -> String {
        let scale = if self.logarithmic { "logarithmic" } else { "linear" };
        let better = match guess::asked(step) {
            ("", _) if more_is_better(step.headline) => ", more is better",
            ("", _) => ", less is better",
            _ => "",
        };
        format!(
            "  {}, {scale} axis from {} to {}{better}; o middle, - interval, . launch, ! not quotable\n",
            number::label(step.headline),
            number::value(step.headline, self.lo),
            number::value(step.headline, self.hi)
        )
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

/// A parameter as the reader was asked about it, for prompts: `std_mutex at hold_1us`.
pub fn asked(step: &Step) -> String {
    let (case, param) = guess::asked(step);
    format!("{}{}", if case.is_empty() { "the best" } else { case }, crate::words::at(param))
}

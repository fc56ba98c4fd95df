//! What a chart of a step shows, before it is drawn: the report draws it as SVG, the terminal and the notes in characters.
//!
//! ```text
//! held for 1 us
//!   std Mutex    |======o                   680 k/s
//!   std RwLock   |===================o-     1.94 M/s
//!                 0 /s      1 M/s      2 M/s
//! ```
use super::{axis::Axis, bounded, wrap};
use crate::{
    judge::{guess, name},
    lab::{Lab, Step, sample::AA},
    record::{Guess, Prediction, Record, aa_band, find, runs_of},
    stats::Interval,
    words::number,
};

/// More rows than this show no difference but a table.
pub(super) const MOST_ROWS: usize = 8;

/// Rows of one step on one axis.
pub(super) struct Chart {
    /// The name of the value that is drawn; its suffix is its unit.
    pub(super) value: String,
    /// What it is, in words.
    pub(super) label: String,
    /// Rows that share a setting.
    pub(super) groups: Vec<Group>,
    /// Where a value lies, whatever its setting.
    pub(super) axis: Axis,
    /// True if the settings are so far apart that each has an axis of its own.
    pub(super) apart: bool,
}

/// Rows that share a setting.
pub(super) struct Group {
    /// In words; empty if the step has none.
    pub(super) setting: String,
    /// Its id.
    pub(super) param: String,
    /// From and to where the baseline differs from itself, where that was measured.
    pub(super) band: Option<(f64, f64)>,
    /// Where a value of these rows lies.
    pub(super) axis: Axis,
    /// A variant each.
    pub(super) rows: Vec<Row>,
}

/// A variant with what it gave.
pub(super) struct Row {
    /// Its id.
    pub(super) case: String,
    /// In words.
    pub(super) name: String,
    /// Its number, without the interval.
    pub(super) said: String,
    /// Middle and interval.
    pub(super) at: Interval,
    /// What each launch gave.
    pub(super) launches: Vec<f64>,
    /// Whether it may be quoted.
    pub(super) quotable: bool,
}

/// The rows that carry the argument of a step, at most eight: what its sentence and its expectations are about, each beside the baseline;
/// and the value that its first sentence is about. Without such rows, those of the parameter that the reader is asked about.
pub(super) fn argument<'a>(lab: &Lab, step: &Step, records: &'a [Record]) -> (&'static str, Vec<&'a Record>) {
    let first = lab.says.iter().find(|s| s.step == step.name);
    let value = first.filter(|s| s.against.is_none_or(|a| a.value == s.of.value)).map(|s| s.of.value);
    let value = value.unwrap_or(step.headline);
    let Some(run) = runs_of(records, lab.stem, step.name).first().copied() else {
        return (value, Vec::new());
    };
    let mut wanted: Vec<(&str, &str)> = Vec::new();
    let mut want = |case: &'static str, param: &'static str| {
        if wanted.len() < MOST_ROWS && !wanted.contains(&(case, param)) {
            wanted.push((case, param));
        }
    };
    if let (case, param) = guess::asked(step)
        && !case.is_empty()
    {
        want(step.baseline(), param);
        want(case, param);
    }
    let says = lab.says.iter().filter(|s| s.step == step.name);
    let said = says.flat_map(|s| std::iter::once(s.of).chain(s.against));
    let claimed = step.claims.iter().flat_map(|c| c.bound.picks());
    for pick in said.chain(claimed).filter(|p| p.case != AA) {
        want(step.baseline(), pick.param);
        want(pick.case, pick.param);
    }
    let (_, asked) = guess::asked(step);
    let cells = step.cells();
    if wanted.is_empty() {
        wanted = cells.iter().copied().filter(|(_, p)| *p == asked).take(MOST_ROWS).collect();
    }
    // In the order of the step.
    wanted.sort_by_key(|cell| cells.iter().position(|c| c == cell));
    (value, wanted.iter().filter_map(|(c, p)| find(records, run, c, p)).collect())
}

/// The chart of the rows that carry the argument of a step.
pub(super) fn of_argument(lab: &Lab, step: &Step, records: &[Record]) -> Option<Chart> {
    let (value, rows) = argument(lab, step, records);
    Chart::of(step, records, &rows, value)
}

impl Chart {
    /// The chart of these rows; `None` if fewer than two have a number, or if all numbers are the same: then there is nothing to see.
    pub(super) fn of(step: &Step, records: &[Record], rows: &[&Record], value: &str) -> Option<Self> {
        let known: Vec<(&Record, Interval)> = rows
            .iter()
            .filter(|r| r.case != AA)
            .filter_map(|r| Some((*r, r.interval_of(value).filter(|i| i.mid.is_finite())?)))
            .collect();
        let row = |r: &Record, at: Interval| Row {
            case: r.case.clone(),
            name: name::variant(step, &r.case),
            said: bounded(r, value, number::value(value, at.mid)),
            at,
            launches: r.values(value),
            quotable: r.quotable,
        };
        let mut groups: Vec<Group> = Vec::new();
        for (r, at) in known {
            match groups.iter_mut().find(|g| g.param == r.param) {
                Some(group) => group.rows.push(row(r, at)),
                None => groups.push(Group {
                    setting: name::setting(step, &r.param),
                    param: r.param.clone(),
                    band: band(records, r, value),
                    axis: Axis::over(value, &[at.mid], &[])?,
                    rows: vec![row(r, at)],
                }),
            }
        }
        // One variant at several settings: the settings are what differs.
        if let [first, _, ..] = &groups[..]
            && groups.iter().all(|g| g.rows.len() == 1 && g.rows[0].case == first.rows[0].case)
        {
            let (setting, param, axis) = (first.rows[0].name.clone(), String::new(), first.axis);
            let rows = groups.into_iter().flat_map(|g| {
                let setting = g.setting;
                g.rows.into_iter().map(move |r| Row { name: setting.clone(), ..r })
            });
            groups = vec![Group { setting, param, band: None, axis, rows: rows.collect() }];
        }
        let axis = over(value, groups.iter().flat_map(|g| &g.rows))?;
        for group in &mut groups {
            group.axis = over(value, &group.rows)?;
        }
        // Differences within a setting are what a reader compares: a bar from 0 shows them, a common log scale hides them.
        let apart = groups.len() > 1 && !axis.is_from_zero() && groups.iter().all(|g| g.axis.is_from_zero());
        if !apart {
            groups.iter_mut().for_each(|g| g.axis = axis);
        }
        let said: Vec<&str> = groups.iter().flat_map(|g| &g.rows).map(|r| r.said.as_str()).collect();
        let differ = said.iter().any(|s| *s != said[0]);
        differ.then(|| Self { value: value.into(), label: name::value(step, value), groups, axis, apart })
    }

    /// In characters, at most so many columns wide. Ends with a line end.
    pub(super) fn text(&self, width: usize, guess: Option<&Prediction>) -> String {
        let rows = || self.groups.iter().flat_map(|g| &g.rows);
        let said = rows().map(|r| r.said.chars().count()).max().unwrap_or(0) + 2;
        let longest = rows().map(|r| r.name.chars().count()).max().unwrap_or(0);
        let names = longest.clamp(3, (width / 2).min(40));
        let columns = width.saturating_sub(names + said + 5).clamp(12, 60);
        let mut out = String::new();
        let line = |out: &mut String, name: &str, cells: &[char], said: &str| {
            let cells: String = cells.iter().collect();
            out.push_str(format!("  {name:<names$} |{cells} {said}").trim_end());
            out.push('\n');
        };
        for group in &self.groups {
            if !group.setting.is_empty() {
                out.push_str(&wrap(&group.setting, width, 0, 2));
                out.push('\n');
            }
            for row in &group.rows {
                // A name that is too long for its column goes on in lines of its own.
                let name = wrap(&row.name, names, 0, 0);
                let mut parts: Vec<&str> = name.lines().collect();
                let last = parts.pop().unwrap_or_default();
                parts.iter().for_each(|part| out.push_str(&format!("  {part:<names$} |\n")));
                let mark = if row.quotable { "" } else { " !" };
                line(&mut out, last, &cells(group.axis, row, columns), &format!("{}{mark}", row.said));
                let mine =
                    guess.filter(|p| p.case == row.case && p.param == group.param && p.value == self.value);
                if let Some((from, to, said)) = mine.and_then(|p| guessed(&self.value, &p.guess)) {
                    let mut cells = vec![' '; columns];
                    cells[column(group.axis, from, columns)..=column(group.axis, to, columns)].fill('?');
                    line(&mut out, "you", &cells, &said);
                }
            }
            if self.apart {
                out.push_str(&self.scale(group.axis, names + 3, columns));
            }
        }
        if !self.apart {
            out.push_str(&self.scale(self.axis, names + 3, columns));
        }
        out
    }

    /// Round values below an axis, as many as have room.
    fn scale(&self, axis: Axis, start: usize, columns: usize) -> String {
        let mut line = String::new();
        for tick in axis.ticks(&self.value) {
            let text = number::value(&self.value, tick);
            let length = text.chars().count();
            let place = start + column(axis, tick, columns);
            let from = place.saturating_sub(length / 2).max(start);
            let used = line.chars().count();
            if (used == 0 || from > used + 1) && from + length <= start + columns + 8 {
                line.extend(std::iter::repeat_n(' ', from - used));
                line.push_str(&text);
            }
        }
        line + "\n"
    }

    /// What the marks are, as far as they are there.
    pub(super) fn key(&self) -> String {
        let rows = || self.groups.iter().flat_map(|g| &g.rows);
        let mut parts = vec!["o middle"];
        if rows().any(|r| r.at.n > 1) {
            parts.push("- interval");
        }
        if self.spread() {
            parts.push(". launch");
        }
        if rows().any(|r| !r.quotable) {
            parts.push("! not quotable");
        }
        let kind = match self.kind() {
            "from 0" => String::new(),
            kind => format!("{kind}; "),
        };
        format!("({kind}{})", parts.join(", "))
    }

    /// What a reader must know of the axes beside their numbers.
    pub(super) fn kind(&self) -> &'static str {
        if self.apart { "an axis for each setting, from 0" } else { self.axis.kind() }
    }

    /// True if the launches of some row are drawn.
    pub(super) fn spread(&self) -> bool {
        self.groups.iter().any(|g| g.rows.iter().any(|r| r.spread(g.axis)))
    }
}

impl Row {
    /// True if the launches lie so far apart that a reader should see each of them.
    pub(super) fn spread(&self, axis: Axis) -> bool {
        let places = self.launches.iter().map(|v| axis.at(*v));
        let (lo, hi) = places.fold((1.0f64, 0.0f64), |(lo, hi), p| (lo.min(p), hi.max(p)));
        hi - lo > 0.1
    }
}

/// An axis for these rows.
fn over<'a>(value: &str, rows: impl IntoIterator<Item = &'a Row>) -> Option<Axis> {
    let rows: Vec<&Row> = rows.into_iter().collect();
    let values: Vec<f64> = rows.iter().flat_map(|r| r.launches.iter().copied().chain([r.at.mid])).collect();
    let ends: Vec<f64> = rows.iter().filter(|r| r.at.n > 1).flat_map(|r| [r.at.lo, r.at.hi]).collect();
    Axis::over(value, &values, &ends)
}

fn column(axis: Axis, v: f64, columns: usize) -> usize {
    // Within 0 and the width, so the cast is exact enough.
    (axis.at(v) * (columns - 1) as f64).round() as usize
}

/// A bar from 0 where the axis begins there; interval, launches where they spread, and the middle.
fn cells(axis: Axis, row: &Row, columns: usize) -> Vec<char> {
    let at = |v: f64| column(axis, v, columns);
    let mut cells = vec![' '; columns];
    if axis.is_from_zero() {
        cells[..=at(row.at.mid)].fill('=');
    }
    if row.at.n > 1 {
        cells[at(row.at.lo)..=at(row.at.hi)].fill('-');
    }
    if row.spread(axis) {
        row.launches.iter().for_each(|v| cells[at(*v)] = '.');
    }
    cells[at(row.at.mid)] = 'o';
    cells
}

/// The percentiles of a delay at one parameter, from the median to the longest, as a chart over them; `None` if the step has none, or fewer
/// than three.
pub(super) fn of_percentiles(step: &Step, rows: &[&Record]) -> Option<Chart> {
    const PLACES: [(&str, &str); 5] =
        [("p50", "median"), ("p90", "90 %"), ("p99", "99 %"), ("p999", "99.9 %"), ("max", "longest")];
    let mut names = std::iter::once(step.headline).chain(step.columns.iter().copied());
    let prefix = names.find_map(|name| name.strip_suffix("_p50_ns"))?;
    let value = format!("{prefix}_p50_ns");
    let mut groups: Vec<Group> = Vec::new();
    for (i, (place, setting)) in PLACES.iter().enumerate() {
        let of = format!("{prefix}_{place}_ns");
        let rows = rows.iter().filter(|r| r.case != AA);
        let rows: Vec<Row> = rows
            .filter_map(|r| {
                let at = r.interval_of(&of).filter(|i| i.mid.is_finite())?;
                let (case, name) = (r.case.clone(), name::variant(step, &r.case));
                let said = bounded(r, &of, number::value(&of, at.mid));
                Some(Row { case, name, said, at, launches: r.values(&of), quotable: r.quotable })
            })
            .collect();
        if !rows.is_empty() {
            let axis = over(&value, &rows)?;
            groups.push(Group { setting: (*setting).into(), param: format!("p{i}"), band: None, axis, rows });
        }
    }
    let axis = over(&value, groups.iter().flat_map(|g| &g.rows)).filter(|_| groups.len() >= 3)?;
    Some(Chart { label: name::value(step, prefix), value, groups, axis, apart: false })
}

/// From where to where the baseline differs from itself.
fn band(records: &[Record], r: &Record, value: &str) -> Option<(f64, f64)> {
    let band = aa_band(records, &r.run, &r.param, value)?;
    let mid = find(records, &r.run, &r.baseline, &r.param)?.interval_of(value)?.mid;
    Some((mid * (-band).exp(), mid * band.exp()))
}

/// From where to where a guess goes, and in words.
fn guessed(value: &str, guess: &Guess) -> Option<(f64, f64, String)> {
    Some(match guess {
        Guess::Number(v) => (*v, *v, number::value(value, *v)),
        Guess::Range(a, b) => {
            (*a, *b, format!("{} to {}", number::value(value, *a), number::value(value, *b)))
        }
        Guess::Case(_) => return None,
    })
}

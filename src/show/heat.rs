//! Who wins where: a step whose parameters are the cells of a grid as a map with a letter in each cell.
//!
//! ```text
//!         reads_100  reads_90  reads_50
//! 0       C 9.1x     C 2.0x    A 1.6x
//! 1us     C 1.2x     .         A 1.1x
//! A pl013_mutex, B pl013_rwlock, C rwlock_sharded; ...
//! ```
use super::wrap;
use crate::{
    judge::{Compared, compare, guess::more_is_better, name},
    lab::Step,
    record::Record,
};

/// With fewer lines or columns a map shows no more than its rows.
const LEAST: usize = 3;

/// The map of a step's rows of one run; `None` if its parameters are no grid or not more than one case has a value anywhere.
///
/// A parameter's line and column are what stands before and after its first `_`; a grid has every column in every line. In each cell:
/// the letter of the best case and by how many times it is ahead of the second, or `.` if no difference is shown between the two,
/// or `?` if they cannot be compared.
pub(super) fn map(step: &Step, records: &[Record], rows: &[&Record], width: usize) -> Option<String> {
    let (lines, columns) = grid(&step.params())?;
    let cases: Vec<&str> = step.cases().into_iter().filter(|case| *case != "empty").collect();
    let letter = |case: &str| {
        let at = cases.iter().position(|c| *c == case)?;
        Some(char::from(b'A' + u8::try_from(at).ok().filter(|at| *at < 26)?))
    };
    let cell = |line: &str, column: &str| -> String {
        let value = |r: &Record| r.interval_of(step.headline).map_or(f64::NAN, |i| i.mid);
        let mut here: Vec<&Record> = rows
            .iter()
            .copied()
            .filter(|r| r.param.split_once('_') == Some((line, column)) && letter(&r.case).is_some())
            .collect();
        here.sort_by(|a, b| value(a).total_cmp(&value(b)));
        if more_is_better(step.headline) {
            here.reverse();
        }
        let [best, second, ..] = here.as_slice() else { return "?".into() };
        match compare(step, records, (best, step.headline), (second, step.headline)) {
            Compared::Differs { ratio, .. } => {
                let ahead = ratio.mid.max(1.0 / ratio.mid);
                format!("{} {ahead:.1}x", letter(&best.case).unwrap_or('?'))
            }
            Compared::NoDifference { .. } => ".".into(),
            Compared::Cannot(_) => "?".into(),
        }
    };
    let mut table: Vec<Vec<String>> =
        vec![std::iter::once(String::new()).chain(columns.iter().map(|c| name::setting(step, c))).collect()];
    for line in &lines {
        table.push(
            std::iter::once(held(step, line))
                .chain(columns.iter().map(|column| cell(line, column)))
                .collect(),
        );
    }
    let widest = |i: usize| table.iter().map(|row| row[i].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..=columns.len()).map(widest).collect();
    if widths.iter().map(|w| w + 2).sum::<usize>() > width {
        return None;
    }
    let mut out = String::new();
    for row in &table {
        let text: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(text.join("  ").trim_end());
        out.push('\n');
    }
    let names: Vec<String> = cases
        .iter()
        .filter_map(|case| Some(format!("{} {}", letter(case)?, name::variant(step, case))))
        .collect();
    let legend = format!(
        "{}; the best in each cell and its lead over the second, \".\" where no difference is shown, \"?\" where they cannot \
         be compared",
        names.join(", ")
    );
    out.push_str(&wrap(&legend, width, 0, 2));
    out.push('\n');
    Some(out)
}

/// The first half of a setting of a grid: `200ns` is a time for which something is held.
pub(super) fn held(step: &Step, line: &str) -> String {
    name::setting(
        step,
        &if step.ours && line.starts_with(|c: char| c.is_ascii_digit()) {
            format!("hold_{line}")
        } else {
            line.into()
        },
    )
}

/// Lines and columns in the order in which they first come; `None` if the parameters are no grid.
pub(super) fn grid<'a>(params: &[&'a str]) -> Option<(Vec<&'a str>, Vec<&'a str>)> {
    let (mut lines, mut columns): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for param in params {
        let (line, column) = param.split_once('_')?;
        if !lines.contains(&line) {
            lines.push(line);
        }
        if !columns.contains(&column) {
            columns.push(column);
        }
    }
    let is_whole = lines.len() * columns.len() == params.len();
    (is_whole && lines.len() >= LEAST && columns.len() >= LEAST).then_some((lines, columns))
}

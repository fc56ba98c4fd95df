//! Measured times from a file: one column of a CSV, read once from front to back, of which a bounded sample is kept.
use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use super::given::ShapeError;
use crate::{contenders::workload::DRAWN, measure::order::Order, words::number};

/// So many values are kept of a longer file, each as likely as another, before quantiles of them are taken.
const KEPT: usize = 65_536;
/// No line of a table of times is as long as this.
const LONGEST_LINE: u64 = 64 << 10;

/// A column of times.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// At most [`DRAWN`] values in ns, in ascending order: all of a short file, the middles of equal parts of a longer one.
    pub values_ns: Vec<f64>,
    /// So many values were in the file.
    pub of: u64,
}

/// The times in a column. With no name it is the only column, or the one called `wanted` and a unit (`hold_ns`, `hold_us`).
///
/// # Errors
/// Where the file and the line are named: what is no time, is negative or has no unit; a file with fewer than two values; columns of
/// which none was meant.
pub fn times(path: &Path, name: Option<&str>, wanted: &str) -> Result<Column, ShapeError> {
    let mut table = Table::open(path)?;
    let at = table.place(name, wanted)?;
    let unit = table.unit(at);
    let (mut kept, mut of, mut order) = (Vec::new(), 0u64, Order::new(1));
    while table.next()? {
        let ns = table.time(table.line, table.cell(at), unit)?;
        of += 1;
        // Vitter's algorithm R, "Random Sampling with a Reservoir", 1985.
        if kept.len() < KEPT {
            kept.push(ns);
        } else {
            let slot = order.next_u64() % of;
            if let Some(slot) = usize::try_from(slot).ok().filter(|s| *s < KEPT) {
                kept[slot] = ns;
            }
        }
    }
    if of < 2 {
        let why = if of == 0 {
            "has no values"
        } else {
            "has one value, which is not a distribution; write --hold 300ns"
        };
        return Err(ShapeError::File { path: path.into(), why: why.into() });
    }
    kept.sort_by(f64::total_cmp);
    let values_ns = if kept.len() <= DRAWN {
        kept
    } else {
        (0..DRAWN).map(|i| kept[(2 * i + 1) * kept.len() / (2 * DRAWN)]).collect()
    };
    Ok(Column { values_ns, of })
}

/// The share of lines whose column `op` says `read`; `None` if there is no such column.
///
/// # Errors
/// If a line says neither `read` nor `write`, or the file can't be read.
pub fn reads_share(path: &Path) -> Result<Option<f64>, ShapeError> {
    let mut table = Table::open(path)?;
    let Some(at) = table.names.iter().position(|n| n == "op") else { return Ok(None) };
    let (mut reads, mut all) = (0u64, 0u64);
    while table.next()? {
        all += 1;
        match table.cell(at) {
            "read" => reads += 1,
            "write" => {}
            other => return Err(table.at(table.line, format!("'{other}' is neither read nor write"))),
        }
    }
    Ok((all > 0).then(|| reads as f64 / all as f64))
}

struct Table {
    path: std::path::PathBuf,
    lines: BufReader<File>,
    /// Empty if the first line holds values already.
    names: Vec<String>,
    /// The line that is read now: one buffer for all, since a trace may have millions.
    text: String,
    line: u64,
    /// The first line is still to be given out.
    is_first: bool,
}

/// What may stand between two cells.
const BETWEEN: [char; 3] = [',', ';', '\t'];

fn bare(cell: &str) -> &str {
    cell.trim().trim_matches('"')
}

impl Table {
    fn open(path: &Path) -> Result<Self, ShapeError> {
        let file = |why: String| ShapeError::File { path: path.into(), why };
        // A pipe or a device may never end.
        if std::fs::metadata(path).is_ok_and(|of| !of.is_file()) {
            return Err(file("is not a regular file".into()));
        }
        let lines = File::open(path).map_err(|e| file(format!("can't be read: {e}")))?;
        let mut table = Self {
            path: path.into(),
            lines: BufReader::new(lines),
            names: Vec::new(),
            text: String::new(),
            line: 0,
            is_first: false,
        };
        if !table.next()? {
            return Err(file("has no values".into()));
        }
        let cells: Vec<String> = table.text.split(BETWEEN).map(|c| bare(c).to_string()).collect();
        // A name begins with a letter, a value doesn't.
        if cells.iter().any(|c| c.starts_with(|c: char| c.is_alphabetic() || c == '_')) {
            table.names = cells;
        } else {
            table.is_first = true;
        }
        Ok(table)
    }

    fn at(&self, line: u64, why: String) -> ShapeError {
        ShapeError::File { path: self.path.clone(), why: format!("line {line}: {why}") }
    }

    /// A cell of this line; empty if there is none.
    fn cell(&self, at: usize) -> &str {
        self.text.split(BETWEEN).nth(at).map_or("", bare)
    }

    /// Goes to the next line that is not empty; false at the end.
    fn next(&mut self) -> Result<bool, ShapeError> {
        if std::mem::take(&mut self.is_first) {
            return Ok(true);
        }
        loop {
            let mut bytes = std::mem::take(&mut self.text).into_bytes();
            bytes.clear();
            self.line += 1;
            let n = (&mut self.lines)
                .take(LONGEST_LINE)
                .read_until(b'\n', &mut bytes)
                .map_err(|e| self.at(self.line, format!("can't be read: {e}")))?;
            if n == 0 {
                return Ok(false);
            }
            if n as u64 == LONGEST_LINE {
                return Err(
                    self.at(self.line, "it is longer than 64 KiB, so this is not a table of times".into())
                );
            }
            self.text = String::from_utf8(bytes).map_err(|_| self.at(self.line, "it is not text".into()))?;
            if self.line == 1 && self.text.starts_with('\u{feff}') {
                self.text.drain(..'\u{feff}'.len_utf8());
            }
            if !self.text.trim().is_empty() {
                return Ok(true);
            }
        }
    }

    /// Which column is meant.
    fn place(&self, name: Option<&str>, wanted: &str) -> Result<usize, ShapeError> {
        let listed = || self.names.join(", ");
        let file = |why| ShapeError::File { path: self.path.clone(), why };
        let count = self.text.split(BETWEEN).count();
        if let Some(name) = name {
            let found = self.names.iter().position(|n| n == name);
            return found
                .ok_or_else(|| file(format!("has no column '{name}'; its columns are {}", listed())));
        }
        if count == 1 {
            return Ok(0);
        }
        let is_wanted =
            |n: &String| n.strip_prefix(wanted).is_some_and(|unit| SUFFIXES.iter().any(|(s, _)| *s == unit));
        match self.names.iter().position(is_wanted) {
            Some(at) => Ok(at),
            None if self.names.is_empty() => Err(file(format!(
                "has {count} columns without names; its first line must name them, such as {wanted}_ns"
            ))),
            None => Err(file(format!(
                "has no column {wanted}_ns; its columns are {}: name one after a colon, {}:{}",
                listed(),
                self.path.display(),
                self.names[0]
            ))),
        }
    }

    /// What the column's name says of its unit.
    fn unit(&self, at: usize) -> Option<f64> {
        let name = self.names.get(at)?;
        SUFFIXES
            .iter()
            .find(|(suffix, _)| name.ends_with(suffix) || *name == suffix[1..])
            .map(|(_, factor)| *factor)
    }

    fn time(&self, line: u64, cell: &str, unit: Option<f64>) -> Result<f64, ShapeError> {
        if let Some(rest) = cell.strip_prefix('-').filter(|rest| number::read("time_ns", rest).is_some()) {
            return Err(self.at(line, format!("-{rest} is negative, and a time can't be")));
        }
        let Some(ns) = number::read("time_ns", cell) else {
            return Err(self.at(line, format!("'{cell}' is not a time")));
        };
        let bare = cell.ends_with(|c: char| c.is_ascii_digit() || c == '.');
        match (bare, unit) {
            (false, _) => Ok(ns),
            (true, Some(factor)) => Ok(ns * factor),
            (true, None) => Err(self.at(
                line,
                format!("'{cell}' has no unit; call the column hold_ns or hold_us, or write the unit after each value"),
            )),
        }
    }
}

/// The ends of a column's name that say its unit, and how many ns that is.
const SUFFIXES: [(&str, f64); 4] = [("_ns", 1.0), ("_us", 1e3), ("_ms", 1e6), ("_s", 1e9)];

//! Pure renderers: records and findings in, text out.
//!
//! | file | what it shows |
//! |---|---|
//! | [`check`] | what `underhood check` prints |
//! | [`table`] | one step as a table or as sentences, and its findings |
//! | [`answer`] | the model answer to a question, from the reader's own records |
//! | [`quote`] | the sentence that may be quoted, or why there is none |
//! | [`notes`] | the measured blocks of NOTES.md, and whether they still say what the records say |
//! | `chart`, `axis` | what a chart shows, and where a value lies on it; drawn in characters, and by the report as SVG |
//! | `because` | the argument of a step: the rows that carry it, and the reasons with what supports each |
//! | `elsewhere` | what the subject of a lab is called in other languages |
//! | [`export`] | for a spreadsheet, a page of Markdown, a deck of cards |
//! | [`lanes`], [`perfetto`] | a trace as swim lanes, and as a file that Perfetto opens |
//! | [`report`](mod@report) | everything as one HTML page |
//! | [`picture`] | one step as a picture of characters, and where its code is |
//! | [`origin`] | machine, versions and grade in one line each |
pub mod answer;
mod axis;
mod because;
mod chart;
pub mod check;
mod elsewhere;
pub mod export;
mod heat;
#[cfg(feature = "labs")]
pub mod lanes;
pub mod notes;
mod notes_grid;
pub mod origin;
#[cfg(feature = "labs")]
pub mod perfetto;
pub mod picture;
pub mod questions;
pub mod quote;
pub mod report;
pub mod table;

use crate::{lab::sample::Side, record::Record, words::number};

/// How the reader wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal.
    pub width: usize,
    /// Escape codes for colour; without it the text is free of them.
    pub color: bool,
    /// Sentences in place of tables and marks, for screen readers.
    pub plain: bool,
    /// Further columns, the A/A row, odd launches: whatever a reader asks for when the answer alone is not enough.
    pub all: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { width: 80, color: false, plain: false, all: false }
    }
}

/// A value of a record with its interval; a value that is only a bound says so.
fn shown(r: &Record, name: &str) -> String {
    r.interval_of(name).map_or_else(|| "unmeasured".into(), |i| bounded(r, name, number::interval(name, &i)))
}

/// The printed value, with the side of a bound before it.
fn bounded(r: &Record, name: &str, printed: String) -> String {
    match r.bound_of(name) {
        None => printed,
        Some(Side::AtLeast) => format!("at least {printed}"),
        Some(Side::AtMost) => format!("at most {printed}"),
    }
}

impl Look {
    /// The text in this style, or as it is if no colour was asked for.
    fn paint(self, style: anstyle::Style, text: &str) -> String {
        if self.color { format!("{style}{text}{style:#}") } else { text.to_string() }
    }
}

/// Breaks text at spaces into lines of at most `width` characters; lines after the first start with `indent` spaces, and the
/// first is `start` characters further right already. A longer word gets a line of its own; a number keeps its unit.
pub(crate) fn wrap(text: &str, width: usize, start: usize, indent: usize) -> String {
    let mut parts: Vec<String> = Vec::new();
    for word in text.split(' ').filter(|w| !w.is_empty()) {
        match parts.last_mut() {
            Some(last)
                if crate::words::number::is_unit(word) || last.starts_with('[') && last.ends_with(',') =>
            {
                last.push(' ');
                last.push_str(word);
            }
            _ => parts.push(word.to_string()),
        }
    }
    let mut out = String::new();
    let mut used = start;
    for part in parts {
        let length = part.chars().count();
        if !out.is_empty() {
            if used + 1 + length > width {
                out.push('\n');
                out.extend(std::iter::repeat_n(' ', indent));
                used = indent;
            } else {
                out.push(' ');
                used += 1;
            }
        }
        out.push_str(&part);
        used += length;
    }
    out
}

/// With a capital letter.
fn capital(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}

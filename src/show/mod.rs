//! Pure renderers: records and findings in, text out.
//!
//! | file | what it shows |
//! |---|---|
//! | [`check`] | what `underhood check` prints |
//! | [`table`] | one step as a table or as sentences, and its findings |
//! | [`answer`] | the model answer to a question, from the reader's own records |
//! | [`quote`] | the sentence that may be quoted, or why there is none |
//! | [`notes`] | the measured blocks of NOTES.md, and whether they still say what the records say |
//! | [`export`] | for a spreadsheet, a page of Markdown, a deck of cards |
//! | [`lanes`], [`perfetto`] | a trace as swim lanes, and as a file that Perfetto opens |
//! | [`report`](mod@report) | everything as one HTML page |
//! | [`picture`] | one step as a picture of characters, and where its code is |
//! | [`origin`] | machine, versions and grade in one line each |
pub mod answer;
pub mod check;
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
pub mod quote;
pub mod report;
pub mod table;

/// How the reader wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal.
    pub width: usize,
    /// Escape codes for colour; without it the text is free of them.
    pub color: bool,
    /// Sentences in place of tables and marks, for screen readers.
    pub plain: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self { width: 80, color: false, plain: false }
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

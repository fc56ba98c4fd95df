//! The machine, which is half of a record's line, once in a file instead of in every line.
//!
//! Only for files that are written as a whole (the records that NOTES.md cites): there a later line has, in place of the machine, the
//! hash of the text that an earlier line has in full. The text comes back to the letter before a line's id is checked, so the ids are the
//! same in both forms, and a line whose machine was lost or edited is damaged as ever.
use std::{borrow::Cow, collections::BTreeMap};

use serde::de::IgnoredAny;

use super::id_of;

const KEY: &str = r#""machine":"#;

/// The machines of the lines so far, by hash.
#[derive(Debug, Default)]
pub(super) struct Machines(BTreeMap<String, String>);

impl Machines {
    /// The line, with a hash for a machine that a line before had in full.
    pub(super) fn shorten(&mut self, line: &str) -> String {
        let Some((at, text)) = in_full(line) else { return line.to_string() };
        let hash = id_of(text);
        if self.0.contains_key(&hash) {
            return format!("{}\"{hash}\"{}", &line[..at], &line[at + text.len()..]);
        }
        self.0.insert(hash, text.to_string());
        line.to_string()
    }

    /// The line as it was; a hash that no line before explains is left in place, for which the line will count as damaged.
    pub(super) fn restore<'a>(&mut self, line: &'a str) -> Cow<'a, str> {
        if let Some((_, text)) = in_full(line) {
            self.0.entry(id_of(text)).or_insert_with(|| text.to_string());
            return Cow::Borrowed(line);
        }
        let parts = line.split_once(KEY).and_then(|(head, rest)| {
            let (hash, tail) = rest.strip_prefix('"')?.split_once('"')?;
            Some((head, self.0.get(hash)?, tail))
        });
        match parts {
            Some((head, text, tail)) => Cow::Owned(format!("{head}{KEY}{text}{tail}")),
            None => Cow::Borrowed(line),
        }
    }
}

/// Where the machine of a line begins, and its text. A string in the line cannot look like the key: its quotes are escaped.
fn in_full(line: &str) -> Option<(usize, &str)> {
    let at = line.find(&format!("{KEY}{{"))? + KEY.len();
    let mut values = serde_json::Deserializer::from_str(&line[at..]).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some((at, &line[at..at + values.byte_offset()]))
}

//! Strings from records are data that anybody may have written: they must not break a table, a page or the terminal.

/// More than this of one string is never shown; the record has the rest.
const LONGEST: usize = 300;

/// Makes a string harmless in one line of a terminal: control characters (escape sequences, line ends, tabs) and invisible
/// characters that reorder or hide text become visible escapes, and what is very long is cut, visibly.
pub fn line(text: &str) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == LONGEST {
            out.push_str("...");
            break;
        }
        if hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// As [`line()`], uncut and with the line ends that it has: for a message, which may quote what somebody typed.
pub fn message(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// A line of JSON with the same meaning, harmless at a terminal too: what is hidden is written as `\uXXXX`. JSON has such characters only
/// inside of its strings.
pub fn json(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut units = [0; 2];
    for c in line.chars() {
        if hidden(c) {
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

/// A path for one line of a terminal: whole, harmless, and with marks where it is no UTF-8.
pub fn path(path: &std::path::Path) -> String {
    message(&path.to_string_lossy()).replace('\n', "\\n")
}

/// As [`line()`], and harmless in a cell of a Markdown table as well: no pipe, tag, link or code span survives as such.
pub fn markdown(text: &str) -> String {
    let mut out = String::new();
    for c in line(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '|' | '`' | '*' | '[' | ']' | '~' | '$' => out.extend(['\\', c]),
            _ => out.push(c),
        }
    }
    out
}

/// Control characters, line and paragraph separators, zero-width and bidirectional marks, and the tag block.
fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

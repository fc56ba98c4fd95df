//! Numbers with their units, and names made harmless: what every sentence and every table is put together from. Pure.
//!
//! | file | what is there |
//! |---|---|
//! | [`number`] | one number, with unit and interval; and how a reader's answer is read |
//! | [`mod@escape`] | makes strings from records harmless |
pub mod escape;
pub mod number;

/// ` at <parameter>`, or nothing if there is none.
pub fn at(param: &str) -> String {
    if param.is_empty() { String::new() } else { format!(" at {}", escape::line(param)) }
}

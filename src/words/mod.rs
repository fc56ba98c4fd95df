//! Numbers with their units, and names made harmless: what every sentence and every table is put together from. Pure.
//!
//! | file | what is there |
//! |---|---|
//! | [`number`] | one number, with unit and interval; and how a reader's answer is read |
//! | [`mod@escape`] | makes strings from records harmless |
//! | [`names`] | what people call what records name by an id |
pub mod escape;
pub mod names;
pub mod number;

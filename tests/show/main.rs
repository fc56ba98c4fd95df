//! The renderers: terminal, notes, report. On made-up records; nothing here is measured.
#[path = "../../labs/all.rs"]
mod all;
#[path = "../common/mod.rs"]
mod common;

mod names;
mod notes;
mod report;
mod terminal;

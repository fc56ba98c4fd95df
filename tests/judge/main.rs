//! Records and what is made of them: the store, verdicts, comparisons, guesses. On made-up records; nothing here is measured.
#[path = "../common/mod.rs"]
mod common;

mod compare;
mod guess;
mod pool;
mod ranking;
mod record;
mod verdicts;

//! The program from outside: bad input and bad machines, stepping with and without a terminal, what is learnt, packaging, sudden death.
#[path = "../../labs/all.rs"]
mod all;
#[cfg(unix)]
#[path = "../common/terminal.rs"]
mod terminal;

mod bad_input;
#[cfg(all(target_os = "linux", feature = "gc"))]
mod kill;
mod learn;
mod package;
mod stepping;

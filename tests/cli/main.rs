//! The program from outside: bad input and bad machines, hostile stores and words, stepping with and without a terminal, what is learnt, packaging, sudden death.
#[path = "../../labs/all.rs"]
mod all;
#[cfg(unix)]
#[path = "../common/terminal.rs"]
mod terminal;

mod audit;
mod bad_input;
#[cfg(target_os = "linux")]
mod dotnet;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(all(target_os = "linux", feature = "gc"))]
mod kill;
mod learn;
#[cfg(target_os = "linux")]
mod mutated;
mod package;
mod shapes;
#[cfg(target_os = "linux")]
mod signals;
mod stepping;
mod suite;

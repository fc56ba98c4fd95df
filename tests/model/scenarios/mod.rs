//! The scenarios: small programs with an oracle, written once and run on every machine.
//!
//! A scenario sees `crate::lock`, `crate::sync` and so on, whichever machine the test root gives it: `tests/real.rs` (the
//! library itself), `tests/chaos.rs` (random pauses), `tests/model.rs` (loom, and loom with each mutant).
//!
//! To add a structure: `src/<room>/<name>.rs`, a file of the same name here, and its two lines below.
//!
//! Rules for a scenario. The value is in the structure's own cell, so that loom sees every unordered access to it. Every
//! thread is joined, and nothing that the join orders is taken as proof of the structure's ordering. At most three threads,
//! and main is one of them. A wanted panic is made by [`throw`] and caught by [`caught`], which lets no other panic pass for it.

mod mutex;
mod rwlock;
mod safepoint;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Every structure that has scenarios.
pub const ALL: &[Structure] = &[
    Structure { path: "lock/mutex", scenarios: mutex::SCENARIOS },
    Structure { path: "lock/rwlock", scenarios: rwlock::SCENARIOS },
    Structure { path: "managed/safepoint", scenarios: safepoint::SCENARIOS },
];

/// Structures with a mistake that is more than a weaker ordering, and whether the scenarios must pass all the same: a twin
/// without its mistake shows that the mistake is what they find.
pub const TWINS: &[(Structure, bool)] = safepoint::TWINS;

/// A structure or twin by its path.
pub fn find(path: &str) -> Option<&'static Structure> {
    ALL.iter().chain(TWINS.iter().map(|(twin, _)| twin)).find(|s| s.path == path)
}

/// The scenarios of one structure.
pub struct Structure {
    /// `src/<path>.rs`
    pub path: &'static str,
    pub scenarios: &'static [Scenario],
}

/// One small program.
pub struct Scenario {
    pub name: &'static str,
    /// What must hold in every execution.
    pub oracle: &'static str,
    /// How many threads it has, main included.
    pub threads: usize,
    /// Preemptions that the model explores; `None`: all there are.
    pub bound: Option<usize>,
    /// The program; its argument says how often each thread repeats its part: once in the model, often on real threads.
    pub run: fn(turns: usize),
}

struct Thrown;

/// Unwinds, without the panic hook: in a model the hook reports a failure and ends the process.
fn throw() -> ! {
    resume_unwind(Box::new(Thrown))
}

/// Runs `f`, which is to end by [`throw`].
fn caught(f: impl FnOnce()) {
    match catch_unwind(AssertUnwindSafe(f)) {
        Err(thrown) if thrown.is::<Thrown>() => {}
        Err(another) => resume_unwind(another),
        Ok(()) => panic!("the scenario was to unwind here"),
    }
}

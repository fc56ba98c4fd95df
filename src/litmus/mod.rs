//! Litmus tests from files: what the language allows, what x86 allows, and what this CPU shows.
//!
//! A litmus test is a few threads of a few loads and stores, and a question about the end. Public suites have thousands. [`read()`] reads the
//! formats of herd7 (J. Alglave, L. Maranget and others, herdtools7): C11 (`C`), the Linux kernel's C without RCU's grace periods (`C`), and x86 in
//! Intel's (`X86`) and AT&T's (`X86_64`) order of operands. [`check()`] tries every candidate execution, without a bound on preemptions, and keeps the
//! outcomes that each model allows (`axioms.rs` has the models and their sources). [`on_cpu::run`] counts what this machine shows.
//!
//! # What is run
//! | in the file | here |
//! |---|---|
//! | C11 atomics | themselves; what is not atomic is run as Relaxed, and races on it are named |
//! | `READ_ONCE`, `WRITE_ONCE`, `mov` | Relaxed |
//! | `smp_load_acquire`, `rcu_dereference`; `smp_store_release`, `rcu_assign_pointer` | Acquire; Release |
//! | `smp_mb`, `mfence`; `smp_rmb`; `smp_wmb` | a fence: SeqCst; Acquire; Release |
//! | the kernel's read-modify-writes that return a value | SeqCst, between two SeqCst fences |
//! | `spin_lock`, `spin_unlock` | waits for 0 and makes it 1, Acquire; stores 0, Release |
//! | `xchg`, `lock xadd` | SeqCst read-modify-writes |
//!
//! So for a kernel test RC11 judges our translation, not the kernel's own model, which also honours dependencies. Its stated verdict is compared
//! one way only: what the kernel's model never allows, x86 must never allow and this CPU must never show.
//!
//! # Agreement with published verdicts
//! | suite | files | read | cut short | stated verdicts | agree | time |
//! |---|---|---|---|---|---|---|
//! | hernanponcedeleon/Dat3M 30640123b, C11, by its RC11 list | 137 | 135 | 0 | 135 of RC11 | 135 | 0.1 s |
//! | the same, X86, by its TSO list | 487 | 487 | 0 | 487 of TSO | 487 | 0.5 s |
//! | the same, LKMM, by its LKMM list and comments | 5299 | 3880 | 19 | 2422 "never" of the kernel, one way | 2422 | 35 s |
//! | paulmckrcu/litmus 2f1be9ed, by its comments | 5571 | 3968 | 10 | 1205 "never" of the kernel, one way | 1205 | 32 s |
//! | litmus-tests/litmus-tests-x86 a6dadce | 2595 | 2595 | 0 | none is stated | - | 3 s |
//!
//! The times are of this room alone, optimised, on one CPU of a loaded machine. Most of the fourth row's files are in
//! the third's folder, too, and there a test may have two verdicts: its comment and its row.
//!
//! Not read are RCU's grace periods (most of it), other languages (LISA, PPC), and a few loops and arrays. The suites are not part of this
//! repository; whoever has one gives its folder to `underhood litmus`, and the list with `--verdicts`.
mod axioms;
pub mod condition;
mod executions;
pub mod on_cpu;
pub mod program;
mod relation;
mod scan;
mod source_c;
mod source_x86;
pub mod stated;
mod thread_runs;

use self::{
    axioms::Relations,
    executions::{Budget, Execution, Judge},
    program::{Dialect, Outcome, Outcomes, Test},
};

pub use self::scan::Unreadable;

/// Reads a test.
///
/// # Errors
/// Names the line and the construct that it cannot read.
pub fn read(text: &str) -> Result<Test, Unreadable> {
    let text = text.trim_start_matches('\u{feff}').replace('\r', "");
    let first = text.lines().next().unwrap_or_default();
    let (kind, name) = first.trim().split_once(char::is_whitespace).unwrap_or((first.trim(), ""));
    let name = name.split_whitespace().next().unwrap_or("unnamed");
    match kind {
        "C" => source_c::read(name, &text),
        "X86" => source_x86::read(name, &text, false),
        "X86_64" => source_x86::read(name, &text, true),
        "" => scan::no(1, "the first line names the language: C, X86 or X86_64"),
        other => scan::no(1, format!("the language '{other}' is not read: C, X86 and X86_64 are")),
    }
}

/// What the models allow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Sequential consistency: threads take turns.
    pub sc: Outcomes,
    /// x86.
    pub tso: Outcomes,
    /// RC11.
    pub rc11: Outcomes,
    /// C++20: RC11 and what its rule on thin air forbids.
    pub cxx20: Outcomes,
    /// RC11 allows an execution with a race on what is not atomic: then the language gives the test no meaning.
    pub racy: bool,
    /// Every candidate was looked at. Else an outcome that is not here may be allowed all the same.
    pub complete: bool,
}

impl Allowed {
    /// Whether a model allows the outcome in question: `None` if the search was cut short before it found one.
    pub fn asked(&self, of: &Outcomes, test: &Test) -> Option<bool> {
        let asked = &test.condition;
        let found = of.iter().any(|o| asked.filter.holds(o) && asked.asks_for(o));
        (found || self.complete).then_some(found)
    }
}

/// Enough for nearly every test of the suites above; a second or so in a release build.
pub const STEPS: u64 = 1_000_000;

/// Tries every candidate execution, in so many steps at most; `stop` ends it earlier.
pub fn check(test: &Test, steps: u64, stop: &dyn Fn() -> bool) -> Allowed {
    let mut sets =
        Sets { found: Allowed::default(), races: test.dialect == Dialect::C11 && test.has_plain() };
    let mut budget = Budget { left: steps.max(1), stop };
    let whole = executions::explore(test, &mut budget, &mut sets);
    sets.found.complete = whole && budget.left > 0;
    sets.found
}

struct Sets {
    found: Allowed,
    /// Races are still looked for.
    races: bool,
}

impl Judge for Sets {
    fn is_settled(&self, outcome: &Outcome) -> bool {
        let Allowed { sc, tso, rc11, cxx20, .. } = &self.found;
        !self.races && [sc, tso, rc11, cxx20].iter().all(|set| set.contains(outcome))
    }

    fn judge(&mut self, x: &Execution, outcome: Outcome) {
        let r = Relations::of(x);
        let found = &mut self.found;
        if !found.tso.contains(&outcome) && r.is_tso(x) {
            found.tso.insert(outcome.clone());
        }
        if !found.sc.contains(&outcome) && r.is_sc(x) {
            found.sc.insert(outcome.clone());
        }
        if !found.cxx20.contains(&outcome) && r.happens_before(x, false).is_some() {
            found.cxx20.insert(outcome.clone());
        }
        if (!found.rc11.contains(&outcome) || self.races)
            && r.has_no_thin_air()
            && let Some(hb) = r.happens_before(x, true)
        {
            found.racy |= self.races && r.has_race(x, &hb);
            self.races &= !found.racy;
            found.rc11.insert(outcome);
        }
    }
}

//! What a lab is: data and small functions. A lab never measures by itself, never judges and never formats.
//!
//! A **lab** answers one question with a few **steps**; a step runs **contenders** at **parameters** and states **claims** before it
//! runs; a claim judged against the records is a **finding** (see [`crate::judge`]). Why it came out so is a list of **mechanisms**, each
//! with its evidence.
pub mod claim;
pub mod contender;
pub mod mechanism;
pub mod param;
pub mod plan;
pub mod sample;
pub mod step;

pub use self::{
    claim::{Bound, Claim, Expect, Pick, Say, What, at_least, at_most, between, bound, exactly, pick, ratio},
    contender::{Check, Contender, Setting, setting},
    mechanism::{Evidence, Mechanism, shown_by, source},
    param::{ONCE, Param, Point, Unit, at, bytes, count, ns, share},
    step::{Bench, Kind, Launch, Predict, Step, Timed},
};

/// The cargo features that this binary has beyond the default ones, as the flag that gives them, with a space before; else empty.
pub const FEATURES: &str = match (cfg!(feature = "jemalloc"), cfg!(feature = "snmalloc")) {
    (true, true) => " --features allocators",
    (true, false) => " --features jemalloc",
    (false, true) => " --features snmalloc",
    (false, false) => "",
};

/// One question, and everything that is needed to answer it. Built with [`crate::lab!`] and the methods that follow it.
#[derive(Clone, Debug)]
pub struct Lab {
    /// Names the file, the binary, the bench id, the record file, the heading in NOTES.
    pub stem: &'static str,
    /// The question as an interviewer asks it.
    pub question: &'static str,
    /// In the order in which a reader should see them.
    pub steps: Vec<Step>,
    /// The sentences that may be quoted, best first.
    pub says: Vec<Say>,
    /// What the numbers do not allow anybody to say.
    pub not_said: Vec<&'static str>,
    /// What they will ask next.
    pub next: Vec<&'static str>,
    /// Where the facts and the algorithms come from.
    pub sources: Vec<&'static str>,
    /// Whose code it is.
    pub origin: Origin,
    /// Says what it runs on beside this machine: a foreign runtime, with its version.
    pub runs_on: Option<fn() -> String>,
    /// The words of the program that measure it again, where it is no lab of the table of contents: a shape (`underhood try`).
    pub again: Option<String>,
}

/// Whose code a lab is: filled in by [`crate::lab!`] in the crate that the lab belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    /// The package's name.
    pub package: &'static str,
    /// The package's version.
    pub version: &'static str,
    /// The program, if the lab stands in one of its own.
    pub bin: Option<&'static str>,
    /// Where the package's manifest was when this was built.
    pub manifest_dir: &'static str,
    /// The text of the lab's own file: part of what decides whether two runs may be pooled.
    pub text: &'static str,
}

impl Origin {
    /// This crate's.
    pub const fn ours(text: &'static str) -> Self {
        Self {
            package: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            bin: None,
            manifest_dir: env!("CARGO_MANIFEST_DIR"),
            text,
        }
    }
}

/// A lab of this name and question, whose file is `<name>.rs` beside the one that says so: `lab!("lock_mutex", "What does ...?")`.
#[macro_export]
macro_rules! lab {
    ($stem:literal, $question:expr) => {
        $crate::lab::Lab::new(
            $stem,
            $question,
            $crate::lab::Origin {
                package: env!("CARGO_PKG_NAME"),
                version: env!("CARGO_PKG_VERSION"),
                bin: option_env!("CARGO_BIN_NAME"),
                manifest_dir: env!("CARGO_MANIFEST_DIR"),
                text: include_str!(concat!($stem, ".rs")),
            },
        )
    };
}

impl Lab {
    /// A lab without steps.
    pub fn new(stem: &'static str, question: &'static str, origin: Origin) -> Self {
        let (steps, says) = (Vec::new(), Vec::new());
        let (not_said, next, sources) = (Vec::new(), Vec::new(), Vec::new());
        Self { stem, question, steps, says, not_said, next, sources, origin, runs_on: None, again: None }
    }
    /// One more step.
    #[must_use]
    pub fn step(mut self, mut step: Step) -> Self {
        step.settle();
        step.ours = self.origin.package == env!("CARGO_PKG_NAME");
        self.steps.push(step);
        self
    }
    /// A sentence that may be quoted: see [`Say`]. After the step that it is about; the best comes first.
    ///
    /// # Panics
    /// If the lab has no such step.
    #[must_use]
    pub fn say(
        mut self,
        step: &'static str,
        text: &'static str,
        what: impl Into<What>,
        not_true_when: &'static str,
    ) -> Self {
        let mut say = Say::new(step, text, what, not_true_when);
        let of = self.steps.iter().find(|s| s.name == step);
        let of = of.unwrap_or_else(|| panic!("{} has no step {step} to say something about", self.stem));
        say.settle(of.headline, of.only_param());
        self.says.push(say);
        self
    }
    /// What it runs on beside this machine, by name and version: a foreign runtime. Sessions on two of them are never pooled.
    #[must_use]
    pub fn runs_on(mut self, runtime: fn() -> String) -> Self {
        self.runs_on = Some(runtime);
        self
    }
    /// What the numbers do not allow anybody to say.
    #[must_use]
    pub fn not_said(mut self, texts: &[&'static str]) -> Self {
        self.not_said.extend(texts);
        self
    }
    /// What they will ask next.
    #[must_use]
    pub fn next(mut self, texts: &[&'static str]) -> Self {
        self.next.extend(texts);
        self
    }
    /// Where the facts and the algorithms come from.
    #[must_use]
    pub fn sources(mut self, texts: &[&'static str]) -> Self {
        self.sources.extend(texts);
        self
    }
    /// The command that measures it, in the package that it belongs to.
    pub fn command(&self) -> String {
        let Origin { package, bin, .. } = self.origin;
        let ours = package == env!("CARGO_PKG_NAME");
        if let Some(words) = &self.again {
            let features = if ours { crate::lab::FEATURES } else { "" };
            let bin = bin.filter(|_| !ours).map(|b| format!(" --bin {b}")).unwrap_or_default();
            return format!("cargo run --release{features}{bin} -- {words}");
        }
        if ours {
            return format!("cargo run --release{} --bin {}", crate::lab::FEATURES, self.stem);
        }
        let bin = bin.map(|b| format!(" --bin {b}")).unwrap_or_default();
        format!("cargo run --release{bin} -- run {}", self.stem)
    }
    /// The command that measures one of its steps.
    pub fn command_for(&self, step: &str) -> String {
        let all = self.command();
        if self.again.is_some() {
            return all;
        }
        let more = if all.contains(" -- ") { "" } else { " --" };
        format!("{all}{more} --only {step}")
    }
    /// The criterion benches of all steps.
    pub fn benches(&self) -> impl Iterator<Item = &Bench> {
        self.steps.iter().flat_map(Step::benches)
    }
}

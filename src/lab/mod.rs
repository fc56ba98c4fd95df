//! What a lab is: plain data and functions. A lab never measures by itself, never judges and never formats.
//!
//! A **lab** answers one question with a few **steps**; a step runs **cases** (contenders) and states **claims** before it
//! runs; a claim judged against the records is a **finding** (see [`crate::judge`]).
pub mod plan;
pub mod sample;

use crate::lab::{plan::Plan, sample::Sample};

/// One question, and everything that is needed to answer it.
#[derive(Debug)]
pub struct Lab {
    /// Names the file, the binary, the bench id, the record file, the heading in NOTES.
    pub stem: &'static str,
    /// The question as an interviewer asks it.
    pub question: &'static str,
    /// In the order in which a reader should see them.
    pub steps: &'static [Step],
    /// The sentences that may be quoted, best first.
    pub says: &'static [Say],
    /// What the numbers do not allow anybody to say.
    pub not_said: &'static [&'static str],
    /// What they will ask next.
    pub next: &'static [&'static str],
    /// Where the facts and the algorithms come from.
    pub sources: &'static [&'static str],
    /// The same cases for criterion; ids are `labs/<stem>/<id>`.
    pub benches: fn(&Plan) -> Vec<Bench>,
}

/// One prediction, one measurement, one explanation.
#[derive(Debug)]
pub struct Step {
    /// Short, `snake_case`; unique within the lab.
    pub name: &'static str,
    /// What the reader is asked to predict.
    pub ask: &'static str,
    /// How the reader may answer.
    pub predict: Predict,
    /// What the machine must be fit for.
    pub kind: Kind,
    /// Contenders; the first is the baseline of every ratio. The engine adds the `A/A` row.
    pub cases: &'static [&'static str],
    /// Parameters at which every case is run (hold times, sizes); `&[""]` for none.
    pub params: &'static [&'static str],
    /// Which process runs what.
    pub launch: Launch,
    /// Runs these cases at these parameters in this process and returns a sample for each pair, plus `A/A` samples
    /// ([`crate::record::AA`]) where the step is paired.
    pub measure: Measure,
    /// The value that is compared and predicted.
    pub headline: &'static str,
    /// Further values to show beside it.
    pub columns: &'static [&'static str],
    /// Expectations, stated before the run.
    pub claims: &'static [Claim],
    /// The mechanism, with the file to open.
    pub because: &'static str,
    /// Whether the tour shows this step.
    pub tour: bool,
}

/// Measures cases (second argument) at parameters (third argument) in this process: one launch.
pub type Measure = fn(&Plan, &[&str], &[&str]) -> Vec<Sample>;

/// How a reader may answer before the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Predict {
    /// A number of the step's headline value, for the named case.
    Number {
        /// Whose number.
        case: &'static str,
        /// At which parameter (`""` if the step has none).
        param: &'static str,
    },
    /// One of the cases: the one with the best headline value.
    Best {
        /// At which parameter (`""` if the step has none).
        param: &'static str,
    },
}

/// What a measurement needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The cost of an operation on one thread.
    Single,
    /// Throughput of threads that meet on several cores at once.
    Contended,
    /// Percentiles of single operations.
    Tail,
    /// How long a victim stood still.
    Pause,
    /// How often something happens that depends on when threads run: a meeting, a lost wake-up, who is served.
    Chance,
    /// Counts and sizes that hold on any machine.
    Count,
}

impl Kind {
    /// True if a value is a time or a rate, which the place of the code alone can change: it needs an A/A row.
    pub const fn is_timed(self) -> bool {
        !matches!(self, Self::Chance | Self::Count)
    }
}

/// How cases share processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Launch {
    /// All cases interleaved in one child process: for paired comparison.
    Together,
    /// A child process for each case and parameter: allocators, collectors, limits, whatever leaves state behind or may hang.
    Isolated,
    /// Not measured by the lab: this command puts the records into the store, and the lab shows the newest. For what a tool finds that is no
    /// dependency of the library.
    Recorded(&'static str),
}

/// An expectation that was stated before the run.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The sentence, as a person would say it.
    pub text: &'static str,
    /// The value that is meant.
    pub of: Pick,
    /// If given, the claim is about `of / against`, paired launch by launch.
    pub against: Option<Pick>,
    /// What is expected of it.
    pub expect: Expect,
    /// With fewer cores allowed than this, the verdict is "not shown here".
    pub cores: usize,
}

/// One value of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The case.
    pub case: &'static str,
    /// The parameter (`""` if none).
    pub param: &'static str,
    /// The value's name; its suffix is its unit.
    pub value: &'static str,
}

/// Short for a [`Pick`].
pub const fn pick(case: &'static str, param: &'static str, value: &'static str) -> Pick {
    Pick { case, param, value }
}

/// What a claim expects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expect {
    /// At least this much.
    AtLeast(f64),
    /// At most this much.
    AtMost(f64),
    /// Within these bounds.
    Between(f64, f64),
}

/// A sentence that may be quoted. `{value}`, `{against}` and `{ratio}` stand for the numbers with their intervals;
/// `{threads}` for the number of threads, `{launches}` for that of launches.
#[derive(Clone, Copy, Debug)]
pub struct Say {
    /// The step whose records carry the numbers.
    pub step: &'static str,
    /// The template.
    pub text: &'static str,
    /// `{value}`.
    pub of: Pick,
    /// `{against}`, and `{ratio}` = of / against.
    pub against: Option<Pick>,
    /// When the sentence would be false.
    pub not_true_when: &'static str,
}

/// One criterion bench.
pub struct Bench {
    /// `<case>[/<param>]`: short and ASCII.
    pub id: String,
    /// Builds the contender; called only when a filter selected it. The closure runs that many operations and returns the time they took.
    pub make: Box<dyn Fn() -> Timed>,
}

/// Runs a number of operations and says how long they took.
pub type Timed = Box<dyn FnMut(u64) -> std::time::Duration>;

impl std::fmt::Debug for Bench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bench").field("id", &self.id).finish_non_exhaustive()
    }
}

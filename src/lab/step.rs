//! A step: one prediction, one measurement, one explanation.
use std::{fmt, sync::Arc, time::Duration};

use super::{
    claim::{Bound, Claim},
    contender::Contender,
    mechanism::{Evidence, Mechanism},
    param::{Param, Point},
    plan::Plan,
    sample::Sample,
};

/// One prediction, one measurement, one explanation. Built with [`Step::new`] and the methods that follow it, each of which adds one
/// thing; a step can be put together from data at run time in the same way.
#[derive(Clone)]
pub struct Step {
    /// Short, `snake_case`; unique within the lab.
    pub name: &'static str,
    /// What the reader is asked to predict.
    pub ask: &'static str,
    /// How the reader may answer.
    pub predict: Predict,
    /// What the machine must be fit for.
    pub kind: Kind,
    /// The first is the baseline of every ratio. The engine adds the `A/A` row.
    pub contenders: Vec<Contender>,
    /// Parameters at which every case is run (hold times, sizes).
    pub params: Vec<Param>,
    /// Which process runs what.
    pub launch: Launch,
    /// The value that is compared and predicted.
    pub headline: &'static str,
    /// Further values to show beside it.
    pub columns: Vec<&'static str>,
    /// Expectations, stated before the run.
    pub claims: Vec<Claim>,
    /// The explanation.
    pub because: Vec<Mechanism>,
    /// Whether the tour shows this step.
    pub tour: bool,
    /// If set, nothing may be said from its numbers, and this is why: it was found to measure something else than it says.
    pub withdrawn: Option<&'static str>,
    /// Whether it is a step of this crate, whose ids have names in [`crate::words::names`]. Set by [`Lab::step`](super::Lab::step).
    pub ours: bool,
    slice: (f64, Duration),
    check_after: bool,
    measure: Measure,
    benches: Vec<Bench>,
}

/// Measures cases (second argument) at parameters (third argument) in this process: one launch.
type Measure = Arc<dyn Fn(&Plan, &[&'static str], &[&'static str]) -> Vec<Sample> + Send + Sync>;

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cases: Vec<_> = self.cases();
        f.debug_struct("Step").field("name", &self.name).field("cases", &cases).finish_non_exhaustive()
    }
}

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

/// One criterion bench of a step.
#[derive(Clone)]
pub struct Bench {
    /// `<step>/<case>` or `<step>/<case>/<param>`: the case is the id of the very contender that `make` runs.
    pub id: String,
    make: Arc<dyn Fn(&Plan) -> Timed + Send + Sync>,
}

impl Bench {
    /// A bench of something that is no contender: an operation of the lab's own.
    pub fn new(id: &str, make: impl Fn(&Plan) -> Timed + Send + Sync + 'static) -> Self {
        Self { id: id.into(), make: Arc::new(make) }
    }
    /// Builds the contender; called only when a filter selected it.
    pub fn make(&self, plan: &Plan) -> Timed {
        (self.make)(plan)
    }
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Runs a number of operations and says how long they took.
pub type Timed = Box<dyn FnMut(u64) -> Duration>;

/// What a step is about.
impl Step {
    /// A step that measures nothing yet: all its cases in one process, one unnamed parameter.
    pub fn new(name: &'static str, kind: Kind, headline: &'static str) -> Self {
        Self {
            name,
            ask: "",
            predict: Predict::Best { param: "" },
            kind,
            contenders: Vec::new(),
            params: vec![Param { id: "", amount: None }],
            launch: Launch::Together,
            headline,
            columns: Vec::new(),
            claims: Vec::new(),
            because: Vec::new(),
            tour: false,
            withdrawn: None,
            ours: false,
            slice: (1.0, Duration::ZERO),
            check_after: false,
            measure: Arc::new(|_, _, _| Vec::new()),
            benches: Vec::new(),
        }
    }
    /// The question, and whose number at which parameter the reader is to predict.
    #[must_use]
    pub fn ask_number(mut self, ask: &'static str, case: &'static str, param: &'static str) -> Self {
        (self.ask, self.predict) = (ask, Predict::Number { case, param });
        self
    }
    /// The question, and at which parameter the reader is to predict the best case.
    #[must_use]
    pub fn ask_best(mut self, ask: &'static str, param: &'static str) -> Self {
        (self.ask, self.predict) = (ask, Predict::Best { param });
        self
    }
    /// Values to show beside the headline.
    #[must_use]
    pub fn columns(mut self, columns: &[&'static str]) -> Self {
        self.columns.extend(columns);
        self
    }
    /// An expectation.
    #[must_use]
    pub fn claim(mut self, bound: Bound, text: &'static str) -> Self {
        self.claims.push(Claim { text, bound });
        self
    }
    /// A sentence of the explanation, and what supports it.
    #[must_use]
    pub fn because(mut self, text: &'static str, evidence: Evidence) -> Self {
        self.because.push(Mechanism { text, evidence });
        self
    }
    /// The tour shows this step.
    #[must_use]
    pub fn in_tour(mut self) -> Self {
        self.tour = true;
        self
    }
    /// Nothing may be said from its numbers until it is mended, and why.
    #[must_use]
    pub fn withdrawn(mut self, why: &'static str) -> Self {
        self.withdrawn = Some(why);
        self
    }
    /// Each case has this part of the plan's slice instead of a whole one.
    #[must_use]
    pub fn slice(mut self, part: f64) -> Self {
        self.slice.0 = part;
        self
    }
    /// And no less than this, except where only a smoke run is wanted.
    #[must_use]
    pub fn slice_at_least(mut self, least: Duration) -> Self {
        self.slice.1 = least;
        self
    }
    /// Checks come after the measurement: for cases whose check would leave something behind in what is measured.
    #[must_use]
    pub fn check_after(mut self) -> Self {
        self.check_after = true;
        self
    }
}

/// Who runs, and how.
impl Step {
    /// These contenders, the first being the baseline.
    #[must_use]
    pub fn contenders<'a, C: AsRef<Contender> + 'a>(mut self, all: impl IntoIterator<Item = &'a C>) -> Self {
        self.contenders = all.into_iter().map(|c| *c.as_ref()).collect();
        self
    }
    /// All contenders in one process, parameter by parameter.
    #[must_use]
    pub fn over<T: Clone + Send + Sync + 'static>(
        self,
        points: impl IntoIterator<Item = Point<T>>,
        measure: impl Fn(&Plan, &Point<T>) -> Vec<Sample> + Send + Sync + 'static,
    ) -> Self {
        self.over_all(points, move |plan, points| points.iter().flat_map(|p| measure(plan, p)).collect())
    }
    /// All contenders in one process, which measures all parameters in an order of its own.
    #[must_use]
    pub fn over_all<T: Clone + Send + Sync + 'static>(
        mut self,
        points: impl IntoIterator<Item = Point<T>>,
        measure: impl Fn(&Plan, &[Point<T>]) -> Vec<Sample> + Send + Sync + 'static,
    ) -> Self {
        let points: Vec<Point<T>> = points.into_iter().collect();
        self.params = points.iter().map(|p| p.param).collect();
        self.measure = Arc::new(move |plan, _, params| measure(plan, &asked(&points, params)));
        self
    }
    /// One contender after the other in one process: a sample, or the reason why there is none, for each at each parameter.
    #[must_use]
    pub fn each<C, T>(
        mut self,
        roster: &'static [C],
        points: impl IntoIterator<Item = Point<T>>,
        measure: impl Fn(&Plan, &C, &Point<T>) -> Result<Sample, String> + Send + Sync + 'static,
    ) -> Self
    where
        C: AsRef<Contender> + Sync,
        T: Clone + Send + Sync + 'static,
    {
        let points: Vec<Point<T>> = points.into_iter().collect();
        self = self.contenders(roster);
        self.params = points.iter().map(|p| p.param).collect();
        self.measure = Arc::new(move |plan, cases, params| {
            let points = asked(&points, params);
            let mine = roster.iter().filter(|c| cases.contains(&(*c).as_ref().id));
            let cells = mine.flat_map(|c| points.iter().map(move |p| (c, p)));
            let one = |(c, p): (&C, &Point<T>)| {
                let id = c.as_ref().id;
                let got = measure(plan, c, p);
                let got = got.map(|s| Sample { case: id.into(), param: p.id().into(), ..s });
                got.unwrap_or_else(|why| Sample::unmeasured(id, p.id(), why))
            };
            cells.map(one).collect()
        });
        self
    }
    /// A process for each contender at each parameter; otherwise as [`each`](Self::each).
    #[must_use]
    pub fn isolated<C, T>(
        self,
        roster: &'static [C],
        points: impl IntoIterator<Item = Point<T>>,
        measure: impl Fn(&Plan, &C, &Point<T>) -> Result<Sample, String> + Send + Sync + 'static,
    ) -> Self
    where
        C: AsRef<Contender> + Sync,
        T: Clone + Send + Sync + 'static,
    {
        Self { launch: Launch::Isolated, ..self.each(roster, points, measure) }
    }
    /// A process for each contender at each parameter, where [`over`](Self::over) or [`over_all`](Self::over_all) has said how.
    #[must_use]
    pub fn apart(mut self) -> Self {
        self.launch = Launch::Isolated;
        self
    }
    /// Not measured by the lab: see [`Launch::Recorded`].
    #[must_use]
    pub fn recorded<T>(mut self, points: impl IntoIterator<Item = Point<T>>, command: &'static str) -> Self {
        self.params = points.into_iter().map(|p| p.param).collect();
        self.launch = Launch::Recorded(command);
        self
    }
    /// A criterion bench for each of these contenders. In `id`, `{case}` stands for the contender's own id.
    #[must_use]
    pub fn bench<C: AsRef<Contender> + Sync + 'static>(
        mut self,
        id: &str,
        roster: impl IntoIterator<Item = &'static C>,
        make: impl Fn(&Plan, &C) -> Timed + Clone + Send + Sync + 'static,
    ) -> Self {
        self.benches.extend(roster.into_iter().map(|c| {
            let make = make.clone();
            let id = id.replace("{case}", c.as_ref().id);
            Bench { id, make: Arc::new(move |plan| make(plan, c)) }
        }));
        self
    }
}

impl Step {
    /// Benches of something that is no contender.
    #[must_use]
    pub fn bench_also(mut self, benches: impl IntoIterator<Item = Bench>) -> Self {
        self.benches.extend(benches);
        self
    }
}

/// What the engine and the renderers ask of a step.
impl Step {
    /// The ids of its contenders.
    pub fn cases(&self) -> Vec<&'static str> {
        self.contenders.iter().map(|c| c.id).collect()
    }
    /// The ids of its parameters.
    pub fn params(&self) -> Vec<&'static str> {
        self.params.iter().map(|p| p.id).collect()
    }
    /// The id of the first contender, which every ratio is against.
    ///
    /// # Panics
    /// If the step has no contender.
    pub fn baseline(&self) -> &'static str {
        self.contenders[0].id
    }
    /// Every case at every parameter, parameter by parameter.
    pub fn cells(&self) -> Vec<(&'static str, &'static str)> {
        self.params().iter().flat_map(|p| self.contenders.iter().map(|c| (c.id, *p))).collect()
    }
    /// The explanation as running text.
    pub fn why(&self) -> String {
        self.because.iter().map(|m| m.text).collect::<Vec<_>>().join(" ")
    }
    /// Its criterion benches.
    pub fn benches(&self) -> &[Bench] {
        &self.benches
    }
    /// Runs these cases at these parameters in this process: one launch. Returns a sample for each pair, plus the `A/A` samples where the step
    /// is paired. No contender is timed before it has shown that it does what its name says: if one of them fails its check, every
    /// case at every parameter is unmeasured, for that reason.
    pub fn run(&self, plan: &Plan, cases: &[&'static str], params: &[&'static str]) -> Vec<Sample> {
        let plan = plan.part(self.slice.0, self.slice.1);
        let alone = self.launch == Launch::Isolated;
        let mut seen = Vec::new();
        let mine = self.contenders.iter().filter(|c| !alone || cases.contains(&c.id));
        let checks: Vec<_> = mine.filter_map(|c| c.check).filter(|c| once(&mut seen, *c)).collect();
        let check = || checks.iter().try_for_each(|check| check());
        let failed = |why: String| -> Vec<Sample> {
            params.iter().flat_map(|p| cases.iter().map(|c| Sample::unmeasured(c, p, why.clone()))).collect()
        };
        if self.check_after {
            let samples = (self.measure)(&plan, cases, params);
            return check().map_or_else(failed, |()| samples);
        }
        check().map_or_else(failed, |()| (self.measure)(&plan, cases, params))
    }
    /// Fills in what a claim may leave out: the headline, and the only parameter.
    pub(super) fn settle(&mut self) {
        let only = self.only_param();
        let headline = self.headline;
        self.claims.iter_mut().for_each(|c| c.bound.settle(headline, only));
        for m in &mut self.because {
            if let Evidence::Shown(bound) = &mut m.evidence {
                bound.settle(headline, only);
            }
        }
        match &mut self.predict {
            Predict::Number { param, .. } | Predict::Best { param } => {
                if let Some(only) = only.filter(|_| param.is_empty()) {
                    *param = only;
                }
            }
        }
    }
    pub(super) fn only_param(&self) -> Option<&'static str> {
        if let [only] = self.params[..] { Some(only.id) } else { None }
    }
}

fn asked<T: Clone>(points: &[Point<T>], params: &[&str]) -> Vec<Point<T>> {
    points.iter().filter(|p| params.contains(&p.id())).cloned().collect()
}

/// Contenders of one subject may share a check.
fn once(seen: &mut Vec<usize>, check: super::contender::Check) -> bool {
    let address = check as usize;
    let new = !seen.contains(&address);
    seen.push(address);
    new
}

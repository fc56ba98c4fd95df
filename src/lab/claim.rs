//! Expectations that are stated before the run, and the sentences that may be quoted after it.

/// An expectation that was stated before the run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// The sentence, as a person would say it.
    pub text: &'static str,
    /// What must hold for it to be true.
    pub bound: Bound,
}

/// What a value or a ratio is expected to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    /// The value that is meant.
    pub of: Pick,
    /// If given, it is about `of / against`, paired launch by launch.
    pub against: Option<Pick>,
    /// What is expected of it.
    pub expect: Expect,
    /// With fewer cores allowed than this, the verdict is "not shown here".
    pub cores: usize,
}

impl Bound {
    /// The same, on a machine with at least this many cores.
    #[must_use]
    pub const fn cores(mut self, least: usize) -> Self {
        self.cores = least;
        self
    }
    /// The values that it needs.
    pub fn picks(&self) -> impl Iterator<Item = Pick> + use<> {
        std::iter::once(self.of).chain(self.against)
    }
    pub(super) fn settle(&mut self, headline: &'static str, only_param: Option<&'static str>) {
        self.of.settle(headline, only_param);
        if let Some(against) = &mut self.against {
            against.settle(headline, only_param);
        }
    }
}

/// One value of one case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// The case.
    pub case: &'static str,
    /// The parameter; `""` stands for the only one of its step.
    pub param: &'static str,
    /// The value's name; its suffix is its unit. `""` stands for the step's headline.
    pub value: &'static str,
}

impl Pick {
    fn settle(&mut self, headline: &'static str, only_param: Option<&'static str>) {
        if self.value.is_empty() {
            self.value = headline;
        }
        if let Some(only) = only_param.filter(|_| self.param.is_empty()) {
            self.param = only;
        }
    }
}

impl From<&'static str> for Pick {
    /// The headline of a case, at the only parameter of its step.
    fn from(case: &'static str) -> Self {
        pick(case, "", "")
    }
}

impl From<(&'static str, &'static str)> for Pick {
    /// The headline of a case at a parameter.
    fn from((case, param): (&'static str, &'static str)) -> Self {
        pick(case, param, "")
    }
}

/// Short for a [`Pick`].
pub const fn pick(case: &'static str, param: &'static str, value: &'static str) -> Pick {
    Pick { case, param, value }
}

/// A value, or a ratio of two: what a [`Bound`] and a [`Say`] are about. A case name, or a case and a parameter, stand for the headline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct What {
    of: Pick,
    against: Option<Pick>,
}

impl<P: Into<Pick>> From<P> for What {
    fn from(of: P) -> Self {
        Self { of: of.into(), against: None }
    }
}

/// `of / against`, paired launch by launch.
pub fn ratio(of: impl Into<Pick>, against: impl Into<Pick>) -> What {
    What { of: of.into(), against: Some(against.into()) }
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

/// Expected to be at least this much.
pub fn at_least(least: f64, what: impl Into<What>) -> Bound {
    bound(Expect::AtLeast(least), what)
}

/// Expected to be at most this much.
pub fn at_most(most: f64, what: impl Into<What>) -> Bound {
    bound(Expect::AtMost(most), what)
}

/// Expected to be within these bounds.
pub fn between(from: f64, to: f64, what: impl Into<What>) -> Bound {
    bound(Expect::Between(from, to), what)
}

/// Expected to be this count. It is whole, and its mean over launches is rounded.
pub fn exactly(count: f64, what: impl Into<What>) -> Bound {
    between(count - 0.001, count + 0.001, what)
}

/// Expected, one core being enough.
pub fn bound(expect: Expect, what: impl Into<What>) -> Bound {
    let What { of, against } = what.into();
    Bound { of, against, expect, cores: 1 }
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

impl Say {
    pub(super) fn new(
        step: &'static str,
        text: &'static str,
        what: impl Into<What>,
        not_true_when: &'static str,
    ) -> Self {
        let What { of, against } = what.into();
        Self { step, text, of, against, not_true_when }
    }
    pub(super) fn settle(&mut self, headline: &'static str, only_param: Option<&'static str>) {
        self.of.settle(headline, only_param);
        if let Some(against) = &mut self.against {
            against.settle(headline, only_param);
        }
    }
}

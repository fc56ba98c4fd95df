//! Why a result is as it is: sentences, each with what supports it.
use super::claim::Bound;

/// One sentence of an explanation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mechanism {
    /// The sentence.
    pub text: &'static str,
    /// What supports it.
    pub evidence: Evidence,
}

/// What supports a sentence. There is no third kind: a sentence without evidence is not written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Evidence {
    /// A measurement of the same step: a control that switches the mechanism off, or a counter that moves with it. Judged like a
    /// claim; the sentence is printed only as far as the numbers of this machine support it.
    Shown(Bound),
    /// A source that says so: documentation, code of a stated version, a paper.
    Source(&'static str),
}

/// Supported by a measurement of the same step.
pub const fn shown_by(bound: Bound) -> Evidence {
    Evidence::Shown(bound)
}

/// Supported by a source.
pub const fn source(source: &'static str) -> Evidence {
    Evidence::Source(source)
}

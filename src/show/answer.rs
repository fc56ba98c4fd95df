//! The model answer to a lab's question, from the reader's own records: for the quiz and for cards.
use super::{origin, quote};
use crate::words::escape;
use crate::{lab::Lab, record::Record};

/// What may be answered.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Answer {
    /// Sentences that the records carry, best first; none if there is nothing that may be quoted.
    pub sentences: Vec<Said>,
    /// If there are none: why.
    pub why_not: Option<String>,
    /// The mechanism of the step that the best sentence is about.
    pub because: String,
}

/// A sentence and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Said {
    /// With its numbers and intervals.
    pub text: String,
    /// When it would be false.
    pub not_true_when: &'static str,
    /// Machine and day.
    pub measured: String,
    /// Records behind it, for `underhood verify`.
    pub ids: Vec<String>,
}

/// The answer that these records give. It is the quote, so the two cannot disagree.
pub fn answer(lab: &Lab, records: &[Record]) -> Answer {
    let because = |step: &str| {
        let step = lab.steps.iter().find(|s| s.name == step).or(lab.steps.first());
        step.map_or_else(String::new, |step| crate::judge::why(lab, step, records))
    };
    match quote::carried(lab, records) {
        Err((step, why)) => {
            Answer { sentences: Vec::new(), why_not: Some(escape::line(&why)), because: because(step) }
        }
        Ok(carried) => {
            let best = carried.first().map_or("", |(say, _)| say.step);
            let said = carried.into_iter().map(|(say, sentence)| {
                let r = sentence.records[0];
                Said {
                    not_true_when: quote::clause(say),
                    measured: format!("{}, {}", origin::machine(&r.machine), origin::day(r)),
                    ids: sentence.records.iter().map(|r| escape::line(&r.id)).collect(),
                    text: sentence.text,
                }
            });
            Answer { sentences: said.collect(), why_not: None, because: because(best) }
        }
    }
}

//! Claims against records: held, refuted, or not shown here. Pure, and slow to claim: whatever is in doubt is "not shown here".
pub mod between;
pub mod cited;
pub mod guess;
pub mod held_out;
pub mod name;
pub mod planted;
pub mod ranking;
mod together;

use serde::Serialize;

use crate::{
    lab::{Bound, Evidence, Expect, Kind, Lab, Launch, Pick, Step, sample::Side},
    record::{Record, aa_band, find, ratio, runs_of},
    stats::{self, Interval},
    words::{names::read, number},
};

/// How a claim came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval lies within what was expected.
    Held,
    /// The whole interval lies outside.
    Refuted,
    /// Neither: the machine, the run or the size of the effect does not decide it.
    NotShown,
}

impl Verdict {
    /// The words that readers see, everywhere the same.
    pub fn words(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Refuted => "refuted",
            Self::NotShown => "not shown here",
        }
    }
}

/// A claim and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// The claim's sentence.
    pub claim: &'static str,
    /// How it came out.
    pub verdict: Verdict,
    /// The name of the value in `numbers`, whose suffix is its unit; `ratio` if the claim compares two.
    pub value: &'static str,
    /// What was measured, where it could be.
    pub numbers: Option<Interval>,
    /// Why the verdict is what it is, in a clause.
    pub why: String,
}

/// Judges the claims of a step by the records of one run. Records of other labs or steps are ignored; if there are several
/// runs, the newest is judged.
///
/// A number that may not be quoted carries no verdict. A ratio must, besides, clear the A/A band: see [`compare`].
pub fn judge(lab: &Lab, step: &Step, records: &[Record]) -> Vec<Finding> {
    let judged = family(lab, step, records);
    let judged = step.claims.iter().zip(judged).map(|(claim, Judged { verdict, numbers, why, .. })| {
        let bound = &claim.bound;
        let value = if bound.against.is_some() { "ratio" } else { bound.of.value };
        Finding { claim: claim.text, verdict, value, numbers, why }
    });
    judged.collect()
}

/// What became of one bound.
struct Judged {
    verdict: Verdict,
    numbers: Option<Interval>,
    why: String,
    /// How easily chance alone would decide like this; `None` where nothing could be decided.
    chance: Option<f64>,
}

impl Judged {
    fn not_shown(numbers: Option<Interval>, why: impl Into<String>) -> Self {
        Self { verdict: Verdict::NotShown, numbers, why: why.into(), chance: None }
    }
}

/// All bounds of a step, judged together by the newest run: those of its claims, then those of its explanation ([`together`]).
fn family(lab: &Lab, step: &Step, records: &[Record]) -> Vec<Judged> {
    let evidence = step.because.iter().filter_map(|m| match &m.evidence {
        Evidence::Shown(bound) => Some(bound),
        Evidence::Source(_) => None,
    });
    let bounds = step.claims.iter().map(|claim| &claim.bound).chain(evidence);
    let Some(run) = runs_of(records, lab.stem, step.name).first().copied() else {
        return bounds.map(|_| Judged::not_shown(None, "not measured yet")).collect();
    };
    let mut all: Vec<Judged> = bounds.map(|bound| judge_one(step, bound, records, run)).collect();
    let chances: Vec<f64> = all.iter().filter_map(|j| j.chance).collect();
    let most = together::threshold(&chances);
    for judged in &mut all {
        if judged.verdict != Verdict::NotShown && judged.chance.is_some_and(|chance| chance > most) {
            judged.verdict = Verdict::NotShown;
            judged.why = format!(
                "by itself it would be decided, but among the {} claims and reasons of this run it may be chance",
                chances.len()
            );
        }
    }
    all
}

/// One sentence of an explanation, and how far these records support it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The sentence.
    pub text: &'static str,
    /// What supports it.
    pub support: Support,
    /// The measurement that was asked, and its numbers, where it is one and has some.
    pub measured: Option<(Bound, Interval)>,
}

/// How far an explanation is supported.
#[derive(Clone, Debug, PartialEq)]
pub enum Support {
    /// By a measurement of this run.
    Measured,
    /// The measurement that should support it says the opposite.
    Refuted,
    /// The measurement that should support it does not decide, and why.
    NotShown(String),
    /// By a source.
    Source(&'static str),
}

impl Reason {
    /// The sentence, as far as it may be said.
    pub fn words(&self) -> String {
        match &self.support {
            Support::Measured => self.text.to_string(),
            Support::Refuted => {
                format!("The usual explanation is not supported by these numbers: \"{}\"", self.text)
            }
            Support::NotShown(_) => format!("{} (These numbers do not show it.)", self.text),
            Support::Source(source) => format!("{} (Source: {source}.)", self.text),
        }
    }
}

/// The explanation of a step, judged by the records of its newest run.
pub fn explain(lab: &Lab, step: &Step, records: &[Record]) -> Vec<Reason> {
    let mut judged = family(lab, step, records).into_iter().skip(step.claims.len());
    let mut reasons = Vec::new();
    for m in &step.because {
        let (support, measured) = match &m.evidence {
            Evidence::Source(source) => (Support::Source(source), None),
            Evidence::Shown(bound) => {
                let Some(Judged { verdict, numbers, why, .. }) = judged.next() else { break };
                let support = match verdict {
                    Verdict::Held => Support::Measured,
                    Verdict::Refuted => Support::Refuted,
                    Verdict::NotShown => Support::NotShown(why),
                };
                (support, numbers.map(|n| (*bound, n)))
            }
        };
        reasons.push(Reason { text: m.text, support, measured });
    }
    reasons
}

/// The explanation as running text.
pub fn why(lab: &Lab, step: &Step, records: &[Record]) -> String {
    explain(lab, step, records).iter().map(Reason::words).collect::<Vec<_>>().join(" ")
}

fn judge_one(step: &Step, bound: &Bound, records: &[Record], run: &str) -> Judged {
    let not_shown = Judged::not_shown;
    if let Some(why) = step.withdrawn {
        return not_shown(None, format!("withdrawn: {why}"));
    }
    let of = match picked(records, run, &bound.of) {
        Ok(of) => of,
        Err(why) => return not_shown(None, why),
    };
    let against = match bound.against.map(|pick| Ok((picked(records, run, &pick)?, pick))).transpose() {
        Ok(against) => against,
        Err(why) => return not_shown(None, why),
    };
    let compared = against.map(|(r, pick)| compare(step, records, (of, bound.of.value), (r, pick.value)));
    let numbers = match &compared {
        None => of.interval_of(bound.of.value),
        Some(Compared::Differs { ratio, .. } | Compared::NoDifference { ratio, .. }) => Some(*ratio),
        Some(Compared::Cannot(_)) => None,
    };
    let involved = std::iter::once(of).chain(against.map(|(r, _)| r));
    if let Some(why) = involved.clone().find_map(|r| too_few_cores(r, bound.cores)) {
        return not_shown(numbers, why);
    }
    if let Some(why) = involved.clone().find_map(not_quotable) {
        return not_shown(numbers, why);
    }
    let (measured, inside_band) = match compared {
        None => match enough_launches(of, bound.of.value).map(|()| numbers) {
            // Of a bound, the other side is unknown.
            Ok(Some(interval)) => match of.bound_of(bound.of.value) {
                None => (interval, false),
                Some(Side::AtMost) => (Interval { lo: f64::NEG_INFINITY, ..interval }, false),
                Some(Side::AtLeast) => (Interval { hi: f64::INFINITY, ..interval }, false),
            },
            Ok(None) => {
                return not_shown(None, format!("{} gives no interval", name::value(step, bound.of.value)));
            }
            Err(why) => return not_shown(numbers, why),
        },
        Some(Compared::Differs { ratio, .. }) => (ratio, false),
        // All that is known of a ratio that touches the band is that it lies somewhere in it or in its own interval.
        Some(Compared::NoDifference { ratio, band }) => {
            (Interval { lo: ratio.lo.min((-band).exp()), hi: ratio.hi.max(band.exp()), ..ratio }, true)
        }
        Some(Compared::Cannot(why)) => return not_shown(None, why),
    };
    let (verdict, why) = match (place(&measured, bound.expect), inside_band) {
        (Place::Inside, false) => (Verdict::Held, "the whole interval lies within what was expected"),
        (Place::Inside, true) => {
            (Verdict::Held, "no difference shown, and one as small as this run can show would be within")
        }
        (Place::Outside, false) => (Verdict::Refuted, "the whole interval lies outside of what was expected"),
        (Place::Outside, true) => {
            (Verdict::Refuted, "no difference shown, and one as expected would have shown in this run")
        }
        (Place::Astride, false) => (Verdict::NotShown, "the interval goes beyond the expected limit"),
        (Place::Astride, true) => (
            Verdict::NotShown,
            "no difference shown: the ratio is within the noise of this run (its A/A row)",
        ),
    };
    Judged { verdict, numbers, why: why.into(), chance: Some(together::chance(&measured, bound.expect)) }
}

/// Where an interval lies relative to an expectation. Ends that touch belong to the expectation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Inside,
    Outside,
    Astride,
}

fn place(i: &Interval, expect: Expect) -> Place {
    let (from, to) = match expect {
        Expect::AtLeast(x) => (x, f64::INFINITY),
        Expect::AtMost(x) => (f64::NEG_INFINITY, x),
        Expect::Between(x, y) => (x, y),
    };
    if from <= i.lo && i.hi <= to {
        Place::Inside
    } else if i.hi < from || i.lo > to {
        Place::Outside
    } else {
        Place::Astride
    }
}

/// What a comparison of two values of one run showed.
#[derive(Clone, Debug, PartialEq)]
pub enum Compared {
    /// The ratio clears the A/A band.
    Differs {
        /// `of / against`.
        ratio: Interval,
        /// As in [`aa_band`]; 0 where the step has none and needs none.
        band: f64,
    },
    /// The ratio's interval touches the band around 1: the run would say the same of a contender and itself.
    NoDifference {
        /// `of / against`.
        ratio: Interval,
        /// As in [`aa_band`].
        band: f64,
    },
    /// There is nothing to compare, and why.
    Cannot(String),
}

/// Compares two values of one run, paired launch by launch. Judge, tables, quotes and notes all come here, so that they cannot
/// disagree.
///
/// Refused: fewer than two launches, or less than half of them, measured a value; contenders at the same parameter did unequal
/// work ([`unequal_work`]); the run has no A/A row for it. Steps that count or that give each case a process of its own may be
/// without an A/A row: a count has no noise of position, and over separate processes the interval over launches already
/// holds everything that an A/A row would show.
pub fn compare(step: &Step, records: &[Record], of: (&Record, &str), against: (&Record, &str)) -> Compared {
    if let Err(why) = enough_launches(of.0, of.1).and_then(|()| enough_launches(against.0, against.1)) {
        return Compared::Cannot(why);
    }
    if let Some((record, value)) = [of, against].into_iter().find(|(r, value)| r.bound_of(value).is_some()) {
        return Compared::Cannot(format!(
            "{} of {} is only a bound, and a bound has no ratio",
            name::value(step, value),
            name::variant(step, &record.case)
        ));
    }
    if of.0.param == against.0.param
        && let Some(why) = unequal_work([of.0, against.0])
    {
        return Compared::Cannot(why);
    }
    let ratio = match ratio(of.0, of.1, against.0, against.1) {
        None => {
            return Compared::Cannot(format!(
                "no ratio to: {}, which is not positive",
                name::value(step, against.1)
            ));
        }
        Some(ratio) if ratio.n < 2 => {
            return Compared::Cannot("fewer than 2 launches measured both".into());
        }
        Some(ratio) => ratio,
    };
    let band_of = |(r, value): (&Record, &str)| aa_band(records, &r.run, &r.param, value);
    let needs_band = step.launch == Launch::Together && step.kind.is_timed();
    let band = match (band_of(of), band_of(against)) {
        // Two values of one row come from the same windows: neither position nor contender differs.
        _ if of.0.run == against.0.run && of.0.case == against.0.case && of.0.param == against.0.param => 0.0,
        (Some(a), Some(b)) => a.max(b),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) if !needs_band => 0.0,
        (None, None) => {
            return Compared::Cannot(format!(
                "the run has no A/A row for {}: no smallest difference is known",
                name::value(step, of.1)
            ));
        }
    };
    if ratio.lo <= band.exp() && ratio.hi >= (-band).exp() {
        Compared::NoDifference { ratio, band }
    } else {
        Compared::Differs { ratio, band }
    }
}

/// The smallest difference, as a logarithm, that a comparison with this outcome could have shown: its interval must clear the A/A band as a whole, so it
/// is the band and the half-width of the ratio together. `None` if nothing could be compared.
pub fn smallest(compared: &Compared) -> Option<f64> {
    match compared {
        Compared::Differs { ratio, band } | Compared::NoDifference { ratio, band } => {
            Some(if ratio.lo > 0.0 { band + (ratio.hi / ratio.lo).ln() / 2.0 } else { f64::INFINITY })
        }
        Compared::Cannot(_) => None,
    }
}

/// The smallest difference, as a logarithm, that a run of a step can show at a parameter: the median of [`smallest`] over its comparisons of the
/// headline with the baseline. `None` if there are none.
pub fn power(step: &Step, records: &[Record], run: &str, param: &str) -> Option<f64> {
    let base = find(records, run, step.baseline(), param)?;
    let others = step.contenders.iter().filter(|c| c.id != step.baseline());
    let of = others.filter_map(|c| find(records, run, c.id, param));
    let headline = step.headline;
    let each = of.filter_map(|r| smallest(&compare(step, records, (r, headline), (base, headline))));
    stats::median(&each.filter(|s| s.is_finite()).collect::<Vec<_>>())
}

/// Prefix of the values that say how much work one operation was: `work_per_op_count`, `work_per_op_bytes`,
/// `work_per_op_hits_count` ...
pub const WORK: &str = "work_per_op_";

/// Contenders may differ by this much in work: counters are read while lanes run, so the last digits are not exact.
const WORK_TOLERANCE: f64 = 0.01;

/// Why these records must not be compared: their contenders did unequal work per operation. `None` if they did equal work, or
/// if no record says anything about it.
///
/// Each value named with the prefix [`WORK`] is compared launch by launch, with a tolerance of 1 %. A contender that does not
/// report what another reports is refused as well. Meant for records of one run at one parameter.
pub fn unequal_work<'a>(records: impl IntoIterator<Item = &'a Record>) -> Option<String> {
    let records: Vec<&Record> = records.into_iter().collect();
    let launches = records.iter().map(|r| r.launches.len()).max()?;
    for launch in 0..launches {
        let samples: Vec<_> = records
            .iter()
            .filter_map(|r| Some((&r.case, r.launches.get(launch)?)))
            .filter(|(_, s)| s.unmeasured.is_none())
            .collect();
        let names = samples.iter().flat_map(|(_, s)| s.values.keys()).filter(|name| name.starts_with(WORK));
        for name in names {
            let mut works: Vec<(f64, &str)> = Vec::new();
            for (case, sample) in &samples {
                let Some(work) = sample.values.get(name).copied() else {
                    return Some(format!("{} does not say how much work an operation was", read(case)));
                };
                works.push((work, case));
            }
            works.sort_by(|a, b| a.0.total_cmp(&b.0));
            if let (Some((least, little)), Some((most, much))) = (works.first(), works.last())
                && most - least > WORK_TOLERANCE * most.abs().max(least.abs())
            {
                return Some(format!(
                    "unequal work per operation: {} {}, {} {}",
                    read(little),
                    number::value(name, *least),
                    read(much),
                    number::value(name, *most)
                ));
            }
        }
    }
    None
}

/// Why a record may not be quoted: it was not measured, or the first of its doubts.
pub fn not_quotable(record: &Record) -> Option<String> {
    if let Some(why) = record.unmeasured() {
        return Some(format!("{} was not measured: {why}", read(&record.case)));
    }
    if record.quotable {
        return None;
    }
    Some(record.doubts.first().cloned().unwrap_or_else(|| "the record says so without a reason".into()))
}

/// Fewer than two launches have no spread. And if most launches failed, the rest are survivors: a case that hangs three times
/// out of five is not fast because of the other two.
pub(crate) fn enough_launches(record: &Record, value: &str) -> Result<(), String> {
    let (usable, all) = (record.values(value).len(), record.launches.len());
    if let Some(why) = record.unmeasured() {
        Err(format!("{} was not measured: {why}", read(&record.case)))
    } else if usable == 0 {
        Err(format!("no launch of {} reported: {}", read(&record.case), number::label(value)))
    } else if usable < 2 {
        Err(format!(
            "only 1 launch of {} has a value ({}), and one launch shows no spread",
            read(&record.case),
            number::label(value)
        ))
    } else if usable * 2 < all {
        Err(format!("only {usable} of {all} launches of {} could be measured", read(&record.case)))
    } else {
        Ok(())
    }
}

fn picked<'a>(records: &'a [Record], run: &str, pick: &Pick) -> Result<&'a Record, String> {
    find(records, run, pick.case, pick.param).ok_or_else(|| {
        let at = if pick.param.is_empty() { String::new() } else { format!(", {}", read(pick.param)) };
        format!("the run has no case {}{at}", read(pick.case))
    })
}

/// The machine's fact `cpus_allowed` starts with the number of CPUs that the process was allowed: `2 (0-1)`.
fn too_few_cores(record: &Record, needed: usize) -> Option<String> {
    let allowed = record.machine.facts.get("cpus_allowed");
    match allowed.and_then(|text| text.split_whitespace().next()?.parse::<usize>().ok()) {
        _ if needed <= 1 => None,
        Some(cores) if cores >= needed && record.kind == Kind::Contended && record.threads < needed => {
            Some(format!("needs {needed} threads, and {} ran", record.threads))
        }
        Some(cores) if cores >= needed => None,
        Some(cores) => Some(format!("needs {needed} cores, and {cores} were allowed")),
        None => Some(format!(
            "needs {needed} cores, and how many were allowed is {}",
            allowed.map_or("unknown", |t| t)
        )),
    }
}

//! The argument of a step for a reader: the rows that carry it, and the reasons with what supports each.
use super::chart;
use crate::{
    judge::{Compared, Support, compare, explain, name},
    lab::{Bound, Lab, Pick, Step},
    record::{Record, find},
    stats::Interval,
    words::{escape, number},
};

/// The name of a case, for a cell of a table.
fn variant(step: &Step, case: &str) -> String {
    escape::markdown(&name::variant(step, case))
}

/// A table of the rows that carry the argument of the step ([`chart::argument`]), each with its value and how many times that of the baseline
/// it is; then an empty line. Empty if nothing was measured.
pub(super) fn table(lab: &Lab, step: &Step, records: &[Record]) -> Vec<String> {
    let (shown, rows) = chart::argument(lab, step, records);
    let with_param = rows.iter().any(|r| !r.param.is_empty());
    let has = |r: &&Record| r.interval_of(shown).is_some();
    if !rows.iter().any(has) {
        return Vec::new();
    }
    let base = variant(step, step.baseline());
    let head = |first: &str| format!("| {first}{} | against {base} |", name::value(step, shown));
    let mut out = vec![
        if with_param { head("setting | variant | ") } else { head("variant | ") },
        format!("|{}", "---|".repeat(if with_param { 4 } else { 3 })),
    ];
    for r in rows {
        let value = match r.interval_of(shown) {
            _ if !r.quotable => "not quotable here".into(),
            None => "-".into(),
            Some(i) => super::bounded(r, shown, number::value(shown, i.mid)),
        };
        let ratio = match find(records, &r.run, step.baseline(), &r.param)
            .map(|b| compare(step, records, (r, shown), (b, shown)))
        {
            _ if r.case == step.baseline() => "baseline".into(),
            _ if !r.quotable => "-".into(),
            Some(Compared::Differs { ratio, .. }) => number::value("ratio", ratio.mid),
            Some(Compared::NoDifference { .. }) if step.kind.is_timed() => "no difference shown".into(),
            _ => "-".into(),
        };
        let param = if with_param {
            format!("{} | ", escape::markdown(&name::setting(step, &r.param)))
        } else {
            String::new()
        };
        out.push(format!("| {param}{} | {value} | {ratio} |", variant(step, &r.case)));
    }
    out.push(String::new());
    out
}

/// A reason for a reader.
pub(super) struct Because {
    /// The sentence.
    pub(super) text: &'static str,
    /// True if these numbers speak against it.
    pub(super) refuted: bool,
    /// What supports it or not, with its numbers: no full stop, and nothing that Markdown takes for its own.
    pub(super) evidence: String,
}

/// The reasons, each with what supports it.
pub(super) fn reasons(lab: &Lab, step: &Step, records: &[Record]) -> Vec<Because> {
    let because = |reason: crate::judge::Reason| {
        let numbers = reason.measured.map(|(bound, n)| measured(step, &bound, &n));
        let numbers = numbers.map(|n| format!(": {n}")).unwrap_or_default();
        let evidence = match &reason.support {
            Support::Measured => format!("Measured{numbers}"),
            Support::Refuted => format!("These numbers do not support it{numbers}"),
            Support::NotShown(_) => "Not shown here: the numbers do not decide it".into(),
            Support::Source(source) => format!("Source: {source}"),
        };
        Because { text: reason.text, refuted: reason.support == Support::Refuted, evidence }
    };
    explain(lab, step, records).into_iter().map(because).collect()
}

impl Because {
    /// For the notes.
    pub(super) fn markdown(&self) -> String {
        let evidence = match self.evidence.strip_prefix("Source: ") {
            Some(_) => self.evidence.clone(),
            None => escape::markdown(&self.evidence),
        };
        match self.refuted {
            true => format!("Often said: \"{}\" *{evidence}.*", self.text),
            false => format!("{} *{evidence}.*", self.text),
        }
    }
}

/// What was measured, in words: `std RwLock against std Mutex, held for 5 us: 2.5x`.
fn measured(step: &Step, bound: &Bound, n: &Interval) -> String {
    let what = |pick: &Pick| name::cell(step, pick.case, pick.param);
    let label = |pick: &Pick| match pick.value {
        value if value == step.headline => String::new(),
        value => format!(", {}", name::value(step, value)),
    };
    let of = format!("{}{}", what(&bound.of), label(&bound.of));
    let times = number::value("ratio", n.mid);
    match &bound.against {
        None => format!("{of}: {}", number::value(bound.of.value, n.mid)),
        // The same setting is said once.
        Some(against) if against.param == bound.of.param && against.value == bound.of.value => {
            let (one, other) = (name::variant(step, bound.of.case), name::variant(step, against.case));
            format!("{one} against {other}{}{}: {times}", name::at(step, against.param), label(against))
        }
        Some(against) => format!("{of}, against {}{}: {times}", what(against), label(against)),
    }
}

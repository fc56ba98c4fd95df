//! The title of a chart: what it shows, in a sentence that the same records would refute.
use crate::{
    judge::{Compared, name},
    lab::{Step, sample::AA},
    record::Record,
    show::table::against_baseline,
    stats::Interval,
    words::number,
};

/// The row that only says what the harness costs is no contender.
const HARNESS: &str = "empty";

/// Of the cases at one parameter.
pub(super) fn of_cases(step: &Step, records: &[Record], rows: &[&Record]) -> String {
    let at = rows.first().map_or(String::new(), |r| name::at(step, &r.param));
    let about = format!("{}{at}", name::value(step, step.headline));
    let known = ranked(step, rows);
    let (Some((low, least)), Some((high, most))) = (known.first(), known.last()) else {
        return format!("{about}: no variant was measured");
    };
    if known.len() < 2 {
        return format!(
            "{about}: {} {}",
            name::variant(step, &low.case),
            number::value(step.headline, least.mid)
        );
    }
    let compared: Vec<Compared> =
        known.iter().filter_map(|(r, _)| against_baseline(step, records, r)).collect();
    if !compared.is_empty() && compared.iter().all(|c| matches!(c, Compared::NoDifference { .. })) {
        return format!("{about}: none differs from {}", name::variant(step, &low.baseline));
    }
    format!(
        "{about}: from {} ({}) to {} ({})",
        number::value(step.headline, least.mid),
        name::variant(step, &low.case),
        number::value(step.headline, most.mid),
        name::variant(step, &high.case)
    )
}

/// Of the cases over the parameters.
pub(super) fn of_sweep(step: &Step, rows: &[&Record], params: &[&str]) -> String {
    let about = name::value(step, step.headline);
    let top = |param: &str| -> Option<String> {
        let at: Vec<&Record> = rows.iter().copied().filter(|r| r.param == param).collect();
        let known = ranked(step, &at);
        let (r, most) = known.last()?;
        // A case whose interval reaches up to the highest one cannot be told from it by eye, and is named as well.
        let beside = known.iter().rev().nth(1).filter(|(_, i)| i.hi >= most.lo);
        Some(match beside {
            Some((other, _)) => {
                format!("{} or {}", name::variant(step, &r.case), name::variant(step, &other.case))
            }
            None => name::variant(step, &r.case),
        })
    };
    let tops: Vec<(&str, String)> = params.iter().filter_map(|p| Some((*p, top(p)?))).collect();
    let at = |param: &str| match param {
        "" => String::new(),
        param => format!(" ({})", name::setting(step, param)),
    };
    match (tops.first(), tops.last()) {
        (Some((from, a)), Some((to, b))) if from != to && a != b => {
            format!("{about}: highest is {a}{}, and {b}{}", at(from), at(to))
        }
        (Some((from, a)), Some((to, _))) if from != to => match tops.iter().all(|(_, top)| top == a) {
            true => format!("{about}: {a} is highest throughout"),
            false => format!("{about}: {a} is highest first and last, not in between"),
        },
        (Some((param, a)), _) => format!("{about}: highest is {a}{}", at(param)),
        _ => format!("{about}: no variant was measured"),
    }
}

/// Contenders with a number, from the lowest to the highest.
fn ranked<'a>(step: &Step, rows: &[&'a Record]) -> Vec<(&'a Record, Interval)> {
    let contenders = rows.iter().filter(|r| r.case != AA && r.case != HARNESS);
    let mut known: Vec<_> = contenders.filter_map(|r| Some((*r, r.interval_of(step.headline)?))).collect();
    known.sort_by(|a, b| a.1.mid.total_cmp(&b.1.mid));
    known
}

//! Every reason why a number may not be quoted, as data. A doubt says what was seen, with its number.
use std::collections::BTreeMap;

use crate::{
    lab::{
        Kind, Step,
        plan::{Mode, Plan},
        sample::{AA, Sample},
    },
    machine::{Level, Machine},
    stats::modes,
    words::number,
};

/// Below three launches there is no interval worth the name.
pub(super) const LAUNCHES: usize = 3;
/// Others took this share of the CPUs while we measured.
const BUSY: f64 = 0.05;
/// The hypervisor took this share: it looks like our own running time, so no filter by CPU time can drop it.
const STEAL: f64 = 0.05;
/// Fewer windows or blocks than this share counted: what is left may be a selection.
const KEPT: f64 = 0.5;

/// True if at least half of the blocks or windows of a launch counted, or if this kind has none.
pub(super) fn is_whole(kind: Kind, launch: &Sample) -> bool {
    !has_windows(kind) || kept(launch).is_none_or(|kept| kept >= KEPT)
}

fn has_windows(kind: Kind) -> bool {
    matches!(kind, Kind::Contended | Kind::Single)
}

/// The share of the blocks or windows of a launch that counted.
fn kept(launch: &Sample) -> Option<f64> {
    let (kept, dropped) = launch.receipts.kept_count.zip(launch.receipts.dropped_count)?;
    (kept + dropped > 0.0).then(|| kept / (kept + dropped))
}

/// True for a doubt about some launches of a run, not about all of it: where there are other sessions, the launches that are whole still count.
pub(super) fn is_of_launches(doubt: &str) -> bool {
    doubt.contains(NO_VALUE) || doubt.starts_with(ONLY) || doubt.starts_with(TWO_GROUPS)
}

const NO_VALUE: &str = "launches gave no value: ";
const ONLY: &str = "in one launch only ";
const TWO_GROUPS: &str = "two groups of launches ";

/// Doubts about a whole run of a step.
pub fn of_run(step: &Step, plan: &Plan, machine: &Machine) -> Vec<String> {
    let mut doubts: Vec<String> = step.withdrawn.iter().map(|why| format!("withdrawn: {why}")).collect();
    if machine.facts.get("profile").is_none_or(|p| !p.starts_with("release")) && step.kind != Kind::Count {
        doubts.push("built without --release".into());
    }
    if plan.anyway {
        doubts.push("run with --anyway, which asks nothing of the machine".into());
    }
    if plan.mode == Mode::Smoke {
        doubts.push("a smoke run shows that it runs, no more".into());
    }
    if plan.launches < LAUNCHES && step.kind != Kind::Count {
        doubts.push(format!("{} launches; an interval needs {LAUNCHES}", plan.launches));
    }
    if step.kind == Kind::Contended && plan.threads > plan.cpus.len() {
        doubts.push(format!(
            "{} threads share {} CPUs: nothing witnesses how",
            plan.threads,
            plan.cpus.len()
        ));
    }
    match machine.grades.get(&step.kind) {
        Some(grade) if grade.level == Level::Unfit => doubts.push(format!("machine unfit: {}", grade.reason)),
        None if step.kind != Kind::Count => doubts.push("the machine was not examined".into()),
        _ => {}
    }
    doubts
}

/// That launches fall into two groups: each is a number, and the middle is none.
pub(super) fn two_modes(headline: &str, modes: &[modes::Mode; 2]) -> String {
    let [low, high] = modes.map(|m| format!("{} launches at {}", m.count, number::value(headline, m.middle)));
    format!("{TWO_GROUPS}and nothing in between: {low}, {high}")
}

/// Doubts about one case of it: `launches` are its samples, `planned` how many there should be, `during` what the run saw of others.
pub fn of_case(
    step: &Step,
    case: &str,
    launches: &[Sample],
    planned: usize,
    during: &BTreeMap<String, f64>,
) -> Vec<String> {
    let mut doubts: Vec<String> = launches.iter().flat_map(|s| s.doubts.iter().cloned()).collect();
    // Paired blocks on one thread are judged one by one, and those that were disturbed are dropped; nothing else can tell.
    let filtered = step.kind == Kind::Single && launches.iter().all(|s| s.receipts.dropped_count.is_some());
    let share =
        |name: &str, most: f64| during.get(name).copied().filter(|s| *s > most && step.kind != Kind::Count);
    if let Some(busy) = share("others_busy_share", BUSY).filter(|_| !filtered) {
        doubts.push(format!("other programs used {:.0} % of the CPUs during the run", busy * 100.0));
    }
    if let Some(steal) = share("steal_share", STEAL) {
        doubts.push(format!("the hypervisor took {:.0} % of the CPUs during the run", steal * 100.0));
    }
    let failed: Vec<&Sample> = launches.iter().filter(|s| s.unmeasured.is_some()).collect();
    if let Some(first) = failed.first().and_then(|s| s.unmeasured.as_ref()) {
        doubts.push(format!("{} of {planned} {NO_VALUE}{first}", failed.len()));
    }
    if launches.len() < planned {
        doubts.push(format!("{} of {planned} launches are missing", planned - launches.len()));
    }
    let least = launches.iter().filter_map(kept).reduce(f64::min);
    if let Some(least) = least.filter(|k| *k < KEPT && has_windows(step.kind)) {
        doubts.push(format!("{ONLY}{:.0} % of the blocks or windows counted", least * 100.0));
    }
    if case != AA
        && step.kind != Kind::Count
        && launches.iter().filter(|s| s.values.contains_key(step.headline)).count() < LAUNCHES
    {
        doubts.push(format!("fewer than {LAUNCHES} launches have a value"));
    }
    if step.kind.is_timed() {
        // Launches with the core shared are told apart from others anyway.
        let values: Vec<f64> = launches
            .iter()
            .zip(super::pool::one_core(launches))
            .filter(|(s, counts)| *counts && s.unmeasured.is_none())
            .filter_map(|(s, _)| s.values.get(step.headline).copied())
            .collect();
        doubts.extend(modes::two(&values).map(|modes| two_modes(step.headline, &modes)));
    }
    doubts.sort();
    doubts.dedup();
    doubts
}

//! From samples to records: the one way in which a run becomes lines of the store.
use std::{collections::BTreeMap, time::SystemTime};

use super::{AA, Record, SCHEMA, file};
use crate::{
    lab::{Lab, Step, plan::Plan, sample::Sample},
    machine::{Machine, built},
    record::doubts,
};

/// Turns the launches of one run of a step into records: one for each case and parameter, with every doubt. `during` is what the run
/// saw of others ([`crate::machine::Watchful`]).
pub fn seal(
    lab: &Lab,
    step: &Step,
    command: &str,
    plan: &Plan,
    machine: &Machine,
    launches: Vec<Vec<Sample>>,
    during: BTreeMap<String, f64>,
) -> Vec<Record> {
    let mut machine = machine.clone();
    machine.facts.extend(built::of_lab(&lab.origin, lab.stem));
    if let Some(runtime) = lab.runs_on {
        machine.facts.insert("runtime".into(), runtime());
    }
    let machine = &machine;
    let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let of_run = doubts::of_run(step, plan, machine);
    // Every declared row, so that one that was lost in all launches is missed; and the A/A rows that came.
    let mut cells: Vec<(String, String)> =
        step.cells().into_iter().map(|(c, p)| (c.into(), p.into())).collect();
    let (cases, params) = (step.cases(), step.params());
    for s in launches.iter().flatten().filter(|s| s.case == AA) {
        if !cells.iter().any(|(c, p)| *c == s.case && *p == s.param) {
            cells.push((s.case.clone(), s.param.clone()));
        }
    }
    // By parameter as declared, then in the order of cases with A/A behind the baseline.
    let place = |(case, param): &(String, String)| {
        let p = params.iter().position(|x| x == param).unwrap_or(usize::MAX);
        let c =
            if case == AA { 1 } else { cases.iter().position(|x| x == case).map_or(usize::MAX, |i| 2 * i) };
        (p, c)
    };
    cells.sort_by_key(place);
    // By lot: in two containers the processes have the same numbers, and a machine is started twice within a second.
    let run = format!("{at}-{:016x}-{}", file::lot(), step.name);
    cells
        .into_iter()
        .map(|(case, param)| {
            let samples: Vec<Sample> = launches
                .iter()
                .map(|l| {
                    l.iter().find(|s| s.case == case && s.param == param).cloned().unwrap_or_else(|| {
                        // The launch failed before it came to this row (an A/A row, say).
                        Sample::unmeasured(&case, &param, "this launch did not get that far")
                    })
                })
                .collect();
            let mut doubts = of_run.clone();
            doubts.extend(doubts::of_case(step, &case, &samples, plan.launches, &during));
            Record {
                schema: SCHEMA,
                id: String::new(),
                run: run.clone(),
                at: at.clone(),
                lab: lab.stem.into(),
                step: step.name.into(),
                case,
                param,
                baseline: step.baseline().into(),
                kind: step.kind,
                mode: plan.mode,
                threads: plan.threads,
                headline: step.headline.into(),
                interval: None,
                launches: samples,
                odd_launches: Vec::new(),
                quotable: doubts.is_empty(),
                doubts,
                command: command.into(),
                machine: machine.clone(),
                during: during.clone(),
                pooled: None,
            }
            .seal()
        })
        .collect()
}

//! Runs a lab: for every step predict, launch, seal, store, judge, show, explain.
use std::{collections::BTreeMap, time::SystemTime};

use super::{
    Outcome, STOP,
    args::{Common, Run},
    out::{End, Out},
    ready,
};
use crate::{
    doubts,
    engine::launch,
    judge,
    lab::{Lab, Predict, Step},
    machine::{Level, Machine, Watchful},
    plan::Plan,
    record::{AA, Record, SCHEMA, Store},
    sample::Sample,
    show,
};

/// Runs a lab (or the steps asked for) and says how well it went.
pub(super) fn lab(lab: &'static Lab, run: &Run, common: &Common, out: &mut Out) -> Result<Outcome, End> {
    let steps = chosen(lab, run)?;
    let plan = run.plan();
    let store = ready::store(common)?;
    let machine = ready::machine(&plan, out);
    out.heading(format!("{}: {}", lab.stem, lab.question))?;
    let mut worst = Outcome::Quotable;
    for (i, step) in steps.iter().enumerate() {
        worst = worst.max(one(lab, step, run, &plan, &machine, &store, out)?);
        if run.step
            && i + 1 < steps.len()
            && out.can_ask()
            && out.ask("Enter for the next step, q to stop:")?.is_none_or(|a| a == "q")
        {
            return Ok(worst);
        }
    }
    if worst < Outcome::Unfit {
        super::tell::quote(lab, common, out)?;
    }
    Ok(worst)
}

fn chosen(lab: &'static Lab, run: &Run) -> Result<Vec<&'static Step>, End> {
    for name in &run.only {
        if !lab.steps.iter().any(|s| s.name == name) {
            let names: Vec<&str> = lab.steps.iter().map(|s| s.name).collect();
            return Err(End::Usage(format!(
                "{} has no step '{name}'; its steps are {}",
                lab.stem,
                names.join(", ")
            )));
        }
    }
    Ok(lab.steps.iter().filter(|s| run.only.is_empty() || run.only.iter().any(|n| n == s.name)).collect())
}

/// One step. The exit code speaks of this step's headline numbers only; an `A/A` row or a refused case is shown in the table.
pub(super) fn one(
    lab: &'static Lab,
    step: &'static Step,
    run: &Run,
    plan: &Plan,
    machine: &Machine,
    store: &Store,
    out: &mut Out,
) -> Result<Outcome, End> {
    out.heading(format!("{} / {}", lab.stem, step.name))?;
    out.prose("", step.ask)?;
    for claim in step.claims {
        out.prose("  expected: ", claim.text)?;
    }
    if let Some(grade) = machine.grades.get(&step.kind).filter(|g| g.level == Level::Unfit && !plan.anyway) {
        out.say(format!(
            "refused: this machine cannot show it now: {} (--anyway measures all the same, never quotable)",
            grade.reason
        ))?;
        out.json(&serde_json::json!({ "lab": lab.stem, "step": step.name, "refused": grade.reason }))?;
        return Ok(Outcome::Unfit);
    }
    let guess = if run.step && out.can_ask() { predict(step, out)? } else { None };
    let records = measure(lab, step, run, plan, machine, out)?;
    let kept = store.append(&records);
    for record in &records {
        out.json(record)?;
    }
    out.text(&show::table::table(lab, step, &records, out.look))?;
    if let Some(guess) = guess {
        out.prose("", &reveal(step, &guess, &records))?;
    }
    let findings = judge::judge(lab, step, &records);
    out.text(&show::table::findings(&findings, out.look))?;
    for finding in &findings {
        let verdict = finding.verdict.words();
        out.json(&serde_json::json!({ "lab": lab.stem, "step": step.name, "claim": finding.claim, "verdict": verdict, "why": finding.why }))?;
    }
    out.prose("Why: ", step.because)?;
    // Shown first, so that a full disk does not cost the reader the result.
    kept?;
    Ok(outcome(step, &records))
}

/// Quotable if there are numbers and each may be quoted. A case that cannot be measured here at all does not count against the rest.
pub(super) fn outcome(step: &Step, records: &[Record]) -> Outcome {
    let mut measured =
        records.iter().filter(|r| r.case != AA && !r.values(step.headline).is_empty()).peekable();
    if measured.peek().is_some() && measured.all(|r| r.quotable) {
        Outcome::Quotable
    } else {
        Outcome::NotQuotable
    }
}

/// Launches, and seals what they gave.
pub(super) fn measure(
    lab: &Lab,
    step: &Step,
    run: &Run,
    plan: &Plan,
    machine: &Machine,
    out: &mut Out,
) -> Result<Vec<Record>, End> {
    let watch = Watchful::start();
    let launches = launch::run(lab, step, plan, &STOP, &mut |p| {
        let left = if p.done == 0 {
            String::new()
        } else {
            format!(", about {:.0} s left", p.elapsed.as_secs_f64() / p.done as f64 * (p.of - p.done) as f64)
        };
        out.progress(&format!(
            "measuring {}/{}: {} of {} launches, {:.0} s{left}",
            lab.stem,
            step.name,
            p.done,
            p.of,
            p.elapsed.as_secs_f64()
        ));
    })
    .map_err(|launch::Interrupted| End::Interrupted)?;
    out.progress_end();
    Ok(seal(lab, step, &run.command(lab, step.name), plan, machine, launches, watch.finish()))
}

/// Turns launches into records: one for each case and parameter.
fn seal(
    lab: &Lab,
    step: &Step,
    command: &str,
    plan: &Plan,
    machine: &Machine,
    launches: Vec<Vec<Sample>>,
    during: BTreeMap<String, f64>,
) -> Vec<Record> {
    let at = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    let of_run = doubts::of_run(step, plan, machine);
    let mut cells: Vec<(String, String)> = Vec::new();
    for s in launches.iter().flatten() {
        if !cells.iter().any(|(c, p)| *c == s.case && *p == s.param) {
            cells.push((s.case.clone(), s.param.clone()));
        }
    }
    // By parameter as declared, then in the order of cases with A/A behind the baseline.
    let place = |(case, param): &(String, String)| {
        let p = step.params.iter().position(|x| x == param).unwrap_or(usize::MAX);
        let c = if case == AA {
            1
        } else {
            step.cases.iter().position(|x| x == case).map_or(usize::MAX, |i| 2 * i)
        };
        (p, c)
    };
    cells.sort_by_key(place);
    let run = format!("{}-{}", at, std::process::id());
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
                baseline: step.cases[0].into(),
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
            }
            .seal()
        })
        .collect()
}

/// What the reader believes, before the run.
enum Guess {
    Number(f64),
    Case(&'static str),
}

fn predict(step: &Step, out: &mut Out) -> Result<Option<Guess>, End> {
    match step.predict {
        Predict::Best { .. } => {
            for (i, case) in step.cases.iter().enumerate() {
                out.say(format!("  {}  {case}", i + 1))?;
            }
            let answer =
                out.ask("Your prediction (a number from the list; Enter to skip):")?.unwrap_or_default();
            let i: Option<usize> = answer.parse().ok();
            Ok(i.and_then(|i| step.cases.get(i.checked_sub(1)?)).map(|c| Guess::Case(c)))
        }
        Predict::Number { case, param } => {
            let unit = step.headline.rsplit_once('_').map_or(step.headline, |(_, unit)| unit);
            let answer = out
                .ask(&format!("Your prediction for {case} {param}, in {unit} (Enter to skip):"))?
                .unwrap_or_default();
            Ok(answer.parse().ok().filter(|g: &f64| g.is_finite() && *g > 0.0).map(Guess::Number))
        }
    }
}

fn reveal(step: &Step, guess: &Guess, records: &[Record]) -> String {
    match *guess {
        Guess::Number(guess) => {
            let Predict::Number { case, param } = step.predict else { return String::new() };
            let measured = records
                .iter()
                .find(|r| r.case == case && r.param == param)
                .and_then(|r| r.interval_of(step.headline));
            match measured {
                Some(i) => {
                    let off = (guess / i.mid).max(i.mid / guess);
                    format!(
                        "You said {}, it was {}: {off:.1} times off.",
                        show::number::value(step.headline, guess),
                        show::number::interval(step.headline, &i)
                    )
                }
                None => "There is no number to hold your prediction against.".into(),
            }
        }
        Guess::Case(case) => {
            let Predict::Best { param } = step.predict else { return String::new() };
            let more_is_better = step.headline.ends_with("_per_s");
            let mut row: Vec<(&str, f64)> = records
                .iter()
                .filter(|r| r.param == param && r.case != AA && r.case != "empty")
                .filter_map(|r| Some((r.case.as_str(), r.interval_of(step.headline)?.mid)))
                .collect();
            row.sort_by(|a, b| if more_is_better { b.1.total_cmp(&a.1) } else { a.1.total_cmp(&b.1) });
            match row.first() {
                Some((best, _)) if *best == case => format!("You said {case}, and at {param} it was."),
                Some((best, _)) => format!("You said {case}; at {param} it was {best}."),
                None => "There is no number to hold your prediction against.".into(),
            }
        }
    }
}

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
    let machine = ready::machine(&plan, out)?;
    let bench = Workplace { run, plan: &plan, machine: &machine, store: &store };
    out.heading(format!("{}: {}", lab.stem, lab.question))?;
    let mut worst = Outcome::Quotable;
    for (i, step) in steps.iter().enumerate() {
        worst = worst.max(bench.step(lab, step, out)?);
        let more = run.step && i + 1 < steps.len() && out.can_ask();
        if more && out.ask("Enter for the next step, q to stop:")?.is_none_or(|a| a == "q") {
            return Ok(worst);
        }
    }
    if worst < Outcome::Unfit {
        // What may be said is about the store; whether this run is quotable was just decided.
        super::tell::quote(lab, common, out)?;
    }
    Ok(worst)
}

pub(super) fn chosen(lab: &'static Lab, run: &Run) -> Result<Vec<&'static Step>, End> {
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

/// What every step of a run shares.
#[derive(Clone, Copy)]
pub(super) struct Workplace<'a> {
    pub(super) run: &'a Run,
    pub(super) plan: &'a Plan,
    pub(super) machine: &'a Machine,
    pub(super) store: &'a Store,
}

impl Workplace<'_> {
    /// One step: predict, expect, measure, keep, show, judge, explain.
    pub(super) fn step(&self, lab: &'static Lab, step: &'static Step, out: &mut Out) -> Result<Outcome, End> {
        out.heading(format!("{} / {}", lab.stem, step.name))?;
        out.prose("", step.ask)?;
        if let Some(why) = self.refusal(step) {
            expect(step, out)?;
            let anyway = "--anyway measures all the same, never quotable";
            out.prose("refused: ", &format!("this machine cannot show it now: {why} ({anyway})"))?;
            out.json(&serde_json::json!({ "lab": lab.stem, "step": step.name, "refused": why }))?;
            return Ok(Outcome::Unfit);
        }
        // The reader's prediction comes before ours, which would give it away.
        let guess = if self.run.step && out.can_ask() { predict(step, out)? } else { None };
        expect(step, out)?;
        let (records, whole) = self.measure(lab, step, out)?;
        let kept = self.store.append(&records);
        for record in &records {
            out.json(record)?;
        }
        if !whole {
            kept?;
            return Err(End::Interrupted);
        }
        out.text(&show::table::table(lab, step, &records, out.look))?;
        if let Some(guess) = guess {
            out.prose("", &reveal(step, &guess, &records))?;
        }
        let findings = judge::judge(lab, step, &records);
        out.text(&show::table::findings(&findings, out.look))?;
        json_findings(lab, step, &findings, out)?;
        out.prose("Why: ", step.because)?;
        // Shown first, so that a full disk costs the record but not the result; and the steps that follow are still worth having.
        if let Err(e) = kept {
            out.warn(&e.to_string());
            return Ok(Outcome::Failed);
        }
        Ok(outcome(step, &records))
    }

    /// Why this machine cannot show the step now, unless the reader wants it anyway.
    pub(super) fn refusal(&self, step: &Step) -> Option<String> {
        let grade = self.machine.grades.get(&step.kind)?;
        (grade.level == Level::Unfit && !self.plan.anyway).then(|| grade.reason.clone())
    }

    /// Launches, and seals what they gave; false if the user ended it early.
    pub(super) fn measure(&self, lab: &Lab, step: &Step, out: &mut Out) -> Result<(Vec<Record>, bool), End> {
        let watch = Watchful::start();
        let done = launch::run(lab, step, self.plan, &STOP, &mut |p| {
            let each = p.elapsed.as_secs_f64() / p.done.max(1) as f64;
            let left = if p.done == 0 {
                String::new()
            } else {
                format!(", about {:.0} s left", each * (p.of - p.done) as f64)
            };
            let (elapsed, name) = (p.elapsed.as_secs_f64(), step.name);
            out.progress(&format!(
                "measuring {}/{name}: {} of {} launches, {elapsed:.0} s{left}",
                lab.stem, p.done, p.of
            ));
        });
        out.progress_end();
        let (launches, whole) = match done {
            Ok(launches) => (launches, true),
            Err(launch::Interrupted(launches)) => (launches, false),
        };
        if launches.is_empty() {
            return Err(End::Interrupted);
        }
        let command = self.run.command(lab, step.name);
        Ok((seal(lab, step, &command, self.plan, self.machine, launches, watch.finish()), whole))
    }
}

/// Findings for programs.
pub(super) fn json_findings(
    lab: &Lab,
    step: &Step,
    findings: &[judge::Finding],
    out: &mut Out,
) -> Result<(), End> {
    findings.iter().try_for_each(|f| {
        out.json(&serde_json::json!({
            "lab": lab.stem, "step": step.name, "claim": f.claim, "verdict": f.verdict.words(),
            "value": f.value, "interval": f.numbers, "why": f.why,
        }))
    })
}

fn expect(step: &Step, out: &mut Out) -> Result<(), End> {
    step.claims.iter().try_for_each(|claim| out.prose("  expected: ", claim.text))
}

/// Quotable if some number of the step may be quoted; the table marks those that may not.
pub(super) fn outcome(step: &Step, records: &[Record]) -> Outcome {
    let quotable = |r: &Record| r.case != AA && r.quotable && !r.values(step.headline).is_empty();
    if records.iter().any(quotable) { Outcome::Quotable } else { Outcome::NotQuotable }
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
    // Every declared row, so that one that was lost in all launches is missed; and the A/A rows that came.
    let declared = step.params.iter().flat_map(|p| step.cases.iter().map(|c| (c.to_string(), p.to_string())));
    let mut cells: Vec<(String, String)> = declared.collect();
    for s in launches.iter().flatten().filter(|s| s.case == AA) {
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
    let run = format!("{at}-{}-{}", std::process::id(), step.name);
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
    loop {
        let answer = match step.predict {
            Predict::Best { .. } => {
                for (i, case) in step.cases.iter().enumerate() {
                    out.say(format!("  {}  {case}", i + 1))?;
                }
                out.ask("Your prediction (a number or a name from the list; Enter to skip):")?
            }
            Predict::Number { case, param } => {
                let unit = step.headline.rsplit_once('_').map_or(step.headline, |(_, unit)| unit);
                out.ask(&format!("Your prediction for {case} {param}, in {unit} (Enter to skip):"))?
            }
        };
        let answer = answer.unwrap_or_default();
        if answer.is_empty() {
            return Ok(None);
        }
        match (step.predict, understood(step, &answer)) {
            (_, Some(guess)) => return Ok(Some(guess)),
            (Predict::Best { .. }, None) => out.say("  (not one of them)")?,
            (Predict::Number { .. }, None) => out.say("  (not a positive number)")?,
        }
    }
}

/// `3`, `std_mutex`, `100`, `100 ns`.
fn understood(step: &Step, answer: &str) -> Option<Guess> {
    match step.predict {
        Predict::Best { .. } => {
            let by_number = answer.parse().ok().and_then(|i: usize| step.cases.get(i.checked_sub(1)?));
            by_number.or_else(|| step.cases.iter().find(|c| **c == answer)).map(|c| Guess::Case(c))
        }
        Predict::Number { .. } => {
            let number = answer.split_whitespace().next()?.replace(['_', ','], "");
            number.parse().ok().filter(|g: &f64| g.is_finite() && *g > 0.0).map(Guess::Number)
        }
    }
}

fn reveal(step: &Step, guess: &Guess, records: &[Record]) -> String {
    match *guess {
        Guess::Number(guess) => {
            let Predict::Number { case, param } = step.predict else { return String::new() };
            let record = records.iter().find(|r| r.case == case && r.param == param);
            match record.and_then(|r| r.interval_of(step.headline)) {
                Some(i) => {
                    let off = (guess / i.mid).max(i.mid / guess);
                    format!(
                        "You said {}, it was {}: {off:.1} times off.",
                        show::number::value(step.headline, guess),
                        show::number::interval(step.headline, &i)
                    )
                }
                None => {
                    let why = record.and_then(Record::unmeasured).unwrap_or("it was not measured");
                    format!("There is no number to hold your prediction against: {why}.")
                }
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

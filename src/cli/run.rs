//! Runs a lab: for every step predict, launch, seal, store, judge, show, explain.
use super::{
    Outcome, STOP,
    args::{Common, Run},
    out::{End, Out},
    ready, step,
};
use crate::{
    judge,
    lab::{Lab, Launch, Step, plan::Plan, sample::AA},
    machine::{Level, Machine, Watchful},
    measure::launch,
    record::{self, Record, Store, runs_of},
    show,
};

/// Runs a lab (or the steps asked for) and says how well it went.
pub(super) fn lab(lab: &'static Lab, run: &Run, common: &Common, out: &mut Out) -> Result<Outcome, End> {
    // Words are checked before the machine is examined, which takes seconds.
    step::check_guesses(&chosen(lab, run)?, run)?;
    let machine = ready::machine(&run.plan(), out)?;
    lab_on(&machine, lab, run, common, out)
}

/// The same on a machine that was examined already.
pub(super) fn lab_on(
    machine: &Machine,
    lab: &'static Lab,
    run: &Run,
    common: &Common,
    out: &mut Out,
) -> Result<Outcome, End> {
    let steps = chosen(lab, run)?;
    step::check_guesses(&steps, run)?;
    let plan = run.plan();
    let store = ready::store(common)?;
    if run.step {
        out.warn_unasked("measuring without questions; --guess takes predictions");
    }
    ready::try_keeping(&store, lab, out);
    let bench = Workplace { run, plan: &plan, machine, store: &store };
    out.heading(format!("{}: {}", lab.stem, lab.question))?;
    let mut worst = Outcome::Quotable;
    for (i, step) in steps.iter().enumerate() {
        worst = worst.max(bench.step(lab, step, out)?);
        if run.step && !step::turn(&bench, lab, step, i + 1 < steps.len(), out)? {
            return Ok(worst);
        }
    }
    // What may be said is about the store; whether this run is quotable was just decided.
    if run.step {
        step::last_page(lab, common, out)?;
    } else if worst < Outcome::Unfit {
        super::tell::quote(lab, false, common, out)?;
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
        let mut guess = step::predict(self.run, lab, step, out)?;
        expect(step, out)?;
        let (records, whole) = self.measure(lab, step, out)?;
        // What others put into the store is there already, and that nobody did is no result.
        let recorded = matches!(step.launch, Launch::Recorded(_));
        let kept = if recorded { Ok(()) } else { self.store.append(&records) };
        let kept = kept.and_then(|()| match (&mut guess, records.first()) {
            (Some(guess), Some(r)) if !recorded || r.unmeasured().is_none() => {
                guess.run.clone_from(&r.run);
                self.store.predict(guess)
            }
            _ => Ok(()),
        });
        for record in &records {
            out.json(record)?;
        }
        if !whole {
            kept?;
            return Err(End::Interrupted);
        }
        if self.run.step {
            out.text(&show::picture::picture(lab, step, &records, guess.as_ref(), out.look))?;
        }
        out.text(&show::table::table(lab, step, &records, out.look))?;
        if let Some(guess) = guess {
            step::reveal(step, &guess, &records, out)?;
        }
        let findings = judge::judge(lab, step, &records);
        out.text(&show::table::findings(&findings, out.look))?;
        json_findings(lab, step, &findings, out)?;
        out.prose("Why: ", &judge::why(lab, step, &records))?;
        if self.run.step {
            step::places(lab, step, out)?;
        }
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

    /// Launches, and seals what they gave, or finds what another command recorded; false if the user ended it early.
    pub(super) fn measure(&self, lab: &Lab, step: &Step, out: &mut Out) -> Result<(Vec<Record>, bool), End> {
        let command = match step.launch {
            Launch::Recorded(command) => {
                let mut records = self.store.load(lab.stem)?.records;
                let newest = runs_of(&records, lab.stem, step.name).first().map(ToString::to_string);
                records.retain(|r| newest.as_ref() == Some(&r.run));
                if !records.is_empty() {
                    return Ok((records, true));
                }
                command.to_string()
            }
            Launch::Together | Launch::Isolated => self.run.command(lab, step.name),
        };
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
        Ok((record::seal(lab, step, &command, self.plan, self.machine, launches, watch.finish()), whole))
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

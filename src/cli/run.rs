//! Runs a lab: for every step predict, launch, seal, store, judge, show, explain.
use super::{
    Outcome,
    args::{Common, Run},
    interrupt::{Measuring, STOP},
    out::{End, Out},
    ready, step,
};
use crate::{
    judge,
    lab::{Lab, Launch, Step, plan::Plan, sample::AA},
    machine::{Level, Machine, Watchful},
    measure::launch,
    record::{self, Record, Store, StoreError, runs_of},
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
        let last = i + 1 == steps.len() && out.more_labs == 0;
        worst = worst.max(bench.step(lab, step, (worst, last), out)?);
        if run.step && !step::turn(&bench, lab, step, i + 1 < steps.len(), out)? {
            return Ok(worst);
        }
    }
    // What may be said is about the store; whether this run is quotable was just decided.
    if run.step {
        step::last_page(lab, common, out)?;
    } else if worst < Outcome::Unfit {
        super::tell::quote(lab, common, false, out)?;
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
    ///
    /// `so_far` is the worst of the steps before, and whether this one is the last: then a reader may leave once it is measured.
    pub(super) fn step(
        &self,
        lab: &'static Lab,
        step: &'static Step,
        so_far: (Outcome, bool),
        out: &mut Out,
    ) -> Result<Outcome, End> {
        out.heading(format!("{} / {}", lab.stem, step.name))?;
        out.prose("", step.ask)?;
        if let Some(why) = self.refusal(step) {
            expect(step, out)?;
            out.so_far_if(so_far.1, Outcome::Unfit);
            let anyway = "--anyway measures all the same, never quotable";
            out.prose("refused: ", &format!("this machine cannot show it now: {why} ({anyway})"))?;
            out.json(&serde_json::json!({ "lab": lab.stem, "step": step.name, "refused": why }))?;
            super::tell::from_the_notes(lab, Some(step), out)?;
            return Ok(Outcome::Unfit);
        }
        // The reader's prediction comes before ours, which would give it away.
        let mut guess = step::predict(self.run, lab, step, out)?;
        expect(step, out)?;
        let Measured { records, whole, kept } = self.measure(lab, step, Partial::Keep, out)?;
        let recorded = matches!(step.launch, Launch::Recorded(_));
        let kept = kept.and_then(|()| match (&mut guess, records.first()) {
            (Some(guess), Some(r)) if !recorded || r.unmeasured().is_none() => {
                guess.run.clone_from(&r.run);
                self.store.predict(guess)
            }
            _ => Ok(()),
        });
        let outcome = if kept.is_ok() { outcome(step, &records) } else { Outcome::Failed };
        out.so_far_if(so_far.1 && whole, so_far.0.max(outcome));
        for record in &records {
            out.json(record)?;
        }
        if !whole {
            kept?;
            return Err(End::Interrupted);
        }
        // The answer comes first; whoever wants the numbers reads on.
        out.say("")?;
        if let Some(guess) = &guess {
            step::reveal(step, guess, &records, out)?;
        }
        told(lab, step, &records, guess.as_ref(), out)?;
        json_findings(lab, step, &judge::judge(lab, step, &records), out)?;
        if self.run.step {
            step::places(lab, step, out)?;
        }
        // Shown first, so that a full disk costs the record but not the result; and the steps that follow are still worth having.
        if let Err(e) = kept {
            out.warn(&e.to_string());
        }
        Ok(outcome)
    }

    /// Why this machine cannot show the step now, unless the reader wants it anyway.
    pub(super) fn refusal(&self, step: &Step) -> Option<String> {
        let grade = self.machine.grades.get(&step.kind)?;
        (grade.level == Level::Unfit && !self.plan.anyway).then(|| grade.reason.clone())
    }

    /// Launches, seals what they gave and keeps it; or finds what another command recorded.
    pub(super) fn measure(
        &self,
        lab: &Lab,
        step: &Step,
        partial: Partial,
        out: &mut Out,
    ) -> Result<Measured, End> {
        let command = match step.launch {
            Launch::Recorded(command) => {
                let mut records = ready::records(self.store, lab, out)?;
                let newest = runs_of(&records, lab.stem, step.name).first().map(ToString::to_string);
                records.retain(|r| newest.as_ref() == Some(&r.run));
                // What others put into the store is there already.
                if !records.is_empty() {
                    return Ok(Measured { records, whole: true, kept: Ok(()) });
                }
                command.to_string()
            }
            Launch::Together | Launch::Isolated => self.run.command(lab, step.name),
        };
        let measuring = Measuring::begin();
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
        let records = record::seal(lab, step, &command, self.plan, self.machine, launches, watch.finish());
        // That nobody recorded anything is no result.
        let keep = !matches!(step.launch, Launch::Recorded(_)) && (whole || partial == Partial::Keep);
        let kept = if keep { measuring.keep(self.store, &records) } else { Ok(()) };
        Ok(Measured { records, whole, kept })
    }
}

/// What becomes of a run that was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partial {
    /// Its complete launches are kept; the records say what is missing.
    Keep,
    /// Nothing of it is kept.
    Drop,
}

/// A step that was measured.
#[derive(Debug)]
pub(super) struct Measured {
    pub(super) records: Vec<Record>,
    /// False if the user ended it early.
    pub(super) whole: bool,
    /// Whether the records are in the store.
    pub(super) kept: Result<(), StoreError>,
}

/// The result of a step: the sentence to say, the chart, the verdicts, why, and the table.
pub(super) fn told(
    lab: &Lab,
    step: &Step,
    records: &[Record],
    guess: Option<&record::Prediction>,
    out: &mut Out,
) -> Result<(), End> {
    if let Some(answer) = show::quote::of_step(lab, step, records) {
        out.prose("", &answer)?;
        out.say("")?;
    }
    out.text(&show::picture::picture(lab, step, records, guess, out.look))?;
    out.say("")?;
    out.text(&show::table::findings(&judge::judge(lab, step, records), out.look))?;
    let why = judge::why(lab, step, records);
    if !why.is_empty() {
        out.prose("Why: ", &why)?;
        out.say("")?;
    }
    out.text(&show::table::table(lab, step, records, out.look))
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

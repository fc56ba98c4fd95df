//! How far a reader is: `underhood list` and `underhood next`.
use super::{
    Outcome,
    args::{Common, Run},
    out::{End, Out},
    ready, run,
};
use crate::{
    judge::{
        self, Verdict,
        guess::{self, Score},
    },
    lab::{Lab, Launch, Step, plan::Mode},
    machine::Level,
    record::{Prediction, Record, find, pool, runs_of},
};

/// How far a lab is.
#[derive(Debug, Default, serde::Serialize)]
struct State {
    /// Steps with a complete run.
    done_count: usize,
    steps_count: usize,
    /// Claims that the newest runs refuted.
    refuted_count: usize,
    /// Guesses that the truth lay outside of.
    missed_count: usize,
    /// Claims that the newest runs could not decide.
    not_shown_count: usize,
}

/// True if a run of the step has all its rows. A smoke run shows that the code runs, and counts only for who asks for smoke.
fn done(lab: &Lab, step: &Step, records: &[Record], smoke: bool) -> bool {
    let whole = |run: &str| {
        step.cells().iter().all(|(c, p)| find(records, run, c, p).is_some())
            && records.iter().find(|r| r.run == run).is_some_and(|r| smoke || r.mode != Mode::Smoke)
    };
    runs_of(records, lab.stem, step.name).into_iter().any(whole)
}

fn state(lab: &Lab, records: &[Record], predictions: &[Prediction]) -> State {
    let mut state = State { steps_count: lab.steps.len(), ..State::default() };
    for step in &lab.steps {
        state.done_count += usize::from(done(lab, step, records, false));
        if runs_of(records, lab.stem, step.name).is_empty() {
            continue;
        }
        for finding in judge::judge(lab, step, records) {
            match finding.verdict {
                Verdict::Held => {}
                Verdict::Refuted => state.refuted_count += 1,
                Verdict::NotShown => state.not_shown_count += 1,
            }
        }
        let of_step = predictions.iter().filter(|p| p.lab == lab.stem && p.step == step.name && !p.recalled);
        state.missed_count +=
            of_step.filter(|p| guess::reveal(step, p, records).score == Score::Outside).count();
    }
    state
}

/// `underhood list`.
pub(super) fn list(labs: &[&'static Lab], common: &Common, out: &mut Out) -> Result<Outcome, End> {
    let store = ready::store(common)?;
    store.try_reading()?;
    out.so_far = Outcome::Quotable;
    let predictions = ready::predictions(&store, out);
    let typical = ready::typical(&store);
    for lab in labs {
        let read = ready::records_if_any(&store, lab, out);
        let known = read.is_some();
        let records = pool::with_typical(&[*lab], read.unwrap_or_default(), &typical);
        let steps = lab.steps.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
        out.say(format!("{:<20} {}\n{:<20} steps: {steps}", lab.stem, lab.question, ""))?;
        let state = state(lab, &records, &predictions);
        let last = records.last().map(|r| r.at.as_str());
        let words = match last {
            None if !known => "its records cannot be read".to_string(),
            None => "not run yet".to_string(),
            Some(at) => words(&state, at),
        };
        out.say(format!("{:<20} {words}", ""))?;
        out.json(
            &serde_json::json!({ "lab": lab.stem, "question": lab.question, "last": last, "state": known.then_some(state) }),
        )?;
    }
    Ok(Outcome::Quotable)
}

fn words(state: &State, last: &str) -> String {
    let State { done_count, steps_count, refuted_count, missed_count, not_shown_count } = state;
    let count = |n: &usize, one: &str| format!("{n} {one}{}", if *n == 1 { "" } else { "s" });
    let done = if done_count == steps_count { "done" } else { "begun" };
    let mut text = format!("{done}: {done_count} of {}", count(steps_count, "step"));
    if refuted_count + missed_count > 0 {
        let parts = [(refuted_count, "refuted claim"), (missed_count, "missed prediction")];
        let parts: Vec<String> =
            parts.iter().filter(|(n, _)| **n > 0).map(|(n, what)| count(n, what)).collect();
        text.push_str(&format!("; surprising: {}", parts.join(", ")));
    }
    if *not_shown_count > 0 {
        text.push_str(&format!("; not shown here: {}", count(not_shown_count, "claim")));
    }
    format!("{text}; last run {}", crate::words::escape::line(last))
}

/// `underhood next`: steps through what is left of the first lab that is not done, as far as this machine can show it.
pub(super) fn next(
    labs: &[&'static Lab],
    flags: &Run,
    common: &Common,
    out: &mut Out,
) -> Result<Outcome, End> {
    if !flags.only.is_empty() {
        return Err(End::Usage(
            "`next` chooses the steps itself; name them with `run LAB --only STEP`".into(),
        ));
    }
    let store = ready::store(common)?;
    let plan = flags.plan();
    let machine = ready::machine(&plan, out)?;
    let shown =
        |step: &Step| plan.anyway || machine.grades.get(&step.kind).is_none_or(|g| g.level != Level::Unfit);
    let mut unfit = 0;
    for lab in labs {
        let records = ready::records(&store, lab, out)?;
        // What another command records is not run here, so it would be the next step for ever.
        let here = |s: &&Step| !matches!(s.launch, Launch::Recorded(_));
        let left: Vec<&Step> =
            lab.steps.iter().filter(here).filter(|s| !done(lab, s, &records, flags.smoke)).collect();
        let only: Vec<String> = left.iter().filter(|s| shown(s)).map(|s| s.name.to_string()).collect();
        unfit += left.len() - only.len();
        if only.is_empty() {
            continue;
        }
        if only.len() < lab.steps.len() {
            out.say(format!("Going on with {}: {} of {} steps left", lab.stem, only.len(), lab.steps.len()))?;
        }
        return run::lab_on(&machine, lab, &Run { step: true, only, ..flags.clone() }, common, out);
    }
    if unfit > 0 {
        let what = "this machine cannot show what is left now";
        out.say(format!("{what} ({unfit} steps): see `underhood check`, or give --anyway"))?;
        return Ok(Outcome::Unfit);
    }
    out.say("Every lab is done; `underhood quiz` asks what you remember.")?;
    Ok(Outcome::Quotable)
}

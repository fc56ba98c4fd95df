//! `underhood quiz`: the questions in random order, the reader's own numbers as model answers, and how good the guesses are.
use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    Outcome,
    args::Common,
    out::{End, Out},
    ready, step,
};
use crate::{
    judge::guess::{self, Tally},
    lab::{Lab, Step},
    measure::order::Order,
    record::{Prediction, Record, Store, pool},
    show::answer::{self, Answer},
};

/// Days of the calibration that are shown; the totals count all.
const DAYS: usize = 10;

/// Asks where somebody can answer; else prints every question with its answer.
pub(super) fn quiz(
    labs: &[&'static Lab],
    count: Option<usize>,
    seed: Option<u64>,
    common: &Common,
    out: &mut Out,
) -> Result<Outcome, End> {
    let store = ready::store(common)?;
    out.so_far = Outcome::Quotable;
    let known = pool::with_pools(labs, ready::all_records(&store, out)?.records);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let mut order = Order::new(seed.unwrap_or_else(now));
    let mut asked = labs.to_vec();
    order.shuffle(&mut asked);
    asked.truncate(count.unwrap_or(asked.len()));
    // A whole sheet of what the reader has not measured would be the notes once more.
    let by_notes = out.can_ask() || asked.len() == 1;
    let of = asked.len();
    out.warn_unasked("printing the answers without asking");
    for (i, lab) in asked.into_iter().enumerate() {
        let records: Vec<Record> = known.iter().filter(|r| r.lab == lab.stem).cloned().collect();
        out.heading(format!("{} of {of}: {}", i + 1, lab.question))?;
        if !question(lab, &records, by_notes, &store, &mut order, out)? {
            break;
        }
    }
    calibration(labs, &known, &store, out)?;
    Ok(Outcome::Quotable)
}

/// One question, from the number that is asked for to the mechanism. False if the reader has had enough.
fn question(
    lab: &'static Lab,
    records: &[Record],
    by_notes: bool,
    store: &Store,
    order: &mut Order,
    out: &mut Out,
) -> Result<bool, End> {
    // Only what the records can answer is asked: a guess without a truth teaches nothing.
    let known: Vec<(&Step, &str)> =
        lab.steps.iter().filter_map(|s| Some((s, guess::answerable(lab, s, records)?))).collect();
    let mut guessed = None;
    if out.can_ask() {
        if !known.is_empty() {
            let (step, run) = known[order.below(known.len())];
            out.prose("In numbers: ", step.ask)?;
            let guess = match step::ask(step, out) {
                Err(End::Left) => return Ok(false),
                said => said?,
            };
            guessed = guess.map(|guess| {
                (step, Prediction { recalled: true, ..step::prediction(lab, step, guess, run) })
            });
        }
        let answer =
            out.ask("Now answer as you would in an interview. Enter shows what your records say; q stops.")?;
        if answer.is_none_or(|a| a == "q") {
            return Ok(false);
        }
    }
    if let Some((step, prediction)) = guessed {
        store.predict(&prediction)?;
        step::reveal(step, &prediction, records, out)?;
    }
    // What the reader has not measured is answered by the notes; it is no truth for a guess.
    let theirs = if records.is_empty() && by_notes { ready::of_the_notes(lab) } else { Vec::new() };
    if !theirs.is_empty() {
        let from = format!(
            "You have not run this lab. The notes' numbers, from another machine ({}):",
            lab.command()
        );
        out.prose("", &from)?;
    }
    let known = if theirs.is_empty() { records } else { &theirs };
    model_answer(lab, &answer::answer(lab, known), out)?;
    Ok(true)
}

fn model_answer(lab: &Lab, answer: &Answer, out: &mut Out) -> Result<(), End> {
    for said in &answer.sentences {
        out.prose("Say: ", &said.text)?;
        out.prose(
            "  not true when ",
            &format!("{} ({}; {})", said.not_true_when, said.measured, said.ids.join(", ")),
        )?;
    }
    if let Some(why) = &answer.why_not {
        out.prose("No number of yours: ", &format!("{why}. Measure it: {}", lab.command()))?;
    }
    out.prose("Why: ", &answer.because)?;
    for next in &lab.next {
        out.prose("They will ask next: ", next)?;
    }
    out.json(
        &serde_json::json!({ "lab": lab.stem, "question": lab.question, "answer": answer, "next": lab.next }),
    )
}

/// How often the truth was inside of the guess: before the run, and remembered after it. These are two different skills.
fn calibration(labs: &[&'static Lab], records: &[Record], store: &Store, out: &mut Out) -> Result<(), End> {
    let all = ready::predictions(store, out);
    let (recalled, predicted): (Vec<Prediction>, Vec<Prediction>) = all.into_iter().partition(|p| p.recalled);
    out.heading("how good your guesses are")?;
    for (what, name, said) in [("before a run", "predicted", predicted), ("in a quiz", "recalled", recalled)]
    {
        let (days, all) = guess::calibration(labs, &said, records);
        out.prose("", &format!("Made {what}: {}.", words(&all)))?;
        if days.len() > 1 {
            let recent = &days[days.len().saturating_sub(DAYS)..];
            recent.iter().try_for_each(|(day, tally)| out.say(format!("  {day}: {}", words(tally))))?;
        }
        out.json(&serde_json::json!({ "calibration": name, "all": all, "days": days }))?;
    }
    Ok(())
}

fn words(tally: &Tally) -> String {
    let untold = match tally.untold_count {
        0 => String::new(),
        n => format!(", and {n} more could not be judged"),
    };
    match tally.told_count() {
        0 if tally.untold_count == 0 => "none yet".into(),
        told => format!("the measured value was inside {} of {told}{untold}", tally.inside_count),
    }
}

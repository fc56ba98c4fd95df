//! `underhood quiz`: the questions in random order, the reader's own numbers as model answers, and how good the guesses are.
use std::time::{SystemTime, UNIX_EPOCH};

use super::{
    Outcome,
    args::Common,
    out::{End, Out},
    ready, step, tell,
};
use crate::{
    judge::guess::{self, Tally},
    lab::{Lab, Step},
    measure::order::Order,
    record::{Prediction, Record, Store},
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
    let mut loaded = store.load_all()?;
    tell::skipped(&loaded, out);
    loaded.records = ready::pooled(labs, loaded.records);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| d.as_nanos() as u64);
    let mut order = Order::new(seed.unwrap_or_else(now));
    let mut asked = labs.to_vec();
    order.shuffle(&mut asked);
    asked.truncate(count.unwrap_or(asked.len()));
    let of = asked.len();
    out.warn_unasked("printing the answers without asking");
    for (i, lab) in asked.into_iter().enumerate() {
        let records: Vec<Record> = loaded.records.iter().filter(|r| r.lab == lab.stem).cloned().collect();
        out.heading(format!("{} of {of}: {}", i + 1, lab.question))?;
        if !question(lab, &records, &store, &mut order, out)? {
            break;
        }
    }
    calibration(labs, &loaded.records, &store, out)?;
    Ok(Outcome::Quotable)
}

/// One question, from the number that is asked for to the mechanism. False if the reader has had enough.
fn question(
    lab: &'static Lab,
    records: &[Record],
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
            guessed = step::ask(step, out)?.map(|guess| {
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
    model_answer(lab, &answer::answer(lab, records), out)?;
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
    let (all, unreadable) = store.predictions()?;
    if unreadable > 0 {
        out.warn(&format!("{unreadable} predictions could not be read"));
    }
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
        n => format!(", and nothing can be said of {n} more"),
    };
    match tally.told_count() {
        0 if tally.untold_count == 0 => "none yet".into(),
        told => format!("the truth was inside of {} of {told}{untold}", tally.inside_count),
    }
}

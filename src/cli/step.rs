//! Stepping through a lab: the pages around a measurement. Each works without a terminal too: what would be asked is skipped, what
//! would be answered is printed.
use std::{path::Path, time::SystemTime};

use clap::Parser;

use super::{
    Outcome,
    args::{Common, Run, Single},
    out::{End, Out},
    run::{Measured, Partial, Workplace},
    tell,
};
use crate::{
    judge::{guess, name},
    lab::{Kind, Lab, Predict, Step},
    record::{Guess, Prediction, Record, SCHEMA, file},
    show,
};

/// Guesses on the command line must be understood before anything is measured.
pub(super) fn check_guesses(steps: &[&'static Step], run: &Run) -> Result<(), End> {
    for text in &run.guess {
        let step = text.split_once('=').and_then(|(name, _)| steps.iter().find(|s| s.name == name.trim()));
        let Some(step) = step else {
            let names: Vec<&str> = steps.iter().map(|s| s.name).collect();
            return Err(End::Usage(format!(
                "--guess '{text}' names none of the steps to run: {}",
                names.join(", ")
            )));
        };
        if given(run, step).is_none() {
            return Err(End::Usage(format!("--guess '{text}' is not understood; {}", how_to_answer(step))));
        }
    }
    Ok(())
}

/// The guess on the command line, and the reason behind its colon.
fn given(run: &Run, step: &Step) -> Option<(Guess, String)> {
    let words =
        run.guess.iter().find_map(|g| g.split_once('=').filter(|(name, _)| name.trim() == step.name))?.1;
    let (answer, why) = words.split_once(": ").unwrap_or((words, ""));
    Some((guess::understood(step, answer)?, why.trim().to_string()))
}

fn how_to_answer(step: &Step) -> String {
    match step.predict {
        Predict::Best { .. } => {
            let names: Vec<String> = guess::choices(step).iter().map(|c| name::variant(step, c)).collect();
            format!("one of {}", names.join(", "))
        }
        Predict::Number { .. } => {
            match step.headline.rsplit_once('_').map_or(step.headline, |(_, unit)| unit) {
                _ if step.headline.ends_with("_per_s") => "a rate such as 2 M/s, or a range such as 1..3 M/s",
                "ns" => "a time such as 5 ms, or a range such as 50..200 ns",
                "bytes" => "a size such as 64 KiB, or a range such as 1..2 MiB",
                "share" => "a share such as 30 %, or a range such as 20..40 %",
                "ratio" => "a factor such as 2x, or a range such as 2..4x",
                _ => "a number such as 12, or a range such as 50..200",
            }
            .into()
        }
    }
}

/// What the reader believes before the run; `None` if it was skipped. The run is filled in when there is one.
pub(super) fn predict(run: &Run, lab: &Lab, step: &Step, out: &mut Out) -> Result<Option<Prediction>, End> {
    if let Some((guess, why)) = given(run, step) {
        return Ok(Some(Prediction { why, ..prediction(lab, step, guess, "") }));
    }
    if !run.step || !out.can_ask() {
        return Ok(None);
    }
    let Some(guess) = ask(step, out)? else { return Ok(None) };
    let why = out.ask("And why? One line. Enter skips.")?.unwrap_or_default();
    Ok(Some(Prediction { why, ..prediction(lab, step, guess, "") }))
}

/// A guess with what it answers, made now.
pub(super) fn prediction(lab: &Lab, step: &Step, guess: Guess, run: &str) -> Prediction {
    let (case, param) = guess::asked(step);
    Prediction {
        schema: SCHEMA,
        at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        lab: lab.stem.into(),
        step: step.name.into(),
        case: case.into(),
        param: param.into(),
        value: step.headline.into(),
        guess,
        why: String::new(),
        run: run.into(),
        recalled: false,
    }
}

/// Asks until the answer is understood; `None` if it was skipped.
pub(super) fn ask(step: &Step, out: &mut Out) -> Result<Option<Guess>, End> {
    if let Predict::Best { .. } = step.predict {
        for (i, case) in guess::choices(step).iter().enumerate() {
            out.say(format!("  {}  {}", i + 1, name::variant(step, case)))?;
        }
    }
    let of = show::picture::asked(step);
    loop {
        let hint = match step.predict {
            Predict::Best { .. } => "a number or a name from the list".into(),
            Predict::Number { .. } => how_to_answer(step),
        };
        let answer = out
            .ask(&format!("Your prediction for {of}: {hint}. Enter skips, q leaves."))?
            .unwrap_or_default();
        if answer.is_empty() {
            return Ok(None);
        }
        if answer == "q" {
            return Err(End::Left);
        }
        if let Some(guess) = guess::understood(step, &answer) {
            return Ok(Some(guess));
        }
        out.say(format!("  (not understood; {})", how_to_answer(step)))?;
    }
}

/// Guess against result.
pub(super) fn reveal(
    step: &Step,
    prediction: &Prediction,
    records: &[Record],
    out: &mut Out,
) -> Result<(), End> {
    let reveal = guess::reveal(step, prediction, records);
    out.prose("", &reveal.text)?;
    if !prediction.why.is_empty() {
        out.prose("", &format!("Your reason was: {}", crate::words::escape::line(&prediction.why)))?;
    }
    out.json(&serde_json::json!({
        "prediction": prediction, "score": reveal.score, "off_ratio": reveal.off_ratio, "text": reveal.text,
    }))
}

/// Where to look: files and lines of the mechanism, if the sources are there.
pub(super) fn places(lab: &Lab, step: &Step, out: &mut Out) -> Result<(), End> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = show::picture::places(lab, step, |path| file::text(&repository.join(path)).ok());
    out.prose("Open: ", &places.join(", "))
}

/// One knob to turn: asked for, or named. False if the reader has had enough.
pub(super) fn turn(
    place: &Workplace<'_>,
    lab: &'static Lab,
    step: &'static Step,
    more: bool,
    out: &mut Out,
) -> Result<bool, End> {
    let knob = suggested(place, step);
    if !out.can_ask() {
        let mut words = place.run.command(lab, step.name);
        if !words.contains(knob.split(' ').next().unwrap_or_default()) {
            words.push_str(&format!(" {knob}"));
            out.prose("Turn one knob: ", &words)?;
        }
        return Ok(true);
    }
    let next = if more { "the next step" } else { "what you may say" };
    loop {
        let question =
            format!("Enter for {next}; or a knob to turn and run again, such as `{}`; q stops.", &knob[2..]);
        let answer = out.ask(&question)?;
        let Some(answer) = answer.filter(|a| a != "q") else { return Ok(false) };
        if answer.is_empty() {
            return Ok(true);
        }
        match turned(place.run, lab, &answer) {
            Some(run) => again(place, &run, lab, step, out)?,
            None => out.say("  (the knobs: threads N, slice TIME, launches N, seed N)")?,
        }
    }
}

/// The knob that says most about a step of this kind.
fn suggested(place: &Workplace<'_>, step: &Step) -> String {
    match step.kind {
        Kind::Contended | Kind::Tail | Kind::Pause => {
            format!("--threads {}", place.plan.threads.saturating_mul(2).min(4096))
        }
        Kind::Single | Kind::Chance => "--launches 10".into(),
        Kind::Count => format!("--seed {}", place.plan.seed.wrapping_add(1)),
    }
}

/// The flags with one of them changed: `threads 4` or `--threads 4`, checked as on the command line.
fn turned(run: &Run, lab: &Lab, answer: &str) -> Option<Run> {
    let (knob, value) = answer.trim().trim_start_matches('-').split_once([' ', '='])?;
    let flag = format!("--{}", knob.trim());
    let new = Single::try_parse_from([lab.stem, &flag, value.trim()]).ok()?.run;
    let mut run = Run { guess: Vec::new(), ..run.clone() };
    match knob.trim() {
        "threads" => run.threads = new.threads,
        "slice" => run.slice = new.slice,
        "launches" => run.launches = new.launches,
        "seed" => run.seed = new.seed,
        _ => return None,
    }
    Some(run)
}

fn again(
    place: &Workplace<'_>,
    run: &Run,
    lab: &'static Lab,
    step: &'static Step,
    out: &mut Out,
) -> Result<(), End> {
    let plan = run.plan();
    let place = Workplace { run, plan: &plan, ..*place };
    if let Some(why) = place.refusal(step) {
        return out.prose("refused: ", &why);
    }
    let Measured { records, whole, kept } = place.measure(lab, step, Partial::Keep, out)?;
    if !whole {
        kept?;
        return Err(End::Interrupted);
    }
    super::run::told(lab, step, &records, None, out)?;
    // As of the step itself: a full disk costs the record but not the result.
    if let Err(e) = kept {
        out.warn(&e.to_string());
    }
    Ok(())
}

/// The last page: what may be said, what may not, what they ask next, and where to go.
pub(super) fn last_page(lab: &'static Lab, common: &Common, out: &mut Out) -> Result<(), End> {
    if tell::quote(lab, common, false, out)? != Outcome::Quotable || !out.look.all {
        // A quote in full has these lists; a reader who stepped this far gets them in any case.
        for (title, lines) in
            [("What these numbers do not show", &lab.not_said), ("They will ask next", &lab.next)]
        {
            out.say(format!("{title}:"))?;
            lines.iter().try_for_each(|line| out.prose("  - ", line))?;
        }
    }
    out.say("Go on: underhood next")
}

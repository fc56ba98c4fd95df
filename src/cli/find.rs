//! `underhood find WORDS`: which lab answers the question that I was asked?
use super::{
    Outcome,
    args::Common,
    out::{End, Out},
    ready,
};
use crate::{
    lab::Lab,
    record::pool,
    show::{questions, quote},
};

/// Prints the interview questions that contain all words, the steps that answer them, and what the store says of the first of these that it knows.
pub(super) fn find(
    words: &[String],
    labs: &[&'static Lab],
    common: &Common,
    out: &mut Out,
) -> Result<Outcome, End> {
    let found = questions::about(words);
    if found.is_empty() {
        return Err(End::Failed(format!(
            "no question has all of these words: {}; fewer words find more, and `underhood list` shows every lab",
            words.join(" ")
        )));
    }
    let store = ready::store(common)?;
    let typical = ready::typical(&store);
    for (subject, question) in found {
        out.heading(question.asked)?;
        let mut said = None;
        for step in question.steps {
            let Some((stem, name)) = step.split_once('/') else { continue };
            let lab = labs.iter().find(|l| l.stem == stem);
            let command =
                lab.map_or_else(|| format!("underhood run {stem} --only {name}"), |l| l.command_for(name));
            out.say(format!("  {command}"))?;
            let of = lab.and_then(|lab| Some((*lab, lab.steps.iter().find(|s| s.name == name)?)));
            if let Some((lab, step)) = of.filter(|_| said.is_none())
                && let Some(records) = ready::records_if_any(&store, lab, out)
            {
                said = quote::of_step(lab, step, &pool::with_typical(&[lab], records, &typical));
            }
        }
        if let Some(text) = &said {
            out.prose("  measured here: ", text)?;
        }
        out.json(&serde_json::json!({ "subject": subject, "question": question.asked, "steps": question.steps, "say": said }))?;
    }
    Ok(Outcome::Quotable)
}

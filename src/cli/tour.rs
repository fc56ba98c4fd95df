//! The tour: three questions, from a prediction to the sentence to say.
use super::{
    Outcome,
    args::{Common, Run},
    out::{End, Out},
    ready,
    run::{Measured, Partial, Workplace, outcome},
    step, tell,
};
use crate::{
    judge::{self, Support, Verdict, guess},
    lab::{Lab, Step},
    record::Record,
    show,
    words::number,
};

/// The labs of our tour: a lock, a starved runtime, a large allocation.
const OURS: [&str; 3] = ["lock_rwlock", "async_starvation", "alloc_first_touch"];
/// Expectations and reasons that are shown of a step; the lab itself shows all.
const MOST: usize = 3;

/// Runs the tour's steps in quick mode. Its exit code is about the program, not the machine: a machine that can't show something
/// is told so, and the tour goes on.
pub(super) fn tour(labs: &[&'static Lab], common: &Common, out: &mut Out) -> Result<Outcome, End> {
    let flags = Run { quick: true, step: out.can_ask(), ..Run::default() };
    let plan = flags.plan();
    out.heading("underhood: predict, measure on your own machine, quote the number")?;
    let machine = ready::machine(&plan, out)?;
    let store = ready::store(common)?;
    let place = Workplace { run: &flags, plan: &plan, machine: &machine, store: &store };
    let stops = stops(labs);
    let (mut worst, mut said) = (Outcome::Quotable, None);
    for (i, (lab, step)) in stops.iter().enumerate() {
        out.heading(format!("{} of {}: {}", i + 1, stops.len(), lab.question))?;
        ready::try_keeping(&store, lab, out);
        let outcome = stop(&place, lab, step, out)?;
        if outcome == Outcome::Quotable {
            said = Some((*lab, *step));
        }
        worst = worst.max(outcome);
    }
    out.so_far = if worst == Outcome::Failed { worst } else { Outcome::Quotable };
    out.heading("where to go from here")?;
    // Of what was just measured, if any of it may be quoted.
    let last = said.or(stops.last().copied()).map_or("lock_rwlock", |(lab, _)| lab.stem);
    out.say("  cargo run --release -- list                          the labs and their questions")?;
    out.say("  cargo run --release -- next                          step through the next unfinished lab")?;
    out.say(format!(
        "  cargo run --release -- quote {last:<23} the sentence to say, when it is not true, and why"
    ))?;
    out.say(format!(
        "  cargo run --release -- run {:<25} ten launches: a narrower interval",
        format!("{last} --full")
    ))?;
    out.say("  cargo bench labs                                     the same cases under criterion")?;
    Ok(out.so_far)
}

/// One step of each of our labs; of another crate's labs every step that wants to be in a tour.
fn stops(labs: &[&'static Lab]) -> Vec<(&'static Lab, &'static Step)> {
    let toured = |lab: &&'static Lab| {
        let lab = *lab;
        lab.steps.iter().filter(|s| s.tour).map(move |step| (lab, step))
    };
    let ours = OURS.iter().filter_map(|stem| toured(labs.iter().find(|l| l.stem == *stem)?).next());
    let ours: Vec<_> = ours.collect();
    if ours.is_empty() { labs.iter().flat_map(toured).collect() } else { ours }
}

/// A question, a prediction, one picture, the verdicts, why, the sentence.
fn stop(
    place: &Workplace<'_>,
    lab: &'static Lab,
    step: &'static Step,
    out: &mut Out,
) -> Result<Outcome, End> {
    out.prose("", step.ask)?;
    if let Some(why) = place.refusal(step) {
        out.prose(
            "",
            &format!("This machine can't show it now: {why}. Later: {}", lab.command_for(step.name)),
        )?;
        out.json(&serde_json::json!({ "lab": lab.stem, "step": step.name, "refused": why }))?;
        tell::from_the_notes(lab, Some(step), out)?;
        return Ok(Outcome::Unfit);
    }
    let guess = step::predict(place.run, lab, step, out)?;
    let Measured { records, whole, kept } = place.measure(lab, step, Partial::Keep, out)?;
    for record in &records {
        out.json(record)?;
    }
    if !whole {
        kept?;
        return Err(End::Interrupted);
    }
    if let Some(mut guess) = guess {
        guess.run.clone_from(&records[0].run);
        place.store.predict(&guess)?;
        step::reveal(step, &guess, &records, out)?;
    }
    // One picture, of the parameter that was asked about.
    let (_, param) = guess::asked(step);
    let asked: Vec<Record> = records.iter().filter(|r| r.param == param).cloned().collect();
    out.text(&show::picture::picture(lab, step, &asked, None, out.look))?;
    let findings = judge::judge(lab, step, &records);
    for f in findings.iter().take(MOST) {
        let verdict = match f.verdict {
            Verdict::Held => "  yes        ",
            Verdict::Refuted => "  no         ",
            Verdict::NotShown => "  not shown  ",
        };
        let numbers = f.numbers.map(|n| format!(": {}", number::value(f.value, n.mid))).unwrap_or_default();
        // Who sees the number asks why it shows nothing.
        let why = Some(&f.why).filter(|_| f.verdict == Verdict::NotShown).map(|why| format!(" ({why})"));
        let why = why.unwrap_or_default();
        out.prose(verdict, &format!("{}{numbers}{why}", f.claim.trim_end_matches('.')))?;
    }
    let why = judge::explain(lab, step, &records);
    let shown = why.iter().filter(|r| r.support == Support::Measured).chain(&why).take(MOST);
    let mut told: Vec<&str> = Vec::new();
    shown.for_each(|r| {
        if !told.contains(&r.text) {
            told.push(r.text)
        }
    });
    out.prose("Why: ", &told.join(" "))?;
    match show::quote::best_aloud(lab, &records) {
        Ok((text, not)) => {
            out.prose("Say: ", &format!("\"{text}\""))?;
            out.prose("Not true when ", not)?;
        }
        Err(why) => {
            out.prose("Say: ", &format!("nothing: {why}"))?;
            tell::from_the_notes(lab, Some(step), out)?;
        }
    }
    kept?;
    Ok(outcome(step, &records))
}

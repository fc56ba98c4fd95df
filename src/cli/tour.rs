//! The tour: a question, a number, the sentence to say, in about a minute.
use super::{
    Outcome,
    args::{Common, Run},
    out::{End, Out},
    ready,
    run::Workplace,
    tell,
};
use crate::{lab::Lab, show};

/// Runs the tour's steps in quick mode. Its exit code is about the program, not the machine: a machine that can't show something
/// is told so, and the tour goes on.
pub(super) fn tour(labs: &[&'static Lab], common: &Common, out: &mut Out) -> Result<Outcome, End> {
    let flags = Run { quick: true, step: out.can_ask(), ..Run::default() };
    let plan = flags.plan();
    out.heading("underhood: predict, measure on your own machine, quote the number")?;
    let machine = ready::machine(&plan, out)?;
    out.text(&show::check::grades(&machine))?;
    let store = ready::store(common)?;
    let place = Workplace { run: &flags, plan: &plan, machine: &machine, store: &store };
    let mut worst = Outcome::Quotable;
    for &lab in labs.iter().filter(|l| l.steps.iter().any(|s| s.tour)) {
        out.heading(lab.question)?;
        ready::try_keeping(&store, lab, out);
        for step in lab.steps.iter().filter(|s| s.tour) {
            worst = worst.max(place.step(lab, step, out)?);
        }
        tell::quote(lab, true, common, out)?;
    }
    out.heading("where to go from here")?;
    out.say("  cargo run --release -- list                       the labs and their questions")?;
    out.say(
        "  cargo run --release -- quote lock_rwlock          the sentence with all that a sceptic asks for",
    )?;
    out.say("  cargo run --release -- next                       step by step: predict, run, see, understand; and on where you left")?;
    out.say("  cargo run --release -- run lock_rwlock --full     ten launches: a number for a sceptic")?;
    out.say("  cargo bench labs                                  the same cases under criterion")?;
    Ok(if worst == Outcome::Failed { worst } else { Outcome::Quotable })
}

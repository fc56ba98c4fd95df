//! Flags in, exit code out. Only this room prints.
//!
//! | exit code | meaning |
//! |---|---|
//! | 0 | done; every number that was asked for may be quoted |
//! | 1 | failed |
//! | 2 | usage: unknown lab, flag or value |
//! | 3 | measured, but not quotable; the text and `--json` say why |
//! | 4 | refused: the machine is unfit for it |
//! | 130 | interrupted with Ctrl-C |
mod args;
mod between;
mod calibrate;
mod export;
mod new_lab;
mod out;
mod progress;
mod quiz;
mod ready;
mod report;
mod run;
mod soak;
mod step;
mod tell;
mod tour;
#[cfg(feature = "labs")]
mod trace;
mod verify;

use std::{
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use clap::Parser;

use self::{
    args::{Command, Top},
    out::{End, Out},
};
use crate::{lab::Lab, measure::launch};

/// Set by Ctrl-C; whoever measures looks at it between children, and ends them.
static STOP: AtomicBool = AtomicBool::new(false);
/// Set while somebody is asked something: then there is nothing to end and nothing to keep.
static ASKING: AtomicBool = AtomicBool::new(false);

/// How well a command ended; the worst of several decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Quotable,
    NotQuotable,
    Unfit,
    Failed,
}

impl Outcome {
    fn code(self) -> ExitCode {
        ExitCode::from(match self {
            Self::Quotable => 0,
            Self::Failed => 1,
            Self::NotQuotable => 3,
            Self::Unfit => 4,
        })
    }
}

/// A program with these labs and every command: run, step, quote, verify, report. `underhood` itself is one.
pub fn main(labs: Vec<Lab>) -> ExitCode {
    // They live as long as the program.
    let labs: Vec<&'static Lab> = Vec::leak(labs).iter().collect();
    let labs = labs.as_slice();
    let mut known = labs.to_vec();
    known.push(&calibrate::LAB);
    if let Some(code) = launch::child(&known) {
        return code;
    }
    let top = args::parse(labs);
    let mut out = Out::new(&top.common);
    ended(dispatch(&top, labs, &mut out), &mut out)
}

/// The program of one lab.
pub fn lab_main(lab: fn() -> Lab) -> ExitCode {
    let lab: &'static Lab = Box::leak(Box::new(lab()));
    if let Some(code) = launch::child(&[lab]) {
        return code;
    }
    let own = args::Single::parse();
    let mut out = Out::new(&own.common);
    let done = interruptible().and_then(|()| run::lab(lab, &own.run, &own.common, &mut out));
    ended(done, &mut out)
}

/// The program of a lab whose cases can be traced: the same, and `--trace FILE`.
#[cfg(feature = "labs")]
pub fn traced_lab_main(lab: fn() -> Lab, tracer: crate::measure::trace::Tracer) -> ExitCode {
    let lab: &'static Lab = Box::leak(Box::new(lab()));
    if let Some(code) = launch::child(&[lab]) {
        return code;
    }
    let args::Traced { own, trace } = args::Traced::parse();
    let mut out = Out::new(&own.common);
    let done = interruptible().and_then(|()| match &trace {
        Some(file) => trace::trace(lab, tracer, &own, file, &mut out),
        None => run::lab(lab, &own.run, &own.common, &mut out),
    });
    ended(done, &mut out)
}

fn dispatch(top: &Top, labs: &[&'static Lab], out: &mut Out) -> Result<Outcome, End> {
    let common = &top.common;
    let find =
        |stem: &str| labs.iter().copied().find(|l| l.stem == stem).expect("clap admits known labs only");
    interruptible()?;
    match &top.command {
        None => tour::tour(labs, common, out),
        Some(Command::Tour) => tour::tour(labs, common, out),
        Some(Command::Check { calibrate: false }) => tell::check(common, out),
        Some(Command::Check { calibrate: true }) => calibrate::calibrate(out),
        Some(Command::List) => progress::list(labs, common, out),
        Some(Command::Next { run }) => progress::next(labs, run, common, out),
        Some(Command::Quiz { labs: stems, count, seed }) => {
            let asked: Vec<&'static Lab> = stems.iter().map(|stem| find(stem)).collect();
            quiz::quiz(if asked.is_empty() { labs } else { &asked }, *count, *seed, common, out)
        }
        Some(Command::NewLab { name, dir }) => new_lab::new_lab(name, dir, labs, out),
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut args::command(labs), "underhood", &mut text);
            out.raw(&text)
        }
        Some(Command::Man) => {
            let mut text = Vec::new();
            clap_mangen::Man::new(args::command(labs)).render(&mut text)?;
            out.raw(&text)
        }
        Some(Command::Compare { a, b, anyway }) => between::compare(labs, [a, b], *anyway, out),
        Some(Command::Export { labs: stems, form, output }) => {
            let only: Vec<&'static Lab> = stems.iter().map(|stem| find(stem)).collect();
            export::export(if only.is_empty() { labs } else { &only }, form, output.as_deref(), common, out)
        }
        Some(Command::Run { labs: stems, run }) => {
            let mut worst = Outcome::Quotable;
            for stem in stems {
                worst = worst.max(run::lab(find(stem), run, common, out)?);
            }
            Ok(worst)
        }
        Some(Command::Soak { labs: stems, time, sessions, run }) => {
            let only: Vec<&'static Lab> = stems.iter().map(|stem| find(stem)).collect();
            let count = usize::try_from(*sessions).expect("clap bounds it");
            soak::soak(if only.is_empty() { labs } else { &only }, *time, count, run, common, out)
        }
        Some(Command::Show { lab }) => tell::show(find(lab), common, out),
        Some(Command::Quote { lab }) => tell::quote(find(lab), false, common, out),
        Some(Command::Verify { id }) => verify::verify(id, labs, common, out),
        Some(Command::Report { labs: stems, output }) => {
            let only: Vec<&'static Lab> = stems.iter().map(|stem| find(stem)).collect();
            report::report(labs, &only, output.clone(), common, out)
        }
        Some(Command::Notes { check, file, records }) => {
            tell::notes(labs, *check, file, records, common, out)
        }
    }
}

/// From here on Ctrl-C ends children, keeps records and exits with 130.
fn interruptible() -> Result<(), End> {
    ctrlc::set_handler(|| {
        // The second time means it; and a prompt would wait for Enter.
        if STOP.swap(true, Relaxed) || ASKING.load(Relaxed) {
            std::process::exit(130);
        }
    })
    .map_err(|e| End::Failed(format!("cannot listen for Ctrl-C: {e}")))
}

fn ended(done: Result<Outcome, End>, out: &mut Out) -> ExitCode {
    match done {
        Ok(outcome) => outcome.code(),
        // Whoever reads us has had enough: that is no failure, and everything measured is in the store.
        Err(End::Closed) => ExitCode::SUCCESS,
        Err(End::Interrupted) => {
            out.progress_end();
            out.warn("interrupted; the records so far are in the store");
            ExitCode::from(130)
        }
        Err(End::Usage(why)) => {
            out.warn(&why);
            ExitCode::from(2)
        }
        Err(End::Failed(why)) => {
            out.warn(&why);
            ExitCode::FAILURE
        }
    }
}

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
//!
//! Where nobody reads stdout any more the code is that of the outcome so far; if something is left to do, it failed.
mod args;
mod benchmarks;
mod between;
mod calibrate;
mod export;
mod find;
mod interrupt;
mod new_lab;
mod out;
mod progress;
mod quiz;
mod ready;
mod report;
mod run;
pub mod shape;
mod soak;
mod step;
mod suite;
mod tell;
mod tour;
#[cfg(feature = "labs")]
mod trace;
mod verify;

use std::process::ExitCode;

use clap::CommandFactory;

use self::{
    args::{Command, Top},
    interrupt::STOP,
    out::{End, Out},
};
use crate::{lab::Lab, measure::launch, record::Store};

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
    known.extend(shape::handed(labs));
    if let Some(code) = launch::child(&known) {
        return code;
    }
    let dir = ready::folder(args::store_named());
    let tried = dir.map(|dir| shape::stored(&Store::open(dir), labs)).unwrap_or_default();
    let top = args::parse(labs, &tried);
    let mut out = Out::new(&top.common);
    ended(dispatch(&top, labs, &tried, &mut out), &mut out)
}

/// The program of one lab.
pub fn lab_main(lab: fn() -> Lab) -> ExitCode {
    let lab: &'static Lab = Box::leak(Box::new(lab()));
    if let Some(code) = launch::child(&[lab]) {
        return code;
    }
    let own: args::Single = args::read(args::Single::command());
    let mut out = Out::new(&own.common);
    let done = interrupt::listen().and_then(|()| run::lab(lab, &own.run, &own.common, &mut out));
    ended(done, &mut out)
}

/// The program of a lab whose cases can be traced: the same, and `--trace FILE`.
#[cfg(feature = "labs")]
pub fn traced_lab_main(lab: fn() -> Lab, tracer: crate::measure::trace::Tracer) -> ExitCode {
    let lab: &'static Lab = Box::leak(Box::new(lab()));
    if let Some(code) = launch::child(&[lab]) {
        return code;
    }
    let args::Traced { own, trace } = args::read(args::Traced::command());
    let mut out = Out::new(&own.common);
    let done = interrupt::listen().and_then(|()| match &trace {
        Some(file) => trace::trace(lab, tracer, &own, file, &mut out),
        None => run::lab(lab, &own.run, &own.common, &mut out),
    });
    ended(done, &mut out)
}

fn dispatch(top: &Top, labs: &[&'static Lab], tried: &[&'static Lab], out: &mut Out) -> Result<Outcome, End> {
    let common = &top.common;
    // What only tells, or measures a record again, knows the shapes of the store too.
    let told: Vec<&'static Lab> = labs.iter().chain(tried).copied().collect();
    let find =
        |stem: &str| told.iter().copied().find(|l| l.stem == stem).expect("clap admits known labs only");
    interrupt::listen()?;
    match &top.command {
        None | Some(Command::Tour) => tour::tour(labs, common, out),
        Some(Command::Check { calibrate: false }) => tell::check(common, out),
        Some(Command::Check { calibrate: true }) => calibrate::calibrate(labs, common, out),
        Some(Command::List) => progress::list(labs, common, out),
        Some(Command::Find { words }) => find::find(words, labs, common, out),
        Some(Command::Next { run }) => progress::next(labs, run, common, out),
        Some(Command::Quiz { labs: stems, count, seed }) => {
            let asked: Vec<&'static Lab> = stems.iter().map(|stem| find(stem)).collect();
            quiz::quiz(if asked.is_empty() { labs } else { &asked }, *count, *seed, common, out)
        }
        Some(Command::NewLab { name, dir }) => new_lab::new_lab(name, dir, labs, out),
        Some(Command::Completions { shell }) => {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut args::command(labs, &[]), "underhood", &mut text);
            out.raw(&text)
        }
        Some(Command::Man) => {
            let mut text = Vec::new();
            clap_mangen::Man::new(args::command(labs, &[])).render(&mut text)?;
            out.raw(&text)
        }
        Some(Command::Compare { a, b, anyway }) => {
            let stores = [Store::open(a), Store::open(b)];
            let mut both: Vec<&'static Lab> = labs.to_vec();
            for lab in stores.iter().flat_map(|store| shape::stored(store, labs)) {
                if both.iter().all(|l| l.stem != lab.stem) {
                    both.push(lab);
                }
            }
            between::compare(&both, [a, b], *anyway, out)
        }
        Some(Command::Export { labs: stems, form, output }) => {
            let only: Vec<&'static Lab> = stems.iter().map(|stem| find(stem)).collect();
            export::export(if only.is_empty() { &told } else { &only }, form, output.as_deref(), common, out)
        }
        Some(Command::Audit(flags)) => benchmarks::audit(flags, out),
        Some(Command::Litmus(flags)) => suite::litmus(flags, out),
        Some(Command::Run { labs: stems, run }) => {
            let mut worst = Outcome::Quotable;
            for (i, stem) in stems.iter().enumerate() {
                out.more_labs = stems.len() - i - 1;
                worst = worst.max(run::lab(find(stem), run, common, out)?);
                out.before = worst;
            }
            Ok(worst)
        }
        Some(Command::Try { flags }) => shape::try_it(flags, labs, common, out),
        Some(Command::Soak { labs: stems, time, sessions, run }) => {
            let only: Vec<&'static Lab> = stems.iter().map(|stem| find(stem)).collect();
            let count = usize::try_from(*sessions).expect("clap bounds it");
            soak::soak(if only.is_empty() { labs } else { &only }, *time, count, run, common, out)
        }
        Some(Command::Show { lab }) => tell::show(find(lab), common, out),
        Some(Command::Quote { lab }) => tell::quote(find(lab), common, true, out),
        Some(Command::Verify { id }) => verify::verify(id, &told, common, out),
        Some(Command::Report { labs: stems, output }) => {
            let only: Vec<&'static Lab> = stems.iter().map(|stem| find(stem)).collect();
            report::report(&told, &only, output.clone(), common, out)
        }
        Some(Command::Notes { check, file, records }) => {
            tell::notes(labs, *check, file, records, common, out)
        }
    }
}

fn ended(done: Result<Outcome, End>, out: &mut Out) -> ExitCode {
    match done {
        // What could not be read was named; the answer is then a part of what was asked for.
        Ok(outcome) if out.unread => outcome.max(Outcome::Failed).code(),
        Ok(outcome) => outcome.code(),
        // Somebody was asked, and left: that is no failure, and everything measured is in the store.
        Err(End::Left) => ExitCode::SUCCESS,
        Err(End::Closed) => {
            if out.so_far == Outcome::Failed {
                out.warn("nobody reads the output any more, so what was left to do is not done");
            }
            if out.unread { Outcome::Failed.code() } else { out.so_far.code() }
        }
        Err(End::Interrupted) => {
            out.warn(&interrupt::words());
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

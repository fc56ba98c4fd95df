//! # underhood
//! A workbench for concurrency and memory internals: predict, measure on your own machine, quote the number.
//!
//! ## Your own lab
//! Everything that a crate with a lab of its own needs is in [`prelude`]. `tests/outside/` is such a crate: it measures its own lock beside
//! std's and parking_lot's. Depend on `underhood` without default features to build none of our labs and contenders.
//!
//! ## Your own benchmark
//! [`evidence::Recorder`] goes into a benchmark of yours, and `underhood audit` names the flaws that it then shows.
//!
//! ## Map of the house
//! | room | what is there | may import |
//! |---|---|---|
//! | [`structures`] | what we write by hand: locks, lock-free structures, reclamation, futures, limits | nothing else of this crate |
//! | [`stats`] | intervals, ratios, laws: pure functions | nothing |
//! | [`words`] | numbers with units, names made harmless: pure functions | `stats` |
//! | [`lab`](mod@lab) | what a lab is: steps, contenders, parameters, claims, mechanisms; the plan and the sample | `stats` |
//! | [`machine`] | what this machine is, and what it is fit to show | `lab`, `stats` |
//! | [`measure`] | the ways to measure, one file each, named after what they measure | `machine` and above |
//! | [`litmus`] | litmus tests from files: what the models allow, what this CPU shows | `measure` and above |
//! | [`heap`] | the managed heap on MMTk (feature `gc`) | `measure` and above, `structures` |
//! | [`contenders`] | real things under common traits, and the checks an adapter must pass | `measure` and above, `structures` |
//! | [`experiments`] | what single labs do with them beyond the general ways to measure | `contenders`, `heap` and above |
//! | [`record`] | the one serialised type, and the store | `machine` and above |
//! | [`evidence`] | what a benchmark of the reader left behind, and the flaws that it shows | `stats`, `words`, `measure`, `record` |
//! | [`judge`] | verdicts, doubts, comparisons, guesses against results | `record` and above |
//! | [`show`] | renderers: terminal, notes, export, report | `judge` and above |
//! | [`cli`] | flags, the tour, the stepping terminal; only this room prints | everything |
//!
//! ## The path of a number
//! flags → [`lab::plan::Plan`] → measure → [`lab::sample::Sample`] (a launch) → [`record::Record`] (a run) → [`judge`] → [`show`].
//! Forward only: `measure` never prints, `stats` never reads a clock, `show` never measures, a lab never formats.
/// What a crate with a lab of its own needs: describe the lab, name the contenders, choose how to measure, make a program of it.
///
/// [`lab!`](crate::lab!) makes the lab, [`Step`](prelude::Step) its steps, [`lock`](prelude::lock()) a contender of a type that is
/// [`Guarded`](prelude::Guarded), and [`main`](prelude::main) the program: stepping, records, quotes, report.
pub mod prelude {
    pub use crate::{
        cli::{lab_main, main, shape::subject::contend},
        contenders::{
            lock::{self, Guarded, Lock, lock},
            measured::{Measured, MeasuredGuard, write_trace},
        },
        lab::{
            Bound, Check, Contender, Evidence, Kind, Lab, Launch, ONCE, Param, Point, Step, Timed, at,
            at_least, at_most, between, bytes, count, exactly, ns, pick, plan::Plan, ratio, sample::Sample,
            share, shown_by, source,
        },
        machine::plan_here,
        measure::{acquire, cost, handover, throughput},
    };
}

pub mod cli;
pub mod contenders;
pub mod evidence;
#[cfg(feature = "labs")]
pub mod experiments;
#[cfg(feature = "gc")]
pub mod heap;
pub mod judge;
pub mod lab;
pub mod litmus;
pub mod machine;
pub mod measure;
pub mod record;
pub mod show;
pub mod stats;
pub mod structures;
pub mod words;

//! # underhood
//! A workbench for concurrency and memory internals: predict, measure on your own machine, quote the number.
//!
//! ## Map of the house
//! | room | what is there |
//! |---|---|
//! | [`lab`] | what a lab is: question, steps, cases, claims. Plain data |
//! | [`plan`], [`sample`] | what goes into a measurement, and what one launch gives back |
//! | [`engine`] | the ways to measure: race, watch; and the launches (child processes) |
//! | [`machine`] | what this machine is, and what it is fit to show |
//! | [`stats`], [`judge`], [`doubts`] | intervals, ratios; claims against records; why a number may not be quoted |
//! | [`record`] | the one serialised type and its store |
//! | [`show`] | pure renderers: table, quote, notes |
//! | [`cli`] | flags, the tour, the stepping terminal |
//! | [`sync`] | the std face of atomics and cells; `tests/model/sync.rs` is the loom face |
//! | [`lock`] | hand-written locks, one structure a file |
//! | [`lockfree`] | hand-written lock-free structures, one structure a file |
//!
//! ## The path of a number
//! flags → [`plan::Plan`] → engine → [`sample::Sample`] (a launch) → [`record::Record`] (a run) → [`judge`] → [`show`].
//! Forward only: the engine never prints, stats never reads a clock, show never measures, a lab never formats.
pub mod cli;
pub mod doubts;
pub mod engine;
pub mod judge;
pub mod lab;
pub mod lock;
pub mod lockfree;
pub mod machine;
pub mod plan;
pub mod record;
pub mod rivals;
pub mod sample;
pub mod show;
pub mod stats;
pub mod sync;

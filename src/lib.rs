//! # underhood
//! A workbench for concurrency and memory internals: predict, measure on your own machine, quote the number.
//!
//! ## Map of the house
//! | room | what is there |
//! |---|---|
//! | [`cli`] | flags, the tour, the stepping terminal; only this room prints |
//! | [`show`] | pure renderers: table, quote, notes |
//! | [`judge`], [`doubts`] | claims against records; why a number may not be quoted |
//! | [`between`] | two stores side by side |
//! | [`guess`] | a reader's guess against the result, and how well guesses do over time |
//! | [`engine`] | the ways to measure: race, watch; and the launches (child processes) |
//! | [`memory`] | blocks of memory: who pays for one, and who else waits |
//! | [`record`] | the one serialised type and its store |
//! | [`machine`] | what this machine is, and what it is fit to show |
//! | [`rivals`] | the contenders under our traits, and the checks an adapter must pass |
//! | [`lock`] | hand-written locks, one structure a file |
//! | [`flow`] | hand-written limits: of rates, of requests in flight; one structure a file |
//! | [`sync`] | the std face of atomics and cells; `tests/model/sync.rs` is the loom face |
//! | [`task`] | futures by hand, and a small executor |
//! | [`lab`], [`plan`], [`sample`], [`stats`], [`scaling`] | what a lab is; what goes into a measurement, and what one launch gives back; intervals; the law of scalability |
//! | [`lockfree`] | hand-written lock-free structures, one structure a file |
//! | [`reclaim`] | when a node may be freed that others may be reading: epochs, hazard pointers, never |
//!
//! ## The path of a number
//! flags → [`plan::Plan`] → engine → [`sample::Sample`] (a launch) → [`record::Record`] (a run) → [`judge`] → [`show`].
//! Forward only: the engine never prints, stats never reads a clock, show never measures, a lab never formats.
pub mod between;
pub mod cli;
pub mod doubts;
pub mod engine;
pub mod flow;
pub mod guess;
pub mod judge;
pub mod lab;
pub mod lock;
pub mod lockfree;
pub mod machine;
#[cfg(feature = "gc")]
pub mod managed;
pub mod memory;
pub mod plan;
pub mod reclaim;
pub mod record;
pub mod rivals;
pub mod sample;
pub mod scaling;
pub mod show;
pub mod stats;
pub mod sync;
pub mod task;

//! Hand-written locks, one structure a file.
//!
//! Each file tells its idea, its states, its memory-ordering edges (E1, E2, ...) and its limits, then the code. The
//! scenarios that put it to the proof have the same name, under `tests/model/scenarios/`. A ladder, where each rung adds one
//! idea; [`guard`] is the part they share.

pub mod condvar;
pub mod event;
pub mod guard;
pub mod handoff;
pub mod mcs;
pub mod mutex;
pub mod rwlock;
pub mod rwlock_fair;
pub mod rwlock_sharded;
pub mod semaphore;
pub mod seqlock;
pub mod tas;
pub mod ticket;
pub mod ttas;

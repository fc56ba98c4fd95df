//! Hand-written lock-free structures, one structure a file.
//!
//! | structure | what it is | progress |
//! |---|---|---|
//! | [`ring`] | bounded queue, one producer and one consumer | wait-free |
//! | [`mpmc`] | bounded queue, any number of both | blocking in disguise: a thread stopped between claim and publication stops its slot |
//! | [`stack`] | unbounded, last in, first out | lock-free, as far as the allocator is |
//! | [`queue`] | unbounded, first in, first out | lock-free, as far as the allocator is |
//! | [`deque`] | bounded: one owner takes the newest, thieves take the oldest | owner wait-free, thieves lock-free |
//! | [`snapshot`] | one value that many read and few replace | readers wait-free (epoch) or lock-free (hazard) |
//! | [`counter`] | three ways to count | wait-free, lock-free, wait-free |
//!
//! [`stack`], [`queue`] and [`snapshot`] free nodes that other threads may be reading, and take any of the schemes in
//! [`crate::structures::reclaim`] for it.
//!
//! Each file tells its idea, its states, its memory-ordering edges (E1, E2, ...), its progress guarantee and its limits, then the
//! code. **Wait-free**: every operation ends after a bounded number of its own steps. **Lock-free**: some operation ends,
//! whoever is stopped; one thread may lose for ever. **Obstruction-free**: an operation ends if it runs alone. Neither word
//! says anything of speed.

pub mod counter;
pub mod deque;
pub mod mpmc;
pub mod queue;
pub mod ring;
pub mod snapshot;
pub mod stack;

/// A value on cache lines of its own. 128 bytes and not 64: x86 fetches lines in pairs, and some ARM cores have such lines.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

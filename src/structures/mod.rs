//! What we write by hand: locks, lock-free structures, reclamation, futures, limits. One structure a file.
//!
//! Nothing here imports any other room of this crate. So the tests can include these files a second time, on top of another
//! [`sync`]: loom's, or one that pauses at random.
//!
//! | room | what is there |
//! |---|---|
//! | [`sync`] | atomics, cells, futex: the std face; `tests/model/sync.rs` is the loom face |
//! | [`lock`] | mutexes, reader-writer locks, semaphores, a sequence lock, an event |
//! | [`lockfree`] | counters, rings, queues, a stack, a work-stealing deque, a snapshot |
//! | [`reclaim`] | when a node may be freed that others may be reading: epochs, hazard pointers, never |
//! | [`task`] | futures by hand, and a small executor |
//! | [`safepoint`] | how all mutators of a managed heap are stopped and started |
//! | [`alloc`] | an arena, a pool, a small `malloc` |
//! | [`flow`] | limits of rates, and of requests in flight |
pub mod alloc;
pub mod flow;
pub mod lock;
pub mod lockfree;
pub mod reclaim;
pub mod safepoint;
pub mod sync;
pub mod task;

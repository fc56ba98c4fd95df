//! The contenders, each under one small trait, so that every one of them does the same work; and the checks that an adapter must pass
//! before it is timed. A wrong adapter must not get a number: the best-known Rust lock benchmark took a write lock for "read" for nine years.
pub mod alloc;
pub mod arrivals;
pub mod bag;
pub mod collections;
pub mod copied;
pub mod counter;
pub mod gate;
pub mod limiter;
pub mod limiter_cases;
pub mod limiter_keyed;
pub mod list;
pub mod lock;
pub mod map;
pub mod map_mix;
pub mod pipe;
pub mod published;
pub mod semaphore;
pub mod setting;
pub mod task_lock;
pub mod treiber;

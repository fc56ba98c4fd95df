//! The contenders, each under one small trait, so that every one of them does the same work; and the checks that an adapter must pass
//! before it is timed. A wrong adapter must not get a number: the best-known Rust lock benchmark took a write lock for "read" for nine years.
pub mod alloc;
pub mod arrivals;
pub mod cancel;
pub mod collections;
pub mod counter;
pub mod deadlock;
pub mod fair;
pub mod flood;
pub mod flow;
pub mod flow_cases;
pub mod flow_keyed;
pub mod held;
pub mod injection;
pub mod list;
pub mod lock;
pub mod map;
pub mod sizes;
pub mod starve;
pub mod task_lock;
pub mod traps;
pub mod twins;
pub mod wakes;

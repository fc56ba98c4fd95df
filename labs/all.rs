//! The table of contents: every lab, in the order in which a reader should meet them. Included by the program, the benches and the tests.
#[path = "alloc_first_touch.rs"]
mod alloc_first_touch;
#[path = "async_starvation.rs"]
mod async_starvation;
#[path = "flow_rate_limit.rs"]
mod flow_rate_limit;
#[path = "lock_rwlock.rs"]
mod lock_rwlock;

/// The labs.
pub(crate) const LABS: &[&underhood::lab::Lab] =
    &[&lock_rwlock::LAB, &async_starvation::LAB, &flow_rate_limit::LAB, &alloc_first_touch::LAB];

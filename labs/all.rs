//! The table of contents: every lab, in the order in which a reader should meet them. Included by the program, the benches and the tests.
#[path = "alloc_first_touch.rs"]
mod alloc_first_touch;
#[path = "async_cancel.rs"]
mod async_cancel;
#[path = "async_cures.rs"]
mod async_cures;
#[path = "async_deadlock.rs"]
mod async_deadlock;
#[path = "async_injection.rs"]
mod async_injection;
#[path = "async_locks.rs"]
mod async_locks;
#[path = "async_starvation.rs"]
mod async_starvation;
#[path = "async_state_machine.rs"]
mod async_state_machine;
#[path = "async_timeout.rs"]
mod async_timeout;
#[path = "cache_line.rs"]
mod cache_line;
#[path = "cache_scaling.rs"]
mod cache_scaling;
#[path = "collections_cost.rs"]
mod collections_cost;
#[path = "collections_worst.rs"]
mod collections_worst;
#[path = "flow_rate_limit.rs"]
mod flow_rate_limit;
#[path = "lock_audit.rs"]
mod lock_audit;
#[path = "lock_deadlock.rs"]
mod lock_deadlock;
#[path = "lock_mutex.rs"]
mod lock_mutex;
#[path = "lock_rwlock.rs"]
mod lock_rwlock;

/// The labs.
pub(crate) const LABS: &[&underhood::lab::Lab] = &[
    &lock_mutex::LAB,
    &lock_rwlock::LAB,
    &lock_deadlock::LAB,
    &lock_audit::LAB,
    &cache_line::LAB,
    &cache_scaling::LAB,
    &async_state_machine::LAB,
    &async_cancel::LAB,
    &async_starvation::LAB,
    &async_cures::LAB,
    &async_deadlock::LAB,
    &async_timeout::LAB,
    &async_locks::LAB,
    &async_injection::LAB,
    &flow_rate_limit::LAB,
    &collections_cost::LAB,
    &collections_worst::LAB,
    &alloc_first_touch::LAB,
];

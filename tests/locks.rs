//! Locks on real threads, where no model goes: counts at their limits, panics while others wait, who may cross threads.
#[path = "locks/limits.rs"]
mod limits;
#[path = "locks/timeouts.rs"]
mod timeouts;

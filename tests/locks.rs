//! Locks on real threads, where no model goes: counts at their limits, panics while others wait, who may cross threads.
#[path = "locks/bounds.rs"]
mod bounds;
#[path = "locks/limits.rs"]
mod limits;
#[path = "locks/order.rs"]
mod order;
#[path = "locks/panics.rs"]
mod panics;
#[path = "locks/timeouts.rs"]
mod timeouts;

//! Locks on real threads, where no model goes: counts at their limits, panics while others wait, who may cross threads.
mod bounds;
mod limits;
mod order;
mod panics;
mod timeouts;

//! The ways to measure. Nothing here prints; every way returns [`crate::sample::Sample`]s for one launch.
//!
//! - [`solo`]: the cost of an operation on one thread, paired and interleaved (`race`, one lane).
//! - [`crowd`]: throughput of lanes that really run at once, in windows cut out of running threads (`race`, many lanes).
//! - [`watch`]: how late a victim was (`watch`): probes, schedules with intended times, histograms.
//! - [`mem`], [`cycle`], [`bystander`], [`victim`], [`delay`], [`latency`]: blocks of memory: who pays, and who else waits.
//! - [`launch`]: several child processes for each step, since one launch can be wrong as a whole.
//! - [`work`]: a hold time in nanoseconds, calibrated on this machine.
//! - [`witness`]: what the kernel says of a thread: CPU time, run-queue delay, switches.
pub mod bystander;
pub mod crowd;
pub mod cycle;
pub mod delay;
mod gang;
pub mod latency;
pub mod launch;
pub mod mem;
pub mod order;
pub mod solo;
pub mod victim;
pub mod watch;
pub mod witness;
pub mod work;

//! The ways to measure. Nothing here prints; every way returns [`crate::lab::sample::Sample`]s for one launch.
//!
//! - [`cost`]: the cost of an operation on one thread, paired and interleaved (`race`, one lane).
//! - [`throughput`]: throughput of lanes that really run at once, in windows cut out of running threads (`race`, many lanes).
//! - [`handover`]: what a hand-over from one thread to another costs.
//! - [`lateness`]: how late a victim was (`watch`): probes, schedules with intended times, histograms.
//! - [`turns`]: a workload as it is, threads that come again and again: how much they do, and how long each waits.
//! - [`worst`]: the worst operation of threads that meet, and the times in which nobody finished any.
//! - [`acquire`]: how long single acquisitions of a lock wait, and who gets them.
//! - [`deadlock`]: whether threads wait for each other for ever, seen from outside, and who waits for whom.
//! - [`halt`], [`progress`]: one thread is stopped wherever it is, and whether the others go on.
//! - [`trace`]: who did what and when on a tokio runtime, for a picture.
//! - [`audit`]: what is wrong with a benchmark, found in what it measured.
//! - [`launch`]: several child processes for each step, since one launch can be wrong as a whole.
//! - [`state`]: which of its states the machine is in while something runs.
//! - [`own_core`]: whether a thread has its core to itself.
//! - [`scatter`]: another place in memory for every instance in every launch.
//! - [`limited`]: a case in a process with a limit, which may be killed for it.
//! - [`keys`]: keys for maps, drawn beforehand: uniform, Zipf, one hot key.
//! - [`outcomes`]: programs of a few loads and stores, and which outcomes were seen (`tally`).
//! - [`work`]: a hold time in nanoseconds, calibrated on this machine.
//! - [`witness`]: what the kernel says of a thread: CPU time, run-queue delay, switches.
pub mod acquire;
#[cfg(feature = "labs")]
pub mod allocated;
pub mod audit;
pub mod cost;
pub mod deadlock;
mod gang;
pub mod growth;
pub mod halt;
pub mod handover;
pub mod keys;
pub mod latency;
#[cfg(feature = "labs")]
pub mod lateness;
pub mod launch;
pub mod limited;
pub mod order;
pub mod outcomes;
pub mod own_core;
pub mod progress;
pub mod scatter;
pub mod state;
pub mod throughput;
#[cfg(feature = "labs")]
pub mod trace;
pub mod turns;
pub mod witness;
pub mod work;
pub mod worst;

//! Work for the managed heap: something that lives, something that dies, and a victim that feels the pauses.
//!
//! | file | what is there |
//! |---|---|
//! | [`mod@bench`] | single operations, for criterion |
//! | [`buffer`] | a new one, a pooled one, one in pieces |
//! | [`live`] | objects that stay alive, and the proof that they did |
//! | [`churn`] | garbage made beside them until there were enough collections; what came of it |
//! | [`disturb`] | a victim beside one disturbance at a time |
//! | [`law`] | what a pause is made of: a fit over many sizes of what lives |
//! | [`ledger`] | what each gap of a victim was: stopped, throttled, without a CPU, faults, the rest |
//! | [`reach`] | how long a stop waits for a mutator that is late |
//! | [`sift`] | pauses that tell of the collection, apart from those that tell of whoever had the CPU |
pub mod bench;
pub mod buffer;
pub mod churn;
pub mod disturb;
pub mod law;
pub mod ledger;
pub mod live;
pub mod reach;
pub mod sift;

use std::time::Duration;

/// A collection that takes longer is a hang: far beyond the longest sound pause of a lab, on a loaded machine too.
pub const PATIENCE: Duration = Duration::from_secs(10);

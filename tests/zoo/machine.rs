//! The zoo on one machine. Whoever includes this file has beside it `sync` (a face of `crate::sync`), `plain` (payload words), and
//! `spec` and `check` from `tests/linear/`.

use super::{check, plain, spec, sync};

#[path = "bags.rs"]
mod bags;
#[path = "faults.rs"]
pub mod faults;
#[path = "guards.rs"]
mod guards;
#[path = "round.rs"]
pub mod round;

//! What this machine is, and what it is fit to show.
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::lab::Kind;

/// Facts, measured fitness and grades of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// What it is; an unknown fact says "unknown".
    pub facts: BTreeMap<String, String>,
    /// What was measured of it; names carry units as in [`crate::sample::Sample`]. Empty until examined.
    pub fitness: BTreeMap<String, f64>,
    /// What it is fit for. Empty until examined.
    pub grades: BTreeMap<Kind, Grade>,
}

/// How fit the machine is for one kind of measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grade {
    /// The grade.
    pub level: Level,
    /// Why, in a clause, with the numbers.
    pub reason: String,
}

/// From best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Numbers may be quoted.
    Fit,
    /// Numbers may be quoted together with the reason.
    Fair,
    /// Numbers may not be quoted.
    Unfit,
}

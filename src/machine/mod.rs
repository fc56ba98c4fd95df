//! What this machine is, and what it is fit to show.
//!
//! | file | what is there |
//! |---|---|
//! | [`facts`] | what the system says of itself, read from files under a root, so that tests can bring a recorded root |
//! | [`cgroup`] | the CPU and memory limits of a container, v1, v2 or both |
//! | [`group`] | a control group of our own: made, counted, removed, also after a crash |
//! | [`code`] | which code was measured: a key for each lab |
//! | [`built`] | what only the build knows: compiler, profile, revision, versions of the contenders |
//! | [`pin`] | which CPUs are allowed, and how a thread stays on one |
//! | [`probe`] | what is measured, in which order; the clock, and whether CPUs really run at once |
//! | [`late`] | how late an idle thread is |
//! | [`core_to_core`] | what it costs to hand a cache line to another core |
//! | [`sched`] | what the scheduler says of a thread: run-queue delay |
//! | [`during`] | who else used the CPUs while something ran |
//! | [`grade`] | numbers in, grades out: the thresholds and their reasons |
//!
//! Facts and measured numbers are kept apart, and grades are a pure function of both, so that a grade can be computed
//! again from a record of another machine.
pub mod built;
pub mod cgroup;
pub mod code;
pub mod core_to_core;
pub mod during;
pub mod facts;
pub mod grade;
pub mod group;
pub mod late;
pub mod memory;
pub mod pin;
pub mod probe;
pub mod sched;

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    during::Watchful,
    grade::grades,
    pin::{allowed_cpus, pin_current_thread},
};
use crate::lab::{
    Kind,
    plan::{Mode, Plan},
};

/// Facts, measured fitness and grades of the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// What it is; an unknown fact says "unknown".
    pub facts: BTreeMap<String, String>,
    /// What was measured of it; names carry units as in [`crate::lab::sample::Sample`]. Empty until examined.
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

/// The default plan on the CPUs that this process may use: what a criterion bench runs with.
pub fn plan_here() -> Plan {
    Plan::new(Mode::Default, allowed_cpus())
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

impl Machine {
    /// The facts, in a few milliseconds. Never fails: what cannot be read is "unknown". Ask before the calling thread is
    /// pinned, since a pinned thread is allowed one CPU only.
    pub fn read() -> Self {
        let mut facts = facts::facts(Path::new("/"));
        facts::ask_live(&mut facts);
        facts.extend(built::facts());
        Self { facts, ..Self::default() }
    }

    /// Measures what the machine is fit to show, fills `fitness` and `grades`, and takes about `budget` for it (3 s give
    /// grades to rely on; with much less, numbers that need many samples are absent and the grades say so). `progress` is
    /// told in a clause what is done next. The calling thread is not pinned by it.
    pub fn examine(&mut self, budget: Duration, progress: &mut dyn FnMut(&str)) {
        self.fitness = probe::fitness(&allowed_cpus(), budget, progress);
        self.grades = grades(&self.facts, &self.fitness);
    }
}

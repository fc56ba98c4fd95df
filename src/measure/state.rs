//! Which state the machine is in: what it costs, just now, to hand a cache line between the CPUs that are used.
//!
//! The host of a virtual machine moves its virtual CPUs, within seconds: on one kind of guest the hand-off is 40 ns or 170 ns, and what
//! contenders do differs by up to five times between the two. A mean over both is a number of no machine. So whoever measures on several CPUs
//! looks between its windows, keeps those of the state in which it was most of the time, and says which that was. The look decides, never the
//! result.
use std::time::Duration;

use crate::{
    lab::{Kind, plan::Plan, sample::Sample},
    machine::core_to_core::handoff_ns,
    stats,
};

/// Long enough for a median of a dozen batches where CPUs are far.
const LOOK: Duration = Duration::from_micros(1_500);
/// Two looks are at different states if they differ by at least this factor: within a state they agree to a fifth.
const APART: f64 = 1.7;

/// Looks at the machine between windows.
#[derive(Debug)]
pub struct States {
    cpus: Option<(usize, usize)>,
    seen: Vec<Option<f64>>,
}

impl States {
    /// On the plan's first two CPUs. With one there is one state, and looks cost nothing.
    pub fn new(plan: &Plan) -> Self {
        let cpus = match plan.cpus[..] {
            [a, b, ..] if plan.threads > 1 => Some((a, b)),
            _ => None,
        };
        Self { cpus, seen: Vec::new() }
    }

    /// Looks now. What is measured until the next look belongs to this one; returns its number.
    pub fn look(&mut self) -> usize {
        self.saw(self.cpus.and_then(|(a, b)| handoff_ns(a, b, LOOK)))
    }

    /// The same, where the hand-off was measured by other means; `None` if it could not be. Returns the look's number.
    pub fn saw(&mut self, handoff_ns: Option<f64>) -> usize {
        self.seen.push(handoff_ns);
        self.seen.len() - 1
    }

    /// The state that this look met.
    pub fn like(&self, look: usize) -> Met {
        let own = self.seen.get(look).copied().flatten();
        let same = |ns: f64, own: f64| (1.0 / APART..APART).contains(&(ns / own));
        let keeps = self.seen.iter().map(|ns| ns.zip(own).is_none_or(|(ns, own)| same(ns, own))).collect();
        Met { handoff_ns: own, keeps }
    }

    /// The state that most looks met; looks that gave nothing belong to every state.
    pub fn most(&self) -> Met {
        let mut known: Vec<f64> = self.seen.iter().flatten().copied().collect();
        known.sort_by(f64::total_cmp);
        let groups = known.chunk_by(|a, b| b / a < APART);
        let most = groups.max_by_key(|g| g.len()).unwrap_or_default();
        let bounds = most.first().copied().zip(most.last().copied());
        let keeps: Vec<bool> = self
            .seen
            .iter()
            .map(|ns| ns.zip(bounds).is_none_or(|(ns, (lo, hi))| (lo..=hi).contains(&ns)))
            .collect();
        Met { handoff_ns: stats::median(most), keeps }
    }
}

/// What a child process met that does not look by itself: one look before it starts and one after it ended, both from outside, so that
/// nothing in the child changes. A hand-off between the two states, if it met both: such a launch belongs to neither.
#[derive(Debug)]
pub struct Around {
    states: States,
}

impl Around {
    /// Looks, where the machine's state can matter to this step.
    pub fn begin(plan: &Plan, kind: Kind) -> Self {
        let matters = matches!(kind, Kind::Contended | Kind::Tail | Kind::Chance);
        let mut states = States::new(plan);
        states.cpus = states.cpus.filter(|_| matters);
        states.look();
        Self { states }
    }

    /// Looks again, and notes it in the samples that don't say what they met.
    pub fn end(mut self, samples: &mut [Sample]) {
        self.states.look();
        let seen: Vec<f64> = self.states.seen.iter().flatten().map(|ns| ns.ln()).collect();
        let met = (!seen.is_empty()).then(|| (seen.iter().sum::<f64>() / seen.len() as f64).exp());
        for sample in samples.iter_mut().filter(|s| s.receipts.handoff_ns.is_none()) {
            sample.receipts.handoff_ns = met;
        }
    }
}

/// The state that a launch is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Met {
    /// Its hand-off, in ns; `None` where nobody could look.
    pub handoff_ns: Option<f64>,
    /// For each look, whether it met this state.
    keeps: Vec<bool>,
}

impl Met {
    /// Whether what was measured after this look counts.
    pub fn keeps(&self, look: usize) -> bool {
        self.keeps.get(look).copied().unwrap_or(true)
    }
    /// The same sample with what it met.
    #[must_use]
    pub fn mark(&self, mut sample: Sample) -> Sample {
        sample.receipts.handoff_ns = self.handoff_ns;
        let others = self.keeps.iter().filter(|k| !**k).count();
        if others > 0 {
            sample.receipts.other_state_share = Some(others as f64 / self.keeps.len() as f64);
        }
        sample
    }
}

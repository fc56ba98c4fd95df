//! What threads do with locks in a workload that is given as data: how many locks, which share reads, how long each is held, and how long
//! a thread stays away. The threads and their windows are [`crate::measure::turns`]' business.
use std::sync::Arc;

use crate::{
    contenders::lock::{Door, Lock},
    measure::{
        order::Order,
        throughput::Apart,
        turns::{Crew, Shifts, Turn},
        work,
    },
};

/// A time that is drawn anew for each operation.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Times {
    /// The same each time, in ns.
    Fixed(f64),
    /// Exponential, with this mean in ns: many short ones, few long ones.
    Exponential(f64),
    /// One of these, in ns, each as likely as another.
    Measured(Vec<f64>),
}

/// So many values stand for a distribution.
pub const DRAWN: usize = 1_024;

impl Times {
    /// The mean, in ns.
    pub fn mean_ns(&self) -> f64 {
        match self {
            Self::Fixed(ns) | Self::Exponential(ns) => *ns,
            Self::Measured(all) => all.iter().sum::<f64>() / all.len().max(1) as f64,
        }
    }
    /// The longest that can be drawn, in ns.
    pub fn longest_ns(&self) -> f64 {
        self.values().into_iter().fold(0.0, f64::max)
    }
    /// The same distribution with this mean.
    #[must_use]
    pub fn with_mean(&self, ns: f64) -> Self {
        match self {
            Self::Fixed(_) => Self::Fixed(ns),
            Self::Exponential(_) => Self::Exponential(ns),
            Self::Measured(all) => {
                let factor = ns / self.mean_ns().max(f64::MIN_POSITIVE);
                Self::Measured(all.iter().map(|v| v * factor).collect())
            }
        }
    }
    /// The values that it is drawn from: of an exponential distribution the middles of equal parts.
    pub fn values(&self) -> Vec<f64> {
        match self {
            Self::Fixed(ns) => vec![*ns],
            Self::Exponential(ns) => {
                let part = |i: usize| (i as f64 + 0.5) / DRAWN as f64;
                (0..DRAWN).map(|i| -(1.0 - part(i)).ln() * ns).collect()
            }
            Self::Measured(all) => all.clone(),
        }
    }
    fn iterations(&self, per: f64) -> Arc<[u32]> {
        self.values().into_iter().map(|ns| work::iterations(ns, per)).collect()
    }
}

/// What each thread does with the locks.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    /// So many locks; each operation takes one of them, drawn anew.
    pub locks: usize,
    /// The share of operations that only read.
    pub reads_share: f64,
    /// How long a lock is held.
    pub hold: Times,
    /// How long a thread stays away before it comes again.
    pub think: Times,
}

impl Workload {
    /// A lock under this workload.
    pub fn crew(&self, lock: &'static Lock) -> Crew {
        let load = self.clone();
        Crew {
            case: AsRef::<crate::lab::Contender>::as_ref(lock).id,
            make: Box::new(move || load.shifts(lock)),
        }
    }

    fn shifts(&self, lock: &'static Lock) -> Shifts {
        // Here, where nobody competes.
        let per = work::ns_per_iteration();
        let doors: Arc<[Door]> = (0..self.locks).map(|_| lock.door()).collect();
        let (holds, thinks) = (self.hold.iterations(per), self.think.iterations(per));
        let reads = threshold(self.reads_share);
        Box::new(move |threads| {
            let lane = |lane: usize| {
                let (doors, holds, thinks) = (doors.clone(), holds.clone(), thinks.clone());
                let mut dice = Order::new(lane as u64 ^ 0x5eed);
                Box::new(Apart(move |entered: &mut dyn FnMut()| {
                    let door = &doors[drawn(&mut dice, doors.len())];
                    let (hold, think) =
                        (holds[drawn(&mut dice, holds.len())], thinks[drawn(&mut dice, thinks.len())]);
                    door(!is_below(dice.next_u64(), reads), &mut || {
                        entered();
                        work::spin(hold);
                    });
                    work::spin(think);
                })) as Turn
            };
            (0..threads).map(lane).collect()
        })
    }
}

/// A share as a bound for a 32-bit draw; all of them is one more than the largest draw.
fn threshold(share: f64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is between 0 and 1")]
    let bound = (share.clamp(0.0, 1.0) * 4_294_967_296.0).round() as u64;
    bound
}

fn is_below(draw: u64, bound: u64) -> bool {
    draw >> 32 < bound
}

/// One of `n`, without a division, which would cost as much as a free lock.
fn drawn(dice: &mut Order, n: usize) -> usize {
    if n < 2 {
        return 0;
    }
    usize::try_from(((dice.next_u64() >> 32) * n as u64) >> 32).unwrap_or(0)
}

//! The fault zoo (`tests/zoo/`) as scenarios: each twin with both oracles.

use super::{Scenario, Structure};
use crate::check::shrink;
use crate::lanes;
use crate::machine::faults::FAULTS;
use crate::machine::round::{Manner, Oracle, round};

/// The oracles by the names of their scenarios.
pub const ORACLES: [(&str, Oracle); 2] = [("conserved", Oracle::Conserved), ("linear", Oracle::Linear)];

macro_rules! zoo {
    ($($at:literal $name:literal $bound:expr,)*) => {
        /// Each twin, and whether it is sound.
        pub const TWINS: &[(Structure, bool)] = &[$(
            (Structure { path: concat!("zoo/", $name, "/sound"), scenarios: zoo!(@ $at, true, $bound) }, true),
            (Structure { path: concat!("zoo/", $name, "/broken"), scenarios: zoo!(@ $at, false, $bound) }, false),
        )*];
    };
    (@ $at:literal, $sound:literal, $bound:expr) => {
        &[
            Scenario {
                name: "conserved",
                oracle: "nothing is lost, nothing comes twice or from nowhere",
                threads: 2,
                bound: $bound,
                run: |_| once($at, $sound, Oracle::Conserved),
            },
            Scenario {
                name: "linear",
                oracle: "an order of the operations explains every answer",
                threads: 2,
                bound: $bound,
                run: |_| once($at, $sound, Oracle::Linear),
            },
        ]
    };
}

zoo! {
    0 "relaxed_unlock" Some(2),
    1 "test_then_set" Some(2),
    2 "announce_without_fence" Some(2),
    3 "aba" Some(2),
    4 "push_without_retry" Some(2),
    5 "torn_read" Some(2),
    6 "ring_off_by_one" Some(2),
    7 "publish_first" Some(2),
    8 "freed_under_reader" Some(2),
    9 "closed_twice" Some(2),
    10 "reader_excludes_readers" Some(2),
    11 "lost_permit" Some(2),
    12 "len_from_two_loads" Some(2),
    13 "check_then_count" Some(2),
    14 "sharded_fifo" Some(2),
}

/// The path of a twin.
pub fn path(fault: usize, sound: bool) -> &'static str {
    TWINS[2 * fault + usize::from(!sound)].0.path
}

fn once(at: usize, sound: bool, oracle: Oracle) {
    let fault = &FAULTS[at];
    let make = if sound { fault.sound } else { fault.broken };
    if let Some(history) = round(fault, make, Manner::modelled(oracle), 0) {
        let times = oracle == Oracle::Linear;
        let drawn = if times { lanes::draw(&shrink(fault.spec, &history)) } else { format!("{history:?}") };
        panic!("{} as {:?}: {oracle:?} objects\n{drawn}", fault.name, fault.spec);
    }
}

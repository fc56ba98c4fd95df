//! Scenarios and zoo on the chaotic face, as one program without any crate, for a sanitizer of a nightly compiler (`.ci/sanitize`):
//! the whole dependency tree need not be built once more for it.
//!
//! ```text
//! program list                    the paths of the structures
//! program structure PATH          its scenarios, some rounds; a panic or a report is a failure
//! program zoo NAME broken|sound   one twin, with plain memory where a program would have it, until it is seen or for a while
//! ```
#![allow(dead_code, unreachable_pub, unused_imports, reason = "the tests' own files, for what is used of them")]

#[path = "../linear/check.rs"]
mod check;
#[path = "../../src/structures/flow/mod.rs"]
mod flow;
#[path = "../linear/lanes.rs"]
mod lanes;
#[path = "../../src/structures/lock/mod.rs"]
mod lock;
#[path = "../../src/structures/lockfree/mod.rs"]
mod lockfree;
#[path = "../zoo/machine.rs"]
mod machine;
#[path = "../model/managed.rs"]
mod managed;
#[path = "../../src/structures/reclaim/mod.rs"]
mod reclaim;
#[path = "../model/scenarios/mod.rs"]
mod scenarios;
#[path = "../linear/spec.rs"]
mod spec;
#[path = "../model/stress.rs"]
mod stress;
#[path = "../chaos/sync.rs"]
mod sync;
#[path = "../../src/structures/task/mod.rs"]
mod task;

/// Plain memory: what the sanitizer looks at. The broken twins do race on it, which no other machine is allowed to do.
mod plain {
    use std::cell::UnsafeCell;

    pub struct Plain(UnsafeCell<u64>);

    // SAFETY: not sound in a broken twin, and that is what the sanitizer is to see; this program is built for it alone.
    unsafe impl Sync for Plain {}

    impl Plain {
        pub fn new(value: u64) -> Self {
            Self(UnsafeCell::new(value))
        }
        pub fn get(&self) -> u64 {
            // SAFETY: the cell is alive; a race is what is being looked for.
            unsafe { *self.0.get() }
        }
        pub fn set(&self, value: u64) {
            // SAFETY: as above.
            unsafe { *self.0.get() = value }
        }
    }
}

/// Where the structures look for each other.
mod structures {
    pub(crate) use crate::{flow, lock, lockfree, reclaim, sync, task};
}

use machine::faults::FAULTS;
use machine::round::{Manner, Oracle, round};
use std::env;

fn main() {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["list"] => scenarios::ALL.iter().for_each(|s| println!("{}", s.path)),
        ["structure", path] => {
            let structure = scenarios::ALL.iter().find(|s| s.path == path).expect("the path of a structure");
            for scenario in structure.scenarios {
                for seed in 1..=5 {
                    if let Err(why) = stress::round(seed, sync::chaos::begin, || (scenario.run)(20)) {
                        panic!("{path}, {}: seed {seed}: {why}", scenario.name);
                    }
                }
            }
        }
        ["zoo", name, twin] => {
            let fault = FAULTS.iter().find(|f| f.name == name).expect("the name of a fault");
            let make = if twin == "broken" { fault.broken } else { fault.sound };
            for seed in 1..=100 {
                sync::chaos::begin(seed);
                // Not the answers: whether the sanitizer objects.
                round(fault, make, Manner::real(Oracle::Conserved), seed);
            }
        }
        _ => panic!("list, or structure PATH, or zoo NAME broken|sound"),
    }
}

//! The zoo's rows of the detection matrix on real threads, as a test.

use super::lanes;
use super::machine::faults::{FAULTS, Fault};
use super::machine::round::{Manner, Oracle, hunt};
use std::time::Duration;

/// Hunts every fault with both oracles. A broken twin that `wanted` says is found has 20,000 rounds to be found in, any other
/// `rounds`; a sound one must get through those without an alarm.
pub fn row(begin: fn(u64), rounds: u64, wanted: fn(&Fault, Oracle) -> Option<bool>) {
    const NEVER_MIND_THE_TIME: Duration = Duration::from_secs(600);
    let mut complaints = Vec::new();
    for fault in FAULTS {
        for oracle in [Oracle::Conserved, Oracle::Linear] {
            let manner = Manner::real(oracle);
            let wanted = wanted(fault, oracle);
            let limit = if wanted == Some(true) { 20_000 } else { rounds };
            let broken = hunt(fault, fault.broken, manner, (limit, NEVER_MIND_THE_TIME), begin);
            let found = broken.found.is_some();
            let word = if found { "found in round" } else { "not found in" };
            println!(
                "{:24} {oracle:?}: {word} {}, after {:.1} ms",
                fault.name,
                broken.rounds,
                broken.took.as_secs_f64() * 1e3
            );
            if wanted.is_some_and(|wanted| wanted != found) {
                complaints.push(format!("{}, {oracle:?}: {word} {}", fault.name, broken.rounds));
            }
            if let Some(alarm) = hunt(fault, fault.sound, manner, (rounds, NEVER_MIND_THE_TIME), begin).found
            {
                let drawn = if oracle == Oracle::Linear { lanes::draw(&alarm) } else { format!("{alarm:?}") };
                complaints.push(format!("{}, {oracle:?}: a false alarm\n{drawn}", fault.name));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

//! Each trap of the gallery is caught by name, the sound benchmark is not accused, and the analysers judge recorded evidence.
use underhood::{
    experiments::traps::TRAPS,
    measure::audit::{Evidence, Flaw, Timed, audit},
};

fn flaws(evidence: &Evidence) -> Vec<Flaw> {
    audit(evidence).into_iter().map(|(flaw, _)| flaw).collect()
}

#[test]
fn every_trap_is_caught_and_named() {
    for trap in &TRAPS {
        let evidence = (trap.run)();
        let found = flaws(&evidence);
        match trap.flaw {
            Some(own) => assert!(found.contains(&own), "{}: {found:?} in {evidence:?}", trap.as_ref().id),
            None => assert!(found.is_empty(), "{}: {found:?} in {evidence:?}", trap.as_ref().id),
        }
    }
}

#[test]
fn the_gallery_has_every_flaw_once() {
    let mut all: Vec<Flaw> = TRAPS.iter().filter_map(|t| t.flaw).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), TRAPS.len() - 1);
    assert_eq!(TRAPS.iter().filter(|t| t.flaw.is_none()).count(), 1);
}

fn timed(clock: (f64, f64), lanes: &[(f64, f64)]) -> Evidence {
    Evidence { timed: vec![Timed { clock, lanes: lanes.to_vec() }], ..Evidence::default() }
}

#[test]
fn no_evidence_accuses_nobody() {
    assert!(audit(&Evidence::default()).is_empty());
    assert!(audit(&timed((0.0, 0.0), &[])).is_empty());
    assert!(audit(&timed((0.0, 100.0), &[(0.0, 100.0)])).is_empty(), "one lane need not overlap");
}

#[test]
fn recorded_clocks_are_judged() {
    assert!(flaws(&timed((0.0, 100.0), &[(2.0, 99.0), (5.0, 97.0)])).is_empty());
    assert_eq!(flaws(&timed((0.0, 100.0), &[(40.0, 70.0), (42.0, 72.0)])), [Flaw::ThreadStartTimed]);
    assert_eq!(flaws(&timed((50.0, 100.0), &[(0.0, 100.0), (0.0, 100.0)])), [Flaw::ClockReadLate]);
    assert_eq!(flaws(&timed((0.0, 100.0), &[(0.0, 50.0), (50.0, 100.0)])), [Flaw::NoOverlap]);
    // Work that was over before the clock was read is late, and not also a slow start.
    assert_eq!(flaws(&timed((90.0, 100.0), &[(0.0, 80.0), (0.0, 80.0)])), [Flaw::ClockReadLate]);
}

#[test]
fn recorded_counts_are_judged() {
    let with = |change: fn(&mut Evidence)| {
        let mut e = Evidence::default();
        change(&mut e);
        flaws(&e)
    };
    assert!(with(|e| e.work_per_op = vec![("a", 100.0), ("b", 100.5)]).is_empty());
    assert_eq!(with(|e| e.work_per_op = vec![("a", 1.0), ("b", 2.0)]), [Flaw::UnequalWork]);
    assert!(with(|e| e.readers_met = Some(true)).is_empty());
    assert_eq!(with(|e| e.readers_met = Some(false)), [Flaw::ExclusiveRead]);
    assert!(with(|e| e.harness_share = Some(0.1)).is_empty());
    assert_eq!(with(|e| e.harness_share = Some(0.9)), [Flaw::HarnessDominates]);
    assert!(with(|e| e.effective = Some((1000, 1000))).is_empty());
    assert_eq!(with(|e| e.effective = Some((1000, 900))), [Flaw::ResultDropped]);
    assert!(with(|e| e.hits = vec![(1, 0.80), (8, 0.81)]).is_empty());
    assert_eq!(with(|e| e.hits = vec![(1, 0.50), (8, 0.25)]), [Flaw::HitsMove]);
    assert!(with(|e| e.keys = Some((500, 1000))).is_empty());
    assert!(with(|e| e.keys = Some((1, 1))).is_empty(), "a map that says it has one key is honest");
    assert_eq!(with(|e| e.keys = Some((1, 1000))), [Flaw::OneKey]);
}

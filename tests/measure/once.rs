//! Values that are made once, additions that get lost, factories that run twice: the checks of contenders, and what is counted. No times.
use std::{
    collections::HashMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
    },
};

use underhood::{
    contenders::once::{self, Factory, MadeOnce, ONCES},
    experiments::raced::{self, Add, GetsOrMakes, MAKERS, lost},
    lab::{
        Contender,
        plan::{Mode, Plan},
        sample::Sample,
    },
    machine::allowed_cpus,
};

fn plan() -> Plan {
    Plan::new(Mode::Smoke, allowed_cpus())
}

fn value(sample: &Sample, name: &str) -> f64 {
    *sample.values.get(name).unwrap_or_else(|| panic!("no {name} in {sample:?}"))
}

#[test]
fn every_contender_passes_its_check() {
    for is in ONCES.iter().map(AsRef::<Contender>::as_ref).chain(MAKERS.iter().map(AsRef::as_ref)) {
        assert_eq!(is.check.map(|check| check()), Some(Ok(())), "{}", is.id);
    }
}

/// A value that is made in a wrong way.
struct Wrong<const HOW: u8> {
    begun: AtomicBool,
    value: AtomicU64,
    factory: Factory,
}
/// Each who finds nothing makes it.
const TWICE: u8 = 0;
/// The second does not wait for the first.
const EARLY: u8 = 1;

impl<const HOW: u8> MadeOnce for Wrong<HOW> {
    const IS: Contender = Contender::new("wrong");
    fn new(factory: Factory) -> Self {
        Self { begun: AtomicBool::new(false), value: AtomicU64::new(0), factory }
    }
    fn get(&self) -> u64 {
        let begun = match HOW {
            EARLY => self.begun.swap(true, AcqRel),
            _ => self.value.load(Acquire) != 0,
        };
        if !begun {
            self.value.store((self.factory)(), Release);
        }
        self.value.load(Acquire)
    }
}

#[test]
fn what_is_made_twice_or_read_too_early_is_caught() {
    let why = once::check::<Wrong<TWICE>>().unwrap_err();
    assert!(why.starts_with("wrong: it was made "), "{why}");
    let why = once::check::<Wrong<EARLY>>().unwrap_err();
    assert!(why.starts_with("wrong: somebody got 0"), "{why}");
}

/// A map that goes wrong in one way.
#[derive(Default)]
struct Broken<const HOW: u8>(Mutex<HashMap<u64, u64>>);
/// The newest value wins.
const FORGETS: u8 = 0;
/// Makes a value although there is one.
const EAGER: u8 = 1;

impl<const HOW: u8> GetsOrMakes for Broken<HOW> {
    const IS: Contender = Contender::new("broken");
    fn get_or_make(&self, key: u64, make: &(dyn Fn() -> u64 + Sync)) -> u64 {
        let mut map = self.0.lock().unwrap();
        let value = make();
        if HOW == FORGETS {
            map.insert(key, value);
        }
        *map.entry(key).or_insert(value)
    }
}

#[test]
fn a_broken_map_is_caught() {
    let why = raced::check::<Broken<FORGETS>>().unwrap_err();
    assert!(why.starts_with("broken: a key does not keep its value"), "{why}");
    let why = raced::check::<Broken<EAGER>>().unwrap_err();
    assert!(why.starts_with("broken: alone, it made 4 values"), "{why}");
}

#[test]
fn what_is_one_step_loses_nothing() {
    for (add, threads) in [(Add::FetchAdd, 2), (Add::Locked, 2), (Add::LoadStore, 1)] {
        match lost(&plan(), add, threads) {
            Ok(sample) => assert!(value(&sample, "lost_share") <= 0.0, "{add:?}: {sample:?}"),
            Err(why) => assert!(allowed_cpus().len() < 2 && threads == 2, "{why}"),
        }
    }
    let one = Plan::new(Mode::Smoke, vec![allowed_cpus()[0]]);
    assert!(lost(&one, Add::LoadStore, 2).unwrap_err().contains("one CPU"));
}

#[test]
fn single_flight_makes_one_value_for_a_key() {
    for map in &MAKERS {
        let id = AsRef::<Contender>::as_ref(map).id;
        let runs = |threads| value(&map.made(&plan(), threads).unwrap(), "runs_per_key_count");
        assert!((runs(1) - 1.0).abs() < 1e-9, "{id}");
        let crowd = runs(4);
        if id == "look_then_insert" {
            assert!((1.0..=4.0).contains(&crowd), "{crowd}");
        } else {
            assert!((crowd - 1.0).abs() < 1e-9, "{id}: {crowd}");
        }
    }
}

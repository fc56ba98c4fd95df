//! Semaphores as contenders: their checks, who is served before whom, and that nothing hangs. Counts, never a time.
use std::{sync::Mutex, thread};

use underhood::{
    contenders::semaphore::{BARGING, FIFO, Permitted, TOKIO, check},
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

#[test]
fn every_contender_passes() {
    for is in [&FIFO, &BARGING, &TOKIO].map(|s| s.as_ref()) {
        assert_eq!(is.check.map(|check| check()), Some(Ok(())), "{}", is.id);
    }
}

/// A semaphore that goes wrong in one way.
struct Broken<const HOW: u8>(Mutex<u32>);
/// Lets one too many in.
const GENEROUS: u8 = 0;
/// Loses a permit when several are given at once.
const LOSES: u8 = 1;
/// Tries to take what is there, when asked for more.
const GREEDY: u8 = 2;

impl<const HOW: u8> Permitted for Broken<HOW> {
    const IS: Contender = Contender::new("broken");
    const ORDERED: bool = false;
    fn with(permits: u32) -> Self {
        Self(Mutex::new(permits + u32::from(HOW == GENEROUS)))
    }
    fn take(&self, count: u32) {
        while !self.try_take(count) {
            thread::yield_now();
        }
    }
    fn try_take(&self, count: u32) -> bool {
        let mut free = self.0.lock().unwrap();
        let enough = *free >= count;
        if enough || (HOW == GREEDY && count > 2) {
            *free = free.saturating_sub(count);
        }
        enough || (HOW == GREEDY && count > 2)
    }
    fn give(&self, count: u32) {
        let mut free = self.0.lock().unwrap();
        // Loses the last one, so that nobody waits for ever for it.
        let lost = HOW == LOSES && *free + count == 2;
        *free += count - u32::from(lost);
    }
    fn free(&self) -> u32 {
        *self.0.lock().unwrap()
    }
}

#[test]
fn broken_ones_are_caught() {
    for why in [check::<Broken<GENEROUS>>(), check::<Broken<LOSES>>(), check::<Broken<GREEDY>>()] {
        assert!(why.unwrap_err().starts_with("broken: "));
    }
}

fn value(sample: &Sample, name: &str) -> f64 {
    *sample.values.get(name).unwrap_or_else(|| panic!("no {name} in {sample:?}"))
}

#[test]
fn order_of_arrival_blocks_behind_the_head_and_barging_does_not() {
    let served = |sample: Sample| value(&sample, "small_served_share");
    assert!(served(FIFO.head_of_line("")) <= 0.0);
    assert!(served(TOKIO.head_of_line("")) <= 0.0);
    assert!(served(BARGING.head_of_line("")) >= 1.0);
}

#[test]
fn a_large_request_ends_whether_it_was_served_or_not() {
    for sample in [FIFO.starved(&plan(), ""), TOKIO.starved(&plan(), ""), BARGING.starved(&plan(), "")] {
        let share = value(&sample, "large_served_share");
        assert!((0.0..=1.0).contains(&share), "{sample:?}");
    }
}

#[test]
fn permits_travel_and_items_pass() {
    for asleep in [false, true] {
        let seen = [&FIFO, &BARGING, &TOKIO].map(|s| s.handover(&plan(), "", asleep));
        // A loaded machine may see too few for a percentile, and says so.
        assert!(seen.iter().all(|s| s.unmeasured.is_some() || value(s, "handover_p50_ns") > 0.0), "{seen:?}");
    }
    for (producers, waiters) in [(1, 1), (4, 1), (1, 4), (4, 4)] {
        let seen = [&FIFO, &BARGING, &TOKIO].map(|s| s.buffer(&plan(), "", producers, waiters));
        assert!(seen.iter().all(|s| s.unmeasured.is_some() || value(s, "ops_per_s") > 0.0), "{seen:?}");
    }
}

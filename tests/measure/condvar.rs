//! Condition variables and blocking queues as contenders: their checks, and what is counted of them. Counts, never a time.
use std::{
    collections::VecDeque,
    sync::{Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use underhood::{
    contenders::{
        blocking::{self, QUEUES, Waits},
        condvar::{self, Ours, ParkingLot, Signals, Std},
    },
    experiments::woken::{Moment, Notify, OURS, PL013, STD, Why},
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
fn every_condition_variable_passes() {
    assert_eq!(condvar::check::<Std>(), Ok(()));
    assert_eq!(condvar::check::<ParkingLot>(), Ok(()));
    assert_eq!(condvar::check::<Ours>(), Ok(()));
}

/// A condition variable that goes wrong in one way.
struct Wrong<const HOW: u8>;
/// Never says that the time was over.
const ENDLESS: u8 = 0;
/// Its notification for one wakes nobody.
const DEAF: u8 = 1;
/// Its notification for all wakes one.
const STINGY: u8 = 2;
/// Keeps the mutex while it waits.
const HOLDS: u8 = 3;

impl<const HOW: u8> Signals for Wrong<HOW> {
    const IS: Contender = Contender::new("wrong");
    type Mutex<T: Send + 'static> = Mutex<T>;
    type Guard<'a, T: Send + 'static> = MutexGuard<'a, T>;
    type Condvar = Condvar;
    fn mutex<T: Send + 'static>(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
    fn lock<T: Send + 'static>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap()
    }
    fn wait<'a, T: Send + 'static>(at: &Condvar, guard: Self::Guard<'a, T>) -> Self::Guard<'a, T> {
        at.wait(guard).unwrap()
    }
    fn wait_for<'a, T: Send + 'static>(
        at: &Condvar,
        guard: Self::Guard<'a, T>,
        time: Duration,
    ) -> (Self::Guard<'a, T>, bool) {
        if HOW == HOLDS {
            thread::sleep(time);
            return (guard, true);
        }
        let (guard, end) = at.wait_timeout(guard, time).unwrap();
        (guard, end.timed_out() && HOW != ENDLESS)
    }
    fn notify_one(at: &Condvar) {
        if HOW != DEAF {
            at.notify_one();
        }
    }
    fn notify_all(at: &Condvar) {
        if HOW == STINGY { at.notify_one() } else { at.notify_all() }
    }
}

#[test]
fn a_broken_condition_variable_is_caught() {
    for (why, what) in [
        (condvar::check::<Wrong<ENDLESS>>(), "time was over"),
        (condvar::check::<Wrong<DEAF>>(), "wakes nobody"),
        (condvar::check::<Wrong<STINGY>>(), "leaves somebody asleep"),
        (condvar::check::<Wrong<HOLDS>>(), "let go of the mutex"),
    ] {
        let why = why.unwrap_err();
        assert!(why.starts_with("wrong: ") && why.contains(what), "{why}");
    }
}

#[test]
fn every_queue_passes_and_loses_nothing() {
    for queue in &QUEUES {
        let is = queue.as_ref();
        assert_eq!(is.check.map(|check| check()), Some(Ok(())), "{}", is.id);
        for (putters, takers) in [(1, 1), (2, 2), (3, 1)] {
            // A loaded machine may see nothing pass in so short a time; what went in and did not come out would be another sentence.
            match queue.passes(&plan(), putters, takers) {
                Ok(sample) => assert!(value(&sample, "ops_per_s") > 0.0),
                Err(why) => assert!(why.starts_with("nothing went through"), "{}: {why}", is.id),
            }
        }
    }
}

/// A queue that goes wrong in one way.
struct Broken<const HOW: u8> {
    queue: Mutex<VecDeque<u64>>,
    changed: Condvar,
    places: usize,
}
/// Never full.
const ROOMY: u8 = 0;
/// Gives the newest first.
const TURNED: u8 = 1;
/// Forgets a value.
const LOSES: u8 = 2;
/// Gives a value twice, in place of another one.
const TWICE: u8 = 3;

impl<const HOW: u8> Waits for Broken<HOW> {
    const IS: Contender = Contender::new("broken");
    fn with_room(places: usize) -> Self {
        Self { queue: Mutex::default(), changed: Condvar::new(), places }
    }
    fn put(&self, value: u64) {
        let full = |q: &mut VecDeque<u64>| q.len() == self.places && HOW != ROOMY;
        let mut queue = self.changed.wait_while(self.queue.lock().unwrap(), full).unwrap();
        match (HOW, value) {
            (LOSES, 6) => {}
            // Larger than what one thread alone puts and takes in the check.
            (TWICE, 100) => queue.push_back(99),
            _ => queue.push_back(value),
        }
        self.changed.notify_all();
    }
    fn take(&self) -> u64 {
        let mut queue = self
            .changed
            .wait_while(self.queue.lock().unwrap(), |q: &mut VecDeque<u64>| q.is_empty())
            .unwrap();
        let value = if HOW == TURNED { queue.pop_back() } else { queue.pop_front() };
        self.changed.notify_all();
        value.unwrap()
    }
}

#[test]
fn a_broken_queue_is_caught() {
    for (why, what) in [
        (blocking::check::<Broken<ROOMY>>(), "made for 4"),
        (blocking::check::<Broken<TURNED>>(), "where 0 was next"),
        (blocking::check::<Broken<LOSES>>(), "where 6 was next"),
        (blocking::check::<Broken<TWICE>>(), "other values"),
    ] {
        let why = why.unwrap_err();
        assert!(why.starts_with("broken: ") && why.contains(what), "{why}");
    }
}

#[test]
fn notify_all_wakes_more_than_one_for_an_item() {
    for condition in [&STD, &PL013, &OURS] {
        let wasted = |waiters, notify| {
            let sample = condition.herd(&plan(), waiters, notify).unwrap();
            value(&sample, "wasted_per_op_count")
        };
        // The first item finds all of them asleep.
        assert!(wasted(4, Notify::All) > 0.0, "{}", condition.is.id);
        // It may be on its way to sleep when a notification comes for an item that it has taken already.
        assert!(wasted(1, Notify::All) < 1.0, "{}", condition.is.id);
    }
}

#[test]
fn a_loop_never_takes_from_an_empty_queue() {
    for condition in [&STD, &PL013, &OURS] {
        for why in [Why::Stolen, Why::Quiet] {
            let sample = condition.emptied(&plan(), true, why).unwrap();
            assert!(value(&sample, "empty_share") <= 0.0, "{} {why:?}", condition.is.id);
        }
        let share = value(&condition.emptied(&plan(), false, Why::Stolen).unwrap(), "empty_share");
        assert!((0.0..=1.0).contains(&share), "{share}");
    }
}

#[test]
fn what_needs_two_cpus_says_so() {
    let one = Plan::new(Mode::Smoke, vec![allowed_cpus()[0]]);
    let moment = Moment { under: false, held: Duration::ZERO };
    assert!(STD.handed(&one, moment).unwrap_err().contains("two CPUs"));
    assert!(STD.missed(&one, true, Duration::ZERO).unwrap_err().contains("one CPU"));
}

#[test]
fn with_the_mutex_no_notification_is_lost() {
    if allowed_cpus().len() < 2 {
        return;
    }
    for condition in [&STD, &PL013, &OURS] {
        let sample = condition.missed(&plan(), true, Duration::from_micros(1)).unwrap();
        assert!(value(&sample, "lost_share") <= 0.0, "{}: {sample:?}", condition.is.id);
    }
}

//! Who waits for whom: the cycle is found in what was noted, and nothing but a cycle is called a deadlock.
use std::{
    sync::{Mutex, RwLock},
    thread,
    time::Duration,
};

use underhood::measure::deadlock::{
    Mode::{self, *},
    Request, Seen,
    State::{self, *},
    cycle, role, waits, watch, words,
};

fn noted(who: usize, lock: &'static str, mode: Mode, state: State) -> Request {
    Request { who, lock, mode, state }
}

/// The threads of the cycle, in order.
fn knot(requests: &[Request]) -> Vec<usize> {
    cycle(&waits(requests)).iter().map(|w| w.who).collect()
}

#[test]
fn a_cycle_is_found_and_told() {
    let opposite = [
        noted(0, "left", Exclusive, Holds),
        noted(1, "right", Exclusive, Holds),
        noted(1, "left", Exclusive, Wants),
        noted(0, "right", Exclusive, Wants),
    ];
    assert_eq!(knot(&opposite), [0, 1]);
    assert_eq!(
        words(&["a", "b"], &cycle(&waits(&opposite))),
        "a wants right alone and waits for b, which holds it; b wants left alone and waits for a, which holds it"
    );
    let twice = [noted(0, "x", Exclusive, Holds), noted(0, "x", Exclusive, Wants)];
    assert_eq!(knot(&twice), [0]);
    let three = [
        noted(0, "a", Exclusive, Holds),
        noted(1, "b", Exclusive, Holds),
        noted(2, "c", Shared, Holds),
        noted(3, "a", Exclusive, Wants),
        noted(0, "b", Shared, Wants),
        noted(1, "c", Exclusive, Wants),
        noted(2, "a", Shared, Wants),
    ];
    assert_eq!(knot(&three), [0, 1, 2], "and the bystander 3 is not in it");
}

#[test]
fn a_reader_waits_for_the_writer_that_asked_before_it() {
    let read_twice =
        [noted(0, "x", Shared, Holds), noted(1, "x", Exclusive, Wants), noted(0, "x", Shared, Wants)];
    assert_eq!(knot(&read_twice), [0, 1]);
    // The second reader is another thread: it waits, but for somebody who will be served.
    let other_reader =
        [noted(0, "x", Shared, Holds), noted(1, "x", Exclusive, Wants), noted(2, "x", Shared, Wants)];
    assert_eq!(waits(&other_reader).len(), 2);
    assert!(knot(&other_reader).is_empty());
}

#[test]
fn what_is_given_back_or_shared_holds_nobody_up() {
    let gone = [noted(0, "x", Exclusive, Gone), noted(0, "x", Exclusive, Wants)];
    assert!(waits(&gone).is_empty());
    let shared = [noted(0, "x", Shared, Holds), noted(1, "x", Shared, Wants)];
    assert!(waits(&shared).is_empty());
    assert!(cycle(&[]).is_empty());
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn threads_in_a_deadlock_are_seen_from_outside() {
    let (left, right): (&'static Mutex<()>, &'static Mutex<()>) =
        (Box::leak(Box::default()), Box::leak(Box::default()));
    let one = |me: &'static str,
               other,
               mine: &'static Mutex<()>,
               theirs: &'static Mutex<()>,
               names: [&'static str; 2]| {
        role(me, move |a| {
            let _mine = a.take(names[0], Exclusive, || mine.lock().unwrap());
            a.until_had(other, names[1]);
            let _theirs = a.take(names[1], Exclusive, || theirs.lock().unwrap());
        })
    };
    let roles = vec![one("a", "b", left, right, ["l", "r"]), one("b", "a", right, left, ["r", "l"])];
    let (names, seen) = watch(roles, PATIENCE);
    assert_eq!(names, ["a", "b"]);
    let Seen::Deadlocked { cycle } = seen else { panic!("{seen:?}") };
    assert_eq!(cycle.iter().map(|w| (w.who, w.whom)).collect::<Vec<_>>(), [(0, 1), (1, 0)]);
}

#[test]
fn a_slow_holder_is_no_deadlock() {
    let lock: &'static RwLock<()> = Box::leak(Box::default());
    let roles = vec![
        role("slow", move |a| {
            let _held = a.take("x", Exclusive, || lock.write().unwrap());
            a.until_waits("waiting", "x");
            // All sleep, and longer than the watcher needs to call it.
            thread::sleep(Duration::from_millis(300));
        }),
        role("waiting", move |a| {
            a.until_had("slow", "x");
            let _held = a.take("x", Shared, || lock.read().unwrap());
        }),
    ];
    assert_eq!(watch(roles, PATIENCE).1, Seen::Finished);
}

#[test]
fn a_panic_and_a_standstill_without_a_cycle_are_unclear() {
    let panics = vec![role("p", |_| panic!("on purpose"))];
    assert!(matches!(watch(panics, PATIENCE).1, Seen::Unclear(why) if why.contains("p panicked")));
    let sleeps = vec![role("s", |_| thread::sleep(Duration::from_secs(5)))];
    let seen = watch(sleeps, Duration::from_millis(300)).1;
    assert!(matches!(&seen, Seen::Unclear(why) if why.contains("no cycle")), "{seen:?}");
    let vain = vec![role("v", |a| a.until_had("nobody", "x"))];
    let seen = watch(vain, Duration::from_millis(50)).1;
    assert!(matches!(&seen, Seen::Unclear(_)), "{seen:?}");
}

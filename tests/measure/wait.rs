//! Who gets a lock, and how long the others wait: counts and shapes, never a time.
use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use underhood::{
    contenders::lock::{Lock, STD_MUTEX, TTAS},
    lab::{
        at,
        plan::{Mode, Plan},
    },
    machine::allowed_cpus,
    measure::acquire::{Enter, Hold, Queue, acquire, wait},
};

fn enter(lock: &Lock) -> Enter {
    (lock.acquire().1)()
}

fn plan() -> Plan {
    Plan::new(Mode::Smoke, allowed_cpus())
}

fn queue(threads: usize, ms: u64) -> Queue {
    let hold = Hold::Asleep(Duration::from_micros(200));
    Queue { threads, hold, think_ns: 0.0, sample_every: 1, time: Duration::from_millis(ms) }
}

#[test]
fn a_lock_that_goes_round_is_seen_to_be_fair() {
    // A ticket of its own for each entry, served in order.
    let (next, now, hall) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(()));
    let round: Enter = Box::new(move |inside| {
        let mine = next.fetch_add(1, Relaxed);
        while now.load(Relaxed) != mine {
            thread::yield_now();
        }
        let _guard = hall.lock().unwrap();
        inside();
        now.store(mine + 1, Relaxed);
    });
    let seen = wait(&plan(), queue(3, 100), round);
    let s = seen.sample("round", "");
    // Those who wait when the time is over are no acquisition within it, but their wait is one.
    let counted = seen.counts.iter().sum::<u64>();
    assert!((counted..=counted + 3).contains(&seen.waits.len()), "every wait was sampled: {seen:?}");
    assert!(s.values["jain_share"] > 0.9, "{s:?}");
    assert!(s.values["min_max_share"] > 0.5 && s.values["mean_run_count"] < 1.5, "{s:?}");
}

#[test]
fn a_lock_that_favours_one_thread_is_seen_to_be_unfair() {
    // Whoever came first keeps the door shut for the others, mostly.
    let (first, hall) = (Mutex::new(None), Mutex::new(()));
    let favours: Enter = Box::new(move |inside| {
        let me = thread::current().id();
        let favourite = *first.lock().unwrap().get_or_insert(me) == me;
        if !favourite {
            thread::sleep(Duration::from_millis(20));
        }
        let _guard = hall.lock().unwrap();
        inside();
    });
    let seen = wait(&plan(), queue(3, 150), favours);
    let s = seen.sample("favours", "");
    assert!(s.values["jain_share"] < 0.8, "{s:?}");
    assert!(s.values["longest_run_count"] >= 5.0 && s.values["mean_run_count"] > 1.5, "{s:?}");
    assert!(seen.longest_run <= seen.counts.iter().copied().max().unwrap());
}

#[test]
fn one_thread_alone_is_one_run() {
    let seen = wait(&plan(), queue(1, 30), enter(&STD_MUTEX));
    assert_eq!((seen.longest_run, seen.runs), (seen.counts[0], 1));
    let s = seen.sample("alone", "p");
    assert!((s.values["jain_share"] - 1.0).abs() < 1e-9 && s.unmeasured.is_none());
    assert_eq!(s.param, "p");
}

#[test]
fn what_waiting_costs_is_seen_where_the_system_tells() {
    let spins = wait(&plan(), queue(2, 60), enter(&TTAS)).sample("spins", "");
    let sleeps = wait(&plan(), queue(2, 60), enter(&STD_MUTEX)).sample("sleeps", "");
    match (spins.values.get("cpu_per_op_ns"), sleeps.values.get("cpu_per_op_ns")) {
        (Some(spins), Some(sleeps)) => assert!(*spins > 0.0 && *sleeps > 0.0),
        (None, None) => {} // a system that does not tell
        other => panic!("the system tells it of one and not of the other: {other:?}"),
    }
}

#[test]
fn a_queue_that_cannot_be_here_is_a_reason() {
    let places = [at("here", true), at("elsewhere", false)];
    let samples = acquire(&plan(), &places, [STD_MUTEX.acquire()], |is_here| {
        if *is_here { Ok(queue(2, 20)) } else { Err("there is no such place".into()) }
    });
    assert_eq!(samples.len(), 4, "a row and its twin at each parameter");
    for s in &samples {
        assert_eq!(s.unmeasured.is_some(), s.param == "elsewhere", "{s:?}");
    }
    assert_eq!(samples.iter().filter(|s| s.case == underhood::lab::sample::AA).count(), 2);
}

#[test]
fn percentiles_need_samples() {
    let few = wait(&plan(), Queue { sample_every: u64::MAX, ..queue(2, 30) }, enter(&STD_MUTEX));
    assert!(few.waits.len() <= 2);
    let s = few.sample("few", "");
    assert!(!s.values.contains_key("wait_p50_ns") && !s.values.contains_key("wait_p99_ns"), "{s:?}");
}

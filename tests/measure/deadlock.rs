//! Hung, detected, released: outcomes, never times. And the detector on made-up looks.
use std::{
    collections::BTreeMap,
    path::Path,
    time::{Duration, Instant},
};

use underhood::{
    experiments::{
        hang::{BLOCKED, MUTEX_BLOCK_ON, Trial, scenes, trial},
        observe::{PROBES, Probe, probed},
    },
    lab::{Contender, Setting},
    measure::lateness::{KEEP_ALIVE, Look, SchedTimes, ThreadSeen, Verdict, compare},
};

/// Long enough for a sound scene to end on a busy machine; one that ends is not waited for.
const SETTLE: Duration = Duration::from_millis(600);
const WINDOW: Duration = Duration::from_millis(150);

fn play(name: &str, workers: usize) -> Trial {
    let scene = scenes().find(|s| s.is.id == name).unwrap_or_else(|| panic!("no scene {name}"));
    let trial = trial(scene, workers, SETTLE, WINDOW).expect("a runtime");
    assert!(trial.released, "{name} with {workers} workers: the rescue did not set it free: {trial:?}");
    assert!(trial.shut_down, "{name} with {workers} workers: threads were left behind: {trial:?}");
    trial
}

fn kernel_tells() -> bool {
    Path::new("/proc/thread-self/schedstat").exists()
}

/// Plays a scene and checks whether it hung, and the verdict.
fn expect(name: &str, workers: usize, hung: bool, verdict: Verdict) {
    let trial = play(name, workers);
    assert_eq!(trial.hung, hung, "{name} with {workers} workers: {trial:?}");
    if kernel_tells() {
        assert_eq!(trial.seen.verdict, verdict, "{name} with {workers} workers: {trial:?}");
    }
}

/// On the tokio of Cargo.lock. 1.51.0, 1.51.1, 1.52.0 and 1.52.1 let others steal from the LIFO slot, and there two workers are enough.
#[test]
fn the_riddle_hangs_beside_an_idle_worker() {
    for workers in [1, 2, 4, 8] {
        expect("blocked", workers, true, Verdict::Blocked);
    }
    let trial = play("blocked", 8);
    assert_eq!((trial.seen.stuck_workers, trial.seen.parked_workers), (1, 7), "{trial:?}");
    expect("blocked_after_spawn", 1, true, Verdict::Blocked);
}

#[test]
fn the_cures_cure() {
    let cures = [
        ("blocked_after_spawn", 2),
        ("blocked_after_spawn", 8),
        ("awaited", 1),
        ("in_place", 1),
        ("in_place", 2),
        ("in_pool", 1),
        ("pool_of_eight", 2),
        ("mutex_released", 2),
        ("loser_dropped", 2),
    ];
    for (name, workers) in cures {
        let trial = play(name, workers);
        assert!(!trial.hung && !trial.alarm(), "{name} with {workers} workers: {trial:?}");
    }
}

#[test]
fn other_deadlocks_are_detected_and_one_is_not() {
    expect("pool_cycle", 2, true, Verdict::Blocked);
    expect("mutex_block_on", 1, true, Verdict::Blocked);
    expect("mutex_block_on", 8, true, Verdict::Blocked);
    expect("futurelock", 2, true, Verdict::Waiting);
    assert!(play("futurelock", 2).miss(), "to a passive detector it looks like a server at night");
}

/// Why the futurelock is missed: in no field does it differ from a program that is sound. A rule over these fields that calls somebody for
/// the one would call somebody for the other.
#[test]
fn from_outside_a_futurelock_is_a_task_that_waits_for_a_message() {
    let [locked, waits] = ["futurelock", "waits_outside"].map(|name| play(name, 2));
    assert!(locked.hung && !waits.hung, "{locked:?} {waits:?}");
    assert_eq!(locked.seen, waits.seen, "the one field that differs would be the detector's rule");
}

/// On this tokio. A watchdog that pings cures the one hang and leaves the other alone; whoever reads counters changes neither.
#[test]
fn a_ping_unwedges_the_driver_and_not_the_lifo_slot() {
    for Setting { is: Contender { id: name, .. }, value: probe } in PROBES {
        for (scene, is_driver) in [(MUTEX_BLOCK_ON, true), (BLOCKED, false)] {
            let id = scene.is.id;
            let [period, settle] = [5, 100].map(Duration::from_millis);
            // A hang is waited for in full; what ends, ends long before.
            let patience = Duration::from_millis(1500);
            let went = probed(&scene, 4, probe, period, settle, patience).expect("a runtime");
            assert!(went.released, "{id} under {name}: {went:?}");
            let freed = is_driver && matches!(probe, Probe::Wake | Probe::Ping);
            // A timer probe may have been due together with the scene's, and have kept the driver alive: that is luck.
            if probe != Probe::Timer {
                assert_eq!(went.hung, !freed, "{id} under {name}");
            }
        }
    }
}

#[test]
fn what_only_looks_like_it_is_told_apart() {
    expect("computes", 2, false, Verdict::CpuBound);
    expect("waits_outside", 2, false, Verdict::Waiting);
    expect("one_long_job", 2, false, if kernel_tells() { Verdict::Waiting } else { Verdict::Idle });
    expect("no_task", 2, false, Verdict::Idle);
    expect("tasks_yield", 2, false, Verdict::Working);
    expect("timer_ticks", 2, false, Verdict::Working);
}

fn thread(on_cpu_ms: u64, runq_ms: u64, state: char) -> ThreadSeen {
    let times = SchedTimes { on_cpu_ns: on_cpu_ms * 1_000_000, runq_ns: runq_ms * 1_000_000 };
    ThreadSeen { times, state, wchan: if state == 'R' { "0".into() } else { "futex_do_wait".into() } }
}

/// Two looks, 100 ms apart: the counters of the workers and the threads, before and after.
fn looks(
    workers: [&[(u64, u64)]; 2],
    threads: Option<[&[(&str, ThreadSeen)]; 2]>,
    alive_tasks: usize,
) -> [Look; 2] {
    let start = Instant::now();
    [0, 1].map(|i| Look {
        at: start + Duration::from_millis(100 * i as u64),
        workers: workers[i].to_vec(),
        alive_tasks,
        threads: threads.as_ref().map(|t| t[i].iter().map(|(id, t)| (id.to_string(), t.clone())).collect()),
    })
}

#[test]
fn verdicts() {
    let verdict = |[a, b]: [Look; 2], pool| compare(&a, &b, pool).verdict;
    let asleep = thread(5, 0, 'S');
    let two = [("1", asleep.clone()), ("2", asleep.clone())];
    let still: [&[(&str, ThreadSeen)]; 2] = [&two; 2];
    let stuck: &[(u64, u64)] = &[(4, 9), (3, 9)];
    let parked: &[(u64, u64)] = &[(5, 9), (3, 9)];
    assert_eq!(verdict(looks([stuck, stuck], Some(still), 2), 4), Verdict::Blocked);
    assert_eq!(verdict(looks([stuck, stuck], None, 2), 4), Verdict::Stuck);
    assert_eq!(verdict(looks([parked, parked], Some(still), 2), 4), Verdict::Waiting);
    assert_eq!(verdict(looks([parked, parked], Some(still), 0), 4), Verdict::Idle);
    // A worker that parked twice, or published busy time, has moved, whatever its parity.
    assert_eq!(verdict(looks([stuck, &[(6, 9), (3, 9)]], Some(still), 2), 4), Verdict::Working);
    assert_eq!(verdict(looks([stuck, &[(4, 10), (3, 9)]], Some(still), 2), 4), Verdict::Working);
    // On a CPU; waiting for one and booked; waiting all the time, so that nothing is booked yet.
    for now in [thread(95, 0, 'R'), thread(15, 80, 'S'), thread(5, 0, 'R')] {
        let threads: [&[(&str, ThreadSeen)]; 2] = [
            &[("1", thread(5, 0, 'R')), ("2", asleep.clone())],
            &[("1", now.clone()), ("2", asleep.clone())],
        ];
        assert_eq!(verdict(looks([stuck, stuck], Some(threads), 2), 4), Verdict::CpuBound, "{now:?}");
        // Two stuck workers and one thread that runs: the other one is blocked.
        let both: &[(u64, u64)] = &[(4, 9), (2, 9)];
        assert_eq!(verdict(looks([both, both], Some(threads), 2), 4), Verdict::Blocked, "{now:?}");
    }
    // Two workers, and all of two pool threads, or one of two.
    let five: BTreeMap<_, _> = ["1", "2", "3", "4"].map(|id| (id, asleep.clone())).into();
    let four: Vec<_> = five.into_iter().collect();
    assert_eq!(verdict(looks([parked, parked], Some([&four, &four]), 1), 2), Verdict::Blocked);
    assert_eq!(verdict(looks([parked, parked], Some([&four[..3], &four[..3]]), 0), 2), Verdict::Waiting);
    // A thread that came or went meanwhile was not there all the time.
    assert_eq!(verdict(looks([parked, parked], Some([&four, &four[..2]]), 0), 2), Verdict::Idle);
    assert!(WINDOW > KEEP_ALIVE, "else an idle pool thread is taken for an occupied one");
}

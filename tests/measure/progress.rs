//! Threads that are stopped from outside: always released, never a hang; the classes of progress, on made-up and on real contenders; and the
//! times in which nobody finishes anything.
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::Duration,
};

use underhood::{
    contenders::bag,
    lab::plan::{Mode, Plan},
    machine::allowed_cpus,
    measure::{
        allocated,
        halt::halt,
        progress::{Pauses, progress},
        throughput::{Apart, Crowd, Lane},
        witness,
        worst::{common, singles},
    },
    record::AA,
};

fn plan(ms: u64) -> Plan {
    Plan { slice: Duration::from_millis(ms), ..Plan::new(Mode::Quick, allowed_cpus()) }
}

/// A contender whose lanes do this with what they share.
fn crowd(op: fn(&Mutex<u64>)) -> Crowd {
    let make = move |lanes: usize| {
        let shared = Arc::new(Mutex::new(0));
        let lane = |_| {
            let shared = Arc::clone(&shared);
            Box::new(Apart(move |n: u32, _: u32| (0..n).for_each(|_| op(&shared)))) as Lane
        };
        (0..lanes).map(lane).collect()
    };
    Crowd::new("made_up", make)
}

fn compute() {
    (0..2_000).for_each(|_| std::hint::spin_loop());
}

#[test]
fn a_stopped_thread_stands_still_and_is_always_released() {
    if !cfg!(target_os = "linux") {
        assert!(halt(witness::this_thread()).is_err());
        return;
    }
    let (count, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    /// A failed assertion must not leave the worker running.
    struct Stops<'a>(&'a AtomicBool);
    impl Drop for Stops<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    thread::scope(|s| {
        let _at_the_end = Stops(&stop);
        s.spawn(|| {
            tell.send(witness::this_thread()).unwrap();
            while !stop.load(Relaxed) {
                count.fetch_add(1, Relaxed);
            }
        });
        let worker = told.recv().unwrap();
        while count.load(Relaxed) == 0 {
            thread::yield_now(); // it has said hello, and is no longer in the channel
        }
        for _ in 0..50 {
            let stopped = halt(worker).unwrap();
            let before = count.load(Relaxed);
            thread::sleep(Duration::from_millis(1));
            assert_eq!(count.load(Relaxed), before, "it stands still");
            assert_ne!(stopped.in_c_library(), Some(true), "it only counts");
            drop(stopped);
            while count.load(Relaxed) == before {
                thread::yield_now();
            }
        }
    });
    let ended = thread::spawn(witness::this_thread).join().unwrap();
    assert!(halt(ended).is_err(), "a thread that has ended is a reason, not a hang");
}

#[test]
fn who_sleeps_in_the_kernel_is_stopped_and_seen_in_the_c_library() {
    let (tell, told) = mpsc::channel();
    let (wake, woken) = mpsc::channel::<()>();
    let sleeper = thread::spawn(move || {
        tell.send(witness::this_thread()).unwrap();
        woken.recv().is_ok()
    });
    let id = told.recv().unwrap();
    while witness::sleeps(id) == Some(false) {
        thread::yield_now();
    }
    if let Ok(stopped) = halt(id) {
        // A static or an unknown C library cannot be told; another answer would be wrong.
        assert_ne!(stopped.in_c_library(), Some(false));
    }
    wake.send(()).unwrap();
    assert!(sleeper.join().unwrap(), "its wait was not disturbed");
}

#[test]
fn a_lock_halts_the_others_and_its_absence_does_not() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let locked = crowd(|shared| {
        let mut held = shared.lock().unwrap();
        compute();
        *held += 1;
    });
    for others in [1, 2] {
        let seen = until(others, &locked, |seen| seen.halted > 0);
        if seen.inside < 20 {
            continue; // so busy a machine shows nothing
        }
        assert!(seen.class(others).is_some_and(|class| class.contains("stood still")), "{seen:?}");
        let seen = until(others, &crowd(|_| compute()), |seen| seen.inside > 0);
        assert_eq!(seen.halted, 0, "{seen:?}");
        assert!(seen.inside == 0 || seen.class(others).unwrap().contains("as far as seen"), "{seen:?}");
    }
}

/// As often as it takes on a machine that does other things as well, but not for ever.
fn until(others: usize, arm: &Crowd, enough: fn(&Pauses) -> bool) -> Pauses {
    let mut all = Pauses::default();
    for _ in 0..10 {
        let seen = progress(&plan(100), others, arm).unwrap();
        all.inside += seen.inside;
        all.halted += seen.halted;
        all.dropped += seen.dropped;
        if enough(&all) {
            break;
        }
    }
    all
}

#[test]
fn real_contenders_are_what_their_files_say() {
    if !cfg!(target_os = "linux") {
        return;
    }
    // Where the machine is so busy that hardly a pause counts, a halt need not be among them.
    let locked = until(1, &bag::MUTEX_DEQUE.crowd(), |seen| seen.halted > 0);
    assert!(locked.halted > 0 || locked.inside < 300, "a mutex: {locked:?}");
    let disguised = until(1, &bag::MPMC.crowd(), |seen| seen.halted > 0);
    assert!(disguised.halted > 0 || disguised.inside < 1_500, "a bounded queue: {disguised:?}");
    for others in [1, 2] {
        let queue = until(others, &bag::QUEUE_HAZARD.crowd(), |seen| seen.inside > 100);
        assert_eq!(queue.halted, 0, "a lock-free queue: {queue:?}");
        let stack = until(others, &bag::STACK_EPOCH.crowd(), |seen| seen.inside > 100);
        assert_eq!(stack.halted, 0, "a lock-free stack: {stack:?}");
    }
}

#[test]
fn without_enough_stops_inside_nothing_is_said() {
    for inside in [0, 4] {
        let few = Pauses { inside, dropped: 7, in_library: 2, ..Pauses::default() };
        let row = few.sample("x", "one_other", 1);
        let want = format!("{inside} of {} stops were inside", inside + 9);
        assert!(row.values.is_empty() && row.unmeasured.is_some_and(|why| why.contains(&want)));
    }
    let some = Pauses { inside: 200, halted: 5, parted: 10, in_library: 40, library_halted: 1, dropped: 3 };
    let row = some.sample("x", "two_others", 2);
    let near = |name: &str, want: f64| assert!((row.values[name] - want).abs() < 1e-9, "{name}: {row:?}");
    near("halted_share", 0.025);
    near("halted_count", 5.0);
    near("parted_share", 0.05);
    near("pauses_count", 200.0);
    near("library_halted_count", 1.0);
    assert!(row.seen[0].contains("blocking, or only obstruction-free"), "two others cannot tell these apart");
    let alone = Pauses { halted: 0, ..some };
    assert!(alone.class(1).unwrap().starts_with("obstruction-free or better"));
    assert!(alone.class(2).unwrap().starts_with("lock-free, as far as seen"));
}

#[test]
fn a_halt_is_a_gap_of_all() {
    let one = vec![(0, 10), (20, 30), (40, 50)];
    assert_eq!(common(&[one.clone(), vec![(5, 25), (45, 60)]]), [(5, 10), (20, 25), (45, 50)]);
    assert_eq!(common(&[one.clone(), vec![(0, 100)], vec![(22, 23)]]), [(22, 23)]);
    assert_eq!(common(std::slice::from_ref(&one)), one, "one thread's gaps are everybody's");
    assert_eq!(common(&[one, Vec::new()]), [], "who has no gap got on");
    assert_eq!(common(&[]), []);
}

#[test]
fn who_sleeps_with_the_lock_halts_all() {
    let asleep = crowd(|shared| {
        let _held = shared.lock().unwrap();
        thread::sleep(Duration::from_millis(1));
    });
    let plan = Plan { threads: 2, ..plan(60) };
    let rows = singles(&plan, "", &[asleep]);
    let names: Vec<&str> = rows.iter().map(|r| r.case.as_str()).collect();
    assert!(rows.len() == 2 && names.contains(&AA) && names.contains(&"made_up"), "{names:?}");
    for row in rows {
        assert!(row.values["halted_share"] > 0.5, "{row:?}");
        assert!(
            row.values["op_max_ns"] >= 1e6 && row.values["halt_max_ns"] <= row.values["op_max_ns"],
            "{row:?}"
        );
        assert!(row.values["jain_share"] >= 0.49 && row.values["min_max_share"] <= 1.0, "{row:?}");
    }
}

#[test]
fn what_is_given_out_is_weighed() {
    if !super::alone("progress::what_is_given_out_is_weighed") {
        return;
    }
    const BYTES: usize = 64 << 20;
    let (block, grown) = allocated::grown(|| Vec::<u8>::with_capacity(BYTES));
    assert_eq!(block.capacity(), BYTES);
    assert!(grown.is_none_or(|bytes| (60 << 20..72 << 20).contains(&bytes)), "{grown:?}");
    let row = bag::STACK_EPOCH.weigh();
    match grown {
        Some(_) => assert!(
            row.as_ref()
                .is_ok_and(|r| ["element_bytes", "left_bytes"].iter().all(|v| r.values.contains_key(*v))),
            "{row:?}"
        ),
        None => assert_eq!(row, Err(allocated::UNKNOWN.into())),
    }
}

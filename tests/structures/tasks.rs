//! The executor, the machines by hand, the catalogue of sizes, and what cancelling loses.
use std::{
    cell::RefCell,
    collections::BTreeMap,
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::Poll,
    thread,
};

use underhood::{
    experiments::{
        cancel::{At, Lost, OPERATIONS, STATES},
        sizes::{self, ROWS, RULES, Rule},
        twins::TWINS,
        wakes::{Who, wakes},
    },
    structures::task::{executor::Executor, machine::turn},
};

/// Sizes are asserted only where they are on record.
fn on_record() -> bool {
    sizes::rustc_minor() == Some(95) && cfg!(target_pointer_width = "64")
}

#[test]
fn tasks_are_polled_in_the_order_of_their_wakes() {
    let (mut executor, order) = (Executor::new(), Rc::new(RefCell::new(Vec::new())));
    for name in ["a", "b", "c"] {
        let order = Rc::clone(&order);
        executor.spawn(async move {
            for _ in 0..2 {
                order.borrow_mut().push(name);
                turn().await; // wakes itself, and goes to the back
            }
        });
    }
    executor.run();
    assert_eq!(*order.borrow(), ["a", "b", "c", "a", "b", "c"]);
    assert_eq!((executor.alive_count(), executor.step()), (0, None));
}

#[test]
fn a_wake_during_the_poll_counts_and_many_wakes_are_one() {
    let mut executor = Executor::new();
    let task = executor.spawn(poll_fn({
        let mut polls = 0;
        move |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            cx.waker().wake_by_ref();
            if polls == 3 { Poll::Ready(()) } else { Poll::Pending }
        }
    }));
    executor.waker(task).wake();
    assert_eq!(executor.ready(), [task], "spawned and woken is one entry");
    let polled: Vec<_> = std::iter::from_fn(|| executor.step()).map(|p| (p.polls_count, p.done)).collect();
    assert_eq!(polled, [(1, false), (2, false), (3, true)]);
}

#[test]
fn cancelling_drops_the_future_where_it_stands() {
    struct Noted(Arc<AtomicBool>);
    impl Drop for Noted {
        fn drop(&mut self) {
            self.0.store(true, SeqCst);
        }
    }
    let (mut executor, dropped) = (Executor::new(), Arc::new(AtomicBool::new(false)));
    let local = Noted(Arc::clone(&dropped));
    let task = executor.spawn(async move {
        let _local = local;
        std::future::pending::<()>().await;
    });
    assert!(executor.step().is_some_and(|p| !p.done));
    assert!(!dropped.load(SeqCst));
    let waker = executor.waker(task);
    assert!(executor.cancel(task) && dropped.load(SeqCst), "its locals are dropped at once");
    waker.wake(); // nobody is there
    assert_eq!(executor.step(), None);
    executor.run();
}

#[test]
fn the_id_of_another_executor_is_refused() {
    let (mut mine, mut other) = (Executor::new(), Executor::new());
    let (task, theirs) = (mine.spawn(turn()), other.spawn(turn()));
    assert_ne!(task, theirs, "both are the first of their executor");
    let refused = |f: &mut dyn FnMut()| {
        let panic = catch_unwind(AssertUnwindSafe(f)).expect_err("it is another executor's");
        assert_eq!(panic.downcast_ref(), Some(&"the id of another executor's task"));
    };
    refused(&mut || _ = mine.cancel(theirs));
    refused(&mut || _ = mine.waker(theirs));
    assert_eq!((mine.alive_count(), other.alive_count()), (1, 1), "nobody was cancelled");
    assert!(mine.cancel(task) && other.cancel(theirs));
}

#[test]
fn a_task_that_is_gone_gives_its_place_away_and_its_id_finds_nobody() {
    let mut executor = Executor::new();
    let mut ids = Vec::new();
    for turn in 0..1_000 {
        let task = match turn % 3 {
            0 => executor.spawn(async {}),
            1 => executor.spawn(std::future::pending()),
            _ => executor.spawn(async { panic!("on purpose") }),
        };
        assert_eq!(task.index(), turn, "in the order of spawning");
        match turn % 3 {
            0 => executor.run(),
            1 => assert!(executor.cancel(task)),
            _ => assert!(catch_unwind(AssertUnwindSafe(|| executor.step())).is_err()),
        }
        ids.push(task);
    }
    assert_eq!((executor.alive_count(), executor.places_count()), (0, 1), "one task at a time, one place");
    let last = executor.spawn(std::future::pending());
    assert!(ids.is_sorted() && !ids.contains(&last));
    for gone in ids {
        assert!(!executor.cancel(gone), "a task that is gone is not cancelled, nor is the one in its place");
        executor.waker(gone).wake();
    }
    assert_eq!(executor.ready(), [last], "no old wake enters the list");
    assert!(executor.cancel(last));
}

#[test]
fn an_old_waker_does_not_poll_the_task_in_its_place() {
    let mut executor = Executor::new();
    let first = executor.spawn(std::future::pending());
    let waker = executor.waker(first);
    assert!(executor.step().is_some_and(|p| p.task == first) && executor.cancel(first));
    let second = executor.spawn(std::future::pending());
    assert_eq!(executor.step().map(|p| p.task), Some(second));
    waker.wake(); // enters the old id
    assert_eq!(executor.step(), None, "the second was not woken");
}

#[test]
fn a_panic_takes_its_own_task_only() {
    let mut executor = Executor::new();
    executor.spawn(async { panic!("on purpose") });
    let other = executor.spawn(turn());
    assert!(catch_unwind(AssertUnwindSafe(|| executor.step())).is_err());
    assert_eq!(executor.alive_count(), 1);
    assert_eq!(executor.step().map(|p| p.task), Some(other));
    executor.run();
}

#[test]
fn a_sleeping_executor_is_woken_from_another_thread() {
    for _ in 0..100 {
        let (mut executor, flag) = (Executor::new(), Arc::new(AtomicBool::new(false)));
        let seen = Arc::clone(&flag);
        let task =
            executor.spawn(poll_fn(move |_| if seen.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending }));
        let waker = executor.waker(task);
        let other = thread::spawn(move || {
            thread::yield_now();
            flag.store(true, SeqCst);
            waker.wake();
        });
        executor.run();
        other.join().unwrap();
    }
}

#[test]
fn twins_agree_with_the_compiler() {
    for twin in TWINS {
        let (theirs, ours, name) = ((twin.compiler)(), (twin.by_hand)(), twin.name);
        assert_eq!(theirs.result, ours.result, "{name}: the results");
        assert_eq!(theirs.polls_count(), ours.polls_count(), "{name}: the number of polls");
        for (poll, (theirs, ours)) in theirs.stands.iter().zip(&ours.stands).enumerate() {
            assert_eq!(theirs.awake, ours.awake, "{name}: awake after poll {poll}");
        }
        let states: Vec<u8> = ours.stands.iter().filter_map(|s| Some(s.state?.number)).collect();
        assert!(states.is_sorted() && states.len() == ours.stands.len(), "{name}: goes forward: {states:?}");
        assert_eq!(
            ours.stands.last().and_then(|s| s.state).map(|s| s.saved_bytes),
            Some(0),
            "{name}: nothing is left"
        );
        assert!(ours.stands.iter().all(|s| s.state.is_some_and(|s| s.saved_bytes <= ours.bytes)), "{name}");
        if on_record() {
            let differ = theirs.bytes as i64 - ours.bytes as i64;
            assert_eq!(differ, twin.why.bytes(), "{name}: {} B, {} B by hand", theirs.bytes, ours.bytes);
            assert!(twin.why.padding_bytes.abs() < 8, "{name}: more than alignment can explain");
        }
    }
}

#[test]
fn known_sizes_are_keyed_by_the_compiler() {
    let rule = Rule { name: "", bytes: || 0, known: &[(90, 1), (95, 2), (99, 3)] };
    let known: Vec<usize> = [80, 90, 94, 95, 98, 120].map(|minor| rule.known_bytes(minor)).into();
    assert_eq!(known, [1, 1, 1, 2, 2, 3]);
    assert_eq!(sizes::minor_of("rustc 1.95.0 (59807616e 2026-04-14)"), Some(95));
    assert_eq!(sizes::minor_of("unknown"), None);
    assert_eq!(ROWS.map(|row| row.rules.len()).iter().sum::<usize>(), 2 * RULES.len(), "each, and all");
    assert!(ROWS.iter().zip(&RULES).all(|(row, rule)| row.is.id == rule.name));
    for rule in &RULES {
        let bytes = (rule.bytes)();
        assert!(!on_record() || bytes == rule.known_bytes(95), "{}: {bytes} B", rule.name);
    }
}

#[test]
fn every_wake_has_an_author() {
    let expected = BTreeMap::from([
        ((Who::Spawn, Who::Ping), 1.0),
        ((Who::Spawn, Who::Pong), 1.0),
        ((Who::Spawn, Who::Yielder), 1.0),
        ((Who::Yielder, Who::Yielder), 5.0),
        ((Who::Outside, Who::Ping), 1.0),
        ((Who::Ping, Who::Pong), 5.0),
        ((Who::Pong, Who::Ping), 5.0),
    ]);
    assert_eq!(wakes(5), expected);
}

/// As tokio documents it, operation by operation.
#[test]
fn what_cancelling_loses() {
    let lost = |bytes, messages, places| Lost { bytes, messages, places, permits: 0 };
    let nothing = lost(0, 0, 0);
    let expected = |name: &str, at: At| match (name, at) {
        ("mpsc_send", At::Unpolled) => lost(0, 1, 0),
        ("mpsc_send", _) => lost(0, 1, 1),
        ("oneshot_recv", _) => lost(0, 1, 0),
        (_, At::Unpolled) | ("read" | "mpsc_recv" | "oneshot_by_ref", _) => nothing,
        ("read_exact", _) => lost(3, 0, 0),
        ("write_all", _) => lost(5, 0, 0),
        ("recv_two", _) => lost(0, 1, 0),
        ("mpsc_reserve" | "mutex_lock" | "semaphore_acquire" | "notified", _) => lost(0, 0, 1),
        _ => panic!("{name}: no expectation"),
    };
    for operation in OPERATIONS {
        for state in STATES {
            let (name, at) = (operation.id(), state.value);
            assert_eq!((operation.value)(at), expected(name, at), "{name}, dropped {}", state.id());
        }
    }
}

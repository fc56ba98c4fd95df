//! Locks in tasks: what excludes loses nothing, what does not is caught, and a std guard across an await hangs, is seen, and is released.
use std::{sync::Arc, time::Duration};

use underhood::{
    contenders::task_lock::{Section, Shared, Way},
    experiments::held::{Held, hold},
    measure::lateness::Verdict,
};

const EXCLUSIVE: [Way; 3] = [Way::TokioMutex, Way::Semaphore(1), Way::Message];

/// How much of what eight tasks added on two workers has arrived.
fn added(way: Way, section: Section, each: u64) -> (u64, u64) {
    let shared = Shared::new(way, section).expect("a way that can be held around this");
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let shared = Arc::clone(&shared);
            runtime.spawn(async move {
                for _ in 0..each {
                    shared.add().await;
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.await.expect("nothing to panic");
        }
    });
    (shared.value(), 8 * each)
}

#[test]
fn what_excludes_loses_nothing() {
    for way in EXCLUSIVE {
        for (section, each) in
            [(Section::Bare, 500), (Section::Yield, 50), (Section::Sleep(Duration::from_millis(1)), 3)]
        {
            let (arrived, all) = added(way, section, each);
            assert_eq!(arrived, all, "{way:?} around {section:?}");
        }
    }
    for section in [Section::Bare, Section::Spin(Duration::from_micros(5))] {
        let (arrived, all) = added(Way::StdMutex, section, 500);
        assert_eq!(arrived, all, "std's mutex around {section:?}");
    }
}

/// The check can fail: all eight read before the first of them writes, since they all await meanwhile.
#[test]
fn what_does_not_exclude_is_caught() {
    for way in [Way::Semaphore(8), Way::StdReleased] {
        let (arrived, all) = added(way, Section::Sleep(Duration::from_millis(30)), 2);
        assert!(arrived < all, "{way:?}: {arrived} of {all}");
    }
}

#[test]
fn stds_guard_is_not_held_across_an_await_by_a_task() {
    assert!(Shared::new(Way::StdMutex, Section::Yield).is_err());
    assert!(Shared::new(Way::StdMutex, Section::Sleep(Duration::from_millis(1))).is_err());
}

/// A sound one ends long before; only what hangs waits as long as this.
fn held(way: Way, workers: usize, waiters: usize) -> Held {
    let held =
        hold(way, workers, waiters, Duration::from_millis(60), Duration::from_secs(2)).expect("a runtime");
    assert!(held.released && held.shut_down, "{way:?}: {held:?}");
    held
}

#[test]
fn a_std_guard_across_an_await_takes_a_worker_for_each_that_waits() {
    let one = held(Way::StdMutex, 2, 1);
    assert_eq!((one.hung, one.seen.stuck_workers), (false, 1), "{one:?}");
    for workers in [1, 2, 4] {
        let all = held(Way::StdMutex, workers, workers);
        assert_eq!((all.hung, all.seen.stuck_workers), (true, workers), "{all:?}");
        assert!(matches!(all.seen.verdict, Verdict::Blocked | Verdict::Stuck), "{all:?}");
    }
}

#[test]
fn what_awaits_takes_none() {
    for way in EXCLUSIVE.into_iter().chain([Way::StdReleased]) {
        let all = held(way, 2, 2);
        assert_eq!((all.hung, all.seen.stuck_workers), (false, 0), "{way:?}: {all:?}");
    }
}

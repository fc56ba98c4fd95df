//! The experiments of lab `os_cost`: what is counted was really done, a broken one is found, and where it ends is said.
use std::time::{Duration, Instant};

use underhood::{
    experiments::{
        crossing::agrees,
        idle::{Idler, MILLION, idle, most},
        pass::{self, PARK, PIPE, Passed, Place, SPIN, TASKS},
        spawn::{self, BOXED, POOLED, SMALL_STACK, Starts, TASK, THREAD},
    },
    machine::{allowed_cpus, memory::Room},
};

const MOMENT: Duration = Duration::from_millis(1);

#[test]
fn all_that_was_started_has_run() {
    for way in [THREAD, SMALL_STACK, POOLED, TASK, BOXED] {
        spawn::check(way.value).unwrap_or_else(|why| panic!("{}: {why}", way.id()));
    }
}

#[test]
fn a_way_that_forgets_a_start_gets_no_number() {
    let forgets = |time| (THREAD.value)(time).map(|s| Starts { ran_count: s.ran_count - 1, ..s });
    assert!(spawn::check(forgets).unwrap_err().contains("ran"));
    assert!(spawn::check(|_| Ok(Starts::default())).unwrap_err().contains("nothing"));
    assert_eq!(spawn::check(|_| Err("no more threads".into())), Err("no more threads".into()));
}

#[test]
fn every_number_comes_back_on_one_cpu_and_on_two() {
    let cpus = allowed_cpus();
    // With a single CPU the two places are the same.
    let places: [Place; 2] = [[cpus[0], cpus[0]], [cpus[0], cpus[cpus.len() - 1]]];
    for way in [SPIN, PARK, PIPE, TASKS] {
        for place in places {
            let Passed { rounds_count, right_count, .. } =
                (way.value)(place, MOMENT).unwrap_or_else(|why| panic!("{}: {why}", way.id()));
            assert!(rounds_count > 0 && right_count == rounds_count, "{} {place:?}", way.id());
        }
    }
}

#[test]
fn a_line_that_garbles_a_number_gets_no_number() {
    let garbles =
        |place, time| (PIPE.value)(place, time).map(|p| Passed { right_count: p.right_count - 1, ..p });
    assert!(pass::check(garbles).unwrap_err().contains("came back right"));
}

#[test]
fn a_clock_that_stands_or_runs_away_gets_no_number() {
    let began = Instant::now();
    let now = || u64::try_from(began.elapsed().as_nanos()).ok();
    assert_eq!(agrees(now), Ok(()));
    assert!(agrees(|| Some(7)).is_err(), "it stands");
    assert!(agrees(|| Some(now()? * 1_000)).is_err(), "it runs away");
    assert!(agrees(|| None).unwrap_err().contains("no such clock"));
}

#[test]
fn what_ends_it_is_said() {
    let plenty = Room { available_bytes: Some(1 << 40), limit_left_bytes: None };
    let tight = Room { available_bytes: Some(1 << 40), limit_left_bytes: Some(4 << 20) };
    let limits = [("pid_max".to_string(), 1_000), ("ulimit -u".to_string(), 300)];
    assert_eq!(most(Idler::Thread, 100, plenty, &limits), (100, None));
    let (count, why) = most(Idler::Thread, MILLION, plenty, &limits);
    assert_eq!(count, 150, "half of the smallest limit");
    assert!(why.unwrap().contains("ulimit -u"));
    // A limit on threads does not end tasks.
    assert_eq!(most(Idler::Task, MILLION, plenty, &limits), (MILLION, None));
    let (count, why) = most(Idler::Task, MILLION, tight, &limits);
    assert_eq!(count, (1 << 20) / 512, "a quarter of what is left");
    assert!(why.unwrap().contains("over 1 MiB"));
}

#[test]
fn so_many_idle_as_asked_for_and_they_weigh_something() {
    for what in [Idler::Thread, Idler::UsedThread, Idler::Task, Idler::BufferTask] {
        let seen = idle(what, 64).unwrap();
        assert_eq!((seen.idle_count, seen.ended), (64, None), "{what:?}");
    }
    assert!(idle(Idler::Thread, 0).is_err());
}

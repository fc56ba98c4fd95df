//! The experiments of lab `async_pool`: sizes, pools and channels do what their names say, and nothing is lost.
use std::time::Duration;

use underhood::experiments::{
    at_once::{BACKEND, Start, calls},
    backlog::{BODY, Channel, LINES, PLACES, backlog},
    pool_full::{VICTIMS, answers, at_once},
    pool_size::{Job, SIZES, formula, jobs_per_s, optimum},
};

#[test]
fn the_formula_is_the_known_one() {
    assert_eq!(formula(4, 0.0), 4, "who never waits needs a thread for each CPU");
    assert_eq!(formula(4, 0.5), 8);
    assert_eq!(formula(4, 0.9), 40);
    assert_eq!(formula(1, 0.9), 10);
}

#[test]
fn the_optimum_is_the_smallest_that_is_nearly_the_best() {
    let rows = [(1, 10.0), (2, 20.0), (4, 37.0), (8, 40.0), (16, 39.0)];
    assert_eq!(optimum(&rows), Some(4), "37 is nine tenths of 40");
    assert_eq!(optimum(&rows[..2]), Some(2));
    assert_eq!(optimum(&[]), None);
}

#[test]
fn every_size_of_a_pool_works_on_its_jobs() {
    // A machine as fast as this is not asked how fast it is.
    let job = Job::new(0.5, 1.0);
    for size in SIZES {
        let threads = (size.value)(2, 0.5);
        let jobs = jobs_per_s(threads, job, Duration::from_millis(20), 1);
        assert!(jobs.is_ok_and(|jobs| jobs > 0.0), "{} of {threads} threads did nothing", size.id());
    }
}

#[test]
fn a_pool_runs_as_many_jobs_at_once_as_it_has_threads() {
    assert_eq!(at_once(1, 3), Ok(1));
    // On a busy machine the second thread may start too late.
    assert!(matches!(at_once(3, 2), Ok(1..=2)));
}

#[test]
fn every_victim_gets_answers_from_an_idle_pool() {
    for victim in VICTIMS {
        let took = answers(victim.value, 0, Duration::from_millis(10));
        assert!(took.is_ok_and(|took| !took.is_empty()), "{}", victim.id());
    }
}

#[test]
fn an_item_is_taken_left_or_dropped() {
    for line in LINES {
        let seen = backlog(line.value, Duration::from_millis(40)).unwrap();
        let (channel, _) = line.value;
        let ends = seen.taken_count + seen.left_count + seen.shed_count;
        assert!(seen.made_count.abs_diff(ends) <= 1, "{}: {seen:?}", line.id());
        assert!(seen.taken_count > 0, "{}: {seen:?}", line.id());
        if channel != Channel::Unbounded {
            // One more may go in while the rest is counted.
            assert!(seen.left_count <= PLACES as u64 + 1, "{}: {seen:?}", line.id());
        }
        if channel != Channel::Shedding {
            assert_eq!(seen.shed_count, 0, "{}", line.id());
        }
    }
    const { assert!(BODY > 1_000, "an item weighs more than its bookkeeping") };
}

#[test]
fn a_limit_bounds_what_has_started() {
    let many = 2 * BACKEND;
    let started = |start| {
        let calls = calls(start, many).unwrap();
        assert_eq!(calls.answered_count, many);
        calls.started_max_count
    };
    assert_eq!(started(Start::AtOnce), many);
    assert!(started(Start::PermitFirst) <= BACKEND);
    assert!(started(Start::PermitInside) <= BACKEND);
}

//! The experiments of lab `sched_steal`: every item and every task is taken once, and one that is not gives no number.
use std::time::Duration;

use underhood::{
    experiments::{
        steal::{BEHIND, BLOCKINGS, ORDERS, Worked, behind, once_each, tree},
        thieves::{CROSSBEAM, DEQUE, MUTEX, Robbed, SEGMENTS},
    },
    machine::allowed_cpus,
};

const SIZE: u32 = 12;

/// Two places, which are the same one on a machine with a single CPU.
fn two() -> [usize; 2] {
    let cpus = allowed_cpus();
    [cpus[0], cpus[cpus.len() - 1]]
}

#[test]
fn every_item_is_taken_once_with_thieves_and_without() {
    for way in [DEQUE, CROSSBEAM, MUTEX, SEGMENTS] {
        for thieves in [false, true] {
            let seen = (way.value)(&two(), thieves, Duration::from_millis(3)).and_then(Robbed::whole);
            let seen = seen.unwrap_or_else(|why| panic!("{}: {why}", way.id()));
            assert!(thieves || seen.stolen_count == 0, "{}: stolen without a thief", way.id());
        }
    }
}

#[test]
fn a_queue_that_loses_or_repeats_an_item_gets_no_number() {
    let right = Robbed { items_count: 10, own_count: 7, stolen_count: 3, ..Robbed::default() };
    assert_eq!(right.whole(), Ok(right));
    assert!(Robbed { stolen_count: 2, ..right }.whole().unwrap_err().contains("9 taken"), "one is lost");
    assert!(Robbed { missing: 1, ..right }.whole().is_err(), "one is lost, another came twice");
    assert!(Robbed::default().whole().unwrap_err().contains("nothing"));
}

#[test]
fn every_task_of_a_tree_runs_once_whoever_takes_which_end() {
    for order in ORDERS {
        let ran = tree(order.value, SIZE, &two()).unwrap_or_else(|why| panic!("{}: {why}", order.id()));
        assert_eq!(ran.tasks_count, 465, "{}", order.id());
        match order.id() {
            // Newest first holds the siblings of one path.
            "newest_oldest" | "newest_newest" => assert!(ran.longest_count <= SIZE as usize + 1, "{ran:?}"),
            "one_queue" => assert!(ran.steals_count == 0 && ran.longest_count > 50, "{ran:?}"),
            _ => assert!(ran.longest_count > SIZE as usize + 1, "{ran:?}"),
        }
    }
}

#[test]
fn a_tree_that_loses_or_repeats_a_task_gets_no_number() {
    let ran = tree(ORDERS[0].value, SIZE, &two()).unwrap();
    assert_eq!(once_each(SIZE, ran), Ok(ran));
    assert!(once_each(SIZE, Worked { tasks_count: 464, ..ran }).unwrap_err().contains("464 ran"));
    assert!(once_each(SIZE, Worked { sum: ran.sum + 1, ..ran }).is_err(), "another task ran twice");
    assert!(once_each(SIZE + 1, ran).is_err());
}

#[test]
fn on_one_cpu_a_row_with_thieves_says_why_it_has_no_number() {
    let one = &two()[..1];
    assert!((DEQUE.value)(one, true, Duration::from_millis(1)).unwrap_err().contains("one CPU"));
    assert!((DEQUE.value)(one, false, Duration::from_millis(1)).is_ok());
    for order in ORDERS {
        assert_eq!(tree(order.value, SIZE, one).is_ok(), order.id() == "one_queue", "{}", order.id());
    }
    // A worker that sleeps leaves the CPU to the other one.
    assert!(behind(BLOCKINGS[1].value, one).is_ok());
}

#[test]
fn the_tasks_behind_a_blocked_one_all_run_and_are_stolen_only_where_they_may_be() {
    for case in BLOCKINGS {
        let ran = behind(case.value, &two()).unwrap_or_else(|why| panic!("{}: {why}", case.id()));
        let blocked = if case.id() == "all_block" { 2 } else { 1 };
        assert_eq!(ran.tasks_count, BEHIND + blocked, "{}", case.id());
        let may = ["stealing", "all_block"].contains(&case.id());
        assert!(may || ran.steals_count == 0, "{}: {ran:?}", case.id());
    }
}

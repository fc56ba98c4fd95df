//! The experiments of lab `async_fairness`: nothing is lost, and turns and hangs are those that tokio's budget gives. No time is asserted.
use std::time::Duration;

use underhood::experiments::{
    branches::{LOOKING, Looking, Waits, beside_flood},
    budget::{EVERY, MANY, TAKINGS, TIMED, Taking, beside_timer, turns},
    fused::{FUSED, Fused, ROUNDS, tries},
};

/// Units of tokio 1.54.1.
const BUDGET: u64 = 128;

#[test]
fn every_reader_takes_the_items_and_another_task_waits_as_long_as_its_way_of_reading_says() {
    const ITEMS: u64 = 100 * BUDGET;
    for how in TAKINGS {
        let seen = turns(how.value, ITEMS).unwrap();
        assert_eq!(seen.taken_count, ITEMS, "{}", how.id());
        let between = match how.value {
            Taking::Recv | Taking::Consuming => BUDGET,
            Taking::RecvMany => BUDGET * MANY as u64,
            Taking::Yielding => EVERY,
            Taking::Unconstrained | Taking::Foreign | Taking::Nothing => ITEMS,
        };
        if between == ITEMS {
            assert_eq!((seen.turns_count, seen.between_max_count), (0, ITEMS), "{}", how.id());
        } else {
            assert!(seen.turns_count.abs_diff(ITEMS / between) <= 2, "{}: {seen:?}", how.id());
            // What is taken after the last turn counts for none: else few turns look like long ones.
            let due = seen.turns_count * between;
            assert!(seen.until_last_count.abs_diff(due) <= between, "{}: {seen:?}", how.id());
            // Twice as many where the reader is woken first of the two, and was polled last.
            assert!((between..=2 * between).contains(&seen.between_max_count), "{}: {seen:?}", how.id());
        }
    }
}

#[test]
fn every_tick_of_a_timer_is_handled_whoever_reads() {
    for how in TIMED {
        // A machine as fast as this is not asked how fast it is.
        let seen = beside_timer(how.value, Duration::from_millis(20), 1.0).unwrap();
        assert_eq!(seen.late.samples_count(), 4, "{}", how.id());
        assert_eq!(seen.taken_count == 0, how.value == Taking::Nothing, "{}", how.id());
    }
}

#[test]
fn a_biased_loop_serves_its_second_branch_only_after_the_flood() {
    for waits in [Waits::Timer, Waits::Message] {
        for how in LOOKING {
            let seen = beside_flood(how.value, waits, Duration::from_millis(40), 1.0).unwrap();
            assert_eq!(seen.late.samples_count(), 8, "{}: all that was due is done", how.id());
            assert!(seen.messages_count > 0, "{}", how.id());
            if how.value == Looking::FloodFirst {
                assert_eq!(seen.served_count, 0, "{:?}", seen.late);
            }
        }
    }
}

#[test]
fn a_guard_over_an_await_hangs_in_the_round_in_which_the_budget_is_spent() {
    for how in FUSED {
        for workers in [1, 4] {
            let seen = tries(how.value, workers, 2, Duration::from_millis(200)).unwrap();
            let hangs = match how.value {
                Fused::Joined | Fused::TryJoined => Some(BUDGET),
                Fused::TwoAwaits => Some(BUDGET / 2),
                Fused::Unconstrained | Fused::Released | Fused::Awaited => None,
            };
            for one in seen {
                assert_eq!(one.hung, hangs.is_some(), "{} with {workers} workers: {one:?}", how.id());
                assert_eq!(one.done_count, hangs.unwrap_or(ROUNDS), "{}", how.id());
                // A round that hangs has not written.
                assert_eq!(one.writes_count, one.done_count, "{}", how.id());
            }
        }
    }
}

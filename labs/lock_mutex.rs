//! What does a mutex cost with and without contention? Who waits longest?
//!
//! Run it: `cargo run --release --bin lock_mutex -- --step`
use std::time::Duration;

use underhood::{
    contenders::lock::{
        EMPTY, HANDOFF, Lock, MUTEX, PL012_FAIR, PL012_MUTEX, PL013_FAIR, PL013_MUTEX, STD_MUTEX, TOKIO_MUTEX,
    },
    lab::{Kind, Lab, ONCE, Step, at, at_least, at_most, ns, pick, ratio, shown_by, source},
    measure::{
        acquire::{Hold, Queue, acquire},
        cost, throughput,
    },
};

const LOCKS: &[&Lock] =
    &[&STD_MUTEX, &PL012_MUTEX, &PL013_MUTEX, &MUTEX, &HANDOFF, &PL012_FAIR, &PL013_FAIR, &TOKIO_MUTEX];

pub(crate) fn lab() -> Lab {
    underhood::lab!("lock_mutex", "What does a mutex cost with and without contention? Who waits longest?")
        .step(alone())
        .step(crowd())
        .step(who_waits())
        .step(barging())
        .say(
            "barging",
            "Four threads hold parking_lot 0.13's Mutex for 1 ms each. On average the same thread gets it {value} times in a row. With 0.12 that number is {against}.",
            ratio("pl013_mutex", "pl012_mutex"),
            "threads do something else between two acquisitions, or use unlock_fair",
        )
        .say(
            "alone",
            "Alone, locking and unlocking std's mutex takes {value}.",
            "std_mutex",
            "another core had the lock last, and its cache line has to come over first",
        )
        .not_said(&[
            "Which mutex is the best: each trades throughput against fairness, and the threads here do nothing but lock.",
            "Anything about tail latency beyond what the samples support: the maximum is only the longest sampled wait.",
            "That many acquisitions in a row by one thread are bad: they are also the reason why a barging lock is fast.",
        ])
        .next(&[
            "When would you take a fair mutex? (if holds are long, and the slowest thread matters)",
            "What does it cost if the holder loses its CPU? (lab lock_spin)",
            "How do you get rid of the lock altogether? (lab cache_scaling)",
        ])
        .sources(&[
            "parking_lot 0.13.0 CHANGELOG: automatic eventual fairness was removed (#533), wake-ups after the release (#545)",
            "std's futex mutex: rust-lang/rust#95035",
            "Jain, Chiu, Hawe, DEC-TR-301, 1984: the fairness index",
            "Amanieu/parking_lot#338, #418, #419: a loop of lock and unlock rewards barging",
        ])
}

fn alone() -> Step {
    let with_empty = || LOCKS.iter().copied().chain([&EMPTY]);
    // The lab's own tables show how the others differ from these, and each bench takes about a second.
    let benched = [&STD_MUTEX, &PL013_MUTEX, &MUTEX, &HANDOFF, &TOKIO_MUTEX, &EMPTY];
    Step::new("alone", Kind::Single, "op_ns")
        .ask_number(
            "Only one thread locks and unlocks. How long does std's mutex take, in ns?",
            "std_mutex",
            "",
        )
        .contenders(with_empty())
        .slice(1.0 / 4.0)
        .over(ONCE, move |plan, p| cost::solo(plan, p.id(), with_empty().map(|l| l.writes())))
        .bench("alone/{case}", benched, |_, lock| cost::timed(&lock.writes()))
        .claim(at_most(1.1, ratio("mutex", "std_mutex")), "our mutex costs at most 1.1 times as much as std's")
        .claim(at_most(1.1, ratio("mutex", "pl013_mutex")), "our mutex costs at most 1.1 times as much as parking_lot 0.13's")
        .claim(
            at_least(2.0, ratio("tokio_mutex", "std_mutex")),
            "tokio's mutex, a semaphore with a queue, costs at least twice as much",
        )
        .because(
            "Alone, a mutex is one compare-and-swap to lock and one swap to unlock, in a cache line that the core has already. It makes no \
             system call and does not wait.",
            source("`lock` and `unlock` in src/structures/lock/mutex.rs"),
        )
        .because(
            "tokio's mutex is a semaphore with a queue of tasks, and a lock of its own protects that queue.",
            source("tokio 1.54, src/sync/mutex.rs and src/sync/batch_semaphore.rs"),
        )
}

fn crowd() -> Step {
    let benched = [&STD_MUTEX, &PL012_MUTEX, &PL013_MUTEX, &MUTEX, &HANDOFF, &PL013_FAIR];
    Step::new("crowd", Kind::Contended, "ops_per_s")
        .ask_best(
            "All threads lock and unlock the same mutex, and do nothing while they hold it. Which mutex lets through the most?",
            "hold_0",
        )
        .columns(&["hold_ns", "lane_op_ns", "min_max_share"])
        .contenders(LOCKS)
        .slice(1.0 / 3.0)
        // Long enough for the number of windows that a contender needs.
        .slice_at_least(Duration::from_millis(50))
        .over([ns("hold_0", 0.0), ns("hold_1us", 1_000.0)], |plan, hold| {
            throughput::crowd(plan, hold.id(), hold.value, LOCKS.iter().map(|l| l.crowd(0)))
        })
        .bench("crowd/{case}", benched, |plan, lock| throughput::timed(plan, 0.0, &lock.crowd(0)))
        .claim(
            at_most(0.5, ratio(("pl013_fair", "hold_0"), ("pl013_mutex", "hold_0"))).cores(2),
            "with nothing done under the lock, parking_lot's FairMutex lets through at most half of what its barging Mutex does",
        )
        .claim(
            at_least(0.7, ratio(("std_mutex", "hold_1us"), ("pl013_mutex", "hold_1us"))).cores(2),
            "with a hold of 1 us, the choice between these two barging mutexes matters little: std's lets through at least 0.7 \
             times what parking_lot's does",
        )
        .because(
            "With nothing done under the lock, a barging mutex mostly goes to the thread that already has its cache \
             line. A strictly fair mutex goes to the other thread each time, so each acquisition costs a hand-over.",
            shown_by(at_most(0.5, ratio(("handoff", "hold_0"), ("mutex", "hold_0"))).cores(2)),
        )
        .because(
            "parking_lot's waiting threads spin before they sleep. If none of them sleeps, unlock_fair is one atomic exchange, \
             just as unlock is. So between two threads, fairness may cost nothing.",
            source("parking_lot 0.13, src/raw_mutex.rs"),
        )
        .because(
            "Our hand-off mutex gives the lock to the thread with the next number, even if that thread sleeps.",
            source("src/structures/lock/handoff.rs"),
        )
}

fn who_waits() -> Step {
    // Threads for each CPU, and the time that a thread does something else between two acquisitions.
    let crowds = [
        at("1x_threads", (1, 0.0)),
        at("2x_threads", (2, 0.0)),
        at("4x_threads", (4, 0.0)),
        at("4x_think_4us", (4, 4_000.0)),
    ];
    Step::new("who_waits", Kind::Tail, "wait_p50_ns")
        .ask_number(
            "There are four threads for each CPU, and each holds the lock for 1 us. What is the median wait for std's mutex, in ns?",
            "std_mutex",
            "4x_threads",
        )
        .columns(&[
            "wait_p99_ns",
            "wait_max_ns",
            "longest_run_count",
            "jain_share",
            "min_max_share",
            "ops_per_s",
            "switches_per_op_count",
        ])
        .contenders(LOCKS)
        .over_all(crowds, |plan, points| {
            acquire(plan, points, LOCKS.iter().map(|l| l.acquire()), |&(times, think_ns)| {
                let (threads, hold) = (plan.threads * times, Hold::Busy(1_000.0));
                Ok(Queue { threads, hold, think_ns, sample_every: 8, time: plan.slice / 5 })
            })
        })
        .claim(
            at_most(1_000.0, ("std_mutex", "4x_threads")),
            "with four threads for each CPU, at least half of std's acquisitions wait less than one hold, and the other \
             acquisitions pay for that",
        )
        .claim(
            at_least(10_000.0, ("handoff", "4x_threads")),
            "a mutex that serves in strict order makes half of the acquisitions wait at least 10 us",
        )
        .because(
            "The median hides the long waits. A barging mutex gives the lock to the running thread again and again \
             (longest run), while the others wait for whole time slices.",
            shown_by(at_least(100.0, pick("std_mutex", "4x_threads", "longest_run_count"))),
        )
        .because(
            "Jain's fairness index is 1 if all threads get the same, and 1/threads if one thread gets all. Every eighth wait \
             is timed. The clock can't tell apart waits of a few tens of ns. Such a wait is given as \"at most\", and no ratio \
             uses it.",
            source("Jain, Chiu, Hawe, DEC-TR-301, 1984"),
        )
}

fn barging() -> Step {
    Step::new("barging", Kind::Chance, "mean_run_count")
        .ask_number(
            "Four threads hold std's mutex for 1 ms each and lock it again at once. How many times in a row, on average, \
             does one thread get it?",
            "std_mutex",
            "",
        )
        .columns(&["longest_run_count", "jain_share", "min_max_share"])
        .contenders(LOCKS)
        .over_all(ONCE, |plan, points| {
            acquire(plan, points, LOCKS.iter().map(|l| l.acquire()), |()| {
                let hold = Hold::Asleep(Duration::from_millis(1));
                Ok(Queue { threads: 4, hold, think_ns: 0.0, sample_every: 1, time: plan.slice / 2 })
            })
        })
        .claim(
            at_least(2.0, "std_mutex"),
            "std's mutex goes to the same thread at least twice in a row, on average",
        )
        .claim(
            at_least(2.0, ratio("pl013_mutex", "pl012_mutex")),
            "parking_lot has changed: in 0.13 a thread gets the lock at least twice as many times in a row as in 0.12",
        )
        .claim(at_most(1.1, "pl013_fair"), "parking_lot 0.13's FairMutex goes from thread to thread: at most 1.1 times in a row")
        .claim(
            at_most(1.1, pick("handoff", "", "mean_run_count")),
            "our hand-off mutex goes from thread to thread: at most 1.1 times in a row",
        )
        .because(
            "An unlock wakes one waiting thread but does not give it the lock. Waking a thread takes microseconds, \
             locking again only nanoseconds. So the thread that just had the lock usually wins.",
            shown_by(at_least(2.0, ratio("mutex", "handoff"))),
        )
        .because(
            "parking_lot 0.12 hands the lock over when a random time of at most 1 ms is up (eventual fairness). A hold of 1 ms \
             is longer, so 0.12 hands over every time. With a hold of a microsecond, 0.12 too gives the lock to the thread \
             that asks first. 0.13 has no such timer.",
            source("parking_lot_core 0.9.12, src/parking_lot.rs; parking_lot 0.13.0 CHANGELOG, #533"),
        )
        .in_tour()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

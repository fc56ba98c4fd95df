//! What does a mutex cost alone, and in a crowd? Who waits longest?
//!
//! Run it: `cargo run --release --bin lock_mutex -- --step`
use std::time::Duration;

use underhood::{
    contenders::lock::{
        EMPTY, HANDOFF, Lock, MUTEX, PL012_FAIR, PL012_MUTEX, PL013_FAIR, PL013_MUTEX, STD_MUTEX, TOKIO_MUTEX,
    },
    lab::{Evidence, Kind, Lab, ONCE, Step, at, at_least, at_most, ns, pick, ratio, source},
    measure::{
        acquire::{Hold, Queue, acquire},
        cost, throughput,
    },
};

const LOCKS: &[&Lock] =
    &[&STD_MUTEX, &PL012_MUTEX, &PL013_MUTEX, &MUTEX, &HANDOFF, &PL012_FAIR, &PL013_FAIR, &TOKIO_MUTEX];

pub(crate) fn lab() -> Lab {
    underhood::lab!("lock_mutex", "What does a mutex cost alone, and in a crowd? Who waits longest?")
        .step(alone())
        .step(crowd())
        .step(who_waits())
        .step(barging())
        .say(
            "barging",
            "Four threads that hold a lock for 1 ms: parking_lot 0.13 gave it to one thread {value} times in a row on average, 0.12 {against}.",
            ratio("pl013_mutex", "pl012_mutex"),
            "threads do something else between two acquisitions, or use unlock_fair",
        )
        .say(
            "alone",
            "Alone, locking and unlocking std's mutex takes {value}.",
            "std_mutex",
            "another core had the lock last: then its line has to come first",
        )
        .not_said(&[
            "Which mutex is the best: throughput and fairness are traded, and the crowd here does nothing but lock.",
            "Anything about tails beyond what the samples support; the maximum is the longest sampled wait.",
            "That a run of one thread is bad: it is also why the barging lock is fast.",
        ])
        .next(&[
            "When would you take the fair one? (long holds, and somebody watches the slowest)",
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
    // The others differ from these by what the lab's own tables show, and each bench takes its second.
    let benched = [&STD_MUTEX, &PL013_MUTEX, &MUTEX, &HANDOFF, &TOKIO_MUTEX, &EMPTY];
    Step::new("alone", Kind::Single, "op_ns")
        .ask_number(
            "One thread locks and unlocks, nobody else is there. How long does std's mutex take, in ns?",
            "std_mutex",
            "",
        )
        .contenders(with_empty())
        .slice(1.0 / 4.0)
        .over(ONCE, move |plan, p| cost::solo(plan, p.id(), with_empty().map(|l| l.writes())))
        .bench("alone/{case}", benched, |_, lock| cost::timed(&lock.writes()))
        .claim(at_most(1.1, ratio("mutex", "std_mutex")), "our mutex costs at most 1.1 times std's")
        .claim(at_most(1.1, ratio("mutex", "pl013_mutex")), "and at most 1.1 times parking_lot 0.13's")
        .claim(
            at_least(2.0, ratio("tokio_mutex", "std_mutex")),
            "tokio's mutex, a semaphore with a queue, costs at least twice as much",
        )
        .because(
            "Alone, a mutex is one compare-and-swap to lock and one swap to unlock, in a line that the core has already: no system \
             call, no waiting. See `lock` in src/structures/lock/mutex.rs.",
            Evidence::None,
        )
        .because("So a mutex that nobody wants is cheap, and \"locks are slow\" is about something else.", Evidence::None)
}

fn crowd() -> Step {
    let benched = [&STD_MUTEX, &PL012_MUTEX, &PL013_MUTEX, &MUTEX, &HANDOFF, &PL013_FAIR];
    Step::new("crowd", Kind::Contended, "ops_per_s")
        .ask_best(
            "All threads lock and unlock the same mutex, and hold it for nothing. Which lets through the most?",
            "hold_0",
        )
        .columns(&["hold_ns", "lane_op_ns", "min_max_share"])
        .contenders(LOCKS)
        .slice(1.0 / 3.0)
        // The windows that a contender needs to be heard.
        .slice_at_least(Duration::from_millis(50))
        .over([ns("hold_0", 0.0), ns("hold_1us", 1_000.0)], |plan, hold| {
            throughput::crowd(plan, hold.id(), hold.value, LOCKS.iter().map(|l| l.crowd(0)))
        })
        .bench("crowd/{case}", benched, |plan, lock| throughput::timed(plan, 0.0, &lock.crowd(0)))
        .claim(
            at_most(0.5, ratio(("pl013_fair", "hold_0"), ("pl013_mutex", "hold_0"))).cores(2),
            "held for nothing, a fair mutex lets through at most half of what its barging sister does",
        )
        .claim(
            at_most(1.05e6, ("std_mutex", "hold_1us")).cores(2),
            "held for 1 us, all threads together get at most a million through: the lock is the program",
        )
        .because(
            "Held for nothing, what decides is whether the other thread is parked when the lock comes free. Where it is, a barging mutex \
             is taken again by the thread that has the line in its cache, and a fair one is handed to somebody who must first wake up.",
            Evidence::None,
        )
        .because(
            "parking_lot's waiters spin before they park, and its unlock_fair gives back by one exchange as unlock does if nobody is \
             parked, so between two threads fairness may cost nothing.",
            source("parking_lot 0.13, src/raw_mutex.rs"),
        )
        .because(
            "Our handoff gives the lock to whoever drew the next number, even if that thread sleeps.",
            source("src/structures/lock/handoff.rs"),
        )
        .because("Held for long, no mutex can do more than one hold after the other.", Evidence::None)
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
            "Four threads for each CPU, each holds 1 us. How many ns does half of std's acquisitions wait at most?",
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
            "with four threads a CPU, at least half of std's acquisitions wait less than one hold: the others pay",
        )
        .claim(
            at_least(10.0, ratio(("pl013_fair", "4x_threads"), ("std_mutex", "4x_threads"))),
            "a fair mutex makes the median wait at least 10 times as long as std's",
        )
        .because(
            "A median says nothing of a lock: a barging mutex gives it to the one who runs, over and over (longest run), and the \
             rest waits for whole time slices.",
            Evidence::None,
        )
        .because(
            "Jain's index is 1 where all get the same, and 1/threads where one gets all. The maximum is of the waits that were sampled, \
             every eighth.",
            source("Jain, Chiu, Hawe, DEC-TR-301, 1984"),
        )
}

fn barging() -> Step {
    Step::new("barging", Kind::Chance, "mean_run_count")
        .ask_number(
            "Four threads hold for 1 ms and lock again at once. How often in a row, on average, does one thread get std's mutex?",
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
            "parking_lot changed its nature: the runs of 0.13 are at least twice as long as those of 0.12",
        )
        .claim(at_most(1.1, "pl013_fair"), "a FairMutex goes round: no runs to speak of")
        .claim(at_most(1.1, pick("handoff", "", "mean_run_count")), "and so does our hand-off mutex")
        .because(
            "Who unlocks wakes one waiter, but does not give it the lock; a wake-up takes microseconds and a new lock nanoseconds, so the \
             holder always wins.",
            Evidence::None,
        )
        .because(
            "parking_lot up to 0.12 handed the lock over about every half millisecond (eventual fairness); 0.13 took that away, and what is \
             written about \"fair parking_lot\" is about the past.",
            source("parking_lot 0.13.0 CHANGELOG, #533"),
        )
        .because(
            "The holders sleep here, so no CPU is short; but a neighbour that takes one delays a wake-up, and with it changes who is next.",
            Evidence::None,
        )
        .in_tour()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

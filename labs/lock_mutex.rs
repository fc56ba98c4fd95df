//! What does a mutex cost alone, and in a crowd? Who waits longest?
//!
//! Run it: `cargo run --release --bin lock_mutex -- --step`
use std::time::Duration;

use underhood::{
    contenders::{
        gate::{self, Check},
        lock::{Empty, check, crowd as meet, solo as one},
        turn::contender,
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        acquire::{Contender, Hold, Queue, wait_all},
        cost, throughput,
    },
    structures::lock as ours,
};

type Std = std::sync::Mutex<u64>;
type Pl012 = pl012::Mutex<u64>;
type Pl013 = pl013::Mutex<u64>;
type Pl012Fair = pl012::FairMutex<u64>;
type Pl013Fair = pl013::FairMutex<u64>;
type Tokio = tokio::sync::Mutex<u64>;
type Ours = ours::mutex::Mutex<u64>;
type Handoff = ours::handoff::Handoff<u64>;

const LOCKS: &[&str] = &[
    "std_mutex",
    "pl012_mutex",
    "pl013_mutex",
    "mutex",
    "handoff",
    "pl012_fair",
    "pl013_fair",
    "tokio_mutex",
];

pub(crate) static LAB: Lab = Lab {
    stem: "lock_mutex",
    question: "What does a mutex cost alone, and in a crowd? Who waits longest?",
    steps: &[
        Step {
            name: "alone",
            ask: "One thread locks and unlocks, nobody else is there. How long does std's mutex take, in ns?",
            predict: Predict::Number { case: "std_mutex", param: "" },
            kind: Kind::Single,
            cases: &[
                "std_mutex",
                "pl012_mutex",
                "pl013_mutex",
                "mutex",
                "handoff",
                "pl012_fair",
                "pl013_fair",
                "tokio_mutex",
                "empty",
            ],
            params: &[""],
            launch: Launch::Together,
            measure: alone,
            headline: "op_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "our mutex costs at most 1.1 times std's",
                    of: pick("mutex", "", "op_ns"),
                    against: Some(pick("std_mutex", "", "op_ns")),
                    expect: Expect::AtMost(1.1),
                    cores: 1,
                },
                Claim {
                    text: "and at most 1.1 times parking_lot 0.13's",
                    of: pick("mutex", "", "op_ns"),
                    against: Some(pick("pl013_mutex", "", "op_ns")),
                    expect: Expect::AtMost(1.1),
                    cores: 1,
                },
                Claim {
                    text: "tokio's mutex, a semaphore with a queue, costs at least twice as much",
                    of: pick("tokio_mutex", "", "op_ns"),
                    against: Some(pick("std_mutex", "", "op_ns")),
                    expect: Expect::AtLeast(2.0),
                    cores: 1,
                },
            ],
            because: "Alone, a mutex is one compare-and-swap to lock and one swap to unlock, in a line that the core has already: no system \
                      call, no waiting. So a mutex that nobody wants is cheap, and \"locks are slow\" is about something else. See \
                      `lock` in src/structures/lock/mutex.rs.",
            tour: false,
        },
        Step {
            name: "crowd",
            ask: "All threads lock and unlock the same mutex, and hold it for nothing. Which lets through the most?",
            predict: Predict::Best { param: "hold_0" },
            kind: Kind::Contended,
            cases: LOCKS,
            params: &["hold_0", "hold_1us"],
            launch: Launch::Together,
            measure: crowded,
            headline: "ops_per_s",
            columns: &["hold_ns", "lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "held for nothing, a fair mutex lets through at most half of what its barging sister does",
                    of: pick("pl013_fair", "hold_0", "ops_per_s"),
                    against: Some(pick("pl013_mutex", "hold_0", "ops_per_s")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
                Claim {
                    text: "held for 1 us, all threads together get at most a million through: the lock is the program",
                    of: pick("std_mutex", "hold_1us", "ops_per_s"),
                    against: None,
                    expect: Expect::AtMost(1.05e6),
                    cores: 2,
                },
            ],
            because: "Held for nothing, what decides is whether the other thread is parked when the lock comes free. Where it is, a barging mutex \
                      is taken again by the thread that has the line in its cache, and a fair one is handed to somebody who must first wake \
                      up. parking_lot's waiters spin before they park, and its unlock_fair gives back by one exchange as unlock does if nobody is \
                      parked (parking_lot, src/raw_mutex.rs), so between two threads fairness may cost nothing; our handoff gives the lock to whoever drew the next \
                      number, even if that thread sleeps. \
                      Held for long, no mutex can do more than one hold after the other.",
            tour: false,
        },
        Step {
            name: "who_waits",
            ask: "Four threads for each CPU, each holds 1 us. How many ns does half of std's acquisitions wait at most?",
            predict: Predict::Number { case: "std_mutex", param: "4x_threads" },
            kind: Kind::Tail,
            cases: LOCKS,
            params: &["1x_threads", "2x_threads", "4x_threads", "4x_think_4us"],
            launch: Launch::Together,
            measure: who_waits,
            headline: "wait_p50_ns",
            columns: &[
                "wait_p99_ns",
                "wait_max_ns",
                "longest_run_count",
                "jain_share",
                "min_max_share",
                "ops_per_s",
                "switches_per_op_count",
            ],
            claims: &[
                Claim {
                    text: "with four threads a CPU, at least half of std's acquisitions wait less than one hold: the others pay",
                    of: pick("std_mutex", "4x_threads", "wait_p50_ns"),
                    against: None,
                    expect: Expect::AtMost(1_000.0),
                    cores: 1,
                },
                Claim {
                    text: "a fair mutex makes the median wait at least 10 times as long as std's",
                    of: pick("pl013_fair", "4x_threads", "wait_p50_ns"),
                    against: Some(pick("std_mutex", "4x_threads", "wait_p50_ns")),
                    expect: Expect::AtLeast(10.0),
                    cores: 1,
                },
            ],
            because: "A median says nothing of a lock: a barging mutex gives it to the one who runs, over and over (longest run), and the \
                      rest waits for whole time slices. Jain's index is 1 where all get the same, and 1/threads where one gets all. \
                      The maximum is of the waits that were sampled, every eighth.",
            tour: false,
        },
        Step {
            name: "barging",
            ask: "Four threads hold for 1 ms and lock again at once. How often in a row, on average, does one thread get std's mutex?",
            predict: Predict::Number { case: "std_mutex", param: "" },
            kind: Kind::Chance,
            cases: LOCKS,
            params: &[""],
            launch: Launch::Together,
            measure: barging,
            headline: "mean_run_count",
            columns: &["longest_run_count", "jain_share", "min_max_share"],
            claims: &[
                Claim {
                    text: "std's mutex goes to the same thread at least twice in a row, on average",
                    of: pick("std_mutex", "", "mean_run_count"),
                    against: None,
                    expect: Expect::AtLeast(2.0),
                    cores: 1,
                },
                Claim {
                    text: "parking_lot changed its nature: the runs of 0.13 are at least twice as long as those of 0.12",
                    of: pick("pl013_mutex", "", "mean_run_count"),
                    against: Some(pick("pl012_mutex", "", "mean_run_count")),
                    expect: Expect::AtLeast(2.0),
                    cores: 1,
                },
                Claim {
                    text: "a FairMutex goes round: no runs to speak of",
                    of: pick("pl013_fair", "", "mean_run_count"),
                    against: None,
                    expect: Expect::AtMost(1.1),
                    cores: 1,
                },
                Claim {
                    text: "and so does our hand-off mutex",
                    of: pick("handoff", "", "mean_run_count"),
                    against: None,
                    expect: Expect::AtMost(1.1),
                    cores: 1,
                },
            ],
            because: "Who unlocks wakes one waiter, but does not give it the lock; a wake-up takes microseconds and a new lock nanoseconds, so the \
                      holder always wins. parking_lot up to 0.12 handed the lock over about every half millisecond (eventual \
                      fairness); 0.13 took that away, and what is written about \"fair parking_lot\" is about the past. The holders sleep \
                      here, so no CPU is short; but a neighbour that takes one delays a wake-up, and with it changes who is next.",
            tour: true,
        },
    ],
    says: &[
        Say {
            step: "barging",
            text: "Four threads that hold a lock for 1 ms: parking_lot 0.13 gave it to one thread {value} times in a row on average, 0.12 {against}.",
            of: pick("pl013_mutex", "", "mean_run_count"),
            against: Some(pick("pl012_mutex", "", "mean_run_count")),
            not_true_when: "threads do something else between two acquisitions, or use unlock_fair",
        },
        Say {
            step: "alone",
            text: "Alone, locking and unlocking std's mutex takes {value}.",
            of: pick("std_mutex", "", "op_ns"),
            against: None,
            not_true_when: "another core had the lock last: then its line has to come first",
        },
    ],
    not_said: &[
        "Which mutex is the best: throughput and fairness are traded, and the crowd here does nothing but lock.",
        "Anything about tails beyond what the samples support; the maximum is the longest sampled wait.",
        "That a run of one thread is bad: it is also why the barging lock is fast.",
    ],
    next: &[
        "When would you take the fair one? (long holds, and somebody watches the slowest)",
        "What does it cost if the holder loses its CPU? (lab lock_spin)",
        "How do you get rid of the lock altogether? (lab cache_scaling)",
    ],
    sources: &[
        "parking_lot 0.13.0 CHANGELOG: automatic eventual fairness was removed (#533), wake-ups after the release (#545)",
        "std's futex mutex: rust-lang/rust#95035",
        "Jain, Chiu, Hawe, DEC-TR-301, 1984: the fairness index",
        "Amanieu/parking_lot#338, #418, #419: a loop of lock and unlock rewards barging",
    ],
    benches,
};

fn alone(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 4, ..plan.clone() };
    checked(cases, params, || params.iter().flat_map(|p| cost::solo(&plan, p, &arms())).collect())
}

fn arms() -> [cost::Solo; 9] {
    [
        one::<Std>(true),
        one::<Pl012>(true),
        one::<Pl013>(true),
        one::<Ours>(true),
        one::<Handoff>(true),
        one::<Pl012Fair>(true),
        one::<Pl013Fair>(true),
        one::<Tokio>(true),
        one::<Empty>(true),
    ]
}

fn crowds() -> [throughput::Crowd; 8] {
    [
        meet::<Std>(0),
        meet::<Pl012>(0),
        meet::<Pl013>(0),
        meet::<Ours>(0),
        meet::<Handoff>(0),
        meet::<Pl012Fair>(0),
        meet::<Pl013Fair>(0),
        meet::<Tokio>(0),
    ]
}

fn crowded(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let hold = |p: &str| if p == "hold_1us" { 1_000.0 } else { 0.0 };
    let plan = part(plan);
    checked(cases, params, || {
        params.iter().flat_map(|p| throughput::crowd(&plan, p, hold(p), &crowds())).collect()
    })
}

fn locks() -> [Contender; 8] {
    [
        contender::<Std>(),
        contender::<Pl012>(),
        contender::<Pl013>(),
        contender::<Ours>(),
        contender::<Handoff>(),
        contender::<Pl012Fair>(),
        contender::<Pl013Fair>(),
        contender::<Tokio>(),
    ]
}

fn who_waits(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let queue = |param: &str| Queue {
        threads: plan.threads
            * match param {
                "1x_threads" => 1,
                "2x_threads" => 2,
                _ => 4,
            },
        hold: Hold::Busy(1_000.0),
        think_ns: if param == "4x_think_4us" { 4_000.0 } else { 0.0 },
        sample_every: 8,
        time: plan.slice / 5,
    };
    checked(cases, params, || wait_all(plan, params, &locks(), |p| Ok(queue(p))))
}

fn barging(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let queue = |_: &str| Queue {
        threads: 4,
        hold: Hold::Asleep(Duration::from_millis(1)),
        think_ns: 0.0,
        sample_every: 1,
        time: plan.slice / 2,
    };
    checked(cases, params, || wait_all(plan, params, &locks(), |p| Ok(queue(p))))
}

/// Part of the plan's slice, but no less than the windows take that a contender needs to be heard.
fn part(plan: &Plan) -> Plan {
    let least = Duration::from_millis(if plan.is_smoke() { 0 } else { 50 });
    Plan { slice: (plan.slice / 3).max(least), ..plan.clone() }
}

/// No contender is timed before it has shown that it does what its name says.
fn checked(cases: &[&str], params: &[&str], measure: impl FnOnce() -> Vec<Sample>) -> Vec<Sample> {
    let checks: [Check; 8] = [
        check::<Std>,
        check::<Pl012>,
        check::<Pl013>,
        check::<Ours>,
        check::<Handoff>,
        check::<Pl012Fair>,
        check::<Pl013Fair>,
        check::<Tokio>,
    ];
    gate::checked(&checks, cases, params, measure)
}

fn benches(plan: &Plan) -> Vec<Bench> {
    // The others differ from these by what the lab's own tables show, and each bench takes its second.
    let alone = [0, 2, 3, 4, 7, 8].map(|i| {
        let id = format!("alone/{}", arms()[i].case);
        Bench { id, make: Box::new(move || cost::timed(arms()[i].make)) }
    });
    let met = [0, 1, 2, 3, 4, 6].map(|i| {
        let plan = plan.clone();
        let id = format!("crowd/{}", LOCKS[i]);
        Bench { id, make: Box::new(move || throughput::timed(&plan, 0.0, &crowds()[i])) }
    });
    alone.into_iter().chain(met).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

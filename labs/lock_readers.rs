//! What do distributed readers gain, what do they lose when somebody writes, and who starves under which policy?
//!
//! Run it: `cargo run --release --bin lock_readers -- --step`
use std::time::Duration;

use crossbeam::sync::ShardedLock;
use underhood::{
    contenders::{
        gate::{self, Check},
        lock::{Guarded, check, check_work, crowd as meet},
    },
    experiments::policy::{Lone, Recursive, lone},
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        order::Order,
        throughput::{self, Crowd},
    },
    record::AA,
    structures::lock::{rwlock::RwLock, rwlock_fair::RwLockFair, rwlock_sharded::RwLockSharded},
};

type Pl012 = pl012::RwLock<u64>;
type Pl013 = pl013::RwLock<u64>;
type Std = std::sync::RwLock<u64>;
type Tokio = tokio::sync::RwLock<u64>;
type Ours = RwLock<u64>;
type Fair = RwLockFair<u64>;
type Distributed = RwLockSharded<u64>;
type Crossbeam = ShardedLock<u64>;

pub(crate) static LAB: Lab = Lab {
    stem: "lock_readers",
    question: "What do distributed readers gain, what do they lose when somebody writes, and who starves under which policy?",
    steps: &[
        Step {
            name: "distributed",
            ask: "All threads read and hold for nothing. How many times a second do they get through our lock with distributed readers?",
            predict: Predict::Number { case: "rwlock_sharded", param: "reads_100" },
            kind: Kind::Contended,
            cases: &[
                "pl013_rwlock",
                "pl012_rwlock",
                "std_rwlock",
                "rwlock",
                "rwlock_fair",
                "rwlock_sharded",
                "crossbeam_sharded",
                "tokio_rwlock",
            ],
            params: &["reads_100", "reads_99", "reads_50"],
            launch: Launch::Together,
            measure: distributed,
            headline: "ops_per_s",
            columns: &["lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "with readers only, distributed readers do at least 1.5 times what they do under parking_lot 0.13's RwLock",
                    of: pick("rwlock_sharded", "reads_100", "ops_per_s"),
                    against: Some(pick("pl013_rwlock", "reads_100", "ops_per_s")),
                    expect: Expect::AtLeast(1.5),
                    cores: 2,
                },
                Claim {
                    text: "with half of the operations writing they do at most as much",
                    of: pick("rwlock_sharded", "reads_50", "ops_per_s"),
                    against: Some(pick("pl013_rwlock", "reads_50", "ops_per_s")),
                    expect: Expect::AtMost(1.0),
                    cores: 2,
                },
                Claim {
                    text: "and so does crossbeam's ShardedLock, which takes eight locks for a write: at most half",
                    of: pick("crossbeam_sharded", "reads_50", "ops_per_s"),
                    against: Some(pick("pl013_rwlock", "reads_50", "ops_per_s")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
                Claim {
                    text: "with readers only, tokio's lock, taken by blocking threads, does at most half of parking_lot's",
                    of: pick("tokio_rwlock", "reads_100", "ops_per_s"),
                    against: Some(pick("pl013_rwlock", "reads_100", "ops_per_s")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
            ],
            because: "Readers of an ordinary lock share the lock, but pull at one line to say so. Give each a line of its own to count itself in, \
                      and reading scales with the cores: `read` in src/structures/lock/rwlock_sharded.rs. Somebody has to pay: a writer bars and \
                      empties every slot, taking every reader's line away. tokio's queue for tasks is behind a mutex of its own.",
            tour: false,
        },
        Step {
            name: "who_starves",
            ask: "A writer comes among readers who hold for 1 ms and come back at once. Which lock makes it wait least?",
            predict: Predict::Best { param: "one_writer" },
            kind: Kind::Tail,
            cases: &[
                "pl013_rwlock",
                "pl012_rwlock",
                "pl012_recursive",
                "std_rwlock",
                "rwlock",
                "rwlock_fair",
                "rwlock_sharded",
                "crossbeam_sharded",
                "tokio_rwlock",
            ],
            params: &["one_writer", "one_reader"],
            launch: Launch::Together,
            measure: who_starves,
            headline: "wait_p50_ns",
            columns: &["wait_max_ns", "others_max_ns", "overtakes_count", "turns_count"],
            claims: &[
                Claim {
                    text: "a writer who waits for parking_lot 0.13's lock bars new readers: at most half a reader overtakes it",
                    of: pick("pl013_rwlock", "one_writer", "overtakes_count"),
                    against: None,
                    expect: Expect::AtMost(0.5),
                    cores: 1,
                },
                Claim {
                    text: "readers that may recurse pass it: at least 10 overtake",
                    of: pick("pl012_recursive", "one_writer", "overtakes_count"),
                    against: None,
                    expect: Expect::AtLeast(10.0),
                    cores: 1,
                },
                Claim {
                    text: "a reader among writers starves under our writer-preferring lock: at least 10 writers overtake it",
                    of: pick("rwlock", "one_reader", "overtakes_count"),
                    against: None,
                    expect: Expect::AtLeast(10.0),
                    cores: 1,
                },
                Claim {
                    text: "where phases take turns (rwlock_fair), at most one writer does",
                    of: pick("rwlock_fair", "one_reader", "overtakes_count"),
                    against: None,
                    expect: Expect::AtMost(1.0),
                    cores: 1,
                },
            ],
            because: "A lock has to choose. Let readers pass a waiting writer, and a stream of them keeps it out; bar them, and a stream of \
                      writers keeps readers out, and a reader that reads twice can deadlock (lab lock_deadlock). Phase-fair: one phase of readers, \
                      one writer, in turn, so each waits for at most one of the other kind (src/structures/lock/rwlock_fair.rs). The overtakes tell the policy; \
                      the waits are what it costs. All holders sleep, so no CPU is short. A wait that the end of the run cut short is a bound from below.",
            tour: false,
        },
        Step {
            name: "phases",
            ask: "All threads read and hold for 2 us. How many times a second do they get through parking_lot 0.13's RwLock?",
            predict: Predict::Number { case: "pl013_rwlock", param: "2us_reads_100" },
            kind: Kind::Contended,
            cases: &["pl013_mutex", "pl013_rwlock", "rwlock_sharded"],
            params: &[
                "0_reads_100",
                "0_reads_90",
                "0_reads_50",
                "200ns_reads_100",
                "200ns_reads_90",
                "200ns_reads_50",
                "2us_reads_100",
                "2us_reads_90",
                "2us_reads_50",
            ],
            launch: Launch::Together,
            measure: phases,
            headline: "ops_per_s",
            columns: &["hold_ns"],
            claims: &[
                Claim {
                    text: "short holds, half of them writing: the mutex wins",
                    of: pick("pl013_rwlock", "0_reads_50", "ops_per_s"),
                    against: Some(pick("pl013_mutex", "0_reads_50", "ops_per_s")),
                    expect: Expect::AtMost(1.0),
                    cores: 2,
                },
                Claim {
                    text: "long holds, nobody writes: the reader-writer lock wins, by at least 1.5 times",
                    of: pick("pl013_rwlock", "2us_reads_100", "ops_per_s"),
                    against: Some(pick("pl013_mutex", "2us_reads_100", "ops_per_s")),
                    expect: Expect::AtLeast(1.5),
                    cores: 2,
                },
                Claim {
                    text: "where nobody writes, distributed readers win at every hold, also at none: at least 1.5 times the mutex",
                    of: pick("rwlock_sharded", "0_reads_100", "ops_per_s"),
                    against: Some(pick("pl013_mutex", "0_reads_100", "ops_per_s")),
                    expect: Expect::AtLeast(1.5),
                    cores: 2,
                },
            ],
            because: "Two things decide: how long the lock is held against the journey of its line, and how many of those who come may share \
                      it. A ratio above one in a cell means that the reader-writer lock wins there, below one that the mutex does; \"no difference \
                      shown\" is a border. The third dimension is the number of threads: run it with --threads.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "distributed",
            text: "With {threads} threads that only read, distributed readers do {value}; under parking_lot 0.13's RwLock they do {against}: {ratio}.",
            of: pick("rwlock_sharded", "reads_100", "ops_per_s"),
            against: Some(pick("pl013_rwlock", "reads_100", "ops_per_s")),
            not_true_when: "writes are frequent: each takes every reader's line away",
        },
        Say {
            step: "who_starves",
            text: "Among three readers that hold for 1 ms, a writer waits {value} for parking_lot 0.12's lock if they read recursively; else {against}.",
            of: pick("pl012_recursive", "one_writer", "wait_p50_ns"),
            against: Some(pick("pl012_rwlock", "one_writer", "wait_p50_ns")),
            not_true_when: "the readers stay away long enough for the lock to fall free",
        },
    ],
    not_said: &[
        "That distributed readers are free: 128 bytes for each slot, and a write that grows with the slots.",
        "That writer preference is right: it is a choice between two kinds of starvation.",
        "Anything about a lock with a runtime's tasks as readers: tokio's is meant for those, and is taken here by threads that block.",
        "Anything about more threads than were measured.",
    ],
    next: &[
        "From which hold time on does sharing pay at all? (lab lock_rwlock, step crossover)",
        "What if readers may see an old value? (a snapshot: lab lockfree_snapshot)",
        "Why do most reader-writer locks deadlock when one thread reads twice? (lab lock_deadlock)",
    ],
    sources: &[
        "B. B. Brandenburg, J. H. Anderson, \"Spin-Based Reader-Writer Synchronization for Multiprocessor Real-Time Systems\", 2010: phase-fair locks",
        "folly SharedMutex: readers in slots of their own, deferred",
        "crossbeam-utils, ShardedLock: a std lock in each of eight shards, a writer takes all",
        "parking_lot 0.12 and 0.13, RwLock docs: a waiting writer bars readers; read_recursive does not wait for it",
    ],
    benches,
};

/// Part of the plan's slice, but no less than the windows take that a contender needs to be heard.
fn part(plan: &Plan) -> Plan {
    let least = Duration::from_millis(if plan.is_smoke() { 0 } else { 50 });
    Plan { slice: (plan.slice / 5).max(least), ..plan.clone() }
}

/// No contender is timed before it has shown that it does what its name says, and the same work as the others.
fn sound<L: Guarded>() -> [Check; 2] {
    fn work<L: Guarded>() -> Result<(), String> {
        [100, 99, 90, 50].into_iter().try_for_each(check_work::<L>)
    }
    [check::<L>, work::<L>]
}

/// The checks of the locks that more than one step measures.
fn all_sound() -> Vec<Check> {
    [
        sound::<Pl013>(),
        sound::<Pl012>(),
        sound::<Std>(),
        sound::<Ours>(),
        sound::<Fair>(),
        sound::<Distributed>(),
        sound::<Crossbeam>(),
        sound::<Tokio>(),
    ]
    .concat()
}

fn reads(param: &str) -> u32 {
    param.rsplit_once("reads_").and_then(|(_, p)| p.parse().ok()).unwrap_or(100)
}

/// The hold asked for; what is printed is the hold achieved.
fn hold_ns(param: &str) -> f64 {
    match param.split_once('_') {
        Some(("200ns", _)) => 200.0,
        Some(("2us", _)) => 2e3,
        _ => 0.0,
    }
}

fn crowds(reads: u32) -> [Crowd; 8] {
    [
        meet::<Pl013>(reads),
        meet::<Pl012>(reads),
        meet::<Std>(reads),
        meet::<Ours>(reads),
        meet::<Fair>(reads),
        meet::<Distributed>(reads),
        meet::<Crossbeam>(reads),
        meet::<Tokio>(reads),
    ]
}

fn distributed(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let at = |p: &&str| throughput::crowd(&part(plan), p, 0.0, &crowds(reads(p)));
    gate::checked(&all_sound(), cases, params, || params.iter().flat_map(at).collect())
}

fn phases(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let arms =
        |reads: u32| [meet::<pl013::Mutex<u64>>(reads), meet::<Pl013>(reads), meet::<Distributed>(reads)];
    let at = |p: &&str| throughput::crowd(&part(plan), p, hold_ns(p), &arms(reads(p)));
    let checks = [sound::<pl013::Mutex<u64>>(), sound::<Pl013>(), sound::<Distributed>()].concat();
    gate::checked(&checks, cases, params, || params.iter().flat_map(at).collect())
}

fn who_starves(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    type One = fn(Lone, Duration, &str) -> Sample;
    let twin: One = |who, time, param| Sample { case: AA.into(), ..lone::<Pl013>(who, time, param) };
    let all: [One; 10] = [
        twin,
        lone::<Pl013>,
        lone::<Pl012>,
        lone::<Recursive>,
        lone::<Std>,
        lone::<Ours>,
        lone::<Fair>,
        lone::<Distributed>,
        lone::<Crossbeam>,
        lone::<Tokio>,
    ];
    let mut turn: Vec<(&str, One)> = params.iter().flat_map(|p| all.map(|one| (*p, one))).collect();
    Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
    let who = |param: &str| if param == "one_reader" { Lone::Reader } else { Lone::Writer };
    // A lone thread has a turn about every 4 ms, and the crowd of writers a hold each ms.
    let time = plan.slice / 4;
    let checks = [all_sound(), sound::<Recursive>().into()].concat();
    gate::checked(&checks, cases, params, || {
        turn.iter().map(|(param, one)| one(who(param), time, param)).collect()
    })
}

fn benches(plan: &Plan) -> Vec<Bench> {
    // parking_lot's lock and ours are among the benches of lock_rwlock.
    let met = [4, 5, 6].map(|i| {
        let plan = plan.clone();
        let id = format!("readers/{}", crowds(100)[i].case);
        Bench { id, make: Box::new(move || throughput::timed(&plan, 0.0, &crowds(100)[i])) }
    });
    met.into_iter().collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

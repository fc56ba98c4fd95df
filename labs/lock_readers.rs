//! What do distributed readers gain, what do they lose when somebody writes, and who starves under which policy?
//!
//! Run it: `cargo run --release --bin lock_readers -- --step`
use std::time::Duration;

use underhood::{
    contenders::lock::{
        CROSSBEAM_SHARDED, Lock, PL012_RECURSIVE, PL012_RWLOCK, PL013_MUTEX, PL013_RWLOCK, RWLOCK,
        RWLOCK_FAIR, RWLOCK_SHARDED, STD_RWLOCK, TOKIO_RWLOCK, reads,
    },
    experiments::policy::{Lone, lone},
    lab::{Evidence, Kind, Lab, Step, at, at_least, at_most, pick, ratio, sample::Sample, shown_by, source},
    measure::{order::Order, throughput},
    record::AA,
};

/// What the windows take that a contender needs to be heard.
const LEAST: Duration = Duration::from_millis(50);

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "lock_readers",
        "What do distributed readers gain, what do they lose when somebody writes, and who starves under which policy?"
    )
    .step(distributed())
    .step(who_starves())
    .step(phases())
    .say(
        "distributed",
        "With {threads} threads that only read, distributed readers do {value}; under parking_lot 0.13's RwLock they do {against}: {ratio}.",
        ratio(("rwlock_sharded", "reads_100"), ("pl013_rwlock", "reads_100")),
        "writes are frequent: each takes every reader's line away",
    )
    .say(
        "who_starves",
        "Among three readers that hold for 1 ms, a writer waits {value} for parking_lot 0.12's lock if they read recursively; else {against}.",
        ratio(("pl012_recursive", "one_writer"), ("pl012_rwlock", "one_writer")),
        "the readers stay away long enough for the lock to fall free",
    )
    .not_said(&[
        "That distributed readers are free: 128 bytes for each slot, and a write that grows with the slots.",
        "That writer preference is right: it is a choice between two kinds of starvation.",
        "Anything about a lock with a runtime's tasks as readers: tokio's is meant for those, and is taken here by threads that block.",
        "Anything about more threads than were measured.",
    ])
    .next(&[
        "From which hold time on does sharing pay at all? (lab lock_rwlock, step crossover)",
        "What if readers may see an old value? (a snapshot: lab lockfree_snapshot)",
        "Why do most reader-writer locks deadlock when one thread reads twice? (lab lock_deadlock)",
    ])
    .sources(&[
        "B. B. Brandenburg, J. H. Anderson, \"Spin-Based Reader-Writer Synchronization for Multiprocessor Real-Time Systems\", 2010: phase-fair locks",
        "folly SharedMutex: readers in slots of their own, deferred",
        "crossbeam-utils, ShardedLock: a std lock in each of eight shards, a writer takes all",
        "parking_lot 0.12 and 0.13, RwLock docs: a waiting writer bars readers; read_recursive does not wait for it",
    ])
}

fn distributed() -> Step {
    const LOCKS: &[&Lock] = &[
        &PL013_RWLOCK,
        &PL012_RWLOCK,
        &STD_RWLOCK,
        &RWLOCK,
        &RWLOCK_FAIR,
        &RWLOCK_SHARDED,
        &CROSSBEAM_SHARDED,
        &TOKIO_RWLOCK,
    ];
    Step::new("distributed", Kind::Contended, "ops_per_s")
        .ask_number(
            "All threads read and hold for nothing. How many times a second do they get through our lock with distributed readers?",
            "rwlock_sharded",
            "reads_100",
        )
        .columns(&["lane_op_ns", "min_max_share"])
        .contenders(LOCKS)
        .slice(0.2)
        .slice_at_least(LEAST)
        .over([reads("reads_100", 100), reads("reads_99", 99), reads("reads_50", 50)], |plan, p| {
            throughput::crowd(plan, p.id(), 0.0, LOCKS.iter().map(|l| l.crowd(p.value)))
        })
        // parking_lot's lock and ours are among the benches of lock_rwlock.
        .bench("readers/{case}", [&RWLOCK_FAIR, &RWLOCK_SHARDED, &CROSSBEAM_SHARDED], |plan, lock| {
            throughput::timed(plan, 0.0, &lock.crowd(100))
        })
        .claim(
            at_least(1.5, ratio(("rwlock_sharded", "reads_100"), ("pl013_rwlock", "reads_100"))).cores(2),
            "with readers only, distributed readers do at least 1.5 times what they do under parking_lot 0.13's RwLock",
        )
        .claim(
            at_most(1.0, ratio(("rwlock_sharded", "reads_50"), ("pl013_rwlock", "reads_50"))).cores(2),
            "with half of the operations writing they do at most as much",
        )
        .claim(
            at_most(0.5, ratio(("crossbeam_sharded", "reads_50"), ("pl013_rwlock", "reads_50"))).cores(2),
            "and so does crossbeam's ShardedLock, which takes eight locks for a write: at most half",
        )
        .claim(
            at_most(0.5, ratio(("tokio_rwlock", "reads_100"), ("pl013_rwlock", "reads_100"))).cores(2),
            "with readers only, tokio's lock, taken by blocking threads, does at most half of parking_lot's",
        )
        .because(
            "Readers of an ordinary lock share the lock, but pull at one line to say so. Give each a line of its own to count itself in, and \
             reading scales with the cores: `read` in src/structures/lock/rwlock_sharded.rs.",
            // The two differ in where a reader counts itself, not in how many atomic instructions it needs.
            shown_by(at_least(1.5, ratio(("rwlock_sharded", "reads_100"), ("rwlock", "reads_100"))).cores(2)),
        )
        .because(
            "Somebody has to pay: a writer bars and empties every slot, taking every reader's line away.",
            shown_by(at_most(0.5, ratio(("rwlock_sharded", "reads_50"), ("rwlock_sharded", "reads_100"))).cores(2)),
        )
        .because("tokio's queue for tasks is behind a mutex of its own.", Evidence::None)
}

fn who_starves() -> Step {
    const LOCKS: &[&Lock] = &[
        &PL013_RWLOCK,
        &PL012_RWLOCK,
        &PL012_RECURSIVE,
        &STD_RWLOCK,
        &RWLOCK,
        &RWLOCK_FAIR,
        &RWLOCK_SHARDED,
        &CROSSBEAM_SHARDED,
        &TOKIO_RWLOCK,
    ];
    let overtakes = |case, param| pick(case, param, "overtakes_count");
    Step::new("who_starves", Kind::Tail, "wait_p50_ns")
        .ask_best(
            "A writer comes among readers who hold for 1 ms and come back at once. Which lock makes it wait least?",
            "one_writer",
        )
        .columns(&["wait_max_ns", "others_max_ns", "overtakes_count", "turns_count"])
        .contenders(LOCKS)
        // A lone thread has a turn about every 4 ms, and the crowd of writers a hold each ms.
        .slice(0.25)
        .over_all([at("one_writer", Lone::Writer), at("one_reader", Lone::Reader)], |plan, points| {
            let all = || [(LOCKS[0], AA)].into_iter().chain(LOCKS.iter().map(|l| (*l, l.as_ref().id)));
            let mut turn: Vec<_> = points.iter().flat_map(|p| all().map(move |(l, case)| (p, l, case))).collect();
            Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
            turn.into_iter()
                .map(|(p, lock, case)| Sample {
                    case: case.into(),
                    ..lone(lock, p.value, plan.slice, p.id())
                })
                .collect()
        })
        .claim(
            at_most(0.5, overtakes("pl013_rwlock", "one_writer")),
            "a writer who waits for parking_lot 0.13's lock bars new readers: at most half a reader overtakes it",
        )
        .claim(
            at_least(10.0, overtakes("pl012_recursive", "one_writer")),
            "readers that may recurse pass it: at least 10 overtake",
        )
        .claim(
            at_least(10.0, overtakes("rwlock", "one_reader")),
            "a reader among writers starves under our writer-preferring lock: at least 10 writers overtake it",
        )
        .claim(
            at_most(1.0, overtakes("rwlock_fair", "one_reader")),
            "where phases take turns (rwlock_fair), at most one writer does",
        )
        .because(
            "A lock has to choose. Let readers pass a waiting writer, and a stream of them keeps it out.",
            shown_by(at_least(10.0, ratio(("pl012_recursive", "one_writer"), ("pl012_rwlock", "one_writer")))),
        )
        .because(
            "Bar them, and a stream of writers keeps readers out.",
            shown_by(at_least(10.0, overtakes("std_rwlock", "one_reader"))),
        )
        .because(
            "Bar them, and a reader that reads twice can deadlock (lab lock_deadlock).",
            source("lab lock_deadlock, step read_twice"),
        )
        .because(
            "Phase-fair: one phase of readers, one writer, in turn, so each waits for at most one of the other kind \
             (src/structures/lock/rwlock_fair.rs).",
            source("Brandenburg, Anderson, 2010"),
        )
        .because(
            "The overtakes tell the policy; the waits are what it costs. All holders sleep, so no CPU is short. A wait that the end of the \
             run cut short is a bound from below.",
            source("src/experiments/policy.rs"),
        )
}

fn phases() -> Step {
    const LOCKS: &[&Lock] = &[&PL013_MUTEX, &PL013_RWLOCK, &RWLOCK_SHARDED];
    // How long it is held, in ns, and how many of a hundred operations read.
    let cells = [
        at("0_reads_100", (0.0, 100)),
        at("0_reads_90", (0.0, 90)),
        at("0_reads_50", (0.0, 50)),
        at("200ns_reads_100", (200.0, 100)),
        at("200ns_reads_90", (200.0, 90)),
        at("200ns_reads_50", (200.0, 50)),
        at("2us_reads_100", (2e3, 100)),
        at("2us_reads_90", (2e3, 90)),
        at("2us_reads_50", (2e3, 50)),
    ];
    Step::new("phases", Kind::Contended, "ops_per_s")
        .ask_number(
            "All threads read and hold for 2 us. How many times a second do they get through parking_lot 0.13's RwLock?",
            "pl013_rwlock",
            "2us_reads_100",
        )
        .columns(&["hold_ns"])
        .contenders(LOCKS)
        .slice(0.2)
        .slice_at_least(LEAST)
        // What is printed is the hold achieved.
        .over(cells, |plan, p| {
            let (hold_ns, reads_percent) = p.value;
            throughput::crowd(plan, p.id(), hold_ns, LOCKS.iter().map(|l| l.crowd(reads_percent)))
        })
        .claim(
            at_most(1.0, ratio(("pl013_rwlock", "0_reads_50"), ("pl013_mutex", "0_reads_50"))).cores(2),
            "short holds, half of them writing: the mutex wins",
        )
        .claim(
            at_least(1.5, ratio(("pl013_rwlock", "2us_reads_100"), ("pl013_mutex", "2us_reads_100"))).cores(2),
            "long holds, nobody writes: the reader-writer lock wins, by at least 1.5 times",
        )
        .claim(
            at_least(1.5, ratio(("rwlock_sharded", "0_reads_100"), ("pl013_mutex", "0_reads_100"))).cores(2),
            "where nobody writes, distributed readers win at every hold, also at none: at least 1.5 times the mutex",
        )
        .because(
            "Two things decide. One is how long the lock is held against the journey of its line.",
            shown_by(at_most(1.0, ratio(("pl013_rwlock", "0_reads_100"), ("pl013_mutex", "0_reads_100"))).cores(2)),
        )
        .because(
            "The other is how many of those who come may share it.",
            shown_by(at_most(0.7, ratio(("pl013_rwlock", "2us_reads_50"), ("pl013_rwlock", "2us_reads_100"))).cores(2)),
        )
        .because(
            "A ratio above one in a cell means that the reader-writer lock wins there; below one, the mutex does. \"No difference shown\" \
             is a border. The third dimension is the number of threads: run it with --threads.",
            Evidence::None,
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

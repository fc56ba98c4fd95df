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
    lab::{Kind, Lab, Step, at, at_least, at_most, pick, ratio, sample::Sample, shown_by, source},
    measure::{order::Order, throughput},
    record::AA,
};

/// Long enough for the windows that a contender needs.
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
        "{threads} threads only read. With our RwLock, where each reader has a slot of its own, they reach {value}. With \
         parking_lot 0.13's RwLock they reach {against}: {ratio}.",
        ratio(("rwlock_sharded", "reads_100"), ("pl013_rwlock", "reads_100")),
        "writes are frequent: each write takes away the cache lines of all readers",
    )
    .say(
        "who_starves",
        "Three readers hold parking_lot 0.12's lock for 1 ms each, again and again. With read_recursive, {value} of \
         their reads overtake a waiting writer before the run ends. With an ordinary read it is {against}.",
        ratio(
            pick("pl012_recursive", "one_writer", "overtakes_count"),
            pick("pl012_rwlock", "one_writer", "overtakes_count"),
        ),
        "the readers stay away long enough for the lock to become free",
    )
    .not_said(&[
        "That distributed readers are free: each slot takes 128 bytes, and a write takes longer with more slots.",
        "That writer preference is right: it is a choice between two kinds of starvation.",
        "Anything about async tasks as readers: tokio's lock is made for tasks, but here blocking threads take it.",
        "Anything about more threads than were measured.",
    ])
    .next(&[
        "From which hold time on does sharing pay at all? (lab lock_rwlock, step crossover)",
        "What if readers may see an old value? (a snapshot: lab lockfree_snapshot)",
        "Why do most reader-writer locks deadlock when one thread takes the read lock twice? (lab lock_deadlock)",
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
            "All threads read, and do nothing under the lock. How many times a second do they get through our RwLock \
             with a slot for each reader?",
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
            "with readers only, our RwLock with a slot for each reader lets through at least 1.5 times what parking_lot 0.13's does",
        )
        .claim(
            at_most(1.0, ratio(("rwlock_sharded", "reads_50"), ("pl013_rwlock", "reads_50"))).cores(2),
            "if half of the operations write, our RwLock with a slot for each reader lets through no more than parking_lot's \
             does",
        )
        .claim(
            at_most(0.5, ratio(("crossbeam_sharded", "reads_50"), ("pl013_rwlock", "reads_50"))).cores(2),
            "if half of the operations write, crossbeam's ShardedLock (eight locks for each write) lets through at most half \
             of what parking_lot's does",
        )
        .claim(
            at_most(0.5, ratio(("tokio_rwlock", "reads_100"), ("pl013_rwlock", "reads_100"))).cores(2),
            "with readers only, tokio's lock, taken by blocking threads, lets through at most half of what parking_lot's does",
        )
        .because(
            "Readers share an ordinary lock, but each writes the same cache line to count itself in. If each reader has \
             a cache line of its own, reading scales with the cores. See `read` in \
             src/structures/lock/rwlock_sharded.rs.",
            // The two differ in where a reader counts itself, not in how many atomic instructions it needs.
            shown_by(at_least(1.5, ratio(("rwlock_sharded", "reads_100"), ("rwlock", "reads_100"))).cores(2)),
        )
        .because(
            "The writer pays for these slots. It closes each one and waits until it is empty, and so takes away the \
             cache lines of all readers.",
            shown_by(at_most(0.5, ratio(("rwlock_sharded", "reads_50"), ("rwlock_sharded", "reads_100"))).cores(2)),
        )
        .because(
            "tokio's lock keeps waiting tasks in a queue, and a mutex protects that queue.",
            source("tokio 1.54, src/sync/batch_semaphore.rs"),
        )
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
            "Readers hold the lock for 1 ms each and come back at once. One writer comes. Which lock makes the writer wait least?",
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
                    ..lone(lock, p.value, plan.slice, plan.seed ^ (plan.launch as u64) << 32, p.id())
                })
                .collect()
        })
        .claim(
            at_most(0.5, overtakes("pl013_rwlock", "one_writer")),
            "while a writer waits, parking_lot 0.13's lock keeps new readers out: on average at most 0.5 readers overtake the writer",
        )
        .claim(
            at_least(10.0, overtakes("pl012_recursive", "one_writer")),
            "with parking_lot 0.12's read_recursive, at least 10 readers overtake the writer",
        )
        .claim(
            at_least(10.0, overtakes("rwlock", "one_reader")),
            "a reader among writers starves under our writer-preferring lock: at least 10 writers overtake it",
        )
        .claim(
            at_most(1.0, overtakes("rwlock_fair", "one_reader")),
            "under our phase-fair lock, at most one writer overtakes the reader",
        )
        .because(
            "A lock has to choose. If readers may overtake a waiting writer, a stream of readers keeps the writer out.",
            shown_by(at_least(10.0, ratio(("pl012_recursive", "one_writer"), ("pl012_rwlock", "one_writer")))),
        )
        .because(
            "If writers go first even when a reader waits (writer preference), a stream of writers keeps the reader out.",
            shown_by(at_least(10.0, overtakes("std_rwlock", "one_reader"))),
        )
        .because(
            "A lock can keep new readers out while a writer waits, and still not starve them. In parking_lot 0.12, on \
             average at most three writers overtake the reader.",
            shown_by(at_most(3.0, overtakes("pl012_rwlock", "one_reader"))),
        )
        .because(
            "If a waiting writer keeps new readers out, a thread that reads twice can deadlock (lab lock_deadlock).",
            source("lab lock_deadlock, step read_twice"),
        )
        .because(
            "A phase-fair lock alternates between one phase of readers and one writer. So each waits for at most one of \
             the other kind (src/structures/lock/rwlock_fair.rs).",
            source("Brandenburg, Anderson, 2010"),
        )
        .because(
            "The number of overtakes shows the policy, and the waits show what it costs. All holders sleep while they have the \
             lock, so there are enough CPUs. A wait that the end of the run cut short is a lower bound.",
            source("src/experiments/policy.rs"),
        )
}

fn phases() -> Step {
    const LOCKS: &[&Lock] = &[&PL013_MUTEX, &PL013_RWLOCK, &RWLOCK_SHARDED];
    // How long the lock is held, in ns, and how many of a hundred operations read.
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
            "All threads read, and hold the lock for 2 us. How many times a second do they get through parking_lot 0.13's RwLock?",
            "pl013_rwlock",
            "2us_reads_100",
        )
        .columns(&["hold_ns"])
        .contenders(LOCKS)
        .slice(0.2)
        .slice_at_least(LEAST)
        // The hold that is printed was measured.
        .over(cells, |plan, p| {
            let (hold_ns, reads_percent) = p.value;
            throughput::crowd(plan, p.id(), hold_ns, LOCKS.iter().map(|l| l.crowd(reads_percent)))
        })
        .claim(
            at_most(1.0, ratio(("pl013_rwlock", "0_reads_50"), ("pl013_mutex", "0_reads_50"))).cores(2),
            "if nothing is done under the lock and half of the operations write, the mutex wins",
        )
        .claim(
            at_least(1.5, ratio(("pl013_rwlock", "2us_reads_100"), ("pl013_mutex", "2us_reads_100"))).cores(2),
            "with readers only and a hold of 2 us, the reader-writer lock wins: it does at least 1.5 times what the mutex does",
        )
        .claim(
            at_least(1.5, ratio(("rwlock_sharded", "0_reads_100"), ("pl013_mutex", "0_reads_100"))).cores(2),
            "if threads only read and do nothing under the lock, our RwLock with reader slots does at least 1.5 times what the \
             mutex does",
        )
        .because(
            "Two things decide which lock wins. One is how long the lock is held, compared with the time its cache line \
             takes from core to core.",
            shown_by(at_most(1.0, ratio(("pl013_rwlock", "0_reads_100"), ("pl013_mutex", "0_reads_100"))).cores(2)),
        )
        .because(
            "The other is the share of reads, since only readers can hold the lock together.",
            shown_by(at_most(0.7, ratio(("pl013_rwlock", "2us_reads_50"), ("pl013_rwlock", "2us_reads_100"))).cores(2)),
        )
        .because(
            "If the ratio in a cell is above one, the reader-writer lock wins there. If it is below one, the mutex wins. A \
             cell with \"no difference shown\" is at the border. The third dimension is the number of threads: set it with \
             --threads.",
            source("src/measure/throughput.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

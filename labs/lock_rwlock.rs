//! When is a reader-writer lock better than a mutex?
//!
//! Run it: `cargo run --release --bin lock_rwlock -- --step`
use std::time::Duration;

use underhood::{
    contenders::lock::{
        EMPTY, Lock, MUTEX, PL013_MUTEX, PL013_RWLOCK, RWLOCK, RWLOCK_SHARDED, STD_MUTEX, STD_RWLOCK, reads,
    },
    lab::{
        Contender, Kind, Lab, Point, Step, at, at_least, at_most, between, ns, pick, plan::Plan, ratio,
        sample::Sample, shown_by, source,
    },
    machine::core_to_core,
    measure::{cost, throughput},
    record::AA,
};

const LOCKS: &[&Lock] = &[&STD_MUTEX, &STD_RWLOCK, &PL013_MUTEX, &PL013_RWLOCK, &MUTEX, &RWLOCK, &EMPTY];
/// The same locks, and one in which each reader writes a word of its own.
const READ: &[&Lock] =
    &[&STD_MUTEX, &STD_RWLOCK, &PL013_MUTEX, &PL013_RWLOCK, &MUTEX, &RWLOCK, &RWLOCK_SHARDED, &EMPTY];
/// Long enough for the windows that a contender needs.
const LEAST: Duration = Duration::from_millis(40);

pub(crate) fn lab() -> Lab {
    underhood::lab!("lock_rwlock", "When is a reader-writer lock better than a mutex?")
        .step(alone())
        .step(readers())
        .step(mix())
        .step(crossover())
        .say(
            "crossover",
            "With {threads} threads that only read, parking_lot 0.13's RwLock beats its Mutex once the lock is held for more than {value}.",
            "pl013",
            "there are more cores or sockets, a thread writes, or the lock is a different one",
        )
        .say(
            "readers",
            "{threads} threads only read, and hold the lock for 5 us. Counted in reads, std's RwLock lets through {value}, std's Mutex {against}: {ratio}.",
            ratio(("std_rwlock", "hold_5us"), ("std_mutex", "hold_5us")),
            "there are writers, or many more threads: then the readers compete for the lock's cache line",
        )
        .not_said(&[
            "That an RwLock is faster for reads: on one thread it is not, and with many readers and short holds it depends on the lock.",
            "Anything about more threads than were measured: the more cores write the lock's cache line, the more it costs.",
            "Anything about fairness to writers: that is the lock's policy, not its speed.",
            "That a difference of a few percent on one thread comes from the lock: it may come from where the compiler put the \
             loop.",
        ])
        .next(&[
            "What do readers gain if each writes a cache line of its own, and who starves? (lab lock_readers)",
            "What happens to a thread that takes the read lock twice? (lab lock_deadlock)",
            "When is a snapshot (an atomic pointer swap) better than both?",
        ])
        .sources(&[
            "perfbook, CodeSamples/defer/rwlockscale.c: efficiency of reader-writer locks by hold time",
            "folly SharedMutex: header comment on why an ordinary reader-writer lock seldom beats a mutex",
            "parking_lot 0.13.0 CHANGELOG: eventual fairness was removed",
        ])
}

fn alone() -> Step {
    type Way = fn(&Lock) -> cost::Solo;
    let ways: [Point<Way>; 2] = [at("read", Lock::reads), at("write", Lock::writes)];
    Step::new("alone", Kind::Single, "op_ns")
        .ask_best("Only one thread takes the lock. Which lock is cheapest to take for reading?", "read")
        .contenders(LOCKS)
        .slice(0.25)
        .slice_at_least(LEAST)
        .over(ways, |plan, way| cost::solo(plan, way.id(), LOCKS.iter().map(|l| (way.value)(l))))
        .bench("alone/{case}", LOCKS.iter().copied(), |_, lock| cost::timed(&lock.reads()))
        .claim(
            at_least(0.9, ratio(("std_rwlock", "read"), ("std_mutex", "read"))),
            "alone, a std read lock costs at least 0.9 times as much as a std mutex: with one reader, sharing gains nothing",
        )
        .claim(
            at_most(1.1, ratio(("mutex", "write"), ("std_mutex", "write"))),
            "alone, our mutex costs at most 1.1 times as much as std's",
        )
        .because(
            "Taking a read lock is an atomic read-modify-write on the lock word, and so is releasing it. These are the \
             same two operations as for a mutex. See `read` in src/structures/lock/rwlock.rs and `lock` in \
             src/structures/lock/mutex.rs.",
            source("src/structures/lock/rwlock.rs, src/structures/lock/mutex.rs"),
        )
        .because(
            "Taking a reader-writer lock for reading is not cheaper than taking a mutex.",
            shown_by(at_least(0.9, ratio(("rwlock", "read"), ("mutex", "read")))),
        )
}

fn readers() -> Step {
    let holds =
        [ns("hold_0", 0.0), ns("hold_200ns", 200.0), ns("hold_1us", 1_000.0), ns("hold_5us", 5_000.0)];
    Step::new("readers", Kind::Contended, "ops_per_s")
        .ask_best(
            "All threads only read. Which lock lets through the most reads when each is held for a microsecond?",
            "hold_1us",
        )
        .columns(&["hold_ns", "lane_op_ns", "min_max_share"])
        .contenders(READ)
        .slice(0.3)
        .slice_at_least(LEAST)
        // The hold that is printed was measured.
        .over(holds, |plan, hold| {
            throughput::crowd(plan, hold.id(), hold.value, READ.iter().map(|l| l.crowd(100)))
        })
        .bench("readers_1us/{case}", LOCKS.iter().copied(), |plan, lock| {
            throughput::timed(plan, 1_000.0, &lock.crowd(100))
        })
        .claim(
            at_least(1.5, ratio(("std_rwlock", "hold_5us"), ("std_mutex", "hold_5us"))).cores(2),
            "with a hold of 5 us, the std RwLock lets through at least 1.5 times as many reads as the std Mutex",
        )
        .claim(
            at_most(1.0, ratio(("pl013_rwlock", "hold_0"), ("pl013_mutex", "hold_0"))).cores(2),
            "with nothing done under the lock, the parking_lot RwLock is no better than the parking_lot Mutex",
        )
        .claim(
            at_least(15.0, pick("std_rwlock", "hold_0", "lane_op_ns")).cores(2),
            "with nothing done under the std RwLock, a read takes each thread at least 15 ns: more than twice what it takes alone",
        )
        .because(
            "Readers do not exclude each other, but each writes the lock word twice, so they compete for its cache line. \
             If each reader has a slot of its own, that cost is gone.",
            shown_by(at_least(2.0, ratio(("rwlock_sharded", "hold_0"), ("rwlock", "hold_0"))).cores(2)),
        )
        .because(
            "If the hold is short, the readers wait for that cache line instead of the lock, and parking_lot's RwLock gains nothing.",
            shown_by(at_most(1.0, ratio(("pl013_rwlock", "hold_0"), ("pl013_mutex", "hold_0"))).cores(2)),
        )
        .because(
            "If the hold is long, readers hold the lock side by side, while the mutex lets in one thread after the other.",
            shown_by(at_least(1.5, ratio(("rwlock", "hold_5us"), ("mutex", "hold_5us"))).cores(2)),
        )
        .in_tour()
}

fn mix() -> Step {
    let shares = [reads("reads_99", 99), reads("reads_90", 90), reads("reads_50", 50)];
    Step::new("mix", Kind::Contended, "ops_per_s")
        .ask_best(
            "The lock is held for a microsecond, and every hundredth operation writes. Which lock lets through the most?",
            "reads_99",
        )
        .columns(&["hold_ns", "min_max_share", "starved_share"])
        .contenders(LOCKS)
        .slice(0.25)
        .slice_at_least(LEAST)
        .over(shares, |plan, p| {
            throughput::crowd(plan, p.id(), 1_000.0, LOCKS.iter().map(|l| l.crowd(p.value)))
        })
        .claim(
            at_most(1.1, ratio(("std_rwlock", "reads_50"), ("std_mutex", "reads_50"))).cores(2),
            "if half of the operations write, the std RwLock lets through at most 1.1 times what the std Mutex does",
        )
        .claim(
            at_least(1.0, ratio(("std_rwlock", "reads_99"), ("std_mutex", "reads_99"))).cores(2),
            "if one operation in a hundred writes, the std RwLock still wins at a hold of 1 us",
        )
        .because(
            "A writer gets in only when all readers are out. While it waits, a writer-preferring lock lets no new reader \
             in. So at each write the readers queue up.",
            shown_by(at_most(0.7, ratio(("rwlock", "reads_50"), ("rwlock", "reads_99"))).cores(2)),
        )
        .because(
            "The gain shrinks with the share of writes.",
            shown_by(at_most(1.1, ratio(("rwlock", "reads_50"), ("mutex", "reads_50"))).cores(2)),
        )
        .because(
            "Taking the lock for writing costs at least what a mutex costs.",
            source("step alone, column write"),
        )
}

/// A mutex and a reader-writer lock of one library.
struct Pair {
    is: Contender,
    mutex: &'static Lock,
    rwlock: &'static Lock,
}

impl AsRef<Contender> for Pair {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

/// The pairs. The check of a pair checks both of its locks.
static PAIRS: [Pair; 3] = [
    Pair {
        is: Contender::new("std").called("std RwLock and Mutex").checked(|| sound([&STD_MUTEX, &STD_RWLOCK])),
        mutex: &STD_MUTEX,
        rwlock: &STD_RWLOCK,
    },
    Pair {
        is: Contender::new("pl013")
            .called("parking_lot 0.13 RwLock and Mutex")
            .of("pl013")
            .checked(|| sound([&PL013_MUTEX, &PL013_RWLOCK])),
        mutex: &PL013_MUTEX,
        rwlock: &PL013_RWLOCK,
    },
    Pair {
        is: Contender::new("ours").called("our RwLock and Mutex").checked(|| sound([&MUTEX, &RWLOCK])),
        mutex: &MUTEX,
        rwlock: &RWLOCK,
    },
];

fn sound(locks: [&Lock; 2]) -> Result<(), String> {
    locks.iter().filter_map(|l| l.as_ref().check).try_for_each(|check| check())
}

fn crossover() -> Step {
    const LONGEST_NS: f64 = 20_000.0;
    let find = |plan: &Plan, pair: &Pair, case: &str, p: &Point<u32>| {
        let (mutex, rwlock) = (pair.mutex.crowd(p.value), pair.rwlock.crowd(p.value));
        beside_handoff(plan, throughput::crossover(plan, case, p.id(), &mutex, &rwlock, LONGEST_NS))
    };
    Step::new("crossover", Kind::Contended, "crossover_ns")
        .ask_number(
            "All threads only read. For how many ns must the lock be held before parking_lot's RwLock overtakes its Mutex?",
            "pl013",
            "reads_100",
        )
        .columns(&["handoff_ns"])
        .contenders(&PAIRS)
        .over([reads("reads_100", 100)], move |plan, p| {
            let all = PAIRS.iter().map(|pair| (pair, pair.is.id)).chain([(&PAIRS[0], AA)]);
            all.map(|(pair, case)| find(plan, pair, case, p)).collect()
        })
        .claim(
            between(2.0, 200.0, "pl013").cores(2),
            "with readers only, the parking_lot RwLock overtakes its Mutex at a hold between 2 and 200 ns",
        )
        .because(
            "With a shorter hold the mutex wins. One thread takes it several times in a row, while every reader of the \
             RwLock writes the lock word twice.",
            source("lab lockfree_counter, step crowd: adds_in_a_row_count; step readers, rwlock_sharded"),
        )
        .because(
            "The break-even is found by bisection of the hold time. The hold that is printed was measured by the same \
             threads without a lock, and is not the hold asked for.",
            source("`crossover` in src/measure/throughput.rs"),
        )
        .in_tour()
}

/// Adds the hand-off time of the same launch.
fn beside_handoff(plan: &Plan, sample: Sample) -> Sample {
    let handoff_ns = match *plan.cpus {
        [a, b, ..] => core_to_core::handoff_ns(a, b, plan.slice / 8),
        _ => None,
    };
    match (handoff_ns, sample.values.get("crossover_ns").copied()) {
        (Some(ns), Some(_)) => sample.with("handoff_ns", ns),
        _ => sample,
    }
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

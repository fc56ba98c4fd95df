//! When is a reader-writer lock superior to a mutex?
//!
//! Run it: `cargo run --release --bin lock_rwlock -- --step`
use std::time::Duration;

use underhood::{
    contenders::lock::{EMPTY, Lock, MUTEX, PL013_MUTEX, PL013_RWLOCK, RWLOCK, STD_MUTEX, STD_RWLOCK, reads},
    lab::{
        Contender, Evidence, Kind, Lab, Point, Step, at, at_least, at_most, between, ns, pick, plan::Plan,
        ratio, sample::Sample, shown_by, source,
    },
    machine::core_to_core,
    measure::{cost, throughput},
    record::AA,
};

const LOCKS: &[&Lock] = &[&STD_MUTEX, &STD_RWLOCK, &PL013_MUTEX, &PL013_RWLOCK, &MUTEX, &RWLOCK, &EMPTY];
/// What the windows take that a contender needs to be heard.
const LEAST: Duration = Duration::from_millis(40);

pub(crate) fn lab() -> Lab {
    underhood::lab!("lock_rwlock", "When is a reader-writer lock superior to a mutex?")
        .step(alone())
        .step(readers())
        .step(mix())
        .step(crossover())
        .say(
            "crossover",
            "With {threads} threads that only read, parking_lot's RwLock beats its Mutex once the lock is held for more than {value} the time that \
             a cache line takes from core to core.",
            pick("pl013", "", "crossover_ratio"),
            "there are more cores or sockets (the line travels further), anybody writes, or the contender is another lock",
        )
        .say(
            "readers",
            "With {threads} threads that read under a hold of 5 us, std's RwLock lets through {value}; std's Mutex does {against}: {ratio}.",
            ratio(("std_rwlock", "hold_5us"), ("std_mutex", "hold_5us")),
            "the hold is short: below the crossover the same lock loses",
        )
        .not_said(&[
            "\"An RwLock is faster for reads\": it is not, below the crossover, nor alone.",
            "Anything about more threads than were measured: the cost of the line grows with the cores that pull at it.",
            "Anything about fairness to writers: that is the lock's policy, not its speed.",
            "That a few percent between two locks alone is the lock: it may be where the compiler put the loop.",
        ])
        .next(&[
            "What do readers gain if each writes a line of its own, and who starves? (lab lock_readers)",
            "What happens to a reader that reads twice? (lab lock_deadlock)",
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
        .ask_best("One thread, nobody else: which lock is cheapest to take for reading?", "read")
        .contenders(LOCKS)
        .slice(0.25)
        .slice_at_least(LEAST)
        .over(ways, |plan, way| cost::solo(plan, way.id(), LOCKS.iter().map(|l| (way.value)(l))))
        .bench("alone/{case}", LOCKS.iter().copied(), |_, lock| cost::timed(&lock.reads()))
        .claim(
            at_least(0.9, ratio(("std_rwlock", "read"), ("std_mutex", "read"))),
            "alone, a std read lock costs at least 0.9 times a std mutex: sharing is not cheaper, only shareable",
        )
        .claim(
            at_most(1.1, ratio(("mutex", "write"), ("std_mutex", "write"))),
            "alone, our mutex costs at most 1.1 times std's",
        )
        .because(
            "Taking a read lock is an atomic read-modify-write on the lock word, and so is giving it back. These are the same two \
             operations as a mutex. See `read` in src/structures/lock/rwlock.rs and `lock` in src/structures/lock/mutex.rs.",
            source("src/structures/lock/rwlock.rs, src/structures/lock/mutex.rs"),
        )
        .because(
            "A reader-writer lock has no cheaper way in.",
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
        .contenders(LOCKS)
        .slice(0.3)
        .slice_at_least(LEAST)
        // What is printed is the hold achieved.
        .over(holds, |plan, hold| {
            throughput::crowd(plan, hold.id(), hold.value, LOCKS.iter().map(|l| l.crowd(100)))
        })
        .bench("readers_1us/{case}", LOCKS.iter().copied(), |plan, lock| {
            throughput::timed(plan, 1_000.0, &lock.crowd(100))
        })
        .claim(
            at_least(1.5, ratio(("std_rwlock", "hold_5us"), ("std_mutex", "hold_5us"))).cores(2),
            "held 5 us, the std RwLock lets through at least 1.5 times the reads of the std Mutex",
        )
        .claim(
            at_most(1.0, ratio(("pl013_rwlock", "hold_0"), ("pl013_mutex", "hold_0"))).cores(2),
            "held for nothing, the parking_lot RwLock is no better than the parking_lot Mutex",
        )
        .claim(
            at_least(15.0, pick("std_rwlock", "hold_0", "lane_op_ns")).cores(2),
            "held for nothing, a read behind the std RwLock takes each lane at least 15 ns: several times what it takes alone",
        )
        .because(
            "Readers do not exclude each other, but each writes the lock word twice, so its cache line travels from core to core twice per \
             read.",
            // Without the journeys it would be about three times.
            shown_by(
                at_least(8.0, ratio(pick("rwlock", "hold_0", "lane_op_ns"), pick("empty", "hold_0", "lane_op_ns"))).cores(2),
            ),
        )
        .because(
            "While the hold is short against that journey, the readers queue for the line instead of the lock, and nothing is won.",
            shown_by(at_most(1.0, ratio(("pl013_rwlock", "hold_0"), ("pl013_mutex", "hold_0"))).cores(2)),
        )
        .because(
            "While it is long, they hold side by side, and the mutex's threads in single file.",
            shown_by(at_least(1.5, ratio(("rwlock", "hold_5us"), ("mutex", "hold_5us"))).cores(2)),
        )
        .in_tour()
}

fn mix() -> Step {
    let shares = [reads("reads_99", 99), reads("reads_90", 90), reads("reads_50", 50)];
    Step::new("mix", Kind::Contended, "ops_per_s")
        .ask_best(
            "Held for a microsecond, every hundredth operation writes: which lock lets through the most?",
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
            "with half of the operations writing, the std RwLock is at most 1.1 times the std Mutex",
        )
        .claim(
            at_least(1.0, ratio(("std_rwlock", "reads_99"), ("std_mutex", "reads_99"))).cores(2),
            "with every hundredth operation writing, the std RwLock still wins at a hold of 1 us",
        )
        .because(
            "A writer needs everybody out. While it waits, a writer-preferring lock lets no new reader in. So each write turns the crowd of \
             readers into a queue.",
            shown_by(at_most(0.7, ratio(("rwlock", "reads_50"), ("rwlock", "reads_99"))).cores(2)),
        )
        .because(
            "The gain shrinks with the share of writes.",
            shown_by(at_most(1.1, ratio(("rwlock", "reads_50"), ("mutex", "reads_50"))).cores(2)),
        )
        .because("The write path costs more than a mutex's.", Evidence::None)
}

/// A mutex and a reader-writer lock of one make.
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

/// The makes, each checked as both of its locks are.
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
        .withdrawn("the break-even does not follow the hand-off: runs at two hand-offs gave nearly the same time, and ratios of 0.08 to 0.39")
        .ask_number(
            "All threads only read: how long must the lock be held, in ns, before parking_lot's RwLock overtakes its Mutex?",
            "pl013",
            "reads_100",
        )
        .columns(&["handoff_ns", "crossover_ratio"])
        .contenders(&PAIRS)
        .over([reads("reads_100", 100)], move |plan, p| {
            let all = PAIRS.iter().map(|pair| (pair, pair.is.id)).chain([(&PAIRS[0], AA)]);
            all.map(|(pair, case)| find(plan, pair, case, p)).collect()
        })
        .claim(
            between(10.0, 1000.0, "pl013").cores(2),
            "with readers only, the parking_lot RwLock overtakes its Mutex at a hold between 10 ns and 1 us",
        )
        .because(
            "Break-even is where the time readers spend side by side pays for the extra journeys of the lock's cache line.",
            Evidence::None,
        )
        .because(
            "It is found by bisection of the hold time. What is printed is the hold achieved, measured by the same lanes without a lock, \
             not the hold asked for.",
            source("`crossover` in src/measure/throughput.rs"),
        )
        .because(
            "It follows the time of that journey, so the ratio to it is what may be quoted.",
            Evidence::None,
        )
        .in_tour()
}

/// The break-even follows the hand-off, which a host that moves its guest's CPUs changes from launch to launch: so it is measured at once.
fn beside_handoff(plan: &Plan, sample: Sample) -> Sample {
    let handoff_ns = match *plan.cpus {
        [a, b, ..] => core_to_core::handoff_ns(a, b, plan.slice / 8),
        _ => None,
    };
    match (handoff_ns, sample.values.get("crossover_ns").copied()) {
        (Some(ns), Some(crossover_ns)) => {
            sample.with("handoff_ns", ns).with("crossover_ratio", crossover_ns / ns)
        }
        _ => sample,
    }
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

//! When does a reader that writes nothing beat a reader-writer lock, and what does it cost when writers are frequent?
//!
//! Run it: `cargo run --release --bin lock_seqlock -- --step`
use std::{sync::Arc, time::Duration};

use underhood::{
    contenders::copied::{
        self, ARC_SWAP, EMPTY, PL013_RWLOCK, RWLOCK, SEQLOCK, SEQLOCK_CRATE, STD_MUTEX, Tally, Value,
    },
    lab::{
        Kind, Lab, Point, Step, at, at_least, at_most, ns, pick, plan::Plan, ratio, sample::Sample, shown_by,
        source,
    },
    measure::{
        cost::{self, Solo},
        throughput,
    },
};

const VALUES: &[&Value] = &[&SEQLOCK_CRATE, &SEQLOCK, &ARC_SWAP, &RWLOCK, &PL013_RWLOCK, &STD_MUTEX];
/// A quad of windows takes 9 ms, and fewer than four quads show nothing.
const LEAST: Duration = Duration::from_millis(50);

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "lock_seqlock",
        "When does a reader that writes nothing beat a reader-writer lock, and what does it cost when writers are frequent?"
    )
    .step(alone())
    .step(beside_writer())
    .say(
        "alone",
        "If a thread reads four words under a sequence lock again and again, a read takes {value}. Under parking_lot's read \
         lock it takes {against}: {ratio}.",
        ratio(("seqlock", "read_4"), ("pl013_rwlock", "read_4")),
        "somebody writes all the time, or the value is large or has pointers in it",
    )
    .say(
        "beside_writer",
        "Beside a writer that pauses for 100 us, the read rate of a sequence lock is {value}, that of parking_lot's RwLock \
         {against}: {ratio}.",
        ratio(("seqlock", "pause_100us"), ("pl013_rwlock", "pause_100us")),
        "the writer does not pause: then readers retry again and again",
    )
    .not_said(&[
        "How long one read takes from beginning to end: copies that follow each other overlap in the processor.",
        "That a sequence lock replaces a reader-writer lock: readers copy the value, so it must not contain a pointer, a \
         destructor or a lock.",
        "That the fastest contender at pause_0 is the best. Some read fast only because they keep the writer out: see \
         writes_per_s. The crate's writer takes a mutex for each write. Alone, its write takes about 1.7 times as long as ours \
         (see write_4), so it disturbs its readers less often.",
        "That a sequence lock wins at any size: at 16 words (128 bytes), the copy is most of a read's cost, under a lock \
         too.",
        "Anything about a writer that loses its CPU in the middle of a write. Until it is back, all readers spin (ours) or \
         yield (the crate).",
        "How long the pause really was. A row names the pause that was asked for, and writes_per_s is the rate of writes \
         that it led to.",
    ])
    .next(&[
        "Why does the reader's second load of the version number need a fence before it, and why is an Acquire load not \
         enough? (the loads of the copy must not move below it)",
        "What would you do for a value of a kilobyte, or one with pointers? (a snapshot: lab lockfree_snapshot)",
        "Where does Linux use one? (the clock that the vDSO reads)",
    ])
    .sources(&[
        "H.-J. Boehm, \"Can Seqlocks Get Along With Programming Language Memory Models?\", MSPC 2012",
        "Linux, include/linux/seqlock.h; the timekeeper read by the vDSO",
        "seqlock 0.2.0 (Amanieu d'Antras): a parking_lot mutex for the writers, readers that yield",
    ])
}

fn alone() -> Step {
    type Way = fn(&Value) -> Solo;
    let with_empty = || VALUES.iter().copied().chain([&EMPTY]);
    let ways: [Point<Way>; 4] = [
        at("read_1", Value::read_1),
        at("read_4", Value::read_4),
        at("read_16", Value::read_16),
        at("write_4", Value::write_4),
    ];
    Step::new("alone", Kind::Single, "op_ns")
        .ask_number(
            "One thread reads four words under our sequence lock, and no other thread uses it. How many ns does a read \
             take?",
            "seqlock",
            "read_4",
        )
        .contenders(with_empty())
        .slice(0.25)
        .over(ways, move |plan, way| cost::solo(plan, way.id(), with_empty().map(|v| (way.value)(v))))
        // The locks are among the benches of lock_rwlock and lock_mutex.
        .bench("read_4/{case}", [&SEQLOCK_CRATE, &SEQLOCK], |_, v| cost::timed(&v.read_4()))
        .claim(
            at_most(1.02, ratio(("seqlock", "read_4"), ("seqlock_crate", "read_4"))),
            "our read of four words is as fast as that of the crate seqlock: it takes at most 1.02 times as long",
        )
        .claim(
            at_least(3.0, ratio(("pl013_rwlock", "read_4"), ("seqlock", "read_4"))),
            "a read under parking_lot's RwLock takes at least 3 times as long as under our sequence lock",
        )
        .claim(
            at_least(2.0, ratio(("seqlock", "read_16"), ("seqlock", "read_1"))),
            "a read costs more the larger the value is: 16 words take at least twice as long as one",
        )
        .because(
            "The reader loads a version number, copies the value, and loads the number again. It does no store and no \
             read-modify-write. The fence before the second load of the number costs nothing on x86.",
            shown_by(at_most(2.0, ratio(("seqlock", "read_4"), ("empty", "read_4")))),
        )
        .because(
            "A read lock writes twice with atomic instructions, even if no other thread is there.",
            shown_by(at_least(3.0, ratio(("rwlock", "read_4"), ("empty", "read_4")))),
        )
        .because(
            "The words are atomics, so a torn copy is not undefined behaviour: the reader throws it away (`try_read` in \
             src/structures/lock/seqlock.rs).",
            source("src/structures/lock/seqlock.rs"),
        )
        .because(
            "The crate copies plain memory. By the rules of the language that is a data race, but it lets the compiler use \
             wider loads.",
            source("H.-J. Boehm, MSPC 2012; seqlock 0.2.0"),
        )
}

fn beside_writer() -> Step {
    let pauses = [ns("pause_0", 0.0), ns("pause_1us", 1e3), ns("pause_10us", 1e4), ns("pause_100us", 1e5)];
    Step::new("beside_writer", Kind::Contended, "ops_per_s")
        .ask_best(
            "One thread writes four words, pauses and writes again, while the others read. With a pause of a microsecond, \
             which of these allows the most reads?",
            "pause_1us",
        )
        .columns(&["lane_op_ns", "retries_per_read_count", "most_retries_count", "writes_per_s", "starved_share"])
        .contenders(VALUES)
        .slice(0.25)
        .slice_at_least(LEAST)
        .over(pauses, read_and_retried)
        .claim(
            at_least(3.0, ratio(("seqlock", "pause_100us"), ("pl013_rwlock", "pause_100us"))).cores(2),
            "beside a writer that pauses for 100 us, the sequence lock allows at least 3 times as many reads as parking_lot's \
             RwLock",
        )
        .claim(
            at_most(0.5, ratio(("seqlock", "pause_0"), ("seqlock", "pause_100us"))).cores(2),
            "beside a writer that never pauses, the sequence lock keeps at most half of its read rate beside one that pauses \
             for 100 us",
        )
        .claim(
            at_most(0.1, pick("seqlock", "pause_10us", "retries_per_read_count")).cores(2),
            "with a pause of 10 us, readers retry at most once in ten reads",
        )
        .because(
            "Each write takes the cache line away from every reader. A reader that was in the middle of its copy must \
             retry.",
            shown_by(at_least(0.005, pick("seqlock", "pause_0", "retries_per_read_count")).cores(2)),
        )
        .because(
            "The writer never waits for a reader. But it loses its cache line to the readers, and must fetch it back for \
             the next write.",
            source("`write` in src/structures/lock/seqlock.rs"),
        )
        .because(
            "The retries show how many copies are thrown away. They are counted in a separate pass, because counting costs \
             more than reading.",
            source("`counting_retries` in src/contenders/copied.rs"),
        )
        .because(
            "One read can retry many times, and nothing bounds the number: a reader beside a stream of writes is not \
             wait-free.",
            shown_by(at_least(10.0, pick("seqlock", "pause_0", "most_retries_count")).cores(2)),
        )
        .because(
            "Readers of a lock wait instead, and they delay the writer too. The read rate counts only reads. The column \
             writes_per_s shows how many writes the same time had.",
            shown_by(
                at_least(1.0, ratio(pick("seqlock", "pause_0", "writes_per_s"), pick("pl013_rwlock", "pause_0", "writes_per_s"))).cores(2),
            ),
        )
}

fn read_and_retried(plan: &Plan, pause: &Point<f64>) -> Vec<Sample> {
    let tallies: Vec<Arc<Tally>> = VALUES.iter().map(|_| Arc::default()).collect();
    let crowds = VALUES.iter().zip(&tallies).map(|(v, tally)| v.beside_writer(pause.value, tally));
    let rows = throughput::beside(plan, pause.id(), crowds);
    // Counting retries makes reads slower. So they are counted in a second pass, whose times are thrown away.
    let retried = Arc::default();
    let least = if plan.is_smoke() { Duration::ZERO } else { LEAST };
    let count = Plan { slice: (plan.slice / 2).max(least), ..plan.clone() };
    throughput::beside(&count, pause.id(), [copied::counting_retries::<4>(pause.value, &retried)]);
    let told = |row: Sample| match VALUES.iter().zip(&tallies).find(|(v, _)| v.as_ref().id == row.case) {
        Some((v, tally)) if row.unmeasured.is_none() => with_tally(row, v, tally, &retried),
        _ => row,
    };
    rows.into_iter().map(told).collect()
}

/// What the lanes report about themselves. It covers all their time, also the windows that did not count.
fn with_tally(row: Sample, value: &Value, tally: &Tally, retried: &Tally) -> Sample {
    let row = match (tally.reads_per_write(), row.values.get("ops_per_s").copied()) {
        (Some(reads), Some(per_s)) if reads > 0.0 => row.with("writes_per_s", per_s / reads),
        _ => row,
    };
    match retried.retries().filter(|_| value.as_ref() == SEQLOCK.as_ref()) {
        Some((share, most)) => {
            row.with("retries_per_read_count", share).with("most_retries_count", most as f64)
        }
        None => row,
    }
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

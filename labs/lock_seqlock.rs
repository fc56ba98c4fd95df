//! When does a reader that writes nothing beat a reader-writer lock, and what does it cost when writers are frequent?
//!
//! Run it: `cargo run --release --bin lock_seqlock -- --step`
use std::{sync::Arc, time::Duration};

use underhood::{
    contenders::copied::{
        self, ARC_SWAP, EMPTY, PL013_RWLOCK, RWLOCK, SEQLOCK, SEQLOCK_CRATE, STD_MUTEX, Tally, Value,
    },
    lab::{
        Evidence, Kind, Lab, Point, Step, at, at_least, at_most, ns, pick, plan::Plan, ratio, sample::Sample,
        shown_by, source,
    },
    measure::{
        cost::{self, Solo},
        throughput,
    },
};

const VALUES: &[&Value] = &[&SEQLOCK_CRATE, &SEQLOCK, &ARC_SWAP, &RWLOCK, &PL013_RWLOCK, &STD_MUTEX];
/// A quad of windows takes 9 ms, and fewer than four of them say nothing.
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
        "Copying four words out from behind a sequence lock takes {value}; under parking_lot's read lock {against}: {ratio}.",
        ratio(("seqlock", "read_4"), ("pl013_rwlock", "read_4")),
        "somebody writes all the time, or the value is large or has pointers in it",
    )
    .say(
        "beside_writer",
        "Beside a writer that pauses for 100 us, readers of a sequence lock do {value}, those of parking_lot's RwLock {against}: {ratio}.",
        ratio(("seqlock", "pause_100us"), ("pl013_rwlock", "pause_100us")),
        "the writer does not pause: then readers begin again and again",
    )
    .not_said(&[
        "That a sequence lock replaces a reader-writer lock: it copies, so nothing with a pointer, a destructor or a lock in it may be inside.",
        "That the fastest at pause_0 is the best: some let the readers in because they keep the writer out; see writes_per_s. The crate's writer takes \
         a mutex for each write, about three times the work of ours (see write_4), and so disturbs its readers less often.",
        "That it wins at any size: at 16 words, 128 bytes, the copy is what a read costs, under a lock as well.",
        "Anything about a writer that loses its CPU in the middle: then all readers spin (ours) or yield (the crate) until it is back.",
        "How long the pause really was: it is what was asked for; writes_per_s is what came of it.",
    ])
    .next(&[
        "Why must the reader's second look come after a fence, and not be an Acquire load? (the copy's loads must not move down)",
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
            "One thread copies four words out, nobody else is there. What does it take behind our sequence lock, in ns?",
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
            "our read of four words takes at most 1.02 times as long as that of the crate seqlock: as fast",
        )
        .claim(
            at_least(3.0, ratio(("pl013_rwlock", "read_4"), ("seqlock", "read_4"))),
            "a read under parking_lot's RwLock takes at least 3 times as long",
        )
        .claim(
            at_least(2.0, ratio(("seqlock", "read_16"), ("seqlock", "read_1"))),
            "a reader pays by the word: 16 take at least twice as long as one",
        )
        .because(
            "The reader looks at a number, copies, and looks at the number again. That is loads, no store and no read-modify-write. The \
             fence between them costs nothing on x86.",
            shown_by(at_most(2.0, ratio(("seqlock", "read_4"), ("empty", "read_4")))),
        )
        .because(
            "A read lock writes twice, by atomic instructions, even alone.",
            shown_by(at_least(3.0, ratio(("rwlock", "read_4"), ("empty", "read_4")))),
        )
        .because(
            "The words are atomics, so that a torn copy is thrown away and not undefined behaviour (`try_read` in \
             src/structures/lock/seqlock.rs).",
            source("src/structures/lock/seqlock.rs"),
        )
        .because(
            "The crate copies plain memory, which is a data race by the letter and lets the compiler take wider loads.",
            source("H.-J. Boehm, MSPC 2012; seqlock 0.2.0"),
        )
}

fn beside_writer() -> Step {
    let pauses = [ns("pause_0", 0.0), ns("pause_1us", 1e3), ns("pause_10us", 1e4), ns("pause_100us", 1e5)];
    Step::new("beside_writer", Kind::Contended, "ops_per_s")
        .ask_best(
            "One thread writes four words, pauses and writes again; the others read. Pausing for a microsecond, who reads the most?",
            "pause_1us",
        )
        .columns(&["lane_op_ns", "retries_per_read_count", "most_retries_count", "writes_per_s", "starved_share"])
        .contenders(VALUES)
        .slice(0.25)
        .slice_at_least(LEAST)
        .over(pauses, read_and_retried)
        .claim(
            at_least(3.0, ratio(("seqlock", "pause_100us"), ("pl013_rwlock", "pause_100us"))).cores(2),
            "beside a writer that pauses for 100 us, the sequence lock gives at least 3 times the reads of parking_lot's RwLock",
        )
        .claim(
            at_most(0.5, ratio(("seqlock", "pause_0"), ("seqlock", "pause_100us"))).cores(2),
            "beside a writer that never pauses, it keeps at most half of that",
        )
        .claim(
            at_most(0.1, pick("seqlock", "pause_10us", "retries_per_read_count")).cores(2),
            "with a pause of 10 us at most one read in ten begins again",
        )
        .because(
            "Each write takes the line from every reader, and each reader that was in the middle begins again.",
            shown_by(at_least(0.005, pick("seqlock", "pause_0", "retries_per_read_count")).cores(2)),
        )
        .because(
            "Nobody delays the writer, and the writer pays nothing for it; the readers do.",
            Evidence::None,
        )
        .because(
            "The retries say how much is copied in vain. They are counted in a pass of their own, because counting costs more than reading.",
            source("`counting_retries` in src/contenders/copied.rs"),
        )
        .because(
            "The most retries of one read say that there is no bound: a reader beside a stream of writes is not wait-free.",
            shown_by(at_least(10.0, pick("seqlock", "pause_0", "most_retries_count")).cores(2)),
        )
        .because(
            "A lock's readers wait instead, and delay the writer too. Only reads are counted; writes_per_s is what the writer got done \
             meanwhile.",
            Evidence::None,
        )
}

fn read_and_retried(plan: &Plan, pause: &Point<f64>) -> Vec<Sample> {
    let tallies: Vec<Arc<Tally>> = VALUES.iter().map(|_| Arc::default()).collect();
    let crowds = VALUES.iter().zip(&tallies).map(|(v, tally)| v.beside_writer(pause.value, tally));
    let rows = throughput::beside(plan, pause.id(), crowds);
    // Who counts retries reads more slowly, so they are counted afterwards and what that pass took is thrown away.
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

/// What the lanes say of themselves; it is of all their time, windows that did not count included.
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

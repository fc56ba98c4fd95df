//! When does a reader that writes nothing beat a reader-writer lock, and what does it cost when writers are frequent?
//!
//! Run it: `cargo run --release --bin lock_seqlock -- --step`
use std::{
    array,
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwap;
use underhood::{
    contenders::{
        copied::{self, Bare, Copied, Tally, check},
        gate::{self, Check},
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        cost::{self, Solo},
        throughput::{self, Crowd},
    },
    structures::lock,
};

type Crate<const N: usize> = seqlock::SeqLock<[u64; N]>;
type Ours<const N: usize> = lock::seqlock::SeqLock<[u64; N], N>;
type Swap<const N: usize> = ArcSwap<[u64; N]>;
type OurRw<const N: usize> = lock::rwlock::RwLock<[u64; N]>;
type PlRw<const N: usize> = pl013::RwLock<[u64; N]>;
type StdMutex<const N: usize> = Mutex<[u64; N]>;

const CASES: &[&str] = &["seqlock_crate", "seqlock", "arc_swap", "rwlock", "pl013_rwlock", "std_mutex"];

pub(crate) static LAB: Lab = Lab {
    stem: "lock_seqlock",
    question: "When does a reader that writes nothing beat a reader-writer lock, and what does it cost when writers are frequent?",
    steps: &[
        Step {
            name: "alone",
            ask: "One thread copies four words out, nobody else is there. What does it take behind our sequence lock, in ns?",
            predict: Predict::Number { case: "seqlock", param: "read_4" },
            kind: Kind::Single,
            cases: &["seqlock_crate", "seqlock", "arc_swap", "rwlock", "pl013_rwlock", "std_mutex", "empty"],
            params: &["read_1", "read_4", "read_16", "write_4"],
            launch: Launch::Together,
            measure: by_one,
            headline: "op_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "our read of four words takes at most 1.02 times as long as that of the crate seqlock: as fast",
                    of: pick("seqlock", "read_4", "op_ns"),
                    against: Some(pick("seqlock_crate", "read_4", "op_ns")),
                    expect: Expect::AtMost(1.02),
                    cores: 1,
                },
                Claim {
                    text: "a read under parking_lot's RwLock takes at least 3 times as long",
                    of: pick("pl013_rwlock", "read_4", "op_ns"),
                    against: Some(pick("seqlock", "read_4", "op_ns")),
                    expect: Expect::AtLeast(3.0),
                    cores: 1,
                },
                Claim {
                    text: "a reader pays by the word: 16 take at least twice as long as one",
                    of: pick("seqlock", "read_16", "op_ns"),
                    against: Some(pick("seqlock", "read_1", "op_ns")),
                    expect: Expect::AtLeast(2.0),
                    cores: 1,
                },
            ],
            because: "The reader looks at a number, copies, and looks at the number again: loads, no store, no read-modify-write, and the fence \
                      between them costs nothing on x86. A read lock writes twice, by atomic instructions, even alone. The words are atomics, \
                      so that a torn copy is thrown away and not undefined behaviour (`try_read` in src/structures/lock/seqlock.rs); the crate copies \
                      plain memory, which is a data race by the letter and lets the compiler take wider loads.",
            tour: false,
        },
        Step {
            name: "beside_writer",
            ask: "One thread writes four words, pauses and writes again; the others read. Pausing for a microsecond, who reads the most?",
            predict: Predict::Best { param: "pause_1us" },
            kind: Kind::Contended,
            cases: CASES,
            params: &["pause_0", "pause_1us", "pause_10us", "pause_100us"],
            launch: Launch::Together,
            measure: beside_writer,
            headline: "ops_per_s",
            columns: &[
                "lane_op_ns",
                "retries_per_read_count",
                "most_retries_count",
                "writes_per_s",
                "starved_share",
            ],
            claims: &[
                Claim {
                    text: "beside a writer that pauses for 100 us, the sequence lock gives at least 3 times the reads of parking_lot's RwLock",
                    of: pick("seqlock", "pause_100us", "ops_per_s"),
                    against: Some(pick("pl013_rwlock", "pause_100us", "ops_per_s")),
                    expect: Expect::AtLeast(3.0),
                    cores: 2,
                },
                Claim {
                    text: "beside a writer that never pauses, it keeps at most half of that",
                    of: pick("seqlock", "pause_0", "ops_per_s"),
                    against: Some(pick("seqlock", "pause_100us", "ops_per_s")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
                Claim {
                    text: "with a pause of 10 us at most one read in ten begins again",
                    of: pick("seqlock", "pause_10us", "retries_per_read_count"),
                    against: None,
                    expect: Expect::AtMost(0.1),
                    cores: 2,
                },
            ],
            because: "Each write takes the line from every reader, and each reader that was in the middle begins again: nobody delays the writer, \
                      and the writer pays nothing for it; the readers do. The retries, counted in a pass of their own because counting costs more than reading, say how much is copied in vain, and the most retries of one read \
                      that there is no bound: a reader beside a stream of writes is not wait-free. A lock's readers wait instead, and delay \
                      the writer too. Only reads are counted; writes_per_s is what the writer got done meanwhile.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "alone",
            text: "Copying four words out from behind a sequence lock takes {value}; under parking_lot's read lock {against}: {ratio}.",
            of: pick("seqlock", "read_4", "op_ns"),
            against: Some(pick("pl013_rwlock", "read_4", "op_ns")),
            not_true_when: "somebody writes all the time, or the value is large or has pointers in it",
        },
        Say {
            step: "beside_writer",
            text: "Beside a writer that pauses for 100 us, readers of a sequence lock do {value}, those of parking_lot's RwLock {against}: {ratio}.",
            of: pick("seqlock", "pause_100us", "ops_per_s"),
            against: Some(pick("pl013_rwlock", "pause_100us", "ops_per_s")),
            not_true_when: "the writer does not pause: then readers begin again and again",
        },
    ],
    not_said: &[
        "That a sequence lock replaces a reader-writer lock: it copies, so nothing with a pointer, a destructor or a lock in it may be inside.",
        "That the fastest at pause_0 is the best: some let the readers in because they keep the writer out; see writes_per_s. The crate's writer takes \
         a mutex for each write, about three times the work of ours (see write_4), and so disturbs its readers less often.",
        "That it wins at any size: at 16 words, 128 bytes, the copy is what a read costs, under a lock as well.",
        "Anything about a writer that loses its CPU in the middle: then all readers spin (ours) or yield (the crate) until it is back.",
        "How long the pause really was: it is what was asked for; writes_per_s is what came of it.",
    ],
    next: &[
        "Why must the reader's second look come after a fence, and not be an Acquire load? (the copy's loads must not move down)",
        "What would you do for a value of a kilobyte, or one with pointers? (a snapshot: lab lockfree_snapshot)",
        "Where does Linux use one? (the clock that the vDSO reads)",
    ],
    sources: &[
        "H.-J. Boehm, \"Can Seqlocks Get Along With Programming Language Memory Models?\", MSPC 2012",
        "Linux, include/linux/seqlock.h; the timekeeper read by the vDSO",
        "seqlock 0.2.0 (Amanieu d'Antras): a parking_lot mutex for the writers, readers that yield",
    ],
    benches,
};

/// No contender is timed before it has shown that its reads are whole.
fn checked(cases: &[&str], params: &[&str], measure: impl FnOnce() -> Vec<Sample>) -> Vec<Sample> {
    fn sound<const N: usize>() -> [Check; 6] {
        [
            check::<Crate<N>, N>,
            check::<Ours<N>, N>,
            check::<Swap<N>, N>,
            check::<OurRw<N>, N>,
            check::<PlRw<N>, N>,
            check::<StdMutex<N>, N>,
        ]
    }
    gate::checked(&[sound::<1>(), sound::<4>(), sound::<16>()].concat(), cases, params, measure)
}

fn arms<const N: usize, const WRITE: bool>() -> [Solo; 7] {
    fn arm<C: Copied<N>, const N: usize, const WRITE: bool>() -> Solo {
        Solo { case: C::CASE, make: copied::alone::<C, N, WRITE> }
    }
    [
        arm::<Crate<N>, N, WRITE>(),
        arm::<Ours<N>, N, WRITE>(),
        arm::<Swap<N>, N, WRITE>(),
        arm::<OurRw<N>, N, WRITE>(),
        arm::<PlRw<N>, N, WRITE>(),
        arm::<StdMutex<N>, N, WRITE>(),
        arm::<Bare<N>, N, WRITE>(),
    ]
}

fn by_one(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 4, ..plan.clone() };
    let one = |param: &&str| match *param {
        "read_1" => cost::solo(&plan, param, &arms::<1, false>()),
        "read_16" => cost::solo(&plan, param, &arms::<16, false>()),
        "write_4" => cost::solo(&plan, param, &arms::<4, true>()),
        _ => cost::solo(&plan, param, &arms::<4, false>()),
    };
    checked(cases, params, || params.iter().flat_map(one).collect())
}

fn crowds(pause_ns: f64, tallies: &[Arc<Tally>; 6]) -> [Crowd; 6] {
    [
        copied::beside_writer::<Crate<4>, 4>(pause_ns, &tallies[0]),
        copied::beside_writer::<Ours<4>, 4>(pause_ns, &tallies[1]),
        copied::beside_writer::<Swap<4>, 4>(pause_ns, &tallies[2]),
        copied::beside_writer::<OurRw<4>, 4>(pause_ns, &tallies[3]),
        copied::beside_writer::<PlRw<4>, 4>(pause_ns, &tallies[4]),
        copied::beside_writer::<StdMutex<4>, 4>(pause_ns, &tallies[5]),
    ]
}

fn pause_ns(param: &str) -> f64 {
    match param {
        "pause_1us" => 1e3,
        "pause_10us" => 1e4,
        "pause_100us" => 1e5,
        _ => 0.0,
    }
}

fn beside_writer(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    // A quad of windows takes 9 ms, and fewer than four of them say nothing.
    let least = Duration::from_millis(if plan.is_smoke() { 0 } else { 50 });
    let plan = Plan { slice: (plan.slice / 4).max(least), ..plan.clone() };
    let at = |param: &&str| {
        let tallies: [Arc<Tally>; 6] = array::from_fn(|_| Arc::default());
        let rows = throughput::beside(&plan, param, &crowds(pause_ns(param), &tallies));
        // Who counts retries reads more slowly, so they are counted afterwards and what that pass took is thrown away.
        let retried = Arc::default();
        let count = Plan { slice: (plan.slice / 2).max(least), ..plan.clone() };
        throughput::beside(&count, param, &[copied::counting_retries::<4>(pause_ns(param), &retried)]);
        let told = |row: Sample| match cases.iter().position(|case| *case == row.case) {
            Some(i) if row.unmeasured.is_none() => with_tally(row, &tallies[i], &retried),
            _ => row,
        };
        rows.into_iter().map(told).collect::<Vec<_>>()
    };
    checked(cases, params, || params.iter().flat_map(at).collect())
}

/// What the lanes say of themselves; it is of all their time, windows that did not count included.
fn with_tally(row: Sample, tally: &Tally, retried: &Tally) -> Sample {
    let row = match (tally.reads_per_write(), row.values.get("ops_per_s").copied()) {
        (Some(reads), Some(per_s)) if reads > 0.0 => row.with("writes_per_s", per_s / reads),
        _ => row,
    };
    match retried.retries().filter(|_| row.case == <Ours<4> as Copied<4>>::CASE) {
        Some((share, most)) => {
            row.with("retries_per_read_count", share).with("most_retries_count", most as f64)
        }
        None => row,
    }
}

fn benches(_: &Plan) -> Vec<Bench> {
    // The locks are among the benches of lock_rwlock and lock_mutex.
    let reads = [0, 1].map(|i| {
        let id = format!("read_4/{}", CASES[i]);
        Bench { id, make: Box::new(move || cost::timed(arms::<4, false>()[i].make)) }
    });
    reads.into_iter().collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

//! When is a reader-writer lock superior to a mutex?
//!
//! Run it: `cargo run --release --bin lock_rwlock -- --step`
use std::time::Duration;

use underhood::{
    contenders::{
        gate,
        lock::{Empty, Guarded, check, check_work, crowd, solo as one},
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    machine::core_to_core,
    measure::{
        cost,
        throughput::{self, Crowd},
    },
    record::AA,
    structures::lock,
};

type StdMutex = std::sync::Mutex<u64>;
type StdRwLock = std::sync::RwLock<u64>;
type PlMutex = pl013::Mutex<u64>;
type PlRwLock = pl013::RwLock<u64>;
type OurMutex = lock::mutex::Mutex<u64>;
type OurRwLock = lock::rwlock::RwLock<u64>;

const CASES: &[&str] =
    &["std_mutex", "std_rwlock", "pl013_mutex", "pl013_rwlock", "mutex", "rwlock", "empty"];

pub(crate) static LAB: Lab = Lab {
    stem: "lock_rwlock",
    question: "When is a reader-writer lock superior to a mutex?",
    steps: &[
        Step {
            name: "alone",
            ask: "One thread, nobody else: which lock is cheapest to take for reading?",
            predict: Predict::Best { param: "read" },
            kind: Kind::Single,
            cases: CASES,
            params: &["read", "write"],
            launch: Launch::Together,
            measure: alone,
            headline: "op_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "alone, a std read lock costs at least 0.9 times a std mutex: sharing is not cheaper, only shareable",
                    of: pick("std_rwlock", "read", "op_ns"),
                    against: Some(pick("std_mutex", "read", "op_ns")),
                    expect: Expect::AtLeast(0.9),
                    cores: 1,
                },
                Claim {
                    text: "alone, our mutex costs at most 1.1 times std's",
                    of: pick("mutex", "write", "op_ns"),
                    against: Some(pick("std_mutex", "write", "op_ns")),
                    expect: Expect::AtMost(1.1),
                    cores: 1,
                },
            ],
            because: "Taking a read lock is an atomic read-modify-write on the lock word, and so is giving it back: the same two \
                      operations as a mutex. A reader-writer lock has no cheaper way in; see `read` in src/structures/lock/rwlock.rs and \
                      `lock` in src/structures/lock/mutex.rs.",
            tour: false,
        },
        Step {
            name: "readers",
            ask: "All threads only read. Which lock lets through the most reads when each is held for a microsecond?",
            predict: Predict::Best { param: "hold_1us" },
            kind: Kind::Contended,
            cases: CASES,
            params: &["hold_0", "hold_200ns", "hold_1us", "hold_5us"],
            launch: Launch::Together,
            measure: readers,
            headline: "ops_per_s",
            columns: &["hold_ns", "lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "held 5 us, the std RwLock lets through at least 1.5 times the reads of the std Mutex",
                    of: pick("std_rwlock", "hold_5us", "ops_per_s"),
                    against: Some(pick("std_mutex", "hold_5us", "ops_per_s")),
                    expect: Expect::AtLeast(1.5),
                    cores: 2,
                },
                Claim {
                    text: "held for nothing, the parking_lot RwLock is no better than the parking_lot Mutex",
                    of: pick("pl013_rwlock", "hold_0", "ops_per_s"),
                    against: Some(pick("pl013_mutex", "hold_0", "ops_per_s")),
                    expect: Expect::AtMost(1.0),
                    cores: 2,
                },
                Claim {
                    text: "held for nothing, a read behind the std RwLock takes each lane at least 15 ns: several times what it takes alone",
                    of: pick("std_rwlock", "hold_0", "lane_op_ns"),
                    against: None,
                    expect: Expect::AtLeast(15.0),
                    cores: 2,
                },
            ],
            because: "Readers do not exclude each other, but each writes the lock word twice, so its cache line travels from core to \
                      core twice per read. While the hold is short against that journey the readers queue for the line instead of the \
                      lock, and nothing is won; while it is long, they hold side by side and the mutex's threads in single file.",
            tour: true,
        },
        Step {
            name: "mix",
            ask: "Held for a microsecond, every hundredth operation writes: which lock lets through the most?",
            predict: Predict::Best { param: "reads_99" },
            kind: Kind::Contended,
            cases: CASES,
            params: &["reads_99", "reads_90", "reads_50"],
            launch: Launch::Together,
            measure: mix,
            headline: "ops_per_s",
            columns: &["hold_ns", "min_max_share", "starved_share"],
            claims: &[
                Claim {
                    text: "with half of the operations writing, the std RwLock is at most 1.1 times the std Mutex",
                    of: pick("std_rwlock", "reads_50", "ops_per_s"),
                    against: Some(pick("std_mutex", "reads_50", "ops_per_s")),
                    expect: Expect::AtMost(1.1),
                    cores: 2,
                },
                Claim {
                    text: "with every hundredth operation writing, the std RwLock still wins at a hold of 1 us",
                    of: pick("std_rwlock", "reads_99", "ops_per_s"),
                    against: Some(pick("std_mutex", "reads_99", "ops_per_s")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
            ],
            because: "A writer needs everybody out, and while it waits a writer-preferring lock lets no new reader in: each write turns \
                      the crowd of readers into a queue. The gain shrinks with the share of writes, and the write path costs more \
                      than a mutex's.",
            tour: false,
        },
        Step {
            name: "crossover",
            ask: "All threads only read: how long must the lock be held, in ns, before parking_lot's RwLock overtakes its Mutex?",
            predict: Predict::Number { case: "pl013", param: "reads_100" },
            kind: Kind::Contended,
            cases: &["std", "pl013", "ours"],
            params: &["reads_100"],
            launch: Launch::Together,
            measure: crossing,
            headline: "crossover_ns",
            columns: &["handoff_ns", "crossover_ratio"],
            claims: &[Claim {
                text: "with readers only, the parking_lot RwLock overtakes its Mutex at a hold between 10 ns and 1 us",
                of: pick("pl013", "reads_100", "crossover_ns"),
                against: None,
                expect: Expect::Between(10.0, 1000.0),
                cores: 2,
            }],
            because: "Break-even is where the time readers spend side by side pays for the extra journeys of the lock's cache line. It is \
                      found by bisection of the hold time; what is printed is the hold achieved, measured by the same lanes without a \
                      lock, not the hold asked for. It follows the time of that journey, so the ratio to it is what may be quoted.",
            tour: true,
        },
    ],
    says: &[
        Say {
            step: "crossover",
            text: "With {threads} threads that only read, parking_lot's RwLock beats its Mutex once the lock is held for more than {value} the time that \
                   a cache line takes from core to core.",
            of: pick("pl013", "reads_100", "crossover_ratio"),
            against: None,
            not_true_when: "there are more cores or sockets (the line travels further), anybody writes, or the contender is another lock",
        },
        Say {
            step: "readers",
            text: "With {threads} threads that read under a hold of 5 us, std's RwLock lets through {value}; std's Mutex does {against}: {ratio}.",
            of: pick("std_rwlock", "hold_5us", "ops_per_s"),
            against: Some(pick("std_mutex", "hold_5us", "ops_per_s")),
            not_true_when: "the hold is short: below the crossover the same lock loses",
        },
    ],
    not_said: &[
        "\"An RwLock is faster for reads\": it is not, below the crossover, nor alone.",
        "Anything about more threads than were measured: the cost of the line grows with the cores that pull at it.",
        "Anything about fairness to writers: that is the lock's policy, not its speed.",
        "That a few percent between two locks alone is the lock: it may be where the compiler put the loop.",
    ],
    next: &[
        "What do readers gain if each writes a line of its own, and who starves? (lab lock_readers)",
        "What happens to a reader that reads twice? (lab lock_deadlock)",
        "When is a snapshot (an atomic pointer swap) better than both?",
    ],
    sources: &[
        "perfbook, CodeSamples/defer/rwlockscale.c: efficiency of reader-writer locks by hold time",
        "folly SharedMutex: header comment on why an ordinary reader-writer lock seldom beats a mutex",
        "parking_lot 0.13.0 CHANGELOG: eventual fairness was removed",
    ],
    benches,
};

/// No contender is timed before it has shown that it does what its name says, and the same work as the others.
fn checked(cases: &[&str], params: &[&str], measure: impl FnOnce() -> Vec<Sample>) -> Vec<Sample> {
    fn sound<L: Guarded>() -> Result<(), String> {
        check::<L>()?;
        [100, 99, 50].into_iter().try_for_each(check_work::<L>)
    }
    gate::checked(
        &[
            sound::<StdMutex>,
            sound::<StdRwLock>,
            sound::<PlMutex>,
            sound::<PlRwLock>,
            sound::<OurMutex>,
            sound::<OurRwLock>,
        ],
        cases,
        params,
        measure,
    )
}

/// Part of the plan's slice, but no less than the windows take that a contender needs to be heard.
fn part(plan: &Plan, share: f64) -> Plan {
    const LEAST: Duration = Duration::from_millis(40);
    let slice = if plan.is_smoke() { plan.slice } else { plan.slice.mul_f64(share).max(LEAST) };
    Plan { slice, ..plan.clone() }
}

fn alone(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = &part(plan, 0.25);
    checked(cases, params, || params.iter().flat_map(|p| cost::solo(plan, p, &arms(*p == "write"))).collect())
}

fn arms(write: bool) -> [cost::Solo; 7] {
    [
        one::<StdMutex>(write),
        one::<StdRwLock>(write),
        one::<PlMutex>(write),
        one::<PlRwLock>(write),
        one::<OurMutex>(write),
        one::<OurRwLock>(write),
        one::<Empty>(write),
    ]
}

fn readers(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = &part(plan, 0.3);
    checked(cases, params, || {
        params.iter().flat_map(|p| throughput::crowd(plan, p, hold_ns(p), &crowds(100))).collect()
    })
}

fn mix(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = &part(plan, 0.25);
    checked(cases, params, || {
        params.iter().flat_map(|p| throughput::crowd(plan, p, 1000.0, &crowds(reads(p)))).collect()
    })
}

fn crowds(reads_percent: u32) -> [Crowd; 7] {
    [
        crowd::<StdMutex>(reads_percent),
        crowd::<StdRwLock>(reads_percent),
        crowd::<PlMutex>(reads_percent),
        crowd::<PlRwLock>(reads_percent),
        crowd::<OurMutex>(reads_percent),
        crowd::<OurRwLock>(reads_percent),
        crowd::<Empty>(reads_percent),
    ]
}

fn crossing(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn pair<M: Guarded, R: Guarded>(reads_percent: u32) -> [Crowd; 2] {
        [crowd::<M>(reads_percent), crowd::<R>(reads_percent)]
    }
    const LONGEST_NS: f64 = 20_000.0;
    let find = |case: &str, param: &str| {
        let share = reads(param);
        let [mutex, rwlock] = match case {
            "std" | AA => pair::<StdMutex, StdRwLock>(share),
            "pl013" => pair::<PlMutex, PlRwLock>(share),
            _ => pair::<OurMutex, OurRwLock>(share),
        };
        beside_handoff(plan, throughput::crossover(plan, case, param, &mutex, &rwlock, LONGEST_NS))
    };
    checked(cases, params, || {
        params.iter().flat_map(|p| cases.iter().copied().chain([AA]).map(move |c| find(c, p))).collect()
    })
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

/// The hold asked for; what is printed is the hold achieved.
fn hold_ns(param: &str) -> f64 {
    match param {
        "hold_200ns" => 200.0,
        "hold_1us" => 1000.0,
        "hold_5us" => 5000.0,
        _ => 0.0,
    }
}

fn reads(param: &str) -> u32 {
    param.strip_prefix("reads_").and_then(|p| p.parse().ok()).unwrap_or(100)
}

fn benches(plan: &Plan) -> Vec<Bench> {
    let alone = (0..7).map(|i| {
        let case = arms(false)[i].case;
        Bench { id: format!("alone/{case}"), make: Box::new(move || cost::timed(arms(false)[i].make)) }
    });
    let met = (0..7).map(|i| {
        let plan = plan.clone();
        let id = format!("readers_1us/{}", CASES[i]);
        Bench { id, make: Box::new(move || throughput::timed(&plan, 1000.0, &crowds(100)[i])) }
    });
    alone.chain(met).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

//! Which instrument finds which concurrency bug, and after how long?
//!
//! Run it: `cargo run --release --bin order_detect -- --step`
use std::time::Duration;

use underhood::{
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::order::Order,
};

// The zoo belongs to the tests: the library does not contain a broken twin, and so cannot lend one.
#[path = "../tests/zoo/lab.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    clippy::duplicate_mod,
    reason = "the tests' own files, on two machines, for what the lab uses of them"
)]
mod zoo;

use zoo::{chaotic, stress};

/// One mistake each; `tests/zoo/faults.rs` has the twins under these names.
const FAULTS: &[&str] = &[
    "relaxed_unlock",
    "test_then_set",
    "announce_without_fence",
    "aba",
    "push_without_retry",
    "torn_read",
    "ring_off_by_one",
    "publish_first",
    "freed_under_reader",
    "closed_twice",
    "reader_excludes_readers",
    "lost_permit",
    "len_from_two_loads",
    "check_then_count",
    "sharded_fifo",
];

/// Every structure with ordering mutants, as `tests/model/scenarios/mod.rs` lists them.
const STRUCTURES: &[&str] = &[
    "lock/mutex",
    "lock/rwlock",
    "task/executor",
    "task/machine",
    "lockfree/counter",
    "lockfree/mpmc",
    "lockfree/ring",
    "lockfree/queue",
    "lockfree/snapshot",
    "lockfree/stack",
    "reclaim/epoch",
    "reclaim/hazard",
    "reclaim/leak",
    "reclaim/place",
    "lock/seqlock",
    "lock/tas",
    "lock/ttas",
    "lock/ticket",
    "lock/mcs",
    "lock/semaphore",
    "lock/rwlock_sharded",
    "lock/handoff",
    "lock/rwlock_fair",
    "lock/event",
    "lock/condvar",
    "flow/adaptive",
    "flow/bulkhead",
    "flow/circuit_breaker",
    "flow/fixed_window",
    "flow/gcra",
    "flow/keyed",
    "flow/leaky_bucket",
    "flow/sliding_log",
    "flow/token_bucket",
    "managed/safepoint",
];

const NEVER: Expect = Expect::AtMost(0.0);
const ALWAYS: Expect = Expect::AtLeast(1.0);

const fn found(
    text: &'static str,
    param: &'static str,
    case: &'static str,
    expect: Expect,
    cores: usize,
) -> Claim {
    Claim { text, of: pick(case, param, "found_share"), against: None, expect, cores }
}

pub(crate) static LAB: Lab = Lab {
    stem: "order_detect",
    question: "Which instrument finds which concurrency bug, and after how long?",
    steps: &[
        Step {
            name: "threads",
            ask: "A stack that takes a re-used node for the old one (ABA) is hammered by two threads for a moment; then somebody counts whether \
                  anything is lost or came twice. In what share of tries is the mistake found?",
            predict: Predict::Number { case: "stress", param: "aba" },
            kind: Kind::Chance,
            cases: &["stress", "stress_linear", "chaos", "chaos_linear"],
            params: FAULTS,
            launch: Launch::Together,
            measure: hunt,
            headline: "found_share",
            columns: &["found_after_count", "rounds_count", "sound_rounds_count", "alarms_count"],
            claims: &[
                found(
                    "sums never see a length that the queue never had: nothing is lost",
                    "len_from_two_loads",
                    "stress",
                    NEVER,
                    1,
                ),
                found(
                    "nor that a queue in two shards is no queue, with pauses or without",
                    "sharded_fifo",
                    "chaos",
                    NEVER,
                    1,
                ),
                found("a whole history shows it every time", "sharded_fifo", "chaos_linear", ALWAYS, 2),
                found("a random pause at each step brings out the ABA every time", "aba", "chaos", ALWAYS, 2),
                found(
                    "x86: no run on real threads shows an unlock that is merely Relaxed",
                    "relaxed_unlock",
                    "chaos",
                    NEVER,
                    2,
                ),
            ],
            because: "Stress waits until two threads happen to be at the wrong two steps at once; a pause before each atomic step (chaos) makes that window \
                      as wide as a whole operation, which costs a wrapper and finds most races of steps in milliseconds. What is then asked matters as \
                      much: sums (nothing lost, nothing twice, nothing from nowhere) cannot see an answer that is possible alone and impossible \
                      together; an order of the operations that explains every answer (linearizability) can, and needs the times of calls and \
                      returns, whose recording slows the threads. An ordering that this CPU does not use shows in none of the four. The twins are in \
                      tests/zoo/; each ran beside a sound twin, whose alarms are counted.",
            tour: false,
        },
        Step {
            name: "models",
            ask: "loom runs each program in every order that two preemptions allow, with every value that a load may return. Does it find the ABA \
                  when all that is asked is whether the sums come out?",
            predict: Predict::Number { case: "loom", param: "aba" },
            kind: Kind::Count,
            cases: &["loom", "loom_linear", "tsan"],
            params: FAULTS,
            launch: Launch::Recorded("cargo test --test model -- record_zoo --ignored"),
            measure: nothing,
            headline: "found_share",
            columns: &["executions_count", "sound_executions_count", "alarms_count"],
            claims: &[
                found("loom finds the unlock that is merely Relaxed", "relaxed_unlock", "loom", ALWAYS, 1),
                found("and the ABA", "aba", "loom", ALWAYS, 1),
                found("sums miss the sharded queue in a model too", "sharded_fifo", "loom", NEVER, 1),
                found("histories in a model find it", "sharded_fifo", "loom_linear", ALWAYS, 1),
                found("and the length from two loads", "len_from_two_loads", "loom_linear", ALWAYS, 1),
            ],
            because: "A model does not wait for luck: it counts through the interleavings of a small program, and through the old values that Relaxed \
                      lets a load return, which x86 never shows. What it is asked limits it like any other. Under it the clock of a history must be one \
                      of its own words, else it takes two orders of calls for the same. ThreadSanitizer looks for something else: two accesses to plain \
                      memory without an order between them, in the run that happened. It finds such a race in any program without being told what is right, \
                      and sees no mistake among atomics.",
            tour: false,
        },
        Step {
            name: "mutants",
            ask: "Each memory ordering of each structure here is weakened, one at a time, and its models run again. What share of the mutants is found?",
            predict: Predict::Number { case: "lock/mutex", param: "" },
            kind: Kind::Count,
            cases: STRUCTURES,
            params: &[""],
            launch: Launch::Recorded("cargo test --test model -- record_mutants --ignored"),
            measure: nothing,
            headline: "killed_share",
            columns: &["mutants_count", "killed_count", "reviewed_count", "executions_count"],
            claims: &[
                Claim {
                    text: "every weakened ordering of the mutex is found",
                    of: pick("lock/mutex", "", "killed_share"),
                    against: None,
                    expect: ALWAYS,
                    cores: 1,
                },
                Claim {
                    text: "and of the bounded queue",
                    of: pick("lockfree/mpmc", "", "killed_share"),
                    against: None,
                    expect: ALWAYS,
                    cores: 1,
                },
            ],
            because: "A suite that passes says nothing until it is known to fail: so every ordering in src/ is weakened, every read-modify-write split, every \
                      wake-up dropped, and some scenario must object. A mutant that survives is either an ordering that was stronger than needed (then the \
                      source was weakened) or stands in tests/model/survivors.rs with its reason. A structure without a mutant has only Relaxed steps \
                      or none of its own.",
            tour: false,
        },
    ],
    says: &[Say {
        step: "threads",
        text: "With a random pause before each atomic step, an ABA in a lock-free stack is found after {value} rounds of fifty turns on this machine.",
        of: pick("chaos", "aba", "found_after_count"),
        against: None,
        not_true_when: "the program is larger than two lanes of a few operations: the number is of this program",
    }],
    not_said: &[
        "That what no instrument found is right: each says only where it looked.",
        "How long they take on your program: these are the smallest programs that have the mistake.",
        "That ThreadSanitizer is weak: it is asked for races on plain memory, and most of these mistakes have none.",
    ],
    next: &[
        "Why does stress miss what chaos finds? (the window is two instructions wide; a pause makes it an operation wide)",
        "What does linearizable mean? (an order of the operations, each between its call and its return, explains every answer)",
        "Which bug can no test on x86 find? (an ordering that x86 gives for free: a model, or an ARM machine)",
        "How do you know that your tests would notice? (mutants: weaken each ordering and see them fail)",
    ],
    sources: &[
        "J. Wing, C. Gong, Testing and verifying concurrent objects, JPDC 1993; G. Lowe, Testing for linearizability, CCPE 2017",
        "tokio-rs/loom, after B. Norris, B. Demsky, CDSChecker, OOPSLA 2013",
        "K. Serebryany, T. Iskhodzhanov, ThreadSanitizer, WBIA 2009",
        "JetBrains/lincheck: operations in, a verdict and a short history out",
    ],
    benches,
};

/// Every fault with every instrument that this process can be, in random order.
fn hunt(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let mut turn: Vec<(&str, &str)> =
        cases.iter().flat_map(|c| params.iter().map(move |p| (*c, *p))).collect();
    Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
    turn.into_iter().map(|(case, param)| one(case, param, plan.slice / 4)).collect()
}

/// A trial on one of the two machines, whose types are not the same ones.
macro_rules! trial {
    ($machine:ident, $name:expr, $linear:expr, $time:expr, $begin:expr) => {{
        use $machine::machine::{faults, round};
        let oracle = if $linear { round::Oracle::Linear } else { round::Oracle::Conserved };
        let fault = faults::FAULTS.iter().find(|f| f.name == $name).expect("the step names faults");
        let t = round::trial(fault, oracle, $time, $begin);
        (t.found, t.rounds, t.took, t.sound_rounds, t.alarm)
    }};
}

fn one(case: &str, param: &str, time: Duration) -> Sample {
    let linear = case.ends_with("_linear");
    let (found, rounds, took, sound_rounds, alarm) = if case.starts_with("chaos") {
        trial!(chaotic, param, linear, time, chaotic::sync::chaos::begin)
    } else {
        trial!(stress, param, linear, time, |_| {})
    };
    let mut sample = Sample::new(case, param)
        .with("found_share", f64::from(u8::from(found)))
        .with("rounds_count", rounds as f64)
        .with("sound_rounds_count", sound_rounds as f64)
        .with("alarms_count", f64::from(u8::from(alarm)));
    if found {
        // The time is in the record and not on the page: unlike a count it depends on who else is running.
        sample = sample.with("found_after_count", rounds as f64).with("after_ns", took.as_nanos() as f64);
    }
    if alarm {
        sample.doubts.push(format!("a false alarm: the sound twin failed in round {sound_rounds}"));
    }
    sample
}

/// The steps whose records come from elsewhere.
fn nothing(_: &Plan, _: &[&str], _: &[&str]) -> Vec<Sample> {
    Vec::new()
}

fn benches(_plan: &Plan) -> Vec<Bench> {
    Vec::new() // shares of tries, and times that end with luck
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

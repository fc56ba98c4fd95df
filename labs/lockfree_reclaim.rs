//! When may I free a node that another thread may still be reading, and what does each answer cost?
//!
//! Run it: `cargo run --release --bin lockfree_reclaim -- --step`
use underhood::{
    contenders::{
        gate,
        published::{self, Counted, CrossbeamEpoch, Haphazard, Line, Published, alone, check, garbage},
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        cost::{self, Solo},
        throughput::{self, Crowd},
    },
    record::AA,
    structures::{
        lockfree::snapshot::Snapshot,
        reclaim::{epoch::Epoch, hazard::Hazard, leak::Leak},
    },
};

const CASES: &[&str] =
    &["snapshot_leak", "snapshot_epoch", "snapshot_hazard", "crossbeam_epoch", "haphazard"];

pub(crate) static LAB: Lab = Lab {
    stem: "lockfree_reclaim",
    question: "When may I free a node that another thread may still be reading, and what does each answer cost?",
    steps: &[
        Step {
            name: "read",
            ask: "A reader protects a node, looks at it and lets go. What does it take with epochs, in ns?",
            predict: Predict::Number { case: "snapshot_epoch", param: "" },
            kind: Kind::Single,
            cases: CASES,
            params: &[""],
            launch: Launch::Together,
            measure: reading,
            headline: "op_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "going in and out of an epoch takes at most as long as crossbeam's pin",
                    of: pick("snapshot_epoch", "", "op_ns"),
                    against: Some(pick("crossbeam_epoch", "", "op_ns")),
                    expect: Expect::AtMost(1.0),
                    cores: 1,
                },
                Claim {
                    text: "protecting by a hazard pointer takes at most as long as haphazard's",
                    of: pick("snapshot_hazard", "", "op_ns"),
                    against: Some(pick("haphazard", "", "op_ns")),
                    expect: Expect::AtMost(1.0),
                    cores: 1,
                },
                Claim {
                    text: "any protection at all costs at least 3 times a bare look: the fence",
                    of: pick("snapshot_epoch", "", "op_ns"),
                    against: Some(pick("snapshot_leak", "", "op_ns")),
                    expect: Expect::AtLeast(3.0),
                    cores: 1,
                },
            ],
            because: "Both schemes write a word of the reader's own, \"I am inside\" or \"I use this node\", and must make sure that it is seen before they \
                      look: a full fence. Epochs pay it once for each operation, hazard pointers for each pointer they follow. crossbeam finds its \
                      thread by a thread-local, ours has a handle. See `protect` in src/structures/reclaim/hazard.rs and `enter` in src/structures/reclaim/epoch.rs.",
            tour: false,
        },
        Step {
            name: "stalled",
            ask: "A reader falls asleep inside while another thread replaces 10,000 nodes. How many of them does the epoch scheme keep?",
            predict: Predict::Number { case: "snapshot_epoch", param: "asleep_10000" },
            kind: Kind::Count,
            cases: CASES,
            params: &["awake_10000", "asleep_1000", "asleep_10000"],
            launch: Launch::Together,
            measure: counting,
            headline: "garbage_count",
            columns: &["peak_count", "after_count"],
            claims: &[
                Claim {
                    text: "with epochs the garbage grows with the work: ten times the replacements, at least 9 times the garbage",
                    of: pick("snapshot_epoch", "asleep_10000", "garbage_count"),
                    against: Some(pick("snapshot_epoch", "asleep_1000", "garbage_count")),
                    expect: Expect::AtLeast(9.0),
                    cores: 1,
                },
                Claim {
                    text: "crossbeam's, too",
                    of: pick("crossbeam_epoch", "asleep_10000", "garbage_count"),
                    against: Some(pick("crossbeam_epoch", "asleep_1000", "garbage_count")),
                    expect: Expect::AtLeast(9.0),
                    cores: 1,
                },
                Claim {
                    text: "with hazard pointers at most 70 nodes wait at any time: a batch, and what is protected",
                    of: pick("snapshot_hazard", "asleep_10000", "peak_count"),
                    against: None,
                    expect: Expect::AtMost(70.0),
                    cores: 1,
                },
                Claim {
                    text: "with everybody awake, epochs keep at most 400: a few batches, until all have been seen outside",
                    of: pick("snapshot_epoch", "awake_10000", "peak_count"),
                    against: None,
                    expect: Expect::AtMost(400.0),
                    cores: 1,
                },
            ],
            because: "Epochs know only who is inside, not what they read: one sleeper keeps everything that is retired after it went in. A hazard pointer \
                      names its node, so a sleeper keeps that node and no other. This is the whole trade: one fence for each operation and unbounded \
                      memory, or one for each pointer and a bound. Leaking is the ceiling of speed, and keeps all.",
            tour: false,
        },
        Step {
            name: "replace",
            ask: "All threads replace the same node and retire the old one. Which scheme lets them do the most?",
            predict: Predict::Best { param: "" },
            kind: Kind::Contended,
            cases: &["snapshot_epoch", "snapshot_hazard", "crossbeam_epoch", "haphazard"],
            params: &[""],
            launch: Launch::Together,
            measure: replacing,
            headline: "ops_per_s",
            columns: &["lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "epochs do at least what crossbeam's do",
                    of: pick("snapshot_epoch", "", "ops_per_s"),
                    against: Some(pick("crossbeam_epoch", "", "ops_per_s")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
                Claim {
                    text: "hazard pointers do at least what haphazard's do",
                    of: pick("snapshot_hazard", "", "ops_per_s"),
                    against: Some(pick("haphazard", "", "ops_per_s")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
            ],
            because: "The allocation and the exchange of a line between cores are there in any case; what differs is how a thread is found, and how often \
                      somebody looks at all readers: once in 64 retirements here, at 1,000 waiting nodes with haphazard. Leaking is not in this \
                      step: it would take a gigabyte a second.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "stalled",
            text: "One reader asleep inside, 10,000 nodes replaced: epochs keep {value} of them, hazard pointers {against}.",
            of: pick("snapshot_epoch", "asleep_10000", "garbage_count"),
            against: Some(pick("snapshot_hazard", "asleep_10000", "garbage_count")),
            not_true_when: "readers are never descheduled inside for long: then epochs keep a few batches",
        },
        Say {
            step: "read",
            text: "Protecting one read takes {value} with an epoch and {against} with a hazard pointer.",
            of: pick("snapshot_epoch", "", "op_ns"),
            against: Some(pick("snapshot_hazard", "", "op_ns")),
            not_true_when: "an operation follows many pointers: an epoch is entered once, a hazard pointer is set for each",
        },
    ],
    not_said: &[
        "Which scheme is the best: one bounds memory, the other bounds the reader's cost.",
        "What a stalled reader costs in bytes: the nodes here are counted, and of one size.",
        "Anything about schemes that need the operating system's help (membarrier), which take the fence from the reader.",
    ],
    next: &[
        "Why not count references? (each reader writes the node's own line: RwLock<Arc> in lab lockfree_snapshot)",
        "How would you bound epochs? (kick out, or wait for, a reader that stays too long: then it is no longer wait-free)",
        "What stamp does a retired node get, and why is the reader's own epoch too old? (head of src/structures/reclaim/epoch.rs: the model found it)",
    ],
    sources: &[
        "K. Fraser, Practical lock-freedom, 2004: epochs",
        "M. Michael, Hazard Pointers, IEEE TPDS 2004",
        "crossbeam-epoch 0.9; haphazard 0.1, after folly's hazptr",
        "crossbeam-rs/crossbeam#566: garbage grows while a reader is pinned; kaist-cp/smr-benchmark: throughput and garbage side by side",
    ],
    benches,
};

/// No contender is timed before it has shown that it does what its name says.
fn checked(cases: &[&str], params: &[&str], measure: impl FnOnce() -> Vec<Sample>) -> Vec<Sample> {
    gate::checked(
        &[
            check::<Snapshot<Line, Leak>>,
            check::<Snapshot<Line, Epoch>>,
            check::<Snapshot<Line, Hazard>>,
            check::<CrossbeamEpoch<Line>>,
            check::<Haphazard<Line>>,
        ],
        cases,
        params,
        measure,
    )
}

fn arms() -> [Solo; 5] {
    fn arm<P: Published<Line>>() -> Solo {
        Solo { case: P::CASE, make: alone::<P, false> }
    }
    [
        arm::<Snapshot<Line, Leak>>(),
        arm::<Snapshot<Line, Epoch>>(),
        arm::<Snapshot<Line, Hazard>>(),
        arm::<CrossbeamEpoch<Line>>(),
        arm::<Haphazard<Line>>(),
    ]
}

fn reading(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 3, ..plan.clone() };
    checked(cases, params, || params.iter().flat_map(|p| cost::solo(&plan, p, &arms())).collect())
}

fn counting(_plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let at = |param: &&str| {
        let (manner, times) = param.split_once('_').expect("as in the step");
        let (times, asleep) = (times.parse().expect("as in the step"), manner == "asleep");
        let leak = garbage::<Snapshot<Counted, Leak>>;
        [
            leak(param, times, asleep),
            Sample { case: AA.into(), ..leak(param, times, asleep) },
            garbage::<Snapshot<Counted, Epoch>>(param, times, asleep),
            garbage::<Snapshot<Counted, Hazard>>(param, times, asleep),
            garbage::<CrossbeamEpoch<Counted>>(param, times, asleep),
            garbage::<Haphazard<Counted>>(param, times, asleep),
        ]
    };
    checked(cases, params, || params.iter().flat_map(at).collect())
}

fn crowds() -> [Crowd; 4] {
    [
        published::crowd::<Snapshot<Line, Epoch>>(1),
        published::crowd::<Snapshot<Line, Hazard>>(1),
        published::crowd::<CrossbeamEpoch<Line>>(1),
        published::crowd::<Haphazard<Line>>(1),
    ]
}

fn replacing(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 2, ..plan.clone() };
    checked(cases, params, || {
        params.iter().flat_map(|p| throughput::crowd(&plan, p, 0.0, &crowds())).collect()
    })
}

fn benches(_plan: &Plan) -> Vec<Bench> {
    let reads = [1, 2, 3, 4].map(|i| {
        let arm = &arms()[i];
        let (id, make) = (format!("read/{}", arm.case), arm.make);
        Bench { id, make: Box::new(move || cost::timed(make)) }
    });
    reads.into()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

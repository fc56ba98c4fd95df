//! How cheap can reading a shared value be, and what if it is replaced often?
//!
//! Run it: `cargo run --release --bin lockfree_snapshot -- --step`
use arc_swap::ArcSwap;
use underhood::{
    contenders::{
        gate::{self, Weighed},
        published::{self, Cached, Line, Locked, Published, alone, check},
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        allocated,
        cost::{self, Solo},
        throughput::{self, Crowd},
        worst,
    },
    structures::{
        lockfree::snapshot::Snapshot,
        reclaim::{epoch::Epoch, hazard::Hazard},
    },
};

type RwLockArc = Locked<Line>;
type Swap = ArcSwap<Line>;
type SwapCached = Cached<Line>;
type WithEpochs = Snapshot<Line, Epoch>;
type WithHazards = Snapshot<Line, Hazard>;

const CASES: &[&str] = &["rwlock_arc", "arc_swap", "arc_swap_cache", "snapshot_epoch", "snapshot_hazard"];

pub(crate) static LAB: Lab = Lab {
    stem: "lockfree_snapshot",
    question: "How cheap can reading a shared value be, and what if it is replaced often?",
    steps: &[
        Step {
            name: "alone",
            ask: "One thread reads a shared value of 64 bytes, nobody else is there. What does it take behind an RwLock<Arc>, in ns?",
            predict: Predict::Number { case: "rwlock_arc", param: "read" },
            kind: Kind::Single,
            cases: CASES,
            params: &["read", "publish"],
            launch: Launch::Together,
            measure: by_one,
            headline: "op_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "reading our snapshot with epochs takes at most as long as arc-swap's load",
                    of: pick("snapshot_epoch", "read", "op_ns"),
                    against: Some(pick("arc_swap", "read", "op_ns")),
                    expect: Expect::AtMost(1.0),
                    cores: 1,
                },
                Claim {
                    text: "a reader that keeps a copy and looks whether it is still the newest takes at most a quarter of the lock",
                    of: pick("arc_swap_cache", "read", "op_ns"),
                    against: Some(pick("rwlock_arc", "read", "op_ns")),
                    expect: Expect::AtMost(0.25),
                    cores: 1,
                },
                Claim {
                    text: "publishing takes at least twice as long as reading, with our snapshot: it allocates, and frees later",
                    of: pick("snapshot_epoch", "publish", "op_ns"),
                    against: Some(pick("snapshot_epoch", "read", "op_ns")),
                    expect: Expect::AtLeast(2.0),
                    cores: 1,
                },
            ],
            because: "RwLock<Arc> writes four times to shared lines for one read: in, count up, out, count down. arc-swap and the snapshot write only to a \
                      line of the reader's own, and pay a fence, which must order that write before the look at the pointer: about as much as one \
                      atomic instruction. Only the cache does without: it looks at the pointer and writes nothing.",
            tour: false,
        },
        Step {
            name: "publish_rate",
            ask: "All threads read; every tenth operation of each publishes. Which does the most?",
            predict: Predict::Best { param: "1_in_10" },
            kind: Kind::Contended,
            cases: CASES,
            params: &["never", "1_in_1000", "1_in_10"],
            launch: Launch::Together,
            measure: by_many,
            headline: "ops_per_s",
            columns: &["lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "if nobody publishes, our snapshot does at least 4 times what RwLock<Arc> does",
                    of: pick("snapshot_epoch", "never", "ops_per_s"),
                    against: Some(pick("rwlock_arc", "never", "ops_per_s")),
                    expect: Expect::AtLeast(4.0),
                    cores: 2,
                },
                Claim {
                    text: "and at least what arc-swap does",
                    of: pick("snapshot_epoch", "never", "ops_per_s"),
                    against: Some(pick("arc_swap", "never", "ops_per_s")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
                Claim {
                    text: "read-optimised structures lose when writes are frequent: at one in ten, arc-swap keeps at most a third of its rate",
                    of: pick("arc_swap", "1_in_10", "ops_per_s"),
                    against: Some(pick("arc_swap", "never", "ops_per_s")),
                    expect: Expect::AtMost(0.33),
                    cores: 2,
                },
                Claim {
                    text: "our snapshot keeps at most half",
                    of: pick("snapshot_epoch", "1_in_10", "ops_per_s"),
                    against: Some(pick("snapshot_epoch", "never", "ops_per_s")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
            ],
            because: "Without publishing, no line moves: readers scale with the cores. Every publish moves the pointer's line to all readers, and the \
                      value's; it allocates; and somebody must find out when the old value may go: arc-swap's writer looks at every reader's slots and pays \
                      their debts, the snapshot's every 64th publish looks at every reader. The name says it: read mostly.",
            tour: false,
        },
        Step {
            name: "worst",
            ask: "One operation in ten publishes, four threads for each CPU. How long does the longest take behind an RwLock<Arc>, in ns?",
            predict: Predict::Number { case: "rwlock_arc", param: "4x_threads" },
            kind: Kind::Tail,
            cases: CASES,
            params: &["1x_threads", "4x_threads"],
            launch: Launch::Together,
            measure: looked_at,
            headline: "op_max_ns",
            columns: &[
                "op_p99_ns",
                "halted_share",
                "halt_max_ns",
                "jain_share",
                "min_max_share",
                "ops_per_s",
            ],
            claims: &[
                Claim {
                    text: "nobody stops the others of our snapshot: for at most a hundredth of the time no thread gets on",
                    of: pick("snapshot_epoch", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtMost(0.01),
                    cores: 2,
                },
                Claim {
                    text: "nor those of arc-swap",
                    of: pick("arc_swap", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtMost(0.01),
                    cores: 2,
                },
                Claim {
                    text: "with a thread for each CPU our snapshot is fair: Jain's index is at least 0.9",
                    of: pick("snapshot_epoch", "1x_threads", "jain_share"),
                    against: None,
                    expect: Expect::AtLeast(0.9),
                    cores: 2,
                },
            ],
            because: "A publish is one exchange of a pointer that always succeeds, so no exchange is counted as failed here: there is none. What the longest \
                      operation waits for is its own next turn. Each operation ends with a look at the clock, so the rates are of another \
                      workload than in publish_rate.",
            tour: false,
        },
        Step {
            name: "memory",
            ask: "A value of 64 bytes is published for two readers. How many bytes does our snapshot take with it?",
            predict: Predict::Number { case: "snapshot_epoch", param: "" },
            kind: Kind::Count,
            cases: CASES,
            params: &[""],
            launch: Launch::Isolated,
            measure: weighed,
            headline: "instance_bytes",
            columns: &[],
            claims: &[Claim {
                text: "our snapshot takes at least twice what RwLock<Arc> takes: a line or two for each reader",
                of: pick("snapshot_epoch", "", "instance_bytes"),
                against: Some(pick("rwlock_arc", "", "instance_bytes")),
                expect: Expect::AtLeast(2.0),
                cores: 1,
            }],
            because: "Each reader of ours announces itself in a line of its own, which is set aside when the snapshot is made. arc-swap and its cache keep theirs \
                      for the whole process, so they do not show here. What waits to be freed is counted in lab lockfree_reclaim. What is counted is what the allocator has given out. See `instance` in src/measure/allocated.rs.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "publish_rate",
            text: "With {threads} threads that only read, our snapshot does {value}, an RwLock<Arc> {against}: {ratio}.",
            of: pick("snapshot_epoch", "never", "ops_per_s"),
            against: Some(pick("rwlock_arc", "never", "ops_per_s")),
            not_true_when: "something is published every few reads, or a read takes microseconds",
        },
        Say {
            step: "alone",
            text: "Reading our snapshot takes {value}, arc-swap's load {against}: {ratio}.",
            of: pick("snapshot_epoch", "read", "op_ns"),
            against: Some(pick("arc_swap", "read", "op_ns")),
            not_true_when: "the reader wants to keep the value: an Arc may be kept, our reader must leave",
        },
    ],
    not_said: &[
        "That arc-swap is slow: it is read from any thread through a shared reference and finds the thread's slot \
         by a thread-local; ours wants a handle for each thread. arc_swap_cache is the one that keeps something in each reader, too.",
        "That a snapshot replaces a lock: two writers that read, change and publish lose updates.",
        "What a reader costs that stays inside for long: memory, see lab lockfree_reclaim.",
        "Anything about values that are dear to copy: each publish makes a whole new one.",
    ],
    next: &[
        "Why does a reader need a fence, if it only reads? (it announces itself first, and that is a write)",
        "When may the old value be freed? (lab lockfree_reclaim)",
        "When is a seqlock better? (small values, no pointers in them: lab lock_seqlock)",
    ],
    sources: &[
        "arc-swap 1.9, docs: debts of readers; \"unscientific\" benchmarks, users ask for a comparison (#176)",
        "smithy-lang/smithy-rs#4595: RwLock, Mutex, ArcSwap, left-right and evmap at 16 threads",
        "P. McKenney, J. Slingwine, Read-Copy Update, 1998",
        "jonhoo/left-right, evmap: readers without fences between them, writers that wait",
    ],
    benches,
};

/// No contender is timed before it has shown that it does what its name says.
fn checked(cases: &[&str], params: &[&str], measure: impl FnOnce() -> Vec<Sample>) -> Vec<Sample> {
    gate::checked(
        &[check::<RwLockArc>, check::<Swap>, check::<SwapCached>, check::<WithEpochs>, check::<WithHazards>],
        cases,
        params,
        measure,
    )
}

fn arms(publish: bool) -> [Solo; 5] {
    fn arm<P: Published<Line>>(publish: bool) -> Solo {
        Solo { case: P::CASE, make: if publish { alone::<P, true> } else { alone::<P, false> } }
    }
    [
        arm::<RwLockArc>(publish),
        arm::<Swap>(publish),
        arm::<SwapCached>(publish),
        arm::<WithEpochs>(publish),
        arm::<WithHazards>(publish),
    ]
}

fn by_one(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 4, ..plan.clone() };
    let one = |p: &&str| cost::solo(&plan, p, &arms(*p == "publish"));
    checked(cases, params, || params.iter().flat_map(one).collect())
}

fn crowds(every: u32) -> [Crowd; 5] {
    [
        published::crowd::<RwLockArc>(every),
        published::crowd::<Swap>(every),
        published::crowd::<SwapCached>(every),
        published::crowd::<WithEpochs>(every),
        published::crowd::<WithHazards>(every),
    ]
}

fn by_many(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 2, ..plan.clone() };
    let every = |p: &str| p.strip_prefix("1_in_").and_then(|n| n.parse().ok()).unwrap_or(0);
    let many = |p: &&str| throughput::crowd(&plan, p, 0.0, &crowds(every(p)));
    checked(cases, params, || params.iter().flat_map(many).collect())
}

/// Each operation with a look at the clock.
fn looked_at(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(cases, params, || worst::at_times(plan, params, &crowds(10)))
}

fn weighed(_plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn of<P: Published<Line>>() -> Weighed {
        (P::CASE, |param| allocated::instance(P::CASE, param, || Box::new(P::new([1; 8], 2))), check::<P>)
    }
    let all = [of::<RwLockArc>(), of::<Swap>(), of::<SwapCached>(), of::<WithEpochs>(), of::<WithHazards>()];
    gate::weighed(&all, cases, params)
}

fn benches(plan: &Plan) -> Vec<Bench> {
    let reads = [1, 3, 4].map(|i| {
        let arm = &arms(false)[i];
        let (id, make) = (format!("read/{}", arm.case), arm.make);
        Bench { id, make: Box::new(move || cost::timed(make)) }
    });
    let mixed = [3].map(|i| {
        let plan = plan.clone();
        let id = format!("crowd_1_in_10/{}", CASES[i]);
        Bench { id, make: Box::new(move || throughput::timed(&plan, 0.0, &crowds(10)[i])) }
    });
    reads.into_iter().chain(mixed).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

//! What does a lock-free stack win and lose against a locked one?
//!
//! Run it: `cargo run --release --bin lockfree_stack -- --step`
use std::sync::Mutex;

use underhood::{
    contenders::{
        bag::{self, Bag, SpinVec, Tallies, alone, check, crowded, singly, weigh},
        gate::{self, Weighed},
        treiber::Treiber,
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        cost::{self, Solo},
        throughput::{self, Crowd},
    },
    structures::{
        lockfree::stack::Stack,
        reclaim::{epoch::Epoch, hazard::Hazard},
    },
};

type Locked = Mutex<Vec<u64>>;
type WithEpochs = Stack<u64, Epoch>;
type WithHazards = Stack<u64, Hazard>;

const CASES: &[&str] = &["mutex_vec", "stack_epoch", "stack_hazard", "crossbeam_treiber"];

pub(crate) static LAB: Lab = Lab {
    stem: "lockfree_stack",
    question: "What does a lock-free stack win and lose against a locked one?",
    steps: &[
        Step {
            name: "alone",
            ask: "One thread pushes a value and pops it, nobody else is there. Which stack is cheapest?",
            predict: Predict::Best { param: "" },
            kind: Kind::Single,
            cases: CASES,
            params: &[""],
            launch: Launch::Together,
            measure: by_one,
            headline: "op_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "our stack with epochs takes at most as long as the same stack over crossbeam-epoch",
                    of: pick("stack_epoch", "", "op_ns"),
                    against: Some(pick("crossbeam_treiber", "", "op_ns")),
                    expect: Expect::AtMost(1.0),
                    cores: 1,
                },
                Claim {
                    text: "a Vec behind a mutex takes at most as long as any of them: it allocates nothing",
                    of: pick("mutex_vec", "", "op_ns"),
                    against: Some(pick("stack_epoch", "", "op_ns")),
                    expect: Expect::AtMost(1.0),
                    cores: 1,
                },
            ],
            because: "A push is an allocation and an exchange, a pop an entry (a fence), an exchange and a node to be freed later. The mutex takes four \
                      atomic instructions for the pair and no allocation. crossbeam's epochs find their thread by a thread-local and announce it on \
                      push as well; ours have an explicit handle, and push needs no protection. See `push` in src/structures/lockfree/stack.rs.",
            tour: false,
        },
        Step {
            name: "crowd",
            ask: "Every thread pushes and pops: one word is fought for by all. How often does an exchange fail for each that succeeds?",
            predict: Predict::Best { param: "1x_threads" },
            kind: Kind::Contended,
            cases: CASES,
            params: &["1x_threads"],
            launch: Launch::Together,
            measure: by_many,
            headline: "ops_per_s",
            columns: &["failed_ratio", "lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "our stack with epochs does at least what the same over crossbeam-epoch does",
                    of: pick("stack_epoch", "1x_threads", "ops_per_s"),
                    against: Some(pick("crossbeam_treiber", "1x_threads", "ops_per_s")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
                Claim {
                    text: "at least one exchange in ten is for nothing",
                    of: pick("stack_epoch", "1x_threads", "failed_ratio"),
                    against: None,
                    expect: Expect::AtLeast(0.1),
                    cores: 2,
                },
                Claim {
                    text: "it does at least what a Vec behind a mutex does",
                    of: pick("stack_epoch", "1x_threads", "ops_per_s"),
                    against: Some(pick("mutex_vec", "1x_threads", "ops_per_s")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
            ],
            because: "All operations meet in one word, so there is nothing to do in parallel: the more threads, the more failed exchanges, each of \
                      them a line fetched for nothing. A pop reads the node, too, which another core has just written. Lock-free guarantees that \
                      somebody gets on, and nobody in particular; min/max shows who. The ABA mistake that makes a hand-made one wrong is in \
                      src/structures/lockfree/stack.rs.",
            tour: false,
        },
        Step {
            name: "crowded",
            ask: "Four threads for each CPU. Does the stack behind a mutex lose more than the lock-free one?",
            predict: Predict::Best { param: "4x_threads" },
            kind: Kind::Contended,
            cases: &["mutex_vec", "stack_epoch"],
            params: &["1x_threads", "4x_threads"],
            launch: Launch::Together,
            measure: crowded_out,
            headline: "ops_per_s",
            columns: &["failed_ratio", "min_max_share"],
            claims: &[
                Claim {
                    text: "the mutex loses at least a fifth of its rate",
                    of: pick("mutex_vec", "4x_threads", "ops_per_s"),
                    against: Some(pick("mutex_vec", "1x_threads", "ops_per_s")),
                    expect: Expect::AtMost(0.8),
                    cores: 2,
                },
                Claim {
                    text: "the lock-free stack keeps at least 0.9 of its rate",
                    of: pick("stack_epoch", "4x_threads", "ops_per_s"),
                    against: Some(pick("stack_epoch", "1x_threads", "ops_per_s")),
                    expect: Expect::AtLeast(0.9),
                    cores: 2,
                },
            ],
            because: "As many threads run as there are CPUs, four times as many or not: the exchanges fail as often as before. A preempted holder stops \
                      the others until it runs again, but a hold of a few ns is seldom hit, and a mutex that sleeps gives its CPU away. What \
                      a stopped thread does to the others is made to happen in lab lockfree_queue, step stopped.",
            tour: false,
        },
        Step {
            name: "worst",
            ask: "Four threads for each CPU. For what share of the time does nobody finish anything, behind a spin lock?",
            predict: Predict::Number { case: "spin_vec", param: "4x_threads" },
            kind: Kind::Tail,
            cases: &["mutex_vec", "spin_vec", "stack_epoch", "crossbeam_treiber"],
            params: &["1x_threads", "2x_threads", "4x_threads"],
            launch: Launch::Together,
            measure: looked_at,
            headline: "halted_share",
            columns: &[
                "op_max_ns",
                "op_p99_ns",
                "halt_max_ns",
                "jain_share",
                "min_max_share",
                "failed_ratio",
                "ops_per_s",
            ],
            claims: &[
                Claim {
                    text: "a preempted holder of a spin lock stops everybody: with four threads a CPU for at least a tenth of the time",
                    of: pick("spin_vec", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtLeast(0.1),
                    cores: 2,
                },
                Claim {
                    text: "a lock-free loser stops only itself: for at most a hundredth of the time nobody gets on",
                    of: pick("stack_epoch", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtMost(0.01),
                    cores: 2,
                },
                Claim {
                    text: "a mutex that sleeps gives the holder a CPU: at most a tenth",
                    of: pick("mutex_vec", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtMost(0.1),
                    cores: 2,
                },
                Claim {
                    text: "lock-free does not mean soon: the worst operation waits for the turns of others, at least a millisecond",
                    of: pick("stack_epoch", "4x_threads", "op_max_ns"),
                    against: None,
                    expect: Expect::AtLeast(1e6),
                    cores: 2,
                },
            ],
            because: "Each operation ends with a look at the clock, so the rates are of another workload than in crowd. A thread that is preempted has a gap; where \
                      the gaps of all threads overlap, nobody got on. Behind a spin lock the others use up their turns looking at a lock whose \
                      holder has none; behind a mutex they sleep, and it runs again at once; in the lock-free stack its exchange fails later, and \
                      that is all. For one operation it makes no difference: who has no CPU waits. See `common` in src/measure/worst.rs.",
            tour: false,
        },
        Step {
            name: "memory",
            ask: "A value has 8 bytes. How many does it take in a lock-free stack, with its node and what the allocator adds?",
            predict: Predict::Number { case: "stack_epoch", param: "" },
            kind: Kind::Count,
            cases: CASES,
            params: &[""],
            launch: Launch::Isolated,
            measure: weighed,
            headline: "element_bytes",
            columns: &["left_bytes", "empty_bytes"],
            claims: &[
                Claim {
                    text: "a node for each value: at least twice what a Vec takes",
                    of: pick("stack_epoch", "", "element_bytes"),
                    against: Some(pick("mutex_vec", "", "element_bytes")),
                    expect: Expect::AtLeast(2.0),
                    cores: 1,
                },
                Claim {
                    text: "emptied, epochs still keep at least a tenth of it for readers that might come",
                    of: pick("stack_epoch", "", "left_bytes"),
                    against: None,
                    expect: Expect::AtLeast(3.2),
                    cores: 1,
                },
            ],
            because: "A node is the value and a pointer, and glibc gives at least 32 bytes for that. A Vec doubles: between 8 and 16 bytes a value, and it \
                      keeps them when it is empty; the lock-free stack keeps its last batches of nodes that somebody might still be reading. What is \
                      counted is what the allocator has given out. See `weigh` in src/contenders/bag.rs.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "crowd",
            text: "With {threads} threads that push and pop, our lock-free stack does {value} pairs, a Vec behind std's mutex {against}: {ratio}.",
            of: pick("stack_epoch", "1x_threads", "ops_per_s"),
            against: Some(pick("mutex_vec", "1x_threads", "ops_per_s")),
            not_true_when: "the threads do something else between two operations: then neither is contended",
        },
        Say {
            step: "alone",
            text: "Alone, a push and a pop take {value} on our lock-free stack and {against} on a Vec behind a mutex: {ratio}.",
            of: pick("stack_epoch", "", "op_ns"),
            against: Some(pick("mutex_vec", "", "op_ns")),
            not_true_when: "the Vec must grow, or the allocator is a slow one",
        },
    ],
    not_said: &[
        "That a lock-free stack scales: it has one word that all exchange.",
        "Anything about elimination or batches, which take a stack past its one word.",
        "Anything about deep stacks: each thread has at most one value in it.",
    ],
    next: &[
        "What goes wrong if a popped node is freed at once? (ABA, and a read of freed memory)",
        "How would you make it scale? (elimination: a push and a pop that meet cancel out)",
        "When is a failed exchange cheaper than a lock? (when it seldom fails)",
    ],
    sources: &[
        "R. K. Treiber, Systems Programming: Coping with Parallelism, IBM RJ 5118, 1986",
        "D. Hendler, N. Shavit, L. Yerushalmi, A Scalable Lock-free Stack Algorithm, SPAA 2004: elimination",
        "crossbeam-epoch 0.9, examples: Treiber's stack",
        "travisdowns.github.io, A Concurrency Cost Hierarchy: failed exchanges make 12 ns 580 ns",
    ],
    benches,
};

/// No contender is timed before it has shown that it does what its name says.
fn checked(cases: &[&str], params: &[&str], measure: impl FnOnce() -> Vec<Sample>) -> Vec<Sample> {
    gate::checked(
        &[check::<Locked>, check::<WithEpochs>, check::<WithHazards>, check::<Treiber>],
        cases,
        params,
        measure,
    )
}

fn arms() -> [Solo; 4] {
    fn arm<B: Bag>() -> Solo {
        Solo { case: B::CASE, make: alone::<B> }
    }
    [arm::<Locked>(), arm::<WithEpochs>(), arm::<WithHazards>(), arm::<Treiber>()]
}

fn by_one(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 3, ..plan.clone() };
    checked(cases, params, || params.iter().flat_map(|p| cost::solo(&plan, p, &arms())).collect())
}

fn crowds(tallies: &Tallies) -> Vec<Crowd> {
    vec![
        bag::crowd::<Locked>(tallies),
        bag::crowd::<WithEpochs>(tallies),
        bag::crowd::<WithHazards>(tallies),
        bag::crowd::<Treiber>(tallies),
    ]
}

fn by_many(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(cases, params, || crowded(plan, params, crowds))
}

/// Two of them: with more threads than CPUs each window lasts for turns of the scheduler.
fn crowded_out(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(cases, params, || {
        crowded(plan, params, |tallies| {
            let mut arms = crowds(tallies);
            arms.truncate(2);
            arms
        })
    })
}

/// Each operation with a look at the clock. The spin lock stands for all that do not sleep.
fn looked_at(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let also = || check::<SpinVec>().and_then(|()| check::<Locked>());
    let arms = |tallies: &Tallies| {
        vec![
            bag::crowd::<Locked>(tallies),
            bag::crowd::<SpinVec>(tallies),
            bag::crowd::<WithEpochs>(tallies),
            bag::crowd::<Treiber>(tallies),
        ]
    };
    gate::checked(&[also, check::<WithEpochs>, check::<Treiber>], cases, params, || {
        singly(plan, params, arms)
    })
}

fn weighed(_plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn of<B: Bag>() -> Weighed {
        (B::CASE, weigh::<B>, bag::check::<B>)
    }
    gate::weighed(&[of::<Locked>(), of::<WithEpochs>(), of::<WithHazards>(), of::<Treiber>()], cases, params)
}

fn benches(plan: &Plan) -> Vec<Bench> {
    let crowd = [0, 1, 3].map(|i| {
        let (plan, arm) = (plan.clone(), move || crowds(&Tallies::default()).swap_remove(i));
        let id = format!("crowd/{}", CASES[i]);
        Bench { id, make: Box::new(move || throughput::timed(&plan, 0.0, &arm())) }
    });
    crowd.into()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

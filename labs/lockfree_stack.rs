//! What does a lock-free stack win and lose against a locked one?
//!
//! Run it: `cargo run --release --bin lockfree_stack -- --step`
use std::sync::Mutex;

use underhood::{
    engine::{
        crowd::{self, Crowd},
        solo::{self, Solo},
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick},
    lockfree::stack::Stack,
    plan::Plan,
    reclaim::{epoch::Epoch, hazard::Hazard},
    rivals::{
        bags::{self, Bag, Tallies, alone, check, crowded},
        gate,
        treiber::Treiber,
    },
    sample::Sample,
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
            because: "A push is an allocation and an exchange, a pop an entry (a fence), an exchange and a node to be freed later. The mutex takes four                       atomic instructions for the pair and no allocation. crossbeam's epochs find their thread by a thread-local and announce it on                       push as well; ours have an explicit handle, and push needs no protection. See `push` in src/lockfree/stack.rs.",
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
            because: "All operations meet in one word, so there is nothing to do in parallel: the more threads, the more failed exchanges, each of                       them a line fetched for nothing. A pop reads the node, too, which another core has just written. Lock-free guarantees that                       somebody gets on, and nobody in particular; min/max shows who. The ABA mistake that makes a hand-made one wrong is in                       src/lockfree/stack.rs.",
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
            because: "As many threads run as there are CPUs, four times as many or not: the exchanges fail as often as before. A preempted holder stops                       the others until it runs again, but a hold of a few ns is seldom hit, and a mutex that sleeps gives its CPU away. What                       a stopped thread does to the others is made to happen in lab lockfree_queue, step stopped.",
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
    checked(cases, params, || params.iter().flat_map(|p| solo::solo(&plan, p, &arms())).collect())
}

fn crowds(tallies: &Tallies) -> Vec<Crowd> {
    vec![
        bags::crowd::<Locked>(tallies),
        bags::crowd::<WithEpochs>(tallies),
        bags::crowd::<WithHazards>(tallies),
        bags::crowd::<Treiber>(tallies),
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

fn benches(plan: &Plan) -> Vec<Bench> {
    let crowd = [0, 1, 3].map(|i| {
        let (plan, arm) = (plan.clone(), move || crowds(&Tallies::default()).swap_remove(i));
        let id = format!("crowd/{}", CASES[i]);
        Bench { id, make: Box::new(move || crowd::timed(&plan, 0.0, &arm())) }
    });
    crowd.into()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

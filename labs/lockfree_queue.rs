//! Is a lock-free queue faster than a locked one, and what happens to the others when a thread is stopped?
//!
//! Run it: `cargo run --release --bin lockfree_queue -- --step`
use std::{collections::VecDeque, sync::Mutex};

use crossbeam::queue::SegQueue;
use underhood::{
    contenders::{
        bag::{self, Bag, SpinDeque, Tallies, alone, check, crowded, singly, weigh},
        gate::{self, Weighed},
    },
    experiments::stopped::stopped,
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        cost::{self, Solo},
        throughput::{self, Crowd},
    },
    record::AA,
    structures::{
        lockfree::queue::Queue,
        reclaim::{epoch::Epoch, hazard::Hazard},
    },
};

type Locked = Mutex<VecDeque<u64>>;
type WithEpochs = Queue<u64, Epoch>;
type WithHazards = Queue<u64, Hazard>;
type Segments = SegQueue<u64>;

const CASES: &[&str] = &["mutex_deque", "queue_epoch", "queue_hazard", "seg_queue"];

pub(crate) static LAB: Lab = Lab {
    stem: "lockfree_queue",
    question: "Is a lock-free queue faster than a locked one, and what happens to the others when a thread is stopped?",
    steps: &[
        Step {
            name: "alone",
            ask: "One thread pushes a value and pops it, nobody else is there. Which queue is cheapest?",
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
                    text: "alone, our queue with epochs takes at least as long as a deque behind a mutex: it allocates each node",
                    of: pick("queue_epoch", "", "op_ns"),
                    against: Some(pick("mutex_deque", "", "op_ns")),
                    expect: Expect::AtLeast(1.0),
                    cores: 1,
                },
                Claim {
                    text: "a hazard pointer for each look costs more than one announcement: at least 1.2 times",
                    of: pick("queue_hazard", "", "op_ns"),
                    against: Some(pick("queue_epoch", "", "op_ns")),
                    expect: Expect::AtLeast(1.2),
                    cores: 1,
                },
            ],
            because: "A lock that nobody wants is two atomic instructions for each operation. The lock-free queue has its exchanges, a fence for each \
                      entry (epochs) or for each pointer it follows (hazard pointers), an allocation for each push, and a free later. SegQueue \
                      allocates once for 31 values. Lock-free says how it behaves, not how fast it is.",
            tour: false,
        },
        Step {
            name: "crowd",
            ask: "Every thread pushes and pops, in the same queue, a thread for each CPU. Which does the most?",
            predict: Predict::Best { param: "" },
            kind: Kind::Contended,
            cases: CASES,
            params: &[""],
            launch: Launch::Together,
            measure: by_many,
            headline: "ops_per_s",
            columns: &["failed_ratio", "lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "our queue with epochs does at least what the mutex does",
                    of: pick("queue_epoch", "", "ops_per_s"),
                    against: Some(pick("mutex_deque", "", "ops_per_s")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
                Claim {
                    text: "and at least half of what SegQueue does, which allocates 31 values at a time",
                    of: pick("queue_epoch", "", "ops_per_s"),
                    against: Some(pick("seg_queue", "", "ops_per_s")),
                    expect: Expect::AtLeast(0.5),
                    cores: 2,
                },
                Claim {
                    text: "at least one exchange in twenty is for nothing",
                    of: pick("queue_epoch", "", "failed_ratio"),
                    against: None,
                    expect: Expect::AtLeast(0.05),
                    cores: 2,
                },
            ],
            because: "Failed exchanges are work for nothing, a line fetched and a try again, and throughput hides them: here they are counted. A mutex \
                      moves its line less often under pressure, since who finds it taken goes to sleep, and its holder does several operations \
                      in a row: faster, and less fair (min/max).",
            tour: false,
        },
        Step {
            name: "crowded",
            ask: "Four threads for each CPU: what share of its rate does a deque behind a mutex lose, since a holder may lose its CPU?",
            predict: Predict::Best { param: "4x_threads" },
            kind: Kind::Contended,
            cases: &["mutex_deque", "queue_epoch", "seg_queue"],
            params: &["1x_threads", "4x_threads"],
            launch: Launch::Together,
            measure: crowded_out,
            headline: "ops_per_s",
            columns: &["failed_ratio", "min_max_share"],
            claims: &[
                Claim {
                    text: "the mutex loses at least a fifth of its rate",
                    of: pick("mutex_deque", "4x_threads", "ops_per_s"),
                    against: Some(pick("mutex_deque", "1x_threads", "ops_per_s")),
                    expect: Expect::AtMost(0.8),
                    cores: 2,
                },
                Claim {
                    text: "the lock-free queue keeps at least 0.9 of its rate",
                    of: pick("queue_epoch", "4x_threads", "ops_per_s"),
                    against: Some(pick("queue_epoch", "1x_threads", "ops_per_s")),
                    expect: Expect::AtLeast(0.9),
                    cores: 2,
                },
            ],
            because: "What is always said: a preempted holder blocks everybody. It does, but a hold of some ns is seldom hit by the end of a time \
                      slice, and whoever finds the mutex taken sleeps and leaves its CPU to the holder. The lock-free queue is hit as well, in its \
                      memory: a thread that is preempted inside an epoch stops all freeing until it runs again, and new nodes are cold. The \
                      claim about progress is about what can happen; the next step makes it happen.",
            tour: false,
        },
        Step {
            name: "stopped",
            ask: "One thread sleeps in the middle of an operation. What share of their rate do the others keep behind a mutex?",
            predict: Predict::Number { case: "mutex_deque", param: "" },
            kind: Kind::Contended,
            cases: &["queue_hazard", "queue_epoch", "mutex_deque"],
            params: &[""],
            launch: Launch::Together,
            measure: one_stopped,
            headline: "kept_share",
            columns: &["free_per_s"],
            claims: &[
                Claim {
                    text: "behind a mutex, the others keep less than a hundredth: blocking",
                    of: pick("mutex_deque", "", "kept_share"),
                    against: None,
                    expect: Expect::AtMost(0.01),
                    cores: 1,
                },
                Claim {
                    text: "with hazard pointers they keep at least four fifths: lock-free",
                    of: pick("queue_hazard", "", "kept_share"),
                    against: None,
                    expect: Expect::AtLeast(0.8),
                    cores: 1,
                },
                Claim {
                    text: "with epochs as well, though memory grows meanwhile (lab lockfree_reclaim)",
                    of: pick("queue_epoch", "", "kept_share"),
                    against: None,
                    expect: Expect::AtLeast(0.5),
                    cores: 1,
                },
            ],
            because: "This is what lock-free means and all that it means: whoever is stopped, wherever, the others get on. The stopper sleeps holding \
                      the mutex, or between its look at the head and its exchange. With epochs the others go on, but free nothing, so the \
                      allocator must find new memory for each node. See `stopped` in src/experiments/stopped.rs.",
            tour: false,
        },
        Step {
            name: "worst",
            ask: "Four threads for each CPU. For what share of the time does nobody finish anything, behind a spin lock?",
            predict: Predict::Number { case: "spin_deque", param: "4x_threads" },
            kind: Kind::Tail,
            cases: &["mutex_deque", "spin_deque", "queue_epoch", "seg_queue"],
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
                    of: pick("spin_deque", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtLeast(0.1),
                    cores: 2,
                },
                Claim {
                    text: "a lock-free loser stops only itself: for at most a hundredth of the time nobody gets on",
                    of: pick("queue_epoch", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtMost(0.01),
                    cores: 2,
                },
                Claim {
                    text: "a mutex that sleeps gives the holder a CPU: at most a tenth",
                    of: pick("mutex_deque", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtMost(0.1),
                    cores: 2,
                },
                Claim {
                    text: "lock-free does not mean soon: the worst operation waits for the turns of others, at least a millisecond",
                    of: pick("queue_epoch", "4x_threads", "op_max_ns"),
                    against: None,
                    expect: Expect::AtLeast(1e6),
                    cores: 2,
                },
            ],
            because: "Each operation ends with a look at the clock, so the rates are of another workload than in crowd. A thread that is preempted has a gap; where \
                      the gaps of all threads overlap, nobody got on. Behind a spin lock the others use up their turns looking at a lock whose \
                      holder has none; behind a mutex they sleep, and it runs again at once; in the lock-free queue its exchange fails later, and \
                      that is all. For one operation it makes no difference: who has no CPU waits. See `common` in src/measure/worst.rs.",
            tour: false,
        },
        Step {
            name: "memory",
            ask: "A value has 8 bytes. How many does it take in a lock-free queue, with its node and what the allocator adds?",
            predict: Predict::Number { case: "queue_epoch", param: "" },
            kind: Kind::Count,
            cases: CASES,
            params: &[""],
            launch: Launch::Isolated,
            measure: weighed,
            headline: "element_bytes",
            columns: &["left_bytes", "empty_bytes"],
            claims: &[
                Claim {
                    text: "a node for each value: at least twice what a deque takes",
                    of: pick("queue_epoch", "", "element_bytes"),
                    against: Some(pick("mutex_deque", "", "element_bytes")),
                    expect: Expect::AtLeast(2.0),
                    cores: 1,
                },
                Claim {
                    text: "SegQueue, with 31 values in a block, takes at most two thirds of that",
                    of: pick("seg_queue", "", "element_bytes"),
                    against: Some(pick("queue_epoch", "", "element_bytes")),
                    expect: Expect::AtMost(0.67),
                    cores: 1,
                },
            ],
            because: "A node is the value and a pointer, and glibc gives at least 32 bytes for that. A deque doubles: between 8 and 16 bytes a value, and it keeps \
                      them when it is empty. SegQueue has a word of state for each value, and frees a block when all have left it. What is \
                      counted is what the allocator has given out. See `weigh` in src/contenders/bag.rs.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "crowd",
            text: "With {threads} threads that push and pop, our lock-free queue does {value} pairs, a deque behind std's mutex {against}: {ratio}.",
            of: pick("queue_epoch", "", "ops_per_s"),
            against: Some(pick("mutex_deque", "", "ops_per_s")),
            not_true_when: "the threads do something else between two operations: then the mutex is hardly contended",
        },
        Say {
            step: "stopped",
            text: "While one thread is stopped inside, the others keep {value} of their rate with the lock-free queue, {against} behind a mutex.",
            of: pick("queue_hazard", "", "kept_share"),
            against: Some(pick("mutex_deque", "", "kept_share")),
            not_true_when: "the thread is stopped between two operations, which is nearly always so",
        },
    ],
    not_said: &[
        "That lock-free queues are faster: alone they are not, and in a crowd it depends on who sleeps.",
        "How SegQueue behaves when a thread is stopped: it cannot be stopped from outside at a chosen place. A reader waits for a stopped writer there.",
        "Anything about many values inside: each thread has at most one in the queue.",
    ],
    next: &[
        "What is a failed exchange worth? (a line fetched for nothing, and a try again)",
        "Why does the mutex not collapse with four threads a CPU? (it sleeps; a spin lock would)",
        "When may a popped node be freed? (lab lockfree_reclaim)",
    ],
    sources: &[
        "M. Michael, M. Scott, Simple, Fast, and Practical Non-Blocking and Blocking Concurrent Queue Algorithms, PODC 1996",
        "M. Herlihy, Wait-Free Synchronization, 1991: the classes of progress",
        "crossbeam-queue 0.3, seg_queue.rs: blocks of 31 values, a reader waits for the writer of its slot",
        "1024cores.net: lock-free is about progress, not about speed",
    ],
    benches,
};

/// No contender is timed before it has shown that it does what its name says.
fn checked(cases: &[&str], params: &[&str], measure: impl FnOnce() -> Vec<Sample>) -> Vec<Sample> {
    gate::checked(
        &[check::<Locked>, check::<WithEpochs>, check::<WithHazards>, check::<Segments>],
        cases,
        params,
        measure,
    )
}

fn arms() -> [Solo; 4] {
    fn arm<B: Bag>() -> Solo {
        Solo { case: B::CASE, make: alone::<B> }
    }
    [arm::<Locked>(), arm::<WithEpochs>(), arm::<WithHazards>(), arm::<Segments>()]
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
        bag::crowd::<Segments>(tallies),
    ]
}

fn by_many(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(cases, params, || crowded(plan, params, crowds))
}

/// The same without the one that is not asked about: with more threads than CPUs each window lasts for turns of the scheduler.
fn crowded_out(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(cases, params, || {
        crowded(plan, params, |tallies| {
            let mut arms = crowds(tallies);
            arms.remove(2);
            arms
        })
    })
}

/// Each operation with a look at the clock. The spin lock stands for all that do not sleep.
fn looked_at(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let also = || check::<SpinDeque>().and_then(|()| check::<Locked>());
    let arms = |tallies: &Tallies| {
        vec![
            bag::crowd::<Locked>(tallies),
            bag::crowd::<SpinDeque>(tallies),
            bag::crowd::<WithEpochs>(tallies),
            bag::crowd::<Segments>(tallies),
        ]
    };
    gate::checked(&[also, check::<WithEpochs>, check::<Segments>], cases, params, || {
        singly(plan, params, arms)
    })
}

fn weighed(_plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn of<B: Bag>() -> Weighed {
        (B::CASE, weigh::<B>, bag::check::<B>)
    }
    gate::weighed(&[of::<Locked>(), of::<WithEpochs>(), of::<WithHazards>(), of::<Segments>()], cases, params)
}

fn one_stopped(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(cases, params, || {
        let plan = Plan { slice: plan.slice / 2, ..plan.clone() };
        let at = |p: &&str| {
            let twin = Sample { case: AA.into(), ..stopped::<WithHazards>(&plan, p) };
            let base = stopped::<WithHazards>(&plan, p);
            [base, twin, stopped::<WithEpochs>(&plan, p), stopped::<Locked>(&plan, p)]
        };
        params.iter().flat_map(at).collect()
    })
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

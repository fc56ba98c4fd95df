//! What does it cost to hand a value to another thread, and which queue is nearest to the limit?
//!
//! Run it: `cargo run --release --bin lockfree_ring -- --step`
use std::time::Duration;

use crossbeam::queue::ArrayQueue;
use underhood::{
    contenders::{
        bag::{self, Bag, Crossbeam, Flume, Tallies, weigh},
        gate::{self, Check, Weighed, checked},
        pipe::{
            self, Array, CrossbeamChannel, FlumeChannel, OurMpmc, Ring, Rtrb, StdChannel, line, one_way,
            ping_pong,
        },
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    machine::core_to_core::handoff_ns,
    measure::{
        handover::{self, Relay},
        throughput::{self, Crowd},
        worst,
    },
    structures::lockfree::mpmc::Mpmc,
};

pub(crate) static LAB: Lab = Lab {
    stem: "lockfree_ring",
    question: "What does it cost to hand a value to another thread, and which queue is nearest to the limit?",
    steps: &[
        Step {
            name: "one_way",
            ask: "One thread pushes as fast as it can, another pops. How many ns does each value take through the crate rtrb's ring of 1,024?",
            predict: Predict::Number { case: "rtrb", param: "room_1024" },
            kind: Kind::Contended,
            cases: &["rtrb", "ring", "array_queue", "mpmc", "std_channel", "crossbeam_channel", "flume"],
            params: &["room_16", "room_1024"],
            launch: Launch::Together,
            measure: through,
            headline: "transfer_ns",
            columns: &["line_ratio"],
            claims: &[
                Claim {
                    text: "our ring takes at most as long as rtrb's, with room for 1,024",
                    of: pick("ring", "room_1024", "transfer_ns"),
                    against: Some(pick("rtrb", "room_1024", "transfer_ns")),
                    expect: Expect::AtMost(1.0),
                    cores: 2,
                },
                Claim {
                    text: "a queue for one producer and one consumer takes at most half of what one for many takes, used by one and one",
                    of: pick("ring", "room_1024", "transfer_ns"),
                    against: Some(pick("array_queue", "room_1024", "transfer_ns")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
                Claim {
                    text: "our queue for many takes at most as long as crossbeam's",
                    of: pick("mpmc", "room_1024", "transfer_ns"),
                    against: Some(pick("array_queue", "room_1024", "transfer_ns")),
                    expect: Expect::AtMost(1.0),
                    cores: 2,
                },
                Claim {
                    text: "our queue for many takes at most as long as std's bounded channel",
                    of: pick("mpmc", "room_1024", "transfer_ns"),
                    against: Some(pick("std_channel", "room_1024", "transfer_ns")),
                    expect: Expect::AtMost(1.0),
                    cores: 2,
                },
                Claim {
                    text: "our queue for many takes at most as long as crossbeam's bounded channel",
                    of: pick("mpmc", "room_1024", "transfer_ns"),
                    against: Some(pick("crossbeam_channel", "room_1024", "transfer_ns")),
                    expect: Expect::AtMost(1.0),
                    cores: 2,
                },
                Claim {
                    text: "our queue for many takes at most as long as flume's",
                    of: pick("mpmc", "room_1024", "transfer_ns"),
                    against: Some(pick("flume", "room_1024", "transfer_ns")),
                    expect: Expect::AtMost(1.0),
                    cores: 2,
                },
                Claim {
                    text: "a value through the ring takes less than one journey of a line: lines carry many values",
                    of: pick("ring", "room_1024", "line_ratio"),
                    against: None,
                    expect: Expect::AtMost(1.0),
                    cores: 2,
                },
            ],
            because: "A stream is not a chain of hand-overs: while the reader works on one line of eight values, the writer fills the next. The \
                      ring looks at the other side's counter only when its copy says full or empty, so most operations touch no line that \
                      travels. A queue for many must claim each place by a compare-and-exchange in a line that both sides ask for. See `push` in \
                      src/structures/lockfree/ring.rs and src/structures/lockfree/mpmc.rs.",
            tour: false,
        },
        Step {
            name: "ping_pong",
            ask: "One value goes to another thread and back, over and over. Bare cache line first: how many ns does one way take?",
            predict: Predict::Number { case: "line", param: "" },
            kind: Kind::Contended,
            cases: &[
                "line",
                "ring",
                "rtrb",
                "array_queue",
                "mpmc",
                "std_channel",
                "crossbeam_channel",
                "flume",
            ],
            params: &[""],
            launch: Launch::Together,
            measure: back,
            headline: "transfer_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "no queue beats the bare line: our ring takes at least 1.0 times as long",
                    of: pick("ring", "", "transfer_ns"),
                    against: Some(pick("line", "", "transfer_ns")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
                Claim {
                    text: "and at most 4 times: the value's line and the counter's travel one after the other, and the counter's once more",
                    of: pick("ring", "", "transfer_ns"),
                    against: Some(pick("line", "", "transfer_ns")),
                    expect: Expect::AtMost(4.0),
                    cores: 2,
                },
                Claim {
                    text: "our ring takes at most 1.1 times as long as rtrb's",
                    of: pick("ring", "", "transfer_ns"),
                    against: Some(pick("rtrb", "", "transfer_ns")),
                    expect: Expect::AtMost(1.1),
                    cores: 2,
                },
            ],
            because: "The first row is the limit of the machine: one line from core to core, what `underhood check` calls a hand-off; every other \
                      row's ratio is the multiple of it. A queue moves at least two lines, one with the value and one with the counter that says \
                      so. What is fast in a stream is not fast here: the copy of the counter is always out of date.",
            tour: false,
        },
        Step {
            name: "shared",
            ask: "Every thread pushes a value and pops one, all in the same bounded queue. Which does the most?",
            predict: Predict::Best { param: "" },
            kind: Kind::Contended,
            cases: &["array_queue", "mpmc", "crossbeam_channel", "flume"],
            params: &[""],
            launch: Launch::Together,
            measure: shared,
            headline: "ops_per_s",
            columns: &["lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "our queue does at least what crossbeam's does",
                    of: pick("mpmc", "", "ops_per_s"),
                    against: Some(pick("array_queue", "", "ops_per_s")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
                Claim {
                    text: "our queue does at least what crossbeam's channel does",
                    of: pick("mpmc", "", "ops_per_s"),
                    against: Some(pick("crossbeam_channel", "", "ops_per_s")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
                Claim {
                    text: "our queue does at least what flume's does",
                    of: pick("mpmc", "", "ops_per_s"),
                    against: Some(pick("flume", "", "ops_per_s")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
                Claim {
                    text: "a channel without an empty wait costs little more than the queue in it: at least half",
                    of: pick("crossbeam_channel", "", "ops_per_s"),
                    against: Some(pick("array_queue", "", "ops_per_s")),
                    expect: Expect::AtLeast(0.5),
                    cores: 2,
                },
            ],
            because: "Both queues number their slots and claim a number with a compare-and-exchange; both are blocking in disguise: a thread that loses \
                      its CPU between the claim and the publication leaves a hole that the others wait at. Between the two decides what a loser does: crossbeam's \
                      backs off (Backoff in crossbeam-utils), ours tries again at once and takes the line from the one who is about to publish. flume is a deque \
                      behind a lock. What more threads than CPUs do to a queue: lab lockfree_queue.",
            tour: false,
        },
        Step {
            name: "worst",
            ask: "Many push and pop in one bounded queue, four threads for each CPU. For what share of the time does nobody finish anything in crossbeam's?",
            predict: Predict::Number { case: "array_queue", param: "4x_threads" },
            kind: Kind::Tail,
            cases: &["array_queue", "mpmc", "crossbeam_channel", "flume"],
            params: &["1x_threads", "4x_threads"],
            launch: Launch::Together,
            measure: looked_at,
            headline: "halted_share",
            columns: &["op_max_ns", "op_p99_ns", "halt_max_ns", "jain_share", "min_max_share", "ops_per_s"],
            claims: &[
                Claim {
                    text: "blocking in disguise: a thread that is preempted between claim and publication stops all others, for at least a hundredth of the time",
                    of: pick("mpmc", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtLeast(0.01),
                    cores: 2,
                },
                Claim {
                    text: "with a thread for each CPU our queue is fair: Jain's index is at least 0.9",
                    of: pick("mpmc", "1x_threads", "jain_share"),
                    against: None,
                    expect: Expect::AtLeast(0.9),
                    cores: 2,
                },
            ],
            because: "No lock is in sight, and yet a preempted thread can stop the others: they look at its slot for the rest of their turns. Compare lab lockfree_queue, \
                      step worst, whose linked queue has no such place. How often a claim fails is not counted: a counter in the loop would be \
                      in every measurement of it. Each operation ends with a look at the clock.",
            tour: false,
        },
        Step {
            name: "memory",
            ask: "A queue for 1,024 values of 8 bytes is full. How many bytes does it take for each in crossbeam's ArrayQueue?",
            predict: Predict::Number { case: "array_queue", param: "" },
            kind: Kind::Count,
            cases: &["array_queue", "mpmc", "crossbeam_channel", "flume"],
            params: &[""],
            launch: Launch::Isolated,
            measure: weighed,
            headline: "element_bytes",
            columns: &["empty_bytes"],
            claims: &[
                Claim {
                    text: "a slot of ours is the value and a word: between 16 and 18 bytes",
                    of: pick("mpmc", "", "element_bytes"),
                    against: None,
                    expect: Expect::Between(16.0, 18.0),
                    cores: 1,
                },
                Claim {
                    text: "flume's deque does without the word: at most nine tenths of crossbeam's",
                    of: pick("flume", "", "element_bytes"),
                    against: Some(pick("array_queue", "", "element_bytes")),
                    expect: Expect::AtMost(0.9),
                    cores: 1,
                },
            ],
            because: "Each slot says whose turn it is in a word beside the value; a locked deque needs no such word, since the lock says it for all. 1,000 values are \
                      in, so that the bytes for each are a little more than those of a place. See `weigh` in src/contenders/bag.rs.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "one_way",
            text: "From one thread to another, a value takes {value} through our ring and {against} through crossbeam's ArrayQueue: {ratio}.",
            of: pick("ring", "room_1024", "transfer_ns"),
            against: Some(pick("array_queue", "room_1024", "transfer_ns")),
            not_true_when: "more than one thread pushes or pops, or the ring is nearly always empty: see ping_pong",
        },
        Say {
            step: "ping_pong",
            text: "A hand-over by the ring takes {value}, {ratio} of what one cache line takes from core to core ({against}).",
            of: pick("ring", "", "transfer_ns"),
            against: Some(pick("line", "", "transfer_ns")),
            not_true_when: "the two threads are on hyper-threads of one core, or on two sockets",
        },
    ],
    not_said: &[
        "What a channel costs whose receiver sleeps: everything is polled here, and two cores do nothing else.",
        "That a ring is the better queue: it has one producer and one consumer, and the compiler sees to it.",
        "Anything about large values: here they are 8 bytes.",
    ],
    next: &[
        "Why does the ring keep a copy of the other side's counter? (the line stays where it is)",
        "What happens if the consumer is stopped? (the producer gets its value back: full is an answer)",
        "Is a bounded queue for many lock-free? (claims are; a stopped claimer blocks its slot: src/structures/lockfree/mpmc.rs)",
    ],
    sources: &[
        "Lee, Bu, Chandranmenon, MCRingBuffer, IPDPS 2009: cached counters in a ring",
        "D. Vyukov, Bounded MPMC queue, 1024cores.net: a turn for each slot",
        "rtrb 0.4, crossbeam-queue 0.3, crossbeam-channel 0.5, flume 0.12",
        "nviennot/core-to-core-latency: what one line takes from core to core, by pairs of cores",
    ],
    benches,
};

/// No contender is timed before it has shown that it does what its name says.
const PIPES: &[Check] = &[
    pipe::check::<Rtrb>,
    pipe::check::<Ring>,
    pipe::check::<Array>,
    pipe::check::<OurMpmc>,
    pipe::check::<StdChannel>,
    pipe::check::<CrossbeamChannel>,
    pipe::check::<FlumeChannel>,
];
const BAGS: &[Check] =
    &[bag::check::<ArrayQueue<u64>>, bag::check::<Mpmc<u64>>, bag::check::<Crossbeam>, bag::check::<Flume>];

fn streams<const ROOM: usize>() -> [Relay; 7] {
    [
        one_way::<Rtrb, ROOM>(),
        one_way::<Ring, ROOM>(),
        one_way::<Array, ROOM>(),
        one_way::<OurMpmc, ROOM>(),
        one_way::<StdChannel, ROOM>(),
        one_way::<CrossbeamChannel, ROOM>(),
        one_way::<FlumeChannel, ROOM>(),
    ]
}

/// What one line takes from core to core in this very process; `None` with one CPU.
fn line_ns(plan: &Plan) -> Option<f64> {
    let [first, second, ..] = plan.cpus[..] else { return None };
    handoff_ns(first, second, plan.slice.min(Duration::from_millis(20)))
}

fn through(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(PIPES, cases, params, || {
        let line = line_ns(plan);
        let plan = Plan { slice: plan.slice / 3, ..plan.clone() };
        let rows = params.iter().flat_map(|param| {
            let arms = if *param == "room_16" { streams::<16>() } else { streams::<1024>() };
            handover::relay(&plan, param, &arms)
        });
        let with_ratio = |row: Sample| match (row.values.get("transfer_ns"), line) {
            (Some(ns), Some(line)) => {
                let ratio = ns / line;
                row.with("line_ratio", ratio)
            }
            _ => row,
        };
        rows.map(with_ratio).collect()
    })
}

fn trips() -> [Relay; 8] {
    [
        line(),
        ping_pong::<Ring>(),
        ping_pong::<Rtrb>(),
        ping_pong::<Array>(),
        ping_pong::<OurMpmc>(),
        ping_pong::<StdChannel>(),
        ping_pong::<CrossbeamChannel>(),
        ping_pong::<FlumeChannel>(),
    ]
}

fn back(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(PIPES, cases, params, || {
        let plan = Plan { slice: plan.slice / 3, ..plan.clone() };
        params.iter().flat_map(|p| handover::relay(&plan, p, &trips())).collect()
    })
}

fn crowds() -> [Crowd; 4] {
    let tally = Tallies::default(); // none of these counts its failures
    [
        bag::crowd::<ArrayQueue<u64>>(&tally),
        bag::crowd::<Mpmc<u64>>(&tally),
        bag::crowd::<Crossbeam>(&tally),
        bag::crowd::<Flume>(&tally),
    ]
}

fn shared(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(BAGS, cases, params, || {
        let plan = Plan { slice: plan.slice / 2, ..plan.clone() };
        params.iter().flat_map(|p| throughput::crowd(&plan, p, 0.0, &crowds())).collect()
    })
}

/// Each operation with a look at the clock.
fn looked_at(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(BAGS, cases, params, || worst::at_times(plan, params, &crowds()))
}

fn weighed(_plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn of<B: Bag>() -> Weighed {
        (B::CASE, weigh::<B>, bag::check::<B>)
    }
    gate::weighed(
        &[of::<ArrayQueue<u64>>(), of::<Mpmc<u64>>(), of::<Crossbeam>(), of::<Flume>()],
        cases,
        params,
    )
}

fn benches(plan: &Plan) -> Vec<Bench> {
    let streams = [0, 1, 2].map(|i| {
        let (plan, arm) = (plan.clone(), &streams::<1024>()[i]);
        let (id, make) = (format!("one_way/{}", arm.case), arm.make);
        Bench { id, make: Box::new(move || handover::timed(&plan, make)) }
    });
    let trips = [0, 1].map(|i| {
        let (plan, arm) = (plan.clone(), &trips()[i]);
        let (id, make) = (format!("ping_pong/{}", arm.case), arm.make);
        Bench { id, make: Box::new(move || handover::timed(&plan, make)) }
    });
    streams.into_iter().chain(trips).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

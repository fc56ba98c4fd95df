//! What does it cost to hand a value to another thread, and which queue is nearest to the limit?
//!
//! Run it: `cargo run --release --bin lockfree_ring -- --step`
use std::time::Duration;

use underhood::{
    contenders::{
        bag::{self, Bag},
        pipe::{self, LINE, Pipe, RING, RTRB, STD_CHANNEL, line},
    },
    lab::{
        Bound, Contender, Evidence, Kind, Lab, ONCE, Step, at, at_least, at_most, between, count, pick,
        plan::Plan, ratio, sample::Sample, shown_by, source,
    },
    machine::core_to_core::handoff_ns,
    measure::{handover, throughput, worst},
};

const ONE_WAY: &[&Pipe] =
    &[&RTRB, &RING, &pipe::ARRAY_QUEUE, &pipe::MPMC, &STD_CHANNEL, &pipe::CROSSBEAM_CHANNEL, &pipe::FLUME];
const THERE_AND_BACK: &[&Pipe] =
    &[&RING, &RTRB, &pipe::ARRAY_QUEUE, &pipe::MPMC, &STD_CHANNEL, &pipe::CROSSBEAM_CHANNEL, &pipe::FLUME];
const FOR_MANY: &[&Bag] = &[&bag::ARRAY_QUEUE, &bag::MPMC, &bag::CROSSBEAM_CHANNEL, &bag::FLUME];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "lockfree_ring",
        "What does it cost to hand a value to another thread, and which queue is nearest to the limit?"
    )
    .step(one_way())
    .step(ping_pong())
    .step(shared())
    .step(worst())
    .step(memory())
    .say(
        "one_way",
        "From one thread to another, a value takes {value} through our ring and {against} through crossbeam's ArrayQueue: {ratio}.",
        ratio(("ring", "room_1024"), ("array_queue", "room_1024")),
        "more than one thread pushes or pops, or the ring is nearly always empty: see ping_pong",
    )
    .say(
        "ping_pong",
        "A hand-over by the ring takes {value}, {ratio} of what one cache line takes from core to core ({against}).",
        ratio("ring", "line"),
        "the two threads are on hyper-threads of one core, or on two sockets",
    )
    .not_said(&[
        "What a channel costs whose receiver sleeps: everything is polled here, and two cores do nothing else.",
        "That a ring is the better queue: it has one producer and one consumer, and the compiler sees to it.",
        "Anything about large values: here they are 8 bytes.",
    ])
    .next(&[
        "Why does the ring keep a copy of the other side's counter? (the line stays where it is)",
        "What happens if the consumer is stopped? (the producer gets its value back: full is an answer)",
        "Is a bounded queue for many lock-free? (claims are; a stopped claimer blocks its slot: src/structures/lockfree/mpmc.rs)",
    ])
    .sources(&[
        "Lee, Bu, Chandranmenon, MCRingBuffer, IPDPS 2009: cached counters in a ring",
        "D. Vyukov, Bounded MPMC queue, 1024cores.net: a turn for each slot",
        "rtrb 0.4, crossbeam-queue 0.3, crossbeam-channel 0.5, flume 0.12",
        "nviennot/core-to-core-latency: what one line takes from core to core, by pairs of cores",
    ])
}

fn one_way() -> Step {
    let room_1024 = |most: f64, case: &'static str, against: &'static str| -> Bound {
        at_most(most, ratio((case, "room_1024"), (against, "room_1024"))).cores(2)
    };
    Step::new("one_way", Kind::Contended, "transfer_ns")
        .ask_number(
            "One thread pushes as fast as it can, another pops. How many ns does each value take through the crate rtrb's ring of 1,024?",
            "rtrb",
            "room_1024",
        )
        .columns(&["line_ratio"])
        .contenders(ONE_WAY)
        .slice(1.0 / 3.0)
        .over_all([count("room_16", 16), count("room_1024", 1024)], |plan, rooms| {
            let line = line_ns(plan);
            let with_ratio = |row: Sample| match (row.values.get("transfer_ns").copied(), line) {
                (Some(ns), Some(line)) => row.with("line_ratio", ns / line),
                _ => row,
            };
            let through = rooms.iter().flat_map(|room| {
                handover::relay(plan, room.id(), ONE_WAY.iter().map(|p| p.one_way(room.value)))
            });
            through.map(with_ratio).collect()
        })
        .bench("one_way/{case}", [&RTRB, &RING, &pipe::ARRAY_QUEUE], |plan, pipe| {
            handover::timed(plan, &pipe.one_way(1024))
        })
        .claim(
            room_1024(1.0, "ring", "rtrb"),
            "our ring takes at most as long as rtrb's, with room for 1,024",
        )
        .claim(
            room_1024(0.5, "ring", "array_queue"),
            "a queue for one producer and one consumer takes at most half of what one for many takes, used by one and one",
        )
        .claim(
            room_1024(1.0, "mpmc", "array_queue"),
            "our queue for many takes at most as long as crossbeam's",
        )
        .claim(
            room_1024(1.0, "mpmc", "std_channel"),
            "our queue for many takes at most as long as std's bounded channel",
        )
        .claim(
            room_1024(1.0, "mpmc", "crossbeam_channel"),
            "our queue for many takes at most as long as crossbeam's bounded channel",
        )
        .claim(room_1024(1.0, "mpmc", "flume"), "our queue for many takes at most as long as flume's")
        .claim(
            at_most(1.0, pick("ring", "room_1024", "line_ratio")).cores(2),
            "a value through the ring takes less than one journey of a line: lines carry many values",
        )
        .because(
            "A stream is not a chain of hand-overs: while the reader works on one line of eight values, the writer fills the next.",
            shown_by(at_most(1.0, pick("ring", "room_1024", "line_ratio")).cores(2)),
        )
        .because(
            "The ring looks at the other side's counter only when its copy says full or empty, so most operations touch no line that \
             travels.",
            source("`push` in src/structures/lockfree/ring.rs"),
        )
        .because(
            "A queue for many must claim each place by a compare-and-exchange in a line that both sides ask for.",
            source("src/structures/lockfree/mpmc.rs"),
        )
}

/// What one line takes from core to core in this very process; `None` with one CPU.
fn line_ns(plan: &Plan) -> Option<f64> {
    let [first, second, ..] = plan.cpus[..] else { return None };
    handoff_ns(first, second, plan.slice.min(Duration::from_millis(20)))
}

fn ping_pong() -> Step {
    Step::new("ping_pong", Kind::Contended, "transfer_ns")
        .ask_number(
            "One value goes to another thread and back, over and over. Bare cache line first: how many ns does one way take?",
            "line",
            "",
        )
        .contenders(std::iter::once(&LINE).chain(THERE_AND_BACK.iter().map(|p| -> &Contender { p.as_ref() })))
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| {
            let trips = std::iter::once(line()).chain(THERE_AND_BACK.iter().map(|p| p.ping_pong()));
            handover::relay(plan, p.id(), trips)
        })
        .bench("ping_pong/{case}", [&LINE], |plan, _| handover::timed(plan, &line()))
        .bench("ping_pong/{case}", [&RING], |plan, ring| handover::timed(plan, &ring.ping_pong()))
        .claim(
            at_least(1.0, ratio("ring", "line")).cores(2),
            "no queue beats the bare line: our ring takes at least 1.0 times as long",
        )
        .claim(
            at_most(4.0, ratio("ring", "line")).cores(2),
            "and at most 4 times: the value's line and the counter's travel one after the other, and the counter's once more",
        )
        .claim(at_most(1.1, ratio("ring", "rtrb")).cores(2), "our ring takes at most 1.1 times as long as rtrb's")
        .because(
            "The first row is the limit of the machine: one line from core to core, what `underhood check` calls a hand-off; every other \
             row's ratio is the multiple of it.",
            source("`line` in src/contenders/pipe.rs"),
        )
        .because(
            "A queue moves at least two lines, one with the value and one with the counter that says so.",
            shown_by(at_least(1.2, ratio("ring", "line")).cores(2)),
        )
        .because(
            "What is fast in a stream is not fast here: the copy of the counter is always out of date.",
            Evidence::None,
        )
}

fn shared() -> Step {
    let rates = |least: f64, case: &'static str, against: &'static str| -> Bound {
        at_least(least, ratio(case, against)).cores(2)
    };
    Step::new("shared", Kind::Contended, "ops_per_s")
        .ask_best("Every thread pushes a value and pops one, all in the same bounded queue. Which does the most?", "")
        .columns(&["lane_op_ns", "min_max_share"])
        .contenders(FOR_MANY)
        .slice(1.0 / 2.0)
        .over(ONCE, |plan, p| throughput::crowd(plan, p.id(), 0.0, FOR_MANY.iter().map(|q| q.crowd())))
        .claim(rates(1.0, "mpmc", "array_queue"), "our queue does at least what crossbeam's does")
        .claim(rates(1.0, "mpmc", "crossbeam_channel"), "our queue does at least what crossbeam's channel does")
        .claim(rates(1.0, "mpmc", "flume"), "our queue does at least what flume's does")
        .claim(
            rates(0.5, "crossbeam_channel", "array_queue"),
            "a channel without an empty wait costs little more than the queue in it: at least half",
        )
        .because(
            "Both queues number their slots and claim a number with a compare-and-exchange.",
            source("src/structures/lockfree/mpmc.rs; crossbeam-queue 0.3, array_queue.rs"),
        )
        .because(
            "Both are blocking in disguise: a thread that loses its CPU between the claim and the publication leaves a hole that the others \
             wait at.",
            source("D. Vyukov, Bounded MPMC queue, 1024cores.net"),
        )
        .because(
            "What a loser does decides between the two. crossbeam's backs off (Backoff in crossbeam-utils); ours tries again at once and \
             takes the line from the thread that is about to publish.",
            source("crossbeam-utils 0.8, backoff.rs; src/structures/lockfree/mpmc.rs"),
        )
        .because("flume is a deque behind a lock.", source("flume 0.12"))
        .because(
            "What more threads than CPUs do to a queue: lab lockfree_queue.",
            source("labs/lockfree_queue.rs"),
        )
}

fn worst() -> Step {
    Step::new("worst", Kind::Tail, "halted_share")
        .ask_number(
            "Many push and pop in one bounded queue, four threads for each CPU. For what share of the time does nobody finish anything in crossbeam's?",
            "array_queue",
            "4x_threads",
        )
        .columns(&["op_max_ns", "op_p99_ns", "halt_max_ns", "jain_share", "min_max_share", "ops_per_s"])
        .contenders(FOR_MANY)
        .slice(1.0 / 4.0)
        .over([at("1x_threads", 1), at("4x_threads", 4)], |plan, times| {
            worst::at_times(plan, times, FOR_MANY.iter().map(|q| q.crowd()))
        })
        .claim(
            at_least(0.01, ("mpmc", "4x_threads")).cores(2),
            "blocking in disguise: a thread that is preempted between claim and publication stops all others, for at least a hundredth of the time",
        )
        .claim(
            at_least(0.9, pick("mpmc", "1x_threads", "jain_share")).cores(2),
            "with a thread for each CPU our queue is fair: Jain's index is at least 0.9",
        )
        .because(
            "No lock is in sight, and yet a preempted thread can stop the others: they look at its slot for the rest of their turns.",
            shown_by(at_least(10.0, ratio(("mpmc", "4x_threads"), ("mpmc", "1x_threads"))).cores(2)),
        )
        .because(
            "Compare lab lockfree_queue, step worst, whose linked queue has no such place.",
            source("labs/lockfree_queue.rs"),
        )
        .because(
            "How often a claim fails is not counted: a counter in the loop would be in every measurement of it.",
            Evidence::None,
        )
        .because("Each operation ends with a look at the clock.", source("src/measure/worst.rs"))
}

fn memory() -> Step {
    Step::new("memory", Kind::Count, "element_bytes")
        .ask_number(
            "A queue for 1,024 values of 8 bytes is full. How many bytes does it take for each in crossbeam's ArrayQueue?",
            "array_queue",
            "",
        )
        .columns(&["empty_bytes"])
        .isolated(FOR_MANY, ONCE, |_, queue, _| queue.weigh())
        .check_after()
        .claim(
            between(16.0, 18.0, "mpmc"),
            "a slot of ours is the value and a word: between 16 and 18 bytes",
        )
        .claim(
            at_most(0.9, ratio("flume", "array_queue")),
            "flume's deque does without the word: at most nine tenths of crossbeam's",
        )
        .because(
            "Each slot says whose turn it is in a word beside the value; a locked deque needs no such word, since the lock says it for \
             all.",
            shown_by(at_most(0.6, ratio("flume", "array_queue"))),
        )
        .because(
            "1,000 values are in, so that the bytes for each are a little more than those of a place.",
            source("`weigh` in src/contenders/bag.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

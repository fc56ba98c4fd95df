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
        Bound, Contender, Kind, Lab, ONCE, Step, at, at_least, at_most, between, count, pick, plan::Plan,
        ratio, sample::Sample, shown_by, source,
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
        "Passing a value through a single-producer, single-consumer ring takes {value} with ours and {against} with the crate \
         rtrb's: {ratio}.",
        ratio(("ring", "room_1024"), ("rtrb", "room_1024")),
        "more than one thread pushes or pops, or the ring is nearly always empty: see step ping_pong",
    )
    .say(
        "ping_pong",
        "A hand-over through our ring takes {value}: {ratio} of the time that one cache line takes from core to core \
         ({against}).",
        ratio("ring", "line"),
        "the two threads are on hyper-threads of one core, or on two sockets",
    )
    .not_said(&[
        "The cost of a channel whose receiver sleeps: here all threads poll, and two cores do nothing else.",
        "That a ring is the better queue: it allows only one producer and one consumer, and the compiler enforces that.",
        "Anything about large values: here they are 8 bytes.",
    ])
    .next(&[
        "Why does the ring keep a copy of the other side's counter? (so that the counter's cache line stays where it is)",
        "What happens if the consumer is stopped? (the producer gets its value back, with the answer \"full\")",
        "Is a bounded queue for many threads lock-free? (only the claim of a slot is: a thread that is stopped after its claim \
         blocks that slot, see src/structures/lockfree/mpmc.rs)",
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
            "One thread pushes as fast as it can, and another pops. How many ns does each value take through a ring of the \
             crate rtrb with room for 1,024?",
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
            "with one producer and one consumer, our ring takes at most half as long as crossbeam's ArrayQueue, which is for \
             many threads",
        )
        .claim(
            room_1024(1.0, "mpmc", "array_queue"),
            "our bounded queue for many threads takes at most as long as crossbeam's ArrayQueue",
        )
        .claim(
            room_1024(1.0, "mpmc", "std_channel"),
            "our bounded queue for many threads takes at most as long as std's bounded channel",
        )
        .claim(
            room_1024(1.0, "mpmc", "crossbeam_channel"),
            "our bounded queue for many threads takes at most as long as crossbeam's bounded channel",
        )
        .claim(
            room_1024(1.0, "mpmc", "flume"),
            "our bounded queue for many threads takes at most as long as flume's bounded channel",
        )
        .claim(
            at_most(1.0, pick("ring", "room_1024", "line_ratio")).cores(2),
            "a value through the ring takes less time than a cache line from core to core: one line carries many values",
        )
        .because(
            "In a stream, the hand-overs overlap: while the consumer reads one cache line of eight values, the producer \
             fills the next.",
            shown_by(at_most(1.0, pick("ring", "room_1024", "line_ratio")).cores(2)),
        )
        .because(
            "Each side keeps a copy of the other side's counter, and loads the counter itself only when the copy says full \
             or empty. So most operations touch no cache line that moves between cores.",
            source("`push` in src/structures/lockfree/ring.rs"),
        )
        .because(
            "A queue for many producers and consumers claims each slot with a compare-and-exchange, even if one thread pushes \
             and one pops. How much that costs depends on the queue.",
            source("crossbeam-queue 0.3, `push_or_else` in src/array_queue.rs"),
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
            "One value goes to another thread and back, again and again. If only a bare cache line carries it, how many ns \
             does one way take?",
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
            "no queue beats the bare cache line: our ring takes at least 1.0 times as long",
        )
        .claim(
            at_most(4.0, ratio("ring", "line")).cores(2),
            "our ring takes at most 4 times as long: the value's cache line moves, then the counter's, then the counter's \
             once more",
        )
        .claim(at_most(1.1, ratio("ring", "rtrb")).cores(2), "our ring takes at most 1.1 times as long as rtrb's")
        .because(
            "The first row is the limit of the machine: one cache line from core to core, which `underhood check` calls a \
             hand-off. Each other row's ratio is a multiple of that time.",
            source("`line` in src/contenders/pipe.rs"),
        )
        .because(
            "A queue moves at least two cache lines: one with the value, and one with the counter that says that the value \
             is there.",
            shown_by(at_least(1.2, ratio("ring", "line")).cores(2)),
        )
        .because(
            "What makes a stream fast does not help here: each side must load the other side's counter every time.",
            source("`pop` in src/structures/lockfree/ring.rs"),
        )
}

fn shared() -> Step {
    let rates = |least: f64, case: &'static str, against: &'static str| -> Bound {
        at_least(least, ratio(case, against)).cores(2)
    };
    Step::new("shared", Kind::Contended, "ops_per_s")
        .ask_best("Every thread pushes a value and pops one, and all use the same bounded queue. Which queue does the most?", "")
        .columns(&["lane_op_ns", "min_max_share"])
        .contenders(FOR_MANY)
        .slice(1.0 / 2.0)
        .over(ONCE, |plan, p| throughput::crowd(plan, p.id(), 0.0, FOR_MANY.iter().map(|q| q.crowd())))
        .claim(rates(1.0, "mpmc", "array_queue"), "our queue does at least what crossbeam's ArrayQueue does")
        .claim(rates(1.0, "mpmc", "crossbeam_channel"), "our queue does at least what crossbeam's channel does")
        .claim(rates(1.0, "mpmc", "flume"), "our queue does at least what flume's bounded channel does")
        .claim(
            rates(0.5, "crossbeam_channel", "array_queue"),
            "if a channel never waits, it costs little more than the queue in it: crossbeam's does at least half of what \
             ArrayQueue does",
        )
        .because(
            "Our queue and crossbeam's ArrayQueue number their slots, and a thread claims a number with a \
             compare-and-exchange.",
            source("src/structures/lockfree/mpmc.rs; crossbeam-queue 0.3, array_queue.rs"),
        )
        .because(
            "Our queue and ArrayQueue can block although they have no lock. If a thread loses its CPU between the claim and \
             the publication, the others wait at its slot.",
            source("D. Vyukov, Bounded MPMC queue, 1024cores.net"),
        )
        .because(
            "Our queue and ArrayQueue differ in what a thread does when its claim fails. In crossbeam's queue it backs off \
             (Backoff in crossbeam-utils). In ours it tries again at once, and takes the cache line from the thread that is \
             about to publish.",
            source("crossbeam-utils 0.8, backoff.rs; src/structures/lockfree/mpmc.rs"),
        )
        .because("flume is a deque behind a lock.", source("flume 0.12"))
        .because(
            "Lab lockfree_queue shows what happens to a queue with more threads than CPUs.",
            source("labs/lockfree_queue.rs"),
        )
}

fn worst() -> Step {
    Step::new("worst", Kind::Tail, "halted_share")
        .ask_number(
            "Four threads for each CPU push and pop on one bounded queue, crossbeam's ArrayQueue. For what share of the \
             time does no thread finish an operation?",
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
            "in our queue, a thread preempted between claim and publication stops all others for at least a hundredth of \
             the time",
        )
        .claim(
            at_least(0.9, pick("mpmc", "1x_threads", "jain_share")).cores(2),
            "with a thread for each CPU our queue is fair: Jain's index is at least 0.9",
        )
        .because(
            "The queue has no lock, and yet a preempted thread can stop the others. They spin on its slot for the rest of \
             their time slices.",
            shown_by(at_least(10.0, ratio(("mpmc", "4x_threads"), ("mpmc", "1x_threads"))).cores(2)),
        )
        .because(
            "Compare lab lockfree_queue, step worst: its linked queue has no such slot.",
            source("labs/lockfree_queue.rs"),
        )
        .because(
            "How often a claim fails is not counted: a counter in the loop would be part of every measurement of the queue.",
            source("src/structures/lockfree/mpmc.rs"),
        )
        .because("Each operation ends with a look at the clock.", source("src/measure/worst.rs"))
}

fn memory() -> Step {
    Step::new("memory", Kind::Count, "element_bytes")
        .ask_number(
            "A queue has room for 1,024 values of 8 bytes, and 1,000 are in it. How many bytes does crossbeam's ArrayQueue \
             take for each value?",
            "array_queue",
            "",
        )
        .columns(&["empty_bytes"])
        .isolated(FOR_MANY, ONCE, |_, queue, _| queue.weigh())
        .check_after()
        .claim(
            between(16.0, 18.0, "mpmc"),
            "a slot of our queue is the value and one more word: it takes between 16 and 18 bytes",
        )
        .claim(
            at_most(0.9, ratio("flume", "array_queue")),
            "flume's deque needs no such word: it takes at most nine tenths of what crossbeam's ArrayQueue takes",
        )
        .because(
            "In each slot, a word beside the value says whose turn it is. A deque behind a lock needs no such word, since \
             the lock protects all slots.",
            shown_by(at_most(0.6, ratio("flume", "array_queue"))),
        )
        .because(
            "The queue holds 1,000 values, so the bytes for each value are a little more than those of a slot.",
            source("`weigh` in src/contenders/bag.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

//! With one thread stopped inside an operation, do the others finish theirs?
//!
//! Run it: `cargo run --release --bin lockfree_progress -- --step`
use std::sync::Arc;

use underhood::{
    contenders::{
        bag::{self, Bag},
        counter::{CAS_COUNTER, COUNTER, Counter, MUTEX},
        map::{DASHMAP_6, ONE_LOCK, PAPAYA_0_2, SCC_3, SHARDED_16, SharedMap},
        map_mix::Mix,
        pipe::{Pipe, RING, RTRB, STD_CHANNEL, Side},
        published::{
            ARC_SWAP, CROSSBEAM_EPOCH, HAPHAZARD, Published, RWLOCK_ARC, SNAPSHOT_EPOCH, SNAPSHOT_HAZARD,
        },
    },
    lab::{
        Bound, Contender, Evidence, Kind, Lab, Point, Step, What, at, at_least, at_most, count, pick, ratio,
        shown_by, source,
    },
    measure::{keys::Skew, progress::stop_one, throughput::Crowd},
};

const BAGS: &[&Bag] = &[
    &bag::MUTEX_DEQUE,
    &bag::QUEUE_EPOCH,
    &bag::QUEUE_HAZARD,
    &bag::STACK_EPOCH,
    &bag::STACK_HAZARD,
    &bag::CROSSBEAM_TREIBER,
    &bag::SEG_QUEUE,
    &bag::MPMC,
    &bag::ARRAY_QUEUE,
    &bag::CROSSBEAM_CHANNEL,
    &bag::FLUME,
];
const PIPES: &[&Pipe] = &[&RING, &RTRB, &STD_CHANNEL];
const SNAPSHOTS: &[&Published] =
    &[&RWLOCK_ARC, &ARC_SWAP, &SNAPSHOT_EPOCH, &SNAPSHOT_HAZARD, &CROSSBEAM_EPOCH, &HAPHAZARD];
const MAPS: &[&SharedMap] = &[&DASHMAP_6, &ONE_LOCK, &SHARDED_16, &PAPAYA_0_2, &SCC_3];
const COUNTERS: &[&Counter] = &[&MUTEX, &COUNTER, &CAS_COUNTER];

/// How many others there are.
const OTHERS: [Point<usize>; 2] = [count("one_other", 1), count("two_others", 2)];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "lockfree_progress",
        "With one thread stopped inside an operation, do the others finish theirs?"
    )
    .step(bags())
    .step(pipes())
    .step(published())
    .step(maps())
    .step(counters())
    .say(
        "bags",
        "crossbeam's ArrayQueue has no lock, and yet the other thread stood still in {value} of {against} stops inside an operation.",
        of_pauses("array_queue"),
        "a thread is stopped for a moment only: the others spin, and go on when it does",
    )
    .say(
        "bags",
        "Behind a mutex the other thread stood still in {value} of {against} stops inside an operation.",
        of_pauses("mutex_deque"),
        "the thread does anything else than push and pop: then it is seldom inside",
    )
    .not_said(&[
        "Which structure halts the more often: once is a proof, and the share depends on how much of a call is the operation and how much the count \
         that this lab keeps beside it.",
        "That what was never halted is lock-free: that is argued in its file, explored by a model, and only not contradicted here.",
        "That a share of 0 is 0: of n stops without a halt one may say that bad places are likely rarer than 3 / n, and a run has 30 to 70 stops a row.",
        "How often it happens to you: a thread is stopped here every few milliseconds, and does nothing else than these operations.",
        "Anything about wait-freedom: a thread that loses again and again while another gets on is in `parted` only if it loses for 3 ms.",
    ])
    .next(&[
        "Is a lock-free structure over malloc lock-free? (no: see the halts inside the library)",
        "What is obstruction-free good for? (nobody else is in the way for long: transactional memory was built on it)",
        "Why do crates accept the hole? (one exchange for an operation instead of two, and no node to allocate)",
    ])
    .sources(&[
        "M. Herlihy, Wait-Free Synchronization, 1991; M. Herlihy, V. Luchangco, M. Moir, Obstruction-Free Synchronization, 2003",
        "D. Vyukov, Bounded MPMC queue, 1024cores.net: not lock-free by the definition, and says so",
        "crossbeam-queue 0.3, array_queue.rs and seg_queue.rs: the waits in push and pop",
        "signal-safety(7): what a handler may do",
    ])
}

fn of_pauses(case: &'static str) -> What {
    ratio(pick(case, "one_other", "halted_count"), pick(case, "one_other", "pauses_count"))
}

/// One pause without progress is a proof, but it must be caught: so often at least, if a structure has places that stop the others.
fn now_and_then(case: &'static str, param: &'static str) -> Bound {
    at_least(0.001, (case, param))
}

/// In none of the stops that were caught, which are few: see `not_said`.
fn never(case: &'static str, param: &'static str) -> Bound {
    at_most(0.0, (case, param))
}

/// One thread of each contender in turn is stopped, among so many lanes of it.
fn step<C: AsRef<Contender> + Sync + 'static, T: Clone + Send + Sync + 'static>(
    name: &'static str,
    roster: &'static [&'static C],
    points: [Point<T>; 2],
    lanes: impl Fn(&C, &T) -> (usize, Crowd) + Send + Sync + 'static,
) -> Step {
    Step::new(name, Kind::Chance, "halted_share")
        .columns(&["halted_count", "pauses_count", "parted_share", "library_count", "library_halted_count"])
        .contenders(roster)
        .slice(1.0 / 4.0)
        .over(points, move |plan, p| {
            let row = |c: &&'static C| {
                let (others, arm) = lanes(c, &p.value);
                stop_one(plan, p.id(), others, &arm)
            };
            roster.iter().map(row).collect()
        })
}

fn bags() -> Step {
    step("bags", BAGS, OTHERS, |bag, others| (*others, bag.crowd()))
    .ask_number("A thread is stopped somewhere in a push or a pop. In what share of the stops do the others stand still, behind a mutex?", "mutex_deque", "one_other")
    .claim(
        at_least(0.02, ("mutex_deque", "one_other")),
        "a mutex is blocking: in at least one stop in 50 the others stand still",
    )
    .claim(
        never("queue_hazard", "two_others"),
        "our queue with hazard pointers stops them in none of the stops that were caught inside",
    )
    .claim(never("stack_epoch", "two_others"), "nor does our stack with epochs, in any that was caught")
    .claim(
        now_and_then("mpmc", "one_other"),
        "our bounded queue is blocking in disguise: no lock in sight, and yet they stand still",
    )
    .claim(now_and_then("array_queue", "one_other"), "so is crossbeam's ArrayQueue")
    .claim(
        now_and_then("seg_queue", "one_other"),
        "so is crossbeam's SegQueue: a pop waits for the push that has claimed its slot",
    )
    .because(
        "Between the claim of a slot and its publication a bounded queue has a hole that nobody else can fill or pass.",
        shown_by(now_and_then("mpmc", "one_other")),
    )
    .because(
        "Between lock and unlock a mutex is nothing but a hole.",
        shown_by(now_and_then("mutex_deque", "one_other")),
    )
    .because(
        "Treiber's stack and Michael's and Scott's queue have none: each intermediate state is one that others can finish or ignore.",
        shown_by(never("queue_hazard", "one_other")),
    )
    .because(
        "The allocator under them is a lock now and then: stops inside the C library are counted apart.",
        source("src/measure/halt.rs"),
    )
    .because(
        "No halt in n stops says only that bad places are rarer than about 3 / n.",
        Evidence::None,
    )
}

fn pipes() -> Step {
    step("pipes", PIPES, [at("producer_stopped", Side::Producer), at("consumer_stopped", Side::Consumer)], |pipe, stopped| (1, pipe.tries(*stopped)))
    .ask_number("One producer, one consumer, who only ask and never wait. One of them is stopped: does std's channel still answer the other?", "std_channel", "producer_stopped")
    .claim(never("ring", "producer_stopped"), "our ring always answers the consumer: empty is an answer")
    .claim(never("ring", "consumer_stopped"), "and the producer: full is one, too")
    .claim(
        now_and_then("std_channel", "producer_stopped"),
        "std's bounded channel does not always: try_recv waits for the slot that a stopped sender has claimed",
    )
    .because(
        "The ring is wait-free: each side writes its own counter only, after the value, and reads the other's.",
        shown_by(never("ring", "producer_stopped")),
    )
    .because(
        "A queue for many that is used by one and one has its claims all the same, and with them the hole.",
        shown_by(now_and_then("std_channel", "producer_stopped")),
    )
}

fn published() -> Step {
    step("published", SNAPSHOTS, OTHERS, |snapshot, others| (*others, snapshot.crowd(2)))
    .ask_number("Every second operation replaces a shared value, the others read it. Behind an RwLock<Arc>: in what share of the stops do the others stand still?", "rwlock_arc", "one_other")
    .claim(at_least(0.01, ("rwlock_arc", "one_other")), "a reader-writer lock is blocking, for readers too")
    .claim(
        never("snapshot_hazard", "two_others"),
        "our snapshot with hazard pointers stops them in none of the stops that were caught inside",
    )
    .claim(never("arc_swap", "two_others"), "nor does arc-swap, in any that was caught")
    .because(
        "A thread that publishes makes the value first and then turns one pointer: there is no state in between.",
        shown_by(never("snapshot_hazard", "one_other")),
    )
    .because(
        "What a stopped reader may hold up is not the others' progress but the freeing: lab lockfree_reclaim.",
        source("labs/lockfree_reclaim.rs"),
    )
}

fn maps() -> Step {
    step("maps", MAPS, OTHERS, |map, others| (*others, map.mixed(Mix { each_percent: 25, skew: Skew::OneKey }, &Arc::default())))
    .ask_number("All threads insert, remove and read one key. In what share of the stops do the others stand still on dashmap?", "dashmap_6", "one_other")
    .claim(
        at_least(0.02, ("dashmap_6", "one_other")),
        "a sharded map is blocking: in at least one stop in 50",
    )
    .claim(at_least(0.02, ("one_lock", "one_other")), "a map behind one mutex as well")
    .claim(
        never("papaya_0_2", "two_others"),
        "papaya stops the others in none of the stops that were caught inside",
    )
    .because(
        "More locks make it less likely that the others want the one that is held, and the hot key makes it certain.",
        shown_by(now_and_then("sharded_16", "one_other")),
    )
    .because(
        "papaya's insertions and removals are exchanges of one pointer.",
        shown_by(never("papaya_0_2", "one_other")),
    )
    .because("scc locks a bucket for a change.", shown_by(now_and_then("scc_3", "one_other")))
    .because(
        "Growth, where papaya's threads help or wait, does not happen here: there is one key.",
        source("ibraheemdev/papaya, docs"),
    )
}

fn counters() -> Step {
    step("counters", COUNTERS, OTHERS, |counter, others| (*others, counter.crowd(0)))
    .ask_number("All threads count. In what share of the stops do the others stand still behind a mutex?", "mutex", "one_other")
    .claim(at_least(0.01, ("mutex", "one_other")), "a mutex is blocking")
    .claim(
        never("cas_counter", "two_others"),
        "a compare-and-exchange loop stops the others in none of the stops that were caught inside",
    )
    .because("An instruction is done or not done.", shown_by(never("counter", "one_other")))
    .because(
        "The loop of the compare-and-exchange can be stopped between its look and its exchange. Then it is the stopped thread whose \
         exchange fails later.",
        shown_by(never("cas_counter", "one_other")),
    )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

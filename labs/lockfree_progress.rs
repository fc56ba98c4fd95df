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
    lab::{Bound, Contender, Kind, Lab, Point, Step, at, at_least, at_most, count, shown_by, source},
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
        "crossbeam's ArrayQueue has no lock. Yet when one thread was stopped inside an operation, the other made no \
         progress in {value} of the stops.",
        ("array_queue", "one_other"),
        "a thread is stopped only for a moment: the others spin, and go on when that thread goes on",
    )
    .say(
        "bags",
        "Behind a mutex, when one thread was stopped inside an operation, the other made no progress in {value} of the \
         stops.",
        ("mutex_deque", "one_other"),
        "the thread also does other work than push and pop: then it is seldom stopped inside an operation",
    )
    .not_said(&[
        "Which structure halts more often. One halt proves that a structure can block, but the share also depends on the \
         other work in each call.",
        "That a structure that was never halted is lock-free. Its source file argues that it is, and a model explores it. This \
         lab only finds nothing that contradicts it.",
        "That a measured share of 0 means never. After n stops without a halt, the true share is likely below 3 / n. Most \
         rows have fewer than 100 stops, and some have hardly any.",
        "How often it happens in your program: here a thread is stopped every few milliseconds, and it does nothing but \
         these operations.",
        "Anything about wait-freedom. A thread may lose again and again while another makes progress. Only after 3 ms does \
         that count in the column \"stops that halted only some others\".",
    ])
    .next(&[
        "Is a lock-free structure that calls malloc lock-free? (no: see the halts inside the C library)",
        "What is an obstruction-free structure good for? (for threads that seldom conflict, and only for a short time: \
         transactional memory was built on it)",
        "Why do crates accept a queue that can block like this? (one exchange for each operation instead of two, and no \
         node to allocate)",
    ])
    .sources(&[
        "M. Herlihy, Wait-Free Synchronization, 1991; M. Herlihy, V. Luchangco, M. Moir, Obstruction-Free Synchronization, 2003",
        "D. Vyukov, Bounded MPMC queue, 1024cores.net: not lock-free by the definition, and says so",
        "crossbeam-queue 0.3, array_queue.rs and seg_queue.rs: the waits in push and pop",
        "signal-safety(7): what a handler may do",
    ])
}

/// One pause without progress is a proof, but a run must catch one. This is the least share to expect if a structure has places that stop
/// the others.
fn now_and_then(case: &'static str, param: &'static str) -> Bound {
    at_least(0.001, (case, param))
}

/// Expects no halt in any of the stops that were caught. There are few: see `not_said`.
fn never(case: &'static str, param: &'static str) -> Bound {
    at_most(0.0, (case, param))
}

/// Runs each contender in turn with some lanes, and stops one of its threads.
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
    .ask_number(
        "A thread is stopped somewhere in a push or a pop. Behind a mutex, in what share of the stops do the other threads \
         make no progress?",
        "mutex_deque",
        "one_other",
    )
    .claim(
        at_least(0.02, ("mutex_deque", "one_other")),
        "a mutex is blocking: in at least one stop in 50 the other threads make no progress",
    )
    .claim(
        never("queue_hazard", "two_others"),
        "in our queue with hazard pointers, none of the stops caught inside an operation halts the others",
    )
    .claim(
        never("stack_epoch", "two_others"),
        "in our stack with epochs, none of the stops caught inside an operation halts the others",
    )
    .claim(
        now_and_then("mpmc", "one_other"),
        "our bounded queue can block although it has no lock: some stops halt the others",
    )
    .claim(now_and_then("array_queue", "one_other"), "crossbeam's ArrayQueue can block in the same way")
    .claim(
        now_and_then("seg_queue", "one_other"),
        "crossbeam's SegQueue can block too: a pop waits for the push that has claimed its slot",
    )
    .because(
        "A push to a bounded queue first claims a slot and then publishes the value. In between, the queue has a hole that \
         no other thread can fill or pass.",
        shown_by(now_and_then("mpmc", "one_other")),
    )
    .because(
        "With a mutex, the others wait in the same way for everything between lock and unlock.",
        shown_by(now_and_then("mutex_deque", "one_other")),
    )
    .because(
        "Treiber's stack and the Michael-Scott queue have no such hole: other threads can finish or ignore every \
         intermediate state.",
        shown_by(never("queue_hazard", "one_other")),
    )
    .because(
        "The allocator takes a lock now and then, so stops inside the C library are counted separately.",
        source("src/measure/halt.rs"),
    )
}

fn pipes() -> Step {
    step("pipes", PIPES, [at("producer_stopped", Side::Producer), at("consumer_stopped", Side::Consumer)], |pipe, stopped| (1, pipe.tries(*stopped)))
    .ask_number(
        "One producer and one consumer use only calls that should not wait. The producer is stopped. In what share of the \
         stops does std's channel give the consumer no answer?",
        "std_channel",
        "producer_stopped",
    )
    .claim(never("ring", "producer_stopped"), "our ring always answers the consumer (\"empty\" is an answer)")
    .claim(never("ring", "consumer_stopped"), "our ring always answers the producer (\"full\" is an answer)")
    .claim(
        now_and_then("std_channel", "producer_stopped"),
        "std's bounded channel does not always answer: try_recv waits for the slot that a stopped sender has claimed",
    )
    .because(
        "The ring is wait-free: each side writes only its own counter, after the value, and reads the other side's counter.",
        shown_by(never("ring", "producer_stopped")),
    )
    .because(
        "A queue for many producers and consumers claims slots even if there is only one of each. So it has the same hole.",
        shown_by(now_and_then("std_channel", "producer_stopped")),
    )
}

fn published() -> Step {
    step("published", SNAPSHOTS, OTHERS, |snapshot, others| (*others, snapshot.crowd(2)))
    .ask_number(
        "Every second operation replaces a shared value, and the others read it. Behind an RwLock<Arc>, in what share of the \
         stops do the other threads make no progress?",
        "rwlock_arc",
        "one_other",
    )
    .claim(at_least(0.01, ("rwlock_arc", "one_other")), "a reader-writer lock is blocking, for readers too")
    .claim(
        never("snapshot_hazard", "two_others"),
        "in our snapshot with hazard pointers, none of the stops caught inside an operation halts the others",
    )
    .claim(
        never("arc_swap", "two_others"),
        "in arc-swap, none of the stops caught inside an operation halts the others",
    )
    .because(
        "A thread that publishes first makes the value and then exchanges one pointer: there is no state in between.",
        shown_by(never("snapshot_hazard", "one_other")),
    )
    .because(
        "A stopped reader does not stop the other threads, but it may delay the freeing of old values: see lab \
         lockfree_reclaim.",
        source("labs/lockfree_reclaim.rs"),
    )
}

fn maps() -> Step {
    step("maps", MAPS, OTHERS, |map, others| (*others, map.mixed(Mix { each_percent: 25, skew: Skew::OneKey }, &Arc::default())))
    .ask_number(
        "All threads insert, remove and read one key. With dashmap, in what share of the stops do the other threads make no \
         progress?",
        "dashmap_6",
        "one_other",
    )
    .claim(
        at_least(0.02, ("dashmap_6", "one_other")),
        "a sharded map is blocking: in at least one stop in 50 the other threads make no progress",
    )
    .claim(
        at_least(0.02, ("one_lock", "one_other")),
        "a map behind one mutex is blocking as well: in at least one stop in 50 the other threads make no progress",
    )
    .claim(
        never("papaya_0_2", "two_others"),
        "in papaya, none of the stops caught inside an operation halts the others",
    )
    .because(
        "With many locks it is less likely that the others want the one that is held. With one hot key they always do.",
        shown_by(now_and_then("sharded_16", "one_other")),
    )
    .because(
        "papaya's insertions and removals take no lock: each exchanges one pointer.",
        source("papaya 0.2, `insert_at` and `update_at` in src/raw/mod.rs"),
    )
    .because(
        "But papaya does not use the slot of a removed entry again, so now and then it needs a new table. Threads may have to \
         wait for the new table, so a stop may halt the others.",
        source("papaya 0.2, `get_or_alloc_next` in src/raw/mod.rs"),
    )
    .because("scc locks a bucket to change it.", shown_by(now_and_then("scc_3", "one_other")))
}

fn counters() -> Step {
    step("counters", COUNTERS, OTHERS, |counter, others| (*others, counter.crowd(0)))
    .ask_number(
        "All threads count. Behind a mutex, in what share of the stops do the other threads make no progress?",
        "mutex",
        "one_other",
    )
    .claim(at_least(0.01, ("mutex", "one_other")), "a mutex is blocking")
    .claim(
        never("cas_counter", "two_others"),
        "in a compare-and-exchange loop, none of the stops caught inside an operation halts the others",
    )
    .because("fetch_add is one instruction: it is either done or not done.", shown_by(never("counter", "one_other")))
    .because(
        "A thread in a compare-and-exchange loop can be stopped between its load and its exchange. Then its own exchange \
         fails later, and the others go on.",
        shown_by(never("cas_counter", "one_other")),
    )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

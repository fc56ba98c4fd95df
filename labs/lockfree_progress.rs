//! With one thread stopped inside an operation, do the others finish theirs?
//!
//! Run it: `cargo run --release --bin lockfree_progress -- --step`
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use crossbeam::queue::{ArrayQueue, SegQueue};
use underhood::{
    contenders::{
        bag::{self, Bag, Tallies},
        counter::{self, Locked},
        gate::{self, Check},
        map::{self, Map, OneLock, Sharded},
        map_mix::{self, Mix},
        pipe::{self, Ring, Rtrb, StdChannel},
        published::{self, CrossbeamEpoch, Haphazard, Line},
        treiber::Treiber,
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{keys::Skew, progress::progress, throughput::Crowd},
    structures::{
        lockfree::{
            counter::{CasCounter, Counter},
            mpmc::Mpmc,
            queue::Queue,
            snapshot::Snapshot,
            stack::Stack,
        },
        reclaim::{epoch::Epoch, hazard::Hazard},
    },
};

/// One pause without progress is a proof, but it must be caught: so often at least, if a structure has places that stop the others.
const NOW_AND_THEN: Expect = Expect::AtLeast(0.001);
/// Of the stops that were caught, which are few: see `not_said`.
const NEVER: Expect = Expect::AtMost(0.0);

const fn halted(text: &'static str, case: &'static str, param: &'static str, expect: Expect) -> Claim {
    Claim { text, of: pick(case, param, "halted_share"), against: None, expect, cores: 1 }
}

const COLUMNS: &[&str] =
    &["halted_count", "pauses_count", "parted_share", "library_count", "library_halted_count"];
const OTHERS: &[&str] = &["one_other", "two_others"];

const fn step(
    name: &'static str,
    ask: &'static str,
    cases: &'static [&'static str],
    claims: &'static [Claim],
    because: &'static str,
) -> Step {
    Step {
        name,
        ask,
        predict: Predict::Number { case: cases[0], param: "one_other" },
        kind: Kind::Chance,
        cases,
        params: OTHERS,
        launch: Launch::Together,
        measure: |_, _, _| Vec::new(),
        headline: "halted_share",
        columns: COLUMNS,
        claims,
        because,
        tour: false,
    }
}

pub(crate) static LAB: Lab = Lab {
    stem: "lockfree_progress",
    question: "With one thread stopped inside an operation, do the others finish theirs?",
    steps: &[
        Step {
            measure: with_bags,
            ..step(
                "bags",
                "A thread is stopped somewhere in a push or a pop. In what share of the stops do the others stand still, behind a mutex?",
                &[
                    "mutex_deque",
                    "queue_epoch",
                    "queue_hazard",
                    "stack_epoch",
                    "stack_hazard",
                    "crossbeam_treiber",
                    "seg_queue",
                    "mpmc",
                    "array_queue",
                    "crossbeam_channel",
                    "flume",
                ],
                &[
                    halted(
                        "a mutex is blocking: in at least one stop in 50 the others stand still",
                        "mutex_deque",
                        "one_other",
                        Expect::AtLeast(0.02),
                    ),
                    halted(
                        "our queue with hazard pointers stops them in none of the stops that were caught inside",
                        "queue_hazard",
                        "two_others",
                        NEVER,
                    ),
                    halted(
                        "nor does our stack with epochs, in any that was caught",
                        "stack_epoch",
                        "two_others",
                        NEVER,
                    ),
                    halted(
                        "our bounded queue is blocking in disguise: no lock in sight, and yet they stand still",
                        "mpmc",
                        "one_other",
                        NOW_AND_THEN,
                    ),
                    halted("so is crossbeam's ArrayQueue", "array_queue", "one_other", NOW_AND_THEN),
                    halted(
                        "so is crossbeam's SegQueue: a pop waits for the push that has claimed its slot",
                        "seg_queue",
                        "one_other",
                        NOW_AND_THEN,
                    ),
                ],
                "Between the claim of a slot and its publication a bounded queue has a hole that nobody else can fill or pass; between lock and unlock a \
                 mutex is nothing but a hole. Treiber's stack and Michael's and Scott's queue have none: each intermediate state is one that others \
                 can finish or ignore. The allocator under them is a lock now and then: stops inside the C library are counted apart. No halt in \
                 n stops says only that bad places are rarer than about 3 / n.",
            )
        },
        Step {
            measure: with_pipes,
            params: &["producer_stopped", "consumer_stopped"],
            predict: Predict::Number { case: "std_channel", param: "producer_stopped" },
            ..step(
                "pipes",
                "One producer, one consumer, who only ask and never wait. One of them is stopped: does std's channel still answer the other?",
                &["ring", "rtrb", "std_channel"],
                &[
                    halted(
                        "our ring always answers the consumer: empty is an answer",
                        "ring",
                        "producer_stopped",
                        NEVER,
                    ),
                    halted("and the producer: full is one, too", "ring", "consumer_stopped", NEVER),
                    halted(
                        "std's bounded channel does not always: try_recv waits for the slot that a stopped sender has claimed",
                        "std_channel",
                        "producer_stopped",
                        NOW_AND_THEN,
                    ),
                ],
                "The ring is wait-free: each side writes its own counter only, after the value, and reads the other's. A queue for many that is used by \
                 one and one has its claims all the same, and with them the hole.",
            )
        },
        Step {
            measure: with_published,
            ..step(
                "published",
                "Every second operation replaces a shared value, the others read it. Behind an RwLock<Arc>: in what share of the stops do the others stand still?",
                &[
                    "rwlock_arc",
                    "arc_swap",
                    "snapshot_epoch",
                    "snapshot_hazard",
                    "crossbeam_epoch",
                    "haphazard",
                ],
                &[
                    halted(
                        "a reader-writer lock is blocking, for readers too",
                        "rwlock_arc",
                        "one_other",
                        Expect::AtLeast(0.01),
                    ),
                    halted(
                        "our snapshot with hazard pointers stops them in none of the stops that were caught inside",
                        "snapshot_hazard",
                        "two_others",
                        NEVER,
                    ),
                    halted("nor does arc-swap, in any that was caught", "arc_swap", "two_others", NEVER),
                ],
                "Who publishes makes the value first and then turns one pointer: there is no state in between. What a stopped reader may hold up is not \
                 the others' progress but the freeing: lab lockfree_reclaim.",
            )
        },
        Step {
            measure: with_maps,
            ..step(
                "maps",
                "All threads insert, remove and read one key. In what share of the stops do the others stand still on dashmap?",
                &["dashmap_6", "one_lock", "sharded_16", "papaya_0_2", "scc_3"],
                &[
                    halted(
                        "a sharded map is blocking: in at least one stop in 50",
                        "dashmap_6",
                        "one_other",
                        Expect::AtLeast(0.02),
                    ),
                    halted("a map behind one mutex as well", "one_lock", "one_other", Expect::AtLeast(0.02)),
                    halted(
                        "papaya stops the others in none of the stops that were caught inside",
                        "papaya_0_2",
                        "two_others",
                        NEVER,
                    ),
                ],
                "More locks make it less likely that the others want the one that is held, and the hot key makes it certain. papaya's insertions and \
                 removals are exchanges of one pointer. scc locks a bucket for a change. Its growth, where papaya's threads help \
                 or wait, does not happen here: one key.",
            )
        },
        Step {
            measure: with_counters,
            ..step(
                "counters",
                "All threads count. In what share of the stops do the others stand still behind a mutex?",
                &["mutex", "counter", "cas_counter"],
                &[
                    halted("a mutex is blocking", "mutex", "one_other", Expect::AtLeast(0.01)),
                    halted(
                        "a compare-and-exchange loop stops the others in none of the stops that were caught inside",
                        "cas_counter",
                        "two_others",
                        NEVER,
                    ),
                ],
                "An instruction is done or not done. The loop of the compare-and-exchange can be stopped between its look and its exchange, and then it is \
                 the stopped thread whose exchange fails later.",
            )
        },
    ],
    says: &[
        Say {
            step: "bags",
            text: "crossbeam's ArrayQueue has no lock, and yet the other thread stood still in {value} of {against} stops inside an operation.",
            of: pick("array_queue", "one_other", "halted_count"),
            against: Some(pick("array_queue", "one_other", "pauses_count")),
            not_true_when: "a thread is stopped for a moment only: the others spin, and go on when it does",
        },
        Say {
            step: "bags",
            text: "Behind a mutex the other thread stood still in {value} of {against} stops inside an operation.",
            of: pick("mutex_deque", "one_other", "halted_count"),
            against: Some(pick("mutex_deque", "one_other", "pauses_count")),
            not_true_when: "the thread does anything else than push and pop: then it is seldom inside",
        },
    ],
    not_said: &[
        "Which structure halts the more often: once is a proof, and the share depends on how much of a call is the operation and how much the count \
         that this lab keeps beside it.",
        "That what was never halted is lock-free: that is argued in its file, explored by a model, and only not contradicted here.",
        "That a share of 0 is 0: of n stops without a halt one may say that bad places are likely rarer than 3 / n, and a run has 30 to 70 stops a row.",
        "How often it happens to you: a thread is stopped here every few milliseconds, and does nothing else than these operations.",
        "Anything about wait-freedom: a thread that loses again and again while another gets on is in `parted` only if it loses for 3 ms.",
    ],
    next: &[
        "Is a lock-free structure over malloc lock-free? (no: see the halts inside the library)",
        "What is obstruction-free good for? (nobody else is in the way for long: transactional memory was built on it)",
        "Why do crates accept the hole? (one exchange for an operation instead of two, and no node to allocate)",
    ],
    sources: &[
        "M. Herlihy, Wait-Free Synchronization, 1991; M. Herlihy, V. Luchangco, M. Moir, Obstruction-Free Synchronization, 2003",
        "D. Vyukov, Bounded MPMC queue, 1024cores.net: not lock-free by the definition, and says so",
        "crossbeam-queue 0.3, array_queue.rs and seg_queue.rs: the waits in push and pop",
        "signal-safety(7): what a handler may do",
    ],
    benches: |_| Vec::<Bench>::new(), // pauses are counted, not timed
};

/// Each contender with one and with two others, or with what the parameters say.
fn each(plan: &Plan, params: &[&str], arms: impl Fn(&str) -> Vec<Crowd>) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 4, ..plan.clone() };
    let one = |param: &&str| {
        let others = if *param == "two_others" { 2 } else { 1 };
        let row = |arm: Crowd| match progress(&plan, others, &arm) {
            Ok(seen) => seen.sample(arm.case, param, others),
            Err(why) => Sample::unmeasured(arm.case, param, why),
        };
        arms(param).into_iter().map(row).collect::<Vec<_>>()
    };
    params.iter().flat_map(one).collect()
}

/// A contender's check and its lanes.
type Arm = (Check, Crowd);

/// No contender is stopped before it has shown that it does what its name says.
fn checked(plan: &Plan, cases: &[&str], params: &[&str], arms: impl Fn(&str) -> Vec<Arm>) -> Vec<Sample> {
    let checks: Vec<Check> = arms(params[0]).iter().map(|arm| arm.0).collect();
    let crowds = |param: &str| arms(param).into_iter().map(|arm| arm.1).collect();
    gate::checked(&checks, cases, params, || each(plan, params, crowds))
}

fn with_bags(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn arm<B: Bag>() -> Arm {
        (bag::check::<B>, bag::crowd::<B>(&Tallies::default()))
    }
    checked(plan, cases, params, |_| {
        vec![
            arm::<Mutex<VecDeque<u64>>>(),
            arm::<Queue<u64, Epoch>>(),
            arm::<Queue<u64, Hazard>>(),
            arm::<Stack<u64, Epoch>>(),
            arm::<Stack<u64, Hazard>>(),
            arm::<Treiber>(),
            arm::<SegQueue<u64>>(),
            arm::<Mpmc<u64>>(),
            arm::<ArrayQueue<u64>>(),
            arm::<bag::Crossbeam>(),
            arm::<bag::Flume>(),
        ]
    })
}

fn with_pipes(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn arm<P: pipe::Pipe>(param: &str) -> Arm {
        (pipe::check::<P>, pipe::tries::<P>(param == "producer_stopped"))
    }
    checked(plan, cases, params, |p| vec![arm::<Ring>(p), arm::<Rtrb>(p), arm::<StdChannel>(p)])
}

fn with_published(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn arm<P: published::Published<Line>>() -> Arm {
        (published::check::<P>, published::crowd::<P>(2))
    }
    checked(plan, cases, params, |_| {
        vec![
            arm::<published::Locked<Line>>(),
            arm::<arc_swap::ArcSwap<Line>>(),
            arm::<Snapshot<Line, Epoch>>(),
            arm::<Snapshot<Line, Hazard>>(),
            arm::<CrossbeamEpoch<Line>>(),
            arm::<Haphazard<Line>>(),
        ]
    })
}

fn with_maps(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn arm<M: Map>(case: &'static str) -> Arm {
        let mix = Mix { each_percent: 25, skew: Skew::OneKey };
        (map::check::<M>, map_mix::crowd::<M>(case, mix, &Arc::default()))
    }
    checked(plan, cases, params, |_| {
        vec![
            arm::<dashmap::DashMap<u32, u64>>("dashmap_6"),
            arm::<OneLock>("one_lock"),
            arm::<Sharded>("sharded_16"),
            arm::<papaya::HashMap<u32, u64>>("papaya_0_2"),
            arm::<scc::HashMap<u32, u64>>("scc_3"),
        ]
    })
}

fn with_counters(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn arm<C: counter::Counter>() -> Arm {
        (counter::check::<C>, counter::crowd::<C>(0))
    }
    checked(plan, cases, params, |_| vec![arm::<Locked>(), arm::<Counter>(), arm::<CasCounter>()])
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

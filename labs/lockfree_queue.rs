//! Is a lock-free queue faster than a locked one, and what happens to the others when a thread is stopped?
//!
//! Run it: `cargo run --release --bin lockfree_queue -- --step`
use underhood::{
    contenders::bag::{Bag, MUTEX_DEQUE, QUEUE_EPOCH, QUEUE_HAZARD, SEG_QUEUE, SPIN_DEQUE, crowded},
    experiments::{looked_at, stopped},
    lab::{Evidence, Kind, Lab, ONCE, Step, at, at_least, at_most, pick, ratio, shown_by, source},
    measure::{cost, throughput},
};

const QUEUES: &[&Bag] = &[&MUTEX_DEQUE, &QUEUE_EPOCH, &QUEUE_HAZARD, &SEG_QUEUE];
/// Without the one that is not asked about: with more threads than CPUs each window lasts for turns of the scheduler.
const FEWER: &[&Bag] = &[&MUTEX_DEQUE, &QUEUE_EPOCH, &SEG_QUEUE];
static LOOKED_AT: [&Bag; 4] = [&MUTEX_DEQUE, &SPIN_DEQUE, &QUEUE_EPOCH, &SEG_QUEUE];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "lockfree_queue",
        "Is a lock-free queue faster than a locked one, and what happens to the others when a thread is stopped?"
    )
    .step(alone())
    .step(crowd())
    .step(more_threads())
    .step(one_stopped())
    .step(looked_at::halts(&LOOKED_AT))
    .step(memory())
    .say(
        "crowd",
        "With {threads} threads that push and pop, our lock-free queue does {value} pairs, a deque behind std's mutex {against}: {ratio}.",
        ratio("queue_epoch", "mutex_deque"),
        "the threads do something else between two operations: then the mutex is hardly contended",
    )
    .say(
        "stopped",
        "While one thread is stopped inside, the others keep {value} of their rate with the lock-free queue, {against} behind a mutex.",
        ratio("queue_hazard", "mutex_deque"),
        "the thread is stopped between two operations, which is nearly always so",
    )
    .not_said(&[
        "That lock-free queues are faster: alone they are not, and in a crowd it depends on who sleeps.",
        "How SegQueue behaves when a thread is stopped: it cannot be stopped from outside at a chosen place. A reader waits for a stopped writer there.",
        "Anything about many values inside: each thread has at most one in the queue.",
    ])
    .next(&[
        "What is a failed exchange worth? (a line fetched for nothing, and a try again)",
        "Why does the mutex not collapse with four threads a CPU? (it sleeps; a spin lock would)",
        "When may a popped node be freed? (lab lockfree_reclaim)",
    ])
    .sources(&[
        "M. Michael, M. Scott, Simple, Fast, and Practical Non-Blocking and Blocking Concurrent Queue Algorithms, PODC 1996",
        "M. Herlihy, Wait-Free Synchronization, 1991: the classes of progress",
        "crossbeam-queue 0.3, seg_queue.rs: blocks of 31 values, a reader waits for the writer of its slot",
        "1024cores.net: lock-free is about progress, not about speed",
    ])
}

fn alone() -> Step {
    Step::new("alone", Kind::Single, "op_ns")
        .ask_best("One thread pushes a value and pops it, nobody else is there. Which queue is cheapest?", "")
        .contenders(QUEUES)
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), QUEUES.iter().map(|q| q.alone())))
        .claim(
            at_least(1.0, ratio("queue_epoch", "mutex_deque")),
            "alone, our queue with epochs takes at least as long as a deque behind a mutex: it allocates each node",
        )
        .claim(
            at_least(1.2, ratio("queue_hazard", "queue_epoch")),
            "a hazard pointer for each look costs more than one announcement: at least 1.2 times",
        )
        .because("A lock that nobody wants is two atomic instructions for each operation.", Evidence::None)
        .because(
            "The lock-free queue has its exchanges, an allocation for each push, and a free later. It has a fence for each entry \
             (epochs), or for each pointer that it follows (hazard pointers).",
            source("src/structures/lockfree/queue.rs"),
        )
        .because(
            "SegQueue allocates once for 31 values.",
            source("crossbeam-queue 0.3, seg_queue.rs"),
        )
        .because("Lock-free says how it behaves, not how fast it is.", source("1024cores.net"))
}

fn crowd() -> Step {
    let benched = [&MUTEX_DEQUE, &QUEUE_EPOCH, &SEG_QUEUE];
    Step::new("crowd", Kind::Contended, "ops_per_s")
        .ask_best(
            "Every thread pushes and pops, in the same queue, a thread for each CPU. Which does the most?",
            "",
        )
        .columns(&["failed_ratio", "lane_op_ns", "min_max_share"])
        .contenders(QUEUES)
        .over([at("", 1)], |plan, times| crowded(plan, times, QUEUES))
        .bench("crowd/{case}", benched, |plan, queue| throughput::timed(plan, 0.0, &queue.crowd()))
        .claim(
            at_least(1.0, ratio("queue_epoch", "mutex_deque")).cores(2),
            "our queue with epochs does at least what the mutex does",
        )
        .claim(
            at_least(0.5, ratio("queue_epoch", "seg_queue")).cores(2),
            "and at least half of what SegQueue does, which allocates 31 values at a time",
        )
        .claim(
            at_least(0.05, pick("queue_epoch", "", "failed_ratio")).cores(2),
            "at least one exchange in twenty is for nothing",
        )
        .because(
            "Failed exchanges are work for nothing: a line fetched, and a try again. Throughput hides them; here they are counted.",
            shown_by(at_least(0.01, pick("queue_epoch", "", "failed_ratio")).cores(2)),
        )
        .because(
            "A mutex moves its line less often under pressure. A thread that finds it taken goes to sleep, and its holder does \
             several operations in a row: faster, and less fair (min/max).",
            Evidence::None,
        )
}

fn more_threads() -> Step {
    Step::new("crowded", Kind::Contended, "ops_per_s")
        .ask_best(
            "Four threads for each CPU: what share of its rate does a deque behind a mutex lose, since a holder may lose its CPU?",
            "4x_threads",
        )
        .columns(&["failed_ratio", "min_max_share"])
        .contenders(FEWER)
        .over([at("1x_threads", 1), at("4x_threads", 4)], |plan, times| crowded(plan, times, FEWER))
        .claim(
            at_most(0.8, ratio(("mutex_deque", "4x_threads"), ("mutex_deque", "1x_threads"))).cores(2),
            "the mutex loses at least a fifth of its rate",
        )
        .claim(
            at_least(0.9, ratio(("queue_epoch", "4x_threads"), ("queue_epoch", "1x_threads"))).cores(2),
            "the lock-free queue keeps at least 0.9 of its rate",
        )
        .because(
            "What is always said: a preempted holder blocks everybody. It does, but the end of a time slice seldom hits a hold of \
             some ns. And a thread that finds the mutex taken sleeps, and leaves its CPU to the holder.",
            shown_by(
                at_least(0.8, ratio(("mutex_deque", "4x_threads"), ("mutex_deque", "1x_threads"))).cores(2),
            ),
        )
        .because(
            "The lock-free queue is hit as well, in its memory: a thread that is preempted inside an epoch stops all freeing until it \
             runs again, and new nodes are cold.",
            Evidence::None,
        )
        .because(
            "The claim about progress is about what can happen; the next step makes it happen.",
            Evidence::None,
        )
}

fn one_stopped() -> Step {
    Step::new("stopped", Kind::Contended, "kept_share")
        .ask_number(
            "One thread sleeps in the middle of an operation. What share of their rate do the others keep behind a mutex?",
            "mutex_deque",
            "",
        )
        .columns(&["free_per_s"])
        .contenders(&stopped::QUEUES)
        .slice(1.0 / 2.0)
        .over(ONCE, |plan, p| stopped::all(plan, p.id(), &stopped::QUEUES))
        .claim(
            at_most(0.01, "mutex_deque"),
            "behind a mutex, the others keep less than a hundredth: blocking",
        )
        .claim(at_least(0.8, "queue_hazard"), "with hazard pointers they keep at least four fifths: lock-free")
        .claim(
            at_least(0.5, "queue_epoch"),
            "with epochs as well, though memory grows meanwhile (lab lockfree_reclaim)",
        )
        .because(
            "This is what lock-free means, and all that it means: whichever thread is stopped, wherever, the others get on.",
            source("M. Herlihy, Wait-Free Synchronization, 1991"),
        )
        .because(
            "The stopper sleeps holding the mutex, or between its look at the head and its exchange.",
            source("`Stops` in src/experiments/stopped.rs"),
        )
        .because(
            "With epochs the others go on, but free nothing, so the allocator must find new memory for each node.",
            shown_by(at_most(0.8, ratio("queue_epoch", "queue_hazard"))),
        )
}

fn memory() -> Step {
    Step::new("memory", Kind::Count, "element_bytes")
        .ask_number(
            "A value has 8 bytes. How many does it take in a lock-free queue, with its node and what the allocator adds?",
            "queue_epoch",
            "",
        )
        .columns(&["left_bytes", "empty_bytes"])
        .isolated(QUEUES, ONCE, |_, queue, _| queue.weigh())
        .check_after()
        .claim(
            at_least(2.0, ratio("queue_epoch", "mutex_deque")),
            "a node for each value: at least twice what a deque takes",
        )
        .claim(
            at_most(0.67, ratio("seg_queue", "queue_epoch")),
            "SegQueue, with 31 values in a block, takes at most two thirds of that",
        )
        .because(
            "A node is the value and a pointer, and glibc gives at least 32 bytes for that.",
            shown_by(at_least(32.0, "queue_epoch")),
        )
        .because(
            "A deque doubles: between 8 and 16 bytes a value, and it keeps them when it is empty.",
            shown_by(at_least(8.0, pick("mutex_deque", "", "left_bytes"))),
        )
        .because(
            "SegQueue has a word of state for each value, and frees a block when all have left it.",
            shown_by(at_most(8.0, pick("seg_queue", "", "left_bytes"))),
        )
        .because(
            "What is counted is what the allocator has given out.",
            source("`weigh` in src/contenders/bag.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

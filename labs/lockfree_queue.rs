//! Is a lock-free queue faster than a locked one, and what happens to the others when a thread is stopped?
//!
//! Run it: `cargo run --release --bin lockfree_queue -- --step`
use underhood::{
    contenders::bag::{Bag, MUTEX_DEQUE, QUEUE_EPOCH, QUEUE_HAZARD, SEG_QUEUE, SPIN_DEQUE, crowded},
    experiments::{looked_at, stopped},
    lab::{Kind, Lab, ONCE, Step, at, at_least, at_most, pick, ratio, shown_by, source},
    measure::{cost, throughput},
};

const QUEUES: &[&Bag] = &[&MUTEX_DEQUE, &QUEUE_EPOCH, &QUEUE_HAZARD, &SEG_QUEUE];
/// Without the queue that no claim is about: with more threads than CPUs, each window lasts several time slices of the scheduler.
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
        "{threads} threads push and pop. Counted in pairs of one push and one pop, crossbeam's SegQueue does {value}, a \
         deque behind std's mutex {against}: {ratio}.",
        ratio("seg_queue", "mutex_deque"),
        "the threads do something else between two operations: then the mutex is hardly contended",
    )
    .say(
        "stopped",
        "While one thread is stopped inside an operation, the others keep {value} of their rate with the lock-free queue, \
         and {against} behind a mutex.",
        ratio("queue_hazard", "mutex_deque"),
        "the thread is stopped between two operations: in practice that is nearly always the case",
    )
    .not_said(&[
        "That lock-free queues are faster: with one thread they are not, and under contention it depends on which threads \
         sleep.",
        "How SegQueue behaves when a thread is stopped: this lab cannot stop a thread at a chosen place inside it. There a \
         reader waits for a stopped writer.",
        "Anything about long queues: each thread has at most one value in the queue.",
    ])
    .next(&[
        "What does a failed compare-and-swap cost? (the cache line was fetched for nothing, and the thread must try again)",
        "Why does the mutex not collapse with four threads for each CPU? (threads that wait for it sleep; with a spin lock \
         it would collapse)",
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
        .ask_best("Only one thread pushes a value and pops it. Which queue is cheapest?", "")
        .contenders(QUEUES)
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), QUEUES.iter().map(|q| q.alone())))
        .claim(
            at_least(1.0, ratio("queue_epoch", "mutex_deque")),
            "alone, our queue with epochs takes at least as long as a deque behind a mutex: it allocates each node",
        )
        .claim(
            at_least(1.2, ratio("queue_hazard", "queue_epoch")),
            "our queue takes at least 1.2 times as long with hazard pointers as with epochs",
        )
        .because(
            "An uncontended lock costs two atomic instructions for each operation.",
            source("lab lock_mutex, step alone"),
        )
        .because(
            "The lock-free queue does its exchanges, allocates a node for each push, and frees it later. It also needs a \
             fence for each entry into an epoch, or for each pointer that it follows (hazard pointers).",
            source("src/structures/lockfree/queue.rs"),
        )
        .because(
            "SegQueue allocates once for 31 values.",
            source("crossbeam-queue 0.3, seg_queue.rs"),
        )
        .because("Lock-free is a promise about progress, not about speed.", source("1024cores.net"))
}

fn crowd() -> Step {
    let benched = [&MUTEX_DEQUE, &QUEUE_EPOCH, &SEG_QUEUE];
    Step::new("crowd", Kind::Contended, "ops_per_s")
        .ask_best(
            "There is one thread for each CPU, and all of them push and pop on the same queue. Which queue does the most?",
            "",
        )
        .columns(&["failed_ratio", "lane_op_ns", "min_max_share"])
        .contenders(QUEUES)
        .over([at("", 1)], |plan, times| crowded(plan, times, QUEUES))
        .bench("crowd/{case}", benched, |plan, queue| throughput::timed(plan, 0.0, &queue.crowd()))
        .claim(
            at_least(1.0, ratio("queue_epoch", "mutex_deque")).cores(2),
            "our queue with epochs does at least what the deque behind a mutex does",
        )
        .claim(
            at_least(0.5, ratio("queue_epoch", "seg_queue")).cores(2),
            "our queue with epochs does at least half of what SegQueue does, which allocates for 31 values at a time",
        )
        .claim(
            at_least(0.05, pick("queue_epoch", "", "failed_ratio")).cores(2),
            "in our queue with epochs, at least one exchange in twenty fails and is tried again",
        )
        .claim(
            at_least(2.0, ratio("seg_queue", "mutex_deque")).cores(2),
            "crossbeam's SegQueue does at least twice what a deque behind std's mutex does",
        )
        .because(
            "The threads of a lock-free queue contend too: they exchange the same two words, head and tail. And our queue \
             allocates a node for each value, while the deque behind the mutex keeps its buffer.",
            source("src/structures/lockfree/queue.rs; step memory"),
        )
        .because(
            "SegQueue allocates once for 31 values, and our queue for each value.",
            shown_by(at_least(1.2, ratio("seg_queue", "queue_epoch")).cores(2)),
        )
        .because(
            "SegQueue is unfair: its least busy thread gets less than half of what its busiest one gets.",
            shown_by(at_most(0.5, pick("seg_queue", "", "min_max_share")).cores(2)),
        )
}

fn more_threads() -> Step {
    Step::new("crowded", Kind::Contended, "ops_per_s")
        .ask_best(
            "There are four threads for each CPU, so the holder of a lock may lose its CPU. Which queue does the most?",
            "4x_threads",
        )
        .columns(&["failed_ratio", "min_max_share"])
        .contenders(FEWER)
        .over([at("1x_threads", 1), at("4x_threads", 4)], |plan, times| crowded(plan, times, FEWER))
        .claim(
            at_least(0.8, ratio(("mutex_deque", "4x_threads"), ("mutex_deque", "1x_threads"))).cores(2),
            "with four threads for each CPU, the deque behind a mutex keeps at least four fifths of its rate",
        )
        .claim(
            at_least(0.9, ratio(("queue_epoch", "4x_threads"), ("queue_epoch", "1x_threads"))).cores(2),
            "with four threads for each CPU, the lock-free queue keeps at least 0.9 of its rate",
        )
        .because(
            "A preempted holder blocks everybody. But a time slice seldom ends during a hold of a few ns. And a thread that \
             finds the mutex taken sleeps, and leaves its CPU to the holder.",
            shown_by(
                at_least(0.8, ratio(("mutex_deque", "4x_threads"), ("mutex_deque", "1x_threads"))).cores(2),
            ),
        )
        .because(
            "Lock-free is a promise about the worst case. The next step causes that case on purpose.",
            source("M. Herlihy, Wait-Free Synchronization, 1991"),
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
            "behind a mutex, the other threads keep less than a hundredth of their rate: it is blocking",
        )
        .claim(
            at_least(0.8, "queue_hazard"),
            "with hazard pointers, the other threads keep at least four fifths of their rate: the queue is lock-free",
        )
        .claim(
            at_least(0.5, "queue_epoch"),
            "with epochs, the other threads go on as well, though memory grows meanwhile (lab lockfree_reclaim)",
        )
        .because(
            "Lock-free means this and no more: whichever thread is stopped, and wherever, some other thread makes \
             progress.",
            source("M. Herlihy, Wait-Free Synchronization, 1991"),
        )
        .because(
            "The stopped thread sleeps while it holds the mutex, or between its load of the head and its exchange.",
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
            "our queue allocates a node for each value: it takes at least twice the memory of a deque",
        )
        .claim(
            at_most(0.67, ratio("seg_queue", "queue_epoch")),
            "SegQueue, with 31 values in a block, takes at most two thirds of the memory of our queue",
        )
        .because(
            "A node is the value and a pointer, and glibc gives at least 32 bytes for that.",
            shown_by(at_least(32.0, "queue_epoch")),
        )
        .because(
            "A deque doubles its buffer, so it takes between 8 and 16 bytes for each value. It keeps the buffer when it is \
             empty.",
            shown_by(at_least(8.0, pick("mutex_deque", "", "left_bytes"))),
        )
        .because(
            "SegQueue has a word of state for each value, and frees a block when all its values are popped.",
            shown_by(at_most(8.0, pick("seg_queue", "", "left_bytes"))),
        )
        .because(
            "The bytes are those that the allocator has given out.",
            source("`weigh` in src/contenders/bag.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

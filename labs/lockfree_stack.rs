//! What does a lock-free stack win and lose against a locked one?
//!
//! Run it: `cargo run --release --bin lockfree_stack -- --step`
use underhood::{
    contenders::bag::{Bag, CROSSBEAM_TREIBER, MUTEX_VEC, SPIN_VEC, STACK_EPOCH, STACK_HAZARD, crowded},
    experiments::looked_at,
    lab::{Kind, Lab, ONCE, Step, at, at_least, at_most, between, pick, ratio, shown_by, source},
    measure::{cost, throughput},
};

const STACKS: &[&Bag] = &[&MUTEX_VEC, &STACK_EPOCH, &STACK_HAZARD, &CROSSBEAM_TREIBER];
/// Only two stacks: with more threads than CPUs, each window lasts several time slices of the scheduler.
const TWO: &[&Bag] = &[&MUTEX_VEC, &STACK_EPOCH];
static LOOKED_AT: [&Bag; 4] = [&MUTEX_VEC, &SPIN_VEC, &STACK_EPOCH, &CROSSBEAM_TREIBER];

pub(crate) fn lab() -> Lab {
    underhood::lab!("lockfree_stack", "What does a lock-free stack win and lose against a locked one?")
        .step(alone())
        .step(crowd())
        .step(more_threads())
        .step(looked_at::halts(&LOOKED_AT))
        .step(memory())
        .say(
            "crowd",
            "{threads} threads push and pop. Counted in pairs of one push and one pop, our lock-free stack does {value}, a Vec \
             behind std's mutex {against}: {ratio}.",
            ratio("stack_epoch", "mutex_vec"),
            "the threads do something else between two operations: then neither is contended",
        )
        .say(
            "alone",
            "Alone, a push and a pop take {value} on our lock-free stack and {against} on a Vec behind a mutex: {ratio}.",
            ratio("stack_epoch", "mutex_vec"),
            "the Vec must grow, or the allocator is a slow one",
        )
        .not_said(&[
            "That a lock-free stack scales: all threads exchange the same word.",
            "Anything about elimination or batches, with which some operations do not touch that one word.",
            "Anything about deep stacks: each thread has at most one value in it.",
        ])
        .next(&[
            "What goes wrong if a popped node is freed at once? (ABA, and a read of freed memory)",
            "How would you make it scale? (elimination: a push and a pop that meet cancel out)",
            "When is an exchange that may fail cheaper than a lock? (when it seldom fails)",
        ])
        .sources(&[
            "R. K. Treiber, Systems Programming: Coping with Parallelism, IBM RJ 5118, 1986",
            "D. Hendler, N. Shavit, L. Yerushalmi, A Scalable Lock-free Stack Algorithm, SPAA 2004: elimination",
            "crossbeam-epoch 0.9, examples: Treiber's stack",
            "travisdowns.github.io, A Concurrency Cost Hierarchy: failed exchanges make 12 ns 580 ns",
        ])
}

fn alone() -> Step {
    Step::new("alone", Kind::Single, "op_ns")
        .ask_best("Only one thread pushes a value and pops it. Which stack is cheapest?", "")
        .contenders(STACKS)
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), STACKS.iter().map(|s| s.alone())))
        .claim(
            at_most(1.0, ratio("stack_epoch", "crossbeam_treiber")),
            "our stack with epochs takes at most as long as the same stack over crossbeam-epoch",
        )
        .claim(
            at_most(1.0, ratio("mutex_vec", "stack_epoch")),
            "a Vec behind a mutex takes at most as long as any of them: it allocates nothing",
        )
        .because(
            "A push allocates a node and does one exchange. A pop enters an epoch (a fence), does one exchange, and leaves \
             a node to be freed later.",
            source("src/structures/lockfree/stack.rs"),
        )
        .because(
            "The mutex takes four atomic instructions for the pair and no allocation.",
            shown_by(at_most(1.0, ratio("mutex_vec", "stack_epoch"))),
        )
        .because(
            "crossbeam's epochs find the thread's record through a thread-local, and the stack on them enters an epoch on \
             push as well. Our epochs have an explicit handle, and our push needs no protection.",
            source("`push` in src/structures/lockfree/stack.rs and in src/contenders/treiber.rs"),
        )
}

fn crowd() -> Step {
    let benched = [&MUTEX_VEC, &STACK_EPOCH, &CROSSBEAM_TREIBER];
    Step::new("crowd", Kind::Contended, "ops_per_s")
        .ask_best(
            "Every thread pushes and pops on one stack. Which of these does the most?",
            "1x_threads",
        )
        .columns(&["failed_ratio", "lane_op_ns", "min_max_share"])
        .contenders(STACKS)
        .over([at("1x_threads", 1)], |plan, times| crowded(plan, times, STACKS))
        .bench("crowd/{case}", benched, |plan, stack| throughput::timed(plan, 0.0, &stack.crowd()))
        .claim(
            at_least(1.0, ratio("stack_epoch", "crossbeam_treiber")).cores(2),
            "our stack with epochs does at least what the same stack over crossbeam-epoch does",
        )
        .claim(
            at_least(0.1, pick("stack_epoch", "1x_threads", "failed_ratio")).cores(2),
            "in our stack with epochs, at least one exchange in ten fails and is tried again",
        )
        .claim(
            at_least(1.0, ratio("stack_epoch", "mutex_vec")).cores(2),
            "our stack with epochs does at least what a Vec behind a mutex does",
        )
        .because(
            "All operations change the same word, so nothing happens in parallel: two threads together do no more than one \
             does alone.",
            source("step alone, and this one's lane_op_ns"),
        )
        .because(
            "Lock-free means that some thread makes progress, but not which one. The column \"slowest thread against fastest\" \
             shows how unevenly the threads make progress.",
            source("M. Herlihy, Wait-Free Synchronization, 1991"),
        )
        .because(
            "The file of our stack describes the ABA mistake, which makes many hand-written stacks wrong.",
            source("src/structures/lockfree/stack.rs"),
        )
}

fn more_threads() -> Step {
    Step::new("crowded", Kind::Contended, "ops_per_s")
        .ask_best(
            "There are four threads for each CPU, so the holder of a lock may lose its CPU. Which stack does the most?",
            "4x_threads",
        )
        .columns(&["failed_ratio", "min_max_share"])
        .contenders(TWO)
        .over([at("1x_threads", 1), at("4x_threads", 4)], |plan, times| crowded(plan, times, TWO))
        .claim(
            at_least(0.8, ratio(("mutex_vec", "4x_threads"), ("mutex_vec", "1x_threads"))).cores(2),
            "with four threads for each CPU, the Vec behind a mutex keeps at least four fifths of its rate",
        )
        .claim(
            at_least(0.9, ratio(("stack_epoch", "4x_threads"), ("stack_epoch", "1x_threads"))).cores(2),
            "with four threads for each CPU, the lock-free stack keeps at least 0.9 of its rate",
        )
        .because(
            "Only as many threads run as there are CPUs, so the exchanges fail as often as before.",
            shown_by(between(
                0.5,
                2.0,
                ratio(pick("stack_epoch", "4x_threads", "failed_ratio"), pick("stack_epoch", "1x_threads", "failed_ratio")),
            )),
        )
        .because(
            "A preempted holder stops the others until it runs again. But a time slice seldom ends during a hold of a few \
             ns. And a thread that waits for the mutex sleeps, and leaves its CPU to others.",
            shown_by(at_least(0.8, ratio(("mutex_vec", "4x_threads"), ("mutex_vec", "1x_threads"))).cores(2)),
        )
        .because(
            "Lab lockfree_queue, step stopped, stops a thread on purpose and shows what happens to the others.",
            source("labs/lockfree_queue.rs"),
        )
}

fn memory() -> Step {
    Step::new("memory", Kind::Count, "element_bytes")
        .ask_number(
            "A value has 8 bytes. How many does it take in a lock-free stack, with its node and what the allocator adds?",
            "stack_epoch",
            "",
        )
        .columns(&["left_bytes", "empty_bytes"])
        .isolated(STACKS, ONCE, |_, stack, _| stack.weigh())
        .check_after()
        .claim(
            at_least(2.0, ratio("stack_epoch", "mutex_vec")),
            "our stack allocates a node for each value: it takes at least twice the memory of a Vec",
        )
        .claim(
            at_least(3.2, pick("stack_epoch", "", "left_bytes")),
            "after the last pop, the stack with epochs still keeps at least a tenth of its nodes for possible readers",
        )
        .because(
            "A node is the value and a pointer, and glibc gives at least 32 bytes for that.",
            shown_by(at_least(32.0, "stack_epoch")),
        )
        .because(
            "A Vec doubles its buffer, so it takes between 8 and 16 bytes for each value. It keeps the buffer when it is \
             empty.",
            shown_by(at_least(8.0, pick("mutex_vec", "", "left_bytes"))),
        )
        .because(
            "The lock-free stack keeps its last batches of popped nodes, because a thread might still be reading them.",
            shown_by(at_least(3.2, pick("stack_epoch", "", "left_bytes"))),
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

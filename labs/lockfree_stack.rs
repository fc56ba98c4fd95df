//! What does a lock-free stack win and lose against a locked one?
//!
//! Run it: `cargo run --release --bin lockfree_stack -- --step`
use underhood::{
    contenders::bag::{Bag, CROSSBEAM_TREIBER, MUTEX_VEC, SPIN_VEC, STACK_EPOCH, STACK_HAZARD, crowded},
    experiments::looked_at,
    lab::{Evidence, Kind, Lab, ONCE, Step, at, at_least, at_most, pick, ratio, shown_by, source},
    measure::{cost, throughput},
};

const STACKS: &[&Bag] = &[&MUTEX_VEC, &STACK_EPOCH, &STACK_HAZARD, &CROSSBEAM_TREIBER];
/// Two of them: with more threads than CPUs each window lasts for turns of the scheduler.
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
            "With {threads} threads that push and pop, our lock-free stack does {value} pairs, a Vec behind std's mutex {against}: {ratio}.",
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
            "That a lock-free stack scales: it has one word that all exchange.",
            "Anything about elimination or batches, which take a stack past its one word.",
            "Anything about deep stacks: each thread has at most one value in it.",
        ])
        .next(&[
            "What goes wrong if a popped node is freed at once? (ABA, and a read of freed memory)",
            "How would you make it scale? (elimination: a push and a pop that meet cancel out)",
            "When is a failed exchange cheaper than a lock? (when it seldom fails)",
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
        .ask_best("One thread pushes a value and pops it, nobody else is there. Which stack is cheapest?", "")
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
            "A push is an allocation and an exchange. A pop is an entry (a fence), an exchange, and a node to be freed later.",
            source("src/structures/lockfree/stack.rs"),
        )
        .because(
            "The mutex takes four atomic instructions for the pair and no allocation.",
            shown_by(at_most(1.0, ratio("mutex_vec", "stack_epoch"))),
        )
        .because(
            "crossbeam's epochs find their thread by a thread-local and announce it on push as well. Ours have an explicit handle, and \
             push needs no protection.",
            source("`push` in src/structures/lockfree/stack.rs and in src/contenders/treiber.rs"),
        )
}

fn crowd() -> Step {
    let benched = [&MUTEX_VEC, &STACK_EPOCH, &CROSSBEAM_TREIBER];
    Step::new("crowd", Kind::Contended, "ops_per_s")
        .ask_best(
            "Every thread pushes and pops: one word is fought for by all. How often does an exchange fail for each that succeeds?",
            "1x_threads",
        )
        .columns(&["failed_ratio", "lane_op_ns", "min_max_share"])
        .contenders(STACKS)
        .over([at("1x_threads", 1)], |plan, times| crowded(plan, times, STACKS))
        .bench("crowd/{case}", benched, |plan, stack| throughput::timed(plan, 0.0, &stack.crowd()))
        .claim(
            at_least(1.0, ratio("stack_epoch", "crossbeam_treiber")).cores(2),
            "our stack with epochs does at least what the same over crossbeam-epoch does",
        )
        .claim(
            at_least(0.1, pick("stack_epoch", "", "failed_ratio")).cores(2),
            "at least one exchange in ten is for nothing",
        )
        .claim(
            at_least(1.0, ratio("stack_epoch", "mutex_vec")).cores(2),
            "it does at least what a Vec behind a mutex does",
        )
        .because(
            "All operations meet in one word, so there is nothing to do in parallel: the more threads, the more failed exchanges, each \
             of them a line fetched for nothing.",
            Evidence::None,
        )
        .because("A pop reads the node, too, which another core has just written.", Evidence::None)
        .because(
            "Lock-free guarantees that somebody gets on, and nobody in particular; min/max shows how unevenly.",
            source("M. Herlihy, Wait-Free Synchronization, 1991"),
        )
        .because(
            "The ABA mistake that makes a hand-made one wrong is in its file.",
            source("src/structures/lockfree/stack.rs"),
        )
}

fn more_threads() -> Step {
    Step::new("crowded", Kind::Contended, "ops_per_s")
        .ask_best(
            "Four threads for each CPU. Does the stack behind a mutex lose more than the lock-free one?",
            "4x_threads",
        )
        .columns(&["failed_ratio", "min_max_share"])
        .contenders(TWO)
        .over([at("1x_threads", 1), at("4x_threads", 4)], |plan, times| crowded(plan, times, TWO))
        .claim(
            at_most(0.8, ratio(("mutex_vec", "4x_threads"), ("mutex_vec", "1x_threads"))).cores(2),
            "the mutex loses at least a fifth of its rate",
        )
        .claim(
            at_least(0.9, ratio(("stack_epoch", "4x_threads"), ("stack_epoch", "1x_threads"))).cores(2),
            "the lock-free stack keeps at least 0.9 of its rate",
        )
        .because(
            "As many threads run as there are CPUs, four times as many or not: the exchanges fail as often as before.",
            Evidence::None,
        )
        .because(
            "A preempted holder stops the others until it runs again. But a hold of a few ns is seldom hit, and a mutex that sleeps \
             gives its CPU away.",
            shown_by(at_least(0.8, ratio(("mutex_vec", "4x_threads"), ("mutex_vec", "1x_threads"))).cores(2)),
        )
        .because(
            "What a stopped thread does to the others is made to happen in lab lockfree_queue, step stopped.",
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
            "a node for each value: at least twice what a Vec takes",
        )
        .claim(
            at_least(3.2, pick("stack_epoch", "", "left_bytes")),
            "emptied, epochs still keep at least a tenth of it for readers that might come",
        )
        .because(
            "A node is the value and a pointer, and glibc gives at least 32 bytes for that.",
            shown_by(at_least(32.0, "stack_epoch")),
        )
        .because(
            "A Vec doubles: between 8 and 16 bytes a value, and it keeps them when it is empty.",
            shown_by(at_least(8.0, pick("mutex_vec", "", "left_bytes"))),
        )
        .because(
            "The lock-free stack keeps its last batches of nodes that somebody might still be reading.",
            shown_by(at_least(3.2, pick("stack_epoch", "", "left_bytes"))),
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

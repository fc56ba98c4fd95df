//! What does counting cost, and who pays: the one who adds or the one who reads?
//!
//! Run it: `cargo run --release --bin lockfree_counter -- --step`
use std::sync::Arc;

use underhood::{
    contenders::counter::{
        CAS_COUNTER, COUNTER, Counter, Exchanges, PER_THREAD, SHARDED_64, THREAD_LOCAL, exchanging, floor,
    },
    experiments::looked_at,
    lab::{
        Contender, Evidence, Kind, Lab, ONCE, Step, at, at_least, at_most, pick, ratio, sample::Sample,
        shown_by, source,
    },
    measure::{
        cost::{self, Solo},
        throughput::{self, Crowd},
    },
};

const COUNTERS: &[&Counter] = &[&PER_THREAD, &COUNTER, &CAS_COUNTER, &SHARDED_64];
const NEAR_THE_FLOOR: &[&Counter] = &[&PER_THREAD, &SHARDED_64, &COUNTER];
const LOOKED_AT: &[&Counter] = &[&COUNTER, &PER_THREAD, &CAS_COUNTER, &SHARDED_64];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "lockfree_counter",
        "What does counting cost, and who pays: the one who adds or the one who reads?"
    )
    .step(alone())
    .step(against_the_floor())
    .step(crowd())
    .step(worst())
    .step(memory())
    .say(
        "crowd",
        "With {threads} threads that add, a shard for each does {value}, one atomic word {against}: {ratio}.",
        ratio("sharded_64", "counter"),
        "somebody reads the sum often: see lab cache_scaling",
    )
    .say(
        "alone",
        "Adding to an atomic word that nobody else wants takes {value}; a load and a store {against}.",
        ratio(("counter", "add"), ("per_thread", "add")),
        "two threads may write the word: then a load and a store lose additions",
    )
    .not_said(&[
        "That a sharded sum is exact at a moment: it is added up one shard after the other.",
        "What a mix of additions and reads does: lab cache_scaling, step counter.",
    ])
    .next(&[
        "When is a sharded counter wrong? (additions other than one: a reader may see a sum that never was; the zoo has it)",
        "Is fetch_add wait-free everywhere? (where the machine has the instruction; else it is the loop)",
        "Why pad to 128 bytes? (lab cache_line)",
    ])
    .sources(&[
        "P. McKenney, Is Parallel Programming Hard, chapter 5: statistical counters, updates against reads",
        "travisdowns.github.io, A Concurrency Cost Hierarchy: the levels of cost, and failed exchanges",
        "crossbeam-rs/crossbeam#1254: one shared counter cost 3.6x at 64 threads",
    ])
}

fn alone() -> Step {
    let does: [fn(&Counter) -> Solo; 2] = [Counter::adds, Counter::reads];
    Step::new("alone", Kind::Single, "op_ns")
        .ask_number(
            "One thread adds to a counter that nobody else wants. What does an atomic addition take, in ns?",
            "counter",
            "add",
        )
        .contenders(COUNTERS)
        .slice(1.0 / 3.0)
        .over([at("add", does[0]), at("read", does[1])], |plan, p| {
            cost::solo(plan, p.id(), COUNTERS.iter().map(|c| (p.value)(c)))
        })
        .claim(
            at_least(2.0, ratio(("counter", "add"), ("per_thread", "add"))),
            "an atomic addition that nobody disturbs takes at least twice as long as a load and a store",
        )
        .claim(
            at_least(1.0, ratio(("cas_counter", "add"), ("counter", "add"))),
            "the loop takes at least as long as the one instruction",
        )
        .claim(
            at_least(10.0, ratio(("sharded_64", "read"), ("counter", "read"))),
            "reading 64 shards takes at least 10 times as long as reading one word",
        )
        .because(
            "An atomic read-modify-write drains the store buffer and holds the line while it works, even if nobody else wants it.",
            Evidence::None,
        )
        .because(
            "Alone that is some cycles more, not a multiple: a load of what was just stored waits for the store, too (store forwarding).",
            shown_by(at_most(1.9, ratio(("counter", "add"), ("per_thread", "add")))),
        )
        .because(
            "A counter of its own for each thread needs no atomic read-modify-write, since only one thread writes it.",
            source("`PerThread` in src/contenders/counter.rs"),
        )
        .because(
            "What the adder saves, the reader pays: a line for each shard.",
            shown_by(at_least(4.0, ratio(("sharded_64", "read"), ("counter", "read")))),
        )
}

fn against_the_floor() -> Step {
    Step::new("floor", Kind::Single, "op_ns")
        .ask_best(
            "An addition to a number that only this thread can see, a thread-local: the floor. Does anything that others can read come near it?",
            "",
        )
        .contenders(std::iter::once(&THREAD_LOCAL).chain(NEAR_THE_FLOOR.iter().map(|c| -> &Contender { c.as_ref() })))
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| {
            let floor = Solo::new(THREAD_LOCAL.id, floor);
            cost::solo(plan, p.id(), std::iter::once(floor).chain(NEAR_THE_FLOOR.iter().map(|c| c.adds())))
        })
        .claim(
            at_most(1.5, ratio("sharded_64", "thread_local")),
            "an addition to a shard takes at most 1.5 times one to a thread-local",
        )
        .claim(
            at_most(1.5, ratio("per_thread", "thread_local")),
            "a number for each thread, written by that one only, does keep to that",
        )
        .because(
            "With more threads than shards, two threads may share a shard. So a shard needs the atomic instruction, which is the \
             whole price.",
            Evidence::None,
        )
        .because(
            "A structure that can promise one writer for each number does without the atomic instruction.",
            source("`PerThread` in src/contenders/counter.rs"),
        )
        .because(
            "All find their number by an index that the compiler does not know. At a fixed address the processor may pass a stored value on \
             without memory, and the address would be what is measured.",
            source("`floor` in src/contenders/counter.rs"),
        )
        .because("The floor itself is no counter: nobody else can read it.", source("`floor` in src/contenders/counter.rs"))
}

fn id(counter: &Counter) -> &'static str {
    AsRef::<Contender>::as_ref(counter).id
}

/// Lanes that add; the loop's count their failed exchanges.
fn lanes(counter: &Counter, tally: &Arc<Exchanges>) -> Crowd {
    if id(counter) == id(&CAS_COUNTER) { exchanging(tally) } else { counter.crowd(0) }
}

fn crowd() -> Step {
    Step::new("crowd", Kind::Contended, "ops_per_s")
        .ask_best(
            "All threads add to the same counter. How often does an exchange of the compare-and-exchange loop fail for each that succeeds?",
            "",
        )
        .columns(&["failed_ratio", "lane_op_ns", "min_max_share"])
        .contenders(COUNTERS)
        .slice(1.0 / 2.0)
        .over(ONCE, |plan, p| {
            let tally = Arc::default();
            let rows = throughput::crowd(plan, p.id(), 0.0, COUNTERS.iter().map(|c| lanes(c, &tally)));
            let with_failed = |row: Sample| match tally.failed_ratio() {
                Some(ratio) if row.case == id(&CAS_COUNTER) && row.unmeasured.is_none() => {
                    row.with("failed_ratio", ratio)
                }
                _ => row,
            };
            rows.into_iter().map(with_failed).collect()
        })
        .bench("crowd/{case}", [&COUNTER, &SHARDED_64], |plan, c| throughput::timed(plan, 0.0, &c.crowd(0)))
        .claim(
            at_least(3.0, ratio("sharded_64", "counter")).cores(2),
            "a shard for each thread does at least 3 times what one word does",
        )
        .claim(
            at_most(1.0, ratio("cas_counter", "counter")).cores(2),
            "the loop does less than the one instruction",
        )
        .claim(
            at_least(0.1, pick("cas_counter", "", "failed_ratio")).cores(2),
            "at least one exchange in ten is for nothing",
        )
        .because(
            "fetch_add is wait-free: the line comes, the addition is done.",
            source("M. Herlihy, Wait-Free Synchronization, 1991"),
        )
        .because(
            "The loop loads, computes and exchanges. If the line was taken in between, all of it was for nothing: lock-free, and any one \
             thread may lose each time.",
            shown_by(at_least(0.01, pick("cas_counter", "", "failed_ratio")).cores(2)),
        )
        .because(
            "Both are bounded by one journey of the line for each addition or few; only not sharing the line helps.",
            shown_by(at_least(3.0, ratio("sharded_64", "counter")).cores(2)),
        )
}

fn worst() -> Step {
    looked_at::longest(LOOKED_AT, |c| lanes(c, &Arc::default()))
        .ask_number(
            "All threads add, four for each CPU. How long does the longest addition take on one shared word, in ns?",
            "counter",
            "4x_threads",
        )
        .claim(
            at_least(1e6, ("counter", "4x_threads")).cores(2),
            "an addition that is wait-free by its steps is not so by the clock: with four threads a CPU the longest takes at least a millisecond",
        )
        .claim(
            at_most(0.01, pick("cas_counter", "4x_threads", "halted_share")).cores(2),
            "but nobody stops the others: for at most a hundredth of the time no thread gets on",
        )
        .claim(
            at_least(0.9, pick("counter", "1x_threads", "jain_share")).cores(2),
            "with a thread for each CPU the shared word is fair: Jain's index is at least 0.9",
        )
        .because(
            "Wait-free bounds the steps, not the time: a thread whose turn is over waits for its next one in the middle of an addition.",
            shown_by(at_least(10.0, ratio(("counter", "4x_threads"), ("counter", "1x_threads"))).cores(2)),
        )
        .because("How much a thread gets depends on how near it is to the line.", Evidence::None)
}

fn memory() -> Step {
    Step::new("memory", Kind::Count, "instance_bytes")
        .ask_number("How many bytes does a counter of 64 shards take?", "sharded_64", "")
        .isolated(COUNTERS, ONCE, |_, counter, _| counter.weighed())
        .check_after()
        .claim(at_least(8000.0, "sharded_64"), "a shard is 128 bytes: 64 of them take at least 8,000")
        .claim(at_least(20.0, ratio("sharded_64", "counter")), "at least 20 times one word on a line of its own")
        .because(
            "Each shard has two cache lines to itself, since x86 fetches lines in pairs. There must be a shard for each thread that \
             may come.",
            shown_by(at_least(8000.0, "sharded_64")),
        )
        .because(
            "What is counted is what the allocator has given out.",
            source("`instance` in src/measure/allocated.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

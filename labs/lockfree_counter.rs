//! What does counting cost, and who pays: the one who adds or the one who reads?
//!
//! Run it: `cargo run --release --bin lockfree_counter -- --step`
use std::sync::Arc;

use underhood::{
    contenders::counter::{
        CAS_COUNTER, CAS_GUESS, COUNTER, Counter, PER_THREAD, SHARDED_64, THREAD_LOCAL, Tally, exchanging,
        floor, in_a_row,
    },
    experiments::looked_at,
    lab::{
        Contender, Kind, Lab, ONCE, Step, at, at_least, at_most, pick, ratio, sample::Sample, shown_by,
        source,
    },
    measure::{
        cost::{self, Solo},
        throughput::{self, Crowd},
    },
};

const COUNTERS: &[&Counter] = &[&PER_THREAD, &COUNTER, &CAS_COUNTER, &SHARDED_64];
const TOGETHER: &[&Counter] = &[&PER_THREAD, &COUNTER, &CAS_COUNTER, &CAS_GUESS, &SHARDED_64];
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
        "With {threads} threads that add, a counter with a shard for each thread does {value}, one atomic word {against}: \
         {ratio}.",
        ratio("sharded_64", "counter"),
        "somebody reads the sum often: see lab cache_scaling",
    )
    .say(
        "alone",
        "Adding to an atomic word that no other thread wants takes {value}. A load and a store take {against}.",
        ratio(("counter", "add"), ("per_thread", "add")),
        "two threads may write the word: then a load and a store lose additions",
    )
    .not_said(&[
        "That the sum of a sharded counter is exact at any moment: it is added up one shard after the other.",
        "How a mix of additions and reads behaves: see lab cache_scaling, step counter.",
    ])
    .next(&[
        "When is a sharded counter wrong? (if threads add other numbers than one: a reader may see a sum that the counter \
         never had)",
        "Is fetch_add wait-free everywhere? (only where the machine has the instruction; elsewhere it is a \
         compare-and-exchange loop)",
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
            "a compare-and-exchange loop takes at least as long as one fetch_add",
        )
        .claim(
            at_least(10.0, ratio(("sharded_64", "read"), ("counter", "read"))),
            "reading 64 shards takes at least 10 times as long as reading one word",
        )
        .because(
            "An atomic read-modify-write waits until the earlier stores are done and holds the line while it works, even if nobody else \
             wants it.",
            source("AMD64 Architecture Programmer's Manual, volume 2, 7.4.2: locked instructions"),
        )
        .because(
            "If each thread has a number of its own, no atomic read-modify-write is needed: only one thread writes each \
             number.",
            source("`PerThread` in src/contenders/counter.rs"),
        )
        .because(
            "What the adding thread saves, the reader pays: it loads a cache line for each shard.",
            shown_by(at_least(4.0, ratio(("sharded_64", "read"), ("counter", "read")))),
        )
}

fn against_the_floor() -> Step {
    Step::new("floor", Kind::Single, "op_ns")
        .ask_best(
            "The cheapest addition is to a thread-local number, which only its own thread can see. Does any counter that \
             other threads can read come near it?",
            "",
        )
        .contenders(std::iter::once(&THREAD_LOCAL).chain(NEAR_THE_FLOOR.iter().map(|c| -> &Contender { c.as_ref() })))
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| {
            let floor = Solo::new(THREAD_LOCAL.id, floor);
            cost::solo(plan, p.id(), std::iter::once(floor).chain(NEAR_THE_FLOOR.iter().map(|c| c.adds())))
        })
        .claim(
            at_least(1.5, ratio("sharded_64", "thread_local")),
            "an addition to a shard takes at least 1.5 times as long as one to a thread-local: it needs an atomic \
             instruction",
        )
        .claim(
            at_most(1.5, ratio("per_thread", "thread_local")),
            "a number for each thread, which only that thread writes, takes at most 1.5 times as long as a thread-local",
        )
        .because(
            "With more threads than shards, two threads may share a shard, so a shard needs the atomic instruction. A \
             number for each thread needs none and takes less time.",
            shown_by(at_least(1.5, ratio("sharded_64", "per_thread"))),
        )
        .because(
            "A structure that can promise one writer for each number needs no atomic instruction.",
            source("`PerThread` in src/contenders/counter.rs"),
        )
        .because(
            "All contenders find their number by an index that the compiler does not know. At a fixed address, the processor \
             may forward a stored value without going to memory. Then the step would measure that effect.",
            source("`floor` in src/contenders/counter.rs"),
        )
        .because("A thread-local number is no counter: no other thread can read it.", source("`floor` in src/contenders/counter.rs"))
}

fn with(row: Sample, name: &str, value: Option<f64>) -> Sample {
    match value {
        Some(value) => row.with(name, value),
        None => row,
    }
}

fn id(counter: &Counter) -> &'static str {
    AsRef::<Contender>::as_ref(counter).id
}

/// Lanes that add. Those of the compare-and-exchange loop also count their failed exchanges.
fn lanes(counter: &Counter, tally: &Arc<Tally>) -> Crowd {
    if id(counter) == id(&CAS_COUNTER) { exchanging(tally) } else { counter.crowd(0) }
}

fn crowd() -> Step {
    Step::new("crowd", Kind::Contended, "ops_per_s")
        .ask_best(
            "All threads add to the same counter. Which of these does the most additions?",
            "",
        )
        .columns(&["failed_ratio", "adds_in_a_row_count", "lane_op_ns", "min_max_share"])
        .contenders(TOGETHER)
        .slice(1.0 / 2.0)
        .over(ONCE, |plan, p| {
            let (tally, runs) = (Arc::default(), Arc::default());
            let rows = throughput::crowd(plan, p.id(), 0.0, TOGETHER.iter().map(|c| lanes(c, &tally)));
            // Looking at each count costs time, so it is done afterwards and its rate is thrown away.
            throughput::crowd(plan, p.id(), 0.0, [in_a_row(&runs)]);
            let told = |row: Sample| match (row.unmeasured.is_none(), &row.case) {
                (true, case) if case == id(&CAS_COUNTER) => with(row, "failed_ratio", tally.failed_ratio()),
                (true, case) if case == id(&COUNTER) => with(row, "adds_in_a_row_count", runs.adds_in_a_row()),
                _ => row,
            };
            rows.into_iter().map(told).collect()
        })
        .bench("crowd/{case}", [&COUNTER, &SHARDED_64], |plan, c| throughput::timed(plan, 0.0, &c.crowd(0)))
        .claim(
            at_least(3.0, ratio("sharded_64", "counter")).cores(2),
            "a counter with a shard for each thread does at least 3 times what one word does",
        )
        .claim(
            at_most(1.0, ratio("cas_counter", "counter")).cores(2),
            "the compare-and-exchange loop does fewer additions than fetch_add",
        )
        .claim(
            at_least(2.0, pick("counter", "", "adds_in_a_row_count")).cores(2),
            "a core adds at least twice in a row before the cache line goes to another core",
        )
        .because(
            "fetch_add is wait-free: once the core has the cache line, the addition is done.",
            source("M. Herlihy, Wait-Free Synchronization, 1991"),
        )
        .because(
            "A compare-and-exchange loop loads, computes and exchanges. If another thread added in between, the exchange fails \
             and the loop tries again.",
            shown_by(at_least(0.01, pick("cas_counter", "", "failed_ratio")).cores(2)),
        )
        .because(
            "The loop's first load fetches the cache line for reading. The exchange must then fetch it again for writing. A \
             loop that guesses the value instead of loading it (`cas_guess`) does more additions.",
            shown_by(at_least(1.0, ratio("cas_guess", "cas_counter")).cores(2)),
        )
        .because(
            "How often the cache line moves between cores limits every counter in one word. Only threads that do not share a \
             cache line are faster.",
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
            "wait-free bounds the steps and not the time: with four threads for each CPU, the longest addition takes at \
             least a millisecond",
        )
        .claim(
            at_most(0.05, pick("cas_counter", "4x_threads", "halted_share")).cores(2),
            "in the compare-and-exchange loop no thread stops the others: for at most a twentieth of the time no thread \
             makes progress",
        )
        .claim(
            at_least(0.9, pick("counter", "1x_threads", "jain_share")).cores(2),
            "with a thread for each CPU the shared word is fair: Jain's index is at least 0.9",
        )
        .because(
            "Wait-free bounds the steps, not the time. A thread may lose its CPU in the middle of an addition, and then \
             waits for its next time slice.",
            shown_by(at_least(10.0, ratio(("counter", "4x_threads"), ("counter", "1x_threads"))).cores(2)),
        )
}

fn memory() -> Step {
    Step::new("memory", Kind::Count, "instance_bytes")
        .ask_number("How many bytes does a counter of 64 shards take?", "sharded_64", "")
        .isolated(COUNTERS, ONCE, |_, counter, _| counter.weighed())
        .check_after()
        .claim(at_least(8000.0, "sharded_64"), "a shard takes 128 bytes: 64 of them take at least 8,000 bytes")
        .claim(
            at_least(20.0, ratio("sharded_64", "counter")),
            "64 shards take at least 20 times as much memory as one word on a cache line of its own",
        )
        .because(
            "Each shard has two cache lines to itself, since x86 fetches lines in pairs. There must be a shard for each \
             thread that may add.",
            shown_by(at_least(8000.0, "sharded_64")),
        )
        .because(
            "The bytes are those that the allocator has given out.",
            source("`instance` in src/measure/allocated.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

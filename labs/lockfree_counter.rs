//! What does counting cost, and who pays: the one who adds or the one who reads?
//!
//! Run it: `cargo run --release --bin lockfree_counter -- --step`
use std::sync::Arc;

use underhood::{
    contenders::{
        counter as rivals,
        counter::{Counter as Counts, Exchanges, PerThread, alone, check, exchanging},
        gate::{self, Weighed},
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        allocated,
        cost::{self, Solo},
        throughput::{self, Crowd},
        worst,
    },
    structures::lockfree::counter::{CasCounter, Counter, Sharded},
};

const CASES: &[&str] = &["per_thread", "counter", "cas_counter", "sharded_64"];

pub(crate) static LAB: Lab = Lab {
    stem: "lockfree_counter",
    question: "What does counting cost, and who pays: the one who adds or the one who reads?",
    steps: &[
        Step {
            name: "alone",
            ask: "One thread adds to a counter that nobody else wants. What does an atomic addition take, in ns?",
            predict: Predict::Number { case: "counter", param: "add" },
            kind: Kind::Single,
            cases: CASES,
            params: &["add", "read"],
            launch: Launch::Together,
            measure: by_one,
            headline: "op_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "an atomic addition that nobody disturbs takes at least twice as long as a load and a store",
                    of: pick("counter", "add", "op_ns"),
                    against: Some(pick("per_thread", "add", "op_ns")),
                    expect: Expect::AtLeast(2.0),
                    cores: 1,
                },
                Claim {
                    text: "the loop takes at least as long as the one instruction",
                    of: pick("cas_counter", "add", "op_ns"),
                    against: Some(pick("counter", "add", "op_ns")),
                    expect: Expect::AtLeast(1.0),
                    cores: 1,
                },
                Claim {
                    text: "reading 64 shards takes at least 10 times as long as reading one word",
                    of: pick("sharded_64", "read", "op_ns"),
                    against: Some(pick("counter", "read", "op_ns")),
                    expect: Expect::AtLeast(10.0),
                    cores: 1,
                },
            ],
            because: "An atomic read-modify-write drains the store buffer and holds the line while it works, even if nobody else wants it. Alone that is some \
                      cycles more, not a multiple: a load of what was just stored waits for the store, too (store forwarding). A counter of its own for each thread needs none, since only one thread writes it. What the \
                      adder saves, the reader pays: a line for each shard. See src/structures/lockfree/counter.rs.",
            tour: false,
        },
        Step {
            name: "floor",
            ask: "An addition to a number that only this thread can see, a thread-local: the floor. Does anything that others can read come near it?",
            predict: Predict::Best { param: "" },
            kind: Kind::Single,
            cases: &["thread_local", "per_thread", "sharded_64", "counter"],
            params: &[""],
            launch: Launch::Together,
            measure: against_the_floor,
            headline: "op_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "an addition to a shard takes at most 1.5 times one to a thread-local",
                    of: pick("sharded_64", "", "op_ns"),
                    against: Some(pick("thread_local", "", "op_ns")),
                    expect: Expect::AtMost(1.5),
                    cores: 1,
                },
                Claim {
                    text: "a number for each thread, written by that one only, does keep to that",
                    of: pick("per_thread", "", "op_ns"),
                    against: Some(pick("thread_local", "", "op_ns")),
                    expect: Expect::AtMost(1.5),
                    cores: 1,
                },
            ],
            because: "Two threads may share a shard, if there are more threads than shards, so a shard needs the atomic instruction, which is the \
                      whole price. Whoever can promise one writer for each number (`PerThread` in src/contenders/counter.rs) does without. All find \
                      their number by an index that the compiler does not know: at a fixed address the processor may pass a stored value on without \
                      memory, and the address would be what is measured. The floor itself is no counter: nobody \
                      else can read it.",
            tour: false,
        },
        Step {
            name: "crowd",
            ask: "All threads add to the same counter. How often does an exchange of the compare-and-exchange loop fail for each that succeeds?",
            predict: Predict::Best { param: "" },
            kind: Kind::Contended,
            cases: CASES,
            params: &[""],
            launch: Launch::Together,
            measure: by_many,
            headline: "ops_per_s",
            columns: &["failed_ratio", "lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "a shard for each thread does at least 3 times what one word does",
                    of: pick("sharded_64", "", "ops_per_s"),
                    against: Some(pick("counter", "", "ops_per_s")),
                    expect: Expect::AtLeast(3.0),
                    cores: 2,
                },
                Claim {
                    text: "the loop does less than the one instruction",
                    of: pick("cas_counter", "", "ops_per_s"),
                    against: Some(pick("counter", "", "ops_per_s")),
                    expect: Expect::AtMost(1.0),
                    cores: 2,
                },
                Claim {
                    text: "at least one exchange in ten is for nothing",
                    of: pick("cas_counter", "", "failed_ratio"),
                    against: None,
                    expect: Expect::AtLeast(0.1),
                    cores: 2,
                },
            ],
            because: "fetch_add is wait-free: the line comes, the addition is done. The loop loads, computes and exchanges, and if the line was taken in \
                      between, all of it was for nothing: lock-free, and any one thread may lose each time. Both are bounded by one journey of the line \
                      for each addition or few; only not sharing the line helps.",
            tour: false,
        },
        Step {
            name: "worst",
            ask: "All threads add, four for each CPU. How long does the longest addition take on one shared word, in ns?",
            predict: Predict::Number { case: "counter", param: "4x_threads" },
            kind: Kind::Tail,
            cases: &["counter", "per_thread", "cas_counter", "sharded_64"],
            params: &["1x_threads", "4x_threads"],
            launch: Launch::Together,
            measure: looked_at,
            headline: "op_max_ns",
            columns: &[
                "op_p99_ns",
                "halted_share",
                "halt_max_ns",
                "jain_share",
                "min_max_share",
                "ops_per_s",
            ],
            claims: &[
                Claim {
                    text: "an addition that is wait-free by its steps is not so by the clock: with four threads a CPU the longest takes at least a millisecond",
                    of: pick("counter", "4x_threads", "op_max_ns"),
                    against: None,
                    expect: Expect::AtLeast(1e6),
                    cores: 2,
                },
                Claim {
                    text: "but nobody stops the others: for at most a hundredth of the time no thread gets on",
                    of: pick("cas_counter", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtMost(0.01),
                    cores: 2,
                },
                Claim {
                    text: "with a thread for each CPU the shared word is fair: Jain's index is at least 0.9",
                    of: pick("counter", "1x_threads", "jain_share"),
                    against: None,
                    expect: Expect::AtLeast(0.9),
                    cores: 2,
                },
            ],
            because: "Wait-free bounds the steps, not the time: a thread whose turn is over waits for its next one in the middle of an addition. Each operation \
                      ends with a look at the clock, so the rates are of another workload than in crowd. Who gets how much is decided by who is \
                      nearer to the line.",
            tour: false,
        },
        Step {
            name: "memory",
            ask: "How many bytes does a counter of 64 shards take?",
            predict: Predict::Number { case: "sharded_64", param: "" },
            kind: Kind::Count,
            cases: CASES,
            params: &[""],
            launch: Launch::Isolated,
            measure: weighed,
            headline: "instance_bytes",
            columns: &[],
            claims: &[
                Claim {
                    text: "a shard is 128 bytes: 64 of them take at least 8,000",
                    of: pick("sharded_64", "", "instance_bytes"),
                    against: None,
                    expect: Expect::AtLeast(8000.0),
                    cores: 1,
                },
                Claim {
                    text: "at least 20 times one word on a line of its own",
                    of: pick("sharded_64", "", "instance_bytes"),
                    against: Some(pick("counter", "", "instance_bytes")),
                    expect: Expect::AtLeast(20.0),
                    cores: 1,
                },
            ],
            because: "Each shard has two cache lines to itself, since x86 fetches lines in pairs, and there must be one for each thread that may come. What is counted is what the allocator has given out. See `instance` in src/measure/allocated.rs.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "crowd",
            text: "With {threads} threads that add, a shard for each does {value}, one atomic word {against}: {ratio}.",
            of: pick("sharded_64", "", "ops_per_s"),
            against: Some(pick("counter", "", "ops_per_s")),
            not_true_when: "somebody reads the sum often: see lab cache_scaling",
        },
        Say {
            step: "alone",
            text: "Adding to an atomic word that nobody else wants takes {value}; a load and a store {against}.",
            of: pick("counter", "add", "op_ns"),
            against: Some(pick("per_thread", "add", "op_ns")),
            not_true_when: "two threads may write the word: then a load and a store lose additions",
        },
    ],
    not_said: &[
        "That a sharded sum is exact at a moment: it is added up one shard after the other.",
        "What a mix of additions and reads does: lab cache_scaling, step counter.",
    ],
    next: &[
        "When is a sharded counter wrong? (additions other than one: a reader may see a sum that never was; the zoo has it)",
        "Is fetch_add wait-free everywhere? (where the machine has the instruction; else it is the loop)",
        "Why pad to 128 bytes? (lab cache_line)",
    ],
    sources: &[
        "P. McKenney, Is Parallel Programming Hard, chapter 5: statistical counters, updates against reads",
        "travisdowns.github.io, A Concurrency Cost Hierarchy: the levels of cost, and failed exchanges",
        "crossbeam-rs/crossbeam#1254: one shared counter cost 3.6x at 64 threads",
    ],
    benches,
};

/// No contender is timed before it has shown that it does what its name says.
fn checked(cases: &[&str], params: &[&str], measure: impl FnOnce() -> Vec<Sample>) -> Vec<Sample> {
    gate::checked(
        &[check::<PerThread>, check::<Counter>, check::<CasCounter>, check::<Sharded>],
        cases,
        params,
        measure,
    )
}

fn arms(read: bool) -> [Solo; 4] {
    fn arm<C: Counts>(read: bool) -> Solo {
        Solo { case: C::CASE, make: if read { alone::<C, true> } else { alone::<C, false> } }
    }
    [arm::<PerThread>(read), arm::<Counter>(read), arm::<CasCounter>(read), arm::<Sharded>(read)]
}

fn by_one(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 3, ..plan.clone() };
    checked(cases, params, || params.iter().flat_map(|p| cost::solo(&plan, p, &arms(*p == "read"))).collect())
}

fn against_the_floor(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let [per_thread, counter, _, sharded] = arms(false);
    let arms = [Solo { case: "thread_local", make: rivals::floor }, per_thread, sharded, counter];
    let plan = Plan { slice: plan.slice / 3, ..plan.clone() };
    checked(cases, params, || params.iter().flat_map(|p| cost::solo(&plan, p, &arms)).collect())
}

fn crowds(tally: &Arc<Exchanges>) -> [Crowd; 4] {
    [
        rivals::crowd::<PerThread>(0),
        rivals::crowd::<Counter>(0),
        exchanging(tally),
        rivals::crowd::<Sharded>(0),
    ]
}

fn by_many(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let plan = Plan { slice: plan.slice / 2, ..plan.clone() };
    let one = |param: &&str| {
        let tally = Arc::<Exchanges>::default();
        let rows = throughput::crowd(&plan, param, 0.0, &crowds(&tally));
        let with_failed = |row: Sample| match tally.failed_ratio() {
            Some(ratio) if row.case == "cas_counter" && row.unmeasured.is_none() => {
                row.with("failed_ratio", ratio)
            }
            _ => row,
        };
        rows.into_iter().map(with_failed).collect::<Vec<_>>()
    };
    checked(cases, params, || params.iter().flat_map(one).collect())
}

/// Each operation with a look at the clock.
fn looked_at(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(cases, params, || {
        worst::at_times(plan, params, &{
            let [per_thread, counter, cas_counter, sharded] = crowds(&Arc::default());
            [counter, per_thread, cas_counter, sharded]
        })
    })
}

fn weighed(_plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn of<C: Counts>() -> Weighed {
        (C::CASE, |param| allocated::instance(C::CASE, param, || Box::new(C::new(2))), check::<C>)
    }
    gate::weighed(&[of::<PerThread>(), of::<Counter>(), of::<CasCounter>(), of::<Sharded>()], cases, params)
}

fn benches(plan: &Plan) -> Vec<Bench> {
    let crowd = [1, 3].map(|i| {
        let (plan, id) = (plan.clone(), format!("crowd/{}", CASES[i]));
        Bench { id, make: Box::new(move || throughput::timed(&plan, 0.0, &crowds(&Arc::default())[i])) }
    });
    crowd.into()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

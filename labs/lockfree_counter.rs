//! What does counting cost, and who pays: the one who adds or the one who reads?
//!
//! Run it: `cargo run --release --bin lockfree_counter -- --step`
use std::sync::Arc;

use underhood::{
    engine::{
        crowd::{self, Crowd},
        solo::{self, Solo},
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick},
    lockfree::counter::{CasCounter, Counter, Sharded},
    plan::Plan,
    rivals::{
        counter::{self as rivals, Counter as Counts, Exchanges, PerThread, alone, check, exchanging},
        gate,
    },
    sample::Sample,
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
            because: "An atomic read-modify-write drains the store buffer and holds the line while it works, even if nobody else wants it: some ns for what \
                      takes a fraction of one otherwise. A counter of its own for each thread needs none, since only one thread writes it. What the \
                      adder saves, the reader pays: a line for each shard. See src/lockfree/counter.rs.",
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
    checked(cases, params, || params.iter().flat_map(|p| solo::solo(&plan, p, &arms(*p == "read"))).collect())
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
        let rows = crowd::crowd(&plan, param, 0.0, &crowds(&tally));
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

fn benches(plan: &Plan) -> Vec<Bench> {
    let crowd = [1, 3].map(|i| {
        let (plan, id) = (plan.clone(), format!("crowd/{}", CASES[i]));
        Bench { id, make: Box::new(move || crowd::timed(&plan, 0.0, &crowds(&Arc::default())[i])) }
    });
    crowd.into()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

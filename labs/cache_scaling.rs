//! How do I scale past a lock-contention bottleneck?
//!
//! Run it: `cargo run --release --bin cache_scaling -- --step`
use std::sync::Arc;

use underhood::{
    contenders::{
        counter::{self, Batched, CasLoop, FetchAdd, Locked, PerThread, Sharded},
        map::{self, Hits, OneLock},
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        keys::Skew,
        throughput::{self, Crowd},
    },
    record::AA,
    stats::scaling,
};

type DashMap = dashmap::DashMap<u32, u64>;
type Papaya = papaya::HashMap<u32, u64>;

pub(crate) static LAB: Lab = Lab {
    stem: "cache_scaling",
    question: "How do I scale past a lock-contention bottleneck?",
    steps: &[
        Step {
            name: "counter",
            ask: "All threads count into one counter, and every second operation reads it. Which of six ways does the most?",
            predict: Predict::Best { param: "reads_every_2" },
            kind: Kind::Contended,
            cases: &["mutex", "fetch_add", "cas_loop", "sharded_8", "per_thread", "batched_64"],
            params: &["adds_only", "reads_every_10", "reads_every_2"],
            launch: Launch::Together,
            measure: counting,
            headline: "ops_per_s",
            columns: &["lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "adding only, a number for each thread does at least 5 times as much as one mutex",
                    of: pick("per_thread", "adds_only", "ops_per_s"),
                    against: Some(pick("mutex", "adds_only", "ops_per_s")),
                    expect: Expect::AtLeast(5.0),
                    cores: 2,
                },
                Claim {
                    text: "lock-free is not the cure: per thread does at least twice what fetch_add on one line does",
                    of: pick("per_thread", "adds_only", "ops_per_s"),
                    against: Some(pick("fetch_add", "adds_only", "ops_per_s")),
                    expect: Expect::AtLeast(2.0),
                    cores: 2,
                },
                Claim {
                    text: "a compare-and-swap loop does less than fetch_add: a lost race is work for nothing",
                    of: pick("cas_loop", "adds_only", "ops_per_s"),
                    against: Some(pick("fetch_add", "adds_only", "ops_per_s")),
                    expect: Expect::AtMost(1.0),
                    cores: 2,
                },
                Claim {
                    text: "the cost went to the reader: with every second operation reading, per thread keeps at most half of its rate",
                    of: pick("per_thread", "reads_every_2", "ops_per_s"),
                    against: Some(pick("per_thread", "adds_only", "ops_per_s")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
            ],
            because: "One line that all write allows one addition per journey between cores, whatever the instruction. Splitting removes the \
                      journeys of writers and gives them to the reader, who must visit every part; batching lets readers look at one number \
                      that is up to 63 additions a thread behind. Nothing is free: choose who pays, and how exact a read must be. See the \
                      six types in src/contenders/counter.rs.",
            tour: false,
        },
        Step {
            name: "map",
            ask: "A map, one operation in ten writes. All threads want the same key. Which map does the most?",
            predict: Predict::Best { param: "one_key" },
            kind: Kind::Contended,
            cases: &["one_lock", "sharded_16", "dashmap", "papaya"],
            params: &["uniform", "zipf", "one_key"],
            launch: Launch::Together,
            measure: mapping,
            headline: "ops_per_s",
            columns: &["hit_share", "lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "with uniform keys, 16 locks do at least 1.5 times as much as one",
                    of: pick("sharded_16", "uniform", "ops_per_s"),
                    against: Some(pick("one_lock", "uniform", "ops_per_s")),
                    expect: Expect::AtLeast(1.5),
                    cores: 2,
                },
                Claim {
                    text: "one hot key makes the sharded map one lock again: at most 1.2 times",
                    of: pick("sharded_16", "one_key", "ops_per_s"),
                    against: Some(pick("one_lock", "one_key", "ops_per_s")),
                    expect: Expect::AtMost(1.2),
                    cores: 2,
                },
            ],
            because: "Sharding divides the keys, so it divides the waiting only as evenly as the keys are asked for: under Zipf's law a few \
                      shards carry most of it, and with one key it is one lock with an extra hash. Maps whose readers take no lock still \
                      move the line of a hot key that somebody writes. The share of hits is set to 8 in 10 and counted: a map whose hits \
                      drift with the threads would be measured on another workload each time. See `steps` in src/contenders/map.rs.",
            tour: false,
        },
        Step {
            name: "law",
            ask: "How many operations a second would one shared fetch_add do on a machine like this one with twice the CPUs?",
            predict: Predict::Number { case: "fetch_add", param: "" },
            kind: Kind::Contended,
            cases: &["mutex", "fetch_add", "sharded_8", "per_thread"],
            params: &[""],
            launch: Launch::Together,
            measure: law,
            headline: "at_double_per_s",
            columns: &["low_per_s", "high_per_s", "serial_share", "crosstalk_share", "peak_count"],
            claims: &[
                Claim {
                    text: "one shared fetch_add has a serial share of at least a tenth",
                    of: pick("fetch_add", "", "serial_share"),
                    against: None,
                    expect: Expect::AtLeast(0.1),
                    cores: 4,
                },
                Claim {
                    text: "a number for each thread has a serial share of at most a twentieth",
                    of: pick("per_thread", "", "serial_share"),
                    against: None,
                    expect: Expect::AtMost(0.05),
                    cores: 4,
                },
            ],
            because: "The Universal Scalability Law has three unknowns: the speed of one thread, the share that waits in line, the cost of each \
                      pair. Through two or three points it always passes exactly, so it proves nothing: four thread counts are the least \
                      from which an error can be told, and two cores never give them. Where it refuses, that is the answer: nobody \
                      can know from this machine. See `fit` in src/stats/scaling.rs.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "counter",
            text: "With {threads} threads that only add, a number for each thread does {value}; one mutex does {against}: {ratio}.",
            of: pick("per_thread", "adds_only", "ops_per_s"),
            against: Some(pick("mutex", "adds_only", "ops_per_s")),
            not_true_when: "somebody reads the sum often, or the count must be exact at a moment",
        },
        Say {
            step: "map",
            text: "With {threads} threads on one hot key, a map of 16 locks does {value}; one lock does {against}: {ratio}.",
            of: pick("sharded_16", "one_key", "ops_per_s"),
            against: Some(pick("one_lock", "one_key", "ops_per_s")),
            not_true_when: "the keys are asked for evenly: then sharding is worth its price",
        },
    ],
    not_said: &[
        "Which map is the best: 8,192 small keys, one operation in ten a put, no insertion of new keys, no growth, std's hasher.",
        "What happens with more threads than were measured, where the law step refuses.",
        "Anything about memory: a page of counters a thread is a price, too.",
    ],
    next: &[
        "How do you find the contended line or lock first? (perf c2c, perf lock, off-CPU time)",
        "What if the sum must be exact? (then it is one order of additions, and one line)",
        "What would you try before sharding? (hold shorter, read a snapshot, do it per thread and merge)",
    ],
    sources: &[
        "perfbook, chapter 5 (Counting): statistical, per-thread and limit counters; one hot key turns a sharded table into a global lock",
        "N. Gunther, Guerrilla Capacity Planning, Springer 2007: the Universal Scalability Law",
        "crossbeam-rs/crossbeam#1254: one shared length counter cost 3.6x at 64 threads",
        "jonhoo/bustle: its key generator visits two slowly moving positions, and its share of hits drifts with the threads",
    ],
    benches,
};

/// Many cases, windows of 2 ms: half of a case's time holds enough of them.
fn half(plan: &Plan) -> Plan {
    Plan { slice: plan.slice / 2, ..plan.clone() }
}

fn refuse(cases: &[&str], params: &[&str], why: &str) -> Vec<Sample> {
    params.iter().flat_map(|p| cases.iter().map(move |c| Sample::unmeasured(c, p, why))).collect()
}

fn counters(read_every: u32) -> [Crowd; 6] {
    [
        counter::crowd::<Locked>(read_every),
        counter::crowd::<FetchAdd>(read_every),
        counter::crowd::<CasLoop>(read_every),
        counter::crowd::<Sharded>(read_every),
        counter::crowd::<PerThread>(read_every),
        counter::crowd::<Batched>(read_every),
    ]
}

fn counters_checked() -> Result<(), String> {
    counter::check::<Locked>()?;
    counter::check::<FetchAdd>()?;
    counter::check::<CasLoop>()?;
    counter::check::<Sharded>()?;
    counter::check::<PerThread>()?;
    counter::check::<Batched>()
}

fn counting(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    if let Err(why) = counters_checked() {
        return refuse(cases, params, &why);
    }
    let every = |p: &str| p.strip_prefix("reads_every_").and_then(|n| n.parse().ok()).unwrap_or(0);
    params.iter().flat_map(|p| throughput::crowd(&half(plan), p, 0.0, &counters(every(p)))).collect()
}

const PUTS_PERCENT: usize = 10;

fn skew(param: &str) -> Skew {
    match param {
        "uniform" => Skew::Uniform,
        "zipf" => Skew::Zipf(0.99),
        _ => Skew::OneKey,
    }
}

fn maps(skew: Skew, tallies: &[Arc<Hits>; 4]) -> [Crowd; 4] {
    [
        map::crowd::<OneLock>(skew, PUTS_PERCENT, &tallies[0]),
        map::crowd::<map::Sharded>(skew, PUTS_PERCENT, &tallies[1]),
        map::crowd::<DashMap>(skew, PUTS_PERCENT, &tallies[2]),
        map::crowd::<Papaya>(skew, PUTS_PERCENT, &tallies[3]),
    ]
}

fn maps_checked() -> Result<(), String> {
    map::check::<OneLock>()?;
    map::check::<map::Sharded>()?;
    map::check::<DashMap>()?;
    map::check::<Papaya>()
}

fn mapping(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    if let Err(why) = maps_checked() {
        return refuse(cases, params, &why);
    }
    let at = |param: &&str| {
        let tallies: [Arc<Hits>; 4] = Default::default();
        let rows = throughput::crowd(&half(plan), param, 0.0, &maps(skew(param), &tallies));
        let hits = |case: &str| {
            let own = if case == AA { cases[0] } else { case };
            cases.iter().position(|c| *c == own).and_then(|i| tallies[i].share())
        };
        let with_hits = |row: Sample| match hits(&row.case) {
            Some(share) if row.unmeasured.is_none() => row.with("hit_share", share),
            _ => row,
        };
        rows.into_iter().map(with_hits).collect::<Vec<_>>()
    };
    params.iter().flat_map(at).collect()
}

/// Thread counts up to the CPUs allowed: 1, 2, 3, 4, 6, 8, 12, ... Beyond the CPUs the law is about something else.
fn counts(cpus: usize) -> Vec<usize> {
    let steps = (0..).map(|i: usize| (2 + i % 2) << (i / 2));
    let mut counts: Vec<usize> =
        std::iter::once(1).chain(steps).take_while(|n| *n < cpus).chain([cpus]).collect();
    counts.dedup();
    counts
}

fn law(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let counts = counts(plan.cpus.len());
    if counts.len() < scaling::POINTS {
        let why = format!(
            "refused: {} CPUs give {} thread counts, and the law's three unknowns need {}",
            plan.cpus.len(),
            counts.len(),
            scaling::POINTS
        );
        return refuse(cases, params, &why);
    }
    if let Err(why) = counters_checked() {
        return refuse(cases, params, &why);
    }
    let arms = || {
        let [mutex, fetch_add, _, sharded, per_thread, _] = counters(0);
        [mutex, fetch_add, sharded, per_thread]
    };
    let rows: Vec<(f64, Vec<Sample>)> = counts
        .iter()
        .map(|n| (*n as f64, throughput::crowd(&Plan { threads: *n, ..half(plan) }, "", 0.0, &arms())))
        .collect();
    let double = 2.0 * plan.cpus.len() as f64;
    let one = |case: &str, param: &str| {
        let rate = |rows: &[Sample]| {
            rows.iter().find(|r| r.case == case).and_then(|r| r.values.get("ops_per_s").copied())
        };
        let points: Vec<(f64, f64)> = rows.iter().filter_map(|(n, rows)| Some((*n, rate(rows)?))).collect();
        match scaling::fit(&points).and_then(|fit| Ok((fit.at(double)?, fit))) {
            Ok((ahead, fit)) => {
                let s = Sample::new(case, param)
                    .with("at_double_per_s", ahead.mid)
                    .with("low_per_s", ahead.lo)
                    .with("high_per_s", ahead.hi)
                    .with("serial_share", fit.serial_share())
                    .with("crosstalk_share", fit.crosstalk_share());
                match fit.peak() {
                    Ok(threads) => s.with("peak_count", threads),
                    Err(why) => s.seeing(why),
                }
            }
            Err(why) => Sample::unmeasured(case, param, format!("refused: {why}")),
        }
    };
    params.iter().flat_map(|p| cases.iter().map(move |c| (*c, *p))).map(|(c, p)| one(c, p)).collect()
}

fn benches(plan: &Plan) -> Vec<Bench> {
    let counters = (0..6).map(|i| {
        let plan = plan.clone();
        let id = format!("counter/{}", counters(0)[i].case);
        Bench { id, make: Box::new(move || throughput::timed(&plan, 0.0, &counters(0)[i])) }
    });
    let maps = (0..4).map(|i| {
        let plan = plan.clone();
        let id = format!("map_zipf/{}", maps(skew("zipf"), &Default::default())[i].case);
        let make = move || throughput::timed(&plan, 0.0, &maps(skew("zipf"), &Default::default())[i]);
        Bench { id, make: Box::new(make) }
    });
    counters.chain(maps).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

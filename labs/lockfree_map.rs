//! Which map should threads share, and what do its writers do to its readers?
//!
//! Run it: `cargo run --release --bin lockfree_map -- --step`
use std::sync::Arc;

use underhood::{
    contenders::{
        gate::{self, Weighed},
        map::{Map, OneLock, OneRwLock, Sharded, check, weigh},
        map_mix::{self, Deeds, Mix, alone},
    },
    lab::{Bench, Claim, Expect, Kind, Lab, Launch, Predict, Say, Step, pick, plan::Plan, sample::Sample},
    measure::{
        cost::{self, Solo},
        keys::Skew,
        throughput::{self, Crowd},
        worst,
    },
    record::AA,
};

type DashMap = dashmap::DashMap<u32, u64>;
type Papaya = papaya::HashMap<u32, u64>;
type Scc = scc::HashMap<u32, u64>;

/// A crate's case has its version in its name.
const CASES: &[&str] = &["one_lock", "one_rwlock", "sharded_16", "dashmap_6", "papaya_0_2", "scc_3"];

pub(crate) static LAB: Lab = Lab {
    stem: "lockfree_map",
    question: "Which map should threads share, and what do its writers do to its readers?",
    steps: &[
        Step {
            name: "alone",
            ask: "One thread, nobody else is there; nine operations in ten read. What does one take on a HashMap behind a mutex, in ns?",
            predict: Predict::Number { case: "one_lock", param: "" },
            kind: Kind::Single,
            cases: CASES,
            params: &[""],
            launch: Launch::Together,
            measure: by_one,
            headline: "op_ns",
            columns: &[],
            claims: &[
                Claim {
                    text: "a mutex that nobody wants is cheap: dashmap takes at least nine tenths of what a map behind one takes",
                    of: pick("dashmap_6", "", "op_ns"),
                    against: Some(pick("one_lock", "", "op_ns")),
                    expect: Expect::AtLeast(0.9),
                    cores: 1,
                },
                Claim {
                    text: "papaya, whose writers allocate each entry, takes at most three times as long",
                    of: pick("papaya_0_2", "", "op_ns"),
                    against: Some(pick("one_lock", "", "op_ns")),
                    expect: Expect::AtMost(3.0),
                    cores: 1,
                },
            ],
            because: "Hashing (std's SipHash, the same for all) and finding the key are there in any case. An uncontended lock adds two atomic \
                      instructions; a map of many locks adds one lock as well, and the choice of it; papaya adds an entry into its reclamation \
                      and, on insertion, an allocation. See src/contenders/map.rs.",
            tour: false,
        },
        Step {
            name: "mix",
            ask: "All threads, keys as a cache sees them (Zipf), read / insert / remove in percent. Which map does the most if half of the operations write?",
            predict: Predict::Best { param: "50_25_25" },
            kind: Kind::Contended,
            cases: CASES,
            params: &["100_0_0", "90_5_5", "50_25_25"],
            launch: Launch::Together,
            measure: mixed,
            headline: "ops_per_s",
            columns: &["hit_share", "drift_share", "changed_share", "lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "if all read, a reader-writer lock around the map is no cure: at most 1.5 times what the mutex does",
                    of: pick("one_rwlock", "100_0_0", "ops_per_s"),
                    against: Some(pick("one_lock", "100_0_0", "ops_per_s")),
                    expect: Expect::AtMost(1.5),
                    cores: 2,
                },
                Claim {
                    text: "readers that write nothing shared do at least 3 times what the mutex does: papaya",
                    of: pick("papaya_0_2", "100_0_0", "ops_per_s"),
                    against: Some(pick("one_lock", "100_0_0", "ops_per_s")),
                    expect: Expect::AtLeast(3.0),
                    cores: 2,
                },
                Claim {
                    text: "with a half of writes it keeps at most half of that rate",
                    of: pick("papaya_0_2", "50_25_25", "ops_per_s"),
                    against: Some(pick("papaya_0_2", "100_0_0", "ops_per_s")),
                    expect: Expect::AtMost(0.5),
                    cores: 2,
                },
                Claim {
                    text: "with a half of writes, 16 mutexes by hand do at least what dashmap does",
                    of: pick("sharded_16", "50_25_25", "ops_per_s"),
                    against: Some(pick("dashmap_6", "50_25_25", "ops_per_s")),
                    expect: Expect::AtLeast(1.0),
                    cores: 2,
                },
            ],
            because: "A read under any lock writes the lock's line twice, so readers of one lock fight for it as writers do; shards divide the fight; \
                      only readers that announce themselves in a line of their own do not. Writers pay for that: an entry for each insertion, \
                      and somebody must find out when the old one may be freed. The share of hits is a half in every row and is counted, early \
                      and late; what drifts gets no number. See src/contenders/map_mix.rs.",
            tour: false,
        },
        Step {
            name: "skew",
            ask: "One operation in ten writes. All threads want the same key. Which map does the most?",
            predict: Predict::Best { param: "one_key" },
            kind: Kind::Contended,
            cases: CASES,
            params: &["uniform", "one_key"],
            launch: Launch::Together,
            measure: skewed,
            headline: "ops_per_s",
            columns: &["hit_share", "drift_share", "changed_share", "lane_op_ns", "min_max_share"],
            claims: &[
                Claim {
                    text: "with uniform keys, 16 mutexes do at least 1.5 times what one does",
                    of: pick("sharded_16", "uniform", "ops_per_s"),
                    against: Some(pick("one_lock", "uniform", "ops_per_s")),
                    expect: Expect::AtLeast(1.5),
                    cores: 2,
                },
                Claim {
                    text: "on one hot key dashmap is one lock again: at most 1.2 times what the mutex does",
                    of: pick("dashmap_6", "one_key", "ops_per_s"),
                    against: Some(pick("one_lock", "one_key", "ops_per_s")),
                    expect: Expect::AtMost(1.2),
                    cores: 2,
                },
                Claim {
                    text: "readers without a lock keep an advantage on a hot key that is written: papaya does at least twice what dashmap does",
                    of: pick("papaya_0_2", "one_key", "ops_per_s"),
                    against: Some(pick("dashmap_6", "one_key", "ops_per_s")),
                    expect: Expect::AtLeast(2.0),
                    cores: 2,
                },
            ],
            because: "Sharding divides keys, not the wish for one of them: a hot key is one shard, one lock, one line. A map whose readers take no \
                      lock moves the key's line only when somebody writes it. What decides is the price of that write: the entry is inserted \
                      and removed here, not overwritten, so papaya allocates, retires and frees one where dashmap changes a slot under its lock, \
                      and between few threads one write in ten can cost what nine readers save.",
            tour: false,
        },
        Step {
            name: "worst",
            ask: "Four threads for each CPU, one operation in ten writes. How long does the longest take behind one mutex, in ns?",
            predict: Predict::Number { case: "one_lock", param: "4x_threads" },
            kind: Kind::Tail,
            cases: CASES,
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
                    text: "nobody stops the others of papaya: for at most a hundredth of the time no thread gets on",
                    of: pick("papaya_0_2", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtMost(0.01),
                    cores: 2,
                },
                Claim {
                    text: "one mutex stops all others when its holder is preempted: for at least a thousandth of the time",
                    of: pick("one_lock", "4x_threads", "halted_share"),
                    against: None,
                    expect: Expect::AtLeast(0.001),
                    cores: 2,
                },
            ],
            because: "Where the gaps of all threads overlap, nobody got on: the holder of the one lock had no CPU, or whoever was to be woken was not awake yet. With \
                      more locks the others find another one. Each operation ends with a look at the clock, so the rates are of another workload \
                      than in mix. See `common` in src/measure/worst.rs.",
            tour: false,
        },
        Step {
            name: "memory",
            ask: "4,096 keys of 4 bytes with values of 8. How many bytes does each take in papaya, which allocates entries one by one?",
            predict: Predict::Number { case: "papaya_0_2", param: "" },
            kind: Kind::Count,
            cases: CASES,
            params: &[""],
            launch: Launch::Isolated,
            measure: weighed,
            headline: "element_bytes",
            columns: &["empty_bytes"],
            claims: &[
                Claim {
                    text: "an allocation for each entry: papaya takes at least 1.5 times what a HashMap behind a mutex takes",
                    of: pick("papaya_0_2", "", "element_bytes"),
                    against: Some(pick("one_lock", "", "element_bytes")),
                    expect: Expect::AtLeast(1.5),
                    cores: 1,
                },
                Claim {
                    text: "16 maps by hand take at most 1.5 times what one takes",
                    of: pick("sharded_16", "", "element_bytes"),
                    against: Some(pick("one_lock", "", "element_bytes")),
                    expect: Expect::AtMost(1.5),
                    cores: 1,
                },
            ],
            because: "std's map has 16 bytes for such an entry and one of metadata, and between 7/16 and 7/8 of its places are filled. papaya's table has a \
                      pointer and a byte for each place, and each entry is a block of its own. How full a table is depends on the number of \
                      keys: others would show other bytes. See `weigh` in src/contenders/map.rs.",
            tour: false,
        },
    ],
    says: &[
        Say {
            step: "mix",
            text: "With {threads} threads that only read, papaya does {value} operations, a HashMap behind std's mutex {against}: {ratio}.",
            of: pick("papaya_0_2", "100_0_0", "ops_per_s"),
            against: Some(pick("one_lock", "100_0_0", "ops_per_s")),
            not_true_when: "half of the operations write, or the threads do something else between two of them",
        },
        Say {
            step: "skew",
            text: "On one hot key, one operation in ten a write, dashmap does {value}, one mutex {against}: {ratio}.",
            of: pick("dashmap_6", "one_key", "ops_per_s"),
            against: Some(pick("one_lock", "one_key", "ops_per_s")),
            not_true_when: "the keys are asked for evenly: then its shards are worth their price",
        },
    ],
    not_said: &[
        "How often an exchange of dashmap, papaya or scc fails: they count nothing of the kind, and from outside it cannot be seen.",
        "Anything about large maps: 8,192 keys, half of them inside, so that the map is in the cache.",
        "Anything about a faster hasher, which would make the locks' share larger for all; about growing; about iterating.",
    ],
    next: &[
        "Why must the share of hits be constant? (a miss is cheaper than a hit: a map that slowly fills up is measured on another workload)",
        "What does a hot key need? (a copy for each thread, or one that readers need not lock: lab lockfree_snapshot)",
        "What happens to the others if a thread is stopped inside? (lab lockfree_progress)",
    ],
    sources: &[
        "jonhoo/bustle: mixes of operations on shared maps; its share of hits drifts with the threads",
        "xacrimon/dashmap#306: a benchmark with one key, another hasher, and drops in the timed part",
        "ibraheemdev/papaya, docs: readers without locks, hazard-era reclamation (seize)",
        "perfbook, chapter 10: one hot key turns a sharded table into a global lock",
    ],
    benches,
};

/// No contender is timed before it has shown that it does what its name says.
fn checked(cases: &[&str], params: &[&str], measure: impl FnOnce() -> Vec<Sample>) -> Vec<Sample> {
    gate::checked(
        &[
            check::<OneLock>,
            check::<OneRwLock>,
            check::<Sharded>,
            check::<DashMap>,
            check::<Papaya>,
            check::<Scc>,
        ],
        cases,
        params,
        measure,
    )
}

fn by_one(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn arm<M: Map>(place: usize) -> Solo {
        Solo { case: CASES[place], make: alone::<M> }
    }
    let arms = [
        arm::<OneLock>(0),
        arm::<OneRwLock>(1),
        arm::<Sharded>(2),
        arm::<DashMap>(3),
        arm::<Papaya>(4),
        arm::<Scc>(5),
    ];
    let plan = Plan { slice: plan.slice / 3, ..plan.clone() };
    checked(cases, params, || params.iter().flat_map(|p| cost::solo(&plan, p, &arms)).collect())
}

fn crowds(mix: Mix, deeds: &[Arc<Deeds>; 6]) -> [Crowd; 6] {
    [
        map_mix::crowd::<OneLock>(CASES[0], mix, &deeds[0]),
        map_mix::crowd::<OneRwLock>(CASES[1], mix, &deeds[1]),
        map_mix::crowd::<Sharded>(CASES[2], mix, &deeds[2]),
        map_mix::crowd::<DashMap>(CASES[3], mix, &deeds[3]),
        map_mix::crowd::<Papaya>(CASES[4], mix, &deeds[4]),
        map_mix::crowd::<Scc>(CASES[5], mix, &deeds[5]),
    ]
}

/// All maps at one mix, each row with what it hit and changed, or without a number if that was not what was said.
fn race(plan: &Plan, param: &str, mix: Mix) -> Vec<Sample> {
    let deeds: [Arc<Deeds>; 6] = Default::default();
    let plan = Plan { slice: plan.slice.mul_f64(0.35), ..plan.clone() };
    let judged = |row: Sample| {
        let own = if row.case == AA { CASES[0] } else { row.case.as_str() };
        let place = CASES.iter().position(|case| *case == own).expect("a case of this lab");
        match deeds[place].seen() {
            Some(seen) => seen.judge(row),
            None => row, // a smoke run: no lane did enough to be tallied
        }
    };
    throughput::crowd(&plan, param, 0.0, &crowds(mix, &deeds)).into_iter().map(judged).collect()
}

fn mixed(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let each = |p: &str| p.rsplit('_').next().and_then(|n| n.parse().ok()).expect("as in the step");
    let one = |p: &&str| race(plan, p, Mix { each_percent: each(p), skew: Skew::Zipf(0.99) });
    checked(cases, params, || params.iter().flat_map(one).collect())
}

fn skewed(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let skew = |p: &str| if p == "uniform" { Skew::Uniform } else { Skew::OneKey };
    let one = |p: &&str| race(plan, p, Mix { each_percent: 5, skew: skew(p) });
    checked(cases, params, || params.iter().flat_map(one).collect())
}

/// Each operation with a look at the clock.
fn looked_at(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    checked(cases, params, || {
        worst::at_times(
            plan,
            params,
            &crowds(Mix { each_percent: 5, skew: Skew::Zipf(0.99) }, &Default::default()),
        )
    })
}

fn weighed(_plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn of<M: Map>(place: usize) -> Weighed {
        (CASES[place], weigh::<M>, check::<M>)
    }
    let all = [
        of::<OneLock>(0),
        of::<OneRwLock>(1),
        of::<Sharded>(2),
        of::<DashMap>(3),
        of::<Papaya>(4),
        of::<Scc>(5),
    ];
    gate::weighed(&all, cases, params)
}

fn benches(plan: &Plan) -> Vec<Bench> {
    let mix = Mix { each_percent: 5, skew: Skew::Zipf(0.99) };
    let one = |i: usize| {
        let (plan, id) = (plan.clone(), format!("mix_90_5_5/{}", CASES[i]));
        Bench {
            id,
            make: Box::new(move || throughput::timed(&plan, 0.0, &crowds(mix, &Default::default())[i])),
        }
    };
    [0, 3, 4, 5].map(one).into()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

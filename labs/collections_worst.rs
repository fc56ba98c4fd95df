//! What does a resize cost the unlucky caller, and what can a caller with chosen keys do?
//!
//! Run it: `cargo run --release --bin collections_worst -- --step`
use std::{
    collections::{BTreeMap, HashMap, LinkedList, VecDeque},
    hash::RandomState,
};

use underhood::{
    contenders::{
        collections::{find, mixed},
        limiter_keyed::Foldhash,
    },
    experiments::flood::{Multiplied, compares_per_insert, crafted, honest},
    lab::{
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::Plan,
        sample::Sample,
    },
    measure::{
        cost,
        growth::{Growth, growth},
    },
};

pub(crate) static LAB: Lab = Lab {
    stem: "collections_worst",
    question: "What does a resize cost the unlucky caller, and what can a caller with chosen keys do?",
    steps: &[GROW, FLOOD],
    says: &[
        Say {
            step: "grow",
            text: "Growing a HashMap to 300,000 entries, the mean insertion takes {against} and the unlucky one {value}: {ratio}.",
            of: HASH_WORST,
            against: Some(pick("hash_siphash", "n_300k", "mean_ns")),
            not_true_when: "its capacity was reserved, or it is a map that grows bit by bit",
        },
        Say {
            step: "flood",
            text: "With a hasher without a secret, 10,000 chosen keys cost {value} comparisons for each insertion; with std's, {against}.",
            of: pick("multiply", "crafted", "compares_count"),
            against: Some(pick("siphash", "crafted", "compares_count")),
            not_true_when: "nobody chooses your keys",
        },
    ],
    not_said: &[
        "That a Vec never moves: here its block could be extended; `vec_moving` is one whose block can't.",
        "That foldhash withstands an attacker: it has a secret, but was not designed to keep it.",
        "That a rehash is a bug: the mean includes it. It is the wrong collection for a caller with a deadline.",
        "What a map with large values pays: a resize moves the values, too.",
    ],
    next: &[
        "Your service has a p99.9 that comes every few minutes and lasts 20 ms. How do you tell a rehash from a collector's pause?",
        "How would you build a map without the unlucky caller? (grow bit by bit: each insertion moves a few)",
        "What does reserve() do to memory, and when is it paid? (alloc_first_touch)",
        "Your parser builds a map of what a client sends. What do you check before you pick a fast hasher?",
        "Who waits while a map behind a lock is resized? (everybody: shard it, or reserve)",
    ],
    sources: &[
        "hashbrown (std's HashMap): SwissTable, a tag of seven bits per slot, full at 7/8; M. Kulukundis, CppCon 2017",
        "S. Crosby and D. Wallach, Denial of service via algorithmic complexity attacks, USENIX Security 2003",
        "J.-P. Aumasson and D. Bernstein, SipHash, 2012",
        "rustc-hash 1.1, FxHasher: the multiplier of `multiply`",
    ],
    benches,
};

const HASH_WORST: Pick = pick("hash_siphash", "n_300k", "worst_ns");

const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

const GROW: Step = Step {
    name: "grow",
    ask: "A HashMap grows to 300,000 entries, one insertion after the other. How long does the worst single insertion take, in ns?",
    predict: Predict::Number { case: "hash_siphash", param: "n_300k" },
    kind: Kind::Single,
    cases: &[
        "hash_siphash",
        "hash_foldhash",
        "hash_reserved",
        "vec",
        "vec_moving",
        "vec_deque",
        "btree",
        "list",
    ],
    params: &["n_300k"],
    launch: Launch::Isolated,
    measure: growing,
    headline: "worst_ns",
    columns: &["mean_ns", "worst_ratio", "worst_at_count", "first_max_ns"],
    claims: &[
        claim(
            "the unlucky insertion into a HashMap takes at least 10,000 times the mean",
            HASH_WORST,
            Some(pick("hash_siphash", "n_300k", "mean_ns")),
            AtLeast(10_000.0),
        ),
        claim(
            "it is the one that finds 7/8 of 2^18 slots used",
            pick("hash_siphash", "n_300k", "worst_at_count"),
            None,
            Between(229_376.0, 229_376.0),
        ),
        claim(
            "with its capacity reserved, the worst takes at most a tenth of that",
            pick("hash_reserved", "n_300k", "worst_ns"),
            Some(HASH_WORST),
            AtMost(0.1),
        ),
        claim(
            "a Vec that must move is gentler: a copy takes at most 0.6 of hashing everything anew",
            pick("vec_moving", "n_300k", "worst_ns"),
            Some(HASH_WORST),
            AtMost(0.6),
        ),
        claim(
            "a BTreeMap has no unlucky caller: its worst takes at most a hundredth of the HashMap's",
            pick("btree", "n_300k", "worst_ns"),
            Some(HASH_WORST),
            AtMost(0.01),
        ),
    ],
    because: "Amortised O(1) is a mean. A HashMap that is full allocates twice the table and hashes every entry into it, within the call of \
         whoever came last; the next ones are cheap again. A Vec has to move its content, too, but by a copy (`vec_moving`), and often not \
         even that: here the allocator could extend the block every time (`vec`). A tree splits a node or two. Every insertion's time is the \
         least of several repetitions, so an interruption doesn't count; `first_max_ns` is of the very first growth, which also pays for \
         fresh memory (alloc_first_touch) and is not protected from interruptions.",
    tour: false,
};

const FLOOD: Step = Step {
    name: "flood",
    ask: "A client sends 10,000 keys of its choice, and you put them into a HashMap with a fast hasher without a secret. How many keys is \
         each compared with, on average?",
    predict: Predict::Number { case: "multiply", param: "crafted" },
    launch: Launch::Together,
    columns: &[],
    kind: Kind::Count,
    cases: &["siphash", "foldhash", "multiply"],
    params: &["honest", "crafted"],
    measure: flooding,
    headline: "compares_count",
    claims: &[
        claim(
            "against a hasher without a secret, 10,000 chosen keys are all compared with each other: 4,999.5 comparisons for each insertion",
            pick("multiply", "crafted", "compares_count"),
            None,
            Between(4_999.0, 5_000.0),
        ),
        claim(
            "with honest keys the same hasher is as good as any: less than one comparison in five insertions",
            pick("multiply", "honest", "compares_count"),
            None,
            AtMost(0.2),
        ),
        claim(
            "std's hasher does not notice the chosen keys",
            pick("siphash", "crafted", "compares_count"),
            None,
            AtMost(0.2),
        ),
    ],
    because: "A multiplication by an odd number can be undone, so anybody can compute keys with any hash. Keys with equal hashes go to the same \
         place with the same tag, and the table compares each with all that came before: n^2 / 2. SipHash and foldhash mix in a random \
         secret, so the same keys land anywhere; the difference is that SipHash was designed to keep its secret against somebody who \
         watches, and foldhash for speed. See `crafted` in src/experiments/flood.rs.",
    tour: false,
};

fn each(cases: &[&str], params: &[&str], one: impl Fn(&str, &str) -> Sample) -> Vec<Sample> {
    params.iter().flat_map(|param| cases.iter().map(|case| one(case, param)).collect::<Vec<_>>()).collect()
}

type Sip = HashMap<u64, u64>;
type Fold = HashMap<u64, u64, Foldhash>;

/// Adds a pair to a Vec whose block can't be extended: when it is full, the pairs move to one of twice the size.
fn push_moving(vec: &mut Vec<(u64, u64)>, pair: (u64, u64)) {
    if vec.len() == vec.capacity() {
        let mut moved = Vec::with_capacity((2 * vec.len()).max(4));
        moved.append(vec);
        *vec = moved;
    }
    vec.push(pair);
}

fn growing(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let (n, repeats) = if plan.is_smoke() { (3_000, 1) } else { (300_000, 5) };
    let put = |map: &mut Sip, i| _ = map.insert(mixed(i), i);
    each(cases, params, |case, param| {
        let Growth { mean_ns, worst_ns, worst_at, first_ns } = match case {
            "vec" => growth(n, repeats, Vec::new, |vec, i| vec.push((i, i))),
            "vec_moving" => growth(n, repeats, Vec::new, |vec, i| push_moving(vec, (i, i))),
            "vec_deque" => growth(n, repeats, VecDeque::new, |deque, i| deque.push_back((i, i))),
            "hash_siphash" => growth(n, repeats, Sip::new, put),
            "hash_foldhash" => growth(n, repeats, Fold::default, |map, i| _ = map.insert(mixed(i), i)),
            "hash_reserved" => growth(n, repeats, || Sip::with_capacity(n), put),
            "btree" => growth(n, repeats, BTreeMap::new, |tree, i| _ = tree.insert(mixed(i), i)),
            _ => growth(n, repeats, LinkedList::new, |list, i| list.push_back((i, i))),
        };
        Sample::new(case, param)
            .with("mean_ns", mean_ns)
            .with("worst_ns", worst_ns)
            .with("worst_ratio", worst_ns / mean_ns)
            .with("worst_at_count", worst_at as f64)
            .with("first_max_ns", first_ns)
    })
}

fn flooding(_: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    const KEYS: usize = 10_000;
    each(cases, params, |case, param| {
        let keys = if param == "crafted" { crafted(KEYS) } else { honest(KEYS) };
        let compares = match case {
            "siphash" => compares_per_insert::<RandomState>(&keys),
            "foldhash" => compares_per_insert::<Foldhash>(&keys),
            _ => compares_per_insert::<Multiplied>(&keys),
        };
        Sample::new(case, param).with("compares_count", compares)
    })
}

fn benches(_: &Plan) -> Vec<Bench> {
    let arms = [find::<Sip, 1_000>(), find::<Fold, 1_000>()];
    let bench = |arm: cost::Solo| Bench {
        id: format!("find_1k/{}", arm.case),
        make: Box::new(move || cost::timed(arm.make)),
    };
    arms.map(bench).into()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

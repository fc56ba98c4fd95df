//! When does the better big-O lose?
//!
//! Run it: `cargo run --release --bin collections_cost -- --step`
use std::collections::{BTreeMap, HashMap};

use underhood::{
    contenders::{
        collections::{Scan, Sorted, check, check_walks, fifos, find, replace, walks},
        limiter_keyed::Foldhash,
        list::List,
    },
    lab::{
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::Plan,
        sample::Sample,
    },
    measure::cost::{self, Solo},
};

pub(crate) static LAB: Lab = Lab {
    stem: "collections_cost",
    question: "When does the better big-O lose?",
    steps: &[SMALL, LARGE, REPLACE, WALK, FIFO],
    says: &[
        Say {
            step: "small",
            text: "Among 16 entries a scan of a Vec finds a key in {value}; std's HashMap takes {against}: {ratio}.",
            of: SCAN_16,
            against: Some(SIP_16),
            not_true_when: "there are a few hundred entries, keys are long (a scan compares them), or the hasher is a fast one",
        },
        Say {
            step: "walk",
            text: "To walk 65,536 values costs {against} each in a Vec and {value} in a linked list whose nodes lie about: {ratio}.",
            of: SHUFFLED,
            against: Some(VEC_WALK),
            not_true_when: "the nodes were allocated in order and nothing happened since, or all of it fits the first-level cache",
        },
    ],
    not_said: &[
        "That a Vec is faster than a HashMap: at 16 entries, with keys of 8 bytes that are there.",
        "That a linked list is useless: it never moves what is in it, and takes out a node it was given in O(1).",
        "Anything about misses, long keys, or values that are large: a sorted Vec moves its values, a tree its nodes.",
    ],
    next: &[
        "Why is a B-tree a better tree for memory than a red-black tree?",
        "Your map has 20 entries and is read a million times per second. What do you take, and what would change your mind?",
        "When is a linked list right? (nodes that must not move; removal by a pointer that you hold)",
        "What changes when the keys are strings? (a scan compares them, a hash reads them all)",
    ],
    sources: &[
        "hashbrown (std's HashMap): SwissTable, a tag of seven bits per slot, full at 7/8; M. Kulukundis, CppCon 2017",
        "Rust std, alloc::collections::btree: nodes of up to 11 keys",
        "B. Stroustrup, GoingNative 2012, on lists and vectors",
    ],
    benches,
};

const SCAN_16: Pick = pick("vec_scan", "n_16", "op_ns");
const SIP_16: Pick = pick("hash_siphash", "n_16", "op_ns");
const SHUFFLED: Pick = pick("list_shuffled", "n_64k", "element_ns");
const VEC_WALK: Pick = pick("vec", "n_64k", "element_ns");

const fn claim(text: &'static str, of: Pick, against: Option<Pick>, expect: Expect) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

const fn step(name: &'static str, ask: &'static str, predict: Predict, because: &'static str) -> Step {
    Step {
        name,
        ask,
        predict,
        kind: Kind::Single,
        cases: &[],
        params: &[],
        launch: Launch::Together,
        measure: small,
        headline: "op_ns",
        columns: &[],
        claims: &[],
        because,
        tour: false,
    }
}

const SMALL: Step = Step {
    cases: &["hash_siphash", "hash_foldhash", "btree", "sorted_vec", "vec_scan", "list"],
    // The last is also the first of `large`: the same code on the same data, so two tables that differ there differ by the state of the machine.
    params: &["n_16", "n_64", "n_256", "n_1k"],
    claims: &[
        claim("among 16, a scan takes at most as long as std's HashMap", SCAN_16, Some(SIP_16), AtMost(1.0)),
        claim(
            "among 256, it takes at least twice as long",
            pick("vec_scan", "n_256", "op_ns"),
            Some(pick("hash_siphash", "n_256", "op_ns")),
            AtLeast(2.0),
        ),
        claim(
            "most of a lookup in a small HashMap is the hash: with a fast one it takes at most 0.6 of the time",
            pick("hash_foldhash", "n_16", "op_ns"),
            Some(SIP_16),
            AtMost(0.6),
        ),
    ],
    tour: true,
    ..step(
        "small",
        "16 pairs of numbers, and you look up random keys that are there. Which collection is fastest?",
        Predict::Best { param: "n_16" },
        "Big-O counts steps, not what a step costs. A scan's steps are side by side in memory and need no decision that the processor \
         can't foresee, except the last; SipHash is some twenty rounds of arithmetic, each waiting for the one before, ahead of the first look. So the constant wins while n is small, and \
         the table says how small. The list scans, too, but each step waits for the one before.",
    )
};

const LARGE: Step = Step {
    cases: &["hash_siphash", "hash_foldhash", "btree", "sorted_vec"],
    params: &["n_1k", "n_64k", "n_1m"],
    measure: large,
    claims: &[
        claim(
            "among a million, a HashMap finds a key in at most half the time of a BTreeMap",
            pick("hash_siphash", "n_1m", "op_ns"),
            Some(pick("btree", "n_1m", "op_ns")),
            AtMost(0.5),
        ),
        claim(
            "O(1) is not constant: a lookup among a million takes at least twice as long as among a thousand",
            pick("hash_foldhash", "n_1m", "op_ns"),
            Some(pick("hash_foldhash", "n_1k", "op_ns")),
            AtLeast(2.0),
        ),
    ],
    ..step(
        "large",
        "A million pairs: how long does std's HashMap take to find a random key, in ns?",
        Predict::Number { case: "hash_siphash", param: "n_1m" },
        "A hash table looks at one or two cache lines, wherever they are: its cost is the cache's, and rises as the table leaves the \
         first, the second and the last level. A tree or a binary search takes a line for each of its upper levels, and those that many \
         searches share stay cached. A B-tree's node holds up to 11 keys, so it takes a third of the steps of a binary search.",
    )
};

const REPLACE: Step = Step {
    cases: &["btree", "sorted_vec", "hash_siphash", "list"],
    params: &["n_16", "n_64", "n_256", "n_4k"],
    measure: replacing,
    claims: &[
        claim(
            "among 16, a sorted Vec, which moves half of its pairs for each change, takes at most 0.9 of a BTreeMap",
            pick("sorted_vec", "n_16", "op_ns"),
            Some(pick("btree", "n_16", "op_ns")),
            AtMost(0.9),
        ),
        claim(
            "among 4,096, moving costs at least twice the tree's rebalancing",
            pick("sorted_vec", "n_4k", "op_ns"),
            Some(pick("btree", "n_4k", "op_ns")),
            AtLeast(2.0),
        ),
        claim(
            "a list, whose insertion is O(1), is slowest: at least 3 times the tree among 4,096",
            pick("list", "n_4k", "op_ns"),
            Some(pick("btree", "n_4k", "op_ns")),
            AtLeast(3.0),
        ),
    ],
    ..step(
        "replace",
        "256 pairs: remove a random key, insert a new one, again and again. Which is fastest?",
        Predict::Best { param: "n_256" },
        "Moving 2 KiB is one memmove and finding the place in a sorted Vec a few well-cached steps. O(n) with a constant of a hundredth of \
         a ns per byte keeps up with O(log n), where each step may be a cache miss and a mispredicted branch, until n is in the hundreds; \
         then it loses, and at 4,096 by far. The HashMap needs no order and pays for none. A list inserts in O(1) once it stands at the \
         place, and walks there in O(n).",
    )
};

const WALK: Step = Step {
    cases: &["vec", "vec_deque", "btree", "hash", "list_std", "list_in_order", "list_shuffled"],
    params: &["n_1k", "n_64k"],
    measure: walking,
    headline: "element_ns",
    claims: &[
        claim(
            "a linked list whose nodes lie about costs at least 10 times a Vec for each value",
            SHUFFLED,
            Some(VEC_WALK),
            AtLeast(10.0),
        ),
        claim(
            "it is not the pointers but where they point: in order, the same list costs at most half",
            pick("list_in_order", "n_64k", "element_ns"),
            Some(SHUFFLED),
            AtMost(0.5),
        ),
    ],
    ..step(
        "walk",
        "65,536 numbers to add up. How many times as long does a linked list take as a Vec, for each value, in ns?",
        Predict::Number { case: "list_shuffled", param: "n_64k" },
        "A Vec's next value is where everybody knows, so the processor fetches ahead and adds several at once. A list's next value is known \
         when this one has arrived: each step waits for memory. Nodes in order share cache lines and are fetched ahead, too; nodes that \
         lie about (as they do after some time) are a miss each. All of them are O(n).",
    )
};

const FIFO: Step = Step {
    cases: &["vec_deque", "vec", "list"],
    params: &["n_8", "n_64", "n_1k"],
    measure: queueing,
    claims: &[
        claim(
            "with a thousand waiting, a Vec as a queue costs at least 10 times a VecDeque",
            pick("vec", "n_1k", "op_ns"),
            Some(pick("vec_deque", "n_1k", "op_ns")),
            AtLeast(10.0),
        ),
        claim(
            "a linked list, a textbook queue, costs at least 3 times a VecDeque: it asks the allocator twice",
            pick("list", "n_1k", "op_ns"),
            Some(pick("vec_deque", "n_1k", "op_ns")),
            AtLeast(3.0),
        ),
    ],
    ..step(
        "fifo",
        "A queue with 1,000 waiting: one comes, one goes. How long does it take with Vec::push and Vec::remove(0), in ns?",
        Predict::Number { case: "vec", param: "n_1k" },
        "remove(0) moves all the others down by one: 8 KiB for a thousand numbers. A ring moves its ends instead. The list moves nothing, \
         and pays the allocator for each node, coming and going.",
    )
};

/// Paired blocks need little time: a quarter of the slice.
fn thrifty(plan: &Plan) -> Plan {
    Plan { slice: plan.slice / 4, ..plan.clone() }
}

fn each(cases: &[&str], params: &[&str], one: impl Fn(&str, &str) -> Sample) -> Vec<Sample> {
    params.iter().flat_map(|param| cases.iter().map(|case| one(case, param)).collect::<Vec<_>>()).collect()
}

/// Measures the arms of each parameter, paired. No contender is timed before it has shown that it does what its name says.
fn alone(plan: &Plan, cases: &[&str], params: &[&str], arms: impl Fn(&str) -> Vec<Solo>) -> Vec<Sample> {
    let checks = [
        check::<HashMap<u64, u64>>,
        check::<HashMap<u64, u64, Foldhash>>,
        check::<BTreeMap<u64, u64>>,
        check::<Sorted>,
        check::<Scan>,
        check::<List>,
        check_walks,
    ];
    match checks.iter().try_for_each(|check| check()) {
        Ok(()) => params.iter().flat_map(|param| cost::solo(&thrifty(plan), param, &arms(param))).collect(),
        Err(why) => each(cases, params, |case, param| Sample::unmeasured(case, param, &why)),
    }
}

type Sip = HashMap<u64, u64>;
type Fold = HashMap<u64, u64, Foldhash>;
type Tree = BTreeMap<u64, u64>;

fn small(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    alone(plan, cases, params, |param| match param {
        "n_16" => finds::<16>(),
        "n_64" => finds::<64>(),
        "n_256" => finds::<256>(),
        _ => finds::<1_000>(),
    })
}

fn finds<const N: usize>() -> Vec<Solo> {
    vec![
        find::<Sip, N>(),
        find::<Fold, N>(),
        find::<Tree, N>(),
        find::<Sorted, N>(),
        find::<Scan, N>(),
        find::<List, N>(),
    ]
}

fn large(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn finds<const N: usize>() -> Vec<Solo> {
        vec![find::<Sip, N>(), find::<Fold, N>(), find::<Tree, N>(), find::<Sorted, N>()]
    }
    alone(plan, cases, params, |param| match param {
        "n_1k" => finds::<1_000>(),
        "n_64k" => finds::<65_536>(),
        _ if plan.is_smoke() => finds::<1_000>(),
        _ => finds::<1_000_000>(),
    })
}

fn replacing(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    fn replaces<const N: usize>() -> Vec<Solo> {
        vec![replace::<Tree, N>(), replace::<Sorted, N>(), replace::<Sip, N>(), replace::<List, N>()]
    }
    alone(plan, cases, params, |param| match param {
        "n_16" => replaces::<16>(),
        "n_64" => replaces::<64>(),
        "n_256" => replaces::<256>(),
        _ => replaces::<4_096>(),
    })
}

fn walking(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let count = |param: &str| if param == "n_1k" { 1_000.0 } else { 65_536.0 };
    let walks = alone(plan, cases, params, |param| match param {
        "n_1k" => walks::<1_000>().into(),
        _ => walks::<65_536>().into(),
    });
    let with_element = |s: Sample| match s.values.get("op_ns").copied() {
        Some(ns) => {
            let element_ns = ns / count(&s.param);
            s.with("element_ns", element_ns)
        }
        None => s,
    };
    walks.into_iter().map(with_element).collect()
}

fn queueing(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    alone(plan, cases, params, |param| match param {
        "n_8" => fifos::<8>().into(),
        "n_64" => fifos::<64>().into(),
        _ => fifos::<1_000>().into(),
    })
}

fn benches(_: &Plan) -> Vec<Bench> {
    let bench = |group: &str, arm: Solo| {
        let make = arm.make;
        Bench { id: format!("{group}/{}", arm.case), make: Box::new(move || cost::timed(make)) }
    };
    let find = finds::<16>().into_iter().map(move |arm| bench("find_16", arm));
    let walk = walks::<1_000>().into_iter().map(move |arm| bench("walk_1k", arm));
    find.chain(walk).chain(fifos::<64>().into_iter().map(move |arm| bench("fifo_64", arm))).collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

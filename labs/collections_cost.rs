//! When does the better big-O lose?
//!
//! Run it: `cargo run --release --bin collections_cost -- --step`
use underhood::{
    contenders::collections::{
        BTREE, Collection, FIFOS, HASH_FOLDHASH, HASH_SIPHASH, LIST, SORTED_VEC, Size, VEC_SCAN, WALKS,
    },
    lab::{
        Evidence, Kind, Lab, Step, at, at_least, at_most, between, count, ratio, sample::Sample, shown_by,
        source,
    },
    measure::cost,
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("collections_cost", "When does the better big-O lose?")
        .step(small())
        .step(large())
        .step(replace())
        .step(walk())
        .step(fifo())
        .say(
            "small",
            "Among 16 entries a scan of a Vec finds a key in {value}; std's HashMap takes {against}: {ratio}.",
            ratio(("vec_scan", "n_16"), ("hash_siphash", "n_16")),
            "there are a few hundred entries, keys are long (a scan compares them), or the hasher is a fast one",
        )
        .say(
            "walk",
            "To walk 65,536 values costs {against} each in a Vec and {value} in a linked list whose nodes lie about: {ratio}.",
            ratio(("list_shuffled", "n_64k"), ("vec", "n_64k")),
            "the nodes were allocated in order and nothing happened since, or all of it fits the first-level cache",
        )
        .not_said(&[
        "That a Vec is faster than a HashMap: at 16 entries, with keys of 8 bytes that are there.",
        "That a linked list is useless: it never moves what is in it, and takes out a node it was given in O(1).",
        "Anything about misses, long keys, or values that are large: a sorted Vec moves its values, a tree its nodes.",
    ])
        .next(&[
        "Why is a B-tree a better tree for memory than a red-black tree?",
        "Your map has 20 entries and is read a million times per second. What do you take, and what would change your mind?",
        "When is a linked list right? (nodes that must not move; removal by a pointer that you hold)",
        "What changes when the keys are strings? (a scan compares them, a hash reads them all)",
    ])
        .sources(&[
        "hashbrown (std's HashMap): SwissTable, a tag of seven bits per slot, full at 7/8; M. Kulukundis, CppCon 2017",
        "Rust std, alloc::collections::btree: nodes of up to 11 keys",
        "B. Stroustrup, GoingNative 2012, on lists and vectors",
    ])
}

/// Why three of the steps say nothing for now.
const KEYS_REPEAT: &str = "the keys repeat every 4,096 look-ups and the branch predictor learns them: with more keys the order changes";

/// Paired blocks need little time: a quarter of the slice.
fn step(name: &'static str, headline: &'static str) -> Step {
    Step::new(name, Kind::Single, headline).slice(0.25)
}

fn small() -> Step {
    const MAPS: [&Collection; 6] = [&HASH_SIPHASH, &HASH_FOLDHASH, &BTREE, &SORTED_VEC, &VEC_SCAN, &LIST];
    // The last is also the first of `large`: the same code on the same data, so two tables that differ there differ by the state of the
    // machine.
    let sizes = [count("n_16", 16), count("n_64", 64), count("n_256", 256), count("n_1k", 1_000)];
    step("small", "op_ns")
        .withdrawn(KEYS_REPEAT)
        .ask_best(
            "16 pairs of numbers, and you look up random keys that are there. Which collection is fastest?",
            "n_16",
        )
        .contenders(MAPS)
        .over(sizes, |plan, n| cost::solo(plan, n.id(), MAPS.map(|map| map.find(n.value))))
        .bench("find_16/{case}", MAPS, |_, map| cost::timed(&map.find(16)))
        .claim(
            at_most(1.0, ratio(("vec_scan", "n_16"), ("hash_siphash", "n_16"))),
            "among 16, a scan takes at most as long as std's HashMap",
        )
        .claim(
            at_least(2.0, ratio(("vec_scan", "n_256"), ("hash_siphash", "n_256"))),
            "among 256, it takes at least twice as long",
        )
        .claim(
            at_most(0.6, ratio(("hash_foldhash", "n_16"), ("hash_siphash", "n_16"))),
            "most of a lookup in a small HashMap is the hash: with a fast one it takes at most 0.6 of the time",
        )
        .because("Big-O counts steps, not what a step costs.", Evidence::None)
        .because(
            "A scan's steps are side by side in memory and need no decision that the processor can't foresee, except the last.",
            Evidence::None,
        )
        .because(
            "SipHash is some twenty rounds of arithmetic, each waiting for the one before, ahead of the first look.",
            shown_by(at_most(0.6, ratio(("hash_foldhash", "n_64"), ("hash_siphash", "n_64")))),
        )
        .because(
            "So the constant wins while n is small, and the table says how small.",
            shown_by(at_least(2.0, ratio(("vec_scan", "n_1k"), ("hash_siphash", "n_1k")))),
        )
        .because(
            "The list scans, too, but each step waits for the one before.",
            shown_by(at_least(1.5, ratio(("list", "n_256"), ("vec_scan", "n_256")))),
        )
        .in_tour()
}

fn large() -> Step {
    const MAPS: [&Collection; 4] = [&HASH_SIPHASH, &HASH_FOLDHASH, &BTREE, &SORTED_VEC];
    const MILLION: usize = 1_000_000;
    let sizes = [count("n_1k", 1_000), count("n_64k", 65_536), count("n_1m", MILLION)];
    step("large", "op_ns")
        .withdrawn(KEYS_REPEAT)
        .ask_number(
            "A million pairs: how long does std's HashMap take to find a random key, in ns?",
            "hash_siphash",
            "n_1m",
        )
        .contenders(MAPS)
        .over(sizes, |plan, n| {
            let among = if plan.is_smoke() && n.value == MILLION { 1_000 } else { n.value };
            cost::solo(plan, n.id(), MAPS.map(|map| map.find(among)))
        })
        .claim(
            at_most(0.5, ratio(("hash_siphash", "n_1m"), ("btree", "n_1m"))),
            "among a million, a HashMap finds a key in at most half the time of a BTreeMap",
        )
        .claim(
            at_least(2.0, ratio(("hash_foldhash", "n_1m"), ("hash_foldhash", "n_1k"))),
            "O(1) is not constant: a lookup among a million takes at least twice as long as among a thousand",
        )
        .because(
            "A hash table looks at one or two cache lines, wherever they are. Its cost is the cache's, and rises as the table leaves the \
             first, the second and the last level.",
            shown_by(at_least(2.0, ratio(("hash_siphash", "n_1m"), ("hash_siphash", "n_1k")))),
        )
        .because(
            "A tree or a binary search takes a line for each of its upper levels, and those that many searches share stay cached.",
            Evidence::None,
        )
        .because(
            "A B-tree's node holds up to 11 keys, so it takes a third of the steps of a binary search.",
            source("Rust std, alloc::collections::btree: nodes of up to 11 keys"),
        )
}

fn replace() -> Step {
    const MAPS: [&Collection; 4] = [&BTREE, &SORTED_VEC, &HASH_SIPHASH, &LIST];
    let sizes =
        [at("n_16", Size::N16), at("n_64", Size::N64), at("n_256", Size::N256), at("n_4k", Size::N4096)];
    step("replace", "op_ns")
        .withdrawn(KEYS_REPEAT)
        .ask_best("256 pairs: remove a random key, insert a new one, again and again. Which is fastest?", "n_256")
        .contenders(MAPS)
        .over(sizes, |plan, n| cost::solo(plan, n.id(), MAPS.map(|map| map.replace(n.value))))
        .claim(
            at_most(0.9, ratio(("sorted_vec", "n_16"), ("btree", "n_16"))),
            "among 16, a sorted Vec, which moves half of its pairs for each change, takes at most 0.9 of a BTreeMap",
        )
        .claim(
            at_least(2.0, ratio(("sorted_vec", "n_4k"), ("btree", "n_4k"))),
            "among 4,096, moving costs at least twice the tree's rebalancing",
        )
        .claim(
            at_least(3.0, ratio(("list", "n_4k"), ("btree", "n_4k"))),
            "a list, whose insertion is O(1), is slowest: at least 3 times the tree among 4,096",
        )
        .because(
            "Moving 2 KiB is one memmove, and finding the place in a sorted Vec a few well-cached steps.",
            Evidence::None,
        )
        .because(
            "O(n) with a constant of a hundredth of a ns per byte keeps up with O(log n) until n is in the hundreds. Each step of \
             O(log n) may be a cache miss and a mispredicted branch.",
            shown_by(at_most(1.3, ratio(("sorted_vec", "n_256"), ("btree", "n_256")))),
        )
        .because(
            "Then it loses, and at 4,096 by far.",
            shown_by(at_least(2.0, ratio(("sorted_vec", "n_4k"), ("btree", "n_4k")))),
        )
        .because(
            "The HashMap needs no order and pays for none.",
            shown_by(at_most(0.8, ratio(("hash_siphash", "n_256"), ("btree", "n_256")))),
        )
        .because(
            "A list inserts in O(1) once it stands at the place, and walks there in O(n).",
            shown_by(at_least(8.0, ratio(("list", "n_4k"), ("list", "n_256")))),
        )
}

fn walk() -> Step {
    step("walk", "element_ns")
        .ask_number(
            "65,536 numbers to add up. How many times as long does a linked list take as a Vec, for each value, in ns?",
            "list_shuffled",
            "n_64k",
        )
        .contenders(&WALKS)
        .over([count("n_1k", 1_000), count("n_64k", 65_536)], |plan, n| {
            let with_element = |s: Sample| match s.values.get("op_ns").copied() {
                Some(ns) => s.with("element_ns", ns / n.value as f64),
                None => s,
            };
            let walks = cost::solo(plan, n.id(), WALKS.iter().map(|walk| walk.of(n.value)));
            walks.into_iter().map(with_element).collect()
        })
        .bench("walk_1k/{case}", &WALKS, |_, walk| cost::timed(&walk.of(1_000)))
        .claim(
            at_least(10.0, ratio(("list_shuffled", "n_64k"), ("vec", "n_64k"))),
            "a linked list whose nodes lie about costs at least 10 times a Vec for each value",
        )
        .claim(
            at_most(0.5, ratio(("list_in_order", "n_64k"), ("list_shuffled", "n_64k"))),
            "it is not the pointers but where they point: in order, the same list costs at most half",
        )
        .because(
            "A Vec's next value is where everybody knows, so the processor fetches ahead and adds several at once.",
            shown_by(at_most(0.2, ratio(("vec", "n_64k"), ("list_in_order", "n_64k")))),
        )
        .because(
            "A list's next value is known when this one has arrived: each step waits for memory.",
            shown_by(at_least(5.0, ratio(("list_std", "n_1k"), ("vec", "n_1k")))),
        )
        .because(
            "Nodes in order share cache lines and are fetched ahead, too. Nodes that lie about (as they do after some time) are a miss \
             each.",
            shown_by(at_least(2.0, ratio(("list_shuffled", "n_64k"), ("list_shuffled", "n_1k")))),
        )
        .because("All of them are O(n).", Evidence::None)
}

fn fifo() -> Step {
    step("fifo", "op_ns")
        .ask_number(
            "A queue with 1,000 waiting: one comes, one goes. How long does it take with Vec::push and Vec::remove(0), in ns?",
            "vec",
            "n_1k",
        )
        .contenders(&FIFOS)
        .over([count("n_8", 8), count("n_64", 64), count("n_1k", 1_000)], |plan, n| {
            cost::solo(plan, n.id(), FIFOS.iter().map(|fifo| fifo.of(n.value)))
        })
        .bench("fifo_64/{case}", &FIFOS, |_, fifo| cost::timed(&fifo.of(64)))
        .claim(
            at_least(10.0, ratio(("vec", "n_1k"), ("vec_deque", "n_1k"))),
            "with a thousand waiting, a Vec as a queue costs at least 10 times a VecDeque",
        )
        .claim(
            at_least(3.0, ratio(("list", "n_1k"), ("vec_deque", "n_1k"))),
            "a linked list, a textbook queue, costs at least 3 times a VecDeque: it asks the allocator twice",
        )
        .because(
            "remove(0) moves all the others down by one: 8 KiB for a thousand numbers.",
            shown_by(at_least(3.0, ratio(("vec", "n_1k"), ("vec", "n_64")))),
        )
        .because("A ring moves its ends instead.", Evidence::None)
        .because(
            "The list moves nothing, and pays the allocator for each node, coming and going.",
            shown_by(between(0.8, 1.25, ratio(("list", "n_1k"), ("list", "n_8")))),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

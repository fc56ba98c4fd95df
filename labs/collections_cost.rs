//! When does the better big-O lose?
//!
//! Run it: `cargo run --release --bin collections_cost -- --step`
use underhood::{
    contenders::collections::{
        BTREE, Collection, DRAW, FIFOS, HASH_FOLDHASH, HASH_SIPHASH, LIST, SORTED_VEC, Size, VEC_SCAN, WALKS,
    },
    lab::{Kind, Lab, Step, at, at_least, at_most, between, count, ratio, sample::Sample, shown_by, source},
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
            "Among 16 entries, std's HashMap finds a random key in {value}. With a fast hasher (foldhash) it takes {against}. So most of \
             the time goes into the hash.",
            ratio(("hash_siphash", "n_16"), ("hash_foldhash", "n_16")),
            "the table is larger than the caches. Among a million entries a fast hasher saves about the same share of the time, \
             but far more time than a hash takes",
        )
        .say(
            "walk",
            "Adding up 65,536 values takes {against} for each value in a Vec. In a linked list whose nodes are scattered in memory it \
             takes {value}: {ratio}.",
            ratio(("list_shuffled", "n_64k"), ("vec", "n_64k")),
            "the nodes were allocated in order and the list has not changed since, or the whole list fits into the first-level cache",
        )
        .not_said(&[
        "Anything about keys that repeat: the branch predictor learns a short sequence of keys, and a scan is then much faster.",
        "That a linked list is useless: it never moves its elements, and it removes a node that you hold in O(1).",
        "Anything about keys that are not there, long keys or large values: a sorted Vec moves its values, a tree the content of its \
         nodes.",
    ])
        .next(&[
        "Why is a B-tree a better tree for memory than a red-black tree?",
        "Your map has 20 entries and is read a million times per second. Which collection do you take, and what would change your mind?",
        "When is a linked list right? (nodes that must not move; removal by a pointer that you hold)",
        "What changes when the keys are strings? (a scan compares them, a hash reads all of their bytes)",
    ])
        .sources(&[
        "hashbrown (std's HashMap): SwissTable, a tag of seven bits per slot, full at 7/8; M. Kulukundis, CppCon 2017",
        "Rust std, alloc::collections::btree: nodes of up to 11 keys",
        "B. Stroustrup, GoingNative 2012, on lists and vectors",
    ])
}

/// Blocks that are compared in pairs need little time: a quarter of the slice.
fn step(name: &'static str, headline: &'static str) -> Step {
    Step::new(name, Kind::Single, headline).slice(0.25)
}

fn small() -> Step {
    const MAPS: [&Collection; 7] =
        [&HASH_SIPHASH, &HASH_FOLDHASH, &BTREE, &SORTED_VEC, &VEC_SCAN, &LIST, &DRAW];
    // The last size is also the first of `large`: the same code on the same data. If the two tables differ there, the machine was in
    // another state.
    let sizes = [count("n_16", 16), count("n_64", 64), count("n_256", 256), count("n_1k", 1_000)];
    step("small", "op_ns")
        .ask_best(
            "A collection holds 16 pairs of numbers. You look up random keys, and all of them are there. Which collection is fastest?",
            "n_16",
        )
        .contenders(MAPS)
        .over(sizes, |plan, n| cost::solo(plan, n.id(), MAPS.map(|map| map.find(n.value))))
        .bench("find_16/{case}", MAPS, |_, map| cost::timed(&map.find(16)))
        .claim(
            at_least(1.5, ratio(("vec_scan", "n_16"), ("hash_foldhash", "n_16"))),
            "among 16 entries, a scan takes at least 1.5 times as long as a HashMap with a fast hasher",
        )
        .claim(
            at_least(2.0, ratio(("vec_scan", "n_256"), ("hash_siphash", "n_256"))),
            "among 256 entries, a scan takes at least twice as long as std's HashMap",
        )
        .claim(
            at_most(0.6, ratio(("hash_foldhash", "n_16"), ("hash_siphash", "n_16"))),
            "most of a lookup in a small HashMap is the hash: with a fast hasher the lookup takes at most 0.6 of the time",
        )
        .because(
            "Big-O counts steps and not the cost of a step. The steps of a scan are cheap. But a scan ends at a random place, so the \
             processor mispredicts about one branch in each lookup.",
            source("contenders/collections.rs, `drawn`: the keys do not repeat, so the end can't be learnt"),
        )
        .because(
            "std's HashMap must compute SipHash before it looks into the table. With a fast hasher the same table takes at most 0.6 of the \
             time.",
            shown_by(at_most(0.6, ratio(("hash_foldhash", "n_64"), ("hash_siphash", "n_64")))),
        )
        .because(
            "So a scan is slower than the HashMap already at a small size. The table shows from which size on.",
            shown_by(at_least(2.0, ratio(("vec_scan", "n_1k"), ("hash_siphash", "n_1k")))),
        )
        .because(
            "Every row includes the time to draw the random key. The row \"the key alone, no look-up\" shows how long that takes.",
            shown_by(at_most(0.7, ratio(("draw", "n_16"), ("hash_foldhash", "n_16")))),
        )
        .because(
            "A linked list is scanned, too, but each step must wait for the one before.",
            shown_by(at_least(1.5, ratio(("list", "n_256"), ("vec_scan", "n_256")))),
        )
        .in_tour()
}

fn large() -> Step {
    static MAPS: [&Collection; 5] = [&HASH_SIPHASH, &HASH_FOLDHASH, &BTREE, &SORTED_VEC, &DRAW];
    const MILLION: usize = 1_000_000;
    let sizes = [count("n_1k", 1_000), count("n_64k", 65_536), count("n_1m", MILLION)];
    step("large", "op_ns")
        .ask_number(
            "A million pairs: how long does std's HashMap take to find a random key, in ns?",
            "hash_siphash",
            "n_1m",
        )
        // A process for each: beside one another they would share the caches.
        .isolated(&MAPS, sizes, |plan, map, n| {
            let among = if plan.is_smoke() && n.value == MILLION { 1_000 } else { n.value };
            Ok(cost::solo(plan, n.id(), [map.find(among)]).swap_remove(0))
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
            "A lookup in a hash table reads one or two cache lines at random places. So its time rises as the table outgrows the \
             first-level, the second-level and the last-level cache.",
            shown_by(at_least(2.0, ratio(("hash_siphash", "n_1m"), ("hash_siphash", "n_1k")))),
        )
        .because(
            "A tree or a binary search reads at least one cache line for each level. From a thousand to a million entries, the number of \
             levels only doubles. But the time rises far more: the lower levels no longer fit into the near caches.",
            shown_by(at_least(5.0, ratio(("btree", "n_1m"), ("btree", "n_1k")))),
        )
        .because(
            "A node of a B-tree holds up to 11 keys. So a search in the tree takes a third of the steps of a binary search.",
            source("Rust std, alloc::collections::btree: nodes of up to 11 keys"),
        )
}

fn replace() -> Step {
    const MAPS: [&Collection; 4] = [&BTREE, &SORTED_VEC, &HASH_SIPHASH, &LIST];
    let sizes =
        [at("n_16", Size::N16), at("n_64", Size::N64), at("n_256", Size::N256), at("n_4k", Size::N4096)];
    step("replace", "op_ns")
        .ask_best(
            "A collection holds 256 pairs. You remove a random key and insert a new one, again and again. Which collection is fastest?",
            "n_256",
        )
        .contenders(MAPS)
        .over(sizes, |plan, n| cost::solo(plan, n.id(), MAPS.map(|map| map.replace(n.value))))
        .claim(
            at_most(0.9, ratio(("sorted_vec", "n_16"), ("btree", "n_16"))),
            "among 16, a sorted Vec takes at most 0.9 of a BTreeMap's time, though each change moves half of its pairs",
        )
        .claim(
            at_least(2.0, ratio(("sorted_vec", "n_4k"), ("btree", "n_4k"))),
            "among 4,096, moving the pairs of a sorted Vec takes at least twice as long as the tree's rebalancing",
        )
        .claim(
            at_least(3.0, ratio(("list", "n_4k"), ("btree", "n_4k"))),
            "among 4,096, a linked list is slowest, though its insertion is O(1): it takes at least 3 times as long as the tree",
        )
        .because(
            "In a sorted Vec, finding the place takes a few steps in memory that is in the cache. Moving 2 KiB is one memmove.",
            source("`Sorted` in src/contenders/collections.rs"),
        )
        .because(
            "Moving is O(n), but costs only a hundredth of a ns per byte. So it keeps up with O(log n) until n is in the hundreds. Each of \
             the O(log n) steps may be a cache miss and a mispredicted branch.",
            shown_by(at_most(1.3, ratio(("sorted_vec", "n_256"), ("btree", "n_256")))),
        )
        .because(
            "With more pairs the sorted Vec is slower than the tree, and at 4,096 by far.",
            shown_by(at_least(2.0, ratio(("sorted_vec", "n_4k"), ("btree", "n_4k")))),
        )
        .because(
            "A HashMap keeps no order, so it does not pay for one.",
            shown_by(at_most(0.8, ratio(("hash_siphash", "n_256"), ("btree", "n_256")))),
        )
        .because(
            "A linked list inserts in O(1) once the place is found. But finding the place takes O(n).",
            shown_by(at_least(8.0, ratio(("list", "n_4k"), ("list", "n_256")))),
        )
}

fn walk() -> Step {
    step("walk", "element_ns")
        .ask_number(
            "You add up 65,536 numbers in a linked list whose nodes are scattered in memory. How many ns does each number take?",
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
            "for each value, a linked list with scattered nodes takes at least 10 times as long as a Vec",
        )
        .claim(
            at_most(0.5, ratio(("list_in_order", "n_64k"), ("list_shuffled", "n_64k"))),
            "the cost is not the pointers but where they point: with its nodes in order, the same list takes at most half the time",
        )
        .because(
            "The address of a Vec's next value is known in advance. So the processor fetches ahead and adds several values at once.",
            shown_by(at_most(0.2, ratio(("vec", "n_64k"), ("list_in_order", "n_64k")))),
        )
        .because(
            "The address of a list's next node is known only when the current node has arrived. So each step waits for memory.",
            shown_by(at_least(5.0, ratio(("list_std", "n_1k"), ("vec", "n_1k")))),
        )
        .because(
            "Nodes in order share cache lines and are fetched ahead, too. Scattered nodes, as in a list that has been used for some time, \
             are a cache miss each.",
            shown_by(at_least(2.0, ratio(("list_shuffled", "n_64k"), ("list_shuffled", "n_1k")))),
        )
}

fn fifo() -> Step {
    step("fifo", "op_ns")
        .ask_number(
            "A queue holds 1,000 numbers. One is added at the end, and one is taken from the front. How many ns do Vec::push and \
             Vec::remove(0) take for that?",
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
            "with a thousand numbers waiting, a Vec used as a queue takes at least 10 times as long as a VecDeque",
        )
        .claim(
            at_least(3.0, ratio(("list", "n_1k"), ("vec_deque", "n_1k"))),
            "a linked list, the queue of many textbooks, takes at least 3 times as long as a VecDeque: it calls the allocator twice",
        )
        .because(
            "remove(0) moves all the others down by one: 8 KiB for a thousand numbers.",
            shown_by(at_least(3.0, ratio(("vec", "n_1k"), ("vec", "n_64")))),
        )
        .because(
            "A VecDeque is a ring buffer. It moves the positions of its ends and not the values, so its length does not matter.",
            shown_by(between(0.8, 1.25, ratio(("vec_deque", "n_1k"), ("vec_deque", "n_8")))),
        )
        .because(
            "A linked list moves nothing, but it allocates a node for each value that comes and frees one for each value that goes.",
            shown_by(between(0.8, 1.25, ratio(("list", "n_1k"), ("list", "n_8")))),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

//! What does a resize cost the unlucky caller, and what can a caller with chosen keys do?
//!
//! Run it: `cargo run --release --bin collections_worst -- --step`
use underhood::{
    contenders::collections::{GROWING, HASH_FOLDHASH, HASH_SIPHASH},
    experiments::flood::{HASHERS, crafted, honest},
    lab::{
        Evidence, Kind, Lab, Step, at, at_least, at_most, between, count, exactly, pick, ratio,
        sample::Sample, shown_by, source,
    },
    measure::cost,
};

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "collections_worst",
        "What does a resize cost the unlucky caller, and what can a caller with chosen keys do?"
    )
        .step(grow())
        .step(flood())
        .say(
            "grow",
            "Growing a HashMap to 300,000 entries, the mean insertion takes {against} and the unlucky one {value}: {ratio}.",
            ratio("hash_siphash", pick("hash_siphash", "", "mean_ns")),
            "its capacity was reserved, or it is a map that grows bit by bit",
        )
        .say(
            "flood",
            "With a hasher without a secret, 10,000 chosen keys cost {value} comparisons for each insertion; with std's, {against}.",
            ratio(("multiply", "crafted"), ("siphash", "crafted")),
            "nobody chooses your keys",
        )
        .not_said(&[
        "That a Vec never moves: here its block could be extended; `vec_moving` is one whose block can't.",
        "That foldhash withstands an attacker: it has a secret, but was not designed to keep it.",
        "That a rehash is a bug: the mean includes it. It is the wrong collection for a caller with a deadline.",
        "What a map with large values pays: a resize moves the values, too.",
    ])
        .next(&[
        "Your service has a p99.9 that comes every few minutes and lasts 20 ms. How do you tell a rehash from a collector's pause?",
        "How would you build a map without the unlucky caller? (grow bit by bit: each insertion moves a few)",
        "What does reserve() do to memory, and when is it paid? (alloc_first_touch)",
        "Your parser builds a map of what a client sends. What do you check before you pick a fast hasher?",
        "Who waits while a map behind a lock is resized? (everybody: shard it, or reserve)",
    ])
        .sources(&[
        "hashbrown (std's HashMap): SwissTable, a tag of seven bits per slot, full at 7/8; M. Kulukundis, CppCon 2017",
        "S. Crosby and D. Wallach, Denial of service via algorithmic complexity attacks, USENIX Security 2003",
        "J.-P. Aumasson and D. Bernstein, SipHash, 2012",
        "rustc-hash 1.1, FxHasher: the multiplier of `multiply`",
    ])
}

fn grow() -> Step {
    Step::new("grow", Kind::Single, "worst_ns")
        .ask_number(
            "A HashMap grows to 300,000 entries, one insertion after the other. How long does the worst single insertion take, in ns?",
            "hash_siphash",
            "n_300k",
        )
        .columns(&["mean_ns", "worst_ratio", "worst_at_count", "first_max_ns"])
        .isolated(&GROWING, [count("n_300k", 300_000)], |plan, growing, n| {
            let (n, repeats) = if plan.is_smoke() { (n.value / 100, 1) } else { (n.value, 5) };
            let grown = growing.grow(n, repeats);
            Ok(Sample::default()
                .with("mean_ns", grown.mean_ns)
                .with("worst_ns", grown.worst_ns)
                .with("worst_ratio", grown.worst_ns / grown.mean_ns)
                .with("worst_at_count", grown.worst_at as f64)
                .with("first_max_ns", grown.first_ns))
        })
        .bench("find_1k/{case}", [&HASH_SIPHASH, &HASH_FOLDHASH], |_, map| cost::timed(&map.find(1_000)))
        .claim(
            at_least(10_000.0, ratio("hash_siphash", pick("hash_siphash", "", "mean_ns"))),
            "the unlucky insertion into a HashMap takes at least 10,000 times the mean",
        )
        .claim(
            exactly(229_376.0, pick("hash_siphash", "", "worst_at_count")),
            "it is the one that finds 7/8 of 2^18 slots used",
        )
        .claim(
            at_most(0.1, ratio("hash_reserved", "hash_siphash")),
            "with its capacity reserved, the worst takes at most a tenth of that",
        )
        .claim(
            at_most(0.6, ratio("vec_moving", "hash_siphash")),
            "a Vec that must move is gentler: a copy takes at most 0.6 of hashing everything anew",
        )
        .claim(
            at_most(0.01, ratio("btree", "hash_siphash")),
            "a BTreeMap has no unlucky caller: its worst takes at most a hundredth of the HashMap's",
        )
        .because("Amortised O(1) is a mean.", Evidence::None)
        .because(
            "A HashMap that is full allocates twice the table and hashes every entry into it, within the call of whoever came last. The \
             next ones are cheap again.",
            shown_by(exactly(229_376.0, pick("hash_foldhash", "", "worst_at_count"))),
        )
        .because(
            "A Vec has to move its content, too, but by a copy (`vec_moving`).",
            shown_by(at_most(0.8, ratio("vec_moving", "hash_foldhash"))),
        )
        .because(
            "Often it need not even do that: here the allocator could extend the block every time (`vec`).",
            shown_by(at_most(0.1, ratio("vec", "vec_moving"))),
        )
        .because(
            "A tree splits a node or two.",
            shown_by(at_most(100.0, pick("btree", "", "worst_ratio"))),
        )
        .because(
            "Every insertion's time is the least of several repetitions, so an interruption doesn't count. `first_max_ns` is of the very \
             first growth, which also pays for fresh memory (alloc_first_touch) and is not protected from interruptions.",
            source("src/measure/growth.rs"),
        )
}

fn flood() -> Step {
    const KEYS: usize = 10_000;
    type Keys = fn(usize) -> Vec<u64>;
    Step::new("flood", Kind::Count, "compares_count")
        .ask_number(
            "A client sends 10,000 keys of its choice, and you put them into a HashMap with a fast hasher without a secret. How many keys is \
             each compared with, on average?",
            "multiply",
            "crafted",
        )
        .each(&HASHERS, [at("honest", honest as Keys), at("crafted", crafted)], |_, hashing, keys| {
            let compares = hashing.compares_per_insert(&(keys.value)(KEYS));
            Ok(Sample::default().with("compares_count", compares))
        })
        .claim(
            between(4_999.0, 5_000.0, ("multiply", "crafted")),
            "against a hasher without a secret, 10,000 chosen keys are all compared with each other: 4,999.5 comparisons for each insertion",
        )
        .claim(
            at_most(0.2, ("multiply", "honest")),
            "with honest keys the same hasher is as good as any: less than one comparison in five insertions",
        )
        .claim(at_most(0.2, ("siphash", "crafted")), "std's hasher does not notice the chosen keys")
        .because(
            "A multiplication by an odd number can be undone, so anybody can compute keys with any hash.",
            source("src/experiments/flood.rs, `crafted`"),
        )
        .because(
            "Keys with equal hashes go to the same place with the same tag. The table compares each with all that came before: \
             n^2 / 2.",
            shown_by(at_least(1_000.0, ratio(("multiply", "crafted"), ("multiply", "honest")))),
        )
        .because(
            "SipHash and foldhash mix in a random secret, so the same keys land anywhere.",
            shown_by(at_most(0.2, ("foldhash", "crafted"))),
        )
        .because(
            "The difference is that SipHash was designed to keep its secret against somebody who watches, and foldhash for speed.",
            source("J.-P. Aumasson and D. Bernstein, SipHash, 2012"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

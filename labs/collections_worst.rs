//! What does a resize cost the unlucky caller, and what can a caller with chosen keys do?
//!
//! Run it: `cargo run --release --bin collections_worst -- --step`
use underhood::{
    contenders::collections::{GROWING, HASH_FOLDHASH, HASH_SIPHASH},
    experiments::flood::{HASHERS, crafted, honest},
    lab::{
        Kind, Lab, Step, at, at_least, at_most, between, count, exactly, pick, ratio, sample::Sample,
        shown_by, source,
    },
    measure::{cost, latency::with_known},
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
            "A HashMap grows to 300,000 entries. The mean insertion takes {against}, and the one that triggers the last resize takes \
             {value}: {ratio}.",
            ratio("hash_siphash", pick("hash_siphash", "", "mean_ns")),
            "the capacity was reserved, or the map grows bit by bit (incremental resizing)",
        )
        .say(
            "flood",
            "If the hasher has no secret, a caller can choose 10,000 keys that cost {value} comparisons for each insertion. With std's \
             hasher, such keys cost {against}.",
            ratio(("multiply", "crafted"), ("siphash", "crafted")),
            "nobody chooses your keys",
        )
        .not_said(&[
        "That a Vec never moves: here its block could be extended. The row \"Vec whose block can't be extended\" shows the other case.",
        "That foldhash withstands an attacker: it has a secret, but was not designed to keep it.",
        "That a rehash is a bug: the mean includes it. But a HashMap that grows is the wrong collection for a caller with a deadline.",
        "What a map with large values pays: a resize moves the values, too.",
    ])
        .next(&[
        "Every few minutes, your service's p99.9 rises by 20 ms for a moment. How do you tell a rehash from a garbage collector's pause?",
        "How would you build a map without an unlucky caller? (grow bit by bit: each insertion moves a few entries)",
        "What does reserve() do to memory, and when do you pay for that memory? (see alloc_first_touch)",
        "Your parser builds a map of what a client sends. What do you check before you pick a fast hasher?",
        "Who waits while a map behind a lock is resized? (everybody who needs the lock: shard the map, or reserve its capacity)",
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
        .columns(&["mean_ns", "worst_ratio", "worst_at_count", "worst_faults_count", "first_max_ns"])
        .isolated(&GROWING, [count("n_300k", 300_000)], |plan, growing, n| {
            let (n, repeats) = if plan.is_smoke() { (n.value / 100, 1) } else { (n.value, 5) };
            let grown = growing.grow(n, repeats)?;
            let sample = Sample::default()
                .with("mean_ns", grown.mean_ns)
                .with("worst_ns", grown.worst_ns)
                .with("worst_ratio", grown.worst_ns / grown.mean_ns)
                .with("worst_at_count", grown.worst_at as f64)
                .with("first_max_ns", grown.first_ns);
            Ok(with_known(sample, &[("worst_faults_count", grown.worst_faults)]))
        })
        .bench("find_1k/{case}", [&HASH_SIPHASH, &HASH_FOLDHASH], |_, map| cost::timed(&map.find(1_000)))
        .claim(
            at_least(10_000.0, ratio("hash_siphash", pick("hash_siphash", "", "mean_ns"))),
            "the longest insertion into a HashMap takes at least 10,000 times as long as the mean",
        )
        .claim(
            exactly(229_376.0, pick("hash_siphash", "", "worst_at_count")),
            "the longest insertion is the one that finds 7/8 of 2^18 slots used",
        )
        .claim(
            at_most(0.1, ratio("hash_reserved", "hash_siphash")),
            "with its capacity reserved, a HashMap's longest insertion takes at most a tenth of the time that it takes without",
        )
        .claim(
            at_most(0.6, ratio("vec_moving", "hash_siphash")),
            "a Vec that must move takes at most 0.6 of the time of a HashMap, which must hash every entry again",
        )
        .claim(
            at_most(0.01, ratio("btree", "hash_siphash")),
            "a BTreeMap has no unlucky caller: its longest insertion takes at most a hundredth of the HashMap's time",
        )
        .because(
            "A full HashMap allocates a table of twice the size and hashes every entry into it. All of this happens within the one \
             insertion that found the table full. The next insertions are cheap again.",
            shown_by(exactly(229_376.0, pick("hash_foldhash", "", "worst_at_count"))),
        )
        .because(
            "A large part of that time goes into page faults: the new table is fresh memory, which the kernel provides page by page. In \
             memory that was used before, the resize takes less time.",
            shown_by(at_most(0.8, ratio("hash_kept", "hash_siphash"))),
        )
        .because(
            "A Vec that must move pays for fresh pages, too. They cost more than the copy of its values.",
            shown_by(at_most(0.5, ratio("vec_moving_kept", "vec_moving"))),
        )
        .because(
            "Often a Vec need not move at all. In the row \"Vec\", the allocator could extend the block every time.",
            shown_by(at_most(0.1, ratio("vec", "vec_moving"))),
        )
        .because(
            "A tree has no resize: an insertion only splits a node or two.",
            shown_by(at_most(100.0, pick("btree", "", "worst_ratio"))),
        )
        .because(
            "The time of each insertion is the shortest of several repetitions, so an interruption does not count. The column \
             \"longest of the first round\" is of the first growth in the process. It also includes interruptions and the cost \
             of fresh memory (see alloc_first_touch).",
            source("src/measure/growth.rs"),
        )
}

fn flood() -> Step {
    const KEYS: usize = 10_000;
    type Keys = fn(usize) -> Vec<u64>;
    Step::new("flood", Kind::Count, "compares_count")
        .ask_number(
            "A client sends 10,000 keys of its choice. You put them into a HashMap whose fast hasher has no secret. With how many keys is \
             each key compared, on average?",
            "multiply",
            "crafted",
        )
        .each(&HASHERS, [at("honest", honest as Keys), at("crafted", crafted)], |_, hashing, keys| {
            let compares = hashing.compares_per_insert(&(keys.value)(KEYS));
            Ok(Sample::default().with("compares_count", compares))
        })
        .claim(
            between(4_999.0, 5_000.0, ("multiply", "crafted")),
            "if the hasher has no secret, 10,000 chosen keys are all compared with each other: 4,999.5 comparisons for each insertion",
        )
        .claim(
            at_most(0.2, ("multiply", "honest")),
            "with random keys the same hasher is as good as any: less than one comparison in five insertions",
        )
        .claim(at_most(0.2, ("siphash", "crafted")), "with std's hasher, the chosen keys cost no more than random keys")
        .because(
            "A multiplication by an odd number can be reversed. So anybody can compute keys that have a chosen hash.",
            source("src/experiments/flood.rs, `crafted`"),
        )
        .because(
            "Keys with equal hashes go to the same place in the table and have the same tag. So each new key is compared with all earlier \
             keys: n^2 / 2 comparisons in total.",
            shown_by(at_least(1_000.0, ratio(("multiply", "crafted"), ("multiply", "honest")))),
        )
        .because(
            "SipHash and foldhash mix in a random secret, so the chosen keys go to random places.",
            shown_by(at_most(0.2, ("foldhash", "crafted"))),
        )
        .because(
            "The two hashers have different goals. SipHash was designed to keep its secret from somebody who observes the program, \
             foldhash for speed.",
            source("J.-P. Aumasson and D. Bernstein, SipHash, 2012"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

//! Which map should threads share, and what do its writers do to its readers?
//!
//! Run it: `cargo run --release --bin lockfree_map -- --step`
use std::sync::Arc;

use underhood::{
    contenders::{
        map::{DASHMAP_6, ONE_LOCK, ONE_RWLOCK, PAPAYA_0_2, SCC_3, SHARDED_16, SharedMap},
        map_mix::{CACHE, Mix, race},
    },
    experiments::looked_at,
    lab::{Kind, Lab, ONCE, Step, at, at_least, at_most, between, pick, ratio, shown_by, source},
    measure::{cost, keys::Skew, throughput},
};

const MAPS: &[&SharedMap] = &[&ONE_LOCK, &ONE_RWLOCK, &SHARDED_16, &DASHMAP_6, &PAPAYA_0_2, &SCC_3];
const COLUMNS: &[&str] = &["hit_share", "drift_share", "changed_share", "lane_op_ns", "min_max_share"];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "lockfree_map",
        "Which map should threads share, and what do its writers do to its readers?"
    )
    .step(alone())
    .step(mix())
    .step(skew())
    .step(worst())
    .step(memory())
    .say(
        "mix",
        "{threads} threads only read. Counted in operations, papaya does {value}, a HashMap behind std's mutex {against}: \
         {ratio}.",
        ratio(("papaya_0_2", "100_0_0"), ("one_lock", "100_0_0")),
        "half of the operations write, or the threads do something else between two operations",
    )
    .say(
        "skew",
        "If all threads use one hot key and one operation in ten writes, dashmap does {value}, a HashMap behind one mutex \
         {against}: {ratio}.",
        ratio(("dashmap_6", "one_key"), ("one_lock", "one_key")),
        "all keys are used equally often: then the threads use different shards, and dashmap's lead is larger",
    )
    .not_said(&[
        "How often a compare-and-exchange of dashmap, papaya or scc fails: they do not count it, and it cannot be seen from \
         outside.",
        "Anything about large maps: there are 8,192 keys, and half of them are in the map, so the map fits in the cache.",
        "Anything about a faster hasher, with which the locks would be a larger part of the cost. Nor anything about \
         growing or iterating.",
    ])
    .next(&[
        "Why must the share of hits be constant? (a miss is cheaper than a hit: while a map slowly fills up, the measured \
         workload changes)",
        "What does a hot key need? (a copy for each thread, or a value that readers need not lock: lab lockfree_snapshot)",
        "What happens to the other threads if one is stopped inside an operation? (lab lockfree_progress)",
    ])
    .sources(&[
        "jonhoo/bustle: mixes of operations on shared maps; its share of hits drifts with the threads",
        "xacrimon/dashmap#306: a benchmark with one key, another hasher, and drops in the timed part",
        "ibraheemdev/papaya, docs: readers without locks, hazard-era reclamation (seize)",
        "perfbook, chapter 10: one hot key turns a sharded table into a global lock",
    ])
}

fn alone() -> Step {
    Step::new("alone", Kind::Single, "op_ns")
        .ask_number(
            "One thread alone uses a HashMap behind a mutex, and nine operations in ten read. How many ns does one \
             operation take?",
            "one_lock",
            "",
        )
        .contenders(MAPS)
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), MAPS.iter().map(|m| m.alone())))
        .claim(
            at_least(0.9, ratio("dashmap_6", "one_lock")),
            "an uncontended mutex is cheap: dashmap takes at least nine tenths of the time of a HashMap behind a mutex",
        )
        .claim(
            at_most(3.0, ratio("papaya_0_2", "one_lock")),
            "papaya, whose writers allocate each entry, takes at most three times as long",
        )
        .because(
            "Every map must hash the key (std's SipHash, once for each operation) and find it.",
            source("src/contenders/map.rs"),
        )
        .because(
            "An uncontended lock adds two atomic instructions. A map with many locks also takes one lock, and must first \
             choose it.",
            shown_by(at_least(1.0, ratio("sharded_16", "one_lock"))),
        )
        .because(
            "In papaya, each operation also enters the scheme for memory reclamation, and each insertion allocates.",
            source("ibraheemdev/papaya, docs"),
        )
}

fn mix() -> Step {
    // In percent: reads, insertions, removals.
    let mixes = [("100_0_0", 0), ("90_5_5", 5), ("50_25_25", 25)]
        .map(|(id, each_percent)| at(id, Mix { each_percent, ..CACHE }));
    Step::new("mix", Kind::Contended, "ops_per_s")
        .ask_best(
            "All threads use one map, with keys as a cache sees them (a Zipf distribution). Settings are read / insert / \
             remove in percent. Which map does the most if half of the operations write?",
            "50_25_25",
        )
        .columns(COLUMNS)
        .contenders(MAPS)
        .slice(0.35)
        .over(mixes, |plan, mix| race(plan, mix.id(), mix.value, MAPS))
        .bench("mix_90_5_5/{case}", [&ONE_LOCK, &DASHMAP_6, &PAPAYA_0_2, &SCC_3], |plan, map| {
            throughput::timed(plan, 0.0, &map.mixed(CACHE, &Arc::default()))
        })
        .claim(
            at_most(1.5, ratio(("one_rwlock", "100_0_0"), ("one_lock", "100_0_0"))).cores(2),
            "if all threads only read, a reader-writer lock helps little: it does at most 1.5 times what the mutex does",
        )
        .claim(
            at_least(3.0, ratio(("papaya_0_2", "100_0_0"), ("one_lock", "100_0_0"))).cores(2),
            "papaya's readers write nothing that is shared: they do at least 3 times what the mutex does",
        )
        .claim(
            at_most(0.5, ratio(("papaya_0_2", "50_25_25"), ("papaya_0_2", "100_0_0"))).cores(2),
            "if half of the operations write, papaya keeps at most half of its rate with readers only",
        )
        .claim(
            at_least(1.0, ratio(("sharded_16", "50_25_25"), ("dashmap_6", "50_25_25"))).cores(2),
            "if half of the operations write, 16 HashMaps behind a mutex each do at least what dashmap does",
        )
        .because(
            "A read under any lock writes the lock's cache line twice. Readers of one lock contend for that line, so an \
             RwLock gains little over a mutex.",
            shown_by(at_most(3.0, ratio(("one_rwlock", "100_0_0"), ("one_lock", "100_0_0"))).cores(2)),
        )
        .because(
            "With shards, fewer threads contend for one lock.",
            shown_by(at_least(2.0, ratio(("sharded_16", "100_0_0"), ("one_lock", "100_0_0"))).cores(2)),
        )
        .because(
            "papaya's readers take no lock. They announce themselves in a cache line of their own, so they do not contend.",
            source("ibraheemdev/papaya, docs"),
        )
        .because(
            "Writers pay for that: each insertion allocates an entry, and some thread must find out when an old entry may \
             be freed.",
            shown_by(at_most(0.5, ratio(("papaya_0_2", "50_25_25"), ("papaya_0_2", "100_0_0"))).cores(2)),
        )
        .because(
            "Half of the lookups hit in every row. The hits are counted early and late in the run, and a row whose share \
             of hits drifts gets no number.",
            source("src/contenders/map_mix.rs"),
        )
}

fn skew() -> Step {
    let skews = [("uniform", Skew::Uniform), ("one_key", Skew::OneKey)];
    Step::new("skew", Kind::Contended, "ops_per_s")
        .ask_best("One operation in ten writes. All threads want the same key. Which map does the most?", "one_key")
        .columns(COLUMNS)
        .contenders(MAPS)
        .slice(0.35)
        .over(skews.map(|(id, skew)| at(id, Mix { skew, ..CACHE })), |plan, mix| {
            race(plan, mix.id(), mix.value, MAPS)
        })
        .claim(
            at_least(1.5, ratio(("sharded_16", "uniform"), ("one_lock", "uniform"))).cores(2),
            "with uniform keys, 16 mutexes do at least 1.5 times what one does",
        )
        .claim(
            at_most(1.2, ratio(("dashmap_6", "one_key"), ("one_lock", "one_key"))).cores(2),
            "with one hot key, dashmap is like one lock again: it does at most 1.2 times what the mutex does",
        )
        .claim(
            at_least(2.0, ratio(("papaya_0_2", "one_key"), ("dashmap_6", "one_key"))).cores(2),
            "readers without a lock keep an advantage on a hot key that is written: papaya does at least twice what dashmap does",
        )
        .because(
            "Sharding spreads the keys over many locks, but a hot key stays in one shard. For that key, 16 mutexes do what one \
             does.",
            shown_by(between(0.8, 1.25, ratio(("sharded_16", "one_key"), ("one_lock", "one_key"))).cores(2)),
        )
        .because(
            "dashmap too has one lock for the hot key, a reader-writer lock of its own. Yet it does more operations than a map \
             behind a std mutex. The reason is not shown here.",
            shown_by(at_least(1.2, ratio(("dashmap_6", "one_key"), ("one_lock", "one_key"))).cores(2)),
        )
        .because(
            "If readers take no lock, the key's cache line moves only when a thread writes it.",
            shown_by(at_least(1.5, ratio(("papaya_0_2", "one_key"), ("one_lock", "one_key"))).cores(2)),
        )
        .because(
            "Here the entry is inserted and removed, not overwritten. So papaya allocates, retires and frees an entry, \
             while dashmap changes a slot under its lock.",
            source("ibraheemdev/papaya, docs"),
        )
}

fn worst() -> Step {
    looked_at::longest(MAPS, |m| m.mixed(CACHE, &Arc::default()))
        .ask_number(
            "There are four threads for each CPU, and one operation in ten writes. How many ns does the longest operation \
             take behind one mutex?",
            "one_lock",
            "4x_threads",
        )
        .claim(
            at_most(0.01, pick("papaya_0_2", "4x_threads", "halted_share")).cores(2),
            "in papaya no thread stops the others: for at most a hundredth of the time no thread makes progress",
        )
        .claim(
            at_least(0.001, pick("one_lock", "4x_threads", "halted_share")).cores(2),
            "if the holder of the one mutex is preempted, all others stop: for at least a thousandth of the time",
        )
        .because(
            "A gap is a time in which a thread finishes nothing. Where the gaps of all threads overlap, no thread made \
             progress. Behind a lock, its holder may have no CPU, or the woken thread may not be awake yet.",
            source("`common` in src/measure/worst.rs"),
        )
        .because(
            "Without a lock, all threads can stand still at once too, for example while they wait for a CPU or for the \
             allocator. This step cannot tell these causes apart.",
            source("`common` in src/measure/worst.rs"),
        )
}

fn memory() -> Step {
    Step::new("memory", Kind::Count, "element_bytes")
        .ask_number(
            "A map has 4,096 keys of 4 bytes with values of 8 bytes. How many bytes does each entry take in papaya, which \
             allocates entries one by one?",
            "papaya_0_2",
            "",
        )
        .columns(&["empty_bytes"])
        .isolated(MAPS, ONCE, |_, map, _| map.weigh())
        .check_after()
        .claim(
            at_least(1.5, ratio("papaya_0_2", "one_lock")),
            "papaya allocates each entry, so it takes at least 1.5 times the memory of a HashMap behind a mutex",
        )
        .claim(
            at_most(1.5, ratio("sharded_16", "one_lock")),
            "16 HashMaps behind a mutex each take at most 1.5 times the memory of one",
        )
        .because(
            "std's map takes 16 bytes for such an entry and one byte of metadata. Between 7/16 and 7/8 of its slots are \
             filled.",
            shown_by(at_most(40.0, "one_lock")),
        )
        .because(
            "papaya's table has a pointer and a byte for each slot, and each entry is an allocation of its own.",
            shown_by(at_least(1.5, ratio("papaya_0_2", "one_lock"))),
        )
        .because(
            "How full a table is depends on the number of keys. With another number, an entry would take more or fewer \
             bytes.",
            source("`weigh` in src/contenders/map.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

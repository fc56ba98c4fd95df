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
    lab::{Evidence, Kind, Lab, ONCE, Step, at, at_least, at_most, pick, ratio, shown_by, source},
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
        "With {threads} threads that only read, papaya does {value} operations, a HashMap behind std's mutex {against}: {ratio}.",
        ratio(("papaya_0_2", "100_0_0"), ("one_lock", "100_0_0")),
        "half of the operations write, or the threads do something else between two of them",
    )
    .say(
        "skew",
        "On one hot key, one operation in ten a write, dashmap does {value}, one mutex {against}: {ratio}.",
        ratio(("dashmap_6", "one_key"), ("one_lock", "one_key")),
        "the keys are asked for evenly: then its shards are worth their price",
    )
    .not_said(&[
        "How often an exchange of dashmap, papaya or scc fails: they count nothing of the kind, and from outside it cannot be seen.",
        "Anything about large maps: 8,192 keys, half of them inside, so that the map is in the cache.",
        "Anything about a faster hasher, which would make the locks' share larger for all; about growing; about iterating.",
    ])
    .next(&[
        "Why must the share of hits be constant? (a miss is cheaper than a hit: a map that slowly fills up is measured on another workload)",
        "What does a hot key need? (a copy for each thread, or one that readers need not lock: lab lockfree_snapshot)",
        "What happens to the others if a thread is stopped inside? (lab lockfree_progress)",
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
            "One thread, nobody else is there; nine operations in ten read. What does one take on a HashMap behind a mutex, in ns?",
            "one_lock",
            "",
        )
        .contenders(MAPS)
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), MAPS.iter().map(|m| m.alone())))
        .claim(
            at_least(0.9, ratio("dashmap_6", "one_lock")),
            "a mutex that nobody wants is cheap: dashmap takes at least nine tenths of what a map behind one takes",
        )
        .claim(
            at_most(3.0, ratio("papaya_0_2", "one_lock")),
            "papaya, whose writers allocate each entry, takes at most three times as long",
        )
        .because(
            "Hashing (std's SipHash) and finding the key are there in any case, and the same for all.",
            source("src/contenders/map.rs"),
        )
        .because(
            "An uncontended lock adds two atomic instructions; a map of many locks adds one lock as well, and the choice of it.",
            shown_by(at_least(1.0, ratio("sharded_16", "one_lock"))),
        )
        .because(
            "papaya adds an entry into its reclamation and, on insertion, an allocation.",
            source("ibraheemdev/papaya, docs"),
        )
}

fn mix() -> Step {
    // In percent: reads, insertions, removals.
    let mixes = [("100_0_0", 0), ("90_5_5", 5), ("50_25_25", 25)]
        .map(|(id, each_percent)| at(id, Mix { each_percent, ..CACHE }));
    Step::new("mix", Kind::Contended, "ops_per_s")
        .ask_best(
            "All threads, keys as a cache sees them (Zipf), read / insert / remove in percent. Which map does the most if half of the operations write?",
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
            "if all read, a reader-writer lock around the map is no cure: at most 1.5 times what the mutex does",
        )
        .claim(
            at_least(3.0, ratio(("papaya_0_2", "100_0_0"), ("one_lock", "100_0_0"))).cores(2),
            "readers that write nothing shared do at least 3 times what the mutex does: papaya",
        )
        .claim(
            at_most(0.5, ratio(("papaya_0_2", "50_25_25"), ("papaya_0_2", "100_0_0"))).cores(2),
            "with a half of writes it keeps at most half of that rate",
        )
        .claim(
            at_least(1.0, ratio(("sharded_16", "50_25_25"), ("dashmap_6", "50_25_25"))).cores(2),
            "with a half of writes, 16 mutexes by hand do at least what dashmap does",
        )
        .because(
            "A read under any lock writes the lock's line twice, so readers of one lock fight for it as writers do.",
            shown_by(at_most(3.0, ratio(("one_rwlock", "100_0_0"), ("one_lock", "100_0_0"))).cores(2)),
        )
        .because(
            "Shards divide the fight; only readers that announce themselves in a line of their own do not fight.",
            shown_by(at_least(1.5, ratio(("papaya_0_2", "100_0_0"), ("sharded_16", "100_0_0"))).cores(2)),
        )
        .because(
            "Writers pay for that: an entry for each insertion, and somebody must find out when the old one may be freed.",
            shown_by(at_most(0.5, ratio(("papaya_0_2", "50_25_25"), ("papaya_0_2", "100_0_0"))).cores(2)),
        )
        .because(
            "The share of hits is a half in every row and is counted, early and late; what drifts gets no number.",
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
            "on one hot key dashmap is one lock again: at most 1.2 times what the mutex does",
        )
        .claim(
            at_least(2.0, ratio(("papaya_0_2", "one_key"), ("dashmap_6", "one_key"))).cores(2),
            "readers without a lock keep an advantage on a hot key that is written: papaya does at least twice what dashmap does",
        )
        .because(
            "Sharding divides keys, not the wish for one of them: a hot key is one shard, one lock, one line.",
            source("perfbook, chapter 10"),
        )
        .because(
            "A map whose readers take no lock moves the key's line only when somebody writes it. What decides is the price of that write.",
            Evidence::None,
        )
        .because(
            "The entry is inserted and removed here, not overwritten. So papaya allocates, retires and frees one where dashmap changes a \
             slot under its lock.",
            source("ibraheemdev/papaya, docs"),
        )
        .because("Between few threads one write in ten can cost what nine readers save.", Evidence::None)
}

fn worst() -> Step {
    looked_at::longest(MAPS, |m| m.mixed(CACHE, &Arc::default()))
        .ask_number(
            "Four threads for each CPU, one operation in ten writes. How long does the longest take behind one mutex, in ns?",
            "one_lock",
            "4x_threads",
        )
        .claim(
            at_most(0.01, pick("papaya_0_2", "4x_threads", "halted_share")).cores(2),
            "nobody stops the others of papaya: for at most a hundredth of the time no thread gets on",
        )
        .claim(
            at_least(0.001, pick("one_lock", "4x_threads", "halted_share")).cores(2),
            "one mutex stops all others when its holder is preempted: for at least a thousandth of the time",
        )
        .because(
            "Where the gaps of all threads overlap, nobody got on: the holder of the one lock had no CPU, or the thread that was to be woken \
             was not awake yet.",
            source("`common` in src/measure/worst.rs"),
        )
        .because("With more locks the others find another one.", Evidence::None)
}

fn memory() -> Step {
    Step::new("memory", Kind::Count, "element_bytes")
        .ask_number(
            "4,096 keys of 4 bytes with values of 8. How many bytes does each take in papaya, which allocates entries one by one?",
            "papaya_0_2",
            "",
        )
        .columns(&["empty_bytes"])
        .isolated(MAPS, ONCE, |_, map, _| map.weigh())
        .check_after()
        .claim(
            at_least(1.5, ratio("papaya_0_2", "one_lock")),
            "an allocation for each entry: papaya takes at least 1.5 times what a HashMap behind a mutex takes",
        )
        .claim(
            at_most(1.5, ratio("sharded_16", "one_lock")),
            "16 maps by hand take at most 1.5 times what one takes",
        )
        .because(
            "std's map has 16 bytes for such an entry and one of metadata, and between 7/16 and 7/8 of its places are filled.",
            shown_by(at_most(40.0, "one_lock")),
        )
        .because(
            "papaya's table has a pointer and a byte for each place, and each entry is a block of its own.",
            shown_by(at_least(1.5, ratio("papaya_0_2", "one_lock"))),
        )
        .because(
            "How full a table is depends on the number of keys: others would show other bytes.",
            source("`weigh` in src/contenders/map.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

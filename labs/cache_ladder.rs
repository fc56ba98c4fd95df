//! How far away is memory?
//!
//! Run it: `cargo run --release --bin cache_ladder -- --step`
use std::hint::black_box;

use underhood::{
    experiments::ladder::{self, Branch, Layout16, Level, Spread, Way, check_branches, check_fields, fields},
    lab::{
        Contender, Kind, Lab, ONCE, Setting, Step, at, at_least, at_most, count, ratio, setting, shown_by,
        source,
    },
    measure::cost::{self, Solo},
};

pub(crate) fn lab() -> Lab {
    underhood::lab!("cache_ladder", "How far away is memory?")
        .step(distance())
        .step(reach())
        .step(branch())
        .step(layout())
        .step(node())
        .say(
            "distance",
            "A load that needs the result of the load before it takes {against} from the first-level cache \
            and {value} from memory: {ratio}.",
            ratio(("random", "memory"), ("random", "l1")),
            "the loads don't wait for each other, or a prefetcher can guess them. If the last-level cache is \
            nearly as slow as memory, as here, other guests use most of it",
        )
        .say(
            "distance",
            "In the order of addresses, the same loads through memory take {value} each instead of {against}.",
            ratio(("in_order", "memory"), ("random", "memory")),
            "the working set fits the first-level cache: then the order does not matter",
        )
        .say(
            "reach",
            "A load from one of 16,384 cache lines takes {value} if each line is in a small page of its \
            own. If the lines are side by side, it takes {against}. The side-by-side times fall into two \
            groups: in one the lines were in the last-level cache, in the other they were not.",
            ratio(("small", "n_16k"), ("packed", "n_16k")),
            "the pages are huge. Then the lines that are far apart take less time, and the rest is not address \
            translation",
        )
        .say(
            "branch",
            "A loop with a branch takes {value} for a random byte, and {against} for a byte if the same \
            bytes are sorted: {ratio}.",
            ratio("branch_shuffled", "branch_sorted"),
            "the compiler turns the branch into a conditional move, or adds up many bytes at once (both were \
            prevented here)",
        )
        .say(
            "layout",
            "A program adds up one field of a million records of 64 bytes, one at a time. A record takes \
            {value} in an array of structs, and {against} with an array for each field.",
            ratio(("structs_one", "n_1m"), ("arrays_one", "n_1m")),
            "all fields are read, or the records fit the first-level cache",
        )
        .not_said(&[
            "What a load costs in a program: many of its loads don't wait for each other.",
            "That the last-level cache is as large as the system says. In a virtual machine, other guests \
            use it as well.",
            "That huge pages are always faster. If the host has small pages below them, a part of the gain \
            is lost.",
            "Anything about writes, or about lines that another core has changed (lab cache_line).",
        ])
        .next(&[
            "Why does a linked list lose to a vector? (each node is a load that waits: lab collections_cost)",
            "Your table has 100 columns, and a query reads two. How do you lay it out?",
            "How many loads can a core have in flight at once? (one for each line fill buffer, 10 to 20. See \
            the row with four interleaved chases)",
            "When does a sorted array help a branch, and when does it only cost the sort?",
        ])
        .sources(&[
            "U. Drepper, \"What Every Programmer Should Know About Memory\", 2007: chases in order and at random",
            "L. McVoy, C. Staelin, \"lmbench\", USENIX 1996: lat_mem_rd",
            "A. Fog, \"The microarchitecture of Intel, AMD and VIA CPUs\": prefetchers, TLBs, branch prediction",
            "Linux Documentation/admin-guide/mm/transhuge.rst; madvise(2)",
        ])
}

static WAYS: [Setting<Way>; 3] = [
    named("random", "random order", Way::Random),
    named("in_order", "order of addresses", Way::InOrder),
    named("four_at_once", "random order, four interleaved chases", Way::FourAtOnce),
];

const fn named<T: Copy>(id: &'static str, name: &'static str, value: T) -> Setting<T> {
    Setting { is: Contender::new(id).called(name), value }
}

fn distance() -> Step {
    let levels = [at("l1", Level::L1), at("l2", Level::L2), at("l3", Level::L3), at("memory", Level::Memory)];
    Step::new("distance", Kind::Single, "op_ns")
        .ask_number(
            "A working set is four times as large as the last-level cache. Each load returns the address \
            of the next one, in random order. How many ns does a load take?",
            "random",
            "memory",
        )
        .columns(&["set_bytes", "huge_share"])
        .slice(0.2)
        // A process for each: beside one another they would share the caches.
        .isolated(&WAYS, levels, |plan, way, level| ladder::chase(plan, way.value, level.value))
        .claim(
            at_least(1.8, ratio(("random", "l2"), ("random", "l1"))),
            "a load from the second-level cache takes at least 1.8 times as long as one from the first-level \
            cache",
        )
        .claim(at_least(1.8, ratio(("random", "l3"), ("random", "l2"))), "a load from an eighth of the \
            last-level cache (shared with other guests) takes at least 1.8 times as long as from the second \
            level")
        .claim(
            at_least(20.0, ratio(("random", "memory"), ("random", "l1"))),
            "a load from memory takes at least 20 times as long as one from the first-level cache",
        )
        .claim(
            at_most(0.4, ratio(("in_order", "memory"), ("random", "memory"))),
            "in the order of addresses, loads through memory take at most 0.4 of the time of random order",
        )
        .claim(
            at_most(0.5, ratio(("four_at_once", "memory"), ("random", "memory"))),
            "with four interleaved chases, a load takes at most half of the time that it takes with one chase",
        )
        .because(
            "The core has the result of a load only when the cache line has arrived. Here it needs that \
            result to begin the next load. With four independent chains of loads (pointer chases), the \
            waits overlap: memory has a long latency, but it can serve several loads at once.",
            shown_by(at_most(0.5, ratio(("four_at_once", "memory"), ("random", "memory")))),
        )
        .because(
            "In the order of addresses a prefetcher fetches the lines ahead, though the loads still wait for each other.",
            shown_by(at_most(0.4, ratio(("in_order", "memory"), ("random", "memory")))),
        )
        .because(
            "Order helps only where the data is far away. In the first-level cache it makes no difference.",
            shown_by(at_most(1.2, ratio(("random", "l1"), ("in_order", "l1")))),
        )
        .because(
            "Before the timing, one pass through each working set counts its lines. If the kernel has huge \
            pages, the two large sets use them. So address translation is a small part of the time.",
            source("`chase` in src/experiments/ladder.rs"),
        )
        .in_tour()
}

static SPREADS: [Setting<Spread>; 3] = [
    named("packed", "side by side", Spread::Packed),
    named("small", "one in each small page", Spread::Small),
    named("huge", "equally far apart, in huge pages", Spread::Huge),
];

fn reach() -> Step {
    // The first needs 256 KiB of address space at 4 KiB a page, which no huge page fits.
    let counts = [count("n_64", 64), count("n_1k", 1_024), count("n_16k", 16_384)];
    Step::new("reach", Kind::Single, "op_ns")
        .ask_number(
            "16,384 cache lines, one in each small page, are loaded in random order, one load after the \
            other. How many ns does a load take?",
            "small",
            "n_16k",
        )
        .columns(&["set_bytes", "span_bytes", "huge_share"])
        .slice(0.2)
        .isolated(&SPREADS, counts, |plan, spread, lines| ladder::reach(plan, spread.value, lines.value))
        .claim(
            at_least(1.5, ratio(("small", "n_16k"), ("packed", "n_16k"))),
            "with 16,384 lines, each in a page of its own, a load takes at least 1.5 times as long as with \
            lines side by side",
        )
        .claim(
            at_most(0.9, ratio(("huge", "n_16k"), ("small", "n_16k"))),
            "with the lines equally far apart in huge pages, a load takes at most 0.9 of the time with \
             small pages",
        )
        .claim(
            at_most(1.3, ratio(("small", "n_64"), ("packed", "n_64"))),
            "with 64 lines, each in a page of its own, a load takes at most 1.3 times as long as with lines \
            side by side",
        )
        .because(
            "A load first needs the physical address. The core keeps some translations in its TLB: about 64 \
            in the first level, a thousand or two in the second. For other pages it walks the page table. In \
            a virtual machine it walks two page tables.",
            source("A. Fog, The microarchitecture of Intel, AMD and VIA CPUs"),
        )
        .because(
            "All rows load equally many lines. Even with 64 lines, a load takes longer if each line is in a \
            page of its own.",
            shown_by(at_least(1.5, ratio(("small", "n_64"), ("packed", "n_64")))),
        )
        .because(
            "The 64 pages and the page of the stack are more than a first-level TLB of 64 entries can hold. \
            The second level holds them, but it is slower. The row does not show that this is the cause.",
            source("A. Fog, The microarchitecture of Intel, AMD and VIA CPUs"),
        )
        .because(
            "A huge page needs one translation in place of 512 small ones, if the host has huge pages under \
            it. The lines are as far apart as before. So what is left of the time comes from the distance \
            between the lines.",
            shown_by(at_most(0.9, ratio(("huge", "n_16k"), ("small", "n_16k")))),
        )
}

const fn summed(id: &'static str, name: &'static str, sorted: bool, branches: bool) -> Setting<Branch> {
    Setting {
        is: Contender::new(id).called(name).checked(check_branches),
        value: Branch { sorted, branches },
    }
}

static BRANCHES: [Setting<Branch>; 4] = [
    summed("branch_sorted", "a branch, sorted bytes", true, true),
    summed("branch_shuffled", "a branch, random bytes", false, true),
    summed("free_sorted", "no branch, sorted bytes", true, false),
    summed("free_shuffled", "no branch, random bytes", false, false),
];

fn branch() -> Step {
    let solo = |b: &Setting<Branch>| {
        let way = b.value;
        Solo::new(b.id(), move || way.ops())
    };
    Step::new("branch", Kind::Single, "op_ns")
        .ask_number(
            "A loop reads a million random bytes and adds up, with an if, only those of 128 or more. How many ns does a byte take?",
            "branch_shuffled",
            "",
        )
        .contenders(&BRANCHES)
        .slice(0.25)
        .over(ONCE, move |plan, p| cost::solo(plan, p.id(), BRANCHES.iter().map(solo)))
        .bench("branch/{case}", &BRANCHES, move |_, b| cost::timed(&solo(b)))
        .claim(
            at_least(2.0, ratio("branch_shuffled", "branch_sorted")),
            "a branch on random bytes takes at least twice as long as on the same bytes in sorted order",
        )
        .claim(
            at_most(0.5, ratio("free_shuffled", "branch_shuffled")),
            "on random bytes, arithmetic in place of the branch (multiplying by 0 or 1) takes at most \
            half of the time of the branch",
        )
        .because(
            "The core predicts where a branch goes, and continues there at once. On random bytes half of \
            the predictions are wrong, and the work begun is thrown away. On sorted bytes the branch \
            changes its direction only once.",
            source("A. Fog, The microarchitecture of Intel, AMD and VIA CPUs: misprediction penalty"),
        )
        .because(
            "The bytes themselves are not the cause: without a branch, their order makes no difference.",
            shown_by(at_most(1.1, ratio("free_shuffled", "free_sorted"))),
        )
}

const fn laid(
    id: &'static str,
    name: &'static str,
    layout: Layout16,
    all: bool,
) -> Setting<(Layout16, bool)> {
    Setting { is: Contender::new(id).called(name).checked(check_fields), value: (layout, all) }
}

static LAYOUTS: [Setting<(Layout16, bool)>; 4] = [
    laid("arrays_one", "struct of arrays, one field read", Layout16::Arrays, false),
    laid("structs_one", "array of structs, one field read", Layout16::Structs, false),
    laid("arrays_all", "struct of arrays, all fields read", Layout16::Arrays, true),
    laid("structs_all", "array of structs, all fields read", Layout16::Structs, true),
];

fn layout() -> Step {
    // 16 KiB as structs, and 64 MiB.
    let records = [count("n_256", 256), count("n_1m", 1 << 20)];
    let solo = |l: &Setting<(Layout16, bool)>, records: usize| {
        let (layout, all) = l.value;
        Solo::new(l.id(), move || {
            let mut sum = fields(layout, all, records);
            Box::new(move |n| _ = black_box(sum(n)))
        })
    };
    Step::new("layout", Kind::Single, "op_ns")
        .ask_number(
            "You add up one field of a million records. Each record has sixteen fields of four bytes. How \
            many ns does a record take in an array of structs?",
            "structs_one",
            "n_1m",
        )
        .contenders(&LAYOUTS)
        .slice(0.25)
        .over(records, move |plan, n| {
            let records = if plan.is_smoke() { n.value.min(1 << 14) } else { n.value };
            cost::solo(plan, n.id(), LAYOUTS.iter().map(|l| solo(l, records)))
        })
        .bench("layout_256/{case}", &LAYOUTS, move |_, l| cost::timed(&solo(l, 256)))
        .claim(
            at_least(2.0, ratio(("structs_one", "n_1m"), ("arrays_one", "n_1m"))),
            "with a million records and one field read, an array of structs takes at least twice as long as \
            a struct of arrays",
        )
        .claim(
            at_most(1.5, ratio(("structs_one", "n_256"), ("arrays_one", "n_256"))),
            "with 256 records, an array of structs takes at most 1.5 times as long, since all records are in \
            the first-level cache",
        )
        .claim(
            at_most(1.5, ratio(("structs_all", "n_1m"), ("arrays_all", "n_1m"))),
            "if all fields are read, an array of structs takes at most 1.5 times as long as a struct of \
            arrays",
        )
        .because(
            "Memory comes in cache lines of 64 bytes. In an array of structs, each line brings one field \
            that is needed and fifteen that are not. In a struct of arrays, each line brings sixteen that \
            are needed. If all fields are needed, structs lose nothing. Here they are even faster, also in \
            the first-level cache: with sixteen arrays, one record needs sixteen lookups.",
            shown_by(at_most(1.5, ratio(("structs_all", "n_1m"), ("arrays_all", "n_1m")))),
        )
        .because(
            "The cost is the transfer from memory. In the first-level cache the same loops hardly differ.",
            shown_by(at_most(1.5, ratio(("structs_one", "n_256"), ("arrays_one", "n_256")))),
        )
        .because(
            "The loops take one record at a time. A compiler may add up sixteen fields of an array at once. \
            That is one more gain of arrays, and it is not shown here.",
            source("`summing` in src/experiments/ladder.rs"),
        )
}

static NODES: [Setting<bool>; 2] = [setting("local", false), setting("remote", true)];

fn node() -> Step {
    Step::new("node", Kind::Single, "op_ns")
        .ask_number(
            "A machine has two NUMA nodes. How many ns does a load in random order take from the memory of \
            the other node?",
            "remote",
            "",
        )
        .columns(&["on_node_share"])
        .slice(0.25)
        .isolated(&NODES, ONCE, |plan, remote, _| ladder::node(plan, remote.value))
        .claim(
            at_least(1.2, ratio("remote", "local")),
            "a load from the other node's memory takes at least 1.2 times as long as one from its own node's \
            memory",
        )
        .because(
            "Each node has memory of its own. A load from another node's memory goes through the link \
            between the sockets. A page lies on the node of the thread that touches it first.",
            source("Linux Documentation/admin-guide/mm/numa_memory_policy.rst: default policy"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

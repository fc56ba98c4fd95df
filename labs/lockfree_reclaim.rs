//! When may I free a node that another thread may still be reading, and what does each answer cost?
//!
//! Run it: `cargo run --release --bin lockfree_reclaim -- --step`
use underhood::{
    contenders::published::{
        CROSSBEAM_EPOCH, HAPHAZARD, Published, SNAPSHOT_EPOCH, SNAPSHOT_HAZARD, SNAPSHOT_LEAK,
    },
    lab::{
        Contender, Kind, Lab, ONCE, Step, at, at_least, at_most, pick, ratio, sample::Sample, shown_by,
        source,
    },
    measure::{cost, throughput},
    record::AA,
};

const SCHEMES: &[&Published] =
    &[&SNAPSHOT_LEAK, &SNAPSHOT_EPOCH, &SNAPSHOT_HAZARD, &CROSSBEAM_EPOCH, &HAPHAZARD];
/// Without the one that leaks: it would take a gigabyte a second.
const THAT_FREE: &[&Published] = &[&SNAPSHOT_EPOCH, &SNAPSHOT_HAZARD, &CROSSBEAM_EPOCH, &HAPHAZARD];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "lockfree_reclaim",
        "When may I free a node that another thread may still be reading, and what does each answer cost?"
    )
    .step(read())
    .step(stalled())
    .step(replace())
    .say(
        "stalled",
        "One reader sleeps inside an operation while 10,000 nodes are replaced. Our epochs keep {value} of them, our hazard \
         pointers {against}.",
        ratio(("snapshot_epoch", "asleep_10000"), ("snapshot_hazard", "asleep_10000")),
        "no reader is ever descheduled for long inside an operation: then epochs keep a few batches",
    )
    .say(
        "read",
        "Protecting one read takes {value} with an epoch and {against} with a hazard pointer.",
        ratio("snapshot_epoch", "snapshot_hazard"),
        "an operation follows many pointers: an epoch is entered once, a hazard pointer is set for each",
    )
    .not_said(&[
        "Which scheme is the best: one bounds memory, the other bounds the reader's cost.",
        "What a stalled reader costs in bytes: here nodes are counted, and all have one size.",
        "Anything about schemes with help from the operating system (membarrier), in which the reader needs no fence.",
    ])
    .next(&[
        "Why not count references? (each reader writes the node's own cache line: RwLock<Arc> in lab lockfree_snapshot)",
        "How would you bound the memory of epochs? (force out a reader that stays too long, or wait for it: then the scheme \
         is no longer wait-free)",
        "With which epoch is a retired node stamped, and why is the reader's own epoch too old? (see the head of \
         src/structures/reclaim/epoch.rs: the model found the mistake)",
    ])
    .sources(&[
        "K. Fraser, Practical lock-freedom, 2004: epochs",
        "M. Michael, Hazard Pointers, IEEE TPDS 2004",
        "crossbeam-epoch 0.9; haphazard 0.1, after folly's hazptr",
        "crossbeam-rs/crossbeam#566: garbage grows while a reader is pinned; kaist-cp/smr-benchmark: throughput and garbage side by side",
    ])
}

fn read() -> Step {
    Step::new("read", Kind::Single, "op_ns")
        .ask_number(
            "A reader protects a node, reads it and lets go. How many ns does that take with epochs?",
            "snapshot_epoch",
            "",
        )
        .contenders(SCHEMES)
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), SCHEMES.iter().map(|s| s.reads())))
        .bench("read/{case}", THAT_FREE, |_, scheme| cost::timed(&scheme.reads()))
        .claim(
            at_most(1.0, ratio("snapshot_epoch", "crossbeam_epoch")),
            "entering and leaving one of our epochs takes at most as long as crossbeam's pin",
        )
        .claim(
            at_most(1.0, ratio("snapshot_hazard", "haphazard")),
            "protecting a node with our hazard pointers takes at most as long as with the crate haphazard",
        )
        .claim(
            at_least(3.0, ratio("snapshot_epoch", "snapshot_leak")),
            "any protection costs at least 3 times as much as a bare read, because of the fence",
        )
        .because(
            "With epochs and with hazard pointers, the reader writes a word of its own: \"I am inside\", or \"I use this \
             node\". Others must see that word before the reader loads the pointer, so both pay for a full fence.",
            shown_by(at_least(3.0, ratio("snapshot_epoch", "snapshot_leak"))),
        )
        .because(
            "Epochs pay for the fence once for each operation, hazard pointers for each pointer that they follow.",
            source("`enter` in src/structures/reclaim/epoch.rs, `protect` in src/structures/reclaim/hazard.rs"),
        )
        .because(
            "crossbeam finds the thread's record through a thread-local. In our schemes, each thread has a handle to its \
             record.",
            source("crossbeam-epoch 0.9"),
        )
}

fn stalled() -> Step {
    let readers = [
        at("awake_10000", (10_000, false)),
        at("asleep_1000", (1_000, true)),
        at("asleep_10000", (10_000, true)),
    ];
    Step::new("stalled", Kind::Count, "garbage_count")
        .ask_number(
            "A reader falls asleep inside an operation while another thread replaces 10,000 nodes. How many of them does \
             the epoch scheme keep?",
            "snapshot_epoch",
            "asleep_10000",
        )
        .columns(&["peak_count", "after_count"])
        .contenders(SCHEMES)
        .over(readers, |_, p| {
            let (replaced, is_asleep) = p.value;
            let row = |case: &str, scheme: &Published| Sample {
                case: case.into(),
                param: p.id().into(),
                ..scheme.garbage(replaced, is_asleep)
            };
            let id = |scheme: &Published| -> &'static str { AsRef::<Contender>::as_ref(scheme).id };
            let mut rows: Vec<Sample> = SCHEMES.iter().map(|s| row(id(s), s)).collect();
            rows.insert(1, row(AA, SCHEMES[0]));
            rows
        })
        .claim(
            at_least(9.0, ratio(("snapshot_epoch", "asleep_10000"), ("snapshot_epoch", "asleep_1000"))),
            "with epochs the garbage grows with the work: ten times as many replacements leave at least 9 times as much \
             garbage",
        )
        .claim(
            at_least(9.0, ratio(("crossbeam_epoch", "asleep_10000"), ("crossbeam_epoch", "asleep_1000"))),
            "with crossbeam's epochs the garbage grows in the same way",
        )
        .claim(
            at_most(70.0, pick("snapshot_hazard", "asleep_10000", "peak_count")),
            "with our hazard pointers, at most 70 nodes wait to be freed at any time: one batch, and the protected nodes",
        )
        .claim(
            at_most(400.0, pick("snapshot_epoch", "awake_10000", "peak_count")),
            "with all readers awake, our epochs keep at most 400 nodes: a few batches, until all readers have been seen \
             outside",
        )
        .because(
            "Epochs show only which threads are inside an operation, not what they read. One sleeping reader keeps every node \
             that is retired after the reader went in.",
            shown_by(at_least(
                20.0,
                ratio(("snapshot_epoch", "asleep_10000"), ("snapshot_epoch", "awake_10000")),
            )),
        )
        .because(
            "A hazard pointer names its node, so a sleeping reader keeps that node and no other. Other nodes wait only \
             until their batch is checked.",
            shown_by(at_most(70.0, pick("snapshot_hazard", "asleep_10000", "peak_count"))),
        )
        .because(
            "The choice is one fence for each operation and unbounded memory, or one fence for each pointer and bounded \
             memory.",
            source("M. Michael, Hazard Pointers, IEEE TPDS 2004"),
        )
        .because(
            "A structure that frees nothing keeps all nodes. It shows how fast the others could be at most.",
            shown_by(at_least(9_999.0, ("snapshot_leak", "awake_10000"))),
        )
}

fn replace() -> Step {
    Step::new("replace", Kind::Contended, "ops_per_s")
        .ask_best("All threads replace the same node and retire the old one. Which scheme lets them do the most?", "")
        .columns(&["lane_op_ns", "min_max_share"])
        .contenders(THAT_FREE)
        .slice(1.0 / 2.0)
        .over(ONCE, |plan, p| throughput::crowd(plan, p.id(), 0.0, THAT_FREE.iter().map(|s| s.crowd(1))))
        .claim(
            at_least(1.0, ratio("snapshot_epoch", "crossbeam_epoch")).cores(2),
            "our epochs do at least as many replacements as crossbeam's",
        )
        .claim(
            at_least(1.0, ratio("snapshot_hazard", "haphazard")).cores(2),
            "our hazard pointers do at least as many replacements as haphazard's",
        )
        .because(
            "Every scheme allocates a node and exchanges one pointer that all cores want.",
            source("src/contenders/published.rs"),
        )
        .because(
            "The schemes differ in how they find a thread's record, and in how often they look at all readers. Ours look once \
             in 64 retirements, haphazard when 1,000 nodes wait.",
            source("src/structures/reclaim; haphazard 0.1"),
        )
        .because(
            "The scheme that frees nothing is not in this step: it would leak a gigabyte a second.",
            source("`THAT_FREE` in labs/lockfree_reclaim.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

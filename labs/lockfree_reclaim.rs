//! When may I free a node that another thread may still be reading, and what does each answer cost?
//!
//! Run it: `cargo run --release --bin lockfree_reclaim -- --step`
use underhood::{
    contenders::published::{
        CROSSBEAM_EPOCH, HAPHAZARD, Published, SNAPSHOT_EPOCH, SNAPSHOT_HAZARD, SNAPSHOT_LEAK,
    },
    lab::{
        Contender, Evidence, Kind, Lab, ONCE, Step, at, at_least, at_most, pick, ratio, sample::Sample,
        shown_by, source,
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
        "One reader asleep inside, 10,000 nodes replaced: epochs keep {value} of them, hazard pointers {against}.",
        ratio(("snapshot_epoch", "asleep_10000"), ("snapshot_hazard", "asleep_10000")),
        "readers are never descheduled inside for long: then epochs keep a few batches",
    )
    .say(
        "read",
        "Protecting one read takes {value} with an epoch and {against} with a hazard pointer.",
        ratio("snapshot_epoch", "snapshot_hazard"),
        "an operation follows many pointers: an epoch is entered once, a hazard pointer is set for each",
    )
    .not_said(&[
        "Which scheme is the best: one bounds memory, the other bounds the reader's cost.",
        "What a stalled reader costs in bytes: the nodes here are counted, and of one size.",
        "Anything about schemes that need the operating system's help (membarrier), which take the fence from the reader.",
    ])
    .next(&[
        "Why not count references? (each reader writes the node's own line: RwLock<Arc> in lab lockfree_snapshot)",
        "How would you bound epochs? (kick out, or wait for, a reader that stays too long: then it is no longer wait-free)",
        "What stamp does a retired node get, and why is the reader's own epoch too old? (head of src/structures/reclaim/epoch.rs: the model found it)",
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
            "A reader protects a node, looks at it and lets go. What does it take with epochs, in ns?",
            "snapshot_epoch",
            "",
        )
        .contenders(SCHEMES)
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| cost::solo(plan, p.id(), SCHEMES.iter().map(|s| s.reads())))
        .bench("read/{case}", THAT_FREE, |_, scheme| cost::timed(&scheme.reads()))
        .claim(
            at_most(1.0, ratio("snapshot_epoch", "crossbeam_epoch")),
            "going in and out of an epoch takes at most as long as crossbeam's pin",
        )
        .claim(
            at_most(1.0, ratio("snapshot_hazard", "haphazard")),
            "protecting by a hazard pointer takes at most as long as haphazard's",
        )
        .claim(
            at_least(3.0, ratio("snapshot_epoch", "snapshot_leak")),
            "any protection at all costs at least 3 times a bare look: the fence",
        )
        .because(
            "Both schemes write a word of the reader's own: \"I am inside\", or \"I use this node\". It must be seen before they \
             look, so they pay a full fence.",
            shown_by(at_least(3.0, ratio("snapshot_epoch", "snapshot_leak"))),
        )
        .because(
            "Epochs pay it once for each operation, hazard pointers for each pointer they follow.",
            source("`enter` in src/structures/reclaim/epoch.rs, `protect` in src/structures/reclaim/hazard.rs"),
        )
        .because("crossbeam finds its thread by a thread-local, ours has a handle.", source("crossbeam-epoch 0.9"))
}

fn stalled() -> Step {
    let readers = [
        at("awake_10000", (10_000, false)),
        at("asleep_1000", (1_000, true)),
        at("asleep_10000", (10_000, true)),
    ];
    Step::new("stalled", Kind::Count, "garbage_count")
        .ask_number(
            "A reader falls asleep inside while another thread replaces 10,000 nodes. How many of them does the epoch scheme keep?",
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
            "with epochs the garbage grows with the work: ten times the replacements, at least 9 times the garbage",
        )
        .claim(
            at_least(9.0, ratio(("crossbeam_epoch", "asleep_10000"), ("crossbeam_epoch", "asleep_1000"))),
            "crossbeam's, too",
        )
        .claim(
            at_most(70.0, pick("snapshot_hazard", "asleep_10000", "peak_count")),
            "with hazard pointers at most 70 nodes wait at any time: a batch, and what is protected",
        )
        .claim(
            at_most(400.0, pick("snapshot_epoch", "awake_10000", "peak_count")),
            "with everybody awake, epochs keep at most 400: a few batches, until all have been seen outside",
        )
        .because(
            "Epochs know only which threads are inside, not what they read: one sleeper keeps everything that is retired after it went in.",
            shown_by(at_least(
                20.0,
                ratio(("snapshot_epoch", "asleep_10000"), ("snapshot_epoch", "awake_10000")),
            )),
        )
        .because(
            "A hazard pointer names its node, so a sleeper keeps that node and no other.",
            shown_by(at_most(70.0, pick("snapshot_hazard", "asleep_10000", "peak_count"))),
        )
        .because(
            "This is the whole trade: one fence for each operation and unbounded memory, or one for each pointer and a bound.",
            source("M. Michael, Hazard Pointers, IEEE TPDS 2004"),
        )
        .because("Leaking is the ceiling of speed, and keeps all.", shown_by(at_least(9_999.0, ("snapshot_leak", "awake_10000"))))
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
            "epochs do at least what crossbeam's do",
        )
        .claim(
            at_least(1.0, ratio("snapshot_hazard", "haphazard")).cores(2),
            "hazard pointers do at least what haphazard's do",
        )
        .because(
            "The allocation and the exchange of a line between cores are there in any case.",
            Evidence::None,
        )
        .because(
            "What differs is how a thread is found, and how often somebody looks at all readers: once in 64 retirements here, at 1,000 \
             waiting nodes with haphazard.",
            source("src/structures/reclaim; haphazard 0.1"),
        )
        .because("Leaking is not in this step: it would take a gigabyte a second.", Evidence::None)
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

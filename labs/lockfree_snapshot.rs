//! How cheap can reading a shared value be, and what if it is replaced often?
//!
//! Run it: `cargo run --release --bin lockfree_snapshot -- --step`
use underhood::{
    contenders::published::{
        ARC_SWAP, ARC_SWAP_CACHE, Published, RWLOCK_ARC, SNAPSHOT_EPOCH, SNAPSHOT_HAZARD,
    },
    experiments::looked_at,
    lab::{Evidence, Kind, Lab, ONCE, Step, at, at_least, at_most, pick, ratio, shown_by, source},
    measure::{
        cost::{self, Solo},
        throughput,
    },
};

const SNAPSHOTS: &[&Published] =
    &[&RWLOCK_ARC, &ARC_SWAP, &ARC_SWAP_CACHE, &SNAPSHOT_EPOCH, &SNAPSHOT_HAZARD];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "lockfree_snapshot",
        "How cheap can reading a shared value be, and what if it is replaced often?"
    )
    .step(alone())
    .step(publish_rate())
    .step(worst())
    .step(memory())
    .say(
        "publish_rate",
        "With {threads} threads that only read, our snapshot does {value}, an RwLock<Arc> {against}: {ratio}.",
        ratio(("snapshot_epoch", "never"), ("rwlock_arc", "never")),
        "something is published every few reads, or a read takes microseconds",
    )
    .say(
        "alone",
        "Reading our snapshot takes {value}, arc-swap's load {against}: {ratio}.",
        ratio(("snapshot_epoch", "read"), ("arc_swap", "read")),
        "the reader wants to keep the value: an Arc may be kept, our reader must leave",
    )
    .not_said(&[
        "That arc-swap is slow: it is read from any thread through a shared reference and finds the thread's slot \
         by a thread-local; ours wants a handle for each thread. arc_swap_cache is the one that keeps something in each reader, too.",
        "That a snapshot replaces a lock: two writers that read, change and publish lose updates.",
        "What a reader costs that stays inside for long: memory, see lab lockfree_reclaim.",
        "Anything about values that are dear to copy: each publish makes a whole new one.",
    ])
    .next(&[
        "Why does a reader need a fence, if it only reads? (it announces itself first, and that is a write)",
        "When may the old value be freed? (lab lockfree_reclaim)",
        "When is a seqlock better? (small values, no pointers in them: lab lock_seqlock)",
    ])
    .sources(&[
        "arc-swap 1.9, docs: debts of readers; \"unscientific\" benchmarks, users ask for a comparison (#176)",
        "smithy-lang/smithy-rs#4595: RwLock, Mutex, ArcSwap, left-right and evmap at 16 threads",
        "P. McKenney, J. Slingwine, Read-Copy Update, 1998",
        "jonhoo/left-right, evmap: readers without fences between them, writers that wait",
    ])
}

fn alone() -> Step {
    let does: [fn(&Published) -> Solo; 2] = [Published::reads, Published::publishes];
    Step::new("alone", Kind::Single, "op_ns")
        .ask_number(
            "One thread reads a shared value of 64 bytes, nobody else is there. What does it take behind an RwLock<Arc>, in ns?",
            "rwlock_arc",
            "read",
        )
        .contenders(SNAPSHOTS)
        .slice(1.0 / 4.0)
        .over([at("read", does[0]), at("publish", does[1])], |plan, p| {
            cost::solo(plan, p.id(), SNAPSHOTS.iter().map(|s| (p.value)(s)))
        })
        .bench("read/{case}", [&ARC_SWAP, &SNAPSHOT_EPOCH, &SNAPSHOT_HAZARD], |_, s| {
            cost::timed(&s.reads())
        })
        .claim(
            at_most(1.0, ratio(("snapshot_epoch", "read"), ("arc_swap", "read"))),
            "reading our snapshot with epochs takes at most as long as arc-swap's load",
        )
        .claim(
            at_most(0.25, ratio(("arc_swap_cache", "read"), ("rwlock_arc", "read"))),
            "a reader that keeps a copy and looks whether it is still the newest takes at most a quarter of the lock",
        )
        .claim(
            at_least(2.0, ratio(("snapshot_epoch", "publish"), ("snapshot_epoch", "read"))),
            "publishing takes at least twice as long as reading, with our snapshot: it allocates, and frees later",
        )
        .because(
            "RwLock<Arc> writes four times to shared lines for one read: in, count up, out, count down.",
            source("src/contenders/published.rs, `Locked`"),
        )
        .because(
            "arc-swap and the snapshot write only to a line of the reader's own. They pay a fence, which must order that write \
             before the look at the pointer: about as much as one atomic instruction.",
            Evidence::None,
        )
        .because(
            "Only the cache does without: it looks at the pointer and writes nothing.",
            shown_by(at_most(0.5, ratio(("arc_swap_cache", "read"), ("snapshot_epoch", "read")))),
        )
}

fn publish_rate() -> Step {
    Step::new("publish_rate", Kind::Contended, "ops_per_s")
        .ask_best("All threads read; every tenth operation of each publishes. Which does the most?", "1_in_10")
        .columns(&["lane_op_ns", "min_max_share"])
        .contenders(SNAPSHOTS)
        .slice(1.0 / 2.0)
        .over([at("never", 0), at("1_in_1000", 1_000), at("1_in_10", 10)], |plan, every| {
            throughput::crowd(plan, every.id(), 0.0, SNAPSHOTS.iter().map(|s| s.crowd(every.value)))
        })
        .bench("crowd_1_in_10/{case}", [&SNAPSHOT_EPOCH], |plan, s| throughput::timed(plan, 0.0, &s.crowd(10)))
        .claim(
            at_least(4.0, ratio(("snapshot_epoch", "never"), ("rwlock_arc", "never"))).cores(2),
            "if nobody publishes, our snapshot does at least 4 times what RwLock<Arc> does",
        )
        .claim(
            at_least(1.0, ratio(("snapshot_epoch", "never"), ("arc_swap", "never"))).cores(2),
            "and at least what arc-swap does",
        )
        .claim(
            at_most(0.33, ratio(("arc_swap", "1_in_10"), ("arc_swap", "never"))).cores(2),
            "read-optimised structures lose when writes are frequent: at one in ten, arc-swap keeps at most a third of its rate",
        )
        .claim(
            at_most(0.5, ratio(("snapshot_epoch", "1_in_10"), ("snapshot_epoch", "never"))).cores(2),
            "our snapshot keeps at most half",
        )
        .because(
            "Without publishing, no line moves: readers scale with the cores.",
            shown_by(at_least(4.0, ratio(("snapshot_epoch", "never"), ("rwlock_arc", "never"))).cores(2)),
        )
        .because(
            "Every publish moves the pointer's line to all readers, and the value's; and it allocates.",
            shown_by(
                at_most(0.5, ratio(("snapshot_epoch", "1_in_10"), ("snapshot_epoch", "never"))).cores(2),
            ),
        )
        .because(
            "Somebody must find out when the old value may go. arc-swap's writer looks at every reader's slots and pays their debts.",
            source("arc-swap 1.9, docs: debts of readers"),
        )
        .because(
            "The snapshot's every 64th publish looks at every reader. The name says it: read mostly.",
            source("src/structures/reclaim/epoch.rs"),
        )
}

fn worst() -> Step {
    looked_at::longest(SNAPSHOTS, |s| s.crowd(10))
        .ask_number(
            "One operation in ten publishes, four threads for each CPU. How long does the longest take behind an RwLock<Arc>, in ns?",
            "rwlock_arc",
            "4x_threads",
        )
        .claim(
            at_most(0.01, pick("snapshot_epoch", "4x_threads", "halted_share")).cores(2),
            "nobody stops the others of our snapshot: for at most a hundredth of the time no thread gets on",
        )
        .claim(at_most(0.01, pick("arc_swap", "4x_threads", "halted_share")).cores(2), "nor those of arc-swap")
        .claim(
            at_least(0.9, pick("snapshot_epoch", "1x_threads", "jain_share")).cores(2),
            "with a thread for each CPU our snapshot is fair: Jain's index is at least 0.9",
        )
        .because(
            "A publish is one exchange of a pointer that always succeeds, so no exchange is counted as failed here: there is none.",
            source("src/structures/lockfree/snapshot.rs"),
        )
        .because(
            "What the longest operation waits for is its own next turn.",
            shown_by(
                at_least(10.0, ratio(("snapshot_epoch", "4x_threads"), ("snapshot_epoch", "1x_threads"))).cores(2),
            ),
        )
}

fn memory() -> Step {
    Step::new("memory", Kind::Count, "instance_bytes")
        .ask_number(
            "A value of 64 bytes is published for two readers. How many bytes does our snapshot take with it?",
            "snapshot_epoch",
            "",
        )
        .isolated(SNAPSHOTS, ONCE, |_, snapshot, _| snapshot.instance())
        .check_after()
        .claim(
            at_least(2.0, ratio("snapshot_epoch", "rwlock_arc")),
            "our snapshot takes at least twice what RwLock<Arc> takes: a line or two for each reader",
        )
        .because(
            "Each reader of ours announces itself in a line of its own, which is set aside when the snapshot is made.",
            shown_by(at_least(2.0, ratio("snapshot_epoch", "rwlock_arc"))),
        )
        .because(
            "arc-swap and its cache keep theirs for the whole process, so they do not show here.",
            shown_by(at_most(1.1, ratio("arc_swap", "rwlock_arc"))),
        )
        .because("What waits to be freed is counted in lab lockfree_reclaim.", source("labs/lockfree_reclaim.rs"))
        .because(
            "What is counted is what the allocator has given out.",
            source("`instance` in src/measure/allocated.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

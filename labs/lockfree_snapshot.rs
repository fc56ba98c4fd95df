//! How cheap can reading a shared value be, and what if it is replaced often?
//!
//! Run it: `cargo run --release --bin lockfree_snapshot -- --step`
use underhood::{
    contenders::published::{
        ARC_SWAP, ARC_SWAP_CACHE, Published, RWLOCK, RWLOCK_ARC, SNAPSHOT_EPOCH, SNAPSHOT_HAZARD,
    },
    experiments::looked_at,
    lab::{Kind, Lab, ONCE, Step, at, at_least, at_most, pick, ratio, shown_by, source},
    measure::{
        cost::{self, Solo},
        throughput,
    },
};

const SNAPSHOTS: &[&Published] =
    &[&RWLOCK_ARC, &RWLOCK, &ARC_SWAP, &ARC_SWAP_CACHE, &SNAPSHOT_EPOCH, &SNAPSHOT_HAZARD];

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
        "{threads} threads only read. Counted in reads, our snapshot does {value}, an RwLock<Arc> {against}: {ratio}.",
        ratio(("snapshot_epoch", "never"), ("rwlock_arc", "never")),
        "a value is published every few reads, or a read takes microseconds",
    )
    .say(
        "alone",
        "Reading our snapshot takes {value}, arc-swap's load {against}: {ratio}.",
        ratio(("snapshot_epoch", "read"), ("arc_swap", "read")),
        "the reader wants to keep the value: an Arc may be kept, but a reader of our snapshot must let go",
    )
    .not_said(&[
        "The cost of a reader that keeps the value. With RwLock<Arc> a reader may keep the Arc, and each read pays for that.",
        "That arc-swap is slow: any thread can read it through a shared reference, and it finds the thread's slot by a \
         thread-local. Our snapshot needs a handle for each thread. Like our snapshot, arc-swap's Cache needs something of its \
         own in each reader.",
        "That a snapshot replaces a lock: two writers that read, change and publish lose updates.",
        "The cost of a reader that stays inside for long. It is memory: see lab lockfree_reclaim.",
        "Anything about values that are expensive to copy: each publish makes a whole new value.",
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
            "One thread alone reads a shared value of 64 bytes. How many ns does a read take behind an RwLock<Arc>?",
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
            "a reader that keeps a copy and checks whether it is still the newest takes at most a quarter of the time of \
             RwLock<Arc>",
        )
        .claim(
            at_least(2.0, ratio(("snapshot_epoch", "publish"), ("snapshot_epoch", "read"))),
            "publishing to our snapshot takes at least twice as long as reading it: a publish allocates, and frees later",
        )
        .because(
            "One read of an RwLock<Arc> writes four times to shared cache lines: lock, count up, unlock, count down. A reader \
             that does not clone the Arc writes only twice: lock and unlock.",
            shown_by(at_most(0.8, ratio(("rwlock", "read"), ("rwlock_arc", "read")))),
        )
        .because(
            "arc-swap and our snapshot write only to a cache line of the reader's own. They pay for a fence, which must \
             order that write before the load of the pointer.",
            source("`enter` in src/structures/reclaim/epoch.rs; arc-swap 1.9, docs"),
        )
        .because(
            "Only arc-swap's Cache needs no fence: it loads the pointer and writes nothing.",
            shown_by(at_most(0.5, ratio(("arc_swap_cache", "read"), ("snapshot_epoch", "read")))),
        )
}

fn publish_rate() -> Step {
    Step::new("publish_rate", Kind::Contended, "ops_per_s")
        .ask_best("All threads read, and every tenth operation of each thread publishes. Which way to share does the most?", "1_in_10")
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
            "if nobody publishes, our snapshot does at least what arc-swap does",
        )
        .claim(
            at_most(0.33, ratio(("arc_swap", "1_in_10"), ("arc_swap", "never"))).cores(2),
            "read-optimised structures lose if writes are frequent: with one publish in ten operations, arc-swap keeps at \
             most a third of its rate",
        )
        .claim(
            at_most(0.5, ratio(("snapshot_epoch", "1_in_10"), ("snapshot_epoch", "never"))).cores(2),
            "with one publish in ten operations, our snapshot keeps at most half of its rate",
        )
        .because(
            "If nobody publishes, no cache line moves, so readers do not wait for each other. Under an RwLock they do.",
            shown_by(at_least(4.0, ratio(("snapshot_epoch", "never"), ("rwlock_arc", "never"))).cores(2)),
        )
        .because(
            "Every publish allocates, and moves two cache lines to all readers: the pointer's and the value's.",
            shown_by(
                at_most(0.5, ratio(("snapshot_epoch", "1_in_10"), ("snapshot_epoch", "never"))).cores(2),
            ),
        )
        .because(
            "Some thread must find out when the old value may be freed. In arc-swap the writer looks at every reader's \
             slots, and pays their debts (it counts the references that readers have not counted).",
            source("arc-swap 1.9, docs: debts of readers"),
        )
        .because(
            "Every 64th publish of our snapshot looks at every reader. The snapshot is made for values that are mostly \
             read.",
            source("src/structures/reclaim/epoch.rs"),
        )
}

fn worst() -> Step {
    looked_at::longest(SNAPSHOTS, |s| s.crowd(10))
        .ask_number(
            "There are four threads for each CPU, and one operation in ten publishes. How many ns does the longest \
             operation take behind an RwLock<Arc>?",
            "rwlock_arc",
            "4x_threads",
        )
        .claim(
            at_most(0.01, pick("snapshot_epoch", "4x_threads", "halted_share")).cores(2),
            "in our snapshot no thread stops the others: for at most a hundredth of the time no thread makes progress",
        )
        .claim(
            at_most(0.01, pick("arc_swap", "4x_threads", "halted_share")).cores(2),
            "in arc-swap no thread stops the others either: for at most a hundredth of the time no thread makes progress",
        )
        .claim(
            at_least(0.9, pick("snapshot_epoch", "1x_threads", "jain_share")).cores(2),
            "with a thread for each CPU our snapshot is fair: Jain's index is at least 0.9",
        )
        .because(
            "A publish is one exchange of a pointer, and it always succeeds. So no failed exchanges are counted here.",
            source("src/structures/lockfree/snapshot.rs"),
        )
        .because(
            "Without a lock, all threads can stand still at once too, for example while they wait for a CPU or for the \
             allocator. This step cannot tell these causes apart.",
            source("`common` in src/measure/worst.rs"),
        )
        .because(
            "In the longest operation, a thread waits for its own next time slice.",
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
            "our snapshot takes at least twice what RwLock<Arc> takes",
        )
        .because(
            "Each reader of our snapshot announces itself in a cache line of its own, which is allocated together with the \
             snapshot. So it takes more than RwLock<Arc>.",
            shown_by(at_least(1.2, ratio("snapshot_epoch", "rwlock_arc"))),
        )
        .because(
            "arc-swap and its Cache keep such lines for the whole process, so these do not show here.",
            shown_by(at_most(1.1, ratio("arc_swap", "rwlock_arc"))),
        )
        .because("What waits to be freed is counted in lab lockfree_reclaim.", source("labs/lockfree_reclaim.rs"))
        .because(
            "The bytes are those that the allocator has given out.",
            source("`instance` in src/measure/allocated.rs"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

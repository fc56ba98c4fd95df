//! Why does an array of 513 KiB stop a G1 heap more often than one of 511 KiB?
//!
//! Run it: `cargo run --release --bin gc_reference_jvm -- --step` (where a JDK is installed; elsewhere it says that there is none)
//!
//! One table has the same garbage and the same live objects on collectors of OpenJDK and on one of MMTk. It is a reference
//! for the other labs on collectors, and none of them needs it.
use std::{iter::once, time::Duration};

use underhood::{
    experiments::jvm::{self, Job, Jvm},
    heap::{
        Collector, Config, Mutator,
        load::churn::{Job as Churn, Op, churn},
    },
    lab::{
        Contender, Kind, Lab, ONCE, Step, at_least, at_most, between, pick, plan::Plan, ratio,
        sample::Sample, shown_by, source,
    },
    machine::memory::Room,
    measure::lateness::interleave,
    record::AA,
};

const HEAP_MIB: u32 = 128;
/// Tables of 500 objects of 48 bytes: 10 MiB.
const TABLES: u32 = 437;
/// Below and above half of a region of 1 MiB.
const BELOW: u32 = 511 << 10;
const ABOVE: u32 = 513 << 10;

/// A collector, and the garbage it gets.
struct Case {
    is: Contender,
    runs: Runs,
}

enum Runs {
    /// A JVM with these flags, and arrays of this many bytes.
    Java(&'static [&'static str], u32),
    /// Our heap, and arrays of [`ABOVE`] bytes.
    Ours,
}

const G1: &[&str] = &["-XX:+UseG1GC", "-XX:G1HeapRegionSize=1m"];

const CASES: &[Case] = &[
    java("G1_511KiB", G1, BELOW),
    java("G1_513KiB", G1, ABOVE),
    java("Serial_511KiB", &["-XX:+UseSerialGC"], BELOW),
    java("Serial_513KiB", &["-XX:+UseSerialGC"], ABOVE),
    java("ZGC_513KiB", &["-XX:+UseZGC"], ABOVE),
    Case { is: Contender::new("MMTk_GenImmix_513KiB").of("mmtk"), runs: Runs::Ours },
];

const fn java(id: &'static str, flags: &'static [&'static str], payload_bytes: u32) -> Case {
    Case { is: Contender::new(id), runs: Runs::Java(flags, payload_bytes) }
}

impl AsRef<Contender> for Case {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "gc_reference_jvm",
        "Why does an array of 513 KiB stop a G1 heap more often than one of 511 KiB?"
    )
        .runs_on(jvm::version)
        .step(humongous())
        .say(
            "humongous",
            "With regions of 1 MiB, garbage arrays of 513 KiB stop G1 {value} times for each GiB allocated, arrays of \
             511 KiB {against} times: {ratio}.",
            ratio("G1_513KiB", "G1_511KiB"),
            "the regions are larger (G1 chooses 1 to 32 MiB by the size of the heap), or the arrays are reused",
        )
        .not_said(&[
        "That one collector is better: the heap, the live objects and the garbage are those of one program.",
        "That MMTk's row is a JVM. It is the same work on another heap, without a compiler and with one collector thread.",
        "That the longest pause is an upper bound: it is only the longest of a few.",
    ])
        .next(&[
        "Which flag would you change first? (G1HeapRegionSize: in regions of 2 MiB or more, 513 KiB is an ordinary object)",
        "What does it cost in memory if an array is 1 KiB too long for half a region? (a whole region: two such \
         arrays take two regions instead of one)",
        "What does a safepoint line of the log contain besides the pause? (the time to safepoint, which no collector can shorten)",
        "Why are ZGC's stops so short? (it marks and moves objects while the program runs, and pays with CPU and memory)",
    ])
        .sources(&[
        "OpenJDK, G1: humongous is an object of more than half a region (src/hotspot/share/gc/g1/g1CollectedHeap.hpp)",
        "OpenJDK, -Xlog:safepoint (JEP 158); src/hotspot/share/runtime/safepoint.cpp",
        "SAP/SapMachine issue 2165 (JDK-8355972): humongous garbage fills the heap while it waits",
    ])
}

fn humongous() -> Step {
    Step::new("humongous", Kind::Pause, "stops_per_gib_count")
        .ask_number(
            "On G1 with regions of 1 MiB, a program allocates garbage arrays of 511 KiB, or of 513 KiB. 10 MiB of small \
             objects stay alive in a heap of 128 MiB. How many times does G1 stop the world for each GiB of the larger \
             arrays?",
            "G1_513KiB",
            "",
        )
        .columns(&[
            "pause_ns",
            "pause_max_ns",
            "reach_ns",
            "wait_max_ns",
            "gc_share",
            "op_ns",
            "collections_count",
        ])
        .contenders(CASES)
        // A warm-up of half that time comes first, in which the program is compiled.
        .slice(0.5)
        .over(ONCE, |plan, _| churned(plan))
        .claim(
            at_least(1.5, ratio("G1_513KiB", "G1_511KiB")),
            "G1 stops at least 1.5 times as often if the arrays are 2 KiB larger",
        )
        .claim(
            between(0.8, 1.25, ratio("Serial_513KiB", "Serial_511KiB")),
            "the serial collector, which has no such rule, stops about as often for both",
        )
        .because(
            "An object of more than half a region gets regions of its own in G1. 513 KiB take 1 MiB, so the heap is full sooner. \
             A collector without regions (Serial) shows no such step.",
            shown_by(at_most(1.25, ratio("Serial_513KiB", "Serial_511KiB"))),
        )
        .because(
            "How often a collector stops for young arrays depends on the size of its young generation, and that differs \
             between these collectors. Compare the two rows of one collector, not one collector with another.",
            source("OpenJDK, -XX:NewSize and -XX:G1NewSizePercent"),
        )
        .because(
            "ZGC's stops are short, but its allocations take longer (time per operation). A thread that finds no memory \
             waits for the collector, and no safepoint log shows that.",
            shown_by(at_least(1.5, ratio(pick("ZGC_513KiB", "", "op_ns"), pick("Serial_513KiB", "", "op_ns")))),
        )
        .because(
            "G1 also frees dead humongous arrays early, in young collections (eager reclaim). Without that it would stop more often.",
            source("OpenJDK, src/hotspot/share/gc/g1/g1HeapRegion.hpp: eager reclaim of humongous objects"),
        )
}

/// Every case and the first one's twin, in random order.
fn churned(plan: &Plan) -> Vec<Sample> {
    let room = Room::now().refusal(u64::from(HEAP_MIB) << 21).map(|why| format!("the experiment {why}"));
    // Found and compiled once for all cases, since that takes most of the time.
    let jvm = room.map_or_else(Jvm::find, Err);
    let time = plan.slice.max(Duration::from_millis(20));
    let one = |id: &str, case: &Case| -> Result<Sample, String> {
        let jvm = jvm.as_ref().map_err(Clone::clone)?;
        let Runs::Java(flags, payload_bytes) = case.runs else { return ours(plan, time, id) };
        let job = Job { flags, heap_mib: HEAP_MIB, payload_bytes, tables: TABLES, time };
        Ok(jvm.run(&job)?.sample(id, "").with("work_per_op_bytes", f64::from(payload_bytes)))
    };
    let rows: Vec<_> = CASES.iter().map(|case| (case.is.id, case)).chain(once((AA, &CASES[0]))).collect();
    let seed = plan.seed.wrapping_add((plan.launch as u64) << 32);
    // One round: MMTk makes one heap in a process.
    let samples = interleave(1, seed, rows.len(), |row| {
        let (id, case) = rows[row];
        one(id, case).unwrap_or_else(|why| Sample::unmeasured(id, "", why))
    });
    samples.into_iter().flatten().collect()
}

/// The same on our heap.
fn ours(plan: &Plan, time: Duration, id: &str) -> Result<Sample, String> {
    let garbage = |_: &mut Mutator| -> Op { Box::new(|m| m.alloc(0, ABOVE).map(drop)) };
    let config = Config::new(Collector::GenImmix, (HEAP_MIB as usize) << 20);
    let live_bytes = TABLES as usize * 500 * 48;
    let churned =
        churn(Churn { config, live_bytes, time, collections: 1, cpus: plan.cpus.clone() }, garbage)?;
    let gib = churned.ops as f64 * f64::from(ABOVE) / f64::from(1 << 30);
    let per_gib = churned.pauses.len() as f64 / gib;
    Ok(churned
        .sample(id, "")
        .with("stops_per_gib_count", per_gib)
        .with("work_per_op_bytes", f64::from(ABOVE)))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

//! Why does an array of 513 KiB stop a G1 heap more often than one of 511 KiB?
//!
//! Run it: `cargo run --release --bin gc_reference_jvm -- --step` (where a JDK is installed; elsewhere it says that there is none)
//!
//! The same garbage beside the same live objects on collectors of OpenJDK, and on one of MMTk in the same table: a
//! reference for the other labs on collectors, and never needed by them.
use std::time::Duration;

use underhood::{
    experiments::jvm::{Job, Jvm},
    heap::{
        Collector, Config, Mutator,
        load::churn::{Job as Churn, Op, churn},
    },
    lab::{
        Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::Plan,
        sample::Sample,
    },
    machine::memory::Room,
    measure::lateness::interleaved,
    record::AA,
};

const HEAP_MIB: u32 = 128;
/// Tables of 500 objects of 48 bytes: 10 MiB.
const TABLES: u32 = 437;
/// Below and above half of a region of 1 MiB.
const BELOW: u32 = 511 << 10;
const ABOVE: u32 = 513 << 10;

pub(crate) static LAB: Lab = Lab {
    stem: "gc_reference_jvm",
    question: "Why does an array of 513 KiB stop a G1 heap more often than one of 511 KiB?",
    steps: &[HUMONGOUS],
    says: &[Say {
        step: "humongous",
        text: "With regions of 1 MiB, garbage of 513 KiB stops G1 {ratio} as often as garbage of 511 KiB: {value} against {against}.",
        of: at("G1_513KiB", "stops_per_gib_count"),
        against: Some(at("G1_511KiB", "stops_per_gib_count")),
        not_true_when: "the regions are larger (G1 chooses 1 to 32 MiB by the size of the heap), or the arrays are reused",
    }],
    not_said: &[
        "That one collector is better: the heap, the live objects and the garbage are those of this one program.",
        "That MMTk's row is a JVM: it is the same work on another heap, without a compiler, with one collector thread.",
        "The longest pause as a bound: it is the longest of a few.",
    ],
    next: &[
        "Which flag would you change first? (G1HeapRegionSize: from 2 MiB on, 513 KiB is an ordinary object)",
        "What do 300 bytes more cost in memory? (a whole second region: two arrays of half a region each take two)",
        "What is in a safepoint line besides the pause? (the time to safepoint, which no collector can shorten)",
        "Why does ZGC stop so shortly? (it marks and moves beside the program, and pays with CPU and memory)",
    ],
    sources: &[
        "OpenJDK, G1: humongous is an object of at least half a region (src/hotspot/share/gc/g1/g1CollectedHeap.hpp)",
        "OpenJDK, -Xlog:safepoint (JEP 158); src/hotspot/share/runtime/safepoint.cpp",
        "SAP/SapMachine issue 2165 (JDK-8355972): humongous garbage fills the heap while it waits",
    ],
    benches: |_| Vec::new(),
};

const fn at(case: &'static str, value: &'static str) -> Pick {
    pick(case, "", value)
}
const fn claim(expect: Expect, text: &'static str, of: Pick, against: Pick) -> Claim {
    Claim { text, of, against: Some(against), expect, cores: 1 }
}

const HUMONGOUS: Step = Step {
    name: "humongous",
    ask: "G1 with regions of 1 MiB allocates garbage arrays of 511 KiB, then of 513 KiB; 10 MiB of small objects live in 128 MiB. How \
          many times does it stop the world for each GiB of the larger ones?",
    predict: Predict::Number { case: "G1_513KiB", param: "" },
    kind: Kind::Pause,
    cases: &["G1_511KiB", "G1_513KiB", "Serial_513KiB", "ZGC_513KiB", "MMTk_GenImmix_513KiB"],
    params: &[""],
    launch: Launch::Together,
    measure: humongous,
    headline: "stops_per_gib_count",
    columns: &[
        "pause_ns",
        "pause_max_ns",
        "reach_ns",
        "wait_max_ns",
        "gc_share",
        "op_ns",
        "collections_count",
    ],
    claims: &[claim(
        AtLeast(1.5),
        "G1: 2 KiB more, at least 1.5 times as many stops",
        at("G1_513KiB", "stops_per_gib_count"),
        at("G1_511KiB", "stops_per_gib_count"),
    )],
    because: "From half a region on G1 gives an object regions of its own: 513 KiB take 1 MiB, so the heap is full twice as soon, and each such \
              allocation checks whether a concurrent cycle should begin, which is a stop of its own. Below it the arrays are young \
              objects and die in young collections. It is the same kind of edge as .NET's 85,000 bytes (gc_large_objects): a size at \
              which an object changes into another part of the heap. Open src/experiments/Churn.java and src/experiments/jvm.rs.",
    tour: false,
};

fn humongous(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let room = Room::now().refusal(u64::from(HEAP_MIB) << 21).map(|why| format!("the experiment {why}"));
    // Found and compiled once for all cases, which is most of the time.
    let jvm = room.map_or_else(Jvm::find, Err);
    // Half as much again before it, in which the program is compiled.
    let time = (plan.slice / 2).max(Duration::from_millis(20));
    // One round: MMTk makes one heap in a process.
    interleaved(
        plan,
        1,
        cases,
        params,
        |case, param| {
            let jvm = jvm.as_ref().map_err(Clone::clone)?;
            if case.starts_with("MMTk") {
                return ours(plan, time, case, param);
            }
            let (flags, payload_bytes): (&[&str], u32) = match case {
                "G1_513KiB" => (G1, ABOVE),
                "Serial_513KiB" => (&["-XX:+UseSerialGC"], ABOVE),
                "ZGC_513KiB" => (&["-XX:+UseZGC"], ABOVE),
                "G1_511KiB" | AA => (G1, BELOW),
                other => return Err(format!("no such case: {other}")),
            };
            let job = Job { flags, heap_mib: HEAP_MIB, payload_bytes, tables: TABLES, time };
            Ok(jvm.run(&job)?.sample(case, param).with("work_per_op_bytes", f64::from(payload_bytes)))
        },
        |case, param, mut slices| match slices.pop() {
            Some(Ok(sample)) => sample,
            Some(Err(why)) => Sample::unmeasured(case, param, why),
            None => Sample::unmeasured(case, param, "it was not run"),
        },
    )
}

const G1: &[&str] = &["-XX:+UseG1GC", "-XX:G1HeapRegionSize=1m"];

/// The same on our heap.
fn ours(plan: &Plan, time: Duration, case: &str, param: &str) -> Result<Sample, String> {
    let garbage = |_: &mut Mutator| -> Op { Box::new(|m| m.alloc(0, ABOVE).map(drop)) };
    let config = Config::new(Collector::GenImmix, (HEAP_MIB as usize) << 20);
    let live_bytes = TABLES as usize * 500 * 48;
    let churned =
        churn(Churn { config, live_bytes, time, collections: 1, cpus: plan.cpus.clone() }, garbage)?;
    let gib = churned.ops as f64 * f64::from(ABOVE) / f64::from(1 << 30);
    let per_gib = churned.pauses.len() as f64 / gib;
    Ok(churned
        .sample(case, param)
        .with("stops_per_gib_count", per_gib)
        .with("work_per_op_bytes", f64::from(ABOVE)))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

//! Why does an array of 513 KiB stop a G1 heap more often than one of 511 KiB?
//!
//! Run it: `cargo run --release --bin gc_reference_jvm -- --step` (where a JDK is installed; elsewhere it says that there is none)
//!
//! The same garbage beside the same live objects on collectors of OpenJDK, and on one of MMTk in the same table: a
//! reference for the other labs on collectors, and never needed by them.
use std::{iter::once, time::Duration};

use underhood::{
    experiments::jvm::{Job, Jvm},
    heap::{
        Collector, Config, Mutator,
        load::churn::{Job as Churn, Op, churn},
    },
    lab::{Contender, Evidence, Kind, Lab, ONCE, Step, at_least, plan::Plan, ratio, sample::Sample, source},
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
    /// A JVM with these flags, and arrays of so many bytes.
    Java(&'static [&'static str], u32),
    /// Our heap, and arrays of [`ABOVE`] bytes.
    Ours,
}

const G1: &[&str] = &["-XX:+UseG1GC", "-XX:G1HeapRegionSize=1m"];

const CASES: &[Case] = &[
    java("G1_511KiB", G1, BELOW),
    java("G1_513KiB", G1, ABOVE),
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
        .step(humongous())
        .say(
            "humongous",
            "With regions of 1 MiB, garbage of 513 KiB stops G1 {ratio} as often as garbage of 511 KiB: {value} against {against}.",
            ratio("G1_513KiB", "G1_511KiB"),
            "the regions are larger (G1 chooses 1 to 32 MiB by the size of the heap), or the arrays are reused",
        )
        .not_said(&[
        "That one collector is better: the heap, the live objects and the garbage are those of this one program.",
        "That MMTk's row is a JVM: it is the same work on another heap, without a compiler, with one collector thread.",
        "The longest pause as a bound: it is the longest of a few.",
    ])
        .next(&[
        "Which flag would you change first? (G1HeapRegionSize: from 2 MiB on, 513 KiB is an ordinary object)",
        "What do 300 bytes more cost in memory? (a whole second region: two arrays of half a region each take two)",
        "What is in a safepoint line besides the pause? (the time to safepoint, which no collector can shorten)",
        "Why does ZGC stop so shortly? (it marks and moves beside the program, and pays with CPU and memory)",
    ])
        .sources(&[
        "OpenJDK, G1: humongous is an object of at least half a region (src/hotspot/share/gc/g1/g1CollectedHeap.hpp)",
        "OpenJDK, -Xlog:safepoint (JEP 158); src/hotspot/share/runtime/safepoint.cpp",
        "SAP/SapMachine issue 2165 (JDK-8355972): humongous garbage fills the heap while it waits",
    ])
}

fn humongous() -> Step {
    Step::new("humongous", Kind::Pause, "stops_per_gib_count")
        .ask_number(
            "G1 with regions of 1 MiB allocates garbage arrays of 511 KiB, then of 513 KiB; 10 MiB of small objects live in 128 MiB. How many \
             times does it stop the world for each GiB of the larger ones?",
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
        // Half as much again before it, in which the program is compiled.
        .slice(0.5)
        .over(ONCE, |plan, _| churned(plan))
        .claim(
            at_least(1.5, ratio("G1_513KiB", "G1_511KiB")),
            "G1: 2 KiB more, at least 1.5 times as many stops",
        )
        .because(
            "From half a region on G1 gives an object regions of its own. 513 KiB take 1 MiB, so the heap is full twice as soon.",
            source("OpenJDK, src/hotspot/share/gc/g1/g1CollectedHeap.hpp"),
        )
        .because(
            "Each such allocation checks whether a concurrent cycle should begin, which is a stop of its own.",
            Evidence::None,
        )
        .because("Below it the arrays are young objects and die in young collections.", Evidence::None)
        .because(
            "It is the same kind of edge as .NET's 85,000 bytes (gc_large_objects): a size at which an object changes into another part \
             of the heap. See src/experiments/Churn.java and src/experiments/jvm.rs.",
            Evidence::None,
        )
}

/// Every case and the first one's twin, in random order.
fn churned(plan: &Plan) -> Vec<Sample> {
    let room = Room::now().refusal(u64::from(HEAP_MIB) << 21).map(|why| format!("the experiment {why}"));
    // Found and compiled once for all cases, which is most of the time.
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

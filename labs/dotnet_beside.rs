//! Is an array of 85,000 bytes expensive on other managed heaps too?
//!
//! Run it: `cargo run --release --bin dotnet_beside -- --step` (rows whose runtime is missing say so)
//!
//! Three programs that do nearly the same on three heaps: .NET, OpenJDK's G1, and ours (MMTk), which can follow .NET's rule or not. 32 MiB
//! of small objects live, and everything else is garbage arrays of one size. They are not one program: on the JVM and on ours a second
//! thread looks at the clock meanwhile, ours is pinned to its CPUs, and a small object has 64 bytes on .NET and 48 on the JVM.
use std::time::Duration;

use underhood::{
    experiments::{
        dotnet::{self, NEWER},
        jvm::{self, Jvm},
    },
    heap::{
        Collector, Config, LargeBudget, Mutator,
        load::churn::{Job, Op, churn},
    },
    lab::{
        Contender, Kind, Lab, ONCE, Setting, Step, at_least, between, pick, plan::Plan, ratio,
        sample::Sample, shown_by, source,
    },
    machine::memory,
};

/// Small objects that live, in MiB.
const LIVE: u32 = 32;
/// Our heap and the JVM's, in MiB. .NET's has no fixed size.
const HEAP: u32 = 128;
const BELOW: u32 = 84_000;
const ABOVE: u32 = 86_000;
/// .NET's threshold, and a budget. The real budget moves; a fixed one shows the rule.
const RULE: LargeBudget = LargeBudget { threshold_bytes: 85_000, budget_bytes: 32 << 20 };

/// A heap, with what is told to it.
#[derive(Clone, Copy)]
enum Heap {
    Dotnet,
    G1,
    Ours(Option<LargeBudget>),
}

const fn row(id: &'static str, name: &'static str, heap: Heap, bytes: u32) -> Setting<(Heap, u32)> {
    Setting { is: Contender::new(id).called(name), value: (heap, bytes) }
}

pub(crate) fn lab() -> Lab {
    underhood::lab!("dotnet_beside", "Is an array of 85,000 bytes expensive on other managed heaps too?")
        .runs_on(|| format!("{}; {}", dotnet::version(), jvm::version()))
        .step(edge())
        .say(
            "edge",
            "On .NET a garbage array of 86,000 bytes costs {value}, one of 84,000 bytes {against}.",
            ratio("dotnet_86000B", "dotnet_84000B"),
            "the arrays are reused, or the threshold is raised",
        )
        .say(
            "edge",
            "On the JVM's G1 a garbage array of 86,000 bytes costs {value}, one of 84,000 bytes {against}: 85,000 bytes mean nothing to it.",
            ratio("g1_86000B", "g1_84000B"),
            "the array is larger than half a region of G1",
        )
        .not_said(&[
            "That one of these heaps is better. Compare the two sizes on one heap, not one heap with another: the three programs differ. On \
             the JVM and on our heap a second thread looks at the clock, ours is pinned to its CPUs, and the small objects are of other \
             sizes.",
            NEWER,
            "That G1 has no such edge. It has one at half a region: lab gc_reference_jvm.",
            "That our heap is .NET's. It follows one of its rules, with a fixed budget, and stops the world for every collection.",
        ])
        .next(&[
            "Where is the edge on a JVM with G1? (at half a region, so between 512 KiB and 16 MiB, by the size of the heap)",
            "Why does our heap without the rule show no edge, although it keeps large objects apart? (its new large objects are young: a \
             young collection frees them)",
            "What would you change in the program, whatever the heap? (keep the arrays and use them again)",
        ])
        .sources(&[
            ".NET: docs/standard/garbage-collection/large-object-heap.md: 85,000 bytes, collected with generation 2",
            "OpenJDK, G1: humongous is an object of more than half a region (src/hotspot/share/gc/g1/g1CollectedHeap.hpp)",
            "MMTk 0.33, https://www.mmtk.io: src/plan/generational/global.rs, src/policy/largeobjectspace.rs",
        ])
}

fn edge() -> Step {
    const ALL: &[Setting<(Heap, u32)>] = &[
        row("dotnet_86000B", ".NET, 86,000 bytes", Heap::Dotnet, ABOVE),
        row("dotnet_84000B", ".NET, 84,000 bytes", Heap::Dotnet, BELOW),
        row("g1_86000B", "JVM (G1), 86,000 bytes", Heap::G1, ABOVE),
        row("g1_84000B", "JVM (G1), 84,000 bytes", Heap::G1, BELOW),
        row("ours_86000B", "our heap with .NET's rule, 86,000 bytes", Heap::Ours(Some(RULE)), ABOVE),
        row("ours_84000B", "our heap with .NET's rule, 84,000 bytes", Heap::Ours(Some(RULE)), BELOW),
        row("ours_86000B_no_rule", "our heap without the rule, 86,000 bytes", Heap::Ours(None), ABOVE),
    ];
    let of = |case, value| pick(case, "", value);
    let dotnet = at_least(1.5, ratio("dotnet_86000B", "dotnet_84000B"));
    let no_rule = between(0.75, 1.33, ratio("ours_86000B_no_rule", "ours_84000B"));
    Step::new("edge", Kind::Pause, "op_ns")
        .ask_number(
            "A C# program makes garbage arrays of 86,000 bytes; 32 MiB of small objects live. How long does one array take, its share of \
             the collections included?",
            "dotnet_86000B",
            "",
        )
        .columns(&["full_per_gib_count", "gc_share", "pause_ns", "pause_max_ns"])
        .slice(0.2)
        .isolated(ALL, ONCE, |plan, case, _| run(plan, case.value.0, case.value.1))
        .claim(dotnet, ".NET: an array of 86,000 bytes takes at least 1.5 times as long as one of 84,000 bytes")
        .claim(between(0.75, 1.33, ratio("g1_86000B", "g1_84000B")), "G1: arrays of both sizes take about the same time")
        .claim(at_least(1.5, ratio("ours_86000B", "ours_84000B")), "our heap with .NET's rule: the larger array takes at least 1.5 times as long, as on .NET")
        .claim(no_rule, "our heap without that rule: the larger array takes about as long as the smaller one")
        .because(
            ".NET puts objects of 85,000 bytes or more into generation 2 at once. Only a full collection frees them, so arrays of 86,000 bytes \
             cause full collections, and arrays of 84,000 bytes cause young ones.",
            shown_by(at_least(5.0, of("dotnet_86000B", "full_per_gib_count"))),
        )
        .because(
            "The rule makes the edge, not the size. Our heap shows it when it follows the rule, and does not when the rule is switched off.",
            shown_by(no_rule),
        )
        .because(
            "How much more the larger array costs depends on the collector. .NET does most of a full collection beside the program; our heap \
             stops the world for all of it, and its full collection takes longer.",
            source("lab dotnet_large_objects, step pauses; MMTk 0.33, src/plan/generational/immix; column pause_ns"),
        )
        .because(
            "G1 asks whether an object is larger than half a region. Here a region has 1 MiB, so both sizes are ordinary objects.",
            source("OpenJDK, src/hotspot/share/gc/g1/g1CollectedHeap.hpp; lab gc_reference_jvm shows that edge"),
        )
}

fn run(plan: &Plan, heap: Heap, bytes: u32) -> Result<Sample, String> {
    memory::room_for(512 << 20)?;
    let (time, live) = (plan.slice.max(Duration::from_millis(20)), if plan.is_smoke() { 1 } else { LIVE });
    match heap {
        Heap::Dotnet => {
            let (bytes, live, ms) = (bytes.to_string(), live.to_string(), time.as_millis().to_string());
            dotnet::here()?.run(&["large", &bytes, &live, &ms, "new", "0"], &[])?.sample()
        }
        Heap::G1 => {
            // Tables of 500 objects of 48 bytes.
            let tables = (live << 20) / (500 * 48);
            let flags = &["-XX:+UseG1GC", "-XX:G1HeapRegionSize=1m"];
            let ran =
                Jvm::find()?.run(&jvm::Job { flags, heap_mib: HEAP, payload_bytes: bytes, tables, time })?;
            Ok(ran.sample("", ""))
        }
        Heap::Ours(rule) => {
            let part = (LIVE / live) as usize;
            let large_budget = rule.map(|b| LargeBudget { budget_bytes: b.budget_bytes / part, ..b });
            let config =
                Config { large_budget, ..Config::new(Collector::GenImmix, ((HEAP as usize) << 20) / part) };
            let job = Job {
                config,
                live_bytes: (live as usize) << 20,
                time,
                collections: 1,
                cpus: plan.cpus.clone(),
            };
            let garbage = move |_: &mut Mutator| -> Op { Box::new(move |m| m.alloc(0, bytes).map(drop)) };
            let churned = churn(job, garbage)?;
            let gib = churned.ops as f64 * f64::from(bytes) / f64::from(1 << 30);
            let sample = churned.sample("", "");
            let full = sample.values["full_count"] / gib;
            Ok(sample.with("full_per_gib_count", full))
        }
    }
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

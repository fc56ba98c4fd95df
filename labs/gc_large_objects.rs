//! Why do large-object allocations cause world-stopping pauses?
//!
//! Run it: `cargo run --release --bin gc_large_objects -- --step`
//!
//! A real collector (MMTk) in each child process. `churn` makes garbage of one size beside objects that live; what .NET
//! does is one rule on top, "a full collection whenever so much was allocated in large objects", and can be switched on.
use std::time::Duration;

use underhood::{
    heap::{
        Collector, Config, Heap, LargeBudget, Mutator,
        load::{
            bench,
            buffer::{self, Way, use_one},
            churn::{Job, Op, churn},
            law::{Sweep, law},
            reach::{self, Late},
        },
    },
    lab::{
        Evidence, Kind, Lab, ONCE, Setting, Step, at_least, at_most, between, pick, plan::Plan, ratio,
        sample::Sample, setting, shown_by, source,
    },
    measure::lateness::interleave,
    record::AA,
};

const MIB: usize = 1 << 20;
const HEAP: usize = 56 * MIB;
/// Lives in every step that does not vary it: a pause of some ms, so that a short run sees several.
const LIVE: usize = 6 * MIB;
/// .NET's threshold, and a budget. The real budget moves; a fixed one shows the rule.
const RULE: Option<LargeBudget> = Some(LargeBudget { threshold_bytes: 85_000, budget_bytes: 32 * MIB });
const CHURN_COLUMNS: &[&str] =
    &["pause_max_ns", "wait_max_ns", "gc_share", "collections_count", "full_count", "op_p50_ns", "rss_bytes"];

pub(crate) fn lab() -> Lab {
    underhood::lab!("gc_large_objects", "Why do large-object allocations cause world-stopping pauses?")
        .step(alive())
        .step(laws())
        .step(dotnet())
        .step(fixes())
        .step(reaches())
        .say(
            "alive",
            "The same 1 MiB garbage stops the world for {value} when 16 MiB of small objects live, and for \
             {against} when 2 MiB do: the pause follows what lives, not what was allocated.",
            ratio("Immix_16MiB", "Immix_2MiB"),
            "the collector is generational or concurrent",
        )
        .say(
            "law",
            "Each small object that lives adds {value} to a full collection.",
            "Immix",
            "objects are spread differently over memory, or several collector threads share the work",
        )
        .say(
            "dotnet",
            "With .NET's rule, arrays of 86,000 bytes stop the world {ratio} times as long as arrays of 84,000: \
             {value} against {against}.",
            ratio("budget_86000B", "budget_84000B"),
            "little else lives, or the large arrays are reused",
        )
        .say(
            "fixes",
            "Taking buffers of 1 MiB from a pool costs {value} each, allocating them {against}.",
            ratio("pool", "as_is"),
            "the buffer must be cleared before each use, or the pool is larger than what is in use",
        )
    .not_said(&[
        "That this is .NET: it is its rule (a threshold and a budget that leads to a full collection) on another collector.",
        "That large objects are cheap: each must be cleared in the allocating call, and 1 MiB of clearing is real work.",
        "That generational collectors have no long pauses: their full collections, rare here, follow the same law.",
        "That a pool is free: it keeps its memory, hands out stale data, and lives in the oldest generation.",
        "The longest pause as a bound: it is the longest of a few.",
    ])
    .next(&[
        "Why are large objects not moved, and what does that cost? (fragmentation; whole pages each)",
        "What would you look at first in a service with LOH pauses? (the reason of each full collection: AllocLarge?)",
        "When is a larger young generation the better fix than a pool?",
        "What does a concurrent collector do when allocation outruns marking? (it stops the world and marks: see gc_pause)",
        "Which of your threads can hold up a safepoint? (whoever does not poll: long loops without calls, large clears)",
    ])
    .sources(&[
        "MMTk 0.33, https://www.mmtk.io: src/policy/largeobjectspace.rs, src/plan/generational/global.rs, src/policy/space.rs (clearing in acquire)",
        ".NET: docs/standard/garbage-collection/large-object-heap.md (85,000 bytes, collected with generation 2, budget)",
        "Maoni Stephens, mem-doc, https://github.com/Maoni0/mem-doc: AllocLarge as the reason of a collection",
        "System.Buffers.ArrayPool: rent and return, not cleared",
        "openjdk/jdk pull requests 30567 and 30619: clearing of large arrays delays safepoints in Shenandoah and ZGC",
    ])
}

/// A smoke run is so much smaller in everything.
const SMOKE: usize = 16;

fn job(plan: &Plan, collector: Collector, large_budget: Option<LargeBudget>, live_bytes: usize) -> Job {
    let (part, collections) = if plan.is_smoke() { (SMOKE, 1) } else { (1, 3) };
    let large_budget = large_budget.map(|b| LargeBudget { budget_bytes: b.budget_bytes / part, ..b });
    let config = Config { large_budget, ..Config::new(collector, HEAP / part) };
    Job { config, live_bytes: live_bytes / part, time: plan.slice, collections, cpus: plan.cpus.clone() }
}

/// Garbage of one size.
fn garbage(payload: u32) -> impl FnOnce(&mut Mutator) -> Op + Send + 'static {
    move |_| Box::new(move |m| m.alloc(0, payload).map(drop))
}

fn alive() -> Step {
    // The collector, bytes that live, and the payload of the garbage.
    const ALL: &[Setting<(Collector, usize, u32)>] = &[
        setting("Immix_16MiB", (Collector::Immix, 16 * MIB, buffer::BYTES)),
        setting("Immix_2MiB", (Collector::Immix, 2 * MIB, buffer::BYTES)),
        setting("Immix_16MiB_64KiB", (Collector::Immix, 16 * MIB, 64 << 10)),
        setting("GenImmix_16MiB", (Collector::GenImmix, 16 * MIB, buffer::BYTES)),
    ];
    let (much, smaller) = (ratio("Immix_16MiB", "Immix_2MiB"), ratio("Immix_16MiB_64KiB", "Immix_16MiB"));
    let young = ratio("GenImmix_16MiB", "Immix_16MiB");
    Step::new("alive", Kind::Pause, "pause_ns")
        .ask_number(
            "A program makes nothing but garbage, in objects of 1 MiB or 64 KiB; beside it 2 or 16 MiB of small objects \
             live. A collector that always looks at the whole heap (Immix) stops the world with 16 MiB alive and 1 MiB \
             garbage for how many ns?",
            "Immix_16MiB",
            "",
        )
        .columns(CHURN_COLUMNS)
        .slice(1.0 / 4.0)
        .isolated(ALL, ONCE, |plan, case, p| {
            let (collector, live, payload) = case.value;
            let churned = churn(job(plan, collector, None, live), garbage(payload))?.paused()?;
            Ok(churned.sample(case.id(), p.id()))
        })
        .claim(at_least(4.0, much), "Immix: eight times as much alive, four times the pause")
        .claim(between(0.5, 2.0, smaller), "Immix: 64 KiB instead of 1 MiB, the same pause")
        .claim(at_most(0.1, young), "GenImmix: the same garbage, a tenth of the pause")
        .because(
            "Large garbage fills the heap, and a full heap is collected. The collector marks what lives, object by object, and then takes \
             whole pages of dead large objects off its list.",
            source("MMTk 0.33, src/policy/largeobjectspace.rs"),
        )
        .because(
            "What it costs to free a large object does not depend on its size.",
            shown_by(between(0.5, 2.0, smaller)),
        )
        .because(
            "What it costs to find out that everything else lives does depend on the size of that.",
            shown_by(at_least(4.0, much)),
        )
        .because(
            "A generational collector only looks at what is new. The large object was new, so it dies in a young collection, and the \
             16 MiB are not looked at.",
            shown_by(at_most(0.1, young)),
        )
        .in_tour()
}

fn laws() -> Step {
    const IMMIX: &[Setting<Collector>] = &[setting("Immix", Collector::Immix)];
    let large = ratio(pick("Immix", "", "large_ns"), "Immix");
    let payload = at_most(2000.0, pick("Immix", "", "large_mib_ns"));
    Step::new("law", Kind::Pause, "object_ns")
        .withdrawn("it was fitted where all that lives fits into the cache, and misses larger heaps by more than its interval")
        .ask_number(
            "A pause is a + b * small objects that live + c * large objects that live + d * MiB of their payload. How \
             many ns is b?",
            "Immix",
            "",
        )
        .columns(&["base_ns", "large_ns", "large_mib_ns", "off_share", "foretold_ratio"])
        .contenders(IMMIX)
        .over(ONCE, |plan, p| {
            let n = if plan.is_smoke() { 1 } else { 4 };
            let small_bytes = (0..3).map(|i| i * n * MIB * 3 / 4).collect();
            let large = vec![(0, 32 << 10), (500, 32 << 10), (500, 128 << 10), (1000, 32 << 10)];
            let repeats = if plan.is_smoke() { 1 } else { 2 };
            let beyond = (n * 5 * MIB / 2, (200, 64 << 10));
            let sweep = Sweep { small_bytes, large, repeats, beyond, cpu: plan.cpus[0] };
            let twins = law(Config::new(IMMIX[0].value, 2 * HEAP), sweep);
            // The A/A row has every other collection of the same heap.
            let row = |(n, case): (usize, &str)| {
                let sample = twins.as_ref().map_err(Clone::clone).and_then(|laws| laws[n].sample(case, p.id()));
                sample.unwrap_or_else(|why| Sample::unmeasured(case, p.id(), why))
            };
            [IMMIX[0].id(), AA].into_iter().enumerate().map(row).collect()
        })
        .claim(between(5.0, 500.0, "Immix"), "a small object that lives costs 5 to 500 ns")
        .claim(at_most(50.0, large), "a large one costs no more than 50 small ones")
        .claim(payload, "a MiB of its payload costs at most 2 us: nothing")
        .claim(
            between(0.75, 1.33, pick("Immix", "", "foretold_ratio")),
            "the law foretells a point beyond the sweep to 25 %",
        )
        .because(
            "Marking visits each object once, sets a bit and reads its reference slots: tens of ns, most of it cache misses.",
            Evidence::None,
        )
        .because(
            "A large object without references is one visit, whatever its size, plus an entry in a list of its own.",
            shown_by(at_most(50.0, large)),
        )
        .because("The payload is never read.", shown_by(payload))
        .because(
            "So 64 large objects of 16 MiB are cheaper to keep than a thousand list nodes.",
            shown_by(at_most(15.0, large)),
        )
        .because("The sweep, and the fit of src/stats/mod.rs to it.", source("src/heap/load/law.rs"))
}

fn dotnet() -> Step {
    const ALL: &[Setting<(Option<LargeBudget>, u32)>] = &[
        setting("budget_86000B", (RULE, 86_000)),
        setting("budget_84000B", (RULE, 84_000)),
        setting("generational_86000B", (None, 86_000)),
    ];
    let above = ratio("budget_86000B", "budget_84000B");
    Step::new("dotnet", Kind::Pause, "pause_ns")
        .ask_number(
            "GenImmix with .NET's rule: from 85,000 bytes on an object counts as large, and each 32 MiB of those cause \
             a full collection. 6 MiB of small objects live. How long is the pause with garbage of 86,000 bytes, in ns?",
            "budget_86000B",
            "",
        )
        .columns(CHURN_COLUMNS)
        .slice(1.0 / 4.0)
        .isolated(ALL, ONCE, |plan, case, p| {
            let (rule, payload) = case.value;
            let churned = churn(job(plan, Collector::GenImmix, rule, LIVE), garbage(payload))?.paused()?;
            Ok(churned.sample(case.id(), p.id()))
        })
        .claim(at_least(10.0, above), "with the rule, 2,000 bytes more: 10 times the pause")
        .claim(
            between(0.25, 4.0, ratio("generational_86000B", "budget_84000B")),
            "without it, they stop as short as the smaller ones",
        )
        .claim(
            at_least(0.2, pick("budget_86000B", "", "gc_share")),
            "with it, a fifth of the time goes to collections",
        )
        .because(
            "In .NET large objects belong to generation 2: they are only freed by a full collection. So allocating many of them must cause \
             one, and the budget decides how often.",
            source(".NET: docs/standard/garbage-collection/large-object-heap.md"),
        )
        .because("The pause is that of everything which lives.", shown_by(at_least(10.0, above)))
        .because(
            "The same garbage a little below the threshold dies young.",
            shown_by(at_most(0.5, pick("budget_84000B", "", "full_count"))),
        )
        .because(
            "MMTk's generational plans put large objects into a nursery of their own and free them in young collections. The price of .NET's \
             choice shows as the difference of the two rows: see `spend` in src/heap/mutator.rs.",
            shown_by(at_most(0.1, ratio("generational_86000B", "budget_86000B"))),
        )
}

fn fixes() -> Step {
    const ALL: &[Setting<(Collector, Option<LargeBudget>, Way)>] = &[
        setting("as_is", (Collector::GenImmix, RULE, Way::New)),
        setting("pool", (Collector::GenImmix, RULE, Way::Pool)),
        setting("pieces", (Collector::GenImmix, RULE, Way::Pieces)),
        setting("concurrent", (Collector::ConcurrentImmix, None, Way::New)),
    ];
    let beside = |value| ratio(pick("concurrent", "", value), pick("as_is", "", value));
    Step::new("fixes", Kind::Pause, "op_ns")
        .ask_best(
            "A program needs buffers of 1 MiB, writes one byte to each of their pages, and is done with them; .NET's rule is \
             on, 6 MiB of small objects live. Which fix gives the cheapest buffer, pauses included?",
            "",
        )
        .columns(CHURN_COLUMNS)
        .slice(1.0 / 4.0)
        .isolated(ALL, ONCE, |plan, case, p| {
            let (collector, rule, way) = case.value;
            let mut job = job(plan, collector, rule, LIVE);
            if way == Way::Pool {
                job.collections = 0; // it never causes one
            }
            let churned = churn(job, move |_| use_one(way))?;
            Ok(churned.sample(case.id(), p.id()).with("work_per_op_bytes", f64::from(buffer::BYTES)))
        })
        // The pool against the allocator, without anything else alive.
        .bench_also(bench::benches(&[
            ("alloc/48B", |m, _| drop(m.alloc(0, 40).expect("garbage is collected"))),
            ("alloc/1MiB", |m, _| drop(m.alloc(0, buffer::BYTES).expect("garbage is collected"))),
            ("pooled/1MiB", |m, kept| drop(m.hold(m.at(kept)))),
        ]))
        .claim(at_most(0.2, ratio("pool", "as_is")), "a pooled buffer costs a fifth of a new one")
        .claim(at_most(0.5, ratio("pieces", "as_is")), "a buffer in pieces of 80,000 bytes costs half")
        .claim(at_least(2.0, ratio("pieces", "pool")), "but twice a pooled one: it is cleared each time")
        .claim(at_most(0.5, beside("pause_ns")), "marking beside the program halves the pause")
        .because(
            "The pool allocates nothing, so nothing is collected.",
            shown_by(at_most(0.5, pick("pool", "", "collections_count"))),
        )
        .because(
            "It keeps four buffers for ever, and the next to rent one finds the last one's data.",
            source("src/heap/load/buffer.rs"),
        )
        .because(
            "Pieces stay below the threshold and die young.",
            shown_by(at_most(0.5, ratio(pick("pieces", "", "pause_ns"), pick("as_is", "", "pause_ns")))),
        )
        .because(
            "But their memory is cleared for each buffer, the buffer is no longer one slice, and 14 objects are allocated instead of one.",
            shown_by(at_least(2.0, ratio("pieces", "pool"))),
        )
        .because(
            "A collector that frees large objects young needs no change in the program (`alive`).",
            Evidence::None,
        )
        .because(
            "A concurrent one still marks everything: the work moves beside the program and needs a CPU.",
            shown_by(at_most(0.5, beside("pause_ns"))),
        )
        .because("And it lets garbage live longer (see the memory).", shown_by(at_least(1.05, beside("rss_bytes"))))
}

fn reaches() -> Step {
    const ALL: &[Setting<Late>] = &[
        setting("polls", Late::Polls),
        setting("late", Late::Every(Duration::from_millis(5))),
        setting("clears", Late::Clears(64 * buffer::BYTES)),
    ];
    let late = |case| at_least(10.0, ratio(case, "polls")).cores(2);
    Step::new("reach", Kind::Pause, "reach_ns")
        .ask_number(
            "A stop begins when the last mutator has polled. One mutator polls every 5 ms, or clears objects of 64 MiB. How \
             long does it take until the world has stopped beside the one that clears, in ns?",
            "clears",
            "",
        )
        .columns(&["reach_max_ns", "pause_ns", "collections_count"])
        .contenders(ALL)
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| reach_each(plan, ALL, p.id()))
        .claim(late("late"), "a poll every 5 ms: 10 times the wait")
        .claim(late("clears"), "clearing 64 MiB: 10 times the wait")
        .because(
            "The time to safepoint is part of the pause for everybody who has stopped already, and no collector can shorten it.",
            source("src/structures/safepoint.rs"),
        )
        .because("A loop without polls is the known case.", shown_by(late("late")))
        .because(
            "The other one hides in the allocator: MMTk clears a large object within the allocating call, and that does not poll.",
            shown_by(late("clears")),
        )
        .because(
            "OpenJDK had the same in Shenandoah and ZGC.",
            source("openjdk/jdk pull requests 30567 and 30619"),
        )
}

/// All arms in one process, in turn: nothing lives that one could leave to the next. The first runs twice, for the A/A row.
fn reach_each(plan: &Plan, all: &[Setting<Late>], param: &str) -> Vec<Sample> {
    const ROUNDS: u32 = 2;
    let arms: Vec<_> = all.iter().copied().chain([all[0].as_case(AA)]).collect();
    let none = |why: String| arms.iter().map(|a| Sample::unmeasured(a.id(), param, why.clone())).collect();
    let [asks, late, ..] = plan.cpus[..] else {
        return none("needs 2 CPUs: on one, the stop waits for the CPU and not for the poll".into());
    };
    let heap = match Heap::start(Config::new(Collector::Immix, 4 * HEAP)) {
        Ok(heap) => heap,
        Err(e) => return none(e.to_string()),
    };
    let time = (plan.slice / ROUNDS).max(Duration::from_millis(10));
    let seed = plan.seed.wrapping_add((plan.launch as u64) << 32);
    let slices = interleave(ROUNDS as usize, seed, arms.len(), |n| {
        let way = if plan.is_smoke() { arms[n].value.brief() } else { arms[n].value };
        reach::reach(heap, way, time, plan.seed, [asks, late])
    });
    let told = arms.iter().zip(slices).map(|(arm, slices)| {
        match slices.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(pauses) => reach::sample(&pauses.concat(), arm.id(), param),
            Err(why) => Sample::unmeasured(arm.id(), param, why),
        }
    });
    told.collect()
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

//! Why do large-object allocations cause world-stopping pauses?
//!
//! Run it: `cargo run --release --bin gc_large_objects -- --step`
//!
//! Each child process runs a real collector (MMTk). `churn` makes garbage of one size while other objects stay alive. .NET adds
//! one rule: a full collection whenever so many bytes of large objects were allocated. A step can switch that rule on.
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
        Kind, Lab, ONCE, Setting, Step, at_least, at_most, between, pick, plan::Plan, ratio, sample::Sample,
        setting, shown_by, source,
    },
    measure::lateness::interleave,
    record::AA,
};

const MIB: usize = 1 << 20;
const HEAP: usize = 56 * MIB;
/// The live bytes of every step that does not vary them. A pause then takes some ms, so a short run has several.
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
            "The garbage is arrays of 1 MiB, and the collector looks at the whole heap each time. With 16 MiB of small \
             live objects, a pause lasts {value}. With 2 MiB of them, it lasts {against}.",
            ratio("Immix_16MiB", "Immix_2MiB"),
            "the collector is generational or concurrent",
        )
        .say(
            "law",
            "Each small live object adds {value} to a full collection.",
            "Immix",
            "objects are spread differently over memory, or several collector threads share the work",
        )
        .say(
            "dotnet",
            "The heap here has a budget for large objects, as .NET has, but it stops the world for each collection. Arrays of \
             86,000 bytes cause pauses of {value}, arrays of 84,000 bytes pauses of {against}: {ratio}.",
            ratio("budget_86000B", "budget_84000B"),
            "little else is alive, or the large arrays are reused",
        )
        .say(
            "fixes",
            "Taking buffers of 1 MiB from a pool costs {value} each, allocating them {against}.",
            ratio("pool", "as_is"),
            "the buffer must be cleared before each use, or the pool keeps more buffers than are in use",
        )
    .not_said(&[
        "That this is .NET. It is .NET's rule on another collector: a threshold, and a budget that leads to a full \
         collection. In .NET a generation 2 collection runs in the background by default: the world hardly stops, but \
         the allocating thread waits. It stops the world when background collection is off, when memory is nearly full, \
         at a hard limit, or to compact the large object heap.",
        "That large objects are cheap: each must be cleared in the allocating call, and clearing 1 MiB takes time.",
        "That generational collectors have no long pauses. Their full collections are rare here, but they also take \
         longer the more is alive.",
        "That a pool is free: it keeps its memory, hands out stale data, and lives in the oldest generation.",
        "That the longest pause is an upper bound: it is only the longest of a few.",
    ])
    .next(&[
        "Why are large objects not moved, and what does that cost? (fragmentation, and whole pages for each object)",
        "What would you look at first if the large object heap (LOH) causes pauses? (the reason of each full collection: \
         is it AllocLarge?)",
        "When is a larger young generation a better fix than a pool?",
        "What does a concurrent collector do when allocation outruns marking? (it stops the world and marks: see gc_pause)",
        "Which of your threads can hold up a safepoint? (one that does not poll: in a long loop without calls, or while \
         a large object is cleared)",
    ])
    .sources(&[
        "MMTk 0.33, https://www.mmtk.io: src/policy/largeobjectspace.rs, src/plan/generational/global.rs, src/policy/space.rs (clearing in acquire)",
        ".NET: docs/standard/garbage-collection/large-object-heap.md (85,000 bytes, collected with generation 2, budget)",
        "Maoni Stephens, mem-doc, https://github.com/Maoni0/mem-doc: AllocLarge as the reason of a collection",
        "System.Buffers.ArrayPool: rent and return, not cleared",
        "openjdk/jdk pull requests 30567 and 30619: clearing of large arrays delays safepoints in Shenandoah and ZGC",
    ])
}

/// A smoke run divides every size by this.
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
    // The collector, the live bytes, and the payload of the garbage.
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
            "A program allocates nothing but garbage, in objects of 1 MiB or 64 KiB. 2 or 16 MiB of small objects stay \
             alive. Immix is a collector that looks at the whole heap each time. With 16 MiB alive and garbage of 1 MiB, \
             for how many ns does it stop the world?",
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
        .claim(at_least(4.0, much), "Immix: with eight times as much alive, the pause is at least 4 times as long")
        .claim(between(0.5, 2.0, smaller), "Immix: with garbage of 64 KiB instead of 1 MiB, the pause is about as long")
        .claim(at_most(0.1, young), "GenImmix: with the same garbage, the pause is at most a tenth as long")
        .because(
            "Large garbage fills the heap, and a full heap is collected. The collector marks the live objects one by \
             one. Then it takes the whole pages of dead large objects off its list.",
            source("MMTk 0.33, src/policy/largeobjectspace.rs"),
        )
        .because(
            "Freeing large objects is a small part of the pause. With 16 times as many objects of a sixteenth of the size, the \
             pause is about as long.",
            shown_by(between(0.5, 2.0, smaller)),
        )
        .because(
            "The collector must also mark everything else that is alive, and that takes longer the more there is.",
            shown_by(at_least(4.0, much)),
        )
        .because(
            "A young collection looks only at new objects. The large objects are new, so a young collection frees them \
             and does not look at the 16 MiB.",
            shown_by(at_most(0.1, young)),
        )
        .in_tour()
}

fn laws() -> Step {
    const IMMIX: &[Setting<Collector>] = &[setting("Immix", Collector::Immix)];
    let large = ratio(pick("Immix", "", "large_ns"), "Immix");
    let payload = at_most(2000.0, pick("Immix", "", "large_mib_ns"));
    Step::new("law", Kind::Pause, "object_ns")
        .withdrawn("it was fitted to live data that the cache can hold, and is wrong for larger heaps by more than its interval")
        .ask_number(
            "A pause is a + b * (small live objects) + c * (large live objects) + d * (MiB of their payload). How many ns is b?",
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
        .claim(between(5.0, 500.0, "Immix"), "a small live object costs 5 to 500 ns")
        .claim(at_most(50.0, large), "a large one costs no more than 50 small ones")
        .claim(payload, "a MiB of its payload costs at most 2 us, so next to nothing")
        .claim(
            between(0.75, 1.33, pick("Immix", "", "foretold_ratio")),
            "the formula predicts a point beyond the sweep to within 25 %",
        )
        .because(
            "Marking visits each object once, sets a bit and reads its reference slots.",
            source("Jones, Hosking, Moss: The Garbage Collection Handbook, 2nd ed. (2023), chapter 2"),
        )
        .because(
            "A large object without references is one visit, whatever its size, plus an entry in a list of its own.",
            shown_by(at_most(50.0, large)),
        )
        .because("The payload of a large object is never read.", shown_by(payload))
        .because(
            "64 large objects of 16 MiB are cheaper to keep than a thousand list nodes.",
            shown_by(at_most(15.0, large)),
        )
        .because("The sweep is in src/heap/load/law.rs, and src/stats/mod.rs fits the formula to it.", source("src/heap/load/law.rs"))
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
            "A generational collector follows .NET's rule: objects of 85,000 bytes or more are large, and every 32 MiB \
             of them cause a full collection. Here the world stops for it. 6 MiB of small objects stay alive. How long \
             is the pause with garbage of 86,000 bytes, in ns?",
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
        .claim(at_least(10.0, above), "with the rule, arrays that are 2,000 bytes larger cause pauses at least 10 times as long")
        .claim(
            between(0.25, 4.0, ratio("generational_86000B", "budget_84000B")),
            "without the rule, the larger arrays cause about the same pauses as the smaller ones",
        )
        .claim(
            at_least(0.2, pick("budget_86000B", "", "gc_share")),
            "with the rule, at least a fifth of the time goes to collections",
        )
        .because(
            "In .NET large objects belong to generation 2, so only a full collection frees them. Allocating many of them \
             must therefore cause one, and a budget decides how often. The real budget depends on what survives. Here it \
             is fixed.",
            source(".NET: docs/standard/garbage-collection/large-object-heap.md"),
        )
        .because("A full collection marks everything that is alive, so its pause is long.", shown_by(at_least(10.0, above)))
        .because(
            "Garbage a little below the threshold dies in young collections.",
            shown_by(at_most(0.5, pick("budget_84000B", "", "full_count"))),
        )
        .because(
            "MMTk's generational collectors give new large objects a space of their own (a nursery), and free them in \
             young collections. The two rows with 86,000 bytes show the price of .NET's choice. The rule is `spend` in \
             src/heap/mutator.rs.",
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
            "A program takes a buffer of 1 MiB, writes one byte to each of its pages, and is done with it. It does this \
             again and again. 6 MiB of small objects stay alive. .NET's rule is on, but not for the concurrent \
             collector. Which fix gives the cheapest buffer, pauses included?",
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
        .claim(at_most(0.2, ratio("pool", "as_is")), "a pooled buffer costs at most a fifth of a new one")
        .claim(at_most(0.5, ratio("pieces", "as_is")), "a buffer in pieces of 80,000 bytes costs at most half of a new one")
        .claim(
            at_least(2.0, ratio("pieces", "pool")),
            "a buffer in pieces costs at least twice as much as a pooled one, since it is cleared each time",
        )
        .claim(
            at_most(0.5, beside("pause_ns")),
            "a concurrent collector, without the rule, has at most half the median pause",
        )
        .claim(
            at_least(0.5, beside("pause_max_ns")),
            "a concurrent collector's longest pause, without the rule, is at least half as long as the longest one with the \
             rule",
        )
        .because(
            "The pool allocates nothing, so nothing is collected.",
            shown_by(at_most(0.5, pick("pool", "", "collections_count"))),
        )
        .because(
            "The pool keeps four buffers for ever, and each user of a buffer finds the data of the previous user.",
            source("src/heap/load/buffer.rs"),
        )
        .because(
            "Pieces stay below the threshold, so young collections free them.",
            shown_by(at_most(0.5, ratio(pick("pieces", "", "pause_ns"), pick("as_is", "", "pause_ns")))),
        )
        .because(
            "But the memory of the pieces is cleared for each buffer, and the buffer is no longer one slice. A table and 14 \
             pieces are allocated instead of one object.",
            shown_by(at_least(2.0, ratio("pieces", "pool"))),
        )
        .because(
            "A collector that frees large objects in young collections needs no change in the program.",
            source("step alive, GenImmix_16MiB"),
        )
        .because(
            "A concurrent collector still marks everything. It does so while the program runs, and needs a CPU for that.",
            shown_by(at_most(0.5, beside("pause_ns"))),
        )
        .because(
            "A concurrent collector also frees garbage later, so it needs more memory (see the memory column).",
            shown_by(at_least(1.05, beside("rss_bytes"))),
        )
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
            "The world has stopped when the last mutator (a thread of the program) has polled. One mutator polls every 5 \
             ms, or clears objects of 64 MiB. How many ns does it take to stop the world while a mutator clears?",
            "clears",
            "",
        )
        .columns(&["reach_max_ns", "pause_ns", "collections_count"])
        .contenders(ALL)
        .slice(1.0 / 3.0)
        .over(ONCE, |plan, p| reach_each(plan, ALL, p.id()))
        .claim(late("late"), "if a mutator polls only every 5 ms, stopping the world takes at least 10 times as long")
        .claim(late("clears"), "if a mutator clears 64 MiB, stopping the world takes at least 10 times as long")
        .because(
            "The time to safepoint is part of the pause for each thread that has stopped already. No collector can shorten it.",
            source("src/structures/safepoint.rs"),
        )
        .because("A long loop without polls is the well-known case.", shown_by(late("late")))
        .because(
            "The other case hides in the allocator: MMTk clears a large object inside the allocating call, and does not poll there.",
            shown_by(late("clears")),
        )
        .because(
            "OpenJDK had the same problem in Shenandoah and ZGC.",
            source("openjdk/jdk pull requests 30567 and 30619"),
        )
}

/// All cases run in one process, in turn, since none leaves live objects to the next. The first runs twice, for the A/A row.
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

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
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::Plan,
        sample::{Sample, each},
    },
    measure::lateness::interleaved,
    record::AA,
};

const MIB: usize = 1 << 20;
const HEAP: usize = 56 * MIB;
/// Lives in every step that does not vary it: a pause of some ms, so that a short run sees several.
const LIVE: usize = 6 * MIB;
/// .NET's threshold, and a budget. The real budget moves; a fixed one shows the rule.
const RULE: LargeBudget = LargeBudget { threshold_bytes: 85_000, budget_bytes: 32 * MIB };

pub(crate) static LAB: Lab = Lab {
    stem: "gc_large_objects",
    question: "Why do large-object allocations cause world-stopping pauses?",
    steps: &[ALIVE, LAW, DOTNET, FIXES, REACH],
    says: &[
        Say {
            step: "alive",
            text: "The same 1 MiB garbage stops the world for {value} when 16 MiB of small objects live, and for \
                   {against} when 2 MiB do: the pause follows what lives, not what was allocated.",
            of: MUCH,
            against: Some(LITTLE),
            not_true_when: "the collector is generational or concurrent",
        },
        Say {
            step: "law",
            text: "Each small object that lives adds {value} to a full collection.",
            of: OBJECT,
            against: None,
            not_true_when: "objects are spread differently over memory, or several collector threads share the work",
        },
        Say {
            step: "dotnet",
            text: "With .NET's rule, arrays of 86,000 bytes stop the world {ratio} times as long as arrays of 84,000: \
                   {value} against {against}.",
            of: ABOVE,
            against: Some(BELOW),
            not_true_when: "little else lives, or the large arrays are reused",
        },
        Say {
            step: "fixes",
            text: "Taking buffers of 1 MiB from a pool costs {value} each, allocating them {against}.",
            of: POOL,
            against: Some(AS_IS),
            not_true_when: "the buffer must be cleared before each use, or the pool is larger than what is in use",
        },
    ],
    not_said: &[
        "That this is .NET: it is its rule (a threshold and a budget that leads to a full collection) on another collector.",
        "That large objects are cheap: each must be cleared in the allocating call, and 1 MiB of clearing is real work.",
        "That generational collectors have no long pauses: their full collections, rare here, follow the same law.",
        "That a pool is free: it keeps its memory, hands out stale data, and lives in the oldest generation.",
        "The longest pause as a bound: it is the longest of a few.",
    ],
    next: &[
        "Why are large objects not moved, and what does that cost? (fragmentation; whole pages each)",
        "What would you look at first in a service with LOH pauses? (the reason of each full collection: AllocLarge?)",
        "When is a larger young generation the better fix than a pool?",
        "What does a concurrent collector do when allocation outruns marking? (it stops the world and marks: see gc_pause)",
        "Which of your threads can hold up a safepoint? (whoever does not poll: long loops without calls, large clears)",
    ],
    sources: &[
        "MMTk 0.33, https://www.mmtk.io: src/policy/largeobjectspace.rs, src/lab/plan/generational/global.rs, src/policy/space.rs (clearing in acquire)",
        ".NET: docs/standard/garbage-collection/large-object-heap.md (85,000 bytes, collected with generation 2, budget)",
        "Maoni Stephens, mem-doc, https://github.com/Maoni0/mem-doc: AllocLarge as the reason of a collection",
        "System.Buffers.ArrayPool: rent and return, not cleared",
        "openjdk/jdk pull requests 30567 and 30619: clearing of large arrays delays safepoints in Shenandoah and ZGC",
    ],
    benches,
};

const fn at(case: &'static str, param: &'static str, value: &'static str) -> Pick {
    pick(case, param, value)
}
const fn claim(expect: Expect, text: &'static str, of: Pick, against: Option<Pick>) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}

const LITTLE: Pick = at("Immix_2MiB", "", "pause_ns");
const MUCH: Pick = at("Immix_16MiB", "", "pause_ns");
const SMALLER: Pick = at("Immix_16MiB_64KiB", "", "pause_ns");
const YOUNG: Pick = at("GenImmix_16MiB", "", "pause_ns");
const OBJECT: Pick = at("Immix", "", "object_ns");
const LARGE: Pick = at("Immix", "", "large_ns");
const LARGE_MIB: Pick = at("Immix", "", "large_mib_ns");
const FORETOLD: Pick = at("Immix", "", "foretold_ratio");
const BELOW: Pick = at("budget_84000B", "", "pause_ns");
const ABOVE: Pick = at("budget_86000B", "", "pause_ns");
const FREE_ABOVE: Pick = at("generational_86000B", "", "pause_ns");
const STOPPED: Pick = at("budget_86000B", "", "gc_share");
const AS_IS: Pick = at("as_is", "", "op_ns");
const POOL: Pick = at("pool", "", "op_ns");
const PIECES: Pick = at("pieces", "", "op_ns");
const FULL: Pick = at("as_is", "", "pause_ns");
const BESIDE: Pick = at("concurrent", "", "pause_ns");
const POLLS: Pick = at("polls", "", "reach_ns");
const LATE: Pick = at("late", "", "reach_ns");
const CLEARS: Pick = at("clears", "", "reach_ns");
const CHURN_COLUMNS: &[&str] =
    &["pause_max_ns", "wait_max_ns", "gc_share", "collections_count", "full_count", "op_p50_ns", "rss_bytes"];

const ALIVE: Step = Step {
    name: "alive",
    ask: "A program makes nothing but garbage, in objects of 1 MiB or 64 KiB; beside it 2 or 16 MiB of small objects \
          live. A collector that always looks at the whole heap (Immix) stops the world with 16 MiB alive and 1 MiB \
          garbage for how many ns?",
    predict: Predict::Number { case: "Immix_16MiB", param: "" },
    kind: Kind::Pause,
    cases: &["Immix_16MiB", "Immix_2MiB", "Immix_16MiB_64KiB", "GenImmix_16MiB"],
    params: &[""],
    launch: Launch::Isolated,
    measure: alive,
    headline: "pause_ns",
    columns: CHURN_COLUMNS,
    claims: &[
        claim(AtLeast(4.0), "Immix: eight times as much alive, four times the pause", MUCH, Some(LITTLE)),
        claim(Between(0.5, 2.0), "Immix: 64 KiB instead of 1 MiB, the same pause", SMALLER, Some(MUCH)),
        claim(AtMost(0.1), "GenImmix: the same garbage, a tenth of the pause", YOUNG, Some(MUCH)),
    ],
    because: "Large garbage fills the heap, and a full heap is collected: the collector marks what lives, object by \
              object, and then takes whole pages of dead large objects off its list. What it costs to free a large \
              object does not depend on its size; what it costs to find out that everything else lives does. A \
              generational collector only looks at what is new: the large object was new, so it dies in a young \
              collection, and the 16 MiB are not looked at. Open src/heap/load/churn.rs.",
    tour: true,
};

const LAW: Step = Step {
    name: "law",
    ask: "A pause is a + b * small objects that live + c * large objects that live + d * MiB of their payload. How \
          many ns is b?",
    predict: Predict::Number { case: "Immix", param: "" },
    kind: Kind::Pause,
    cases: &["Immix"],
    params: &[""],
    launch: Launch::Together,
    measure: laws,
    headline: "object_ns",
    columns: &["base_ns", "large_ns", "large_mib_ns", "off_share", "foretold_ratio"],
    claims: &[
        claim(Between(5.0, 500.0), "a small object that lives costs 5 to 500 ns", OBJECT, None),
        claim(AtMost(50.0), "a large one costs no more than 50 small ones", LARGE, Some(OBJECT)),
        claim(AtMost(2000.0), "a MiB of its payload costs at most 2 us: nothing", LARGE_MIB, None),
        claim(Between(0.75, 1.33), "the law foretells a point beyond the sweep to 25 %", FORETOLD, None),
    ],
    because: "Marking visits each object once, sets a bit and reads its reference slots: tens of ns, most of it cache \
              misses. A large object without references is one visit, whatever its size, plus an entry in a list of \
              its own. The payload is never read. So 64 large objects of 16 MiB are cheaper to keep than a thousand \
              list nodes. Open src/heap/load/law.rs for the sweep and src/stats/mod.rs for the fit.",
    tour: false,
};

const DOTNET: Step = Step {
    name: "dotnet",
    ask: "GenImmix with .NET's rule: from 85,000 bytes on an object counts as large, and each 32 MiB of those cause \
          a full collection. 6 MiB of small objects live. How long is the pause with garbage of 86,000 bytes, in ns?",
    predict: Predict::Number { case: "budget_86000B", param: "" },
    kind: Kind::Pause,
    cases: &["budget_86000B", "budget_84000B", "generational_86000B"],
    params: &[""],
    launch: Launch::Isolated,
    measure: dotnet,
    headline: "pause_ns",
    columns: CHURN_COLUMNS,
    claims: &[
        claim(AtLeast(10.0), "with the rule, 2,000 bytes more: 10 times the pause", ABOVE, Some(BELOW)),
        claim(
            Between(0.25, 4.0),
            "without it, they stop as short as the smaller ones",
            FREE_ABOVE,
            Some(BELOW),
        ),
        claim(AtLeast(0.2), "with it, a fifth of the time goes to collections", STOPPED, None),
    ],
    because: "In .NET large objects belong to generation 2: they are only freed by a full collection, so allocating \
              many of them must cause one, and the budget decides how often. The pause is that of everything which \
              lives. The same garbage a little below the threshold dies young. MMTk's generational plans put large \
              objects into a nursery of their own and free them in young collections: the price of .NET's choice \
              shows as the difference of the two rows. Open src/heap/mutator.rs, `spend`.",
    tour: false,
};

const FIXES: Step = Step {
    name: "fixes",
    ask: "A program needs buffers of 1 MiB, writes one byte to each of their pages, and is done with them; .NET's rule is \
          on, 6 MiB of small objects live. Which fix gives the cheapest buffer, pauses included?",
    predict: Predict::Best { param: "" },
    kind: Kind::Pause,
    cases: &["as_is", "pool", "pieces", "concurrent"],
    params: &[""],
    launch: Launch::Isolated,
    measure: fixes,
    headline: "op_ns",
    columns: CHURN_COLUMNS,
    claims: &[
        claim(AtMost(0.2), "a pooled buffer costs a fifth of a new one", POOL, Some(AS_IS)),
        claim(AtMost(0.5), "a buffer in pieces of 80,000 bytes costs half", PIECES, Some(AS_IS)),
        claim(AtLeast(2.0), "but twice a pooled one: it is cleared each time", PIECES, Some(POOL)),
        claim(AtMost(0.5), "marking beside the program halves the pause", BESIDE, Some(FULL)),
    ],
    because: "The pool allocates nothing, so nothing is collected; it keeps four buffers for ever, and whoever rents \
              one finds the last one's data. Pieces stay below the threshold and die young, but their memory is \
              cleared for each buffer, the buffer is no longer one slice, and 14 objects are allocated instead of \
              one. A collector that frees large objects young needs no change in the program (`alive`). A concurrent one \
              still marks everything: the work moves beside the program, needs a CPU, and lets garbage live longer \
              (see the memory). Open src/heap/load/buffer.rs.",
    tour: false,
};

const REACH: Step = Step {
    name: "reach",
    ask: "A stop begins when the last mutator has polled. One mutator polls every 5 ms, or clears objects of 64 MiB. How \
          long does it take until the world has stopped beside the one that clears, in ns?",
    predict: Predict::Number { case: "clears", param: "" },
    kind: Kind::Pause,
    cases: &["polls", "late", "clears"],
    params: &[""],
    launch: Launch::Together,
    measure: reaches,
    headline: "reach_ns",
    columns: &["reach_max_ns", "pause_ns", "collections_count"],
    claims: &[
        Claim { cores: 2, ..claim(AtLeast(10.0), "a poll every 5 ms: 10 times the wait", LATE, Some(POLLS)) },
        Claim { cores: 2, ..claim(AtLeast(10.0), "clearing 64 MiB: 10 times the wait", CLEARS, Some(POLLS)) },
    ],
    because: "The time to safepoint is part of the pause for everybody who has stopped already, and no collector can \
              shorten it. A loop without polls is the known case. The other one hides in the allocator: MMTk clears \
              a large object within the allocating call, and that does not poll; OpenJDK had the same in Shenandoah \
              and ZGC (pull requests 30567, 30619). Open src/heap/safepoint.rs and src/heap/load/reach.rs.",
    tour: false,
};

/// A smoke run is so much smaller in everything.
const SMOKE: usize = 16;

fn job(plan: &Plan, collector: Collector, large_budget: Option<LargeBudget>, live_bytes: usize) -> Job {
    let (part, collections) = if plan.is_smoke() { (SMOKE, 1) } else { (1, 3) };
    let large_budget = large_budget.map(|b| LargeBudget { budget_bytes: b.budget_bytes / part, ..b });
    let config = Config { large_budget, ..Config::new(collector, HEAP / part) };
    let cpus = plan.cpus.clone();
    Job { config, live_bytes: live_bytes / part, time: plan.slice / 4, collections, cpus }
}

/// Garbage of one size.
fn garbage(payload: u32) -> impl FnOnce(&mut Mutator) -> Op + Send + 'static {
    move |_| Box::new(move |m| m.alloc(0, payload).map(drop))
}

fn alive(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let collector = if case.starts_with("Gen") { Collector::GenImmix } else { Collector::Immix };
        let payload = if case.ends_with("_64KiB") { 64 << 10 } else { buffer::BYTES };
        let live = if case == "Immix_2MiB" { 2 * MIB } else { 16 * MIB };
        let churned = churn(job(plan, collector, None, live), garbage(payload))?.paused()?;
        Ok(churned.sample(case, param))
    })
}

fn laws(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let n = if plan.is_smoke() { 1 } else { 4 };
    let small_bytes = (0..3).map(|i| i * n * MIB * 3 / 4).collect();
    let large = vec![(0, 32 << 10), (500, 32 << 10), (500, 128 << 10), (1000, 32 << 10)];
    let repeats = if plan.is_smoke() { 1 } else { 2 };
    let beyond = (n * 5 * MIB / 2, (200, 64 << 10));
    let sweep = Sweep { small_bytes, large, repeats, beyond, cpu: plan.cpus[0] };
    // The A/A row has every other collection of the same heap.
    let twins = law(Config::new(Collector::Immix, 2 * HEAP), sweep);
    let laws = |at: usize| twins.as_ref().map(|twins| &twins[at]).map_err(Clone::clone);
    each(&[cases, &[AA]].concat(), params, |case, param| {
        let law = laws(usize::from(case == AA))?;
        let mut sample = Sample::new(case, param)
            .with("object_ns", law.object_ns)
            .with("base_ns", law.base_ns)
            .with("large_ns", law.large_ns)
            .with("large_mib_ns", law.large_mib_ns)
            .with("off_share", law.off_share)
            .with("foretold_ratio", law.foretold_ratio.ok_or("no point beyond the sweep")?)
            .with("points_count", law.points as f64);
        sample.doubts.clone_from(&law.doubts);
        Ok(sample)
    })
}

fn dotnet(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let rule = case.starts_with("budget").then_some(RULE);
        let payload = if case.ends_with("84000B") { 84_000 } else { 86_000 };
        let churned = churn(job(plan, Collector::GenImmix, rule, LIVE), garbage(payload))?.paused()?;
        Ok(churned.sample(case, param))
    })
}

fn fixes(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let (collector, rule, way) = match case {
            "pool" => (Collector::GenImmix, Some(RULE), Way::Pool),
            "pieces" => (Collector::GenImmix, Some(RULE), Way::Pieces),
            "concurrent" => (Collector::ConcurrentImmix, None, Way::New),
            _ => (Collector::GenImmix, Some(RULE), Way::New),
        };
        let mut job = job(plan, collector, rule, LIVE);
        if way == Way::Pool {
            job.collections = 0; // it never causes one
        }
        let churned = churn(job, move |_| use_one(way))?;
        Ok(churned.sample(case, param).with("work_per_op_bytes", f64::from(buffer::BYTES)))
    })
}

/// All arms in one process, in turn: nothing lives that one could leave to the next. The first runs twice, for the A/A row.
fn reaches(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    let arms: Vec<&str> = cases.iter().copied().chain([AA]).collect();
    let none = |why: String| -> Vec<Sample> {
        arms.iter()
            .flat_map(|a| params.iter().map(|p| Sample::unmeasured(a, p, why.clone())).collect::<Vec<_>>())
            .collect()
    };
    let [asks, late, ..] = plan.cpus[..] else {
        return none("needs 2 CPUs: on one, the stop waits for the CPU and not for the poll".into());
    };
    let heap = match Heap::start(Config::new(Collector::Immix, 4 * HEAP)) {
        Ok(heap) => heap,
        Err(e) => return none(e.to_string()),
    };
    const ROUNDS: u32 = 2;
    interleaved(
        plan,
        ROUNDS as usize,
        cases,
        params,
        |case, _| {
            let (large, small) =
                if plan.is_smoke() { (2 * buffer::BYTES, 500) } else { (64 * buffer::BYTES, 5000) };
            let way = match case {
                "late" => Late::Every(Duration::from_micros(small)),
                "clears" => Late::Clears(large),
                _ => Late::Polls,
            };
            reach::reach(
                heap,
                way,
                (plan.slice / 3 / ROUNDS).max(Duration::from_millis(10)),
                plan.seed,
                [asks, late],
            )
        },
        |case, param, slices| match slices.into_iter().collect::<Result<Vec<_>, _>>() {
            Ok(pauses) => reach::sample(&pauses.concat(), case, param),
            Err(why) => Sample::unmeasured(case, param, why),
        },
    )
}

/// The pool against the allocator, without anything else alive.
fn benches(_: &Plan) -> Vec<Bench> {
    bench::benches(&[
        ("alloc/48B", |m, _| drop(m.alloc(0, 40).expect("garbage is collected"))),
        ("alloc/1MiB", |m, _| drop(m.alloc(0, buffer::BYTES).expect("garbage is collected"))),
        ("pooled/1MiB", |m, kept| drop(m.hold(m.at(kept)))),
    ])
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

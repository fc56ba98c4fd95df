//! How does garbage-collected code leak, and what do finalizers, weak references and pinned objects cost?
//!
//! Run it: `cargo run --release --bin dotnet_leak -- --step` (where .NET is installed; elsewhere it says how to get it)
//!
//! The real runtime, in child processes (`src/experiments/dotnet/Leak.cs`): a program makes objects, is done with them, and says what is
//! left after full collections.
use underhood::{
    experiments::{
        dotnet::{self, Knob, NEWER},
        dropped::{self, COMPILED, Program},
    },
    lab::{
        Kind, Lab, ONCE, Setting, Step, at_least, at_most, between, exactly, pick, plan::Plan, ratio,
        sample::Sample, setting, shown_by, source,
    },
    machine::memory,
};

/// Young collections after each 4 MiB, however large the machine's cache is: the runtime reads hexadecimal numbers.
const OFTEN: &[Knob] = &[COMPILED[0], ("GCgen0size", "400000")];

pub(crate) fn lab() -> Lab {
    underhood::lab!(
        "dotnet_leak",
        "How does garbage-collected code leak, and what do finalizers, weak references and pinned objects cost?"
    )
    .runs_on(dotnet::version)
    .step(leaks())
    .step(closures())
    .step(growth())
    .step(finalizers())
    .step(survives())
    .step(queue())
    .step(pinned())
    .step(weak())
    .say(
        "leaks",
        "A request of 1 KiB that still listens to an event keeps {value} alive. Once it has stopped listening, it keeps {against}.",
        ratio("listener", "listener_removed"),
        "the publisher dies with its listeners",
    )
    .say(
        "closures",
        "A lambda that uses one number keeps {value} alive, because another lambda of its method uses a buffer. Made in a method of its \
         own, it keeps {against}.",
        ratio("shared_scope", "own_method"),
        "the number and the buffer are declared in different blocks",
    )
    .say(
        "growth",
        "A program that keeps one request in a hundred grows by {value} a round. One that drops them all grows by {against}, and allocates as \
         much.",
        ratio("leak", "churn"),
        "the heap is read without a full collection before",
    )
    .say(
        "finalizers",
        "To make and drop a small object takes {value}; with a finalizer it takes {against}.",
        ratio("no_finalizer", "finalized"),
        "objects are few, or live long: then the price is not seen",
    )
    .say(
        "survives",
        "A dropped object with a finalizer and a buffer of 10 KiB still holds {value} after a full collection; with the finalizer suppressed \
         it holds {against}.",
        ratio("finalized", "suppressed"),
        "the finalizer has run before that collection",
    )
    .say(
        "pinned",
        "1,000 small pinned arrays with 20 MB of garbage between them leave {value} of holes after a compacting collection; arrays that are \
         not pinned leave {against}.",
        ratio("pinned", "not_pinned"),
        "they are pinned before the garbage is made, lie on the pinned object heap, or are pinned for less than a collection",
    )
    .not_said(&[
        "How often programs leak in each of these ways: each row is a program of ours.",
        "That holes are lost for good: later objects that survive may be put there.",
        "That weak references make a collection longer: beside as many plain wrapper objects we claim no difference.",
        NEWER,
        "What Microsoft's C# compiler makes of the same lambdas, if the record names another one (mcs).",
    ])
    .next(&[
        "How do you find who keeps an object alive? (two dumps or dotnet-gcdump some minutes apart, what has grown, then the path to its \
         root: gcroot)",
        "Does a forgotten System.Threading.Timer leak? (often: a running timer's callback refers to its object, and if that \
         object holds the Timer, neither is collected, and it ticks on until Dispose)",
        "What is left of an object that its finalizer stores in a static field? (it is alive again, and its finalizer does not run twice)",
        "When does a class need a finalizer? (nearly never: a SafeHandle has one, and the class around it only needs Dispose)",
        "What happens to finalizers when the process ends? (.NET does not run them; .NET Framework did)",
        "Where do goroutines leak? (one that waits for ever on a channel is never collected)",
    ])
    .sources(&[
        ".NET: docs/standard/garbage-collection/fundamentals.md: roots and generations",
        ".NET: docs/standard/garbage-collection/weak-references.md",
        ".NET: docs/standard/garbage-collection/implementing-dispose.md: SafeHandle, SuppressFinalize",
        "dotnet/runtime: docs/design/features/PinnedHeap.md: why pinned objects have a heap of their own",
        "C# specification, Anonymous functions: captured variables of one scope",
        "Maoni Stephens, mem-doc, https://github.com/Maoni0/mem-doc: finalizers, pinning, what to look at for a leak",
    ])
}

/// A program of which a smoke run makes few objects.
fn program(plan: &Plan, name: &'static str, count: u32, counter: &'static str) -> Program {
    Program { name, count: if plan.is_smoke() { 100 } else { count }, rest: &[], counter }
}

fn leaks() -> Step {
    const ALL: &[Setting<f64>] = &[
        setting("dropped", 1.0),
        setting("static_cache", 1.0),
        setting("weak_cache", 1.0),
        setting("listener", 1.0),
        setting("listener_removed", 1.0),
        setting("token_callback", 1.0),
        setting("token_callback_disposed", 1.0),
        setting("timer_held", 1.0),
        setting("timer_not_held", 1.0),
        setting("timer_disposed", 1.0),
    ];
    Step::new("leaks", Kind::Count, "retained_bytes")
        .ask_number(
            "A C# program serves requests with a buffer of 1 KiB. Each listens to an event of a long-lived object, and never stops. How many \
             bytes stay alive for each after full collections?",
            "listener",
            "",
        )
        .columns(&["alive_share"])
        .contenders(ALL)
        .over(ONCE, |plan, _| dropped::run(&program(plan, "leak", 5_000, "requests_count"), ALL))
        .claim(at_most(64.0, "dropped"), "a request that is dropped leaves at most 64 bytes")
        .claim(at_least(1024.0, "listener"), "a request that still listens to an event keeps at least its 1 KiB")
        .claim(
            at_least(1024.0, "token_callback"),
            "so does one with a callback in a CancellationToken that lives as long as the program",
        )
        .claim(
            at_least(1024.0, "timer_held"),
            "a request that holds a running Timer, which calls it back, keeps at least its 1 KiB",
        )
        .claim(at_most(200.0, "weak_cache"), "a cache of weak references keeps at most 200 bytes for each")
        .because(
            "The collector frees what no chain of references reaches from a root: a static field, a stack, a handle. It cannot know that \
             the program is done with an object that is still reached.",
            shown_by(at_least(0.99, pick("static_cache", "", "alive_share"))),
        )
        .because(
            "An event is a list of delegates, and each delegate refers to its listener. So the publisher keeps all its listeners alive \
             until they are removed (-=).",
            shown_by(at_most(64.0, "listener_removed")),
        )
        .because(
            "A callback is a delegate too, and refers to all that its lambda captured. Disposing the registration takes it out.",
            shown_by(at_most(64.0, "token_callback_disposed")),
        )
        .because(
            "The runtime's list of running timers refers to each timer's callback, and the callback to its request. If the request holds the \
             Timer, the whole circle is reached. If nobody holds the Timer, it is collected, and its finalizer stops the callback.",
            shown_by(at_most(64.0, "timer_not_held")),
        )
        .because("Dispose takes the timer off that list.", shown_by(at_most(64.0, "timer_disposed")))
        .because(
            "A weak reference does not keep its object alive: none is left.",
            shown_by(at_most(0.01, pick("weak_cache", "", "alive_share"))),
        )
        .because(
            "What stays of a weak cache is its entries, until the program takes the dead ones out.",
            shown_by(at_least(24.0, "weak_cache")),
        )
        .in_tour()
}

fn closures() -> Step {
    const ALL: &[Setting<f64>] = &[
        setting("uses_buffer", 1.0),
        setting("uses_number", 1.0),
        setting("shared_scope", 1.0),
        setting("own_method", 1.0),
    ];
    Step::new("closures", Kind::Count, "retained_bytes")
        .ask_number(
            "A method makes two lambdas. One uses a buffer of 1 KiB and is dropped. The other uses one number and is kept. How many bytes \
             does that one keep alive?",
            "shared_scope",
            "",
        )
        .contenders(ALL)
        .over(ONCE, |plan, _| dropped::run(&program(plan, "closure", 5_000, "requests_count"), ALL))
        .claim(at_most(200.0, "uses_number"), "a lambda that uses a number, alone in its method, keeps at most 200 bytes")
        .claim(
            at_least(1024.0, "shared_scope"),
            "a lambda that uses a number, beside one that uses the buffer, keeps the buffer too",
        )
        .because(
            "The compiler puts all captured variables of a block into one object, and all lambdas of the block share it. Each keeps what \
             any of them uses. Made in a method of its own, the lambda has an object of its own.",
            shown_by(at_most(200.0, "own_method")),
        )
}

fn growth() -> Step {
    const ALL: &[Setting<()>] = &[
        setting("churn", ()),
        setting("leak", ()),
        setting("bounded_cache", ()),
        setting("used_half_a_round", ()),
    ];
    const MIB: f64 = (1 << 20) as f64;
    let of = |case, value| pick(case, "", value);
    let full = || at_least(2.0, of("used_half_a_round", "full_count"));
    let young = || between(0.5, 2.0, ratio(of("leak", "young_count"), of("churn", "young_count")));
    Step::new("growth", Kind::Count, "growth_bytes")
        .ask_number(
            "In each round a C# program serves 20,000 requests of 1 KiB and keeps 200 of them. By how many bytes does the heap after a full \
             collection grow from round to round?",
            "leak",
            "",
        )
        .columns(&["swing_bytes", "allocated_bytes", "young_count", "full_count"])
        .each(ALL, ONCE, |plan, case, _| {
            let (rounds, count) = if plan.is_smoke() { ("2", "1000") } else { ("6", "20000") };
            dotnet::here()?.run(&["rounds", case.id(), rounds, count], OFTEN)?.sample()
        })
        .claim(at_most(20_000.0, "churn"), "if no request is kept, the heap grows by at most 20,000 bytes")
        .claim(at_most(20_000.0, "bounded_cache"), "with a cache of the last 200 requests, it grows by at most 20,000 bytes, too")
        .claim(young(), "the leak has between half and twice as many young collections as the program that keeps nothing")
        .because(
            "Bytes allocated and young collections say how much garbage is made, not how much is kept.",
            shown_by(young()),
        )
        .because(
            "Between collections the heap also holds garbage. Without any leak its size swings by more than the leak adds in a round.",
            shown_by(at_least(MIB, of("churn", "swing_bytes"))),
        )
        .because(
            "Objects that live for some collections grow old and then die. Only full collections free them, so there are many, but \
             nothing grows.",
            shown_by(full()),
        )
        .because(
            "The heap after a full collection is what lives. A cache grows until it is full; a leak grows in each round.",
            shown_by(at_most(0.1, ratio("bounded_cache", "leak"))),
        )
}

fn finalizers() -> Step {
    const ALL: &[Setting<&str>] = &[
        setting("no_finalizer", "no_finalizer"),
        setting("suppressed", "suppressed"),
        setting("finalized", "finalized"),
    ];
    let registered = || at_least(2.0, ratio("suppressed", "no_finalizer"));
    let saved = || at_most(0.7, ratio("suppressed", "finalized"));
    Step::new("finalizers", Kind::Single, "op_ns")
        .ask_number(
            "A C# program makes and drops small objects that have a finalizer. How long does one take, with its collection and its finalizer?",
            "finalized",
            "",
        )
        .columns(&["cpu_ns", "gc_share", "finalized_share"])
        .slice(0.4)
        .contenders(ALL)
        .over(ONCE, |plan, _| dotnet::turns(plan, Kind::Single, ALL, |way| finalizer(plan, way)))
        .claim(
            at_least(5.0, ratio("finalized", "no_finalizer")),
            "an object with a finalizer costs at least 5 times what one without costs",
        )
        .claim(registered(), "an object whose finalizer is suppressed costs at least twice as much as one without a finalizer")
        .claim(saved(), "an object whose finalizer is suppressed costs at most 0.7 of one whose finalizer runs")
        .because(
            "An object with a finalizer is made on a slow path: the runtime enters it in a list of objects to finalize. Suppressing the \
             finalizer later does not save that.",
            shown_by(registered()),
        )
        .because(
            "Without Dispose it survives its first collection, waits for the finalizer thread, and is collected again.",
            shown_by(saved()),
        )
}

/// One row of the step before, if it did what it should.
fn finalizer(plan: &Plan, way: &str) -> Result<Sample, String> {
    memory::room_for(512 << 20)?;
    let ms = plan.slice.as_millis().max(5).to_string();
    let sample = dotnet::here()?.run(&["finalizer", way, &ms], OFTEN)?.sample()?;
    let (ran, want) = (sample.values.get("finalized_share"), f64::from(u8::from(way == "finalized")));
    match ran {
        // A later compiler may put an object that goes nowhere on the stack: then the rows no longer do the same work.
        Some(_) if sample.values.get("allocated_bytes").is_some_and(|bytes| *bytes < 16.0) => {
            Err("the objects were not made on the heap".into())
        }
        Some(ran) if (ran - want).abs() < 1e-9 => Ok(sample),
        _ => Err(format!("finalizers ran for {ran:?} of the objects, and should for {want}")),
    }
}

fn survives() -> Step {
    const ALL: &[Setting<f64>] = &[
        setting("no_finalizer", 0.0),
        setting("suppressed", 0.0),
        setting("finalized", 1.0),
        setting("handle_apart", 1.0),
    ];
    let second = || at_most(200.0, pick("finalized", "", "surviving_second_bytes"));
    Step::new("survives", Kind::Count, "surviving_bytes")
        .ask_number(
            "A C# program drops objects that have a finalizer and a buffer of 10 KiB. How many bytes are left of each after one full \
             collection?",
            "finalized",
            "",
        )
        .columns(&["surviving_second_bytes"])
        .contenders(ALL)
        .over(ONCE, |plan, _| dropped::run(&program(plan, "survives", 500, "finalized_count"), ALL))
        .claim(at_least(10_240.0, "finalized"), "after the first full collection an object with a finalizer still holds its buffer: at least 10,240 bytes")
        .claim(second(), "after its finalizer and a second full collection, at most 200 bytes are left")
        .claim(at_most(200.0, "suppressed"), "if the finalizer is suppressed, at most 200 bytes are left after the first collection")
        .claim(
            at_most(200.0, "handle_apart"),
            "with the finalizer in a small object of its own, at most 200 bytes are left after the first collection",
        )
        .because(
            "The finalizer will use the object, so the collection keeps it, and all that it refers to. A later collection frees it.",
            shown_by(second()),
        )
        .because(
            "SuppressFinalize marks the object, and the collection does not keep it for a finalizer. So the first collection frees it.",
            shown_by(at_most(200.0, "suppressed")),
        )
        .because(
            "A SafeHandle is that small object. It alone survives, and the buffer around it does not.",
            shown_by(at_most(200.0, "handle_apart")),
        )
        .because(
            "What survives is promoted to an older generation, which is collected less often.",
            source(".NET: docs/standard/garbage-collection/fundamentals.md, survival and promotions"),
        )
}

fn queue() -> Step {
    const ALL: &[Setting<f64>] =
        &[setting("none_blocks", 1.0), setting("one_blocks", 1.0), setting("one_blocks_suppressed", 1.0)];
    let of = |case, value| pick(case, "", value);
    Step::new("queue", Kind::Count, "finalized_share")
        .ask_number(
            "One finalizer waits for an event that does not come. Of 1,000 other objects that are dropped then, what part is finalized within \
             half a second?",
            "one_blocks",
            "",
        )
        .columns(&["surviving_bytes", "ready_count", "ready_later_count"])
        .contenders(ALL)
        .over(ONCE, |plan, _| dropped::run(&program(plan, "blocked", 1_000, "finalized_count"), ALL))
        .claim(exactly(0.0, "one_blocks"), "behind a finalizer that blocks, no other object is finalized within half a second")
        .claim(exactly(1.0, "none_blocks"), "if none blocks, all objects are finalized")
        .claim(
            at_least(1024.0, of("one_blocks", "surviving_bytes")),
            "behind a finalizer that blocks, two more full collections free none of the buffers of 1 KiB",
        )
        .because(
            "One thread runs all finalizers, one after the other. One that blocks holds up all others.",
            shown_by(exactly(0.0, "one_blocks")),
        )
        .because(
            "If that object is disposed and its finalizer suppressed, the others run.",
            shown_by(exactly(1.0, "one_blocks_suppressed")),
        )
        .because(
            "What waits for its finalizer stays alive, so a blocked finalizer is a leak.",
            shown_by(at_most(200.0, of("none_blocks", "surviving_bytes"))),
        )
        .because(
            "GCMemoryInfo.FinalizationPendingCount does not show it: it counts what one collection found, not who still waits. Two \
             collections later it says nearly nothing.",
            shown_by(at_most(100.0, of("one_blocks", "ready_later_count"))),
        )
}

fn pinned() -> Step {
    const ALL: &[Setting<f64>] = &[
        setting("not_pinned", 1.0),
        setting("pinned", 1.0),
        setting("pinned_first", 1.0),
        setting("pinned_heap", 1.0),
    ];
    // 20,000 bytes of garbage between two arrays.
    const BETWEEN: &[&str] = &["20000"];
    const MB: f64 = 1e6;
    Step::new("pinned", Kind::Count, "holes_bytes")
        .ask_number(
            "A C# program pins 1,000 arrays of 1,000 bytes, and makes 20 MB of garbage between them. How many bytes of holes are in the heap \
             after a full collection that compacts?",
            "pinned",
            "",
        )
        .columns(&["released_holes_bytes"])
        .contenders(ALL)
        .over(ONCE, |plan, _| {
            let program = program(plan, "pinned", 1_000, "arrays_count");
            dropped::run(&Program { rest: BETWEEN, ..program }, ALL)
        })
        .claim(at_least(10.0 * MB, "pinned"), "pinned, the arrays leave at least 10 MB of holes: half of the garbage or more")
        .claim(at_most(MB, "not_pinned"), "not pinned, they leave at most 1 MB")
        .claim(at_most(MB, "pinned_first"), "pinned before any garbage is made, they leave at most 1 MB")
        .claim(at_most(MB, "pinned_heap"), "on the pinned object heap, they leave at most 1 MB")
        .because(
            "Compacting moves what lives together. A pinned object may not move, so the garbage on both sides of it becomes holes.",
            shown_by(at_most(MB, "not_pinned")),
        )
        .because(
            "Without the pins the next compacting collection closes the holes.",
            shown_by(at_most(MB, pick("pinned", "", "released_holes_bytes"))),
        )
        .because(
            "Objects that are pinned together leave nothing between them. That is what a pool of buffers made at the start does.",
            shown_by(at_most(MB, "pinned_first")),
        )
        .because(
            "GC.AllocateArray(n, pinned: true), since .NET 5, puts an array on a heap of its own that is never compacted.",
            shown_by(at_most(MB, "pinned_heap")),
        )
}

fn weak() -> Step {
    const ALL: &[Setting<&str>] = &[
        setting("strong_reference", "strong_reference"),
        setting("with_finalizer", "with_finalizer"),
        setting("weak_handle", "weak_handle"),
        setting("weak_reference", "weak_reference"),
        setting("weak_table", "weak_table"),
    ];
    let costs = |case| ratio(case, "strong_reference");
    Step::new("weak", Kind::Single, "op_ns")
        .ask_number(
            "A C# program makes 100,000 WeakReference objects to objects that live. How long does one take?",
            "weak_reference",
            "",
        )
        .columns(&["pause_ns"])
        .contenders(ALL)
        .over(ONCE, |plan, _| {
            let count = if plan.is_smoke() { "1000" } else { "100000" };
            dotnet::turns(plan, Kind::Single, ALL, |way| dotnet::here()?.run(&["weak", way, count], COMPILED)?.sample())
        })
        .claim(
            at_least(2.0, costs("weak_reference")),
            "a WeakReference costs at least twice what a plain object with one field costs",
        )
        .claim(
            at_least(3.0, costs("weak_table")),
            "an entry of a ConditionalWeakTable costs at least 3 times what a plain object costs, the growth of the table included",
        )
        .because(
            "A weak reference needs a handle: a place in a table of the runtime that the collector clears when the object dies.",
            source("dotnet/runtime: src/coreclr/gc/handletable.cpp, weak handles"),
        )
        .because(
            "A WeakReference also has a finalizer, which gives the handle back. To enter an object in the list of objects to finalize costs \
             time: a plain object with a finalizer costs at least twice what one without costs.",
            shown_by(at_least(2.0, costs("with_finalizer"))),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

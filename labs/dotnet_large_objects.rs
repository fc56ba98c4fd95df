//! Why do allocations on .NET's large object heap stop a program?
//!
//! Run it: `cargo run --release --bin dotnet_large_objects -- --step` (where .NET is installed; elsewhere it says how to get it)
//!
//! The real runtime, in child processes: a program of ours (`src/experiments/dotnet/Large.cs`) makes garbage arrays beside small
//! objects that live, and the runtime's own events say how often and how long it stops the world.
use underhood::{
    experiments::dotnet::{self, Knob, NEWER},
    lab::{
        Kind, Lab, ONCE, Setting, Step, at_least, at_most, between, exactly, pick, plan::Plan, ratio,
        sample::Sample, setting, shown_by, source,
    },
    machine::memory,
};

/// Small objects that live, in MiB.
const LIVE: u32 = 32;
const NO_BACKGROUND: Knob = ("gcConcurrent", "0");
const SERVER: Knob = ("gcServer", "1");
/// 200,000 bytes: the runtime reads hexadecimal numbers.
const THRESHOLD: Knob = ("GCLOHThreshold", "30D40");
const COLUMNS: &[&str] = &[
    "full_per_gib_count",
    "young_per_gib_count",
    "stopped_ns",
    "pause_max_ns",
    "op_max_ns",
    "op_ns",
    "gc_share",
    "cpu_share",
    "bystander_max_ns",
];

/// What is allocated and how.
#[derive(Clone, Copy)]
struct Garbage {
    bytes: u32,
    way: &'static str,
    knobs: &'static [Knob],
    /// Small objects that live, in MiB.
    live: u32,
    /// Whether a second thread of the program looks at the clock meanwhile.
    watched: bool,
}

impl Garbage {
    const fn new(bytes: u32, way: &'static str, knobs: &'static [Knob]) -> Self {
        Self { bytes, way, knobs, live: LIVE, watched: false }
    }
}

const fn garbage(
    id: &'static str,
    bytes: u32,
    way: &'static str,
    knobs: &'static [Knob],
) -> Setting<Garbage> {
    setting(id, Garbage::new(bytes, way, knobs))
}

pub(crate) fn lab() -> Lab {
    underhood::lab!("dotnet_large_objects", "Why do allocations on .NET's large object heap stop a program?")
        .runs_on(dotnet::version)
        .step(edge())
        .step(collections())
        .step(pauses())
        .step(cures())
        .step(compact())
        .say(
            "collections",
            "Beside 32 MiB of small live objects, garbage arrays of 86,000 bytes cause {value} full collections for each GiB. \
             Arrays of 84,000 bytes cause {against}.",
            ratio(pick("86000B", "", "full_per_gib_count"), pick("84000B", "", "full_per_gib_count")),
            "the arrays are reused, or the threshold is raised above them",
        )
        .say(
            "pauses",
            "A full collection in .NET stops the world for {value} in all, beside 32 MiB of small live objects. With background collection \
             switched off, it is {against}.",
            ratio(pick("86000B", "", "stopped_ns"), pick("86000B_no_background", "", "stopped_ns")),
            "the collection blocks all the same: memory is nearly full, a hard limit is near, the program calls GC.Collect(), or the heap \
             is compacted",
        )
        .say(
            "pauses",
            "The allocating thread waits longer than the world stops: its longest wait in a launch is {value}, the longest stop {against}.",
            ratio(pick("86000B", "", "op_max_ns"), pick("86000B", "", "pause_max_ns")),
            "the thread allocates slowly enough for the background collection to keep up",
        )
        .say(
            "edge",
            "The smallest byte array that goes to the large object heap has {value}: with its header the object has 85,000 bytes.",
            pick("default", "", "edge_bytes"),
            "GCLOHThreshold is set",
        )
        .not_said(&[
            "What a server with many threads sees: one thread allocates here, on two CPUs.",
            NEWER,
            "The longest pause or wait as a bound: it is the longest of a few collections.",
            "What the measurement costs: a listener inside of the program receives the runtime's events for each collection.",
            "How many times cheaper a pooled or kept buffer is: the clock and the log of each buffer cost about as much as a rented one does \
             (see the row in which nothing is done).",
        ])
        .next(&[
            "Why are large objects collected with generation 2? (copying them is expensive, so they have no young generation, and without \
             a hard limit they are not moved unless it is asked for)",
            "Who waits during a background collection? (a thread that allocates too many large objects meanwhile)",
            "Which event tells you that large objects caused it? (GCStart with reason 4, which PerfView shows as AllocLarge)",
            "When is a full collection a blocking one all the same? (high memory load, a hard limit, compaction, GC.Collect())",
            "What does an ArrayPool keep, and who clears it? (it keeps returned arrays with their old data; nobody clears them, \
             unless Return is told to)",
        ])
        .sources(&[
            ".NET: docs/standard/garbage-collection/large-object-heap.md: 85,000 bytes, collected with generation 2",
            ".NET: docs/standard/garbage-collection/background-gc.md: background collection of generation 2 is the default",
            ".NET: docs/core/runtime-config/garbage-collector.md: gcConcurrent, gcServer, GCConserveMemory, and Large \
             object heap threshold",
            ".NET: docs/fundamentals/diagnostics/runtime-garbage-collection-events.md: GCSuspendEEBegin, GCRestartEEEnd, GCStart and its \
             reasons",
            "dotnet/runtime: src/coreclr/gc/gc.cpp, joined_generation_to_condemn: what a hard limit does to large objects",
            "Maoni Stephens, mem-doc, https://github.com/Maoni0/mem-doc: what an allocating thread waits for during a \
             background collection",
        ])
}

/// One process.
fn run(plan: &Plan, garbage: &Garbage) -> Result<Sample, String> {
    memory::room_for((garbage.live as usize + 512) << 20)?;
    let ms = plan.slice.as_millis().max(20).to_string();
    let (bytes, live) =
        (garbage.bytes.to_string(), if plan.is_smoke() { 1 } else { garbage.live }.to_string());
    let watched = if garbage.watched { "1" } else { "0" };
    let args = ["large", &bytes, &live, &ms, garbage.way, watched];
    dotnet::here()?.run(&args, garbage.knobs)?.sample()
}

fn edge() -> Step {
    const ALL: &[Setting<&[Knob]>] = &[setting("default", &[]), setting("threshold_200000", &[THRESHOLD])];
    Step::new("edge", Kind::Count, "edge_bytes")
        .ask_number(
            "From how many bytes on does `new byte[n]` go to the large object heap?",
            "default",
            "",
        )
        .isolated(ALL, ONCE, |_, case, _| dotnet::here()?.run(&["edge"], case.value)?.sample())
        .claim(exactly(84_976.0, "default"), "84,976: with its header, its type and its length (24 bytes) the object has 85,000")
        .claim(
            exactly(199_976.0, "threshold_200000"),
            "with GCLOHThreshold at 200,000, an array of 199,976 bytes is the smallest large object",
        )
        .because(
            "The runtime compares the size of the whole object with 85,000 bytes, not the size of its elements. With a \
             threshold of 200,000, the smallest large array is again 24 bytes shorter than the threshold.",
            shown_by(exactly(199_976.0, "threshold_200000")),
        )
        .because(
            "The program asks which generation a new array belongs to: a large object belongs to generation 2 at once.",
            source("`Edge` in src/experiments/dotnet/Large.cs"),
        )
}

fn collections() -> Step {
    const ALL: &[Setting<Garbage>] = &[
        garbage("86000B", 86_000, "new", &[]),
        garbage("84000B", 84_000, "new", &[]),
        garbage("86000B_threshold_200000", 86_000, "new", &[THRESHOLD]),
        garbage("86000B_limit_128MiB", 86_000, "new", &[("GCHeapHardLimit", "8000000")]),
    ];
    Step::new("collections", Kind::Count, "full_per_gib_count")
        .ask_number(
            "A C# program makes garbage arrays of 86,000 bytes; 32 MiB of small objects live. How many full collections does each GiB of \
             garbage cause?",
            "86000B",
            "",
        )
        .columns(&["young_per_gib_count", "for_large_share"])
        .slice(0.1)
        .contenders(ALL)
        .over(ONCE, |plan, _| dotnet::turns(plan, Kind::Count, ALL, |garbage| run(plan, garbage)))
        .claim(at_most(0.5, "84000B"), "arrays of 84,000 bytes cause at most one full collection for each 2 GiB")
        .claim(at_least(5.0, "86000B"), "arrays of 86,000 bytes cause at least 5 full collections for each GiB")
        .claim(
            between(0.5, 2.0, ratio("86000B_limit_128MiB", "86000B")),
            "with a heap limit of 128 MiB, they cause between half and twice as many: their budget decides, not the limit",
        )
        .because(
            "Large objects belong to generation 2. Only a full collection frees them, so a program that allocates many of them has many \
             full collections. With the threshold above the size of the arrays there are none.",
            shown_by(at_most(0.5, "86000B_threshold_200000")),
        )
        .because(
            "The runtime names the reason of each collection in its events. At least nine of ten full collections began because \
             large objects had used up their budget.",
            shown_by(at_least(0.9, pick("86000B", "", "for_large_share"))),
        )
}

fn pauses() -> Step {
    const ALL: &[Setting<Garbage>] = &[
        garbage("86000B", 86_000, "new", &[]),
        garbage("86000B_no_background", 86_000, "new", &[NO_BACKGROUND]),
        setting(
            "86000B_no_background_8MiB",
            Garbage { live: 8, ..Garbage::new(86_000, "new", &[NO_BACKGROUND]) },
        ),
        setting("86000B_watched", Garbage { watched: true, ..Garbage::new(86_000, "new", &[]) }),
        setting(
            "86000B_no_background_watched",
            Garbage { watched: true, ..Garbage::new(86_000, "new", &[NO_BACKGROUND]) },
        ),
        garbage("86000B_server", 86_000, "new", &[SERVER]),
    ];
    let of = |case, value| pick(case, "", value);
    let full = |case| of(case, "full_per_gib_count");
    let background =
        at_most(0.5, ratio(of("86000B", "stopped_ns"), of("86000B_no_background", "stopped_ns")));
    let waited = |case| ratio(of(case, "op_max_ns"), of(case, "pause_max_ns"));
    let waits = at_least(2.0, waited("86000B"));
    let no_wait = at_most(1.5, waited("86000B_no_background"));
    let mark = at_least(2.0, ratio("86000B_no_background", "86000B_no_background_8MiB"));
    Step::new("pauses", Kind::Pause, "pause_ns")
        .ask_number(
            "A C# program makes garbage arrays of 86,000 bytes; 32 MiB of small objects live. How long does the runtime stop the world \
             each time, at the median, with its default settings?",
            "86000B",
            "",
        )
        .columns(COLUMNS)
        .slice(0.1)
        .contenders(ALL)
        .over(ONCE, |plan, _| dotnet::turns(plan, Kind::Pause, ALL, |garbage| run(plan, garbage)))
        .claim(background, "all stops of a background collection together take at most half as long as a blocking collection")
        .claim(waits, "the longest wait of the allocating thread is at least twice the longest stop")
        .claim(
            no_wait,
            "without background collection, the longest wait of the allocating thread is at most 1.5 times the longest stop",
        )
        .because(
            "A full collection marks all live objects, so its time grows with their number. With a quarter of them it takes \
             less than half of the time.",
            shown_by(mark),
        )
        .because(
            "By default most of the marking happens beside the program (background collection). The world stops only to begin \
             the marking and to finish it.",
            shown_by(background),
        )
        .because(
            "Large objects have a budget: the number of bytes that may be allocated until the next full collection. It is at least the \
             budget of generation 2, which grows with what survives there. So with fewer live objects there are more collections.",
            shown_by(at_least(1.3, ratio(full("86000B_no_background_8MiB"), full("86000B_no_background")))),
        )
        .because(
            "During a background collection a thread may allocate only so many bytes of large objects. Then it waits for the end of the \
             collection, although the world does not stop. With background collection switched off, there is no such wait beside the \
             stops: the longest wait is the longest stop.",
            shown_by(no_wait),
        )
        .because(
            "A blocking collection stops every thread, even one that allocates nothing and only looks at the clock. A \
             background collection lets that thread run most of the time.",
            shown_by(at_most(
                0.5,
                ratio(of("86000B_watched", "bystander_max_ns"), of("86000B_no_background_watched", "bystander_max_ns")),
            )),
        )
        .in_tour()
}

fn cures() -> Step {
    const fn way(id: &'static str, way: &'static str, knobs: &'static [Knob]) -> Setting<Garbage> {
        setting(id, Garbage { live: 8, ..Garbage::new(86_000, way, knobs) })
    }
    const ALL: &[Setting<Garbage>] = &[
        way("as_is", "new", &[]),
        way("pool", "pool", &[]),
        way("nothing", "nothing", &[]),
        way("reuse", "reuse", &[]),
        way("uninitialized", "uninitialized", &[]),
        way("pieces", "pieces", &[]),
        way("conserve_memory", "new", &[("GCConserveMemory", "5")]),
    ];
    let full = |case| pick(case, "", "full_per_gib_count");
    Step::new("cures", Kind::Pause, "op_ns")
        .ask_best(
            "A C# program needs buffers of 86,000 bytes and drops each of them at once; 8 MiB of small objects live. Which way makes a \
             buffer cheapest, collections included?",
            "",
        )
        .columns(COLUMNS)
        .slice(0.1)
        .contenders(ALL)
        .over(ONCE, |plan, _| dotnet::turns(plan, Kind::Pause, ALL, |garbage| run(plan, garbage)))
        .claim(at_most(0.1, ratio("reuse", "as_is")), "a buffer that is kept and cleared costs at most a tenth of a new one")
        .claim(at_most(0.1, full("reuse")), "a buffer that is kept and cleared causes no full collection")
        .claim(at_most(0.7, ratio("pieces", "as_is")), "in pieces of at most 80,000 bytes, a buffer costs at most 0.7 of one array")
        .claim(at_most(0.5, full("pieces")), "pieces of at most 80,000 bytes cause at most one full collection for each 2 GiB")
        .claim(
            at_least(1.0, full("uninitialized")),
            "an array that is not cleared still goes to the large object heap: at least one full collection for each GiB",
        )
        .because(
            "A pool hands out the same arrays again. Nothing is allocated, so nothing is collected and nothing is cleared.",
            shown_by(at_most(0.1, full("pool"))),
        )
        .because(
            "Smaller objects die young. A young collection frees them and does not look at the 8 MiB that live, and the allocating thread does \
             not wait for a full one.",
            shown_by(at_most(0.1, full("pieces"))),
        )
        .because(
            "GCConserveMemory is no cure. It saves memory at the price of more collections, and large objects still cause them.",
            shown_by(between(1.0, 2.0, ratio(full("conserve_memory"), full("as_is")))),
        )
}

fn compact() -> Step {
    /// 70 MiB: what is held at first is more than nine tenths of it.
    const NEAR_LIMIT: &[Knob] = &[("GCHeapHardLimit", "4600000")];
    const ALL: &[Setting<(&str, &[Knob])>] = &[
        setting("swept", ("no", &[])),
        setting("compacted_once", ("once", &[])),
        setting("swept_limit_70MiB", ("no", NEAR_LIMIT)),
    ];
    const MIB: &str = "64";
    let holes = |case| pick(case, "", "holes_bytes");
    Step::new("compact", Kind::Pause, "op_ns")
        .ask_number(
            "A program held 64 MiB in large arrays and dropped every second one. How long does one blocking full collection take that moves \
             the rest together?",
            "compacted_once",
            "",
        )
        .columns(&["holes_bytes", "live_bytes"])
        .contenders(ALL)
        .over(ONCE, |plan, _| {
            let mib = if plan.is_smoke() { "8" } else { MIB };
            dotnet::turns(plan, Kind::Pause, ALL, |(how, knobs)| {
                memory::room_for(256 << 20)?;
                dotnet::here()?.run(&["compact", how, mib], knobs)?.sample()
            })
        })
        .claim(
            at_least(3.0, ratio("compacted_once", "swept")),
            "a collection that compacts takes at least 3 times as long as one that only sweeps",
        )
        .claim(at_least(20e6, holes("swept")), "without compaction at least 20 MB of holes stay in the heap")
        .claim(at_most(1e6, holes("compacted_once")), "with compaction at most 1 MB of holes stay in the heap")
        .because(
            "Without a hard limit, large objects are not moved unless it is asked for: GCSettings.LargeObjectHeapCompactionMode = \
             CompactOnce does, for the next blocking full collection.",
            shown_by(at_most(1e6, holes("compacted_once"))),
        )
        .because(
            "With a hard limit, as a container's memory limit sets one, the runtime may move them by itself. It does if nine tenths of the \
             limit are in use and an eighth of it would be gained. Here the limit is 70 MiB, and nobody asked.",
            shown_by(at_most(1e6, holes("swept_limit_70MiB"))),
        )
        .because(
            "To move the objects, the collector copies them (here 32 MiB) while the world is stopped.",
            shown_by(at_least(3.0, ratio("compacted_once", "swept"))),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

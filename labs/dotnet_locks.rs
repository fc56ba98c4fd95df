//! What do .NET's locks cost, and when does ReaderWriterLockSlim beat lock?
//!
//! Run it: `cargo run --release --bin dotnet_locks -- --step` (where .NET is installed; elsewhere it says how to get it)
//!
//! All rows of a table run in one process (`src/experiments/dotnet/Locks.cs`), one after the other in random order. All code, the
//! framework's too, is compiled fully at its first call instead of in tiers, so that nothing is compiled again while the clock runs.
//! One row shows what tiers do. With several threads, C#'s lock is one that a thread has waited for before: a fresh one is several
//! times faster until a thread first waits, which happens some milliseconds later. The first row that runs in a process is measured and
//! left out, since it is faster than the same row later.
use std::time::Duration;

use underhood::{
    contenders::lock::{Lock, STD_MUTEX, STD_RWLOCK},
    experiments::dotnet::{self, Knob, NEWER, SETTLED, Told},
    lab::{
        Contender, Kind, Lab, ONCE, Point, Setting, Step, at, at_least, at_most, pick, plan::Plan, ratio,
        sample::Sample, setting, shown_by, source,
    },
    measure::{order::Order, throughput},
    record::AA,
};

/// Of the plan's slice, for each row at each parameter.
const SLICE: f64 = 0.1;

/// A lock of .NET, or one of ours beside it.
struct Row {
    is: Contender,
    runs: Runs,
}

enum Runs {
    /// The program's name for it, and the runtime's settings.
    Dotnet(&'static str, &'static [Knob]),
    Ours(&'static Lock),
}

impl Row {
    fn program(&self) -> Option<&'static str> {
        if let Runs::Dotnet(program, _) = self.runs { Some(program) } else { None }
    }
}

impl AsRef<Contender> for Row {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

const fn row(id: &'static str, name: &'static str, program: &'static str) -> Row {
    Row { is: Contender::new(id).called(name), runs: Runs::Dotnet(program, SETTLED) }
}

static ALONE: [Row; 11] = [
    row("monitor", "lock (Monitor)", "monitor"),
    row("monitor_inflated", "lock (Monitor) that was once waited for", "monitor_inflated"),
    row("lock", "System.Threading.Lock (.NET 9)", "lock"),
    row("spin_lock", "SpinLock, no owner tracking, Exit(false)", "spin_lock"),
    row("semaphore_slim", "SemaphoreSlim.Wait", "semaphore_slim"),
    row("semaphore_slim_async", "SemaphoreSlim.WaitAsync, free at once", "semaphore_slim_async"),
    row("rw_lock_slim", "ReaderWriterLockSlim", "rw_lock_slim"),
    row("interlocked", "Interlocked.Increment", "interlocked"),
    Row {
        is: Contender::new("monitor_tiered").called("lock (Monitor), compiled in tiers, in a young process"),
        runs: Runs::Dotnet("monitor", &[]),
    },
    row("channel", "Channel: one write and one read", "channel"),
    row("empty", "no lock", "empty"),
];
static CROWD: [Row; 6] = [
    row("monitor", "lock (Monitor)", "monitor_inflated"),
    row("lock", "System.Threading.Lock (.NET 9)", "lock"),
    row("spin_lock", "SpinLock, no owner tracking", "spin_lock"),
    row("semaphore_slim", "SemaphoreSlim.Wait", "semaphore_slim"),
    row("rw_lock_slim", "ReaderWriterLockSlim", "rw_lock_slim"),
    Row { is: Contender::new("std_mutex").called("Rust's std Mutex"), runs: Runs::Ours(&STD_MUTEX) },
];
/// What one shared value costs: a number, or an entry of 100.
static SHARED: [Row; 5] = [
    row("monitor", "a number behind lock (Monitor)", "monitor_inflated"),
    row("interlocked", "a number, Interlocked (reads: Volatile.Read)", "interlocked"),
    row("dictionary_locked", "Dictionary of 100 behind lock", "dictionary_locked"),
    row("concurrent_dictionary", "ConcurrentDictionary of 100", "concurrent_dictionary"),
    row(
        "immutable_dictionary",
        "ImmutableDictionary of 100, copied and swapped (read through an interface)",
        "immutable_dictionary",
    ),
];
static READERS: [Row; 3] = [
    row("monitor", "lock (Monitor)", "monitor_inflated"),
    row("rw_lock_slim", "ReaderWriterLockSlim", "rw_lock_slim"),
    Row { is: Contender::new("std_rwlock").called("Rust's std RwLock"), runs: Runs::Ours(&STD_RWLOCK) },
];

pub(crate) fn lab() -> Lab {
    underhood::lab!("dotnet_locks", "What do .NET's locks cost, and when does ReaderWriterLockSlim beat lock?")
        .runs_on(dotnet::version)
        .step(alone())
        .step(crowd())
        .step(shared())
        .step(readers())
        .step(crossover())
        .say(
            "readers",
            "{threads} threads only read, and hold the lock for 5 us. ReaderWriterLockSlim lets through {value}, and lock lets \
             through {against}: {ratio}.",
            ratio(("rw_lock_slim", "5us_reads_100"), ("monitor", "5us_reads_100")),
            "a tenth of the operations write (seen with a hold of 1 us), or little is done under the lock: then no difference is shown",
        )
        .say(
            "alone",
            "With one thread, a lock that nobody ever waited for takes {value} and ReaderWriterLockSlim {against}, call and loop included.",
            ratio("monitor", "rw_lock_slim"),
            "another thread wants the lock at the same time",
        )
        .not_said(&[
            "What happens with many CPUs: the machine is in the record.",
            "That only the lock differs between a row of Rust and one of .NET: calls and compiled code differ too. Compare rows of one \
             language.",
            "Anything about fairness. If the value \"slowest thread against fastest\" is near 0, one thread got nearly \
             everything. Then the row's throughput is that of one thread.",
            "What a service gets after some time: there the JIT compiles again with a profile, also the framework's own code.",
            NEWER,
        ])
        .next(&[
            "Why can't you await inside of a lock statement? (the rest may run on another thread, which does not own the lock)",
            "What is SemaphoreSlim(1, 1) used for, then? (as an asynchronous mutex: it has no owner, so another thread may release it)",
            "What did System.Threading.Lock change in .NET 9? (the lock is an object of its own type, and no longer lies in the header of \
             any object)",
            "What do readers of a ConcurrentDictionary lock? (nothing; but Count, Keys and Values take all of its locks)",
        ])
        .sources(&[
            ".NET: docs/standard/threading/overview-of-synchronization-primitives.md",
            "dotnet/runtime: src/coreclr/vm/syncblk.cpp (thin locks); System.Threading.ReaderWriterLockSlim",
            ".NET: docs/core/runtime-config/compilation.md: tiered compilation",
        ])
}

/// How a row is run: threads (0: as many as the plan has), hold, share of reads.
#[derive(Clone, Copy)]
struct Load {
    threads: usize,
    hold_ns: f64,
    reads_percent: u32,
}

const fn load(id: &'static str, threads: usize, hold_ns: f64, reads_percent: u32) -> Point<Load> {
    at(id, Load { threads, hold_ns, reads_percent })
}

/// All rows at all parameters, the first row twice (`A/A`), in random order: those of .NET in one process for each of the settings.
fn rows(plan: &Plan, roster: &'static [Row], all: &[Point<Load>]) -> Vec<Sample> {
    let of = |threads| if threads == 0 { plan.threads } else { threads };
    let ms = plan.slice.as_millis().max(10).to_string();
    let mut order = Order::new(plan.seed ^ (plan.launch as u64) << 32);
    let mut samples = Vec::new();
    for knobs in [SETTLED, &[]] {
        let with = |row: &&'static Row| matches!(row.runs, Runs::Dotnet(_, with) if with == knobs);
        let once = roster.iter().filter(with).map(|row| (row.is.id, row));
        let twin = roster.first().filter(with).map(|row| (AA, row));
        let named = once.chain(twin).filter_map(|(id, row)| Some((id, row.program()?)));
        let mut cells: Vec<(&str, &str, &Point<Load>)> =
            named.flat_map(|(id, program)| all.iter().map(move |p| (id, program, p))).collect();
        if cells.is_empty() {
            continue;
        }
        order.shuffle(&mut cells);
        let row = |(_, program, p): &(&str, &str, &Point<Load>)| {
            let Load { threads, hold_ns, reads_percent } = p.value;
            format!("{program}:{}:{hold_ns}:{reads_percent}", of(threads))
        };
        let names: Vec<String> = cells.iter().map(row).collect();
        // What is compiled in tiers is young for 20 ms only: the runtime compiles again after a tenth of a second.
        let (ms, warm) = if knobs.is_empty() { ("20", "0") } else { (ms.as_str(), "10") };
        let args = ["locks", &names.join(","), ms, warm];
        let told = dotnet::here().and_then(|d| d.rows(&args, knobs));
        for (i, (id, _, p)) in cells.iter().enumerate() {
            let one = |told: Vec<(String, Told)>| told.into_iter().nth(i).map(|(_, told)| told);
            let got = told.clone().and_then(|told| one(told).ok_or("the program ended early")?.sample());
            let got = got.map(|s| Sample { case: (*id).into(), param: p.id().into(), ..s });
            samples.push(got.unwrap_or_else(|why| Sample::unmeasured(id, p.id(), why)));
        }
    }
    for (row, p) in roster.iter().flat_map(|row| all.iter().map(move |p| (row, p))) {
        if let Runs::Ours(lock) = row.runs {
            let Load { threads, hold_ns, reads_percent } = p.value;
            // A window of the gang is longer than one of the program.
            let plan = Plan { threads: of(threads), ..plan.part(2.0, Duration::from_millis(50)) };
            let of_all = throughput::crowd(&plan, p.id(), hold_ns, [lock.crowd(reads_percent)]);
            samples.extend(of_all.into_iter().take(1).map(|s| Sample { case: row.is.id.into(), ..s }));
        }
    }
    samples
}

fn alone() -> Step {
    Step::new("alone", Kind::Single, "lane_op_ns")
        .ask_number("One thread takes and releases an uncontended lock in C#. How long does that take?", "monitor", "")
        .contenders(&ALONE)
        .slice(SLICE)
        .over_all([load("", 1, 0.0, 0)], |plan, all| rows(plan, &ALONE, all))
        .claim(
            at_least(1.0, ratio("rw_lock_slim", "monitor")),
            "alone, ReaderWriterLockSlim costs at least as much as lock",
        )
        .claim(
            at_least(1.5, ratio("semaphore_slim", "monitor")),
            "a SemaphoreSlim, often used as an asynchronous lock, costs at least 1.5 times as much as lock",
        )
        .because(
            "A lock that no thread ever waited for is a few bits in the object's header: a compare-and-swap takes it, and another one \
             releases it. Once a thread has waited, the lock lives in a record beside the object (a sync block), until a collection takes \
             back the unused record.",
            source("dotnet/runtime: src/coreclr/vm/syncblk.cpp, thin locks"),
        )
        .because(
            "SemaphoreSlim takes a lock inside of itself to change its count.",
            source("dotnet/runtime: System.Threading.SemaphoreSlim"),
        )
        .because(
            "A young process runs code that was compiled quickly and is slow. What is called often enough is compiled again, and better.",
            shown_by(at_least(1.1, ratio("monitor_tiered", "monitor"))),
        )
}

fn crowd() -> Step {
    Step::new("crowd", Kind::Contended, "ops_per_s")
        .ask_number(
            "All threads take one lock with C#'s lock statement and hold it for a microsecond. How many times a second do all \
             threads together take it?",
            "monitor",
            "hold_1us",
        )
        .columns(&["lane_op_ns", "min_max_share", "cpu_per_op_ns", "hold_ns"])
        .contenders(&CROWD)
        .slice(SLICE)
        .over_all(
            [load("hold_0", 0, 0.0, 0), load("hold_1us", 0, 1_000.0, 0), load("hold_5us", 0, 5_000.0, 0)],
            |plan, all| rows(plan, &CROWD, all),
        )
        .claim(
            at_least(1.0, ratio(("monitor", "hold_1us"), ("semaphore_slim", "hold_1us"))).cores(2),
            "held for a microsecond, lock lets through at least as much as SemaphoreSlim",
        )
        .because(
            "A thread that finds the lock taken spins for a while before it sleeps, which costs CPU time.",
            shown_by(at_least(1_200.0, pick("monitor", "hold_1us", "cpu_per_op_ns")).cores(2)),
        )
        .because(
            "SpinLock has no queue. The thread that has just released it takes it again, so one thread gets nearly everything, and the \
             row's throughput is that of one thread.",
            shown_by(at_most(0.1, pick("spin_lock", "hold_5us", "min_max_share")).cores(2)),
        )
}

fn shared() -> Step {
    let free = || {
        let locked = ("dictionary_locked", "reads_100");
        at_least(2.0, ratio(("concurrent_dictionary", "reads_100"), locked)).cores(2)
    };
    Step::new("shared", Kind::Contended, "ops_per_s")
        .ask_best("All threads read one shared value, nobody writes. Which way lets them read the most?", "reads_100")
        .columns(&["lane_op_ns", "min_max_share", "cpu_per_op_ns"])
        .contenders(&SHARED)
        .slice(SLICE)
        .over_all([load("reads_100", 0, 0.0, 100), load("reads_0", 0, 0.0, 0)], |plan, all| rows(plan, &SHARED, all))
        .claim(free(), "readers of a ConcurrentDictionary do at least twice as many reads as readers of a Dictionary behind lock")
        .claim(
            at_least(2.0, ratio(("interlocked", "reads_0"), ("monitor", "reads_0"))).cores(2),
            "threads do at least twice as many atomic additions as additions under lock",
        )
        .because("A reader of a ConcurrentDictionary takes no lock and writes nothing shared.", shown_by(free()))
        .because(
            "A writer of a ConcurrentDictionary takes one of its locks, which guards a part of the table. It makes a new entry, unless the \
             value can be written in one piece.",
            source("dotnet/runtime: System.Collections.Concurrent.ConcurrentDictionary, TryAddInternal"),
        )
        .because(
            "An atomic addition holds no lock. A core does several of them before the cache line goes to another core.",
            source("lab lockfree_counter, step crowd"),
        )
}

fn readers() -> Step {
    let loads = [
        load("0_reads_100", 0, 0.0, 100),
        load("1us_reads_100", 0, 1_000.0, 100),
        load("5us_reads_100", 0, 5_000.0, 100),
        load("1us_reads_99", 0, 1_000.0, 99),
        load("1us_reads_90", 0, 1_000.0, 90),
        load("1us_reads_50", 0, 1_000.0, 50),
    ];
    let wins =
        || at_least(1.3, ratio(("rw_lock_slim", "5us_reads_100"), ("monitor", "5us_reads_100"))).cores(2);
    Step::new("readers", Kind::Contended, "ops_per_s")
        .ask_number(
            "All threads read under ReaderWriterLockSlim and hold it for 5 us. How many reads a second do they do together?",
            "rw_lock_slim",
            "5us_reads_100",
        )
        .columns(&["lane_op_ns", "min_max_share", "hold_ns"])
        .contenders(&READERS)
        .slice(SLICE)
        .over_all(loads, |plan, all| rows(plan, &READERS, all))
        .claim(
            wins(),
            "held for 5 us by readers only, ReaderWriterLockSlim lets through at least 1.3 times as much as lock",
        )
        .claim(
            at_most(1.5, ratio(("rw_lock_slim", "0_reads_100"), ("monitor", "0_reads_100"))).cores(2),
            "with nothing done under the lock, ReaderWriterLockSlim lets through at most 1.5 times as much as lock",
        )
        .claim(
            at_most(1.1, ratio(("rw_lock_slim", "1us_reads_50"), ("monitor", "1us_reads_50"))).cores(2),
            "with half of the operations writing, ReaderWriterLockSlim lets through at most 1.1 times as much as lock",
        )
        .because("Readers hold the lock at the same time, which pays once the hold is long enough.", shown_by(wins()))
        .because(
            "To count itself in and out, each reader takes a spin lock inside of ReaderWriterLockSlim. With short holds that \
             costs about as much as it saves.",
            source("dotnet/runtime: System.Threading.ReaderWriterLockSlim, EnterReadLock"),
        )
        .because(
            "A writer waits until all readers are out, so the gain shrinks as the share of writes grows.",
            shown_by(at_most(0.9, ratio(("rw_lock_slim", "1us_reads_50"), ("rw_lock_slim", "1us_reads_100"))).cores(2)),
        )
        .in_tour()
}

fn crossover() -> Step {
    const ALL: &[Setting<u32>] = &[setting("reads_100", 100)];
    Step::new("crossover", Kind::Contended, "crossover_ns")
        .ask_number(
            "All threads only read. From which hold time on does ReaderWriterLockSlim let through more than lock? (20 ns stands for 20 ns \
             or less)",
            "reads_100",
            "",
        )
        .contenders(ALL)
        .over(ONCE, |plan, _| {
            let ms = (plan.slice.as_millis() / 25).max(4).to_string();
            let threads = plan.threads.to_string();
            // One row, which is compared with no other: it needs no twin.
            dotnet::turns(plan, Kind::Count, ALL, |reads| {
                dotnet::here()?.run(&["cross", &threads, &reads.to_string(), &ms], SETTLED)?.sample()
            })
        })
        .claim(at_most(1_000.0, "reads_100").cores(2), "ReaderWriterLockSlim is ahead from a hold of 1 us on, or earlier")
        .because(
            "A reader pays twice for the counter inside of ReaderWriterLockSlim, going in and coming out. The longer the hold, the less \
             that matters, and the more it helps that readers hold the lock together.",
            source("dotnet/runtime: System.Threading.ReaderWriterLockSlim, EnterReadLock, ExitReadLock"),
        )
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

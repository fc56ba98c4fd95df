//! What decides how long the world stops?
//!
//! Run it: `cargo run --release --bin gc_pause -- --step`
//!
//! The same program runs on the collectors of one framework (MMTk), each in a process of its own. Two more steps show collections
//! that follow each other at once, and a concurrent collector that is too slow. The last one splits the time that a thread lost
//! into its causes.
use std::{hint::black_box, thread, time::Duration};

use underhood::{
    heap::{
        Collector, Config, Kind as PauseKind, Mutator, Root,
        load::{
            bench,
            churn::{Job, Op, churn},
            disturb::{By, disturb},
        },
    },
    lab::{
        Kind, Lab, ONCE, Setting, Step, at_least, at_most, between, pick, plan::Plan, ratio, setting,
        shown_by, source,
    },
    machine::group::Bound,
    measure::limited,
};

const MIB: usize = 1 << 20;
const HEAP: usize = 32 * MIB;
const LIVE: usize = 8 * MIB;
/// Objects that one operation allocates, each 48 bytes. An old object keeps the last one for a while.
const OBJECTS: u32 = 100;
/// How many objects are kept at a time.
const KEPT: u32 = 1000;
const PACE: Duration = Duration::from_millis(1);

pub(crate) fn lab() -> Lab {
    underhood::lab!("gc_pause", "What decides how long the world stops?")
        .step(plans())
        .step(back_to_back())
        .step(outrun())
        .step(ledgers())
        .say(
            "plans",
            "On a generational collector the median pause is {value}, and all pauses here were young collections. If the \
             collector looks at the whole heap each time, the same program's median pause is {against}.",
            ratio("GenImmix", "Immix"),
            "many young objects survive, or a full collection comes: that one is as long as on the other collectors",
        )
        .say(
            "outrun",
            "A program allocates as fast as it can, and {value} of a concurrent collector's pauses are full collections. \
             If the program rests after each 512 KiB, the share is {against}.",
            ratio(pick("flat_out", "", "full_share"), pick("paced", "", "full_share")),
            "there is enough free heap to allocate from while the collector marks",
        )
    .not_said(&[
        "Which collector is best: that depends on how much throughput, memory and pauses matter to your program.",
        "That the longest pause is an upper bound: it is only the longest of a few.",
        "That a JVM or .NET would give these numbers. These are MMTk's collectors with a small binding and one collector thread.",
    ])
    .next(&[
        "Which of your pauses are the collector's, and how do you know? (the ledger: stopped, throttled, without a CPU, faults)",
        "Why is the worst wait of a request longer than the longest pause? (two pauses in a row; the queue that formed meanwhile)",
        "What would you give a concurrent collector that falls behind? (more heap, more CPU, or less work; in this order)",
        "What does a write barrier cost, and who pays? (every store, also while nothing is collected: see the benches)",
        "Why does the same heap hold half as much under SemiSpace? (the other half is where the copies go)",
    ])
    .sources(&[
        "MMTk 0.33, https://www.mmtk.io: src/plan/*; src/plan/concurrent/immix: falls back to a full collection",
        "Jones, Hosking, Moss: The Garbage Collection Handbook, 2nd ed. (2023): generational, copying, concurrent",
        "Blackburn, McKinley: Immix (PLDI 2008)",
        "Tene: jHiccup (2012): a victim that looks at the clock; here each gap is told apart",
        "dotnet/performance, GCPerfSim: what survives, live size and allocation rate as knobs",
    ])
}

fn job(plan: &Plan, collector: Collector, live_bytes: usize) -> Job {
    let (part, collections) = if plan.is_smoke() { (16, 1) } else { (1, 3) };
    let config = Config::new(collector, HEAP / part);
    Job { config, live_bytes: live_bytes / part, time: plan.slice, collections, cpus: plan.cpus.clone() }
}

fn plans() -> Step {
    const fn plan(collector: Collector) -> Setting<Collector> {
        setting(collector.name(), collector)
    }
    const ALL: &[Setting<Collector>] = &[
        plan(Collector::Immix),
        plan(Collector::GenImmix),
        plan(Collector::StickyImmix),
        plan(Collector::ConcurrentImmix),
        plan(Collector::SemiSpace),
        plan(Collector::MarkSweep),
    ];
    let of = |case| ratio(case, "Immix");
    let collections = |case| pick(case, "", "collections_per_op_ratio");
    Step::new("plans", Kind::Pause, "pause_ns")
        .ask_best(
            "A program allocates 100 objects of 48 bytes at a time. 99 die at once, and one is kept for a while. 8 MiB \
             of small objects stay alive in a heap of 32 MiB. Which collector has the shortest median pause?",
            "",
        )
        .columns(&[
            "pause_max_ns",
            "wait_max_ns",
            "gc_share",
            "op_ns",
            "rss_bytes",
            "collections_count",
            "full_count",
        ])
        .slice(1.0 / 2.0)
        .isolated(ALL, ONCE, |plan, case, p| {
            let churned = churn(job(plan, case.value, LIVE), |_| mixed())?.paused()?;
            let per_op = churned.pauses.len() as f64 / churned.ops as f64;
            let sample = churned.sample(case.id(), p.id()).with("collections_per_op_ratio", per_op);
            Ok(sample.with("work_per_op_bytes", f64::from(OBJECTS) * 48.0))
        })
        // What every thread pays while nothing is collected.
        .bench_also(bench::benches(&[
            ("poll", |m, _| m.poll()),
            ("load", |m, kept| {
                black_box(m.load(m.at(kept), 0));
            }),
            ("store_with_barrier", |m, kept| m.store(m.at(kept), 0, None)),
        ]))
        .claim(at_most(0.2, of("GenImmix")), "GenImmix's median pause is at most a fifth of Immix's")
        .claim(
            at_most(0.5, of("ConcurrentImmix")),
            "ConcurrentImmix's median pause is at most half of Immix's, since it marks while the program runs",
        )
        .claim(
            at_least(0.5, ratio(pick("ConcurrentImmix", "", "pause_max_ns"), pick("Immix", "", "pause_max_ns"))),
            "ConcurrentImmix's longest pause is at least half as long as Immix's longest, since it falls back to a full \
             collection",
        )
        .claim(
            at_least(1.3, ratio(collections("SemiSpace"), collections("Immix"))),
            "SemiSpace collects at least 1.3 times as often as Immix, since half of the heap is for the copies",
        )
        .because(
            "A pause is as long as the work that a collector does with the world stopped. Immix and MarkSweep mark all \
             live objects, and SemiSpace copies them.",
            source("Jones, Hosking, Moss: The Garbage Collection Handbook, 2nd ed. (2023)"),
        )
        .because(
            "GenImmix and StickyImmix look at young objects only, most of the time.",
            shown_by(at_most(0.2, of("GenImmix"))),
        )
        .because(
            "ConcurrentImmix marks while the program runs, and stops it twice for a moment. Only if it falls behind does \
             it stop the world for a full collection.",
            shown_by(at_most(0.5, of("ConcurrentImmix"))),
        )
        .because(
            "ConcurrentImmix marks what was alive at its first stop. Objects that die after that stop are freed one collection later.",
            source("MMTk 0.33, src/plan/concurrent/immix"),
        )
        .because(
            "The list of collectors is `Collector` in src/heap/start.rs, and the program is in this lab.",
            source("src/heap/start.rs, labs/gc_pause.rs"),
        )
}

/// 100 objects of 48 bytes; the last one replaces one of a thousand that are kept.
fn mixed() -> Op {
    let (mut top, mut turn): (Option<Root>, u32) = (None, 0);
    Box::new(move |m| {
        let top = match &mut top {
            Some(top) => top,
            none => none.insert(m.alloc(KEPT, 0)?),
        };
        for _ in 1..OBJECTS {
            drop(m.alloc(0, 40)?);
        }
        let kept = m.alloc(0, 40)?;
        m.store(m.at(top), turn, Some(m.at(&kept)));
        turn = (turn + 1) % KEPT;
        Ok(())
    })
}

fn back_to_back() -> Step {
    // How long the thread rests after each collection.
    const ALL: &[Setting<Option<Duration>>] =
        &[setting("spaced", Some(Duration::from_millis(5))), setting("at_once", None)];
    let swallowed = at_least(1.05, "at_once").cores(2);
    Step::new("back_to_back", Kind::Pause, "pauses_per_gap_ratio")
        .ask_number(
            "One thread asks for one collection after the other, without a rest. A second thread only polls. How many \
             collections pass, on average, before the second thread runs again?",
            "at_once",
            "",
        )
        .columns(&["wait_max_ns", "pause_max_ns", "pause_ns", "collections_count"])
        .slice(1.0 / 2.0)
        .isolated(ALL, ONCE, |plan, case, p| {
            let rest = case.value;
            let forced = move |_: &mut Mutator| -> Op {
                Box::new(move |m| {
                    m.collect();
                    if let Some(rest) = rest {
                        m.blocking(|| thread::sleep(rest));
                    }
                    Ok(())
                })
            };
            // The value is a mean over many collections. Little is alive, so each is short.
            let churned = churn(job(plan, Collector::Immix, LIVE / 4), forced)?.paused()?;
            let victim = churned.victim.as_ref().ok_or("needs a second CPU for the victim")?;
            let met = victim.pauses_per_gap(&churned.pauses).ok_or("the victim met no collection")?;
            Ok(churned.sample(case.id(), p.id()).with("pauses_per_gap_ratio", met))
        })
        .claim(
            between(0.99, 1.1, "spaced").cores(2),
            "with 5 ms between collections, the second thread runs again after one collection",
        )
        .claim(
            swallowed,
            "with no rest between collections, more than one collection passes before the second thread runs again",
        )
        .because(
            "A thread that was stopped sleeps in the kernel. When the world goes on, the thread must be woken, and that \
             takes some tens of microseconds.",
            source("src/structures/safepoint.rs"),
        )
        .because(
            "The thread that asked for the collection is awake first, and may ask for the next one before the other \
             thread runs. The other thread wakes, finds that the next stop is already requested, and sleeps on.",
            shown_by(swallowed),
        )
        .because(
            "Each pause in the log is short, but the thread waits for their sum. So a log of pauses can look good while requests time out.",
            shown_by(
                at_least(1.5, ratio(pick("at_once", "", "wait_max_ns"), pick("at_once", "", "pause_max_ns")))
                    .cores(2),
            ),
        )
}

fn outrun() -> Step {
    // Whether the program rests after each 512 KiB.
    const ALL: &[Setting<bool>] = &[setting("paced", true), setting("flat_out", false)];
    let longest = at_least(3.0, ratio("flat_out", "paced")).cores(2);
    let full = at_least(0.1, pick("flat_out", "", "full_share")).cores(2);
    Step::new("outrun", Kind::Pause, "pause_max_ns")
        .ask_number(
            "ConcurrentImmix marks 8 MiB of small objects while a program allocates buffers of 64 KiB. The program \
             allocates eight buffers in each ms, or as many as it can. How long is the longest pause if it allocates as \
             many as it can, in ns?",
            "flat_out",
            "",
        )
        .columns(&["pause_ns", "full_share", "wait_max_ns", "gc_share", "collections_count", "rss_bytes"])
        .slice(1.0 / 2.0)
        .isolated(ALL, ONCE, |plan, case, p| {
            let paced = case.value;
            let garbage = move |_: &mut Mutator| -> Op {
                let mut turn = 0_u32;
                Box::new(move |m| {
                    drop(m.alloc(0, 64 << 10)?);
                    turn += 1;
                    if paced && turn.is_multiple_of(8) {
                        m.blocking(|| thread::sleep(PACE));
                    }
                    Ok(())
                })
            };
            let churned = churn(job(plan, Collector::ConcurrentImmix, LIVE), garbage)?.paused()?;
            let full = churned.pauses.iter().filter(|p| p.kind == PauseKind::Full).count();
            let share = full as f64 / churned.pauses.len() as f64;
            Ok(churned.sample(case.id(), p.id()).with("full_share", share))
        })
        .claim(longest, "if the program allocates as many buffers as it can, the longest pause is at least three times as long")
        .claim(full, "if the program allocates as many buffers as it can, at least a tenth of the pauses are full collections")
        .because(
            "Concurrent marking is a race: it must be done before the heap is full. If it is not, the collector must \
             stop the world and do everything at once. That is the pause that a concurrent collector was chosen to \
             avoid.",
            shown_by(full),
        )
        .because(
            "Three things decide: the allocation rate, the marking speed and the spare heap.",
            source("Jones, Hosking, Moss: The Garbage Collection Handbook, 2nd ed. (2023)"),
        )
        .because(
            "Here the heap fills up with the paced program too: some of its pauses are full collections as well. So its \
             longest pause can be as long.",
            shown_by(at_least(0.1, pick("paced", "", "full_share")).cores(2)),
        )
        .because(
            "The median pause does not show that the program allocates faster.",
            shown_by(at_most(2.0, ratio(pick("flat_out", "", "pause_ns"), pick("paced", "", "pause_ns"))).cores(2)),
        )
}

fn ledgers() -> Step {
    const QUOTA: Option<Bound> = Some(Bound::Cpu { quota_us: 10_000, period_us: 20_000 });
    // The disturbance, the live bytes, and the limit of the process.
    const ALL: &[Setting<(By, usize, Option<Bound>)>] = &[
        setting("nothing", (By::Nothing, MIB, None)),
        setting("collector", (By::Collector, LIVE / 2, None)),
        setting("neighbour", (By::Neighbour, MIB, None)),
        setting("faults", (By::Faults, MIB, None)),
        setting("quota", (By::Nothing, MIB, QUOTA)),
    ];
    let booked = |least, case, value| at_least(least, pick(case, "", value)).cores(2);
    Step::new("ledger", Kind::Pause, "lost_share")
        .ask_number(
            "A thread polls and reads the clock. It is disturbed by a collector, a thread on the same CPU, its own page \
             faults, or a quota of half a CPU. What share of its time does the quota take?",
            "quota",
            "",
        )
        .columns(&[
            "lost_stopped_share",
            "lost_throttled_share",
            "lost_runq_share",
            "lost_faults_share",
            "lost_rest_share",
            "wait_max_ns",
            "gaps_count",
        ])
        .slice(1.0 / 2.0)
        .isolated(ALL, ONCE, |plan, case, p| {
            let [first, second, ..] = plan.cpus[..] else {
                return Err("needs 2 CPUs: the victim has to have one of its own".into());
            };
            let (by, live, limit) = case.value;
            if limit.is_some() {
                match limited::inside() {
                    Some(entered) => entered?,
                    None => return limited::run(limit)?.survivor(),
                }
            }
            let live = if plan.is_smoke() { MIB / 4 } else { live };
            let config = Config::new(Collector::Immix, HEAP / 2);
            Ok(disturb(config, by, live, plan.slice, [first, second])?.sample(case.id(), p.id()))
        })
        .claim(
            booked(0.7, "collector", "lost_stopped_share"),
            "with a collector, the world stood still in at least 70 % of the lost time",
        )
        .claim(
            booked(0.7, "neighbour", "lost_runq_share"),
            "with a thread on the same CPU, another thread had the CPU in at least 70 % of the lost time",
        )
        .claim(
            booked(0.4, "faults", "lost_faults_share"),
            "with page faults, the kernel provided pages in at least 40 % of the lost time",
        )
        .claim(
            booked(0.5, "quota", "lost_throttled_share"),
            "with a quota, the quota was used up in at least 50 % of the lost time",
        )
        .because(
            "To the disturbed thread all of these look the same: the clock jumped. The ledger splits each jump into \
             parts: the collector's stop, the quota, the run queue and the page faults. What none of them explains is \
             the rest.",
            source("src/heap/load/ledger.rs"),
        )
        .because(
            "Each case has one known cause, so the table shows that the ledger finds the right cause.",
            shown_by(booked(0.7, "neighbour", "lost_runq_share")),
        )
        .because("On a real service, read the shares and not the longest wait.", source("src/heap/load/ledger.rs"))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

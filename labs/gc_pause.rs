//! What decides how long the world stops?
//!
//! Run it: `cargo run --release --bin gc_pause -- --step`
//!
//! The same program on the collectors of one framework (MMTk), a process each; what happens when collections follow each other
//! at once, and when a concurrent collector is too slow; and a ledger of what a victim's waiting was made of.
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
/// Objects of an operation, each 48 bytes; the last one is kept for a while, by an old object.
const OBJECTS: u32 = 100;
/// So many are kept at a time.
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
            "The same program pauses for {value} on a generational collector and for {against} on one that looks at the whole \
             heap each time.",
            ratio("GenImmix", "Immix"),
            "much of what is young survives",
        )
        .say(
            "outrun",
            "A concurrent collector that allocation outruns has pauses of up to {value}, with a slower program {against}.",
            ratio("flat_out", "paced"),
            "there is heap enough to allocate from while it marks",
        )
    .not_said(&[
        "Which collector is best: throughput, memory and pause are three columns, and the program decides their weight.",
        "The longest pause as a bound: it is the longest of a few.",
        "That the numbers are those of a JVM or of .NET: these are MMTk's collectors with a small binding, one collector thread.",
    ])
    .next(&[
        "Which of your pauses are the collector's, and how do you know? (the ledger: stopped, throttled, without a CPU, faults)",
        "Why is the worst wait of a request longer than the longest pause? (two pauses in a row; the queue that formed meanwhile)",
        "What would you give a concurrent collector that falls behind? (heap, CPU, or less to do; in this order)",
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
            "100 objects of 48 bytes are allocated, 99 die at once, one is kept for a while; 8 MiB of small objects live throughout, the \
             heap has 32 MiB. Which collector has the shortest median pause?",
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
        .claim(at_most(0.2, of("GenImmix")), "GenImmix: a fifth of Immix's pause")
        .claim(
            at_most(0.5, of("ConcurrentImmix")),
            "ConcurrentImmix: half of it, as the marking is done beside the program",
        )
        .claim(
            at_least(1.3, ratio(collections("SemiSpace"), collections("Immix"))),
            "SemiSpace collects 1.3 times as often: half of the heap is for the copies",
        )
        .because(
            "A pause is what a collector does with the world stopped, and the families differ in what that is. Looking at everything that \
             lives: Immix and MarkSweep mark it, SemiSpace copies it.",
            source("Jones, Hosking, Moss: The Garbage Collection Handbook, 2nd ed. (2023)"),
        )
        .because(
            "Looking at what is young: GenImmix and StickyImmix do that most of the time.",
            shown_by(at_most(0.2, of("GenImmix"))),
        )
        .because(
            "Looking at almost nothing: ConcurrentImmix marks beside the program and stops it twice for a moment.",
            shown_by(at_most(0.5, of("ConcurrentImmix"))),
        )
        .because(
            "What it marks is what was alive at the first stop, so garbage made meanwhile stays for a round.",
            source("MMTk 0.33, src/plan/concurrent/immix"),
        )
        .because("The list is in src/heap/heap.rs, the program in this lab.", source("labs/gc_pause.rs"))
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
    // How long it rests after each.
    const ALL: &[Setting<Option<Duration>>] =
        &[setting("spaced", Some(Duration::from_millis(5))), setting("at_once", None)];
    let swallowed = at_least(1.05, "at_once").cores(2);
    Step::new("back_to_back", Kind::Pause, "pauses_per_gap_ratio")
        .ask_number(
            "One thread asks for a collection again and again. Another only polls. How many collections pass, on average, before it gets \
             to run again?",
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
            // How many it swallows is a mean: little that lives, so that there are many.
            let churned = churn(job(plan, Collector::Immix, LIVE / 4), forced)?.paused()?;
            let victim = churned.victim.as_ref().ok_or("needs a second CPU for the victim")?;
            let met = victim.pauses_per_gap(&churned.pauses).ok_or("the victim met no collection")?;
            Ok(churned.sample(case.id(), p.id()).with("pauses_per_gap_ratio", met))
        })
        .claim(between(0.99, 1.1, "spaced").cores(2), "with 5 ms between them: one")
        .claim(swallowed, "at once after each other: more than one")
        .because(
            "A thread that was stopped sleeps in the kernel. When the world goes on it has to be woken, and that takes some tens of \
             microseconds.",
            source("src/structures/safepoint.rs"),
        )
        .because(
            "The thread that asked for the collection is awake first, and may ask again before that. The sleeper wakes, finds the next stop \
             already asked for, and sleeps on.",
            shown_by(swallowed),
        )
        .because(
            "Each pause in the log is short; the wait is their sum. That is why a log of pauses can look well while requests time out.",
            shown_by(
                at_least(1.5, ratio(pick("at_once", "", "wait_max_ns"), pick("at_once", "", "pause_max_ns")))
                    .cores(2),
            ),
        )
}

fn outrun() -> Step {
    // Whether it rests after 512 KiB.
    const ALL: &[Setting<bool>] = &[setting("paced", true), setting("flat_out", false)];
    let longest = at_least(3.0, ratio("flat_out", "paced")).cores(2);
    let full = at_least(0.1, pick("flat_out", "", "full_share")).cores(2);
    Step::new("outrun", Kind::Pause, "pause_max_ns")
        .ask_number(
            "ConcurrentImmix marks 8 MiB of small objects beside a program that allocates 64 KiB at a time. The program does eight of \
             these in each ms, or as many as it can. How long is the longest pause if it does as many as it can, in ns?",
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
        .claim(longest, "flat out: three times the longest pause")
        .claim(full, "flat out: a tenth of the pauses or more are full collections")
        .because(
            "Marking beside the program is a race: the heap must not be full before it is done. If it is, the collector can only stop the \
             world and do everything at once: the pause that it was chosen to avoid.",
            shown_by(full),
        )
        .because("What decides is the allocation rate against marking speed and spare heap.", shown_by(longest))
        .because(
            "The median pause shows nothing of it, the longest shows all.",
            shown_by(at_most(2.0, ratio(pick("flat_out", "", "pause_ns"), pick("paced", "", "pause_ns"))).cores(2)),
        )
}

fn ledgers() -> Step {
    const QUOTA: Option<Bound> = Some(Bound::Cpu { quota_us: 10_000, period_us: 20_000 });
    // The disturbance, bytes that live, and the limit of the process.
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
            "A thread polls and looks at the clock. It is disturbed by a collector, by a thread on the same CPU, by its own page faults, \
             or by a quota of half a CPU. What share of its time does the quota take?",
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
        .claim(booked(0.7, "collector", "lost_stopped_share"), "collector: the world stood still")
        .claim(booked(0.7, "neighbour", "lost_runq_share"), "neighbour: somebody else had the CPU")
        .claim(booked(0.4, "faults", "lost_faults_share"), "faults: the kernel provided pages")
        .claim(booked(0.5, "quota", "lost_throttled_share"), "quota: none was left")
        .because(
            "To the victim all of these are the same: the clock jumped. The parts add up to the jump: first what the collector's log says, \
             then the quota, the run queue, the faults, and what nobody explains is the rest.",
            source("src/heap/load/ledger.rs"),
        )
        .because(
            "The cases have one known cause each, so the table shows that the ledger books to the right account.",
            shown_by(booked(0.7, "neighbour", "lost_runq_share")),
        )
        .because("On a real service read the shares, not the longest wait.", source("src/heap/load/ledger.rs"))
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(lab)
}

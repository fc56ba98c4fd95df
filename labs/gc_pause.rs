//! What decides how long the world stops?
//!
//! Run it: `cargo run --release --bin gc_pause -- --step`
//!
//! The same program on the collectors of one framework (MMTk), a process each; what happens when collections follow each other
//! at once, and when a concurrent collector is too slow; and a ledger of what a victim's waiting was made of.
use std::{thread, time::Duration};

use underhood::{
    heap::{
        Collector, Config, Kind as PauseKind, Mutator, Root,
        load::{
            bench,
            churn::{Churned, Job, Op, churn},
            disturb::{By, disturb},
        },
    },
    lab::{
        Bench, Claim,
        Expect::{self, *},
        Kind, Lab, Launch, Pick, Predict, Say, Step, pick,
        plan::Plan,
        sample::{Sample, each},
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

pub(crate) static LAB: Lab = Lab {
    stem: "gc_pause",
    question: "What decides how long the world stops?",
    steps: &[PLANS, BACK_TO_BACK, OUTRUN, LEDGER],
    says: &[
        Say {
            step: "plans",
            text: "The same program pauses for {value} on a generational collector and for {against} on one that looks at the whole \
                   heap each time.",
            of: at("GenImmix", "pause_ns"),
            against: Some(at("Immix", "pause_ns")),
            not_true_when: "much of what is young survives",
        },
        Say {
            step: "outrun",
            text: "A concurrent collector that allocation outruns has pauses of up to {value}, with a slower program {against}.",
            of: at("flat_out", "pause_max_ns"),
            against: Some(at("paced", "pause_max_ns")),
            not_true_when: "there is heap enough to allocate from while it marks",
        },
    ],
    not_said: &[
        "Which collector is best: throughput, memory and pause are three columns, and the program decides their weight.",
        "The longest pause as a bound: it is the longest of a few.",
        "That the numbers are those of a JVM or of .NET: these are MMTk's collectors with a small binding, one collector thread.",
    ],
    next: &[
        "Which of your pauses are the collector's, and how do you know? (the ledger: stopped, throttled, without a CPU, faults)",
        "Why is the worst wait of a request longer than the longest pause? (two pauses in a row; the queue that formed meanwhile)",
        "What would you give a concurrent collector that falls behind? (heap, CPU, or less to do; in this order)",
        "What does a write barrier cost, and who pays? (every store, also while nothing is collected: see the benches)",
        "Why does the same heap hold half as much under SemiSpace? (the other half is where the copies go)",
    ],
    sources: &[
        "MMTk 0.33, https://www.mmtk.io: src/lab/plan/*; src/lab/plan/concurrent/immix: falls back to a full collection",
        "Jones, Hosking, Moss: The Garbage Collection Handbook, 2nd ed. (2023): generational, copying, concurrent",
        "Blackburn, McKinley: Immix (PLDI 2008)",
        "Tene: jHiccup (2012): a victim that looks at the clock; here each gap is told apart",
        "dotnet/performance, GCPerfSim: what survives, live size and allocation rate as knobs",
    ],
    benches,
};

const fn at(case: &'static str, value: &'static str) -> Pick {
    pick(case, "", value)
}
const fn claim(expect: Expect, text: &'static str, of: Pick, against: Option<Pick>) -> Claim {
    Claim { text, of, against, expect, cores: 1 }
}
/// A pause beside a running program needs a second CPU.
const fn claim2(expect: Expect, text: &'static str, of: Pick, against: Option<Pick>) -> Claim {
    Claim { cores: 2, ..claim(expect, text, of, against) }
}

const PLANS: Step = Step {
    name: "plans",
    ask: "100 objects of 48 bytes are allocated, 99 die at once, one is kept for a while; 8 MiB of small objects live throughout, the \
          heap has 32 MiB. Which collector has the shortest median pause?",
    predict: Predict::Best { param: "" },
    kind: Kind::Pause,
    cases: &["Immix", "GenImmix", "StickyImmix", "ConcurrentImmix", "SemiSpace", "MarkSweep"],
    params: &[""],
    launch: Launch::Isolated,
    measure: plans,
    headline: "pause_ns",
    columns: &[
        "pause_max_ns",
        "wait_max_ns",
        "gc_share",
        "op_ns",
        "rss_bytes",
        "collections_count",
        "full_count",
    ],
    claims: &[
        claim(
            AtMost(0.2),
            "GenImmix: a fifth of Immix's pause",
            at("GenImmix", "pause_ns"),
            Some(at("Immix", "pause_ns")),
        ),
        claim(
            AtMost(0.5),
            "ConcurrentImmix: half of it, as the marking is done beside the program",
            at("ConcurrentImmix", "pause_ns"),
            Some(at("Immix", "pause_ns")),
        ),
        claim(
            AtLeast(1.3),
            "SemiSpace collects 1.3 times as often: half of the heap is for the copies",
            at("SemiSpace", "collections_per_op_ratio"),
            Some(at("Immix", "collections_per_op_ratio")),
        ),
    ],
    because: "A pause is what a collector does with the world stopped, and the families differ in what that is. Looking at everything \
              that lives: Immix and MarkSweep mark it, SemiSpace copies it. Looking at what is young: GenImmix and StickyImmix do \
              that most of the time. Looking at almost nothing: ConcurrentImmix marks beside the program and stops it twice for \
              a moment; what it marks is what was alive at the first stop, so garbage made meanwhile stays for a round. \
              Open src/heap/heap.rs for the list and labs/gc_pause.rs for the program.",
    tour: false,
};

const BACK_TO_BACK: Step = Step {
    name: "back_to_back",
    ask: "One thread asks for a collection again and again. Another only polls. How many collections pass, on average, before it gets \
          to run again?",
    predict: Predict::Number { case: "at_once", param: "" },
    kind: Kind::Pause,
    cases: &["spaced", "at_once"],
    params: &[""],
    launch: Launch::Isolated,
    measure: back_to_back,
    headline: "pauses_per_gap_ratio",
    columns: &["wait_max_ns", "pause_max_ns", "pause_ns", "collections_count"],
    claims: &[
        claim2(Between(0.99, 1.1), "with 5 ms between them: one", at("spaced", "pauses_per_gap_ratio"), None),
        claim2(
            AtLeast(1.05),
            "at once after each other: more than one",
            at("at_once", "pauses_per_gap_ratio"),
            None,
        ),
    ],
    because: "A thread that was stopped sleeps in the kernel; when the world goes on it has to be woken, and that takes some tens of \
              microseconds. Whoever asked for the collection is awake first, and may ask again before that: the sleeper wakes, \
              finds the next stop already asked for, and sleeps on. Each pause in the log is short; the wait is their sum. That is why a \
              log of pauses can look well while requests time out. Open src/heap/safepoint.rs.",
    tour: false,
};

const OUTRUN: Step = Step {
    name: "outrun",
    ask: "ConcurrentImmix marks 8 MiB of small objects beside a program that allocates 64 KiB at a time. The program does eight of \
          these in each ms, or as many as it can. How long is the longest pause if it does as many as it can, in ns?",
    predict: Predict::Number { case: "flat_out", param: "" },
    kind: Kind::Pause,
    cases: &["paced", "flat_out"],
    params: &[""],
    launch: Launch::Isolated,
    measure: outrun,
    headline: "pause_max_ns",
    columns: &["pause_ns", "full_share", "wait_max_ns", "gc_share", "collections_count", "rss_bytes"],
    claims: &[
        claim2(
            AtLeast(3.0),
            "flat out: three times the longest pause",
            at("flat_out", "pause_max_ns"),
            Some(at("paced", "pause_max_ns")),
        ),
        claim2(
            AtLeast(0.1),
            "flat out: a tenth of the pauses or more are full collections",
            at("flat_out", "full_share"),
            None,
        ),
    ],
    because: "Marking beside the program is a race: the heap must not be full before it is done. If it is, the collector can only stop \
              the world and do everything at once: the pause that it was chosen to avoid. What decides is the allocation rate \
              against marking speed and spare heap; the median pause shows nothing of it, the longest shows all. Open labs/gc_pause.rs.",
    tour: false,
};

const LEDGER: Step = Step {
    name: "ledger",
    ask: "A thread polls and looks at the clock. It is disturbed by a collector, by a thread on the same CPU, by its own page faults, \
          or by a quota of half a CPU. What share of its time does the quota take?",
    predict: Predict::Number { case: "quota", param: "" },
    kind: Kind::Pause,
    cases: &["nothing", "collector", "neighbour", "faults", "quota"],
    params: &[""],
    launch: Launch::Isolated,
    measure: ledgers,
    headline: "lost_share",
    columns: &[
        "lost_stopped_share",
        "lost_throttled_share",
        "lost_runq_share",
        "lost_faults_share",
        "lost_rest_share",
        "wait_max_ns",
        "gaps_count",
    ],
    claims: &[
        claim2(AtLeast(0.7), "collector: the world stood still", at("collector", "lost_stopped_share"), None),
        claim2(
            AtLeast(0.7),
            "neighbour: somebody else had the CPU",
            at("neighbour", "lost_runq_share"),
            None,
        ),
        claim2(AtLeast(0.4), "faults: the kernel provided pages", at("faults", "lost_faults_share"), None),
        claim2(AtLeast(0.5), "quota: none was left", at("quota", "lost_throttled_share"), None),
    ],
    because: "To the victim all of these are the same: the clock jumped. The parts add up to the jump: first what the collector's log \
              says, then the quota, the run queue, the faults, and what nobody explains is the rest. The cases have one known cause \
              each, so the table shows that the ledger books to the right account; on a real service read the shares, not the \
              longest wait. Open src/heap/load/ledger.rs.",
    tour: false,
};

fn job(plan: &Plan, collector: Collector, live_bytes: usize) -> Job {
    let (part, collections) = if plan.is_smoke() { (16, 1) } else { (1, 3) };
    let config = Config::new(collector, HEAP / part);
    Job { config, live_bytes: live_bytes / part, time: plan.slice / 2, collections, cpus: plan.cpus.clone() }
}

fn plans(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let collector = Collector::ALL.into_iter().find(|c| c.name() == case).ok_or("no such collector")?;
        let churned = churn(job(plan, collector, LIVE), |_| mixed())?.paused()?;
        let per_op = churned.pauses.len() as f64 / churned.ops as f64;
        let bytes = f64::from(OBJECTS) * 48.0;
        let sample = churned.sample(case, param).with("collections_per_op_ratio", per_op);
        Ok(sample.with("work_per_op_bytes", bytes))
    })
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

fn back_to_back(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let rest = (case == "spaced").then_some(5 * PACE);
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
        let victim = victim(&churned)?;
        let met = victim.pauses_per_gap(&churned.pauses).ok_or("the victim met no collection")?;
        Ok(churned.sample(case, param).with("pauses_per_gap_ratio", met))
    })
}

fn victim(churned: &Churned) -> Result<&underhood::heap::load::ledger::Ledger, String> {
    churned.victim.as_ref().ok_or_else(|| "needs a second CPU for the victim".into())
}

fn outrun(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let paced = case == "paced";
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
        Ok(churned.sample(case, param).with("full_share", share))
    })
}

fn ledgers(plan: &Plan, cases: &[&str], params: &[&str]) -> Vec<Sample> {
    each(cases, params, |case, param| {
        let [first, second, ..] = plan.cpus[..] else {
            return Err("needs 2 CPUs: the victim has to have one of its own".into());
        };
        let (by, live) = match case {
            "collector" => (By::Collector, LIVE / 2),
            "neighbour" => (By::Neighbour, MIB),
            "faults" => (By::Faults, MIB),
            _ => (By::Nothing, MIB),
        };
        if case == "quota" {
            match limited::inside() {
                Some(entered) => entered?,
                None => {
                    let ran = limited::run(Some(Bound::Cpu { quota_us: 10_000, period_us: 20_000 }))?;
                    let sample = ran.sample.ok_or("the process was killed, and nobody knows by whom")?;
                    return Ok(match ran.simulated {
                        Some(simulated) => simulated.mark(sample),
                        None => sample,
                    });
                }
            }
        }
        let live = if plan.is_smoke() { MIB / 4 } else { live };
        let config = Config::new(Collector::Immix, HEAP / 2);
        Ok(disturb(config, by, live, plan.slice / 2, [first, second])?.sample(case, param))
    })
}

/// What every thread pays while nothing is collected.
fn benches(_: &Plan) -> Vec<Bench> {
    bench::benches(&[
        ("poll", |m, _| m.poll()),
        ("load", |m, kept| {
            std::hint::black_box(m.load(m.at(kept), 0));
        }),
        ("store_with_barrier", |m, kept| m.store(m.at(kept), 0, None)),
    ])
}

#[allow(dead_code, reason = "used when this file is a binary root")]
pub(crate) fn main() -> std::process::ExitCode {
    underhood::cli::lab_main(&LAB)
}

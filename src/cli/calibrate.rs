//! `underhood check --calibrate`: measures the measuring, with kernels whose answer is known.
use std::{hint::black_box, sync::LazyLock};

use super::{
    Outcome,
    args::{Common, Run},
    interrupt::{Measuring, STOP},
    out::{End, Out},
    ready,
};
use crate::{
    contenders::lock,
    judge::planted,
    lab::{
        Contender, Kind, Lab, ONCE, Origin, Step,
        plan::Plan,
        sample::{AA, Sample},
    },
    measure::{
        cost::{Ops, Solo, solo},
        launch,
        throughput::{self, Apart, Crowd, Lane},
        work,
    },
    stats,
};

const TRIALS: usize = 20;
/// Of twenty 95 % intervals nineteen should cover; fewer than seventeen happen by chance once in sixty times.
const COVER: usize = 17;
const KNOWN: f64 = 1.04;

/// Not a lab for people: its steps are what the trials launch.
pub(super) static LAB: LazyLock<Lab> = LazyLock::new(|| {
    const SPINS: [Contender; 2] = [Contender::new("spin_1000"), Contender::new("spin_1040")];
    let lab =
        Lab::new("calibrate", "Does the measuring measure?", Origin::ours(include_str!("calibrate.rs")));
    let trial = |name, kind, cases: &[Contender], measure: fn(&Plan, &str) -> Vec<Sample>| {
        let step = Step::new(name, kind, "op_ns").contenders(cases);
        step.over(ONCE, move |plan, p| measure(plan, p.id()))
    };
    lab.step(trial("one_thread", Kind::Single, &SPINS, one_thread))
        .step(trial("two_threads", Kind::Contended, &SPINS, two_threads))
        .step(trial("one_mutex", Kind::Contended, &[Contender::new("mutex")], one_mutex))
        .step(trial("harness", Kind::Single, &[Contender::new("bare"), Contender::new("empty")], harness))
});

/// 1,000 and 1,040 dependent multiplies: the second takes 4 % longer, whatever the machine.
fn one_thread(plan: &Plan, param: &str) -> Vec<Sample> {
    fn spin<const N: u32>() -> Ops {
        let mut x = 1;
        Box::new(move |n| (0..n).for_each(|_| x = work::chain(x, black_box(N))))
    }
    let arms = [Solo::new("spin_1000", spin::<1000>), Solo::new("spin_1040", spin::<1040>)];
    solo(plan, param, &arms)
}

fn one_mutex(plan: &Plan, param: &str) -> Vec<Sample> {
    let make = |threads| {
        let lock = std::sync::Arc::new(Apart(std::sync::Mutex::new(0u64)));
        (0..threads)
            .map(|_| {
                let lock = lock.clone();
                Box::new(Apart(move |n: u32, _: u32| {
                    (0..n).for_each(|_| *lock.0.lock().expect("no holder panics") += 1)
                })) as Lane
            })
            .collect()
    };
    let arms = [Crowd::new("mutex", make)];
    throughput::crowd(plan, param, 0.0, &arms)
}

/// The same two kernels on two lanes that share nothing: the same difference, measured by the other engine.
fn two_threads(plan: &Plan, param: &str) -> Vec<Sample> {
    let make = |iterations: u32| {
        move |threads: usize| -> Vec<Lane> {
            let lane = move |_| {
                let mut x = 1;
                Box::new(Apart(move |n: u32, _: u32| {
                    (0..n).for_each(|_| x = work::chain(x, black_box(iterations)));
                })) as Lane
            };
            (0..threads).map(lane).collect()
        }
    };
    let arm = |case, iterations| Crowd::new(case, make(iterations));
    let arms = [arm("spin_1000", 1000), arm("spin_1040", 1040)];
    throughput::crowd(plan, param, 0.0, &arms)
}

/// A bare loop beside the labs' `empty` case: what the trait, the closure and the adapter cost.
fn harness(plan: &Plan, param: &str) -> Vec<Sample> {
    fn bare() -> Ops {
        let value = Box::new(throughput::Apart(0u64));
        Box::new(move |n| {
            for _ in 0..n {
                black_box(*black_box(&value.0));
            }
        })
    }
    let arms = [Solo::new("bare", bare), lock::EMPTY.reads()];
    solo(plan, param, &arms)
}

/// What twenty trials of a step gave.
#[derive(Default, serde::Serialize)]
struct Tally {
    step: &'static str,
    trials: usize,
    /// Trials whose lanes ran at once often enough to say anything.
    counted: usize,
    /// A/A intervals that cover 1.
    cover: usize,
    /// The twin over the baseline: median of the trials. Off 1 by more than chance, the two places are not alike.
    twin: Option<f64>,
    /// Trials in which the second case came out slower, with its whole interval.
    signs: usize,
    /// Cost of the second case over the first, and of each in ns: medians of the trials.
    ratio: Option<f64>,
    cost_ns: [Option<f64>; 2],
}

/// Runs the trials and prints the counts.
pub(super) fn calibrate(labs: &[&'static Lab], common: &Common, out: &mut Out) -> Result<Outcome, End> {
    let plan = Run { slice: Some(std::time::Duration::from_millis(60)), ..Run::default() }.plan();
    let mut worst = Outcome::Quotable;
    for step in &LAB.steps {
        let tally = trials(step, &plan, out)?;
        out.json(&tally)?;
        worst = worst.max(tell(&tally, plan.launches, out)?);
    }
    slowdowns(labs, common, out)?;
    Ok(worst)
}

/// What the store's own sessions would have found: a slowdown planted into each baseline that was measured twice.
fn slowdowns(labs: &[&'static Lab], common: &Common, out: &mut Out) -> Result<(), End> {
    let records = ready::all_records(&ready::store(common)?, out)?.records;
    let kinds = planted::found(labs, &records);
    if kinds.values().all(|found| found.tries == 0) {
        return out.prose(
            "",
            "Would a slowdown be found? To answer that, the store needs a step with two sessions, and it has none yet \
             (`underhood soak` makes some).",
        );
    }
    out.prose(
        "",
        "Planted slowdowns, over the sessions in the store (see NOTES, \"How well the numbers hold\"):",
    )?;
    for (kind, found) in kinds.iter().filter(|(_, found)| found.tries > 0) {
        let name = format!("{kind:?}").to_lowercase();
        let of = |n: usize| format!("{n} of {}", found.tries);
        out.prose(
            &format!("  {name}: "),
            &format!(
                "a slowdown of {} is found in {}; false alarms: {}",
                planted::words(*kind).unwrap_or("-"),
                of(found.found),
                of(found.alarms)
            ),
        )?;
        out.json(&serde_json::json!({
            "planted": name, "tries": found.tries, "found": found.found, "false_alarms": found.alarms
        }))?;
    }
    Ok(())
}

fn tell(tally: &Tally, launches: usize, out: &mut Out) -> Result<Outcome, End> {
    let Tally { step, trials, counted, cover, twin, signs, ratio, cost_ns } = *tally;
    let mut failed = counted == trials && cover < COVER;
    out.prose(
        &format!("{step}: "),
        &format!("{cover} of {counted} A/A intervals over {launches} launches cover 1 ({trials} trials; at least {COVER} should); median ratio {}", twin.map_or("unknown".into(), |r| format!("{r:.4}"))),
    )?;
    match (step, ratio, cost_ns) {
        ("harness", _, [Some(bare), Some(empty)]) => {
            failed |= (empty - bare).abs() > 1.0;
            let says = format!(
                "the empty case costs {empty:.2} ns, a bare loop {bare:.2} ns; they should differ by less than 1 ns"
            );
            out.prose("  ", &says)?;
        }
        (_, Some(ratio), _) => {
            failed |= (counted == trials && signs < COVER) || (ratio - KNOWN).abs() > 0.005;
            let says = format!(
                "a known difference of 4 % has the right sign in {signs} of {counted} trials; median ratio {ratio:.4}"
            );
            out.prose("  ", &says)?;
        }
        _ => {}
    }
    if counted < trials {
        out.prose(
            "  ",
            &format!(
                "in {} trials not all threads had a CPU at the same time; these do not count",
                trials - counted
            ),
        )?;
    }
    Ok(match (failed, counted < trials) {
        (true, _) => Outcome::Failed,
        (_, true) => Outcome::Unfit,
        _ => Outcome::Quotable,
    })
}

fn trials(step: &'static Step, plan: &Plan, out: &mut Out) -> Result<Tally, End> {
    // What an operation costs on one lane, whichever engine measured it.
    let value = if step.kind == Kind::Contended { "lane_op_ns" } else { "op_ns" };
    let mut tally = Tally { step: step.name, trials: TRIALS, ..Tally::default() };
    let (mut twins, mut ratios, mut costs) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    for trial in 0..TRIALS {
        out.progress(&format!("calibrating {}: trial {} of {TRIALS}", step.name, trial + 1));
        let plan = Plan { seed: plan.seed + trial as u64, ..plan.clone() };
        let _measuring = Measuring::begin();
        let launches = launch::run(&LAB, step, &plan, &STOP, &mut |_| {})
            .map_err(|launch::Interrupted(_)| End::Interrupted)?;
        let of = |case: &str| -> Vec<Option<f64>> {
            launches.iter().map(|l| l.iter().find(|s| s.case == case)?.values.get(value).copied()).collect()
        };
        let ratio = |a: &str, b: &str| {
            let pairs: Vec<f64> = of(a).into_iter().zip(of(b)).filter_map(|(a, b)| Some(a? / b?)).collect();
            stats::over_launches(&pairs).filter(|i| i.n >= 2)
        };
        if let Some(aa) = ratio(AA, step.baseline()) {
            tally.counted += 1;
            tally.cover += usize::from(aa.lo <= 1.0 && 1.0 <= aa.hi);
            twins.push(aa.mid);
        }
        if let Some(known) = step.cases().get(1).and_then(|c| ratio(c, step.baseline())) {
            tally.signs += usize::from(known.lo > 1.0);
            ratios.push(known.mid);
        }
        for (case, costs) in step.cases().iter().zip(&mut costs) {
            costs.extend(of(case).into_iter().flatten());
        }
    }
    out.progress_end();
    tally.twin = stats::median(&twins);
    tally.ratio = stats::median(&ratios);
    tally.cost_ns = costs.map(|c| stats::median(&c));
    Ok(tally)
}

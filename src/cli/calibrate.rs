//! `underhood check --calibrate`: measures the measuring, with kernels whose answer is known.
use super::{
    Outcome, STOP,
    args::Run,
    out::{End, Out},
};
use crate::{
    engine::{
        crowd::{self, Crowd, Lane},
        launch,
        solo::{Ops, Solo, solo},
        work,
    },
    lab::{Kind, Lab, Launch, Predict, Step},
    plan::Plan,
    record::AA,
    sample::Sample,
    stats,
};

const TRIALS: usize = 20;
/// Of twenty 95 % intervals nineteen should cover; fewer than seventeen happen by chance once in sixty times.
const COVER: usize = 17;
const KNOWN: f64 = 1.04;

/// Not a lab for people: its steps are what the trials launch.
pub(super) static LAB: Lab = Lab {
    stem: "calibrate",
    question: "Does the measuring measure?",
    steps: &[
        trial("one_thread", Kind::Single, &["spin_1000", "spin_1040"], one_thread),
        trial("two_threads", Kind::Contended, &["mutex"], two_threads),
    ],
    says: &[],
    not_said: &[],
    next: &[],
    sources: &[],
    benches: |_| Vec::new(),
};

const fn trial(
    name: &'static str,
    kind: Kind,
    cases: &'static [&'static str],
    measure: crate::lab::Measure,
) -> Step {
    Step {
        name,
        ask: "",
        predict: Predict::Best { param: "" },
        kind,
        cases,
        params: &[""],
        launch: Launch::Together,
        measure,
        headline: "op_ns",
        columns: &[],
        claims: &[],
        because: "",
        tour: false,
    }
}

/// 1,000 and 1,040 dependent multiplies: the second takes 4 % longer, whatever the machine.
fn one_thread(plan: &Plan, _: &[&str], params: &[&str]) -> Vec<Sample> {
    fn spin<const N: u32>() -> Ops {
        let mut x = 1;
        Box::new(move |n| (0..n).for_each(|_| x = work::chain(x, std::hint::black_box(N))))
    }
    let arms =
        [Solo { case: "spin_1000", make: spin::<1000> }, Solo { case: "spin_1040", make: spin::<1040> }];
    params.iter().flat_map(|p| solo(plan, p, &arms)).collect()
}

fn two_threads(plan: &Plan, _: &[&str], params: &[&str]) -> Vec<Sample> {
    let make = |threads| {
        let lock = std::sync::Arc::new(crowd::Apart(std::sync::Mutex::new(0u64)));
        (0..threads)
            .map(|_| {
                let lock = lock.clone();
                Box::new(move |n: u32, _: u32| {
                    (0..n).for_each(|_| *lock.0.lock().expect("no holder panics") += 1)
                }) as Lane
            })
            .collect()
    };
    let arms = [Crowd { case: "mutex", make: Box::new(make) }];
    params.iter().flat_map(|p| crowd::crowd(plan, p, 0.0, &arms)).collect()
}

/// Runs the trials and prints the counts.
pub(super) fn calibrate(out: &mut Out) -> Result<Outcome, End> {
    let plan = Run { slice: Some(std::time::Duration::from_millis(60)), ..Run::default() }.plan();
    let mut worst = Outcome::Quotable;
    for step in LAB.steps {
        let value = if step.kind == Kind::Contended { "ops_per_s" } else { "op_ns" };
        let (mut cover, mut counted, mut signs, mut ratios) = (0, 0, 0, Vec::new());
        for trial in 0..TRIALS {
            out.progress(&format!("calibrating {}: trial {} of {TRIALS}", step.name, trial + 1));
            let plan = Plan { seed: plan.seed + trial as u64, ..plan.clone() };
            let launches = launch::run(&LAB, step, &plan, &STOP, &mut |_| {})
                .map_err(|launch::Interrupted| End::Interrupted)?;
            let of = |case: &str| -> Vec<Option<f64>> {
                launches
                    .iter()
                    .map(|l| l.iter().find(|s| s.case == case)?.values.get(value).copied())
                    .collect()
            };
            let ratio = |a: &str, b: &str| {
                let pairs: Vec<f64> =
                    of(a).into_iter().zip(of(b)).filter_map(|(a, b)| Some(a? / b?)).collect();
                stats::over_launches(&pairs).filter(|i| i.n >= 2)
            };
            if let Some(aa) = ratio(AA, step.cases[0]) {
                counted += 1;
                cover += usize::from(aa.lo <= 1.0 && 1.0 <= aa.hi);
            }
            if let Some(known) = step.cases.get(1).and_then(|c| ratio(c, step.cases[0])) {
                signs += usize::from(known.lo > 1.0);
                ratios.push(known.mid);
            }
        }
        out.progress_end();
        out.say(format!("{}: {cover} of {counted} A/A intervals over {} launches cover 1 ({TRIALS} trials; at least {COVER} should)", step.name, plan.launches))?;
        if let Some(mid) = stats::median(&ratios) {
            out.say(format!("{}: a known difference of 4 % was found with the right sign in {signs} of {TRIALS} trials; median ratio {mid:.4}", step.name))?;
            if signs < COVER || (mid - KNOWN).abs() > 0.005 {
                worst = worst.max(Outcome::Failed);
            }
        }
        if counted < TRIALS {
            out.say(format!(
                "{}: in {} trials the lanes did not run at once; nothing is claimed of those",
                step.name,
                TRIALS - counted
            ))?;
            worst = worst.max(Outcome::Unfit);
        } else if cover < COVER {
            worst = worst.max(Outcome::Failed);
        }
    }
    Ok(worst)
}

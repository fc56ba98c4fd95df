//! The cost of an operation on one thread: paired, interleaved, judged by CPU time.
//!
//! Each contender is compared with the baseline in quads of four blocks, `base case case base` or `case base base case` by lot,
//! all four with the same count of operations, each about 250 us. A quad counts if the thread really had its CPU in every block
//! (CPU time / wall time); the result never decides. What is kept is the median of the log ratios. The baseline runs against a
//! second instance of itself as well (`A/A`): that is the smallest difference this launch could claim.
//!
//! Quads in which the thread had its core to itself and quads in which it did not are averaged only where neither kind is enough: see
//! [`own_core`].
//!
//! Why pairs: measured side by side on a loaded machine, separate runs of an unchanged pair of mutexes spread over a factor of
//! six, paired quads over two parts in ten thousand.
use std::{
    borrow::Borrow,
    time::{Duration, Instant},
};

use crate::{
    lab::{
        plan::Plan,
        sample::{AA, Sample},
    },
    machine::pin_current_thread,
    measure::{
        order::Order,
        own_core::{self, Looks},
        witness,
    },
    stats,
};

/// Runs that many operations.
pub type Ops = Box<dyn FnMut(u64)>;

/// One contender.
pub struct Solo {
    /// The case's name.
    pub case: &'static str,
    /// Builds a fresh instance: called once, and twice for the baseline.
    pub make: Box<dyn Fn() -> Ops>,
}

impl Solo {
    /// This case, made so.
    pub fn new(case: &'static str, make: impl Fn() -> Ops + 'static) -> Self {
        Self { case, make: Box::new(make) }
    }
}

impl std::fmt::Debug for Solo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Solo").field("case", &self.case).finish_non_exhaustive()
    }
}

/// A block is long enough that the clock costs nothing and short enough to fall between interruptions.
const BLOCK: Duration = Duration::from_micros(250);
/// Below this share of CPU time a block was interrupted.
const OWNED: f64 = 0.97;
/// Fewer quads than this say nothing.
const ENOUGH: usize = 5;

/// Measures every contender against the first: one launch. Values: `op_ns`. A contender's `op_ns` is the baseline's median
/// times the median paired ratio, so that dividing two of them gives back the paired ratio. It is about the
/// quads with the core alone, if every contender has enough of them. Then `op_shared_ns` is about the other quads, some of which met both
/// states. `core_adds` says which state `op_ns` is about: [`Looks::additions_per_cycle`].
///
/// Runs pinned to the plan's first CPU. Never hangs: it stops after the plan's slice for each contender, valid or not, and says so.
pub fn solo(plan: &Plan, param: &str, arms: impl IntoIterator<Item: Borrow<Solo>>) -> Vec<Sample> {
    let arms: Vec<_> = arms.into_iter().collect();
    let arms: Vec<&Solo> = arms.iter().map(Borrow::borrow).collect();
    let Some(&base) = arms.first() else { return Vec::new() };
    let pinned = pin_current_thread(plan.cpus[0]);
    let mut base_ops = (base.make)();
    let mut others: Vec<(&str, Ops)> =
        std::iter::once((AA, (base.make)())).chain(arms[1..].iter().map(|a| (a.case, (a.make)()))).collect();
    let block = if plan.is_smoke() { BLOCK / 10 } else { BLOCK };
    let counts: Vec<u64> = others.iter_mut().map(|(_, ops)| count_for(block, &mut base_ops, ops)).collect();

    let mut quads: Vec<Vec<Quad>> = others.iter().map(|_| Vec::new()).collect();
    let mut order = Order::new(plan.seed ^ (plan.launch as u64) << 32);
    let started = Instant::now();
    let budget = plan.slice * u32::try_from(others.len()).unwrap_or(u32::MAX);
    let mut turn: Vec<usize> = (0..others.len()).collect();
    let mut looks = vec![own_core::look()];
    while started.elapsed() < budget {
        order.shuffle(&mut turn);
        for &i in &turn {
            let base_first = order.below(2) == 0;
            quads[i].push(quad(counts[i], base_first, &mut base_ops, &mut others[i].1, looks.len() - 1));
            looks.push(own_core::look());
        }
    }

    // Where looks are impossible, there is one state, and every block is in it.
    let looks = Looks::new(&looks);
    let whole = looks.as_ref().map(Looks::whole);
    let is_whole = |q: &Quad| whole.as_ref().is_none_or(|whole| whole[q.look]);
    let met = |which: Option<bool>| -> Vec<Vec<&Quad>> {
        let counts = |q: &&Quad| q.owned && which.is_none_or(|which| which == is_whole(q));
        quads.iter().map(|quads| quads.iter().filter(counts).collect()).collect()
    };
    let enough = |met: &[Vec<&Quad>]| met.iter().all(|quads| quads.len() >= ENOUGH);
    let [alone, shared] = [met(Some(true)), met(Some(false))];
    let counted = [&alone, &shared].into_iter().find(|met| enough(met)).cloned();
    let counted = counted.unwrap_or_else(|| met(None));
    let beside = Some(&shared).filter(|met| enough(&alone) && enough(met)).map(|met| op_ns(met));

    let looks =
        looks.iter().flat_map(|looks| counted.iter().flatten().map(|q| looks.additions_per_cycle(q.look)));
    let adds: Vec<f64> = looks.collect();
    let ns = op_ns(&counted);
    let mut samples = Vec::new();
    for (i, ((case, _), tried)) in others.iter().zip(&quads).enumerate() {
        let owned = tried.iter().filter(|q| q.owned).count();
        let mut sample = match ns[i] {
            Some(ns) => Sample::new(case, param).with("op_ns", ns),
            None => Sample::unmeasured(
                case,
                param,
                format!("only {} of {} quads had the CPU to themselves", counted[i].len(), tried.len()),
            ),
        };
        if ns[i].is_some() {
            sample.values.extend(stats::median(&adds).map(|adds| ("core_adds".to_string(), adds)));
            let shared = beside.as_ref().and_then(|ns| ns[i]);
            sample.values.extend(shared.map(|ns| ("op_shared_ns".to_string(), ns)));
        }
        sample.receipts.kept_count = Some(counted[i].len() as f64);
        sample.receipts.dropped_count = Some((tried.len() - owned) as f64);
        if owned > counted[i].len() {
            sample.receipts.other_state_share = Some((owned - counted[i].len()) as f64 / owned as f64);
        }
        if !pinned {
            sample.doubts.push("the thread could not be pinned to a CPU".into());
        }
        samples.push(sample);
    }
    // The baseline's own row has what all quads say of it.
    let mut own = Sample { case: base.case.into(), ..samples[0].clone() };
    for (name, met) in [("op_ns", Some(&counted)), ("op_shared_ns", beside.is_some().then_some(&shared))] {
        if let Some(ns) = met.and_then(|met| base_ns(met)).filter(|_| own.values.contains_key(name)) {
            own = own.with(name, ns);
        }
    }
    samples.insert(0, own);
    samples
}

/// The baseline's cost, from all quads.
fn base_ns(quads: &[Vec<&Quad>]) -> Option<f64> {
    stats::median(&quads.iter().flatten().map(|q| q.base_ns).collect::<Vec<_>>())
}

/// Each contender's cost: the baseline's, times the median paired ratio. `None` with too few quads.
fn op_ns(quads: &[Vec<&Quad>]) -> Vec<Option<f64>> {
    let base = base_ns(quads);
    let of = |quads: &Vec<&Quad>| {
        let ratios: Vec<f64> = quads.iter().map(|q| (q.case_ns / q.base_ns).ln()).collect();
        Some(base? * stats::median(&ratios).filter(|_| quads.len() >= ENOUGH)?.exp())
    };
    quads.iter().map(of).collect()
}

/// One count of operations for both contenders of a quad, from the slower one: unequal counts broke the A/A coverage in trials.
fn count_for(block: Duration, a: &mut Ops, b: &mut Ops) -> u64 {
    let slower = [a, b].into_iter().map(probe_ns).fold(0.0, f64::max);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive count of operations, clamped"
    )]
    let n = (block.as_secs_f64() * 1e9 / slower.max(0.05)).clamp(1.0, 1e9) as u64;
    n
}

/// Cost of one operation, roughly: the 25th percentile of 31 probes, each long enough for the clock.
fn probe_ns(ops: &mut Ops) -> f64 {
    let mut n = 1;
    while n < 1 << 30 {
        let t = Instant::now();
        ops(n);
        if t.elapsed() >= Duration::from_micros(10) {
            break;
        }
        n *= 2;
    }
    let mut probes: Vec<f64> = (0..31)
        .map(|_| {
            let t = Instant::now();
            ops(n);
            t.elapsed().as_secs_f64() * 1e9 / n as f64
        })
        .collect();
    probes.sort_by(f64::total_cmp);
    probes[7]
}

/// Four blocks: both contenders twice.
#[derive(Debug)]
struct Quad {
    base_ns: f64,
    case_ns: f64,
    owned: bool,
    /// The look at the core before it.
    look: usize,
}

fn quad(n: u64, base_first: bool, base: &mut Ops, case: &mut Ops, look: usize) -> Quad {
    let order = if base_first { [true, false, false, true] } else { [false, true, true, false] };
    let mut ns = [0.0, 0.0];
    let mut owned = true;
    for is_base in order {
        let ops = if is_base { &mut *base } else { &mut *case };
        // Caches and predictors belong to whoever ran last, and the baseline runs most: without this its twin came out slower by two
        // parts in a hundred thousand, in every launch.
        ops(n / 16);
        let cpu = witness::cpu_time();
        let t = Instant::now();
        ops(n);
        let wall = t.elapsed();
        // Where the system cannot tell CPU time, every block counts and the machine's grade says so.
        if let (Some(before), Some(after)) = (cpu, witness::cpu_time()) {
            owned &= (after - before).as_secs_f64() >= OWNED * wall.as_secs_f64();
        }
        ns[usize::from(is_base)] += wall.as_secs_f64() * 1e9 / (2.0 * n as f64);
    }
    Quad { base_ns: ns[1], case_ns: ns[0], owned, look }
}

/// The same contender for criterion: times that many operations with one clock.
pub fn timed(arm: &Solo) -> crate::lab::Timed {
    let mut ops = (arm.make)();
    Box::new(move |n| {
        let t = Instant::now();
        ops(n);
        t.elapsed()
    })
}

//! Throughput of threads that really meet: a gang of long-lived pinned lanes, and windows cut out of them while they run.
//!
//! The lanes never stop, never wait at a barrier and never read a clock inside a window. A controller turns a phase word, lets
//! the lanes settle, reads the lanes' counters and a clock, sleeps for the window, and reads them again. A window counts if every
//! lane progressed in it and none waited for a CPU; the result never decides. Contenders meet the baseline in quads of windows,
//! `base case case base` or the reverse by lot, as in [`crate::measure::cost`]; the baseline meets a second instance of itself too (`A/A`).
//!
//! Why not threads from a barrier to a join: on two cores that reported 0.1 ns for a lock, because the thread that reads the clock
//! wakes up after the work is done; and spawned for each sample, the threads ran one after the other and never met.
use std::{
    borrow::Borrow,
    time::{Duration, Instant},
};

use crate::{
    lab::{
        plan::{Mode, Plan},
        sample::{AA, Sample},
    },
    measure::{
        gang::{Gang, Window, idle_lanes},
        order::Order,
        scatter::Scatter,
        state::{Met, States},
    },
    stats,
};

pub use crate::measure::gang::{Apart, Lane};

/// Fewer quads of windows than this say nothing.
const ENOUGH: usize = 4;

/// One contender: builds the lanes of a fresh instance for that many threads. Whatever they share should be [`Apart`].
pub struct Crowd {
    /// The case's name.
    pub case: &'static str,
    /// Builds an instance: a lane for each thread.
    pub make: Box<dyn Fn(usize) -> Vec<Lane>>,
}

impl Crowd {
    /// This case, made so.
    pub fn new(case: &'static str, make: impl Fn(usize) -> Vec<Lane> + 'static) -> Self {
        Self { case, make: Box::new(make) }
    }
}

impl std::fmt::Debug for Crowd {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crowd").field("case", &self.case).finish_non_exhaustive()
    }
}

/// All windows of one contender against the baseline.
#[derive(Debug)]
struct Meet {
    log_ratios: Vec<f64>,
    base_per_s: Vec<f64>,
    fair: Vec<f64>,
    base_fair: Vec<f64>,
    /// Absent where the system does not tell who waited for a CPU.
    waited: Option<Vec<f64>>,
    ops: Vec<u64>,
    base_ops: Vec<u64>,
    /// For each quad that counts, the look at the machine's state before it.
    looks: Vec<usize>,
    tried: usize,
    /// Quads that met another state of the machine than the one that counts.
    elsewhere: usize,
    starved: usize,
    base_starved: usize,
}

impl Meet {
    fn new() -> Self {
        Self {
            log_ratios: Vec::new(),
            base_per_s: Vec::new(),
            fair: Vec::new(),
            base_fair: Vec::new(),
            waited: Some(Vec::new()),
            ops: Vec::new(),
            base_ops: Vec::new(),
            looks: Vec::new(),
            tried: 0,
            elsewhere: 0,
            starved: 0,
            base_starved: 0,
        }
    }

    /// The median log ratio, and about how far chance alone moves it (half of a 95 % interval, from the median absolute deviation).
    fn log_ratio(&self) -> Option<(f64, f64)> {
        let mid = stats::median(&self.log_ratios)?;
        let spread = 1.4826 * stats::mad(&self.log_ratios)? / (self.log_ratios.len() as f64).sqrt();
        Some((mid, 2.0 * spread))
    }

    /// Four windows: kept only if all four were owned. They belong to this look at the machine's state.
    fn quad(&mut self, gang: &Gang, base: usize, case: usize, base_first: bool, look: usize) {
        let order = if base_first { [base, case, case, base] } else { [case, base, base, case] };
        let windows = order.map(|i| (i, gang.window(i)));
        self.tried += 1;
        let starved = |which: usize| usize::from(windows.iter().any(|(i, w)| *i == which && w.starved));
        self.starved += starved(case);
        self.base_starved += starved(base);
        for (_, window) in &windows {
            self.waited = self.waited.take().zip(window.waited).map(|(mut all, w)| {
                all.push(w);
                all
            });
        }
        if windows.iter().any(|(_, w)| !w.owned) {
            return;
        }
        let mean = |which: usize| {
            let mine = || windows.iter().filter(|(i, _)| *i == which).map(|(_, w)| w);
            let n = mine().count() as f64;
            (
                mine().map(Window::per_s).sum::<f64>() / n,
                mine().map(Window::min_max).sum::<f64>() / n,
                mine().flat_map(|w| &w.done).sum::<u64>(),
            )
        };
        let ((b, b_fair, b_ops), (c, c_fair, c_ops)) = (mean(base), mean(case));
        self.looks.push(look);
        self.log_ratios.push((c / b).ln());
        self.base_per_s.push(b);
        self.fair.push(c_fair);
        self.base_fair.push(b_fair);
        self.ops.push(c_ops);
        self.base_ops.push(b_ops);
    }

    /// Only the quads that met this state.
    fn keep(&mut self, met: &Met) {
        let keeps: Vec<bool> = self.looks.iter().map(|look| met.keeps(*look)).collect();
        let only = |values: &mut Vec<f64>| {
            let mut keeps = keeps.iter();
            values.retain(|_| keeps.next().copied().unwrap_or(true));
        };
        let all = [&mut self.log_ratios, &mut self.base_per_s, &mut self.fair, &mut self.base_fair];
        all.into_iter().for_each(only);
        for ops in [&mut self.ops, &mut self.base_ops] {
            let mut keeps = keeps.iter();
            ops.retain(|_| keeps.next().copied().unwrap_or(true));
        }
        self.elsewhere += keeps.iter().filter(|k| !**k).count();
        self.looks.retain(|look| met.keeps(*look));
    }
}

/// Measures every contender against the first with `plan.threads` lanes and a hold of about `hold_ns`: one launch.
///
/// Values: `ops_per_s` of all lanes together; `lane_op_ns`, what one operation takes on one lane; `min_max_share`, the least busy
/// lane's share of the busiest one's operations; `starved_share`, the share of quads in which a lane got nothing done although it
/// could have had a CPU; `hold_ns`, the hold achieved. A contender's `ops_per_s` is the baseline's median times the median paired ratio.
pub fn crowd(
    plan: &Plan,
    param: &str,
    hold_ns: f64,
    arms: impl IntoIterator<Item: Borrow<Crowd>>,
) -> Vec<Sample> {
    meet_all(plan, param, Some(hold_ns), &arms.into_iter().collect::<Vec<_>>(), 0)
}

/// The same without a hold, and with a first lane that only disturbs the others: what it does is not counted, and it need not do as
/// many operations as it is asked for. Without `hold_ns`.
///
/// With fewer than two lanes every sample is unmeasured, and says so.
pub fn beside(plan: &Plan, param: &str, arms: impl IntoIterator<Item: Borrow<Crowd>>) -> Vec<Sample> {
    let arms: Vec<_> = arms.into_iter().collect();
    if plan.threads < 2 {
        let why = "one thread has nobody to be disturbed by";
        return arms.iter().map(|a| Sample::unmeasured(a.borrow().case, param, why)).collect();
    }
    meet_all(plan, param, None, &arms, 1)
}

fn meet_all(
    plan: &Plan,
    param: &str,
    hold_ns: Option<f64>,
    arms: &[impl Borrow<Crowd>],
    disturbers: usize,
) -> Vec<Sample> {
    let arms: Vec<&Crowd> = arms.iter().map(Borrow::borrow).collect();
    let Some(&base) = arms.first() else { return Vec::new() };
    let threads = plan.threads;
    // Instance 0 is the baseline, 1 its twin, then the others; the last one only holds.
    let makers = std::iter::once(base).chain(arms.iter().copied());
    let mut scatter = Scatter::new(plan);
    let instances = makers.map(|a| scatter.make(|| (a.make)(threads))).chain([idle_lanes(threads)]).collect();
    let mut gang = Gang::start(plan, threads, instances);
    gang.hold(hold_ns.unwrap_or_default());
    let achieved = hold_ns.and_then(|_| gang.achieved(arms.len() + 1));
    gang.counted_from = disturbers;
    let names: Vec<&str> = std::iter::once(AA).chain(arms[1..].iter().map(|a| a.case)).collect();
    let mut meets: Vec<Meet> = names.iter().map(|_| Meet::new()).collect();
    let mut order = Order::new(plan.seed ^ (plan.launch as u64) << 32);
    let started = Instant::now();
    let budget = plan.slice * u32::try_from(names.len()).unwrap_or(u32::MAX);
    let mut turn: Vec<usize> = (0..names.len()).collect();
    let mut states = States::new(plan);
    while started.elapsed() < budget {
        order.shuffle(&mut turn);
        gang.rest();
        let look = states.look();
        for &i in &turn {
            meets[i].quad(&gang, 0, i + 1, order.below(2) == 0, look);
        }
    }
    let met = states.most();
    meets.iter_mut().for_each(|m| m.keep(&met));
    let all: Vec<f64> = meets.iter().flat_map(|m| m.base_per_s.iter().copied()).collect();
    let base_per_s = stats::median(&all);

    let sample = |case: &str, meet: &Meet, is_base: bool| {
        let kept = meet.log_ratios.len();
        let mut s = match base_per_s {
            Some(base) if kept >= ENOUGH || (plan.is_smoke() && kept > 0) => {
                let ratio = if is_base { 1.0 } else { stats::median(&meet.log_ratios).map_or(1.0, f64::exp) };
                let fair = if is_base { &meet.base_fair } else { &meet.fair };
                Sample::new(case, param)
                    .with("ops_per_s", base * ratio)
                    .with("lane_op_ns", (threads - disturbers) as f64 * 1e9 / (base * ratio))
                    .with("min_max_share", stats::median(fair).unwrap_or_default())
                    .share(
                        "starved_share",
                        if is_base { meet.base_starved } else { meet.starved } as f64,
                        meet.tried as f64,
                    )
            }
            _ => Sample::unmeasured(
                case,
                param,
                format!("the lanes did not run at once: {kept} of {} quads of windows counted", meet.tried),
            ),
        };
        if let Some(ns) = achieved.filter(|_| s.unmeasured.is_none()) {
            s = s.with("hold_ns", ns);
        }
        receipts(&mut s, &gang, &[meet]);
        s.receipts.ops_count =
            Some(if is_base { &meet.base_ops } else { &meet.ops }.iter().sum::<u64>() as f64);
        met.mark(s)
    };
    let mut samples = vec![sample(base.case, &meets[0], true)];
    samples.extend(names.iter().zip(&meets).map(|(case, meet)| sample(case, meet, false)));
    samples
}

/// What shows that lanes ran at once, summed over some meetings.
fn receipts(s: &mut Sample, gang: &Gang, meets: &[&Meet]) {
    let tried: usize = meets.iter().map(|m| m.tried - m.elsewhere).sum();
    let kept: usize = meets.iter().map(|m| m.log_ratios.len()).sum();
    let waited: Option<Vec<f64>> =
        meets.iter().map(|m| m.waited.clone()).collect::<Option<Vec<_>>>().map(|w| w.concat());
    s.receipts.kept_count = Some(kept as f64);
    s.receipts.dropped_count = Some((tried - kept) as f64);
    s.receipts.overlap_share =
        waited.as_ref().filter(|_| gang.owned).map(|_| kept as f64 / tried.max(1) as f64);
    s.receipts.runq_share = waited.as_ref().and_then(|w| stats::median(w));
    if gang.shared() {
        return; // more lanes than CPUs on purpose: there is nothing to witness
    }
    if !gang.owned {
        s.doubts.push("the lanes could not be pinned".into());
    } else if waited.is_none() {
        s.doubts.push("this system does not tell whether the lanes ran at once".into());
    }
}

/// Finds the hold time above which `b` does more than `a`: one launch. Value: `crossover_ns`, as hold time achieved, not asked for.
///
/// Bisects from no hold to `longest_ns`; between the last two holds the log ratio is taken for linear in the log of the hold. Where
/// there is no crossover, or at one end the two cannot be told apart, the sample has no value and says which.
pub fn crossover(plan: &Plan, case: &str, param: &str, a: &Crowd, b: &Crowd, longest_ns: f64) -> Sample {
    /// Below one iteration of the hold loop there is nothing to bisect.
    const SHORTEST_NS: f64 = 1.0;
    let threads = plan.threads;
    let mut scatter = Scatter::new(plan);
    let instances =
        vec![scatter.make(|| (a.make)(threads)), scatter.make(|| (b.make)(threads)), idle_lanes(threads)];
    let gang = Gang::start(plan, threads, instances);
    let mut order = Order::new(plan.seed ^ (plan.launch as u64) << 32);
    // Four halvings leave a factor of less than two, and within that the ratio is as good as a straight line.
    let steps = match plan.mode {
        Mode::Smoke => 1,
        Mode::Quick => 4,
        Mode::Default | Mode::Full => 6,
    };
    let each = plan.slice.mul_f64(1.5 / f64::from(steps + 2));
    let mut meets = Vec::new();
    // All of a search is about the state that it began in.
    let mut states = States::new(plan);
    let began = states.look();
    // The log ratio b / a at this hold, how far chance moves it, and the hold achieved.
    let mut at = |hold_ns: f64| -> Option<(f64, f64, f64)> {
        gang.hold(hold_ns);
        let mut meet = Meet::new();
        let t = Instant::now();
        while (t.elapsed() < each || meet.log_ratios.len() < ENOUGH) && t.elapsed() < each * 6 {
            gang.rest();
            let look = states.look();
            meet.quad(&gang, 0, 1, order.below(2) == 0, look);
        }
        meet.keep(&states.like(began));
        let enough = meet.log_ratios.len() >= ENOUGH || (plan.is_smoke() && !meet.log_ratios.is_empty());
        let ratio = meet.log_ratio().filter(|_| enough);
        meets.push(meet);
        let (mid, chance) = ratio?;
        Some((mid, chance, gang.achieved(2)?))
    };
    let mut find = || -> Result<f64, String> {
        let lost = || "the lanes did not run at once".to_string();
        let (lo, hi) = (at(0.0).ok_or_else(lost)?, at(longest_ns).ok_or_else(lost)?);
        if lo.0 > lo.1 {
            return Err(format!("no crossover: {} is ahead of {} already at no hold", b.case, a.case));
        }
        if hi.0 < -hi.1 {
            return Err(format!("no crossover: {} is behind {} still at {:.0} ns", b.case, a.case, hi.2));
        }
        if lo.0 > -lo.1 || hi.0 < hi.1 {
            return Err(format!(
                "no crossover shown: at one end {} and {} cannot be told apart",
                b.case, a.case
            ));
        }
        let (mut lo, mut hi) = ((lo.0, lo.2), (hi.0, hi.2));
        let (mut lo_ns, mut hi_ns) = (SHORTEST_NS, longest_ns);
        for _ in 0..steps {
            let mid_ns = (lo_ns * hi_ns).sqrt();
            let mid = at(mid_ns).ok_or_else(lost)?;
            if mid.0 > 0.0 {
                (hi, hi_ns) = ((mid.0, mid.2), mid_ns);
            } else {
                (lo, lo_ns) = ((mid.0, mid.2), mid_ns);
            }
        }
        let share = lo.0 / (lo.0 - hi.0);
        Ok((lo.1.ln() + share * (hi.1.ln() - lo.1.ln())).exp())
    };
    let mut sample = match find() {
        Ok(ns) => Sample::new(case, param).with("crossover_ns", ns),
        Err(why) => Sample::unmeasured(case, param, why),
    };
    receipts(&mut sample, &gang, &meets.iter().collect::<Vec<_>>());
    states.like(began).mark(sample)
}

/// The same contender for criterion: windows until that many operations are done, scaled to the count asked for.
///
/// Contended figures depend on how they are cut: these and the labs' agree on the workload and differ in method.
pub fn timed(plan: &Plan, hold_ns: f64, arm: &Crowd) -> crate::lab::Timed {
    let gang = Gang::start(plan, plan.threads, vec![(arm.make)(plan.threads)]);
    gang.hold(hold_ns);
    Box::new(move |n| {
        let (mut ops, mut wall) = (0, Duration::ZERO);
        let started = Instant::now();
        while ops == 0 || (wall < Duration::from_millis(10) && ops < n) {
            let w = gang.window(0);
            if w.owned || started.elapsed() > Duration::from_millis(500) {
                ops += w.done.iter().sum::<u64>();
                wall += w.wall;
            }
            if started.elapsed() > Duration::from_secs(5) {
                break;
            }
        }
        gang.rest();
        wall.mul_f64(n as f64 / (ops.max(1)) as f64)
    })
}

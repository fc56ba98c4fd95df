//! Single operations of threads that meet: the worst one, who gets how many, and the times in which nobody finished any.
//!
//! Throughput is [`crate::measure::throughput`]'s business: here every thread looks at a clock after every operation, which costs more than the
//! operation, so these are rates of another workload. But nothing is left out: an operation lasts from the end of the one before to its own
//! end, and the longest is seen, whatever delayed it.
//!
//! A **halt** is a time in which no thread finished anything, for 20 us and more: where the gaps of all threads overlap. One thread that is
//! preempted has a gap of its own; if it held a lock, all the others have one at the same time. That is the whole difference between
//! blocking and lock-free, as a share of the time.
use std::{
    borrow::Borrow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    lab::{
        Point,
        plan::Plan,
        sample::{AA, Sample},
    },
    machine::pin_current_thread,
    measure::{
        latency,
        order::Order,
        scatter::Scatter,
        throughput::{Crowd, Lane},
    },
    stats,
};

/// A time without a finished operation that is worth a note, in ns.
const GAP_NS: u64 = 20_000;

/// From when a thread finished an operation until it finished the next, in ns since the start.
pub type Gap = (u64, u64);

/// What one thread brings home.
struct Home {
    ops: Histogram<u64>,
    gaps: Vec<Gap>,
    count: u64,
}

const READY: usize = 0;
const GO: usize = 1;
const STOP: usize = 2;

/// Every contender, and the first one twice (`A/A`), in random order, for the plan's slice each, with `plan.threads` threads: one launch.
///
/// Values: `op_p99_ns` where enough operations support it, `op_max_ns`; `halted_share` of the time in which no thread finished anything,
/// `halt_max_ns`, the longest such time; `jain_share` and `min_max_share` of the threads' operations; `ops_per_s` with a look at a clock in each.
pub fn singles(plan: &Plan, param: &str, arms: impl IntoIterator<Item: Borrow<Crowd>>) -> Vec<Sample> {
    let arms: Vec<_> = arms.into_iter().collect();
    let arms: Vec<&Crowd> = arms.iter().map(Borrow::borrow).collect();
    let mut scatter = Scatter::new(plan);
    let mut turn: Vec<(&str, &Crowd)> =
        arms.first().map(|base| (AA, *base)).into_iter().chain(arms.iter().map(|a| (a.case, *a))).collect();
    Order::new(plan.seed ^ (plan.launch as u64) << 32).shuffle(&mut turn);
    let one = |(case, arm): (&str, &Crowd)| one(plan, case, param, scatter.make(|| (arm.make)(plan.threads)));
    turn.into_iter().map(one).collect()
}

/// [`singles`] with so many threads for each CPU.
pub fn at_times(
    plan: &Plan,
    times: &Point<usize>,
    arms: impl IntoIterator<Item: Borrow<Crowd>>,
) -> Vec<Sample> {
    singles(&Plan { threads: plan.threads * times.value, ..plan.clone() }, times.id(), arms)
}

fn one(plan: &Plan, case: &str, param: &str, lanes: Vec<Lane>) -> Sample {
    let (stage, there) = (Arc::new(AtomicUsize::new(READY)), Arc::new(AtomicUsize::new(0)));
    let threads = lanes.len();
    let start = Arc::new(std::sync::OnceLock::new());
    let running: Vec<_> = lanes
        .into_iter()
        .enumerate()
        .map(|(number, mut lane)| {
            let (stage, there, start) = (stage.clone(), there.clone(), start.clone());
            let cpu = plan.cpus[number % plan.cpus.len()];
            thread::spawn(move || {
                pin_current_thread(cpu);
                // Before it begins: a histogram is 220 KiB, and to fill it would be everybody's first halt.
                let home = Home { ops: latency::histogram(), gaps: Vec::with_capacity(1 << 12), count: 0 };
                there.fetch_add(1, Relaxed);
                while stage.load(Relaxed) == READY {
                    thread::yield_now();
                }
                work(*start.get_or_init(Instant::now), &stage, &mut lane, home)
            })
        })
        .collect();
    while there.load(Relaxed) < threads {
        thread::sleep(Duration::from_micros(50));
    }
    let begun = *start.get_or_init(Instant::now);
    stage.store(GO, Relaxed);
    thread::sleep(plan.slice);
    let end = latency_ns(begun.elapsed());
    stage.store(STOP, Relaxed);
    let homes: Vec<Home> = running.into_iter().map(|t| t.join().expect("a lane does not panic")).collect();
    let mut ops = latency::histogram();
    for home in &homes {
        ops.add(&home.ops).expect("same bounds");
    }
    let shares: Vec<f64> = homes.iter().map(|h| h.count as f64).collect();
    let all: f64 = shares.iter().sum();
    if all <= 0.0 {
        return Sample::unmeasured(case, param, "no thread finished an operation before the time was over");
    }
    let gaps: Vec<Vec<Gap>> = homes.into_iter().map(|h| h.gaps).collect();
    // Between the end of the time and the last operations everybody may end.
    let halts: Vec<Gap> =
        common(&gaps).into_iter().map(|(a, b)| (a, b.min(end))).filter(|(a, b)| a < b).collect();
    let most = shares.iter().copied().fold(0.0, f64::max);
    let mut s = Sample::new(case, param)
        .with("op_max_ns", ops.max() as f64)
        .with("halted_share", halts.iter().map(|(a, b)| b - a).sum::<u64>() as f64 / end.max(1) as f64)
        .with("halt_max_ns", halts.iter().map(|(a, b)| b - a).max().unwrap_or(0) as f64)
        .with("jain_share", stats::jain(&shares).unwrap_or_default())
        .with("min_max_share", shares.iter().copied().fold(f64::INFINITY, f64::min) / most)
        .with("ops_per_s", all * 1e9 / end.max(1) as f64);
    if let Some(p99) = latency::quantile(&ops, 0.99) {
        s = s.with("op_p99_ns", p99);
    }
    s.receipts.ops_count = Some(all);
    s
}

fn latency_ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn work(start: Instant, stage: &AtomicUsize, lane: &mut Lane, mut home: Home) -> Home {
    // From the common start: a thread that gets its first turn late has waited.
    let mut last = 0;
    while stage.load(Relaxed) != STOP {
        (lane.0)(1, 0);
        let now = latency_ns(start.elapsed());
        home.ops.saturating_record(now - last);
        if now - last > GAP_NS {
            home.gaps.push((last, now));
        }
        last = now;
        home.count += 1;
    }
    // It may have been kept out of its last turn.
    let now = latency_ns(start.elapsed());
    if now - last > GAP_NS {
        home.gaps.push((last, now));
    }
    home
}

/// The times that lie in a gap of every thread. Each thread's gaps are in order and do not overlap.
pub fn common(threads: &[Vec<Gap>]) -> Vec<Gap> {
    let Some((first, rest)) = threads.split_first() else { return Vec::new() };
    rest.iter().fold(first.clone(), |a, b| {
        let (mut i, mut j, mut out) = (0, 0, Vec::new());
        while i < a.len() && j < b.len() {
            let (from, to) = (a[i].0.max(b[j].0), a[i].1.min(b[j].1));
            if from < to {
                out.push((from, to));
            }
            if a[i].1 < b[j].1 { i += 1 } else { j += 1 }
        }
        out
    })
}

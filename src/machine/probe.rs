//! What the machine can show, measured in about three seconds.
//!
//! No probe can hang: a window is two instants agreed beforehand, not a flag that somebody must come to set, and a thread
//! that waits for its partner gives up at a deadline. A number that could not be had is absent.
use std::{
    collections::BTreeMap,
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use crate::{
    machine::{
        core_to_core::handoff_ns, during::Watchful, late::hiccups, pin_current_thread,
        sched::runq_of_this_thread,
    },
    stats::median,
};

/// More spinners than this tell no more: a hypervisor or a neighbour that takes CPUs away shows in 128 as well.
pub const MAX_LANES: usize = 128;
/// Windows alone, and as many with all lanes. Each CPU takes its turn to be the one alone.
const ROUNDS: usize = 8;
/// Multiplies between two looks at the clock: some 8 us, so that a look (20 to 50 ns) costs both arms under 1 %.
const CHUNK: u64 = 4096;

/// Measures everything on these CPUs in about `budget`; nothing at all if there are none. The keys' meanings are spelled
/// out in [`crate::show::check`], which prints them.
pub fn fitness(cpus: &[usize], budget: Duration, progress: &mut dyn FnMut(&str)) -> BTreeMap<String, f64> {
    let mut fitness = BTreeMap::new();
    if cpus.is_empty() {
        return fitness;
    }
    // Nobody waits longer; and the end of a much longer window would be no time that a clock can show.
    let budget = budget.min(Duration::from_secs(60));
    let mut put = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            fitness.insert(name.to_string(), value);
        }
    };
    progress("the clock: what a look costs, how finely it steps");
    let clock = clock();
    put("clock_cost_ns", Some(clock.cost_ns));
    put("clock_resolution_ns", clock.resolution_ns);

    progress("doing nothing: who else is busy?");
    let watch = Watchful::on(cpus.to_vec());
    thread::sleep(budget.mul_f64(0.30));
    put("busy_share", watch.finish().get("others_busy_share").copied());

    // Time is stolen only from a machine that wants to run, so steal is taken while the probes spin.
    let watch = Watchful::on(cpus.to_vec());
    let lanes = spread(cpus, MAX_LANES);
    progress(&format!("spinners: do {} CPUs really run at once?", lanes.len()));
    let spin = parallel(&lanes, budget.mul_f64(0.35));
    put("lanes_count", Some(spin.lanes_count as f64));
    put("pinned_share", Some(spin.pinned_share));
    put("parallel_ratio", spin.parallel_ratio);
    put("spin_ns_per_iter", spin.spin_ns_per_iter);
    put("runq_share", spin.runq_share);

    progress("an idle probe: how late can it be through no fault of its own?");
    let (p999_ns, max_ns) = hiccups(&spread(cpus, 4), budget.mul_f64(0.25));
    put("hiccup_p999_ns", p999_ns);
    put("hiccup_max_ns", max_ns);
    put("steal_share", watch.finish().get("steal_share").copied());

    if lanes.len() > 1 {
        progress("ping-pong: what does it cost to hand a cache line to another core?");
        let pairs = pairs(&lanes);
        let each = budget.mul_f64(0.10) / pairs.len() as u32;
        let times: Vec<Option<f64>> = pairs.iter().map(|&(a, b)| handoff_ns(a, b, each)).collect();
        put("handoff_ns", times[0]);
        if times.len() > 1 {
            let known: Option<Vec<f64>> = times.into_iter().collect();
            put("handoff_worst_ns", known.and_then(|times| times.into_iter().reduce(f64::max)));
        }
    }
    fitness
}

/// At most `most` of them, evenly spread, with the first and the last.
pub fn spread(cpus: &[usize], most: usize) -> Vec<usize> {
    if cpus.len() <= most {
        return cpus.to_vec();
    }
    (0..most).map(|i| cpus[i * (cpus.len() - 1) / (most - 1)]).collect()
}

/// The first CPU with its neighbour, and with others nearer and farther: often the sibling, the same cache, another socket.
fn pairs(cpus: &[usize]) -> Vec<(usize, usize)> {
    let mut others: Vec<usize> =
        [1, cpus.len() / 4, cpus.len() / 2, cpus.len() - 1].into_iter().filter(|&i| i > 0).collect();
    others.sort_unstable();
    others.dedup();
    others.into_iter().map(|i| (cpus[0], cpus[i])).collect()
}

struct Clock {
    cost_ns: f64,
    resolution_ns: Option<f64>,
}

/// The cost of `Instant::now` (median of batches), and the smallest step that two looks in a row can show: the tick of
/// a coarse clock, or a little more than the cost of a fine one.
fn clock() -> Clock {
    const LOOKS: u32 = 500;
    let batch = |_| {
        let start = Instant::now();
        for _ in 0..LOOKS {
            black_box(Instant::now());
        }
        start.elapsed().as_nanos() as f64 / f64::from(LOOKS)
    };
    let cost_ns = median(&(0..16).map(batch).collect::<Vec<_>>()).unwrap_or(0.0);
    let looks: Vec<Instant> = (0..4000).map(|_| Instant::now()).collect();
    let steps = looks.windows(2).map(|w| (w[1] - w[0]).as_nanos() as f64).filter(|&ns| ns > 0.0);
    Clock { cost_ns, resolution_ns: steps.reduce(f64::min) }
}

/// Dependent work that no compiler can shorten: the xor-shift between the multiplies keeps it from combining two of them.
#[inline(never)]
fn spin(mut x: u64, iters: u64) -> u64 {
    for _ in 0..iters {
        x = (x ^ (x >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
    x
}

/// What one spinner did in one window.
struct Lane {
    cpu: usize,
    pinned: bool,
    iters: u64,
    runq_ns: Option<u64>,
}

/// Spins from `start` until `end` and counts. Work done late, or not at all because somebody else had the CPU, is simply
/// missing from the count: that is what shall be seen.
fn lane(cpu: usize, start: Instant, end: Instant) -> Lane {
    let pinned = pin_current_thread(cpu);
    while Instant::now() < start {
        std::hint::spin_loop();
    }
    let runq_ns = runq_of_this_thread();
    let before = runq_ns();
    let (mut x, mut iters) = (cpu as u64 | 1, 0);
    while Instant::now() < end {
        x = spin(x, CHUNK);
        iters += CHUNK;
    }
    black_box(x);
    let runq_ns = runq_ns().zip(before).map(|(after, before)| after.saturating_sub(before));
    Lane { cpu, pinned, iters, runq_ns }
}

/// One window with a fresh pinned thread on each of these CPUs. A thread that the system refuses to start is missing.
fn window(cpus: &[usize], length: Duration) -> Vec<Lane> {
    // Time for all of them to start and to arrive on their CPU.
    let start = Instant::now() + Duration::from_millis(1) + Duration::from_micros(100) * cpus.len() as u32;
    thread::scope(|scope| {
        let spawn = |&cpu: &usize| {
            let body = move || lane(cpu, start, start + length);
            thread::Builder::new().spawn_scoped(scope, body).ok()
        };
        let threads: Vec<_> = cpus.iter().filter_map(spawn).collect();
        threads.into_iter().filter_map(|t| t.join().ok()).collect()
    })
}

/// What the spinners found.
#[derive(Debug)]
struct Parallel {
    lanes_count: usize,
    pinned_share: f64,
    parallel_ratio: Option<f64>,
    spin_ns_per_iter: Option<f64>,
    runq_share: Option<f64>,
}

/// All spinners together against one alone, in turn, so that a drift of the clock speed meets both alike. Alone is the
/// best CPU's median: a neighbour that sits on one CPU would otherwise halve the work alone, and flatter the ratio.
fn parallel(cpus: &[usize], budget: Duration) -> Parallel {
    let length = (budget / (2 * ROUNDS as u32)).max(Duration::from_micros(100));
    let mut alone: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut together = Vec::new();
    let mut waits: BTreeMap<usize, Vec<Option<u64>>> = BTreeMap::new();
    let (mut lanes, mut pinned, mut most) = (0, 0, 0);
    for round in 0..ROUNDS {
        let one = window(&cpus[round % cpus.len()..][..1], length);
        // With one CPU there is no together; it gets no second turn.
        let all = if cpus.len() > 1 { window(cpus, length) } else { Vec::new() };
        for lane in &one {
            alone.entry(lane.cpu).or_default().push(lane.iters as f64);
        }
        together.push(all.iter().map(|lane| lane.iters as f64).sum());
        most = most.max(one.len()).max(all.len());
        for lane in one.iter().chain(&all) {
            lanes += 1;
            pinned += usize::from(lane.pinned);
            waits.entry(lane.cpu).or_default().push(lane.runq_ns);
        }
    }
    let best =
        alone.into_values().filter_map(|work| median(&work)).reduce(f64::max).filter(|&work| work > 0.0);
    // The share of a CPU's windows that its spinner spent in the run queue; the worst CPU's, since a gang is as good as
    // its worst lane. Unknown if it is unknown for any of them.
    let share = |waits: &Vec<Option<u64>>| {
        let sum: u64 = waits.iter().copied().sum::<Option<u64>>()?;
        Some((sum as f64 / (length.as_nanos() as f64 * waits.len() as f64)).min(1.0))
    };
    Parallel {
        lanes_count: most,
        pinned_share: f64::from(pinned as u32) / f64::from(lanes.max(1) as u32),
        parallel_ratio: best.filter(|_| most > 1).and_then(|best| Some(median(&together)? / best)),
        spin_ns_per_iter: best.map(|work| length.as_nanos() as f64 / work),
        runq_share: waits
            .values()
            .map(share)
            .collect::<Option<Vec<f64>>>()
            .and_then(|s| s.into_iter().reduce(f64::max)),
    }
}

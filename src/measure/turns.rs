//! A workload as it is: threads that do one operation, do something else, and come again (a closed loop), and how long each one waits.
//!
//! Contenders take turns in short windows, in another order in every round, so that what a machine does from second to second meets all
//! of them; a contender is compared with the baseline of the same round, and the baseline runs twice (`A/A`). Every eighth operation is
//! timed. The threads may be more than the CPUs: then a wait has the scheduler in it, and the run-queue share says how much.
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    lab::{
        plan::Plan,
        sample::{AA, Sample},
    },
    machine::pin_current_thread,
    measure::{acquire::Waits, order::Order, scatter::Scatter, throughput::Apart, witness},
    stats,
};

/// One thread's next operation, and what it does until it comes again. The closure is called when the thread has what it waited for.
pub type Turn = Box<Apart<dyn FnMut(&mut dyn FnMut()) + Send>>;
/// A turn for each thread, all of them on one instance.
pub type Shifts = Box<dyn Fn(usize) -> Vec<Turn>>;

/// A contender: builds an instance, whose threads start anew in every window.
pub struct Crew {
    /// The case's name.
    pub case: &'static str,
    /// Builds an instance.
    pub make: Box<dyn Fn() -> Shifts>,
}

impl std::fmt::Debug for Crew {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Crew").field("case", &self.case).finish_non_exhaustive()
    }
}

/// A window of threads that have a CPU each.
const WINDOW: Duration = Duration::from_millis(10);
/// With more threads than CPUs a window must span several turns of the scheduler.
const SHARED_WINDOW: Duration = Duration::from_millis(40);
/// A window spans so many of the longest operations.
const TURNS: f64 = 8.0;
/// Every so many operations of a thread are timed.
const SAMPLE_EVERY: u64 = 8;
/// Fewer rounds than this say nothing.
const ENOUGH: usize = 3;
/// Threads that waited longer than this share of a window for a CPU spoil it, beyond what their own wake-ups explain.
const WAITED: f64 = 0.05;
/// What a wake-up may take before the thread runs: it is the contender's cost, and nobody else's doing.
const WAKE_NS: f64 = 25_000.0;

/// Threads start.
const READY: usize = 0;
/// They run, and nothing counts yet.
const GO: usize = 1;
/// This is measured.
const COUNT: usize = 2;
/// They still run, and nothing counts any more: the kernel is asked about them.
const OVER: usize = 3;
/// They end.
const STOP: usize = 4;

/// Every crew in rounds, and the first one twice (`A/A`): one launch.
///
/// Values: `ops_per_s` of all threads (the baseline's median times the median ratio to the baseline of the same round); `wait_p50_ns`,
/// `wait_p99_ns` where enough samples support them, and `wait_max_ns`, the longest sampled; `min_max_share`, the slowest thread's
/// share of the fastest one's operations; `cpu_per_op_ns`, the CPU time of all threads over all operations, whatever they did between two
/// of them included; `switches_per_op_count`.
///
/// `longest_ns` is about what a thread may need for one operation: a window spans several of them.
pub fn turns(plan: &Plan, param: &str, threads: usize, longest_ns: f64, crews: &[Crew]) -> Vec<Sample> {
    let Some(base) = crews.first() else { return Vec::new() };
    let own_cpus = threads <= plan.cpus.len();
    let window = match (plan.is_smoke(), own_cpus) {
        (true, true) => WINDOW / 5,
        (true, false) => SHARED_WINDOW / 5,
        (_, true) => WINDOW,
        (_, false) => SHARED_WINDOW,
    };
    let window = window.max(Duration::from_secs_f64(TURNS * longest_ns.max(0.0) / 1e9));
    let names: Vec<&str> = [base.case, AA].into_iter().chain(crews[1..].iter().map(|c| c.case)).collect();
    let mut scatter = Scatter::new(plan);
    let makers = [base, base].into_iter().chain(&crews[1..]);
    let instances: Vec<Shifts> = makers.map(|c| scatter.make(|| (c.make)())).collect();
    let mut order = Order::new(plan.seed ^ (plan.launch as u64) << 32);
    let mut turn: Vec<usize> = (0..names.len()).collect();
    let mut seen: Vec<Vec<Window>> = names.iter().map(|_| Vec::new()).collect();
    let budget = plan.slice * u32::try_from(names.len()).unwrap_or(u32::MAX);
    let started = Instant::now();
    let least = if plan.is_smoke() { 1 } else { ENOUGH };
    // A round is measured as a whole. A contender that needs seconds for a window gets as few rounds as still say something.
    while started.elapsed() < budget || seen[0].len() < least {
        order.shuffle(&mut turn);
        for &i in &turn {
            seen[i].push(run_window(plan, window, own_cpus, (instances[i])(threads)));
        }
    }
    let base_per_s: Vec<f64> =
        [0, 1].iter().flat_map(|i| &seen[*i]).filter(|w| w.owned).map(Window::per_s).collect();
    let base_per_s = stats::median(&base_per_s);
    let rows = names.iter().zip(&seen);
    rows.map(|(case, windows)| row(case, param, windows, &seen[0], base_per_s, least)).collect()
}

/// One contender, over all rounds in which its window and the baseline's counted.
fn row(
    case: &str,
    param: &str,
    windows: &[Window],
    base: &[Window],
    base_per_s: Option<f64>,
    least: usize,
) -> Sample {
    let kept: Vec<&Window> =
        windows.iter().zip(base).filter(|(w, b)| w.owned && b.owned).map(|(w, _)| w).collect();
    let pairs = windows.iter().zip(base).filter(|(w, b)| w.owned && b.owned);
    let log_ratios: Vec<f64> = pairs.map(|(w, b)| (w.per_s() / b.per_s()).ln()).collect();
    let ratio = stats::median(&log_ratios).filter(|_| kept.len() >= least);
    let Some((ratio, base_per_s)) = ratio.zip(base_per_s) else {
        let why =
            format!("the threads did not run at once: {} of {} rounds counted", kept.len(), windows.len());
        return Sample::unmeasured(case, param, why);
    };
    let mut all = kept[0].waits.clone();
    kept[1..].iter().for_each(|w| add(&mut all, &w.waits));
    let mut s = all.sample(case, param);
    if s.unmeasured.is_some() {
        return s;
    }
    // Who had the lock in a row is not looked at here: to note it would make readers exclude each other.
    s.values.retain(|name, _| !name.ends_with("_run_count") && name != "jain_share");
    let fair: Vec<f64> = kept.iter().map(|w| w.min_max()).collect();
    s.receipts.dropped_count = Some((windows.len() - kept.len()) as f64);
    s.receipts.kept_count = Some(kept.len() as f64);
    s.with("ops_per_s", base_per_s * ratio.exp())
        .with("min_max_share", stats::median(&fair).unwrap_or_default())
}

fn add(sum: &mut Waits, w: &Waits) {
    sum.waits.add(&w.waits).expect("same bounds");
    for (a, b) in sum.counts.iter_mut().zip(&w.counts) {
        *a += b;
    }
    sum.wall += w.wall;
    sum.switches = sum.switches.zip(w.switches).map(|(a, b)| a + b);
    sum.cpu = sum.cpu.zip(w.cpu).map(|(a, b)| a + b);
    // Windows are of one length.
    sum.runq_share = sum.runq_share.zip(w.runq_share).map(|(a, b)| a.max(b));
}

/// What one contender did in one round.
struct Window {
    waits: Waits,
    /// Nobody else had the threads' CPUs, or they share them on purpose.
    owned: bool,
}

impl Window {
    /// One operation in a window is a bound from above, and a ratio of rates still a number.
    fn per_s(&self) -> f64 {
        self.waits.counts.iter().sum::<u64>().max(1) as f64 / self.waits.wall.as_secs_f64()
    }
    fn min_max(&self) -> f64 {
        let counts = &self.waits.counts;
        let (min, max) = (counts.iter().min(), counts.iter().max());
        min.zip(max).filter(|(_, max)| **max > 0).map_or(0.0, |(min, max)| *min as f64 / *max as f64)
    }
}

/// What the threads of a window share. All of it relaxed: the stages carry no data.
#[derive(Debug)]
struct Board {
    stage: AtomicUsize,
    /// Threads that have had a turn.
    there: AtomicUsize,
}

/// What the kernel says of a thread at one moment; what it does not tell is `None`.
struct Look {
    status: Option<witness::Status>,
    switches: Option<u64>,
    cpu_ns: Option<u64>,
    runq_ns: Option<u64>,
}

impl Look {
    fn at(id: witness::ThreadId) -> Self {
        Self {
            status: witness::status(id),
            switches: witness::switches(id),
            cpu_ns: witness::cpu_time_of(id).and_then(|t| u64::try_from(t.as_nanos()).ok()),
            runq_ns: witness::run_queue(id).map(|t| t.runq_ns),
        }
    }
}

/// Counts what is finished from when every thread has had a turn (or a second has passed) until the time is over; waits are also recorded
/// if they end later, so that the longest are not left out. Ends when every thread has had its last turn.
fn run_window(plan: &Plan, time: Duration, own_cpus: bool, turns: Vec<Turn>) -> Window {
    /// Threads that never get a CPU must not keep the others from being measured.
    const PATIENCE: Duration = Duration::from_secs(1);
    let threads = turns.len();
    let board = Arc::new(Board { stage: AtomicUsize::new(READY), there: AtomicUsize::new(0) });
    let (tell, told) = mpsc::channel();
    let lanes: Vec<_> = turns
        .into_iter()
        .enumerate()
        .map(|(lane, mut turn)| {
            let (board, tell, cpu) = (board.clone(), tell.clone(), plan.cpus[lane % plan.cpus.len()]);
            thread::spawn(move || {
                pin_current_thread(cpu);
                let _ = tell.send(witness::this_thread());
                while board.stage.load(Relaxed) == READY {
                    thread::yield_now();
                }
                come_again(&board, &mut turn.0)
            })
        })
        .collect();
    // A thread that starts late is no thread that was starved.
    let ids: Vec<_> = (0..threads).map(|_| told.recv().expect("each thread says hello")).collect();
    let begun = Instant::now();
    board.stage.store(GO, Relaxed);
    while board.there.load(Relaxed) < threads && begun.elapsed() < PATIENCE {
        thread::sleep(Duration::from_micros(50));
    }
    let look = || -> Vec<Look> { ids.iter().map(|&id| Look::at(id)).collect() };
    let looked = Instant::now();
    let before = look();
    let start = Instant::now();
    board.stage.store(COUNT, Relaxed);
    thread::sleep(time);
    board.stage.store(OVER, Relaxed);
    let (wall, span) = (start.elapsed(), looked.elapsed());
    // While the threads still run: of one that has ended nothing is known.
    let after = look();
    board.stage.store(STOP, Relaxed);
    let homes: Vec<(Histogram<u64>, u64)> =
        lanes.into_iter().map(|l| l.join().expect("a turn does not panic")).collect();
    let mut waits = histogram();
    for (of_thread, _) in &homes {
        waits.add(of_thread).expect("same bounds");
    }
    let spent = |of: fn(&Look) -> Option<u64>| -> Option<Vec<u64>> {
        before.iter().zip(&after).map(|(b, a)| Some(of(a)?.saturating_sub(of(b)?))).collect()
    };
    let (runq, slept) = (spent(|l| l.runq_ns), spent(|l| l.status.map(|s| s.voluntary)));
    let disturbed = runq.as_ref().zip(slept).is_some_and(|(runq, slept)| {
        let most = WAITED * wall.as_secs_f64() * 1e9;
        runq.iter().zip(&slept).any(|(ns, slept)| *ns as f64 - *slept as f64 * WAKE_NS > most)
    });
    let sum = |all: Option<Vec<u64>>| all.map(|all| all.iter().sum::<u64>());
    let waits = Waits {
        waits,
        counts: homes.iter().map(|(_, count)| *count).collect(),
        longest_run: 0,
        runs: 1,
        wall,
        switches: sum(spent(|l| l.switches)),
        // From look to look, which is a little longer than what was counted.
        cpu: sum(spent(|l| l.cpu_ns))
            .map(|ns| Duration::from_nanos(ns).mul_f64(wall.as_secs_f64() / span.as_secs_f64())),
        runq_share: sum(runq).map(|ns| ns as f64 / 1e9 / wall.as_secs_f64() / threads as f64),
    };
    Window { waits, owned: !own_cpus || !disturbed }
}

/// One thread's loop: its sampled waits, and how many operations it finished while they counted.
fn come_again(board: &Board, turn: &mut dyn FnMut(&mut dyn FnMut())) -> (Histogram<u64>, u64) {
    let (mut waits, mut count, mut n) = (histogram(), 0, 0u64);
    loop {
        let stage = board.stage.load(Relaxed);
        if stage == STOP {
            return (waits, count);
        }
        let asked = n.is_multiple_of(SAMPLE_EVERY).then(Instant::now);
        let mut waited = None;
        turn(&mut || waited = asked.map(|asked| asked.elapsed()));
        if let Some(waited) = waited.filter(|_| board.stage.load(Relaxed) != GO) {
            waits.saturating_record(u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX));
        }
        count += u64::from(board.stage.load(Relaxed) == COUNT);
        if n == 0 {
            board.there.fetch_add(1, Relaxed);
        }
        n += 1;
    }
}

/// 1 ns to a minute, three digits.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds are in order")
}

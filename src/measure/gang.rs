//! A gang: long-lived pinned lanes that work on one of several instances, as a phase word says, and windows cut out of them.
//! What is done with the windows is [`crate::measure::throughput`]'s business.
use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering::*},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;

use crate::{
    lab::plan::Plan,
    machine::{pin_current_thread, sched::SchedTimes},
    measure::{
        witness::{self, ThreadId},
        work,
    },
    stats,
};

/// Runs that many operations on one lane, each with a hold of so many iterations of [`work::spin`]. What it writes as it goes (its dice, its
/// tally) has cache lines of its own: two lanes that are allocated one after the other would else share one, and that would be what is measured.
pub type Lane = Box<Apart<dyn FnMut(u32, u32) + Send>>;

/// An object on cache lines of its own, at the same offset in every instance: the place alone moved results by 8 %.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Apart<T: ?Sized>(pub T);

const WINDOW: Duration = Duration::from_millis(2);
/// With more lanes than CPUs a window must span several turns of the scheduler.
const SHARED_WINDOW: Duration = Duration::from_millis(24);
const SETTLE: Duration = Duration::from_micros(200);
/// A lane that waited longer than this share of a window for a CPU spoils it, beyond its own wake-ups and what the controller took at the
/// edges.
const WAITED: f64 = 0.05;
/// What a wake-up from a lock's own sleep may take before the thread runs: waking an idle CPU of a virtual machine takes that long, and
/// the kernel books it as run-queue delay. It is the lock's cost, not a neighbour's doing.
const WAKE_NS: f64 = 25_000.0;
/// With more lanes than CPUs, a lane that had at least this part of its share of the CPUs could have got something done.
const SPUN: f64 = 0.5;
/// A batch between two looks at the phase word takes about this long, so that a window's edge is sharp.
const BATCH_NS: f64 = 10_000.0;

const REST: usize = 0;
const STOP: usize = usize::MAX;

/// What the controller and the lanes share.
#[derive(Debug)]
struct Board {
    /// [`REST`], [`STOP`], or 1 + the instance to work on.
    phase: CachePadded<AtomicUsize>,
    hold: AtomicU32,
    batch: AtomicU32,
    done: Vec<CachePadded<AtomicU64>>,
}

/// Threads that work on one of several instances, as the phase word says.
#[derive(Debug)]
pub(super) struct Gang {
    board: Arc<Board>,
    lanes: Vec<thread::JoinHandle<()>>,
    pub(super) ids: Vec<ThreadId>,
    /// True if every lane has its own CPU and is pinned to it.
    pub(super) owned: bool,
    window: Duration,
    ns_per_iteration: f64,
    cpus: usize,
    /// The lanes before this one only disturb: they must run, but what they do is not counted.
    pub(super) counted_from: usize,
}

impl Gang {
    /// Starts a lane for each thread. `instances[i][lane]` is what lane `lane` runs in phase `i + 1`.
    pub(super) fn start(plan: &Plan, threads: usize, instances: Vec<Vec<Lane>>) -> Self {
        let board = Arc::new(Board {
            phase: CachePadded::new(AtomicUsize::new(REST)),
            hold: AtomicU32::new(0),
            batch: AtomicU32::new(32),
            done: (0..threads).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
        });
        let mut by_lane: Vec<Vec<Lane>> = (0..threads).map(|_| Vec::new()).collect();
        for instance in instances {
            assert_eq!(instance.len(), threads, "an instance has a lane for each thread");
            for (lane, ops) in by_lane.iter_mut().zip(instance) {
                lane.push(ops);
            }
        }
        let (tell, told) = mpsc::channel();
        let lanes = by_lane
            .into_iter()
            .enumerate()
            .map(|(i, ops)| {
                let (board, tell, cpu) = (board.clone(), tell.clone(), plan.cpus[i % plan.cpus.len()]);
                thread::Builder::new()
                    .name(format!("lane-{i}"))
                    .spawn(move || {
                        let pinned = pin_current_thread(cpu);
                        let _ = tell.send((i, witness::this_thread(), pinned, work::ns_per_iteration()));
                        run_lane(&board, i, ops);
                    })
                    .expect("the system can start a thread for each lane")
            })
            .collect();
        let mut hello: Vec<_> =
            (0..threads).map(|_| told.recv().expect("each lane says hello before it works")).collect();
        hello.sort_by_key(|h| h.0);
        Self {
            board,
            lanes,
            owned: threads <= plan.cpus.len() && hello.iter().all(|h| h.2),
            window: match (plan.is_smoke(), threads <= plan.cpus.len()) {
                (true, _) => WINDOW / 4,
                (_, true) => WINDOW,
                (_, false) => SHARED_WINDOW,
            },
            cpus: plan.cpus.len(),
            counted_from: 0,
            ns_per_iteration: stats::median(&hello.iter().map(|h| h.3).collect::<Vec<_>>()).unwrap_or(1.0),
            ids: hello.into_iter().map(|h| h.1).collect(),
        }
    }

    /// Sets the hold time from now on.
    pub(super) fn hold(&self, ns: f64) {
        self.board.hold.store(work::iterations(ns, self.ns_per_iteration), Relaxed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1..=32")]
        let batch = (BATCH_NS / (ns + 50.0)).clamp(1.0, 32.0) as u32;
        self.board.batch.store(batch, Relaxed);
    }

    /// The hold achieved by these lanes at the hold now set: their time per operation on the instance that only holds.
    pub(super) fn achieved(&self, idle: usize) -> Option<f64> {
        // With more lanes than CPUs only so many hold at a time.
        let at_once = self.ids.len().min(self.cpus) as f64;
        let windows = (0..4).map(|_| self.window(idle)).filter(|w| w.owned);
        stats::median(&windows.map(|w| at_once * 1e9 / w.per_s()).collect::<Vec<_>>())
    }

    /// Lets all lanes work on one instance for a window and says what they did.
    pub(super) fn window(&self, instance: usize) -> Window {
        self.board.phase.store(instance + 1, Relaxed);
        thread::sleep(SETTLE.min(self.window));
        // The slow look comes first and last, so that it lies outside the window.
        let look = || -> Vec<Look> { self.ids.iter().map(|&id| Look::at(id)).collect() };
        let own = witness::cpu_time();
        let looked = Instant::now();
        let before = look();
        let (start, from) = (Instant::now(), self.counts());
        thread::sleep(self.window);
        let (end, to) = (Instant::now(), self.counts());
        let after = look();
        let span = looked.elapsed().as_secs_f64() * 1e9;
        // The looks themselves take a CPU from a lane, outside of the window; on some machines and days that is a tenth of a window's length.
        let own = own.zip(witness::cpu_time()).map_or(0.0, |(a, b)| (b - a).as_secs_f64() * 1e9);
        let wall = end - start;
        let known: Option<Vec<Disturbance>> =
            before.iter().zip(&after).map(|(b, a)| disturbance(b, a)).collect();
        let share = |ns: f64| ns / 1e9 / wall.as_secs_f64();
        let waited = known.as_ref().map(|l| l.iter().map(|d| share(d.waited_ns)).fold(0.0, f64::max));
        // Whoever else takes a CPU is seen as a delay beyond what the lane's own sleeps and wakes explain.
        let alone = known.as_ref().is_none_or(|lanes| {
            lanes.iter().all(|d| share(d.waited_ns - own - d.slept as f64 * WAKE_NS) <= WAITED)
        });
        let done: Vec<u64> = from.iter().zip(&to).map(|(a, b)| b - a).collect();
        // A lane that got nothing done was starved by the lock if it slept all along, woke only to sleep again, or had its CPU all along
        // and spun: a result, and the window counts. Else it may just not have had a CPU, since a run-queue delay is booked only when the
        // thread runs again.
        let asleep = |look: &Look| look.status.is_some_and(|s| s.sleeps);
        let idle: Vec<usize> = (0..done.len()).filter(|&lane| done[lane] == 0).collect();
        let enough = if self.owned {
            span * (1.0 - WAITED) - own
        } else {
            span * (self.cpus as f64 / done.len() as f64) * SPUN
        };
        let kept_out = |&lane: &usize| {
            known.as_ref().is_some_and(|l| l[lane].slept > 0 || l[lane].ran_ns.is_some_and(|ns| ns >= enough))
                || (asleep(&before[lane]) && asleep(&after[lane]))
        };
        let starved = !idle.is_empty() && idle.len() < done.len() && idle.iter().all(kept_out);
        let progressed = idle.is_empty() || starved;
        let done = done[self.counted_from..].to_vec();
        Window { wall, waited, starved, owned: progressed && (!self.owned || alone), done }
    }

    /// More lanes than CPUs, on purpose.
    pub(super) fn shared(&self) -> bool {
        self.ids.len() > self.cpus
    }

    /// Lets the lanes rest: they look for work every 50 us.
    pub(super) fn rest(&self) {
        self.board.phase.store(REST, Relaxed);
    }

    fn counts(&self) -> Vec<u64> {
        self.board.done.iter().map(|d| d.load(Relaxed)).collect()
    }
}

impl Drop for Gang {
    fn drop(&mut self) {
        self.board.phase.store(STOP, Relaxed);
        for lane in self.lanes.drain(..) {
            let _ = lane.join();
        }
    }
}

/// Lanes that hold, and nothing else: no lock, no shared line.
pub(super) fn idle_lanes(threads: usize) -> Vec<Lane> {
    (0..threads)
        .map(|_| {
            Box::new(Apart(|n: u32, hold: u32| (0..n).for_each(|_| work::spin(black_box(hold))))) as Lane
        })
        .collect()
}

/// All orderings are relaxed: counters and phase carry no data, and a window's edges are settled by time, not by an edge.
fn run_lane(board: &Board, lane: usize, mut instances: Vec<Lane>) {
    let mut done = 0u64;
    loop {
        match board.phase.load(Relaxed) {
            STOP => return,
            REST => thread::sleep(Duration::from_micros(50)),
            phase => {
                let batch = board.batch.load(Relaxed);
                (instances[phase - 1].0)(batch, board.hold.load(Relaxed));
                done += u64::from(batch);
                board.done[lane].store(done, Relaxed);
            }
        }
    }
}

/// What the kernel says of a lane at one end of a window; what it does not tell is `None`.
struct Look {
    queue: Option<SchedTimes>,
    status: Option<witness::Status>,
    ran: Option<Duration>,
}

impl Look {
    fn at(id: ThreadId) -> Self {
        Self { queue: witness::run_queue(id), status: witness::status(id), ran: witness::cpu_time_of(id) }
    }
}

/// How a lane was kept from its CPU within a window.
struct Disturbance {
    waited_ns: f64,
    /// Times it went to sleep by itself: each wake-up waits a little.
    slept: u64,
    /// What it had of a CPU, from one look to the other.
    ran_ns: Option<f64>,
}

fn disturbance(before: &Look, after: &Look) -> Option<Disturbance> {
    Some(Disturbance {
        waited_ns: after.queue?.runq_ns.saturating_sub(before.queue?.runq_ns) as f64,
        slept: after.status?.voluntary.saturating_sub(before.status?.voluntary),
        ran_ns: after.ran.zip(before.ran).map(|(a, b)| a.saturating_sub(b).as_secs_f64() * 1e9),
    })
}

#[derive(Debug)]
pub(super) struct Window {
    pub(super) wall: Duration,
    /// The longest that a lane waited for a CPU, as share of the window; `None` where the system does not tell.
    pub(super) waited: Option<f64>,
    /// A lane could have had a CPU and got nothing done.
    pub(super) starved: bool,
    /// Every lane progressed (or slept in the lock all along) and none waited for a CPU.
    pub(super) owned: bool,
    /// Operations of each lane that counts.
    pub(super) done: Vec<u64>,
}

impl Window {
    /// Where all lanes that count were starved, one operation in a window is a bound from above, and a ratio of rates still a number.
    pub(super) fn per_s(&self) -> f64 {
        self.done.iter().sum::<u64>().max(1) as f64 / self.wall.as_secs_f64()
    }
    /// The least busy lane's share of the busiest one's operations.
    pub(super) fn min_max(&self) -> f64 {
        let (min, max) = (self.done.iter().min(), self.done.iter().max());
        match (min, max) {
            (Some(&min), Some(&max)) if max > 0 => min as f64 / max as f64,
            _ => 0.0,
        }
    }
}

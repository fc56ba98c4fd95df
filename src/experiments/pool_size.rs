//! A pool of threads whose jobs compute and wait: what goes through, by the number of threads.
use std::{
    hint::black_box,
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use crate::{
    lab::{Contender, Setting},
    measure::{order::Order, work},
};

/// How long a job takes that has a CPU whenever it wants one.
pub const JOB: Duration = Duration::from_millis(2);
/// A job computes in so many parts, so that half a job counts as half.
const PARTS: u32 = 20;
/// From the start signal until the time begins.
const WAKE_UP: Duration = Duration::from_millis(2);

/// How many threads a pool has, given the number of CPUs and the share of a job that it waits.
pub type Size = fn(usize, f64) -> usize;

const fn size(id: &'static str, name: &'static str, value: Size) -> Setting<Size> {
    Setting { is: Contender::new(id).called(name).checked(check), value }
}

/// The sizes, N being the number of CPUs.
pub const SIZES: [Setting<Size>; 8] = [
    size("n", "N threads", |n, _| n),
    size("one", "1 thread", |_, _| 1),
    size("n_plus_1", "N + 1 threads", |n, _| n + 1),
    size("n2", "2 N threads", |n, _| 2 * n),
    size("n4", "4 N threads", |n, _| 4 * n),
    size("n8", "8 N threads", |n, _| 8 * n),
    size("n16", "16 N threads", |n, _| 16 * n),
    size(FORMULA, "N x (1 + W/C) threads", formula),
];

/// The row with the size that the formula gives.
pub const FORMULA: &str = "formula";

/// N x (1 + W/C) for a job that waits this share of its time: W/C is share / (1 - share).
pub fn formula(cpus: usize, wait_share: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few times the number of CPUs; a share of 1 would need threads without end, and saturates"
    )]
    let threads = (cpus as f64 / (1.0 - wait_share)).round() as usize;
    threads.max(1)
}

/// A job: so much to compute, and so long to wait on average.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Job {
    /// Multiplies in each of its parts.
    iterations: u32,
    wait: Duration,
}

impl Job {
    /// One of [`JOB`]'s length that waits this share of it, on a machine as fast as [`work::ns_per_iteration`] says.
    pub fn new(wait_share: f64, ns_per_iteration: f64) -> Self {
        let compute = JOB.mul_f64(1.0 - wait_share);
        let part_ns = compute.as_secs_f64() * 1e9 / f64::from(PARTS);
        Self { iterations: work::iterations(part_ns, ns_per_iteration), wait: JOB.mul_f64(wait_share) }
    }
}

/// What a job must show before it is timed: it computes for at least half as long as it should, on this machine.
fn check() -> Result<(), String> {
    let job = Job::new(0.0, work::ns_per_iteration());
    let began = Instant::now();
    (0..PARTS).for_each(|_| work::spin(black_box(job.iterations)));
    let took = began.elapsed();
    (took >= JOB / 2).then_some(()).ok_or_else(|| format!("a job of {JOB:?} was done after {took:?}"))
}

/// Runs jobs on so many threads, each taking the next when one is done, for so long. Gives the jobs per second.
///
/// # Errors
/// In a sentence: the system refused a thread.
pub fn jobs_per_s(threads: usize, job: Job, time: Duration, seed: u64) -> Result<f64, String> {
    // A gate, and no barrier: if the system refuses a thread, those that are there must not wait for it.
    let gate = Arc::new((Mutex::new(Gate::Shut), Condvar::new()));
    let mut pool = Vec::with_capacity(threads);
    let mut refused = None;
    for lane in 0..threads {
        let gate = Arc::clone(&gate);
        let dice = Order::new(seed ^ ((lane as u64 + 1) << 20));
        let body = move || wait_at(&gate).map_or(0, |began| parts_done(job, began, time, dice));
        match thread::Builder::new().spawn(body) {
            Ok(worker) => pool.push(worker),
            Err(e) => {
                refused = Some(format!("the system refused thread {} of {threads}: {e}", lane + 1));
                break;
            }
        }
    }
    // The time is the same for all, and begins when all have had time to wake up.
    let verdict = if refused.is_none() { Gate::Open(Instant::now() + WAKE_UP) } else { Gate::Off };
    *gate.0.lock().map_err(|_| "a thread of the pool panicked")? = verdict;
    gate.1.notify_all();
    let parts =
        pool.into_iter().map(|worker| worker.join().map_err(|_| "a thread of the pool panicked".into()));
    let parts = parts.sum::<Result<u64, String>>()?;
    refused.map_or_else(|| Ok(parts as f64 / f64::from(PARTS) / time.as_secs_f64()), Err)
}

/// What the threads of a pool wait for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Gate {
    Shut,
    /// The time begins then.
    Open(Instant),
    /// There is nothing to do: not all threads could be started.
    Off,
}

fn wait_at(gate: &(Mutex<Gate>, Condvar)) -> Option<Instant> {
    let shut = gate.0.lock().ok()?;
    match *gate.1.wait_while(shut, |gate| *gate == Gate::Shut).ok()? {
        Gate::Open(began) => Some(began),
        Gate::Shut | Gate::Off => None,
    }
}

/// Parts that one thread has computed by the end.
fn parts_done(job: Job, began: Instant, time: Duration, mut dice: Order) -> u64 {
    let mut share = || (dice.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    let wait = |part: f64| {
        if !job.wait.is_zero() {
            thread::sleep(job.wait.mul_f64(part));
        }
    };
    thread::sleep(began.saturating_duration_since(Instant::now()));
    // The threads begin at different places of their jobs: some in a wait, some in what they compute.
    let waits_first = share() < job.wait.as_secs_f64() / JOB.as_secs_f64();
    if waits_first {
        wait(share());
    }
    let (mut parts, mut left) = (0, if waits_first { PARTS } else { 1 + dice_part(share()) });
    loop {
        for _ in 0..left {
            if began.elapsed() >= time {
                return parts;
            }
            work::spin(black_box(job.iterations));
            parts += 1;
        }
        // Half to one and a half times the mean: jobs must not march in step.
        wait(0.5 + share());
        left = PARTS;
    }
}

/// A part of a job by lot: `share` is from 0 to 1.
fn dice_part(share: f64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to the number of parts"
    )]
    let part = (share * f64::from(PARTS - 1)) as u32;
    part
}

/// The smallest size that gets at least nine tenths of the best throughput: sizes with their throughputs.
pub fn optimum(rows: &[(usize, f64)]) -> Option<usize> {
    let best = rows.iter().map(|(_, jobs)| *jobs).reduce(f64::max)?;
    rows.iter().filter(|(_, jobs)| *jobs >= 0.9 * best).map(|(threads, _)| *threads).min()
}

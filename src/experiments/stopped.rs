//! What the others get done while one thread is stopped in the middle of its operation: the claim behind "lock-free", tried.
//!
//! A stopper sleeps inside of an operation, which is what a preempted thread does, and then outside of it, in turn; the others go on as fast as
//! they can, and what they did is counted for either time. The sleeper needs no CPU, so nothing but its operation is in the way.
use std::{
    collections::VecDeque,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    contenders::bag::{Access, PushPop, check, for_ever},
    lab::{
        Contender,
        plan::Plan,
        sample::{AA, Sample},
    },
    structures::{
        lockfree::{
            queue::{Queue, QueueHandle},
            stack::StackHandle,
        },
        reclaim::{Reclaim, epoch::Epoch, hazard::Hazard},
    },
};

/// A bag in which a thread can be stopped halfway.
pub trait Stops: Access {
    /// Goes as far into an operation as others could notice, calls `inside`, and comes out.
    fn stop(&mut self, inside: &mut dyn FnMut());
}

impl Stops for &'static Mutex<VecDeque<u64>> {
    fn stop(&mut self, inside: &mut dyn FnMut()) {
        let _held = self.lock().expect("no holder panics");
        inside();
    }
}

impl<R: Reclaim + 'static> Stops for QueueHandle<'static, u64, R> {
    fn stop(&mut self, inside: &mut dyn FnMut()) {
        self.inside(inside);
    }
}

impl<R: Reclaim + 'static> Stops for StackHandle<'static, u64, R> {
    fn stop(&mut self, inside: &mut dyn FnMut()) {
        self.inside(inside);
    }
}

const FREE: u8 = 0;
const STOPPED: u8 = 1;
/// In between: what is done now counts for neither.
const BETWEEN: u8 = 2;
/// One thread is stopped, and then is not, for so long.
const EACH: Duration = Duration::from_millis(2);

/// Who is stopped.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    is: Contender,
    run: fn(&Plan) -> Result<Sample, String>,
}

/// A bag of which a thread is stopped, as a contender.
pub const fn stopping<B: PushPop<Access: Stops>>() -> Stopped {
    Stopped { is: B::IS.checked(check::<B>), run: stopped::<B> }
}

impl AsRef<Contender> for Stopped {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

/// The queues of lab lockfree_queue, the baseline first.
pub static QUEUES: [Stopped; 3] =
    [stopping::<Queue<u64, Hazard>>(), stopping::<Queue<u64, Epoch>>(), stopping::<Mutex<VecDeque<u64>>>()];

/// All of them one after the other, and before them the first one's twin (`A/A`): one launch. Values as of [`stopped`].
pub fn all(plan: &Plan, param: &str, who: &[Stopped]) -> Vec<Sample> {
    let one = |(case, who): (&str, &Stopped)| match (who.run)(plan) {
        Ok(row) => Sample { case: case.into(), param: param.into(), ..row },
        Err(why) => Sample::unmeasured(case, param, why),
    };
    let twin = who.first().map(|base| one((AA, base)));
    let mut rows: Vec<Sample> = who.iter().map(|w| one((w.is.id, w))).collect();
    // Where the other ways to measure have it.
    twin.into_iter().for_each(|twin| rows.insert(1, twin));
    rows
}

/// One launch. Value: `kept_share`, the others' rate while one is stopped, as a share of their rate while none is; `free_per_s`.
///
/// # Errors
/// If the others got nothing done while nobody was stopped.
pub fn stopped<B: PushPop<Access: Stops>>(plan: &Plan) -> Result<Sample, String> {
    let others = plan.threads.saturating_sub(1).max(1);
    let bag = for_ever::<B>(others + 1);
    let (phase, end) = (AtomicU8::new(BETWEEN), AtomicBool::new(false));
    let done = [AtomicU64::new(0), AtomicU64::new(0)];
    let mut lasted = [Duration::ZERO; 2];
    thread::scope(|s| {
        for _ in 0..others {
            s.spawn(|| {
                let mut access = bag.access();
                let mut mine = [0u64; 2];
                while !end.load(Relaxed) {
                    let before = phase.load(Relaxed);
                    access.push(1);
                    access.pop();
                    // Only what began and ended in the same phase.
                    if before != BETWEEN && phase.load(Relaxed) == before {
                        mine[usize::from(before)] += 1;
                    }
                }
                done.iter().zip(mine).for_each(|(all, mine)| _ = all.fetch_add(mine, Relaxed));
            });
        }
        let mut access = bag.access();
        let mut sleep = |now: u8| {
            let start = Instant::now();
            phase.store(now, Relaxed);
            thread::sleep(EACH);
            phase.store(BETWEEN, Relaxed);
            lasted[usize::from(now)] += start.elapsed();
        };
        let started = Instant::now();
        let mut rounds = 0;
        while rounds < 2 || started.elapsed() < plan.slice {
            access.stop(&mut || sleep(STOPPED));
            sleep(FREE);
            rounds += 1;
        }
        end.store(true, Relaxed);
    });
    let rate = |phase: u8| {
        let i = usize::from(phase);
        done[i].load(Relaxed) as f64 / lasted[i].as_secs_f64()
    };
    if rate(FREE) == 0.0 {
        return Err("the others got nothing done while nobody was stopped".into());
    }
    Ok(Sample::default().with("kept_share", rate(STOPPED) / rate(FREE)).with("free_per_s", rate(FREE)))
}

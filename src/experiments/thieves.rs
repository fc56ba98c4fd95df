//! An owner that pushes items and takes them back, and thieves that take what they can: four kinds of queue for it.
use std::{
    collections::VecDeque,
    hint::black_box,
    sync::{
        Arc, Barrier, Mutex, MutexGuard,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam::{deque as theirs, queue::SegQueue};

use crate::{
    lab::{Contender, Setting},
    machine::{allowed_cpus, pin_current_thread},
    measure::work,
    structures::lockfree::deque as ours,
};

/// So many workers, or an owner and its thieves, at most: more would be about the machine.
pub(super) const MOST: usize = 8;
/// Why there is no number on one CPU.
pub(super) const ONE_CPU: &str = "there is one CPU: no thief can run while the owner works";

/// What became of the items that an owner pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Robbed {
    /// Pushed.
    pub items_count: u64,
    /// Taken by the owner.
    pub own_count: u64,
    /// Taken by thieves.
    pub stolen_count: u64,
    /// The sum of all numbers pushed, minus the sum of all that were taken.
    pub missing: u64,
    /// From the first push to the last look.
    pub wall: Duration,
}

impl Robbed {
    /// That each item was taken once.
    ///
    /// # Errors
    /// In a sentence.
    pub fn whole(self) -> Result<Self, String> {
        let taken = self.own_count + self.stolen_count;
        match self {
            Self { items_count: 0, .. } => Err("nothing was pushed".into()),
            Self { items_count, missing: 0, .. } if items_count == taken => Ok(self),
            _ => Err(format!("{} items were pushed and {taken} taken, or others", self.items_count)),
        }
    }
}

/// An owner that pushes and takes, on the first CPU, and thieves on the others if there are to be any, for about so long.
pub type Rob = fn(&[usize], bool, Duration) -> Result<Robbed, String>;

type Item = Box<u64>;
type Locked = Arc<Mutex<VecDeque<Item>>>;
type Segments = Arc<SegQueue<Item>>;

/// The deque of `structures/lockfree`.
pub const DEQUE: Setting<Rob> = robbing(
    "deque",
    "our work-stealing deque",
    "",
    |c, t, time| rob(|| ours::deque(64), c, t, time),
    || check(DEQUE.value),
);
/// crossbeam's: `Worker::new_lifo`.
pub const CROSSBEAM: Setting<Rob> = robbing(
    "crossbeam_deque",
    "crossbeam-deque 0.8.8",
    "crossbeam",
    |cpus, thieves, time| rob(lifo, cpus, thieves, time),
    || check(CROSSBEAM.value),
);
/// A deque behind a mutex.
pub const MUTEX: Setting<Rob> = robbing(
    "mutex_deque",
    "VecDeque behind std's Mutex",
    "",
    |cpus, thieves, time| rob(twice::<Locked>, cpus, thieves, time),
    || check(MUTEX.value),
);
/// One queue, of which all take the oldest.
pub const SEGMENTS: Setting<Rob> = robbing(
    "seg_queue",
    "crossbeam SegQueue",
    "crossbeam",
    |cpus, thieves, time| rob(twice::<Segments>, cpus, thieves, time),
    || check(SEGMENTS.value),
);

const fn robbing(
    id: &'static str,
    name: &'static str,
    package: &'static str,
    value: Rob,
    check: crate::lab::Check,
) -> Setting<Rob> {
    Setting { is: Contender::new(id).called(name).of(package).checked(check), value }
}

fn check(rob: Rob) -> Result<(), String> {
    // With thieves as well, on one CPU too: there they steal when the owner loses it.
    let cpus = allowed_cpus();
    let place = [cpus[0], cpus[cpus.len() - 1]];
    [false, true]
        .into_iter()
        .try_for_each(|thieves| rob(&place, thieves, Duration::from_millis(1))?.whole().map(drop))
}

trait OwnEnd: Send + 'static {
    fn push(&mut self, item: Item);
    fn take(&mut self) -> Option<Item>;
}
trait FarEnd: Clone + Send + 'static {
    /// `None`: there is nothing, or somebody else was faster.
    fn steal(&self) -> Option<Item>;
}

impl OwnEnd for ours::Owner<u64> {
    fn push(&mut self, item: Item) {
        self.push(item).expect("there is room for a burst");
    }
    fn take(&mut self) -> Option<Item> {
        self.pop()
    }
}
impl FarEnd for ours::Stealer<u64> {
    fn steal(&self) -> Option<Item> {
        match self.steal() {
            ours::Steal::Item(item) => Some(item),
            ours::Steal::Empty | ours::Steal::Retry => None,
        }
    }
}
impl OwnEnd for theirs::Worker<Item> {
    fn push(&mut self, item: Item) {
        Self::push(self, item);
    }
    fn take(&mut self) -> Option<Item> {
        self.pop()
    }
}
impl FarEnd for theirs::Stealer<Item> {
    fn steal(&self) -> Option<Item> {
        self.steal().success()
    }
}
impl OwnEnd for Locked {
    fn push(&mut self, item: Item) {
        lock(self).push_back(item);
    }
    fn take(&mut self) -> Option<Item> {
        lock(self).pop_back()
    }
}
impl FarEnd for Locked {
    fn steal(&self) -> Option<Item> {
        lock(self).pop_front()
    }
}
impl OwnEnd for Segments {
    fn push(&mut self, item: Item) {
        SegQueue::push(self, item);
    }
    fn take(&mut self) -> Option<Item> {
        self.pop()
    }
}
impl FarEnd for Segments {
    fn steal(&self) -> Option<Item> {
        self.pop()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder panics")
}

fn lifo() -> (theirs::Worker<Item>, theirs::Stealer<Item>) {
    let worker = theirs::Worker::new_lifo();
    let stealer = worker.stealer();
    (worker, stealer)
}

fn twice<Q: Default + Clone>() -> (Q, Q) {
    let queue = Q::default();
    (queue.clone(), queue)
}

/// Items that the owner pushes before it takes them back.
const BURST: usize = 16;
/// Iterations of [`work::spin`] after each look of a thief, about a microsecond: what it stole would take time. Without it, rows whose thieves
/// are faster would give their owner more to do.
const PAUSE: u32 = 600;
/// Bursts between two looks at the clock.
const BETWEEN_LOOKS: u64 = 32;

/// The owner makes a new box only in place of one that was stolen; a thief drops its own.
fn rob<O: OwnEnd, F: FarEnd>(
    make: fn() -> (O, F),
    cpus: &[usize],
    thieves: bool,
    time: Duration,
) -> Result<Robbed, String> {
    if thieves && cpus.len() < 2 {
        return Err(ONE_CPU.into());
    }
    let (mut own, far) = make();
    let far_cpus = if thieves { &cpus[1..cpus.len().min(MOST)] } else { &[] };
    let (stop, meet) = (AtomicBool::new(false), Barrier::new(far_cpus.len() + 1));
    thread::scope(|scope| {
        let thief = |cpu: usize, far: F| {
            let (stop, meet) = (&stop, &meet);
            move || {
                pin_current_thread(cpu);
                meet.wait();
                let (mut count, mut sum) = (0, 0u64);
                // Relaxed: a sign, and it carries nothing; the counts come with the join.
                while !stop.load(Relaxed) {
                    if let Some(item) = far.steal() {
                        (count, sum) = (count + 1, sum.wrapping_add(*item));
                    }
                    work::spin(black_box(PAUSE));
                }
                (count, sum)
            }
        };
        let robbers: Vec<_> = far_cpus.iter().map(|cpu| scope.spawn(thief(*cpu, far.clone()))).collect();
        // A thread of its own, so that the caller stays unpinned.
        let owner = scope.spawn(|| {
            pin_current_thread(cpus[0]);
            let (mut seen, mut next, mut sum) = (Robbed::default(), 0, 0u64);
            let mut mine: Vec<Item> = (0..BURST).map(|_| Box::default()).collect();
            meet.wait();
            let began = Instant::now();
            while began.elapsed() < time {
                for _ in 0..BETWEEN_LOOKS {
                    for mut item in mine.drain(..) {
                        *item = next;
                        sum = sum.wrapping_add(next);
                        next += 1;
                        own.push(item);
                    }
                    while let Some(item) = own.take() {
                        sum = sum.wrapping_sub(*item);
                        mine.push(item);
                    }
                    seen.own_count += mine.len() as u64;
                    mine.resize_with(BURST, Box::default);
                }
            }
            seen.wall = began.elapsed();
            stop.store(true, Relaxed);
            (Robbed { items_count: next, ..seen }, sum)
        });
        let (mut seen, mut missing) = owner.join().map_err(|_| "the owner panicked")?;
        for robber in robbers {
            let (count, sum) = robber.join().map_err(|_| "a thief panicked")?;
            seen.stolen_count += count;
            missing = missing.wrapping_sub(sum);
        }
        Ok(Robbed { missing, ..seen })
    })
}

//! Work stealing on threads: who takes which end of whose queue. A tree of tasks on several workers, and a worker that blocks.
use std::{
    collections::VecDeque,
    hint::{self, black_box},
    sync::{
        Barrier, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam::utils::CachePadded;

use crate::{
    contenders::bag::Next::{self, Newest, Oldest},
    experiments::thieves::{MOST, ONE_CPU, lock},
    lab::{Contender, Setting},
    machine::{allowed_cpus, pin_current_thread},
    measure::work,
};

/// Who takes what: the owner of a queue, and the others; `None`: they leave it alone. Or all have one queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Takes {
    /// What a worker takes from its own queue.
    pub owner: Next,
    /// What it takes from another's.
    pub thief: Option<Next>,
    /// There is only one queue.
    pub one_queue: bool,
}

const fn policy(owner: Next, thief: Option<Next>, one_queue: bool) -> Takes {
    Takes { owner, thief, one_queue }
}

const fn ordering(id: &'static str, name: &'static str, value: Takes) -> Setting<Takes> {
    Setting { is: Contender::new(id).called(name).checked(check_tree), value }
}

/// The owner takes the newest or the oldest, and a thief the oldest or the newest; or all take the oldest from one queue. All queues are
/// the same: a VecDeque behind a mutex, so that only the ends differ.
pub const ORDERS: [Setting<Takes>; 4] = [
    ordering("newest_oldest", "owner newest, thief oldest", policy(Newest, Some(Oldest), false)),
    ordering("oldest_oldest", "owner oldest, thief oldest", policy(Oldest, Some(Oldest), false)),
    ordering("newest_newest", "owner newest, thief newest", policy(Newest, Some(Newest), false)),
    ordering("one_queue", "one queue for all, oldest first", policy(Oldest, None, true)),
];

/// What a task does.
#[derive(Clone, Copy, Debug)]
enum Task {
    /// Computes, and is two smaller tasks: as if for the Fibonacci number of `size`. The number names it.
    Split { size: u32, number: u64 },
    /// Computes for longer.
    Compute,
    /// Keeps its worker without computing.
    Block,
}

/// What a worker did, or all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worked {
    /// Tasks that ran.
    pub tasks_count: u64,
    /// The sum of their numbers.
    pub sum: u64,
    /// Those that came from another's queue.
    pub steals_count: u64,
    /// The most tasks in one queue.
    pub longest_count: usize,
    /// The longest time from the start until a computing task began.
    pub waited: Duration,
    /// From the start to the end.
    pub wall: Duration,
}

impl Worked {
    fn and(self, other: Self) -> Self {
        Self {
            tasks_count: self.tasks_count + other.tasks_count,
            sum: self.sum.wrapping_add(other.sum),
            steals_count: self.steals_count + other.steals_count,
            longest_count: self.longest_count.max(other.longest_count),
            waited: self.waited.max(other.waited),
            wall: self.wall.max(other.wall),
        }
    }
}

struct Workers {
    policy: Takes,
    queues: Vec<CachePadded<Mutex<VecDeque<Task>>>>,
    /// Tasks that have not ended. Relaxed: a count and nothing else; what the workers did comes with their join.
    left: CachePadded<AtomicUsize>,
}

/// Iterations of [`work::spin`] in a task of a tree: about half a microsecond.
const SMALL: u32 = 400;
/// And in a task that waits behind a blocked one: about 10 us.
const LARGE: u32 = 10_000;

impl Workers {
    fn own(&self, me: usize) -> usize {
        if self.policy.one_queue { 0 } else { me }
    }

    fn take(&self, queue: usize, next: Next) -> Option<Task> {
        let mut queue = lock(&self.queues[queue]);
        match next {
            Newest => queue.pop_back(),
            Oldest => queue.pop_front(),
        }
    }

    fn run(&self, me: usize, began: Instant) -> Worked {
        let mut ran = Worked::default();
        let count = self.queues.len();
        loop {
            let stolen = || {
                let others = (1..count).map(|i| (me + i) % count);
                self.policy.thief.and_then(|next| others.into_iter().find_map(|other| self.take(other, next)))
            };
            let (task, is_stolen) = match self.take(self.own(me), self.policy.owner) {
                Some(task) => (Some(task), 0),
                None => (stolen(), 1),
            };
            let Some(task) = task else {
                if self.left.load(Relaxed) == 0 {
                    return Worked { wall: began.elapsed(), ..ran };
                }
                (0..32).for_each(|_| hint::spin_loop());
                thread::yield_now();
                continue;
            };
            ran.steals_count += is_stolen;
            ran.tasks_count += 1;
            match task {
                Task::Split { size, number } => {
                    ran.sum = ran.sum.wrapping_add(number);
                    work::spin(black_box(SMALL));
                    if size >= 2 {
                        self.left.fetch_add(2, Relaxed);
                        let child = |less, k| Task::Split { size: size - less, number: 2 * number + k };
                        for task in [child(1, 1), child(2, 2)] {
                            let mut queue = lock(&self.queues[self.own(me)]);
                            queue.push_back(task);
                            ran.longest_count = ran.longest_count.max(queue.len());
                        }
                    }
                }
                Task::Compute => {
                    ran.waited = ran.waited.max(began.elapsed());
                    work::spin(black_box(LARGE));
                }
                Task::Block => thread::sleep(BLOCK),
            }
            self.left.fetch_sub(1, Relaxed);
        }
    }
}

/// Runs these tasks, all in the first worker's queue, with a worker for each of these CPUs.
fn work_on(policy: Takes, tasks: VecDeque<Task>, cpus: &[usize]) -> Result<Worked, String> {
    let left = CachePadded::new(AtomicUsize::new(tasks.len()));
    let queues = if policy.one_queue { 1 } else { cpus.len() };
    let mut queues: Vec<CachePadded<Mutex<VecDeque<Task>>>> =
        (0..queues).map(|_| CachePadded::default()).collect();
    *queues[0] = Mutex::new(tasks);
    let (workers, meet) = (Workers { policy, queues, left }, Barrier::new(cpus.len()));
    thread::scope(|scope| {
        let one = |me: usize, cpu: usize| {
            let (workers, meet) = (&workers, &meet);
            move || {
                pin_current_thread(cpu);
                meet.wait();
                workers.run(me, Instant::now())
            }
        };
        let all: Vec<_> = cpus.iter().enumerate().map(|(me, cpu)| scope.spawn(one(me, *cpu))).collect();
        all.into_iter().try_fold(Worked::default(), |sum, w| {
            w.join().map(|ran| sum.and(ran)).map_err(|_| "a worker panicked".to_string())
        })
    })
}

/// A tree of tasks, whose root stands for the Fibonacci number of `size`, on a worker for each CPU.
///
/// # Errors
/// In a sentence, also if a task did not run once.
pub fn tree(policy: Takes, size: u32, cpus: &[usize]) -> Result<Worked, String> {
    if policy.thief.is_some() && cpus.len() < 2 {
        return Err(ONE_CPU.into());
    }
    let root = Task::Split { size, number: 0 };
    once_each(size, work_on(policy, [root].into(), &cpus[..cpus.len().min(MOST)])?)
}

/// That each task of a tree of this size ran once.
///
/// # Errors
/// In a sentence.
pub fn once_each(size: u32, ran: Worked) -> Result<Worked, String> {
    fn count(size: u32, number: u64) -> (u64, u64) {
        if size < 2 {
            return (1, number);
        }
        let (a, b) = (count(size - 1, 2 * number + 1), count(size - 2, 2 * number + 2));
        (1 + a.0 + b.0, number.wrapping_add(a.1).wrapping_add(b.1))
    }
    let (tasks, sum) = count(size, 0);
    let right = (ran.tasks_count, ran.sum) == (tasks, sum);
    right.then_some(ran).ok_or_else(|| format!("of {tasks} tasks {} ran, or others", ran.tasks_count))
}

/// What every policy must show before it is timed. On one CPU two workers take turns.
fn check_tree() -> Result<(), String> {
    let cpus = allowed_cpus();
    let place = [cpus[0], cpus[cpus.len() - 1]];
    ORDERS.iter().try_for_each(|order| tree(order.value, 12, &place).map(drop))
}

/// How long a task blocks.
pub const BLOCK: Duration = Duration::from_millis(20);
/// Tasks that wait behind it, in its worker's queue.
pub const BEHIND: u64 = 100;

/// A policy, and whether every worker gets a task that blocks, instead of one worker.
pub type Blocking = Setting<(Takes, bool)>;

/// Without stealing, with it, with one queue, and with stealing while all workers block.
pub const BLOCKINGS: [Blocking; 4] = [
    blocking("no_stealing", "without stealing", policy(Newest, None, false), false),
    blocking("stealing", "with stealing", policy(Newest, Some(Oldest), false), false),
    blocking("one_queue", "one queue for all", policy(Oldest, None, true), false),
    blocking("all_block", "stealing, all workers block", policy(Newest, Some(Oldest), false), true),
];

const fn blocking(id: &'static str, name: &'static str, value: Takes, all: bool) -> Blocking {
    Setting { is: Contender::new(id).called(name), value: (value, all) }
}

/// The first worker has [`BEHIND`] computing tasks, and before them one that blocks. If all are to block, the others find theirs first.
/// There are two workers at least: one that sleeps needs no CPU.
///
/// # Errors
/// In a sentence, also if a task did not run once.
pub fn behind((policy, all): (Takes, bool), cpus: &[usize]) -> Result<Worked, String> {
    let place: Vec<usize> = cpus.iter().copied().cycle().take(cpus.len().clamp(2, MOST)).collect();
    let mut tasks: VecDeque<Task> = (0..BEHIND).map(|_| Task::Compute).collect();
    match policy.owner {
        Newest => tasks.push_back(Task::Block),
        Oldest => tasks.push_front(Task::Block),
    }
    if all {
        (1..place.len()).for_each(|_| tasks.push_front(Task::Block));
    }
    let wanted = tasks.len() as u64;
    let ran = work_on(policy, tasks, &place)?;
    (ran.tasks_count == wanted)
        .then_some(ran)
        .ok_or_else(|| format!("of {wanted} tasks {} ran", ran.tasks_count))
}

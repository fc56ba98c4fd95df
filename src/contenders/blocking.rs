//! Bounded queues for many threads at whose ends threads sleep while they can't go on; the check of each, and what passes through them.
use std::{
    collections::VecDeque,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam::{channel, utils::CachePadded};

use crate::{
    contenders::condvar::{Ours, ParkingLot, Signals, Std},
    lab::{Contender, plan::Plan, sample::Sample},
    machine::pin_current_thread,
    measure::{throughput::Apart, witness},
    structures::lock::semaphore::{Barging, Semaphore as _},
};

/// A bounded queue: who finds it full or empty waits.
pub trait Waits: Send + Sync + Sized + 'static {
    /// Who it is.
    const IS: Contender;
    /// Empty, with so many places.
    fn with_room(places: usize) -> Self;
    /// Puts a value in, once there is room.
    fn put(&self, value: u64);
    /// Takes the oldest value out, once there is one.
    fn take(&self) -> u64;
}

/// Two condition variables, for room and for items. Each operation notifies, whether somebody waits or not: std's documentation does it so.
struct Two<S: Signals> {
    queue: S::Mutex<VecDeque<u64>>,
    room: S::Condvar,
    items: S::Condvar,
    places: usize,
}

impl<S: Signals> Waits for Two<S> {
    const IS: Contender = S::IS;
    fn with_room(places: usize) -> Self {
        let queue = S::mutex(VecDeque::with_capacity(places));
        Self { queue, room: S::Condvar::default(), items: S::Condvar::default(), places }
    }
    fn put(&self, value: u64) {
        let mut queue = S::wait_while(&self.room, S::lock(&self.queue), |q| q.len() == self.places);
        queue.push_back(value);
        drop(queue);
        S::notify_one(&self.items);
    }
    fn take(&self) -> u64 {
        let mut queue = S::wait_while(&self.items, S::lock(&self.queue), |q| q.is_empty());
        let value = queue.pop_front();
        drop(queue);
        S::notify_one(&self.room);
        value.expect("the loop saw one, with the mutex held")
    }
}

/// As [`Two`], but who waits is counted behind the mutex, and nobody is notified where nobody waits.
struct Counted<S: Signals> {
    state: S::Mutex<Counts>,
    room: S::Condvar,
    items: S::Condvar,
    places: usize,
}

/// What the mutex of a [`Counted`] keeps.
struct Counts {
    queue: VecDeque<u64>,
    want_room: usize,
    want_items: usize,
}

impl<S: Signals> Waits for Counted<S> {
    const IS: Contender = S::IS;
    fn with_room(places: usize) -> Self {
        let queue = VecDeque::with_capacity(places);
        let state = S::mutex(Counts { queue, want_room: 0, want_items: 0 });
        Self { state, room: S::Condvar::default(), items: S::Condvar::default(), places }
    }
    fn put(&self, value: u64) {
        let mut state = S::lock(&self.state);
        while state.queue.len() == self.places {
            state.want_room += 1;
            state = S::wait(&self.room, state);
            state.want_room -= 1;
        }
        state.queue.push_back(value);
        let wanted = state.want_items > 0;
        drop(state);
        if wanted {
            S::notify_one(&self.items);
        }
    }
    fn take(&self) -> u64 {
        let mut state = S::lock(&self.state);
        let value = loop {
            if let Some(value) = state.queue.pop_front() {
                break value;
            }
            state.want_items += 1;
            state = S::wait(&self.items, state);
            state.want_items -= 1;
        };
        let wanted = state.want_room > 0;
        drop(state);
        if wanted {
            S::notify_one(&self.room);
        }
        value
    }
}

/// One condition variable for room and for items: it must notify all, since one notification might go to a thread that waits for the other.
/// What `lock`, `Monitor.Wait` and `PulseAll` do in C#, and `synchronized` in Java.
struct One<S: Signals> {
    queue: S::Mutex<VecDeque<u64>>,
    changed: S::Condvar,
    places: usize,
}

impl<S: Signals> Waits for One<S> {
    const IS: Contender = S::IS;
    fn with_room(places: usize) -> Self {
        Self { queue: S::mutex(VecDeque::with_capacity(places)), changed: S::Condvar::default(), places }
    }
    fn put(&self, value: u64) {
        let mut queue = S::wait_while(&self.changed, S::lock(&self.queue), |q| q.len() == self.places);
        queue.push_back(value);
        drop(queue);
        S::notify_all(&self.changed);
    }
    fn take(&self) -> u64 {
        let mut queue = S::wait_while(&self.changed, S::lock(&self.queue), |q| q.is_empty());
        let value = queue.pop_front();
        drop(queue);
        S::notify_all(&self.changed);
        value.expect("the loop saw one, with the mutex held")
    }
}

/// Two semaphores count room and items, and a mutex keeps the values.
struct Permits {
    queue: std::sync::Mutex<VecDeque<u64>>,
    room: Barging,
    items: Barging,
}

impl Waits for Permits {
    const IS: Contender = Contender::new("semaphores");
    fn with_room(places: usize) -> Self {
        let permits = u32::try_from(places).expect("a queue of some places");
        let queue = std::sync::Mutex::new(VecDeque::with_capacity(places));
        Self { queue, room: Barging::new(permits), items: Barging::new(0) }
    }
    fn put(&self, value: u64) {
        self.room.acquire_many(1).forget();
        self.queue.lock().expect("no holder panics").push_back(value);
        self.items.release(1);
    }
    fn take(&self) -> u64 {
        self.items.acquire_many(1).forget();
        let value = self.queue.lock().expect("no holder panics").pop_front();
        self.room.release(1);
        value.expect("the permit stands for one")
    }
}

/// crossbeam's bounded channel: the algorithm of its `ArrayQueue`, without a mutex around the values, and threads that park.
struct Crossbeam(channel::Sender<u64>, channel::Receiver<u64>);

impl Waits for Crossbeam {
    const IS: Contender = Contender::new("crossbeam_channel").of("crossbeam");
    fn with_room(places: usize) -> Self {
        let (tx, rx) = channel::bounded(places);
        Self(tx, rx)
    }
    fn put(&self, value: u64) {
        self.0.send(value).expect("the other end is here");
    }
    fn take(&self) -> u64 {
        self.1.recv().expect("the other end is here")
    }
}

/// flume's bounded channel: a deque behind a mutex, with a list of those who wait.
struct Flume(flume::Sender<u64>, flume::Receiver<u64>);

impl Waits for Flume {
    const IS: Contender = Contender::new("flume").of("flume");
    fn with_room(places: usize) -> Self {
        let (tx, rx) = flume::bounded(places);
        Self(tx, rx)
    }
    fn put(&self, value: u64) {
        self.0.send(value).expect("the other end is here");
    }
    fn take(&self) -> u64 {
        self.1.recv().expect("the other end is here")
    }
}

/// A bounded queue as a contender.
#[derive(Clone, Copy, Debug)]
pub struct Blocking {
    is: Contender,
    passes: fn(&Plan, usize, usize) -> Result<Sample, String>,
}

/// A bounded queue as a contender, under this id and name.
pub const fn blocking<Q: Waits>(id: &'static str, name: &'static str) -> Blocking {
    Blocking { is: Q::IS.as_case(id).called(name).checked(check::<Q>), passes: passes::<Q> }
}

impl AsRef<Contender> for Blocking {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Blocking {
    /// So many threads put into a queue of 16 places and so many take out, for the length of the plan's slice. Values: `ops_per_s`, values
    /// that went through; `min_max_share` of the takers; `switches_per_op_count` where the system counts them.
    ///
    /// # Errors
    /// Nothing went through, or not all that went in came out.
    pub fn passes(&self, plan: &Plan, putters: usize, takers: usize) -> Result<Sample, String> {
        (self.passes)(plan, putters, takers)
    }
}

/// All of them; the first is the baseline.
pub static QUEUES: [Blocking; 9] = [
    blocking::<Two<Std>>("two_std", "two condition variables, std"),
    blocking::<Counted<Std>>("counted_std", "the same, notified only if somebody waits"),
    blocking::<One<Std>>("one_std", "one condition variable and notify_all, std"),
    blocking::<Two<ParkingLot>>("two_pl013", "two condition variables, parking_lot 0.13"),
    blocking::<Two<Ours>>("two_ours", "two condition variables, ours"),
    blocking::<Counted<Ours>>("counted_ours", "ours, notified only if somebody waits"),
    blocking::<Permits>("semaphores", "two semaphores (ours) and a mutex"),
    blocking::<Crossbeam>("crossbeam_channel", "crossbeam's bounded channel"),
    blocking::<Flume>("flume", "flume's bounded channel"),
];

/// Tells a taker that it is over.
const STOP: u64 = u64::MAX;

fn passes<Q: Waits>(plan: &Plan, putters: usize, takers: usize) -> Result<Sample, String> {
    let queue = Apart(Q::with_room(16));
    let (over, ready) = (AtomicBool::new(false), AtomicUsize::new(0));
    let done: Vec<CachePadded<AtomicU64>> = (0..takers).map(|_| CachePadded::default()).collect();
    let ids = std::sync::Mutex::new(Vec::new());
    let lane = |i: usize| {
        pin_current_thread(plan.cpus[i % plan.cpus.len()]);
        ids.lock().expect("nobody panics with it").push(witness::this_thread());
        ready.fetch_add(1, Relaxed);
    };
    let (lane, over, queue, done) = (&lane, &over, &queue.0, &done);
    thread::scope(|scope| {
        let putting: Vec<_> = (0..putters)
            .map(|i| {
                scope.spawn(move || {
                    lane(i);
                    let mut next = 0;
                    while !over.load(Relaxed) {
                        queue.put(next);
                        next += 1;
                    }
                    next
                })
            })
            .collect();
        let taking: Vec<_> = done
            .iter()
            .enumerate()
            .map(|(i, done)| {
                scope.spawn(move || {
                    lane(putters + i);
                    let mut taken = 0;
                    while black_box(queue.take()) != STOP {
                        taken += 1;
                        done.store(taken, Relaxed);
                    }
                    taken
                })
            })
            .collect();
        while ready.load(Relaxed) < putters + takers {
            thread::sleep(Duration::from_micros(50));
        }
        let counts = || -> Vec<u64> { done.iter().map(|d| d.load(Relaxed)).collect() };
        let ids = ids.lock().expect("nobody panics with it").clone();
        let switches = || -> Option<u64> { ids.iter().map(|id| witness::switches(*id)).sum() };
        let before = switches();
        let (start, from) = (Instant::now(), counts());
        thread::sleep(plan.slice);
        let (wall, to) = (start.elapsed(), counts());
        let after = switches();
        // Those who put end by themselves, since the others go on taking; then each of these is told.
        over.store(true, Relaxed);
        let put: u64 = putting.into_iter().map(|p| p.join().expect("a lane does not panic")).sum();
        (0..takers).for_each(|_| queue.put(STOP));
        let taken: u64 = taking.into_iter().map(|t| t.join().expect("a lane does not panic")).sum();
        if put != taken {
            return Err(format!("{put} values went in and {taken} came out"));
        }
        let got: Vec<u64> = from.iter().zip(&to).map(|(a, b)| b - a).collect();
        let all = got.iter().sum::<u64>() as f64;
        if all <= 0.0 {
            return Err("nothing went through in the time".into());
        }
        let (min, max) = (got.iter().min().copied(), got.iter().max().copied());
        let mut sample = Sample::default()
            .with("ops_per_s", all / wall.as_secs_f64())
            .with("min_max_share", min.unwrap_or(0) as f64 / max.unwrap_or(1).max(1) as f64);
        if let (Some(before), Some(after)) = (before, after) {
            sample = sample.with("switches_per_op_count", after.saturating_sub(before) as f64 / all);
        }
        sample.receipts.ops_count = Some(all);
        Ok(sample)
    })
}

/// What a queue must show before it is timed: it holds what it says and no more, in order, and several threads at both ends lose nothing
/// and get nothing twice.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<Q: Waits>() -> Result<(), String> {
    const PLACES: u64 = 4;
    const EACH: u64 = 500;
    const ENDS: u64 = 2;
    /// Far longer than all of it takes; the threads of a broken one stay behind, asleep.
    const PATIENCE: Duration = Duration::from_secs(2);
    let id = Q::IS.id;
    let queue = Arc::new(Q::with_room(4));
    let (put, counted) = (Arc::clone(&queue), Arc::new(AtomicU64::new(0)));
    let count = Arc::clone(&counted);
    thread::spawn(move || {
        for value in 0..2 * PLACES {
            put.put(value);
            count.fetch_add(1, Relaxed);
        }
    });
    let until = Instant::now() + PATIENCE;
    while counted.load(Relaxed) < PLACES && Instant::now() < until {
        thread::yield_now();
    }
    thread::sleep(Duration::from_millis(2));
    let held = counted.load(Relaxed);
    if held != PLACES {
        return Err(format!("{id}: made for {PLACES} values, it holds {held}"));
    }
    let (tell, told) = mpsc::channel();
    let take = Arc::clone(&queue);
    let taking = tell.clone();
    thread::spawn(move || {
        for _ in 0..2 * PLACES {
            let _ = taking.send(take.take());
        }
    });
    for want in 0..2 * PLACES {
        match told.recv_timeout(PATIENCE) {
            Ok(got) if got == want => {}
            Ok(got) => return Err(format!("{id}: {got} came out where {want} was next")),
            Err(_) => return Err(format!("{id}: {want} never came out")),
        }
    }
    for end in 0..ENDS {
        let (put, take, tell) = (Arc::clone(&queue), Arc::clone(&queue), tell.clone());
        thread::spawn(move || (0..EACH).for_each(|i| put.put(end * EACH + i)));
        thread::spawn(move || {
            for _ in 0..EACH {
                let _ = tell.send(take.take());
            }
        });
    }
    let mut got = Vec::new();
    for _ in 0..ENDS * EACH {
        match told.recv_timeout(PATIENCE) {
            Ok(value) => got.push(value),
            Err(_) => {
                return Err(format!(
                    "{id}: with {ENDS} threads at each end, {} of {} came out",
                    got.len(),
                    ENDS * EACH
                ));
            }
        }
    }
    got.sort_unstable();
    if got.iter().copied().eq(0..ENDS * EACH) {
        Ok(())
    } else {
        Err(format!("{id}: with {ENDS} threads at each end, other values came out than went in"))
    }
}

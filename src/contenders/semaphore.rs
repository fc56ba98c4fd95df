//! Semaphores under one trait, the check of each adapter, and what is asked of them: hand-overs, a bounded buffer, and who is
//! served before whom.
use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use crossbeam::utils::CachePadded;
use hdrhistogram::Histogram;

use crate::{
    lab::{Contender, plan::Plan, sample::Sample},
    machine::pin_current_thread,
    measure::{
        cost::{Ops, Solo},
        throughput::Apart,
        witness,
    },
    stats,
    structures::lock::semaphore::{Barging, Fifo, Semaphore as _},
};

/// Permits that are taken and given without guards, so that one thread may give what another took.
pub trait Permitted: Send + Sync + Sized + 'static {
    /// Who it is.
    const IS: Contender;
    /// Whether it serves in order of arrival.
    const ORDERED: bool;
    /// With so many permits.
    fn with(permits: u32) -> Self;
    /// Takes so many, waiting until they are there.
    fn take(&self, count: u32);
    /// Takes so many if they are there.
    fn try_take(&self, count: u32) -> bool;
    /// Gives so many.
    fn give(&self, count: u32);
    /// To be had at this moment.
    fn free(&self) -> u32;
}

impl Permitted for Fifo {
    const IS: Contender = Contender::new("fifo").called("our Fifo semaphore");
    const ORDERED: bool = true;
    fn with(permits: u32) -> Self {
        Self::new(permits)
    }
    fn take(&self, count: u32) {
        self.acquire_many(count).forget();
    }
    fn try_take(&self, count: u32) -> bool {
        self.try_acquire_many(count).map(|permits| permits.forget()).is_some()
    }
    fn give(&self, count: u32) {
        self.release(count);
    }
    fn free(&self) -> u32 {
        self.available()
    }
}

impl Permitted for Barging {
    const IS: Contender = Contender::new("barging").called("our Barging semaphore");
    const ORDERED: bool = false;
    fn with(permits: u32) -> Self {
        Self::new(permits)
    }
    fn take(&self, count: u32) {
        self.acquire_many(count).forget();
    }
    fn try_take(&self, count: u32) -> bool {
        self.try_acquire_many(count).map(|permits| permits.forget()).is_some()
    }
    fn give(&self, count: u32) {
        self.release(count);
    }
    fn free(&self) -> u32 {
        self.available()
    }
}

/// Taken by plain threads, which park while they wait: the queue and its costs are tokio's, the sleep is std's.
impl Permitted for tokio::sync::Semaphore {
    const IS: Contender = Contender::new("tokio").called("tokio Semaphore, by threads").of("tokio");
    const ORDERED: bool = true;
    fn with(permits: u32) -> Self {
        Self::new(permits as usize)
    }
    fn take(&self, count: u32) {
        if !self.try_take(count) {
            block_on(self.acquire_many(count)).expect("nobody closes it").forget();
        }
    }
    fn try_take(&self, count: u32) -> bool {
        self.try_acquire_many(count).map(|permits| permits.forget()).is_ok()
    }
    fn give(&self, count: u32) {
        self.add_permits(count as usize);
    }
    fn free(&self) -> u32 {
        u32::try_from(self.available_permits()).unwrap_or(u32::MAX)
    }
}

/// Runs a future on this thread, which parks while it is pending.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let (mut future, mut context) = (pin!(future), Context::from_waker(&waker));
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(), // may return early, or at once: then it is polled once more
        }
    }
}

/// A semaphore as a contender: its name, and everything that a lab can ask of it.
#[derive(Clone, Copy, Debug)]
pub struct Semaphore {
    is: Contender,
    posts: fn() -> Ops,
    pairs: fn() -> Ops,
    refusals: fn() -> Ops,
    handover: fn(&Plan, &str, asleep: bool) -> Sample,
    buffer: fn(&Plan, &str, producers: usize, waiters: usize) -> Sample,
    head_of_line: fn(&str) -> Sample,
    starved: fn(&Plan, &str) -> Sample,
}

/// `structures::lock::semaphore::Barging`.
pub static BARGING: Semaphore = semaphore::<Barging>();
/// `structures::lock::semaphore::Fifo`.
pub static FIFO: Semaphore = semaphore::<Fifo>();
/// `tokio::sync::Semaphore`.
pub static TOKIO: Semaphore = semaphore::<tokio::sync::Semaphore>();

/// A semaphore as a contender.
pub const fn semaphore<S: Permitted>() -> Semaphore {
    // What was given is taken back at once in the end, for the count must not run over: one operation in a million.
    fn posts<S: Permitted>() -> Ops {
        const MOST: u64 = 1 << 20;
        let s = Box::new(Apart(S::with(0)));
        Box::new(move |n| {
            let mut left = n;
            while left > 0 {
                let now = left.min(MOST);
                (0..now).for_each(|_| s.0.give(1));
                assert!(s.0.try_take(u32::try_from(now).unwrap_or(0)), "what was given is there");
                left -= now;
            }
        })
    }
    fn pairs<S: Permitted>() -> Ops {
        let s = Box::new(Apart(S::with(1)));
        Box::new(move |n| {
            for _ in 0..n {
                s.0.take(1);
                s.0.give(1);
            }
        })
    }
    fn refusals<S: Permitted>() -> Ops {
        let s = Box::new(Apart(S::with(0)));
        Box::new(move |n| {
            for _ in 0..n {
                std::hint::black_box(s.0.try_take(1));
            }
        })
    }
    Semaphore {
        is: S::IS.checked(check::<S>),
        posts: posts::<S>,
        pairs: pairs::<S>,
        refusals: refusals::<S>,
        handover: handover::<S>,
        buffer: buffer::<S>,
        head_of_line: head_of_line::<S>,
        starved: starved::<S>,
    }
}

impl AsRef<Contender> for Semaphore {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Semaphore {
    /// Giving a permit that nobody waits for.
    pub fn posts(&self) -> Solo {
        Solo::new(self.is.id, self.posts)
    }
    /// Taking a permit that is there, and giving it back.
    pub fn pairs(&self) -> Solo {
        Solo::new(self.is.id, self.pairs)
    }
    /// Trying to take a permit that is not there.
    pub fn refusals(&self) -> Solo {
        Solo::new(self.is.id, self.refusals)
    }
    /// Two threads that hand a permit to and fro without a pause: half a round trip. Or one way, to a thread that has gone to sleep.
    /// Values: `handover_p50_ns`, and `handover_p99_ns` where enough samples support it.
    pub fn handover(&self, plan: &Plan, param: &str, asleep: bool) -> Sample {
        (self.handover)(plan, param, asleep)
    }
    /// A bounded buffer of 16 places, kept by two semaphores, with so many producers and waiters. Values: `ops_per_s`, items that went
    /// through; `min_max_share` of the waiters; `switches_per_op_count` where the system counts them.
    pub fn buffer(&self, plan: &Plan, param: &str, producers: usize, waiters: usize) -> Sample {
        (self.buffer)(plan, param, producers, waiters)
    }
    /// Eight permits, four of them held. Somebody asks for all eight and waits; then a hundred requests for one permit come, one after the
    /// other. Value: `small_served_share`, those of them that were served before the large one.
    pub fn head_of_line(&self, param: &str) -> Sample {
        (self.head_of_line)(param)
    }
    /// Eight threads that each take one of eight permits, hold it for 1 ms and take one again; and somebody who asks for all eight, four
    /// times. Values: `large_served_share`, how often it got them within 50 ms; `overtaken_count`, requests for one permit that were served
    /// while it waited, on average.
    pub fn starved(&self, plan: &Plan, param: &str) -> Sample {
        (self.starved)(plan, param)
    }
}

/// What an adapter must show before it is timed: never more inside than permits, a refusal where there are too few, a waiting thread
/// is woken, nothing is lost.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<S: Permitted>() -> Result<(), String> {
    const PERMITS: u32 = 2;
    let (s, inside, most) = (S::with(PERMITS), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..500 {
                    s.take(1);
                    most.fetch_max(inside.fetch_add(1, Relaxed) + 1, Relaxed);
                    thread::yield_now();
                    inside.fetch_sub(1, Relaxed);
                    s.give(1);
                }
            });
        }
    });
    let (most, free) = (most.load(Relaxed), s.free());
    if most > u64::from(PERMITS) || free != PERMITS {
        return Err(format!(
            "{}: {most} were inside with {PERMITS} permits; {free} are there at the end",
            S::IS.id
        ));
    }
    if s.try_take(PERMITS + 1) || !s.try_take(PERMITS) || s.try_take(1) {
        return Err(format!("{}: a try takes more than there is, or less", S::IS.id));
    }
    let woken = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            s.take(2);
            woken.store(true, Relaxed);
        });
        thread::sleep(Duration::from_millis(2));
        let early = woken.load(Relaxed);
        s.give(1);
        s.give(1);
        if early { Err(format!("{}: two permits were taken that were not there", S::IS.id)) } else { Ok(()) }
    })
}

fn handover<S: Permitted>(plan: &Plan, param: &str, asleep: bool) -> Sample {
    let (there, back) = (Apart(S::with(0)), Apart(S::with(0)));
    let (over, sent, got) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let epoch = Instant::now();
    let now = || u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let mut times = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3).expect("bounds are in order");
    let id = std::sync::OnceLock::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            pin_current_thread(plan.cpus[1 % plan.cpus.len()]);
            id.get_or_init(witness::this_thread);
            loop {
                there.0.take(1);
                got.store(now().saturating_sub(sent.load(Relaxed)), Relaxed);
                if over.load(Relaxed) {
                    return;
                }
                back.0.give(1);
            }
        });
        let one = scope.spawn(|| {
            pin_current_thread(plan.cpus[0]);
            while epoch.elapsed() < plan.slice {
                if asleep {
                    doze(&id);
                }
                let start = now();
                sent.store(start, Relaxed);
                there.0.give(1);
                back.0.take(1);
                let took = if asleep { got.load(Relaxed) } else { (now() - start) / 2 };
                times.saturating_record(took.max(1));
            }
        });
        one.join().expect("nobody panics");
        over.store(true, Relaxed);
        there.0.give(1);
    });
    let mut sample = Sample::new(S::IS.id, param);
    let supported = stats::highest_percentile(times.len()).unwrap_or(0.0);
    for (name, percentile) in [("handover_p50_ns", 50.0), ("handover_p99_ns", 99.0)] {
        if percentile <= supported {
            sample = sample.with(name, times.value_at_percentile(percentile) as f64);
        }
    }
    if sample.values.is_empty() {
        return Sample::unmeasured(S::IS.id, param, format!("only {} hand-overs in the time", times.len()));
    }
    sample.receipts.kept_count = Some(times.len() as f64);
    sample
}

/// Waits until that thread sleeps; where the system does not tell, long enough for it.
fn doze(id: &std::sync::OnceLock<witness::ThreadId>) {
    let until = Instant::now() + Duration::from_millis(2);
    while Instant::now() < until {
        match id.get().map(|id| witness::sleeps(*id)) {
            Some(Some(true)) => return,
            Some(None) => return thread::sleep(Duration::from_micros(300)),
            _ => thread::sleep(Duration::from_micros(50)),
        }
    }
}

fn buffer<S: Permitted>(plan: &Plan, param: &str, producers: usize, waiters: usize) -> Sample {
    let (items, places) = (Apart(S::with(0)), Apart(S::with(16)));
    let (over, ready) = (AtomicBool::new(false), AtomicUsize::new(0));
    let done: Vec<CachePadded<AtomicU64>> = (0..waiters).map(|_| CachePadded::default()).collect();
    let ids = std::sync::Mutex::new(Vec::new());
    let lane = |i: usize| {
        pin_current_thread(plan.cpus[i % plan.cpus.len()]);
        ids.lock().expect("nobody panics with it").push(witness::this_thread());
        ready.fetch_add(1, Relaxed);
    };
    let (lane, over, items, places, done) = (&lane, &over, &items.0, &places.0, &done);
    thread::scope(|scope| {
        for i in 0..producers {
            scope.spawn(move || {
                lane(i);
                loop {
                    places.take(1);
                    if over.load(Relaxed) {
                        return;
                    }
                    items.give(1);
                }
            });
        }
        for (i, done) in done.iter().enumerate() {
            scope.spawn(move || {
                lane(producers + i);
                loop {
                    items.take(1);
                    if over.load(Relaxed) {
                        return;
                    }
                    places.give(1);
                    done.fetch_add(1, Relaxed);
                }
            });
        }
        while ready.load(Relaxed) < producers + waiters {
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
        // After this each thread takes at most once more.
        over.store(true, Relaxed);
        places.give(u32::try_from(producers).unwrap_or(u32::MAX));
        items.give(u32::try_from(waiters).unwrap_or(u32::MAX));
        let got: Vec<u64> = from.iter().zip(&to).map(|(a, b)| b - a).collect();
        let all = got.iter().sum::<u64>() as f64;
        if all <= 0.0 {
            return Sample::unmeasured(S::IS.id, param, "nothing went through in the time");
        }
        let (min, max) = (got.iter().min().copied(), got.iter().max().copied());
        let mut sample = Sample::new(S::IS.id, param)
            .with("ops_per_s", all / wall.as_secs_f64())
            .with("min_max_share", min.unwrap_or(0) as f64 / max.unwrap_or(1).max(1) as f64);
        if let (Some(before), Some(after)) = (before, after) {
            sample = sample.with("switches_per_op_count", after.saturating_sub(before) as f64 / all);
        }
        sample.receipts.ops_count = Some(all);
        sample
    })
}

fn head_of_line<S: Permitted>(param: &str) -> Sample {
    const SMALL: u64 = 100;
    const CLIENTS: usize = 8;
    /// Far longer than a permit that may be taken takes.
    const PATIENCE: Duration = Duration::from_secs(10);
    let s = S::with(8);
    s.take(4);
    let (drawn, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let (served, asked, ended) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let wait_for = |what: &dyn Fn() -> bool, at_most: Duration| {
        let until = Instant::now() + at_most;
        while !what() && Instant::now() < until {
            thread::sleep(Duration::from_micros(100));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            s.take(8);
            s.give(8);
        });
        // In line, the large request takes what is free towards its eight; otherwise it takes nothing, and there is nothing to see.
        wait_for(&|| s.free() == 0, if S::ORDERED { PATIENCE } else { Duration::from_millis(5) });
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                asked.fetch_add(1, Relaxed);
                while drawn.fetch_add(1, Relaxed) < SMALL {
                    s.take(1);
                    if over.load(Relaxed) {
                        s.give(1);
                        break;
                    }
                    served.fetch_add(1, Relaxed);
                    s.give(1);
                }
                ended.fetch_add(1, Relaxed);
            });
        }
        wait_for(&|| asked.load(Relaxed) == CLIENTS, PATIENCE);
        let enough = if S::ORDERED { Duration::from_millis(20) } else { PATIENCE };
        wait_for(&|| ended.load(Relaxed) == CLIENTS, enough);
        over.store(true, Relaxed);
        s.give(4);
    });
    Sample::new(S::IS.id, param).with("small_served_share", served.load(Relaxed) as f64 / SMALL as f64)
}

fn starved<S: Permitted>(plan: &Plan, param: &str) -> Sample {
    let (trials, at_most) =
        if plan.is_smoke() { (1, Duration::from_millis(10)) } else { (4, Duration::from_millis(50)) };
    let (mut got_it, mut overtaken) = (0, 0);
    for _ in 0..trials {
        let (s, over, inside) = (S::with(8), AtomicBool::new(false), AtomicBool::new(false));
        // Requests for one permit that were served; how many when the large one asked, and when it was over.
        let (taken, at_ask, at_end) = (AtomicU64::new(0), AtomicU64::new(u64::MAX), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while !over.load(Relaxed) {
                        s.take(1);
                        taken.fetch_add(1, Relaxed);
                        thread::sleep(Duration::from_millis(1));
                        s.give(1);
                    }
                });
            }
            // Everybody has had a turn or so.
            while taken.load(Relaxed) < 16 {
                thread::sleep(Duration::from_micros(100));
            }
            scope.spawn(|| {
                at_ask.store(taken.load(Relaxed), Relaxed);
                s.take(8);
                inside.store(!over.load(Relaxed), Relaxed);
                at_end.store(taken.load(Relaxed), Relaxed);
                s.give(8);
            });
            // Nobody is late because the system started it late.
            while at_ask.load(Relaxed) == u64::MAX {
                thread::sleep(Duration::from_micros(100));
            }
            let until = Instant::now() + at_most;
            while !inside.load(Relaxed) && Instant::now() < until {
                thread::sleep(Duration::from_micros(100));
            }
            over.store(true, Relaxed);
        });
        got_it += u32::from(inside.load(Relaxed));
        overtaken += at_end.load(Relaxed).saturating_sub(at_ask.load(Relaxed));
    }
    Sample::new(S::IS.id, param)
        .share("large_served_share", f64::from(got_it), f64::from(trials))
        .with("overtaken_count", overtaken as f64 / f64::from(trials))
}

//! What a condition variable does to the threads that wait at it: wake-ups for nothing, the way from a notification to running, and what is
//! missing where there is no loop around the wait or no mutex around the change.
use std::{
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::*},
    },
    thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    contenders::condvar::{Ours, ParkingLot, Signals, Std, check},
    lab::{Contender, plan::Plan, sample::Sample},
    machine::pin_current_thread,
    measure::{
        latency::{histogram, ns},
        order::Order,
        throughput::Apart,
        witness::{self, ThreadId},
    },
};

/// A condition variable as a contender, and everything that a lab can ask of it.
#[derive(Clone, Copy, Debug)]
pub struct Condition {
    /// Who it is.
    pub is: Contender,
    herd: fn(&Plan, usize, Notify) -> Result<Sample, String>,
    handed: fn(&Plan, Moment) -> Result<Sample, String>,
    emptied: fn(&Plan, bool, Why) -> Result<Sample, String>,
    missed: fn(&Plan, bool, Duration) -> Result<Sample, String>,
}

/// A condition variable as a contender.
pub const fn condition<S: Signals>() -> Condition {
    Condition {
        is: S::IS.checked(check::<S>),
        herd: herd::<S>,
        handed: handed::<S>,
        emptied: emptied::<S>,
        missed: missed::<S>,
    }
}

/// std's.
pub static STD: Condition = condition::<Std>();
/// parking_lot's.
pub static PL013: Condition = condition::<ParkingLot>();
/// Ours.
pub static OURS: Condition = condition::<Ours>();

impl AsRef<Contender> for Condition {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

/// Whom a notification wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// `notify_one`.
    One,
    /// `notify_all`.
    All,
}

/// When the notification comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// With the mutex held, or after it was let go.
    pub under: bool,
    /// How long the mutex is held after the change: after the notification as well, where that comes under the mutex.
    pub held: Duration,
}

/// Why a wait may end with nothing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Somebody else has taken what the notification was about.
    Stolen,
    /// For no reason: nobody notifies.
    Quiet,
}

impl Condition {
    /// So many threads wait for items, and every 200 us or so one comes. Values: `wasted_per_op_count`, wake-ups for each item that found
    /// nothing; `switches_per_op_count`, context switches of the waiting threads for each item, where the system counts them.
    ///
    /// # Errors
    /// Not every item was taken.
    pub fn herd(&self, plan: &Plan, waiters: usize, notify: Notify) -> Result<Sample, String> {
        (self.herd)(plan, waiters, notify)
    }
    /// A thread that sleeps on one CPU is notified from another one. Values: `handover_p50_ns`, from the change until it runs with the mutex
    /// held; `switches_per_op_count`, its context switches for each notification, where the system counts them.
    ///
    /// # Errors
    /// There is one CPU, or too few hand-overs came about.
    pub fn handed(&self, plan: &Plan, moment: Moment) -> Result<Sample, String> {
        (self.handed)(plan, moment)
    }
    /// A consumer that waits once (`if`) or as long as there is nothing (`while`), over and over. Value: `empty_share`, how often it then went
    /// to a queue with nothing in it.
    ///
    /// # Errors
    /// It never waited.
    pub fn emptied(&self, plan: &Plan, looped: bool, why: Why) -> Result<Sample, String> {
        (self.emptied)(plan, looped, why)
    }
    /// A thread looks at a flag under the mutex, and then waits; between the two it needs so long. Another one sets the flag and notifies, with
    /// or without the mutex. Value: `lost_share`, how often the wait went on although the flag was set and the notification sent.
    ///
    /// # Errors
    /// There is one CPU, or the system does not tell whether a thread sleeps.
    pub fn missed(&self, plan: &Plan, mutex: bool, pause: Duration) -> Result<Sample, String> {
        (self.missed)(plan, mutex, pause)
    }
}

/// What the mutex of a herd keeps.
#[derive(Debug, Default)]
struct Shop {
    asleep: usize,
    items: u64,
    taken: u64,
    wasted: u64,
    over: bool,
}

/// Between two items: all who were woken are back by then, where there are as many as in the lab.
const GAP: Duration = Duration::from_micros(200);
/// Far longer than the last items take.
const PATIENCE: Duration = Duration::from_secs(5);

fn herd<S: Signals>(plan: &Plan, waiters: usize, notify: Notify) -> Result<Sample, String> {
    let (shop, arrived) = (S::mutex(Shop::default()), S::Condvar::default());
    let ids = std::sync::Mutex::new(Vec::new());
    let wake = || match notify {
        Notify::One => S::notify_one(&arrived),
        Notify::All => S::notify_all(&arrived),
    };
    let waiter = |i: usize| {
        pin_current_thread(plan.cpus[i % plan.cpus.len()]);
        ids.lock().expect("nobody panics with it").push(witness::this_thread());
        let mut shop = S::lock(&shop);
        while !shop.over {
            if shop.items > 0 {
                shop.items -= 1;
                shop.taken += 1;
                continue;
            }
            shop.asleep += 1;
            shop = S::wait(&arrived, shop);
            shop.asleep -= 1;
            shop.wasted += u64::from(shop.items == 0 && !shop.over);
        }
    };
    let waiter = &waiter;
    thread::scope(|scope| {
        for i in 0..waiters {
            scope.spawn(move || waiter(i));
        }
        while S::lock(&shop).asleep < waiters {
            thread::sleep(GAP);
        }
        let ids = ids.lock().expect("nobody panics with it").clone();
        let switches = || -> Option<u64> { ids.iter().map(|id| witness::switches(*id)).sum() };
        let before = switches();
        let start = Instant::now();
        let mut put = 0;
        while put == 0 || start.elapsed() < plan.slice {
            S::lock(&shop).items += 1;
            wake();
            put += 1;
            thread::sleep(GAP);
        }
        let end = Instant::now();
        let (taken, wasted) = loop {
            let seen = S::lock(&shop);
            if seen.taken == put && seen.asleep == waiters || end.elapsed() > PATIENCE {
                break (seen.taken, seen.wasted);
            }
            drop(seen);
            thread::sleep(GAP);
        };
        let after = switches();
        S::lock(&shop).over = true;
        S::notify_all(&arrived);
        if taken != put {
            return Err(format!("{put} items came and {taken} were taken"));
        }
        let each = |n: u64| n as f64 / put as f64;
        let mut sample = Sample::default().with("wasted_per_op_count", each(wasted));
        if let (Some(before), Some(after)) = (before, after) {
            sample = sample.with("switches_per_op_count", each(after.saturating_sub(before)));
        }
        sample.receipts.ops_count = Some(put as f64);
        Ok(sample)
    })
}

/// Fewer hand-overs than this have no median to speak of.
const ENOUGH: u64 = 20;

fn handed<S: Signals>(plan: &Plan, moment: Moment) -> Result<Sample, String> {
    let [here, there, ..] = plan.cpus[..] else { return Err("a hand-over needs two CPUs".into()) };
    /// What the mutex keeps: when the change was made, until it has been seen.
    #[derive(Default)]
    struct Ball {
        sent: Option<Instant>,
        over: bool,
    }
    let (ball, at) = (S::mutex(Ball::default()), S::Condvar::default());
    let took = Apart(AtomicU64::new(0));
    let id = OnceLock::new();
    thread::scope(|scope| {
        scope.spawn(|| {
            pin_current_thread(there);
            id.get_or_init(witness::this_thread);
            loop {
                let mut ball = S::wait_while(&at, S::lock(&ball), |b| b.sent.is_none() && !b.over);
                let Some(sent) = ball.sent.take() else { return };
                took.0.store(ns(sent.elapsed()).max(1), Relaxed);
            }
        });
        let lead = scope.spawn(|| {
            pin_current_thread(here);
            let switches = || id.get().and_then(|id| witness::switches(*id));
            let mut times = histogram();
            doze(&id);
            let (start, before) = (Instant::now(), switches());
            while start.elapsed() < plan.slice {
                let mut held = S::lock(&ball);
                let sent = Instant::now();
                held.sent = Some(sent);
                if moment.under {
                    S::notify_one(&at);
                }
                while sent.elapsed() < moment.held {
                    std::hint::spin_loop();
                }
                drop(held);
                if !moment.under {
                    S::notify_one(&at);
                }
                // Whoever is awake by then has been for a while, and asleep again soon.
                let until = Instant::now() + PATIENCE;
                while took.0.load(Relaxed) == 0 && Instant::now() < until {
                    thread::sleep(Duration::from_micros(20));
                }
                match took.0.swap(0, Relaxed) {
                    0 => return Err("a notification never arrived".to_string()),
                    ns => times.saturating_record(ns),
                }
                doze(&id);
            }
            Ok((times, before.zip(switches())))
        });
        let led = lead.join().expect("nobody panics");
        S::lock(&ball).over = true;
        S::notify_all(&at);
        let (times, switches) = led?;
        summary(plan, &times, switches)
    })
}

fn summary(plan: &Plan, times: &Histogram<u64>, switches: Option<(u64, u64)>) -> Result<Sample, String> {
    let seen = times.len();
    if seen < if plan.is_smoke() { 1 } else { ENOUGH } {
        return Err(format!("only {seen} hand-overs in the time"));
    }
    let mut sample = Sample::default().with("handover_p50_ns", times.value_at_quantile(0.5) as f64);
    if let Some((before, after)) = switches {
        sample = sample.with("switches_per_op_count", after.saturating_sub(before) as f64 / seen as f64);
    }
    sample.receipts.kept_count = Some(seen as f64);
    Ok(sample)
}

/// Waits until that thread sleeps; where the system does not tell, long enough for it.
fn doze(id: &OnceLock<ThreadId>) {
    let until = Instant::now() + Duration::from_millis(2);
    while Instant::now() < until {
        match id.get().map(|id| witness::sleeps(*id)) {
            Some(Some(true)) => return,
            Some(None) => return thread::sleep(Duration::from_micros(300)),
            _ => thread::sleep(Duration::from_micros(20)),
        }
    }
}

/// What the mutex of an emptied queue keeps.
#[derive(Debug, Default)]
struct Shelf {
    items: u32,
    waits: bool,
    rounds: u64,
    empty: u64,
    over: bool,
}

/// Sleeps of this length bound a wait that nobody ends.
const QUIET: Duration = Duration::from_micros(500);

fn emptied<S: Signals>(plan: &Plan, looped: bool, why: Why) -> Result<Sample, String> {
    let (shelf, at) = (S::mutex(Shelf::default()), S::Condvar::default());
    let share = |rounds: u64, empty: u64| {
        if rounds == 0 {
            return Err("the consumer never waited".to_string());
        }
        Ok(Sample::default().share("empty_share", empty as f64, rounds as f64))
    };
    if why == Why::Quiet {
        // A wait that says its time was over has not told of an item: only one that says otherwise counts.
        let (start, mut rounds, mut empty) = (Instant::now(), 0, 0);
        while rounds == 0 || start.elapsed() < plan.slice {
            let until = Instant::now() + QUIET;
            let mut seen = S::lock(&shelf);
            let mut timed_out = false;
            while seen.items == 0 && !timed_out {
                let left = until.saturating_duration_since(Instant::now());
                (seen, timed_out) = S::wait_for(&at, seen, left);
                if !looped {
                    break;
                }
            }
            rounds += 1;
            empty += u64::from(!timed_out && seen.items == 0);
        }
        return share(rounds, empty);
    }
    let consume = || {
        let mut shelf = S::lock(&shelf);
        while !shelf.over {
            shelf.waits = true;
            while shelf.items == 0 && !shelf.over {
                shelf = S::wait(&at, shelf);
                if !looped {
                    break;
                }
            }
            shelf.waits = false;
            if !shelf.over {
                shelf.rounds += 1;
                match shelf.items.checked_sub(1) {
                    Some(left) => shelf.items = left,
                    None => shelf.empty += 1,
                }
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            pin_current_thread(plan.cpus[1 % plan.cpus.len()]);
            consume();
        });
        let lead = scope.spawn(|| {
            pin_current_thread(plan.cpus[0]);
            let start = Instant::now();
            loop {
                let seen = S::lock(&shelf);
                let (waits, before) = (seen.waits, seen.rounds);
                drop(seen);
                // On a loaded machine the consumer may come late.
                let enough = if before == 0 { PATIENCE } else { plan.slice };
                if start.elapsed() >= enough {
                    return;
                }
                if waits {
                    put::<S>(&shelf, &at);
                    // The thief: not told of anything, just there at this moment.
                    let mut seen = S::lock(&shelf);
                    seen.items = seen.items.saturating_sub(1);
                    drop(seen);
                    // A consumer with a loop waits again: this one is for it.
                    thread::sleep(Duration::from_micros(100));
                    if S::lock(&shelf).rounds == before {
                        put::<S>(&shelf, &at);
                    }
                }
                thread::sleep(Duration::from_micros(20));
            }
        });
        lead.join().expect("nobody panics");
        let mut seen = S::lock(&shelf);
        seen.over = true;
        let (rounds, empty) = (seen.rounds, seen.empty);
        drop(seen);
        S::notify_all(&at);
        share(rounds, empty)
    })
}

fn put<S: Signals>(shelf: &S::Mutex<Shelf>, at: &S::Condvar) {
    S::lock(shelf).items += 1;
    S::notify_one(at);
}

/// A wait that was not woken ends by itself after this.
const LOST_AFTER: Duration = Duration::from_millis(4);
/// Who was woken is running or ready to run by then, even where it has to wait for a CPU; who sleeps still, was not woken.
const SURELY: Duration = Duration::from_millis(1);

fn missed<S: Signals>(plan: &Plan, mutex: bool, pause: Duration) -> Result<Sample, String> {
    const STOP: usize = usize::MAX;
    let [here, there, ..] = plan.cpus[..] else {
        return Err("on one CPU nothing comes between a look and the wait after it".into());
    };
    if witness::sleeps(witness::this_thread()).is_none() {
        return Err("this system does not tell whether a thread sleeps".into());
    }
    let (guards, at) = (S::mutex(()), S::Condvar::default());
    let flag = Apart(AtomicBool::new(false));
    // Which round is on, which one the waiter has come out of, and which one the other thread is done with.
    let [round, out, done] = [(); 3].map(|()| Apart(AtomicUsize::new(0)));
    let (waiter, lost) = (OnceLock::new(), AtomicU64::new(0));
    thread::scope(|scope| {
        scope.spawn(|| {
            pin_current_thread(there);
            let (mut last, mut order) = (0, Order::new(plan.seed ^ (plan.launch as u64) << 32));
            loop {
                // The waiter has the mutex by then, and is about to look.
                let now = until_changed(&round.0, last);
                if now == STOP {
                    return;
                }
                last = now;
                // Somewhere around the moment of the wait.
                spin(Duration::from_nanos(order.below(3_000) as u64));
                let held = mutex.then(|| S::lock(&guards));
                flag.0.store(true, Relaxed); // where there is a mutex, that orders it; else the wait's length does
                drop(held);
                S::notify_one(&at);
                let sent = Instant::now();
                while out.0.load(Relaxed) != now {
                    if sent.elapsed() > SURELY {
                        let asleep = waiter.get().and_then(|id| witness::sleeps(*id));
                        lost.fetch_add(u64::from(asleep == Some(true)), Relaxed);
                        break;
                    }
                    std::hint::spin_loop();
                }
                done.0.store(now, Release); // E1, to the waiter's Acquire: the count, and that the flag is no longer written
            }
        });
        let lead = scope.spawn(|| {
            pin_current_thread(here);
            waiter.get_or_init(witness::this_thread);
            let (mut rounds, start) = (0usize, Instant::now());
            while rounds == 0 || start.elapsed() < plan.slice {
                rounds += 1;
                flag.0.store(false, Relaxed); // the other thread has nothing to do before the round begins
                let mut held = S::lock(&guards);
                round.0.store(rounds, Release); // E2, to `until_changed`: the flag is down, and who waits is known
                while !flag.0.load(Relaxed) {
                    if !pause.is_zero() {
                        spin(pause);
                    }
                    (held, _) = S::wait_for(&at, held, LOST_AFTER);
                }
                drop(held);
                out.0.store(rounds, Relaxed);
                while done.0.load(Acquire) != rounds {
                    thread::yield_now(); // E1 in the line above
                }
            }
            round.0.store(STOP, Release);
            rounds
        });
        let rounds = lead.join().expect("nobody panics");
        Ok(Sample::default().share("lost_share", lost.load(Relaxed) as f64, rounds as f64))
    })
}

/// Lets so much time pass, by the clock.
fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Waits for another number.
fn until_changed(word: &AtomicUsize, last: usize) -> usize {
    loop {
        for _ in 0..4096 {
            let now = word.load(Acquire); // E2 of `missed`
            if now != last {
                return now;
            }
        }
        thread::yield_now();
    }
}

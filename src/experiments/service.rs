//! A service in this process, on real tokio, whose backend slows tenfold for a while: seven front doors that get the same requests.
//!
//! Requests come at random moments that were drawn beforehand (open loop: a slow answer holds up no later request), and each is offered
//! to every service at that moment: the services run side by side on one runtime, so that a bad moment of the machine hits all of them.
//! Nearly all of the time they sleep, so they are not in each other's way. Callers don't give up: whatever was let in is worked on, as
//! it is where nobody tells the backend that the caller has gone.
use std::{
    future::Future,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam::utils::CachePadded;
use tokio::{runtime::Builder, sync::Semaphore};

use crate::{
    contenders::arrivals::exponential,
    lab::Contender,
    measure::{
        cost::{Ops, Solo},
        lateness::Lateness,
        order::Order,
    },
    structures::flow::{
        Quota,
        adaptive::{Adaptive, AdaptiveSettings},
        bulkhead::Bulkhead,
        circuit_breaker::{BreakerSettings, CircuitBreaker},
        gcra::Gcra,
    },
};

/// Requests that the backend works on at once; the others wait in its queue, which has no bound.
pub const WORKERS: u32 = 16;
/// The mean time between two requests.
const GAP_NS: u64 = 1_000_000;
/// What the rate limit allows, per second: a fifth more than comes.
const ALLOWED_PER_S: u64 = 1_200;
/// How the end of the trouble is told: parts of this length, in which this share of the requests went well.
const PART_NS: u64 = 25_000_000;
const WELL: f64 = 0.8;
/// Longer than the longest queue, so that a hang is a reason and no hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// When the backend is slow, how slow, and until when an answer is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// From the start until it slows.
    pub calm_ns: u64,
    /// How long it is slow.
    pub slow_ns: u64,
    /// How long it is watched from then on.
    pub after_ns: u64,
    /// What the backend needs for a request; ten times as much when it is slow.
    pub service_ns: u64,
}

impl Times {
    /// 0.3 s of calm, 0.9 s of a slow backend, 1 s to recover.
    pub const REAL: Self =
        Self { calm_ns: 300_000_000, slow_ns: 900_000_000, after_ns: 1_000_000_000, service_ns: 5_000_000 };
    /// 0.15 s in all: shows that it runs.
    pub const SMOKE: Self =
        Self { calm_ns: 20_000_000, slow_ns: 60_000_000, after_ns: 70_000_000, service_ns: 1_000_000 };

    /// An answer within this time of the moment at which the request was to come is of use: half as much again as the slow backend needs.
    pub fn deadline_ns(&self) -> u64 {
        15 * self.service_ns
    }
    fn slow_end_ns(&self) -> u64 {
        self.calm_ns + self.slow_ns
    }
    fn end_ns(&self) -> u64 {
        self.slow_end_ns() + self.after_ns
    }
    fn service_at_ns(&self, now_ns: u64) -> u64 {
        let slow = (self.calm_ns..self.slow_end_ns()).contains(&now_ns);
        if slow { 10 * self.service_ns } else { self.service_ns }
    }
}

enum Door {
    Nothing,
    RateLimit(Gcra),
    /// As tower's `ConcurrencyLimit` and every `semaphore.acquire().await`: who finds no place waits for one.
    WaitingLimit(Semaphore),
    Bulkhead(Bulkhead),
    Adaptive(Adaptive),
    Breaker(CircuitBreaker),
}

/// What stands before a backend, as a contender.
#[derive(Clone, Copy, Debug)]
pub struct FrontDoor {
    is: Contender,
    new: fn(&Times) -> Door,
}

const fn named(id: &'static str, name: &'static str) -> Contender {
    Contender::new(id).called(name)
}

/// Everybody comes in.
pub static NOTHING: FrontDoor = FrontDoor { is: named("nothing", "no limit"), new: |_| Door::Nothing };

/// A rate limit a fifth above what comes.
pub static RATE_LIMIT: FrontDoor = FrontDoor {
    is: named("rate_limit", "rate limit").checked(|| RATE_LIMIT.check()),
    new: |_| {
        let quota = Quota::per_second(ALLOWED_PER_S, ALLOWED_PER_S / 10).expect("a sound quota");
        Door::RateLimit(Gcra::new(quota))
    },
};

/// A semaphore at which requests wait.
pub static WAITING_LIMIT: FrontDoor = FrontDoor {
    is: named("waiting_limit", "semaphore that waits").of("tokio").checked(|| WAITING_LIMIT.check()),
    new: |_| Door::WaitingLimit(Semaphore::new(WORKERS as usize)),
};

/// The same semaphore, asked once.
pub static TOKIO_SEMAPHORE: FrontDoor = FrontDoor {
    is: named("tokio_semaphore", "tokio Semaphore, try_acquire")
        .of("tokio")
        .checked(|| TOKIO_SEMAPHORE.check()),
    ..WAITING_LIMIT
};

/// As many places as the backend has workers: its queue stays empty.
pub static BULKHEAD: FrontDoor = FrontDoor {
    is: named("bulkhead", "our bulkhead").checked(|| BULKHEAD.check()),
    new: |_| Door::Bulkhead(Bulkhead::new(WORKERS, 0).expect("it has places")),
};

/// A limit that finds itself. Begins with twice what is right, and knows only how long an answer may take.
pub static ADAPTIVE: FrontDoor = FrontDoor {
    is: named("adaptive", "our adaptive limit").checked(|| ADAPTIVE.check()),
    new: |times| {
        let target_ns = times.deadline_ns() * 4 / 5;
        let settings = AdaptiveSettings { start: 32, min: 2, max: 1_000, target_ns, keep_percent: 70 };
        Door::Adaptive(Adaptive::new(settings).expect("sound settings"))
    },
};

/// Opens after ten failures in a row.
pub static BREAKER: FrontDoor = FrontDoor {
    is: named("breaker", "our circuit breaker").checked(|| BREAKER.check()),
    new: |times| {
        let open_ns = 20 * times.service_ns;
        let settings = BreakerSettings { failures: 10, open_ns, probes: 3 };
        Door::Breaker(CircuitBreaker::new(settings).expect("sound settings"))
    },
};

impl AsRef<Contender> for FrontDoor {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

/// A door, and a backend behind it.
struct Service {
    door: Door,
    workers: Semaphore,
    /// Requests that were let in and not answered. A count and nothing else: no access needs an order.
    inside: AtomicU32,
    times: Times,
    started: Instant,
}

/// When a request was let in, and when it was answered, in ns from the start.
type Stay = (u64, u64);

impl Service {
    fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// What the backend does: waits for a worker, first come, first served, and holds it for the time of service.
    async fn work(&self) {
        let _worker = self.workers.acquire().await.expect("nobody closes it");
        tokio::time::sleep(Duration::from_nanos(self.times.service_at_ns(self.now_ns()))).await;
    }

    async fn stay(&self, came_ns: u64, work: impl Future<Output = ()>) -> Stay {
        self.inside.fetch_add(1, Relaxed);
        work.await;
        self.inside.fetch_sub(1, Relaxed);
        (came_ns, self.now_ns())
    }

    /// A request; `None` if it is refused.
    async fn request(&self) -> Option<Stay> {
        let now_ns = self.now_ns();
        Some(match &self.door {
            Door::Nothing => self.stay(now_ns, self.work()).await,
            Door::RateLimit(limit) => {
                limit.admit(now_ns, 1).ok()?;
                self.stay(now_ns, self.work()).await
            }
            Door::WaitingLimit(places) => {
                let wait_and_work = async {
                    let _place = places.acquire().await.expect("nobody closes it");
                    self.work().await;
                };
                self.stay(now_ns, wait_and_work).await
            }
            Door::Bulkhead(places) => {
                let _pass = places.try_enter()?;
                self.stay(now_ns, self.work()).await
            }
            Door::Adaptive(limit) => {
                let permit = limit.try_enter(now_ns)?;
                let stay = self.stay(now_ns, self.work()).await;
                permit.report(stay.1, true);
                stay
            }
            Door::Breaker(breaker) => {
                let call = breaker.try_call(now_ns).ok()?;
                let stay = self.stay(now_ns, self.work()).await;
                call.report(stay.1, stay.1 - stay.0 <= self.times.deadline_ns());
                stay
            }
        })
    }
}

/// What became of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// When it was to come, in ns from the start.
    pub due_ns: u64,
    /// When it was let in and when it was answered; `None` if it was refused.
    pub stay: Option<(u64, u64)>,
}

/// What became of all requests of one service.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// One for each request.
    pub requests: Vec<Request>,
    /// How many were inside when each of them was about to come.
    pub inside: Vec<u32>,
}

/// Sends the same requests to a service behind each of these doors. Returns what each saw, in this order, and how late the requests
/// were sent.
///
/// Takes as long as the times say, and then until the longest queue is empty.
///
/// # Errors
/// A reason: no runtime to be had, or requests that were never answered.
pub fn run(doors: &[&FrontDoor], times: Times, seed: u64) -> Result<(Vec<Seen>, Lateness), String> {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build();
    let runtime = runtime.map_err(|e| format!("no tokio runtime: {e}"))?;
    let started = Instant::now();
    let service = |door: &&FrontDoor| {
        let (door, workers) = ((door.new)(&times), Semaphore::new(WORKERS as usize));
        Arc::new(Service { door, workers, inside: AtomicU32::new(0), times, started })
    };
    let services: Vec<_> = doors.iter().map(service).collect();
    let mut seen = vec![Seen::default(); services.len()];
    let (tell, told) = mpsc::channel();
    let (mut dice, mut late) = (Order::new(seed), Lateness::new());
    let mut due_ns = exponential(&mut dice, GAP_NS);
    let mut sent = 0;
    while due_ns < times.end_ns() {
        thread::sleep((started + Duration::from_nanos(due_ns)).saturating_duration_since(Instant::now()));
        late.record_ns(services[0].now_ns().saturating_sub(due_ns));
        for i in 0..services.len() {
            let which = (i + sent) % services.len(); // each is the first in its turn
            let (service, tell) = (Arc::clone(&services[which]), tell.clone());
            seen[which].inside.push(service.inside.load(Relaxed));
            runtime.spawn(async move {
                let stay = service.request().await;
                // Whoever listens no longer has given up, and says so.
                let _ = tell.send((which, Request { due_ns, stay }));
            });
        }
        sent += 1;
        due_ns += exponential(&mut dice, GAP_NS);
    }
    drop(tell);
    let patient = Instant::now() + PATIENCE;
    let mut missing = sent * services.len();
    while missing > 0 {
        match told.recv_timeout(patient.saturating_duration_since(Instant::now())) {
            Ok((which, request)) => seen[which].requests.push(request),
            Err(_) => break,
        }
        missing -= 1;
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    if missing > 0 {
        return Err(format!("{missing} requests were never answered"));
    }
    Ok((seen, late))
}

/// The numbers of one service.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Requests that were to come while the backend was slow.
    pub asked_count: f64,
    /// Of these, so many were answered in time. A count and no rate: without a limit it is the workers' first requests and no more,
    /// however long the backend is slow.
    pub in_time_count: f64,
    /// From the moment at which a request was to come until its answer; the refused ones are not in it.
    pub answer: Lateness,
    /// Of all requests, the share that was refused.
    pub shed_share: f64,
    /// The mean of what was counted inside.
    pub inside_mean_count: f64,
    /// The most that were counted inside.
    pub inside_max_count: f64,
    /// That mean over what Little's law makes of the arrivals and their stays: 1 if all were counted. `None` if nobody came in.
    pub little_ratio: Option<f64>,
    /// From the moment at which the backend was well again to the end of the last part of 25 ms in which less than 80 % of the requests
    /// were answered in time; one part if there is none. `None` if that part is the last.
    pub recover_ns: Option<f64>,
}

/// Sums up what became of the requests.
pub fn outcome(times: &Times, seen: &Seen) -> Outcome {
    let in_time = |r: &Request| r.stay.is_some_and(|(_, left)| left <= r.due_ns + times.deadline_ns());
    let slow = || seen.requests.iter().filter(|r| (times.calm_ns..times.slow_end_ns()).contains(&r.due_ns));
    let mut answer = Lateness::new();
    let stays = || seen.requests.iter().filter_map(|r| Some((r.due_ns, r.stay?)));
    stays().for_each(|(due_ns, (_, left))| answer.record_ns(left.saturating_sub(due_ns)));
    let all = seen.requests.len().max(1) as f64;

    // L = lambda W over a window in which not everything ended: what was stayed within the window, over its length.
    let end_ns = times.end_ns();
    let stayed_ns: u64 = stays().map(|(_, (came, left))| left.min(end_ns).saturating_sub(came)).sum();
    let by_little = stayed_ns as f64 / end_ns as f64;
    let counted = seen.inside.iter().map(|n| f64::from(*n)).sum::<f64>() / seen.inside.len().max(1) as f64;

    let parts = times.after_ns.div_ceil(PART_NS);
    let ill = |part: &u64| {
        let from_ns = times.slow_end_ns() + part * PART_NS;
        let in_part = || seen.requests.iter().filter(|r| (from_ns..from_ns + PART_NS).contains(&r.due_ns));
        (in_part().filter(|r| in_time(r)).count() as f64) < WELL * in_part().count() as f64
    };
    let last_ill = (0..parts).rev().find(ill);
    let well_from = last_ill.map_or(1, |part| part + 1);
    Outcome {
        asked_count: slow().count() as f64,
        in_time_count: slow().filter(|r| in_time(r)).count() as f64,
        answer,
        shed_share: seen.requests.iter().filter(|r| r.stay.is_none()).count() as f64 / all,
        inside_mean_count: counted,
        inside_max_count: seen.inside.iter().max().map_or(0.0, |n| f64::from(*n)),
        little_ratio: (stayed_ns > 0).then(|| counted / by_little),
        recover_ns: (last_ill != Some(parts - 1)).then_some((well_from * PART_NS) as f64),
    }
}

impl FrontDoor {
    /// One operation: in at the door and out again, one thread, the time known.
    pub fn pass(&self) -> Solo {
        let door = *self;
        Solo::new(self.is.id, move || door.passes())
    }

    fn passes(&self) -> Ops {
        let mut now_ns = 0;
        match (self.new)(&Times::REAL) {
            Door::Nothing => Box::new(|_| {}),
            Door::WaitingLimit(places) => {
                let places = Box::new(CachePadded::new(places));
                Box::new(move |n| (0..n).for_each(|_| drop(black_box(places.try_acquire()))))
            }
            Door::Bulkhead(places) => {
                let places = Box::new(CachePadded::new(places));
                Box::new(move |n| (0..n).for_each(|_| drop(black_box(places.try_enter()))))
            }
            Door::Adaptive(limit) => {
                let limit = Box::new(CachePadded::new(limit));
                Box::new(move |n| {
                    for _ in 0..n {
                        now_ns += GAP_NS;
                        if let Some(permit) = black_box(limit.try_enter(now_ns)) {
                            permit.report(now_ns + 1, true);
                        }
                    }
                })
            }
            Door::Breaker(breaker) => {
                let breaker = Box::new(CachePadded::new(breaker));
                Box::new(move |n| {
                    for _ in 0..n {
                        now_ns += GAP_NS;
                        if let Ok(call) = black_box(breaker.try_call(now_ns)) {
                            call.report(now_ns + 1, true);
                        }
                    }
                })
            }
            Door::RateLimit(limit) => {
                let limit = Box::new(CachePadded::new(limit));
                Box::new(move |n| {
                    for _ in 0..n {
                        now_ns += GAP_NS; // below the limit: it always passes
                        _ = black_box(limit.admit(now_ns, 1));
                    }
                })
            }
        }
    }

    /// What it must show before it is timed: it lets in as many as it says and no more, and again when they are out.
    ///
    /// # Errors
    /// A sentence that names the door.
    pub fn check(&self) -> Result<(), String> {
        let passed = match (self.new)(&Times::REAL) {
            Door::Nothing => true,
            Door::WaitingLimit(places) => holds(WORKERS as usize, || places.try_acquire().ok()),
            Door::Bulkhead(places) => holds(WORKERS as usize, || places.try_enter()),
            Door::Adaptive(limit) => holds(limit.limit().into(), || limit.try_enter(0)),
            Door::Breaker(breaker) => {
                let failed = (0..10).all(|_| {
                    breaker.try_call(0).is_ok_and(|call| {
                        call.report(0, false);
                        true
                    })
                });
                failed && breaker.try_call(0).is_err()
            }
            Door::RateLimit(limit) => {
                let burst = (0..ALLOWED_PER_S / 10).all(|_| limit.admit(0, 1).is_ok());
                burst && limit.admit(0, 1).is_err()
            }
        };
        let why = "does not refuse where it should, or refuses where it should not";
        if passed { Ok(()) } else { Err(format!("{}: {why}", self.is.id)) }
    }
}

/// Whether so many find a place and no more, twice.
fn holds<P>(places: usize, enter: impl Fn() -> Option<P>) -> bool {
    (0..2).all(|_| {
        let inside: Vec<P> = (0..places).map_while(|_| enter()).collect();
        inside.len() == places && enter().is_none()
    })
}

//! A service whose clients retry, in virtual time: a backend that is slow for some seconds, and what comes of it afterwards.
//!
//! The backend has 10 workers that need 10 ms for a request on average (exponential), so it can do 1,000 a second, and a queue of 2,000
//! places. Requests come at random moments (Poisson). A client gives up on a try after 100 ms and does not tell the backend, which
//! works on it all the same. For 5 s each request takes ten times as long. Nothing here waits for a real clock: a number depends on the
//! seed and on nothing else.
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use crate::{
    contenders::arrivals::exponential,
    lab::{Contender, Setting},
    measure::order::Order,
    structures::flow::circuit_breaker::{BreakerSettings, Call, CircuitBreaker},
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
/// Requests that are worked on at once.
pub const WORKERS: usize = 10;
/// What one takes, on average.
pub const SERVICE_NS: u64 = 10 * MS;
/// Requests that wait at most.
pub const PLACES: usize = 2_000;
/// How long a client waits for an answer to one try.
pub const TIMEOUT_NS: u64 = 100 * MS;
/// How much longer a request takes while the backend is slow.
const SLOWER: u64 = 10;
/// A second in which this share of the requests is answered is a good one.
const WELL: f64 = 0.9;

/// When the backend is slow, and how long it is watched afterwards, in virtual seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Story {
    /// From the start until it slows.
    pub calm_s: u64,
    /// How long it is slow.
    pub slow_s: u64,
    /// How long it is watched from then on.
    pub after_s: u64,
}

impl Story {
    /// 5 s of calm, 5 s of a slow backend, 50 s afterwards.
    pub const REAL: Self = Self { calm_s: 5, slow_s: 5, after_s: 50 };
    /// The same without the slow time.
    pub const NO_CAUSE: Self = Self { calm_s: 10, slow_s: 0, after_s: 50 };
}

/// When a client tries again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// At once.
    None,
    /// After 100 ms, then 200, then 400.
    Exponential,
    /// After a random time up to that (full jitter).
    Jitter,
}

/// What clients do when a try fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Tries after the first one.
    pub retries: u32,
    /// When.
    pub pause: Pause,
    /// If given, retries may be this share of the requests, all clients together; up to 10 are saved up.
    pub budget: Option<f64>,
    /// If set, all clients share a breaker: 20 failures in a row open it for 1 s, then 3 calls must succeed.
    pub breaker: bool,
    /// If given, clients retry until this many seconds after the slow time, and never again.
    pub until_s: Option<u64>,
}

const fn policy(id: &'static str, name: &'static str, value: Policy) -> Setting<Policy> {
    Setting { is: Contender::new(id).called(name).checked(check), value }
}

const PLAIN: Policy = Policy { retries: 0, pause: Pause::None, budget: None, breaker: false, until_s: None };
const THREE: Policy = Policy { retries: 3, ..PLAIN };

/// The policies.
pub const POLICIES: [Setting<Policy>; 8] = [
    policy("no_retry", "no retry", PLAIN),
    policy("retry_1", "1 retry", Policy { retries: 1, ..PLAIN }),
    policy("retry_3", "3 retries", THREE),
    policy("backoff", "3 retries, back-off", Policy { pause: Pause::Exponential, ..THREE }),
    policy("jitter", "3 retries, back-off, jitter", Policy { pause: Pause::Jitter, ..THREE }),
    policy("budget", "3 retries, budget of 10 %", Policy { budget: Some(0.1), ..THREE }),
    policy("breaker", "3 retries, breaker", Policy { breaker: true, ..THREE }),
    policy("given_up", "3 retries, none from 10 s on", Policy { until_s: Some(10), ..THREE }),
];

/// No retry.
pub const NO_RETRY: Policy = PLAIN;
/// Three retries, each at once.
pub const RETRY_3: Policy = THREE;

/// Whom the backend takes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discipline {
    /// The oldest.
    Fifo,
    /// The newest.
    Lifo,
    /// The oldest that has waited for less than the client's time-out.
    Deadline,
    /// The oldest that has waited for less than half of it.
    Half,
    /// The oldest, by the rules of CoDel (RFC 8289): 5 ms and 100 ms.
    CoDel,
    /// The oldest that has waited for at most 5 ms; 100 ms if the queue was empty within the last 100 ms.
    Controlled,
}

const fn queue(id: &'static str, name: &'static str, value: Discipline) -> Setting<Discipline> {
    Setting { is: Contender::new(id).called(name).checked(check), value }
}

/// The disciplines.
pub const DISCIPLINES: [Setting<Discipline>; 6] = [
    queue("fifo", "first in, first out", Discipline::Fifo),
    queue("lifo", "last in, first out", Discipline::Lifo),
    queue("deadline", "drop after the time-out", Discipline::Deadline),
    queue("half", "drop after half the time-out", Discipline::Half),
    queue("codel", "CoDel", Discipline::CoDel),
    queue("controlled", "controlled delay", Discipline::Controlled),
];

/// What came of a story. Counts are of the whole of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Requests that came.
    pub asked_count: u64,
    /// Of these, how many were answered within the time-out of one of their tries.
    pub answered_count: u64,
    /// Of these, how many failed for good.
    pub failed_count: u64,
    /// Tries that were sent to the backend.
    pub tries_count: u64,
    /// Tries that a worker has worked on.
    pub served_count: u64,
    /// Served tries whose client had given up by the end of the work.
    pub wasted_count: u64,
    /// Tries that found no place.
    pub refused_count: u64,
    /// Tries that the queue has dropped.
    pub dropped_count: u64,
    /// Tries that the breaker has held back; they are not among those that were sent.
    pub held_count: u64,
    /// Requests that came while the backend was slow, the share that was answered; 0 if it never was slow.
    pub slow_share: f64,
    /// Requests that came afterwards, the share that was answered.
    pub after_share: f64,
    /// Tries that were sent after the slow time, while requests came, as a multiple of what the backend can do in that time.
    pub after_offered_ratio: f64,
    /// Of the tries that were served in that time, the share whose client had given up.
    pub after_wasted_share: f64,
    /// Full seconds from the end of the slow time to the end of the last second in which less than nine tenths of the requests were answered.
    /// `None` if the last one was such.
    pub recover_s: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A request comes.
    Came,
    /// A request is tried once more.
    Again(usize),
    /// The client gives up on a try.
    TimedOut(usize),
    /// A worker is done with a try.
    Done(usize),
}

/// Counts of the time after the slow one, while requests come.
#[derive(Clone, Copy, Debug, Default)]
struct After {
    sent_count: u64,
    served_count: u64,
    wasted_count: u64,
}

#[derive(Debug, Default)]
struct Request {
    came_ns: u64,
    tries: u32,
    answered: bool,
}

#[derive(Debug)]
struct Try<'b> {
    request: usize,
    sent_ns: u64,
    /// The client waits for it.
    open: bool,
    call: Option<Call<'b>>,
}

/// CoDel's state, as RFC 8289 names it.
#[derive(Debug, Default)]
struct CoDel {
    first_above_ns: Option<u64>,
    drop_next_ns: u64,
    count: u64,
    last_count: u64,
    dropping: bool,
}

const TARGET_NS: u64 = 5 * MS;
const INTERVAL_NS: u64 = 100 * MS;

struct World<'b> {
    story: Story,
    policy: Policy,
    discipline: Discipline,
    gap_ns: u64,
    order: Order,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    events_count: u64,
    requests: Vec<Request>,
    tries: Vec<Try<'b>>,
    queue: VecDeque<usize>,
    codel: CoDel,
    empty_ns: u64,
    idle: usize,
    tokens: f64,
    breaker: Option<&'b CircuitBreaker>,
    seen: Outcome,
    after: After,
}

/// Tells a story to its end: every request is answered or has failed for good. `load` is the share of what the backend can do when it is well.
pub fn retries(story: Story, load: f64, policy: Policy, discipline: Discipline, seed: u64) -> Outcome {
    let breaker = CircuitBreaker::new(BreakerSettings { failures: 20, open_ns: SECOND, probes: 3 });
    let breaker = breaker.expect("sound settings");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of ns")]
    let gap_ns = (SERVICE_NS as f64 / WORKERS as f64 / load) as u64;
    let mut world = World {
        story,
        policy,
        discipline,
        gap_ns,
        order: Order::new(seed),
        events: BinaryHeap::new(),
        events_count: 0,
        requests: Vec::new(),
        tries: Vec::new(),
        queue: VecDeque::new(),
        codel: CoDel::default(),
        empty_ns: 0,
        idle: WORKERS,
        tokens: 0.0,
        breaker: policy.breaker.then_some(&breaker),
        seen: Outcome::default(),
        after: After::default(),
    };
    world.at(0, Event::Came);
    while let Some(Reverse((now_ns, _, event))) = world.events.pop() {
        world.happens(now_ns, event);
    }
    world.ends()
}

impl World<'_> {
    fn at(&mut self, ns: u64, event: Event) {
        self.events_count += 1;
        // Of two events at one moment the earlier made one comes first.
        self.events.push(Reverse((ns, self.events_count, event)));
    }

    fn happens(&mut self, now_ns: u64, event: Event) {
        let Story { calm_s, slow_s, after_s } = self.story;
        match event {
            Event::Came if now_ns >= (calm_s + slow_s + after_s) * SECOND => {}
            Event::Came => {
                self.requests.push(Request { came_ns: now_ns, ..Request::default() });
                if let Some(share) = self.policy.budget {
                    self.tokens = (self.tokens + share).min(10.0);
                }
                self.tries(self.requests.len() - 1, now_ns);
                let gap_ns = exponential(&mut self.order, self.gap_ns);
                self.at(now_ns + gap_ns, Event::Came);
            }
            Event::Again(request) => self.tries(request, now_ns),
            Event::TimedOut(id) => self.fails(id, now_ns),
            Event::Done(id) => {
                self.idle += 1;
                self.seen.served_count += 1;
                let after = u64::from(self.is_after(now_ns));
                self.after.served_count += after;
                if self.tries[id].open {
                    self.tries[id].open = false;
                    if let Some(call) = self.tries[id].call.take() {
                        call.report(now_ns, true);
                    }
                    let request = self.tries[id].request;
                    self.requests[request].answered = true;
                    self.seen.answered_count += 1;
                } else {
                    self.seen.wasted_count += 1;
                    self.after.wasted_count += after;
                }
                self.works(now_ns);
            }
        }
    }

    /// The slow time is over, and requests still come.
    fn is_after(&self, now_ns: u64) -> bool {
        let Story { calm_s, slow_s, after_s } = self.story;
        let well_s = calm_s + slow_s;
        (well_s * SECOND..(well_s + after_s) * SECOND).contains(&now_ns)
    }

    /// A try goes out.
    fn tries(&mut self, request: usize, now_ns: u64) {
        self.requests[request].tries += 1;
        let call = match self.breaker.map(|breaker| breaker.try_call(now_ns)) {
            None => None,
            Some(Ok(call)) => Some(call),
            // Held back: that is an answer to the client, who does not try again.
            Some(Err(_)) => {
                self.seen.held_count += 1;
                self.seen.failed_count += 1;
                return;
            }
        };
        self.seen.tries_count += 1;
        self.after.sent_count += u64::from(self.is_after(now_ns));
        let id = self.tries.len();
        self.tries.push(Try { request, sent_ns: now_ns, open: true, call });
        if self.queue.len() >= PLACES {
            self.seen.refused_count += 1;
            self.fails(id, now_ns);
            return;
        }
        self.at(now_ns + TIMEOUT_NS, Event::TimedOut(id));
        self.queue.push_back(id);
        self.works(now_ns);
    }

    /// A try has failed, if its client still waits for it: once more, or never again.
    fn fails(&mut self, id: usize, now_ns: u64) {
        if !self.tries[id].open {
            return;
        }
        self.tries[id].open = false;
        if let Some(call) = self.tries[id].call.take() {
            call.report(now_ns, false);
        }
        let request = self.tries[id].request;
        let tries = self.requests[request].tries;
        let paid = self.policy.budget.is_none() || self.tokens >= 1.0;
        let Story { calm_s, slow_s, .. } = self.story;
        let over = self.policy.until_s.is_some_and(|s| now_ns >= (calm_s + slow_s + s) * SECOND);
        if tries > self.policy.retries || !paid || over {
            self.seen.failed_count += 1;
            return;
        }
        if self.policy.budget.is_some() {
            self.tokens -= 1.0;
        }
        let most_ns = (100 * MS) << (tries - 1).min(10);
        let pause_ns = match self.policy.pause {
            Pause::None => 0,
            Pause::Exponential => most_ns,
            Pause::Jitter => self.order.next_u64() % most_ns,
        };
        self.at(now_ns + pause_ns, Event::Again(request));
    }

    /// Idle workers take what is next.
    fn works(&mut self, now_ns: u64) {
        while self.idle > 0 {
            let Some(id) = self.next(now_ns) else {
                self.empty_ns = now_ns;
                return;
            };
            self.idle -= 1;
            let Story { calm_s, slow_s, .. } = self.story;
            let slow = (calm_s * SECOND..(calm_s + slow_s) * SECOND).contains(&now_ns);
            let mean_ns = if slow { SLOWER * SERVICE_NS } else { SERVICE_NS };
            let takes_ns = exponential(&mut self.order, mean_ns);
            self.at(now_ns + takes_ns, Event::Done(id));
        }
    }

    fn next(&mut self, now_ns: u64) -> Option<usize> {
        match self.discipline {
            Discipline::Fifo => self.queue.pop_front(),
            Discipline::Lifo => self.queue.pop_back(),
            Discipline::Deadline => self.younger_than(TIMEOUT_NS, now_ns),
            Discipline::Half => self.younger_than(TIMEOUT_NS / 2, now_ns),
            Discipline::Controlled => {
                let was_empty = now_ns - self.empty_ns <= INTERVAL_NS;
                self.younger_than(if was_empty { INTERVAL_NS } else { TARGET_NS }, now_ns)
            }
            Discipline::CoDel => self.codel(now_ns),
        }
    }

    /// The oldest that has waited for at most so long. Those that have waited for longer are dropped, and their clients told.
    fn younger_than(&mut self, most_ns: u64, now_ns: u64) -> Option<usize> {
        loop {
            let id = self.queue.pop_front()?;
            if now_ns - self.tries[id].sent_ns <= most_ns {
                return Some(id);
            }
            self.drops(id, now_ns);
        }
    }

    fn drops(&mut self, id: usize, now_ns: u64) {
        self.seen.dropped_count += 1;
        self.fails(id, now_ns);
    }

    /// The oldest, and whether CoDel would drop it.
    fn codel_takes(&mut self, now_ns: u64) -> Option<(usize, bool)> {
        let Some(id) = self.queue.pop_front() else {
            self.codel.first_above_ns = None;
            return None;
        };
        if now_ns - self.tries[id].sent_ns < TARGET_NS || self.queue.is_empty() {
            self.codel.first_above_ns = None;
            return Some((id, false));
        }
        let above = self.codel.first_above_ns.get_or_insert(now_ns + INTERVAL_NS);
        Some((id, now_ns >= *above))
    }

    fn codel(&mut self, now_ns: u64) -> Option<usize> {
        let taken = self.codel_takes(now_ns);
        let Some((mut id, mut drop)) = taken else {
            self.codel.dropping = false;
            return None;
        };
        if self.codel.dropping {
            self.codel.dropping = drop;
            while self.codel.dropping && now_ns >= self.codel.drop_next_ns {
                self.drops(id, now_ns);
                self.codel.count += 1;
                let Some(next) = self.codel_takes(now_ns) else {
                    self.codel.dropping = false;
                    return None;
                };
                (id, drop) = next;
                self.codel.dropping = drop;
                self.codel.drop_next_ns += control_ns(self.codel.count);
            }
        } else if drop {
            self.drops(id, now_ns);
            let next = self.codel_takes(now_ns);
            let CoDel { count, last_count, drop_next_ns, .. } = self.codel;
            let (delta, recent) =
                (count - last_count, now_ns.saturating_sub(drop_next_ns) < 16 * INTERVAL_NS);
            self.codel.count = if delta > 1 && recent { delta } else { 1 };
            self.codel.last_count = self.codel.count;
            self.codel.drop_next_ns = now_ns + control_ns(self.codel.count);
            self.codel.dropping = true;
            (id, _) = next?;
        }
        Some(id)
    }

    fn ends(mut self) -> Outcome {
        let Story { calm_s, slow_s, after_s } = self.story;
        let well_s = calm_s + slow_s;
        let seconds = usize::try_from(well_s + after_s).unwrap_or(usize::MAX);
        let mut by_second = vec![(0_u64, 0_u64); seconds];
        for request in &self.requests {
            let second = usize::try_from(request.came_ns / SECOND).unwrap_or(usize::MAX);
            let (asked, answered) = &mut by_second[second];
            *asked += 1;
            *answered += u64::from(request.answered);
        }
        let sums = |from: u64, to: u64| {
            let part = by_second.iter().skip(from as usize).take((to - from) as usize);
            part.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        };
        let share = |(asked, answered): (u64, u64)| answered as f64 / (asked.max(1)) as f64;
        let (all, slow, after) =
            (sums(0, well_s + after_s), sums(calm_s, well_s), sums(well_s, well_s + after_s));
        let bad = (0..after_s).rev().find(|s| share(sums(well_s + s, well_s + s + 1)) < WELL);
        self.seen.asked_count = all.0;
        self.seen.slow_share = share(slow);
        self.seen.after_share = share(after);
        let can_do = after_s as f64 * SECOND as f64 / SERVICE_NS as f64 * WORKERS as f64;
        self.seen.after_offered_ratio = self.after.sent_count as f64 / can_do;
        self.seen.after_wasted_share = self.after.wasted_count as f64 / self.after.served_count.max(1) as f64;
        self.seen.recover_s = match bad {
            None => Some(0),
            Some(last) if last + 1 == after_s => None,
            Some(last) => Some(last + 1),
        };
        self.seen
    }
}

/// CoDel's control law: the interval by the root of the number of drops.
fn control_ns(count: u64) -> u64 {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most the interval")]
    let ns = (INTERVAL_NS as f64 / (count.max(1) as f64).sqrt()) as u64;
    ns
}

/// What the simulation must show before it says anything: nothing is lost, and nothing appears.
fn check() -> Result<(), String> {
    let story = Story { calm_s: 1, slow_s: 1, after_s: 2 };
    for policy in POLICIES {
        conserved(&retries(story, 0.7, policy.value, Discipline::Fifo, 1))
            .map_err(|why| format!("{}: {why}", policy.id()))?;
    }
    for discipline in DISCIPLINES {
        conserved(&retries(story, 0.7, THREE, discipline.value, 1))
            .map_err(|why| format!("{}: {why}", discipline.id()))?;
    }
    Ok(())
}

/// That every request was answered or has failed, and every try that was sent was served, refused or dropped.
///
/// # Errors
/// In a sentence.
pub fn conserved(seen: &Outcome) -> Result<(), String> {
    let Outcome { asked_count, answered_count, failed_count, tries_count, .. } = *seen;
    let ends = seen.served_count + seen.refused_count + seen.dropped_count;
    if tries_count != ends {
        return Err(format!("{tries_count} tries were sent, and {ends} came to an end"));
    }
    if seen.served_count != answered_count + seen.wasted_count {
        return Err(format!(
            "{} tries were served, {answered_count} of use and {} in vain",
            seen.served_count, seen.wasted_count
        ));
    }
    (asked_count == answered_count + failed_count && asked_count > 0).then_some(()).ok_or_else(|| {
        format!("{asked_count} requests came, {answered_count} answered, {failed_count} failed")
    })
}

//! Hedged requests in virtual time: ten replicas, some of whose answers take long, and clients that ask a second one when the first is late.
//!
//! Each replica serves one request after the other, in 1 ms on average (exponential); one request in a hundred takes 20 times as long.
//! Requests come at random moments (Poisson) and go to a random replica. Nothing here waits for a real clock: a number depends on the seed and
//! on nothing else.
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use hdrhistogram::Histogram;

use crate::{
    contenders::arrivals::exponential,
    lab::{Contender, Setting},
    measure::{latency, order::Order},
};

/// Replicas.
pub const REPLICAS: usize = 10;
const MS: u64 = 1_000_000;
/// One in so many requests is slow, and so many times as slow.
const SLOW_ONE_IN: usize = 100;
const SLOWER: u64 = 20;
/// What a request takes on average: 99 of 100 take 1 ms, one takes 20.
pub const MEAN_NS: f64 = 1.19e6;

/// When a second replica is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hedge {
    /// Never.
    Never,
    /// When the first has not answered within the time that 95 of 100 take without hedging.
    Late,
    /// The same, and the one that lost is taken out of its queue if it has not begun.
    LateCancel,
    /// The same as `Late`, for at most one in ten requests, all clients together.
    LateBudget,
    /// At once.
    AtOnce,
}

const fn hedge(id: &'static str, name: &'static str, value: Hedge) -> Setting<Hedge> {
    Setting { is: Contender::new(id).called(name).checked(check), value }
}

/// All of them.
pub const HEDGES: [Setting<Hedge>; 5] = [
    hedge("one", "one request", Hedge::Never),
    hedge("hedged", "a second after the p95", Hedge::Late),
    hedge("hedged_cancel", "a second after the p95, the loser taken back", Hedge::LateCancel),
    hedge("hedged_budget", "a second after the p95, for one in ten", Hedge::LateBudget),
    hedge("twice", "two at once", Hedge::AtOnce),
];

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Hedged {
    /// From a request's arrival to its first answer.
    pub took: Histogram<u64>,
    /// Requests that came, warm-up included.
    pub asked_count: u64,
    /// Of these, how many were answered.
    pub answered_count: u64,
    /// Copies that were sent to replicas.
    pub sent_count: u64,
    /// Copies that a replica has worked on.
    pub served_count: u64,
    /// Copies that were taken back before.
    pub cancelled_count: u64,
    /// Of the time, the share in which replicas worked.
    pub used_share: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Came,
    /// A request may be late: then another replica is asked.
    Late(usize),
    /// A replica is done with a copy of a request.
    Done {
        replica: usize,
        request: usize,
    },
}

#[derive(Debug)]
struct Request {
    came_ns: u64,
    answered: bool,
    /// Who was asked first.
    first: usize,
}

struct Replicas {
    hedge: Hedge,
    gap_ns: u64,
    late_ns: u64,
    requests_count: usize,
    order: Order,
    /// How long copies take: a stream of its own, so that the arrivals are the same whatever the hedge.
    works: Order,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    events_count: u64,
    requests: Vec<Request>,
    /// Whether it works, and what waits.
    replicas: Vec<(bool, VecDeque<usize>)>,
    busy_ns: u64,
    seen: Hedged,
}

/// Runs so many requests, the first tenth of which does not count, at a share of what the replicas can do. `late_ns` is when a second replica
/// is asked, for the kinds of hedge that wait.
pub fn hedged(hedge: Hedge, load: f64, requests_count: usize, late_ns: u64, seed: u64) -> Hedged {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive number of ns")]
    let gap_ns = (MEAN_NS / REPLICAS as f64 / load) as u64;
    let mut all = Replicas {
        hedge,
        gap_ns,
        late_ns,
        requests_count,
        order: Order::new(seed),
        works: Order::new(!seed),
        events: BinaryHeap::new(),
        events_count: 0,
        requests: Vec::with_capacity(requests_count),
        replicas: vec![(false, VecDeque::new()); REPLICAS],
        busy_ns: 0,
        seen: Hedged {
            took: latency::histogram(),
            asked_count: 0,
            answered_count: 0,
            sent_count: 0,
            served_count: 0,
            cancelled_count: 0,
            used_share: 0.0,
        },
    };
    all.at(0, Event::Came);
    let mut end_ns = 0;
    while let Some(Reverse((now_ns, _, event))) = all.events.pop() {
        if matches!(event, Event::Done { .. }) {
            end_ns = now_ns;
        }
        all.happens(now_ns, event);
    }
    all.seen.used_share = all.busy_ns as f64 / (REPLICAS as f64 * (end_ns.max(1)) as f64);
    all.seen
}

impl Replicas {
    fn at(&mut self, ns: u64, event: Event) {
        self.events_count += 1;
        self.events.push(Reverse((ns, self.events_count, event)));
    }

    fn happens(&mut self, now_ns: u64, event: Event) {
        match event {
            Event::Came if self.requests.len() == self.requests_count => {}
            Event::Came => {
                let (id, first) = (self.requests.len(), self.order.below(REPLICAS));
                // Drawn even if nobody will be asked, so that the arrivals are the same for every hedge.
                let (gap_ns, other) = (exponential(&mut self.order, self.gap_ns), self.other(first));
                self.requests.push(Request { came_ns: now_ns, answered: false, first });
                self.seen.asked_count += 1;
                self.send(first, id, now_ns);
                match self.hedge {
                    Hedge::Never => {}
                    Hedge::Late | Hedge::LateCancel | Hedge::LateBudget => {
                        self.at(now_ns + self.late_ns, Event::Late(id))
                    }
                    Hedge::AtOnce => self.send(other, id, now_ns),
                }
                self.at(now_ns + gap_ns, Event::Came);
            }
            Event::Late(id) if self.requests[id].answered => {}
            Event::Late(_) if self.hedge == Hedge::LateBudget && self.seen.sent_count >= self.allowed() => {}
            Event::Late(id) => {
                // By a step that needs no draw.
                let other = (self.requests[id].first + 1 + id % (REPLICAS - 1)) % REPLICAS;
                self.send(other, id, now_ns);
            }
            Event::Done { replica, request } => {
                self.seen.served_count += 1;
                let counts = request >= self.requests_count / 10;
                let Request { came_ns, answered, .. } = &mut self.requests[request];
                if !*answered {
                    *answered = true;
                    self.seen.answered_count += 1;
                    if counts {
                        self.seen.took.saturating_record((now_ns - *came_ns).max(1));
                    }
                }
                self.replicas[replica].0 = false;
                self.begin(replica, now_ns);
            }
        }
    }

    /// How many copies a budget allows by now: a tenth more than requests came.
    fn allowed(&self) -> u64 {
        self.seen.asked_count + self.seen.asked_count / 10
    }

    /// Another replica than this one.
    fn other(&mut self, first: usize) -> usize {
        (first + 1 + self.order.below(REPLICAS - 1)) % REPLICAS
    }

    fn send(&mut self, replica: usize, request: usize, now_ns: u64) {
        self.seen.sent_count += 1;
        self.replicas[replica].1.push_back(request);
        self.begin(replica, now_ns);
    }

    /// A replica takes what is next, if it is free.
    fn begin(&mut self, replica: usize, now_ns: u64) {
        while !self.replicas[replica].0 {
            let Some(request) = self.replicas[replica].1.pop_front() else { return };
            if self.hedge == Hedge::LateCancel && self.requests[request].answered {
                self.seen.cancelled_count += 1;
                continue;
            }
            let slower = if self.works.below(SLOW_ONE_IN) == 0 { SLOWER } else { 1 };
            let takes_ns = exponential(&mut self.works, slower * MS);
            self.busy_ns += takes_ns;
            self.replicas[replica].0 = true;
            self.at(now_ns + takes_ns, Event::Done { replica, request });
        }
    }
}

/// What the simulation must show before it says anything: nothing is lost, and nothing appears.
fn check() -> Result<(), String> {
    HEDGES.iter().try_for_each(|hedge| {
        let seen = hedged(hedge.value, 0.5, 2_000, 4 * MS, 1);
        conserved(&seen).map_err(|why| format!("{}: {why}", hedge.id()))
    })
}

/// That every request was answered once, and every copy was served or taken back.
///
/// # Errors
/// In a sentence.
pub fn conserved(seen: &Hedged) -> Result<(), String> {
    let Hedged { asked_count, answered_count, sent_count, served_count, cancelled_count, .. } = *seen;
    if asked_count != answered_count {
        return Err(format!("{asked_count} requests came, and {answered_count} were answered"));
    }
    (sent_count == served_count + cancelled_count).then_some(()).ok_or_else(|| {
        format!("{sent_count} copies were sent, {served_count} served and {cancelled_count} taken back")
    })
}

//! When all threads of a pool block, who adds one, and when? Four policies in virtual time: a SIMULATION, with no thread and no clock in it.
//!
//! # The model
//! Clients ask, wait for the answer, and ask again until the window closes. A request is two items in one queue (first in, first out): the
//! arrival, and the handler. The handler waits for a timer. **The timer's callback is an item of the same queue**, as it is in .NET (and as a
//! timer of tokio needs a worker to poll the driver): so a handler that blocks its thread needs another thread to come back, and that is all
//! there is to starvation here. CPU time is nothing. A pool has a *goal*: so many threads may take items from the queue; who finds more
//! threads than the goal when it looks for work stops.
//!
//! # Policies
//! | | adds a thread |
//! |---|---|
//! | fixed | never (tokio's workers) |
//! | gate | every 500 ms, if something is queued and nothing was taken for 500 ms (.NET's gate thread) |
//! | cooperative | for each thread that says that it blocks: as many as there are cores at once, then one after 25 ms, 50 ms ... 250 ms, a step longer for each further `cores` threads; threads that exist already at once; and the gate (.NET 6 and later, for `Task.Wait` and the like) |
//! | hand-off | for each thread that has been blocked for 10 ms (Go's monitor, at its slowest) |
//!
//! # Limits
//! No hill climbing, no CPU load, no memory limit; threads never time out. The gate's condition is "at least 500 ms" where the source has
//! "more than": with a clock of whole ms the tick would otherwise miss every second turn.
//!
//! # Source
//! dotnet/runtime: `PortableThreadPool.GateThread.cs`, `PortableThreadPool.Blocking.cs`, `TimerQueue.Portable.cs` (a due timer is queued like any
//! other item); dotnet/docs: "Debug ThreadPool starvation", see [`tutorial`]; golang/go: `runtime/proc.go`, sysmon and retake.
pub mod tutorial;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

/// Who adds a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Nobody.
    Fixed,
    /// The gate thread.
    Gate,
    /// The thread that blocks says so; and the gate thread.
    Cooperative,
    /// Whoever sees that a thread has been blocked for some time.
    HandOff,
}

/// What is asked of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Each asks again as soon as it has its answer.
    pub clients: u64,
    /// Their first requests are spread evenly over this time.
    pub spread_ms: u64,
    /// The timer that a handler waits for.
    pub handler_ms: u64,
    /// Whether the handler keeps its thread meanwhile; if not, it awaits.
    pub blocks: bool,
    /// Nobody asks any more after this; what was asked is still answered.
    pub window_ms: u64,
}

/// The pool when the first request comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The least number of threads, and the step of the cooperative policy.
    pub cores: u64,
    /// Threads that there are at the start, left over from earlier load.
    pub threads: u64,
}

/// How it went.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Answers within the window.
    pub in_window_count: u64,
    /// Answers in all.
    pub answered_count: u64,
    /// Requests that were never answered.
    pub unanswered_count: u64,
    /// Mean time from request to answer, of those that were answered; 0 if none was.
    pub latency_mean_ms: f64,
    /// The longest.
    pub latency_max_ms: u64,
    /// The most threads that there were.
    pub threads_max_count: u64,
}

/// The gate's period, and how long nothing may have been taken from the queue.
const GATE_MS: u64 = 500;
/// The first delay of the cooperative policy, and its step.
const STEP_MS: u64 = 25;
const LONGEST_STEP_MS: u64 = 250;
/// How long a thread is blocked before its place is handed on.
const HAND_OFF_MS: u64 = 10;
/// Who has no answer by then never gets one: each policy that adds threads has added hundreds.
const END_MS: u64 = 300_000;

/// Something that is to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    /// Of the request that was made then.
    TimerDue(u64),
    Gate,
    Adjust,
    /// The handler of this number has been blocked long enough.
    HandOff(u64),
}

/// Something for a thread to do; requests by the time at which they were made.
#[derive(Clone, Copy, Debug)]
enum Item {
    Arrived(u64),
    Handler(u64),
    TimerCallback(u64),
}

/// Whether the goal is to be adjusted to the threads that block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    No,
    Down,
    Up,
}

struct Simulation {
    policy: Policy,
    load: Load,
    cores: u64,
    now_ms: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    sequence: u64,
    queue: VecDeque<Item>,
    goal: u64,
    /// Threads that take items or are blocked in one.
    working: u64,
    existing: u64,
    blocked: u64,
    added_for_blocked: u64,
    pending: Pending,
    next_step_ms: Option<u64>,
    taken_ms: u64,
    /// Threads that are done with an item and look for the next.
    looking: u64,
    /// Of each blocked handler: its number, its request, and whether its place was handed on.
    handlers: VecDeque<(u64, u64, bool)>,
    latency_sum_ms: u64,
    asked: u64,
    out: Outcome,
}

/// Plays it. The same input gives the same outcome, always.
pub fn simulate(policy: Policy, pool: Pool, load: Load) -> Outcome {
    let mut s = Simulation {
        policy,
        load,
        cores: pool.cores.max(1),
        now_ms: 0,
        events: BinaryHeap::new(),
        sequence: 0,
        queue: VecDeque::new(),
        goal: pool.threads.max(1),
        working: 0,
        existing: 0,
        blocked: 0,
        added_for_blocked: 0,
        pending: Pending::No,
        next_step_ms: None,
        taken_ms: 0,
        looking: 0,
        handlers: VecDeque::new(),
        latency_sum_ms: 0,
        asked: 0,
        out: Outcome::default(),
    };
    for client in 0..load.clients {
        s.at(load.spread_ms * client / load.clients, Event::Arrival);
    }
    if matches!(policy, Policy::Gate | Policy::Cooperative) {
        s.at(GATE_MS, Event::Gate);
    }
    while let Some(Reverse((at_ms, _, event))) = s.events.pop().filter(|Reverse((ms, ..))| *ms <= END_MS) {
        s.now_ms = at_ms;
        s.happen(event);
        // What happens at the same moment has happened before anybody looks for work.
        if s.events.peek().is_none_or(|Reverse((next_ms, ..))| *next_ms > at_ms) {
            s.work();
        }
    }
    s.out.unanswered_count = s.asked - s.out.answered_count;
    s.out.latency_mean_ms = s.latency_sum_ms as f64 / s.out.answered_count.max(1) as f64;
    s.out
}

impl Simulation {
    fn at(&mut self, ms: u64, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((ms, self.sequence, event)));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => self.ask(),
            Event::TimerDue(request) => self.queue.push_back(Item::TimerCallback(request)),
            Event::Gate => {
                let starved = !self.queue.is_empty() && self.now_ms - self.taken_ms >= GATE_MS;
                if self.pending == Pending::No && starved && self.working >= self.goal {
                    self.goal = self.working + 1;
                }
                if self.asked > self.out.answered_count || self.now_ms < self.load.window_ms {
                    self.at(self.now_ms + GATE_MS, Event::Gate);
                }
            }
            Event::Adjust => self.adjust(),
            Event::HandOff(number) => {
                if let Some(handler) = self.handlers.iter_mut().find(|(n, ..)| *n == number) {
                    handler.2 = true;
                    self.goal += 1;
                }
            }
        }
    }

    fn ask(&mut self) {
        self.asked += 1;
        self.queue.push_back(Item::Arrived(self.now_ms));
    }

    /// Threads take items until none is left, or none may.
    fn work(&mut self) {
        loop {
            if self.looking > 0 {
                self.looking -= 1;
                if self.working > self.goal {
                    self.working -= 1;
                    continue;
                }
            } else if self.working < self.goal && !self.queue.is_empty() {
                self.working += 1;
                self.existing = self.existing.max(self.working);
                self.out.threads_max_count = self.existing;
            } else {
                return;
            }
            match self.queue.pop_front() {
                Some(item) => self.run(item),
                None => self.working -= 1,
            }
        }
    }

    fn run(&mut self, item: Item) {
        self.taken_ms = self.now_ms;
        match item {
            Item::Arrived(request) => {
                self.queue.push_back(Item::Handler(request));
                self.looking += 1;
            }
            Item::Handler(request) => {
                self.at(self.now_ms + self.load.handler_ms, Event::TimerDue(request));
                if self.load.blocks { self.block(request) } else { self.looking += 1 }
            }
            Item::TimerCallback(request) => {
                self.looking += 1;
                if self.load.blocks {
                    self.unblock(request);
                    self.looking += 1;
                }
                let latency_ms = self.now_ms - request;
                self.latency_sum_ms += latency_ms;
                self.out.latency_max_ms = self.out.latency_max_ms.max(latency_ms);
                self.out.answered_count += 1;
                self.out.in_window_count += u64::from(self.now_ms <= self.load.window_ms);
                if self.now_ms < self.load.window_ms {
                    self.ask();
                }
            }
        }
    }

    fn block(&mut self, request: u64) {
        self.sequence += 1;
        let number = self.sequence;
        self.handlers.push_back((number, request, false));
        self.blocked += 1;
        match self.policy {
            Policy::HandOff => self.at(self.now_ms + HAND_OFF_MS, Event::HandOff(number)),
            Policy::Cooperative if self.pending != Pending::Up && self.goal < self.wanted() => {
                if self.pending == Pending::No {
                    self.at(self.now_ms, Event::Adjust);
                }
                self.pending = Pending::Up;
            }
            _ => {}
        }
    }

    fn unblock(&mut self, request: u64) {
        let place = self.handlers.iter().position(|(_, r, _)| *r == request);
        let handed_on = place.and_then(|i| self.handlers.remove(i)).is_some_and(|(.., handed_on)| handed_on);
        self.blocked -= 1;
        if handed_on {
            self.goal -= 1;
        }
        let over = self.added_for_blocked > 0 && self.goal > self.wanted();
        if self.policy == Policy::Cooperative && self.pending != Pending::Down && over {
            self.pending = Pending::Down;
            self.at(self.now_ms, Event::Adjust);
        }
    }

    /// The goal that makes up for those that block.
    fn wanted(&self) -> u64 {
        self.cores + self.blocked
    }

    fn adjust(&mut self) {
        let step_over = self.next_step_ms.is_some_and(|ms| self.now_ms >= ms);
        if self.pending == Pending::No {
            self.next_step_ms = None;
            return;
        }
        if self.pending == Pending::Up && self.next_step_ms.is_some() && !step_over {
            return;
        }
        self.pending = Pending::No;
        self.next_step_ms = None;
        let wanted = self.wanted();
        if self.goal >= wanted {
            let less = (self.goal - wanted).min(self.added_for_blocked);
            self.added_for_blocked -= less;
            self.goal -= less;
            return;
        }
        let at_once = self.cores * 2;
        let free = wanted.min(at_once.max(self.existing));
        let goal = if self.goal < free { free } else { self.goal + u64::from(step_over) };
        self.added_for_blocked += goal - self.goal;
        self.goal = goal;
        if goal < wanted {
            let steps = 1 + goal.saturating_sub(at_once) / self.cores;
            let next_ms = self.now_ms + (steps * STEP_MS).min(LONGEST_STEP_MS);
            self.pending = Pending::Up;
            self.next_step_ms = Some(next_ms);
            self.at(next_ms, Event::Adjust);
        }
    }
}

//! The pause ledger: a victim that polls and looks at the clock, and what each gap was in which it got nothing done.
//!
//! A gap is split into parts that add up to it, in this order, so that nothing is booked twice:
//!
//! | part | is | known from |
//! |---|---|---|
//! | stopped | the world stood still | the log of pauses, by the clock: the overlap with the gap |
//! | throttled | the group's CPU quota was used up | `cpu.stat`, where the kernel adds it up when the group goes on |
//! | run queue | somebody else had the CPU | schedstat; the kernel books time without quota here, too, so that is taken off |
//! | faults | the kernel provided pages | their number, times what one costs (measured: see [`fault_ns`]): an estimate |
//! | rest | everything else: the victim's own work, interrupts, a hypervisor | what is left |
//!
//! Limits: of a victim that lost its CPU while the world stood still, that time is "stopped". Counters are read at gaps only, so
//! what happened in gaps too short to count is booked to the next one, up to its length. What the system does not tell is in the rest.
use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::{Duration, Instant},
};

use crate::{
    heap::{Heap, Pause},
    machine::{
        group::ThrottledClock,
        memory::{self, Mapping},
        sched::runq_of_this_thread,
    },
    stats,
};

/// A gap from here on is recorded.
const GAP: Duration = Duration::from_micros(20);
/// Pages touched to find out what a fault costs.
const FAULTS: usize = 256;

/// One time in which a victim got nothing done, and how the counters grew until its end. `None`: the system does not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// Since the heap was made, as a pause's times are.
    pub from: Duration,
    /// Its end.
    pub to: Duration,
    /// Run-queue delay of the victim, in ns; includes `throttled_ns`.
    pub runq_ns: Option<u64>,
    /// Time for which the group's quota was used up, in ns, all CPUs together.
    pub throttled_ns: Option<u64>,
    /// Minor faults of the victim.
    pub faults_count: Option<u64>,
}

/// What gaps were made of, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// The world stood still.
    pub stopped_ns: u64,
    /// Without quota.
    pub throttled_ns: u64,
    /// Somebody else had the CPU.
    pub runq_ns: u64,
    /// The kernel provided pages (estimated).
    pub faults_ns: u64,
    /// Everything else.
    pub rest_ns: u64,
}

impl Parts {
    /// All of it: the length of the gaps.
    pub fn sum_ns(&self) -> u64 {
        self.stopped_ns + self.throttled_ns + self.runq_ns + self.faults_ns + self.rest_ns
    }

    /// Each part as a share of all, under the name that a sample gives it. Nothing if there was no gap.
    pub fn shares(&self) -> Vec<(&'static str, f64)> {
        let all = self.sum_ns();
        if all == 0 {
            return Vec::new();
        }
        let parts = [
            ("lost_stopped_share", self.stopped_ns),
            ("lost_throttled_share", self.throttled_ns),
            ("lost_runq_share", self.runq_ns),
            ("lost_faults_share", self.faults_ns),
            ("lost_rest_share", self.rest_ns),
        ];
        parts.map(|(name, ns)| (name, ns as f64 / all as f64)).into()
    }

    fn add(&mut self, other: &Self) {
        self.stopped_ns += other.stopped_ns;
        self.throttled_ns += other.throttled_ns;
        self.runq_ns += other.runq_ns;
        self.faults_ns += other.faults_ns;
        self.rest_ns += other.rest_ns;
    }
}

/// Splits a gap; the parts add up to it, whatever the counters say. `pauses` may be in any order, and must not overlap each
/// other; `fault_ns` is what one fault costs.
pub fn split(gap: &Gap, pauses: &[Pause], fault_ns: u64) -> Parts {
    let whole = ns(gap.to.saturating_sub(gap.from));
    let overlap = |p: &Pause| {
        let (from, to) = (gap.from.max(p.asked_at), gap.to.min(p.asked_at + p.whole()));
        ns(to.saturating_sub(from))
    };
    let stopped_ns = pauses.iter().map(overlap).sum::<u64>().min(whole);
    let mut left = whole - stopped_ns;
    let mut take = |wanted: u64| {
        let taken = wanted.min(left);
        left -= taken;
        taken
    };
    // The group's counter adds up all CPUs. A victim that was throttled waited for it in the run queue, no longer than that.
    let booked = gap.throttled_ns.unwrap_or(0);
    let throttled_ns = take(gap.runq_ns.map_or(booked, |runq| booked.min(runq)));
    let runq_ns = take(gap.runq_ns.unwrap_or(0).saturating_sub(throttled_ns));
    let faults_ns = take(gap.faults_count.unwrap_or(0).saturating_mul(fault_ns));
    Parts { stopped_ns, throttled_ns, runq_ns, faults_ns, rest_ns: left }
}

/// What a victim suffered.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// Every gap of 20 us or more, in order.
    pub gaps: Vec<Gap>,
    /// How long it was watched.
    pub watched: Duration,
    /// What a fault cost this thread before it was watched, in ns.
    pub fault_ns: u64,
}

impl Ledger {
    /// The longest gap, in ns; `None` if there was none.
    pub fn longest_ns(&self) -> Option<u64> {
        self.gaps.iter().map(|g| ns(g.to.saturating_sub(g.from))).max()
    }

    /// Pauses for each gap that had any: 1 if the victim got to run after each of them; `None` if it met none.
    pub fn pauses_per_gap(&self, pauses: &[Pause]) -> Option<f64> {
        let met = |p: &&Pause, g: &Gap| p.asked_at < g.to && g.from < p.asked_at + p.whole();
        let counts = self.gaps.iter().map(|g| pauses.iter().filter(|p| met(p, g)).count()).filter(|n| *n > 0);
        let (gaps, all) = counts.fold((0_usize, 0_usize), |(gaps, all), n| (gaps + 1, all + n));
        (gaps > 0).then(|| all as f64 / gaps as f64)
    }

    /// All gaps together. `pauses` are those of the same time.
    pub fn parts(&self, pauses: &[Pause]) -> Parts {
        let mut all = Parts::default();
        for gap in &self.gaps {
            all.add(&split(gap, pauses, self.fault_ns));
        }
        all
    }
}

/// Repeats `turn` on the calling thread until it is told to stop, and records each turn that took too long. A turn must poll
/// the heap: until it does, nobody else can stop the world.
pub fn watch(heap: &Heap, stop: &AtomicBool, mut turn: impl FnMut()) -> Ledger {
    let mut ledger = Ledger { fault_ns: fault_ns(), ..Ledger::default() };
    let throttled = ThrottledClock::here(Path::new("/"));
    let runq = runq_of_this_thread();
    let counters = || (runq(), throttled.as_ref().and_then(ThrottledClock::read_ns), memory::minor_faults());
    let grown = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
    let mut before = counters();
    let began = Instant::now();
    let mut last = began;
    // Relaxed: the flag carries nothing but itself.
    while !stop.load(Relaxed) {
        turn();
        let now = Instant::now();
        if now - last >= GAP {
            let after = counters();
            ledger.gaps.push(Gap {
                from: last.saturating_duration_since(heap.born()),
                to: now.saturating_duration_since(heap.born()),
                runq_ns: grown(after.0, before.0),
                throttled_ns: grown(after.1, before.1),
                faults_count: grown(after.2, before.2),
            });
            // Read again: what the bookkeeping itself cost is no gap of the victim.
            before = counters();
            last = Instant::now();
        } else {
            last = now;
        }
    }
    ledger.watched = last - began;
    ledger
}

/// What it costs this thread to touch a page for the first time, in ns: the median of some hundred; 0 where none can be mapped.
pub fn fault_ns() -> u64 {
    let page = memory::page_bytes();
    let Ok(mut fresh) = Mapping::lazy(FAULTS * page) else { return 0 };
    fresh.small_pages_only();
    let took: Vec<f64> = (0..FAULTS)
        .map(|i| {
            let start = Instant::now();
            fresh.touch(i * page);
            ns(start.elapsed()) as f64
        })
        .collect();
    stats::median(&took).unwrap_or(0.0) as u64
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

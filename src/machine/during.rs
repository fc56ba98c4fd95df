//! Who else used the CPUs while something ran.
//!
//! The system counts how long each CPU was busy, for anybody; what this process and its children used is taken off, and
//! the rest is other people's. A run that shared its CPUs with a compiler shows it here, even if the compiler started
//! after every check at the beginning had passed.
use std::{collections::BTreeMap, fs};

use crate::machine::allowed_cpus;

/// Fewer ticks than this (of 10 ms, over all allowed CPUs) and one tick more or less is a share of more than 5 %:
/// nothing is said then.
pub const MIN_TICKS: u64 = 20;

/// Time on the allowed CPUs since the system started, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// A process or the kernel ran, whoever's it was.
    pub busy: u64,
    /// The hypervisor ran somebody else although this machine wanted to run.
    pub steal: u64,
    /// All of the time: busy, stolen, idle.
    pub total: u64,
}

/// What one look shows.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// `None` without /proc/stat.
    pub ticks: Option<Ticks>,
    /// CPU time of this process and of its children that have ended and been waited for, in ns; `None` where it cannot be had.
    pub own_ns: Option<f64>,
}

/// Watches a run from outside.
///
/// A child counts as its parent's only once it has ended and been waited for, so wait for all of them before
/// [`Watchful::finish`]; one that is left running counts as others' work.
#[derive(Clone, Debug)]
pub struct Watchful {
    cpus: Vec<usize>,
    before: Reading,
}

impl Watchful {
    /// Starts to watch the CPUs that the calling thread may use now (so call it before the thread is pinned).
    pub fn start() -> Self {
        Self::on(allowed_cpus())
    }

    /// Starts to watch these CPUs.
    pub fn on(cpus: Vec<usize>) -> Self {
        let before = look(&cpus);
        Self { cpus, before }
    }

    /// Shares of the watched CPUs' time since the start: `others_busy_share` and `steal_share`, 0 to 1. A share that
    /// cannot be known (no /proc, or [too short](MIN_TICKS)) is absent, never zero.
    pub fn finish(self) -> BTreeMap<String, f64> {
        shares(&self.before, &look(&self.cpus), tick_ns())
    }
}

fn look(cpus: &[usize]) -> Reading {
    Reading {
        ticks: fs::read_to_string("/proc/stat").ok().and_then(|text| ticks(&text, cpus)),
        own_ns: own_ns(),
    }
}

/// The sum over these CPUs' lines of /proc/stat. Only they count: on a large machine that lends us four CPUs, the rest's
/// work is not in our way.
pub fn ticks(stat: &str, cpus: &[usize]) -> Option<Ticks> {
    let mut sum = None;
    for line in stat.lines() {
        let mut words = line.split_whitespace();
        let cpu = words.next().and_then(|w| w.strip_prefix("cpu")?.parse::<usize>().ok());
        if !cpu.is_some_and(|c| cpus.contains(&c)) {
            continue;
        }
        // user nice system idle iowait irq softirq steal; guest time, which follows, is already in user's
        let n: Vec<u64> = words.take(8).map_while(|w| w.parse().ok()).collect();
        if n.len() < 4 {
            continue;
        }
        let at = |i: usize| n.get(i).copied().unwrap_or(0);
        let sum = sum.get_or_insert(Ticks::default());
        sum.busy += at(0) + at(1) + at(2) + at(5) + at(6);
        sum.steal += at(7);
        sum.total += n.iter().sum::<u64>();
    }
    sum
}

/// The shares between two looks; `tick_ns` is the length of a tick. Pure, for recorded readings.
pub fn shares(before: &Reading, after: &Reading, tick_ns: f64) -> BTreeMap<String, f64> {
    let mut shares = BTreeMap::new();
    let (Some(a), Some(b)) = (before.ticks, after.ticks) else { return shares };
    // A CPU that went offline takes its ticks along; nothing can be said of such a run.
    let total = b.total.saturating_sub(a.total);
    if total < MIN_TICKS {
        return shares;
    }
    shares.insert("steal_share".into(), b.steal.saturating_sub(a.steal) as f64 / total as f64);
    if let (Some(x), Some(y)) = (before.own_ns, after.own_ns) {
        // Ticks are sampled and own time is exact, so the difference of a process alone may come out below zero.
        let others = b.busy.saturating_sub(a.busy) as f64 - (y - x) / tick_ns;
        shares.insert("others_busy_share".into(), (others / total as f64).clamp(0.0, 1.0));
    }
    shares
}

#[cfg(unix)]
fn tick_ns() -> f64 {
    // SAFETY: sysconf takes a number and returns one.
    let per_s = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if per_s > 0 { 1e9 / per_s as f64 } else { 1e7 }
}

#[cfg(not(unix))]
fn tick_ns() -> f64 {
    1e7
}

#[cfg(unix)]
fn own_ns() -> Option<f64> {
    let of = |who| {
        let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: the pointer is to a whole rusage, which the call fills.
        let rc = unsafe { libc::getrusage(who, usage.as_mut_ptr()) };
        // SAFETY: zeroed, hence a valid rusage (plain numbers) even if the call had failed.
        let usage = unsafe { usage.assume_init() };
        let ns = |t: libc::timeval| t.tv_sec as f64 * 1e9 + t.tv_usec as f64 * 1e3;
        (rc == 0).then(|| ns(usage.ru_utime) + ns(usage.ru_stime))
    };
    Some(of(libc::RUSAGE_SELF)? + of(libc::RUSAGE_CHILDREN)?)
}

#[cfg(not(unix))]
fn own_ns() -> Option<f64> {
    None
}

//! The unlucky caller: the worst single insertion while a collection grows, and which one it is.
//!
//! A collection grows at the same sizes every time, an interruption comes at another place every time. So the growth is repeated, each
//! insertion's time is the least that it ever took, and the worst is the largest of these: what remains is what belongs to the insertion.
//! The very first growth is kept as well: it also pays for fresh memory, and once only, so it may hold an interruption.
use std::{hint::black_box, time::Instant};

use crate::{machine::memory::minor_faults, measure::latency::difference};

/// What growing to a size costs.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    /// Mean time of an insertion, in ns, without reading the clock for each: the least of the repetitions.
    pub mean_ns: f64,
    /// The worst insertion, in ns; contains one reading of the clock.
    pub worst_ns: f64,
    /// Which one it was: the size before it.
    pub worst_at: usize,
    /// The worst insertion of the very first growth, in ns.
    pub first_ns: f64,
    /// Page faults within the worst one, in a growth of its own; `None` where the system does not count them.
    pub worst_faults: Option<f64>,
}

/// Inserts `n` times into what `make` gives, `repeats` times for the single insertions and as often for the mean. `insert` gets the number
/// of the insertion. Memory: 4 bytes for each insertion.
///
/// # Panics
/// If `n` or `repeats` is 0.
pub fn growth<C>(n: usize, repeats: usize, make: impl Fn() -> C, insert: impl Fn(&mut C, u64)) -> Growth {
    assert!(n > 0 && repeats > 0, "no insertion has no cost");
    let mut least = vec![u32::MAX; n];
    let mut first_ns = 0;
    for repeat in 0..repeats {
        let mut collection = make();
        let mut before = Instant::now();
        for (i, least) in least.iter_mut().enumerate() {
            insert(&mut collection, i as u64);
            let now = Instant::now();
            let ns = u32::try_from((now - before).as_nanos()).unwrap_or(u32::MAX);
            if repeat == 0 {
                first_ns = first_ns.max(ns);
            }
            *least = ns.min(*least);
            before = now;
        }
        black_box(&collection);
    }
    let mean_ns = (0..repeats).map(|_| {
        let mut collection = make();
        let start = Instant::now();
        (0..n as u64).for_each(|i| insert(&mut collection, i));
        let ns = start.elapsed().as_nanos() as f64 / n as f64;
        black_box(&collection);
        ns
    });
    let mean_ns = mean_ns.fold(f64::INFINITY, f64::min);
    let (worst_at, worst_ns) =
        least.iter().enumerate().max_by_key(|(_, ns)| **ns).expect("there is an insertion");
    let mut collection = make();
    (0..worst_at as u64).for_each(|i| insert(&mut collection, i));
    let before = minor_faults();
    insert(&mut collection, worst_at as u64);
    let worst_faults = difference(before, minor_faults()).map(|faults| faults as f64);
    black_box(&collection);
    Growth { mean_ns, worst_ns: f64::from(*worst_ns), worst_at, first_ns: f64::from(first_ns), worst_faults }
}

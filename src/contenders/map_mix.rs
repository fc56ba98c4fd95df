//! Reads, insertions and removals on one shared map, mixed so that what is in it stays the same share of the keys for ever: the lanes, and
//! the check that it did stay so.
//!
//! As many insertions as removals are drawn, of the same keys as the reads, whatever the skew. So a key is there half of the time, and half of
//! the reads hit. A lane repeats what it has drawn, and in every second pass its insertions and removals are exchanged: else a key that is
//! inserted once in a pass and never removed would stay, and each later insertion of it would be an overwriting in disguise.
use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use crossbeam::utils::CachePadded;

use crate::{
    contenders::map::{KEYS, Map, SharedMap},
    lab::{
        plan::Plan,
        sample::{AA, Sample},
    },
    measure::{
        cost::Ops,
        keys::{self, Skew},
        order::Order,
        throughput::{self, Apart, Lane},
    },
};

/// Draws of a lane before it begins again. Small enough for a first-level cache beside the map's own lines.
const DRAWS: usize = 4_096;
/// What a lane does in its first passes is told apart, to see whether the share of hits stays.
const EARLY_PASSES: u32 = 16;
/// The share of reads that hit may be so far from what is meant, and late ones so far from early ones; else the map gets no number: it would be
/// measured on another workload than the others.
const DRIFT: f64 = 0.05;

/// What is done, in percent of the operations; the rest reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mix {
    /// So many insert, and as many remove.
    pub each_percent: usize,
    /// Which keys.
    pub skew: Skew,
}

impl Mix {
    /// The share of reads that find something: a half, but all of them if the only key is there and nobody removes it.
    pub fn hit_share(&self) -> f64 {
        if self.skew == Skew::OneKey && self.each_percent == 0 { 1.0 } else { 0.5 }
    }
}

/// As most caches see it: one operation in ten changes the map, and some keys are wanted more than others.
pub const CACHE: Mix = Mix { each_percent: 5, skew: Skew::Zipf(0.99) };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Get,
    Insert,
    Remove,
}

fn steps(mix: Mix, lane: usize) -> Vec<(u32, Deed)> {
    let mut order = Order::new(lane as u64 ^ 0x5eed);
    let mut deed = || match order.below(100) {
        n if n < mix.each_percent => Deed::Insert,
        n if n < 2 * mix.each_percent => Deed::Remove,
        _ => Deed::Get,
    };
    keys::draw(mix.skew, KEYS, DRAWS, lane as u64).into_iter().map(|key| (key, deed())).collect()
}

/// The keys that are there at first: a half of them, and of the draws, so that half of the reads hit from the beginning. The most wanted
/// keys go by turns to the side that is behind. A single key is there.
fn at_first(all: &[Vec<(u32, Deed)>]) -> Vec<u32> {
    let mut wanted: BTreeMap<u32, usize> = (0..KEYS).map(|key| (key, 0)).collect();
    for (key, _) in all.iter().flatten() {
        *wanted.entry(*key).or_default() += 1;
    }
    let mut by_draws: Vec<(usize, u32)> = wanted.into_iter().map(|(key, n)| (n, key)).collect();
    by_draws.sort_unstable_by(|a, b| b.cmp(a));
    let (mut inside, mut there, mut missing) = (Vec::new(), 0, 0);
    for (draws, key) in by_draws {
        // Keys that nobody draws count a little, so that they are divided as well.
        let weight = draws.max(1);
        if there <= missing {
            inside.push(key);
            there += weight;
        } else {
            missing += weight;
        }
    }
    inside
}

/// What a contender's lanes did, over all its instances.
#[derive(Debug, Default)]
pub struct Deeds(CachePadded<[AtomicU64; 6]>);

/// Places in [`Deeds`]: reads and hits, early and late; changes asked for, and those that changed something.
const GETS: [usize; 2] = [0, 2];
const HITS: [usize; 2] = [1, 3];
const ASKED: usize = 4;
const CHANGED: usize = 5;

/// What [`Deeds`] amount to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Share of the reads that found something.
    pub hit_share: f64,
    /// How far the late reads are from the first ones; 0 if there are no late ones yet.
    pub drift_share: f64,
    /// Of the insertions and removals, the share that changed the map; `None` without any.
    pub changed_share: Option<f64>,
}

impl Deeds {
    /// What was seen so far; `None` before the first read.
    pub fn seen(&self) -> Option<Seen> {
        let at = |i: usize| self.0[i].load(Relaxed);
        let share = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
        let hit_share = share(at(HITS[0]) + at(HITS[1]), at(GETS[0]) + at(GETS[1]))?;
        let drift = share(at(HITS[1]), at(GETS[1])).zip(share(at(HITS[0]), at(GETS[0])));
        Some(Seen {
            hit_share,
            drift_share: drift.map_or(0.0, |(late, early)| (late - early).abs()),
            changed_share: share(at(CHANGED), at(ASKED)),
        })
    }
}

impl Seen {
    /// The row with what was seen, or without a value if the share of hits is not what this mix gives.
    pub fn judge(&self, row: Sample, mix: Mix) -> Sample {
        let (hits, drift) = (self.hit_share, self.drift_share);
        if row.unmeasured.is_some() {
            return row;
        }
        let meant = mix.hit_share();
        if (hits - meant).abs() > DRIFT || drift > DRIFT {
            let why = format!(
                "{:.0} % of its reads hit instead of {:.0}, and {:.0} points more or less later on",
                hits * 100.0,
                meant * 100.0,
                drift * 100.0
            );
            return Sample::unmeasured(&row.case, &row.param, why);
        }
        let row = row.with("hit_share", hits).with("drift_share", drift);
        match self.changed_share {
            Some(share) => row.with("changed_share", share),
            None => row,
        }
    }
}

/// All maps at one mix, the first being the baseline: one launch. Each row with what its map hit and changed, or without a number if that was
/// not what was said. Values as of [`throughput::crowd`] and [`Seen::judge`].
pub fn race(plan: &Plan, param: &str, mix: Mix, maps: &[&SharedMap]) -> Vec<Sample> {
    let deeds: Vec<Arc<Deeds>> = maps.iter().map(|_| Arc::default()).collect();
    let judged = |row: Sample| {
        let id = |map: &SharedMap| AsRef::as_ref(map).id;
        // The twin of the first is counted with it.
        let own = maps.iter().zip(&deeds).find(|(map, _)| row.case == AA || row.case == id(map));
        match own.and_then(|(_, deeds)| deeds.seen()) {
            Some(seen) => seen.judge(row, mix),
            None => row, // a smoke run: no lane did enough to be tallied
        }
    };
    let arms = maps.iter().zip(&deeds).map(|(map, deeds)| map.mixed(mix, deeds));
    throughput::crowd(plan, param, 0.0, arms).into_iter().map(judged).collect()
}

/// Lanes that share one map, each operation as `mix` has it. What they did is counted into `deeds`.
pub fn lanes<M: Map>(threads: usize, mix: Mix, deeds: &Arc<Deeds>) -> Vec<Lane> {
    let map = Arc::new(CachePadded::new(M::default()));
    let all: Vec<_> = (0..threads).map(|lane| steps(mix, lane)).collect();
    at_first(&all).into_iter().for_each(|key| _ = map.put(key, u64::from(key)));
    all.into_iter().map(|steps| lane(map.clone(), deeds.clone(), steps)).collect()
}

/// The same by one thread, for [`crate::measure::cost`].
pub(super) fn alone<M: Map>() -> Ops {
    let mut lane = lanes::<M>(1, CACHE, &Arc::default()).swap_remove(0);
    Box::new(move |n| (lane.0)(u32::try_from(n).expect("a block is short"), 0))
}

fn lane<M: Map>(map: Arc<CachePadded<M>>, deeds: Arc<Deeds>, steps: Vec<(u32, Deed)>) -> Lane {
    let (mut at, mut pass, mut unsaid, mut mine) = (0, 0u32, 0, [0u64; 6]);
    Box::new(Apart(move |n: u32, _: u32| {
        for _ in 0..n {
            let (key, deed) = steps[at];
            let late = usize::from(pass >= EARLY_PASSES);
            match (deed, pass.is_multiple_of(2)) {
                (Deed::Get, _) => {
                    mine[GETS[late]] += 1;
                    mine[HITS[late]] += u64::from(black_box(map.get(key)).is_some());
                }
                (Deed::Insert, true) | (Deed::Remove, false) => {
                    mine[ASKED] += 1;
                    mine[CHANGED] += u64::from(map.put(key, u64::from(pass)));
                }
                (Deed::Remove, true) | (Deed::Insert, false) => {
                    mine[ASKED] += 1;
                    mine[CHANGED] += u64::from(map.remove(key));
                }
            }
            at += 1;
            if at == steps.len() {
                (at, pass) = (0, pass.saturating_add(1));
            }
        }
        unsaid += n;
        // Once in hundreds of operations: a shared tally must not be what is measured.
        if unsaid >= 512 {
            unsaid = 0;
            deeds
                .0
                .iter()
                .zip(&mut mine)
                .for_each(|(all, mine)| _ = all.fetch_add(std::mem::take(mine), Relaxed));
        }
    }))
}

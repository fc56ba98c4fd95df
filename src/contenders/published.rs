//! One value that many read and some replace, under one trait: snapshots and what frees their old values, ours and the crates', and the
//! check of each.
use std::{
    hint::black_box,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering::*},
    },
    thread,
};

use arc_swap::{ArcSwap, Cache};
use crossbeam::epoch::{self, Atomic, Owned};
use haphazard::{AtomicPtr, HazardPointer};

use crate::{
    lab::{Contender, sample::Sample},
    measure::{
        allocated,
        cost::{Ops, Solo},
        throughput::{Apart, Crowd, Lane},
    },
    structures::{
        lockfree::snapshot::{Snapshot, SnapshotHandle},
        reclaim::{Reclaim, epoch::Epoch, hazard::Hazard, leak::Leak},
    },
};

/// What is published.
pub trait Value: Send + Sync + 'static {}
impl<T: Send + Sync + 'static> Value for T {}

const fn named(id: &'static str, name: &'static str) -> Contender {
    Contender::new(id).called(name)
}

/// A published value, shared.
pub trait Publish<V: Value>: Sync + 'static {
    /// Who it is.
    const IS: Contender;
    /// A thread's access.
    type Access: Access<V> + Send + 'static;
    /// Publishes a first value, for so many threads at a time.
    fn new(value: V, threads: usize) -> Self;
    /// A thread's access. It borrows for ever: an instance under measurement lives as long as its process.
    fn access(&'static self) -> Self::Access;
}

/// One thread's access to a published value.
pub trait Access<V> {
    /// Looks at the newest value, which stays as it is meanwhile.
    fn read<U>(&mut self, look: impl FnOnce(&V) -> U) -> U;
    /// Replaces it.
    fn publish(&mut self, value: V);
}

macro_rules! ours {
    ($name:ident, $scheme:ty, $is:expr) => {
        impl<V: Value> Publish<V> for Snapshot<V, $scheme> {
            const IS: Contender = $is;
            type Access = SnapshotHandle<'static, V, $scheme>;
            fn new(value: V, threads: usize) -> Self {
                Self::new(value, threads)
            }
            fn access(&'static self) -> Self::Access {
                self.handle().expect("one for each thread")
            }
        }
        #[doc = concat!("Our snapshot with the scheme `", stringify!($scheme), "`.")]
        pub static $name: Published = published::<Snapshot<_, $scheme>, Snapshot<_, $scheme>>();
    };
}
ours!(SNAPSHOT_EPOCH, Epoch, named("snapshot_epoch", "our snapshot with epochs"));
ours!(SNAPSHOT_HAZARD, Hazard, named("snapshot_hazard", "our snapshot with hazard pointers"));
ours!(SNAPSHOT_LEAK, Leak, named("snapshot_leak", "our snapshot that frees nothing"));

impl<V: Value, R: Reclaim + 'static> Access<V> for SnapshotHandle<'static, V, R> {
    #[inline]
    fn read<U>(&mut self, look: impl FnOnce(&V) -> U) -> U {
        SnapshotHandle::read(self, look)
    }
    #[inline]
    fn publish(&mut self, value: V) {
        SnapshotHandle::publish(self, value);
    }
}

/// A reader-writer lock around an `Arc`: readers clone it and look outside of the lock.
pub type Locked<V> = RwLock<Arc<V>>;

impl<V: Value> Publish<V> for Locked<V> {
    const IS: Contender = named("rwlock_arc", "std RwLock<Arc>");
    type Access = &'static Self;
    fn new(value: V, _: usize) -> Self {
        Self::new(Arc::new(value))
    }
    fn access(&'static self) -> &'static Self {
        self
    }
}

impl<V: Value> Access<V> for &'static Locked<V> {
    #[inline]
    fn read<U>(&mut self, look: impl FnOnce(&V) -> U) -> U {
        let value = Arc::clone(&RwLock::read(self).expect("no holder panics"));
        look(&value)
    }
    #[inline]
    fn publish(&mut self, value: V) {
        let new = Arc::new(value);
        let old = std::mem::replace(&mut *self.write().expect("no holder panics"), new);
        drop(old); // outside of the lock
    }
}

impl<V: Value> Publish<V> for ArcSwap<V> {
    const IS: Contender = named("arc_swap", "arc-swap").of("arc-swap");
    type Access = &'static Self;
    fn new(value: V, _: usize) -> Self {
        Self::from_pointee(value)
    }
    fn access(&'static self) -> &'static Self {
        self
    }
}

impl<V: Value> Access<V> for &'static ArcSwap<V> {
    #[inline]
    fn read<U>(&mut self, look: impl FnOnce(&V) -> U) -> U {
        look(&self.load())
    }
    #[inline]
    fn publish(&mut self, value: V) {
        self.store(Arc::new(value));
    }
}

/// arc-swap with a copy of the `Arc` in each reader, which it renews when the pointer has changed. It keeps an old value alive until it reads.
#[derive(Debug)]
pub struct Cached<V>(ArcSwap<V>);

impl<V: Value> Publish<V> for Cached<V> {
    const IS: Contender = named("arc_swap_cache", "arc-swap with a Cache").of("arc-swap");
    type Access = Cache<&'static ArcSwap<V>, Arc<V>>;
    fn new(value: V, _: usize) -> Self {
        Self(ArcSwap::from_pointee(value))
    }
    fn access(&'static self) -> Self::Access {
        Cache::new(&self.0)
    }
}

impl<V: Value> Access<V> for Cache<&'static ArcSwap<V>, Arc<V>> {
    #[inline]
    fn read<U>(&mut self, look: impl FnOnce(&V) -> U) -> U {
        look(self.load())
    }
    #[inline]
    fn publish(&mut self, value: V) {
        self.arc_swap().store(Arc::new(value));
    }
}

/// A pointer whose old values crossbeam-epoch frees.
///
/// Edges: E1 publish's Release -> read's Acquire: the value.
#[derive(Debug)]
pub struct CrossbeamEpoch<V>(Atomic<V>);

impl<V: Value> Publish<V> for CrossbeamEpoch<V> {
    const IS: Contender = named("crossbeam_epoch", "crossbeam-epoch").of("crossbeam");
    type Access = &'static Self;
    fn new(value: V, _: usize) -> Self {
        Self(Atomic::new(value))
    }
    fn access(&'static self) -> &'static Self {
        self
    }
}

impl<V: Value> Access<V> for &'static CrossbeamEpoch<V> {
    #[inline]
    fn read<U>(&mut self, look: impl FnOnce(&V) -> U) -> U {
        let guard = epoch::pin();
        // SAFETY: never null; loaded under the guard, so not freed before it is dropped; by E1 the value is whole.
        look(unsafe { self.0.load(Acquire, &guard).deref() }) // E1
    }
    #[inline]
    fn publish(&mut self, value: V) {
        let guard = epoch::pin();
        let old = self.0.swap(Owned::new(value), AcqRel, &guard); // E1
        // SAFETY: unlinked by us, once; those who still read it are under guards.
        unsafe { guard.defer_destroy(old) };
    }
}

/// A pointer whose old values the crate haphazard frees.
#[derive(Debug)]
pub struct Haphazard<V>(AtomicPtr<V>);

/// A thread's access: the pointer and a hazard pointer of its own.
pub struct HaphazardAccess<V: 'static>(&'static AtomicPtr<V>, HazardPointer<'static>);

impl<V> std::fmt::Debug for HaphazardAccess<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HaphazardAccess { .. }")
    }
}

impl<V: Value> Publish<V> for Haphazard<V> {
    const IS: Contender = named("haphazard", "haphazard").of("haphazard");
    type Access = HaphazardAccess<V>;
    fn new(value: V, _: usize) -> Self {
        Self(AtomicPtr::from(Box::new(value)))
    }
    fn access(&'static self) -> Self::Access {
        HaphazardAccess(&self.0, HazardPointer::new())
    }
}

impl<V: Value> Access<V> for HaphazardAccess<V> {
    #[inline]
    fn read<U>(&mut self, look: impl FnOnce(&V) -> U) -> U {
        let result = look(self.0.safe_load(&mut self.1).expect("never null"));
        self.1.reset_protection();
        result
    }
    #[inline]
    fn publish(&mut self, value: V) {
        let old = self.0.swap(Box::new(value)).expect("never null");
        // SAFETY: unlinked by us, and so retired once; this pointer is used with the global domain only.
        unsafe { old.retire() };
    }
}

/// What is published under measurement: eight words, a line of them, and nobody else's data beside it. Else the counts of an `Arc`, which
/// readers write, would share lines with whatever the allocator put there.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(align(128))]
pub struct Line(pub [u64; 8]);

/// A value of which nothing is freed before the last reader has left the lock: readers look under it.
pub type Held<V> = RwLock<V>;

impl<V: Value> Publish<V> for Apart<Held<V>> {
    const IS: Contender = named("rwlock", "std RwLock, read under the lock");
    type Access = &'static Held<V>;
    fn new(value: V, _: usize) -> Self {
        Apart(RwLock::new(value))
    }
    fn access(&'static self) -> Self::Access {
        &self.0
    }
}

impl<V: Value> Access<V> for &'static Held<V> {
    #[inline]
    fn read<U>(&mut self, look: impl FnOnce(&V) -> U) -> U {
        look(&RwLock::read(self).expect("no holder panics"))
    }
    #[inline]
    fn publish(&mut self, value: V) {
        *self.write().expect("no holder panics") = value;
    }
}

fn for_ever<V: Value, P: Publish<V>>(value: V, threads: usize) -> &'static P {
    &Box::leak(Box::new(Apart(P::new(value, threads)))).0
}

/// A published value as a contender: its name, and everything that a lab can ask of it.
#[derive(Clone, Copy, Debug)]
pub struct Published {
    is: Contender,
    reads: fn() -> Ops,
    publishes: fn() -> Ops,
    lanes: fn(threads: usize, publish_every: u32) -> Vec<Lane>,
    instance: fn() -> Result<Sample, String>,
    garbage: fn(replaced: usize, is_stalled: bool) -> Sample,
}

/// A published value as a contender: as it is timed, and as its garbage is counted.
pub const fn published<P: Publish<Line>, C: Publish<Counted>>() -> Published {
    fn instance<P: Publish<Line>>() -> Result<Sample, String> {
        allocated::instance(|| Box::new(P::new(Line([1; 8]), 2)))
    }
    Published {
        is: P::IS.checked(check::<P>),
        reads: alone::<P, false>,
        publishes: alone::<P, true>,
        lanes: lanes::<P>,
        instance: instance::<P>,
        garbage: garbage::<C>,
    }
}

/// `Locked`.
pub static RWLOCK_ARC: Published = published::<Locked<_>, Locked<_>>();
/// `Held`.
pub static RWLOCK: Published = published::<Apart<Held<_>>, Apart<Held<_>>>();
/// `ArcSwap`.
pub static ARC_SWAP: Published = published::<ArcSwap<_>, ArcSwap<_>>();
/// `Cached`.
pub static ARC_SWAP_CACHE: Published = published::<Cached<_>, Cached<_>>();
/// `CrossbeamEpoch`.
pub static CROSSBEAM_EPOCH: Published = published::<CrossbeamEpoch<_>, CrossbeamEpoch<_>>();
/// `Haphazard`.
pub static HAPHAZARD: Published = published::<Haphazard<_>, Haphazard<_>>();

impl AsRef<Contender> for Published {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Published {
    /// One thread that only reads.
    pub fn reads(&self) -> Solo {
        Solo::new(self.is.id, self.reads)
    }
    /// One thread that only publishes.
    pub fn publishes(&self) -> Solo {
        Solo::new(self.is.id, self.publishes)
    }
    /// Lanes that share one value; every `publish_every`-th operation of a lane publishes (0: none does), the others read.
    pub fn crowd(&self, publish_every: u32) -> Crowd {
        let lanes = self.lanes;
        Crowd::new(self.is.id, move |threads| lanes(threads, publish_every))
    }
    /// What one for two threads weighs: see [`allocated::instance`].
    ///
    /// # Errors
    /// Where the allocator does not tell.
    pub fn instance(&self) -> Result<Sample, String> {
        (self.instance)()
    }
    /// See [`garbage`].
    pub fn garbage(&self, replaced: usize, is_stalled: bool) -> Sample {
        (self.garbage)(replaced, is_stalled)
    }
}

fn alone<P: Publish<Line>, const PUBLISH: bool>() -> Ops {
    let mut access = for_ever::<Line, P>(Line([0; 8]), 1).access();
    Box::new(move |n| {
        for i in 0..n {
            if PUBLISH {
                access.publish(Line([i; 8]));
            } else {
                black_box(access.read(|line| line.0[0] ^ line.0[7]));
            }
        }
    })
}

fn lanes<P: Publish<Line>>(threads: usize, publish_every: u32) -> Vec<Lane> {
    let shared = for_ever::<Line, P>(Line([0; 8]), threads);
    let lane = |lane: usize| {
        let mut access = shared.access();
        // Not all at once.
        let mut until_publish =
            publish_every.saturating_sub(u32::try_from(lane).unwrap_or(0) % publish_every.max(1));
        Box::new(Apart(move |n: u32, _: u32| {
            for i in 0..n {
                if until_publish == 1 {
                    until_publish = publish_every;
                    access.publish(Line([u64::from(i); 8]));
                } else {
                    until_publish = until_publish.saturating_sub(1);
                    black_box(access.read(|line| line.0[0] ^ line.0[7]));
                }
            }
        })) as Lane
    };
    (0..threads).map(lane).collect()
}

/// A value that is counted while it lives.
#[derive(Debug)]
pub struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Relaxed);
        Self(alive.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Replaces the value so often, with a reader asleep inside or without, and counts what is kept of the old ones: exact, and the same on any
/// machine. Values: `garbage_count` at the end, `peak_count`, `after_count` when the reader has left and some more were published.
pub fn garbage<P: Publish<Counted>>(replaced: usize, is_stalled: bool) -> Sample {
    let alive = Arc::new(AtomicUsize::new(0));
    let shared: &'static P = for_ever(Counted::new(&alive), 3);
    // All but the one that is published.
    let garbage = || alive.load(Relaxed).saturating_sub(1);
    let replace = |times: usize| {
        let mut access = shared.access();
        let mut peak = 0;
        for _ in 0..times {
            access.publish(Counted::new(&alive));
            peak = peak.max(garbage());
        }
        peak
    };
    // In another thread than the reader's: schemes may keep state for each thread.
    let elsewhere =
        |times| thread::scope(|s| s.spawn(|| replace(times)).join().expect("publishing does not panic"));
    let mut reader = shared.access();
    let (peak, at_end) = if is_stalled {
        reader.read(|_| (elsewhere(replaced), garbage()))
    } else {
        (elsewhere(replaced), garbage())
    };
    elsewhere(replaced);
    Sample::default()
        .with("garbage_count", at_end as f64)
        .with("peak_count", peak as f64)
        .with("after_count", garbage() as f64)
}

/// What a published value must show before it is timed: a reader sees whole values, none older than it saw before, and what its own thread
/// published; and a value that is being read is not freed.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<P: Publish<Line>>() -> Result<(), String> {
    const TIMES: u64 = 3_000;
    let case = P::IS.id;
    let shared: &'static P = for_ever(Line([0; 8]), 4);
    let done = AtomicBool::new(false);
    thread::scope(|s| {
        let reader = s.spawn(|| {
            let (mut access, mut newest) = (shared.access(), 0);
            loop {
                // Asked before the read, so that there is a read after the last publication, however late this thread runs.
                let last = done.load(Acquire);
                let line = access.read(|line| line.0);
                if line.iter().any(|word| *word != line[0]) {
                    return Err(format!("{case}: half of one value and half of another: {line:?}"));
                }
                if line[0] < newest {
                    return Err(format!("{case}: {} came back after {newest}", line[0]));
                }
                newest = line[0];
                if last {
                    return Ok(());
                }
            }
        });
        let mut access = shared.access();
        let own = (1..=TIMES).find_map(|i| {
            access.publish(Line([i; 8]));
            let seen = access.read(|line| line.0[0]);
            (seen != i).then(|| format!("{case}: a thread published {i} and reads {seen}"))
        });
        done.store(true, Release); // the reader looks once more, and ends
        reader.join().expect("a reader does not panic")?;
        own.map_or(Ok(()), Err)
    })
}

//! Small values that many copy out and some replace, under one trait: sequence locks, locks and a pointer swap; and the check of each.
use std::{
    hint::{black_box, spin_loop},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use crossbeam::utils::CachePadded;

use crate::{
    lab::Contender,
    measure::{
        cost::{Ops, Solo},
        throughput::{Apart, Crowd, Lane},
        work,
    },
    structures::lock,
};

/// `N` words that are copied out and replaced as a whole.
pub trait Copied<const N: usize>: Send + Sync + 'static {
    /// Who it is.
    const IS: Contender;
    /// With this value in it.
    fn new(value: [u64; N]) -> Self;
    /// A copy.
    fn read(&self) -> [u64; N];
    /// Replaces the value.
    fn write(&self, value: [u64; N]);
}

impl<const N: usize> Copied<N> for lock::seqlock::SeqLock<[u64; N], N> {
    const IS: Contender = Contender::new("seqlock").called("our SeqLock");
    fn new(value: [u64; N]) -> Self {
        Self::new(value)
    }
    #[inline]
    fn read(&self) -> [u64; N] {
        self.read()
    }
    #[inline]
    fn write(&self, value: [u64; N]) {
        self.write(value);
    }
}

/// A copy, and how often the read had to begin again: [`lock::seqlock::SeqLock::read`], counted. Costs more than that, so it is never timed.
pub fn read_counting<const N: usize>(lock: &lock::seqlock::SeqLock<[u64; N], N>) -> ([u64; N], u64) {
    let mut retries = 0;
    loop {
        if let Some(value) = lock.try_read() {
            return (value, retries);
        }
        retries += 1;
        spin_loop();
    }
}

/// The crate's readers retry as well, but do not tell; they yield their CPU while a write is going on. Its writers take a mutex.
impl<const N: usize> Copied<N> for seqlock::SeqLock<[u64; N]> {
    const IS: Contender = Contender::new("seqlock_crate").called("seqlock SeqLock").of("seqlock");
    fn new(value: [u64; N]) -> Self {
        Self::new(value)
    }
    #[inline]
    fn read(&self) -> [u64; N] {
        self.read()
    }
    #[inline]
    fn write(&self, value: [u64; N]) {
        *self.lock_write() = value;
    }
}

impl<const N: usize> Copied<N> for ArcSwap<[u64; N]> {
    const IS: Contender = Contender::new("arc_swap").called("arc-swap ArcSwap").of("arc-swap");
    fn new(value: [u64; N]) -> Self {
        Self::from_pointee(value)
    }
    #[inline]
    fn read(&self) -> [u64; N] {
        **self.load()
    }
    #[inline]
    fn write(&self, value: [u64; N]) {
        self.store(Arc::new(value));
    }
}

impl<const N: usize> Copied<N> for lock::rwlock::RwLock<[u64; N]> {
    const IS: Contender = Contender::new("rwlock").called("our RwLock");
    fn new(value: [u64; N]) -> Self {
        Self::new(value)
    }
    #[inline]
    fn read(&self) -> [u64; N] {
        *self.read()
    }
    #[inline]
    fn write(&self, value: [u64; N]) {
        *self.write() = value;
    }
}

impl<const N: usize> Copied<N> for pl013::RwLock<[u64; N]> {
    const IS: Contender = Contender::new("pl013_rwlock").called("parking_lot 0.13 RwLock").of("pl013");
    fn new(value: [u64; N]) -> Self {
        Self::new(value)
    }
    #[inline]
    fn read(&self) -> [u64; N] {
        *self.read()
    }
    #[inline]
    fn write(&self, value: [u64; N]) {
        *self.write() = value;
    }
}

impl<const N: usize> Copied<N> for Mutex<[u64; N]> {
    const IS: Contender = Contender::new("std_mutex").called("std Mutex");
    fn new(value: [u64; N]) -> Self {
        Self::new(value)
    }
    #[inline]
    fn read(&self) -> [u64; N] {
        *self.lock().expect("no holder panics")
    }
    #[inline]
    fn write(&self, value: [u64; N]) {
        *self.lock().expect("no holder panics") = value;
    }
}

/// Words that nothing protects: what the loop and the copy cost. Fails the check, and is only for one thread.
#[derive(Debug)]
pub struct Bare<const N: usize>([AtomicU64; N]);

impl<const N: usize> Copied<N> for Bare<N> {
    const IS: Contender = Contender::new("empty").called("unprotected words");
    fn new(value: [u64; N]) -> Self {
        Self(value.map(AtomicU64::new))
    }
    #[inline]
    fn read(&self) -> [u64; N] {
        std::array::from_fn(|i| self.0[i].load(Relaxed))
    }
    #[inline]
    fn write(&self, value: [u64; N]) {
        for (word, value) in self.0.iter().zip(value) {
            word.store(value, Relaxed);
        }
    }
}

/// A value of one, four or sixteen words as a contender: its name, and everything that a lab can ask of it.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    is: Contender,
    read_1: fn() -> Ops,
    read_4: fn() -> Ops,
    read_16: fn() -> Ops,
    write_4: fn() -> Ops,
    beside_writer: fn(pause_ns: f64, &Arc<Tally>) -> Crowd,
}

type Ours<const N: usize> = lock::seqlock::SeqLock<[u64; N], N>;
type Crate<const N: usize> = seqlock::SeqLock<[u64; N]>;
type Swap<const N: usize> = ArcSwap<[u64; N]>;
type OurRwLock<const N: usize> = lock::rwlock::RwLock<[u64; N]>;
type PlRwLock<const N: usize> = pl013::RwLock<[u64; N]>;
type StdMutex<const N: usize> = Mutex<[u64; N]>;

/// `seqlock::SeqLock` of the crate.
pub static SEQLOCK_CRATE: Value = value::<Crate<1>, Crate<4>, Crate<16>>();
/// `structures::lock::seqlock::SeqLock`.
pub static SEQLOCK: Value = value::<Ours<1>, Ours<4>, Ours<16>>();
/// `arc_swap::ArcSwap`.
pub static ARC_SWAP: Value = value::<Swap<1>, Swap<4>, Swap<16>>();
/// `structures::lock::rwlock::RwLock`.
pub static RWLOCK: Value = value::<OurRwLock<1>, OurRwLock<4>, OurRwLock<16>>();
/// `parking_lot` 0.13's `RwLock`.
pub static PL013_RWLOCK: Value = value::<PlRwLock<1>, PlRwLock<4>, PlRwLock<16>>();
/// `std::sync::Mutex`.
pub static STD_MUTEX: Value = value::<StdMutex<1>, StdMutex<4>, StdMutex<16>>();
/// [`Bare`], which would fail the check, and is only for one thread.
pub static EMPTY: Value = Value { is: <Bare<4> as Copied<4>>::IS, ..value::<Bare<1>, Bare<4>, Bare<16>>() };

/// A value as a contender; the types differ in its size.
pub const fn value<A: Copied<1>, B: Copied<4>, C: Copied<16>>() -> Value {
    fn alone<C: Copied<N>, const N: usize, const WRITE: bool>() -> Ops {
        let shared = Box::new(Apart(C::new([0; N])));
        Box::new(move |n| {
            for i in 0..n {
                if WRITE {
                    shared.0.write(black_box([i; N]));
                } else {
                    black_box(shared.0.read());
                }
            }
        })
    }
    fn sound<A: Copied<1>, B: Copied<4>, C: Copied<16>>() -> Result<(), String> {
        check::<A, 1>()?;
        check::<B, 4>()?;
        check::<C, 16>()
    }
    Value {
        is: B::IS.checked(sound::<A, B, C>),
        read_1: alone::<A, 1, false>,
        read_4: alone::<B, 4, false>,
        read_16: alone::<C, 16, false>,
        write_4: alone::<B, 4, true>,
        beside_writer: beside_writer::<B, 4>,
    }
}

impl AsRef<Contender> for Value {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Value {
    /// Copies of one word by one thread.
    pub fn read_1(&self) -> Solo {
        Solo::new(self.is.id, self.read_1)
    }
    /// Copies of four words by one thread.
    pub fn read_4(&self) -> Solo {
        Solo::new(self.is.id, self.read_4)
    }
    /// Copies of sixteen words by one thread.
    pub fn read_16(&self) -> Solo {
        Solo::new(self.is.id, self.read_16)
    }
    /// Replacements of four words by one thread.
    pub fn write_4(&self) -> Solo {
        Solo::new(self.is.id, self.write_4)
    }
    /// One lane that writes four words and pauses for about so long, for [`crate::measure::throughput::beside`]; the others read.
    pub fn beside_writer(&self, pause_ns: f64, tally: &Arc<Tally>) -> Crowd {
        (self.beside_writer)(pause_ns, tally)
    }
}

/// What the lanes of a contender did, over all its instances. Each lane writes a line of its own: the tally must not be what is measured.
#[derive(Debug, Default)]
pub struct Tally(Mutex<Vec<Arc<CachePadded<Done>>>>);

#[derive(Debug, Default)]
struct Done {
    reads: AtomicU64,
    retries: AtomicU64,
    most_retries: AtomicU64,
    writes: AtomicU64,
}

impl Tally {
    fn lane(&self) -> Arc<CachePadded<Done>> {
        let done = Arc::<CachePadded<Done>>::default();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(done.clone());
        done
    }
    fn all(&self, of: fn(&Done) -> &AtomicU64) -> Vec<u64> {
        let lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.iter().map(|done| of(done).load(Relaxed)).collect()
    }
    /// Reads of all readers over writes of all writers; `None` before the first write.
    pub fn reads_per_write(&self) -> Option<f64> {
        let (reads, writes) = (self.all(|d| &d.reads), self.all(|d| &d.writes));
        let (reads, writes) = (reads.iter().sum::<u64>(), writes.iter().sum::<u64>());
        (writes > 0).then(|| reads as f64 / writes as f64)
    }
    /// Retries over reads, and the most retries of one read, where [`counting_retries`] counts them; `None` before the first read.
    pub fn retries(&self) -> Option<(f64, u64)> {
        let reads = self.all(|d| &d.reads).iter().sum::<u64>();
        let retries = self.all(|d| &d.retries).iter().sum::<u64>();
        let most = self.all(|d| &d.most_retries).into_iter().max().unwrap_or(0);
        (reads > 0).then(|| (retries as f64 / reads as f64, most))
    }
}

/// One lane that writes, pauses for about so long and writes again, for [`crate::measure::throughput::beside`]; the others read all the time.
/// What is timed is [`Copied::read`] for every contender, and nothing beside it.
fn beside_writer<C: Copied<N>, const N: usize>(pause_ns: f64, tally: &Arc<Tally>) -> Crowd {
    disturbed::<C, N>(pause_ns, tally, |shared, done| {
        let mut reads = 0;
        Box::new(Apart(move |n, _| {
            for _ in 0..n {
                black_box(shared.0.read());
            }
            reads += u64::from(n);
            done.reads.store(reads, Relaxed);
        }))
    })
}

/// The same with our sequence lock and readers that count how often they begin again, for [`Tally::retries`]: its times are of another loop than
/// `beside_writer`'s, and are to be thrown away.
pub fn counting_retries<const N: usize>(pause_ns: f64, tally: &Arc<Tally>) -> Crowd {
    disturbed::<lock::seqlock::SeqLock<[u64; N], N>, N>(pause_ns, tally, |shared, done| {
        let (mut reads, mut retries, mut most) = (0, 0, 0);
        Box::new(Apart(move |n, _| {
            for _ in 0..n {
                let (value, again) = read_counting(&shared.0);
                black_box(value);
                retries += again;
                most = most.max(again);
            }
            reads += u64::from(n);
            done.reads.store(reads, Relaxed);
            done.retries.store(retries, Relaxed);
            done.most_retries.store(most, Relaxed);
        }))
    })
}

fn disturbed<C: Copied<N>, const N: usize>(
    pause_ns: f64,
    tally: &Arc<Tally>,
    reader: fn(Arc<Apart<C>>, Arc<CachePadded<Done>>) -> Lane,
) -> Crowd {
    let tally = tally.clone();
    let make = move |lanes: usize| {
        let pause = work::iterations(pause_ns, work::ns_per_iteration());
        let shared = Arc::new(Apart(C::new([0; N])));
        let readers = (1..lanes).map(|_| reader(shared.clone(), tally.lane()));
        std::iter::once(writer::<C, N>(shared.clone(), pause, tally.lane())).chain(readers).collect()
    };
    Crowd::new(C::IS.id, make)
}

/// Writes once, however much it is asked for: with a pause in each, a whole batch could take longer than a window.
fn writer<C: Copied<N>, const N: usize>(
    shared: Arc<Apart<C>>,
    pause: u32,
    done: Arc<CachePadded<Done>>,
) -> Lane {
    let mut writes = 0;
    Box::new(Apart(move |_, _| {
        writes += 1;
        shared.0.write(black_box([writes; N]));
        work::spin(pause);
        done.writes.store(writes, Relaxed);
    }))
}

/// What must be shown before anything is timed: while one thread writes, a reader sees whole values, none older than it saw before, and a
/// thread reads what it has just written.
///
/// # Errors
/// A sentence that names the contender and the broken promise, or says that the two threads did not meet.
pub fn check<C: Copied<N>, const N: usize>() -> Result<(), String> {
    const LEAST: u64 = 1_000;
    /// Values that the reader has seen come while it looked: with fewer, it was not there.
    const MEETINGS: u64 = 100;
    const PATIENCE: Duration = Duration::from_secs(5);
    /// Both give their CPU away so often: there may be only one.
    const TURN: u64 = 32;
    let (case, shared, over) = (C::IS.id, C::new([0; N]), AtomicBool::new(false));
    let met = AtomicU64::new(0);
    thread::scope(|s| {
        let reader = s.spawn(|| {
            let mut newest = 0;
            for i in 0u64.. {
                // Asked before the read, so that there is a read after the last write, however late this thread runs.
                let last = over.load(Acquire);
                let words = shared.read();
                if words.iter().any(|word| *word != words[0]) {
                    return Err(format!("{case}: half of one value and half of another: {words:?}"));
                }
                if words[0] < newest {
                    return Err(format!("{case}: {} came back after {newest}", words[0]));
                }
                met.fetch_add(u64::from(words[0] > newest), Relaxed);
                newest = words[0];
                if last {
                    break;
                }
                if i % TURN == 0 {
                    thread::yield_now();
                }
            }
            Ok(newest)
        });
        let until = Instant::now() + PATIENCE;
        let (mut written, mut own) = (0, None);
        let enough = |written| written >= LEAST && (met.load(Relaxed) >= MEETINGS || reader.is_finished());
        while own.is_none() && !enough(written) && Instant::now() < until {
            written += 1;
            shared.write([written; N]);
            let seen = shared.read();
            own = (seen != [written; N])
                .then(|| format!("{case}: a thread wrote {written} and reads {seen:?}"));
            if written % TURN == 0 {
                thread::yield_now();
            }
        }
        over.store(true, Release); // the reader looks once more, and ends
        let newest = reader.join().expect("a reader does not panic")?;
        match own {
            Some(why) => Err(why),
            None if newest != written => Err(format!("{case}: the last value is {newest}, not {written}")),
            None if met.load(Relaxed) < MEETINGS => Err(format!("{case}: reader and writer did not meet")),
            None => Ok(()),
        }
    })
}

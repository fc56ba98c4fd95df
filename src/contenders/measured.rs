//! A wrapper around a lock in a program of your own: it notes how long each operation held the lock and how long the thread had stayed
//! away before, and writes what it noted as a CSV for `underhood try --from-trace`.
//!
//! All measured locks of a process write into one buffer for each thread, so a thread's think time is from its last release of any of them
//! to its next wish for one. A buffer holds the newest [`NOTED`] operations, 128 KiB. The first operation of a thread has no time before it
//! and is not noted.
//!
//! An operation costs three readings of the clock and some thread-local arithmetic more; what the arithmetic costs beside the clock was
//! not measured here. The reading at the release is part of the hold.
use std::{
    cell::{Cell, OnceCell},
    fs::File,
    io::{self, BufWriter, Write},
    ops::{Deref, DerefMut},
    path::Path,
    sync::{
        Arc, LockResult, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use crate::{contenders::lock::Guarded, lab::Contender};

/// The newest operations of a thread that are kept.
pub const NOTED: usize = 16_384;

/// A lock whose hold and think times are noted. It is used as the lock itself: `Measured<Mutex<T>>` has `lock`, `Measured<RwLock<T>>` has
/// `read` and `write`, and one of a type that is [`Guarded`] is so, too.
#[derive(Debug, Default)]
pub struct Measured<M> {
    lock: M,
}

impl<M> Measured<M> {
    /// Wraps a lock.
    pub const fn new(lock: M) -> Self {
        Self { lock }
    }
    /// The lock alone.
    pub fn into_inner(self) -> M {
        self.lock
    }
}

/// A guard that notes its hold when it goes.
#[derive(Debug)]
pub struct MeasuredGuard<G> {
    /// There until the guard goes.
    guard: Option<G>,
    turn: Noting,
}

impl<G: Deref> Deref for MeasuredGuard<G> {
    type Target = G::Target;
    fn deref(&self) -> &G::Target {
        self.guard.as_ref().expect("a guard is there until it goes")
    }
}

impl<G: DerefMut> DerefMut for MeasuredGuard<G> {
    fn deref_mut(&mut self) -> &mut G::Target {
        self.guard.as_mut().expect("a guard is there until it goes")
    }
}

impl<G> Drop for MeasuredGuard<G> {
    fn drop(&mut self) {
        let now = Instant::now();
        // Given back first: what is noted is nobody else's wait.
        self.guard = None;
        self.turn.over(now);
    }
}

impl<T> Measured<Mutex<T>> {
    /// As [`Mutex::lock`].
    ///
    /// # Errors
    /// If a holder panicked; the guard is in the error.
    pub fn lock(&self) -> LockResult<MeasuredGuard<MutexGuard<'_, T>>> {
        noted(true, || self.lock.lock())
    }
}

impl<T> Measured<RwLock<T>> {
    /// As [`RwLock::read`].
    ///
    /// # Errors
    /// If a holder panicked; the guard is in the error.
    pub fn read(&self) -> LockResult<MeasuredGuard<RwLockReadGuard<'_, T>>> {
        noted(false, || self.lock.read())
    }
    /// As [`RwLock::write`].
    ///
    /// # Errors
    /// If a holder panicked; the guard is in the error.
    pub fn write(&self) -> LockResult<MeasuredGuard<RwLockWriteGuard<'_, T>>> {
        noted(true, || self.lock.write())
    }
}

fn noted<G>(write: bool, take: impl FnOnce() -> LockResult<G>) -> LockResult<MeasuredGuard<G>> {
    let mut turn = Noting::asks(write);
    let taken = take();
    turn.has();
    match taken {
        Ok(guard) => Ok(MeasuredGuard { guard: Some(guard), turn }),
        Err(poison) => Err(PoisonError::new(MeasuredGuard { guard: Some(poison.into_inner()), turn })),
    }
}

impl<L: Guarded> Guarded for Measured<L> {
    const IS: Contender = L::IS;
    const SHARED: bool = L::SHARED;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        let mut turn = Noting::asks(false);
        let (result, now) = self.lock.read(|v| {
            turn.has();
            (inside(v), Instant::now())
        });
        turn.over(now);
        result
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        let mut turn = Noting::asks(true);
        let (result, now) = self.lock.write(|v| {
            turn.has();
            (inside(v), Instant::now())
        });
        turn.over(now);
        result
    }
}

/// One operation while it goes on.
#[derive(Clone, Copy, Debug)]
struct Noting {
    write: bool,
    think_ns: Option<u64>,
    since: Instant,
}

impl Noting {
    fn asks(write: bool) -> Self {
        let now = Instant::now();
        let last = LAST.with(Cell::get);
        Self { write, think_ns: last.map(|last| ns(now.duration_since(last))), since: now }
    }
    fn has(&mut self) {
        self.since = Instant::now();
    }
    fn over(&self, now: Instant) {
        LAST.with(|last| last.set(Some(now)));
        let Some(think_ns) = self.think_ns else { return };
        let hold_ns = ns(now.duration_since(self.since));
        PAGE.with(|page| page.get_or_init(page_of_thread).note(self.write, hold_ns, think_ns));
    }
}

fn ns(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

thread_local! {
    /// When this thread last gave a measured lock back.
    static LAST: Cell<Option<Instant>> = const { Cell::new(None) };
    static PAGE: OnceCell<Arc<Page>> = const { OnceCell::new() };
}

/// The buffers of all threads, also of those that have ended.
static PAGES: Mutex<Vec<Arc<Page>>> = Mutex::new(Vec::new());

/// One thread's operations. Only that thread writes; an operation is one word, so a reader sees it whole or not at all, and no ordering is
/// needed.
#[derive(Debug)]
struct Page {
    /// A bit for a write, 31 for the think time, 32 for the hold, both in ns and no longer than they can say.
    words: Box<[AtomicU64]>,
    noted: AtomicUsize,
}

const LONGEST_HOLD: u64 = u32::MAX as u64;
const LONGEST_THINK: u64 = LONGEST_HOLD >> 1;

impl Page {
    fn note(&self, write: bool, hold_ns: u64, think_ns: u64) {
        let word = u64::from(write) << 63 | think_ns.min(LONGEST_THINK) << 32 | hold_ns.min(LONGEST_HOLD);
        let n = self.noted.load(Relaxed);
        self.words[n % NOTED].store(word, Relaxed);
        self.noted.store(n + 1, Relaxed);
    }
}

fn page_of_thread() -> Arc<Page> {
    let words = (0..NOTED).map(|_| AtomicU64::new(0)).collect();
    let page = Arc::new(Page { words, noted: AtomicUsize::new(0) });
    PAGES.lock().unwrap_or_else(PoisonError::into_inner).push(page.clone());
    page
}

/// Writes what all measured locks of this process noted, as a CSV with the columns `op`, `hold_ns` and `think_ns`; says how many
/// operations. Threads may go on meanwhile.
///
/// # Errors
/// If the file can't be written.
pub fn write_trace(path: impl AsRef<Path>) -> io::Result<usize> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "op,hold_ns,think_ns")?;
    let mut all = 0;
    for page in PAGES.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        for word in page.words.iter().take(page.noted.load(Relaxed)) {
            let word = word.load(Relaxed);
            let op = if word >> 63 == 1 { "write" } else { "read" };
            writeln!(file, "{op},{},{}", word & LONGEST_HOLD, word >> 32 & LONGEST_THINK)?;
            all += 1;
        }
    }
    file.flush()?;
    Ok(all)
}

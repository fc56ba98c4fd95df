//! Values that are made at the first use and read ever after, under one trait, and the check of each.
use std::{
    hint::black_box,
    sync::{
        Arc, Barrier, LazyLock, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering::*},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    lab::Contender,
    measure::{
        cost::{Ops, Solo},
        throughput::{Apart, Crowd, Lane},
    },
};

/// Makes the value.
pub type Factory = Box<dyn Fn() -> u64 + Send + Sync>;

/// A value that is made once and read by everybody.
pub trait MadeOnce: Send + Sync + Sized + 'static {
    /// Who it is.
    const IS: Contender;
    /// Not made yet, unless it has to be.
    fn new(factory: Factory) -> Self;
    /// The value. The first to ask makes it.
    fn get(&self) -> u64;
}

/// Made before anybody asks: nothing is checked.
struct Plain(u64);

impl MadeOnce for Plain {
    const IS: Contender = Contender::new("plain").called("made before, no check");
    fn new(factory: Factory) -> Self {
        Self(factory())
    }
    #[inline]
    fn get(&self) -> u64 {
        self.0
    }
}

/// Double-checked locking by hand. E1 the maker's Release -> a reader's Acquire: the value is there.
struct DoubleChecked {
    made: AtomicBool,
    value: AtomicU64,
    factory: Mutex<Factory>,
}

impl MadeOnce for DoubleChecked {
    const IS: Contender = Contender::new("acquire").called("double-checked, an Acquire load");
    fn new(factory: Factory) -> Self {
        Self { made: AtomicBool::new(false), value: AtomicU64::new(0), factory: Mutex::new(factory) }
    }
    #[inline]
    fn get(&self) -> u64 {
        if !self.made.load(Acquire) {
            self.make(); // E1, or the mutex
        }
        self.value.load(Relaxed)
    }
}

impl DoubleChecked {
    #[cold]
    fn make(&self) {
        let factory = self.factory.lock().expect("no factory panics");
        // Somebody may have made it between the look and the lock; the mutex orders this look.
        if !self.made.load(Relaxed) {
            self.value.store(factory(), Relaxed);
            self.made.store(true, Release); // E1
        }
    }
}

/// std's cell, asked with the factory each time.
struct ByOnceLock(OnceLock<u64>, Factory);

impl MadeOnce for ByOnceLock {
    const IS: Contender = Contender::new("once_lock").called("OnceLock");
    fn new(factory: Factory) -> Self {
        Self(OnceLock::new(), factory)
    }
    #[inline]
    fn get(&self) -> u64 {
        *self.0.get_or_init(|| (self.1)())
    }
}

/// std's cell that brings its factory.
struct ByLazyLock(LazyLock<u64, Factory>);

impl MadeOnce for ByLazyLock {
    const IS: Contender = Contender::new("lazy_lock").called("LazyLock");
    fn new(factory: Factory) -> Self {
        Self(LazyLock::new(factory))
    }
    #[inline]
    fn get(&self) -> u64 {
        *self.0
    }
}

/// Everybody locks, every time.
struct ByMutex(Mutex<Option<u64>>, Factory);

impl MadeOnce for ByMutex {
    const IS: Contender = Contender::new("mutex").called("std Mutex around an Option");
    fn new(factory: Factory) -> Self {
        Self(Mutex::new(None), factory)
    }
    #[inline]
    fn get(&self) -> u64 {
        *self.0.lock().expect("no factory panics").get_or_insert_with(|| (self.1)())
    }
}

/// A value that is made once, as a contender.
#[derive(Clone, Copy, Debug)]
pub struct Lazily {
    is: Contender,
    reads: fn() -> Ops,
    crowd: fn(usize) -> Vec<Lane>,
}

/// A value that is made once, as a contender.
pub const fn lazily<O: MadeOnce>() -> Lazily {
    fn made<O: MadeOnce>() -> Apart<O> {
        let value = Apart(O::new(Box::new(|| 7)));
        value.0.get();
        value
    }
    fn reads<O: MadeOnce>() -> Ops {
        let value = Box::new(made::<O>());
        Box::new(move |n| {
            for _ in 0..n {
                black_box(black_box(&value.0).get());
            }
        })
    }
    fn crowd<O: MadeOnce>(lanes: usize) -> Vec<Lane> {
        let value = Arc::new(made::<O>());
        let lane = |value: Arc<Apart<O>>| -> Lane {
            Box::new(Apart(move |n, _| {
                for _ in 0..n {
                    black_box(black_box(&value.0).get());
                }
            }))
        };
        (0..lanes).map(|_| lane(value.clone())).collect()
    }
    Lazily { is: O::IS.checked(check::<O>), reads: reads::<O>, crowd: crowd::<O> }
}

/// All of them; the first is the baseline.
pub static ONCES: [Lazily; 5] = [
    lazily::<Plain>(),
    lazily::<DoubleChecked>(),
    lazily::<ByOnceLock>(),
    lazily::<ByLazyLock>(),
    lazily::<ByMutex>(),
];

impl AsRef<Contender> for Lazily {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Lazily {
    /// Reading the value, which is there.
    pub fn reads(&self) -> Solo {
        Solo::new(self.is.id, self.reads)
    }
    /// The same by many threads.
    pub fn crowd(&self) -> Crowd {
        Crowd::new(self.is.id, self.crowd)
    }
}

/// What it must show before it is timed: threads that all ask first get the same value, and it was made once.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<O: MadeOnce>() -> Result<(), String> {
    const THREADS: usize = 4;
    let runs = Arc::new(AtomicU64::new(0));
    let asked = Arc::new(AtomicU64::new(0));
    let (counted, arrived) = (Arc::clone(&runs), Arc::clone(&asked));
    let value = O::new(Box::new(move || {
        counted.fetch_add(1, Relaxed);
        // The others are at the door, and then they have time to enter. On a busy machine they come late.
        let since = Instant::now();
        while arrived.load(Relaxed) < THREADS as u64 && since.elapsed() < Duration::from_secs(1) {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(1));
        7
    }));
    let together = Barrier::new(THREADS);
    let wrong = thread::scope(|scope| {
        let ask = || {
            together.wait();
            asked.fetch_add(1, Relaxed);
            value.get()
        };
        let asking: Vec<_> = (0..THREADS).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|a| a.join().expect("asking does not panic")).find(|got| *got != 7)
    });
    let (id, runs) = (O::IS.id, runs.load(Relaxed));
    match wrong {
        Some(got) => Err(format!("{id}: somebody got {got}, and 7 was made")),
        None if runs != 1 => Err(format!("{id}: it was made {runs} times")),
        None => Ok(()),
    }
}

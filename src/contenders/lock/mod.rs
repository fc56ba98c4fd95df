//! Mutexes and reader-writer locks under one trait, what a lock can be asked to do in a lab, and the check of each adapter.
mod roster;

use std::{
    cell::Cell,
    hint::black_box,
    sync::{
        Arc, Barrier,
        atomic::{AtomicU32, AtomicU64, Ordering::*},
    },
    thread,
    time::{Duration, Instant},
};

pub use self::roster::*;
use crate::{
    lab::{Contender, Point, share},
    measure::{
        acquire::{self, Enter},
        cost::{Ops, Solo},
        order::Order,
        throughput::{Apart, Crowd, Lane},
        work,
    },
};

/// A number behind a lock. A mutex reads exclusively; that is the point of comparing it.
pub trait Guarded: Default + Send + Sync + 'static {
    /// Who it is.
    const IS: Contender;
    /// Whether two readers may be inside at once.
    const SHARED: bool;
    /// Looks at the number under a read lock, or the only lock there is.
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R;
    /// Changes it under the write lock.
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R;
}

/// No lock at all: what the loop and the hold cost. Its "write" changes nothing, so that no cache line moves.
#[derive(Debug, Default)]
pub struct Empty(u64);

impl Guarded for Empty {
    const IS: Contender = Contender::new("empty").called("empty loop");
    const SHARED: bool = true;
    fn read<R>(&self, inside: impl FnOnce(&u64) -> R) -> R {
        inside(black_box(&self.0))
    }
    fn write<R>(&self, inside: impl FnOnce(&mut u64) -> R) -> R {
        inside(black_box(&mut { self.0 }))
    }
}

/// A lock as a contender: its name, and everything that a lab can ask of it.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    is: Contender,
    reads: fn() -> Ops,
    writes: fn() -> Ops,
    lanes: fn(threads: usize, reads_percent: u32) -> Vec<Lane>,
    enter: fn() -> Enter,
    door: fn() -> Door,
}

/// Runs a closure inside the critical section of a lock that lives in here: for writing if the flag says so, else for reading.
pub type Door = Box<dyn Fn(bool, &mut dyn FnMut()) + Send + Sync>;

/// A lock as a contender.
pub const fn lock<L: Guarded>() -> Lock {
    fn reads<L: Guarded>() -> Ops {
        let lock = Box::new(Apart(L::default()));
        Box::new(move |n| {
            for _ in 0..n {
                lock.0.read(|v| black_box(*v));
            }
        })
    }
    fn writes<L: Guarded>() -> Ops {
        let lock = Box::new(Apart(L::default()));
        Box::new(move |n| {
            for _ in 0..n {
                lock.0.write(|v| *v = black_box(*v + 1));
            }
        })
    }
    fn lanes<L: Guarded>(threads: usize, reads_percent: u32) -> Vec<Lane> {
        let lock = Arc::new(Apart(L::default()));
        (0..threads).map(|i| lane(lock.clone(), i as u64, reads_percent)).collect()
    }
    fn enter<L: Guarded>() -> Enter {
        let lock = Apart(L::default());
        Box::new(move |inside| lock.0.write(|_| inside()))
    }
    fn door<L: Guarded>() -> Door {
        let lock = Apart(L::default());
        Box::new(move |write, inside| {
            if write {
                lock.0.write(|v| {
                    *v += 1;
                    inside();
                });
            } else {
                lock.0.read(|_| inside());
            }
        })
    }
    Lock {
        is: L::IS.checked(sound::<L>),
        reads: reads::<L>,
        writes: writes::<L>,
        lanes: lanes::<L>,
        enter: enter::<L>,
        door: door::<L>,
    }
}

impl AsRef<Contender> for Lock {
    fn as_ref(&self) -> &Contender {
        &self.is
    }
}

impl Lock {
    /// Reads of one thread that has the lock to itself.
    pub fn reads(&self) -> Solo {
        Solo::new(self.is.id, self.reads)
    }
    /// Writes of one thread that has the lock to itself.
    pub fn writes(&self) -> Solo {
        Solo::new(self.is.id, self.writes)
    }
    /// Threads that share one lock: so many reads in a hundred operations, the rest writes, each holding the lock for the engine's hold.
    pub fn crowd(&self, reads_percent: u32) -> Crowd {
        let lanes = self.lanes;
        Crowd::new(self.is.id, move |threads| lanes(threads, reads_percent))
    }
    /// Single acquisitions, for writing.
    pub fn acquire(&self) -> acquire::Contender {
        (self.is.id, self.enter)
    }
    /// A fresh lock, to be entered for reading or for writing.
    pub fn door(&self) -> Door {
        (self.door)()
    }
}

/// A parameter: so many reads in a hundred operations.
pub const fn reads(id: &'static str, percent: u32) -> Point<u32> {
    Point { param: share(id, percent as f64 / 100.0).param, value: percent }
}

fn lane<L: Guarded>(lock: Arc<Apart<L>>, seed: u64, reads_percent: u32) -> Lane {
    let mut order = Order::new(seed);
    Box::new(Apart(move |n: u32, hold: u32| {
        for _ in 0..n {
            if is_read(&mut order, reads_percent) {
                lock.0.read(|v| {
                    black_box(*v);
                    work::spin(hold);
                });
            } else {
                lock.0.write(|v| {
                    *v = black_box(*v + 1);
                    work::spin(hold);
                });
            }
        }
    }))
}

/// 2^32 is no multiple of 100, which biases the dice by one part in ten million.
fn is_read(order: &mut Order, reads_percent: u32) -> bool {
    ((order.next_u64() >> 32) * 100) >> 32 < u64::from(reads_percent)
}

/// All that a lock must show before it is timed, with each share of reads that a lab asks for.
fn sound<L: Guarded>() -> Result<(), String> {
    check::<L>()?;
    [100, 99, 90, 50, 0].into_iter().try_for_each(check_work::<L>)
}

/// What an adapter must show before it is timed: two readers are inside at once exactly if it says so, two writers never are,
/// a writer excludes readers, and no update is lost.
///
/// # Errors
/// A sentence that names the contender and the broken promise.
pub fn check<L: Guarded>() -> Result<(), String> {
    // Both at once: each of them mostly waits.
    let (met, beside_writer) = thread::scope(|s| {
        let other = s.spawn(|| meeting::<L>(true));
        (meeting::<L>(false), other.join().expect("nobody panics in the meeting"))
    });
    if met != L::SHARED {
        let (is, says) = if met { ("can", "exclusive") } else { ("cannot", "shared") };
        return Err(format!(
            "{}: two readers {is} be inside at once, but the adapter calls its read lock {says}",
            L::IS.id
        ));
    }
    if beside_writer {
        return Err(format!("{}: a reader got in beside a writer", L::IS.id));
    }
    // Long enough that two threads which start together really meet, also where they must share one CPU (hence the yields).
    const EACH: u64 = 5_000;
    // A spin lock that serves in order costs a time slice per turn where its two threads must share a CPU.
    const AT_MOST: Duration = Duration::from_secs(2);
    let (lock, inside, broken, start) = (L::default(), AtomicU32::new(0), AtomicU64::new(0), Barrier::new(2));
    let made = AtomicU64::new(0);
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                start.wait();
                let until = Instant::now() + AT_MOST;
                for i in (0..EACH).take_while(|_| Instant::now() < until) {
                    made.fetch_add(1, Relaxed);
                    lock.write(|v| {
                        broken.fetch_add(u64::from(inside.fetch_add(1, Relaxed) != 0), Relaxed);
                        let seen = black_box(*v);
                        if i % 64 == 0 {
                            thread::yield_now();
                        }
                        work::spin(50);
                        *v = seen + 1;
                        inside.fetch_sub(1, Relaxed);
                    });
                }
            });
        }
    });
    let (total, made) = (lock.read(|v| *v), made.load(Relaxed));
    if broken.load(Relaxed) > 0 || total != made {
        return Err(format!(
            "{}: of {made} updates {total} arrived; two writers met {} times",
            L::IS.id,
            broken.load(Relaxed)
        ));
    }
    Ok(())
}

/// Whether a second thread gets a read lock while the first holds a read (or write) lock. The holder waits for it, but not for ever:
/// a lock that keeps the visitor out makes the holder give up and leave.
fn meeting<L: Guarded>(holder_writes: bool) -> bool {
    // From the visitor's knock on; it has nothing left to do but to take the lock.
    let patience =
        if L::SHARED && !holder_writes { Duration::from_secs(10) } else { Duration::from_millis(20) };
    let (lock, stage, met) = (L::default(), AtomicU32::new(0), Cell::new(false));
    const HELD: u32 = 1;
    const KNOCKED: u32 = 2;
    const INSIDE: u32 = 3;
    thread::scope(|s| {
        let visitor = s.spawn(|| {
            while stage.load(Acquire) != HELD {
                thread::yield_now();
            }
            stage.store(KNOCKED, Release);
            lock.read(|_| stage.store(INSIDE, Release));
        });
        let hold = || {
            stage.store(HELD, Release);
            while stage.load(Acquire) == HELD {
                thread::yield_now();
            }
            let until = Instant::now() + patience;
            while stage.load(Acquire) != INSIDE && Instant::now() < until {
                thread::yield_now();
            }
            met.set(stage.load(Acquire) == INSIDE);
        };
        if holder_writes {
            lock.write(|_| hold())
        } else {
            lock.read(|_| hold())
        }
        visitor.join().expect("the visitor does not panic");
    });
    met.get()
}

/// That a lane of this contender does exactly the reads and writes that the dice say, like every other contender's.
///
/// # Errors
/// A sentence that names the contender and the difference.
pub fn check_work<L: Guarded>(reads_percent: u32) -> Result<(), String> {
    const OPS: u32 = 10_000;
    let lock = Arc::new(Apart(L::default()));
    (lane(lock.clone(), 0, reads_percent).0)(OPS, 0);
    let mut order = Order::new(0);
    let expected = (0..OPS).filter(|_| !is_read(&mut order, reads_percent)).count() as u64;
    match lock.0.read(|v| *v) {
        writes if writes == expected => Ok(()),
        writes => Err(format!("{}: {writes} writes arrived in {OPS} operations, not {expected}", L::IS.id)),
    }
}

//! The twins that guard something: locks, readers and writers, permits.

use super::faults::{Object, own, word};
use super::plain::Plain;
use super::spec::{Op, Out};
use super::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use super::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};
use super::sync::hint::spin_loop;
use std::sync::Mutex;

fn both(a: u64, b: u64) -> Out {
    if a == b { Out::Value(a) } else { Out::Torn(a, b) }
}

/// A counter under a spin lock.
pub struct Locked {
    lock: AtomicBool,
    count: Plain,
    tests_then_sets: bool,
    unlocks_relaxed: bool,
}

impl Locked {
    pub fn new(tests_then_sets: bool, unlocks_relaxed: bool) -> Self {
        Self { lock: AtomicBool::new(false), count: Plain::new(0), tests_then_sets, unlocks_relaxed }
    }

    fn try_lock(&self) -> bool {
        if self.tests_then_sets {
            let free = !self.lock.load(Acquire);
            if free {
                self.lock.store(true, Relaxed);
            }
            free
        } else {
            self.lock.compare_exchange(false, true, Acquire, Relaxed).is_ok()
        }
    }
}

impl Object for Locked {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        while !self.try_lock() {
            spin_loop();
        }
        let count = self.count.get();
        if let Op::Add(n) = op {
            self.count.set(count + n);
        }
        self.lock.store(false, if self.unlocks_relaxed { Relaxed } else { Release });
        Some(Out::Value(count))
    }
}

/// A counter that a lane may use while the other has not announced itself.
pub struct Announced {
    here: [AtomicBool; 2],
    count: Plain,
    fenced: bool,
}

impl Announced {
    pub fn new(fenced: bool) -> Self {
        Self { here: [AtomicBool::new(false), AtomicBool::new(false)], count: Plain::new(0), fenced }
    }
}

impl Object for Announced {
    fn act(&self, lane: usize, op: Op) -> Option<Out> {
        self.here[lane].store(true, Release);
        if self.fenced {
            fence(SeqCst);
        }
        let alone = !self.here[1 - lane].load(Acquire);
        let out = alone.then(|| {
            let count = self.count.get();
            if let Op::Add(n) = op {
                self.count.set(count + n);
            }
            Out::Value(count)
        });
        self.here[lane].store(false, Release);
        out
    }
}

/// Something to read, which nobody writes.
pub struct Readers {
    inside: AtomicUsize,
    shares: bool,
}

impl Readers {
    pub fn new(shares: bool) -> Self {
        Self { inside: word(0), shares }
    }
}

impl Object for Readers {
    fn act(&self, _: usize, _: Op) -> Option<Out> {
        let entered = if self.shares {
            self.inside.fetch_add(1, Acquire) < 2
        } else {
            self.inside.compare_exchange(0, 1, Acquire, Relaxed).is_ok()
        };
        if !entered {
            return Some(Out::Nothing);
        }
        self.inside.fetch_sub(1, Release);
        Some(Out::Value(0))
    }
}

/// Two permits.
pub struct Permits {
    free: AtomicUsize,
    held: [Mutex<usize>; 2],
    adds: bool,
}

impl Permits {
    pub fn new(adds: bool) -> Self {
        Self { free: word(2), held: Default::default(), adds }
    }
}

impl Object for Permits {
    fn act(&self, lane: usize, op: Op) -> Option<Out> {
        match op {
            Op::Take => {
                let mut free = self.free.load(Relaxed);
                while free > 0 {
                    match self.free.compare_exchange(free, free - 1, Acquire, Relaxed) {
                        Ok(_) => {
                            *own(&self.held[lane]) += 1;
                            return Some(Out::Done);
                        }
                        Err(now) => free = now,
                    }
                }
                Some(Out::Nothing)
            }
            Op::Put(_) => {
                {
                    let mut held = own(&self.held[lane]);
                    *held = held.checked_sub(1)?;
                }
                if self.adds {
                    self.free.fetch_add(1, Release);
                } else {
                    self.free.store(self.free.load(Relaxed) + 1, Release);
                }
                Some(Out::Done)
            }
            _ => Some(Out::Value(self.free.load(Relaxed) as u64)),
        }
    }
}

/// A value in two halves behind a sequence number; one lane writes.
pub struct Halves {
    number: AtomicUsize,
    a: AtomicU64,
    b: AtomicU64,
    checks: bool,
}

impl Halves {
    pub fn new(checks: bool) -> Self {
        Self { number: word(0), a: AtomicU64::new(0), b: AtomicU64::new(0), checks }
    }
}

impl Object for Halves {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        let before = self.number.load(Acquire);
        if let Op::Write(value) = op {
            self.number.store(before + 1, Relaxed);
            fence(Release);
            self.a.store(value, Relaxed);
            self.b.store(value, Relaxed);
            self.number.store(before + 2, Release);
            return Some(Out::Done);
        }
        if before % 2 == 1 {
            return None;
        }
        let halves = both(self.a.load(Relaxed), self.b.load(Relaxed));
        fence(Acquire);
        (!self.checks || self.number.load(Relaxed) == before).then_some(halves)
    }
}

/// A value in one of two nodes; the one that is no longer current is freed, which here is a value that nobody wrote.
pub struct Replaced {
    current: AtomicUsize,
    reading: AtomicUsize,
    nodes: [Plain; 2],
    waits: bool,
}

const FREED: u64 = u64::MAX;

impl Replaced {
    pub fn new(waits: bool) -> Self {
        Self { current: word(0), reading: word(0), nodes: [Plain::new(0), Plain::new(FREED)], waits }
    }
}

impl Object for Replaced {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        if let Op::Write(value) = op {
            let old = self.current.load(Relaxed);
            self.nodes[1 - old].set(value);
            self.current.store(1 - old, Release);
            fence(SeqCst);
            while self.waits && self.reading.load(Acquire) != 0 {
                spin_loop();
            }
            self.nodes[old].set(FREED);
            return Some(Out::Done);
        }
        self.reading.fetch_add(1, Relaxed);
        fence(SeqCst);
        let value = self.nodes[self.current.load(Acquire)].get();
        self.reading.fetch_sub(1, Release);
        Some(Out::Value(value))
    }
}

/// A value in two halves under a lock for one writer and many readers, each of which gives up if the other is inside.
pub struct Guarded {
    writing: AtomicBool,
    readers: AtomicUsize,
    halves: [Plain; 2],
    counts_first: bool,
}

impl Guarded {
    pub fn new(counts_first: bool) -> Self {
        let halves = [Plain::new(0), Plain::new(0)];
        Self { writing: AtomicBool::new(false), readers: word(0), halves, counts_first }
    }
}

impl Object for Guarded {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        if let Op::Write(value) = op {
            self.writing.store(true, Relaxed);
            fence(SeqCst);
            let clear = self.readers.load(Acquire) == 0;
            if clear {
                self.halves.iter().for_each(|half| half.set(value));
            }
            self.writing.store(false, Release);
            return clear.then_some(Out::Done);
        }
        let clear = if self.counts_first {
            self.readers.fetch_add(1, Relaxed);
            fence(SeqCst);
            !self.writing.load(Acquire)
        } else {
            let clear = !self.writing.load(Acquire);
            self.readers.fetch_add(1, Acquire);
            clear
        };
        let [a, b] = &self.halves;
        let out = clear.then(|| both(a.get(), b.get()));
        self.readers.fetch_sub(1, Release);
        out
    }
}

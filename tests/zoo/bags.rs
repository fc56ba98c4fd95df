//! The twins that hold items: a stack, a ring, a slot, a queue.

use super::faults::{Object, own, word};
use super::plain::Plain;
use super::spec::{Op, Out};
use super::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use super::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};
use super::sync::hint::spin_loop;
use std::collections::VecDeque;
use std::sync::Mutex;

/// A stack of numbered nodes; `head` is a tag and a node. A node that was taken belongs to its lane, and is used again.
pub struct Nodes {
    head: AtomicU64,
    next: Vec<AtomicUsize>,
    value: Vec<Plain>,
    spare: [Mutex<VecDeque<usize>>; 2],
    tagged: bool,
    retries: bool,
}

const NONE: u64 = 0xff;

impl Nodes {
    /// The values 1, 2, 3 inside, and 3 on top; without a tag, a head that went and came back is taken for the same one.
    pub fn pool(tagged: bool) -> Self {
        Self {
            head: AtomicU64::new(2),
            next: vec![word(0xff), word(0), word(1)],
            value: (1..=3).map(Plain::new).collect(),
            spare: Default::default(),
            tagged,
            retries: true,
        }
    }

    /// Two nodes for each lane; without a retry, a push that lost its exchange says that it is done.
    pub fn stack(retries: bool) -> Self {
        Self {
            head: AtomicU64::new(NONE),
            next: (0..4).map(|_| word(0xff)).collect(),
            value: (0..4).map(|_| Plain::new(0)).collect(),
            spare: [Mutex::new(VecDeque::from([0, 1])), Mutex::new(VecDeque::from([2, 3]))],
            tagged: true,
            retries,
        }
    }

    fn tag(&self, head: u64) -> u64 {
        if self.tagged { ((head >> 8) + 1) << 8 } else { 0 }
    }

    fn push(&self, node: usize) {
        let mut head = self.head.load(Relaxed);
        loop {
            self.next[node].store((head & 0xff) as usize, Relaxed);
            match self.head.compare_exchange(head, self.tag(head) | node as u64, AcqRel, Relaxed) {
                Err(now) if self.retries => head = now,
                _ => return,
            }
        }
    }

    fn pop(&self) -> Option<usize> {
        let mut head = self.head.load(Acquire);
        while head & 0xff != NONE {
            let node = (head & 0xff) as usize;
            let next = self.next[node].load(Relaxed) as u64;
            match self.head.compare_exchange(head, self.tag(head) | next, AcqRel, Acquire) {
                Ok(_) => return Some(node),
                Err(now) => head = now,
            }
        }
        None
    }
}

impl Object for Nodes {
    fn act(&self, lane: usize, op: Op) -> Option<Out> {
        match op {
            Op::Put(value) => {
                let node = own(&self.spare[lane]).pop_front()?;
                self.value[node].set(value);
                self.push(node);
                Some(Out::Done)
            }
            _ => Some(self.pop().map_or(Out::Nothing, |node| {
                let value = self.value[node].get();
                own(&self.spare[lane]).push_back(node);
                Out::Value(value)
            })),
        }
    }
}

/// A ring of two slots for one producer and one consumer.
pub struct Ring {
    head: AtomicUsize,
    tail: AtomicUsize,
    slots: [Plain; 2],
    /// Full at 1 + this many: one too many lets a put overwrite.
    most: usize,
    announces_first: bool,
    looks_twice: bool,
}

impl Ring {
    pub fn new(most: usize, announces_first: bool, len_is_loose: bool) -> Self {
        let slots = [Plain::new(0), Plain::new(0)];
        Self { head: word(0), tail: word(0), slots, most, announces_first, looks_twice: !len_is_loose }
    }
}

impl Object for Ring {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        match op {
            Op::Put(value) => {
                let at = self.tail.load(Relaxed);
                if at - self.head.load(Acquire) > self.most {
                    return Some(Out::Full);
                }
                if self.announces_first {
                    self.tail.store(at + 1, Release);
                }
                self.slots[at % 2].set(value);
                self.tail.store(at + 1, Release);
                Some(Out::Done)
            }
            Op::Take => {
                let at = self.head.load(Relaxed);
                if self.tail.load(Acquire) == at {
                    return Some(Out::Nothing);
                }
                let value = self.slots[at % 2].get();
                self.head.store(at + 1, Release);
                Some(Out::Value(value))
            }
            _ => {
                let head = self.head.load(Acquire);
                let len = self.tail.load(Acquire) - head;
                fence(Acquire);
                (!self.looks_twice || self.head.load(Relaxed) == head).then_some(Out::Value(len as u64))
            }
        }
    }
}

/// What one lane opens and both close: whoever closes it frees the value.
pub struct Slot {
    value: AtomicU64,
    swaps: bool,
}

impl Slot {
    pub fn new(swaps: bool) -> Self {
        Self { value: AtomicU64::new(0), swaps }
    }
}

impl Object for Slot {
    fn act(&self, _: usize, op: Op) -> Option<Out> {
        if let Op::Put(value) = op {
            let opened = self.value.compare_exchange(0, value, AcqRel, Relaxed).is_ok();
            return Some(if opened { Out::Done } else { Out::Full });
        }
        let value = if self.swaps {
            self.value.swap(0, AcqRel)
        } else {
            let value = self.value.load(Acquire);
            self.value.store(0, Release);
            value
        };
        Some(if value == 0 { Out::Nothing } else { Out::Value(value) })
    }
}

/// Queues, each under a lock of its own: a lane puts into its own and takes from the first that has something.
pub struct Shards(Vec<(AtomicBool, Mutex<VecDeque<u64>>)>);

impl Shards {
    pub fn new(count: usize) -> Self {
        Self((0..count).map(|_| (AtomicBool::new(false), Mutex::default())).collect())
    }

    fn with<R>(&self, shard: usize, f: impl FnOnce(&mut VecDeque<u64>) -> R) -> R {
        let (lock, items) = &self.0[shard];
        while lock.compare_exchange(false, true, Acquire, Relaxed).is_err() {
            spin_loop();
        }
        let out = f(&mut own(items));
        lock.store(false, Release);
        out
    }
}

impl Object for Shards {
    fn act(&self, lane: usize, op: Op) -> Option<Out> {
        if let Op::Put(value) = op {
            self.with(lane % self.0.len(), |items| items.push_back(value));
            return Some(Out::Done);
        }
        let found = (0..self.0.len()).find_map(|shard| self.with(shard, VecDeque::pop_front));
        Some(found.map_or(Out::Nothing, Out::Value))
    }
}

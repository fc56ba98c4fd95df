//! The fault zoo: small programs with one deliberate mistake, each beside its sound twin. They test the testers: which of stress, chaos and
//! the model finds which mistake. Nothing else uses them.
//!
//! All data are atomic words, so that a mistake is a wrong answer and not undefined behaviour, on every machine.

use super::{Scenario, Structure, join};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};
use crate::sync::{hint, thread};
use std::sync::Arc;

/// One mistake.
pub struct Fault {
    pub name: &'static str,
    pub broken: Structure,
    pub sound: Structure,
    /// Random pauses on this processor show it within seconds; a mistake in an ordering that x86 does not use is none of these.
    pub pauses_find_it: bool,
}

macro_rules! zoo {
    ($($name:ident, $threads:literal, $bound:expr, $pauses:literal, $oracle:literal;)*) => {
        /// Every mistake.
        pub const FAULTS: &[Fault] = &[$(Fault {
            name: stringify!($name),
            broken: zoo!(@ $name, true, "/broken", $threads, $bound, $oracle),
            sound: zoo!(@ $name, false, "/sound", $threads, $bound, $oracle),
            pauses_find_it: $pauses,
        }),*];

        /// The same for the model: each twin, and whether it is sound.
        pub const TWINS: &[(Structure, bool)] = &[$(
            (zoo!(@ $name, false, "/sound", $threads, $bound, $oracle), true),
            (zoo!(@ $name, true, "/broken", $threads, $bound, $oracle), false),
        )*];
    };
    (@ $name:ident, $broken:literal, $end:literal, $threads:literal, $bound:expr, $oracle:literal) => {
        Structure {
            path: concat!("zoo/", stringify!($name), $end),
            scenarios: &[Scenario {
                name: "once",
                oracle: $oracle,
                threads: $threads,
                bound: $bound,
                run: $name::<$broken>,
            }],
        }
    };
}

zoo! {
    relaxed_unlock, 2, Some(2), false, "an unlock publishes what was done under the lock";
    test_then_set, 2, Some(2), true, "two threads are not in a critical section at once";
    announce_without_fence, 2, None, false, "two threads that announce themselves and look are not both inside";
    aba, 2, Some(2), true, "a pool never gives an entry to two";
    push_without_retry, 2, None, true, "a push that lost its exchange tries again";
    torn_read, 2, Some(3), true, "a reader sees both halves of one value";
    ring_off_by_one, 2, Some(3), true, "a full ring takes no more";
    publish_first, 2, Some(3), true, "what is announced has been written";
    freed_under_reader, 2, Some(3), true, "a node is freed after its last reader has left";
    closed_twice, 2, None, true, "of two that close, one frees";
    reader_excludes_readers, 2, None, true, "two readers may be inside at once";
    lost_permit, 2, None, true, "every permit comes back";
    len_from_two_loads, 2, Some(3), true, "a length is one that the ring had";
    check_then_count, 2, Some(3), true, "a reader and a writer are not inside at once";
}

/// Two threads with the same part, main is one of them.
fn both<S: Send + Sync + 'static>(shared: &Arc<S>, part: impl Fn(&S, usize) + Copy + Send + 'static) {
    let theirs = Arc::clone(shared);
    let other = thread::spawn(move || part(&theirs, 1));
    part(shared, 0);
    join(other);
}

fn word(value: usize) -> AtomicUsize {
    AtomicUsize::new(value)
}

/// An addition that is one only under a lock.
fn add(count: &AtomicUsize) {
    count.store(count.load(Relaxed) + 1, Relaxed);
}

fn relaxed_unlock<const BROKEN: bool>(turns: usize) {
    let shared = Arc::new((AtomicBool::new(false), word(0)));
    both(&shared, move |(lock, count), _| {
        for _ in 0..turns {
            while lock.compare_exchange(false, true, Acquire, Relaxed).is_err() {
                hint::spin_loop();
            }
            add(count);
            lock.store(false, if BROKEN { Relaxed } else { Release });
        }
    });
    assert_eq!(shared.1.load(Relaxed), 2 * turns, "an addition is lost");
}

fn test_then_set<const BROKEN: bool>(turns: usize) {
    let shared = Arc::new((AtomicBool::new(false), word(0)));
    let lock = |lock: &AtomicBool| {
        if BROKEN {
            let taken = lock.load(Acquire);
            lock.store(true, Relaxed);
            !taken
        } else {
            lock.compare_exchange(false, true, Acquire, Relaxed).is_ok()
        }
    };
    both(&shared, move |(word, count), _| {
        for _ in 0..turns {
            while !lock(word) {
                hint::spin_loop();
            }
            add(count);
            word.store(false, Release);
        }
    });
    assert_eq!(shared.1.load(Relaxed), 2 * turns, "an addition is lost");
}

fn announce_without_fence<const BROKEN: bool>(turns: usize) {
    let shared = Arc::new(([AtomicBool::new(false), AtomicBool::new(false)], word(0)));
    both(&shared, move |(here, inside), me| {
        for _ in 0..turns {
            here[me].store(true, Release);
            if !BROKEN {
                fence(SeqCst);
            }
            if !here[1 - me].load(Acquire) {
                assert_eq!(inside.fetch_add(1, AcqRel), 0, "two are inside");
                inside.fetch_sub(1, AcqRel);
            }
            here[me].store(false, Release);
        }
    });
}

/// A pool of entries as a stack of indices: `head` is a tag and an index, and a broken pool never changes the tag.
struct Pool {
    head: AtomicU64,
    next: [AtomicUsize; 3],
    held: [AtomicBool; 3],
}

const NONE: u64 = 3;

impl Pool {
    fn take<const BROKEN: bool>(&self) -> Option<usize> {
        let mut head = self.head.load(Acquire);
        loop {
            let (tag, index) = (head >> 8, head & 0xff);
            if index == NONE {
                return None;
            }
            let next = self.next[index as usize].load(Relaxed) as u64;
            let tag = if BROKEN { tag } else { tag + 1 };
            match self.head.compare_exchange(head, tag << 8 | next, AcqRel, Acquire) {
                Ok(_) => {
                    let index = index as usize;
                    assert!(!self.held[index].swap(true, AcqRel), "entry {index} is given to two");
                    return Some(index);
                }
                Err(now) => head = now,
            }
        }
    }

    fn give<const BROKEN: bool>(&self, index: usize) {
        self.held[index].store(false, Release);
        let mut head = self.head.load(Relaxed);
        loop {
            self.next[index].store((head & 0xff) as usize, Relaxed);
            let tag = if BROKEN { head >> 8 } else { (head >> 8) + 1 };
            match self.head.compare_exchange(head, tag << 8 | index as u64, AcqRel, Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

fn aba<const BROKEN: bool>(turns: usize) {
    let pool = Pool {
        head: AtomicU64::new(0),
        next: [word(1), word(2), word(3)],
        held: [AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false)],
    };
    both(&Arc::new(pool), move |pool, _| {
        for _ in 0..turns {
            let (first, second) = (pool.take::<BROKEN>(), pool.take::<BROKEN>());
            first.into_iter().chain(second).for_each(|index| pool.give::<BROKEN>(index));
        }
    });
}

fn push_without_retry<const BROKEN: bool>(turns: usize) {
    // Node n of thread t is 1 + 2n + t; 0 is the end.
    let next: Vec<_> = (0..=2 * turns).map(|_| word(0)).collect();
    let shared = Arc::new((word(0), next));
    both(&shared, move |(head, next), me| {
        for i in 0..turns {
            let node = 1 + 2 * i + me;
            loop {
                let old = head.load(Relaxed);
                next[node].store(old, Relaxed);
                if head.compare_exchange(old, node, Release, Relaxed).is_ok() || BROKEN {
                    break;
                }
            }
        }
    });
    let (head, next) = &*shared;
    let nodes = std::iter::successors(Some(head.load(Relaxed)), |n| Some(next[*n].load(Relaxed)));
    assert_eq!(nodes.take_while(|n| *n != 0).count(), 2 * turns, "a node is lost");
}

fn torn_read<const BROKEN: bool>(turns: usize) {
    let shared = Arc::new([word(0), word(0), word(0)]); // number, and both halves
    let theirs = Arc::clone(&shared);
    let writer = thread::spawn(move || {
        let [number, a, b] = &*theirs;
        for i in 1..=turns {
            number.store(2 * i - 1, Relaxed);
            fence(Release);
            a.store(i, Relaxed);
            b.store(i, Relaxed);
            number.store(2 * i, Release);
        }
    });
    let [number, a, b] = &*shared;
    for _ in 0..turns {
        let before = number.load(Acquire);
        if before % 2 == 1 {
            hint::spin_loop();
            continue;
        }
        let halves = (a.load(Relaxed), b.load(Relaxed));
        fence(Acquire);
        if BROKEN || number.load(Relaxed) == before {
            assert_eq!(halves.0, halves.1, "half of one value and half of another");
        }
    }
    join(writer);
}

/// A ring of two slots: head, tail, slots.
type Ring = [AtomicUsize; 4];

fn ring() -> Arc<Ring> {
    Arc::new([0; 4].map(word))
}

fn push<const TOO_FULL: bool, const TOO_EARLY: bool>([head, tail, a, b]: &Ring, value: usize) {
    let at = tail.load(Relaxed);
    while at - head.load(Acquire) >= 2 + usize::from(TOO_FULL) {
        hint::spin_loop();
    }
    if TOO_EARLY {
        tail.store(at + 1, Release);
    }
    [a, b][at % 2].store(value, Relaxed);
    tail.store(at + 1, Release);
}

fn pop([head, tail, a, b]: &Ring) -> usize {
    let at = head.load(Relaxed);
    while tail.load(Acquire) == at {
        hint::spin_loop();
    }
    let value = [a, b][at % 2].load(Relaxed);
    head.store(at + 1, Release);
    value
}

fn through<const TOO_FULL: bool, const TOO_EARLY: bool>(values: usize) {
    let ring = ring();
    let theirs = Arc::clone(&ring);
    let producer = thread::spawn(move || (1..=values).for_each(|v| push::<TOO_FULL, TOO_EARLY>(&theirs, v)));
    let came: Vec<usize> = (0..values).map(|_| pop(&ring)).collect();
    join(producer);
    assert!(came.into_iter().eq(1..=values), "a value is lost, or came before it was there");
}

fn ring_off_by_one<const BROKEN: bool>(turns: usize) {
    through::<BROKEN, false>(3 * turns);
}

fn publish_first<const BROKEN: bool>(turns: usize) {
    through::<false, BROKEN>(turns);
}

fn freed_under_reader<const BROKEN: bool>(turns: usize) {
    // Which of two nodes is current, how many read, and whether each is freed.
    let shared = Arc::new(([word(0), word(0)], [AtomicBool::new(false), AtomicBool::new(true)]));
    let theirs = Arc::clone(&shared);
    let reader = thread::spawn(move || {
        let ([current, reading], freed) = &*theirs;
        for _ in 0..turns {
            reading.fetch_add(1, Relaxed);
            fence(SeqCst);
            let node = current.load(Acquire);
            assert!(!freed[node].load(Relaxed), "freed under its reader");
            reading.fetch_sub(1, Release);
        }
    });
    let ([current, reading], freed) = &*shared;
    for i in 1..=turns {
        freed[i % 2].store(false, Relaxed);
        current.store(i % 2, Release);
        fence(SeqCst);
        while !BROKEN && reading.load(Acquire) != 0 {
            hint::spin_loop();
        }
        freed[(i + 1) % 2].store(true, Relaxed);
    }
    join(reader);
}

fn closed_twice<const BROKEN: bool>(turns: usize) {
    let closed: Vec<_> = (0..turns).map(|_| AtomicBool::new(false)).collect();
    let shared = Arc::new((closed, word(0)));
    both(&shared, |(closed, freed), _| {
        for one in closed {
            let first = if BROKEN {
                let first = !one.load(Acquire);
                one.store(true, Release);
                first
            } else {
                !one.swap(true, AcqRel)
            };
            if first {
                freed.fetch_add(1, Relaxed);
            }
        }
    });
    assert_eq!(shared.1.load(Relaxed), turns, "freed twice");
}

fn reader_excludes_readers<const BROKEN: bool>(turns: usize) {
    let readers = Arc::new(word(0));
    let enter = |readers: &AtomicUsize| {
        if BROKEN {
            readers.compare_exchange(0, 1, Acquire, Relaxed).is_ok()
        } else {
            readers.fetch_add(1, Acquire) < 9
        }
    };
    for _ in 0..turns {
        assert!(enter(&readers), "nobody writes");
        let theirs = Arc::clone(&readers);
        let other = thread::spawn(move || {
            assert!(enter(&theirs), "nobody writes, but a reader was kept out");
            theirs.fetch_sub(1, Release);
        });
        join(other);
        readers.fetch_sub(1, Release);
    }
}

fn lost_permit<const BROKEN: bool>(turns: usize) {
    let permits = Arc::new(word(2));
    both(&permits, move |permits, _| {
        for _ in 0..turns {
            let mut free = permits.load(Relaxed);
            while let Err(now) = permits.compare_exchange(free, free - 1, Acquire, Relaxed) {
                free = now;
            }
            if BROKEN {
                permits.store(permits.load(Relaxed) + 1, Release);
            } else {
                permits.fetch_add(1, Release);
            }
        }
    });
    assert_eq!(permits.load(Relaxed), 2, "a permit is lost, or one too many");
}

fn len_from_two_loads<const BROKEN: bool>(turns: usize) {
    let ring = ring();
    let theirs = Arc::clone(&ring);
    let other = thread::spawn(move || {
        for v in 0..3 * turns {
            push::<false, false>(&theirs, v);
            pop(&theirs);
        }
    });
    let [head, tail, ..] = &*ring;
    for _ in 0..turns {
        let before = head.load(Acquire);
        let len = tail.load(Acquire) - before;
        fence(Acquire);
        if BROKEN || head.load(Relaxed) == before {
            assert!(len <= 1, "a length of {len}, of a ring that never held more than 1");
        }
    }
    join(other);
}

fn check_then_count<const BROKEN: bool>(turns: usize) {
    // Readers, and both halves of what is guarded.
    let shared = Arc::new((AtomicBool::new(false), [word(0), word(0), word(0)]));
    let theirs = Arc::clone(&shared);
    let writer = thread::spawn(move || {
        let (writing, [readers, a, b]) = &*theirs;
        for _ in 0..turns {
            writing.store(true, Relaxed);
            fence(SeqCst);
            if readers.load(Acquire) == 0 {
                add(a);
                add(b);
            }
            writing.store(false, Release);
        }
    });
    let (writing, [readers, a, b]) = &*shared;
    for _ in 0..turns {
        let clear = if BROKEN {
            let clear = !writing.load(Acquire);
            readers.fetch_add(1, Acquire);
            clear
        } else {
            readers.fetch_add(1, Relaxed);
            fence(SeqCst);
            !writing.load(Acquire)
        };
        if clear {
            assert_eq!(a.load(Relaxed), b.load(Relaxed), "a writer is inside");
        }
        readers.fetch_sub(1, Release);
    }
    join(writer);
}

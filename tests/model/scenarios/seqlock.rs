//! What a sequence lock must do in every execution.

use super::{Scenario, caught, throw};
use crate::lock::seqlock::SeqLock;
use crate::sync::thread;
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "reader_and_writer",
        oracle: "a reader gets both halves of a write or none, and never an older one again",
        threads: 2,
        bound: Some(3),
        run: reader_and_writer,
    },
    Scenario {
        name: "message",
        oracle: "a reader who learnt of a write by the value also sees what the writer did before it",
        threads: 2,
        bound: None,
        run: message,
    },
    Scenario {
        name: "writers",
        oracle: "two writers: no addition is lost, and the last copy is whole",
        threads: 2,
        bound: Some(2),
        run: writers,
    },
    Scenario {
        name: "try_read",
        oracle: "a copy is whole; there is always one when nobody writes, and never one in the middle of a write",
        threads: 2,
        bound: Some(3),
        run: try_read,
    },
    Scenario {
        name: "wraps",
        oracle: "a reader gets a whole write while the number wraps",
        threads: 2,
        bound: Some(2),
        run: wraps,
    },
    Scenario {
        name: "panic",
        oracle: "a panic in the middle of an update changes nothing and lets the next writer in",
        threads: 1,
        bound: None,
        run: panic,
    },
];

type Halves = SeqLock<[u64; 2], 2>;

fn add([first, second]: [u64; 2]) -> [u64; 2] {
    [first + 1, second + 1]
}

fn look([first, second]: [u64; 2], newest: u64) -> u64 {
    assert_eq!(first, second, "seen in the middle of a write");
    assert!(first >= newest, "an older value came back");
    first
}

fn together(halves: &Arc<Halves>, turns: usize) -> thread::JoinHandle<()> {
    let halves = Arc::clone(halves);
    thread::spawn(move || (0..turns).for_each(|_| halves.update(add)))
}

fn reader_and_writer(turns: usize) {
    let halves = Arc::new(Halves::new([0; 2]));
    let other = together(&halves, turns);
    let mut newest = 0;
    for _ in 0..=turns {
        newest = look(halves.read(), newest);
    }
    other.join().unwrap();
    assert_eq!(halves.read(), [turns as u64; 2], "a write is lost");
}

fn message(turns: usize) {
    use crate::sync::cell::UnsafeCell;
    struct Shared(SeqLock<u64, 1>, UnsafeCell<u64>);
    // SAFETY: the cell is written once, before the value says so, and read only by whoever saw the value.
    unsafe impl Sync for Shared {}
    for _ in 0..turns {
        let shared = Arc::new(Shared(SeqLock::new(0), UnsafeCell::new(0)));
        let other = {
            let shared = Arc::clone(&shared);
            thread::spawn(move || {
                // SAFETY: nobody reads the cell before the write below.
                shared.1.with_mut(|cell| unsafe { *cell = 7 });
                shared.0.write(1);
            })
        };
        if shared.0.read() == 1 {
            // SAFETY: the value says that the cell was written, for the last time.
            assert_eq!(shared.1.with(|cell| unsafe { *cell }), 7, "the message came without its contents");
        }
        other.join().unwrap();
    }
}

fn writers(turns: usize) {
    let halves = Arc::new(Halves::new([0; 2]));
    let other = together(&halves, turns);
    (0..turns).for_each(|_| halves.update(add));
    other.join().unwrap();
    assert_eq!(halves.read(), [2 * turns as u64; 2], "a write is lost");
}

fn try_read(turns: usize) {
    let halves = Arc::new(Halves::new([0; 2]));
    let other = together(&halves, turns);
    let mut newest = 0;
    for _ in 0..turns {
        if let Some(halves) = halves.try_read() {
            newest = look(halves, newest);
        }
    }
    other.join().unwrap();
    halves.update(|value| {
        assert!(halves.try_read().is_none(), "read in the middle of a write");
        value
    });
    assert_eq!(halves.try_read(), Some([turns as u64; 2]), "nobody writes any more");
}

fn wraps(turns: usize) {
    for _ in 0..turns {
        let halves = Arc::new(Halves::starting_at([0; 2], (1 << 63) - 1));
        let other = together(&halves, 1);
        look(halves.read(), 0);
        other.join().unwrap();
        halves.update(add);
        assert_eq!(halves.read(), [2; 2], "a write is lost");
    }
}

fn panic(_turns: usize) {
    let halves = Halves::new([1; 2]);
    caught(|| halves.update(|_| throw()));
    halves.update(add);
    assert_eq!(halves.read(), [2; 2]);
}

//! What a reader-writer lock must do in every execution.

use super::{Scenario, asleep, caught, join, throw, timeout};
use crate::lock::rwlock::RwLock;
use crate::sync::thread;
use std::sync::Arc;
use std::time::Duration;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "writers",
        oracle: "three writers: no addition is lost, no access overlaps, whoever sleeps is woken",
        threads: 3,
        bound: Some(2),
        run: writers,
    },
    Scenario {
        name: "reader_and_writer",
        oracle: "a reader sees both halves of a write or none, and never an older one again",
        threads: 2,
        bound: None,
        run: reader_and_writer,
    },
    Scenario {
        name: "readers_and_writer",
        oracle: "the writer waits for both readers, and both readers for the writer",
        threads: 3,
        bound: Some(2),
        run: readers_and_writer,
    },
    Scenario {
        name: "overlap",
        oracle: "a second reader comes and goes while the first is inside",
        threads: 2,
        bound: None,
        run: overlap,
    },
    Scenario {
        name: "to_readers",
        oracle: "a leaving writer wakes every sleeping reader",
        threads: 3,
        bound: Some(2),
        run: to_readers,
    },
    Scenario {
        name: "to_both",
        oracle: "behind a writer, a sleeping reader and a sleeping writer both get in",
        threads: 3,
        bound: Some(2),
        run: to_both,
    },
    Scenario {
        name: "barred",
        oracle: "a waiting writer bars new readers, so that it gets in once the present ones leave",
        threads: 2,
        bound: Some(2),
        run: barred,
    },
    Scenario {
        name: "try_write",
        oracle: "succeeds only alone, fails only while somebody is inside or waits, and orders memory like write",
        threads: 2,
        bound: Some(3),
        run: try_write,
    },
    Scenario {
        name: "try_read",
        oracle: "succeeds only beside readers, fails only beside a writer, and orders memory like read",
        threads: 2,
        bound: None,
        run: try_read,
    },
    Scenario {
        name: "write_in_time",
        oracle: "a wait without an end gets in as write does, against a writer and a reader",
        threads: 3,
        bound: Some(1),
        run: |turns| write_for(timeout::NEVER, turns),
    },
    Scenario {
        name: "write_out_of_time",
        oracle: "a writer that gives up before it sleeps bars nobody any more",
        threads: 3,
        bound: Some(2),
        run: |turns| write_for(timeout::AT_ONCE, turns),
    },
    Scenario {
        name: "write_woken_too_late",
        oracle: "a wake-up that is spent on a writer who gives up is not lost, neither for a writer nor for a reader",
        threads: 3,
        bound: Some(2),
        run: |turns| write_for(timeout::WHEN_WOKEN, turns),
    },
    Scenario {
        name: "barred_by_one_who_gives_up",
        oracle: "two readers that only a waiting writer bars are woken when that one gives up",
        threads: 4, // the rule of at most three is broken: the writer waits for one reader, and bars two
        bound: Some(1),
        run: barred_by_one_who_gives_up,
    },
    Scenario {
        name: "read_in_time",
        oracle: "a wait without an end reads as read does, and sees the newest write",
        threads: 3,
        bound: Some(1),
        run: |turns| read_for(timeout::NEVER, turns),
    },
    Scenario {
        name: "read_out_of_time",
        oracle: "a reader that gives up is not counted, and nobody waits for it",
        threads: 3,
        bound: Some(1),
        run: |turns| read_for(timeout::AT_ONCE, turns),
    },
    Scenario {
        name: "read_woken_too_late",
        oracle: "the same of one that was woken when its time was over",
        threads: 3,
        bound: Some(1),
        run: |turns| read_for(timeout::WHEN_WOKEN, turns),
    },
    Scenario {
        name: "turns_wrap",
        oracle: "a writer is woken while the number of wake-ups wraps",
        threads: 3,
        bound: Some(1),
        run: turns_wrap,
    },
    Scenario {
        name: "panic",
        oracle: "guards that a panic drops leave the lock, and the value is as the panic left it",
        threads: 2,
        bound: None,
        run: panic,
    },
    Scenario {
        name: "exclusive",
        oracle: "get_mut and into_inner see what the last writer wrote",
        threads: 2,
        bound: None,
        run: exclusive,
    },
];

type Halves = RwLock<(usize, usize)>;

fn write(halves: &Halves, turns: usize) {
    for _ in 0..turns {
        let mut halves = halves.write();
        let (first, second) = *halves;
        halves.0 = first + 1;
        halves.1 = second + 1; // two steps, so that somebody else in here would see or make unequal halves
    }
}

fn read(halves: &Halves, turns: usize) {
    let mut newest = 0;
    for _ in 0..turns {
        newest = look(&halves.read(), newest);
    }
}

fn look(halves: &(usize, usize), newest: usize) -> usize {
    assert_eq!(halves.0, halves.1, "seen in the middle of a write");
    assert!(halves.0 >= newest, "an older value came back");
    halves.0
}

fn together(halves: &Arc<Halves>, f: impl FnOnce(&Halves) + Send + 'static) -> thread::JoinHandle<()> {
    let halves = Arc::clone(halves);
    thread::spawn(move || f(&halves))
}

fn writers(turns: usize) {
    let halves = Arc::new(RwLock::new((0, 0)));
    let others = [together(&halves, move |h| write(h, turns)), together(&halves, move |h| write(h, turns))];
    write(&halves, turns);
    others.into_iter().for_each(join);
    assert_eq!(*halves.read(), (3 * turns, 3 * turns), "a write is lost");
}

fn reader_and_writer(turns: usize) {
    let halves = Arc::new(RwLock::new((0, 0)));
    let other = together(&halves, move |h| write(h, turns));
    read(&halves, turns);
    join(other);
    assert_eq!(*halves.read(), (turns, turns), "a write is lost");
}

fn readers_and_writer(turns: usize) {
    let halves = Arc::new(RwLock::new((0, 0)));
    let others = [together(&halves, move |h| read(h, turns)), together(&halves, move |h| read(h, turns))];
    write(&halves, turns);
    others.into_iter().for_each(join);
}

fn overlap(turns: usize) {
    for _ in 0..turns {
        let halves = Arc::new(RwLock::new((0, 0)));
        let inside = halves.read();
        join(together(&halves, |h| read(h, 1))); // would never return if readers excluded each other
        drop(inside);
    }
}

fn to_readers(turns: usize) {
    for _ in 0..turns {
        let halves = Arc::new(RwLock::new((0, 0)));
        let mut inside = halves.write();
        let others = [together(&halves, |h| read(h, 1)), together(&halves, |h| read(h, 1))];
        *inside = (1, 1);
        drop(inside);
        others.into_iter().for_each(join);
    }
}

fn to_both(turns: usize) {
    for _ in 0..turns {
        let halves = Arc::new(RwLock::new((0, 0)));
        let mut inside = halves.write();
        let others = [together(&halves, |h| read(h, 1)), together(&halves, |h| write(h, 1))];
        *inside = (1, 1);
        drop(inside);
        others.into_iter().for_each(join);
        assert_eq!(*halves.read(), (2, 2), "a write is lost");
    }
}

fn barred(turns: usize) {
    for _ in 0..turns {
        let halves = Arc::new(RwLock::new((0, 0)));
        let inside = halves.read();
        let writer = together(&halves, |h| write(h, 1));
        while halves.try_read().is_some() {
            thread::yield_now(); // for ever, if a waiting writer did not bar new readers
        }
        assert_eq!(*inside, (0, 0), "the writer is waiting, not writing");
        drop(inside);
        join(writer);
        assert_eq!(*halves.try_read().expect("nobody waits any more"), (1, 1));
    }
}

fn try_write(turns: usize) {
    let halves = Arc::new(RwLock::new((0, 0)));
    let other = together(&halves, move |h| write(h, turns));
    let mut written = 0;
    for _ in 0..turns {
        if let Some(mut inside) = halves.try_write() {
            assert!(halves.try_read().is_none(), "a reader beside a writer");
            assert!(halves.try_write().is_none(), "two writers at once");
            inside.0 += 1;
            inside.1 += 1;
            written += 1;
        }
    }
    join(other);
    let inside = halves.try_write().expect("the lock is free");
    assert_eq!(*inside, (turns + written, turns + written), "a write is lost");
}

fn try_read(turns: usize) {
    let halves = Arc::new(RwLock::new((0, 0)));
    let other = together(&halves, move |h| write(h, turns));
    let mut newest = 0;
    for _ in 0..turns {
        if let Some(inside) = halves.try_read() {
            assert!(halves.try_write().is_none(), "a writer beside a reader");
            newest = look(&inside, newest);
        }
    }
    join(other);
    assert_eq!(*halves.try_read().expect("the lock is free"), (turns, turns), "a write is lost");
}

fn write_for(timeout: Duration, turns: usize) {
    let halves = Arc::new(RwLock::new((0, 0)));
    let hasty = {
        let halves = Arc::clone(&halves);
        thread::spawn(move || {
            let mut written = 0;
            for _ in 0..turns {
                if let Some(mut inside) = halves.try_write_for(timeout) {
                    inside.0 += 1;
                    inside.1 += 1;
                    written += 1;
                }
            }
            written
        })
    };
    let reader = together(&halves, move |h| read(h, turns));
    write(&halves, turns);
    let written = join(hasty);
    join(reader);
    assert!(written == turns || timeout != timeout::NEVER, "it gave up without a reason");
    let inside = halves.try_write().expect("the lock is free, and nobody waits");
    assert_eq!(*inside, (turns + written, turns + written), "a write is lost");
}

fn barred_by_one_who_gives_up(turns: usize) {
    for _ in 0..turns {
        let halves = Arc::new(RwLock::new((0, 0)));
        let inside = halves.read();
        let writer =
            together(&halves, |h| assert!(h.try_write_for(timeout::AT_ONCE).is_none(), "it is read"));
        let readers = [together(&halves, |h| read(h, 1)), together(&halves, |h| read(h, 1))];
        asleep(1);
        join(writer);
        readers.into_iter().for_each(join); // would never return if the writer barred them still
        drop(inside);
    }
}

fn read_for(timeout: Duration, turns: usize) {
    let halves = Arc::new(RwLock::new((0, 0)));
    let hasty = {
        let halves = Arc::clone(&halves);
        thread::spawn(move || {
            let (mut newest, mut seen) = (0, 0);
            for _ in 0..turns {
                if let Some(inside) = halves.try_read_for(timeout) {
                    newest = look(&inside, newest);
                    seen += 1;
                }
            }
            seen
        })
    };
    let writer = together(&halves, move |h| write(h, turns));
    write(&halves, turns);
    let seen = join(hasty);
    join(writer);
    assert!(seen == turns || timeout != timeout::NEVER, "it gave up without a reason");
    assert_eq!(*halves.try_write().expect("the lock is free"), (2 * turns, 2 * turns), "a write is lost");
}

fn turns_wrap(turns: usize) {
    for _ in 0..turns {
        let halves = Arc::new(RwLock::starting_at((0, 0), 0, u32::MAX));
        let inside = halves.write();
        let others = [together(&halves, |h| write(h, 1)), together(&halves, |h| write(h, 1))];
        asleep(1);
        drop(inside);
        others.into_iter().for_each(join);
        assert_eq!(*halves.read(), (2, 2), "a write is lost");
    }
}

fn panic(turns: usize) {
    let halves = Arc::new(RwLock::new((0, 0)));
    // Nobody else is there yet: loom's own mutex, on which the modelled futex is built, would be poisoned by a panic in
    // another coroutine.
    caught(|| {
        let mut halves = halves.write();
        *halves = (1, 1);
        throw();
    });
    caught(|| {
        let _held = halves.read();
        throw();
    });
    let other = together(&halves, move |h| write(h, turns));
    write(&halves, turns);
    join(other);
    assert_eq!(*halves.read(), (2 * turns + 1, 2 * turns + 1), "a write is lost");
}

fn exclusive(turns: usize) {
    let halves = Arc::new(RwLock::new((0, 0)));
    let other = together(&halves, move |h| write(h, turns));
    write(&halves, turns);
    join(other);
    let mut halves = Arc::into_inner(halves).expect("the other thread is gone");
    halves.get_mut().0 += 1;
    assert_eq!(halves.into_inner(), (2 * turns + 1, 2 * turns));
}

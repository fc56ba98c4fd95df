//! What a reader-writer lock with distributed readers must do in every execution. Threads 0 and 2 share a slot, thread 1 has one.

use super::{Scenario, asleep, join, shared};
use crate::lock::rwlock_sharded::{Raw, RwLockSharded};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "reader_and_writer",
        oracle: "a reader sees both halves of a write or none, and never an older one again",
        threads: 2,
        bound: Some(3),
        run: |turns| shared::crowd::<Raw>(1, 1, turns),
    },
    Scenario {
        name: "readers_and_writer",
        oracle: "the writer waits for both readers, in two slots, and both readers for the writer",
        threads: 3,
        bound: Some(1),
        run: |turns| shared::crowd::<Raw>(2, 1, turns),
    },
    Scenario {
        name: "writers",
        oracle: "two writers: no write is lost, no access overlaps",
        threads: 2,
        bound: Some(2),
        run: |turns| shared::crowd::<Raw>(0, 2, turns),
    },
    Scenario {
        name: "overlap",
        oracle: "a second reader comes and goes while the first is inside",
        threads: 2,
        bound: None,
        run: shared::overlap::<Raw>,
    },
    Scenario {
        name: "to_readers",
        oracle: "a leaving writer wakes every sleeping reader",
        threads: 3,
        bound: Some(1),
        run: |turns| shared::behind_a_writer::<Raw>(false, turns),
    },
    Scenario {
        name: "one_slot",
        oracle: "a leaving writer wakes both readers that sleep on one slot",
        threads: 3,
        bound: Some(1),
        run: one_slot,
    },
    Scenario {
        name: "one_word",
        oracle: "a leaving reader wakes the writer, though a barred reader sleeps on the same word",
        threads: 3,
        bound: Some(1),
        run: one_word,
    },
    Scenario {
        name: "to_both",
        oracle: "behind a writer, a sleeping reader and a sleeping writer both get in",
        threads: 3,
        bound: Some(1),
        run: |turns| shared::behind_a_writer::<Raw>(true, turns),
    },
    Scenario {
        name: "barred",
        oracle: "a waiting writer bars new readers, so that it gets in once the present ones leave",
        threads: 2,
        bound: Some(2),
        run: shared::barred::<Raw>,
    },
    Scenario {
        name: "try_write",
        oracle: "succeeds only alone, and orders memory like write, against a writer",
        threads: 2,
        bound: Some(2),
        run: |turns| shared::try_write::<Raw>(false, turns),
    },
    Scenario {
        name: "try_write_beside_reader",
        oracle: "succeeds only alone, and orders memory like write, against a reader",
        threads: 2,
        bound: Some(2),
        run: |turns| shared::try_write::<Raw>(true, turns),
    },
    Scenario {
        name: "try_read",
        oracle: "succeeds only beside readers, and orders memory like read",
        threads: 2,
        bound: Some(2),
        run: shared::try_read::<Raw>,
    },
    Scenario {
        name: "panic",
        oracle: "guards that a panic drops leave the lock; get_mut and into_inner see what the last writer wrote",
        threads: 2,
        bound: None,
        run: shared::panic::<Raw>,
    },
];

fn one_slot(turns: usize) {
    for _ in 0..turns {
        let halves = Arc::new(RwLockSharded::with_slots((0, 0), 1));
        let inside = halves.write();
        let others = [0, 1].map(|_| shared::together(&halves, |h| shared::read(h, 1)));
        asleep(1);
        drop(inside);
        others.into_iter().for_each(join);
    }
}

fn one_word(turns: usize) {
    for _ in 0..turns {
        let halves = Arc::new(RwLockSharded::with_slots((0, 0), 1));
        let inside = halves.read();
        let others = [
            shared::together(&halves, |h| shared::write(h, 1)),
            shared::together(&halves, |h| shared::read(h, 1)),
        ];
        asleep(2);
        drop(inside);
        others.into_iter().for_each(join);
    }
}

//! What a semaphore must do in every execution, in both manners.

use super::{Scenario, asleep, join, timeout};
use crate::lock::semaphore::{Barging, Fifo, MAX_PERMITS, Semaphore};
use crate::sync::cell::UnsafeCell;
use crate::sync::{hint, thread};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "fifo_one",
        oracle: "one permit is a mutex: no addition is lost, no access overlaps, whoever sleeps is woken",
        threads: 2,
        bound: None,
        run: |turns| one::<Fifo>(2, turns),
    },
    Scenario {
        name: "fifo_three",
        oracle: "one permit, three threads: as with two",
        threads: 3,
        bound: Some(1),
        run: |turns| one::<Fifo>(3, turns),
    },
    Scenario {
        name: "fifo_post",
        oracle: "each permit that is released lets one sleeper through, and hands over what was done before it",
        threads: 3,
        bound: Some(2),
        run: post::<Fifo>,
    },
    Scenario {
        name: "fifo_line",
        oracle: "nobody passes a large request that waits, though there are enough permits for a small one",
        threads: 2,
        bound: Some(2),
        run: fifo_line,
    },
    Scenario {
        name: "fifo_try",
        oracle: "try_acquire takes what is there and no more, and orders memory like acquire",
        threads: 2,
        bound: None,
        run: try_acquire::<Fifo>,
    },
    Scenario {
        name: "fifo_many",
        oracle: "requests of one and of two: never more permits out than there are, and all are served",
        threads: 3,
        bound: Some(1),
        run: many::<Fifo>,
    },
    Scenario {
        name: "fifo_two_large",
        oracle: "of two that want all, the one that took a part at once comes first in the line, and both are served",
        threads: 3,
        bound: Some(1),
        run: fifo_two_large,
    },
    Scenario {
        name: "fifo_two_posts",
        oracle: "permits that two threads release at once are all granted to the one who waits for them",
        threads: 3,
        bound: Some(1),
        run: two_posts::<Fifo>,
    },
    Scenario {
        name: "fifo_one_word",
        oracle: "of two requests that sleep on one word, the one that is granted wakes",
        threads: 3,
        bound: Some(1),
        run: fifo_one_word,
    },
    Scenario {
        name: "fifo_far",
        oracle: "a permit that was granted long ago, 2^32 permits before the look, is still granted",
        threads: 3,
        bound: Some(1),
        run: fifo_far,
    },
    Scenario {
        name: "fifo_wraps",
        oracle: "permits are handed over while the numbers of the line wrap",
        threads: 2,
        bound: Some(2),
        run: fifo_wraps,
    },
    Scenario {
        name: "barging_one",
        oracle: "one permit is a mutex: no addition is lost, no access overlaps, whoever sleeps is woken",
        threads: 2,
        bound: Some(3),
        run: |turns| one::<Barging>(2, turns),
    },
    Scenario {
        name: "barging_three",
        oracle: "one permit, three threads: as with two",
        threads: 3,
        bound: Some(1),
        run: |turns| one::<Barging>(3, turns),
    },
    Scenario {
        name: "barging_post",
        oracle: "each permit that is released lets one sleeper through, and hands over what was done before it",
        threads: 3,
        bound: Some(1),
        run: post::<Barging>,
    },
    Scenario {
        name: "barging_two_posts",
        oracle: "permits that two threads release at once reach the one who waits for them",
        threads: 3,
        bound: Some(2),
        run: two_posts::<Barging>,
    },
    Scenario {
        name: "barging_pass",
        oracle: "a small request passes a large one that sleeps",
        threads: 3,
        bound: Some(1),
        run: barging_pass,
    },
    Scenario {
        name: "barging_try",
        oracle: "try_acquire takes what is there and no more, and orders memory like acquire",
        threads: 2,
        bound: Some(3),
        run: try_acquire::<Barging>,
    },
    Scenario {
        name: "barging_many",
        oracle: "requests of one and of two: never more permits out than there are, and all are served",
        threads: 3,
        bound: Some(1),
        run: many::<Barging>,
    },
    Scenario {
        name: "barging_in_time",
        oracle: "a wait without an end gets its permit as acquire does",
        threads: 3,
        bound: Some(1),
        run: |turns| barging_for(timeout::NEVER, turns),
    },
    Scenario {
        name: "barging_out_of_time",
        oracle: "whoever gives up before it sleeps is not counted, and takes nothing",
        threads: 3,
        bound: Some(1),
        run: |turns| barging_for(timeout::AT_ONCE, turns),
    },
    Scenario {
        name: "barging_woken_too_late",
        oracle: "a wake-up that is spent on one who gives up is not lost for the one who sleeps on",
        threads: 3,
        bound: Some(1),
        run: |turns| barging_for(timeout::WHEN_WOKEN, turns),
    },
    Scenario {
        name: "barging_many_gives_up",
        oracle: "a large request that gives up leaves the permits to the small one",
        threads: 3,
        bound: Some(1),
        run: barging_many_gives_up,
    },
];

/// A semaphore, and a number that whoever has the only permit may touch.
struct Guarded<S>(S, UnsafeCell<usize>);

// SAFETY: the number is touched by one thread at a time, or the scenario fails.
unsafe impl<S: Sync> Sync for Guarded<S> {}

impl<S: Semaphore + Send + Sync + 'static> Guarded<S> {
    fn new(permits: u32) -> Arc<Self> {
        Arc::new(Self(S::new(permits), UnsafeCell::new(0)))
    }

    fn add(&self) {
        // SAFETY: the caller has the only permit.
        self.1.with_mut(|number| unsafe { *number += 1 });
    }

    fn number(&self) -> usize {
        // SAFETY: the caller has the only permit, or is the only thread left.
        self.1.with(|number| unsafe { *number })
    }

    fn together(self: &Arc<Self>, f: impl FnOnce(&Self) + Send + 'static) -> thread::JoinHandle<()> {
        let shared = Arc::clone(self);
        thread::spawn(move || f(&shared))
    }
}

fn one<S: Semaphore + Send + Sync + 'static>(threads: usize, turns: usize) {
    fn add<S: Semaphore + Send + Sync + 'static>(shared: &Guarded<S>, turns: usize) {
        for _ in 0..turns {
            let _permit = shared.0.acquire();
            shared.add();
        }
    }
    let shared = Guarded::<S>::new(1);
    let others: Vec<_> = (1..threads).map(|_| shared.together(move |s| add(s, turns))).collect();
    add(&shared, turns);
    others.into_iter().for_each(join);
    assert_eq!(shared.number(), threads * turns, "an addition is lost");
    assert_eq!(shared.0.available(), 1, "a permit is lost, or made");
}

fn post<S: Semaphore + Send + Sync + 'static>(turns: usize) {
    for _ in 0..turns {
        let shared = Guarded::<S>::new(0);
        let wait = |s: &Guarded<S>| {
            s.0.acquire().forget();
            assert_eq!(s.number(), 1, "the permit came without what was done before it");
        };
        let others = [shared.together(wait), shared.together(wait)];
        shared.add(); // nobody has a permit yet
        shared.0.release(1);
        shared.0.release(1);
        others.into_iter().for_each(join);
        assert_eq!(shared.0.available(), 0, "a permit is left over");
    }
}

fn two_posts<S: Semaphore + Send + Sync + 'static>(turns: usize) {
    for _ in 0..turns {
        let shared = Guarded::<S>::new(0);
        let others = [shared.together(|s| s.0.release(2)), shared.together(|s| s.0.release(2))];
        shared.0.acquire_many(4).forget();
        others.into_iter().for_each(join);
        assert_eq!(shared.0.available(), 0, "a permit is left over");
    }
}

fn fifo_two_large(turns: usize) {
    for _ in 0..turns {
        let shared = Guarded::<Fifo>::new(1);
        let others = [shared.together(|s| drop(s.0.acquire_many(2))), shared.together(|s| s.0.release(1))];
        // Gets one at once and lacks one; if the other drew the next number in between, each would hold what the other lacks.
        drop(shared.0.acquire_many(2));
        others.into_iter().for_each(join);
        assert_eq!(shared.0.available(), 2, "a permit is lost, or made");
    }
}

fn fifo_one_word(turns: usize) {
    for _ in 0..turns {
        let shared = Guarded::<Fifo>::new(0);
        // Their last numbers are 2 and 4: one word, in the model, which has two.
        let others = [0, 1].map(|_| shared.together(|s| s.0.acquire_many(2).forget()));
        asleep(2);
        shared.0.release(2);
        shared.0.release(2);
        others.into_iter().for_each(join);
    }
}

fn fifo_far(turns: usize) {
    fn asked(s: &Guarded<Fifo>) {
        while s.0.missing() == 0 {
            hint::spin_loop(); // nobody waits yet
        }
    }
    for _ in 0..turns {
        let shared = Guarded::<Fifo>::new(0);
        let first = shared.together(|s| s.0.acquire().forget());
        asked(&shared);
        shared.0.release(1); // granted; when the thread looks is its affair
        let giver = shared.together(|s| {
            for _ in 0..2 {
                asked(s);
                s.0.release(MAX_PERMITS);
            }
        });
        for _ in 0..2 {
            shared.0.acquire_many(MAX_PERMITS).forget();
        }
        join(first);
        join(giver);
        assert_eq!(shared.0.available(), 0, "a permit is left over");
    }
}

fn fifo_wraps(turns: usize) {
    for _ in 0..turns {
        let shared = Arc::new(Guarded(Fifo::starting_at(0, u64::from(u32::MAX)), UnsafeCell::new(0)));
        let other = shared.together(|s| {
            s.0.acquire_many(2).forget(); // the numbers 2^32 and 2^32 + 1, in 32 bits 0 and 1
            assert_eq!(s.number(), 1, "the permit came without what was done before it");
        });
        shared.add(); // nobody has a permit yet
        shared.0.release(2);
        join(other);
        assert_eq!(shared.0.available(), 0, "a permit is left over");
    }
}

fn fifo_line(turns: usize) {
    for _ in 0..turns {
        let shared = Guarded::<Fifo>::new(2);
        let held = shared.0.acquire();
        let large = shared.together(|s| drop(s.0.acquire_many(2)));
        while let Some(small) = shared.0.try_acquire_many(1) {
            drop(small); // for ever, if a waiting request did not bar small ones
            hint::spin_loop();
        }
        drop(held);
        join(large);
        assert_eq!(shared.0.available(), 2, "a permit is lost, or made");
    }
}

fn barging_pass(turns: usize) {
    for _ in 0..turns {
        let shared = Guarded::<Barging>::new(0);
        let large = shared.together(|s| s.0.acquire_many(2).forget());
        let small = shared.together(|s| s.0.acquire().forget());
        asleep(1);
        shared.0.release(1);
        join(small); // would never return if the wake-up for it could end at the large request
        shared.0.release(1);
        shared.0.release(1);
        join(large);
        assert_eq!(shared.0.available(), 0, "a permit is lost, or made");
    }
}

fn barging_for(timeout: Duration, turns: usize) {
    fn add(s: &Guarded<Barging>, turns: usize) {
        for _ in 0..turns {
            let _permit = s.0.acquire();
            s.add();
        }
    }
    let shared = Guarded::<Barging>::new(1);
    let hasty = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let mut added = 0;
            for _ in 0..turns {
                if let Some(_permit) = shared.0.acquire_many_for(1, timeout) {
                    shared.add();
                    added += 1;
                }
            }
            added
        })
    };
    let patient = shared.together(move |s| add(s, turns));
    add(&shared, turns);
    let added = join(hasty);
    join(patient);
    assert!(added == turns || timeout != timeout::NEVER, "it gave up without a reason");
    let _permit = shared.0.try_acquire_many(1).expect("the permit is back");
    assert_eq!(shared.number(), 2 * turns + added, "an addition is lost");
    assert_eq!(shared.0.available(), 0, "a permit is made");
}

fn barging_many_gives_up(turns: usize) {
    for _ in 0..turns {
        let shared = Guarded::<Barging>::new(0);
        let large = shared.together(|s| {
            let none = s.0.acquire_many_for(3, timeout::AT_ONCE);
            assert!(none.is_none(), "there are never so many");
        });
        let small = shared.together(|s| s.0.acquire().forget());
        asleep(1);
        shared.0.release(1);
        join(small); // would never return if the wake-up for it could end at the large request
        shared.0.release(1);
        join(large);
        assert_eq!(shared.0.available(), 1, "a permit is lost, or made");
    }
}

fn try_acquire<S: Semaphore + Send + Sync + 'static>(turns: usize) {
    let shared = Guarded::<S>::new(1);
    let other = shared.together(move |s| {
        for _ in 0..turns {
            let _permit = s.0.acquire();
            s.add();
        }
    });
    let mut added = 0;
    for _ in 0..turns {
        if let Some(_permit) = shared.0.try_acquire_many(1) {
            assert!(shared.0.try_acquire_many(1).is_none(), "a permit that is not there");
            shared.add();
            added += 1;
        }
    }
    join(other);
    let _permit = shared.0.try_acquire_many(1).expect("the permit is back");
    assert_eq!(shared.number(), turns + added, "an addition is lost");
}

fn many<S: Semaphore + Send + Sync + 'static>(turns: usize) {
    let (shared, out) = (Guarded::<S>::new(2), Arc::new(AtomicU32::new(0)));
    let take = |count: u32| {
        let out = Arc::clone(&out);
        move |s: &Guarded<S>| {
            for _ in 0..turns {
                let _permits = s.0.acquire_many(count);
                assert!(out.fetch_add(count, SeqCst) + count <= 2, "more permits out than there are");
                out.fetch_sub(count, SeqCst);
            }
        }
    };
    let others = [shared.together(take(2)), shared.together(take(1))];
    take(2)(&shared);
    others.into_iter().for_each(join);
    assert_eq!(shared.0.available(), 2, "a permit is lost, or made");
}

//! What a bulkhead must do in every execution.

use super::{Scenario, caught, throw};
use crate::flow::bulkhead::Bulkhead;
use crate::sync::cell::UnsafeCell;
use crate::sync::{hint, thread};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "two",
        oracle: "one place, one waiting place, two threads: no addition is lost, and whoever waits gets the place",
        threads: 2,
        bound: None,
        run: |turns| count(2, turns),
    },
    Scenario {
        name: "three",
        oracle: "one place, two waiting places, three threads: both who wait get the place",
        threads: 3,
        bound: Some(2),
        run: |turns| count(3, turns),
    },
    Scenario {
        name: "try_enter",
        oracle: "succeeds only if the place is free, fails only while it is taken, and orders memory like enter",
        threads: 2,
        bound: Some(3),
        run: try_enter,
    },
    Scenario {
        name: "places",
        oracle: "two places, three threads that don't wait: two are inside at once, never three",
        threads: 3,
        bound: Some(2),
        run: places,
    },
    Scenario {
        name: "hand_over_two",
        oracle: "two places handed over one after the other are two places, no more: a third waits for a free one",
        threads: 4, // the fourth comes when the second and third are gone
        bound: Some(1),
        run: hand_over_two,
    },
    Scenario {
        name: "no_overtaking",
        oracle: "while somebody waits, nobody else gets the place, and the queue is full for a third",
        threads: 2,
        bound: Some(2),
        run: no_overtaking,
    },
    Scenario {
        name: "panic",
        oracle: "a pass that a panic drops leaves",
        threads: 2,
        bound: None,
        run: panic,
    },
];

/// A value that only whoever has the only place may touch.
struct Room {
    door: Bulkhead,
    value: UnsafeCell<usize>,
}

// SAFETY: `add` touches the value only while it has the only place.
unsafe impl Sync for Room {}
// SAFETY: nothing in it belongs to a thread.
unsafe impl Send for Room {}

impl Room {
    fn new(queue: u32) -> Arc<Self> {
        Arc::new(Self { door: Bulkhead::new(1, queue).unwrap(), value: UnsafeCell::new(0) })
    }

    /// Call with the only place.
    fn add(&self) {
        // SAFETY: there is one place, and the caller has it.
        self.value.with_mut(|value| unsafe { *value += 1 });
    }

    fn end(self: Arc<Self>) -> usize {
        let room = Arc::into_inner(self).expect("the other threads are gone");
        assert_eq!((room.door.inside(), room.door.waiting()), (0, 0));
        room.value.into_inner()
    }
}

fn enter(room: &Room, turns: usize) {
    for _ in 0..turns {
        let _pass = room.door.enter().expect("there is a waiting place for each thread");
        room.add();
    }
}

fn beside(room: &Arc<Room>, f: impl FnOnce(&Room) + Send + 'static) -> thread::JoinHandle<()> {
    let room = Arc::clone(room);
    thread::spawn(move || {
        f(&room);
        drop(room);
    })
}

fn count(threads: u32, turns: usize) {
    let room = Room::new(threads - 1);
    let others: Vec<_> = (1..threads).map(|_| beside(&room, move |room| enter(room, turns))).collect();
    enter(&room, turns);
    others.into_iter().for_each(|other| other.join().unwrap());
    assert_eq!(room.end(), threads as usize * turns, "an addition is lost");
}

fn try_enter(turns: usize) {
    let room = Room::new(1);
    let other = beside(&room, move |room| enter(room, turns));
    let mut added = 0;
    for _ in 0..turns {
        if let Some(_pass) = room.door.try_enter() {
            assert!(room.door.try_enter().is_none(), "two inside at once");
            room.add();
            added += 1;
        }
    }
    other.join().unwrap();
    assert!(room.door.try_enter().is_some(), "the place is free");
    assert_eq!(room.end(), turns + added, "an addition is lost");
}

fn places(turns: usize) {
    for _ in 0..turns {
        let door = Arc::new(Bulkhead::new(2, 0).unwrap());
        let enter = |door: &Arc<Bulkhead>| {
            let door = Arc::clone(door);
            thread::spawn(move || door.try_enter().map(std::mem::forget).is_some())
        };
        let others = [enter(&door), enter(&door)];
        let mut entered = usize::from(door.try_enter().map(std::mem::forget).is_some());
        entered += others.into_iter().map(|other| usize::from(other.join().unwrap())).sum::<usize>();
        assert_eq!((entered, door.inside()), (2, 2));
        assert!(door.enter().is_err(), "there is no queue");
    }
}

fn hand_over_two(turns: usize) {
    for _ in 0..turns {
        let door = Arc::new(Bulkhead::new(2, 2).unwrap());
        let visit = |seen: &Arc<AtomicBool>| {
            let (door, seen) = (Arc::clone(&door), Arc::clone(seen));
            thread::spawn(move || {
                let _pass = door.enter().expect("there is a waiting place for each thread");
                seen.store(true, SeqCst);
            })
        };
        let both = [door.enter().expect("it is empty"), door.enter().expect("it has two places")];
        let seen = Arc::new(AtomicBool::new(false)); // std's: no step of the model
        let others = [visit(&seen), visit(&seen)];
        while door.waiting() < 2 {
            hint::spin_loop(); // so that the preemptions are left for what comes now
        }
        drop(both);
        others.into_iter().for_each(|other| other.join().unwrap());
        // A place that was handed over twice would be found by the next one who waits.
        let both = [door.try_enter().expect("it is empty"), door.try_enter().expect("it has two places")];
        let seen = Arc::new(AtomicBool::new(false));
        let third = visit(&seen);
        thread::yield_now();
        assert!(!seen.load(SeqCst), "three inside");
        drop(both);
        third.join().unwrap();
        assert_eq!((door.inside(), door.waiting()), (0, 0));
    }
}

fn no_overtaking(turns: usize) {
    for _ in 0..turns {
        let room = Room::new(1);
        let pass = room.door.enter().expect("it is empty");
        let other = beside(&room, |room| enter(room, 1));
        let waits = room.door.waiting() == 1;
        if waits {
            assert!(room.door.try_enter().is_none(), "the place is taken");
            assert!(room.door.enter().is_err(), "the queue is full");
        }
        room.add();
        drop(pass);
        if let Some(_pass) = room.door.try_enter() {
            // Only if the other has not yet come to the door, or has left it.
            room.add();
            room.add();
        }
        other.join().unwrap();
        assert!(matches!(room.end(), 2 | 4), "an addition is lost");
    }
}

fn panic(turns: usize) {
    let room = Room::new(1);
    caught(|| {
        let _pass = room.door.enter().expect("it is empty");
        room.add();
        throw();
    });
    let other = beside(&room, move |room| enter(room, turns));
    enter(&room, turns);
    other.join().unwrap();
    assert_eq!(room.end(), 2 * turns + 1, "an addition is lost");
}

//! What a snapshot must do in every execution, whatever frees its old values.

use super::reclaimed::{Bomb, Early};
use super::{Scenario, caught, join, throw};
use crate::lockfree::snapshot::{Snapshot, SnapshotHandle};
use crate::reclaim::Reclaim;
use crate::reclaim::epoch::Epoch;
use crate::reclaim::hazard::Hazard;
use crate::sync::thread;
use std::sync::{Arc, Weak};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "reads_hazard",
        oracle: "a reader sees whole values, never an older one again, and none is freed under it",
        threads: 2,
        bound: Some(3),
        run: reads::<Hazard>,
    },
    Scenario {
        name: "reads_epoch",
        oracle: "the same, with epochs",
        threads: 2,
        bound: Some(3),
        run: reads::<Epoch>,
    },
    Scenario {
        name: "publishers",
        oracle: "two publish: every old value is dropped once, the one that stays is one of the last two",
        threads: 2,
        bound: Some(3),
        run: publishers::<Hazard>,
    },
    Scenario {
        name: "panic",
        oracle: "a reader that unwinds has left: nothing is kept for it",
        threads: 1,
        bound: None,
        run: |turns| {
            panic::<Epoch>(turns);
            panic::<Hazard>(turns);
        },
    },
    Scenario {
        name: "heir",
        oracle: "two publish, a third inherits a place and drops what is in it: it was made before, without a fence that helps",
        threads: 3,
        bound: Some(2),
        run: general::<Early>,
    },
    Scenario {
        name: "most_general_hazard",
        oracle: "one reads, one publishes, one collects, each twice, with handles that inherit places: each value is dropped once, in time",
        threads: 3,
        bound: Some(1),
        run: most_general::<Hazard>,
    },
    Scenario {
        name: "most_general_epoch",
        oracle: "the same, with epochs",
        threads: 3,
        bound: Some(1),
        run: most_general::<Epoch>,
    },
    Scenario {
        name: "reads_drop_nothing",
        oracle: "a read drops no value, however much garbage came with its place",
        threads: 1,
        bound: None,
        run: reads_drop_nothing,
    },
    Scenario {
        name: "bombs",
        oracle: "a value whose drop unwinds keeps no other value, in a collect or at the end",
        threads: 1,
        bound: None,
        run: |turns| {
            bombs::<Epoch>(turns);
            bombs::<Hazard>(turns);
        },
    },
    Scenario {
        name: "reentrant",
        oracle: "a value whose drop publishes and collects in the same snapshot",
        threads: 1,
        bound: None,
        run: |turns| {
            reentrant::<Epoch>(turns);
            reentrant::<Hazard>(turns);
        },
    },
];

/// Two publish and one collects, and each drops its handle after each turn.
fn general<R: Reclaim + 'static>(turns: usize) {
    let alive = Arc::new(());
    let snapshot = Arc::new(Snapshot::<_, R>::new(Arc::clone(&alive), 3));
    let publish = {
        let (snapshot, alive) = (Arc::clone(&snapshot), Arc::clone(&alive));
        move || {
            for _ in 0..2 * turns {
                snapshot.handle().expect("there are three").publish(Arc::clone(&alive));
            }
        }
    };
    let others = [thread::spawn(publish.clone()), thread::spawn(publish)];
    (0..2 * turns).for_each(|_| snapshot.handle().expect("there are three").collect());
    others.into_iter().for_each(join);
    drop(snapshot);
    assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped, or twice");
}

fn most_general<R: Reclaim + 'static>(turns: usize) {
    let alive = Arc::new(());
    let snapshot = Arc::new(Snapshot::<_, R>::new((0, Arc::clone(&alive)), 3));
    let reader = {
        let snapshot = Arc::clone(&snapshot);
        thread::spawn(move || {
            let mut newest = 0;
            for _ in 0..2 * turns {
                let seen = snapshot.handle().expect("there are three").read(|(i, _)| *i);
                assert!(seen >= newest, "an older value came back");
                newest = seen;
            }
        })
    };
    let publisher = {
        let (snapshot, alive) = (Arc::clone(&snapshot), Arc::clone(&alive));
        thread::spawn(move || {
            for i in 1..=2 * turns {
                snapshot.handle().expect("there are three").publish((i, Arc::clone(&alive)));
            }
        })
    };
    for _ in 0..2 * turns {
        let mut handle = snapshot.handle().expect("there are three");
        (0..3).for_each(|_| handle.collect());
    }
    join(reader);
    join(publisher);
    drop(snapshot);
    assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped, or twice");
}

fn reads_drop_nothing(turns: usize) {
    const MANY: usize = 100; // more than a scheme leaves lying without looking
    for _ in 0..turns.min(3) {
        let alive = Arc::new(());
        let snapshot = Snapshot::<_, Epoch>::new(Arc::clone(&alive), 3);
        let (mut reader, mut writer) = (snapshot.handle().unwrap(), snapshot.handle().unwrap());
        reader.read(|_| (0..MANY).for_each(|_| writer.publish(Arc::clone(&alive))));
        drop(writer); // its garbage stays: the reader was inside
        (0..3).for_each(|_| reader.collect()); // another place's: but now all of it may go
        let mut heir = snapshot.handle().unwrap();
        assert_eq!(heir.garbage(), MANY);
        heir.read(|_| ());
        assert_eq!((heir.garbage(), Arc::strong_count(&alive)), (MANY, MANY + 2), "a read dropped values");
        heir.publish(Arc::clone(&alive));
        assert!(heir.garbage() <= 1, "publishing does it");
    }
}

fn bombs<R: Reclaim>(turns: usize) {
    for _ in 0..turns {
        let alive = Arc::new(());
        let harmless = || Bomb { alive: Arc::clone(&alive), goes_off: false };
        let snapshot = Snapshot::<Bomb, R>::new(harmless(), 1);
        let mut handle = snapshot.handle().expect("there is one");
        Bomb::three(&alive).into_iter().for_each(|bomb| handle.publish(bomb));
        handle.publish(harmless());
        caught(|| (0..3).for_each(|_| handle.collect()));
        assert_eq!((handle.garbage(), Arc::strong_count(&alive)), (0, 2), "only the current value lives");
        Bomb::three(&alive).into_iter().for_each(|bomb| handle.publish(bomb));
        drop(handle);
        caught(|| drop(snapshot));
        assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped, or twice");
        let last = Bomb { alive: Arc::clone(&alive), goes_off: true };
        let snapshot = Snapshot::<Bomb, R>::new(harmless(), 1);
        snapshot.handle().expect("there is one").publish(last);
        caught(|| drop(snapshot));
        assert_eq!(Arc::strong_count(&alive), 1, "the domain's garbage was not dropped");
    }
}

struct Reentrant<R: Reclaim + 'static> {
    home: Weak<Snapshot<Self, R>>,
    deeper: usize,
    alive: Arc<()>,
}

impl<R: Reclaim> Drop for Reentrant<R> {
    fn drop(&mut self) {
        let Some(deeper) = self.deeper.checked_sub(1) else { return };
        let Some(home) = self.home.upgrade() else { return };
        let Some(mut handle) = home.handle() else { return }; // deep enough
        handle.publish(Self { home: self.home.clone(), deeper, alive: Arc::clone(&self.alive) });
        (0..3).for_each(|_| handle.collect());
    }
}

fn reentrant<R: Reclaim + 'static>(turns: usize) {
    for _ in 0..turns {
        let alive = Arc::new(());
        let home = Arc::new_cyclic(|home| {
            let first = Reentrant { home: Weak::clone(home), deeper: 3, alive: Arc::clone(&alive) };
            Snapshot::<_, R>::new(first, 5)
        });
        let mut handle = home.handle().expect("there are five");
        for _ in 0..4 {
            handle.publish(Reentrant { home: Arc::downgrade(&home), deeper: 3, alive: Arc::clone(&alive) });
            (0..3).for_each(|_| handle.collect());
        }
        drop(handle);
        drop(home);
        assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped, or twice");
    }
}

fn reads<R: Reclaim + 'static>(turns: usize) {
    let snapshot = Arc::new(Snapshot::<(usize, usize), R>::new((0, 0), 2));
    let other = {
        let snapshot = Arc::clone(&snapshot);
        thread::spawn(move || {
            let mut handle = snapshot.handle().expect("there are two");
            let mut newest = 0;
            for _ in 0..turns {
                let (first, second) = handle.read(|halves| *halves);
                assert_eq!(first, second, "half of one value and half of another");
                assert!(first >= newest, "an older value came back");
                newest = first;
            }
        })
    };
    let mut handle = snapshot.handle().expect("there are two");
    for i in 1..=turns {
        handle.publish((i, i));
        (0..3).for_each(|_| handle.collect()); // as early as the scheme allows
        assert_eq!(handle.read(|halves| *halves), (i, i), "an own value is not seen");
    }
    join(other);
}

fn publishers<R: Reclaim + 'static>(turns: usize) {
    let alive = Arc::new(());
    let snapshot = Arc::new(Snapshot::<_, R>::new((0, Arc::clone(&alive)), 2));
    let publish = move |s: &mut SnapshotHandle<'_, (usize, Arc<()>), R>, from: usize, alive: &Arc<()>| {
        for i in 1..=turns {
            s.publish((from + i, Arc::clone(alive)));
            s.collect();
        }
    };
    let other = {
        let (snapshot, alive) = (Arc::clone(&snapshot), Arc::clone(&alive));
        thread::spawn(move || publish(&mut snapshot.handle().expect("there are two"), turns, &alive))
    };
    let mut handle = snapshot.handle().expect("there are two");
    publish(&mut handle, 0, &alive);
    join(other);
    let last = handle.read(|(i, _)| *i);
    assert!(last == turns || last == 2 * turns, "a publication is undone");
    drop(handle);
    drop(snapshot);
    assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped");
}

fn panic<R: Reclaim>(turns: usize) {
    let snapshot = Snapshot::<usize, R>::new(0, 2);
    let mut reader = snapshot.handle().expect("there are two");
    let mut handle = snapshot.handle().expect("there are two");
    for i in 0..turns {
        caught(|| reader.read(|_| throw()));
        handle.publish(i);
        (0..3).for_each(|_| handle.collect());
        assert_eq!(handle.garbage(), 0, "kept for a reader that is gone");
    }
}

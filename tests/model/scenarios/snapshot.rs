//! What a snapshot must do in every execution, whatever frees its old values.

use super::{Scenario, caught, join, throw};
use crate::lockfree::snapshot::{Snapshot, SnapshotHandle};
use crate::reclaim::epoch::Epoch;
use crate::reclaim::hazard::Hazard;
use crate::reclaim::{Handle, Reclaim};
use crate::sync::thread;
use std::sync::Arc;

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
];

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
        (0..3).for_each(|_| handle.reclaim().collect()); // as early as the scheme allows
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
            s.reclaim().collect();
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
        (0..3).for_each(|_| handle.reclaim().collect());
        assert_eq!(handle.reclaim().garbage(), 0, "kept for a reader that is gone");
    }
}

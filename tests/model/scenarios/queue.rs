//! What a queue must do in every execution, whatever frees its nodes.

use super::reclaimed::{Bomb, Keep, Payload};
use super::{Scenario, caught, join};
use crate::lockfree::queue::{Queue, QueueHandle};
use crate::reclaim::Reclaim;
use crate::reclaim::epoch::Epoch;
use crate::reclaim::hazard::Hazard;
use crate::sync::{hint, thread};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "alone",
        oracle: "first in, first out; empty is empty",
        threads: 1,
        bound: None,
        run: |turns| {
            alone::<Epoch>(turns);
            alone::<Hazard>(turns);
        },
    },
    Scenario {
        name: "late_push",
        oracle: "a push that is late does not set the end back to a node that is freed",
        threads: 2,
        bound: Some(1),
        run: |turns| late(turns, |q| q.push(2), busy),
    },
    Scenario {
        name: "late_pop",
        oracle: "nor does a pop that helps, late",
        threads: 2,
        bound: Some(2),
        run: |turns| late(turns, busy, |q| _ = q.pop()),
    },
    Scenario {
        name: "hand_over",
        oracle: "what one thread pushes another pops, whole, once, in order",
        threads: 2,
        bound: Some(2),
        run: hand_over::<Hazard>,
    },
    Scenario {
        name: "hand_over_keep",
        oracle: "the same, where the scheme has no fence that helps",
        threads: 2,
        bound: Some(2),
        run: hand_over::<Keep>,
    },
    Scenario {
        name: "moved_head",
        oracle: "a pop that finds the head moved by another may look into the dummy; without a helpful fence",
        threads: 2,
        bound: Some(2),
        run: moved_head,
    },
    Scenario {
        name: "helped_by_push",
        oracle: "a push that finds the end moved by a helping push may look into the last node; without a helpful fence",
        threads: 3,
        bound: Some(2),
        run: |turns| {
            helped(turns, |q| {
                q.push(2);
                1
            })
        },
    },
    Scenario {
        name: "helped_by_pop",
        oracle: "the same, when a pop has helped",
        threads: 3,
        bound: Some(2),
        run: |turns| helped(turns, |q| -isize::from(q.pop().is_some())),
    },
    Scenario {
        name: "pushes",
        oracle: "two threads push: nothing is lost, each one's values come out in order, and both help each other",
        threads: 2,
        bound: Some(2),
        run: pushes::<Hazard>,
    },
    Scenario {
        name: "pops_hazard",
        oracle: "two threads pop and free at once: nothing comes twice, nothing is looked at after it is freed",
        threads: 2,
        bound: Some(2),
        run: pops::<Hazard>,
    },
    Scenario {
        name: "pops_epoch",
        oracle: "the same, with epochs",
        threads: 2,
        bound: Some(2),
        run: pops::<Epoch>,
    },
    Scenario {
        name: "both",
        oracle: "two threads push and pop at once: whoever has pushed finds a value; the head does not overtake the tail",
        threads: 2,
        bound: Some(2),
        run: both::<Hazard>,
    },
    Scenario {
        name: "drop_inside",
        oracle: "values still inside are dropped, once",
        threads: 2,
        bound: Some(2),
        run: drop_inside::<Epoch>,
    },
    Scenario {
        name: "most_general_hazard",
        oracle: "one pushes, one pops, one does both and collects, each twice, with handles that inherit places: nothing is lost or twice",
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
        name: "bombs",
        oracle: "a value whose drop unwinds keeps no other value",
        threads: 1,
        bound: None,
        run: bombs,
    },
];

fn alone<R: Reclaim>(turns: usize) {
    let queue = Queue::<usize, R>::new(1);
    let mut handle = queue.handle().expect("there is one");
    for _ in 0..turns {
        assert_eq!(handle.pop(), None);
        (0..3).for_each(|i| handle.push(i));
        (0..3).for_each(|i| assert_eq!(handle.pop(), Some(i)));
        assert_eq!(handle.pop(), None);
    }
    assert_eq!(handle.retries_count(), 0, "nobody comes between");
}

fn together<T: Send + 'static, R: Reclaim + 'static, U: Send + 'static>(
    queue: &Arc<Queue<T, R>>,
    f: impl FnOnce(&mut QueueHandle<'_, T, R>) -> U + Send + 'static,
) -> thread::JoinHandle<U> {
    let queue = Arc::clone(queue);
    thread::spawn(move || f(&mut queue.handle().expect("there are two")))
}

fn hand_over<R: Reclaim + 'static>(turns: usize) {
    let queue = Arc::new(Queue::<_, R>::new(2));
    let other = together(&queue, move |q| (0..2 * turns).for_each(|i| q.push(Payload::new(i))));
    let mut handle = queue.handle().expect("there are two");
    for i in 0..2 * turns {
        let value = loop {
            match handle.pop() {
                Some(value) => break value.open(),
                None => hint::spin_loop(),
            }
        };
        assert_eq!(value, i, "out of order");
    }
    join(other);
    assert!(handle.pop().is_none(), "a value came twice");
}

fn moved_head(turns: usize) {
    let queue = Arc::new(Queue::<_, Keep>::new(2));
    let pop = |q: &mut QueueHandle<'_, Payload<usize>, Keep>| q.pop().map(Payload::open);
    let other = together(&queue, move |q| (0..turns).filter_map(|_| pop(q)).collect::<Vec<_>>());
    let mut handle = queue.handle().expect("there is no limit");
    let mut all = Vec::new();
    for i in 0..turns {
        handle.push(Payload::new(2 * i));
        handle.push(Payload::new(2 * i + 1));
        all.extend(pop(&mut handle));
    }
    all.extend(join(other));
    all.extend(std::iter::from_fn(|| pop(&mut handle)));
    all.sort_unstable();
    assert!(all.into_iter().eq(0..2 * turns), "a value is lost or came twice");
}

/// `help` says by how much it changed the length.
fn helped(turns: usize, help: fn(&mut QueueHandle<'_, usize, Keep>) -> isize) {
    let queue = Arc::new(Queue::<usize, Keep>::new(3));
    let pusher = together(&queue, move |q| (0..turns).for_each(|_| q.push(1)));
    let helper = together(&queue, move |q| (0..turns).map(|_| help(q)).sum::<isize>());
    let mut handle = queue.handle().expect("there is no limit");
    (0..turns).for_each(|_| handle.push(3));
    join(pusher);
    let helped = join(helper);
    let left = std::iter::from_fn(|| handle.pop()).count();
    assert_eq!(left as isize, 2 * turns as isize + helped, "a value is lost or came twice");
}

/// The end moves on by two nodes, and both that were there before are freed.
fn busy(q: &mut QueueHandle<'_, usize, Hazard>) {
    (0..2).for_each(|_| q.push(1));
    (0..2).for_each(|_| _ = q.pop());
    q.collect();
}

type Acts = fn(&mut QueueHandle<'_, usize, Hazard>);

fn late(turns: usize, here: Acts, there: Acts) {
    let queue = Arc::new(Queue::<usize, Hazard>::new(2));
    let mut handle = queue.handle().expect("there are two");
    for _ in 0..turns {
        let other = together(&queue, there);
        here(&mut handle);
        join(other);
        while handle.pop().is_some() {}
        handle.collect();
        handle.push(3);
        assert_eq!(handle.pop(), Some(3), "pushed behind the end");
    }
}

fn pushes<R: Reclaim + 'static>(turns: usize) {
    let queue = Arc::new(Queue::<(usize, usize), R>::new(2));
    let push = move |q: &mut QueueHandle<'_, _, R>, lane| (0..turns).for_each(|i| q.push((lane, i)));
    let other = together(&queue, move |q| push(q, 1));
    let mut handle = queue.handle().expect("there are two");
    push(&mut handle, 0);
    join(other);
    let all: Vec<_> = (0..2 * turns).map(|_| handle.pop().expect("a value is lost")).collect();
    for lane in [0, 1] {
        assert!(all.iter().filter(|(of, _)| *of == lane).map(|(_, i)| *i).eq(0..turns), "out of order");
    }
    assert_eq!(handle.pop(), None, "a value came twice");
}

fn pops<R: Reclaim + 'static>(turns: usize) {
    let queue = Arc::new(Queue::<usize, R>::new(2));
    let mut handle = queue.handle().expect("there are two");
    (0..2 * turns).for_each(|i| handle.push(i));
    let pop = move |q: &mut QueueHandle<'_, usize, R>| {
        let take = |_| {
            let value = q.pop().expect("there are enough");
            q.collect(); // as early as the scheme allows
            value
        };
        (0..turns).map(take).collect::<Vec<_>>()
    };
    let other = together(&queue, pop);
    let mut all = pop(&mut handle);
    all.extend(join(other));
    assert!(all.chunks(turns).all(|mine| mine.is_sorted()), "out of order");
    all.sort_unstable();
    assert!(all.into_iter().eq(0..2 * turns), "a value is lost or came twice");
    assert_eq!(handle.pop(), None, "a value came twice");
}

fn both<R: Reclaim + 'static>(turns: usize) {
    let queue = Arc::new(Queue::<usize, R>::new(2));
    let work = move |q: &mut QueueHandle<'_, usize, R>, from: usize| {
        let swap = |i| {
            q.push(i);
            let value = q.pop().expect("each thread has pushed one more than it has popped");
            q.collect();
            value
        };
        (from..from + turns).map(swap).collect::<Vec<_>>()
    };
    let other = together(&queue, move |q| work(q, turns));
    let mut all = work(&mut queue.handle().expect("there are two"), 0);
    all.extend(join(other));
    all.sort_unstable();
    assert!(all.into_iter().eq(0..2 * turns), "a value is lost or came twice");
}

fn drop_inside<R: Reclaim + 'static>(turns: usize) {
    let alive = Arc::new(());
    let queue = Arc::new(Queue::<Arc<()>, R>::new(2));
    let other = {
        let alive = Arc::clone(&alive);
        together(&queue, move |q| (0..turns).for_each(|_| q.push(Arc::clone(&alive))))
    };
    let mut handle = queue.handle().expect("there are two");
    (0..2 * turns).for_each(|_| handle.push(Arc::clone(&alive)));
    (0..turns).for_each(|_| drop(handle.pop().expect("we have pushed more")));
    drop(handle);
    join(other);
    assert_eq!(Arc::strong_count(&alive), 2 * turns + 1, "a retired node keeps no value");
    drop(queue);
    assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped");
}

fn most_general<R: Reclaim + 'static>(turns: usize) {
    let queue = Arc::new(Queue::<usize, R>::new(3));
    let pusher = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            (0..2 * turns).for_each(|i| queue.handle().expect("there are three").push(i));
        })
    };
    let popper = {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            (0..2 * turns).filter_map(|_| queue.handle().expect("there are three").pop()).collect::<Vec<_>>()
        })
    };
    let mut all = Vec::new();
    for i in 2 * turns..4 * turns {
        let mut handle = queue.handle().expect("there are three");
        handle.push(i);
        all.extend(handle.pop());
        (0..3).for_each(|_| handle.collect());
    }
    join(pusher);
    all.extend(join(popper));
    let mut handle = queue.handle().expect("all are given back");
    all.extend(std::iter::from_fn(|| handle.pop()));
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..4 * turns), "a value is lost or came twice: {all:?}");
}

fn bombs(turns: usize) {
    for _ in 0..turns {
        let alive = Arc::new(());
        let queue = Queue::<Bomb, Epoch>::new(1);
        Bomb::three(&alive).into_iter().for_each(|bomb| queue.handle().expect("there is one").push(bomb));
        caught(|| drop(queue));
        assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped, or twice");
    }
}

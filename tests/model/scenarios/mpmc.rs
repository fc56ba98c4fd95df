//! What a bounded queue of many producers and consumers must do in every execution.

use super::reclaimed::Bomb;
use super::{Scenario, caught, join};
use crate::lockfree::mpmc::Mpmc;
use crate::sync::{hint, thread};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "in_order",
        oracle: "every value comes out once, whole, in order; a slot is not overwritten before it is empty",
        threads: 2,
        bound: Some(3),
        run: in_order,
    },
    Scenario {
        name: "producers",
        oracle: "two producers: nothing is lost, and both get in, though nobody takes anything out",
        threads: 2,
        bound: None,
        run: producers,
    },
    Scenario {
        name: "consumers",
        oracle: "two consumers: nothing comes twice, and both get one of two, though nobody puts anything in",
        threads: 2,
        bound: None,
        run: consumers,
    },
    Scenario {
        name: "full_and_empty",
        oracle: "holds its capacity and not one more, and says so; alone it refuses nothing else",
        threads: 1,
        bound: None,
        run: full_and_empty,
    },
    Scenario {
        name: "full_is_true",
        oracle: "whoever has taken a value can push one, wherever another consumer is",
        threads: 2,
        bound: Some(3),
        run: full_is_true,
    },
    Scenario {
        name: "empty_is_true",
        oracle: "whoever has pushed a value can take one, wherever another producer is",
        threads: 2,
        bound: Some(3),
        run: empty_is_true,
    },
    Scenario {
        name: "not_both_empty",
        oracle: "of two threads that push to one queue and then look into the other's, one finds something",
        threads: 2,
        bound: Some(3),
        run: not_both_empty,
    },
    Scenario {
        name: "not_both_full",
        oracle: "of two threads that take from one full queue and then push to the other's, one gets in",
        threads: 2,
        bound: Some(3),
        run: not_both_full,
    },
    Scenario {
        name: "drop_inside",
        oracle: "values still inside are dropped, once",
        threads: 2,
        bound: None,
        run: drop_inside,
    },
    Scenario {
        name: "most_general",
        oracle: "one pushes twice, one pops twice, one does both: nothing is lost or twice, and each one's values come out in order",
        threads: 3,
        bound: Some(1),
        run: most_general,
    },
    Scenario {
        name: "bombs",
        oracle: "a value whose drop unwinds keeps no other value",
        threads: 1,
        bound: None,
        run: bombs,
    },
];

type Queue<T = usize> = Arc<Mpmc<T>>;

fn together<R: Send + 'static>(
    queue: &Queue,
    f: impl FnOnce(&Mpmc<usize>) -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let queue = Arc::clone(queue);
    thread::spawn(move || f(&queue))
}

fn push_waiting(queue: &Mpmc<usize>, value: usize) {
    while queue.push(value).is_err() {
        hint::spin_loop();
    }
}

fn pop_waiting(queue: &Mpmc<usize>) -> usize {
    loop {
        match queue.pop() {
            Some(value) => return value,
            None => hint::spin_loop(),
        }
    }
}

fn in_order(turns: usize) {
    let queue = Arc::new(Mpmc::new(1));
    let other = together(&queue, move |q| (0..2 * turns).for_each(|i| push_waiting(q, i)));
    (0..2 * turns).for_each(|i| assert_eq!(pop_waiting(&queue), i, "out of order"));
    other.join().unwrap();
    assert_eq!(queue.pop(), None, "a value came twice");
}

fn producers(turns: usize) {
    let queue = Arc::new(Mpmc::new(2 * turns));
    let push = move |q: &Mpmc<usize>, from: usize| {
        (from..from + turns).for_each(|i| q.push(i).expect("there is room"))
    };
    let other = together(&queue, move |q| push(q, turns));
    push(&queue, 0);
    other.join().unwrap();
    let mut all: Vec<_> = (0..2 * turns).map(|_| queue.pop().expect("a value is lost")).collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..2 * turns), "a value is lost");
    assert_eq!(queue.pop(), None, "a value came twice");
}

fn consumers(turns: usize) {
    let queue = Arc::new(Mpmc::new(2 * turns));
    (0..2 * turns).for_each(|i| queue.push(i).unwrap());
    let pop =
        move |q: &Mpmc<usize>| (0..turns).map(|_| q.pop().expect("there are enough")).collect::<Vec<_>>();
    let other = together(&queue, pop);
    let mut all = pop(&queue);
    all.extend(other.join().unwrap());
    assert!(all.chunks(turns).all(|mine| mine.is_sorted()), "out of order");
    all.sort_unstable();
    assert!(all.into_iter().eq(0..2 * turns), "a value is lost or came twice");
    (0..queue.capacity()).for_each(|i| queue.push(i).expect("all slots are free again"));
}

fn full_and_empty(turns: usize) {
    for (asked, capacity) in [(1, 1), (2, 2), (3, 4)] {
        let queue = Mpmc::new(asked);
        assert_eq!(queue.capacity(), capacity);
        for _ in 0..turns + 1 {
            assert_eq!(queue.pop(), None);
            (0..capacity).for_each(|i| assert_eq!(queue.push(i), Ok(()), "there is room"));
            assert_eq!(queue.push(9), Err(9), "one more than the capacity");
            (0..capacity).for_each(|i| assert_eq!(queue.pop(), Some(i)));
        }
    }
}

fn full_is_true(turns: usize) {
    let queue = Arc::new(Mpmc::new(2));
    (0..2).for_each(|i| queue.push(i).unwrap());
    let swap = move |q: &Mpmc<usize>| {
        for _ in 0..turns {
            q.pop().expect("there is one for each thread");
            q.push(7).expect("a value was taken: there is room");
        }
    };
    let other = together(&queue, swap);
    swap(&queue);
    other.join().unwrap();
}

fn empty_is_true(turns: usize) {
    let queue = Arc::new(Mpmc::new(2));
    let swap = move |q: &Mpmc<usize>| {
        for _ in 0..turns {
            q.push(7).expect("there is room for each thread");
            q.pop().expect("a value was pushed: there is one");
        }
    };
    let other = together(&queue, swap);
    swap(&queue);
    other.join().unwrap();
}

fn not_both_empty(turns: usize) {
    for _ in 0..turns {
        let (ours, theirs) = (Arc::new(Mpmc::new(1)), Arc::new(Mpmc::new(1)));
        let look = |mine: &Mpmc<usize>, other: &Mpmc<usize>| {
            mine.push(1).expect("there is room");
            other.pop().is_none()
        };
        let other = {
            let (ours, theirs) = (Arc::clone(&ours), Arc::clone(&theirs));
            thread::spawn(move || look(&theirs, &ours))
        };
        let empty = look(&ours, &theirs);
        assert!(!(other.join().unwrap() && empty), "each missed the other's value");
    }
}

fn not_both_full(turns: usize) {
    for _ in 0..turns {
        let (ours, theirs) = (Arc::new(Mpmc::new(1)), Arc::new(Mpmc::new(1)));
        [&ours, &theirs].into_iter().for_each(|q| q.push(1).unwrap());
        let look = |mine: &Mpmc<usize>, other: &Mpmc<usize>| {
            mine.pop().expect("it is full");
            other.push(2).is_err()
        };
        let other = {
            let (ours, theirs) = (Arc::clone(&ours), Arc::clone(&theirs));
            thread::spawn(move || look(&theirs, &ours))
        };
        let full = look(&ours, &theirs);
        assert!(!(other.join().unwrap() && full), "each missed the other's room");
    }
}

fn drop_inside(turns: usize) {
    let alive = Arc::new(());
    let queue = Arc::new(Mpmc::new(2 * turns));
    let push = move |q: &Mpmc<Arc<()>>, alive: &Arc<()>| {
        (0..turns).for_each(|_| q.push(Arc::clone(alive)).expect("there is room"));
    };
    let other = {
        let (queue, alive) = (Arc::clone(&queue), Arc::clone(&alive));
        thread::spawn(move || push(&queue, &alive))
    };
    push(&queue, &alive);
    other.join().unwrap();
    drop(queue);
    assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped");
}

fn most_general(turns: usize) {
    let queue = Arc::new(Mpmc::new(1));
    let pusher = together(&queue, move |q| (0..2 * turns).filter(|i| q.push(*i).is_ok()).collect::<Vec<_>>());
    let popper = together(&queue, move |q| (0..2 * turns).filter_map(|_| q.pop()).collect::<Vec<_>>());
    let (mut pushed, mut mine) = (Vec::new(), Vec::new());
    for i in 2 * turns..3 * turns {
        pushed.extend(queue.push(i).is_ok().then_some(i));
        mine.extend(queue.pop());
    }
    pushed.extend(join(pusher));
    let lists = [mine, join(popper), std::iter::from_fn(|| queue.pop()).collect()];
    for list in &lists {
        let of = |theirs: bool| list.iter().filter(move |i| (**i < 2 * turns) == theirs);
        assert!(of(true).is_sorted() && of(false).is_sorted(), "out of order: {lists:?}");
    }
    let mut all = lists.concat();
    all.sort_unstable();
    pushed.sort_unstable();
    assert_eq!(all, pushed, "a value is lost or came twice");
}

fn bombs(turns: usize) {
    for _ in 0..turns {
        let alive = Arc::new(());
        let queue = Mpmc::new(3);
        Bomb::three(&alive).into_iter().for_each(|bomb| assert!(queue.push(bomb).is_ok(), "there is room"));
        caught(|| drop(queue));
        assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped, or twice");
    }
}

//! What a stack must do in every execution, whatever frees its nodes.

use super::reclaimed::{Bomb, Keep, Payload};
use super::{Scenario, caught, join};
use crate::lockfree::stack::Stack;
use crate::reclaim::Reclaim;
use crate::reclaim::epoch::Epoch;
use crate::reclaim::hazard::Hazard;
use crate::sync::{hint, thread};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "alone",
        oracle: "last in, first out; empty is empty",
        threads: 1,
        bound: None,
        run: |turns| {
            alone::<Epoch>(turns);
            alone::<Hazard>(turns);
        },
    },
    Scenario {
        name: "hand_over",
        oracle: "what one thread pushes another pops, whole, and once",
        threads: 2,
        bound: Some(3),
        run: hand_over::<Hazard>,
    },
    Scenario {
        name: "hand_over_keep",
        oracle: "the same, where the scheme has no fence that helps",
        threads: 2,
        bound: Some(3),
        run: hand_over::<Keep>,
    },
    Scenario {
        name: "pushes",
        oracle: "two threads push: nothing is lost, and each one's values come out newest first",
        threads: 2,
        bound: Some(3),
        run: pushes::<Hazard>,
    },
    Scenario {
        name: "aba_hazard",
        oracle: "a pop is not fooled by a node that was freed, came back at its address and is the head again",
        threads: 2,
        bound: Some(2),
        run: aba::<Hazard>,
    },
    Scenario {
        name: "aba_epoch",
        oracle: "the same, with epochs",
        threads: 2,
        bound: Some(2),
        run: aba::<Epoch>,
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
    let stack = Stack::<usize, R>::new(1);
    let mut handle = stack.handle().expect("there is one");
    for _ in 0..turns {
        assert_eq!(handle.pop(), None);
        (0..3).for_each(|i| handle.push(i));
        (0..3).rev().for_each(|i| assert_eq!(handle.pop(), Some(i)));
        assert_eq!(handle.pop(), None);
    }
}

fn hand_over<R: Reclaim + 'static>(turns: usize) {
    let stack = Arc::new(Stack::<_, R>::new(2));
    let other = {
        let stack = Arc::clone(&stack);
        thread::spawn(move || {
            let mut handle = stack.handle().expect("there are two");
            (0..2 * turns).for_each(|i| handle.push(Payload::new(i)));
        })
    };
    let mut handle = stack.handle().expect("there are two");
    let mut all = Vec::new();
    while all.len() < 2 * turns {
        match handle.pop() {
            Some(value) => all.push(value.open()),
            None => hint::spin_loop(),
        }
    }
    join(other);
    all.sort_unstable();
    assert!(all.into_iter().eq(0..2 * turns), "a value is lost or came twice");
    assert!(handle.pop().is_none(), "a value came twice");
}

fn pushes<R: Reclaim + 'static>(turns: usize) {
    let stack = Arc::new(Stack::<(usize, usize), R>::new(2));
    let push = move |stack: &Stack<_, R>, lane: usize| {
        let mut handle = stack.handle().expect("there are two");
        (0..turns).for_each(|i| handle.push((lane, i)));
    };
    let other = {
        let stack = Arc::clone(&stack);
        thread::spawn(move || push(&stack, 1))
    };
    push(&stack, 0);
    join(other);
    let mut handle = stack.handle().expect("both are given back");
    let all: Vec<_> = (0..2 * turns).map(|_| handle.pop().expect("a value is lost")).collect();
    for lane in [0, 1] {
        let mine = all.iter().filter(|(of, _)| *of == lane).map(|(_, i)| *i);
        assert!(mine.eq((0..turns).rev()), "out of order");
    }
    assert_eq!(handle.pop(), None, "a value came twice");
}

fn aba<R: Reclaim + 'static>(turns: usize) {
    let stack = Arc::new(Stack::<usize, R>::new(2));
    let mut handle = stack.handle().expect("there are two");
    (0..2).for_each(|i| handle.push(i));
    let other = {
        let stack = Arc::clone(&stack);
        thread::spawn(move || {
            let mut handle = stack.handle().expect("there are two");
            (0..turns).filter_map(|_| handle.pop()).collect::<Vec<_>>()
        })
    };
    let mut all = Vec::new();
    for i in 0..turns {
        all.extend(handle.pop());
        all.extend(handle.pop());
        handle.collect(); // as early as the scheme allows
        handle.push(2 + i); // perhaps where a node just was
    }
    all.extend(join(other));
    all.extend(std::iter::from_fn(|| handle.pop()));
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..turns + 2), "a value is lost or came twice: {all:?}");
}

fn drop_inside<R: Reclaim + 'static>(turns: usize) {
    let alive = Arc::new(());
    let stack = Arc::new(Stack::<Arc<()>, R>::new(2));
    let push = move |stack: &Stack<_, R>, alive: &Arc<()>| {
        let mut handle = stack.handle().expect("there are two");
        (0..turns).for_each(|_| handle.push(Arc::clone(alive)));
        drop(handle.pop().expect("there is one for each thread"));
        handle.push(Arc::clone(alive));
    };
    let other = {
        let (stack, alive) = (Arc::clone(&stack), Arc::clone(&alive));
        thread::spawn(move || push(&stack, &alive))
    };
    push(&stack, &alive);
    join(other);
    assert_eq!(Arc::strong_count(&alive), 2 * turns + 1, "a retired node keeps no value");
    drop(stack);
    assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped");
}

fn most_general<R: Reclaim + 'static>(turns: usize) {
    let stack = Arc::new(Stack::<usize, R>::new(3));
    let pusher = {
        let stack = Arc::clone(&stack);
        thread::spawn(move || {
            (0..2 * turns).for_each(|i| stack.handle().expect("there are three").push(i));
        })
    };
    let popper = {
        let stack = Arc::clone(&stack);
        thread::spawn(move || {
            (0..2 * turns).filter_map(|_| stack.handle().expect("there are three").pop()).collect::<Vec<_>>()
        })
    };
    let mut all = Vec::new();
    for i in 2 * turns..4 * turns {
        let mut handle = stack.handle().expect("there are three");
        handle.push(i);
        all.extend(handle.pop());
        (0..3).for_each(|_| handle.collect());
    }
    join(pusher);
    all.extend(join(popper));
    let mut handle = stack.handle().expect("all are given back");
    all.extend(std::iter::from_fn(|| handle.pop()));
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..4 * turns), "a value is lost or came twice: {all:?}");
}

fn bombs(turns: usize) {
    for _ in 0..turns {
        let alive = Arc::new(());
        let stack = Stack::<Bomb, Epoch>::new(1);
        Bomb::three(&alive).into_iter().for_each(|bomb| stack.handle().expect("there is one").push(bomb));
        caught(|| drop(stack));
        assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped, or twice");
    }
}

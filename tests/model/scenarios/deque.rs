//! What a work-stealing deque must do in every execution.

use super::reclaimed::{Bomb, Payload};
use super::{Scenario, caught, join};
use crate::lockfree::deque::{Owner, Steal, Stealer, deque};
use crate::sync::cell::UnsafeCell;
use crate::sync::{hint, thread};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "ends",
        oracle: "the owner gets the newest, a thief the oldest; holds its capacity and not one more, and says so",
        threads: 1,
        bound: None,
        run: ends,
    },
    Scenario {
        name: "last_item",
        oracle: "pop and steal at the only item: one of them gets it, whole",
        threads: 2,
        bound: None,
        run: last_item,
    },
    Scenario {
        name: "second_item",
        oracle: "two items, two steals, one pop that needs no exchange for the second: none is lost or comes twice",
        threads: 2,
        bound: None,
        run: second_item,
    },
    Scenario {
        name: "two_thieves",
        oracle: "two thieves at two items: nothing comes twice, and who is refused has a reason",
        threads: 2,
        bound: None,
        run: two_thieves,
    },
    Scenario {
        name: "place_filled_again",
        oracle: "an item that was popped and another one in its place, both whole, each once",
        threads: 2,
        bound: Some(3),
        run: place_filled_again,
    },
    Scenario {
        name: "laps",
        oracle: "the same in a deque of one place, over several laps",
        threads: 2,
        bound: Some(3),
        run: laps,
    },
    Scenario {
        name: "room",
        oracle: "an owner that finds room sees what the thief did before it made it",
        threads: 2,
        bound: None,
        run: room,
    },
    Scenario {
        name: "not_both_empty",
        oracle: "of two owners that push and then look into the other's deque, one finds something",
        threads: 2,
        bound: None,
        run: not_both_empty,
    },
    Scenario {
        name: "all_leave",
        oracle: "items still inside are dropped, once, by whoever leaves last, owner or thief",
        threads: 2,
        bound: None,
        run: all_leave,
    },
    Scenario {
        name: "clones",
        oracle: "handles made by two threads at once are all counted: nothing is freed under one of them",
        threads: 2,
        bound: None,
        run: clones,
    },
    Scenario {
        name: "most_general",
        oracle: "one owner that pushes and pops, two thieves: every item comes out or is dropped, once, a thief's own in order",
        threads: 3,
        bound: Some(2),
        run: most_general,
    },
    Scenario {
        name: "bombs",
        oracle: "an item whose drop unwinds keeps no other item",
        threads: 1,
        bound: None,
        run: bombs,
    },
];

/// An item: its number in a cell, so that a thief needs an edge from the push.
type Item = Payload<usize>;

fn push(owner: &mut Owner<Item>, number: usize) {
    assert!(owner.push(Box::new(Payload::new(number))).is_ok(), "there is room");
}

/// Steals until there is an answer.
fn steal<T>(thief: &Stealer<T>) -> Option<Box<T>> {
    loop {
        match thief.steal() {
            Steal::Item(item) => return Some(item),
            Steal::Empty => return None,
            Steal::Retry => hint::spin_loop(),
        }
    }
}

/// All lists together hold each number below `count` once.
fn each_once(lists: &[Vec<usize>], count: usize) {
    let mut all = lists.concat();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..count), "an item is lost or came twice: {lists:?}");
}

fn ends(turns: usize) {
    for (asked, capacity) in [(1, 1), (2, 2), (3, 4)] {
        let (mut owner, thief) = deque(asked);
        assert_eq!(owner.capacity(), capacity);
        for _ in 0..turns + 1 {
            assert_eq!(owner.pop(), None);
            assert_eq!(thief.steal(), Steal::Empty);
            (0..capacity).for_each(|i| assert_eq!(owner.push(Box::new(i)), Ok(()), "there is room"));
            assert_eq!(owner.push(Box::new(9)), Err(Box::new(9)), "one more than the capacity");
            (0..capacity).rev().for_each(|i| assert_eq!(owner.pop(), Some(Box::new(i)), "the newest"));
            (0..capacity).for_each(|i| assert_eq!(owner.push(Box::new(i)), Ok(()), "there is room again"));
            let other = owner.stealer();
            (0..capacity)
                .for_each(|i| assert_eq!(other.steal(), Steal::Item(Box::new(i)), "the oldest, alone"));
        }
    }
}

fn last_item(turns: usize) {
    let (mut owner, thief) = deque::<Item>(2);
    let other = thread::spawn(move || {
        (0..turns).filter_map(|_| steal(&thief)).map(|item| item.open()).collect::<Vec<_>>()
    });
    let mut mine = Vec::new();
    for i in 0..turns {
        push(&mut owner, i);
        mine.extend(owner.pop().map(|item| item.open()));
    }
    each_once(&[mine, join(other)], turns);
    assert!(owner.pop().is_none(), "it was taken");
}

fn second_item(turns: usize) {
    let (mut owner, thief) = deque::<Item>(2 * turns);
    (0..2 * turns).for_each(|i| push(&mut owner, i));
    let other = thread::spawn(move || {
        (0..2 * turns).filter_map(|_| steal(&thief)).map(|item| item.open()).collect::<Vec<_>>()
    });
    let mut mine: Vec<usize> = (0..turns).filter_map(|_| owner.pop()).map(|item| item.open()).collect();
    let theirs = join(other);
    assert!(theirs.is_sorted(), "the oldest first: {theirs:?}");
    mine.extend(std::iter::from_fn(|| owner.pop()).map(|item| item.open()));
    each_once(&[mine, theirs], 2 * turns);
}

fn two_thieves(turns: usize) {
    let (mut owner, thief) = deque::<Item>(2 * turns);
    (0..2 * turns).for_each(|i| push(&mut owner, i));
    let take = move |thief: &Stealer<Item>| {
        (0..turns).map(|_| steal(thief).expect("there are enough for both").open()).collect::<Vec<_>>()
    };
    let other = {
        let thief = thief.clone();
        thread::spawn(move || take(&thief))
    };
    let mine = take(&thief);
    let theirs = join(other);
    assert!(mine.is_sorted() && theirs.is_sorted(), "the oldest first: {mine:?} {theirs:?}");
    each_once(&[mine, theirs], 2 * turns);
    assert!(owner.pop().is_none(), "all were taken");
}

fn place_filled_again(turns: usize) {
    let (mut owner, thief) = deque::<Item>(3 * turns);
    let other = thread::spawn(move || {
        (0..2 * turns).filter_map(|_| steal(&thief)).map(|item| item.open()).collect::<Vec<_>>()
    });
    let mut mine = Vec::new();
    for i in 0..turns {
        push(&mut owner, 3 * i);
        push(&mut owner, 3 * i + 1);
        mine.extend(owner.pop().map(|item| item.open()));
        push(&mut owner, 3 * i + 2);
    }
    let theirs = join(other);
    assert!(theirs.is_sorted(), "the oldest first: {theirs:?}");
    mine.extend(std::iter::from_fn(|| owner.pop()).map(|item| item.open()));
    each_once(&[mine, theirs], 3 * turns);
}

fn laps(turns: usize) {
    let (mut owner, thief) = deque::<Item>(1);
    let other = thread::spawn(move || {
        (0..2 * turns).filter_map(|_| steal(&thief)).map(|item| item.open()).collect::<Vec<_>>()
    });
    let (mut mine, mut pushed) = (Vec::new(), 0);
    for _ in 0..2 * turns {
        match owner.push(Box::new(Payload::new(pushed))) {
            Ok(()) => pushed += 1,
            Err(back) => drop(back),
        }
        if pushed % 2 == 0 {
            mine.extend(owner.pop().map(|item| item.open()));
        }
    }
    let theirs = join(other);
    mine.extend(std::iter::from_fn(|| owner.pop()).map(|item| item.open()));
    each_once(&[mine, theirs], pushed);
}

/// What a thread leaves in its own place for another, one turn after the other.
struct Left(Vec<UnsafeCell<usize>>);
// SAFETY: each cell is written by the thief before a steal, and read by the owner after the push that the steal makes room for.
unsafe impl Send for Left {}
// SAFETY: as above.
unsafe impl Sync for Left {}

fn room(turns: usize) {
    let left = Arc::new(Left((0..turns).map(|_| UnsafeCell::new(0)).collect()));
    let (mut owner, thief) = deque(1);
    push(&mut owner, 0);
    let other = {
        let left = Arc::clone(&left);
        thread::spawn(move || {
            for (i, cell) in left.0.iter().enumerate() {
                // SAFETY: the owner reads it only after the steal below.
                cell.with_mut(|cell| unsafe { *cell = i + 1 });
                while steal(&thief).is_none() {
                    hint::spin_loop();
                }
            }
        })
    };
    for (i, cell) in left.0.iter().enumerate() {
        let mut item = Box::new(Payload::new(i + 1));
        while let Err(back) = owner.push(item) {
            item = back;
            hint::spin_loop();
        }
        // SAFETY: there was room, so the thief has stolen; it wrote before that.
        assert_eq!(cell.with(|cell| unsafe { *cell }), i + 1);
    }
    join(other);
}

fn not_both_empty(turns: usize) {
    for _ in 0..turns {
        let ((mut ours, at_ours), (mut theirs, at_theirs)) = (deque(1), deque(1));
        let look = |mine: &mut Owner<Item>, other: &Stealer<Item>| {
            push(mine, 1);
            steal(other).is_none()
        };
        let other = thread::spawn(move || (look(&mut theirs, &at_ours), theirs));
        let empty = look(&mut ours, &at_theirs);
        let (theirs_empty, _theirs) = join(other);
        assert!(!(empty && theirs_empty), "each missed the other's item");
    }
}

fn all_leave(turns: usize) {
    let alive = Arc::new(());
    let (mut owner, thief) = deque(3 * turns);
    (0..2 * turns).for_each(|_| owner.push(Box::new(Arc::clone(&alive))).expect("there is room"));
    let other = {
        let alive = Arc::clone(&alive);
        thread::spawn(move || {
            (0..turns).for_each(|_| owner.push(Box::new(Arc::clone(&alive))).expect("there is room"));
        })
    };
    (0..turns).for_each(|_| drop(steal(&thief).expect("they were there from the start")));
    drop(thief);
    join(other);
    assert_eq!(Arc::strong_count(&alive), 1, "an item was not dropped, or twice");
}

fn clones(turns: usize) {
    let alive = Arc::new(());
    let (mut owner, thief) = deque(1);
    owner.push(Box::new(Arc::clone(&alive))).expect("there is room");
    let other = thread::spawn(move || {
        let more: Vec<_> = (0..turns).map(|_| thief.clone()).collect();
        drop(thief);
        more
    });
    let mut mine: Vec<_> = (0..turns).map(|_| owner.stealer()).collect();
    mine.extend(join(other));
    drop(owner);
    while mine.pop().is_some() {
        let expected = if mine.is_empty() { 1 } else { 2 };
        assert_eq!(Arc::strong_count(&alive), expected, "freed under a handle, or never");
    }
}

fn most_general(turns: usize) {
    let alive = Arc::new(());
    let (mut owner, thief) = deque::<(usize, Arc<()>)>(2);
    let steals = move |thief: &Stealer<(usize, Arc<()>)>| {
        (0..turns).filter_map(|_| steal(thief)).map(|item| item.0).collect::<Vec<_>>()
    };
    let [first, second] = [thief.clone(), thief].map(|thief| thread::spawn(move || steals(&thief)));
    let (mut mine, mut pushed) = (Vec::new(), 0);
    for turn in 0..3 * turns {
        if turn % 3 == 2 {
            mine.extend(owner.pop().map(|item| item.0));
        } else if owner.push(Box::new((pushed, Arc::clone(&alive)))).is_ok() {
            pushed += 1;
        }
    }
    let (first, second) = (join(first), join(second));
    assert!(first.is_sorted() && second.is_sorted(), "the oldest first: {first:?} {second:?}");
    let inside = Arc::strong_count(&alive) - 1;
    assert_eq!(mine.len() + first.len() + second.len() + inside, pushed, "an item is lost or came twice");
    let rest = std::iter::from_fn(|| owner.pop()).take(inside / 2).map(|item| item.0).collect();
    let lists = [mine, first, second, rest];
    let mut all = lists.concat();
    all.sort_unstable();
    assert!(all.is_sorted_by(|a, b| a < b), "an item came twice: {lists:?}");
    drop(owner);
    assert_eq!(Arc::strong_count(&alive), 1, "an item was not dropped, or twice");
}

fn bombs(turns: usize) {
    for _ in 0..turns {
        let alive = Arc::new(());
        let (mut owner, thief) = deque(3);
        Bomb::three(&alive)
            .into_iter()
            .for_each(|bomb| assert!(owner.push(Box::new(bomb)).is_ok(), "there is room"));
        caught(|| drop((owner, thief)));
        assert_eq!(Arc::strong_count(&alive), 1, "an item was not dropped, or twice");
    }
}

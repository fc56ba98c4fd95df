//! What a ring between one producer and one consumer must do in every execution.

use super::reclaimed::Bomb;
use super::{Scenario, caught, join};
use crate::lockfree::ring::{Producer, ring};
use crate::sync::{hint, thread};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "in_order",
        oracle: "every value comes out once, whole, in order; a slot is not overwritten before it is empty",
        threads: 2,
        bound: None,
        run: |turns| in_order(1, 2 * turns),
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
        oracle: "whoever knows that a value was taken can push one",
        threads: 2,
        bound: None,
        run: full_is_true,
    },
    Scenario {
        name: "producer_leaves",
        oracle: "once the producer is seen to be gone, all it pushed is there",
        threads: 2,
        bound: None,
        run: producer_leaves,
    },
    Scenario {
        name: "consumer_leaves",
        oracle: "once the consumer is seen to be gone, there is room for what it took",
        threads: 2,
        bound: None,
        run: consumer_leaves,
    },
    Scenario {
        name: "both_leave",
        oracle: "values still inside are dropped, once, by whoever leaves last, producer or consumer",
        threads: 2,
        bound: None,
        run: both_leave,
    },
    Scenario {
        name: "laps",
        oracle: "the same over several laps of a ring whose capacity is no power of two",
        threads: 2,
        bound: Some(2),
        run: |turns| in_order(3, 4 * turns),
    },
    Scenario {
        name: "most_general",
        oracle: "each side tries twice, is refused or not, and leaves: every value that went in comes out or is dropped, once, in order",
        threads: 2,
        bound: None,
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

fn push_waiting<T>(producer: &mut Producer<T>, mut value: T) {
    while let Err(back) = producer.push(value) {
        value = back;
        hint::spin_loop();
    }
}

fn in_order(capacity: usize, count: usize) {
    let (mut producer, mut consumer) = ring(capacity);
    let other = thread::spawn(move || {
        (0..count).for_each(|i| push_waiting(&mut producer, Box::new(i)));
    });
    for i in 0..count {
        let value = loop {
            match consumer.pop() {
                Some(value) => break value,
                None => hint::spin_loop(),
            }
        };
        assert_eq!(*value, i, "out of order");
    }
    other.join().unwrap();
    assert!(consumer.pop().is_none(), "a value came twice");
}

fn full_and_empty(turns: usize) {
    for capacity in [1, 2, 3] {
        let (mut producer, mut consumer) = ring(capacity);
        assert_eq!((producer.capacity(), consumer.capacity()), (capacity, capacity));
        for _ in 0..turns + capacity {
            assert_eq!(consumer.pop(), None);
            (0..capacity).for_each(|i| assert_eq!(producer.push(i), Ok(()), "there is room"));
            assert_eq!(producer.push(9), Err(9), "one more than the capacity");
            (0..capacity).for_each(|i| assert_eq!(consumer.pop(), Some(i)));
        }
        assert!(!producer.is_alone() && !consumer.is_alone());
    }
}

fn full_is_true(turns: usize) {
    let (mut producer, mut consumer) = ring(1);
    let (mut answer, mut answered) = ring(1);
    producer.push(0).unwrap();
    let other = thread::spawn(move || {
        for _ in 0..turns {
            while consumer.pop().is_none() {
                hint::spin_loop();
            }
            push_waiting(&mut answer, ());
        }
    });
    for _ in 0..turns {
        while answered.pop().is_none() {
            hint::spin_loop();
        }
        producer.push(1).expect("the value was taken, and we know it");
    }
    other.join().unwrap();
}

fn producer_leaves(turns: usize) {
    let (mut producer, mut consumer) = ring(turns);
    let other = thread::spawn(move || (0..turns).for_each(|i| producer.push(i).unwrap()));
    while !consumer.is_alone() {
        hint::spin_loop();
    }
    (0..turns).for_each(|i| {
        assert_eq!(consumer.pop(), Some(i), "the producer is gone, its values are not all here")
    });
    assert_eq!(consumer.pop(), None);
    other.join().unwrap();
}

fn consumer_leaves(turns: usize) {
    let (mut producer, mut consumer) = ring(turns);
    (0..turns).for_each(|i| producer.push(i).unwrap());
    let other = thread::spawn(move || (0..turns).for_each(|i| assert_eq!(consumer.pop(), Some(i))));
    while !producer.is_alone() {
        hint::spin_loop();
    }
    (0..turns).for_each(|i| producer.push(i).expect("the consumer has taken everything and left"));
    other.join().unwrap();
}

fn both_leave(turns: usize) {
    let alive = Arc::new(());
    let (mut producer, mut consumer) = ring(3 * turns);
    (0..2 * turns).for_each(|_| producer.push(Arc::clone(&alive)).unwrap());
    let other = {
        let alive = Arc::clone(&alive);
        thread::spawn(move || (0..turns).for_each(|_| producer.push(Arc::clone(&alive)).unwrap()))
    };
    (0..turns).for_each(|_| drop(consumer.pop().expect("they were there from the start")));
    drop(consumer);
    other.join().unwrap();
    assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped");
}

fn most_general(turns: usize) {
    let alive = Arc::new(());
    let (mut producer, mut consumer) = ring(1);
    let other = {
        let alive = Arc::clone(&alive);
        thread::spawn(move || {
            (0..2 * turns).filter(|i| producer.push((*i, Arc::clone(&alive))).is_ok()).count()
        })
    };
    let seen: Vec<usize> = (0..2 * turns).filter_map(|_| consumer.pop()).map(|(i, _)| i).collect();
    let was_alone = consumer.is_alone();
    let late = consumer.pop();
    assert!(!was_alone || consumer.pop().is_none(), "one value fits, and nobody pushes any more");
    drop((consumer, late));
    let pushed = join(other);
    assert!(seen.is_sorted() && seen.len() <= pushed, "out of order, or from nowhere");
    assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped, or twice");
}

fn bombs(turns: usize) {
    for _ in 0..turns {
        let alive = Arc::new(());
        let (mut producer, consumer) = ring(3);
        Bomb::three(&alive)
            .into_iter()
            .for_each(|bomb| assert!(producer.push(bomb).is_ok(), "there is room"));
        caught(|| drop((producer, consumer)));
        assert_eq!(Arc::strong_count(&alive), 1, "a value was not dropped, or twice");
    }
}

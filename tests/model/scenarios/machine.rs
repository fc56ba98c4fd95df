//! What a machine by hand must do in every execution: no more than the compiler's, whoever wakes it and whenever.

use super::Scenario;
use crate::sync::thread;
use crate::task::executor::Executor;
use crate::task::machine::{self, Counted, InTurn, Machine};
use std::cell::Cell;
use std::rc::Rc;

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "woken_too_often",
    oracle: "wakes that nobody asked for change no result, the compiler's or the twin's",
    threads: 2,
    bound: Some(2),
    run: woken_too_often,
}];

fn woken_too_often(turns: usize) {
    for _ in 0..turns {
        let results: Rc<[Cell<Option<u64>>; 4]> = Rc::default();
        let mut executor = Executor::new();
        let mut spawn = |slot: usize, machine: Kind| {
            let results = Rc::clone(&results);
            executor.spawn(async move {
                let result = match machine {
                    Kind::Theirs(0) => machine::in_turn(3).await,
                    Kind::Theirs(_) => machine::counted(2).await,
                    Kind::InTurn(m) => run(m).await,
                    Kind::Counted(m) => run(m).await,
                };
                results[slot].set(Some(result));
            })
        };
        spawn(0, Kind::Theirs(0));
        let first = spawn(1, Kind::InTurn(InTurn::Unresumed { seed: 3 }));
        spawn(2, Kind::Theirs(1));
        let second = spawn(3, Kind::Counted(Counted::Unresumed { turns: 2 }));
        let wakers = [executor.waker(first), executor.waker(second)];
        let other = thread::spawn(move || wakers.into_iter().for_each(|w| w.wake()));
        executor.run();
        other.join().unwrap();
        let [a, b, c, d] = std::array::from_fn(|i| results[i].get());
        assert!(a.is_some() && a == b, "{a:?} {b:?}");
        assert!(c.is_some() && c == d, "{c:?} {d:?}");
    }
}

enum Kind {
    Theirs(u8),
    InTurn(InTurn),
    Counted(Counted),
}

async fn run<M: Machine>(machine: M) -> u64 {
    machine.await
}

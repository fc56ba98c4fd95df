//! What single operations cost the mutator, for criterion. One heap for all benches of all labs, since a process has one.
use std::{sync::LazyLock, time::Instant};

use crate::{
    heap::{Collector, Config, Heap, Mutator, Root, possible},
    lab::Bench,
};

const HEAP: usize = 256 << 20;

/// One operation; the root holds an object with one slot and 1 MiB of payload.
pub type Turn = fn(&mut Mutator, &Root);

/// Benches with these ids; none if no heap can be made here.
pub fn benches(turns: &[(&'static str, Turn)]) -> Vec<Bench> {
    if possible(HEAP).is_err() {
        return Vec::new();
    }
    turns.iter().map(|(id, turn)| bench(id, *turn)).collect()
}

fn bench(id: &str, turn: Turn) -> Bench {
    static SHARED: LazyLock<&'static Heap> = LazyLock::new(|| {
        Heap::start(Config::new(Collector::GenImmix, HEAP)).expect("it was possible a moment ago")
    });
    let run = move |n| {
        let mut m = SHARED.attach().expect("one bench at a time");
        let kept = m.alloc(1, 1 << 20).expect("nothing else lives");
        m.collect(); // it is old now, as what a program keeps is
        let start = Instant::now();
        (0..n).for_each(|_| turn(&mut m, &kept));
        start.elapsed()
    };
    Bench::new(id, move |_| Box::new(run))
}

//! Mutators that come and go, that do not poll, that sleep, that panic.
use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use underhood::heap::{Collector, Heap, Kind, Mutator, Phase};

use super::{MIB, PATIENCE, chains::shuffle_chains, heap, on};

pub(crate) fn mutators_come_and_go(collector: Collector) {
    let heap = heap(collector, 48 * MIB);
    let threads: Vec<_> = (0..3)
        .map(|t| {
            thread::spawn(move || {
                for round in 0..4 {
                    let mut m = heap.attach().expect("one mutator a thread");
                    shuffle_chains(&mut m, 100 * t + round + 1, 400);
                    m.collect();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().expect("graphs of several mutators survive"));
    assert!(heap.pauses().len() >= 4, "there were collections to survive");
}

/// One mutator runs and never polls; another asks for a collection. Only when the watchdog has seen the collection wait for
/// exactly that one, the first does what `after` says.
fn with_a_mutator_that_does_not_poll(heap: &'static Heap, after: impl FnOnce(Mutator) + Send + 'static) {
    let (ready, go) = (Arc::new(Barrier::new(2)), Arc::new(AtomicBool::new(false)));
    let idle = {
        let (ready, go) = (ready.clone(), go.clone());
        thread::spawn(move || {
            let m = heap.attach().expect("a mutator");
            ready.wait();
            while !go.load(SeqCst) {
                thread::yield_now();
            }
            after(m);
        })
    };
    ready.wait();
    let collecting =
        thread::spawn(move || heap.run(PATIENCE / 2, Mutator::collect).expect("the collection ends"));
    let until = Instant::now() + PATIENCE / 2;
    while heap.overdue(Duration::ZERO).map(|o| o.phase) != Some(Phase::Reaching(1)) {
        assert!(
            Instant::now() < until,
            "the collection waits for the one that does not poll: {:?}",
            heap.overdue(Duration::ZERO)
        );
        thread::yield_now();
    }
    assert!(heap.pauses().is_empty(), "nothing was collected behind its back");
    go.store(true, SeqCst);
    idle.join().expect("the idle one ends");
    collecting.join().expect("and so does the other");
    assert_eq!(heap.overdue(Duration::ZERO), None, "the watchdog sleeps again");
}

pub(crate) fn a_mutator_detaches_while_a_collection_waits(collector: Collector) {
    let heap = heap(collector, 16 * MIB);
    with_a_mutator_that_does_not_poll(heap, Mutator::detach);
    on(heap, |_| {}); // the heap is still in order
}

pub(crate) fn the_watchdog_names_a_mutator_that_does_not_poll(collector: Collector) {
    let heap = heap(collector, 16 * MIB);
    with_a_mutator_that_does_not_poll(heap, |mut m| {
        m.poll();
        m.collect();
    });
    let pauses = heap.pauses();
    // One or two: if the collector has not begun when the idle one asks as well, one collection serves both.
    assert!(!pauses.is_empty() && pauses.iter().all(|p| p.kind == Kind::Full), "{pauses:?}");
    assert!(pauses.iter().all(|p| p.whole() == p.reach + p.stopped));
    assert!(heap.overdue(Duration::from_secs(3600)).is_none());
}

pub(crate) fn a_blocked_mutator_holds_nobody_up(collector: Collector) {
    let heap = heap(collector, 24 * MIB);
    let (tell, told) = mpsc::channel::<()>();
    let (inside, is_inside) = mpsc::channel();
    let back = Arc::new(AtomicUsize::new(0));
    let blocked = {
        let back = back.clone();
        thread::spawn(move || {
            let mut m = heap.attach().expect("a mutator");
            let root = m.alloc(0, 1000).expect("room");
            m.payload_mut(&root).fill(3);
            let (kept, dropped) = (m.hold(m.at(&root)), root);
            m.blocking(|| {
                inside.send(()).expect("somebody listens");
                told.recv().expect("and answers");
                drop(dropped); // a root may go in a blocking region
            });
            back.store(1, SeqCst);
            m.collect();
            assert!(
                m.payload(m.at(&kept)).iter().all(|&b| b == 3),
                "its object moved thrice and is what it was"
            );
        })
    };
    is_inside.recv().expect("it blocks");
    on(heap, |m| (0..2).for_each(|_| m.collect()));
    assert_eq!(back.load(SeqCst), 0, "two collections went by while it blocked");
    tell.send(()).expect("it listens");
    blocked.join().expect("and comes back");
    assert_eq!(back.load(SeqCst), 1);
}

pub(crate) fn a_mutator_that_panics_leaves(collector: Collector) {
    let heap = heap(collector, 16 * MIB);
    let outside = thread::spawn(move || heap.attach().expect("a mutator").blocking(|| panic!("on purpose")));
    assert!(outside.join().is_err());
    let inside = thread::spawn(move || heap.run(PATIENCE / 2, |_| panic!("on purpose")));
    assert!(inside.join().is_err(), "a panic of the work is a panic of the caller");
    on(heap, Mutator::collect); // which waits for nobody any more
}

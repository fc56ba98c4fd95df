//! What hazard pointers must do in every execution.

use super::reclaimed::{
    Inside, Shared, collect, finish, look, most_general, reader_inside, reader_reenters, replace, stalled,
    writer_reenters,
};
use super::{Scenario, join};
use crate::reclaim::hazard::Hazard;
use crate::reclaim::{Handle, Reclaim};
use crate::sync::atomic::AtomicPtr;
use crate::sync::cell::UnsafeCell;
use crate::sync::thread;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::AtomicBool; // std's: for the oracle, which must order nothing
use std::sync::atomic::Ordering::{AcqRel, Release, SeqCst};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "reader_inside",
        oracle: "what a reader reads is not freed before it has left, and all is freed in the end",
        threads: 2,
        bound: Some(3),
        run: reader_inside::<Hazard>,
    },
    Scenario {
        name: "moves_on",
        oracle: "a reader that protects the next node in the same place is done with the one before",
        threads: 2,
        bound: Some(3),
        run: moves_on,
    },
    Scenario {
        name: "came_back",
        oracle: "a node that was freed and comes back at its old address is read as its new self",
        threads: 2,
        bound: Some(2),
        run: came_back,
    },
    Scenario {
        name: "stalled",
        oracle: "a sleeper inside keeps the node that it names, and no other",
        threads: 1,
        bound: None,
        run: |turns| stalled::<Hazard>(3 * turns, |_| 1),
    },
    Scenario {
        name: "two_places",
        oracle: "two nodes are protected at once, in either place",
        threads: 1,
        bound: None,
        run: two_places,
    },
    Scenario {
        name: "reader_reenters",
        oracle: "what a reader read is not freed before it left, when a collector sees only that it is in again",
        threads: 2,
        bound: Some(2),
        run: reader_reenters::<Hazard>,
    },
    Scenario {
        name: "writer_reenters",
        oracle: "a writer that comes again, and a reader that comes late: the reader sees no freed node",
        threads: 2,
        bound: Some(2),
        run: writer_reenters::<Hazard>,
    },
    Scenario {
        name: "most_general",
        oracle: "a reader, a writer and one who collects, each twice, with handles that inherit places: all is freed once, in time",
        threads: 3,
        bound: Some(1),
        run: most_general::<Hazard>,
    },
];

fn moves_on(turns: usize) {
    let shared = Shared::<Hazard>::new(2);
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let mut handle = shared.domain.handle().expect("there are two");
            for _ in 0..turns {
                let mut inside = Inside::new(&mut handle);
                let first = look(&mut inside, 0, &shared.source);
                let second = look(&mut inside, 0, &shared.source);
                assert!(first <= second && second <= turns, "an older value came back, or none at all");
            }
        })
    };
    let mut handle = shared.domain.handle().expect("there are two");
    for i in 0..turns {
        replace(&mut handle, &shared.source, shared.node(i + 1));
        handle.collect();
    }
    drop(handle);
    join(other);
    finish(shared, turns + 1);
}

/// Two nodes take turns: whoever's turn is over is retired, freed, filled anew and published again at the same address.
fn came_back(turns: usize) {
    struct Node {
        value: UnsafeCell<usize>,
        freed: AtomicBool,
    }
    unsafe fn free(node: *mut ()) {
        // SAFETY: the nodes live until the end of the scenario.
        unsafe { &*node.cast::<Node>() }.freed.store(true, SeqCst);
    }
    // SAFETY: `value` is written by whoever has the node to itself and read by who protects it: that is what is tried here.
    unsafe impl Sync for Node {}
    struct Shared {
        domain: Hazard, // dropped first: it frees the last node
        nodes: [Node; 2],
        source: AtomicPtr<Node>,
    }
    let node = || Node { value: UnsafeCell::new(0), freed: AtomicBool::new(false) };
    let shared = Arc::new(Shared {
        domain: Hazard::new(2),
        nodes: [node(), node()],
        source: AtomicPtr::new(null_mut()),
    });
    let address = |i: usize| (&raw const shared.nodes[i % 2]).cast_mut();
    shared.source.store(address(0), Release);
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let mut handle = shared.domain.handle().expect("there are two");
            for _ in 0..turns {
                let mut inside = Inside::new(&mut handle);
                // SAFETY: the nodes of the one source are retired by handles of the one domain.
                let node = unsafe { inside.protect(0, &shared.source) };
                // SAFETY: the nodes live until the end of the scenario.
                let value = unsafe { &(*node).value };
                // SAFETY: written before the publication, and not again while it is protected.
                let value = value.with(|value| unsafe { *value });
                assert!(value <= 2 * turns, "of no turn");
            }
        })
    };
    let mut handle = shared.domain.handle().expect("there are two");
    for i in 1..=2 * turns {
        let next = &shared.nodes[i % 2];
        if i > 1 && !next.freed.swap(false, SeqCst) {
            break; // the reader still has it
        }
        // SAFETY: not published yet, or freed: ours alone.
        next.value.with_mut(|value| unsafe { *value = i });
        let mut inside = Inside::new(&mut handle);
        let old = shared.source.swap(address(i), AcqRel);
        // SAFETY: unlinked by us, and lives on.
        unsafe { inside.retire(old, free) };
        drop(inside);
        handle.collect();
    }
    drop(handle);
    join(other);
}

fn two_places(turns: usize) {
    let shared = Shared::<Hazard>::new(2);
    let mut asleep = shared.domain.handle().expect("there are two");
    let mut handle = shared.domain.handle().expect("there are two");
    let mut nodes = 1;
    for _ in 0..turns {
        let mut inside = Inside::new(&mut asleep);
        for place in [0, 1] {
            // SAFETY: the nodes of the one source are retired by handles of the one domain; this one is not even followed.
            unsafe { inside.protect(place, &shared.source) };
            replace(&mut handle, &shared.source, shared.node(nodes));
            nodes += 1;
        }
        collect(&mut handle);
        assert_eq!(handle.garbage(), 2, "both are protected");
        drop(inside);
        collect(&mut handle);
        assert_eq!(handle.garbage(), 0, "neither is");
    }
    drop((asleep, handle));
    finish(shared, nodes);
}

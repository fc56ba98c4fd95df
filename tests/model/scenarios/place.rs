//! What a place in a domain must do in every execution.

use super::reclaimed::{Shared, finish, replace};
use super::{Scenario, join};
use crate::reclaim::epoch::Epoch;
use crate::reclaim::hazard::Hazard;
use crate::reclaim::{Handle, Reclaim};
use crate::sync::{hint, thread};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst}; // std's: for the oracle, which must order nothing

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "inherited",
        oracle: "one handle at a time; the next one finds the garbage of the one before; the domain's end frees the rest",
        threads: 2,
        bound: Some(3),
        run: inherited,
    },
    Scenario {
        name: "third_collects",
        oracle: "two retire in one place after each other, a third collects there: what it frees was made, and retired, before",
        threads: 3,
        bound: Some(2),
        run: third_collects,
    },
];

/// One place, and a scheme that frees at once: whatever is in the place reaches the third by the place's edge alone.
fn third_collects(turns: usize) {
    let shared = Shared::<Hazard>::new(1);
    let made = Arc::new(AtomicUsize::new(0));
    let retire = {
        let (shared, made) = (Arc::clone(&shared), Arc::clone(&made));
        move || {
            for _ in 0..turns {
                let Some(mut handle) = shared.domain.handle() else { continue };
                replace(&mut handle, &shared.source, shared.node(1));
                made.fetch_add(1, SeqCst);
            }
        }
    };
    let others = [thread::spawn(retire.clone()), thread::spawn(retire)];
    for _ in 0..2 * turns {
        if let Some(mut handle) = shared.domain.handle() {
            handle.collect();
            assert_eq!(handle.garbage(), 0, "nobody reads: nothing is kept");
        }
    }
    others.into_iter().for_each(join);
    finish(shared, made.load(SeqCst) + 1);
}

fn inherited(turns: usize) {
    let shared = Shared::<Epoch>::new(1);
    let retire = move |shared: &Shared<Epoch>| {
        for _ in 0..turns {
            let mut handle = loop {
                match shared.domain.handle() {
                    Some(handle) => break handle,
                    None => hint::spin_loop(),
                }
            };
            let before = handle.garbage() + shared.freed();
            replace(&mut handle, &shared.source, shared.node(1));
            assert_eq!(
                handle.garbage() + shared.freed(),
                before + 1,
                "garbage is lost, or two hold the place"
            );
        }
    };
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || retire(&shared))
    };
    retire(&shared);
    join(other);
    finish(shared, 2 * turns + 1);
}

//! What a place in a domain must do in every execution.

use super::reclaimed::{Shared, finish, replace};
use super::{Scenario, join};
use crate::reclaim::epoch::Epoch;
use crate::reclaim::{Handle, Reclaim};
use crate::sync::{hint, thread};
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "inherited",
    oracle: "one handle at a time; the next one finds the garbage of the one before; the domain's end frees the rest",
    threads: 2,
    bound: Some(3),
    run: inherited,
}];

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

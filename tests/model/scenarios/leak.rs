//! What never freeing must do in every execution.

use super::reclaimed::{Shared, most_general_kept, read, replace};
use super::{Scenario, join};
use crate::reclaim::leak::Leak;
use crate::reclaim::{Handle, Reclaim};
use crate::sync::thread;
use std::sync::Arc;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "reader_inside",
        oracle: "a reader sees whole nodes, nothing is freed, and the count of what is kept is right",
        threads: 2,
        bound: None,
        run: reader_inside,
    },
    Scenario {
        name: "most_general",
        oracle: "a reader, a writer and one who collects, each twice: whole nodes, and nothing is freed",
        threads: 3,
        bound: Some(2),
        run: most_general_kept::<Leak>,
    },
];

fn reader_inside(turns: usize) {
    let shared = Shared::<Leak>::new(2);
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            let mut handle = shared.domain.handle().expect("there is no limit");
            (0..turns).for_each(|_| assert!(read(&mut handle, &shared.source) <= turns));
        })
    };
    let mut handle = shared.domain.handle().expect("there is no limit");
    for i in 0..turns {
        replace(&mut handle, &shared.source, shared.node(i + 1));
        handle.collect();
    }
    join(other);
    assert_eq!((handle.garbage(), shared.freed()), (turns, 0));
}

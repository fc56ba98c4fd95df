//! What `lock/ticket` must do in every execution.

use super::{Scenario, exclusive};
use crate::lock::ticket::{Raw, Ticket};

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "two",
        oracle: "two threads: no addition is lost, no access overlaps, whoever waits gets in",
        threads: 2,
        bound: None,
        run: |turns| exclusive::count::<Raw>(2, turns),
    },
    Scenario {
        name: "three",
        oracle: "three threads: as with two",
        threads: 3,
        bound: Some(1),
        run: |turns| exclusive::count::<Raw>(3, turns),
    },
    Scenario {
        name: "in_turn",
        oracle: "whoever arrives first gets in first, while the numbers wrap",
        threads: 3,
        bound: Some(1),
        run: |turns| exclusive::in_turn(|value| Ticket::starting_at(value, u32::MAX), Ticket::waiting, turns),
    },
    Scenario {
        name: "try_lock",
        oracle: "succeeds only alone, fails only while somebody is inside, and orders memory like lock",
        threads: 2,
        bound: None,
        run: exclusive::try_lock::<Raw>,
    },
    Scenario {
        name: "panic",
        oracle: "a guard that a panic drops unlocks; get_mut and into_inner see what the last holder wrote",
        threads: 2,
        bound: None,
        run: exclusive::panic::<Raw>,
    },
];

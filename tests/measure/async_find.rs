//! The experiment of lab `async_find`: each tool sees what it is there for, and the score counts what was said. No time is asserted.
use std::{thread, time::Duration};

use underhood::{
    experiments::detectors::{
        COSTS, Found, GRACE, ORDINARY, SUSPECT, Scene, TOKIO_METRICS_VERSION, TOOLS, compute, look_for, polls,
    },
    machine::built,
};

const MS: u64 = 1_000_000;

#[test]
fn an_alarm_belongs_to_a_block_while_it_lasts_and_soon_after() {
    let grace = u64::try_from(GRACE.as_nanos()).unwrap();
    let blocks = vec![(10 * MS, 30 * MS), (60 * MS, 80 * MS), (110 * MS, 130 * MS), (160 * MS, 180 * MS)];
    let alarms = vec![
        (9 * MS, Some(SUSPECT)), // before the first
        (25 * MS, Some(0)),
        (30 * MS + grace, Some(SUSPECT)),
        (80 * MS + grace + 1, Some(SUSPECT)), // too late for the second
        (120 * MS, None),
        (190 * MS, Some(SUSPECT)),
    ];
    let found = Found { blocks, alarms };
    let count = |blocks: f64| format!("{blocks}");
    assert_eq!(count(found.blocks_with(|_| true)), "3");
    assert_eq!(count(found.blocks_with(|name| name == Some(SUSPECT))), "2");
    assert_eq!(count(found.blocks_with(|name| name.is_some_and(|task| task != SUSPECT))), "1");
    assert_eq!(found.to_alarm_ns(), Some(15 * MS));
    assert_eq!(Found { alarms: Vec::new(), ..found }.to_alarm_ns(), None);
    assert_eq!(Found::default().to_alarm_ns(), None);
}

/// Long enough for every tool, on a busy machine too.
const LONG: Scene = Scene {
    workers: 1,
    spends: thread::sleep,
    lasts: Duration::from_millis(60),
    messages: 2,
    every: Duration::from_millis(90),
    turning: 0,
};

/// Those whose alarm names the task that blocks.
const NAMING: [&str; 3] = ["slow_polls", "poll_timer", "poll_watch"];

#[test]
fn every_tool_notices_a_long_block_of_the_only_worker() {
    for tool in TOOLS {
        let found = look_for(tool.value, LONG).unwrap();
        assert_eq!(found.blocks.len(), 2, "{}", tool.id());
        let mut names = found.alarms.iter().map(|(_, name)| *name);
        let as_it_should = match tool.id() {
            id if NAMING.contains(&id) => names.any(|name| name == Some(SUSPECT)),
            // Those that waited for the suspect.
            "long_delays" => names.any(|name| name.is_some_and(|task| task < SUSPECT)),
            _ => !found.alarms.is_empty() && names.all(|name| name.is_none()),
        };
        assert!(as_it_should, "{}: {found:?}", tool.id());
    }
}

#[test]
fn a_task_that_computes_is_named_as_well() {
    for tool in TOOLS.iter().filter(|tool| NAMING.contains(&tool.id())) {
        let found = look_for(tool.value, Scene { spends: compute, workers: 2, ..LONG }).unwrap();
        assert!(found.alarms.iter().any(|(_, name)| *name == Some(SUSPECT)), "{}: {found:?}", tool.id());
    }
}

#[test]
fn every_message_is_handled_on_a_busy_runtime_too() {
    let busy = Scene { lasts: ORDINARY, every: Duration::from_millis(20), workers: 2, turning: 16, ..LONG };
    for tool in TOOLS {
        assert_eq!(look_for(tool.value, busy).unwrap().blocks.len(), 2, "{}", tool.id());
    }
}

#[test]
fn a_poll_can_be_timed_under_every_tool() {
    for tool in COSTS {
        let mut ops = (polls(&tool).make)();
        ops(0);
        ops(100);
    }
}

#[test]
fn the_rows_of_tokio_metrics_name_its_version() {
    assert_eq!(built::version_of("tokio-metrics").as_deref(), Some(TOKIO_METRICS_VERSION));
    assert_eq!(TOOLS.iter().filter(|tool| tool.is.package == "tokio-metrics").count(), 3);
}

//! Traces as trace-event JSON: a file that ui.perfetto.dev and chrome://tracing open.
//!
//! One process for each case, one thread for each lane ([`super::lanes`]); spans are pairs of `B` and `E`, wakes are instants. Times are in
//! microseconds, as the format wants them, with three digits behind the point.
//!
//! # Source
//! "Trace Event Format", the document that Chromium's catapult project refers to; perfetto.dev, "Visualizing external trace formats".
use serde_json::{Value, json};

use super::lanes::{self, Lane, Step};
use crate::measure::trace::Trace;

/// The cases, by their names, as one JSON value. Names may hold anything: serde_json escapes them.
///
/// Events are grouped by lane; within each the times never go back.
pub fn trace_events<'a>(cases: impl IntoIterator<Item = (&'a str, &'a Trace)>) -> Value {
    let mut events = Vec::new();
    for (i, (name, trace)) in cases.into_iter().enumerate() {
        let pid = i + 1;
        events.push(meta("process_name", pid, 0, json!({ "name": name })));
        events.push(meta("process_sort_index", pid, 0, json!({ "sort_index": pid })));
        for (i, lane) in lanes::lanes(trace).iter().enumerate() {
            let tid = i + 1;
            events.push(meta("thread_name", pid, tid, json!({ "name": lane.name })));
            events.push(meta("thread_sort_index", pid, tid, json!({ "sort_index": tid })));
            events.extend(of_lane(lane, pid, tid));
        }
    }
    json!({ "displayTimeUnit": "ms", "traceEvents": events })
}

fn meta(what: &str, pid: usize, tid: usize, args: Value) -> Value {
    json!({ "ph": "M", "name": what, "pid": pid, "tid": tid, "args": args })
}

fn of_lane(lane: &Lane, pid: usize, tid: usize) -> impl Iterator<Item = Value> {
    lane.steps.iter().map(move |(at_ns, step)| {
        let ts = *at_ns as f64 / 1e3;
        match step {
            Step::Begin(doing, name) => {
                let category = format!("{doing:?}").to_lowercase();
                json!({ "ph": "B", "name": name, "cat": category, "ts": ts, "pid": pid, "tid": tid })
            }
            Step::End => json!({ "ph": "E", "ts": ts, "pid": pid, "tid": tid }),
            Step::Mark(name) => {
                json!({ "ph": "i", "s": "t", "name": name, "cat": "wake", "ts": ts, "pid": pid, "tid": tid })
            }
        }
    })
}

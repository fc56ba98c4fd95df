//! Traces: what is recorded, and that the file is valid trace-event JSON, whatever was recorded and in whatever state it ended.
use std::{
    collections::{BTreeMap, BTreeSet},
    thread,
    time::Duration,
};

use serde_json::Value;
use underhood::{
    experiments::{
        hang::{BLOCKED, trial},
        starve::{Cure, Mechanism, starve},
    },
    measure::{
        lateness::KEEP_ALIVE,
        trace::{self, Event, MOST, Trace, What, blocking, record},
    },
    show::{
        lanes::{self, Doing, Lane, Of, Step},
        perfetto,
    },
};

/// What the format asks of a file, and what a viewer silently drops: fields, order of times in a lane, begin and end in pairs.
fn check(json: &Value) -> Result<(), String> {
    let events = json["traceEvents"].as_array().ok_or("no list of events")?;
    let (mut last, mut open) = (BTreeMap::new(), BTreeMap::<_, Vec<String>>::new());
    let mut named = BTreeSet::new();
    for event in events {
        let at = |why: &str| format!("{why}: {event}");
        let [pid, tid] = ["pid", "tid"].map(|id| event[id].as_u64());
        let lane = pid.zip(tid).ok_or_else(|| at("no pid or tid"))?;
        let phase = event["ph"].as_str().ok_or_else(|| at("no phase"))?;
        let name = event["name"].as_str();
        if phase == "M" {
            if name == Some("thread_name") {
                named.insert(lane);
                event["args"]["name"].as_str().ok_or_else(|| at("a lane without a name"))?;
            }
            continue;
        }
        let ts =
            event["ts"].as_f64().filter(|ts| ts.is_finite() && *ts >= 0.0).ok_or_else(|| at("no time"))?;
        if last.insert(lane, ts).is_some_and(|before| before > ts) {
            return Err(at("time goes back"));
        }
        let open = open.entry(lane).or_default();
        match phase {
            "B" => open.push(name.ok_or_else(|| at("a span without a name"))?.into()),
            "E" => drop(open.pop().ok_or_else(|| at("an end without a begin"))?),
            "i" if event["s"] == "t" && name.is_some() => {}
            _ => return Err(at("unknown")),
        }
    }
    if let Some((lane, open)) = open.iter().find(|(_, open)| !open.is_empty()) {
        return Err(format!("{lane:?} ends inside of {open:?}"));
    }
    match last.keys().find(|lane| !named.contains(*lane)) {
        Some(lane) => Err(format!("{lane:?} has no name")),
        None => Ok(()),
    }
}

fn file(name: &str, trace: &Trace) -> Value {
    let text = perfetto::trace_events([(name, trace)]).to_string();
    serde_json::from_str(&text).expect("a file that can be read again")
}

/// Events at 0, 1, 2 ... us on this thread, which is worker 0.
fn made_up(whats: &[What]) -> Trace {
    let event = |(i, what): (usize, &What)| Event {
        at_ns: i as u64 * 1000,
        thread: thread::current().id(),
        runtime: Some(0),
        worker: Some(0),
        what: *what,
    };
    Trace {
        events: whats.iter().enumerate().map(event).collect(),
        tasks: vec!["victim", "offender"],
        dropped_count: 0,
    }
}

#[test]
fn every_case_of_starvation_gives_a_valid_file() {
    for mechanism in [Mechanism::Workers, Mechanism::LifoSlot, Mechanism::Guard, Mechanism::CurrentThread] {
        for cure in [Cure::Nothing, Cure::InPlace, Cure::SpawnBlocking] {
            let (seen, trace) =
                record(|| starve(mechanism, cure, Duration::from_millis(4), Duration::from_millis(30)));
            seen.unwrap_or_else(|why| panic!("{mechanism:?} x {cure:?}: {why}"));
            check(&file("case", &trace)).unwrap_or_else(|why| panic!("{mechanism:?} x {cure:?}: {why}"));
            let has = |is: fn(&What) -> bool| trace.events.iter().any(|e| is(&e.what));
            assert!(has(|w| matches!(w, What::Poll(_))), "{mechanism:?} x {cure:?}: polls");
            assert!(has(|w| matches!(w, What::Wake(_))), "{mechanism:?} x {cure:?}: wakes");
            let gone = (mechanism, cure) == (Mechanism::CurrentThread, Cure::InPlace);
            assert!(gone || has(|w| matches!(w, What::Block(_))), "{mechanism:?} x {cure:?}: blocks");
        }
    }
}

/// What blocks is on a worker's lane, inside of a poll, where nothing is done about it; and on a pool thread's where it was moved there.
#[test]
fn a_block_is_where_it_blocks() {
    for (cure, lane) in [(Cure::Nothing, Of::Worker), (Cure::SpawnBlocking, Of::Blocking)] {
        let (seen, trace) =
            record(|| starve(Mechanism::Workers, cure, Duration::from_millis(4), Duration::from_millis(30)));
        seen.expect("a victim that was done");
        let blocks = |of: Of| {
            let lanes = lanes::lanes(&trace);
            let steps = lanes.iter().filter(|l| l.of == of).flat_map(|l| &l.steps);
            steps.filter(|(_, s)| matches!(s, Step::Begin(Doing::Block, _))).count()
        };
        let other = if lane == Of::Worker { Of::Blocking } else { Of::Worker };
        assert!(blocks(lane) > 0 && blocks(other) == 0, "{cure:?}:\n{}", lanes::text(&trace, 100));
    }
}

/// The riddle's picture: the asker blocks a worker in its poll until the rescue, and the helper is ready all that time.
#[test]
fn a_hang_shows_who_waits_for_whom() {
    let (trial, trace) = record(|| trial(&BLOCKED, 2, KEEP_ALIVE * 2, KEEP_ALIVE * 2));
    assert!(trial.expect("a runtime").hung);
    check(&file("blocked", &trace)).expect("valid");
    let lanes = lanes::lanes(&trace);
    let longest_ns = |lane: &Lane, doing: Doing| {
        let spans = lane.steps.windows(2);
        let of =
            spans.filter(|w| matches!(&w[0].1, Step::Begin(d, _) if *d == doing)).map(|w| w[1].0 - w[0].0);
        of.max().unwrap_or(0)
    };
    let text = lanes::text(&trace, 100);
    let all_ns = trace.events.last().expect("events").at_ns;
    let helper = lanes.iter().find(|l| l.of == Of::Task && l.name.starts_with("helper")).expect("the helper");
    assert!(longest_ns(helper, Doing::Ready) > all_ns / 2, "{text}");
    let blocked = lanes.iter().filter(|l| l.of == Of::Worker && longest_ns(l, Doing::Block) > all_ns / 2);
    assert_eq!(blocked.count(), 1, "{text}");
}

#[test]
fn the_flag_writes_the_file_and_the_lanes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.json");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_async_starvation"));
    let out =
        command.args(["--only", "one_blocker_timer", "--trace"]).arg(&path).output().expect("it starts");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && text.contains("one_blocker_timer / due_alone w8"), "{text}");
    assert!(text.contains("thread 1)"), "lanes: {text}");
    let json: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    check(&json).expect("valid");
    let cases =
        json["traceEvents"].as_array().unwrap().iter().filter(|e| e["name"] == "process_name").count();
    assert_eq!(cases, 8, "each case is a process of its own");
}

#[test]
fn what_is_open_at_the_end_is_ended_and_what_began_before_is_not_shown() {
    let trace = made_up(&[What::Unpark, What::Spawn(0), What::Poll(0), What::Block("read"), What::Wake(1)]);
    check(&file("cut off", &trace)).expect("valid");
    let lanes = lanes::lanes(&trace);
    let ends = |i: usize| lanes[i].steps.iter().filter(|(_, s)| *s == Step::End).count();
    assert_eq!((lanes.len(), ends(0)), (3, 2), "the worker's poll and its block: {lanes:?}");
    assert!(lanes[0].steps.last().is_some_and(|(at_ns, _)| *at_ns == 4000), "ended at the last event");
}

#[test]
fn a_wake_during_the_poll_makes_the_task_ready_after_it() {
    let trace = made_up(&[
        What::Spawn(0),
        What::Poll(0),
        What::Wake(0),
        What::Wake(0),
        What::Polled(0, false),
        What::Wake(0),
        What::Poll(0),
        What::Polled(0, true),
        What::Park,
    ]);
    let lanes = lanes::lanes(&trace);
    let task = lanes.iter().find(|l| l.of == Of::Task).expect("a task");
    let spans: Vec<_> = task
        .steps
        .iter()
        .filter_map(|(at_ns, s)| match s {
            Step::Begin(doing, _) => Some((at_ns / 1000, *doing)),
            _ => None,
        })
        .collect();
    let expected = [(0, Doing::Ready), (1, Doing::Poll), (4, Doing::Ready), (6, Doing::Poll)];
    assert_eq!(spans, expected);
    // A column for each microsecond, behind the longest name.
    let text = lanes::text(&trace, "worker 0 (thread 0)".len() + 1 + 8);
    assert!(text.contains("victim 0            -"), "{text}");
}

#[test]
fn names_are_escaped() {
    let mut trace = made_up(&[What::Spawn(0), What::Poll(0)]);
    trace.tasks[0] = "\"},\n\u{0}\u{1f600}\\";
    let json = file("a \"case\"\t\u{7}", &trace);
    check(&json).expect("valid");
    assert!(json["traceEvents"][0]["args"]["name"] == "a \"case\"\t\u{7}", "{json}");
}

#[test]
fn the_check_can_fail() {
    let good = file("x", &made_up(&[What::Spawn(0), What::Poll(0), What::Polled(0, true)]));
    check(&good).expect("valid");
    let broken = |change: fn(&mut Vec<Value>)| {
        let mut json = good.clone();
        change(json["traceEvents"].as_array_mut().unwrap());
        check(&json)
    };
    assert!(broken(|e| e.retain(|e| e["ph"] != "E")).is_err(), "never ended");
    assert!(broken(|e| e.retain(|e| e["ph"] != "B")).is_err(), "never begun");
    assert!(broken(|e| e.retain(|e| e["name"] != "thread_name")).is_err(), "a lane without a name");
    assert!(
        broken(|e| e.iter_mut().for_each(|e| e["ts"] = (-1.0).into())).is_err(),
        "a time before the start"
    );
    assert!(
        broken(|e| {
            let first = e.iter().position(|e| e["ph"] == "B").unwrap();
            e[first]["ts"] = 1e9.into();
        })
        .is_err(),
        "time goes back"
    );
    assert!(broken(|e| drop(e[0].as_object_mut().unwrap().remove("pid"))).is_err(), "no process");
}

#[test]
fn without_a_recording_nothing_is_recorded_and_all_is_passed_through() {
    let ready = trace::task("alone", async { 7 });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!((runtime.block_on(ready), blocking("call", || 8)), (7, 8));
    let ((), trace) = record(|| ());
    assert!(trace.events.is_empty() && trace.tasks.is_empty());
}

#[test]
fn too_many_events_are_counted() {
    let ((), trace) = record(|| (0..MOST).for_each(|_| blocking("call", || ())));
    assert_eq!((trace.events.len(), trace.dropped_count), (MOST, MOST));
    assert!(trace.events.is_sorted_by_key(|e| e.at_ns), "in order of time");
    assert!(lanes::text(&trace, 80).contains("were dropped"));
}

//! Which runs may speak together, and what they then say.
use underhood::record::{
    Record,
    pool::{self, Typical, key, pooled},
};

use crate::common::{changed, lab, reads, reads_run, touch};

fn day(run: &str, factor: f64) -> Vec<Record> {
    let scale = |r: &mut Record| {
        r.launches.iter_mut().flat_map(|s| s.values.values_mut()).for_each(|v| *v *= factor);
    };
    reads_run(run).iter().map(|r| changed(r, scale)).collect()
}

fn with(records: &[Record], change: impl Fn(&mut Record)) -> Vec<Record> {
    records.iter().map(|r| changed(r, &change)).collect()
}

fn fact(name: &'static str, value: &'static str) -> impl Fn(&mut Record) {
    move |r| _ = r.machine.facts.insert(name.into(), value.into())
}

fn sessions(records: &[Record]) -> usize {
    let pooled = pooled(lab(), reads(), records, None);
    pooled.first().and_then(|r| r.pooled.as_ref()).map_or(0, |p| p.sessions.len())
}

#[test]
fn sessions_of_the_same_code_on_the_same_machine_pool_and_others_do_not() {
    let (a, b) = (day("run-01", 1.0), day("run-02", 1.1));
    assert_eq!(sessions(&a), 0, "one session is no pool");
    assert_eq!(sessions(&[a.clone(), b.clone()].concat()), 2);
    let of = |name, value| sessions(&[with(&a, fact(name, value)), b.clone()].concat());
    for other in
        ["revision", "kernel", "cpu", "rustc", "rustflags", "profile", "cpus_allowed", "memory_bytes"]
    {
        assert_eq!(of(other, "another"), 0, "another {other} is another pool");
    }
    assert_eq!(of("dirty", "true"), 0, "code that no revision names is not known to be the same");
    // With a key of the code, the revision doesn't matter.
    let code = |records: &[Record], value| with(records, fact("code", value));
    let moved = with(&code(&a, "0a"), fact("revision", "another"));
    assert_eq!(sessions(&[moved.clone(), code(&b, "0a")].concat()), 2);
    assert_eq!(sessions(&[moved, code(&b, "0b")].concat()), 0);
}

#[test]
fn runs_a_minute_apart_are_one_session() {
    let a = day("run-01", 1.0);
    let at = |time: &'static str| move |r: &mut Record| r.at = format!("2026-11-02T{time}Z");
    let near =
        [with(&day("run-02", 1.0), at("10:00:00")), with(&day("run-03", 1.2), at("10:01:00"))].concat();
    assert_eq!(sessions(&[a, near].concat()), 2);
}

#[test]
fn the_bracket_says_where_another_session_will_fall() {
    let days = [day("run-01", 1.0), day("run-02", 1.3), day("run-03", 0.8)].concat();
    let of = |records: &[Record], typical| -> Record {
        let pooled = pooled(lab(), reads(), records, typical);
        pooled.iter().find(|r| r.case == "rwlock" && r.param == "400 ns").unwrap().clone()
    };
    let one = of(&days, None);
    assert!(one.quotable && one.values(&one.headline).len() == 3, "a launch for each session: {one:?}");
    let bracket = one.interval_of(&one.headline).unwrap();
    let single = days.iter().find(|r| r.case == "rwlock" && r.param == "400 ns").unwrap();
    let before = single.interval_of(&single.headline).unwrap();
    assert!(bracket.hi / bracket.lo > 3.0 * before.hi / before.lo, "{bracket:?} beside {before:?}");
    // What sessions usually do narrows a bracket that three of them alone would make too wide.
    let known = of(&days, Some(Typical { sigma: 0.1, cells: 50 })).interval_of(&one.headline).unwrap();
    assert!(known.hi / known.lo < bracket.hi / bracket.lo, "{known:?}");
    assert!(one.pooled.unwrap().words().starts_with("3 sessions over "));
}

#[test]
fn launches_in_another_state_are_left_out_and_counted() {
    let mut records = [day("run-01", 1.0), day("run-02", 1.0)].concat();
    for r in &mut records {
        let near = |i: usize| if i == 4 { 170.0 } else { 40.0 + i as f64 };
        r.launches.iter_mut().enumerate().for_each(|(i, s)| s.receipts.handoff_ns = Some(near(i)));
        // The far launch would move the mean by half.
        r.launches[4].values.values_mut().for_each(|v| *v *= 5.0);
        *r = changed(r, |_| {});
    }
    let pooled = pooled(lab(), reads(), &records, None);
    let state = pooled[0].pooled.as_ref().unwrap().state.expect("two states");
    assert!((40.0..45.0).contains(&state.handoff_ns) && state.others * 4 == state.launches, "{state:?}");
    let r = pooled.iter().find(|r| r.case == "mutex" && r.param == "0 ns").unwrap();
    let i = r.interval_of(&r.headline).unwrap();
    assert!((10.4e6..10.9e6).contains(&i.mid), "{i:?}");
}

#[test]
fn a_pooled_record_is_never_written_and_an_odd_session_counts() {
    let days = [day("run-01", 1.0), day("run-02", 1.0), day("run-03", 4.0)].concat();
    let pooled = pooled(lab(), reads(), &days, None);
    let line = serde_json::to_string(&pooled[0]).unwrap();
    assert!(!line.contains("sessions\":"), "{line}");
    let i = pooled[0].interval_of(&pooled[0].headline).unwrap();
    assert!(i.hi / i.lo > 10.0, "one odd session among three is part of what sessions do: {i:?}");
}

#[test]
fn a_key_needs_to_know_the_code() {
    let r = &day("run-01", 1.0)[0];
    assert!(key(r).is_some());
    assert_eq!(key(&changed(r, |r| _ = r.machine.facts.remove("dirty"))), None);
    let labs = [lab()];
    assert!(pool::typical(&labs, &day("run-01", 1.0)).is_empty(), "one session teaches nothing");
    assert!(pooled(lab(), touch(), &[], None).is_empty());
}

//! Which runs may speak together, and what they then say.
use underhood::{
    judge::{Compared, compare},
    record::{
        AA, Record,
        pool::{self, Core, Met, Typical, key, pooled},
    },
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
    let known =
        of(&days, Some(Typical { sigma: 0.1, cells: 50, reach: 1.0 })).interval_of(&one.headline).unwrap();
    assert!(known.hi / known.lo < bracket.hi / bracket.lo, "{known:?}");
    // Heavy tails widen it, by the same factor up and down.
    let tails =
        of(&days, Some(Typical { sigma: 0.1, cells: 50, reach: 2.0 })).interval_of(&one.headline).unwrap();
    assert!((tails.hi / known.mid - (known.hi / known.mid).powi(2)).abs() < 1e-9, "{tails:?} {known:?}");
    assert!((tails.lo / known.mid - (known.lo / known.mid).powi(2)).abs() < 1e-9, "{tails:?} {known:?}");
    assert!(one.pooled.unwrap().words().starts_with("3 sessions over "));
}

#[test]
fn what_is_typical_of_times_is_not_added_to_counts_beside_them() {
    // A thousandth of a byte apart, as an average over many calls is.
    let add = |r: &mut Record| {
        let value = 72.0 + if r.run == "run-02" { 0.001 } else { 0.0 };
        r.launches.iter_mut().for_each(|s| {
            s.values.insert("allocated_bytes".into(), value);
            s.values.insert("same_ns".into(), value);
        });
    };
    let days = [day("run-01", 1.0), day("run-02", 1.3), day("run-03", 0.8)].concat();
    let typical = Some(Typical { sigma: 0.1, cells: 50, reach: 1.0 });
    let pooled = pooled(lab(), reads(), &with(&days, add), typical);
    let width = |name: &str| pooled[0].interval_of(name).map(|i| i.hi / i.lo).unwrap();
    assert!(width("allocated_bytes") < 1.001, "every session had nearly the same bytes");
    assert!(width("same_ns") > 1.1, "a time may still be another one tomorrow");
}

#[test]
fn two_values_of_one_row_need_no_row_of_the_baseline_again() {
    let wide = |r: &mut Record| {
        let factor = if r.case == AA { 4.0 } else { 1.0 };
        r.launches.iter_mut().for_each(|s| {
            let value = s.values["ops_per_s"];
            s.values.insert("ops_per_s".into(), value * factor);
            s.values.insert("half_per_s".into(), value / 2.0);
        });
    };
    let run = with(&day("run-01", 1.0), wide);
    let of = |case: &str| run.iter().find(|r| r.case == case && r.param == "0 ns").unwrap();
    let (mutex, rwlock) = (of("mutex"), of("rwlock"));
    // Between rows, a baseline that differs from itself four times hides a factor of two; in one row it has no say.
    let between = compare(reads(), &run, (rwlock, "half_per_s"), (mutex, "ops_per_s"));
    assert!(matches!(between, Compared::NoDifference { .. }), "{between:?}");
    let within = compare(reads(), &run, (mutex, "half_per_s"), (mutex, "ops_per_s"));
    assert!(matches!(within, Compared::Differs { .. }), "{within:?}");
}

/// The same run, where these launches had the core to themselves and the others took twice as long.
fn sharing(records: &[Record], own: impl Fn(usize) -> bool) -> Vec<Record> {
    with(records, |r| {
        for (i, s) in r.launches.iter_mut().enumerate() {
            s.values.insert("core_adds".into(), 3.2);
            if !own(i) {
                s.values.values_mut().for_each(|v| *v *= 2.0);
                s.values.insert("core_adds".into(), 2.0);
            }
        }
    })
}

#[test]
fn sessions_with_the_core_shared_are_no_sessions_of_one_that_is_not() {
    let own = |run: &str| sharing(&day(run, 1.0), |_| true);
    let shared = |run: &str| sharing(&day(run, 1.0), |_| false);
    let mid = |records: &[Record]| {
        let pooled = pooled(lab(), reads(), records, None);
        let r = pooled.iter().find(|r| r.case == "mutex" && r.param == "0 ns").unwrap();
        (r.interval_of(&r.headline).unwrap().mid, r.pooled.as_ref().unwrap().state)
    };
    let (alone, state) = mid(&[own("run-01"), own("run-02")].concat());
    assert_eq!(state, None, "one state needs no words");
    // Two sessions of a core of our own count, also where more had none.
    let most_shared = [own("run-01"), own("run-02"), shared("run-03"), shared("run-04"), shared("run-05")];
    let (value, state) = mid(&most_shared.concat());
    assert!((value / alone - 1.0).abs() < 0.01, "{value} {alone}");
    let state = state.unwrap();
    assert!(matches!(state.met, Met::Core(Core::Own, _)), "{state:?}");
    assert_eq!(state.others * 2, state.launches * 3, "{state:?}");
    assert_eq!(state.met.words(), "the core not shared");
    // Whether a new session can be held against them: only one in the same state.
    let before = pooled(lab(), reads(), &[own("run-01"), own("run-02")].concat(), None);
    let r = before.iter().find(|r| r.case == "mutex" && r.param == "0 ns").unwrap();
    let again = |records: &[Record]| {
        records.iter().find(|r| r.case == "mutex" && r.param == "0 ns").map(|new| pool::same_state(r, new))
    };
    assert_eq!((again(&own("run-06")), again(&shared("run-07"))), (Some(true), Some(false)));
    // With one such session, the others are what there is.
    let (value, state) = mid(&[own("run-01"), shared("run-02"), shared("run-03")].concat());
    assert!((value / alone / 2.0 - 1.0).abs() < 0.01, "{value} {alone}");
    assert!(matches!(state.unwrap().met, Met::Core(Core::Shared, _)), "{state:?}");
    // Sessions that were all shared are so only if the store has seen better.
    let all_shared = [shared("run-01"), shared("run-02")].concat();
    let known = |best| {
        let pooled = pooled(lab(), reads(), &all_shared, pool::Known { typical: None, best });
        pooled[0].pooled.as_ref().unwrap().state.map(|s| s.met.words())
    };
    assert_eq!(known(0.0), None);
    assert_eq!(known(3.2).as_deref(), Some("another hardware thread busy on the same core"));
    // Few blocks with the core alone lie beside changes of state, and a launch that is neither one is in no state.
    let little = with(&own("run-09"), |r| {
        r.launches.iter_mut().for_each(|s| s.receipts.other_state_share = Some(0.95))
    });
    let between = with(&own("run-10"), |r| {
        r.launches.iter_mut().for_each(|s| _ = s.values.insert("core_adds".into(), 2.85))
    });
    let (_, state) = mid(&[own("run-01"), own("run-02"), little, between].concat());
    let state = state.unwrap();
    assert!(matches!(state.met, Met::Core(Core::Own, _)) && state.others == state.launches, "{state:?}");
}

#[test]
fn launches_of_one_run_with_the_core_shared_are_not_averaged_with_others() {
    let run = sharing(&day("run-01", 1.0), |launch| launch != 1);
    let r = run.iter().find(|r| r.case == "mutex" && r.param == "0 ns").unwrap();
    assert_eq!(r.values(&r.headline).len(), r.launches.len() - 1);
    let most = sharing(&day("run-01", 1.0), |launch| launch < 2);
    let r = most.iter().find(|r| r.case == "mutex" && r.param == "0 ns").unwrap();
    assert_eq!(r.values(&r.headline).len(), r.launches.len() - 2, "two of a kind are no interval");
    // A launch between the two: a run alone cannot tell.
    let unclear = with(&most, |r| _ = r.launches[0].values.insert("core_adds".into(), 2.85));
    let r = unclear.iter().find(|r| r.case == "mutex" && r.param == "0 ns").unwrap();
    assert_eq!(r.values(&r.headline).len(), r.launches.len());
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
    assert!(matches!(state.met, Met::Handoff(ns) if (40.0..45.0).contains(&ns)), "{state:?}");
    assert_eq!(state.others * 4, state.launches, "{state:?}");
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
    assert!(pool::typical(&day("run-01", 1.0)).of.is_empty(), "one session teaches nothing");
    assert!(pooled(lab(), touch(), &[], None).is_empty());
}

#[test]
fn the_newest_session_is_held_against_those_before_it() {
    let held = |records: &[Record]| {
        let (kinds, steps) = underhood::judge::held_out::held_out(&[lab()], records);
        (kinds.into_values().next().unwrap_or_default(), steps)
    };
    let two = [day("run-01", 1.0), day("run-02", 1.05)].concat();
    assert_eq!(held(&two).1, 0, "two sessions leave one, which promises nothing");
    let (kept, steps) = held(&[two.clone(), day("run-03", 1.02)].concat());
    assert_eq!(
        (steps, kept.values, kept.inside),
        (1, 4, 4),
        "a session like the others falls inside: {kept:?}"
    );
    assert_eq!((kept.ratios, kept.reversed), (1, 0), "the rwlock is ahead at 400 ns, in both");
    let (pooled, single) = kept.half_widths().unwrap();
    assert!(pooled > single, "what another session does is wider than what launches do: {pooled} {single}");
    let (kept, _) = held(&[two.clone(), day("run-03", 3.0)].concat());
    assert_eq!((kept.values, kept.inside), (4, 0), "one of another hour falls outside");
    // The other way round: the mutex is ahead.
    let turned = with(&day("run-03", 1.0), |r| {
        if r.case == "rwlock" {
            r.launches.iter_mut().flat_map(|s| s.values.values_mut()).for_each(|v| *v /= 10.0);
        }
    });
    assert!(held(&[two, turned].concat()).0.reversed >= 1);
}

#[test]
fn a_planted_slowdown_is_found_unless_the_next_sessions_own_noise_hides_it() {
    let found = |records: &[Record]| {
        let kinds = underhood::judge::planted::found(&[lab()], records);
        kinds.into_values().next().expect("the step has A/A rows and two sessions")
    };
    let twin_off = |records: &[Record], factor: f64| -> Vec<Record> {
        with(records, |r| {
            if r.case == "A/A" {
                r.launches.iter_mut().flat_map(|s| s.values.values_mut()).for_each(|v| *v *= factor);
            }
        })
    };
    let (a, b) = (day("run-01", 1.0), day("run-02", 1.0));
    let calm = found(&[a.clone(), b.clone()].concat());
    assert!(calm.tries > 0 && calm.found == calm.tries && calm.alarms == 0, "{calm:?}");
    let least = calm.nearly_always().unwrap();
    // A/A rows that are off in one session hide what is planted in the other, and are themselves called a difference.
    let off = found(&[a, twin_off(&b, 1.5)].concat());
    assert_eq!((off.tries, off.alarms), (calm.tries, calm.tries / 2), "{off:?}");
    assert!(off.found < off.tries && off.nearly_always().unwrap() > least + 0.3, "{off:?}");
}

#[test]
fn sessions_in_two_groups_have_no_middle() {
    let days = [day("run-01", 1.0), day("run-02", 4.0)].concat();
    let pooled = pooled(lab(), reads(), &days, None);
    assert!(pooled.iter().all(|r| !r.quotable), "5 launches at one value and 5 at four times that");
    assert!(
        pooled[0].doubts[0].contains("two groups of launches and nothing in between: 5 launches at"),
        "{:?}",
        pooled[0].doubts
    );
}

#[test]
fn a_share_of_known_tries_has_a_binomial_interval_and_keeps_it_in_a_pool() {
    let shared = |run: &str, hits: f64| {
        with(&reads_run(run), |r| {
            for s in &mut r.launches {
                *s = std::mem::take(s).share("starved_share", hits, 20.0);
            }
        })
    };
    let of = |r: &Record| r.interval_of("starved_share").unwrap();
    let none = of(&shared("run-01", 0.0)[0]);
    assert!(
        none.mid.abs() < 1e-12 && (0.02..0.05).contains(&none.hi),
        "none of 100 has an upper end: {none:?}"
    );
    let two = of(&shared("run-01", 2.0)[0]);
    assert!((two.mid - 0.1).abs() < 1e-12 && two.lo > 0.04 && two.hi < 0.19, "10 of 100: {two:?}");
    let days = [shared("run-01", 2.0), shared("run-02", 2.0), shared("run-03", 2.0)].concat();
    let pooled = pooled(lab(), reads(), &days, None);
    let next = of(&pooled[0]);
    assert!(
        (next.mid - 0.1).abs() < 1e-12 && next.lo < two.lo + 0.02 && next.hi > 0.14,
        "another 100: {next:?}"
    );
    // Many tries each, and two sessions far apart: the bracket is that of the sessions, not of the tries.
    let many = |run: &str, hits: f64| {
        with(&reads_run(run), |r| {
            for s in &mut r.launches {
                *s = std::mem::take(s).share("starved_share", hits, 1e6);
            }
        })
    };
    let apart = [many("run-01", 140_000.0), many("run-02", 280_000.0)].concat();
    let next = of(&self::pooled(lab(), reads(), &apart, None)[0]);
    assert!(next.lo < 0.14 && next.hi > 0.28, "14 % and 28 % of a million tries: {next:?}");
}

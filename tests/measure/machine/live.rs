//! The probes on the real machine: they end, on any CPUs, and say only what is possible.
use std::{sync::mpsc, thread, time::Duration};

use underhood::{
    lab::Kind,
    machine::{
        Level, Machine, allowed_cpus,
        core_to_core::handoff_ns,
        late::{Lateness, supports},
        pin_current_thread,
        probe::{fitness, spread},
        sched::runq_of_this_thread,
    },
};

/// Runs this on a thread of its own and fails if it has not ended long after it should have.
fn ends<T: Send + 'static>(what: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, end) = mpsc::channel();
    let thread = thread::spawn(move || done.send(what()).unwrap());
    let value = end.recv_timeout(Duration::from_secs(60)).expect("it should have ended long ago");
    thread.join().unwrap();
    value
}

#[test]
fn an_examination_ends_and_its_numbers_are_possible() {
    let before = allowed_cpus();
    let (machine, told) = ends(|| {
        let (mut machine, mut told) = (Machine::read(), Vec::new());
        machine.examine(Duration::from_millis(400), &mut |what| told.push(what.to_string()));
        (machine, told)
    });
    assert_eq!(allowed_cpus(), before, "the caller keeps its CPUs");
    assert!(told.len() >= 4);
    assert_eq!(machine.grades.len(), 6);
    for (name, value) in &machine.fitness {
        assert!(value.is_finite() && *value >= 0.0, "{name} {value}");
        assert!(!name.ends_with("_share") || *value <= 1.0, "{name} {value}");
    }
    assert_eq!(machine.fitness["lanes_count"] as usize, before.len().min(128));
    if let Some(ratio) = machine.fitness.get("parallel_ratio") {
        assert!(*ratio > 0.0);
    }
    if cfg!(debug_assertions) {
        assert_eq!(machine.grades[&Kind::Single].level, Level::Unfit, "a debug build must never be quotable");
    }
    let json = serde_json::to_string(&machine).unwrap();
    assert_eq!(serde_json::from_str::<Machine>(&json).unwrap().grades, machine.grades);
}

#[cfg(target_os = "linux")]
#[test]
fn on_one_cpu_contended_numbers_are_absent_and_the_grade_says_why() {
    let machine = ends(|| {
        assert!(pin_current_thread(allowed_cpus()[0]));
        assert_eq!(allowed_cpus().len(), 1);
        let mut machine = Machine::read();
        machine.examine(Duration::from_millis(100), &mut |_| {});
        machine
    });
    assert!(machine.facts["cpus_allowed"].starts_with("1 ("));
    for absent in ["parallel_ratio", "handoff_ns", "handoff_worst_ns"] {
        assert!(!machine.fitness.contains_key(absent), "{absent}");
    }
    let grade = &machine.grades[&Kind::Contended];
    assert_eq!(grade.level, Level::Unfit);
    assert!(grade.reason.contains("one CPU"), "{}", grade.reason);
}

/// CPUs that do not exist (as where pinning is impossible), more lanes than CPUs, no budget at all.
#[test]
fn no_probe_hangs_or_panics() {
    let found =
        ends(|| fitness(&[5000, 5001, 5002, 9_999_999, 5003, 5004], Duration::from_millis(120), &mut |_| {}));
    assert_eq!((found["pinned_share"] as usize, found["lanes_count"] as usize), (0, 6));
    assert!(!found.contains_key("busy_share"), "nothing is known of CPUs that are not there");
    assert!(fitness(&[], Duration::ZERO, &mut |_| {}).is_empty());
    let found = ends(|| fitness(&allowed_cpus(), Duration::ZERO, &mut |_| {}));
    assert!(found.values().all(|v| v.is_finite()), "{found:?}");
}

/// Two threads on one CPU meet once in a scheduler slice if at all: the probe must give up, not wait for its batches.
#[test]
fn a_partner_that_gets_no_cpu_is_given_up() {
    let cpu = allowed_cpus()[0];
    assert_eq!(ends(move || handoff_ns(cpu, cpu, Duration::ZERO)), None);
    ends(move || handoff_ns(cpu, cpu, Duration::from_millis(50)));
}

#[test]
fn a_thread_can_be_pinned_only_where_there_is_a_cpu() {
    ends(|| {
        let last = *allowed_cpus().last().unwrap();
        assert!(!pin_current_thread(usize::MAX));
        assert!(!pin_current_thread(8191));
        let pinned = pin_current_thread(last);
        assert_eq!(pinned, cfg!(target_os = "linux"));
        assert!(!pinned || allowed_cpus() == [last]);
        let runq_ns = runq_of_this_thread();
        if let (Some(a), Some(b)) = (runq_ns(), runq_ns()) {
            assert!(b >= a);
        }
    });
}

#[test]
fn spread_keeps_the_ends() {
    let cpus: Vec<usize> = (0..128).collect();
    assert_eq!(spread(&cpus, 4), [0, 42, 84, 127]);
    assert_eq!(spread(&[3, 5], 4), [3, 5]);
}

/// One gap of 4 ms in a second of looks is 0.4 % of all that was due, so p99.9 must show it; by looks it would be one in millions.
#[test]
fn a_gap_weighs_as_much_as_was_due_in_it() {
    let mut lateness = Lateness::default();
    let mut now_ns = 0;
    while now_ns < 500_000_000 {
        lateness.look(now_ns);
        now_ns += 1_000;
    }
    assert_eq!(lateness.max_gap_ns, 1_000);
    assert_eq!(lateness.p999_ns(), Some(0.0));
    now_ns += 4_000_000;
    while now_ns < 1_000_000_000 {
        lateness.look(now_ns);
        now_ns += 1_000;
    }
    assert_eq!(lateness.max_gap_ns, 4_001_000);
    // 200 samples of 50 000 are late; the 50th latest of them by 3 ms, to the histogram's three digits.
    let p999 = lateness.p999_ns().unwrap();
    assert!((p999 - 3.0e6).abs() < 0.05e6, "{p999}");
}

#[test]
fn no_percentile_beyond_the_samples() {
    assert!(supports(10_000, 0.999) && !supports(9_000, 0.999) && !supports(0, 0.5));
    let mut lateness = Lateness::default();
    lateness.look(1_000_000);
    assert_eq!(lateness.p999_ns(), None);
}

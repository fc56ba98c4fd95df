//! Grades of recorded machines.
use std::collections::BTreeMap;

use underhood::{
    lab::Kind::{self, Contended, Count, Pause, Single, Tail},
    machine::{
        Grade,
        Level::{self, Fair, Fit, Unfit},
        Machine,
        grade::{amount, grades},
    },
    show::check::report,
};

/// A quiet guest with two CPUs, as recorded.
const GUEST: [(&str, f64); 13] = [
    ("busy_share", 0.011),
    ("clock_cost_ns", 23.0),
    ("clock_resolution_ns", 20.0),
    ("handoff_ns", 165.0),
    ("hiccup_max_ns", 366_000.0),
    ("hiccup_p999_ns", 31_000.0),
    ("lanes_count", 2.0),
    ("parallel_ratio", 1.98),
    ("pinned_share", 1.0),
    ("runq_share", 0.006),
    ("spin_ns_per_iter", 1.4),
    ("steal_share", 0.0),
    ("handoff_worst_ns", 165.0),
];
const GUEST_FACTS: [(&str, &str); 4] = [
    ("profile", "release, opt-level 3"),
    ("governor", "unknown"),
    ("hypervisor", "KVM"),
    ("cpu_limit", "none"),
];

/// The quiet guest with some facts and numbers changed; a number that is NaN is taken away.
fn graded(facts: &[(&str, &str)], fitness: &[(&str, f64)]) -> BTreeMap<Kind, Grade> {
    let all = GUEST_FACTS.iter().chain(facts).map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let mut numbers: BTreeMap<String, f64> =
        GUEST.iter().chain(fitness).map(|(k, v)| (k.to_string(), *v)).collect();
    numbers.retain(|_, v| !v.is_nan());
    grades(&all, &numbers)
}

/// Single, Contended, Tail, Pause, Count.
#[track_caller]
fn levels(expected: [Level; 5], facts: &[(&str, &str)], fitness: &[(&str, f64)]) -> BTreeMap<Kind, Grade> {
    let found = graded(facts, fitness);
    let levels = [Single, Contended, Tail, Pause, Count].map(|kind| found[&kind].level);
    assert_eq!(levels, expected, "{found:#?}");
    assert!(found.values().all(|g| !g.reason.is_empty() && !g.reason.contains("{}")), "{found:#?}");
    found
}

#[test]
fn a_quiet_guest_may_quote() {
    let found = levels([Fit, Fit, Fair, Fair, Fit], &[], &[]);
    assert!(found[&Contended].reason.contains("1.98 times"), "{}", found[&Contended].reason);
    assert!(
        found[&Tail].reason.contains("KVM") && found[&Tail].reason.contains("31 us"),
        "{}",
        found[&Tail].reason
    );
}

#[test]
fn a_quiet_bare_machine_is_fit_for_everything() {
    let found = levels(
        [Fit; 5],
        &[("hypervisor", "none"), ("governor", "performance")],
        &[("hiccup_p999_ns", 3_000.0)],
    );
    assert!(found[&Tail].reason.contains("3.0 us"));
    assert!(found[&Pause].reason.contains("366 us"));
}

/// Recorded with a busy loop beside it: everybody's numbers at once, and each of them alone.
#[test]
fn a_busy_loop_on_one_core() {
    let busy = [
        ("busy_share", 0.5),
        ("parallel_ratio", 1.5),
        ("runq_share", 0.5),
        ("hiccup_max_ns", 8.1e6),
        ("hiccup_p999_ns", 3.3e6),
    ];
    let found = levels([Fair, Unfit, Unfit, Unfit, Fit], &[], &busy);
    let reason = &found[&Contended].reason;
    assert!(reason.contains("1.50 times") && reason.contains("50 % of the CPUs"), "{reason}");
    for one in &busy[..3] {
        assert_eq!(graded(&[], &[*one])[&Contended].level, Unfit, "{one:?}");
    }
    assert_eq!(graded(&[], &[busy[3]])[&Pause].level, Fair);
    assert_eq!(graded(&[], &[busy[4]])[&Tail].level, Unfit);
}

#[test]
fn a_debug_build_shows_counts_only() {
    for profile in ["debug, opt-level 0 and debug assertions", "debug, opt-level 3", "release, opt-level 0"] {
        let found = levels([Unfit, Unfit, Unfit, Unfit, Fit], &[("profile", profile)], &[]);
        assert!(found[&Single].reason.contains("--release"));
    }
}

#[test]
fn one_cpu_cannot_contend() {
    let absent = ["parallel_ratio", "handoff_ns", "handoff_worst_ns"].map(|key| (key, f64::NAN));
    let found =
        levels([Fit, Unfit, Fair, Fair, Fit], &[], &[[("lanes_count", 1.0)].as_slice(), &absent].concat());
    assert_eq!(found[&Contended].reason, "one CPU is allowed, so two threads never run at once");
}

/// Who runs when decides how often something happens: neighbours spoil it, a slow hand-off does not.
#[test]
fn chances_need_a_quiet_machine() {
    let level = |facts: &[(&str, &str)], fitness: &[(&str, f64)]| graded(facts, fitness)[&Kind::Chance].level;
    assert_eq!(level(&[], &[]), Fit);
    assert_eq!(level(&[], &[("handoff_ns", 17_000.0), ("parallel_ratio", 1.0)]), Fit);
    assert_eq!(level(&[], &[("lanes_count", 1.0)]), Fair);
    assert_eq!(level(&[], &[("busy_share", 0.3)]), Unfit);
    assert_eq!(level(&[("profile", "debug, opt-level 0 and debug assertions")], &[]), Unfit);
}

#[test]
fn nobody_looked() {
    let all_absent = GUEST.map(|(key, _)| (key, f64::NAN));
    let found = levels([Unfit, Unfit, Unfit, Unfit, Fit], &[], &all_absent);
    assert!(
        found.iter().all(|(kind, g)| *kind == Count || g.reason == "the machine was not examined"),
        "{found:#?}"
    );
}

#[test]
fn slower_together_than_alone_is_turbo_only_without_a_hypervisor() {
    assert_eq!(graded(&[], &[("parallel_ratio", 1.6)])[&Contended].level, Unfit);
    assert_eq!(graded(&[("hypervisor", "none")], &[("parallel_ratio", 1.6)])[&Contended].level, Fair);
    assert_eq!(graded(&[("hypervisor", "none")], &[("parallel_ratio", 1.3)])[&Contended].level, Unfit);
    // The bound grows with the CPUs.
    assert_eq!(graded(&[], &[("lanes_count", 64.0), ("parallel_ratio", 60.0)])[&Contended].level, Fit);
    assert_eq!(graded(&[], &[("lanes_count", 64.0), ("parallel_ratio", 50.0)])[&Contended].level, Unfit);
}

#[test]
fn limits_and_governors() {
    levels([Fit, Unfit, Unfit, Unfit, Fit], &[("cpu_limit", "1.5")], &[]);
    levels([Fair, Unfit, Unfit, Unfit, Fit], &[("cpu_limit", "0.5")], &[]);
    levels([Fit, Fit, Fair, Fair, Fit], &[("cpu_limit", "2")], &[]);
    levels([Fit, Fit, Fair, Fair, Fit], &[("cpu_limit", "unknown")], &[]);
    let found = levels([Fair, Fair, Fair, Fair, Fit], &[("governor", "powersave")], &[]);
    assert!(found[&Single].reason.contains("powersave"));
}

#[test]
fn stolen_time_spoils_every_time() {
    levels([Fair, Fair, Fair, Fair, Fit], &[], &[("steal_share", 0.03)]);
    levels([Unfit, Unfit, Unfit, Unfit, Fit], &[], &[("steal_share", 0.10)]);
    levels([Fair, Fair, Fair, Fair, Fit], &[], &[("steal_share", f64::NAN)]);
    levels([Fit, Fit, Fair, Fit, Fit], &[("hypervisor", "none")], &[("steal_share", f64::NAN)]);
}

#[test]
fn a_coarse_or_dear_clock() {
    levels([Unfit, Fit, Unfit, Fair, Fit], &[], &[("clock_resolution_ns", 15e6)]);
    levels([Fit, Fit, Unfit, Fair, Fit], &[], &[("clock_cost_ns", 1500.0)]);
}

/// A number that could not be had is a fault, and never counts as a good one.
#[test]
fn missing_numbers() {
    levels([Fair, Fair, Fair, Fair, Fit], &[], &[("busy_share", f64::NAN)]);
    levels([Fair, Fair, Fair, Fair, Fit], &[], &[("runq_share", f64::NAN)]);
    levels([Fit, Unfit, Fair, Fair, Fit], &[], &[("parallel_ratio", f64::NAN)]);
    levels([Fit, Unfit, Fair, Fair, Fit], &[], &[("handoff_ns", f64::NAN)]);
    levels([Fit, Unfit, Fair, Fair, Fit], &[], &[("handoff_ns", 17_000.0)]);
    levels([Fit, Fit, Unfit, Fair, Fit], &[], &[("hiccup_p999_ns", f64::NAN)]);
    levels([Fit, Fit, Fair, Unfit, Fit], &[], &[("hiccup_max_ns", f64::NAN)]);
    levels([Fit, Fair, Fair, Fair, Fit], &[], &[("pinned_share", 0.0)]);
    levels(
        [Fair, Unfit, Fair, Fair, Fit],
        &[],
        &[("busy_share", f64::INFINITY), ("parallel_ratio", f64::INFINITY)],
    );
}

#[test]
fn the_report_says_what_may_be_quoted() {
    let fitness = BTreeMap::from([("parallel_ratio".to_string(), 1.5), ("clock_cost_ns".to_string(), 23.0)]);
    let facts =
        BTreeMap::from([("cpu".to_string(), "Some CPU".to_string()), ("new_fact".into(), "x".into())]);
    let machine = Machine { facts, fitness, grades: graded(&[], &[("parallel_ratio", 1.5)]) };
    let text = report(&machine);
    let last = text.trim_end().lines().last().unwrap();
    assert_eq!(
        last,
        "May be quoted: single-thread cost, how often it happens, counts and sizes. Together with the reason above: latency tail, pause. \
         Not from here, now: contended throughput."
    );
    for part in ["Some CPU", "new_fact", "1.50", "23 ns", "UNFIT", "hiccup_p999_ns", "not measured"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    assert!(text.lines().all(|l| l == last || l.chars().count() <= 110), "{text}");
}

#[test]
fn amounts_carry_their_unit() {
    for (name, value, text) in [
        ("handoff_ns", 57.2, "57 ns"),
        ("handoff_ns", 1.44, "1.4 ns"),
        ("hiccup_max_ns", 4.2e6, "4.2 ms"),
        ("hiccup_p999_ns", 12_300.0, "12 us"),
        ("x_ns", 2.5e9, "2.5 s"),
        ("steal_share", 0.034, "3.4 %"),
        ("parallel_ratio", 1.966, "1.97"),
        ("lanes_count", 2.0, "2"),
        ("spin_ns_per_iter", 1.44, "1.4 ns"),
    ] {
        assert_eq!(amount(name, value), text, "{name}");
    }
}

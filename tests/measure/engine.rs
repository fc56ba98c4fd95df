//! The engine's shapes: every contender gets a row or a reason, the twin is there, work is what it says. No time is asserted.
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use underhood::{
    lab::{
        plan::{Mode, Plan},
        sample::{AA, Sample},
    },
    machine::{allowed_cpus, sched::SchedTimes},
    measure::{
        cost::{Ops, Solo, solo},
        order::Order,
        own_core::{self, Look, Looks},
        throughput::{Apart, Crowd, Lane, crossover, crowd},
        witness, work,
    },
    record::pool,
};

fn plan() -> Plan {
    Plan::new(Mode::Smoke, allowed_cpus())
}

fn has_value_or_reason(s: &Sample, value: &str) -> bool {
    s.unmeasured.is_some() != s.values.get(value).is_some_and(|v| v.is_finite() && *v > 0.0)
}

#[test]
fn solo_gives_a_row_for_each_contender_and_the_twin() {
    static DONE: AtomicU64 = AtomicU64::new(0);
    fn count() -> Ops {
        Box::new(|n| {
            DONE.fetch_add(n, Relaxed);
        })
    }
    fn spin() -> Ops {
        Box::new(|n| (0..n).for_each(|_| work::spin(20)))
    }
    let rows = solo(
        &plan(),
        "p",
        &[Solo { case: "spin", make: Box::new(spin) }, Solo { case: "count", make: Box::new(count) }],
    );
    let names: Vec<&str> = rows.iter().map(|r| r.case.as_str()).collect();
    assert_eq!(names, ["spin", AA, "count"]);
    assert!(rows.iter().all(|r| r.param == "p" && has_value_or_reason(r, "op_ns")), "{rows:?}");
    assert!(DONE.load(Relaxed) > 0, "the contender ran");
    assert!(rows.iter().all(|r| r.receipts.kept_count.is_some() && r.receipts.dropped_count.is_some()));
    assert!(solo(&plan(), "", &[]).is_empty());
}

#[test]
fn a_block_counts_as_alone_only_between_two_good_looks() {
    let whole = |free: &[f64]| {
        let looks: Vec<_> = free.iter().map(|ns| Some(Look { free_ns: *ns, cycle_ns: 0.3 })).collect();
        Looks::new(&looks).unwrap().whole()
    };
    assert_eq!(whole(&[0.096, 0.095, 0.15, 0.095, 0.1]), [true, false, false, true]);
    assert_eq!(whole(&[0.1]), [true; 0]);
    // A shared core that was never anything else is one state, too.
    assert_eq!(whole(&[0.15, 0.15, 0.16]), [true, true]);
    assert!(Looks::new(&[None, None]).is_none(), "nobody can look");
}

#[test]
fn additions_per_cycle_are_counted_by_the_fastest_chain() {
    let look = |free_ns, cycle_ns| Some(Look { free_ns, cycle_ns });
    let looks = Looks::new(&[look(0.1, 0.3), look(0.2, 0.33)]).unwrap();
    let adds = [0, 1].map(|block| format!("{:.2}", looks.additions_per_cycle(block)));
    assert_eq!(adds, ["3.00", "1.50"]);
}

#[test]
fn a_look_at_the_core_is_two_times() {
    let look = own_core::look();
    assert_eq!(look.is_some(), cfg!(any(target_arch = "x86_64", target_arch = "aarch64")));
    assert!(look.is_none_or(|l| l.free_ns < 1e4 && l.cycle_ns < 1e4), "{look:?}");
    // One limit, in two rooms that don't know each other.
    assert_eq!(own_core::SAME.to_bits(), pool::OWN_CORE.to_bits());
}

fn counting(case: &'static str, total: Arc<AtomicU64>) -> Crowd {
    let make = move |threads: usize| {
        (0..threads)
            .map(|_| {
                let total = total.clone();
                Box::new(Apart(move |n: u32, hold: u32| {
                    for _ in 0..n {
                        work::spin(hold);
                    }
                    total.fetch_add(u64::from(n), Relaxed);
                })) as Lane
            })
            .collect()
    };
    Crowd { case, make: Box::new(make) }
}

#[test]
fn crowd_gives_a_row_for_each_contender_also_with_more_lanes_than_cpus() {
    for factor in [1, 3] {
        let plan = Plan { threads: plan().threads * factor, ..plan() };
        let (a, b) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let rows = crowd(&plan, "p", 100.0, &[counting("a", a.clone()), counting("b", b.clone())]);
        let names: Vec<&str> = rows.iter().map(|r| r.case.as_str()).collect();
        assert_eq!(names, ["a", AA, "b"]);
        assert!(rows.iter().all(|r| has_value_or_reason(r, "ops_per_s")), "{rows:?}");
        assert!(a.load(Relaxed) > 0 && b.load(Relaxed) > 0, "both contenders ran");
        for row in rows.iter().filter(|r| r.unmeasured.is_none()) {
            let share = row.values["min_max_share"];
            assert!((0.0..=1.0).contains(&share), "{row:?}");
            assert!(row.receipts.ops_count.is_some_and(|n| n > 0.0), "{row:?}");
        }
        // Overlap is a receipt only where each lane can have a CPU.
        assert!(factor == 1 || rows.iter().all(|r| r.receipts.overlap_share.is_none()));
    }
}

#[test]
fn a_lane_that_never_progresses_is_told() {
    let stuck = Crowd {
        case: "stuck",
        make: Box::new(|threads| {
            (0..threads)
                .map(|lane| {
                    Box::new(Apart(move |_: u32, _: u32| {
                        if lane == 0 {
                            std::thread::sleep(std::time::Duration::from_millis(60));
                        }
                    })) as Lane
                })
                .collect()
        }),
    };
    let rows = crowd(&plan(), "", 0.0, &[stuck]);
    // Asleep all along, as a lock would keep it: that is a result, and it shows. It passed for another reason once: the controller's own
    // time spoiled every short window.
    for row in rows.iter().filter(|r| r.unmeasured.is_none()) {
        assert!(row.values["min_max_share"] < 0.01 && row.values["starved_share"] > 0.0, "{row:?}");
    }
}

/// Holds so many times as long, and this much longer.
fn slower(case: &'static str, times: u32, more: u32) -> Crowd {
    let lane =
        move |n: u32, hold: u32| (0..n).for_each(|_| work::spin(std::hint::black_box(hold * times + more)));
    Crowd {
        case,
        make: Box::new(move |threads| (0..threads).map(|_| Box::new(Apart(lane)) as Lane).collect()),
    }
}

#[test]
fn a_crossover_is_found_where_it_is() {
    // a takes 2 holds, b takes 1 hold and 400 iterations: b is ahead from 400 iterations on.
    let plan = Plan { slice: std::time::Duration::from_millis(60), ..Plan::new(Mode::Quick, allowed_cpus()) };
    let find = |a: Crowd, b: Crowd| crossover(&plan, "case", "", &a, &b, 20_000.0);
    let found = find(slower("a", 2, 0), slower("b", 1, 400));
    if let Some(ns) = found.values.get("crossover_ns") {
        let at = work::iterations(*ns, work::ns_per_iteration());
        assert!((100..1600).contains(&at), "about 400 iterations, not {at}");
        assert!(found.receipts.kept_count.is_some_and(|n| n > 0.0), "{found:?}");
    } else {
        assert!(
            found.unmeasured.as_deref().is_some_and(|w| w.contains("at once")),
            "only a busy machine excuses: {found:?}"
        );
    }
    for (a, b, word) in [
        (slower("a", 2, 400), slower("b", 1, 0), "at no hold"),
        // At no hold the two would be the same code, and noise alone would say which is ahead.
        (slower("a", 1, 0), slower("b", 2, 400), "behind"),
    ] {
        let why = find(a, b).unmeasured.expect("there is no crossover");
        assert!(why.contains(word) || why.contains("told apart") || why.contains("at once"), "{why}");
    }
}

#[test]
fn an_order_is_a_permutation_and_repeats_from_its_seed() {
    let shuffled = |seed| {
        let mut items: Vec<usize> = (0..50).collect();
        Order::new(seed).shuffle(&mut items);
        items
    };
    let mut sorted = shuffled(7);
    assert_eq!(sorted, shuffled(7));
    assert_ne!(sorted, shuffled(8));
    sorted.sort_unstable();
    assert_eq!(sorted, (0..50).collect::<Vec<_>>());
}

#[test]
fn schedstat_is_read_or_unknown() {
    let parsed = SchedTimes::parse("1047869 92997 2\n").expect("three numbers");
    assert_eq!((parsed.on_cpu_ns, parsed.runq_ns), (1_047_869, 92_997));
    assert_eq!(SchedTimes::parse("0 0 0\n"), None, "no slices: the kernel does not count");
    for damaged in ["", "12", "12 7", "a b c", "-1 2 3"] {
        assert_eq!(SchedTimes::parse(damaged), None, "{damaged:?}");
    }
}

#[test]
fn a_status_is_read_or_unknown() {
    let text =
        "Name:\tlane-0\nState:\tS (sleeping)\nvoluntary_ctxt_switches:\t12\nnonvoluntary_ctxt_switches:\t3\n";
    let status = witness::parse_status(text).expect("a whole status");
    assert_eq!((status.sleeps, status.voluntary, status.involuntary), (true, 12, 3));
    assert!(
        !witness::parse_status(&text.replace("S (sleeping)", "R (running)")).expect("a whole status").sleeps
    );
    assert_eq!(witness::parse_status("State:\tS (sleeping)\n"), None);
    assert_eq!(witness::parse_status(""), None);
}

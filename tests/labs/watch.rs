//! The watch engine, and the starvation lab on it: counts, rules and shapes; never a time.
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    sync::{
        LazyLock,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use underhood::{
    lab::{
        Contender, Lab, ONCE, Step,
        plan::{Mode, Plan},
        sample::{AA, Sample},
    },
    measure::lateness::{
        Lateness, RuntimeSeen, RuntimeWatch, SchedStat, Schedule, SpinProbe, SpinReport, in_turn, interleave,
        occupies_worker, split, watch_runtime,
    },
};

use crate::all::async_starvation;

/// Whatever hangs fails, instead of hanging the tests.
fn within_deadline<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, done) = mpsc::channel();
    thread::spawn(move || tell.send(work()));
    done.recv_timeout(Duration::from_secs(120)).expect("it hung, or it panicked")
}

fn names(late: &Lateness) -> BTreeSet<String> {
    late.values("x").into_iter().map(|(name, _)| name).collect()
}

fn filled(samples: u64) -> Lateness {
    let mut late = Lateness::new();
    (0..samples).for_each(|i| late.record_ns(i));
    late
}

#[test]
fn a_percentile_needs_ten_samples_beyond_it() {
    // (samples, what they support besides max and count)
    let table: [(u64, &[&str]); 9] = [
        (1, &[]),
        (19, &[]),
        (20, &["x_p50_ns"]),
        (99, &["x_p50_ns"]),
        (100, &["x_p50_ns", "x_p90_ns"]),
        (999, &["x_p50_ns", "x_p90_ns"]),
        (1000, &["x_p50_ns", "x_p90_ns", "x_p99_ns"]),
        (9999, &["x_p50_ns", "x_p90_ns", "x_p99_ns"]),
        (10_000, &["x_p50_ns", "x_p90_ns", "x_p99_ns", "x_p999_ns"]),
    ];
    for (samples, supported) in table {
        let always = ["x_max_ns", "x_samples_count"];
        let expected: BTreeSet<String> = supported.iter().chain(&always).map(|s| (*s).to_string()).collect();
        assert_eq!(names(&filled(samples)), expected, "{samples} samples");
    }
    assert_eq!(
        names(&Lateness::new()),
        BTreeSet::from(["x_samples_count".into()]),
        "no sample has no maximum"
    );
}

#[test]
fn ten_samples_do_lie_beyond_each_percentile() {
    for samples in [20, 100, 1000, 10_000, 12_345] {
        let late = filled(samples);
        for beyond in [500, 100, 10, 1] {
            if let Some(ns) = late.exceeded_by_permille_ns(beyond) {
                // Values are 0..samples, so the value itself says how many lie above it; the histogram rounds up by 0.1 %.
                let above = samples as f64 - 1.0 - ns;
                let expected = samples as f64 * beyond as f64 / 1000.0;
                assert!(
                    (above - expected).abs() <= 1.0 + ns / 1000.0,
                    "{samples}: {above} above {beyond} permille"
                );
            }
        }
    }
}

#[test]
fn merging_adds_samples_and_keeps_the_longest() {
    let (mut a, b) = (filled(30), filled(1500));
    a.merge(&b);
    assert_eq!(a.samples_count(), 1530);
    assert_eq!(a.max_ns(), Some(1499.0));
}

#[test]
fn late_ticks_are_caught_up_each_against_its_own_time() {
    let mut schedule = Schedule::new(Duration::from_nanos(100), 8);
    assert_eq!(schedule.next_ns(), Some(100));
    assert_eq!(schedule.arrive(99), 0, "an early wake handles nothing");
    assert_eq!(schedule.arrive(100), 1);
    // The victim stands still until 560: ticks 200, 300, 400 and 500 are 360, 260, 160 and 60 late.
    assert_eq!(schedule.arrive(560), 4);
    assert_eq!(schedule.next_ns(), Some(600), "the schedule does not move with the victim");
    assert_eq!(schedule.arrive(600), 1);
    assert_eq!(schedule.arrive(900), 2, "no tick beyond the last");
    assert_eq!(schedule.next_ns(), None);
    assert_eq!(schedule.arrive(20_000), 0);
    let late = schedule.into_lateness();
    assert_eq!(late.samples_count(), 8);
    assert_eq!(late.total_ns().round() as u64, (360 + 260 + 160 + 60) + (200 + 100));
}

/// The mistake that the schedule is there to avoid: measured from tick to tick, one long pause is one late sample.
#[test]
fn a_pause_weighs_as_many_ticks_as_it_covers() {
    let mut open = Schedule::new(Duration::from_nanos(10), 100);
    for now in (10..=500).step_by(10) {
        open.arrive(now);
    }
    open.arrive(1000); // the second half in one pause
    let late = open.into_lateness();
    assert_eq!(late.samples_count(), 100);
    assert_eq!(late.exceeded_by_permille_ns(500), Some(0.0));
    let p90 = late.exceeded_by_permille_ns(100).expect("100 samples support p90");
    assert!((380.0..=400.0).contains(&p90), "a tenth of the ticks was over 390 late, but p90 is {p90}");
}

#[test]
fn a_window_holds_the_ticks_that_fall_into_it() {
    let ticks = |window, period| {
        Schedule::over(Duration::from_millis(window), Duration::from_millis(period)).ticks_count()
    };
    assert_eq!([ticks(100, 5), ticks(101, 5), ticks(3, 5), ticks(0, 5)], [20, 21, 1, 0]);
}

#[test]
fn interleaving_runs_every_case_once_a_round_in_changing_orders() {
    let run = |seed| {
        let order = std::cell::RefCell::new(Vec::new());
        let slices = interleave(50, seed, 4, |case| {
            order.borrow_mut().push(case);
            case
        });
        (slices, order.into_inner())
    };
    let (slices, order) = run(1);
    assert_eq!(slices, (0..4).map(|case| vec![case; 50]).collect::<Vec<_>>());
    let rounds: Vec<&[usize]> = order.chunks(4).collect();
    for round in &rounds {
        assert_eq!(round.iter().collect::<BTreeSet<_>>().len(), 4, "{round:?}: each case once a round");
    }
    let mut firsts = BTreeMap::new();
    rounds.iter().for_each(|round| *firsts.entry(round[0]).or_insert(0) += 1);
    assert_eq!(firsts.len(), 4, "every case comes first at some time: {firsts:?}");
    assert!(rounds.iter().collect::<BTreeSet<_>>().len() > 10, "50 rounds had few orders");
    assert_eq!(run(1).1, order, "the same seed, the same order");
    assert_ne!(run(2).1, order, "another seed, another order");
    assert!(interleave(3, 1, 0, |case| case).is_empty());
}

#[test]
fn a_gap_is_split_into_parts_that_add_up() {
    assert_eq!(split(1000, 300), (300, 700));
    assert_eq!(split(1000, 0), (0, 1000));
    assert_eq!(split(1000, 5000), (1000, 0), "delays of sub-threshold gaps don't make a gap longer");
}

#[test]
fn schedstat_is_absent_where_there_is_none() {
    assert!(SchedStat::at(Path::new("/nowhere/schedstat")).is_none());
    assert!(SchedStat::at(Path::new(env!("CARGO_MANIFEST_DIR"))).is_none(), "a folder");
    assert!(
        SchedStat::at(&Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).is_none(),
        "another file"
    );
}

/// Spins with a pause of 3 ms in every tenth turn, 20 times; `paused` is called after each pause with its number.
fn spin_with_pauses(stat: fn() -> Option<SchedStat>, paused: fn(u64)) -> SpinReport {
    within_deadline(move || {
        let (stop, turns) = (AtomicBool::new(false), AtomicU64::new(0));
        SpinProbe::run_with(&stop, 1_000_000, stat(), || {
            let turn = turns.fetch_add(1, Relaxed) + 1;
            if turn % 10 == 0 {
                thread::sleep(Duration::from_millis(3));
                paused(turn / 10);
            }
            stop.store(turn == 200, Relaxed);
        })
    })
}

#[test]
fn a_spinning_victim_notices_its_pauses() {
    let report = spin_with_pauses(|| None, |_| {});
    assert_eq!(report.turns_count, 200);
    assert!(report.gaps.samples_count() >= 20, "20 pauses above the threshold, {:?}", report.values());
    assert!(report.gaps.max_ns() >= Some(3e6));
    assert!(report.lost_ns >= 60_000_000 && report.lost_ns <= report.elapsed_ns);
    assert!(report.runq.is_none() && report.rest.is_none(), "no schedstat, no split");
    assert!(!report.values().iter().any(|(name, _)| name.starts_with("runq") || name.starts_with("rest")));
}

/// A schedstat file of our own making: what the scheduler would have said is known, so the split is too.
fn fake_stat(name: &str, on_cpu_ns: u64, runq_ns: u64) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, format!("{on_cpu_ns} {runq_ns} 1\n"))
        .expect("the build's folder for test files is writable");
    path
}

#[test]
fn each_gap_gets_the_run_queue_delay_that_grew_in_it() {
    let stat = || SchedStat::at(&fake_stat("schedstat_grows", 1, 7));
    let report = spin_with_pauses(stat, |pause| {
        fake_stat("schedstat_grows", 1, 7 + pause * 1_000_000);
    });
    let (runq, rest) = (report.runq.expect("a split"), report.rest.expect("a split"));
    assert_eq!(runq.samples_count(), report.gaps.samples_count());
    assert!(
        (runq.total_ns() / 20e6 - 1.0).abs() < 0.01,
        "1 ms in each of 20 pauses, not {}",
        runq.total_ns()
    );
    assert!((rest.total_ns() / (report.gaps.total_ns() - 20e6) - 1.0).abs() < 0.01);
}

#[test]
fn a_kernel_that_counts_nothing_gives_no_split() {
    let report = spin_with_pauses(|| SchedStat::at(&fake_stat("schedstat_zero", 0, 0)), |_| {});
    assert!(report.gaps.samples_count() >= 20);
    assert!(report.runq.is_none() && report.rest.is_none(), "zeros are not a measurement");
}

#[test]
fn where_the_scheduler_says_each_gap_has_both_parts() {
    let report = spin_with_pauses(SchedStat::of_this_thread, |_| {});
    if let (Some(runq), Some(rest)) = (&report.runq, &report.rest) {
        assert_eq!(runq.samples_count(), report.gaps.samples_count());
        assert_eq!(rest.samples_count(), report.gaps.samples_count());
        // Sleeping is not waiting for a CPU, and each gap holds a sleep of 3 ms whatever else it holds.
        let parts = runq.total_ns() + rest.total_ns();
        assert!((parts / report.gaps.total_ns() - 1.0).abs() < 0.01, "{:?}", report.values());
        assert!(
            rest.total_ns() >= 0.9 * 20.0 * 3e6,
            "the sleeps are not run-queue delay: {:?}",
            report.values()
        );
    } else {
        assert!(report.runq.is_none() && report.rest.is_none(), "half a split");
    }
}

#[test]
fn merged_spin_reports_lose_the_split_that_one_lacks() {
    let (mut with, without) =
        (spin_with_pauses(SchedStat::of_this_thread, |_| {}), spin_with_pauses(|| None, |_| {}));
    with.merge(&without);
    assert_eq!(with.turns_count, 400);
    assert!(with.runq.is_none() && with.rest.is_none());
}

const PATIENCE: Duration = Duration::from_secs(30);

fn watch(tick: bool, wake: bool, patience: Duration) -> RuntimeWatch {
    let period = Duration::from_millis(2);
    RuntimeWatch {
        spread: Duration::ZERO,
        workers: 2,
        window: Duration::from_millis(40),
        tick: tick.then_some(period),
        wake: wake.then_some(period),
        patience,
    }
}

#[test]
fn each_probe_can_be_switched_off_and_all_ticks_are_handled() {
    for (tick, wake) in [(true, true), (true, false), (false, true)] {
        let seen = within_deadline(move || {
            let yields = || async { tokio::task::yield_now().await };
            watch_runtime(&watch(tick, wake, PATIENCE), 1, yields, |_| async {})
        });
        let seen = seen.expect("an undisturbed runtime is watched to the end");
        assert_eq!(seen.timer.samples_count(), if tick { 20 } else { 0 });
        assert_eq!(seen.wake.samples_count(), if wake { 20 } else { 0 });
        assert_eq!(seen.handled_count(), seen.intended_count);
        assert!(seen.units.samples_count() > 0);
        let sample = RuntimeSeen::sample(vec![seen.clone(), seen]);
        assert_eq!(sample.doubts, Vec::<String>::new());
        assert_eq!(sample.receipts.ops_count, Some(if tick && wake { 80.0 } else { 40.0 }));
        assert_eq!(sample.values.contains_key("timer_max_ns"), tick);
        assert_eq!(sample.values.contains_key("wake_max_ns"), wake);
    }
}

#[test]
fn a_runtime_that_stands_still_is_a_reason_and_not_a_hang() {
    let seen = within_deadline(|| {
        // Both workers are taken for two seconds; the victims are not done within 0.1 s after their window.
        let blocks = || async { thread::sleep(Duration::from_secs(2)) };
        watch_runtime(&watch(true, true, Duration::from_millis(100)), 2, blocks, |_| async {})
    });
    let why = seen.expect_err("nobody could have handled the ticks");
    let stands = |_: &Contender, (): &()| Err(why.clone());
    let sum = |_: &Contender, (): &(), slices| Ok(RuntimeSeen::sample(slices));
    let plan = Plan::new(Mode::Smoke, vec![0]);
    let samples = in_turn(&plan, 1, &[Contender::new("case")], &ONCE, stands, sum);
    assert!(samples.iter().all(|s| s.unmeasured.as_ref() == Some(&why) && s.values.is_empty()));
}

#[test]
fn an_offender_that_dies_is_a_reason_too() {
    let seen = within_deadline(|| {
        let dies = || async { std::panic::resume_unwind(Box::new("as told")) };
        watch_runtime(&watch(false, true, PATIENCE), 1, dies, |_| async {})
    });
    assert!(seen.is_err_and(|why| why.contains("offender")));
}

#[test]
fn only_a_unit_that_never_awaits_occupies_its_worker() {
    const UNIT: Duration = Duration::from_millis(5);
    assert_eq!(occupies_worker(|| async { thread::sleep(UNIT) }, UNIT, PATIENCE), Ok(true));
    assert_eq!(occupies_worker(|| async { tokio::time::sleep(UNIT).await }, UNIT, PATIENCE), Ok(false));
    let short = occupies_worker(|| async {}, UNIT, PATIENCE);
    assert!(short.is_err_and(|why| why.contains("5ms")), "a unit that does not last gets no number");
}

fn lab() -> &'static Lab {
    static LAB: LazyLock<Lab> = LazyLock::new(async_starvation::lab);
    &LAB
}

fn smoke(step: &'static Step) -> Vec<Sample> {
    within_deadline(|| step.run(&Plan::new(Mode::Smoke, vec![0]), &step.cases(), &step.params()))
}

#[test]
fn the_lab_gives_a_sample_for_every_case_and_parameter() {
    for step in &lab().steps {
        let samples = smoke(step);
        let pairs: Vec<(&str, &str)> = samples.iter().map(|s| (s.case.as_str(), s.param.as_str())).collect();
        let (cases, params) = (step.cases(), step.params());
        let cases = cases.iter().copied().chain([AA]);
        let expected: Vec<(&str, &str)> =
            cases.flat_map(|case| params.iter().map(move |param| (case, *param))).collect();
        assert_eq!(pairs, expected, "{}", step.name);
        for sample in &samples {
            assert_eq!(sample.unmeasured, None, "{} {}", sample.case, sample.param);
            // 4 ticks of the timer probe, and 4 wakes (20 ms / 5.3 ms, rounded up) where it is on.
            let outside = step.name == "starve" || sample.case == "due_alone_watched";
            assert_eq!(sample.receipts.ops_count, Some(if outside { 8.0 } else { 4.0 }));
            assert_eq!(sample.values.contains_key("wake_max_ns"), outside, "{} {}", step.name, sample.case);
            let nobody = ["control", AA].contains(&sample.case.as_str());
            assert!(
                !nobody || !sample.values.contains_key("units_per_s"),
                "nobody blocks in {}",
                sample.case
            );
            if let Some(unit_ns) = sample.values.get("unit_mean_ns") {
                assert!(*unit_ns >= 5e6, "{} {}: a unit blocks for at least 5 ms", sample.case, sample.param);
            }
        }
        // On a busy machine a row's few ms may end before its first unit does; all of them cannot.
        assert!(
            samples.iter().any(|s| s.values.contains_key("units_per_s")),
            "{}: somebody blocked",
            step.name
        );
    }
}

#[test]
fn what_the_lab_says_and_claims_is_about_what_it_measures() {
    let lab = lab();
    let step = |name| lab.steps.iter().find(|step| step.name == name).expect("says name a step");
    let known = |step: &Step, pick: underhood::lab::Pick| {
        assert!(
            step.cases().contains(&pick.case) && step.params().contains(&pick.param),
            "{}: {pick:?}",
            step.name
        );
        assert!(step.columns.contains(&pick.value) || step.headline == pick.value, "{}: {pick:?}", step.name);
    };
    for step in &lab.steps {
        step.claims.iter().flat_map(|claim| claim.bound.picks()).for_each(|pick| known(step, pick));
    }
    for say in &lab.says {
        known(step(say.step), say.of);
        say.against.into_iter().for_each(|pick| known(step(say.step), pick));
    }
}

#[test]
fn the_lab_names_the_tokio_that_it_runs_on() {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock"))
        .expect("a lock file");
    let (_, after) = lock.split_once("name = \"tokio\"\nversion = \"").expect("tokio is in the lock file");
    let version = after.split('"').next().expect("a version");
    let named = format!("tokio {version} ");
    assert!(lab().sources.iter().any(|source| source.starts_with(&named)), "sources say not {named}");
}

#[test]
fn every_bench_of_the_lab_runs() {
    let plan = Plan::new(Mode::Smoke, vec![0]);
    let ids: Vec<&str> = lab().benches().map(|bench| bench.id.as_str()).collect();
    assert_eq!(ids, ["spawn_join", "yield_now", "block_in_place", "spawn_blocking"]);
    within_deadline(move || {
        for bench in lab().benches() {
            let before = Instant::now();
            let took = bench.make(&plan)(3);
            assert!(took > Duration::ZERO && took <= before.elapsed(), "{}", bench.id);
        }
    });
}

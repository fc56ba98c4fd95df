//! Lab `dotnet_leak`: a row counts only if its program did all of its work, and the recorded programs leak as they should. Recorded from
//! .NET 8.0.4 (`tests/measure/dotnet/*.txt`, with the commands); where there is a .NET, the programs run too.
use underhood::{
    experiments::{
        dotnet::{self, Told, parse},
        dropped::{Program, checked, run},
    },
    lab::{Setting, sample::Sample, setting},
};

const LEAKS: &[Setting<f64>] = &[
    setting("dropped", 1.0),
    setting("static_cache", 1.0),
    setting("weak_cache", 1.0),
    setting("listener", 1.0),
    setting("listener_removed", 1.0),
    setting("token_callback", 1.0),
    setting("token_callback_disposed", 1.0),
    setting("timer_held", 1.0),
    setting("timer_not_held", 1.0),
    setting("timer_disposed", 1.0),
];
const BLOCKED: &[Setting<f64>] =
    &[setting("none_blocks", 1.0), setting("one_blocks", 1.0), setting("one_blocks_suppressed", 1.0)];
const SURVIVES: &[Setting<f64>] = &[
    setting("no_finalizer", 0.0),
    setting("suppressed", 0.0),
    setting("finalized", 1.0),
    setting("handle_apart", 1.0),
];

const fn program(name: &'static str, count: u32, counter: &'static str) -> Program {
    Program { name, count, rest: &[], counter }
}

fn told(text: &str) -> Result<Vec<(String, Told)>, String> {
    parse(text)
}

fn value(samples: &[Sample], case: &str, name: &str) -> f64 {
    let sample = samples.iter().find(|s| s.case == case).unwrap_or_else(|| panic!("no row {case}"));
    *sample.values.get(name).unwrap_or_else(|| panic!("{case} has no {name}: {sample:?}"))
}

/// What must hold of the leaks, however many requests there were.
fn leaks_as_it_should(samples: &[Sample]) {
    for case in ["static_cache", "listener", "token_callback", "timer_held"] {
        assert!(value(samples, case, "retained_bytes") >= 1024.0, "{case}: {samples:?}");
        assert!(value(samples, case, "alive_share") > 0.99, "{case}: {samples:?}");
    }
    let freed = [
        "dropped",
        "listener_removed",
        "token_callback_disposed",
        "weak_cache",
        "timer_not_held",
        "timer_disposed",
    ];
    for case in freed {
        assert!(value(samples, case, "retained_bytes") < 200.0, "{case}: {samples:?}");
        assert!(value(samples, case, "alive_share") < 0.02, "{case}: {samples:?}");
    }
}

#[test]
fn the_recorded_requests_stay_alive_only_where_something_refers_to_them() {
    let program = program("leak", 5_000, "requests_count");
    leaks_as_it_should(&checked(&program, LEAKS, told(include_str!("dotnet/leak.txt"))));
}

#[test]
fn in_the_recording_a_finalizer_that_blocks_holds_up_all_others_until_it_ends() {
    let program = program("blocked", 1_000, "finalized_count");
    let samples = checked(&program, BLOCKED, told(include_str!("dotnet/blocked.txt")));
    for (case, share) in [("none_blocks", 1.0), ("one_blocks", 0.0), ("one_blocks_suppressed", 1.0)] {
        assert!((value(&samples, case, "finalized_share") - share).abs() < 1e-9, "{case}: {samples:?}");
        // In the end they all ran: nothing was lost.
        assert!((value(&samples, case, "finalized_count") - 1_000.0).abs() < 1e-9, "{case}: {samples:?}");
    }
    assert!(value(&samples, "one_blocks", "surviving_bytes") > 1024.0);
}

#[test]
fn a_row_that_did_not_do_all_of_its_work_has_no_number() {
    let rows = &[setting("all", 1.0), setting("none", 0.0)];
    let program = program("survives", 10, "finalized_count");
    let why = |text: &str| -> Vec<Option<String>> {
        checked(&program, rows, told(text)).into_iter().map(|s| s.unmeasured).collect()
    };
    let right = "# all\n= surviving_bytes 5\n= finalized_count 10\n# none\n= surviving_bytes 0\n= finalized_count 0\n";
    assert_eq!(why(right), [None, None]);
    let one_missing = why(&right.replace("finalized_count 10", "finalized_count 9"));
    assert!(one_missing[0].as_deref().is_some_and(|w| w.contains("9 instead of 10")), "{one_missing:?}");
    assert_eq!(one_missing[1], None, "the other row is as good as before");
    let one_too_many = why(&right.replace("finalized_count 0", "finalized_count 1"));
    assert!(one_too_many[1].is_some());
    let uncounted = why("# all\n= surviving_bytes 5\n# none\n! not in this version\n");
    assert!(uncounted[0].as_deref().is_some_and(|w| w.contains("did not count")), "{uncounted:?}");
    assert_eq!(uncounted[1].as_deref(), Some("not in this version"));
    let cut = why("# all\n= surviving_bytes 5\n= finalized_count 10\n");
    assert!(cut[1].as_deref().is_some_and(|w| w.contains("said nothing")), "{cut:?}");
}

#[test]
fn a_program_that_failed_says_why_in_each_row() {
    let samples = checked(&program("leak", 5, "requests_count"), LEAKS, Err("dotnet failed".into()));
    assert_eq!(samples.len(), LEAKS.len());
    assert!(samples.iter().all(|s| s.unmeasured.as_deref() == Some("dotnet failed")));
}

#[test]
fn where_there_is_a_runtime_the_programs_leak_and_finalize_as_the_recordings() {
    if dotnet::here().is_err() {
        return;
    }
    leaks_as_it_should(&run(&program("leak", 500, "requests_count"), LEAKS));
    let samples = run(&program("survives", 200, "finalized_count"), SURVIVES);
    assert!(value(&samples, "finalized", "surviving_bytes") > 10_240.0, "{samples:?}");
    assert!(value(&samples, "finalized", "surviving_second_bytes") < 200.0, "{samples:?}");
    assert!(value(&samples, "handle_apart", "surviving_bytes") < 200.0, "{samples:?}");
}

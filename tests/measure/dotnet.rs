//! What the programs on .NET say, and which runtime is the newest. Recorded from .NET 8.0.4 (`tests/measure/dotnet/*.txt`, with the commands);
//! whether there is a .NET here or not.
use underhood::experiments::dotnet::{Told, newest, parse, program};

fn one(text: &str) -> Result<Told, String> {
    let mut rows = parse(text)?;
    assert_eq!(rows.len(), 1, "one row");
    Ok(rows.remove(0).1)
}

/// A recording, its values that a person counted, and a remark in it.
const RECORDED: &[(&str, usize, &str)] = &[
    (include_str!("dotnet/large.txt"), 14, "workstation, background collection"),
    (include_str!("dotnet/pool.txt"), 9, "answers each half second"),
    (include_str!("dotnet/hold.txt"), 7, ".NET 8.0.4"),
];

#[test]
fn what_the_programs_say_is_understood() {
    for (text, values, remark) in RECORDED {
        let command = text.lines().next().unwrap_or_default();
        let told = one(text).unwrap_or_else(|why| panic!("{command}: {why}"));
        assert_eq!(told.values.len(), *values, "{command}: {:?}", told.values);
        assert!(told.seen.iter().any(|seen| seen.contains(remark)), "{command}: {:?}", told.seen);
        assert!(!told.killed);
        let sample = told.sample().expect("it has values");
        assert!(sample.unmeasured.is_none() && !sample.seen.is_empty());
    }
}

#[test]
fn a_full_collection_shows_in_the_recording() {
    let told = one(RECORDED[0].0).expect("a recording");
    assert!(told.values["full_per_gib_count"] > 5.0 && told.values["young_per_gib_count"] < 1.0);
    assert!(told.values["op_max_ns"] > told.values["pause_max_ns"]);
}

#[test]
fn what_a_runtime_does_not_know_is_no_value() {
    let told = one("= op_ns 12.5\n= pause_ns -1\nsomething else\n~ a remark\n").expect("well formed");
    assert_eq!(told.values.into_iter().collect::<Vec<_>>(), [("op_ns".to_string(), 12.5)]);
    assert_eq!(told.seen, ["a remark"]);
}

#[test]
fn a_line_that_is_not_understood_is_an_error_and_silence_is_no_sample() {
    assert!(one("= op_ns twelve").unwrap_err().contains("op_ns twelve"));
    assert!(one("= op_ns").unwrap_err().contains("not understood"));
    assert!(one("").expect("nothing").sample().unwrap_err().contains("no number"));
}

#[test]
fn the_newest_runtime_is_found_by_number_and_not_by_text() {
    let list = "Microsoft.AspNetCore.App 10.0.1 [/x]\nMicrosoft.NETCore.App 9.0.12 [/x]\nMicrosoft.NETCore.App 10.0.0-rc.1 [/x]\n";
    assert_eq!(newest(list, "Microsoft.NETCore.App").as_deref(), Some("10.0.0-rc.1"));
    let both = "Microsoft.NETCore.App 10.0.0 [/x]\nMicrosoft.NETCore.App 10.0.0-rc.1 [/x]\n";
    assert_eq!(
        newest(both, "Microsoft.NETCore.App").as_deref(),
        Some("10.0.0"),
        "a release is newer than its preview"
    );
    assert_eq!(newest("8.0.404 [/sdk]\n10.0.100 [/sdk]\n", "").as_deref(), Some("10.0.100"));
    assert_eq!(newest("", ""), None);
    assert_eq!(newest("garbage\n", "Microsoft.NETCore.App"), None);
}

#[test]
fn what_was_asked_for_is_taken_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let why = program(Some(dir.path().into())).unwrap_err();
    assert!(why.contains("UNDERHOOD_DOTNET") && why.contains(&dir.path().display().to_string()), "{why}");
    let name = format!("dotnet{}", std::env::consts::EXE_SUFFIX);
    let there = dir.path().join(name);
    std::fs::write(&there, "").unwrap();
    assert_eq!(program(Some(dir.path().into())).as_ref(), Ok(&there), "its folder");
    assert_eq!(program(Some(there.clone())).as_ref(), Ok(&there), "or the program itself");
}

#[test]
fn rows_are_told_apart_and_one_may_be_missing() {
    let rows = parse("# monitor\n= ops_per_s 5\n# lock\n! not in this version\n").expect("well formed");
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["monitor", "lock"]);
    assert!((rows[0].1.values["ops_per_s"] - 5.0).abs() < 1e-9);
    assert_eq!(rows[1].1.clone().sample().unwrap_err(), "not in this version");
}

//! Bad input and bad machines, from outside: a clear sentence, the right exit code, nothing lost, nothing hung.
use std::{
    fs,
    io::Read,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

fn underhood(store: &Path) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_underhood"));
    c.arg("--store").arg(store).stdin(Stdio::null()).env_remove("UNDERHOOD_STORE");
    c
}

fn run(c: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = c.output().expect("the program starts");
    (
        status.code(),
        String::from_utf8_lossy(&stdout).into_owned(),
        String::from_utf8_lossy(&stderr).into_owned(),
    )
}

/// A smoke run of the quickest step.
const SMOKE: [&str; 6] = ["run", "lock_rwlock", "--smoke", "--anyway", "--only", "alone"];

#[test]
fn wrong_words_are_usage_errors_with_a_hint() {
    let store = tempfile::tempdir().unwrap();
    for (words, hint) in [
        (&["run", "lock_rwlok"][..], "lock_rwlock"),
        (&["quote", "async_starvatoin"], "async_starvation"),
        (&["run", "lock_rwlock", "--quik"], "--quick"),
        (&["run", "lock_rwlock", "--threads", "0"], "threads"),
        (&["run", "lock_rwlock", "--threads", "1000000"], "threads"),
        (&["run", "lock_rwlock", "--launches", "0"], "launches"),
        (&["run", "lock_rwlock", "--slice", "never"], "200ms"),
        (&["run", "lock_rwlock", "--only", "nothing"], "crossover"),
        (&["run", "lock_rwlock", "--quick", "--full"], "cannot be used"),
        (&["verify", "zzzz"], "no record"),
        (&["verfy"], "verify"),
    ] {
        let (code, out, err) = run(underhood(store.path()).args(words));
        assert_eq!(code, Some(2), "{words:?}: {out}{err}");
        assert!(err.contains(hint), "{words:?} does not mention {hint}: {err}");
    }
}

#[test]
fn commands_that_only_tell_need_no_measurement() {
    let store = tempfile::tempdir().unwrap();
    let (code, out, _) = run(underhood(store.path()).arg("list"));
    assert_eq!(code, Some(0));
    assert!(out.contains("lock_rwlock") && out.contains("not run yet"), "{out}");
    let (code, out, _) = run(underhood(store.path()).args(["quote", "lock_rwlock"]));
    assert_eq!(code, Some(3), "nothing to quote: {out}");
    let (code, _, err) = run(underhood(store.path()).args(["show", "lock_rwlock"]));
    assert_eq!(code, Some(1));
    assert!(err.contains("no records"), "{err}");
}

#[test]
fn a_record_can_be_verified_by_its_id() {
    let store = tempfile::tempdir().unwrap();
    let (_, out, _) = run(underhood(store.path()).args(SMOKE).arg("--json"));
    let row = out
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap())
        .find(|v| v["case"] == "std_rwlock");
    let id = row.expect("a record of std_rwlock")["id"].as_str().unwrap().to_string();
    let (code, out, err) = run(underhood(store.path()).args(["verify", &id[..8]]));
    // A smoke run says nothing: whether the two agree is chance, but neither is quotable.
    assert!(code == Some(3) || (code == Some(1) && out.contains("differs")), "{out}{err}");
    assert!(out.contains("lock_rwlock / alone / std_rwlock read"), "{out}");
    assert!(out.contains("not quotable"), "{out}");
}

#[test]
fn a_damaged_store_is_read_as_far_as_it_goes() {
    let store = tempfile::tempdir().unwrap();
    assert_eq!(run(underhood(store.path()).args(SMOKE)).0, Some(3));
    let file = store.path().join("lock_rwlock.jsonl");
    let good = fs::read_to_string(&file).unwrap();
    let first = good.lines().next().unwrap();
    let newer = first.replacen("\"schema\":1", "\"schema\":999", 1);
    let tampered =
        first.replacen("\"launches\":[", "\"launches\": [", 1).replacen("\"threads\":", "\"threads\":9", 1);
    let half = &first[..first.len() / 2];
    fs::write(&file, format!("{good}not json\n{newer}\n{tampered}\n{{\"a\":1}}\n{half}")).unwrap();
    let (code, out, err) = run(underhood(store.path()).args(["show", "lock_rwlock"]));
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("std_rwlock"), "the sound records are shown: {out}");
    assert!(err.contains("skipped") && err.contains("1 of a newer version"), "{err}");
    let first_bad = format!("lock_rwlock.jsonl:{}", good.lines().count() + 1);
    for words in [&["list"][..], &["show", "lock_rwlock"]] {
        let (_, _, err) = run(underhood(store.path()).args(words));
        assert!(err.contains(&first_bad), "{words:?} names file and line {first_bad}: {err}");
    }
    // Appending after a half-written line loses nothing either.
    assert_eq!(run(underhood(store.path()).args(SMOKE)).0, Some(3));
    let again = fs::read_to_string(&file).unwrap();
    assert!(
        again.lines().filter(|l| l.starts_with("{\"schema\":1,") && l.ends_with('}')).count()
            >= 2 * good.lines().count()
    );
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_the_record_but_not_the_result() {
    let store = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", store.path().join("lock_rwlock.jsonl")).unwrap();
    let (code, out, err) = run(underhood(store.path()).args(SMOKE));
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("std_rwlock"), "the table is shown all the same: {out}");
    assert!(err.contains("lock_rwlock.jsonl"), "names the file: {err}");
}

#[test]
fn a_store_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let (code, _, err) = run(underhood(&file.join("store")).args(SMOKE));
    assert_eq!(code, Some(1), "{err}");
    assert!(err.contains("file"), "{err}");
    assert!(!err.contains("panicked"), "{err}");
    let (_, out, _) = run(underhood(&file.join("store")).args(SMOKE));
    assert!(out.contains("std_rwlock"), "the result is shown all the same: {out}");
    let (early, late) = (err.find("not kept"), err.find("measuring"));
    assert!(early.is_some_and(|early| late.is_none_or(|late| early < late)), "said before measuring: {err}");
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let store = tempfile::tempdir().unwrap();
    let mut child =
        underhood(store.path()).args(SMOKE).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{err}");
    assert!(!err.contains("panicked"), "{err}");
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_ends_the_children_and_keeps_the_records() {
    let store = tempfile::tempdir().unwrap();
    let mark = format!("mark-{}", std::process::id());
    let mut child = underhood(store.path())
        .args(["run", "lock_rwlock", "--smoke", "--anyway", "--launches", "1000"])
        .env("UNDERHOOD_TEST_MARK", &mark)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let marked = || -> usize {
        let of = |pid: &fs::DirEntry| {
            fs::read(pid.path().join("environ")).is_ok_and(|e| String::from_utf8_lossy(&e).contains(&mark))
        };
        fs::read_dir("/proc").unwrap().filter_map(Result::ok).filter(of).count()
    };
    let until = Instant::now() + Duration::from_secs(60);
    while marked() < 2 && Instant::now() < until {
        thread::sleep(Duration::from_millis(20));
    }
    assert!(marked() >= 2, "a child is measuring");
    // Long enough for a launch to be complete.
    thread::sleep(Duration::from_secs(3));
    let pid = i32::try_from(child.id()).unwrap();
    assert!(Command::new("kill").args(["-INT", &pid.to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    thread::sleep(Duration::from_millis(100));
    assert_eq!(marked(), 0, "no child is left");
    let kept =
        fs::read_to_string(store.path().join("lock_rwlock.jsonl")).expect("the complete launches are kept");
    let first: serde_json::Value =
        serde_json::from_str(kept.lines().next().expect("a line")).expect("a whole line");
    assert!(!first["launches"].as_array().unwrap().is_empty());
    assert_eq!(first["quotable"], false, "an unfinished run is never quotable");
}

#[cfg(target_os = "linux")]
#[test]
fn on_one_cpu_contended_numbers_are_refused_and_the_rest_works() {
    let store = tempfile::tempdir().unwrap();
    let on_one = |words: &[&str]| {
        let mut c = Command::new("taskset");
        c.args(["-c", "0", env!("CARGO_BIN_EXE_underhood"), "--store"])
            .arg(store.path())
            .args(words)
            .stdin(Stdio::null());
        run(&mut c)
    };
    let (code, out, err) =
        on_one(&["run", "lock_rwlock", "--quick", "--slice", "5ms", "--only", "alone,readers"]);
    assert_eq!(code, Some(4), "{out}{err}");
    let (alone, readers) = out.split_once("lock_rwlock / readers").expect("both steps are named");
    // A debug build is refused as a whole; then at least the reasons must differ.
    let debug = cfg!(debug_assertions);
    assert!(
        alone.contains(if debug { "--release" } else { "std_rwlock" }),
        "one thread can be measured: {alone}"
    );
    assert!(!alone.contains("one CPU is allowed"), "{alone}");
    assert!(readers.contains("one CPU is allowed"), "{readers}");
    assert!(readers.contains("refused"), "{readers}");
}

/// What another command has to record is shown if it is there, else named; and never stored a second time.
#[test]
fn a_recorded_step_is_shown_and_not_measured() {
    use std::collections::BTreeMap;
    use underhood::{
        lab::{
            Contender, Kind, Lab, Origin, Step, at,
            plan::{Mode, Plan},
            sample::Sample,
        },
        machine::Machine,
        record::{Store, seal},
    };
    let step = Step::new("models", Kind::Count, "found_share")
        .ask_best("", "aba")
        .contenders(&[Contender::new("loom")])
        .recorded([at("aba", ())], "this test");
    let lab = Lab::new("order_detect", "", Origin::ours("a lab of the tests"));
    let store = tempfile::tempdir().unwrap();
    let words = ["run", "order_detect", "--only", "models", "--smoke", "--plain"];
    let (code, text, _) = run(underhood(store.path()).args(words));
    assert!(text.contains("record_zoo --ignored"), "it says how to make the record\n{text}");
    assert_eq!(code, Some(3), "nothing to quote");
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0, "no record says that there is no record");

    let launch = || vec![Sample::new("loom", "aba").with("found_share", 1.0)];
    let plan = Plan { launches: 2, ..Plan::new(Mode::Default, vec![0]) };
    let during = BTreeMap::new();
    let launches = vec![launch(), launch()];
    let records = seal(&lab, &step, "this test", &plan, &Machine::read(), launches, during);
    Store::open(store.path()).append(&records).unwrap();
    for _ in 0..2 {
        let (_, text, _) = run(underhood(store.path()).args(words));
        assert!(text.contains("loom at aba: found 100 %"), "{text}");
        assert_eq!(Store::open(store.path()).load("order_detect").unwrap().records, records);
    }
    let (code, _, words) = run(underhood(store.path()).args(["verify", &records[0].id]));
    assert_eq!(code, Some(1), "the lab cannot measure it again");
    assert!(words.contains("this test") || words.contains("record_zoo"), "{words}");
}

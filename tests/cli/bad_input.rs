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
    assert!(out.contains("From the notes, another machine"), "{out}");
    let (code, out, err) = run(underhood(store.path()).args(["show", "lock_rwlock"]));
    assert_eq!(code, Some(3), "the notes' numbers are nobody's own: {err}");
    assert!(err.contains("no records") && err.contains("another machine"), "{err}");
    assert!(out.contains("lock_rwlock / readers"), "{out}");
    let notes = underhood::record::Store::open(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/records"));
    let id = notes.load("lock_rwlock").unwrap().records[0].id.clone();
    let (_, _, err) = run(underhood(store.path()).args(["verify", &id, "--json"]));
    assert!(err.contains("the notes', measured on another machine"), "{err}");
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
    assert!(out.contains("lock_rwlock / alone: std RwLock, reads"), "{out}");
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
    assert!(out.contains("std RwLock"), "the sound records are shown: {out}");
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

/// The program under a limit of the shell's: `-f 8` lets no file grow beyond 8 KiB, as if the disk were full there.
#[cfg(target_os = "linux")]
fn limited(limit: &str, store: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut c = Command::new("bash");
    c.args(["-c", &format!("ulimit {limit}; exec \"$0\" \"$@\"")]);
    c.args([env!("CARGO_BIN_EXE_underhood"), "--store"]).arg(store).args(words).stdin(Stdio::null());
    run(&mut c)
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_costs_the_record_but_not_the_result() {
    let store = tempfile::tempdir().unwrap();
    assert_eq!(run(underhood(store.path()).args(SMOKE)).0, Some(3));
    let file = store.path().join("lock_rwlock.jsonl");
    let before = fs::read(&file).unwrap();
    // Room for a part of what is to be appended.
    let limit = format!("-f {}", before.len() / 1024 + 1);
    let (code, out, err) = limited(&limit, store.path(), &SMOKE);
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(out.contains("std RwLock"), "the table is shown all the same: {out}");
    assert!(err.contains("lock_rwlock.jsonl"), "names the file: {err}");
    assert!(fs::read(&file).unwrap() == before, "the part that fitted is taken back");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_output_as_it_was() {
    let store = tempfile::tempdir().unwrap();
    assert_eq!(run(underhood(store.path()).args(SMOKE)).0, Some(3));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["NOTES.md", "README.md"] {
        fs::copy(root.join(file), store.path().join(file)).unwrap();
    }
    let out = store.path().join("out");
    let (out, notes) = (out.to_str().unwrap(), store.path().join("NOTES.md"));
    let notes = notes.to_str().unwrap();
    let cited = store.path().join("cited");
    fs::create_dir(&cited).unwrap();
    let names = || -> Vec<String> {
        let all = fs::read_dir(store.path()).unwrap();
        let mut all: Vec<String> = all.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        all.sort();
        all
    };
    for words in [
        &["report", "-o", out][..],
        &["report"],
        &["export", "--csv", "-o", out],
        &["export", "--json", "-o", out],
        &["notes", "--file", notes, "--records", cited.to_str().unwrap()],
    ] {
        let target = if words[0] == "notes" { notes } else { out };
        if target == out {
            fs::write(out, "the old one").unwrap();
        }
        if words.len() == 1 {
            fs::write(store.path().join("report.html"), "the old one").unwrap();
        }
        let (before, files) = (fs::read(target).unwrap(), names());
        let (code, text, err) = limited("-f 1", store.path(), words);
        assert_eq!(code, Some(1), "{words:?}: {text}{err}");
        assert!(err.contains("File too large"), "{words:?}: {err}");
        assert!(fs::read(target).unwrap() == before, "{words:?}: the old file is gone");
        if words.len() == 1 {
            assert_eq!(fs::read_to_string(store.path().join("report.html")).unwrap(), "the old one");
        }
        assert_eq!(names(), files, "{words:?}: something is left behind");
    }
}

#[test]
fn what_the_store_keeps_is_no_place_for_output() {
    let store = tempfile::tempdir().unwrap();
    assert_eq!(run(underhood(store.path()).args(SMOKE)).0, Some(3));
    let records = store.path().join("lock_rwlock.jsonl");
    let before = fs::read(&records).unwrap();
    let of = |name: &str| store.path().join(name).to_str().unwrap().to_string();
    let mut targets = vec![of("lock_rwlock.jsonl"), of("./lock_rwlock.jsonl"), of("your-predictions.jsonl")];
    targets.push(of("lock_rwlock.pictures.json"));
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("lock_rwlock.jsonl", store.path().join("link")).unwrap();
        targets.push(of("link"));
    }
    for target in &targets {
        for words in [&["report", "-o", target][..], &["export", "--csv", "-o", target]] {
            let (code, _, err) = run(underhood(store.path()).args(words));
            assert_eq!(code, Some(2), "{words:?}: {err}");
            assert!(err.contains("name another file"), "{words:?}: {err}");
        }
    }
    assert!(fs::read(&records).unwrap() == before);
    let mut path = std::path::PathBuf::from(env!("CARGO_BIN_EXE_underhood"));
    path.set_file_name(format!("async_starvation{}", std::env::consts::EXE_SUFFIX));
    let (code, _, err) = run(Command::new(path)
        .args(["--trace", &targets[0], "--store"])
        .arg(store.path())
        .stdin(Stdio::null()));
    assert!(code == Some(2) && err.contains("name another file"), "{err}");
    assert!(fs::read(&records).unwrap() == before);
}

#[cfg(unix)]
#[test]
fn a_link_that_somebody_planted_is_not_followed() {
    use std::os::unix::fs::symlink;
    let (store, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    assert_eq!(run(underhood(store.path()).args(SMOKE)).0, Some(3));
    let foreign = elsewhere.path().join("foreign");
    fs::write(&foreign, "not yours").unwrap();
    // The name of the report is known beforehand; those of what is written beside are not.
    symlink(&foreign, store.path().join("report.html")).unwrap();
    let (code, _, err) = run(underhood(store.path()).arg("report"));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "not yours");
    assert!(fs::read_to_string(store.path().join("report.html")).unwrap().contains("<html"));
    // A link that the reader names himself is his wish.
    let link = elsewhere.path().join("link.html");
    symlink(&foreign, &link).unwrap();
    let (code, _, err) = run(underhood(store.path()).args(["report", "-o"]).arg(&link));
    assert_eq!(code, Some(0), "{err}");
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink(), "the link is still one");
    assert!(fs::read_to_string(&foreign).unwrap().contains("<html"));
}

#[cfg(target_os = "linux")]
#[test]
fn output_goes_into_pipes_and_devices_as_it_is() {
    let store = tempfile::tempdir().unwrap();
    assert_eq!(run(underhood(store.path()).args(SMOKE)).0, Some(3));
    let (code, page, err) = run(underhood(store.path()).args(["report", "-o", "/dev/stdout"]));
    assert!(code == Some(0) && page.starts_with("<!DOCTYPE html>"), "{err}");
    let (code, _, err) = run(underhood(store.path()).args(["report", "-o", "/dev/full"]));
    assert!(code == Some(1) && err.contains("cannot write /dev/full"), "{err}");
    let (code, out, err) = run(underhood(store.path()).args(["report", "--json", "-o", "-"]));
    assert!(code == Some(2) && out.is_empty() && err.contains("choose one"), "{out}{err}");
    let full = || Stdio::from(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    for words in
        [&["--help"][..], &["run", "--help"], &["--version"], &["man"], &["completions", "bash"], &["list"]]
    {
        let mut c = underhood(store.path());
        let status = c.args(words).stdout(full()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{words:?} went nowhere");
    }
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
    assert!(out.contains("std RwLock"), "the result is shown all the same: {out}");
    let (early, late) = (err.find("not stored"), err.find("measuring"));
    assert!(early.is_some_and(|early| late.is_none_or(|late| early < late)), "said before measuring: {err}");
}

/// 0 says that every number may be quoted, so a reader who leaves must not make a 0 of anything else.
#[test]
fn the_exit_code_is_true_where_the_reader_leaves_early() {
    let store = tempfile::tempdir().unwrap();
    let left = |words: &[&str], when: &str| {
        let mut child = underhood(store.path())
            .args(words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, mut err) = (child.stdout.take(), child.stderr.take().unwrap());
        let (mut text, mut byte) = (Vec::new(), [0]);
        while !String::from_utf8_lossy(&text).contains(when) && err.read(&mut byte).unwrap() > 0 {
            text.push(byte[0]);
        }
        drop(out);
        let mut text = String::from_utf8_lossy(&text).into_owned();
        err.read_to_string(&mut text).unwrap();
        assert!(!text.contains("panicked"), "{text}");
        (child.wait().unwrap().code(), text)
    };
    let (code, err) = left(&SMOKE, "");
    assert!(code == Some(1) && err.contains("not done"), "nothing was measured: {code:?} {err}");
    assert_eq!(left(&SMOKE, "measuring").0, Some(3), "the last step was measured, and is not quotable");
    let (code, err) =
        left(&["run", "lock_rwlock", "--smoke", "--anyway", "--only", "alone,readers"], "measuring");
    assert!(code == Some(1) && err.contains("not done"), "a step is left: {code:?} {err}");
    for words in [&["list"][..], &["show", "lock_rwlock"], &["quiz"], &["export", "--json"]] {
        assert_eq!(left(words, "").0, Some(0), "{words:?} is about no number");
    }
    assert_eq!(left(&["quote", "lock_rwlock"], "").0, Some(3));
}

#[cfg(target_os = "linux")]
#[test]
fn ctrl_c_ends_the_children_and_keeps_the_records() {
    use crate::terminal::{heeding, send};

    let store = tempfile::tempdir().unwrap();
    let mark = format!("mark-{}", std::process::id());
    let mut command = underhood(store.path());
    heeding(&mut command, &[libc::SIGINT]);
    let mut child = command
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
    send(&child, libc::SIGINT);
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
        assert!(text.contains("loom, sums checked, ABA: part found 100 %"), "{text}");
        assert_eq!(Store::open(store.path()).load("order_detect").unwrap().records, records);
    }
    let (code, _, words) = run(underhood(store.path()).args(["verify", &records[0].id]));
    assert_eq!(code, Some(1), "the lab cannot measure it again");
    assert!(words.contains("this test") || words.contains("record_zoo"), "{words}");
}

#[test]
fn a_file_that_cannot_be_read_is_named_by_every_command() {
    let store = tempfile::tempdir().unwrap();
    assert_eq!(run(underhood(store.path()).args(SMOKE)).0, Some(3));
    fs::create_dir(store.path().join("order_wakeup.jsonl")).unwrap();
    let page = store.path().join("page.html");
    let page = page.to_str().unwrap();
    let other = store.path().to_str().unwrap();
    for words in [
        &["list"][..],
        &["show", "order_wakeup"],
        &["quote", "order_wakeup"],
        &["quiz", "--count", "1"],
        &["report", "-o", page],
        &["export", "--csv"],
        &["export", "--json"],
        &["compare", other, other],
        &["verify", "zzzz"],
    ] {
        let (code, _, err) = run(underhood(store.path()).args(words));
        assert!(err.contains("order_wakeup.jsonl: it is a folder, not a file"), "{words:?}: {err}");
        // What is told is a part; only `verify` found fault with its own words.
        assert_eq!(code, Some(if words[0] == "verify" { 2 } else { 1 }), "{words:?}: {err}");
    }
    let page = fs::read_to_string(page).unwrap();
    assert!(page.contains("order_wakeup.jsonl: it is a folder"), "the page says what it lacks");
    let (_, list, _) = run(underhood(store.path()).arg("list"));
    assert!(list.contains("its records cannot be read") && list.contains("begun: "), "{list}");
}

#[test]
fn an_empty_variable_is_none() {
    let home = tempfile::tempdir().unwrap();
    let mut c = Command::new(env!("CARGO_BIN_EXE_underhood"));
    c.arg("list").stdin(Stdio::null()).current_dir(home.path());
    let (code, out, err) = run(c.env("UNDERHOOD_STORE", "").env("XDG_DATA_HOME", home.path()));
    assert!(code == Some(0) && out.contains("not run yet"), "{err}");
}

#[test]
fn a_trace_that_cannot_be_written_is_refused_before_it_is_played() {
    let store = tempfile::tempdir().unwrap();
    let mut path = std::path::PathBuf::from(env!("CARGO_BIN_EXE_underhood"));
    path.set_file_name(format!("async_starvation{}", std::env::consts::EXE_SUFFIX));
    let file = store.path().join("absent/trace.json");
    let mut c = Command::new(path);
    let (code, out, err) =
        run(c.arg("--trace").arg(&file).arg("--store").arg(store.path()).stdin(Stdio::null()));
    assert_eq!(code, Some(1), "{out}{err}");
    assert!(err.contains("cannot write") && err.contains("trace.json"), "{err}");
    assert!(!out.contains("Each case once") && !err.contains("traced"), "nothing was played: {out}{err}");
    assert_eq!(err.trim().lines().count(), 1, "one sentence: {err}");
}

/// A version after this one may write more fields; the id covers them as they stand.
#[cfg(target_os = "linux")]
#[test]
fn notes_and_exports_keep_fields_that_this_version_does_not_know() {
    use crate::hostile::sealed_with;
    use underhood::record::Store;
    let (store, cited) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let records = Store::open(root.join("tests/records")).load("order_wakeup").unwrap().records;
    let later = r#""later":{"a":[1,null]}"#;
    let line = |r| sealed_with(&serde_json::to_string(r).unwrap(), later);
    let lines: Vec<String> = records.iter().map(line).collect();
    fs::write(store.path().join("order_wakeup.jsonl"), lines.join("\n") + "\n").unwrap();
    let ids = |text: &str| -> Vec<String> {
        let id = |l: &str| l.split_once(r#""id":""#).unwrap().1[..12].to_string();
        let mut all: Vec<String> = text.lines().map(id).collect();
        all.sort();
        all
    };
    let (code, out, err) = run(underhood(store.path()).args(["export", "--json"]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.lines().all(|l| l.contains(later)) && ids(&out) == ids(&lines.join("\n")));

    let notes = cited.path().join("NOTES.md");
    fs::copy(root.join("NOTES.md"), &notes).unwrap();
    let words = ["notes", "--file", notes.to_str().unwrap(), "--records", cited.path().to_str().unwrap()];
    let (code, out, err) = run(underhood(store.path()).args(words));
    assert_eq!(code, Some(0), "{out}{err}");
    let kept = fs::read_to_string(cited.path().join("order_wakeup.jsonl")).unwrap();
    assert!(kept.lines().count() > 0 && kept.lines().all(|l| l.contains(later)), "{kept}");
    let loaded = Store::open(cited.path()).load("order_wakeup").unwrap();
    assert_eq!((loaded.records.len(), loaded.damaged), (kept.lines().count(), 0));
    let (code, _, err) = run(underhood(store.path()).args(words));
    assert_eq!(code, Some(0), "a second time: {err}");
}

/// Another writer keeps the file for longer than a write waits: what was measured meanwhile waits, too.
#[cfg(target_os = "linux")]
#[test]
#[allow(clippy::print_stdout, reason = "a test that could not be tried says so")]
fn a_soak_keeps_what_could_not_be_stored_and_tries_again() {
    let store = tempfile::tempdir().unwrap();
    let file = fs::File::create(store.path().join("lock_audit.jsonl")).unwrap();
    file.lock().unwrap();
    let mut child = underhood(store.path())
        .args(["soak", "lock_audit", "--smoke", "--for", "25s", "--sessions", "1"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut err, mut said, mut byte) = (child.stderr.take().unwrap(), Vec::new(), [0]);
    while !String::from_utf8_lossy(&said).contains("wait for the next time")
        && err.read(&mut byte).unwrap() > 0
    {
        said.push(byte[0]);
    }
    assert_eq!(file.metadata().unwrap().len(), 0, "nothing could be stored");
    file.unlock().unwrap();
    let mut rest = String::new();
    err.read_to_string(&mut rest).unwrap();
    let said = String::from_utf8_lossy(&said).into_owned() + &rest;
    let code = child.wait().unwrap().code();
    // A soak waits until the machine is its own; beside other work there may be no such moment.
    if !said.contains("measuring lock_audit") {
        println!("not tried: other programs kept the CPUs busy");
        return;
    }
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("that waited are stored now"), "{said}");
    let kept = underhood::record::Store::open(store.path()).load("lock_audit").unwrap();
    assert!(!kept.records.is_empty() && kept.damaged == 0, "{said}");
}

/// A limit of threads ends neither in a panic nor in half a run. It does not bind root, so this becomes somebody else.
#[cfg(target_os = "linux")]
#[test]
fn without_threads_nothing_is_measured_and_it_is_said() {
    use std::os::unix::{fs::PermissionsExt, process::CommandExt};
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let program = dir.path().join("underhood");
    fs::copy(env!("CARGO_BIN_EXE_underhood"), &program).unwrap();
    // Numbers that nobody else has here.
    let me = 2_000_000 + std::process::id() % 100_000;
    // SAFETY: takes and returns numbers.
    let root = unsafe { libc::geteuid() } == 0;
    for limit in 1..=12 {
        let store = dir.path().join(format!("store-{limit}"));
        let mut c = Command::new("bash");
        c.args(["-c", &format!("ulimit -u {limit}; exec \"$0\" \"$@\"")]);
        c.arg(&program).args(SMOKE).arg("--store").arg(&store).stdin(Stdio::null()).current_dir(dir.path());
        if root {
            c.uid(me).gid(me);
        }
        let (code, out, err) = run(&mut c);
        assert!(!err.contains("panicked"), "ulimit -u {limit}: {err}");
        assert!(matches!(code, Some(1 | 3)), "ulimit -u {limit}: {code:?} {out}{err}");
        if code == Some(1) {
            assert!(err.contains("thread") || err.contains("Ctrl-C"), "ulimit -u {limit}: {err}");
        }
        assert!(code == Some(1) || root || limit > 4, "the limit binds");
    }
}

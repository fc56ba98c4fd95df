//! Records and their store: ids, pairs, the A/A band; a store that is shared, damaged, foreign, read-only, full.
use std::{
    fs, io,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Barrier,
    thread,
    time::Duration,
};

use crate::common::*;
use underhood::record::*;

/// A folder of this test's own, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("underhood-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
    fn store(&self) -> Store {
        Store::open(&self.0)
    }
    fn file(&self) -> PathBuf {
        self.0.join("demo_lock.jsonl")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn an_id_names_the_content() {
    let r = record(reads(), "run-01", "mutex", "0 ns", &[1.0, 2.0, 3.0]);
    assert_eq!(r.id.len(), 12);
    assert!(r.id.bytes().all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase()), "{}", r.id);
    assert!(r.is_sealed());
    assert_eq!(r.schema, SCHEMA);
    assert_eq!(r.clone().seal(), r, "sealing twice changes nothing");
    let other = changed(&r, |r| {
        r.launches[1].values.insert(HEADLINE.into(), 2.000_000_000_000_000_4).map_or((), |_| ())
    });
    assert_ne!(other.id, r.id, "the last bit of a number counts");
    let mut edited = r;
    edited.threads = 64;
    assert!(!edited.is_sealed());
}

#[test]
fn the_id_is_the_sha256_of_the_line_with_an_empty_id() {
    // By another implementation, so that the recipe in the documentation is enough to check a line: `sha256sum`.
    let folder = Folder::new("recipe");
    let r = record(reads(), "run-01", "mutex", "0 ns", &[1.5, 2.5]);
    folder.store().append(std::slice::from_ref(&r)).unwrap();
    let line = fs::read_to_string(folder.file()).unwrap();
    assert!(line.starts_with(&format!(r#"{{"schema":1,"id":"{}","#, r.id)), "schema first: {line}");
    let empty = line.trim_end().replacen(&r.id, "", 1);
    let child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else { return }; // not a system with coreutils
    child.stdin.take().unwrap().write_all(empty.as_bytes()).unwrap();
    let out = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(&out[..12], r.id);
}

#[test]
fn sealing_fills_interval_and_odd_launches() {
    let mut d = draft(reads(), "run-01", "mutex", "0 ns", &[16.80, 16.81, 20.12, 16.79, 16.80]);
    d.launches.insert(1, underhood::lab::sample::Sample::unmeasured("mutex", "0 ns", "killed after 10 s"));
    let r = d.seal();
    assert_eq!(r.odd_launches, [3], "counted with the launch that failed");
    assert_eq!(r.interval.unwrap().n, 5);
    assert_eq!(r.values(HEADLINE).len(), 5, "flagged, not dropped");
    assert_eq!(r.interval, r.interval_of(HEADLINE));
    assert_eq!(r.interval_of("nothing_ns"), None);
    assert_eq!(r.unmeasured(), None);
}

#[test]
fn what_is_no_number_is_removed_and_said() {
    let r = record(reads(), "run-01", "mutex", "0 ns", &[1.0, f64::NAN, f64::INFINITY, 1.1]);
    assert_eq!(r.values(HEADLINE), [1.0, 1.1]);
    assert!(!r.quotable);
    assert_eq!(r.doubts.len(), 2);
    let folder = Folder::new("nan");
    folder.store().append(std::slice::from_ref(&r)).unwrap();
    assert_eq!(folder.store().load("demo_lock").unwrap().records, [r]);
}

#[test]
fn an_unmeasured_record_says_why() {
    let mut d = draft(reads(), "run-01", "mutex", "0 ns", &[]);
    d.launches = vec![underhood::lab::sample::Sample::unmeasured("mutex", "0 ns", "one core"); 3];
    let r = d.seal();
    assert_eq!(r.unmeasured(), Some("one core"));
    assert_eq!(r.interval, None);
}

#[test]
fn a_share_of_a_whole_stays_within_it() {
    let mut d = draft(reads(), "run-01", "mutex", "0 ns", &[1.0, 0.0, 1.0, 1.0, 1.0]);
    d.launches.iter_mut().for_each(|s| _ = s.values.insert("won_share".into(), s.values[HEADLINE]));
    let (r, count) = (d.clone().seal(), d.seal().interval_of(HEADLINE).unwrap());
    assert!(count.hi > 1.0);
    assert_eq!(r.interval_of("won_share"), Some(underhood::stats::Interval { hi: 1.0, ..count }));
}

#[test]
fn ratios_pair_launches_and_skip_those_that_are_missing_in_one() {
    let a = record(reads(), "run-01", "rwlock", "0 ns", &[20.0, 40.0, 60.0, 80.0]);
    let mut b = draft(reads(), "run-01", "mutex", "0 ns", &[10.0, 20.0, 30.0, 40.0]);
    b.launches[1] = underhood::lab::sample::Sample::unmeasured("mutex", "0 ns", "no");
    let b = b.seal();
    let r = ratio(&a, HEADLINE, &b, HEADLINE).unwrap();
    assert_eq!(r.n, 3);
    assert!((r.mid - 2.0).abs() < 1e-12 && (r.hi - r.lo) < 1e-9, "{r:?}");
    let other_run = record(reads(), "run-02", "mutex", "0 ns", &[10.0, 20.0, 30.0, 40.0]);
    assert_eq!(ratio(&a, HEADLINE, &other_run, HEADLINE), None, "launches of different runs are no pairs");
    assert_eq!(ratio(&a, HEADLINE, &b, "nothing_ns"), None);
    let zero = record(reads(), "run-01", "mutex", "0 ns", &[10.0, 0.0, 30.0, 40.0]);
    assert_eq!(ratio(&a, HEADLINE, &zero, HEADLINE), None);
}

#[test]
fn the_band_is_how_far_the_baseline_is_from_itself() {
    let records = reads_run("run-01");
    let band = aa_band(&records, "run-01", "0 ns", HEADLINE).unwrap();
    let twin = find(&records, "run-01", AA, "0 ns").unwrap();
    let base = find(&records, "run-01", "mutex", "0 ns").unwrap();
    let r = ratio(twin, HEADLINE, base, HEADLINE).unwrap();
    assert!(r.lo < 1.0 && r.hi > 1.0);
    assert!((band - r.lo.ln().abs().max(r.hi.ln())).abs() < 1e-12 && band > 0.015 && band < 0.03, "{band}");
    assert_eq!(aa_band(&records, "run-02", "0 ns", HEADLINE), None);
    assert_eq!(aa_band(&records, "run-01", "7 ns", HEADLINE), None);
    let single: Vec<Record> = [AA, "mutex"].map(|c| record(reads(), "run-03", c, "0 ns", &[5.0])).into();
    assert_eq!(aa_band(&single, "run-03", "0 ns", HEADLINE), None, "one launch knows no band");
}

#[test]
fn runs_come_newest_first() {
    let records: Vec<Record> = ["run-03", "run-07", "run-05"].iter().flat_map(|run| reads_run(run)).collect();
    assert_eq!(runs_of(&records, "demo_lock", "reads"), ["run-07", "run-05", "run-03"]);
    assert_eq!(runs_of(&records, "demo_lock", "touch"), [""; 0]);
    assert_eq!(runs_of(&records, "other", "reads"), [""; 0]);
    // Of two runs in the same second the later one in the store is newer.
    let twins: Vec<Record> = ["a-04", "b-04"].iter().flat_map(|run| reads_run(run)).collect();
    assert_eq!(runs_of(&twins, "demo_lock", "reads"), ["b-04", "a-04"]);
}

#[test]
fn what_is_appended_is_loaded() {
    let folder = Folder::new("round");
    let store = Store::open(folder.0.join("deep/down"));
    assert_eq!(store.load("demo_lock").unwrap(), Loaded::default());
    assert_eq!(store.load_all().unwrap(), Loaded::default());
    assert!(!store.dir().exists(), "reading leaves no trace");
    let mut all = reads_run("run-01");
    all[0].launches[0].values.insert("tricky_ns".into(), 0.1 + 0.2);
    all[0] = all[0].clone().seal();
    store.append(&all).unwrap();
    let other = changed(&all[1], |r| r.lab = "another_lab".into());
    store.append(std::slice::from_ref(&other)).unwrap();
    assert_eq!(store.load("demo_lock").unwrap().records, all);
    let both = store.load_all().unwrap();
    assert_eq!(both.records.len(), all.len() + 1);
    assert_eq!(both.records[0], other, "labs in the order of their names");
    assert_eq!(both.find(&all[2].id[..6]), [all[2].clone()]);
    assert_eq!(both.find(""), []);
    assert_eq!(both.find("zzzz"), []);
    store.append(&all).unwrap();
    assert_eq!(store.load("demo_lock").unwrap().records, all, "a record that is stored twice is one record");
}

#[test]
fn bad_lines_are_skipped_and_counted() {
    let folder = Folder::new("bad");
    let store = folder.store();
    let rows = reads_run("run-01");
    store.append(&rows).unwrap();
    let text = fs::read_to_string(folder.file()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let edited = lines[1].replacen("10600", "99600", 1).replacen("10650", "99650", 1);
    assert_ne!(edited, lines[1], "the test must change a number");
    let mut bytes = Vec::new();
    for line in [
        lines[0],
        &edited,                                               // damaged: a number edited by hand
        &lines[2][..lines[2].len() / 2],                       // damaged: half a line
        &lines[2].replacen("\"schema\":1", "\"schema\":2", 1), // newer
        r#"{"schema":7,"id":"x","something":"else"}"#,         // newer, whatever it holds
        r#"{"schema":0,"id":"x"}"#,                            // damaged: there was no schema 0
        "hello",                                               // foreign
        r#"{"name":"criterion","mean":3}"#,                    // foreign
        "",                                                    // nothing
        lines[3],
    ] {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(b"\xff\xfe\x00 binary\n{\"schema\":1,\"id\":\"\xff\n");
    bytes.extend_from_slice(lines[4].as_bytes()); // sound, without a line end
    fs::write(folder.file(), bytes).unwrap();
    let loaded = store.load("demo_lock").unwrap();
    assert_eq!(loaded.records, [rows[0].clone(), rows[3].clone(), rows[4].clone()]);
    assert_eq!((loaded.damaged, loaded.newer, loaded.foreign), (4, 2, 3));
    let at = "(demo_lock.jsonl:2, demo_lock.jsonl:3, demo_lock.jsonl:4, demo_lock.jsonl:5, demo_lock.jsonl:6, and 4 more)";
    let what = "skipped lines of the store: 4 damaged, 2 of a newer version, 3 foreign";
    assert_eq!(loaded.skipped().unwrap(), format!("{what} {at}"));
    assert_eq!(Loaded::default().skipped(), None);
}

#[test]
fn a_record_in_the_file_of_another_lab_is_foreign() {
    let folder = Folder::new("other");
    folder.store().append(&reads_run("run-01")).unwrap();
    fs::rename(folder.file(), folder.0.join("other_lab.jsonl")).unwrap();
    let loaded = folder.store().load("other_lab").unwrap();
    assert_eq!((loaded.records.len(), loaded.foreign), (0, 6));
}

#[test]
fn an_append_after_half_a_line_starts_on_a_fresh_one() {
    let folder = Folder::new("half");
    let rows = reads_run("run-01");
    folder.store().append(&rows[..2]).unwrap();
    let text = fs::read_to_string(folder.file()).unwrap();
    fs::write(folder.file(), &text[..text.len() - 40]).unwrap();
    folder.store().append(&rows[2..]).unwrap();
    let loaded = folder.store().load("demo_lock").unwrap();
    assert_eq!(loaded.damaged, 1);
    assert_eq!(loaded.records.len(), rows.len() - 1);
    // A whole line that only lacks its end is kept.
    let text = fs::read_to_string(folder.file()).unwrap();
    fs::write(folder.file(), text.trim_end()).unwrap();
    folder.store().append(&rows[1..2]).unwrap();
    assert_eq!(folder.store().load("demo_lock").unwrap().records.len(), rows.len());
}

/// So many appends from each writer, one record each: what is between two of them is short, so that they do meet.
const APPENDS: usize = 250;

fn many_records(run: &str) -> Vec<Record> {
    (0..APPENDS).map(|i| record(reads(), run, "mutex", &format!("{i}"), &[1.0, 2.0])).collect()
}

fn append_all(store: &Store, records: &[Record]) {
    for one in records.chunks(1) {
        store.append(one).unwrap();
    }
}

#[test]
fn threads_that_append_at_once_lose_nothing() {
    let folder = Folder::new("threads");
    let writers = 4;
    let start = Barrier::new(writers);
    thread::scope(|s| {
        for w in 0..writers {
            let (start, store) = (&start, folder.store());
            s.spawn(move || {
                let records = many_records(&format!("run-w{w}"));
                start.wait();
                append_all(&store, &records);
            });
        }
    });
    let loaded = folder.store().load("demo_lock").unwrap();
    assert_eq!(loaded.skipped(), None);
    assert_eq!(loaded.records.len(), writers * APPENDS);
}

/// Not a test of its own: the child that [`processes_that_append_at_once_lose_nothing`] starts.
#[test]
fn child_that_appends() {
    let Some(dir) = std::env::var_os("UNDERHOOD_TEST_APPEND_TO") else { return };
    let records = many_records(&format!("run-p{}", std::process::id()));
    // All are ready when the parent lets go of the lock, which the first append waits for.
    append_all(&Store::open(&dir), &records);
}

#[test]
fn processes_that_append_at_once_lose_nothing() {
    let folder = Folder::new("processes");
    let this = std::env::current_exe().unwrap();
    let gate = fs::File::create(folder.file()).unwrap();
    gate.lock().unwrap();
    let start = || {
        Command::new(&this)
            .args(["--exact", "record::child_that_appends"])
            .env("UNDERHOOD_TEST_APPEND_TO", &folder.0)
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..3).map(|_| start()).collect();
    thread::sleep(Duration::from_millis(300));
    drop(gate);
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let loaded = folder.store().load("demo_lock").unwrap();
    assert_eq!(loaded.skipped(), None);
    assert_eq!(loaded.records.len(), 3 * APPENDS);
}

#[test]
fn an_append_waits_for_the_one_that_holds_the_lock() {
    let folder = Folder::new("lock");
    let rows = reads_run("run-01");
    let holder = fs::File::create(folder.file()).unwrap();
    holder.lock().unwrap();
    thread::scope(|s| {
        let append = s.spawn(|| folder.store().append(&rows));
        thread::sleep(Duration::from_millis(100));
        assert_eq!(
            fs::metadata(folder.file()).unwrap().len(),
            0,
            "nothing is written past another writer's lock"
        );
        holder.unlock().unwrap();
        append.join().unwrap().unwrap();
    });
    assert_eq!(folder.store().load("demo_lock").unwrap().records, rows);
}

#[test]
fn a_store_that_cannot_be_written_says_where_and_why() {
    let folder = Folder::new("cannot");
    let file = folder.0.join("a-file");
    fs::write(&file, "").unwrap();
    // A folder below a file can be made by nobody, not even by root, whom permissions do not stop.
    let error = Store::open(file.join("store")).append(&reads_run("run-01")).unwrap_err();
    assert_eq!(error.action, "create");
    assert!(
        error.to_string().starts_with("cannot create ") && error.to_string().contains("a-file"),
        "{error}"
    );
    // The lab's file is a folder.
    fs::create_dir(folder.file()).unwrap();
    let error = folder.store().append(&reads_run("run-01")).unwrap_err();
    assert_eq!((error.action, &error.path), ("append to", &folder.file()));
    let error = folder.store().load("demo_lock").unwrap_err();
    assert_eq!(error.action, "read");
    assert!(folder.store().load_all().unwrap().records.is_empty(), "a folder is no lab's file");
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_folder_is_a_typed_error_and_still_readable() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new("readonly");
    let rows = reads_run("run-01");
    folder.store().append(&rows).unwrap();
    let mode = |path: &Path, m| fs::set_permissions(path, fs::Permissions::from_mode(m)).unwrap();
    mode(&folder.file(), 0o444);
    mode(&folder.0, 0o555);
    // Permissions do not stop root, so a thread of its own takes the file system identity of nobody.
    let (old, new, loaded) = thread::scope(|s| {
        let as_nobody = || {
            // SAFETY: changes only which user this thread is for the file system; the thread ends below.
            unsafe { libc::setfsuid(65_534) };
            let other = changed(&rows[0], |r| r.lab = "other_lab".into());
            let append = |r: &Record| folder.store().append(std::slice::from_ref(r)).unwrap_err();
            (append(&rows[0]), append(&other), folder.store().load("demo_lock").unwrap())
        };
        s.spawn(as_nobody).join().unwrap()
    });
    mode(&folder.0, 0o755);
    for (error, file) in [(old, folder.file()), (new, folder.0.join("other_lab.jsonl"))] {
        assert_eq!(error.reason.kind(), io::ErrorKind::PermissionDenied, "{error}");
        assert_eq!((error.action, error.path), ("append to", file));
    }
    assert_eq!(loaded.records, rows);
}

/// A device may never end, and a pipe may never answer. (A full disk is tried from outside: tests/cli.)
#[cfg(target_os = "linux")]
#[test]
fn what_is_no_file_is_a_typed_error() {
    let folder = Folder::new("device");
    std::os::unix::fs::symlink("/dev/full", folder.file()).unwrap();
    let error = folder.store().append(&reads_run("run-01")).unwrap_err();
    assert_eq!((error.action, error.reason.kind()), ("append to", io::ErrorKind::InvalidInput), "{error}");
    let error = folder.store().load("demo_lock").unwrap_err();
    assert_eq!((error.action, error.reason.kind()), ("read", io::ErrorKind::InvalidInput), "{error}");
    // The other labs are read all the same, and this one is named.
    let other = changed(&reads_run("run-01")[0], |r| r.lab = "another_lab".into());
    folder.store().append(std::slice::from_ref(&other)).unwrap();
    let all = folder.store().load_all().unwrap();
    assert_eq!(all.records, [other]);
    assert!(all.unread.len() == 1 && all.unread[0].contains("demo_lock.jsonl"), "{:?}", all.unread);
}

#[test]
fn a_name_is_never_a_path() {
    let folder = Folder::new("names");
    for name in ["../evil", "a/b", "", "A", ".", "..", "a.b", "a b", "9a", "_a", "a\0b", "é", &"a".repeat(65)]
    {
        assert!(!is_lab_name(name), "{name:?}");
        assert!(folder.store().load(name).is_err(), "{name:?}");
        let r = changed(&reads_run("run-01")[0], |r| r.lab = name.into());
        assert!(folder.store().append(&[r]).is_err(), "{name:?}");
    }
    assert!(is_lab_name("lock_rwlock") && is_lab_name("a2") && is_lab_name(&"a".repeat(64)));
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0, "nothing was written");
}

#[test]
fn only_sealed_records_are_stored() {
    let folder = Folder::new("sealed");
    let mut r = reads_run("run-01").remove(0);
    r.threads = 3;
    assert!(folder.store().append(&[r]).unwrap_err().to_string().contains("does not carry the id"));
    assert!(!folder.file().exists());
}

#[test]
fn replacing_leaves_exactly_these_records() {
    let folder = Folder::new("replace");
    folder.store().append(&reads_run("run-01")).unwrap();
    let fresh = reads_run("run-02");
    folder.store().replace("demo_lock", &fresh, &[]).unwrap();
    assert_eq!(folder.store().load("demo_lock").unwrap().records, fresh);
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "no left-over");
    assert!(folder.store().replace("other_lab", &fresh, &[]).is_err());
    folder.store().replace("demo_lock", &[], &[]).unwrap();
    assert!(folder.store().load("demo_lock").unwrap().records.is_empty());
}

#[test]
fn a_replaced_file_has_each_machine_once_and_loses_nothing() {
    let folder = Folder::new("machines");
    let mut records = reads_run("run-01");
    // Another machine in between, and strings that look like one.
    let hostile = r#"x "machine":{"facts":{}} "machine":"0123456789ab" ,"#;
    records[2] = changed(&records[2], |r| drop(r.machine.facts.insert("cpu".into(), hostile.into())));
    records[3] = changed(&records[3], |r| r.command = hostile.into());
    folder.store().replace("demo_lock", &records, &[]).unwrap();
    let text = fs::read_to_string(folder.file()).unwrap();
    assert_eq!(text.matches(r#""fitness":"#).count(), 2, "two machines, each once: {text}");
    let loaded = folder.store().load("demo_lock").unwrap();
    assert_eq!((loaded.records, loaded.damaged), (records.clone(), 0));
    let more = reads_run("run-02");
    folder.store().append(&more).unwrap();
    assert_eq!(folder.store().load("demo_lock").unwrap().records, [records.clone(), more].concat());
    // Whoever edits the machine damages every record that was measured on it; so does whoever loses it.
    fs::write(folder.file(), text.replacen("Example CPU 3000", "Example CPU 9000", 1)).unwrap();
    let loaded = folder.store().load("demo_lock").unwrap();
    assert_eq!((loaded.records.as_slice(), loaded.damaged), (&records[2..3], records.len() - 1));
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(folder.file(), rest).unwrap();
    let loaded = folder.store().load("demo_lock").unwrap();
    assert_eq!((loaded.records.as_slice(), loaded.damaged), (&records[2..3], records.len() - 2));
}

#[test]
fn the_default_folder_depends_on_where_one_stands() {
    let folder = Folder::new("where");
    let repository = folder.0.join("repository");
    fs::create_dir_all(repository.join("src")).unwrap();
    fs::write(repository.join("Cargo.toml"), "").unwrap();
    let elsewhere = folder.0.join("elsewhere");
    fs::create_dir_all(&elsewhere).unwrap();
    let none = |_: &str| None;
    let inside = repository.join("src");
    assert_eq!(Store::dir_for(&repository, Some(&inside), none), Some(repository.join("target/underhood")));
    assert_eq!(Store::dir_for(&repository, Some(&elsewhere), none), None, "no data folder known");
    let home = elsewhere.clone();
    let with_home = move |name: &str| (name == "HOME").then(|| home.clone().into_os_string());
    let expected = elsewhere.join(".local/share/underhood");
    assert_eq!(Store::dir_for(&repository, Some(&elsewhere), &with_home), Some(expected.clone()));
    assert_eq!(
        Store::dir_for(&repository, None, &with_home),
        Some(expected.clone()),
        "current folder is gone"
    );
    let gone = folder.0.join("gone");
    assert_eq!(Store::dir_for(&gone, Some(&elsewhere), &with_home), Some(expected.clone()));
    let xdg = |value: &'static str| {
        let with_home = with_home.clone();
        move |name: &str| if name == "XDG_DATA_HOME" { Some(value.into()) } else { with_home(name) }
    };
    assert_eq!(
        Store::dir_for(&gone, None, xdg("relative")),
        Some(expected),
        "XDG: relative paths are ignored"
    );
    if cfg!(unix) {
        assert_eq!(Store::dir_for(&gone, None, xdg("/data")), Some("/data/underhood".into()));
    }
}

/// Two containers with one volume start a process 1 each within a second; so does one process that seals twice.
#[test]
fn two_runs_never_share_an_id() {
    use underhood::lab::{plan::Plan, sample::Sample};
    let plan = Plan::new(underhood::lab::plan::Mode::Default, vec![0]);
    let sealed = || {
        let launches = vec![vec![Sample::new("call", "").with("pause_ns", 1.0)]];
        seal(lab(), touch(), "this test", &plan, &machine(), launches, Default::default())
    };
    let runs: std::collections::BTreeSet<String> = (0..100).map(|_| sealed()[0].run.clone()).collect();
    assert_eq!(runs.len(), 100);
    // All records of one run have one.
    let one = sealed();
    assert!(one.iter().all(|r| r.run == one[0].run) && one.len() > 1);
}

/// Whatever the machine turns out to be fit for: the help promises that such numbers are never quotable.
#[test]
fn what_was_measured_anyway_is_never_quotable() {
    use underhood::lab::{plan::Plan, sample::Sample};
    let sealed = |anyway| {
        let plan = Plan { anyway, launches: 5, ..Plan::new(underhood::lab::plan::Mode::Default, vec![0, 1]) };
        let sample = |v: f64| Sample::new("call", "").with("pause_ns", v);
        let launches = around(11_000.0).into_iter().map(|v| vec![sample(v)]).collect();
        let records = seal(lab(), touch(), "this test", &plan, &machine(), launches, Default::default());
        let call = records.into_iter().find(|r| r.case == "call").unwrap();
        let doubts = call.doubts.iter().filter(|d| d.contains("--anyway")).count();
        (call.quotable, doubts)
    };
    assert_eq!(sealed(true), (false, 1));
    assert_eq!(sealed(false), (true, 0), "the same launches without it");
}

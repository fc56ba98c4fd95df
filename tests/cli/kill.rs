//! A lab is ended at moments drawn by lot, by SIGKILL (which nobody can catch), by the signals that ask, by a terminal that closes: no process
//! of it is left, the next start removes every control group, the store can be read, and what was written before is intact.
//!
//! A few moments as a rule; `UNDERHOOD_KILLS=200` for more, `UNDERHOOD_KILL_SEED` (printed) for the same again.
#![allow(clippy::print_stdout, reason = "says what was met, so that a test of nothing can be seen as such")]
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use underhood::{machine::cgroup, measure::order::Order, record::Store};

use crate::{
    all::labs,
    terminal::{in_a_session_of_its_own, send, terminal},
};

/// No mercy before this: the moments lie between the start and here. Long enough to be within a step that uses groups, on a
/// loaded machine too.
const LATEST: Duration = Duration::from_millis(2500);

fn number(name: &str, otherwise: u64) -> u64 {
    env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// A lab, in the shortest mode that uses all of its launches.
fn lab(stem: &str, mode: &str, store: &Path) -> Command {
    let mut path = PathBuf::from(env!("CARGO_BIN_EXE_underhood"));
    path.set_file_name(stem);
    let mut command = Command::new(path);
    command.args([mode, "--anyway", "--store"]).arg(store);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// How many processes have this in their environment.
fn marked(mark: &str) -> usize {
    let has = |pid: &fs::DirEntry| {
        fs::read(pid.path().join("environ")).is_ok_and(|e| String::from_utf8_lossy(&e).contains(mark))
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().filter(has).count()
}

/// The groups of this program whose makers are gone.
fn stale() -> BTreeSet<PathBuf> {
    let homes = ["cpu", "memory"].into_iter().filter_map(|c| cgroup::home(Path::new("/"), c));
    let below = homes.flat_map(|h| h.folders).flat_map(fs::read_dir).flatten().flatten().map(|e| e.path());
    let dead = |folder: &PathBuf| {
        let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let maker = name.strip_prefix("underhood-").and_then(|rest| rest.split('-').next());
        let stat = maker
            .map(|pid| fs::read_to_string(Path::new("/proc").join(pid).join("stat")).unwrap_or_default());
        // Whoever killed it may not have waited for it yet.
        stat.is_some_and(|stat| stat.is_empty() || stat.contains(") Z "))
    };
    below.filter(dead).collect()
}

/// Waits for it; false if it does not come.
fn comes(mut what: impl FnMut() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(60);
    while !what() {
        if Instant::now() > until {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

fn kill_at_random(stem: &str, only: Option<&str>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = number("UNDERHOOD_KILL_SEED", now);
    let mut lot = Order::new(seed);
    let store = tempfile::tempdir().unwrap();
    let (mut groups, mut children) = (0, 0);
    for round in 0..number("UNDERHOOD_KILLS", 3) {
        let mark = format!("UNDERHOOD_TEST_KILL={}-{stem}-{round}-{now}", std::process::id());
        let (name, value) = mark.split_once('=').unwrap();
        let mut command = lab(stem, "--quick", store.path());
        command.args(only.map(|step| ["--only", step]).iter().flatten()).env(name, value);
        let mut parent = command.spawn().unwrap();
        // From the first child on: before that it only examines the machine.
        assert!(comes(|| marked(&mark) > 1 || parent.try_wait().unwrap().is_some()), "{stem} does not begin");
        let moment = Duration::from_millis(lot.below(LATEST.as_millis() as usize) as u64);
        thread::sleep(moment);
        children += marked(&mark).saturating_sub(1);
        parent.kill().unwrap();
        parent.wait().unwrap();
        let at = format!("{stem}, killed after {moment:?} in round {round}, UNDERHOOD_KILL_SEED={seed}");
        assert!(comes(|| marked(&mark) == 0), "{at}: {} processes are left", marked(&mark));
        let left = stale();
        groups += left.len();
        // Whatever lab is started next.
        let next = lab("lock_audit", "--smoke", store.path()).status().unwrap();
        assert!(next.code().is_some(), "{at}: the next start ends by itself");
        let still: Vec<_> = left.intersection(&stale()).cloned().collect();
        assert!(still.is_empty(), "{at}: {still:?} outlived the next start");
        let loaded = Store::open(store.path()).load_all().unwrap_or_else(|e| panic!("{at}: {e}"));
        assert!(!loaded.records.is_empty(), "{at}: the next lab's records are there");
        // A line may be cut off by the kill; it must not take others with it.
        assert_eq!((loaded.newer, loaded.foreign), (0, 0), "{at}");
        assert!(loaded.damaged <= round as usize + 1, "{at}: {} lines are damaged", loaded.damaged);
    }
    println!("{stem}: {children} children died with their parent, {groups} groups were left and removed");
}

#[test]
fn gc_large_objects_leaves_nothing() {
    kill_at_random("gc_large_objects", None);
}

#[test]
fn container_limits_leaves_nothing() {
    kill_at_random("container_limits", None);
    kill_at_random("container_limits", Some("memory"));
}

/// How a program is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum How {
    Signal(i32),
    /// The terminal that it was started in goes away.
    Closed,
}

const WAYS: [How; 5] = [
    How::Signal(libc::SIGKILL),
    How::Signal(libc::SIGTERM),
    How::Signal(libc::SIGINT),
    How::Signal(libc::SIGHUP),
    How::Closed,
];

/// Starts it and ends it; the exit code, if it had one.
fn end_after(command: &mut Command, how: How, moment: Duration) -> Option<i32> {
    let mut ours = None;
    if how == How::Closed {
        let (master, theirs) = terminal().expect("Linux has pseudo-terminals");
        command.stdin(Stdio::from(theirs));
        in_a_session_of_its_own(command);
        ours = Some(master);
    }
    let mut child = command.spawn().unwrap();
    thread::sleep(moment);
    match how {
        How::Signal(signal) => send(&child, signal),
        How::Closed => drop(ours),
    }
    assert!(comes(|| child.try_wait().unwrap().is_some()), "{how:?} after {moment:?}: it goes on");
    child.wait().unwrap().code()
}

/// What writers leave until the next one comes.
fn left_over(dir: &Path) -> Vec<PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    all.filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with(".underhood-"))).collect()
}

#[test]
fn whatever_ends_it_leaves_nothing() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let seed = number("UNDERHOOD_KILL_SEED", now);
    let mut lot = Order::new(seed);
    let store = tempfile::tempdir().unwrap();
    let dir = store.path();
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records/lock_audit.jsonl"),
        dir.join("lock_audit.jsonl"),
    )
    .unwrap();
    let before = Store::open(dir).load("lock_audit").unwrap().records;
    let page = dir.join("page.html");
    let mut counts: BTreeMap<(How, &str, Option<i32>), usize> = BTreeMap::new();
    let mut killed = 0;
    for round in 0..number("UNDERHOOD_KILLS", 10) {
        let how = WAYS[round as usize % WAYS.len()];
        let mark = format!("{}-{round}-{now}", std::process::id());
        let writes = lot.below(4) == 0;
        let mut command = if writes {
            let mut command = Command::new(env!("CARGO_BIN_EXE_underhood"));
            command.args(["report", "lock_audit", "-o"]).arg(&page).arg("--store").arg(dir);
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            command
        } else {
            lab(labs()[lot.below(labs().len())].stem, "--smoke", dir)
        };
        command.env("UNDERHOOD_TEST_ENDED", &mark);
        let latest = if writes { 300_000 } else { 1_500_000 };
        let moment = Duration::from_micros(lot.below(latest) as u64);
        let at = format!("round {round} ({command:?}, {how:?} after {moment:?}), UNDERHOOD_KILL_SEED={seed}");
        let code = end_after(&mut command, how, moment);
        println!("{at}: exit code {code:?}");
        killed += u64::from(how == How::Signal(libc::SIGKILL));
        // Before its handler is set a signal ends a program by default, and some are faster than the signal.
        assert!(matches!(code, None | Some(0 | 3 | 4 | 130)), "{at}: exit code {code:?}");
        assert!(comes(|| marked(&mark) == 0), "{at}: {} processes are left", marked(&mark));
        *counts.entry((how, if writes { "report" } else { "lab" }, code)).or_default() += 1;
        if let Ok(page) = fs::read_to_string(&page) {
            assert!(page.trim_end().ends_with("</html>"), "{at}: half a page");
        }
        // The next writer takes away what this one could not.
        let mut next = Command::new(env!("CARGO_BIN_EXE_underhood"));
        next.args(["report", "lock_audit", "-o"]).arg(&page).arg("--store").arg(dir);
        let next = next.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(next.code(), Some(0), "{at}: the next command");
        assert!(left_over(dir).is_empty(), "{at}: {:?}", left_over(dir));
        let loaded = Store::open(dir).load_all().unwrap_or_else(|e| panic!("{at}: {e}"));
        assert!(loaded.unread.is_empty() && (loaded.newer, loaded.foreign) == (0, 0), "{at}: {loaded:?}");
        // Only what nobody can catch may cut a line off.
        assert!(loaded.damaged as u64 <= killed, "{at}: {} lines are damaged", loaded.damaged);
        let now = Store::open(dir).load("lock_audit").unwrap().records;
        assert!(now.starts_with(&before), "{at}: records are lost");
    }
    lab("lock_audit", "--smoke", dir).status().unwrap();
    assert_eq!(stale(), BTreeSet::new(), "control groups outlived the next start");
    println!("ended at random, UNDERHOOD_KILL_SEED={seed}; how, what, exit code: times");
    counts.iter().for_each(|((how, what, code), n)| println!("  {how:?}, {what}, {code:?}: {n}"));
}

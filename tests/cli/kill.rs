//! A lab is killed (SIGKILL, nobody can catch it) at moments drawn by lot: no process of it is left, the next start removes every
//! control group, and the store can be read.
//!
//! Three moments a lab as a rule; `UNDERHOOD_KILLS=20` for more, `UNDERHOOD_KILL_SEED` (printed) for the same again.
#![allow(clippy::print_stdout, reason = "says what was met, so that a test of nothing can be seen as such")]
use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use underhood::{machine::cgroup, measure::order::Order, record::Store};

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

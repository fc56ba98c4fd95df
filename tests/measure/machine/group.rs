//! Groups of our own: in recorded trees (where files do not turn up by themselves, so a tree has to bring those that the
//! kernel would make), and once for real.
#![allow(clippy::print_stderr, reason = "a test that skips says so")]
use std::{fs, path::Path, process};

use underhood::machine::group::{
    Bound, Counted, Group, Refused, ThrottledClock, counted, counted_here, enter, sweep,
};

use super::Tree;

const V1: [(&str, &str); 4] = [
    ("proc/self/cgroup", "4:memory:/box\n2:cpu,cpuacct:/box\n1:name=systemd:/\n0::/\n"),
    (
        "proc/self/mountinfo",
        "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
         35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
         41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
    ),
    ("sys/fs/cgroup/cpu/box/cgroup.procs", ""),
    ("sys/fs/cgroup/memory/box/cgroup.procs", ""),
];
const V2: [(&str, &str); 3] = [
    ("proc/self/cgroup", "0::/user.slice/session-3.scope\n"),
    ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"),
    ("sys/fs/cgroup/user.slice/session-3.scope/cgroup.subtree_control", ""),
];
const HALF: Bound = Bound::Cpu { quota_us: 50_000, period_us: 100_000 };
const SMALL: Bound = Bound::Memory { bytes: 1 << 27 };

/// A process that was born at that tick; its name tries to be misunderstood.
fn stat(pid: u32, born: u64) -> (String, String) {
    let fields = (4..22).map(|i| i.to_string()).collect::<Vec<_>>().join(" ");
    (format!("proc/{pid}/stat"), format!("{pid} (a) b (c)) S {fields} {born} 23 24\n"))
}

/// A tree in which this process is known.
fn tree(files: &[(&str, &str)]) -> Tree {
    let (path, text) = stat(process::id(), 77);
    Tree::new(&[files, &[(&path, &text)]].concat())
}

fn refused(files: &[(&str, &str)], bound: Bound) -> Refused {
    let tree = tree(files);
    let refused =
        Group::create(&tree.0, bound).expect_err("a recorded folder has none of the kernel's files");
    assert!(leftovers(&tree.0).is_empty(), "a refused group leaves nothing behind");
    refused
}

/// Every folder of ours below `root`.
fn leftovers(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            found.extend(leftovers(&entry.path()));
            found.extend(name.starts_with("underhood-").then_some(name));
        }
    }
    found
}

#[test]
fn without_rights_the_commands_are_told() {
    let v1 = refused(&V1, HALF);
    assert!(!v1.limited && v1.why.contains("cpu.cfs_period_us"), "{v1:?}");
    for part in [
        "sys/fs/cgroup/cpu/box && mkdir box && echo '100000' > box/cpu.cfs_period_us",
        " && echo '50000' > box/cpu.cfs_quota_us && echo $$ > box/cgroup.procs",
    ] {
        assert!(v1.commands.contains(part), "{part} is missing in: {}", v1.commands);
    }
    assert!(v1.to_string().contains("as root: cd /"), "{v1}");
    let v1 = refused(&V1, SMALL);
    assert!(v1.commands.contains("echo '134217728' > ") && !v1.commands.contains("memsw"), "{}", v1.commands);
    // The nearest parent that hands the controller on, not our own folder, where processes are.
    let slice = ("sys/fs/cgroup/user.slice/cgroup.subtree_control", "cpu memory pids\n");
    let v2 = refused(&[V2.as_slice(), &[slice]].concat(), HALF);
    assert!(v2.why.contains("cpu.max") && v2.commands.contains("user.slice && mkdir box"), "{v2:?}");
    assert!(v2.commands.contains("echo '50000 100000' > box/cpu.max"), "{v2:?}");
}

#[test]
fn where_no_command_would_help_none_is_told() {
    let nowhere = refused(&[], HALF);
    assert!(nowhere.commands.is_empty() && nowhere.why.contains("controller cpu"), "{nowhere:?}");
    let kept = refused(&V2, SMALL);
    assert!(kept.commands.is_empty() && kept.why.contains("hands on the controller memory"), "{kept:?}");
    let stranger = Group::create(&Tree::new(&V1).0, HALF).unwrap_err();
    assert!(stranger.why.contains("without /proc"), "{stranger:?}");
}

/// v2: a sibling of our folder would not be bound by our limit. v1: a folder below ours is.
#[test]
fn a_limit_is_not_escaped() {
    let slice = ("sys/fs/cgroup/cgroup.subtree_control", "cpu memory\n");
    let own = ("sys/fs/cgroup/user.slice/session-3.scope/memory.max", "1073741824\n");
    let v2 = refused(&[V2.as_slice(), &[slice, own]].concat(), SMALL);
    assert!(v2.limited && v2.commands.is_empty(), "{v2:?}");
    let free = refused(&[V2.as_slice(), &[slice, own]].concat(), HALF);
    assert!(!free.limited && free.commands.contains("cpu.max"), "the CPU is not limited: {free:?}");
    let own = ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1073741824\n");
    let v1 = refused(&[V1.as_slice(), &[own]].concat(), SMALL);
    assert!(v1.limited && v1.commands.contains("sys/fs/cgroup/memory/box && mkdir"), "{v1:?}");
}

#[test]
fn counters_of_both_versions() {
    let tree = Tree::new(&[
        ("v1/cpu.stat", "nr_periods 14\nnr_throttled 13\nthrottled_time 624000000\nnr_bursts 0\n"),
        ("v1/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"),
        ("v1/memory.failcnt", "41\n"),
        ("v1/memory.max_usage_in_bytes", "134217728\n"),
        ("v2/cpu.stat", "usage_usec 5\nuser_usec 3\nnr_periods 14\nnr_throttled 13\nthrottled_usec 624000\n"),
        ("v2/memory.events", "low 0\nhigh 0\nmax 41\noom 2\noom_kill 1\noom_group_kill 0\n"),
        ("v2/memory.peak", "134217728\n"),
        ("bad/cpu.stat", "nr_periods many\nnr_throttled\n\nthrottled_time -3\n"),
        ("bad/memory.oom_control", ""),
    ]);
    let both = Counted {
        periods_count: Some(14),
        throttled_count: Some(13),
        throttled_ns: Some(624_000_000),
        oom_kills_count: Some(1),
        limit_hits_count: Some(41),
        peak_bytes: Some(1 << 27),
    };
    assert_eq!(counted(&tree.0.join("v1"), false), both);
    assert_eq!(counted(&tree.0.join("v2"), true), both);
    assert_eq!(counted(&tree.0.join("bad"), false), Counted::default());
    assert_eq!(counted(&tree.0.join("nothing"), true), Counted::default());
    let own = ("sys/fs/cgroup/cpu/box/cpu.stat", "nr_periods 3\nnr_throttled 0\nthrottled_time 0\n");
    let here = counted_here(&Tree::new(&[V1.as_slice(), &[own]].concat()).0, "cpu");
    assert_eq!((here.periods_count, here.throttled_ns), (Some(3), Some(0)));
}

/// A quota of any parent stops us, and the kernel counts that in the parent.
#[test]
fn the_clock_of_throttled_time_counts_the_parents_too() {
    let stat = |ns: u64| format!("nr_periods 3\nnr_throttled 1\nthrottled_time {ns}\n");
    let (own, parent) = (stat(5), stat(70));
    let files = [("sys/fs/cgroup/cpu/box/cpu.stat", &*own), ("sys/fs/cgroup/cpu/cpu.stat", &*parent)];
    let clock = |files: &[(&str, &str)]| {
        let tree = Tree::new(&[V1.as_slice(), files].concat());
        ThrottledClock::here(&tree.0).and_then(|clock| clock.read_ns())
    };
    assert_eq!(clock(&files), Some(75));
    assert_eq!(clock(&files[..1]), Some(5), "a root without the file has no quota");
    assert_eq!(clock(&[]), None);
}

#[test]
fn a_sweep_takes_what_the_dead_left_and_nothing_else() {
    let (alive, reborn, zombie) = (stat(4242, 100), stat(4243, 900), stat(4244, 100));
    let zombie = (zombie.0, zombie.1.replace(" S ", " Z "));
    let known = [(&*alive.0, &*alive.1), (&reborn.0, &reborn.1), (&zombie.0, &zombie.1)];
    let tree = Tree::new(&[V1.as_slice(), &known].concat());
    let (cpu, memory) = (tree.0.join("sys/fs/cgroup/cpu/box"), tree.0.join("sys/fs/cgroup/memory/box"));
    let of_the_living =
        ["underhood-4242-100-cpu", "underhood-", "underhood-x-1-cpu", "underhood-5", "other-4-1-cpu"];
    for name in of_the_living {
        fs::create_dir(cpu.join(name)).unwrap();
    }
    // Gone; a zombie, which is gone too; gone, and its number given to somebody else; gone, but the group is in use (a folder that is not empty stands for that).
    fs::create_dir(cpu.join("underhood-4241-100-cpu")).unwrap();
    fs::create_dir(cpu.join("underhood-4244-100-cpu")).unwrap();
    fs::create_dir(memory.join("underhood-4243-100-memory")).unwrap();
    fs::create_dir_all(memory.join("underhood-4240-100-memory/x")).unwrap();
    assert_eq!(sweep(&tree.0), 3);
    assert_eq!(sweep(&tree.0), 0);
    let left = |folder: &Path| fs::read_dir(folder).unwrap().flatten().filter(|e| e.path().is_dir()).count();
    assert_eq!((left(&cpu), left(&memory)), (of_the_living.len(), 1));
}

/// The one test with a kernel. Where no group can be made it says why, and that is all it can do.
#[test]
fn a_real_group_binds_and_goes() {
    let root = Path::new("/");
    let group = match Group::create(root, Bound::Memory { bytes: 64 << 20 }) {
        Ok(group) => group,
        Err(why) => return eprintln!("not shown here: {why}"),
    };
    let folder = group.folder().to_path_buf();
    assert!(folder.is_dir());
    // A shell in the group, stopped at a read, so that the group is in use while it is looked at.
    let mut shell = process::Command::new("sh")
        .args([
            "-c",
            "echo $$ > \"$0/cgroup.procs\" && cat /proc/self/cgroup; read x",
            folder.to_str().unwrap(),
        ])
        .stdin(process::Stdio::piped())
        .stdout(process::Stdio::piped())
        .spawn()
        .unwrap();
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(shell.stdout.take().unwrap()));
    let inside = lines.by_ref().map_while(Result::ok).any(|l| l.contains(&name));
    if inside {
        assert!(fs::remove_dir(&folder).is_err(), "a group in use can't be removed");
        assert_eq!(sweep(root), 0, "and this one's maker lives anyway");
    }
    shell.kill().unwrap();
    shell.wait().unwrap();
    drop(group);
    assert!(!folder.exists(), "{} is still there", folder.display());
    assert!(enter(&folder).is_err(), "nobody can enter what is gone");
    if let Ok(cpu) = Group::create(root, HALF) {
        assert_eq!(cpu.counted().throttled_count.unwrap_or(0), 0, "nobody was in it");
    }
}

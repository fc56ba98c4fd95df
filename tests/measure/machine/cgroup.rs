//! Recorded trees of control groups; the texts are as kernels and container engines write them.
use underhood::machine::cgroup::{
    Limit::{self, At, None, Unknown},
    home, limits, memory_left_bytes,
};

use super::Tree;

const GIB: f64 = (1 << 30) as f64;
/// What v1 writes for "no limit" with pages of 4 KiB.
const V1_MAX: &str = "9223372036854771712\n";
const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
const V1_MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:5 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw shared:6 - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
";

#[track_caller]
fn check(flavour: &str, cpu: Limit, memory: Limit, files: &[(&str, &str)]) {
    let tree = Tree::new(files);
    let found = limits(&tree.0);
    assert_eq!((found.flavour, found.cpu_cores, found.memory_bytes), (flavour, cpu, memory));
}

#[test]
fn v2_without_limits() {
    check(
        "v2",
        None,
        None,
        &[
            ("proc/self/cgroup", "0::/user.slice/session-3.scope\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n"),
            ("sys/fs/cgroup/user.slice/session-3.scope/memory.max", "max\n"),
            ("sys/fs/cgroup/user.slice/session-3.scope/cpu.max", "max 100000\n"),
        ],
    );
}

/// In a container with its own namespace the group is "/", and the limit lies in the mount's own folder.
#[test]
fn v2_in_a_namespace() {
    check(
        "v2",
        At(0.5),
        At(GIB),
        &[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
            ("sys/fs/cgroup/cpu.max", "50000 100000\n"),
            ("sys/fs/cgroup/memory.max", "1073741824\n"),
        ],
    );
}

/// The smallest on the way up binds, for each controller by itself.
#[test]
fn v2_parents_bind_too() {
    check(
        "v2",
        At(1.5),
        At(2.0 * GIB),
        &[
            ("proc/self/cgroup", "0::/a/b/c\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/a/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/a/memory.max", "8589934592\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/a/b/memory.max", "2147483648\n"),
            ("sys/fs/cgroup/a/b/c/cpu.max", "400000 100000\n"),
            ("sys/fs/cgroup/a/b/c/memory.max", "max\n"),
            // A sibling does not.
            ("sys/fs/cgroup/a/x/cpu.max", "1000 100000\n"),
        ],
    );
}

#[test]
fn v1_limits_and_their_none() {
    let proc = [
        ("proc/self/cgroup", "5:memory:/box\n3:cpu,cpuacct:/box\n1:name=systemd:/\n"),
        ("proc/self/mountinfo", V1_MOUNTS),
    ];
    let limited = [
        ("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "25000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "50000\n"),
        ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "268435456\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", V1_MAX),
    ];
    check("v1", At(0.5), At(GIB / 4.0), &[proc.as_slice(), &limited].concat());
    let free = [
        ("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", V1_MAX),
    ];
    check("v1", None, None, &[proc.as_slice(), &free].concat());
}

/// An engine without cgroup namespaces: the process sees its long path, and only that folder is mounted.
#[test]
fn v1_mounted_from_its_own_folder_on() {
    check(
        "v1",
        At(2.0),
        At(GIB),
        &[
            ("proc/self/cgroup", "4:memory:/docker/0123\n2:cpu,cpuacct:/docker/0123\n"),
            (
                "proc/self/mountinfo",
                "32 31 0:29 /docker/0123 /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 /docker/0123 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
            ),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "200000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1073741824\n"),
        ],
    );
}

/// Both are mounted and v1 has the controllers: to go by the v2 mount would find no limit at all.
#[test]
fn hybrid_uses_v1() {
    let mounts = format!("{V1_MOUNTS}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    check(
        "hybrid",
        At(0.2),
        At(GIB),
        &[
            ("proc/self/cgroup", "4:memory:/box\n2:cpu,cpuacct:/box\n1:name=systemd:/\n0::/box\n"),
            ("proc/self/mountinfo", &mounts),
            ("sys/fs/cgroup/unified/cgroup.controllers", ""),
            ("sys/fs/cgroup/unified/box/cgroup.controllers", ""),
            ("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_quota_us", "20000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/box/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", "1073741824\n"),
        ],
    );
}

/// Recorded (kernel 6.18; the folder's name changed): each controller by itself in v1, and a v2 hierarchy that has one which nobody asks
/// for. Its `cpu.stat` is there without the controller.
const RECORDED: [(&str, &str); 9] = [
    (
        "proc/self/cgroup",
        "9:name=systemd:/\n8:pids:/\n7:blkio:/\n6:freezer:/\n5:devices:/\n4:memory:/box/12fc9ee0\n3:cpuset:/\n\
         2:cpuacct:/\n1:cpu:/lim\n0::/\n",
    ),
    ("sys/fs/cgroup/unified/cgroup.controllers", "hugetlb\n"),
    ("sys/fs/cgroup/unified/cpu.stat", "usage_usec 60268083134\nuser_usec 49216323346\n"),
    ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n"),
    ("sys/fs/cgroup/cpu/lim/cpu.cfs_quota_us", "50000\n"),
    ("sys/fs/cgroup/cpu/lim/cpu.cfs_period_us", "100000\n"),
    ("sys/fs/cgroup/memory/memory.limit_in_bytes", V1_MAX),
    ("sys/fs/cgroup/memory/box/memory.limit_in_bytes", V1_MAX),
    ("sys/fs/cgroup/memory/box/12fc9ee0/memory.limit_in_bytes", V1_MAX),
];

#[test]
fn a_recorded_hybrid() {
    let mounts = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    let files = [RECORDED.as_slice(), &[("proc/self/mountinfo", mounts)]].concat();
    check("hybrid", At(0.5), None, &files);
}

/// Recorded on the same machine in a mount namespace that has the v2 hierarchy only: what binds is out of sight, and v2's folder
/// must not pass for it.
#[test]
fn a_recorded_v2_mount_beside_hidden_v1_controllers() {
    let files: Vec<_> = RECORDED.into_iter().filter(|(path, _)| path.starts_with("proc")).collect();
    let seen = [
        ("proc/self/mountinfo", "47 46 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 none rw\n"),
        ("sys/fs/cgroup/cgroup.controllers", "hugetlb\n"),
        ("sys/fs/cgroup/cgroup.subtree_control", "\n"),
        ("sys/fs/cgroup/cpu.stat", "usage_usec 60268083134\nuser_usec 49216323346\n"),
    ];
    let files = [files.as_slice(), &seen].concat();
    check("unknown", Unknown, Unknown, &files);
    assert_eq!(home(&Tree::new(&files).0, "cpu"), Option::None);
}

/// A hybrid whose memory is managed by v2 and whose CPU by v1: each controller goes its own way.
#[test]
fn hybrid_by_controller() {
    check(
        "hybrid",
        At(1.0),
        At(GIB),
        &[
            ("proc/self/cgroup", "2:cpu,cpuacct:/box\n0::/unit\n"),
            (
                "proc/self/mountinfo",
                "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
            ),
            ("sys/fs/cgroup/unified/cgroup.controllers", "memory\n"),
            ("sys/fs/cgroup/unified/unit/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/unified/unit/cpu.max", "10000 100000\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_quota_us", "100000\n"),
            ("sys/fs/cgroup/cpu/box/cpu.cfs_period_us", "100000\n"),
        ],
    );
}

/// Only an empty v2 hierarchy can be seen: nobody knows what the controllers allow.
#[test]
fn v2_without_our_controllers_is_unknown() {
    check(
        "v2",
        Unknown,
        Unknown,
        &[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/cgroup.controllers", "\n"),
        ],
    );
}

/// A path outside of the namespace must not lead out of the mount.
#[test]
fn a_path_outside_of_the_namespace_stops_at_the_mount() {
    check(
        "v2",
        At(3.0),
        None,
        &[
            ("proc/self/cgroup", "0::/../../other\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/cpu.max", "300000 100000\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/other/cpu.max", "1000 100000\n"),
        ],
    );
}

#[test]
fn a_mount_point_with_a_space() {
    check(
        "v2",
        At(1.0),
        Unknown,
        &[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", "30 23 0:26 / /my\\040groups rw - cgroup2 cgroup2 rw\n"),
            ("my groups/cpu.max", "100000 100000\n"),
        ],
    );
}

/// Garbage is not "none"; a limit that can be read binds although another folder cannot be understood.
#[test]
fn garbage_is_unknown() {
    for text in ["", "\n", "banana", "max100000", "-5 100000", "50000 0", "50000 banana", "NaN 1"] {
        check(
            "v2",
            Unknown,
            Unknown,
            &[
                ("proc/self/cgroup", "0::/a\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/a/cpu.max", text),
                ("sys/fs/cgroup/a/memory.max", "lots\n"),
            ],
        );
    }
    check(
        "v2",
        At(1.0),
        Unknown,
        &[
            ("proc/self/cgroup", "0::/a/b\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/a/cpu.max", "100000 100000\n"),
            ("sys/fs/cgroup/a/b/cpu.max", "?\n"),
            ("sys/fs/cgroup/a/b/memory.max", "-1\n"),
        ],
    );
    let junk = ":::\n\n7\n0\u{0}::/x\nabc:cpu";
    for (groups, mounts) in [(junk, V2_MOUNT), ("0::/\n", junk), ("0::/\n", "1 2 - cgroup2\n"), ("", "")] {
        let tree = Tree::new(&[("proc/self/cgroup", groups), ("proc/self/mountinfo", mounts)]);
        let found = limits(&tree.0);
        assert_eq!((found.cpu_cores, found.memory_bytes), (Unknown, Unknown), "{groups:?} {mounts:?}");
    }
}

#[test]
fn no_proc() {
    check("none", Unknown, Unknown, &[]);
    check("unknown", Unknown, Unknown, &[("proc/self/cgroup", "0::/\n")]);
}

#[test]
fn the_tightest_limit_on_the_way_up_counts_and_cache_is_no_use() {
    let proc = [("proc/self/cgroup", "0::/a/b\n"), ("proc/self/mountinfo", V2_MOUNT)];
    let outer = [("sys/fs/cgroup/memory.max", "max\n"), ("sys/fs/cgroup/memory.current", "5000000\n")];
    let left = |files: &[&[(&str, &str)]]| memory_left_bytes(&Tree::new(&files.concat()).0);
    assert_eq!(left(&[&proc, &outer]), Option::None, "no limit is no limit, and missing folders are skipped");
    let a = [
        ("sys/fs/cgroup/a/memory.max", "1000000"),
        ("sys/fs/cgroup/a/memory.current", "700000"),
        ("sys/fs/cgroup/a/memory.stat", "anon 100\ninactive_file 200000\n"),
    ];
    let b = [("sys/fs/cgroup/a/b/memory.max", "900000"), ("sys/fs/cgroup/a/b/memory.current", "100000")];
    assert_eq!(left(&[&proc, &outer, &a, &b]), Some(500_000));
    assert_eq!(left(&[&proc, &outer, &b]), Some(800_000));
    let proc = [("proc/self/cgroup", "4:memory:/x\n0::/y\n"), ("proc/self/mountinfo", V1_MOUNTS)];
    let top = [
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", V1_MAX),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1"),
    ];
    let x = [
        ("sys/fs/cgroup/memory/x/memory.limit_in_bytes", "1000"),
        ("sys/fs/cgroup/memory/x/memory.usage_in_bytes", "3000"),
    ];
    assert_eq!(left(&[&proc, &top, &x]), Some(0), "over the limit is no room, not a wrapped number");
    assert_eq!(left(&[&proc, &top]), Option::None);
}

#[test]
fn a_home_is_the_way_down_to_the_own_folder() {
    let mounts = format!("{V1_MOUNTS}41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
    let tree = Tree::new(&[("proc/self/cgroup", "4:memory:/x/y\n0::/u\n"), ("proc/self/mountinfo", &mounts)]);
    let under = |home: &underhood::machine::cgroup::Home| -> Vec<String> {
        home.folders.iter().map(|f| f.strip_prefix(&tree.0).unwrap().to_string_lossy().into_owned()).collect()
    };
    let memory = home(&tree.0, "memory").unwrap();
    assert!(!memory.unified);
    let top = "sys/fs/cgroup/memory";
    assert_eq!(under(&memory), [top.to_string(), format!("{top}/x"), format!("{top}/x/y")]);
    let cpu = home(&tree.0, "cpu").unwrap();
    assert!(cpu.unified, "no v1 line names the CPU, so only v2 can have it");
    assert_eq!(under(&cpu), ["sys/fs/cgroup/unified", "sys/fs/cgroup/unified/u"]);
    assert_eq!(home(&Tree::new(&[]).0, "cpu"), Option::None);
}

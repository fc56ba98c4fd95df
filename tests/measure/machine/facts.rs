//! Facts from recorded roots.
use underhood::{
    machine::{
        Machine, built,
        facts::{cpu_list, facts, ranges},
    },
    show::check::report,
};

use super::Tree;

/// Everything that the issue asks for has an answer, on a machine without a single file as well.
const KEYS: &str = "os kernel cpu cpus_online smt caches cache_line_bytes numa_nodes governor turbo hypervisor container \
    cgroup cpu_limit memory_limit_bytes memory_bytes swap_bytes thp aslr clocksource autogroup free_page_reporting";

#[test]
fn an_empty_root_knows_nothing_and_says_so() {
    let found = facts(&Tree::new(&[]).0);
    for key in KEYS.split_whitespace() {
        assert!(found.contains_key(key), "{key}");
        if !["os", "container", "cgroup"].contains(&key) {
            assert_eq!(found[key], "unknown", "{key}");
        }
    }
    assert_eq!(found["os"], std::env::consts::OS);
    assert_eq!((found["container"].as_str(), found["cgroup"].as_str()), ("none", "none"));
}

#[test]
fn a_guest() {
    let sys = "sys/devices/system";
    let s = |path: &str| format!("{sys}/{path}");
    let (online, active, control) = (s("cpu/online"), s("cpu/smt/active"), s("cpu/smt/control"));
    let cache = |i: usize, name: &str| s(&format!("cpu/cpu0/cache/index{i}/{name}"));
    let caches: Vec<(String, &str)> =
        [("1", "Data", "32K", "0"), ("1", "Instruction", "32K", "0"), ("3", "Unified", "32768K", "0-1")]
            .into_iter()
            .enumerate()
            .flat_map(|(i, (level, kind, size, shared))| {
                [
                    ("level", level),
                    ("type", kind),
                    ("size", size),
                    ("shared_cpu_list", shared),
                    ("coherency_line_size", "64"),
                ]
                .map(|(name, text)| (cache(i, name), text))
            })
            .collect();
    let mut files = vec![
        ("etc/os-release", "NAME=x\nPRETTY_NAME=\"Some Linux 12\"\n"),
        (
            "proc/cpuinfo",
            "processor\t: 0\nmodel name\t: Some CPU\nflags\t\t: fpu hypervisor sse2\n\nprocessor\t: 1\n",
        ),
        ("proc/meminfo", "MemTotal:       1024 kB\nSwapTotal:             0 kB\n"),
        ("proc/sys/kernel/randomize_va_space", "2\n"),
        ("proc/sys/kernel/sched_autogroup_enabled", "1\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n"),
        ("sys/bus/virtio/devices/virtio0/device", "0x0002\n"),
        ("sys/bus/virtio/devices/virtio1/device", "0x0005\n"),
        ("sys/bus/virtio/devices/virtio1/features", "011001010000\n"),
        ("run/.containerenv", ""),
        ("proc/self/cgroup", "0::/kubepods/pod7\n"),
        (&online, "0-1\n"),
        (&active, "0\n"),
        (&control, "notsupported\n"),
    ];
    files.extend(caches.iter().map(|(path, text)| (path.as_str(), *text)));
    let found = facts(&Tree::new(&files).0);
    for (key, value) in [
        ("cpu", "Some CPU"),
        ("cpus_online", "2"),
        ("smt", "none shown"),
        ("caches", "L1d 32K, L3 32768K (cpus 0-1)"),
        ("cache_line_bytes", "64"),
        ("hypervisor", "yes, no name given"),
        ("container", "podman, kubernetes"),
        ("governor", "unknown"),
        ("memory_bytes", "1048576"),
        ("swap_bytes", "0"),
        ("thp", "madvise"),
        ("aslr", "on"),
        ("autogroup", "on"),
        ("free_page_reporting", "on"),
    ] {
        assert_eq!(found[key], value, "{key}");
    }
    assert!(found["os"].ends_with("Some Linux 12"));
}

#[test]
fn a_bare_machine() {
    let files = [
        ("proc/cpuinfo", "model name\t: Some CPU\nflags\t\t: fpu sse2\n"),
        ("proc/self/personality", "00040000\n"),
        ("proc/sys/kernel/randomize_va_space", "2\n"),
        ("sys/devices/system/cpu/smt/active", "1\n"),
        ("sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "powersave\n"),
        ("sys/devices/system/cpu/cpufreq/policy1/scaling_governor", "powersave\n"),
        ("sys/devices/system/cpu/cpufreq/policy2/scaling_governor", "performance\n"),
        ("sys/devices/system/cpu/intel_pstate/no_turbo", "0\n"),
        ("sys/class/dmi/id/sys_vendor", "A Maker\n"),
    ];
    let found = facts(&Tree::new(&files).0);
    assert_eq!(found["hypervisor"], "none");
    assert_eq!(found["smt"], "on");
    assert_eq!(found["turbo"], "on");
    assert_eq!(found["governor"], "performance, powersave");
    assert_eq!(found["aslr"], "off for this process");
}

#[test]
fn garbage_is_unknown() {
    let files = [
        ("proc/meminfo", "MemTotal: many kB\nSwapTotal 0"),
        ("sys/devices/system/cpu/online", "0-banana\n"),
        ("sys/devices/system/node/online", "0-99999999999\n"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "always madvise\n"),
        ("proc/sys/kernel/randomize_va_space", "7\n"),
    ];
    let found = facts(&Tree::new(&files).0);
    for key in ["memory_bytes", "swap_bytes", "cpus_online", "numa_nodes", "thp", "aslr"] {
        assert_eq!(found[key], "unknown", "{key}");
    }
}

#[test]
fn cpu_lists_there_and_back() {
    for (text, cpus) in [("0", vec![0]), ("0-3,8", vec![0, 1, 2, 3, 8]), ("5,7", vec![5, 7])] {
        assert_eq!(cpu_list(text).as_ref(), Some(&cpus));
        assert_eq!(ranges(&cpus), text);
    }
    for text in ["", "x", "1-", "-1", "1,,2"] {
        assert_eq!(cpu_list(text), None, "{text:?}");
    }
}

#[test]
fn the_lock_file_names_the_contenders() {
    let lock = "[[package]]\nname = \"parking_lot\"\nversion = \"0.12.5\"\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\n\n\
        [[package]]\nname = \"parking_lot\"\nversion = \"0.13.0\"\ndependencies = [\n \"x\",\n]\n[[package]]\nname = \"crossbeam-queue\"\nversion = \"0.3.1\"\n";
    assert_eq!(built::versions(lock), "parking_lot 0.12.5, parking_lot 0.13.0, crossbeam-queue 0.3.1");
    let ours = &built::facts()["versions"];
    for name in ["parking_lot 0.12.", "parking_lot 0.13.", "tokio ", "mimalloc ", "loom ", "criterion "] {
        assert!(ours.contains(name), "{name} not in {ours}");
    }
}

#[test]
fn this_machine_answers_everything() {
    let machine = Machine::read();
    let build = "cpus_allowed libc rustc profile rustflags target features versions";
    for key in KEYS.split_whitespace().chain(build.split_whitespace()) {
        assert!(machine.facts.get(key).is_some_and(|v| !v.is_empty()), "{key}");
    }
    assert!(machine.fitness.is_empty() && machine.grades.is_empty());
    let text = report(&machine);
    assert!(machine.facts.iter().all(|(key, _)| text.contains(key)));
    assert!(text.trim_end().lines().last().is_some_and(|l| l.contains("Not examined")));
}

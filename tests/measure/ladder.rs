//! How far memory is: what a working set is, what the machine says of its caches and nodes, and that contenders do equal work. No times.
use std::fs;

use underhood::{
    experiments::ladder::{
        Backing, Layout16, Level, Lines, Spread, Way, caches, chase, check_branches, check_fields, fields,
        lap, node, nodes, on_node, reach, shuffled, size,
    },
    lab::plan::{Mode, Plan},
    machine::allowed_cpus,
};

fn plan() -> Plan {
    Plan::new(Mode::Smoke, allowed_cpus())
}

#[test]
fn a_lap_visits_every_line_that_was_linked_and_no_other() {
    let mut lines = Lines::new(1_000, Backing::Small).unwrap();
    assert_eq!(lap(lines.all(), 3), Some(1), "a line that is not linked is its own next");
    lines.link(&shuffled(1_000, 1));
    assert!((0..1_000).all(|from| lap(lines.all(), from) == Some(1_000)));
    let mut lines = Lines::new(1_000, Backing::Small).unwrap();
    lines.link(&[5, 900, 17]);
    assert_eq!(lap(lines.all(), 5), Some(3));
    assert_eq!(lap(lines.all(), 6), Some(1));
    // Two lines lead to one, so a walk that begins at the other one never comes back.
    lines.link(&[1, 2]);
    lines.link(&[2, 3]);
    assert_eq!(lap(lines.all(), 1), None);
}

#[test]
fn a_random_order_has_every_place_once() {
    let mut places = shuffled(10_000, 7);
    assert_ne!(places, (0..10_000).collect::<Vec<_>>());
    assert_ne!(places, shuffled(10_000, 8));
    places.sort_unstable();
    assert_eq!(places, (0..10_000).collect::<Vec<_>>());
}

#[test]
fn the_sizes_of_caches_are_read_from_the_system() {
    let root = tempfile::tempdir().unwrap();
    let write = |index: usize, level: &str, kind: &str, size: &str| {
        let folder = root.path().join(format!("sys/devices/system/cpu/cpu3/cache/index{index}"));
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in [("level", level), ("type", kind), ("size", size)] {
            fs::write(folder.join(name), format!("{text}\n")).unwrap();
        }
    };
    assert_eq!(caches(root.path(), 3), Vec::<usize>::new());
    write(0, "1", "Data", "32K");
    write(1, "1", "Instruction", "64K");
    write(3, "3", "Unified", "32M");
    write(2, "2", "Unified", "512K");
    assert_eq!(caches(root.path(), 3), [32 << 10, 512 << 10, 32 << 20]);
    assert_eq!(caches(root.path(), 0), Vec::<usize>::new(), "another CPU");
}

#[test]
fn a_working_set_fits_its_level_and_not_the_one_before() {
    let [l1, l2, l3] = [32 << 10, 1 << 20, 32 << 20];
    let of = |level| size(level, &[l1, l2, l3]).unwrap();
    assert!(of(Level::L1) < l1);
    assert!((l1 + 1..l2).contains(&of(Level::L2)));
    assert!((l2 + 1..l3).contains(&of(Level::L3)));
    assert!(of(Level::Memory) > 2 * l3);
    assert!(size(Level::L3, &[l1, 2 << 20, 4 << 20]).unwrap_err().contains("twice"));
    assert!(size(Level::Memory, &[l1, l2, 512 << 20]).unwrap_err().contains("MiB"));
    assert!(size(Level::L1, &[l1, l2]).unwrap_err().contains("three levels"));
}

#[test]
fn the_nodes_of_the_allowed_cpus_are_read_from_the_system() {
    let root = tempfile::tempdir().unwrap();
    let write = |node: usize, cpus: &str| {
        let folder = root.path().join(format!("sys/devices/system/node/node{node}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("cpulist"), format!("{cpus}\n")).unwrap();
    };
    assert!(nodes(root.path(), &[0, 1]).is_empty());
    write(1, "4-7");
    write(0, "0-3");
    write(2, "8-11");
    assert_eq!(nodes(root.path(), &[1, 2, 5]), [(0, vec![1, 2]), (1, vec![5])]);
}

#[test]
fn where_pages_lie_is_read_from_the_mapping_that_holds_them() {
    let maps = "7f0000000000 default anon=4 dirty=4 N0=4 kernelpagesize_kB=4\n\
                7f0000200000 default anon=40 dirty=40 N0=10 N1=30 kernelpagesize_kB=4\n\
                7f0000800000 default file=/lib/N1=7 mapped=3 N0=3 kernelpagesize_kB=4\n";
    assert_eq!(on_node(maps, 0x7f00_0020_0000, 1), Some(0.75));
    assert_eq!(on_node(maps, 0x7f00_0030_0000, 0), Some(0.25), "a block inside of a mapping");
    assert_eq!(on_node(maps, 0x7f00_0000_0000, 1), Some(0.0));
    assert_eq!(on_node(maps, 0x1000, 0), None);
    assert_eq!(on_node("", 0x1000, 0), None);
}

#[test]
fn contenders_do_equal_work() {
    assert_eq!(check_branches(), Ok(()));
    assert_eq!(check_fields(), Ok(()));
    // One field is the first one, and after the last record comes the first again.
    let sums = |layout, all| [10, 10, 5].map(|n| fields(layout, all, 10)(n));
    assert_eq!(sums(Layout16::Structs, false), sums(Layout16::Arrays, false));
    let mut one = fields(Layout16::Structs, false, 10);
    let mut twice = fields(Layout16::Structs, false, 10);
    assert_eq!(one(10) + one(10), twice(20));
    assert_eq!(fields(Layout16::Structs, false, 10)(2), 7);
}

#[test]
fn a_chase_says_what_it_touched_or_why_there_is_none() {
    for way in [Way::Random, Way::InOrder, Way::FourAtOnce] {
        match chase(&plan(), way, Level::L1) {
            Ok(sample) => {
                let l1 = caches(std::path::Path::new("/"), allowed_cpus()[0])[0] as f64;
                assert!(sample.values["set_bytes"] <= l1, "{sample:?}");
            }
            // A loaded machine may interrupt all of so few blocks; another one may not tell its caches.
            Err(why) => assert!(why.contains("caches") || why.contains("CPU"), "{why}"),
        }
    }
    for spread in [Spread::Packed, Spread::Small] {
        match reach(&plan(), spread, 256) {
            Ok(sample) => assert!((sample.values["set_bytes"] - 16_384.0).abs() < 0.5, "{sample:?}"),
            Err(why) => assert!(why.contains("CPU"), "{why}"),
        }
    }
    if nodes(std::path::Path::new("/"), &allowed_cpus()).len() < 2 {
        assert!(node(&plan(), true).unwrap_err().contains("one NUMA node"));
    }
}

//! What a Java's output says: recorded from OpenJDK 17 (`tests/jvm/*.log`, with the commands), and lines made up for cases that it does
//! not show, as marked. Whether there is a Java here or not.
use std::{ffi::OsStr, fs, path::Path};

use underhood::experiments::jvm::{Ran, Safepoint, find, parse, safepoint};

/// What a recording holds between its marks, counted by hand (awk): stops, ns to safepoint and in all, and what the marks say.
struct Recording {
    text: &'static str,
    stops: usize,
    reach_ns: u64,
    total_ns: u64,
    ops: u64,
    wall_ns: u64,
    wait_max_ns: u64,
}

const fn recording(
    text: &'static str,
    stops: usize,
    [reach_ns, total_ns]: [u64; 2],
    [ops, wall_ns, wait_max_ns]: [u64; 3],
) -> Recording {
    Recording { text, stops, reach_ns, total_ns, ops, wall_ns, wait_max_ns }
}

const RECORDED: [Recording; 5] = [
    recording(include_str!("jvm/g1.log"), 17, [1_498_277, 11_314_393], [671, 30_341_944, 3_445_233]),
    recording(include_str!("jvm/serial.log"), 39, [4_479_031, 10_161_376], [1298, 30_013_516, 1_460_266]),
    recording(include_str!("jvm/parallel.log"), 14, [4_646_079, 17_696_221], [514, 30_391_227, 7_593_140]),
    recording(include_str!("jvm/z.log"), 17, [1_204_862, 1_758_936], [120, 31_706_764, 2_807_044]),
    recording(include_str!("jvm/shenandoah.log"), 10, [3_372_984, 5_234_422], [118, 204_051_745, 4_047_478]),
];

#[test]
fn the_log_of_each_collector_is_understood() {
    for r in RECORDED {
        let command = r.text.lines().next().unwrap();
        let ran = parse(r.text).unwrap_or_else(|why| panic!("{command}: {why}"));
        let sum = |of: fn(&Safepoint) -> u64| ran.safepoints.iter().map(of).sum::<u64>();
        assert_eq!((ran.safepoints.len(), ran.ops, ran.wall_ns), (r.stops, r.ops, r.wall_ns), "{command}");
        assert_eq!(
            (sum(|s| s.reach_ns), sum(|s| s.reach_ns + s.stopped_ns)),
            (r.reach_ns, r.total_ns),
            "{command}"
        );
        assert_eq!(ran.wait_max_ns, r.wait_max_ns, "{command}");
        // Every line that is no mark and no remark is a safepoint, so none was passed over.
        let told = r.text.lines().filter(|l| l.starts_with('['));
        assert!(told.clone().count() > 4 && told.map(safepoint).all(|s| s.is_some()), "{command}");
    }
}

/// Made up after those: few enough for a person to check, with a line of another tag between.
const MADE_UP: &str = "\
[0.101s][info][safepoint] Safepoint \"G1CollectFull\", Time since last: 90119323 ns, Reaching safepoint: 81000 ns, Cleanup: 7000 ns, At safepoint: 12000000 ns, Total: 12088000 ns
underhood begin
[0.303s][info][safepoint] Safepoint \"G1CollectForAllocation\", Time since last: 34066217 ns, Reaching safepoint: 88502 ns, Cleanup: 7651 ns, At safepoint: 2460088 ns, Total: 2556241 ns
[0.330s][info][safepoint] Safepoint \"G1CollectForAllocation\", Time since last: 25572042 ns, Reaching safepoint: 87670 ns, Cleanup: 7251 ns, At safepoint: 1063641 ns, Total: 1158562 ns
[0.331s][info][gc       ] GC(3) Pause Young (Normal) (G1 Evacuation Pause) 150M->10M(256M) 1.1ms
[0.358s][info][safepoint] Safepoint \"G1TryInitiateConcMark\", Time since last: 26716634 ns, Reaching safepoint: 90455 ns, Cleanup: 7721 ns, At safepoint: 955351 ns, Total: 1053527 ns
underhood end 3617 302246266
[0.559s][info][safepoint] Safepoint \"Halt\", Time since last: 26716634 ns, Reaching safepoint: 455 ns, Cleanup: 21 ns, At safepoint: 5351 ns, Total: 5827 ns
underhood victim 6046025 32
";

#[test]
fn pauses_are_those_between_the_marks() {
    let ran = Ran { bytes: 1 << 31, ..parse(MADE_UP).unwrap() };
    let at = |reach_ns, stopped_ns| Safepoint { reach_ns, stopped_ns };
    let safepoints = vec![at(88_502, 2_467_739), at(87_670, 1_070_892), at(90_455, 963_072)];
    assert_eq!(
        ran,
        Ran { safepoints, ops: 3617, bytes: 1 << 31, wall_ns: 302_246_266, wait_max_ns: 6_046_025 }
    );
    let sample = ran.sample("c", "p");
    for (name, expected) in [
        ("pause_ns", 1_070_892.0),
        ("pause_max_ns", 2_467_739.0),
        ("reach_ns", 88_502.0),
        ("collections_count", 3.0),
        ("stops_per_gib_count", 1.5),
        ("op_ns", 302_246_266.0 / 3617.0),
        ("gc_share", 4_768_330.0 / 302_246_266.0),
    ] {
        let value = sample.values[name];
        assert!((value - expected).abs() <= 1e-9 * expected, "{name}: {value}, not {expected}");
    }
}

#[test]
fn a_world_that_never_stopped_has_no_pause() {
    let ran = parse("underhood begin\nunderhood end 10 1000\nunderhood victim 7 32\n").unwrap();
    let sample = ran.sample("c", "p");
    assert!(!sample.values.contains_key("pause_ns"), "absent, not zero");
    assert!(sample.values["collections_count"] < 0.5 && sample.values["gc_share"] < 1e-9);
}

/// Made up after the format of the source: other parts between, no decorations.
#[test]
fn other_versions_have_other_parts() {
    let newer = "Safepoint \"ICBufferFull\", Time since last: 1 ns, Reaching safepoint: 10 ns, At safepoint: 80 ns, Leaving safepoint: 9 ns, Total: 99 ns";
    assert_eq!(safepoint(newer), Some(Safepoint { reach_ns: 10, stopped_ns: 89 }));
    for line in [
        "",
        "Total: 5 ns",
        "Safepoint \"X\", Reaching safepoint: 5 ms, Total: 9 ns",
        "Safepoint \"X\", Reaching safepoint: 50 ns, Total: 9 ns",
        "Safepoint \"X\", Reaching safepoint: 5 ns, Total: many ns",
    ] {
        assert_eq!(safepoint(line), None, "{line}");
    }
}

#[test]
fn what_is_not_understood_is_said() {
    let odd = MADE_UP.replace("Total: 1158562 ns", "Total: 1.158 ms");
    assert!(parse(&odd).unwrap_err().contains("not understood"));
    assert!(parse("").unwrap_err().contains("lacks `underhood end`"));
    assert!(
        parse(&MADE_UP.replace("underhood end 3617", "underhood end lots of"))
            .unwrap_err()
            .contains("no numbers")
    );
    assert!(
        parse(&MADE_UP.replace("underhood victim", "victim"))
            .unwrap_err()
            .contains("lacks `underhood victim`")
    );
}

#[test]
fn java_is_looked_for_at_home_first() {
    let root = tempfile::tempdir().unwrap();
    let file = |folder: &str| {
        let folder = root.path().join(folder);
        fs::create_dir_all(&folder).unwrap();
        let file = folder.join(format!("java{}", std::env::consts::EXE_SUFFIX));
        fs::write(&file, "").unwrap();
        (folder, file)
    };
    let ((_, at_home), (folder, on_path)) = (file("jdk/bin"), file("usr/bin"));
    let home = root.path().join("jdk");
    let path = std::env::join_paths([Path::new("/nowhere"), &folder]).unwrap();
    let (home, path) = (Some(home.as_os_str()), Some(path.as_os_str()));
    assert_eq!(find("java", home, path), Some(at_home));
    assert_eq!(find("java", None, path), Some(on_path.clone()));
    assert_eq!(find("java", Some(OsStr::new("/nowhere")), path), Some(on_path));
    assert_eq!(find("javac", home, path), None);
    assert_eq!(find("java", None, None), None);
}

//! `underhood try`: what a shape may be, what is refused and how, that the shapes beside the labs are the labs' own steps, and that a
//! shape's records are known to every other command.
use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread,
};

use crate::all::labs;
use underhood::{
    cli::shape::{
        self, SHIPPED,
        column::{self, Column},
        given::{Given, Shape, ShapeError, TRY},
        subject::SUBJECTS,
    },
    contenders::{
        measured::{Measured, write_trace},
        workload::{DRAWN, Times},
    },
    lab::Origin,
    machine::allowed_cpus,
};

fn underhood(store: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let mut c = Command::new(env!("CARGO_BIN_EXE_underhood"));
    c.arg("--store").arg(store).args(words).stdin(Stdio::null()).env_remove("UNDERHOOD_STORE");
    let Output { status, stdout, stderr } = c.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

fn shape(text: &str) -> Result<Shape, String> {
    Given::toml(text).and_then(|g| g.shape(2)).map_err(|e| e.to_string())
}

const TWO: [&str; 14] = [
    "try",
    "lock",
    "--threads",
    "4x",
    "--launches",
    "3",
    "--reads",
    "95%",
    "--hold",
    "300ns",
    "--with",
    "std_mutex,std_rwlock",
    "--smoke",
    "--anyway",
];

#[test]
fn a_shape_is_measured_answered_and_known_to_the_other_commands() {
    let store = tempfile::tempdir().unwrap();
    let (code, out, err) = underhood(store.path(), &TWO);
    assert_eq!(code, Some(3), "a smoke run is never quotable: {out}{err}");
    let threads = 4 * allowed_cpus().len();
    let asked = format!("{threads} threads, 1 lock, 95 % reads, held for 300 ns: which lock?");
    for part in [asked.as_str(), "std RwLock", "How sure:", "Say: no"] {
        assert!(out.contains(part), "{part} is missing: {out}");
    }
    let file = fs::read_dir(store.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let stem =
        file.filter_map(|f| f.strip_suffix(".jsonl").map(str::to_string)).next().expect("records are kept");
    assert!(stem.starts_with("try_lock_"), "{stem}");

    let (code, out, err) = underhood(store.path(), &["show", &stem]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("std RwLock") && out.contains("order"), "{out}");
    let (code, out, _) = underhood(store.path(), &["quote", &stem]);
    assert_eq!(code, Some(3), "{out}");
    let words = out.split_whitespace().collect::<Vec<_>>().join(" ");
    let repeat =
        format!("-- try lock --threads {threads} --reads 95% --hold 300ns --with std_mutex,std_rwlock");
    assert!(words.contains(&repeat), "{words}");
    let (code, page, err) = underhood(store.path(), &["report", "-o", "-"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(page.contains(&stem), "the report has the shape");
    let dir = store.path().to_str().unwrap();
    let (_, out, err) = underhood(store.path(), &["compare", dir, dir, "--anyway"]);
    assert!(out.contains(&stem) && out.contains("std RwLock"), "{out}{err}");
    let (_, out, _) = underhood(store.path(), &["list"]);
    assert!(!out.contains(&stem), "a shape is no lab of the table of contents: {out}");
}

#[test]
fn a_record_of_a_shape_can_be_verified_and_tried_again_by_its_name() {
    let store = tempfile::tempdir().unwrap();
    let json = [&TWO[..], &["--json"]].concat();
    let (_, out, err) = underhood(store.path(), &json);
    let row = |step: &str| {
        let lines = out.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
        lines
            .into_iter()
            .find(|v| v["case"] == "std_rwlock" && v["step"] == step)
            .unwrap_or_else(|| panic!("{err}"))
    };
    for step in ["order", "axes"] {
        let (code, out, err) = underhood(store.path(), &["verify", row(step)["id"].as_str().unwrap()]);
        // A smoke run says nothing: whether the two agree is chance, but neither is quotable.
        assert!(code == Some(3) || (code == Some(1) && out.contains("differs")), "{out}{err}");
        assert!(out.contains(&format!("/ {step}: std RwLock")), "{out}");
    }
    let stem = row("order")["lab"].as_str().unwrap().to_string();
    let (code, out, err) = underhood(store.path(), &["try", &stem, "--smoke", "--anyway"]);
    assert_eq!(code, Some(3), "{out}{err}");
    assert!(out.contains(&stem), "{out}");
    let (code, _, err) = underhood(store.path(), &["try", &stem, "--threads", "3"]);
    assert_eq!(code, Some(2), "{err}");
    assert!(err.contains("stored shape"), "{err}");
}

#[test]
fn a_debug_build_refuses_to_measure_a_shape() {
    let store = tempfile::tempdir().unwrap();
    let (code, out, err) = underhood(store.path(), &["try", "lock", "--threads", "2", "--with", "std_mutex"]);
    if cfg!(debug_assertions) {
        assert_eq!(code, Some(4), "{out}{err}");
        assert!(out.contains("refused") && out.contains("--release"), "{out}");
    }
}

#[test]
fn impossible_words_are_refused_in_one_sentence() {
    let store = tempfile::tempdir().unwrap();
    let try_lock = |words: &[&str]| underhood(store.path(), &[&["try", "lock"], words].concat());
    for (words, hint) in [
        (&["--threads", "0"][..], "at least 1"),
        (&["--threads", "many"], "write 8"),
        (&["--threads", "100000"], "at most 4096"),
        (&["--reads", "101%"], "at most 100%"),
        (&["--reads", "95"], "the % is missing"),
        (&["--reads", "half"], "write 95%"),
        (&["--hold", "300"], "the unit is missing"),
        (&["--hold", "-5ns"], "negative"),
        (&["--hold", "soon"], "is not a time"),
        (&["--hold", "2s"], "at most 1 s"),
        (&["--hold", "900ms"], "longer than the slice"),
        (&["--think", "1"], "the unit is missing"),
        (&["--locks", "0"], "at least 1"),
        (&["--locks", "99999999999999"], "MiB"),
        (&["--locks", "2000000"], "at most 1000000"),
        (&["--with", "std_mutx"], "did you mean 'std_mutex'"),
        (&["--way", "alone", "--threads", "2"], "one thread"),
        (&["--way", "windows", "--locks", "2"], "way \"loop\""),
        (&["--way", "windows", "--reads", "99.5%"], "whole percent"),
        (&["--skew", "zipf"], "does not have this key"),
        (&["--hold", "0ns,1us", "--reads", "1%,2%"], "not both"),
        (&["--hold", "none.csv"], "can't be read"),
    ] {
        let (code, out, err) = try_lock(words);
        assert_eq!(code, Some(2), "{words:?}: {out}{err}");
        assert!(err.contains(hint), "{words:?} does not say {hint}: {err}");
        assert_eq!(err.trim().lines().count(), 1, "{words:?}: one sentence: {err}");
    }
    for (words, hint) in [
        (&["try"][..], "try lock --threads 8"),
        (&["try", "lok"], "did you mean 'lock'"),
        (&["try", "none.toml"], "can't be read"),
        (&["try", "try_lock_00000000"], "no record"),
        (&["try", "map", "--hold", "1us"], "does not have this key"),
        (&["try", "map", "--reads", "99.7%"], "whole percent"),
        (&["try", "--print", "servise"], "did you mean 'service'"),
    ] {
        let (code, out, err) = underhood(store.path(), words);
        assert_eq!(code, Some(2), "{words:?}: {out}{err}");
        assert!(err.contains(hint), "{words:?} does not say {hint}: {err}");
    }
    assert_eq!(fs::read_dir(store.path()).unwrap().count(), 0, "nothing was kept of it");
}

#[test]
fn a_file_that_is_no_shape_says_what_is_wrong() {
    for (text, hint) in [
        ("hlod = \"300ns\"", "did you mean 'hold'"),
        ("hold = 300", "the unit is missing"),
        ("hold = true", "numbers and texts"),
        ("hold = [\"1us\"", "not TOML"),
        ("threads = -1", "is not a count"),
        ("with = []", "at least one contender"),
        ("subject = \"lokc\"", "did you mean 'lock'"),
        ("way = \"lop\"", "did you mean 'loop'"),
        ("threads = [1, 2]", "one value"),
    ] {
        let error = shape(text).expect_err(text);
        assert!(error.contains(hint), "{text}: {error}");
    }
}

#[test]
fn more_threads_than_cpus_are_measured_and_what_they_can_not_show_is_said() {
    let store = tempfile::tempdir().unwrap();
    let words = [
        "try",
        "lock",
        "--threads",
        "4x",
        "--with",
        "std_mutex,mutex",
        "--smoke",
        "--anyway",
        "--hold",
        "1us",
    ];
    let (code, out, err) = underhood(store.path(), &words);
    assert_eq!(code, Some(3), "{out}{err}");
    let out = out.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(out.contains("CPUs here") && out.contains("It can't show"), "{out}");
}

#[test]
fn a_shape_reads_its_own_text_and_its_own_words_again() {
    for shipped in SHIPPED {
        let shape = shape(shipped.text).unwrap_or_else(|e| panic!("{}: {e}", shipped.name));
        assert_eq!(Shape::of(&shape.text()).as_ref(), Some(&shape), "{}", shipped.name);
        let words = shape.words().expect("it names no file");
        let mut given = Given::default();
        let mut words = words.split(' ').skip(1);
        given.say("subject", vec![words.next().unwrap().into()]).unwrap();
        while let Some(flag) = words.next() {
            let values = words.next().expect("each flag has a value").split(',').map(str::to_string);
            given.say(flag.trim_start_matches("--"), values.collect()).unwrap();
        }
        let again = Shape { reproduces: shape.reproduces.clone(), ..given.shape(2).unwrap() };
        assert_eq!(again, shape, "{}", shipped.name);
    }
}

#[test]
fn no_lab_is_called_as_a_shape() {
    assert!(labs().iter().all(|l| !l.stem.starts_with(TRY)));
    assert!(SUBJECTS.iter().all(|s| s.name().bytes().all(|b| b.is_ascii_lowercase())));
}

/// A shape file that says which step it reproduces builds that step: the same contenders in the same order, the same way to measure
/// (kind, headline and launches), the same parameters.
#[test]
fn the_shapes_of_labs_are_their_steps() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("labs/shapes");
    let files = fs::read_dir(folder)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().path().extension().is_some_and(|x| x == "toml"));
    assert_eq!(files.count(), SHIPPED.len(), "every shape file is embedded");
    let mut reproduced = 0;
    for shipped in SHIPPED {
        assert!(shipped.text.starts_with("# "), "{} says what it is about", shipped.name);
        let shape = Given::toml(shipped.text).and_then(|g| g.shape(allowed_cpus().len())).unwrap();
        let Some(of) = &shape.reproduces else { continue };
        let mine = shape::lab(&shape, Origin::ours("")).expect("its contenders are here");
        let (lab, step) = of.split_once('/').expect("lab/step");
        let theirs = labs().iter().find(|l| l.stem == lab).unwrap_or_else(|| panic!("{of}: no such lab"));
        let theirs =
            theirs.steps.iter().find(|s| s.name == step).unwrap_or_else(|| panic!("{of}: no such step"));
        let mine = &mine.steps[0];
        assert_eq!(mine.cases(), theirs.cases(), "{of}: contenders");
        assert_eq!(
            (mine.kind, mine.headline, mine.launch),
            (theirs.kind, theirs.headline, theirs.launch),
            "{of}"
        );
        // One point alone needs no name.
        if mine.params() != [""] || theirs.params() != [""] {
            assert_eq!(mine.params, theirs.params, "{of}: parameters");
        }
        reproduced += 1;
    }
    assert!(reproduced >= 12, "{reproduced} labs' steps");
}

fn csv(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("times.csv");
    fs::write(&path, text).unwrap();
    (dir, path)
}

fn read(text: &str) -> Result<Column, ShapeError> {
    let (_dir, path) = csv(text);
    column::times(&path, None, "hold")
}

#[test]
fn a_column_of_times_is_read_with_its_unit() {
    let values = |text: &str| read(text).unwrap().values_ns;
    assert_eq!(values("hold_ns\n300\n100\n200\n"), [100.0, 200.0, 300.0]);
    assert_eq!(values("hold_us\r\n1.5\r\n2\r\n"), [1500.0, 2000.0]);
    assert_eq!(values("300ns\n1us\n"), [300.0, 1000.0]);
    assert_eq!(values("op;hold_ns;think_ns\nread;5;9\nwrite;7;9\n"), [5.0, 7.0]);
    assert_eq!(values("\"hold_ns\"\n\n5\n\n6\n"), [5.0, 6.0]);
}

#[test]
fn a_column_that_is_none_is_refused_with_its_line() {
    for (text, hint) in [
        ("", "has no values"),
        ("hold_ns\n", "has no values"),
        ("hold_ns\n5\n", "one value"),
        ("hold_ns\n5\nabc\n6\n", "line 3: 'abc' is not a time"),
        ("hold_ns\n5\n-6\n", "line 3: -6 is negative"),
        ("5\n6\n", "has no unit"),
        ("a,b,c\n1,2,3\n1,2,3\n", "its columns are a, b, c"),
        ("1ns,2ns\n1ns,2ns\n", "without names"),
        ("other_ns,think_ns\n1,2\n1,2\n", "has no column hold_ns"),
        ("hold_ns,think_ns\n1,2\n\"\",2\n", "line 3: '' is not a time"),
    ] {
        let error = read(text).expect_err(text).to_string();
        assert!(error.contains(hint), "{text:?}: {error}");
    }
    let (_dir, path) = csv("a_ns,b_ns\n1,2\n3,4\n");
    assert_eq!(column::times(&path, Some("b_ns"), "hold").unwrap().values_ns, [2.0, 4.0]);
    let error = column::times(&path, Some("c_ns"), "hold").unwrap_err().to_string();
    assert!(error.contains("no column 'c_ns'"), "{error}");
    fs::write(&path, [b"hold_ns\n5\n\xff\xfe\n".as_slice(), &[b'1'; 100_000]].concat()).unwrap();
    assert!(column::times(&path, None, "hold").unwrap_err().to_string().contains("line 3: it is not text"));
    fs::write(&path, [b"hold_ns\n".as_slice(), &[b'1'; 100_000]].concat()).unwrap();
    assert!(column::times(&path, None, "hold").unwrap_err().to_string().contains("longer than 64 KiB"));
}

#[test]
fn of_a_long_column_a_bounded_sample_stands_for_the_whole() {
    let text: String =
        std::iter::once("hold_ns\n".to_string()).chain((0..200_000).map(|i| format!("{i}\n"))).collect();
    let column = read(&text).unwrap();
    assert_eq!((column.of, column.values_ns.len()), (200_000, DRAWN));
    // 65,536 of 200,000 at random: a quantile of them is off by less than a fiftieth of the range.
    for (i, value) in column.values_ns.iter().enumerate() {
        let expected = (i as f64 + 0.5) / DRAWN as f64 * 200_000.0;
        assert!((value - expected).abs() < 4_000.0, "{i}: {value}, not about {expected}");
    }
}

#[test]
fn drawn_times_have_the_mean_that_was_asked_for() {
    let values = Times::Exponential(300.0).values();
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    assert!((mean / 300.0 - 1.0).abs() < 0.01, "{mean}");
    let measured = Times::Measured(vec![100.0, 300.0]).with_mean(400.0);
    assert_eq!(measured, Times::Measured(vec![200.0, 600.0]));
}

/// What a measured lock notes is what `--from-trace` reads.
#[test]
fn what_a_measured_lock_notes_can_be_tried() {
    use std::sync::{Mutex, RwLock};
    let (mutex, rwlock) = (Measured::new(Mutex::new(0)), Measured::new(RwLock::new(0)));
    thread::scope(|s| {
        for _ in 0..2 {
            s.spawn(|| {
                for _ in 0..50 {
                    *mutex.lock().unwrap() += 1;
                    *rwlock.write().unwrap() += 1;
                    assert!(*rwlock.read().unwrap() > 0);
                    assert!(*rwlock.read().unwrap() > 0);
                }
            });
        }
    });
    assert_eq!((mutex.into_inner().into_inner().unwrap(), *rwlock.read().unwrap()), (100, 100));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.csv");
    // Of each thread all but its first operation; other threads of this process may have noted some, too.
    let noted = write_trace(&path).unwrap();
    assert!(noted >= 2 * (4 * 50 - 1), "{noted}");
    let share = column::reads_share(&path).unwrap().expect("a column op");
    assert!((share - 0.5).abs() < 0.02, "{share}");
    let words =
        ["try", "--from-trace", path.to_str().unwrap(), "--threads", "2", "--with", "std_mutex,std_rwlock"];
    let (code, out, err) = underhood(dir.path(), &[&words[..], &["--smoke", "--anyway"]].concat());
    assert_eq!(code, Some(3), "{out}{err}");
    assert!(out.contains("on average (measured)"), "{out}");
}

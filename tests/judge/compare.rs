//! Two stores side by side: what may be compared, what is refused, and what the ratio says.
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::common::*;
use underhood::{
    judge::between::{Shown, Thing, pairs},
    record::{Record, Store},
    stats,
};

fn with(records: &[Record], change: impl Fn(&mut Record)) -> Vec<Record> {
    records.iter().map(|r| changed(r, &change)).collect()
}

fn fact(key: &'static str, value: &'static str) -> impl Fn(&mut Record) {
    move |r| {
        r.machine.facts.insert(key.into(), value.into());
    }
}

/// Every value of a case times this.
fn scaled(records: &[Record], case: &str, by: f64) -> Vec<Record> {
    with(records, |r| {
        if r.case == case {
            r.launches.iter_mut().for_each(|s| s.values.values_mut().for_each(|v| *v *= by));
        }
    })
}

#[test]
fn the_ratio_of_launches_that_are_no_pairs() {
    // By hand: logs 0 and 2 against 1 and 1; error sqrt(1), one degree of freedom.
    let (e2, e1) = (2f64.exp(), 1f64.exp());
    let r = stats::unpaired(&[1.0, e2], &[e1, e1]).unwrap();
    assert!(
        (r.mid - 1.0).abs() < 1e-12 && (r.hi.ln() - 12.706).abs() < 1e-3 && (r.lo.ln() + 12.706).abs() < 1e-3,
        "{r:?}"
    );
    // Equal spreads and sizes are the pooled test: n = 2 x 5, 8 degrees of freedom.
    let (a, b) = (around(2.0), around(1.0));
    let r = stats::unpaired(&a, &b).unwrap();
    let logs: Vec<f64> = b.iter().map(|v| v.ln()).collect();
    let mean = logs.iter().sum::<f64>() / 5.0;
    let variance = logs.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / 4.0;
    assert!((r.mid - 2.0).abs() < 1e-12);
    assert!((r.hi.ln() - 2f64.ln() - 2.306 * (variance * 2.0 / 5.0).sqrt()).abs() < 1e-6, "{r:?}");
    let exact = stats::unpaired(&[6.0, 6.0], &[3.0, 3.0, 3.0]).unwrap();
    assert!((exact.lo - 2.0).abs() < 1e-12 && (exact.hi - 2.0).abs() < 1e-12 && exact.n == 2);
    for (a, b) in [(&[][..], &[1.0][..]), (&[1.0], &[0.0]), (&[-1.0], &[1.0]), (&[f64::NAN], &[1.0])] {
        assert_eq!(stats::unpaired(a, b), None);
    }
}

#[test]
fn the_same_twice_shows_no_difference_and_a_real_one_shows() {
    let (a, b) = (reads_run("run-01"), reads_run("run-02"));
    let found = pairs(&[lab()], &a, &b, false);
    assert_eq!(found.len(), 1);
    assert!(found[0].differs.is_empty() && found[0].unlike().is_none(), "{:?}", found[0].differs);
    assert_eq!(found[0].rows.len(), 4, "the A/A row is no contender");
    assert!(found[0].rows.iter().all(|r| matches!(r.shown, Shown::NoDifference(_))), "{found:?}");
    let slower = scaled(&b, "rwlock", 0.5);
    for row in &pairs(&[lab()], &a, &slower, false)[0].rows {
        match (&row.shown, row.a.case.as_str()) {
            (Shown::Differs(ratio), "rwlock") => assert!((ratio.mid - 0.5).abs() < 0.01, "{ratio:?}"),
            (Shown::NoDifference(_), "mutex") => {}
            other => panic!("{other:?}"),
        }
    }
    // One per cent lies within what the A/A rows show.
    let near = scaled(&b, "rwlock", 1.01);
    assert!(
        pairs(&[lab()], &a, &near, false)[0].rows.iter().all(|r| matches!(r.shown, Shown::NoDifference(_)))
    );
}

#[test]
fn one_thing_may_differ_and_two_may_not() {
    let (a, b) = (reads_run("run-01"), reads_run("run-02"));
    let unlike = |b: &[Record]| {
        let found = pairs(&[lab()], &a, b, false);
        let things: Vec<Thing> = found[0].differs.iter().map(|d| d.thing).collect();
        (things, found[0].unlike())
    };
    let other_cpu = with(&b, fact("cpu", "Another CPU"));
    assert_eq!(unlike(&other_cpu), (vec![Thing::Machine], None));
    let other_build = with(&b, fact("revision", "ba9876543210"));
    assert_eq!(unlike(&other_build), (vec![Thing::Build], None));
    let (things, why) = unlike(&with(&other_cpu, fact("revision", "ba9876543210")));
    assert_eq!(things, [Thing::Machine, Thing::Build]);
    assert!(why.unwrap().contains("both differ"));
    let (_, why) = unlike(&with(&b, |r| r.threads = 4));
    assert!(why.unwrap().contains("different ways"));
    // Changes that no revision names are a difference, even beside the same changes.
    let changes = |records: &[Record]| with(records, fact("dirty", "true"));
    let (a, b) = (changes(&a), changes(&b));
    let found = pairs(&[lab()], &a, &b, false);
    assert_eq!(found[0].differs.len(), 1, "{:?}", found[0].differs);
    assert_eq!(found[0].differs[0].fact, "changes");
}

#[test]
fn what_may_not_be_quoted_or_did_other_work_is_not_compared() {
    let (a, b) = (reads_run("run-01"), reads_run("run-02"));
    let doubted = with(&b, |r| (r.quotable, r.doubts) = (false, vec!["a noisy machine".into()]));
    let found = pairs(&[lab()], &a, &doubted, false);
    assert!(found[0].rows.iter().all(|r| r.shown == Shown::Cannot("a noisy machine".into())), "{found:?}");
    let found = pairs(&[lab()], &a, &doubted, true);
    assert!(found[0].rows.iter().all(|r| matches!(r.shown, Shown::NoDifference(_))));
    let work = |n: f64| {
        move |r: &mut Record| {
            for s in &mut r.launches {
                s.values.insert("work_per_op_count".into(), n);
            }
        }
    };
    let (light, heavy) = (with(&a, work(1.0)), with(&b, work(2.0)));
    let found = pairs(&[lab()], &light, &heavy, true);
    assert!(
        found[0].rows.iter().all(|r| matches!(&r.shown, Shown::Cannot(why) if why.contains("unequal work")))
    );
    // Without an A/A row nobody knows the smallest difference.
    let bare: Vec<Record> = b.iter().filter(|r| r.case != underhood::lab::sample::AA).cloned().collect();
    let found = pairs(&[lab()], &a, &bare, true);
    assert!(found[0].rows.iter().all(|r| matches!(&r.shown, Shown::Cannot(why) if why.contains("A/A"))));
}

fn run(words: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_underhood"))
        .args(words)
        .env("COLUMNS", "200")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

/// What the notes cite of a lab, changed, as a store.
fn store(lab: &str, change: impl Fn(&mut Record)) -> tempfile::TempDir {
    let cited = Store::open(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/records"));
    let records = with(&cited.load(lab).unwrap().records, change);
    assert!(!records.is_empty(), "{lab} is cited");
    let dir = tempfile::tempdir().unwrap();
    Store::open(dir.path()).append(&records).unwrap();
    dir
}

#[test]
fn compare_from_outside() {
    let lab = "lock_spin";
    let words =
        |a: &Path, b: &Path| ["compare".to_string(), a.display().to_string(), b.display().to_string()];
    let compare = |a: &Path, b: &Path, more: &[&str]| {
        let words = words(a, b);
        let words: Vec<&str> = words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        run(&words)
    };
    let a = store(lab, |r| r.machine.facts.insert("code".into(), "aaaa".into()).map_or((), drop));
    let b = store(lab, |r| {
        r.machine.facts.insert("code".into(), "bbbb".into());
        if r.case == "ticket" {
            r.launches.iter_mut().for_each(|s| s.values.values_mut().for_each(|v| *v *= 3.0));
        }
    });
    let (_, out, err) = compare(a.path(), b.path(), &[]);
    assert!(out.contains("build: code was aaaa, is bbbb"), "{out}{err}");
    let ticket =
        out.lines().find(|l| l.trim_start().starts_with("ticket lock: ")).unwrap_or_else(|| panic!("{out}"));
    assert!(ticket.contains(": 3") && !ticket.contains("no difference"), "{ticket}");
    let tas =
        out.lines().find(|l| l.trim_start().starts_with("test-and-set: ")).unwrap_or_else(|| panic!("{out}"));
    assert!(tas.contains("no difference shown"), "{tas}");
    // Another machine as well: refused, unless somebody insists; then it is never quotable.
    let c = store(lab, |r| {
        r.machine.facts.insert("code".into(), "cccc".into());
        r.machine.facts.insert("cpu".into(), "Another \u{1b}[31mCPU".into());
    });
    let (code, out, _) = compare(a.path(), c.path(), &[]);
    assert_eq!(code, Some(4), "{out}");
    assert!(
        out.contains("machine: cpu was") && out.contains("refused: ") && !out.contains("ticket lock: "),
        "{out}"
    );
    assert!(!out.contains('\u{1b}'), "{out}");
    let (code, out, _) = compare(a.path(), c.path(), &["--anyway"]);
    assert_eq!(code, Some(3), "{out}");
    assert!(out.contains("compared anyway") && out.contains("ticket lock: "), "{out}");
    let (_, out, _) = compare(a.path(), b.path(), &["--json"]);
    let lines: Vec<serde_json::Value> = out.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert!(
        lines.iter().any(|l| l["case"] == "ticket" && l["shown"]["differs"]["mid"].as_f64().is_some()),
        "{out}"
    );
    // Nothing to compare is said, not passed over.
    let empty = tempfile::tempdir().unwrap();
    let (code, _, err) = compare(a.path(), empty.path(), &[]);
    assert_eq!(code, Some(1), "{err}");
    let (code, _, err) = compare(a.path(), &empty.path().join("gone"), &[]);
    assert_eq!(code, Some(2), "{err}");
    let other = store("cache_line", |_| ());
    let (code, _, err) = compare(a.path(), other.path(), &[]);
    assert_eq!(code, Some(1));
    assert!(err.contains("no step in common"), "{err}");
}

//! Quiz and export from outside, on the records that the notes cite.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::all::labs;
use serde_json::Value;
use underhood::{
    lab::plan::Mode,
    record::{Record, Store},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn underhood(store: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_underhood"))
        .args(words)
        .arg("--store")
        .arg(store)
        .env_remove("UNDERHOOD_STORE")
        .env("COLUMNS", "200")
        .stdin(Stdio::null())
        .output()
        .expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout), text(&out.stderr))
}

/// A store with what the notes cite of one lab.
fn cited(lab: &str) -> (tempfile::TempDir, Vec<Record>) {
    let dir = tempfile::tempdir().unwrap();
    let records = Store::open(root().join("tests/records")).load(lab).unwrap().records;
    assert!(!records.is_empty(), "{lab} is cited");
    Store::open(dir.path()).append(&records).unwrap();
    (dir, records)
}

/// The records that the notes would cite: the pooled run of each step.
fn speaking(records: &[Record]) -> Vec<Record> {
    let labs: Vec<_> = labs().iter().collect();
    let all = underhood::record::pool::with_pools(&labs, records.to_vec());
    let pooled: Vec<Record> = all.into_iter().filter(|r| r.pooled.is_some()).collect();
    assert!(!pooled.is_empty(), "several sessions are cited");
    pooled
}

#[test]
fn without_a_terminal_the_quiz_is_a_sheet_of_questions_and_answers() {
    let (store, records) = cited("lock_rwlock");
    let (code, out, err) = underhood(store.path(), &["quiz", "--seed", "7"]);
    assert_eq!(code, Some(0), "{err}");
    let order: Vec<usize> = labs()
        .iter()
        .map(|l| out.find(&format!(": {}\n", l.question)).expect("every question is asked"))
        .collect();
    assert!(!order.is_sorted(), "in random order");
    assert_eq!(err.matches("no terminal: printing the answers").count(), 1, "{err}");
    assert_eq!(underhood(store.path(), &["quiz", "--seed", "7"]).1, out, "the same seed, the same order");
    assert_ne!(underhood(store.path(), &["quiz", "--seed", "8"]).1, out);
    // The model answer is measured: it carries the ids of records, and where there are none, no number.
    let said: Vec<&str> = out.lines().filter(|l| l.starts_with("Say: ")).collect();
    assert!(!said.is_empty() && said.len() <= 4, "{said:?}");
    assert!(records.iter().any(|r| out.contains(&r.id)), "{out}");
    let untold = |lab: &&underhood::lab::Lab| lab.steps.iter().all(|s| s.withdrawn.is_none());
    let unmeasured = out.matches("No number of yours: not measured yet.").count();
    assert!((labs().iter().filter(untold).count() - 1..labs().len()).contains(&unmeasured), "{out}");
    // A single lab that was not run is answered by the notes, and that is said.
    let (_, one, _) = underhood(store.path(), &["quiz", "lock_mutex"]);
    assert!(one.contains("You have not run this lab.") && one.contains("Say: "), "{one}");
    assert!(out.contains("Made before a run: none yet"), "{out}");
    let (_, out, _) = underhood(store.path(), &["quiz", "lock_rwlock", "--count", "1", "--json"]);
    let lines: Vec<Value> =
        out.lines().map(|l| serde_json::from_str(l).expect("every line is JSON")).collect();
    assert_eq!(lines[0]["lab"], "lock_rwlock");
    assert!(!lines[0]["answer"]["sentences"].as_array().unwrap().is_empty());
    assert_eq!(lines.len(), 3, "one question, two calibrations");
}

/// All labs teach how sessions vary, whichever lab is asked for.
#[test]
fn every_command_gives_a_number_the_same_bracket() {
    let (dir, _) = cited("lock_rwlock");
    let bracket = || -> String {
        let (_, out, _) = underhood(dir.path(), &["quote", "lock_rwlock"]);
        let from = out.find('[').expect("a bracket");
        out[from..].split_inclusive(']').next().unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let alone = bracket();
    for lab in ["lock_mutex", "lock_spin", "lockfree_queue", "cache_scaling"] {
        let (more, records) = cited(lab);
        drop(more);
        Store::open(dir.path()).append(&records).unwrap();
    }
    let beside = bracket();
    assert_ne!(alone, beside, "other labs' sessions count");
    let page = dir.path().join("page.html");
    let (code, _, err) = underhood(dir.path(), &["report", "lock_rwlock", "-o", page.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{err}");
    assert!(fs::read_to_string(page).unwrap().contains(&beside), "{beside}");
}

#[test]
fn a_quote_has_the_reason_of_its_own_rows() {
    let (dir, _) = cited("lock_rwlock");
    let (_, out, _) = underhood(dir.path(), &["quote", "lock_rwlock"]);
    let why = out.lines().find(|l| l.starts_with("Why")).expect("a reason");
    // The sentence is about a long hold, and the first reason of the lab about short ones.
    assert!(out.contains("hold the lock for 5 us") && why.contains("If the hold is long"), "{out}");
}

#[cfg(unix)]
#[test]
fn the_quiz_asks_reveals_and_keeps_score() {
    use crate::terminal::{asks_for_a_guess, at_terminal, flat};
    let (store, _) = cited("flow_rate_limit");
    let words = ["quiz", "flow_rate_limit"];
    // From nothing to everything: the truth is inside, unless a case is asked for, of which 1 is the first.
    let answer = |shown: &str| match asks_for_a_guess(shown) {
        true if shown.contains("from the list") => "1".into(),
        true => "0..1e18".into(),
        false => String::new(),
    };
    let Some((code, out)) = at_terminal(store.path(), &words, answer) else { return };
    let out = flat(&out);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("In numbers: ") && out.contains("You said ") && out.contains("Say: "), "{out}");
    assert!(out.contains("Made in a quiz: the measured value was inside "), "{out}");
    let (kept, _) = Store::open(store.path()).predictions().unwrap();
    assert_eq!(kept.len(), 1);
    assert!(kept[0].recalled, "what is remembered is no prediction");
    // What is recalled wrongly does not make a lab surprising.
    let (_, list, _) = underhood(store.path(), &["list"]);
    assert!(!list.contains("missed prediction"), "{list}");
    let stop = |_: &str| "q".to_string();
    let Some((code, out)) = at_terminal(store.path(), &["quiz"], stop) else { return };
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("1 of ") && !out.contains("2 of "), "q ends it: {out}");
}

/// Rows of RFC 4180.
fn rows(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell, mut inside) = (Vec::new(), Vec::new(), String::new(), false);
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if inside && chars.peek() == Some(&'"') => cell.extend(chars.next()),
            '"' => inside = !inside,
            ',' if !inside => row.push(std::mem::take(&mut cell)),
            '\r' if !inside => {}
            '\n' if !inside => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    assert!(cell.is_empty() && row.is_empty(), "ends with a line end");
    rows
}

#[test]
fn a_table_has_every_value_and_no_formula() {
    let (store, mut records) = cited("lock_rwlock");
    let mut hostile = records[0].clone();
    hostile.case = "=1+1,\"x\"\n\u{1b}[31m".into();
    hostile.quotable = false;
    let hostile = hostile.seal();
    Store::open(store.path()).append(std::slice::from_ref(&hostile)).unwrap();
    records.push(hostile);
    let (code, out, err) = underhood(store.path(), &["export", "--csv"]);
    assert_eq!(code, Some(0), "{err}");
    let rows = rows(&out);
    let column = |name: &str| rows[0].iter().position(|c| c == name).expect(name);
    assert!(rows.iter().all(|r| r.len() == rows[0].len()), "every row has every column");
    for r in &records {
        let headline = rows
            .iter()
            .find(|row| row[column("id")] == r.id && row[column("headline")] == "true")
            .unwrap_or_else(|| panic!("{} is missing", r.id));
        let mid = headline[column("mid")].parse::<f64>().ok();
        // The interval in the record is that of the program that wrote it. Which launches of a run count was decided otherwise once.
        assert_eq!(mid, r.interval_of(&r.headline).map(|i| i.mid), "to the last digit");
        assert!(mid.is_some() || !headline[column("doubts")].is_empty(), "no number without a reason");
    }
    assert!(!out.contains('\u{1b}'));
    assert!(rows.iter().any(|r| r[column("case")].starts_with("'=1+1")), "a formula is made harmless");
    assert!(rows.iter().any(|r| r[column("quotable")] == "false"), "what may not be quoted says so");
}

#[test]
fn a_deck_holds_what_may_be_quoted_and_nothing_else() {
    let (store, records) = cited("lock_rwlock");
    let file = store.path().join("deck.csv");
    let (code, out, err) =
        underhood(store.path(), &["export", "--anki", "lock_rwlock", "-o", file.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (Some(0), ""), "{err}");
    let text = fs::read_to_string(&file).unwrap();
    let (head, cards): (Vec<&str>, Vec<&str>) = text.split('\n').partition(|l| l.starts_with('#'));
    assert!(head.contains(&"#separator:comma") && head.contains(&"#guid column:1"), "{head:?}");
    let cards = rows(&cards.join("\n"));
    assert!(cards.len() >= 2 && cards.iter().all(|c| c.len() == 4), "{cards:?}");
    let mut ids: Vec<&String> = cards.iter().map(|c| &c[0]).collect();
    ids.dedup();
    assert_eq!(ids.len(), cards.len(), "every card has an id of its own");
    let lab = labs().iter().find(|l| l.stem == "lock_rwlock").unwrap();
    assert_eq!(cards[0][1], lab.question);
    for card in &cards {
        assert!(
            card[2].contains("CPUs, ") && card[2].contains("Why: "),
            "machine and mechanism are on the back: {card:?}"
        );
        assert!(speaking(&records).iter().any(|r| r.quotable && card[2].contains(&r.id)), "{card:?}");
    }
    // Nothing quotable, no card.
    let doubted: Vec<Record> = records
        .iter()
        .map(|r| {
            let mut r = r.clone();
            (r.quotable, r.doubts) = (false, vec!["a test".into()]);
            r.seal()
        })
        .collect();
    let other = tempfile::tempdir().unwrap();
    Store::open(other.path()).append(&doubted).unwrap();
    let (code, out, err) = underhood(other.path(), &["export", "--anki"]);
    assert_eq!((code, out.as_str()), (Some(3), ""), "{err}");
}

#[test]
fn markdown_and_json_carry_the_records() {
    let (store, records) = cited("lock_rwlock");
    let (code, out, err) = underhood(store.path(), &["export", "--md"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("\n## lock_rwlock\n") && out.contains("\n**Say:**"), "{out}");
    // Without the limit of NOTES.md no row is left out.
    assert!(speaking(&records).iter().filter(|r| r.quotable).all(|r| out.contains(&r.id)), "{out}");
    let (code, out, err) = underhood(store.path(), &["export", "--json"]);
    assert_eq!(code, Some(0), "{err}");
    let lines: Vec<Record> = out.lines().map(|l| serde_json::from_str(l).expect("a record")).collect();
    assert_eq!(lines, records, "nothing is lost");
}

#[test]
fn an_export_needs_one_form_and_something_to_export() {
    let empty = tempfile::tempdir().unwrap();
    for words in [
        &["export"][..],
        &["export", "--csv", "--md"],
        &["export", "--csv", "--json"],
        &["export", "nolab", "--md"],
    ] {
        assert_eq!(underhood(empty.path(), words).0, Some(2), "{words:?}");
    }
    let (code, _, err) = underhood(empty.path(), &["export", "--csv"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("no records"), "{err}");
    let (store, _) = cited("lock_rwlock");
    let nowhere = store.path().join("no/such/folder/x.csv");
    let (code, _, err) = underhood(store.path(), &["export", "--csv", "-o", nowhere.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(err.contains("x.csv") && !err.contains("panicked"), "{err}");
}

/// Of a copy of the notes: what changes is named, what does not is left alone, and a quick run does not take a default run's place.
#[test]
fn writing_the_notes_names_what_it_changes() {
    let (store, records) = cited("lock_rwlock");
    let dir = tempfile::tempdir().unwrap();
    let (notes, kept) = (dir.path().join("NOTES.md"), dir.path().join("kept"));
    fs::copy(root().join("NOTES.md"), &notes).unwrap();
    let words = ["notes", "--file", notes.to_str().unwrap(), "--records", kept.to_str().unwrap()];
    let write = || {
        let (code, out, err) = underhood(store.path(), &words);
        assert_eq!(code, Some(0), "{out}{err}");
        out
    };
    let out = write();
    let file = kept.join("lock_rwlock.jsonl");
    assert!(out.contains(&format!("changed {}: 0 records replaced by ", file.display())), "{out}");
    assert!(out.contains(&format!("changed {}\n", notes.display())), "{out}");
    let out = write();
    assert!(
        out.contains("nothing changed") && !out.contains("changed /"),
        "written twice is written once: {out}"
    );
    let again = |mode: Mode, at: &str| {
        let of_step = records.iter().filter(|r| r.step == "alone");
        let newest = of_step.clone().max_by(|a, b| a.at.cmp(&b.at)).expect("there are some").run.clone();
        let newer: Vec<Record> = of_step
            .filter(|r| r.run == newest)
            .map(|r| Record {
                mode,
                at: at.into(),
                run: at.into(),
                quotable: true,
                doubts: Vec::new(),
                ..r.clone()
            })
            .map(Record::seal)
            .collect();
        Store::open(store.path()).append(&newer).unwrap();
    };
    again(Mode::Quick, "2999-01-01T00:00:00Z");
    assert!(write().contains("nothing changed"), "a quick run is not cited");
    again(Mode::Full, "2998-01-01T00:00:00Z");
    let out = write();
    assert!(out.contains(" of alone\n") && !out.contains("0 records replaced"), "{out}");
}

//! The measured blocks of NOTES.md: written from records and checked against them; what is folded away has at most 25 lines.
use crate::common::*;
use underhood::{
    judge::cited::{cited, speaking},
    lab::{Contender, Lab, Step, at},
    record::Record,
    show::notes,
};

const PAGE: &str = "# Notes\nby hand\n\n<!-- underhood:begin demo_lock -->\nSTALE\n<!-- underhood:end demo_lock -->\n\nmore by hand";

fn all() -> Vec<Record> {
    let mut records = reads_run("run-01");
    records.extend(touch_run("run-02"));
    records
}

#[test]
fn notes_are_written_between_the_markers_and_nowhere_else() {
    let text = notes::render(PAGE, &[lab()], &all()).unwrap();
    assert!(text.starts_with("# Notes\nby hand\n\n<!-- underhood:begin demo_lock -->\n**When is"), "{text}");
    assert!(text.ends_with("\n<!-- underhood:end demo_lock -->\n\nmore by hand"), "{text}");
    assert!(!text.contains("STALE"));
    let records = all();
    for part in [
        "| 400 ns | 1.650 [1.634, 1.666] M/s (",
        "no difference shown (",
        "shows no difference under 2.0 % (",
        "- `touch` (shows a difference of ",
        ": **held**: The first touch takes at least ten times as long as the call, 40",
        "\n**Say:** With 2 threads",
        "\n**Not true when** somebody writes.",
        "\n**Why**\n\n1. ",
        "- Say: With 2 threads",
        "Not true when somebody writes.",
        "- Measured 2026-11-01 and 2026-11-02 on Example CPU 3000",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    for r in &records {
        assert!(text.contains(&r.id), "each number carries the id of its record: {} {}", r.case, r.param);
    }
    assert_eq!(notes::render(&text, &[lab()], &records).unwrap(), text, "written twice, the same bytes");
    assert_eq!(notes::check(&text, &[lab()], &records).unwrap(), []);
}

#[test]
fn an_edited_number_is_found() {
    let text = notes::render(PAGE, &[lab()], &all()).unwrap();
    let edited = text.replacen("5.20 [5.15", "5.90 [5.15", 1);
    assert_ne!(edited, text);
    let found = notes::check(&edited, &[lab()], &all()).unwrap();
    assert_eq!(found.len(), 1);
    let m = &found[0];
    assert_eq!(m.lab, "demo_lock");
    assert_eq!(edited.lines().nth(m.line - 1).unwrap(), m.found);
    assert!(m.found.contains("5.90") && m.expected.contains("5.20"));
    // Every other digit of the block, too.
    let start = text.find("begin demo_lock").unwrap();
    let end = text.find("<!-- underhood:end").unwrap();
    for (i, c) in text.char_indices().filter(|(i, c)| (start..end).contains(i) && c.is_ascii_digit()) {
        let mut edited = text.clone();
        edited.replace_range(i..=i, if c == '9' { "0" } else { "9" });
        assert_eq!(notes::check(&edited, &[lab()], &all()).unwrap().len(), 1, "{c} at {i}");
    }
    // Lines too many, too few.
    let longer = text.replacen("<!-- underhood:end", "made up\n<!-- underhood:end", 1);
    let found = notes::check(&longer, &[lab()], &all()).unwrap();
    assert_eq!((found.len(), found[0].expected.as_str(), found[0].found.as_str()), (1, "", "made up"));
    let shorter: String =
        text.lines().filter(|l| !l.starts_with("- Measured")).map(|l| format!("{l}\n")).collect();
    assert!(!notes::check(&shorter, &[lab()], &all()).unwrap().is_empty());
    // What people write outside is theirs.
    assert_eq!(notes::check(&text.replace("by hand", "9.99"), &[lab()], &all()).unwrap(), []);
    // Records that are gone are a difference, not a pass.
    assert!(!notes::check(&text, &[lab()], &[]).unwrap().is_empty());
}

#[test]
fn the_cited_records_are_enough() {
    let mut store = all();
    store.extend(reads_run("run-07"));
    store.extend(reads_run("run-03"));
    let few = cited(lab(), &store);
    assert_eq!(few.len(), store.len(), "the sessions of the one step speak together");
    assert_eq!(cited(lab(), &few), few);
    // Other code has no part in what the newest says.
    let other =
        |r: &Record| changed(r, |r| drop(r.machine.facts.insert("code".into(), "0123456789ab".into())));
    let store: Vec<Record> =
        store.iter().map(|r| if r.run == "run-07" { r.clone() } else { other(r) }).collect();
    let few = cited(lab(), &store);
    assert_eq!(few.len(), 8, "one run of each step");
    assert!(few.iter().all(|r| r.run == "run-07" || r.run == "run-02"));
    assert_eq!(cited(lab(), &few), few);
    let text = notes::render(PAGE, &[lab()], &store).unwrap();
    assert_eq!(notes::check(&text, &[lab()], &few).unwrap(), []);
}

#[test]
fn the_newest_complete_quotable_run_speaks() {
    let runs = |records: &[Record]| -> Vec<String> {
        let mut runs: Vec<String> = speaking(lab(), records).into_iter().map(|r| r.run).collect();
        runs.dedup();
        runs
    };
    let mut records = reads_run("run-01");
    // Newer, but without the rows at 400 ns.
    records.extend(reads_run("run-09").into_iter().take(3));
    assert_eq!(runs(&records), ["run-01"]);
    // Newer and complete, but one row may not be quoted.
    let mut partly = reads_run("run-08");
    partly[1] = changed(&partly[1], |r| {
        r.quotable = false;
        r.doubts = vec!["somebody was compiling".into()];
    });
    records.extend(partly.clone());
    assert_eq!(runs(&records), ["run-01"]);
    // With nothing better, it speaks, and the row says why it has no number.
    assert_eq!(runs(&partly), ["run-08"]);
    let text = notes::render(PAGE, &[lab()], &partly).unwrap();
    assert!(text.contains("| not quotable here [1] |"), "{text}");
    assert!(text.contains("\n- Not quotable here: [1] somebody was compiling.\n"), "{text}");
    assert!(!text.contains("no difference shown ("), "{text}");
    assert!(text.contains("5.20 [5.15, 5.25] M/s"), "the other rows keep their numbers");
}

#[test]
fn the_same_reason_is_given_once_below_the_tables() {
    let barred = |r: &Record, why: &str| {
        changed(r, |r| {
            r.quotable = false;
            r.doubts = vec![why.into()];
        })
    };
    let mut records = all();
    for (at, why) in [(0, "somebody was compiling"), (3, "a | b"), (4, "somebody was compiling")] {
        records[at] = barred(&records[at], why);
    }
    let text = notes::render(PAGE, &[lab()], &records).unwrap();
    assert_eq!(text.matches("not quotable here [1]").count(), 2, "{text}");
    assert_eq!(text.matches("not quotable here [2]").count(), 1, "{text}");
    assert!(text.contains("- Not quotable here: [1] somebody was compiling; [2] a \\| b.\n"), "{text}");
    // Of the rows that are left out no reason is given, and the line of reasons counts.
    let (lab, records) = big(12, 6, 5);
    let records: Vec<Record> =
        records.iter().enumerate().map(|(i, r)| barred(r, &format!("why {i}"))).collect();
    let text = notes::render(PAGE, &[&lab], &records).unwrap();
    assert!(folded(&text) <= notes::MOST_LINES, "{text}");
    assert_eq!(text.matches("not quotable here [").count(), text.matches("] why ").count(), "{text}");
}

#[test]
fn a_lab_without_records_says_so() {
    let text = notes::render(PAGE, &[lab()], &[]).unwrap();
    assert!(text.contains("Not measured yet: `cargo run --release --bin demo_lock"), "{text}");
    assert_eq!(notes::check(&text, &[lab()], &[]).unwrap(), []);
}

#[test]
fn line_ends_of_the_other_kind_are_kept() {
    let page = PAGE.replace('\n', "\r\n");
    let text = notes::render(&page, &[lab()], &all()).unwrap();
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    assert_eq!(notes::render(&text, &[lab()], &all()).unwrap(), text);
    assert_eq!(notes::check(&text, &[lab()], &all()).unwrap(), []);
}

#[test]
fn wrong_markers_are_errors_with_their_line() {
    let begin = "<!-- underhood:begin demo_lock -->\n";
    let end = "<!-- underhood:end demo_lock -->\n";
    let cases = [
        ("nothing\nhere\n".to_string(), 2, "no `<!-- underhood:begin demo_lock -->`"),
        (String::new(), 0, "no `<!--"),
        (format!("x\n{begin}y\n"), 2, "never ends"),
        (format!("x\n{end}"), 2, "ends without a begin"),
        (format!("{begin}{begin}{end}"), 2, "begins inside `demo_lock` of line 1"),
        (format!("{begin}{end}\n{begin}{end}"), 4, "has a block in line 1 already"),
        (format!("{begin}<!-- underhood:end other -->\n"), 2, "ends where `demo_lock` of line 1 is open"),
        (format!("{begin}{end}<!-- underhood:begin other -->\n"), 3, "there is no lab `other`"),
        (format!("{begin}{end}<!-- underhood:start demo_lock -->\n"), 3, "a marker is"),
        (format!("{begin}{end}<!--underhood:begin demo_lock-->\n"), 3, "a marker is"),
        (format!("{begin}{end}<!-- underhood:begin demo_lock --> and more\n"), 3, "a marker is"),
    ];
    for (text, line, what) in cases {
        for error in [
            notes::render(&text, &[lab()], &[]).unwrap_err(),
            notes::check(&text, &[lab()], &[]).unwrap_err(),
        ] {
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(error.to_string().contains(what), "{text:?}: {error}");
        }
    }
    assert_eq!(notes::render("no labs, no markers", &[], &[]).unwrap(), "no labs, no markers");
}

/// Lines of the folded part, without the empty ones at its ends.
fn folded(text: &str) -> usize {
    let at = |what: &str| text.lines().position(|l| l.contains(what)).expect("a folded part");
    at("</details>") - at("<details>") - 3
}

/// A lab with so many steps, each with the given cases at the given parameters, and a complete run of it.
fn big(steps: usize, cases: usize, params: usize) -> (Lab, Vec<Record>) {
    let names = |stem: &str, n: usize| -> &'static [&'static str] {
        let names: Vec<&'static str> = (0..n).map(|i| &*format!("{stem}{i}").leak()).collect();
        names.leak()
    };
    let params: &[&str] = if params == 0 { &[""] } else { names("p", params) };
    let step = |name: &&'static str| {
        altered(touch(), |s| {
            s.name = name;
            s.contenders = names("c", cases).iter().map(|c| Contender::new(c)).collect();
            s.params = params.iter().map(|p| at(p, ()).param).collect();
        })
    };
    let steps: Vec<Step> = names("step", steps).iter().map(step).collect();
    let mut records = Vec::new();
    for (i, s) in steps.iter().enumerate() {
        for p in s.params() {
            for (k, c) in s.cases().into_iter().enumerate() {
                records.push(record(s, &format!("run-{:02}", i + 1), c, p, &around(100.0 + k as f64)));
            }
        }
    }
    (Lab { steps, ..lab().clone() }, records)
}

#[test]
fn a_block_has_at_most_25_lines_and_says_what_it_leaves_out() {
    for (steps, cases, params) in [(1, 5, 0), (3, 5, 4), (3, 6, 0), (2, 12, 10), (8, 5, 0), (12, 6, 5)] {
        let (lab, records) = big(steps, cases, params);
        let text = notes::render(PAGE, &[&lab], &records).unwrap();
        assert!(folded(&text) <= notes::MOST_LINES, "{steps} {cases} {params}: {} lines", folded(&text));
        let read =
            text.lines().skip_while(|l| !l.contains(":begin")).take_while(|l| !l.contains("<details>"));
        assert!(read.into_iter().all(|l| l.chars().count() <= 300), "what is read has short lines: {text}");
        let numbers = text.matches(" us").count() + text.matches(" ns").count();
        let shown = records.iter().filter(|r| text.contains(&r.id)).count();
        assert!(numbers > 0 && shown > 0);
        assert_eq!(
            shown < records.len(),
            text.contains("more rows are in the records"),
            "{steps} {cases} {params}:\n{text}"
        );
        assert_eq!(notes::check(&text, &[&lab], &records).unwrap(), []);
    }
}

#[test]
fn the_table_of_labs_is_written_from_the_records() {
    let text = "before\n<!-- underhood:begin labs -->\nold\n<!-- underhood:end labs -->\nafter\n";
    let new = notes::readme(text, &[lab()], &all()).unwrap();
    assert!(
        new.starts_with("before\n<!-- underhood:begin labs -->\n\n**Other**\n\n| lab |")
            && new.ends_with("-->\nafter\n"),
        "{new}"
    );
    let row = new
        .lines()
        .find(|l| l.starts_with("| [`demo_lock`](NOTES.md#demo_lock)"))
        .expect("a row for the lab");
    assert!(row.contains(lab().question) && !row.contains("not measured"), "{row}");
    let answer = row.rsplit(" | ").next().expect("an answer");
    assert!(!answer.contains('[') && !answer.contains('('), "as one would say it: {answer}");
    assert_eq!(notes::readme(&new, &[lab()], &all()).unwrap(), new, "written twice is written once");
    assert!(notes::readme(&new, &[lab()], &[]).unwrap().contains("| not quotable here: not measured yet |"));
    assert!(
        notes::readme("no markers", &[lab()], &[]).unwrap_err().to_string().contains("underhood:begin labs")
    );
}

#[test]
fn the_index_and_the_table_of_sessions_are_blocks_of_their_own() {
    let general = "<!-- underhood:begin index -->\n<!-- underhood:end index -->\n<!-- underhood:begin sessions -->\nold\n<!-- underhood:end sessions -->\n";
    let page = format!("{general}{PAGE}");
    let text = notes::render(&page, &[lab()], &all()).unwrap();
    assert!(text.contains(&format!("- [{}](#demo_lock) `demo_lock`\n", lab().question)), "{text}");
    assert!(text.contains("No step has three sessions yet"), "{text}");
    assert_eq!(notes::check(&text, &[lab()], &all()).unwrap(), []);
    let found = notes::check(&text.replace("three sessions", "two sessions"), &[lab()], &all()).unwrap();
    assert_eq!(found[0].lab, "sessions");
}

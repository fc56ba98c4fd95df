//! The renderers on hand-made records: digits, tables, quotes, and strings that mean harm. The notes are in `notes.rs`.
use crate::common::*;
use underhood::{
    judge::judge,
    lab::{
        Kind, Lab, Launch, Say, Step, pick,
        sample::{AA, Sample},
    },
    record::Record,
    show::{
        Look, notes,
        quote::{in_full as quote, quote as short},
        table,
    },
    stats::Interval,
    words::number,
};

const PLAIN: Look = Look { width: 80, color: false, plain: true, all: true };
const ALL: Look = Look { width: 80, color: false, plain: false, all: true };

/// The row of a variant below its setting.
fn row<'a>(text: &'a str, setting: &str, variant: &str) -> &'a str {
    let mut below = text.lines().skip_while(|l| l.trim_end() != format!("{setting}:"));
    let row = below.find(|l| l.trim_start().starts_with(variant));
    row.unwrap_or_else(|| panic!("{setting}, {variant}\n{text}"))
}

fn interval(mid: f64, lo: f64, hi: f64) -> Interval {
    Interval { mid, lo, hi, n: 5 }
}

/// No control character but the line's end, and nothing wider than asked.
fn assert_tame(text: &str, width: usize) {
    for line in text.lines() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.chars().count() <= width, "{} columns: {line}", line.chars().count());
    }
}

fn put(sample: &mut Sample, name: &str, value: f64) {
    sample.values.insert(name.into(), value);
}

fn not_quotable(r: &Record, why: &str) -> Record {
    changed(r, |r| {
        r.quotable = false;
        r.doubts = vec![why.into()];
    })
}

#[test]
fn values_have_units_and_three_digits() {
    let cases = [
        ("op_ns", 57.0, "57 ns"),
        ("op_ns", 57.04, "57.0 ns"),
        ("op_ns", 0.314, "0.314 ns"),
        ("op_ns", 1_380_000.0, "1.38 ms"),
        ("op_ns", 999.4, "999 ns"),
        ("op_ns", 999.7, "1.00 us"),
        ("op_ns", 12_345_678_901.0, "12.3 s"),
        ("op_ns", 7_200e9, "7200 s"),
        ("op_ns", 0.0, "0 ns"),
        ("op_ns", -1_500.0, "-1.50 us"),
        ("ops_per_s", 22_960_000.0, "23.0 M/s"),
        ("ops_per_s", 950.0, "950/s"),
        ("rss_bytes", 268_435_456.0, "256 MiB"),
        ("rss_bytes", 100.0, "100 B"),
        ("fair_share", 0.41, "41 %"),
        ("fair_share", 0.413, "41.3 %"),
        ("fair_share", 1.0, "100 %"),
        ("speed_ratio", 1.04, "1.04x"),
        ("ratio", 0.000_02, "1/50000"),
        ("ratio", 0.000_28, "1/3570"),
        ("ratio", 0.01, "0.0100x"),
        ("ratio", 0.0, "0x"),
        ("ratio", 9_999.0, "9999x"),
        ("ratio", 105_745.0, "106 thousand times"),
        ("fair_share", 0.000_000_6, "0.600 per million"),
        ("fair_share", 0.000_1, "0.0100 %"),
        ("faults_count", 1_234.0, "1234"),
        ("faults_count", 65_536.0, "65536"),
        ("faults_count", 23_456_789.0, "23.5 M"),
        ("whatever", 2.5, "2.50"),
        ("op_ns", f64::NAN, "not a number"),
    ];
    for (name, value, text) in cases {
        assert_eq!(number::value(name, value), text, "{name} {value}");
    }
}

#[test]
fn digits_make_the_interval_visible() {
    let cases = [
        ("op_ns", interval(12.3, 12.1, 12.5), "12.3 [12.1, 12.5] ns"),
        ("op_ns", interval(57.0, 54.6, 59.5), "57 [55, 60] ns"),
        ("op_ns", interval(16.780_1, 16.779_3, 16.780_9), "16.7801 [16.7793, 16.7809] ns"),
        ("op_ns", interval(1_200_000.0, 900_000.0, 1_600_000.0), "1.2 [0.9, 1.6] ms"),
        ("ratio", interval(1.04, 1.032, 1.048), "1.040x [1.032, 1.048]"),
        ("fair_share", interval(0.41, 0.39, 0.43), "41 [39, 43] %"),
        ("op_ns", interval(1_200_000.0, 90_000.0, 30_000_000.0), "1.20 ms [90 us, 30 ms]"),
        ("op_ns", interval(1.0, -5.0, 7.0), "1 [-5, 7] ns"),
        ("op_ns", interval(0.0, -2_000.0, 2_000.0), "0 [-2, 2] us"),
        ("faults_count", interval(512.0, 512.0, 512.0), "512"),
        ("kept_bytes", interval(33_550_313.0, 33_550_313.0, 33_550_313.0), "33,550,313 B"),
        ("kept_bytes", interval(2048.0, 2048.0, 2048.0), "2 KiB"),
        ("kept_bytes", interval(100.5, 100.5, 100.5), "100 B"),
        ("ratio", interval(105_745.0, 104_591.0, 106_913.0), "105.7 [104.6, 106.9] thousand times"),
        ("ratio", interval(0.000_28, 0.000_27, 0.000_29), "1/3571 [1/3704, 1/3448]"),
        ("ratio", interval(0.000_28, 0.000_02, 0.000_9), "1/3570 [1/50000, 1/1110]"),
        ("odd_share", interval(6e-7, -1.1e-6, 2.3e-6), "0.6 [-1.1, 2.3] per million"),
        ("op_ns", interval(16.780_12, 16.780_05, 16.780_19), "16.7801 [16.7800, 16.7802] ns"),
        ("op_ns", interval(16.780_12, 16.780_11, 16.780_13), "16.7801 ns"),
    ];
    for (name, i, text) in cases {
        assert_eq!(number::interval(name, &i), text);
    }
    let one = Interval { n: 1, ..interval(57.0, 57.0, 57.0) };
    assert_eq!(number::interval("op_ns", &one), "57 ns (1 launch)", "no brackets without an interval");
    assert_eq!(
        number::words("ratio", &interval(1.04, 1.032, 1.048)),
        "1.040 times, between 1.032 times and 1.048 times"
    );
    assert_eq!(number::words("op_ns", &one), "57 ns in a single launch");
    let close = interval(16.780_12, 16.780_11, 16.780_13);
    assert_eq!(number::words("op_ns", &close), "16.7801 ns, to the last digit");
}

#[test]
fn the_ends_of_an_interval_never_look_alike() {
    for exponent in -4..12 {
        for width in [3e-5, 1e-4, 3e-3, 0.02, 0.11, 0.7] {
            let mid = 1.234_567 * 10f64.powi(exponent);
            let i = interval(mid, mid * (1.0 - width / 2.0), mid * (1.0 + width / 2.0));
            let text = number::interval("op_ns", &i);
            let (lo, hi) = text.split_once('[').unwrap().1.split_once(", ").unwrap();
            assert_ne!(lo, hi.split(']').next().unwrap(), "{text}");
            assert!(lo.chars().filter(char::is_ascii_digit).count() <= 6 || lo.starts_with("0."), "{text}");
        }
    }
}

#[test]
fn labels_lose_their_unit() {
    assert_eq!(number::label("wait_p99_ns"), "99th percentile of wait");
    assert_eq!(number::label("wait_max_ns"), "longest wait");
    assert_eq!(number::label("ops_per_s"), "operations per second");
    assert_eq!(number::label("faults_count"), "page faults");
    assert_eq!(number::label("ns"), "ns");
    assert_eq!(number::label("turns"), "turns", "ends in ns, but not in _ns");
    assert_eq!(number::band(0.0305), "3.1 %");
    assert_eq!(number::band(0.0), "0.010 %");
}

#[test]
fn a_table_shows_rows_ratios_and_the_smallest_difference() {
    let text = table::table(lab(), reads(), &reads_run("run-01"), ALL);
    assert_tame(&text, 80);
    let of = |setting: &str, variant: &str| row(&text, setting, variant);
    assert!(of("400 ns", "RwLock").contains("5.20 [5.15, 5.25]") && of("400 ns", "RwLock").contains("3.15x"));
    assert!(of("0 ns", "RwLock").contains("no difference"), "{text}");
    assert!(of("0 ns", "Mutex").contains("baseline"));
    assert!(text.contains("1.000x") && text.contains("A/A"), "{text}");
    assert!(
        of("0 ns", "Mutex").contains("18.4 us") && of("0 ns", "Mutex").contains("93 %"),
        "further columns"
    );
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let twin = "The baseline measured twice (A/A) differs from itself by up to 2.0 %, 0 ns; 2.0 %, 400 ns.";
    assert!(words.contains(twin), "{text}");
    assert!(words.contains("This run can show a difference from the baseline of "), "{text}");
    assert!(!text.contains('!'), "everything is quotable");
    // Unasked, the table is what the chart is about.
    let short = table::table(lab(), reads(), &reads_run("run-01"), Look::default());
    assert!(!short.contains("18.4 us") && !short.contains("A/A row") && short.contains("3.15x"), "{short}");
    assert!(
        short.contains("This run can show a difference"),
        "and how small a difference it can show: {short}"
    );
}

#[test]
fn a_table_marks_what_may_not_be_quoted_and_what_is_odd() {
    let mut rows = reads_run("run-01");
    rows[1] = not_quotable(&rows[1], "the lanes ran on one CPU");
    rows[0] = not_quotable(&rows[0], "the lanes ran on one CPU");
    rows[4] = changed(&rows[4], |r| put(&mut r.launches[2], HEADLINE, 9.9e6));
    rows[3] =
        changed(&rows[3], |r| r.launches[0] = Sample::unmeasured("mutex", "400 ns", "killed after 10 s"));
    let text = table::table(lab(), reads(), &rows, ALL);
    assert_tame(&text, 80);
    assert!(
        row(&text, "0 ns", "Mutex").ends_with("! 1") && row(&text, "0 ns", "RwLock").ends_with("! 1"),
        "{text}"
    );
    assert_eq!(text.matches("the lanes ran on one CPU").count(), 1, "one doubt, one line");
    assert!(text.contains("! not quotable, for the reasons with these numbers:"));
    assert!(text.contains("launch 3 of 5 is an outlier, and is included: 9.90 M/s"), "{text}");
    assert!(text.contains("1 of 5 launches could not be measured: killed after 10 s"), "{text}");
    let spoken = table::table(lab(), reads(), &rows, PLAIN);
    assert!(
        spoken.contains("Mutex, 0 ns: operations per second 10.60 M/s, between 10.50 M/s and 10.70 M/s."),
        "{spoken}"
    );
    assert!(spoken.contains("Not quotable: the lanes ran on one CPU."), "{spoken}");
    assert!(spoken.contains("Launch 3 of 5 is an outlier, and is included"), "{spoken}");
    assert!(!spoken.contains("---") && !spoken.contains('!'), "{spoken}");
}

#[test]
fn a_table_says_what_was_not_measured() {
    assert_eq!(table::table(lab(), reads(), &[], Look::default()), "demo_lock / reads: not measured yet\n");
    let mut rows = reads_run("run-01");
    rows[1] = changed(&rows[1], |r| {
        r.launches.iter_mut().for_each(|s| *s = Sample::unmeasured("rwlock", "0 ns", "needs two cores"));
        r.quotable = false;
    });
    for look in [Look::default(), PLAIN] {
        let text = table::table(lab(), reads(), &rows, look);
        assert!(text.contains("unmeasured") && text.contains("needs two cores"), "{text}");
    }
    // One launch: numbers, but neither intervals nor ratios.
    let single: Vec<Record> =
        reads_run("run-01").iter().map(|r| changed(r, |r| r.launches.truncate(1))).collect();
    let text = table::table(lab(), reads(), &single, Look::default());
    assert!(text.contains("1 launch, so there are no intervals") && !text.contains('['), "{text}");
    assert!(!text.contains("0x"), "no ratio from one launch: {text}");
}

#[test]
fn a_contender_that_is_not_there_is_one_line() {
    let without = |r: &Record, why: &str| {
        changed(r, |r| {
            for launch in &mut r.launches {
                *launch = Sample::unmeasured(&r.case, &r.param, why);
            }
            r.quotable = false;
            r.doubts = vec![why.into()];
        })
    };
    let is = |r: &Record, case: &str| r.case == case;
    let all = |case: &str, why: &str| -> Vec<Record> {
        reads_run("run-01").iter().map(|r| if is(r, case) { without(r, why) } else { r.clone() }).collect()
    };
    let gone = all("rwlock", "built without it");
    let text = table::table(lab(), reads(), &gone, Look::default());
    assert!(text.contains("\nNot measured: RwLock (built without it).\n"), "{text}");
    assert!(!text.contains("unmeasured") && !text.contains('!'), "{text}");
    assert!(table::table(lab(), reads(), &gone, PLAIN).contains("Not measured: RwLock (built without it)."));
    let findings = judge(lab(), reads(), &gone);
    let text = table::findings(&findings, Look::default());
    assert_eq!(text.matches("RwLock was not measured: built without it").count(), 1, "{text}");
    let tight = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let words = tight(&text);
    assert!(findings.iter().all(|f| words.contains(f.claim.trim_end_matches('.'))), "{text}");
    // The baseline, and what failed in more than one way, stay rows.
    let baseline = table::table(lab(), reads(), &all("mutex", "built without it"), Look::default());
    assert!(
        tight(&baseline).contains("Mutex unmeasured") && !baseline.contains("Not measured:"),
        "{baseline}"
    );
    let mut mixed = gone;
    let last = mixed.iter().rposition(|r| is(r, "rwlock")).unwrap();
    mixed[last] = without(&mixed[last], "hung");
    let text = table::table(lab(), reads(), &mixed, Look::default());
    assert_eq!(tight(&text).matches("RwLock unmeasured").count(), 2, "{text}");
}

#[test]
fn no_ratio_to_a_baseline_of_0_is_said_once_and_by_the_label() {
    let step = altered(touch(), |s| {
        (s.headline, s.kind) = ("hung_share", Kind::Count);
        s.claims.clear();
    });
    let rows =
        [record(&step, "run-01", "call", "", &[0.0; 5]), record(&step, "run-01", "touch", "", &[1.0; 5])];
    let why = "no ratio: hung of the baseline is not positive";
    assert!(table::table(lab(), &step, &rows, Look::default()).contains(why));
    assert!(table::table(lab(), &step, &rows, PLAIN).contains(&why.replace("no ratio", "No ratio")));
}

#[test]
fn tables_and_judge_agree_on_differences() {
    let mut rows = reads_run("run-01");
    rows.retain(|r| r.case != AA);
    let text = table::table(lab(), reads(), &rows, Look::default());
    assert!(text.contains("no A/A row") && !text.contains("3.15x"), "without an A/A row no ratio: {text}");
}

#[test]
fn escape_codes_come_only_when_asked_for() {
    let rows = reads_run("run-01");
    let findings = judge(lab(), reads(), &rows);
    for look in [Look::default(), PLAIN, Look { width: 40, ..Look::default() }] {
        assert!(!table::table(lab(), reads(), &rows, look).contains('\u{1b}'));
        assert!(!table::findings(&findings, look).contains('\u{1b}'));
    }
    let color = Look { color: true, ..Look::default() };
    assert!(table::table(lab(), reads(), &rows, color).contains("\u{1b}["));
    assert!(table::findings(&findings, color).contains("\u{1b}["));
    assert!(table::findings(&findings, Look::default()).starts_with("held            At 400 ns"));
    assert!(table::findings(&findings, PLAIN).starts_with("held: At 400 ns"));
    assert!(!table::findings(&findings, PLAIN).contains('('), "what held needs no reason");
}

/// A run in which every string that a stranger may have written means harm.
fn hostile(step: &Step, rows: Vec<Record>) -> Vec<Record> {
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}|\n<script>alert(1)</script>\r\u{202e}\u{9b}31m`rm`[x](y)<!-- underhood:end demo_lock -->";
    let harm = |r: Record| {
        changed(&r, |r| {
            r.doubts = vec![evil.into(), "a".repeat(5_000)];
            r.quotable = false;
            r.at = format!("2026-11-01T{evil}");
            r.command = evil.into();
            r.machine.facts.values_mut().for_each(|v| v.push_str(evil));
            r.machine.grades.values_mut().for_each(|g| g.reason.push_str(evil));
        })
    };
    let mut rows: Vec<Record> = rows.into_iter().map(harm).collect();
    let extra = changed(&record(step, "run-01", evil, evil, &around(3.0)), |r| r.at = rows[0].at.clone());
    rows.push(extra);
    rows
}

#[test]
fn hostile_strings_break_neither_terminal_nor_table_nor_page() {
    let rows = hostile(reads(), reads_run("run-01"));
    let text = table::table(lab(), reads(), &rows, Look::default());
    assert_tame(&text, 400); // a word of 300 characters may be longer than the terminal
    for look in [PLAIN, Look { width: 30, ..Look::default() }] {
        assert_tame(&table::table(lab(), reads(), &rows, look), 100_000);
    }
    assert_tame(&table::findings(&judge(lab(), reads(), &rows), Look::default()), 400);
    assert_tame(&quote(lab(), &rows).text, 400);
    // Half hostile: quotable rows whose machine and command mean harm.
    let half: Vec<Record> = rows.iter().map(|r| changed(r, |r| r.quotable = true)).collect();
    assert!(quote(lab(), &half).quotable);
    assert_tame(&quote(lab(), &half).text, 400);
    let page = "<!-- underhood:begin demo_lock -->\n<!-- underhood:end demo_lock -->\n";
    for rows in [rows, half] {
        let text = notes::render(page, &[lab()], &rows).unwrap();
        assert_tame(&text, 100_000);
        assert!(
            !text.contains("<script")
                && !text.replace("\\]", "").contains("](y)")
                && text.matches("<!--").count() == 2,
            "{text}"
        );
        assert!(text.lines().any(|l| l.starts_with("| `reads`")));
        let columns = |l: &str| l.replace("\\|", "").matches('|').count();
        // Every row has the columns of the head of its table.
        let mut head = None;
        for line in text.lines() {
            let is_row = line.starts_with('|');
            let of = *head.get_or_insert(columns(line));
            assert!(!is_row || columns(line) == of, "{line}");
            head = head.filter(|_| is_row);
        }
        assert_eq!(notes::check(&text, &[lab()], &rows).unwrap(), []);
    }
}

#[test]
fn a_quote_has_everything_a_sceptic_asks_for() {
    let q = quote(lab(), &reads_run("run-01"));
    assert!(q.quotable);
    assert_tame(&q.text, 80);
    let flat = q.text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "When is a reader-writer lock better than a mutex?",
        "With 2 threads that only read and hold for 400 ns, the rwlock does 3.15x what the mutex does",
        "5.20 [5.15, 5.25] M/s against 1.650 [1.634, 1.666] M/s.",
        "Not true when somebody writes",
        "one, of 5 launches; brackets are 95 % intervals over these launches",
        "fit for contended throughput: 2 spinners did 1.98 times the work of one",
        "Example CPU 3000, 2 of 2 CPUs, 8 GiB, guest of KVM, kernel 6.1.0",
        "2026-11-01T10:00:00Z",
        "revision 0123456789ab, rustc 1.95.0, release, opt-level 3",
        "parking_lot 0.13.0, tokio 1.54.0",
        "cargo run --release --bin demo_lock",
        "Reader-writer locks are faster.",
        "What if one in a hundred writes?",
    ] {
        assert!(flat.contains(part), "{part:?} is not in\n{}", q.text);
    }
    let rows = reads_run("run-01");
    assert_eq!(q.ids, [rows[4].id.clone(), rows[3].id.clone()]);
    assert!(q.ids.iter().all(|id| q.text.contains(id)));
}

#[test]
fn a_short_quote_keeps_what_makes_it_quotable_in_twelve_lines() {
    let (full, brief, none) =
        (quote(lab(), &reads_run("run-01")), short(lab(), &reads_run("run-01")), short(lab(), &[]).text);
    assert!(brief.quotable && brief.ids == full.ids && brief.text.lines().count() <= 12);
    for label in ["Say ", "Not true when ", "Why ", "Measured ", "Records ", "Repeat "] {
        assert!(brief.text.contains(label), "{label}: {}", brief.text);
    }
    assert!(none.contains("not measured yet") && none.contains("Measure  "), "{none}");
}

#[test]
fn a_quote_takes_the_newest_quotable_run() {
    let mut records = reads_run("run-01");
    records.extend(reads_run("run-05"));
    let newest = quote(lab(), &records);
    assert!(newest.text.contains("2026-11-05"));
    // The newest run may not be quoted: the older one is.
    for r in records.iter_mut().filter(|r| r.run == "run-05") {
        *r = not_quotable(r, "somebody was compiling");
    }
    let older = quote(lab(), &records);
    assert!(older.quotable && older.text.contains("2026-11-01"), "{}", older.text);
    // None may: why the newest may not.
    for r in records.iter_mut().filter(|r| r.run == "run-01") {
        *r = not_quotable(r, "a debug build");
    }
    let none = quote(lab(), &records);
    assert!(!none.quotable && none.ids.is_empty());
    assert!(
        none.text.contains("somebody was compiling") && !none.text.contains("debug build"),
        "{}",
        none.text
    );
    assert!(none.text.contains("cargo run --release --bin demo_lock"));
    assert!(!none.text.contains("5.20"), "no number where none may be quoted");
    let never = quote(lab(), &[]);
    assert!(!never.quotable && never.text.contains("not measured yet"));
}

#[test]
fn a_quote_falls_back_to_the_next_sentence_and_names_differences() {
    let only_second = quote(lab(), &touch_run("run-02"));
    assert!(
        only_second.quotable && only_second.text.contains("The first touch pauses for 440 [436, 444] us.")
    );
    let mut both = reads_run("run-01");
    both.extend(touch_run("run-02"));
    let q = quote(lab(), &both);
    assert!(q.text.contains("Also           The first touch"), "{}", q.text);
    assert!(
        q.text.contains("2026-11-01") && q.text.contains("2026-11-02"),
        "each sentence has its date: {}",
        q.text
    );
    assert_eq!(q.ids.len(), 3);
}

#[test]
fn a_remark_of_a_record_may_be_empty_or_begin_with_any_letter() {
    let mut rows = reads_run("run-01");
    rows[0] = changed(&rows[0], |r| r.launches[0].seen = vec![String::new(), "\u{e9}crit".into()]);
    assert!(table::table(lab(), reads(), &rows, PLAIN).contains(" \u{c9}crit."));
}

#[test]
fn a_quote_says_no_difference_instead_of_a_ratio_within_the_band() {
    let mut rows = reads_run("run-01");
    rows[4] = record(reads(), "run-01", "rwlock", "400 ns", &[1.651e6, 1.668e6, 1.634e6, 1.66e6, 1.643e6]);
    let q = quote(lab(), &rows);
    let flat = q.text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(q.quotable);
    assert!(
        flat.contains(
            r#"This machine shows no difference in operations per second between "RwLock, 400 ns" ("#
        ) && flat.contains(r#" and "Mutex, 400 ns" ("#),
        "{flat}"
    );
    assert!(flat.contains("could not have shown a difference under 2.0 %"), "{flat}");
    assert!(!flat.contains("that only read and hold"), "the sentence about a difference is not said: {flat}");
    rows.extend(touch_run("run-02"));
    let both = quote(lab(), &rows).text;
    let leads = both.contains("Say            The first touch")
        && both.contains("Also           This machine shows no difference");
    assert!(leads, "what is shown comes first: {both}");
}

#[test]
fn no_difference_is_not_said_by_a_run_that_could_hardly_show_one() {
    let mut rows = reads_run("run-01");
    rows[4] = record(reads(), "run-01", "rwlock", "400 ns", &[1.651e6, 1.668e6, 1.634e6, 1.66e6, 1.643e6]);
    rows[5] = record(reads(), "run-01", AA, "400 ns", &[1.0e6, 2.4e6, 1.2e6, 2.1e6, 1.7e6]);
    let q = quote(lab(), &rows);
    assert!(!q.quotable && q.text.contains("too noisy"), "{}", q.text);
}

#[test]
fn a_quote_is_refused_where_a_comparison_is() {
    let mut rows = reads_run("run-01");
    rows.retain(|r| r.case != AA);
    assert!(quote(lab(), &rows).text.contains("no A/A row"));
    let single: Vec<Record> =
        reads_run("run-01").iter().map(|r| changed(r, |r| r.launches.truncate(1))).collect();
    let q = quote(lab(), &single);
    assert!(!q.quotable && q.text.contains("one launch"), "{}", q.text);
    let mut uneven = reads_run("run-01");
    for (at, work) in [(3, 1.0), (4, 2.0)] {
        uneven[at] = changed(&uneven[at], |r| {
            r.launches.iter_mut().for_each(|s| put(s, "work_per_op_count", work));
        });
    }
    assert!(!quote(lab(), &uneven).quotable);
}

/// How often each of two cases hung, in five launches, and what is said of it.
fn hung(text: &'static str, kind: Kind, of: &[f64], against: &[f64]) -> (bool, String) {
    let value = "hung_share";
    let step = altered(touch(), |s| {
        (s.kind, s.headline, s.launch) = (kind, value, Launch::Together);
        s.claims.clear();
    });
    let records = [record(&step, "run-01", "call", "", against), record(&step, "run-01", "touch", "", of)];
    let against = Some(pick("call", "", value));
    let say = Say { step: "touch", text, of: pick("touch", "", value), against, not_true_when: "never" };
    let lab = Lab { steps: vec![step], says: vec![say], ..lab().clone() };
    let q = quote(&lab, &records);
    (q.quotable, q.text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn a_sentence_without_a_ratio_may_be_about_none() {
    let text = "It hung in {value} of the runs, with a spawn in between in {against}.";
    let (always, never) = ([1.0; 5], [0.0; 5]);
    let (quotable, said) = hung(text, Kind::Count, &always, &never);
    assert!(
        quotable && said.contains("It hung in 100 % of the runs, with a spawn in between in 0 %."),
        "{said}"
    );
    let with_ratio = "It hung {ratio} as often: {value} against {against}.";
    assert!(!hung(with_ratio, Kind::Count, &always, &never).0, "a ratio to none is none");
    assert!(!hung(text, Kind::Count, &never, &never).0, "nothing differs");
    assert!(!hung(text, Kind::Count, &[1.0, 0.0, 0.0, 0.0, 0.0], &never).0, "once is not shown");
    assert!(!hung(text, Kind::Pause, &always, &never).0, "what is timed needs its A/A row");
}

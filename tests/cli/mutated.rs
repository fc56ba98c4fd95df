//! Records, predictions, pictures and words, changed at random from a seed: whatever comes of it, nothing panics and nothing is shown raw.
//!
//! Ten seconds as a rule. `UNDERHOOD_FUZZ=3600` for an hour of each test, `UNDERHOOD_FUZZ_SEED` (printed) for the same again.
#![allow(
    clippy::print_stdout,
    reason = "says how much was tried, so that a test of nothing can be seen as such"
)]
use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use underhood::{
    judge::{between, guess, judge, why},
    lab::Lab,
    measure::order::Order,
    record::{Store, pool, runs_of},
    show::{Look, answer::answer, export, picture, quote::quote, report, table},
};

use crate::{
    all::labs,
    hostile::{self, Counts, sealed_with},
};

fn number(name: &str) -> Option<u64> {
    env::var(name).ok().and_then(|n| n.parse().ok())
}

/// The seed of this run, and how long it lasts.
fn terms() -> (u64, Instant) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let time = Duration::from_secs(number("UNDERHOOD_FUZZ").unwrap_or(10));
    (number("UNDERHOOD_FUZZ_SEED").unwrap_or(now), Instant::now() + time)
}

const NUMBERS: [&str; 14] = [
    "0",
    "-0.0",
    "1",
    "-1",
    "0.5",
    "1e308",
    "-1e308",
    "5e-324",
    "1e-300",
    "18446744073709551615",
    "-9223372036854775808",
    "4294967296",
    "1e999",
    "100000000000000000000",
];
const STRINGS: [&str; 12] = [
    "",
    " ",
    "\u{1b}[2J",
    "\u{202e}x",
    "a\nb",
    "|`*<script>",
    "2026-99-99T99:99:99Z",
    "9999-12-31T23:59:59Z",
    "x_ns",
    "A/A",
    "\u{0}",
    "../../etc/passwd",
];

/// One change somewhere in a value.
fn change(value: &mut Value, lot: &mut Order) {
    match value {
        Value::Object(map) if !map.is_empty() && lot.below(12) > 0 => {
            let at = lot.below(map.len());
            let key = map.keys().nth(at).expect("it is below the length").clone();
            match lot.below(14) {
                0 => drop(map.remove(&key)),
                1 => {
                    let inner = map.remove(&key).expect("it is there");
                    map.insert(STRINGS[lot.below(STRINGS.len())].into(), inner);
                }
                _ => change(map.get_mut(&key).expect("it is there"), lot),
            }
        }
        Value::Array(items) if !items.is_empty() && lot.below(12) > 0 => {
            let at = lot.below(items.len());
            match lot.below(10) {
                0 => drop(items.remove(at)),
                1 => items.push(items[at].clone()),
                2 => items.clear(),
                3 => items.reverse(),
                _ => change(&mut items[at], lot),
            }
        }
        _ => {
            *value = match lot.below(10) {
                0 => Value::Null,
                1 => Value::Array(vec![Value::Bool(true)]),
                2 => Value::Object(serde_json::Map::new()),
                3 | 5 | 6 => Value::String(STRINGS[lot.below(STRINGS.len())].into()),
                4 => Value::String("x".repeat(10_000)),
                // What a file may say and a number can't hold is left to the changes of bytes.
                _ => serde_json::from_str(NUMBERS[lot.below(NUMBERS.len())]).unwrap_or(Value::Null),
            }
        }
    }
}

/// A few changes of bytes.
fn scramble(bytes: &mut Vec<u8>, lot: &mut Order) {
    for _ in 0..=lot.below(4) {
        if bytes.is_empty() {
            return;
        }
        let (at, to) = (lot.below(bytes.len()), lot.below(bytes.len()));
        let (from, to) = (at.min(to), at.max(to));
        match lot.below(7) {
            0 => bytes[at] ^= 1 << lot.below(8),
            1 => bytes.insert(at, lot.below(256) as u8),
            2 => drop(bytes.drain(from..to.min(from + 40))),
            3 => bytes.extend_from_within(from..to.min(from + 400)),
            4 => bytes.truncate(to),
            5 => drop(bytes.splice(at..at, NUMBERS[lot.below(NUMBERS.len())].bytes())),
            _ => drop(bytes.splice(at..at, b"\"}],{[:null"[lot.below(11)..].iter().copied())),
        }
    }
}

/// A record's line of this value: schema and id first, as the store writes it, and the id fits.
fn sealed(value: &Value) -> String {
    let mut rest = value.clone();
    if let Value::Object(map) = &mut rest {
        map.remove("schema");
        map.remove("id");
    }
    let rest = rest.to_string();
    let rest = rest.strip_prefix('{').unwrap_or("}");
    sealed_with(&format!(r#"{{"schema":1,"id":"",{rest}"#), "")
}

/// Everything that is shown of a store, and how many records and guesses that was.
fn shown(dir: &Path, lab: &'static Lab) -> (String, usize) {
    let store = Store::open(dir);
    let loaded = store.load_all().expect("the folder can be read");
    let (mut text, mut count) = (loaded.skipped().unwrap_or_default(), loaded.records.len());
    let only: &[&'static Lab] = &[lab];
    let records = pool::with_pools(only, loaded.records);
    let (predictions, _) = store.predictions().expect("the file can be read");
    let pictures = store.pictures(lab.stem).unwrap_or_default();
    count += predictions.len() + pictures.len();
    for step in &lab.steps {
        for look in [Look::default(), Look { width: 40, plain: true, ..Look::default() }] {
            text += &table::table(lab, step, &records, look);
            text += &table::findings(&judge(lab, step, &records), look);
            text += &picture::picture(lab, step, &records, predictions.first(), look);
        }
        text += &why(lab, step, &records);
        for p in &predictions {
            text += &guess::reveal(step, p, &records).text;
        }
        text += &runs_of(&records, lab.stem, step.name).len().to_string();
    }
    text += &format!("{:?}", guess::calibration(only, &predictions, &records).1);
    text += &quote(lab, &records).text;
    let told = answer(lab, &records);
    text.extend(told.sentences.into_iter().map(|s| s.text));
    text += &export::markdown(only, &records);
    text += &export::anki(only, &records).0.replace('\t', " ");
    drop(export::csv(&records));
    for pair in between::pairs(only, &records, &records, true) {
        text += &pair.unlike().unwrap_or_default();
    }
    let pictures = [(lab.stem, pictures)];
    let kept =
        report::Kept { records: &records, pictures: &pictures, predictions: &predictions, remark: None };
    drop(report::report(only, &kept));
    (text, count)
}

#[test]
fn nothing_that_a_store_says_panics() {
    let (seed, until) = terms();
    let mut lot = Order::new(seed);
    let cited = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records");
    // Short files of different shapes, so that each round is quick.
    let stems = ["order_wakeup", "lock_audit", "dotnet_async", "flow_bulkhead", "alloc_pages"];
    let of = |stem: &&str| labs().iter().find(|l| l.stem == *stem).expect("the lab is there");
    let base: Vec<(&'static Lab, Vec<Value>)> = stems
        .iter()
        .map(|stem| {
            let records = Store::open(&cited).load(stem).unwrap().records;
            (of(stem), records.iter().map(|r| serde_json::to_value(r).unwrap()).collect())
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    let (mut rounds, mut kept) = (0_usize, 0_usize);
    while Instant::now() < until {
        let (lab, records) = &base[lot.below(base.len())];
        let mut lines: Vec<Vec<u8>> = Vec::new();
        for record in records.iter().take(1 + lot.below(24)) {
            let mut record = record.clone();
            for _ in 0..lot.below(3) {
                change(&mut record, &mut lot);
            }
            let mut line = sealed(&record).into_bytes();
            if lot.below(8) == 0 {
                scramble(&mut line, &mut lot);
            }
            lines.push(line);
        }
        let first = &records[0];
        let guesses = [
            r#"{"range":[9,1]}"#,
            r#"{"range":[0,1e308]}"#,
            r#"{"number":0}"#,
            r#"{"number":-1e308}"#,
            r#"{"case":"\u001b[2J"}"#,
            r#"{"range":[1,9]}"#,
            r#"{"number":1e999}"#,
        ];
        let mut said = serde_json::json!({
            "schema": 1, "at": first["at"], "lab": lab.stem, "step": first["step"], "case": first["case"], "param": first["param"],
            "value": first["headline"], "guess": serde_json::from_str::<Value>(guesses[lot.below(guesses.len())]).unwrap_or(Value::Null),
            "why": STRINGS[lot.below(STRINGS.len())], "run": first["run"],
        });
        if lot.below(2) == 0 {
            change(&mut said, &mut lot);
        }
        let mut drawn = serde_json::json!([{ "step": first["step"], "name": "a case", "length_ns": 100,
            "lanes": [{ "name": "main", "task": false, "marks": "##..==  " }, { "name": "t", "task": true, "marks": "" }] }]);
        for _ in 0..lot.below(3) {
            change(&mut drawn, &mut lot);
        }
        let mut files = [
            (format!("{}.jsonl", lab.stem), lines.join(&b'\n')),
            ("your-predictions.jsonl".into(), said.to_string().into_bytes()),
            (format!("{}.pictures.json", lab.stem), drawn.to_string().into_bytes()),
        ];
        if lot.below(4) == 0 {
            let at = lot.below(3);
            scramble(&mut files[at].1, &mut lot);
        }
        for (name, bytes) in &files {
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let done = catch_unwind(AssertUnwindSafe(|| shown(dir.path(), lab)));
        let at = || {
            let saved = env::temp_dir().join(format!("underhood-mutated-{seed}-{rounds}"));
            fs::create_dir_all(&saved).unwrap();
            files.iter().for_each(|(name, bytes)| fs::write(saved.join(name), bytes).unwrap());
            format!("round {rounds} of UNDERHOOD_FUZZ_SEED={seed}, kept in {}", saved.display())
        };
        let Ok((text, count)) = done else { panic!("{}: the store makes it panic", at()) };
        let raw = text.chars().find(|c| c.is_control() && *c != '\n' || matches!(c, '\u{202a}'..='\u{202e}'));
        assert!(raw.is_none(), "{}: {raw:?} is shown as it is", at());
        (rounds, kept) = (rounds + 1, kept + count);
        for (name, _) in &files {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
    }
    println!(
        "stores: {rounds} rounds, {kept} records, predictions and pictures understood, UNDERHOOD_FUZZ_SEED={seed}"
    );
    assert!(kept > rounds, "most of it must get past the first look: {kept} in {rounds} rounds");
}

#[test]
fn no_random_words_do_harm() {
    let (seed, until) = terms();
    let mut lot = Order::new(seed);
    let (words, mut counts) = (hostile::words(), Counts::default());
    let mut rounds = 0;
    while Instant::now() < until {
        let place = hostile::PLACES[1 + lot.below(hostile::PLACES.len() - 1)];
        // A known word as often as not, so that a change of it comes near to being right.
        let base: OsString = match lot.below(2) {
            0 => words[lot.below(words.len())].clone(),
            _ => ["lock_audit", "--json", "truth=1..2", "5", "1s", "--plain", "-o"][lot.below(7)].into(),
        };
        let mut bytes = base.as_bytes().to_vec();
        if lot.below(3) > 0 {
            scramble(&mut bytes, &mut lot);
        }
        bytes.retain(|b| *b != 0);
        bytes.truncate(100_000);
        let word = OsString::from_vec(bytes);
        // A lab that comes out right is measured, and its records are appended, as they should be.
        if ["run", "soak"].contains(&place[0]) && word == "lock_audit" {
            continue;
        }
        let (ended, faults) = hostile::line(place, &word);
        let short: String = word.to_string_lossy().chars().take(60).collect();
        counts.add(
            place[0],
            &format!("UNDERHOOD_FUZZ_SEED={seed}: {place:?} with {short:?}"),
            &ended,
            faults,
        );
        rounds += 1;
    }
    counts.judge(&format!("random words, {rounds} rounds, UNDERHOOD_FUZZ_SEED={seed}"));
}

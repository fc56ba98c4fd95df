//! What people read in place of ids: in every lab, and for every record that the notes cite.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::all::labs;
use underhood::{
    judge::{judge, name},
    lab::{Lab, Step},
    record::{Record, Store},
    show::{Look, picture, quote, table},
};

/// Names of code, which have underscores wherever they stand.
const CODE: [&str; 18] = [
    "notify_all",
    "notify_one",
    "lookup_host",
    "parking_lot",
    "block_in_place",
    "spawn_blocking",
    "block_on",
    "read_exact",
    "write_all",
    "fetch_add",
    "try_lock",
    "read_recursive",
    "task_local",
    "thread_local",
    "MAP_POPULATE",
    "sync_channel",
    "try_acquire",
    "try_join",
];

/// Ids that are the name already: of a library, a call, a collector, or an everyday word.
const NAMES: [&str; 43] = [
    "getppid",
    "local",
    "remote",
    "glibc",
    "mimalloc",
    "jemalloc",
    "snmalloc",
    "calloc",
    "realloc",
    "mprotect",
    "munmap",
    "papaya",
    "dashmap",
    "boxed",
    "flume",
    "foldhash",
    "haphazard",
    "await",
    "read",
    "line",
    "bulkhead",
    "Immix",
    "GenImmix",
    "StickyImmix",
    "ConcurrentImmix",
    "SemiSpace",
    "MarkSweep",
    "rtrb",
    "scc",
    "governor",
    "loom",
    "ABA",
    "relaxed",
    "pause",
    "faults",
    "answers",
    "alarms",
    "ns",
    "share",
    "moved",
    "peak",
    "garbage",
    "offence",
];

fn is_own_name(text: &str) -> bool {
    NAMES.iter().any(|n| n.eq_ignore_ascii_case(text))
}

/// What is wrong with a name, if anything.
fn wrong(id: &str, shown: &str) -> Option<String> {
    let bare = CODE.iter().fold(shown.to_string(), |text, code| text.replace(code, ""));
    let is_path = shown.starts_with("src/");
    if bare.contains('_') && !is_path {
        return Some(format!("{id} is shown as '{shown}', with an underscore"));
    }
    let letters = |text: &str| text.chars().any(char::is_alphabetic);
    (shown == id && !CODE.contains(&id) && letters(id) && !id.contains([' ', '/']) && !is_own_name(id))
        .then(|| format!("{id} is shown as nothing but its id"))
}

fn step_of<'a>(lab: &'a Lab, record: &Record) -> Option<&'a Step> {
    lab.steps.iter().find(|s| s.name == record.step)
}

pub(super) fn cited(stem: &str) -> Vec<Record> {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records");
    Store::open(&folder).load(stem).unwrap().records
}

#[test]
fn every_variant_setting_and_value_has_a_name_that_people_know() {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for lab in labs() {
        let mut look = |what: &str, id: &str, shown: String| {
            if let Some(why) = wrong(id, &shown) {
                found.entry(format!("{what} {why}")).or_insert_with(|| lab.stem.into());
            }
        };
        for step in &lab.steps {
            step.cases().iter().for_each(|case| look("variant", case, name::variant(step, case)));
            step.params().iter().for_each(|param| look("setting", param, name::setting(step, param)));
            for value in std::iter::once(&step.headline).chain(&step.columns) {
                look("value", value, name::value(step, value));
            }
        }
        for record in cited(lab.stem) {
            let Some(step) = step_of(lab, &record) else { continue };
            look("variant", &record.case, name::variant(step, &record.case));
            look("setting", &record.param, name::setting(step, &record.param));
            for value in record.launches.iter().flat_map(|s| s.values.keys()) {
                look("value", value, name::value(step, value));
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn two_variants_or_settings_of_a_step_never_share_a_name() {
    for lab in labs() {
        for step in &lab.steps {
            let mut seen: BTreeMap<String, &str> = BTreeMap::new();
            for (id, shown) in step
                .cases()
                .into_iter()
                .map(|c| (c, name::variant(step, c)))
                .chain(step.params().into_iter().map(|p| (p, format!("at {}", name::setting(step, p)))))
            {
                if let Some(other) = seen.insert(shown.clone(), id) {
                    panic!("{}/{}: {id} and {other} are both called '{shown}'", lab.stem, step.name);
                }
            }
        }
    }
}

/// The words of a text that have an underscore and are no name of code.
fn with_underscore(text: &str) -> Vec<&str> {
    let words = text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '/'));
    words.filter(|w| w.trim_matches('_').contains('_') && !CODE.contains(w) && !w.contains('/')).collect()
}

#[test]
fn a_step_fits_eighty_columns_and_shows_no_id() {
    let look = Look { width: 80, ..Look::default() };
    for lab in labs() {
        let records = cited(lab.stem);
        for step in &lab.steps {
            let chart = picture::picture(lab, step, &records, None, look);
            let numbers = table::table(lab, step, &records, look);
            let verdicts = table::findings(&judge(lab, step, &records), look);
            for line in [&chart, &numbers, &verdicts].into_iter().flat_map(|text| text.lines()) {
                let length = line.chars().count();
                assert!(length <= 80, "{}/{}: {length} columns: {line}", lab.stem, step.name);
            }
            let ids: Vec<&str> =
                step.cases().into_iter().chain(step.params()).filter(|id| id.contains('_')).collect();
            let first = format!("{} / {}", lab.stem, step.name);
            for word in with_underscore(&format!("{chart}\n{}", numbers.replace(&first, ""))) {
                assert!(!ids.contains(&word), "{}/{}: the id {word} is shown", lab.stem, step.name);
            }
        }
    }
}

#[test]
fn a_quote_is_twelve_lines_of_eighty_columns_at_most() {
    for lab in labs() {
        let records = cited(lab.stem);
        let quote = quote::quote(lab, &records);
        let lines: Vec<&str> = quote.text.lines().collect();
        assert!(lines.len() <= 12, "{}: {} lines\n{}", lab.stem, lines.len(), quote.text);
        assert!(!quote.quotable || quote.text.contains("\nRepeat "), "{}\n{}", lab.stem, quote.text);
    }
}

//! What most commands need before they begin: the store and the machine.
use std::{
    env,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use super::{
    args::Common,
    out::{End, Out},
};
use crate::{
    lab::{Lab, plan::Plan},
    machine::{Machine, allowed_cpus, probe},
    record::{
        Loaded, Prediction, Record, Store,
        pool::{self, Typicals},
    },
    words::escape,
};

/// The folder that was named by a flag, by the variable, or the usual one. An empty variable is none, as everywhere else.
pub(super) fn folder(flag: Option<PathBuf>) -> Option<PathBuf> {
    let named = || env::var_os("UNDERHOOD_STORE").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    flag.or_else(named).or_else(Store::default_dir)
}

/// The store that was asked for, or the usual one.
pub(super) fn store(common: &Common) -> Result<Store, End> {
    folder(common.store.clone())
        .map(Store::open)
        .ok_or_else(|| End::Failed("no folder for records is known here; name one with --store DIR".into()))
}

/// The records of a lab. Every command reads them through this or [`all_records`]: what was skipped is named, never silent and never
/// fatal.
pub(super) fn records(store: &Store, lab: &Lab, out: &mut Out) -> Result<Vec<Record>, End> {
    let loaded = store.load(lab.stem)?;
    tell_skipped(&loaded, out);
    Ok(loaded.records)
}

/// The same where the other labs are worth telling of all the same: a file that cannot be read is named, and the exit code says that this
/// is a part.
pub(super) fn records_if_any(store: &Store, lab: &Lab, out: &mut Out) -> Option<Vec<Record>> {
    match store.load(lab.stem) {
        Ok(loaded) => {
            tell_skipped(&loaded, out);
            Some(loaded.records)
        }
        Err(e) => {
            out.unread = true;
            out.warn(&e.to_string());
            None
        }
    }
}

/// The records of all labs; see [`records`] and [`records_if_any`].
pub(super) fn all_records(store: &Store, out: &mut Out) -> Result<Loaded, End> {
    let loaded = store.load_all()?;
    tell_skipped(&loaded, out);
    out.unread |= !loaded.unread.is_empty();
    loaded.unread.iter().for_each(|why| out.warn(why));
    Ok(loaded)
}

/// What the reader guessed so far; says what of it could not be read.
pub(super) fn predictions(store: &Store, out: &mut Out) -> Vec<Prediction> {
    match store.predictions() {
        Ok((predictions, unread)) => {
            if unread > 0 {
                out.warn(&format!("{unread} predictions could not be read"));
            }
            predictions
        }
        Err(e) => {
            out.unread = true;
            out.warn(&format!("without your predictions: {e}"));
            Vec::new()
        }
    }
}

fn tell_skipped(loaded: &Loaded, out: &mut Out) {
    if let Some(what) = loaded.skipped() {
        out.warn(&what);
    }
}

/// Refuses to write something else where the store keeps its own lines.
pub(super) fn not_its_own(store: &Store, file: &std::path::Path) -> Result<(), End> {
    if !store.keeps(file) {
        return Ok(());
    }
    let file = escape::path(file);
    Err(End::Usage(format!(
        "{file} is where the store keeps records, and they would be lost: name another file"
    )))
}

/// Records as they are shown and judged: where sessions of a step may speak together, they do. How sessions typically vary is learned from
/// all records of the store, whatever is asked for: so each command gives a number the same bracket.
pub(super) fn pooled(store: &Store, lab: &'static Lab, records: Vec<Record>) -> Vec<Record> {
    pool::with_typical(&[lab], records, &typical(store))
}

/// What the notes cite of a lab of ours: another machine's records, in the sources that this program was built from, if they are still there.
/// How sessions vary is learned from this lab alone, which is quick; the middles are the notes' own, the brackets may be a little wider or narrower.
pub(super) fn of_the_notes(lab: &'static Lab) -> Vec<Record> {
    if lab.origin.package != env!("CARGO_PKG_NAME") {
        return Vec::new();
    }
    notes().load(lab.stem).map(|loaded| pool::with_pools(&[lab], loaded.records)).unwrap_or_default()
}

/// The records of the notes whose ids begin like this. Only a file that has such an id in it is read as records.
pub(super) fn in_the_notes(id: &str, labs: &[&'static Lab]) -> Vec<Record> {
    if id.len() < 4 || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Vec::new();
    }
    let (notes, begins) = (notes(), format!("\"id\":\"{id}"));
    let has = |lab: &&&'static Lab| {
        let file = notes.dir().join(format!("{}.jsonl", lab.stem));
        std::fs::read_to_string(file).is_ok_and(|text| text.contains(&begins))
    };
    let found = labs.iter().filter(has).filter_map(|lab| notes.load(lab.stem).ok());
    found.flat_map(|loaded| loaded.find(id)).collect()
}

/// Where the records lie that the notes cite. An installed program finds them as long as the sources are there.
pub(super) fn notes() -> Store {
    Store::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records"))
}

/// How sessions of each kind typically vary in this store. A file that cannot be read teaches nothing.
pub(super) fn typical(store: &Store) -> Typicals {
    store.load_all().map(|all| pool::typical(&all.records)).unwrap_or_default()
}

/// Says before minutes of measuring that nothing of it could be kept; the result is worth having all the same.
pub(super) fn try_keeping(store: &Store, lab: &Lab, out: &mut Out) {
    if let Err(e) = store.try_keeping(lab.stem) {
        out.warn(&format!("{e}; what is measured now is shown, but not stored"));
    }
}

/// Reads the machine and examines what it is fit for; a smoke run skips the examination.
pub(super) fn machine(plan: &Plan, out: &mut Out) -> Result<Machine, End> {
    threads()?;
    let mut machine = Machine::read();
    if !plan.is_smoke() {
        examine(&mut machine, out)?;
    }
    Ok(machine)
}

/// Threads beside one for each CPU that measuring needs in this process.
const MORE_THREADS: usize = 4;

/// Tries whether as many threads can be started as examining and measuring need: where a limit forbids it nothing can be measured, and that
/// is better said than met half-way.
pub(super) fn threads() -> Result<(), End> {
    let gate = Arc::new(Mutex::new(()));
    let closed = gate.lock();
    let wanted = allowed_cpus().len().clamp(1, probe::MAX_LANES) + MORE_THREADS;
    let wait = |_| {
        let gate = gate.clone();
        thread::Builder::new().spawn(move || drop(gate.lock()))
    };
    // All at once, not one after the other: so they will be needed.
    let started: Result<Vec<_>, _> = (0..wanted).map(wait).collect();
    drop(closed);
    let why = |e| {
        format!(
            "this system does not let the program start {wanted} threads ({e}): see `ulimit -u` and the limits of its \
             container"
        )
    };
    for thread in started.map_err(|e| End::Failed(why(e)))? {
        let _ = thread.join();
    }
    Ok(())
}

/// Examines the machine, for about three seconds. A signal ends the program meanwhile: there is nothing to keep.
pub(super) fn examine(machine: &mut Machine, out: &mut Out) -> Result<(), End> {
    threads()?;
    machine
        .examine(Duration::from_secs(3), &mut |what| out.progress(&format!("examining the machine: {what}")));
    out.progress_end();
    Ok(())
}

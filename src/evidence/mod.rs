//! What a benchmark of yours left behind, and the flaws that it shows: `underhood audit`.
//!
//! | file | what is there |
//! |---|---|
//! | [`recorder`] | goes into your benchmark, notes when its clock and its threads ran, and writes a file; and how that file is read |
//! | [`criterion`] | reads what criterion itself wrote: `target/criterion` |
//! | [`flaws`] | evidence in, named flaws out: pure functions |
pub mod criterion;
pub mod flaws;
pub mod recorder;

use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
};

pub use self::{
    flaws::{Audited, Case, Finding, Mistake, Taken},
    recorder::Recorder,
};
use crate::{record::file, words::escape};

/// No benchmark's file is as long as this, and a longer one is not read.
const MOST_BYTES: u64 = 64 << 20;
/// So many entries of folders are looked at; a whole disk was not meant.
const MOST_ENTRIES: usize = 100_000;
/// How the files of the recorder end, so that they are found in a folder.
const RECORDED: &str = ".audit.jsonl";

/// A file that can't be read as evidence, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// The file or folder.
    pub path: PathBuf,
    /// Why, as the end of a sentence: `line 3: it is no JSON`.
    pub why: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot read {}: {}", escape::path(&self.path), self.why)
    }
}

impl std::error::Error for Unreadable {}

/// Cases that are compared with one another: those of one file of the recorder, or of one group of criterion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Benchmark {
    /// What the benchmark calls itself.
    pub name: String,
    /// Its cases, in the order in which they were first measured.
    pub cases: Vec<Case>,
}

/// All benchmarks in these files and folders, and what can't be read.
pub fn read(paths: &[PathBuf]) -> (Vec<Benchmark>, Vec<Unreadable>) {
    let (mut benchmarks, mut unread, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for path in paths {
        let files = match files_of(path, &mut unread) {
            Ok(files) => files,
            Err(e) => {
                unread.push(e);
                continue;
            }
        };
        let mut of_criterion = Vec::new();
        for file in files.into_iter().filter(|file| seen.insert(file.clone())) {
            let done = if file.file_name().is_some_and(|name| name == criterion::SAMPLE) {
                criterion::case(&file).map(|case| of_criterion.push(case))
            } else {
                recorder::benchmark(&file).map(|benchmark| benchmarks.push(benchmark))
            };
            unread.extend(done.err());
        }
        benchmarks.extend(criterion::groups(of_criterion));
    }
    (benchmarks, unread)
}

/// The file, or what the folder has, in order: of criterion the newest samples of each benchmark, and the recorder's files. Folders
/// below that can't be read go to `unread`.
fn files_of(top: &Path, unread: &mut Vec<Unreadable>) -> Result<Vec<PathBuf>, Unreadable> {
    let at = |path: &Path, why: String| Unreadable { path: path.into(), why };
    if !fs::metadata(top).map_err(|e| at(top, e.to_string()))?.is_dir() {
        return Ok(vec![top.into()]);
    }
    let (mut found, mut folders, mut seen, before) = (Vec::new(), vec![top.to_path_buf()], 0, unread.len());
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) => {
                unread.push(at(&folder, e.to_string()));
                continue;
            }
        };
        // What has gone meanwhile is no file of the folder.
        for entry in entries.flatten() {
            seen += 1;
            if seen > MOST_ENTRIES {
                let why = "it has more than 100,000 entries; name the folder of the benchmark";
                return Err(at(top, why.into()));
            }
            let Ok(kind) = entry.file_type() else { continue };
            let (path, name) = (entry.path(), entry.file_name());
            let is_newest = || folder.file_name().is_some_and(|f| f == "new");
            // A link to a folder may lead in a circle.
            if kind.is_dir() {
                folders.push(path);
            } else if name.to_string_lossy().ends_with(RECORDED) || (name == criterion::SAMPLE && is_newest())
            {
                found.push(path);
            }
        }
    }
    if found.is_empty() && unread.len() == before {
        let why = format!("it has no new/sample.json of criterion and no file that ends in {RECORDED}");
        return Err(at(top, why));
    }
    found.sort();
    Ok(found)
}

/// The text of a regular file that is not too long.
fn text(path: &Path) -> Result<String, Unreadable> {
    let unread = |why: String| Unreadable { path: path.into(), why };
    let bytes = file::read_up_to(path, MOST_BYTES).map_err(|e| unread(e.to_string()))?;
    let bytes = bytes.ok_or_else(|| unread("there is no such file".into()))?;
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Err(unread("it is empty".into()));
    }
    String::from_utf8(bytes).map_err(|_| unread("it is not UTF-8".into()))
}

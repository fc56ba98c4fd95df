//! The store: one JSON line a record, one file a lab, appended atomically.
//!
//! A reader trusts nothing in it: a line may be half written (crash, full disk), edited by hand, from a newer version, or not
//! ours at all. Such lines are skipped and counted, never fatal and never silently repaired.
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt, fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::{Record, SCHEMA, file, id_of, machines::Machines};

/// A folder with a file `<lab>.jsonl` for each lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    dir: PathBuf,
}

/// What a read found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The sound records, in the order in which they were appended; a record that is stored twice is loaded once.
    pub records: Vec<Record>,
    /// Lines of ours that are half written, or whose id does not fit their content.
    pub damaged: usize,
    /// Lines of a newer schema.
    pub newer: usize,
    /// Lines that were never ours, or belong to another lab than the file does.
    pub foreign: usize,
    /// Where all of these are: the file's name and the line, from 1.
    pub places: Vec<(String, usize)>,
    /// Labs' files that could not be read at all, and why: a sentence each.
    pub unread: Vec<String>,
}

/// What went wrong with the store: where, while doing what, and the system's reason.
#[derive(Debug)]
pub struct StoreError {
    /// The file or folder.
    pub path: PathBuf,
    /// What was being done with it: "append to", "read" ...
    pub action: &'static str,
    /// The operating system's reason, or ours.
    pub reason: io::Error,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}: {}", self.action, self.path.display(), self.reason)
    }
}

impl std::error::Error for StoreError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.reason)
    }
}

/// True for names that may become a file: a lower-case letter, then up to 63 lower-case letters, digits or underscores.
/// Names come out of records and flags too, and `../../x` must not.
pub fn is_lab_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    name.len() <= 64 && name.bytes().all(plain) && name.starts_with(|c: char| c.is_ascii_lowercase())
}

impl Store {
    /// The store in a folder. Touches nothing: the folder is made by the first [`Store::append`], so that a read of an absent
    /// store leaves no trace.
    pub fn open(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where records live unless a flag or the environment says otherwise: `target/underhood` of the repository that this
    /// program was built in, if that still exists and the current folder is inside it; else the user's data folder.
    /// `None` if the user has none.
    pub fn default_dir() -> Option<PathBuf> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        let current = std::env::current_dir().ok();
        Self::dir_for(repository, current.as_deref(), |name| std::env::var_os(name))
    }

    /// [`Store::default_dir`] with its surroundings passed in: the repository, the current folder, the environment.
    pub fn dir_for(
        repository: &Path,
        current: Option<&Path>,
        var: impl Fn(&str) -> Option<OsString>,
    ) -> Option<PathBuf> {
        let real = |p: &Path| fs::canonicalize(p).ok();
        let inside = current.and_then(real).zip(real(repository)).is_some_and(|(c, r)| c.starts_with(r));
        if inside && repository.join("Cargo.toml").is_file() {
            return Some(repository.join("target").join("underhood"));
        }
        // The XDG base directory specification ignores relative paths.
        let folder = |name| var(name).map(PathBuf::from).filter(|p| p.is_absolute());
        let home = || folder("HOME").map(|h| h.join(".local").join("share"));
        let local = || folder("LOCALAPPDATA").filter(|_| cfg!(windows));
        Some(folder("XDG_DATA_HOME").or_else(local).or_else(home)?.join("underhood"))
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Appends records, one file a lab, each file in one write of whole lines under an advisory lock: two runs at once neither
    /// interleave nor overwrite each other. Starts on a fresh line if the file ends in half a line.
    ///
    /// # Errors
    /// If the folder or file cannot be written (read-only, full: then what was written of these lines is taken back), another
    /// process keeps the lock for 10 s, a lab's name is not a name ([`is_lab_name`]), or a record was not sealed. Labs whose
    /// file was written before the failing one keep their records.
    pub fn append(&self, records: &[Record]) -> Result<(), StoreError> {
        for (lab, lines) in self.by_lab(records)? {
            let path = self.file(lab)?;
            fs::create_dir_all(&self.dir).map_err(|e| failed(&self.dir, "create", e))?;
            file::append(&path, &lines).map_err(|e| failed(&path, "append to", e))?;
        }
        Ok(())
    }

    /// Makes the lab's file hold exactly these records, each machine once; readers see the old file or the new one. `from` are the stores
    /// that the records were loaded from: a line with fields that this version does not know is copied from there as it stands.
    /// For the records that NOTES.md cites, which are committed beside it.
    ///
    /// # Errors
    /// As [`Store::append`]; also if a record belongs to another lab.
    pub fn replace(&self, lab: &str, records: &[Record], from: &[&Store]) -> Result<(), StoreError> {
        let path = self.file(lab)?;
        if records.iter().any(|r| r.lab != lab) {
            return Err(failed(&path, "replace", io::Error::other("a record belongs to another lab")));
        }
        let (mut text, mut machines) = (String::new(), Machines::default());
        for record in records {
            let line = from.iter().find_map(|store| store.text_of(record)).or_else(|| sealed(record));
            text.push_str(&machines.shorten(&line.ok_or_else(|| unsealed(&path, record))?));
            text.push('\n');
        }
        fs::create_dir_all(&self.dir).map_err(|e| failed(&self.dir, "create", e))?;
        // Whoever appends meanwhile waits, and then finds the new file.
        let _held = if path.exists() { file::locked(&path).map(Some) } else { Ok(None) }
            .map_err(|e| failed(&path, "replace", e))?;
        self.rewrite(&path, &text)
    }

    /// The record's line as it stands in this store, if it has fields that this version does not know: written again from the record it
    /// would lose them, and its id would no longer fit.
    pub fn text_of(&self, record: &Record) -> Option<String> {
        if record.is_sealed() {
            return None;
        }
        let bytes = file::read(&self.file(&record.lab).ok()?).ok()??;
        let id = format!(r#""id":"{}""#, record.id);
        let mut machines = Machines::default();
        let lines = bytes.split(|b| *b == b'\n').filter_map(|line| std::str::from_utf8(line).ok());
        let mut whole = lines.map(|line| machines.restore(line.trim_end_matches('\r')).into_owned());
        whole.find(|line| {
            line.contains(&id)
                && matches!(read_line(line.as_bytes(), &record.lab), Line::Sound(r) if r.id == record.id)
        })
    }

    /// Makes a file of the store hold this text; readers see the old one or the new one.
    pub(super) fn rewrite(&self, path: &Path, text: &str) -> Result<(), StoreError> {
        fs::create_dir_all(&self.dir).map_err(|e| failed(&self.dir, "create", e))?;
        file::replace(path, text.as_bytes()).map_err(|e| failed(path, "replace", e))
    }

    /// Reads the records of a lab; none if there is no file.
    ///
    /// # Errors
    /// If the file is there but cannot be read, or the lab's name is not a name.
    pub fn load(&self, lab: &str) -> Result<Loaded, StoreError> {
        let path = self.file(lab)?;
        let bytes = file::read(&path).map_err(|e| failed(&path, "read", e))?;
        Ok(bytes.map_or_else(Loaded::default, |bytes| parse(&bytes, lab)))
    }

    /// Reads the records of all labs, in the order of their names. Files that are not named after a lab are left alone; a lab's file that
    /// cannot be read is named in [`Loaded::unread`], and the others are read all the same.
    ///
    /// # Errors
    /// If the folder is there but cannot be read.
    pub fn load_all(&self) -> Result<Loaded, StoreError> {
        let mut all = Loaded::default();
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(all),
            entries => entries.map_err(|e| failed(&self.dir, "read", e))?,
        };
        let mut labs = BTreeSet::new();
        for entry in entries {
            let path = entry.map_err(|e| failed(&self.dir, "read", e))?.path();
            let stem = path.file_name().and_then(|n| n.to_str()).and_then(|n| n.strip_suffix(".jsonl"));
            labs.extend(stem.filter(|s| is_lab_name(s)).map(str::to_string));
        }
        for lab in labs {
            let one = match self.load(&lab) {
                Ok(one) => one,
                Err(e) => {
                    all.unread.push(e.to_string());
                    continue;
                }
            };
            all.records.extend(one.records);
            all.damaged += one.damaged;
            all.newer += one.newer;
            all.foreign += one.foreign;
            all.places.extend(one.places);
        }
        Ok(all)
    }

    /// Tries whether there is a folder to read, or nothing at all.
    ///
    /// # Errors
    /// If something else is in its place, or it cannot be read.
    pub fn try_reading(&self) -> Result<(), StoreError> {
        match fs::read_dir(&self.dir) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(failed(&self.dir, "read", e)),
            _ => Ok(()),
        }
    }

    /// Tries whether the lab's records could be kept, for a warning before a long run: makes the folder, and writes nothing that stays.
    ///
    /// # Errors
    /// If the folder cannot be made or written to, or the lab's file is there and cannot be appended to. Whether there is room is only
    /// known at the end.
    pub fn try_keeping(&self, lab: &str) -> Result<(), StoreError> {
        let path = self.file(lab)?;
        fs::create_dir_all(&self.dir).map_err(|e| failed(&self.dir, "create", e))?;
        if fs::symlink_metadata(&path).is_ok() {
            return file::try_appending(&path).map_err(|e| failed(&path, "append to", e));
        }
        file::try_making(&self.dir).map_err(|e| failed(&self.dir, "write to", e))
    }

    /// True if this is where the store keeps lines of its own: records, predictions, pictures. Nothing else may be written there.
    pub fn keeps(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().filter(|name| file::is_reserved(name)) else {
            // A link by another name may lead there.
            return fs::canonicalize(path).is_ok_and(|real| real != path && self.keeps(&real));
        };
        let folder = path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
        let same = |a: &Path, b: &Path| {
            fs::canonicalize(a).ok().zip(fs::canonicalize(b).ok()).is_some_and(|(a, b)| a == b)
        };
        same(folder, &self.dir) || same(path, &self.dir.join(name))
    }

    fn file(&self, lab: &str) -> Result<PathBuf, StoreError> {
        self.beside(lab, "jsonl")
    }

    /// A lab's file of this kind.
    pub(super) fn beside(&self, lab: &str, kind: &str) -> Result<PathBuf, StoreError> {
        if is_lab_name(lab) {
            return Ok(self.dir.join(format!("{lab}.{kind}")));
        }
        let reason = format!("{lab:?} is not the name of a lab");
        Err(failed(&self.dir, "look in", io::Error::new(ErrorKind::InvalidInput, reason)))
    }

    /// The lines of each lab; refuses a record that could not be loaded again.
    fn by_lab<'a>(&self, records: &'a [Record]) -> Result<BTreeMap<&'a str, String>, StoreError> {
        let mut lines: BTreeMap<&str, String> = BTreeMap::new();
        for record in records {
            self.file(&record.lab)?;
            let line = sealed(record).ok_or_else(|| unsealed(&self.dir, record))?;
            let text = lines.entry(&record.lab).or_default();
            text.push_str(&line);
            text.push('\n');
        }
        Ok(lines)
    }
}

/// The record's line, if its id fits.
fn sealed(record: &Record) -> Option<String> {
    record.is_sealed().then(|| record.line())
}

fn unsealed(path: &Path, record: &Record) -> StoreError {
    let reason = format!("record {:?} does not carry the id of its content", record.id);
    failed(path, "append to", io::Error::new(ErrorKind::InvalidInput, reason))
}

/// So many places of skipped lines are named.
const PLACES: usize = 5;

impl Loaded {
    /// The records whose id starts like this: none, the one that was meant, or several, which the caller should ask about.
    /// An empty prefix finds none.
    pub fn find(&self, id_prefix: &str) -> Vec<Record> {
        let meant = |r: &&Record| !id_prefix.is_empty() && r.id.starts_with(id_prefix);
        self.records.iter().filter(meant).cloned().collect()
    }

    /// What was skipped and where, as a sentence; `None` if nothing was. Of many places the first few.
    pub fn skipped(&self) -> Option<String> {
        let counts =
            [(self.damaged, "damaged"), (self.newer, "of a newer version"), (self.foreign, "foreign")];
        let parts: Vec<String> =
            counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        let mut places: Vec<String> =
            self.places.iter().take(PLACES).map(|(file, line)| format!("{file}:{line}")).collect();
        let more = self.places.len() - places.len();
        places.extend((more > 0).then(|| format!("and {more} more")));
        let what = || format!("skipped lines of the store: {} ({})", parts.join(", "), places.join(", "));
        (!parts.is_empty()).then(what)
    }
}

pub(super) fn failed(path: &Path, action: &'static str, reason: io::Error) -> StoreError {
    StoreError { path: path.to_path_buf(), action, reason }
}

/// What one line is.
enum Line {
    Sound(Box<Record>),
    Damaged,
    Newer,
    Foreign,
}

fn parse(bytes: &[u8], lab: &str) -> Loaded {
    let mut loaded = Loaded::default();
    let mut seen = BTreeSet::new();
    let mut machines = Machines::default();
    let lines = bytes.split(|b| *b == b'\n').enumerate();
    for (i, line) in lines.filter(|(_, l)| !l.trim_ascii().is_empty()) {
        let whole =
            std::str::from_utf8(line).map_or(Cow::Borrowed(line), |text| match machines.restore(text) {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            });
        let skipped = match read_line(&whole, lab) {
            Line::Sound(r) => {
                if seen.insert(r.id.clone()) {
                    loaded.records.push(*r);
                }
                continue;
            }
            Line::Damaged => &mut loaded.damaged,
            Line::Newer => &mut loaded.newer,
            Line::Foreign => &mut loaded.foreign,
        };
        *skipped += 1;
        loaded.places.push((format!("{lab}.jsonl"), i + 1));
    }
    loaded
}

/// A line of ours starts with `{"schema":N,"id":"`. The id is checked on the text as it stands, not on a record that was
/// parsed and written again: so a field that this version does not know is covered too.
fn read_line(line: &[u8], lab: &str) -> Line {
    let Some(rest) = line.strip_prefix(br#"{"schema":"#) else { return Line::Foreign };
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let schema = std::str::from_utf8(&rest[..digits]).ok().and_then(|d| d.parse::<u32>().ok());
    match schema {
        Some(schema) if schema > SCHEMA && rest.get(digits) == Some(&b',') => return Line::Newer,
        Some(SCHEMA) => {}
        _ => return Line::Damaged,
    }
    let Ok(text) = std::str::from_utf8(line) else { return Line::Damaged };
    let text = text.trim_end_matches('\r');
    let Some((head, (id, tail))) =
        text.split_once(r#""id":""#).and_then(|(head, rest)| Some((head, rest.split_once('"')?)))
    else {
        return Line::Damaged;
    };
    if id_of(&format!(r#"{head}"id":""{tail}"#)) != id {
        return Line::Damaged;
    }
    match serde_json::from_str::<Record>(text) {
        Ok(r) if r.lab == lab => Line::Sound(Box::new(r)),
        Ok(_) => Line::Foreign,
        Err(_) => Line::Damaged,
    }
}

//! The store: one JSON line a record, one file a lab, appended atomically.
//!
//! A reader trusts nothing in it: a line may be half written (crash, full disk), edited by hand, from a newer version, or not
//! ours at all. Such lines are skipped and counted, never fatal and never silently repaired.
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{Record, SCHEMA, id_of, machines::Machines};

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

/// How long a writer waits for another one. A write takes milliseconds, so a longer wait means a stopped process.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(5);

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
            append_lines(&path, &lines).map_err(|e| failed(&path, "append to", e))?;
        }
        Ok(())
    }

    /// Makes the lab's file hold exactly these records, each machine once; readers see the old file or the new one.
    /// For the records that NOTES.md cites, which are committed beside it.
    ///
    /// # Errors
    /// As [`Store::append`]; also if a record belongs to another lab.
    pub fn replace(&self, lab: &str, records: &[Record]) -> Result<(), StoreError> {
        let path = self.file(lab)?;
        if records.iter().any(|r| r.lab != lab) {
            return Err(failed(&path, "replace", io::Error::other("a record belongs to another lab")));
        }
        let lines = self.by_lab(records)?.remove(lab).unwrap_or_default();
        let mut machines = Machines::default();
        let lines: String = lines.lines().map(|line| machines.shorten(line) + "\n").collect();
        self.rewrite(&path, &lines)
    }

    /// Makes a file of the store hold this text; readers see the old one or the new one.
    pub(super) fn rewrite(&self, path: &Path, text: &str) -> Result<(), StoreError> {
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(format!(".{}.new", std::process::id()));
        let fresh = PathBuf::from(fresh);
        fs::create_dir_all(&self.dir).map_err(|e| failed(&self.dir, "create", e))?;
        fs::write(&fresh, text).and_then(|()| fs::rename(&fresh, path)).map_err(|e| {
            // The reason to report is the first one; a left-over file harms nobody, since no lab has its name.
            let _ = fs::remove_file(&fresh);
            failed(path, "replace", e)
        })
    }

    /// Reads the records of a lab; none if there is no file.
    ///
    /// # Errors
    /// If the file is there but cannot be read, or the lab's name is not a name.
    pub fn load(&self, lab: &str) -> Result<Loaded, StoreError> {
        let path = self.file(lab)?;
        match fs::read(&path) {
            Ok(bytes) => Ok(parse(&bytes, lab)),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Loaded::default()),
            Err(e) => Err(failed(&path, "read", e)),
        }
    }

    /// Reads the records of all labs, in the order of their names. Files that are not named after a lab are left alone.
    ///
    /// # Errors
    /// If the folder or one of the files is there but cannot be read.
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
            labs.extend(stem.filter(|s| is_lab_name(s) && path.is_file()).map(str::to_string));
        }
        for lab in labs {
            let one = self.load(&lab)?;
            all.records.extend(one.records);
            all.damaged += one.damaged;
            all.newer += one.newer;
            all.foreign += one.foreign;
            all.places.extend(one.places);
        }
        Ok(all)
    }

    /// The records whose id starts like this: none, the one that was meant, or several, which the caller should ask about.
    /// An empty prefix finds none.
    ///
    /// # Errors
    /// As [`Store::load_all`].
    pub fn find(&self, id_prefix: &str) -> Result<Vec<Record>, StoreError> {
        let mut records = self.load_all()?.records;
        records.retain(|r| !id_prefix.is_empty() && r.id.starts_with(id_prefix));
        Ok(records)
    }

    /// Tries whether the lab's records could be kept, for a warning before a long run: makes the folder, and writes nothing that stays.
    ///
    /// # Errors
    /// If the folder cannot be made or written to, or the lab's file is there and cannot be appended to. Whether there is room is only
    /// known at the end.
    pub fn try_keeping(&self, lab: &str) -> Result<(), StoreError> {
        let path = self.file(lab)?;
        fs::create_dir_all(&self.dir).map_err(|e| failed(&self.dir, "create", e))?;
        match OpenOptions::new().append(true).open(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            opened => return opened.map(drop).map_err(|e| failed(&path, "append to", e)),
        }
        let trial = self.dir.join(format!("{lab}.{}.try", std::process::id()));
        File::create(&trial).map_err(|e| failed(&self.dir, "write to", e))?;
        fs::remove_file(&trial).map_err(|e| failed(&trial, "remove", e))
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
            if !record.is_sealed() {
                let reason = format!("record {:?} does not carry the id of its content", record.id);
                return Err(failed(&self.dir, "append to", io::Error::new(ErrorKind::InvalidInput, reason)));
            }
            let text = lines.entry(&record.lab).or_default();
            text.push_str(&record.line());
            text.push('\n');
        }
        Ok(lines)
    }
}

/// So many places of skipped lines are named.
const PLACES: usize = 5;

impl Loaded {
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

pub(super) fn append_lines(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    lock(&file)?;
    let before = file.seek(SeekFrom::End(0))?;
    let mut bytes = Vec::with_capacity(lines.len() + 1);
    if before > 0 {
        let mut last = [0];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        if last != *b"\n" {
            bytes.push(b'\n');
        }
    }
    bytes.extend_from_slice(lines.as_bytes());
    // One write in the usual case; `write_all` only goes on where the system took a part. On failure the half line is cut off
    // again, which is safe since we hold the lock; if even that fails, the next append starts on a fresh line.
    file.write_all(&bytes).inspect_err(|_| {
        let _ = file.set_len(before);
    })
    // The lock goes with the file handle.
}

fn lock(file: &File) -> io::Result<()> {
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            // A file system without locks: O_APPEND alone still keeps whole writes apart on local disks.
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(e)) if e.kind() == ErrorKind::Unsupported => return Ok(()),
            Err(TryLockError::Error(e)) => return Err(e),
            Err(TryLockError::WouldBlock) if waited >= PATIENCE => {
                let reason = format!("another process has kept it locked for {} s", PATIENCE.as_secs());
                return Err(io::Error::new(ErrorKind::WouldBlock, reason));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(RETRY),
        }
        waited += RETRY;
    }
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

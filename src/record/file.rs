//! Files as the store reads and writes them: regular ones only, and never half.
//!
//! | danger | what is done |
//! |---|---|
//! | a named pipe, a device or a folder in a file's place | refused in a sentence; opening one could wait for ever |
//! | a disk that fills up while a file is replaced | the new text is written beside the old file and renamed over it |
//! | a name that somebody else made first, as a link to a foreign file | names are drawn by lot, and made only where nothing is |
//! | a writer that was killed | the next writer in that folder removes its file: the lock on it died with it |
//! | two writers of one file | an advisory lock; see `append` |
use std::{
    ffi::OsStr,
    fs::{self, File, FileType, OpenOptions, TryLockError},
    hash::{BuildHasher, RandomState},
    io::{self, ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// How long a writer waits for another one. A write takes milliseconds, so a longer wait means a stopped process.
const PATIENCE: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(5);
/// A larger file is no store of ours: a million records have this size.
const MOST_BYTES: u64 = 4 << 30;
/// So often a writer begins again because somebody replaced the file under it.
const TRIES: usize = 100;

/// Held while a file is changed, so that whoever ends the program can let it be changed completely.
static WRITING: Mutex<()> = Mutex::new(());

/// While this is held nothing of this process is half written: a program ends here.
pub fn undisturbed() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// 64 bits that no other process has: from the system's source of random keys.
pub fn lot() -> u64 {
    RandomState::new().hash_one(0)
}

/// The bytes of a regular file; `None` if nothing is there.
///
/// # Errors
/// The system's reason; also if something else than a regular file is there, or a link to nothing, or more than 4 GiB.
pub fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    read_up_to(path, MOST_BYTES)
}

/// As [`read`], for a file that has at most so many bytes.
///
/// # Errors
/// As [`read`].
pub fn read_up_to(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match open(OpenOptions::new().read(true), path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return if is_link(path) { Err(io::Error::other("it is a link to nothing")) } else { Ok(None) };
        }
        opened => opened?,
    };
    let too_large = || {
        io::Error::new(ErrorKind::FileTooLarge, format!("it is larger than {} MiB", most.div_ceil(1 << 20)))
    };
    let length = file.metadata()?.len();
    if length > most {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(length).map_err(|_| too_large())?)?;
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most { Err(too_large()) } else { Ok(Some(bytes)) }
}

/// The text of a regular file that has to be there.
///
/// # Errors
/// As [`read`]; also if it is not there, or no UTF-8.
pub fn text(path: &Path) -> io::Result<String> {
    let bytes = read(path)?.ok_or(ErrorKind::NotFound)?;
    String::from_utf8(bytes).map_err(|_| io::Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Makes the file hold this and nothing else; readers see the old one or the new one. A link is replaced, not followed. Who may use the
/// file stays as it was.
///
/// # Errors
/// The system's reason: then the old file is as it was. Also if something else than a regular file is there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let old = fs::symlink_metadata(path).ok().filter(|old| !old.is_symlink());
    if let Some(old) = &old {
        regular(old.file_type())?;
        // A rename would pass over a file that is write-protected.
        open(OpenOptions::new().write(true), path)?;
    }
    let folder = folder_of(path);
    let _whole = undisturbed();
    sweep(folder);
    for _ in 0..TRIES {
        let (fresh, mut file) = make(folder)?;
        let written = (|| {
            file.write_all(bytes)?;
            if let Some(old) = &old {
                file.set_permissions(old.permissions())?;
                // Only root can give a file away; for anybody else it is his own already.
                #[cfg(unix)]
                {
                    use std::os::unix::fs::{MetadataExt, fchown};
                    let _ = fchown(&file, Some(old.uid()), Some(old.gid()));
                }
            }
            match file.sync_all() {
                Err(e) if matches!(e.kind(), ErrorKind::Unsupported | ErrorKind::InvalidInput) => Ok(()),
                synced => synced,
            }
        })();
        match written.and_then(|()| fs::rename(&fresh, path)) {
            // Another writer swept it between its making and its lock.
            Err(e) if e.kind() == ErrorKind::NotFound && folder.is_dir() => {}
            Err(e) => {
                let _ = fs::remove_file(&fresh);
                return Err(e);
            }
            Ok(()) => return Ok(()),
        }
    }
    Err(io::Error::other("other writers took away what was to become it"))
}

/// Writes what a reader asked for to where he said: as [`replace`], behind a link if it is one. A pipe or a device gets the bytes as they
/// are.
///
/// # Errors
/// As [`replace`].
pub fn deliver(path: &Path, bytes: &[u8]) -> io::Result<()> {
    match target(path)? {
        Target::Stream => OpenOptions::new().write(true).open(path)?.write_all(bytes),
        Target::File(path) => replace(&path, bytes),
    }
}

/// Tries whether [`deliver`] could write there, before the work that makes what is to be written. Nothing stays behind.
///
/// # Errors
/// As [`deliver`]; whether there is room is only known when it is written.
pub fn try_delivering(path: &Path) -> io::Result<()> {
    let Target::File(path) = target(path)? else { return Ok(()) };
    if fs::symlink_metadata(&path).is_ok() {
        open(OpenOptions::new().write(true), &path)?;
    }
    try_making(folder_of(&path))
}

/// Tries whether a file can be made in this folder.
///
/// # Errors
/// The system's reason.
pub(super) fn try_making(folder: &Path) -> io::Result<()> {
    let _whole = undisturbed();
    let (trial, _file) = make(folder)?;
    match fs::remove_file(trial) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()), // swept
        removed => removed,
    }
}

enum Target {
    /// A pipe, a device, or a descriptor of this process.
    Stream,
    /// A file to replace or to make.
    File(PathBuf),
}

fn target(path: &Path) -> io::Result<Target> {
    let Ok(there) = fs::metadata(path) else {
        return match is_link(path) {
            true => Err(io::Error::other("it is a link to nothing")),
            false => Ok(Target::File(path.to_path_buf())),
        };
    };
    if there.is_dir() {
        regular(there.file_type())?;
    }
    // `/dev/stdout` leads to a descriptor: that is written to, whatever it is.
    let descriptor = ["/dev", "/proc"].iter().any(|dir| path.starts_with(dir));
    if descriptor || !there.is_file() {
        Ok(Target::Stream)
    } else {
        Ok(Target::File(fs::canonicalize(path)?))
    }
}

/// Appends whole lines in one write under an advisory lock: two writers neither interleave nor overwrite each other. Begins on a fresh line
/// if the file ends in half a line.
///
/// # Errors
/// The system's reason: then what was written of these lines is taken back. Also if another process keeps the lock for 10 s, or if
/// something else than a regular file is there.
pub(super) fn append(path: &Path, lines: &str) -> io::Result<()> {
    let mut file = locked(path)?;
    let _whole = undisturbed();
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

/// Tries whether a file that is there can be appended to; changes nothing.
///
/// # Errors
/// The system's reason; also if something else than a regular file is there.
pub(super) fn try_appending(path: &Path) -> io::Result<()> {
    open(OpenOptions::new().append(true), path).map(drop)
}

/// The file under its lock, made if it is not there. Who waited for the lock may hold a file that was replaced meanwhile; then the new one
/// is taken.
///
/// # Errors
/// As [`append`].
pub(super) fn locked(path: &Path) -> io::Result<File> {
    for _ in 0..TRIES {
        let file = open(OpenOptions::new().read(true).append(true).create(true), path)?;
        lock(&file)?;
        if is_at(&file, path)? {
            return Ok(file);
        }
    }
    Err(io::Error::other("somebody replaces it again and again"))
}

/// True if the path still leads to this open file.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let (ours, there) = (file.metadata()?, fs::metadata(path));
        Ok(there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())))
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        Ok(true)
    }
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

/// Opens a regular file without ever waiting for another process, as opening a pipe does.
fn open(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    // Looked at before it is opened, since opening a device or a pipe may already do something.
    match fs::metadata(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => {}
        there => regular(there?.file_type())?,
    }
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    regular(file.metadata()?.file_type())?;
    Ok(file)
}

fn regular(found: FileType) -> io::Result<()> {
    #[cfg(unix)]
    let pipe = std::os::unix::fs::FileTypeExt::is_fifo(&found);
    #[cfg(not(unix))]
    let pipe = false;
    let what = match (found.is_file(), found.is_dir()) {
        (true, _) => return Ok(()),
        (_, true) => "a folder",
        _ if pipe => "a named pipe",
        _ => "a device or a socket",
    };
    Err(io::Error::new(ErrorKind::InvalidInput, format!("it is {what}, not a file")))
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|there| there.is_symlink())
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."))
}

const BEGINS: &str = ".underhood-";
const ENDS: &str = ".new";

/// A new file under a name that nobody can foresee, with its lock.
fn make(folder: &Path) -> io::Result<(PathBuf, File)> {
    for _ in 0..TRIES {
        let path = folder.join(format!("{BEGINS}{:016x}{ENDS}", lot()));
        // Fails where anything is, a link included.
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
            Err(e) => return Err(e),
            Ok(file) => {
                // Where the file system has no locks nobody can take it for left behind either.
                let _ = file.try_lock();
                return Ok((path, file));
            }
        }
    }
    Err(ErrorKind::AlreadyExists.into())
}

/// Removes what writers left in this folder that were killed in the middle: a living one holds the lock.
fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(BEGINS) && name.ends_with(ENDS));
        if ours && entry.file_type().is_ok_and(|t| t.is_file()) {
            let path = entry.path();
            let left = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if left {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// True for a name that the store keeps its own lines under: nothing else may be written there.
pub(super) fn is_reserved(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| name.ends_with(".jsonl") || name.ends_with(".pictures.json"))
}

//! Every command against stores, words and surroundings that mean it ill. Whatever is tried: no panic, an exit code of the documented set,
//! an end within a bound, a sentence where it failed, nothing raw in the terminal, and the files of the store as they were.
//!
//! A share of the tries as a rule; `UNDERHOOD_HOSTILE=all` for all of them. Both print a table of counts.
#![allow(clippy::print_stdout, reason = "the table of counts, so that a test of nothing can be seen as such")]
use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fs,
    io::{Read, Seek, SeekFrom},
    os::unix::{
        ffi::OsStrExt, ffi::OsStringExt, fs::FileTypeExt, fs::PermissionsExt, fs::symlink, net::UnixListener,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

/// A command that only reads ends within this, in a debug build on a loaded machine too.
const BOUND: Duration = Duration::from_secs(60);
/// One that measures a whole lab ends within this.
const BOUND_OF_A_LAB: Duration = Duration::from_secs(300);
/// The documented exit codes.
const CODES: [i32; 6] = [0, 1, 2, 3, 4, 130];
/// Whose file is spoilt, and another lab that is sound.
const LAB: &str = "order_wakeup";
const SOUND: &str = "lock_audit";
/// A litmus test of ours.
const SB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/litmus/sb_acq_rel.litmus");
/// Every so many tries one is done, unless all are.
const STRIDE: usize = 13;

pub(crate) fn all() -> bool {
    env::var_os("UNDERHOOD_HOSTILE").is_some_and(|all| all == "all")
}

/// How one try ended.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
    took: Duration,
}

/// Runs it to its end, or ends it at the bound: then there is no code.
fn ends(command: &mut Command, bound: Duration) -> Ended {
    // Into files: a reader of pipes would have to be a thread, and the program might fill one while we wait for the other.
    let (mut out, mut err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdin(Stdio::null());
    command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
    let began = Instant::now();
    let mut child = command.spawn().expect("the program starts");
    let code = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status.code(),
            None if began.elapsed() > bound => {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            None => thread::sleep(Duration::from_millis(2)),
        }
    };
    let took = began.elapsed();
    let read = |file: &mut fs::File| {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    Ended { code, out: read(&mut out), err: read(&mut err), took }
}

/// What is wrong with an end, if anything.
pub(crate) fn faults(ended: &Ended) -> Vec<String> {
    let (out, err) = (String::from_utf8_lossy(&ended.out), String::from_utf8_lossy(&ended.err));
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(what);
    match ended.code {
        Some(code) if CODES.contains(&code) => {}
        Some(code) => fault(format!("exit code {code}")),
        None => fault(format!("no end of its own after {:?}", ended.took)),
    }
    for panic in ["panicked at", "RUST_BACKTRACE", "stack backtrace"] {
        if out.contains(panic) || err.contains(panic) {
            fault(format!("a panic: {err}"));
            break;
        }
    }
    if matches!(ended.code, Some(1 | 2)) && !err.lines().any(|l| l.split_whitespace().count() >= 4) {
        fault(format!("it failed without a sentence: {err:?}"));
    }
    for text in [&out, &err] {
        if let Some(raw) = raw(text) {
            fault(format!("{raw:?} reaches the terminal: {:?}", text.chars().take(400).collect::<String>()));
        }
    }
    faults
}

/// The first character that moves a cursor, titles a window or reorders text; colours are ours.
fn raw(text: &str) -> Option<char> {
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        let (head, tail) = rest.split_at(at);
        let colour = tail[1..].strip_prefix('[').and_then(|t| {
            let end = t.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
            t[end..].strip_prefix('m')
        });
        if let Some(bad) = hidden(head) {
            return Some(bad);
        }
        match colour {
            Some(tail) => rest = tail,
            None => return Some('\x1b'),
        }
    }
    hidden(rest)
}

fn hidden(text: &str) -> Option<char> {
    text.chars().find(|c| c.is_control() && *c != '\n' && *c != '\r' || matches!(c, '\u{202a}'..='\u{202e}'))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program as at a terminal that shows colours, where anything raw would be seen.
pub(crate) fn underhood() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_underhood"));
    command.env_remove("UNDERHOOD_STORE").env("CLICOLOR_FORCE", "1").env_remove("RUST_BACKTRACE");
    command
}

/// A sound line of the lab, with one more field, as a later version may write it; its id fits.
pub(crate) fn sealed_with(line: &str, field: &str) -> String {
    let (head, rest) = line.split_once(r#""id":""#).expect("a record");
    let (_, tail) = rest.split_once('"').expect("an id");
    let tail = if field.is_empty() {
        tail.to_string()
    } else {
        format!("{},{field}}}", tail.strip_suffix('}').expect("a record"))
    };
    let id: String = Sha256::digest(format!(r#"{head}"id":""{tail}"#))
        .iter()
        .take(6)
        .map(|b| format!("{b:02x}"))
        .collect();
    format!(r#"{head}"id":"{id}"{tail}"#)
}

fn records(lab: &str) -> String {
    fs::read_to_string(root().join(format!("tests/records/{lab}.jsonl"))).expect("it is cited")
}

const PREDICTION: &str = r#"{"schema":1,"at":"2026-11-30T00:00:00Z","lab":"order_wakeup","step":"S","case":"C","param":"","value":"x_count","guess":{"range":[1.0,9.0]},"why":"so","run":"R"}"#;
const PICTURE: &str =
    r#"[{"step":"S","name":"a","length_ns":10,"lanes":[{"name":"main","task":false,"marks":"==.."}]}]"#;

/// A sound store of two labs, a prediction that has its run, and a picture.
fn sound(dir: &Path) {
    for lab in [LAB, SOUND] {
        fs::write(dir.join(format!("{lab}.jsonl")), records(lab)).unwrap();
    }
    fs::write(dir.join("your-predictions.jsonl"), prediction("")).unwrap();
    fs::write(dir.join(format!("{LAB}.pictures.json")), PICTURE).unwrap();
    fs::write(dir.join("a-note.txt"), "left alone").unwrap();
}

/// A prediction of the lab's first record, with another guess if one is given.
fn prediction(guess: &str) -> String {
    let first: serde_json::Value = serde_json::from_str(records(LAB).lines().next().unwrap()).unwrap();
    let mut p: serde_json::Value = serde_json::from_str(PREDICTION).unwrap();
    for key in ["step", "case", "param", "run"] {
        p[key] = first[key].clone();
    }
    p["value"] = first["headline"].clone();
    let text = p.to_string();
    let guess = if guess.is_empty() { r#""guess":{"range":[1.0,9.0]}"# } else { guess };
    text.replace(r#""guess":{"range":[1.0,9.0]}"#, guess) + "\n"
}

/// The three kinds of files that commands read.
fn files() -> [String; 3] {
    [format!("{LAB}.jsonl"), "your-predictions.jsonl".into(), format!("{LAB}.pictures.json")]
}

type Spoil = fn(&Path);
type Make = fn(&Path) -> PathBuf;

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

fn instead(path: &Path, make: impl FnOnce(&Path)) {
    fs::remove_file(path).unwrap();
    make(path);
}

fn lines_again(path: &Path, change: impl Fn(&str) -> String) {
    let text = fs::read_to_string(path).unwrap();
    let all: Vec<String> = text.lines().map(change).collect();
    fs::write(path, all.join("\n") + "\n").unwrap();
}

/// What can be wrong with one file.
const SPOILT: &[(&str, Spoil)] = &[
    ("sound", |_| ()),
    ("missing", |p| fs::remove_file(p).unwrap()),
    ("empty", |p| fs::write(p, "").unwrap()),
    ("cut off", |p| {
        let bytes = fs::read(p).unwrap();
        fs::write(p, &bytes[..bytes.len() * 2 / 3]).unwrap();
    }),
    ("not UTF-8", |p| {
        let mut bytes = fs::read(p).unwrap();
        let middle = bytes.len() / 2;
        bytes.insert(middle, 0xff);
        bytes.extend_from_slice(b"\xfe\xff\n\xc3\x28");
        fs::write(p, bytes).unwrap();
    }),
    ("a huge line", |p| fs::write(p, vec![b'x'; if all() { 64 << 20 } else { 4 << 20 }]).unwrap()),
    ("deep brackets", |p| {
        fs::write(p, "[".repeat(200_000) + "{\"schema\":1,\"id\":\"" + &"{\"a\":".repeat(50_000)).unwrap()
    }),
    ("unknown fields", |p| match p.extension().and_then(OsStr::to_str) {
        Some("jsonl") if p.ends_with(format!("{LAB}.jsonl")) => {
            // Each machine in full, as the store appends lines.
            let store = underhood::record::Store::open(p.parent().unwrap());
            let whole = store.load(LAB).unwrap().records;
            let line = |r| sealed_with(&serde_json::to_string(r).unwrap(), r#""later":{"a":[1,null]}"#);
            fs::write(p, whole.iter().map(line).collect::<Vec<_>>().join("\n") + "\n").unwrap();
        }
        _ => lines_again(p, |l| l.replacen('{', "{\"later\":[{}],", 1)),
    }),
    ("a newer version", |p| lines_again(p, |l| l.replacen("\"schema\":1", "\"schema\":2", 1))),
    ("numbers out of range", |p| lines_again(p, |l| l.replace(":1", ":1e999").replace("10", "-1e308"))),
    ("hostile strings", |p| {
        lines_again(p, |l| {
            l.replace("\"main\"", "\"\\u001b]0;x\\u0007\"").replace("\"so\"", "\"\\u202e\\u001b[2J\"")
        })
    }),
    ("ranges upside down", |p| {
        if p.ends_with("your-predictions.jsonl") {
            fs::write(p, prediction(r#""guess":{"range":[9,1]}"#)).unwrap();
        } else {
            lines_again(p, |l| l.replace("\"lo\":", "\"hi\":"));
        }
    }),
    ("a named pipe", |p| instead(p, mkfifo)),
    ("a folder", |p| instead(p, |p| fs::create_dir(p).unwrap())),
    ("a socket", |p| instead(p, |p| drop(UnixListener::bind(p).unwrap()))),
    ("a link to nothing", |p| instead(p, |p| symlink("/nothing/there", p).unwrap())),
    ("a link to itself", |p| instead(p, |p| symlink(p, p).unwrap())),
    ("a link to /dev/zero", |p| instead(p, |p| symlink("/dev/zero", p).unwrap())),
    ("a link to a pipe", |p| {
        let pipe = p.with_extension("pipe");
        instead(p, |p| symlink(&pipe, p).unwrap());
        mkfifo(&pipe);
    }),
    ("a sparse terabyte", |p| {
        fs::OpenOptions::new().write(true).open(p).unwrap().set_len(1 << 40).unwrap_or(())
    }),
    ("read-only", |p| fs::set_permissions(p, fs::Permissions::from_mode(0o444)).unwrap()),
    ("forbidden", |p| fs::set_permissions(p, fs::Permissions::from_mode(0o000)).unwrap()),
];

/// What can be wrong with the folder as a whole; gives the path to name.
const FOLDERS: &[(&str, Make)] = &[
    ("a store that is not there", |d| d.join("absent/deep")),
    ("a file as the store", |d| {
        fs::write(d.join("file"), "x").unwrap();
        d.join("file")
    }),
    ("below a file", |d| {
        fs::write(d.join("file"), "x").unwrap();
        d.join("file/store")
    }),
    ("a pipe as the store", |d| {
        mkfifo(&d.join("pipe"));
        d.join("pipe")
    }),
    ("an empty folder", |d| {
        fs::create_dir(d.join("empty")).unwrap();
        d.join("empty")
    }),
    ("a read-only folder", |d| {
        let dir = named(d, OsStr::new("locked"));
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o555)).unwrap();
        dir
    }),
    ("a link to a store", |d| {
        let dir = named(d, OsStr::new("real"));
        symlink(dir, d.join("link")).unwrap();
        d.join("link")
    }),
    ("a name that is not UTF-8", |d| named(d, OsStr::from_bytes(b"st\xffore"))),
    ("a name with escapes", |d| named(d, OsStr::new("\x1b]0;x\x07\u{202e}"))),
    ("a name with line ends", |d| named(d, OsStr::new("a\nb\r"))),
    ("nothing", |_| PathBuf::from("/dev/null")),
];

fn named(dir: &Path, name: &OsStr) -> PathBuf {
    let store = dir.join(name);
    fs::create_dir(&store).unwrap();
    sound(&store);
    store
}

/// The commands that read a store. `OUT` is a fresh folder, `STORE` the store.
const READERS: &[&[&str]] = &[
    &["list"],
    &["list", "--json"],
    &["show", LAB],
    &["quote", LAB],
    &["quiz", "--seed", "1", "--count", "3"],
    &["quiz", LAB, SOUND, "--json"],
    &["report", "-o", "OUT/page.html"],
    &["report", LAB],
    &["report", LAB, "--json"],
    &["export", "--csv", "-o", "OUT/table.csv"],
    &["export", "--md"],
    &["export", "--anki"],
    &["export", "--json", LAB],
    &["compare", "STORE", "GOOD"],
    &["compare", "GOOD", "STORE", "--anyway"],
    &["verify", "zzz"],
    &["find", "wake-up"],
    &["find", "lost", "--json"],
    &["try", "lock", "--hold", "300"],
    &["litmus", "STORE", "--time", "0s"],
    &["notes", "--check", "--file", "NOTES", "--records", "STORE"],
    &["notes", "--file", "OUT/NOTES.md", "--records", "OUT/cited"],
];

/// The commands that append, and measure for a second first.
const WRITERS: &[&[&str]] = &[
    &["run", SOUND, "--smoke", "--anyway"],
    &["run", LAB, "--smoke", "--anyway", "--step"],
    &["next", "--smoke", "--anyway"],
];

/// A file as it is: its kind, and what a change would show.
fn fingerprint(path: &Path) -> String {
    let Ok(there) = fs::symlink_metadata(path) else { return "gone".into() };
    let kind = there.file_type();
    match () {
        () if kind.is_symlink() => format!("link to {:?}", fs::read_link(path).unwrap()),
        () if kind.is_dir() => "folder".into(),
        () if kind.is_fifo() => "pipe".into(),
        () if kind.is_socket() => "socket".into(),
        () if there.len() > 1 << 30 => format!("{} bytes", there.len()),
        () => match fs::read(path) {
            Ok(bytes) => format!("{} bytes, {:x?}", bytes.len(), &Sha256::digest(&bytes)[..8]),
            Err(e) => e.kind().to_string(),
        },
    }
}

fn fingerprints(dir: &Path) -> BTreeMap<OsString, String> {
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.file_name());
    names.map(|name| (name.clone(), fingerprint(&dir.join(name)))).collect()
}

/// What of the store is not as it was. A command that appends may have made its lab's file and its predictions longer.
fn changed(before: &BTreeMap<OsString, String>, dir: &Path, words: &[&str]) -> Vec<String> {
    let after = fingerprints(dir);
    let appends = WRITERS.contains(&words);
    let mut faults = Vec::new();
    for (name, was) in before {
        let is = after.get(name).map_or("gone", String::as_str);
        let own = appends && name.to_string_lossy().ends_with(".jsonl");
        if is != was && !own && !(name == "report.html" && words[0] == "report") {
            faults.push(format!("{name:?} was {was}, is {is}"));
        }
    }
    for name in after.keys().filter(|name| !before.contains_key(*name)) {
        let told = appends && name.to_string_lossy().ends_with(".jsonl")
            || name == "report.html" && words[0] == "report";
        if !told {
            faults.push(format!("{name:?} is left behind"));
        }
    }
    faults
}

/// What was counted: by subject, how often each exit code came; and every fault.
#[derive(Default)]
pub(crate) struct Counts {
    rows: BTreeMap<String, BTreeMap<String, usize>>,
    faults: Vec<String>,
}

impl Counts {
    pub(crate) fn add(&mut self, subject: &str, what: &str, ended: &Ended, more: Vec<String>) {
        let code = ended.code.map_or("none".into(), |c| c.to_string());
        *self.rows.entry(subject.into()).or_default().entry(code).or_default() += 1;
        let all = faults(ended).into_iter().chain(more);
        self.faults.extend(all.map(|fault| format!("{subject}: {what}: {fault}")));
    }

    /// The table, and the end of the test.
    pub(crate) fn judge(self, title: &str) {
        let tries: usize = self.rows.values().flat_map(BTreeMap::values).sum();
        println!("{title}: {tries} tries, {} faults; how often each exit code came", self.faults.len());
        for (subject, codes) in &self.rows {
            let codes: Vec<String> = codes.iter().map(|(code, n)| format!("{code}: {n}")).collect();
            println!("  {subject:<28} {}", codes.join(", "));
        }
        assert!(tries > 0, "nothing was tried");
        assert!(self.faults.is_empty(), "{} faults:\n{}", self.faults.len(), self.faults.join("\n"));
    }
}

/// The notes with nothing in their blocks, which is enough to write them and quick to check.
static NOTES: LazyLock<String> = LazyLock::new(|| {
    let text = fs::read_to_string(root().join("NOTES.md")).unwrap();
    let mut inside = false;
    let kept = text.lines().filter(|line| {
        let marker = line.contains("<!-- underhood:");
        inside = if marker { line.contains(":begin ") } else { inside };
        marker || !inside
    });
    kept.collect::<Vec<_>>().join("\n") + "\n"
});

/// One command against a store.
fn attempt(words: &[&str], store: &Path, good: &Path) -> (Ended, Vec<String>) {
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("NOTES.md"), &*NOTES).unwrap();
    let notes = out.path().join("NOTES.md");
    let word = |word: &&str| -> OsString {
        match *word {
            "STORE" => store.into(),
            "GOOD" => good.into(),
            "NOTES" => notes.clone().into(),
            word => match word.strip_prefix("OUT") {
                Some(rest) => out.path().join(rest.trim_start_matches('/')).into(),
                None => word.into(),
            },
        }
    };
    let before = fingerprints(store);
    let mut command = underhood();
    command.arg("--store").arg(store).args(words.iter().map(word)).current_dir(out.path());
    let bound = if WRITERS.contains(&words) { BOUND_OF_A_LAB } else { BOUND };
    let ended = ends(&mut command, bound);
    let faults = changed(&before, store, words);
    (ended, faults)
}

/// Numbers of the tries that are done.
fn chosen(of: usize) -> impl Iterator<Item = usize> {
    (0..of).step_by(if all() { 1 } else { STRIDE })
}

/// What was found once, and is tried each time: a kind, whose file (or none, for a kind of folder), a command.
const FOUND: &[(&str, Option<usize>, &[&str])] = &[
    ("ranges upside down", Some(1), &["list"]),
    ("ranges upside down", Some(1), &["quiz", "--seed", "1", "--count", "3"]),
    ("a named pipe", Some(0), &["show", LAB]),
    ("a named pipe", Some(0), &["report", LAB]),
    ("a named pipe", Some(1), &["list"]),
    ("a named pipe", Some(2), &["report", LAB]),
    ("a folder", Some(0), &["report", "-o", "OUT/page.html"]),
    ("a folder", Some(0), &["export", "--md"]),
    ("a link to /dev/zero", Some(0), &["quote", LAB]),
    ("a name that is not UTF-8", None, &["report", LAB, "--json"]),
    ("a name with escapes", None, &["report", LAB]),
];

#[test]
fn no_store_does_harm() {
    let good = tempfile::tempdir().unwrap();
    sound(good.path());
    let mut counts = Counts::default();
    let files = files();
    for (kind, file, words) in FOUND {
        let dir = tempfile::tempdir().unwrap();
        let store = match file {
            Some(file) => {
                sound(dir.path());
                let (_, spoil) = SPOILT.iter().find(|(name, _)| name == kind).expect("it is in the table");
                spoil(&dir.path().join(&files[*file]));
                dir.path().to_path_buf()
            }
            None => FOLDERS.iter().find(|(name, _)| name == kind).expect("it is in the table").1(dir.path()),
        };
        let (ended, faults) = attempt(words, &store, good.path());
        counts.add(kind, &format!("{words:?}"), &ended, faults);
    }
    let of = SPOILT.len() * files.len() * READERS.len();
    for i in chosen(of) {
        // The command changes fastest, so that a share of the tries has them all.
        let (words, rest) = (READERS[i % READERS.len()], i / READERS.len());
        let (file, (kind, spoil)) = (&files[rest % files.len()], SPOILT[rest / files.len()]);
        let dir = tempfile::tempdir().unwrap();
        sound(dir.path());
        spoil(&dir.path().join(file));
        let (ended, faults) = attempt(words, dir.path(), good.path());
        counts.add(kind, &format!("{words:?} with {file}"), &ended, faults);
    }
    for i in chosen(FOLDERS.len() * READERS.len()) {
        let (words, (kind, make)) = (READERS[i % READERS.len()], FOLDERS[i / READERS.len()]);
        let dir = tempfile::tempdir().unwrap();
        let store = make(dir.path());
        let (ended, faults) = attempt(words, &store, good.path());
        counts.add(kind, &format!("{words:?}"), &ended, faults);
        let _ = fs::set_permissions(&store, fs::Permissions::from_mode(0o755));
    }
    counts.judge("commands that read a store");
}

/// These measure, a second each: a few as a rule.
#[test]
fn no_store_loses_what_is_measured_into_it() {
    let good = tempfile::tempdir().unwrap();
    sound(good.path());
    let mut counts = Counts::default();
    let kinds: Vec<usize> = (0..SPOILT.len()).step_by(if all() { 1 } else { 7 }).collect();
    for (turn, kind) in kinds.into_iter().enumerate() {
        for words in WRITERS.iter().cycle().skip(turn).take(if all() { WRITERS.len() } else { 1 }) {
            let (kind, spoil) = SPOILT[kind];
            let dir = tempfile::tempdir().unwrap();
            sound(dir.path());
            spoil(&dir.path().join(&files()[0]));
            let file = dir.path().join(&files()[0]);
            let before = fs::metadata(&file)
                .is_ok_and(|m| m.is_file() && m.len() < 1 << 30)
                .then(|| fs::read(&file).ok())
                .flatten();
            let (ended, mut faults) = attempt(words, dir.path(), good.path());
            let after = before.as_ref().and_then(|_| fs::read(&file).ok()).unwrap_or_default();
            if before.is_some_and(|before| !after.starts_with(&before)) {
                faults.push("the records that were there are not there any more".into());
            }
            counts.add(kind, &format!("{words:?}"), &ended, faults);
        }
    }
    counts.judge("commands that append to a store");
}

/// Words that nobody should type.
pub(crate) fn words() -> Vec<OsString> {
    let mut all: Vec<OsString> = [
        "",
        " ",
        "-",
        "--",
        "---",
        "../../x",
        "/",
        "/dev/full",
        "/dev/null",
        "0",
        "-1",
        "1e400",
        "NaN",
        "inf",
        "18446744073709551616",
        "0.0000001ns",
        "9999999999999999999h",
        "\x1b]0;x\x07",
        "\x1b[2J\x1b[H",
        "\u{202e}dcba",
        "a\nb\rc\t",
        "%s%n",
        "$(x)",
        "=",
        "x=",
        "=x",
        "gallery=..",
        "gallery=1..",
        "gallery=9..1",
        "gallery=1e308..1e309 us",
        "é",
        "\u{0}b".trim_start_matches('\0'),
    ]
    .map(OsString::from)
    .into();
    all.push(OsString::from_vec(b"\xff\xfe".to_vec()));
    all.push(OsString::from_vec(b"a\x1b]52;c;eA==\x07\xff".to_vec()));
    all.push("x".repeat(100_000).into());
    all.push("\u{301}".repeat(5_000).into());
    all
}

/// Where such a word may stand. None of these gets as far as measuring: `--only nowhere` names no step.
pub(crate) const PLACES: &[&[&str]] = &[
    &["WORD"],
    &["run", "WORD"],
    &["run", SOUND, "--only", "WORD,nowhere"],
    &["run", SOUND, "--only", "nowhere", "--guess", "WORD"],
    &["run", SOUND, "--only", "gallery", "--guess", "WORD", "--guess", "nowhere=1"],
    &["run", SOUND, "--only", "nowhere", "--threads", "WORD"],
    &["run", SOUND, "--only", "nowhere", "--launches", "WORD"],
    &["run", SOUND, "--only", "nowhere", "--slice", "WORD"],
    &["run", SOUND, "--only", "nowhere", "--seed", "WORD"],
    &["next", "--only", "WORD"],
    &["soak", "--for", "0s", "WORD"],
    &["soak", SOUND, "--for", "WORD", "--sessions", "0"],
    &["soak", SOUND, "--sessions", "WORD", "--for", "0s"],
    &["show", "WORD"],
    &["quote", "WORD"],
    &["verify", "WORD"],
    &["quiz", SOUND, "--count", "WORD"],
    &["quiz", SOUND, "--seed", "WORD"],
    &["quiz", "WORD"],
    &["report", "-o", "WORD"],
    &["report", "--json", "-o", "WORD"],
    &["export", "--csv", "-o", "WORD"],
    &["export", "WORD"],
    &["compare", "WORD", "WORD"],
    &["notes", "--check", "--file", "WORD"],
    &["notes", "--check", "--records", "WORD"],
    &["new-lab", "WORD"],
    &["new-lab", "lock_new", "--dir", "WORD"],
    &["completions", "WORD"],
    &["find", "WORD"],
    &["audit", "WORD"],
    &["litmus", "WORD/nothing", "--time", "0s"],
    &["litmus", SB, "--time", "0s", "--verdicts", "WORD"],
    &["litmus", SB, "--time", "WORDx"],
    &["try", "WORD"],
    &["try", "--print", "WORD"],
    &["try", "lock", "--with", "WORD"],
    &["try", "lock", "--way", "nowhere", "--threads", "WORD"],
    &["try", "lock", "--way", "nowhere", "--locks", "WORD"],
    &["try", "lock", "--way", "nowhere", "--reads", "WORD"],
    &["try", "lock", "--way", "nowhere", "--hold", "WORD"],
    &["try", "lock", "--way", "nowhere", "--think", "WORD"],
    &["try", "map", "--way", "nowhere", "--skew", "WORD"],
    &["try", "lock", "--way", "nowhere", "--from-trace", "WORD"],
    &["list", "--store", "WORD"],
    &["list", "--WORD"],
];

/// One line of words in a folder of its own, against a store of its own.
pub(crate) fn line(place: &[&str], word: &OsStr) -> (Ended, Vec<String>) {
    let (here, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    sound(store.path());
    let before = fingerprints(store.path());
    let mut command = underhood();
    command.current_dir(here.path()).env("UNDERHOOD_STORE", store.path());
    for part in place {
        match part.split_once("WORD") {
            Some((head, tail)) => {
                command.arg([OsStr::new(head), word, OsStr::new(tail)].join(OsStr::new("")))
            }
            None => command.arg(part),
        };
    }
    let ended = ends(&mut command, BOUND);
    (ended, changed(&before, store.path(), place))
}

#[test]
fn no_words_do_harm() {
    let (all, mut counts) = (words(), Counts::default());
    for place in [
        &["run", SOUND, "--only", "WORD"][..],
        &["verify", "WORD"],
        &["list", "--store", "WORD"],
        &["run", "WORD"],
        &["report", "--json", "-o", "WORD"],
    ] {
        for word in ["\x1b]0;x\x07", "\x1b[2J\x1b[H", "\u{202e}dcba"] {
            let (ended, faults) = line(place, OsStr::new(word));
            counts.add(place[0], &format!("{place:?} with {word:?}"), &ended, faults);
        }
    }
    for i in chosen(all.len() * PLACES.len()) {
        let (place, word) = (PLACES[i % PLACES.len()], &all[i / PLACES.len()]);
        // `underhood --` is the tour, which measures.
        if place == ["WORD"] && word == "--" {
            continue;
        }
        let (ended, faults) = line(place, word);
        let short: String = word.to_string_lossy().chars().take(30).collect();
        counts.add(place[0], &format!("{place:?} with {short:?}"), &ended, faults);
    }
    counts.judge("hostile words");
}

#[test]
fn no_surroundings_do_harm() {
    let values: Vec<OsString> = words().into_iter().filter(|w| !w.as_bytes().contains(&0)).collect();
    let names = [
        "COLUMNS",
        "UNDERHOOD_STORE",
        "HOME",
        "XDG_DATA_HOME",
        "TMPDIR",
        "PATH",
        "LANG",
        "TERM",
        "NO_COLOR",
        "UNDERHOOD_DOTNET",
    ];
    let commands: [&[&str]; 5] =
        [&["list"], &["show", SOUND], &["quiz", "--count", "1"], &["export", "--csv"], &["--help"]];
    let mut counts = Counts::default();
    for i in chosen(names.len() * values.len() * commands.len()) {
        let (words, rest) = (commands[i % commands.len()], i / commands.len());
        let (name, value) = (names[rest % names.len()], &values[rest / names.len()]);
        let (here, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        sound(store.path());
        let before = fingerprints(store.path());
        let mut command = underhood();
        command.current_dir(here.path()).env("UNDERHOOD_STORE", store.path()).env(name, value).args(words);
        let ended = ends(&mut command, BOUND);
        let short: String = value.to_string_lossy().chars().take(30).collect();
        counts.add(name, &format!("{words:?} with {short:?}"), &ended, changed(&before, store.path(), words));
    }
    counts.judge("hostile surroundings");
}

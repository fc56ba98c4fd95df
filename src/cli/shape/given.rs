//! A shape as it is given: words of a command line or of a TOML file, checked one by one, until it is a [`Shape`].
use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    column,
    subject::{Subject, whole},
};
use crate::{contenders::workload::Times, machine::memory, words::number};

/// A workload that was asked about, with everything resolved: it says the same on every machine. Stored with its records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Shape {
    /// What is tried.
    pub subject: Subject,
    /// How it is measured.
    pub way: Way,
    /// Threads that do it.
    pub threads: usize,
    /// Locks that they choose from.
    pub locks: usize,
    /// The share of operations that only read; several are points of one measurement.
    pub reads: Vec<f64>,
    /// How long a lock is held; several are points of one measurement.
    pub hold: Vec<Times>,
    /// How long a thread stays away.
    pub think: Times,
    /// How often each key is wanted, for maps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skew: Option<String>,
    /// The contenders' ids, the first being the baseline.
    pub with: Vec<String>,
    /// Whether other hold times, read shares and thread counts are measured too.
    #[serde(default)]
    pub axes: bool,
    /// The step of a lab that measures the same, as `lab/step`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reproduces: Option<String>,
}

/// How a shape is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Threads that come again and again, each wait sampled: [`crate::measure::turns`].
    Loop,
    /// Windows cut out of threads that do nothing else: [`crate::measure::throughput`].
    Windows,
    /// One thread, nobody else: [`crate::measure::cost`].
    Alone,
}

/// Their names, as a shape gives them.
pub const WAYS: [(&str, Way); 3] = [("loop", Way::Loop), ("windows", Way::Windows), ("alone", Way::Alone)];

/// Why a shape is none.
#[derive(Clone, Debug, PartialEq)]
pub enum ShapeError {
    /// There is no such thing.
    Unknown {
        /// What was looked for: a key, a contender.
        what: &'static str,
        /// What was given.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A value that can't be.
    Value {
        /// The key.
        key: String,
        /// What was given.
        text: String,
        /// What is wrong with it, and what to write.
        why: String,
    },
    /// A file that can't be used.
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl fmt::Display for ShapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { what, name, known } => {
                write!(f, "there is no {what} '{name}'")?;
                match nearest(name, known) {
                    Some(near) => write!(f, "; did you mean '{near}'?"),
                    None => write!(f, "; there is {}", known.join(", ")),
                }
            }
            Self::Value { key, text, why } if text.is_empty() => write!(f, "{key}: {why}"),
            Self::Value { key, text, why } => write!(f, "{key} {text}: {why}"),
            Self::File { path, why } => write!(f, "{} {why}", path.display()),
        }
    }
}

impl std::error::Error for ShapeError {}

/// The keys of a shape; flags have the same names.
pub const KEYS: [&str; 10] =
    ["subject", "way", "threads", "locks", "reads", "hold", "think", "skew", "with", "reproduces"];

/// The longest time that a shape may ask for: the threads of a window must come to an end.
const LONGEST_NS: f64 = 1e9;
/// What a lock takes with the lines that keep it apart, about.
const LOCK_BYTES: usize = 512;
/// More locks than this would be made for longer than they are measured.
const MOST_LOCKS: usize = 1_000_000;
/// As many as the other commands allow.
const MOST_THREADS: usize = 4_096;

/// What was said so far, by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Given {
    said: BTreeMap<String, Vec<String>>,
    /// Files are looked for from here.
    base: PathBuf,
    /// Whether other points are wanted; by default where they fit.
    pub axes: Option<bool>,
}

impl Given {
    /// The words of a shape file. Files that it names are beside it.
    ///
    /// # Errors
    /// If it can't be read or is no TOML; if a key is unknown, or a value is of a kind that no key has.
    pub fn file(path: &Path) -> Result<Self, ShapeError> {
        let file = |why| ShapeError::File { path: path.into(), why };
        let text = crate::record::file::text(path).map_err(|e| file(format!("can't be read: {e}")))?;
        let mut given = Self::toml(&text).map_err(|e| match e {
            ShapeError::File { why, .. } => file(why),
            other => file(format!("is not a shape: {other}")),
        })?;
        given.base = path.parent().unwrap_or(Path::new("")).to_path_buf();
        Ok(given)
    }

    /// The words of a shape that is a text.
    ///
    /// # Errors
    /// As [`Given::file`].
    pub fn toml(text: &str) -> Result<Self, ShapeError> {
        let table: toml::Table = text.parse().map_err(|e: toml::de::Error| {
            let line = e.span().map_or(0, |s| text[..s.start.min(text.len())].lines().count().max(1));
            let why = e.message().lines().next().unwrap_or_default().to_string();
            ShapeError::File { path: PathBuf::new(), why: format!("is not TOML: line {line}: {why}") }
        })?;
        let mut given = Self::default();
        for (key, value) in &table {
            if let ("axes", toml::Value::Boolean(axes)) = (key.as_str(), value) {
                given.axes = Some(*axes);
                continue;
            }
            let words: Option<Vec<String>> = match value {
                toml::Value::Array(all) => all.iter().map(word).collect(),
                one => word(one).map(|w| vec![w]),
            };
            let Some(words) = words else {
                return Err(ShapeError::Value {
                    key: key.clone(),
                    text: value.type_str().into(),
                    why: "a shape has numbers and texts, such as hold = \"300ns\"".into(),
                });
            };
            given.say(key, words)?;
        }
        Ok(given)
    }

    /// Says a key; what was said before is forgotten.
    ///
    /// # Errors
    /// If there is no such key.
    pub fn say(&mut self, key: &str, words: Vec<String>) -> Result<(), ShapeError> {
        if !KEYS.contains(&key) {
            let known = KEYS.iter().map(ToString::to_string).chain(["axes".into()]).collect();
            return Err(ShapeError::Unknown { what: "key", name: key.into(), known });
        }
        self.said.insert(key.into(), words);
        Ok(())
    }

    /// Says the key if it was not said yet.
    fn unless_said(&mut self, key: &str, word: String) {
        self.said.entry(key.into()).or_insert_with(|| vec![word]);
    }

    /// Hold and think times, and the share of reads, from a trace, unless they were said.
    ///
    /// # Errors
    /// If the file can't be used.
    pub fn trace(&mut self, path: &Path) -> Result<(), ShapeError> {
        let share = column::reads_share(path)?;
        let of = |name: &str| format!("{}{FROM}{name}", path.display());
        self.unless_said("hold", of("hold"));
        self.unless_said("think", of("think"));
        if let Some(share) = share {
            self.unless_said("reads", format!("{share}"));
        }
        Ok(())
    }

    /// The shape that was meant, on a machine with so many CPUs.
    ///
    /// # Errors
    /// If it is impossible: says which value, and what to write.
    pub fn shape(&self, cpus: usize) -> Result<Shape, ShapeError> {
        let subject = self.one("subject")?.map_or(Ok(Subject::Lock), |name| Subject::read(&name))?;
        let unknown = self.said.keys().find(|key| !subject.keys().contains(&key.as_str()));
        if let Some(key) = unknown {
            return Err(ShapeError::Value {
                key: key.clone(),
                text: self.said[key].join(", "),
                why: format!(
                    "a {} does not have this key; its keys are {}",
                    subject.name(),
                    subject.keys().join(", ")
                ),
            });
        }
        let way = match self.one("way")? {
            None => subject.ways()[0],
            Some(name) => {
                let known = || subject.ways().iter().map(|w| w.name().to_string()).collect();
                let found = WAYS.iter().find(|(n, way)| *n == name && subject.ways().contains(way));
                found.ok_or_else(|| ShapeError::Unknown { what: "way", name, known: known() })?.1
            }
        };
        let alone = way == Way::Alone;
        let threads = match self.one("threads")? {
            Some(text) => threads(&text, cpus)?,
            None if alone => 1,
            None => cpus,
        };
        if alone && threads != 1 {
            return Err(value("threads", &threads.to_string(), "way \"alone\" is about one thread"));
        }
        let locks = self.one("locks")?.map_or(Ok(1), |text| locks(&text))?;
        let reads = self.all("reads", || subject.default_reads(), share)?;
        let hold = self.all("hold", || Times::Fixed(0.0), |text| self.time("hold", text))?;
        let think = self.all("think", || Times::Fixed(0.0), |text| self.time("think", text))?;
        let [think] = &think[..] else {
            return Err(value("think", "", "one time, not several"));
        };
        if hold.len() > 1 && reads.len() > 1 {
            return Err(value("reads", "", "several hold times or several shares of reads, not both"));
        }
        if way != Way::Loop {
            let plain = |times: &Times| matches!(times, Times::Fixed(_));
            if locks != 1 || think.mean_ns() > 0.0 || !hold.iter().all(plain) {
                let why = "has one lock, no think time and a fixed hold; take way \"loop\" for more";
                return Err(value("way", way.name(), why));
            }
        }
        subject.fits(&reads)?;
        let whole_only = subject == Subject::Lock && way != Way::Loop;
        if let Some(r) = reads.iter().find(|r| whole_only && whole(**r * 100.0).is_none()) {
            return Err(value("reads", &number::value("share", *r), "with this way, a whole percent"));
        }
        let skew = self.one("skew")?;
        let with = self.with(subject, &reads)?;
        Ok(Shape {
            subject,
            way,
            threads,
            locks,
            skew: subject.skew(skew.as_deref())?,
            // By default where they fit into 30 s.
            axes: self.axes.unwrap_or(with.len() <= 2)
                && subject == Subject::Lock
                && way == Way::Loop
                && hold.len() == 1
                && reads.len() == 1,
            reads,
            hold,
            think: think.clone(),
            with,
            reproduces: self.one("reproduces")?,
        })
    }

    fn with(&self, subject: Subject, reads: &[f64]) -> Result<Vec<String>, ShapeError> {
        let known: Vec<String> = subject.members().iter().map(|m| m.is().id.to_string()).collect();
        let Some(named) = self.said.get("with") else {
            return Ok(subject.usual(reads));
        };
        let mut with: Vec<String> = Vec::new();
        for name in named {
            if !known.contains(name) {
                return Err(ShapeError::Unknown { what: "contender", name: name.clone(), known });
            }
            if !with.contains(name) {
                with.push(name.clone());
            }
        }
        if with.is_empty() {
            return Err(value("with", "", "name at least one contender"));
        }
        Ok(with)
    }

    fn one(&self, key: &str) -> Result<Option<String>, ShapeError> {
        match self.said.get(key).map(Vec::as_slice) {
            None => Ok(None),
            Some([one]) => Ok(Some(one.clone())),
            Some(more) => Err(value(key, &more.join(", "), "one value, not several")),
        }
    }

    fn all<T>(
        &self,
        key: &str,
        default: impl Fn() -> T,
        read: impl Fn(&str) -> Result<T, ShapeError>,
    ) -> Result<Vec<T>, ShapeError> {
        match self.said.get(key) {
            None => Ok(vec![default()]),
            Some(words) if words.is_empty() => Err(value(key, "", "name at least one value")),
            Some(words) => words.iter().map(|text| read(text)).collect(),
        }
    }

    fn time(&self, key: &str, text: &str) -> Result<Times, ShapeError> {
        let times = match (text.strip_prefix("exp:"), text.split_once(FROM)) {
            (Some(mean), _) => Times::Exponential(plain_time(key, mean)?),
            (_, Some((path, wanted))) => {
                Times::Measured(column::times(Path::new(path), None, wanted)?.values_ns)
            }
            _ if text.contains(".csv") => {
                let (path, name) = match text.rsplit_once(".csv:") {
                    Some((path, name)) => (format!("{path}.csv"), Some(name)),
                    None => (text.to_string(), None),
                };
                Times::Measured(column::times(&self.base.join(path), name, key)?.values_ns)
            }
            _ => Times::Fixed(plain_time(key, text)?),
        };
        if times.longest_ns() > LONGEST_NS {
            let longest = number::value("ns", times.longest_ns());
            let why = format!("{longest} is longer than a window can hold: at most 1 s");
            return Err(value(key, text, &why));
        }
        Ok(times)
    }
}

/// Between a trace and what is wanted of it; no path has it.
const FROM: char = '\u{1f}';

fn word(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(n) => Some(n.to_string()),
        toml::Value::Float(x) => Some(x.to_string()),
        _ => None,
    }
}

pub(super) fn value(key: &str, text: &str, why: &str) -> ShapeError {
    ShapeError::Value { key: key.into(), text: text.into(), why: why.into() }
}

/// A time with its unit; 0 needs none.
fn plain_time(key: &str, text: &str) -> Result<f64, ShapeError> {
    let text = text.trim();
    if text.starts_with('-') {
        return Err(value(key, text, "a time can't be negative"));
    }
    let ns = number::read("time_ns", text)
        .ok_or_else(|| value(key, text, "is not a time; write 300ns, 1.5us, exp:300ns or a file.csv"))?;
    if ns > 0.0 && text.ends_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Err(value(key, text, "the unit is missing; write 300ns, 1.5us or 2ms"));
    }
    Ok(ns)
}

/// A share: `95%` or `0.95`.
fn share(text: &str) -> Result<f64, ShapeError> {
    let read = number::read("reads_share", text)
        .ok_or_else(|| value("reads", text, "is not a share; write 95% or 0.95"))?;
    if read > 1.0 && !text.contains('%') {
        return Err(value("reads", text, "the % is missing; write 95% or 0.95"));
    }
    if read > 1.0 {
        return Err(value("reads", text, "a share is at most 100%"));
    }
    Ok(read)
}

/// `8`, or `4x`: four for each CPU.
fn threads(text: &str, cpus: usize) -> Result<usize, ShapeError> {
    let (digits, each) = text.strip_suffix('x').map_or((text, 1), |digits| (digits, cpus));
    let count = digits.trim().parse::<usize>().ok().and_then(|n| n.checked_mul(each));
    match count {
        Some(0) => Err(value("threads", text, "at least 1")),
        Some(n) if n <= MOST_THREADS => Ok(n),
        Some(_) => Err(value("threads", text, "at most 4096")),
        None => Err(value("threads", text, "is not a count; write 8, or 4x for four a CPU")),
    }
}

fn locks(text: &str) -> Result<usize, ShapeError> {
    let count: usize =
        text.trim().replace('_', "").parse().map_err(|_| value("locks", text, "is not a count; write 64"))?;
    if count == 0 {
        return Err(value("locks", text, "at least 1"));
    }
    // A contender, the baseline and its twin are there at once.
    if let Err(why) = memory::room_for(count.saturating_mul(3 * LOCK_BYTES)) {
        return Err(value(
            "locks",
            text,
            &format!("a run makes three sets of locks at the same time: {why}"),
        ));
    }
    if count > MOST_LOCKS {
        return Err(value("locks", text, "at most 1000000: making more takes longer than measuring them"));
    }
    Ok(count)
}

/// The name that was probably meant: at most half of its letters differ.
fn nearest<'a>(name: &str, known: &'a [String]) -> Option<&'a String> {
    let near = known.iter().map(|k| (edits(name, k), k)).min_by_key(|(edits, _)| *edits)?;
    (near.0 * 2 <= name.chars().count().max(2)).then_some(near.1)
}

/// How many letters must be put in, taken out or exchanged (Levenshtein, 1966).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let exchanged = corner + usize::from(x != *y);
            corner = row[j + 1];
            row[j + 1] = exchanged.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

impl Way {
    /// As a shape gives it.
    pub fn name(self) -> &'static str {
        WAYS.iter().find(|(_, way)| *way == self).map_or("", |(name, _)| name)
    }
}

impl Shape {
    /// The text that is stored with its records; the same shape has the same text.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("a shape is plain data")
    }

    /// The shape of a stored text, if it is one.
    pub fn of(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Names it among the labs: `try_lock_` and eight digits of its text's hash. No lab of ours begins with `try_`.
    pub fn stem(&self) -> String {
        let hash: String =
            Sha256::digest(self.text().as_bytes()).iter().take(4).map(|b| format!("{b:02x}")).collect();
        format!("{TRY}{}_{hash}", self.subject.name())
    }

    /// The words that give it again; `None` if some of its times were read from a file, which may be gone.
    pub fn words(&self) -> Option<String> {
        let mut words = vec![format!("try {}", self.subject.name())];
        let given = |key: &str| self.subject.keys().contains(&key);
        let times = |t: &Times| match t {
            Times::Fixed(ns) => Some(compact(*ns)),
            Times::Exponential(ns) => Some(format!("exp:{}", compact(*ns))),
            Times::Measured(_) => None,
        };
        if self.way != self.subject.ways()[0] {
            words.push(format!("--way {}", self.way.name()));
        }
        words.push(format!("--threads {}", self.threads));
        if given("locks") && self.locks != 1 {
            words.push(format!("--locks {}", self.locks));
        }
        if given("reads") {
            let all: Vec<String> = self.reads.iter().map(|r| percent(*r)).collect();
            words.push(format!("--reads {}", all.join(",")));
        }
        if given("hold") {
            let all: Option<Vec<String>> = self.hold.iter().map(times).collect();
            words.push(format!("--hold {}", all?.join(",")));
        }
        if given("think") && self.think != Times::Fixed(0.0) {
            words.push(format!("--think {}", times(&self.think)?));
        }
        if let Some(skew) = &self.skew {
            words.push(format!("--skew {skew}"));
        }
        if self.with != self.subject.usual(&self.reads) {
            words.push(format!("--with {}", self.with.join(",")));
        }
        let usual_axes = self.with.len() <= 2;
        if self.axes && !usual_axes {
            words.push("--axes".into());
        }
        Some(words.join(" "))
    }

    /// As a person would say it: `8 threads, 64 locks, 95 % reads, held for 300 ns, 1 us in between`.
    pub fn sentence(&self) -> String {
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let times = |t: &Times| match t {
            Times::Fixed(ns) => number::value("ns", *ns),
            Times::Exponential(ns) => format!("{} on average (exponential)", number::value("ns", *ns)),
            Times::Measured(_) => format!("{} on average (measured)", number::value("ns", t.mean_ns())),
        };
        let list = |all: Vec<String>| all.join(" or ");
        let mut parts = vec![count(self.threads, "thread")];
        let keys = self.subject.keys();
        if keys.contains(&"locks") {
            parts.push(count(self.locks, "lock"));
        }
        if keys.contains(&"reads") {
            parts.push(format!(
                "{} reads",
                list(self.reads.iter().map(|r| number::value("share", *r)).collect())
            ));
        }
        if let Some(skew) = &self.skew {
            parts.push(format!("keys {skew}"));
        }
        if keys.contains(&"hold") {
            parts.push(format!("held for {}", list(self.hold.iter().map(times).collect())));
        }
        if keys.contains(&"think") && self.think.mean_ns() > 0.0 {
            parts.push(format!("{} in between", times(&self.think)));
        }
        parts.join(", ")
    }
}

/// What the name of every shape begins with.
pub const TRY: &str = "try_";

/// A time without a space, which [`plain_time`] reads again to the last digit.
pub(super) fn compact(ns: f64) -> String {
    if ns == 0.0 {
        return "0ns".into();
    }
    let (factor, unit) =
        [(1e9, "s"), (1e6, "ms"), (1e3, "us")].into_iter().find(|(f, _)| ns >= *f).unwrap_or((1.0, "ns"));
    let short = format!("{}{unit}", ns / factor);
    if number::read("ns", &short).is_some_and(|v| v.to_bits() == ns.to_bits()) {
        short
    } else {
        format!("{ns}ns")
    }
}

pub(super) fn percent(share: f64) -> String {
    let short = format!("{}%", (share * 1e6).round() / 1e4);
    if number::read("share", &short).is_some_and(|v| v.to_bits() == share.to_bits()) {
        short
    } else {
        format!("{share}")
    }
}

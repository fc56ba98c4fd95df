//! A Java virtual machine as a reference, where there is one: the same kind of work as [`crate::heap::load::churn`], and the pauses as
//! its own log tells them.
//!
//! The program is `src/experiments/Churn.java`, compiled by the JDK that is found; it marks the measured part of its output, and the log of
//! safepoints goes to the same output, so what lies between the marks are the pauses of that time. One line carries the time to
//! safepoint and the time at it:
//!
//! `Safepoint "G1CollectForAllocation", Time since last: 34066217 ns, Reaching safepoint: 88502 ns, Cleanup: 7651 ns, At safepoint:
//! 2460088 ns, Total: 2556241 ns`
//!
//! Source of the format: OpenJDK, `-Xlog:safepoint` (JEP 158), src/hotspot/share/runtime/safepoint.cpp, `SafepointTracing::end`; newer
//! ones have more parts between, so that the stop is what is left of the total. Safepoints for other reasons than a collection are
//! among them: the world stands still all the same.
use std::{
    env,
    ffi::OsStr,
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use crate::{lab::sample::Sample, stats};

const GIB: f64 = (1_u64 << 30) as f64;
const SOURCE: &str = include_str!("Churn.java");

/// One time at which the world stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Safepoint {
    /// Until the last thread had stopped, in ns.
    pub reach_ns: u64,
    /// From then until they go on, in ns.
    pub stopped_ns: u64,
}

/// What a run did between its marks.
#[derive(Clone, Debug, PartialEq)]
pub struct Ran {
    /// In order.
    pub safepoints: Vec<Safepoint>,
    /// Arrays allocated.
    pub ops: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Time of all of them, in ns.
    pub wall_ns: u64,
    /// Longest gap of a thread that only looked at the clock, in ns.
    pub wait_max_ns: u64,
}

/// What to run.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Flags that choose the collector.
    pub flags: &'a [&'a str],
    /// Size of the heap.
    pub heap_mib: u32,
    /// Bytes of each array.
    pub payload_bytes: u32,
    /// Small objects that live, in tables of 500.
    pub tables: u32,
    /// How long.
    pub time: Duration,
}

/// A Java that was found, and the compiled program; its folder goes when this is dropped.
#[derive(Debug)]
pub struct Jvm {
    java: PathBuf,
    classes: PathBuf,
}

impl Jvm {
    /// Looks for a JDK and compiles the program, which takes about half a second.
    ///
    /// # Errors
    /// In a sentence: none here, no compiler, or what the compiler said.
    pub fn find() -> Result<Self, String> {
        let (home, path) = (env::var_os("JAVA_HOME"), env::var_os("PATH"));
        let find = |program| find(program, home.as_deref(), path.as_deref());
        let java =
            find("java").ok_or("no `java` in JAVA_HOME or on the PATH; it is a reference, never needed")?;
        let javac = find("javac").ok_or("there is a `java`, but no `javac` to compile the program with")?;
        let classes = folder_of_our_own("jvm")?;
        let failed = |e: std::io::Error| format!("{}: {e}", classes.display());
        let jvm = Self { java, classes: classes.clone() };
        let source = classes.join("Churn.java");
        fs::write(&source, SOURCE).map_err(failed)?;
        let mut compile = Command::new(javac);
        // It runs for half a second: too short for its own code to be worth compiling well.
        compile.args(["-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-proc:none", "-g:none"]);
        let out = compile.arg("-d").arg(&classes).arg(&source).stdin(Stdio::null()).output();
        let out = out.map_err(|e| format!("javac could not be started: {e}"))?;
        if out.status.success() { Ok(jvm) } else { Err(format!("javac: {}", first_line(&out.stderr))) }
    }

    /// One process from its start to its end.
    ///
    /// # Errors
    /// In a sentence: what the machine said, or that its output is not understood.
    pub fn run(&self, job: &Job<'_>) -> Result<Ran, String> {
        let heap = format!("{}m", job.heap_mib);
        let out = Command::new(&self.java)
            // All of the heap is touched beforehand: the kernel's faults are not the subject.
            .args([format!("-Xms{heap}"), format!("-Xmx{heap}"), "-XX:+AlwaysPreTouch".into()])
            .args(job.flags)
            .args(["-Xlog:disable", "-Xlog:all=warning:stderr", "-Xlog:safepoint:stdout", "-cp"])
            .arg(&self.classes)
            .arg("Churn")
            .args([job.payload_bytes.to_string(), job.time.as_millis().to_string(), job.tables.to_string()])
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("java could not be started: {e}"))?;
        if !out.status.success() {
            let words = if out.stderr.is_empty() { &out.stdout } else { &out.stderr };
            return Err(format!("java failed ({}): {}", out.status, first_line(words)));
        }
        let ran = parse(&String::from_utf8_lossy(&out.stdout))?;
        Ok(Ran { bytes: ran.ops * u64::from(job.payload_bytes), ..ran })
    }
}

/// A new folder for temporary files, under a name that nobody can foresee: what is written there follows nobody's link.
pub(crate) fn folder_of_our_own(what: &str) -> Result<PathBuf, String> {
    let lot = RandomState::new().hash_one(what);
    let folder = env::temp_dir().join(format!("underhood-{what}-{lot:016x}"));
    // Fails where anything is.
    fs::create_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    Ok(folder)
}

impl Drop for Jvm {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.classes);
    }
}

/// The Java that [`Jvm::find`] finds, by its own name and version; `none` where there is none.
pub fn version() -> String {
    let java = find("java", env::var_os("JAVA_HOME").as_deref(), env::var_os("PATH").as_deref());
    let said = java.and_then(|java| Command::new(java).arg("-version").stdin(Stdio::null()).output().ok());
    said.map_or_else(|| "none".into(), |out| first_line(&out.stderr))
}

fn first_line(text: &[u8]) -> String {
    String::from_utf8_lossy(text).lines().next().unwrap_or("without a word").to_string()
}

/// Where a program of the JDK is: in the home's `bin`, else in the first folder of the path that has it.
pub fn find(program: &str, home: Option<&OsStr>, path: Option<&OsStr>) -> Option<PathBuf> {
    let name = format!("{program}{}", env::consts::EXE_SUFFIX);
    let bin = home.map(|home| Path::new(home).join("bin"));
    let folders = bin.into_iter().chain(path.into_iter().flat_map(env::split_paths));
    folders.map(|folder| folder.join(&name)).find(|file| file.is_file())
}

/// The safepoint that a line of the log tells of, if it does.
pub fn safepoint(line: &str) -> Option<Safepoint> {
    let (_, parts) = line.split_once("Safepoint \"")?;
    let part = |name: &str| -> Option<u64> {
        let (_, rest) = parts.split_once(name)?;
        let (number, _) = rest.trim_start().split_once(" ns")?;
        number.parse().ok()
    };
    let (reach_ns, total_ns) = (part("Reaching safepoint:")?, part("Total:")?);
    Some(Safepoint { reach_ns, stopped_ns: total_ns.checked_sub(reach_ns)? })
}

/// What a run put out; how large its arrays were it does not say.
///
/// # Errors
/// In a sentence, if a mark is missing, or a safepoint's line is not understood (another version's log must not pass for a world that
/// never stops).
pub fn parse(text: &str) -> Result<Ran, String> {
    let numbers = |mark: &str| -> Result<[u64; 2], String> {
        let rest =
            text.lines().find_map(|l| l.strip_prefix(mark)).ok_or(format!("java's output lacks `{mark}`"))?;
        let mut words = rest.split_whitespace().map(str::parse::<u64>);
        match (words.next(), words.next()) {
            (Some(Ok(a)), Some(Ok(b))) => Ok([a, b]),
            _ => Err(format!("java's output has no numbers after `{mark}`")),
        }
    };
    let ([ops, wall_ns], [wait_max_ns, _]) = (numbers("underhood end")?, numbers("underhood victim")?);
    let between =
        text.lines().skip_while(|l| *l != "underhood begin").take_while(|l| !l.starts_with("underhood end"));
    let told = between.filter(|line| line.contains("[safepoint") && line.contains("Safepoint \""));
    let safepoints = told
        .map(|line| safepoint(line).ok_or_else(|| format!("this log is not understood: {line}")))
        .collect::<Result<_, _>>()?;
    Ok(Ran { safepoints, ops, bytes: 0, wall_ns, wait_max_ns })
}

impl Ran {
    /// As a sample, with the names of [`crate::heap::load::churn`]: `op_ns`, `pause_ns`, `pause_max_ns`, `reach_ns`, `gc_share`, `wait_max_ns`,
    /// `collections_count`, `stops_per_gib_count` (of what was allocated, so that a busy machine does not change it); a run without a safepoint
    /// has no pauses, and says so with the last two.
    pub fn sample(&self, case: &str, param: &str) -> Sample {
        let of =
            |f: fn(&Safepoint) -> u64| -> Vec<f64> { self.safepoints.iter().map(|s| f(s) as f64).collect() };
        let (reach, stopped) = (of(|s| s.reach_ns), of(|s| s.stopped_ns));
        let wall = self.wall_ns.max(1) as f64;
        let count = self.safepoints.len() as f64;
        let mut sample = Sample::new(case, param)
            .with("op_ns", wall / self.ops.max(1) as f64)
            .with("wait_max_ns", self.wait_max_ns as f64)
            .with("collections_count", count)
            .with("stops_per_gib_count", count * GIB / self.bytes.max(1) as f64)
            .with("gc_share", reach.iter().chain(&stopped).sum::<f64>() / wall);
        let known = [
            ("pause_ns", stats::median(&stopped)),
            ("pause_max_ns", stopped.iter().copied().reduce(f64::max)),
            ("reach_ns", stats::median(&reach)),
        ];
        for (name, value) in known {
            if let Some(value) = value {
                sample = sample.with(name, value);
            }
        }
        sample.receipts.kept_count = Some(count);
        sample.receipts.ops_count = Some(self.ops as f64);
        sample
    }
}

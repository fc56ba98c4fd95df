//! `underhood litmus`: litmus tests from files, what the models allow beside what this CPU shows.
use std::{
    collections::BTreeSet,
    fmt, fs,
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};

use super::{
    Outcome,
    args::Litmus,
    out::{End, Out},
};
use crate::{
    litmus::{
        Allowed, STEPS, Unreadable, check,
        on_cpu::{self, Seen, TooFewCpus},
        program::{Dialect, Outcomes, Test},
        read,
        stated::{By, List, Stated, in_comments, in_output},
    },
    machine::allowed_cpus,
    record::file as regular,
    words::{escape, number},
};

/// A litmus test is a page; what is longer is something else.
const LONGEST: u64 = 256 << 10;
/// More tests than these are not listed one by one.
const LISTED: usize = 60;
/// More files than these that cannot be read are counted, not named.
const NAMED: usize = 12;
/// How long each test runs on this CPU, alone and among several.
const ALONE: Duration = Duration::from_millis(500);
const AMONG: Duration = Duration::from_millis(20);
/// Whoever waits longer is told how far it is.
const SILENT: Duration = Duration::from_secs(2);
/// True where [`Allowed::tso`] is the model of the machine itself.
const IS_X86: bool = cfg!(any(target_arch = "x86_64", target_arch = "x86"));

const TRANSLATED: &str = "Tests for x86 and the kernel run here as atomics, Relaxed where the test asks for no order. RC11 and C++20 judge that form.";

/// A file that was read, and all that is known of its test.
struct Case {
    file: PathBuf,
    test: Test,
    allowed: Allowed,
    stated: Vec<Stated>,
    seen: Option<Result<Seen, TooFewCpus>>,
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Grade {
    Alarm,
    SeenAllowed,
    UnseenAllowed,
    UnseenForbidden,
    /// The language allows it.
    UnseenOnX86,
    NotExercised,
    NotRun,
    NotDecided,
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alarm => "ALARM: forbidden and seen",
            Self::SeenAllowed => "allowed, seen",
            Self::UnseenAllowed => "allowed, not seen",
            Self::UnseenForbidden => "forbidden, not seen",
            Self::UnseenOnX86 => "x86 forbids it, not seen",
            Self::NotExercised => "not exercised",
            Self::NotRun => "not run",
            Self::NotDecided => "not decided",
        })
    }
}

/// How a stated verdict and ours compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    Agrees,
    Disagrees,
    /// The kernel's model allows it: that says nothing of the models here.
    No,
}

impl Case {
    /// The first outcome that was seen and that a model of what was run forbids, and the model.
    fn alarm(&self) -> Option<(String, &'static str)> {
        let Some(Ok(seen)) = &self.seen else { return None };
        let forbidden_by = |outcome: &Vec<i64>| {
            if self.allowed.complete && !self.allowed.cxx20.contains(outcome) {
                return Some("the language's model");
            }
            if self.allowed.complete && IS_X86 && !self.allowed.tso.contains(outcome) {
                return Some("x86's model");
            }
            let asked = self.asks_for(outcome);
            let kernel = |s: &Stated| s.by == By::Kernel && s.forbids(&self.test.condition);
            (asked && self.stated.iter().any(kernel)).then_some("the kernel's model")
        };
        let shown = |o: &Vec<i64>| escape::line(&self.test.outcome(o));
        seen.outcomes.iter().find_map(|(o, _)| forbidden_by(o).map(|by| (shown(o), by)))
    }

    fn asks_for(&self, outcome: &[i64]) -> bool {
        self.test.condition.filter.holds(outcome) && self.test.condition.asks_for(outcome)
    }

    /// How often the outcome in question was seen, of so many.
    fn count(&self) -> Option<(u64, u64)> {
        let Some(Ok(seen)) = &self.seen else { return None };
        let asked = seen.outcomes.iter().filter(|(o, _)| self.asks_for(o));
        Some((asked.map(|(_, n)| n).sum(), seen.instances))
    }

    fn grade(&self) -> Grade {
        if self.alarm().is_some() {
            return Grade::Alarm;
        }
        let here = if IS_X86 { &self.allowed.tso } else { &self.allowed.cxx20 };
        let allowed = self.allowed.asked(here, &self.test);
        match (&self.seen, self.count(), allowed) {
            (None, ..) => Grade::NotRun,
            (Some(Err(_)), ..) => Grade::NotExercised,
            (_, Some((1.., _)), _) => Grade::SeenAllowed,
            (.., Some(true)) => Grade::UnseenAllowed,
            (.., Some(false)) if self.allowed.asked(&self.allowed.cxx20, &self.test) == Some(true) => {
                Grade::UnseenOnX86
            }
            (.., Some(false)) => Grade::UnseenForbidden,
            (.., None) => Grade::NotDecided,
        }
    }

    fn compare(&self, stated: &Stated) -> Compared {
        let (test, allowed) = (&self.test, &self.allowed);
        let against = |set: &Outcomes| {
            if !allowed.complete {
                Compared::No
            } else if stated.agrees(set, &test.condition) {
                Compared::Agrees
            } else {
                Compared::Disagrees
            }
        };
        match stated.by {
            By::Rc11 => against(&allowed.rc11),
            By::Tso => against(&allowed.tso),
            By::Kernel if stated.forbids(&test.condition) => match allowed.asked(&allowed.tso, test) {
                Some(true) => Compared::Disagrees,
                Some(false) => Compared::Agrees,
                None => Compared::No,
            },
            By::Kernel => Compared::No,
        }
    }

    fn disagrees(&self) -> bool {
        self.stated.iter().any(|s| self.compare(s) == Compared::Disagrees)
    }

    fn rc11_cell(&self) -> String {
        let (test, allowed) = (&self.test, &self.allowed);
        let rc11 = allowed.asked(&allowed.rc11, test);
        let open = rc11 == Some(false) && allowed.asked(&allowed.cxx20, test) == Some(true);
        let racy = if allowed.racy { ", a race" } else { "" };
        format!("{}{racy}{}", word(rc11), if open { " *" } else { "" })
    }

    fn cpu_cell(&self) -> String {
        match (&self.seen, self.count()) {
            (_, Some((seen, of))) => format!("{} of {}", shown(seen), shown(of)),
            (Some(Err(few)), _) => format!("{} threads, {} CPUs", few.threads, few.cpus),
            _ => "-".into(),
        }
    }

    fn stated_cell(&self) -> String {
        let compared: Vec<Compared> = self.stated.iter().map(|s| self.compare(s)).collect();
        if compared.is_empty() {
            "-"
        } else if compared.contains(&Compared::Disagrees) {
            "DISAGREES"
        } else if compared.contains(&Compared::Agrees) {
            "agrees"
        } else {
            "not compared"
        }
        .into()
    }

    fn name(&self) -> String {
        escape::line(&self.test.name)
    }
}

fn word(allowed: Option<bool>) -> &'static str {
    match allowed {
        Some(true) => "allowed",
        Some(false) => "forbidden",
        None => "not decided",
    }
}

fn shown(count: u64) -> String {
    number::value("n_count", count as f64)
}

/// Reads the files and folders, tries what the models allow, runs what this machine can, and prints all of it side by side.
pub(super) fn litmus(flags: &Litmus, out: &mut Out) -> Result<Outcome, End> {
    let started = Instant::now();
    let list = flags.verdicts.as_deref().map(list).transpose()?;
    let (files, mut unread) = files(&flags.paths)?;
    let (mut cases, more) = checked(&files, list.as_ref(), started, out)?;
    unread.extend(more);
    let time = flags.time.unwrap_or(if files.len() == 1 { ALONE } else { AMONG });
    if !time.is_zero() {
        on_this_cpu(&mut cases, time, started, out)?;
    }
    out.progress_end();
    for (file, why) in &unread {
        out.json(&json!({ "file": file, "line": why.line, "unreadable": why.what }))?;
    }
    for case in &cases {
        out.json(&as_json(case))?;
    }
    if let ([case], true) = (cases.as_slice(), unread.is_empty()) {
        alone(case, out)?;
    } else if !cases.is_empty() {
        several(&cases, flags.all, out)?;
    }
    if cfg!(debug_assertions) && cases.iter().any(|c| c.seen.is_some()) {
        out.warn("a debug build: its steps are slow, so outcomes that need a close meeting may stay unseen; use --release");
    }
    name_unread(&unread, flags, out);
    summary(&cases, &unread, list.as_ref(), started.elapsed(), out)?;
    let given = |file: &PathBuf| flags.paths.contains(file);
    let failed = cases.is_empty() || cases.iter().any(|c| c.alarm().is_some());
    Ok(if failed || unread.iter().any(|(file, _)| given(file)) { Outcome::Failed } else { Outcome::Quotable })
}

fn list(file: &Path) -> Result<List, End> {
    let at = |why: &dyn fmt::Display| End::Failed(format!("{}: {why}", file.display()));
    let text = regular::text(file).map_err(|e| at(&e))?;
    List::read(&text).map_err(|e| at(&e))
}

/// The files given, and below the folders given all that end in `.litmus`, each once, in order; and the folders below that can't be read.
fn files(paths: &[PathBuf]) -> Result<(Vec<PathBuf>, Unread), End> {
    let (mut found, mut unread) = (Vec::new(), Vec::new());
    for path in paths {
        let at = |e: std::io::Error, path: &Path| End::Failed(format!("cannot read {}: {e}", path.display()));
        if !fs::metadata(path).map_err(|e| at(e, path))?.is_dir() {
            found.push(path.clone());
            continue;
        }
        let (before, mut folders) = (found.len(), vec![path.clone()]);
        while let Some(folder) = folders.pop() {
            let entries = match fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(e) if folder == *path => return Err(at(e, path)),
                Err(e) => {
                    unread.push((folder, Unreadable { line: 0, what: e.to_string() }));
                    continue;
                }
            };
            // What has gone meanwhile is no file of the folder.
            for entry in entries.flatten() {
                let Ok(kind) = entry.file_type() else { continue };
                let path = entry.path();
                // A link to a folder may lead in a circle.
                if kind.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|e| e == "litmus") {
                    found.push(path);
                }
            }
        }
        if found.len() == before {
            return Err(End::Failed(format!("no .litmus file in {}", path.display())));
        }
    }
    found.sort();
    found.dedup();
    Ok((found, unread))
}

/// Reads one file and tries what the models allow.
fn case(file: &Path, list: Option<&List>) -> Result<Case, Unreadable> {
    let unreadable = |what: String| Unreadable { line: 0, what };
    let read_file = || {
        if fs::metadata(file)?.len() > LONGEST {
            return Err(std::io::Error::other(format!("longer than {} KiB", LONGEST >> 10)));
        }
        regular::read(file)?.ok_or_else(|| std::io::ErrorKind::NotFound.into())
    };
    let text = String::from_utf8_lossy(&read_file().map_err(|e| unreadable(e.to_string()))?).into_owned();
    let test = read(&text)?;
    let mut stated = in_comments(&text, test.dialect);
    stated.extend(list.and_then(|l| l.of(file, test.dialect)));
    let mut beside = file.as_os_str().to_owned();
    beside.push(".expected");
    let output = regular::text(Path::new(&beside)).ok();
    stated.extend(output.and_then(|text| in_output(&text, test.dialect)));
    let allowed = check(&test, STEPS, &|| false);
    Ok(Case { file: file.into(), test, allowed, stated, seen: None })
}

type Unread = Vec<(PathBuf, Unreadable)>;

/// Every file, on all CPUs.
fn checked(
    files: &[PathBuf],
    list: Option<&List>,
    started: Instant,
    out: &mut Out,
) -> Result<(Vec<Case>, Unread), End> {
    let (next, (tell, hear)) = (AtomicUsize::new(0), mpsc::channel());
    let mut done: Vec<Option<Result<Case, Unreadable>>> = files.iter().map(|_| None).collect();
    let next = &next;
    thread::scope(|s| {
        for _ in 0..allowed_cpus().len().min(files.len()) {
            let tell = tell.clone();
            s.spawn(move || {
                loop {
                    let i = next.fetch_add(1, Relaxed);
                    let Some(file) = files.get(i) else { return };
                    if tell.send((i, case(file, list))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(tell);
        for (count, (i, result)) in hear.iter().enumerate() {
            done[i] = Some(result);
            if started.elapsed() > SILENT {
                out.progress(&format!("checked {} of {} files", count + 1, files.len()));
            }
        }
    });
    let (mut cases, mut unread) = (Vec::new(), Vec::new());
    for (file, result) in files.iter().zip(done.into_iter().flatten()) {
        match result {
            Ok(case) => cases.push(case),
            Err(why) => unread.push((file.clone(), why)),
        }
    }
    Ok((cases, unread))
}

/// Runs every test, one after the other: each needs a CPU for each of its threads.
fn on_this_cpu(cases: &mut [Case], time: Duration, started: Instant, out: &mut Out) -> Result<(), End> {
    let (cpus, of) = (allowed_cpus(), cases.len());
    for (i, case) in cases.iter_mut().enumerate() {
        case.seen = Some(on_cpu::run(&case.test, &cpus, time, &|| false));
        if started.elapsed() > SILENT {
            out.progress(&format!("run {} of {of} tests on this CPU", i + 1));
        }
    }
    Ok(())
}

/// One test: a row for each outcome.
fn alone(case: &Case, out: &mut Out) -> Result<(), End> {
    let (test, allowed) = (&case.test, &case.allowed);
    let language = match test.dialect {
        Dialect::C11 => "C11",
        Dialect::Kernel => "the kernel's C, run as C11",
        Dialect::X86 => "x86",
    };
    let threads = test.threads.len();
    out.heading(format!(
        "{} ({language}, {threads} thread{})",
        case.name(),
        if threads == 1 { "" } else { "s" }
    ))?;
    let none = Vec::new();
    let seen = match &case.seen {
        Some(Ok(seen)) => &seen.outcomes,
        _ => &none,
    };
    let mut all: BTreeSet<&Vec<i64>> =
        allowed.cxx20.iter().chain(&allowed.rc11).chain(&allowed.tso).collect();
    all.extend(seen.iter().map(|(o, _)| o));
    let mut rows = vec![["outcome", "RC11", "C++20", "x86", "in turns", "this CPU", ""].map(String::from)];
    for outcome in all {
        let cell =
            |set: &Outcomes| word((set.contains(outcome) || allowed.complete).then(|| set.contains(outcome)));
        let times = seen.iter().find(|(o, _)| o == outcome).map_or(0, |(_, n)| *n);
        rows.push([
            escape::line(&test.outcome(outcome)),
            cell(&allowed.rc11).into(),
            cell(&allowed.cxx20).into(),
            cell(&allowed.tso).into(),
            cell(&allowed.sc).into(),
            if matches!(case.seen, Some(Ok(_))) { shown(times) } else { "-".into() },
            if case.asks_for(outcome) { "<- in question" } else { "" }.into(),
        ]);
    }
    out.text(&table(&rows, out.look.plain))?;
    let (rc11, tso) = (case.rc11_cell(), word(allowed.asked(&allowed.tso, test)));
    out.say(format!(
        "The outcome in question: RC11 {rc11}; x86 {tso}; this CPU {}: {}.",
        case.cpu_cell(),
        case.grade()
    ))?;
    if let Some((outcome, by)) = case.alarm() {
        out.say(format!(
            "ALARM: {outcome} was seen, and {by} forbids it: a broken compiler, CPU, checker or harness."
        ))?;
    }
    if test.dialect != Dialect::C11 {
        out.say(TRANSLATED)?;
    }
    if test.dialect != Dialect::X86 && test.has_plain() {
        out.say("Accesses that are not atomic were run as Relaxed ones.")?;
    }
    if !case.stated.is_empty() {
        out.say(format!("The stated verdict: {}.", case.stated_cell()))?;
    }
    Ok(())
}

fn several(cases: &[Case], every: bool, out: &mut Out) -> Result<(), End> {
    let mut rows = vec![["test", "RC11", "x86", "this CPU", "grade", "stated"].map(String::from)];
    let few = cases.len() <= LISTED;
    for case in cases.iter().filter(|c| every || few || c.grade() == Grade::Alarm || c.disagrees()) {
        rows.push([
            case.name(),
            case.rc11_cell(),
            word(case.allowed.asked(&case.allowed.tso, &case.test)).into(),
            case.cpu_cell(),
            case.grade().to_string(),
            case.stated_cell(),
        ]);
    }
    if rows.len() > 1 {
        out.text(&table(&rows, out.look.plain))?;
    } else {
        out.say(format!("{} tests, none with an alarm or a disagreement; --all lists them", cases.len()))?;
    }
    if cases.iter().any(|c| c.rc11_cell().ends_with('*')) {
        out.say(
            "* RC11 forbids it and C++20's text does not: load buffering, or a release sequence that C++20 made shorter.",
        )?;
    }
    if rows.len() > 1 && cases.iter().any(|c| c.test.dialect != Dialect::C11) {
        out.say(TRANSLATED)?;
    }
    for case in cases.iter().filter(|c| c.grade() == Grade::Alarm) {
        if let Some((outcome, by)) = case.alarm() {
            let file = escape::line(&case.file.display().to_string());
            out.say(format!("ALARM: {file}: {outcome} was seen, and {by} forbids it."))?;
        }
    }
    Ok(())
}

/// Columns under their heads; or, plainly, a line for each row that names its cells.
fn table<const N: usize>(rows: &[[String; N]], plain: bool) -> String {
    let mut text = String::new();
    if plain {
        for row in &rows[1..] {
            let cells = rows[0].iter().zip(row).filter(|(_, c)| !c.is_empty());
            let cells = cells.map(|(h, c)| if h.is_empty() { c.clone() } else { format!("{h} {c}") });
            text.push_str(&format!("{}\n", cells.collect::<Vec<_>>().join("; ")));
        }
        return text;
    }
    let width = |column: usize| rows.iter().map(|r| r[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(&format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end()));
    }
    text
}

fn name_unread(unread: &Unread, flags: &Litmus, out: &mut Out) {
    let many = if flags.all { usize::MAX } else { NAMED };
    for (file, why) in unread.iter().take(many) {
        let line = if why.line > 0 { format!(":{}", why.line) } else { String::new() };
        let file = escape::line(&file.display().to_string());
        out.warn(&format!("not read: {file}{line}: {}", escape::line(&why.what)));
    }
    if unread.len() > many {
        out.warn(&format!("and {} files more; --all names them", unread.len() - many));
    }
}

/// How many verdicts of a model were compared, and how many agree.
fn agreement(cases: &[Case], by: By) -> (usize, usize, usize) {
    let all = || cases.iter().flat_map(|c| c.stated.iter().map(move |s| (c, s))).filter(|(_, s)| s.by == by);
    let count = |how| all().filter(|(c, s)| c.compare(s) == how).count();
    (count(Compared::Agrees), count(Compared::Disagrees), count(Compared::No))
}

fn summary(
    cases: &[Case],
    unread: &Unread,
    list: Option<&List>,
    took: Duration,
    out: &mut Out,
) -> Result<(), End> {
    let cut = cases.iter().filter(|c| !c.allowed.complete).count();
    let run: Vec<&Case> = cases.iter().filter(|c| matches!(c.seen, Some(Ok(_)))).collect();
    let instances: u64 = run.iter().filter_map(|c| c.count()).map(|(_, n)| n).sum();
    let not_exercised = cases.iter().filter(|c| c.grade() == Grade::NotExercised).count();
    let alarms = cases.iter().filter(|c| c.grade() == Grade::Alarm).count();
    // What x86 allows and turn-taking does not: the outcomes that need a store buffer.
    let buffered: Vec<(&Case, &Vec<i64>)> =
        run.iter().flat_map(|c| c.allowed.tso.difference(&c.allowed.sc).map(move |o| (*c, o))).collect();
    let shown_here = |(c, o): &&(&Case, &Vec<i64>)| match &c.seen {
        Some(Ok(seen)) => seen.outcomes.iter().any(|(s, _)| s == *o),
        _ => false,
    };
    let found = buffered.iter().filter(shown_here).count();
    let kinds = [("RC11", By::Rc11), ("x86", By::Tso), ("the kernel's, one way", By::Kernel)];
    let counts = kinds.map(|(name, by)| (name, agreement(cases, by)));
    out.json(&json!({ "summary": {
        "files": cases.len() + unread.len(), "read": cases.len(), "cut_short": cut,
        "stated": counts.iter().map(|(name, (yes, no, skipped))| json!({
            "model": name, "agree": yes, "disagree": no, "not_compared": skipped })).collect::<Vec<_>>(),
        "verdict_rows": list.map(List::len),
        "run": run.len(), "instances": instances, "not_exercised": not_exercised, "alarms": alarms,
        "store_buffer_outcomes": buffered.len(), "store_buffer_outcomes_seen": found,
        "seconds": took.as_secs_f64(),
    } }))?;
    if cases.len() + unread.len() == 1 {
        return Ok(());
    }
    let mut parts = vec![format!("{} of {} files read", cases.len(), cases.len() + unread.len())];
    if cut > 0 {
        parts.push(format!("{cut} cut short after {STEPS} steps"));
    }
    for (name, (yes, no, skipped)) in counts.iter().filter(|(_, (a, b, c))| a + b + c > 0) {
        let skipped = if *skipped > 0 { format!(", {skipped} not compared") } else { String::new() };
        parts.push(format!("{name}: {yes} of {} stated verdicts agree{skipped}", yes + no));
    }
    if !run.is_empty() || not_exercised > 0 {
        let runs = format!("{} run here, {} instances, {alarms} alarms", run.len(), shown(instances));
        parts.push(format!("{runs}, {not_exercised} not exercised"));
    }
    if IS_X86 && !buffered.is_empty() {
        parts.push(format!("seen {found} of {} outcomes that need x86's store buffer", buffered.len()));
    }
    out.say(format!("\n{}; {:.1} s", parts.join("; "), took.as_secs_f64()))
}

fn as_json(case: &Case) -> Json {
    let (test, allowed) = (&case.test, &case.allowed);
    let seen = match &case.seen {
        Some(Ok(seen)) => Some(seen),
        _ => None,
    };
    let mut all: BTreeSet<&Vec<i64>> =
        allowed.cxx20.iter().chain(&allowed.rc11).chain(&allowed.tso).collect();
    all.extend(seen.iter().flat_map(|s| s.outcomes.iter().map(|(o, _)| o)));
    let outcomes = all.into_iter().map(|o| {
        let times = seen.map(|s| s.outcomes.iter().find(|(other, _)| other == o).map_or(0, |(_, n)| *n));
        json!({
            "outcome": test.outcome(o), "in_question": case.asks_for(o), "rc11": allowed.rc11.contains(o),
            "cxx20": allowed.cxx20.contains(o), "x86": allowed.tso.contains(o), "in_turns": allowed.sc.contains(o),
            "seen": times,
        })
    });
    let language = match test.dialect {
        Dialect::C11 => "c11",
        Dialect::Kernel => "kernel",
        Dialect::X86 => "x86",
    };
    json!({
        "file": case.file, "test": test.name, "language": language, "threads": test.threads.len(),
        "rc11": allowed.asked(&allowed.rc11, test), "cxx20": allowed.asked(&allowed.cxx20, test),
        "x86": allowed.asked(&allowed.tso, test), "racy": allowed.racy, "complete": allowed.complete,
        "instances": seen.map(|s| s.instances), "seen": case.count().map(|(n, _)| n),
        "grade": case.grade().to_string(), "stated": case.stated_cell(),
        "alarm": case.alarm().map(|(outcome, by)| format!("{outcome} was seen, and {by} forbids it")),
        "outcomes": outcomes.collect::<Vec<_>>(),
    })
}

//! Launches: the program starts itself again for every measurement, because one process can be wrong as a whole with a tiny
//! interval (one in two hundred uncontended launches was 17 % off for its whole life). Also the guard of everything that may hang,
//! be killed or leave state behind: a child that does not answer is a result, never a hung workbench.
use std::{
    collections::VecDeque,
    env,
    io::{self, BufRead, BufReader, Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use crate::{
    lab::{
        Lab, Launch, Step,
        plan::Plan,
        sample::{AA, Sample},
    },
    machine::group,
    measure::{order::Order, state::Around},
};

/// Set in a child's environment: the [`Errand`], as JSON.
const ERRAND: &str = "UNDERHOOD_ERRAND";

/// What a child is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Errand {
    lab: String,
    step: String,
    cases: Vec<String>,
    params: Vec<String>,
    /// The baseline once more, in a process of its own: its samples are the `A/A` row.
    twin: bool,
    plan: Plan,
    /// The process that starts the child.
    parent: u32,
}

/// If this process is a child, does its errand and returns the exit code; every binary asks this first.
pub fn child(labs: &[&'static Lab]) -> Option<ExitCode> {
    let text = env::var(ERRAND).ok()?;
    let errand: Option<Errand> = serde_json::from_str(&text).ok();
    if !die_with_parent(errand.as_ref().map(|e| e.parent)) {
        return Some(ExitCode::FAILURE);
    }
    let found = errand.and_then(|errand| {
        let lab = labs.iter().find(|l| l.stem == errand.lab)?;
        Some((lab.steps.iter().find(|s| s.name == errand.step)?, errand))
    });
    let Some((step, errand)) = found else {
        let _ = writeln!(
            io::stderr(),
            "this program does not know the errand it was started for; was it rebuilt meanwhile?"
        );
        return Some(ExitCode::FAILURE);
    };
    // From the lab's own constants, so that a lab sees the very names it declared.
    let own = |names: Vec<&'static str>, asked: &[String]| -> Vec<&'static str> {
        names.into_iter().filter(|n| asked.iter().any(|a| a == n)).collect()
    };
    let samples =
        step.run(&errand.plan, &own(step.cases(), &errand.cases), &own(step.params(), &errand.params));
    let mut out = io::stdout().lock();
    for mut sample in samples {
        // Not a number has no place in JSON, and is no measurement.
        sample.values.retain(|name, v| {
            if !v.is_finite() {
                sample.doubts.push(format!("`{name}` was not a finite number"));
            }
            v.is_finite()
        });
        if errand.twin {
            sample.case = AA.into();
        }
        let line = serde_json::to_string(&sample).expect("a sample is plain data");
        if writeln!(out, "{line}").is_err() {
            return Some(ExitCode::FAILURE);
        }
    }
    Some(ExitCode::SUCCESS)
}

/// The kernel ends this process when the one that started it ends, however that ends. Elsewhere than on Linux a killed parent can
/// leave a child behind until the child's own deadline. False if `parent` has ended already: then the kernel has nothing to wait for.
fn die_with_parent(parent: Option<u32>) -> bool {
    #[cfg(target_os = "linux")]
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory of ours.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
    #[cfg(unix)]
    return parent.is_none_or(|pid| pid == std::os::unix::process::parent_id());
    #[cfg(not(unix))]
    return {
        let _ = parent;
        true
    };
}

/// The errand of this process as an errand for a child of its own, as name and value of an environment variable; `None` if this process
/// is no child.
pub(super) fn handed_on() -> Option<(&'static str, String)> {
    let mut errand: Errand = serde_json::from_str(&env::var(ERRAND).ok()?).ok()?;
    errand.parent = std::process::id();
    Some((ERRAND, serde_json::to_string(&errand).ok()?))
}

/// How far a step is; for a progress line.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Children done.
    pub done: usize,
    /// Children in all.
    pub of: usize,
    /// Time since the step began.
    pub elapsed: Duration,
}

/// Ended early because the user asked for it: the launches that were complete by then.
#[derive(Debug)]
pub struct Interrupted(pub Vec<Vec<Sample>>);

/// The child was ended because the user asked for it.
struct Stopped;

/// Runs a step in its launches. The result has a sample for each case and parameter (and `A/A` where the step is paired) from every
/// launch, in order of launches; what failed is a sample with `unmeasured`.
///
/// # Errors
/// [`Interrupted`] if `stop` was set; all children are dead by then.
pub fn run(
    lab: &Lab,
    step: &Step,
    plan: &Plan,
    stop: &AtomicBool,
    progress: &mut dyn FnMut(Progress),
) -> Result<Vec<Vec<Sample>>, Interrupted> {
    let errands: Vec<Part> = match step.launch {
        Launch::Together => {
            vec![Part { cases: step.cases(), params: step.params(), twin: false }]
        }
        Launch::Isolated => {
            let part = |case, param, twin| Part { cases: vec![case], params: vec![param], twin };
            let cells = step.cells().into_iter().map(|(c, p)| part(c, p, false));
            // What is counted needs no twin: it has no noise of position.
            let twins = step
                .params()
                .into_iter()
                .filter(|_| step.kind.is_timed())
                .map(|p| part(step.baseline(), p, true));
            cells.chain(twins).collect()
        }
        Launch::Recorded(command) => {
            let why = format!("no record of it is in the store; make one: {command}");
            let cells = step.cells().into_iter();
            return Ok(vec![cells.map(|(c, p)| Sample::unmeasured(c, p, why.clone())).collect()]);
        }
    };
    // A child that was killed left its control group behind. Swept now and at the end, since a process that is being taken apart keeps
    // its group for a moment longer.
    group::sweep(Path::new("/"));
    let started = Instant::now();
    let of = errands.len() * plan.launches;
    let mut launches = Vec::new();
    let mut done = 0;
    for launch in 0..plan.launches {
        let plan = Plan { launch, ..plan.clone() };
        // Isolated cases are interleaved too: every launch visits them in another order.
        let mut turn: Vec<usize> = (0..errands.len()).collect();
        Order::new(plan.seed ^ (launch as u64) << 17).shuffle(&mut turn);
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); errands.len()];
        for i in turn {
            progress(Progress { done, of, elapsed: started.elapsed() });
            let around = Around::begin(&plan, step.kind);
            match one(lab, step, &errands[i], &plan, stop) {
                Ok(mut got) => {
                    around.end(&mut got);
                    samples[i] = got;
                }
                Err(Stopped) => return Err(Interrupted(launches)),
            }
            done += 1;
        }
        launches.push(samples.into_iter().flatten().collect());
    }
    group::sweep(Path::new("/"));
    progress(Progress { done, of, elapsed: started.elapsed() });
    Ok(launches)
}

/// What one child measures.
struct Part {
    cases: Vec<&'static str>,
    params: Vec<&'static str>,
    twin: bool,
}

/// One child. Its own process group, so that whatever it started ends with it.
fn one(lab: &Lab, step: &Step, part: &Part, plan: &Plan, stop: &AtomicBool) -> Result<Vec<Sample>, Stopped> {
    let Part { cases, params, twin } = part;
    let failed = |why: String| -> Vec<Sample> {
        let cells = cases.iter().flat_map(|c| params.iter().map(move |p| (if *twin { AA } else { *c }, *p)));
        cells.map(|(c, p)| Sample::unmeasured(c, p, why.clone())).collect()
    };
    let errand = Errand {
        lab: lab.stem.into(),
        step: step.name.into(),
        cases: cases.iter().map(ToString::to_string).collect(),
        params: params.iter().map(ToString::to_string).collect(),
        twin: *twin,
        plan: plan.clone(),
        parent: std::process::id(),
    };
    let exe = match myself() {
        Ok(exe) => exe,
        Err(why) => return Ok(failed(why)),
    };
    let mut command = Command::new(exe);
    command.env(ERRAND, serde_json::to_string(&errand).expect("an errand is plain data"));
    // A panic's message is wanted, its backtrace is not.
    command.env("RUST_BACKTRACE", "0");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) => return Ok(failed(format!("a child process could not be started: {e}"))),
    };
    let (out, err) = match lines(child.stdout.take()).and_then(|out| Ok((out, lines(child.stderr.take())?))) {
        Ok(pipes) => pipes,
        Err(why) => {
            end(&mut child);
            return Ok(failed(why));
        }
    };
    let deadline = Instant::now() + deadline(plan, cases.len() * params.len());
    let kills = oom_kills();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Ok(None) if stop.load(Relaxed) => {
                end(&mut child);
                return Err(Stopped);
            }
            Ok(None) if Instant::now() > deadline => {
                end(&mut child);
                break Err("hung: no result before the watchdog's deadline; the child was ended".to_string());
            }
            Ok(None) => thread::sleep(Duration::from_millis(2)),
            Err(e) => break Err(format!("lost sight of the child process: {e}")),
        }
    };
    // The group goes as a whole, in case the child left one of its own behind.
    end_group(&child);
    let samples: Vec<Sample> = out.iter().filter_map(|l| serde_json::from_str(&l).ok()).collect();
    let why = match status {
        Err(why) => why,
        Ok(status) if status.success() && !samples.is_empty() => return Ok(samples),
        Ok(status) if status.success() => "the child ended well but measured nothing".into(),
        Ok(status) => cause_of_death(status, kills, oom_kills(), last_words(err.iter())),
    };
    Ok(failed(why))
}

/// Where this program is. Without /proc the system cannot say it; then the name that it was called by has to do.
pub(super) fn myself() -> Result<PathBuf, String> {
    let exe = env::current_exe().or_else(|e| env::args_os().next().map(Into::into).ok_or(e));
    exe.map_err(|e| format!("this program cannot find itself: {e}"))
}

/// Far beyond what a sound child needs, on a loaded machine too.
fn deadline(plan: &Plan, cells: usize) -> Duration {
    let cells = u32::try_from(cells.max(1)).unwrap_or(u32::MAX);
    plan.patience + (plan.slice * 12 + Duration::from_millis(200)) * cells
}

fn cause_of_death(
    status: std::process::ExitStatus,
    kills_before: Option<u64>,
    kills_after: Option<u64>,
    last_words: Option<String>,
) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match (signal, kills_before, kills_after) {
            (libc::SIGKILL, Some(a), Some(b)) if b > a => {
                "killed by the kernel's out-of-memory killer".into()
            }
            (libc::SIGKILL, _, _) => {
                "killed by SIGKILL: somebody ended it, or the out-of-memory killer did".into()
            }
            _ => format!("killed by signal {signal}"),
        };
    }
    let _ = (kills_before, kills_after);
    match last_words {
        Some(words) => format!("failed ({status}): {words}"),
        None => format!("failed ({status}) without a word"),
    }
}

/// What a child said last, without the runtime's advice on backtraces.
pub(super) fn last_words(lines: impl Iterator<Item = String>) -> Option<String> {
    lines.filter(|l| !l.trim().is_empty() && !l.starts_with("note: ")).last()
}

/// Out-of-memory kills on this machine so far. Counts the kills of others too; a killed child beside a risen count is named as such.
fn oom_kills() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/vmstat").ok()?;
    text.lines().find_map(|l| l.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn end(child: &mut Child) {
    end_group(child);
    let _ = child.kill();
    let _ = child.wait();
}

fn end_group(child: &Child) {
    #[cfg(unix)]
    if let Ok(group) = i32::try_from(child.id()) {
        // SAFETY: sends a signal to the group that this child was put into when it started; touches no memory.
        unsafe { libc::kill(-group, libc::SIGKILL) };
    }
    #[cfg(not(unix))]
    let _ = child;
}

/// Reads a pipe on a thread of its own, so that a full pipe never blocks the child. Keeps the last 4,096 lines. Where the system lets us
/// start no thread, why.
pub(super) fn lines(pipe: Option<impl Read + Send + 'static>) -> Result<Lines, String> {
    let (tell, told) = mpsc::channel();
    if let Some(pipe) = pipe {
        let read = move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        };
        let started = thread::Builder::new().spawn(read);
        started.map_err(|e| format!("no thread could be started to listen to a child process: {e}"))?;
    }
    Ok(Lines(told))
}

pub(super) struct Lines(mpsc::Receiver<String>);

impl Lines {
    /// What was read, up to the end of the pipe; waits for that end no longer than a second, in case a grandchild holds it open.
    pub(super) fn iter(&self) -> impl Iterator<Item = String> {
        let until = Instant::now() + Duration::from_secs(1);
        let mut kept = VecDeque::new();
        while let Ok(line) = self.0.recv_timeout(until.saturating_duration_since(Instant::now())) {
            if kept.len() == 4096 {
                kept.pop_front();
            }
            kept.push_back(line);
        }
        kept.into_iter()
    }
}

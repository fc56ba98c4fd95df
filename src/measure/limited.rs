//! A case in a process with a limit: a CPU quota, or a memory limit that may kill it.
//!
//! The child that was started for the case ([`super::launch`]) stays outside. It makes the control group, starts this program
//! once more with the same errand, which enters the group before it does anything else, waits for its end, reads the group's
//! counters and removes the group. So whoever is killed is never the one who has to report it.
//!
//! Four steps down, each with a sentence:
//!
//! | where | what happens |
//! |---|---|
//! | a group can be made | it is: the limit is real |
//! | the process is limited already, and no group can be made below | it can be observed, not limited: the rows with limits of their own have none |
//! | no rights | the exact commands are told, and the limit is modelled; the sample says SIMULATED, and carries no verdict |
//! | another system than Linux | skipped |
//!
//! What the models are: for a quota, the child is stopped (SIGSTOP) when its CPU time of the period is used up, and goes on with the
//! next period. A kernel takes the time in slices of 5 ms for each CPU, this looks once in a millisecond: the shape is the same, the numbers
//! are not. For a memory limit nothing is limited; whoever asked may compare the peak with what would have been the limit.
use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::launch;
use crate::{
    lab::sample::Sample,
    machine::group::{self, Bound, Counted, Group, Refused},
};

/// Set for the process inside: the group's folder, or nothing if there is none to enter.
const INSIDE: &str = "UNDERHOOD_INSIDE";
/// What the process inside says when the way into the group is forbidden.
const NO_ENTRY: &str = "the way into the control group is forbidden";

/// `None` outside. Inside: whether the group could be entered. To be called first.
pub fn inside() -> Option<Result<(), String>> {
    let folder = PathBuf::from(env::var_os(INSIDE)?);
    if folder.as_os_str().is_empty() {
        return Some(Ok(()));
    }
    Some(group::enter(&folder).map_err(|e| format!("{NO_ENTRY}: {e}")))
}

/// What became of the process inside.
#[derive(Debug)]
pub struct Ran {
    /// What it measured: nothing if it was killed.
    pub sample: Option<Sample>,
    /// It ended by SIGKILL.
    pub killed: bool,
    /// What the group counted; nothing if there was none.
    pub counted: Counted,
    /// If the limit was only modelled; `None` if it was real, or none was asked for.
    pub simulated: Option<Simulated>,
}

impl Ran {
    /// What it measured, marked if the limit was only modelled: for a limit that kills nobody.
    ///
    /// # Errors
    /// In a sentence: it was killed all the same.
    pub fn survivor(self) -> Result<Sample, String> {
        let sample = self.sample.ok_or("the process was killed, and nobody knows by whom")?;
        Ok(match self.simulated {
            Some(simulated) => simulated.mark(sample),
            None => sample,
        })
    }
}

/// A limit that was only modelled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Simulated {
    /// What was done instead, and why: with the word SIMULATED.
    pub why: String,
    /// What makes a real one and puts a shell into it.
    pub commands: String,
}

impl Simulated {
    /// The sample with a doubt, so that it carries no verdict, and the commands under the table.
    pub fn mark(self, mut sample: Sample) -> Sample {
        sample.doubts.push(self.why);
        if self.commands.is_empty() {
            return sample;
        }
        sample.seeing(format!("for a real limit, in a shell as root: {}", self.commands))
    }
}

/// Runs the errand of this process again, inside: below that limit, or as things are here if there is none.
///
/// # Errors
/// In a sentence: why this cannot be had here, or what went wrong.
pub fn run(bound: Option<Bound>) -> Result<Ran, String> {
    let Some(bound) = bound else {
        let (sample, killed) = again(None, None)?;
        return Ok(Ran { sample, killed, counted: Counted::default(), simulated: None });
    };
    let refused = match Group::create(Path::new("/"), bound) {
        Ok(group) => match again(Some(group.folder()), None) {
            Err(why) if why.contains(NO_ENTRY) => Refused { why, ..group.refused_to_others(bound) },
            ran => {
                let (sample, killed) = ran?;
                return Ok(Ran { sample, killed, counted: group.counted(), simulated: None });
            }
        },
        Err(refused) => refused,
    };
    let simulated = match down(&refused, bound, cfg!(target_os = "linux")) {
        Down::Simulate(simulated) => simulated,
        Down::Observe(why) | Down::Skip(why) => return Err(why),
    };
    let duty = match bound {
        Bound::Cpu { quota_us, period_us } => {
            Some(Duty { quota: Duration::from_micros(quota_us), period: Duration::from_micros(period_us) })
        }
        Bound::Memory { .. } => None,
    };
    let (sample, killed) = again(None, duty)?;
    Ok(Ran { sample, killed, counted: Counted::default(), simulated: Some(simulated) })
}

/// What is left where no group can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Down {
    /// Look at the limit that there is.
    Observe(String),
    /// Model it.
    Simulate(Simulated),
    /// Nothing.
    Skip(String),
}

/// Which step down it is, and the sentence.
pub fn down(refused: &Refused, bound: Bound, on_linux: bool) -> Down {
    let what = match bound {
        Bound::Cpu { .. } => "a CPU quota",
        Bound::Memory { .. } => "a memory limit",
    };
    if !on_linux {
        return Down::Skip(format!("{what} of a control group is Linux's; this system has none"));
    }
    if refused.limited {
        // To fill a memory limit that others live below could kill them.
        let left = match bound {
            Bound::Cpu { .. } => "the rows without a quota of their own show what holds here",
            Bound::Memory { .. } => "that limit is shared with others, so it is not tried",
        };
        return Down::Observe(format!("no control group can be made: {}; {left}", refused.why));
    }
    let model = match bound {
        Bound::Cpu { .. } => "by stopping and continuing the process",
        Bound::Memory { .. } => "by comparing the peak with what would be the limit",
    };
    let why = format!("SIMULATED {what} {model}: no control group can be made ({})", refused.why);
    Down::Simulate(Simulated { why, commands: refused.commands.clone() })
}

/// How much CPU time the process inside gets in each period.
#[derive(Clone, Copy, Debug)]
struct Duty {
    quota: Duration,
    period: Duration,
}

/// This program once more, inside. Its sample, and whether it was killed.
///
/// In the process group of this one, so that the watchdog of whoever started this one ends both.
fn again(folder: Option<&Path>, duty: Option<Duty>) -> Result<(Option<Sample>, bool), String> {
    let (name, errand) =
        launch::handed_on().ok_or("a limited case runs only in a child that was started for it")?;
    let mut child = Command::new(launch::myself()?)
        .env(name, errand)
        .env(INSIDE, folder.unwrap_or(Path::new("")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| format!("a process inside could not be started: {e}"))?;
    let (out, err) = match launch::lines(child.stdout.take())
        .and_then(|out| Ok((out, launch::lines(child.stderr.take())?)))
    {
        Ok(pipes) => pipes,
        Err(why) => {
            let _ = child.kill();
            let _ = child.wait();
            return Err(why);
        }
    };
    if let Some(duty) = duty {
        keep(&mut child, duty).map_err(|e| format!("the process inside could not be watched: {e}"))?;
    }
    let status = child.wait().map_err(|e| format!("lost sight of the process inside: {e}"))?;
    let sample = out.iter().find_map(|l| serde_json::from_str::<Sample>(&l).ok());
    #[cfg(unix)]
    let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(libc::SIGKILL);
    #[cfg(not(unix))]
    let killed = false;
    if let Some(why) = sample.as_ref().and_then(|s| s.unmeasured.clone()) {
        return Err(why);
    }
    if sample.is_none() && !killed {
        let words = launch::last_words(err.iter()).unwrap_or_else(|| "without a word".into());
        return Err(format!("the process inside measured nothing ({status}): {words}"));
    }
    Ok((sample, killed))
}

/// Stops the child whenever its CPU time of a period is used up; returns when it has ended.
#[cfg(target_os = "linux")]
fn keep(child: &mut Child, duty: Duty) -> io::Result<()> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    // SAFETY: sends a signal to a child that was not waited for yet, so its number is still its own; touches no memory.
    let tell = |signal| unsafe { libc::kill(pid, signal) };
    loop {
        let (began, used) = (Instant::now(), cpu_time_of(pid));
        while began.elapsed() < duty.period {
            if child.try_wait()?.is_some() {
                return Ok(());
            }
            let spent = cpu_time_of(pid).zip(used).map(|(now, then)| now.saturating_sub(then));
            if spent.is_some_and(|s| s >= duty.quota) {
                tell(libc::SIGSTOP);
                thread::sleep(duty.period.saturating_sub(began.elapsed()));
                tell(libc::SIGCONT);
            } else {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn keep(_: &mut Child, _: Duty) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// CPU time of all threads of another process; `None` once it has ended.
#[cfg(target_os = "linux")]
fn cpu_time_of(pid: i32) -> Option<Duration> {
    let mut clock = 0;
    // SAFETY: `clock` is valid to write to; a pid that is gone is an error.
    let rc = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `t` is a valid timespec that outlives the call; a clock that is gone is an error.
    let ok = rc == 0 && unsafe { libc::clock_gettime(clock, &raw mut t) } == 0;
    ok.then(|| Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0)))
}

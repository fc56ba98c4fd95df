//! Runs orders in child processes of this test binary, a few at a time, each with a time limit.

use super::explore::{BOUND, ORDERINGS, Order, ROLES, parse};
use super::mutate::Site;
use std::collections::BTreeMap;
use std::env;
use std::io::Read;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Far above what any exploration takes on a slow machine: it is there so that nothing hangs. A deeper search than the
/// scenario's own was asked for by somebody who will wait.
fn limit() -> Duration {
    Duration::from_secs(if env::var_os(BOUND).is_some() { 3600 } else { 120 })
}

/// What a child said.
#[derive(Debug)]
pub struct Answer {
    /// Executions of the scenarios it got through, and of the one that failed.
    pub executions: usize,
    /// From the start of its process to the end.
    pub took: Duration,
    pub end: End,
    /// The sites that were reached, with their orderings as written.
    pub sites: BTreeMap<Site, Ordering>,
    /// It came to a wait or a weak exchange: in a hostile world the same program has more executions.
    pub tricky: bool,
    /// The failing execution, if it was to be told: thread and step.
    pub steps: Vec<(usize, String)>,
    /// The history that was objected to, a line for each lane.
    pub drawn: Vec<String>,
}

#[derive(Debug)]
pub enum End {
    Passed,
    Failed {
        scenario: String,
        message: String,
    },
    /// No verdict: over the time limit.
    TimedOut,
}

/// One answer per order, in the same order.
pub fn run(orders: &[Order]) -> Vec<Answer> {
    let answers: Vec<Mutex<Option<Answer>>> = orders.iter().map(|_| Mutex::new(None)).collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(order) = orders.get(index) else { break };
                    *answers[index].lock().unwrap() = Some(answer(order));
                }
            });
        }
    });
    answers.into_iter().map(|a| a.into_inner().unwrap().expect("every order was taken")).collect()
}

fn answer(order: &Order) -> Answer {
    let started = Instant::now();
    let mut child = Command::new(env::current_exe().expect("a path to this test"))
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads", "1"])
        .envs(order.environment())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("a second process of this test");
    let mut stdout = child.stdout.take().expect("a pipe");
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let status = loop {
        match child.try_wait().expect("our own child") {
            Some(status) => break Some(status),
            None if started.elapsed() > limit() => {
                child.kill().expect("our own child");
                child.wait().expect("our own child");
                break None;
            }
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    let took = started.elapsed();
    let text = reader.join().unwrap().expect("a readable pipe");
    let mut answer = Answer {
        executions: 0,
        took,
        end: End::TimedOut,
        sites: BTreeMap::new(),
        tricky: false,
        steps: Vec::new(),
        drawn: Vec::new(),
    };
    let mut failure = None;
    for line in text.lines().filter_map(|line| line.split_once('@').map(|(_, said)| said)) {
        if let Some((thread, what)) = line.strip_prefix("step ").and_then(|rest| rest.split_once(' ')) {
            answer.steps.push((thread.parse().unwrap(), what.to_owned()));
            continue;
        }
        if let Some(drawn) = line.strip_prefix("drawn ") {
            answer.drawn.push(drawn.to_owned());
            continue;
        }
        let words: Vec<_> = line.splitn(5, ' ').collect();
        match words[..] {
            ["site", line, column, role, written] => {
                let (line, column) = (line.parse().unwrap(), column.parse().unwrap());
                answer
                    .sites
                    .insert(Site { line, column, role: parse(&ROLES, role) }, parse(&ORDERINGS, written));
            }
            ["tricky"] => answer.tricky = true,
            ["passed", _, executions] => answer.executions += executions.parse::<usize>().unwrap(),
            ["failed", scenario, executions, ..] => {
                answer.executions += executions.parse::<usize>().unwrap();
                let message = line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned();
                failure = Some(End::Failed { scenario: scenario.to_owned(), message });
            }
            _ => panic!("a child said: {line}"),
        }
    }
    answer.end = match (status, failure) {
        (_, Some(failure)) => failure,
        (None, None) => End::TimedOut,
        (Some(status), None) if status.success() => End::Passed,
        (Some(status), None) if order.mutant.is_some() && crashed(status) => End::Failed {
            scenario: "?".to_owned(),
            message: format!("crashed, {status}: a pointer to nowhere"),
        },
        // Killed only if the model said so; a child that died without a word may have run out of memory.
        (Some(status), None) => panic!("a child died without a verdict: {status}\n{text}"),
    };
    answer
}

/// What a mutant of a pointer structure may do instead of failing an assertion.
fn crashed(status: ExitStatus) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        matches!(status.signal(), Some(4 | 5 | 6 | 7 | 8 | 10 | 11)) // not 9, which ends a process that has no more memory
    }
    #[cfg(not(unix))]
    {
        let _ = status;
        false
    }
}

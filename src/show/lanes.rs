//! A [`Trace`] as lanes: one for each thread and each task, with spans that nest; and the lanes as text.
use std::{collections::BTreeMap, thread::ThreadId};

use crate::{
    measure::trace::{Event, Trace, What},
    record::{self, Picture},
};

/// What a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Doing {
    /// A thread waits for work.
    Park,
    /// A task is being polled.
    Poll,
    /// A thread is in a call that blocks.
    Block,
    /// A task could run, and does not.
    Ready,
}

impl Doing {
    fn mark(self) -> char {
        match self {
            Self::Park => '.',
            Self::Poll => '=',
            Self::Block => '#',
            Self::Ready => '-',
        }
    }
}

/// What the marks of [`text`] mean.
pub const LEGEND: &str = "threads: = polls a task, # blocks, . parked, | wakes somebody; tasks: = polled, - ready and waiting for a worker";

/// Whose lane it is. In the order in which lanes are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// A thread that was a worker of a runtime.
    Worker,
    /// Another thread of a runtime: the blocking pool.
    Blocking,
    /// A thread of its own.
    Outside,
    /// A task.
    Task,
}

/// One thing in a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A span begins.
    Begin(Doing, String),
    /// The span that began last ends.
    End,
    /// A moment.
    Mark(String),
}

/// One lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// Whose.
    pub of: Of,
    /// For people.
    pub name: String,
    /// In order of time; each `End` has its `Begin` before it, and each `Begin` its `End` after it.
    pub steps: Vec<(u64, Step)>,
    open: usize,
}

impl Lane {
    fn new(of: Of, name: String) -> Self {
        Self { of, name, steps: Vec::new(), open: 0 }
    }
    fn begin(&mut self, at_ns: u64, doing: Doing, name: String) {
        self.steps.push((at_ns, Step::Begin(doing, name)));
        self.open += 1;
    }
    /// What ends without having begun, began before the recording: it is not shown.
    fn end(&mut self, at_ns: u64) {
        if self.open > 0 {
            self.steps.push((at_ns, Step::End));
            self.open -= 1;
        }
    }
    fn end_all(&mut self, at_ns: u64) {
        while self.open > 0 {
            self.end(at_ns);
        }
    }
}

/// The lanes of a trace: workers, blocking threads, threads outside, tasks. What is still open when the trace ends is ended there.
pub fn lanes(trace: &Trace) -> Vec<Lane> {
    let task_name = |task: usize| format!("{} {task}", trace.tasks.get(task).unwrap_or(&"task"));
    let mut order: Vec<ThreadId> = Vec::new();
    let mut threads: BTreeMap<usize, Lane> = BTreeMap::new();
    let mut tasks: BTreeMap<usize, Lane> = BTreeMap::new();
    // Of each task: woken in the midst of its poll.
    let mut again: BTreeMap<usize, bool> = BTreeMap::new();
    for Event { at_ns, thread, runtime, worker, what } in trace.events.iter().copied() {
        let number = order.iter().position(|t| *t == thread).unwrap_or_else(|| {
            order.push(thread);
            order.len() - 1
        });
        let lane = threads.entry(number).or_insert_with(|| {
            let of = if runtime.is_some() { Of::Blocking } else { Of::Outside };
            let kind = if runtime.is_some() { "blocking" } else { "outside" };
            Lane::new(of, format!("{kind} (thread {number})"))
        });
        if let (Some(worker), true) = (worker, lane.of != Of::Worker) {
            // A pool thread may become a worker: every worker began as one, and block_in_place makes more.
            lane.of = Of::Worker;
            let of = runtime.filter(|r| *r > 0).map_or(String::new(), |r| format!(" of runtime {r}"));
            lane.name = format!("worker {worker}{of} (thread {number})");
        }
        match what {
            What::Start | What::Spawn(_) => {}
            What::Stop => lane.end_all(at_ns),
            What::Park => lane.begin(at_ns, Doing::Park, "park".into()),
            What::Poll(task) => lane.begin(at_ns, Doing::Poll, format!("poll {}", task_name(task))),
            What::Block(call) => lane.begin(at_ns, Doing::Block, format!("block: {call}")),
            What::Unpark | What::Polled(..) | What::Unblock => lane.end(at_ns),
            What::Wake(task) => lane.steps.push((at_ns, Step::Mark(format!("wake {}", task_name(task))))),
        }
        let (What::Spawn(task) | What::Poll(task) | What::Polled(task, _) | What::Wake(task)) = what else {
            continue;
        };
        let lane = tasks.entry(task).or_insert_with(|| Lane::new(Of::Task, task_name(task)));
        let polled = matches!(
            lane.steps.iter().rev().find(|(_, s)| matches!(s, Step::Begin(..))),
            Some((_, Step::Begin(Doing::Poll, _)))
        ) && lane.open > 0;
        match what {
            What::Poll(_) => {
                lane.end_all(at_ns);
                again.insert(task, false);
                lane.begin(at_ns, Doing::Poll, format!("poll on thread {number}"));
            }
            What::Polled(_, done) => {
                lane.end_all(at_ns);
                if !done && again.get(&task) == Some(&true) {
                    lane.begin(at_ns, Doing::Ready, "ready".into());
                }
            }
            What::Wake(_) if polled => {
                again.insert(task, true);
            }
            _ if lane.open == 0 => lane.begin(at_ns, Doing::Ready, "ready".into()),
            _ => {} // woken once more before its poll: the same wake to the runtime
        }
    }
    let last_ns = trace.events.last().map_or(0, |e| e.at_ns);
    let mut lanes: Vec<Lane> = threads.into_values().chain(tasks.into_values()).collect();
    lanes.iter_mut().for_each(|lane| lane.end_all(last_ns));
    lanes.retain(|lane| !lane.steps.is_empty());
    lanes.sort_by_key(|lane| lane.of);
    lanes
}

/// The lanes as text, `width` columns wide with their names; in each column what lasted longest there. The scale is in the first line.
pub fn text(trace: &Trace, width: usize) -> String {
    let lanes = lanes(trace);
    let last_ns = trace.events.last().map_or(0, |e| e.at_ns).max(1);
    let label = lanes.iter().map(|l| l.name.chars().count()).max().unwrap_or(0);
    let columns = width.saturating_sub(label + 1).max(10);
    let mut out = format!("{:label$} 0 to {:.1} ms\n", "", last_ns as f64 / 1e6);
    for lane in &lanes {
        let marks: String = drawn(lane, last_ns, columns).into_iter().collect();
        out.push_str(format!("{:label$} {marks}", lane.name).trim_end());
        out.push('\n');
    }
    if trace.dropped_count > 0 {
        out.push_str(&format!("{} events more than fit were dropped\n", trace.dropped_count));
    }
    out
}

/// Columns of a [`Picture`].
pub const COLUMNS: usize = 160;

/// The lanes in [`COLUMNS`] columns, to be kept.
pub fn picture(step: &str, name: &str, trace: &Trace) -> Picture {
    let length_ns = trace.events.last().map_or(0, |e| e.at_ns).max(1);
    let lanes = lanes(trace);
    let lane = |lane: &Lane| record::Lane {
        name: lane.name.clone(),
        task: lane.of == Of::Task,
        marks: drawn(lane, length_ns, COLUMNS).into_iter().collect(),
    };
    Picture { step: step.into(), name: name.into(), length_ns, lanes: lanes.iter().map(lane).collect() }
}

fn drawn(lane: &Lane, last_ns: u64, columns: usize) -> Vec<char> {
    let mut spent: Vec<BTreeMap<char, u64>> = vec![BTreeMap::new(); columns];
    let edge = |column: usize| last_ns as u128 * column as u128 / columns as u128;
    let mut open: Vec<char> = Vec::new();
    let mut marked = Vec::new();
    let mut from_ns = 0;
    for (at_ns, step) in &lane.steps {
        if let Some(mark) = open.last() {
            let first = (u128::from(from_ns) * columns as u128 / u128::from(last_ns)) as usize;
            for (column, spent) in spent.iter_mut().enumerate().skip(first) {
                let (left, right) =
                    (edge(column).max(u128::from(from_ns)), edge(column + 1).min(u128::from(*at_ns)));
                if left >= u128::from(*at_ns) {
                    break;
                }
                *spent.entry(*mark).or_default() += right.saturating_sub(left) as u64;
            }
        }
        from_ns = *at_ns;
        match step {
            Step::Begin(doing, _) => open.push(doing.mark()),
            Step::End => drop(open.pop()),
            Step::Mark(_) => {
                marked.push((u128::from(*at_ns) * columns as u128 / u128::from(last_ns)) as usize)
            }
        }
    }
    let longest =
        |spent: BTreeMap<char, u64>| spent.into_iter().max_by_key(|(_, ns)| *ns).map_or(' ', |(c, _)| c);
    let mut drawn: Vec<char> = spent.into_iter().map(longest).collect();
    for column in marked {
        let column = column.min(columns - 1);
        if drawn[column] == ' ' {
            drawn[column] = '|';
        }
    }
    drawn
}

//! Tools that look for the task that blocks a tokio runtime, each as one would use it, on the same small server.
//!
//! A client outside of the runtime sends a message to one of four ordinary tasks each millisecond, and it computes for 20 us. At set moments
//! the client sends one to the suspect, which blocks its worker (in controls it computes for 20 us as well) and notes from when to when. No
//! tool sees these notes: its alarms are compared with them afterwards.
use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Builder, sync::mpsc::unbounded_channel};
use tokio_metrics::TaskMonitor;

use crate::{
    lab::{Contender, Setting},
    measure::{
        cost::Solo,
        latency::ns,
        lateness::{Watched, compare, occupies_worker},
    },
    structures::task::machine::turn,
};

/// The version that `Cargo.lock` has; a test compares them. See `channels::KANAL_VERSION` for why it stands here.
pub const TOKIO_METRICS_VERSION: &str = "0.5.2";
const LIMIT: Duration = Duration::from_millis(10); // a longer poll or delay is an alarm, for every tool
const LOOK: Duration = Duration::from_millis(2); // so often looks a tool that looks from outside
const BEAT: Duration = Duration::from_millis(5); // of the heartbeat
const PATIENCE: Duration = Duration::from_secs(4); // what is not done by then is a reason, and no hang
/// What an ordinary message takes.
pub const ORDINARY: Duration = Duration::from_micros(20);
/// An alarm that comes so long after the end of a block still belongs to it.
pub const GRACE: Duration = Duration::from_millis(12);
/// The number of the task that may block: after the ordinary ones, before those that keep the runtime busy.
pub const SUSPECT: usize = 4;

/// What looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tool(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nothing,
    Heartbeat,   // a task that sleeps and measures how late it wakes
    LongDelays,  // a TaskMonitor for each task; a thread reads how many long delays before a poll it counted
    SlowPolls,   // the same, but how many slow polls
    OneMonitor, // one for all tasks, and its slow polls: tokio's unstable histogram of poll times knows no more either
    StuckWorker, // the detector of lab async_deadlock: a worker whose counters stand still
    PollTimer,  // a wrapper that takes the time of each poll, and says so when a long one has ended
    PollWatch,  // a wrapper that notes when the current poll began, and a thread that reads this
}

const fn tool(id: &'static str, name: &'static str, package: &'static str, kind: Kind) -> Setting<Tool> {
    Setting { is: Contender::new(id).called(name).of(package).checked(check), value: Tool(kind) }
}

/// All that look.
pub const TOOLS: [Setting<Tool>; 7] = [
    tool("heartbeat", "heartbeat task", "", Kind::Heartbeat),
    tool("long_delays", "TaskMonitors, long delays", "tokio-metrics", Kind::LongDelays),
    tool("slow_polls", "TaskMonitors, slow polls", "tokio-metrics", Kind::SlowPolls),
    tool("one_monitor", "one TaskMonitor for all", "tokio-metrics", Kind::OneMonitor),
    tool("stuck_worker", "watch on worker counters", "", Kind::StuckWorker),
    tool("poll_timer", "timer around each poll", "", Kind::PollTimer),
    tool("poll_watch", "watch on running polls", "", Kind::PollWatch),
];

/// Nobody looks, and the tools that do something while tasks are polled.
pub const COSTS: [Setting<Tool>; 5] =
    [tool("nothing", "no tool", "", Kind::Nothing), TOOLS[0], TOOLS[2], TOOLS[5], TOOLS[6]];

/// What a tool has to look at.
#[derive(Clone, Copy, Debug)]
pub struct Scene {
    /// Workers of the runtime.
    pub workers: usize,
    /// How the suspect spends its time: both [`thread::sleep`] and [`compute`] keep its worker.
    pub spends: fn(Duration),
    /// For how long it does with each message.
    pub lasts: Duration,
    /// How many messages it gets.
    pub messages: u32,
    /// From one of them to the next.
    pub every: Duration,
    /// Tasks that are always ready beside it, and compute for half a millisecond in each poll.
    pub turning: usize,
}

/// Computes for so long, without a pause.
pub fn compute(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// What a tool said: when, in ns since the start, and the number of the task, where it names one.
pub type Alarm = (u64, Option<usize>);

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What the suspect noted of each message: from when to when, in ns since the start.
    pub blocks: Vec<(u64, u64)>,
    /// What the tool said.
    pub alarms: Vec<Alarm>,
}

impl Found {
    /// Alarms that came while a block lasted, or soon after.
    fn of(&self, (from, to): (u64, u64)) -> impl Iterator<Item = &Alarm> {
        self.alarms.iter().filter(move |(at, _)| (from..=to + ns(GRACE)).contains(at))
    }
    /// Blocks with at least one alarm whose name is such.
    pub fn blocks_with(&self, is: impl Fn(Option<usize>) -> bool) -> f64 {
        self.blocks.iter().filter(|block| self.of(**block).any(|(_, names)| is(*names))).count() as f64
    }
    /// From the begin of the first block to its first alarm.
    pub fn to_alarm_ns(&self) -> Option<u64> {
        let block = *self.blocks.first()?;
        Some(self.of(block).map(|(at, _)| at).min()? - block.0)
    }
}

/// The start of a run, and where an alarm goes.
#[derive(Clone)]
struct Bell(Instant, Sender<Alarm>);

impl Bell {
    fn now_ns(&self) -> u64 {
        ns(self.0.elapsed())
    }
    fn ring(&self, names: Option<usize>) {
        let _ = self.1.send((self.now_ns(), names)); // nobody hears what comes after the run
    }
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A tool's part in the tasks.
struct Wrap {
    kind: Kind,
    bell: Bell,
    monitors: Vec<TaskMonitor>,
    /// When the current poll of each task began; 0 between polls. Relaxed: a time carries nothing but itself.
    since: Vec<Arc<AtomicU64>>,
}

impl Wrap {
    fn new(kind: Kind, tasks: usize, bell: Bell) -> Self {
        let (mut limits, one) = (TaskMonitor::builder(), kind == Kind::OneMonitor);
        limits.with_slow_poll_threshold(LIMIT).with_long_delay_threshold(LIMIT);
        let monitors = (0..if one { 1 } else { tasks }).map(|_| limits.clone().build()).collect();
        Self { kind, bell, monitors, since: (0..tasks).map(|_| Arc::default()).collect() }
    }

    /// The task with this number, under the tool. In every row it is in a box.
    fn task(&self, number: usize, task: impl Future<Output = ()> + Send + 'static) -> Task {
        let (bell, since, mut task) = (self.bell.clone(), Arc::clone(&self.since[number]), Box::pin(task));
        match self.kind {
            Kind::Nothing | Kind::Heartbeat | Kind::StuckWorker => task,
            Kind::LongDelays | Kind::SlowPolls | Kind::OneMonitor => {
                Box::pin(self.monitors[number % self.monitors.len()].instrument(task))
            }
            Kind::PollTimer => Box::pin(poll_fn(move |context| {
                let began = Instant::now();
                let polled = task.as_mut().poll(context);
                if began.elapsed() > LIMIT {
                    bell.ring(Some(number));
                }
                polled
            })),
            Kind::PollWatch => Box::pin(poll_fn(move |context| {
                since.store(bell.now_ns().max(1), Relaxed);
                let polled = task.as_mut().poll(context);
                since.store(0, Relaxed);
                polled
            })),
        }
    }

    /// The tool's part outside of the runtime: called again and again, it rings for what is new.
    fn reader(self: Arc<Self>, on: Arc<Watched>) -> Option<Box<dyn FnMut() + Send>> {
        let (bell, mut known) = (self.bell.clone(), vec![0; self.since.len()]);
        let (mut then, mut stuck_windows) = (on.look(), 0);
        // Rings if a number is another one than at the last look.
        let mut compared = move |number: usize, now: u64, names| {
            if std::mem::replace(&mut known[number], now) != now {
                bell.ring(names);
            }
        };
        Some(match self.kind {
            Kind::Nothing | Kind::Heartbeat | Kind::PollTimer => return None,
            Kind::LongDelays | Kind::SlowPolls | Kind::OneMonitor => Box::new(move || {
                for (number, monitor) in self.monitors.iter().enumerate() {
                    let (seen, delays) = (monitor.cumulative(), self.kind == Kind::LongDelays);
                    let count = if delays { seen.total_long_delay_count } else { seen.total_slow_poll_count };
                    compared(number, count, (self.kind != Kind::OneMonitor).then_some(number));
                }
            }),
            Kind::PollWatch => Box::new(move || {
                for (number, since) in self.since.iter().enumerate() {
                    let began = since.load(Relaxed);
                    if began > 0 && self.bell.now_ns().saturating_sub(began) > ns(LIMIT) {
                        compared(number, began, Some(number));
                    }
                }
            }),
            Kind::StuckWorker => Box::new(move || {
                if then.at.elapsed() >= LIMIT / 2 {
                    let now = on.look();
                    let is_stuck = compare(&then, &now, 0).stuck_workers > 0; // two halves in a row: an alarm
                    (then, stuck_windows) = (now, if is_stuck { stuck_windows + 1 } else { 0 });
                    if stuck_windows == 2 {
                        self.bell.ring(None);
                    }
                }
            }),
        })
    }
}

/// The heartbeat.
async fn beat(bell: Bell, stop: Arc<AtomicBool>) {
    while !stop.load(Relaxed) {
        let due = Instant::now() + BEAT;
        tokio::time::sleep_until(due.into()).await;
        if due.elapsed() > LIMIT {
            bell.ring(None);
        }
    }
}

/// Has a tool look at a scene, from the first message to [`GRACE`] after the last block.
///
/// # Errors
/// A reason: no runtime or thread to be had, or messages that were not handled in time.
pub fn look_for(tool: Tool, scene: Scene) -> Result<Found, String> {
    let on = Arc::new(Watched::new(scene.workers, 1)?);
    let ((tell, alarms), stop) = (channel(), Arc::new(AtomicBool::new(false)));
    let wrap = Arc::new(Wrap::new(tool.0, SUSPECT + 1 + scene.turning, Bell(Instant::now(), tell)));
    let reader = Arc::clone(&wrap).reader(Arc::clone(&on)).map(|mut read| {
        let stop = Arc::clone(&stop);
        let body = move || {
            let mut stopped = false;
            while !stopped {
                stopped = stop.load(Relaxed); // first, so that all that came before it is read
                read();
                thread::sleep(LOOK);
            }
        };
        thread::Builder::new().name("tool".into()).spawn(body)
    });
    let reader = reader.transpose().map_err(|e| format!("no thread for the tool: {e}"))?;
    let found = serve(scene, &on, &wrap, &stop);
    stop.store(true, Relaxed); // also where it failed: tasks that go on would keep the runtime
    let read = reader.is_none_or(|thread| thread.join().is_ok()); // it was the runtime's only other owner
    let ended = read && Arc::into_inner(on).is_some_and(Watched::shutdown);
    let found = found.map(|blocks| Found { blocks, alarms: alarms.try_iter().collect() });
    if ended { found } else { Err("the tool's thread panicked, or the runtime did not end".into()) }
}

/// The client's part: starts the tasks, sends the messages, waits until all of them are handled, and gives back the suspect's notes.
fn serve(scene: Scene, on: &Watched, wrap: &Wrap, stop: &Arc<AtomicBool>) -> Result<Vec<(u64, u64)>, String> {
    let (bell, handled, (note, noted)) = (&wrap.bell, Arc::new(AtomicU64::new(0)), channel());
    let mut outboxes = Vec::new();
    for number in 0..=SUSPECT + scene.turning {
        let (outbox, mut inbox) = unbounded_channel::<()>();
        outboxes.push(outbox);
        let (bell, handled, note, stop) =
            (bell.clone(), Arc::clone(&handled), note.clone(), Arc::clone(stop));
        on.handle().spawn(wrap.task(number, async move {
            while number > SUSPECT && !stop.load(Relaxed) {
                compute(Duration::from_micros(500));
                turn().await;
            }
            while inbox.recv().await.is_some() {
                if number == SUSPECT {
                    let from = bell.now_ns();
                    (scene.spends)(scene.lasts);
                    let _ = note.send((from, bell.now_ns())); // in vain only if the client gave up
                } else {
                    compute(ORDINARY);
                    handled.fetch_add(1, Relaxed);
                }
            }
        }));
    }
    if wrap.kind == Kind::Heartbeat {
        on.handle().spawn(beat(bell.clone(), Arc::clone(stop)));
    }
    let (mut sent, mut to_suspect) = (0, 0);
    let due = |message: u32| BEAT + scene.every * message;
    while to_suspect < scene.messages || bell.0.elapsed() < due(scene.messages) {
        if to_suspect < scene.messages && bell.0.elapsed() >= due(to_suspect) {
            let _ = outboxes[SUSPECT].send(()); // to a task that is gone: then too few are handled
            to_suspect += 1;
        }
        let _ = outboxes[sent as usize % SUSPECT].send(());
        sent += 1;
        thread::sleep(Duration::from_millis(1));
    }
    let (mut blocks, asked) = (Vec::new(), Instant::now());
    while handled.load(Relaxed) < sent || blocks.len() < scene.messages as usize {
        if asked.elapsed() > PATIENCE {
            return Err(format!("only {} of {sent} messages were handled in time", handled.load(Relaxed)));
        }
        thread::sleep(Duration::from_millis(1));
        blocks.extend(noted.try_iter());
    }
    thread::sleep(GRACE); // for alarms about the last block
    Ok(blocks)
}

/// Before anything is looked for: the suspect keeps its worker, in both ways.
fn check() -> Result<(), String> {
    let time = Duration::from_millis(2);
    [thread::sleep as fn(Duration), compute].into_iter().try_for_each(|spends| {
        let alone = occupies_worker(|| async move { spends(time) }, time, PATIENCE)?;
        alone.then_some(()).ok_or("another task ran on the worker of the task that blocks".into())
    })
}

/// What a poll costs under one of [`COSTS`]: a task that wakes itself and is polled again, on a runtime of one thread.
pub fn polls(tool: &Setting<Tool>) -> Solo {
    let kind = tool.value.0;
    Solo::new(tool.id(), move || {
        let runtime = Builder::new_current_thread().enable_time().build().expect("no thread, no file");
        let wrap = Wrap::new(kind, 1, Bell(Instant::now(), channel().0));
        if kind == Kind::Heartbeat {
            runtime.spawn(beat(wrap.bell.clone(), Arc::default()));
        }
        Box::new(move |polls| {
            let turns = async move {
                for _ in 0..polls {
                    turn().await;
                }
            };
            runtime.block_on(runtime.spawn(wrap.task(0, turns))).expect("nothing to panic");
        })
    })
}

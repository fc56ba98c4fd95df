//! Async channels: items go from some tasks to one task, and what that takes is counted.
//!
//! Every row does the same for an item: its words are written, it is sent, received, and its words are read. The reader checks that each
//! sender's items come in order, and that the sum of all words is right. So a lost, doubled or damaged item is an error.
//!
//! A wake-up is a poll that returned `Pending`: the task stopped there and had to be woken to go on. Each task counts its own, so that
//! no waker is wrapped and the counting shares no cache line.
use std::{
    array,
    cell::Cell,
    future::Future,
    hint::black_box,
    marker::PhantomData,
    pin::{Pin, pin},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    task::{JoinHandle, coop},
};

use crate::{
    lab::{Check, Contender, Point, Setting, plan::Plan, sample::Sample},
    machine::pin_current_thread,
    measure::{
        latency::with_known,
        lateness::in_turn,
        witness::{self, ThreadId},
    },
    stats,
};

/// The version that `Cargo.lock` has; a test compares them. It stands here because the list of contenders whose versions every record names
/// decides what records may be pooled with, for all labs.
pub const ASYNC_CHANNEL_VERSION: &str = "2.5.0";
/// The same of kanal.
pub const KANAL_VERSION: &str = "0.1.1";

/// The sizes of an item, in bytes.
pub const SIZES: [usize; 3] = [8, 64, 1024];
/// Value: polls that returned `Pending`, for each item.
pub const WAKES: &str = "wakes_per_item_count";
/// Value: how often a thread went to sleep, for each item.
pub const SLEEPS: &str = "sleeps_per_item_count";
/// How often each row is measured in one launch, in random order.
const ROUNDS: usize = 3;
/// The fewest items of a run.
pub const FEWEST: usize = 1 << 10;
/// The most items of a run, and the most bytes of them together: an unbounded channel may hold them all at once.
const MOST: usize = 1 << 18;
const MOST_BYTES: usize = 16 << 20;

/// A channel, as its two ends.
pub trait Channel: 'static {
    /// The end of a sender.
    type Tx<T: Send + 'static>: Clone + Send + Sync + 'static;
    /// The end of the receiver.
    type Rx<T: Send + 'static>: Send + 'static;
    /// An empty channel with room for so many items, where it has a limit.
    fn ends<T: Send + 'static>(places: usize) -> (Self::Tx<T>, Self::Rx<T>);
    /// Sends an item as soon as there is room; false if nobody receives any more.
    fn send<T: Send + 'static>(tx: &Self::Tx<T>, item: T) -> impl Future<Output = bool> + Send;
    /// The next item, or `None` if nobody sends any more.
    fn receive<T: Send + 'static>(rx: &mut Self::Rx<T>) -> impl Future<Output = Option<T>> + Send;
}

/// tokio's bounded channel.
#[derive(Debug)]
pub struct Tokio;

impl Channel for Tokio {
    type Tx<T: Send + 'static> = mpsc::Sender<T>;
    type Rx<T: Send + 'static> = mpsc::Receiver<T>;
    fn ends<T: Send + 'static>(places: usize) -> (Self::Tx<T>, Self::Rx<T>) {
        mpsc::channel(places)
    }
    async fn send<T: Send + 'static>(tx: &Self::Tx<T>, item: T) -> bool {
        tx.send(item).await.is_ok()
    }
    fn receive<T: Send + 'static>(rx: &mut Self::Rx<T>) -> impl Future<Output = Option<T>> + Send {
        rx.recv()
    }
}

/// tokio's unbounded channel: to send is not async, so a sender never waits.
#[derive(Debug)]
pub struct Unbounded;

impl Channel for Unbounded {
    type Tx<T: Send + 'static> = mpsc::UnboundedSender<T>;
    type Rx<T: Send + 'static> = mpsc::UnboundedReceiver<T>;
    fn ends<T: Send + 'static>(_: usize) -> (Self::Tx<T>, Self::Rx<T>) {
        mpsc::unbounded_channel()
    }
    async fn send<T: Send + 'static>(tx: &Self::Tx<T>, item: T) -> bool {
        tx.send(item).is_ok()
    }
    fn receive<T: Send + 'static>(rx: &mut Self::Rx<T>) -> impl Future<Output = Option<T>> + Send {
        rx.recv()
    }
}

/// A channel outside of tokio's budget: see lab `async_fairness`.
#[derive(Debug)]
pub struct Unconstrained<C>(PhantomData<C>);

impl<C: Channel> Channel for Unconstrained<C> {
    type Tx<T: Send + 'static> = C::Tx<T>;
    type Rx<T: Send + 'static> = C::Rx<T>;
    fn ends<T: Send + 'static>(places: usize) -> (Self::Tx<T>, Self::Rx<T>) {
        C::ends(places)
    }
    fn send<T: Send + 'static>(tx: &Self::Tx<T>, item: T) -> impl Future<Output = bool> + Send {
        coop::unconstrained(C::send(tx, item))
    }
    fn receive<T: Send + 'static>(rx: &mut Self::Rx<T>) -> impl Future<Output = Option<T>> + Send {
        coop::unconstrained(C::receive(rx))
    }
}

/// flume's bounded channel.
#[derive(Debug)]
pub struct Flume;

impl Channel for Flume {
    type Tx<T: Send + 'static> = flume::Sender<T>;
    type Rx<T: Send + 'static> = flume::Receiver<T>;
    fn ends<T: Send + 'static>(places: usize) -> (Self::Tx<T>, Self::Rx<T>) {
        flume::bounded(places)
    }
    async fn send<T: Send + 'static>(tx: &Self::Tx<T>, item: T) -> bool {
        tx.send_async(item).await.is_ok()
    }
    async fn receive<T: Send + 'static>(rx: &mut Self::Rx<T>) -> Option<T> {
        rx.recv_async().await.ok()
    }
}

/// async-channel's bounded channel.
#[derive(Debug)]
pub struct AsyncChannel;

impl Channel for AsyncChannel {
    type Tx<T: Send + 'static> = async_channel::Sender<T>;
    type Rx<T: Send + 'static> = Pin<Box<async_channel::Receiver<T>>>;
    fn ends<T: Send + 'static>(places: usize) -> (Self::Tx<T>, Self::Rx<T>) {
        let (tx, rx) = async_channel::bounded(places);
        (tx, Box::pin(rx))
    }
    async fn send<T: Send + 'static>(tx: &Self::Tx<T>, item: T) -> bool {
        tx.send(item).await.is_ok()
    }
    async fn receive<T: Send + 'static>(rx: &mut Self::Rx<T>) -> Option<T> {
        rx.recv().await.ok()
    }
}

/// kanal's bounded channel.
#[derive(Debug)]
pub struct Kanal;

impl Channel for Kanal {
    type Tx<T: Send + 'static> = kanal::AsyncSender<T>;
    type Rx<T: Send + 'static> = kanal::AsyncReceiver<T>;
    fn ends<T: Send + 'static>(places: usize) -> (Self::Tx<T>, Self::Rx<T>) {
        kanal::bounded_async(places)
    }
    async fn send<T: Send + 'static>(tx: &Self::Tx<T>, item: T) -> bool {
        tx.send(item).await.is_ok()
    }
    async fn receive<T: Send + 'static>(rx: &mut Self::Rx<T>) -> Option<T> {
        rx.recv().await.ok()
    }
}

/// Where the tasks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// All in one runtime of one thread.
    OneWorker,
    /// In one runtime of two workers, as its scheduler likes.
    TwoWorkers,
    /// The senders in a runtime of one thread, the receiver in another.
    TwoThreads,
    /// The same, and in each runtime a task that always yields: no thread ever sleeps.
    TwoAwake,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub struct Job {
    /// Where the tasks run.
    pub place: Place,
    /// Tasks that send.
    pub producers: usize,
    /// Items that the channel has room for, if it has a limit.
    pub places: usize,
    /// The size of an item, one of [`SIZES`].
    pub bytes: usize,
    /// Items of all producers together; what does not divide is left out.
    pub items: usize,
    /// The CPUs to run on: the second is for the places with two threads.
    pub cpus: (usize, Option<usize>),
}

/// A job that says only what is to differ: one task sends 8 bytes to another on the same worker, and there is room for 16 items.
pub const JOB: Job =
    Job { place: Place::OneWorker, producers: 1, places: 16, bytes: 8, items: 0, cpus: (0, None) };

/// What it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seen {
    /// Items that were received, as many as were sent.
    pub items: u64,
    /// From the start of the tasks to the last item.
    pub took: Duration,
    /// Polls that returned `Pending`, of all tasks.
    pub wakes: u64,
    /// Items that were received by another thread than the one that sent them.
    pub crossed: u64,
    /// How often the threads that run the tasks went to sleep, start and end included; `None` where the system does not tell.
    pub sleeps: Option<u64>,
    /// Each thread was kept on its CPU.
    pub pinned: bool,
}

/// Sends what it is told through a channel of its own.
pub type Run = fn(&Job) -> Result<Seen, String>;

const fn row(id: &'static str, name: &'static str, value: Run, check: Check) -> Setting<Run> {
    Setting { is: Contender::new(id).called(name).checked(check), value }
}

const fn of(row: Setting<Run>, package: &'static str) -> Setting<Run> {
    Setting { is: row.is.of(package), ..row }
}

/// tokio's bounded channel.
pub const TOKIO: Setting<Run> = of(row("tokio", "tokio mpsc", run::<Tokio>, check::<Tokio>), "tokio");
/// The same outside of tokio's budget.
pub const UNCONSTRAINED: Setting<Run> = of(
    row(
        "unconstrained",
        "tokio mpsc, unconstrained",
        run::<Unconstrained<Tokio>>,
        check::<Unconstrained<Tokio>>,
    ),
    "tokio",
);
/// The same with each item in a box.
pub const BOXED: Setting<Run> =
    of(row("boxed", "tokio mpsc, items in a Box", run_boxed::<Tokio>, check_boxed), "tokio");
/// tokio's unbounded channel.
pub const UNBOUNDED: Setting<Run> =
    of(row("unbounded", "tokio mpsc, unbounded", run::<Unbounded>, check_unbounded), "tokio");
/// flume's bounded channel.
pub const FLUME: Setting<Run> = of(row("flume", "flume", run::<Flume>, check::<Flume>), "flume");
/// async-channel's bounded channel.
pub const ASYNC_CHANNEL: Setting<Run> = of(
    row("async_channel", "async-channel 2.5.0", run::<AsyncChannel>, check::<AsyncChannel>),
    "async-channel",
);
/// kanal's bounded channel.
pub const KANAL: Setting<Run> = of(row("kanal", "kanal 0.1.1", run::<Kanal>, check::<Kanal>), "kanal");
/// No channel: the items are written and read in one task.
pub const DIRECT: Setting<Run> = row("direct", "no channel", direct, check_direct);

/// All of them.
pub const ROWS: [Setting<Run>; 8] =
    [TOKIO, UNCONSTRAINED, BOXED, UNBOUNDED, FLUME, ASYNC_CHANNEL, KANAL, DIRECT];

/// Runs a few items first, and then as many as take about that long.
///
/// # Errors
/// In a sentence: see [`run`].
fn for_about(run: Run, job: &Job, time: Duration) -> Result<Seen, String> {
    let few = run(&Job { items: FEWEST, ..*job })?;
    let each_ns = (few.took.as_nanos() / u128::from(few.items.max(1))).max(1);
    let fit = usize::try_from(time.as_nanos() / each_ns).unwrap_or(MOST);
    run(&Job { items: fit.clamp(FEWEST, MOST.min(MOST_BYTES / job.bytes)), ..*job })
}

/// All rows at all points, and what the channel takes beyond the row without one, if there is such a row.
pub fn samples(plan: &Plan, rows: &'static [Setting<Run>], points: &[Point<Job>]) -> Vec<Sample> {
    let cpus = (plan.cpus[0], plan.cpus.get(1).copied());
    let run = |row: &Setting<Run>, job: &Job| for_about(row.value, &Job { cpus, ..*job }, plan.slice);
    let mut samples = in_turn(plan, ROUNDS, rows, points, run, |_, _, seen| per_item(&seen));
    for point in points {
        let ns = |s: &Sample| s.values.get("item_ns").copied().filter(|_| s.param == point.id());
        let Some(alone) = samples.iter().find_map(|s| ns(s).filter(|_| s.case == DIRECT.id())) else {
            continue;
        };
        for s in samples.iter_mut().filter(|s| s.case != DIRECT.id()) {
            if let Some(all) = ns(s) {
                s.values.insert("channel_ns".into(), all - alone);
            }
        }
    }
    samples
}

fn per_item(seen: &[Seen]) -> Result<Sample, String> {
    let all: Vec<f64> = seen.iter().map(|s| s.took.as_secs_f64() * 1e9 / s.items as f64).collect();
    let item_ns = stats::median(&all).ok_or("nothing was sent")?;
    let items: u64 = seen.iter().map(|s| s.items).sum();
    let part = |of: fn(&Seen) -> u64| seen.iter().map(of).sum::<u64>() as f64 / items as f64;
    let mut sample = Sample::default()
        .with("item_ns", item_ns)
        .with("items_per_s", 1e9 / item_ns)
        .with(WAKES, part(|s| s.wakes))
        .share("crossed_share", part(|s| s.crossed) * items as f64, items as f64);
    if seen.iter().any(|s| !s.pinned) {
        sample.doubts.push("the threads could not be pinned".into());
    }
    let sleeps: Option<u64> = seen.iter().map(|s| s.sleeps).sum();
    Ok(with_known(sample, &[(SLEEPS, sleeps.map(|n| n as f64 / items as f64))]))
}

/// An item: words that a sender writes and the receiver reads.
trait Load: Send + 'static {
    fn pack(header: u64, lane: u64) -> Self;
    fn words(&self) -> &[u64];
}

impl<const WORDS: usize> Load for [u64; WORDS] {
    #[inline(always)]
    fn pack(header: u64, lane: u64) -> Self {
        array::from_fn(|word| if word == 0 { header | lane << LANE_AT } else { header + word as u64 })
    }
    #[inline(always)]
    fn words(&self) -> &[u64] {
        self
    }
}

impl<const WORDS: usize> Load for Box<[u64; WORDS]> {
    #[inline(always)]
    fn pack(header: u64, lane: u64) -> Self {
        Box::new(Load::pack(header, lane))
    }
    #[inline(always)]
    fn words(&self) -> &[u64] {
        &**self
    }
}

/// The first word of an item: its sender, the thread that it was sent from, and its number among its sender's items.
const SENDER_AT: u32 = 56;
const LANE_AT: u32 = 48;
const LANE: u64 = 0xff << LANE_AT;

const fn header(sender: usize, number: u64) -> u64 {
    (sender as u64) << SENDER_AT | number
}

/// What the receiver has got so far.
#[derive(Debug)]
pub struct Tally {
    next: Vec<u64>,
    sum: u64,
    crossed: u64,
}

impl Tally {
    /// Nothing from so many senders, at most 256.
    pub fn new(senders: usize) -> Self {
        Self { next: vec![0; senders], sum: 0, crossed: 0 }
    }

    /// Takes an item on that thread.
    ///
    /// # Errors
    /// If it is not the next of its sender, or if there is no such sender.
    #[inline(always)]
    pub fn take(&mut self, words: &[u64], lane: u64) -> Result<(), String> {
        let header = words[0] & !LANE;
        let (sender, number) = ((header >> SENDER_AT) as usize, header & (LANE - 1) & !LANE);
        let next = self.next.get_mut(sender).ok_or_else(|| format!("there is no sender {sender}"))?;
        if *next != number {
            return Err(format!("sender {sender}: item {number} came where {next} was next"));
        }
        *next += 1;
        self.crossed += u64::from((words[0] & LANE) >> LANE_AT != lane);
        self.sum = words[1..].iter().fold(self.sum.wrapping_add(header), |sum, word| sum.wrapping_add(*word));
        Ok(())
    }

    /// How many items were received by another thread than the one that sent them, if all is there that so many items of so many words
    /// from each sender should be.
    ///
    /// # Errors
    /// In a sentence: items that are missing, or words that are wrong.
    pub fn crossed(&self, each: u64, words: usize) -> Result<u64, String> {
        if let Some(sender) = self.next.iter().position(|next| *next != each) {
            return Err(format!("sender {sender}: {} of {each} items came", self.next[sender]));
        }
        let words = words as u64;
        let headers = (0..self.next.len()).flat_map(|sender| (0..each).map(move |n| header(sender, n)));
        // Word 0 is the header, word w the header and w.
        let item = |header: u64| header.wrapping_mul(words).wrapping_add(words * (words - 1) / 2);
        let right = headers.fold(0u64, |sum, header| sum.wrapping_add(item(header)));
        if self.sum != right {
            return Err(format!("the words of all items add up to {}, not {right}", self.sum));
        }
        Ok(self.crossed)
    }
}

thread_local! {
    /// Which of the threads this is.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// A task that counts its polls that return `Pending`.
struct Counted<F> {
    task: Pin<Box<F>>,
    waits: u64,
}

impl<F: Future> Future for Counted<F> {
    type Output = (F::Output, u64);
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let poll = self.task.as_mut().poll(cx);
        self.waits += u64::from(poll.is_pending());
        poll.map(|output| (output, self.waits))
    }
}

fn counted<F: Future>(task: F) -> Counted<F> {
    Counted { task: Box::pin(task), waits: 0 }
}

async fn produce<C: Channel, L: Load>(tx: C::Tx<L>, sender: usize, each: u64) -> Result<(), String> {
    for number in 0..each {
        let item = L::pack(header(sender, number), HERE.get());
        if !C::send(&tx, item).await {
            return Err("the receiver is gone".into());
        }
    }
    Ok(())
}

async fn consume<C: Channel, L: Load>(
    mut rx: C::Rx<L>,
    senders: usize,
    each: u64,
) -> Result<(Tally, Instant), String> {
    let mut tally = Tally::new(senders);
    for _ in 0..senders as u64 * each {
        let item = C::receive(&mut rx).await.ok_or("the senders are gone")?;
        tally.take(item.words(), HERE.get())?;
    }
    Ok((tally, Instant::now()))
}

/// Sends what it is told through a channel of this type.
///
/// # Errors
/// In a sentence: items that were lost, doubled, damaged or out of order; no runtime or no thread to be had; one CPU where the place
/// needs two; a size that is not in [`SIZES`].
pub fn run<C: Channel>(job: &Job) -> Result<Seen, String> {
    match job.bytes {
        8 => through::<C, [u64; 1]>(job),
        64 => through::<C, [u64; 8]>(job),
        1024 => through::<C, [u64; 128]>(job),
        other => Err(format!("there are no items of {other} bytes")),
    }
}

fn run_boxed<C: Channel>(job: &Job) -> Result<Seen, String> {
    match job.bytes {
        8 => through::<C, Box<[u64; 1]>>(job),
        64 => through::<C, Box<[u64; 8]>>(job),
        1024 => through::<C, Box<[u64; 128]>>(job),
        other => Err(format!("there are no items of {other} bytes")),
    }
}

/// What the tasks of a run came to.
type Ended = (Result<(Tally, Instant), String>, u64);

fn through<C: Channel, L: Load>(job: &Job) -> Result<Seen, String> {
    let each = (job.items / job.producers.max(1)) as u64;
    let (tx, rx) = C::ends::<L>(job.places);
    let senders: Vec<_> =
        (0..job.producers).map(|sender| counted(produce::<C, L>(tx.clone(), sender, each))).collect();
    // The receiver counts the items, so nobody needs to see the last sender go.
    drop(tx);
    let receiver = counted(consume::<C, L>(rx, job.producers, each));
    let on = On::of(job)?;
    let Report { began, receiver, wakes, sleeps } = match job.place {
        Place::OneWorker => on.one_thread(senders, receiver)?,
        Place::TwoWorkers => on.two_workers(senders, receiver)?,
        Place::TwoThreads => on.two_threads(senders, receiver, false)?,
        Place::TwoAwake => on.two_threads(senders, receiver, true)?,
    };
    let (tally, ended) = receiver.0?;
    Ok(Seen {
        items: each * job.producers as u64,
        took: ended - began,
        wakes: wakes + receiver.1,
        crossed: tally.crossed(each, job.bytes / size_of::<u64>())?,
        sleeps,
        pinned: on.pinned.load(Relaxed),
    })
}

/// What came of the tasks, wherever they ran.
struct Report {
    began: Instant,
    receiver: Ended,
    /// Of the senders.
    wakes: u64,
    sleeps: Option<u64>,
}

/// The CPUs of a run: the second is the first again where one is enough.
struct On {
    cpus: [usize; 2],
    /// Until a thread could not be kept on its CPU.
    pinned: Arc<AtomicBool>,
}

type Sender = (Result<(), String>, u64);

impl On {
    fn of(job: &Job) -> Result<Self, String> {
        let second = match job.place {
            Place::OneWorker => job.cpus.0,
            _ => job.cpus.1.ok_or("two threads at once need two CPUs")?,
        };
        Ok(Self { cpus: [job.cpus.0, second], pinned: Arc::new(AtomicBool::new(true)) })
    }

    /// A thread of its own on one of the CPUs, so that the caller stays where it is.
    fn here<T: Send>(
        &self,
        lane: usize,
        run: impl FnOnce() -> Result<T, String> + Send,
    ) -> impl FnOnce() -> Result<T, String> + Send {
        let (cpu, pinned) = (self.cpus[lane], Arc::clone(&self.pinned));
        move || {
            settle(lane, cpu, &pinned);
            run()
        }
    }

    fn one_thread(
        &self,
        senders: Vec<impl Future<Output = Sender> + Send + 'static>,
        receiver: impl Future<Output = Ended> + Send + 'static,
    ) -> Result<Report, String> {
        let all = self.here(0, || {
            let runtime = one_worker()?;
            let began = Instant::now();
            let (receiver, wakes) = runtime.block_on(async {
                let receiver = tokio::spawn(receiver);
                let wakes = sent(spawned(senders)).await?;
                Ok::<_, String>((joined(receiver).await?, wakes))
            })?;
            Ok(Report { began, receiver, wakes, sleeps: sleeps_of(&[witness::this_thread()]) })
        });
        thread::scope(|s| join(s.spawn(all).join()))
    }

    fn two_workers(
        &self,
        senders: Vec<impl Future<Output = Sender> + Send + 'static>,
        receiver: impl Future<Output = Ended> + Send + 'static,
    ) -> Result<Report, String> {
        let (cpus, pinned, started) = (self.cpus, Arc::clone(&self.pinned), AtomicUsize::new(0));
        let workers = Arc::new(Mutex::new(Vec::new()));
        let mine = Arc::clone(&workers);
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .on_thread_start(move || {
                let lane = started.fetch_add(1, Relaxed);
                settle(lane, cpus[lane % 2], &pinned);
                mine.lock().expect("nobody panics with it").push(witness::this_thread());
            })
            .build()
            .map_err(|e| format!("no runtime: {e}"))?;
        let began = Instant::now();
        let (receiver, wakes) = runtime.block_on(async {
            let receiver = tokio::spawn(receiver);
            let wakes = sent(spawned(senders)).await?;
            Ok::<_, String>((joined(receiver).await?, wakes))
        })?;
        let sleeps = sleeps_of(&workers.lock().expect("nobody panics with it"));
        Ok(Report { began, receiver, wakes, sleeps })
    }

    fn two_threads(
        &self,
        senders: Vec<impl Future<Output = Sender> + Send + 'static>,
        receiver: impl Future<Output = Ended> + Send + 'static,
        awake: bool,
    ) -> Result<Report, String> {
        let both = Barrier::new(2);
        let sending = self.here(0, || {
            let runtime = one_worker();
            both.wait();
            let began = Instant::now();
            let wakes = runtime?.block_on(async {
                keep_busy(awake);
                sent(spawned(senders)).await
            })?;
            Ok((began, wakes, sleeps_of(&[witness::this_thread()])))
        });
        let receiving = self.here(1, || {
            let runtime = one_worker();
            both.wait();
            let receiver = runtime?.block_on(async {
                keep_busy(awake);
                joined(tokio::spawn(receiver)).await
            })?;
            Ok((receiver, sleeps_of(&[witness::this_thread()])))
        });
        thread::scope(|s| {
            let (sending, receiving) = (s.spawn(sending), s.spawn(receiving));
            let (receiver, theirs) = join(receiving.join())?;
            let (began, wakes, mine) = join(sending.join())?;
            Ok(Report { began, receiver, wakes, sleeps: mine.zip(theirs).map(|(a, b)| a + b) })
        })
    }
}

/// This thread is that one from now on, and stays on this CPU if the system lets it.
fn settle(lane: usize, cpu: usize, pinned: &AtomicBool) {
    if !pin_current_thread(cpu) {
        pinned.store(false, Relaxed);
    }
    HERE.set(lane as u64 + 1);
}

fn one_worker() -> Result<Runtime, String> {
    Builder::new_current_thread().build().map_err(|e| format!("no runtime: {e}"))
}

/// In this runtime a task is always ready, until the runtime is dropped.
fn keep_busy(awake: bool) {
    if awake {
        drop(tokio::spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        }));
    }
}

fn spawned(senders: Vec<impl Future<Output = Sender> + Send + 'static>) -> Vec<JoinHandle<Sender>> {
    senders.into_iter().map(tokio::spawn).collect()
}

/// Their wake-ups.
async fn sent(senders: Vec<JoinHandle<Sender>>) -> Result<u64, String> {
    let mut wakes = 0;
    for sender in senders {
        let (sent, waits) = joined(sender).await?;
        sent?;
        wakes += waits;
    }
    Ok(wakes)
}

async fn joined<T>(task: JoinHandle<T>) -> Result<T, String> {
    task.await.map_err(|e| format!("a task is gone: {e}"))
}

fn join<T>(joined: thread::Result<Result<T, String>>) -> Result<T, String> {
    joined.map_err(|_| "a thread panicked".to_string())?
}

fn sleeps_of(threads: &[ThreadId]) -> Option<u64> {
    threads.iter().map(|thread| Some(witness::status(*thread)?.voluntary)).sum()
}

/// The same items without a channel, in one task.
fn direct(job: &Job) -> Result<Seen, String> {
    match job.bytes {
        8 => handed::<[u64; 1]>(job),
        64 => handed::<[u64; 8]>(job),
        1024 => handed::<[u64; 128]>(job),
        other => Err(format!("there are no items of {other} bytes")),
    }
}

fn handed<L: Load>(job: &Job) -> Result<Seen, String> {
    let (each, mut tally) = (job.items as u64, Tally::new(1));
    let began = Instant::now();
    for number in 0..each {
        let item = black_box(L::pack(header(0, number), 0));
        tally.take(item.words(), 0)?;
    }
    let took = began.elapsed();
    let crossed = tally.crossed(each, job.bytes / size_of::<u64>())?;
    Ok(Seen { items: each, took, wakes: 0, crossed, sleeps: None, pinned: true })
}

/// What a bounded channel must show before it is timed: with room for so many items it takes so many and then makes its sender wait, and
/// all come out again, whatever their size.
fn check<C: Channel>() -> Result<(), String> {
    const PLACES: u64 = 4;
    match taken::<C>(PLACES as usize, 2 * PLACES) {
        PLACES => all_arrive(run::<C>),
        taken => Err(format!("with room for {PLACES} items it takes {taken}")),
    }
}

fn check_unbounded() -> Result<(), String> {
    match taken::<Unbounded>(4, 1_000) {
        1_000 => all_arrive(run::<Unbounded>),
        taken => Err(format!("it takes {taken} of 1,000 items")),
    }
}

fn check_boxed() -> Result<(), String> {
    all_arrive(run_boxed::<Tokio>)
}

fn check_direct() -> Result<(), String> {
    SIZES.iter().try_for_each(|bytes| direct(&Job { bytes: *bytes, ..SMALL }).map(|_| ()))
}

const SMALL: Job = Job { places: 4, items: 100, ..JOB };

/// That as many items as were sent are received, in order.
fn all_arrive(run: Run) -> Result<(), String> {
    // Not pinned to a CPU that this process may not use: pinning fails there, and nothing is timed.
    SIZES.iter().try_for_each(|bytes| {
        [1, 3]
            .iter()
            .try_for_each(|producers| run(&Job { bytes: *bytes, producers: *producers, ..SMALL }).map(|_| ()))
    })
}

/// How many of so many items an empty channel takes that nobody receives from, until a sender must wait.
pub fn taken<C: Channel>(places: usize, tries: u64) -> u64 {
    let (tx, _rx) = C::ends::<u64>(places);
    let mut cx = Context::from_waker(Waker::noop());
    (0..tries).take_while(|n| pin!(C::send(&tx, *n)).poll(&mut cx) == Poll::Ready(true)).count() as u64
}

//! A channel whose consumer is slower than its producer: how old items get, what they hold, and where the producer waits.
//!
//! Both sides are threads that sleep, so that no CPU is short: an item is due every 100 us and takes the consumer 200 us of sleep.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{
    lab::{Contender, Setting},
    measure::{allocated::given_out_bytes, latency},
};

/// An item is due every so often.
const EVERY: Duration = Duration::from_micros(100);
/// What an item carries.
pub const BODY: usize = 4 << 10;
/// Places of a bounded channel.
pub const PLACES: usize = 64;

/// Which channel, and what the producer does when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channel {
    /// It is never full.
    Unbounded,
    /// The producer waits.
    Waiting,
    /// The producer drops the item.
    Shedding,
}

/// The channel, and how long the consumer sleeps for each item.
pub type Line = Setting<(Channel, Duration)>;

const fn line(id: &'static str, name: &'static str, channel: Channel, takes_us: u64) -> Line {
    let value = (channel, Duration::from_micros(takes_us));
    Setting { is: Contender::new(id).called(name).checked(check), value }
}

/// The lines; the last has a consumer that keeps up.
pub const LINES: [Line; 4] = [
    line("unbounded", "unbounded channel", Channel::Unbounded, 200),
    line("waiting", "bounded, 64: the producer waits", Channel::Waiting, 200),
    line("shedding", "bounded, 64: the producer drops", Channel::Shedding, 200),
    line("kept_up", "unbounded, faster consumer", Channel::Unbounded, 1),
];

struct Item {
    sent: Instant,
    body: Box<[u8; BODY]>,
}

enum Sender {
    Unbounded(mpsc::UnboundedSender<Item>),
    Waiting(mpsc::Sender<Item>),
    Shedding(mpsc::Sender<Item>),
}

enum Receiver {
    Unbounded(mpsc::UnboundedReceiver<Item>),
    Bounded(mpsc::Receiver<Item>),
}

impl Channel {
    fn ends(self) -> (Sender, Receiver) {
        let bounded = || mpsc::channel(PLACES);
        match self {
            Self::Unbounded => {
                let (to, from) = mpsc::unbounded_channel();
                (Sender::Unbounded(to), Receiver::Unbounded(from))
            }
            Self::Waiting => {
                let (to, from) = bounded();
                (Sender::Waiting(to), Receiver::Bounded(from))
            }
            Self::Shedding => {
                let (to, from) = bounded();
                (Sender::Shedding(to), Receiver::Bounded(from))
            }
        }
    }
}

/// What became of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Yes,
    Shed,
    NobodyThere,
}

impl Sender {
    fn send(&self, item: Item) -> Sent {
        let told = |gone: bool| if gone { Sent::NobodyThere } else { Sent::Yes };
        match self {
            Self::Unbounded(to) => told(to.send(item).is_err()),
            Self::Waiting(to) => told(to.blocking_send(item).is_err()),
            Self::Shedding(to) => match to.try_send(item) {
                Ok(()) => Sent::Yes,
                Err(TrySendError::Full(_)) => Sent::Shed,
                Err(TrySendError::Closed(_)) => Sent::NobodyThere,
            },
        }
    }
}

impl Receiver {
    fn receive(&mut self) -> Option<Item> {
        match self {
            Self::Unbounded(from) => from.blocking_recv(),
            Self::Bounded(from) => from.blocking_recv(),
        }
    }
    fn next(&mut self) -> Option<Item> {
        match self {
            Self::Unbounded(from) => from.try_recv().ok(),
            Self::Bounded(from) => from.try_recv().ok(),
        }
    }
}

/// What came of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Backlog {
    /// Items that the producer made.
    pub made_count: u64,
    /// Items that the consumer got in time.
    pub taken_count: u64,
    /// Items that were dropped because the channel was full.
    pub shed_count: u64,
    /// Items that were in the channel at the end.
    pub left_count: u64,
    /// Of all items that were taken and of the oldest that was left: the longest time in the channel.
    pub age_max_ns: f64,
    /// How late the producer was with its latest item, against its own schedule.
    pub producer_late_ns: f64,
    /// What the allocator had given out more at the end than before the first item; `None` where it does not tell.
    pub held_bytes: Option<u64>,
}

/// Runs a producer and a consumer for so long.
///
/// # Errors
/// In a sentence: the system refused a thread, or items were lost.
pub fn backlog((channel, takes): (Channel, Duration), time: Duration) -> Result<Backlog, String> {
    let before = given_out_bytes();
    let (to, mut from) = channel.ends();
    let stop = Arc::new(AtomicBool::new(false));
    let also_stop = Arc::clone(&stop);
    let producer = thread::Builder::new().spawn(move || {
        let (began, mut seen) = (Instant::now(), Backlog::default());
        let mut due = Duration::ZERO;
        while !also_stop.load(Relaxed) {
            if let Some(early) = due.checked_sub(began.elapsed()) {
                thread::sleep(early);
            }
            let item = Item { sent: Instant::now(), body: Box::new([1; BODY]) };
            let sent = to.send(item);
            // It is late when it is rid of the item: a wait for a place counts.
            let late = began.elapsed().saturating_sub(due);
            seen.producer_late_ns = seen.producer_late_ns.max(late.as_secs_f64() * 1e9);
            match sent {
                Sent::Yes => seen.made_count += 1,
                Sent::Shed => (seen.made_count, seen.shed_count) = (seen.made_count + 1, seen.shed_count + 1),
                Sent::NobodyThere => break,
            }
            due += EVERY;
        }
        seen
    });
    let producer = producer.map_err(|e| format!("the system refused a thread: {e}"))?;
    let (began, mut taken_count, mut age_max_ns) = (Instant::now(), 0, 0);
    while began.elapsed() < time {
        let Some(item) = from.receive() else { break };
        age_max_ns = age_max_ns.max(latency::ns(item.sent.elapsed()));
        taken_count += u64::from(item.body[0]);
        thread::sleep(takes);
    }
    stop.store(true, Relaxed);
    let held_bytes = latency::difference(before, given_out_bytes());
    let mut left_count = 0;
    while let Some(item) = from.next() {
        if left_count == 0 {
            age_max_ns = age_max_ns.max(latency::ns(item.sent.elapsed()));
        }
        left_count += 1;
    }
    // A producer that waits for a place is told that nobody takes any more; an item that it was just sending is in nobody's count.
    drop(from);
    let seen = producer.join().map_err(|_| "the producer panicked")?;
    let accounted = taken_count + left_count + seen.shed_count;
    // One item may have gone in between the last look and the end.
    if seen.made_count.abs_diff(accounted) > 1 {
        return Err(format!("{} items were made, and {accounted} are accounted for", seen.made_count));
    }
    Ok(Backlog { taken_count, left_count, age_max_ns: age_max_ns as f64, held_bytes, ..seen })
}

/// What a channel must show before it is timed: what goes in comes out, or is known to be dropped.
fn check() -> Result<(), String> {
    [Channel::Unbounded, Channel::Waiting, Channel::Shedding].into_iter().try_for_each(|channel| {
        let (to, mut from) = channel.ends();
        let item = || Item { sent: Instant::now(), body: Box::new([1; BODY]) };
        let sent = (0..PLACES).filter(|_| to.send(item()) == Sent::Yes).count();
        let got = std::iter::from_fn(|| from.next()).count();
        (sent == PLACES && got == PLACES)
            .then_some(())
            .ok_or_else(|| format!("{channel:?}: {sent} of {PLACES} items went in, {got} came out"))
    })
}

//! Drop a future in each of its states, and look at what is lost.
//!
//! To cancel a future is to drop it where it stands: its locals are dropped, and what they were holds no longer. Whether that loses
//! anything is a property of the future, so it is tested here, on the real thing. A fresh world for each trial; the future is brought
//! into the state, dropped, and then the world is asked what is missing, and, where there is a queue, who is served first.
//!
//! # Source
//! The sections "Cancel safety" in tokio's documentation of `select!` and of each operation. They are what is tested.
use std::{
    cell::RefCell,
    future::Future,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    sync::{Mutex, Notify, Semaphore, mpsc, oneshot},
};

use crate::lab::{Point, Setting, at, setting};

/// In which state the future is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Never polled.
    Unpolled,
    /// Polled, and it returned `Pending`; for a transfer, after part of it.
    Waiting,
    /// As before; then what it waited for came, and it was dropped before the poll that would have taken it.
    Woken,
}

/// The states as parameters.
pub const STATES: [Point<At>; 3] =
    [at("unpolled", At::Unpolled), at("waiting", At::Waiting), at("woken", At::Woken)];

/// What is missing after the drop. All zero: safe to cancel here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Bytes that a stream misses, or, if the operation is done once more, has twice.
    pub bytes: u64,
    /// Messages that nobody will ever receive.
    pub messages: u64,
    /// Places in a queue: another, who came later, is served before the operation that was done once more.
    pub places: u64,
    /// Permits or wake-ups that came and went to nobody.
    pub permits: u64,
}

impl Lost {
    /// Kinds of things that were lost.
    pub fn kinds_count(&self) -> usize {
        [self.bytes, self.messages, self.places, self.permits].iter().filter(|n| **n > 0).count()
    }
}

/// Brings an operation into the state, drops it, and says what is missing.
///
/// # Panics
/// If the operation ends before the state is reached: then the trial is not what it says.
pub type Trial = fn(At) -> Lost;

/// Every operation, and its trial.
pub const OPERATIONS: [Setting<Trial>; 12] = [
    setting("read_exact", read_exact),
    setting("write_all", write_all),
    setting("read", read),
    setting("mpsc_recv", mpsc_recv),
    setting("recv_two", recv_two),
    setting("mpsc_send", mpsc_send),
    setting("mpsc_reserve", mpsc_reserve),
    setting("oneshot_recv", oneshot_recv),
    setting("oneshot_by_ref", oneshot_by_ref),
    setting("mutex_lock", mutex_lock),
    setting("semaphore_acquire", semaphore_acquire),
    setting("notified", notified),
];

/// One poll with a waker that does nothing: here the trial decides when to poll again.
fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The output, if one poll is enough.
fn now<F: Future>(future: F) -> Option<F::Output> {
    match poll(pin!(future)) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

/// Brings a future into its state and drops it; `arrive` is what it waits for.
fn drop_at<F: Future>(at: At, future: F, arrive: impl FnOnce()) {
    let mut future = Box::pin(future);
    if at != At::Unpolled {
        assert!(poll(future.as_mut()).is_pending(), "it was to wait");
    }
    if at == At::Woken {
        arrive();
    }
}

const SENT: [u8; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// Three bytes are there, eight are wanted; the rest comes with the wake.
fn read_exact(at: At) -> Lost {
    let (mut near, mut far) = duplex(64);
    now(far.write_all(&SENT[..3])).expect("there is room").expect("nobody closed it");
    let mut into = [0; 8];
    drop_at(at, near.read_exact(&mut into), || {
        now(far.write_all(&SENT[3..])).expect("there is room").expect("nobody closed it");
    });
    if at != At::Woken {
        now(far.write_all(&SENT[3..])).expect("there is room").expect("nobody closed it");
    }
    let mut got = [0; 64];
    let got_count = now(near.read(&mut got)).map_or(0, |n| n.expect("nobody closed it"));
    Lost { bytes: (SENT.len() - got_count) as u64, ..Lost::default() }
}

/// Nothing is there; a single read takes what comes.
fn read(at: At) -> Lost {
    let (mut near, mut far) = duplex(64);
    let mut into = [0; 8];
    drop_at(at, near.read(&mut into), || {
        now(far.write_all(&SENT)).expect("there is room").expect("nobody closed it");
    });
    if at != At::Woken {
        now(far.write_all(&SENT)).expect("there is room").expect("nobody closed it");
    }
    let mut got = [0; 64];
    let got_count = now(near.read(&mut got)).map_or(0, |n| n.expect("nobody closed it"));
    Lost { bytes: (SENT.len() - got_count) as u64, ..Lost::default() }
}

/// Room for five of eight bytes; then the caller, who was not told how many went, sends all of them once more.
fn write_all(at: At) -> Lost {
    let (mut near, mut far) = duplex(5);
    let mut received = Vec::new();
    let drain = |far: &mut tokio::io::DuplexStream, received: &mut Vec<u8>| {
        let mut some = [0; 64];
        if let Some(n) = now(far.read(&mut some)) {
            received.extend_from_slice(&some[..n.expect("nobody closed it")]);
        }
    };
    drop_at(at, near.write_all(&SENT), || drain(&mut far, &mut received));
    {
        let mut again = pin!(near.write_all(&SENT));
        while poll(again.as_mut()).is_pending() {
            drain(&mut far, &mut received);
        }
    }
    drain(&mut far, &mut received);
    Lost { bytes: (received.len() - SENT.len()) as u64, ..Lost::default() }
}

fn mpsc_recv(at: At) -> Lost {
    let (tx, mut rx) = mpsc::channel(4);
    drop_at(at, rx.recv(), || tx.try_send(1).expect("there is room"));
    let sent = u64::from(at == At::Woken);
    Lost { messages: sent - u64::from(rx.try_recv().is_ok()), ..Lost::default() }
}

/// An async fn of one's own: two messages make a pair. Each part is safe to cancel; the whole is not.
fn recv_two(at: At) -> Lost {
    let (tx, mut rx) = mpsc::channel(4);
    tx.try_send(1).expect("there is room");
    let pair = async { (rx.recv().await, rx.recv().await) };
    drop_at(at, pair, || tx.try_send(2).expect("there is room"));
    let mut left = 1 + u64::from(at == At::Woken);
    while rx.try_recv().is_ok() {
        left -= 1;
    }
    Lost { messages: left, ..Lost::default() }
}

/// The channel is full. The message is an argument: it belongs to the future from the call on, and dies with it.
fn mpsc_send(at: At) -> Lost {
    let (tx, mut rx) = mpsc::channel(1);
    tx.try_send(0).expect("there is room");
    drop_at(at, tx.send(2), || assert!(rx.try_recv().is_ok(), "it was full"));
    let mut arrived = 0;
    while let Ok(message) = rx.try_recv() {
        arrived += u64::from(message == 2);
    }
    let queued = || {
        let (tx, rx) = mpsc::channel(1);
        tx.try_send(0).expect("there is room");
        (tx, RefCell::new(rx))
    };
    let place = |cancelled| {
        let (tx, rx) = queued();
        in_queue(at, cancelled, || tx.send(1), || take(&rx))
    };
    Lost { messages: 1 - arrived, ..compare(place) }
}

/// Makes room, if there is a message.
fn take(rx: &RefCell<mpsc::Receiver<i32>>) {
    let _ = rx.borrow_mut().try_recv();
}

/// Waits for the room alone; the message stays with the caller.
fn mpsc_reserve(at: At) -> Lost {
    compare(|cancelled| {
        let (tx, rx) = mpsc::channel(1);
        tx.try_send(0).expect("there is room");
        let rx = RefCell::new(rx);
        in_queue(at, cancelled, || tx.reserve(), || take(&rx))
    })
}

/// The receiver itself is the future, so it is dropped with it.
fn oneshot_recv(at: At) -> Lost {
    let (tx, rx) = oneshot::channel();
    let mut tx = Some(tx);
    let mut sent = false;
    drop_at(at, rx, || sent = send(&mut tx));
    // The receiver is gone: what was sent before is gone with it, and what is sent after comes back as an error.
    let received = !sent && send(&mut tx);
    Lost { messages: u64::from(!received), ..Lost::default() }
}

/// A borrow of the receiver is the future; the receiver stays.
fn oneshot_by_ref(at: At) -> Lost {
    let (tx, mut rx) = oneshot::channel();
    let mut tx = Some(tx);
    let mut sent = false;
    drop_at(at, &mut rx, || sent = send(&mut tx));
    assert!(sent || send(&mut tx), "the receiver is still there");
    Lost { messages: u64::from(rx.try_recv().is_err()), ..Lost::default() }
}

/// Whether it could be sent.
fn send(tx: &mut Option<oneshot::Sender<i32>>) -> bool {
    tx.take().is_some_and(|tx| tx.send(1).is_ok())
}

fn mutex_lock(at: At) -> Lost {
    compare(|cancelled| {
        let mutex = Mutex::new(());
        let held = RefCell::new(mutex.try_lock().ok());
        in_queue(at, cancelled, || mutex.lock(), || drop(held.borrow_mut().take()))
    })
}

fn semaphore_acquire(at: At) -> Lost {
    compare(|cancelled| {
        let semaphore = Semaphore::new(1);
        let held = RefCell::new(semaphore.try_acquire().ok());
        in_queue(at, cancelled, || semaphore.acquire(), || drop(held.borrow_mut().take()))
    })
}

fn notified(at: At) -> Lost {
    compare(|cancelled| {
        let notify = Notify::new();
        in_queue(at, cancelled, || notify.notified(), || notify.notify_one())
    })
}

/// How two who want the same thing were served.
struct Served {
    first_came_first: bool,
    both: bool,
}

/// What the cancelled one lost against one that was polled on, all else being equal.
fn compare(queue: impl Fn(bool) -> Served) -> Lost {
    let (undisturbed, cancelled) = (queue(false), queue(true));
    assert!(undisturbed.both, "without a cancellation everybody is served");
    Lost {
        places: u64::from(undisturbed.first_came_first && !cancelled.first_came_first),
        permits: u64::from(!cancelled.both),
        ..Lost::default()
    }
}

/// One is brought into the state, another queues behind it, and the first is dropped and asks once more, or is polled on. `arrive`
/// sets free what both want, one at a time; what somebody was served with is given back at once.
fn in_queue<F: Future>(at: At, cancelled: bool, ask: impl Fn() -> F, arrive: impl Fn()) -> Served {
    let mut first = Box::pin(ask());
    if at != At::Unpolled {
        assert!(poll(first.as_mut()).is_pending(), "it was to wait");
    }
    let mut second = Box::pin(ask());
    assert!(poll(second.as_mut()).is_pending(), "it was to wait");
    if at == At::Woken {
        arrive();
    }
    if cancelled {
        drop(first);
        first = Box::pin(ask());
    }
    let mut first_served = poll(first.as_mut()).is_ready();
    if at != At::Woken {
        assert!(!first_served, "nothing has arrived yet");
        arrive();
        first_served = poll(first.as_mut()).is_ready();
    }
    let first_came_first = first_served;
    let mut second_served = poll(second.as_mut()).is_ready();
    // Whoever is left gets what the other gave back; where nothing is given back (a notification), another arrives.
    arrive();
    first_served = first_served || poll(first.as_mut()).is_ready();
    second_served = second_served || poll(second.as_mut()).is_ready();
    Served { first_came_first, both: first_served && second_served }
}

//! A switch: two parties throw a number back and forth, by one of four ways, on one CPU or on two.
use std::{
    hint,
    io::{PipeReader, PipeWriter, Read, Write},
    sync::{
        Arc, Barrier, Mutex, OnceLock,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use crossbeam::utils::CachePadded;
use tokio::{
    runtime::{Builder, Handle},
    sync::Notify,
    task::yield_now,
};

use crate::{
    lab::{Contender, Setting},
    machine::pin_current_thread,
    measure::{
        latency::difference,
        witness::{self, ThreadId},
    },
};

/// What became of so many round trips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Passed {
    /// Round trips: there and back.
    pub rounds_count: u64,
    /// How many came back with the right number.
    pub right_count: u64,
    /// How long all of them took.
    pub wall: Duration,
    /// Context switches of both threads meanwhile; `None` where the system does not tell.
    pub switches_count: Option<u64>,
}

/// The CPUs of the two parties; the same one twice is one CPU.
pub type Place = [usize; 2];

/// Round trips at a place, for about so long.
pub type Pass = fn(Place, Duration) -> Result<Passed, String>;

/// Two threads that look at a word until it changes. On one CPU each look that fails gives the CPU away (`sched_yield`).
pub const SPIN: Setting<Pass> = setting(
    "spin",
    "spinning threads",
    |place, time| threads(place, time, || Ok(words(if place[0] == place[1] { 1 } else { 4_096 }))),
    || check(SPIN.value),
);
/// Two threads that park: a futex on Linux.
pub const PARK: Setting<Pass> = setting(
    "park",
    "parked threads (futex)",
    |place, time| threads(place, time, || Ok(parks())),
    || check(PARK.value),
);
/// Two threads with a pipe in each direction.
pub const PIPE: Setting<Pass> =
    setting("pipe", "threads with pipes", |place, time| threads(place, time, pipes), || check(PIPE.value));
/// Two tasks that notify each other, on a runtime of one worker, or of two.
pub const TASKS: Setting<Pass> = setting("tasks", "tokio tasks (Notify)", tasks, || check(TASKS.value));

const fn setting(
    id: &'static str,
    name: &'static str,
    value: Pass,
    check: crate::lab::Check,
) -> Setting<Pass> {
    Setting { is: Contender::new(id).called(name).checked(check), value }
}

/// What a way must show before it is timed: every number that was thrown comes back as its successor.
///
/// # Errors
/// In a sentence.
pub fn check(pass: Pass) -> Result<(), String> {
    let cpu = crate::machine::allowed_cpus()[0];
    let Passed { rounds_count, right_count, .. } = pass([cpu, cpu], Duration::from_millis(1))?;
    match rounds_count {
        0 => Err("no round trip was made".into()),
        n if n == right_count => Ok(()),
        n => Err(format!("of {n} numbers, {right_count} came back right")),
    }
}

/// What tells the partner that it is over.
const STOP: u64 = u64::MAX;
/// Round trips between two looks at the clock.
const BETWEEN_LOOKS: u64 = 16;

/// One end of a line.
trait End: Send {
    /// On the thread that will use it, before the first number.
    fn here(&mut self) {}
    fn throw(&mut self, number: u64) -> Result<(), String>;
    fn catch(&mut self) -> Result<u64, String>;
}

/// Both threads, pinned; the leader throws and waits for the answer.
fn threads<E: End + 'static>(
    place: Place,
    time: Duration,
    make: impl FnOnce() -> Result<[E; 2], String>,
) -> Result<Passed, String> {
    let [mut mine, mut other] = make()?;
    let meet = Arc::new(Barrier::new(2));
    let partner_id = Arc::new(OnceLock::new());
    let (also_meet, tell_id) = (Arc::clone(&meet), Arc::clone(&partner_id));
    let partner = thread::Builder::new().spawn(move || {
        pin_current_thread(place[1]);
        let _ = tell_id.set(witness::this_thread());
        other.here();
        also_meet.wait();
        loop {
            match other.catch()? {
                STOP => return Ok::<(), String>(()),
                number => other.throw(number + 1)?,
            }
        }
    });
    let partner = partner.map_err(|e| format!("the system refused a thread: {e}"))?;
    // A thread of its own, so that the caller stays unpinned.
    let leader = thread::Builder::new().spawn(move || {
        pin_current_thread(place[0]);
        mine.here();
        meet.wait();
        let both = [Some(witness::this_thread()), partner_id.get().copied()];
        let before = switches(&both);
        let (began, mut rounds_count, mut right_count) = (Instant::now(), 0, 0);
        while began.elapsed() < time {
            for _ in 0..BETWEEN_LOOKS {
                mine.throw(rounds_count)?;
                right_count += u64::from(mine.catch()? == rounds_count + 1);
                rounds_count += 1;
            }
        }
        let wall = began.elapsed();
        let switches_count = difference(before, switches(&both));
        mine.throw(STOP)?;
        Ok::<_, String>(Passed { rounds_count, right_count, wall, switches_count })
    });
    let Ok(leader) = leader else {
        // The partner waits for a leader that will never come; it ends with the process.
        return Err("the system refused a second thread".into());
    };
    let passed = leader.join().map_err(|_| "the leader panicked")??;
    partner.join().map_err(|_| "the partner panicked")??;
    Ok(passed)
}

fn switches(threads: &[Option<ThreadId>]) -> Option<u64> {
    threads.iter().map(|t| witness::switches((*t)?)).sum()
}

/// A word in each direction, which is 0 when empty and else holds a number and one. Each has a cache line of its own. E1: the Release store of
/// a number -> the Acquire look that sees it.
#[derive(Debug, Default)]
struct Words([CachePadded<AtomicU64>; 2]);

impl Words {
    fn take(&self, at: usize) -> Option<u64> {
        let seen = self.0[at].load(Acquire); // E1
        (seen != 0).then(|| {
            // Only this side empties the word, and the other fills it only after an answer.
            self.0[at].store(0, Relaxed);
            seen.wrapping_sub(1)
        })
    }
    fn put(&self, at: usize, number: u64) {
        self.0[at].store(number.wrapping_add(1), Release); // E1
    }
}

/// Looks until there is a number, and gives the CPU away after so many looks in vain.
struct Spinner {
    words: Arc<Words>,
    side: usize,
    looks: u32,
}

/// The last number that can be thrown by words: [`STOP`] itself would look like an empty word.
const STOP_WORD: u64 = STOP - 1;

fn words(looks: u32) -> [Spinner; 2] {
    let words = Arc::new(Words::default());
    [0, 1].map(|side| Spinner { words: Arc::clone(&words), side, looks })
}

impl End for Spinner {
    fn throw(&mut self, number: u64) -> Result<(), String> {
        self.words.put(1 - self.side, number.min(STOP_WORD));
        Ok(())
    }
    fn catch(&mut self) -> Result<u64, String> {
        loop {
            for _ in 0..self.looks {
                if let Some(number) = self.words.take(self.side) {
                    return Ok(if number == STOP_WORD { STOP } else { number });
                }
                hint::spin_loop();
            }
            thread::yield_now();
        }
    }
}

/// Parks until there is a number.
struct Parker {
    words: Arc<Words>,
    side: usize,
    threads: Arc<[OnceLock<Thread>; 2]>,
}

fn parks() -> [Parker; 2] {
    let (words, threads) = (Arc::new(Words::default()), Arc::new([OnceLock::new(), OnceLock::new()]));
    [0, 1].map(|side| Parker { words: Arc::clone(&words), side, threads: Arc::clone(&threads) })
}

impl End for Parker {
    fn here(&mut self) {
        let _ = self.threads[self.side].set(thread::current());
    }
    fn throw(&mut self, number: u64) -> Result<(), String> {
        self.words.put(1 - self.side, number.min(STOP_WORD));
        let partner = self.threads[1 - self.side].get().ok_or("the partner was not there")?;
        partner.unpark();
        Ok(())
    }
    fn catch(&mut self) -> Result<u64, String> {
        loop {
            if let Some(number) = self.words.take(self.side) {
                return Ok(if number == STOP_WORD { STOP } else { number });
            }
            thread::park();
        }
    }
}

/// A pipe in each direction, eight bytes a number.
struct Piped {
    from: PipeReader,
    to: PipeWriter,
}

fn pipes() -> Result<[Piped; 2], String> {
    let pipe = || std::io::pipe().map_err(|e| format!("the system refused a pipe: {e}"));
    let ((from_b, to_a), (from_a, to_b)) = (pipe()?, pipe()?);
    Ok([Piped { from: from_b, to: to_b }, Piped { from: from_a, to: to_a }])
}

impl End for Piped {
    fn throw(&mut self, number: u64) -> Result<(), String> {
        self.to.write_all(&number.to_le_bytes()).map_err(|e| format!("writing to a pipe failed: {e}"))
    }
    fn catch(&mut self) -> Result<u64, String> {
        let mut bytes = [0; 8];
        self.from.read_exact(&mut bytes).map_err(|e| format!("reading from a pipe failed: {e}"))?;
        Ok(u64::from_le_bytes(bytes))
    }
}

/// Two tasks. On one CPU they live on the runtime of one thread; on two, a runtime has a worker on each.
fn tasks(place: Place, time: Duration) -> Result<Passed, String> {
    // A thread of its own: a runtime pins, and must not be started inside another.
    let all = thread::Builder::new().spawn(move || {
        let workers: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
        let runtime = if place[0] == place[1] {
            pin_current_thread(place[0]);
            workers.lock().map_err(|_| "a worker panicked")?.push(witness::this_thread());
            Builder::new_current_thread().build()
        } else {
            let known = Arc::clone(&workers);
            let pin = move || {
                if let Ok(mut known) = known.lock() {
                    pin_current_thread(place[known.len().min(1)]);
                    known.push(witness::this_thread());
                }
            };
            Builder::new_multi_thread().worker_threads(2).on_thread_start(pin).build()
        };
        let runtime = runtime.map_err(|e| format!("no runtime could be started: {e}"))?;
        let passed = runtime.block_on(async { tokio::spawn(notified(time, workers)).await });
        passed.map_err(|e| format!("the leading task failed: {e}"))?
    });
    let all = all.map_err(|e| format!("the system refused a thread: {e}"))?;
    all.join().map_err(|_| "the runtime's thread panicked".to_string())?
}

async fn notified(time: Duration, workers: Arc<Mutex<Vec<ThreadId>>>) -> Result<Passed, String> {
    let words = Arc::new(Words::default());
    let bells = Arc::new([Notify::new(), Notify::new()]);
    let (also_words, also_bells) = (Arc::clone(&words), Arc::clone(&bells));
    let partner = tokio::spawn(async move {
        loop {
            also_bells[1].notified().await;
            match also_words.take(1) {
                Some(STOP_WORD) => return,
                Some(number) => {
                    also_words.put(0, number + 1);
                    also_bells[0].notify_one();
                }
                None => {}
            }
        }
    });
    let known = || -> Vec<Option<ThreadId>> {
        workers.lock().map(|w| w.iter().copied().map(Some).collect()).unwrap_or_default()
    };
    // So that no worker's switches are missed.
    while known().len() < Handle::current().metrics().num_workers() {
        yield_now().await;
    }
    let both = known();
    let before = switches(&both);
    let (began, mut rounds_count, mut right_count) = (Instant::now(), 0, 0);
    while began.elapsed() < time {
        for _ in 0..BETWEEN_LOOKS {
            words.put(1, rounds_count);
            bells[1].notify_one();
            bells[0].notified().await;
            right_count += u64::from(words.take(0) == Some(rounds_count + 1));
            rounds_count += 1;
        }
    }
    let wall = began.elapsed();
    let switches_count = difference(before, switches(&both));
    words.put(1, STOP_WORD);
    bells[1].notify_one();
    partner.await.map_err(|e| format!("the other task failed: {e}"))?;
    Ok(Passed { rounds_count, right_count, wall, switches_count })
}

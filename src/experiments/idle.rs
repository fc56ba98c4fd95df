//! What something weighs that does nothing: idle threads and idle tasks, as many as asked for or as this machine holds.
use std::{
    fs,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
};

use tokio::{runtime::Builder, sync::Notify, task::yield_now};

use crate::{
    lab::{Contender, Setting},
    machine::memory::{self, Room},
};

/// What is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idler {
    /// A parked thread with std's stack of 2 MiB.
    Thread,
    /// The same, after it has used 64 KiB of its stack once.
    UsedThread,
    /// A task that awaits a `Notify`.
    Task,
    /// The same, with a buffer of 1 KiB that lives across the await.
    BufferTask,
}

const fn idler(id: &'static str, name: &'static str, value: Idler) -> Setting<Idler> {
    Setting { is: Contender::new(id).called(name), value }
}

/// All of them.
pub const IDLERS: [Setting<Idler>; 4] = [
    idler("thread", "idle OS thread", Idler::Thread),
    idler("used_thread", "idle OS thread, 64 KiB of stack used", Idler::UsedThread),
    idler("task", "idle tokio task", Idler::Task),
    idler("buffer_task", "idle tokio task with 1 KiB", Idler::BufferTask),
];

/// How much of its stack a thread uses that uses some.
const USED: usize = 64 << 10;
/// What a task holds that holds something.
const HELD: usize = 1 << 10;
/// The most memory that an attempt may take, with the kernel's own.
const MOST_BYTES: u64 = 512 << 20;
/// The most that is started at once: a million.
pub const MILLION: usize = 1_000_000;

impl Idler {
    fn is_thread(self) -> bool {
        matches!(self, Self::Thread | Self::UsedThread)
    }
    /// What one may take at most, for the estimate of how many fit: a thread has 16 KiB of kernel stack and some 10 KiB of the kernel's
    /// notes beside what is seen.
    fn most_bytes(self) -> u64 {
        match self {
            Self::Thread => 40 << 10,
            Self::UsedThread => (40 << 10) + USED as u64,
            Self::Task => 512,
            Self::BufferTask => 512 + HELD as u64,
        }
    }
}

/// How many were idle at once, and what they took.
#[derive(Clone, Debug, PartialEq)]
pub struct Idle {
    /// How many.
    pub idle_count: usize,
    /// Resident memory of the process that came with them.
    pub bytes: u64,
    /// Kernel stacks of the whole machine that came with them; `None` where the system does not tell.
    pub kernel_stack_bytes: Option<u64>,
    /// Why there were no more, if fewer than asked for.
    pub ended: Option<String>,
}

/// How many may be started here, and why no more. `limits` are the system's, each with its name: at most half of each is used, so that nobody
/// else is refused for it.
pub fn most(what: Idler, wanted: usize, room: Room, limits: &[(String, u64)]) -> (usize, Option<String>) {
    let bytes = [room.available_bytes, room.limit_left_bytes].into_iter().flatten().map(|b| b / 4);
    let bytes = bytes.fold(MOST_BYTES, u64::min);
    let by_memory = (
        bytes / what.most_bytes(),
        format!("more would need over {} MiB, which is all that this step takes", bytes >> 20),
    );
    let halves =
        limits.iter().map(|(name, limit)| (limit / 2, format!("half of what {name} allows ({limit})")));
    let all = std::iter::once(by_memory).chain(halves.filter(|_| what.is_thread()));
    let least =
        all.min_by_key(|(count, _)| *count).map(|(n, why)| (usize::try_from(n).unwrap_or(wanted), why));
    match least {
        Some((fewer, why)) if fewer < wanted => (fewer, Some(why)),
        _ => (wanted, None),
    }
}

/// What the system says about how many threads there may be.
fn limits() -> Vec<(String, u64)> {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let mut limits = Vec::new();
    // A stack and its guard are two mappings.
    limits.extend(
        number("/proc/sys/vm/max_map_count").map(|n| ("vm.max_map_count, two for each".into(), n / 2)),
    );
    limits.extend(number("/proc/sys/kernel/threads-max").map(|n| ("kernel.threads-max".into(), n)));
    limits.extend(number("/proc/sys/kernel/pid_max").map(|n| ("kernel.pid_max".into(), n)));
    let of_user = fs::read_to_string("/proc/self/limits").ok().and_then(|text| {
        let line = text.lines().find(|l| l.starts_with("Max processes"))?;
        line.split_whitespace().nth(2)?.parse::<u64>().ok()
    });
    limits.extend(of_user.map(|n| ("ulimit -u".into(), n)));
    limits
}

fn kernel_stacks() -> Option<u64> {
    memory::field_kib(&fs::read_to_string("/proc/meminfo").ok()?, "KernelStack:")
}

/// Starts as many as wanted, or as many as fit; looks at the memory while all are idle; ends them.
///
/// # Errors
/// In a sentence: this system does not tell how much memory is resident, or not even one could be started.
pub fn idle(what: Idler, wanted: usize) -> Result<Idle, String> {
    let (count, ended) = most(what, wanted, Room::now(), &limits());
    if count == 0 {
        return Err(ended.unwrap_or_else(|| "none was wanted".into()));
    }
    if what.is_thread() { threads(what, count, ended) } else { tasks(what, count, ended) }
}

fn resident() -> Result<u64, String> {
    memory::resident_bytes().ok_or_else(|| "this system does not tell how much memory is resident".into())
}

#[inline(never)]
fn use_stack() {
    black_box(&mut [1_u8; USED]);
}

fn threads(what: Idler, count: usize, mut ended: Option<String>) -> Result<Idle, String> {
    let (stop, ready) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut idlers: Vec<JoinHandle<()>> = Vec::with_capacity(count);
    let (before, stacks) = (resident()?, kernel_stacks());
    for _ in 0..count {
        let (stop, ready) = (Arc::clone(&stop), Arc::clone(&ready));
        let body = move || {
            if what == Idler::UsedThread {
                use_stack();
            }
            ready.fetch_add(1, Relaxed);
            while !stop.load(Relaxed) {
                thread::park();
            }
        };
        match thread::Builder::new().spawn(body) {
            Ok(idler) => idlers.push(idler),
            Err(e) => {
                ended = Some(format!("the system refused the next thread: {e}"));
                break;
            }
        }
    }
    while ready.load(Relaxed) < idlers.len() {
        thread::yield_now();
    }
    let (after, stacks_after) = (resident(), kernel_stacks());
    let idle_count = idlers.len();
    stop.store(true, Relaxed);
    idlers.iter().for_each(|idler| idler.thread().unpark());
    for idler in idlers {
        idler.join().map_err(|_| "an idle thread panicked")?;
    }
    let refused = || ended.clone().unwrap_or_default();
    if idle_count == 0 {
        return Err(refused());
    }
    let kernel_stack_bytes = crate::measure::latency::difference(stacks, stacks_after);
    Ok(Idle { idle_count, bytes: after?.saturating_sub(before), kernel_stack_bytes, ended })
}

fn tasks(what: Idler, count: usize, ended: Option<String>) -> Result<Idle, String> {
    let runtime =
        Builder::new_current_thread().build().map_err(|e| format!("no runtime could be started: {e}"))?;
    let (bell, ready) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
    let (before, stacks) = (resident()?, kernel_stacks());
    let (after, stacks_after) = runtime.block_on(async {
        for _ in 0..count {
            let (bell, ready) = (Arc::clone(&bell), Arc::clone(&ready));
            match what {
                Idler::BufferTask => {
                    tokio::spawn(async move {
                        let held = black_box([1_u8; HELD]);
                        ready.fetch_add(1, Relaxed);
                        bell.notified().await;
                        black_box(&held);
                    });
                }
                _ => {
                    tokio::spawn(async move {
                        ready.fetch_add(1, Relaxed);
                        bell.notified().await;
                    });
                }
            }
        }
        while ready.load(Relaxed) < count {
            yield_now().await;
        }
        let seen = (resident(), kernel_stacks());
        bell.notify_waiters();
        seen
    });
    let kernel_stack_bytes = crate::measure::latency::difference(stacks, stacks_after);
    Ok(Idle { idle_count: count, bytes: after?.saturating_sub(before), kernel_stack_bytes, ended })
}

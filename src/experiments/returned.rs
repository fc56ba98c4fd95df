//! What an allocator gives back to the kernel after most blocks were freed: at once, after idling, when it is told to;
//! how long that takes, and who else waits meanwhile.
use std::{
    io,
    thread::sleep,
    time::{Duration, Instant},
};

use crate::{
    contenders::alloc::{ALIGN, Allocator, Block},
    experiments::{bystander::Watched, cycle::doubts, victim::Victim},
    lab::sample::Sample,
    machine::memory,
    measure::latency::{ns, with_known},
};

/// How long the bystander is watched without a purge: no shorter than a purge of some hundred MiB.
const CALM: Duration = Duration::from_millis(20);

/// Which of the blocks stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None.
    Nothing,
    /// The one that was allocated last: at the top of a heap that grows upwards.
    Last,
    /// One in so many, evenly spread.
    OneIn(usize),
}

impl Keep {
    /// True if the block of this number, of so many, stays.
    ///
    /// # Panics
    /// If it is one in 0.
    pub fn stays(self, number: usize, of: usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::Last => number + 1 == of,
            Self::OneIn(n) => number.is_multiple_of(n),
        }
    }
}

/// What is allocated and freed.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Bytes of a block.
    pub bytes: usize,
    /// Blocks.
    pub count: usize,
    /// Which of them stay.
    pub keep: Keep,
    /// How long the process sleeps before it is asked again what it holds; `None` if it isn't.
    pub idle: Option<Duration>,
    /// Where the bystander and the purge run; `None` where there is one CPU, and then nobody is watched.
    pub cpus: Option<[usize; 2]>,
}

/// Allocates, touches every page, frees all but what stays, and asks at each stage how much is resident. Meaningful
/// only in a process that did nothing with this allocator before.
///
/// Values: `rss_after_share`, `rss_idle_share`, `rss_purged_share`: resident bytes above the start, as share of what
/// was allocated; `live_share`, what must stay; `purge_ns`, how long the purge took; `purge_wait_max_ns` and
/// `calm_wait_max_ns`: the longest that a thread which maps and unmaps stood still during the purge, and beside
/// arithmetic. What the purge would tell is absent where the allocator has none.
///
/// The calling thread stays pinned to the second of the CPUs.
///
/// # Errors
/// What the allocator or the system refused; or a block that stayed and lost what was written into it.
pub fn returned(allocator: &'static Allocator, load: Load) -> Result<Sample, String> {
    let said = |e: io::Error| e.to_string();
    let mut calm = Watched::new();
    let mut stopped = Watched::new();
    stopped.net.reset(); // its pages are there before the first look
    if let Some(cpus) = load.cpus {
        let spin = || {
            let begin = Instant::now();
            while begin.elapsed() < CALM {
                std::hint::spin_loop();
            }
        };
        calm.beside(Victim::Map, cpus, spin).map_err(said)?;
    }
    let mut blocks: Vec<Option<Block>> = Vec::with_capacity(load.count);
    blocks.resize_with(load.count, || None); // written now: the list's own pages are part of the start
    allocator.check(load.bytes, ALIGN).map_err(|e| e.to_string())?;
    let base = memory::resident_bytes();
    let above = || Some(memory::resident_bytes()?.saturating_sub(base?));

    for place in &mut blocks {
        let mut block = Block::new(allocator, load.bytes, ALIGN).map_err(|e| e.to_string())?;
        block.touch_every(memory::page_bytes());
        *place = Some(block);
    }
    let full = above();
    for (number, place) in blocks.iter_mut().enumerate() {
        if !load.keep.stays(number, load.count) {
            *place = None;
        }
    }
    let after = above();
    let idle = load.idle.and_then(|time| {
        sleep(time);
        above()
    });
    let purge = || {
        let start = Instant::now();
        allocator.purge().then(|| ns(start.elapsed()))
    };
    let purge_ns = match load.cpus {
        Some(cpus) => stopped.beside(Victim::Map, cpus, purge).map_err(said)?,
        None => purge(),
    };
    let purged = purge_ns.and_then(|_| above());

    let live = blocks.iter().flatten().count();
    if blocks.iter().flatten().any(|b| !b.holds_touch()) {
        return Err(format!("{}: a block that stayed does not hold what was written", allocator.id()));
    }
    let all = (load.bytes * load.count) as f64;
    let share = |bytes: Option<u64>| bytes.map(|b| b as f64 / all);
    let wait = |w: &Watched| load.cpus.map(|_| w.net_max_ns as f64);
    let purge_ns = purge_ns.map(|ns| ns as f64);
    let values = [
        ("rss_full_share", share(full)),
        ("rss_after_share", share(after)),
        ("rss_idle_share", share(idle)),
        ("rss_purged_share", share(purged)),
        ("live_share", Some((live * load.bytes) as f64 / all)),
        ("purge_ns", purge_ns),
        ("purge_wait_max_ns", purge_ns.and_then(|_| wait(&stopped))),
        ("calm_wait_max_ns", wait(&calm)),
    ];
    let mut sample = with_known(Sample::default(), &values);
    sample.receipts.ops_count = Some(load.count as f64);
    sample.doubts = doubts(allocator);
    if purge_ns.is_none() {
        sample = sample.seeing(format!("{} has no function that gives memory back", allocator.id()));
    }
    if full.is_some_and(|f| (f as f64) < 0.9 * all) {
        sample
            .doubts
            .push("not all of the memory was resident when the frees began: some was swapped out".into());
    }
    Ok(sample)
}

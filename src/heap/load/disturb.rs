//! A victim beside one disturbance at a time: each part of the ledger with a cause that is known.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    PATIENCE,
    ledger::{self, Ledger},
    live::Small,
};
use crate::{
    heap::{Config, Heap, Mutator, Pause},
    lab::sample::Sample,
    machine::{
        memory::{self, Mapping},
        pin_current_thread,
    },
    measure::work,
};

/// Between two collections the world runs for so long.
const BETWEEN: Duration = Duration::from_millis(2);
/// Pages that a turn touches, of so much memory, which is given back when all of it has been touched.
const PAGES: usize = 64;
const FRESH_BYTES: usize = 16 << 20;

/// What disturbs the victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Nothing that we do.
    Nothing,
    /// Full collections, 2 ms apart.
    Collector,
    /// A thread that computes on the same CPU.
    Neighbour,
    /// Its own first touch of 64 pages in each turn.
    Faults,
}

/// What the victim suffered, and the pauses of that time.
#[derive(Debug)]
pub struct Disturbed {
    /// Of the victim.
    pub ledger: Ledger,
    /// Of the heap.
    pub pauses: Vec<Pause>,
}

/// Makes the heap of this process, and disturbs a victim on the second CPU for that time; the first one asks for the collections.
///
/// # Errors
/// In a sentence: no heap, heap full, a collection that does not end, live objects lost.
pub fn disturb(
    config: Config,
    by: By,
    live_bytes: usize,
    time: Duration,
    cpus: [usize; 2],
) -> Result<Disturbed, String> {
    let heap = Heap::start(config).map_err(|e| e.to_string())?;
    let stop = Arc::new(AtomicBool::new(false));
    let run = move |m: &mut Mutator| -> Result<Disturbed, String> {
        pin_current_thread(cpus[0]);
        let small = Small::build(m, live_bytes).map_err(|e| e.to_string())?;
        m.collect();
        let victim = beside(&stop, cpus[1], move |told| {
            let mut m = heap.attach().expect("a new thread is not a mutator yet");
            let mut fresh = (by == By::Faults).then(Fresh::new);
            ledger::watch(heap, told, || {
                m.poll();
                if let Some(fresh) = &mut fresh {
                    fresh.touch();
                }
            })
        });
        let neighbour = (by == By::Neighbour).then(|| {
            beside(&stop, cpus[1], |told| {
                while !told.load(Relaxed) {
                    work::spin(1000);
                }
            })
        });
        let (before, until) = (heap.pauses_count(), Instant::now() + time);
        while Instant::now() < until {
            if by == By::Collector {
                m.collect();
            }
            m.blocking(|| thread::sleep(BETWEEN));
        }
        stop.store(true, Relaxed);
        let pauses = heap.pauses().split_off(before);
        let ledger = m.blocking(|| {
            if let Some(neighbour) = neighbour {
                neighbour.join().expect("it only computes");
            }
            victim.join().expect("the victim only looks at the clock")
        });
        if !small.intact(m) {
            return Err("objects that should have lived are lost".into());
        }
        Ok(Disturbed { ledger, pauses })
    };
    heap.run(PATIENCE, run).map_err(|overdue| overdue.to_string())?
}

/// Work on a thread of its own, until it is told to stop.
fn beside<R: Send + 'static>(
    stop: &Arc<AtomicBool>,
    cpu: usize,
    work: impl FnOnce(&AtomicBool) -> R + Send + 'static,
) -> thread::JoinHandle<R> {
    let told = stop.clone();
    thread::spawn(move || {
        pin_current_thread(cpu);
        work(&told)
    })
}

/// Memory to touch for the first time, again and again.
struct Fresh {
    memory: Option<Mapping>,
    next: usize,
}

impl Fresh {
    fn new() -> Self {
        let mut memory = Mapping::lazy(FRESH_BYTES).ok();
        if let Some(memory) = &mut memory {
            memory.small_pages_only();
        }
        Self { memory, next: 0 }
    }

    fn touch(&mut self) {
        let Some(memory) = &mut self.memory else { return };
        let page = memory::page_bytes();
        if self.next + PAGES * page > memory.bytes() {
            memory.forget();
            self.next = 0;
        }
        for i in 0..PAGES {
            memory.touch(self.next + i * page);
        }
        self.next += PAGES * page;
    }
}

impl Disturbed {
    /// As a sample: `lost_share` (of the victim's time, in gaps of 20 us or more), what that was ([`ledger::Parts::shares`]),
    /// `wait_max_ns`, `gaps_count`, `collections_count`.
    pub fn sample(&self, case: &str, param: &str) -> Sample {
        let parts = self.ledger.parts(&self.pauses);
        let watched = self.ledger.watched.as_secs_f64() * 1e9;
        let mut sample = Sample::new(case, param)
            .with("lost_share", parts.sum_ns() as f64 / watched)
            .with("wait_max_ns", self.ledger.longest_ns().unwrap_or(0) as f64)
            .with("gaps_count", self.ledger.gaps.len() as f64)
            .with("collections_count", self.pauses.len() as f64);
        for (name, share) in parts.shares() {
            sample = sample.with(name, share);
        }
        sample.receipts.kept_count = Some(self.ledger.gaps.len() as f64);
        sample
    }
}

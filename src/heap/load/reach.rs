//! How long a stop waits for a mutator that is late.
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use super::{PATIENCE, sift::Sifted};
use crate::{
    heap::{Heap, Mutator, OutOfMemory, Pause},
    lab::sample::Sample,
    machine::pin_current_thread,
    measure::{order::Order, work},
    stats,
};

/// What the other mutator does while collections are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// It computes, and polls about every microsecond.
    Polls,
    /// It computes, and polls when so much time has passed.
    Every(Duration),
    /// It allocates objects of that payload; the heap clears each one within the call, which does not poll.
    Clears(u32),
}

impl Late {
    /// The same with less to do, where only a smoke run is wanted.
    #[must_use]
    pub fn brief(self) -> Self {
        match self {
            Self::Polls => Self::Polls,
            Self::Every(time) => Self::Every(time / 10),
            Self::Clears(payload) => Self::Clears(payload / 32),
        }
    }
    /// One turn.
    fn turn(self, m: &mut Mutator) -> Result<(), OutOfMemory> {
        match self {
            Self::Polls => work::spin(1000),
            Self::Every(time) => {
                let until = Instant::now() + time;
                while Instant::now() < until {
                    work::spin(1000);
                }
            }
            Self::Clears(payload) => drop(m.alloc(0, payload)?),
        }
        m.poll();
        Ok(())
    }
}

/// The pauses of that much time in which one mutator asks for a collection now and then, and another one is late.
///
/// The first runs on the first CPU and asks at moments that are drawn by lot, 1 to 4 ms apart, so that it does not keep step
/// with the other one.
///
/// # Errors
/// In a sentence: heap full, a collection that does not end.
pub fn reach(
    heap: &'static Heap,
    late: Late,
    time: Duration,
    seed: u64,
    cpus: [usize; 2],
) -> Result<Vec<Pause>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    let told = stop.clone();
    let other = thread::spawn(move || {
        pin_current_thread(cpus[1]);
        let mut m = heap.attach().expect("a new thread is not a mutator yet");
        while !told.load(Relaxed) {
            late.turn(&mut m)?;
        }
        Ok::<(), OutOfMemory>(())
    });
    let asked = heap.run(PATIENCE, move |m| {
        pin_current_thread(cpus[0]);
        let mut lot = Order::new(seed);
        let mut mine = Vec::new();
        let until = Instant::now() + time;
        while Instant::now() < until {
            let wait = Duration::from_micros(1000 + lot.below(3000) as u64);
            m.blocking(|| thread::sleep(wait));
            // Not the collections that the other one asks for when the heap is full: it does not keep those waiting.
            let before = heap.pauses_count();
            m.collect();
            mine.push(before..heap.pauses_count());
        }
        mine
    });
    stop.store(true, Relaxed);
    let mine = asked.map_err(|overdue| overdue.to_string())?;
    other.join().expect("the late one does not panic").map_err(|e| e.to_string())?;
    let pauses = heap.pauses();
    Ok(mine.into_iter().filter_map(|at| pauses.get(at)?.last().copied()).collect())
}

/// As a sample: `reach_ns` (the median time to safepoint), `reach_max_ns`, `pause_ns` (what came after it), `collections_count`; of the
/// [undisturbed](Sifted) pauses.
pub fn sample(pauses: &[Pause], case: &str, param: &str) -> Sample {
    let sifted = Sifted::of(pauses);
    let (reach, stopped) = (sifted.ns(|p| p.reach), sifted.ns(|p| p.stopped));
    let (Some(median), Some(most), Some(pause)) =
        (stats::median(&reach), reach.iter().copied().reduce(f64::max), stats::median(&stopped))
    else {
        return Sample::unmeasured(case, param, "no collection came to its end in the time of this case");
    };
    let mut sample = Sample::new(case, param)
        .with("reach_ns", median)
        .with("reach_max_ns", most)
        .with("pause_ns", pause)
        .with("collections_count", pauses.len() as f64);
    sifted.tell(&mut sample);
    sample
}

//! Blocks that one thread gets and another one frees, against blocks that travel as far and are freed at home.
//!
//! A producer fills bursts and hands them over through a ring; the consumer writes to every block and sends the list
//! back through another ring. Freed **away**, the list comes back empty; freed at **home**, it comes back full and the
//! producer frees. Both ways the same lists cross the same rings and the consumer touches the same bytes, so the
//! difference is where the free takes place. Calls are timed by the burst; waiting for a ring is never inside a timed
//! part. Pattern after xmalloc and larson as in mimalloc-bench, <https://github.com/daanx/mimalloc-bench>.
use std::{
    hint, thread,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use rtrb::{Consumer, RingBuffer};

use crate::{
    contenders::alloc::Allocator,
    experiments::{
        burst::{BURST, Burst},
        cycle::tuned,
    },
    lab::sample::Sample,
    machine::{pin_current_thread, sched::runq_of_this_thread},
    measure::latency::{difference, histogram, ns},
};

/// Lists under way at once.
const LISTS: usize = 4;
/// Looks at an empty ring between two offers of the CPU to somebody else.
const LOOKS: u32 = 1_000;

/// What one thread saw.
#[derive(Debug)]
struct Lane {
    malloc: Histogram<u64>,
    free: Histogram<u64>,
    blocks: u64,
    pinned: bool,
    runq_ns: Option<u64>,
}

/// Hands bursts of `bytes` over for that time, the producer on `cpus[0]`, the consumer on `cpus[1]`.
///
/// Values are for one block, from the median burst: `malloc_ns` with the first write to it, `free_ns`, and `pair_ns`,
/// their sum. Fairness: none needed, each thread waits for the other. Never hangs: a thread whose partner is gone
/// stops.
pub fn handed(
    from: &'static Allocator,
    bytes: usize,
    away: bool,
    time: Duration,
    cpus: [usize; 2],
) -> Sample {
    let (mut out, mut arrived) = RingBuffer::<Burst>::new(LISTS);
    let (mut home, mut returned) = RingBuffer::<Burst>::new(LISTS);
    for _ in 0..LISTS {
        // The ring has room for all lists there are, here and below.
        let _ = home.push(Burst::new(from, bytes));
    }
    let begin = Instant::now();
    let (producer, consumer) = thread::scope(|s| {
        let consumer = s.spawn(move || {
            lane(cpus[1], |lane| {
                while let Some(mut burst) = next(&mut arrived) {
                    burst.use_all();
                    if away {
                        lane.drain(&mut burst);
                    }
                    let _ = home.push(burst);
                }
            })
        });
        let producer = s.spawn(move || {
            lane(cpus[0], |lane| {
                while begin.elapsed() < time || lane.blocks == 0 {
                    let Some(mut burst) = next(&mut returned) else { break };
                    lane.drain(&mut burst);
                    let start = Instant::now();
                    burst.fill();
                    lane.malloc.saturating_record(ns(start.elapsed()));
                    lane.blocks += BURST as u64;
                    let _ = out.push(burst);
                }
            })
        });
        (join(producer), join(consumer))
    });
    let wall = ns(begin.elapsed()).max(1) as f64;
    let free = if away { &consumer.free } else { &producer.free };
    let each = |h: &Histogram<u64>| h.value_at_quantile(0.5) as f64 / BURST as f64;
    let (malloc_ns, free_ns) = (each(&producer.malloc), each(free));
    let mut sample = if free.is_empty() {
        Sample::unmeasured("", "", "no list came back in the time there was")
    } else {
        Sample::default()
            .with("malloc_ns", malloc_ns)
            .with("free_ns", free_ns)
            .with("pair_ns", malloc_ns + free_ns)
    };
    sample.receipts.ops_count = Some(producer.blocks as f64);
    sample.receipts.kept_count = Some(free.len() as f64);
    let runq = producer.runq_ns.zip(consumer.runq_ns).map(|(a, b)| a.max(b));
    sample.receipts.runq_share = runq.map(|r| r as f64 / wall);
    // Both threads are other than the main one, so both have an arena of their own; that is the point here.
    sample.doubts = tuned(from);
    if !(producer.pinned && consumer.pinned) {
        sample.doubts.push("the two threads could not be pinned to two CPUs".into());
    }
    sample
}

impl Lane {
    fn drain(&mut self, burst: &mut Burst) {
        let start = Instant::now();
        if burst.drain() > 0 {
            self.free.saturating_record(ns(start.elapsed()));
        }
    }
}

fn lane(cpu: usize, work: impl FnOnce(&mut Lane)) -> Lane {
    let pinned = pin_current_thread(cpu);
    let runq_ns = runq_of_this_thread();
    let before = runq_ns();
    let mut lane = Lane { malloc: histogram(), free: histogram(), blocks: 0, pinned, runq_ns: None };
    work(&mut lane);
    lane.runq_ns = difference(before, runq_ns());
    lane
}

/// The next list, or `None` if the ring is empty and nobody fills it any more.
fn next(ring: &mut Consumer<Burst>) -> Option<Burst> {
    loop {
        for _ in 0..LOOKS {
            if let Ok(burst) = ring.pop() {
                return Some(burst);
            }
            if ring.is_abandoned() {
                return ring.pop().ok();
            }
            hint::spin_loop();
        }
        thread::yield_now();
    }
}

fn join<T>(handle: thread::ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

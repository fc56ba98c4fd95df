//! Allocate, touch, free: one cycle of a block's life, and each part of it timed apart.
//!
//! A naive bench times only the call, or only whole cycles, and either way reports a pause in the wrong place or in
//! none. The parts share their clock reads, so that they add up to the cycle; each part contains one read of the
//! clock.
use std::{
    thread::sleep,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    contenders::alloc::{ALIGN, Allocator, Block, BlockError, GLIBC, tuned_by_environment},
    lab::sample::Sample,
    machine::{memory, sched::runq_of_this_thread},
    measure::latency::{difference, histogram, ns, quantile, with_known},
};

/// A cycle of fewer looks at the clock than this is mostly clock: three of them are inside it.
const CLOCKS: f64 = 20.0;
/// Between the parts of a cycle and the whole of it, timed apart, lie two looks at the clock, and the same again for what
/// surrounds them.
const GAP_CLOCKS: f64 = 4.0;
/// And this share of it: after a large block the caches are cold for the clock's code too.
const GAP_SHARE: f64 = 0.005;

/// How long each part took, in ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// Getting the block.
    pub call: u64,
    /// The first write to each of its pages.
    pub touch: u64,
    /// Giving it back.
    pub free: u64,
}

impl Parts {
    /// The whole cycle, in ns.
    pub fn total(&self) -> u64 {
        self.call + self.touch + self.free
    }
}

/// One cycle: allocates, writes one byte to each page, frees.
///
/// # Errors
/// [`BlockError`], if the allocator refuses.
pub fn cycle(allocator: &'static Allocator, bytes: usize) -> Result<Parts, BlockError> {
    run(allocator, bytes, memory::page_bytes(), false)
}

/// One cycle that also reads the marks of the touch back, outside of the timed parts.
///
/// # Errors
/// [`BlockError`], if the allocator refuses or the block does not hold what was written.
pub fn checked_cycle(allocator: &'static Allocator, bytes: usize) -> Result<Parts, BlockError> {
    run(allocator, bytes, memory::page_bytes(), true)
}

fn run(allocator: &'static Allocator, bytes: usize, page: usize, check: bool) -> Result<Parts, BlockError> {
    let start = Instant::now();
    let mut block = Block::new(allocator, bytes, ALIGN)?;
    let called = Instant::now();
    block.touch_every(page);
    let touched = Instant::now();
    if check && !block.holds_touch() {
        return Err(BlockError::Damaged { by: allocator.id(), bytes });
    }
    let free = if check { Instant::now() } else { touched };
    drop(block);
    let freed = Instant::now();
    Ok(Parts { call: ns(called - start), touch: ns(touched - called), free: ns(freed - free) })
}

/// How many cycles to run.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Warm cycles run until this time is over,
    pub time: Duration,
    /// but never fewer than this
    pub least: u64,
    /// and never more than this.
    pub most: u64,
    /// How long the process sleeps before it is asked again what it holds.
    pub idle: Duration,
}

/// What the cycles of one size cost.
#[derive(Debug)]
pub struct Cycles {
    /// Whose.
    pub allocator: &'static Allocator,
    /// Of one block.
    pub bytes: usize,
    /// The very first cycle at this size, its marks checked.
    pub cold: Parts,
    /// Minor faults in it.
    pub cold_faults: Option<u64>,
    /// Warm cycles.
    pub count: u64,
    /// Distribution of call, touch, free and whole warm cycle, in ns.
    pub warm: [Histogram<u64>; 4],
    /// Sums over the warm cycles: here the parts add up exactly.
    pub sums: Parts,
    /// What the parts leave of a warm cycle that was timed as a whole besides: the median, in ns. `None` if in one cycle they
    /// were longer than the whole.
    pub gap: Option<u64>,
    /// Minor faults in all warm cycles.
    pub warm_faults: Option<u64>,
    /// Resident bytes above what they were before the allocator was first asked for anything here: right after the
    /// last free,
    pub resident: Option<u64>,
    /// after the idle time,
    pub resident_after_idle: Option<u64>,
    /// and after a purge.
    pub resident_after_purge: Option<u64>,
    /// How long that purge took, in ns: the bill for the frees that gave nothing back. `None` if the allocator has none.
    pub purge: Option<u64>,
    /// Run-queue delay over wall time of the warm cycles.
    pub runq_share: Option<f64>,
}

impl Cycles {
    /// A check of the adapter on a small block, one cold cycle, one to settle (glibc's threshold moves at the first
    /// free, so the second block is the first that comes from its heap), then warm ones.
    ///
    /// Meaningful only in a process where this allocator has not served blocks of another large size.
    ///
    /// Memory: a block, and five histograms, which are made and written before the first cycle and dropped by the
    /// caller after the last: freeing one of them in between would move glibc's threshold, and its pages would count
    /// as resident.
    ///
    /// # Errors
    /// [`BlockError`], if the adapter is not what it says, or the allocator refuses.
    pub fn measure(allocator: &'static Allocator, bytes: usize, extent: Extent) -> Result<Self, BlockError> {
        let mut warm: [Histogram<u64>; 4] = std::array::from_fn(|_| histogram());
        let mut gaps = histogram();
        warm.iter_mut().chain([&mut gaps]).for_each(Histogram::reset);
        let page = memory::page_bytes();
        let runq_ns = runq_of_this_thread();
        let base = memory::resident_bytes();
        let above_base = || base.zip(memory::resident_bytes()).map(|(base, now)| now.saturating_sub(base));
        allocator.check(page, ALIGN)?;

        let before = memory::minor_faults();
        let cold = checked_cycle(allocator, bytes)?;
        let cold_faults = difference(before, memory::minor_faults());
        cycle(allocator, bytes)?;

        let (mut sums, mut count, mut too_long) = (Parts::default(), 0, false);
        let (waited, before, begin) = (runq_ns(), memory::minor_faults(), Instant::now());
        while count < extent.least || (count < extent.most && begin.elapsed() < extent.time) {
            let start = Instant::now();
            let parts = run(allocator, bytes, page, false)?;
            let gap = ns(start.elapsed()).checked_sub(parts.total());
            gaps.saturating_record(gap.unwrap_or(0));
            too_long |= gap.is_none();
            let Parts { call, touch, free } = parts;
            for (histogram, ns) in warm.iter_mut().zip([call, touch, free, parts.total()]) {
                histogram.saturating_record(ns);
            }
            sums = Parts { call: sums.call + call, touch: sums.touch + touch, free: sums.free + free };
            count += 1;
        }
        let wall = begin.elapsed();
        let warm_faults = difference(before, memory::minor_faults());
        let waited = difference(waited, runq_ns());
        let resident = above_base();
        sleep(extent.idle);
        let resident_after_idle = above_base();
        let start = Instant::now();
        let purge = allocator.purge().then(|| ns(start.elapsed()));
        Ok(Self {
            allocator,
            bytes,
            cold,
            cold_faults,
            count,
            warm,
            sums,
            warm_faults,
            resident,
            resident_after_idle,
            resident_after_purge: purge.and_then(|_| above_base()),
            purge,
            gap: (!too_long).then(|| gaps.value_at_quantile(0.5)),
            runq_share: waited.map(|w| w as f64 / wall.as_nanos().max(1) as f64),
        })
    }

    /// What was measured, as a sample. `_ns` are medians of the warm cycles; a
    /// median of parts need not add up, the `_share` values (of the summed time) and the `cold_` ones do.
    pub fn sample(&self) -> Sample {
        let (count, sums, cold) = (self.count as f64, self.sums, self.cold);
        let median = |i: usize| Some(self.warm[i].value_at_quantile(0.5) as f64);
        let share = |part: u64| Some(part as f64 / sums.total().max(1) as f64);
        let number = |n: u64| Some(n as f64);
        let values = [
            ("call_ns", median(0)),
            ("touch_ns", median(1)),
            ("free_ns", median(2)),
            ("cycle_ns", median(3)),
            ("cycle_p99_ns", quantile(&self.warm[3], 0.99)),
            ("call_share", share(sums.call)),
            ("touch_share", share(sums.touch)),
            ("free_share", share(sums.free)),
            ("cold_call_ns", number(cold.call)),
            ("cold_touch_ns", number(cold.touch)),
            ("cold_free_ns", number(cold.free)),
            ("cold_cycle_ns", number(cold.total())),
            ("cold_faults_count", self.cold_faults.and_then(number)),
            ("faults_per_cycle_count", self.warm_faults.map(|n| n as f64 / count)),
            ("rss_after_bytes", self.resident.and_then(number)),
            ("rss_after_share", self.resident.map(|r| r as f64 / self.bytes as f64)),
            ("rss_after_idle_bytes", self.resident_after_idle.and_then(number)),
            ("purge_ns", self.purge.and_then(number)),
            ("rss_purged_bytes", self.resident_after_purge.and_then(number)),
            ("rss_purged_share", self.resident_after_purge.map(|r| r as f64 / self.bytes as f64)),
            ("gap_ns", self.gap.and_then(number)),
            ("cycles_count", Some(count)),
            ("clock_ns", Some(clock_ns())),
        ];
        let mut sample = with_known(Sample::default(), &values);
        sample.receipts.kept_count = Some(count);
        sample.receipts.runq_share = self.runq_share;
        sample.doubts = doubts(self.allocator);
        let (cycle_ns, clock_ns) = (self.warm[3].value_at_quantile(0.5) as f64, clock_ns());
        sample.doubts.extend(unaccounted(self.gap, cycle_ns, clock_ns));
        if cycle_ns < CLOCKS * clock_ns {
            sample.doubts.push(format!(
                "a cycle lasts {:.0} looks at the clock: too short to be timed one by one",
                cycle_ns / clock_ns
            ));
        }
        sample
    }
}

/// Why the parts of a cycle are not all of it, given what they leave of the whole (`None`: less than nothing), how long it
/// is, and what a look at the clock costs: between them lies the clock and nothing else, or something was timed that is in no
/// column.
pub fn unaccounted(gap: Option<u64>, cycle_ns: f64, clock_ns: f64) -> Option<String> {
    match gap.map(|ns| ns as f64) {
        None => Some("call, touch and free took longer than the cycle they are parts of".into()),
        Some(gap) if gap > GAP_CLOCKS * clock_ns + GAP_SHARE * cycle_ns => Some(format!(
            "{gap:.0} ns of a cycle of {cycle_ns:.0} ns are in none of its parts; a look at the clock costs {clock_ns:.0} ns"
        )),
        Some(_) => None,
    }
}

/// Why numbers from this process are not about the allocator as people know it; empty if they are.
pub fn doubts(allocator: &Allocator) -> Vec<String> {
    let thread = (allocator.as_ref() == GLIBC.as_ref() && memory::on_main_thread() == Some(false))
        .then(|| "not on the main thread: glibc served it from another thread's heap".to_string());
    tuned(allocator).into_iter().chain(thread).collect()
}

/// Why no number here is about this allocator as people know it: what tunes it in the environment, or the way it was
/// built.
pub fn tuned(allocator: &Allocator) -> Vec<String> {
    let names = tuned_by_environment();
    let tuned = (!names.is_empty()).then(|| format!("allocators are tuned by {}", names.join(", ")));
    tuned.into_iter().chain(allocator.slowed()).collect()
}

/// What one read of the clock costs.
fn clock_ns() -> f64 {
    let start = Instant::now();
    for _ in 0..1000 {
        std::hint::black_box(Instant::now());
    }
    start.elapsed().as_nanos() as f64 / 1000.0
}

//! Memory that must be zero: asked for as such, or asked for and cleared by the caller.
//!
//! A block that comes fresh from the kernel is zero already, so an allocator that knows this need not clear it, and then
//! the first write to each page pays. A block that was used before must be cleared by somebody.
use std::time::Instant;

use crate::{
    contenders::alloc::{ALIGN, Allocator, Block, BlockError},
    experiments::cycle::{Extent, Parts, doubts},
    lab::sample::Sample,
    machine::memory,
    measure::latency::{difference, histogram, ns, quantile, with_known},
};

/// Who makes the memory zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Zeros {
    /// The allocator is asked for zeros: calloc.
    Asked,
    /// Any memory is asked for, and all of it is cleared: malloc and memset.
    Cleared,
}

impl Zeros {
    /// A block of zeros, by this way.
    ///
    /// # Errors
    /// [`BlockError`], if the allocator refuses.
    pub fn block(self, allocator: &'static Allocator, bytes: usize) -> Result<Block, BlockError> {
        match self {
            Self::Asked => Block::zeroed(allocator, bytes, ALIGN),
            Self::Cleared => {
                let mut block = Block::new(allocator, bytes, ALIGN)?;
                std::hint::black_box(block.fill(0));
                Ok(block)
            }
        }
    }
}

/// One cycle: `call` is the time until a block of zeros is there, however; then one byte is written to each page, and
/// the block is freed.
///
/// # Errors
/// [`BlockError`], if the allocator refuses.
pub fn zeroed_cycle(allocator: &'static Allocator, zeros: Zeros, bytes: usize) -> Result<Parts, BlockError> {
    cycle(allocator, zeros, bytes, false)
}

/// With `check`, not timed: between touch and free the block must be zero but for the touched bytes, and is left
/// full of others, so that the next block is not zero by chance.
fn cycle(
    allocator: &'static Allocator,
    zeros: Zeros,
    bytes: usize,
    check: bool,
) -> Result<Parts, BlockError> {
    let page = memory::page_bytes();
    let start = Instant::now();
    let mut block = zeros.block(allocator, bytes)?;
    let called = Instant::now();
    block.touch_every(page);
    let touched = Instant::now();
    let mut free = touched;
    if check {
        if !block.holds_touch() || !block.is_zero_but_touched() {
            return Err(BlockError::Damaged { by: allocator.id(), bytes });
        }
        block.fill(0xa5);
        free = Instant::now();
    }
    drop(block);
    let freed = Instant::now();
    Ok(Parts { call: ns(called - start), touch: ns(touched - called), free: ns(freed - free) })
}

/// A first cycle, one to settle, then warm ones, as [`Cycles`](crate::experiments::cycle::Cycles) does it; the first and one
/// after the last are checked. Meaningful only in a process where this allocator has not served other
/// large blocks.
///
/// Values: `call_ns`, `touch_ns`, `free_ns`, `cycle_ns`: medians of the warm cycles; `first_call_ns`,
/// `first_cycle_ns`; `faults_per_cycle_count` of the warm ones.
///
/// # Errors
/// [`BlockError`], if the allocator refuses, or the memory was not zero.
pub fn zeroed(
    allocator: &'static Allocator,
    zeros: Zeros,
    bytes: usize,
    extent: Extent,
) -> Result<Sample, BlockError> {
    let mut warm: [_; 4] = std::array::from_fn(|_| histogram());
    warm.iter_mut().for_each(hdrhistogram::Histogram::reset); // written before the first cycle: see `Cycles::measure`
    allocator.check(memory::page_bytes(), ALIGN)?;
    let first = cycle(allocator, zeros, bytes, true)?;
    cycle(allocator, zeros, bytes, false)?;
    let (before, begin, mut count) = (memory::minor_faults(), Instant::now(), 0);
    while count < extent.least || (count < extent.most && begin.elapsed() < extent.time) {
        let parts = cycle(allocator, zeros, bytes, false)?;
        for (histogram, ns) in warm.iter_mut().zip([parts.call, parts.touch, parts.free, parts.total()]) {
            histogram.saturating_record(ns);
        }
        count += 1;
    }
    let faults = difference(before, memory::minor_faults());
    cycle(allocator, zeros, bytes, true)?;
    let median = |i: usize| Some(warm[i].value_at_quantile(0.5) as f64);
    let values = [
        ("call_ns", median(0)),
        ("touch_ns", median(1)),
        ("free_ns", median(2)),
        ("cycle_ns", median(3)),
        ("cycle_p99_ns", quantile(&warm[3], 0.99)),
        ("first_call_ns", Some(first.call as f64)),
        ("first_cycle_ns", Some(first.total() as f64)),
        ("faults_per_cycle_count", faults.map(|n| n as f64 / count as f64)),
    ];
    let mut sample = with_known(Sample::default(), &values);
    sample.receipts.kept_count = Some(count as f64);
    sample.doubts = doubts(allocator);
    Ok(sample)
}

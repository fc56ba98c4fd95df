//! A block that grows by doubling, and who copies what is in it.
//!
//! realloc may do better than a caller could: Linux's mremap(2) moves the page tables of a mapping to another place and
//! leaves the pages where they are, so that no byte is copied, no page faulted in, and the cost is that of the pages'
//! entries. glibc does that for blocks that are mappings of their own (malloc/malloc.c, mremap_chunk); an allocator that
//! carves blocks out of larger mappings copies.
use std::time::Instant;

use crate::{
    contenders::alloc::{ALIGN, Allocator, Block, BlockError},
    experiments::cycle::doubts,
    lab::sample::Sample,
    machine::memory::{self, Mapping},
    measure::latency::{difference, ns, with_known},
};

/// How the block grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// The allocator is asked: realloc.
    Realloc,
    /// By hand: get, copy, free.
    Copy,
}

/// What a growth by doubling cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grown {
    /// All calls that made it larger, in ns.
    pub grow: u64,
    /// The dearest of them, in ns.
    pub dearest: u64,
    /// The writes to each new page between them, in ns.
    pub touch: u64,
    /// Minor faults inside the calls: pages that were written to, which is what copying into fresh memory does.
    pub call_faults: Option<u64>,
    /// Minor faults in the touches.
    pub touch_faults: Option<u64>,
    /// After so many steps the block lay elsewhere.
    pub moved: u64,
    /// Steps.
    pub steps: u64,
}

/// Grows a block from `from` bytes to at least `to` by doubling, every page of it written to before each step, and
/// frees it.
///
/// # Errors
/// [`BlockError`], if the allocator refuses, or in the end the block does not hold what was written into it on the way.
pub fn grow(
    allocator: &'static Allocator,
    growth: Growth,
    from: usize,
    to: usize,
) -> Result<Grown, BlockError> {
    let page = memory::page_bytes();
    let mut grown = Grown { call_faults: Some(0), touch_faults: Some(0), ..Grown::default() };
    let mut block = Block::new(allocator, from, ALIGN)?;
    let touch = |block: &mut Block, grown: &mut Grown| {
        let (before, start) = (memory::minor_faults(), Instant::now());
        block.touch_rest(page);
        grown.touch += ns(start.elapsed());
        let faults = difference(before, memory::minor_faults());
        grown.touch_faults = grown.touch_faults.zip(faults).map(|(a, b)| a + b);
    };
    touch(&mut block, &mut grown);
    while block.bytes() < to {
        let (bytes, at) = (block.bytes() * 2, block.address());
        let (before, start) = (memory::minor_faults(), Instant::now());
        match growth {
            Growth::Realloc => block.resize(bytes)?,
            Growth::Copy => block.resize_by_copy(bytes)?,
        }
        let call = ns(start.elapsed());
        let faults = difference(before, memory::minor_faults());
        grown.call_faults = grown.call_faults.zip(faults).map(|(a, b)| a + b);
        grown.grow += call;
        grown.dearest = grown.dearest.max(call);
        grown.moved += u64::from(block.address() != at);
        grown.steps += 1;
        touch(&mut block, &mut grown);
    }
    if block.holds_touch() { Ok(grown) } else { Err(BlockError::Damaged { by: allocator.id(), bytes: to }) }
}

/// The first growth of a process, as a sample: in the next one an allocator would remember this one. So that it is not
/// about memory that the host of a virtual machine must find first, as much as the growth needs is mapped, touched and
/// unmapped before, past the allocator.
///
/// Values: `growth_ns` (calls and touches), `grow_ns` (the calls), `dearest_ns` (the dearest call), `touch_ns`,
/// `call_faults_count`, `touch_faults_count`, `moved_count`.
///
/// # Errors
/// As [`grow`].
pub fn first_growth(
    allocator: &'static Allocator,
    growth: Growth,
    from: usize,
    to: usize,
) -> Result<Sample, BlockError> {
    allocator.check(memory::page_bytes(), ALIGN)?;
    let most = to + to / 2; // the last block and the one before it
    if let Ok(mut warm) = Mapping::lazy(most) {
        (0..most).step_by(memory::page_bytes()).for_each(|at| warm.touch(at));
    }
    let grown = grow(allocator, growth, from, to)?;
    let number = |n: u64| Some(n as f64);
    let values = [
        ("growth_ns", number(grown.grow + grown.touch)),
        ("grow_ns", number(grown.grow)),
        ("dearest_ns", number(grown.dearest)),
        ("touch_ns", number(grown.touch)),
        ("call_faults_count", grown.call_faults.and_then(number)),
        ("touch_faults_count", grown.touch_faults.and_then(number)),
        ("moved_count", number(grown.moved)),
    ];
    let mut sample = with_known(Sample::default(), &values);
    sample.receipts.ops_count = number(grown.steps);
    sample.doubts = doubts(allocator);
    Ok(sample)
}

//! Gives every instance another place in memory in every launch.
//!
//! What a contended line costs depends on where it lies (which slice of the cache is its home), by one or two percent here. Launches that
//! follow each other get the same pages from the kernel and the same offsets from the allocator, so the place was the same in all of
//! them, and an interval over launches did not contain it: 2 to 18 of 20 A/A intervals covered 1, as the hour would have it.
use crate::{lab::plan::Plan, measure::order::Order};

/// Below the size from which allocators ask the kernel for a mapping of its own, which would move nothing.
const MOST_BYTES: usize = 64 << 10;

/// What lies between the instances of a launch. It must live as long as they do: what is given back is filled by the next one.
#[derive(Debug)]
pub struct Scatter {
    order: Order,
    room: Vec<Vec<u8>>,
}

impl Scatter {
    /// For one launch: the same plan gives the same room, another launch another.
    pub fn new(plan: &Plan) -> Self {
        Self { order: Order::new(!plan.seed ^ (plan.launch as u64) << 32), room: Vec::new() }
    }

    /// Makes an instance somewhere else than the last launch had it.
    pub fn make<T>(&mut self, make: impl FnOnce() -> T) -> T {
        let bytes = self.order.below(MOST_BYTES);
        self.room.push(vec![1; bytes]);
        make()
    }
}
